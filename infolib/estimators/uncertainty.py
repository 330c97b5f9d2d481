"""How far to trust one estimate: its values without any dependence, and its spread over the samples.

Both take the estimator as an argument: any function of x and y with the samples along their first dimension, such as
`functools.partial(knn.mutual_information, k=3)`. For subsamples, that function must build any Gram matrix itself.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from scipy.special import stdtrit
from torch import Tensor

from infolib import checks

Estimator = Callable[[Any, Any], Tensor]


def permutation_null(
    estimator: Estimator, x: Any, y: Any, *, n_permutations: int, seed: int, batched: bool = False
) -> Tensor:
    """Null values of an estimator: its values on x and permuted y, which are independent.

    Parameters
    ----------
    estimator : callable
        From x and y, samples along the first dimension, to a tensor, such as
        `functools.partial(knn.mutual_information, k=3)`.
    x, y : array_like, shape (n, ...)
        Samples, as the estimator takes them.
    n_permutations, seed : int
        Number of permutations, at least 1; seed of their generator.
    batched : bool
        Whether to permute x instead, and to pass all permutations in one call as x (n, n_permutations, ...). The values
        are the same for estimators such as those of `discrete`, which take units along these dimensions.

    Returns
    -------
    Tensor, shape (n_permutations, ...)
        Null values in the estimator's unit.

    Raises
    ------
    ValueError
        For n_permutations < 1, different n, or n < 2.

    Examples
    --------
    >>> from infolib.estimators import discrete
    >>> permutation_null(discrete.mutual_information, [0, 1], [0, 1], n_permutations=3, seed=0)
    tensor([1., 1., 1.], dtype=torch.float64)
    """
    x, y = _paired(x, y)
    checks.at_least("n_permutations", n_permutations, 1)
    generator = torch.Generator().manual_seed(seed)
    orders = torch.stack([torch.randperm(len(x), generator=generator) for _ in range(n_permutations)])
    if batched:
        inverse = orders.argsort(dim=1).T.to(x.device)  # (n, n_permutations)
        return estimator(x[inverse], y)
    return torch.stack([torch.as_tensor(estimator(x, y[order])) for order in orders.to(y.device)])


def subsampling_interval(
    estimator: Estimator, x: Any, y: Any, *, n_subsamples: int, seed: int, size: int | None = None, level: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Confidence interval of an estimate from subsamples without replacement: the delete-d jackknife.

    The spread of the estimates on `size` of n samples, times sqrt(size / (n - size)), is the standard error of the
    estimate on n (Shao & Wu 1989). The interval is the estimate ± Student's t times this standard error. It covers the
    estimator's expectation, not its bias. Of 300 intervals at level 0.95 from 30 subsamples, at n = 100 and 400, a
    fraction of .94 to .98 did so for plug-in, nearest-neighbour and matrix-based information. A bootstrap would repeat
    samples, which neighbour distances and kernels mistake for dependence.

    Parameters
    ----------
    estimator : callable
        From x and y, samples along the first dimension, to a tensor. It must build any Gram matrix itself.
    x, y : array_like, shape (n, ...)
        Samples, as the estimator takes them.
    n_subsamples, seed : int
        Number of subsamples, at least 2; seed of their generator.
    size : int or None
        Samples in a subsample, from 2 to n - 1; None is n // 2.
    level : float
        Probability that the interval covers, in (0, 1).

    Returns
    -------
    tuple of two Tensor, each of the shape of the estimate
        Low and high end in the estimator's unit.

    Raises
    ------
    ValueError
        For n_subsamples < 2, a size not in 2, ..., n - 1, a level not in (0, 1), or different n.

    Examples
    --------
    >>> low, high = subsampling_interval(
    ...     lambda x, y: (x * y).mean(), torch.arange(9.0), torch.ones(9), n_subsamples=50, seed=0
    ... )
    >>> bool(low < 4 < high)
    True
    """
    x, y = _paired(x, y)
    n = len(x)
    checks.at_least("n_subsamples", n_subsamples, 2)
    size = n // 2 if size is None else size
    if checks.at_least("size", size, 2) >= n:
        raise ValueError(f"size must be below n, got size={size} for n={n}")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randperm(n, generator=generator)[:size] for _ in range(n_subsamples)]
    values = torch.stack([torch.as_tensor(estimator(x[some], y[some])) for some in rows])
    spread = values.double().std(0) * math.sqrt(size / (n - size))
    half, estimate = spread * stdtrit(n_subsamples - 1, (1 + level) / 2), torch.as_tensor(estimator(x, y))
    return estimate - half, estimate + half


def _paired(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    x, y = checks.samples("x", x), checks.samples("y", y)
    if len(x) != len(y):
        raise ValueError(f"x and y must have the same n, got {len(x)} and {len(y)}")
    checks.at_least("x: n", len(x), 2)
    return x, y


checks.guard(globals())
