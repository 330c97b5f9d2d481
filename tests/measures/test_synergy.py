import copy
import math
from collections import OrderedDict
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from infolib.estimators import renyi
from infolib.measures import synergy
from workbook import models

ALPHAS = [0.5, 1, 1.01, 2, 5]


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def indicators(*columns):
    return torch.stack([renyi.label_gram(column) for column in columns])


def maps(n, C, *, seed=0, width=1.5):
    return renyi.channel_grams(normal(n, C, 3, seed=seed), width=width)


def by_definition(*grams, alpha):
    """S_alpha of the joint, written out."""
    product = np.ones_like(np.asarray(grams[0]))
    for gram in grams:
        product = product * np.asarray(gram)
    p = np.linalg.eigvalsh(product / np.trace(product))
    p = p[p > 1e-15]
    return -(p * np.log2(p)).sum() if alpha == 1 else np.log2((p**alpha).sum()) / (1 - alpha)


def gaussian(t, width):
    """Gram of samples t (n, ...), one pair of samples at a time."""
    t = np.asarray(t, dtype=np.float64).reshape(len(t), -1)
    return np.array([[math.exp(-((a - b) ** 2).sum() / (2 * width**2)) for b in t] for a in t]) / len(t)


# the decomposition, by hand and in closed form

T1, T2 = [0, 0, 1, 1], [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("x", "t", "expected"),
    [
        ([0, 1, 1, 0], (T1, T2), (1, -1, 2)),  # exclusive or: all synergy
        (T1, (T1, T1), (1, 1, 0)),  # copies: all redundancy
        (T1, (T1, T2), (1, 0, 1)),  # one of them alone: all unique
        ([0, 1, 2, 3], (T1, T2), (2, 0, 2)),  # both of them, independent: two unique bits
        ([0, 0, 0, 1], (T1, T2), (0.811278, -0.188722, 1)),  # and
    ],
    ids=["xor", "copy", "unique", "both", "and"],
)
def test_variables_whose_parts_are_known(x, t, expected):
    d = synergy.decompose(renyi.label_gram(x), indicators(*t), alpha=1)
    assert (d.information, d.redundancy_synergy, d.non_redundant) == pytest.approx(expected, abs=1e-6)
    shares = np.array(expected[1:]) / expected[0]
    assert (d.redundancy_share, d.non_redundant_share) == pytest.approx(shares, abs=1e-6)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_every_number_agrees_with_its_definition_written_out(alpha):
    X, T = renyi.gram(normal(20, 4), width=2.0), maps(20, 4, seed=1)
    for gram, seed in ((X, 2), (T[1], 3), (T[2], 4)):
        values = normal(20, 2, seed=seed)
        gram += 0.1 * values @ values.T  # a diagonal that varies: the trace of the joint needs scaling
        gram /= gram.trace()
    d = synergy.decompose(X, T, alpha=alpha)

    def information(*some):
        joint = by_definition(X, *some, alpha=alpha)
        return by_definition(X, alpha=alpha) + by_definition(*some, alpha=alpha) - joint

    rows = []
    for i, j in combinations(range(4), 2):
        one, other, both = information(T[i]), information(T[j]), information(T[i], T[j])
        rs, wn = one + other - both, 2 * both - one - other
        rows.append([i, j, one, other, both, rs, wn, rs / both, wn / both])
    expected = np.array(rows)
    assert min(abs(expected[:, 2:7]).min(), information(*T)) > 1e-3  # nothing here is 0 by chance
    assert d.pairs.to_numpy() == pytest.approx(expected, abs=1e-6)  # the root of null eigenvalues, at alpha = 0.5
    columns = ["i", "j", "I(X;Ti)", "I(X;Tj)", "I(X;Ti,Tj)", "RS", "WN", "RS share", "WN share"]
    assert d.pairs.columns.to_list() == columns
    means = expected[:, 5:].mean(0)
    assert d[:5] == pytest.approx((information(*T), *means), abs=1e-6)
    assert d.input_entropy == pytest.approx(by_definition(X, alpha=alpha), abs=1e-6)
    assert d.joint_entropy == pytest.approx(by_definition(*T, alpha=alpha), abs=1e-6)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_trade_off_and_non_redundant_information_add_up_to_the_information_of_the_pair(alpha):
    d = synergy.decompose(renyi.gram(normal(30, 2), width=1.0), maps(30, 5, seed=1), alpha=alpha)
    both = d.pairs["I(X;Ti,Tj)"]
    assert (d.pairs["RS"] + d.pairs["WN"]).to_numpy() == pytest.approx(both.to_numpy(), abs=1e-12)
    assert d.redundancy_synergy + d.non_redundant == pytest.approx(both.mean(), abs=1e-12)
    informative = both > 1e-9  # at alpha = 5 even independent variables may have less than none
    assert informative.any()
    shares = (d.pairs["RS share"] + d.pairs["WN share"])[informative]
    assert shares.to_numpy() == pytest.approx(1, abs=1e-9)
    assert d.redundancy_share + d.non_redundant_share == pytest.approx(1, abs=1e-9)


