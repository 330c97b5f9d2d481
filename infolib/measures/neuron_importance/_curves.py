"""Orders of ablation, and accuracy and loss along them."""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from infolib import checks
from infolib.data import Data, labelled
from infolib.measures.neuron_importance import _chain

AT_ONCE = 16  # steps of an ablation whose logits are evaluated together


class Order(NamedTuple):
    """The neurons of `layers` in the order of their ablation, counted through from the first layer to the last.

    Parameters
    ----------
    layers : tuple of str
        Dotted names, in order of depth.
    quantity, direction : str
        What the neurons are ordered by, and "ascending", "descending" or "random".
    neurons : Tensor, shape (neurons,)
        A permutation, integers.
    repeat : int
        Number of the order among several random orders.
    """

    layers: tuple[str, ...]
    quantity: str
    direction: str
    neurons: Tensor
    repeat: int = 0


def orders(table: pd.DataFrame, *, random: int = 10, seed: int) -> list[Order]:
    """Orders of ablation for each layer, and for all layers pooled, from a frame of scores.

    Each quantity gives an ascending and a descending order; neurons of the same value are in random order. Prefixes
    of a random order are nested: it is one order to walk along.

    Parameters
    ----------
    table : DataFrame
        As `scores` returns it, of one network.
    random : int
        Random orders for each pool of layers, on top.
    seed : int
        Of these, and of neurons of the same value.

    Returns
    -------
    list of Order

    Raises
    ------
    ValueError
        For a frame without scores, `random` or `seed` below 0.

    Examples
    --------
    >>> table = pd.DataFrame({"layer": "hidden1", "quantity": "entropy", "value": [0.2, 0.9, 0.5]})
    >>> {order.direction: order.neurons.tolist() for order in orders(table, random=0, seed=0)}
    {'ascending': [0, 2, 1], 'descending': [1, 2, 0]}
    """
    if table.empty:
        raise ValueError("table must hold scores, got no rows")
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
    mode: _chain.Mode = "mean",
    means: Data | None = None,
    points: int | None = None,
) -> pd.DataFrame:
    """Accuracy and cross-entropy (bits) on `data` with the first k neurons of each order clamped, k = 0, 1, ..., all.

    Activations are computed once. Clamping a neuron is then an update of rank one to the input of the next layer; for
    the last hidden layer the logits are a cumulative sum over its neurons.

    Parameters
    ----------
    model : nn.Module
        A sequential network in eval mode.
    data : Data
        n samples on which accuracy and loss are measured.
    orders : iterable of Order
        Each a permutation of the neurons of its layers, which come in order of depth.
    mode : str
        What a neuron is clamped to: its "mean" over the samples (and positions) of `means` in the intact network, the
        bias balancing of Amjad et al. 2018; or "zero".
    means : Data, optional
        `data` unless given.
    points : int, optional
        Steps that k takes, at most; one neuron at a time if None.

    Returns
    -------
    DataFrame
        One row per order and k. Columns: layers (joined by "+"), quantity, direction, repeat, mode, k, accuracy,
        loss, n.

    Raises
    ------
    ValueError
        For an order that is not a permutation of its layers' neurons, an unknown mode, points < 1, a model or data that
        `scores` refuses, and layers that are not in order of depth.

    Examples
    --------
    >>> net = nn.Sequential(nn.Identity(), nn.Linear(2, 2, bias=False)).eval()
    >>> _ = nn.init.eye_(net[1].weight)
    >>> order = Order(("0",), "by hand", "ascending", torch.tensor([1, 0]))
    >>> ablation_curves(net, Data(torch.eye(2), torch.arange(2)), [order])[["k", "accuracy"]].values.tolist()
    [[0.0, 1.0], [1.0, 1.0], [2.0, 0.5]]
    """
    _chain.check(model, data)
    checks.choice("mode", mode, _chain.MODES)
    if points is not None:
        checks.at_least("points", points, 1)
    pools: dict[tuple[str, ...], list[Order]] = {}
    if means is not None:
        labelled("means", means)
    for order in orders:
        checks.of_type("orders", order, Order, "a sequence of Order")
        pools.setdefault(tuple(order.layers), []).append(order)
    if not pools:
        raise ValueError("orders must hold an order, got none")
    tables = []
    for layers, group in pools.items():
        chain = _chain.cut(model, layers)
        constants, sizes = _chain.constants(chain, means or data, mode)
        steps = [_steps(order, sizes, points) for order in group]
        plans = [_chain.plan(chain, constants, sizes, step) for step in steps]
        counts = [torch.zeros(2, len(step) + 1, dtype=torch.float64) for step in steps]
        for x, y in _chain.chunks(chain, data):
            start = _chain.begin(chain, x)
            for count, planned in zip(counts, plans, strict=True):
                count += _evaluated(_chain.walk(chain, start, sizes, planned), y)
        for order, step, (right, nats) in zip(group, steps, counts, strict=True):
            k = np.cumsum([0, *(sum(map(len, part.values())) for part in step)])
            named: dict[str, Any] = {"layers": "+".join(layers), "quantity": order.quantity}
            named["direction"] = order.direction
            named |= {"repeat": order.repeat, "mode": mode, "k": k, "accuracy": right.numpy() / len(data)}
            tables.append(pd.DataFrame(named | {"loss": nats.numpy() / len(data) / math.log(2), "n": len(data)}))
    return pd.concat(tables, ignore_index=True)


