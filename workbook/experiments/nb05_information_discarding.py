"""Notebook 05: networks that were trained, changed or damaged in different ways, and what their layers discard.

A function makes the table of one network. Values are in bits.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Literal, get_args

import pandas as pd
import torch
from torch import nn

from infolib import activations, checks, training
from infolib.data import Data, Splits
from infolib.measures import discarding
from workbook import datasets, models, records, store, techniques

MAIN = ("untrained", "trained", "permuted labels")
KINDS = (
    *MAIN, "one epoch", "student of labels", "student of the network", "pruned", "pruned, trained on", "damaged",
    "attacked in training", "autoencoder",
)  # fmt: skip
Layer = Literal["conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "fc1"]


@dataclass(frozen=True, kw_only=True)
class Search:
    """How information discarding is searched for, on the first of the test images. All numbers are positive."""

    grid: int  # cells along a side of the image
    samples: int = 16  # of noise, in each step
    held_out: int = 128  # samples of noise to judge by
    sigma0: float = 0.01  # unit of noise; pixels are in [0, 1]
    alpha: float = 1.5  # change of a layer's output that is allowed, relative to that under noise of sigma0
    n_test: int = 2000  # test images

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, str | bool):
                checks.positive(name, value)
        for name, least in (("samples", 2), ("held_out", 4)):  # a standard error takes two pairs
            if checks.at_least(name, getattr(self, name), least) % 2:
                raise ValueError(f"{name} must be even, as noise comes in pairs, got {getattr(self, name)}")
        if self.side % checks.at_least("grid", self.grid, 2):
            raise ValueError(f"grid must divide the side of the images, {self.side}, got {self.grid}")

    @property
    def options(self) -> dict[str, Any]:
        """What `discarding.measured` takes."""
        return {field.name: getattr(self, field.name) for field in fields(Search) if field.name != "n_test"}


@dataclass(frozen=True, kw_only=True)
class Network(Search):
    """Small VGGs on a data set, trained by Adam: one of each of KINDS for a seed. Shares are of 1."""

    data: Literal["digits", "mnist", "fashion-mnist", "cifar10"]
    clutter: bool  # pieces of other images around each image, so that the object's box is known
    n_train: int  # training images
    width: int  # maps of the first two convolutions
    epochs: int
    lr: float = 2e-3
    batch_size: int = 64
    student_width: float = 0.5  # share of the width
    student_images: float = 0.25  # share of the training images
    student_epochs: int = 3  # times the epochs
    temperature: float = 4.0  # of the outputs that a student learns from
    pruned_share: float = 0.8  # of the weights
    damaged_layer: Layer = "conv4"
    damaged_share: float = 0.5  # of its filters
    eps: float = 0.1  # the most that an attack changes a pixel
    attack_steps: int = 2
    further_epochs: int = 2  # after pruning, and on attacked images
    further_lr: float = 1e-3
    encoder: Layer = "conv6"  # the autoencoder's last layer before its decoder
    decoder_width: int = 16  # maps
    decoder_epochs: int = 3  # on a layer of a trained network; the autoencoder learns for `epochs`
    decoder_lr: float = 5e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        datasets.sizes(self.data, n_train=self.n_train, n_val=0, n_test=self.n_test)
        for name in ("student_width", "student_images", "pruned_share", "damaged_share"):
            checks.within(name, getattr(self, name), 0, 1)
        checks.positive("1 - pruned_share", 1 - self.pruned_share)
        checks.at_least("batch_size", self.batch_size, 2)
        checks.at_least("the width of students", int(self.student_width * self.width), 1)
        checks.at_least("the number of images of students", int(self.student_images * self.n_train), 2)

    @property
    def side(self) -> int:
        """Pixels along a side of an image; clutter adds a half."""
        return datasets.checksums()[self.data]["shape"][-1] * (3 if self.clutter else 2) // 2


@dataclass(frozen=True, kw_only=True)
class ResNet(Search):
    """A public ResNet for CIFAR-10; as it costs ten times as much as ours, half the noise is drawn for it."""

    depth: Literal[20, 32, 44, 56]
    taps: int = 5  # blocks that are measured, evenly spread from the first to the last
    n_images: int = 4  # for each seed others
    grid: int = 8
    samples: int = 8
    held_out: int = 64
    side = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        datasets.sizes("cifar10", n_test=self.n_test)
        checks.within("taps", self.taps, 2, (self.depth - 2) // 2)


RECORDS = {"networks": Network, "resnets": ResNet}


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that cannot be, by name.

    Raises
    ------
    ValueError
        For a first network without clutter, layers out of order or without those that claims are about, more images
        than there are, and options out of range.
    """
    layers, networks, n_seeds = (parameters[name] for name in ("layers", "networks", "n_seeds"))
    for name, least in (("n_images", 2), ("steps", 0), ("n_seeds", 2)):
        checks.at_least(name, parameters[name], least)
    if not networks or not networks[0].clutter:
        raise ValueError("networks must begin with one with clutter: claims are about an object whose place is known")
    if layers != [layer for layer in get_args(Layer) if layer in layers] or layers[-2:] != ["conv6", "fc1"]:
        raise ValueError(
            f"layers must be of {', '.join(get_args(Layer))}, in this order, with conv6 and fc1, got {layers}"
        )
    checks.choice("networks[0].damaged_layer", networks[0].damaged_layer, layers[2:-1])
    checks.choice("networks[0].encoder", networks[0].encoder, layers)
    checks.within("n_images", parameters["n_images"], 2, min(network.n_test for network in networks))
    for resnet in parameters["resnets"]:
        checks.within("n_seeds", n_seeds, 2, resnet.n_test // resnet.n_images)


@lru_cache(maxsize=1)  # whatever is measured on a network begins with it
def images(network: Network) -> Splits:
    """The images of a network's training and test."""
    splits = datasets.load(network.data, n_train=network.n_train, n_val=0, n_test=network.n_test, seed=0)
    return datasets.cluttered(splits) if network.clutter else splits


def train(network: Network, kind: str, seed: int) -> nn.Module:
    """The network of a kind and a seed, in eval mode; training is cached.

    Raises
    ------
    ValueError
        For another kind than KINDS.
    """
    checks.choice("kind", kind, KINDS)
    n, splits = network, images(network)
    data, shape = splits.train, splits.train.x[0].shape
    start, student = (models.vgg6(width=int(w * n.width), in_shape=shape, seed=seed) for w in (1, n.student_width))
    few = data[: int(n.student_images * len(data))]
    how = {"epochs": n.epochs, "lr": n.lr, "batch_size": n.batch_size, "seed": seed}
    more = how | {"epochs": n.further_epochs, "lr": n.further_lr}
    long = how | {"epochs": n.student_epochs * n.epochs}
    soft, attack = long | {"temperature": n.temperature}, more | {"eps": n.eps, "steps": n.attack_steps}

    def learnt(model: nn.Module = start, data: Data = data, **changed: Any) -> nn.Module:
        return store.trained(model, data, **how | changed)

    return {
        "untrained": lambda: start.eval(),
        "trained": lambda: learnt(),
        "permuted labels": lambda: learnt(data=splits.permuted_labels(seed=seed).train),
        "one epoch": lambda: learnt(epochs=1),
        "student of labels": lambda: learnt(student, few, **long),
        "student of the network": lambda: techniques.distilled(student, learnt(), few, **soft),
        "pruned": lambda: techniques.pruned(learnt(), n.pruned_share),
        "pruned, trained on": lambda: techniques.finetuned(techniques.pruned(learnt(), n.pruned_share), data, **more),
        "damaged": lambda: techniques.damaged(learnt(), n.damaged_layer, share=n.damaged_share, seed=seed),
        "attacked in training": lambda: techniques.adversarial(learnt(), data, **attack),
        "autoencoder": lambda: techniques.autoencoder(start, n.encoder, data, width=n.decoder_width, **how),
    }[kind]()


def measure(network: Network, kind: str, seed: int, *, layers: list[str], n_images: int, steps: int) -> pd.DataFrame:
    """`discarding.table` of one network on test images: a row per layer and image, with the record, kind and seed.

    MAIN and the damaged network are measured in all layers, the autoencoder where its encoder ends, others in the last
    two layers. The column `accuracy` is NaN for the autoencoder. Where the object's box is known, `elsewhere` is the
    concentration of the same cells in random places, other ones in each image.
    """
    splits, model = images(network), train(network, kind, seed)
    taps = layers if kind in (*MAIN, "damaged") else [network.encoder] if kind == "autoencoder" else layers[-2:]
    x, box = splits.test.x[:n_images], discarding.box(network.grid) if network.clutter else None
    found = discarding.measured(model, x, taps, steps=steps, **network.options)
    accuracy = math.nan if kind == "autoencoder" else training.evaluate(model, splits.test).accuracy
    columns = records.columns(network) | {"kind": kind, "seed": seed, "accuracy": accuracy}
    table = discarding.table(found, box).assign(**columns)
    if box is None:
        return table.assign(concentration=math.nan, elsewhere=math.nan)
    order = torch.rand(len(x), network.grid**2, generator=torch.Generator().manual_seed(seed)).argsort(1)
    cells = (d.entropy.flatten(1).gather(1, order).view_as(d.entropy) for d in found.values())
    return table.assign(elsewhere=torch.cat([discarding.concentration(t, box) for t in cells]).numpy())


def measure_resnet(resnet: ResNet, kind: str, seed: int, *, steps: int) -> pd.DataFrame:
    """`discarding.table` of blocks of a public ResNet on a seed's test images, with the record, kind and seed.

    kind: "trained" by others, or "untrained". The column `block` numbers the blocks measured from 0.
    """
    model = models.resnet(resnet.depth, pretrained=kind == "trained", seed=seed).eval()
    blocks = activations.layers(model)[1:-1]  # between the stem and the output
    chosen = [blocks[round(i * (len(blocks) - 1) / (resnet.taps - 1))] for i in range(resnet.taps)]
    test = datasets.load("cifar10", n_train=0, n_val=0, n_test=resnet.n_test).test
    x = test.x[seed * resnet.n_images : (seed + 1) * resnet.n_images]
    table = discarding.table(discarding.measured(model, x, chosen, steps=steps, **resnet.options))
    return table.assign(**records.columns(resnet), kind=kind, seed=seed, block=table["layer"].map(chosen.index))