def test_many_maps_say_all_of_the_input_whatever_they_show():
    X = renyi.gram(normal(40, 2), width=1.0)
    d = synergy.decompose(X, maps(40, 60, seed=1), alpha=1.01)  # noise: independent of X
    assert d.information == pytest.approx(d.input_entropy, abs=1e-6)
    assert d.joint_entropy == pytest.approx(math.log2(40), abs=1e-6)
    assert 1 < d.input_entropy < math.log2(40) - 0.1


@given(st.integers(0, 1000), st.integers(3, 12), st.integers(2, 5), st.floats(0.2, 5))
@settings(max_examples=50, deadline=None)
def test_at_alpha_1_more_maps_never_say_less(seed, n, C, width):
    X, T = renyi.gram(normal(n, 2, seed=seed), width=1.0), maps(n, C, seed=seed + 1, width=width)
    information = [synergy.decompose(X, T[:c], alpha=1).information for c in range(1, C + 1)]
    assert information[0] >= -1e-9
    assert all(fewer <= more + 1e-9 for fewer, more in pairwise(information))


def test_a_single_map_has_information_and_no_pairs():
    X, T = renyi.gram(normal(20, 2), width=1.0), maps(20, 1, seed=1)
    d = synergy.decompose(X, T, max_pairs=3)
    assert d.information == pytest.approx(float(renyi.mutual_information(X, T[0])))
    assert d.information > 0.1
    assert len(d.pairs) == 0
    assert all(math.isnan(value) for value in d[1:8])


def test_pairs_that_say_nothing_have_no_share():
    dead, live = torch.full((20, 20), 1 / 20, dtype=torch.float64), maps(20, 1, seed=1)[0]
    X = renyi.gram(normal(20, 2), width=1.0)
    d = synergy.decompose(X, torch.stack([dead, live, dead]))
    assert d.pairs["RS share"].isna().to_list() == [False, True, False]  # pairs 01, 02, 12
    assert (d.redundancy_share, d.non_redundant_share) == pytest.approx((0, 1), abs=1e-9)  # the live map's own
    assert d.non_redundant == pytest.approx(2 / 3 * float(renyi.mutual_information(X, live)))
    silent = synergy.decompose(X, torch.stack([dead, dead]))
    assert silent[:3] == pytest.approx((0, 0, 0), abs=1e-9)
    assert math.isnan(silent.redundancy_share)


def test_float32_grams_are_decomposed_in_float64():
    X, T = renyi.gram(normal(40, 2), width=1.0).float(), maps(40, 3, seed=1).float()
    assert synergy.decompose(X, T)[:5] == synergy.decompose(X.double(), T.double())[:5]


def test_float32_is_within_a_ten_thousandth_of_a_bit_and_gives_its_rounding_no_share():
    X, T = renyi.gram(normal(100, 8), width=2.0), maps(100, 4, seed=1)
    T[0] = 1 / 100  # a dead map
    double, single = (synergy.decompose(X, T, precision=p) for p in (torch.float64, torch.float32))
    bits = ["I(X;Ti)", "I(X;Tj)", "I(X;Ti,Tj)", "RS", "WN"]
    difference = (single.pairs[bits] - double.pairs[bits]).abs().to_numpy().max()
    assert 1e-9 < difference < 1e-4
    assert single[:5] == pytest.approx(double[:5], abs=1e-4)
    T[1] = T[0]
    for precision in (torch.float64, torch.float32):
        shares = synergy.decompose(X, T, precision=precision).pairs["RS share"]
        assert shares.isna().tolist() == [True] + 5 * [False]