def area(curves: pd.DataFrame, *, upto: int | None = None) -> pd.DataFrame:
    """Area under each ablation curve, AUC: the mean accuracy over k = 0, 1, ..., `upto` clamped neurons.

    Parameters
    ----------
    curves : DataFrame
        As `ablation_curves` returns it; further columns, such as a seed, distinguish networks.
    upto : int, optional
        Number of neurons clamped at the end; None for all.

    Returns
    -------
    DataFrame
        One row per pool of layers, mode and quantity, and per value of any further column. Columns: ascending,
        descending, random (mean over its orders) and gap, ascending minus descending, which is positive where a
        quantity indicates importance.

    Raises
    ------
    ValueError
        For upto < 1.

    Examples
    --------
    >>> run = {"layers": "hidden1", "quantity": "entropy", "mode": "mean", "n": 9}
    >>> up, down = {"direction": "ascending", "accuracy": [1, 1, 0]}, {"direction": "descending", "accuracy": [1, 0, 0]}
    >>> curves = pd.concat([pd.DataFrame(run | way | {"repeat": 0, "k": [0, 1, 2]}) for way in (up, down)])
    >>> chance = pd.DataFrame(run | up | {"quantity": "random", "direction": "random", "repeat": 0, "k": [0, 1, 2]})
    >>> area(pd.concat([curves, chance]))[["ascending", "descending", "random", "gap"]].values.tolist()
    [[0.75, 0.25, 0.75, 0.5]]
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


def single_ablations(chain: _chain.Chain, data: Data, mode: _chain.Mode) -> Tensor:
    """Rise of the mean cross-entropy, in bits, when each neuron of the only stage alone is clamped; (neurons,)."""
    constants, (neurons,) = _chain.constants(chain, data, mode)
    each = [{0: neuron} for neuron in torch.arange(neurons).split(1)]
    planned = _chain.plan(chain, constants, [neurons], each)
    nats = torch.zeros(1 + neurons, dtype=torch.float64)
    for x, y in _chain.chunks(chain, data):
        start = _chain.begin(chain, x)
        alone = _chain.one_by_one(chain, start, neurons, planned)
        nats += _evaluated(itertools.chain([start.logits], alone), y)[1]
    return (nats[1:] - nats[0]) / len(data) / math.log(2)


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


def _evaluated(logits: Iterable[Tensor], y: Tensor) -> Tensor:
    """For each logits (n, classes): how many are right, and their cross-entropy in nats; (2, how many), float64."""
    logits, found = iter(logits), []
    while some := [t.T for t in itertools.islice(logits, AT_ONCE)]:
        stacked = torch.stack(some)  # (some, classes, n): what is reduced lies between, which is fast
        wanted = y.expand(len(some), 1, -1)
        of_label = stacked.gather(1, wanted)[:, 0]
        rest = stacked.scatter(1, wanted, -torch.inf).amax(1)
        right = of_label > rest
        if (of_label == rest).any():  # a tie goes to the first class
            right = stacked.argmax(1) == y
        highest = torch.maximum(of_label, rest)
        nats = highest - of_label + (stacked - highest[:, None]).exp_().sum(1).log_()
        found.append(torch.stack([right.sum(1).double(), nats.double().sum(1)]))
    return torch.cat(found, dim=1).cpu()
