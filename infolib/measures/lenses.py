"""The five papers' measures of one network: what each layer retains, repeats, has of the class and discards.

Each lens asks the question of one of the five papers, with this package's own functions, of any `nn.Module`:

    information         I(X;T) and I(T;Y): information about input and label      `information_plane`, 1909.11396
    redundancy          how much its feature maps repeat each other               `synergy`, 1804.06537
    class_information   the single units' class information, and their ablation   `neuron_importance`, 1804.06679
    discarding          noise on the image that it tolerates, and where           `discarding`, 1906.04109
    codelength          bits per label of a code by a linear probe on it          `transfer`, 2009.07624

A table has one row per layer and quantity. Columns: lens, layer, depth (its place among the layers, from 1, in the
order of the forward pass), quantity, value, unit, bound (what the value can at most or at least be, as below), n
(samples), settings, and `why not`: what could not be measured, or not to the level that is wanted, has a reason there
and no value; every other value is a finite number. `checked` refuses what no lens can measure.

    I(X;T)                              at most log2 n
    I(T;Y)                              at most log2 of the number of classes
    discarding                          at least that of a linear layer whose cells count alike, -4.30 bits
    codelength                          log2 of the number of classes: what labels cost without the layer

Samples are `balanced`: n of them in the proportions of the classes, the same ones for any order of `data`. Labels may
have any numbers; accuracy alone takes them for the places of the model's outputs.

The papers' settings are used where they suit any network. No result depends on the unit of a layer: all widths, noise
and priors are relative to its own activations. Ours: kernel widths of input and maps are 0.55 of the root mean squared
distance (on MNIST's images that is the width of 1909.11396); a layer's own width, best aligned with the labels, is that
of `renyi.alignment_width`; a unit's bit is whether it is above its median, which for a ReLU that is 0 half of the time
is whether it is above 0; discarding is of a layer's output as it is, without a ReLU. The layer that is the network's
output enters the first lens as softmax(logits), or those that its argument `softmax` names.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, Unpack, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import LBFGS
from tqdm import tqdm

from infolib import _moved, activations, checks
from infolib.data import Data
from infolib.estimators import binning, discrete, renyi
from infolib.measures import _options, information_plane, synergy, transfer
from infolib.measures._agreement import QUANTITIES, agreement, between_lenses, pair
from infolib.measures._compared import Comparison, cka, compare
from infolib.measures._lens_options import SHARES, Options, samples_for
from infolib.measures._measurable import (
    WIDTH,
    accuracy,
    balanced,
    checked,
    collected,
    logits,
    measurable,
    ready,
    rms,
    share_right,
    source,
)
from infolib.measures._noisy import discarded, noisy
from infolib.measures._watched import Watch, series
from infolib.measures.discarding import Discarding, box, concentration
from infolib.networks import Layers, Network

__all__ = [
    "LENSES", "QUANTITIES", "Comparison", "Options", "Watch", "agreement", "balanced", "between_lenses", "checked",
    "cka", "clamped_accuracy", "class_information", "codelength", "compare", "discarding", "finest_grid", "information",
    "look", "measurable", "pair", "probe", "redundancy", "series",
]  # fmt: skip
__getattr__ = _moved.attributes(__name__)

COLUMNS = ["lens", "layer", "depth", "quantity", "value", "unit", "bound", "n", "settings", "why not"]
BARE = ("RS share", "intact accuracy", "ablation area", "ablation gap", "capped cells")  # these have no unit
UNITS = dict.fromkeys(BARE, "1") | {"codelength": "bit per label"}  # of others: bit
FLOOR = math.log2(0.01 * math.sqrt(2 * math.pi * math.e * 1.5))  # of discarding, at its sigma0 and alpha
PRIOR = 10.0  # standard deviation of the probe's weights, for features of root mean squared length 1
GRID = 16  # cells per side of an image, at most
DISCARDED = ("discarding", "discarding error", "capped cells", "concentration")

Names = Sequence[str]
Found = dict[tuple[str, str], float | str]  # (layer, quantity) -> a value, or the reason why there is none


def look(
    model: nn.Module,
    data: Any,
    layers: Layers = None,
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
        Any network, in eval mode. A `networks.Network` says how it is called, which of its outputs count, what their
        units are, which tokens count, and where its input is.
    data : Data, (x, y), Dataset or DataLoader
        Held-out samples, of which each lens takes the first that are `balanced`.
    layers : sequence of str or re.Pattern, one pattern, int, or None
        As `networks.select` takes them: names, patterns, a number of evenly spaced blocks; None for the repeated
        blocks, at most twelve, whose names are printed.
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
        For a lens or an option that does not exist, and for what `checked` and the lenses refuse, before the first lens
        measures.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> images = Data(torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2)
    >>> few = {"information": {"n": 20}, "redundancy": {"n": 20}, "class_information": {"n": 20}}
    >>> table = look(net, images, ["1"], **few, discarding={"n": 1}, codelength={"n": 20})
    >>> table.groupby("lens", sort=False)["quantity"].agg(list).to_dict()["information"]
    ['I(X;T)', 'I(T;Y)']
    >>> look(net, images, ["1"], discarding={"step": 0})
    Traceback (most recent call last):
    ValueError: unknown option 'step' of discarding; allowed: n, boxed, bounds, error, samples, steps, seed
    """
    given, wanted = cast(Mapping[str, Mapping[str, Any]], options), {}
    for name, own in given.items():
        checks.choice("lens", name, LENSES)
        _options.check(LENSES[name], checks.of_type(name, own, Mapping, "a mapping from options to values"))
    data, layers, units = ready(model, data, layers)
    checks.of_type("network", network, str, "a string")
    source(model, data[:3].x, units)
    for name, lens in LENSES.items():
        taken = {p.name: p.default for p in inspect.signature(lens).parameters.values() if p.kind == p.KEYWORD_ONLY}
        own = ({"seed": seed} if "seed" in taken else {}) | dict(given.get(name, {}))
        wanted[name] = taken | own
        try:
            samples_for(name, data, layers, **wanted[name])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    tables = []
    bar = tqdm(LENSES.items(), unit="lens", **{} if progress else {"disable": True})  # else as TQDM_DISABLE says
    for name, lens in bar:
        bar.set_description(name)
        tables.append(lens(model, data, layers, **wanted[name]))
    return pd.concat(tables, ignore_index=True).assign(network=network, seed=seed)


