import pytest
import torch
from torch import nn

from infolib import activations, training
from workbook import datasets, models, store, techniques

HOW = {"epochs": 3, "lr": 3e-3, "seed": 0}


@pytest.fixture(scope="module")
def splits():
    return datasets.load("digits", n_train=400, n_val=0, seed=0)


@pytest.fixture
def net(splits):
    net = models.vgg6(width=3, in_shape=(1, 8, 8), seed=0)
    return store.trained(net, splits.train, epochs=10, batch_size=32, lr=5e-3, seed=0)


def weights(model):
    return torch.cat([m.weight.detach().flatten() for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)])


def test_a_student_learns_what_its_teacher_says_and_not_the_labels(net, splits):
    wrong = datasets.Data(splits.train.x, (splits.train.y + 1) % 10)
    student = models.vgg6(width=3, in_shape=(1, 8, 8), seed=1)
    taught = techniques.distilled(student, net, wrong, epochs=20, lr=1e-2, seed=0)
    with torch.no_grad():
        same = (taught(splits.test.x).argmax(1) == net(splits.test.x).argmax(1)).float().mean()
    assert same > 0.6
    assert training.evaluate(taught, wrong).accuracy < 0.2
    assert not taught.training


def test_attacks_stay_near_and_raise_the_loss(net, splits):
    x, y = splits.test.x[:100], splits.test.y[:100]
    found = techniques.attacked(net, x, y, eps=0.1, steps=3)
    assert (found - x).abs().max() <= 0.1 + 1e-6
    assert 0 <= found.min() <= found.max() <= 1
    before, after = (training.evaluate(net, datasets.Data(images, y)).cross_entropy for images in (x, found))
    assert after > before + 0.5


def test_adversarial_training_withstands_attacks_better(net, splits):
    x, y = splits.test.x, splits.test.y
    tough = techniques.adversarial(net, splits.train, eps=0.1, epochs=8, lr=3e-3, seed=0)
    plain, hard = (
        training.evaluate(m, datasets.Data(techniques.attacked(m, x, y, eps=0.1), y)).accuracy for m in (net, tough)
    )
    assert hard > plain + 0.1


@pytest.mark.parametrize("share", [0, 0.8])
def test_pruning_leaves_the_largest_weights(net, share):
    before, after = weights(net), weights(techniques.pruned(net, share))
    assert (after == 0).float().mean().item() == pytest.approx(share, abs=1e-3)
    assert torch.equal(after[after != 0], before[after != 0])
    if share:
        assert before[after == 0].abs().max() <= after[after != 0].abs().min()


def test_fine_tuning_keeps_zeros_and_mends(net, splits):
    small = techniques.pruned(net, 0.8)
    mended = techniques.finetuned(small, splits.train, epochs=10, lr=5e-3, seed=0)
    assert torch.equal(weights(mended) == 0, weights(small) == 0)
    before, after = (training.evaluate(model, splits.train).accuracy for model in (small, mended))
    assert after > before + 0.1


def test_damage_hits_half_the_filters_of_one_layer(net):
    broken = techniques.damaged(net, "conv3", seed=0)
    gone = (broken.conv3.conv.weight == 0).flatten(1).all(1)
    assert gone.sum() == 3
    others = [name for name, p in net.named_parameters() if not torch.equal(p, broken.get_parameter(name))]
    assert others == ["conv3.conv.weight"]


def test_a_pair_of_scales_and_folding_leave_the_function_as_it_is(net, splits):
    x = splits.test.x[:50].double()
    net = net.double()
    pair, flat = techniques.rescaled(net, "conv3", "conv4", 10.0), techniques.folded(net)
    torch.testing.assert_close(pair(x), net(x))
    torch.testing.assert_close(flat(x), net(x))
    before, after = (activations.collect(model, x, ["conv3"])["conv3"] for model in (net, pair))
    torch.testing.assert_close(after, 10 * before)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in flat.modules())
    assert not any(module.training for module in flat.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in net.modules())


@pytest.mark.parametrize("layer", ["conv1", "fc1"])
def test_a_decoder_gives_back_more_than_the_mean_image(net, splits, layer):
    made = techniques.decoder(net, layer, splits.train, epochs=40, lr=5e-3, seed=0)
    x = splits.test.x[:100]
    features = activations.collect(net, x, [layer])[layer]
    with torch.no_grad():
        error = (made(features) - x).square().mean()
    assert error < 0.8 * (splits.train.x.mean(0) - x).square().mean()


def test_an_autoencoder_learns_without_labels(splits):
    start = models.vgg6(width=2, in_shape=(1, 8, 8), seed=0).eval()
    learnt = techniques.autoencoder(start, "conv6", splits.train, epochs=10, lr=5e-3, seed=0)
    how = {"epochs": 5, "lr": 5e-3, "seed": 0}
    errors = []
    for model in (start, learnt):
        made = techniques.decoder(model, "conv6", splits.train, **how)
        features = activations.collect(model, splits.test.x, ["conv6"])["conv6"]
        errors.append((made(features) - splits.test.x).square().mean().item())
    assert errors[1] < errors[0]
    assert not any(module._forward_hooks for module in learnt.modules())


@pytest.mark.parametrize("kind", techniques.VARIANTS)
def test_every_variant_can_be_had(splits, kind):
    few = datasets.Splits(splits.train[:64], splits.train[:8], splits.test[:8], "few", {})
    start, student = (models.vgg6(width=width, in_shape=(1, 8, 8), seed=0) for width in (4, 2))
    made = techniques.variant(kind, start, student, few, epochs=1, seed=0)
    assert not any(module.training for module in made.modules())
    assert made.conv1.conv.out_channels == (2 if "student" in kind else 4)


def test_an_unknown_variant_is_refused(splits):
    with pytest.raises(ValueError, match="unknown kind 'twin'; allowed: untrained, trained"):
        techniques.variant("twin", nn.Identity(), nn.Identity(), splits, epochs=1, seed=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, _: techniques.pruned(net, 1.0), r"share must lie in \[0, 1\), got 1.0"),
        (lambda net, _: techniques.damaged(net, "pool1", seed=0), "layer must be one with a Conv2d, got 'pool1'"),
        (lambda net, _: techniques.damaged(net, "conv1", share=0, seed=0), r"share must lie in \(0, 1\], got 0"),
        (lambda net, _: techniques.rescaled(net, "fc1", "output", 2.0), "layer must be one with a .*BatchNorm.*'fc1'"),
        (lambda net, data: techniques.attacked(net, data.x, data.y, eps=0), "eps must be positive, got 0"),
        (lambda net, data: techniques.distilled(net, net, data, temperature=0, **HOW), "temperature must be positive"),
        (lambda net, data: techniques.finetuned(net, data, epochs=1, lr=0, seed=0), "lr must be positive, got 0"),
    ],
    ids=str,
)
def test_refusals(net, splits, call, message):
    with pytest.raises(ValueError, match=message):
        call(net, splits.train)
