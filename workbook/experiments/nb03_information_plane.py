"""The networks that notebook 03 follows through the information plane while they learn.

`train`, `train_vgg` and `train_bits` give a network before its first step, its data, and the steps of its training,
which happens as they are taken: the notebook measures between two of them. What it measures, and how, stands there.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from torch import nn
from torch.nn.functional import interpolate

from infolib import checks, training
from infolib.data import Data, Splits
from workbook import datasets, models
from workbook.records import RISING, Count, Part, Positive, Rate, Two, Units, between, entries

HELD = 1e-9  # a lower learning rate leaves the weights as they are


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How a network learns."""

    lr: Rate  # learning rate
    epochs: Count  # passes through the training samples
    batch_size: Two = 100  # samples in a training step, and in a point of a plane of images
    optimizer: Literal["sgd", "adam"] = "adam"  # with the learning rate above

    @property
    def name(self) -> str:
        """What tables and figures call it: its kind, and whether its weights are held or its labels permuted."""
        fields: dict[str, Any] = {"activation": "VGG-16", "hidden": True, "labels": "true"} | vars(self)
        kind = fields["activation"].replace("relu", "ReLU") if fields["hidden"] else "CNN"
        return kind + ", held" * (self.lr < HELD) + ", permuted" * (fields["labels"] == "permuted")

    def n_steps(self, n: int) -> int:
        """How many steps a training has.

        Parameters
        ----------
        n : int
            Training samples.

        Returns
        -------
        int
            Steps of all epochs.
        """
        return self.epochs * math.ceil(n / self.batch_size)

    def steps(self, model: nn.Module, data: Data, seed: int) -> Iterator[training.Step]:
        """The steps of a training, each taken when it is asked for.

        Parameters
        ----------
        model : nn.Module
            What is trained, in place.
        data : Data
            What it is trained on.
        seed : int
            Of the minibatches.

        Returns
        -------
        iterator of training.Step
            As from `training.fit`.
        """
        return training.fit(
            model, data, epochs=self.epochs, batch_size=self.batch_size, lr=self.lr, optimizer=self.optimizer, seed=seed
        )


@dataclass(frozen=True, kw_only=True)
class Network(Learning):
    """A perceptron or the small CNN of Wickstrøm et al. 2019 (arXiv 1909.11396), and how its planes are measured."""

    data: datasets.Images  # data set
    hidden: tuple[Units, ...]  # units of each hidden layer; none: the small CNN
    activation: Literal["relu", "tanh", "sigmoid"]  # of all layers but the last
    optimizer: Literal["sgd", "adam"] = "sgd"  # with the learning rate
    labels: Literal["true", "permuted"] = "true"  # that are learnt
    moments: Count = 1  # beside the first step, at which all planes but `train` are measured
    width_momentum: Part = 0.9  # of the moving average of kernel widths
    n_bins: Two = 30  # for each unit

    def __post_init__(self) -> None:
        n, _, n_test = datasets.sizes(self.data, n_val=0)
        checks.within("batch_size", self.batch_size, 10, min(n, n_test))


