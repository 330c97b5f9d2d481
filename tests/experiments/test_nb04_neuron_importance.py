import math
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
import torch

from infolib import activations, training
from infolib.estimators import binning, discrete
from infolib.measures import neuron_importance
from workbook import claims, datasets, models, records, run
from workbook.experiments import nb04_neuron_importance as study
from workbook.experiments import nb04_statistics as statistics

PLAIN = {"data": "digits", "hidden": [9, 8], "activation": "relu", "lr": 1e-3, "epochs": 2, "n_networks": 2,
         "batch_size": 32}  # fmt: skip
SIZES = {"n_val": 100, "n_test": 120, "points": 3, "n_random": 2}
NETWORKS = [PLAIN | {"activation": "sigmoid"}, PLAIN | {"epochs": 0}, PLAIN]
SEARCH = {"weight_decays": [0.0, 1e-3], "epochs": [2, 3], "n_networks": 2}
PARAMETERS = {"networks": NETWORKS, "protocol": SIZES, "deep_networks": [], "deep_protocol": SIZES, "search": SEARCH,
              "upto": 9, "n_top": 5}  # fmt: skip
PROTOCOL = study.Protocol(**SIZES)
LAYERS = ["hidden1", "hidden2"]


def network(**fields):
    fields = PLAIN | fields
    return study.Network(**{name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()})


@pytest.fixture(scope="module")
def notebook(defined):
    """What the notebook defines."""
    return defined("04_neuron_importance", protocol=PROTOCOL, layers=LAYERS, n_top=5, plain=[])


# Records: what a notebook may ask for


def test_parameters_become_records_and_records_stay():
    networks, protocol, deep, _, search = records.prepared("04_neuron_importance", PARAMETERS)
    assert networks == [network(activation="sigmoid"), network(epochs=0), network()]
    assert search == study.Search((0.0, 1e-3), (2, 3), 2)
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
        ({"networks": [*NETWORKS, without(PLAIN, "lr")]}, r"networks\[3\] lacks the field 'lr'; fields: data, hidden"),
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
            {"networks": [*NETWORKS, PLAIN | {"hidden": [7, 7]}]},
            "networks must be with one plain relu network for each",
        ),
        ({"deep_networks": [PLAIN, PLAIN | {"hidden": [7, 7]}]}, "deep_networks must be at most one, which claims are"),
        (
            {"search": SEARCH | {"epochs": [3, 4]}},
            r"search must be of 0.0 and 2, as version 1's network",
        ),
        (
            {"search": SEARCH | {"weight_decays": [1e-3, 0.0]}},
            "search must be .* and of a last L2 strength that it has not, got Search",
        ),
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
        ({"epochs": 0}, "digits 9-8 relu, untrained"),
    ],
)
def test_names_come_from_the_fields(fields, name):
    assert network(**fields).name == name


def test_claims_are_about_plain_networks_of_each_data_set_and_the_first_of_the_other_kinds():
    first = [network(activation="sigmoid", weight_decay=1e-5), network(epochs=0), network()]
    before = [network(dropout=[0.1, 0.1]), network(activation="tanh"), network(weight_decay=0.1)]
    after = [network(activation="sigmoid"), network(epochs=0, lr=1.0), network(data="mnist")]
    assert study.roles([*before, *first, *after]) == ([first[2], after[2]], first[0], first[1])


def test_settings_are_tried_with_seeds_that_no_network_has():
    tried = study.Search((0.0, 1e-3), (2, 3), 2).tried(network(activation="sigmoid", n_networks=4))
    assert [(n.weight_decay, n.epochs, seed) for n, seed in tried] == [
        (decay, epochs, seed) for decay in (0.0, 1e-3) for epochs in (2, 3) for seed in (4, 5)]  # fmt: skip
    assert {(n.activation, n.n_networks) for n, _ in tried} == {("sigmoid", 1)}


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
        ({"lr": 0.02, "batch_size": 50, "epochs": 1}, {}, 0.0),
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


