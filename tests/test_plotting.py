import io
import math

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from infolib import plotting

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
    assert line.get_xdata().tolist() == pytest.approx([-0.025, 0.975, 1.975])  # left of the second line
    assert bars.get_segments()[0][:, 1].tolist() == pytest.approx([4 - 2**0.5, 4 + 2**0.5])


def test_depth_profile_keeps_the_order_of_kinds(plane):
    named = plane.assign(kind=plane["step"].map({0: "untrained", 10: "trained"}))
    ax = plotting.depth_profile(named, "I(X;T)", hue="kind")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["untrained", "trained"]


def test_chance_profiles_draw_chance_and_ceilings_inside_the_axes_and_take_chance_off(plane):
    levels = {"I(X;T) chance": 0.75, "I(T;Y) chance": 0.25, "S(X)": 6.0, "S(Y)": 3.3}
    figure = plotting.chance_profiles(plane.assign(**levels, alpha=2), hue="step", row="alpha")
    left, middle, right = figure.axes
    for ax, chance, ceiling in ((left, 0.75, 6.0), (right, 0.25, 3.3)):
        dotted = [line.get_ydata().tolist() for line in ax.get_lines() if line.get_linestyle() == ":"]
        assert dotted == [[chance] * 3] * 2
        assert ax.get_lines()[-1].get_ydata() == pytest.approx([ceiling, ceiling])
        assert ax.get_ylim()[1] > ceiling
    own, beyond = (ax.containers[0][0].get_ydata() for ax in (left, middle))
    assert own - beyond == pytest.approx([0.75] * 3)


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
    assert [text.get_text() for text in figure.axes[-1].get_legend().get_texts()] == ["control"]


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


def test_planes_of_layers_share_their_colours_and_ring_the_marks(paths):
    steps = paths[(paths["control"] == 0)].replace({"step": {0: 1}})
    figure = plotting.layer_planes(steps, row="net", marks={"relu": {"patience 5": 11}})
    *panels, bar = figure.axes
    assert [ax.get_title(loc="left") for ax in panels] == ["conv1", "conv2"] * 2
    first, last = panels[0].collections[0], panels[3].collections[0]
    assert first.get_offsets().tolist() == [[1, 0], [11, 0], [101, 0]]  # conv1, means over seeds
    assert last.get_array().tolist() == [1, 10, 100]
    assert (first.norm.vmin, first.norm.vmax) == (last.norm.vmin, last.norm.vmax) == (1, 100)
    assert bar.get_ylabel() == "training step"
    assert [len(ax.get_lines()) for ax in panels] == [1, 1, 2, 2]  # the path, and in relu's panels a ring
    assert panels[2].get_lines()[1].get_xydata().tolist() == [[11, 0]]
    assert [text.get_text() for text in panels[3].get_legend().get_texts()] == ["patience 5"]


def test_a_plane_of_one_step_names_its_layers(paths):
    figure = plotting.planes(paths[(paths["control"] == 0) & (paths["step"] == 10)], row="net")
    labels = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert labels == ["conv1, step 10", "conv2, step 10"]


def test_what_is_more_than_there_are_colours_or_markers_is_drawn_too(curves):
    rows = [{"net": "mlp", "layer": f"fc{i}", "step": step, "seed": 0, "I(X;T)": i, "I(T;Y)": i}
            for i in range(20) for step in (1, 9)]  # fmt: skip
    ax = plotting.planes(pd.DataFrame(rows), [("I(X;T)", "I(T;Y)")], row="net").axes[0]
    assert len(ax.get_legend().get_texts()) == 40
    marks = {f"rule {i}": 1 for i in range(12)}
    figure = plotting.layer_planes(pd.DataFrame(rows), row="net", marks={"mlp": marks})
    assert [text.get_text() for text in figure.axes[19].get_legend().get_texts()] == list(marks)
    rows = [(f"fig{i}", "bits", i, seed, i) for i in range(20) for seed in (0, 1)]
    figure = plotting.agreement(pd.DataFrame(rows, columns=["figure", "unit", "value", "seed", "ours"]))
    assert len(figure.axes[0].get_legend().get_texts()) == 20
    many = pd.concat([estimated([2, 4]).assign(estimator=f"e{i}") for i in range(12)])
    assert len(plotting.estimates(many, "n", ax=plt.figure().gca()).get_legend().get_texts()) == 13
    one = curves[(curves["network"] == "a") & (curves["mode"] == "mean")]
    many = pd.concat([one[one["quantity"] == "entropy"].assign(quantity=f"q{i}") for i in range(12)])
    for drawn, some in ((12, many), (13, pd.concat([many, one[one["quantity"] == "random"]]))):
        assert [len(ax.get_lines()) for ax in plotting.ablation(some).axes] == [drawn] * 6


