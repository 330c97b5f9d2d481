"""How far the quantities of several lenses agree, by rank: over the layers of a network, or over networks."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from infolib import checks

QUANTITIES = (
    "I(X;T)", "I(T;Y)", "RS share", "class information", "ablation area", "discarding", "concentration", "codelength"
)  # fmt: skip
RUN = ["source", "seed", "network"]


def agreement(
    table: pd.DataFrame, *, over: str, other: Callable[[np.ndarray], np.ndarray] = lambda values: values
) -> pd.DataFrame:
    """Spearman's correlation of each pair of quantities, over the layers of a network or over the networks of a seed.

    `table` is that of `look` with columns source, seed and network, for all networks; over networks it must be of a
    single layer. Over layers, `depth` is a quantity too. A pair is compared where both have values; where either is the
    same everywhere the correlation is 0.
    `other` rearranges the values of the second quantity of each pair before they meet: a control.

    Columns: source, seed, network (empty over networks), one, two (in the order of QUANTITIES), lenses (whether they
    are two different lenses), correlation. Raises ValueError for another `over`, several layers over networks, or fewer
    than three values to compare.
    """
    checks.choice("over", over, ("layer", "network"))
    if over == "network" and table["layer"].nunique() > 1:
        raise ValueError(f"table must be of one layer to compare networks, got {', '.join(table['layer'].unique())}")
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
    """Mean absolute correlation over all pairs of two different lenses, for each source, seed and network."""
    return pairs[pairs["lenses"]].groupby(RUN, sort=False)["correlation"].agg(lambda values: values.abs().mean())


def pair(pairs: pd.DataFrame, one: str, two: str) -> pd.Series:
    """The correlation of two quantities, for each source, seed and network."""
    rows = pairs[(pairs["one"] == one) & (pairs["two"] == two)]
    if rows.empty:
        raise ValueError(f"there is no pair {one!r}, {two!r}; quantities come in the order {', '.join(QUANTITIES)}")
    return rows.set_index(RUN)["correlation"]


def _spearman(a: np.ndarray, b: np.ndarray, what: str) -> float:
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3:
        raise ValueError(f"{what} have {both.sum()} values in common, and a correlation takes at least 3")
    a, b = (rankdata(values[both].round(9)) for values in (a, b))  # ties are ties on any machine
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) and np.ptp(b) else 0.0
