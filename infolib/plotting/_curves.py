"""Quantities against depth, training time or the number of neurons removed."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import is_color_like
from matplotlib.figure import Figure

from infolib import checks
from infolib.plotting._style import BAND, GREY, INK, LEGEND, band, grid, pool_name, sequential_for, with_unit


def depth_profile(table: pd.DataFrame, quantity: str, *, hue: str = "step", ax: Axes | None = None) -> Axes:
    """A quantity against the layers, one line per value of `hue`: means over seeds, bars one standard deviation.

    Lines are shifted a little sideways, so that equal lines are all visible.

    Parameters
    ----------
    table : DataFrame
        Columns `layer`, `seed`, `quantity` and `hue`; rows in depth order of the layers, and in the order of `hue`.
    quantity, hue : str
        Column of the values, in bits; column of the lines.
    ax : Axes or None
        Where to draw; None is the current axes.

    Returns
    -------
    Axes
        The axes.

    Examples
    --------
    >>> rows = [("conv1", 0, 0, 6.0), ("conv1", 0, 1, 6.2), ("fc1", 0, 0, 4.0), ("fc1", 0, 1, 4.4)]
    >>> ax = depth_profile(pd.DataFrame(rows, columns=["layer", "step", "seed", "I(X;T)"]), "I(X;T)")
    >>> ax.get_ylabel(), ax.containers[0][0].get_ydata().tolist()
    ('I(X;T)  [bits]', [6.1, 4.2])
    """
    ax = ax or plt.gca()
    layers = list(dict.fromkeys(table["layer"]))
    colours = sequential_for(table[hue])
    places = np.arange(len(layers))
    for i, (level, colour) in enumerate(colours.items()):
        bars = table[table[hue] == level].groupby("layer")[quantity].agg(["mean", "std"]).reindex(layers)
        beside = places + 0.05 * (i - (len(colours) - 1) / 2)
        ax.errorbar(beside, bars["mean"], bars["std"], color=colour, marker="o", ms=5, capsize=3, label=level)
    ax.set_xticks(places, layers)
    ax.set(xlabel="layer, from input to output", ylabel=f"{quantity}  [bits]", xlim=(-0.3, len(layers) - 0.7))
    ax.legend(title=hue, fontsize="small", title_fontsize="small")
    return ax


def chance_profiles(table: pd.DataFrame, *, hue: str, row: str) -> Figure:
    """I(X;T), what of it is beyond chance, and I(T;Y) of every layer, as `depth_profile`s for each value of `row`.

    Parameters
    ----------
    table : DataFrame
        Columns `layer`, `seed`, `hue` and `row`; in bits `I(X;T)`, `I(X;T) chance` and `S(X)`; for panels of I(T;Y)
        also `I(T;Y)`, `I(T;Y) chance` and `S(Y)`.
    hue, row : str
        Column of the lines; column of the rows of panels, such as how the information is measured.

    Returns
    -------
    Figure
        Bars are one standard deviation over seeds. Dots are the chance level, that of mismatched pairs, in the colour
        of its line; dashes the upper bounds S(X) and S(Y).

    Examples
    --------
    >>> row = {"layer": "fc1", "net": "trained", "alpha": 2, "I(X;T)": 5.0, "I(T;Y)": 2.0, "S(X)": 6.0, "S(Y)": 3.3}
    >>> row |= {"I(X;T) chance": 4.5, "I(T;Y) chance": 0.5}
    >>> figure = chance_profiles(pd.DataFrame([row | {"seed": s} for s in (0, 1)]), hue="net", row="alpha")
    >>> [ax.get_ylabel() for ax in figure.axes]
    ['I(X;T)  [bits]', 'I(X;T) beyond chance  [bits]', 'I(T;Y)  [bits]']
    """
    beyond = "I(X;T) beyond chance"
    table = table.assign(**{beyond: table["I(X;T)"] - table["I(X;T) chance"]})
    shown = {"I(X;T)": "S(X)", beyond: None} | ({"I(T;Y)": "S(Y)"} if "I(T;Y)" in table else {})
    figure, axes = grid(table[row].nunique(), len(shown), sharex="col")
    figure.set_size_inches(11 / 3 * len(shown), 3.1 * len(axes) + 0.2)
    for i, (name, columns) in enumerate(zip(dict.fromkeys(table[row]), axes, strict=True)):
        rows = table[table[row] == name]
        for ax, (quantity, bound) in zip(columns, shown.items(), strict=True):
            depth_profile(rows, quantity, hue=hue, ax=ax).legend_ = None  # the figure has one for all
            ax.set(xlabel="layer, from input to output" if i == len(axes) - 1 else "")
            if bound:
                _chance(ax, rows, f"{quantity} chance", hue)
                ax.axhline(rows[bound].mean(), color=INK, lw=1, ls="--", label="upper bound: S(X), S(Y)")
                ax.set_ylim(top=1.08 * rows[bound].mean())
            ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
        columns[0].set_title(name, loc="left", fontsize="medium")
    figure.align_ylabels()
    # lines before bars: the two of all panels come last
    handles, labels = (entries[2:] + entries[:2] for entries in axes[0, 0].get_legend_handles_labels())
    figure.legend(handles, labels, loc="outside upper right", ncols=2 * len(shown) - 1, fontsize="small")
    return figure


def _chance(ax: Axes, table: pd.DataFrame, quantity: str, hue: str) -> None:
    """The mean of a chance level at each layer, dotted, a line for each value of `hue`."""
    for colour, (_, rows) in zip(sequential_for(table[hue]).values(), table.groupby(hue, sort=False), strict=True):
        means = rows.groupby("layer")[quantity].mean().reindex(table["layer"].unique())
        (line,) = ax.plot(range(len(means)), means, ":", color=colour, lw=1.5)
    line.set_label("chance: mismatched pairs")


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
    """A quantity against a number, a line for each value of `hue`: means over seeds, bands one standard deviation.

    Parameters
    ----------
    table : DataFrame
        Columns `seed`, `x`, `y`, `hue` and `dotted`; the lines have the order of the rows.
    x, y, hue : str
        Column of the numbers; column of the values, in bits if its name has parentheses; column of the lines.
    colours : mapping or None
        Value of `hue` -> colour; None is a sequential palette.
    dotted : str or None
        Column that is true in the rows of a control, which becomes a dotted line of the same colour without a band.
    ax : Axes or None
        Where to draw; None is the current axes.

    Returns
    -------
    Axes
        The axes.

    Examples
    --------
    >>> rows = [(seed, step, 1.0 + seed + step, "fc1") for seed in (0, 1) for step in (0, 10)]
    >>> ax = lines(pd.DataFrame(rows, columns=["seed", "step", "I(T;Y)", "layer"]), "step", "I(T;Y)", hue="layer")
    >>> ax.get_ylabel(), ax.get_lines()[0].get_ydata().tolist()
    ('I(T;Y)  [bits]', [1.5, 11.5])
    """
    ax = ax or plt.gca()
    colours = sequential_for(table[hue]) if colours is None else colours
    for level in table[hue].unique():
        if not is_color_like(colours.get(level)):
            raise ValueError(
                f"colours must have a colour for each value of {hue}, got {colours.get(level)!r} of {level!r}"
            )
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
    """Several quantities against a number as `lines`: a row for each quantity, a panel for each value of `column`.

    Steps of training are on a logarithmic axis that begins at 0.

    Parameters
    ----------
    table : DataFrame
        Columns `seed`, `x`, `column`, `hue`, `dotted`, and those of the quantities and their bounds.
    x : str
        Column of the numbers.
    quantities : mapping of str to str or None
        Column of a quantity -> column to compare it with, such as its upper bound, whose mean is drawn as dashes. None
        draws no dashes.
    column, hue : str
        Column of the panels; column of the lines.
    dotted : str or None
        Column that is true in the rows of a control, which becomes dotted lines.

    Returns
    -------
    Figure
        Quantities from top to bottom; each label is in one legend only.

    Examples
    --------
    >>> rows = [(seed, step, 1.0, 3.3, "fc1", net) for seed in (0, 1) for step in (0, 10) for net in ("mlp", "cnn")]
    >>> table = pd.DataFrame(rows, columns=["seed", "step", "I(T;Y)", "S(Y)", "layer", "network"])
    >>> figure = panels(table, "step", {"I(T;Y)": "S(Y)"}, column="network", hue="layer")
    >>> [ax.get_title(loc="left") for ax in figure.axes]
    ['mlp', 'cnn']
    """
    names, colours = list(dict.fromkeys(table[column])), sequential_for(table[hue])
    named = names.copy()  # the titles name these, and each legend the next ones
    figure, axes = grid(len(quantities), len(names), sharex="col", sharey="row")
    for row, (quantity, bound) in zip(axes, quantities.items(), strict=True):
        for ax, name in zip(row, names, strict=True):
            rows = table[(table[column] == name) & table[quantity].notna()]
            lines(rows, x, quantity, hue=hue, colours=colours, dotted=dotted, ax=ax)
            ax.get_legend().remove()
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
            entries[dotted] = plt.Line2D([], [], color=INK, ls=":")
        entries = {label: line for label, line in entries.items() if label not in named}
        row[-1].legend(entries.values(), entries.keys(), **LEGEND)
        named += entries
    for ax, name in zip(axes[0], names, strict=True):
        ax.set_title(name, loc="left", fontsize="medium")
    return figure


def estimates(table: pd.DataFrame, x: str, *, log: bool = False, ax: Axes | None = None) -> Axes:
    """Estimates of several estimators next to the truth: means over seeds, bars one standard deviation.

    The values of `x` are evenly spaced in the order of their rows, or by their logarithms. Lines join numbers.

    Parameters
    ----------
    table : DataFrame
        Columns `seed`, `estimator` and `x`; in bits `bits`, the estimate, and `truth`, drawn as dashes.
    x : str
        Column of what the estimates depend on.
    log : bool
        Whether the axis is logarithmic; the values are positive numbers then.
    ax : Axes or None
        Where to draw; None is the current axes.

    Returns
    -------
    Axes
        The axes.

    Raises
    ------
    ValueError
        For a logarithmic axis of strings or of numbers not above 0.

    Examples
    --------
    >>> rows = [(seed, "KSG", n, 1.0 + seed / n, 1.0) for n in (100, 1000) for seed in (0, 1)]
    >>> ax = estimates(pd.DataFrame(rows, columns=["seed", "estimator", "samples", "bits", "truth"]), "samples")
    >>> sorted(text.get_text() for text in ax.get_legend().get_texts())
    ['KSG', 'truth']
    """
    ax = ax or plt.gca()
    levels = list(dict.fromkeys(table[x]))
    positive = pd.api.types.is_numeric_dtype(table[x]) and min(levels) > 0
    checks.hold(f"table: {x}", levels, positive or not log, "positive on a logarithmic axis")
    names = list(dict.fromkeys(table["estimator"]))
    places, line = np.log2(levels) if log else np.arange(len(levels)), "none" if isinstance(levels[0], str) else "-"
    ax.hlines(table.groupby(x)["truth"].first().loc[levels], places - 0.4, places + 0.4, INK, "--", label="truth")
    for i, (name, colour) in enumerate(zip(names, sns.color_palette("colorblind", len(names)), strict=True)):
        bars = table[table["estimator"] == name].groupby(x)["bits"].agg(["mean", "std"]).reindex(levels)
        beside = places + 0.08 * (i - (len(names) - 1) / 2)
        ax.errorbar(beside, bars["mean"], bars["std"], color=colour, marker="o", ms=5, capsize=3, ls=line, label=name)
    ax.set_xticks(places, levels)
    ax.set(xlabel=x, ylabel="estimate  [bits]")
    ax.legend(title="mean ± 1 sd of seeds", title_fontsize="x-small", **LEGEND | {"fontsize": "small"})
    return ax


def codelengths(table: pd.DataFrame) -> Figure:
    """Bits per label of each block of a prequential code against the labels sent: the area is the codelength.

    Parameters
    ----------
    table : DataFrame
        Columns `set`, `seed` and `end`, the number of labels sent after a block; `labels`, those of the block; `bits`,
        its codelength; `uniform`, the bits per label of the uniform code.

    Returns
    -------
    Figure
        A panel for each set: means over seeds, bars one standard deviation. Dashes are the uniform code.

    Examples
    --------
    >>> rows = [("digits", seed, end, end / 2, end + seed, 3.3) for end in (2, 4) for seed in (0, 1)]
    >>> figure = codelengths(pd.DataFrame(rows, columns=["set", "seed", "end", "labels", "bits", "uniform"]))
    >>> figure.axes[0].get_title(loc="left")
    'digits: 7 ± 1 bits'
    """
    sets = list(dict.fromkeys(table["set"]))
    figure, axes = grid(-(-len(sets) // 3), min(3, len(sets)))
    for ax, name in zip(axes.flat, sets, strict=False):
        rows = table[table["set"] == name]
        blocks = rows.assign(each=rows["bits"] / rows["labels"]).groupby("end")["each"].agg(["mean", "std"])
        ends = np.array([0, *blocks.index])
        ax.stairs(blocks["mean"], ends, fill=True, color=BAND)
        ax.errorbar((ends[1:] + ends[:-1]) / 2, blocks["mean"], blocks["std"], fmt="none", ecolor=INK, lw=1, capsize=2)
        ax.axhline(rows["uniform"].iloc[0], color=INK, lw=1, ls="--")
        totals = rows.groupby("seed")["bits"].sum()
        ax.set_title(f"{name}: {totals.mean():,.0f} ± {totals.std():,.0f} bits", loc="left", fontsize="small")
        ax.set(xlabel="labels sent", ylabel="codelength  [bits per label]")
    for ax in axes.flat[len(sets) :]:
        ax.axis("off")
    return figure


def ablation(curves: pd.DataFrame, *, title: str = "") -> Figure:
    """Accuracy against the number of clamped neurons, in a panel for each pool of layers.

    Above, the neurons with the lowest values are clamped first; below, those with the highest.

    Parameters
    ----------
    curves : DataFrame
        Columns `layers`, `quantity`, `direction` ("ascending", "descending", or "random" for the quantity "random",
        which may be missing), `seed`, `k`, the number of clamped neurons, and `accuracy` from 0 to 1.
    title : str
        Title of the figure.

    Returns
    -------
    Figure
        One colour per quantity, random orders in grey: means over networks, bands one standard deviation.

    Examples
    --------
    >>> ways = [("entropy", "ascending"), ("entropy", "descending"), ("random", "random")]
    >>> rows = [("fc1", *way, seed, k, 1 - k / 9) for way in ways for seed in (0, 1) for k in (0, 1)]
    >>> figure = ablation(pd.DataFrame(rows, columns=["layers", "quantity", "direction", "seed", "k", "accuracy"]))
    >>> [ax.get_ylabel() for ax in figure.axes]
    ['accuracy, lowest first', 'accuracy, highest first']
    """
    pools = list(dict.fromkeys(curves["layers"]))
    quantities = [quantity for quantity in dict.fromkeys(curves["quantity"]) if quantity != "random"]
    figure, axes = grid(2, len(pools), sharex="col", sharey="all")
    colours: dict = {"random": GREY} if len(quantities) < curves["quantity"].nunique() else {}
    colours |= zip(quantities, sns.color_palette("colorblind", len(quantities)), strict=True)
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
    """Accuracy against the number of neurons clamped, to their mean and to zero, for each network and pool of layers.

    Parameters
    ----------
    curves : DataFrame
        Columns `network`, `layers`, `mode` ("mean" or "zero"), `seed`, `k`, the number of clamped neurons, and
        `accuracy` from 0 to 1.

    Returns
    -------
    Figure
        Means over seeds, bands one standard deviation.

    Examples
    --------
    >>> rows = [("mlp", "fc", mode, seed, k, 1 - k / 9) for mode in ("mean", "zero") for seed in (0, 1) for k in (0, 1)]
    >>> figure = ablation_modes(pd.DataFrame(rows, columns=["network", "layers", "mode", "seed", "k", "accuracy"]))
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['clamped to mean', 'clamped to zero']
    """
    networks, pools = list(dict.fromkeys(curves["network"])), list(dict.fromkeys(curves["layers"]))
    figure, axes = grid(len(networks), len(pools), sharey="all")
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