def test_a_line_may_lack_a_layer_or_a_place(plane):
    some = plane[(plane["step"] == 0) | (plane["layer"] != "hidden10")]
    ax = plotting.depth_profile(some, "I(X;T)")
    assert ax.containers[1][0].get_ydata() == pytest.approx([4, math.nan, 2], nan_ok=True)
    levels = {"I(X;T) chance": some["I(X;T)"] / 2, "I(T;Y) chance": 0.25}
    figure = plotting.chance_profiles(some.assign(**levels, alpha=2), hue="step", row="alpha")
    dotted = [line.get_ydata() for line in figure.axes[0].get_lines() if line.get_linestyle() == ":"]
    assert dotted[1] == pytest.approx([2, math.nan, 1], nan_ok=True)
    both = pd.concat([estimated([2, 4, 16]), estimated([2, 16]).assign(estimator="bins")])
    ax = plotting.estimates(both, "n", ax=plt.figure().gca())
    assert ax.containers[1][0].get_ydata() == pytest.approx([1.5, math.nan, 1.5], nan_ok=True)


def test_pictures_may_have_a_gradient_and_have_a_dimension_of_channels(look):
    x = torch.zeros(2, 1, 4, 4, requires_grad=True)
    assert len(plotting.images(x, [0, 1], n=2).axes) == 2
    assert plotting.heat_maps(x, {"conv1": torch.rand(2, 2, 2)}, unit="H").axes[0].images
    for call in (lambda: plotting.images(x[:, 0], [0, 1], n=2), lambda: plotting.lens_page(look, images=x[:, 0]),
                 lambda: plotting.heat_maps(x[:, 0], {"conv1": torch.rand(2, 2, 2)}, unit="H")):  # fmt: skip
        with pytest.raises(ValueError, match=r"needs at least 4 dimension\(s\), got shape \(2, 4, 4\)"):
            call()


def test_sequential_colours_darken():
    brightness = [sum(colour) for colour in plotting.sequential(5)]
    assert brightness == sorted(brightness, reverse=True)


def test_images_show_their_labels():
    figure = plotting.images(torch.zeros(9, 1, 4, 4), torch.arange(9), n=3)
    assert [ax.get_title() for ax in figure.axes] == ["0", "1", "2"]


def test_one_image_and_one_quantity_are_drawn(neurons):
    (ax,) = plotting.images(torch.zeros(1, 1, 4, 4), [7], n=1).axes
    assert ax.get_title() == "7"
    (ax,) = plotting.violins(neurons, ["class information"]).axes
    assert ax.get_ylabel() == "class information  [bits]"
    with pytest.raises(ValueError, match="n=3 is more than there are of x and labels, 2 and 2"):
        plotting.images(torch.zeros(2, 1, 4, 4), [7, 8], n=3)


