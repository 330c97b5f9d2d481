"""The information plane: each layer's information about the input, I(X;T), and about the label, I(T;Y).

`point` is the plane at one moment, `trajectory` and `trajectories` follow it while a network learns. The estimator of
both quantities is an argument: any function

    estimator(x, y, recorded, **options) -> one dict of numbers in bits for each layer, in the order of `recorded`

with the batch x (n, ...), its labels y (n,) and its activations {layer: (n, ...)}. It sees all layers of a batch at
once, so that what they share, such as S(X), is computed once. Here are three: `matrix_based` (Wickstrøm et al. 2019,
arXiv 1909.11396), `binned` and `neighbours`. The last two take X to be *which sample it is*: of samples that are all
different nothing more can be known from the n of them, and log2 n is their ceiling.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from infolib import activations, checks
from infolib.data import Data
from infolib.estimators import binning, discrete, knn, renyi
from infolib.training import Step

Row = dict[str, Any]
Estimator = Callable[..., list[Row]]


def matrix_based(
    x: Tensor,
    y: Tensor,
    recorded: Mapping[str, Tensor],
    *,
    input_width: float,
    alpha: float = 1.01,
    widths: Mapping[str, float] | None = None,
    momentum: float = 0.0,
    precision: torch.dtype = torch.float64,
    **search: Any,
) -> list[Row]:
    """Matrix-based I(X;T) and I(T;Y) in bits of recorded activations: a row for each layer.

    The tensor kernel of Wickstrøm et al. 2019: an activation of any shape is flattened. Its width is that of their
    iteration t,

        width_t = momentum width_(t-1) + (1 - momentum) width*,

    where width* is the one whose kernel is best aligned with the labels' (`search` goes to `renyi.alignment_width`) and
    `widths` holds the layers' width_(t-1). A layer without one has width*; momentum 0.9 is the paper's, 1 keeps widths
    as they are given. All widths, the input's too, are those of exp(-d²/(2 width²)). A dead layer, whose activations
    are all the same, has no width*: it keeps its former one, or an infinite one, and its information is 0.

    x: (n, ...); y: (n,) integers; each activation (n, ...). Distances and kernels are computed in the precision of what
    is given, eigenvalues in `precision`. Rows: layer, I(X;T), I(T;Y), S(T), S(X), S(Y), width, input_width, alpha, n.
    Raises ValueError for a momentum outside [0, 1], and for what the estimators refuse.

    >>> x, y = torch.tensor([[0.0], [0.1], [5.0], [5.1]]), torch.tensor([0, 0, 1, 1])
    >>> (row,) = matrix_based(x, y, {"sign": (x > 1).float()}, input_width=0.01)
    >>> round(row["I(X;T)"], 4), round(row["I(T;Y)"], 4), round(row["S(X)"], 4)
    (1.0, 1.0, 2.0)
    """
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum must be in [0, 1], got {momentum}")
    y = checks.labels("y", y, len(x))
    gram_x = renyi.gram(x, width=input_width).to(precision)
    s_x, s_y = float(renyi.entropy(gram_x, alpha=alpha)), float(renyi.label_entropy(y, alpha=alpha))
    chosen, grams = [], []
    for layer, t in recorded.items():
        squared = renyi.squared_distances(t)
        chosen.append(_width(squared, y, (widths or {}).get(layer), momentum, search))
        grams.append(renyi.gram(squared, width=chosen[-1], precomputed=True).to(gram_x))
    grams = torch.stack(grams)  # (layers, n, n): one call for the spectra of all layers
    s_t = renyi.entropy(grams, alpha=alpha)
    about_x = s_x + s_t - renyi.joint_entropy(gram_x, grams, alpha=alpha)
    about_y = s_t + s_y - renyi.label_joint_entropy(grams, y, alpha=alpha)
    columns = zip(recorded, about_x.tolist(), about_y.tolist(), s_t.tolist(), chosen, strict=True)
    same = {"input_width": input_width, "alpha": alpha, "n": len(x)}
    return [
        {"layer": layer, "I(X;T)": i_x, "I(T;Y)": i_y, "S(T)": s, "S(X)": s_x, "S(Y)": s_y, "width": width} | same
        for layer, i_x, i_y, s, width in columns
    ]


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

    The bins go from `low` to `high`, without them from a layer's least to its largest value; all its units together are
    one symbol. T is a function of X, so H(T|X) = 0 and I(X;T) = H(T): with fine bins it is the entropy of the samples,
    whatever the layer does.

    x: (n, ...); y: (n,) integers; each activation (n, ...). Rows: layer, I(X;T), I(T;Y), H(Y), bins, clipped (share of
    values outside the bins), n. Raises ValueError for what `binning.uniform` and `discrete` refuse.

    >>> t = torch.tensor([[-1.0], [-0.9], [0.9], [1.0]])
    >>> (row,) = binned(t, torch.tensor([0, 0, 1, 1]), {"hidden1": t}, bins=2)
    >>> row["I(X;T)"], row["I(T;Y)"]
    (1.0, 1.0)
    """
    y, rows = checks.labels("y", y, len(x)), []
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
    samples. Noise ε ~ N(0, noise²) in every unit makes it a question of how far apart they lie; its level, in the
    activation's own unit, is part of the result. Each of the n samples enters in `copies` with their own noise. X and Y
    are discrete, the sample and its class: both estimates are `knn.label_mutual_information`. With few copies I(X;T+ε)
    of samples that lie far apart is ψ(n copies) - ψ(copies) rather than log2 n, 0.19 bits more for 4.

    x: (n, ...); y: (n,) integers; each activation (n, ...). Rows: layer, I(X;T), I(T;Y), H(Y), noise, copies, k, n.
    Raises ValueError for copies < 2, noise not above 0, and for what the estimator refuses.
    """
    y, rows = checks.labels("y", y, len(x)), []
    checks.positive("noise", noise)
    sample = torch.arange(len(x)).repeat_interleave(checks.at_least("copies", copies, 2))
    for layer, t in recorded.items():
        generator = torch.Generator().manual_seed(checks.at_least("seed", seed, 0))
        t = t.detach().flatten(1).cpu().double()[sample]
        t = t + noise * torch.randn(t.shape, dtype=t.dtype, generator=generator)
        about = [float(knn.label_mutual_information(t, symbol, k=k)) for symbol in (sample, y.cpu()[sample])]
        row = {"layer": layer, "I(X;T)": about[0], "I(T;Y)": about[1], "H(Y)": float(discrete.entropy(y))}
        rows.append(row | {"noise": noise, "copies": copies, "k": k, "n": len(x)})
    return rows


def point(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    layers: Sequence[str],
    *,
    estimator: Estimator = matrix_based,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> pd.DataFrame:
    """I(X;T) and I(T;Y) in bits of each layer on one batch: a frame with one row per layer.

    `estimator`, with `options`, on the activations of `model` on x in eval mode, turned into `dtype`. The layer
    `output` enters as softmax(logits), as in Wickstrøm et al. 2019. The model is left in the modes it was in.

    x: (n, ...); y: (n,) integers. Raises ValueError for what the estimator or `activations.collect` refuse.
    """
    return pd.DataFrame(_rows(model, Data(x, y), layers, estimator, dtype, options))


def trajectory(
    model: nn.Module, steps: Iterable[Step], x: Tensor, y: Tensor, layers: Sequence[str], **options: Any
) -> pd.DataFrame:
    """Points of the information plane of one batch while a network learns: `trajectories` with a single plane.

    Raises ValueError as `trajectories` does.
    """
    planes = {"batch": {"batch": Data(x, y), **options}}
    return trajectories(model, steps, planes, layers).drop(columns="plane")


def trajectories(
    model: nn.Module, steps: Iterable[Step], planes: Mapping[str, Mapping[str, Any]], layers: Sequence[str]
) -> pd.DataFrame:
    """Several information planes of one training run, a row for each step, plane and layer.

    `steps` is what `training.fit` gives for `model`. Each plane is a name with its options:

    batch: the `Data` that its points are measured on, or a function of the `Step` that gives it, such as
        `lambda step: data[step.batch]` for the batch just trained on, or `drawn_from(test, 200, seed=0)`
    at: the numbers of steps after which it is measured; every step without it. 0 is the network before its first step
        (a Step with an empty batch and no loss); training ends at the last step that any plane asks for
    momentum, widths: of the moving average of the widths, which goes from point to point (see `matrix_based`);
        momentum 0.9 is that of Wickstrøm et al. 2019, 1 freezes them where they begin
    settled: (m, points): once m points are measured, the search for a width tries only so many widths; (40, 50) in
        Wickstrøm et al. 2019
    and the options of `point`: estimator, dtype, and the estimator's own.

    Columns: plane, step, those of the estimator. Raises ValueError for no planes, for steps that do not increase from
    0, if training is over before a step that is asked for, and for what `point` refuses.
    """
    if not planes:
        raise ValueError("planes is empty: name at least one")
    asked = [_last(**plane) for plane in planes.values()]
    measures = {name: _measure(model, layers, **plane) for name, plane in planes.items()}
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

    Raises ValueError for more samples than there are.
    """
    checks.at_least("seed", seed, 0)
    if checks.at_least("size", size, 2) > len(data):
        raise ValueError(f"size={size} is more than the {len(data)} samples there are")

    def batch(step: Step) -> Data:
        mixed = np.random.SeedSequence([seed, step.step]).generate_state(1)[0]  # torch would drop all but 32 bits
        generator = torch.Generator().manual_seed(int(mixed))
        return data[torch.randperm(len(data), generator=generator)[:size]]

    return batch


