"""Mutual information from nearest neighbours: of continuous variables, and of a continuous with a discrete one."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.special import digamma
from torch import Tensor

from infolib import checks

TREE_DIMENSIONS = 5  # with more, a k-d tree visits all the samples, and plain distances are faster
BLOCK = 256  # samples whose distances to all the others are held at once


def mutual_information(x: Any, y: Any, *, k: int = 5, estimator: int = 1) -> Tensor:
    """Mutual information I(X;Y) of samples x (n, *features) and y (n, *features), by Kraskov, Stögbauer & Grassberger.

    With the maximum norm and the distance e_i to the k-th neighbour of sample i in the joint space,

        estimator 1:  psi(k) + psi(n) - <psi(n_x + 1) + psi(n_y + 1)>            (Kraskov et al. 2004, eq. 8)
        estimator 2:  psi(k) - 1/k + psi(n) - <psi(n_x) + psi(n_y)>              (Kraskov et al. 2004, eq. 9)

    where n_x counts the other samples nearer than e_i in x alone (1), or no farther than the farthest in x of the k
    neighbours (2). In bits; can be negative. The neighbours are exact. The estimate needs densities: no noise is added,
    and more than k equal samples, in x or in y, are refused. Scale matters: standardise features.

    Raises: ValueError for NaN or infinite values, different n, n < 2, k < 1 or k >= n, another estimator, or such ties.

    >>> x = torch.linspace(0, 1, 64)
    >>> mutual_information(x, x, k=1) > 4
    tensor(True)
    """
    if estimator not in (1, 2):
        raise ValueError(f"estimator must be 1 or 2, got {estimator}")
    samples = [checks.floats("x", x), checks.floats("y", y)]
    n = checks.at_least("n", len(samples[0]), 2)
    if len(samples[1]) != n:
        raise ValueError(f"x and y must have the same n, got {n} and {len(samples[1])}")
    if checks.at_least("k", k, 1) >= n:
        raise ValueError(f"k must be below n, got k={k} for n={n}")
    x, y = (values.detach().reshape(n, -1).cpu().double().numpy() for values in samples)
    for name, values in (("x", x), ("y", y)):
        if (equal := np.unique(values, axis=0, return_counts=True)[1].max()) > k:
            raise ValueError(
                f"{name} must have a density, but {equal} of its samples are equal, more than k={k}: use "
                "label_mutual_information for one discrete variable, discrete.mutual_information for two"
            )
    distance, neighbour = _nearest(np.hstack([x, y]), k + 1)  # (n, k + 1), the sample itself included
    if estimator == 1:
        nearer = np.nextafter(distance[:, k], 0)  # strictly nearer than the k-th neighbour
        nats = digamma(k) - sum(digamma(_count(v, nearer)).mean() for v in (x, y))
    else:
        farthest = [np.abs(v[neighbour] - v[:, None]).max((1, 2)) for v in (x, y)]
        counts = [_count(v, radius) - 1 for v, radius in zip((x, y), farthest, strict=True)]
        nats = digamma(k) - 1 / k - sum(digamma(count).mean() for count in counts)
    return torch.tensor((nats + digamma(n)) / math.log(2), dtype=torch.float64, device=samples[0].device)


def label_mutual_information(x: Any, y: Any, *, k: int = 3) -> Tensor:
    """Mutual information I(X;Y) of samples x (n, *features) and symbols y (n,), by Ross.

    The estimator for a continuous and a discrete variable, of the family of Kraskov's (Ross 2014, eq. 2), in bits:

        psi(n) + psi(k) - <psi(n_y)> - <psi(m)>

    n_y is the number of samples with sample i's symbol, m how many samples of any symbol, itself included, lie nearer
    than the k-th neighbour among those: maximum norm, exact neighbours, no noise added. Can be negative.

    Raises: ValueError for NaN or infinite x, symbols that are not integers (n,), k < 1, a symbol with no more than k
    samples, or more than k samples of one symbol at the same place.

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
        raise ValueError(f"more than k={k} samples of one symbol coincide: no density to estimate, use discrete")
    nearer = _count(place, np.nextafter(radius, 0))
    nats = digamma(len(place)) + digamma(k) - digamma(size[of].numpy()).mean() - digamma(nearer).mean()
    return torch.tensor(nats / math.log(2), dtype=torch.float64, device=x.device)


def _nearest(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance and index of the k samples nearest to each sample: (n, k)."""
    if x.shape[1] <= TREE_DIMENSIONS:
        return cKDTree(x).query(x, k, p=math.inf)
    blocks = [distance.topk(k, largest=False) for distance in _distances(x)]
    return tuple(torch.cat(part).numpy() for part in zip(*blocks, strict=True))


def _count(x: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """How many samples lie within each sample's radius, itself included: (n,)."""
    if x.shape[1] <= TREE_DIMENSIONS:
        return cKDTree(x).query_ball_point(x, radius, p=math.inf, return_length=True)
    radii = torch.from_numpy(radius)[:, None].split(BLOCK)
    return torch.cat([(d <= r).sum(1) for d, r in zip(_distances(x), radii, strict=True)]).numpy()


def _distances(x: np.ndarray) -> Iterator[Tensor]:
    """Distances of a block of samples to all: (block, n) at a time."""
    x = torch.from_numpy(x)
    return (torch.cdist(block, x, p=math.inf) for block in x.split(BLOCK))
