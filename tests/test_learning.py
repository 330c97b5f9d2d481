import copy

import pytest
import torch
from torch import nn

from infolib import learning
from infolib.data import Data
from workbook import datasets, models


@pytest.fixture(scope="module")
def data():
    return datasets.load("digits", seed=0).train[:200]


def net(seed=0, width=16, outputs=10):
    return models.mlp([64, width, outputs], seed=seed)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_many_networks_at_once_are_the_networks_one_by_one(data):
    starts, prefixes, seeds = [net(0), net(1), net(2)], [data[:20], data[:0], data[:150]], [3, 3, 4]
    together = learning.train_many(starts, prefixes, steps=40, batch_size=8, seed=seeds)
    for start, prefix, seed, found in zip(starts, prefixes, seeds, together, strict=True):
        alone = learning.train(start, prefix, steps=40, batch_size=8, seed=seed)
        torch.testing.assert_close(weights(found), weights(alone), atol=2e-5, rtol=1e-4)
    assert (weights(together[0]) - weights(starts[0])).abs().max() > 0.01  # far more than the tolerance


def test_training_depends_on_the_seed_alone_and_leaves_its_start(data):
    start = models.mlp([64, 16, 10], dropout=[0.5], seed=0)
    before = weights(start)
    one = learning.train(start, data, steps=20, seed=5)
    torch.rand(7)
    assert torch.equal(weights(one), weights(learning.train(start, data, steps=20, seed=5)))
    assert not torch.equal(weights(one), weights(learning.train(start, data, steps=20, seed=6)))
    assert torch.equal(weights(start), before)


def test_epochs_count_where_they_are_more_than_the_steps(data):
    one = learning.train(net(), data, steps=50, batch_size=8, seed=0)
    assert torch.equal(weights(learning.train(net(), data, steps=3, epochs=2, batch_size=8, seed=0)), weights(one))


def test_heads_zero_folded_and_narrowed(data):
    model = net(outputs=20)
    assert learning.zero_head(model)(data.x).abs().max() == 0
    torch.testing.assert_close(learning.fold(model, 0.5)(data.x), 0.5 * model(data.x))
    torch.testing.assert_close(learning.narrow(model, slice(10, 20))(data.x), model(data.x)[:, 10:20])


def test_only_the_head_is_trained_for_the_task(data):
    model = net(outputs=20)
    trained = learning.train(model, data, steps=150, lr=0.01, seed=0, head=slice(10, 20))
    accuracy = (trained(data.x)[:, 10:].argmax(1) == data.y).float().mean()
    assert accuracy > 0.9
    assert torch.equal(trained.output.weight[:10], model.output.weight[:10])


def test_ewc_is_the_fisher_of_softmax_regression(data):
    """Labels drawn from the model: the mean of (p - 1{y})² x² tends to p (1 - p) x²."""
    model = models.mlp([64, 10], seed=0)
    some = data[:50]
    penalty = learning.ewc(
        model, Data(some.x.repeat(80, 1, 1, 1), some.y.repeat(80)), strength=2.0, samples=4000, seed=0
    )
    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved.output.weight[3] += 0.1
    p = model(some.x).softmax(1)[:, 3]
    expected = ((p * (1 - p))[:, None] * some.x.flatten(1).square()).mean(0).sum() * 0.1**2
    assert penalty(moved, some.x).item() == pytest.approx(expected.item(), rel=0.1)
    assert penalty(model, some.x) == 0


def test_ewc_replay_and_distillation_hold_the_old_task(data):
    old, new = data, Data(data.x, 9 - data.y)  # the opposite of the old task
    after = learning.train(net(), old, steps=300, lr=3e-3, seed=0)

    def then(**options):
        return learning.train(after, new, steps=300, lr=3e-3, seed=1, **options)

    def right(model):
        return (model(old.x).argmax(1) == old.y).float().mean().item()

    plain = right(then())
    held = then(term=learning.ewc(after, old, strength=1e6, seed=0))
    assert right(held) > plain + 0.2
    assert right(then(memory=old)) > plain + 0.2
    assert right(then(term=learning.distillation(after, slice(0, 10), weight=50.0))) > plain + 0.1


def test_refusals(data):
    with pytest.raises(ValueError, match=r"steps must be an integer of at least 0, got -1"):
        learning.train(net(), data, steps=-1, seed=0)
    with pytest.raises(ValueError, match="epochs must be a number of at least 0, got nan"):
        learning.train(net(), data, steps=1, epochs=float("nan"), seed=0)
    with pytest.raises(ValueError, match="as many, got 1, 2 and 1"):
        learning.train_many([net()], [data, data], steps=1, seed=[0])
    with pytest.raises(ValueError, match=r"ReLU perceptrons of one shape, got 1 shapes, \['Tanh'\]"):
        learning.train_many([models.mlp([64, 4, 10], activation="tanh", seed=0)], [data], steps=1, seed=0)
    with pytest.raises(ValueError, match="ReLU perceptrons of one shape, got 2 shapes"):
        learning.train_many([net(), net(width=5)], [data, data], steps=1, seed=0)
    with pytest.raises(ValueError, match="no linear layer"):
        learning.zero_head(nn.ReLU())
    with pytest.raises(FloatingPointError, match=r"lower lr=1e\+30"):
        learning.train(net(), data, steps=5, lr=1e30, seed=0)
