import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from infolib import claims, plotting

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture
def plane():
    rows = [
        {"layer": layer, "step": step, "seed": seed, "I(X;T)": bits + seed, "I(T;Y)": 1.0, "S(X)": 6.0, "S(Y)": 3.3}
        for step in (0, 10)
        for seed in (0, 2)
        for layer, bits in (("hidden2", 3.0), ("hidden10", 2.0), ("output", 1.0))  # not alphabetical
    ]
    return pd.DataFrame(rows)


def test_depth_profile_keeps_the_order_of_layers_and_shows_mean_and_spread(plane):
    ax = plotting.depth_profile(plane, "I(X;T)", hue="step")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["hidden2", "hidden10", "output"]
    assert ax.get_ylabel() == "I(X;T)  [bits]"
    line, _, (bars,) = ax.containers[0]
    assert line.get_ydata().tolist() == [4.0, 3.0, 2.0]  # means over seeds 0 and 2
    assert bars.get_segments()[0][:, 1].tolist() == pytest.approx([4 - 2**0.5, 4 + 2**0.5])


def test_information_over_training_draws_both_ceilings_inside_the_axes(plane):
    figure = plotting.information_over_training(plane, hue="step")
    for ax, ceiling in zip(figure.axes, (6.0, 3.3), strict=True):
        assert any(line.get_ydata() == pytest.approx([ceiling, ceiling]) for line in ax.get_lines()[-1:])
        assert ax.get_ylim()[1] > ceiling


def test_sequential_colours_darken():
    brightness = [sum(colour) for colour in plotting.sequential(5)]
    assert brightness == sorted(brightness, reverse=True)


def test_verdict_chart_has_one_row_per_judged_claim():
    claim = claims.Claim("a", "s", "p", "w", "paper", "sign", "positive", 0.1, "w")
    other = claims.Claim("b", "s", "p", "w", "paper", "value", 1.0, 0.1, "w")
    figure = plotting.verdicts(claims.judge([claim, other], {"a": [1.0, 1.2]}))
    (ax,) = figure.axes
    assert ax.get_ylabel() == "a"
    low, high = ax.get_xlim()
    assert low < 0.1
    assert high > 1.2  # band and interval lie inside


def test_images_show_their_labels():
    figure = plotting.images(torch.zeros(9, 1, 4, 4), torch.arange(9), n=3)
    assert [ax.get_title() for ax in figure.axes] == ["0", "1", "2"]
