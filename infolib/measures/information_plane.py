"""The information plane: each layer's information about the input, I(X;T), and about the label, I(T;Y).

`point` is the plane at one moment, `trajectory` and `trajectories` follow it while a network learns. The estimator of
both quantities is an argument: any function

    estimator(x, y, recorded, **options) -> one dict of numbers in bits for each layer, in the order of `recorded`

with the batch x (n, ...), its labels y (n,) and its activations {layer: (n, ...)}. It gets all layers of a batch at
once, so that what they share, such as S(X), is computed once. Here are three: `matrix_based` (Wickstrøm et al. 2019,
arXiv 1909.11396), `binned` and `neighbours`. The last two take X to be *which sample it is*: n different samples have
log2 n bits, the upper bound of I(X;T) (for `neighbours` ψ(n copies) - ψ(copies)).

The argument `softmax` names the layers that enter as softmax(logits), and the column `softmax` marks their rows.
Without it that is the layer named `output`, as in Wickstrøm et al. 2019.

The options of an estimator are bound by `functools.partial`, such as `partial(binned, bins=30)`. An option that the
estimator does not take is refused when the plane is described, before a network is trained or measured.
"""

import inspect
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from infolib import activations, checks
from infolib.data import Data
from infolib.estimators import binning, chance, discrete, knn, renyi
from infolib.measures import _options
from infolib.training import Step

Row = dict[str, Any]
Estimator = Callable[..., list[Row]]
Batch = Data | Callable[[Step], Data]


class Kernel(TypedDict, total=False):
    """Options of `matrix_based` that `point` and `trajectory` take in short.

    Parameters
    ----------
    input_width, ratio, alpha, precision, search, centred, bins, points, low, high, permutations, seed
        As `matrix_based` takes them; `input_width` or `ratio` is required.
    """

    input_width: float | None
    ratio: float | None
    alpha: float
    precision: torch.dtype
    search: Literal["refined", "published"]
    centred: bool
    bins: int | None
    points: int | None
    low: float | None
    high: float | None
    permutations: int
    seed: int


