"""The measures of notebook 06, for one seed each: a table of numbers from the records in `nb06_information_transfer`.

`compare` gives the transfer of a network by three definitions: "prequential", "static" and "area". For networks of one
pool the last two differ by a factor and a constant.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from infolib import activations, training
from infolib.data import Data
from infolib.measures import transfer
from workbook import datasets, models
from workbook.experiments.nb06_information_transfer import (
    DEFINITIONS,
    REST,
    Coding,
    Forgetting,
    Network,
    Pair,
    ResNet,
    Samples,
    Whole,
    both,
    divided,
    parts,
    sample,
    start,
    tasks,
    trained,
)  # fmt: skip


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


def compare(
    theta: nn.Module,
    states: Mapping[Any, nn.Module],
    pools: Mapping[Any, Data],
    holdout: Data,
    *,
    seed: int,
    coding: Coding,
) -> pd.DataFrame:
    """Information transfer of networks by three definitions, in bits, and as fractions of a uniform code.

    Parameters
    ----------
    theta : nn.Module
        The untrained network.
    states : mapping
        Trained and calibrated networks by name.
    pools : mapping
        The samples that each is trained on, by the same names, of which none may be in the hold-out; none are given:
        without an area.
    holdout : Data
        k samples, whose labels are sent.
    seed : int
        Of the minibatches.
    coding : Coding
        The code and its training; also that of the area's learning curve: the networks should be trained alike.

    Returns
    -------
    DataFrame
        A row for each network: state, L, L0, accuracy, k; prequential, static and area in bits; "share of" each: of
        the uniform code of the hold-out, for the area of that of the pool.
    """
    table = transfer.compare(theta, states, holdout, seed=seed, **coding.of(len(holdout)))
    table = table.assign(L0=table["L"][0]).iloc[1:].rename(columns={"L_IT": "prequential"}).reset_index(drop=True)
    bit, base = math.log2(_outputs(theta)), {}
    table = table.assign(**{f"share of {q}": table[q] / len(holdout) / bit for q in DEFINITIONS[:2]})
    if not pools:
        return table
    for pool in {id(pool): pool for pool in pools.values()}.values():
        options = {name: value for name, value in coding.of(len(pool)).items() if name != "mixture"}
        curve = transfer.information_transfer(theta, theta, holdout, adapt="sdl_curve", pool=pool, seed=seed, **options)
        base[id(pool)] = curve.bits  # the area of the untrained network, which is not above 0
    n, least = ([of(pools[name]) for name in table["state"]] for of in (len, lambda pool: base[id(pool)]))
    table["area"] = least + np.array(n) * table["static"] / len(holdout)
    return table.assign(**{"share of area": table["area"] / n / bit})


def by_size(
    name: str,
    noise: float,
    seed: int,
    hidden: Sequence[int],
    *,
    sizes: list[int],
    k: int,
    network: Network,
    coding: Coding,
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
    hidden : sequence of int
        Units of each hidden layer.
    sizes : list of int
        Samples that networks are trained on; they rise.
    k : int
        Labels held out.
    network : Network
        How the perceptrons are trained.
    coding : Coding
        The code and its training.

    Returns
    -------
    DataFrame
        A row for each size n, as of `compare`, the area by left sums over `sizes`. "static, raw": without calibration.
        explained: n log2 C minus the loss on the network's own n samples. L(M): its model information. memory and
        information: both as fractions of n log2 C. room: what the smaller of L0 and L(M) leaves above the transfer,
        "room, static" above the static value, and raw, the raw static value itself, as fractions of k log2 C.
    """
    sets = parts(name, seed, n=sizes[-1], k=k, noise=noise)
    found = of_sizes(sets, seed, hidden, sizes=sizes, network=network, coding=coding)
    return found.assign(data=name, noise=noise)


