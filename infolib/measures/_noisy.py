"""What the noise of the discarding lens is put on: images, or the output of the layer that is the input's place."""

import copy
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from infolib import activations, checks
from infolib.measures._measurable import source
from infolib.measures.discarding import Discarding, measured
from infolib.networks import Network

Bounds = tuple[float, float]


class Noisy(NamedTuple):
    """Images (n, c, h, w) between bounds, and what was there instead; `why` is empty where there are such images."""

    images: Tensor
    bounds: Bounds
    why: str


def noisy(model: nn.Module, x: Any, bounds: Bounds | None, units: dict[str, str]) -> Noisy:
    """The images that noise is put on; tokens (n, tokens, features) are images of one column, a map per feature."""
    inner = isinstance(model, Network) and model.input_of is not None
    images = source(model, x, units) if inner else x
    if not inner and (not isinstance(x, Tensor) or x.ndim != 4):
        shapes = ", ".join(str(tuple(part.shape)) for part in checks.leaves(x))
        return Noisy(torch.empty(0), (0, 1), f"it takes images (n, c, h, w), got {shapes}")
    least, most = float(images.min()), float(images.max())
    low, high = bounds or ((least, most) if inner else (0.0, 1.0))
    if low == high:
        return Noisy(images, (low, high), f"its input is {low:g} everywhere, to which no noise can be relative")
    if least < low or most > high:
        why = f"x has values from {least:g} to {most:g}, not in bounds=({low:g}, {high:g}), to which noise is relative"
        return Noisy(images, (low, high), why)
    return Noisy(_as_images(images), (low, high), "")


def _as_images(t: Tensor) -> Tensor:
    return t if t.ndim == 4 else t.movedim(-1, 1)[..., None] if t.ndim == 3 else t[:, :, None, None]


def discarded(
    model: nn.Module, x: Any, layers: Sequence[str], on: Noisy, *, grid: int, **noise: Any
) -> dict[str, Discarding]:
    """`discarding.measured` of layers, with noise on the images as fractions of their range; in float32 at least."""
    weights = next((weight for weight in model.parameters() if weight.is_floating_point()), torch.zeros(1))
    if torch.finfo(weights.dtype).bits < 32:
        model = copy.deepcopy(model).float()  # half precision would round the noise away
    (low, high), options = on.bounds, {"grid": grid, "rectify": False} | noise
    unit = ((on.images - low) / (high - low)).clamp(0, 1)
    inside = model.input_of if isinstance(model, Network) else None
    if inside is None and on.bounds == (0, 1):
        return measured(model, on.images, layers, **options)
    if inside is None:
        wide = Network(model, forward=lambda net, u: activations.forward(net, low + (high - low) * u))
        return measured(wide, unit, layers, **options)
    shape = activations.collect(model, checks.each(lambda t: t[:1], x), [inside])[inside].shape[1:]

    def at(i: int) -> Network:
        """The network from sample i, with another output of the layer."""

        def run(net: nn.Module, u: Tensor) -> Any:
            t = low + (high - low) * u
            t = t.squeeze(-1).movedim(1, -1) if len(shape) == 2 else t.reshape(-1, *shape)
            same = checks.each(lambda part: part[i : i + 1].expand(len(u), *part.shape[1:]), x)
            with activations.replace(net, {inside: lambda _: t}):
                return activations.forward(net, same)

        return Network(model, forward=run)

    parts = [measured(at(i), unit[i : i + 1], layers, **options) for i in range(len(unit))]
    return {layer: Discarding(*map(torch.cat, zip(*(part[layer] for part in parts), strict=True))) for layer in layers}


def checked_bounds(bounds: Bounds | None) -> None:
    """Refuse bounds other than two increasing numbers."""
    what = "two increasing numbers"
    if bounds is None:
        return
    ends = [checks.within("bounds", end, -math.inf) for end in checks.of_type("bounds", bounds, Sequence, what)]
    if len(ends) != 2 or ends[0] >= ends[1]:
        raise ValueError(f"bounds must be {what}, got {bounds!r}")
