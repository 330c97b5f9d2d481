"""Redundancy and synergy of a layer's feature maps, and the two data processing inequalities along a network.

Yu et al. 2021 (arXiv 1804.06537) measure the information that the feature maps T1, ..., TC of a layer have about the
input X: all together and in pairs. The partial information decomposition splits a pair's information into redundant,
synergistic and unique parts,

    I(X;Ti,Tj) = synergy + redundancy + unique(Ti) + unique(Tj),        I(X;Ti) = redundancy + unique(Ti),

four unknowns in three equations. Two combinations need no further definition, and add up to I(X;Ti,Tj):

    RS = I(X;Ti) + I(X;Tj) - I(X;Ti,Tj)      = redundancy - synergy             redundancy-synergy trade-off
    WN = 2 I(X;Ti,Tj) - I(X;Ti) - I(X;Tj)    = unique + unique + 2 synergy      weighted non-redundant information

Information is matrix-based (`renyi`), in bits and unclipped: I >= 0, and more maps never having less, are theorems at
alpha = 1 only. Of many maps the joint Gram tends to I/n, and so I(X;T1,...,TC) to S(X), for any maps: read it next to
S(X) and S(T). A data processing inequality is a theorem for indicator kernels at alpha = 1; with Gaussian
kernels it is an observation.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, reduce
from itertools import accumulate
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from infolib import activations, checks
from infolib.activations import device_of, evaluating
from infolib.estimators import renyi
from infolib.measures import information_plane
from infolib.measures._measurable import WIDTH, logits, rms

CHUNK = 2**17  # kernel values held at once: little memory, and they stay in the processor's cache
# Bits, well above rounding: a pair with no more information than this has no shares.
NOTHING = {torch.float64: 1e-9, torch.float32: 1e-3}

_Entropy = Callable[[Tensor], Tensor]  # of a batch of Grams, perhaps jointly with another variable


class Decomposition(NamedTuple):
    """Information of feature maps T1, ..., TC about X in bits: together, and as means over their pairs.

    Parameters
    ----------
    information : float
        I(X;T1,...,TC).
    redundancy_synergy, non_redundant : float
        Mean RS and mean WN of the pairs.
    redundancy_share, non_redundant_share : float
        Mean of RS / I(X;Ti,Tj) and of WN / I(X;Ti,Tj): they add up to 1.
    redundancy_synergy_error, non_redundant_error, share_error : float
        Standard errors that sampling the pairs leaves in RS, WN and either share; 0 if all pairs are in.
    input_entropy, joint_entropy : float
        S(X) and S(T1,...,TC).
    pairs : DataFrame
        A row per pair: i, j, I(X;Ti), I(X;Tj), I(X;Ti,Tj), RS, WN, RS share, WN share.
    """

    information: float
    redundancy_synergy: float
    non_redundant: float
    redundancy_share: float
    non_redundant_share: float
    redundancy_synergy_error: float
    non_redundant_error: float
    share_error: float
    input_entropy: float
    joint_entropy: float
    pairs: pd.DataFrame


def decompose(
    input_gram: Any,
    channel_grams: Any,
    *,
    alpha: float = 1.01,
    max_pairs: int | None = None,
    seed: int = 0,
    precision: torch.dtype = torch.float64,
) -> Decomposition:
    """Information I(X;T1,...,TC), redundancy-synergy RS and weighted non-redundant information WN of C maps, in bits.

    1 + C + C² entropies are computed, and 2 of all maps together. A share is a fraction of its pair's information;
    pairs without information (at most 1e-9 bits, in float32 1e-3) have no share and are left out of the means. A single
    map has no pairs, and its means are NaN.

    Parameters
    ----------
    input_gram : array, shape (n, n)
        Gram of the input, or of another variable, such as `renyi.label_gram(y)`.
    channel_grams : array, shape (C, n, n)
        Grams of the maps.
    alpha : float
        Order of the Rényi entropy.
    max_pairs : int, optional
        Below C (C - 1) / 2 the pairs are a sample without replacement; the standard errors are those of its means,
        corrected for the finite number of pairs.
    seed : int
        Seed of the sample of pairs.
    precision : torch.dtype
        Precision of the eigenvalues, float64 or float32. Float32 takes three quarters of the time; an entropy then has
        an error of up to 5e-5 bits at alpha = 1.01, and of more below 1.

    Returns
    -------
    Decomposition

    Raises
    ------
    ValueError
        For other shapes, max_pairs < 1, another precision, or what `renyi.entropy` refuses.

    Examples
    --------
    >>> x, t = [0, 1, 1, 0], torch.stack([renyi.label_gram([0, 0, 1, 1]), renyi.label_gram([0, 1, 0, 1])])
    >>> xor = decompose(renyi.label_gram(x), t, alpha=1)
    >>> round(xor.information, 6), round(xor.redundancy_synergy, 6), round(xor.non_redundant, 6)
    (1.0, -1.0, 2.0)
    """
    checks.hold("precision", precision, precision in NOTHING, "torch.float32 or torch.float64")
    X, T = (A.to(precision) for A in _checked(input_gram, channel_grams))
    pairs = _pairs(len(T), max_pairs, seed)
    S = partial(renyi.joint_entropy, alpha=alpha)
    own, joint = _entropies(T, pairs, [S, partial(S, X)])
    return _decomposition(float(S(X)), own, joint, pairs)


def by_layer(
    model: nn.Module,
    x: Tensor,
    layers: Sequence[str],
    *,
    y: Tensor | None = None,
    h: float | None = 5.0,
    alpha: float = 1.01,
    max_pairs: int | None = None,
    seed: int = 0,
    softmax: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Information of each layer's feature maps, `decompose`, in bits on one batch in eval mode: a row per layer.

    Layers enter as in `forward_chain`. With labels, the same quantities about Y come from the label kernel: WN(X;T)
    against WN(T;Y) is the modified information plane of Yu et al. 2021, I(X;T) against I(T;Y) the information plane.

    Parameters
    ----------
    model : nn.Module
        Any network.
    x : Tensor, shape (n, ...)
        Samples.
    layers : sequence of str
        Dotted names.
    y : Tensor, shape (n,), optional
        Labels, integers.
    h : float or None
        Factor of the kernel width, as in `forward_chain`; None for the widths of `lenses.redundancy`, 0.55 of the root
        mean squared distance, which give different numbers.
    alpha, max_pairs, seed
        As `decompose` takes them.
    softmax : sequence of str, optional
        As `forward_chain` takes it.

    Returns
    -------
    DataFrame
        Columns: layer; I(X;T), RS(X;T), WN(X;T), RS share(X;T), WN share(X;T), the standard errors RS error(X;T),
        WN error(X;T), share error(X;T), and S(X); with labels the same quantities of T;Y, and S(Y); S(T), maps, pairs
        (how many were measured), pair_seed, softmax (whether it is of softmax), width, input_width, h, alpha, n.

    Raises
    ------
    ValueError
        For what `decompose`, `forward_chain` and the label kernel refuse.

    Examples
    --------
    >>> net, x = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(8, 2)).eval(), torch.rand(6, 1, 3, 3)
    >>> by_layer(net, x, ["0", "2"])[["layer", "maps", "pairs"]].values.tolist()
    [['0', 2, 1], ['2', 1, 0]]
    """
    recorded, softmaxed = _recorded(model, x, layers, softmax)
    S = partial(renyi.joint_entropy, alpha=alpha)
    X, input_width = _gram(x.to(next(iter(recorded.values()))), h)
    about: dict[str, tuple[float, _Entropy]] = {"X": (float(S(X)), partial(S, X))}
    if y is not None:
        with_labels = partial(renyi.label_joint_entropy, y=y, alpha=alpha)
        about["Y"] = (float(renyi.label_entropy(y, alpha=alpha)), with_labels)
    rows = []
    for layer, t in recorded.items():
        width = _width(t, h)
        T = renyi.channel_grams(_maps(t), width=width)
        pairs = _pairs(len(T), max_pairs, seed)
        own, *joints = _entropies(T, pairs, [S, *(joint for _, joint in about.values())])
        row: dict[str, Any] = {"layer": layer}
        for (variable, (entropy, _)), joint in zip(about.items(), joints, strict=True):
            row |= _columns(variable, _decomposition(entropy, own, joint, pairs))
        row |= {
            "S(T)": float(own[-1]),
            "maps": len(T),
            "pairs": len(pairs),
            "pair_seed": seed,
            "softmax": layer in softmaxed,
        }
        rows.append(row | {"width": width, "input_width": input_width, "h": h, "alpha": alpha, "n": len(x)})
    return pd.DataFrame(rows)


