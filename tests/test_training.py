import copy
import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam

from benchmarks import codes
from infolib.data import Data, Splits, labelled, stratified_order
from infolib.training import (
    descend,
    distillation,
    evaluate,
    ewc,
    fit,
    fold,
    last_linear,
    minimise,
    narrow,
    train,
    train_many,
    zero_head,
)
from workbook import datasets
from workbook.models import mlp

OPTIONS = {"epochs": 3, "batch_size": 10, "lr": 0.05, "seed": 0}


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(35, 6, generator=generator)
    return Data(x, (x.sum(1) > 3).long())


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits", seed=0).train[:200]


def network():
    """With dropout, which draws random numbers at every step, and batch normalisation."""
    net = mlp([6, 8, 2], batch_norm="after", seed=0)
    return nn.Sequential(net.flatten, net.hidden1, nn.Dropout(0.5), net.output)


def digit_net(seed=0, width=16, outputs=10):
    return mlp([64, width, outputs], seed=seed)


def weights(net):
    return nn.utils.parameters_to_vector(net.parameters()).detach().clone()


# the loop


def test_descent_is_a_plain_loop_over_batches_that_may_come_late():
    w, plain = (torch.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    seen = []

    def batches():
        for factor in (1.0, 3.0):
            seen.append(w.detach().clone())  # the step before is done when the next batch is drawn
            yield factor

    found = list(descend(SGD([w], 0.1), lambda factor: factor * w.square().sum(), batches()))
    update, losses = SGD([plain], 0.1), []
    for factor in (1.0, 3.0):
        assert torch.equal(seen.pop(0), plain)
        loss = factor * plain.square().sum()
        losses.append((factor, loss.item()))
        update.zero_grad()
        loss.backward()
        update.step()
    assert found == losses
    assert torch.equal(w, plain)


def test_descent_refuses_a_loss_and_weights_that_are_not_finite():
    w = torch.tensor([1.0], requires_grad=True)
    with pytest.raises(FloatingPointError, match=r"the loss is nan at step 2; lower lr=0\.1"):
        list(descend(SGD([w], 0.1), lambda factor: factor * w.sum(), [1.0, math.nan]))
    w = torch.tensor([0.0], requires_grad=True)  # the slope of a root at 0 is infinite, its value is not
    with pytest.raises(FloatingPointError, match=r"the weights are no longer finite; lower lr=0\.1"):
        list(descend(SGD([w], 0.1), lambda _: w.sqrt().sum(), [None]))


def test_a_loss_of_ones_own_is_minimised_as_by_a_plain_loop(data):
    net = mlp([6, 6], seed=0)
    plain = copy.deepcopy(net)
    update, generator, losses = Adam(plain.parameters(), 0.05, fused=True), torch.Generator().manual_seed(0), []
    for _ in range(3):
        for batch in torch.randperm(35, generator=generator).split(10):
            loss = (plain(data.x[batch]) - data.x[batch]).square().mean()
            losses.append(loss.item())
            update.zero_grad()
            loss.backward()
            update.step()
    found = minimise(net, lambda batch: (net(data.x[batch]) - data.x[batch]).square().mean(), 35, **OPTIONS)
    assert [step.loss for step in found] == losses  # in the loss's own unit
    assert torch.equal(weights(net), weights(plain))


def test_a_loss_of_ones_own_draws_from_a_private_stream_in_training_mode(data):
    made, modes = [], []
    for before in (0, 1):
        net = network()

        def loss(batch, net=net):
            modes.append([module.training for module in net.modules()])
            return cross_entropy(net(data.x[batch] + torch.rand(6)), data.y[batch])

        torch.manual_seed(before)
        for _ in minimise(net, loss, 35, **OPTIONS):
            net.eval()
        made.append((weights(net), torch.rand(1)))
        torch.manual_seed(before)
        assert torch.equal(made[-1][1], torch.rand(1))
    assert torch.equal(made[0][0], made[1][0])
    assert all(map(all, modes))


# by epochs


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
    with pytest.raises(FloatingPointError, match=r"loss is (nan|inf) at step \d+; lower lr=1e\+30"):
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
    with pytest.raises(ValueError, match=message):
        minimise(network(), torch.sum, 35, **OPTIONS | options)


def test_impossible_data_and_models_are_refused(data):
    with pytest.raises(ValueError, match="x of data is empty"):
        fit(network(), Data(data.x[:0], data.y[:0]), **OPTIONS)
    with pytest.raises(ValueError, match="no parameters to train"):
        fit(network().requires_grad_(False), data, **OPTIONS)
    with pytest.raises(ValueError, match="n must be an integer of at least 1, got 0"):
        minimise(network(), torch.sum, 0, **OPTIONS)
    with pytest.raises(ValueError, match="x of data is empty"):
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
    with pytest.raises(ValueError, match=r"model cannot take x of shape \(35, 2\)"):
        evaluate(net, Data(data.x[:, :2], data.y))
    assert all(module.training for module in net.modules())


# in steps


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_training_in_steps_is_a_plain_loop(digits, dropout):
    """Batches of 32, drawn with replacement, half of them from the memory; Adam at 1e-3; a term; one head."""
    start, memory = mlp([64, 16, 20], dropout=[dropout], seed=0), Data(digits.x.flip(0), digits.y)
    made = train(
        start, digits, steps=3, epochs=2, seed=5, head=slice(10, 20), memory=memory, term=lambda net, x: net(x).mean()
    )
    plain, draw = copy.deepcopy(start), torch.Generator().manual_seed(5)
    update = Adam(plain.parameters(), 1e-3, fused=True)
    torch.manual_seed(5)
    for _ in range(math.ceil(2 * 200 / 32)):
        u = torch.rand(32, generator=draw)
        new, old = digits[(u[:16] * 200).long()], memory[(u[16:] * 200).long()]
        x, y = torch.cat([new.x, old.x]), torch.cat([new.y, old.y])
        loss = cross_entropy(plain(x)[:, 10:20], y) + plain(x).mean()
        update.zero_grad()
        loss.backward()
        update.step()
    assert torch.equal(weights(made), weights(plain))
    assert not made.training


def test_training_in_steps_leaves_the_callers_random_state(digits):
    torch.manual_seed(7)
    undisturbed = torch.rand(3)
    torch.manual_seed(7)
    train(mlp([64, 16, 10], dropout=[0.5], seed=0), digits, steps=5, seed=0)
    train_many([digit_net()], [digits], steps=5, seed=0)
    assert torch.equal(torch.rand(3), undisturbed)


def test_without_data_or_steps_there_is_a_copy(digits):
    start = network()
    for made in (train(start, digits[:0], steps=9, seed=0), train(start, digits, steps=0, seed=0)):
        assert torch.equal(weights(made), weights(start))
        assert made is not start
    (made,) = train_many([digit_net()], [digits[:0]], steps=9, seed=0)
    assert torch.equal(weights(made), weights(digit_net()))


def test_many_networks_share_the_defaults_of_one(digits):
    (together,) = train_many([digit_net()], [digits], steps=30, seed=2)
    alone = train(digit_net(), digits, steps=30, seed=2)
    torch.testing.assert_close(weights(together), weights(alone), atol=2e-5, rtol=1e-4)


def test_distillation_by_hand(digits):
    """By default 4 times the cross-entropy from the old outputs to the new, both at temperature 2."""
    old, now, x = digit_net(0), digit_net(1), digits.x[:9]
    expected = -((old(x)[:, 2:6] / 2).softmax(1) * (now(x)[:, 2:6] / 2).log_softmax(1)).sum(1).mean() * 4
    torch.testing.assert_close(distillation(old, slice(2, 6))(now, x), expected)


def test_ewc_takes_200_samples_of_the_data(digits):
    moved, by = fold(digit_net(), 2.0), []
    twice = Data(digits.x.repeat(2, 1, 1, 1), digits.y.repeat(2))
    for options in ({}, {"samples": 200}, {"samples": 100}):
        by.append(ewc(digit_net(), twice, strength=1.0, seed=0, **options)(moved, digits.x))
    assert by[0] == by[1] != by[2]


def test_many_networks_at_once_are_the_networks_one_by_one(digits):
    starts, prefixes, seeds = (
        [digit_net(0), digit_net(1), digit_net(2)],
        [digits[:20], digits[:0], digits[:150]],
        [3, 3, 4],
    )
    together = train_many(starts, prefixes, steps=40, batch_size=8, seed=seeds)
    for start, prefix, seed, found in zip(starts, prefixes, seeds, together, strict=True):
        alone = train(start, prefix, steps=40, batch_size=8, seed=seed)
        torch.testing.assert_close(weights(found), weights(alone), atol=2e-5, rtol=1e-4)
    assert (weights(together[0]) - weights(starts[0])).abs().max() > 0.01  # far more than the tolerance


def test_many_networks_are_those_of_deep_copies_and_share_nothing_with_their_starts(digits):
    starts, prefixes = [digit_net(0), digit_net(1)], [digits[:20], digits[:150]]
    starts[0][0].register_forward_hook(print)
    found = train_many(starts, prefixes, steps=40, seed=[3, 4])
    former = codes.train_many(starts, prefixes, steps=40, seed=[3, 4])
    for start, one, expected in zip(starts, found, former, strict=True):
        assert str(one) == str(expected)
        assert not any(module.training for module in one.modules())
        pairs = list(zip(one.named_parameters(), expected.named_parameters(), strict=True))
        assert [a[0] for a, _ in pairs] == [b[0] for _, b in pairs]
        assert all((a[1] - b[1]).abs().max() < 1e-6 and a[1].stride() == b[1].stride() for a, b in pairs)  # on some
        # processors they are equal to the last bit, on others sums are rounded otherwise
        assert all(a[1].requires_grad == b[1].requires_grad for a, b in pairs)
        before = weights(start)
        with torch.no_grad():
            [parameter.zero_() for parameter in one.parameters()]
        one.register_forward_hook(print)
        assert torch.equal(weights(start), before)
        assert len(start._forward_hooks) == 0
        assert [len(m._forward_hooks) for m in one[:1]] == [len(m._forward_hooks) for m in start[:1]]


def test_training_in_steps_depends_on_the_seed_alone_and_leaves_its_start(digits):
    start = mlp([64, 16, 10], dropout=[0.5], seed=0)
    before = weights(start)
    one = train(start, digits, steps=20, seed=5)
    torch.rand(7)
    assert torch.equal(weights(one), weights(train(start, digits, steps=20, seed=5)))
    assert not torch.equal(weights(one), weights(train(start, digits, steps=20, seed=6)))
    assert torch.equal(weights(start), before)


def test_epochs_count_where_they_are_more_than_the_steps(digits):
    one = train(digit_net(), digits, steps=50, batch_size=8, seed=0)
    assert torch.equal(weights(train(digit_net(), digits, steps=3, epochs=2, batch_size=8, seed=0)), weights(one))


def test_heads_zero_folded_and_narrowed(digits):
    model = digit_net(outputs=20)
    assert last_linear(model) is model.output
    assert zero_head(model)(digits.x).abs().max() == 0
    torch.testing.assert_close(fold(model, 0.5)(digits.x), 0.5 * model(digits.x))
    torch.testing.assert_close(narrow(model, slice(10, 20))(digits.x), model(digits.x)[:, 10:20])


def test_only_the_head_is_trained_for_the_task(digits):
    model = digit_net(outputs=20)
    made = train(model, digits, steps=150, lr=0.01, seed=0, head=slice(10, 20))
    accuracy = (made(digits.x)[:, 10:].argmax(1) == digits.y).float().mean()
    assert accuracy > 0.9
    assert torch.equal(made.output.weight[:10], model.output.weight[:10])


def test_ewc_is_the_fisher_of_softmax_regression(digits):
    """Labels drawn from the model: the mean of (p - 1{y})² x² tends to p (1 - p) x²."""
    model = mlp([64, 10], seed=0)
    some = digits[:50]
    penalty = ewc(model, Data(some.x.repeat(80, 1, 1, 1), some.y.repeat(80)), strength=2.0, samples=4000, seed=0)
    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved.output.weight[3] += 0.1
    p = model(some.x).softmax(1)[:, 3]
    expected = ((p * (1 - p))[:, None] * some.x.flatten(1).square()).mean(0).sum() * 0.1**2
    assert penalty(moved, some.x).item() == pytest.approx(expected.item(), rel=0.1)
    assert penalty(model, some.x) == 0


def test_ewc_replay_and_distillation_hold_the_old_task(digits):
    old, new = digits, Data(digits.x, 9 - digits.y)  # the opposite of the old task
    after = train(digit_net(), old, steps=300, lr=3e-3, seed=0)

    def then(**options):
        return train(after, new, steps=300, lr=3e-3, seed=1, **options)

    def right(model):
        return (model(old.x).argmax(1) == old.y).float().mean().item()

    plain = right(then())
    held = then(term=ewc(after, old, strength=1e6, seed=0))
    assert right(held) > plain + 0.2
    assert right(then(memory=old)) > plain + 0.2
    assert right(then(term=distillation(after, slice(0, 10), weight=50.0))) > plain + 0.1


def test_training_in_steps_refuses(digits):
    with pytest.raises(ValueError, match=r"steps must be an integer of at least 0, got -1"):
        train(digit_net(), digits, steps=-1, seed=0)
    with pytest.raises(ValueError, match="epochs must be a finite number of at least 0, got nan"):
        train(digit_net(), digits, steps=1, epochs=float("nan"), seed=0)
    with pytest.raises(ValueError, match="one length, got 1, 2 and 1"):
        train_many([digit_net()], [digits, digits], steps=1, seed=[0])
    with pytest.raises(ValueError, match=r"ReLU perceptrons of one shape, .* got 1 shapes, \['Linear Tanh Linear'\]"):
        train_many([mlp([64, 4, 10], activation="tanh", seed=0)], [digits], steps=1, seed=0)
    with pytest.raises(ValueError, match=r"ReLU perceptrons of one shape, .* got 2 shapes"):
        train_many([digit_net(), digit_net(width=5)], [digits, digits], steps=1, seed=0)
    with pytest.raises(ValueError, match=r"plain nn\.Linear, got that of ReLU"):
        zero_head(nn.ReLU())
    with pytest.raises(FloatingPointError, match=r"lower lr=1e\+30"):
        train(digit_net(), digits, steps=5, lr=1e30, seed=0)


@pytest.mark.parametrize("layers", [
    [nn.Linear(6, 4), nn.Linear(4, 2)],
    [nn.Linear(6, 2), nn.ReLU()],
    [nn.ReLU(), nn.Linear(6, 2)],
    [nn.Linear(6, 4), nn.ReLU(), nn.ReLU(), nn.Linear(4, 2)],
    [nn.Linear(6, 2, bias=False)],
    [nn.Linear(6, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False)],
    [nn.Linear(6, 4).requires_grad_(False), nn.ReLU(), nn.Linear(4, 2)],
    [nn.Flatten()],
])  # fmt: skip
def test_many_networks_at_once_are_not_trained_as_others_than_they_are(data, layers):
    with pytest.raises(ValueError, match="ReLU perceptrons of one shape, with biases and without frozen weights"):
        train_many([nn.Sequential(*layers)], [data], steps=1, seed=0)


def test_many_networks_at_once_may_be_nested_and_share_their_activation(data):
    act = nn.ReLU()
    net = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(6, 5), act), nn.Linear(5, 4), act, nn.Linear(4, 2))
    (found,) = train_many([net], [data], steps=20, seed=0)
    torch.testing.assert_close(weights(found), weights(train(net, data, steps=20, seed=0)), atol=2e-5, rtol=1e-4)


