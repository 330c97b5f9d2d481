"""Strict information discarding: what it is, three ways to find it, and the certificate of any noise."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from infolib import checks
from infolib.measures.discarding import constrained
from infolib.measures.discarding.constrained import Problem

Method = Literal["certified", "closed_form", "authors"]
METHODS: tuple[Method, ...] = ("certified", "closed_form", "authors")
KEPT = ("uniform", "closed form", "Adam")  # what a certified σ may come from
CONSTANT = math.log2(math.sqrt(2 * math.pi * math.e))  # entropy of a standard normal in bits
COTANGENTS = 128
# The authors' code: rate of their gradient descent, λ of their loss F - λ mean ln σ, least σ. NEAR is ours: how far
# from alpha, in their own samples, their choice may stay and still count as reached.
RATE, PENALTY, LEAST, NEAR = 1e-4, 10.0, 1e-3, 0.1

_Fit = tuple[Tensor, Tensor]  # θ, and its distances on the held-out noise


class Discarding(NamedTuple):
    """Information discarding of n images per cell, in bits, with the numbers that show how far to trust it.

    Parameters
    ----------
    entropy, sigma : Tensor, shape (n, grid, grid)
        H_i in bits; the σ_i, in the unit of the images.
    mean, mean_error : Tensor, shape (n,)
        Mean of H_i over the cells, the layer's value, in bits; its standard error from the held-out noise, at alpha.
    ratio, ratio_error : Tensor, shape (n,)
        F on the held-out noise; its standard error.
    capped : Tensor, shape (n,)
        Fraction of cells whose σ is at the largest or least value allowed.
    reached : Tensor, shape (n,)
        Whether F came to alpha; for "authors", in their own samples within 0.1.
    kept : Tensor, shape (n,)
        Index in KEPT of the candidate that won; -1 where there were none.
    """

    entropy: Tensor
    sigma: Tensor
    mean: Tensor
    mean_error: Tensor
    ratio: Tensor
    ratio_error: Tensor
    capped: Tensor
    reached: Tensor
    kept: Tensor


def strict_information_discarding(
    model: nn.Module,
    x: Tensor,
    layer: str,
    *,
    grid: int = 16,
    sigma0: float = 0.01,
    alpha: float = 1.5,
    method: Method = "certified",
    rectify: bool = True,
    steps: int | None = None,
    samples: int | None = None,
    held_out: int = constrained.HELD_OUT,
    seed: int = 0,
) -> Discarding:
    """Strict information discarding max mean_i H_i (CID in the paper's last version) of each image in bits.

    "certified": three candidates, the uniform σ, the closed form of a linear layer from random cotangents, and Adam on
    ln σ from the better of these. Each is scaled to F = alpha on held-out noise, and the largest is kept. Any σ of F =
    alpha is allowed in the maximum, so that this is a lower bound of it, up to `mean_error`.
    "closed_form": the second candidate alone. "authors": gradient descent on σ as in the authors' code, and the step at
    which F of its 8 samples is nearest to alpha; not scaled, so read it with its `ratio`, or give its σ to `certify`.

    Precision is the model's; images do not influence each other.

    Parameters
    ----------
    model : nn.Module
        Any network, in eval mode.
    x : Tensor, shape (n, c, h, w)
        Images in [0, 1]; noise is added to them as they are.
    layer : str
        Dotted name.
    grid : int
        Cells along a side of the image; it divides h and w.
    sigma0, alpha : float
        The reference noise, in the unit of the images; F of the noise that is looked for.
    method : str
        "certified", "closed_form" or "authors".
    rectify : bool
        Whether a ReLU is applied to the layer's output, as in the paper. (Of logits it hides the negative ones.)
    steps, samples : int, optional
        Of the optimiser, and samples of noise in each: 60 and 32 for "certified", 100 and 8 for "authors".
    held_out : int
        Samples of the held-out noise, an even number.
    seed : int
        Of all noise.

    Returns
    -------
    Discarding

    Raises
    ------
    ValueError
        For a network in training mode, a grid that does not fit, images outside [0, 1], a layer whose features do not
        move under noise of σ0 (dead, or constant), and options out of range.

    Examples
    --------
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
    search: dict[str, Callable[[Problem], tuple[Tensor, Tensor, dict[str, Tensor]]]] = {
        "certified": partial(_certified, steps=steps, samples=samples),
        "closed_form": _closed_form,
        "authors": partial(_authors, steps=steps, samples=samples),
    }
    problems = partial(constrained.problems, model, x, layer, grid=grid, rectify=rectify, seed=seed)
    parts = problems(sigma0=sigma0, alpha=alpha, held_out=held_out, samples=samples)
    return _together([result(problem, *search[method](problem)) for problem in parts])


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
    """Lower bound of strict information discarding in bits: any σ, scaled per image to F = alpha on held-out noise.

    The noise is that of `strict_information_discarding` with the same seed, so that bounds can be compared.

    Parameters
    ----------
    model, x, layer, sigma0, alpha, rectify, held_out, seed
        As `strict_information_discarding` takes them.
    sigma : Tensor, shape (n, grid, grid)
        Positive, in any unit.

    Returns
    -------
    Discarding

    Raises
    ------
    ValueError
        As `strict_information_discarding`, and for σ that is not positive or of another shape.

    Examples
    --------
    >>> net, half = nn.Sequential(nn.Flatten()).eval(), torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64)
    >>> certify(net, half, "0", torch.ones(1, 2, 2)).mean.round(decimals=4)  # a layer that is linear, with equal cells
    tensor([-4.3043], dtype=torch.float64)
    """
    sigma, _ = checks.floats("sigma", sigma), checks.at_least("held_out", held_out, 2)
    if sigma.ndim != 3 or len(sigma) != len(x) or sigma.shape[1] != sigma.shape[2] or not (sigma > 0).all():
        raise ValueError(f"sigma must be positive, of shape ({len(x)}, grid, grid), got {tuple(sigma.shape)}")
    thetas = iter(sigma.log())
    problems, results = partial(constrained.problems, model, x, layer, rectify=rectify, seed=seed), []
    for problem in problems(grid=sigma.shape[1], sigma0=sigma0, alpha=alpha, held_out=held_out, samples=held_out):
        theta = torch.stack([next(thetas) for _ in problem.x]).to(problem.x)
        results.append(result(problem, *constrained.matched(problem, theta)))
    return _together(results)


def measured(
    model: nn.Module,
    x: Tensor,
    layers: Sequence[str],
    *,
    grid: int = 16,
    sigma0: float = 0.01,
    alpha: float = 1.5,
    method: Method = "certified",
    rectify: bool = True,
    steps: int | None = None,
    samples: int | None = None,
    held_out: int = constrained.HELD_OUT,
    seed: int = 0,
) -> dict[str, Discarding]:
    """Strict information discarding of several layers in bits.

    Images that do not move a layer, as it is dead there, have NaN in place of numbers and are not `reached`.

    Parameters
    ----------
    model, x, grid, sigma0, alpha, method, rectify, steps, samples, held_out, seed
        As `strict_information_discarding` takes them.
    layers : sequence of str
        Dotted names.

    Returns
    -------
    dict from str to Discarding
        By layer.

    Raises
    ------
    ValueError
        As `strict_information_discarding` for everything else.

    Examples
    --------
    >>> net, half = nn.Sequential(nn.Flatten(), nn.ReLU()).eval(), torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64)
    >>> found = measured(net, half, ["0", "1"], grid=4, method="closed_form")
    >>> {layer: d.reached.tolist() for layer, d in found.items()}
    {'0': [True], '1': [True]}
    """
    x = constrained.checked_images(model, x, grid)

    search = partial(strict_information_discarding, model, grid=grid, alpha=alpha, method=method, steps=steps)

    def find(layer: str) -> Discarding:
        nothing = _nothing(x, grid)
        alive = constrained.moving(model, x, layer, held_out=held_out, sigma0=sigma0, rectify=rectify, seed=seed)
        if alive.any():
            found = search(
                x[alive], layer, sigma0=sigma0, rectify=rectify, samples=samples, held_out=held_out, seed=seed
            )
            for all_images, some in zip(nothing, found, strict=True):
                all_images[alive] = some
        return nothing

    return {layer: find(layer) for layer in layers}


# Ways to find σ: each returns θ = ln σ, its distances on the held-out noise, and further results


def _certified(problem: Problem, *, steps: int, samples: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The largest of the candidates, each scaled to F = alpha."""
    level = math.log(problem.sigma0) + math.log(problem.alpha) / 2  # right for a linear layer
    uniform, distances = constrained.matched(problem, torch.full_like(problem.base[:, :1, None], level))
    best = uniform.expand(-1, problem.grid, problem.grid), distances
    kept = torch.zeros_like(problem.base[:, 0])
    best, kept = _better(problem, best, kept, constrained.matched(problem, _linear(problem)), 1)
    if steps:
        theta = constrained.refined(problem, best[0], mean_theta, steps=steps, samples=samples)
        best, kept = _better(problem, best, kept, constrained.matched(problem, theta), 2)
    return best[0], best[1], {"kept": kept.long()}


def mean_theta(_features: Tensor, theta: Tensor) -> Tensor:
    """What strict information discarding maximises, up to a constant: (n,)."""
    return theta.mean((1, 2))


def _better(problem: Problem, best: _Fit, kept: Tensor, other: _Fit, index: int) -> tuple[_Fit, Tensor]:
    """Image by image, the candidate of the larger mean θ; one of F above alpha is none."""
    allowed = constrained.ratio(problem, other[1])[0] <= problem.alpha * (1 + constrained.TOLERANCE)
    wins = allowed & (other[0].mean((1, 2)) > best[0].mean((1, 2)))
    theta = torch.where(wins[:, None, None], other[0], best[0])
    distances = torch.where(wins[:, None], other[1], best[1])
    return (theta, distances), torch.where(wins, index, kept)


def _closed_form(problem: Problem) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    theta, distances = constrained.matched(problem, _linear(problem))
    return theta, distances, {"kept": torch.ones_like(problem.base[:, 0]).long()}


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
    """Information discarding of θ (n, grid, grid) from its distances (n, m) on the held-out noise."""
    extra = extra or {}
    entropy, sigma = theta / math.log(2) + CONSTANT, theta.exp()
    f, error = constrained.ratio(problem, distances)
    mean_error = error / f / constrained.slope(problem, theta, distances) / math.log(2)
    capped = ((sigma >= constrained.SIGMA_MAX * (1 - 1e-6)) | (sigma <= LEAST * (1 + 1e-6))).to(f).mean((1, 2))
    reached = extra.get("reached", problem.meets(f))
    kept = extra.get("kept", f.new_full((len(f),), -1, dtype=torch.long))
    return Discarding(entropy, sigma, entropy.mean((1, 2)), mean_error, f, error, capped, reached, kept)


def _nothing(x: Tensor, grid: int) -> Discarding:
    """NaN for images that do not move a layer."""
    cells, numbers = x.new_full((2, len(x), grid, grid), math.nan), x.new_full((5, len(x)), math.nan)
    reached, kept = x.new_zeros(len(x), dtype=torch.bool), x.new_full((len(x),), -1, dtype=torch.long)
    return Discarding._make([*cells, *numbers, reached, kept])


def _together(results: list[Discarding]) -> Discarding:
    return Discarding(*(torch.cat(column) for column in zip(*results, strict=True)))