def cumulative(x: Tensor, t: Tensor, *, h: float = 5.0, alpha: float = 1.01) -> pd.DataFrame:
    """Information I(X;T1,...,Tc) of the first c = 1, ..., C maps in bits: a frame with one row per c.

    It shows how the joint of many maps saturates at S(X), for noise as for a network. Widths as in `forward_chain`.

    Parameters
    ----------
    x, t : Tensor, shapes (n, ...) and (n, C, ...)
        Samples, and the C maps of a layer.
    h, alpha : float
        Factor of the kernel width; order of the Rényi entropy.

    Returns
    -------
    DataFrame
        Columns: maps, I(X;T1,...,Tc), S(T1,...,Tc), S(X), h, alpha, n.

    Raises
    ------
    ValueError
        For what the estimators refuse.

    Examples
    --------
    >>> draw = torch.Generator().manual_seed(0)
    >>> table = cumulative(torch.rand(8, 4, generator=draw), torch.rand(8, 3, 2, 2, generator=draw))
    >>> table["maps"].tolist(), table["S(T1,...,Tc)"].is_monotonic_increasing
    ([1, 2, 3], True)
    """
    S = partial(renyi.joint_entropy, alpha=alpha)
    if len(x) != len(t):
        raise ValueError(f"x and t must have the same n, got {len(x)} and {len(t)}")
    X, _ = _gram(x.double(), h)
    t = _maps(t.double())
    joint = torch.stack(list(accumulate(renyi.channel_grams(t, width=_width(t, h)), _joint)))
    s_x, s_t, s_both = float(S(X)), S(joint).cpu(), S(X, joint).cpu()
    columns = {"maps": range(1, len(joint) + 1), "I(X;T1,...,Tc)": s_x + s_t - s_both, "S(T1,...,Tc)": s_t}
    return pd.DataFrame(columns).assign(**{"S(X)": s_x}, h=h, alpha=alpha, n=len(t))


