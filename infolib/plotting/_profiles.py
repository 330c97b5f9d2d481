"""Each quantity of the lenses in a panel of its own, between its bounds."""

import math
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from infolib import checks
from infolib.plotting._lenses import UNITS
from infolib.plotting._style import FRAME, GREY, INK, TAN, need, sequential

LINES = [(sequential(4)[2], "-"), (GREY, ":"), (TAN, "--"), (FRAME, "-.")]
WANTED = ["quantity", "unit", "layer", "depth", "network", "seed", "value", "floor", "ceiling", "permuted"]
EDGE, CHANCE = (0, (5, 3)), (0, (1, 1))
ACROSS, MOST = 4, 8  # panels in a row and in all


def lens_profiles(table: pd.DataFrame, *, title: str = "") -> Figure:
    r"""Quantities of the lenses against the layers, a panel for each, between the bounds of the quantity.

    Parameters
    ----------
    table : DataFrame
        Columns `quantity`, `unit`, `layer`, `depth`, `network`, `seed`, `value`, and in the same unit `floor`,
        `ceiling` and `permuted`: the lower and the upper bound, and the value of permuted pairs; NaN where
        there is none. At most 8 quantities and 4 networks, the first of which is emphasised.
    title : str
        Of the figure, such as the data set.

    Returns
    -------
    Figure
        Lines are means over seeds, bars one standard deviation. Long dashes are floors and ceilings, dots what
        permuted pairs have in the first network; means of both.

    Raises
    ------
    ValueError
        For more quantities or networks, and a table without rows or one of the columns.

    Examples
    --------
    >>> row = {"quantity": "I(X;T)", "unit": "bit", "network": "mlp", "floor": 0, "ceiling": 8.0, "permuted": 1.0}
    >>> rows = [row | {"layer": f"fc{d}", "depth": d, "seed": s, "value": 6 - d} for d in (1, 2) for s in (0, 1)]
    >>> [ax.get_title(loc="left") for ax in lens_profiles(pd.DataFrame(rows)).axes]
    ['I(X;T)  [bits]']
    """
    need(table, WANTED)
    quantities, networks = (list(dict.fromkeys(table[column])) for column in ("quantity", "network"))
    checks.within("the number of quantities", len(quantities), 1, MOST)
    checks.within("the number of networks", len(networks), 1, len(LINES))
    names = table.groupby("depth")["layer"].first()
    shape = (math.ceil(len(quantities) / ACROSS), min(len(quantities), ACROSS))
    size = (2.4 * shape[1] + 0.6, 2.0 * shape[0] + 0.9)
    figure, axes = plt.subplots(*shape, figsize=size, sharex=True, squeeze=False, layout="constrained")
    for ax, quantity in zip(axes.flat, quantities, strict=False):
        rows = table[table["quantity"] == quantity]
        for network, (colour, ls) in reversed([*zip(networks, LINES, strict=False)]):
            own = rows[rows["network"] == network].groupby("depth")["value"].agg(["mean", "std"]).reindex(names.index)
            ax.errorbar(range(len(own)), own["mean"], own["std"], color=colour, ls=ls, marker="o", ms=3.5, capsize=2)
        first = rows[rows["network"] == networks[0]].groupby("depth")[["floor", "ceiling", "permuted"]].mean()
        for edge, ls in {"floor": EDGE, "ceiling": EDGE, "permuted": CHANCE}.items():
            ax.plot(range(len(names)), first[edge].reindex(names.index), color=INK, ls=ls, lw=1.2)
        unit = rows["unit"].iloc[0]
        ax.set_title(f"{quantity}  [{UNITS.get(unit, unit)}]".replace("  [1]", ""), loc="left", fontsize=10)
        ax.set_xticks(range(len(names)), names, rotation=90)
        ax.tick_params(labelsize=9)
        ax.margins(y=0.08)
    for ax in axes.flat[len(quantities) :]:
        ax.remove()
    edges = [("floor, ceiling", (INK, EDGE)), ("permuted pairs", (INK, CHANCE))]
    styles: list[Any] = [*zip(networks, LINES, strict=False), *edges]
    handles = [Line2D([], [], color=colour, ls=ls, label=label) for label, (colour, ls) in styles]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), fontsize=9, frameon=False)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure
