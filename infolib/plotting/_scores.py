"""Distributions, intervals and verdicts."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from infolib import claims
from infolib.plotting._style import BAND, INK, LEGEND, VERDICT_COLOURS, pool_name, sequential


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


def verdicts(table: pd.DataFrame) -> Figure:
    """Each claim's interval over seeds (bar) against its accepted range (band), each on its own scale."""
    judged = table[table["n"] > 0]
    size = (8, 0.75 * len(judged) + 0.4)
    figure, axes = plt.subplots(len(judged), 1, figsize=size, squeeze=False, layout="constrained")
    for ax, row in zip(axes[:, 0], judged.itertuples(), strict=True):
        edges = np.array([row.accepted_low, row.accepted_high, row.low, row.high])
        edges = edges[np.isfinite(edges)]
        margin = 0.15 * (np.ptp(edges) or 1.0)
        ax.set(xlim=(edges.min() - margin, edges.max() + margin), yticks=[], ylim=(-1, 1))
        ax.axvspan(*np.clip([row.accepted_low, row.accepted_high], *ax.get_xlim()), color=BAND, lw=0)
        colour = VERDICT_COLOURS[row.verdict]
        ax.errorbar(row.ours, 0, xerr=[[row.ours - row.low], [row.high - row.ours]], fmt="o", color=colour, capsize=4)
        ax.set_ylabel(row.claim, rotation=0, ha="right", va="center", fontsize="small")
        ax.annotate(row.verdict, (1.01, 0.5), xycoords="axes fraction", va="center", color=colour, fontsize="small")
        ax.tick_params(labelsize="x-small")
        ax.locator_params(axis="x", nbins=6)
        ax.xaxis.get_offset_text().set_fontsize("x-small")
        ax.grid(visible=False)
        ax.spines["left"].set_visible(False)
    return figure


def tally(table: pd.DataFrame, *, by: str) -> Figure:
    """How many claims have which verdict: a bar for each value of the column `by`, in the order of the rows."""
    names = list(dict.fromkeys(table[by]))
    counts = table.groupby([by, "verdict"]).size().unstack(fill_value=0).reindex(index=names, columns=claims.VERDICTS)
    figure, ax = plt.subplots(figsize=(8, 0.36 * len(names) + 0.9), layout="constrained")
    start = np.zeros(len(names))
    for verdict, numbers in counts.fillna(0).items():
        bars = ax.barh(names, numbers, left=start, color=VERDICT_COLOURS[verdict], height=0.7, label=verdict)
        shown = [f"{int(n)}" if n else "" for n in numbers]
        ax.bar_label(bars, shown, label_type="center", color="white", fontsize="small")
        start += numbers.to_numpy()
    ax.invert_yaxis()
    ax.set(xlabel="claims")
    ax.locator_params(axis="x", integer=True)
    ax.grid(visible=False)
    ax.legend(fontsize="x-small", loc="lower center", bbox_to_anchor=(0.4, 1), ncols=4, frameon=False)
    return figure
