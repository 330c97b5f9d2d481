"""The records of notebook 06, its data and its networks, for one seed each, and the longest of its measures.

Everywhere: perceptrons that begin with a last layer of 0; one seed decides split, order, weights and minibatches. A
tenth of the pool, at least 100 samples, is kept from training for the inverse temperature of the networks.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import pandas as pd
import torch
from torch import Tensor, nn

from infolib import activations, checks, training
from infolib.data import Data
from infolib.measures import transfer
from workbook import datasets, models, records
from workbook.records import Count, Natural, NotNegative, Positive, Rate, Rule, Seeds, Ten, Two, Units, between, entries

IN_A_ROW = [[], *([*range(first, end)] for first in range(9) for end in range(first + 2, 11))]
Classes = Annotated[tuple[int, ...], Rule("in a row, two or more, or none", lambda found: [*found] in IN_A_ROW)]
CLAIMED = ("same", "permuted pixels", "other classes")  # pairs that claims are about


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The data set of all experiments whose records name none, and how many samples they take."""

    data: datasets.Images  # data set
    n: Count  # that a network is trained on; as many as `small`, or more
    small: Ten  # of the smaller of two sets, and of each of two that a network learns in turn
    k: Ten  # held out, whose labels are sent; also beside `sizes`
    probe: Ten = 100  # whose labels are sent with fixed features

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

    def of(self, k: int, extra: Sequence[int] = ()) -> dict[str, Any]:
        """Options of `transfer.compare` and `transfer.prequential_codelength`.

        Parameters
        ----------
        k : int
            Labels of the code.
        extra : sequence of int
            Places where a block ends as well.

        Returns
        -------
        dict
            The learner, the ends of the blocks, and whether to calibrate and to mix.
        """
        learner = partial(transfer.networks if self.at_once else transfer.network, **self.options)
        ends = sorted({*transfer.block_ends(k, first=self.first, ratio=self.ratio), *extra})
        blocks = {"ends": ends, "batched": self.at_once, "calibrate": self.calibrate, "mixture": self.mixture}
        return blocks | {"learner": learner}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Samples of a data set."""

    data: datasets.Images  # data set
    classes: Classes = ()  # none are named: all ten
    pixels: Literal["true", "permuted"] = "true"  # in their order, or in another one

    @property
    def n_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes) or 10

    @property
    def name(self) -> str:
        """For tables and figures, such as "digits 0–4"."""
        span = f" {self.classes[0]}–{self.classes[-1]}" if self.classes else ""
        return self.data + span + " permuted" * (self.pixels == "permuted")


@dataclass(frozen=True, kw_only=True)
class Whole(Sample):
    """A data set that is coded as a whole."""

    n: Ten  # samples of all classes, of which those of `classes` are taken

    def __post_init__(self) -> None:
        datasets.sizes(self.data, n_train=self.n, n_val=0, n_test=1)
        checks.at_least("n", self.n, 100 // self.n_classes)

    @property
    def name(self) -> str:
        """For tables and figures, such as "digits 1,200, 0–4"."""
        return f"{self.data} {self.n:,}" + super().name.removeprefix(self.data).replace(" ", ", ")


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
        differ |= {"permuted pixels": a.pixels != b.pixels, "same": True}
        return {"pair": f"{a.name} | {b.name}", "data": a.data, "relation": max(differ, key=differ.__getitem__)}


@dataclass(frozen=True, kw_only=True)
class Forgetting:
    """Tasks that are learnt in turn, and what each method has to hold the ones before by."""

    second: Literal["permuted", "split"]  # the same images with permuted pixels; or classes 0 to 4, then 5 to 9
    tasks: Two = 2  # how many
    ewc: NotNegative  # strength of elastic weight consolidation
    ewc_samples: Count = 200  # that its Fisher information is measured on
    replay: Count  # stored samples, in equal parts of all tasks before
    lwf: NotNegative | None = None  # weight of learning without forgetting; None: left out
    temperature: Positive = 2.0  # of its targets

    def __post_init__(self) -> None:
        checks.hold("tasks", self.tasks, self.tasks == 2 or self.second != "split", "2 where the classes are split")

    @property
    def classes(self) -> int:
        """Of each task."""
        return 5 if self.second == "split" else 10

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
        Names the parameter, for more samples than there are, no codes, and a claim's pair or tasks that are missing.
    """
    sizes, samples = parameters["sizes"], parameters["samples"]
    checks.at_least("the number of codes", len(parameters["codes"]), 1)
    with records.placed("sizes"):
        for name in parameters["sets"]:
            datasets.sizes(name, n_train=_and_rest(sizes[-1]), n_val=0, n_test=samples.k)
    taps = {resnet.layers for resnet in parameters["resnets"]}
    checks.hold("resnets", taps, len(taps) <= 1, "of the same layers")
    if taps:
        checks.within("probe of samples", samples.probe, 10, datasets.sizes("cifar10")[2])
    share = 5 if "split" in {record.second for record in parameters["forgetting"]} else 2  # halves: of split classes
    with records.placed("samples"):
        datasets.sizes(samples.data, n_train=_and_rest(share * samples.n // 2), n_val=0, n_test=share * samples.k // 2)
    most = max(samples.n * 10 // 9, samples.small * 10 // 9 + samples.k // 2, samples.probe)
    for i, pair in enumerate(parameters["pairs"]):
        with records.placed(f"pairs[{i}]"):
            for one in (pair.first, pair.second):  # half of each set is for either role
                datasets.sizes(one.data, n_train=20 * most // one.n_classes, n_val=0, n_test=0)
            a, b = (datasets.checksums()[one.data]["shape"] for one in (pair.first, pair.second))
            checks.hold("second", b, a == b, f"of images of the shape of the first, {a}")
    relations = [pair.columns["relation"] for pair in parameters["pairs"] if pair.first.data == samples.data]
    each, tasks = all(relations.count(name) == 1 for name in CLAIMED), [r.tasks for r in parameters["forgetting"]]
    checks.hold("pairs", relations, each, f"one of {samples.data} for each of {', '.join(CLAIMED)}, as claims need")
    checks.hold("forgetting", tasks, 2 in tasks, "a list with one of 2 tasks, as claims need")


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
    return chosen.permuted_pixels(seed=1) if which.pixels == "permuted" else chosen


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
        Which tasks, and how many.
    seed : int
        As `parts` takes it.
    samples : Samples
        Its n and k are those of each task.

    Returns
    -------
    list of tuple of Data
        A tuple as from `parts` for each task.
    """
    if record.second == "permuted":
        found = parts(samples.data, seed, n=samples.n, k=samples.k)
        later = range(1, record.tasks)
        return [found, *(tuple(part.permuted_pixels(seed=task) for part in found) for task in later)]
    found = parts(samples.data, seed, n=5 * samples.n // 2, k=5 * samples.k // 2)
    sized = list(zip(found, (samples.n, samples.n, samples.k), strict=True))
    return [tuple(part.of_classes(range(first, first + 5))[:n] for part, n in sized) for first in (0, 5)]


def start(data: Data, hidden: Sequence[int], seed: int, classes: int = 10) -> nn.Module:
    """An untrained perceptron for the data, which predicts all classes alike.

    Parameters
    ----------
    data : Data
        Its samples have the shape that the perceptron takes.
    hidden : sequence of int
        Units of each hidden layer.
    seed : int
        Of the weights.
    classes : int
        Outputs.

    Returns
    -------
    nn.Module
        Its last layer is 0.
    """
    return training.zero_head(models.mlp([data.x[0].numel(), *hidden, classes], seed=seed))


def trained(starts: Sequence[Any], data: Sequence[Data], seed: int, schedule: Schedule) -> Sequence[nn.Module]:
    """Copies of networks, each trained on its own data.

    Parameters
    ----------
    starts : sequence of nn.Module
        Perceptrons, of one shape if they are trained at once.
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
    if schedule.at_once:
        return training.train_many(starts, data, seed=seed, **schedule.options)
    return [training.train(theta, one, seed=seed, **schedule.options) for theta, one in zip(starts, data, strict=True)]


def in_turn(pools: list[Data], record: Forgetting, seed: int, network: Network) -> dict[tuple[str, str], nn.Module]:
    """Networks after all tasks; of two tasks also those after A and after B alone.

    Parameters
    ----------
    pools : list of Data
        What there is to learn of each task.
    record : Forgetting
        The methods and their strengths.
    seed : int
        Of weights, minibatches and the Fisher information.
    network : Network
        The perceptrons and their training.

    Returns
    -------
    dict
        (heads, method) -> network: heads are "shared" or "own".
    """
    found: dict[tuple[str, str], nn.Module] = {}
    train: Callable[..., nn.Module] = partial(training.train, seed=seed, **network.options)
    c = record.classes
    for kind, methods in record.methods.items():
        heads = [slice(c * i, c * (i + 1)) if kind == "own" else slice(None) for i in range(len(pools))]
        theta = start(pools[0], network.hidden, seed, heads[-1].stop or c)
        after = train(theta, pools[0], head=heads[0])
        if len(pools) == 2:
            found |= {(kind, "after A"): after, (kind, "B only"): train(theta, pools[1], head=heads[1])}
        found |= {(kind, method): _go_on(after, pools, heads, method, record, seed, train) for method in methods}
        if kind == "shared":
            found[kind, "joint"] = train(theta, Data.joined(pools), steps=len(pools) * network.steps)
    return found


def by_size(
    name: str, noise: float, seed: int, times: int = 1, *, sizes: list[int], k: int, network: Network, coding: Coding
) -> pd.DataFrame:
    """Information of networks trained on more and more samples with noisy labels, in bits.

    Parameters
    ----------
    name : str
        Data set.
    noise : float
        Share of the labels that are drawn anew.
    seed : int
        Of data, weights and minibatches.
    times : int
        As many units in each hidden layer as `network` has.
    sizes : list of int
        Samples that networks are trained on; they rise.
    k : int
        Labels held out.
    network : Network
        The perceptrons and their training.
    coding : Coding
        The code and its training.

    Returns
    -------
    DataFrame
        A row for each size n. L_IT and `static` are of the calibrated network, "static, raw" is without calibration.
        `sdl_curve` is by left sums over `sizes`. `memorised` is n log2 C minus the loss on the network's own n samples,
        L(M) its model information.
    """
    pool, rest, holdout = parts(name, seed, n=sizes[-1], k=k, noise=noise)
    theta, bit = start(pool, [times * units for units in network.hidden], seed), math.log2(10)
    raw = trained([theta] * len(sizes), [pool[:n] for n in sizes], seed, network)
    ready: dict[Any, nn.Module] = {n: transfer.calibrated(model, rest) for n, model in zip(sizes, raw, strict=True)}
    table = transfer.compare(theta, ready, holdout, seed=seed, **coding.of(k)).rename(columns={"state": "n"})
    table = table.assign(L0=table["L"][0], data=name, noise=noise, times=times, seed=seed).iloc[1:].astype({"n": int})
    own = transfer.prequential_codelength(initial=theta, data=pool, seed=seed, **coding.of(len(pool), sizes))
    paid = dict(zip(own.ends[1:], own.costs.cumsum(0).tolist(), strict=True))
    final = [transfer.block_bits(model, pool[:n]) for n, model in zip(sizes, raw, strict=True)]
    table["static, raw"] = [k * bit - transfer.block_bits(model, holdout) for model in raw]
    table["memorised"] = [n * bit - loss for n, loss in zip(sizes, final, strict=True)]
    table["L(M)"] = [paid[n] - loss for n, loss in zip(sizes, final, strict=True)]
    return table.assign(sdl_curve=_left_sums(sizes, (table["static"] / k).tolist()))


def forgetting(record: Forgetting, seed: int, *, samples: Samples, network: Network, coding: Coding) -> pd.DataFrame:
    """What networks that have learnt several tasks in turn have left of each, in bits.

    Parameters
    ----------
    record : Forgetting
        The tasks and the methods.
    seed : int
        Of data, weights and minibatches.
    samples : Samples
        Of each task.
    network : Network
        The perceptrons and their training.
    coding : Coding
        The code and its training.

    Returns
    -------
    DataFrame
        A row for each network and task, "A" first: heads and method, as in `in_turn`; L_IT and static of the calibrated
        network, raw: static without calibration; accuracy.
    """
    each, rows, classes = tasks(record, seed, samples), [], record.classes
    networks = in_turn([pool for pool, _, _ in each], record, seed, network)
    for i, (_, rest, holdout) in enumerate(each):
        own, theta = slice(i * classes, (i + 1) * classes), start(holdout, network.hidden, seed, classes)
        heads = {name: training.narrow(one, own) if name[0] == "own" else one for name, one in networks.items()}
        ready: dict[Any, nn.Module] = {name: transfer.calibrated(model, rest) for name, model in heads.items()}
        found = transfer.compare(theta, ready, holdout, seed=seed, **coding.of(len(holdout))).iloc[1:]
        found[["heads", "method"]] = found.pop("state").to_list()
        raw = [len(holdout) * math.log2(classes) - transfer.block_bits(model, holdout) for model in heads.values()]
        rows.append(found.assign(task="ABCDEFGHIJ"[i], raw=raw))
    return pd.concat(rows).assign(second=record.second, tasks=record.tasks, seed=seed)


def _go_on(
    model: nn.Module, pools: list[Data], heads: list[slice], method: str, record: Forgetting, seed: int,
    train: Callable[..., nn.Module],
) -> nn.Module:  # fmt: skip
    """The network after all tasks, from the one after the first; EWC and LwF have a term for each task before."""
    terms: list[training.Term] = []
    memory = None
    for i in range(1, len(pools)):
        if method == "EWC":
            term = training.ewc(model, pools[i - 1], strength=record.ewc, samples=record.ewc_samples, seed=seed)
            terms = [*terms, term]
        elif method == "LwF":
            weight = record.lwf or 0.0
            terms = [training.distillation(model, h, weight=weight, temperature=record.temperature) for h in heads[:i]]
        elif method == "replay":
            memory = Data.joined([pool[: max(1, record.replay // i)] for pool in pools[:i]])
        model = train(model, pools[i], head=heads[i], memory=memory, term=partial(_sum, terms) if terms else None)
    return model


def _sum(terms: Sequence[training.Term], model: nn.Module, x: Tensor) -> Tensor:
    return sum((term(model, x) for term in terms), torch.tensor(0.0))


def _left_sums(sizes: Sequence[int], gains: Sequence[float]) -> list[float]:
    """Sum over i < n of the gain of θ_n beyond that of θ_i (bits per label), θ_i held from each size to the next."""
    edges, known = [0, *sizes], [0.0, *gains]
    return [sum((edges[i + 1] - edges[i]) * (known[j] - known[i]) for i in range(j)) for j in range(1, len(edges))]


def _and_rest(n: int) -> int:
    """How many samples it takes to train on n."""
    return n + max(100, n // 10)
