"""Five lenses on one network: what each layer keeps, repeats, tells, discards and saves, in one kind of table.

Each lens asks the question of one of the five papers, with this package's own functions, of any `nn.Module`:

    information         I(X;T) and I(T;Y): what a layer keeps of input and label       `information_plane`, 1909.11396
    redundancy          how much its feature maps repeat each other                    `synergy`, 1804.06537
    class_information   what its single units tell of the class, and their ablation    `neuron_importance`, 1804.06679
    discarding          noise on the image that it does not notice, and where          `discarding`, 1906.04109
    codelength          bits per label that a linear probe on it has to pay            `transfer`, 2009.07624

A table has one row per layer and quantity. Columns: lens, layer, depth (its place among the layers, from 1, in the
order of the forward pass), quantity, value, unit, n (samples), settings, and `why not`: what could not be measured has
a reason there and no value; every other value is a finite number. What no lens can look at is refused by `checked`.

The papers' settings are kept where they suit any network. Ours: kernel widths of input and maps are 0.55 of the root
mean squared distance, whatever the unit in which a layer speaks (on MNIST's images that is the width of 1909.11396); a
unit's bit is whether it says more than its median, which for a ReLU that is silent half of the time is whether it
fires; discarding is of what a layer says, without a ReLU after it. As in the other measures, a layer of the name
`output` enters the first lens as softmax(logits).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

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
from infolib.measures import information_plane, synergy, transfer
from infolib.measures._agreement import QUANTITIES, agreement, between_lenses, pair
from infolib.measures._measurable import checked, measurable, no_accuracy
from infolib.measures.discarding import box, concentration, strict_information_discarding

__all__ = [
    "LENSES", "QUANTITIES", "agreement", "between_lenses", "checked", "clamped_accuracy", "class_information",
    "codelength", "discarding", "finest_grid", "information", "look", "measurable", "pair", "probe", "redundancy",
]  # fmt: skip
__getattr__ = _moved.attributes(__name__)

COLUMNS = ["lens", "layer", "depth", "quantity", "value", "unit", "n", "settings", "why not"]
UNITS = {"RS share": "1", "ablation area": "1", "ablation gap": "1", "codelength": "bit per label"}  # of others: bit
WIDTH = 0.55  # of the root mean squared distance of two samples
SHARES = (0.25, 0.5, 0.75, 1.0)  # of a layer's units that are clamped together
PRIOR = 10.0  # standard deviation of the probe's weights, for features of root mean squared length 1
GRID = 16  # cells per side of an image, at most

Found = dict[tuple[str, str], float | str]  # (layer, quantity) -> a value, or the reason why there is none


def look(
    model: nn.Module,
    data: Data,
    layers: Sequence[str],
    *,
    network: str = "",
    seed: int = 0,
    progress: bool = False,
    **options: Mapping[str, Any],
) -> pd.DataFrame:
    """A network through all five lenses: their tables one under the other, with the columns `network` and `seed`.

    data: held-out samples, of which each lens takes the first; images in [0, 1]. `options` go to the lens of their
    name, such as `discarding={"n": 4, "boxed": True}`; the seed goes to all that draw.

    Raises: ValueError for what `checked` and the lenses refuse, and options of a lens that there is not
    """
    for name in options:
        checks.choice("lens", name, LENSES)
    tables = []
    bar = tqdm(LENSES.items(), unit="lens", **{} if progress else {"disable": True})  # else as TQDM_DISABLE says
    for name, lens in bar:
        bar.set_description(name)
        drawing = {"seed": seed} if name in ("redundancy", "discarding") else {}
        tables.append(lens(model, data, layers, **drawing | dict(options.get(name, {}))))
    return pd.concat(tables, ignore_index=True).assign(network=network, seed=seed)


def information(
    model: nn.Module, data: Data, layers: Sequence[str], *, n: int = 128, alpha: float = 1.01
) -> pd.DataFrame:
    """Lens 1: matrix-based I(X;T) and I(T;Y) of each layer in bits, as `information_plane.point` has them.

    Widths of the layers are those best aligned with the labels.

    Raises: ValueError as `checked`, and for more samples than there are
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
    """Lens 2: redundancy less synergy of pairs of a layer's feature maps about the input (`synergy.decompose`).

    RS(X;T) in bits, and RS share, of what the pair says; means over at most `max_pairs` pairs. All maps of a layer have
    one kernel width. A layer without several maps (n, maps, height, width) has no pairs.

    Raises: ValueError as `checked`, and for options out of range
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
    """Lens 3: mean class information of a layer's units in bits, and what is left of the accuracy without them.

    "ablation area" is the mean accuracy along `clamped_accuracy` with the most informative units first, "ablation gap"
    what it is more with the least informative first: positive where class information shows who matters.

    Raises: ValueError as `checked`, and for fewer than 2 n samples
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
    """Accuracy with a share of a layer's units clamped to their means, in the order of their class information.

    Units are those of (n, units), the maps of (n, maps, height, width), by their mean, and the features of (n, tokens,
    features), by theirs. They are scored, and their means taken, on the first n samples; the accuracy is of the n that
    follow. What `neuron_importance.ablation_curves` computes for a chain of layers, for any network.

    Columns: layer, direction ("descending": the most informative first), share, accuracy. Raises ValueError as
    `checked`, for fewer than 2 n samples, shares not in (0, 1], and a model that gives no (n, classes).
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
    """Lens 4: information discarding of each layer in bits, mean over images, and how it is concentrated.

    `discarding.strict_information_discarding` on the finest grid of at most 16 cells a side that divides the image.
    Without `steps` of its optimiser, an untrained network stays at the floor and looks as if no cell counted less.
    Concentration needs to know where the object is: `boxed` says that it is in the central two thirds.

    Raises: ValueError as `checked`, and for options out of range
    """
    layers, batch = checked(model, data, layers), _first(data, n, least=1)
    for name, value in (("steps", steps), ("samples", samples), ("held_out", held_out)):
        checks.at_least(name, value, 0 if name == "steps" else 2)
    grid, found, size = finest_grid(batch.x), {}, {"steps": steps, "samples": samples, "held_out": held_out}
    for layer in layers:
        said = _discarding(model, batch.x, layer, boxed=boxed, grid=grid, seed=seed, **size)
        found |= {(layer, of): value for of, value in said.items()}
    return _table("discarding", layers, found, n, f"grid {grid}, {steps} steps")


def codelength(model: nn.Module, data: Data, layers: Sequence[str], *, n: int = 512) -> pd.DataFrame:
    """Lens 5: prequential codelength of the labels in bits per label, given what each layer says, by a linear probe.

    `transfer.prequential_codelength` of n samples in blocks that double, mixed with the uniform code; the learner is
    `probe`. The uniform code itself costs log2(classes).

    Raises: ValueError as `checked`, and for more samples than there are
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

    W maximises Σ log softmax(x W + b)_y - |W|² / (2 PRIOR²), biases with their prior too; the state holds one number
    per class. Without a prefix it predicts all classes alike.
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


