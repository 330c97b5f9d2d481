"""Strict information discarding: its definition, two ways to find it, and the certificate of any noise."""

import math
from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from infolib import checks
from infolib.measures.discarding import _certificate, _search, constrained
from infolib.measures.discarding._certificate import FIRST, Candidate
from infolib.measures.discarding._search import Found
from infolib.measures.discarding.constrained import MOST, UNIT, Noise, Problem

Method = Literal["certified", "closed_form"]
METHODS: tuple[Method, ...] = ("certified", "closed_form")
KEPT = ("uniform", "closed form", "optimiser")  # what a certified σ may come from
CONSTANT = math.log2(math.sqrt(2 * math.pi * math.e))  # entropy of a standard normal in bits
_How = namedtuple("_How", "grid sigma0 alpha rectify error samples seed")
ERROR, SAMPLES = 0.02, 4096  # bits; samples of fresh noise, at most

Find = Callable[[Problem, list[int], str, Tensor, Tensor], Found]  # of some images, from noise and distances at σ0


class Discarding(NamedTuple):
    """Information discarding of n images per cell, in bits, with numbers that show how reliable it is.

    Parameters
    ----------
    entropy, sigma : Tensor, shape (n, grid, grid)
        H_i in bits; the σ_i, in the unit of the images.
    mean, mean_error : Tensor, shape (n,)
        Mean of H_i over the cells, the layer's value, in bits; its standard error from the fresh noise, at alpha.
    ratio, ratio_error : Tensor, shape (n,)
        F on the fresh noise; its standard error.
    capped : Tensor, shape (n,)
        Fraction of cells whose σ is at the largest value allowed, 1.
    reached : Tensor, shape (n,)
        Whether F came to alpha, and the mean to the error asked for.
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
    error: float = ERROR,
    samples: int = SAMPLES,
    steps: int = _search.STEPS,
    seed: int = 0,
) -> Discarding:
    """Strict information discarding max mean_i H_i (CID in the paper's last version) of each image in bits.

    "certified": the larger of the uniform σ and the closed form of a linear layer from random cotangents, on a few
    samples of noise; then steps of an optimiser, as long as the gradient promises more than `error` and a step
    improves. The winner is scaled to F = alpha on fresh noise: 16 samples, doubled until the standard error is at most
    `error`. Any σ with F = alpha is allowed in the maximum, so the result is a lower bound of it, up to `mean_error`.
    "closed_form": the second candidate alone.

    Precision is the model's; each image has noise of its own, and images do not influence each other.

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
        Standard deviation of the reference noise, in the unit of the images; F that the noise must have.
    method : str
        "certified" or "closed_form".
    rectify : bool
        Whether a ReLU is applied to the layer's output, as in the paper. (On logits it hides the negative ones.)
    error : float
        Standard error in bits that the mean of each image is to have.
    samples : int
        Largest number of samples of the fresh noise, at least 16.
    steps : int
        Largest number of steps of the optimiser.
    seed : int
        Seed of all noise.

    Returns
    -------
    Discarding

    Raises
    ------
    ValueError
        For a network in training mode, a grid that does not fit, images outside [0, 1], a layer whose features do not
        change under noise of σ0 (dead, or constant), a standard error that is not met within the samples allowed, and
        options out of range.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 16, bias=False)).eval()
    >>> _ = net.double().requires_grad_(False)[1].weight.copy_(torch.eye(16))
    >>> half = torch.full((1, 1, 4, 4), 0.5)
    >>> d = strict_information_discarding(net, half, "1", grid=4, rectify=False)
    >>> round(float(d.mean), 1), round(float(d.ratio), 4)
    (-4.3, 1.5)
    """
    how = _How(grid, sigma0, alpha, rectify, error, samples, seed)
    return _whole(measured(model, x, [layer], method=method, steps=steps, **how._asdict()), how)


def certify(
    model: nn.Module,
    x: Tensor,
    layer: str,
    sigma: Tensor,
    *,
    sigma0: float = 0.01,
    alpha: float = 1.5,
    rectify: bool = True,
    error: float = ERROR,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Discarding:
    """Lower bound of strict information discarding in bits: any σ, scaled per image to F = alpha on fresh noise.

    The noise is that of `strict_information_discarding` with the same seed, so that bounds can be compared.

    Parameters
    ----------
    model, x, layer, sigma0, alpha, rectify, error, samples, seed
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
    sigma = checks.floats("sigma", sigma)
    if sigma.ndim != 3 or len(sigma) != len(x) or sigma.shape[1] != sigma.shape[2] or not (sigma > 0).all():
        raise ValueError(f"sigma must be positive, of shape ({len(x)}, grid, grid), got {tuple(sigma.shape)}")

    def find(problem: Problem, images: list[int], _layer: str, noise: Tensor, base: Tensor) -> Found:
        theta = sigma[images].log().to(problem.x)
        theta = theta - theta.mean((1, 2), keepdim=True) + problem.level(alpha)
        return _search.settled(problem, theta, noise, base, -1)[0]

    how = _How(sigma.shape[1], sigma0, alpha, rectify, error, samples, seed)
    return _whole(_measured(model, x, [layer], find, how), how)


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
    error: float = ERROR,
    samples: int = SAMPLES,
    steps: int = _search.STEPS,
    seed: int = 0,
) -> dict[str, Discarding]:
    """Strict information discarding of several layers in bits, from the same noise and one pass at σ0 for all.

    Where the noise of σ0 does not change a layer, because it is dead there, all numbers of the image are NaN. Where
    the standard error is not met within the samples allowed, all numbers but `mean_error`, the standard error that was
    reached, are NaN. In both cases `reached` is false.

    Parameters
    ----------
    model, x, grid, sigma0, alpha, method, rectify, error, samples, steps, seed
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
    checks.choice("method", method, METHODS), checks.at_least("steps", steps, 0)

    def find(problem: Problem, _images: list[int], layer: str, noise: Tensor, base: Tensor) -> Found:
        if method == "closed_form":
            return _search.settled(problem, _search.linear(problem, seed, error), noise, base, 1)[0]
        more = Noise(problem.x, seed, f"steps {layer}")
        return _search.certified(problem, noise, base, more, seed=seed, steps=steps, error=error)

    return _measured(model, x, layers, find, _How(grid, sigma0, alpha, rectify, error, samples, seed))


def _measured(model: nn.Module, x: Tensor, layers: Sequence[str], find: Find, how: _How) -> dict[str, Discarding]:
    """What is certified of the σ that are found for each layer and image, a few images at a time."""
    grid, sigma0, alpha, rectify, error, samples, seed = how
    x = constrained.checked_images(model, x, grid)
    checks.within("sigma0", checks.positive("sigma0", sigma0), 0, constrained.SIGMA_MAX)
    for name, value in (("alpha", alpha), ("error", error)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")
    checks.at_least("samples", samples, FIRST), checks.at_least("seed", seed, 0)
    parts: dict[str, list[Discarding]] = {layer: [] for layer in checks.names("layers", layers)}
    at_once = max(1, constrained.VALUES // (UNIT * x[0].numel()))
    with constrained.tapped(model, layers, x, rectify=rectify) as run:
        for start, some in zip(range(0, len(x), at_once), x.split(at_once), strict=True):
            with torch.no_grad():
                clean = run(some, dict.fromkeys(layers, torch.clone))
            features = {layer: constrained.of_layer(run, layer) for layer in layers}
            problems = {layer: Problem(features[layer], some, clean[layer], grid, sigma0, alpha) for layer in layers}
            noise, candidates = Noise(some, seed, "search").draw(UNIT), {}
            for layer, base in constrained.distances_at(run, problems, noise).items():
                problem, scale = problems[layer], base.mean(1)
                alive = (scale > 0) & scale.isfinite()
                found = _search.nothing(problem)
                if index := alive.nonzero().flatten().tolist():
                    where = [start + i for i in index]
                    found = found.with_those(index, find(problem.of(index), where, layer, noise[index], base[index]))
                candidates[layer] = Candidate(problem, found, scale, alive, error)
            _certificate.certify(run, candidates, Noise(some, seed, "certificate"), samples=samples)
            for layer, candidate in candidates.items():
                parts[layer].append(_result(candidate))
    return {layer: Discarding(*map(torch.cat, zip(*of, strict=True))) for layer, of in parts.items()}


def _result(candidate: Candidate) -> Discarding:
    alpha, found = candidate.problem.alpha, candidate.found
    shift, f, f_error, mean_error, met = candidate.now
    theta = candidate.theta(shift).masked_fill((met == 0)[:, None, None], math.nan).clamp_max(MOST)
    f, f_error = (torch.where(met > 0, t, math.nan).to(theta) for t in (f, f_error))
    capped = torch.where(met > 0, (theta == MOST).to(theta).mean((1, 2)), math.nan)
    entropy = theta / math.log(2) + CONSTANT
    numbers = entropy, theta.exp(), entropy.mean((1, 2)), mean_error.to(theta), f, f_error
    return Discarding(*numbers, capped, f >= alpha * (1 - 1e-5), found.kept)


def _whole(found: dict[str, Discarding], how: _How) -> Discarding:
    """The one layer's, if there are numbers for all images."""
    ((layer, d),) = found.items()
    if still := d.mean_error.isnan().nonzero().flatten().tolist():
        raise ValueError(
            f"layer {layer!r} does not move under noise of sigma0={how.sigma0} (δ² = 0, or not finite) at images "
            f"{still[:5]}, in {UNIT} samples: nothing to compare with; leave out images at which the layer is dead"
        )
    if missed := d.mean.isnan().nonzero().flatten().tolist():
        reached = ", ".join(f"{value:.3g}" for value in d.mean_error[missed[:5]].tolist())
        raise ValueError(
            f"layer {layer!r} has no standard error of error={how.error:g} bits within samples={how.samples} at images "
            f"{missed[:5]}, but {reached}; allow more samples, or a larger error"
        )
    return d
