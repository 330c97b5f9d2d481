"""Notebook 02: its networks, filters and kernels as records, and how their layers, errors and maps are measured.

Every number comes with its chance level: the same number where each image is paired with the activations, maps or
errors of another image, by a random permutation. At alpha = 2 the mean over all permutations is exact.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from infolib import activations, checks, training
from infolib.data import Data
from infolib.estimators import chance, renyi
from infolib.measures import information_plane, synergy
from workbook import datasets, models, records
from workbook.records import RISING, Natural, Positive, Rate, Rule, Seeds, Ten, Two, between

Depth = Literal[20, 32, 44, 56]
Maps = Annotated[int, between(2, 1000)]  # information is of pairs of maps; it takes time of half a million
Sizes = Annotated[tuple[Ten, ...], RISING, Rule("of one or more", bool)]
PUBLISHED = "as published"
FEW = 10  # pairs of maps of a layer


@dataclass(frozen=True)
class Network:
    """A LeNet-5 and its training."""

    data: datasets.Images  # data set
    activation: Literal["relu", "sigmoid", "tanh"]  # of all layers but the last
    optimizer: Literal["adam", "sgd"]  # with the learning rate and momentum below
    lr: Rate  # learning rate
    epochs: Natural  # passes through the training images
    momentum: float = 0.0  # of sgd

    def __post_init__(self) -> None:
        checks.within("momentum", self.momentum, 0, 1 if self.optimizer == "sgd" else 0)


@dataclass(frozen=True)
class Filters:
    """How many filters the two convolutional layers have."""

    conv1: Maps  # of the first layer
    conv2: Maps  # of the second


@dataclass(frozen=True)
class LeNet:
    """What all networks have in common."""

    filter_size: Annotated[int, between(1, 31)]  # side of a filter in pixels
    batch_size: Two  # images in a training step
    n_train: Ten  # training images


@dataclass(frozen=True)
class Kernel:
    """Order of the entropy, and the rule of the widths: so many rms distances, or else Silverman's factor."""

    alpha: Positive  # order
    ratio: Positive | None = None  # widths in root mean squared distances
    h: Positive | None = None  # factor of Silverman's width, of input and activations
    h_error: Positive | None = None  # the same of errors

    def __post_init__(self) -> None:
        rules = (self.ratio is None, self.h is None, self.h_error is None)
        checks.hold(
            "ratio, h, h_error", self, rules in ((False, True, True), (True, False, False)), "ratio, or h and h_error"
        )

    @property
    def name(self) -> str:
        """As figures and verdicts name it."""
        return f"{self.ratio:g} rms, α = {self.alpha:g}" if self.ratio else PUBLISHED

    def width(self, t: Tensor) -> float:
        """Width of the kernel on all values of a layer.

        Parameters
        ----------
        t : Tensor, shape (n, ...)
            Activations that are not all the same.

        Returns
        -------
        float
            In their unit.
        """
        if self.ratio is None:
            return renyi.silverman_width(t[:, 0] if t.ndim > 2 else t, h=self.h or 1.0)
        return float(renyi.distance_width(t, ratio=self.ratio))


@dataclass(frozen=True)
class Measured:
    """How many held-out images are measured."""

    published: Ten  # as published
    order: Ten  # for the order of layers before and after training
    others: Ten  # for errors, pairs of maps, and while networks learn
    sizes: Sizes  # for information against their number


RECORDS = {"networks": Network, "swept": Network, "filters": Filters, "lenet": LeNet, "published": Kernel,
           "kernels": Kernel, "measured": Measured}  # fmt: skip
