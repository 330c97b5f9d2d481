"""Read and change the outputs of any network's layers; hooks never outlive their `with`.

>>> from torch import nn, ones
>>> net = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True))
>>> with record(net, ["0"]) as outputs, replace(net, {"0": lambda t: -t}):
...     net(ones(2))
tensor([0., 0.])
>>> outputs
{'0': tensor([1., 1.])}

Layers have the names of `model.named_modules()`. A module that a forward pass calls several times, such as a shared
activation, has a layer for each call, `name#1`, `name#2` and so on, in every function alike; its bare name is an error
of the pass. A module under several names counts its calls under all of them together. `reached` lists a pass's layers.

>>> relu = nn.ReLU()
>>> net = nn.Sequential(nn.Linear(2, 3), relu, nn.Linear(3, 1), relu)
>>> reached(net, ones(1, 2))
['0', '1#1', '2', '1#2', '']
>>> collect(net, ones(1, 2), ["1#1"])["1#1"].shape, collect(net, ones(1, 2), ["3#2"])["3#2"].shape
(torch.Size([1, 3]), torch.Size([1, 1]))

Calls are counted anew in each pass of the model, in any mode and with or without gradients. A pass with fewer calls
than a name asks for is an error, but for a pass without any. So `name#1` suits a module whose calls vary from pass to
pass. Outside of a pass, as in `model.encode(x)`, a module may be called once, under its bare name.

Contexts nest in the order in which they are entered. An inner one gets a layer's output as the outer ones changed it.
An outer one gets it without the changes of the inner ones. Each counts for itself.

Compiled and scripted networks may skip hooks, and are refused.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, fx, nn

from infolib import checks
from infolib.networks import Layers, Network, forked, select

_PLOTTED = re.compile(r"(conv|hidden|fc)\d+|stem|stage\d+\.block\d+|output")

_SEVERAL = "layer {0!r} is called more than once in a forward pass; name one call: '{0}#1', '{0}#2' and so on"
_BEFORE = "give the network as it was before: model._orig_mod, or copy.deepcopy(model) after model.compile()"

TAKE = "choose one of its tensors with Network(model, take=...): an index, a key or a function"

Action = Callable[[str, Any], Any]


@contextmanager
def record(model: nn.Module, layers: Layers, *, detach: bool = True) -> Iterator[dict[str, Tensor]]:
    """Copies of the outputs of layers, renewed by each forward pass inside the `with`.

    A layer that the last pass does not reach has its former output, or none.

    Parameters
    ----------
    model : nn.Module
        Any network; a `networks.Network` chooses the tensor of each output that counts.
    layers : sequence of str or re.Pattern, one pattern, or int
        As `networks.select` takes them: names, with `#k` for the k-th call, patterns, or a number of blocks.
    detach : bool
        Whether the copies are detached from the autograd graph.

    Yields
    ------
    dict of str to Tensor
        Layer -> output of the last pass, in the order of `layers`; empty before the first pass.

    Raises
    ------
    ValueError
        As `hooked`. On the forward pass: for an output that is not a tensor.

    Examples
    --------
    >>> net = nn.Sequential(nn.Identity(), nn.ReLU())
    >>> with record(net, ["1"]) as outputs:
    ...     _ = net(torch.tensor([-1.0, 2.0]))
    >>> outputs
    {'1': tensor([0., 2.])}
    """
    layers, _ = _named(model, layers), checks.of_type("detach", detach, bool, "True or False")
    outputs: dict[str, Tensor] = {}

    def keep(layer: str, output: Any) -> None:
        seen, output = layer in outputs, tensor_of(model, layer, output)
        outputs[layer] = (output.detach() if detach else output).clone()  # a later in-place ReLU would overwrite it
        if not seen:
            for name in filter(outputs.__contains__, layers):  # in the order asked for, whatever that of the pass
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
        Dotted name of a layer, with `#k` for the k-th call -> function from its output to a tensor of the same shape
        and dtype. The function gets a copy, which it may change in place. Gradients flow through it.

    Yields
    ------
    None

    Raises
    ------
    ValueError
        As `hooked`. On the forward pass: for a result of another shape or dtype, and for a layer that is not reached.

    Examples
    --------
    >>> net = nn.Sequential(nn.Identity(), nn.ReLU())
    >>> with replace(net, {"0": lambda t: -t}):
    ...     net(torch.tensor([-1.0, 2.0]))
    tensor([1., 0.])
    """

    def change(function: Callable[[Tensor], Tensor], layer: str, output: Any) -> Any:
        before = tensor_of(model, layer, output)
        result = function(before.clone())
        if not isinstance(result, Tensor):
            raise ValueError(f"the replacement of layer {layer!r} must be a tensor, got {type(result).__name__}")
        if (result.shape, result.dtype) != (before.shape, before.dtype):
            raise ValueError(
                f"the replacement of layer {layer!r} must be {before.dtype} of shape {tuple(before.shape)}, "
                f"got {result.dtype} of shape {tuple(result.shape)}"
            )
        return model.put(layer, output, result) if isinstance(model, Network) else result

    checks.of_type("changes", changes, Mapping, "a mapping from layers to functions")
    for layer, function in changes.items():
        checks.of_type(f"the change of layer {layer!r}", function, Callable, "a function")
    with hooked(model, {layer: partial(change, function) for layer, function in changes.items()}, every=True):
        yield


