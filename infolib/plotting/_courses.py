"""Measures of several networks by relative depth, the similarity of their layers, and measures over a training."""

import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infolib import checks
from infolib.plotting._lenses import UNITS
from infolib.plotting._style import INK, need, sequential

MOST = 12  # layers that are drawn or named
COLUMNS = 3
LOG = 30.0  # from the first step to the last: beyond it small steps are seen on a log axis alone
COLOURS, STYLES = [sns.color_palette("colorblind")[i] for i in (0, 1, 2, 4, 3, 9)], ("-", "--", "-.", ":")
LINES = [(colour, STYLES[(i + turn) % 4]) for turn in range(4) for i, colour in enumerate(COLOURS)]  # equal lines show
EDGES = ("ceiling", "floor")
BESIDE: dict[str, Any] = {"loc": "outside right upper", "fontsize": "x-small", "frameon": False}
BELOW: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.3), "ncols": 3, "fontsize": "x-small",
                         "frameon": False}  # fmt: skip


def by_relative_depth(table: pd.DataFrame) -> Figure:
    r"""Every quantity of several networks against relative depth, a panel for each and a line for each network.

    Lines are means over seeds; bands are intervals where the table has `low` and `high`, else one standard deviation
    over seeds. Dotted lines are ceilings and floors, thin lines without marks the networks before training.

    Parameters
    ----------
    table : DataFrame
        That of `lenses.compare`; `low`, `high`, `untrained`, `ceiling` and `floor` may be missing. Quantities
        without any value have no panel.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        For a table without rows, values or one of the other columns.

    Examples
    --------
    >>> rows = [(net, depth, "I(X;T)", "bit", 5 - depth, 6.0) for net in ("cnn", "vit") for depth in (0.5, 1.0)]
    >>> columns = ["network", "relative depth", "quantity", "unit", "value", "ceiling"]
    >>> figure = by_relative_depth(pd.DataFrame(rows, columns=columns))
    >>> [text.get_text() for text in figure.legends[0].get_texts()], figure.axes[0].get_ylabel()
    (['cnn', 'vit'], 'I(X;T)  [bits]')
    """
    table, quantities = _valued(table, ["network", "relative depth"])
    columns = min(COLUMNS, len(quantities))
    shape = math.ceil(len(quantities) / columns), columns
    size = (3.1 * columns + 1.5, 2.3 * shape[0] + 0.3)
    figure, axes = plt.subplots(*shape, figsize=size, sharex=True, squeeze=False, layout="constrained", dpi=80)
    lines = dict(zip(dict.fromkeys(table["network"]), cycle(LINES), strict=False))
    for ax, quantity in zip(axes.flat, quantities, strict=False):
        rows = table[table["quantity"] == quantity]
        for network, (colour, ls) in lines.items():
            own = rows[rows["network"] == network]
            _line(ax, own, "relative depth", color=colour, ls=ls, label=network, marker="o", ms=3)
            if "untrained" in own:
                ax.plot(own.groupby("relative depth")["untrained"].mean(), color=colour, ls=ls, lw=0.7)
        _framed(ax, rows, quantity)
        ax.set_xlim(-0.04, 1.04)
    for ax in axes.flat[len(quantities) :]:
        ax.set_visible(False)
    for ax in axes.flat[max(0, len(quantities) - columns) : len(quantities)]:
        ax.set_xlabel("relative depth", fontsize="small")
        ax.tick_params(labelbottom=True)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), **BESIDE)
    return figure


def similarity(cka: pd.DataFrame) -> Figure:
    """Linear CKA of the layers of two networks as a map, for each pair of networks.

    Parameters
    ----------
    cka : DataFrame
        That of `lenses.compare`, with the columns network, layer, other network, other layer and CKA. Of more than
        twelve layers all are drawn, but only some are named.

    Returns
    -------
    Figure
        Early layers are on the left and below.

    Raises
    ------
    ValueError
        For a table without rows or one of these columns.

    Examples
    --------
    >>> columns = ["network", "layer", "other network", "other layer", "CKA"]
    >>> figure = similarity(pd.DataFrame([("cnn", "conv1", "vit", "block1", 0.5)], columns=columns))
    >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
    ('vit', 'cnn')
    """
    pairs = list(cka.groupby(["network", "other network"], sort=False))
    columns = min(COLUMNS, len(pairs))
    shape = math.ceil(len(pairs) / columns), columns
    size = (4.1 * columns + 0.8, 3.7 * shape[0])
    figure, axes = plt.subplots(*shape, figsize=size, squeeze=False, layout="constrained", dpi=80)
    for ax, ((one, two), rows) in zip(axes.flat, pairs, strict=False):
        names = [list(dict.fromkeys(rows[side])) for side in ("layer", "other layer")]
        values = rows.pivot_table(index="layer", columns="other layer", values="CKA", dropna=False)
        values = values.reindex(index=names[0], columns=names[1])
        shown = ax.imshow(values, origin="lower", aspect="auto", cmap="viridis", vmin=0, vmax=1)
        (ys, below), (xs, left) = map(_named, names)
        ax.set_yticks(ys, below, fontsize="xx-small")
        ax.set_xticks(xs, left, fontsize="xx-small", rotation=45, ha="right", rotation_mode="anchor")
        ax.set_xlabel(two, fontsize="small")
        ax.set_ylabel(one, fontsize="small")
        ax.grid(visible=False)
    for ax in axes.flat[len(pairs) :]:
        ax.set_visible(False)
    figure.colorbar(shown, ax=axes, shrink=0.8, extend="min").set_label("linear CKA", fontsize="small")
    return figure