def matrix_based(
    x: Tensor,
    y: Tensor,
    recorded: Mapping[str, Tensor],
    *,
    input_width: float | None = None,
    ratio: float | None = None,
    alpha: float = 1.01,
    widths: Mapping[str, float] | None = None,
    momentum: float = 0.0,
    precision: torch.dtype = torch.float64,
    search: Literal["refined", "published"] = "refined",
    centred: bool = False,
    bins: int | None = None,
    points: int | None = None,
    low: float | None = None,
    high: float | None = None,
    permutations: int = 0,
    seed: int = 0,
) -> list[Row]:
    """Matrix-based I(X;T) and I(T;Y) in bits of recorded activations: a row for each layer.

    The tensor kernel of Wickstrøm et al. 2019: an activation of any shape is flattened. The kernel width of a layer at
    iteration t is theirs,

        width_t = momentum width_(t-1) + (1 - momentum) width*,

    where the kernel of width* is the one best aligned with the labels' kernel: by `renyi.alignment_width`, or on the
    grid of that paper. With a `ratio` no labels are needed: width* is `ratio` times the layer's root mean squared
    distance, and the input's width is `ratio` times that of the input. All widths are those of exp(-d²/(2 width²)). A
    dead layer, whose activations are all the same, has no width*: it keeps its former width, or has an infinite one,
    and its information is 0.

    Both quantities are near log2 n where kernels are narrow, for unrelated X and T too. Their level of chance is their
    mean over permuted pairs; at alpha = 2 it is exact, that of the mean of |A ∘ B_π|² over all permutations, and always
    computed (`chance.joint_entropy`).

    Parameters
    ----------
    x, y : Tensor, shapes (n, ...) and (n,)
        Samples of X, in any unit; their labels, integers.
    recorded : mapping from str to Tensor, shape (n, ...)
        The activations of each layer. Distances and kernels are computed in their precision.
    input_width : float, optional
        Kernel width of the input, in the unit of x, positive.
    ratio : float, optional
        In place of `input_width`: widths of input and layers in their root mean squared distances, positive.
    alpha : float
        Order of the Rényi entropy, positive.
    widths : mapping from str to float, optional
        The former width_(t-1) of each layer, in the unit of its activations. A layer without one has width*.
    momentum : float
        0.9 in the paper; with 1 the widths stay as they are given.
    precision : torch.dtype
        Precision of the eigenvalues.
    search : {"refined", "published"}
        For width*: `renyi.alignment_width` or `renyi.published_width`.
    centred, bins
        As `renyi.alignment_width` takes them; the published search has `bins` only.
    points, low, high : optional
        As `renyi.published_width` takes them; for the published search only.
    permutations, seed : int
        Number of permuted pairs whose mean is chance; seed of their generator.

    Returns
    -------
    list of dict
        One for each layer: layer, I(X;T), I(T;Y), S(T), S(X), S(Y), width, width_at_end (1 if width* is an end of
        the range searched), input_width, alpha, n; with permutations and at alpha = 2, I(X;T) chance, I(T;Y) chance.

    Raises
    ------
    ValueError
        For a momentum outside [0, 1], neither or both of `input_width` and `ratio`, options of the other search,
        negative permutations, and for what the estimators refuse.

    Examples
    --------
    >>> x, y = torch.tensor([[0.0], [0.1], [5.0], [5.1]]), torch.tensor([0, 0, 1, 1])
    >>> (row,) = matrix_based(x, y, {"sign": (x > 1).float()}, input_width=0.01)
    >>> round(row["I(X;T)"], 4), round(row["I(T;Y)"], 4), round(row["S(X)"], 4)
    (1.0, 1.0, 2.0)
    """
    checks.hold("precision", precision, precision in (torch.float32, torch.float64), "torch.float32 or torch.float64")
    checks.within("momentum", momentum, 0, 1)
    checks.at_least("permutations", permutations, 0)
    chosen_by: Row = {"input_width": input_width, "ratio": ratio, "search": search, "centred": centred, "bins": bins}
    best = _search(**chosen_by, points=points, low=low, high=high)
    y = _labels(x, y, recorded)
    width_x = float(renyi.distance_width(x, ratio=ratio)) if input_width is None and ratio else input_width or 0.0
    gram_x = renyi.gram(x, width=checks.positive("input_width", width_x)).to(precision)
    s_x, s_y = float(renyi.entropy(gram_x, alpha=alpha)), float(renyi.label_entropy(y, alpha=alpha))
    found, grams = [], []
    for layer, t in recorded.items():
        squared = renyi.squared_distances(t)
        found.append(_width(squared, partial(best, squared, y), (widths or {}).get(layer), momentum))
        grams.append(renyi.gram(squared, width=found[-1]["width"], precomputed=True).to(gram_x))
    T = torch.stack(grams)  # (layers, n, n): one call for the spectra of all layers
    s_t = renyi.entropy(T, alpha=alpha)
    bits = {"I(X;T)": s_x + s_t - renyi.joint_entropy(gram_x, T, alpha=alpha)}
    bits |= {"I(T;Y)": s_t + s_y - renyi.label_joint_entropy(T, y, alpha=alpha), "S(T)": s_t}
    if permutations or alpha == 2:
        few: Row = {"alpha": alpha, "permutations": 0 if alpha == 2 else permutations, "seed": seed}
        bits["I(X;T) chance"] = s_x + s_t - chance.joint_entropy(gram_x, T, **few).mean
        bits["I(T;Y) chance"] = s_t + s_y - chance.label_joint_entropy(T, y, **few).mean
    rows = (dict(zip(bits, row, strict=True)) for row in zip(*(b.tolist() for b in bits.values()), strict=True))
    same = {"S(X)": s_x, "S(Y)": s_y, "input_width": width_x, "alpha": alpha, "n": len(x)}
    return [{"layer": layer} | row | width | same for layer, row, width in zip(recorded, rows, found, strict=True)]


