"""The maps that information discarding is compared with: how large they are depends on the layer's scale."""

import math
from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, relu

from infolib import activations, checks
from infolib.measures.discarding import constrained
from infolib.measures.discarding._strict import ERROR, SAMPLES, strict_information_discarding


def sensitivity(
    model: nn.Module,
    x: Tensor,
    layer: str,
    *,
    grid: int = 16,
    cotangents: int = 128,
    rectify: bool = True,
    seed: int = 0,
) -> Tensor:
    """Sensitivity sqrt(a_g) of a layer's features to each cell, in the features' own unit.

    a_g is the sum over the cell's pixels of |∂h/∂x_i|², from random cotangents, unbiased; closed form of information
    discarding in a linear layer.

    Parameters
    ----------
    model, x, layer, grid, rectify
        As `strict_information_discarding` takes them.
    cotangents : int
        Random vectors; k of them leave a relative standard deviation of sqrt(2 / k) in each pixel's square.
    seed : int
        Seed of the cotangents.

    Returns
    -------
    Tensor, shape (n, grid, grid)
        sqrt(a_g), in the features' unit for an image in [0, 1].

    Raises
    ------
    ValueError
        As `strict_information_discarding` does.

    Examples
    --------
    >>> net, x = nn.Sequential(nn.Flatten()).eval(), torch.full((1, 1, 4, 4), 0.5)
    >>> sensitivity(net, x, "0", grid=2).round()  # four pixels to a cell
    tensor([[[2., 2.],
             [2., 2.]]])
    """
    x = constrained.checked_images(model, x, grid)
    with constrained.tapped(model, [layer], x, rectify=rectify) as run:
        features = constrained.of_layer(run, layer)
        with torch.no_grad():
            shape = features(x[:1]).shape[1:]
        generator = torch.Generator().manual_seed(checks.at_least("seed", seed, 0))
        v = torch.randn(checks.at_least("cotangents", cotangents, 1), *shape, generator=generator, dtype=x.dtype)
        points = x[:, None].expand(-1, len(v), -1, -1, -1)
        return constrained.sensitivities(features, points, v.to(x.device), grid).sqrt()


def jacobian(model: nn.Module, x: Tensor, layer: str, *, grid: int = 16, rectify: bool = True) -> Tensor:
    """The authors' gradient map: |∂ (sum of all features) / ∂x_i|, mean over colours and cells.

    The features are summed with their signs, so that they may cancel; in `sensitivity` they cannot.

    Parameters
    ----------
    model, x, layer, grid, rectify
        As `strict_information_discarding` takes them.

    Returns
    -------
    Tensor, shape (n, grid, grid)
        In the features' unit for an image in [0, 1].

    Raises
    ------
    ValueError
        As `strict_information_discarding` does.

    Examples
    --------
    >>> net, x = nn.Sequential(nn.Flatten()).eval(), torch.full((1, 1, 4, 4), 0.5)
    >>> jacobian(net, x, "0", grid=2)
    tensor([[[1., 1.],
             [1., 1.]]])
    """
    x = constrained.checked_images(model, x, grid)
    with constrained.tapped(model, [layer], x, rectify=rectify) as run:
        features = constrained.of_layer(run, layer)
        at = x.clone().requires_grad_()
        with torch.enable_grad():
            total = features(at).sum()
        (gradient,) = torch.autograd.grad(total, at)
    return adaptive_avg_pool2d(gradient.abs().mean(1), grid)


