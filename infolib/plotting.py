"""Figures from tidy tables: one theme, ordered variables on a sequential palette, spread over seeds always shown."""

import io
import sys
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from PIL import Image

from infolib import claims

INK, BAND = "#33383f", "#cfe6dd"
LEGEND = {"fontsize": "x-small", "loc": "upper left", "bbox_to_anchor": (1, 1), "frameon": False}
VERDICT_COLOURS = dict(zip(claims.VERDICTS, ("#0a6b51", "#b07400", "#b3380c", "#8a929c"), strict=True))


def theme() -> None:
    """Set the workbook's figure style."""
    sns.set_theme(
        context="notebook",
        style="whitegrid",
        palette="colorblind",
        rc={"figure.dpi": 90, "axes.spines.top": False, "axes.spines.right": False, "grid.color": "#e6e9ed"},
    )
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        plt.switch_backend(plt.get_backend())  # the notebook's own formatter is set by now, and ours replaces it
        shell.display_formatter.formatters["image/png"].for_type(Figure, _light_png)


def _light_png(figure: Figure) -> bytes:
    """A figure as PNG of 256 colours, which takes a third of the bytes: notebooks are committed with their figures."""
    full, light = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", bbox_inches="tight")
    Image.open(full).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(light, format="png", optimize=True)
    return light.getvalue()


def sequential(n: int) -> list[tuple[float, float, float]]:
    """`n` colours from light to dark for an ordered variable (depth, training time), safe for colour-blind readers."""
    return sns.color_palette("viridis_r", n + 1)[1:]


def depth_profile(table: pd.DataFrame, quantity: str, *, hue: str = "step", ax: Axes | None = None) -> Axes:
    """`quantity` (a column in bits) against the layers in depth order, one line per value of `hue`, spread over seeds.

    The table's rows are in depth order and in that of `hue`; lines are means over seeds, bars one standard deviation.
    """
    ax = ax or plt.gca()
    layers = list(dict.fromkeys(table["layer"]))
    levels = list(dict.fromkeys(table[hue]))
    for colour, level in zip(sequential(len(levels)), levels, strict=True):
        grouped = table[table[hue] == level].groupby("layer")[quantity].agg(["mean", "std"]).loc[layers]
        ax.errorbar(layers, grouped["mean"], grouped["std"], color=colour, marker="o", ms=5, capsize=3, label=level)
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
    colours = colours or _sequential_for(table[hue])
    for level in dict.fromkeys(table[hue]):
        rows = table[table[hue] == level]
        control = rows[dotted].astype(bool) if dotted else pd.Series(False, index=rows.index)
        _band(ax, rows[~control].groupby(["seed", x])[y].mean(), color=colours[level], label=level)
        if control.any():
            means = rows[control].groupby(x)[y].mean()
            ax.plot(means.index, means, ls=":", color=colours[level])
    ax.set(xlabel=x, ylabel=_with_unit(y))
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
    names, colours = list(dict.fromkeys(table[column])), _sequential_for(table[hue])
    named = names.copy()  # the titles name these, and each legend the next ones
    figure, axes = _grid(len(quantities), len(names), sharex="col", sharey="row")
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


PLANES = (("I(X;T)", "I(T;Y)"), ("WN(X;T)", "WN(T;Y)"))  # the information plane, and the modified one of Yu et al.


def planes(table: pd.DataFrame, planes: Sequence[tuple[str, str]] = PLANES, *, row: str) -> Figure:
    """Paths of layers in several planes of two quantities (bits), side by side, for each value of the column `row`.

    A point is the mean over seeds at one step of training, from light to dark; bars are one standard deviation.
    """
    names, layers = (list(dict.fromkeys(table[by])) for by in (row, "layer"))
    figure, axes = _grid(len(names), len(planes))
    for name, columns in zip(names, axes, strict=True):
        for ax, plane in zip(columns, planes, strict=True):
            for layer, marker in zip(layers, "os^Dv", strict=False):
                rows = table[(table[row] == name) & (table["layer"] == layer)]
                by_step = rows.groupby("step")[list(plane)]
                mean, sd = by_step.mean(), by_step.std()
                ax.plot(*mean.to_numpy().T, color="#b9c0c8", lw=1, zorder=0)
                labels = {mean.index[0]: f"{layer}, step {mean.index[0]}", mean.index[-1]: f"step {mean.index[-1]}"}
                for step, colour in zip(mean.index, sequential(len(mean)), strict=True):
                    (x, y), label = mean.loc[step], labels.get(step)
                    ax.errorbar(x, y, *sd.loc[step][::-1], fmt=marker, color=colour, ms=6, lw=1, label=label)
            ax.set(xlabel=_with_unit(plane[0]), ylabel=_with_unit(plane[1]))
        columns[0].set_title(name, loc="left", fontsize="medium")
        columns[-1].legend(**LEGEND)
    return figure


