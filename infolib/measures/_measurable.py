"""What the lenses can measure: a layer's output must be a tensor with a row per image that depends on it alone."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from infolib import checks
from infolib.activations import device_of, evaluating, forward, hooked, reached
from infolib.data import Data
from infolib.measures.discarding import constrained


def measurable(model: nn.Module, x: Tensor) -> pd.DataFrame:
    """Every named module that the forward pass reaches, in its order, and whether the lenses can measure it.

    The outputs of two passes are compared: the first three images, and the first two.

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
    [['0', '(4,)', ''], ['1', '(4,)', 'what it says of an image depends on the other images, or on chance']]
    """
    constrained.checked_mode(model)
    x = checks.floats("x", x, min_ndim=2)
    if len(x) < 3:
        raise ValueError(f"x must hold at least 3 samples, got {len(x)}")
    if x.min() < 0 or x.max() > 1:
        raise ValueError(f"x must lie in [0, 1], got values from {float(x.min()):g} to {float(x.max()):g}")
    of_three, of_two = _outputs(model, x[:3]), _outputs(model, x[:2])
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    rows = []
    for layer, (t, two) in ((name, (t, of_two.get(name))) for name, t in of_three.items() if name):
        shape = str(tuple(t.shape[1:])) if isinstance(t, Tensor) else ""
        kind = kinds[layer.split("#")[0]]
        rows.append({"layer": layer, "type": kind, "shape": shape, "why not": _fault(t, two)})
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
        the model does not have, that the pass does not reach, whose output is no tensor, has no row for each image,
        depends on the other images or on chance, or is not finite. The message lists the layers that there are.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.ReLU()).eval()
    >>> checked(net, Data(torch.rand(3, 1, 2, 2), torch.arange(3)), ["1", "0"])
    ['0', '1']
    """
    checks.at_least("the number of layers", len(layers), 1)
    if len(checks.labels("y", data.y, len(data.x)).unique()) < 2:
        raise ValueError(f"y must hold at least two classes, got only {int(data.y[0])}")
    table = measurable(model, data.x).set_index("layer")
    allowed = f"layers that can be measured: {', '.join(table.index[table['why not'] == '']) or 'none'}"
    for layer in layers:
        if layer.split("#")[0] not in dict(model.named_modules()):
            raise ValueError(f"unknown layer {layer!r}; {allowed}")
        if f"{layer}#1" in table.index:
            raise ValueError(f"layer {layer!r} is called several times: name one call, such as '{layer}#1'; {allowed}")
        if layer not in table.index:
            raise ValueError(f"layer {layer!r} is not reached by the forward pass; {allowed}")
        if fault := table.loc[layer, "why not"]:
            raise ValueError(f"layer {layer!r} cannot be measured: {fault}; {allowed}")
    return [layer for layer in table.index if layer in layers]


def _outputs(model: nn.Module, x: Tensor) -> dict[str, Any]:
    """The output of each layer that a pass reaches, in the order of the pass, the model itself under ''."""
    x, outputs = x.to(device_of(model, x.device)), dict[str, Any]()
    with hooked(model, dict.fromkeys(reached(model, x), outputs.__setitem__)), evaluating(model):
        forward(model, x)
    return outputs


def _fault(t: Any, two: Any) -> str:
    """Why an output for three images, compared with that for the first two, cannot be measured; empty if it can."""
    if not isinstance(t, Tensor) or not isinstance(two, Tensor):
        return f"its output is no tensor but {type(t).__name__}"
    if t.ndim < 2 or len(t) != 3 or len(two) != 2:
        return f"its output is not batched: for 3 images it has shape {tuple(t.shape)}, for 2 {tuple(two.shape)}"
    if not t.is_floating_point() or not t.isfinite().all():
        return "its output is not made of finite numbers"
    if not torch.allclose(t[:2], two, rtol=1e-3, atol=1e-3 * float(t.abs().max())):
        return "what it says of an image depends on the other images, or on chance"
    return ""


def no_accuracy(model: nn.Module, data: Data) -> str:
    """Why the model's output has no accuracy on these labels; empty if it has one."""
    with evaluating(model):
        logits = model(data.x[:2].to(device_of(model, data.x.device)))
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        shape = f"of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        return f"the model has no accuracy: its output must be (n, classes), got {shape}"
    if (largest := int(data.y.max())) >= logits.shape[1]:
        return f"the model has no accuracy: it knows {logits.shape[1]} classes, and there are labels up to {largest}"
    return ""