def perturbation(model: nn.Module, x: Tensor, layer: str, *, grid: int = 16, rectify: bool = True) -> Tensor:
    """Distance by which the features change when a cell is painted in the image's mean colour.

    Parameters
    ----------
    model, x, layer, grid, rectify
        As `strict_information_discarding` takes them.

    Returns
    -------
    Tensor, shape (n, grid, grid)
        In the features' unit.

    Raises
    ------
    ValueError
        As `strict_information_discarding` does.

    Examples
    --------
    >>> net, x = nn.Sequential(nn.Flatten()).eval(), torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 1, 4, 4)
    >>> perturbation(net, x, "0", grid=2)  # four pixels change by a half
    tensor([[[1., 1.],
             [1., 1.]]])
    """
    x = constrained.checked_images(model, x, grid)
    (h, w), n = x.shape[2:], len(x)
    cells = torch.eye(grid**2, dtype=torch.bool, device=x.device).view(-1, 1, grid, grid)
    cells = cells.repeat_interleave(h // grid, 2).repeat_interleave(w // grid, 3)  # (g², 1, h, w)
    mean = x.mean((2, 3), keepdim=True)
    moved = []
    with constrained.tapped(model, [layer], x, rectify=rectify) as run, torch.no_grad():
        features = constrained.of_layer(run, layer)
        clean = features(x)
        for part in cells.split(max(1, constrained.VALUES // x.numel())):
            painted = torch.where(part[None], mean[:, None], x[:, None])
            change = features(painted.flatten(0, 1)).unflatten(0, (n, len(part))) - clean[:, None]
            moved.append(change.flatten(2).norm(dim=2))
    return torch.cat(moved, 1).view(n, grid, grid)


def grad_cam(model: nn.Module, x: Tensor, layer: str, *, grid: int = 16) -> Tensor:
    """Grad-CAM of the predicted class: relu(sum over maps of w_k A_k), w_k the mean gradient of its logit.

    The maps are averaged if they are finer than the grid, and interpolated (bilinear) if they are coarser.

    Parameters
    ----------
    model, x, layer, grid
        As `strict_information_discarding` takes them.

    Returns
    -------
    Tensor, shape (n, grid, grid)
        In the unit of the logit.

    Raises
    ------
    ValueError
        As `strict_information_discarding` does, and for a layer without maps.

    Examples
    --------
    >>> net = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(16, 1, bias=False)).eval()
    >>> _ = nn.init.ones_(net[2].weight)
    >>> grad_cam(net, torch.full((1, 1, 4, 4), 0.5), "0", grid=2)
    tensor([[[0.5000, 0.5000],
             [0.5000, 0.5000]]])
    """
    x = constrained.checked_images(model, x, grid)
    constrained.checked_mode(model)
    outputs: list[Tensor] = []

    def keep(t: Tensor) -> Tensor:
        outputs.append(t)
        return t.clone()  # what follows may change it in place

    with activations.replace(model, {layer: keep}), torch.enable_grad():
        logits = model(x.clone().requires_grad_())
    if not outputs or (maps := outputs[-1]).ndim != 4:
        raise ValueError(f"Grad-CAM needs a layer with maps (n, c, h, w); {layer!r} has none")
    (gradient,) = torch.autograd.grad(logits.max(1).values.sum(), maps)
    heat = relu((gradient.mean((2, 3), keepdim=True) * maps.detach()).sum(1, keepdim=True))
    if min(heat.shape[2:]) >= grid:
        return adaptive_avg_pool2d(heat[:, 0], grid)
    return interpolate(heat, (grid, grid), mode="bilinear", align_corners=False)[:, 0]


def comparability(
    model: nn.Module,
    changed: Mapping[str, nn.Module],
    x: Tensor,
    layer: str,
    *,
    grid: int,
    error: float = ERROR,
    samples: int = SAMPLES,
    steps: int = 10,
) -> pd.DataFrame:
    """How far a layer's maps differ between `model` and each of the `changed` networks.

    Parameters
    ----------
    model : nn.Module
        The network to compare with, in eval mode.
    changed : mapping from str to nn.Module
        The other networks by name, each with a layer of that name.
    x : Tensor, shape (n, c, h, w)
        Images in [0, 1].
    layer : str
        Dotted name.
    grid : int
        Cells along a side of the image.
    error, samples, steps
        As `strict_information_discarding` takes them; the noise is the same for all networks.

    Returns
    -------
    DataFrame
        A row for each changed network. Columns: to (its name); jacobian, sensitivity, perturbation and grad_cam, the
        change of the map's mean in powers of ten, without its sign (NaN where Grad-CAM is 0, or the layer has no maps);
        bits, the largest change of an image's information discarding.

    Raises
    ------
    ValueError
        As `strict_information_discarding` does.

    Examples
    --------
    >>> net, scaled = (nn.Sequential(nn.Flatten(), nn.Linear(16, 16, bias=False)).eval() for _ in range(2))
    >>> _ = nn.init.eye_(net[1].weight), nn.init.eye_(scaled[1].weight).data.mul_(10)
    >>> x = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> table = comparability(net, {"ten times": scaled}, x, "1", grid=2, steps=0)
    >>> table[["jacobian", "sensitivity", "perturbation", "bits"]].round(3).values.tolist()
    [[1.0, 1.0, 1.0, 0.0]]
    """

    def sizes(net: nn.Module) -> tuple[Tensor, dict[str, float]]:
        maps = {f.__name__: f(net, x, layer, grid=grid) for f in (jacobian, sensitivity, perturbation)}
        with_maps = activations.collect(net, x[:1], [layer])[layer].ndim == 4
        maps["grad_cam"] = grad_cam(net, x, layer, grid=grid) if with_maps else x.new_tensor(math.nan)
        found = strict_information_discarding(net, x, layer, grid=grid, error=error, samples=samples, steps=steps)
        return found.mean, {name: float(t.mean().log10()) for name, t in maps.items()}

    x = constrained.checked_images(model, x, grid)
    bits, logs = sizes(model)
    rows = []
    for name, net in changed.items():
        other, theirs = sizes(net)
        change = {k: abs(theirs[k] - logs[k]) for k in logs}
        rows.append({"to": name} | change | {"bits": float((other - bits).abs().max())})
    return pd.DataFrame(rows)
