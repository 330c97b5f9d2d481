"""Figures of verdicts, against what was drawn."""

import re
import sys

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from infolib.plotting import BAND
from workbook import charts, claims

matplotlib.use("agg")
SEEDS = [1.0, 1.2, 1.1, 1.2, 1.0]


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def drawn(kind, expected, values, **changes):
    """The one axis of a claim that is judged, and its figure."""
    claim = claims.Claim("02-a", "It costs $5, or $6", "p", "w", "ours", kind, expected, 0.1, "w", **changes)
    book = claims.Book([claim, claims.Claim("02-b", "s", "p", "w", "ours", "value", 1.0, 0.1, "w")], show=False)
    book.judge("02-a", *values[:1], **dict(zip(("control",), values[1:], strict=False)))
    figure = charts.verdicts(book.verdicts)
    (ax,) = figure.axes
    return ax


def bands(ax):
    return [tuple(patch.get_x() + np.array([0, patch.get_width()])) for patch in ax.patches
            if to_rgb(patch.get_facecolor()) == to_rgb(BAND)]  # fmt: skip


def marks(ax):
    """Marker, place and height of each mean."""
    lines = [line for line in ax.lines if line.get_marker() in "osD<>"]
    return [(line.get_marker(), round(float(line.get_xdata()[0]), 3), line.get_ydata()[0]) for line in lines]


def test_a_judged_claim_has_an_axis_with_its_statement_its_word_and_both_intervals():
    ax = drawn("sign", "positive", [SEEDS, [0.0, 0.1, 0.0, -0.1, 0.1]], control="another")
    shown = ["✓ reproduced\nby the difference from the control", "It costs $5, or $6"]
    assert [text.get_text() for text in ax.texts] == shown
    assert not ax.texts[1].get_parse_math()
    ours, control = marks(ax)
    assert (ours[:2], control[:2]) == (("o", 1.1), ("D", 0.02))
    assert ours[2] > control[2]
    ((start, end),) = bands(ax)
    low, high = ax.get_xlim()
    assert low < start == pytest.approx(0.1)
    assert end == pytest.approx(high)  # the band ends where the axis does
    assert high > 1.2


def test_a_claim_without_a_control_shows_none_and_one_seed_fills_the_axis():
    ax = drawn("value", 1.0, [[1.05]])
    assert marks(ax) == [("o", 1.05, 0.15)]
    assert ax.texts[0].get_text() == "? undecided\ntoo few seeds, no control yet"


@pytest.mark.parametrize(("far", "marker", "side"), [(-90.0, "<", 0), (90.0, ">", 1)])
def test_a_control_that_is_far_off_is_an_arrow_and_leaves_the_scale(far, marker, side):
    ax = drawn("value", 1.0, [SEEDS, [far + x for x in (0.0, 0.1, 0.0, 0.2, 0.1)]], control="another")
    assert np.ptp(ax.get_xlim()) < 2
    assert marks(ax)[1][:2] == (marker, pytest.approx(ax.get_xlim()[side], abs=1e-3))


def test_what_must_differ_has_two_bands():
    left, right = sorted(bands(drawn("differs", 0, [SEEDS])))
    assert left[1] == pytest.approx(-0.1)
    assert right[0] == pytest.approx(0.1)


def test_a_check_is_said_and_marked():
    ax = drawn("value", 1.1, [SEEDS], role="check")
    assert [text.get_text() for text in ax.texts] == ["✓ passes", "Check: It costs $5, or $6"]
    assert marks(ax)[0][0] == "s"


def test_data_sets_of_a_claim_are_under_one_another():
    ax = drawn("sign", "positive", [{"mnist": SEEDS, "digits": [-x for x in SEEDS]}])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["mnist", "digits"]
    (first, second), (above, below) = [m[1] for m in marks(ax)], ax.get_yticks()
    assert (first, second) == (1.1, -1.1)
    assert above > below
    words = {text.xy[1]: text.get_text().split("\n")[0] for text in ax.texts[:2]}
    assert words == {above: "? undecided", below: "✗ not reproduced"}


def test_neighbours_with_one_word_have_it_once_and_a_picture_of_many_stays_short():
    low, sets = [-x for x in SEEDS], ["a", "b", "c", "d", "e", "f"]
    ax = drawn("sign", "positive", [dict(zip(sets, [SEEDS] * 3 + [low, SEEDS, SEEDS], strict=True))])
    words = [(text.get_text().split("\n")[0], text.xy[1]) for text in ax.texts[:3]]
    assert words == [("? undecided", -1), ("✗ not reproduced", -3), ("? undecided", -4.5)]
    assert len(ax.texts) == 4
    lines = [line for line in ax.lines if len(line.get_xdata()) == 2 and not line.get_marker().strip("None")]
    assert [sorted(line.get_ydata()) for line in lines] == [[-2.35, 0.35], [-5.35, -3.65]]
    assert ax.get_window_extent().height / ax.figure.dpi == pytest.approx(6 * charts.ROW)