@pytest.fixture
def neurons():
    rows = [
        {"seed": seed, "layer": layer, "neuron": j, "quantity": quantity, "value": bits * (j + 1) / 4 + seed / 10,
         "null": 0.05}
        for seed in (0, 1)
        for layer, bits in (("hidden2", 0.6), ("hidden10", 1.2))  # not alphabetical
        for j in range(4)
        for quantity in ("entropy", "class information")
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def curves():
    rows = [
        {"network": network, "layers": layers, "mode": mode, "quantity": quantity, "direction": direction, "seed": seed,
         "repeat": 0, "k": k, "accuracy": 1 - k / 10 - seed / 10}
        for network in ("b", "a")
        for layers in ("hidden1", "hidden2", "hidden1+hidden2")
        for mode in ("mean", "zero")
        for quantity, direction in (("entropy", "ascending"), ("entropy", "descending"), ("random", "random"))
        for seed in (0, 2)
        for k in (0, 1, 2)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_violins_show_each_layer_and_the_level_of_chance_but_not_of_entropy(neurons):
    entropy, information = plotting.violins(neurons, ["entropy", "class information"]).axes
    assert [t.get_text() for t in information.get_xticklabels()] == ["hidden2", "hidden10"]
    assert information.get_ylabel() == "class information  [bits]"
    (text,) = information.get_legend().get_texts()
    assert text.get_text() == "95 % of permuted labels"
    assert entropy.get_legend() is None


def test_neuron_plane_has_a_point_for_each_neuron_of_each_seed(neurons):
    ax = plotting.neuron_plane(neurons)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["hidden2", "hidden10"]
    assert [len(points.get_offsets()) for points in ax.collections] == [8, 8]


def test_codelengths_have_the_code_as_the_area_under_each_curve():
    costs = {"a": [6.0, 8.0], "b": [2.0, 4.0], "c": [1.0, 1.0], "d": [3.0, 3.0]}
    rows = [
        {"set": name, "seed": seed, "end": end, "bits": bits + seed, "labels": labels, "uniform": 2.0}
        for name, both in costs.items()
        for seed in (0, 2)
        for end, labels, bits in zip((2, 6), (2, 4), both, strict=True)
    ]
    figure = plotting.codelengths(pd.DataFrame(rows))
    shown = [ax for ax in figure.axes if ax.has_data()]
    assert [ax.get_title(loc="left") for ax in shown] == [f"{n}: {sum(c) + 2:.0f} ± 3 bits" for n, c in costs.items()]
    for ax, both in zip(shown, costs.values(), strict=True):
        area = ax.patches[0].get_data()
        assert (area.values * np.diff(area.edges)).tolist() == [bits + 1 for bits in both]  # means over seeds
        assert ax.lines[-1].get_ydata()[0] == 2.0


def test_ablation_shows_means_of_networks_lowest_first_above_highest_first(curves):
    figure = plotting.ablation(curves[(curves["network"] == "a") & (curves["mode"] == "mean")], title="t")
    assert len(figure.axes) == 6
    assert [ax.get_title(loc="left") for ax in figure.axes[:3]] == ["hidden1", "hidden2", "all layers"]
    assert figure.axes[3].get_ylabel() == "accuracy, highest first"
    for line in figure.axes[0].get_lines():
        assert line.get_ydata().tolist() == pytest.approx([0.9, 0.8, 0.7])  # mean over seeds 0 and 2


def test_ablation_modes_has_a_panel_for_each_network_and_layer(curves):
    figure = plotting.ablation_modes(curves[curves["quantity"] == "random"])
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        f"{network}: {layers}" for network in ("b", "a") for layers in ("hidden1", "hidden2", "all layers")
    ]
    assert [len(ax.get_lines()) for ax in figure.axes] == [2] * 6


def test_dots_keep_the_order_of_their_rows_and_columns():
    rows = [{"gap": x, "arm": arm, "quantity": q, "layers": layers}
            for arm in "ba" for q in ("z", "y") for layers in ("l2", "l1") for x in (0.0, 1.0)]  # fmt: skip
    figure = plotting.dots(pd.DataFrame(rows), "gap", "arm", hue="quantity", column="layers")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["l2", "l1"]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["b", "a"]
    assert [t.get_text() for t in figure.axes[-1].get_legend().get_texts()] == ["z", "y"]


@pytest.mark.parametrize("shared", [True, False])
def test_dots_of_different_quantities_have_scales_of_their_own(shared):
    rows = [{"x": x * scale, "y": "a", "hue": hue, "of": of}
            for of, scale in (("one", 1), ("ten", 10)) for hue in "zy" for x in (0.0, 1.0)]  # fmt: skip
    figure = plotting.dots(pd.DataFrame(rows), "x", "y", hue="hue", column="of", shared=shared)
    small, large = (np.ptp(ax.get_xlim()) for ax in figure.axes)
    assert large / small == pytest.approx(1 if shared else 10)


@pytest.mark.parametrize("hues", ["z", "zy"])
def test_dots_of_one_hue_lie_on_their_lines_and_of_two_beside_them(hues):
    rows = [{"x": x, "y": "a", "hue": hue, "of": "one"} for hue in hues for x in (0.0, 1.0)]
    figure = plotting.dots(pd.DataFrame(rows), "x", "y", hue="hue", column="of")
    places = sorted({float(y) for path in figure.axes[0].collections for _, y in path.get_offsets()})
    places = places or sorted({round(float(y), 3) for line in figure.axes[0].lines[:-1] for y in line.get_ydata()})
    assert places == ([0] if len(hues) == 1 else [-0.2, 0.2])


def test_scatter_has_a_panel_per_quantity_and_names_every_hue_once():
    table = pd.DataFrame(
        {"accuracy": [0.5, 0.9, 0.7], "H": [1.0, 2.0, 4.0], "rho": [3.0, 1.0, 2.0], "kind": list("bab")}
    )
    figure = plotting.scatter(table, "accuracy", ["H", "rho"], hue="kind")
    assert [ax.get_ylabel() for ax in figure.axes] == ["H  [bits]", "rho  [bits]"]
    for ax, quantity in zip(figure.axes, ("H", "rho"), strict=True):
        points = np.concatenate([path.get_offsets() for path in ax.collections])
        assert sorted(points.tolist()) == sorted(table[["accuracy", quantity]].to_numpy().tolist())
    assert [t.get_text() for t in figure.axes[-1].get_legend().get_texts()] == ["b", "a"]


def test_dots_have_the_colour_of_their_hue_in_a_panel_that_has_only_one():
    rows = [{"x": x, "y": "a", "hue": hue, "of": of} for hue, of in ("ac", "bc", "bd") for x in (0.0, 1.0)]
    both, one = plotting.dots(pd.DataFrame(rows), "x", "y", hue="hue", column="of").axes
    colours = [[to_rgb(line.get_color()) for line in ax.lines if len(line.get_xdata()) == 1] for ax in (both, one)]
    assert len(set(colours[0])) == 2
    assert colours[1] == colours[0][1:]


def test_agreement_has_a_panel_for_each_unit_with_the_diagonal():
    rows = [
        {"figure": figure, "unit": unit, "value": value, "seed": seed, "ours": value + seed / 10}
        for figure, unit in (("fig1", "accuracy"), ("fig2", "bits"))
        for value in (0.2, 0.8)
        for seed in (0, 1)
    ]
    figure = plotting.agreement(pd.DataFrame(rows))
    assert [ax.get_xlabel() for ax in figure.axes] == ["the paper's number  [accuracy]", "the paper's number  [bits]"]
    for ax in figure.axes:
        diagonal = ax.get_lines()[-1]
        assert diagonal.get_xdata() == pytest.approx(diagonal.get_ydata())


def test_notebook_images_have_256_colours_and_the_size_of_the_figure():
    figure, ax = plt.subplots(figsize=(4, 3))
    ax.scatter(range(300), range(300), c=range(300))
    image = Image.open(io.BytesIO(plotting.light_png(figure)))
    assert image.mode == "P"
    assert image.format == "PNG"
    assert abs(image.size[0] - 4 * figure.dpi) < figure.dpi


def test_panels_name_the_lines_of_every_panel(paths):
    table = paths[(paths["control"] == 0) & ((paths["net"] == "relu") | (paths["layer"] == "conv1"))]
    own = table.assign(layer=table["layer"].where(table["net"] == "relu", "hidden1"))
    figure = plotting.panels(own, "step", {"I(X;T)": None}, column="net", hue="layer")
    labels = [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]
    assert labels == ["hidden1", "conv1", "conv2"]  # the first is in the first panel only


def test_heat_maps_share_their_colours_and_show_the_box():
    rng = np.random.default_rng(0)
    maps = {"conv1": rng.random((2, 4, 4)), "fc1": 5 + rng.random((2, 4, 4))}
    figure = plotting.heat_maps(rng.random((2, 1, 8, 8)), maps, unit="H [nats]", box=(1 / 6, 5 / 6))
    panels = [ax for ax in figure.axes if ax.images]
    assert len(panels) == 6
    scales = {ax.images[0].get_clim() for ax in panels if ax.images[0].get_array().shape == (4, 4)}
    assert len(scales) == 1
    assert [ax.patches[0].get_bbox().extents.tolist() for ax in panels] == [
        pytest.approx([1 / 6, 1 / 6, 5 / 6, 5 / 6])
    ] * 6
    assert [ax.get_title() for ax in panels[:3]] == ["image", "conv1", "fc1"]
    named = plotting.heat_maps(rng.random((2, 1, 8, 8)), maps, unit="H [nats]", rows=["trained", "untrained"], size=2)
    assert [[text.get_text() for text in ax.texts] for ax in named.axes if ax.images] == [
        ["trained"], [], [], ["untrained"], [], [],
    ]  # fmt: skip
    assert named.get_size_inches().tolist() == pytest.approx([6.7, 4.2])
    with pytest.raises(ValueError, match="number of rows must be 0 or 2, one for each image of x, got 1"):
        plotting.heat_maps(rng.random((2, 1, 8, 8)), maps, unit="H [nats]", rows=["trained"])


@pytest.fixture
def look():
    """Two networks, two seeds, three layers; the last layer has no share, and nothing has a concentration."""
    of = {
        "I(X;T)": ("information", "bit"),
        "RS share": ("redundancy", "1"),
        "class information": ("class_information", "bit"),
        "discarding": ("discarding", "bit"),
        "concentration": ("discarding", "bit"),
        "codelength": ("codelength", "bit per label"),
    }
    rows = []
    for network in ("trained", "untrained"):
        for seed in (0, 2):
            for quantity, (lens, unit) in of.items():
                for depth, layer in ((1, "conv2"), (2, "conv10"), (3, "fc1")):
                    missing = quantity == "concentration" or (quantity, layer) == ("RS share", "fc1")
                    rows.append({
                        "network": network, "seed": seed, "lens": lens, "layer": layer, "depth": depth, "unit": unit,
                        "quantity": quantity, "value": np.nan if missing else depth + seed,
                        "why not": "no reason known" if missing else "",
                    })  # fmt: skip
    return pd.DataFrame(rows)


def test_lens_page_aligns_every_quantity_by_depth(look):
    figure = plotting.lens_page(look[::-1].sort_values("network", kind="stable"), first="untrained")
    panels = figure.axes
    assert {ax.get_ylabel() for ax in panels} == {
        "I(X;T)\n[bits]", "RS share", "class information\n[bits]", "discarding\n[bits]", "concentration\n[bits]",
        "codelength\n[bits per label]",
    }  # fmt: skip
    assert len({(ax.get_position().x0, ax.get_position().x1, ax.get_xlim()) for ax in panels}) == 1
    assert [t.get_text() for t in panels[-1].get_xticklabels()] == ["conv2", "conv10", "fc1"]
    by_label = {ax.get_ylabel().split("\n")[0]: ax for ax in panels}
    line, _, (bars,) = by_label["I(X;T)"].containers[0]
    assert line.get_ydata().tolist() == [2, 3, 4]  # means over seeds 0 and 2
    assert bars.get_segments()[0][:, 1].tolist() == pytest.approx([2 - 2**0.5, 2 + 2**0.5])
    shares = np.asarray(by_label["RS share"].containers[0][0].get_ydata(), dtype=float)
    assert np.isnan(shares).tolist() == [False, False, True]
    assert [t.get_text() for t in by_label["concentration"].texts] == ["no reason known"]
    assert sum(text.get_text()[0] in "12345" for text in figure.texts) == 5  # a question for each lens
    legends = [ax.get_legend() for ax in panels if ax.get_legend()]
    assert [t.get_text() for t in legends[0].get_texts()] == ["untrained", "trained"]


def test_lens_page_puts_maps_and_curves_above_their_layers(look):
    curves = pd.DataFrame([
        {"layer": layer, "direction": way, "share": share, "accuracy": (1 - share) ** power + seed, "seed": seed}
        for layer in ("conv2", "conv10", "fc1") for way, power in (("descending", 2), ("ascending", 1))
        for share in (0, 0.5, 1) for seed in (0, 2)
    ])  # fmt: skip
    maps = {layer: np.full((4, 4), i) for i, layer in enumerate(("conv2", "conv10", "fc1"))}
    images = np.zeros((2, 1, 8, 8))
    figure = plotting.lens_page(look, maps=maps, curves=curves, images=images, box=(0.25, 0.75))
    shown = [ax for ax in figure.axes if ax.images]
    assert [ax.images[0].get_array().shape for ax in shown] == [(4, 4)] * 3 + [(8, 8)]
    assert len({ax.images[0].get_clim() for ax in shown[:3]}) == 1
    assert all(ax.patches[0].get_bbox().extents.tolist() == [0.25, 0.25, 0.75, 0.75] for ax in shown)
    (wide,) = [ax for ax in figure.axes if ax.get_ylabel().startswith("discarding")]
    for place, ax in enumerate(shown[:3]):
        middle = figure.transFigure.inverted().transform(wide.transData.transform((place, 0)))[0]
        assert ax.get_position().x0 < middle < ax.get_position().x1
        assert abs((ax.get_position().x0 + ax.get_position().x1) / 2 - middle) < 0.002
        assert ax.get_position().y0 > wide.get_position().y1  # above
    small = [
        ax for ax in figure.axes if [line.get_label() for line in ax.lines] == ["most informative first", "least first"]
    ]
    assert len(small) == 3
    assert [line.get_ydata().tolist() for line in small[1].lines] == [[2, 1.25, 1], [2, 1.5, 1]]


def of_networks(look, n):
    """The first network of a table n times, each 10 bits above the one before."""
    first = look[look["network"] == "trained"]
    return pd.concat([first.assign(network=f"net {i}", value=first["value"] + 10 * i) for i in range(n)])


def test_lens_page_draws_all_networks_or_refuses(look):
    figure = plotting.lens_page(of_networks(look, 20))
    assert len(figure.axes[0].containers) == 20
    lines = [bars[0] for bars in figure.axes[0].containers]
    assert sorted(line.get_ydata()[0] for line in lines) == [2 + 10 * i for i in range(20)]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 20
    assert len(figure.axes[0].get_legend().get_texts()) == 20
    with pytest.raises(ValueError, match="table must hold 1 to 20 networks, got 21"):
        plotting.lens_page(of_networks(look, 21))
    with pytest.raises(ValueError, match="table must be a data frame with rows in it, got one without rows"):
        plotting.lens_page(look[:0])
    with pytest.raises(ValueError, match="first must be one of trained, untrained, got 'tained'"):
        plotting.lens_page(look, first="tained")
    with pytest.raises(ValueError, match=r"table must have the columns lens, .*, why not, and lacks network"):
        plotting.lens_page(look.drop(columns="network"))


def test_lens_page_draws_the_bound_of_a_quantity(look):
    edges = {"ceiling": look["quantity"].map({"I(X;T)": 7.0}), "floor": look["quantity"].map({"discarding": -4.3043})}
    by_label = {ax.get_ylabel().split("\n")[0]: ax for ax in plotting.lens_page(look.assign(**edges)).axes}
    texts = {quantity: [text.get_text() for text in ax.texts] for quantity, ax in by_label.items()}
    assert (texts["I(X;T)"], texts["discarding"]) == (["S(X) = 7.00"], ["cells alike = -4.30"])
    assert by_label["discarding"].get_ylim()[0] < -4.31
    assert texts["codelength"] == []


def test_lens_page_has_baselines_of_the_first_network_and_the_interval_of_repeats(look):
    one = look[(look["network"] == "trained") & (look["seed"] == look["seed"].min())]
    beside = {
        "untrained": one["value"] - 1,
        "permuted": one["value"] * 0,
        "low": one["value"] - 2,
        "high": one["value"] + 2,
    }
    ax = plotting.lens_page(one.assign(**beside)).axes[0]
    values = ax.containers[0][0].get_ydata()
    lines = {line.get_label(): line.get_ydata().tolist() for line in ax.lines}
    assert lines["untrained"] == (values - 1).tolist()
    assert lines["permuted"] == (values * 0).tolist()
    bars = ax.containers[0][2][0].get_segments()
    assert [(low, high) for (_, low), (_, high) in bars] == [(v - 2, v + 2) for v in values]
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"permuted", "untrained", "trained"}


