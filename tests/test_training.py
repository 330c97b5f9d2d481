import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from infolib import training
from infolib.data import Data
from infolib.training import evaluate, fit
from workbook.models import mlp
from workbook.store import trained

OPTIONS = {"epochs": 3, "batch_size": 10, "lr": 0.05, "seed": 0}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("INFOLIB_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(35, 6, generator=generator)
    return Data(x, (x.sum(1) > 3).long())


def network():
    """With dropout, which draws random numbers at every step, and batch normalisation."""
    net = mlp([6, 8, 2], batch_norm="after", seed=0)
    return nn.Sequential(net.flatten, net.hidden1, nn.Dropout(0.5), net.output)


def weights(net):
    return nn.utils.parameters_to_vector(net.parameters()).detach().clone()


@pytest.mark.parametrize(("optimizer", "momentum"), [("adam", 0.0), ("sgd", 0.0), ("sgd", 0.9)])
def test_steps_are_those_of_a_plain_loop(data, optimizer, momentum):
    net = mlp([6, 8, 2], activation="tanh", seed=0)
    plain = copy.deepcopy(net)
    update = (
        torch.optim.Adam(plain.parameters(), 0.05, weight_decay=0.01)
        if optimizer == "adam"
        else torch.optim.SGD(plain.parameters(), 0.05, momentum, weight_decay=0.01)
    )
    seen = []
    for step in fit(net, data, **OPTIONS, optimizer=optimizer, momentum=momentum, weight_decay=0.01):
        loss = cross_entropy(plain(data.x[step.batch]), data.y[step.batch])
        assert step.loss == pytest.approx(loss.item() / math.log(2), rel=1e-4)
        update.zero_grad()
        loss.backward()
        update.step()
        seen.append((step.epoch, step.step, len(step.batch)))
    torch.testing.assert_close(weights(net), weights(plain), rtol=1e-4, atol=1e-5)
    assert seen == [(e, 4 * (e - 1) + i, 10 if i < 4 else 5) for e in (1, 2, 3) for i in (1, 2, 3, 4)]


def test_each_epoch_visits_every_sample_once_in_a_new_order(data):
    steps = list(fit(network(), data, **OPTIONS))
    orders = [torch.cat([step.batch for step in steps if step.epoch == epoch]).tolist() for epoch in (1, 2)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(35))
    assert orders[0] != orders[1]


def test_the_seed_decides_everything_dropout_included(data):
    losses = {}
    for run, seed in enumerate((0, 0, 1)):
        torch.manual_seed(run)
        losses[run] = [step.loss for step in fit(network(), data, **OPTIONS | {"seed": seed})]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_training_and_its_caller_do_not_disturb_each_other(data):
    quiet, busy = network(), network()
    torch.manual_seed(5)
    undisturbed = torch.rand(12)
    for _ in fit(quiet, data, **OPTIONS):
        pass
    torch.manual_seed(5)
    drawn = []
    for _ in fit(busy, data, **OPTIONS):
        drawn.append(torch.rand(1))
        busy.eval()
    assert torch.equal(torch.cat(drawn), undisturbed)
    assert torch.equal(weights(quiet), weights(busy))


@pytest.mark.parametrize(("batch_size", "last"), [(17, 17), (34, 34), (40, 35), (1, 1)])
def test_a_last_batch_of_one_is_left_out_for_batch_normalisation(data, batch_size, last):
    net = network() if batch_size > 1 else mlp([6, 2], seed=0)
    steps = list(fit(net, data, **OPTIONS | {"epochs": 1, "batch_size": batch_size}))
    assert len(steps[-1].batch) == last
    assert len(steps) == {17: 2, 34: 1, 40: 1, 1: 35}[batch_size]


def test_frozen_parameters_stay(data):
    net = network()
    before = net[1].linear.weight.clone()
    net[1].requires_grad_(False)
    list(fit(net, data, **OPTIONS))
    assert torch.equal(net[1].linear.weight, before)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_diverging_loss_names_step_and_learning_rate(data, optimizer):
    options = OPTIONS | {"lr": 1e30, "optimizer": optimizer, "epochs": 20}
    with pytest.raises(FloatingPointError, match=r"loss is (nan|inf) at step \d+, epoch \d+; lower lr=1e\+30"):
        list(fit(mlp([6, 8, 2], seed=0), data, **options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": -1}, "epochs must be an integer of at least 0, got -1"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"seed": None}, "seed must be"),
        ({"lr": 0}, "lr must be positive, got 0"),
        ({"optimizer": "lbfgs"}, "unknown optimizer 'lbfgs'; allowed: adam, sgd"),
        ({"momentum": 0.9}, "momentum=0.9 is for optimizer='sgd' only"),
    ],
)
def test_impossible_options_are_refused_before_the_first_step(data, options, message):
    with pytest.raises(ValueError, match=message):
        fit(network(), data, **OPTIONS | options)


def test_impossible_data_and_models_are_refused(data):
    with pytest.raises(ValueError, match="one label each, got 35 and 34"):
        fit(network(), Data(data.x, data.y[:34]), **OPTIONS)
    with pytest.raises(ValueError, match="one label each, got 0 and 0"):
        fit(network(), Data(data.x[:0], data.y[:0]), **OPTIONS)
    with pytest.raises(ValueError, match="no parameters to train"):
        fit(network().requires_grad_(False), data, **OPTIONS)
    with pytest.raises(ValueError, match="data is empty"):
        evaluate(network(), Data(data.x[:0], data.y[:0]))


def test_progress_is_silent_where_there_is_no_terminal(data, capsys):
    list(fit(network(), data, **OPTIONS, progress=True))
    assert capsys.readouterr() == ("", "")


def test_evaluation_by_hand():
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]]) * math.log(2)
    result = evaluate(nn.Identity(), Data(logits, torch.tensor([0, 1, 0])), batch_size=2)
    assert result.accuracy == 2 / 3
    assert result.cross_entropy == pytest.approx((2 * math.log2(3 / 2) + math.log2(9)) / 3, rel=1e-6)


