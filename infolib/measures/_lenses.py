"""The five lenses of a network, each alone and all together; `lenses` exports and explains them."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, Unpack

import pandas as pd
import torch
from torch import Tensor, nn

from infolib import checks
from infolib.estimators import renyi
from infolib.measures import _ablation, _cost, _look, information_plane, synergy
from infolib.measures._ablation import AT_ONCE, accuracy, class_bits, curves, maps, scores
from infolib.measures._lens_options import SHARES, Options, fitted, samples_for, size_for
from infolib.measures._lens_table import ALIGNED, OF, Cell, Found, table
from infolib.measures._measurable import (
    BATCH,
    WIDTH,
    collected,
    kinds,
    logits,
    ready,
    rms,
    sets,
    source,
)
from infolib.measures._noisy import discarded, noisy
from infolib.measures._probe import PRIOR, coordinates, label_bits, number_bits, uniform_bits
from infolib.measures.discarding import Discarding, box, concentration
from infolib.networks import Layers

FLOOR = math.log2(0.01 * math.sqrt(2 * math.pi * math.e * 1.5))  # of discarding, at its sigma0 and alpha
GRID = 16  # cells per side of an image, at most

Names = Sequence[str]


def look(
    model: nn.Module,
    data: Any,
    layers: Layers = None,
    *,
    lenses: Names | None = None,
    network: str = "",
    seed: int = 0,
    beside: Names = ("untrained", "permuted"),
    repeats: int = 1,
    untrained: Callable[[int], nn.Module] | None = None,
    batch_size: int = BATCH,
    layers_at_once: int | None = None,
    device: torch.device | str | None = None,
    on_row: Callable[[dict[str, Any]], Any] | None = None,
    done: pd.DataFrame | None = None,
    progress: bool = False,
    **options: Unpack[Options],
) -> pd.DataFrame:
    """All five lenses of a network: their tables one below the other, with the columns network, seed and options.

    All arguments are checked before the first lens measures. A lens that fails afterwards has its error as the reason
    in the table, and the others go on.

    Parameters
    ----------
    model : nn.Module
        Any network, in eval mode. A `networks.Network` defines how it is called, which of its outputs count, what their
        units are, which tokens count, and where its input is.
    data : Data, (x, y), Dataset or DataLoader
        Held-out samples, of which each lens takes the first that are `balanced`.
    layers : sequence of str or re.Pattern, one pattern, int, or None
        As `networks.select` takes them: names, patterns, a number of evenly spaced blocks; None for the repeated
        blocks, at most twelve, whose names are printed.
    lenses : sequence of str, optional
        Which of LENSES; None for all.
    network : str
        Its name, for the table.
    seed : int
        Seed of every lens that draws; each repeat has the next seed.
    beside : sequence of str
        "untrained" and "permuted": the baselines that are measured, for these columns. Together they take about as long
        as the network itself, or longer. Discarding has no permuted value.
    repeats : int
        Disjoint parts of the data that are measured, each with untrained weights and permutations of its own: values
        are means, and low and high an interval of this one network over samples.
    untrained : callable, optional
        From a seed to the network with random weights, in eval mode; without it, that of `networks.untrained`.
    batch_size : int
        Samples in a forward pass, of lenses that record outputs.
    layers_at_once : int, optional
        Layers whose outputs are held in memory together; None for all.
    device : torch.device or str, optional
        Where a copy of the model is measured; None for where it is.
    on_row : callable, optional
        Called with each finished row, a dict, at once.
    done : DataFrame, optional
        A former table of the same network, data, options, repeats and baselines: layers that are complete in it are not
        measured again. The name of the network is checked, seed, n, and the fingerprint in the column options, to which
        a function counts by its name; the data are not. From a file, read layers and network as words.
    progress : bool
        Whether to show a bar.
    **options
        Of the lens of that name, such as `discarding={"n": 4, "boxed": True}`.

    Returns
    -------
    DataFrame
        The columns at the head of this module, network, seed and options, a fingerprint of what was asked of the lens.

    Raises
    ------
    ValueError
        For a lens or an option that does not exist, other baselines, more repeats than the data allow, a table of
        other rows as `done`, a device without float64, and for what `checked` and the lenses refuse.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    >>> table = look(net, images, ["1"], beside=(), discarding={"n": 1})
    >>> table.groupby("lens", sort=False)["quantity"].agg(list).to_dict()["information"]
    ['I(X;T)', 'I(T;Y)', 'I(X;T) aligned', 'I(T;Y) aligned']
    >>> look(net, images, ["1"], discarding={"step": 0})
    Traceback (most recent call last):
    ValueError: unknown option 'step' of discarding; allowed: n, boxed, bounds, error, samples, steps, seed
    """
    run = _look.Run(
        seed=seed, beside=beside, repeats=repeats, untrained=untrained, layers_at_once=layers_at_once, device=device,
        on_row=on_row, done=done, progress=progress,
    )  # fmt: skip
    chosen = _look.chosen(LENSES, lenses, options, seed=seed, batch_size=batch_size, beside=beside)
    checks.of_type("network", network, str, "a string")
    with torch.inference_mode(False):  # gradients shape the noise
        return _look.looked(chosen, model, data, layers, network, run)


def hold(given: Mapping[str, Any]) -> None:
    """Refuse options that `look` does not take, before there is a network."""
    of_lenses = {name: value for name, value in given.items() if name not in inspect.signature(look).parameters}
    _look.chosen(LENSES, given["lenses"], of_lenses, beside=given["beside"])
    checks.at_least("repeats", given.get("repeats", 1), 1)


def cost(
    model: nn.Module,
    data: Any,
    layers: Layers = None,
    *,
    lenses: Names | None = None,
    beside: Names = ("untrained", "permuted"),
    repeats: int = 1,
    batch_size: int = BATCH,
    layers_at_once: int | None = None,
    device: torch.device | str | None = None,
    **options: Unpack[Options],
) -> pd.DataFrame:
    """Estimated time and memory of `look`, from passes of a few samples and the sizes of what is recorded.

    For discarding, one image is measured, and up to four where that is fast. On an otherwise idle machine times are
    right to within a factor of two.

    Parameters
    ----------
    model, data, layers, lenses, beside, repeats, batch_size, layers_at_once, device, **options
        As `look` takes them.

    Returns
    -------
    DataFrame
        A row for each lens: lens, n, seconds, GB (of memory, without the network and the data).

    Raises
    ------
    ValueError
        As `look`.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    >>> cost(net, images, ["1"], lenses=["information", "codelength"])[["lens", "n"]].values.tolist()
    [['information', 40], ['codelength', 40]]
    """
    chosen = _look.chosen(LENSES, lenses, options, seed=0, batch_size=batch_size, beside=beside)
    run = _look.Run(beside=beside, repeats=repeats)
    model = _look.moved(model, device)
    _, layers, parts, networks = _look.prepared(chosen, model, data, layers, run)
    units = ready(model, parts[0], layers).units
    table = _cost.costs(chosen, networks[0], parts[0], layers, units, _look.at_once(layers_at_once, layers))
    return table.assign(seconds=table["seconds"] * repeats * len(networks[0]))


def information(
    model: nn.Module,
    data: Any,
    layers: Layers = None,
    *,
    n: int | None = None,
    alpha: float = 1.01,
    ratio: float = WIDTH,
    softmax: Names | None = None,
    permutations: int = 0,
    batch_size: int = BATCH,
    seed: int = 0,
) -> pd.DataFrame:
    """Lens 1: matrix-based I(X;T) and I(T;Y) of each layer in bits, as `information_plane.matrix_based` has them.

    Kernel widths need no labels; "I(X;T) aligned" and "I(T;Y) aligned" are at the widths best aligned with the labels.

    Parameters
    ----------
    model, data, layers
        As `look` takes them.
    n : int, optional
        Samples, at least 8; None for 128, or all that there are.
    alpha : float
        Order of the Rényi entropy. At 2, where permutations are asked for, the column permuted is
        exact: that of the mean of |A ∘ B_π|² over all permutations.
    ratio : float
        Kernel width of input and layers, in root mean squared distances of each.
    softmax : sequence of str, optional
        Layers of logits (n, classes) that enter as softmax(logits); () for none. Without it those of the layers whose
        output is what the network returns, unless these are probabilities already.
    permutations : int
        Of images and of labels, for the column permuted.
    batch_size : int
        Samples in a forward pass.
    seed : int
        Of the permutations.

    Returns
    -------
    DataFrame
        The columns at the head of this module.

    Raises
    ------
    ValueError
        As `checked`, for options out of range, more samples than there are, and n without a sample of some class.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    >>> information(net, images, ["1"], n=32)[["quantity", "unit", "why not"]].values.tolist()[:2]
    [['I(X;T)', 'bit', ''], ['I(T;Y)', 'bit', '']]
    """
    data, layers, units = ready(model, data, layers)
    how: dict[str, Any] = {"alpha": alpha, "permutations": permutations, "seed": seed}
    batch = samples_for("information", data, layers, n=n, ratio=ratio, softmax=softmax, batch_size=batch_size, **how)
    recorded = collected(model, batch.x, layers, units, batch_size)
    if softmax is None:
        softmax = logits(model, batch.x, recorded) if kinds(batch.y) == "classes" else ()
    entering = information_plane.prepared(recorded, softmax, torch.float64)
    scaled = {layer: t / (rms(t.flatten(1)[:, None]) or 1.0) for layer, t in entering.items()}
    x = source(model, batch.x, units, batch_size).to(scaled[layers[0]])
    found, bounds = _information(x, batch.y, scaled, how, ratio)
    common = f"alpha {alpha:g}, input width {ratio:g} rms{fitted('information', n, len(batch))}"
    settings = {layer: common + (", of softmax" if layer in softmax else "") for layer in layers}
    return table("information", layers, found, len(batch), settings, bounds)


def redundancy(
    model: nn.Module,
    data: Any,
    layers: Layers = None,
    *,
    n: int | None = None,
    alpha: float = 1.01,
    permutations: int = 0,
    batch_size: int = BATCH,
    seed: int = 0,
    max_pairs: int = 60,
) -> pd.DataFrame:
    """Lens 2: redundancy minus synergy of pairs of a layer's feature maps about the input (`synergy.decompose`).

    RS(X;T) in bits, and RS share, the fraction of the pair's information; means over pairs. All maps of a layer have
    one kernel width, and the numbers are those of `synergy.by_layer(h=None)`. A layer without several maps (n, maps,
    height, width), or (n, channels, time), has no pairs.

    Parameters
    ----------
    model, data, layers
        As `look` takes them.
    n : int, optional
        Samples, at least 8; None for 128, or all that there are.
    alpha : float
        Order of the Rényi entropy.
    permutations : int
        Of the images, for the column permuted.
    batch_size : int
        Samples in a forward pass.
    seed : int
        Of the pairs and the permutations.
    max_pairs : int
        Pairs at most, drawn without replacement.

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
    >>> images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    >>> redundancy(net, images, ["0", "1"], n=32)[["layer", "quantity", "why not"]].values.tolist()[1:3]
    [['0', 'RS share', ''], ['1', 'RS(X;T)', 'no maps: its output for a sample is (27,), not (maps, height, width)']]
    """
    data, layers, units = ready(model, data, layers)
    how: dict[str, Any] = {"alpha": alpha, "max_pairs": max_pairs, "seed": seed, "permutations": permutations}
    batch = samples_for("redundancy", data, layers, n=n, batch_size=batch_size, **how)
    x = source(model, batch.x, units, batch_size)
    X = renyi.gram(x.double(), width=WIDTH * rms(x.flatten(1)[:, None]))
    found: Found = {}
    for layer, t in collected(model, batch.x, layers, units, batch_size).items():
        of_pairs = _redundancy(X.to(t.device), t.double(), units[layer], **how)
        found |= {(layer, of): of_pairs if isinstance(of_pairs, str) else of_pairs[of] for of in OF["redundancy"]}
    settings = f"alpha {alpha:g}, {max_pairs} pairs at most{fitted('redundancy', n, len(batch))}"
    return table("redundancy", layers, found, len(batch), settings, {})


def class_information(
    model: nn.Module,
    data: Any,
    layers: Layers = None,
    *,
    n: int | None = None,
    permutations: int = 0,
    batch_size: int = BATCH,
    seed: int = 0,
    shares: Sequence[float] = SHARES,
) -> pd.DataFrame:
    """Lens 3: mean class information I(T;Y) of a layer's units in bits, and the accuracy that is left without them.

    "intact accuracy" is that of the whole network, on the samples of the ablation; if the model has more outputs than
    there are classes, and is right no more often than a constant answer, the ablation has a reason instead of numbers.
    "ablation area" is the mean accuracy along `clamped_accuracy` with the most informative units first. "ablation gap"
    is that area with the least informative units first minus "ablation area": positive where class information
    indicates importance. Where the labels are permuted, units are ordered by their information about the permuted
    labels.

    Parameters
    ----------
    model, data, layers
        As `look` takes them.
    n : int, optional
        Samples that the units are scored on, at least 8; the accuracy is of n others; None for 256, or half of all.
    permutations : int
        Of the labels of the units' scores, for the column permuted; the ablation takes the first.
    batch_size : int
        Samples in a forward pass.
    seed : int
        Of the permutations.
    shares : sequence of float
        Fractions of the units that are clamped together, in (0, 1], rising.

    Returns
    -------
    DataFrame
        The columns at the head of this module.

    Raises
    ------
    ValueError
        As `checked`, for fewer than 2 n samples, n without a sample of some class, and for other shares.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    >>> class_information(net, images, ["1"], n=20)["quantity"].tolist()
    ['class information', 'intact accuracy', 'ablation area', 'ablation gap']
    """
    data, layers, units = ready(model, data, layers)
    how: dict[str, Any] = {"permutations": permutations, "batch_size": batch_size, "seed": seed, "shares": shares}
    batch, size = samples_for("class_information", data, layers, n=n, **how), size_for("class_information", data, n)
    found: Found = dict.fromkeys(product(layers, OF["class_information"]), "targets are numbers, without classes")
    intact, reason = accuracy(model, batch[size:])
    found |= dict.fromkeys(product(layers, ["intact accuracy"]), intact)
    if kinds(batch.y) != "numbers":
        codes = scores(model, batch[:size], layers, units, batch_size)
        scored = [_bits(codes, y) for y in (batch.y[:size], *_permuted(batch.y[:size], permutations, seed))]
        for layer in codes:
            found[layer, "class information"] = _cell([float(one[layer][0].mean()) for one in scored])
        found |= dict.fromkeys(product(layers, ["ablation area", "ablation gap"]), reason)
        if not isinstance(intact, str) and not reason:
            whole = _ablation.fixed(model, batch[:2].x, layers)
            found |= {key: whole[key[0]] for key in product(whole, ["ablation area", "ablation gap"])}
            free = [{layer: one[layer] for layer in one if layer not in whole} for one in scored[:2]]
            of = [_areas(curves(model, batch[size:], one, units, shares, intact)) for one in free]
            found |= {key: _cell([one[key] for one in of]) for key in of[0]}
    settings = f"one bit per unit, at its median; clamped to the mean{fitted('class_information', n, size)}"
    return table("class_information", layers, found, size, settings, {})


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
        As `checked`, for fewer than 2 n samples, n without a sample of some class, other shares, and a model whose
        accuracy has no meaning.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    >>> clamped_accuracy(net, images, ["1"], n=20, shares=[1.0])["share"].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    data, layers, units = ready(model, data, layers)
    batch = samples_for("class_information", data, layers, n=n, shares=shares)
    intact, reason = accuracy(model, batch[n:])
    if isinstance(intact, str) or reason:
        raise ValueError(f"model and data do not fit: {reason}")
    scored = _bits(scores(model, batch[:n], layers, units, AT_ONCE), batch.y[:n])
    return curves(model, batch[n:], scored, units, shares, intact)


def discarding(
    model: nn.Module,
    data: Any,
    layers: Layers = None,
    *,
    n: int | None = None,
    boxed: bool = False,
    bounds: tuple[float, float] | None = None,
    error: float = 0.02,
    samples: int = 4096,
    steps: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Lens 4: strict information discarding of each layer in bits, mean over images, and its concentration.

    `discarding.strict_information_discarding` on the finest grid of at most 16 cells a side that divides the image.
    Tokens are images of one column, so that their grid has one cell: the value is of curvature alone, and -4.30 bits
    for a linear layer.
    "discarding error" is the standard error of the mean from the noise of the n images, "capped cells" the fraction of
    cells with the largest noise allowed. Where the noise does not reach its level at every image, or the standard
    error of an image is too large, there is no number.

    Parameters
    ----------
    model, data, layers
        As `look` takes them.
    n : int, optional
        Images; None for 8, or all that there are.
    boxed : bool
        Whether the object is in the central two thirds; concentration needs its position.
    bounds : tuple of float, optional
        Lowest and highest value of the input, to whose difference all noise is relative: (0, 1) for images, and for a
        `Network` with `input_of` the range of its values. For input outside the bounds the table has a reason.
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
    >>> images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    >>> table = discarding(net, images, ["1"], n=2)
    >>> table["quantity"].tolist(), table["settings"][0]
    (['discarding', 'discarding error', 'capped cells', 'concentration'], 'grid 4')
    """
    data, layers, units = ready(model, data, layers)
    size = size_for("discarding", data, n)
    noise: dict[str, Any] = {"error": error * math.sqrt(max(size, 1)), "samples": samples, "steps": steps, "seed": seed}
    batch = samples_for("discarding", data, layers, n=n, boxed=boxed, bounds=bounds, **noise)
    on = noisy(model, batch.x, bounds, units)
    found: Found = dict.fromkeys(product(layers, OF["discarding"]), on.why)
    grid = 0 if on.why else finest_grid(on.images)
    for layer, d in (discarded(model, batch.x, layers, on, grid=grid, **noise) if grid else {}).items():
        found |= {(layer, of): value for of, value in _discarded(d, boxed=boxed, grid=grid).items()}
    how = f"grid {grid}" + ("" if on.bounds == (0, 1) else ", bounds ({:.3g}, {:.3g})".format(*on.bounds))
    how += fitted("discarding", n, size)
    return table("discarding", layers, found, size, how, {"discarding": FLOOR})