@dataclass(frozen=True, kw_only=True)
class Vgg(Learning):
    """A VGG-16 on a part of the images, and how its planes are measured."""

    data: datasets.Images  # data set
    width: Part  # as a share of the published numbers of filters and units
    n_train: Count  # training images
    n_val: Count = 1000  # validation images at most
    every: Count  # steps from one point to the next
    validated: Count = 5  # points from one validation to the next
    input_width: Positive = 8 / math.sqrt(2)  # of the images' kernel
    width_momentum: Part = 0.9  # of the moving average of kernel widths

    def __post_init__(self) -> None:
        _, _, n_test = datasets.sizes(self.data, n_train=self.n_train)
        checks.within("batch_size", self.batch_size, 10, min(self.n_train, n_test))
        if (most := self.n_steps(self.n_train) // (1 if self.lr < HELD else self.validated)) < self.every:
            raise ValueError(f"every must be at most {most}, for a point and one validation, got {self.every}")


@dataclass(frozen=True, kw_only=True)
class Bits(Learning):
    """A perceptron that learns a task of twelve bits, and how four estimators measure its planes."""

    data: Literal["ib", "made-here"]  # the original task, or ours
    hidden: tuple[Units, ...]  # units of each hidden layer
    activation: Literal["relu", "tanh", "sigmoid"]  # of all layers but the last
    batch_size: Two = 256  # inputs in a training step
    n_train: Annotated[int, between(1, 4096)] = 3481  # inputs to train on
    moments: Count  # beside the first step, at which the planes are measured
    n_bins: Two = 30  # for each unit
    noise: Positive = 0.05  # standard deviation, for nearest neighbours
    input_width: Positive = 0.5  # of the inputs' kernel


RECORDS = {"networks": Network, "vgg": Vgg, "bits": Bits}
RANGES = {"input_width": Positive, "patiences": Annotated[list[Count], RISING, entries(2)], "n_vgg": Count}
NAMES = {"networks": ["CNN", "ReLU", "ReLU, held", "ReLU, permuted", "tanh", "tanh, held"],  # what the claims compare
         "vgg": ["VGG-16", "VGG-16, held"], "bits": ["ReLU", "tanh"]}  # fmt: skip


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse other networks than those that the claims compare, and more seeds than there are images for.

    Parameters
    ----------
    parameters : mapping
        All parameters of notebook 03 by name; those of RECORDS are records.

    Raises
    ------
    ValueError
        Names the parameter.
    """
    for parameter, names in NAMES.items():
        if (found := sorted(record.name for record in parameters[parameter])) != names:
            raise ValueError(f"{parameter} must hold {'; '.join(names)} once each, got {'; '.join(found)}")
    images = min(datasets.sizes(vgg.data)[0] for vgg in parameters["vgg"])
    checks.within("n_seeds", parameters["n_seeds"], 2, images // 100)  # a hundred images of raw pixels each
    checks.at_least(
        "n_vgg", parameters["n_vgg"], 2 if parameters.get("__profile__") == "paper" else 1
    )  # for an interval


def train(network: Network, seed: int) -> tuple[nn.Module, Splits, Iterator[training.Step]]:
    """A network before its first step, its images, and the steps of its training.

    Parameters
    ----------
    network : Network
        A perceptron or the small CNN; either has batch normalisation after each activation.
    seed : int
        Of split, labels, weights and minibatches.

    Returns
    -------
    model : nn.Module
        The network.
    splits : Splits
        Its images, without validation data.
    steps : iterator of training.Step
        They train the model as they are taken.
    """
    splits = datasets.load(network.data, n_val=0, seed=seed)
    splits = splits.permuted_labels(seed=seed) if network.labels == "permuted" else splits
    activation, (channels, height, width) = network.activation, splits.train.x.shape[1:]
    if network.hidden:
        sizes = [channels * height * width, *network.hidden, 10]
        model = models.mlp(sizes, activation=activation, batch_norm="after", seed=seed)
    else:  # small images keep their size, where MNIST's shrink as published
        shape, padding = (channels, height, width), int(width < 28)
        model = models.cnn(in_shape=shape, padding=padding, activation=activation, seed=seed)
    return model, splits, network.steps(model, splits.train, seed)


def train_vgg(vgg: Vgg, seed: int) -> tuple[nn.Module, Splits, Iterator[training.Step]]:
    """A VGG-16 before its first step, its images, and the steps of its training.

    Parameters
    ----------
    vgg : Vgg
        Which network and images.
    seed : int
        Of split, weights and minibatches.

    Returns
    -------
    model : nn.Module
        The network.
    splits : Splits
        Its images, enlarged to 32 × 32, since it halves them five times.
    steps : iterator of training.Step
        They train the model as they are taken.
    """
    splits = datasets.load(vgg.data, n_train=vgg.n_train, seed=seed)
    splits = replace(splits, val=splits.val[: vgg.n_val]).each(lambda part: Data(interpolate(part.x, 32), part.y))
    model = models.vgg16(width=vgg.width, in_shape=(splits.train.x.shape[1], 32, 32), seed=seed)
    return model, splits, vgg.steps(model, splits.train, seed)


def train_bits(bits: Bits, seed: int) -> tuple[nn.Module, Data, Iterator[training.Step]]:
    """A perceptron before its first step, all inputs of twelve bits, and the steps of its training.

    Parameters
    ----------
    bits : Bits
        Which task and network.
    seed : int
        Of order, weights and minibatches.

    Returns
    -------
    model : nn.Module
        The network.
    data : Data
        All inputs in random order; the first `n_train` are trained on.
    steps : iterator of training.Step
        They train the model as they are taken.
    """
    data = twelve_bits(bits.data).shuffled(torch.Generator().manual_seed(seed))
    model = models.mlp([12, *bits.hidden, 2], activation=bits.activation, seed=seed)
    return model, data, bits.steps(model, data[: bits.n_train], seed)


def twelve_bits(task: Literal["ib", "made-here"]) -> Data:
    """All 4,096 inputs of twelve bits with a label: the task of Shwartz-Ziv & Tishby 2017, or one that is made here.

    Ours needs no file: the label is whether an input lies farther than the median from the centre in a fixed random
    projection to three dimensions, so that H(Y) = 1 bit; theirs has H(Y) = 0.999157 bits.

    Parameters
    ----------
    task : str
        "ib" or "made-here".

    Returns
    -------
    Data
        Inputs of shape (4096, 12), each number 0 or 1, with labels 0 and 1.

    Examples
    --------
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
    """Step 1 of a training and up to `moments` others, to the last one, evenly spaced on a log scale.

    Parameters
    ----------
    record : Network or Bits
        How the network learns, and how many moments there are.
    n : int
        Training samples.

    Returns
    -------
    list of int
        Numbers of steps, which rise.
    """
    return sorted({round(record.n_steps(n) ** (i / record.moments)) for i in range(record.moments + 1)})
