"""What the lenses can measure: a layer's output must be a tensor with a row per image that depends on it alone."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from infolib import checks, training
from infolib.activations import device_of, evaluating, forward, hooked, reached
from infolib.data import Data, stratified_order
from infolib.measures.discarding import constrained


def measurable(model: nn.Module, x: Tensor) -> pd.DataFrame:
    """Every named module that the forward pass reaches, in its order, and whether the lenses can measure it.

    The outputs of two passes are compared: the first three images, and the first two. A module that a pass calls
    several times has a row for each call, `name#1`, `name#2` and so on.

    Parameters
    ----------
    model : nn.Module
        Any network, in eval mode.
    x : Tensor, shape (n, ...)
        At least three images in [0, 1].

    Returns
    -------
    DataFrame
        Columns: layer, type, shape (for one image), and `why not`, empty for a layer that can be measured.

    Raises
    ------
    ValueError
        For a model in training mode, fewer images, and images outside [0, 1] or that it cannot take.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Softmax(dim=0)).eval()
    >>> measurable(net, torch.rand(3, 1, 2, 2))[["layer", "shape", "why not"]].values.tolist()
    [['0', '(4,)', ''], ['1', '(4,)', 'its output for an image depends on the other images, or on chance']]
    """
    constrained.checked_mode(checks.network("model", model))
    x = checks.floats("x", x, min_ndim=2)
    if len(x) < 3:
        raise ValueError(f"x must hold at least 3 samples, got {len(x)}")
    if x.min() < 0 or x.max() > 1:
        raise ValueError(f"x must lie in [0, 1], got values from {float(x.min()):g} to {float(x.max()):g}")
    of_three, of_two = _outputs(model, x[:3]), _outputs(model, x[:2])
    modules = dict(model.named_modules())
    rows = []
    for layer, t in of_three.items():
        shape = str(tuple(t.shape[1:])) if isinstance(t, Tensor) else ""
        why = _fault(t, of_two.get(layer))
        kind = type(modules[layer.partition("#")[0]]).__name__
        rows.append({"layer": layer, "type": kind, "shape": shape, "why not": why})
    return pd.DataFrame(rows, columns=["layer", "type", "shape", "why not"])


def checked(model: nn.Module, data: Data, layers: Sequence[str]) -> list[str]:
    """The layers in the order of the forward pass, if all lenses can measure them.

    Parameters
    ----------
    model : nn.Module
        Any network, in eval mode.
    data : Data
        At least three images in [0, 1] of at least two classes.
    layers : sequence of str
        Dotted names, in any order.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        For no layers, and as `measurable`; for labels of a single class, or not one for each sample; for a layer that
        the model does not have, that the pass does not reach or calls several times, whose output is no tensor, has no
        row for each image, depends on the other images or on chance, or is not finite. The message lists the layers
        that there are.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.ReLU()).eval()
    >>> checked(net, Data(torch.rand(3, 1, 2, 2), torch.arange(3)), ["1", "0"])
    ['0', '1']
    """
    checks.at_least("the number of layers", len(layers := checks.names("layers", layers)), 1)
    checks.at_least("the number of samples of data", len(data), 1)
    if len(checks.labels("y", data.y, len(data.x)).unique()) < 2:
        raise ValueError(f"y must hold at least two classes, got only {int(data.y[0])}")
    table = measurable(model, data.x).set_index("layer")
    allowed = f"layers that can be measured: {', '.join(table.index[table['why not'] == '']) or 'none'}"
    for layer in layers:
        if layer.partition("#")[0] not in dict(model.named_modules(remove_duplicate=False)):
            raise ValueError(f"unknown layer {layer!r}; {allowed}")
        if calls := [call for call in table.index if call.startswith(f"{layer}#")]:
            raise ValueError(
                f"layer {layer!r} is called several times in a forward pass; name one of {calls}; {allowed}"
            )
        if layer not in table.index:
            raise ValueError(f"layer {layer!r} is not reached by the forward pass; {allowed}")
        if fault := table.loc[layer, "why not"]:
            raise ValueError(f"layer {layer!r} cannot be measured: {fault}; {allowed}")
    return [layer for layer in table.index if layer in layers]


def balanced(data: Data, n: int) -> Data:
    """Samples of which every prefix has the class proportions of `data`, about: the same for any order of `data`.

    A random order within each class, by a fixed seed, of the samples as sorted by their values.

    Parameters
    ----------
    data : Data
        Samples.
    n : int
        How many, at most all.

    Returns
    -------
    Data
        The n samples, with their labels.

    Raises
    ------
    ValueError
        For more samples than there are.

    Examples
    --------
    >>> data = Data(torch.rand(40, 4), torch.arange(40) // 20)  # sorted by class
    >>> balanced(data, 10).y.bincount().tolist()
    [5, 5]
    >>> torch.equal(balanced(data, 10).x, balanced(data[torch.randperm(40)], 10).x)
    True
    """
    checks.of_type("data", data, Data, "infolib.Data(x, y)")
    if checks.at_least("n", n, 1) > len(data):
        raise ValueError(f"n={n} is more than the {len(data)} samples of data")
    y, draw = checks.labels("y", data.y, len(data.x)).unique(return_inverse=True)[1].cpu(), torch.Generator()
    bits = data.x.detach().cpu().float().flatten(1).contiguous().view(torch.int32)
    weights = torch.randint(2**62, bits.shape[1:], generator=draw.manual_seed(0))
    key = torch.cat([(rows * weights).sum(1) for rows in bits.split(64)])  # of integers, so that it has no rounding
    order = y.argsort(stable=True)
    order = order[key[order].argsort(stable=True)]
    return data[order[stratified_order(y[order], draw.manual_seed(0))[:n]]]


def _outputs(model: nn.Module, x: Tensor) -> dict[str, Any]:
    """The output of each call of a named module for x, in the order in which they were computed."""
    outputs: dict[str, Any] = {}

    def keep(layer: str, t: Any) -> None:
        outputs[layer] = t.clone() if isinstance(t, Tensor) else t  # an in-place ReLU would overwrite it

    names = filter(None, reached(model, x.to(device_of(model, x.device))))
    with hooked(model, dict.fromkeys(names, keep)):
        output(model, x)
    return outputs


def output(model: nn.Module, x: Tensor) -> Any:
    """What the model returns for samples, in eval mode and without gradients."""
    with evaluating(model):
        return forward(model, x.to(device_of(model, x.device)))


def logits(model: nn.Module, x: Tensor, recorded: Mapping[str, Tensor]) -> list[str]:
    """The layers whose output is what the network returns, where that is logits of classes."""
    out = output(model, x)
    if not isinstance(out, Tensor) or out.ndim != 2 or out.shape[1] < 2:
        return []
    if out.min() >= 0 and torch.allclose(out.sum(1), torch.ones_like(out[:, 0]), atol=1e-3):  # probabilities
        return []
    same = partial(torch.allclose, out, rtol=1e-4, atol=1e-4 * float(out.abs().max()))
    return [layer for layer, t in recorded.items() if t.shape == out.shape and same(t)]


def _fault(t: Any, two: Any) -> str:
    """Why an output for three images, compared with that for the first two, cannot be measured; empty if it can."""
    if not isinstance(t, Tensor) or not isinstance(two, Tensor):
        return f"its output is no tensor but {type(t).__name__}"
    if t.ndim < 2 or len(t) != 3 or len(two) != 2:
        return f"its output is not batched: for 3 images it has shape {tuple(t.shape)}, for 2 {tuple(two.shape)}"
    if not t.is_floating_point() or not t.isfinite().all():
        return "its output is not made of finite numbers"
    if not torch.allclose(t[:2], two, rtol=1e-3, atol=1e-3 * float(t.abs().max())):
        return "its output for an image depends on the other images, or on chance"
    return ""


def accuracy(model: nn.Module, data: Data) -> tuple[float | str, str]:
    """Accuracy, or the reason why there is none; and the reason why there is no accuracy that has a meaning, or ''."""
    logits, sizes = output(model, data.x[:2]), data.y.unique(return_counts=True)[1]
    least, largest, why = int(data.y.min()), int(data.y.max()), ""
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        shape = f"of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        why = f"its output must be (n, classes), got {shape}"
    elif least < 0 or largest >= logits.shape[1]:
        why = f"it has {logits.shape[1]} outputs, and labels are from {least} to {largest}"
    if why:
        return (why := f"the model has no accuracy: {why}"), why
    right = training.evaluate(model, data, batch_size=256).accuracy
    if logits.shape[1] > len(sizes) and right <= float(sizes.max() / len(data)):
        why = f"of {logits.shape[1]} outputs and {len(sizes)} classes, no more are right than of a constant answer"
    return right, why and f"the accuracy of {right:.3g} has no meaning: {why}"


checks.guard(globals())
