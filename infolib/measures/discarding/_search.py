"""How a large σ of F = alpha is found, on few samples of noise; `_certificate` then judges it on fresh samples."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from infolib.measures.discarding import constrained
from infolib.measures.discarding.constrained import MOST, TINY, UNIT, Noise, Problem

STEPS = 20  # of the optimiser, at most
SAMPLES = 64  # of noise in one of its steps, at most
RATIO = 0.1  # what a step changes σ² by is at most 1 / RATIO
WORTH = 0.04  # bits that a step of the optimiser has to promise
COTANGENTS = 128  # at most
SLOPE = 0.1  # of ln F per shift of θ, at least: below it a layer saturates


class Found(NamedTuple):
    """θ = ln σ (n, grid, grid); of each image the growth of ln F per shift of θ, and which candidate won."""

    theta: Tensor
    slope: Tensor
    kept: Tensor

    def with_those(self, images: list[int], others: "Found") -> "Found":
        """With some images replaced."""
        index = torch.tensor(images, dtype=torch.long, device=self.theta.device)
        return Found(*(a.index_copy(0, index, b.to(a.dtype)) for a, b in zip(self, others, strict=True)))


def nothing(problem: Problem) -> Found:
    """The state before a search."""
    theta = problem.level(problem.alpha).repeat(1, problem.grid, problem.grid)
    slope = torch.full_like(theta[:, 0, 0], 2.0)
    return Found(theta, slope, torch.full_like(slope, -1).long())


def certified(
    problem: Problem, noise: Tensor, base: Tensor, more: Noise, *, seed: int, steps: int, error: float
) -> Found:
    """The larger of the uniform σ and the closed form, then as many steps of the optimiser as improve it."""
    best, slopes = settled(problem, linear(problem, seed, error), noise, base, 1)
    flat = nothing(problem)
    moved = shifted(flat.theta, excess(problem, flat.theta, noise, base), flat.slope)
    if better := (value(moved) >= value(best.theta)).nonzero().flatten().tolist():
        uniform, slopes[better] = settled(problem.of(better), flat.theta[better], noise[better], base[better], 0)
        best = best.with_those(better, uniform)
    active, samples = list(range(len(slopes))), UNIT
    for _ in range(steps):
        move, promised = step(best.theta[active], slopes)
        going = promised.nonzero().flatten().tolist()
        if not going:
            break
        active, samples = [active[i] for i in going], min(2 * samples, SAMPLES)
        some, drawn, now = problem.of(active), more.draw(samples, active), best.theta[active]
        base = some.changes(some.level(), drawn)
        tried, seen = settled(some, now + move[going], drawn, base, 2)
        former = shifted(now, excess(some, now, drawn, base), tried.slope)
        left = (value(tried.theta) > value(former)).nonzero().flatten().tolist()
        active, slopes = [active[i] for i in left], seen[left]
        best = best.with_those(active, Found(*(t[left] for t in tried)))
    return best


def settled(problem: Problem, theta: Tensor, noise: Tensor, base: Tensor, kept: int) -> tuple[Found, Tensor]:
    """θ after one step of Newton's method on ln F, a common shift to F = alpha; and each sample's ∂ ln F / ∂θ."""
    above, slopes = constrained.probe(problem, theta, noise, base)
    slope = (slopes.mean(1) * (theta < MOST)).sum((1, 2)).clamp_min(SLOPE)
    return Found(shifted(theta, above, slope), slope, torch.full_like(slope, kept).long()), slopes


def excess(problem: Problem, theta: Tensor, noise: Tensor, base: Tensor) -> Tensor:
    """ln(F / alpha), without a gradient: (n,)."""
    return (problem.changes(theta, noise).mean(1) / (problem.alpha * base.mean(1))).clamp_min(TINY).log()


def shifted(theta: Tensor, above: Tensor, slope: Tensor) -> Tensor:
    """θ shifted along a line of that slope to ln(F / alpha) = 0, or until every σ is at its largest."""
    ceiling = MOST - theta.flatten(1).amin(1)
    return theta + (-above / slope).clamp(-2, 2).minimum(ceiling.clamp_min(0))[:, None, None]


def value(theta: Tensor) -> Tensor:
    """What strict information discarding maximises, up to a constant: (n,)."""
    return theta.clamp_max(MOST).mean((1, 2))


def step(theta: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """A step (n, grid, grid) towards equal slopes, and whether it promises more than WORTH (n,).

    At the optimum every cell has the same share r of the slope, relative to the mean 1; ln σ is off by ½ ln r, and the
    loss is ¼ of the mean of (r - 1)² in nats. Products of different samples have that mean, and no noise: the
    step is shrunk by its part in the mean square.
    """
    free = (theta < MOST).to(theta)
    cells = free.sum((1, 2)).clamp_min(1)
    share = slopes / (slopes.mean(1, keepdim=True) * free[:, None]).sum((2, 3), keepdim=True).clamp_min(SLOPE)
    share = share * cells[:, None, None, None]
    off = (share - (share * free[:, None]).sum((2, 3), keepdim=True) / cells[:, None, None, None]) * free[:, None]
    m, mean = off.shape[1], off.mean(1)
    products = (m * mean.square() - off.square().mean(1)) / (m - 1)  # of different samples
    signal, whole = products.sum((1, 2)) / cells, mean.square().sum((1, 2)) / cells
    spread = ((products - signal[:, None, None]).square() * free).sum((1, 2)).sqrt() / cells
    promised = (signal > 2 * spread) & (signal / (4 * math.log(2)) > WORTH)
    shrunk = (signal / whole.clamp_min(TINY)).clamp(0, 1)[:, None, None]
    return -(1 + shrunk * mean).clamp(RATIO, 1 / RATIO).log() / 2, promised


def linear(problem: Problem, seed: int, error: float) -> Tensor:
    """θ of the closed form, σ² = alpha σ0² mean(a) / a, with sensitivities a from random cotangents.

    The Jacobian is that of images under the noise of the uniform σ: where an image is flat, at the edge of a ReLU, that
    of the image itself is not representative. Noise in a costs 1 / (2 k) nats with k numbers for a cell; the number of
    cotangents is chosen so that this is the error asked for. What two halves of them do not agree in is noise, and ln a
    is shrunk by its part.
    """
    values = problem.x[0].numel() / problem.grid**2
    k = math.ceil(min(1 / (2 * math.log(2) * error * values), COTANGENTS) / UNIT) * UNIT
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(k, *problem.clean.shape[1:], generator=generator, dtype=problem.x.dtype).to(problem.x.device)
    at = problem.images(problem.level(problem.alpha), Noise(problem.x, seed, "cotangents").draw(k)).unflatten(
        0, (-1, k)
    )
    pairs = zip(at.chunk(2, 1), v.chunk(2), strict=True)
    halves = [constrained.sensitivities(problem.features, x, part, problem.grid) for x, part in pairs]
    a = (halves[0] + halves[1]) / 2
    # A dead cell is left at the cut-off; where all are dead at this very point, the answer is uniform.
    mean = a.mean((1, 2), keepdim=True)
    a, one, two = (torch.where(mean > 0, t / mean, 1.0).clamp_min(TINY) for t in (a, *halves))
    noise, whole = (one / two).log().var((1, 2), correction=0) / 4, a.log().var((1, 2), correction=0)
    theta = -a.log() / 2 * (1 - noise / whole.clamp_min(TINY)).clamp(0, 1)[:, None, None]
    return problem.level(problem.alpha) + theta - ((2 * theta).exp() * a).mean((1, 2), keepdim=True).log() / 2