def early_stops(validation: Mapping[int, float], patiences: Sequence[int]) -> dict[int, int]:
    """The step at which early stopping ends training, for each patience: the marks on the plane of Wickstrøm et al.

    `validation` is the accuracy after each evaluated step, in order. Training stops once `patience` evaluations in a
    row have not improved on the best before them; if that never happens, at the last step.

    Raises ValueError for no evaluations or a patience below 1.

    >>> early_stops({10: 0.5, 20: 0.7, 30: 0.6, 40: 0.7, 50: 0.8, 60: 0.8}, [1, 2, 3])
    {1: 30, 2: 40, 3: 60}
    """
    if not validation:
        raise ValueError("validation is empty: evaluate at least once")
    return {patience: _stop(validation, checks.at_least("patience", patience, 1)) for patience in patiences}


def _stop(validation: Mapping[int, float], patience: int) -> int:
    best, waited = -math.inf, 0
    for step, accuracy in validation.items():
        best, waited = (accuracy, 0) if accuracy > best else (best, waited + 1)
        if waited == patience:
            return step
    return max(validation)


def _last(at: Sequence[int] | None = None, **_: Any) -> float:
    """The last step that one plane asks for."""
    if at is None:
        return math.inf
    if not at or list(at) != sorted(set(at)) or at[0] < 0:
        raise ValueError(f"at must increase from 0 or more, got {list(at)}")
    return at[-1]


