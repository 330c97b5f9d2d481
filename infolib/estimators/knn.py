"""Mutual information from nearest neighbours: of continuous variables, and of a continuous with a discrete one."""

import math
from typing import Any, Literal

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import digamma
from torch import Tensor

from infolib import checks

TREE_DIMENSIONS = 10  # with more, a k-d tree visits all the samples, and plain distances are faster
TREE_TIES = 5  # with more, `topk` decides between neighbours at equal distances, on which estimator 2 depends
BLOCK = 256  # samples whose distances to all the others are held at once
SET, QUERIES = 2048, 8192  # samples in a row of bits, a multiple of 64; samples whose rows are held at once


def mutual_information(x: Any, y: Any, *, k: int = 5, estimator: Literal[1, 2] = 1) -> Tensor:
    """Mutual information I(X;Y) in bits from k nearest neighbours (Kraskov, Stögbauer & Grassberger 2004).

    With the maximum norm and the distance e_i to the k-th neighbour of sample i in the joint space, in nats,

        estimator 1:  psi(k) + psi(n) - <psi(n_x + 1) + psi(n_y + 1)>            (Kraskov et al. 2004, eq. 8)
        estimator 2:  psi(k) - 1/k + psi(n) - <psi(n_x) + psi(n_y)>              (Kraskov et al. 2004, eq. 9)

    In estimator 1, n_x counts the other samples nearer than e_i in x alone. In estimator 2, it counts those no farther
    than the farthest in x of the k neighbours. The neighbours are exact. No noise is added.

    Parameters
    ----------
    x, y : array_like, shape (n, *features)
        Samples of X and of Y, in any unit. The value depends on the scale of each feature: standardise the features.
    k : int
        Number of neighbours, from 1 to n - 1.
    estimator : 1 or 2
        Which of the two formulas.

    Returns
    -------
    Tensor, shape ()
        I(X;Y) in bits, float64; can be negative.

    Raises
    ------
    ValueError
        For NaN or infinite values, different n, n < 2, k < 1, k >= n or another estimator. Also where more than k
        samples are equal in x or in y: there is no density to estimate.

    Examples
    --------
    >>> x = torch.linspace(0, 1, 64)
    >>> mutual_information(x, x, k=1) > 4
    tensor(True)
    """
    if isinstance(estimator, bool):
        raise ValueError(f"estimator must be 1 or 2, got {estimator}")
    samples = [checks.floats("x", x), checks.floats("y", y)]
    n = checks.at_least("x: n", len(samples[0]), 2)
    if len(samples[1]) != n:
        raise ValueError(f"x and y must have the same n, got {n} and {len(samples[1])}")
    if checks.at_least("k", k, 1) >= n:
        raise ValueError(f"k must be below n, got k={k} for n={n}")
    x, y = (values.detach().reshape(n, -1).cpu().double().numpy() for values in samples)
    for name, values in (("x", x), ("y", y)):
        single = values.shape[1] == 1  # sorting numbers is faster than sorting rows
        if (equal := np.unique(values, axis=None if single else 0, return_counts=True)[1].max()) > k:
            raise ValueError(
                f"{name} must have a density, but {equal} of its samples are equal, more than k={k}: use "
                "label_mutual_information for one discrete variable, discrete.mutual_information for two"
            )
    distance, neighbour = _nearest(np.hstack([x, y]), k + 1)  # (n, k + 1), the sample itself included
    if estimator == 1:
        nearer = np.nextafter(distance[:, k], 0)  # strictly nearer than the k-th neighbour
        nats = digamma(k) - sum(digamma(_count(v, nearer)).mean() for v in (x, y))
    else:
        farthest = [np.max([np.abs(v[j] - v).max(1) for j in neighbour.T], 0) for v in (x, y)]
        counts = [_count(v, radius) - 1 for v, radius in zip((x, y), farthest, strict=True)]
        nats = digamma(k) - 1 / k - sum(digamma(count).mean() for count in counts)
    return torch.tensor((nats + digamma(n)) / math.log(2), dtype=torch.float64, device=samples[0].device)


