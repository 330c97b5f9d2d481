"""Which layers are meant, and how networks that are no image classifiers are run."""

import copy
import re
from collections import namedtuple
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from torch import nn
from torch.nn.utils import prune

from infolib import activations, networks
from infolib.data import Data
from infolib.estimators import binning, discrete
from infolib.measures import lenses


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


class Stage(nn.Module):
    """Some blocks, as a hierarchical network has."""

    def __init__(self, depth):
        super().__init__()
        self.down = nn.Linear(4, 4)
        self.blocks = nn.Sequential(*[Mixer() for _ in range(depth)])


def test_blocks_of_stages_are_blocks_and_stages_are_none():
    net = nn.Sequential(*[Stage(depth) for depth in (2, 1, 3)])
    assert networks.blocks(net) == [f"{i}.blocks.{j}" for i, depth in enumerate((2, 1, 3)) for j in range(depth)]


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
    message = r"unknown layer 'encoder.layers.1'; there are: .*; the nearest are 'encoder.layer.1'"
    with pytest.raises(ValueError, match=message):
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


# how they are run


def tokens(n=60):
    """Sentences of 5 tokens with padding 0 behind them; the class is whether the first is above 4."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 9, (n, 5), generator=draw)
    mask = torch.arange(5) < torch.randint(2, 6, (n, 1), generator=draw)
    return {"input_ids": ids * mask, "attention_mask": mask.long()}, (ids[:, 0] > 4).long()


FEW = {"information": {"n": 20}, "redundancy": {"n": 20}, "class_information": {"n": 20}, "codelength": {"n": 20},
       "discarding": {"n": 2, "steps": 0, "error": 0.1}}  # fmt: skip
HOW = {"take": {"": "logits", "**": 0}, "mask": "attention_mask", "input_of": "embeddings"}


def of(table, quantity):
    return table[table["quantity"] == quantity].set_index("layer")


def test_a_transformer_of_token_numbers_passes_all_lenses(bert):
    net = networks.Network(bert, **HOW)
    table = lenses.look(net, tokens(), "encoder.layer.*", **FEW)
    assert table["layer"].unique().tolist() == [f"encoder.layer.{i}" for i in range(3)]
    without = table[table["why not"] != ""]
    assert set(without["quantity"]) == {"RS(X;T)", "RS share", "concentration"}  # no maps, no box
    assert of(table, "intact accuracy")["value"].between(0, 1).all()
    assert table[table["quantity"] == "discarding"]["settings"].str.startswith("grid 1, bounds (").all()
    same = networks.Network(bert, forward=lambda model, x: model(*x)["logits"], take=0, mask=1, input_of="embeddings")
    x, y = tokens()
    again = lenses.look(same, (tuple(x.values()), y), "encoder.layer.*", **FEW)
    pd.testing.assert_frame_equal(again.drop(columns="options"), table.drop(columns="options"))


def test_padding_does_not_count(bert):
    """Activations at padding are nothing, whatever the number of the padding is."""
    net, (x, y) = networks.Network(bert, **HOW), tokens()
    other = x | {"input_ids": torch.where(x["attention_mask"] > 0, x["input_ids"], 7)}
    bits = [lenses.information(net, (given, y), ["embeddings"], n=60)["value"][0] for given in (x, other)]
    assert bits[0] == pytest.approx(bits[1], abs=1e-6)
    batch = lenses.balanced((x, y), 60)[:30]
    t, mask = activations.collect(bert, batch.x, ["embeddings"])["embeddings"], batch.x["attention_mask"][..., None]
    mean = (t * mask).sum(1) / mask.sum(1)
    expected = float(discrete.mutual_information(binning.quantile(mean, 2), batch.y).mean())
    scored = lenses.class_information(net, (x, y), ["embeddings"], n=30)["value"][0]
    assert scored == pytest.approx(expected, abs=1e-6)
    assert abs(expected - float(discrete.mutual_information(binning.quantile(t.mean(1), 2), batch.y).mean())) > 0.005


def test_what_is_replaced_is_put_back_in_its_place(bert):
    net, (x, _) = networks.Network(bert, **HOW), tokens()
    layer = "encoder.layer.1"
    kept = activations.collect(net, x, [layer, ""])
    assert kept[layer].shape == (60, 5, 4)
    assert kept[""].shape == (60, 2)
    with activations.replace(net, {layer: torch.zeros_like}):
        changed = activations.collect(net, x, ["encoder.layer.2", ""])
    zero = bert.encoder["layer"][2](torch.zeros(60, 5, 4))[0]
    torch.testing.assert_close(changed["encoder.layer.2"], zero)
    assert not torch.allclose(changed[""], kept[""])
    with activations.upto(net, layer) as run:
        assert torch.equal(run(x), kept[layer])
    own = networks.Network(bert, take=lambda out: out[0] + 0)
    refused = pytest.raises(ValueError, match=f"take, where layer '{layer}' is changed, must be a place, a key, or a")
    with refused, activations.replace(own, {layer: torch.zeros_like}):
        activations.forward(bert, x)


def test_a_function_that_picks_a_tensor_is_as_good_as_its_place(bert):
    x, y = tokens()
    picks = {"": lambda out: out["logits"], "**": lambda out: out[0]}
    tables = [
        lenses.look(networks.Network(bert, **HOW | {"take": take}), (x, y), ["encoder.layer.1"], beside=(),
                    lenses=["class_information"], class_information={"n": 30})
        for take in (HOW["take"], picks, picks | {"**": lambda out: out[0] + 0})
    ]  # fmt: skip
    assert (tables[0]["why not"] == "").all()
    assert tables[1]["value"].tolist() == tables[0]["value"].tolist()
    own = tables[2].set_index("quantity")  # what no change can reach is measured all the same
    assert own["value"].tolist()[:2] == tables[0]["value"].tolist()[:2]
    assert all("function that picks one of the tensors there are" in why for why in own["why not"].tolist()[2:])


def test_what_a_function_picks_is_changed_wherever_it_lies():
    @dataclass
    class Output:
        """As a network of one's own may return it."""

        states: tuple
        named: dict

    a, b, new = torch.zeros(3, 1)
    pair = namedtuple("Pair", "first second")
    given = Output((a, pair(a, [b])), {"b": b})
    changed = networks.Network(nn.Identity(), take=lambda out: out.named["b"]).put("0", given, new)
    assert changed.states[1].second[0] is changed.named["b"] is new
    assert changed.states[0] is changed.states[1].first is a
    assert given.named["b"] is given.states[1].second[0] is b
    assert isinstance(changed.states[1], pair)


