"""The networks of notebook 05 and what is measured on them: a function makes one table, of one network.

An arm is a line "data set, clutter or plain, width of the network, cells per side of the grid, epochs", such as
"mnist clutter 8 14 4". Kinds of networks are those of `techniques.VARIANTS`; values are in bits.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from infolib import activations, checks, training
from infolib.data import Splits
from infolib.measures import discarding
from workbook import datasets, models, techniques

MAIN = ("untrained", "trained", "shuffled labels")
SEARCH = {"samples": 16, "held_out": 128}  # of noise, in each step and to judge by
N_TEST = 2000  # images; the digits have fewer


class Arm(NamedTuple):
    """Images and the shape of their networks."""

    splits: Splits
    box: Tensor | None  # (grid, grid): cells of the object, if we know where it is
    width: int
    grid: int
    epochs: int


@lru_cache(maxsize=1)  # whatever is measured on an arm begins with it
def arm(line: str, *, n_train: int) -> Arm:
    """The arm that a line describes, with its images.

    Raises: ValueError for another form, and as `datasets.load` does
    """
    try:
        name, around, *numbers = line.split()
        width, grid, epochs = map(int, numbers)
    except ValueError as error:
        raise ValueError(f"arm must be like 'mnist clutter 8 14 4', got {line!r}") from error
    checks.choice("surroundings", around, ("clutter", "plain"))
    splits = datasets.load(name, n_train=n_train, n_val=0, n_test=449 if name == "digits" else N_TEST, seed=0)
    if around == "plain":
        return Arm(splits, None, width, grid, epochs)
    return Arm(datasets.cluttered(splits), discarding.box(grid), width, grid, epochs)


def network(line: str, kind: str, seed: int, *, n_train: int) -> nn.Module:
    """The network of an arm, a kind and a seed, as `techniques.variant` makes it; students have half the width."""
    splits, _, width, _, epochs = arm(line, n_train=n_train)
    shape = splits.train.x[0].shape
    start, student = (models.vgg6(width=width // share, in_shape=shape, seed=seed) for share in (1, 2))
    return techniques.variant(kind, start, student, splits, epochs=epochs, seed=seed)


def tapped(kind: str, layers: Sequence[str]) -> Sequence[str]:
    """The layers to measure: all where the curve counts, else the last two; of an autoencoder, its last one.

    >>> tapped("pruned", ["conv4", "conv6", "fc1"]), tapped("autoencoder", ["conv4", "conv6", "fc1"])
    (['conv6', 'fc1'], ['conv6'])
    """
    if kind in (*MAIN, "damaged"):
        return layers
    return layers[-2:-1] if kind == "autoencoder" else layers[-2:]


def survey(
    line: str, kind: str, seed: int, *, layers: Sequence[str], n_train: int, n_images: int, steps: int
) -> pd.DataFrame:
    """`discarding.table` of one network on test images, with its arm, kind, seed and accuracy (NaN without a head).

    Where the object's box is known, the column `elsewhere` is the concentration of the same cells in random places, of
    which each image has its own.
    """
    splits, box, _, grid, _ = arm(line, n_train=n_train)
    model = network(line, kind, seed, n_train=n_train)
    x = splits.test.x[:n_images]
    found = discarding.measured(model, x, tapped(kind, layers), grid=grid, steps=steps, **SEARCH)
    accuracy = math.nan if kind == "autoencoder" else training.evaluate(model, splits.test).accuracy
    table = discarding.table(found, box).assign(arm=line, kind=kind, seed=seed, accuracy=accuracy)
    if box is None:
        return table.assign(concentration=math.nan, elsewhere=math.nan)
    order = torch.rand(len(x), grid**2, generator=torch.Generator().manual_seed(seed)).argsort(1)
    cells = (d.entropy.flatten(1).gather(1, order).view_as(d.entropy) for d in found.values())
    return table.assign(elsewhere=torch.cat([discarding.concentration(t, box) for t in cells]).numpy())


def louder(line: str, seed: int, *, layer: str, n_train: int, n_images: int, steps: int) -> pd.DataFrame:
    """What a layer of a trained network discards (mean over images) when the unit of noise is ten times as large."""
    splits, _, _, grid, _ = arm(line, n_train=n_train)
    model, x = network(line, "trained", seed, n_train=n_train), splits.test.x[:n_images]
    found = discarding.measured(model, x, [layer], grid=grid, steps=steps, sigma0=0.1, **SEARCH)
    return pd.DataFrame({"layer": [layer], "seed": seed, "discarding": float(found[layer].mean.mean())})


def compared(line: str, seed: int, *, n_train: int, n_images: int) -> pd.DataFrame:
    """`discarding.comparability` of conv4, in float64: with a pair of scales, folded, and of an untrained network."""
    splits, _, _, grid, _ = arm(line, n_train=n_train)
    net, other = (network(line, kind, seed, n_train=n_train).double() for kind in ("trained", "untrained"))
    pair = techniques.rescaled(net, "conv4", "conv5", 10.0)
    changed = {"scales 10 and 1/10": pair, "folded": techniques.folded(net), "untrained": other}
    return discarding.comparability(net, changed, splits.test.x[:n_images], "conv4", grid=grid).assign(seed=seed)


def uncertainty(line: str, layer: str, seed: int, *, n_train: int, n_images: int, steps: int) -> pd.DataFrame:
    """`reconstruction_uncertainty` of a layer of a trained network, mean over images, in its three forms."""
    splits, _, _, grid, _ = arm(line, n_train=n_train)
    model, x = network(line, "trained", seed, n_train=n_train), splits.test.x[:n_images]
    decode = techniques.decoder(model, layer, splits.train, epochs=3, lr=5e-3, seed=seed)
    r = discarding.reconstruction_uncertainty(model, x, layer, decode, grid=grid, steps=steps, **SEARCH)
    forms = {"code's form": r.code, "the same without noise": r.unperturbed, "around its mean": r.variance}
    rows = [{"layer": layer, "seed": seed, "form": name, "bits": float(t.mean())} for name, t in forms.items()]
    return pd.DataFrame(rows)


def public(depth: int, kind: str, seed: int, *, n_images: int, steps: int, taps: int = 5) -> pd.DataFrame:
    """`discarding.table` of blocks of a ResNet for CIFAR-10, evenly spread, on a batch of test images of its own.

    kind: "trained" by others, or "untrained". The column `block` numbers the blocks measured from 0. As these networks
    cost ten times as much as ours, half the noise is drawn for them.
    """
    model = models.resnet(depth, pretrained=kind == "trained", seed=seed).eval()
    blocks = [name for name in activations.layers(model) if name.startswith("stage")]
    chosen = [blocks[round(i * (len(blocks) - 1) / (taps - 1))] for i in range(taps)]
    x = datasets.load("cifar10", n_train=0, n_val=0, n_test=N_TEST).test.x[seed * n_images : (seed + 1) * n_images]
    few = {name: number // 2 for name, number in SEARCH.items()}
    table = discarding.table(discarding.measured(model, x, chosen, grid=8, steps=steps, **few))
    return table.assign(depth=depth, kind=kind, seed=seed, block=table["layer"].map(chosen.index))
