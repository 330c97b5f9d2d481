import math
from collections import OrderedDict
from functools import partial
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import mutual_info_score
from torch import nn

from infolib import activations, training
from infolib.data import Data, Splits
from infolib.estimators import binning, discrete
from infolib.measures import neuron_importance
from infolib.measures.neuron_importance import (
    Order,
    ablation_curves,
    area,
    comparisons,
    orders,
    rank_correlations,
    scores,
)
from workbook import datasets, models, store

MODES = neuron_importance.MODES


def random_data(shape, n=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 10
    return Data(torch.rand(n, *shape, generator=generator, dtype=torch.float64), y)


def lively(model):
    """A network in eval mode whose biases and running statistics are no longer the initial zeros and ones."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith(("bias", "mean")):
                value.normal_(generator=generator)
            elif name.endswith("var"):
                value.uniform_(0.5, 2.0, generator=generator)
    return model.double().eval()


def network(weights, biases):
    """Layers layer1, layer2, ... of linear map and ReLU, and a last linear map, from given weights."""
    named = []
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True), start=1):
        weight = torch.tensor(weight, dtype=torch.float64)
        layer = nn.Linear(weight.shape[1], weight.shape[0]).double()
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(torch.tensor(bias, dtype=torch.float64))
        last = i == len(weights)
        named.append((f"layer{i}", layer if last else nn.Sequential(layer, nn.ReLU())))
    return nn.Sequential(OrderedDict(named)).eval()


def value(table, layer, quantity):
    return table[(table["layer"] == layer) & (table["quantity"] == quantity)]["value"].to_list()


def accuracy(model, data, layers, neurons, mode):
    order = Order(layers, "given", "given", torch.tensor(neurons))
    return ablation_curves(model, data, [order], mode=mode)["accuracy"].to_list()


# Toy networks whose curves are known by hand: redundancy, synergy, a blind quantiser


REDUNDANT = network([[[1], [1]], [[0, 0], [1, 1]]], [[0, 0], [0, -0.75]])
BIT = Data(torch.tensor([[0.0], [0.0], [1.0], [1.0]], dtype=torch.float64), torch.tensor([0, 0, 1, 1]))
XOR = network([torch.eye(2).tolist(), [[1, 1], [1, 1]], [[0, 0], [1, -2]]], [[0, 0], [0, -1], [0, -0.25]])
BITS = Data(torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64), torch.tensor([0, 1, 1, 0]))


@pytest.mark.parametrize("mode", MODES)
def test_redundant_neurons_are_missed_only_together(mode):
    assert value(scores(REDUNDANT, BIT, ["layer1"]), "layer1", "class information") == pytest.approx([1, 1])
    assert accuracy(REDUNDANT, BIT, ("layer1",), [1, 0], mode) == [1, 1, 0.5]


def test_synergistic_neurons_have_no_information_alone_and_are_missed_at_once():
    table = scores(XOR, BITS, ["layer1", "layer2"])
    for quantity, first, second in (
        ("entropy", 1.0, 0.8112781245),
        ("class information", 0.0, 0.3112781245),
        ("KL selectivity", 0.0, 0.4150374993),
    ):
        assert value(table, "layer1", quantity) == pytest.approx([first] * 2, abs=1e-9)
        assert value(table, "layer2", quantity) == pytest.approx([second] * 2, abs=1e-9)
    for mode in MODES:
        assert accuracy(XOR, BITS, ("layer1",), [0, 1], mode)[:2] == [1, 0.5]
    assert accuracy(XOR, BITS, ("layer2",), [0, 1], "zero")[:2] == [1, 0.5]
    assert accuracy(XOR, BITS, ("layer2",), [1, 0], "zero")[:2] == [1, 0.75]
    for first, second in ((0, 1), (1, 0)):
        assert accuracy(XOR, BITS, ("layer2",), [first, second], "mean") == [1, 0.75, 0.5]


def test_pooled_ascending_order_removes_the_synergistic_neurons_first():
    pooled = [
        order
        for order in orders(scores(XOR, BITS, ["layer1", "layer2"]), random=0, seed=0)
        if order[:3] == (("layer1", "layer2"), "class information", "ascending")
    ]
    assert ablation_curves(XOR, BITS, pooled)["accuracy"].to_list()[:2] == [1, 0.5]


def test_one_bit_at_zero_is_blind_to_a_neuron_that_is_always_on():
    shifted = network([[[1]], [[-1], [1]]], [[10], [10, -10]])
    data = Data(torch.tensor([[-1.0], [-1.0], [1.0], [1.0]], dtype=torch.float64), torch.tensor([0, 0, 1, 1]))
    for quantise, bits in ((binning.sign, 0.0), (partial(binning.quantile, bins=2), 1.0)):
        table = scores(shifted, data, ["layer1"], quantise=quantise)
        assert value(table, "layer1", "entropy") == [bits]
        assert value(table, "layer1", "class information") == pytest.approx([bits])
    assert accuracy(shifted, data, ("layer1",), [0], "mean") == [1, 0.5]


# Curves against masks, one forward pass for every k


def masked(model, data, layers, neurons, mode, means):
    """Accuracy and loss with the first k neurons replaced by a hook, for every k: the definition."""
    t = activations.collect(model, means.x, layers)
    owner = [(layer, j) for layer in layers for j in range(t[layer].shape[1])]
    constant = {layer: a.transpose(0, 1).flatten(1).mean(1) * (mode == "mean") for layer, a in t.items()}
    rows = []
    for k in range(len(neurons) + 1):
        gone = [owner[neuron] for neuron in neurons[:k]]

        def clamp(t, layer, gone=gone):
            for where, j in gone:
                if where == layer:
                    t[:, j] = constant[layer][j]
            return t

        with activations.replace(model, {layer: partial(clamp, layer=layer) for layer in layers}):
            rows.append(training.evaluate(model, data))
    return rows


NETWORKS = {
    "mlp": (models.mlp([12, 7, 70, 6, 10], dropout=[0.2, 0.4, 0.2], seed=0), (12,), ["hidden1", "hidden2", "hidden3"]),
    "sigmoid, norm": (
        models.mlp([12, 7, 6, 10], activation="sigmoid", batch_norm="before", seed=0), (12,), ["hidden1", "hidden2"],
    ),
    "pre-activations": (
        models.mlp([12, 7, 6, 10], batch_norm="after", seed=0), (12,), ["hidden1.linear", "hidden2.linear"],
    ),
    "convolutional": (models.lenet5(in_shape=(1, 12, 12), seed=0), (1, 12, 12), ["conv1", "conv2", "fc1"]),
    "after pooling": (models.lenet5(in_shape=(1, 12, 12), seed=0), (1, 12, 12), ["pool1", "pool2"]),
    "vgg": (models.vgg16(width=1 / 32, seed=0), (3, 32, 32), ["conv2", "conv13", "fc1"]),
    "in place": (
        nn.Sequential(
            nn.Linear(12, 6), nn.ReLU(inplace=True), nn.Linear(6, 5, bias=False), nn.ReLU(True), nn.Linear(5, 10)
        ), (12,), ["0", "2"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NETWORKS)
def test_curves_are_those_of_masks_at_every_k(name, mode):
    model, shape, layers = NETWORKS[name]
    model, data, means = lively(model), random_data(shape, 30), random_data(shape, 20, seed=1)
    for pool in [*((layer,) for layer in layers), tuple(layers)]:
        neurons = sum(t.shape[1] for t in activations.collect(model, data.x[:1], pool).values())
        order = Order(pool, "any", "any", torch.randperm(neurons, generator=torch.Generator().manual_seed(2)))
        curve = ablation_curves(model, data, [order], mode=mode, means=means)
        expected = masked(model, data, pool, order.neurons.tolist(), mode, means)
        assert curve["k"].to_list() == list(range(neurons + 1))
        assert curve["accuracy"].to_list() == [e.accuracy for e in expected]
        assert curve["loss"].to_list() == pytest.approx([e.cross_entropy for e in expected], abs=1e-12)


def test_samples_come_in_chunks_and_rounding_does_not_pile_up():
    model = lively(models.mlp([12, 150, 10], seed=0)).float()
    data = random_data((12,), 4100)  # some thousands are ablated at a time
    data = Data(data.x.float(), data.y)
    order = Order(("hidden1",), "any", "any", torch.randperm(150, generator=torch.Generator().manual_seed(0)))
    whole = ablation_curves(model, data, [order])
    parts = [ablation_curves(model, data[i : i + 50], [order], means=data) for i in range(0, 4100, 50)]
    for column in ("accuracy", "loss"):
        expected = sum(part[column] for part in parts) / len(parts)
        assert whole[column].to_list() == pytest.approx(expected.to_list(), abs=1e-5)
    expected = masked(model, data, ["hidden1"], order.neurons.tolist(), "mean", data)
    assert whole["loss"].to_list() == pytest.approx([e.cross_entropy for e in expected], abs=1e-5)


def test_points_are_a_selection_of_the_curve_that_ends_with_all_clamped():
    model, data = lively(models.mlp([12, 7, 6, 10], seed=0)), random_data((12,))
    order = Order(("hidden1", "hidden2"), "any", "any", torch.arange(13).flip(0))
    full = ablation_curves(model, data, [order]).set_index("k")
    some = ablation_curves(model, data, [order], points=4)
    assert some["k"].to_list() == [0, 4, 8, 12, 13]
    assert some["accuracy"].to_list() == full.loc[some["k"], "accuracy"].to_list()
    assert some["loss"].to_list() == pytest.approx(full.loc[some["k"], "loss"].to_list(), abs=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_every_order_starts_and_ends_at_the_same_values(mode):
    model, data = lively(models.mlp([12, 7, 6, 10], seed=0)), random_data((12,))
    curves = ablation_curves(model, data, orders(scores(model, data, ["hidden1"]), random=3, seed=0), mode=mode)
    ends = [curves.groupby(["quantity", "direction", "repeat"])["accuracy"].nth(i) for i in (0, -1)]
    assert set(ends[0]) == {training.evaluate(model, data).accuracy}
    assert len(set(ends[1])) == 1
    assert ends[1].iloc[0] in [(data.y == c).double().mean().item() for c in range(10)]  # it predicts one class


def test_nothing_is_left_when_all_are_clamped_to_zero():
    model, data = models.mlp([12, 70, 60, 10], seed=0).double().eval(), random_data((12,))  # its biases are 0
    found = orders(scores(model, data, ["hidden1", "hidden2"]), random=1, seed=0)
    curves = ablation_curves(model, data, found, mode="zero")
    last = curves.groupby(["layers", "quantity", "direction"]).last()
    assert set(last["accuracy"]) == {0.1}
    assert last["loss"].to_list() == pytest.approx([math.log2(10)] * len(last))


def test_clamping_to_the_mean_is_deleting_the_neuron_and_balancing_the_bias():
    model, data = lively(models.mlp([12, 7, 6, 10], activation="sigmoid", seed=0)), random_data((12,))
    mean = activations.collect(model, data.x, ["hidden1"])["hidden1"].mean(0)
    curve = ablation_curves(model, data, [Order(("hidden1",), "any", "any", torch.tensor([4, 1, 0, 2, 3, 5, 6]))])
    linear = model.hidden2.linear
    with torch.no_grad():
        linear.bias += linear.weight[:, [4, 1]] @ mean[[4, 1]]
        linear.weight[:, [4, 1]] = 0
    pruned = training.evaluate(model, data)
    assert (curve["accuracy"][2], curve["loss"][2]) == pytest.approx((pruned.accuracy, pruned.cross_entropy), abs=1e-12)


# Scores


def test_scores_are_those_of_the_codes_of_one_neuron_at_a_time():
    model, data = lively(models.mlp([12, 9, 10], activation="sigmoid", seed=0)), random_data((12,))
    table = scores(model, data, ["hidden1"], quantise=partial(binning.sign, threshold=0.5), permutations=30)
    t = activations.collect(model, data.x, ["hidden1"])["hidden1"]
    generator = torch.Generator().manual_seed(0)
    for j in range(9):
        codes = (t[:, j] > 0.5).long()
        rows = table[table["neuron"] == j].set_index("quantity")
        joint = [[((codes == c) & (data.y == y)).double().mean().item() for c in (0, 1)] for y in range(10)]
        p = [sum(row[c] for row in joint) for c in (0, 1)]
        surprise = [sum(q / sum(row) * math.log2(q / sum(row) / p[c]) for c, q in enumerate(row) if q) for row in joint]
        assert rows["value"]["entropy"] == pytest.approx(-sum(q * math.log2(q) for q in p if q), abs=1e-12)
        assert rows["value"]["class information"] == pytest.approx(mutual_info_score(codes, data.y) / math.log(2))
        assert rows["value"]["KL selectivity"] == pytest.approx(max(surprise), abs=1e-12)
        assert surprise[rows["preferred class"]["entropy"]] == pytest.approx(max(surprise), abs=1e-12)
        assert rows["fraction active"]["entropy"] == pytest.approx(p[1])
        null = [
            discrete.kl_selectivity(codes, data.y[torch.randperm(60, generator=generator)]).item() for _ in range(200)
        ]
        assert rows["null"]["KL selectivity"] == pytest.approx(sorted(null)[190], abs=0.35)
    assert (table["unit"] == "bit").all()


def test_null_is_the_95th_percentile_under_permuted_labels():
    model, data = lively(models.mlp([12, 40, 10], seed=0)), random_data((12,))
    shuffled = Data(data.x, data.y[torch.randperm(60, generator=torch.Generator().manual_seed(5))])
    table = scores(model, shuffled, ["hidden1"], permutations=100)
    rows = table[(table["quantity"] == "class information") & (table["value"] > 0)]
    assert 0.8 < (rows["value"] <= rows["null"]).mean() <= 1


def test_dead_and_always_on_neurons_have_no_information_and_are_told_apart():
    model = network([[[1], [0], [0]], [[0, 0, 0], [1, 1, 1]]], [[0, -1, 1], [0, 0]])
    table = scores(model, BIT, ["layer1"])
    entropy = table[table["quantity"] == "entropy"]
    assert entropy["fraction active"].to_list() == [0.5, 0, 1]
    assert entropy["value"].to_list() == [1, 0, 0]
    assert value(comparisons(model, BIT, ["layer1"]), "layer1", "class selectivity") == [1, 0, 0]


def test_channels_are_scored_by_their_mean_over_positions():
    model, data = lively(models.lenet5(in_shape=(1, 12, 12), seed=0)), random_data((1, 12, 12))
    quantise = partial(binning.quantile, bins=2)
    table = scores(model, data, ["conv2"], quantise=quantise)
    t = activations.collect(model, data.x, ["conv2"])["conv2"].mean((2, 3))
    expected = discrete.mutual_information(quantise(t), data.y)
    assert value(table, "conv2", "class information") == pytest.approx(expected.tolist())


@pytest.mark.parametrize("name", ["mlp", "sigmoid, norm", "convolutional"])
def test_comparisons_by_their_definitions(name):
    model, shape, layers = NETWORKS[name]
    model, data = lively(model), random_data(shape)
    table = comparisons(model, data, layers)
    intact = training.evaluate(model, data).cross_entropy
    for layer in layers:
        t = activations.collect(model, data.x, [layer])[layer]
        shift = torch.zeros_like(t, requires_grad=True)
        with activations.replace(model, {layer: lambda a, shift=shift: a + shift}):
            loss = nn.functional.cross_entropy(model(data.x), data.y)
        taylor = (torch.autograd.grad(loss, shift)[0] * t).flatten(2 if t.ndim > 2 else 1)
        taylor = (taylor.sum(2) if t.ndim > 2 else taylor).sum(0).abs() / math.log(2)
        assert value(table, layer, "Taylor") == pytest.approx(taylor.tolist(), abs=1e-12)
        for mode in MODES:
            risen = value(table, layer, f"ablation loss, {mode}")
            for j in (0, t.shape[1] - 1):
                order = [j, *(i for i in range(t.shape[1]) if i != j)]
                alone = masked(model, data, [layer], order[:1], mode, data)[1].cross_entropy
                assert risen[j] == pytest.approx(alone - intact, abs=1e-12)
        activation = t.flatten(2).mean(2) if t.ndim > 2 else t
        for j, selectivity in enumerate(value(table, layer, "class selectivity")):
            means = sorted(activation[data.y == c, j].mean().item() for c in range(10))
            rest = sum(means[:-1]) / 9
            assert selectivity == pytest.approx((means[-1] - rest) / (means[-1] + rest) if means[-1] else 0)
    follower = {"hidden1": "hidden2.linear", "conv1": "conv2.conv", "conv2": "fc1.linear"}[layers[0]]
    weight = model.get_submodule(follower).weight
    assert value(table, layers[0], "outgoing weights")[1] == pytest.approx(weight[:, 1].norm().item())


def test_outgoing_weights_of_a_flattened_channel_are_those_of_all_its_positions():
    model, data = lively(models.lenet5(in_shape=(1, 12, 12), seed=0)), random_data((1, 12, 12))
    weight = model.fc1.linear.weight  # (84, 12 channels of some positions)
    positions = weight.shape[1] // 12
    expected = weight[:, positions : 2 * positions].norm().item()
    assert value(comparisons(model, data, ["conv2"]), "conv2", "outgoing weights")[1] == pytest.approx(expected)


# Known bugs of public replications, which ours does not share


def test_information_never_exceeds_entropy_and_a_fair_coin_has_none():
    y = torch.arange(10).repeat_interleave(100)
    coin = (torch.arange(1000) % 2)[:, None]
    assert float(discrete.mutual_information(coin, y)[0]) == pytest.approx(0, abs=1e-12)  # not H(T) + H(T|Y) = 2


def test_scores_come_from_all_samples_at_once_not_from_marginals_of_batches():
    model = network([[[1]], [[1]] * 10], [[-4.5], [0] * 10])
    data = Data(torch.arange(3000, dtype=torch.float64)[:, None] % 10, (torch.arange(3000) % 10))
    assert value(scores(model, data, ["layer1"]), "layer1", "class information") == pytest.approx([1.0])


def test_clamping_to_the_mean_replaces_the_activation_and_does_not_scale_it():
    model = network([[[1]], [[0], [1]]], [[0], [0, -0.75]])
    curve = ablation_curves(model, BIT, [Order(("layer1",), "any", "any", torch.tensor([0]))])
    assert curve["accuracy"].to_list() == [1, 0.5]  # multiplied by P(fires) = 0.5 the loss would be another
    logits = torch.tensor([0.0, 0.5 - 0.75])
    expected = nn.functional.cross_entropy(logits.expand(4, 2), BIT.y).item() / math.log(2)
    assert curve["loss"][1] == pytest.approx(expected)


def test_random_orders_are_permutations_whose_prefixes_nest():
    table = scores(XOR, BITS, ["layer1", "layer2"])
    random = [order for order in orders(table, random=4, seed=0) if order.quantity == "random"]
    assert [len(order.neurons) for order in random] == [2] * 8 + [4] * 4
    assert all(sorted(order.neurons.tolist()) == list(range(len(order.neurons))) for order in random)
    assert [order.repeat for order in random] == [0, 1, 2, 3] * 3


def test_clamping_is_of_the_output_after_activation_function_and_norm():
    model = lively(models.mlp([12, 4, 10], activation="sigmoid", batch_norm="after", seed=0))
    data = random_data((12,))
    order = Order(("hidden1",), "any", "any", torch.arange(4))
    last = ablation_curves(model, data, [order], mode="zero")["loss"].to_list()[-1]
    logits = model.output.bias.detach().expand(60, 10)  # not that of sigmoid(b) or of the norm of 0
    assert last == pytest.approx(nn.functional.cross_entropy(logits, data.y).item() / math.log(2))


def test_loss_is_the_cross_entropy_of_the_logits_in_bits():
    model, data = lively(models.mlp([12, 4, 10], seed=0)), random_data((12,))
    order = Order(("hidden1",), "any", "any", torch.arange(4))
    first = ablation_curves(model, data, [order])["loss"][0]
    assert first == pytest.approx(nn.functional.cross_entropy(model(data.x), data.y).item() / math.log(2))


# Orders, areas, the whole protocol


def test_orders_sort_with_ties_in_a_seeded_random_order():
    table = neuron_importance.scores(REDUNDANT, BIT, ["layer1"])
    table = table[table["quantity"] == "entropy"].iloc[[0] * 40].assign(neuron=range(40), value=[1.0, 0.0] * 20)
    ascending, descending = orders(table, random=0, seed=3)
    assert [i % 2 for i in ascending.neurons.tolist()] == [1] * 20 + [0] * 20
    assert [i % 2 for i in descending.neurons.tolist()] == [0] * 20 + [1] * 20
    assert ascending.neurons.tolist()[:20] != list(range(1, 40, 2))
    assert torch.equal(ascending.neurons, orders(table, random=0, seed=3)[0].neurons)
    assert not torch.equal(ascending.neurons, orders(table, random=0, seed=4)[0].neurons)


def test_area_is_the_mean_accuracy_of_each_curve():
    model, data = lively(models.mlp([12, 7, 10], seed=0)), random_data((12,))
    curves = ablation_curves(model, data, orders(scores(model, data, ["hidden1"]), random=2, seed=0))
    curves = pd.concat([curves.assign(seed=seed) for seed in (0, 1)])
    table = area(curves.sample(frac=1, random_state=0), upto=3)  # whatever the order of the rows
    assert len(table) == 6  # seeds and quantities

    def mean(quantity, direction, repeat=0):
        rows = curves[(curves["quantity"] == quantity) & (curves["direction"] == direction) & (curves["seed"] == 0)]
        a = rows[rows["repeat"] == repeat]["accuracy"].to_list()
        return (a[0] / 2 + a[1] + a[2] + a[3] / 2) / 3

    for row in table[table["seed"] == 0].itertuples():
        assert row.ascending == pytest.approx(mean(row.quantity, "ascending"))
        assert row.descending == pytest.approx(mean(row.quantity, "descending"))
        assert row.random == pytest.approx((mean("random", "random") + mean("random", "random", 1)) / 2)
        assert row.gap == pytest.approx(row.ascending - row.descending)
    with pytest.raises(ValueError, match="upto must be an integer of at least 1, got 0"):
        area(curves, upto=0)


def test_rank_correlations_are_scipys_within_each_layer_and_pooled():
    model, data = lively(models.mlp([12, 9, 8, 10], seed=0)), random_data((12,))
    layers = ["hidden1", "hidden2"]
    table = pd.concat([scores(model, data, layers), comparisons(model, data, layers)])
    found = rank_correlations(pd.concat([table.assign(seed=seed) for seed in (0, 1)]))
    assert len(found) == 2 * 3 * 7  # seeds, two layers and both together, quantities but the target
    alone = rank_correlations(table, target="Taylor").set_index(["layers", "quantity"])["correlation"]
    assert "Taylor" not in alone.index.unique("quantity")
    for pool in (["hidden1"], ["hidden2"], layers):
        rows = table[table["layer"].isin(pool)]
        x, y = (rows[rows["quantity"] == q]["value"].to_numpy() for q in ("outgoing weights", "Taylor"))
        expected = spearmanr(x, y).statistic
        assert alone["pooled" if len(pool) > 1 else pool[0], "outgoing weights"] == pytest.approx(expected)
    constant = table[table["quantity"] == "entropy"].assign(quantity="constant", value=1.0)
    assert rank_correlations(pd.concat([table, constant])).set_index("quantity")["correlation"]["constant"].isna().all()
    with pytest.raises(ValueError, match="unknown target 'loss'"):
        rank_correlations(table, target="loss")


def test_whole_protocol_on_digits_finds_the_informative_neurons_important():
    splits = datasets.load("digits", n_test=200, seed=0)
    model = store.trained(
        models.mlp([64, 100, 100, 10], seed=0), splits.train, epochs=30, batch_size=32, lr=1e-3, seed=0
    )
    result = neuron_importance.analyse(model, splits, ["hidden1", "hidden2"], random=2, points=10, seed=0)
    gaps = area(result.curves[result.curves["mode"] == "mean"]).set_index(["layers", "quantity"])["gap"]
    assert min(gaps[layer, "class information"] for layer in ("hidden1", "hidden2")) > 0.05
    assert set(result.scores["quantity"]) == {*neuron_importance.QUANTITIES, "class selectivity", "outgoing weights",
                                              "Taylor", "ablation loss, mean", "ablation loss, zero"}  # fmt: skip
    assert result.scores["n"].unique() == len(splits.val)
    assert result.curves["n"].unique() == len(splits.test)


# Refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: scores(m.mlp, m.data, ["output"]), "layer 'output' must be followed by a linear or conv.*got None"),
        (lambda m: scores(m.mlp, m.data, ["hidden9"]), "layer 'hidden9' must be a step of a sequential model; there"),
        (lambda m: scores(m.mlp, m.data, []), "the number of layers must be an integer of at least 1"),
        (lambda m: scores(m.mlp, m.data, ["hidden2", "hidden1"]), "layers must come in order of depth"),
        (lambda m: scores(m.lenet, m.images, ["conv1", "pool1"]), "with a map between any two, got .'conv1', 'pool1'"),
        (lambda m: scores(m.grouped, m.images, ["0"]), "layer '0' must be followed by .*got Conv2d.*groups=3"),
        (lambda m: scores(m.resnet, m.images, ["stem"]), "layer 'stem' must be followed by .*got _Block"),
        (lambda m: scores(m.mlp.train(), m.data, ["hidden1"]), r"model is in training mode.*model.eval\(\)"),
        (lambda m: scores(m.mlp, m.data[:9], ["hidden1"]), "as many samples as classes, got n=9 for 10"),
        (lambda m: scores(m.mlp, m.data[:0], ["hidden1"]), "data is empty"),
        (lambda m: scores(m.mlp, Data(m.data.x, m.data.y + 1), ["hidden1"]), "below the model's 10 classes, got 10"),
        (
            lambda m: scores(m.broken, m.data, ["hidden1"]),
            "a network whose outputs are finite, got '60 of 60 that are not'",
        ),
        (lambda m: ablation_curves(m.broken, m.data, []), "model must be a network whose outputs are finite"),
        (lambda m: m.whole(m.data, m.data[:50]), "splits.test must be apart from splits.val, got '50 of 50 in"),
        (
            lambda m: m.whole(m.data[:50], m.data[49:]),
            "splits.test must be apart from splits.val, got '1 of 11 in",
        ),
        (lambda m: comparisons(m.mlp.train(), m.data, ["hidden1"]), "model is in training mode"),
        (lambda m: ablation_curves(m.mlp.train(), m.data, []), "model is in training mode"),
        (lambda m: ablation_curves(m.mlp, m.data, []), "orders must hold an order, got none"),
        (lambda m: m.ablate([0, 1, 1, 3]), "order must be a permutation of the 4 neurons of hidden1, got 4 indices"),
        (lambda m: m.ablate([0, 1, 2]), "order must be a permutation of the 4 neurons of hidden1, got 3 indices"),
        (lambda m: m.ablate([0, 1, 2, 3], mode="median"), "unknown mode 'median'; allowed: mean, zero"),
        (lambda m: m.ablate([0, 1, 2, 3], points=0), "points must be an integer of at least 1, got 0"),
        (
            lambda m: orders(scores(m.mlp, m.data, ["hidden1"]).iloc[:0], seed=0),
            "table must be a data frame with rows in it",
        ),
        (lambda m: orders(scores(m.mlp, m.data, ["hidden1"]), random=-1, seed=0), "random must be .*at least 0"),
    ],
)
def test_refusals_name_what_was_given_and_what_is_allowed(call, message):
    mlp = models.mlp([12, 4, 3, 10], seed=0).eval()
    data = random_data((12,))
    data = Data(data.x.float(), data.y)
    images = Data(torch.rand(10, 3, 32, 32), torch.arange(10) % 3)
    broken = models.mlp([12, 4, 3, 10], seed=0).eval()
    torch.nn.init.constant_(broken.output.bias, math.nan)
    given = SimpleNamespace(
        whole=lambda val, test: neuron_importance.analyse(mlp, Splits(val, val, test, "mine", {}), ["hidden1"], seed=0),
        broken=broken, mlp=mlp, data=data, images=images, resnet=models.resnet(20).eval(),
        lenet=models.lenet5(in_shape=(3, 32, 32), seed=0).eval(),
        grouped=nn.Sequential(
            nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3, groups=3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        ).eval(),
        ablate=lambda neurons, **options: ablation_curves(
            mlp, data, [Order(("hidden1",), "any", "any", torch.tensor(neurons))], **options
        ),
    )  # fmt: skip
    with pytest.raises(ValueError, match=message):
        call(given)


def test_linear_map_over_positions_instead_of_neurons_is_refused():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Linear(4, 2), nn.Flatten(), nn.Linear(24, 10)).eval()
    data = Data(torch.rand(10, 1, 6, 6), torch.arange(10))
    with pytest.raises(ValueError, match=r"must be given \(n, units\), got \(10, 3, 4, 4\)"):
        ablation_curves(model, data, [Order(("0",), "any", "any", torch.arange(3))])