def test_units_of_a_convolution_over_time_are_its_channels():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(2, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(32, 2)).eval()
    x, y = torch.randn(60, 2, 12), torch.arange(60) % 2
    batch = lenses.balanced(Data(x, y), 40)[:20]
    table = lenses.class_information(net, (x, y), ["0", "1", "2"], n=20)
    for layer, t in activations.collect(net, batch.x, ["0", "1", "2"]).items():
        bits = discrete.mutual_information(binning.quantile(t.mean(2), 2), batch.y)
        assert len(bits) == 8
        assert of(table, "class information")["value"][layer] == pytest.approx(float(bits.mean()), abs=1e-9)
    assert (lenses.redundancy(net, (x, y), ["1"], n=20)["why not"] == "").all()
    told = networks.Network(net, units={"1": "features"})
    assert lenses.redundancy(told, (x, y), ["1"], n=20)["why not"].str.startswith("no maps").all()
    other = lenses.class_information(told, (x, y), ["1"], n=20)["value"][0]
    t = activations.collect(net, batch.x, ["1"])["1"].mean(1)
    assert other == pytest.approx(float(discrete.mutual_information(binning.quantile(t, 2), batch.y).mean()), abs=1e-9)


def test_units_of_channels_last_images_are_their_features():
    net = nn.Sequential(nn.Linear(3, 5), nn.GELU()).eval()  # (n, h, w, c), as in Swin
    x, y = torch.rand(40, 4, 4, 3), torch.arange(40) % 2
    batch = lenses.balanced(Data(x, y), 40)[:20]
    t = activations.collect(net, batch.x, ["1"])["1"].mean((1, 2))
    expected = float(discrete.mutual_information(binning.quantile(t, 2), batch.y).mean())
    assert lenses.class_information(net, (x, y), ["1"], n=20)["value"][0] == pytest.approx(expected, abs=1e-9)


class Samples(torch.utils.data.Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], int(self.y[i])


