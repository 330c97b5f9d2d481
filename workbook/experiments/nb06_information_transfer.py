"""The experiments of notebook 06, each for one seed: data split, training, calibration, codes, one tidy frame.

Everywhere: perceptrons that begin with a last layer of 0; `fit` are the options of `learning.train` for the networks
under study, `code` those of `transfer.compare` for the codes; one seed decides split, order, weights and minibatches.
A tenth of the pool, at least 100 samples, is kept from training for the inverse temperature of the networks.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from infolib import activations, learning
from infolib.data import Data
from infolib.measures import transfer
from infolib.measures.transfer._coding import block_bits, block_ends
from workbook import datasets, models
from workbook.experiments._continual import SEPARATE, chain, head_of, join, sequence, start

_static = partial(block_bits, mixture=False)


def parts(name: str, seed: int, *, n: int, k: int, noise: float = 0.0) -> tuple[Data, Data, Data]:
    """Pool of n, calibration set and hold-out of k samples, in random order; a share of the labels is redrawn."""
    splits = datasets.load(name, n_train=n + max(100, n // 10), n_val=0, n_test=k, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    pool, rest, holdout = (_shuffled(part, generator) for part in (splits.train[:n], splits.train[n:], splits.test))
    return tuple(_noisy(part, noise, generator) for part in (pool, rest, holdout))


def permuted(data: Data, task: int) -> Data:
    """The same images with their pixels in another order, one for each task; task 0 leaves them."""
    if task == 0:
        return data
    order = torch.randperm(data.x[0].numel(), generator=torch.Generator().manual_seed(task))
    return Data(data.x.flatten(1)[:, order].reshape(data.x.shape), data.y)


def size_and_noise(
    name: str,
    noise: float,
    seed: int,
    *,
    sizes: Sequence[int],
    k: int,
    hidden: Sequence[int],
    fit: Mapping,
    code: Mapping,
) -> pd.DataFrame:
    """Information of networks trained on more and more samples with noisy labels: a row for each n, in bits.

    L_IT and its static reading of the calibrated network; "static, raw" without calibration; "sdl_curve" by left sums
    over `sizes`; memorised: n log2 C less the loss on the network's own n samples; L(M): its model information.
    """
    pool, rest, holdout = parts(name, seed, n=sizes[-1], k=k, noise=noise)
    theta = start(pool, hidden, seed, classes=10)
    raw = dict(zip(sizes, _trained([theta] * len(sizes), [pool[:n] for n in sizes], seed, fit, code), strict=True))
    ready = {n: transfer.calibrated(model, rest) for n, model in raw.items()}
    table = transfer.compare(theta, ready, holdout, seed=seed, **code).rename(columns={"state": "n"})
    table["L0"], bit = table["L"][0], math.log2(10)
    table = table.iloc[1:].astype({"n": int}).assign(name=name, noise=noise, seed=seed)
    own = transfer.prequential_codelength(
        initial=theta, data=pool, ends=sorted({*block_ends(len(pool)), *sizes}), seed=seed, **code
    )
    paid = dict(zip(own.ends[1:], own.costs.cumsum(0).tolist(), strict=True))
    final = {n: _static(model, pool[:n]) for n, model in raw.items()}
    table["static, raw"] = [k * bit - _static(model, holdout) for model in raw.values()]
    table["memorised"] = [n * bit - final[n] for n in sizes]
    table["L(M)"] = [paid[n] - final[n] for n in sizes]
    return table.assign(sdl_curve=_left_sums(sizes, (table["static"] / k).tolist()))


def width(name: str, seed: int, *, n: int, k: int, hidden: Sequence[int], factor: int, fit: Mapping, code: Mapping):
    """L_IT of a network and of one with `factor` times as many units per layer: a row each."""
    pool, rest, holdout = parts(name, seed, n=n, k=k)
    rows = []
    for times in (1, factor):
        theta = start(pool, [times * units for units in hidden], seed, classes=10)
        (model,) = _trained([theta], [pool], seed, fit, code)
        found = transfer.compare(theta, {times: transfer.calibrated(model, rest)}, holdout, seed=seed, **code)
        rows.append(found.iloc[1:].assign(weights=sum(p.numel() for p in model.parameters()), seed=seed))
    return pd.concat(rows).rename(columns={"state": "width"}).astype({"width": int})


def information(name: str, seed: int, *, n: int, hidden: Sequence[int], code: Mapping, classes: Sequence[int] = ()):
    """Prequential codelength of a data set, or of the samples of some classes: a row, and its bits block by block.

    Columns: set (name, n, classes), end of the block, its bits and number of labels, uniform: log2 of the classes.
    """
    pool = datasets.load(name, n_train=n, n_val=0, n_test=1, seed=seed).train
    data = _of_classes(_shuffled(pool, _generator(seed)), classes)
    theta = start(data, hidden, seed, classes=len(classes) or 10)
    found = transfer.prequential_codelength(initial=theta, data=data, seed=seed, **code)
    label = f"{name} {n:,}" + (f", {classes[0]}–{classes[-1]}" if classes else "")
    columns = {"end": found.ends[1:], "bits": found.costs.tolist(), "labels": torch.tensor(found.ends).diff().tolist()}
    return pd.DataFrame(columns).assign(set=label, uniform=math.log2(len(classes) or 10), seed=seed)


def shared(first: str, second: str, seed: int, *, n: int, k: int, hidden: Sequence[int], fit: Mapping, code: Mapping):
    """What a network of n samples of one set saves on k of the other, and the other way round: two rows.

    Both directions use the same two sets of samples, of n and of k. A set is a name, or a name with classes, as
    "digits 0-4", whose labels are then counted from 0. Where the two sets' labels mean something else the network gets
    a new last layer. "digits permuted" has its pixels permuted.
    """
    same = first.removesuffix(" permuted") == second.removesuffix(" permuted")
    a, b = _named(first, seed, n, half=0), _named(second, seed, k, half=1)
    rest = [part[len(part) * 9 // 10 :] for part in (a, b)]  # each set's last tenth calibrates
    a, b = (part[: len(part) * 9 // 10] for part in (a, b))
    rows = []
    for one, calibration, other, arrow in ((a, rest[0], b, "A to B"), (b, rest[1], a, "B to A")):
        theta = start(one, hidden, seed, classes=int(max(a.y.max(), b.y.max())) + 1)
        (model,) = _trained([theta], [one], seed, fit, code)
        ready = transfer.calibrated(model, calibration) if same else learning.zero_head(model)
        found = transfer.compare(theta, {arrow: ready}, other, seed=seed, **code)
        rows.append(found.iloc[1:].assign(pair=f"{first} | {second}", n=len(one), seed=seed))
    table = pd.concat(rows).rename(columns={"state": "direction"})
    return table.assign(share=table["L_IT"] / table["k"] / math.log2(theta.output.out_features))


def increments(
    first: str, second: str, seed: int, *, n: int, k: int, hidden: Sequence[int], fit: Mapping, code: Mapping
) -> pd.DataFrame:
    """Information that two data sets share by increments, L_IT(A) + L_IT(B) - L_IT(both), on k samples: two rows.

    The less B adds to a network that knows A, the more they share. The network of both goes on from that of one set, in
    either direction, with n samples of each; half of the k are of each set. Sets as in `shared`, but all labels keep
    their meaning. Columns: pair, direction, A, B, both, shared, in bits; share of k log2 C.
    """
    sets = [_named(text, seed, n + n // 9 + k // 2, half=half, own=False) for half, text in enumerate((first, second))]
    pools = [one[:n] for one in sets]
    rest, holdout = (
        _shuffled(join([one[part] for one in sets]), _generator(seed))
        for part in (slice(n, n + n // 9), slice(n + n // 9, None))
    )
    theta = start(pools[0], hidden, seed, classes=10)
    alone = _trained([theta] * 2, pools, seed, fit, code)
    both = _trained(alone, [join(pools)] * 2, seed, fit, code)
    ready = {i: transfer.calibrated(model, rest) for i, model in enumerate([*alone, *both])}
    a, b, *ab = transfer.compare(theta, ready, holdout, seed=seed, **code)["L_IT"].iloc[1:]
    table = pd.DataFrame({"direction": ["A to B", "B to A"], "A": a, "B": b, "both": ab}).assign(seed=seed)
    shared = a + b - table["both"]
    return table.assign(pair=f"{first} | {second}", shared=shared, share=shared / len(holdout) / math.log2(10))


def features(
    task: str,
    source: str,
    seed: int,
    *,
    n: int,
    k: int,
    hidden: Sequence[int],
    fit: Mapping,
    code: Mapping,
    shuffle=False,
) -> pd.DataFrame:
    """Codelength of k labels of a task from pixels, random features and features of a network of another task.

    The network is trained on n samples of `source`, its features are its last hidden layer; the probe is a perceptron
    of the same `hidden`. Columns: features, L in bits, saved: L from pixels less L; share of
    k log2 C. With `shuffle` the labels are permuted.
    """
    data, other = _named(task, seed, k, half=1), _named(source, seed, n, half=0)
    if shuffle:
        data = Data(data.x, data.y[torch.randperm(k, generator=torch.Generator().manual_seed(seed))])
    untrained = models.mlp([other.x[0].numel(), *hidden, int(other.y.max()) + 1], seed=seed)
    (trained,) = _trained([learning.zero_head(untrained)], [other], seed, fit, code)
    layer = f"hidden{len(hidden)}"
    kinds = {"pixels": data.x.flatten(1)}
    for kind, model in (("random", untrained), ("other task", trained)):
        kinds[kind] = activations.collect(model, data.x, [layer])[layer]
    return _codelengths(kinds, data.y, seed, hidden=hidden, code=code).assign(task=task, source=source)


def depths(layers: Sequence[str], seed: int, *, k: int, hidden: Sequence[int], code: Mapping, depth: int = 20):
    """The same from pixels and several layers of the public ResNet for CIFAR-10, trained and not, on k test images.

    Maps enter by the mean over positions. The network has seen the task's labels, of other images.
    """
    data = _shuffled(datasets.load("cifar10", n_train=1, n_val=0, n_test=k, seed=seed).test, _generator(seed))
    kinds = {"pixels": data.x.flatten(1)}
    for kind, trained in (("random", False), ("trained", True)):
        model = models.resnet(depth, pretrained=trained, seed=seed).eval()
        recorded = activations.collect(model, data.x, layers, batch_size=250)
        kinds |= {f"{kind} {name}": t.flatten(2).mean(2) if t.ndim > 2 else t for name, t in recorded.items()}
    return _codelengths(kinds, data.y, seed, hidden=hidden, code=code).assign(task="cifar10", source=f"ResNet-{depth}")


def forgetting(
    name: str,
    second: str,
    seed: int,
    *,
    n: int,
    k: int,
    hidden: Sequence[int],
    methods: Mapping[str, float],
    fit: Mapping,
    code: Mapping,
) -> pd.DataFrame:
    """What networks that were trained on task A, then on B, know of both: a row for each network and task.

    `second` is "permuted" (pixels), or "split": A is of the classes 0 to 4, B of 5 to 9, labels counted from 0. Methods
    with their strength: "plain", "EWC", "replay" (number of stored samples), "joint", "LwF" (with heads of their own,
    and "own heads" without its penalty). The rows "after A" and "B only" are the references; those of networks with
    separate heads are "after A, own heads" and "B only, own heads".

    Columns: network, task, L_IT, static (calibrated), raw (static, not calibrated), accuracy.
    """
    tasks = [_task(name, second, task, seed, n=n, k=k) for task in (0, 1)]
    classes = 5 if second == "split" else 10
    networks = sequence([task[0] for task in tasks], seed, hidden, classes, methods, fit)
    rows = []
    for task, (_pool, rest, holdout) in enumerate(tasks):
        theta = start(holdout, hidden, seed, classes=classes)
        heads = {label: head_of(model, task, classes) for label, model in networks.items()}
        ready = {label: transfer.calibrated(model, rest) for label, model in heads.items()}
        found = transfer.compare(theta, ready, holdout, seed=seed, **code).iloc[1:]
        raw = [k * math.log2(classes) - _static(model, holdout) for model in heads.values()]
        rows.append(found.assign(task="AB"[task], raw=raw, seed=seed, second=second))
    return pd.concat(rows).rename(columns={"state": "network"})


def retentions(table: pd.DataFrame) -> pd.DataFrame:
    """`transfer.retention` of each method's network in a table of `forgetting`: a row for each, seed and task.

    For task B the roles of the two references are exchanged. Columns: second, seed, task, method, forgetting (bits),
    retention; share and raw share: L_IT and raw static reading over those of the network that knows the task.
    """
    rows = []
    for (second, seed, task), group in table.groupby(["second", "seed", "task"], sort=False):
        found = group.set_index("network")
        for method in found.index[~found.index.str.contains("after|only")]:
            own = ", own heads" if method in SEPARATE else ""
            knows, other = (f"{name}{own}" for name in ("after A", "B only")[:: 1 if task == "A" else -1])
            kept = transfer.retention(*found.loc[[knows, method, other], "L_IT"])
            of = found.loc[method, ["L_IT", "raw"]] / found.loc[knows, ["L_IT", "raw"]]
            numbers = {"forgetting": float(kept.forgetting), "retention": float(kept.retention)}
            numbers |= {"share": of["L_IT"], "raw share": of["raw"]}
            rows.append({"second": second, "seed": seed, "task": task, "method": method} | numbers)
    return pd.DataFrame(rows)


def tasks_in_sequence(
    name: str,
    seed: int,
    *,
    tasks: int,
    n: int,
    k: int,
    hidden: Sequence[int],
    methods: Mapping,
    fit: Mapping,
    code: Mapping,
) -> pd.DataFrame:
    """L_IT of each of several permuted tasks after the last one has been trained: a row for each method and task.

    Methods as in `forgetting`; "own heads" is one of them here, and has the output layers of "LwF" without its penalty.
    """
    data = [_task(name, "permuted", task, seed, n=n, k=k) for task in range(tasks)]
    ended = {method: chain([d[0] for d in data], method, value, seed, hidden, fit) for method, value in methods.items()}
    rows = []
    for task, (_pool, rest, holdout) in enumerate(data):
        theta = start(holdout, hidden, seed, classes=10)
        ready = {method: transfer.calibrated(head_of(model, task, 10), rest) for method, model in ended.items()}
        found = transfer.compare(theta, ready, holdout, seed=seed, **code)
        rows.append(found.iloc[1:].assign(task=task + 1, seed=seed))
    return pd.concat(rows).rename(columns={"state": "method"})


def table_task(seed: int, *, cells: int = 64, n: int = 100, k: int = 128) -> dict[str, float]:
    """L_IT of a linear network on a table of random labels, what counting says it must be, and that for other blocks.

    A cell's label is known once it has been seen: each label of a new cell costs log2 10 bits, every other nothing.
    """
    generator = _generator(seed)
    labels, at = torch.randint(10, (cells,), generator=generator), torch.randint(cells, (n + k,), generator=generator)
    data = Data(torch.eye(cells)[at], labels[at])
    theta = nn.Sequential(nn.Flatten(), nn.Linear(cells, 10, bias=False))
    nn.init.zeros_(theta[1].weight)
    learner = partial(transfer.network, steps=300, batch_size=64, lr=0.3)
    trained = learner(theta, data[:n], seed)
    found = transfer.information_transfer(theta, trained, data[n:], learner=learner, seed=seed).bits
    known = at[:n].tolist()
    counted = {r: _new_cells(at[n:], block_ends(k, ratio=r), []) - _new_cells(at[n:], block_ends(k, ratio=r), known)
               for r in (2, 1.3)}  # fmt: skip
    return {"network": found, "counted": math.log2(10) * counted[2], "other blocks": math.log2(10) * counted[1.3]}


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _shuffled(data: Data, generator: torch.Generator) -> Data:
    return data[torch.randperm(len(data), generator=generator)]


def _noisy(data: Data, share: float, generator: torch.Generator) -> Data:
    redrawn = torch.rand(len(data), generator=generator) < share
    drawn = torch.randint(10, (len(data),), generator=generator)
    return Data(data.x, torch.where(redrawn, drawn, data.y))


def _of_classes(data: Data, classes: Sequence[int]) -> Data:
    if not classes:
        return data
    chosen = data[torch.isin(data.y, torch.tensor(classes))]
    return Data(chosen.x, chosen.y - classes[0])


def _named(text: str, seed: int, n: int, *, half: int, own: bool = True) -> Data:
    """N samples of a set, from the first or the second half of one random order, as described in `shared`.

    Labels of chosen classes are counted from 0 if they are the set's `own`.
    """
    name, _, which = text.partition(" ")
    pool = datasets.load(name, n_val=0, n_test=0 if name == "digits" else 1, seed=seed).train
    pool = _shuffled(pool, _generator(seed))
    pool = pool[: len(pool) // 2] if half == 0 else pool[len(pool) // 2 :]
    if which == "permuted":
        return permuted(pool[:n], 1)
    low, high = map(int, which.split("-")) if which else (0, 9)
    chosen = _of_classes(pool, range(low, high + 1) if which else ())[:n]
    return chosen if own else Data(chosen.x, chosen.y + low)


def _task(name: str, second: str, task: int, seed: int, *, n: int, k: int) -> tuple[Data, Data, Data]:
    if second == "permuted":
        return tuple(permuted(part, task) for part in parts(name, seed, n=n, k=k))
    return tuple(
        _of_classes(part, range(5 * task, 5 * task + 5))[:size]
        for part, size in zip(parts(name, seed, n=5 * n // 2, k=5 * k // 2), (n, n, k), strict=True)
    )


def _trained(starts: Sequence[Any], data: Sequence[Data], seed: int, fit: Mapping, code: Mapping) -> list[Any]:
    if code.get("batched"):
        return learning.train_many(starts, data, seed=seed, **fit)
    return [learning.train(theta, one, seed=seed, **fit) for theta, one in zip(starts, data, strict=True)]


def _left_sums(sizes: Sequence[int], gains: Sequence[float]) -> list[float]:
    """Sum over i < n of the gain of θ_n beyond that of θ_i (bits per label), θ_i held from each size to the next."""
    edges, known = [0, *sizes], [0.0, *gains]
    return [sum((edges[i + 1] - edges[i]) * (known[j] - known[i]) for i in range(j)) for j in range(1, len(edges))]


def _codelengths(
    kinds: Mapping[str, Tensor], y: Tensor, seed: int, *, hidden: Sequence[int], code: Mapping
) -> pd.DataFrame:
    rows = []
    for kind, x in kinds.items():
        data = Data((x - x.mean()) / x.std(), y)  # one scale for all features: a choice without labels
        found = transfer.prequential_codelength(initial=start(data, hidden, seed), data=data, seed=seed, **code)
        rows.append({"features": kind, "L": found.bits, "k": len(y), "seed": seed})
    table = pd.DataFrame(rows)
    saved = table["L"][0] - table["L"]
    return table.assign(saved=saved, share=saved / len(y) / math.log2(int(y.max()) + 1))


def _new_cells(at: Tensor, ends: Sequence[int], known: Sequence[int]) -> int:
    """How many samples come from a cell that is neither known nor seen before their block."""
    at = at.tolist()
    return sum(cell not in {*known, *at[:i]} for i, j in pairwise(ends) for cell in at[i:j])