# samples of pairs


def test_a_sample_of_pairs_is_part_of_all_pairs():
    X, T = renyi.gram(normal(12, 2), width=1.0), maps(12, 7, seed=1)
    every = synergy.decompose(X, T).pairs.set_index(["i", "j"])
    some = synergy.decompose(X, T, max_pairs=9, seed=3)
    sample = some.pairs.set_index(["i", "j"])
    assert len(every) == 21
    assert len(sample) == sample.index.nunique() == 9
    assert sample.to_numpy() == pytest.approx(every.loc[sample.index].to_numpy(), abs=1e-9)
    assert some.redundancy_synergy == pytest.approx(sample["RS"].mean())
    assert some.pairs.equals(synergy.decompose(X, T, max_pairs=9, seed=3).pairs)
    assert not some.pairs.equals(synergy.decompose(X, T, max_pairs=9, seed=4).pairs)


def test_standard_errors_are_those_of_sampling_without_replacement():
    X, T = renyi.gram(normal(6, 2), width=1.0), maps(6, 6, seed=1)
    every = synergy.decompose(X, T)
    assert every[5:8] == (0, 0, 0)
    assert synergy.decompose(X, T, max_pairs=15)[5:8] == (0, 0, 0)
    samples = [synergy.decompose(X, T, max_pairs=10, seed=seed) for seed in range(400)]
    for value, error in [(1, 5), (2, 6), (3, 7), (4, 7)]:
        misses = np.array([d[value] for d in samples]) - every[value]
        squared_errors = np.array([d[error] for d in samples]) ** 2
        assert abs(misses.mean()) < 4 * misses.std() / math.sqrt(400)
        assert squared_errors.mean() == pytest.approx(misses.var(), rel=0.25)  # 3.5 standard errors of a variance
    assert math.isnan(synergy.decompose(X, T, max_pairs=1).share_error)  # one of many: its spread is unknown


def test_chunks_change_nothing(monkeypatch):
    X, T = renyi.gram(normal(10, 2), width=1.0), maps(10, 6, seed=1)
    whole = synergy.decompose(X, T)
    monkeypatch.setattr(synergy, "CHUNK", 400)  # four matrices of 10 × 10, for 6 maps and 15 pairs
    parts = synergy.decompose(X, T)
    assert parts.pairs.to_numpy() == pytest.approx(whole.pairs.to_numpy(), abs=1e-12)
    assert parts[:8] == pytest.approx(whole[:8], abs=1e-12)


# networks


@pytest.fixture
def images():
    x = 0.3 * torch.rand(24, 2, 12, 12, generator=torch.Generator().manual_seed(0))
    return x, torch.arange(24) % 3


