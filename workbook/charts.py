"""Figures of verdicts."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from infolib.plotting import BAND
from workbook import claims

VERDICT_COLOURS = dict(zip(claims.VERDICTS, ("#0a6b51", "#b07400", "#b3380c", "#8a929c"), strict=True))


def verdicts(table: pd.DataFrame) -> Figure:
    """Each claim's interval over seeds (bar) and its accepted range (band), each on its own scale.

    Parameters
    ----------
    table : DataFrame
        Of `claims.Book.verdicts`; a claim that was not judged has no row in the figure.

    Returns
    -------
    Figure
        One row per claim.
    """
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


def tally(table: pd.DataFrame, *, by: str) -> Figure:
    """Number of claims with each verdict.

    Parameters
    ----------
    table : DataFrame
        One row per claim, with a column "verdict".
    by : str
        Column whose values have a bar each, in the order of the rows.

    Returns
    -------
    Figure
        Stacked horizontal bars.
    """
    names = list(dict.fromkeys(table[by]))
    counts = table.groupby([by, "verdict"]).size().unstack(fill_value=0).reindex(index=names, columns=claims.VERDICTS)
    figure, ax = plt.subplots(figsize=(8, 0.36 * len(names) + 0.9), layout="constrained")
    start = np.zeros(len(names))
    for verdict, numbers in counts.fillna(0).items():
        bars = ax.barh(names, numbers, left=start, color=VERDICT_COLOURS[verdict], height=0.7, label=verdict)
        shown = [f"{int(n)}" if n else "" for n in numbers]
        ax.bar_label(bars, shown, label_type="center", color="white", fontsize="small")
        start += numbers.to_numpy()
    ax.invert_yaxis()
    ax.set(xlabel="claims")
    ax.locator_params(axis="x", integer=True)
    ax.grid(visible=False)
    ax.legend(fontsize="x-small", loc="lower center", bbox_to_anchor=(0.4, 1), ncols=4, frameon=False)
    return figure