def test_lens_page_does_not_merge_layers_of_two_networks_by_their_name(look):
    """conv10 is second in one network and third in the other, where another layer is second."""
    names = look["layer"].where(look["network"] == "trained", look["depth"].map({1: "stem", 2: "act", 3: "conv10"}))
    figure = plotting.lens_page(look.assign(layer=names))
    assert [t.get_text() for t in figure.axes[-1].get_xticklabels()] == ["conv2\nstem", "conv10\nact", "fc1\nconv10"]
    for bars in figure.axes[0].containers:
        assert bars[0].get_ydata().tolist() == [2, 3, 4]


def test_lens_page_of_200_layers_has_a_readable_size(look):
    rows = pd.concat([look[look["depth"] == 1].assign(depth=d, layer=f"layers.{d}", value=d) for d in range(1, 201)])
    maps = {f"layers.{d}": np.full((2, 2), d) for d in range(1, 201)}
    figure = plotting.lens_page(rows, maps=maps)
    assert max(figure.get_size_inches() * figure.dpi) <= 1600
    shown = [ax for ax in figure.axes if ax.images]
    assert len(shown) == 16
    (wide,) = [ax for ax in figure.axes if ax.get_ylabel().startswith("discarding")]
    assert len(wide.get_xticks()) <= 24
    for ax in shown:  # above its own place
        place = ax.images[0].get_array()[0, 0] - 1
        middle = figure.transFigure.inverted().transform(wide.transData.transform((place, 0)))[0]
        assert ax.get_position().x0 < middle < ax.get_position().x1