RANGES = {"scales": Annotated[list[Literal["sum", "mean"]], records.entries(1)], "n_checkpoints": Two, "n_seeds": Seeds,
          "depths": Annotated[list[Depth], RISING, Rule("of none or several", lambda d: len(d) != 1)]}  # fmt: skip


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that cannot be, by name.

    Parameters
    ----------
    parameters : mapping
        All parameters of notebook 02 by name; those of RECORDS are records.

    Raises
    ------
    ValueError
        For networks without those that the claims compare, or two of a kind, kernels that are not two widths by two
        orders, images that the filters do not fit, more images than there are, and filters that do not vary one layer
        each.
    """
    p = parameters
    kinds = [(network.activation, network.data) for network in p["networks"]]
    both = {kind for kind, _ in kinds} == {"relu", "sigmoid"} and len({*kinds}) == len(kinds)
    checks.hold("networks", kinds, both, "of activation relu and sigmoid, each once for a data set")
    checks.hold("published", p["published"].name, p["published"].ratio is None, "with Silverman's factors")
    kernels = [(kernel.ratio, kernel.alpha) for kernel in p["kernels"]]
    crossed = {(ratio, alpha) for ratio, _ in kernels for _, alpha in kernels}
    full = len(crossed) == len(kernels) == 4 and {*kernels} == crossed and None not in dict(kernels)
    checks.hold(
        "kernels", kernels, full and 2 in {alpha for _, alpha in kernels}, "two ratios by two orders, one of them 2"
    )
    measured = p["measured"]
    most = records.columns(measured) | {"sizes": max(measured.sizes)}
    for data in dict.fromkeys(network.data for network in (*p["networks"], p["swept"])):
        with records.placed(f"lenet, filter_size {p['lenet'].filter_size}"):
            n_test = datasets.sizes(data, n_train=p["lenet"].n_train)[2]
            models.lenet5(filter_size=p["lenet"].filter_size, in_shape=datasets.checksums()[data]["shape"], seed=0)
        for field, n in most.items():
            checks.within(f"measured.{field}", n, 10, n_test)
    if p["depths"]:
        checks.within(
            "measured.order", measured.order, 10, datasets.sizes("cifar10")[2] // 5
        )  # batches that a verdict takes
    varied = [[f for f in p["filters"] if f.conv2 == 12], [f for f in p["filters"] if f.conv1 == 6]]
    fit = min(map(len, varied)) >= 2 and sum(map(len, varied)) == len(p["filters"]) + 1  # 6 and 12 is in both
    checks.hold("filters", p["filters"], fit, "6 and 12, others with 12, and others with 6")


def start(
    lenet: LeNet, network: Network, seed: int, *, maps: tuple[int, int] = (6, 12), permuted: bool = False
) -> tuple[Data, Data, nn.Module, dict[str, Any]]:
    """Training images, held-out images, a network before training, and the options of `training.fit`.

    Parameters
    ----------
    lenet, network : LeNet, Network
        What all networks have in common; one of them.
    seed : int
        Of split, weights and minibatches.
    maps : tuple of int
        Filters of the two layers.
    permuted : bool
        Whether the labels are permuted, in either set.

    Returns
    -------
    tuple
        (train, test, model, options).
    """
    splits = datasets.load(network.data, n_train=lenet.n_train, seed=seed)
    splits = splits.permuted_labels(seed=seed) if permuted else splits
    shape, how = splits.train.x[0].shape, dict[str, Any](maps=maps, filter_size=lenet.filter_size, seed=seed)
    model = models.lenet5(activation=network.activation, in_shape=shape, **how)
    options = {"optimizer": network.optimizer, "momentum": network.momentum, "lr": network.lr, "epochs": network.epochs}
    return splits.train, splits.test, model, options | {"batch_size": lenet.batch_size, "seed": seed}


def recorded(model: nn.Module, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Activations of layers, softmax(logits) of `output`.

    Parameters
    ----------
    model : nn.Module
        The network.
    x : Tensor, shape (n, ...)
        Images.
    layers : sequence of str
        Names.

    Returns
    -------
    dict from str to Tensor, shape (n, ...)
    """
    softmax = [layer for layer in layers if layer == "output"]
    return information_plane.prepared(activations.collect(model, x, layers), softmax, torch.float32)


