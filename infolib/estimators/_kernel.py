"""The Gaussian kernel block by block, and its alignment with labels as a function of the kernel's width."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain

import torch
from torch import Tensor

BLOCK = 2**22  # kernel values computed at once
CHUNK = 2**18  # those of a vector of pairs
COARSE = 40  # widths of the grid that finds the peaks of alignment
FINE = 1e-3  # of a width, to which a peak is refined
GOLDEN = (math.sqrt(5) - 1) / 2


def gaussian(squared: Tensor, width: Tensor) -> Tensor:
    scale = (-0.5 / width.square()).clamp(min=torch.finfo(width.dtype).min)  # finite, so that 0 distance stays 0
    return torch.exp(squared * scale)


def blocks(x: Tensor, part: int = 0, parts: int = 1) -> Iterator[tuple[int, Tensor]]:
    """Rows of exp(-|x_i - x_j|^2 / 2) from the diagonal on, with the number of the first; of these blocks, a part."""
    rows, half = max(1, BLOCK // len(x)), x.square().sum(1) / 2
    for start in range(part * rows, len(x), parts * rows):
        K = torch.addmm(half[start:], x[start : start + rows], x[start:].mT, beta=-1)
        K.sub_(half[start : start + rows, None]).clamp_(max=0).exp_()
        K.diagonal().fill_(1)  # exactly, as the trace is taken to be
        yield start, K


def lower(x: Tensor) -> Tensor:
    """The kernel with 0 above the blocks on its diagonal."""
    K = x.new_zeros(len(x), len(x))
    for start, rows in blocks(x):
        K[start:, start : start + len(rows)] = rows.mT
    return K


def rows(x: Tensor, room: float, part: int, parts: int) -> Callable[[Tensor], Tensor]:
    """The map from v to what a part of the blocks adds to K v; those that find no room are computed each time."""
    kept = []
    for start, K in blocks(x, part, parts):
        if (room := room - x.element_size() * K.numel()) < 0:
            break
        kept.append((start, K))

    def product(v: Tensor) -> Tensor:
        across = v.mT.contiguous()
        out = torch.zeros_like(across)
        for start, K in chain(kept, blocks(x, part + parts * len(kept), parts)):
            stop = start + len(K)
            out[:, start:stop] += across[:, start:] @ K.mT
            out[:, stop:] += across[:, start:stop] @ K[:, len(K) :]
        return out.mT

    return product


def heights(
    pairs: Tensor, agree: Tensor, n: int, *, bins: int | None = None, centred: bool = False
) -> Callable[[Tensor], Tensor]:
    """The alignment with the label kernel, up to a factor, as a function of widths (widths,)."""
    every = torch.ones_like(agree)
    if bins is not None:
        pairs, agree, every = _histogram(pairs, agree, bins)
    one = partial(_centred_alignment, pairs, agree, n) if centred else partial(_pair_alignment, pairs, agree, every, n)
    return lambda widths: torch.cat([one(chunk) for chunk in widths.split(max(1, CHUNK // len(pairs)))])


def best(height_at: Callable[[Tensor], Tensor], low: float, high: float) -> tuple[float, bool]:
    """Where in [low, high], logs of widths, alignment is largest, within FINE, and whether that is an end.

    Of two peaks that are the highest on a grid of COARSE points, the higher; of equal ones the first.
    """

    def height(at: list[float]) -> list[float]:  # rounded: a plateau is one, whatever the order of the samples
        return [float(h) for h in height_at(torch.tensor(at, dtype=torch.float64)).round(decimals=12)]

    grid = torch.linspace(low, high, COARSE, dtype=torch.float64).tolist()
    found = height(grid)
    if max(found) - min(found) < 1e-9:
        raise ValueError("alignment of x with y is the same at every width: none can be chosen")
    beside = [-math.inf, *found, -math.inf]
    peaks = sorted((i for i, h in enumerate(found) if beside[i] < h >= beside[i + 2]), key=lambda i: -found[i])[:2]
    tops = [_golden(height, grid[max(i - 1, 0)], grid[min(i + 1, COARSE - 1)]) for i in peaks]
    at, _ = max(tops, key=lambda top: top[1])
    return at, min(at - grid[0], grid[-1] - at) < FINE


def _golden(height: Callable[[list[float]], list[float]], low: float, high: float) -> tuple[float, float]:
    """Where a function with one maximum in [low, high] has it, within FINE, and its height there."""
    a, b = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    (at_a,), (at_b,) = height([a]), height([b])
    while high - low > FINE:
        if at_a >= at_b:
            high, b, at_b, a = b, a, at_a, b - GOLDEN * (b - low)
            (at_a,) = height([a])
        else:
            low, a, at_a, b = a, b, at_b, a + GOLDEN * (high - a)
            (at_b,) = height([b])
    return (a, at_a) if at_a >= at_b else (b, at_b)


def _pair_alignment(squared: Tensor, agree: Tensor, every: Tensor, n: int, widths: Tensor) -> Tensor:
    """Alignment with the label kernel, up to a factor; `every` and `agree` count the pairs at each squared distance."""
    kernel = gaussian(squared, widths[:, None])  # (widths, pairs)
    product = n + 2 * kernel @ agree  # the diagonal, and each pair above and below it
    return product / (n + 2 * kernel.square_() @ every).sqrt()


def _centred_alignment(squared: Tensor, agree: Tensor, n: int, widths: Tensor) -> Tensor:
    """Alignment of HKH = H(K - 1)H with the label kernel's: all diagonals are 0, and large widths keep their digits."""
    i, j = torch.triu_indices(n, n, 1, device=squared.device)
    K, L = torch.expm1(-0.5 * squared / widths[:, None].square()), agree[None] - 1

    def sums(v: Tensor) -> Tensor:  # of each sample's pairs
        return v.new_zeros(len(v), n).index_add_(1, i, v).index_add_(1, j, v)

    def product(v: Tensor, w: Tensor) -> Tensor:
        of_v, of_w = sums(v), sums(w)
        return 2 * (v * w).sum(1) - 2 / n * (of_v * of_w).sum(1) + of_v.sum(1) * of_w.sum(1) / n**2

    return n * product(K, L) / (product(K, K) * product(L, L)).sqrt()


def _histogram(squared: Tensor, agree: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Squared distance at the centre of each bin, and how many pairs lie in it: those that agree, and all."""
    distance = squared.sqrt()
    top = float(distance.max())
    centres = (torch.arange(bins, dtype=squared.dtype, device=squared.device) + 0.5) * (top / bins)
    agreeing, every = (values.histc(bins, 0, top) for values in (distance[agree > 0], distance))
    return centres.square(), agreeing, every
