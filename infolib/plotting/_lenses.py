"""One network through five lenses, and how the lenses agree."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from infolib import checks
from infolib.plotting._style import GREY, INK, TAN, frame, need, sequential

COLOURS = [sns.color_palette("colorblind")[i] for i in (2, 4, 3, 9)]  # none that is nearly one of the others
STYLES = [
    (GREY, ":"),
    (TAN, "--"),
    (GREY, "-."),
    *((colour, ls) for ls, colour in product(("-", "--", ":", "-."), COLOURS)),
]
PANELS, TICKS, WIDEST = 16, 24, 20  # small panels and names along the layers; inches
BASELINES: dict[str, dict[str, Any]] = {
    "untrained": {"color": GREY, "ls": "--", "marker": "s"}, "permuted": {"color": TAN, "ls": ":", "marker": "^"},
}  # fmt: skip
BOUNDS = {"I(X;T)": "S(X)", "I(T;Y)": "S(Y)", "discarding": "cells alike", "codelength": "log₂ classes"}
UNITS = {"bit": "bits", "bit per label": "bits per label"}
BESIDE: dict[str, Any] = {"fontsize": "x-small", "loc": "upper left", "bbox_to_anchor": (1.01, 1.02), "frameon": False}
MARGINS = {"left": 0.2, "right": 0.84, "top": 0.965, "bottom": 0.05}
QUESTIONS = {
    "information": "1  How much information does it retain?",
    "redundancy": "2  Do its maps share information?",
    "class_information": "3  How much class information do single units have?",
    "discarding": "4  What does it discard, and where?",
    "codelength": "5  How long is the code of a linear probe?",
}


def lens_page(
    table: pd.DataFrame,
    *,
    first: str | None = None,
    images: Sequence = (),
    maps: Mapping[str, Sequence] | None = None,
    curves: pd.DataFrame | None = None,
    box: tuple[float, float] | None = None,
) -> Figure:
    r"""A page of aligned panels: every quantity of `lenses.look` against the layers, from input to output.

    A layer without a value has no point. A panel without any value gives the reason. Layers of several networks are
    aligned by their place, whatever their names. Of more than 16 layers, only some have small panels. A dotted line is
    the ceiling or floor of a quantity; of the first network there are also the values with random weights and with
    permuted images or labels, where the table has them.

    Parameters
    ----------
    table : DataFrame
        As `lenses.look` returns it, with the columns `network` and `seed`; `low`, `high`, `untrained`, `permuted`,
        `floor` and `ceiling` may be missing.
    first : str or None
        The network that is emphasised; None is the first one.
    images : sequence of array_like, shape (c, h, w)
        The first one is drawn next to the maps.
    maps : mapping of str to array_like, shape (grid, grid), or None
        Layer of the first network -> discarding of each cell of that image, in bits; drawn above the panel of
        discarding.
    curves : DataFrame or None
        Columns `layer`, `direction`, `share`, the fraction of units that are clamped, and `accuracy`; drawn above the
        panel of class information.
    box : tuple of two float, or None
        Both ends of the object's box, as fractions of the image's side.

    Returns
    -------
    Figure
        A line for each network: the mean over seeds, bars one standard deviation; of a single seed with repeats their
        interval.

    Raises
    ------
    ValueError
        For a table without rows or one of these columns, more networks than there are styles of lines, and a `first`
        that is not among them.

    Examples
    --------
    >>> look = {"lens": "information", "quantity": "I(X;T)", "unit": "bit", "network": "mlp", "why not": ""}
    >>> rows = [look | {"layer": layer, "depth": d, "seed": seed, "value": 6.0 - d - seed}
    ...         for d, layer in enumerate(("conv1", "fc1")) for seed in (0, 1)]
    >>> figure = lens_page(pd.DataFrame(rows))
    >>> figure.axes[0].get_ylabel(), [text.get_text() for text in figure.axes[0].get_xticklabels()]
    ('I(X;T)\n[bits]', ['conv1', 'fc1'])
    """
    networks = _networks(table, first)
    if len(images):
        checks.floats("images", images, min_ndim=4)
    if maps is not None:
        checks.at_least("the number of maps", len(maps), 1)
    for layer, shown in (maps or {}).items():
        checks.floats(f"maps[{layer!r}]", shown, min_ndim=2)
    by_place = [table[table["network"] == network].groupby("depth")["layer"].first() for network in networks]
    names = pd.concat(by_place).groupby(level=0).unique()  # at each place
    own = by_place[0].reindex(names.index)
    layers = list(own)
    rows = _rows(table, maps, curves)
    figure = plt.figure(figsize=(min(max(6.5, 1.05 * len(layers) + 3), WIDEST), 1.3 * len(rows) + 0.7), dpi=80)
    specs = figure.add_gridspec(len(rows), len(layers), wspace=0.0, hspace=0.34, **MARGINS)
    panels: list[Axes] = []
    for i, (lens, row) in enumerate(rows):
        if row == "maps":
            _maps(figure, specs, i, layers, images, maps or {}, box)
        elif row == "curves":
            _curves(figure, specs, i, layers, curves)
        else:
            panels.append(figure.add_subplot(specs[i, :], sharex=panels[0] if panels else None))
            _by_depth(panels[-1], table[table["quantity"] == row], names.index, networks)
        if lens not in [above for above, _ in rows[:i]]:
            corner = specs[i, 0].get_position(figure)
            figure.text(
                corner.x0, corner.y1 + 0.004, QUESTIONS.get(lens, lens), color=INK, fontsize="small", weight="bold"
            )
    for ax in panels:
        ax.tick_params(labelbottom=ax is panels[-1])
    labels = ["\n".join(at) if len(at) < 4 else f"layer {depth}" for depth, at in names.items()]
    long, step = max(map(len, "\n".join(labels).split())) > 7, math.ceil(len(labels) / TICKS)
    places = range(0, len(labels), step)
    ax.set_xticks(places, labels[::step], rotation=30 if long else 0, ha="right" if long else "center")
    handles, labels = panels[0].get_legend_handles_labels()
    if len(labels) > 1:
        panels[0].legend(handles[::-1], labels[::-1], **BESIDE)
    return figure


def rank_matrix(pairs: Mapping[str, pd.DataFrame]) -> Figure:
    r"""Rank correlations of pairs of quantities as triangles, mean ± standard deviation over seeds and networks.

    Parameters
    ----------
    pairs : mapping of str to DataFrame
        Title -> table with the columns `one`, `two` (names of quantities) and `correlation` (Spearman's).

    Returns
    -------
    Figure
        A triangle for each title; blue is a positive correlation, red a negative one.

    Examples
    --------
    >>> rows = [("S(T)", "I(X;T)", 0.5), ("S(T)", "I(X;T)", 0.7)]
    >>> figure = rank_matrix({"layers": pd.DataFrame(rows, columns=["one", "two", "correlation"])})
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['+0.60\n± 0.14']
    """
    figure, axes = plt.subplots(1, len(pairs), figsize=(6.4 * len(pairs), 5.6), squeeze=False, layout="constrained")
    for ax, (title, table) in zip(axes[0], pairs.items(), strict=True):
        names = list(dict.fromkeys([*table["one"], *table["two"]]))
        numbers = table.groupby(["two", "one"])["correlation"].agg(["mean", "std"])
        mean, sd = (numbers[of].unstack("one").reindex(index=names[1:], columns=names[:-1]) for of in ("mean", "std"))
        text = np.where(mean.isna(), "", mean.map("{:+.2f}".format) + "\n± " + sd.map("{:.2f}".format))
        sns.heatmap(mean, vmin=-1, vmax=1, cmap="vlag_r", annot=text, fmt="", annot_kws={"fontsize": 7.5}, square=True,
                    linewidths=1, cbar=ax is axes[0, -1], ax=ax,
                    cbar_kws={"label": "Spearman's correlation", "shrink": 0.7})  # fmt: skip
        ax.set_title(title, loc="left", fontsize="medium")
        ax.set(xlabel="", ylabel="")
        ax.grid(visible=False)
        ax.tick_params(axis="x", rotation=35)
        plt.setp(ax.get_xticklabels(), ha="right")
    return figure


def _rows(table: pd.DataFrame, maps: object, curves: object) -> list[tuple[str, str]]:
    """Lens and content of each row, from top to bottom."""
    rows: list[tuple[str, str]] = []
    for quantity, lens in table.groupby("quantity", sort=False)["lens"].first().items():
        if quantity == "discarding" and maps is not None:
            rows.append((lens, "maps"))
        if quantity == "class information" and curves is not None:
            rows.append((lens, "curves"))
        rows.append((lens, quantity))
    return rows


def _networks(table: pd.DataFrame, first: str | None) -> list[str]:
    """The networks of a checked table, the first one first."""
    need(table, ["lens", "layer", "depth", "quantity", "value", "unit", "network", "why not"])
    networks = list(dict.fromkeys(table["network"]))
    if not networks or len(networks) > len(STYLES) + 1:
        raise ValueError(f"table must hold 1 to {len(STYLES) + 1} networks, got {len(networks)}")
    if first is not None and first not in networks:
        raise ValueError(f"first must be one of {', '.join(networks)}, got {first!r}")
    first = networks[0] if first is None else first
    return [first, *(network for network in networks if network != first)]


def _by_depth(ax: Axes, rows: pd.DataFrame, depths: pd.Index, networks: Sequence[str]) -> None:
    """One quantity against the layers' places."""
    quantity, unit = rows["quantity"].iloc[0], UNITS.get(rows["unit"].iloc[0], "")
    few = len(depths) <= TICKS
    for network, (colour, ls) in reversed(list(zip(networks, [(sequential(4)[2], "-"), *STYLES], strict=False))):
        values = rows[rows["network"] == network].groupby("depth")["value"].agg(["mean", "std"]).reindex(depths)
        style: dict[str, Any] = {"lw": 1.5, "ms": 3 if few else 1.5}
        if network == networks[0]:
            style = {"lw": 2, "ms": 5 if few else 2, "zorder": 3}
        style |= {"color": colour, "ls": ls, "label": network, "marker": "o", "capsize": 2}
        own, spread = rows[rows["network"] == network], values["std"]
        if "high" in own and own["depth"].is_unique:
            spread = (own["high"] - own["value"]).set_axis(own["depth"]).reindex(depths)
        ax.errorbar(range(len(depths)), values["mean"], spread.fillna(0), **style)
    first = rows[rows["network"] == networks[0]]
    for beside, style in BASELINES.items():
        if beside in first and first[beside].notna().any():
            mean = first.groupby("depth")[beside].mean().reindex(depths)
            ax.plot(range(len(depths)), mean, label=beside, lw=1.2, ms=3 if few else 1.5, zorder=2, **style)
    bounds = pd.concat([rows[edge] for edge in ("floor", "ceiling") if edge in rows] or [pd.Series(dtype=float)])
    for bound in bounds.dropna().unique():
        ax.axhline(bound, color=INK, lw=1, ls=(0, (1, 2)), zorder=1)
        text = f"{BOUNDS.get(quantity, 'bound')} = {bound:.2f}"
        ax.text(0.998, bound, text, transform=ax.get_yaxis_transform(), ha="right", va="bottom", fontsize="xx-small")
    if rows["value"].isna().all():
        how: dict[str, Any] = {"ha": "center", "color": GREY, "fontsize": "x-small", "wrap": True}
        ax.text(0.5, 0.5, rows["why not"].iloc[0], transform=ax.transAxes, **how)
        ax.set_yticks([])
    ax.set_xlim(-0.5, len(depths) - 0.5)
    ax.margins(y=0.15)
    ax.locator_params(axis="y", nbins=4)
    ax.set_ylabel(f"{quantity}\n[{unit}]" if unit else quantity, rotation=0, ha="right", va="center", fontsize="small")
    ax.tick_params(labelsize="x-small")


def _small(figure: Figure, specs: GridSpec, i: int, layers: Sequence[str]) -> Iterator[tuple[str, Axes]]:
    """A panel for each layer above its place; of many layers, for one in the middle of each few."""
    for group in np.array_split(np.arange(len(layers)), min(len(layers), PANELS)):
        yield layers[group[(len(group) - 1) // 2]], figure.add_subplot(specs[i, group[0] : group[-1] + 1])


def _maps(
    figure: Figure,
    specs: GridSpec,
    i: int,
    layers: Sequence[str],
    images: Sequence,
    maps: Mapping[str, Sequence],
    box: tuple[float, float] | None,
) -> None:
    """What each layer discards of one image, cell by cell, on one scale; the image itself in the margin."""
    limits = np.quantile(np.concatenate([np.ravel(values) for values in maps.values()]), [0.01, 0.99])
    for layer, ax in _small(figure, specs, i, layers):
        ax.axis("off")
        if layer in maps:
            shown = ax.imshow(np.asarray(maps[layer]), cmap="magma", norm=plt.Normalize(*limits), extent=(0, 1, 1, 0))
            ax.set(xlim=(-0.07, 1.07), ylim=(1, 0))
            frame(ax, box, lw=1.2)
    place = specs[i, 0].get_position(figure)
    side = place.height
    if len(images):
        image = np.moveaxis(np.asarray(images[0]), 0, -1)
        width = side * figure.get_figheight() / figure.get_figwidth()
        ax = figure.add_axes((MARGINS["left"] - 1.1 * width, place.y0, width, side))
        ax.imshow(image, cmap="gray_r", extent=(0, 1, 1, 0))
        ax.axis("off")
        frame(ax, box, lw=1.2)
    bar = figure.add_axes((MARGINS["right"] + 0.015, place.y0, 0.012, side))
    figure.colorbar(shown, cax=bar, extend="both").set_label("H  [bits]", fontsize="x-small")
    bar.tick_params(labelsize="x-small")


def _curves(figure: Figure, specs: GridSpec, i: int, layers: Sequence[str], curves: pd.DataFrame) -> None:
    """Accuracy against the fraction of units clamped, a small panel above each layer's place."""
    named = {"descending": ("most informative first", sequential(4)[3]), "ascending": ("least first", sequential(4)[0])}
    for column, (layer, ax) in enumerate(_small(figure, specs, i, layers)):
        for direction, (label, colour) in named.items():
            rows = curves[(curves["layer"] == layer) & (curves["direction"] == direction)]
            mean = rows.groupby("share")["accuracy"].mean()
            ax.plot(mean.index, mean, color=colour, lw=1.8, label=label)
        ax.set(ylim=(-0.02, 1.05), xlim=(-0.15, 1.15), xticks=[0, 1], yticks=[0, 1])
        ax.tick_params(labelsize="xx-small", labelleft=column == 0, labelbottom=False, length=0)
        ax.spines[["top", "right", "left"]].set_visible(False)
        if column == 0:
            ax.set_ylabel("accuracy, units\nclamped 0 … 100 %", rotation=0, ha="right", va="center", fontsize="small")
    ax.legend(**BESIDE)