def test_data_in_any_form_give_one_table(bert):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    x, y = torch.randn(40, 4), torch.arange(40) % 2
    expected = lenses.codelength(net, Data(x, y), ["1"], n=20)
    loader = partial(torch.utils.data.DataLoader, batch_size=7, shuffle=True)
    forms = [(x, y), (x.numpy(), y.numpy()), [x, y], Samples(x, y), loader(Samples(x, y)), list(zip(x, y, strict=True))]
    forms += [pd.DataFrame(x.numpy()).pipe(lambda frame: (frame, pd.Series(y.numpy())))]
    for data in forms:
        pd.testing.assert_frame_equal(lenses.codelength(net, data, ["1"], n=20), expected)
    x, y = tokens()
    rows = [{key: part[i] for key, part in x.items()} | {"labels": y[i]} for i in range(60)]
    how = networks.Network(bert, **HOW)
    expected = lenses.codelength(how, (x, y), 1, n=20)
    for data in (rows, loader(rows)):
        pd.testing.assert_frame_equal(lenses.codelength(how, data, 1, n=20), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_networks_of_half_precision_are_measured_like_their_float32(dtype):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)).eval()
    half = copy.deepcopy(net).to(dtype)
    data = Data(torch.rand(40, 1, 6, 6), torch.arange(40) % 2)
    few = FEW | {"discarding": {"n": 2}}
    table, expected = lenses.look(half, data, ["1", "3"], **few), lenses.look(half.float(), data, ["1", "3"], **few)
    assert table["why not"].equals(expected["why not"])
    assert half[0].weight.dtype == torch.float32  # .float() is in place
    far = of(table, "discarding")["value"] - of(expected, "discarding")["value"]
    assert far.abs().max() == 0  # in float32 both
    smooth = table["quantity"].isin(["I(X;T)", "I(T;Y)", "RS(X;T)", "codelength"])
    np.testing.assert_allclose(table["value"][smooth], expected["value"][smooth], atol=0.05)


# what is refused


@pytest.mark.parametrize(("how", "message"), [
    ({"mask": "attention_mask", "input_of": "embeddings"},
     r"layer 'encoder.layer.0' cannot be measured: its output must be a tensor, got tuple: choose one .* take="),
    ({**HOW, "take": "logits"}, "take='logits' does not fit the output of layer 'encoder.layer.0', a tuple"),
    ({**HOW, "take": {"": "score", "**": 0}}, "take='score' does not fit the output of the model, a dict of logits"),
    ({**HOW, "mask": "mask"}, "mask='mask' does not fit the inputs: 'mask'"),
    ({**HOW, "mask": lambda x: x["input_ids"][:, 2:] > 0},
     "mask must have the 5 tokens of layer 'encoder.layer.0', got 3"),
    ({**HOW, "mask": lambda x: x["input_ids"][0] > 0}, r"mask must have shape \(n, tokens\) with n=3, got \(5,\)"),
    ({**HOW, "input_of": None},
     r"x of data must be floats, .* got 2 inputs; name the layer .* Network\(model, input_of="),
    ({**HOW, "input_of": "embedding"}, "input_of must be a layer, got 'embedding'; the nearest are 'embeddings'"),
    ({**HOW, "units": "neurons"}, "unknown units 'neurons'; allowed: features, channels, tokens"),
    ({**HOW, "take": 1.5}, "take must be an index, a key, a function, or a mapping to these, got float"),
    ({**HOW, "forward": lambda model, x: model(x)}, "model cannot take x of shape {'input_ids': .*give Network"),
])  # fmt: skip
def test_a_network_that_is_run_wrongly_is_refused_before_the_first_lens(bert, how, message, monkeypatch):
    for name in lenses.LENSES:
        monkeypatch.setitem(lenses.LENSES, name, lambda *_, **__: pytest.fail("it measures"))
    with pytest.raises(ValueError, match=message):
        lenses.look(networks.Network(bert, **how), tokens(), "encoder.layer.*", **FEW)


@pytest.mark.parametrize(("data", "message"), [
    ((torch.rand(9, 4), torch.rand(9, 2)), "the labels of data must hold 0 and 1 where a sample has several"),
    ((torch.rand(9, 4), torch.ones(9, 2, 2).long()), r"the shape of the labels of data must be \(n,\) or"),
    ((torch.rand(9, 4), torch.full((9,), torch.nan)), "the labels of data must be finite, got NaN"),
    ((torch.rand(9, 4), torch.ones(8).long()), "x and y must have one row for each sample"),
    ([torch.rand(4)] * 3, r"each of data must be \(x, y\) or a mapping with labels, got Tensor"),
    (({"a": torch.rand(9, 4), "b": torch.rand(8, 4)}, torch.ones(9)), r"x must have a row .* got \[8, 9\] rows"),
    ([], "the number of samples of data must be an integer of at least 1, got 0"),
    (torch.utils.data.TensorDataset(torch.zeros(20_001, 1), torch.zeros(20_001).long()), "more than 20000 samples"),
])  # fmt: skip
def test_targets_and_data_of_another_kind_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        lenses.checked(nn.Sequential(nn.Linear(4, 2)).eval(), data, ["0"])


