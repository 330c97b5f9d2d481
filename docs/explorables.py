"""The numbers behind the explorables: `python docs/explorables.py [01 02 05 06]` writes docs/explorables/*.json."""

import json
import sys
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

from infolib import Data, training
from infolib.data import Splits
from infolib.estimators import renyi, truth
from infolib.measures import discarding, information_plane, transfer
from workbook import datasets, models

HERE = Path(__file__).parent / "explorables"
SEEDS = range(2000, 2005)  # of samples; no notebook uses them
NETWORK = 2000  # seed of every network, its training and its split
WIDTHS = [0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 4.0, 10.0]


def nested(values: dict, axes: list, digits: int = 3) -> list:
    """Numbers by tuple of settings as lists in lists, in the order of `axes`."""
    if not axes:
        return [None if v is None else round(float(v), digits) for v in values[()]]
    return [nested({key[1:]: v for key, v in values.items() if key[0] == here}, axes[1:], digits) for here in axes[0]]


def choice(name: str, label: str, values: list, start: int = 0) -> dict:
    """A slider over `values`."""
    return {"name": name, "label": label, "values": values, "start": start}


def line(name: str, by: list[str], values: dict, axes: list, style: str = "solid", colour: int = 0) -> dict:
    """A line that depends on the sliders `by`; style "told" is for numbers that are told, not drawn."""
    return {"name": name, "by": by, "values": nested(values, axes), "style": style, "colour": colour}


def information(x: Tensor, y: Tensor, width: float, alpha: float) -> float:
    """Matrix-based information of two samples in bits."""
    return float(renyi.mutual_information(renyi.gram(x, width=width), renyi.gram(y, width=width), alpha=alpha))


def estimates() -> dict:
    """01: matrix-based information of a normal pair against the kernel width, for some n and alpha."""
    sizes, alphas = [50, 100, 200, 400], [1, 1.01, 2]
    pair = truth.SparseNormal(1, 1, 1, 0.75)
    own, other, low, high = {}, {}, {}, {}
    for n, alpha in product(sizes, alphas):
        found = []
        for seed in SEEDS:
            (x, y), independent = pair.sample(n, seed=seed), pair.sample(n, seed=seed + 1000)[1]
            found.append([[information(x, z, w, alpha) for w in WIDTHS] for z in (y, independent)])
        values = torch.tensor(found)
        own[n, alpha], other[n, alpha] = values.mean(0)
        low[n, alpha], high[n, alpha] = values[:, 0].amin(0), values[:, 0].amax(0)
    population = {(alpha,): [pair.matrix_information(w, alpha=alpha) for w in WIDTHS] for alpha in alphas}
    by, axes = ["n", "alpha"], [sizes, alphas]
    return {
        "title": "Estimate against kernel width and number of samples",
        "x": {"name": "kernel width [standard deviations]", "values": WIDTHS, "log": True, "start": 4},
        "y": {"name": "information [bits]", "from": 0, "to": 4},
        "controls": [choice("n", "samples n", sizes, 1), choice("alpha", "order α", alphas, 1)],
        "lines": [
            line("estimate", by, own, axes),
            line("least of 5 samples", by, low, axes, "dotted"),
            line("greatest of 5 samples", by, high, axes, "dotted"),
            line("independent pair", by, other, axes, "dashed", 1),
            line("population", ["alpha"], population, [alphas], colour=2),
            line("Shannon's information", [], {(): [float(pair.mutual_information())] * len(WIDTHS)}, [], "dashed", 3),
        ],
    }


def digits(n_train: int | None = None) -> Splits:
    """Digits, 8 × 8 pixels."""
    return datasets.load("digits", n_train=n_train, seed=NETWORK)


def trained(model: nn.Module, data: Data, epochs: int = 8) -> nn.Module:
    """The model after some epochs of Adam."""
    for _ in training.fit(model, data, epochs=epochs, batch_size=32, lr=3e-3, seed=NETWORK):
        pass
    return model


def chance_and_ceiling() -> dict:
    """02: I(X;T) of a small LeNet on digits against n, with mismatched images and the upper bound S(X)."""
    sizes, alphas, ratios = [16, 32, 64, 128, 256, 449], [1.01, 2], [0.5, 1.0]
    layers, kinds = ["conv1", "conv2", "fc1", "output"], ["untrained", "trained"]
    splits = digits()
    lenet = partial(models.lenet5, filter_size=3, in_shape=(1, 8, 8), seed=NETWORK)
    networks = {"untrained": lenet(), "trained": trained(lenet(), splits.train)}
    found: dict = {name: {} for name in ("I(X;T)", "I(X;T) chance", "S(X)")}
    for kind, alpha, ratio in product(kinds, alphas, ratios):
        tables = [information_plane.point(networks[kind], splits.test.x[:n], splits.test.y[:n], layers, alpha=alpha,
                                          ratio=ratio, permutations=5, seed=NETWORK) for n in sizes]  # fmt: skip
        for name, layer in product(found, layers):
            found[name][kind, layer, alpha, ratio] = [table.set_index("layer")[name][layer] for table in tables]
    by, axes = ["network", "layer", "alpha", "ratio"], [kinds, layers, alphas, ratios]
    bound = {key[2:]: values for key, values in found["S(X)"].items()}
    return {
        "title": "Chance and upper bound against the number of images",
        "x": {"name": "images n", "values": sizes, "log": True, "start": 3},
        "y": {"name": "information [bits]", "from": 0, "to": 9},
        "controls": [choice("network", "network", kinds, 1), choice("layer", "layer", layers),
                     choice("alpha", "order α", alphas), choice("ratio", "width / rms distance", ratios)],
        "lines": [
            line("I(X;T)", by, found["I(X;T)"], axes),
            line("I(X;T) of mismatched images", by, found["I(X;T) chance"], axes, "dashed", 1),
            line("upper bound S(X)", ["alpha", "ratio"], bound, [alphas, ratios], colour=2),
            line("log2 n", [], {(): [torch.tensor(n).log2() for n in sizes]}, [], "dotted", 3),
        ],
    }  # fmt: skip


