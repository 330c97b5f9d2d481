import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb

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


@pytest.fixture
def paths():
    rows = [
        {"net": net, "layer": layer, "step": step, "seed": seed, "control": control, "S(X)": 6.0, "share": 0.5,
         "I(X;T)": i + step + seed - control, "I(T;Y)": 2.0 * i, "WN(X;T)": 1.0 + seed, "WN(T;Y)": 0.5}
        for net in ("sigmoid", "relu")
        for step in (0, 10, 100)
        for seed in (0, 2)
        for i, layer in enumerate(("conv1", "conv2"))
        for control in (0, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_lines_are_means_over_seeds_with_bands_and_the_control_is_dotted(paths):
    ax = plotting.lines(paths[paths["net"] == "relu"], "step", "I(X;T)", hue="layer", dotted="control")
    assert ax.get_ylabel() == "I(X;T)  [bits]"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["conv1", "conv2"]
    assert [line.get_linestyle() for line in ax.get_lines()] == ["-", ":", "-", ":"]
    assert ax.get_lines()[0].get_color() == ax.get_lines()[1].get_color() != ax.get_lines()[2].get_color()
    values = [line.get_ydata().tolist() for line in ax.get_lines()]
    assert values == [[1, 11, 101], [0, 10, 100], [2, 12, 102], [1, 11, 101]]
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((1 - 2**0.5, 101 + 2**0.5))


def test_panels_have_a_row_per_quantity_a_column_per_value_and_the_bound_inside(paths):
    figure = plotting.panels(paths, "step", {"I(X;T)": "S(X)", "share": None}, column="net", hue="layer")
    first, second, third, last = figure.axes
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["sigmoid", "relu"]
    assert [ax.get_ylabel() for ax in (first, third)] == ["I(X;T)  [bits]", "share"]
    assert last.get_xlabel() == "training step"
    assert first.get_lines()[-1].get_ydata() == pytest.approx([6, 6, 6])
    assert first.get_ylim()[0] == -1  # the least value, or 0
    assert first.get_ylim()[1] > 102
    labels = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in (second, last)]
    assert labels == [["conv1", "conv2", "S(X)"], []]  # each is named once
    assert first.get_legend() is third.get_legend() is None


def test_panels_say_what_is_dotted_and_do_not_name_their_titles_again(paths):
    figure = plotting.panels(paths, "step", {"share": None}, column="layer", hue="layer", dotted="control")
    assert [text.get_text() for text in figure.axes[-1].get_legend().get_texts()] == ["control ≠ 0"]


def test_planes_show_the_path_of_each_layer_from_light_to_dark(paths):
    figure = plotting.planes(paths[paths["control"] == 0], row="net")
    assert [(ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes[:2]] == [
        ("I(X;T)  [bits]", "I(T;Y)  [bits]"),
        ("WN(X;T)  [bits]", "WN(T;Y)  [bits]"),
    ]
    path, *points = figure.axes[0].get_lines()[:4]
    assert path.get_xydata().tolist() == [[1, 0], [11, 0], [101, 0]]  # conv1, means over seeds
    brightness = [sum(to_rgb(point.get_color())) for point in points]
    assert brightness == sorted(brightness, reverse=True)
    (bar, _) = figure.axes[0].containers[0].lines[2]
    assert bar.get_segments()[0][:, 0] == pytest.approx([1 - 2**0.5, 1 + 2**0.5])
    labels = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert labels == ["conv1, step 0", "step 100", "conv2, step 0", "step 100"]


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
