"""Information beyond chance: an estimate minus what the same estimator finds where there is nothing to find.

Biased estimators find information between any finite samples, kernels nearly all of log2 n where they are narrow. What
remains once the mean over permuted pairs is subtracted is due to the pairs themselves. `beyond` takes any estimator.
For Grams, only the joint entropy changes with the permutation; S_alpha(A) and S_alpha(B) stay the same.

At alpha = 2 the mean over all n! permutations is known. With |A|² the squared Frobenius norm and A_ii = 1/n,

    E |n A ∘ B_π|² = 1/n + n / (n - 1) (|A|² - 1/n) (|B|² - 1/n),

and the joint entropy by chance is minus its log2. This is the log of the mean; permutations give the mean of logs.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from scipy.special import stdtrit
from torch import Tensor

from infolib import checks
from infolib.estimators import lanczos, renyi, uncertainty

TIE = {torch.float32: 1e-4}  # bits: estimates of Grams this close are the same but for rounding; in float64 1e-9
TOLERANCE = 1e-5  # of a diagonal


class Beyond(NamedTuple):
    """An estimate, and what is left of it beyond chance.

    The interval is that of the mean over the permutations, by Student's t: it shows how well this number of
    permutations determines the level of chance, and nothing about other samples. Its length is 0 where that level is
    exact.

    Attributes
    ----------
    own : Tensor, shape (...)
        The estimate.
    chance : Tensor, shape (...)
        Its mean over permuted pairs, in the same unit.
    spread : Tensor, shape (...), or None
        Standard deviation over the permutations; None for fewer than two.
    low, high : Tensor, shape (...), or None
        Interval of own - chance; None without a level.
    p_value : Tensor, shape (...), or None
        (1 + #{null >= own}) / (1 + permutations), one-sided; equal but for rounding counts. None if not asked for.
    """

    own: Tensor
    chance: Tensor
    spread: Tensor | None
    low: Tensor | None
    high: Tensor | None
    p_value: Tensor | None

    @property
    def value(self) -> Tensor:
        """The estimate minus chance: own - chance, of the shape of own."""
        return self.own - self.chance


class Null(NamedTuple):
    """Joint entropy of permuted pairs.

    Attributes
    ----------
    mean : Tensor, shape (...)
        Over the permutations, in bits; at alpha = 2 over all n!, as the log of the mean.
    values : Tensor, shape (permutations, ...)
        In bits.
    """

    mean: Tensor
    values: Tensor


def beyond(
    estimator: Callable[[Any, Any], Any],
    x: Any,
    y: Any,
    *,
    permutations: int,
    seed: int,
    level: float | None = 0.95,
    p_value: bool = False,
    batched: bool = False,
) -> Beyond:
    """Any estimate beyond chance: its value minus its mean over permuted pairs (`uncertainty.permutation_null`).

    Parameters
    ----------
    estimator : callable
        From x and y, samples along the first dimension, to a number, a tensor or a `lanczos.Estimate`. It must build
        any Gram matrix itself.
    x, y : array_like, shape (n, ...)
        Samples, as the estimator takes them.
    permutations, seed : int
        Number of permutations: at least 5 for an interval, 19 for a p-value; seed of their generator.
    level : float or None
        Probability that the interval covers own - chance over all permutations, in (0, 1); None for no interval.
    p_value : bool
        Whether to compute it.
    batched : bool
        As `uncertainty.permutation_null` takes it.

    Returns
    -------
    Beyond
        In the estimator's unit.

    Raises
    ------
    ValueError
        For too few permutations, a level not in (0, 1), different n, or n < 2.

    Examples
    --------
    >>> from infolib.estimators import discrete
    >>> x = [0, 0, 1, 1, 2, 2]
    >>> found = beyond(discrete.mutual_information, x, x, permutations=20, seed=0, p_value=True)
    >>> bool(found.own > found.chance > 0), bool(found.low < found.value < found.high)
    (True, True)
    """
    _check(permutations, level, p_value)

    def bits(x: Any, y: Any) -> Tensor:
        found = estimator(x, y)
        return torch.as_tensor(found.value if isinstance(found, lanczos.Estimate) else found)

    x, y = checks.samples("x", x), checks.samples("y", y)
    nulls = uncertainty.permutation_null(bits, x, y, n_permutations=permutations, seed=seed, batched=batched).double()
    own = bits(x, y)
    tie = 16 * float(own.is_floating_point() and torch.finfo(own.dtype).eps) * own.double().abs()
    return _beyond(own.double(), nulls.mean(0), nulls, level, p_value, tie=tie.clamp(min=1e-9))


def beyond_grams(
    A: Tensor,
    B: Tensor,
    *,
    alpha: float = 1.01,
    permutations: int,
    seed: int,
    level: float | None = 0.95,
    p_value: bool = False,
) -> Beyond:
    """Matrix-based mutual information I_alpha(A;B) beyond chance in bits.

    Parameters
    ----------
    A, B : Tensor, shape (..., n, n)
        Gram matrices with trace 1, which broadcast: one A with the B of all layers.
    alpha : float
        Order of the Rényi entropy, positive. At 2 chance is exact.
    permutations, seed, level, p_value
        As `beyond` takes them; at alpha = 2 permutations may be 0, and the interval has length 0.

    Returns
    -------
    Beyond
        In bits.

    Raises
    ------
    ValueError
        As `renyi.mutual_information` and `joint_entropy`; for too few permutations, or a level not in (0, 1).

    Examples
    --------
    >>> A = renyi.label_gram([0, 0, 1, 1])
    >>> found = beyond_grams(A, A, alpha=2, permutations=0, seed=0)
    >>> round(found.own.item(), 4), round(found.chance.item(), 4)  # log2(4/3): a third of the permutations keep A
    (1.0, 0.415)
    """
    _check(permutations, level, p_value, alpha)
    null = joint_entropy(A, B, alpha=alpha, permutations=permutations, seed=seed)
    alone = renyi.entropy(A, alpha=alpha) + renyi.entropy(B, alpha=alpha)
    own = alone - renyi.joint_entropy(A, B, alpha=alpha)
    return _beyond(own, alone - null.mean, alone - null.values, level, p_value, alpha)


def beyond_labels(
    A: Tensor,
    y: Any,
    *,
    alpha: float = 1.01,
    permutations: int,
    seed: int,
    level: float | None = 0.95,
    p_value: bool = False,
) -> Beyond:
    """Matrix-based mutual information I_alpha(A;Y) with labels beyond chance in bits, by class blocks.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        Gram matrix with trace 1.
    y : array_like of int, shape (n,)
        Labels.
    alpha, permutations, seed, level, p_value
        As `beyond_grams` takes them.

    Returns
    -------
    Beyond
        In bits.

    Raises
    ------
    ValueError
        As `renyi.label_mutual_information`; for too few permutations, or a level not in (0, 1).

    Examples
    --------
    >>> y = [0, 0, 1, 1]
    >>> round(beyond_labels(renyi.label_gram(y), y, alpha=2, permutations=0, seed=0).value.item(), 4)
    0.585
    """
    _check(permutations, level, p_value, alpha)
    null = label_joint_entropy(A, y, alpha=alpha, permutations=permutations, seed=seed)
    alone = renyi.entropy(A, alpha=alpha) + renyi.label_entropy(y, alpha=alpha).to(null.mean)
    own = alone - renyi.label_joint_entropy(A, y, alpha=alpha)
    return _beyond(own, alone - null.mean, alone - null.values, level, p_value, alpha)


def joint_entropy(A: Tensor, B: Tensor, *, alpha: float = 1.01, permutations: int, seed: int) -> Null:
    """Joint entropy S_alpha(A, B) of permuted pairs in bits: its level of chance.

    Parameters
    ----------
    A, B : Tensor, shape (..., n, n)
        Gram matrices with trace 1, which broadcast.
    alpha : float
        Order of the Rényi entropy, positive.
    permutations, seed : int
        Number of permutations, at least 1, or 0 at alpha = 2; seed of their generator.

    Returns
    -------
    Null
        In bits.

    Raises
    ------
    ValueError
        As `renyi.mutual_information`; for too few permutations; at alpha = 2 if neither Gram has a constant diagonal.

    Examples
    --------
    >>> A = renyi.label_gram([0, 0, 1, 1])
    >>> joint_entropy(A, A, alpha=2, permutations=0, seed=0).mean
    tensor(1.5850, dtype=torch.float64)
    """
    A, B = checks.floats("A", A, min_ndim=2), checks.floats("B", B, min_ndim=2)
    renyi.mutual_information(A, B, alpha=2)  # without an eigenproblem: refuses each by its name
    _check(permutations, None, False, alpha)
    moved, fixed = (A, B) if A.numel() <= B.numel() else (B, A)
    orders = _orders(A.shape[-1], permutations, seed, moved)
    rows = [renyi.joint_entropy(moved[..., order[:, None], order], fixed, alpha=alpha) for order in orders]
    return _null(rows, A, B, alpha)


def label_joint_entropy(A: Tensor, y: Any, *, alpha: float = 1.01, permutations: int, seed: int) -> Null:
    """Joint entropy S_alpha(A, Y) with permuted labels in bits: its level of chance.

    Parameters
    ----------
    A : Tensor, shape (..., n, n)
        Gram matrix with trace 1.
    y : array_like of int, shape (n,)
        Labels.
    alpha, permutations, seed
        As `joint_entropy` takes them.

    Returns
    -------
    Null
        In bits.

    Raises
    ------
    ValueError
        As `renyi.label_joint_entropy`; for too few permutations.

    Examples
    --------
    >>> y = [0, 0, 1, 1]
    >>> label_joint_entropy(renyi.label_gram(y), y, alpha=2, permutations=0, seed=0).mean
    tensor(1.5850, dtype=torch.float64)
    """
    A, y = checks.floats("A", A, min_ndim=2), checks.labels("y", y)
    renyi.label_joint_entropy(A, y, alpha=2)  # without an eigenproblem: refuses what is not allowed
    _check(permutations, None, False, alpha)
    rows = [renyi.label_joint_entropy(A, y[order], alpha=alpha) for order in _orders(len(y), permutations, seed, y)]
    return _null(rows, A, renyi.label_gram(y).to(A), alpha)


def _check(permutations: int, level: float | None, p_value: bool, alpha: float = 1.0) -> None:
    """Refuse fewer permutations than the answer needs; at alpha = 2 chance and its interval need none."""
    if alpha != 2 and not isinstance(permutations, bool) and permutations == 0:
        raise ValueError("permutations must be at least 1, got 0 (0 is for Grams at alpha = 2)")
    checks.at_least("permutations", permutations, 0)
    if level is not None and not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    if level is not None and alpha != 2 and permutations < 5:
        raise ValueError(f"permutations must be at least 5 for an interval, got {permutations}; or set level=None")
    if p_value and permutations < 19:
        raise ValueError(f"permutations must be at least 19 for a p-value, got {permutations}: with fewer, p > 0.05")


def _orders(n: int, permutations: int, seed: int, like: Tensor) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(n, generator=generator).to(like.device) for _ in range(permutations)]


def _null(rows: list[Tensor], A: Tensor, B: Tensor, alpha: float) -> Null:
    if alpha != 2:
        return Null(torch.stack(rows).mean(0), torch.stack(rows))
    n, diagonals = A.shape[-1], [one.diagonal(dim1=-2, dim2=-1) for one in (A, B)]
    if min(float((d * n - 1).abs().max()) for d in diagonals) > TOLERANCE:
        raise ValueError("A or B must have a constant diagonal at alpha = 2, got neither: their chance is not known")
    on = [d.square().sum(-1) for d in diagonals]
    off = [one.square().sum((-2, -1)) - squares for one, squares in zip((A, B), on, strict=True)]
    mean = -(n * on[0] * on[1] + n / (n - 1) * off[0] * off[1]).log2()
    return Null(mean, torch.stack(rows) if rows else mean.new_empty(0, *mean.shape))


def _beyond(
    own: Tensor, chance: Tensor, nulls: Tensor, level: float | None, p_value: bool, alpha: float = 1.0, tie: Any = None
) -> Beyond:
    many = len(nulls)
    spread = nulls.std(0) if many > 1 else None
    low = high = p = None
    if level is not None:
        half = 0.0 if alpha == 2 or spread is None else spread * stdtrit(many - 1, (1 + level) / 2) / math.sqrt(many)
        low, high = own - chance - half, own - chance + half
    if p_value:
        p = (1 + (nulls >= own - (TIE.get(own.dtype, 1e-9) if tie is None else tie)).sum(0).double()) / (1 + many)
    return Beyond(own, chance, spread, low, high, p)


checks.guard(globals())
