"""Two quantities against each other: information planes."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from infolib import checks
from infolib.plotting._style import INK, LEGEND, MARKERS, grid, sequential, with_unit

PLANES = (("I(X;T)", "I(T;Y)"), ("WN(X;T)", "WN(T;Y)"))  # the information plane, and the modified one of Yu et al.


def planes(table: pd.DataFrame, planes: Sequence[tuple[str, str]] = PLANES, *, row: str) -> Figure:
    """Paths of layers in several planes of two quantities, next to each other, for each value of `row`.

    Parameters
    ----------
    table : DataFrame
        Columns `layer`, `step`, `seed` and `row`, and the quantities in bits.
    planes : sequence of tuple of two str
        Columns of the horizontal and the vertical axis of each plane.
    row : str
        Column of the rows of panels.

    Returns
    -------
    Figure
        A point is the mean over seeds at one step of training, from light to dark; bars are one standard deviation.

    Examples
    --------
    >>> rows = [("mlp", "fc1", step, seed, 5.0 + seed, step / 5) for step in (0, 10) for seed in (0, 1)]
    >>> table = pd.DataFrame(rows, columns=["network", "layer", "step", "seed", "I(X;T)", "I(T;Y)"])
    >>> ax = planes(table, [("I(X;T)", "I(T;Y)")], row="network").axes[0]
    >>> ax.get_lines()[0].get_xydata().tolist()
    [[5.5, 0.0], [5.5, 2.0]]
    """
    names, layers = (list(dict.fromkeys(table[by])) for by in (row, "layer"))
    checks.at_least("the number of planes", len(planes), 1)
    figure, axes = grid(len(names), len(planes))
    for name, columns in zip(names, axes, strict=True):
        for ax, plane in zip(columns, planes, strict=True):
            for layer, marker in zip(layers, cycle(MARKERS), strict=False):
                rows = table[(table[row] == name) & (table["layer"] == layer)]
                by_step = rows.groupby("step")[list(plane)]
                mean, sd = by_step.mean(), by_step.std()
                ax.plot(*mean.to_numpy().T, color="#b9c0c8", lw=1, zorder=0)
                labels = {mean.index[-1]: f"step {mean.index[-1]}", mean.index[0]: f"{layer}, step {mean.index[0]}"}
                for step, colour in zip(mean.index, sequential(len(mean)), strict=True):
                    (x, y), label = mean.loc[step], labels.get(step)
                    ax.errorbar(x, y, *sd.loc[step][::-1], fmt=marker, color=colour, ms=6, lw=1, label=label)
            ax.set(xlabel=with_unit(plane[0]), ylabel=with_unit(plane[1]))
        columns[0].set_title(name, loc="left", fontsize="medium")
        columns[-1].legend(**LEGEND)
    return figure


def layer_planes(table: pd.DataFrame, *, row: str, marks: Mapping[str, Mapping[str, int]] | None = None) -> Figure:
    """The information plane of each layer, a panel for each, in a row for each value of `row`.

    Parameters
    ----------
    table : DataFrame
        Columns `layer`, `step`, `seed` and `row`; in bits `I(X;T)` and `I(T;Y)`.
    row : str
        Column of the rows of panels.
    marks : mapping of str to mapping of str to int, or None
        Value of `row` -> label -> step to be ringed, such as that of early stopping.

    Returns
    -------
    Figure
        A point is the mean over seeds at one step of training; colour is the step, on a logarithmic scale for all
        panels.

    Examples
    --------
    >>> rows = [("mlp", "fc1", step, seed, 5.0 + seed, step / 5) for step in (1, 10) for seed in (0, 1)]
    >>> table = pd.DataFrame(rows, columns=["network", "layer", "step", "seed", "I(X;T)", "I(T;Y)"])
    >>> figure = layer_planes(table, row="network", marks={"mlp": {"patience 5": 10}})
    >>> figure.axes[0].get_title(loc="left"), figure.axes[0].get_lines()[1].get_label()
    ('fc1', 'patience 5')
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
            for (label, step), shape in zip((marks or {}).get(name, {}).items(), cycle("so^Dv<>p"), strict=False):
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
    """The information plane of single neurons: class information I(T;Y) against entropy H(T), coloured by layer.

    Parameters
    ----------
    scores : DataFrame
        Columns `seed`, `layer`, `neuron`, `quantity` ("entropy" and "class information") and `value`, in bits.
    ax : Axes or None
        Where to draw; None is the current axes.

    Returns
    -------
    Axes
        A point for each neuron of each seed; dashes are the bound I(T;Y) = H(T).

    Examples
    --------
    >>> rows = [(0, "fc1", 0, "entropy", 0.9), (0, "fc1", 0, "class information", 0.3)]
    >>> ax = neuron_plane(pd.DataFrame(rows, columns=["seed", "layer", "neuron", "quantity", "value"]))
    >>> ax.collections[0].get_offsets().tolist()
    [[0.9, 0.3]]
    """
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