def collect(model: nn.Module, x: Any, layers: Layers, *, batch_size: int = 1024) -> dict[str, Tensor]:
    """Outputs of layers for all samples, in eval mode and without gradients.

    Parameters
    ----------
    model : nn.Module
        Any network; each module's mode is restored. A `networks.Network` defines how it is called and what counts.
    x : Tensor, shape (n, ...), or tuple or mapping of these
        Samples; an array becomes a tensor. Floats get the type of the model's weights.
    layers : sequence of str or re.Pattern, one pattern, or int
        As `networks.select` takes them: names, with `#k` for the k-th call, patterns, or a number of blocks.
    batch_size : int
        Number of samples in a forward pass.

    Returns
    -------
    dict of str to Tensor, shape (n, ...)
        Layer -> its output, on the model's device.

    Raises
    ------
    ValueError
        As `record`; for no samples, NaN and infinity; for samples that the model cannot take; for a layer that the
        forward pass does not reach.

    Examples
    --------
    >>> found = collect(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.rand(10, 2, 2), ["0", "1"], batch_size=4)
    >>> {layer: tuple(output.shape) for layer, output in found.items()}
    {'0': (10, 4), '1': (10, 3)}
    """
    batch_size, x = checks.at_least("batch_size", batch_size, 1), checks.inputs("x", x)
    layers = _named(model, layers)
    parts: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    with evaluating(model), record(model, layers) as outputs:
        for start in range(0, len(checks.leaves(x)[0]), batch_size):
            outputs.clear()
            forward(model, checks.each(itemgetter(slice(start, start + batch_size)), x))
            if missing := [layer for layer in parts if layer not in outputs]:
                raise ValueError(f"the forward pass does not reach {', '.join(missing)}")
            for layer, output in outputs.items():
                parts[layer].append(output)
    return {layer: torch.cat(parts.pop(layer)) for layer in list(parts)}  # pop: hold each layer twice only in its turn


@contextmanager
def upto(model: nn.Module, layer: str) -> Iterator[Callable[[Tensor], Tensor]]:
    """A function from samples to the output of a layer; it does not run the layers after it.

    Only its first call runs the whole model once more, in eval mode, to count the layer's calls.

    Parameters
    ----------
    model : nn.Module
        Any network, in the caller's mode.
    layer : str
        Dotted name of the layer, with `#k` for the k-th call.

    Yields
    ------
    callable
        From x (n, ...) to the layer's output with its autograd graph. It works inside the `with` only.

    Raises
    ------
    ValueError
        As `hooked`. On the call: for a layer that the pass does not reach, for samples that the model cannot take, and
        for an output that is not a tensor.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(2, 3), nn.Linear(4, 5))  # the last layer does not fit
    >>> with upto(net, "1") as hidden:
    ...     hidden(torch.ones(7, 1, 2)).shape
    torch.Size([7, 3])
    """
    module, call = _call(layer, _modules(model))
    counted = call is not None

    def stop(layer: str, output: Any) -> None:
        raise _Reached(tensor_of(model, layer, output))

    def run(x: Any) -> Tensor:
        nonlocal counted
        if not counted and _calls(model, x)[0].count(module) > 1:
            raise ValueError(_SEVERAL.format(layer))
        counted = True
        try:
            forward(model, x)
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


