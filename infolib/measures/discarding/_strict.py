"""Strict information discarding: what it is, three ways to find it, and the certificate of any noise."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from infolib import checks
from infolib.measures.discarding import constrained
from infolib.measures.discarding.constrained import Problem

METHODS = ("certified", "closed_form", "authors")
KEPT = ("uniform", "closed form", "Adam")  # what a certified σ may come from
CONSTANT = math.log2(math.sqrt(2 * math.pi * math.e))  # entropy of a standard normal in bits
COTANGENTS = 128
# The authors' code: rate of their gradient descent, λ of their loss F - λ mean ln σ, least σ. NEAR is ours: how far
# from alpha, in their own samples, their choice may stay and still count as reached.
RATE, PENALTY, LEAST, NEAR = 1e-4, 10.0, 1e-3, 0.1


class Discarding(NamedTuple):
    """Information discarding of n images: per cell, and what is needed to trust it. Entropies in bits."""

    entropy: Tensor  # (n, grid, grid): H_i
    sigma: Tensor  # (n, grid, grid)
    mean: Tensor  # (n,): mean of H_i over the cells, the layer's value
    mean_error: Tensor  # (n,): standard error that the held-out noise leaves of it, at F = alpha
    ratio: Tensor  # (n,): F on the held-out noise
    ratio_error: Tensor  # (n,): its standard error
    capped: Tensor  # (n,): share of cells whose σ is at the largest or least value allowed
    reached: Tensor  # (n,) bool: whether F came to alpha; for "authors", in their own samples within 0.1
    kept: Tensor  # (n,): index in KEPT of the candidate that won; -1 where there were none


def strict_information_discarding(
    model: nn.Module,
    x: Tensor,
    layer: str,
    *,
    grid: int = 16,
    sigma0: float = 0.01,
    alpha: float = 1.5,
    method: str = "certified",
    rectify: bool = True,
    steps: int | None = None,
    samples: int | None = None,
    held_out: int = constrained.HELD_OUT,
    seed: int = 0,
) -> Discarding:
    """Strict information discarding (CID in the paper's last version) of a layer, image by image, in bits.

    "certified": three candidates, the uniform σ, the closed form of a linear layer from random cotangents, and Adam on
    ln σ from the better of these. Each is scaled to F = alpha on held-out noise, and the largest is kept. Any σ of F =
    alpha is allowed in the maximum, so that this is a lower bound of it, up to `mean_error`.
    "closed_form": the second candidate alone. "authors": gradient descent on σ as in the authors' code, and the step at
    which F of its 8 samples is nearest to alpha; not scaled, so read it with its `ratio`, or give its σ to `certify`.

    x: (n, c, h, w) in [0, 1], grid dividing h and w; noise is added to it as it is. `layer` is a dotted name; the paper
    rectifies what it says, and so do we unless `rectify` is False (of logits, the ReLU hides the negative ones).
    `steps` and `samples` per step are 60 and 32 (certified), 100 and 8 (authors). Precision is the model's; images do
    not influence each other.

    Raises: ValueError for a network in training mode, a grid that does not fit, images outside [0, 1], a layer whose
        features do not move under noise of σ0 (dead, or constant), and options out of range

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 16, bias=False)).eval()
    >>> _ = net.double().requires_grad_(False)[1].weight.copy_(torch.eye(16))
    >>> half = torch.full((1, 1, 4, 4), 0.5)
    >>> d = strict_information_discarding(net, half, "1", grid=4, rectify=False)
    >>> round(float(d.mean), 4), round(float(d.ratio), 4)
    (-4.3043, 1.5)
    """
    checks.choice("method", method, METHODS)
    defaults = (100, 8) if method == "authors" else (60, 32)
    steps = defaults[0] if steps is None else checks.at_least("steps", steps, 0)
    samples = defaults[1] if samples is None else samples
    search = {
        "certified": partial(_certified, steps=steps, samples=samples),
        "closed_form": _closed_form,
        "authors": partial(_authors, steps=steps, samples=samples),
    }[method]
    options = {"sigma0": sigma0, "alpha": alpha, "held_out": held_out, "samples": samples, "seed": seed}
    parts = constrained.problems(model, x, layer, grid=grid, rectify=rectify, **options)
    return _together([result(problem, *search(problem)) for problem in parts])


def certify(
    model: nn.Module,
    x: Tensor,
    layer: str,
    sigma: Tensor,
    *,
    sigma0: float = 0.01,
    alpha: float = 1.5,
    rectify: bool = True,
    held_out: int = constrained.HELD_OUT,
    seed: int = 0,
) -> Discarding:
    """Any σ (n, grid, grid), scaled by one number per image to F = alpha on held-out noise: a lower bound in bits.

    The noise is that of `strict_information_discarding` with the same seed, so that bounds can be compared.

    Raises: ValueError as `strict_information_discarding`, and for σ that is not positive or of another shape
    """
    sigma = checks.floats("sigma", sigma)
    if sigma.ndim != 3 or len(sigma) != len(x) or sigma.shape[1] != sigma.shape[2] or not (sigma > 0).all():
        raise ValueError(f"sigma must be positive, of shape ({len(x)}, grid, grid), got {tuple(sigma.shape)}")
    thetas = iter(sigma.log())
    options = {"sigma0": sigma0, "alpha": alpha, "held_out": held_out, "samples": held_out, "seed": seed}
    results = []
    for problem in constrained.problems(model, x, layer, grid=sigma.shape[1], rectify=rectify, **options):
        theta = torch.stack([next(thetas) for _ in problem.x]).to(problem.x)
        results.append(result(problem, *constrained.matched(problem, theta)))
    return _together(results)


def measured(model: nn.Module, x: Tensor, layers: Sequence[str], **options: Any) -> dict[str, Discarding]:
    """`strict_information_discarding` of several layers, in bits.

    Images that do not move a layer, as it is dead there, have NaN in place of numbers and are not `reached`.

    Raises: ValueError as `strict_information_discarding` for everything else
    """
    grid = options.get("grid", 16)
    x = constrained.checked_images(model, x, grid)
    same = {name: options[name] for name in ("held_out", "sigma0", "rectify", "seed") if name in options}

    def find(layer: str) -> Discarding:
        nothing, alive = _nothing(x, grid), constrained.moving(model, x, layer, **same)
        if alive.any():
            found = strict_information_discarding(model, x[alive], layer, **options)
            for all_images, some in zip(nothing, found, strict=True):
                all_images[alive] = some
        return nothing

    return {layer: find(layer) for layer in layers}


# Ways to find σ: each returns θ = ln σ, its distances on the held-out noise, and what more there is to say of it


def _certified(problem: Problem, *, steps: int, samples: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The largest of the candidates, each scaled to F = alpha."""
    level = math.log(problem.sigma0) + math.log(problem.alpha) / 2  # right for a linear layer
    start = constrained.matched(problem, torch.full_like(problem.base[:, :1, None], level))
    best = tuple(t.expand(-1, problem.grid, problem.grid) if t.ndim == 3 else t for t in start)
    kept = torch.zeros_like(problem.base[:, 0])
    best, kept = _better(problem, best, kept, constrained.matched(problem, _linear(problem)), 1)
    if steps:
        theta = constrained.refined(problem, best[0], mean_theta, steps=steps, samples=samples)
        best, kept = _better(problem, best, kept, constrained.matched(problem, theta), 2)
    return *best, {"kept": kept.long()}