LENSES = {
    lens.__name__: lens for lens in (information, redundancy, class_information, discarding, codelength)
}  # in the order of the notebooks


# One layer under one lens


def _redundancy(X: Tensor, t: Tensor, **options: Any) -> dict[str, float] | str:
    if t.ndim != 4:
        return f"no maps: its output for an image is {tuple(t.shape[1:])}, not (maps, height, width)"
    if t.shape[1] == 1:
        return "a single map has no pairs"
    if (width := _width(t.flatten(2))) == 0:
        return "it says the same of every image"
    d = synergy.decompose(X, renyi.channel_grams(t, width=width), **options)
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


def _discarding(model: nn.Module, x: Tensor, layer: str, *, boxed: bool, grid: int, **options: Any) -> dict[str, Any]:
    if grid == 0:
        return dict.fromkeys(("discarding", "concentration"), f"it takes images (n, c, h, w), got {tuple(x.shape)}")
    try:
        d = strict_information_discarding(model, x, layer, grid=grid, rectify=False, **options)
    except ValueError as error:  # a layer that does not hear any noise: the options have been checked
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
    """Cells per side: the most, up to GRID, that divide both sides of the images; 0 for what are no images."""
    if x.ndim != 4:
        return 0
    return max(g for g in range(1, GRID + 1) if x.shape[2] % g == 0 == x.shape[3] % g)


def _coordinates(t: Tensor) -> Tensor:
    """Features (n, d) in at most n coordinates with the same inner products, about their mean, rms length 1.

    A linear probe with a normal prior knows its features by their inner products alone: nothing is lost.
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