def reached(model: nn.Module, x: Any) -> list[str]:
    """Names of the layers that a forward pass in eval mode reaches, in the order in which their outputs are ready.

    Parameters
    ----------
    model : nn.Module
        Any network; each module's mode is restored.
    x : Tensor, shape (n, ...), or tuple or mapping of these
        Samples, on the model's device.

    Returns
    -------
    list of str
        Dotted names, with `#k` for a module that is called several times; the model itself is "". A module under
        several names has the first of them.

    Raises
    ------
    ValueError
        As `hooked`, and for samples that the model cannot take.

    Examples
    --------
    >>> relu = nn.ReLU()
    >>> reached(nn.Sequential(relu, nn.Linear(2, 1), relu), torch.ones(1, 2))
    ['0#1', '1', '0#2', '']
    """
    names = {module: name for name, module in reversed(_modules(model).items())}
    calls, failed = _calls(model, x)
    if failed:
        raise failed
    number = Counter(calls)
    return [names[m] if number[m] == 1 else f"{names[m]}#{calls[: i + 1].count(m)}" for i, m in enumerate(calls)]


def _calls(model: nn.Module, x: Any) -> tuple[list[nn.Module], Exception | None]:
    """The modules in the order in which a forward pass is done with them, and the error that ended it early."""
    calls: list[nn.Module] = []
    handles = [module.register_forward_hook(lambda module, *_: calls.append(module)) for module in model.modules()]
    token = _Calls.idle.set(True)
    try:
        with evaluating(model), forked(model):
            forward(model, x)
    except Exception as error:  # such as a layer behind the one that is asked for, which does not fit
        return calls, error
    finally:
        _Calls.idle.reset(token)
        for handle in handles:
            handle.remove()
    return calls, None


def forward(model: nn.Module, x: Any) -> Any:
    """The output of a model for samples.

    Parameters
    ----------
    model : nn.Module
        Any network, in the caller's mode.
    x : Tensor, shape (n, ...), or tuple or mapping of these
        Samples, from any device, as `placed` makes them: one argument, several, or keywords.

    Returns
    -------
    any
        The model's output.

    Raises
    ------
    ValueError
        For samples that the model cannot take, with its own error and what to give.

    Examples
    --------
    >>> forward(nn.Linear(2, 3), torch.ones(4, 5))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: model cannot take x of shape (4, 5): ...
    """
    try:
        return Network.run(model, placed(model, x))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, LookupError, AttributeError, AssertionError) as error:
        of = [tuple(checks.of_type("x", part, Tensor, "a tensor").shape) for part in checks.leaves(x)]
        shape: Any = dict(zip(x, of, strict=True)) if isinstance(x, Mapping) else of if len(of) > 1 else of[0]
        advice = "if it is to be called otherwise, give Network(model, forward=...)"
        raise ValueError(f"model cannot take x of shape {shape}: {error}; {advice}") from error


def placed(model: nn.Module, x: Any) -> Any:
    """Inputs on a model's device, and floats among them in the type of its weights.

    Parameters
    ----------
    model : nn.Module
        Any network.
    x : Tensor, or tuple or mapping of tensors
        Inputs.

    Returns
    -------
    Tensor, or tuple or dict of Tensor

    Examples
    --------
    >>> placed(nn.Linear(2, 3).bfloat16(), {"x": torch.ones(1), "tokens": torch.ones(1).long()})
    {'x': tensor([1.], dtype=torch.bfloat16), 'tokens': tensor([1])}
    """
    x = checks.inputs("x", x, empty=True)
    device = device_of(checks.network("model", model), checks.leaves(x)[0].device)
    weights = next((weight.dtype for weight in model.parameters() if weight.is_floating_point()), None)
    return checks.each(lambda t: t.to(device, weights if t.is_floating_point() else None), x)