def binned(
    x: Tensor,
    y: Tensor,
    recorded: Mapping[str, Tensor],
    *,
    bins: int,
    low: float | None = None,
    high: float | None = None,
) -> list[Row]:
    """I(X;T) and I(T;Y) in bits of activations in equal bins (Shwartz-Ziv & Tishby 2017): a row for each layer.

    All units of a layer together are one symbol. T is a function of X, so H(T|X) = 0 and I(X;T) = H(T): with fine bins
    it is the entropy of the samples, for any layer.

    Parameters
    ----------
    x, y : Tensor, shapes (n, ...) and (n,)
        Samples, of which only the number counts; their labels, integers.
    recorded : mapping from str to Tensor, shape (n, ...)
        The activations of each layer.
    bins : int
        Number of bins of each unit.
    low, high : float, optional
        Ends of the bins in the unit of the activations; without them, a layer's least and largest value.

    Returns
    -------
    list of dict
        One for each layer: layer, I(X;T), I(T;Y), H(Y), bins, clipped (fraction of the values outside the bins), n.

    Raises
    ------
    ValueError
        For what `binning.uniform` and `discrete` refuse.

    Examples
    --------
    >>> t = torch.tensor([[-1.0], [-0.9], [0.9], [1.0]])
    >>> (row,) = binned(t, torch.tensor([0, 0, 1, 1]), {"hidden1": t}, bins=2)
    >>> row["I(X;T)"], row["I(T;Y)"]
    (1.0, 1.0)
    """
    y, rows = _labels(x, y, recorded), []
    for layer, t in recorded.items():
        codes, clipped = binning.uniform(t, bins, low=low, high=high)
        symbols = discrete.symbols(codes)
        row = {"layer": layer, "I(X;T)": float(discrete.entropy(symbols))}
        row |= {"I(T;Y)": float(discrete.mutual_information(symbols, y)), "H(Y)": float(discrete.entropy(y))}
        rows.append(row | {"bins": bins, "clipped": clipped, "n": len(x)})
    return rows


def neighbours(
    x: Tensor, y: Tensor, recorded: Mapping[str, Tensor], *, noise: float, copies: int = 4, k: int = 3, seed: int = 0
) -> list[Row]:
    """I(X;T+ε) and I(T+ε;Y) in bits from nearest neighbours (Kraskov et al. 2004, Ross 2014): a row for each layer.

    T is a function of X, so the information of continuous T is infinite or, of finitely many samples, that of the
    samples. With noise ε ~ N(0, noise²) in every unit it depends on the distances between the samples; the level of
    the noise is part of the result. X and Y are discrete, the sample and its class: both estimates are
    `knn.label_mutual_information`. With few copies I(X;T+ε) of samples that are far apart is ψ(n copies) - ψ(copies)
    rather than log2 n, 0.19 bits more for 4.

    Parameters
    ----------
    x, y : Tensor, shapes (n, ...) and (n,)
        Samples, of which only the number counts; their labels, integers.
    recorded : mapping from str to Tensor, shape (n, ...)
        The activations of each layer.
    noise : float
        Standard deviation of ε, in the unit of the activations.
    copies : int
        How often each sample enters, each time with new noise; at least 2.
    k : int
        Number of neighbours.
    seed : int
        Seed of the noise.

    Returns
    -------
    list of dict
        One for each layer: layer, I(X;T), I(T;Y), H(Y), noise, copies, k, n.

    Raises
    ------
    ValueError
        For copies < 2, noise not above 0, and for what the estimator refuses.

    Examples
    --------
    >>> t = torch.arange(8.0)[:, None]
    >>> (row,) = neighbours(t, torch.arange(8) % 2, {"far apart": t}, noise=1e-3)
    >>> round(row["I(X;T)"], 2)  # ψ(32) - ψ(4) in bits; log2 8 = 3
    3.17
    """
    y, rows = _labels(x, y, recorded), []
    checks.within("noise", checks.positive("noise", noise), 0)
    sample = torch.arange(len(x)).repeat_interleave(checks.at_least("copies", copies, 2))
    for layer, t in recorded.items():
        generator = torch.Generator().manual_seed(checks.at_least("seed", seed, 0))
        t = t.detach().flatten(1).cpu().double()[sample]
        t = t + noise * torch.randn(t.shape, dtype=t.dtype, generator=generator)
        about = [float(knn.label_mutual_information(t, symbol, k=k)) for symbol in (sample, y.cpu()[sample])]
        row = {"layer": layer, "I(X;T)": about[0], "I(T;Y)": about[1], "H(Y)": float(discrete.entropy(y))}
        rows.append(row | {"noise": noise, "copies": copies, "k": k, "n": len(x)})
    return rows


