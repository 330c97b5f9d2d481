"""How much a single neuron matters: what it says about the class, and what is lost without it.

The protocol of Amjad et al. 2018 (arXiv 1804.06679): score the neurons of a trained network on data that it was not
trained on, order them by a score, clamp one after another, and watch the accuracy on other data.

A neuron is a unit of a fully connected layer or a channel of a convolutional one, of which the mean over positions is
scored. The network is an `nn.Sequential` in eval mode; what a layer says must reach a linear or convolutional map
through nothing but modules that treat each neuron on its own, such as pooling or normalisation.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from infolib import _moved, activations, checks
from infolib.data import Data, Splits
from infolib.estimators import binning, discrete
from infolib.estimators.uncertainty import permutation_null
from infolib.measures.neuron_importance import _ablation

__getattr__ = _moved.attributes(__name__)

MODES = ("mean", "zero")
AT_ONCE = 16  # steps of an ablation that are scored together
QUANTITIES = ("entropy", "class information", "KL selectivity")
RANKED = (*QUANTITIES, "class selectivity", "outgoing weights", "Taylor")  # what `analyse` orders neurons by


class Order(NamedTuple):
    """The neurons of `layers` in the order of their ablation, counted through from the first layer to the last."""

    layers: tuple[str, ...]
    quantity: str
    direction: str
    neurons: Tensor
    repeat: int = 0  # which of several random orders


class Analysis(NamedTuple):
    """Scores of all neurons, and accuracy and loss along all orders of ablation: two tidy frames."""

    scores: pd.DataFrame
    curves: pd.DataFrame


def analyse(
    model: nn.Module,
    splits: Splits,
    layers: Sequence[str],
    *,
    quantise: Callable[[Tensor], Tensor] = binning.sign,
    modes: Sequence[str] = MODES,
    random: int = 10,
    points: int | None = None,
    seed: int,
) -> Analysis:
    """The whole protocol: `scores` and `comparisons` on the validation data, `ablation_curves` on the test data.

    There are two orders for each measure of RANKED, and `random` random ones; the means that neurons are clamped to are
    those on the validation data. Raises ValueError as those functions do.
    """
    scored = scores(model, splits.val, layers, quantise=quantise, seed=seed)
    table = pd.concat([scored, comparisons(model, splits.val, layers)], ignore_index=True)
    found = orders(table[table["quantity"].isin(RANKED)], random=random, seed=seed)
    options = {"means": splits.val, "points": points}
    curves = [ablation_curves(model, splits.test, found, mode=mode, **options) for mode in modes]
    return Analysis(table, pd.concat(curves, ignore_index=True))


def scores(
    model: nn.Module,
    data: Data,
    layers: Sequence[str],
    *,
    quantise: Callable[[Tensor], Tensor] = binning.sign,
    permutations: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Entropy H(T), class information I(T;Y) and KL selectivity of each neuron T in bits (Amjad et al. 2018).

    `quantise` makes integer codes of what the neurons say, (n, units): `binning.sign` is the paper's one bit for ReLU,
    with `threshold=0.5` for the sigmoid. (The mean of a ReLU channel is nearly always above 0; the median splits it.)

    A tidy frame with one row per layer, neuron and quantity. Columns: layer, neuron, quantity, value, unit, n; the
    preferred class, of which the neuron tells most; fraction active, the share of codes above 0 (0 for a dead neuron, 1
    for one that is always on); null, the 95 % quantile of the value over `permutations` of the labels.

    Raises ValueError for a model in training mode, fewer samples than classes, a layer as described at the head of this
    module, and what `quantise` and `discrete` refuse.
    """
    _check(model, data)
    _ablation.cut(model, layers)
    tables = []
    for layer, t in activations.collect(model, data.x, layers).items():
        codes = quantise(_ablation.by_neuron(t).mean(2)).cpu()
        information = _class_information(codes, data.y)
        null = permutation_null(_class_information, codes, data.y, n_permutations=permutations, seed=seed)
        entropy = discrete.entropy(codes)[None]  # no permutation changes it
        values, nulls = torch.cat([entropy, information]), torch.cat([entropy, null.quantile(0.95, dim=0)])
        preferred = data.y.unique()[discrete.class_information(codes, data.y).argmax(-1)]
        active = (codes > 0).double().mean(0)
        for quantity, value, level in zip(QUANTITIES, values, nulls, strict=True):
            table = _table(layer, quantity, value, "bit", data).assign(null=level.numpy())
            tables.append(table.assign(**{"preferred class": preferred.numpy(), "fraction active": active.numpy()}))
    return pd.concat(tables, ignore_index=True)


