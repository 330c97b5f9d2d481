import math

import pandas as pd
import pytest
import torch

from infolib import activations, training
from infolib.estimators import renyi
from infolib.measures import information_plane
from workbook import datasets, models
from workbook.experiments import nb03_information_plane as plane_runs


def test_perceptron_is_followed_as_by_hand():
    table = plane_runs.follow("digits 12-8 tanh .05 2", seed=3, input_width=1.5, moments=4)
    splits = datasets.load("digits", n_val=0, seed=3)
    net = models.mlp([64, 12, 8, 10], activation="tanh", batch_norm="after", seed=3)
    widths = {}
    for step in training.fit(net, splits.train, epochs=2, batch_size=100, lr=0.05, optimizer="sgd", seed=3):
        batch, options = splits.train[step.batch], {"input_width": 1.5, "alpha": 1, "dtype": torch.float32}
        point = information_plane.point(
            net, batch.x, batch.y, activations.layers(net), **options, widths=widths, momentum=0.9
        )
        widths = dict(zip(point["layer"], point["width"], strict=True))
    last = table[(table["plane"] == "train") & (table["step"] == step.step)]
    assert step.step == 2 * 14
    assert last["I(X;T)"].to_list() == point["I(X;T)"].to_list()
    assert (table["seed"] == 3).all()
    assert set(table["plane"]) == {"train", "test", "own width", "frozen width", "other images", "30 bins"}
    assert table.loc[table["plane"] == "train", "step"].nunique() == 28
    assert table.loc[table["plane"] == "own width", "step"].unique().tolist() == [1, 2, 5, 12, 28]


def test_random_labels_leave_nothing_to_learn():
    true, random = (
        plane_runs.follow(f"digits 30 relu .09 8{word}", seed=0, input_width=1.5) for word in ("", " random")
    )
    ends = [t[(t["plane"] == "train") & (t["layer"] == "output")]["I(T;Y)"].iloc[-1] for t in (true, random)]
    assert ends[0] > 2.5
    assert ends[1] < ends[0] - 1


def test_vgg16_has_sixteen_layers_on_two_kinds_of_batches_and_a_product():
    table = plane_runs.follow_vgg("digits .03 .02 2 200", seed=0, every=1)
    assert table.groupby("plane")["layer"].nunique().to_dict() == {"train": 16, "test": 16, "product": 13}
    assert table.groupby("plane")["step"].max().to_dict() == {"train": 4, "test": 4, "product": 4}
    assert table["n"].eq(100).all()
    assert table["validation"].isna().all()  # four steps: the fifth point is not reached
    assert (
        plane_runs.follow_vgg("digits .03 .02 3 200", seed=0, every=1)
        .query("step == 5")["validation"]
        .between(0, 1)
        .all()
    )


def test_twelve_bits_through_four_estimators():
    table = plane_runs.follow_bits("made-here 12-6 tanh .01 1", seed=0, moments=2)
    first = table[(table["layer"] == "hidden1") & (table["step"] == 1)].set_index("plane")
    assert first.loc["million bins", ["I(X;T)", "I(T;Y)"]].to_list() == pytest.approx([12, 1])
    assert first["n"].to_dict() == {"30 bins": 4096, "million bins": 4096, "neighbours": 256, "matrix": 512}
    assert table["step"].unique().tolist() == [1, 4, 14]


def frame(**columns):
    return pd.DataFrame({"run": "r", "plane": "train", "seed": 0, "layer": "a", "I(T;Y)": 0.0, "width": 1.0} | columns)


def test_movement_of_a_path():
    path = {"step": [1, 2, 3, 4], "I(X;T)": [1.0, 4.0, 3.0, 0.5], "I(T;Y)": [0.5, 1, 1, 2], "width": [1.0, 2, 4, 5]}
    row = plane_runs.movement(frame(**path)).loc[("r", "train", 0, "a")]
    assert row[["rise", "drop", "span", "first", "last"]].to_list() == [3, 3.5, 3.5, 0.5, 2]
    assert row[["mean", "settling", "drift"]].to_list() == pytest.approx([2.125, 3 / 5, 1 / 5])