@dataclass(frozen=True, kw_only=True)
class Plane:
    """How one information plane is measured while a network learns: its batch, steps, estimator and kernel widths.

    Parameters
    ----------
    batch : Data or callable
        The samples that its points are measured on, or a function of the `Step` that returns them, such as
        `lambda step: data[step.batch]` for the batch just trained on, or `drawn_from(test, 200, seed=0)`.
    estimator : callable
        A function as at the head of this module, with its options bound by `functools.partial`.
    at : sequence of int, optional
        The numbers of steps after which it is measured, rising; every step without it. 0 is the network before its
        first step (a Step with an empty batch and no loss).
    momentum, widths : float and mapping from str to float, optional
        Of the moving average of the kernel widths, which goes from point to point (see `matrix_based`); the widths that
        it starts from. Momentum 0.9 is that of Wickstrøm et al. 2019; with 1 the widths stay as they begin.
    settled : (int, int), optional
        (m, points): after m points of the plane, the published search tries only `points` widths; (40, 50) in the
        paper. The other search has no such option.
    dtype : torch.dtype
        Precision to which samples and activations are converted.
    softmax : sequence of str, optional
        As `point` takes it.

    Raises
    ------
    ValueError
        For an option that the estimator does not take, or needs and lacks; steps that do not rise; a momentum outside
        [0, 1], or one that is bound to the estimator; and for arguments of another type.

    Examples
    --------
    >>> Plane(batch=Data(torch.eye(2), torch.arange(2)), estimator=partial(binned, bin=30))
    Traceback (most recent call last):
    ValueError: unknown option 'bin' of binned; allowed: bins, low, high
    """

    batch: Batch
    estimator: Estimator
    at: Sequence[int] | None = None
    momentum: float = 0.0
    widths: Mapping[str, float] | None = None
    settled: tuple[int, int] | None = None
    dtype: torch.dtype = torch.float64
    softmax: Sequence[str] | None = None

    def __post_init__(self) -> None:
        _floating(self.dtype)
        if self.settled:
            for name, least, value in zip(("settled: m", "settled: points"), (0, 1), self.settled, strict=True):
                checks.at_least(name, value, least)
        checks.within("momentum", self.momentum, 0, 1)
        if self.widths and not self.momentum:
            raise ValueError("momentum must be above 0 with widths, which it starts from, got 0; 1 fixes them")
        if self.at is not None:
            checks.increasing("at", self.at, 0)
        if {"momentum", "widths"} & set(getattr(self.estimator, "keywords", ())):
            raise ValueError("momentum and widths must be the plane's own, got an estimator that has them bound")
        moving = {"widths": self.widths, "momentum": self.momentum} if self.momentum else {}
        _described(self.estimator, moving | ({"points": self.settled[1]} if self.settled else {}))


