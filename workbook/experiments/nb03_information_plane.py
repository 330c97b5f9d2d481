"""The networks that notebook 03 follows through the information plane while they learn.

`train`, `train_vgg` and `train_bits` give a network before its first step, its data, and the steps of its training,
which happens as they are taken: the notebook measures between two of them. What it measures, and how, stands there.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import interpolate

from infolib import checks, training
from infolib.data import Data, Splits
from workbook import datasets, models

HELD = 1e-9  # a lower learning rate leaves the weights as they are


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How a network learns. All numbers of a record are above 0."""

    lr: float
    epochs: int
    batch_size: int = 100  # samples in a training step, and in a point of a plane of images
    optimizer: Literal["sgd", "adam"] = "adam"

    def __post_init__(self) -> None:
        for field, value in vars(self).items():
            for number in value if isinstance(value, tuple) else [] if isinstance(value, str) else [value]:
                checks.positive(field, number)
        checks.within("width_momentum", getattr(self, "width_momentum", 1), 0, 1)

    @property
    def name(self) -> str:
        """What tables and figures call it: its kind, and whether its weights are held or its labels permuted."""
        fields = {"activation": "VGG-16", "hidden": True, "labels": "true"} | vars(self)
        kind = fields["activation"].replace("relu", "ReLU") if fields["hidden"] else "CNN"
        return kind + ", held" * (self.lr < HELD) + ", permuted" * (fields["labels"] == "permuted")

    def n_steps(self, n: int) -> int:
        """How many steps the training on n samples has."""
        return self.epochs * math.ceil(n / self.batch_size)

    def steps(self, model: nn.Module, data: Data, seed: int) -> Iterator[training.Step]:
        """The steps of the model's training on the data."""
        options = {"lr": self.lr, "epochs": self.epochs, "batch_size": self.batch_size, "optimizer": self.optimizer}
        return training.fit(model, data, seed=seed, **options)


@dataclass(frozen=True, kw_only=True)
class Network(Learning):
    """A perceptron or the small CNN of Wickstrøm et al. 2019 (arXiv 1909.11396), and how its planes are measured."""

    data: Literal["digits", "mnist", "fashion-mnist", "cifar10"]
    hidden: tuple[int, ...]  # units of each hidden layer; none: the small CNN
    activation: Literal["relu", "tanh", "sigmoid"]
    optimizer: Literal["sgd", "adam"] = "sgd"
    labels: Literal["true", "permuted"] = "true"
    moments: int = 1  # beside the first step, at which all planes but `train` are measured
    width_momentum: float = 0.9  # of the moving average of kernel widths
    n_bins: int = 30  # for each unit


