"""Notebook 03: its records, its networks, and the functions that it measures with, against the same by hand."""

import copy
import math

import pandas as pd
import pytest
import torch
from torch.nn.functional import interpolate

from infolib import activations, training
from infolib.estimators import discrete, renyi
from infolib.measures import information_plane as ip
from workbook import datasets, models, records, run
from workbook.experiments import nb03_information_plane as experiment

NAME = "03_information_plane"
PERCEPTRON = {"data": "digits", "hidden": (12, 8), "activation": "tanh", "lr": 0.05, "epochs": 4}
VGG = {"data": "digits", "width": 0.03, "lr": 0.02, "epochs": 3, "n_train": 200, "every": 1}
BITS = {"data": "made-here", "hidden": (12, 6), "activation": "tanh", "lr": 0.01, "epochs": 1, "moments": 2}


@pytest.fixture(scope="module")
def notebook(defined):
    """What the notebook defines, with an input width of 1.5."""
    return defined(NAME, kept=["path"], input_width=1.5, moved=None)


@pytest.fixture(scope="module")
def parameters():
    return {name: parameter.default for name, parameter in run.parameters(NAME).items()}


def same(table, plane, points, columns=("step", "layer", "I(X;T)", "I(T;Y)", "kernel width")):
    """The rows of one plane are those of the frames {step: point}, to the last digit."""
    ours = table[table["plane"] == plane].reset_index(drop=True)
    by_hand = pd.concat([point.assign(step=step) for step, point in points.items()], ignore_index=True)
    by_hand = by_hand.rename(columns={"width": "kernel width"})
    pd.testing.assert_frame_equal(ours[[*columns]], by_hand[[*columns]], check_exact=True, check_dtype=False)


class Plane:
    """Points {step: frame} of a plane by hand; `searched` says how many widths are tried after so many points."""

    def __init__(self, net, batch, momentum, searched, **options):
        self.net, self.batch, self.momentum, self.searched, self.options = net, batch, momentum, searched, options
        self.points, self.widths = {}, {}

    def measure(self, step):
        batch, layers = self.batch(step), activations.layers(self.net)
        moving = {"widths": self.widths, "momentum": self.momentum, "points": self.searched(len(self.points))}
        options = {"alpha": 1, "dtype": torch.float32, "search": "published"} | self.options | moving
        point = self.points[step.step] = ip.point(self.net, batch.x, batch.y, layers, **options)
        self.widths = dict(zip(point["layer"], point["width"], strict=True))


def test_six_planes_of_a_perceptron_are_those_by_hand(notebook):
    table = notebook.measured(experiment.Network(**PERCEPTRON, moments=4), seed=3)
    splits = datasets.load("digits", n_val=0, seed=3)
    net = models.mlp([64, 12, 8, 10], activation="tanh", batch_norm="after", seed=3)
    drawn = ip.drawn_from(splits.test, 100, seed=3)

    def trained_on(step):
        return splits.train[step.batch]

    always = {"searched": lambda _: 75, "input_width": 1.5}
    planes = {
        "train": Plane(net, trained_on, 0.9, lambda measured: 75 if measured < 40 else 50, input_width=1.5),
        "test": Plane(net, drawn, 0.9, **always),
        "own width": Plane(net, trained_on, 0.0, **always),
        "frozen width": Plane(net, trained_on, 1.0, **always),
        "other images": Plane(net, trained_on, 0.9, estimator=notebook.mismatched, **always),
    }
    bins, moments = {}, (1, 3, 7, 20, 56)
    for step in training.fit(net, splits.train, epochs=4, batch_size=100, lr=0.05, optimizer="sgd", seed=3):
        for name, plane in planes.items():
            if name == "train" or step.step in moments:
                plane.measure(step)
        if step.step in moments:
            batch = trained_on(step)
            bins[step.step] = ip.point(net, batch.x, batch.y, activations.layers(net), estimator=ip.binned, bins=30)
    for name, plane in planes.items():
        same(table, name, plane.points)
    same(table, "bins", bins, ("step", "layer", "I(X;T)", "I(T;Y)"))
    assert set(table["plane"]) == {*planes, "bins"}
    assert (table[["network", "hidden", "seed"]] == ["tanh", "12-8", 3]).all(axis=None)