def point(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    layers: Sequence[str],
    *,
    estimator: Estimator = matrix_based,
    dtype: torch.dtype = torch.float64,
    softmax: Sequence[str] | None = None,
    **options: Unpack[Kernel],
) -> pd.DataFrame:
    """I(X;T) and I(T;Y) in bits of each layer on one batch: a frame with one row per layer.

    The activations are those in eval mode; the model's modes are restored.

    Parameters
    ----------
    model : nn.Module
        Any network.
    x, y : Tensor, shapes (n, ...) and (n,)
        Samples and their labels, integers.
    layers : sequence of str
        Dotted names.
    estimator : callable
        As at the head of this module.
    dtype : torch.dtype
        Precision to which samples and activations are converted.
    softmax : sequence of str, optional
        Layers of logits (n, classes) that enter as softmax(logits); () for none. Without it, the layer named `output`.
    **options
        Of the estimator, in short: `point(..., input_width=2.0)` binds it to `matrix_based`.

    Returns
    -------
    DataFrame
        Columns: those of the estimator, softmax (whether it is of softmax(logits)).

    Raises
    ------
    ValueError
        For options that the estimator does not take, a softmax of other layers or of outputs that are not logits, and
        arguments of another type, before anything is computed; for what the estimator or `activations.collect` refuse.

    Examples
    --------
    >>> net, x = nn.Sequential(nn.Identity(), nn.Flatten()), torch.tensor([[0.0], [0.01], [5.0], [5.01]])
    >>> table = point(net, x, torch.tensor([0, 0, 1, 1]), ["0"], input_width=0.5)
    >>> table[["layer", "I(X;T)", "I(T;Y)"]].round(2)
      layer  I(X;T)  I(T;Y)
    0     0     1.0     1.0
    """
    bound = partial(estimator, **options)
    _described(bound)
    chosen = _softmaxed(model, layers, softmax)
    data = Data(checks.of_type("x", x, Tensor, "a tensor"), y)
    checks.labels("y", y, len(x))
    return pd.DataFrame(_rows(model, data, layers, bound, _floating(dtype), chosen))


def trajectory(
    model: nn.Module,
    steps: Iterable[Step],
    x: Tensor,
    y: Tensor,
    layers: Sequence[str],
    *,
    estimator: Estimator = matrix_based,
    at: Sequence[int] | None = None,
    momentum: float = 0.0,
    widths: Mapping[str, float] | None = None,
    settled: tuple[int, int] | None = None,
    dtype: torch.dtype = torch.float64,
    softmax: Sequence[str] | None = None,
    **options: Unpack[Kernel],
) -> pd.DataFrame:
    """Points of the information plane of one batch in bits while a network learns: `trajectories` of a single plane.

    Parameters
    ----------
    model, steps, layers
        As `trajectories` takes them.
    x, y : Tensor, shapes (n, ...) and (n,)
        Samples and their labels, integers.
    estimator, at, momentum, widths, settled, dtype, softmax
        As `Plane` takes them.
    **options
        Of the estimator, in short, as `point` takes them.

    Returns
    -------
    DataFrame
        A row for each step and layer. Columns: step, those of the estimator, softmax.

    Raises
    ------
    ValueError
        As `Plane` and `trajectories` do.

    Examples
    --------
    >>> from infolib import training
    >>> net, data = nn.Sequential(nn.Linear(2, 2)), Data(torch.rand(6, 2), torch.arange(6) % 2)
    >>> steps = training.fit(net, data, epochs=9, batch_size=2, lr=0.1, seed=0)
    >>> trajectory(net, steps, data.x, data.y, ["0"], at=[0, 3, 6], input_width=0.1)["step"].tolist()
    [0, 3, 6]
    """
    bound, batch = partial(estimator, **options), Data(x, y)
    moving: Row = {"momentum": momentum, "widths": widths, "settled": settled}
    plane = Plane(batch=batch, estimator=bound, at=at, dtype=dtype, softmax=softmax, **moving)
    return trajectories(model, steps, {"batch": plane}, layers).drop(columns="plane")