def label_mutual_information(x: Any, y: Any, *, k: int = 3) -> Tensor:
    """Mutual information I(X;Y) in bits of a continuous X and a discrete Y from k nearest neighbours (Ross 2014).

    In nats, with averages over the samples i (Ross 2014, eq. 2):

        psi(n) + psi(k) - <psi(n_y)> - <psi(m)>

    Here n_y is the number of samples with the symbol of sample i, and the radius of sample i is the distance to its
    k-th neighbour among them. m counts the samples of any symbol, sample i included, that are nearer than the radius.
    The norm is the maximum norm, the neighbours are exact, and no noise is added.

    Parameters
    ----------
    x : array_like, shape (n, *features)
        Samples of X, in any unit. The value depends on the scale of each feature: standardise the features.
    y : array_like of int, shape (n,)
        Symbols.
    k : int
        Number of neighbours, at least 1.

    Returns
    -------
    Tensor, shape ()
        I(X;Y) in bits, float64; can be negative.

    Raises
    ------
    ValueError
        For NaN or infinite x, symbols that are not integers of shape (n,), k < 1, or a symbol with no more than k
        samples. Also where more than k samples of one symbol are equal.

    Examples
    --------
    >>> label_mutual_information([0.0, 0.1, 0.2, 5.0, 5.1, 5.2], [0, 0, 0, 1, 1, 1], k=1)
    tensor(1.1301, dtype=torch.float64)
    """
    x = checks.floats("x", x)
    y = checks.labels("y", y, len(x)).cpu().unique(return_inverse=True, return_counts=True)[1:]
    place, (of, size) = x.detach().reshape(len(x), -1).cpu().double().numpy(), y
    if checks.at_least("k", k, 1) >= size.min():
        raise ValueError(f"k must be below the samples of each symbol, got k={k} and a symbol with {size.min()}")
    radius = np.empty(len(place))
    for members in np.split(of.argsort(stable=True).numpy(), size.cumsum(0)[:-1]):
        radius[members] = _nearest(place[members], k + 1)[0][:, k]
    if not radius.all():
        raise ValueError(f"x must have a density, but over k={k} samples of one symbol are equal: use discrete")
    nearer = _count(place, np.nextafter(radius, 0))
    nats = digamma(len(place)) + digamma(k) - digamma(size[of].numpy()).mean() - digamma(nearer).mean()
    return torch.tensor(nats / math.log(2), dtype=torch.float64, device=x.device)


def _nearest(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance and index of the k samples nearest to each sample: (n, k)."""
    n, features = x.shape
    rows, distance, index = np.arange(n), np.empty((n, k)), np.empty((n, k), int)
    if features <= TREE_DIMENSIONS:
        tree, more = cKDTree(x), features > TREE_TIES
        order = tree.indices  # so that one after another visits the same nodes
        found, which = tree.query(x[order], k + more, p=math.inf)
        distance[order], index[order] = found[:, :k], which[:, :k]
        rows = order[found[:, k - 1] == found[:, k]] if more else rows[:0]
    for block in np.split(rows, range(BLOCK, len(rows), BLOCK)):
        nearest = torch.from_numpy(cdist(x[block], x, "chebyshev")).topk(k, largest=False)
        distance[block], index[block] = nearest.values, nearest.indices
    return distance, index


def _count(x: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """How many samples lie within each sample's radius, itself included: (n,).

    They lie in an interval of every feature. A set of samples is a row of bits, an interval the set of those below its
    upper end except those below its lower end, and a box the intersection of intervals.
    """
    intervals = [_interval(feature, radius) for feature in x.T]
    rank, lowest, highest = min(intervals, key=lambda interval: (interval[2] - interval[1]).mean())
    if len(intervals) == 1:
        return highest - lowest
    n, count, order, bits = len(x), np.zeros(len(x), int), rank.argsort(), np.arange(SET, dtype=np.uint64)
    for queries in np.split(order, range(QUERIES, n, QUERIES)):
        for start in range(lowest[queries].min(), highest[queries].max(), SET):  # sets beyond are in no interval
            members = order[start : start + SET]
            place, inside = np.arange(len(members)), np.full((len(queries), SET // 64), ~np.uint64(0))
            for rank, low, high in intervals:
                smaller = np.zeros(n + 1, int)  # how many of the members are below each rank
                smaller[rank[members] + 1] = 1
                smaller = smaller.cumsum()
                below = np.zeros((len(members) + 1, SET // 64), np.uint64)  # and which
                below[smaller[rank[members] + 1], place // 64] = np.uint64(1) << bits[: len(members)] % 64
                np.bitwise_xor.accumulate(below, out=below)
                between = below[smaller[high[queries]]]
                between ^= below[smaller[low[queries]]]
                inside &= between
            count[queries] += np.bitwise_count(inside).sum(1, dtype=int)
    return count


def _interval(x: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rank of each sample of one feature, the lowest rank within its radius, and the first rank above: (n,) each."""
    order = x.argsort()
    x, radius = x[order], radius[order]
    rank, low, high = np.empty((3, len(x)), np.int32)
    rank[order] = np.arange(len(x))
    low[order] = len(x) - _reach(-x[::-1], -x, radius)
    high[order] = _reach(x, x, radius)
    return rank, low, high


def _reach(ordered: np.ndarray, x: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """How many of the ordered values exceed each x by at most the radius, as rounded differences tell."""
    margin = 4 * np.finfo(float).eps * np.maximum(abs(x), radius)  # more than sums and differences round
    low = ordered.searchsorted(x - margin + (radius - margin))
    high = ordered.searchsorted(x + margin + (radius + margin), "right")
    while len(unsure := np.flatnonzero(low < high)):
        middle = (low[unsure] + high[unsure]) // 2
        within = ordered[middle] - x[unsure] <= radius[unsure]
        low[unsure[within]], high[unsure[~within]] = middle[within] + 1, middle[~within]
    return low


checks.guard(globals())
