"""The five papers' measures of one network: what each layer retains, repeats, has of the class and discards.

Each lens asks the question of one of the five papers, with this package's own functions, of any `nn.Module`:

    information         I(X;T) and I(T;Y): information about input and label      `information_plane`, 1909.11396
    redundancy          how much its feature maps repeat each other               `synergy`, 1804.06537
    class_information   the single units' class information, and their ablation   `neuron_importance`, 1804.06679
    discarding          noise on the image that it tolerates, and where           `discarding`, 1906.04109
    codelength          bits per label of a code by a linear probe on it          `transfer`, 2009.07624

A table has one row per layer and quantity. Columns: lens, layer, depth (its place among the layers, from 1, in the
order of the forward pass), quantity, value, unit, n (samples), settings, and `why not`: what could not be measured has
a reason there and no value; every other value is a finite number. `checked` refuses what no lens can measure.

The papers' settings are used where they suit any network. Ours: kernel widths of input and maps are 0.55 of the root
mean squared distance, so that they follow the scale of the activations (on MNIST's images that is the width of
1909.11396); a unit's bit is whether it is above its median, which for a ReLU that is 0 half of the time is whether it
is above 0; discarding is of a layer's output as it is, without a ReLU. As in the other measures, a layer of the name
`output` enters the first lens as softmax(logits).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, TypedDict, Unpack, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import LBFGS
from tqdm import tqdm

from infolib import _moved, activations, checks, training
from infolib.data import Data
from infolib.estimators import binning, discrete, renyi
from infolib.measures import _options, information_plane, synergy, transfer
from infolib.measures._agreement import QUANTITIES, agreement, between_lenses, pair
from infolib.measures._measurable import checked, measurable, no_accuracy
from infolib.measures.discarding import Discarding, box, concentration, strict_information_discarding

__all__ = [
    "LENSES", "QUANTITIES", "Options", "agreement", "between_lenses", "checked", "clamped_accuracy",
    "class_information", "codelength", "discarding", "finest_grid", "information", "look", "measurable", "pair",
    "probe", "redundancy",
]  # fmt: skip
__getattr__ = _moved.attributes(__name__)

COLUMNS = ["lens", "layer", "depth", "quantity", "value", "unit", "n", "settings", "why not"]
UNITS = {"RS share": "1", "ablation area": "1", "ablation gap": "1", "codelength": "bit per label"}  # of others: bit
WIDTH = 0.55  # of the root mean squared distance of two samples
SHARES = (0.25, 0.5, 0.75, 1.0)  # of a layer's units that are clamped together
PRIOR = 10.0  # standard deviation of the probe's weights, for features of root mean squared length 1
GRID = 16  # cells per side of an image, at most

Found = dict[tuple[str, str], float | str]  # (layer, quantity) -> a value, or the reason why there is none


class _Codelength(TypedDict, total=False):
    n: int


class _Information(_Codelength, total=False):
    alpha: float


class _Redundancy(_Information, total=False):
    max_pairs: int
    seed: int


class _ClassInformation(_Codelength, total=False):
    shares: Sequence[float]


class _Discarding(_Codelength, total=False):
    boxed: bool
    steps: int
    samples: int
    held_out: int
    seed: int


class Options(TypedDict, total=False):
    """Options of the five lenses, by the name of the lens: what `look` passes on.

    Parameters
    ----------
    information, redundancy, class_information, discarding, codelength : dict
        Keywords of the function of that name, such as `{"n": 4, "boxed": True}`.
    """

    information: _Information
    redundancy: _Redundancy
    class_information: _ClassInformation
    discarding: _Discarding
    codelength: _Codelength


def look(
    model: nn.Module,
    data: Data,
    layers: Sequence[str],
    *,
    network: str = "",
    seed: int = 0,
    progress: bool = False,
    **options: Unpack[Options],
) -> pd.DataFrame:
    """All five lenses of a network: their tables one below the other, with the columns `network` and `seed`.

    Parameters
    ----------
    model : nn.Module
        Any network, in eval mode.
    data : Data
        Held-out samples, of which each lens takes the first; images in [0, 1].
    layers : sequence of str
        Dotted names of layers that `checked` accepts.
    network : str
        Its name, for the table.
    seed : int
        Of every lens that draws.
    progress : bool
        Whether to show a bar.
    **options
        Of the lens of that name, such as `discarding={"n": 4, "boxed": True}`.

    Returns
    -------
    DataFrame
        The columns at the head of this module, network and seed.

    Raises
    ------
    ValueError
        For a lens or an option that does not exist, before the first lens measures; for what `checked` and the lenses
        refuse.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> images = Data(torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2)
    >>> few = {"information": {"n": 20}, "redundancy": {"n": 20}, "class_information": {"n": 20}}
    >>> table = look(net, images, ["1"], **few, discarding={"n": 1, "steps": 0, "held_out": 8}, codelength={"n": 20})
    >>> table.groupby("lens", sort=False)["quantity"].agg(list).to_dict()["information"]
    ['I(X;T)', 'I(T;Y)']
    >>> look(net, images, ["1"], discarding={"step": 0})
    Traceback (most recent call last):
    ValueError: unknown option 'step' of discarding; allowed: n, boxed, steps, samples, held_out, seed
    """
    given = cast(Mapping[str, Mapping[str, Any]], options)
    for name, own in given.items():
        checks.choice("lens", name, LENSES)
        _options.check(LENSES[name], own)
    tables = []
    bar = tqdm(LENSES.items(), unit="lens", **{} if progress else {"disable": True})  # else as TQDM_DISABLE says
    for name, lens in bar:
        bar.set_description(name)
        drawing = {"seed": seed} if name in ("redundancy", "discarding") else {}
        tables.append(lens(model, data, layers, **drawing | dict(given.get(name, {}))))
    return pd.concat(tables, ignore_index=True).assign(network=network, seed=seed)


def information(
    model: nn.Module, data: Data, layers: Sequence[str], *, n: int = 128, alpha: float = 1.01
) -> pd.DataFrame:
    """Lens 1: matrix-based I(X;T) and I(T;Y) of each layer in bits, as `information_plane.point` has them.

    Widths of the layers are those best aligned with the labels.

    Parameters
    ----------
    model, data, layers
        As `look` takes them.
    n : int
        Samples, at least 8.
    alpha : float
        Order of the Rényi entropy.

    Returns
    -------
    DataFrame
        The columns at the head of this module.

    Raises
    ------
    ValueError
        As `checked`, and for more samples than there are.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> images = Data(torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2)
    >>> information(net, images, ["1"], n=32)[["quantity", "unit", "why not"]].values.tolist()
    [['I(X;T)', 'bit', ''], ['I(T;Y)', 'bit', '']]
    """
    layers, batch = checked(model, data, layers), _first(data, n)
    width = _width(batch.x.flatten(1)[:, None])
    points = information_plane.point(model, batch.x, batch.y, layers, input_width=width, alpha=alpha)
    found = {(row["layer"], of): row[of] for row in points.to_dict("records") for of in ("I(X;T)", "I(T;Y)")}
    return _table("information", layers, found, n, f"alpha {alpha:g}, input width {width:.3g}, widths by alignment")


def redundancy(
    model: nn.Module,
    data: Data,
    layers: Sequence[str],
    *,
    n: int = 128,
    alpha: float = 1.01,
    max_pairs: int = 60,
    seed: int = 0,
) -> pd.DataFrame:
    """Lens 2: redundancy minus synergy of pairs of a layer's feature maps about the input (`synergy.decompose`).

    RS(X;T) in bits, and RS share, the fraction of the pair's information; means over pairs. All maps of a layer have
    one kernel width. A layer without several maps (n, maps, height, width) has no pairs.

    Parameters
    ----------
    model, data, layers
        As `look` takes them.
    n : int
        Samples, at least 8.
    alpha : float
        Order of the Rényi entropy.
    max_pairs : int
        Pairs at most, drawn without replacement.
    seed : int
        Of the pairs.

    Returns
    -------
    DataFrame
        The columns at the head of this module.

    Raises
    ------
    ValueError
        As `checked`, and for options out of range.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten()).eval()
    >>> images = Data(torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2)
    >>> redundancy(net, images, ["0", "1"], n=32)[["layer", "quantity", "why not"]].values.tolist()[1:3]
    [['0', 'RS share', ''], ['1', 'RS(X;T)', 'no maps: its output for an image is (27,), not (maps, height, width)']]
    """
    layers, batch = checked(model, data, layers), _first(data, n)
    X = renyi.gram(batch.x.double(), width=_width(batch.x.flatten(1)[:, None]))
    found: Found = {}
    for layer, t in activations.collect(model, batch.x, layers).items():
        said = _redundancy(X, t.double(), alpha=alpha, max_pairs=max_pairs, seed=seed)
        found |= {(layer, of): said if isinstance(said, str) else said[of] for of in ("RS(X;T)", "RS share")}
    return _table("redundancy", layers, found, n, f"alpha {alpha:g}, {max_pairs} pairs at most, widths {WIDTH} rms")


def class_information(
    model: nn.Module, data: Data, layers: Sequence[str], *, n: int = 256, shares: Sequence[float] = SHARES
) -> pd.DataFrame:
    """Lens 3: mean class information I(T;Y) of a layer's units in bits, and the accuracy that is left without them.

    "ablation area" is the mean accuracy along `clamped_accuracy` with the most informative units first. "ablation gap"
    is that area with the least informative units first minus "ablation area": positive where class information
    indicates importance.

    Parameters
    ----------
    model, data, layers
        As `look` takes them.
    n : int
        Samples that the units are scored on, at least 8; the accuracy is of the n that follow.
    shares : sequence of float
        Fractions of the units that are clamped together, in (0, 1].

    Returns
    -------
    DataFrame
        The columns at the head of this module.

    Raises
    ------
    ValueError
        As `checked`, for fewer than 2 n samples, and for other shares.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> images = Data(torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2)
    >>> class_information(net, images, ["1"], n=20)["quantity"].tolist()
    ['class information', 'ablation area', 'ablation gap']
    """
    layers, scored = checked(model, data, layers), _scores(model, _first(data, n, of=2), layers)
    found: Found = {(layer, "class information"): float(bits.mean()) for layer, (bits, _) in scored.items()}
    if reason := no_accuracy(model, data):
        found |= dict.fromkeys(product(layers, ("ablation area", "ablation gap")), reason)
    else:
        curves = _curves(model, data[n : 2 * n], scored, shares).set_index("share")
        for layer, rows in curves.groupby("layer"):
            first, last = (_area(rows[rows["direction"] == way]["accuracy"]) for way in ("descending", "ascending"))
            found |= {(layer, "ablation area"): first, (layer, "ablation gap"): last - first}
    return _table("class_information", layers, found, n, "one bit per unit, at its median; clamped to the mean")


def clamped_accuracy(
    model: nn.Module, data: Data, layers: Sequence[str], *, n: int = 256, shares: Sequence[float] = SHARES
) -> pd.DataFrame:
    """Accuracy with a fraction of a layer's units clamped to their means, in the order of their class information.

    Units are those of (n, units), the maps of (n, maps, height, width), by their mean, and the features of (n, tokens,
    features), by their mean. `neuron_importance.ablation_curves` does so for a chain of layers, this for any network.

    Parameters
    ----------
    model, data, layers
        As `look` takes them.
    n : int
        Samples that the units are scored on and their means taken of, at least 8; the accuracy is of the n that follow.
    shares : sequence of float
        Fractions of the units that are clamped together, in (0, 1].

    Returns
    -------
    DataFrame
        Columns: layer, direction ("descending": the most informative first), share, accuracy.

    Raises
    ------
    ValueError
        As `checked`, for fewer than 2 n samples, other shares, and a model whose output is not (n, classes).

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> images = Data(torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2)
    >>> clamped_accuracy(net, images, ["1"], n=20, shares=[1.0])["share"].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    layers, scored = checked(model, data, layers), _scores(model, _first(data, n, of=2), layers)
    if reason := no_accuracy(model, data):
        raise ValueError(reason)
    return _curves(model, data[n : 2 * n], scored, shares)


