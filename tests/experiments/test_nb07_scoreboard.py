import math
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from infolib import activations, training
from infolib.measures import lenses
from workbook import datasets, models, records
from workbook import run as runner
from workbook.experiments import nb07_scoreboard as study
from workbook.experiments.nb07_scoreboard import Network

NAME = "07_scoreboard"
FEW = {"n_train": 64, "n_test": 64}
SIZES = {
    "information": {"n": 32}, "redundancy": {"n": 32, "max_pairs": 4}, "class_information": {"n": 32},
    "discarding": {"n": 2, "steps": 0, "error": 0.1, "boxed": True}, "codelength": {"n": 32},
}  # fmt: skip


# networks


def test_a_record_names_a_network():
    named = {
        "width 6, 8 epochs": Network(6, 8), "width 3, 2 epochs, L2 0.01": Network(3, 2, weight_decay=0.01),
        "width 6, 8 epochs, attacked 0.1": Network(6, 8, eps=0.1), "untrained": Network(6, 0),
        "permuted labels": Network(6, 8, labels="permuted"),
    }  # fmt: skip
    assert {network.name: network for network in named.values()} == named
    assert [network.learnt for network in named.values()] == [True, True, True, False, False]


def test_what_a_network_is_trained_with_unless_its_record_says_so():
    assert records.columns(Network(6, 8)) == {
        "width": 6, "epochs": 8, "weight_decay": 0.0, "eps": 0.0, "labels": "true", "lr": 2e-3, "batch_size": 64,
        "attacked_epochs": 2, "attacked_lr": 1e-3,
    }  # fmt: skip


QUICK = {name: parameter.default for name, parameter in runner.parameters("07_scoreboard").items()}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"networks": [{"width": 6}]}, r"notebook 07_scoreboard: networks\[0\] lacks the field 'epochs'"),
        ({"networks": [{"width": 6, "epochs": 8, "rate": 1}]}, r"networks\[0\] has an unknown field 'rate'"),
        ({"networks": [{"width": 0, "epochs": 8}]}, r"networks\[0\].width must be int from 1 to 10000, got 0"),
        ({"networks": [{"width": 6, "epochs": "8"}]}, r"networks\[0\].epochs must be int from 0 to 1000000, got '8'"),
        ({"networks": [{"width": 6, "epochs": 8, "labels": "shuffled"}]}, "labels.* must be one of 'true', 'permuted'"),
        ({"networks": [{"width": 6, "epochs": 8, "eps": 2}]}, r"networks\[0\].eps must be float from 0 to 1, got 2"),
        ({"networks": QUICK["networks"][:2]}, "networks must be three that differ, an untrained one"),
        ({"networks": QUICK["networks"][::-1]}, r"networks\[0\] must be one that learns, got 'permuted labels'"),
        ({"networks": QUICK["networks"] * 2}, r"networks\[3\] must be different from the rows before it"),
        ({"layers": ["conv1", "conv7", "conv6"]}, "layers must be .*'conv6', .* got .*'conv7'"),
        ({"layers": ["conv1", "conv2", "conv3"]}, "layers must be .* with conv6, where networks are compared"),
        ({"n_units": 600}, "n_units 600: n_train=600 is more than the 597 samples available of digits"),
        ({"n_matrix": 600}, "n_matrix 600: n_train=600 is more than the 597 samples available of digits"),
        ({"n_seeds": 1}, "n_seeds must be int from 2 to 1000000, as an interval takes two, got 1"),
        ({"sources": ["letters"]}, "sources must be .*'digits', .*'letters'"),
    ],
)
def test_parameters_that_cannot_be_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        records.prepared("07_scoreboard", QUICK | changed)


def test_a_split_is_cluttered_and_new_for_each_seed():
    splits = study.split("digits", 1, **FEW)
    inside = datasets.load("digits", n_train=64, n_val=0, n_test=64, seed=1)
    assert torch.equal(splits.test.x[..., 2:10, 2:10], inside.test.x)
    assert splits.name == "cluttered digits"
    other = study.split("digits", 2, **FEW)
    assert not torch.equal(other.test.y, splits.test.y)