def test_lens_profiles_draw_each_quantity_between_its_edges(look):
    edges = {"floor": look["quantity"].map({"discarding": -4.3}), "ceiling": look["quantity"].map({"I(X;T)": 7.0})}
    permuted = look["depth"].where((look["quantity"] == "I(X;T)") & (look["network"] == "trained"))
    figure = plotting.lens_profiles(look.assign(**edges, permuted=permuted), title="digits")
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "I(X;T)  [bits]", "RS share", "class information  [bits]", "discarding  [bits]", "concentration  [bits]",
        "codelength  [bits per label]",
    ]  # fmt: skip
    panels = {ax.get_title(loc="left").split("  ")[0]: ax for ax in figure.axes}
    ax = panels["I(X;T)"]
    front, _, (bars,) = ax.containers[-1]  # the first network is drawn last
    assert front.get_ydata().tolist() == [2, 3, 4]
    assert bars.get_segments()[0][:, 1].tolist() == pytest.approx([2 - 2**0.5, 2 + 2**0.5])
    drawn = [line.get_ydata().tolist() for line in ax.lines if len(line.get_ydata()) == 3]
    assert [7, 7, 7] in drawn
    assert [1, 2, 3] in drawn  # of permuted pairs
    assert [-4.3] * 3 in [line.get_ydata().tolist() for line in panels["discarding"].lines]
    assert [t.get_text() for t in figure.axes[-1].get_xticklabels()] == ["conv2", "conv10", "fc1"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "trained", "untrained", "floor, ceiling", "permuted pairs",
    ]  # fmt: skip