def test_evaluation_stays_finite_where_probabilities_vanish():
    sure = Data(torch.tensor([[0.0, 1e4]]), torch.tensor([0]))
    assert evaluate(nn.Identity(), sure).cross_entropy == pytest.approx(1e4 / math.log(2))


def test_evaluation_uses_eval_mode_and_restores_it(data):
    net = network()
    assert evaluate(net, data) == evaluate(net, data, batch_size=35)
    assert all(module.training for module in net.modules())
    with pytest.raises(RuntimeError, match="shape"):
        evaluate(net, Data(data.x[:, :2], data.y))
    assert all(module.training for module in net.modules())


def refuse(*_, **__):
    raise AssertionError("trained again")


def test_a_network_is_trained_once(data, monkeypatch):
    plain = network()
    list(fit(plain, data, **OPTIONS))
    first = trained(network(), data, **OPTIONS)
    monkeypatch.setattr(training, "fit", refuse)
    net = network()
    second = trained(net, data, **OPTIONS, progress=True)
    assert second is net
    assert not second.training
    for name, value in plain.state_dict().items():
        assert torch.equal(value, first.state_dict()[name])
        assert torch.equal(value, second.state_dict()[name])


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)

    def extra_repr(self):
        return "the same"


class Tripled(Doubled):
    def forward(self, x):
        return 1.5 * super().forward(x)


Tripled.__name__ = "Doubled"


def with_head(net, head):
    nn.init.ones_(head.weight)
    nn.init.ones_(head.bias)
    return nn.Sequential(*net[:3], head)


def changed_weights(net):
    nn.init.ones_(net[3].bias)
    return net


@pytest.mark.parametrize(
    ("change_net", "change_data", "options"),
    [
        (lambda net: net, lambda d: d, {"seed": 1}),
        (lambda net: net, lambda d: Data(d.x, 1 - d.y), {}),
        (lambda net: net, lambda d: Data(d.x.flip(0), d.y), {}),
        (changed_weights, lambda d: d, {}),
        (lambda net: nn.Sequential(*net[:2], nn.Dropout(0.1), net[3]), lambda d: d, {}),
        (lambda net: nn.Sequential(net[0], net[1].requires_grad_(False), *net[2:]), lambda d: d, {}),
    ],
)
def test_whatever_changes_the_weights_trains_again(data, monkeypatch, change_net, change_data, options):
    trained(network(), data, **OPTIONS)
    monkeypatch.setattr(training, "fit", refuse)
    with pytest.raises(AssertionError, match="trained again"):
        trained(change_net(network()), change_data(data), **OPTIONS | options)


def test_the_code_of_other_classes_than_torchs_counts(data, monkeypatch):
    trained(with_head(network(), Doubled(8, 2)), data, **OPTIONS)
    monkeypatch.setattr(training, "fit", refuse)
    trained(with_head(network(), Doubled(8, 2)), data, **OPTIONS)
    with pytest.raises(AssertionError, match="trained again"):
        trained(with_head(network(), Tripled(8, 2)), data, **OPTIONS)
    typed = {}
    exec("from torch import nn\nclass Typed(nn.ReLU):\n    def forward(self, x): return x", typed)
    with pytest.raises(ValueError, match="the cache needs the source of Typed; define it in a file or notebook"):
        trained(nn.Sequential(network(), typed["Typed"]()), data, **OPTIONS)
