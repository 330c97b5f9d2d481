import math
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
import torch

from infolib import training
from infolib.estimators import binning
from infolib.measures import neuron_importance
from workbook import datasets, models, records, run, store
from workbook.experiments import nb04_neuron_importance as study

PLAIN = {"data": "digits", "hidden": [9, 8], "activation": "relu", "lr": 1e-3, "epochs": 2, "n_networks": 2,
         "batch_size": 32}  # fmt: skip
SIZES = {"n_val": 100, "n_test": 120, "points": 3, "n_random": 2}
NETWORKS = [PLAIN | {"activation": "sigmoid"}, PLAIN | {"epochs": 0}, PLAIN, PLAIN | {"labels": "permuted"}]
PARAMETERS = {"networks": NETWORKS, "protocol": SIZES, "deep_networks": [], "deep_protocol": SIZES, "upto": 9,
              "n_top": 5}  # fmt: skip
PROTOCOL = study.Protocol(**SIZES)


def network(**fields):
    fields = PLAIN | fields
    return study.Network(**{name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()})


@pytest.fixture(scope="module")
def notebook(defined):
    """What the notebook defines, with areas under the first three steps."""
    return defined("04_neuron_importance", upto=3)


# Records: what a notebook may ask for


def test_parameters_become_records_and_records_stay():
    networks, protocol, deep, _ = records.prepared("04_neuron_importance", PARAMETERS)
    assert networks == [network(activation="sigmoid"), network(epochs=0), network(), network(labels="permuted")]
    assert protocol == PROTOCOL
    assert deep == []
    again = PARAMETERS | {"networks": networks, "protocol": protocol}
    assert records.prepared("04_neuron_importance", again)[0] == networks


def rows(place=2, **fields):
    """The parameters with one network changed."""
    return {"networks": [row | fields if i == place else row for i, row in enumerate(NETWORKS)]}


def sizes(**fields):
    return {"protocol": SIZES | fields}


