"""The networks that notebook 03 follows through the information plane while they learn.

`train_moons`, `train` and `train_bits` give a network before its first step, its data, and the steps of its training,
which happens as they are taken: the notebook measures between two of them. What it measures, and how, stands there.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.functional import interpolate

from infolib import activations, checks, training
from infolib.data import Data, Splits
from infolib.estimators import renyi
from infolib.measures import information_plane
from workbook import datasets, models
from workbook.records import Count, Natural, Part, Positive, Rate, Two, Units, between, entries

STILL = 1e-12  # the learning rate of networks whose weights are held
HELD = 1e-9  # a lower learning rate leaves the weights as they are
AVERAGED = ["I(X;T)", "I(X;T) chance", "beyond", "I(T;Y)", "I(T;Y) chance", "S(Y)", "accuracy"]


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How a network learns."""

    lr: Rate  # learning rate
    epochs: Count  # passes through the training samples
    batch_size: Two = 100  # samples in a training step, and in a point of a plane of images
    optimizer: Literal["sgd", "adam"] = "adam"  # with the learning rate above

    @property
    def name(self) -> str:
        """What tables and figures call it: its kind, and whether it is warmed, its weights held or labels permuted."""
        fields: dict[str, Any] = {"hidden": True, "labels": "true", "warm": 0} | vars(self)
        kind = fields["activation"].replace("relu", "ReLU") if fields["hidden"] else "CNN"
        held, permuted = ", held" * (self.lr < HELD), ", permuted" * (fields["labels"] == "permuted")
        return kind + ", warmed" * (fields["warm"] > 0) + held + permuted

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
class Moons(Learning):
    """The network of the notebook NN2DMoons of Wickstrøm, 2-15-5-3-2 with batch norm before ReLU, and its windows."""

    lr: Rate = 0.01  # learning rate
    optimizer: Literal["sgd", "adam"] = "sgd"  # with the learning rate above
    n: Two = 2000  # points of the two moons
    every: Count = 5  # steps from one point of the plane to the next
    held: Count = 100  # epochs of the networks whose weights are held
    first: tuple[Count, ...] = (1, 20)  # window of steps before the peak of the author's picture
    early: tuple[Count, ...] = (121, 220)  # and at the peak
    late: Count = 100  # steps of the window at the end

    def __post_init__(self) -> None:
        checks.within("batch_size", self.batch_size, 2, self.n)
        _windows(self.first, self.early, self.late, min(self.n_steps(self.n), self.still.n_steps(self.n)), "")

    @property
    def still(self) -> "Moons":
        """The same with its weights held."""
        return replace(self, lr=STILL, epochs=self.held) if self.lr > HELD else self


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Where training is looked at: means over windows of steps, in place of the largest and the last value."""

    first: tuple[Count, ...]  # steps of the first window, from and to
    early: tuple[Count, ...]  # of the second
    late: Count  # steps of the last one
    held_out: Annotated[tuple[Count, ...], entries(1)]  # steps of the second window where held-out images are measured
    every: Count = 1  # steps from one point of a plane of training batches to the next

    def __post_init__(self) -> None:
        _windows(self.first, self.early, self.late, math.inf, "")
        spans = (1 + last - first for first, last in (self.first, self.early))
        checks.within("every", self.every, 1, min(self.late, *spans))


@dataclass(frozen=True, kw_only=True)
class Network(Learning):
    """A perceptron or the small CNN of Wickstrøm et al. 2019 (arXiv 1909.11396), and how its planes are measured."""

    data: datasets.Images  # data set
    hidden: tuple[Units, ...]  # units of each hidden layer; none: the small CNN
    activation: Literal["relu", "tanh", "sigmoid"] = "relu"  # of all layers but the last
    optimizer: Literal["sgd", "adam"] = "sgd"  # with the learning rate
    labels: Literal["true", "permuted"] = "true"  # that are learnt
    warm: Natural = 0  # steps without learning before step 1: running statistics and kernel widths settle
    held: Natural = 0  # epochs of the same network with its weights held, the null; none without
    first_images: Natural = 0  # train on so many images, the first of the file; 0 for all, in an order of the seed
    width_momentum: Part = 0.9  # of the moving average of kernel widths

    def __post_init__(self) -> None:
        n, _, n_test = datasets.sizes(self.data, n_val=0)
        checks.within("first_images", self.first_images, 0, n)
        checks.within("batch_size", self.batch_size, 10, min(self.first_images or n, n_test))

    @property
    def n_images(self) -> int:
        """Images that it trains on."""
        return self.first_images or datasets.sizes(self.data, n_val=0)[0]

    @property
    def last(self) -> int:
        """Its last step."""
        return self.n_steps(self.n_images)

    @property
    def arms(self) -> list["Network"]:
        """Itself, and the same with its weights held."""
        return [self, *([replace(self, lr=STILL, epochs=self.held, held=0)] if self.held else [])]


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


RECORDS = {"moons": Moons, "windows": Windows, "networks": Network, "bits": Bits}
RANGES = {"input_width": Positive, "n_held_out": Two, "pixels": datasets.Images}
NAMES = {"networks": ["CNN", "ReLU", "ReLU, warmed", "ReLU, warmed, permuted", "tanh, warmed"],
         "bits": ["ReLU", "tanh"]}  # fmt: skip  # what the claims compare


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse other networks than those that the claims compare, windows beyond their training, and too many samples.

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
    windows = parameters["windows"]
    for i, network in enumerate(parameters["networks"]):
        if not network.held and network.labels == "true":
            raise ValueError(f"networks[{i}].held must be at least 1: its null is the same network with fixed weights")
        for arm in network.arms:
            _windows(windows.first, windows.early, windows.late, arm.last, f"windows for networks[{i}]: ")
            end = arm.last - windows.late
            checks.within(f"windows.held_out, of networks[{i}]", max(windows.held_out), 1, end)
        _, _, n_test = datasets.sizes(network.data, n_val=0)
        checks.within("n_held_out", parameters["n_held_out"], 10, n_test)
    checks.within("n_seeds", parameters["n_seeds"], 2, datasets.sizes(parameters["pixels"])[0] // 100)


def _windows(first: tuple[int, ...], early: tuple[int, ...], late: int, last: int | float, place: str) -> None:
    """Refuse windows of steps that are empty, overlap or end after the last step."""
    for name, window in (("first", first), ("early", early)):
        if len(window) != 2 or window[0] > window[1]:
            raise ValueError(f"{place}the window {name} must go from a step to one not before it, got {[*window]}")
    if first[1] >= early[0]:
        raise ValueError(f"{place}the window early must begin after step {first[1]}, got {[*early]}")
    if early[1] > last - late:
        raise ValueError(
            f"{place}the window early must end before the last {late} of {last} steps, got {[*early]}; add epochs"
        )


def train_moons(moons: Moons, seed: int, *, his: bool) -> tuple[nn.Module, Data, Iterator[training.Step]]:
    """The network of the two moons before its first step, its data, and the steps of its training.

    It normalises by the statistics of the batch also when it is measured, as the author measures in training mode.

    Parameters
    ----------
    moons : Moons
        How it learns.
    seed : int
        Of minibatches and weights.
    his : bool
        Whether initial weights are those of the author's seed, 4.

    Returns
    -------
    model : nn.Module
        The network.
    data : Data
        Points of the two moons, standardised.
    steps : iterator of training.Step
        They train the model as they are taken.
    """
    from sklearn.datasets import make_moons

    x, y = make_moons(moons.n, noise=0.025, random_state=0)
    data = Data(torch.tensor((x - x.mean(0)) / x.std(0)).float(), torch.tensor(y))
    model = models.mlp([2, 15, 5, 3, 2], batch_norm="before", seed=seed)
    if his:
        _as_his(model)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm1d)):
        norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    return model, data, moons.steps(model, data, seed)


def _as_his(model: nn.Module) -> None:
    """The weights that PyTorch draws from seed 4: the default of each layer first, then Kaiming normal ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
        for layer in layers:
            layer.reset_parameters()
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)


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
        They train the model as they are taken; the first `warm` of them do not.
    """
    splits = datasets.load(network.data, n_val=0, seed=seed)
    if network.first_images:
        splits = replace(splits, train=datasets.first(network.data, network.first_images))
    splits = splits.permuted_labels(seed=seed) if network.labels == "permuted" else splits
    activation, (channels, height, width) = network.activation, splits.train.x.shape[1:]
    if network.hidden:
        sizes = [channels * height * width, *network.hidden, 10]
        model = models.mlp(sizes, activation=activation, batch_norm="after", seed=seed)
    else:  # small images keep their size, where MNIST's shrink as published
        shape, padding = (channels, height, width), int(width < 28)
        model = models.cnn(in_shape=shape, padding=padding, activation=activation, seed=seed)
    still = replace(network, lr=STILL, epochs=network.epochs + network.warm)
    warming = islice(still.steps(model, splits.train, 10**6 + seed), network.warm)
    learning = network.steps(model, splits.train, seed)
    steps = (step._replace(step=step.step + network.warm) for step in learning)
    return model, splits, chain(warming, steps)


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


def moments(record: Bits, n: int) -> list[int]:
    """Step 1 of a training and up to `moments` others, to the last one, evenly spaced on a log scale.

    Parameters
    ----------
    record : Bits
        How the network learns, and how many moments there are.
    n : int
        Training samples.

    Returns
    -------
    list of int
        Numbers of steps, which rise.
    """
    return sorted({round(record.n_steps(n) ** (i / record.moments)) for i in range(record.moments + 1)})


def checkpoints(network: Network, windows: Windows, *, most: int = 0) -> list[int]:
    """Steps after which a plane of a network is measured, its `warm` steps counted too.

    Parameters
    ----------
    network : Network
        What is followed.
    windows : Windows
        Of its steps.
    most : int
        0 for the plane whose widths are averaged from step to step: of 40 steps of warming, the steps to twice the end
        of the second window, in a short training to its end, and the last window one in `windows.every`, and thirty
        more. Else so many steps of the last window, those of the second that `windows.held_out` names, and the last of
        warming, or step 1.

    Returns
    -------
    list of int
        Numbers of steps, which rise.
    """
    last, late = network.last, range(network.last - windows.late + 1, network.last + 1)
    if most:
        steps = {int(not network.warm), *windows.held_out, *late[:: max(1, windows.late // most)], last}
    else:
        dense, every = 2 * windows.early[1], windows.every
        dense, end = (dense, late[::every]) if 2 * dense < last else (last, [])
        sparse = {round(dense * (last / dense) ** (i / 30)) for i in range(31)}
        steps = {*range(1 - min(40, network.warm) // every * every, dense + 1, every), *sparse, *end}
    return sorted(network.warm + step for step in steps if step + network.warm > 0)


def with_accuracy(
    steps: Iterator[training.Step], model: nn.Module, data: Data, accuracy: dict[int, float]
) -> Iterator[training.Step]:
    """The same steps; after those that `accuracy` asks for, the accuracy on their batch is put there.

    Parameters
    ----------
    steps : iterator of training.Step
        Of a training of `model`.
    model : nn.Module
        What is evaluated, in evaluation mode.
    data : Data
        What it is trained on.
    accuracy : dict from int to float
        Its keys are steps; its values become accuracies from 0 to 1.

    Yields
    ------
    training.Step
        As it came.
    """
    for step in steps:
        if step.step in accuracy:
            accuracy[step.step] = training.evaluate(model, data[step.batch]).accuracy
        yield step


def windowed(table: pd.DataFrame, first: pd.Series, early: pd.Series, late: pd.Series) -> pd.DataFrame:
    """The means of each quantity over windows of steps.

    Parameters
    ----------
    table : DataFrame
        Columns network, plane, seed, layer, and any of the quantities that are averaged.
    first, early, late : Series of bool
        Which rows of the table are in each window.

    Returns
    -------
    DataFrame
        A row for each network, plane, seed and layer; columns (quantity, window).
    """
    window = np.select([late, early, first], ["late", "early", "first"], default="between")
    by = table.assign(window=window).groupby(["network", "plane", "seed", "layer", "window"])
    return by[[*table.columns.intersection(AVERAGED)]].mean().unstack("window")


def with_chance(table: pd.DataFrame, *quantities: str) -> pd.DataFrame:
    """The rows of a table, and once more with what mismatched samples leave, as a figure draws them.

    Parameters
    ----------
    table : DataFrame
        For each quantity a column, and another with " chance" after its name.
    *quantities : str
        Columns.

    Returns
    -------
    DataFrame
        With a column mismatched, 0 or 1; where it is 1, the quantities are by chance.
    """
    other = table.assign(**{name: table[f"{name} chance"] for name in quantities})
    return pd.concat([table.assign(mismatched=0), other.assign(mismatched=1)])


def width_changes(table: pd.DataFrame, middle: float | None = None) -> pd.DataFrame:
    """How far kernel widths move before and after a step, as fractions of their last value, as means over layers.

    Parameters
    ----------
    table : DataFrame
        Rows in the order of steps, with columns step, last (step), seed, layer and "kernel width".
    middle : float, optional
        The step; half of the last without it.

    Returns
    -------
    DataFrame
        A row for each seed: before, after (not below 0) and growth, from the step to the last one as a fraction of the
        former.
    """
    half = table[table["step"] <= (table["last"] / 2 if middle is None else middle)]
    whole, until = (part.groupby(["seed", "layer"])["kernel width"] for part in (table, half))
    first, then, end = whole.first(), until.last(), whole.last()
    moved = {"before": (then - first).abs() / end, "after": (end - then).abs() / end, "growth": end / then - 1}
    return pd.DataFrame(moved).groupby("seed").mean()


def cautions(images: datasets.Images, seed: int) -> pd.DataFrame:
    """What kernels do by construction: raw pixels, the product of many filters, and two identities of the theory.

    Parameters
    ----------
    images : str
        Data set whose images an untrained VGG-16 of an eighth of the width gets, 100 of them.
    seed : int
        Of images, weights and samples.

    Returns
    -------
    DataFrame
        One row, in bits: the largest |S(T) - I(X;T)| of four layers for pixels up to 255 and up to 1; the entropy of
        the product of all filters' kernels of conv13, how many they are, and log2 n; what is left of S_2 = -log2 |mean
        embedding|² and of S_alpha at 1.00001 minus S_1.
    """
    data = datasets.load(images, seed=seed).train[:100]
    x, y, bits = interpolate(data.x, 32), data.y, {}
    model = models.vgg16(width=0.125, in_shape=x[0].shape, seed=seed)
    for most in (255, 1):
        few = ["conv1", "conv7", "conv13", "fc2"]
        found = information_plane.point(model, most * x, y, few, input_width=8 / math.sqrt(2), alpha=1)
        bits[f"gap, pixels to {most}"] = float((found["S(T)"] - found["I(X;T)"]).abs().max())
    maps = activations.collect(model, x, ["conv13"])["conv13"].double().unbind(1)
    squared = [d for d in map(renyi.squared_distances, maps) if d.any()]
    widths = [renyi.published_width(d, y, precomputed=True).width for d in squared]
    grams = [renyi.gram(d, width=width, precomputed=True) for d, width in zip(squared, widths, strict=True)]
    bits |= {"product of filters": float(renyi.joint_entropy(grams, alpha=1)), "filters": len(grams)}
    bits["log2 n"] = math.log2(len(x))
    sample = torch.randn(100, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    A = renyi.gram(sample, width=1.0)
    S = {alpha: float(renyi.entropy(A, alpha=alpha)) for alpha in (1, 1.00001, 2)}
    embedding = S[2] + math.log2(float((len(A) * A).square().mean()))
    return pd.DataFrame([bits | {"embedding": embedding, "von Neumann": S[1.00001] - S[1]}])
