"""From real values to integer codes of the same shape, for `discrete`.

Codes count from 0. A NaN or infinite value is refused; a value outside a range is never wrapped into another bin.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from infolib import checks


class Binned(NamedTuple):
    """Codes of binned values, and the fraction of values outside the range.

    Parameters
    ----------
    codes : Tensor
        Number of each value's bin from 0, int64, shape of the values.
    clipped : float
        Fraction of the values outside the range, which got the first or the last bin.
    """

    codes: Tensor
    clipped: float


def sign(x: Any, threshold: float = 0.0) -> Tensor:
    """One-bit codes 1[x > threshold] (Amjad et al. 2018).

    The code of a ReLU's output is whether it fires. For a sigmoid, the threshold is 0.5. A value at the threshold is 0.

    Parameters
    ----------
    x : array_like, shape (n, *units)
        Activations, in any unit.
    threshold : float
        In the unit of x.

    Returns
    -------
    Tensor, shape (n, *units)
        Codes 0 and 1, uint8.

    Raises
    ------
    ValueError
        For NaN or infinite x.

    Examples
    --------
    >>> sign([[-1.0, 0.0, 2.0]])
    tensor([[0, 0, 1]], dtype=torch.uint8)
    """
    x, threshold = checks.floats("x", x).detach(), checks.within("threshold", threshold, -math.inf)
    if x.device.type == "cpu":  # NumPy compares several times as fast there
        return torch.from_numpy(x.numpy() > threshold).view(torch.uint8)
    return (x > threshold).view(torch.uint8)


def uniform(x: Any, bins: int, *, low: float | None = None, high: float | None = None) -> Binned:
    """Codes floor(bins (x - low) / (high - low)) of bins of equal width, with one range for all of x.

    Values outside the range go to the nearest bin. The bins are closed on the left, the last one on both sides. Where
    low = high, every code is 0.

    Parameters
    ----------
    x : array_like, shape (n, *units)
        Activations, in any unit.
    bins : int
        Number of bins, at least 2.
    low, high : float or None
        Ends of the range in the unit of x; None takes the least or the greatest value of x.

    Returns
    -------
    Binned
        Codes of the shape of x, and the fraction of clipped values.

    Raises
    ------
    ValueError
        For NaN or infinite x, bins < 2, or low above high.

    Examples
    --------
    >>> uniform([0.0, 1.0, 2.0, 4.0], bins=2)
    Binned(codes=tensor([0, 0, 1, 1]), clipped=0.0)
    >>> uniform([-2.0, 0.1, 2.0], bins=4, low=-1.0, high=1.0).codes
    tensor([0, 2, 3])
    """
    x = checks.floats("x", x)
    checks.at_least("bins", bins, 2)
    low = float(x.min()) if low is None else low
    high = float(x.max()) if high is None else high
    if not -(most := torch.finfo(x.dtype).max) <= low <= high <= most:
        raise ValueError(f"low and high must be finite, low not above high, got {low} and {high}")
    outside = (x < low) | (x > high)
    position = (x.clamp(low, high) / 2 - low / 2) / (high / 2 - low / 2 if low < high else 1.0)  # in [0, 1]
    return Binned((position * bins).long().clamp(max=bins - 1), float(outside.double().mean()))


def quantile(x: Any, bins: int) -> Tensor:
    """Codes of equally filled bins of each unit: the number of quantiles k / bins below the value.

    Equal values get equal codes, so a bin may hold too many or too few values, by as few as possible. Two bins split at
    the median. Where x varies, -x falls into the same bins in the opposite order.

    Parameters
    ----------
    x : array_like, shape (n, *units)
        Activations, in any unit.
    bins : int
        Number of bins, from 2 to n.

    Returns
    -------
    Tensor, shape (n, *units)
        Codes from 0, int64.

    Raises
    ------
    ValueError
        For NaN or infinite x, bins < 2, or more bins than samples.

    Examples
    --------
    >>> quantile([3.0, 9.0, 4.0, 1.0], bins=2)
    tensor([0, 1, 1, 0])
    """
    x = checks.floats("x", x)
    n = len(x)
    if checks.at_least("bins", bins, 2) > n:
        raise ValueError(f"bins must be at most n, got {bins} bins for n={n}")
    columns = x.reshape(n, -1).T.contiguous()  # (units, n)
    return torch.searchsorted(_edges(columns, bins), columns).T.reshape(x.shape)


def _edges(columns: Tensor, bins: int) -> Tensor:
    """The largest values of all bins but the last: (units, bins - 1).

    Samples that equal the value at an edge all go to the side where the number of samples misses k n / bins by less.
    If both miss it alike, they join the first sample that differs: so do they in the mirror image.
    """
    n = columns.shape[1]
    wanted = torch.arange(1, bins, device=columns.device) * n  # over bins: how many samples lie below each edge
    ordered = columns.sort(dim=1).values
    value = ordered[:, -(-wanted // bins) - 1].contiguous()
    first, last = (torch.searchsorted(ordered, value, right=right) for right in (False, True))
    excess = bins * (first + last) - 2 * wanted  # of the number with these samples, over the lack without them
    differing = columns.gather(1, (columns != columns[:, :1]).byte().argmax(1, keepdim=True))
    beside = torch.where(columns[:, :1] == value, differing, columns[:, :1])  # the first sample of another value
    before = torch.where(first > 0, ordered.gather(1, (first - 1).clamp(min=0)), -math.inf)
    return torch.where((excess < 0) | ((excess == 0) & (beside <= value)), value, before)


checks.guard(globals())
