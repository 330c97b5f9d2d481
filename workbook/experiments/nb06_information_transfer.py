"""The records of notebook 06, its data and its networks, for one seed each, and the longest of its measures.

Everywhere: perceptrons that begin with a last layer of 0; one seed decides split, order, weights and minibatches. A
tenth of the pool, at least 100 samples, is kept from training for the inverse temperature of the networks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal, get_args

import pandas as pd
import torch
from torch import Tensor, nn

from infolib import activations, checks, training
from infolib.data import Data
from infolib.measures import transfer
from workbook import datasets, models

Name = Literal["digits", "mnist", "fashion-mnist", "cifar10"]  # data sets of ten classes
CLAIMED = ("same", "permuted pixels", "other classes")  # pairs that claims are about


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The data set of all experiments whose records name none, and how many samples they take."""

    data: Name
    n: int  # that a network is trained on
    small: int  # of the smaller of two sets, and of each of two that a network learns in turn
    k: int  # held out, whose labels are sent; also beside `sizes`
    probe: int = 100  # whose labels are sent with fixed features

    def __post_init__(self) -> None:
        _at_least(self, n=self.small, small=10, k=10, probe=10)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How networks are trained: by Adam, on minibatches drawn with replacement."""

    steps: int  # at least so many
    epochs: float = 0.0  # if they are more
    batch_size: int = 32  # samples
    lr: float = 1e-3
    at_once: bool = False  # all networks in one batched network: several times as fast if they are tiny

    def __post_init__(self) -> None:
        _at_least(self, steps=0, epochs=0, batch_size=1, lr=1e-12)
        if self.at_once and self.epochs:
            raise ValueError(f"epochs must be 0 with at_once, got {self.epochs}")

    @property
    def options(self) -> dict[str, Any]:
        """Of `training.train`, or of `training.train_many` for networks that are trained at once."""
        options = {"steps": self.steps, "batch_size": self.batch_size, "lr": self.lr}
        return options if self.at_once else options | {"epochs": self.epochs}


@dataclass(frozen=True, kw_only=True)
class Network(Schedule):
    """The perceptrons under study and their training."""

    hidden: tuple[int, ...]  # units of each hidden layer


@dataclass(frozen=True, kw_only=True)
class Coding(Schedule):
    """A prequential code, and the training for each of its blocks."""

    calibrate: bool = True  # scores times an inverse temperature, chosen on the last quarter of what has been sent
    mixture: bool = True  # of each block with the uniform code
    first: int = 8  # labels of the first block
    ratio: float = 2.0  # of the end of a block to the end of the one before

    def of(self, k: int, extra: Sequence[int] = ()) -> dict[str, Any]:
        """Options of `transfer.compare` for a code of k labels, with blocks that also end at the `extra` places."""
        learner = partial(transfer.networks if self.at_once else transfer.network, **self.options)
        ends = sorted({*transfer.block_ends(k, first=self.first, ratio=self.ratio), *extra})
        blocks = {"ends": ends, "batched": self.at_once, "calibrate": self.calibrate, "mixture": self.mixture}
        return blocks | {"learner": learner}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Samples of a data set."""

    data: Name
    classes: tuple[int, ...] = ()  # one after the other; none are named: all ten
    pixels: Literal["true", "permuted"] = "true"

    def __post_init__(self) -> None:
        if self.classes not in [(), *(tuple(range(i, j)) for i in range(9) for j in range(i + 2, 11))]:
            raise ValueError(f"classes must be two or more, one after the other, or none, got {list(self.classes)}")

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

    n: int  # samples of all classes, of which those of `classes` are taken

    @property
    def name(self) -> str:
        """For tables and figures, such as "digits 1,200, 0–4"."""
        return f"{self.data} {self.n:,}" + super().name.removeprefix(self.data).replace(" ", ", ")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two sets of samples that are compared."""

    first: Sample
    second: Sample

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
    tasks: int = 2
    ewc: float  # strength of elastic weight consolidation
    ewc_samples: int = 200  # that its Fisher information is measured on
    replay: int  # stored samples, in equal parts of all tasks before
    lwf: float | None = None  # weight of learning without forgetting; None: left out
    temperature: float = 2.0  # of its targets

    def __post_init__(self) -> None:
        _at_least(self, tasks=2, ewc=0, ewc_samples=1, replay=1, lwf=0, temperature=1e-3)
        if self.tasks > 2 and self.second == "split":
            raise ValueError(f"tasks must be 2 where the classes are split, got {self.tasks}")

    @property
    def classes(self) -> int:
        """Of each task."""
        return 5 if self.second == "split" else 10

    @property
    def methods(self) -> dict[str, tuple[str, ...]]:
        """Methods that go on from A, by their heads: "shared" or "own"; "own heads" is LwF without its penalty."""
        own = {2: ("own heads", "LwF")}.get(self.tasks, ("LwF",))
        return {"shared": ("plain", "EWC", "replay")} | ({} if self.lwf is None else {"own": own})


@dataclass(frozen=True, kw_only=True)
class ResNet:
    """A public network for CIFAR-10 whose features are compared with pixels."""

    layers: tuple[str, ...]
    depth: int = 20


RECORDS = {"samples": Samples, "network": Network, "coding": Coding, "pairs": Pair, "codes": Whole,
           "forgetting": Forgetting, "resnets": ResNet}  # fmt: skip


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse what cannot be measured, from the sizes of the data sets alone.

    parameters: all of the notebook by name, with their records built

    Raises:
        ValueError: names the parameter, for too few seeds, sizes that do not rise, more samples than there are, blocks,
            layers and data sets that cannot be, and pairs or tasks that are missing and that claims are about
    """
    sizes, samples, coding = (parameters[name] for name in ("sizes", "samples", "coding"))
    checks.at_least("n_seeds", parameters["n_seeds"], 2)
    if len(sizes) < 2 or any(a >= b for a, b in pairwise([0, *sizes])):
        raise ValueError(f"sizes must be two or more that rise from at least 1, got {sizes}")
    checks.at_least("hidden of network", min(parameters["network"].hidden, default=1), 1)
    transfer.block_ends(1, first=coding.first, ratio=coding.ratio)
    for name in parameters["sets"]:
        _fit("sizes", checks.choice("data set in sets:", name, get_args(Name)), _and_rest(sizes[-1]), samples.k)
    share = 5 if "split" in {record.second for record in parameters["forgetting"]} else 2  # halves: of split classes
    _fit("samples", samples.data, _and_rest(share * samples.n // 2), share * samples.k // 2)
    for i, whole in enumerate(parameters["codes"]):
        _fit(f"codes[{i}]", whole.data, checks.at_least(f"n of codes[{i}]", whole.n, 8), 1)
    most = max(samples.n * 10 // 9, samples.small * 10 // 9 + samples.k // 2, samples.probe)
    for i, pair in enumerate(parameters["pairs"]):
        for one in (pair.first, pair.second):  # half of each set is for either role
            _fit(f"pairs[{i}]", one.data, 20 * most // one.n_classes, 0)
    relations = [pair.columns["relation"] for pair in parameters["pairs"] if pair.first.data == samples.data]
    if any(relations.count(name) != 1 for name in CLAIMED) or all(r.tasks > 2 for r in parameters["forgetting"]):
        raise ValueError(f"claims need a pair of {samples.data} for each of {CLAIMED}, and forgetting of 2 tasks")
    for i, resnet in enumerate(parameters["resnets"]):
        known = activations.layers(models.resnet(resnet.depth))
        for layer in resnet.layers:
            checks.choice(f"layer of resnets[{i}]:", layer, known)


def parts(name: str, seed: int, *, n: int, k: int, noise: float = 0.0) -> tuple[Data, ...]:
    """Pool of n, calibration set and hold-out of k samples, in random order.

    noise: fraction of the labels that are redrawn, in all three
    """
    splits = datasets.load(name, n_train=_and_rest(n), n_val=0, n_test=k, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    found = [shuffled(part, generator) for part in (splits.train[:n], splits.train[n:], splits.test)]
    return tuple(_noisy(part, noise, generator) for part in found)


def permuted(data: Data, task: int) -> Data:
    """The same images with their pixels in another order, one for each task; task 0 leaves them."""
    if task == 0:
        return data
    order = torch.randperm(data.x[0].numel(), generator=torch.Generator().manual_seed(task))
    return Data(data.x.flatten(1)[:, order].reshape(data.x.shape), data.y)


def shuffled(data: Data, generator: torch.Generator) -> Data:
    """The samples in random order."""
    return data[torch.randperm(len(data), generator=generator)]


def of_classes(data: Data, classes: Sequence[int], *, own: bool = True) -> Data:
    """The samples of some classes, of all if none are named; with labels of their `own`, which begin at 0."""
    if not classes:
        return data
    chosen = data[torch.isin(data.y, torch.tensor(classes))]
    return Data(chosen.x, chosen.y - own * classes[0])


def sample(which: Sample, seed: int, n: int, *, half: int, own: bool = True) -> Data:
    """The first n samples as the record says, from the first or the second half (0, 1) of one random order of the set.

    They are fewer where half of the set has not as many of these classes.

    own: labels of some classes begin at 0, else they keep their meaning
    """
    pool = datasets.load(which.data, n_val=0, n_test=0 if which.data == "digits" else 1, seed=seed).train
    pool = shuffled(pool, torch.Generator().manual_seed(seed))
    pool = pool[: len(pool) // 2] if half == 0 else pool[len(pool) // 2 :]
    chosen = of_classes(pool, which.classes, own=own)[:n]
    return permuted(chosen, int(which.pixels == "permuted"))


def divided(pair: Pair, seed: int, samples: Samples) -> list[tuple[Data, Data]]:
    """Of a pair's sets, `small` and n samples and a ninth of it: nine tenths to train on, a tenth to calibrate by."""
    sizes = [n + n // 9 for n in (samples.small, samples.n)]
    sets = [sample(pair.first, seed, sizes[0], half=0), sample(pair.second, seed, sizes[1], half=1)]
    return [(one[: len(one) * 9 // 10], one[len(one) * 9 // 10 :]) for one in sets]


def both(pair: Pair, seed: int, samples: Samples) -> tuple[list[Data], Data, Data]:
    """Of each set of a pair `small` samples; and a calibration set and a hold-out of k with equally many of both.

    Labels keep their meaning.
    """
    n, rest = samples.small, samples.small + samples.small // 9
    sets = [sample(pair.first, seed, rest + samples.k // 2, half=0, own=False)]
    sets += [sample(pair.second, seed, rest + samples.k // 2, half=1, own=False)]
    joined = (join([one[part] for one in sets]) for part in (slice(n, rest), slice(rest, None)))
    return [one[:n] for one in sets], *(shuffled(one, torch.Generator().manual_seed(seed)) for one in joined)


def tasks(record: Forgetting, seed: int, samples: Samples) -> list[tuple[Data, ...]]:
    """Pool, calibration set and hold-out of each task."""
    if record.second == "permuted":
        found = parts(samples.data, seed, n=samples.n, k=samples.k)
        return [tuple(permuted(part, task) for part in found) for task in range(record.tasks)]
    found = parts(samples.data, seed, n=5 * samples.n // 2, k=5 * samples.k // 2)
    sized = list(zip(found, (samples.n, samples.n, samples.k), strict=True))
    return [tuple(of_classes(part, range(first, first + 5))[:n] for part, n in sized) for first in (0, 5)]


def join(parts: Sequence[Data]) -> Data:
    """The samples of all parts, one part after the other."""
    return Data(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))


def start(data: Data, hidden: Sequence[int], seed: int, classes: int = 10) -> nn.Sequential:
    """An untrained perceptron for the data, which predicts all classes alike."""
    return training.zero_head(models.mlp([data.x[0].numel(), *hidden, classes], seed=seed))


def trained(starts: Sequence[nn.Module], data: Sequence[Data], seed: int, schedule: Schedule) -> list[nn.Module]:
    """Copies of networks, each trained on its own data."""
    if schedule.at_once:
        return training.train_many(starts, data, seed=seed, **schedule.options)
    return [training.train(theta, one, seed=seed, **schedule.options) for theta, one in zip(starts, data, strict=True)]


def in_turn(pools: list[Data], record: Forgetting, seed: int, network: Network) -> dict[tuple[str, str], nn.Module]:
    """Networks by (heads, method), after all tasks; of two tasks also those after A and after B alone."""
    train, found, c = partial(training.train, seed=seed, **network.options), {}, record.classes
    for kind, methods in record.methods.items():
        heads = [slice(c * i, c * (i + 1)) if kind == "own" else slice(None) for i in range(len(pools))]
        theta = start(pools[0], network.hidden, seed, heads[-1].stop or c)
        after = train(theta, pools[0], head=heads[0])
        if len(pools) == 2:
            found |= {(kind, "after A"): after, (kind, "B only"): train(theta, pools[1], head=heads[1])}
        found |= {(kind, method): _go_on(after, pools, heads, method, record, train) for method in methods}
        if kind == "shared":
            found[kind, "joint"] = train(theta, join(pools), steps=len(pools) * network.steps)
    return found


def by_size(
    name: str, noise: float, seed: int, times: int = 1, *, sizes: list[int], k: int, network: Network, coding: Coding
) -> pd.DataFrame:
    """Information of networks trained on more and more samples with noisy labels: a row for each n, in bits.

    L_IT and its static reading of the calibrated network; "static, raw" without calibration; "sdl_curve" by left sums
    over `sizes`; memorised: n log2 C less the loss on the network's own n samples; L(M): its model information.

    times: as many units in each hidden layer as `network` has
    """
    pool, rest, holdout = parts(name, seed, n=sizes[-1], k=k, noise=noise)
    theta, bit = start(pool, [times * units for units in network.hidden], seed), math.log2(10)
    raw = trained([theta] * len(sizes), [pool[:n] for n in sizes], seed, network)
    ready = {n: transfer.calibrated(model, rest) for n, model in zip(sizes, raw, strict=True)}
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
    """What networks that have learnt several tasks in turn know of each: a row for each network and task, in bits.

    Columns: heads and method, as in `in_turn`; task, "A" first; L_IT, static (calibrated), raw (static, not
    calibrated); accuracy.
    """
    each, rows, classes = tasks(record, seed, samples), [], record.classes
    networks = in_turn([pool for pool, _, _ in each], record, seed, network)
    for i, (_, rest, holdout) in enumerate(each):
        own, theta = slice(i * classes, (i + 1) * classes), start(holdout, network.hidden, seed, classes)
        heads = {name: training.narrow(one, own) if name[0] == "own" else one for name, one in networks.items()}
        ready = {name: transfer.calibrated(model, rest) for name, model in heads.items()}
        found = transfer.compare(theta, ready, holdout, seed=seed, **coding.of(len(holdout))).iloc[1:]
        found[["heads", "method"]] = found.pop("state").to_list()
        raw = [len(holdout) * math.log2(classes) - transfer.block_bits(model, holdout) for model in heads.values()]
        rows.append(found.assign(task="ABCDEFGHIJ"[i], raw=raw))
    return pd.concat(rows).assign(second=record.second, tasks=record.tasks, seed=seed)


def features(pair: Pair, labels: str, seed: int, *, samples: Samples, network: Network, coding: Coding) -> pd.DataFrame:
    """Codelength of labels of a pair's second set, from pixels and from features of a network of the first.

    The features are the last hidden layer, before ("random") and after training ("other task").

    labels: "true" or "permuted"
    """
    source = sample(pair.first, seed, samples.n, half=0)
    task = sample(pair.second, seed, samples.probe, half=1)
    if labels == "permuted":
        task = Data(task.x, shuffled(task, torch.Generator().manual_seed(seed)).y)
    untrained = models.mlp([source.x[0].numel(), *network.hidden, pair.first.n_classes], seed=seed)
    (other,) = trained([training.zero_head(untrained)], [source], seed, network)
    layer, found = f"hidden{len(network.hidden)}", {"pixels": task.x.flatten(1)}
    for name, model in (("random", untrained), ("other task", other)):
        found[name] = activations.collect(model, task.x, [layer])[layer]
    table = _codelengths(found, task.y, seed, pair.second.n_classes, network, coding)
    return table.assign(task=pair.second.name, source=pair.first.name, labels=labels)


def depths(net: ResNet, weights: str, seed: int, *, samples: Samples, network: Network, coding: Coding) -> pd.DataFrame:
    """The same from pixels and layers of a public ResNet, for test images of CIFAR-10; maps enter by their means.

    weights: "random" or "trained"; trained, the network has seen the task's labels, of other images
    """
    test = datasets.load("cifar10", n_train=1, n_val=0, n_test=samples.probe, seed=seed).test
    test = shuffled(test, torch.Generator().manual_seed(seed))
    model = models.resnet(net.depth, pretrained=weights == "trained", seed=seed).eval()
    found = activations.collect(model, test.x, net.layers, batch_size=250)
    means = {layer: x.flatten(2).mean(2) if x.ndim > 2 else x for layer, x in found.items()}
    table = _codelengths({"pixels": test.x.flatten(1)} | means, test.y, seed, 10, network, coding)
    return table.assign(weights=weights, source=f"ResNet-{net.depth}")


def _codelengths(
    features: Mapping[str, Tensor], y: Tensor, seed: int, classes: int, network: Network, coding: Coding
) -> pd.DataFrame:
    """Columns: features; L in bits; saved: L from pixels, which come first, less L; share of k log2 C."""
    rows = []
    for name, x in features.items():
        data = Data((x - x.mean()) / x.std(), y)  # one scale for all features: a choice without labels
        theta = start(data, network.hidden, seed, classes)
        found = transfer.prequential_codelength(initial=theta, data=data, seed=seed, **coding.of(len(y)))
        rows.append({"features": name, "L": found.bits, "k": len(y), "seed": seed})
    table = pd.DataFrame(rows)
    saved = table["L"][0] - table["L"]
    return table.assign(saved=saved, share=saved / len(y) / math.log2(classes))


def _go_on(model: nn.Module, pools: list[Data], heads: list[slice], method: str, record: Forgetting, train: partial):
    """The network after all tasks, from the one after the first; EWC and LwF have a term for each task before."""
    terms, memory, seed = [], None, train.keywords["seed"]
    for i in range(1, len(pools)):
        if method == "EWC":
            term = training.ewc(model, pools[i - 1], strength=record.ewc, samples=record.ewc_samples, seed=seed)
            terms = [*terms, term]
        elif method == "LwF":
            options = {"weight": record.lwf, "temperature": record.temperature}
            terms = [training.distillation(model, head, **options) for head in heads[:i]]
        elif method == "replay":
            memory = join([pool[: max(1, record.replay // i)] for pool in pools[:i]])
        model = train(model, pools[i], head=heads[i], memory=memory, term=partial(_sum, terms) if terms else None)
    return model


def _sum(terms: Sequence[training.Term], model: nn.Module, x: Tensor) -> Tensor:
    return sum(term(model, x) for term in terms)


def _noisy(data: Data, share: float, generator: torch.Generator) -> Data:
    redrawn = torch.rand(len(data), generator=generator) < share
    drawn = torch.randint(10, (len(data),), generator=generator)
    return Data(data.x, torch.where(redrawn, drawn, data.y))


def _left_sums(sizes: Sequence[int], gains: Sequence[float]) -> list[float]:
    """Sum over i < n of the gain of θ_n beyond that of θ_i (bits per label), θ_i held from each size to the next."""
    edges, known = [0, *sizes], [0.0, *gains]
    return [sum((edges[i + 1] - edges[i]) * (known[j] - known[i]) for i in range(j)) for j in range(1, len(edges))]


def _and_rest(n: int) -> int:
    """How many samples it takes to train on n."""
    return n + max(100, n // 10)


def _fit(what: str, name: str, n: int, k: int) -> None:
    """Refuse to train on n samples and hold out k where a data set has not as many."""
    every, official = datasets.checksums()[name]["samples"], 0 if name == "digits" else 10_000  # for tests only
    if n > every - (official or k) or k > (official or every):
        raise ValueError(f"{what}: {name} has {every} samples, too few for {n} to train on and {k} held out")


def _at_least(record: Any, **least: float) -> None:
    """Refuse a number of a record that is below its least value, by the name of its field; None is no number."""
    for name, low in least.items():
        if (value := getattr(record, name)) is not None and value < low:
            raise ValueError(f"{name} must be a number of at least {low:g}, got {value}")