def mean_theta(_features: Tensor, theta: Tensor) -> Tensor:
    """What strict information discarding maximises, up to a constant: (n,)."""
    return theta.mean((1, 2))


def _better(problem: Problem, best: tuple, kept: Tensor, other: tuple, index: int) -> tuple[tuple, Tensor]:
    """Image by image, the candidate of the larger mean θ; one of F above alpha is none."""
    allowed = constrained.ratio(problem, other[1])[0] <= problem.alpha * (1 + constrained.TOLERANCE)
    wins = allowed & (other[0].mean((1, 2)) > best[0].mean((1, 2)))
    pick = [torch.where(wins.view(-1, *[1] * (t.ndim - 1)), t, b) for t, b in zip(other, best, strict=True)]
    return tuple(pick), torch.where(wins, index, kept)


def _closed_form(problem: Problem) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    return *constrained.matched(problem, _linear(problem)), {"kept": torch.ones_like(problem.base[:, 0]).long()}


def _linear(problem: Problem) -> Tensor:
    """θ of the closed form, σ² = alpha σ0² mean(a) / a, with sensitivities from Gaussian cotangents."""
    v = torch.randn(COTANGENTS, *problem.clean.shape[1:], generator=problem.generator, dtype=problem.x.dtype)
    pixels = constrained.sensitivities(problem.features, problem.x, v.to(problem.x.device)).sum(1)
    a = constrained.cell_sums(pixels, problem.grid)
    mean = a.mean((1, 2), keepdim=True)
    # A dead cell is left at the cut-off; where all are dead at this very point, the answer is uniform.
    relative = torch.where(mean > 0, a / mean, 1.0).clamp_min(constrained.TINY)
    return (problem.alpha * problem.sigma0**2 / relative).log().clamp_max(math.log(constrained.SIGMA_MAX) + 2) / 2


