"""Reconstruction uncertainty: how uncertain a decoder is about the image under noise that hardly changes a layer."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from infolib.measures.discarding import constrained
from infolib.measures.discarding._search import STEPS
from infolib.measures.discarding._strict import ERROR, SAMPLES, certify, strict_information_discarding
from infolib.measures.discarding.constrained import Noise, Problem

FLOOR = 1e-6  # added to 2πe times a square or variance, as in the authors' code: least is ½ log2 1e-6, -9.97 bits
DRAWN = 256  # samples of noise that the images are reconstructed under


class Reconstruction(NamedTuple):
    """Reconstruction uncertainty of n images in bits, one number per image.

    Parameters
    ----------
    code : Tensor, shape (n,)
        As the authors' code has it, of deviations from the image.
    unperturbed : Tensor, shape (n,)
        The same without any noise, σ = 0: the decoder's own error.
    variance : Tensor, shape (n,)
        Of variances around the mean reconstruction, over 256 samples of noise.
    sigma : Tensor, shape (n, grid, grid)
        The noise, in the unit of the images.
    ratio : Tensor, shape (n,)
        F on the fresh noise.
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
    error: float = ERROR,
    samples: int = SAMPLES,
    steps: int = STEPS,
    seed: int = 0,
) -> Reconstruction:
    """Reconstruction uncertainty RU of each image in bits: how uncertain a decoder is about it, given a layer.

    The largest uncertainty of x̂' = decoder(h(x + σε)) at F(σ) = alpha. In the code's form it is the mean over samples
    and pixels of ½ log2(2πe (x̂' - x)² + 1e-6) (the paper's eq. 6 by the code), which includes the decoder's
    own error: `unperturbed` is that part. In the form of the definition it is the mean over pixels of
    ½ log2(2πe Var x̂' + 1e-6). For normal deviations without bias, the code's is lower by (γ + ln 2) / (2 ln 2) =
    0.9164 bits. Any σ of F = alpha gives a lower bound: the larger of the uniform σ and of that of
    `strict_information_discarding` is kept, each scaled on fresh noise. The variance is that of the same σ.

    Parameters
    ----------
    model, x, layer, grid, sigma0, alpha, rectify, error, samples, steps, seed
        As `strict_information_discarding` takes them; the error is that of the noise's entropy.
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
    >>> r = reconstruction_uncertainty(net, half, "0", lambda t: t.view(-1, 1, 4, 4), grid=2, steps=0)
    >>> r.unperturbed, bool(r.code > r.unperturbed)  # ½ log2 1e-6: the decoder is exact
    (tensor([-9.9658]), True)
    """
    x = constrained.checked_images(model, x, grid)
    how: dict[str, Any] = {"sigma0": sigma0, "alpha": alpha, "rectify": rectify, "error": error, "samples": samples}
    flat = certify(model, x, layer, x.new_ones(len(x), grid, grid), seed=seed, **how)
    found = strict_information_discarding(model, x, layer, grid=grid, steps=steps, seed=seed, **how)
    results = []
    with constrained.tapped(model, [layer], x, rectify=rectify) as run, torch.no_grad():
        features = constrained.of_layer(run, layer)
        for i, image in enumerate(x.split(1)):
            problem, noise = (
                Problem(features, image, features(image), grid, sigma0, alpha),
                Noise(image, seed, "images"),
            )
            drawn = noise.draw(DRAWN)
            of = [_reconstructed(problem, decoder, d.sigma[i : i + 1], drawn) for d in (flat, found)]
            best = int(of[1][0] > of[0][0])
            d = (flat, found)[best]
            results.append((*of[best], *(t[i : i + 1] for t in (d.sigma, d.ratio, d.reached))))
    return Reconstruction(*map(torch.cat, zip(*results, strict=True)))


def _reconstructed(
    problem: Problem, decoder: Callable[[Tensor], Tensor], sigma: Tensor, noise: Tensor
) -> tuple[Tensor, ...]:
    """Of one image: the code's form, the same without noise, and that of variances."""
    x = problem.x

    def images(features: Tensor) -> Tensor:
        made = decoder(features)
        if made.shape[1:] != x.shape[1:]:
            raise ValueError(f"decoder must return {tuple(x.shape[1:])} per image, got {tuple(made.shape[1:])}")
        return made[None]

    made = problem.changes(sigma.log(), noise, images)
    forms = (made - x).square(), (images(problem.clean) - x).square(), made.var(1, correction=0)
    return tuple((2 * math.pi * math.e * t + FLOOR).flatten(1).log2().mean(1) / 2 for t in forms)