def over_training(table: pd.DataFrame) -> Figure:
    r"""Every quantity against training steps: a row for each, a column for each network, a line for each layer.

    Steps are on a log axis where the last is more than thirty times the first above 0. Lines and bands are as those
    of `by_relative_depth`, dotted lines ceilings and floors.

    Parameters
    ----------
    table : DataFrame
        That of `lenses.series` or of a `lenses.Watch`; `network`, `low`, `high`, `ceiling` and `floor` may be
        missing. Of more than twelve layers of a network, twelve that are evenly spaced are
        drawn, as the legend says.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        For a table without rows, values or one of the other columns.

    Examples
    --------
    >>> rows = [(step, layer, "I(X;T)", "bit", 5.0) for step in (0, 10, 1000) for layer in ("conv1", "fc")]
    >>> figure = over_training(pd.DataFrame(rows, columns=["step", "layer", "quantity", "unit", "value"]))
    >>> figure.axes[0].get_xscale(), [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ('symlog', ['conv1', 'fc'])
    """
    table, quantities = _valued(table.assign(network=table.get("network", "")), ["step", "layer"])
    networks = list(dict.fromkeys(table["network"]))
    shape = len(quantities), len(networks)
    size = (min(3.4 * shape[1] + 0.6, 20), 1.9 * shape[0] + 1.2)
    figure, axes = plt.subplots(*shape, figsize=size, sharex=True, sharey="row", squeeze=False, dpi=80)
    figure.set_layout_engine("constrained")
    for column, network in enumerate(networks):
        own = table[table["network"] == network]
        layers = list(dict.fromkeys(own["layer"]))
        drawn = [layers[round(i)] for i in np.linspace(0, len(layers) - 1, min(len(layers), MOST))]
        for ax, quantity in zip(axes[:, column], quantities, strict=True):
            rows = own[own["quantity"] == quantity]
            for layer, colour in zip(drawn, sequential(len(drawn)), strict=True):
                _line(ax, rows[rows["layer"] == layer], "step", color=colour, label=layer, marker="o", ms=2.5)
            _framed(ax, rows, "" if column else quantity)
        axes[0, column].set_title(network, loc="left", fontsize="small")
        axes[-1, column].set_xlabel("step", fontsize="small")
        title = f"{len(drawn)} of {len(layers)} layers" if len(drawn) < len(layers) else None
        axes[-1, column].legend(title=title, title_fontsize="x-small", **BELOW)
    first = table["step"][table["step"] > 0].min()
    if table["step"].max() > LOG * first:
        axes[0, 0].set_xscale("symlog", linthresh=float(first), linscale=0.3)
        axes[0, 0].set_xlim(left=-0.15 * first)
    return figure


def _valued(table: pd.DataFrame, columns: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """The rows with a value, and their quantities."""
    need(table, [*columns, "quantity", "unit", "value"])
    table = table[table["value"].notna()]
    checks.at_least("the number of values of table", len(table), 1)
    return table, list(dict.fromkeys(table["quantity"]))


def _line(ax: Axes, rows: pd.DataFrame, x: str, **style: Any) -> None:
    """Mean over seeds, with a band: its interval, or one standard deviation."""
    own = rows.groupby(x)
    mean, sd = own["value"].mean(), own["value"].std().fillna(0)
    low, high = mean - sd, mean + sd
    if {"low", "high"} <= set(rows):
        low, high = own["low"].mean().fillna(low), own["high"].mean().fillna(high)
    ax.plot(mean, lw=1.6, **style)
    ax.fill_between(mean.index, low, high, color=style["color"], alpha=0.15, lw=0)


def _framed(ax: Axes, rows: pd.DataFrame, quantity: str) -> None:
    """Ceilings, floors, and the label of the axis."""
    for edge in {round(float(edge), 9) for name in EDGES if name in rows for edge in rows[name].dropna()}:
        ax.axhline(edge, color=INK, lw=1, ls=(0, (1, 2)), zorder=1)
        where: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "bottom"}
        ax.text(0.995, edge, f"{edge:.3g}", fontsize="xx-small", **where)
    unit = UNITS.get(rows["unit"].iloc[0]) if len(rows) else None
    ax.set_ylabel(f"{quantity}  [{unit}]" if unit and quantity else quantity, fontsize="small")
    ax.margins(y=0.12)
    ax.tick_params(labelsize="x-small")


def _named(names: Sequence[str]) -> tuple[list[int], list[str]]:
    """Places and names along an axis."""
    step = math.ceil(len(names) / MOST)
    return list(range(0, len(names), step)), list(names[::step])