def information(
    model: nn.Module,
    data: Any,
    layers: Layers = None,
    *,
    n: int = 128,
    alpha: float = 1.01,
    softmax: Names | None = None,
) -> pd.DataFrame:
    """Lens 1: matrix-based I(X;T) and I(T;Y) of each layer in bits, as `information_plane.matrix_based` has them.

    Widths of the layers are those best aligned with the labels. A width stands in `settings`, in root mean squared
    distances of the layer, and there as "an end of the range searched" where it is one.

    Parameters
    ----------
    model, data, layers
        As `look` takes them.
    n : int
        Samples, at least 8.
    alpha : float
        Order of the Rényi entropy.
    softmax : sequence of str, optional
        Layers of logits (n, classes) that enter as softmax(logits); () for none. Without it those of the layers whose
        output is what the network returns, unless these are probabilities already.

    Returns
    -------
    DataFrame
        The columns at the head of this module.

    Raises
    ------
    ValueError
        As `checked`, for options out of range, more samples than there are, and n of which a class has none.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> images = Data(torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2)
    >>> information(net, images, ["1"], n=32)[["quantity", "unit", "why not"]].values.tolist()
    [['I(X;T)', 'bit', ''], ['I(T;Y)', 'bit', '']]
    """
    data, layers, units = ready(model, data, layers)
    batch = samples_for("information", data, layers, n=n, alpha=alpha, softmax=softmax)
    recorded = collected(model, batch.x, layers, units)
    softmax = logits(model, batch.x, recorded) if softmax is None else softmax
    entering = information_plane.prepared(recorded, softmax, torch.float64)
    scaled = {layer: t / (rms(t.flatten(1)[:, None]) or 1.0) for layer, t in entering.items()}
    x = source(model, batch.x, units).to(scaled[layers[0]])
    width = WIDTH * rms(x.flatten(1)[:, None])
    rows = information_plane.matrix_based(x, batch.y.to(x.device), scaled, input_width=width, alpha=alpha)
    found = {(row["layer"], of): row[of] for row in rows for of in ("I(X;T)", "I(T;Y)")}
    common = f"alpha {alpha:g}, input width {width:.3g}, "
    settings = {row["layer"]: common + _aligned(row["width"], row["width_at_end"]) for row in rows}
    settings |= {layer: f"{settings[layer]}, of softmax" for layer in softmax}
    bounds = {"I(X;T)": math.log2(n), "I(T;Y)": math.log2(len(batch.y.unique()))}
    return _table("information", layers, found, n, settings, bounds)


