import math
from collections import OrderedDict

import pytest
import torch
from torch import nn

from infolib import models, training
from infolib.datasets import Data
from infolib.estimators import renyi
from infolib.measures import information_plane


class Named(nn.Sequential):
    """Layers whose information is known: a copy of the input, its class alone, and nothing."""

    def __init__(self):
        super().__init__()
        self.add_module("copy", nn.Identity())
        self.add_module("sign", Sign())
        self.add_module("output", nn.Flatten())


class Sign(nn.Module):
    def forward(self, x):
        return 60 * torch.stack([x[:, 0] < 0, x[:, 0] >= 0], dim=1).float()  # after softmax: one-hot classes


@pytest.fixture
def batch():
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] >= 0).long()


def test_layer_that_is_the_class_has_the_information_of_the_class(batch):
    x, y = batch
    table = information_plane.point(Named(), x, y, ["copy", "sign", "output"], input_width=0.01).set_index("layer")
    s_y = float(renyi.entropy(renyi.label_gram(y), alpha=1.01))
    assert s_y > 0.9
    for layer in ("sign", "output"):  # the class alone: S(T) = I(T;Y) = S(Y), and I(X;T) the same, X fixes T
        assert table.loc[layer, ["S(T)", "I(T;Y)", "I(X;T)"]].to_list() == pytest.approx([s_y] * 3, abs=1e-3)
    assert table["S(X)"].to_list() == pytest.approx([math.log2(60)] * 3, abs=1e-6)  # so narrow a kernel tells all apart
    assert table["S(Y)"].to_list() == pytest.approx([s_y] * 3)


def test_dead_layer_has_no_information_and_no_width(batch):
    dead = nn.Sequential(OrderedDict(hidden1=nn.Linear(5, 3), output=nn.Linear(3, 2)))
    nn.init.zeros_(dead.hidden1.weight)
    table = information_plane.point(dead, *batch, ["hidden1"], input_width=1.0)
    assert table.loc[0, ["S(T)", "I(X;T)", "I(T;Y)"]].to_list() == pytest.approx([0, 0, 0], abs=1e-9)
    assert table.loc[0, "width"] == math.inf


def test_point_names_the_settings_of_its_numbers(batch):
    table = information_plane.point(Named(), *batch, ["copy"], input_width=2.0, alpha=2)
    row = table.iloc[0]
    assert (row["input_width"], row["alpha"], row["n"]) == (2.0, 2, 60)
    gram_x, gram_t = (renyi.gram(batch[0].double(), width=w) for w in (2.0, row["width"]))
    assert row["I(X;T)"] == pytest.approx(float(renyi.mutual_information(gram_x, gram_t, alpha=2)))
    labels = renyi.label_gram(batch[1])
    assert row["I(T;Y)"] == pytest.approx(float(renyi.mutual_information(gram_t, labels, alpha=2)))


def fit(net, batch, epochs=3):
    return training.fit(net, Data(*batch), epochs=epochs, batch_size=20, lr=0.01, seed=0)


def test_trajectory_measures_at_the_steps_asked_for_and_then_stops(batch):
    net = models.mlp([5, 4, 2], seed=0)
    untrained = information_plane.point(net, *batch, models.layers(net), input_width=1.0)
    steps = fit(net, batch, epochs=100)
    table = information_plane.trajectory(net, steps, *batch, models.layers(net), at=[0, 2, 5], input_width=1.0)
    assert table["step"].to_list() == [0, 0, 2, 2, 5, 5]
    assert table["I(X;T)"][:2].to_list() == untrained["I(X;T)"].to_list()
    again = models.mlp([5, 4, 2], seed=0)
    for step in fit(again, batch, epochs=100):
        if step.step == 5:
            break
    after = information_plane.point(again, *batch, models.layers(again), input_width=1.0)
    assert table["I(X;T)"][4:].to_list() == after["I(X;T)"].to_list()


@pytest.mark.parametrize("at", [[], [3, 1], [1, 1], [-1, 2]])
def test_steps_that_do_not_increase_are_refused(batch, at):
    net = models.mlp([5, 4, 2], seed=0)
    with pytest.raises(ValueError, match="at must increase from 0 or more"):
        information_plane.trajectory(net, fit(net, batch), *batch, ["output"], at=at, input_width=1.0)


def test_training_that_is_over_too_soon_is_named(batch):
    net = models.mlp([5, 4, 2], seed=0)
    with pytest.raises(ValueError, match="at asks for step 10, but training ends at 9"):
        information_plane.trajectory(net, fit(net, batch), *batch, ["output"], at=[0, 10], input_width=1.0)


def test_labels_of_another_length_are_refused(batch):
    with pytest.raises(ValueError, match="y must have 60 entries, one per sample, got 59"):
        information_plane.point(Named(), batch[0], batch[1][1:], ["copy"], input_width=1.0)
