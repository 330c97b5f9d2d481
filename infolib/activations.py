"""Read and change the outputs of any network's layers; hooks never outlive their `with`.

>>> from torch import nn, ones
>>> net = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True))
>>> with record(net, ["0"]) as outputs, replace(net, {"0": lambda t: -t}):
...     net(ones(2))
tensor([0., 0.])
>>> outputs
{'0': tensor([1., 1.])}

Contexts nest in the order in which they are entered: an inner one sees what the outer ones made of a layer's output,
an outer one does not see what the inner ones make of it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from infolib import checks

_PLOTTED = re.compile(r"(conv|hidden|fc)\d+|stem|stage\d+\.block\d+|output")


@contextmanager
def record(model: nn.Module, layers: Sequence[str], *, detach: bool = True) -> Iterator[dict[str, Tensor]]:
    """Copies of the outputs of `layers`, by dotted name, filled in by each forward pass inside the `with`.

    The copies are detached from the graph unless `detach` is False. The last pass counts; a layer that it does not
    reach keeps its former output, or has none.

    Raises:
        ValueError: for a layer that the model does not have, or (on forward) whose output is not a tensor
    """
    outputs: dict[str, Tensor] = {}

    def keep(layer: str, output: Any) -> None:
        seen, output = layer in outputs, _tensor(layer, output)
        outputs[layer] = (output.detach() if detach else output).clone()  # a later in-place ReLU would overwrite it
        if not seen:
            for name in layers:  # in the order asked for, whatever the order of the pass
                if name in outputs:
                    outputs[name] = outputs.pop(name)

    with hooked(model, dict.fromkeys(layers, keep)):
        yield outputs


@contextmanager
def replace(model: nn.Module, changes: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Replace the output `t` of each layer by `changes[layer](t)` in forward passes inside the `with`.

    The function gets a copy, which it may change in place; gradients flow through it.

    Raises:
        ValueError: for a layer that the model does not have, or (on forward) a result of another shape or dtype
    """

    def change(function: Callable[[Tensor], Tensor], layer: str, output: Any) -> Tensor:
        result = function(_tensor(layer, output).clone())
        if not isinstance(result, Tensor):
            raise ValueError(f"the replacement of layer {layer!r} is no tensor but {type(result).__name__}")
        if (result.shape, result.dtype) != (output.shape, output.dtype):
            raise ValueError(
                f"the replacement of layer {layer!r} must be {output.dtype} of shape {tuple(output.shape)}, "
                f"got {result.dtype} of shape {tuple(result.shape)}"
            )
        return result

    with hooked(model, {layer: partial(change, function) for layer, function in changes.items()}):
        yield


def collect(model: nn.Module, x: Tensor, layers: Sequence[str], *, batch_size: int = 1024) -> dict[str, Tensor]:
    """The outputs of `layers` for all of `x`, batch by batch, in eval mode and without gradients.

    Raises:
        ValueError: as `record` does, for an empty `x`, and for a layer that the forward pass does not reach
    """
    checks.at_least("batch_size", batch_size, 1)
    if len(x) == 0:
        raise ValueError(f"x is empty, got shape {tuple(x.shape)}")
    device = device_of(model, x.device)
    parts: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    with evaluating(model), record(model, layers) as outputs:
        for batch in x.split(batch_size):
            outputs.clear()
            model(batch.to(device))
            if missing := [layer for layer in layers if layer not in outputs]:
                raise ValueError(f"the forward pass does not reach {', '.join(missing)}")
            for layer, output in outputs.items():
                parts[layer].append(output)
    return {layer: torch.cat(parts.pop(layer)) for layer in layers}  # pop: hold each layer twice only in its turn


@contextmanager
def upto(model: nn.Module, layer: str) -> Iterator[Callable[[Tensor], Tensor]]:
    """A function x -> output of `layer`, with its graph, that runs the model no further than that.

    The layers after it see nothing, and cost nothing; the model's mode is the caller's.

    Raises:
        ValueError: for a layer that the model does not have or (on the call) does not reach, or whose output is no
            tensor

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(2, 3), nn.Linear(4, 5))  # the last layer does not fit
    >>> with upto(net, "1") as hidden:
    ...     hidden(torch.ones(7, 1, 2)).shape
    torch.Size([7, 3])
    """

    def stop(layer: str, output: Any) -> None:
        raise _Reached(_tensor(layer, output))

    def run(x: Tensor) -> Tensor:
        try:
            model(x)
        except _Reached as reached:
            return reached.output
        raise ValueError(f"the forward pass does not reach {layer}")

    with hooked(model, {layer: stop}):
        yield run


class _Reached(Exception):  # noqa: N818
    """Ends a forward pass at the layer that was asked for, and carries its output."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


@contextmanager
def hooked(model: nn.Module, actions: Mapping[str, Callable[[str, Any], Tensor | None]]) -> Iterator[None]:
    """Call `actions[layer](layer, output)` after each forward pass of a layer inside the `with`.

    Parameters
    ----------
    model : nn.Module
        Any network; its hooks are removed at the end, whatever happens.
    actions : mapping
        By dotted name of the layer; "" is the model itself. The output may be of any type. A tensor that an action
        returns takes the output's place.

    Raises
    ------
    ValueError
        For a layer that the model does not have.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    for layer in actions:
        if layer not in modules:
            raise ValueError(f"unknown layer {layer!r}; there are: {', '.join(filter(None, modules))}")

    def hook(layer: str, _module: nn.Module, _inputs: Any, output: Any) -> Tensor | None:
        return actions[layer](layer, output)

    handles = []
    try:
        for layer in actions:
            handles.append(modules[layer].register_forward_hook(partial(hook, layer)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensor(layer: str, output: Any) -> Tensor:
    if not isinstance(output, Tensor):
        raise ValueError(f"the output of layer {layer!r} is no tensor but {type(output).__name__}")
    return output


def layers(model: nn.Module) -> list[str]:
    """Names of the layers that are plotted, in order of depth: conv, hidden, fc, stem, blocks, output.

    Raises:
        ValueError: for a model of other names, which has to be asked for layers by name
    """
    names = [name for name, _ in model.named_modules()]
    plotted = [name for name in names if _PLOTTED.fullmatch(name)]
    if not plotted:
        raise ValueError(f"model has no layers named like conv1, hidden1, fc1 or output; choose from {names[1:]}")
    return plotted


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Measure a model: eval mode and no gradients; each module gets its own mode back, whatever happens."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def device_of(model: nn.Module, default: torch.device | str = "cpu") -> torch.device:
    """The device of the model's first parameter or buffer; `default` for a model that has neither.

    Parameters
    ----------
    model : nn.Module
        Any network.
    default : torch.device or str
        Such as the device of the samples that the model is to take.
    """
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device(default))