def redundancy(
    model: nn.Module,
    data: Any,
    layers: Layers = None,
    *,
    n: int = 128,
    alpha: float = 1.01,
    max_pairs: int = 60,
    seed: int = 0,
) -> pd.DataFrame:
    """Lens 2: redundancy minus synergy of pairs of a layer's feature maps about the input (`synergy.decompose`).

    RS(X;T) in bits, and RS share, the fraction of the pair's information; means over pairs. All maps of a layer have
    one kernel width, and the numbers are those of `synergy.by_layer(h=None)`. A layer without several maps (n, maps,
    height, width), or (n, channels, time), has no pairs.

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
    data, layers, units = ready(model, data, layers)
    batch = samples_for("redundancy", data, layers, n=n, alpha=alpha, max_pairs=max_pairs, seed=seed)
    x = source(model, batch.x, units)
    X = renyi.gram(x.double(), width=WIDTH * rms(x.flatten(1)[:, None]))
    found: Found = {}
    for layer, t in collected(model, batch.x, layers, units).items():
        of_pairs = _redundancy(X.to(t.device), t.double(), units[layer], alpha=alpha, max_pairs=max_pairs, seed=seed)
        found |= {
            (layer, of): of_pairs if isinstance(of_pairs, str) else of_pairs[of] for of in ("RS(X;T)", "RS share")
        }
    return _table("redundancy", layers, found, n, f"alpha {alpha:g}, {max_pairs} pairs at most, widths {WIDTH} rms", {})


def class_information(
    model: nn.Module, data: Any, layers: Layers = None, *, n: int = 256, shares: Sequence[float] = SHARES
) -> pd.DataFrame:
    """Lens 3: mean class information I(T;Y) of a layer's units in bits, and the accuracy that is left without them.

    "intact accuracy" is that of the whole network, on the samples of the ablation; if the model has more outputs than
    there are classes, and is right no more often than a constant answer, the ablation has a reason instead of numbers.
    "ablation area" is the mean accuracy along `clamped_accuracy` with the most informative units first. "ablation gap"
    is that area with the least informative units first minus "ablation area": positive where class information
    indicates importance.

    Parameters
    ----------
    model, data, layers
        As `look` takes them.
    n : int
        Samples that the units are scored on, at least 8; the accuracy is of n others.
    shares : sequence of float
        Fractions of the units that are clamped together, in (0, 1], rising.

    Returns
    -------
    DataFrame
        The columns at the head of this module.

    Raises
    ------
    ValueError
        As `checked`, for fewer than 2 n samples, n of which a class has none, and for other shares.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> images = Data(torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2)
    >>> class_information(net, images, ["1"], n=20)["quantity"].tolist()
    ['class information', 'intact accuracy', 'ablation area', 'ablation gap']
    """
    data, layers, units = ready(model, data, layers)
    batch = samples_for("class_information", data, layers, n=n, shares=shares)
    scored = _scores(model, batch[:n], layers, units)
    found: Found = {(layer, "class information"): float(bits.mean()) for layer, (bits, _) in scored.items()}
    intact, reason = accuracy(model, batch[n:])
    found |= dict.fromkeys(product(layers, ["intact accuracy"]), intact)
    found |= dict.fromkeys(product(layers, ["ablation area", "ablation gap"]), reason)
    if not isinstance(intact, str) and not reason:
        curves = _curves(model, batch[n:], scored, units, shares, intact).set_index("share")
        for layer, rows in curves.groupby("layer"):
            first, last = (_area(rows[rows["direction"] == way]["accuracy"]) for way in ("descending", "ascending"))
            found |= {(layer, "ablation area"): first, (layer, "ablation gap"): last - first}
    return _table("class_information", layers, found, n, "one bit per unit, at its median; clamped to the mean", {})


def clamped_accuracy(
    model: nn.Module, data: Any, layers: Layers = None, *, n: int = 256, shares: Sequence[float] = SHARES
) -> pd.DataFrame:
    """Accuracy with a fraction of a layer's units clamped to their means, in the order of their class information.

    Units are those of (n, units), the maps of (n, maps, height, width), by their mean, and the features of (n, tokens,
    features), by their mean. `neuron_importance.ablation_curves` does so for a chain of layers, this for any network.

    Parameters
    ----------
    model, data, layers
        As `look` takes them.
    n : int
        Samples that the units are scored on and their means taken of, at least 8; the accuracy is of n others.
    shares : sequence of float
        Fractions of the units that are clamped together, in (0, 1], rising.

    Returns
    -------
    DataFrame
        Columns: layer, direction ("descending": the most informative first), share, accuracy.

    Raises
    ------
    ValueError
        As `checked`, for fewer than 2 n samples, n of which a class has none, other shares, and a model whose accuracy
        has no meaning.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> images = Data(torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2)
    >>> clamped_accuracy(net, images, ["1"], n=20, shares=[1.0])["share"].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    data, layers, units = ready(model, data, layers)
    batch = samples_for("class_information", data, layers, n=n, shares=shares)
    intact, reason = accuracy(model, batch[n:])
    if isinstance(intact, str) or reason:
        raise ValueError(f"model and data do not fit: {reason}")
    return _curves(model, batch[n:], _scores(model, batch[:n], layers, units), units, shares, intact)


