"""Notebook 03: its records, its networks, and what they refuse, against the same by hand."""

import copy

import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from infolib import activations, training
from workbook import datasets, models, records, run
from workbook.experiments import nb03_information_plane as experiment

NAME = "03_information_plane"
PERCEPTRON = {"data": "digits", "hidden": (12, 8), "activation": "tanh", "lr": 0.05, "epochs": 5}
WINDOWS = experiment.Windows(first=(1, 5), early=(6, 40), late=20, held_out=(10, 15, 20))


@pytest.fixture(scope="module")
def parameters():
    return {name: parameter.default for name, parameter in run.parameters(NAME).items()}


def test_warming_moves_running_statistics_and_nothing_else():
    network = experiment.Network(**PERCEPTRON, warm=80)  # more than one training has steps
    model, _, steps = experiment.train(network, 3)
    before = copy.deepcopy(model.state_dict())
    numbers = [next(steps).step for _ in range(80)]
    after = model.state_dict()
    assert numbers == list(range(1, 81))
    weights = {name for name, _ in model.named_parameters()}
    assert max(float((after[name] - before[name]).abs().max()) for name in weights) < 1e-6
    assert float((after["hidden1.norm.running_var"] - 1).abs().max()) > 0.1
    assert next(steps).step == 81
    assert float((model.state_dict()["hidden1.linear.weight"] - before["hidden1.linear.weight"]).abs().max()) > 1e-4


def test_without_warming_it_is_the_training_of_the_networks_own_seed():
    _, splits, steps = experiment.train(experiment.Network(**PERCEPTRON), 3)
    net = models.mlp([64, 12, 8, 10], activation="tanh", batch_norm="after", seed=3)
    ours = [step.loss for step in steps]
    theirs = training.fit(net, splits.train, epochs=5, batch_size=100, lr=0.05, optimizer="sgd", seed=3)
    assert ours == [step.loss for step in theirs]


def test_the_first_images_are_those_of_the_file():
    images = experiment.train(experiment.Network(**PERCEPTRON, first_images=120), 5)[1].train
    assert images.y.tolist() == load_digits().target[:120].tolist()
    assert len(images) == 120
    assert float(images.x.max()) == 1


def test_permuted_labels_are_those_of_the_splits_and_the_images_stay():
    splits = datasets.load("digits", n_val=0, seed=1)
    permuted = experiment.train(experiment.Network(**PERCEPTRON, labels="permuted"), 1)[1]
    assert torch.equal(permuted.train.y, splits.permuted_labels(seed=1).train.y)
    assert torch.equal(permuted.train.x, splits.train.x)


def test_his_weights_are_those_that_his_code_draws_from_seed_4():
    """As NN2DMoons.ipynb does: layers in order with PyTorch's own weights, then Kaiming normal ones and no biases."""
    torch.manual_seed(4)
    layers = [nn.Linear(2, 15), nn.Linear(15, 5), nn.Linear(5, 3), nn.Linear(3, 2)]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    moons = experiment.Moons(epochs=20)
    for seed in (0, 7):
        model = experiment.train_moons(moons, seed, his=True)[0]
        found = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
        assert all(torch.equal(a, b.weight) for a, b in zip(found, layers, strict=True))


def test_the_moons_network_uses_the_batch_itself_when_it_is_measured():
    model, data, _ = experiment.train_moons(experiment.Moons(epochs=20), 0, his=False)
    batch = data.x[:50]
    found = activations.collect(model, batch, ["hidden1"])["hidden1"]
    t = model.hidden1.linear(batch)
    by_hand = ((t - t.mean(0)) / (t.var(0, unbiased=False) + 1e-5).sqrt()).relu()
    torch.testing.assert_close(found, by_hand.detach())


def test_held_arms_are_the_same_network_without_learning():
    network = experiment.Network(**PERCEPTRON, warm=10, held=4)
    trained, held = network.arms
    assert (trained.name, held.name) == ("tanh, warmed", "tanh, warmed, held")
    assert (held.epochs, held.last, held.warm) == (4, 56, 10)
    assert experiment.Network(**PERCEPTRON).arms == [experiment.Network(**PERCEPTRON)]


def test_held_moons_are_the_same_network_without_learning():
    moons = experiment.Moons(epochs=60, held=20)
    assert (moons.still.epochs, moons.still.lr, moons.still.still) == (20, experiment.STILL, moons.still)
    model, _, steps = experiment.train_moons(moons.still, 3, his=False)
    before = copy.deepcopy(model.state_dict())
    assert sum(1 for _ in steps) == 400
    assert max(float((value - before[name]).abs().max()) for name, value in model.state_dict().items()) < 1e-6


