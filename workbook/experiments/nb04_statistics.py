"""Notebook 04: the number that each network contributes to a claim, and ours in the rows of the paper's numbers."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from infolib.measures import neuron_importance
from workbook.experiments.nb04_neuron_importance import Network


class Statistics:
    """Tables of all networks and of their copies, and what claims take from them: one number for each seed.

    Parameters
    ----------
    scores, curves : DataFrame
        Of all networks, with the columns of `Network.facts`; of curves also `copy`, what was done to the network.
    upto : int
        Neurons clamped at the end of the areas of version 1.
    """

    def __init__(self, scores: pd.DataFrame, curves: pd.DataFrame, upto: int) -> None:
        self.areas = {k: neuron_importance.area(curves, upto=k) for k in (None, upto)}
        self.ranks = neuron_importance.rank_correlations(scores)
        rows = curves[(curves["mode"] == "mean") & (curves["direction"] != "random")]
        by = ["network", "copy", "layers", "quantity", "seed", "k", "direction"]
        ways = rows.set_index(by)["accuracy"].unstack("direction")
        self.apart = (ways["ascending"] - ways["descending"]).rename("apart").sort_index()
        self._means = scores.groupby(["network", "quantity", "layer", "seed"])["value"].mean()
        self._rho = self.ranks.set_index(["network", "quantity", "layers", "seed"])["correlation"].sort_index()
        by = ["network", "copy", "mode", "layers", "quantity", "seed"]
        self._areas = {k: table.set_index(by).sort_index() for k, table in self.areas.items()}

    def auc(
        self, network: Network, layers: str, quantity: str, way: str, *, mode: str = "mean", copy: str = "none",
        upto: int | None = None,
    ) -> pd.Series:  # fmt: skip
        """Area under the curves of one way, or a gap between two.

        Parameters
        ----------
        network : Network
            Whose networks.
        layers : str
            Pool of layers, joined by "+".
        quantity : str
            What orders.
        way : str
            "ascending", "descending", "random", or "gap", the first minus the second.
        mode : str
            What neurons are clamped to.
        copy : str
            What was done to the networks: a kind of `Change`.
        upto : int
            Neurons clamped at the end of the area; all, if None.

        Returns
        -------
        Series
            Index: seed.
        """
        return self._areas[upto].loc[(network.name, copy, mode, layers, quantity), way]

    def lead(
        self, network: Network, quantities: Sequence[str], *, copy: str = "none", upto: int | None = None
    ) -> pd.Series:
        """Area of the ascending order of all neurons minus that of random orders, for the best of some quantities.

        Parameters
        ----------
        network : Network
            Whose networks.
        quantities : sequence of str
            What orders.
        copy : str
            What was done to the networks: a kind of `Change`.
        upto : int
            Neurons clamped at the end of the area; all, if None.

        Returns
        -------
        Series
            Index: seed.
        """
        auc = partial(self.auc, network, "+".join(network.layers), copy=copy, upto=upto)
        return -least([auc(q, "random") - auc(q, "ascending") for q in quantities])

    def gap(self, network: Network, quantity: str, *, copy: str = "none") -> pd.Series:
        """Area of the ascending order minus that of the descending one, the smallest of the layers.

        Parameters
        ----------
        network : Network
            Whose networks.
        quantity : str
            What orders.
        copy : str
            What was done to the networks: a kind of `Change`.

        Returns
        -------
        Series
            Index: seed.
        """
        return least([self.auc(network, layer, quantity, "gap", copy=copy) for layer in network.layers])

    def at(self, network: Network, share: float, quantity: str, *, copy: str = "none") -> pd.DataFrame:
        """Accuracy with the lowest first minus the highest first, when a share of a layer is clamped.

        Parameters
        ----------
        network : Network
            Whose networks.
        share : float
            Of the layer's neurons.
        quantity : str
            What orders.
        copy : str
            What was done to the networks: a kind of `Change`.

        Returns
        -------
        DataFrame
            A row for each seed, a column for each layer.
        """
        tables = [self.apart.loc[(network.name, copy, layer, quantity)].unstack("k") for layer in network.layers]
        return pd.concat([t[max(k for k in t if k <= share * max(t))] for t in tables], axis=1)

    def rank(self, network: Network, quantity: str, minus: str = "") -> pd.Series:
        """Rank correlation with the loss of single ablation, the smallest of the layers.

        Parameters
        ----------
        network : Network
            Whose networks.
        quantity : str
            What is correlated.
        minus : str
            A quantity whose correlation is subtracted; none, if empty.

        Returns
        -------
        Series
            Index: seed.
        """
        rho = self._rho[network.name]
        return least([rho[quantity, n] - (rho[minus, n] if minus else 0) for n in network.layers])

    def pooled(self, network: Network, quantity: str) -> pd.Series:
        """Rank correlation with the loss of single ablation over all neurons.

        Parameters
        ----------
        network : Network
            Whose networks.
        quantity : str
            What is correlated.

        Returns
        -------
        Series
            Index: seed.
        """
        return self._rho[network.name, quantity, "pooled"]

    def rise(self, network: Network, quantity: str, below: str = "") -> pd.Series:
        """Mean of a quantity in the last layer minus that in the first.

        Parameters
        ----------
        network : Network
            Whose networks.
        quantity : str
            Whose mean.
        below : str
            The quantity in the first layer; the same, if empty.

        Returns
        -------
        Series
            Index: seed.
        """
        means = self._means[network.name]
        return means[quantity, network.layers[-1]] - means[below or quantity, network.layers[0]]

    def depth(self, network: Network, upto: int, *, first: str = "none", last: str = "none") -> pd.Series:
        """Area of random orders in the last layer minus that in the first.

        Parameters
        ----------
        network : Network
            Whose networks.
        upto : int
            Neurons clamped at the end of the area.
        first, last : str
            What was done to the networks in which the first and the last layer are ablated.

        Returns
        -------
        Series
            Index: seed.
        """
        pairs = (network.layers[0], first), (network.layers[-1], last)
        low, high = (self.auc(network, n, "entropy", "random", copy=copy, upto=upto) for n, copy in pairs)
        return high - low

    def excess(self, network: Network, quantities: Sequence[str], upto: int, *, copy: str = "none") -> pd.Series:
        """Gap of the weakest of some quantities minus that of entropy, the smallest of the layers.

        Parameters
        ----------
        network : Network
            Whose networks.
        quantities : sequence of str
            Other than entropy.
        upto : int
            Neurons clamped at the end of the area.
        copy : str
            What was done to the networks: a kind of `Change`.

        Returns
        -------
        Series
            Index: seed.
        """
        gaps = {(n, q): self.auc(network, n, q, "gap", copy=copy, upto=upto)
                for n in network.layers for q in ("entropy", *quantities)}  # fmt: skip
        return least([gaps[n, q] - gaps[n, "entropy"] for n in network.layers for q in quantities])

    def benefit(self, network: Network, *, copy: str = "none", upto: int | None = None) -> pd.Series:
        """Area of random orders in the first layer, clamped to the mean, minus that clamped to zero.

        Parameters
        ----------
        network : Network
            Whose networks.
        copy : str
            What was done to the networks that are clamped to zero.
        upto : int
            Neurons clamped at the end of the area; all, if None.

        Returns
        -------
        Series
            Index: seed.
        """
        of: Mapping[str, Any] = {
            "network": network,
            "layers": network.layers[0],
            "quantity": "entropy",
            "way": "random",
        }
        return self.auc(**of, upto=upto) - self.auc(**of, mode="zero", copy=copy, upto=upto)


def least(numbers: Sequence[pd.Series]) -> pd.Series:
    """The smallest of some numbers, for each seed.

    Parameters
    ----------
    numbers : sequence of Series
        Each with a number per seed.

    Returns
    -------
    Series
    """
    return pd.concat(numbers, axis=1).min(axis=1)


def figure_numbers(scores: pd.DataFrame, curves: pd.DataFrame, upto: int) -> pd.DataFrame:
    """Points of curves, areas, and ends of violins of the networks of one group, named as the paper's numbers are.

    Parameters
    ----------
    scores, curves : DataFrame
        Of one group.
    upto : int
        Neurons clamped at the end of an area.

    Returns
    -------
    DataFrame
        Columns: seed, layers, mode, quantity, direction, at, ours.
    """
    keys = ["seed", "layers", "mode", "quantity"]
    under = neuron_importance.area(curves, upto=upto).assign(at="area")
    under = under.melt([*keys, "at"], ["ascending", "descending", "random"], "direction", "ours")
    under.loc[under["direction"] == "random", "quantity"] = "random"
    ends = scores.groupby(["seed", "layer", "quantity"])["value"].agg(lowest="min", highest="max").reset_index()
    ends = ends.rename(columns={"layer": "layers"}).assign(mode="", direction="")
    ends = ends.melt([*keys, "direction"], ["lowest", "highest"], "at", "ours")
    ours = pd.concat([curves.rename(columns={"k": "at", "accuracy": "ours"}), under, ends]).astype({"at": str})
    return ours.groupby([*keys, "direction", "at"])["ours"].mean().reset_index()


def distance(
    theirs: pd.DataFrame, ours: pd.DataFrame, exchanged: Mapping[str, Any] | None = None, **chosen: str
) -> pd.Series:
    """Mean distance of our numbers from the paper's, for each seed.

    Parameters
    ----------
    theirs, ours : DataFrame
        The paper's numbers, and what `figure_numbers` returns.
    exchanged : mapping, optional
        What is replaced in the rows of the paper before ours are looked up.
    **chosen : str
        Values of columns of the paper's numbers, such as figure="fig1".

    Returns
    -------
    Series
    """
    rows = theirs[(theirs[list(chosen)] == pd.Series(chosen)).all(axis=1)].replace(exchanged or {})
    merged = rows.merge(ours)
    return (merged["value"] - merged["ours"]).abs().groupby(merged["seed"]).mean()