def comparisons(model: nn.Module, data: Data, layers: Sequence[str]) -> pd.DataFrame:
    """Other measures of a neuron's importance, as rows like those of `scores`.

    "class selectivity" (µ_max - µ_rest) / (µ_max + µ_rest) of the means over the samples of each class, of the class
    with the largest one against the mean of the others (Morcos et al. 2018; for neurons that say nothing below 0);
    "outgoing weights", their L2 norm; "Taylor", |E[t ∂L/∂t]| in bits, the first-order change of the loss when t is
    clamped to zero (Molchanov et al. 2017); "ablation loss, mean" and "ablation loss, zero", by how much the loss rises
    in fact, in bits, when the neuron alone is clamped.

    Raises ValueError for a model, data or layers that `scores` refuses.
    """
    _check(model, data)
    tables = []
    for layer, t in activations.collect(model, data.x, layers).items():
        chain = _ablation.cut(model, [layer])
        spoken = _ablation.by_neuron(t).mean(2).double()
        weight = _ablation.by_neuron(chain.stages[0].map.weight.detach(), spoken.shape[1])
        taylor = sum(_ablation.first_order(chain, x, y) for x, y in _ablation.chunks(chain, data))
        measured = {
            "class selectivity": _class_selectivity(spoken, data.y),
            "outgoing weights": weight.square().sum((0, 2)).sqrt(),
            "Taylor": taylor.abs() / len(data) / math.log(2),
            **{f"ablation loss, {mode}": _single_ablations(chain, data, mode) for mode in MODES},
        }
        for quantity, value in measured.items():
            unit = "1" if quantity in ("class selectivity", "outgoing weights") else "bit"
            tables.append(_table(layer, quantity, value, unit, data))
    return pd.concat(tables, ignore_index=True)


def orders(table: pd.DataFrame, *, random: int = 10, seed: int) -> list[Order]:
    """Orders of ablation for each layer, and for all layers pooled, from a frame of scores.

    Each quantity gives an ascending and a descending order; neurons of the same value stand in random order. `random`
    permutations come on top: their prefixes are nested, each is one order to walk along.

    Raises ValueError for a frame without scores or `random` < 0.
    """
    if table.empty:
        raise ValueError("table of scores is empty")
    checks.at_least("random", random, 0)
    generator = torch.Generator().manual_seed(checks.at_least("seed", seed, 0))
    layers = tuple(dict.fromkeys(table["layer"]))
    found = []
    for pool in [*((layer,) for layer in layers), *([layers] if len(layers) > 1 else [])]:
        rows = table[table["layer"].isin(pool)]
        for quantity, group in rows.groupby("quantity", sort=False):
            value = torch.tensor(group["value"].to_numpy())
            for direction, key in (("ascending", value), ("descending", -value)):
                shuffled = torch.randperm(len(value), generator=generator)
                found.append(Order(pool, quantity, direction, shuffled[key[shuffled].argsort(stable=True)]))
        for repeat in range(random):
            found.append(Order(pool, "random", "random", torch.randperm(len(value), generator=generator), repeat))
    return found