def test_a_network_is_its_model_with_the_same_names_mode_and_weights(bert):
    net = networks.Network(bert, **HOW)
    assert [name for name, _ in net.named_modules()] == [name for name, _ in bert.named_modules()]
    assert net.state_dict().keys() == bert.state_dict().keys()
    assert not net.training
    bert.train()
    assert net.training
    net.eval()
    assert not any(module.training for module in bert.modules())
    twin = copy.deepcopy(net).double()
    assert {p.dtype for p in twin.parameters()} == {p.dtype for p in twin.model.parameters()} == {torch.float64}
    assert bert.classifier.weight.dtype == torch.float32
    outer = networks.Network(net, units="tokens")
    assert (outer.take, outer.mask, outer.units, net.units) == (HOW["take"], "attention_mask", "tokens", None)
    with pytest.raises(ValueError, match="compiled or scripted"):
        activations.collect(networks.Network(torch.compile(nn.Linear(1, 1))), torch.ones(1, 1), [""])


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
def test_a_network_of_torchvision_is_measured_at_its_blocks(name):
    torch.manual_seed(0)
    net, y = getattr(torchvision.models, name)(num_classes=2).eval(), torch.arange(24) % 2
    x = torch.randn(24, 3, 32, 32)  # standardised, so outside of [0, 1]
    layers = lenses.checked(net, (x, y), 3)
    table = lenses.information(net, (x, y), layers, n=20)
    assert (table["why not"] == "").all()
    assert of(table, "I(X;T)")["value"].gt(1).all()
    why = of(lenses.discarding(net, (x, y), layers, n=1), "discarding")["why not"]
    assert why.str.startswith("x has values from -").all()


def test_a_standardised_table_passes_all_lenses_but_noise():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    table = lenses.look(net, (3 * torch.randn(60, 4), torch.arange(60) % 2), **FEW)
    assert table["layer"].unique().tolist() == ["0", "2"]
    assert set(table["lens"][table["why not"] != ""]) == {"redundancy", "discarding"}
    assert set(of(table, "discarding")["why not"]) == {"it takes images (n, c, h, w), got (2, 4)"}


class Rounding(nn.Module):
    """A layer whose output for an image differs by a few units in the last place with the size of the batch."""

    def forward(self, t):
        return t * (1 + 2 * torch.finfo(torch.bfloat16).eps * (len(t) == 2))


@pytest.mark.parametrize(("dtype", "alone"), [(torch.bfloat16, True), (torch.float32, False)])
def test_rounding_of_half_precision_is_no_dependence_on_other_images(dtype, alone):
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), Rounding()).to(dtype).eval()
    why = lenses.measurable(net, torch.rand(3, 4)).set_index("layer")["why not"]
    assert (why["2"] == "") == alone
    assert why["1"] == ""


@pytest.mark.parametrize("reparametrised", [
    nn.utils.weight_norm, nn.utils.spectral_norm, nn.utils.parametrizations.weight_norm,
    lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_a_twin_has_no_trained_weight_where_a_weight_is_computed_from_another(reparametrised):
    net = nn.Sequential(reparametrised(nn.Linear(6, 4)))
    with torch.no_grad():
        before = net(torch.eye(6))
    twin = networks.untrained(net)
    assert not any(torch.equal(one, other) for one, other in zip(net.parameters(), twin.parameters(), strict=True))
    weights = twin(torch.eye(6)) - twin(torch.zeros(1, 6))
    assert not torch.allclose(weights, before - net(torch.zeros(1, 6)))


def test_a_network_that_cannot_be_copied_needs_an_untrained_one():
    net = nn.Sequential(nn.Linear(6, 4)).eval()
    net.lock = open(__file__)  # noqa: SIM115
    x, y = torch.randn(60, 6, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 2
    how = {"lenses": ["codelength"], "codelength": {"n": 20}}
    with net.lock, pytest.raises(ValueError, match=r"untrained: model cannot be copied: cannot pickle .*`untrained=`"):
        lenses.look(net, (x, y), ["0"], **how)
    table = lenses.look(net, (x, y), ["0"], untrained=lambda _: nn.Sequential(nn.Linear(6, 4)).eval(), **how)
    assert table["untrained"].notna().all()
