import math

import pytest
import torch
from torch import nn

from infolib import activations, training
from infolib.activations import layers
from workbook import datasets, models
from workbook.models import cnn, embedding_mlp, lenet5, mlp, resnet, transformer, unet, vgg6, vgg16

small_vgg16 = {"width": 1 / 16, "seed": 0}


def numbers(prefix, n):
    return [f"{prefix}{i}" for i in range(1, n + 1)]


@pytest.mark.parametrize(
    ("model", "shape", "names"),
    [
        (mlp([784, 9, 8, 10], seed=0), (1, 28, 28), ["hidden1", "hidden2", "output"]),
        (mlp([784, 9, 10], batch_norm="after", seed=0), (1, 28, 28), ["hidden1", "output"]),
        (lenet5(seed=0), (1, 28, 28), ["conv1", "conv2", "fc1", "output"]),
        (lenet5(filter_size=3, in_shape=(1, 8, 8), seed=0), (1, 8, 8), ["conv1", "conv2", "fc1", "output"]),
        (cnn(seed=0), (1, 28, 28), ["conv1", "conv2", "conv3", "fc1", "output"]),
        (cnn(in_shape=(3, 32, 32), padding=1, seed=0), (3, 32, 32), ["conv1", "conv2", "conv3", "fc1", "output"]),
        (vgg6(seed=0), (1, 42, 42), [*numbers("conv", 6), "fc1", "output"]),
        (vgg16(**small_vgg16), (3, 32, 32), [*numbers("conv", 13), "fc1", "fc2", "output"]),
        (resnet(20), (3, 32, 32), ["stem", *(f"stage{i}.block{j}" for i in (1, 2, 3) for j in (1, 2, 3)), "output"]),
    ],
)
def test_images_become_ten_logits_through_the_plotted_layers(model, shape, names):
    assert model(torch.rand(2, *shape)).shape == (2, 10)
    assert layers(model) == names
    assert model.training


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (mlp([784, 100, 100, 10], seed=0), 89_610),
        (lenet5(seed=0), 6 * 26 + 12 * 151 + 300 * 84 + 84 + 850),
        (lenet5(maps=(4, 8), filter_size=3, in_shape=(1, 8, 8), seed=0), 4 * 10 + 8 * 37 + 8 * 84 + 84 + 850),
        (cnn(seed=0), 4 * 10 + 8 * 37 + 16 * 73 + 400 * 256 + 256 + 2570 + 2 * (4 + 8 + 16 + 256)),
        (vgg6(width=1, in_shape=(1, 8, 8), seed=0), 10 + 10 + 20 + 38 + 76 + 148 + 2 * 14 + 4 * 16 + 16 + 170),
        (vgg16(seed=0), 14_714_688 + 8448 + 513 * 4096 + 4097 * 4096 + 40_970),
        (resnet(20), 269_722),  # 0.27 M in table 6 of He et al. 2016
        (resnet(56), 853_018),
        (unet(width=1, seed=0), 10 + 10 + 20 + 38 + 76 + 148 + 110 + 38 + 28 + 10 + 4 + 2 * 20),
    ],
)
def test_networks_have_the_sizes_of_the_papers(model, parameters):
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


FACTORIES = [
    lambda seed: mlp([20, 10, 2], seed=seed),
    lambda seed: lenet5(activation="sigmoid", seed=seed),
    lambda seed: cnn(activation="tanh", seed=seed),
    lambda seed: vgg6(width=2, seed=seed),
    lambda seed: vgg16(width=1 / 16, seed=seed),
    lambda seed: resnet(20, seed=seed),
    lambda seed: unet(width=2, seed=seed),
    lambda seed: embedding_mlp(5, seed=seed),
    lambda seed: transformer(5, seed=seed),
]


@pytest.mark.parametrize("make", FACTORIES)
def test_the_seed_alone_decides_the_weights(make):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = make(0).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = make(0).state_dict(), make(1).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_relu_layers_start_kaiming_normal_and_others_xavier_uniform():
    relu, tanh = mlp([400, 300, 2], seed=0).hidden1.linear, mlp([400, 300, 2], activation="tanh", seed=0).hidden1.linear
    assert relu.weight.std().item() == pytest.approx(math.sqrt(2 / 400), rel=0.01)
    assert tanh.weight.abs().max().item() == pytest.approx(5 / 3 * math.sqrt(6 / 700), rel=0.01)
    assert relu.bias.abs().max() == tanh.bias.abs().max() == 0