def codelength(
    model: nn.Module,
    data: Any,
    layers: Layers = None,
    *,
    n: int | None = None,
    permutations: int = 0,
    batch_size: int = BATCH,
    seed: int = 0,
) -> pd.DataFrame:
    """Lens 5: codelength of the targets in bits per sample, by a linear probe on each layer's output.

    For classes: `transfer.prequential_codelength` of n samples in blocks that double, mixed with the uniform code; the
    learner is `probe`. The length of the uniform code itself is log2(classes). Each of several labels has a code, and
    the lengths are summed. For numbers it is the exact mixture code of a linear regression with a normal prior, to a
    precision of one standard deviation of the numbers; without features it is as long as `ceiling`.

    Parameters
    ----------
    model, data, layers
        As `look` takes them.
    n : int, optional
        Samples, at least 8; None for 512, or all that there are.
    permutations : int
        Of the labels, for the column permuted.
    batch_size : int
        Samples in a forward pass.
    seed : int
        Of the permutations.

    Returns
    -------
    DataFrame
        The columns at the head of this module.

    Raises
    ------
    ValueError
        As `checked`, for more samples than there are, and n without a sample of some class.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    >>> images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    >>> codelength(net, images, ["1"], n=32)[["quantity", "unit"]].values.tolist()
    [['codelength', 'bit per label']]
    """
    data, layers, units = ready(model, data, layers)
    how: dict[str, Any] = {"permutations": permutations, "batch_size": batch_size, "seed": seed}
    batch, found, numbers = samples_for("codelength", data, layers, n=n, **how), Found(), kinds(data.y) == "numbers"
    size, ys = len(batch), [batch.y, *_permuted(batch.y, permutations, seed)]
    ceiling = (number_bits(torch.zeros(size, 1).double(), batch.y) if numbers else uniform_bits(batch.y)) / size
    for layer, t in collected(model, batch.x, layers, units, batch_size).items():
        features = coordinates(t)
        bits = [(number_bits if numbers else label_bits)(features, y) for y in ys]
        found[layer, "codelength"] = _cell([one / size for one in bits])
    of, unit = ("linear regression", "bit per number") if numbers else ("linear probe", "bit per label")
    settings = f"{of}, prior {PRIOR:g}{fitted('codelength', n, size)}"
    return table("codelength", layers, found, size, settings, {"codelength": ceiling}, unit)