def test_permuted_labels_are_those_of_the_splits_and_the_images_stay():
    splits = datasets.load("digits", n_val=0, seed=1)
    permuted = experiment.train(experiment.Network(**PERCEPTRON, labels="permuted"), 1)[1]
    true = experiment.train(experiment.Network(**PERCEPTRON), 1)[1]
    assert torch.equal(permuted.train.y, splits.permuted_labels(seed=1).train.y)
    assert torch.equal(true.train.y, splits.train.y)
    assert (permuted.train.y != true.train.y).double().mean() > 0.8
    assert torch.equal(permuted.train.x, true.train.x)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_without_hidden_units_it_is_the_cnn_whose_small_images_keep_their_size(activation):
    net = experiment.train(experiment.Network(**PERCEPTRON | {"hidden": (), "activation": activation}), 2)[0]
    expected = models.cnn(in_shape=(1, 8, 8), padding=1, activation=activation, seed=2)
    assert str(net) == str(expected)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), expected.parameters(), strict=True))


def test_moments_are_dense_at_the_beginning_and_two_unless_asked_for():
    network = experiment.Network(**PERCEPTRON | {"epochs": 2}, moments=4)
    assert experiment.moments(network, 1348) == [1, 2, 5, 12, 28]
    assert experiment.moments(experiment.Network(**PERCEPTRON), 1348) == [1, 56]


def test_planes_of_a_vgg16_are_those_by_hand(notebook):
    table = notebook.measured_vgg(experiment.Vgg(**VGG | {"epochs": 11, "n_train": 40, "batch_size": 20}), 4)
    splits = datasets.load("digits", n_train=40, seed=4)
    train, val, test = (datasets.Data(interpolate(d.x, 32), d.y) for d in (splits.train, splits.val, splits.test))
    net = models.vgg16(width=0.03, in_shape=(1, 32, 32), seed=4)
    drawn, width = ip.drawn_from(test, 20, seed=4), 8 / math.sqrt(2)
    planes = {
        name: Plane(net, batch, 0.9, lambda measured: 300 if measured < 20 else 100, input_width=width)
        for name, batch in {"train": lambda step: train[step.batch], "test": drawn}.items()
    }
    accuracy = {}
    for step in training.fit(net, train, epochs=11, batch_size=20, lr=0.02, optimizer="adam", seed=4):
        for plane in planes.values():
            plane.measure(step)
        if step.step % 5 == 0:
            accuracy[step.step] = training.evaluate(net, val).accuracy
    for name, plane in planes.items():
        same(table, name, plane.points)
    assert table.dropna(subset="validation").groupby("step")["validation"].unique().map(list).to_dict() == {
        step: [value] for step, value in accuracy.items()
    }
    last = drawn(step)
    product = ip.point(net, last.x, last.y, activations.layers(net), estimator=notebook.product_kernel)
    same(table, "product", {22: product}, ("step", "layer", "filters", "S(T)"))
    assert table["plane"].value_counts().to_dict() == {"train": 22 * 16, "test": 22 * 16, "product": 13}


def test_validation_images_of_vgg16_are_apart_from_those_it_trains_on():
    splits = datasets.load("digits", n_train=200, seed=0)
    images = experiment.train_vgg(experiment.Vgg(**VGG, n_val=30), 0)[1]
    assert torch.equal(images.val.x, interpolate(splits.val.x[:30], 32))
    assert torch.equal(images.val.y, splits.val.y[:30])
    assert not (images.val.x[:, None] == images.train.x[None]).flatten(2).all(2).any()
    assert experiment.Vgg(**VGG).n_val == 1000


def test_width_and_seed_of_vgg16_are_its_own():
    net = experiment.train_vgg(experiment.Vgg(**VGG | {"width": 0.125}), 5)[0]
    expected = models.vgg16(width=0.125, in_shape=(1, 32, 32), seed=5)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), expected.parameters(), strict=True))


