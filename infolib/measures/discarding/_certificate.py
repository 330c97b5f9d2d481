"""The value of a σ, scaled to F = alpha on fresh noise: samples double until the standard error is small enough."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from infolib.measures.discarding import constrained
from infolib.measures.discarding._search import Found
from infolib.measures.discarding.constrained import MOST, UNIT, VALUES, Noise, Problem, Run

FIRST = 16  # samples of noise at the least: a standard error takes as many
SETTLED = 2  # the last shift is at most so many of the errors asked for, so that the slope's own error hardly counts
FAR = 0.2  # a shift of θ behind which samples are drawn anew


class Candidate:
    """A layer's σ and what is known of it: sums over samples of its distances and of those at σ0."""

    def __init__(self, problem: Problem, found: Found, scale: Tensor, alive: Tensor, error: float):
        self.problem, self.found, self.error = problem, found, error
        self.slope, self.scale = found.slope.double(), scale.double()
        self.ceiling = (MOST - found.theta.flatten(1).amin(1)).double()
        self.sums, self.active = self.slope.new_zeros(6, len(scale)), alive.nonzero().flatten().tolist()
        # Shift of θ; F there and its standard error; that of the mean in bits; whether this is met.
        self.now = self.sums.new_tensor([0, *[math.nan] * 3, 0])[:, None].repeat(1, len(scale))

    def theta(self, shift: Tensor) -> Tensor:
        """Of all images, shifted."""
        return self.found.theta + shift.to(self.found.theta)[:, None, None]

    def add(self, noise: Tensor, base: Tensor) -> None:
        """The active images under more noise: distances as if θ had no shift, by the slope, and those at σ0."""
        i, shift = self.active, self.now[0]
        here = self.problem.of(i).changes(self.theta(shift)[i], noise)
        a, b = (d.double() / self.scale[i, None] for d in (here, base))
        a = a * (-self.slope * shift).exp()[i, None]
        self.sums[:, i] += torch.stack([torch.ones_like(a), a, b, a * a, a * b, b * b]).sum(2)

    def judge(self) -> None:
        """Shift the active images by what the sums say; those that are done are no longer active."""
        k, before, alpha = self.sums[0], self.now[0], self.problem.alpha
        a, b, aa, ab, bb = self.sums[1:] / k
        shift = ((alpha * b / a).log() / self.slope).clamp(before - 2, before + 2).minimum(self.ceiling.clamp_min(0))
        shift = torch.where(shift.isnan(), before, shift)
        w = (self.slope * shift).exp()
        f = w * a / b
        variance = w**2 * (aa - a * a) - 2 * f * w * (ab - a * b) + f**2 * (bb - b * b)
        # Divided by k - 3, not k - 1: the square of an error over its standard error is then 1 on average.
        ratio_error = (variance.clamp_min(0) / (k - 3)).sqrt() / b
        bits = (self.theta(shift) < MOST).double().mean((1, 2)) / math.log(2)  # of the mean, for a shift of 1
        mean_error, last = ratio_error / f / self.slope * bits, (shift - before).abs()
        met = (mean_error <= self.error) & (last * bits <= SETTLED * self.error) & (last <= FAR)
        met = met | ((shift >= self.ceiling) & (last == 0))  # every σ is at its largest
        mean_error = torch.where(met, mean_error, torch.maximum(mean_error, last * bits))
        self.sums = torch.where(last > FAR, 0, self.sums)
        active = torch.zeros_like(met).index_fill(0, torch.tensor(self.active, device=met.device), True)
        self.now = torch.where(active, torch.stack([shift, f, ratio_error, mean_error, met.double()]), self.now)
        self.active = (active & ~met).nonzero().flatten().tolist()


def certify(run: Run, candidates: Mapping[str, Candidate], noise: Noise, *, samples: int) -> None:
    """Judge each layer's candidate on the same noise, with one pass at σ0 for all of them."""
    total, more = 0, FIRST
    while more and (active := {layer: c for layer, c in candidates.items() if c.active}):
        which = sorted(set().union(*(c.active for c in active.values())))
        at_once = max(UNIT, VALUES // (len(which) * noise.x[0].numel()) // UNIT * UNIT)
        for done in range(0, more, at_once):
            drawn = noise.draw(min(at_once, more - done), which)
            base = constrained.distances_at(run, {layer: c.problem.of(which) for layer, c in active.items()}, drawn)
            for layer, c in active.items():
                rows = [which.index(i) for i in c.active]
                c.add(drawn[rows], base[layer][rows])
        for c in active.values():
            c.judge()
        total += more
        more = min(total, samples - total) // UNIT * UNIT