LENSES: dict[str, Callable[..., pd.DataFrame]] = {
    lens.__name__: lens for lens in (information, redundancy, class_information, discarding, codelength)
}  # in the order of the notebooks


# One layer under one lens


def _permuted(y: Tensor, permutations: int, seed: int) -> list[Tensor]:
    """Targets in other orders."""
    draw = torch.Generator().manual_seed(seed)
    return [y[torch.randperm(len(y), generator=draw).to(y.device)] for _ in range(permutations)]


def _cell(values: Sequence[float]) -> Cell:
    """The first is the value, the others are of permutations."""
    return Cell(values[0], sum(values[1:]) / len(values[1:]) if values[1:] else math.nan)


def _information(
    x: Tensor, y: Tensor, scaled: Mapping[str, Tensor], how: Mapping[str, Any], ratio: float
) -> tuple[Found, dict[str, float]]:
    """The quantities of lens 1, and the upper bound of each."""
    same, found, bounds = torch.zeros(len(y)).long().to(x.device), Found(), dict[str, float]()

    def rows(of: Names, named: Names, x: Tensor, classes: Tensor, ratio: float | None, width: float | None) -> None:
        for row in information_plane.matrix_based(x, classes, scaled, input_width=width, ratio=ratio, **how):
            wide, edge = ratio or row["width"], bool(row["width_at_end"]) and not ratio
            for quantity, name in zip(of, named, strict=True):
                chance = row[f"{quantity} chance"] if how["permutations"] else math.nan
                found[row["layer"], name] = Cell(row[quantity], chance, wide, edge)
                bounds[name] = row["S(X)" if quantity == "I(X;T)" else "S(Y)"]

    if kinds(y) == "numbers":
        rows(["I(X;T)"], ["I(X;T)"], x, same, ratio, None)
        rows(["I(X;T)"], ["I(T;Y)"], y[:, None].to(x), same, ratio, None)
        why = "targets are numbers: no classes to align widths with"
        return found | dict.fromkeys(product(scaled, ALIGNED), why), bounds
    classes, both = sets(y).to(x.device), ["I(X;T)", "I(T;Y)"]
    rows(both, both, x, classes, ratio, None)
    if len(classes.unique()) < 2:
        return found | dict.fromkeys(product(scaled, ALIGNED), "samples of a single class align no width"), bounds
    rows(both, ALIGNED, x, classes, None, ratio * rms(x.flatten(1)[:, None]))
    return found, bounds


