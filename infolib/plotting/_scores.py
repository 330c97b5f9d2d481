"""Distributions, intervals and verdicts."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from infolib.plotting._style import INK, LEGEND, pool_name, sequential


def violins(scores: pd.DataFrame, quantities: Sequence[str]) -> Figure:
    """How each quantity (in bits) is distributed over the neurons of each layer; dashes: the level of chance."""
    figure, axes = plt.subplots(1, len(quantities), figsize=(3.7 * len(quantities), 3.6), layout="constrained")
    layers = list(dict.fromkeys(scores["layer"]))
    for ax, quantity in zip(axes, quantities, strict=True):
        rows = scores[scores["quantity"] == quantity]
        sns.violinplot(rows, x="layer", y="value", hue="layer", palette=sequential(len(layers)), cut=0, inner="box",
                       density_norm="width", linewidth=1, ax=ax)  # fmt: skip
        ax.set(xlabel="layer, from input to output", ylabel=f"{quantity}  [bits]")
        if quantity != "entropy":  # whose chance level is itself
            chance = rows.groupby("layer")["null"].mean().loc[layers]
            places = np.arange(len(layers))
            ax.hlines(chance, places - 0.4, places + 0.4, INK, "--", lw=1.2, label="95 % of permuted labels")
            ax.legend(fontsize="x-small", loc="upper left", frameon=False)
    return figure


def dots(table: pd.DataFrame, x: str, y: str, *, hue: str, column: str, shared: bool = True) -> Figure:
    """Mean and standard deviation over seeds of the column `x` for each `y`, hue and panel; a line at 0.

    Panels of different quantities are not `shared`: each has its own scale.
    """
    columns, order, hues = (list(dict.fromkeys(table[name])) for name in (column, y, hue))
    figure, axes = plt.subplots(1, len(columns), sharex=shared, sharey=True, squeeze=False, layout="constrained")
    figure.set_size_inches(3.2 * len(columns) + 3.5, 0.5 * len(order) + 1.3)
    dodge = 0.4 if len(hues) > 1 else False  # seaborn divides by the number of hues less one
    for ax, name in zip(axes[0], columns, strict=True):
        rows = table[table[column] == name]
        sns.pointplot(rows, x=x, y=y, hue=hue, order=order, hue_order=hues, orient="h", errorbar="sd", dodge=dodge,
                      linestyle="none", markersize=4, linewidth=1.5, ax=ax)  # fmt: skip
        ax.axvline(0, color=INK, lw=1)
        ax.set_title(pool_name(name), loc="left", fontsize="medium")
        ax.set_ylabel("")
        ax.get_legend().remove()
    ax.legend(**LEGEND)
    return figure


def scatter(table: pd.DataFrame, x: str, quantities: Sequence[str], *, hue: str) -> Figure:
    """Each quantity (in bits) against the column `x` in its own panel: a point for each row, by colour and shape."""
    size = (3.6 * len(quantities) + 1.8, 3.3)
    figure, axes = plt.subplots(1, len(quantities), figsize=size, squeeze=False, layout="constrained")
    for ax, quantity in zip(axes[0], quantities, strict=True):
        sns.scatterplot(table, x=x, y=quantity, hue=hue, style=hue, s=45, ax=ax)
        ax.set_ylabel(f"{quantity}  [bits]")
        ax.get_legend().remove()
    ax.legend(**LEGEND)
    return figure


def agreement(table: pd.DataFrame) -> Figure:
    """Our numbers (column `ours`, mean and standard deviation over seeds) against the paper's (`value`), by unit."""
    by = [column for column in table.columns if column not in ("seed", "ours")]
    numbers = table.groupby(by)["ours"].agg(["mean", "std"]).reset_index()
    units = list(dict.fromkeys(table["unit"]))
    figure, axes = plt.subplots(1, len(units), figsize=(4.6 * len(units), 3.9), squeeze=False, layout="constrained")
    for ax, unit in zip(axes[0], units, strict=True):
        shown = numbers[numbers["unit"] == unit]
        for (name, rows), marker in zip(shown.groupby("figure"), "os^D", strict=False):
            ax.errorbar(rows["value"], rows["mean"], rows["std"], fmt=marker, ms=5, lw=1, alpha=0.8, label=name)
        ends = [shown[["value", "mean"]].min().min(), shown[["value", "mean"]].max().max()]
        ax.plot(ends, ends, color=INK, lw=1, ls="--")
        ax.set(xlabel=f"the paper's number  [{unit}]", ylabel=f"ours  [{unit}]")
        ax.legend(fontsize="x-small", loc="upper left")
    return figure
