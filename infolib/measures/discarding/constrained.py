"""The noise on an image under which a layer changes by a fixed amount: what all of `discarding` rests on.

A noise is one σ per cell of a grid, held as θ = ln σ (n, grid, grid). Its samples (m, c, h, w) are antithetic: the
second half is minus the first. They are the same for every image, so that an image's result does not depend on which
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
TINY = 1e-30  # of what has no unit, such as F: the unit of a layer changes nothing
HELD_OUT = 256  # samples of noise that a σ is judged on
TOLERANCE = 1e-3  # of F / alpha, within which the constraint counts as reached

Gain = Callable[[Tensor, Tensor], Tensor]  # (noisy features (n, m, ...), θ) -> what is to grow, per image (n,)


@dataclass(frozen=True)
class Problem:
    """A layer's features of images x (n, c, h, w), and the held-out noise on which F of their changes is to be alpha.

    F is the mean squared distance of the noisy features from the clean ones, relative to that of noise of σ0.

    Parameters
    ----------
    features : callable
        From images to the layer's features.
    x : Tensor, shape (n, c, h, w)
        Images in [0, 1].
    clean : Tensor, shape (n, ...)
        Their features.
    grid : int
        Cells along a side of the image.
    sigma0, alpha : float
        The reference noise, in the unit of x; F that is asked for.
    held_out : Tensor, shape (m, c, h, w)
        Standard normal samples.
    base : Tensor, shape (n, m)
        Distances at σ0 on the held-out noise.
    generator : torch.Generator
        For everything that is not held out.
    """

    features: Callable[[Tensor], Tensor]
    x: Tensor
    clean: Tensor
    grid: int
    sigma0: float
    alpha: float
    held_out: Tensor
    base: Tensor
    generator: torch.Generator

    def noisy(self, theta: Tensor, noise: Tensor) -> Tensor:
        """Features of every image under every sample.

        Parameters
        ----------
        theta : Tensor, shape (n, grid, grid)
            ln σ.
        noise : Tensor, shape (m, c, h, w)
            Standard normal samples.

        Returns
        -------
        Tensor, shape (n, m, ...)

        Examples
        --------
        >>> x, noise = torch.full((1, 1, 2, 2), 0.5), torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
        >>> base, draw = torch.full((1, 2), 1e-4), torch.Generator()
        >>> problem = Problem(nn.Flatten(), x, x.flatten(1), 2, 0.01, 1.5, noise, base, draw)
        >>> problem.noisy(torch.full((1, 2, 2), math.log(0.1)), noise)[0, :, 0]
        tensor([0.6000, 0.4000])
        """
        (n, c, h, w), g, m = self.x.shape, theta.shape[-1], len(noise)
        cells = noise.view(1, m, c, g, h // g, g, w // g) * theta.exp().view(n, 1, 1, g, 1, g, 1)
        x = self.x[:, None] + cells.view(n, m, c, h, w)
        return self.features(x.flatten(0, 1)).unflatten(0, (n, m))

    def distances(self, features: Tensor) -> Tensor:
        """Mean squared distances from the clean features.

        Parameters
        ----------
        features : Tensor, shape (n, m, ...)
            Noisy features.

        Returns
        -------
        Tensor, shape (n, m)

        Examples
        --------
        >>> x, noise = torch.full((1, 1, 2, 2), 0.5), torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
        >>> base, draw = torch.full((1, 2), 1e-4), torch.Generator()
        >>> problem = Problem(nn.Flatten(), x, x.flatten(1), 2, 0.01, 1.5, noise, base, draw)
        >>> problem.distances(torch.full((1, 3, 4), 1.5))
        tensor([[1., 1., 1.]])
        """
        return (features - self.clean[:, None]).flatten(2).square().mean(2)

    def on_held_out(self, theta: Tensor, what: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Distances of the features under the held-out noise, or another function of them, without gradients.

        Parameters
        ----------
        theta : Tensor, shape (n, grid, grid)
            ln σ.
        what : callable, optional
            From noisy features (n, m, ...) to (n, m, ...).

        Returns
        -------
        Tensor, shape (n, m, ...)

        Examples
        --------
        >>> x, noise = torch.full((1, 1, 2, 2), 0.5), torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
        >>> base, draw = torch.full((1, 2), 1e-4), torch.Generator()
        >>> problem = Problem(nn.Flatten(), x, x.flatten(1), 2, 0.01, 1.5, noise, base, draw)
        >>> problem.on_held_out(torch.full((1, 2, 2), math.log(0.1))).round(decimals=4)
        tensor([[0.0100, 0.0100]])
        """
        size = max(1, VALUES // self.x.numel())
        with torch.no_grad():
            parts = [(what or self.distances)(self.noisy(theta, part)) for part in self.held_out.split(size)]
        return torch.cat(parts, 1)

    def meets(self, f: Tensor) -> Tensor:
        """Whether F is alpha, within the tolerance.

        Parameters
        ----------
        f : Tensor, shape (n,)
            F of each image.

        Returns
        -------
        Tensor, shape (n,)
            Boolean.

        Examples
        --------
        >>> x, noise = torch.full((1, 1, 2, 2), 0.5), torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
        >>> base, draw = torch.full((1, 2), 1e-4), torch.Generator()
        >>> problem = Problem(nn.Flatten(), x, x.flatten(1), 2, 0.01, 1.5, noise, base, draw)
        >>> problem.meets(torch.tensor([1.5, 1.6]))
        tensor([ True, False])
        """
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
    """The checked problem of a few images at a time: as many as go through the layer with `samples` each.

    The features of a problem can be computed until the next one is asked for.

    Parameters
    ----------
    model, x, layer, grid, rectify, sigma0, alpha, held_out, samples, seed
        As `discarding.strict_information_discarding` takes them.

    Yields
    ------
    Problem

    Raises
    ------
    ValueError
        As `discarding.strict_information_discarding` does.

    Examples
    --------
    >>> net, x = nn.Sequential(nn.Flatten()).eval(), torch.full((1, 1, 2, 2), 0.5)
    >>> options = {"rectify": False, "sigma0": 0.01, "alpha": 1.5, "held_out": 4, "samples": 4, "seed": 0}
    >>> for problem in problems(net, x, "0", grid=2, **options):
    ...     print(problem.clean, problem.base.shape)
    tensor([[0.5000, 0.5000, 0.5000, 0.5000]]) torch.Size([1, 4])
    """
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
                    f"{still[:5]}: nothing to compare with; leave out images at which the layer is dead"
                )
            yield replace(problem, base=base)


