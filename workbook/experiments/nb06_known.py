"""Positive controls of notebook 06: its measures, on images of which it is known what transfers.

A known image has one lit pixel, beside noise too faint to matter, by which no two are alike. Its kind, the pixel, has
one class: whoever has seen a kind knows the class of its images, and nobody else does. There are `KINDS` kinds of each
class, and as many `other` ones.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Literal, NamedTuple, get_args

import pandas as pd
import torch
from torch.nn.functional import one_hot

from infolib import training
from infolib.data import Data
from workbook.experiments import nb06_measures as measure
from workbook.experiments.nb06_information_transfer import REST, Coding, Network, Samples, start, trained

CLASSES, KINDS = 10, 5
SIZES = [25, 50, 100, 200, 400]  # training samples of networks that differ in them
HELD_OUT = 200  # labels that are sent, by networks that differ in what they have seen
SAMPLES = Samples(data="digits", n=200, small=100, k=100)  # of the other experiments; no image is of that set
NETWORKS = ("perceptron, random", "perceptron, other task")
Relation = Literal["same", "permuted pixels", "other classes"]
Direction = Literal["A to B", "B to A"]


def images(n: int, seed: int, *, kinds: Sequence[int] = range(KINDS), other: bool = False, turn: int = 0) -> Data:
    """Known images with their labels, at random.

    Parameters
    ----------
    n : int
        How many.
    seed : int
        Of classes and kinds.
    kinds : sequence of int
        Which of the kinds of each class there are.
    other : bool
        Whether they are the other kinds.
    turn : int
        By how many classes the labels are turned: each becomes the one so many after it.

    Returns
    -------
    Data
    """
    draw = torch.Generator().manual_seed(seed)
    y, of = (torch.randint(most, (n,), generator=draw) for most in (CLASSES, len(kinds)))
    pixel = y * KINDS + torch.tensor(kinds)[of] + CLASSES * KINDS * other
    x = one_hot(pixel, 2 * CLASSES * KINDS) + 0.01 * torch.randn(n, 2 * CLASSES * KINDS, generator=draw)
    return Data(x, (y + turn) % CLASSES)


def in_steps(seed: int, sizes: Sequence[int], *, noise: float = 0.0, turn: int = 0) -> list[Data]:
    """Pool, calibration set and hold-out, where each step from one size to the next brings kinds of its own.

    Parameters
    ----------
    seed : int
        Of images and noise.
    sizes : sequence of int
        They rise, and there are at most `KINDS`.
    noise : float
        Share of all labels that are drawn anew.
    turn : int
        By how many classes the labels of the hold-out are turned.

    Returns
    -------
    list of Data
    """
    ends, draw = [KINDS * i // len(sizes) for i in range(len(sizes) + 1)], torch.Generator().manual_seed(seed)
    steps = [n - before for before, n in zip([0, *sizes], sizes, strict=False)]
    pool = [images(n, 100 * seed + i, kinds=range(*ends[i : i + 2])) for i, n in enumerate(steps)]
    rest, holdout = images(REST, 100 * seed + 98), images(HELD_OUT, 100 * seed + 99, turn=turn)
    return [part.noisy_labels(noise, generator=draw) for part in (Data.joined(pool), rest, holdout)]


def once(seed: int, n: int) -> list[Data]:
    """Pool, calibration set and hold-out of images none of which occurs twice, with random labels.

    Parameters
    ----------
    seed : int
        Of the labels.
    n : int
        Images of the pool.

    Returns
    -------
    list of Data
    """
    every = n + REST + HELD_OUT
    data = Data(torch.eye(every), torch.randint(CLASSES, (every,), generator=torch.Generator().manual_seed(seed)))
    return [data[:n], data[n : n + REST], data[n + REST :]]


def sizes(noise: float, times: int, seed: int, *, network: Network, coding: Coding) -> pd.DataFrame:
    """Networks that have seen more and more kinds.

    Parameters
    ----------
    noise : float
        As `in_steps` takes it.
    times : int
        As many times the units.
    seed, network, coding
        As `checks` takes them.

    Returns
    -------
    DataFrame
        Of `measure.of_sizes`.
    """
    sets, hidden = in_steps(seed, SIZES, noise=noise), [times * units for units in network.hidden]
    found = measure.of_sizes(sets, seed, hidden, sizes=SIZES, network=network, coding=coding)
    return found.assign(noise=noise)


def pair(relation: Relation, seed: int) -> list[tuple[Data, Data]]:
    """Two sets of one size, each with what is calibrated by.

    Parameters
    ----------
    relation : str
        What B is to A: "same" kinds; "permuted pixels", the other kinds; or "other classes", the same kinds under other
        names.
    seed : int
        Of the images.

    Returns
    -------
    list of tuple of Data
    """
    differ: dict[str, Any] = {"other": relation == "permuted pixels", "turn": int(relation == "other classes")}
    n = SAMPLES.small
    sets = [images(2 * n, 2 * seed), images(2 * n, 2 * seed + 1, **differ)]
    return [(one[:n], one[n:]) for one in sets]


def of_pair(relation: Relation, seed: int, direction: Direction, *, network: Network, coding: Coding) -> pd.DataFrame:
    """What a network of one set saves on the other.

    Parameters
    ----------
    relation, seed
        As `pair` takes them.
    direction : "A to B" or "B to A"
        From the set that is learnt to the one whose labels are sent.
    network, coding
        As `checks` takes them.

    Returns
    -------
    DataFrame
        Of `measure.of_sets`, with a new last layer where classes are other ones.
    """
    sets, new = pair(relation, seed), relation == "other classes"
    options: dict[str, Any] = {"classes": CLASSES, "new": new, "network": network, "coding": coding}
    return measure.of_sets(sets, seed, direction, **options).assign(relation=relation)


def increments(relation: Relation, seed: int, *, network: Network, coding: Coding) -> pd.DataFrame:
    """What two sets share by increments.

    Parameters
    ----------
    relation : str
        As `pair` takes it.
    seed, network, coding
        As `checks` takes them.

    Returns
    -------
    DataFrame
        Of `measure.of_joined`; what sets of other kinds share is in the place of what permuted labels share.
    """
    (a, rest_a), (b, rest_b) = pair(relation, seed)
    half = SAMPLES.k // 2
    rest, new = (Data.joined([rest_a[part], rest_b[part]]) for part in (slice(0, half), slice(half, 2 * half)))
    found = measure.of_joined([a, b], rest, new, seed, network=network, coding=coding, labels=["true"])
    return found.assign(labels="true" if relation == "same" else "permuted", relation="same")


def features(names: Sequence[str], seed: int, *, network: Network, coding: Coding) -> pd.DataFrame:
    """What features save compared with noise, where each tells the classes of more images than the one before.

    Parameters
    ----------
    names : sequence of str
        Of the features: the i-th of m tell the classes of i m-ths of the images, and the last ones of all.
    seed, network, coding
        As `checks` takes them.

    Returns
    -------
    DataFrame
        Of `measure.saved`.
    """
    y = images(SAMPLES.probe + REST + SAMPLES.k, seed).y
    draw = torch.Generator().manual_seed(seed)
    noise, place = torch.randn(len(y), CLASSES, generator=draw), torch.rand(len(y), 1, generator=draw)
    told = {q: one_hot(y, CLASSES) * (place * len(names) < i) for i, q in enumerate(names, 1)}
    found = {"pixels": noise} | {q: x + 0.01 * noise for q, x in told.items()}
    return measure.saved(found, y, seed, classes=CLASSES, samples=SAMPLES, network=network, coding=coding)


def forgetting(seed: int, *, network: Network, coding: Coding) -> pd.DataFrame:
    """What is left of task A in networks of which it is known.

    Parameters
    ----------
    seed, network, coding
        As `checks` takes them.

    Returns
    -------
    DataFrame
        Of `measure.what_is_left`; second: "known", where plain has learnt the other kinds alone, EWC and replay also
        the first two kinds of A, and joint all of A; or "exchanged", where plain is the network of A whose outputs
        have changed places.
    """
    n = SAMPLES.n
    pool, rest, holdout = images(n, 3 * seed), images(REST, 3 * seed + 1), images(SAMPLES.k, 3 * seed + 2)
    part, b = images(n, 3 * seed, kinds=(0, 1)), images(n, 3 * seed + 1, other=True)
    sets = [pool, b, Data.joined([part, b]), Data.joined([pool, b])]
    nets = trained([start(pool, network.hidden, seed)] * 4, sets, seed, network)
    turned = copy.deepcopy(nets[0])
    with torch.no_grad():
        for weights in training.last_linear(turned).parameters():
            weights.copy_(weights.roll(1, 0))
    known = {"known": dict(zip(("after A", "plain", "EWC", "joint"), nets, strict=True))}
    known["exchanged"] = {"after A": nets[0], "plain": turned}
    known["known"]["replay"] = nets[2]
    tables = [
        measure.what_is_left({("shared", name): net for name, net in of.items()}, (pool, rest, holdout), seed, CLASSES,
                             network=network, coding=coding).assign(second=second, task="A")
        for second, of in known.items()
    ]  # fmt: skip
    return pd.concat(tables)


def checks(seed: int, *, network: Network, coding: Coding) -> pd.DataFrame:
    """The networks of the smallest pool with a known answer, for one seed.

    Parameters
    ----------
    seed : int
        Of images, weights and minibatches.
    network : Network
        The perceptrons and their training.
    coding : Coding
        The code and its training.

    Returns
    -------
    DataFrame
        Of `measure.of_sizes`; experiment: "turned", where the labels of the hold-out are, so that all that was learnt
        is wrong, and "once".
    """
    n, how = SIZES[:1], _at_once(network, coding)
    tables = [
        measure.of_sizes(sets, seed, network.hidden, sizes=n, **how).assign(experiment=name, noise=1)
        for name, sets in {"turned": in_steps(seed, n, turn=1), "once": once(seed, *n)}.items()
    ]
    return pd.concat(tables).assign(data="known")


class Answers(NamedTuple):
    """All other experiments with a known answer.

    Parameters
    ----------
    sizes, widths, pairs, increments, features, layers, forgetting : DataFrame
        Of the functions here and their measures; `layers` is of other features where none are named.
    """

    sizes: pd.DataFrame
    widths: pd.DataFrame
    pairs: pd.DataFrame
    increments: pd.DataFrame
    features: pd.DataFrame
    layers: pd.DataFrame
    forgetting: pd.DataFrame


def answers(seed: int, *, network: Network, coding: Coding, layers: Sequence[str] = ()) -> Answers:
    """All other experiments with a known answer, for one seed.

    Parameters
    ----------
    seed, network, coding
        As `checks` takes them.
    layers : sequence of str
        Names of layers for features; none: those of two networks again.

    Returns
    -------
    Answers
    """
    how = _at_once(network, coding)
    levels = [sizes(noise, 1, seed, **how) for noise in (0, 0.2, 0.5, 1)]
    widths = pd.concat([levels[0], sizes(0, 4, seed, **how)])
    sides = product(get_args(Relation), get_args(Direction))
    told = features(NETWORKS, seed, **how)
    parts = {
        "sizes": pd.concat(levels),
        "widths": widths[widths["n"] == SIZES[-1]],
        "pairs": pd.concat([of_pair(relation, seed, direction, **how) for relation, direction in sides]),
        "increments": pd.concat([increments(relation, seed, **how) for relation in ("same", "permuted pixels")]),
        "features": told.assign(task="known", labels="true"),
        "layers": (features(layers, seed, **how) if layers else told).assign(weights="known", source="known"),
        "forgetting": forgetting(seed, **how),
    }
    return Answers(**{name: table.assign(data="known").reset_index(drop=True) for name, table in parts.items()})


def _at_once(network: Network, coding: Coding) -> dict[str, Any]:
    """Both schedules for networks that are trained at once in as many steps, which is faster where they are small."""
    found: dict[str, Any] = {"network": network, "coding": coding}
    for name, one in found.items():
        steps = max(1, one.steps, round(one.epochs * SIZES[-1] / one.batch_size))
        found[name] = replace(one, at_once=True, epochs=0.0, steps=steps)
    return found