def information(
    x: Tensor, layers: Mapping[str, Tensor], kernels: Sequence[Kernel], *, y: Tensor | None = None, seed: int = 0
) -> pd.DataFrame:
    """Information I(X;T) of each layer by each kernel in bits, with its chance level and upper bound S(X).

    A layer whose activations are all the same has none. At alpha other than 2, eigenvalues are of single precision and
    chance is the mean over one pairing of mismatched images, four for 300 images or fewer.

    Parameters
    ----------
    x : Tensor, shape (n, ...)
        Images, or the errors of the last layer.
    layers : mapping from str to Tensor, shape (n, ...)
        Activations, or errors, by layer.
    kernels : sequence of Kernel
        By which to measure.
    y : Tensor, shape (n,), optional
        Labels, for I(T;Y).
    seed : int
        Of the pairings.

    Returns
    -------
    DataFrame
        Columns: kernel, alpha, layer, n, I(X;T), I(X;T) chance, S(X); with labels I(T;Y), I(T;Y) chance, S(Y).
    """
    variables = [x, *layers.values()]
    squared, tables = [renyi.squared_distances(t.float()) for t in variables], []
    for kernel in kernels:
        grams = [_gram(t, d, kernel) for t, d in zip(variables, squared, strict=True)]
        A, T = grams[0], torch.stack(grams[1:])
        few: dict[str, Any] = {"permutations": _pairings(kernel, len(x)), "seed": seed, "level": None}
        found = chance.beyond_grams(A, T, alpha=kernel.alpha, **few)
        table = {"layer": [*layers], "I(X;T)": found.own, "I(X;T) chance": found.chance}
        table["S(X)"] = float(renyi.entropy(A, alpha=kernel.alpha))
        if y is not None:
            label = chance.beyond_labels(T, y, alpha=kernel.alpha, **few)
            table |= {"I(T;Y)": label.own, "I(T;Y) chance": label.chance}
            table["S(Y)"] = float(renyi.label_entropy(y, alpha=kernel.alpha))
        tables.append(pd.DataFrame(table).assign(kernel=kernel.name, alpha=kernel.alpha, n=len(x)))
    return pd.concat(tables, ignore_index=True)


def _pairings(kernel: Kernel, n: int) -> int:
    return 0 if kernel.alpha == 2 else 4 if n <= 300 else 1


def _gram(t: Tensor, squared: Tensor, kernel: Kernel) -> Tensor:
    if (t == t[:1]).all():
        return torch.full_like(squared, 1 / len(t))
    A = renyi.gram(squared, width=kernel.width(t), precomputed=True)
    return A.double() if kernel.alpha == 2 else A  # its sum of squares has a term for every pair


def closed(rows: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """Whether a kernel shows nothing: chance leaves less than 0.02 bit below the upper bound, or the bound is 0.

    Parameters
    ----------
    rows : DataFrame
        Of `information`.
    by : sequence of str
        Columns of what is judged apart, such as kernel and seed: the layer with most room counts.

    Returns
    -------
    Series of bool
    """
    room = np.minimum(rows["S(X)"], rows["S(X)"] - rows["I(X;T) chance"])
    return room.groupby([rows[column] for column in by]).max() < 0.02


def pairs(x: Tensor, layers: Mapping[str, Tensor], kernels: Sequence[Kernel], *, seed: int) -> pd.DataFrame:
    """Redundancy, synergy and information of the maps of each layer that has maps, with their chance levels, in bits.

    All maps of a layer have one width: as published, Silverman's; else `ratio` times the root mean square over the maps
    of their rms distances. The same pairs of maps, at most `FEW`, are measured with matched and mismatched images.

    Parameters
    ----------
    x : Tensor, shape (n, ...)
        Images.
    layers : mapping from str to Tensor, shape (n, maps, ...)
        Activations by layer; those without maps are left out.
    kernels : sequence of Kernel
        By which to measure.
    seed : int
        Of the pairs of maps, and of the pairing.

    Returns
    -------
    DataFrame
        Columns: kernel, layer, n; RS(X;T), WN(X;T), share (of RS in the mean I(X;Ti,Tj)) and the same followed by
        " chance"; "share beyond", that of RS beyond chance. A share is 0 where there is no information.
    """
    order, rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)), []
    for kernel in kernels:
        X = renyi.gram(x.double(), width=kernel.width(x))
        for layer, t in ((layer, t.double()) for layer, t in layers.items() if t.ndim > 2):
            T = renyi.channel_grams(t, width=_map_width(t, kernel))
            precision = torch.float64 if kernel.alpha == 2 else torch.float32
            how: dict[str, Any] = {"alpha": kernel.alpha, "max_pairs": FEW, "seed": seed, "precision": precision}
            own, other = (synergy.decompose(A, T, **how) for A in (X, X[order][:, order]))
            row: dict[str, Any] = {"layer": layer, "n": len(x), "kernel": kernel.name}
            for d, end in ((own, ""), (other, " chance")):
                row |= {f"RS(X;T){end}": d.redundancy_synergy, f"WN(X;T){end}": d.non_redundant}
                row[f"share{end}"] = _part(d.redundancy_synergy, d, precision)
            row["share beyond"] = _part(own.redundancy_synergy - other.redundancy_synergy, own, precision)
            rows.append(row)
    return pd.DataFrame(rows)