def trajectories(
    model: nn.Module, steps: Iterable[Step], planes: Mapping[str, Plane], layers: Sequence[str]
) -> pd.DataFrame:
    """Several information planes of one training run in bits: a row for each step, plane and layer.

    Training ends at the last step at which any plane is measured.

    Parameters
    ----------
    model : nn.Module
        The network that is trained.
    steps : iterable of Step
        What `training.fit` gives for `model`.
    planes : mapping from str to Plane
        How each plane is measured, by its name.
    layers : sequence of str
        Dotted names.

    Returns
    -------
    DataFrame
        Columns: plane, step, those of the estimators, softmax.

    Raises
    ------
    ValueError
        For no planes, if training is over before a step that is asked for, for a softmax of other layers, and for what
        the estimators or `activations.collect` refuse.

    Examples
    --------
    >>> from infolib import training
    >>> net, data = nn.Sequential(nn.Linear(2, 2)), Data(torch.rand(6, 2), torch.arange(6) % 2)
    >>> steps = training.fit(net, data, epochs=9, batch_size=2, lr=0.1, seed=0)
    >>> few = Plane(batch=data, at=[0, 4], estimator=partial(binned, bins=8))
    >>> last = Plane(batch=data, at=[4], estimator=partial(matrix_based, input_width=0.1))
    >>> trajectories(net, steps, {"bins": few, "kernel": last}, ["0"])[["plane", "step"]].values.tolist()
    [['bins', 0], ['bins', 4], ['kernel', 4]]
    """
    asked = [math.inf if plane.at is None else plane.at[-1] for plane in planes.values()]
    measures = {name: _measure(model, layers, plane) for name, plane in planes.items()}
    rows: list[Row] = []
    for step in chain([Step(0, 0, torch.arange(0), math.nan)], steps):
        for name, measure in measures.items():
            rows += [{"plane": name, "step": step.step} | row for row in measure(step)]
        if step.step >= max(asked):
            break
    end = max((last for last in asked if last < math.inf), default=0)
    if step.step < end:
        raise ValueError(f"at asks for step {end}, but training ends at {step.step}")
    return pd.DataFrame(rows)


def drawn_from(data: Data, size: int, *, seed: int) -> Callable[[Step], Data]:
    """A batch of `size` different samples for each step, drawn by the seed and the step's number.

    Parameters
    ----------
    data : Data
        The samples that are drawn from.
    size : int
        Samples of a batch, at least 2.
    seed : int
        Seed of the draws, at least 0.

    Returns
    -------
    callable
        From a `Step` to its batch: the `batch` of a `Plane`.

    Raises
    ------
    ValueError
        For more samples than there are, a size or a seed out of range.

    Examples
    --------
    >>> batch = drawn_from(Data(torch.rand(9, 2), torch.arange(9)), 4, seed=0)
    >>> one, again, later = (batch(Step(1, i, torch.arange(0), 0.0)).y.tolist() for i in (1, 1, 2))
    >>> len(set(one)), one == again, one == later
    (4, True, False)
    """
    if checks.at_least("size", size, 2) > len(data):
        raise ValueError(f"size={size} is more than the {len(data)} samples there are in data")

    def batch(step: Step) -> Data:
        mixed = np.random.SeedSequence([seed, step.step]).generate_state(1)[0]  # torch would drop all but 32 bits
        generator = torch.Generator().manual_seed(int(mixed))
        return data[torch.randperm(len(data), generator=generator)[:size]]

    return batch