@dataclass(frozen=True, kw_only=True)
class Vgg(Learning):
    """A VGG-16 on a part of the images, and how its planes are measured."""

    data: Literal["digits", "mnist", "fashion-mnist", "cifar10"]
    width: float  # as a share of the published numbers of filters and units
    n_train: int
    n_val: int = 1000  # validation images at most
    every: int  # steps from one point to the next
    validated: int = 5  # points from one validation to the next
    input_width: float = 8 / math.sqrt(2)  # of the images' kernel
    width_momentum: float = 0.9  # of the moving average of kernel widths

    def __post_init__(self) -> None:
        super().__post_init__()
        datasets.sizes(self.data, n_train=self.n_train)
        if (most := self.n_steps(self.n_train) // (1 if self.lr < HELD else self.validated)) < self.every:
            raise ValueError(f"every must be at most {most}, for a point and one validation, got {self.every}")


@dataclass(frozen=True, kw_only=True)
class Bits(Learning):
    """A perceptron that learns a task of twelve bits, and how four estimators measure its planes."""

    data: Literal["ib", "made-here"]
    hidden: tuple[int, ...]  # units of each hidden layer
    activation: Literal["relu", "tanh", "sigmoid"]
    batch_size: int = 256
    n_train: int = 3481  # of the 4,096 inputs
    moments: int  # beside the first step, at which the planes are measured
    n_bins: int = 30  # for each unit
    noise: float = 0.05  # standard deviation, for nearest neighbours
    input_width: float = 0.5  # of the inputs' kernel


RECORDS = {"networks": Network, "vgg": Vgg, "bits": Bits}
NAMES = {  # what the claims compare
    "networks": ["CNN", "ReLU", "ReLU, held", "ReLU, permuted", "tanh", "tanh, held"],
    "vgg": ["VGG-16", "VGG-16, held"],
    "bits": ["ReLU", "tanh"],
}


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse ranges that cannot be, other networks than those that the claims compare, and more samples than there are.

    Raises:
        ValueError: names the parameter
    """
    for parameter, names in NAMES.items():
        if (found := sorted(record.name for record in parameters[parameter])) != names:
            raise ValueError(f"{parameter} must hold {'; '.join(names)} once each, got {'; '.join(found)}")
    for i, bits in enumerate(parameters["bits"]):
        checks.within(f"bits[{i}].n_train", bits.n_train, 1, 4096)
    images = min(datasets.sizes(vgg.data)[0] for vgg in parameters["vgg"])
    checks.within("n_seeds", parameters["n_seeds"], 2, images // 100)  # a hundred images of raw pixels each
    checks.at_least("n_vgg", parameters["n_vgg"], 1)
    checks.positive("input_width", parameters["input_width"])
    checks.increasing("patiences", parameters["patiences"], 1)


def train(network: Network, seed: int) -> tuple[nn.Module, Splits, Iterator[training.Step]]:
    """A perceptron or CNN with batch normalisation after each activation, its images, and the steps of its training."""
    splits = datasets.load(network.data, n_val=0, seed=seed)
    splits = splits.permuted_labels(seed=seed) if network.labels == "permuted" else splits
    shape, options = splits.train.x[0].shape, {"activation": network.activation, "seed": seed}
    if network.hidden:
        model = models.mlp([math.prod(shape), *network.hidden, 10], batch_norm="after", **options)
    else:  # small images keep their size, where MNIST's shrink as published
        model = models.cnn(in_shape=shape, padding=int(shape[-1] < 28), **options)
    return model, splits, network.steps(model, splits.train, seed)


def train_vgg(vgg: Vgg, seed: int) -> tuple[nn.Module, Splits, Iterator[training.Step]]:
    """A VGG-16, its images, enlarged to 32 × 32 since it halves them five times, and the steps of its training."""
    splits = datasets.load(vgg.data, n_train=vgg.n_train, seed=seed)
    parts = [Data(interpolate(part.x, 32), part.y) for part in (splits.train, splits.val[: vgg.n_val], splits.test)]
    model = models.vgg16(width=vgg.width, in_shape=parts[0].x[0].shape, seed=seed)
    return model, Splits(*parts, splits.name, splits.sha256), vgg.steps(model, parts[0], seed)


def train_bits(bits: Bits, seed: int) -> tuple[nn.Module, Data, Iterator[training.Step]]:
    """A perceptron, all inputs in an order of their own, and the steps of its training on the first of them."""
    data = twelve_bits(bits.data)
    data = data[torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))]
    model = models.mlp([12, *bits.hidden, 2], activation=bits.activation, seed=seed)
    return model, data, bits.steps(model, data[: bits.n_train], seed)


def twelve_bits(task: Literal["ib", "made-here"]) -> Data:
    """All 4,096 inputs of twelve bits with a label: the task of Shwartz-Ziv & Tishby 2017, or one that is made here.

    Ours needs no file: the label is whether an input lies farther than the median from the centre in a fixed random
    projection to three dimensions, so that H(Y) = 1 bit; theirs has H(Y) = 0.999157 bits.

    >>> twelve_bits("made-here").y.bincount().tolist()
    [2048, 2048]
    """
    if task == "ib":
        return datasets.load("ib", n_test=0).train
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 12)
    projection = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    distance = ((x - 0.5) @ projection).norm(dim=1)
    label = torch.zeros(len(x), dtype=torch.long)
    label[distance.argsort(stable=True)[len(x) // 2 :]] = 1
    return Data(x, label)


def moments(record: Network | Bits, n: int) -> list[int]:
    """Step 1 of a training on n samples and up to `moments` others, to the last one, evenly spaced on a log scale."""
    return sorted({round(record.n_steps(n) ** (i / record.moments)) for i in range(record.moments + 1)})
