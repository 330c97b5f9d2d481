"""Theme, colours and the pieces that figures share."""

import io
import sys
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from infolib import checks

INK, BAND, GREY, TAN, FRAME = "#33383f", "#cfe6dd", "#8a929c", "#c9772b", "#56b4e9"
MARKERS = "os^Dv<>pPXh*d8H"
LEGEND: dict[str, Any] = {"fontsize": "x-small", "loc": "upper left", "bbox_to_anchor": (1, 1), "frameon": False}
Shared = Literal["none", "row", "col", "all"]  # which panels have one axis


def theme() -> None:
    """Set the workbook's figure style for this process; in a notebook, figures become `light_png`.

    Examples
    --------
    >>> with plt.rc_context():  # the style ends with the block
    ...     theme()
    ...     plt.rcParams["axes.spines.top"]
    False
    """
    sns.set_theme(
        context="notebook",
        style="whitegrid",
        palette="colorblind",
        rc={"figure.dpi": 90, "axes.spines.top": False, "axes.spines.right": False, "grid.color": "#e6e9ed"},
    )
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        plt.switch_backend(plt.get_backend())  # the notebook's own formatter is set by now, and ours replaces it
        shell.display_formatter.formatters["image/png"].for_type(Figure, light_png)


def light_png(figure: Figure) -> bytes:
    """A figure as PNG of 256 colours, with a third of the bytes: notebooks are committed with their figures.

    Parameters
    ----------
    figure : Figure
        Any figure. Its layout is fixed from then on.

    Returns
    -------
    bytes
        The content of a PNG file.

    Examples
    --------
    >>> light_png(plt.figure(figsize=(1, 1)))[1:4]
    b'PNG'
    """
    full, light = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", bbox_inches="tight")
    figure.set_layout_engine("none")  # everything has its place now: the report's larger copy need not look for it
    Image.open(full).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(light, format="png", optimize=True)
    return light.getvalue()


def sequential(n: int) -> list[tuple[float, float, float]]:
    """Colours from light to dark for an ordered variable (depth, training time), safe for colour-blind readers.

    Parameters
    ----------
    n : int
        Number of colours.

    Returns
    -------
    list of tuple of float
        Red, green and blue of each, in [0, 1].

    Examples
    --------
    >>> light, dark = sequential(2)
    >>> sum(light) > sum(dark)
    True
    """
    return sns.color_palette("viridis_r", checks.at_least("n", n, 1) + 1)[1:]


def sequential_for(levels: pd.Series) -> dict:
    levels = list(dict.fromkeys(levels))
    return dict(zip(levels, sequential(len(levels)), strict=True))


def with_unit(quantity: str) -> str:
    return f"{quantity}  [bits]" if "(" in quantity and "share" not in quantity else quantity


def pool_name(layers: str) -> str:
    return "all layers" if "+" in layers else layers


def band(ax: Axes, per_seed: pd.Series, *, color: Any, label: str) -> None:
    """Mean over seeds against the last level of the index, with a band of one standard deviation."""
    spread = per_seed.groupby(per_seed.index.names[-1]).agg(["mean", "std"])
    (line,) = ax.plot(spread.index, spread["mean"], lw=1.8, color=color, label=label)
    low, high = spread["mean"] - spread["std"], spread["mean"] + spread["std"]
    ax.fill_between(spread.index, low, high, color=line.get_color(), alpha=0.15, lw=0)


def frame(ax: Axes, box: tuple[float, float] | None, *, lw: float) -> None:
    if box:
        ax.add_patch(plt.Rectangle((box[0],) * 2, *[box[1] - box[0]] * 2, fill=False, ec=FRAME, lw=lw))


def need(table: pd.DataFrame, columns: list[str]) -> None:
    if lacking := [column for column in columns if column not in table]:
        raise ValueError(f"table must have the columns {', '.join(columns)}, and lacks {', '.join(lacking)}")


def grid(rows: int, columns: int, *, sharex: Shared = "none", sharey: Shared = "none") -> tuple[Figure, np.ndarray]:
    width, height = {1: 4.5, 2: 3.5}.get(columns, 2.9), 2.5 if rows < 3 else 1.9
    size = (width * columns + 1.3, height * rows + 0.2)
    # Many panels: fewer dots per inch keep a notebook light enough to commit.
    return plt.subplots(
        rows, columns, sharex=sharex, sharey=sharey, figsize=size, squeeze=False, layout="constrained", dpi=72
    )
