import copy

import pytest
import torch
from torch import nn

from infolib import activations, training
from infolib.data import Data
from workbook import datasets, models, store, techniques

HOW = {"epochs": 3, "lr": 3e-3, "seed": 0}


@pytest.fixture(scope="module")
def splits():
    return datasets.load("digits", n_train=400, n_val=0, seed=0)


@pytest.fixture(scope="module")
def taught(splits, tmp_path_factory):
    net = models.vgg6(width=3, in_shape=(1, 8, 8), seed=0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("INFOLIB_CACHE", str(tmp_path_factory.mktemp("cache")))
        return store.trained(net, splits.train, epochs=10, batch_size=32, lr=5e-3, seed=0)


@pytest.fixture
def net(taught):
    return copy.deepcopy(taught)


def weights(model):
    return torch.cat([m.weight.detach().flatten() for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)])


def test_a_student_learns_the_outputs_of_its_teacher_and_not_the_labels(net, splits):
    wrong = Data(splits.train.x, (splits.train.y + 1) % 10)
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
    before, after = (training.evaluate(net, Data(images, y)).cross_entropy for images in (x, found))
    assert after > before + 0.5


def test_adversarial_training_withstands_attacks_better(net, splits):
    x, y = splits.test.x, splits.test.y
    tough = techniques.adversarial(net, splits.train, eps=0.1, epochs=8, lr=3e-3, seed=0)
    plain, hard = (training.evaluate(m, Data(techniques.attacked(m, x, y, eps=0.1), y)).accuracy for m in (net, tough))
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


@pytest.mark.parametrize("batch_size", [{}, {"batch_size": 10}])
def test_training_is_a_plain_loop_in_batches_of_64_and_kept(net, splits, tmp_path, batch_size):
    """Of a student: temperature 4, its square as a factor; a last batch of one image is left out."""
    few, student = splits.train[:129], models.vgg6(width=2, in_shape=(1, 8, 8), seed=1)
    first, again = (techniques.distilled(student, net, few, **HOW, **batch_size) for _ in range(2))
    plain = copy.deepcopy(student)
    with torch.no_grad():
        target = (net(few.x) / 4).softmax(1)

    def loss(batch):
        log_p = (plain(few.x[batch]) / 4).log_softmax(1)
        return 16 * nn.functional.kl_div(log_p, target[batch], reduction="batchmean")

    loop(plain, loss, 129, **batch_size)
    same_state(first, plain)
    same_state(again, plain)
    assert not first.training
    assert len(list((tmp_path / "cache" / "distilled").iterdir())) == 1
    techniques.distilled(student, net, few, **HOW | {"seed": 1})
    assert len(list((tmp_path / "cache" / "distilled").iterdir())) == 2


def test_dropout_draws_from_the_seed_of_the_training(splits, monkeypatch):
    monkeypatch.setenv("INFOLIB_FRESH", "1")
    student, teacher = (models.mlp([64, 8, 10], dropout=[0.5], seed=seed) for seed in (0, 1))
    one, other = (techniques.distilled(student, teacher, splits.train[:99], **HOW) for _ in range(2))
    same_state(one, other)


def loop(model, loss, n, batch_size=64, after=lambda: None):
    """Three epochs of Adam at 3e-3, as one would first write them down."""
    model.train()
    update, generator = torch.optim.Adam(model.parameters(), 3e-3, fused=True), torch.Generator().manual_seed(0)
    for _ in range(3):
        for batch in torch.randperm(n, generator=generator).split(batch_size):
            if len(batch) > 1:
                value = loss(batch)
                update.zero_grad()
                value.backward()
                update.step()
                after()


def same_state(one, other):
    for (name, value), expected in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(value, expected), name


