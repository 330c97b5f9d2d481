"""The noise on an image under which a layer changes by a fixed amount: what all of `discarding` rests on.

A noise is one σ per cell of a grid, held as θ = ln σ (n, grid, grid). Each image draws samples of its own, from its
pixels and the seed: its result does not depend on which others are measured with it, and the errors of different images
are independent.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from infolib import activations, checks

SIGMA_MAX = 1.0  # the authors' clamp: more noise than that is no small change of an image in [0, 1]
MOST = math.log(SIGMA_MAX)
VALUES = 2**18  # image values in one pass, so that the layers' outputs stay in the processor's cache
TINY = 1e-30  # of what has no unit, such as F: the unit of a layer changes nothing
UNIT = 8  # samples of noise that are drawn together

Take = Callable[[Tensor], Any]  # what is wanted of the features (n, ...) of a layer
Run = Callable[[Tensor, Mapping[str, Take]], dict[str, Any]]  # from images and layer -> take to layer -> what it took


class Noise:
    """Standard normal samples, from a stream of random numbers for each image.

    Parameters
    ----------
    x : Tensor, shape (n, c, h, w)
        Images; the samples have their dtype and device.
    seed : int
        Seed of all streams.
    purpose : str
        Streams of another purpose are independent.
    """

    def __init__(self, x: Tensor, seed: int, purpose: str) -> None:
        self.x, self.generators = x, []
        for image in x.float().cpu().contiguous().numpy():
            digest = hashlib.blake2b(image.tobytes() + f"{seed} {purpose}".encode(), digest_size=7).digest()
            self.generators.append(torch.Generator().manual_seed(int.from_bytes(digest)))

    def draw(self, samples: int, which: Sequence[int] | None = None) -> Tensor:
        """The next samples of images.

        Parameters
        ----------
        samples : int
            A multiple of UNIT.
        which : sequence of int, optional
            Images; by default all.

        Returns
        -------
        Tensor, shape (len(which), samples, c, h, w)

        Examples
        --------
        >>> e = Noise(torch.zeros(2, 1, 4, 4), 0, "search").draw(8)
        >>> tuple(e.shape), bool((e[0] == e[1]).all())  # of the same image
        ((2, 8, 1, 4, 4), True)
        """
        own = self.generators if which is None else [self.generators[i] for i in which]
        shape = UNIT, *self.x.shape[1:]
        units = range(checks.at_least("samples", samples, UNIT) // UNIT)
        drawn = [torch.randn(shape, generator=g) for g in own for _ in units]
        return torch.stack(drawn).view(len(own), -1, *shape[1:]).to(self.x)


@dataclass(frozen=True)
class Problem:
    """A layer's features of images x (n, c, h, w), whose changes are to have F = alpha.

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
        Standard deviation of the reference noise, in the unit of x; F that is required.
    """

    features: Callable[[Tensor], Tensor]
    x: Tensor
    clean: Tensor
    grid: int
    sigma0: float
    alpha: float

    def of(self, which: Sequence[int]) -> "Problem":
        """The problem of some of the images.

        Parameters
        ----------
        which : sequence of int
            Images.

        Returns
        -------
        Problem

        Examples
        --------
        >>> x = torch.rand(3, 1, 2, 2)
        >>> len(Problem(nn.Flatten(), x, x.flatten(1), 2, 0.01, 1.5).of([0, 2]).x)
        2
        """
        some = list(which)
        return self if some == list(range(len(self.x))) else replace(self, x=self.x[some], clean=self.clean[some])

    def level(self, f: float = 1.0) -> Tensor:
        """θ of the same σ everywhere, with a given F in a linear layer.

        Parameters
        ----------
        f : float
            F; 1 is that of σ0.

        Returns
        -------
        Tensor, shape (n, 1, 1)

        Examples
        --------
        >>> x = torch.rand(1, 1, 2, 2)
        >>> Problem(nn.Flatten(), x, x.flatten(1), 2, 0.01, 1.5).level(4.0).exp()
        tensor([[[0.0200]]])
        """
        return self.x.new_full((len(self.x), 1, 1), math.log(self.sigma0) + math.log(f) / 2)

    def images(self, theta: Tensor, noise: Tensor) -> Tensor:
        """Every image under every sample.

        Parameters
        ----------
        theta : Tensor, shape (n, g, g) or (n, m, g, g)
            ln σ; at most SIGMA_MAX counts.
        noise : Tensor, shape (n, m, c, h, w)
            Standard normal samples.

        Returns
        -------
        Tensor, shape (n m, c, h, w)

        Examples
        --------
        >>> x, noise = torch.full((1, 1, 2, 2), 0.5), torch.tensor([1.0, -1.0]).view(1, 2, 1, 1, 1) * torch.ones(2, 2)
        >>> problem = Problem(nn.Flatten(), x, x.flatten(1), 2, 0.01, 1.5)
        >>> problem.images(torch.full((1, 2, 2), math.log(0.1)), noise).flatten(1)[:, 0]
        tensor([0.6000, 0.4000])
        """
        (n, m, c, h, w), g = noise.shape, theta.shape[-1]
        sigma = theta.clamp_max(MOST).exp().view(n, -1, 1, g, 1, g, 1)
        cells = noise.view(n, m, c, g, h // g, g, w // g) * sigma
        return (self.x[:, None] + cells.view(noise.shape)).flatten(0, 1)

    def distances(self, features: Tensor) -> Tensor:
        """Mean squared distances from the clean features.

        Parameters
        ----------
        features : Tensor, shape (n m, ...)
            Noisy features.

        Returns
        -------
        Tensor, shape (n, m)

        Examples
        --------
        >>> x = torch.full((1, 1, 2, 2), 0.5)
        >>> Problem(nn.Flatten(), x, x.flatten(1), 2, 0.01, 1.5).distances(torch.full((3, 4), 1.5))
        tensor([[1., 1., 1.]])
        """
        return (features.unflatten(0, (len(self.clean), -1)) - self.clean[:, None]).flatten(2).square().mean(2)

    def changes(self, theta: Tensor, noise: Tensor, what: Take | None = None) -> Tensor:
        """Distances of the features under noise, or another function of them, without gradients.

        Parameters
        ----------
        theta : Tensor, shape (n, g, g)
            ln σ.
        noise : Tensor, shape (n, m, c, h, w)
            Standard normal samples.
        what : callable, optional
            From noisy features (n m, ...) to (n, m, ...).

        Returns
        -------
        Tensor, shape (n, m, ...)

        Examples
        --------
        >>> x, noise = torch.full((1, 1, 2, 2), 0.5), torch.tensor([1.0, -1.0]).view(1, 2, 1, 1, 1) * torch.ones(2, 2)
        >>> problem = Problem(nn.Flatten(), x, x.flatten(1), 2, 0.01, 1.5)
        >>> problem.changes(torch.full((1, 2, 2), math.log(0.1)), noise).round(decimals=4)
        tensor([[0.0100, 0.0100]])
        """
        with torch.no_grad():
            made = (self.features(self.images(theta, part)) for part in parts(noise))
            return torch.cat([(what or self.distances)(features) for features in made], 1)


def probe(problem: Problem, theta: Tensor, noise: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
    """F of θ and its gradient, from each sample.

    Parameters
    ----------
    problem : Problem
        Images, layer and alpha.
    theta : Tensor, shape (n, grid, grid)
        ln σ.
    noise : Tensor, shape (n, m, c, h, w)
        Standard normal samples.
    base : Tensor, shape (n, m)
        Distances at σ0 under the same samples.

    Returns
    -------
    (Tensor, Tensor), shapes (n,) and (n, m, grid, grid)
        ln(F / alpha); ∂ ln F / ∂θ, whose mean over samples counts: 2 / grid² at the optimum of a linear layer.

    Examples
    --------
    >>> x, noise = torch.full((1, 1, 2, 2), 0.5), torch.tensor([1.0, -1.0]).view(1, 2, 1, 1, 1) * torch.ones(2, 2)
    >>> problem = Problem(nn.Flatten(), x, x.flatten(1), 2, 0.01, 1.5)
    >>> above, slopes = probe(problem, torch.full((1, 2, 2), math.log(0.02)), noise, torch.full((1, 2), 1e-4))
    >>> above.exp(), slopes.mean(1).sum().round()  # F = 4
    (tensor([2.6667]), tensor(2.))
    """
    distances, gradients = [], []
    for part in parts(noise):
        own = theta[:, None].repeat(1, part.shape[1], 1, 1).requires_grad_()
        with torch.enable_grad():
            moved = problem.distances(problem.features(problem.images(own, part)))
            (gradient,) = torch.autograd.grad(moved.sum(), own)
        distances.append(moved.detach())
        gradients.append(gradient)
    mean = torch.cat(distances, 1).mean(1)
    above = (mean / (problem.alpha * base.mean(1))).clamp_min(TINY).log()
    return above, torch.cat(gradients, 1) / torch.where(mean > 0, mean, 1)[:, None, None, None]


def parts(noise: Tensor) -> Sequence[Tensor]:
    """Samples of noise for one pass at a time.

    Parameters
    ----------
    noise : Tensor, shape (n, m, ...)
        Samples.

    Returns
    -------
    sequence of Tensor, shapes (n, k, ...)

    Examples
    --------
    >>> [tuple(part.shape) for part in parts(torch.zeros(2, 8, 3, 224, 224))][:2]
    [(2, 1, 3, 224, 224), (2, 1, 3, 224, 224)]
    """
    return noise.split(max(1, VALUES // noise[:, 0].numel()), 1)


def distances_at(run: Run, problems: Mapping[str, Problem], noise: Tensor) -> dict[str, Tensor]:
    """Distances at σ0 in several layers, from one pass for all.

    Parameters
    ----------
    run : callable
        Of `tapped`.
    problems : mapping from str to Problem
        By layer, with the same images.
    noise : Tensor, shape (n, m, c, h, w)
        Standard normal samples.

    Returns
    -------
    dict from str to Tensor, shape (n, m)

    Examples
    --------
    >>> x, noise = torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 3, 1, 2, 2)
    >>> with tapped(nn.Sequential(nn.Flatten()).eval(), ["0"], x, rectify=False) as run:
    ...     distances_at(run, {"0": Problem(nn.Flatten(), x, x.flatten(1), 2, 0.1, 1.5)}, noise)["0"].round(decimals=4)
    tensor([[0.0100, 0.0100, 0.0100]])
    """
    one, take = next(iter(problems.values())), {layer: problem.distances for layer, problem in problems.items()}
    with torch.no_grad():
        found = [run(one.images(one.level(), part), take) for part in parts(noise)]
    return {layer: torch.cat([distances[layer] for distances in found], 1) for layer in problems}


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


def sensitivities(features: Callable[[Tensor], Tensor], x: Tensor, v: Tensor, grid: int) -> Tensor:
    """Sum over each cell of the mean over cotangents v of (Jᵀv)_i², J = ∂features/∂x_i; for normal v that of |J_i|².

    (Jᵀv)_i is then normal with variance |J_i|²: k cotangents leave a relative sd of sqrt(2 / k).

    Parameters
    ----------
    features : callable
        From images to features (n, ...).
    x : Tensor, shape (n, k, c, h, w)
        Images, under noise or as they are, a point for each cotangent.
    v : Tensor, shape (k, ...)
        Cotangents.
    grid : int
        Cells along a side of the image.

    Returns
    -------
    Tensor, shape (n, grid, grid)

    Examples
    --------
    >>> x, v = torch.zeros(1, 2, 1, 2, 2), torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    >>> sensitivities(lambda x: 3 * x.flatten(1), x, v, 2)
    tensor([[[9.0000, 4.5000],
             [0.0000, 0.0000]]])
    """
    total = torch.zeros_like(x[:, 0])
    for points, part in zip(parts(x), v.split(parts(x)[0].shape[1]), strict=True):
        at = points.flatten(0, 1).clone().requires_grad_()
        with torch.enable_grad():
            outputs = features(at)
        (gradient,) = torch.autograd.grad(outputs, at, part.repeat(len(x), *[1] * (part.ndim - 1)))
        total += gradient.square().unflatten(0, points.shape[:2]).sum(1)
    return cell_sums(total.sum(1), grid) / len(v)


class _Enough(Exception):  # noqa: N818
    """Ends a forward pass after the last layer that was asked for."""


@contextmanager
def tapped(model: nn.Module, layers: Sequence[str], x: Tensor, *, rectify: bool) -> Iterator[Run]:
    """Features of layers as a function of images: their outputs, rectified or as they are.

    Parameters
    ----------
    model : nn.Module
        Any network, in eval mode.
    layers : sequence of str
        Dotted names.
    x : Tensor, shape (n, c, h, w)
        Images, the first of which goes through the model to see whether it has the layers.
    rectify : bool
        Whether a ReLU is applied to the outputs.

    Yields
    ------
    callable
        From images, and a mapping from layers to what to take of their features, to a dict from layer to what was
        taken. A pass ends after the last of the layers.

    Raises
    ------
    ValueError
        As `checked_mode` and `activations.upto` do.

    Examples
    --------
    >>> x = torch.tensor([[-1.0, 1.0]])
    >>> with tapped(nn.Sequential(nn.Identity()).eval(), ["0"], x, rectify=True) as run:
    ...     run(x, {"0": lambda t: t})
    {'0': tensor([[0., 1.]])}
    """
    checked_mode(model)
    for layer in layers:
        with activations.upto(model, layer) as only, torch.no_grad():
            only(x[:1])
    wanted: dict[str, Take] = {}
    found: dict[str, Any] = {}

    def keep(layer: str, output: Any) -> None:
        if layer in wanted:
            output = activations.tensor_of(model, layer, output)
            found[layer] = wanted[layer](relu(output) if rectify else output)
            if len(found) == len(wanted):
                raise _Enough

    def run(x: Tensor, take: Mapping[str, Take]) -> dict[str, Any]:
        wanted.update(take)
        try:
            activations.forward(model, x)
        except _Enough:
            pass
        finally:
            taken = dict(found)
            wanted.clear()
            found.clear()
        return taken

    with activations.hooked(model, dict.fromkeys(layers, keep)):
        yield run


def of_layer(run: Run, layer: str) -> Callable[[Tensor], Tensor]:
    """Features of one of the layers as a function of images.

    Parameters
    ----------
    run : callable
        Of `tapped`.
    layer : str
        One of its layers.

    Returns
    -------
    callable
        From images (n, c, h, w) to features (n, ...).

    Examples
    --------
    >>> x = torch.tensor([[-1.0, 1.0]])
    >>> with tapped(nn.Sequential(nn.Identity()).eval(), ["0"], x, rectify=True) as run:
    ...     of_layer(run, "0")(x)
    tensor([[0., 1.]])
    """
    return lambda x: run(x, {layer: lambda features: features})[layer]


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
        For anything but images in [0, 1], and a grid that does not fit.

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
