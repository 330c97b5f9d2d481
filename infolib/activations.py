"""Read and change the outputs of any network's layers; hooks never outlive their `with`.

>>> from torch import nn, ones
>>> net = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True))
>>> with record(net, ["0"]) as outputs, replace(net, {"0": lambda t: -t}):
...     net(ones(2))
tensor([0., 0.])
>>> outputs
{'0': tensor([1., 1.])}

Contexts nest in the order in which they are entered. An inner one gets a layer's output as the outer ones changed it.
An outer one gets it without the changes of the inner ones.
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
    """Copies of the outputs of layers, renewed by each forward pass inside the `with`.

    A layer that the last pass does not reach has its former output, or none.

    Parameters
    ----------
    model : nn.Module
        Any network.
    layers : sequence of str
        Dotted names of layers.
    detach : bool
        Whether the copies are detached from the graph.

    Yields
    ------
    dict of str to Tensor
        Layer -> output of the last pass, in the order of `layers`; empty before the first pass.

    Raises
    ------
    ValueError
        For a layer that the model does not have. On the forward pass: for an output that is not a tensor.

    Examples
    --------
    >>> net = nn.Sequential(nn.Identity(), nn.ReLU())
    >>> with record(net, ["1"]) as outputs:
    ...     _ = net(torch.tensor([-1.0, 2.0]))
    >>> outputs
    {'1': tensor([0., 2.])}
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
    """Replace the outputs of layers in the forward passes inside the `with`.

    Parameters
    ----------
    model : nn.Module
        Any network.
    changes : mapping of str to callable
        Dotted name of a layer -> function from its output to a tensor of the same shape and dtype. The function gets a
        copy, which it may change in place. Gradients flow through it.

    Yields
    ------
    None

    Raises
    ------
    ValueError
        For a layer that the model does not have. On the forward pass: for a result of another shape or dtype.

    Examples
    --------
    >>> net = nn.Sequential(nn.Identity(), nn.ReLU())
    >>> with replace(net, {"0": lambda t: -t}):
    ...     net(torch.tensor([-1.0, 2.0]))
    tensor([1., 0.])
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
    """Outputs of layers for all samples, in eval mode and without gradients.

    Parameters
    ----------
    model : nn.Module
        Any network; each module's mode is restored.
    x : Tensor, shape (n, ...)
        Samples.
    layers : sequence of str
        Dotted names of layers.
    batch_size : int
        Number of samples in a forward pass.

    Returns
    -------
    dict of str to Tensor, shape (n, ...)
        Layer -> its output, on the model's device.

    Raises
    ------
    ValueError
        As `record`; for no samples; for a layer that the forward pass does not reach.

    Examples
    --------
    >>> found = collect(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.rand(10, 2, 2), ["0", "1"], batch_size=4)
    >>> {layer: tuple(output.shape) for layer, output in found.items()}
    {'0': (10, 4), '1': (10, 3)}
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
    """A function from samples to the output of a layer; it does not run the layers after it.

    Parameters
    ----------
    model : nn.Module
        Any network, in the caller's mode.
    layer : str
        Dotted name of the layer.

    Yields
    ------
    callable
        From x (n, ...) to the layer's output with its graph. It works inside the `with` only.

    Raises
    ------
    ValueError
        For a layer that the model does not have. On the call: for a layer that the pass does not reach, and for an
        output that is not a tensor.

    Examples
    --------
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
    """Call a function after each forward pass of a layer inside the `with`.

    Parameters
    ----------
    model : nn.Module
        Any network; its hooks are removed at the end, whatever happens.
    actions : mapping of str to callable
        Dotted name of a layer -> function of this name and the layer's output; "" is the model itself. The output may
        be of any type. A tensor that the function returns replaces the output.

    Yields
    ------
    None

    Raises
    ------
    ValueError
        For a layer that the model does not have.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> with hooked(net, {"0": lambda layer, output: print(layer, tuple(output.shape))}):
    ...     _ = net(torch.ones(5, 2))
    0 (5, 3)
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
    """Names of the layers to plot, in order of depth.

    These are the modules named conv1, hidden1, fc1 and so on, stem, blocks such as stage1.block1, and output.

    Parameters
    ----------
    model : nn.Module
        A network with such names.

    Returns
    -------
    list of str
        Dotted names.

    Raises
    ------
    ValueError
        For a model without such names: give its layers by name.

    Examples
    --------
    >>> from collections import OrderedDict
    >>> layers(nn.Sequential(OrderedDict(hidden1=nn.Linear(4, 3), relu=nn.ReLU(), output=nn.Linear(3, 2))))
    ['hidden1', 'output']
    """
    names = [name for name, _ in model.named_modules()]
    plotted = [name for name in names if _PLOTTED.fullmatch(name)]
    if not plotted:
        raise ValueError(f"model has no layers named like conv1, hidden1, fc1 or output; choose from {names[1:]}")
    return plotted


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients inside the `with`; each module's mode is restored, whatever happens.

    Parameters
    ----------
    model : nn.Module
        Any network.

    Yields
    ------
    None

    Examples
    --------
    >>> net = nn.Dropout()
    >>> with evaluating(net):
    ...     net.training
    False
    >>> net.training
    True
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def device_of(model: nn.Module, default: torch.device | str = "cpu") -> torch.device:
    """The device of the model's first parameter or buffer.

    Parameters
    ----------
    model : nn.Module
        Any network.
    default : torch.device or str
        Result for a model without parameters and buffers, such as the device of its samples.

    Returns
    -------
    torch.device
        The device.

    Examples
    --------
    >>> device_of(nn.Linear(2, 2)), device_of(nn.ReLU(), "meta")
    (device(type='cpu'), device(type='meta'))
    """
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device(default))