def _authors(problem: Problem, *, steps: int, samples: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Descent on σ itself with new samples in each step; kept is the step whose own F is nearest to alpha."""
    sigma = torch.full_like(problem.base[:, :1, None], problem.sigma0).repeat(1, problem.grid, problem.grid)
    draw = partial(torch.randn, samples, *problem.x.shape[1:], generator=problem.generator, dtype=problem.x.dtype)
    with torch.no_grad():
        first = problem.noisy(sigma.log(), draw().to(problem.x.device))
    scale = problem.distances(first).mean(1)  # their δ², from as few samples
    best, nearest = sigma.clone(), torch.full_like(scale, math.inf)
    for _ in range(steps):
        sigma = sigma.clamp(LEAST, constrained.SIGMA_MAX).requires_grad_()
        with torch.enable_grad():
            features = problem.noisy(sigma.log(), draw().to(problem.x.device))
            f = problem.distances(features).mean(1) / scale
            loss = f - PENALTY * sigma.log().mean((1, 2))
        (gradient,) = torch.autograd.grad(loss.sum(), sigma)
        sigma, gap = sigma.detach(), (f.detach() - problem.alpha).abs()
        best = torch.where((gap < nearest)[:, None, None], sigma, best)
        nearest = torch.minimum(gap, nearest)
        sigma = sigma - RATE * gradient
    theta = best.log()
    return theta, problem.on_held_out(theta), {"reached": nearest <= NEAR}


def result(problem: Problem, theta: Tensor, distances: Tensor, extra: dict[str, Tensor] | None = None) -> Discarding:
    """What is known of θ (n, grid, grid) from its distances (n, m) on the held-out noise."""
    extra = extra or {}
    entropy, sigma = theta / math.log(2) + CONSTANT, theta.exp()
    f, error = constrained.ratio(problem, distances)
    mean_error = error / f / constrained.slope(problem, theta, distances) / math.log(2)
    capped = ((sigma >= constrained.SIGMA_MAX * (1 - 1e-6)) | (sigma <= LEAST * (1 + 1e-6))).to(f).mean((1, 2))
    reached = extra.get("reached", problem.meets(f))
    kept = extra.get("kept", f.new_full((len(f),), -1, dtype=torch.long))
    return Discarding(entropy, sigma, entropy.mean((1, 2)), mean_error, f, error, capped, reached, kept)


def _nothing(x: Tensor, grid: int) -> Discarding:
    """What is known of images that a layer does not see."""
    cells, numbers = x.new_full((2, len(x), grid, grid), math.nan), x.new_full((5, len(x)), math.nan)
    reached, kept = x.new_zeros(len(x), dtype=torch.bool), x.new_full((len(x),), -1, dtype=torch.long)
    return Discarding(*cells, *numbers, reached, kept)


def _together(results: list[Discarding]) -> Discarding:
    return Discarding(*(torch.cat(column) for column in zip(*results, strict=True)))