@pytest.mark.parametrize("n", [4, 26])
def test_nothing_of_the_verdicts_overlaps_or_is_cut(n):
    long = "In a trained network no layer has more than 0.1 bit more information about the input than the layer before"
    many = [claims.Claim(f"02-{i}", long, "p", "w", "ours", "value", 1.0, 0.1, "w", control="c") for i in range(n)]
    book = claims.Book(many, show=False)
    for claim in many:
        sets = {"mnist": SEEDS, "fashion-mnist": SEEDS}
        book.judge(claim.id, sets, control={name: [5 * x for x in SEEDS] for name in sets})
    figure = charts.verdicts(book.verdicts)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for ax in figure.axes for text in (*ax.texts, *ax.get_yticklabels())]
    boxes += [ax.get_window_extent() for ax in figure.axes]
    assert min(box.x0 for box in boxes) >= -1
    assert max(box.x1 for box in boxes) <= figure.bbox.x1
    assert min(box.y0 for box in boxes) >= 0
    shared = [a.intersection(a, b) for i, a in enumerate(boxes) for b in boxes[:i]]
    assert [box for box in shared if box is not None and min(box.width, box.height) > 2] == []


def test_tally_counts_the_words_of_each_notebook_and_the_checks_apart():
    words = {"02": ["reproduced", "not reproduced", "reproduced", "passes"], "01": ["not attempted", "fails", "blind"]}
    rows = [(name, f"{name}-{i}", word) for name, each in words.items() for i, word in enumerate(each)]
    table = pd.DataFrame([*rows, rows[0]], columns=["notebook", "claim", "word"])  # the first on two data sets
    findings, checks = charts.tally(table, by="notebook").axes
    assert [t.get_text() for t in findings.get_yticklabels()] == ["02", "01"]
    assert findings.get_ylim()[0] > findings.get_ylim()[1]  # the first one on top
    widths = [
        {bars.get_label(): [bar.get_width() for bar in bars] for bars in ax.containers} for ax in (findings, checks)
    ]
    assert widths[0] == {word: [0, 0] for word in charts.rule.VERDICTS} | {
        "reproduced": [2, 0], "blind": [0, 1], "not reproduced": [1, 0], "not attempted": [0, 1]
    }  # fmt: skip
    assert widths[1] == {"passes": [1, 0], "fails": [0, 1]}
    assert to_rgb(findings.containers[4][0].get_facecolor()) == to_rgb(charts.VERDICT_COLOURS["not reproduced"])
    starts = [bar.get_x() for bars in findings.containers for bar in bars if bar.get_width()]
    assert starts == [0, 0, 2, 1]


def curve(samples, alpha):
    figure, ax = plt.subplots()
    ax.plot([0, samples], [0, alpha])
    return figure


def ends(figure):
    return figure.axes[0].lines[0].get_xydata()[1].tolist()


def test_without_a_server_explore_is_one_closed_figure_of_the_values_to_show_first_and_needs_no_widgets(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)  # its import fails
    assert ends(charts.explore(curve, samples=([50, 100], 100), alpha=([1, 2], 2))) == [100, 2]
    assert plt.get_fignums() == []


def test_with_a_server_explore_has_a_slider_for_each_argument_and_draws_anew_when_one_is_moved(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/01_estimators.ipynb")
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    samples, alpha, said, picture = charts.explore(curve, samples=([50, 100, 200], 100), alpha=([1, 2], 2)).children
    assert [(s.description, list(s.options), s.value) for s in (samples, alpha)] == [
        ("samples", [50, 100, 200], 100), ("alpha", [1, 2], 2)]  # fmt: skip
    assert not samples.continuous_update
    samples.value = 200
    assert re.sub("<[^>]+>", "", said.value) == "samples 200, alpha 2"
    assert [ends(figure) for figure in shown] == [[100, 2], [200, 2]]
    assert type(picture).__name__ == "Output"
    assert plt.get_fignums() == []


@pytest.mark.parametrize("session", ["", "a notebook"])
def test_explore_refuses_a_first_value_that_no_slider_has(monkeypatch, session):
    monkeypatch.setenv("JPY_SESSION_NAME", session)
    with pytest.raises(ValueError, match="unknown samples 101; allowed: 50, 100"):
        charts.explore(curve, samples=([50, 100], 101), alpha=([1], 1))