def _measure(
    model: nn.Module,
    layers: Sequence[str],
    *,
    batch: Data | Callable[[Step], Data],
    at: Sequence[int] | None = None,
    momentum: float = 0.0,
    widths: Mapping[str, float] | None = None,
    settled: tuple[int, int] | None = None,
    estimator: Estimator = matrix_based,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> Callable[[Step], list[Row]]:
    """A function that measures one plane after a step, if asked; it remembers its widths and how many points it has."""
    widths, measured, wanted = dict(widths or {}), 0, None if at is None else set(at)

    def measure(step: Step) -> list[Row]:
        nonlocal widths, measured
        if step.step == 0 if wanted is None else step.step not in wanted:
            return []
        moving = {"widths": widths, "momentum": momentum} if momentum else {}
        if settled and measured >= settled[0]:
            moving["points"] = settled[1]
        data = batch(step) if callable(batch) else batch
        rows = _rows(model, data, layers, estimator, dtype, options | moving)
        measured += 1
        if momentum:
            widths = {row["layer"]: row["width"] for row in rows}
        return rows

    return measure


def _rows(
    model: nn.Module, data: Data, layers: Sequence[str], estimator: Estimator, dtype: torch.dtype, options: Row
) -> list[Row]:
    recorded = activations.collect(model, data.x, layers)
    if "output" in recorded:
        recorded["output"] = torch.softmax(recorded["output"].to(dtype), dim=1)
    recorded = {layer: t.to(dtype) for layer, t in recorded.items()}
    device = next((t.device for t in recorded.values()), data.x.device)
    return estimator(data.x.to(device, dtype), data.y.to(device), recorded, **options)


def _width(squared: Tensor, y: Tensor, former: float | None, momentum: float, search: Row) -> float:
    """The moving average of a layer's width, of which an infinite one, of a dead layer, is no part."""
    former = None if former is None or math.isinf(former) else float(former)
    alive = bool(squared.any())
    if former is not None and (momentum == 1 or not alive):
        return former
    if not alive:
        return math.inf
    best = float(renyi.alignment_width(squared, y, precomputed=True, **search))
    return best if former is None else momentum * former + (1 - momentum) * best