def discarding(
    model: nn.Module,
    data: Any,
    layers: Layers = None,
    *,
    n: int = 8,
    boxed: bool = False,
    bounds: tuple[float, float] | None = None,
    error: float = 0.02,
    samples: int = 4096,
    steps: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Lens 4: strict information discarding of each layer in bits, mean over images, and its concentration.

    `discarding.strict_information_discarding` on the finest grid of at most 16 cells a side that divides the image.
    "discarding error" is the standard error of the mean from the noise of the n images, "capped cells" the fraction of
    cells with the largest noise allowed. Where the noise does not reach its level at every image, or an image not its
    part of the standard error, there is no number.

    Parameters
    ----------
    model, data, layers
        As `look` takes them.
    n : int
        Images.
    boxed : bool
        Whether the object is in the central two thirds; concentration needs its position.
    bounds : tuple of float, optional
        Lowest and highest value of the input, to whose difference all noise is relative: (0, 1) for images, and for a
        `Network` with `input_of` the range of the values that there are. Input outside of it has a reason.
    error : float
        Standard error of the mean in bits; each image has sqrt(n) times as much.
    samples, steps, seed : int
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
    >>> table = discarding(net, images, ["1"], n=2)
    >>> table["quantity"].tolist(), table["settings"][0]
    (['discarding', 'discarding error', 'capped cells', 'concentration'], 'grid 4')
    """
    data, layers, units = ready(model, data, layers)
    noise: dict[str, Any] = {"error": error * math.sqrt(max(n, 1)), "samples": samples, "steps": steps, "seed": seed}
    batch = samples_for("discarding", data, layers, n=n, boxed=boxed, bounds=bounds, **noise)
    on = noisy(model, batch.x, bounds, units)
    found: Found = dict.fromkeys(product(layers, DISCARDED), on.why)
    grid = 0 if on.why else finest_grid(on.images)
    for layer, d in (discarded(model, batch.x, layers, on, grid=grid, **noise) if grid else {}).items():
        found |= {(layer, of): value for of, value in _discarded(d, boxed=boxed, grid=grid).items()}
    how = f"grid {grid}" + ("" if on.bounds == (0, 1) else ", bounds ({:.3g}, {:.3g})".format(*on.bounds))
    return _table("discarding", layers, found, n, how, {"discarding": FLOOR})


def codelength(model: nn.Module, data: Any, layers: Layers = None, *, n: int = 512) -> pd.DataFrame:
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
        As `checked`, for more samples than there are, and n of which a class has none.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> images = Data(torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2)
    >>> codelength(net, images, ["1"], n=32)[["quantity", "unit"]].values.tolist()
    [['codelength', 'bit per label']]
    """
    data, layers, units = ready(model, data, layers)
    batch = samples_for("codelength", data, layers, n=n)
    classes, y = batch.y.unique(return_inverse=True)  # their numbers cost nothing
    found: Found = {}
    for layer, t in collected(model, batch.x, layers, units).items():
        labelled = Data(_coordinates(t.flatten(1).double()), y.to(t.device))
        code = transfer.prequential_codelength(probe, torch.zeros(len(classes)), labelled, mixture=True)
        found[layer, "codelength"] = code.bits / n
    bounds = {"codelength": math.log2(len(classes))}
    return _table("codelength", layers, found, n, f"linear probe, prior {PRIOR:g}", bounds)


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

    Raises
    ------
    ValueError
        For labels outside 0 to classes - 1.

    Examples
    --------
    >>> predictor = probe(torch.zeros(2), Data(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1])))
    >>> predictor(torch.tensor([[-2.0], [3.0]])).argmax(1)
    tensor([0, 1])
    """
    if len(prefix) and not 0 <= int(prefix.y.min()) <= int(prefix.y.max()) < len(state):
        raise ValueError(f"the labels of prefix must be from 0 to {len(state) - 1}, got {prefix.y.unique().tolist()}")
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


def _aligned(width: float, at_end: bool) -> str:
    """A layer's width, for the settings."""
    if math.isinf(width):
        return "no width: all activations are the same"
    return f"width {width:.3g} rms by alignment{' (an end of the range searched)' if at_end else ''}"


