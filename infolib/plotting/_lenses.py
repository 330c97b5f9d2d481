"""One network through five lenses, and how the lenses agree."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from infolib.plotting._style import INK, sequential

GREY, TAN, FRAME = "#8a929c", "#c9772b", "#56b4e9"
UNITS = {"bit": "bits", "bit per label": "bits per label"}
BESIDE: dict[str, Any] = {"fontsize": "x-small", "loc": "upper left", "bbox_to_anchor": (1.01, 1.02), "frameon": False}
MARGINS = {"left": 0.2, "right": 0.84, "top": 0.965, "bottom": 0.05}
QUESTIONS = {
    "information": "1  What does it keep?",
    "redundancy": "2  Do its maps repeat each other?",
    "class_information": "3  What do its single units tell?",
    "discarding": "4  What does it discard, and where?",
    "codelength": "5  What does a linear probe still have to pay?",
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

    A layer without a value has no point. A panel without any value gives the reason.

    Parameters
    ----------
    table : DataFrame
        As `lenses.look` returns it, with the columns `network` and `seed`.
    first : str or None
        The network that stands out; None is the first one.
    images : sequence of array_like, shape (c, h, w)
        The first one is drawn next to the maps.
    maps : mapping of str to array_like, shape (grid, grid), or None
        Layer -> discarding of each cell of that image, in bits; drawn above the panel of discarding.
    curves : DataFrame or None
        Columns `layer`, `direction`, `share`, the fraction of units that are clamped, and `accuracy`; drawn above the
        panel of class information.
    box : tuple of two float, or None
        Both ends of the object's box, as fractions of the image's side.

    Returns
    -------
    Figure
        A line for each network: the mean over seeds, bars one standard deviation.

    Examples
    --------
    >>> look = {"lens": "information", "quantity": "I(X;T)", "unit": "bit", "network": "mlp", "why not": ""}
    >>> rows = [look | {"layer": layer, "depth": d, "seed": seed, "value": 6.0 - d - seed}
    ...         for d, layer in enumerate(("conv1", "fc1")) for seed in (0, 1)]
    >>> figure = lens_page(pd.DataFrame(rows))
    >>> figure.axes[0].get_ylabel(), [text.get_text() for text in figure.axes[0].get_xticklabels()]
    ('I(X;T)\n[bits]', ['conv1', 'fc1'])
    """
    layers = list(dict.fromkeys(table.sort_values("depth")["layer"]))
    rows = _rows(table, maps, curves)
    figure = plt.figure(figsize=(max(6.5, 1.05 * len(layers) + 3), 1.3 * len(rows) + 0.7), dpi=80)
    specs = figure.add_gridspec(len(rows), len(layers), wspace=0.0, hspace=0.34, **MARGINS)
    panels: list[Axes] = []
    for i, (lens, row) in enumerate(rows):
        if row == "maps":
            _maps(figure, specs, i, layers, images, maps or {}, box)
        elif row == "curves":
            _curves(figure, specs, i, layers, curves)
        else:
            panels.append(figure.add_subplot(specs[i, :], sharex=panels[0] if panels else None))
            _by_depth(panels[-1], table[table["quantity"] == row], layers, first)
        if lens not in [above for above, _ in rows[:i]]:
            corner = specs[i, 0].get_position(figure)
            figure.text(
                corner.x0, corner.y1 + 0.004, QUESTIONS.get(lens, lens), color=INK, fontsize="small", weight="bold"
            )
    for ax in panels:
        ax.tick_params(labelbottom=ax is panels[-1])
    long = max(map(len, layers)) > 7
    ax.set_xticks(range(len(layers)), layers, rotation=30 if long else 0, ha="right" if long else "center")
    if table["network"].nunique() > 1:
        handles, labels = panels[0].get_legend_handles_labels()
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


def _by_depth(ax: Axes, rows: pd.DataFrame, layers: Sequence[str], first: str | None) -> None:
    """One quantity against the layers' places."""
    quantity, unit = rows["quantity"].iloc[0], UNITS.get(rows["unit"].iloc[0], "")
    networks = list(dict.fromkeys(rows["network"]))
    first = first or networks[0]
    others = dict(zip([n for n in networks if n != first], ((GREY, ":"), (TAN, "--"), (GREY, "-.")), strict=False))
    for network in [*reversed(others), first]:
        values = rows[rows["network"] == network].groupby("layer")["value"].agg(["mean", "std"]).reindex(layers)
        style: dict[str, Any] = {"lw": 2, "ms": 5, "zorder": 3, "color": sequential(4)[2]}
        if network != first:
            style = dict(zip(("color", "ls"), others[network], strict=True), lw=1.5, ms=3)
        sd = values["std"].fillna(0)
        ax.errorbar(range(len(layers)), values["mean"], sd, label=network, marker="o", capsize=2, **style)
    if rows["value"].isna().all():
        ax.text(0.5, 0.5, rows["why not"].iloc[0], transform=ax.transAxes, ha="center", color=GREY, fontsize="x-small")
        ax.set_yticks([])
    ax.set_xlim(-0.5, len(layers) - 0.5)
    ax.margins(y=0.15)
    ax.locator_params(axis="y", nbins=4)
    ax.set_ylabel(f"{quantity}\n[{unit}]" if unit else quantity, rotation=0, ha="right", va="center", fontsize="small")
    ax.tick_params(labelsize="x-small")


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
    for column, layer in enumerate(layers):
        ax = figure.add_subplot(specs[i, column])
        ax.axis("off")
        if layer in maps:
            shown = ax.imshow(np.asarray(maps[layer]), cmap="magma", norm=plt.Normalize(*limits), extent=(0, 1, 1, 0))
            ax.set(xlim=(-0.07, 1.07), ylim=(1, 0))
            _frame(ax, box)
    place = specs[i, 0].get_position(figure)
    side = place.height
    if len(images):
        image = np.moveaxis(np.asarray(images[0]), 0, -1)
        width = side * figure.get_figheight() / figure.get_figwidth()
        ax = figure.add_axes((MARGINS["left"] - 1.1 * width, place.y0, width, side))
        ax.imshow(image, cmap="gray_r", extent=(0, 1, 1, 0))
        ax.axis("off")
        _frame(ax, box)
    bar = figure.add_axes((MARGINS["right"] + 0.015, place.y0, 0.012, side))
    figure.colorbar(shown, cax=bar, extend="both").set_label("H  [bits]", fontsize="x-small")
    bar.tick_params(labelsize="x-small")


def _frame(ax: Axes, box: tuple[float, float] | None) -> None:
    if box:
        ax.add_patch(plt.Rectangle((box[0],) * 2, *[box[1] - box[0]] * 2, fill=False, ec=FRAME, lw=1.2))


def _curves(figure: Figure, specs: GridSpec, i: int, layers: Sequence[str], curves: pd.DataFrame) -> None:
    """Accuracy against the share of units clamped, a small panel above each layer's place."""
    named = {"descending": ("most informative first", sequential(4)[3]), "ascending": ("least first", sequential(4)[0])}
    for column, layer in enumerate(layers):
        ax = figure.add_subplot(specs[i, column])
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