def _part(bits: float, d: synergy.Decomposition, precision: torch.dtype) -> float:
    both = d.redundancy_synergy + d.non_redundant  # mean I(X;Ti,Tj)
    return bits / both if both > synergy.NOTHING[precision] else 0.0


def _map_width(t: Tensor, kernel: Kernel) -> float:
    if (t == t[:1]).all():
        return 1.0  # of a constant kernel any width is
    return kernel.width(t) / (math.sqrt(t.shape[1]) if kernel.ratio else 1.0)


def known(x: Tensor, y: Tensor, like: Tensor, *, seed: int) -> dict[str, Tensor]:
    """Layers of which each has no more information than the one before: the image, its class, whether odd, and noise.

    Parameters
    ----------
    x, y : Tensor, shapes (n, ...) and (n,)
        Images, or the errors of the last layer; labels.
    like : Tensor, shape (n, ...)
        The layer whose shape and spread the noise has.
    seed : int
        Of the noise.

    Returns
    -------
    dict from str to Tensor, shape (n, ...)
    """
    noise = like.std() * torch.randn(like.shape, generator=torch.Generator().manual_seed(1000 + seed))
    classes, odd = one_hot(y, 10).float(), one_hot(y % 2, 2).float()
    return {"image": x.float(), "class": classes, "odd": odd, "noise": noise}