def test_lens_profiles_of_too_much_are_refused(look):
    look = look.assign(floor=np.nan, ceiling=np.nan, permuted=np.nan)
    with pytest.raises(ValueError, match=r"the number of networks must be .* 4, got 5"):
        plotting.lens_profiles(of_networks(look, 5))
    nine = pd.concat([look.assign(quantity=f"q{i}") for i in range(9)])
    with pytest.raises(ValueError, match=r"the number of quantities must be .* 8, got 9"):
        plotting.lens_profiles(nine)
    with pytest.raises(ValueError, match=r"table must have the columns .*, ceiling, permuted, and lacks permuted"):
        plotting.lens_profiles(look.drop(columns="permuted"))


def test_rank_matrix_is_a_triangle_of_means_and_spreads():
    pairs = pd.DataFrame([
        {"seed": seed, "one": one, "two": two, "correlation": value + seed}
        for one, two, value in (("b", "a", 0.5), ("b", "c", -0.5), ("a", "c", 0.0)) for seed in (0, 0.2)
    ])  # fmt: skip
    figure = plotting.rank_matrix({"over layers": pairs, "over networks": pairs[pairs["two"] == "a"]})
    ax = figure.axes[0]
    assert ax.get_title(loc="left") == "over layers"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["b", "a"]  # in the order of the rows, not of the alphabet
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "c"]
    assert [t.get_text() for t in ax.texts] == ["+0.60\n± 0.14", "-0.40\n± 0.14", "+0.10\n± 0.14"]
    assert ax.collections[0].get_clim() == (-1, 1)


