"""How far to trust one estimate: its values without any dependence, and its spread over the samples.

Both take the estimator as an argument: any function of x and y with the samples along their first dimension, such as
`functools.partial(knn.mutual_information, k=3)`. With subsamples, a Gram matrix is to be built inside that function.
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
    """Null values of an estimator: its values on x and permuted y, shape (n_permutations, ...).

    `batched=True` permutes x instead and hands all permutations over in one call, as x of shape (n, n_permutations,
    ...): the same values, for estimators such as those of `discrete` that take units along these dimensions.

    Raises: ValueError for n_permutations < 1, different n, or n < 2.

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
    """Confidence interval (low, high) of an estimate from subsamples without replacement: the delete-d jackknife.

    The spread of the estimates on `size` of the n samples (n // 2 unless given), times sqrt(size / (n - size)), is that
    of the estimate on n (Shao & Wu 1989); the interval is the estimate plus and minus Student's t times that standard
    error. It covers the estimator's expectation, not its bias: at level .95, of 300 intervals from 30 subsamples at
    n = 100 and 400, .94 to .96 did for plug-in, nearest-neighbour and matrix-based information. A bootstrap would
    repeat samples, and neighbour distances and kernels take repeated samples for dependence.

    Raises: ValueError for n_subsamples < 2, a size not in 2, ..., n - 1, a level not in (0, 1), or different n.

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
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    if len(x) != len(y):
        raise ValueError(f"x and y must have the same n, got {len(x)} and {len(y)}")
    checks.at_least("n", len(x), 2)
    return x, y