@pytest.mark.parametrize("fields", [{}, {"activation": "sigmoid", "epochs": 0}])
def test_measure_scores_validation_images_and_ablates_on_test_images(notebook, fields):
    record = network(**fields)
    splits, model = notebook.train(record, 1, PROTOCOL)
    bit = partial(binning.sign, threshold=0.5 if record.activation == "sigmoid" else 0.0)
    found = neuron_importance.analyse(model, splits, LAYERS, quantise=bit, modes=("mean", "zero"), random=2, points=3,
                                      permutations=20, seed=1)  # fmt: skip
    permuted = neuron_importance.scores(model, splits.permuted_labels(seed=1).val, LAYERS, quantise=bit, seed=1)
    result, facts = notebook.measure(record, 1, PROTOCOL), record.facts(1)
    for ours, theirs in zip(result, found, strict=True):
        same = ours.iloc[: len(theirs)].drop(columns=[*facts, "copy"])
        pd.testing.assert_frame_equal(same, theirs)
        assert {name: ours[name].iloc[-1] for name in facts} == facts
        assert ours["copy"].unique().tolist() == ["none"]
    others = result.scores.iloc[len(found.scores) :].set_index(["quantity", "layer"])["value"]
    for quantity in ("class information", "KL selectivity"):
        rows = permuted[(permuted["quantity"] == quantity) & (permuted["layer"] == "hidden2")]
        assert others[f"{quantity}, permuted labels", "hidden2"].tolist() == rows["value"].tolist()
    assert others["random numbers"].nunique() == 17
    again = neuron_importance.comparisons(model, splits.test, LAYERS)
    again = again[again["quantity"] == "ablation loss, mean"]["value"]
    assert others["ablation loss, other images"].tolist() == again.tolist()
    more = result.curves.iloc[len(found.curves) :]
    assert set(more["quantity"]) == set(others.index.levels[0]) - {"ablation loss, other images"}
    assert set(more["mode"]) == {"mean"}


def test_every_setting_of_the_protocol_and_the_threshold_reach_the_measurement(notebook):
    scored, curves = notebook.measure(network(), 0, PROTOCOL)
    nulls = notebook.measure(network(), 0, replace(PROTOCOL, n_permutations=7)).scores["null"]
    assert not nulls.equals(scored["null"])
    only = notebook.measure(network(), 0, replace(PROTOCOL, modes=("mean",))).curves
    pd.testing.assert_frame_equal(only.reset_index(drop=True), curves[curves["mode"] == "mean"].reset_index(drop=True))
    fired = notebook.measure(network(threshold=0.4), 0, PROTOCOL).scores["fraction active"]
    assert (fired.dropna() <= scored["fraction active"].dropna()).all()
    assert fired.sum() < scored["fraction active"].sum()


def test_cases_are_all_seeds_of_all_groups_and_do_not_depend_on_their_number(notebook):
    cases = notebook.cases([network(n_networks=3), network(epochs=0)], PROTOCOL)
    assert [(record.epochs, seed) for record, seed, _ in cases] == [(2, 0), (2, 1), (2, 2), (0, 0), (0, 1)]
    assert all(protocol == PROTOCOL for _, _, protocol in cases)
    assert cases[:2] == notebook.cases([network()], PROTOCOL)
    assert len(notebook.copies([network(n_networks=3)], PROTOCOL)) == 3 * len(study.changes(network()))


# Copies in which the answer is known


def test_copies_of_a_network_compute_the_same_function(notebook):
    for fields in ({}, {"activation": "sigmoid"}):
        record = network(**fields)
        splits, model = notebook.train(record, 0, PROTOCOL)
        scored = neuron_importance.scores(model, splits.val, LAYERS, quantise=record.fires, seed=0)
        before = model(splits.test.x)
        for change in study.changes(record):
            other = study.changed(model, change, splits, scored, 0)
            torch.testing.assert_close(other(splits.test.x), before, atol=1e-5, rtol=1e-5)
        assert torch.equal(model(splits.test.x), before)


def test_idle_units_fire_for_half_of_the_images_and_have_little_class_information(notebook):
    record = network(activation="sigmoid")
    splits, model = notebook.train(record, 0, PROTOCOL)
    idle = study.changed(model, study.Change("idle units", "hidden2", ("entropy",)), splits, pd.DataFrame(), 0)
    table = neuron_importance.scores(idle, splits.val, LAYERS, quantise=record.fires, seed=0)
    rows = table[(table["layer"] == "hidden2") & (table["neuron"] >= 8)]
    assert len(rows) == 3 * 8
    assert rows["fraction active"].between(0.49, 0.51).all()
    assert idle.output.weight[:, 8:].abs().max() == 0
    given = activations.collect(model, splits.val.x, ["hidden1"])["hidden1"]
    random = given @ torch.randn(9, 500, generator=torch.Generator().manual_seed(7))
    usual = discrete.mutual_information((random > random.median(0).values).long(), splits.val.y)
    assert rows[rows["quantity"] == "class information"]["value"].max() < usual.quantile(0.2)