def follow(
    lenet: LeNet,
    network: Network,
    seed: int,
    permuted: bool,
    *,
    published: Kernel,
    kernels: Sequence[Kernel],
    measured: Measured,
    scales: Sequence[str],
    n_checkpoints: int,
) -> pd.DataFrame:
    """A network before, while and after it learns: rows of layers, of errors, of maps, and of known layers.

    At every moment as published, and by the kernels of order 2; before and after training by all kernels, and the order
    of the layers on more images. With permuted labels only what is not as published, before and after training.

    Parameters
    ----------
    lenet, network, seed, permuted
        As `start` takes them.
    published, kernels : Kernel and sequence of Kernel
        By which to measure.
    measured : Measured
        How many images.
    scales : sequence of str
        "sum" or "mean": reductions of the loss, which are the scales of the errors, as published.
    n_checkpoints : int
        Moments of training after the beginning, evenly spaced on a logarithmic axis.

    Returns
    -------
    DataFrame
        Columns: what ("layers", "order", "errors", "pairs", "known layers", "known errors"), scale, step, last (whether
        training is over), accuracy at the end, those of `information` and `pairs`, labels, and those of the network.
    """
    train, test, model, options = start(lenet, network, seed, permuted=permuted)
    n_steps = network.epochs * -(-len(train) // lenet.batch_size)
    spaced = np.geomspace(max(1, n_steps // 100), max(1, n_steps), n_checkpoints).round().astype(int).tolist()
    moments, tables = sorted({0, n_steps, *([] if permuted else spaced)}), []
    for step in _moments(model, train, moments, options):
        end, last = step in (0, n_steps), step == n_steps
        now = kernels if end else [kernel for kernel in kernels if kernel.alpha == 2]
        here = [table.assign(scale="") for table in _layers(model, test[: measured.others], now, seed, step)]
        if not permuted:
            exact = [kernel for kernel in now if kernel.alpha == 2]
            here += [*_errors(model, test[: measured.others], now, "sum", seed, with_known=last)]
            here += [_pairs(model, test[: measured.others], exact, seed)]
            here += _published(model, test[: measured.published], published, scales, seed, end=end, last=last)
        if end and not permuted:
            here += _order(model, test[: measured.order], kernels, seed, last=last)
        tables += [table.assign(step=step, last=last) for table in here]
    found = pd.concat(tables, ignore_index=True).fillna({"scale": ""})
    found = found.assign(accuracy=training.evaluate(model, test).accuracy, seed=seed)
    return found.assign(labels="permuted" if permuted else "true", **records.columns(network))


def _moments(model: nn.Module, train: Data, at: Sequence[int], options: dict[str, Any]) -> Iterator[int]:
    yield 0
    if options["epochs"]:
        yield from (s.step for s in training.fit(model, train, **options) if s.step in at)


def _layers(model: nn.Module, data: Data, kernels: Sequence[Kernel], seed: int, step: int) -> Iterator[pd.DataFrame]:
    layers = recorded(model, data.x, activations.layers(model))
    if not step:
        layers |= known(data.x, data.y, layers["conv2"], seed=seed)
    yield information(data.x, layers, kernels, y=data.y, seed=seed).assign(what="layers")


def _pairs(model: nn.Module, data: Data, kernels: Sequence[Kernel], seed: int) -> pd.DataFrame:
    return pairs(data.x, recorded(model, data.x, ["conv1", "conv2"]), kernels, seed=seed).assign(what="pairs")


def _order(model: nn.Module, data: Data, kernels: Sequence[Kernel], seed: int, *, last: bool) -> Iterator[pd.DataFrame]:
    layers = recorded(model, data.x, activations.layers(model))
    yield information(data.x, layers, kernels, seed=seed).assign(what="order")
    if last:
        chain = known(data.x, data.y, layers["conv2"], seed=seed)
        yield information(data.x, chain, kernels, seed=seed).assign(what="known layers")


def _published(
    model: nn.Module, data: Data, kernel: Kernel, scales: Sequence[str], seed: int, *, end: bool, last: bool
) -> Iterator[pd.DataFrame]:
    yield from _order(model, data, [kernel], seed, last=last)
    if end:
        yield _pairs(model, data, [kernel], seed)
    for scale in scales:
        yield from _errors(model, data, [kernel], scale, seed, with_known=last)


def _errors(
    model: nn.Module, data: Data, kernels: Sequence[Kernel], scale: str, seed: int, *, with_known: bool
) -> Iterator[pd.DataFrame]:
    """Information of the errors of each layer about the last layer's, from the last layer upwards."""
    names = activations.layers(model)
    errors = synergy.errors(model, data.x, data.y, names, reduction=scale)  # type: ignore[arg-type]
    kernels = [Kernel(k.alpha, k.ratio, k.h_error, k.h_error) for k in kernels]
    upwards = {layer: errors[layer] for layer in reversed(names[:-1])}
    scale = scale if kernels[0].name == PUBLISHED else "rms"
    yield information(errors[names[-1]], upwards, kernels, seed=seed).assign(what="errors", scale=scale)
    if with_known:
        chain = known(errors[names[-1]], data.y, errors[names[0]].float(), seed=seed)
        yield information(errors[names[-1]], chain, kernels, seed=seed).assign(what="known errors", scale=scale)


def sweep(
    lenet: LeNet,
    network: Network,
    filters: Filters,
    seed: int,
    *,
    published: Kernel,
    kernels: Sequence[Kernel],
    measured: Measured,
) -> pd.DataFrame:
    """The convolutional layers of a network with other numbers of filters, trained and untrained, and a map twice.

    Parameters
    ----------
    lenet, network, seed
        As `start` takes them.
    filters : Filters
        Of the two layers.
    published, kernels, measured
        As `follow` takes them.

    Returns
    -------
    DataFrame
        Columns: what ("layers" or "pairs"), those of `information` and `pairs`, accuracy, seed, conv1, conv2, network
        ("untrained", "trained", or "copies": the map of conv1 with the largest spread, twice), data.
    """
    train, test, model, options = start(lenet, network, seed, maps=(filters.conv1, filters.conv2))
    x, both = test.x[: measured.others], ["conv1", "conv2"]
    default = range((filters.conv1, filters.conv2) == (6, 12))  # once, of the default
    tables = [_pairs(model, test[: measured.others], kernels, seed).assign(network="untrained") for _ in default]
    for _ in training.fit(model, train, **options) if network.epochs else ():
        pass
    layers = recorded(model, x, both)
    now = [information(x, layers, kernels, seed=seed).assign(what="layers")]
    now += [_pairs(model, test[: measured.published], [published], seed)]
    now += [_pairs(model, test[: measured.others], kernels, seed)]
    tables += [table.assign(network="trained") for table in now]
    live = int(layers["conv1"].flatten(2).std(0).mean(1).argmax())
    copies = pairs(x, {"conv1": layers["conv1"][:, [live, live]]}, [published, *kernels], seed=seed)
    tables.append(copies.assign(what="pairs", network="copies"))
    accuracy = training.evaluate(model, test).accuracy
    found = pd.concat(tables, ignore_index=True).assign(accuracy=accuracy, seed=seed, data=network.data)
    return found.assign(**records.columns(filters))


def by_size(lenet: LeNet, network: Network, seed: int, kernels: Sequence[Kernel], sizes: Sequence[int]) -> pd.DataFrame:
    """Information of the layers of a trained network on more and more images, with its chance level.

    Parameters
    ----------
    lenet, network, seed
        As `start` takes them.
    kernels : sequence of Kernel
        By which to measure.
    sizes : sequence of int
        Numbers of images.

    Returns
    -------
    DataFrame
        Columns: those of `information`, seed.
    """
    train, test, model, options = start(lenet, network, seed)
    for _ in training.fit(model, train, **options) if network.epochs else ():
        pass
    layers = recorded(model, test.x[: max(sizes)], activations.layers(model))
    tables = [information(test.x[:n], {name: t[:n] for name, t in layers.items()}, kernels, seed=seed) for n in sizes]
    return pd.concat(tables).assign(seed=seed)


def public(depth: int, pretrained: bool, place: int, n: int, kernels: Sequence[Kernel]) -> pd.DataFrame:
    """Information of a public ResNet's stem, the last block of each stage, and output, on one batch of CIFAR-10.

    Parameters
    ----------
    depth : int
        Of the ResNet.
    pretrained : bool
        Whether it has the public weights, or random ones.
    place, n : int
        Which batch of test images; its size.
    kernels : sequence of Kernel
        By which to measure.

    Returns
    -------
    DataFrame
        Columns: those of `information`, what ("layers" or "known layers"), depth, network, data, seed (the batch's
        place).
    """
    model, data = models.resnet(depth, pretrained=pretrained, seed=place), _cifar(place, n)
    ends = {layer.partition(".")[0]: layer for layer in activations.layers(model)}  # the last of each stage
    layers = recorded(model, data.x, [*ends.values()])
    chain = known(data.x, data.y, layers[ends["stage3"]], seed=place)
    tables = [information(data.x, layers, kernels, seed=place).assign(what="layers")]
    tables[0]["layer"] = tables[0]["layer"].map({layer: stage for stage, layer in ends.items()})
    tables.append(information(data.x, chain, kernels, seed=place).assign(what="known layers"))
    network = "trained" if pretrained else "untrained"
    return pd.concat(tables, ignore_index=True).assign(depth=depth, network=network, data="cifar10", seed=place)


def _cifar(place: int, n: int) -> Data:
    return datasets.load("cifar10", n_train=0, n_val=0, seed=0).test[place * n :][:n]
