"""Which layers are meant, and how networks that are no image classifiers are run."""

import re

import pytest
import torch
import torchvision
from torch import nn

from infolib import activations, networks


def of_torchvision(name):
    with torch.device("meta"):  # the structure alone
        return getattr(torchvision.models, name)()


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, t):
        return (self.query(t) @ self.key(t).mT).softmax(-1) @ self.value(t), None


class Layer(nn.Module):
    """A block of a transformer as others build it: it returns a tuple."""

    def __init__(self):
        super().__init__()
        self.attention, self.output = Attention(), nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))

    def forward(self, t):
        t = t + self.attention(t)[0]
        return (t + self.output(t),)


class Bert(nn.Module):
    """Token numbers and a mask as keywords, a dict as output, blocks called encoder.layer.0 and so on."""

    def __init__(self, depth=3, classes=2):
        super().__init__()
        self.embeddings = nn.Embedding(9, 4)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList([Layer() for _ in range(depth)])})
        self.classifier = nn.Linear(4, classes)

    def forward(self, input_ids=None, attention_mask=None):
        t = self.embeddings(input_ids)
        for layer in self.encoder["layer"]:
            (t,) = layer(t)
        weight = attention_mask[..., None].to(t)
        return {"logits": self.classifier((t * weight).sum(1) / weight.sum(1)), "last": t}


class Mixer(nn.Module):
    """One layer over tokens, one over channels, as in blocks.0, blocks.1 and so on."""

    def __init__(self):
        super().__init__()
        self.norm1, self.mlp_tokens = nn.LayerNorm(4), nn.Sequential(nn.Linear(5, 5), nn.GELU())
        self.norm2, self.mlp_channels = nn.LayerNorm(4), nn.Sequential(nn.Linear(4, 4), nn.GELU())

    def forward(self, t):
        t = t + self.mlp_tokens(self.norm1(t).mT).mT
        return t + self.mlp_channels(self.norm2(t))


def mixer(depth=4):
    parts = {"stem": nn.Linear(3, 4), "blocks": nn.Sequential(*[Mixer() for _ in range(depth)])}
    return nn.Sequential(nn.ModuleDict(parts)["stem"], parts["blocks"])


@pytest.fixture
def bert():
    torch.manual_seed(0)
    return Bert().eval()


# which layers


@pytest.mark.parametrize(("name", "kind", "number", "first", "last"), [
    ("resnet18", "BasicBlock", 8, "layer1.0", "layer4.1"),
    ("resnet50", "Bottleneck", 16, "layer1.0", "layer4.2"),
    ("convnext_tiny", "CNBlock", 18, "features.1.0", "features.7.2"),
    ("vit_b_16", "EncoderBlock", 12, "encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_11"),
    ("efficientnet_b0", "MBConv", 16, "features.1.0", "features.7.0"),
    ("mobilenet_v3_small", "InvertedResidual", 11, "features.1", "features.11"),
])  # fmt: skip
def test_the_blocks_of_a_network_are_its_repeated_modules(name, kind, number, first, last, capsys):
    net = of_torchvision(name)
    found = networks.blocks(net)
    assert {type(net.get_submodule(block)).__name__ for block in found} == {kind}
    assert (len(found), found[0], found[-1]) == (number, first, last)
    chosen = networks.select(net)
    assert (len(chosen), chosen[0], chosen[-1]) == (min(number, 12), first, last)
    assert capsys.readouterr().out == f"layers: {', '.join(chosen)}\n"
    three = networks.select(net, 3)
    assert (three[0], three[2], len(set(three))) == (first, last, 3)
    assert abs(found.index(three[1]) - (number - 1) / 2) <= 0.5
    assert networks.select(net, 1) == [last]
    assert capsys.readouterr().out == ""


def test_blocks_of_transformers_mixers_and_chains(bert):
    assert networks.blocks(bert) == [f"encoder.layer.{i}" for i in range(3)]
    assert networks.blocks(mixer()) == [f"1.{i}" for i in range(4)]
    chain = nn.Sequential(*[nn.Sequential(nn.Conv1d(2, 2, 1), nn.ReLU()) for _ in range(3)], nn.Flatten())
    assert networks.blocks(chain) == ["0.0", "1.0", "2.0"]  # a Sequential is no block


def test_two_kinds_of_blocks_are_both_blocks():
    net = of_torchvision("efficientnet_v2_s")
    kinds = [type(net.get_submodule(block)).__name__ for block in networks.blocks(net)]
    assert (kinds[0], kinds[-1], len(set(kinds)), len(kinds)) == ("FusedMBConv", "MBConv", 2, 40)


@pytest.mark.parametrize(("layers", "expected"), [
    (["layer1.0"], ["layer1.0"]),
    (["fc", "layer1.0", "fc"], ["fc", "layer1.0"]),
    ("layer?.0", ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]),
    ("layer1.*", ["layer1.0", "layer1.1"]),
    ("layer1.1.**", [f"layer1.1.{name}" for name in ("conv1", "bn1", "relu", "conv2", "bn2")]),
    (["**.downsample", "layer2.*"], ["layer2.0.downsample", "layer3.0.downsample", "layer4.0.downsample",
                                     "layer2.0", "layer2.1"]),
    (re.compile(r"layer[34]\.\d"), ["layer3.0", "layer3.1", "layer4.0", "layer4.1"]),
    (["relu#1"], ["relu#1"]),
    ([], []),
])  # fmt: skip
def test_names_wildcards_and_regular_expressions(layers, expected):
    assert networks.select(of_torchvision("resnet18"), layers) == expected


@pytest.mark.parametrize(("layers", "message"), [
    ("layers1.*", "layers: no layer matches 'layers1.*'; the nearest are 'layer1"),
    ("layer1.0", r"layers must be a sequence of names, got 'layer1.0'; write \['layer1.0'\]"),
    (["fc", re.compile("layer9.*")], "layers: no layer matches 'layer9.*'; the nearest are 'layer"),
    (9, "layers must be at most the number of blocks, 8, got 9"),
    (0, "layers must be an integer of at least 1, got 0"),
    (True, "layers must be a sequence of names, got True"),
    ([1], r"layers must be a sequence of names, got \[1\]"),
    (3.5, "layers must be a sequence of names, got 3.5"),
])  # fmt: skip
def test_layers_that_there_are_not_are_refused_with_the_nearest(layers, message):
    with pytest.raises(ValueError, match=message):
        networks.select(of_torchvision("resnet18"), layers)


def test_a_misspelt_name_is_refused_with_the_nearest(bert):
    with pytest.raises(ValueError, match=r"unknown layer 'encoder.layers.1'; the nearest are 'encoder.layer.1'"):
        activations.collect(bert, torch.ones(2, 5).long(), ["encoder.layers.1"])
    with pytest.raises(ValueError, match="model has no repeated blocks and no layers with weights; name layers"):
        networks.select(nn.Sequential(nn.Flatten(), nn.ReLU()))


def test_activations_are_recorded_by_pattern_and_number():
    torch.manual_seed(0)
    net, x = mixer().eval(), torch.rand(3, 5, 3)
    every = activations.collect(net, x, [f"1.{i}" for i in range(4)])
    for layers, names in (("1.*", every), (2, ["1.0", "1.3"]), (re.compile(r"1\.[12]"), ["1.1", "1.2"])):
        found = activations.collect(net, x, layers)
        assert list(found) == list(names)
        assert all(torch.equal(t, every[layer]) for layer, t in found.items())
        with activations.record(net, layers) as recorded:
            net(x)
        assert list(recorded) == list(names)
