"""The records of notebook 06, its data and its networks, for one seed each; the measures are in `nb06_measures`.

Everywhere: networks that begin with a last layer of 0; one seed decides split, order, weights and minibatches. A
tenth of the pool, at least 100 samples, is kept from training for the inverse temperature of the networks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import nn

from infolib import activations, checks, training
from infolib.data import Data
from infolib.measures import transfer
from workbook import datasets, models, records
from workbook.records import Count, Natural, NotNegative, Positive, Rate, Rule, Seeds, Ten, Units, between, entries

IN_A_ROW = [[], *([*range(first, end)] for first in range(9) for end in range(first + 2, 11))]
Classes = Annotated[tuple[int, ...], Rule("in a row, two or more, or none", lambda found: [*found] in IN_A_ROW)]
CLAIMED = ("same", "permuted pixels", "half brightness", "other classes")  # pairs that claims are about
DEFINITIONS = ("prequential", "static", "area")
ALIKE = ("steps", "epochs", "batch_size", "lr")  # of networks and of their learning curve, for the area
REST = 100  # samples, at least, that a trained network is calibrated by


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The data set of all experiments whose records name none, and how many samples they take."""

    data: datasets.Images  # data set
    n: Count  # that a network is trained on; as many as `small`, or more
    small: Ten  # of the smaller of two sets, and of each of two that a network learns in turn
    k: Ten  # held out, whose labels are sent; also beside `sizes`
    probe: Ten = 100  # whose labels are sent with fixed features
    known: Count = 1  # seeds, at most, of the positive controls of claims that the paper profile judges

    def __post_init__(self) -> None:
        checks.at_least("n", self.n, self.small)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How networks are trained: by Adam, on minibatches drawn with replacement."""

    steps: Natural  # at least so many
    epochs: NotNegative = 0.0  # if they are more
    batch_size: Count = 32  # samples
    lr: Rate = 1e-3  # learning rate
    at_once: bool = False  # all networks in one batched network: several times as fast if they are tiny

    def __post_init__(self) -> None:
        checks.hold("epochs", self.epochs, not (self.at_once and self.epochs), "0 with at_once")
        checks.hold("steps", self.steps, self.steps or self.epochs, "above 0 without epochs")

    @property
    def options(self) -> dict[str, Any]:
        """Of `training.train`, or of `training.train_many` for networks that are trained at once."""
        options = {"steps": self.steps, "batch_size": self.batch_size, "lr": self.lr}
        return options if self.at_once else options | {"epochs": self.epochs}


@dataclass(frozen=True, kw_only=True)
class Network(Schedule):
    """The perceptrons under study and their training."""

    hidden: Annotated[tuple[Units, ...], records.LAYERS]  # units of each hidden layer


@dataclass(frozen=True, kw_only=True)
class Coding(Schedule):
    """A prequential code, and the training for each of its blocks."""

    calibrate: bool = True  # scores times an inverse temperature, chosen on the last quarter of what has been sent
    mixture: bool = True  # of each block with the uniform code
    first: Count = 8  # labels of the first block
    ratio: Annotated[float, between(1.001, 1000)] = 2.0  # of a block's end to the end before it

    def of(self, k: int, extra: Sequence[int] = (), *, at_once: bool = True) -> dict[str, Any]:
        """Options of `transfer.compare` and `transfer.prequential_codelength`.

        Parameters
        ----------
        k : int
            Labels of the code.
        extra : sequence of int
            Places where a block ends as well.
        at_once : bool
            False for networks that are no perceptrons: one by one, as often as the record says.

        Returns
        -------
        dict
            The learner, the ends of the blocks, and whether to calibrate and to mix.
        """
        at_once = at_once and self.at_once
        learner = partial(transfer.networks if at_once else transfer.network, **self.options)
        ends = sorted({*transfer.block_ends(k, first=self.first, ratio=self.ratio), *extra})
        blocks = {"ends": ends, "batched": at_once, "calibrate": self.calibrate, "mixture": self.mixture}
        return blocks | {"learner": learner}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Samples of a data set."""

    data: datasets.Images  # data set
    classes: Classes = ()  # none are named: all ten
    pixels: Literal["true", "permuted", "half"] = "true"  # as they are, in another order, or half as bright

    @property
    def n_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes) or 10

    @property
    def name(self) -> str:
        """For tables and figures, such as "digits 0–4"."""
        span = f" {self.classes[0]}–{self.classes[-1]}" if self.classes else ""
        return self.data + span + {"true": "", "permuted": " permuted", "half": " half as bright"}[self.pixels]


