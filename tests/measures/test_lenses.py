import copy
import inspect
import math
import re
import typing
from collections import OrderedDict
from contextlib import nullcontext
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from infolib import activations, training
from infolib.data import Data
from infolib.estimators import binning, discrete, renyi
from infolib.measures import discarding, information_plane, lenses, neuron_importance, synergy, transfer
from infolib.networks import Network
from workbook import models

N = 40


class Tuple(nn.Module):
    def forward(self, x):
        return x, x


class Flipped(nn.Module):  # (tokens, n, features), as some transformers have it
    def forward(self, t):
        return t.transpose(0, 1)


class Shift(nn.Module):  # images in [-2, 3] to [0, 1]
    def forward(self, x):
        return (x + 2) / 5


class Chance(nn.Module):  # dropout that eval mode does not switch off
    def forward(self, t):
        return nn.functional.dropout(t, training=True)


class Net(nn.Module):
    """No chain: two branches, tokens, and layers that nobody can measure."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(inplace=True))
        self.tokens = nn.Conv2d(6, 8, 3, stride=3)
        self.mixed = nn.Linear(8, 8)
        self.pair, self.flipped, self.chance, self.broken = Tuple(), Flipped(), Chance(), nn.Identity()
        self.one, self.dead = nn.Conv2d(6, 1, 1), nn.Threshold(1e9, 0.0)
        self.unused = nn.Linear(1, 1)
        self.output = nn.Linear(8, 10)

    def forward(self, x):
        t = self.conv(x)
        self.one(t), self.dead(t)
        tokens = self.mixed(self.tokens(t).flatten(2).transpose(1, 2))
        self.pair(tokens), self.flipped(tokens), self.chance(tokens), self.broken(tokens / 0)
        return self.output(tokens.mean(1) + t.mean((2, 3)).mean(1, keepdim=True))


LAYERS = ["conv", "tokens", "mixed", "output"]


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(3 * N) % 10
    bumps = torch.rand(10, 1, 6, 6, generator=generator)
    x = (0.7 * bumps[y] + 0.3 * torch.rand(len(y), 1, 6, 6, generator=generator)).clamp(0, 1)
    return Data(x, y)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def chain(data):
    torch.manual_seed(0)
    conv = {f"conv{i}": nn.Sequential(nn.Conv2d(*maps, 3), nn.ReLU()) for i, maps in ((1, (1, 4)), (2, (4, 6)))}
    fc1 = nn.Sequential(nn.Linear(24, 12), nn.ReLU())
    net = nn.Sequential(OrderedDict(conv, flatten=nn.Flatten(), fc1=fc1, output=nn.Linear(12, 10)))
    for _ in training.fit(net, data, epochs=20, batch_size=30, lr=0.01, seed=0):
        pass
    return net.eval()


def values(table, quantity):
    return table[table["quantity"] == quantity].set_index("layer")["value"]


def reasons(table, quantity):
    return table[table["quantity"] == quantity].set_index("layer")["why not"]


def recorded(net, layer, x):
    """What a layer says, without the package's hooks."""
    kept = []
    handle = net.get_submodule(layer).register_forward_hook(lambda _m, _i, t: kept.append(t.detach().clone()))
    net(x)
    handle.remove()
    return kept[0].double()


def rms(t):
    """Root mean squared distance of two samples, one pair at a time."""
    return math.sqrt(np.mean([((a - b) ** 2).sum() for a, b in combinations(np.asarray(t.flatten(1)), 2)]))


# each lens against the function that it looks with


def test_information_is_that_of_the_plane_at_widths_of_the_layers_own_scale_and_aligned(net, data):
    table, batch = lenses.information(net, data, LAYERS, n=N), lenses.balanced(data, N)
    width = 0.55 * rms(batch.x.double())
    for layer in LAYERS:
        t = recorded(net, layer, batch.x)
        t = t.softmax(1) if layer == "output" else t
        (row,) = information_plane.matrix_based(batch.x.double(), batch.y, {layer: t}, input_width=width)
        X, T = renyi.gram(batch.x.double(), width=width), renyi.gram(t, width=0.55 * rms(t))
        Y = renyi.label_gram(batch.y)
        for of, gram in (("I(X;T)", X), ("I(T;Y)", Y)):
            assert values(table, of)[layer] == pytest.approx(
                float(renyi.mutual_information(gram, T, alpha=1.01)), abs=1e-6
            )
            assert values(table, f"{of} aligned")[layer] == pytest.approx(row[of], abs=1e-6)
            widths = table[table["layer"] == layer].set_index("quantity")["width"]
            assert widths[of] == 0.55
            assert widths[f"{of} aligned"] == pytest.approx(row["width"] / rms(t))
        how = table.set_index("layer")["settings"][layer].iloc[0]
        assert how.endswith(", of softmax") == (layer == "output")
    assert (table["value"] > 0.05).all()
    assert set(table["unit"]) == {"bit"}