def _redundancy(
    X: Tensor, t: Tensor, units: str, *, alpha: float, max_pairs: int, seed: int, permutations: int
) -> dict[str, Cell] | str:
    if t.ndim < 3 or (t.ndim == 3 and units == "features"):
        return f"no maps: its output for a sample is {tuple(t.shape[1:])}, not (maps, height, width)"
    t = maps(t, units)
    if t.shape[1] == 1:
        return "a single map has no pairs"
    if (size := rms(t.flatten(2))) == 0:
        return "its activations are the same for every image"
    T = renyi.channel_grams(t, width=WIDTH * size)
    orders = [torch.arange(len(X)), *_permuted(torch.arange(len(X)), permutations, seed)]
    of = [synergy.decompose(X[i][:, i], T, alpha=alpha, max_pairs=max_pairs, seed=seed) for i in orders]
    cells = _cell([d.redundancy_synergy for d in of]), _cell([d.redundancy_share for d in of])
    return {of: cell._replace(width=WIDTH) for of, cell in zip(OF["redundancy"], cells, strict=True)}


def _bits(codes: Mapping[str, tuple[Tensor, Tensor]], y: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    return {layer: (class_bits(one, y), means) for layer, (one, means) in codes.items()}


def _areas(curves: pd.DataFrame) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for layer, rows in curves.set_index("share").groupby("layer"):
        first, last = (_ablation.area(rows[rows["direction"] == way]["accuracy"]) for way in _ablation.WAYS)
        found |= {(str(layer), "ablation area"): first, (str(layer), "ablation gap"): last - first}
    return found


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
        return dict.fromkeys(OF["discarding"], why) | {"capped cells": capped}
    hidden = f"a grid of {grid} cells a side has no box" if boxed else "the object's position is unknown"
    beside = float(concentration(d.entropy, box(grid).to(d.entropy.device)).mean()) if boxed and grid > 2 else hidden
    error = d.mean_error.square().sum().sqrt() / len(d.mean)
    values = (*map(float, (d.mean.mean(), error, d.capped.mean())), beside)
    return dict(zip(OF["discarding"], values, strict=True))


def finest_grid(x: Tensor) -> int:
    """Cells per side: the largest number up to 16 that divides both sides of the images; 0 for anything but images.

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


checks.guard(globals())
