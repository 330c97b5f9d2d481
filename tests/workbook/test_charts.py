"""Figures of verdicts, against what was drawn."""

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from workbook import charts, claims

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_verdict_chart_has_one_row_per_judged_claim():
    claim = claims.Claim("a", "s", "p", "w", "paper", "sign", "positive", 0.1, "w")
    other = claims.Claim("b", "s", "p", "w", "paper", "value", 1.0, 0.1, "w")
    book = claims.Book([claim, other])
    book.judge("a", [1.0, 1.2])
    figure = charts.verdicts(book.verdicts)
    (ax,) = figure.axes
    assert ax.get_ylabel() == "a"
    low, high = ax.get_xlim()
    assert low < 0.1
    assert high > 1.2  # band and interval lie inside


def test_tally_counts_the_verdicts_of_each_notebook():
    table = pd.DataFrame({"notebook": ["02", "02", "02", "01"],
                          "verdict": ["reproduced", "not reproduced", "reproduced", "not attempted"]})  # fmt: skip
    (ax,) = charts.tally(table, by="notebook").axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ["02", "01"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first one on top
    widths = {bars.get_label(): [bar.get_width() for bar in bars] for bars in ax.containers}
    assert widths == {
        "reproduced": [2, 0],
        "partly reproduced": [0, 0],
        "not reproduced": [1, 0],
        "not attempted": [0, 1],
    }
    assert to_rgb(ax.containers[2][0].get_facecolor()) == to_rgb(charts.VERDICT_COLOURS["not reproduced"])
    starts = [bar.get_x() for bars in ax.containers for bar in bars if bar.get_width()]
    assert starts == [0, 2, 0]