# labels


@pytest.mark.parametrize(("wrong", "message"), [
    (-100, "labels of data must be at least 0, got -100"),
    (-1, "labels of data must be at least 0, got -1"),
    (10, "labels of data must be below the 10 outputs of model, got 10"),
])  # fmt: skip
def test_labels_beyond_the_outputs_are_refused_everywhere(digits, wrong, message):
    y = digits.y.clone()
    y[-1] = wrong
    data, net, at = Data(digits.x, y), digit_net(), rf"labels of data(\[0\])? {message.removeprefix('labels of data ')}"
    before = weights(net)
    with pytest.raises(ValueError, match=at):
        evaluate(net, data, batch_size=64)
    with pytest.raises(ValueError, match=at):
        list(fit(net, data, **OPTIONS))
    with pytest.raises(ValueError, match=at):
        train(net, data, steps=1, seed=0)
    with pytest.raises(ValueError, match=r"labels of (data|memory) must be"):
        train(net, digits, steps=1, seed=0, memory=data)
    with pytest.raises(ValueError, match=at):
        train_many([net], [data], steps=1, seed=0)
    assert torch.equal(weights(net), before)


def test_labels_beyond_a_head_are_refused(digits):
    with pytest.raises(ValueError, match="labels of data must be below the 5 outputs of model, got 9"):
        train(digit_net(outputs=20), digits, steps=1, seed=0, head=slice(10, 15))
    with pytest.raises(ValueError, match="below the 0 outputs"):
        train(digit_net(), digits, steps=1, seed=0, head=slice(10, 20))


