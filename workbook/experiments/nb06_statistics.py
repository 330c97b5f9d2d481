"""Notebook 06: the number that each seed contributes to a claim, from the tables of the measures or of known images."""

from collections.abc import Iterable

import pandas as pd

SHARE = "share of {}".format


def by_size(column: str, noise: float, rows: pd.DataFrame) -> pd.DataFrame:
    """A quantity by size: a row for each data set and seed.

    Parameters
    ----------
    column : str
        The quantity.
    noise : float
        Of the labels.
    rows : DataFrame
        Of `measure.by_size`.

    Returns
    -------
    DataFrame
    """
    return rows[rows["noise"] == noise].pivot(index=["data", "seed"], columns="n", values=column)


def fall(column: str, n: int, rows: pd.DataFrame) -> pd.Series:
    """The smallest fall from one level of noise to the next.

    Parameters
    ----------
    column : str
        Of what.
    n : int
        Size.
    rows : DataFrame
        Of `measure.by_size`.

    Returns
    -------
    Series
    """
    by = rows[rows["n"] == n].pivot(index=["data", "seed"], columns="noise", values=column)
    return -by.diff(axis=1).max(axis=1)


def wider(q: str, n: int, rows: pd.DataFrame) -> pd.Series:
    """The relative change with four times the units.

    Parameters
    ----------
    q : str
        Definition.
    n : int
        Units.
    rows : DataFrame
        Of `measure.by_size`, for one size.

    Returns
    -------
    Series
    """
    by = rows.pivot(index=["data", "seed"], columns="units", values=q)
    return by[4 * n] / by[n] - 1


def ways(q: str, relation: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Both directions of a pair.

    Parameters
    ----------
    q : str
        Column.
    relation : str
        Of the sets.
    rows : DataFrame
        Of `measure.of_pair`.

    Returns
    -------
    DataFrame
    """
    return rows[rows["relation"] == relation].pivot(index=["data", "seed"], columns="direction", values=q)


def asymmetry(q: str, rows: pd.DataFrame) -> pd.Series:
    """The difference of both directions over their mean, for samples of one set.

    Parameters
    ----------
    q, rows
        As `ways` takes them.

    Returns
    -------
    Series
    """
    way = ways(q, "same", rows)
    return (way["A to B"] - way["B to A"]) / way.mean(axis=1)


def lost(q: str, relation: str, rows: pd.DataFrame) -> pd.Series:
    """1 minus the ratio of the transfer to that between samples of one set.

    Parameters
    ----------
    q, relation, rows
        As `ways` takes them.

    Returns
    -------
    Series
    """
    return 1 - ways(q, relation, rows).mean(axis=1) / ways(q, "same", rows).mean(axis=1)


def beyond(q: str, relation: str, rows: pd.DataFrame) -> pd.Series:
    """What sets share beyond what they share where the second one's labels are permuted.

    Parameters
    ----------
    q : str
        Definition.
    relation : str
        Of the sets.
    rows : DataFrame
        Of `measure.increments`.

    Returns
    -------
    Series
    """
    rows = rows[(rows["definition"] == q) & (rows["relation"] == relation)]
    by = rows.groupby(["data", "seed", "labels"])["share"].mean().unstack()
    return by["true"] - by["permuted"]


def step(q: str, network: str, labels: str, rows: pd.DataFrame) -> pd.Series:
    """The smaller of two steps: from pixels to random features, and from these to features of another task.

    Parameters
    ----------
    q : str
        Definition.
    network : str
        Whose features.
    labels : str
        True or permuted.
    rows : DataFrame
        Of `measure.of_networks`.

    Returns
    -------
    Series
    """
    by = rows[rows["labels"] == labels].pivot(index=["task", "seed"], columns="features", values=SHARE(q))
    return by[["pixels", f"{network}, random", f"{network}, other task"]].diff(axis=1).min(axis=1)


def apart(rows: pd.DataFrame | pd.Series, names: Iterable[str] = ()) -> dict[str, object]:
    """The values of each data set or task; those of known images once for each of the names.

    Parameters
    ----------
    rows : DataFrame or Series
        Data set or task first in the index.
    names : iterable of str
        For which known images stand; none: rows have their own.

    Returns
    -------
    dict
    """
    if names := list(names):
        rows = pd.concat(dict.fromkeys(names, rows.loc["known"]))
    return {str(name): part.to_numpy() for name, part in rows.groupby(level=0)}