def test_movements_by_layer_keep_the_order_of_depth():
    rows = [frame(step=[1, 2], layer=layer, seed=s, **{"I(X;T)": [s, s + 1.0]}) for s in (1, 0) for layer in "ba"]
    table = plane_runs.by_layer(plane_runs.movement(pd.concat(rows)), "mean", "r")
    assert list(table.columns) == ["b", "a"]
    assert table.loc[1].to_list() == [1.5, 1.5]
    with pytest.raises(ValueError, match="there is no plane 'test' of run 'r'"):
        plane_runs.by_layer(plane_runs.movement(pd.concat(rows)), "mean", "r", "test")


def test_moving_average_stays_on_its_path():
    two = pd.concat(
        [frame(step=[1, 2, 3], **{"I(X;T)": [1.0, 2, 6]}), frame(step=[1, 2], layer="b", **{"I(X;T)": [9.0, 5]})]
    )
    assert plane_runs.averaged(two, 2)["I(X;T)"].to_list() == [1, 1.5, 4, 9, 7]
    with pytest.raises(ValueError, match="window must be an integer of at least 1, got 0"):
        plane_runs.averaged(two, 0)


def test_product_of_channels_with_widths_of_their_own():
    y = torch.arange(40) % 4
    maps = torch.randn(40, 3, 2, 2, generator=torch.Generator().manual_seed(0)).double() + y[:, None, None, None]
    maps = torch.cat([maps, torch.zeros(40, 1, 2, 2)], 1)  # a dead one
    (row, dead) = plane_runs.product_kernel(maps, y, {"conv1": maps, "conv2": 0 * maps, "fc1": maps.flatten(1)})
    grams = [renyi.gram(maps[:, c], width=renyi.alignment_width(maps[:, c], y)) for c in range(3)]
    assert row == {
        "layer": "conv1",
        "filters": 3,
        "S(T)": pytest.approx(float(renyi.joint_entropy(grams, alpha=1))),
        "n": 40,
    }
    assert (dead["filters"], dead["S(T)"]) == (0, 0)


def test_shuffled_is_the_information_about_the_image_before():
    x, y = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)).double(), torch.arange(30) % 3
    (row,) = plane_runs.shuffled(x, y, {"t": x}, input_width=1.0, alpha=1)
    (other,) = information_plane.matrix_based(torch.cat([x[-1:], x[:-1]]), y, {"t": x}, input_width=1.0, alpha=1)
    (own,) = information_plane.matrix_based(x, y, {"t": x}, input_width=1.0, alpha=1)
    assert row == other
    assert own["I(X;T)"] > row["I(X;T)"] + 0.05
    assert own["S(X)"] == pytest.approx(row["S(X)"])


def test_labels_of_our_own_task_are_far_from_the_centre():
    data = plane_runs.twelve_bits("made-here")
    assert data.x.shape == (4096, 12)
    assert len(data.x.unique(dim=0)) == 4096
    opposite = (1 - data.x @ (2 ** torch.arange(11, -1, -1.0)) / 4095).mul(4095).round().long()
    assert (data.y == data.y[opposite]).double().mean() > 0.99  # but for ties at the median
    assert plane_runs.enlarged(datasets.Data(torch.rand(2, 1, 8, 8), data.y[:2])).x.shape == (2, 1, 32, 32)
    assert math.isclose(float(data.y.double().mean()), 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: plane_runs.follow("digits relu", seed=0, input_width=1.0),
            "description must be like 'set 100-20 relu",
        ),
        (lambda: plane_runs.follow("digits 9 relu 1 1 x", seed=0, input_width=1.0), "can only be random, got 'x'"),
        (
            lambda: plane_runs.follow("digits 9 relu 1 1", 0, input_width=1.0, moments=0),
            "moments must be an integer of at",
        ),
        (lambda: plane_runs.follow_vgg("digits 1", seed=0, every=1), "description must be like 'set .25"),
        (lambda: plane_runs.follow_bits("ib", seed=0), "description must be like 'ib 10-7"),
        (lambda: plane_runs.twelve_bits("xor"), "unknown task 'xor'; allowed: ib, made-here"),
    ],
)
def test_descriptions_of_another_form_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