@pytest.mark.parametrize(("activation", "ends"), [("tanh", {"low": -1, "high": 1}), ("relu", {})])
def test_four_estimators_of_twelve_bits_are_those_by_hand(notebook, activation, ends):
    table = notebook.measured_bits(experiment.Bits(**BITS | {"activation": activation}), 6)
    data = experiment.twelve_bits("made-here")
    data = data[torch.randperm(4096, generator=torch.Generator().manual_seed(6))]
    net = models.mlp([12, 12, 6, 2], activation=activation, seed=6)
    planes = {
        "bins": (4096, {"estimator": ip.binned, "bins": 30} | ends),
        "million bins": (4096, {"estimator": ip.binned, "bins": 10**6} | ends),
        "neighbours": (256, {"estimator": ip.neighbours, "noise": 0.05}),
        "matrix": (512, {"input_width": 0.5, "alpha": 1, "search": "published", "bins": 4096}),
    }
    points = {name: {} for name in planes}
    for step in training.fit(net, data[:3481], epochs=1, batch_size=256, lr=0.01, optimizer="adam", seed=6):
        for name, (n, options) in planes.items():
            if step.step in (1, 4, 14):
                points[name][step.step] = ip.point(net, data.x[:n], data.y[:n], activations.layers(net), **options)
    for name in planes:
        same(table, name, points[name], ("step", "layer", "I(X;T)", "I(T;Y)", "n"))
    first = table[(table["layer"] == "hidden1") & (table["step"] == 1)].set_index("plane")
    if activation == "tanh":
        assert first.loc["million bins", ["I(X;T)", "I(T;Y)"]].to_list() == pytest.approx([12, 1])


def test_labels_of_our_own_task_are_far_from_the_centre():
    data = experiment.twelve_bits("made-here")
    assert data.x.shape == (4096, 12)
    assert len(data.x.unique(dim=0)) == 4096
    to = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)).double()
    squared = sum(((data.x.double() - 0.5) * column).sum(1) ** 2 for column in to.T)
    assert (data.y == (squared > squared.median())).double().mean() > 0.999  # but for equal distances at the median
    assert math.isclose(float(data.y.double().mean()), 0.5)


@pytest.mark.data
def test_original_task_of_twelve_bits_has_all_inputs():
    data = experiment.twelve_bits("ib")
    assert len(data.x.unique(dim=0)) == len(data) == 4096
    assert float(discrete.entropy(data.y)) == pytest.approx(0.999157, abs=1e-6)


def frame(**columns):
    same = {"network": "r", "plane": "train", "seed": 0, "layer": "a", "I(T;Y)": 0.0, "kernel width": 1.0}
    return pd.DataFrame(same | columns)


def test_movement_of_a_path(notebook):
    path = {"I(X;T)": [1.0, 4.0, 3.0, 0.5], "I(T;Y)": [0.5, 1, 1, 2], "kernel width": [1.0, 2, 4, 5]}
    row = notebook.movement(frame(step=[1, 2, 3, 4], **path)).loc[("r", "train", 0, "a")]
    assert row[["rise", "drop", "span", "first", "last"]].to_list() == [3, 3.5, 3.5, 0.5, 2]
    assert row[["mean", "settling", "drift"]].to_list() == pytest.approx([2.125, 3 / 5, 1 / 5])


def test_movements_by_layer_keep_the_order_of_depth(notebook):
    rows = [frame(step=[1, 2], layer=layer, seed=s, **{"I(X;T)": [s, s + 1.0]}) for s in (1, 0) for layer in "ba"]
    rows += [frame(step=[1, 2], network="other", **{"I(X;T)": [9.0, 9.0]})]
    table = notebook.by_layer("mean", "r", table=notebook.movement(pd.concat(rows)))
    assert list(table.columns) == ["b", "a"]
    assert table.loc[1].to_list() == [1.5, 1.5]
    assert table.loc[0].to_list() == [0.5, 0.5]


def test_moving_average_stays_on_its_path(notebook):
    two = [frame(step=[1, 2, 3], **{"I(X;T)": [1.0, 2, 6]}), frame(step=[1, 2], layer="b", **{"I(X;T)": [9.0, 5]})]
    assert notebook.averaged(pd.concat(two), 2)["I(X;T)"].to_list() == [1, 1.5, 4, 9, 7]