def test_copies_have_as_much_of_a_quantity_as_the_best_unit(notebook):
    record = network()
    splits, model = notebook.train(record, 0, PROTOCOL)
    scored = neuron_importance.scores(model, splits.val, LAYERS, quantise=record.fires, seed=0)
    change = study.Change("copies", "hidden2", ("KL selectivity",))
    table = neuron_importance.scores(study.changed(model, change, splits, scored, 0), splits.val, LAYERS, seed=0)
    values = table[(table["layer"] == "hidden2") & (table["quantity"] == "KL selectivity")]["value"].tolist()
    assert values[8:] == [max(values[:8])] * 8


def test_where_zero_is_decides_what_clamping_to_it_costs(notebook):
    record = network(activation="sigmoid", epochs=40, hidden=[30, 30])
    splits, model = notebook.train(record, 0, PROTOCOL)
    how = {"quantise": record.fires, "seed": 0}
    zero = {kind: study.ablated(model, splits, LAYERS, study.Change(kind, "hidden1", ("entropy",)), PROTOCOL, **how)
            for kind in ("zero near the mean", "zero far off")}  # fmt: skip
    assert {kind: table["mode"].unique().tolist() for kind, table in zero.items()} == {kind: ["zero"] for kind in zero}
    mean = notebook.measure(record, 0, PROTOCOL).curves
    mean = mean[(mean["layers"] == "hidden1") & (mean["mode"] == "mean") & (mean["quantity"] == "random")]
    near, far = (table[table["quantity"] == "random"]["accuracy"].mean() for table in zero.values())
    assert near == pytest.approx(mean["accuracy"].mean(), abs=0.05)
    assert far < near - 0.05


def test_a_copy_is_ablated_where_it_was_changed(notebook):
    for change in study.changes(network()):
        table = notebook.measure_copy(network(), 0, PROTOCOL, change)
        assert set(table["layers"]) == {"hidden1+hidden2" if change.kind == "copies" else change.layer}
        assert set(table["quantity"]) == {*change.quantities, "random"}
        assert set(table["copy"]) == {change.kind}


# What claims take


@pytest.fixture(scope="module")
def numbers(notebook):
    fine = replace(PROTOCOL, points=40)
    curves = [notebook.measure(network(), seed, fine) for seed in (0, 1)]
    copies = [notebook.measure_copy(network(), seed, fine, c) for seed in (0, 1) for c in study.changes(network())]
    scores, curves = (pd.concat(tables, ignore_index=True) for tables in zip(*curves, strict=True))
    return statistics.Statistics(scores, pd.concat([curves, *copies], ignore_index=True), 3), scores, curves


def curve(curves, quantity, direction, layers, seed=0, mode="mean"):
    of = {"quantity": quantity, "direction": direction, "layers": layers, "seed": seed, "mode": mode}
    rows = curves[(curves[list(of)] == pd.Series(of)).all(axis=1)]
    return rows.groupby("k")["accuracy"].mean()


def area(line, upto=None):
    line = line.loc[:upto] if upto else line
    return (line.sum() - line.iloc[0] / 2 - line.iloc[-1] / 2) / (len(line) - 1)


def test_areas_and_what_is_computed_from_them_are_those_of_curves(numbers):
    found, _, curves = numbers
    record, name = network(), "class information"
    ends = {layer: [area(curve(curves, name, way, layer)) for way in ("ascending", "descending")] for layer in LAYERS}
    assert found.gap(record, name)[0] == pytest.approx(min(up - down for up, down in ends.values()))
    both = [area(curve(curves, name, way, "hidden1+hidden2"), 3) for way in ("ascending",)]
    random = area(curve(curves, "random", "random", "hidden1+hidden2"), 3)
    assert found.lead(record, [name], upto=3)[0] == pytest.approx(both[0] - random)
    assert found.lead(record, [name, "entropy"], upto=3)[0] >= found.lead(record, [name], upto=3)[0] - 1e-12
    low, high = (area(curve(curves, "random", "random", layer), 3) for layer in LAYERS)
    assert found.depth(record, 3)[0] == pytest.approx(high - low)
    zero = area(curve(curves, "random", "random", "hidden1", mode="zero"))
    assert found.benefit(record)[0] == pytest.approx(area(curve(curves, "random", "random", "hidden1")) - zero)
    gaps = [[found.auc(record, n, q, "gap", upto=3)[0] for q in ("entropy", name)] for n in LAYERS]
    assert found.excess(record, [name], 3)[0] == pytest.approx(min(b - a for a, b in gaps))