@pytest.fixture
def net():
    net = models.lenet5(maps=(2, 3), hidden=5, activation="sigmoid", in_shape=(2, 12, 12), classes=3, seed=2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter *= 10  # so that the last layers, too, tell noise images apart
    return net


LAYERS = ["conv1", "conv2", "fc1", "output"]


def activations_of(net, x):
    """By hand: outputs of the layers of a LeNet."""
    with torch.no_grad():
        conv1 = net.conv1(x)
        conv2 = net.conv2(net.pool1(conv1))
        fc1 = net.fc1(net.pool2(conv2).flatten(1))
        return [conv1, conv2, fc1, net.output(fc1).double().softmax(1)]


def grams_of(t, h):
    """By hand: one Gram per map of (n, C, ...), one of (n, units), with Silverman's width."""
    each = [t] if t.ndim == 2 else list(t.transpose(0, 1))
    width = h * len(t) ** (-1 / (4 + each[0][0].numel()))
    return [gaussian(one, width) for one in each], width


@pytest.mark.parametrize("alpha", [1, 1.01, 2])
def test_forward_chain_is_the_one_worked_out_by_hand(net, images, alpha):
    x, _ = images
    table = synergy.forward_chain(net, x, LAYERS, h=1.0, alpha=alpha).set_index("layer")
    X, input_width = grams_of(x, 1.0)
    for layer, t in zip(LAYERS, activations_of(net, x), strict=True):
        T, width = grams_of(t, 1.0)
        s_x, s_t = by_definition(*X, alpha=alpha), by_definition(*T, alpha=alpha)
        expected = [s_x + s_t - by_definition(*X, *T, alpha=alpha), s_t, s_x, width, input_width]
        columns = ["I(X;T)", "S(T)", "S(X)", "width", "input_width"]
        assert table.loc[layer, columns].to_list() == pytest.approx(expected, abs=1e-5)
    assert table["I(X;T)"].min() > 1e-3
    assert table["maps"].to_list() == [2, 3, 1, 1]
    assert table[["h", "alpha", "n"]].drop_duplicates().to_numpy().tolist() == [[1.0, alpha, 24]]


def test_layers_are_decomposed_about_the_input_and_about_the_label(net, images):
    x, y = images
    table = synergy.by_layer(net, x, LAYERS, y=y, h=1.0, max_pairs=2, seed=5).set_index("layer")
    input_width = 24 ** (-1 / (4 + 144))
    X = renyi.gram(x.double(), width=input_width)
    for layer, t in zip(LAYERS, activations_of(net, x), strict=True):
        grams, width = grams_of(t, 1.0)
        T = torch.as_tensor(np.array(grams))
        for about, between in [(X, "X;T"), (renyi.label_gram(y), "T;Y")]:
            d = synergy.decompose(about, T, max_pairs=2, seed=5)
            names = ["I", "RS", "WN", "RS share", "WN share", "RS error", "WN error", "share error"]
            values = table.loc[layer, [f"{name}({between})" for name in names]].to_list()
            assert values == pytest.approx(d[:8], abs=1e-5, nan_ok=True)
            assert d.information > 1e-3
        assert table.loc[layer, ["S(T)", "width"]].to_list() == pytest.approx([d.joint_entropy, width], abs=1e-5)
    assert table["S(Y)"].to_list() == pytest.approx([math.log2(3)] * 4)
    assert table["S(X)"].to_list() == pytest.approx([float(renyi.entropy(X))] * 4)
    assert table["maps"].to_list() == [2, 3, 1, 1]
    assert table["pairs"].to_list() == [1, 2, 0, 0]
    constant = table[["input_width", "pair_seed", "h", "alpha", "n"]].drop_duplicates()
    assert constant.to_numpy() == pytest.approx(np.array([[input_width, 5, 1.0, 1.01, 24]]))


def test_without_labels_there_is_nothing_about_them(net, images):
    table = synergy.by_layer(net, images[0], LAYERS)
    assert not [column for column in table if "Y" in column]
    chain = synergy.forward_chain(net, images[0], LAYERS)
    shared = [column for column in chain if column != "layer"]
    assert table[shared].to_numpy() == pytest.approx(chain[shared].to_numpy(), abs=1e-9)


class Halve(nn.Module):
    def forward(self, t):
        return t // 2


def test_with_indicator_kernels_coarser_layers_know_less():
    x = torch.tensor([0] * 5 + [1] * 3 + [2, 4, 5, 7] * 2 + [9, 11, 12, 13, 14, 15]).float()[:, None]
    coarser = nn.Sequential(OrderedDict(same=nn.Identity(), halves=Halve(), quarters=Halve(), eighths=Halve()))
    # So narrow a kernel tells whole numbers apart and nothing else.
    table = synergy.forward_chain(coarser, x, list(dict(coarser.named_children())), h=1e-3, alpha=1)
    counts = [np.unique(x // 2**k, return_counts=True)[1] / len(x) for k in range(4)]
    entropies = [float(-(p * np.log2(p)).sum()) for p in counts]
    assert table["I(X;T)"].to_list() == pytest.approx(entropies, abs=1e-9)
    assert table["S(T)"].to_list() == pytest.approx(entropies, abs=1e-9)
    assert (table["I(X;T)"].diff()[1:] < -0.3).all()


# maps taken together one after another


@pytest.mark.parametrize("alpha", [1, 1.01, 2])
def test_cumulative_information_is_that_of_the_first_maps(images, alpha):
    x, t = images[0], normal(24, 4, 3)
    table = synergy.cumulative(x, t, h=1.5, alpha=alpha)
    X, T = grams_of(x, 1.5)[0], grams_of(t, 1.5)[0]
    s_x = by_definition(*X, alpha=alpha)
    for c, row in enumerate(table.itertuples(index=False), start=1):
        s_t = by_definition(*T[:c], alpha=alpha)
        assert row[1:4] == pytest.approx((s_x + s_t - by_definition(*X, *T[:c], alpha=alpha), s_t, s_x), abs=1e-6)
    assert table["maps"].to_list() == [1, 2, 3, 4]
    assert table[["h", "alpha", "n"]].drop_duplicates().to_numpy().tolist() == [[1.5, alpha, 24]]


def test_noise_of_many_maps_knows_all_of_the_input(images):
    table = synergy.cumulative(images[0], normal(24, 40, 3), h=1.5)
    gap = table["S(X)"] - table["I(X;T1,...,Tc)"]
    assert gap.iloc[0] > 0.3
    assert gap.iloc[-1] < 1e-3


# errors


def errors_of(net, x, y):
    """By hand: back-propagation through a LeNet's sigmoid layers, one sample at a time."""
    rows = []
    for image, label in zip(x, y, strict=True):
        z1 = net.conv1.conv(image[None]).detach().requires_grad_()
        z2 = net.conv2.conv(net.pool1(z1.sigmoid())).detach().requires_grad_()
        pooled = net.pool2(z2.sigmoid())
        fc1 = net.fc1(pooled.flatten(1)).detach()
        output = net.output(fc1).softmax(1).detach() - nn.functional.one_hot(label, 3)
        d3 = (output @ net.output.weight.detach()) * fc1 * (1 - fc1)
        d_pooled = (d3 @ net.fc1.linear.weight.detach()).reshape(pooled.shape)
        d2 = torch.autograd.grad(pooled, z2, d_pooled)[0]
        d1 = torch.autograd.grad(net.conv2.conv(net.pool1(z1.sigmoid())), z1, d2)[0]
        rows.append([d1, d2, d_pooled, d3, output])
    layers = ["conv1", "conv2", "pool2", "fc1", "output"]
    return {name: torch.cat(parts).double() for name, parts in zip(layers, zip(*rows, strict=True), strict=True)}


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_error_chain_is_the_one_worked_out_by_hand(net, images, reduction):
    x, y = images
    h = 0.1 if reduction == "sum" else 0.1 / 24  # the mean's errors are n times smaller
    errors = errors_of(net, x, y)
    table = synergy.error_chain(net, x, y, list(errors), h=h, reduction=reduction)
    (last,), last_width = grams_of(errors["output"], 0.1)
    s_last = by_definition(last, alpha=1.01)
    assert table["layer"].to_list() == ["fc1", "pool2", "conv2", "conv1"]
    for row in table.itertuples(index=False):
        grams, width = grams_of(errors[row.layer], 0.1)
        s = by_definition(*grams, alpha=1.01)
        expected = (s_last + s - by_definition(last, *grams, alpha=1.01), s, s_last)
        assert row[1:4] == pytest.approx(expected, abs=1e-4)  # the network works in float32
        assert (row.width, row.last_width) == pytest.approx((width * h / 0.1, last_width * h / 0.1))
    assert table["I(δK;δ)"].min() > 1e-3
    assert table["maps"].to_list() == [1, 3, 3, 2]
    constant = ["last_layer", "reduction", "h", "alpha", "n"]
    assert table[constant].drop_duplicates().to_numpy().tolist() == [["output", reduction, h, 1.01, 24]]


def test_errors_are_taken_before_the_activation_even_one_in_place(images):
    x, y = images
    net = models.mlp([288, 4, 3], activation="relu", seed=0)
    table = synergy.error_chain(net, x, y, ["hidden1", "output"])
    net.hidden1.activation.inplace = True
    pd.testing.assert_frame_equal(synergy.error_chain(net, x, y, ["hidden1", "output"]), table)
    z = net.hidden1.linear(x.flatten(1))
    error = (net.output(z.relu()).softmax(1) - nn.functional.one_hot(y, 3)) @ net.output.weight * (z > 0)
    (gram,), _ = grams_of(error.detach(), 0.1)
    assert table["S(δ)"].to_list() == pytest.approx([by_definition(gram, alpha=1.01)], abs=1e-4)


def test_a_layer_and_its_last_weights_name_the_same_error(net, images):
    table = synergy.error_chain(net, *images, ["conv2.conv", "conv2", "output"]).drop(columns="layer")
    assert table.iloc[0].equals(table.iloc[1])


def test_the_call_of_a_block_does_not_stand_for_its_weights(images):
    block = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    net = nn.Sequential(OrderedDict(flat=nn.Flatten(), first=nn.Linear(288, 3), block=block, again=block))
    with pytest.raises(ValueError, match=r"layers must name the weights in 'block#1', .*: block\.0#1, \.\.\."):
        synergy.error_chain(net, *images, ["block#1", "again.0#2"])
    table = synergy.error_chain(net, *images, ["first", "block.0#1", "block.0#2"])
    assert table["layer"].tolist() == ["block.0#1", "first"]


def test_softmax_is_of_logits_whatever_their_name_and_an_argument(images):
    x, _ = images
    torch.manual_seed(0)
    linear, last = nn.Linear(288, 3), nn.Linear(3, 3)
    named, other = (nn.Sequential(OrderedDict([("flat", nn.Flatten()), (a, linear), (b, last)])).eval()
                    for a, b in (("output", "head"), ("hidden", "output")))  # fmt: skip
    one, two = (
        synergy.forward_chain(named, x, ["output", "head"]),
        synergy.forward_chain(other, x, ["hidden", "output"]),
    )
    assert one["I(X;T)"].tolist() == two["I(X;T)"].tolist()
    assert one["softmax"].tolist() == two["softmax"].tolist() == [False, True]
    bare = synergy.by_layer(named, x, ["output", "head"], softmax=())
    assert bare["softmax"].tolist() == [False, False]
    assert bare["I(X;T)"][1] > 2 * two["I(X;T)"][1]
    with pytest.raises(ValueError, match="softmax must name some of layers, output, head, got 'conv9'"):
        synergy.by_layer(named, x, ["output", "head"], softmax=["conv9"])


def test_a_layer_that_the_loss_does_not_depend_on_has_no_error(images):
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.side, self.output = nn.Linear(288, 2), nn.Linear(288, 3)

        def forward(self, x):
            self.side(x.flatten(1))
            return self.output(x.flatten(1))

    table = synergy.error_chain(Cut(), *images, ["side", "output"])
    assert table.loc[0, ["I(δK;δ)", "S(δ)"]].to_list() == pytest.approx([0, 0], abs=1e-9)
    assert table.loc[0, "S(δK)"] > 1


def state(net):
    return (
        [module.training for module in net.modules()],
        [len(module._forward_hooks) for module in net.modules()],
        [(p.requires_grad, None if p.grad is None else p.grad.tolist()) for p in net.parameters()],
        {name: value.tolist() for name, value in net.state_dict().items()},
    )


@pytest.fixture
def used():
    """A network in use: mixed modes, gradients on some parameters, dropout and batch statistics."""
    net = nn.Sequential(
        OrderedDict(
            conv1=nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True)),
            flatten=nn.Flatten(),
            dropout=nn.Dropout(),
            output=nn.Linear(200, 3),
        )
    ).train()
    net.flatten.eval()
    net.output.weight.grad = torch.ones_like(net.output.weight)
    net.conv1[0].bias.requires_grad_(False)
    return net


def test_the_model_is_left_as_it_was(used, images):
    x, y = images
    before, rng = copy.deepcopy(state(used)), torch.get_rng_state()
    first = synergy.error_chain(used, x, y, ["conv1", "output"])
    synergy.forward_chain(used, x, ["conv1", "output"])
    synergy.by_layer(used, x, ["conv1", "output"], y=y)
    assert synergy.error_chain(used, x, y, ["conv1", "output"]).equals(first)  # no dropout: the same again
    with pytest.raises(ValueError, match=r"y must be from 0 to 2"):
        synergy.error_chain(used, x, y + 7, ["conv1", "output"])
    assert state(used) == before
    assert torch.equal(torch.get_rng_state(), rng)
    assert not x.requires_grad


def test_frozen_parameters_and_no_grad_change_nothing(used, images):
    table = synergy.error_chain(used, *images, ["conv1", "output"])
    for parameter in used.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        pd.testing.assert_frame_equal(synergy.error_chain(used, *images, ["conv1", "output"]), table)


# refusals


@pytest.mark.parametrize(
    ("x_shape", "t_shape", "message"),
    [
        ((4,), (2, 4, 4), r"input_gram must have shape \(n, n\), got \(4,\)"),
        ((4, 3), (2, 4, 4), r"input_gram must have shape \(n, n\), got \(4, 3\)"),
        ((2, 4, 4), (2, 4, 4), r"input_gram must have shape \(n, n\), got \(2, 4, 4\)"),
        ((4, 4), (4, 4), r"channel_grams must have shape \(C, 4, 4\), with the n of input_gram, got \(4, 4\)"),
        ((4, 4), (2, 5, 5), r"channel_grams must have shape \(C, 4, 4\), with the n of input_gram, got \(2, 5, 5\)"),
        ((4, 4), (0, 4, 4), r"channel_grams is empty, got shape \(0, 4, 4\)"),
    ],
)
def test_grams_of_other_shapes_are_refused(x_shape, t_shape, message):
    with pytest.raises(ValueError, match=message):
        synergy.decompose(torch.ones(x_shape), torch.ones(t_shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_pairs": 0}, "max_pairs must be an integer of at least 1, got 0"),
        ({"max_pairs": 2.5}, "max_pairs must be an integer, got 2.5"),
        ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
        ({"alpha": 0}, "alpha must be positive, got 0"),
        ({"precision": torch.float16}, "precision must be torch.float32 or torch.float64, got torch.float16"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        synergy.decompose(renyi.label_gram(T1), indicators(T1, T2), **options)


def test_grams_of_another_trace_are_refused():
    with pytest.raises(ValueError, match="must have trace 1, got"):
        synergy.decompose(renyi.label_gram(T1), 2 * indicators(T1, T2))
    with pytest.raises(ValueError, match="must have trace 1, got"):
        synergy.decompose(2 * renyi.label_gram(T1), indicators(T1, T2))


def test_unknown_layers_too_few_and_those_not_reached_are_refused(net, images):
    x, y = images
    for measure in (synergy.by_layer, synergy.forward_chain):
        with pytest.raises(ValueError, match="unknown layer 'conv9'; there are: conv1"):
            measure(net, x, ["conv9"])
        with pytest.raises(ValueError, match="the number of layers must be an integer of at least 1, got 0"):
            measure(net, x, [])
    with pytest.raises(ValueError, match="unknown layer 'conv9'; there are: conv1"):
        synergy.error_chain(net, x, y, ["conv9", "output"])
    with pytest.raises(ValueError, match="the number of layers must be an integer of at least 2, got 1"):
        synergy.error_chain(net, x, y, ["output"])
    net.output.register_module("spare", nn.Linear(3, 3))
    with pytest.raises(ValueError, match=r"the forward pass does not reach output\.spare"):
        synergy.error_chain(net, x, y, ["fc1", "output.spare"])


def test_unknown_reductions_widths_and_labels_of_another_length_are_refused(net, images):
    x, y = images
    with pytest.raises(ValueError, match="unknown reduction 'none'; allowed: sum, mean"):
        synergy.error_chain(net, x, y, LAYERS, reduction="none")
    with pytest.raises(ValueError, match="h must be positive, got 0"):
        synergy.forward_chain(net, x, LAYERS, h=0)
    with pytest.raises(ValueError, match="y must have 24 entries, one per sample, got 23"):
        synergy.error_chain(net, x, y[1:], LAYERS)
    with pytest.raises(ValueError, match="y must have 24 entries, one per sample, got 23"):
        synergy.by_layer(net, x, LAYERS, y=y[1:])


def test_layers_by_a_pattern_and_outputs_without_classes(net, images):
    x, _ = images
    every = [name for name, _ in net.named_children()]
    assert synergy.forward_chain(net, x, ["*"])["layer"].tolist() == every
    assert synergy.by_layer(net, x, ["*"])["layer"].tolist() == every
    one = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 1), nn.Flatten(0)).eval()
    with pytest.raises(ValueError, match=r"model must return logits \(n, classes\), got shape \(24,\)"):
        synergy.errors(one, x, torch.zeros(len(x)).long(), ["1"])