def of_sizes(
    sets: Sequence[Data], seed: int, hidden: Sequence[int], *, sizes: list[int], network: Network, coding: Coding
) -> pd.DataFrame:
    """What `by_size` measures, on any data.

    Parameters
    ----------
    sets : sequence of Data
        Pool, calibration set and hold-out.
    seed, hidden, sizes, network, coding
        As `by_size` takes them.

    Returns
    -------
    DataFrame
        The columns of `by_size`, but data and noise.
    """
    (pool, rest, holdout), k = sets, len(sets[-1])
    theta, bit = start(pool, hidden, seed), math.log2(10)
    raw = trained([theta] * len(sizes), [pool[:n] for n in sizes], seed, network)
    ready: dict[Any, nn.Module] = {n: transfer.calibrated(model, rest) for n, model in zip(sizes, raw, strict=True)}
    table = compare(theta, ready, {}, holdout, seed=seed, coding=coding)
    table["area"] = _left_sums(sizes, (table["static"] / k).tolist())
    table["share of area"] = [area / n / bit for n, area in zip(sizes, table["area"], strict=True)]
    own = transfer.prequential_codelength(initial=theta, data=pool, seed=seed, **coding.of(len(pool), sizes))
    paid = dict(zip(own.ends[1:], own.costs.cumsum(0).tolist(), strict=True))
    final = [transfer.block_bits(model, pool[:n]) for n, model in zip(sizes, raw, strict=True)]
    table["static, raw"] = [k * bit - transfer.block_bits(model, holdout) for model in raw]
    table["explained"] = [n * bit - loss for n, loss in zip(sizes, final, strict=True)]
    table["L(M)"] = [paid[n] - loss for n, loss in zip(sizes, final, strict=True)]
    table = table.rename(columns={"state": "n"}).astype({"n": int})
    table["memory"], table["information"] = (table[q] / table["n"] / bit for q in ("explained", "L(M)"))
    least = table[["L0", "L(M)"]].min(axis=1)
    table["room"], table["room, static"] = ((least - table[q]) / k / bit for q in DEFINITIONS[:2])
    table["raw"] = table["static, raw"] / k / bit
    return table.assign(units=hidden[0], seed=seed)


def information(code: Whole, seed: int, *, network: Network, coding: Coding) -> pd.DataFrame:
    """The code of a whole set, block by block.

    Parameters
    ----------
    code : Whole
        The set and its learner.
    seed : int
        Of order, weights and minibatches.
    network : Network
        The perceptron.
    coding : Coding
        The code and its training.

    Returns
    -------
    DataFrame
        A row for each block: end; bits; labels; uniform, the bits of one label by guessing.
    """
    pool = datasets.load(code.data, n_train=code.n, n_val=0, n_test=1, seed=seed).train
    data = pool.shuffled(torch.Generator().manual_seed(seed)).of_classes(code.classes or range(10))
    theta = start(data, None if code.learner == "cnn" else network.hidden, seed, code.n_classes)
    options = coding.of(len(data), at_once=code.learner != "cnn")
    found = transfer.prequential_codelength(initial=theta, data=data, seed=seed, **options)
    blocks = pd.DataFrame({"end": found.ends[1:], "bits": found.costs.tolist(), "labels": np.diff(found.ends)})
    return blocks.assign(set=code.name, uniform=math.log2(code.n_classes), seed=seed)


