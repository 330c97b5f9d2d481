"""The noise on an image under which a layer changes by a fixed amount: what all of `discarding` rests on.

A noise is one σ per cell of a grid, kept as θ = ln σ (n, grid, grid). Its samples (m, c, h, w) are antithetic, the
second half being minus the first, and the same for every image: what is found for an image does not depend on which
others are measured with it.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from infolib import activations, checks

SIGMA_MAX = 1.0  # the authors' clamp: more noise than that is no small change of an image in [0, 1]
VALUES = 2**18  # image values in one pass, so that the layers' outputs stay in the processor's cache
TINY = 1e-30
HELD_OUT = 256  # samples of noise that a σ is judged on
TOLERANCE = 1e-3  # of F / alpha, within which the constraint counts as reached

Gain = Callable[[Tensor, Tensor], Tensor]  # (noisy features (n, m, ...), θ) -> what is to grow, per image (n,)


@dataclass(frozen=True)
class Problem:
    """What a layer says about images x (n, c, h, w), and the held-out noise on which F of its changes is to be alpha.

    F is the mean squared distance of the noisy features from the clean ones, relative to that of noise of σ0.
    """

    features: Callable[[Tensor], Tensor]
    x: Tensor
    clean: Tensor  # (n, ...)
    grid: int
    sigma0: float
    alpha: float
    held_out: Tensor  # (m, c, h, w)
    base: Tensor  # (n, m): distances at σ0 on the held-out noise
    generator: torch.Generator  # for everything that is not held out

    def noisy(self, theta: Tensor, noise: Tensor) -> Tensor:
        """Features of every image under every sample: (n, m, ...)."""
        (n, c, h, w), g, m = self.x.shape, theta.shape[-1], len(noise)
        cells = noise.view(1, m, c, g, h // g, g, w // g) * theta.exp().view(n, 1, 1, g, 1, g, 1)
        x = self.x[:, None] + cells.view(n, m, c, h, w)
        return self.features(x.flatten(0, 1)).unflatten(0, (n, m))

    def distances(self, features: Tensor) -> Tensor:
        """Mean squared distances from the clean features: (n, m)."""
        return (features - self.clean[:, None]).flatten(2).square().mean(2)

    def on_held_out(self, theta: Tensor, what: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """`what` (their distances) of the features under the held-out noise, without gradients: (n, m, ...)."""
        size = max(1, VALUES // self.x.numel())
        with torch.no_grad():
            parts = [(what or self.distances)(self.noisy(theta, part)) for part in self.held_out.split(size)]
        return torch.cat(parts, 1)

    def meets(self, f: Tensor) -> Tensor:
        """Whether F is alpha, within the tolerance."""
        return (f / self.alpha - 1).abs() <= TOLERANCE


def problems(
    model: nn.Module,
    x: Tensor,
    layer: str,
    *,
    grid: int,
    rectify: bool,
    sigma0: float,
    alpha: float,
    held_out: int,
    samples: int,
    seed: int,
) -> Iterator[Problem]:
    """The checked problem of a few images at a time: as many as go through the layer with `samples` each."""
    x = checked_images(model, x, grid)
    checks.positive("sigma0", sigma0)
    if not alpha > 0 or not alpha < math.inf:
        raise ValueError(f"alpha must be positive and finite, got {alpha}")
    for name, value in (("samples", samples), ("held_out", held_out)):
        if checks.at_least(name, value, 2) % 2:
            raise ValueError(f"{name} must be even, as noise comes in pairs of opposite sign, got {value}")
    checks.at_least("seed", seed, 0)
    at_once = max(1, VALUES // (samples * x[0].numel()))
    with tapped(model, layer, rectify=rectify) as features:
        for start in range(0, len(x), at_once):
            generator = torch.Generator().manual_seed(seed)
            noise = antithetic(held_out, x, generator)
            part = x[start : start + at_once]
            with torch.no_grad():
                clean = features(part)
            none = part.new_empty(len(part), 0)
            problem = Problem(features, part, clean, grid, sigma0, alpha, noise, none, generator)
            base = problem.on_held_out(part.new_full((len(part), grid, grid), math.log(sigma0)))
            if still := [start + i for i, moved in enumerate(base.mean(1).tolist()) if not 0 < moved < math.inf]:
                raise ValueError(
                    f"layer {layer!r} does not move under noise of sigma0={sigma0} (δ² = 0, or not finite) at images "
                    f"{still[:5]}: nothing to compare with; leave out images that a dead layer does not see"
                )
            yield replace(problem, base=base)


def antithetic(samples: int, x: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal samples (samples, c, h, w), the second half minus the first."""
    half = torch.randn(samples // 2, *x.shape[1:], generator=generator, dtype=x.dtype).to(x.device)
    return torch.cat([half, -half])


def moving(
    model: nn.Module,
    x: Tensor,
    layer: str,
    *,
    held_out: int = HELD_OUT,
    sigma0: float = 0.01,
    rectify: bool = True,
    seed: int = 0,
) -> Tensor:
    """Which images (n,) move a layer under the held-out noise of sigma0; of the others a dead layer sees nothing."""
    still = torch.ones(len(x), dtype=torch.bool, device=x.device)
    with tapped(model, layer, rectify=rectify) as features, torch.no_grad():
        clean = features(x)
        for noise in antithetic(held_out, x, torch.Generator().manual_seed(seed)):
            still &= (features(x + sigma0 * noise) == clean).flatten(1).all(1)
            if not still.any():
                break
    return ~still


def cell_sums(t: Tensor, grid: int) -> Tensor:
    """(..., h, w) summed over the pixels of each cell: (..., grid, grid)."""
    h, w = t.shape[-2:]
    return t.reshape(*t.shape[:-2], grid, h // grid, grid, w // grid).sum((-3, -1))


def sensitivities(features: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    """Mean over cotangents v (k, ...) of (Jᵀv)_i², J = ∂features/∂x_i: (n, c, h, w); for normal v unbiased for |J_i|².

    (Jᵀv)_i is then normal with variance |J_i|²: k cotangents leave a relative sd of sqrt(2 / k).
    """
    total = torch.zeros_like(x)
    for part in v.split(max(1, VALUES // x.numel())):
        repeated = x.repeat_interleave(len(part), 0).requires_grad_()
        with torch.enable_grad():
            said = features(repeated)
        (gradient,) = torch.autograd.grad(said, repeated, part.repeat(len(x), *[1] * (part.ndim - 1)))
        total += gradient.square().unflatten(0, (len(x), len(part))).sum(1)
    return total / len(v)


def matched(problem: Problem, theta: Tensor, *, turns: int = 40) -> tuple[Tensor, Tensor]:
    """θ shifted per image by one scalar, and cut off at SIGMA_MAX, so that F = alpha on the held-out noise.

    Returns θ and its distances (n, m). ln F is nearly linear in the shift: a secant, kept inside a bracket. Where every
    σ is at the cut-off before F is alpha, they stay there.
    """
    most, target = math.log(SIGMA_MAX), (problem.alpha * problem.base.mean(1)).log()
    ceiling = most - theta.flatten(1).amin(1)  # from here on every σ is at the cut-off
    low, high = torch.full_like(target, -math.inf), ceiling.clone()
    tolerance = 1e-10 if theta.dtype == torch.float64 else 1e-4  # of ln F: 7e-5 bits, far below what the noise leaves
    shift, slope, before = ceiling.clamp_max(0), torch.full_like(target, 2.0), None
    for _ in range(turns):
        fitted = (theta + shift[:, None, None]).clamp_max(most)
        distances = problem.on_held_out(fitted)
        excess = distances.mean(1).clamp_min(TINY).log() - target
        done = (excess.abs() < tolerance) | ((shift >= ceiling) & (excess <= 0))
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
    return fitted, distances


def refined(problem: Problem, theta: Tensor, gain: Gain, *, steps: int, samples: int, rate: float = 0.1) -> Tensor:
    """θ after Adam has raised `gain` along F = alpha: new samples in each step, the rate falling to 0 as a cosine.

    Where gain is greatest at F = alpha, its gradient is a multiple of that of ln F. So a step takes from it the
    multiple that leaves nothing along a common shift of θ; that shift then brings F back to alpha.
    """
    theta = theta.clone()
    optimiser = torch.optim.Adam([theta], rate, betas=(0.9, 0.99))
    target = (problem.alpha * problem.base.mean(1)).log()
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
        noise = antithetic(samples, problem.x, problem.generator)
        with torch.enable_grad():
            here = theta.detach().requires_grad_()
            features = problem.noisy(here, noise)
            excess = problem.distances(features).mean(1).clamp_min(TINY).log() - target
            value = gain(features, here).sum()
        (up,) = torch.autograd.grad(value, here, retain_graph=True)
        (cost,) = torch.autograd.grad(excess.sum(), here)
        slope = cost.sum((1, 2), keepdim=True)
        theta.grad = up.sum((1, 2), keepdim=True) / torch.where(slope > TINY, slope, math.inf) * cost - up
        optimiser.step()
        theta -= (excess.detach() / 2)[:, None, None].clamp(-0.5, 0.5)
        theta.clamp_(max=math.log(SIGMA_MAX))
    return theta


def slope(problem: Problem, theta: Tensor, distances: Tensor, *, shift: float = 0.02) -> Tensor:
    """Growth of ln F per common shift of θ, on the held-out noise: (n,); 2 where the layer is linear."""
    more = problem.on_held_out((theta + shift).clamp_max(math.log(SIGMA_MAX)))
    return (more.mean(1).clamp_min(TINY).log() - distances.mean(1).clamp_min(TINY).log()) / shift


def ratio(problem: Problem, distances: Tensor) -> tuple[Tensor, Tensor]:
    """F of distances (n, m) on the held-out noise, and the standard error of this quotient of two means: (n,), (n,)."""
    scale = problem.base.mean(1)
    f = distances.mean(1) / scale
    residual = (distances - f[:, None] * problem.base).unflatten(1, (2, -1)).mean(1)  # of pairs of opposite noise
    return f, residual.std(1) / math.sqrt(residual.shape[1]) / scale


@contextmanager
def tapped(model: nn.Module, layer: str, *, rectify: bool) -> Iterator[Callable[[Tensor], Tensor]]:
    """Features of a layer as a function of images: what it says, rectified or as it is; the model in eval mode."""
    checked_mode(model)
    with activations.upto(model, layer) as run:
        yield (lambda x: relu(run(x))) if rectify else run


def checked_mode(model: nn.Module) -> None:
    """Refuse a model of which any module is in training mode."""
    if modes := [name or "the model" for name, module in model.named_modules() if module.training]:
        raise ValueError(f"model must be in eval mode, but {modes[0]} is in training mode; call model.eval()")


def checked_images(model: nn.Module, x: Tensor, grid: int) -> Tensor:
    """Images in [0, 1], checked, on the model's device and in its precision."""
    x = checks.floats("x", x)
    if x.ndim != 4:
        raise ValueError(f"x must be images of shape (n, c, h, w), got {tuple(x.shape)}")
    if x.min() < 0 or x.max() > 1:
        raise ValueError(f"x must lie in [0, 1], got values from {float(x.min()):g} to {float(x.max()):g}")
    checks.at_least("grid", grid, 1)
    if x.shape[2] % grid or x.shape[3] % grid:
        raise ValueError(f"grid must divide the images' sides, {x.shape[2]} and {x.shape[3]}, got {grid}")
    return x.to(activations.device_of(model), next(model.parameters(), x).dtype)
