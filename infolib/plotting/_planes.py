"""Two quantities against each other: information planes."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from infolib.plotting._style import INK, LEGEND, grid, sequential, with_unit

PLANES = (("I(X;T)", "I(T;Y)"), ("WN(X;T)", "WN(T;Y)"))  # the information plane, and the modified one of Yu et al.


def planes(table: pd.DataFrame, planes: Sequence[tuple[str, str]] = PLANES, *, row: str) -> Figure:
    """Paths of layers in several planes of two quantities (bits), side by side, for each value of the column `row`.

    A point is the mean over seeds at one step of training, from light to dark; bars are one standard deviation.
    """
    names, layers = (list(dict.fromkeys(table[by])) for by in (row, "layer"))
    figure, axes = grid(len(names), len(planes))
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
            ax.set(xlabel=with_unit(plane[0]), ylabel=with_unit(plane[1]))
        columns[0].set_title(name, loc="left", fontsize="medium")
        columns[-1].legend(**LEGEND)
    return figure


def layer_planes(table: pd.DataFrame, *, row: str, marks: Mapping[str, Mapping[str, int]] | None = None) -> Figure:
    """The information plane of each layer (bits), a panel for each, in a row for each value of the column `row`.

    A point is the mean over seeds at one step of training; colour is training time, on a logarithmic scale that all
    panels share. `marks` names steps to be ringed in the rows that they belong to, such as those of early stopping.
    """
    names, layers = (list(dict.fromkeys(table[by])) for by in (row, "layer"))
    figure, axes = grid(len(names), len(layers), sharex="row", sharey="row")
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