def _maps(t: Tensor, units: str) -> Tensor:
    """(n, units, places...): the units of maps and tokens in the second place, as a view."""
    return t.movedim(-1, 1) if units == "features" and t.ndim > 2 else t


def _redundancy(X: Tensor, t: Tensor, units: str, *, alpha: float, max_pairs: int, seed: int) -> dict[str, float] | str:
    if t.ndim < 3 or (t.ndim == 3 and units == "features"):
        return f"no maps: its output for an image is {tuple(t.shape[1:])}, not (maps, height, width)"
    t = _maps(t, units)
    if t.shape[1] == 1:
        return "a single map has no pairs"
    if (size := rms(t.flatten(2))) == 0:
        return "its activations are the same for every image"
    T = renyi.channel_grams(t, width=WIDTH * size)
    d = synergy.decompose(X, T, alpha=alpha, max_pairs=max_pairs, seed=seed)
    return {"RS(X;T)": d.redundancy_synergy, "RS share": d.redundancy_share}


def _scores(model: nn.Module, data: Data, layers: Names, units: Mapping[str, str]) -> dict[str, tuple[Tensor, Tensor]]:
    """Class information in bits and mean of each unit, by layer."""
    mask = model.masked(data.x) if isinstance(model, Network) else None
    recorded = collected(model, data.x, layers, units)
    by_unit = {layer: _by_unit(t, units[layer], mask) for layer, t in recorded.items()}
    y = data.y.unique(return_inverse=True)[1].to(by_unit[layers[0]].device)
    return {layer: (discrete.mutual_information(binning.quantile(t, 2), y), t.mean(0)) for layer, t in by_unit.items()}


def _by_unit(t: Tensor, units: str, mask: Tensor | None) -> Tensor:
    """(n, units): means over the places of a map, or over the tokens that count."""
    if t.ndim < 3:
        return t
    if units != "features":
        return t.flatten(2).mean(2)
    if mask is not None and t.ndim == 3:  # the others are 0
        return t.sum(1) / mask.sum(1, keepdim=True).clamp_min(1).to(t)
    return t.flatten(1, -2).mean(1)