def layer_planes(table: pd.DataFrame, *, row: str, marks: Mapping[str, Mapping[str, int]] | None = None) -> Figure:
    """The information plane of each layer (bits), a panel for each, in a row for each value of the column `row`.

    A point is the mean over seeds at one step of training; colour is training time, on a logarithmic scale that all
    panels share. `marks` names steps to be ringed in the rows that they belong to, such as those of early stopping.
    """
    names, layers = (list(dict.fromkeys(table[by])) for by in (row, "layer"))
    figure, axes = _grid(len(names), len(layers), sharex="row", sharey="row")
    figure.set_size_inches(1.65 * len(layers) + 1.8, 1.9 * len(names) + 0.3)
    scale = LogNorm(max(1, table["step"].min()), table["step"].max())
    for name, columns in zip(names, axes, strict=True):
        for ax, layer in zip(columns, layers, strict=True):
            rows = table[(table[row] == name) & (table["layer"] == layer)]
            mean = rows.groupby("step")[["I(X;T)", "I(T;Y)"]].mean()
            ax.plot(*mean.to_numpy().T, color="#b9c0c8", lw=0.8, zorder=0)
            time = mean.index.to_numpy().clip(1)
            points = ax.scatter(*mean.to_numpy().T, c=time, cmap="viridis_r", norm=scale, s=9, lw=0)
            for (label, step), shape in zip((marks or {}).get(name, {}).items(), "so^D", strict=False):
                nearest = mean.iloc[np.abs(mean.index - step).argmin()]
                ax.plot(*nearest, shape, mfc="none", color="#b3380c", ms=7, label=label)
            ax.set_title(layer, loc="left", fontsize="small")
            ax.tick_params(labelsize="x-small")
        columns[0].set_ylabel(f"{name}\nI(T;Y)  [bits]", fontsize="small")
        if (marks or {}).get(name):
            columns[-1].legend(**LEGEND)
    figure.supxlabel("I(X;T)  [bits]", fontsize="small")
    figure.colorbar(points, ax=axes, label="training step", aspect=12 * len(names), pad=0.01)
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