def test_networks_are_as_their_record_says(defined):
    train = defined(NAME).train
    splits = study.split("digits", 0, **FEW)
    untrained, plain, decayed, attacked, permuted = (
        train(Network(3, epochs, **how), 0, splits)
        for epochs, how in (
            (0, {}),
            (2, {}),
            (2, {"weight_decay": 1.0}),
            (2, {"eps": 0.1}),
            (2, {"labels": "permuted"}),
        )
    )
    start = models.vgg6(width=3, in_shape=(1, 12, 12), seed=0)
    assert torch.equal(untrained.conv6.conv.weight, start.conv6.conv.weight)
    by_hand = models.vgg6(width=3, in_shape=(1, 12, 12), seed=0)
    for _ in training.fit(by_hand, splits.train, epochs=2, batch_size=64, lr=2e-3, seed=0):
        pass
    assert torch.equal(plain.conv6.conv.weight, by_hand.conv6.conv.weight)
    weights = [net.output.weight for net in (plain, decayed, attacked, permuted)]
    assert all(not torch.equal(weights[0], other) for other in weights[1:])
    norms = [float(net.fc1.linear.weight.detach().norm()) for net in (decayed, plain)]
    assert norms[0] < 0.995 * norms[1]
    assert not any(net.training for net in (untrained, plain, decayed, attacked, permuted))


MATRIX = {"n": 32, "ratio": 0.55, "alpha": 2.0, "permutations": 5}
TWO = ["conv2", "conv6"]


@pytest.fixture(scope="module")
def net():
    return models.vgg6(width=3, in_shape=(1, 12, 12), seed=0).eval()


@pytest.fixture(scope="module")
def images():
    return study.split("digits", 0, **FEW).test


def test_information_has_its_bounds_and_what_permuted_pairs_have(net, images):
    rows = study.looked(net, images, TWO, seed=0, information=MATRIX).set_index(["layer", "quantity"])
    batch = lenses.balanced(images, 32)
    t = activations.collect(net, batch.x.double(), ["conv6"])["conv6"].double().flatten(1)
    x = batch.x.double().flatten(1)
    grams = [torch.exp(-(d := torch.cdist(v, v).square()) / (2 * 0.55**2 * d.sum() / (32 * 31))) / 32 for v in (x, t)]
    s_x, s_t, joint = (float(-g.square().sum().log2()) for g in (*grams, 32 * grams[0] * grams[1]))
    orders = [torch.randperm(32, generator=torch.Generator().manual_seed(i)) for i in range(300)]
    mixed = np.mean([float((32 * grams[0] * grams[1][o][:, o]).square().sum()) for o in orders])
    row = rows.loc["conv6", "I(X;T)"]
    assert row["value"] == pytest.approx(s_x + s_t - joint, abs=1e-4)
    assert row["ceiling"] == pytest.approx(s_x, abs=1e-4)
    assert row["permuted"] == pytest.approx(s_x + s_t + math.log2(mixed), abs=0.01)
    assert rows.loc["conv2", "I(T;Y)"]["ceiling"] == pytest.approx(math.log2(10), abs=0.1)
    assert rows["depth"].tolist() == [1, 1, 2, 2]
    few = study.looked(net, images, TWO, seed=0, information=MATRIX | {"alpha": 1.01})
    assert few["permuted"].notna().all()
    assert (few["value"].sum() / rows["value"].sum()) > 1.5  # near its ceiling


def test_a_table_has_all_lenses_with_the_edges_of_each(net, images):
    sizes = SIZES | {"information": MATRIX}
    table = study.looked(net, images, TWO, seed=1, **sizes)
    assert list(dict.fromkeys(table["lens"])) == [*lenses.LENSES]
    by_hand = lenses.redundancy(net, images, TWO, seed=1, **SIZES["redundancy"])
    assert table[table["lens"] == "redundancy"]["value"].tolist() == pytest.approx(by_hand["value"].tolist())
    edges = table.groupby("quantity")[["floor", "ceiling", "permuted"]].first()
    assert edges.loc["discarding", "floor"] == pytest.approx(-4.3043, abs=1e-3)
    assert edges.loc["codelength", "ceiling"] == pytest.approx(math.log2(10))
    assert edges.loc[["discarding", "codelength"]].isna().sum().sum() == 4
    assert edges.loc[["I(X;T)", "I(T;Y)"], ["ceiling", "permuted"]].notna().all(axis=None)
    assert set(lenses.QUANTITIES) <= set(table["quantity"])
    beside = ["value", "low", "high", "untrained", "permuted", "beyond chance", "floor", "ceiling"]
    assert table.drop(columns=beside).notna().all(axis=None)