def antithetic(samples: int, x: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal samples, the second half minus the first.

    Parameters
    ----------
    samples : int
        An even number.
    x : Tensor, shape (n, c, h, w)
        Images, whose shape, dtype and device the samples have.
    generator : torch.Generator
        Of the CPU.

    Returns
    -------
    Tensor, shape (samples, c, h, w)

    Examples
    --------
    >>> noise = antithetic(4, torch.zeros(1, 1, 2, 2), torch.Generator().manual_seed(0))
    >>> noise.shape, noise.sum().item()
    (torch.Size([4, 1, 2, 2]), 0.0)
    """
    half = torch.randn(
        checks.at_least("samples", samples, 2) // 2, *x.shape[1:], generator=generator, dtype=x.dtype
    ).to(x.device)
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
    """Which images move a layer under the held-out noise of sigma0; at the others the layer is dead.

    Parameters
    ----------
    model, x, layer, held_out, sigma0, rectify, seed
        As `discarding.strict_information_discarding` takes them.

    Returns
    -------
    Tensor, shape (n,)
        Boolean.

    Examples
    --------
    >>> net = nn.Sequential(nn.Threshold(0.5, 0.0)).eval()
    >>> moving(net, torch.tensor([0.2, 0.7]).view(2, 1, 1, 1), "0")
    tensor([False,  True])
    """
    checks.at_least("held_out", held_out, 2), checks.within("sigma0", checks.positive("sigma0", sigma0), 0)
    still = torch.ones(len(x), dtype=torch.bool, device=x.device)
    with tapped(model, layer, rectify=rectify) as features, torch.no_grad():
        clean = features(x)
        for noise in antithetic(held_out, x, torch.Generator().manual_seed(seed)):
            still &= (features(x + sigma0 * noise) == clean).flatten(1).all(1)
            if not still.any():
                break
    return ~still


def cell_sums(t: Tensor, grid: int) -> Tensor:
    """Sums over the pixels of each cell.

    Parameters
    ----------
    t : Tensor, shape (..., h, w)
        A number for each pixel.
    grid : int
        Cells along a side; it divides h and w.

    Returns
    -------
    Tensor, shape (..., grid, grid)

    Examples
    --------
    >>> cell_sums(torch.arange(16).view(4, 4), 2)
    tensor([[10, 18],
            [42, 50]])
    """
    (h, w), grid = t.shape[-2:], checks.at_least("grid", grid, 1)
    return t.reshape(*t.shape[:-2], grid, h // grid, grid, w // grid).sum((-3, -1))


def sensitivities(features: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    """Mean over cotangents v of (Jᵀv)_i², J = ∂features/∂x_i; for normal v unbiased for |J_i|².

    (Jᵀv)_i is then normal with variance |J_i|²: k cotangents leave a relative sd of sqrt(2 / k).

    Parameters
    ----------
    features : callable
        From images to features (n, ...).
    x : Tensor, shape (n, c, h, w)
        Images.
    v : Tensor, shape (k, ...)
        Cotangents.

    Returns
    -------
    Tensor, shape (n, c, h, w)

    Examples
    --------
    >>> sensitivities(lambda x: 3 * x.flatten(1), torch.zeros(1, 1, 1, 2), torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    tensor([[[[9.0000, 4.5000]]]])
    """
    total = torch.zeros_like(x)
    for part in v.split(max(1, VALUES // x.numel())):
        repeated = x.repeat_interleave(len(part), 0).requires_grad_()
        with torch.enable_grad():
            outputs = features(repeated)
        (gradient,) = torch.autograd.grad(outputs, repeated, part.repeat(len(x), *[1] * (part.ndim - 1)))
        total += gradient.square().unflatten(0, (len(x), len(part))).sum(1)
    return total / len(v)


def matched(problem: Problem, theta: Tensor, *, turns: int = 40) -> tuple[Tensor, Tensor]:
    """θ shifted per image by one scalar, and cut off at SIGMA_MAX, so that F = alpha on the held-out noise.

    ln F is nearly linear in the shift: a secant, inside a bracket. Where every σ is at the cut-off before F is alpha,
    they stay there.

    Parameters
    ----------
    problem : Problem
        Images, layer, held-out noise and alpha.
    theta : Tensor, shape (n, grid, grid)
        ln σ.
    turns : int
        Of the secant, at most.

    Returns
    -------
    (Tensor, Tensor), shapes (n, grid, grid) and (n, m)
        θ and its distances.

    Examples
    --------
    >>> x, noise = torch.full((1, 1, 2, 2), 0.5), torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    >>> base, draw = torch.full((1, 2), 1e-4), torch.Generator()
    >>> problem = Problem(nn.Flatten(), x, x.flatten(1), 2, 0.01, 1.5, noise, base, draw)
    >>> theta, distances = matched(problem, torch.zeros(1, 2, 2))
    >>> (theta.exp() / 0.01).square().round(decimals=3)  # the layer is linear, the cells are equal
    tensor([[[1.5000, 1.5000],
             [1.5000, 1.5000]]])
    """
    most, target = math.log(SIGMA_MAX), problem.alpha * problem.base.mean(1)
    ceiling = most - theta.flatten(1).amin(1)  # from here on every σ is at the cut-off
    low, high = torch.full_like(target, -math.inf), ceiling.clone()
    tolerance = 1e-10 if theta.dtype == torch.float64 else 1e-4  # of ln F: 7e-5 bits, far below what the noise leaves
    shift, slope, before = ceiling.clamp_max(0), torch.full_like(target, 2.0), None
    for _ in range(turns):
        fitted = (theta + shift[:, None, None]).clamp_max(most)
        distances = problem.on_held_out(fitted)
        excess = (distances.mean(1) / target).clamp_min(TINY).log()
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

    Parameters
    ----------
    problem : Problem
        Images, layer, alpha and a generator of noise.
    theta : Tensor, shape (n, grid, grid)
        ln σ to start from.
    gain : callable
        From noisy features (n, m, ...) and θ to what is to grow, per image (n,).
    steps, samples : int
        Of the optimiser, and samples of noise in each.
    rate : float
        Of the first step.

    Returns
    -------
    Tensor, shape (n, grid, grid)

    Examples
    --------
    >>> x, noise = torch.full((1, 1, 2, 2), 0.5), torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    >>> base, draw = torch.full((1, 2), 1e-4), torch.Generator()
    >>> problem = Problem(nn.Flatten(), x, x.flatten(1), 2, 0.01, 1.5, noise, base, draw)
    >>> theta = torch.tensor([[[-6.0, -4.0], [-4.0, -4.0]]])
    >>> better = refined(problem, theta, lambda _, theta: theta.mean((1, 2)), steps=30, samples=8)
    >>> bool(better.flatten(1).std(1) < theta.flatten(1).std(1))  # equal cells have equal σ in the end
    True
    """
    theta = theta.clone()
    optimiser = torch.optim.Adam([theta], rate, betas=(0.9, 0.99))
    target = problem.alpha * problem.base.mean(1)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
        noise = antithetic(samples, problem.x, problem.generator)
        with torch.enable_grad():
            here = theta.detach().requires_grad_()
            features = problem.noisy(here, noise)
            excess = (problem.distances(features).mean(1) / target).clamp_min(TINY).log()
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
    """Growth of ln F per common shift of θ, on the held-out noise; 2 where the layer is linear.

    Parameters
    ----------
    problem : Problem
        Images, layer and held-out noise.
    theta : Tensor, shape (n, grid, grid)
        ln σ.
    distances : Tensor, shape (n, m)
        Its distances.
    shift : float
        How far θ is shifted.

    Returns
    -------
    Tensor, shape (n,)

    Examples
    --------
    >>> x, noise = torch.full((1, 1, 2, 2), 0.5), torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    >>> base, draw = torch.full((1, 2), 1e-4), torch.Generator()
    >>> problem = Problem(nn.Flatten(), x, x.flatten(1), 2, 0.01, 1.5, noise, base, draw)
    >>> theta = torch.full((1, 2, 2), math.log(0.01))
    >>> slope(problem, theta, problem.on_held_out(theta)).round(decimals=2)
    tensor([2.])
    """
    more = problem.on_held_out((theta + shift).clamp_max(math.log(SIGMA_MAX)))
    first, second = ((d.mean(1) / problem.base.mean(1)).clamp_min(TINY).log() for d in (distances, more))
    return (second - first) / shift


def ratio(problem: Problem, distances: Tensor) -> tuple[Tensor, Tensor]:
    """F on the held-out noise, and the standard error of this quotient of two means.

    Parameters
    ----------
    problem : Problem
        Its distances at σ0 are those that F is relative to.
    distances : Tensor, shape (n, m)
        Squared distances on the held-out noise.

    Returns
    -------
    (Tensor, Tensor), shapes (n,) and (n,)

    Examples
    --------
    >>> x, noise = torch.full((1, 1, 2, 2), 0.5), torch.zeros(4, 1, 2, 2)
    >>> base, draw = torch.full((1, 4), 1e-4), torch.Generator()
    >>> problem = Problem(nn.Flatten(), x, x.flatten(1), 2, 0.01, 1.5, noise, base, draw)
    >>> ratio(problem, torch.full((1, 4), 1.5e-4))[0]
    tensor([1.5000])
    """
    scale = problem.base.mean(1)
    f = distances.mean(1) / scale
    residual = (distances - f[:, None] * problem.base).unflatten(1, (2, -1)).mean(1)  # of pairs of opposite noise
    return f, residual.std(1) / math.sqrt(residual.shape[1]) / scale


@contextmanager
def tapped(model: nn.Module, layer: str, *, rectify: bool) -> Iterator[Callable[[Tensor], Tensor]]:
    """Features of a layer as a function of images: its output, rectified or as it is.

    Parameters
    ----------
    model : nn.Module
        Any network, in eval mode.
    layer : str
        Dotted name.
    rectify : bool
        Whether a ReLU is applied to the output.

    Yields
    ------
    callable
        From images to features.

    Raises
    ------
    ValueError
        As `checked_mode` and `activations.upto` do.

    Examples
    --------
    >>> with tapped(nn.Sequential(nn.Identity()).eval(), "0", rectify=True) as features:
    ...     features(torch.tensor([-1.0, 1.0]))
    tensor([0., 1.])
    """
    checked_mode(model)
    with activations.upto(model, layer) as run:
        yield (lambda x: relu(run(x))) if rectify else run


def checked_mode(model: nn.Module) -> None:
    """Refuse a model of which any module is in training mode.

    Parameters
    ----------
    model : nn.Module
        Any network.

    Raises
    ------
    ValueError
        With the name of the module.

    Examples
    --------
    >>> checked_mode(nn.Flatten())
    Traceback (most recent call last):
    ValueError: model must be in eval mode, but the model is in training mode; call model.eval()
    """
    if modes := [name or "the model" for name, module in model.named_modules() if module.training]:
        raise ValueError(f"model must be in eval mode, but {modes[0]} is in training mode; call model.eval()")


def checked_images(model: nn.Module, x: Tensor, grid: int) -> Tensor:
    """Images in [0, 1], checked, on the model's device and in its precision.

    Parameters
    ----------
    model : nn.Module
        Any network.
    x : Tensor, shape (n, c, h, w)
        Images.
    grid : int
        Cells along a side; it divides h and w.

    Returns
    -------
    Tensor, shape (n, c, h, w)

    Raises
    ------
    ValueError
        For what are no images in [0, 1], and a grid that does not fit.

    Examples
    --------
    >>> checked_images(nn.Linear(4, 2).double(), torch.zeros(1, 1, 2, 2), 2).dtype
    torch.float64
    """
    x = checks.floats("x", x)
    if x.ndim != 4:
        raise ValueError(f"x must be images of shape (n, c, h, w), got {tuple(x.shape)}")
    if x.min() < 0 or x.max() > 1:
        raise ValueError(f"x must lie in [0, 1], got values from {float(x.min()):g} to {float(x.max()):g}")
    checks.at_least("grid", grid, 1)
    if x.shape[2] % grid or x.shape[3] % grid:
        raise ValueError(f"grid must divide the images' sides, {x.shape[2]} and {x.shape[3]}, got {grid}")
    return x.to(activations.device_of(model), next(model.parameters(), x).dtype)


checks.guard(globals(), classes=False)