def ablation_curves(
    model: nn.Module,
    data: Data,
    orders: Iterable[Order],
    *,
    mode: str = "mean",
    means: Data | None = None,
    points: int | None = None,
) -> pd.DataFrame:
    """Accuracy and cross-entropy (bits) on `data` with the first k neurons of each order clamped, k = 0, 1, ..., all.

    A neuron is clamped to its "mean" over the samples (and positions) of `means`, `data` unless given, in the intact
    network: the bias balancing of Amjad et al. 2018; or to "zero". With `points`, k takes that many steps at most.

    Activations are computed once; clamping a neuron then is an update of rank one to what the next layer is given, and
    of a last hidden layer the logits are a cumulative sum over its neurons.

    A tidy frame, one row per order and k. Columns: layers (joined by "+"), quantity, direction, repeat, mode, k,
    accuracy, loss, n. Raises ValueError for an order that is not a permutation of its layers' neurons, an unknown mode,
    points < 1, a model or data that `scores` refuses, and layers that are not in order of depth.
    """
    _check(model, data)
    checks.choice("mode", mode, MODES)
    if points is not None:
        checks.at_least("points", points, 1)
    pools: dict[tuple[str, ...], list[Order]] = {}
    for order in orders:
        pools.setdefault(tuple(order.layers), []).append(order)
    if not pools:
        raise ValueError("orders is empty")
    tables = []
    for layers, group in pools.items():
        chain = _ablation.cut(model, layers)
        constants, sizes = _ablation.constants(chain, means or data, mode)
        steps = [_steps(order, sizes, points) for order in group]
        plans = [_ablation.plan(chain, constants, sizes, step) for step in steps]
        counts = [torch.zeros(2, len(step) + 1, dtype=torch.float64) for step in steps]
        for x, y in _ablation.chunks(chain, data):
            start = _ablation.begin(chain, x)
            for count, planned in zip(counts, plans, strict=True):
                count += _score(_ablation.walk(chain, start, sizes, planned), y)
        for order, step, (right, nats) in zip(group, steps, counts, strict=True):
            k = np.cumsum([0, *(sum(map(len, part.values())) for part in step)])
            named = {"layers": "+".join(layers), "quantity": order.quantity, "direction": order.direction}
            named |= {"repeat": order.repeat, "mode": mode, "k": k, "accuracy": right.numpy() / len(data)}
            tables.append(pd.DataFrame(named | {"loss": nats.numpy() / len(data) / math.log(2), "n": len(data)}))
    return pd.concat(tables, ignore_index=True)


def area(curves: pd.DataFrame, *, upto: int | None = None) -> pd.DataFrame:
    """Area under each ablation curve, AUC: the mean accuracy over k = 0, 1, ..., `upto` clamped neurons (all, if None).

    One row per pool of layers, mode and quantity, and per value of any further column that `curves` has, such as a
    seed. Columns: ascending, descending, random (mean over its orders) and gap, ascending less descending, which is
    positive where a quantity indicates importance. Raises ValueError for upto < 1.
    """
    if upto is not None:
        curves = curves[curves["k"] <= checks.at_least("upto", upto, 1)]
    order = ["quantity", "direction", "repeat"]
    run = [column for column in curves.columns if column not in (*order, "k", "accuracy", "loss")]
    curves = curves.sort_values("k", kind="stable")
    groups = curves.groupby([*run, *order], sort=False)
    areas = groups[["k", "accuracy"]].apply(lambda c: np.trapezoid(c["accuracy"], c["k"]) / np.ptp(c["k"]))
    table = areas.groupby([*run, *order[:2]], sort=False).mean().unstack("direction").reset_index()
    random = table[table["quantity"] == "random"].set_index(run)["random"].rename("random")
    table = table[table["quantity"] != "random"].drop(columns="random", errors="ignore").join(random, on=run)
    table["gap"] = table["ascending"] - table["descending"]
    return table.rename_axis(columns=None).reset_index(drop=True)


def rank_correlations(table: pd.DataFrame, *, target: str = "ablation loss, mean") -> pd.DataFrame:
    """Spearman's correlation of each quantity with `target`, within each layer and over all of them ("pooled").

    `table` is a frame of `scores` and `comparisons`; further columns, such as a seed, tell networks apart. Columns:
    those, layers, quantity, correlation (NaN where a quantity is the same for all neurons). Raises ValueError for a
    target that is not among the quantities.
    """
    checks.choice("target", target, set(table["quantity"]))
    known = ("layer", "neuron", "quantity", "value", "unit", "n", "preferred class", "fraction active", "null")
    run = [column for column in table.columns if column not in known]
    values = table.pivot(index=[*run, "layer", "neuron"], columns="quantity", values="value")
    values = values[list(dict.fromkeys(table["quantity"]))]
    found = [
        values.groupby([*run, by], sort=False).apply(lambda rows: rows.rank().corrwith(rows[target].rank()))
        for by in ("layer", lambda _: "pooled")
    ]
    found = pd.concat(found).rename_axis(index=[*run, "layers"]).drop(columns=target)
    return found.melt(ignore_index=False, value_name="correlation").reset_index()