def forward_chain(
    model: nn.Module,
    x: Tensor,
    layers: Sequence[str],
    *,
    h: float = 5.0,
    alpha: float = 1.01,
    softmax: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Information I(X;T) of each layer in bits on one batch, in eval mode: a frame with one row per layer.

    The first inequality of Yu et al. 2021: I(X;T1) >= I(X;T2) >= ... >= I(X;TK), so that I(X;T) should fall from row to
    row, for layers in order of depth. An activation (n, C, ...) enters as the joint of its C maps, one of (n, units)
    as a single variable, and so does x. All maps of a layer have the width h n^(-1 / (4 + d)), d values per map, of
    `renyi.silverman_width`; it does not depend on the scale of the data. The network's output enters as
    softmax(logits): our choice, the paper leaves it open. Its distances are small compared with a width of h = 5: of
    ten classes, all distinguished at n = 128, 0.6 bits are left.

    Parameters
    ----------
    model : nn.Module
        Any network.
    x : Tensor, shape (n, ...)
        Samples.
    layers : sequence of str
        Dotted names, in order of depth.
    h, alpha : float
        Factor of the kernel width; order of the Rényi entropy.
    softmax : sequence of str, optional
        Layers of logits (n, classes) that enter as softmax(logits); () for none. Without it those of the layers whose
        output is what the network returns, unless these are probabilities already.

    Returns
    -------
    DataFrame
        Columns: layer, I(X;T), S(T), S(X), maps, width, input_width, h, alpha, n, softmax.

    Raises
    ------
    ValueError
        For no layers, and for what the estimators or `activations.collect` refuse.

    Examples
    --------
    >>> net, x = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(8, 2)).eval(), torch.rand(6, 1, 3, 3)
    >>> forward_chain(net, x, ["0", "2"])[["layer", "maps", "n"]].values.tolist()
    [['0', 2, 6], ['2', 1, 6]]
    """
    recorded, softmaxed = _recorded(model, x, layers, softmax)
    start = x.to(next(iter(recorded.values())))
    rows = _chain(start, recorded, symbols=("X", "T", "input_width"), h=h, alpha=alpha)
    return pd.DataFrame(rows).assign(softmax=[layer in softmaxed for layer in recorded])


def error_chain(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    layers: Sequence[str],
    *,
    h: float = 0.1,
    alpha: float = 1.01,
    reduction: Literal["sum", "mean"] = "sum",
) -> pd.DataFrame:
    """Information I(δK;δ) of each layer's error about the last layer's error in bits, in eval mode; last layer first.

    The second inequality of Yu et al. 2021: I(δK;δK-1) >= ... >= I(δK;δ1), so that I(δK;δ) should fall from row to
    row, for layers given in order of depth. The error δ of a layer is the gradient of the cross-entropy with respect to
    the output of the Linear or Conv2d that is declared last in it, before the activation (of a block with a convolution
    as its shortcut, name the layer that is meant); in a layer without one, with respect to its output.
    Errors enter as activations do in `forward_chain`. As the errors of a trained network vanish, so does all
    information. The model and its parameters' gradients are left as they were.

    Parameters
    ----------
    model : nn.Module
        Any network.
    x, y : Tensor, shapes (n, ...) and (n,)
        Samples and their labels, integers.
    layers : sequence of str
        Dotted names of at least two layers, in order of depth.
    h, alpha : float
        Factor of the kernel width; order of the Rényi entropy.
    reduction : str
        Reduction of the loss over the batch, "sum" or "mean". With "mean" all errors are n times smaller, and the width
        does not depend on their scale. The paper leaves it open; "sum", a sample's own error, is our choice.

    Returns
    -------
    DataFrame
        Columns: layer, I(δK;δ), S(δ), S(δK), maps, width, last_layer, last_width, reduction, h, alpha, n.

    Raises
    ------
    ValueError
        For fewer than two layers, one that the model or its forward pass does not have, another reduction, and what the
        estimators refuse.

    Examples
    --------
    >>> net, x = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(8, 2)).eval(), torch.rand(6, 1, 3, 3)
    >>> error_chain(net, x, torch.arange(6) % 2, ["0", "2"])[["layer", "last_layer", "maps"]].values.tolist()
    [['0', '2', 2]]
    """
    checks.at_least("the number of layers", len(layers), 2)
    *others, last = layers
    found = errors(model, x, y, layers, reduction=reduction)
    upwards = {layer: found[layer] for layer in reversed(others)}
    rows = _chain(found[last], upwards, symbols=("δK", "δ", "last_width"), h=h, alpha=alpha)
    return pd.DataFrame(rows).assign(last_layer=last, reduction=reduction)


def errors(
    model: nn.Module, x: Tensor, y: Tensor, layers: Sequence[str], *, reduction: Literal["sum", "mean"] = "sum"
) -> dict[str, Tensor]:
    """Error δ of each layer: gradient of the cross-entropy with respect to its pre-activation, in eval mode.

    That is the output of the Linear or Conv2d that is declared last in the layer (of a block with a convolution as its
    shortcut, name the layer that is meant); of a layer without one, its own output. The model and its parameters'
    gradients are left as they were.

    Parameters
    ----------
    model : nn.Module
        Any network that returns logits (n, classes).
    x, y : Tensor, shapes (n, ...) and (n,)
        Samples and their labels, integers.
    layers : sequence of str
        Dotted names.
    reduction : str
        Of the loss over the batch, "sum" or "mean": with "mean" all errors are n times smaller.

    Returns
    -------
    dict from str to Tensor, shape (n, ...)
        Float64, in the order of `layers`.

    Raises
    ------
    ValueError
        For another reduction, labels that the model has no output for, and a layer that the model or its forward pass
        does not have.

    Examples
    --------
    >>> net, x = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), torch.rand(3, 2)
    >>> found = errors(net, x, torch.tensor([0, 1, 0]), ["0", "1"])
    >>> found["1"].sum(1).abs().max() < 1e-6  # softmax minus the label's indicator
    tensor(True)
    """
    y = checks.labels("y", y, len(x))
    places = {layer: _pre_activation(model, layer) for layer in layers}
    kept: dict[str, Tensor] = {}

    def keep(place: str, t: Tensor) -> Tensor:
        kept[place] = t.requires_grad_()  # by hand, where the parameters before it are frozen
        return t.clone()  # an in-place activation overwrites this copy, not what we keep

    device = device_of(model, x.device)
    keepers = {place: partial(keep, place) for place in places.values()}
    with evaluating(model), torch.enable_grad(), activations.replace(model, keepers):
        logits = activations.forward(model, x.to(device))
        if logits.ndim != 2:
            raise ValueError(f"model must return logits (n, classes), got shape {tuple(logits.shape)}")
        if y.min() < 0 or y.max() >= logits.shape[1]:
            raise ValueError(
                f"y must be from 0 to {logits.shape[1] - 1}, the outputs of model, got {y.unique().tolist()}"
            )
        loss = nn.functional.cross_entropy(logits, y.to(device), reduction=reduction)
    # Not .backward(): the parameters' gradients are the user's. An error that cannot reach a layer is 0 there.
    gradients = torch.autograd.grad(loss, [kept[place] for place in places.values()], materialize_grads=True)
    return {layer: gradient.double() for layer, gradient in zip(places, gradients, strict=True)}


# Entropies of many Grams: every map, every pair of maps, all maps together


def _checked(input_gram: Any, channel_grams: Any) -> tuple[Tensor, Tensor]:
    X = checks.floats("input_gram", input_gram).double()
    T = checks.floats("channel_grams", channel_grams).double()
    if X.ndim != 2 or X.shape[0] != X.shape[1]:
        raise ValueError(f"input_gram must have shape (n, n), got {tuple(X.shape)}")
    if T.ndim != 3 or T.shape[1:] != X.shape:
        expected = f"(C, {len(X)}, {len(X)}), with the n of input_gram"
        raise ValueError(f"channel_grams must have shape {expected}, got {tuple(T.shape)}")
    for name, grams in (("input_gram", X), ("channel_grams", T)):
        if not torch.allclose(
            traces := grams.diagonal(dim1=-2, dim2=-1).sum(-1), torch.ones((), dtype=T.dtype), atol=1e-5
        ):
            raise ValueError(f"{name} must have trace 1, got {traces.tolist()}")
    return X.to(T.device), T


def _pairs(maps: int, most: int | None, seed: int) -> Tensor:
    """All pairs of maps (P, 2), or `most` of them drawn without replacement, in order."""
    pairs = torch.combinations(torch.arange(maps))
    generator = torch.Generator().manual_seed(checks.at_least("seed", seed, 0))
    if most is None or checks.at_least("max_pairs", most, 1) >= len(pairs):
        return pairs
    return pairs[torch.randperm(len(pairs), generator=generator)[:most].sort().values]


def _entropies(T: Tensor, pairs: Tensor, functions: Sequence[_Entropy]) -> list[Tensor]:
    """Each function of the C maps, the P pairs, and all maps together: shape (C + P + 1,) on the CPU."""
    values = [[S(A).cpu() for S in functions] for A in _batches(T, pairs.to(T.device))]
    return [torch.cat(column) for column in zip(*values, strict=True)]


def _batches(T: Tensor, pairs: Tensor) -> Iterator[Tensor]:
    size = max(1, CHUNK // T[0].numel())
    yield from T.split(size)
    for i, j in (chunk.T for chunk in pairs.split(size) if len(chunk)):
        yield _joint(T[i], T[j])
    yield reduce(_joint, T)[None]


def _joint(A: Tensor, B: Tensor) -> Tensor:
    product = A * B
    return product / product.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]


def _decomposition(entropy: float, own: Tensor, joint: Tensor, pairs: Tensor) -> Decomposition:
    """From S(X), and S(T) and S(X,T) of every map, of every pair, and of all maps together."""
    information = (entropy + own - joint).numpy()
    C = len(own) - len(pairs) - 1
    i, j = pairs.T.numpy()
    one, other, both = information[i], information[j], information[C:-1]
    rs, wn, some = one + other - both, 2 * both - one - other, np.where(both > NOTHING[own.dtype], both, math.nan)
    found = {"RS": rs, "WN": wn, "RS share": rs / some, "WN share": wn / some}
    frame = pd.DataFrame({"i": i, "j": j, "I(X;Ti)": one, "I(X;Tj)": other, "I(X;Ti,Tj)": both} | found)
    means = [_mean(values) for values in found.values()]
    errors = [_standard_error(found[name], math.comb(C, 2)) for name in ("RS", "WN", "RS share")]
    return Decomposition._make([float(information[-1]), *means, *errors, entropy, float(own[-1]), frame])


def _mean(values: np.ndarray) -> float:
    """Mean of the values that are numbers: the same as in pandas, a hundred times as fast."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else math.nan