@dataclass(frozen=True, kw_only=True)
class Whole(Sample):
    """A data set that is coded as a whole."""

    n: Ten  # samples of all classes, of which those of `classes` are taken
    learner: Literal["perceptron", "cnn"] = "perceptron"  # the network of the samples' record, or a small CNN

    def __post_init__(self) -> None:
        datasets.sizes(self.data, n_train=self.n, n_val=0, n_test=1)
        checks.at_least("n", self.n, 100 // self.n_classes)

    @property
    def name(self) -> str:
        """For tables and figures, such as "digits 1,200, 0–4"."""
        network = ", CNN" if self.learner == "cnn" else ""
        return f"{self.data} {self.n:,}" + super().name.removeprefix(self.data).replace(" ", ", ") + network


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two sets of samples that are compared."""

    first: Sample  # the set that a network learns first
    second: Sample  # the one it is compared with

    @property
    def columns(self) -> dict[str, str]:
        """For tables: the names of both, the first one's data set, and what is different in the second."""
        a, b = self.first, self.second
        differ = {"other data": a.data != b.data, "other classes": a.classes != b.classes}
        differ |= {"permuted pixels": b.pixels == "permuted", "half brightness": b.pixels == "half", "same": True}
        return {"pair": f"{a.name} | {b.name}", "data": a.data, "relation": max(differ, key=differ.__getitem__)}


@dataclass(frozen=True, kw_only=True)
class Forgetting:
    """Tasks that are learnt in turn, and what each method has to hold the ones before by."""

    second: Literal["permuted", "split", "same"]  # permuted pixels; classes 0 to 4, then 5 to 9; or new images
    tasks: Annotated[int, between(2, 10)] = 2  # how many
    order: tuple[int, ...] = ()  # in which they are learnt, a permutation of 0, 1, ...; none: as they come
    ewc: NotNegative  # strength of elastic weight consolidation
    ewc_samples: Count = 200  # that its Fisher information is measured on
    replay: Count  # stored samples, in equal parts of all tasks before
    lwf: NotNegative | None = None  # weight of learning without forgetting; None: left out
    temperature: Positive = 2.0  # of its targets

    def __post_init__(self) -> None:
        checks.hold("tasks", self.tasks, self.tasks == 2 or self.second == "permuted", "2 if no pixels are permuted")
        every = list(range(self.tasks))
        checks.hold("order", self.order, sorted(self.order or every) == every, f"a permutation of {every}, or none")

    @property
    def classes(self) -> int:
        """Of each task."""
        return 5 if self.second == "split" else 10

    @property
    def name(self) -> str:
        """For tables and figures, such as "split 1 0"."""
        return " ".join([self.second, *map(str, self.order)])

    @property
    def halves(self) -> int:
        """How many halves of a task's samples it takes to draw all tasks at once."""
        return {"permuted": 2, "split": 5, "same": 4}[self.second]

    @property
    def methods(self) -> dict[str, tuple[str, ...]]:
        """Methods that go on from A, by their heads: "shared" or "own"; "own heads" is LwF without its penalty."""
        own = ("own heads", "LwF") if self.tasks == 2 else ("LwF",)
        return {"shared": ("plain", "EWC", "replay")} | ({} if self.lwf is None else {"own": own})


@dataclass(frozen=True, kw_only=True)
class ResNet:
    """A public network for CIFAR-10 whose features are compared with pixels."""

    layers: Annotated[tuple[str, ...], entries(2)]  # where features are taken
    depth: Literal[20, 32, 44, 56] = 20  # of the network

    def __post_init__(self) -> None:
        known = activations.layers(models.resnet(self.depth))
        for layer in self.layers:
            checks.choice("layer", layer, known)


RECORDS = {"samples": Samples, "network": Network, "coding": Coding, "pairs": Pair, "codes": Whole,
           "forgetting": Forgetting, "resnets": ResNet}  # fmt: skip
RANGES = {"sets": Annotated[list[datasets.Images], entries(1)], "n_seeds": Seeds,
          "sizes": Annotated[list[Count], records.RISING, entries(2)]}  # fmt: skip


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse what cannot be measured, from the sizes of the data sets alone.

    Parameters
    ----------
    parameters : mapping
        All parameters of notebook 06 by name; those of RECORDS are records.

    Raises
    ------
    ValueError
        Names the parameter, for more samples than there are, no codes, a claim's pair or tasks that are missing, and
        codes that are not trained like the networks.
    """
    sizes, samples = parameters["sizes"], parameters["samples"]
    network, coding = ({q: getattr(parameters[name], q) for q in ALIKE} for name in ("network", "coding"))
    checks.hold("coding", coding, coding == network, f"as in network, {network}, whose learning curve it has to follow")
    checks.at_least("the number of codes", len(parameters["codes"]), 1)
    for known in (datasets.checksums()[name] for name in dict.fromkeys([*parameters["sets"], samples.data])):
        checks.within("k of samples", samples.k, 10, known.get("official", known["samples"] - 1))
    with records.placed("sizes"):
        for name in parameters["sets"]:
            datasets.sizes(name, n_train=_and_rest(sizes[-1]), n_val=0, n_test=samples.k)
    taps = {resnet.layers for resnet in parameters["resnets"]}
    checks.hold("resnets", taps, len(taps) <= 1, "of the same layers")
    if taps:
        checks.within("probe of samples", samples.probe, 10, datasets.sizes("cifar10")[2] - REST - samples.k)
    share = max([2, *(record.halves for record in parameters["forgetting"])])
    with records.placed("samples"):
        datasets.sizes(samples.data, n_train=_and_rest(share * samples.n // 2), n_val=0, n_test=share * samples.k // 2)
    most = max(samples.n * 10 // 9, samples.small * 10 // 9 + samples.k // 2, samples.probe + REST + samples.k)
    for i, pair in enumerate(parameters["pairs"]):
        with records.placed(f"pairs[{i}]"):
            for one in (pair.first, pair.second):  # half of each set is for either role
                datasets.sizes(one.data, n_train=20 * most // one.n_classes, n_val=0, n_test=0)
            a, b = (datasets.checksums()[one.data]["shape"] for one in (pair.first, pair.second))
            checks.hold("second", b, a == b, f"of images of the shape of the first, {a}")
    relations = [pair.columns["relation"] for pair in parameters["pairs"] if pair.first.data == samples.data]
    each = all(relations.count(name) == 1 for name in CLAIMED)
    checks.hold("pairs", relations, each, f"one of {samples.data} for each of {', '.join(CLAIMED)}, as claims need")
    two = [record.name for record in parameters["forgetting"] if record.tasks == 2]
    same = two.count("same") == 1 and len(two) > 1
    checks.hold("forgetting", two, same, "a list of 2 tasks twice or more, of which one is `same`, as claims need")


def parts(name: str, seed: int, *, n: int, k: int, noise: float = 0.0) -> tuple[Data, ...]:
    """Pool, calibration set and hold-out, in random order.

    Parameters
    ----------
    name : str
        Data set.
    seed : int
        Of the split, the order and the noise.
    n, k : int
        Samples of the pool and of the hold-out.
    noise : float
        Share of the labels that are drawn anew, in all three.

    Returns
    -------
    tuple of Data
        n, a tenth of n or 100, and k samples.
    """
    splits = datasets.load(name, n_train=_and_rest(n), n_val=0, n_test=k, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    found = [part.shuffled(generator) for part in (splits.train[:n], splits.train[n:], splits.test)]
    return tuple(part.noisy_labels(noise, generator=generator) for part in found)


def sample(which: Sample, seed: int, n: int, *, half: int, renumber: bool = True) -> Data:
    """The first samples as the record says, from one half of one random order of the set.

    Parameters
    ----------
    which : Sample
        Data set, classes and pixels.
    seed : int
        Of the order.
    n : int
        How many samples; fewer where the half has not as many of these classes.
    half : int
        0 or 1: the halves have no sample in common.
    renumber : bool
        Whether labels of some classes begin at 0; else they keep their meaning.

    Returns
    -------
    Data
        At most n samples.
    """
    pool = datasets.load(which.data, n_val=0, n_test=0 if which.data == "digits" else 1, seed=seed).train
    pool = pool.shuffled(torch.Generator().manual_seed(seed))
    pool = pool[: len(pool) // 2] if half == 0 else pool[len(pool) // 2 :]
    chosen = pool.of_classes(which.classes or range(10), renumber=renumber)[:n]
    if which.pixels == "permuted":
        return chosen.permuted_pixels(seed=1)
    return Data(chosen.x / 2, chosen.y) if which.pixels == "half" else chosen


def divided(pair: Pair, seed: int, samples: Samples) -> list[tuple[Data, Data]]:
    """Both sets of a pair, of different sizes: nine tenths to train on, a tenth to calibrate by.

    Parameters
    ----------
    pair : Pair
        Which sets.
    seed : int
        Of their order.
    samples : Samples
        `small` is what there is to train on of the first, `n` of the second.

    Returns
    -------
    list of tuple of Data
        Of each set the two parts.
    """
    sizes = [n + n // 9 for n in (samples.small, samples.n)]
    sets = [sample(pair.first, seed, sizes[0], half=0), sample(pair.second, seed, sizes[1], half=1)]
    return [(one[: len(one) * 9 // 10], one[len(one) * 9 // 10 :]) for one in sets]


def both(pair: Pair, seed: int, samples: Samples) -> tuple[list[Data], Data, Data]:
    """Both sets of a pair, and what is measured on equally many samples of either; labels keep their meaning.

    Parameters
    ----------
    pair : Pair
        Which sets.
    seed : int
        Of their order.
    samples : Samples
        `small` samples of each set are to train on, k of both together are held out.

    Returns
    -------
    pools : list of Data
        Of each set.
    rest, holdout : Data
        Calibration set and hold-out, of both sets, in random order.
    """
    n, rest = samples.small, samples.small + samples.small // 9
    sets = [sample(pair.first, seed, rest + samples.k // 2, half=0, renumber=False)]
    sets += [sample(pair.second, seed, rest + samples.k // 2, half=1, renumber=False)]
    joined = [Data.joined([one[part] for one in sets]) for part in (slice(n, rest), slice(rest, None))]
    calibration, holdout = (one.shuffled(torch.Generator().manual_seed(seed)) for one in joined)
    return [one[:n] for one in sets], calibration, holdout


def tasks(record: Forgetting, seed: int, samples: Samples) -> list[tuple[Data, ...]]:
    """Pool, calibration set and hold-out of each task.

    Parameters
    ----------
    record : Forgetting
        Which tasks, how many, and their order.
    seed : int
        As `parts` takes it.
    samples : Samples
        Its n and k are those of each task.

    Returns
    -------
    list of tuple of Data
        A tuple as from `parts` for each task.
    """
    wide = parts(samples.data, seed, n=record.halves * samples.n // 2, k=record.halves * samples.k // 2)
    sized = list(zip(wide, (samples.n, samples.n, samples.k), strict=True))
    if record.second == "split":
        found = [tuple(part.of_classes(range(first, first + 5))[:n] for part, n in sized) for first in (0, 5)]
    elif record.second == "same":
        found = [
            (sized[0][0][i * samples.n :][: samples.n], wide[1], wide[2][i * samples.k :][: samples.k]) for i in (0, 1)
        ]
    else:
        found = [tuple(p.permuted_pixels(seed=task) if task else p for p in wide) for task in range(record.tasks)]
    return [found[task] for task in record.order or range(record.tasks)]


def start(data: Data, hidden: Sequence[int] | None, seed: int, classes: int = 10) -> nn.Module:
    """An untrained network for the data, which predicts all classes alike.

    Parameters
    ----------
    data : Data
        Its samples have the shape that the network takes.
    hidden : sequence of int, optional
        Units of each hidden layer of a perceptron; none: the small CNN.
    seed : int
        Of the weights.
    classes : int
        Outputs.

    Returns
    -------
    nn.Module
        Its last layer is 0.
    """
    if hidden is None:
        channels, height, width = data.x.shape[1:]
        return training.zero_head(models.cnn(in_shape=(channels, height, width), padding=1, classes=classes, seed=seed))
    return training.zero_head(models.mlp([data.x[0].numel(), *hidden, classes], seed=seed))


def trained(starts: Sequence[Any], data: Sequence[Data], seed: int, schedule: Schedule) -> Sequence[nn.Module]:
    """Copies of networks, each trained on its own data.

    Parameters
    ----------
    starts : sequence of nn.Module
        Of one shape if they are trained at once; convolutional networks are trained one by one.
    data : sequence of Data
        As many.
    seed : int
        Of the minibatches.
    schedule : Schedule
        How they are trained.

    Returns
    -------
    sequence of nn.Module
        The copies, in eval mode.
    """
    if schedule.at_once and not any(isinstance(module, nn.Conv2d) for module in starts[0].modules()):
        return training.train_many(starts, data, seed=seed, **schedule.options)
    return [training.train(theta, one, seed=seed, **schedule.options) for theta, one in zip(starts, data, strict=True)]


def _and_rest(n: int) -> int:
    """How many samples it takes to train on n."""
    return n + max(100, n // 10)
