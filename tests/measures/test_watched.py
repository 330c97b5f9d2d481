"""Checkpoints of a training, and a training that is watched."""

import copy
import math
import sys
import types

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from infolib.data import Data
from infolib.measures import lenses
from infolib.networks import Network

LAYERS = ["1", "3"]
FEW = {"information": {"n": 20}}
CHEAP = {"lenses": ["class_information"], "class_information": {"n": 20}, "beside": ()}


@pytest.fixture
def data():
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    return Data(torch.rand(3, 1, 4, 4, generator=draw)[y] + 0.2 * torch.rand(60, 1, 4, 4, generator=draw), y)


def network(seed=0):
    """Dropout and a batch norm: both would notice a pass in training mode, and dropout a draw."""
    torch.manual_seed(seed)
    parts = (
        nn.Flatten(),
        nn.Linear(16, 8),
        nn.Sequential(nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(8, 3),
    )
    return nn.Sequential(*parts)


def trained(data, watch=None, steps=5, model=None, given=True):
    """Twelve samples at a time by one generator for the batches and dropout; gradients are there when it is watched."""
    net = model or network()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
    torch.manual_seed(1)
    for step in range(steps):
        batch = data[torch.randperm(len(data))[:12]]
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(batch.x), batch.y).backward()
        if watch:
            watch(net, *([step] if given else []))
        optimiser.step()
    return net


def values(table):
    return table.set_index(["step", "layer", "quantity"])["value"].to_dict()


# series


def test_checkpoints_are_measured_as_their_networks_are(data):
    nets = {step: network(step) for step in (0, 30)}
    host = network(9)
    before = copy.deepcopy(host.state_dict())
    states = {step: net.state_dict() for step, net in nets.items()}
    expected = {}
    for step, net in nets.items():
        table = lenses.class_information(copy.deepcopy(net).eval(), data, LAYERS, n=20)
        expected |= {(step, row.layer, row.quantity): row.value for row in table.itertuples()}
    called = []
    lazy = ((step, lambda step=step: called.append(step) or states[step]) for step in states)
    for given in (states, nets, list(states.items()), lazy, {np.int64(step): net for step, net in nets.items()}):
        assert values(lenses.series(given, data, LAYERS, model=host, **CHEAP)) == expected
        assert all(torch.equal(t, before[name]) for name, t in host.state_dict().items())
    assert called == [0, 30]
    assert host.training
    assert all(net.training for net in nets.values())


def test_a_checkpoint_is_made_when_it_is_its_turn(data, monkeypatch):
    order, lens = [], lenses.class_information
    counted = {"class_information": lambda *args, **options: order.append("measured") or lens(*args, **options)}
    monkeypatch.setitem(lenses.LENSES, *counted.popitem())
    steps = [(step, lambda step=step: order.append(step) or network(step)) for step in (1, 2)]
    assert lenses.series(steps, data, LAYERS, **CHEAP)["step"].unique().tolist() == [1, 2]
    assert order == [1, "measured", 2, "measured"]


def test_a_wrapped_model_takes_the_state_dicts_of_its_model(data):
    net = network()
    wrapped = Network(net, forward=lambda model, x: model(x))
    assert values(lenses.series({0: net.state_dict()}, data, LAYERS, model=wrapped, **CHEAP)) == values(
        lenses.series({0: net}, data, LAYERS, **CHEAP)
    )


@pytest.mark.parametrize(
    ("checkpoints", "message"),
    [
        ({}, "the number of checkpoints must be an integer of at least 1, got 0"),
        (3, "checkpoints must be a mapping or pairs of step and weights"),
        ([1, 2], "checkpoints must be a mapping or pairs of step and weights, got int"),
        ([(0, network()), (0, network())], "checkpoints must have each step once, got 0 again"),
        ({"first": network()}, "steps of checkpoints must be a finite number, got 'first'"),
        ({math.nan: network()}, "steps of checkpoints must be a finite number, got nan"),
        ({0: "weights.pt"}, r"checkpoints\[0\] must be a network, a state dict, or a function that gives one, got str"),
        ({0: network().state_dict()}, r"model must be given: checkpoints\[0\] is a state dict"),
    ],
)
def test_what_is_no_checkpoint_is_refused(data, checkpoints, message):
    with pytest.raises(ValueError, match=message):
        lenses.series(checkpoints, data, LAYERS, **CHEAP)


def test_weights_that_do_not_fit_are_refused_and_the_model_s_own_stay(data):
    net = network()
    before = copy.deepcopy(net.state_dict())
    other = {name: t + 1 for name, t in before.items()} | {"3.bias": torch.zeros(7)}
    with pytest.raises(ValueError, match=r"checkpoints\[5\] does not fit model: .*3\.bias"):
        lenses.series({5: other}, data, LAYERS, model=net, **CHEAP)
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())