def discarding(
    model: nn.Module,
    data: Data,
    layers: Sequence[str],
    *,
    n: int = 8,
    boxed: bool = False,
    steps: int = 25,
    samples: int = 16,
    held_out: int = 128,
    seed: int = 0,
) -> pd.DataFrame:
    """Lens 4: strict information discarding of each layer in bits, mean over images, and its concentration.

    `discarding.strict_information_discarding` on the finest grid of at most 16 cells a side that divides the image.
    Without `steps` of its optimiser an untrained network stays at the floor: all cells seem equal.

    Parameters
    ----------
    model, data, layers
        As `look` takes them.
    n : int
        Images.
    boxed : bool
        Whether the object is in the central two thirds; concentration needs its position.
    steps, samples, held_out, seed : int
        As `discarding.strict_information_discarding` takes them.

    Returns
    -------
    DataFrame
        The columns at the head of this module.

    Raises
    ------
    ValueError
        As `checked`, and for options out of range.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> images = Data(torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2)
    >>> table = discarding(net, images, ["1"], n=2, steps=0, held_out=16)
    >>> table[["quantity", "settings"]].values.tolist()
    [['discarding', 'grid 4, 0 steps'], ['concentration', 'grid 4, 0 steps']]
    """
    layers, batch = checked(model, data, layers), _first(data, n, least=1)
    for name, value in (("steps", steps), ("samples", samples), ("held_out", held_out)):
        checks.at_least(name, value, 0 if name == "steps" else 2)
    found: Found = {}
    grid = finest_grid(batch.x)
    search = partial(strict_information_discarding, model, batch.x, grid=grid, rectify=False, steps=steps, seed=seed)
    for layer in layers:
        one = partial(search, layer, samples=samples, held_out=held_out)
        said = _discarding(batch.x, one, boxed=boxed, grid=grid)
        found |= {(layer, of): value for of, value in said.items()}
    return _table("discarding", layers, found, n, f"grid {grid}, {steps} steps")


