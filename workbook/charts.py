"""Figures of verdicts, and figures with sliders."""

import os
import textwrap
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from infolib import checks
from infolib.plotting import BAND, INK
from workbook import rule

COLOURS = ("#0a6b51", "#2f6db3", "#b07400", "#7b4b94", "#b3380c", "#8a929c")
VERDICT_COLOURS = dict(zip(rule.VERDICTS, COLOURS, strict=True)) | {"passes": "#0a6b51", "fails": "#b3380c"}
CONTROL = "#8a929c"
SIZE, LEFT, WIDTH, LINE, ROW = 10.0, 4.9, 3.2, 0.135, 0.2  # inches: figure, left of an axis, axis, text, data set


def verdicts(table: pd.DataFrame) -> Figure:
    """Each claim's interval over seeds, its control's interval, and its accepted range, each claim on its own scale.

    Parameters
    ----------
    table : DataFrame
        Of `claims.Book.verdicts`; a claim that was not judged has no place in the figure.

    Returns
    -------
    Figure
        One axis per claim, its statement on the left, with one row per data set and its word on the right.
    """
    rows = [group for _, group in table[table["n"] > 0].groupby("claim", sort=False)]
    texts = [_statement(group) for group in rows]
    heights = [0.25 + max(LINE * (text.count("\n") + 1), _tall(group)) for group, text in zip(rows, texts, strict=True)]
    bottoms = np.cumsum([0.0, *heights[::-1]])[::-1]
    figure = plt.figure(figsize=(SIZE, bottoms[0] + 0.35), dpi=80)
    for group, text, bottom, height in zip(rows, texts, bottoms[1:], heights, strict=True):
        tall = _tall(group)
        place = np.array([LEFT, bottom + (height - tall) / 2, WIDTH, tall]) / np.tile(figure.get_size_inches(), 2)
        ax = figure.add_axes(tuple(place))
        _intervals(ax, group)
        ax.annotate(text, (-LEFT / WIDTH, 0.5), xycoords="axes fraction", va="center", fontsize=8, parse_math=False)
    handles: list[Any] = [Line2D([], [], color=INK, marker="o", ms=5, lw=1.5)]
    handles += [Line2D([], [], color=CONTROL, marker="D", ms=3.5, lw=0.8, mfc="white"), Patch(color=BAND)]
    names = ["claim: mean over seeds, 95 % interval", "its control", "accepted"]
    figure.legend(handles, names, ncols=3, fontsize="x-small", frameon=False, loc="upper right")
    return figure


def _tall(rows: pd.DataFrame) -> float:
    """Inches of an axis; a word with its note takes more than a row."""
    return max(1.6 * ROW, ROW * len(rows))