def estimated(values):
    rows = [(seed, "KSG", v, 1.0 + seed, 1.0) for v in values for seed in (0, 1)]
    return pd.DataFrame(rows, columns=["seed", "estimator", "n", "bits", "truth"])


def test_estimates_are_evenly_spaced_or_by_their_logarithms_and_the_legend_says_what_the_bars_are():
    for log, places in ((False, [0, 1, 2]), (True, [1, 2, 4])):
        ax = plotting.estimates(estimated([2, 4, 16]), "n", log=log, ax=plt.figure().gca())
        assert ax.containers[0][0].get_xdata().tolist() == places
        assert [text.get_text() for text in ax.get_xticklabels()] == ["2", "4", "16"]
        assert ax.get_legend().get_title().get_text() == "mean ± 1 sd of seeds"


@pytest.mark.parametrize("values", [[0, 2], ["normal", "t"]])
def test_estimates_refuse_a_logarithmic_axis_of_what_has_no_logarithm(values):
    with pytest.raises(ValueError, match="table: n must be positive on a logarithmic axis"):
        plotting.estimates(estimated(values), "n", log=True)


def compared(n=3, layers=5):
    """n networks, each a bit above the one before, of so many layers and one more each."""
    rows = [(f"net {i}", f"l{d}", d / (layers + i - 1), "I(X;T)", "bit", seed, d + i + 2.0 * seed)
            for i in range(n) for d in range(layers + i) for seed in (0, 1)]  # fmt: skip
    columns = ["network", "layer", "relative depth", "quantity", "unit", "seed", "value"]
    return pd.DataFrame(rows, columns=columns)


