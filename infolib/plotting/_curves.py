"""Quantities against depth, training time or the number of neurons removed."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infolib.plotting._style import BAND, INK, LEGEND, band, grid, pool_name, sequential, sequential_for, with_unit


def depth_profile(table: pd.DataFrame, quantity: str, *, hue: str = "step", ax: Axes | None = None) -> Axes:
    """`quantity` (a column in bits) against the layers in depth order, one line per value of `hue`, spread over seeds.

    The table's rows are in depth order and in that of `hue`; lines are means over seeds, bars one standard deviation.
    Lines stand a little beside each other, so that equal ones are all seen.
    """
    ax = ax or plt.gca()
    layers = list(dict.fromkeys(table["layer"]))
    levels = list(dict.fromkeys(table[hue]))
    places = np.arange(len(layers))
    for i, (colour, level) in enumerate(zip(sequential(len(levels)), levels, strict=True)):
        mean, sd = table[table[hue] == level].groupby("layer")[quantity].agg(["mean", "std"]).loc[layers].to_numpy().T
        beside = places + 0.05 * (i - (len(levels) - 1) / 2)
        ax.errorbar(beside, mean, sd, color=colour, marker="o", ms=5, capsize=3, label=level)
    ax.set_xticks(places, layers)
    ax.set(xlabel="layer, from input to output", ylabel=f"{quantity}  [bits]", xlim=(-0.3, len(layers) - 0.7))
    ax.legend(title=hue, fontsize="small", title_fontsize="small")
    return ax


def information_over_training(table: pd.DataFrame, *, hue: str = "step") -> Figure:
    """I(X;T) and I(T;Y) of every layer at several moments of training: what is kept of input and label."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    depth_profile(table, "I(X;T)", hue=hue, ax=left).set_title("about the input", loc="left")
    depth_profile(table, "I(T;Y)", hue=hue, ax=right).set_title("about the label", loc="left")
    for ax, ceiling, name in ((left, table["S(X)"].mean(), "S(X)"), (right, table["S(Y)"].mean(), "S(Y)")):
        ax.axhline(ceiling, color=INK, lw=1, ls="--")
        ax.annotate(name, (1, ceiling), (-4, 4), ("axes fraction", "data"), "offset points", ha="right", color=INK)
        ax.set_ylim(0, 1.12 * ceiling)
    left.get_legend().remove()
    return figure


