"""Scores, orders and ablation of one network, and how the scores agree with the loss of ablation."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd
from torch import Tensor, nn

from infolib import checks
from infolib.data import Splits
from infolib.estimators import binning
from infolib.measures.neuron_importance._chain import MODES, Mode
from infolib.measures.neuron_importance._curves import ablation_curves, orders
from infolib.measures.neuron_importance._scores import QUANTITIES, comparisons, scores

RANKED = (
    *QUANTITIES,
    "class selectivity",
    "outgoing weights",
    "Taylor",
    "ablation loss, mean",
)  # what `analyse` orders neurons by


class Analysis(NamedTuple):
    """Scores of all neurons, and accuracy and loss along all orders of ablation: two tidy frames.

    Parameters
    ----------
    scores : DataFrame
        As `scores` and `comparisons` return it.
    curves : DataFrame
        As `ablation_curves` returns it.
    """

    scores: pd.DataFrame
    curves: pd.DataFrame


def analyse(
    model: nn.Module,
    splits: Splits,
    layers: Sequence[str],
    *,
    quantise: Callable[[Tensor], Tensor] = binning.sign,
    modes: Sequence[Mode] = MODES,
    random: int = 10,
    points: int | None = None,
    permutations: int = 20,
    seed: int,
) -> Analysis:
    """Scores of all neurons on the validation data and ablation curves on the test data: the whole protocol.

    There are two orders for each measure of RANKED, and `random` random ones; the means that neurons are clamped to are
    those on the validation data.

    Parameters
    ----------
    model, layers, quantise, permutations
        As `scores` takes them.
    splits : Splits
        Neurons are scored on `splits.val` and ablated on `splits.test`.
    modes : sequence of str
        What neurons are clamped to: "mean", "zero".
    random : int
        Random orders for each layer, and for all layers pooled.
    points : int, optional
        Steps of each curve at most; one neuron at a time if None.
    seed : int
        Of permutations, random orders, and neurons of the same value.

    Returns
    -------
    Analysis

    Raises
    ------
    ValueError
        As `scores`, `comparisons`, `orders` and `ablation_curves` do; for test samples of which more than one in a
        hundred is a validation sample.

    Examples
    --------
    >>> import torch
    >>> from infolib.data import Data
    >>> net, x = nn.Sequential(nn.ReLU(), nn.Linear(2, 2)).eval(), torch.rand(3, 8, 2)
    >>> splits = Splits(*[Data(part, part.argmax(1)) for part in x], name="mine", sha256={})
    >>> found = analyse(net, splits, ["0"], modes=["mean"], random=1, permutations=2, seed=0)
    >>> found.scores["quantity"].nunique(), found.curves["quantity"].nunique()  # with a random order
    (8, 8)
    """
    checks.at_least("the number of modes", len(modes), 1)
    val, test = ([sample.numpy().tobytes() for sample in part.x.cpu()] for part in (splits.val, splits.test))
    shared = sum(map(set(val).__contains__, test))
    checks.hold("splits.test", f"{shared} of {len(test)} in both", 100 * shared <= len(test), "apart from splits.val")
    scored = scores(model, splits.val, layers, quantise=quantise, permutations=permutations, seed=seed)
    table = pd.concat([scored, comparisons(model, splits.val, layers)], ignore_index=True)
    found = orders(table[table["quantity"].isin(RANKED)], random=random, seed=seed)
    curves = [ablation_curves(model, splits.test, found, mode=mode, means=splits.val, points=points) for mode in modes]
    return Analysis(table, pd.concat(curves, ignore_index=True))


def rank_correlations(table: pd.DataFrame, *, target: str = "ablation loss, mean") -> pd.DataFrame:
    """Spearman's correlation of each quantity with `target`, within each layer and over all of them ("pooled").

    Parameters
    ----------
    table : DataFrame
        A frame of `scores` and `comparisons`; further columns, such as a seed, distinguish networks.
    target : str
        The quantity that the others are compared with.

    Returns
    -------
    DataFrame
        Columns: the further ones, layers, quantity, correlation (NaN where a quantity is the same for all neurons).

    Raises
    ------
    ValueError
        For a target that is not among the quantities.

    Examples
    --------
    >>> table = pd.DataFrame({"layer": "hidden1", "neuron": [0, 1, 2] * 2, "quantity": ["entropy"] * 3 + ["loss"] * 3})
    >>> rank_correlations(table.assign(value=[1, 2, 3, 30, 20, 10]), target="loss")["correlation"].tolist()
    [-1.0, -1.0]
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
