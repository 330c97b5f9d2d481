"""The accuracy of a network, and what is left of it while units of a layer are clamped."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from infolib import activations
from infolib.activations import hooked, reached
from infolib.data import Data
from infolib.estimators import binning, discrete
from infolib.measures._measurable import collected, kinds, output, sets
from infolib.networks import Network

WAYS = ("descending", "ascending")
AT_ONCE = 32  # samples whose outputs before a layer are held at once


def accuracy(model: nn.Module, data: Data) -> tuple[float | str, str]:
    """Accuracy, or the reason why there is none; then the reason why it has no meaning, or ''."""
    y, why = data.y, ""
    logits = output(model, data[:2].x)
    shape = f"of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
    if kinds(y) == "numbers":
        why = "its targets are numbers"
    elif not isinstance(logits, Tensor) or logits.ndim > 2 or (logits.ndim < 2 and y.max() > 1):
        why = f"its output must be (n, classes), got {shape}"
    elif kinds(y) == "labels":
        why = "" if logits.shape == y[:2].shape else f"its output must be (n, {y.shape[1]}), got {shape}"
    elif not _single(logits) and (y.min() < 0 or y.max() >= logits.shape[1]):
        why = f"it has {logits.shape[1]} outputs, and labels are from {int(y.min())} to {int(y.max())}"
    elif _single(logits) and not (0 <= int(y.min()) <= int(y.max()) <= 1):
        why = f"it has a single output, and labels are from {int(y.min())} to {int(y.max())}"
    if why:
        return (why := f"the model has no accuracy: {why}"), why
    outputs = activations.collect(model, data.x, [""], batch_size=AT_ONCE)[""]
    right, classes = float(_right(outputs, y).mean()), 2 if logits.ndim < 2 else max(2, logits.shape[1])
    sizes = y.unique(return_counts=True)[1]
    if (y.ndim == 2 or _single(outputs)) and 0 <= outputs.min() < 0.5 < outputs.max() <= 1:
        why = "its outputs are from 0 to 1: give logits, whose sign is the answer"
    elif kinds(y) == "classes" and classes > len(sizes) and right <= float(sizes.max() / len(data)):
        why = f"of {classes} outputs and {len(sizes)} classes, no more are right than of a constant answer"
    return right, why and f"the accuracy of {right:.3g} has no meaning: {why}"


def _single(logits: Tensor) -> bool:
    return logits.ndim < 2 or logits.shape[1] == 1


def _right(outputs: Tensor, y: Tensor) -> Tensor:
    """For each sample, the fraction of its answers that are right: the largest output, or the sign of each."""
    if outputs.isnan().any():
        raise ValueError("the outputs of model must be numbers, got NaN")
    y = y.to(outputs.device)
    if y.ndim == 2 or _single(outputs):
        return ((outputs.reshape(len(y), -1) > 0) == y.reshape(len(y), -1)).double().mean(1)
    return (outputs.argmax(1) == y).double()


def scores(
    model: nn.Module, data: Data, layers: Sequence[str], units: Mapping[str, str], batch_size: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """The bit of each unit (n, units), whether it is above its median, and its mean, by layer."""
    mask = model.masked(data.x) if isinstance(model, Network) else None
    recorded = collected(model, data.x, layers, units, batch_size)
    by_unit = {layer: _by_unit(t, units[layer], mask) for layer, t in recorded.items()}
    return {layer: (binning.quantile(t, 2), t.mean(0)) for layer, t in by_unit.items()}


def class_bits(codes: Tensor, y: Tensor) -> Tensor:
    """I(T;Y) of each unit in bits; a set of labels is a class."""
    return discrete.mutual_information(codes, sets(y).to(codes.device))


def maps(t: Tensor, units: str) -> Tensor:
    """(n, units, places...): the units of maps and tokens in the second place, as a view."""
    return t.movedim(-1, 1) if units == "features" and t.ndim > 2 else t


def _by_unit(t: Tensor, units: str, mask: Tensor | None) -> Tensor:
    """(n, units): means over the places of a map, or over the tokens that count."""
    if t.ndim < 3:
        return t
    if units != "features":
        return t.flatten(2).mean(2)
    if mask is not None and t.ndim == 3:  # the others are 0
        return t.sum(1) / mask.sum(1, keepdim=True).clamp_min(1).to(t)
    return t.flatten(1, -2).mean(1)


def curves(
    model: nn.Module,
    data: Data,
    scored: Mapping[str, tuple[Tensor, Tensor]],
    units: Mapping[str, str],
    shares: Sequence[float],
    intact: float,
) -> pd.DataFrame:
    """Accuracy with a fraction of each layer's units clamped to their means, in either order of their bits.

    `scored` has the bits about the class and the mean of each unit, by layer.
    """
    changes: dict[str, list[Callable[[Tensor], Tensor]]] = {}
    steps: list[tuple[str, float]] = [(way, s) for way in WAYS for s in shares if s < 1 or way == WAYS[0]]
    for layer, (bits, means) in scored.items():
        order = {way: bits.round(decimals=9).argsort(descending=way == WAYS[0], stable=True) for way in WAYS}
        changes[layer] = [
            partial(_clamped, which=order[way][: round(share * len(means))], means=means, units=units[layer])
            for way, share in steps
        ]
    rows = []
    for layer, left in _clamping(model, data, changes).items():
        found = dict(zip(steps, left, strict=True)) | {(way, 0.0): intact for way in WAYS}
        for way in WAYS:  # all units clamped: the same in any order
            rows += [(layer, way, s, found[way if s < 1 else WAYS[0], s]) for s in (0.0, *shares)]
    return pd.DataFrame(rows, columns=["layer", "direction", "share", "accuracy"])


def fixed(model: nn.Module, x: Any, layers: Sequence[str]) -> dict[str, str]:
    """The layers whose output cannot be changed, and why: a `Network` takes of it what is none of its tensors."""
    found: dict[str, str] = {}
    for layer in layers if isinstance(model, Network) else ():
        try:
            with activations.replace(model, {layer: lambda t: t}):
                output(model, x)
        except ValueError as error:
            found[layer] = str(error)
    return found


def area(accuracy: pd.Series) -> float:
    """The mean under a curve of accuracies by share."""
    return float(np.trapezoid(accuracy, accuracy.index) / np.ptp(accuracy.index))


def _clamped(t: Tensor, which: Tensor, means: Tensor, units: str) -> Tensor:
    maps(t, units)[:, which] = means[which].view(-1, *[1] * (t.ndim - 2)).to(t)
    return t


def _clamping(
    model: nn.Module, data: Data, changes: Mapping[str, list[Callable[[Tensor], Tensor]]]
) -> dict[str, list[float]]:
    """Accuracy under each change of each layer; what a pass computes before a layer is computed once, not each time."""
    order = reached(model, data[:1].x)
    before = {layer: _before(layer, order) for layer in changes}
    wanted = {name for names in before.values() for name in names}
    right = {layer: torch.zeros(len(each), dtype=torch.float64) for layer, each in changes.items()}
    for start in range(0, len(data), AT_ONCE):
        batch, kept = data[start : start + AT_ONCE], dict[str, Any]()
        with hooked(model, dict.fromkeys(wanted, partial(_keep, kept))):
            intact = output(model, batch.x)
        for layer, each in changes.items():
            known = {name: kept[name] for name in before[layer] if isinstance(kept.get(name), Tensor)}
            if not start and not _same(model, batch.x, known, intact):
                before[layer] = []
            known = known if before[layer] else {}
            for i, change in enumerate(each):
                with _replayed(model, known), activations.replace(model, {layer: change}):
                    right[layer][i] += _right(output(model, batch.x), batch.y).sum().cpu()
    return {layer: (hits / len(data)).tolist() for layer, hits in right.items()}


@contextmanager
def from_there(model: nn.Module, x: Any, layer: str) -> Iterator[None]:
    """Passes of these samples compute what comes after a layer alone."""
    kept = dict[str, Any]()
    names = _before(layer, reached(model, x))
    with hooked(model, dict.fromkeys(names, partial(_keep, kept))):
        output(model, x)
    with _replayed(model, {name: t for name, t in kept.items() if t is not None}):
        yield


def _same(model: nn.Module, x: Any, known: Mapping[str, Tensor], expected: Tensor) -> bool:
    """Whether a network that computes nothing before a layer gives what it gave."""
    try:
        with _replayed(model, known):
            return torch.equal(output(model, x), expected)
    except ValueError:
        return False


def _keep(kept: dict[str, Any], name: str, t: Any) -> None:
    kept[name] = t.clone() if isinstance(t, Tensor) else None  # what follows may overwrite it


def _before(layer: str, order: Sequence[str]) -> list[str]:
    """The modules that end before a layer does, and the layer; outermost ones, of those that a pass calls once."""
    done = [name for name in order[: order.index(layer) + 1] if name and "#" not in name]
    return [name for name in done if not any(name.startswith(f"{other}.") for other in done)]


@contextmanager
def _replayed(model: nn.Module, known: Mapping[str, Tensor]) -> Iterator[None]:
    """Modules return their former outputs, and compute nothing."""
    modules = [model.get_submodule(name) for name in known]
    own = [{name: value for name, value in vars(module).items() if name == "forward"} for module in modules]
    try:
        for module, t in zip(modules, known.values(), strict=True):
            module.__dict__["forward"] = partial(_again, t)
        yield
    finally:
        for module, former in zip(modules, own, strict=True):  # a `forward` that the user has put there comes back
            module.__dict__.pop("forward", None)
            module.__dict__ |= former


def _again(t: Tensor, *_: Any, **__: Any) -> Tensor:
    return t.clone()