def test_what_permuted_pairs_have_is_subtracted_where_it_is_known():
    table = pd.DataFrame({"value": [3.0, 2.0], "permuted": [1.0, math.nan]})
    assert study.beyond(table)["value"].tolist() == [2.0, 2.0]


def test_a_number_near_any_of_its_edges_is_at_an_edge():
    rows = [(3.3, 0, 3.32, 1), (0.04, 0, 3.32, 1), (1.04, 0, 3.32, 1), (1.06, 0, 3.32, 1), (1, *[math.nan] * 3)]
    table = pd.DataFrame(rows, columns=["value", "floor", "ceiling", "permuted"])
    assert study.at_edge(table).tolist() == [True, True, True, False, False]


def test_a_table_of_the_notebook_has_both_sets_of_images_and_the_networks_accuracy(defined):
    sizes = SIZES | {"information": MATRIX}
    notebook = defined(NAME, layers=TWO, sizes=sizes, size=FEW, n_matrix=32, matrix=MATRIX)
    table, splits = notebook.look("digits", Network(3, 1), 1), study.split("digits", 1, **FEW)
    net = notebook.train(Network(3, 1), 1, splits)
    expected = study.looked(net, splits.test, TWO, seed=1, **sizes)
    pd.testing.assert_frame_equal(table[table["images"] == "first"][expected.columns], expected, check_dtype=False)
    again = study.looked(net, lenses.balanced(splits.test, 64)[32:], TWO, seed=1, information=MATRIX)
    assert table[table["images"] == "others"]["value"].tolist() == again["value"].tolist()
    assert table[list(records.columns(Network(3, 1)))].iloc[0].to_dict() == records.columns(Network(3, 1))
    assert table["accuracy"].unique().tolist() == [training.evaluate(net, splits.test).accuracy]
    assert set(table["network"] + table["source"]) == {"width 3, 1 epochsdigits"}


# agreement


def rows(values, seed=0, network="a", layers=None):
    """A table of `lens_table` from lists of values by quantity."""
    lens = {"I(X;T)": "information", "I(T;Y)": "information", "RS share": "redundancy", "codelength": "codelength"}
    return pd.DataFrame(
        {"source": "digits", "seed": seed, "network": network, "layer": layers[i] if layers else f"l{i}",
         "quantity": quantity, "lens": lens[quantity], "value": value}
        for quantity, column in values.items() for i, value in enumerate(column)
    )  # fmt: skip


LAYERS = {"I(X;T)": [4.0, 3.0, 1.0, 2.0], "I(T;Y)": [1.0, 2.0, 3.0, 4.0], "codelength": [3.0, 3.0, 2.0, 1.0]}


def test_over_layers_ranks_are_compared_within_each_network_and_depth_is_one_of_them():
    pairs = lenses.agreement(pd.concat([rows(LAYERS), rows(LAYERS, network="b", seed=1)]), over="layer")
    assert pairs.columns.tolist() == ["source", "seed", "network", "one", "two", "lenses", "correlation"]
    assert lenses.pair(pairs, "I(X;T)", "I(T;Y)").to_dict() == {
        ("digits", 0, "a"): pytest.approx(-0.8), ("digits", 1, "b"): pytest.approx(-0.8)
    }  # fmt: skip
    expected = spearmanr(LAYERS["I(X;T)"], LAYERS["codelength"]).statistic
    assert lenses.pair(pairs, "I(X;T)", "codelength")["digits", 0, "a"] == pytest.approx(expected)
    assert lenses.pair(pairs, "I(T;Y)", "depth")["digits", 0, "a"] == pytest.approx(1)
    assert len(pairs) == 12


def test_only_pairs_of_two_lenses_count_in_the_mean_and_without_their_sign():
    pairs = lenses.agreement(rows(LAYERS), over="layer")
    other = [spearmanr(LAYERS[of], LAYERS["codelength"]).statistic for of in ("I(X;T)", "I(T;Y)")]
    assert lenses.between_lenses(pairs).tolist() == pytest.approx([np.mean(np.abs(other))])
    assert other[0] * other[1] < 0
    assert pairs[pairs["lenses"]]["one"].tolist() == ["I(X;T)", "I(T;Y)"]