@contextmanager
def hooked(model: nn.Module, actions: Mapping[str, Action], *, every: bool = False) -> Iterator[None]:
    """Call a function after each forward pass of a layer inside the `with`.

    Parameters
    ----------
    model : nn.Module
        Any network; its hooks are removed at the end, whatever happens.
    actions : mapping of str to callable
        Dotted name of a layer, with `#k` for the k-th call -> function of this name and the layer's output; "" is the
        model itself. The output may be of any type. What the function returns replaces the output, unless it is None.
    every : bool
        Whether a forward pass that does not reach one of the layers is an error.

    Yields
    ------
    None

    Raises
    ------
    ValueError
        For a layer that the model does not have, and a network that is compiled, scripted or spread over devices. On
        the forward pass: for a bare name of a module that is called several times, and a call that does not occur.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> with hooked(net, {"0": lambda layer, output: print(layer, tuple(output.shape))}):
    ...     _ = net(torch.ones(5, 2))
    0 (5, 3)
    """
    modules = _modules(model)
    checks.of_type("actions", actions, Mapping, "a mapping from layers to functions")
    checks.of_type("every", every, bool, "True or False")
    for layer, action in actions.items():
        checks.of_type(f"actions[{layer!r}]", action, Callable, "a function")
    calls = _Calls(actions, {layer: _call(layer, modules) for layer in actions}, every)
    handles = [model.register_forward_pre_hook(calls.begin)]
    handles += [module.register_forward_hook(calls.act) for module in calls.layers]
    handles += [model.register_forward_hook(calls.check), model.register_forward_hook(calls.end, always_call=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Calls:
    """Counts the calls of modules in each forward pass, and takes the actions of those that are asked for."""

    idle: ContextVar[bool] = ContextVar("idle", default=False)  # in a pass of `reached` no action is taken

    def __init__(self, actions: Mapping[str, Action], of: Mapping[str, tuple[nn.Module, int | None]], every: bool):
        self.actions, self.every = actions, every
        self.layers: dict[nn.Module, list[tuple[str, int | None]]] = {}
        for layer, (module, call) in of.items():
            self.layers.setdefault(module, []).append((layer, call))
        self.done: Counter[nn.Module] = Counter()
        self.depth = 0  # above 1 where a model calls itself

    def begin(self, *_: Any) -> None:
        if self.depth == 0:
            self.done.clear()
        self.depth += 1

    def act(self, module: nn.Module, _inputs: Any, output: Any) -> Any:
        if _Calls.idle.get():
            return output
        self.done[module] += 1
        for layer, call in self.layers[module]:
            if call is None and self.done[module] > 1:
                raise ValueError(_SEVERAL.format(layer))
            if call is not None and self.depth == 0:
                raise ValueError(f"layer {layer!r} is called outside of a forward pass of model, which counts no calls")
            if call in (None, self.done[module]):
                changed = self.actions[layer](layer, output)
                output = output if changed is None else changed
        return output

    def check(self, *_: Any) -> None:
        if self.depth > 1 or _Calls.idle.get():
            return
        for module, layers in self.layers.items():
            for layer, call in layers:
                if self.every and not self.done[module]:
                    raise ValueError(f"the forward pass does not reach {layer}")
                if call is not None and 0 < self.done[module] < call:
                    raise ValueError(f"there is no layer {layer!r}: the forward pass calls it {self.done[module]} ×")

    def end(self, *_: Any) -> None:
        self.depth -= 1
        if self.depth == 0:
            self.done.clear()


def _modules(model: nn.Module) -> dict[str, nn.Module]:
    """All modules under all their names, of a network whose hooks are heeded."""
    modules = dict(checks.network("model", model).named_modules(remove_duplicate=False))
    for module in (*modules.values(), *([model.model] if isinstance(model, Network) else [])):
        compiled = module._compiled_call_impl or hasattr(module.forward, "_torchdynamo_orig_callable")
        if compiled or isinstance(module, torch.jit.ScriptModule):
            raise ValueError(f"model is compiled or scripted, so that hooks may be skipped; {_BEFORE}")
        if isinstance(module, nn.DataParallel) and len(module.device_ids) > 1:
            raise ValueError("model is spread over devices, each with some of the samples; give model.module")
    return modules


def _call(layer: str, modules: Mapping[str, nn.Module]) -> tuple[nn.Module, int | None]:
    """The module of a layer, and the number of its call for `name#k`."""
    name, call = str(layer), None
    if name not in modules and (numbered := re.fullmatch(r"(.*)#([1-9]\d*)", name)):
        name, call = numbered[1], int(numbered[2])
    if name not in modules:
        wrapped = [other for other in modules if f".{other}".endswith(f".{name}") or f".{name}".endswith(f".{other}")]
        advice = f", perhaps {wrapped[-1]!r}" if any(wrapped) else ""
        near = "" if advice else checks.nearest(name, list(modules))
        raise ValueError(f"unknown layer {layer!r}{advice}; there are: {', '.join(filter(None, modules))}{near}")
    return modules[name], call


def _named(model: nn.Module, layers: Layers) -> list[str]:
    checks.hold("layers", layers, layers is not None, "a sequence of names")
    return select(model, layers)


def tensor_of(model: nn.Module, layer: str, output: Any) -> Tensor:
    """The tensor of a layer's output that counts.

    Parameters
    ----------
    model : nn.Module
        Any network; a `networks.Network` chooses the tensor.
    layer : str
        Dotted name.
    output : any
        What the layer returned.

    Returns
    -------
    Tensor

    Raises
    ------
    ValueError
        For an output that is not a tensor, where no `take` chooses one of its tensors.

    Examples
    --------
    >>> tensor_of(Network(nn.Identity(), take=1), "0", (None, torch.zeros(1)))
    tensor([0.])
    """
    output = model.taken(layer, output) if isinstance(model, Network) else output
    if not isinstance(output, Tensor):
        raise ValueError(f"the output of layer {layer!r} must be a tensor, got {type(output).__name__}; {TAKE}")
    return output


def final(model: nn.Module) -> nn.Module:
    """The module whose output is the output of a model, wherever it is declared.

    It is found without data: from the order of `nn.Sequential`, and by a symbolic trace of other modules (`torch.fx`).
    Identities and dropout after it do not count.

    Parameters
    ----------
    model : nn.Module
        Any network.

    Returns
    -------
    nn.Module
        The module itself, of a class of `torch.nn`.

    Raises
    ------
    ValueError
        Where the output does not come from a module, or from one that is called again, and where no trace can be made,
        as where the forward pass depends on values.

    Examples
    --------
    >>> final(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), nn.Identity()))
    Linear(in_features=3, out_features=2, bias=True)
    """
    if getattr(checks.network("model", model).forward, "__func__", None) is nn.Sequential.forward:
        inner = [module for module in model.children() if not isinstance(module, nn.Identity | nn.Dropout)]
        if inner:
            return final(inner[-1])
    if type(model).__module__.startswith("torch.nn"):
        return model
    try:
        with torch.random.fork_rng([]):
            graph = fx.Tracer().trace(model)
    except Exception as error:  # of the model's own code, too
        advice = "write it as nn.Sequential of all that comes before its last layer, and that layer"
        raise ValueError(f"the output layer of model cannot be found: {error}; {advice}") from error
    (node,) = (node.args[0] for node in graph.nodes if node.op == "output")
    uses = [str(use.target) for use in graph.nodes if use.op in ("call_module", "get_attr")]
    while isinstance(node, fx.Node) and node.op == "call_module":
        module = model.get_submodule(str(node.target))
        if isinstance(module, nn.Identity | nn.Dropout):
            node = node.args[0]
        elif sum(f"{use}.".startswith(f"{node.target}.") for use in uses) == 1:
            return module
        else:
            break
    raise ValueError("the output of model must be that of one layer, which has no other use in the pass")


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
    names = [name for name, _ in checks.network("model", model).named_modules()]
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

    Raises
    ------
    ValueError
        For anything but a network.

    Examples
    --------
    >>> net = nn.Dropout()
    >>> with evaluating(net):
    ...     net.training
    False
    >>> net.training
    True
    """
    modes = {module: module.training for module in checks.network("model", model).modules()}
    if any(modes.values()):
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            if module.training != training:  # to set it is slow
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

    Raises
    ------
    ValueError
        For anything but a network, and anything but a device.

    Examples
    --------
    >>> device_of(nn.Linear(2, 2)), device_of(nn.ReLU(), "meta")
    (device(type='cpu'), device(type='meta'))
    """
    for tensor in chain(checks.network("model", model).parameters(), model.buffers()):
        return tensor.device
    try:
        return torch.device(default)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"default must be a device, got {default!r}: {error}") from error