def test_shares_of_a_layer_correlations_and_means_are_those_of_the_tables(numbers):
    found, scores, curves = numbers
    lines = [[curve(curves, "entropy", way, n) for way in ("ascending", "descending")] for n in LAYERS]
    wanted = [lines[0][0][4] - lines[0][1][4], lines[1][0][4] - lines[1][1][4]]  # of 9 and of 8 units
    assert found.at(network(), 1 / 2, "entropy").loc[0].tolist() == pytest.approx(wanted)
    rho = found.ranks[(found.ranks["seed"] == 0)].set_index(["quantity", "layers"])["correlation"]
    both = [rho["entropy", n] - rho["outgoing weights", n] for n in LAYERS]
    assert found.rank(network(), "entropy", "outgoing weights")[0] == pytest.approx(min(both))
    assert found.rank(network(), "entropy")[0] == pytest.approx(min(rho["entropy", n] for n in LAYERS))
    assert found.pooled(network(), "entropy")[0] == rho["entropy", "pooled"]
    mean = scores[scores["seed"] == 0].groupby(["quantity", "layer"])["value"].mean()
    assert found.rise(network(), "entropy")[0] == pytest.approx(mean["entropy", "hidden2"] - mean["entropy", "hidden1"])
    below = mean["entropy", "hidden2"] - mean["random numbers", "hidden1"]
    assert found.rise(network(), "entropy", "random numbers")[0] == pytest.approx(below)


def test_numbers_of_figures_are_points_areas_and_ends(numbers):
    _, table, curves = numbers
    table, curves = (t[t["seed"] == 0] for t in (table, curves))
    found = statistics.figure_numbers(table, curves, 3)
    found = found.set_index(["layers", "mode", "quantity", "direction", "at"])["ours"]
    line = curve(curves, "entropy", "descending", "hidden1")
    assert found["hidden1", "mean", "entropy", "descending", "2"] == line[2]
    line = curve(curves, "random", "random", "hidden1")
    assert found["hidden1", "mean", "random", "random", "2"] == pytest.approx(line[2])
    for quantity, direction in (("KL selectivity", "ascending"), ("random", "random")):
        expected = area(curve(curves, quantity, direction, "hidden1+hidden2"), 3)
        assert found["hidden1+hidden2", "mean", quantity, direction, "area"] == pytest.approx(expected)
    entropy = table[(table["layer"] == "hidden2") & (table["quantity"] == "entropy")]["value"]
    assert found["hidden2", "", "entropy", "", "highest"] == entropy.max()
    assert found["hidden2", "", "entropy", "", "lowest"] == entropy.min()


def test_distance_is_the_mean_over_the_chosen_numbers_of_the_paper():
    theirs = claims.paper_numbers("04_neuron_importance")
    ours = theirs.drop(columns=["figure", "value", "unit"]).assign(ours=theirs["value"] + 0.1, seed=0)
    ours.loc[ours["mode"] == "zero", "ours"] += 0.2
    ours = ours.drop_duplicates(["layers", "mode", "quantity", "direction", "at"])
    chosen = {"figure": "fig1", "layers": "hidden1"}
    assert statistics.distance(theirs, ours, **chosen, mode="mean")[0] == pytest.approx(0.1)
    assert statistics.distance(theirs, ours, **chosen, mode="zero")[0] == pytest.approx(0.3)
    exchanged = {"mode": {"zero": "mean"}}
    assert statistics.distance(theirs, ours, exchanged, **chosen, mode="zero")[0] > 0.1


def test_the_search_has_curves_of_each_layer_and_the_accuracy_on_validation_images(notebook):
    table, (splits, model) = notebook.tried(network(), 0), notebook.train(network(), 0, PROTOCOL)
    assert set(table["layers"]) == set(LAYERS)
    assert set(table["quantity"]) == {"class information", "random"}
    assert set(table["mode"]) == {"mean", "zero"}
    assert table["validation"].unique().tolist() == [training.evaluate(model, splits.val).accuracy]


def test_a_unit_and_its_copy_share_all_they_have(notebook):
    bits = notebook.pairs(network(), 0).set_index(["labels", "pair"])
    copies = bits.loc[(["true", "permuted"], "a unit and its copy"), :]
    assert copies["co_information"].tolist() == pytest.approx(copies["information"].tolist())
    assert bits.loc[("true", "two units"), "information"] > bits.loc[("permuted", "two units"), "information"]
