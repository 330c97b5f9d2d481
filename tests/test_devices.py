"""Every public call of the library with its networks and data on a card, and with data beside it: no device is mixed.

The card is pretended (`card.py`), the calls are those of `test_arguments`, and the numbers are those of the processor.
"""

import dataclasses
import warnings
from collections.abc import Mapping
from itertools import islice

import card
import numpy as np
import pandas as pd
import pytest
import torch
from test_arguments import FUNCTIONS, HANDED, NET, STATE, call, calls
from torch import Tensor, nn

from infolib import activations
from infolib.measures import neuron_importance
from workbook import datasets, models, provenance, store
from workbook.experiments import nb03_information_plane as nb03
from workbook.experiments import nb04_neuron_importance as nb04
from workbook.experiments import nb05_information_discarding as nb05

MEASURES = [name for name in FUNCTIONS if name not in HANDED and ".plotting." not in name]
OWN = {"infolib.training.descend", "infolib.training.minimise"}  # their loss is the caller's, who trains on with it


def numbers(result):
    """All that is in a result, as a list of arrays and words."""
    if isinstance(result, Tensor):
        return [result.detach().cpu().double().numpy()]
    if isinstance(result, pd.DataFrame | pd.Series):
        table = pd.DataFrame(result).drop(columns="seconds", errors="ignore")
        words = table.select_dtypes(exclude="number").astype(str)
        return [table.select_dtypes("number").to_numpy(float), *words.to_numpy().flatten()]
    if isinstance(result, nn.Module):
        return numbers(list(result.parameters()))
    if isinstance(result, Mapping):
        return numbers(list(result.values()))
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return numbers([getattr(result, field.name) for field in dataclasses.fields(result)])
    if isinstance(result, list | tuple):
        return [each for part in result for each in numbers(part)]
    return [np.asarray(result, float)] if isinstance(result, int | float) else []


def answer(name, arguments):
    for generator in (value for value in arguments.values() if isinstance(value, torch.Generator)):
        generator.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return numbers(call(name, arguments))


@pytest.mark.parametrize("where", ["all", "networks"])
@pytest.mark.parametrize("name", MEASURES)
def test_a_public_call_finds_the_same_on_a_card(name, where):
    arguments = calls()[name][0]
    NET.load_state_dict(STATE)
    NET.eval()
    with card.plugged_in():
        found = answer(name, {key: card.moved(value, tensors=where == "all") for key, value in arguments.items()})
    for ours, theirs in () if name in OWN else zip(found, answer(name, arguments), strict=True):
        if isinstance(theirs, str):
            assert ours == theirs
        else:
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)


@pytest.fixture
def on_card(monkeypatch):
    """Networks of experiments are on the card."""
    monkeypatch.setenv("INFOLIB_DEVICE", card.DEVICE.type)
    monkeypatch.setattr(store, "cached", lambda function, *arguments, **options: function(*arguments, **options))
    with card.plugged_in():
        yield


@pytest.mark.usefixtures("on_card")
def test_the_networks_of_notebook_03_learn_on_the_card():
    for hidden in ((8,), ()):
        network = nb03.Network(data="digits", hidden=hidden, lr=0.09, epochs=1, held=1)
        model, splits, steps = nb03.train(network, 0)
        before, accuracy = model.output.weight.detach().clone(), {2: -1.0}
        assert len(list(islice(nb03.with_accuracy(steps, model, splits.train, accuracy), 2))) == 2
        assert model.output.weight.device == card.DEVICE
        assert bool((model.output.weight != before).any())
        assert 0 <= accuracy[2] <= 1


@pytest.mark.usefixtures("on_card")
def test_the_networks_of_notebook_04_are_changed_on_the_card():
    splits = datasets.load("digits", n_train=64, n_val=64, n_test=64, seed=0)
    model = models.mlp([64, 6, 6, 10], seed=0).eval()
    scores = neuron_importance.scores(model, splits.val, ["hidden2"], permutations=1, seed=0)
    for kind, layer in (("idle units", "hidden1"), ("copies", "hidden2"), ("zero near the mean", "hidden1"),
                        ("zero far off", "hidden1")):  # fmt: skip
        change = nb04.Change(kind, layer, (neuron_importance.QUANTITIES[0],))
        other = nb04.changed(model, change, splits, scores, 0)
        assert next(other.parameters()).device == card.DEVICE
        for a, b in zip(*(numbers(activations.forward(net, splits.val.x)) for net in (model, other)), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.usefixtures("on_card")
def test_the_networks_of_notebook_05_are_made_and_descend_on_the_card():
    sizes = {"n_train": 40, "n_test": 20, "width": 2, "decoder_width": 2, "epochs": 1, "further_epochs": 1}
    network = nb05.Network(data="digits", clutter=True, grid=4, lr=8e-3, batch_size=20, attack_steps=1, **sizes)
    x = nb05.images(network, 0).test.x[:2]
    for kind in ("student of the network", "pruned, trained on", "damaged", "attacked in training", "autoencoder"):
        model = nb05.train(network, kind, 0)
        assert {t.device for t in model.parameters()} == {card.DEVICE}
        assert activations.forward(model, x).device == card.DEVICE
    assert nb05.descent(model, x, "conv2", grid=4, steps=1).shape == (2, 4, 4)
    assert nb05.uncertainty(network, "conv2", 0, 2, 1)["bits"].notna().all()


def test_results_of_a_card_are_kept_apart_and_those_of_the_processor_as_before(monkeypatch):
    here = store.key(abs, 1)
    monkeypatch.setenv("INFOLIB_DEVICE", "cpu")
    assert store.key(abs, 1) == here
    assert "device" not in here
    monkeypatch.setenv("INFOLIB_DEVICE", card.DEVICE.type)
    with card.plugged_in():
        assert store.key(abs, 1) == here | {"device": "meta"}
        assert provenance.describe()["device"] == "meta"


def test_the_card_keeps_the_rules_of_devices():
    with card.plugged_in():
        there, beside = torch.ones(3).to(card.DEVICE), torch.ones(3)
        wrong = {
            "two devices": lambda: there + beside,
            "an array": there.numpy,
            "an index on the card": lambda: beside[torch.arange(2).to(card.DEVICE)],
            "a generator beside it": lambda: torch.rand(3, device=card.DEVICE, generator=torch.Generator()),
        }
        for step in wrong.values():
            with pytest.raises((RuntimeError, TypeError)):
                step()
        assert (there + 1)[torch.arange(2)].device == card.DEVICE
        assert float((there * beside.sum()).cpu().numpy().sum()) == 9
