"""How far the quantities of several lenses agree, by rank: over a network's layers, or over networks."""

from collections.abc import Callable
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from infolib import checks

QUANTITIES = (
    "I(X;T)", "I(T;Y)", "RS share", "class information", "ablation area", "discarding", "concentration", "codelength"
)  # fmt: skip
Over = Literal["layer", "network"]
RUN = ["source", "seed", "network"]


def agreement(
    table: pd.DataFrame, *, over: Over, other: Callable[[np.ndarray], np.ndarray] = lambda values: values
) -> pd.DataFrame:
    """Spearman's correlation of each pair of quantities, over the layers of a network or over the networks of a seed.

    A pair is compared where both quantities have values; where either is constant, the correlation is 0.

    Parameters
    ----------
    table : DataFrame
        The table of `look` for all networks, with columns source, seed and network; over networks, of a single layer.
    over : str
        "layer", where `depth` is a quantity too, or "network".
    other : callable
        Rearranges the values of the second quantity of each pair before they are compared: a control.

    Returns
    -------
    DataFrame
        Columns: source, seed, network (empty over networks), one, two (in the order of QUANTITIES), lenses (whether
        they are two different lenses), correlation.

    Raises
    ------
    ValueError
        For another `over`, a table without these columns, several layers over networks, or fewer than three values to
        compare.

    Examples
    --------
    >>> quantities = {"I(X;T)": [3.0, 2.0, 1.0], "codelength": [2.0, 1.0, 0.5]}
    >>> table = pd.concat([pd.DataFrame({"quantity": q, "lens": q, "value": v}) for q, v in quantities.items()])
    >>> table = table.assign(layer=["1", "2", "3"] * 2, source="digits", seed=0, network="mine")
    >>> agreement(table, over="layer")[["one", "two", "correlation"]].round(6).values.tolist()
    [['I(X;T)', 'codelength', 1.0], ['I(X;T)', 'depth', -1.0], ['codelength', 'depth', -1.0]]
    """
    _columns("table", table, ["layer", "quantity", "lens", "value"])
    table = table.sort_values("depth", kind="stable") if "depth" in table else table
    if over == "network" and table["layer"].nunique() > 1:
        raise ValueError(
            f"table must be of one layer to compare networks, got {', '.join(map(str, table['layer'].unique()))}"
        )
    lens = table.groupby("quantity")["lens"].first().to_dict() | {"depth": ""}
    keys = RUN if over == "layer" else RUN[:2]
    rows = []
    for run, part in table.groupby(keys, sort=False):
        wide = part.pivot(index=over, columns="quantity", values="value").reindex(part[over].unique())
        if over == "layer":
            wide["depth"] = np.arange(len(wide))
        for one, two in combinations([q for q in (*QUANTITIES, "depth") if q in wide], 2):
            found = _spearman(wide[one].to_numpy(), other(wide[two].to_numpy()), f"{one} and {two} of {run}")
            apart = "depth" not in (one, two) and lens[one] != lens[two]
            rows.append([*run, *[""] * (over == "network"), one, two, apart, found])
    return pd.DataFrame(rows, columns=[*RUN, "one", "two", "lenses", "correlation"])


def between_lenses(pairs: pd.DataFrame) -> pd.Series:
    """Mean absolute correlation over all pairs of two different lenses, for each source, seed and network.

    Parameters
    ----------
    pairs : DataFrame
        As `agreement` returns it.

    Returns
    -------
    Series

    Raises
    ------
    ValueError
        For a frame without these columns.

    Examples
    --------
    >>> run = {"source": "digits", "seed": 0, "network": "mine"}
    >>> between_lenses(pd.DataFrame({**run, "lenses": [True, True, False], "correlation": [0.5, -1.0, 0.0]})).tolist()
    [0.75]
    """
    _columns("pairs", pairs, ["lenses", "correlation"])
    return pairs[pairs["lenses"]].groupby(RUN, sort=False)["correlation"].agg(lambda values: values.abs().mean())


def pair(pairs: pd.DataFrame, one: str, two: str) -> pd.Series:
    """The correlation of two quantities, for each source, seed and network.

    Parameters
    ----------
    pairs : DataFrame
        As `agreement` returns it.
    one, two : str
        The quantities, in the order of QUANTITIES.

    Returns
    -------
    Series

    Raises
    ------
    ValueError
        For a pair or columns that the frame does not have.

    Examples
    --------
    >>> run = {"source": "digits", "seed": 0, "network": "mine"}
    >>> found = pd.DataFrame([run | {"one": "I(X;T)", "two": "codelength", "correlation": 0.5}])
    >>> pair(found, "I(X;T)", "codelength").tolist()
    [0.5]
    """
    _columns("pairs", pairs, ["one", "two", "correlation"])
    rows = pairs[(pairs["one"] == one) & (pairs["two"] == two)]
    if rows.empty:
        raise ValueError(
            f"there is no pair {one!r}, {two!r} (one, two); quantities come in the order {', '.join(QUANTITIES)}"
        )
    return rows.set_index(RUN)["correlation"]


def _columns(name: str, table: pd.DataFrame, wanted: list[str]) -> None:
    if lacking := [column for column in [*RUN, *wanted] if column not in getattr(table, "columns", ())]:
        raise ValueError(f"{name} must be a frame with the columns {', '.join(RUN + wanted)}, and lacks {lacking}")


def _spearman(a: np.ndarray, b: np.ndarray, what: str) -> float:
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3:
        raise ValueError(f"{what} have {both.sum()} values in common, but a correlation needs at least 3")
    a, b = (rankdata(values[both].round(9)) for values in (a, b))  # equal values are equal on any machine
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) and np.ptp(b) else 0.0


checks.guard(globals())
