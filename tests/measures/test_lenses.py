import copy
import inspect
import math
import typing
from collections import OrderedDict
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from infolib import activations, training
from infolib.data import Data
from infolib.estimators import binning, discrete, renyi
from infolib.measures import discarding, information_plane, lenses, neuron_importance, synergy, transfer
from workbook import models

N = 40


class Tuple(nn.Module):
    def forward(self, x):
        return x, x


class Flipped(nn.Module):  # (tokens, n, features), as some transformers have it
    def forward(self, t):
        return t.transpose(0, 1)


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


def test_information_is_that_of_the_plane_at_a_width_of_the_input_s_own_scale(net, data):
    table = lenses.information(net, data, LAYERS, n=N)
    width = 0.55 * rms(data.x[:N].double())
    plane = information_plane.point(net, data.x[:N], data.y[:N], LAYERS, input_width=width).set_index("layer")
    for of in ("I(X;T)", "I(T;Y)"):
        assert values(table, of).to_dict() == pytest.approx(plane[of].to_dict(), abs=1e-6)
        assert (values(table, of) > 0.05).all()
    assert set(table["unit"]) == {"bit"}


def test_redundancy_is_that_of_the_decomposition_at_one_width_for_all_maps(net, data):
    table = lenses.redundancy(net, data, LAYERS, n=N)
    t = recorded(net, "conv", data.x[:N])
    width = 0.55 * math.sqrt(np.mean([rms(t[:, c]) ** 2 for c in range(6)]))
    X = renyi.gram(data.x[:N].double(), width=0.55 * rms(data.x[:N].double()))
    d = synergy.decompose(X, renyi.channel_grams(t, width=width))
    assert values(table, "RS(X;T)")["conv"] == pytest.approx(d.redundancy_synergy, abs=1e-6)
    assert values(table, "RS share")["conv"] == pytest.approx(d.redundancy_share, abs=1e-6)
    assert d.redundancy_synergy > 0.1
    assert table[table["quantity"] == "RS share"]["unit"].unique().tolist() == ["1"]


def test_pairs_of_maps_are_a_sample_by_the_seed(net, data):
    all_pairs, few, again, other = (
        values(lenses.redundancy(net, data, ["conv"], n=N, max_pairs=pairs, seed=seed), "RS(X;T)")["conv"]
        for pairs, seed in ((15, 0), (3, 0), (3, 0), (3, 1))
    )
    assert few == again
    assert len({all_pairs, few, other}) == 3


def test_louder_layers_and_brighter_scales_are_the_same_to_the_kernels(chain, data):
    louder = copy.deepcopy(chain)
    with torch.no_grad():
        for p in (*louder.conv1.parameters(), louder.conv2[0].bias):
            p *= 100
    tables = [lenses.redundancy(of, data, ["conv1", "conv2"], n=N) for of in (chain, louder)]
    assert tables[0]["value"].tolist() == pytest.approx(tables[1]["value"].tolist(), abs=1e-6)


def by_hand(codes, y):
    """I(T;Y) of a unit's bits, in bits, from counts."""
    total = 0.0
    for t in (0, 1):
        for k in np.unique(y):
            p = np.mean((codes == t) & (y == k))
            total += p * np.log2(p / (np.mean(codes == t) * np.mean(y == k))) if p else 0
    return total