def _standard_error(sampled: np.ndarray, total: int) -> float:
    """Standard error of the mean of values drawn without replacement from `total` of them."""
    if total and len(sampled) == total:
        return 0.0
    values = sampled[~np.isnan(sampled)]
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(error * math.sqrt(1 - len(sampled) / total)) if total else math.nan


def _columns(variable: str, d: Decomposition) -> dict[str, float]:
    between = {"X": "X;T", "Y": "T;Y"}[variable]
    names = ("I", "RS", "WN", "RS share", "WN share", "RS error", "WN error", "share error")  # as the fields of d
    return {f"{name}({between})": value for name, value in zip(names, d, strict=False)} | {
        f"S({variable})": d.input_entropy
    }


# Activations and errors as Grams


def _recorded(
    model: nn.Module, x: Tensor, layers: Sequence[str], softmax: Sequence[str] | None
) -> tuple[dict[str, Tensor], Sequence[str]]:
    """Activations in float64, and the layers of which they are softmax(logits)."""
    recorded = activations.collect(model, x, layers)
    softmax = logits(model, x, recorded) if softmax is None else softmax
    return information_plane.prepared(recorded, softmax, torch.float64), softmax


def _maps(t: Tensor) -> Tensor:
    """(n, C, ...) as it is, (n, units) as one map (n, 1, units)."""
    return t if t.ndim > 2 else t.reshape(len(t), 1, -1)