@pytest.mark.parametrize("option", ["network", "done", "on_row"])
def test_options_of_a_single_network_are_refused(data, option):
    message = f"{option} is an option of look for one network"
    with pytest.raises(ValueError, match=message):
        lenses.series({0: network()}, data, LAYERS, **{option: "mine"})
    with pytest.raises(ValueError, match=message):
        lenses.Watch(data, LAYERS, **{option: "mine"})
    with pytest.raises(ValueError, match=message):
        lenses.compare({"one": network(), "two": network()}, data, LAYERS, n=20, **{option: "mine"})


# Watch


@pytest.mark.parametrize("options", [FEW, CHEAP, {"lenses": ["discarding"], "discarding": {"n": 1}}])
def test_weights_are_bit_for_bit_those_of_a_training_without_it(data, options):
    data = Data(data.x.clamp(0, 1), data.y)
    watch = lenses.Watch(data, LAYERS, every=2, **options)
    watched, alone = trained(data, watch).state_dict(), trained(data).state_dict()
    assert all(torch.equal(t, alone[name]) for name, t in watched.items())
    assert watch.table["step"].unique().tolist() == [0, 2, 4]


def test_chance_in_what_is_measured_is_not_that_of_the_training(data):
    def noisy(model, samples, layers):
        model.train()
        return pd.DataFrame(
            {"value": [float(torch.rand(()) + model(samples.x).detach().sum() * 0)], "layers": ["+".join(layers)]}
        )

    watch = lenses.Watch(data, LAYERS, every=1, measure=noisy)
    net = network()
    net[2][0].momentum = 0.0  # what a measure of the user's own does to buffers is its own affair
    other = copy.deepcopy(net)
    watched, alone = trained(data, watch, model=net).state_dict(), trained(data, model=other).state_dict()
    assert all(torch.equal(t, alone[name]) for name, t in watched.items() if "num_batches" not in name)
    assert watch.table["layers"].tolist() == ["1+3"] * 5


def test_it_measures_the_network_of_that_step_in_eval_mode_and_leaves_each_module_s_own(data):
    nets, watch = [], lenses.Watch(data, LAYERS, every=3, **CHEAP)

    def keep(model, step):
        nets.append(copy.deepcopy(model))
        watch(model, step)

    net = trained(data, keep, steps=7)
    assert net.training
    assert values(watch.table) == values(lenses.series({i: nets[i] for i in (0, 3, 6)}, data, LAYERS, **CHEAP))
    net[2].eval()
    watch(net, 100)
    assert [module.training for module in net] == [True, True, False, True]


def test_calls_are_counted_where_no_step_is_given(data):
    counted, given = (lenses.Watch(data, LAYERS, every=3, **CHEAP) for _ in range(2))
    trained(data, counted, steps=7, given=False)
    trained(data, given, steps=7)
    pd.testing.assert_frame_equal(counted.table, given.table)
    assert counted.table["step"].unique().tolist() == [0, 3, 6]


def test_steps_may_begin_anywhere_and_leap_but_not_fall(data):
    watch, net = lenses.Watch(data, LAYERS, every=100, **CHEAP), network()
    assert watch.table.empty
    for step in (37, 40, 136, 137, 137, 1000):
        watch(net, step)
    assert watch.table["step"].unique().tolist() == [37, 137, 1000]
    with pytest.raises(ValueError, match="step must be an integer of at least 1000, got 0"):
        watch(net, 0)


def test_by_default_it_is_the_first_lens_at_layers_chosen_once(data, capsys):
    watch, net = lenses.Watch(data, every=1, **FEW), network()
    watch(net)
    watch(net)
    assert capsys.readouterr().out == "layers: 1, 2.0, 3\n"
    assert set(watch.table["quantity"]) >= {"I(X;T)", "I(T;Y)"}
    assert set(watch.table["lens"]) == {"information"}
    alone = lenses.information(copy.deepcopy(net).eval(), data, ["1", "2.0", "3"], n=20)
    assert watch.table["value"].tolist() == pytest.approx(2 * alone["value"].tolist(), abs=1e-12)


def test_what_is_trained_is_wrapped_before_it_is_measured(data):
    class Trained(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            return {"logits": self.net(x)}

    watch = lenses.Watch(data, ["net.1"], wrap=lambda model: Network(model, take={"": "logits"}), **CHEAP)
    watch(Trained())
    assert watch.table["layer"].unique().tolist() == ["net.1"]
    with pytest.raises(ValueError, match=r"wrap\(model\) must be a torch\.nn\.Module"):
        lenses.Watch(data, ["net.1"], wrap=lambda _: None)(Trained())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": 3}, r"data must be infolib\.Data"),
        ({"every": 0}, "every must be an integer of at least 1, got 0"),
        ({"measure": 3}, "measure must be a function of model, data and layers"),
        ({"wrap": 3}, "wrap must be a function of the model"),
        ({"measure": print, "seed": 0}, "options of look must be left out with measure, got seed"),
        ({"lenses": ["nonsense"]}, "unknown lenses 'nonsense'"),
        ({"information": {"m": 3}}, "unknown option 'm' of information"),
        ({"repeats": 0}, "repeats must be an integer of at least 1, got 0"),
    ],
)
def test_arguments_of_another_kind_are_refused(data, given, message):
    with pytest.raises(ValueError, match=message):
        lenses.Watch(**{"data": data} | given)