def of_networks(pair: Pair, seed: int, *, samples: Samples, network: Network, coding: Coding) -> pd.DataFrame:
    """What features of networks, untrained and of another task, save of the labels of new images.

    Parameters
    ----------
    pair : Pair
        The other task, and the one that is measured.
    seed : int
        Of data, weights and minibatches.
    samples : Samples
        n are learnt of the other task; `probe` labels are sent.
    network : Network
        The perceptron, and the training of both networks.
    coding : Coding
        The code and its training.

    Returns
    -------
    DataFrame
        The rows of `saved`, for true and permuted labels: features, the last hidden layer of a perceptron and of a
        small CNN, task, labels.
    """
    source = sample(pair.first, seed, samples.n, half=0)
    task = sample(pair.second, seed, samples.probe + REST + samples.k, half=1)
    found = {"pixels": task.x.flatten(1)}
    for name, hidden, layer in (("perceptron", network.hidden, f"hidden{len(network.hidden)}"), ("CNN", None, "fc1")):
        theta = start(source, hidden, seed, pair.first.n_classes)
        each = {"random": theta, "other task": trained([theta], [source], seed, network)[0]}
        found |= {f"{name}, {kind}": activations.collect(net, task.x, [layer])[layer] for kind, net in each.items()}
    labels = {"true": task.y, "permuted": task.permuted_labels(torch.Generator().manual_seed(seed)).y}
    options: dict[str, Any] = {"classes": pair.second.n_classes, "samples": samples, "network": network}
    tables = [saved(found, y, seed, coding=coding, **options).assign(labels=name) for name, y in labels.items()]
    return pd.concat(tables).assign(task=pair.second.name)


def of_resnet(
    net: ResNet, weights: Literal["random", "trained"], seed: int, *, samples: Samples, network: Network, coding: Coding
) -> pd.DataFrame:
    """What layers of a public ResNet save of the labels of test images, with means of the maps for features.

    Parameters
    ----------
    net : ResNet
        The network and its layers.
    weights : "random" or "trained"
        The trained ones know this task from other images.
    seed : int
        Of the images, and of random weights.
    samples, network, coding
        As `of_networks` takes them.

    Returns
    -------
    DataFrame
        The rows of `saved`: features, weights, source.
    """
    n = samples.probe + REST + samples.k
    test = datasets.load("cifar10", n_train=1, n_val=0, n_test=n, seed=seed).test
    test = test.shuffled(torch.Generator().manual_seed(seed))
    model = models.resnet(net.depth, pretrained=weights == "trained", seed=seed).eval()
    maps = activations.collect(model, test.x, net.layers, batch_size=250)
    found = {"pixels": test.x.flatten(1)} | {q: x.flatten(2).mean(2) if x.ndim > 2 else x for q, x in maps.items()}
    table = saved(found, test.y, seed, classes=10, samples=samples, network=network, coding=coding)
    return table.assign(weights=weights, source=f"ResNet-{net.depth}")


def saved(
    features: Mapping[str, Tensor], y: Tensor, seed: int, *, classes: int, samples: Samples, network: Network,
    coding: Coding,
) -> pd.DataFrame:  # fmt: skip
    """What a perceptron on features saves compared with the first of them, by what each definition sums.

    Parameters
    ----------
    features : mapping of str to Tensor, shape (n, features)
        By name; the first are compared with.
    y : Tensor, shape (n,)
        Labels: `probe` to be sent, then `REST` to calibrate by, then a hold-out.
    seed : int
        Of weights and minibatches.
    classes : int
        How many there are.
    samples, network, coding
        As `of_networks` takes them.

    Returns
    -------
    DataFrame
        A row for each of the features: fractions of a uniform code. "share of prequential": of the code of the probe.
        "share of static": of the loss on the hold-out after the probe. "share of area": of the sum of that loss over
        the labels of the probe.
    """
    rows, n = [], samples.probe
    for name, x in features.items():
        data = Data((x - x.mean()) / x.std(), y)  # one scale for all features: a choice without labels
        probe, rest, holdout = data[:n], data[n : n + REST], data[n + REST :]
        theta, options = start(data, network.hidden, seed, classes), coding.of(n)
        code = transfer.prequential_codelength(initial=theta, data=probe, seed=seed, **options)
        final = transfer.calibrated(trained([theta], [probe], seed, coding)[0], rest)
        options |= {"adapt": "sdl_curve", "pool": probe, "seed": seed}
        del options["mixture"]
        curve = transfer.information_transfer(theta, final, holdout, **options)
        found = {"prequential": code.bits, "static": curve.trained, "area": curve.initial}
        rows.append({"features": name} | {f"share of {q}": bits / n / math.log2(classes) for q, bits in found.items()})
    table = pd.DataFrame(rows).set_index("features")
    return (table.iloc[0] - table).reset_index().assign(seed=seed)