def test_networks_are_drawn_by_relative_depth_each_with_a_line_of_its_own():
    table = compared(24).assign(ceiling=7.0, untrained=0.5)
    empty = table[:1].assign(quantity="RS share", value=math.nan, unit="1")
    figure = plotting.by_relative_depth(pd.concat([table, empty]))
    (ax,) = figure.axes
    named = {line.get_label(): line for line in ax.lines if line.get_label().startswith("net")}
    assert len(named) == len({(line.get_color(), line.get_linestyle()) for line in named.values()}) == 24
    assert named["net 2"].get_xdata().tolist() == [d / 6 for d in range(7)]
    assert named["net 2"].get_ydata().tolist() == [d + 3.0 for d in range(7)]
    assert [text.get_text() for text in ax.texts] == ["7"]
    assert sum(set(line.get_ydata()) == {0.5} for line in ax.lines) == 24
    assert len(figure.legends[0].get_texts()) == 24


def test_bands_are_intervals_where_there_are_any_and_else_one_standard_deviation():
    def bands(table):
        return [
            band.get_datalim(ax.transData) for ax in plotting.by_relative_depth(table).axes for band in ax.collections
        ]

    (sd,) = bands(compared(1))
    assert (sd.ymin, sd.ymax) == pytest.approx((1 - 2**0.5, 5 + 2**0.5))
    (whole,) = bands(compared(1).assign(low=-3.0, high=9.0))
    assert (whole.ymin, whole.ymax) == (-3, 9)


def test_similarity_has_a_map_for_each_pair_and_at_most_twelve_names_a_side():
    rows = [(one, f"a{i}", two, f"b{j}", i / 30 - j / 100) for one, two in (("x", "y"), ("x", "z"), ("y", "z"))
            for i in range(30) for j in range(4)]  # fmt: skip
    columns = ["network", "layer", "other network", "other layer", "CKA"]
    figure = plotting.similarity(pd.DataFrame(rows, columns=columns))
    maps = [ax for ax in figure.axes if ax.images and ax.get_xlabel()]
    assert [(ax.get_ylabel(), ax.get_xlabel()) for ax in maps] == [("x", "y"), ("x", "z"), ("y", "z")]
    shown = maps[0].images[0].get_array()
    assert (shown.shape, shown[29, 3], maps[0].images[0].origin) == ((30, 4), 29 / 30 - 0.03, "lower")
    assert [text.get_text() for text in maps[0].get_yticklabels()] == [f"a{i}" for i in range(0, 30, 3)]
    assert len(maps[0].get_xticklabels()) == 4


def test_a_training_has_a_column_for_each_network_and_twelve_layers_at_most():
    rows = [(net, step, f"l{d}", q, "bit", 6.0, d + step) for net, depth in (("small", 3), ("deep", 40))
            for step in (0, 1, 100) for d in range(depth) for q in ("I(X;T)", "I(T;Y)")]  # fmt: skip
    columns = ["network", "step", "layer", "quantity", "unit", "ceiling", "value"]
    figure = plotting.over_training(pd.DataFrame(rows, columns=columns))
    grid = np.array(figure.axes).reshape(2, 2)
    assert [ax.get_title("left") for ax in grid[0]] == ["small", "deep"]
    small, deep = ([line for line in ax.lines if line.get_label()[0] == "l"] for ax in grid[1])
    assert [line.get_label() for line in small] == ["l0", "l1", "l2"]
    assert (len(deep), deep[0].get_label(), deep[-1].get_label()) == (12, "l0", "l39")
    assert small[1].get_xydata().tolist() == [[0, 1], [1, 2], [100, 101]]
    assert grid[1, 1].get_legend().get_title().get_text() == "12 of 40 layers"
    assert grid[0, 0].get_xscale() == "symlog"
    assert [text.get_text() for text in grid[0, 0].texts] == ["6"]
    short = pd.DataFrame(rows, columns=columns).query("step < 10").drop(columns="network")
    assert plotting.over_training(short).axes[0].get_xscale() == "linear"


@pytest.mark.parametrize("draw", [plotting.by_relative_depth, plotting.over_training])
def test_tables_without_values_or_columns_are_refused(draw):
    table = compared().assign(step=0)
    with pytest.raises(ValueError, match="the number of values of table must be an integer of at least 1, got 0"):
        draw(table.assign(value=math.nan))
    with pytest.raises(ValueError, match="quantity, unit, value, and lacks quantity, unit"):
        draw(table.drop(columns=["quantity", "unit"]))