def _statement(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    text = ("Check: " if first["role"] == "check" else "") + first["statement"]
    return textwrap.fill(text, min(56, 71 - 3 * rows["data"].str.len().max() // 4) if first["data"] else 74)


def _intervals(ax: Axes, rows: pd.DataFrame) -> None:
    """The data sets of one claim, one below the other."""
    first, positions = rows.iloc[0], -np.arange(len(rows))
    bands = [(first["accepted_low"], first["accepted_high"])]
    bands += [(-np.inf, -bands[0][0])] if first["kind"] == "differs" else []
    low, high = _limits(np.array([*bands, *zip(rows["low"], rows["high"], strict=True)]))
    low, high = _limits(
        np.clip([low, high, *rows[["control_low", "control_high"]].stack()], 2 * low - high, 2 * high - low)
    )
    ax.set(xlim=(low, high), ylim=(positions[-1] - 0.5, 0.5), yticks=positions, yticklabels=rows["data"])
    for band in bands:
        ax.axvspan(*np.clip(band, low, high), color=BAND, lw=0)
    for y, row in zip(positions, rows.to_dict("records"), strict=True):
        colour = VERDICT_COLOURS[row["verdict"]]
        marker = "s" if row["role"] == "check" else "o"
        _bar(ax, y + 0.15, [row["ours"], row["low"], row["high"]], marker=marker, ms=5, color=colour, capsize=3)
        if np.isfinite(row["control_mean"]):
            ends = [row[f"control_{end}"] for end in ("mean", "low", "high")]
            _bar(ax, y - 0.25, ends, marker="D", ms=3.5, color=CONTROL, lw=0.8, mfc="white")
    _words(ax, rows, positions)
    ax.tick_params(labelsize="x-small", length=0, pad=1)
    ax.tick_params("y", pad=8)  # where the arrow of an interval that is further left has its head
    ax.locator_params(axis="x", nbins=5)
    ax.xaxis.set_major_formatter("{x:.6g}")
    ax.grid(visible=False)
    ax.spines[["left", "top", "right"]].set_visible(False)


def _words(ax: Axes, rows: pd.DataFrame, positions: np.ndarray) -> None:
    """The words at the right, each once for the data sets under one another that have it with the same note."""
    said = [*zip(rows["verdict"], rows["note"], strict=True)]
    starts = [i for i in range(len(said)) if not i or said[i] != said[i - 1]]
    for start, end in pairwise([*starts, len(said)]):
        word, note = said[start]
        text = f"{(rule.SYMBOL | rule.CHECKED)[word]} {word}" + f"\n{note}" * bool(note)
        colour, place = VERDICT_COLOURS[word], (1.06, positions[start:end].mean())
        small = bool(note) and len(said) > end - start == 1  # two lines in one row
        style: dict[str, Any] = {"fontsize": 6, "linespacing": 0.9} if small else {"fontsize": 8}
        ax.annotate(text, place, xycoords=("axes fraction", "data"), va="center", color=colour, **style)
        if end - start > 1:
            ends = [positions[start] + 0.35, positions[end - 1] - 0.35]
            ax.plot([1.035] * 2, ends, transform=ax.get_yaxis_transform(), color=colour, lw=1, clip_on=False)


def _limits(edges: np.ndarray) -> tuple[float, float]:
    """Ends of an axis on which all finite edges are seen."""
    edges = edges[np.isfinite(edges)]
    margin = 0.08 * (np.ptp(edges) or 1.0)
    return edges.min() - margin, edges.max() + margin


def _bar(ax: Axes, y: float, ends: list[float], marker: str, **style: Any) -> None:
    """Mean, low and high; what lies beyond the axis is an arrow at its end."""
    left, right = ax.get_xlim()
    mean, low, high = np.clip(ends, left, right)
    if not left <= ends[0] <= right:
        marker, style = "<" if ends[0] < left else ">", style | {"mfc": style["color"]}
    ax.errorbar(mean, y, xerr=[[mean - low], [high - mean]], fmt=marker, clip_on=False, **style)


def tally(table: pd.DataFrame, *, by: str) -> Figure:
    """Number of claims with each word: one of six for findings, passes or fails for checks.

    Parameters
    ----------
    table : DataFrame
        With columns claim and word, such as `claims.Book.verdicts`; a claim on several data sets counts once.
    by : str
        Column whose values have a bar each, in the order of the rows.

    Returns
    -------
    Figure
        Stacked horizontal bars, findings on the left and checks on the right.
    """
    names = list(dict.fromkeys(table[by]))
    counts = table.drop_duplicates([by, "claim"]).groupby([by, "word"]).size().unstack(fill_value=0)
    size = (10, 0.36 * len(names) + 1.1)
    figure, axes = plt.subplots(1, 2, figsize=size, sharey=True, width_ratios=(4, 1), layout="constrained")
    for ax, words, label in zip(axes, (rule.VERDICTS, rule.CHECKED), ("findings", "checks"), strict=True):
        start = np.zeros(len(names))
        for word, numbers in counts.reindex(index=names, columns=list(words)).fillna(0).items():
            bars = ax.barh(names, numbers, left=start, color=VERDICT_COLOURS[str(word)], height=0.7, label=word)
            shown = [f"{int(n)}" if n else "" for n in numbers]
            ax.bar_label(bars, shown, label_type="center", color="white", fontsize="small")
            start += numbers.to_numpy()
        ax.set(xlabel=label)
        ax.locator_params(axis="x", integer=True)
        ax.grid(visible=False)
        ax.legend(fontsize="x-small", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
    axes[0].invert_yaxis()
    return figure


def facets(table: pd.DataFrame, names: Sequence[str]) -> Figure:
    """The number of each claim over a grid of parameters: the first across, the second by colour, others by column.

    Parameters
    ----------
    table : DataFrame
        Columns claim, data, ours, low, high and a column for each parameter.
    names : sequence of str
        The parameters.

    Returns
    -------
    Figure
        A row for each claim and data set; bars are the intervals over seeds.
    """
    import seaborn as sns

    shown = table.dropna(subset="ours")
    more = ["\n".join(f"{name} = {row[name]}" for name in names[2:]) for row in shown.to_dict("records")]
    shown = shown.assign(case=more, claim=(shown["claim"] + " " + shown["data"]).str.strip())
    colour = names[1] if len(names) > 1 else None
    grid = sns.FacetGrid(shown, row="claim", col="case", hue=colour, sharey="row", height=1.9, aspect=1.8)
    grid.map_dataframe(_number, names[0])
    grid.set_titles("{row_name}  {col_name}", size=8).set_axis_labels(names[0], "mean, 95 % interval")
    if colour:
        grid.add_legend(title=colour)
    plt.close(grid.figure)
    return grid.figure


def _number(across: str, *, data: pd.DataFrame, **style: Any) -> None:
    ends = [data["ours"] - data["low"], data["high"] - data["ours"]]
    plt.gca().errorbar(data[across], data["ours"], np.nan_to_num(ends).clip(0), marker="o", ms=4, lw=1, **style)


def explore(draw: Callable[..., Figure], **controls: tuple[Sequence[Any], Any]) -> Any:
    """A figure with a slider for each argument where a server runs the notebook, such as JupyterLab's; else the figure.

    Nobody can move a slider in a run without a server, such as by papermill, nbconvert or nbval.

    Parameters
    ----------
    draw : callable
        From the values, by name, to a figure.
    **controls : tuple of sequence and object
        The values of each argument and the first of them to show.

    Returns
    -------
    Figure or ipywidgets.VBox
        The figure of the first values to show; with a server, the sliders and their values in words above the figure.

    Raises
    ------
    ValueError
        For a control whose first value to show is not among its values.
    """
    for name, (values, start) in controls.items():
        checks.choice(name, start, values)
    if not os.environ.get("JPY_SESSION_NAME"):
        return _drawn(draw, {name: start for name, (_, start) in controls.items()})
    import ipywidgets  # late: only a server's kernel needs it
    from IPython.display import display

    sliders = {name: ipywidgets.SelectionSlider(options=values, value=start, description=name, continuous_update=False,
                                                style={"description_width": "8em"}, layout={"width": "32em"})
               for name, (values, start) in controls.items()}  # fmt: skip
    said = ipywidgets.HTML()

    def show(**values: Any) -> None:
        display(_drawn(draw, values))
        said.value = f'<span role="status">{", ".join(f"{name} {value}" for name, value in values.items())}</span>'

    return ipywidgets.VBox([*sliders.values(), said, ipywidgets.interactive_output(show, sliders)])


def _drawn(draw: Callable[..., Figure], values: dict[str, Any]) -> Figure:
    """The figure, closed, so that a notebook shows it once."""
    figure = draw(**values)
    plt.close(figure)
    return figure