def of_pair(
    pair: Pair, seed: int, direction: Literal["A to B", "B to A"], *, samples: Samples, network: Network, coding: Coding
) -> pd.DataFrame:
    """What a network of one set of a pair saves on the other, in bits.

    Parameters
    ----------
    pair : Pair
        The sets.
    seed : int
        Of data, weights and minibatches.
    direction : "A to B" or "B to A"
        From the set that is learnt to the one whose labels are sent.
    samples : Samples
        Their sizes.
    network : Network
        The perceptrons and their training.
    coding : Coding
        The code and its training.

    Returns
    -------
    DataFrame
        One row: direction; n, samples learnt; the columns of `compare`. Where labels mean other classes the network
        gets a new last layer, so that static and area are 0.
    """
    new = pair.columns["relation"] in ("other classes", "other data")
    classes, sets = max(pair.first.n_classes, pair.second.n_classes), divided(pair, seed, samples)
    options: dict[str, Any] = {"classes": classes, "new": new, "network": network, "coding": coding}
    return of_sets(sets, seed, direction, **options).assign(**pair.columns)


def of_sets(
    sets: Sequence[tuple[Data, Data]],
    seed: int,
    direction: Literal["A to B", "B to A"],
    *,
    classes: int,
    new: bool,
    network: Network,
    coding: Coding,
) -> pd.DataFrame:
    """What `of_pair` measures, on any two sets.

    Parameters
    ----------
    sets : sequence of tuple of Data
        Of each what is learnt or sent, and what is calibrated by.
    seed, direction
        As `of_pair` takes them.
    classes : int
        Outputs of the network.
    new : bool
        Whether it gets a new last layer, and no temperature.
    network, coding
        As `of_pair` takes them.

    Returns
    -------
    DataFrame
        The columns of `of_pair`, but those of the pair.
    """
    (one, rest), (other, _) = sets[:: 1 if direction == "A to B" else -1]
    theta = start(one, network.hidden, seed, classes)
    (model,) = trained([theta], [one], seed, network)
    ready = training.zero_head(model) if new else transfer.calibrated(model, rest)
    found = compare(theta, {direction: ready}, {direction: one}, other, seed=seed, coding=coding)
    found = found.rename(columns={"state": "direction"}).assign(n=len(one), seed=seed)
    return found.assign(**{"area": 0.0, "share of area": 0.0} if new else {})


def increments(pair: Pair, seed: int, *, samples: Samples, network: Network, coding: Coding) -> pd.DataFrame:
    """What two sets share by increments: the transfer of A and that of B minus that of both, one after the other.

    Parameters
    ----------
    pair : Pair
        The sets.
    seed : int
        Of data, weights and minibatches.
    samples : Samples
        `small` of each set are learnt; half of the hold-out is from each.
    network : Network
        The perceptrons and their training.
    coding : Coding
        The code and its training.

    Returns
    -------
    DataFrame
        A row for each direction, definition, and labels of the set that is learnt second, which permuted have nothing
        to do with its images: bits of first, second and both together, and what they share; share, as fraction of a
        uniform code.
    """
    found = of_joined(*both(pair, seed, samples), seed, network=network, coding=coding)
    return found.assign(**pair.columns)