@pytest.mark.parametrize(("y", "message"), [
    (torch.zeros(35), r"labels of data must be integers, got torch\.float32"),
    (torch.zeros(35, 2).long(), r"labels of data must have shape \(n,\), got \(35, 2\)"),
    (torch.full((35,), math.nan), "labels of data must be integers"),
    (torch.zeros(35) + 0j, "labels of data must be real"),
])  # fmt: skip
def test_labels_that_are_none_are_refused(data, y, message):
    data = Data(data.x, y)
    for call in (
        evaluate,
        partial(fit, **OPTIONS),
        partial(train, steps=1, seed=0),
        partial(ewc, strength=1.0, seed=0),
    ):
        with pytest.raises(ValueError, match=message):
            call(network(), data)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool])
def test_labels_of_any_integer_type_are_taken(data, dtype):
    assert evaluate(network(), Data(data.x, data.y.to(dtype))) == evaluate(network(), data)


@pytest.mark.parametrize(("model", "message"), [
    (nn.Sequential(nn.Linear(6, 2), nn.Unflatten(1, (1, 2))), r"logits of shape \(35, classes\), got .*35, 1, 2"),
    (nn.LSTM(6, 2), "classes.*got <class 'tuple'>"),
    (nn.Flatten(0), r"logits of shape \(35, classes\), got .*\[210\]"),
    (nn.Linear(5, 2), r"model cannot take x of shape \(35, 6\)"),
])  # fmt: skip
def test_networks_without_logits_are_refused(data, model, message):
    with pytest.raises(ValueError, match=message):
        evaluate(model, data)
    if list(model.parameters()):
        with pytest.raises(ValueError, match=message):
            list(fit(model, data, **OPTIONS | {"batch_size": 35}))


