"""Information discarding: how much noise on each part of an image a layer does not notice.

Ma et al. 2022 (arXiv 1906.04109) ask how large the entropy of a changed input x' can be while a layer h says nearly the
same. With independent normal noise of one σ in each cell of a grid,

    strict information discarding  =  max mean_i H_i,   H_i = log2(σ_i sqrt(2πe)),   subject to F(σ) = alpha,
    F(σ) = E |h(x + σε) - h(x)|² / E |h(x + σ0 ε) - h(x)|²,

the paper's constrained problem (their CID; SID in the first version). As F compares each image and layer with itself,
the answer does not change when a layer's features are scaled, rotated or repeated, so that layers and networks can be
compared. For a linear layer whose cells have sensitivities a_g = sum over the cell of |∂h/∂x_i|²,

    σ_g² = alpha σ0² mean(a) / a_g,      mean H = log2(σ0 sqrt(2πe alpha)) + ½ log2(AM(a) / GM(a)):

a floor of -4.3043 bits (-2.9835 nats) at the usual σ0 and alpha, and how unequal the cells are. A layer that shrinks
everything alike discards nothing; nor need a deeper layer discard more.

Values are in bits of differential entropy, negative for small σ; a nat is 1.4427 bits.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from infolib import checks
from infolib.measures.discarding import _noise
from infolib.measures.discarding._maps import grad_cam, jacobian, perturbation, sensitivity
from infolib.measures.discarding._noise import Problem

__all__ = [
    "Discarding", "Reconstruction", "box", "certify", "comparability", "concentration", "grad_cam", "jacobian",
    "measured", "perturbation", "reconstruction_uncertainty", "sensitivity", "strict_information_discarding", "table",
]  # fmt: skip

METHODS = ("certified", "closed_form", "authors")
KEPT = ("uniform", "closed form", "Adam")  # what a certified σ may come from
CONSTANT = math.log2(math.sqrt(2 * math.pi * math.e))  # entropy of a standard normal in bits
HELD_OUT = 256  # samples of noise that a σ is judged on
COTANGENTS = 128
TOLERANCE = 1e-3  # of F / alpha, within which the constraint counts as reached
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
    held_out: int = HELD_OUT,
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
    parts = _noise.problems(model, x, layer, grid=grid, rectify=rectify, **options)
    return _together([_result(problem, *search(problem)) for problem in parts])


def certify(
    model: nn.Module,
    x: Tensor,
    layer: str,
    sigma: Tensor,
    *,
    sigma0: float = 0.01,
    alpha: float = 1.5,
    rectify: bool = True,
    held_out: int = HELD_OUT,
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
    for problem in _noise.problems(model, x, layer, grid=sigma.shape[1], rectify=rectify, **options):
        theta = torch.stack([next(thetas) for _ in problem.x]).to(problem.x)
        results.append(_result(problem, *_noise.matched(problem, theta)))
    return _together(results)


def concentration(entropy: Tensor, foreground: Tensor) -> Tensor:
    """Concentration ρ = mean H_i of the background - mean H_i of the foreground, in bits (the paper's eq. 5).

    entropy: (..., grid, grid) in bits; foreground: (grid, grid) or of entropy's shape, boolean. Returns (...), NaN for
    images of NaN, as a dead layer has.

    Raises: ValueError for another shape, or where either side is empty

    >>> concentration(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([[False, True], [True, False]]))
    tensor(2.)
    """
    entropy, mask = torch.as_tensor(entropy), torch.as_tensor(foreground)
    checks.floats("entropy", entropy.nan_to_num(0, math.inf, -math.inf), min_ndim=2)
    if mask.dtype != torch.bool or mask.shape not in (entropy.shape, entropy.shape[-2:]):
        raise ValueError(
            f"foreground must be boolean of shape {tuple(entropy.shape[-2:])}, got {mask.dtype} {tuple(mask.shape)}"
        )
    inside = mask.expand(entropy.shape).to(entropy)
    sizes = inside.sum((-2, -1)), (1 - inside).sum((-2, -1))
    if not all((size > 0).all() for size in sizes):
        raise ValueError("foreground must leave cells on either side, in every image")
    return (entropy * (1 - inside)).sum((-2, -1)) / sizes[1] - (entropy * inside).sum((-2, -1)) / sizes[0]


def box(grid: int) -> Tensor:
    """The cells of an object whose box is the image's central two thirds, as the authors round it: (grid, grid) bool.

    >>> box(6).int().sum(0)
    tensor([0, 4, 4, 4, 4, 0])
    """
    inside = torch.zeros(checks.at_least("grid", grid, 2), dtype=torch.bool)
    inside[grid // 6 : grid * 5 // 6] = True
    return inside[:, None] & inside


def measured(model: nn.Module, x: Tensor, layers: Sequence[str], **options: Any) -> dict[str, Discarding]:
    """`strict_information_discarding` of several layers, in bits.

    Images that do not move a layer, as it is dead there, have NaN in place of numbers and are not `reached`.

    Raises: ValueError as `strict_information_discarding` for everything else
    """
    grid = options.get("grid", 16)
    x = _noise.checked_images(model, x, grid)
    same = {name: options[name] for name in ("held_out", "sigma0", "rectify", "seed") if name in options}

    def find(layer: str) -> Discarding:
        result, alive = _nothing(x, grid), _noise.moving(model, x, layer, **{"held_out": HELD_OUT} | same)
        if alive.any():
            found = strict_information_discarding(model, x[alive], layer, **options)
            for all_images, some in zip(result, found, strict=True):
                all_images[alive] = some
        return result

    return {layer: find(layer) for layer in layers}


def table(results: Mapping[str, Discarding], foreground: Tensor | None = None) -> pd.DataFrame:
    """What `measured` found, as a frame with one row per layer and image, in bits.

    Columns: layer, image, discarding (mean H), error, ratio, capped, reached; with a foreground (grid, grid), also
    concentration.
    """
    rows = []
    for layer, d in results.items():
        columns = {"discarding": d.mean, "error": d.mean_error, "ratio": d.ratio, "capped": d.capped}
        if foreground is not None:
            columns["concentration"] = concentration(d.entropy, foreground)
        columns = {name: t.double().cpu().numpy() for name, t in columns.items()}
        columns |= {"image": range(len(d.mean)), "reached": d.reached.cpu().numpy()}
        rows.append(pd.DataFrame({"layer": layer, **columns}))
    return pd.concat(rows, ignore_index=True)


def comparability(
    model: nn.Module, changed: Mapping[str, nn.Module], x: Tensor, layer: str, *, grid: int
) -> pd.DataFrame:
    """How far a layer's maps differ between `model` and each of the `changed` networks: a frame with a row for each.

    Columns: to; jacobian, sensitivity and perturbation, the change of the map's mean in powers of ten, without its
    sign; bits, the largest change of an image's information discarding (few steps, common noise). Raises ValueError as
    these do.
    """

    def sizes(net: nn.Module) -> tuple[Tensor, dict[str, float]]:
        maps = {f.__name__: f(net, x, layer, grid=grid) for f in (jacobian, sensitivity, perturbation)}
        found = strict_information_discarding(net, x, layer, grid=grid, steps=10, samples=8, held_out=64)
        return found.mean, {name: float(t.mean().log10()) for name, t in maps.items()}

    bits, logs = sizes(model)
    rows = []
    for name, net in changed.items():
        other, theirs = sizes(net)
        change = {k: abs(theirs[k] - logs[k]) for k in logs}
        rows.append({"to": name} | change | {"bits": float((other - bits).abs().max())})
    return pd.DataFrame(rows)


class Reconstruction(NamedTuple):
    """Reconstruction uncertainty of n images, with what it is made of; bits, one number per image."""

    code: Tensor  # (n,): as the authors' code has it, of deviations from the image
    unperturbed: Tensor  # (n,): the same without any noise, σ = 0: what the decoder cannot do in any case
    variance: Tensor  # (n,): of variances around the mean reconstruction
    sigma: Tensor  # (n, grid, grid)
    ratio: Tensor  # (n,): F on the held-out noise
    reached: Tensor  # (n,) bool: whether F came to alpha


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
    held_out: int = HELD_OUT,
    seed: int = 0,
) -> Reconstruction:
    """Reconstruction uncertainty RU of a layer, image by image, in bits: how little a decoder can be sure of the image.

    The largest uncertainty of x̂' = decoder(h(x + σε)) at F(σ) = alpha. In the code's form it is the mean over samples
    and pixels of ½ log2(2πe (x̂' - x)² + 1e-6) (the paper's eq. 6 by the code), which counts what the decoder cannot
    do in any case: `unperturbed` is that part. In the form of the definition it is the mean over pixels of
    ½ log2(2πe Var x̂'). For normal deviations without bias, the code's is lower by (γ + ln 2) / (2 ln 2) = 0.9164 bits.
    The σ of the code's form is found as in `strict_information_discarding`, from the uniform σ by Adam; the larger is
    kept. The variance is that of the same σ.

    x: (n, c, h, w) in [0, 1]; the decoder takes the layer's features, rectified if they are, and returns images like x.

    Raises: ValueError as `strict_information_discarding`, and for a decoder that returns another shape
    """
    options = {"sigma0": sigma0, "alpha": alpha, "held_out": held_out, "samples": samples, "seed": seed}
    results = []
    for problem in _noise.problems(model, x, layer, grid=grid, rectify=rectify, **options):
        results.append(_reconstructed(problem, decoder, steps=steps, samples=samples))
    return Reconstruction(*(torch.cat(column) for column in zip(*results, strict=True)))


# Ways to find σ: each returns θ = ln σ, its distances on the held-out noise, and what more there is to say of it


def _certified(problem: Problem, *, steps: int, samples: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The largest of the candidates, each scaled to F = alpha."""
    level = math.log(problem.sigma0) + math.log(problem.alpha) / 2  # right for a linear layer
    start = _noise.matched(problem, torch.full_like(problem.base[:, :1, None], level))
    best = tuple(t.expand(-1, problem.grid, problem.grid) if t.ndim == 3 else t for t in start)
    kept = torch.zeros_like(problem.base[:, 0])
    best, kept = _better(problem, best, kept, _noise.matched(problem, _linear(problem)), 1)
    if steps:
        theta = _noise.refined(problem, best[0], _mean_theta, steps=steps, samples=samples)
        best, kept = _better(problem, best, kept, _noise.matched(problem, theta), 2)
    return *best, {"kept": kept.long()}


def _mean_theta(_features: Tensor, theta: Tensor) -> Tensor:
    return theta.mean((1, 2))


def _better(problem: Problem, best: tuple, kept: Tensor, other: tuple, index: int) -> tuple[tuple, Tensor]:
    """Image by image, the candidate of the larger mean θ; one of F above alpha is none."""
    allowed = _noise.ratio(problem, other[1])[0] <= problem.alpha * (1 + TOLERANCE)
    wins = allowed & (other[0].mean((1, 2)) > best[0].mean((1, 2)))
    pick = [torch.where(wins.view(-1, *[1] * (t.ndim - 1)), t, b) for t, b in zip(other, best, strict=True)]
    return tuple(pick), torch.where(wins, index, kept)


def _closed_form(problem: Problem) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    return *_noise.matched(problem, _linear(problem)), {"kept": torch.ones(len(problem.x), dtype=torch.long)}


def _linear(problem: Problem) -> Tensor:
    """θ of the closed form, σ² = alpha σ0² mean(a) / a, with sensitivities from Gaussian cotangents."""
    v = torch.randn(COTANGENTS, *problem.clean.shape[1:], generator=problem.generator, dtype=problem.x.dtype)
    pixels = _noise.sensitivities(problem.features, problem.x, v.to(problem.x.device)).sum(1)
    a = _noise.cell_sums(pixels, problem.grid)
    mean = a.mean((1, 2), keepdim=True)
    # A dead cell is left at the cut-off; where all are dead at this very point, the answer is uniform.
    relative = torch.where(mean > 0, a / mean, 1.0).clamp_min(_noise.TINY)
    return (problem.alpha * problem.sigma0**2 / relative).log().clamp_max(math.log(_noise.SIGMA_MAX) + 2) / 2


def _authors(problem: Problem, *, steps: int, samples: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Descent on σ itself with new samples in each step; kept is the step whose own F is nearest to alpha."""
    sigma = torch.full_like(problem.base[:, :1, None], problem.sigma0).repeat(1, problem.grid, problem.grid)
    draw = partial(torch.randn, samples, *problem.x.shape[1:], generator=problem.generator, dtype=problem.x.dtype)
    with torch.no_grad():
        first = problem.noisy(sigma.log(), draw().to(problem.x.device))
    scale = problem.distances(first).mean(1)  # their δ², from as few samples
    best, nearest = sigma.clone(), torch.full_like(scale, math.inf)
    for _ in range(steps):
        sigma = sigma.clamp(LEAST, _noise.SIGMA_MAX).requires_grad_()
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
        _noise.refined(problem, start, lambda f, _: uncertainty(images(f)), steps=steps, samples=samples),
    ):
        theta, distances = _noise.matched(problem, theta)
        made = problem.on_held_out(theta, images)
        variance = _half_log(2 * math.pi * math.e * made.var(1, correction=0)[:, None])
        f, _ = _noise.ratio(problem, distances)
        reached = (f / problem.alpha - 1).abs() <= TOLERANCE
        found.append(Reconstruction(uncertainty(made), unperturbed, variance, theta.exp(), f, reached))
    wins = found[1].code > found[0].code
    return Reconstruction(*(torch.where(wins.view(-1, *[1] * (b.ndim - 1)), b, a) for a, b in zip(*found, strict=True)))


def _half_log(t: Tensor) -> Tensor:
    """Mean of ½ log2 over everything but the images: (n,)."""
    return t.flatten(1).log2().mean(1) / 2


def _result(problem: Problem, theta: Tensor, distances: Tensor, extra: dict[str, Tensor] | None = None) -> Discarding:
    extra = extra or {}
    entropy, sigma = theta / math.log(2) + CONSTANT, theta.exp()
    f, error = _noise.ratio(problem, distances)
    mean_error = error / f / _noise.slope(problem, theta, distances) / math.log(2)
    capped = ((sigma >= _noise.SIGMA_MAX * (1 - 1e-6)) | (sigma <= LEAST * (1 + 1e-6))).to(f).mean((1, 2))
    reached = extra.get("reached", (f / problem.alpha - 1).abs() <= TOLERANCE)
    kept = extra.get("kept", torch.full((len(f),), -1))
    return Discarding(entropy, sigma, entropy.mean((1, 2)), mean_error, f, error, capped, reached, kept)


def _nothing(x: Tensor, grid: int) -> Discarding:
    """What is known of images that a layer does not see."""
    cells, numbers = x.new_full((2, len(x), grid, grid), math.nan), x.new_full((5, len(x)), math.nan)
    return Discarding(*cells, *numbers, torch.zeros(len(x), dtype=torch.bool), torch.full((len(x),), -1))


def _together(results: list[Discarding]) -> Discarding:
    return Discarding(*(torch.cat(column) for column in zip(*results, strict=True)))