def without(row, name):
    return {key: value for key, value in row.items() if key != name}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (rows(width=100), r"networks\[2\] has an unknown field 'width'; allowed: data, hidden, activation, lr"),
        ({"networks": [*NETWORKS, without(PLAIN, "lr")]}, r"networks\[4\] lacks the field 'lr'; fields: data, hidden"),
        (
            {"networks": ["digits 9-8 relu none 1e-3 2"]},
            r"networks\[0\] must be a dict, got 'digits",
        ),
        (
            rows(hidden="9-8"),
            r"networks\[2\].hidden must be list\[int from 1 to 10000\] of one layer or more, got '9-8' \(str\)",
        ),
        (rows(data="ib"), r"networks\[2\].data must be one of 'digits', 'mnist', 'fashion-mnist', 'cifar10', got 'ib'"),
        (rows(activation="swish"), r"networks\[2\].activation must be one of 'relu', 'sigmoid', 'tanh', got 'swish'"),
        (rows(labels="shuffled"), r"networks\[2\].labels must be one of 'true', 'permuted', got 'shuffled'"),
        (rows(batch_norm=True), r"networks\[2\].batch_norm must be one of 'none', 'before', 'after', got True"),
        (rows(hidden=[]), r"networks\[2\].hidden must be list\[int from 1 to 10000\] of one layer or more, got \[\]"),
        (
            rows(hidden=[9, 0]),
            r"networks\[2\].hidden must be list\[int from 1 to 10000\] of one layer or more, got \[9, 0\]",
        ),
        (rows(lr=0), r"networks\[2\].lr must be float from 1e-15 to 10, got 0"),
        (rows(lr=math.inf), r"networks\[2\].lr must be float from 1e-15 to 10, got inf"),
        (rows(epochs=-1), r"networks\[2\].epochs must be int from 0 to 1000000, got -1"),
        (rows(n_networks=0), r"networks\[2\].n_networks must be int from 1 to 1000000, got 0"),
        (rows(batch_size=0), r"networks\[2\].batch_size must be int from 1 to 1000000, got 0"),
        (rows(batch_size=1, batch_norm="after"), r"networks\[2\]: batch_size must be an integer of at least 2, got 1"),
        (rows(weight_decay=-1e-4), r"networks\[2\].weight_decay must be float from 0 to 1, got -0.0001"),
        (rows(weight_decay=math.inf), r"networks\[2\].weight_decay must be float from 0 to 1, got inf"),
        (rows(dropout=[0.3]), r"networks\[2\]: dropout must be empty, or a probability for each .* \(0.3,\)"),
        (rows(dropout=[0.3, 1.0]), r"networks\[2\].dropout must be list\[float from 0 to below 1\], got \[0.3, 1.0\]"),
        (rows(threshold=math.nan), r"networks\[2\].threshold must be float or None, got nan"),
        (sizes(repeats=2), "protocol has an unknown field 'repeats'; allowed: n_val, n_test, points, n_random, modes"),
        ({"protocol": without(SIZES, "points")}, "protocol lacks the field 'points'; fields: n_val, n_test"),
        (sizes(points=2.5), r"protocol.points must be int from 1 to 1000000, got 2.5 \(float\)"),
        (sizes(n_val=9), "protocol.n_val must be int from 10 to 1000000, got 9"),
        (sizes(n_test=9), "protocol.n_test must be int from 10 to 1000000, got 9"),
        (sizes(points=0), "protocol.points must be int from 1 to 1000000, got 0"),
        (sizes(n_random=0), "protocol.n_random must be int from 1 to 1000000, got 0"),
        (sizes(n_permutations=0), "protocol.n_permutations must be int from 1 to 1000000, got 0"),
        (sizes(modes=["zero"]), r"protocol.modes must be list.* with 'mean' .*, got \['zero'\]"),
        (sizes(modes=["mean", "median"]), "protocol.modes must be list.*'mean', 'zero'"),
    ],
)
def test_a_record_that_cannot_be_is_refused_by_row_and_field(changes, message):
    with pytest.raises(ValueError, match=f"^notebook 04_neuron_importance: {message}"):
        records.prepared("04_neuron_importance", PARAMETERS | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"networks": [*NETWORKS, PLAIN | {"lr": 0.1}]}, "networks must be of different names, got .'digits 9-8 sigm"),
        (
            {"deep_networks": [PLAIN, PLAIN]},
            r"deep_networks\[1\] must be different from the rows before it, got Network",
        ),
        (
            sizes(n_val=900, n_test=897),
            r"networks\[0\] and protocol: n_train=1 is more than the 0 samples .* digits beside n_val=900",
        ),
        (
            {
                "deep_networks": [PLAIN, PLAIN | {"data": "mnist"}],
                "deep_protocol": SIZES | {"n_test": 1600, "n_val": 200},
            },
            r"deep_networks\[0\] and deep_protocol: n_val=200 is more than the 197 samples available of digits",
        ),
        (
            {"deep_networks": [PLAIN | {"data": "cifar10"}], "deep_protocol": SIZES | {"n_test": 10_001}},
            r"deep_networks\[0\] and deep_protocol: n_test=10001 is more than the 10000 samples available of cifar10",
        ),
        ({"networks": []}, "networks must be a list that holds a trained relu network without regulariser, got "),
        (rows(2, dropout=[0.5, 0.5]), "networks must be a list that holds a trained relu network without regulariser"),
        (
            rows(0, epochs=0),
            "networks must be a list that holds a trained sigmoid network, got .'digits 9-8 sigmoid, u",
        ),
        (rows(1, epochs=1, activation="tanh"), "networks must be a list that holds an untrained network"),
        (rows(3, lr=1e-2), "networks must be a list that holds the first plain relu network with permuted labels"),
        (rows(0, n_networks=3), "networks must be alike in hidden, two layers, and n_networks, at least 2"),
        (rows(0, hidden=[9, 9]), "networks must be alike in hidden, two layers, and n_networks, at least 2"),
        (
            {"networks": [row | {"n_networks": 1} for row in NETWORKS]},
            r"networks must be alike .* got .\(\(9, 8\), 1\)",
        ),
        ({"networks": [row | {"hidden": [9]} for row in NETWORKS]}, r"networks must be alike .* got .\(\(9,\), 2\)"),
        (sizes(modes=["mean"]), r"modes of protocol must be mean and zero, which claims compare, got \('mean',\)"),
        ({"upto": 5}, "upto must be from 6, the first step, to 17, the units of networks, got 5"),
        ({"upto": 18}, "upto must be from 6, the first step, to 17, the units of networks, got 18"),
        ({"n_top": 1}, "n_top must be int from 2 to 1000000, got 1"),
        ({"n_top": 9}, "n_top must be from 2 to 8, the last layer's units, got 9"),
    ],
)
def test_what_claims_cannot_be_judged_by_is_refused(changes, message):
    with pytest.raises(ValueError, match=f"^notebook 04_neuron_importance: {message}"):
        records.prepared("04_neuron_importance", PARAMETERS | changes)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "digits 9-8 relu"),
        ({"weight_decay": 1e-5, "activation": "sigmoid"}, "digits 9-8 sigmoid, weight decay 1e-05"),
        ({"dropout": [0.3, 0.4]}, "digits 9-8 relu, dropout 0.3-0.4"),
        ({"batch_norm": "before"}, "digits 9-8 relu, batch norm before"),
        ({"epochs": 0, "labels": "permuted"}, "digits 9-8 relu, untrained, labels permuted"),
    ],
)
def test_names_come_from_the_fields(fields, name):
    assert network(**fields).name == name