def test_outputs_that_are_no_numbers_are_refused(data):
    net = mlp([6, 2], seed=0)
    for wrong in (math.nan, math.inf):
        with torch.no_grad():
            net.output.bias[0] = wrong
        with pytest.raises(ValueError, match="outputs of model must be numbers below infinity, got NaN or infinity"):
            evaluate(net, data)
    with torch.no_grad():
        net.output.bias[0] = -math.inf  # never the class
    assert evaluate(net, Data(data.x, torch.ones_like(data.y))) == (1.0, 0.0)


# the output layer


class Declared(nn.Module):
    """The layer that is declared first gives the output."""

    def __init__(self, function=lambda net, x: net.head(net.body(x).relu()), bias=True):
        super().__init__()
        torch.manual_seed(0)
        self.head, self.body, self.function = nn.Linear(6, 3, bias=bias), nn.Linear(6, 6), function

    def forward(self, x):
        return self.function(self, x)


@pytest.mark.parametrize("bias", [True, False])
def test_the_output_layer_need_not_be_declared_last(data, bias):
    net = Declared(bias=bias)
    expected = net(data.x)
    assert last_linear(net) is net.head
    assert zero_head(net)(data.x).abs().max() == 0
    torch.testing.assert_close(fold(net, 0.5)(data.x), 0.5 * expected)
    torch.testing.assert_close(narrow(net, slice(1, 3))(data.x), expected[:, 1:])
    assert torch.equal(net(data.x), expected)