def lines(
    table: pd.DataFrame,
    x: str,
    y: str,
    *,
    hue: str,
    colours: Mapping | None = None,
    dotted: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The column `y` against the numbers `x`, a line for each value of `hue`: means over seeds, bands one sd.

    The values of `hue` keep the order of their rows; their colours are sequential unless given. Rows in which the
    column `dotted` is true (a control, say) make a dotted line of the same colour, without a band.
    """
    ax = ax or plt.gca()
    colours = colours or sequential_for(table[hue])
    for level in dict.fromkeys(table[hue]):
        rows = table[table[hue] == level]
        control = rows[dotted].astype(bool) if dotted else pd.Series(False, index=rows.index)
        band(ax, rows[~control].groupby(["seed", x])[y].mean(), color=colours[level], label=level)
        if control.any():
            means = rows[control].groupby(x)[y].mean()
            ax.plot(means.index, means, ls=":", color=colours[level])
    ax.set(xlabel=x, ylabel=with_unit(y))
    ax.legend(**LEGEND)
    return ax


def panels(
    table: pd.DataFrame,
    x: str,
    quantities: Mapping[str, str | None],
    *,
    column: str,
    hue: str,
    dotted: str | None = None,
) -> Figure:
    """Several quantities against the numbers `x` as `lines`: a row for each, a panel for each value of `column`.

    Each quantity comes with the name of another one to compare it with, such as its upper bound, or None: the mean is
    drawn as dashes. Steps of training stand on a logarithmic axis that begins at 0.
    """
    names, colours = list(dict.fromkeys(table[column])), sequential_for(table[hue])
    named = names.copy()  # the titles name these, and each legend the next ones
    figure, axes = grid(len(quantities), len(names), sharex="col", sharey="row")
    for row, (quantity, bound) in zip(axes, quantities.items(), strict=True):
        for ax, name in zip(row, names, strict=True):
            rows = table[(table[column] == name) & table[quantity].notna()]
            lines(rows, x, quantity, hue=hue, colours=colours, dotted=dotted, ax=ax).get_legend().remove()
            if bound:
                ceiling = (rows[rows[dotted] == 0] if dotted else rows).groupby(x)[bound].mean()
                ax.plot(ceiling.index, ceiling, color=INK, lw=1, ls="--", label=bound)
            if x == "step":
                ax.set(xscale="symlog", xlim=(0, None), xlabel="training step")
            ax.label_outer()
        if bound:
            row[0].set_ylim(min(0, table[quantity].min()), 1.05 * row[0].get_ylim()[1])
        entries = dict(pair for ax in row for pair in zip(*reversed(ax.get_legend_handles_labels()), strict=True))
        if dotted:
            entries[f"{dotted} ≠ 0"] = plt.Line2D([], [], color=INK, ls=":")
        entries = {label: line for label, line in entries.items() if label not in named}
        row[-1].legend(entries.values(), entries.keys(), **LEGEND)
        named += entries
    for ax, name in zip(axes[0], names, strict=True):
        ax.set_title(name, loc="left", fontsize="medium")
    return figure


def estimates(table: pd.DataFrame, x: str, *, ax: Axes | None = None) -> Axes:
    """Estimates of several estimators (columns `estimator`, `bits`) beside the truth, for each value of `x`.

    Means over seeds, bars one standard deviation; the values of the column `x` keep the order of their rows, evenly
    spaced, and are joined by lines if they are numbers. The column `truth` is drawn as dashes.
    """
    ax = ax or plt.gca()
    levels = list(dict.fromkeys(table[x]))
    names = list(dict.fromkeys(table["estimator"]))
    places, line = np.arange(len(levels)), "none" if isinstance(levels[0], str) else "-"
    ax.hlines(table.groupby(x)["truth"].first().loc[levels], places - 0.4, places + 0.4, INK, "--", label="truth")
    for i, (name, colour) in enumerate(zip(names, sns.color_palette("colorblind"), strict=False)):
        mean, sd = table[table["estimator"] == name].groupby(x)["bits"].agg(["mean", "std"]).loc[levels].to_numpy().T
        beside = places + 0.08 * (i - (len(names) - 1) / 2)
        ax.errorbar(beside, mean, sd, color=colour, marker="o", ms=5, capsize=3, ls=line, label=name)
    ax.set_xticks(places, levels)
    ax.set(xlabel=x, ylabel="estimate  [bits]")
    ax.legend(**LEGEND | {"fontsize": "small"})
    return ax


def codelengths(table: pd.DataFrame) -> Figure:
    """Bits per label of each block of prequential codes against the labels sent: the area under a curve is the code.

    A panel for each value of the column `set`: means over seeds, bars one standard deviation; dashes: uniform code.
    """
    sets = list(dict.fromkeys(table["set"]))
    figure, axes = grid(-(-len(sets) // 3), min(3, len(sets)))
    for ax, name in zip(axes.flat, sets, strict=False):
        rows = table[table["set"] == name]
        blocks = rows.assign(price=rows["bits"] / rows["labels"]).groupby("end")["price"].agg(["mean", "std"])
        ends = np.array([0, *blocks.index])
        ax.stairs(blocks["mean"], ends, fill=True, color=BAND)
        ax.errorbar((ends[1:] + ends[:-1]) / 2, blocks["mean"], blocks["std"], fmt="none", ecolor=INK, lw=1, capsize=2)
        ax.axhline(rows["uniform"].iloc[0], color=INK, lw=1, ls="--")
        totals = rows.groupby("seed")["bits"].sum()
        ax.set_title(f"{name}: {totals.mean():,.0f} ± {totals.std():,.0f} bits", loc="left", fontsize="small")
        ax.set(xlabel="labels sent", ylabel="price  [bits per label]")
    for ax in axes.flat[len(sets) :]:
        ax.axis("off")
    return figure


def ablation(curves: pd.DataFrame, *, title: str = "") -> Figure:
    """Accuracy against the number of clamped neurons for each pool of layers: lowest first above, highest first below.

    One colour per quantity, random orders in grey; means over networks, bands one standard deviation.
    """
    pools = list(dict.fromkeys(curves["layers"]))
    quantities = [quantity for quantity in dict.fromkeys(curves["quantity"]) if quantity != "random"]
    size = (3.7 * len(pools), 6)
    figure, axes = plt.subplots(2, len(pools), figsize=size, sharey=True, sharex="col", layout="constrained")
    colours = {"random": "#8a929c"} | dict(zip(quantities, sns.color_palette("colorblind"), strict=False))
    per_network = curves.groupby(["layers", "quantity", "direction", "seed", "k"])["accuracy"].mean()
    for column, pool in enumerate(pools):
        for ax, direction in zip(axes[:, column], ("ascending", "descending"), strict=True):
            for quantity, colour in colours.items():
                way = "random" if quantity == "random" else direction
                band(ax, per_network[pool, quantity, way], color=colour, label=quantity)
            ax.set(ylim=(0, 1.02))
        axes[0, column].set_title(pool_name(pool), loc="left", fontsize="medium")
        axes[1, column].set_xlabel("neurons clamped")
    axes[0, 0].set_ylabel("accuracy, lowest first")
    axes[1, 0].set_ylabel("accuracy, highest first")
    axes[0, 0].legend(fontsize="x-small", loc="lower left")
    figure.suptitle(title, fontsize="medium")
    return figure


def ablation_modes(curves: pd.DataFrame) -> Figure:
    """Accuracy against the number of clamped neurons, to their mean and to zero: a panel for each network and layer."""
    networks, pools = list(dict.fromkeys(curves["network"])), list(dict.fromkeys(curves["layers"]))
    size = (3.7 * len(pools), 2.9 * len(networks))
    figure, axes = plt.subplots(
        len(networks), len(pools), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    per_network = curves.groupby(["network", "layers", "mode", "seed", "k"])["accuracy"].mean()
    for i, network in enumerate(networks):
        for j, pool in enumerate(pools):
            for mode, colour in zip(("mean", "zero"), sns.color_palette("colorblind"), strict=False):
                band(axes[i, j], per_network[network, pool, mode], color=colour, label=f"clamped to {mode}")
            axes[i, j].set_title(f"{network}: {pool_name(pool)}", loc="left", fontsize="small")
            axes[i, j].set(ylim=(0, 1.02), xlabel="neurons clamped" if i == len(networks) - 1 else "")
        axes[i, 0].set_ylabel("accuracy")
    axes[0, 0].legend(fontsize="x-small", loc="lower left")
    return figure