def _width(t: Tensor, h: float | None) -> float:
    if h is None:
        return WIDTH * (rms(_maps(t).flatten(2)) or 1.0)
    return renyi.silverman_width(_maps(t)[:, 0], h=h)


def _gram(t: Tensor, h: float | None) -> tuple[Tensor, float]:
    """Joint Gram of all maps, and their width. As they share it, their Hadamard product is the kernel on all values."""
    width = _width(t.flatten(1) if h is None else t, h)
    return renyi.gram(t, width=width), width


def _chain(
    start: Tensor, others: Mapping[str, Tensor], *, symbols: tuple[str, str, str], h: float, alpha: float
) -> list[dict[str, Any]]:
    """I(a;b), S(b) and S(a) of the start a with each of the others b, with their settings."""
    a, b, start_width_name = symbols
    S = partial(renyi.joint_entropy, alpha=alpha)
    A, start_width = _gram(start, h)
    s_a = float(S(A))
    rows = []
    for layer, t in others.items():
        B, width = _gram(t, h)
        s_b = float(S(B))
        row = {"layer": layer, f"I({a};{b})": s_a + s_b - float(S(A, B)), f"S({b})": s_b, f"S({a})": s_a}
        row |= {"maps": _maps(t).shape[1], "width": width, start_width_name: start_width}
        rows.append(row | {"h": h, "alpha": alpha, "n": len(t)})
    return rows


def _pre_activation(model: nn.Module, layer: str) -> str:
    """Name of the Linear or Conv2d declared last in a layer, or of the layer itself."""
    inside = [
        name
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, nn.Linear | nn.Conv2d) and f"{name}.".startswith(f"{layer}.")
    ]
    block = layer.partition("#")[0]
    if not inside and (within := _pre_activation(model, block) if block != layer else block) != block:
        raise ValueError(f"layers must name the weights in {layer!r}, and the number of their call: {within}#1, ...")
    return inside[-1] if inside else layer


checks.guard(globals())