def test_calls_with_what_cannot_be_measured_are_refused(data):
    with pytest.raises(ValueError, match=r"model must be a torch\.nn\.Module"):
        lenses.Watch(data, LAYERS)("net")
    with pytest.raises(ValueError, match="the result of measure must be a table"):
        lenses.Watch(data, LAYERS, measure=lambda *_: None)(network())


# Trainers. Stand-ins call a callback as theirs do; `make test-networks` tries the real ones.


class Callback:
    """As Lightning's: every hook is looked up, and `state_key` too."""

    state_key = "key"

    def setup(self, trainer, pl_module, stage):
        pass

    def on_train_start(self, trainer, pl_module):
        pass

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        pass

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        pass

    def on_train_end(self, trainer, pl_module):
        pass


def fit(callback, model, steps, *, accumulate=1, zero=True):
    trainer = types.SimpleNamespace(global_step=0, is_global_zero=zero)

    def call(hook, *arguments):
        assert callback.state_key
        getattr(callback, hook)(trainer, model, *arguments)

    call("setup", "fit")
    call("on_train_start")
    for index in range(steps * accumulate):
        call("on_train_batch_start", "batch", index)
        trainer.global_step = (index + 1) // accumulate
        call("on_train_batch_end", {"loss": 0.0}, "batch", index)
    call("on_train_end")


class TrainerCallback:
    def on_train_begin(self, args, state, control, **kwargs):
        pass

    def on_step_begin(self, args, state, control, **kwargs):
        pass

    def on_step_end(self, args, state, control, **kwargs):
        pass

    def on_train_end(self, args, state, control, **kwargs):
        pass


def train(callback, model, steps, *, zero=True):
    state, control = types.SimpleNamespace(global_step=0, is_world_process_zero=zero), object()

    def call(event):
        others = dict.fromkeys(("processing_class", "optimizer", "lr_scheduler", "train_dataloader", "eval_dataloader"))
        assert getattr(callback, event)("args", state, control, model=model, **others) is None  # control stays

    call("on_train_begin")
    for _ in range(steps):
        call("on_step_begin")
        state.global_step += 1
        call("on_step_end")
    call("on_train_end")


@pytest.fixture
def packages(monkeypatch):
    """Stand-ins for the packages of both trainers, with their class of callbacks."""

    def install(name, **held):
        module = types.ModuleType(name)
        vars(module).update(held)
        monkeypatch.setitem(sys.modules, name, module)

    for name in ("lightning", "lightning.pytorch", "pytorch_lightning", "transformers"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return install


@pytest.mark.parametrize("name", ["lightning.pytorch", "pytorch_lightning"])
def test_lightning_calls_it_before_the_first_step_and_after_each(data, packages, name):
    packages(name, Callback=Callback)
    watch, net = lenses.Watch(data, LAYERS, every=2, **CHEAP), network()
    callback = watch.lightning()
    assert isinstance(callback, Callback)
    fit(callback, net, steps=5, accumulate=3)
    assert watch.table["step"].unique().tolist() == [0, 2, 4]
    assert not watch.table.duplicated(["step", "layer", "quantity"]).any()  # once each, however many batches a step has
    other = lenses.Watch(data, LAYERS, **CHEAP)
    fit(other.lightning(), net, steps=1, zero=False)
    assert other.table.empty


def test_the_trainer_of_hugging_face_calls_it_before_the_first_step_and_after_each(data, packages):
    packages("transformers", TrainerCallback=TrainerCallback)
    watch, net = lenses.Watch(data, LAYERS, every=2, **CHEAP), network()
    callback = watch.transformers()
    assert isinstance(callback, TrainerCallback)
    train(callback, net, steps=5)
    assert watch.table["step"].unique().tolist() == [0, 2, 4]
    other = lenses.Watch(data, LAYERS, **CHEAP)
    train(other.transformers(), net, steps=1, zero=False)
    assert other.table.empty


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("trainer", ["lightning", "transformers"])
def test_a_trainer_that_is_not_installed_is_named(data, monkeypatch, trainer):
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ValueError, match=rf"watch\.{trainer}\(\) needs the package {trainer}, which is not installed"):
        getattr(lenses.Watch(data, LAYERS), trainer)()
