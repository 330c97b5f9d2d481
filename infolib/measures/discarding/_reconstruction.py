"""Reconstruction uncertainty: how little a decoder can be sure of the image under noise that hardly moves a layer."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from infolib import checks
from infolib.measures.discarding import constrained
from infolib.measures.discarding.constrained import Problem


class Reconstruction(NamedTuple):
    """Reconstruction uncertainty of n images in bits, one number per image.

    Parameters
    ----------
    code : Tensor, shape (n,)
        As the authors' code has it, of deviations from the image.
    unperturbed : Tensor, shape (n,)
        The same without any noise, σ = 0: what the decoder cannot do in any case.
    variance : Tensor, shape (n,)
        Of variances around the mean reconstruction.
    sigma : Tensor, shape (n, grid, grid)
        The noise, in the unit of the images.
    ratio : Tensor, shape (n,)
        F on the held-out noise.
    reached : Tensor, shape (n,)
        Whether F came to alpha.
    """

    code: Tensor
    unperturbed: Tensor
    variance: Tensor
    sigma: Tensor
    ratio: Tensor
    reached: Tensor


def reconstruction_uncertainty(
    model: nn.Module,
    x: Tensor,
    layer: str,
    decoder: Callable[[Tensor], Tensor],
    *,
    grid: int = 16,
    sigma0: float = 0.01,
    alpha: float = 1.5,
    rectify: bool = True,
    steps: int = 60,
    samples: int = 32,
    held_out: int = constrained.HELD_OUT,
    seed: int = 0,
) -> Reconstruction:
    """Reconstruction uncertainty RU of each image in bits: how little a decoder can be sure of it from a layer.

    The largest uncertainty of x̂' = decoder(h(x + σε)) at F(σ) = alpha. In the code's form it is the mean over samples
    and pixels of ½ log2(2πe (x̂' - x)² + 1e-6) (the paper's eq. 6 by the code), which counts what the decoder cannot
    do in any case: `unperturbed` is that part. In the form of the definition it is the mean over pixels of
    ½ log2(2πe Var x̂'). For normal deviations without bias, the code's is lower by (γ + ln 2) / (2 ln 2) = 0.9164 bits.
    The σ of the code's form is found as in `strict_information_discarding`, from the uniform σ by Adam; the larger is
    kept. The variance is that of the same σ.

    Parameters
    ----------
    model, x, layer, grid, sigma0, alpha, rectify, steps, samples, held_out, seed
        As `strict_information_discarding` takes them.
    decoder : callable
        From the layer's features, rectified if they are, to images like x.

    Returns
    -------
    Reconstruction

    Raises
    ------
    ValueError
        As `strict_information_discarding`, and for a decoder that returns another shape.

    Examples
    --------
    >>> net, half = nn.Sequential(nn.Flatten()).eval(), torch.full((1, 1, 4, 4), 0.5)
    >>> r = reconstruction_uncertainty(net, half, "0", lambda t: t.view(-1, 1, 4, 4), grid=2, steps=0, held_out=16)
    >>> r.unperturbed, bool(r.code > r.unperturbed)  # ½ log2 1e-6: the decoder is exact
    (tensor([-9.9658]), True)
    """
    checks.at_least("steps", steps, 0)
    problems, results = partial(constrained.problems, model, x, layer, grid=grid, rectify=rectify, seed=seed), []
    for problem in problems(sigma0=sigma0, alpha=alpha, held_out=held_out, samples=samples):
        results.append(_reconstructed(problem, decoder, steps=steps, samples=samples))
    return Reconstruction(*(torch.cat(column) for column in zip(*results, strict=True)))


def _reconstructed(
    problem: Problem, decoder: Callable[[Tensor], Tensor], *, steps: int, samples: int
) -> Reconstruction:
    x = problem.x[:, None]

    def images(features: Tensor) -> Tensor:
        made = decoder(features.flatten(0, 1))
        if made.shape[1:] != x.shape[2:]:
            raise ValueError(f"decoder must return {tuple(x.shape[2:])} per image, got {tuple(made.shape[1:])}")
        return made.unflatten(0, features.shape[:2])

    def uncertainty(made: Tensor) -> Tensor:
        return _half_log(1e-6 + 2 * math.pi * math.e * (made - x).square())

    with torch.no_grad():
        unperturbed = uncertainty(images(problem.clean[:, None]))
    start = torch.full_like(problem.base[:, :1, None], math.log(problem.sigma0)).repeat(1, problem.grid, problem.grid)
    found = []
    for theta in (
        start,
        constrained.refined(problem, start, lambda f, _: uncertainty(images(f)), steps=steps, samples=samples),
    ):
        theta, distances = constrained.matched(problem, theta)
        made = problem.on_held_out(theta, images)
        variance = _half_log(2 * math.pi * math.e * made.var(1, correction=0)[:, None])
        f, _ = constrained.ratio(problem, distances)
        found.append(Reconstruction(uncertainty(made), unperturbed, variance, theta.exp(), f, problem.meets(f)))
    wins = found[1].code > found[0].code
    return Reconstruction(*(torch.where(wins.view(-1, *[1] * (b.ndim - 1)), b, a) for a, b in zip(*found, strict=True)))


def _half_log(t: Tensor) -> Tensor:
    """Mean of ½ log2 over everything but the images: (n,)."""
    return t.flatten(1).log2().mean(1) / 2
