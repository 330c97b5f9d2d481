"""Distributions, intervals and verdicts."""

from collections.abc import Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from infolib import checks
from infolib.plotting._style import INK, LEGEND, MARKERS, pool_name, sequential


def violins(scores: pd.DataFrame, quantities: Sequence[str]) -> Figure:
    """Distribution of each quantity over the neurons of each layer; dashes are the level of chance.

    Parameters
    ----------
    scores : DataFrame
        Columns `layer`, `quantity`, `value` and `null`, the 95 % quantile with permuted labels; both in bits.
    quantities : sequence of str
        Names of the quantities, a panel for each.

    Returns
    -------
    Figure
        The panel of "entropy" has no level of chance.

    Examples
    --------
    >>> rows = [("fc1", name, value / 9, 0.05) for name in ("entropy", "class information") for value in range(5)]
    >>> scores = pd.DataFrame(rows, columns=["layer", "quantity", "value", "null"])
    >>> [ax.get_ylabel() for ax in violins(scores, ["entropy", "class information"]).axes]
    ['entropy  [bits]', 'class information  [bits]']
    """
    for quantity in quantities:
        checks.choice("quantities", quantity, set(scores["quantity"]))
    many = len(quantities)
    figure, axes = plt.subplots(1, many, figsize=(3.7 * many, 3.6), squeeze=False, layout="constrained")
    layers = list(dict.fromkeys(scores.dropna(subset="value")["layer"]))
    for ax, quantity in zip(axes[0], quantities, strict=True):
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
    """Mean and standard deviation over seeds of a quantity for each value of `y`, `hue` and `column`; a line is at 0.

    Parameters
    ----------
    table : DataFrame
        Columns `x`, `y`, `hue` and `column`, a row for each seed; names have the order of their rows.
    x, y, hue, column : str
        Column of the values, in the unit of its name; columns of the places, of the colours and of the panels.
    shared : bool
        Whether the panels have one scale; False for panels of different quantities.

    Returns
    -------
    Figure
        A panel for each value of `column`.

    Examples
    --------
    >>> rows = [(gap, net, "entropy", "fc1") for net in ("mlp", "cnn") for gap in (0.1, 0.2)]
    >>> table = pd.DataFrame(rows, columns=["gap", "network", "quantity", "layers"])
    >>> (ax,) = dots(table, "gap", "network", hue="quantity", column="layers").axes
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['mlp', 'cnn']
    """
    columns, order, hues = (list(dict.fromkeys(table[[x, name]][name])) for name in (column, y, hue))
    figure, axes = plt.subplots(1, len(columns), sharex=shared, sharey=True, squeeze=False, layout="constrained")
    figure.set_size_inches(3.2 * len(columns) + 3.5, 0.5 * len(order) + 1.3)
    dodge = 0.4 if len(hues) > 1 else False  # seaborn divides by the number of hues minus one
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
    """Each quantity against a number in its own panel: a point for each row, by colour and shape.

    Parameters
    ----------
    table : DataFrame
        Columns `x`, `hue` and those of the quantities, in bits.
    x : str
        Column of the numbers.
    quantities : sequence of str
        Columns of the quantities, a panel for each.
    hue : str
        Column of the colours and shapes.

    Returns
    -------
    Figure
        A panel for each quantity, with one legend.

    Examples
    --------
    >>> table = pd.DataFrame({"accuracy": [0.8, 0.9], "H": [2.0, 3.0], "kind": ["mlp", "cnn"]})
    >>> scatter(table, "accuracy", ["H"], hue="kind").axes[0].get_ylabel()
    'H  [bits]'
    """
    table, size = table[[x, hue, *(q for q in quantities if q not in (x, hue))]], (3.6 * len(quantities) + 1.8, 3.3)
    figure, axes = plt.subplots(1, len(quantities), figsize=size, squeeze=False, layout="constrained")
    for ax, quantity in zip(axes[0], quantities, strict=True):
        sns.scatterplot(table, x=x, y=quantity, hue=hue, style=hue, s=45, ax=ax)
        ax.set_ylabel(f"{quantity}  [bits]")
        ax.get_legend().remove()
    ax.legend(**LEGEND)
    return figure


def agreement(table: pd.DataFrame) -> Figure:
    """Our numbers against the paper's: mean and standard deviation over seeds, a panel for each unit.

    Parameters
    ----------
    table : DataFrame
        Columns `figure`, `unit`, `value` (the paper's number), `seed` and `ours`, both in that unit.

    Returns
    -------
    Figure
        Dashes are equal numbers.

    Examples
    --------
    >>> rows = [("fig1", "accuracy", value, seed, value + seed / 9) for value in (0.2, 0.8) for seed in (0, 1)]
    >>> figure = agreement(pd.DataFrame(rows, columns=["figure", "unit", "value", "seed", "ours"]))
    >>> [ax.get_xlabel() for ax in figure.axes]
    ["the paper's number  [accuracy]"]
    """
    by = [column for column in table.columns if column not in ("seed", "ours")]
    numbers = table.groupby(by)["ours"].agg(["mean", "std"]).reset_index()
    units = list(dict.fromkeys(table["unit"]))
    figure, axes = plt.subplots(1, len(units), figsize=(4.6 * len(units), 3.9), squeeze=False, layout="constrained")
    for ax, unit in zip(axes[0], units, strict=True):
        shown = numbers[numbers["unit"] == unit]
        for (name, rows), marker in zip(shown.groupby("figure"), cycle(MARKERS), strict=False):
            ax.errorbar(rows["value"], rows["mean"], rows["std"], fmt=marker, ms=5, lw=1, alpha=0.8, label=name)
        ends = [shown[["value", "mean"]].min().min(), shown[["value", "mean"]].max().max()]
        ax.plot(ends, ends, color=INK, lw=1, ls="--")
        ax.set(xlabel=f"the paper's number  [{unit}]", ylabel=f"ours  [{unit}]")
        ax.legend(fontsize="x-small", loc="upper left")
    return figure