def test_claims_are_about_the_first_network_of_each_kind():
    first = [network(activation="sigmoid", weight_decay=1e-5), network(epochs=0), network(), network(labels="permuted")]
    before = [network(epochs=0, labels="permuted"), network(dropout=[0.1, 0.1]), network(activation="tanh")]
    after = [network(activation="sigmoid"), network(data="mnist"), network(data="mnist", labels="permuted")]
    assert study.roles([*before, *first, *after]) == [first[2], first[0], first[1], first[3]]


# Settings that claims depend on


def test_a_neuron_fires_above_half_for_a_sigmoid_and_above_zero_else_unless_told():
    assert [network(activation=a).threshold for a in ("relu", "tanh", "sigmoid")] == [0, 0, 0.5]
    assert network(activation="sigmoid", threshold=0.3).threshold == 0.3


def test_version_one_compares_areas_under_the_first_78_steps_in_both_profiles():
    assert run.parameters("04_neuron_importance")["upto"].default == 78
    assert "upto" not in run.resolve("04_neuron_importance", "paper", {})


@pytest.mark.parametrize(
    ("fields", "options", "weight_decay"),
    [
        ({}, {}, 0.0),
        ({"activation": "sigmoid", "weight_decay": 1e-2}, {"activation": "sigmoid"}, 1e-2),
        ({"dropout": [0.3, 0.4]}, {"dropout": [0.3, 0.4]}, 0.0),
        ({"activation": "tanh", "batch_norm": "before"}, {"activation": "tanh", "batch_norm": "before"}, 0.0),
        ({"batch_norm": "after"}, {"batch_norm": "after"}, 0.0),
        ({"lr": 0.02, "batch_size": 50, "epochs": 1, "labels": "permuted"}, {}, 0.0),
    ],
)
def test_training_is_that_of_the_fields_on_true_labels(notebook, fields, options, weight_decay):
    record = network(**fields)
    splits, ours = notebook.train(record, 3, PROTOCOL)
    expected = datasets.load("digits", n_val=100, n_test=120, seed=3)
    for part, other in ((splits.train, expected.train), (splits.val, expected.val), (splits.test, expected.test)):
        assert torch.equal(part.x, other.x)
        assert torch.equal(part.y, other.y)
    plain = models.mlp([64, 9, 8, 10], seed=3, **options)
    fit = {"epochs": record.epochs, "batch_size": record.batch_size, "lr": record.lr}
    for _ in training.fit(plain, expected.train, **fit, optimizer="adam", weight_decay=weight_decay, seed=3):
        pass
    assert repr(ours) == repr(plain.eval())
    assert all(map(torch.equal, ours.state_dict().values(), plain.state_dict().values()))
    assert not ours.training