def codelength(model: nn.Module, data: Data, layers: Sequence[str], *, n: int = 512) -> pd.DataFrame:
    """Lens 5: prequential codelength of the labels in bits per label, by a linear probe on each layer's output.

    `transfer.prequential_codelength` of n samples in blocks that double, mixed with the uniform code; the learner is
    `probe`. The length of the uniform code itself is log2(classes).

    Parameters
    ----------
    model, data, layers
        As `look` takes them.
    n : int
        Samples, at least 8.

    Returns
    -------
    DataFrame
        The columns at the head of this module.

    Raises
    ------
    ValueError
        As `checked`, and for more samples than there are.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> images = Data(torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2)
    >>> codelength(net, images, ["1"], n=32)[["quantity", "unit"]].values.tolist()
    [['codelength', 'bit per label']]
    """
    layers, batch = checked(model, data, layers), _first(data, n)
    start = torch.zeros(int(batch.y.max()) + 1)
    found: Found = {}
    for layer, t in activations.collect(model, batch.x, layers).items():
        labelled = Data(_coordinates(t.flatten(1).double()), batch.y)
        found[layer, "codelength"] = transfer.prequential_codelength(probe, start, labelled, mixture=True).bits / n
    return _table("codelength", layers, found, n, f"linear probe, prior {PRIOR:g}")