def test_class_information_is_the_mean_over_units_of_their_bits_about_the_class(net, data):
    table, y = lenses.class_information(net, data, LAYERS, n=N), data.y[:N].numpy()
    of_layer = {"conv": (2, 3), "mixed": 1, "output": ()}  # places are averaged: maps' pixels, tokens
    for layer, places in of_layer.items():
        t = recorded(net, layer, data.x[:N]).float()
        t = t.mean(places).numpy() if places else t.numpy()
        lower = np.sort(t, axis=0)[N // 2 - 1]
        expected = np.mean([by_hand(t[:, i] > lower[i], y) for i in range(t.shape[1])])
        assert values(table, "class information")[layer] == pytest.approx(expected, abs=1e-9)
        assert expected > 0.2


def test_ablation_is_that_of_neuron_importance_on_a_chain(chain, data):
    layers, shares = ["conv1", "conv2", "fc1"], (0.5, 1.0)
    curves = lenses.clamped_accuracy(chain, data, layers, n=N, shares=shares)
    for layer in layers:
        t = recorded(chain, layer, data.x[:N]).float()
        t = t.mean((2, 3)).numpy() if t.ndim > 2 else t.numpy()
        lower = np.sort(t, axis=0)[N // 2 - 1]
        bits = np.array([by_hand(t[:, i] > lower[i], data.y[:N].numpy()) for i in range(t.shape[1])])
        for direction, sign in (("descending", -1), ("ascending", 1)):
            order = torch.from_numpy(np.argsort(sign * bits.round(9), kind="stable"))
            orders = [neuron_importance.Order((layer,), "class information", direction, order)]
            theirs = neuron_importance.ablation_curves(chain, data[N : 2 * N], orders, means=data[:N])
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
    t = activations.collect(net, data.x[:N], ["mixed"])["mixed"].mean(1)
    bits = discrete.mutual_information(binning.quantile(t, 2), data.y[:N])
    units = bits.round(decimals=9).argsort(descending=True, stable=True)[: t.shape[1] // 2]

    def clamp(tokens):
        tokens[..., units] = t.mean(0)[units]
        return tokens

    with activations.replace(net, {"mixed": clamp}):
        expected = training.evaluate(net, data[N : 2 * N]).accuracy
    found = curves[(curves["direction"] == "descending") & (curves["share"] == 0.5)]["accuracy"].item()
    assert found == expected < 1


def test_discarding_is_the_mean_over_images_of_what_a_layer_says_as_it_is(net, data):
    few = {"steps": 2, "samples": 4, "held_out": 16}
    table = lenses.discarding(net, data, ["conv", "mixed"], n=8, boxed=True, seed=3, **few)
    for layer in ("conv", "mixed"):
        d = discarding.strict_information_discarding(net, data.x[:8], layer, grid=6, rectify=False, seed=3, **few)
        assert values(table, "discarding")[layer] == pytest.approx(float(d.mean.mean()))
        expected = discarding.concentration(d.entropy, discarding.box(6))
        assert values(table, "concentration")[layer] == pytest.approx(float(expected.mean()))


@pytest.mark.parametrize(("h", "w", "grid"), [(28, 28, 14), (42, 42, 14), (224, 224, 16), (8, 12, 4), (7, 11, 1)])
def test_the_grid_is_the_finest_that_divides_both_sides(h, w, grid):
    assert lenses.finest_grid(torch.zeros(1, 1, h, w)) == grid


def test_codelength_is_what_logistic_regression_on_the_features_pays(net, data):
    """The probe sees coordinates of the features in which it must be no better or worse; sklearn sees the features."""
    n = 64
    table = lenses.codelength(net, data, ["conv", "output"], n=n)
    for layer in ("conv", "output"):
        t = recorded(net, layer, data.x[:n]).flatten(1).numpy()
        t = (t - t.mean(0)) / np.sqrt(((t - t.mean(0)) ** 2).sum(1).mean())
        x, y, total = np.column_stack([t, np.ones(n)]), data.y[:n].numpy(), 8 * math.log2(10)
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


def test_probe_is_at_the_maximum_of_its_posterior_and_predicts_alike_without_samples(data):
    x = data.x[:30].flatten(1).double()
    says = lenses.probe(torch.zeros(10), Data(x, data.y[:30]), 0)
    basis = torch.cat([torch.eye(36, dtype=torch.float64), torch.zeros(1, 36, dtype=torch.float64)])
    b = says(basis[-1:])
    W = torch.cat([says(basis[:-1]) - b, b])
    padded = torch.cat([x, torch.ones(30, 1, dtype=torch.float64)], 1)
    slope = padded.T @ (says(x).softmax(1) - nn.functional.one_hot(data.y[:30], 10)) + W / lenses.PRIOR**2
    assert float(slope.abs().max()) < 1e-4
    assert float(W.abs().max()) > 1
    assert torch.equal(lenses.probe(torch.zeros(10), Data(x[:0], data.y[:0]))(x), torch.zeros(30, 10).double())


# the table


def test_all_five_lenses_give_one_tidy_table_in_the_order_of_the_forward_pass(net, data):
    sizes = {"information": {"n": N}, "redundancy": {"n": N}, "class_information": {"n": N}, "codelength": {"n": N}}
    few = {"n": 8, "boxed": True, "steps": 0, "held_out": 16}
    table = lenses.look(net, data, LAYERS[::-1], network="mine", seed=7, discarding=few, **sizes)
    assert table.columns.tolist() == [*lenses.COLUMNS, "network", "seed"]
    assert table["lens"].unique().tolist() == list(lenses.LENSES)
    depth = table.groupby("layer")["depth"].unique().map(list)
    assert depth.to_dict() == {layer: [i] for i, layer in enumerate(LAYERS, start=1)}
    assert set(table["network"] + table["seed"].astype(str)) == {"mine7"}
    assert (np.isfinite(table["value"]) == (table["why not"] == "")).all()  # a number, or a reason
    assert (table["why not"] != "").sum() == 4  # no pairs of maps in two layers
    units = table.groupby("quantity")["unit"].first().to_dict()
    assert {q for q, unit in units.items() if unit == "bit"} == {
        "I(X;T)", "I(T;Y)", "RS(X;T)", "class information", "discarding", "concentration"
    }  # fmt: skip
    alone = lenses.discarding(net, data, LAYERS, seed=7, **few)
    assert table[table["lens"] == "discarding"]["value"].tolist() == alone["value"].tolist()
    with pytest.raises(ValueError, match="unknown lens 'noise'; allowed: information, redundancy"):
        lenses.look(net, data, LAYERS, noise={})


@pytest.mark.parametrize(("lens", "allowed"), [
    ("information", "n, alpha"),
    ("redundancy", "n, alpha, max_pairs, seed"),
    ("class_information", "n, shares"),
    ("discarding", "n, boxed, steps, samples, held_out, seed"),
    ("codelength", "n"),
])  # fmt: skip
def test_a_misspelt_option_is_refused_before_the_first_lens_measures(lens, allowed):
    """Nothing is measured: there is no model, and there are no data."""
    with pytest.raises(ValueError, match=f"unknown option 'samplse' of {lens}; allowed: {allowed}$"):
        lenses.look(None, None, LAYERS, **{lens: {"samplse": 8}})


def test_the_typed_options_are_those_of_the_lenses():
    typed = typing.get_type_hints(lenses.Options)
    assert list(typed) == list(lenses.LENSES)
    for name, lens in lenses.LENSES.items():
        taken = inspect.signature(lens).parameters.values()
        assert list(typed[name].__annotations__) == [p.name for p in taken if p.kind == p.KEYWORD_ONLY]


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
    assert why["dead"] == "it says the same of every image"
    assert why["mixed"] == "no maps: its output for an image is (4, 8), not (maps, height, width)"
    assert why["output"] == "no maps: its output for an image is (10,), not (maps, height, width)"


def test_a_layer_that_hears_no_noise_and_an_object_that_nobody_knows_say_why(net, data):
    table = lenses.discarding(net, data, ["conv", "dead"], n=8, steps=0, held_out=16)
    assert "does not move under noise" in reasons(table, "discarding")["dead"]
    assert "does not move under noise" in reasons(table, "concentration")["dead"]
    assert reasons(table, "discarding")["conv"] == ""
    assert reasons(table, "concentration")["conv"] == "nobody knows where the object is"
    odd = Data(data.x[..., :5], data.y)  # a grid of one cell
    odd_net = nn.Sequential(nn.Flatten(), nn.Linear(30, 10)).eval()
    table = lenses.discarding(odd_net, odd, ["1"], n=8, boxed=True, steps=0, held_out=16)
    assert reasons(table, "concentration")["1"] == "a grid of 1 cells has no box"
    assert reasons(table, "discarding")["1"] == ""


def test_what_is_no_image_has_no_discarding_but_all_else(data):
    flat, net = Data(data.x.flatten(1), data.y), models.mlp([36, 8, 10], seed=0).eval()
    table = lenses.discarding(net, flat, ["hidden1"], n=8)
    assert set(table["why not"]) == {"it takes images (n, c, h, w), got (8, 36)"}
    assert values(lenses.information(net, flat, ["hidden1"], n=N), "I(X;T)")["hidden1"] > 0.1


def test_a_model_without_classes_has_no_ablation_but_class_information(net, data):
    net.output = nn.Linear(8, 5).eval()
    table = lenses.class_information(net, data, ["conv"], n=N)
    why = "the model has no accuracy: it knows 5 classes, and there are labels up to 9"
    assert reasons(table, "ablation area")["conv"] == reasons(table, "ablation gap")["conv"] == why
    assert values(table, "class information")["conv"] > 0.1
    with pytest.raises(ValueError, match=why):
        lenses.clamped_accuracy(net, data, ["conv"], n=N)
    several = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), Tuple()).eval()
    why = reasons(lenses.class_information(several, data, ["1"], n=N), "ablation area")["1"]
    assert why == "the model has no accuracy: its output must be (n, classes), got tuple"
    maps = reasons(lenses.class_information(net.conv, data, ["0"], n=N), "ablation area")["0"]
    assert maps == "the model has no accuracy: its output must be (n, classes), got of shape (2, 6, 6, 6)"


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
        ("pair", "layer 'pair' cannot be measured: its output is no tensor but tuple; layers that can be measured"),
        ("flipped", r"its output is not batched: for 3 images it has shape \(4, 3, 8\), for 2 \(4, 2, 8\); layers"),
        ("chance", "what it says of an image depends on the other images, or on chance; layers"),
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


@pytest.mark.parametrize(("factor", "message"), [(2.0, "from 0 to 1.9"), (-1.0, "from -0.95 to -0")])
def test_images_outside_the_range_are_refused(net, data, factor, message):
    data.x.clamp_(0, 0.9)[-1, 0, 0, :2] = torch.tensor([0.0, 0.95])  # of all images, the last
    with pytest.raises(ValueError, match=rf"x must lie in \[0, 1\], got values {message}"):
        lenses.checked(net, Data(factor * data.x, data.y), ["conv"])


def test_data_that_no_lens_can_use_are_refused(net, data):
    with pytest.raises(ValueError, match="the number of layers must be an integer of at least 1, got 0"):
        lenses.checked(net, data, [])
    with pytest.raises(ValueError, match="y must hold at least two classes, got only 3"):
        lenses.checked(net, Data(data.x, torch.full_like(data.y, 3)), ["conv"])
    with pytest.raises(ValueError, match="x must hold at least 3 samples, got 2"):
        lenses.measurable(net, data.x[:2])
    with pytest.raises(ValueError, match=r"model cannot take x of shape \(3, 1, 1, 6\): "):
        lenses.checked(net, Data(data.x[:, :, :1], data.y), ["conv"])


@pytest.mark.parametrize(
    ("lens", "options", "message"),
    [
        ("information", {"n": 121}, "n=121 is more than the 120 samples of data"),
        ("class_information", {"n": 61}, "2 times n=61 is more than the 120 samples of data"),
        ("codelength", {"n": 7}, "n must be an integer of at least 8, got 7"),
        ("redundancy", {"n": N, "max_pairs": 0}, "max_pairs must be an integer of at least 1, got 0"),
        ("discarding", {"steps": -1}, "steps must be an integer of at least 0, got -1"),
        ("discarding", {"held_out": 1}, "held_out must be an integer of at least 2, got 1"),
        ("class_information", {"n": N, "shares": [0.5, 1.5]}, r"shares must lie in \(0, 1\], got \[0.5, 1.5\]"),
    ],
)
def test_options_out_of_range_are_refused(net, data, lens, options, message):
    with pytest.raises(ValueError, match=message):
        lenses.LENSES[lens](net, data, ["conv"], **options)


def test_each_call_of_a_module_is_a_layer_of_its_own():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.flat = nn.ReLU(), nn.Flatten()

        def forward(self, x):
            return self.act(self.flat(self.act(x)))

    net, x = Twice().eval(), torch.rand(12, 1, 2, 2)
    table = lenses.measurable(net, x)
    shapes = [["act#1", "(1, 2, 2)"], ["flat", "(4,)"], ["act#2", "(4,)"]]
    assert table[["layer", "shape"]].to_numpy().tolist() == shapes
    data = Data(x, torch.arange(12) % 2)
    assert lenses.checked(net, data, ["act#2", "act#1"]) == ["act#1", "act#2"]
    with pytest.raises(ValueError, match="layer 'act' is called several times: name one call, such as 'act#1'"):
        lenses.checked(net, data, ["act"])


def test_measurable_lists_every_layer_in_order_with_its_shape_or_the_reason(net, data):
    table = lenses.measurable(net, data.x[:3]).set_index("layer")
    assert table.index.tolist() == [
        "conv.0", "conv.1", "conv", "one", "dead", "tokens", "mixed", "pair", "flipped", "chance", "broken", "output"
    ]  # fmt: skip
    assert table["shape"]["conv"] == "(6, 6, 6)"
    assert table["type"]["mixed"] == "Linear"
    assert (table["why not"] != "").sum() == 4
