"""Mutual information from nearest neighbours: of continuous variables, and of a continuous with a discrete one."""

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.special import digamma
from torch import Tensor

from infolib import checks

TREE_DIMENSIONS = 5  # with more, a k-d tree visits all the samples, and plain distances are faster
BLOCK = 256  # samples whose distances to all the others are held at once


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
    """Mutual information I(X;Y) in bits of a continuous X and a discrete Y from k nearest neighbours (Ross 2014).

    In nats, with averages over the samples i (Ross 2014, eq. 2):

        psi(n) + psi(k) - <psi(n_y)> - <psi(m)>

    Here n_y is the number of samples with the symbol of sample i. The distance to its k-th neighbour among them is its
    radius. m counts the samples of any symbol, itself included, that are nearer than the radius. The norm is the
    maximum norm, the neighbours are exact, and no noise is added.

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
        samples. Also where more than k samples of one symbol coincide.

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
        raise ValueError(f"x: more than k={k} samples of one symbol coincide: no density to estimate, use discrete")
    nearer = _count(place, np.nextafter(radius, 0))
    nats = digamma(len(place)) + digamma(k) - digamma(size[of].numpy()).mean() - digamma(nearer).mean()
    return torch.tensor(nats / math.log(2), dtype=torch.float64, device=x.device)


def _nearest(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance and index of the k samples nearest to each sample: (n, k)."""
    if x.shape[1] <= TREE_DIMENSIONS:
        return cKDTree(x).query(x, k, p=math.inf)
    blocks = [distance.topk(k, largest=False) for distance in _distances(x)]
    distance, index = (torch.cat(part).numpy() for part in zip(*blocks, strict=True))
    return distance, index


def _count(x: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """How many samples lie within each sample's radius, itself included: (n,)."""
    if x.shape[1] <= TREE_DIMENSIONS:
        return cKDTree(x).query_ball_point(x, radius, p=math.inf, return_length=True)
    radii = torch.from_numpy(radius)[:, None].split(BLOCK)
    return torch.cat([(d <= r).sum(1) for d, r in zip(_distances(x), radii, strict=True)]).numpy()


def _distances(x: np.ndarray) -> Iterator[Tensor]:
    """Distances of a block of samples to all: (block, n) at a time."""
    every = torch.from_numpy(x)
    return (torch.cdist(block, every, p=math.inf) for block in every.split(BLOCK))


checks.guard(globals())