def tied(net):
    net.head.weight = net.body.weight
    return net


def normalised(net):
    nn.utils.parametrizations.weight_norm(net.head)
    return net


@pytest.mark.parametrize(("net", "message"), [
    (Declared(lambda net, x: net.head(x).softmax(1)), "must be that of one layer"),
    (Declared(lambda net, x: net.head(x + net.head(x).sum())), "no other use"),
    (Declared(lambda net, x: net.head(x) if x.mean() > 0 else x), "output layer of model cannot be found"),
    (tied(Declared()), "shares its weights with another layer"),
    (normalised(Declared()), "that of a plain nn.Linear, got that of ParametrizedLinear"),
    (nn.Sequential(nn.Linear(6, 2), nn.Softmax(1)), "got that of Softmax"),
    (nn.Sequential(nn.Linear(6, 2), nn.Conv2d(1, 1, 1)), "got that of Conv2d"),
])  # fmt: skip
def test_outputs_of_something_else_than_a_linear_layer_are_refused(net, message):
    for change in (last_linear, zero_head, lambda net: fold(net, 0.5), lambda net: narrow(net, slice(0, 1))):
        with pytest.raises(ValueError, match=message):
            change(net)


# data


@pytest.mark.parametrize(("x", "y"), [
    (torch.zeros(24, 2), torch.zeros(1)),
    (torch.zeros(2, 2), torch.zeros(3)),
    (torch.zeros(2, 2), torch.tensor(1)),
    (torch.tensor(1.0), torch.tensor(1)),
    (np.zeros((3, 2)), [0, 1]),
])  # fmt: skip
def test_data_of_different_lengths_cannot_be_made(x, y):
    with pytest.raises(ValueError, match="x and y must have one row for each sample"):
        Data(x, y)