@pytest.mark.parametrize("fields", [{}, {"activation": "sigmoid", "epochs": 0}, {"labels": "permuted"}])
def test_measure_scores_validation_images_and_ablates_on_test_images(notebook, fields):
    record = network(**fields)
    splits, model = notebook.train(record, 1, PROTOCOL)
    val = splits.permuted_labels(seed=1).val if record.labels == "permuted" else splits.val
    bit = partial(binning.sign, threshold=0.5 if record.activation == "sigmoid" else 0.0)
    layers = ["hidden1", "hidden2"]
    scored = [neuron_importance.scores(model, val, layers, quantise=bit, permutations=20, seed=1),
              neuron_importance.comparisons(model, val, layers)]  # fmt: skip
    scored = pd.concat(scored, ignore_index=True)
    ranked = scored[~scored["quantity"].str.startswith("ablation loss")]
    found = neuron_importance.orders(ranked, random=2, seed=1)
    curves = [neuron_importance.ablation_curves(model, splits.test, found, mode=mode, means=val, points=3)
              for mode in ("mean", "zero")]  # fmt: skip
    result = notebook.measure(record, 1, PROTOCOL)
    facts = [name for name in records.columns(record) if name != "n_networks"]
    for ours, theirs in zip(result, (scored, pd.concat(curves, ignore_index=True)), strict=True):
        pd.testing.assert_frame_equal(ours.drop(columns=["network", *facts, "seed"]), theirs)
        assert ours["network"].unique().tolist() == [record.name]
        assert ours["seed"].unique().tolist() == [1]
        assert {name: ours[name].iloc[0] for name in facts} == {
            name: value for name, value in records.columns(record).items() if name in facts
        }


def test_every_setting_of_the_protocol_and_the_threshold_reach_the_measurement(notebook):
    scored, curves = notebook.measure(network(), 0, PROTOCOL)
    nulls = notebook.measure(network(), 0, replace(PROTOCOL, n_permutations=7)).scores["null"]
    assert not nulls.equals(scored["null"])
    only = notebook.measure(network(), 0, replace(PROTOCOL, modes=("mean",))).curves
    pd.testing.assert_frame_equal(only, curves[curves["mode"] == "mean"].reset_index(drop=True))
    fired = notebook.measure(network(threshold=0.4), 0, PROTOCOL).scores["fraction active"]
    assert (fired.dropna() <= scored["fraction active"].dropna()).all()
    assert fired.sum() < scored["fraction active"].sum()


def test_cases_are_all_seeds_of_all_groups_and_do_not_depend_on_their_number(notebook):
    cases = notebook.cases([network(n_networks=3), network(epochs=0)], PROTOCOL)
    assert [(record.epochs, seed) for record, seed, _ in cases] == [(2, 0), (2, 1), (2, 2), (0, 0), (0, 1)]
    assert all(protocol == PROTOCOL for _, _, protocol in cases)
    assert cases[:2] == notebook.cases([network()], PROTOCOL)


def test_permuted_labels_take_information_from_the_same_networks(notebook):
    networks = [network(n_networks=1), network(n_networks=1, labels="permuted")]
    table, curves = store.tabulate(notebook.measure, notebook.cases(networks, PROTOCOL), frames=("scores", "curves"))
    intact = curves[curves["k"] == 0].groupby("labels")["accuracy"].first()
    assert intact["true"] == intact["permuted"]
    information = table[table["quantity"] == "class information"].groupby("labels")["value"].mean()
    assert information["true"] > 1.5 * information["permuted"]


def test_numbers_of_figures_are_points_areas_and_ends(notebook):
    table, curves = notebook.measure(network(), 0, replace(PROTOCOL, points=20))
    found = notebook.figure_numbers(table, curves)
    found = found.set_index(["layers", "mode", "quantity", "direction", "at"])["ours"]

    def curve(quantity, direction, layers="hidden1"):
        rows = curves[(curves["layers"] == layers) & (curves["mode"] == "mean") & (curves["quantity"] == quantity)]
        rows = rows[rows["direction"] == direction]
        return [rows[rows["k"] == k]["accuracy"].mean() for k in range(4)]

    assert found["hidden1", "mean", "entropy", "descending", "2"] == curve("entropy", "descending")[2]
    assert found["hidden1", "mean", "random", "random", "2"] == pytest.approx(curve("random", "random")[2])
    for quantity, direction in (("KL selectivity", "ascending"), ("random", "random")):
        a = curve(quantity, direction, "hidden1+hidden2")
        area = (a[0] / 2 + a[1] + a[2] + a[3] / 2) / 3
        assert found["hidden1+hidden2", "mean", quantity, direction, "area"] == pytest.approx(area)
    entropy = table[(table["layer"] == "hidden2") & (table["quantity"] == "entropy")]["value"]
    assert found["hidden2", "", "entropy", "", "highest"] == entropy.max()
    assert found["hidden2", "", "entropy", "", "lowest"] == entropy.min()