def of_joined(
    pools: Sequence[Data],
    rest: Data,
    holdout: Data,
    seed: int,
    *,
    network: Network,
    coding: Coding,
    labels: Sequence[str] = ("true", "permuted"),
) -> pd.DataFrame:
    """What `increments` measures, on any two sets.

    Parameters
    ----------
    pools : sequence of Data
        A and B.
    rest, holdout : Data
        Calibration set and hold-out, of both.
    seed, network, coding
        As `increments` takes them.
    labels : sequence of str
        Of the set that is learnt second.

    Returns
    -------
    DataFrame
        The columns of `increments`, but those of the pair.
    """
    theta, bit, rows = start(holdout, network.hidden, seed), math.log2(10), []
    sets: dict[Any, Data] = dict(zip("AB", pools, strict=True))
    if "permuted" in labels:
        draws = [(name, pool, torch.Generator().manual_seed(seed)) for name, pool in sets.items()]
        sets |= {f"{name} permuted": pool.permuted_labels(draw) for name, pool, draw in draws}
    alone = dict(zip(sets, trained([theta] * len(sets), list(sets.values()), seed, network), strict=True))
    ways = list(product("AB", labels))
    second = {way: {"A": "B", "B": "A"}[way[0]] + " permuted" * (way[1] == "permuted") for way in ways}
    joined = {way: Data.joined([sets[way[0]], sets[second[way]]]) for way in ways}
    after = trained([alone[first] for first, _ in ways], list(joined.values()), seed, network)
    models = alone | dict(zip(joined, after, strict=True))
    ready: dict[Any, nn.Module] = {name: transfer.calibrated(model, rest) for name, model in models.items()}
    table = compare(theta, ready, sets | joined, holdout, seed=seed, coding=coding)
    for definition, way in product(DEFINITIONS, ways):
        bits = dict(zip(table["state"], table[definition], strict=True))
        found = {"first": bits[way[0]], "second": bits[second[way]], "both": bits[way]}
        shared = found["first"] + found["second"] - found["both"]
        n = len(joined[way]) if definition == "area" else len(holdout)
        found |= {"shared": shared, "share": shared / n / bit}
        rows.append({"direction": f"{way[0]} first", "labels": way[1], "definition": definition} | found)
    return pd.DataFrame(rows).assign(seed=seed)


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
        A row for each network and task, "A" first: heads and method, as in `in_turn`; the columns of `compare` for the
        calibrated network, its area by the pool of that task; raw: static without calibration.
    """
    each, rows, c = tasks(record, seed, samples), [], record.classes
    networks = in_turn([pool for pool, _, _ in each], record, seed, network)
    for i, sets in enumerate(each):
        own = slice(i * c, (i + 1) * c)
        heads = {name: training.narrow(one, own) if name[0] == "own" else one for name, one in networks.items()}
        rows.append(what_is_left(heads, sets, seed, c, network=network, coding=coding).assign(task="ABCDEFGHIJ"[i]))
    return pd.concat(rows).assign(second=record.name, tasks=record.tasks)


def what_is_left(
    networks: Mapping[tuple[str, str], nn.Module],
    sets: Sequence[Data],
    seed: int,
    classes: int,
    *,
    network: Network,
    coding: Coding,
) -> pd.DataFrame:
    """What networks have left of one task, in bits.

    Parameters
    ----------
    networks : mapping
        By heads and method, as from `in_turn`.
    sets : sequence of Data
        Pool, calibration set and hold-out of the task.
    seed : int
        Of weights and minibatches.
    classes : int
        Of the task.
    network, coding
        As `forgetting` takes them.

    Returns
    -------
    DataFrame
        The columns of `forgetting`, but those that name the tasks.
    """
    pool, rest, holdout = sets
    theta = start(holdout, network.hidden, seed, classes)
    ready: dict[Any, nn.Module] = {name: transfer.calibrated(model, rest) for name, model in networks.items()}
    found = compare(theta, ready, dict.fromkeys(ready, pool), holdout, seed=seed, coding=coding)
    found[["heads", "method"]] = found.pop("state").to_list()
    raw = [len(holdout) * math.log2(classes) - transfer.block_bits(model, holdout) for model in networks.values()]
    return found.assign(raw=raw, seed=seed)


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


def _outputs(model: nn.Module) -> int:
    return training.last_linear(model).out_features