def test_over_networks_ranks_are_compared_at_one_layer_for_each_seed():
    values = {"I(X;T)": [1, 2, 3, 4], "codelength": [1, 3, 2, 4]}
    tables = [
        rows({q: [v[i] + seed] for q, v in values.items()}, seed=seed, network=name, layers=["conv6"])
        for seed in (0, 1) for i, name in enumerate("wxyz")
    ]  # fmt: skip
    table = pd.concat(tables)
    pairs = lenses.agreement(table, over="network")
    assert lenses.pair(pairs, "I(X;T)", "codelength").tolist() == pytest.approx([0.8, 0.8])
    assert set(pairs["network"]) == {""}
    rolled = lenses.agreement(table, over="network", other=lambda v: np.roll(v, 1))
    expected = spearmanr([1, 2, 3, 4], [4, 1, 3, 2]).statistic
    assert lenses.pair(rolled, "I(X;T)", "codelength").tolist() == pytest.approx([expected] * 2)
    with pytest.raises(ValueError, match="table must be of one layer to compare networks, got l0, l1, l2, l3"):
        lenses.agreement(rows(LAYERS), over="network")


def test_values_that_are_missing_are_left_out_and_too_few_are_refused():
    values = LAYERS | {"RS share": [1.0, 3.0, 2.0, math.nan]}
    pairs = lenses.agreement(rows(values), over="layer")
    assert lenses.pair(pairs, "I(X;T)", "RS share").tolist() == pytest.approx([-0.5])
    with pytest.raises(ValueError, match=r"I\(X;T\) and RS share of .* have 2 values in common, but a correlation"):
        lenses.agreement(rows(LAYERS | {"RS share": [1.0, 3.0, math.nan, math.nan]}), over="layer")


def test_what_is_the_same_everywhere_agrees_with_nothing_and_rounding_makes_no_order():
    same = [0.1 + 0.2, 0.3, 0.3, 0.1 + 0.2]  # equal but for the last bit
    pairs = lenses.agreement(rows(LAYERS | {"RS share": same}), over="layer")
    assert lenses.pair(pairs, "I(X;T)", "RS share").tolist() == [0.0]


def test_a_pair_that_is_not_there_is_refused():
    pairs = lenses.agreement(rows(LAYERS), over="layer")
    with pytest.raises(
        ValueError, match=r"there is no pair 'codelength', 'I\(T;Y\)' \(one, two\); quantities come in the order I"
    ):
        lenses.pair(pairs, "codelength", "I(T;Y)")
    with pytest.raises(ValueError, match="unknown over 'seed'; allowed: layer, network"):
        lenses.agreement(rows(LAYERS), over="seed")


def test_by_chance_is_the_mean_over_all_orders():
    """Of 4 layers, over the 24 orders of one of two quantities: the mean of |rho| by hand."""
    pairs = (("I(X;T)", "codelength"), ("I(T;Y)", "codelength"))
    orders = [list(order) for order in permutations(range(4))]
    every = [abs(spearmanr(LAYERS[a], np.array(LAYERS[b])[o]).statistic) for a, b in pairs for o in orders]
    table = pd.concat([rows(LAYERS), rows(LAYERS, seed=1, network="b")])
    found = study.by_chance(table, over="layer", draws=4000, seed=0)
    assert found.index.tolist() == [("digits", 0, "a"), ("digits", 1, "b")]
    assert found.index.names == lenses.between_lenses(lenses.agreement(table, over="layer")).index.names
    assert found.shape == (2, 4000)
    assert found.mean(axis=1).tolist() == pytest.approx([np.mean(every)] * 2, abs=0.02)
    first = {quantity: values[:1] for quantity, values in LAYERS.items()}
    networks = pd.concat(rows(first, network=name, layers=["conv6"]) for name in "wxyz")
    over = study.by_chance(networks, over="network", draws=5, seed=0)
    assert over.index.tolist() == [("digits", 0, "")]
    assert (over == 0).all(axis=None)  # the same everywhere: there is nothing to agree


def test_by_chance_leaves_out_what_is_missing():
    short = LAYERS | {"RS share": [1.0, 2.0, 3.0, math.nan]}
    found = study.by_chance(rows(short), over="layer", draws=50, seed=0)
    assert np.isfinite(found).all(axis=None)
    assert not found.equals(study.by_chance(rows(short), over="layer", draws=50, seed=1))
