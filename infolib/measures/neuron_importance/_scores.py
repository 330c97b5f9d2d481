"""Scores of single neurons: information about the class, and other measures of importance."""

import math
from collections.abc import Callable, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from infolib import activations, checks
from infolib.data import Data
from infolib.estimators import binning, discrete
from infolib.estimators.uncertainty import permutation_null
from infolib.measures.neuron_importance import _chain
from infolib.measures.neuron_importance._curves import single_ablations

QUANTITIES = ("entropy", "class information", "KL selectivity")


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

    Parameters
    ----------
    model : nn.Module
        A sequential network in eval mode.
    data : Data
        n samples that the network was not trained on, at least as many as classes.
    layers : sequence of str
        Dotted names, in order of depth.
    quantise : callable
        Integer codes of activations, (n, units) to (n, units): `binning.sign` is the paper's one bit for ReLU, with
        `threshold=0.5` for the sigmoid. (The mean of a ReLU channel is nearly always above 0; the median splits it.)
    permutations : int
        Number of permutations of the labels, for the column null.
    seed : int
        Seed of these permutations.

    Returns
    -------
    DataFrame
        One row per layer, neuron and quantity. Columns: layer, neuron, quantity, value, unit, n; null, the 95 %
        quantile of the value over permuted labels; the preferred class, about which the neuron has most information;
        fraction active, the fraction of codes above 0 (0 for a dead neuron, 1 for one that is always on).

    Raises
    ------
    ValueError
        For a model in training mode, fewer samples than classes, a layer that is not as described at the head of this
        package, and what `quantise` and `discrete` refuse.

    Examples
    --------
    >>> net, y = nn.Sequential(nn.ReLU(), nn.Linear(2, 2)).eval(), torch.arange(8) % 2
    >>> x = torch.stack([2.0 * y, torch.ones(8)], 1)  # the first neuron is the class, the second always on
    >>> table = scores(net, Data(x, y), ["0"])
    >>> table[table["quantity"] == "class information"][["neuron", "value", "fraction active"]].values.tolist()
    [[0.0, 1.0, 0.5], [1.0, 0.0, 1.0]]
    """
    _chain.check(model, data)
    _chain.cut(model, layers)
    checks.at_least("permutations", permutations, 1)
    tables = []
    for layer, t in activations.collect(model, data.x, layers).items():
        codes = quantise(_chain.by_neuron(t).mean(2)).cpu()
        information = _class_information(codes, data.y)
        null = permutation_null(_class_information, codes, data.y, n_permutations=permutations, seed=seed)
        entropy = discrete.entropy(codes)[None]  # no permutation changes it
        values, nulls = torch.cat([entropy, information]), torch.cat([entropy, null.quantile(0.95, dim=0)])
        preferred = data.y.unique().cpu()[discrete.class_information(codes, data.y).argmax(-1)]
        active = (codes > 0).double().mean(0)
        for quantity, value, level in zip(QUANTITIES, values, nulls, strict=True):
            table = _table(layer, quantity, value, "bit", data).assign(null=level.numpy())
            tables.append(table.assign(**{"preferred class": preferred.numpy(), "fraction active": active.numpy()}))
    return pd.concat(tables, ignore_index=True)


def comparisons(model: nn.Module, data: Data, layers: Sequence[str]) -> pd.DataFrame:
    """Other measures of a neuron's importance, as rows of the form of `scores`.

    "class selectivity" (µ_max - µ_rest) / (µ_max + µ_rest), where µ_max is the largest mean activation of a class and
    µ_rest the mean over the other classes (Morcos et al. 2018; for activations of at least 0);
    "outgoing weights", their L2 norm; "Taylor", |E[t ∂L/∂t]| in bits, the first-order change of the loss when t is
    clamped to zero (Molchanov et al. 2017); "ablation loss, mean" and "ablation loss, zero", by how much the loss rises
    in fact, in bits, when the neuron alone is clamped.

    Parameters
    ----------
    model, data, layers
        As `scores` takes them.

    Returns
    -------
    DataFrame
        One row per layer, neuron and quantity. Columns: layer, neuron, quantity, value, unit, n.

    Raises
    ------
    ValueError
        For a model, data or layers that `scores` refuses.

    Examples
    --------
    >>> net = nn.Sequential(nn.ReLU(), nn.Linear(2, 2)).eval()
    >>> _ = net[1].weight.data.copy_(torch.tensor([[3.0, 0.0], [4.0, 1.0]]))
    >>> table = comparisons(net, Data(torch.eye(2), torch.arange(2)), ["0"])
    >>> table[table["quantity"] == "outgoing weights"]["value"].tolist()
    [5.0, 1.0]
    """
    _chain.check(model, data)
    tables = []
    for layer, t in activations.collect(model, data.x, layers).items():
        chain = _chain.cut(model, [layer])
        activation = _chain.by_neuron(t).mean(2).double()
        weight = _chain.by_neuron(chain.stages[0].map.weight.detach(), activation.shape[1])
        none = torch.zeros((), dtype=torch.float64)
        taylor = sum((_chain.first_order(chain, x, y) for x, y in _chain.chunks(chain, data)), start=none)
        measured = {
            "class selectivity": _class_selectivity(activation, data.y),
            "outgoing weights": weight.square().sum((0, 2)).sqrt(),
            "Taylor": taylor.abs() / len(data) / math.log(2),
            **{f"ablation loss, {mode}": single_ablations(chain, data, mode) for mode in _chain.MODES},
        }
        for quantity, value in measured.items():
            unit = "1" if quantity in ("class selectivity", "outgoing weights") else "bit"
            tables.append(_table(layer, quantity, value, unit, data))
    return pd.concat(tables, ignore_index=True)


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