def _check(model: nn.Module, data: Data) -> None:
    if any(module.training for module in model.modules()):
        raise ValueError("model is in training mode: dropout would blur what a neuron says; call model.eval() first")
    if len(data) == 0:
        raise ValueError("data is empty")
    with torch.no_grad():
        classes = model(data.x[:1].to(next(model.parameters()).device)).shape[1]
    if len(data) < classes:
        raise ValueError(f"data must hold at least as many samples as classes, got n={len(data)} for {classes}")
    if int(data.y.max()) >= classes:
        raise ValueError(f"labels must be below the model's {classes} classes, got {int(data.y.max())}")


def _steps(order: Order, sizes: Sequence[int], points: int | None) -> list[dict[int, Tensor]]:
    neurons = checks.integers("order", order.neurons).cpu()
    if not torch.equal(neurons.sort().values, torch.arange(sum(sizes))):
        raise ValueError(
            f"order must be a permutation of the {sum(sizes)} neurons of {'+'.join(order.layers)}, "
            f"got {len(neurons)} indices from {neurons.min()} to {neurons.max()}"
        )
    offset = torch.tensor([0, *sizes]).cumsum(0)
    stage = torch.bucketize(neurons, offset[1:], right=True)
    at_once = math.ceil(len(neurons) / (points or len(neurons)))
    parts = zip(neurons.split(at_once), stage.split(at_once), strict=True)
    return [{i: part[where == i] - offset[i] for i in where.unique().tolist()} for part, where in parts]


def _score(logits: Iterable[Tensor], y: Tensor) -> Tensor:
    """For each logits (n, classes): how many are right, and their cross-entropy in nats; (2, how many), float64."""
    logits, scores = iter(logits), []
    while some := [t.T for t in itertools.islice(logits, AT_ONCE)]:
        stacked = torch.stack(some)  # (some, classes, n): what is reduced lies between, which is fast
        wanted = y.expand(len(some), 1, -1)
        said = stacked.gather(1, wanted)[:, 0]
        rest = stacked.scatter(1, wanted, -torch.inf).amax(1)
        right = said > rest
        if (said == rest).any():  # a tie goes to the first class
            right = stacked.argmax(1) == y
        highest = torch.maximum(said, rest)
        nats = highest - said + (stacked - highest[:, None]).exp_().sum(1).log_()
        scores.append(torch.stack([right.sum(1).double(), nats.double().sum(1)]))
    return torch.cat(scores, dim=1).cpu()


def _single_ablations(chain: _ablation.Chain, data: Data, mode: str) -> Tensor:
    """Rise of the mean cross-entropy, in bits, when each neuron alone is clamped; (neurons,)."""
    constants, (neurons,) = _ablation.constants(chain, data, mode)
    each = [{0: neuron} for neuron in torch.arange(neurons).split(1)]
    planned = _ablation.plan(chain, constants, [neurons], each)
    nats = torch.zeros(1 + neurons, dtype=torch.float64)
    for x, y in _ablation.chunks(chain, data):
        start = _ablation.begin(chain, x)
        nats += _score(itertools.chain([start.logits], _ablation.one_by_one(chain, start, neurons, planned)), y)[1]
    return (nats[1:] - nats[0]) / len(data) / math.log(2)


def _class_information(codes: Tensor, y: Tensor) -> Tensor:
    """I(T;Y) and KL selectivity from one table of surprises; (2, neurons)."""
    surprise = discrete.class_information(codes, y)
    share = y.unique(return_counts=True)[1].to(surprise) / len(y)
    return torch.stack([surprise @ share, surprise.amax(-1)])


def _class_selectivity(t: Tensor, y: Tensor) -> Tensor:
    means = torch.stack([t[y == label].mean(0) for label in y.unique()])  # (classes, neurons)
    highest = means.amax(0)
    others = (means.sum(0) - highest) / (len(means) - 1)
    return ((highest - others) / (highest + others)).nan_to_num(0.0)


def _table(layer: str, quantity: str, value: Tensor, unit: str, data: Data) -> pd.DataFrame:
    columns = {"layer": layer, "neuron": range(len(value)), "quantity": quantity, "value": value.cpu().numpy()}
    return pd.DataFrame(columns | {"unit": unit, "n": len(data)})