def neuron_plane(scores: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The information plane of single neurons: class information against entropy, coloured by layer."""
    ax = ax or plt.gca()
    table = scores.pivot(index=["seed", "layer", "neuron"], columns="quantity", values="value").reset_index()
    layers = list(dict.fromkeys(scores["layer"]))
    for layer, colour in zip(layers, sequential(len(layers)), strict=True):
        rows = table[table["layer"] == layer]
        ax.scatter(rows["entropy"], rows["class information"], s=9, color=colour, alpha=0.5, lw=0, label=layer)
    ax.plot([0, 1], [0, 1], color=INK, lw=1, ls="--")
    ax.annotate("I(T;Y) = H(T)", (0.55, 0.55), (-6, 6), textcoords="offset points", ha="right", color=INK)
    ax.set(xlabel="entropy H(T)  [bits]", ylabel="class information I(T;Y)  [bits]", xlim=(-0.03, 1.03))
    ax.legend(fontsize="small", markerscale=2, loc="upper left")
    return ax


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
                _band(ax, per_network[pool, quantity, way], color=colour, label=quantity)
            ax.set(ylim=(0, 1.02))
        axes[0, column].set_title(_pool(pool), loc="left", fontsize="medium")
        axes[1, column].set_xlabel("neurons clamped")
    axes[0, 0].set_ylabel("accuracy, lowest first")
    axes[1, 0].set_ylabel("accuracy, highest first")
    axes[0, 0].legend(fontsize="x-small", loc="lower left")
    figure.suptitle(title, fontsize="medium")
    return figure


def ablation_modes(curves: pd.DataFrame) -> Figure:
    """Accuracy against the number of clamped neurons, to their mean and to zero: a panel for each arm and layer."""
    arms, pools = list(dict.fromkeys(curves["arm"])), list(dict.fromkeys(curves["layers"]))
    size = (3.7 * len(pools), 2.9 * len(arms))
    figure, axes = plt.subplots(len(arms), len(pools), figsize=size, sharey=True, squeeze=False, layout="constrained")
    per_network = curves.groupby(["arm", "layers", "mode", "seed", "k"])["accuracy"].mean()
    for i, arm in enumerate(arms):
        for j, pool in enumerate(pools):
            for mode, colour in zip(("mean", "zero"), sns.color_palette("colorblind"), strict=False):
                _band(axes[i, j], per_network[arm, pool, mode], color=colour, label=f"clamped to {mode}")
            axes[i, j].set_title(f"{arm}: {_pool(pool)}", loc="left", fontsize="small")
            axes[i, j].set(ylim=(0, 1.02), xlabel="neurons clamped" if i == len(arms) - 1 else "")
        axes[i, 0].set_ylabel("accuracy")
    axes[0, 0].legend(fontsize="x-small", loc="lower left")
    return figure


def dots(table: pd.DataFrame, x: str, y: str, *, hue: str, column: str, shared: bool = True) -> Figure:
    """Mean and standard deviation over seeds of the column `x` for each `y`, hue and panel; a line at 0.

    Panels of different quantities are not `shared`: each has its own scale.
    """
    columns, order = (list(dict.fromkeys(table[name])) for name in (column, y))
    figure, axes = plt.subplots(1, len(columns), sharex=shared, sharey=True, squeeze=False, layout="constrained")
    figure.set_size_inches(3.2 * len(columns) + 3.5, 0.5 * len(order) + 1.3)
    for ax, name in zip(axes[0], columns, strict=True):
        rows = table[table[column] == name]
        sns.pointplot(rows, x=x, y=y, hue=hue, order=order, orient="h", errorbar="sd", dodge=0.4, linestyle="none",
                      markersize=4, linewidth=1.5, ax=ax)  # fmt: skip
        ax.axvline(0, color=INK, lw=1)
        ax.set_title(_pool(name), loc="left", fontsize="medium")
        ax.set_ylabel("")
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


def images(x: Sequence, labels: Sequence, *, n: int = 8) -> Figure:
    """The first `n` images of a data set with their labels."""
    figure, axes = plt.subplots(1, n, figsize=(n, 1.3), layout="constrained")
    for ax, image, label in zip(axes, x[:n], labels[:n], strict=True):
        ax.imshow(np.moveaxis(np.asarray(image), 0, -1), cmap="gray_r")  # which colours are spared
        ax.set_title(int(label), fontsize="small")
        ax.axis("off")
    return figure


def heat_maps(
    x: Sequence, maps: Mapping[str, Sequence], *, unit: str, box: tuple[float, float] | None = None
) -> Figure:
    """Images beside their maps: a row for each image, a column for each entry of `maps`, one scale of colours for all.

    x: (n, c, h, w); each map (n, grid, grid). `box` gives the ends of the object's box as shares of the image's side.
    """
    figure, axes = plt.subplots(len(x), len(maps) + 1, squeeze=False, layout="constrained", dpi=80)
    figure.set_size_inches(1.3 * axes.shape[1] + 0.7, 1.3 * axes.shape[0] + 0.2)
    limits = np.quantile(np.concatenate([np.ravel(values) for values in maps.values()]), [0.01, 0.99])
    columns = {"image": [np.moveaxis(np.asarray(image), 0, -1) for image in x]} | dict(maps)
    for i, (name, pictures) in enumerate(columns.items()):
        axes[0, i].set_title(name, fontsize="small")
        style = {"cmap": "magma", "norm": plt.Normalize(*limits)} if i else {"cmap": "gray_r"}
        for ax, picture in zip(axes[:, i], pictures, strict=True):
            shown = ax.imshow(np.asarray(picture), extent=(0, 1, 1, 0), **style)
            ax.axis("off")
            if box:
                ax.add_patch(plt.Rectangle((box[0],) * 2, *[box[1] - box[0]] * 2, fill=False, ec="#56b4e9", lw=1.3))
    figure.colorbar(shown, ax=axes, shrink=0.8, pad=0.01, extend="both").set_label(unit, fontsize="small")
    return figure


def _pool(layers: str) -> str:
    return "all layers" if "+" in layers else layers


def _band(ax: Axes, per_seed: pd.Series, **style: object) -> None:
    """Mean over seeds against the last level of the index, with a band of one standard deviation."""
    spread = per_seed.groupby(per_seed.index.names[-1]).agg(["mean", "std"])
    (line,) = ax.plot(spread.index, spread["mean"], lw=1.8, **style)
    low, high = spread["mean"] - spread["std"], spread["mean"] + spread["std"]
    ax.fill_between(spread.index, low, high, color=line.get_color(), alpha=0.15, lw=0)


def _grid(rows: int, columns: int, **shared: str) -> tuple[Figure, np.ndarray]:
    width, height = {1: 4.5, 2: 3.5}.get(columns, 2.9), 2.5 if rows < 3 else 1.9
    size = (width * columns + 1.3, height * rows + 0.2)
    # Many panels: fewer dots per inch keep a notebook light enough to commit.
    return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", dpi=72, **shared)


def _sequential_for(levels: pd.Series) -> dict:
    levels = list(dict.fromkeys(levels))
    return dict(zip(levels, sequential(len(levels)), strict=True))


def _with_unit(quantity: str) -> str:
    return f"{quantity}  [bits]" if "(" in quantity and "share" not in quantity else quantity