def test_checkpoints_cover_the_windows_and_count_warming():
    network = experiment.Network(**PERCEPTRON, warm=10)
    dense, few = experiment.checkpoints(network, WINDOWS), experiment.checkpoints(network, WINDOWS, most=4)
    assert dense == list(range(1, 81))
    assert few == [10, 20, 25, 30, 61, 66, 71, 76, 80]
    every = experiment.Windows(first=(1, 5), early=(6, 24), late=16, held_out=(10, 20), every=4)
    assert experiment.checkpoints(network, every) == [3, 7, *range(11, 80, 4), 80]
    long = experiment.checkpoints(experiment.Network(**PERCEPTRON | {"epochs": 40}), every)
    assert (long[:13], long[-5:]) == ([*range(1, 49, 4), 48], [545, 549, 553, 557, 560])
    cold = experiment.checkpoints(experiment.Network(**PERCEPTRON), WINDOWS, most=4)
    assert cold[0] == 1


def test_windows_and_chance_by_hand():
    rows = {"step": range(1, 7), "I(X;T)": [1.0, 3, 5, 6, 8, 9], "I(X;T) chance": [0.0, 1, 2, 3, 4, 5]}
    table = pd.DataFrame(rows | {"network": "CNN", "plane": "n = 100", "seed": 0, "layer": "fc1"})
    at = table["step"]
    found = experiment.windowed(table, at < 3, at == 3, at > 4).loc["CNN", "n = 100", 0, "fc1"]
    assert found["I(X;T)"].to_dict() == {"first": 2, "early": 5, "between": 6, "late": 8.5}
    assert found["I(X;T) chance", "late"] == 4.5
    both = experiment.with_chance(table, "I(X;T)")
    assert both["mismatched"].to_list() == [0] * 6 + [1] * 6
    assert both["I(X;T)"].to_list() == [*rows["I(X;T)"], *rows["I(X;T) chance"]]


def test_width_changes_by_hand():
    rows = {"step": [1, 5, 10, 1, 5, 10], "last": 10, "seed": 0, "layer": list("aaabbb")}
    table = pd.DataFrame(rows | {"kernel width": [1.0, 3, 4, 2, 2, 2]})
    found = experiment.width_changes(table).loc[0]
    assert found.to_list() == pytest.approx([(2 / 4 + 0) / 2, (1 / 4 + 0) / 2, (1 / 3 + 0) / 2])


@pytest.mark.parametrize(
    ("parameter", "change", "message"),
    [
        ("windows", {"first": [5, 1]}, "the window first must go from a step to one not before it, got \\[5, 1\\]"),
        ("windows", {"early": [5, 40]}, "the window early must begin after step 5, got \\[5, 40\\]"),
        ("windows", {"early": [6, 45]}, "the window early must end before the last 16 of 56 steps, got \\[6, 45\\]"),
        ("windows", {"held_out": [10, 55]}, "windows.held_out, of networks\\[0\\] must be .* from 1 to 40, got 55"),
        ("windows", {"held_out": []}, "windows.held_out must be"),
        ("windows", {"late": 0}, "windows.late must be int from 1"),
        ("windows", {"every": 6}, "every must be a number from 1 to 5, got 6"),
        ("moons", {"held": 5}, "the window early must end before the last 100 of 100 steps, got \\[121, 220\\]"),
        ("moons", {"epochs": 5}, "the window early must end before the last 100 of 100 steps, got \\[121, 220\\]"),
        ("moons", {"batch_size": 3000}, "batch_size must be a number from 2 to 2000, got 3000"),
    ],
)
def test_windows_that_cannot_be_are_refused_by_name(parameters, parameter, change, message):
    values = parameters | {parameter: parameters[parameter] | change}
    with pytest.raises(ValueError, match=f"notebook {NAME}: .*{message}"):
        records.prepared(NAME, values)


@pytest.mark.parametrize(
    ("row", "change", "message"),
    [
        (0, {"batch_size": 2000}, r"networks\[0\]: batch_size must be a number from 10 to 449, got 2000"),
        (4, {"first_images": 50}, r"networks\[4\]: batch_size must be a number from 10 to 50, got 100"),
        (0, {"held": 0}, r"networks\[0\].held must be at least 1"),
        (0, {"epochs": 1}, r"windows for networks\[0\]: the window early must end before the last 16 of 14 steps"),
        (1, {"warm": 0, "epochs": 6}, "networks must hold CNN; ReLU; .* once each, got"),
        (0, {"lr": 0}, r"networks\[0\].lr must be float from 1e-15 to 10, got 0"),
    ],
)
def test_networks_that_cannot_be_are_refused_by_name(parameters, row, change, message):
    values = copy.deepcopy(parameters)
    values["networks"][row] |= change
    with pytest.raises(ValueError, match=f"notebook {NAME}: {message}"):
        records.prepared(NAME, values)


def test_more_held_out_images_than_there_are_are_refused(parameters):
    with pytest.raises(ValueError, match="n_held_out must be a number from 10 to 449, got 450"):
        records.prepared(NAME, parameters | {"n_held_out": 450})


def test_paper_profile_is_another_experiment_of_the_same_form(parameters):
    _, _, networks, bits = records.prepared(NAME, parameters | run.resolve(NAME, "paper", {}))
    assert [n.last for n in networks] == [6000, 6000, 1200, 6000, 500]
    assert [b.data for b in bits] == ["ib", "ib"]