def test_label_free_information_about_the_input_asks_for_no_labels(net, data):
    of = [lenses.information(net, Data(data.x, y), ["mixed"], n=3 * N) for y in (data.y, data.y // 5)]  # all samples
    assert values(of[0], "I(X;T)")["mixed"] == pytest.approx(values(of[1], "I(X;T)")["mixed"], abs=1e-9)
    aligned = [values(table, "I(X;T) aligned")["mixed"] for table in of]
    assert abs(aligned[0] - aligned[1]) > 0.05


def test_redundancy_is_that_of_the_decomposition_at_one_width_for_all_maps(net, data):
    table, x = lenses.redundancy(net, data, LAYERS, n=N), lenses.balanced(data, N).x
    t = recorded(net, "conv", x)
    width = 0.55 * math.sqrt(np.mean([rms(t[:, c]) ** 2 for c in range(6)]))
    X = renyi.gram(x.double(), width=0.55 * rms(x.double()))
    d = synergy.decompose(X, renyi.channel_grams(t, width=width))
    assert values(table, "RS(X;T)")["conv"] == pytest.approx(d.redundancy_synergy, abs=1e-6)
    assert values(table, "RS share")["conv"] == pytest.approx(d.redundancy_share, abs=1e-6)
    assert d.redundancy_synergy > 0.1
    assert table[table["quantity"] == "RS share"]["unit"].unique().tolist() == ["1"]


def test_redundancy_has_the_numbers_of_synergy_at_the_same_widths(net, data):
    table, x = lenses.redundancy(net, data, ["conv", "tokens"], n=N), lenses.balanced(data, N).x
    rows = synergy.by_layer(net, x, ["conv", "tokens"], h=None, max_pairs=60).set_index("layer")
    for of in ("RS(X;T)", "RS share"):
        found = rows[of.replace("share", "share(X;T)")]
        assert values(table, of).to_dict() == pytest.approx(found.to_dict(), abs=1e-6)
    other = synergy.by_layer(net, x, ["conv"], max_pairs=60)["RS share(X;T)"][0]
    assert abs(other - values(table, "RS share")["conv"]) > 0.05


def test_pairs_of_maps_are_a_sample_by_the_seed(net, data):
    all_pairs, few, again, other = (
        values(lenses.redundancy(net, data, ["conv"], n=N, max_pairs=pairs, seed=seed), "RS(X;T)")["conv"]
        for pairs, seed in ((15, 0), (3, 0), (3, 0), (3, 1))
    )
    assert few == again
    assert len({all_pairs, few, other}) == 3


FEW = {
    "information": {"n": N}, "redundancy": {"n": N}, "class_information": {"n": N}, "codelength": {"n": N},
    "discarding": {"n": 8, "boxed": True, "error": 0.05},
}  # fmt: skip


def in_other_units(net, factors):
    """The same function: each Linear and Conv2d, and so the ReLU after it, in another unit; the next one undoes it."""
    scaled, before = copy.deepcopy(net), 1.0
    modules = [m for m in scaled.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    with torch.no_grad():
        for module, factor in zip(modules, [*factors, 1.0], strict=True):
            module.weight *= factor / before
            module.bias *= factor
            before = factor
    return scaled


@pytest.fixture
def perceptron(data):
    torch.manual_seed(0)
    layers = {f"hidden{i}": nn.Sequential(nn.Linear(*units), nn.ReLU()) for i, units in ((1, (36, 20)), (2, (20, 15)))}
    net = nn.Sequential(OrderedDict(flatten=nn.Flatten(), **layers, output=nn.Linear(15, 10)))
    for _ in training.fit(net, data, epochs=20, batch_size=30, lr=0.01, seed=0):
        pass
    return net.eval()


@pytest.mark.parametrize("kind", ["chain", "perceptron"])
def test_no_lens_depends_on_the_unit_of_a_layer(request, data, kind):
    net = request.getfixturevalue(kind)
    layers = [name for name, _ in net.named_children() if name != "flatten"]
    inside = [f"{name}.0" for name in layers[:-1]]  # before the ReLU
    expected = lenses.look(net, data, [*layers, *inside], **FEW)
    keys = ["layer", "quantity", "why not"]
    for powers in ([-10, 10, 0], [10, -10, -10]):
        other = in_other_units(net, [2.0**power for power in powers[: len(layers) - 1]])
        assert torch.equal(other(data.x), net(data.x))  # exact in floats
        found = lenses.look(other, data, [*layers, *inside], **FEW)
        assert found[keys].equals(expected[keys])
        np.testing.assert_allclose(found["value"], expected["value"], rtol=0, atol=1e-6)
    other = in_other_units(net, [1e-3, 1e3, 1][: len(layers) - 1])
    found = lenses.look(other, data, [*layers, *inside], **FEW)
    np.testing.assert_allclose(found["value"], expected["value"], rtol=0, atol=1e-3)
    assert (expected["value"].abs() > 1e-3).mean() > 0.7  # there is something to compare


def test_an_end_of_the_range_of_widths_that_wins_is_reported():
    """Pairs of equal images of two classes, of 20 and of 2, which no width tells apart; and two groups, the classes."""
    i, noise = torch.arange(40), torch.rand(40, 200, generator=torch.Generator().manual_seed(0))
    pairs = (i[:, None].expand(-1, 200) // 2) / 20
    net = nn.Sequential(nn.Flatten(), nn.Linear(200, 1)).eval()
    for end, x, y in (
        (True, pairs, (i // 2 + 10 * (i % 2)) % 20),
        (True, pairs, i % 2),
        (False, noise / 10 + i[:, None] // 20 / 2, i // 20),
    ):
        table = lenses.information(net, Data(x, y), ["0"], n=40).set_index("quantity")
        assert table["at edge"]["I(X;T) aligned"] == end
        assert not table["at edge"]["I(X;T)"]


def test_a_layer_of_equal_activations_has_no_width_and_no_information(net, data):
    table = lenses.information(net, data, ["dead"], n=N)
    assert table["value"].tolist() == pytest.approx([0, 0, 0, 0], abs=1e-9)
    assert table["width"].tolist()[2:] == [math.inf, math.inf]


# softmax


class Head(nn.Module):
    """One Linear under two names, the output as it is and again, and a hidden layer of the name `output`."""

    def __init__(self, last=None):
        super().__init__()
        self.flat, self.output, self.hidden = nn.Flatten(), nn.Linear(36, 10), nn.Linear(36, 10)
        self.head, self.last = nn.Linear(10, 10), last or nn.Identity()
        self.hidden.load_state_dict(self.output.state_dict())

    def forward(self, x):
        x = self.flat(x)
        return self.last(self.head(self.output(x).relu() + 0 * self.hidden(x)))


def test_the_network_s_output_enters_as_softmax_whatever_its_name(data):
    torch.manual_seed(0)
    net = Head().eval()
    layers = ["output", "hidden", "head", "last"]
    table = lenses.information(net, data, layers, n=N)
    bits = table.groupby("layer")["value"].agg(tuple).to_dict()
    assert bits["output"] == bits["hidden"]  # one Linear, two names
    assert bits["head"] == bits["last"]  # one output
    softmax = table.groupby("layer")["settings"].first().str.endswith("of softmax").to_dict()
    assert softmax == {"output": False, "hidden": False, "head": True, "last": True}
    none = lenses.information(net, data, layers, n=N, softmax=()).groupby("layer")["value"].agg(tuple)
    named = lenses.information(net, data, layers, n=N, softmax=["hidden", "head"]).groupby("layer")["value"].agg(tuple)
    assert none["hidden"] == bits["hidden"] != named["hidden"]
    assert none["head"] != bits["head"] == named["head"]
    probabilities = lenses.information(Head(nn.Softmax(1)).eval(), data, ["head", "last"], n=N)
    assert not probabilities["settings"].str.endswith("of softmax").any()  # not twice
    maps = nn.Sequential(OrderedDict(output=nn.Conv2d(1, 3, 3))).eval()
    assert not lenses.information(maps, data, ["output"], n=N)["settings"].str.endswith("of softmax").any()
    with pytest.raises(ValueError, match=r"softmax must name layers of logits \(n, classes\), got 'conv' of shape"):
        lenses.information(
            nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 3, 3))).eval(), data, ["conv"], n=N, softmax=["conv"]
        )


# samples


def test_samples_are_balanced_and_the_same_for_any_order_of_the_data(chain, data):
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(1))
    by_class = data.y.argsort(stable=True)
    expected = lenses.look(chain, data, ["conv2", "fc1"], **FEW)
    for other in (order, by_class):
        found = lenses.look(chain, data[other], ["conv2", "fc1"], **FEW)
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert lenses.balanced(data[by_class], N).y.bincount().tolist() == [N // 10] * 10
    twice = Data(torch.cat([data.x, data.x]), torch.cat([data.y, 9 - data.y]))  # each image with two labels
    again = twice[torch.randperm(len(twice), generator=torch.Generator().manual_seed(1))]
    assert torch.equal(lenses.balanced(twice, N).x, lenses.balanced(again, N).x)
    assert torch.equal(lenses.balanced(twice, N).y, lenses.balanced(again, N).y)


def test_the_numbers_of_the_classes_cost_nothing(chain, data):
    few = {lens: options for lens, options in FEW.items() if lens != "class_information"}
    tables = [
        lenses.look(chain, Data(data.x, y), ["conv2", "fc1"], class_information={"n": N}, **few)
        for y in (data.y, 2 * data.y, 20 * data.y, data.y - 5, data.y + 1)
    ]
    bits = [table[~table["quantity"].isin(["intact accuracy", "ablation area", "ablation gap"])] for table in tables]
    for found in bits[1:]:
        pd.testing.assert_frame_equal(found, bits[0], check_exact=True)
    assert [table["why not"].str.contains("labels are from -5 to 4").sum() for table in tables] == [0, 0, 0, 6, 0]
    five = Data(data.x, data.y // 2)
    bits = [lenses.codelength(chain, Data(data.x, f * five.y), ["fc1"], n=N)["value"][0] for f in (1, 2, 20)]
    assert len(set(bits)) == 1
    with pytest.raises(ValueError, match="y must be"):
        lenses.codelength(chain, Data(data.x, np.array(["cat", "dog"] * 60)), ["fc1"], n=N)


def test_too_few_samples_for_the_classes_are_refused(net, data):
    with pytest.raises(ValueError, match="n must be so large that each of 10 classes has a sample, got n=8 with 8"):
        lenses.codelength(net, data, ["conv"], n=8)
    rare = Data(torch.cat([data.x, data.x[:1]]), torch.cat([data.y * 0, torch.tensor([1])]))
    for lens in (lenses.information, lenses.class_information, lenses.codelength):
        with pytest.raises(ValueError, match="n must be so large that each of 2 classes has a sample, got n=20 with 1"):
            lens(net, rare, ["conv"], n=20)
    assert lenses.redundancy(net, rare, ["conv"], n=20)["why not"].tolist() == ["", ""]  # it asks for no labels


def by_hand(codes, y):
    """I(T;Y) of a unit's bits, in bits, from counts."""
    total = 0.0
    for t in (0, 1):
        for k in np.unique(y):
            p = np.mean((codes == t) & (y == k))
            total += p * np.log2(p / (np.mean(codes == t) * np.mean(y == k))) if p else 0
    return total


def test_class_information_is_the_mean_over_units_of_their_bits_about_the_class(net, data):
    table, batch = lenses.class_information(net, data, LAYERS, n=N), lenses.balanced(data, 2 * N)
    of_layer = {"conv": (2, 3), "mixed": 1, "output": ()}  # places are averaged: maps' pixels, tokens
    for layer, places in of_layer.items():
        t = recorded(net, layer, batch.x[:N]).float()
        t = t.mean(places).numpy() if places else t.numpy()
        lower = np.sort(t, axis=0)[N // 2 - 1]
        expected = np.mean([by_hand(t[:, i] > lower[i], batch.y[:N].numpy()) for i in range(t.shape[1])])
        assert values(table, "class information")[layer] == pytest.approx(expected, abs=1e-9)
        assert expected > 0.2


def test_a_unit_and_its_mirror_image_have_the_same_class_information():
    """A unit that is the class, at its top for 60 % of the samples: H(0.6) bits, as its mirror image has."""
    y = torch.tensor([1] * 120 + [0] * 80)
    data, net = Data(y[:, None].float(), y), nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)).eval()
    with torch.no_grad():
        for layer, weight, bias in ((net[0], 1, 0), (net[1], -1, 1)):
            layer.weight.fill_(weight)
            layer.bias.fill_(bias)
    table = lenses.class_information(net, data, ["0", "1"], n=100)
    entropy = -0.6 * math.log2(0.6) - 0.4 * math.log2(0.4)
    assert values(table, "class information").tolist() == pytest.approx([entropy] * 2, abs=1e-6)
    assert round(entropy, 3) == 0.971


def test_ablation_is_that_of_neuron_importance_on_a_chain(chain, data):
    layers, shares = ["conv1", "conv2", "fc1"], (0.5, 1.0)
    curves, batch = lenses.clamped_accuracy(chain, data, layers, n=N, shares=shares), lenses.balanced(data, 2 * N)
    for layer in layers:
        t = recorded(chain, layer, batch.x[:N]).float()
        t = t.mean((2, 3)).numpy() if t.ndim > 2 else t.numpy()
        lower = np.sort(t, axis=0)[N // 2 - 1]
        bits = np.array([by_hand(t[:, i] > lower[i], batch.y[:N].numpy()) for i in range(t.shape[1])])
        for direction, sign in (("descending", -1), ("ascending", 1)):
            order = torch.from_numpy(np.argsort(sign * bits.round(9), kind="stable"))
            orders = [neuron_importance.Order((layer,), "class information", direction, order)]
            theirs = neuron_importance.ablation_curves(chain, batch[N:], orders, means=batch[:N])
            theirs = theirs.set_index("k")["accuracy"]
            ours = curves[(curves["layer"] == layer) & (curves["direction"] == direction)]["accuracy"].tolist()
            half = round(len(bits) / 2)
            assert ours == pytest.approx([theirs[0], theirs[half], theirs[len(bits)]], abs=1e-12)
    assert curves["accuracy"].nunique() > 4


def test_areas_are_those_under_the_curves(chain, data):
    curves = lenses.clamped_accuracy(chain, data, ["fc1"], n=N)
    table = lenses.class_information(chain, data, ["fc1"], n=N)
    down, up = (curves[curves["direction"] == way]["accuracy"].to_numpy() for way in ("descending", "ascending"))
    areas = [np.mean([(a + b) / 2 for a, b in pairwise(way)]) for way in (down, up)]  # five points, evenly spaced
    assert values(table, "ablation area")["fc1"] == pytest.approx(areas[0], abs=1e-12)
    assert values(table, "ablation gap")["fc1"] == pytest.approx(areas[1] - areas[0], abs=1e-12)
    assert areas[0] != areas[1]
    intact = training.evaluate(chain, lenses.balanced(data, 2 * N)[N:]).accuracy
    assert values(table, "intact accuracy")["fc1"] == down[0] == intact > 0.5


def test_all_units_clamped_leave_a_single_answer_in_maps_tokens_and_units(net, data):
    with torch.no_grad():
        net.mixed.weight *= 100  # the tokens decide
    curves = lenses.clamped_accuracy(net, data, ["mixed", "output"], n=N, shares=[1.0])
    silent = curves[curves["share"] == 1].groupby("layer")["accuracy"].unique()
    assert silent["output"].tolist() == [0.1]  # ten classes, as many images of each
    assert curves[curves["share"] == 0]["accuracy"].nunique() == 1


def test_half_of_the_features_are_clamped_in_all_tokens(net, data):
    with torch.no_grad():
        net.output.bias -= net(data.x).mean(0)  # so that it gives several classes
        data = Data(data.x, net(data.x).argmax(1))  # all are right while nothing is clamped
    curves = lenses.clamped_accuracy(net, data, ["mixed"], n=N, shares=[0.5])
    batch = lenses.balanced(data, 2 * N)
    t = activations.collect(net, batch.x[:N], ["mixed"])["mixed"].mean(1)
    bits = discrete.mutual_information(binning.quantile(t, 2), batch.y[:N])
    units = bits.round(decimals=9).argsort(descending=True, stable=True)[: t.shape[1] // 2]

    def clamp(tokens):
        tokens[..., units] = t.mean(0)[units]
        return tokens

    with activations.replace(net, {"mixed": clamp}):
        expected = training.evaluate(net, batch[N:]).accuracy
    found = curves[(curves["direction"] == "descending") & (curves["share"] == 0.5)]["accuracy"].item()
    assert found == expected < 1


def test_discarding_is_the_mean_over_images_of_what_a_layer_says_as_it_is(net, data):
    few = {"error": 0.05, "steps": 2}
    table, x = (
        lenses.discarding(net, data, ["conv", "mixed"], n=8, boxed=True, seed=3, **few),
        lenses.balanced(data, 8).x,
    )
    for layer in ("conv", "mixed"):
        each = few | {"error": 0.05 * math.sqrt(8)}
        d = discarding.strict_information_discarding(net, x, layer, grid=6, rectify=False, seed=3, **each)
        assert values(table, "discarding")[layer] == pytest.approx(float(d.mean.mean()))
        assert values(table, "discarding error")[layer] == pytest.approx(float(d.mean_error.square().sum().sqrt() / 8))
        assert values(table, "capped cells")[layer] == pytest.approx(float(d.capped.mean()))
        expected = discarding.concentration(d.entropy, discarding.box(6))
        assert values(table, "concentration")[layer] == pytest.approx(float(expected.mean()))


@pytest.mark.parametrize(("h", "w", "grid"), [(28, 28, 14), (42, 42, 14), (224, 224, 16), (8, 12, 4), (7, 11, 1)])
def test_the_grid_is_the_finest_that_divides_both_sides(h, w, grid):
    assert lenses.finest_grid(torch.zeros(1, 1, h, w)) == grid


def test_codelength_is_what_logistic_regression_on_the_features_pays(net, data):
    """The probe sees coordinates of the features in which it must be no better or worse; sklearn sees the features."""
    n = 64
    table, batch = lenses.codelength(net, data, ["conv", "output"], n=n), lenses.balanced(data, n)
    for layer in ("conv", "output"):
        t = recorded(net, layer, batch.x).flatten(1).numpy()
        t = (t - t.mean(0)) / np.sqrt(((t - t.mean(0)) ** 2).sum(1).mean())
        x, y, total = np.column_stack([t, np.ones(n)]), batch.y.numpy(), 8 * math.log2(10)
        for start, stop in ((8, 16), (16, 32), (32, 64)):
            fit = LogisticRegression(C=100.0, fit_intercept=False, max_iter=10_000, tol=1e-8).fit(x[:start], y[:start])
            logits = fit.decision_function(x[start:stop])
            if len(fit.classes_) < 10:  # a class without samples still has a say
                logits = _with_unseen(x[:start], y[:start], x[start:stop])
            p = np.exp(logits - logits.max(1, keepdims=True))
            p = (p / p.sum(1, keepdims=True))[np.arange(stop - start), y[start:stop]]
            bits = -np.log2(p).sum()
            total += -np.logaddexp2(-1 - bits, -1 - (stop - start) * math.log2(10))
        assert values(table, "codelength")[layer] == pytest.approx(total / n, abs=1e-3)
    assert set(table["unit"]) == {"bit per label"}


def _with_unseen(x, y, new):
    """Logits of a regression of ten classes of which some have no samples, by gradient descent on the same loss."""
    x, y, W = torch.from_numpy(x), torch.from_numpy(y), torch.zeros(x.shape[1], 10, dtype=torch.float64)
    rate = 1 / (0.5 * float(torch.linalg.eigvalsh(x @ x.T).max()) + 0.01)
    momentum = torch.zeros_like(W)
    for _ in range(20_000):
        gradient = x.T @ ((x @ W).softmax(1) - nn.functional.one_hot(y, 10)) + W / 100
        momentum = 0.99 * momentum - rate * gradient
        W = W + momentum
    return torch.from_numpy(new).matmul(W).numpy()


def test_units_that_are_always_zero_cost_nothing_and_large_numbers_no_more(data):
    """With them a layer has more units than there are samples, and its inner products are taken, which may be large."""
    net, wider = nn.Sequential(nn.Flatten(), nn.Linear(36, 15)), nn.Sequential(nn.Flatten(), nn.Linear(36, 400))
    with torch.no_grad():
        for to, of in zip(wider.parameters(), net.parameters(), strict=True):
            to.zero_()[:15] = of
        huge, double = copy.deepcopy(wider), copy.deepcopy(net).double()
        for model, factor in ((huge, 1e30), (double, 1e200)):
            for weights in model.parameters():
                weights *= factor
    bits, *others = (
        lenses.codelength(model.eval(), data, ["1"], n=N)["value"].to_numpy() for model in (net, wider, huge, double)
    )
    np.testing.assert_allclose(others, [bits] * 3, rtol=0, atol=1e-5)


def test_probe_is_at_the_maximum_of_its_posterior_and_predicts_alike_without_samples(data):
    x = data.x[:30].flatten(1).double()
    says = lenses.probe(torch.zeros(10), Data(x, data.y[:30]), 0)
    basis = torch.cat([torch.eye(36, dtype=torch.float64), torch.zeros(1, 36, dtype=torch.float64)])
    b = says(basis[-1:])
    W = torch.cat([says(basis[:-1]) - b, b])
    padded = torch.cat([x, torch.ones(30, 1, dtype=torch.float64)], 1)
    slope = padded.T @ (says(x).softmax(1) - nn.functional.one_hot(data.y[:30], 10)) + W / lenses.PRIOR**2
    assert float(slope.abs().max()) < 1e-5
    assert float(W.abs().max()) > 1
    assert torch.equal(lenses.probe(torch.zeros(10), Data(x[:0], data.y[:0]))(x), torch.zeros(30, 10).double())


# the table


def test_all_five_lenses_give_one_tidy_table_in_the_order_of_the_forward_pass(net, data):
    sizes = {"information": {"n": N}, "redundancy": {"n": N}, "class_information": {"n": N}, "codelength": {"n": N}}
    few = {"n": 8, "boxed": True, "error": 0.05}
    table = lenses.look(net, data, LAYERS[::-1], network="mine", seed=7, discarding=few, **sizes)
    assert table.columns.tolist() == [*lenses.COLUMNS, "network", "seed", "options"]
    assert table["lens"].unique().tolist() == list(lenses.LENSES)
    depth = table.groupby("layer")["depth"].unique().map(list)
    assert depth.to_dict() == {layer: [i] for i, layer in enumerate(LAYERS, start=1)}
    assert set(table["network"] + table["seed"].astype(str)) == {"mine7"}
    assert (np.isfinite(table["value"]) == (table["why not"] == "")).all()  # a number, or a reason
    assert (table["why not"] != "").sum() == 4  # no pairs of maps in two layers
    assert (table["permuted"].notna() == (table["permutes"] != "")).all()
    nothing = {"intact accuracy", *table[table["lens"] == "discarding"]["quantity"]}
    assert set(table[(table["permutes"] == "") & (table["why not"] == "")]["quantity"]) == nothing
    assert (table["untrained"].notna() == (table["why not"] == "")).all()
    np.testing.assert_allclose(table["beyond chance"], table["value"] - table["permuted"])
    units = table.groupby("quantity")["unit"].first().to_dict()
    assert {q for q, unit in units.items() if unit == "bit"} == {
        "I(X;T)", "I(T;Y)", "I(X;T) aligned", "I(T;Y) aligned", "RS(X;T)",
        "class information", "discarding", "discarding error", "concentration"
    }  # fmt: skip
    ceilings = table.groupby("quantity")["ceiling"].first().dropna().round(4).to_dict()
    x = lenses.balanced(data, N).x.double()
    seen = round(float(renyi.entropy(renyi.gram(x, width=0.55 * rms(x)), alpha=1.01)), 4)
    assert seen < math.log2(N)
    assert ceilings == {"I(X;T)": seen, "I(T;Y)": 3.3219, "I(X;T) aligned": seen, "I(T;Y) aligned": 3.3219,
                        "codelength": 3.3219}  # fmt: skip
    assert table.groupby("quantity")["floor"].first().dropna().round(4).to_dict() == {"discarding": -4.3043}
    assert (table[table["quantity"].isin(ceilings)]["ceiling"]).notna().all()
    alone = lenses.discarding(net, data, LAYERS, seed=7, **few)
    assert table[table["lens"] == "discarding"]["value"].tolist() == alone["value"].tolist()
    with pytest.raises(ValueError, match="unknown argument, or lens with options, 'noise'; allowed: information"):
        lenses.look(net, data, LAYERS, noise={})


@pytest.mark.parametrize(("lens", "allowed"), [
    ("information", "n, alpha, ratio, softmax, permutations, batch_size, seed"),
    ("redundancy", "n, alpha, permutations, batch_size, seed, max_pairs"),
    ("class_information", "n, permutations, batch_size, seed, shares"),
    ("discarding", "n, boxed, bounds, error, samples, steps, seed"),
    ("codelength", "n, permutations, batch_size, seed"),
])  # fmt: skip
def test_a_misspelt_option_is_refused_before_the_first_lens_measures(lens, allowed):
    """Nothing is measured: the model has no layers, and there are no data."""
    with pytest.raises(ValueError, match=f"unknown option 'samplse' of {lens}; allowed: {allowed}$"):
        lenses.look(nn.Identity(), Data(torch.zeros(0, 1), torch.zeros(0)), LAYERS, **{lens: {"samplse": 8}})


def test_the_typed_options_are_those_of_the_lenses():
    typed = typing.get_type_hints(lenses.Options)
    assert list(typed) == list(lenses.LENSES)
    for name, lens in lenses.LENSES.items():
        taken = inspect.signature(lens).parameters.values()
        assert set(typing.get_type_hints(typed[name])) == {p.name for p in taken if p.kind == p.KEYWORD_ONLY}


def test_the_model_is_left_as_it_was(net, data):
    before = [p.clone() for p in net.parameters()]
    lenses.class_information(net, data, LAYERS, n=N)
    lenses.checked(net, data, LAYERS)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert not any(module._forward_hooks for module in net.modules())


# what cannot be measured, in a row


def test_layers_without_pairs_of_maps_say_why(net, data):
    why = reasons(lenses.redundancy(net, data, ["conv", "one", "dead", "mixed", "output"], n=N), "RS share")
    assert why["conv"] == ""
    assert why["one"] == "a single map has no pairs"
    assert why["dead"] == "its activations are the same for every image"
    assert why["mixed"] == "no maps: its output for a sample is (4, 8), not (maps, height, width)"
    assert why["output"] == "no maps: its output for a sample is (10,), not (maps, height, width)"


def test_a_layer_that_hears_no_noise_and_an_object_that_nobody_knows_say_why(net, data):
    table = lenses.discarding(net, data, ["conv", "dead"], n=8, error=0.1)
    assert "does not move under noise" in reasons(table, "discarding")["dead"]
    assert "does not move under noise" in reasons(table, "concentration")["dead"]
    assert reasons(table, "discarding")["conv"] == ""
    assert reasons(table, "concentration")["conv"] == "the object's position is unknown"
    odd = Data(data.x[..., :5], data.y)  # a grid of one cell
    odd_net = nn.Sequential(nn.Flatten(), nn.Linear(30, 10)).eval()
    table = lenses.discarding(odd_net, odd, ["1"], n=8, boxed=True, error=0.1)
    assert reasons(table, "concentration")["1"] == "a grid of 1 cells a side has no box"
    assert reasons(table, "discarding")["1"] == ""


def test_what_is_no_image_has_no_discarding_but_all_else(data):
    flat, net = Data(data.x.flatten(1), data.y), models.mlp([36, 8, 10], seed=0).eval()
    table = lenses.discarding(net, flat, ["hidden1"], n=8)
    assert set(table["why not"]) == {"it takes images (n, c, h, w), got (8, 36)"}
    assert values(lenses.information(net, flat, ["hidden1"], n=N), "I(X;T)")["hidden1"] > 0.1


def test_a_model_without_classes_has_no_ablation_but_class_information(net, data):
    net.output = nn.Linear(8, 5).eval()
    table = lenses.class_information(net, data, ["conv"], n=N)
    why = "the model has no accuracy: it has 5 outputs, and labels are from 0 to 9"
    assert reasons(table, "ablation area")["conv"] == reasons(table, "ablation gap")["conv"] == why
    assert reasons(table, "intact accuracy")["conv"] == why
    assert values(table, "class information")["conv"] > 0.1
    with pytest.raises(ValueError, match=why):
        lenses.clamped_accuracy(net, data, ["conv"], n=N)
    several = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), Tuple()).eval()
    why = reasons(lenses.class_information(several, data, ["1"], n=N), "ablation area")["1"]
    assert why == "the model has no accuracy: its output must be (n, classes), got tuple"
    maps = reasons(lenses.class_information(net.conv, data, ["0"], n=N), "ablation area")["0"]
    assert maps == "the model has no accuracy: its output must be (n, classes), got of shape (2, 6, 6, 6)"


@pytest.mark.parametrize("outputs", [11, 1000])
def test_a_head_of_other_classes_has_an_accuracy_and_a_reason_instead_of_an_ablation(data, outputs):
    net = nn.Sequential(OrderedDict(flatten=nn.Flatten(), hidden=nn.Linear(36, 8), head=nn.Linear(8, outputs))).eval()
    with torch.no_grad():
        net.head.bias[10] = 100.0  # it never gives one of the ten classes
    table = lenses.class_information(net, data, ["hidden"], n=N)
    assert values(table, "intact accuracy").tolist() == [0.0]
    why = f"the accuracy of 0 has no meaning: of {outputs} outputs and 10 classes"
    for of in ("ablation area", "ablation gap"):
        assert reasons(table, of)["hidden"].startswith(why)
    assert values(table, "class information")["hidden"] > 0.1
    with pytest.raises(ValueError, match=why):
        lenses.clamped_accuracy(net, data, ["hidden"], n=N)


def test_classes_of_the_head_that_the_data_lack_are_no_reason(chain, data):
    even = data[data.y % 2 == 0]
    table = lenses.class_information(chain, even, ["fc1"], n=30)
    assert (table["why not"] == "").all()
    assert values(table, "intact accuracy")["fc1"] > 0.5


def test_noise_that_does_not_reach_its_level_gives_a_reason_and_no_number(data):
    """A layer of signs, of values near 0: all noise moves it alike, and F is 1 for any."""

    class Saturated(nn.Module):
        def forward(self, x):
            return ((x - 0.5) * 1e6).tanh()

    net = nn.Sequential(Saturated(), nn.Flatten()).eval()
    grey = Data(0.5 + 1e-7 * data.x, data.y)
    table = lenses.discarding(net, grey, ["0"], n=4, boxed=True).set_index("quantity")
    for of in ("discarding", "discarding error", "concentration"):
        assert table["why not"][of].startswith("F does not reach 1.5 at images [0, 1, 2, 3]: it is 1, 1, 1, 1")
        assert np.isnan(table["value"][of])
    assert table["value"]["capped cells"] == 1


def test_an_estimate_that_is_no_number_has_a_reason(net, data, monkeypatch):
    endless = transfer.prequential_codelength(lenses.probe, torch.zeros(10), Data(torch.eye(10), torch.arange(10)))
    monkeypatch.setattr(transfer, "prequential_codelength", lambda *_, **__: endless._replace(bits=math.inf))
    table = lenses.codelength(net, data, ["conv"], n=N)
    assert table["why not"].tolist() == ["the estimate is inf"]
    assert table["value"].isna().all()


# what is refused


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("no", "unknown layer 'no'; layers that can be measured: conv.0, conv.1, conv, one, dead"),
        ("unused", "layer 'unused' is not reached by the forward pass; layers that can be measured: conv.0"),
        (
            "pair",
            "layer 'pair' cannot be measured: its output must be a tensor, got tuple: choose one of "
            r"its tensors with Network\(model, take=...\): an index, a key or a function; layers that can be measured",
        ),
        ("flipped", r"its output is not batched: for 3 images it has shape \(4, 3, 8\), for 2 \(4, 2, 8\); layers"),
        ("chance", "its output for a sample depends on the other samples, or on chance; layers"),
        ("broken", "its output is not made of finite numbers; layers"),
    ],
)
def test_a_layer_that_cannot_be_measured_is_refused_and_the_others_are_listed(net, data, layer, message):
    with pytest.raises(ValueError, match=message) as refused:
        lenses.checked(net, data, ["conv", layer])
    allowed = str(refused.value).split("measured: ")[-1].split(", ")
    assert {"conv", "tokens", "mixed", "output"} <= set(allowed)
    assert not {"pair", "flipped", "chance", "broken", "unused"} & set(allowed)
    for lens in lenses.LENSES.values():
        with pytest.raises(ValueError, match=message):
            lens(net, data, ["conv", layer], n=8)


def test_a_layer_whose_first_dimension_only_happens_to_fit_is_refused(data):
    net = nn.Sequential(nn.Conv2d(1, 3, 1), Flipped(), nn.Identity()).eval()  # three maps: (3, n, h, w)
    with pytest.raises(ValueError, match="its output is not batched: for 3 images it has shape"):
        lenses.checked(net, data, ["1"])


def test_a_model_in_training_mode_is_refused(net, data):
    net.conv.train()
    for lens in lenses.LENSES.values():
        with pytest.raises(ValueError, match=r"model must be in eval mode, but conv is in training mode"):
            lens(net, data, ["conv"], n=8)


@pytest.mark.parametrize(("factor", "message"), [(2.0, "from 0 to 1.9"), (-1.0, "from -0.95 to -?0")])
def test_images_outside_the_range_have_no_discarding_but_all_else(net, data, factor, message):
    data.x.clamp_(0, 0.9)[:, 0, 0, :2] = torch.tensor([0.0, 0.95])
    other = Data(factor * data.x, data.y)
    why = reasons(lenses.discarding(net, other, ["conv"], n=4), "discarding")["conv"]
    assert re.search(rf"x has values {message}, not in bounds=\(0, 1\), to which noise is relative", why)
    assert (lenses.information(net, other, ["conv"], n=N)["why not"] == "").all()


def test_noise_is_relative_to_the_bounds(net, data):
    """The same function of images in [-2, 3] as of those in [0, 1]."""
    wide, few = Data(5 * data.x - 2, data.y), {"n": 4, "error": 0.05, "steps": 0}
    shifted = nn.Sequential(OrderedDict(shift=Shift(), net=net)).eval()
    expected = lenses.discarding(net, data, ["conv"], **few)
    found = lenses.discarding(shifted, wide, ["net.conv"], bounds=(-2, 3), **few)
    np.testing.assert_allclose(found["value"][:3], expected["value"][:3], atol=0.1)
    assert found["settings"][0] == "grid 6, bounds (-2, 3)"
    with pytest.raises(ValueError, match=r"bounds must be two increasing numbers, got \(1, 0\)"):
        lenses.discarding(net, data, ["conv"], bounds=(1, 0))


def test_data_that_no_lens_can_use_are_refused(net, data):
    with pytest.raises(ValueError, match="the number of layers must be an integer of at least 1, got 0"):
        lenses.checked(net, data, [])
    with pytest.raises(ValueError, match="y must hold at least two classes, got only 3"):
        lenses.checked(net, Data(data.x, torch.full_like(data.y, 3)), ["conv"])
    with pytest.raises(ValueError, match=r"y must have 120 entries|x and y must have one row"):
        lenses.checked(net, Data(data.x, data.y[:-1]), ["conv"])
    with pytest.raises(ValueError, match="x must hold at least 3 samples, got 2"):
        lenses.measurable(net, data.x[:2])
    with pytest.raises(ValueError, match=r"model cannot take (samples|x) of shape \(.*1, 1, 6\): "):
        lenses.checked(net, Data(data.x[:, :, :1], data.y), ["conv"])


@pytest.mark.parametrize(
    ("lens", "options", "message"),
    [
        ("information", {"n": 121}, "n=121 is more than the 120 samples of data"),
        ("class_information", {"n": 61}, "2 times n=61 is more than the 120 samples of data"),
        ("codelength", {"n": 7}, "n must be an integer of at least 8, got 7"),
        ("redundancy", {"n": N, "max_pairs": 0}, "max_pairs must be an integer of at least 1, got 0"),
        ("discarding", {"steps": -1}, "steps must be an integer of at least 0, got -1"),
        ("discarding", {"samples": 15}, "samples must be an integer of at least 16, got 15"),
        ("class_information", {"n": N, "shares": [0.5, 1.5]}, "shares must be a number from 0 to 1, got 1.5"),
        ("class_information", {"n": N, "shares": [1.0, 0.5]}, r"shares must increase in \(0, 1\], got \[1.0, 0.5\]"),
        ("class_information", {"n": N, "shares": 0.5}, "shares must be a sequence of numbers, got float"),
        ("information", {"n": N, "alpha": 0}, "alpha must be positive, got 0"),
        ("information", {"n": N, "alpha": math.nan}, "alpha must be positive, got nan"),
        ("information", {"n": N, "softmax": ["output"]}, "softmax must name some of layers, conv, got 'output'"),
        ("information", {"n": N, "softmax": "conv"}, r"softmax must be a sequence of names, got 'conv'; write"),
        ("redundancy", {"n": N, "seed": -1}, "seed must be an integer of at least 0, got -1"),
        ("discarding", {"error": 0}, "error must be positive, got 0"),
        ("discarding", {"boxed": "no"}, "boxed must be True or False, got str"),
    ],
)
def test_options_out_of_range_are_refused_before_the_first_lens_measures(
    net, data, lens, options, message, monkeypatch
):
    with pytest.raises(ValueError, match=message):
        lenses.LENSES[lens](net, data, ["conv"], **options)
    monkeypatch.setattr(activations, "collect", None)  # what all lenses but one measure with
    with pytest.raises(ValueError, match=f"{lens}: .*{message}"):
        lenses.look(net, data, ["conv"], **FEW | {lens: options})


@pytest.mark.parametrize(("name", "value", "message"), [
    ("model", "resnet18", "model must be a torch.nn.Module, got str"),
    ("data", "digits", r"data must be infolib.Data\(x, y\), a pair \(x, y\), a Dataset or a DataLoader, got str"),
    ("layers", "conv", r"layers must be a sequence of names, got 'conv'; write \['conv'\]"),
    ("layers", [1], r"layers must be a sequence of names, got \[1\]"),
    ("layers", 3.5, "layers must be of type str or Pattern or int or Sequence, got float"),
])  # fmt: skip
def test_arguments_of_another_kind_are_refused_by_name(net, data, name, value, message):
    given = {"model": net, "data": data, "layers": ["conv"]} | {name: value}
    for lens in (*lenses.LENSES.values(), lenses.look, lenses.clamped_accuracy):
        with pytest.raises(ValueError, match=message):
            lens(*given.values())


def test_a_lens_whose_options_are_no_mapping_is_refused(net, data):
    with pytest.raises(ValueError, match="codelength must be a mapping, got int"):
        lenses.look(net, data, ["conv"], codelength=8)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.act, self.flat = nn.ReLU(), nn.Flatten()

    def forward(self, x):
        return self.act(self.flat(self.act(x)))


def test_a_module_that_is_called_twice_stands_there_twice_and_its_bare_name_is_refused(data):
    table = lenses.measurable(Twice().eval(), torch.zeros(3, 1, 2, 2))
    assert table[["layer", "shape"]].to_numpy().tolist() == [
        ["act#1", "(1, 2, 2)"],
        ["flat", "(4,)"],
        ["act#2", "(4,)"],
    ]
    with pytest.raises(ValueError, match="layer 'act' is called several times in a forward pass; name one of"):
        lenses.checked(Twice().eval(), data, ["act"])


def test_a_name_that_activations_refuse_has_their_reason(data):
    """Calls of a module have names; whether these can be measured is for `activations` to say."""
    net = Twice().eval()
    for layer, why in lenses.measurable(net, data.x[:3]).set_index("layer")["why not"].items():
        with nullcontext() if why == "" else pytest.raises(ValueError, match=re.escape(why)):
            activations.collect(net, data.x[:3], [layer])


def test_measurable_lists_every_layer_in_order_with_its_shape_or_the_reason(net, data):
    table = lenses.measurable(net, data.x[:3]).set_index("layer")
    assert table.index.tolist() == [
        "conv.0", "conv.1", "conv", "one", "dead", "tokens", "mixed", "pair", "flipped", "chance", "broken", "output"
    ]  # fmt: skip
    assert table["shape"]["conv"] == "(6, 6, 6)"
    assert table["type"]["mixed"] == "Linear"
    assert (table["why not"] != "").sum() == 4


def test_tables_and_learners_of_another_kind_are_refused(data):
    for compare in (
        lambda t: lenses.agreement(t, over="layer"),
        lenses.between_lenses,
        lambda t: lenses.pair(t, "a", "b"),
    ):
        with pytest.raises(ValueError, match=r"must be a frame with the columns source, seed, network, .* lacks"):
            compare(pd.DataFrame({"value": [1.0]}))
    with pytest.raises(ValueError, match="x must be a tensor, got list"):
        lenses.finest_grid([1])
    with pytest.raises(ValueError, match=r"the labels of prefix must be from 0 to 2, got \[0, 1, 2, 3"):
        lenses.probe(torch.zeros(3), Data(data.x.flatten(1), data.y))
    with pytest.raises(ValueError, match="n=121 is more than the 120 samples of data"):
        lenses.balanced(data, 121)


def test_depth_is_the_place_of_a_layer_in_any_order_of_the_rows():
    rows = [{"layer": f"l{d}", "depth": d, "quantity": q, "lens": q, "value": v * d} for d in (3, 1, 2)
            for q, v in (("I(X;T)", 1.0), ("codelength", -1.0))]  # fmt: skip
    table = pd.DataFrame(rows).assign(source="digits", seed=0, network="mine")
    assert lenses.pair(lenses.agreement(table, over="layer"), "I(X;T)", "depth").tolist() == pytest.approx([1.0])


def test_an_input_that_is_the_same_everywhere_has_a_reason_for_no_discarding():
    net = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 2)).eval()
    nn.init.ones_(net[0].weight)
    tokens = torch.randint(9, (40, 5), generator=torch.Generator().manual_seed(0))
    table = lenses.discarding(Network(net, input_of="0"), Data(tokens, torch.arange(40) % 2), ["2"], n=2)
    assert set(table["why not"]) == {"its input is 1 everywhere, to which no noise can be relative"}
    assert table["value"].isna().all()