def test_product_of_filters_with_widths_of_their_own(notebook):
    y = torch.arange(40) % 4
    maps = torch.randn(40, 3, 2, 2, generator=torch.Generator().manual_seed(0)).double() + y[:, None, None, None]
    maps = torch.cat([maps, torch.zeros(40, 1, 2, 2)], 1)  # a dead one
    (row, dead) = notebook.product_kernel(maps, y, {"conv1": maps, "conv2": 0 * maps, "fc1": maps.flatten(1)})
    grams = [renyi.gram(maps[:, c], width=renyi.published_width(maps[:, c], y).width) for c in range(3)]
    entropy = float(renyi.joint_entropy(grams, alpha=1))
    assert row == {"layer": "conv1", "filters": 3, "S(T)": pytest.approx(entropy), "n": 40}
    assert (dead["filters"], dead["S(T)"]) == (0, 0)


def test_mismatched_is_the_information_about_the_image_before(notebook):
    x, y = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)).double(), torch.arange(30) % 3
    (row,) = notebook.mismatched(x, y, {"t": x}, input_width=1.0, alpha=1)
    (other,) = ip.matrix_based(torch.cat([x[-1:], x[:-1]]), y, {"t": x}, input_width=1.0, alpha=1)
    (own,) = ip.matrix_based(x, y, {"t": x}, input_width=1.0, alpha=1)
    assert row == other
    assert own["I(X;T)"] > row["I(X;T)"] + 0.05
    assert own["S(X)"] == pytest.approx(row["S(X)"])


# Records and what they refuse


def test_names_come_from_the_fields(parameters):
    networks, vgg, bits = records.prepared(NAME, parameters)
    assert [n.name for n in networks] == ["ReLU", "tanh", "CNN", "ReLU, held", "tanh, held", "ReLU, permuted"]
    assert [v.name for v in vgg] == ["VGG-16", "VGG-16, held"]
    assert [b.name for b in bits] == ["tanh", "ReLU"]
    assert experiment.Network(**PERCEPTRON | {"lr": 1e-8}).name == "tanh"


def test_paper_profile_is_another_experiment_of_the_same_form(parameters):
    networks, vgg, bits = records.prepared(NAME, parameters | run.resolve(NAME, "paper", {}))
    assert [(n.data, n.hidden, n.lr, n.epochs, n.moments) for n in networks] == [
        ("mnist", (1024, 20, 20, 20), 0.09, 10, 60), ("mnist", (1024, 20, 20, 20), 0.09, 10, 60),
        ("mnist", (), 0.05, 5, 60),
        ("mnist", (1024, 20, 20, 20), 1e-12, 1, 60), ("mnist", (1024, 20, 20, 20), 1e-12, 1, 1),
        ("mnist", (1024, 20, 20, 20), 0.09, 2, 1),
    ]  # fmt: skip
    assert [(v.data, v.width, v.lr, v.epochs, v.n_train, v.every) for v in vgg] == [
        ("cifar10", 0.25, 0.001, 25, 4000, 10), ("cifar10", 0.25, 1e-12, 10, 4000, 10),
    ]  # fmt: skip
    assert [(b.data, b.hidden, b.activation, b.lr, b.epochs, b.moments) for b in bits] == [
        ("ib", (10, 8, 6, 5, 4), activation, 0.01, 300, 9) for activation in ("tanh", "relu")
    ]