def probe(state: Tensor, prefix: Data, _seed: int = 0) -> Callable[[Tensor], Tensor]:
    """Learner for prequential codes: multinomial logistic regression with a normal prior on its weights.

    W maximises Σ log softmax(x W + b)_y - |W|² / (2 PRIOR²), where W holds the biases b too. Without a prefix all
    classes are equally probable.

    Parameters
    ----------
    state : Tensor, shape (classes,)
        Only its length counts.
    prefix : Data
        What the regression learns from: features (n, d) and their labels.
    _seed : int
        Not used.

    Returns
    -------
    callable
        From features (n, d) to logits (n, classes), float64.

    Examples
    --------
    >>> predictor = probe(torch.zeros(2), Data(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1])))
    >>> predictor(torch.tensor([[-2.0], [3.0]])).argmax(1)
    tensor([0, 1])
    """
    ones = partial(nn.functional.pad, pad=(0, 1), value=1.0)
    x, W = ones(prefix.x.double()), torch.zeros(prefix.x.shape[1] + 1, len(state), dtype=torch.float64)
    W.requires_grad_()
    solver = LBFGS([W], max_iter=100, tolerance_grad=1e-6, tolerance_change=1e-12, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        value = cross_entropy(x @ W, prefix.y, reduction="sum") + W.square().sum() / (2 * PRIOR**2)
        value.backward()
        return value

    if len(prefix):
        solver.step(loss)
    return lambda x: ones(x.double()) @ W.detach()


LENSES: dict[str, Callable[..., pd.DataFrame]] = {
    lens.__name__: lens for lens in (information, redundancy, class_information, discarding, codelength)
}  # in the order of the notebooks


# One layer under one lens


def _redundancy(X: Tensor, t: Tensor, *, alpha: float, max_pairs: int, seed: int) -> dict[str, float] | str:
    if t.ndim != 4:
        return f"no maps: its output for an image is {tuple(t.shape[1:])}, not (maps, height, width)"
    if t.shape[1] == 1:
        return "a single map has no pairs"
    if (width := _width(t.flatten(2))) == 0:
        return "it says the same of every image"
    d = synergy.decompose(X, renyi.channel_grams(t, width=width), alpha=alpha, max_pairs=max_pairs, seed=seed)
    return {"RS(X;T)": d.redundancy_synergy, "RS share": d.redundancy_share}


def _scores(model: nn.Module, data: Data, layers: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """Class information in bits and mean of each unit, by layer."""
    spoken = {layer: _by_unit(t) for layer, t in activations.collect(model, data.x, layers).items()}
    y = data.y.to(next(iter(spoken.values())).device)
    return {layer: (discrete.mutual_information(binning.quantile(t, 2), y), t.mean(0)) for layer, t in spoken.items()}


def _by_unit(t: Tensor) -> Tensor:
    """(n, units): of maps and tokens the means over their places."""
    return t.mean(1) if t.ndim == 3 else t.flatten(2).mean(2) if t.ndim > 2 else t


def _curves(
    model: nn.Module, data: Data, scored: Mapping[str, tuple[Tensor, Tensor]], shares: Sequence[float]
) -> pd.DataFrame:
    if not shares or min(shares) <= 0 or max(shares) > 1:
        raise ValueError(f"shares must lie in (0, 1], got {list(shares)}")
    intact, rows = training.evaluate(model, data, batch_size=256).accuracy, []
    for layer, (bits, means) in scored.items():
        for direction in ("descending", "ascending"):
            order = bits.round(decimals=9).argsort(descending=direction == "descending", stable=True)
            rows.append((layer, direction, 0.0, intact))
            for share in shares:
                change = partial(_clamped, units=order[: round(share * len(order))], means=means)
                with activations.replace(model, {layer: change}):
                    left = training.evaluate(model, data, batch_size=256).accuracy
                rows.append((layer, direction, share, left))
    return pd.DataFrame(rows, columns=["layer", "direction", "share", "accuracy"])


def _clamped(t: Tensor, units: Tensor, means: Tensor) -> Tensor:
    by_unit = t.movedim(-1, 1) if t.ndim == 3 else t  # a view: what is written there is written to t
    by_unit[:, units] = means[units].view(-1, *[1] * (t.ndim - 2))
    return t


def _area(accuracy: pd.Series) -> float:
    return float(np.trapezoid(accuracy, accuracy.index) / np.ptp(accuracy.index))


def _discarding(x: Tensor, search: Callable[[], Discarding], *, boxed: bool, grid: int) -> dict[str, float | str]:
    if grid == 0:
        return dict.fromkeys(("discarding", "concentration"), f"it takes images (n, c, h, w), got {tuple(x.shape)}")
    try:
        d = search()
    except ValueError as error:  # a layer that no noise moves: the options have been checked
        return dict.fromkeys(("discarding", "concentration"), str(error))
    if not boxed or grid < 3:
        why = "nobody knows where the object is" if not boxed else f"a grid of {grid} cells has no box"
        return {"discarding": float(d.mean.mean()), "concentration": why}
    inside = box(grid).to(d.entropy.device)
    return {
        "discarding": float(d.mean.mean()),
        "concentration": float(concentration(d.entropy, inside).mean()),
    }


def finest_grid(x: Tensor) -> int:
    """Cells per side: the largest number up to 16 that divides both sides of the images; 0 for what are no images.

    Parameters
    ----------
    x : Tensor, shape (n, c, h, w)
        Images; only their shape counts.

    Returns
    -------
    int

    Examples
    --------
    >>> finest_grid(torch.zeros(1, 1, 28, 28)), finest_grid(torch.zeros(1, 784))
    (14, 0)
    """
    if x.ndim != 4:
        return 0
    return max(g for g in range(1, GRID + 1) if x.shape[2] % g == 0 == x.shape[3] % g)


def _coordinates(t: Tensor) -> Tensor:
    """Features (n, d) in at most n coordinates with the same inner products, about their mean, rms length 1.

    A linear probe with a normal prior depends on the inner products of its features alone: nothing is lost.
    """
    centred = t - t.mean(0)
    gram = centred @ centred.T
    values, vectors = torch.linalg.eigh(gram / gram.diagonal().mean().clamp_min(1e-30))
    return vectors * values.clamp_min(0).sqrt()


def _width(t: Tensor) -> float:
    """WIDTH times the root mean squared distance of two samples, over maps (n, maps, values)."""
    return WIDTH * math.sqrt(2 * float(t.double().var(0).sum() / t.shape[1]))


def _first(data: Data, n: int, *, of: int = 1, least: int = 8) -> Data:
    """The first n samples, of which `of` times as many are needed."""
    if of * checks.at_least("n", n, least) > len(data):
        needed = f"{of} times n={n}" if of > 1 else f"n={n}"
        raise ValueError(f"{needed} is more than the {len(data)} samples of data")
    return data[:n]


def _table(lens: str, layers: Sequence[str], found: Found, n: int, settings: str) -> pd.DataFrame:
    quantities = dict.fromkeys(of for _, of in found)
    rows = []
    for (depth, layer), of in product(enumerate(layers, start=1), quantities):
        said = found[layer, of]
        if not isinstance(said, str) and not math.isfinite(said):
            said = f"the estimate is {said}"
        value, why = (math.nan, said) if isinstance(said, str) else (said, "")
        rows.append([lens, layer, depth, of, value, UNITS.get(of, "bit"), n, settings, why])
    return pd.DataFrame(rows, columns=COLUMNS)