def early_stops(validation: Mapping[int, float], patiences: Sequence[int]) -> dict[int, int]:
    """The step at which early stopping ends training, for each patience: the marks on the plane of Wickstrøm et al.

    Training stops once `patience` evaluations in a row have not improved on the best before them; if that never
    happens, at the last step.

    Parameters
    ----------
    validation : mapping from int to float
        The accuracy after each evaluated step, in order.
    patiences : sequence of int
        Evaluations without improvement, at least 1.

    Returns
    -------
    dict from int to int
        The step for each patience.

    Raises
    ------
    ValueError
        For no evaluations or a patience below 1.

    Examples
    --------
    >>> early_stops({10: 0.5, 20: 0.7, 30: 0.6, 40: 0.7, 50: 0.8, 60: 0.8}, [1, 2, 3])
    {1: 30, 2: 40, 3: 60}
    """
    return {patience: _stop(validation, checks.at_least("patience", patience, 1)) for patience in patiences}


def _stop(validation: Mapping[int, float], patience: int) -> int:
    best, waited = -math.inf, 0
    for step, accuracy in validation.items():
        best, waited = (accuracy, 0) if accuracy > best else (best, waited + 1)
        if waited == patience:
            return step
    return max(validation)


def _measure(model: nn.Module, layers: Sequence[str], plane: Plane) -> Callable[[Step], list[Row]]:
    """A function that measures one plane after a step, if asked; it remembers its widths and how many points it has."""
    widths, measured, wanted = dict(plane.widths or {}), 0, None if plane.at is None else set(plane.at)
    softmax = _softmaxed(model, layers, plane.softmax)

    def measure(step: Step) -> list[Row]:
        nonlocal widths, measured
        if step.step == 0 if wanted is None else step.step not in wanted:
            return []
        moving: Row = {"widths": widths, "momentum": plane.momentum} if plane.momentum else {}
        if plane.settled and measured >= plane.settled[0]:
            moving["points"] = plane.settled[1]
        data = plane.batch(step) if callable(plane.batch) else plane.batch
        rows = _rows(model, data, layers, partial(plane.estimator, **moving), plane.dtype, softmax)
        measured += 1
        if plane.momentum:
            widths = {row["layer"]: row["width"] for row in rows}
        return rows

    return measure


def _rows(
    model: nn.Module, data: Data, layers: Sequence[str], estimator: Estimator, dtype: torch.dtype, softmax: list[str]
) -> list[Row]:
    recorded = prepared(activations.collect(model, data.x, layers), softmax, dtype)
    device = next(iter(recorded.values())).device
    rows = estimator(data.x.to(device, dtype), data.y.to(device), recorded)
    return [row | {"softmax": row["layer"] in softmax} for row in rows]


def prepared(recorded: Mapping[str, Tensor], softmax: Collection[str], dtype: torch.dtype) -> dict[str, Tensor]:
    """Activations as they enter an estimator: in its precision, and those of some layers as softmax(logits).

    Parameters
    ----------
    recorded : mapping from str to Tensor, shape (n, ...)
        The activations of each layer.
    softmax : sequence of str
        Layers of logits (n, classes).
    dtype : torch.dtype
        The precision.

    Returns
    -------
    dict from str to Tensor
        By layer.

    Raises
    ------
    ValueError
        For the softmax of activations that are not of shape (n, classes), with two classes or more, or not there.

    Examples
    --------
    >>> prepared({"hidden": torch.zeros(1, 2), "output": torch.zeros(1, 2)}, ["output"], torch.float32)
    {'hidden': tensor([[0., 0.]]), 'output': tensor([[0.5000, 0.5000]])}
    """
    for layer in checks.names("softmax", softmax):
        if layer not in recorded:
            raise ValueError(f"softmax must name some of layers, {', '.join(recorded)}, got {layer!r}")
        if recorded[layer].ndim != 2 or recorded[layer].shape[1] < 2:
            shape = tuple(recorded[layer].shape)
            raise ValueError(f"softmax must name layers of logits (n, classes), got {layer!r} of shape {shape}")
    return {layer: t.to(dtype).softmax(1) if layer in softmax else t.to(dtype) for layer, t in recorded.items()}