@pytest.mark.parametrize("make", [embedding_mlp, transformer])
def test_networks_that_add_start_normal_by_fan_in_without_biases(make):
    net = make(97, width=64, hidden=256, seed=0)
    for name, weight in net.named_parameters():
        if weight.ndim > 1 and weight.numel() > 1000:
            assert weight.std().item() == pytest.approx(1 / math.sqrt(weight.shape[1]), rel=0.05), name
        elif weight.ndim == 1:
            assert weight.abs().max() == 0, name


def test_a_perceptron_on_symbols_takes_the_sum_of_an_embedding_for_each_place():
    net, x = embedding_mlp(7, width=4, hidden=6, seed=0), torch.tensor([[0, 3], [6, 2]])
    first, second = (part.weight for part in net.embedding)
    hidden = ((first[x[:, 0]] + second[x[:, 1]]) @ net.hidden.linear.weight.T).relu()
    torch.testing.assert_close(net(x), hidden @ net.output.weight.T)


def test_a_transformer_is_read_at_the_third_place_after_attention_and_a_perceptron():
    net, x = transformer(7, width=8, hidden=6, heads=2, seed=0), torch.tensor([[0, 3], [6, 2]])
    rows = net.embedding.symbols.weight[torch.tensor([[0, 3, 7], [6, 2, 7]])] + net.embedding.places.weight
    attended = []
    for head in (slice(0, 4), slice(4, 8)):
        q, k, v = (
            rows @ part.weight.T[:, head] for part in (net.attention.query, net.attention.key, net.attention.value)
        )
        share = (q[:, 2:] @ k.transpose(1, 2) / 2).softmax(-1)  # the root of 4 units of a head
        attended.append((share @ v)[:, 0])
    stream = rows[:, 2] + torch.cat(attended, 1) @ net.attention.out.weight.T
    hidden = (stream @ net.perceptron.hidden.linear.weight.T).relu()
    with activations.record(net, ["attention", "perceptron.hidden"]) as seen:
        logits = net(x)
    torch.testing.assert_close(seen["attention"], stream.detach())
    torch.testing.assert_close(seen["perceptron.hidden"], hidden.detach())
    torch.testing.assert_close(logits, (stream + hidden @ net.perceptron.down.weight.T) @ net.output.weight.T)
    with pytest.raises(ValueError, match="width must be a multiple of the 4 heads, got 10"):
        transformer(7, width=10, seed=0)


@pytest.mark.parametrize(("activation", "low", "high"), [("relu", 0, math.inf), ("sigmoid", 0, 1), ("tanh", -1, 1)])
def test_a_plotted_layer_speaks_after_its_activation(activation, low, high):
    net = lenet5(activation=activation, seed=0)
    conv1 = net.conv1(torch.rand(4, 1, 28, 28))
    assert low <= conv1.min() < conv1.max() <= high
    assert conv1.shape == (4, 6, 28, 28)  # before pooling


@pytest.mark.parametrize("filter_size", [1, 3, 5])
def test_the_first_layer_of_a_lenet_keeps_the_size_of_the_images(filter_size):
    net = lenet5(filter_size=filter_size, in_shape=(1, 12, 12), seed=0)
    assert net.conv1(torch.rand(2, 1, 12, 12)).shape == (2, 6, 12, 12)
    assert net.conv1.conv.kernel_size == net.conv2.conv.kernel_size == (filter_size, filter_size)


def test_a_u_net_joins_each_layer_of_its_decoder_to_the_encoder_at_the_same_size():
    net, x = unet(width=2, channels=3, classes=5, seed=0).eval(), torch.rand(2, 3, 16, 8)
    with activations.record(net, ["enc1", "enc2", "bottom", "dec2", "dec1", "output"]) as seen:
        net(x)
    shapes = {name: tuple(t.shape[1:]) for name, t in seen.items()}
    assert shapes == {"enc1": (2, 16, 8), "enc2": (4, 8, 4), "bottom": (8, 4, 2), "dec2": (4, 8, 4), "dec1": (2, 16, 8),
                      "output": (5, 16, 8)}  # fmt: skip
    doubled = seen["bottom"].repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(net.dec2(torch.cat([seen["enc2"], doubled], 1)), seen["dec2"])
    doubled = seen["dec2"].repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(net.dec1(torch.cat([seen["enc1"], doubled], 1)), seen["dec1"])
    torch.testing.assert_close(net.bottom(nn.functional.max_pool2d(seen["enc2"], 2)), seen["bottom"])


def test_building_a_network_does_not_move_its_statistics():
    norms = [m for m in cnn(seed=0).modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.num_batches_tracked == 0 and norm.running_var.eq(1).all() for norm in norms)