@pytest.mark.parametrize("value", [None, "x", 0j, [None], [math.nan], [math.inf], np.array(["a"]), [[1], [1, 2]]])
def test_data_of_no_numbers_cannot_be_made(value):
    with pytest.raises(ValueError, match=r"^x (must be|needs)"):
        Data(value, torch.zeros(1))
    with pytest.raises(ValueError, match=r"^y (must be|needs)"):
        Data(torch.zeros(1), value)


def test_data_are_made_of_arrays_frames_and_series(data):
    frame, series = pd.DataFrame(data.x.numpy()).astype(float), pd.Series(data.y.numpy(), index=range(5, 40))
    for made in (Data(data.x.numpy(), data.y.numpy()), Data(frame, series), Data(data.x.tolist(), data.y.tolist())):
        assert torch.equal(made.x, data.x)
        assert torch.equal(made.y, data.y)
        assert evaluate(network(), made[:9]) == evaluate(network(), data[:9])


def test_a_single_sample_is_a_slice(data):
    assert len(data[3:4]) == 1
    with pytest.raises(ValueError, match="one row for each sample"):
        data[3]


def test_a_balanced_order_takes_any_integers_and_a_generator(data):
    y = torch.tensor([-1, 10**12, -1, 10**12])
    assert y[stratified_order(y, torch.Generator().manual_seed(0))[:2]].sum() == 10**12 - 1
    for wrong, message in (
        (torch.zeros(0).long(), "y is empty"),
        ([0.5], "y must be integers"),
        (None, "y must be"),
        ([[1]], "shape"),
    ):
        with pytest.raises(ValueError, match=message):
            stratified_order(wrong, torch.Generator())
    with pytest.raises(ValueError, match=r"generator must be a torch\.Generator, got int"):
        stratified_order(y, 0)
    with pytest.raises(ValueError, match="seed must be an integer"):
        Splits(data, data, data, "", {}).permuted_labels(seed=None)