def _softmaxed(model: nn.Module, layers: Sequence[str], softmax: Sequence[str] | None) -> list[str]:
    """The layers of `softmax`, by default the one named `output`; checked with the model and its layers."""
    checks.network("model", model)
    checks.at_least("the number of layers", len(layers := checks.names("layers", layers)), 1)
    chosen = ["output"] if softmax is None and "output" in layers else checks.names("softmax", softmax or ())
    if unknown := [layer for layer in chosen if layer not in layers]:
        raise ValueError(f"softmax must name some of layers, {', '.join(layers)}, got {unknown[0]!r}")
    return chosen


def _labels(x: Tensor, y: Tensor, recorded: Mapping[str, Tensor]) -> Tensor:
    """The labels, if they and the activations of every layer have a row for each sample."""
    for layer, t in recorded.items():
        if len(t) != len(x):
            raise ValueError(f"recorded[{layer!r}] must have {len(x)} rows, one per sample, got {len(t)}")
    return checks.labels("y", y, len(x))


def _floating(dtype: torch.dtype) -> torch.dtype:
    if not dtype.is_floating_point:
        raise ValueError(f"dtype must be of floating point, got {dtype}")
    return dtype


def _described(estimator: Estimator, given: Mapping[str, Any] | None = None) -> None:
    """Refuse options that are bound to an estimator and are not its own, or do not fit each other."""
    _options.check(estimator, given)
    if inspect.unwrap(getattr(estimator, "func", estimator)) is inspect.unwrap(matrix_based):
        _search(**getattr(estimator, "keywords", {}) | dict(given or {}))


def _search(
    *, input_width: Any = None, ratio: Any = None, search: str = "refined", centred: bool = False, **others: Any
) -> Callable[..., renyi.Width]:
    """How a layer's width is found from its squared distances and the labels."""
    if (input_width is None) == (ratio is None):
        got = "neither" if ratio is None else "both"
        raise ValueError(f"matrix_based needs one of input_width and ratio, got {got}")
    grid = {name: others[name] for name in ("points", "low", "high") if others.get(name) is not None}
    bins = others.get("bins")
    wrong = {"refined": grid, "published": {"centred": True} if centred else {}}
    for name, value in wrong[checks.choice("search", search, wrong)].items():
        raise ValueError(f"{name} must be left out with search={search!r}, got {value}")
    if ratio is not None:
        if search == "published" or centred or bins is not None:
            raise ValueError(f"search, centred and bins must be left out with ratio={ratio}, which needs no labels")
        wide = partial(renyi.distance_width, ratio=checks.within("ratio", checks.positive("ratio", ratio), 0))
        return lambda squared, _: renyi.Width(wide(squared, precomputed=True), at_end=False)
    if search == "refined":
        return partial(renyi.alignment_width, centred=centred, bins=bins, precomputed=True)
    low, high = (checks.positive(name, grid.get(name, end)) for name, end in (("low", 0.0707), ("high", math.inf)))
    if not low < high:
        raise ValueError(f"high must be above low={low:g}, got {high:g}")
    return partial(renyi.published_width, bins=bins, precomputed=True, **grid)


def _width(squared: Tensor, best: Callable[[], renyi.Width], former: float | None, momentum: float) -> Row:
    """The moving average of a layer's width, without the infinite width of a dead layer."""
    former = None if former is None or math.isinf(former) else float(former)
    alive = bool(squared.any())
    if former is not None and (momentum == 1 or not alive):
        return {"width": former, "width_at_end": 0}
    if not alive:
        return {"width": math.inf, "width_at_end": 0}
    width, at_end = best()
    moved = float(width) if former is None else momentum * former + (1 - momentum) * float(width)
    return {"width": moved, "width_at_end": int(at_end)}


checks.guard(globals())
