"""Information discarding as it was searched for before: the reference that today's search is measured against.

Three candidates, each scaled to F = alpha on the same held-out noise within 1e-4 of ln F, the largest kept: 25 steps of
Adam with 16 samples each, 128 held-out samples, 128 cotangents.
"""

import math
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from infolib import activations
from infolib.measures import discarding
from infolib.measures.discarding import constrained

SIGMA0, ALPHA, HELD_OUT, STEPS, SAMPLES, COTANGENTS = 0.01, 1.5, 128, 25, 16, 128


@contextmanager
def rectified(model: nn.Module, layer: str):
    """Features of a layer, rectified."""
    with activations.upto(model, layer) as run:
        yield lambda x: run(x).relu()


def antithetic(samples: int, x: Tensor, generator: torch.Generator) -> Tensor:
    half = torch.randn(samples // 2, *x.shape[1:], generator=generator)
    return torch.cat([half, -half])


class Search(NamedTuple):
    """Images x (n, c, h, w), features of a layer, held-out noise and a grid."""

    features: object
    x: Tensor
    clean: Tensor
    grid: int
    held_out: Tensor
    generator: torch.Generator

    def distances(self, theta: Tensor, noise: Tensor) -> Tensor:
        (n, c, h, w), g, m = self.x.shape, self.grid, len(noise)
        cells = noise.view(1, m, c, g, h // g, g, w // g) * theta.exp().view(n, 1, 1, g, 1, g, 1)
        moved = self.features((self.x[:, None] + cells.view(n, m, c, h, w)).flatten(0, 1)).unflatten(0, (n, m))
        return (moved - self.clean[:, None]).flatten(2).square().mean(2)

    def judged(self, theta: Tensor) -> Tensor:
        size = max(1, constrained.VALUES // self.x.numel())
        with torch.no_grad():
            return torch.cat([self.distances(theta, part) for part in self.held_out.split(size)], 1)

    def matched(self, theta: Tensor, target: Tensor) -> Tensor:
        """θ shifted by a bracketed secant to F = alpha on the held-out noise."""
        ceiling = -theta.flatten(1).amin(1)
        low, high = torch.full_like(target, -math.inf), ceiling.clone()
        shift, slope, before = ceiling.clamp_max(0), torch.full_like(target, 2.0), None
        for _ in range(40):
            fitted = (theta + shift[:, None, None]).clamp_max(0)
            excess = (self.judged(fitted).mean(1) / target).clamp_min(1e-30).log()
            done = (excess.abs() < 1e-4) | ((shift >= ceiling) & (excess <= 0))
            if done.all():
                break
            low, high = torch.where(excess <= 0, shift, low), torch.where(excess > 0, shift, high)
            if before is not None:
                secant = (excess - before[1]) / (shift - before[0])
                slope = torch.where((secant > 0.1) & secant.isfinite(), secant, slope)
            step = (shift - excess / slope).clamp(shift - 2, shift + 2).minimum(ceiling)
            outside = (step <= low) | ((step >= high) & (high < ceiling))
            step = torch.where(outside & low.isfinite(), (low + high) / 2, step)
            before, shift = (shift, excess), torch.where(done, shift, step)
        return fitted

    def closed(self) -> Tensor:
        v = torch.randn(COTANGENTS, *self.clean.shape[1:], generator=self.generator)
        points = self.x[:, None].expand(-1, len(v), -1, -1, -1)
        a = constrained.sensitivities(self.features, points, v, self.grid)
        relative = (a / a.mean((1, 2), keepdim=True)).clamp_min(1e-30)
        return (ALPHA * SIGMA0**2 / relative).log().clamp_max(2) / 2

    def refined(self, theta: Tensor, target: Tensor) -> Tensor:
        """θ after Adam along F = alpha."""
        theta = theta.clone()
        optimiser = torch.optim.Adam([theta], 0.1, betas=(0.9, 0.99))
        for step in range(STEPS):
            optimiser.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * step / STEPS))
            here = theta.detach().requires_grad_()
            noise = antithetic(SAMPLES, self.x, self.generator)
            excess = (self.distances(here, noise).mean(1) / target).clamp_min(1e-30).log()
            (cost,) = torch.autograd.grad(excess.sum(), here)
            slope = cost.sum((1, 2), keepdim=True)
            theta.grad = cost / torch.where(slope > 1e-30, slope, math.inf) - 1 / self.grid**2
            optimiser.step()
            theta -= (excess.detach() / 2)[:, None, None].clamp(-0.5, 0.5)
            theta.clamp_(max=0)
        return theta


def larger(one: Tensor, other: Tensor) -> Tensor:
    """Image by image."""
    return torch.where((other.mean((1, 2)) > one.mean((1, 2)))[:, None, None], other, one)


def search(model: nn.Module, x: Tensor, layer: str, *, grid: int, seed: int = 0) -> Tensor:
    """Mean of H in bits of each image, as it was found before."""
    means = []
    with rectified(model, layer) as features:
        for part in x.split(max(1, constrained.VALUES // (SAMPLES * x[0].numel()))):
            generator = torch.Generator().manual_seed(seed)
            held_out = antithetic(HELD_OUT, x, generator)
            with torch.no_grad():
                clean = features(part)
            s = Search(features, part, clean, grid, held_out, generator)
            flat = part.new_full((len(part), grid, grid), math.log(SIGMA0))
            target = ALPHA * s.judged(flat).mean(1)
            best = s.matched(flat + math.log(ALPHA) / 2, target)
            best = larger(best, s.matched(s.closed(), target))
            best = larger(best, s.matched(s.refined(best, target), target))
            s.judged(best + 0.02)  # the slope, for the standard error
            means.append(best.mean((1, 2)) / math.log(2) + math.log2(math.sqrt(2 * math.pi * math.e)))
    return torch.cat(means)


def descended(model: nn.Module, x: Tensor, layer: str, *, grid: int, steps: int) -> Tensor:
    """Mean of H in bits after descent on σ with the authors' rate, λ and 8 samples; scaled to F = alpha."""
    generator, sigma = torch.Generator().manual_seed(0), torch.full((len(x), 1, grid, grid), SIGMA0)
    with rectified(model, layer) as features:
        clean = features(x)
        for step in range(steps + 1):
            noise = torch.randn(8, *x.shape[1:], generator=generator)
            wide = nn.functional.interpolate(sigma.requires_grad_(), x.shape[2:])[:, None]
            moved = features((x[:, None] + wide * noise).flatten(0, 1)).unflatten(0, (len(x), 8))
            distance = (moved - clean[:, None]).square().flatten(1).mean(1)
            scale = distance.detach() if step == 0 else scale  # noqa: F821
            (gradient,) = torch.autograd.grad((distance / scale - 10 * sigma.log().mean((1, 2, 3))).sum(), sigma)
            sigma = (sigma.detach() - 1e-4 * gradient * (step > 0)).clamp(1e-3, 1)
    return discarding.certify(model, x, layer, sigma[:, 0], error=0.01).mean


def errors(model: nn.Module, x: Tensor, layers: list[str], *, grid: int, error: float, seeds: int, samples: int = 4096):
    """(Layer, rms error and bias in bits against the same σ on fresh samples, rms of errors over stated ones)."""
    found = [discarding.measured(model, x, layers, grid=grid, error=error, seed=seed) for seed in range(seeds)]
    for layer in layers:
        off = torch.stack([_above(model, x, layer, d[layer].sigma, grid, samples) for d in found])
        stated = torch.stack([d[layer].mean_error for d in found])
        yield layer, float(off.square().mean().sqrt()), float(off.mean()), float((off / stated).square().mean().sqrt())


def _above(model: nn.Module, x: Tensor, layer: str, sigma: Tensor, grid: int, samples: int) -> Tensor:
    """By how many bits the mean of σ is above that at F = alpha, on fresh noise."""
    off = []
    with constrained.tapped(model, [layer], x, rectify=True) as run, torch.no_grad():
        features = constrained.of_layer(run, layer)
        for image, own in zip(x.split(1), sigma.split(1), strict=True):
            problem = constrained.Problem(features, image, features(image), grid, SIGMA0, ALPHA)
            noise, sums = constrained.Noise(image, 99, "fresh"), torch.zeros(3)
            for _ in range(samples // 64):
                drawn = noise.draw(64)
                thetas = problem.level(), own.log(), own.log() + 0.05
                sums += torch.stack([problem.changes(theta, drawn).sum() for theta in thetas])
            base, here, more = sums
            off.append((here / base / ALPHA).log() / ((more / here).log() / 0.05) / math.log(2))
    return torch.stack(off)