def codelengths() -> dict:
    """06: bits per label by block of a prequential code of 399 digits, from untrained and from trained weights."""
    noises, widths, k = [0, 0.2, 0.5, 1], [8, 32], 399
    ends = transfer.block_ends(k)
    starts = ["untrained", "trained"]
    cost, bits = {}, {}
    for noise, width in product(noises, widths):
        splits = digits(n_train=899)
        pool, sent = splits.train[:500], splits.train[500:]
        draw = torch.Generator().manual_seed(NETWORK)
        sent, pool = (part.noisy_labels(noise, generator=draw) for part in (sent, pool))
        theta = training.zero_head(models.mlp([64, width, 10], seed=NETWORK))
        learner = partial(transfer.network, steps=150, batch_size=32, lr=3e-3)
        for start, state in zip(starts, (theta, learner(theta, pool, NETWORK)), strict=True):
            code = transfer.prequential_codelength(learner, state, sent[:k], calibrate=True, mixture=True, seed=NETWORK)
            lengths = torch.tensor(ends).diff()
            cost[start, noise, width] = code.costs / lengths
            bits[start, noise, width] = code.costs.cumsum(0)
    saved = {key[1:]: bits["untrained", *key[1:]] - value for key, value in bits.items() if key[0] == "trained"}
    by, axes = ["noise", "width"], [noises, widths]

    def of(start: str, values: dict) -> dict:
        return {key[1:]: value for key, value in values.items() if key[0] == start}

    return {
        "title": "Codelength, block by block",
        "x": {"name": "labels sent", "values": ends[1:], "log": True, "start": 3},
        "y": {"name": "codelength [bits per label]", "from": 0, "to": 4},
        "controls": [choice("noise", "fraction of labels redrawn", noises), choice("width", "hidden units", widths, 1)],
        "lines": [
            line("from untrained weights", by, of("untrained", cost), axes, "steps"),
            line("from trained weights", by, of("trained", cost), axes, "steps", 1),
            line("uniform code", [], {(): [torch.tensor(10).log2()] * len(ends[1:])}, [], "dashed", 3),
            line("bits saved so far (information transfer)", by, saved, axes, "told"),
        ],
    }


def noise_and_maps() -> dict:
    """05: what each layer of a small VGG on digits with clutter discards, with the noise that leaves it alike."""
    layers, kinds, images = ["conv1", "conv2", "conv4", "conv6", "fc1"], ["untrained", "trained"], 3
    splits = digits().cluttered(seed=NETWORK)
    vgg = partial(models.vgg6, width=8, in_shape=(1, 12, 12), padding="circular", seed=NETWORK)
    networks = {"untrained": vgg().eval(), "trained": trained(vgg(), splits.train, 5).eval()}
    x = splits.test.x[:images]
    epsilon = torch.randn(12, 12, generator=torch.Generator().manual_seed(NETWORK))
    mean, maps, noisy = {}, {}, {}
    for kind, net in networks.items():
        found = discarding.measured(net, x, layers, grid=12, steps=10, seed=NETWORK)
        for i in range(images):
            mean[kind, i] = [found[layer].mean[i] for layer in layers]
            for layer in layers:
                maps[kind, i, layer] = found[layer].entropy[i].flatten()
                noisy[kind, i, layer] = (x[i, 0] + 10 * found[layer].sigma[i] * epsilon).flatten()
    numbers = list(range(images))
    by, axes = ["network", "image"], [kinds, numbers]
    plain = {(i,): x[i].flatten() for i in numbers}
    return {
        "title": "Noise that a layer tolerates, cell by cell",
        "x": {"name": "layer", "values": layers, "log": False, "start": 2},
        "y": {"name": "information discarding [bits]", "from": -4.35, "to": -4.15},
        "controls": [choice("network", "network", kinds, 1), choice("image", "image", [1, 2, 3])],
        "lines": [line("mean over cells", by, mean, axes),
                  line("bound, all cells alike", [], {(): [-4.3043] * len(layers)}, [], "dashed", 3)],
        "pictures": [
            {"name": "image", "by": ["image"], "values": nested(plain, [numbers], 2), "from": 0, "to": 1},
            {"name": "image with ten times the noise of this layer", "by": [*by, "x"],
             "values": nested(noisy, [*axes, layers], 2), "from": 0, "to": 1},
            {"name": "discarding of each cell, dark −5 to bright −3.5 bits", "by": [*by, "x"],
             "values": nested(maps, [*axes, layers], 2), "from": -5, "to": -3.5},
        ],
    }  # fmt: skip


EXPLORABLES = {"01": estimates, "02": chance_and_ceiling, "05": noise_and_maps, "06": codelengths}

if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for name in sys.argv[1:] or EXPLORABLES:
        text = json.dumps(EXPLORABLES[name](), ensure_ascii=False, separators=(",", ":"))
        (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(name, f"{len(text) / 1000:.1f} kB")