def _curves(
    model: nn.Module,
    data: Data,
    scored: Mapping[str, tuple[Tensor, Tensor]],
    units: Mapping[str, str],
    shares: Sequence[float],
    intact: float,
) -> pd.DataFrame:
    rows = []
    for layer, (bits, means) in scored.items():
        for direction in ("descending", "ascending"):
            order = bits.round(decimals=9).argsort(descending=direction == "descending", stable=True)
            rows.append((layer, direction, 0.0, intact))
            for share in shares:
                change = partial(_clamped, which=order[: round(share * len(order))], means=means, units=units[layer])
                with activations.replace(model, {layer: change}):
                    left = share_right(model, data)
                rows.append((layer, direction, share, left))
    return pd.DataFrame(rows, columns=["layer", "direction", "share", "accuracy"])


def _clamped(t: Tensor, which: Tensor, means: Tensor, units: str) -> Tensor:
    _maps(t, units)[:, which] = means[which].view(-1, *[1] * (t.ndim - 2)).to(t)
    return t


def _area(accuracy: pd.Series) -> float:
    return float(np.trapezoid(accuracy, accuracy.index) / np.ptp(accuracy.index))


def _discarded(d: Discarding, *, boxed: bool, grid: int) -> dict[str, float | str]:
    """The quantities of one layer, or the reason why there are none."""
    still, missed = d.mean_error.isnan(), d.mean.isnan()
    words, numbers = (
        ("the standard error is not met", d.mean_error) if missed.any() else ("F does not reach 1.5", d.ratio)
    )
    if images := (still if still.any() else missed if missed.any() else ~d.reached).nonzero().flatten().tolist()[:5]:
        why = f"{words} at images {images}: it is " + ", ".join(f"{value:.3g}" for value in numbers[images].tolist())
        why = f"it does not move under noise at images {images}" if still.any() else why
        capped = why if missed.any() else float(d.capped.mean())
        return dict.fromkeys(DISCARDED, why) | {"capped cells": capped}
    hidden = f"a grid of {grid} cells has no box" if boxed else "nobody knows where the object is"
    beside = float(concentration(d.entropy, box(grid).to(d.entropy.device)).mean()) if boxed and grid > 2 else hidden
    error = d.mean_error.square().sum().sqrt() / len(d.mean)
    return dict(zip(DISCARDED, (*map(float, (d.mean.mean(), error, d.capped.mean())), beside), strict=True))


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
    if checks.of_type("x", x, Tensor, "a tensor").ndim != 4:
        return 0
    return max(g for g in range(1, GRID + 1) if x.shape[2] % g == 0 == x.shape[3] % g)


def _coordinates(t: Tensor) -> Tensor:
    """Features (n, d) in at most n coordinates with the same inner products, about their mean, rms length 1.

    A linear probe with a normal prior depends on the inner products of its features alone: nothing is lost.
    """
    if (t == t[:1]).all():
        return torch.zeros_like(t[:, :1])
    centred = t - t.mean(0)
    gram = centred @ centred.T
    values, vectors = torch.linalg.eigh(gram / gram.diagonal().mean())
    return vectors * values.clamp_min(0).sqrt()


def _table(
    lens: str, layers: Names, found: Found, n: int, settings: str | Mapping[str, str], bounds: Mapping[str, float]
) -> pd.DataFrame:
    rows = []
    for (depth, layer), of in product(enumerate(layers, start=1), dict.fromkeys(of for _, of in found)):
        value, why = (math.nan, one) if isinstance(one := found[layer, of], str) else (one, "")
        if not why and not math.isfinite(value):
            value, why = math.nan, f"the estimate is {value}"
        how = settings if isinstance(settings, str) else settings[layer]
        rows.append([lens, layer, depth, of, value, UNITS.get(of, "bit"), bounds.get(of, math.nan), n, how, why])
    return pd.DataFrame(rows, columns=COLUMNS)


checks.guard(globals())