def test_the_shortcut_is_subsampled_and_padded_with_zeros():
    block = resnet(20).stage2.block1.eval()
    nn.init.zeros_(block.norm2.weight)
    x = torch.rand(2, 16, 8, 8)
    out = block(x)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert out[:, :8].abs().sum() == out[:, 24:].abs().sum() == 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: mlp([4], seed=0), r"sizes must have at least an input and an output, got \[4\]"),
        (lambda: mlp([4, 0, 2], seed=0), "sizes must be an integer of at least 1, got 0"),
        (lambda: mlp([4, 3, 2], activation="gelu", seed=0), "unknown activation 'gelu'; allowed: relu, tanh, sigmoid"),
        (lambda: mlp([4, 2], seed=-1), "seed must be"),
        (lambda: lenet5(in_shape=(1, 8, 8), seed=0), r"in_shape=\(1, 8, 8\) does not fit, at conv2"),
        (lambda: lenet5(filter_size=4, seed=0), "filter_size must be odd, got 4"),
        (lambda: lenet5(filter_size=0, seed=0), "filter_size must be an integer of at least 1, got 0"),
        (lambda: cnn(in_shape=(1, 8, 8), seed=0), "does not fit, at conv3"),
        (lambda: vgg16(in_shape=(3, 16, 16), **small_vgg16), "does not fit, at pool5"),
        (lambda: vgg16(width=0, seed=0), "width must be positive, got 0"),
        (lambda: unet(width=0, seed=0), "width must be an integer of at least 1, got 0"),
        (lambda: unet(depth=0, seed=0), "depth must be an integer of at least 1, got 0"),
        (lambda: unet(seed=0)(torch.rand(1, 1, 8, 6)), r"the sides of the images must be multiples of 4, got \(8, 6\)"),
        (lambda: resnet(18), "unknown depth 18; allowed: 20, 32, 44, 56"),
        (lambda: layers(nn.Sequential(nn.ReLU())), r"no layers named like .* choose from \['0'\]"),
    ],
)
def test_what_cannot_be_built_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_missing_weights_name_their_source_and_the_command(monkeypatch, tmp_path):
    monkeypatch.delenv("INFOLIB_DATA", raising=False)
    monkeypatch.setenv("INFOLIB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"resnet20-12fca82f.*akamaster.*infolib data --download weights"):
        resnet(20, pretrained=True)


def test_evaluating_gives_each_module_its_own_mode_back():
    net = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
    with activations.evaluating(net):
        assert [module.training for module in net.modules()] == [False] * 3
        assert not torch.is_grad_enabled()
    with pytest.raises(IndexError), activations.evaluating(net):
        net[2]
    assert (net.training, net[0].training, net[1].training) == (True, True, False)
    assert torch.is_grad_enabled()


@pytest.mark.data
def test_weights_of_another_depth_are_refused(monkeypatch):
    content = datasets.read("weights", "weights/resnet32-d509ac18.th")
    monkeypatch.setattr(datasets, "read", lambda *_: content)
    with pytest.raises(ValueError, match=r"do not fit stage2.block1.conv1.weight \(32, 16, 3, 3\)"):
        resnet(20, pretrained=True)


@pytest.mark.data
@pytest.mark.parametrize("depth", models.DEPTHS)
def test_public_weights_classify_images(depth):
    test = datasets.load("cifar10", n_train=0, n_test=100).test
    assert training.evaluate(resnet(depth, pretrained=True), test).accuracy >= 0.87


@pytest.mark.data
def test_public_resnet20_has_its_accuracy_on_the_whole_test_set():
    result = training.evaluate(resnet(20, pretrained=True), datasets.load("cifar10", n_train=0).test, batch_size=500)
    assert result.accuracy == pytest.approx(0.9173, abs=2e-4)


def test_perceptron_normalises_before_or_after_the_activation_and_drops_last():
    def parts(**options):
        return [name for name, _ in mlp([4, 3, 2], seed=0, **options).hidden1.named_children()]

    assert parts() == ["linear", "activation"]
    assert parts(batch_norm="before", dropout=[0.5]) == ["linear", "norm", "activation", "dropout"]
    assert parts(batch_norm="after") == ["linear", "activation", "norm"]
    assert mlp([4, 3, 3, 2], dropout=[0.2, 0.4], seed=0).hidden2.dropout.p == 0.4
    with pytest.raises(ValueError, match="unknown batch_norm 'last'; allowed: before, after"):
        mlp([4, 3, 2], batch_norm="last", seed=0)
    with pytest.raises(ValueError, match=r"dropout must have 1 entries, one per hidden layer, got \[0.2, 0.4\]"):
        mlp([4, 3, 2], dropout=[0.2, 0.4], seed=0)