# arguments


def calls(net, data):
    """Every function of training, with arguments by name that it accepts."""
    options = {"model": net, "data": data, "seed": 0}
    term = {"model": net, "weight": 1.0, "head": slice(0, 2), "temperature": 1.0}
    square = {"model": net, "loss": lambda batch: net(data.x[batch]).square().mean(), "n": 35, "epochs": 1, "seed": 0,
              "batch_size": 7, "lr": 0.1, "momentum": 0.5, "weight_decay": 0.0, "optimizer": "sgd"}  # fmt: skip
    return {
        fit: {**options, "epochs": 1, "batch_size": 7, "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0},
        minimise: square,
        evaluate: {"model": net, "data": data, "batch_size": 7},
        train: {**options, "steps": 1, "epochs": 0.1, "batch_size": 7, "lr": 0.1, "head": slice(None), "memory": data,
                "term": lambda net, x: net(x).mean()},
        ewc: {**options, "strength": 1.0, "samples": 3},
        distillation: term,
        fold: {"model": net, "factor": 0.5},
        narrow: {"model": net, "head": slice(0, 1)},
        zero_head: {"model": net},
        last_linear: {"model": net},
    }  # fmt: skip


HUGE = 2**70  # too large for an integer of torch
ABSURD = [None, "x", -1, -0.5, math.nan, math.inf, 3j, [], {}, b"1", np.nan, torch.tensor([1.0, 2.0]), object(), HUGE]


def absurd(net, data):
    for function, arguments in calls(net, data).items():
        for name in arguments:
            yield from ((function, name, arguments | {name: value}) for value in ABSURD
                        if not (value is None and name in ("memory", "term"))
                        and not (value is HUGE and isinstance(arguments[name], float)))  # fmt: skip


def test_every_absurd_argument_is_refused_by_its_name(data):
    net = mlp([6, 5, 2], seed=0)
    for function, arguments in calls(net, data).items():
        result = function(**arguments)
        list(result) if function in (fit, minimise) else None
    before = weights(net)
    tried = 0
    for function, name, arguments in absurd(net, data):
        with pytest.raises(ValueError, match=name):
            function(**arguments)
        tried += 1
    assert tried > 500
    assert torch.equal(weights(net), before)


def test_absurd_arguments_of_many_networks_at_once(data):
    net = mlp([6, 5, 2], seed=0)
    good = {"models": [net], "data": [data], "steps": 1, "batch_size": 7, "lr": 0.1, "seed": 0}
    train_many(**good | {"seed": np.int64(3)})
    train_many(**good | {"seed": (3,)})
    for name in good:
        for value in ABSURD[: -1 if name == "lr" else None]:
            with pytest.raises(ValueError, match=name):
                train_many(**good | {name: value})
    with pytest.raises(ValueError, match=r"x of data must have 6 features for these models, got \[5\]"):
        train_many(**good | {"data": [Data(data.x[:, :5], data.y)]})


def test_a_loss_that_is_no_scalar_is_refused(data):
    for loss, got in ((lambda _: 3.0, "float"), (lambda batch: data.x[batch], r"\[10, 6\]")):
        with pytest.raises(ValueError, match=f"loss must give a scalar tensor, got .*{got}"):
            list(minimise(network(), loss, 35, **OPTIONS))
    with pytest.raises(ValueError, match=r"optimizer must be a torch\.optim\.Optimizer, got float"):
        next(descend(0.1, torch.sum, [1]))


def test_data_are_checked_by_name():
    with pytest.raises(ValueError, match=r"pool must be infolib\.Data\(x, y\), got tuple"):
        labelled("pool", (torch.zeros(2, 2), torch.zeros(2)))
    with pytest.raises(ValueError, match="x of pool must be finite"):
        labelled("pool", Data(torch.full((1, 1), math.nan), torch.zeros(1).long()))
