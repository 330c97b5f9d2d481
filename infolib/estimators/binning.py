"""From real values to integer codes of the same shape, for `discrete`.

Codes count from 0. A NaN or infinite value is refused; a value outside a range is never wrapped into another bin.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from infolib import checks


class Binned(NamedTuple):
    """Codes, and the share of the values that lay outside the range and were clipped into the first or last bin."""

    codes: Tensor
    clipped: float


def sign(x: Any, threshold: float = 0.0) -> Tensor:
    """One-bit codes 1[x > threshold]: whether a ReLU fires, or with threshold 0.5 a sigmoid (Amjad et al. 2018).

    A value at the threshold is 0. One byte each: thousands of neurons stay small.

    Raises: ValueError for NaN or infinite x.

    >>> sign([[-1.0, 0.0, 2.0]])
    tensor([[0, 0, 1]], dtype=torch.uint8)
    """
    x = checks.floats("x", x).detach()
    if x.device.type == "cpu":  # NumPy compares several times as fast there
        return torch.from_numpy(x.numpy() > threshold).view(torch.uint8)
    return (x > threshold).view(torch.uint8)


def uniform(x: Any, bins: int, *, low: float | None = None, high: float | None = None) -> Binned:
    """Codes floor(bins (x - low) / (high - low)) of equal bins from `low` to `high`, one range for all of x.

    The range is that of the data unless given; values outside a given range go to the nearest bin and are counted in
    `clipped`. The bins are closed on the left, the last one on both sides. Where low = high, every code is 0.

    Raises: ValueError for NaN or infinite x, bins < 2, or low above high.

    >>> uniform([0.0, 1.0, 2.0, 4.0], bins=2)
    Binned(codes=tensor([0, 0, 1, 1]), clipped=0.0)
    >>> uniform([-2.0, 0.1, 2.0], bins=4, low=-1.0, high=1.0).codes
    tensor([0, 2, 3])
    """
    x = checks.floats("x", x)
    checks.at_least("bins", bins, 2)
    low = float(x.min()) if low is None else low
    high = float(x.max()) if high is None else high
    if not low <= high:
        raise ValueError(f"low must not be above high, got {low} and {high}")
    outside = (x < low) | (x > high)
    position = (x.clamp(low, high) - low) / (high - low if low < high else 1.0)  # in [0, 1]
    return Binned((position * bins).long().clamp(max=bins - 1), float(outside.double().mean()))


def quantile(x: Any, bins: int) -> Tensor:
    """Codes of equally filled bins of each unit of x (n, *units): the number of quantiles k / bins below the value.

    Equal values get equal codes, so ties can leave a bin over- or underfilled. Two bins split at the median.

    Raises: ValueError for NaN or infinite x, bins < 2, or more bins than samples.

    >>> quantile([3.0, 9.0, 4.0, 1.0], bins=2)
    tensor([0, 1, 1, 0])
    """
    x = checks.floats("x", x)
    n = len(x)
    if checks.at_least("bins", bins, 2) > n:
        raise ValueError(f"bins must be at most n, got {bins} bins for n={n}")
    columns = x.reshape(n, -1).T.contiguous()  # (units, n)
    last = torch.arange(1, bins, device=x.device) * n // bins - 1  # the last rank within each bin but the top one
    edges = columns.sort(dim=1).values[:, last].contiguous()  # (units, bins - 1)
    return torch.searchsorted(edges, columns).T.reshape(x.shape)