def test_pruning_takes_equal_weights_together_and_keeps_the_order_of_parameters(net):
    """As by the threshold itself: what is no larger than the k-th smallest magnitude goes."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_((10 * parameter).round() / 10)
    made, magnitudes = techniques.pruned(net, 0.5), weights(net).abs()
    least = magnitudes.kthvalue(round(0.5 * len(magnitudes))).values
    assert torch.equal(weights(made), weights(net) * (magnitudes > least))
    assert (weights(made) == 0).float().mean() > 0.51  # there are ties
    assert [name for name, _ in made.named_parameters()] == [name for name, _ in net.named_parameters()]


def test_fine_tuning_is_a_plain_loop_with_the_zeros_put_back(net, splits):
    small, (x, y) = techniques.pruned(net, 0.8), (splits.train.x, splits.train.y)
    plain = copy.deepcopy(small)
    parts = [m.weight.data for m in plain.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    masks = [part != 0 for part in parts]

    def put_back():
        for part, mask in zip(parts, masks, strict=True):
            part.mul_(mask)

    loop(plain, lambda batch: nn.functional.cross_entropy(plain(x[batch]), y[batch]), 400, after=put_back)
    same_state(techniques.finetuned(small, splits.train, **HOW), plain)


def test_decoders_and_autoencoders_are_plain_loops_on_rectified_features(net, splits):
    few = splits.train[:80]
    decode = techniques.decoder(net, "conv3.conv", few, **HOW | {"epochs": 0})
    pair = nn.ModuleDict({"encoder": copy.deepcopy(net), "decoder": copy.deepcopy(decode)})
    features = activations.collect(net, few.x, ["conv3.conv"])["conv3.conv"].clamp(min=0)  # negative before its ReLU
    loop(decode, lambda batch: (decode(features[batch]) - few.x[batch]).square().mean(), 80)
    same_state(techniques.decoder(net, "conv3.conv", few, **HOW), decode.eval())
    with activations.upto(pair["encoder"], "conv3.conv") as run:
        loop(pair, lambda batch: (pair["decoder"](run(few.x[batch]).relu()) - few.x[batch]).square().mean(), 80)
    same_state(techniques.autoencoder(net, "conv3.conv", few, **HOW), pair["encoder"])


def test_an_attack_by_hand(net, splits):
    """Three steps of half of eps along the gradient's sign, cut to eps and to [0, 1]."""
    x, y = splits.test.x[:20], splits.test.y[:20]
    best = x
    for _ in range(3):
        at = best.clone().requires_grad_()
        nn.functional.cross_entropy(net(at), y).backward()
        best = (best + 0.05 * at.grad.sign()).clamp(x - 0.1, x + 0.1).clamp(0, 1)
    assert torch.equal(techniques.attacked(net, x, y, eps=0.1, steps=3), best)


def test_by_default_attacks_take_two_steps_and_decoders_have_sixteen_maps(net, splits):
    few = splits.train[:80]
    one, two = ({"eps": 0.1, "epochs": 1, "lr": 1e-3, "seed": 0} | {"steps": steps} for steps in (1, 2))
    default = techniques.adversarial(net, few, eps=0.1, epochs=1, lr=1e-3, seed=0)
    same_state(default, techniques.adversarial(net, few, **two))
    with pytest.raises(AssertionError):
        same_state(default, techniques.adversarial(net, few, **one))
    x, y = few.x, few.y
    assert torch.equal(techniques.attacked(net, x, y, eps=0.1), techniques.attacked(net, x, y, eps=0.1, steps=2))
    made = techniques.decoder(net, "conv1", few, epochs=0, lr=1e-3, seed=0)
    assert [m.out_channels for m in made if isinstance(m, nn.Conv2d)] == [16, 16, 16, 1]
    before = techniques.autoencoder(net, "conv6", few, epochs=1, lr=1e-3, seed=0)
    same_state(before, techniques.autoencoder(net, "conv6", few, width=16, epochs=1, lr=1e-3, seed=0))
    assert not torch.equal(
        weights(before), weights(techniques.autoencoder(net, "conv6", few, width=8, **HOW | {"epochs": 1}))
    )


def test_what_a_technique_starts_from_stays_as_it_is(net, splits):
    few, before, student = splits.train[:80], copy.deepcopy(net), models.vgg6(width=3, in_shape=(1, 8, 8), seed=1)
    start = copy.deepcopy(student)  # untrained, and in training mode
    for made in (
        techniques.distilled(student, net, few, **HOW),
        techniques.distilled(net, student, few, **HOW),
        techniques.adversarial(net, few, eps=0.1, **HOW),
        techniques.finetuned(techniques.pruned(net, 0.5), few, **HOW),
        techniques.decoder(student, "conv3", few, **HOW),
        techniques.autoencoder(student, "conv3", few, **HOW),
        techniques.normalised(student, few.x),
    ):
        assert not any(module.training for module in made.modules())
    same_state(net, before)
    same_state(student, start)
    assert student.training
    assert not net.training


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, _: techniques.pruned(net, 1.0), r"share must be in \[0, 1\), got 1.0"),
        (lambda net, _: techniques.damaged(net, "pool1", seed=0), "layer must be one with a Conv2d, got 'pool1'"),
        (lambda net, _: techniques.damaged(net, "conv1", share=0, seed=0), r"share must be in \(0, 1\], got 0"),
        (lambda net, _: techniques.rescaled(net, "fc1", "output", 2.0), "layer must be one with a .*BatchNorm.*'fc1'"),
        (lambda net, data: techniques.attacked(net, data.x, data.y, eps=0), "eps must be positive, got 0"),
        (lambda net, data: techniques.distilled(net, net, data, temperature=0, **HOW), "temperature must be positive"),
        (lambda net, data: techniques.finetuned(net, data, epochs=1, lr=0, seed=0), "lr must be positive, got 0"),
    ],
)
def test_refusals(net, splits, call, message):
    with pytest.raises(ValueError, match=message):
        call(net, splits.train)