@pytest.mark.parametrize(
    ("parameter", "row", "change", "message"),
    [
        ("networks", 0, {"epoch": 6}, r"networks\[0\] has an unknown field 'epoch'"),
        ("networks", 2, {"hidden": None}, r"networks\[2\].hidden must be list\[int from 1 to 10000\], got None"),
        ("networks", 1, {"data": "ib"}, r"networks\[1\].data must be one of 'digits', 'mnist'"),
        ("networks", 1, {"activation": "gelu"}, r"networks\[1\].activation must be one of 'relu', 'tanh', 'sigmoid'"),
        ("networks", 5, {"labels": "random"}, r"networks\[5\].labels must be one of 'true', 'permuted'"),
        ("networks", 0, {"optimizer": "lion"}, r"networks\[0\].optimizer must be one of 'sgd', 'adam'"),
        ("networks", 0, {"lr": 0}, r"networks\[0\].lr must be float from 1e-15 to 10, got 0"),
        ("networks", 0, {"epochs": 0}, r"networks\[0\].epochs must be int from 1 to 1000000, got 0"),
        (
            "networks",
            3,
            {"width_momentum": 1.5},
            r"networks\[3\].width_momentum must be float from 0.001 to 1, got 1.5",
        ),
        ("networks", 0, {"hidden": [100, 0]}, r"networks\[0\].hidden must be list\[int from 1 to 10000\], got \[100"),
        ("networks", 0, {"hidden": []}, r"networks must hold CNN; ReLU; .* once each, got CNN; CNN; ReLU, held;"),
        ("networks", 3, {"lr": 0.09}, r"networks\[3\] must be different from the rows before it, got Network"),
        ("vgg", 0, {"width": "wide"}, r"vgg\[0\].width must be float from 0.001 to 1, got 'wide'"),
        ("vgg", 0, {"width": 0.0}, r"vgg\[0\].width must be float from 0.001 to 1, got 0.0"),
        ("vgg", 1, {"n_train": 900}, r"vgg\[1\]: n_train=900 is more than the 899 samples available of digits"),
        ("vgg", 0, {"every": 3}, r"vgg\[0\]: every must be at most 2, for a point and one validation, got 3"),
        ("vgg", 1, {"every": 9}, r"vgg\[1\]: every must be at most 8, for a point and one validation, got 9"),
        ("vgg", 1, {"lr": 0.002, "every": 1}, "vgg must hold VGG-16; VGG-16, held once each, got VGG-16; VGG-16$"),
        ("bits", 0, {"data": "xor"}, r"bits\[0\].data must be one of 'ib', 'made-here', got 'xor'"),
        ("bits", 0, {"n_train": 5000}, r"bits\[0\].n_train must be int from 1 to 4096, got 5000"),
        ("bits", 1, {"noise": -0.05}, r"bits\[1\].noise must be float from 1e-06 to 1000000, got -0.05"),
        ("bits", 1, {"activation": "tanh"}, r"bits\[1\] must be different from the rows before it"),
    ],
)
def test_rows_that_cannot_be_are_refused_by_name(parameters, parameter, row, change, message):
    values = copy.deepcopy(parameters)
    values[parameter][row] |= change
    with pytest.raises(ValueError, match=f"notebook {NAME}: {message}"):
        records.prepared(NAME, values)


@pytest.mark.parametrize(
    ("parameter", "field"), [("networks", "hidden"), ("networks", "lr"), ("vgg", "every"), ("bits", "moments")]
)
def test_fields_without_a_default_are_missed(parameters, parameter, field):
    values = copy.deepcopy(parameters)
    del values[parameter][1][field]
    with pytest.raises(ValueError, match=rf"{parameter}\[1\] lacks the field '{field}'"):
        records.prepared(NAME, values)


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        ("networks", [], "networks must hold CNN; .* once each, got $"),
        ("networks", ["digits 100-20-20 relu .09 6"], r"networks\[0\] must be a dict"),
        ("n_seeds", 1, "n_seeds must be a number from 2 to 8, got 1"),
        ("n_seeds", 9, "n_seeds must be a number from 2 to 8, got 9"),
        ("n_vgg", 0, "n_vgg must be int from 1 to 1000000, got 0"),
        ("input_width", 0.0, "input_width must be float from 1e-06 to 1000000, got 0.0"),
        ("patiences", [], r"patiences must be .* in rising order and of 2 or more, all different, got \[\]"),
        ("patiences", [2, 1], r"patiences must be .* in rising order and of 2 or more, all different, got \[2, 1\]"),
        ("patiences", [1, 1], r"patiences must be .* in rising order and of 2 or more, all different, got \[1, 1\]"),
        ("patiences", [0, 1], r"patiences must be .* in rising order and of 2 or more, all different, got \[0, 1\]"),
    ],
)
def test_parameters_that_cannot_be_are_refused_by_name(parameters, parameter, value, message):
    with pytest.raises(ValueError, match=f"notebook {NAME}: {message}"):
        records.prepared(NAME, parameters | {parameter: value})
