"""A trained network cut at the layers whose neurons are ablated, and walks along orders of ablation.

Activations are computed once. Clamping a neuron is then an update of rank one to the output of the map after its
layer; only what lies above that map is computed again, and of a last hidden layer nothing: its logits are a cumulative
sum over the neurons.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy

from infolib import checks
from infolib.activations import device_of
from infolib.data import Data, labelled

Mode = Literal["mean", "zero"]
MODES: tuple[Mode, ...] = ("mean", "zero")
CHUNK = 2000  # samples ablated at a time: their activations stay in the processor's cache
_EACH_ALONE = (
    nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.ReLU, nn.Sigmoid, nn.Tanh,
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d,
)  # fmt: skip


class Stage(NamedTuple):
    """From one layer's output to the next's: what treats each neuron alone, the map that mixes them, and the rest."""

    between: list[nn.Module]
    map: nn.Linear | nn.Conv2d
    above: list[nn.Module]


class Chain(NamedTuple):
    """A network cut at the layers whose neurons are ablated."""

    below: list[nn.Module]
    stages: list[Stage]


class Clamp(NamedTuple):
    """Neurons of one stage that a step clamps, and what of the map after them that concerns."""

    stage: int
    neurons: Tensor
    activation: Tensor  # what they are clamped to, as the map is given it: (neurons, positions)
    weight: Tensor  # the map's, of these neurons
    bias: Tensor  # the map's, once all neurons clamped so far are part of it


class Start(NamedTuple):
    """The intact network on some samples: input and output of each stage's map, and the logits."""

    inputs: list[Tensor]
    outputs: list[Tensor]
    logits: Tensor


def check(model: nn.Module, data: Data) -> None:
    """Raises ValueError for a model in training mode, one with outputs that are not finite, and labels not its own."""
    if any(module.training for module in model.modules()):
        raise ValueError("model is in training mode: dropout would perturb activations; call model.eval() first")
    data = labelled("data", data)
    with torch.no_grad():
        logits = torch.cat([model(x.to(device_of(model))) for x in data.x.split(CHUNK)])
    classes, wrong = logits.shape[1], int((~logits.isfinite()).any(1).sum())
    checks.hold("model", f"{wrong} of {len(logits)} that are not", not wrong, "a network whose outputs are finite")
    if len(data) < classes:
        raise ValueError(f"data must hold at least as many samples as classes, got n={len(data)} for {classes}")
    if int(data.y.max()) >= classes:
        raise ValueError(f"labels must be below the model's {classes} classes, got {int(data.y.max())}")


def cut(model: nn.Module, layers: Sequence[str]) -> Chain:
    """Cut a sequential model at `layers`; ValueError for layers it does not have or whose neurons cannot be clamped."""
    parts: list[nn.Module] = []
    ends: dict[str, int] = {}
    _unroll("", model, parts, ends)
    places: list[tuple[int, int]] = []
    maps: list[nn.Linear | nn.Conv2d] = []
    for layer in layers:
        if layer not in ends:
            raise ValueError(f"layer {layer!r} must be a step of a sequential model; there are: {', '.join(ends)}")
        place = next((i for i in range(ends[layer], len(parts)) if not isinstance(parts[i], _EACH_ALONE)), len(parts))
        follower = parts[place] if place < len(parts) else None
        if not isinstance(follower, nn.Linear | nn.Conv2d) or not _mixes(follower):
            raise ValueError(f"layer {layer!r} must be followed by a linear or convolutional map, got {follower}")
        places.append((ends[layer], place))
        maps.append(follower)
    if not places or any(place >= start for (_, place), (start, _) in pairwise(places)):
        raise ValueError(f"layers must come in order of depth with a map between any two, got {list(layers)}")
    stops = [start for start, _ in places[1:]] + [len(parts)]
    stages = [
        Stage(parts[start:place], follower, parts[place + 1 : stop])
        for (start, place), follower, stop in zip(places, maps, stops, strict=True)
    ]
    return Chain(parts[: places[0][0]], stages)


def chunks(chain: Chain, data: Data) -> Iterator[tuple[Tensor, Tensor]]:
    """The samples, some at a time, on the network's device."""
    device = device_of(chain.stages[0].map)
    for x, y in zip(data.x.split(CHUNK), data.y.split(CHUNK), strict=True):
        yield x.to(device), y.to(device)


def by_neuron(t: Tensor, neurons: int | None = None) -> Tensor:
    """`t` in the shape (n, neurons, positions)."""
    return t.reshape(len(t), t.shape[1] if neurons is None else neurons, -1)


@torch.no_grad()
def constants(chain: Chain, data: Data, mode: Mode) -> tuple[list[Tensor], list[int]]:
    """What each stage's map is given when all neurons are clamped, for one sample; and how many neurons there are."""
    sums: list[Tensor] = [torch.zeros((), dtype=torch.float64)] * len(chain.stages)
    for x, _ in chunks(chain, data if mode == "mean" else data[:1]):
        t, shapes = _run(chain.below, x), []
        for i, stage in enumerate(chain.stages):
            shapes.append(t.shape[1:])
            sums[i] = sums[i] + by_neuron(t).double().mean(2).sum(0)
            t = _run(stage.between, t)
            if isinstance(stage.map, nn.Linear) and t.ndim != 2:
                raise ValueError(f"a linear map after an ablated layer must be given (n, units), got {tuple(t.shape)}")
            t = _run([stage.map, *stage.above], t)
    clamped = []
    for stage, shape, total in zip(chain.stages, shapes, sums, strict=True):
        value = (total / len(data) if mode == "mean" else 0 * total).to(stage.map.weight.dtype)
        clamped.append(_run(stage.between, value.reshape(1, -1, *[1] * (len(shape) - 1)).expand(1, *shape)))
    return clamped, [len(total) for total in sums]


@torch.no_grad()
def plan(chain: Chain, constants: list[Tensor], sizes: list[int], steps: list[dict[int, Tensor]]) -> list[list[Clamp]]:
    """All of an order that does not depend on the samples; `steps` are the neurons to clamp by stage."""
    biases = [_bias(stage.map) for stage in chain.stages]
    planned: list[list[Clamp]] = []
    for step in steps:
        planned.append([])
        for i, neurons in step.items():
            layer, activation = chain.stages[i].map, by_neuron(constants[i], sizes[i])[:, neurons]
            weight = _part(layer.weight, sizes[i], neurons)
            biases[i] = _mapped(layer, _shaped(activation, constants[i]), weight, biases[i])
            planned[-1].append(Clamp(i, neurons, activation[0], weight, biases[i]))
    return planned


@torch.no_grad()
def begin(chain: Chain, x: Tensor) -> Start:
    """Run the intact network, for walks to start from."""
    inputs, outputs, t = [], [], _run(chain.below, x)
    for stage in chain.stages:
        t = _run(stage.between, t)
        inputs.append(t.T.contiguous().T if t.ndim == 2 else t)  # in memory, neurons come first: they are picked out
        outputs.append(_mapped(stage.map, inputs[-1], stage.map.weight, _bias(stage.map)))
        t = _run(stage.above, outputs[-1])
    return Start(inputs, outputs, t)


@torch.no_grad()
def walk(chain: Chain, start: Start, sizes: list[int], planned: list[list[Clamp]]) -> Iterator[Tensor]:
    """Logits (n, classes) before the first step and after each.

    A clamped neuron is cut out of the map that follows it, weights to zero, and its constant goes into the bias.
    """
    yield start.logits.clone()
    inputs, outputs = list(start.inputs), [t.clone() for t in start.outputs]
    weights, biases = [stage.map.weight.clone() for stage in chain.stages], [_bias(stage.map) for stage in chain.stages]
    for step in planned:
        for clamp in step:
            by_neuron(weights[clamp.stage], sizes[clamp.stage])[:, clamp.neurons] = 0
            biases[clamp.stage] = clamp.bias
        lowest = step[0]
        first, stage = lowest.stage, chain.stages[lowest.stage]
        if step is planned[-1]:  # no neuron is left: the bias alone, without a trace of rounding
            outputs[first] = _mapped(stage.map, inputs[first], weights[first], biases[first])
        else:
            change = lowest.activation - by_neuron(inputs[first], sizes[first])[:, lowest.neurons]
            _add(stage.map, outputs[first], _shaped(change, inputs[first]), lowest.weight)
        t = _run(stage.above, outputs[first])
        for i, stage in enumerate(chain.stages[first + 1 :], start=first + 1):
            inputs[i] = _run(stage.between, t)
            outputs[i] = _mapped(stage.map, inputs[i], weights[i], biases[i])
            t = _run(stage.above, outputs[i])
        yield t.clone()


@torch.no_grad()
def one_by_one(chain: Chain, start: Start, neurons: int, planned: list[list[Clamp]]) -> Iterator[Tensor]:
    """Logits (n, classes) with each neuron of the only stage clamped alone."""
    (stage,) = chain.stages
    given = by_neuron(start.inputs[0], neurons)
    for (clamp,) in planned:
        output = start.outputs[0].clone()
        change = _shaped(clamp.activation - given[:, clamp.neurons], start.inputs[0])
        _add(stage.map, output, change, clamp.weight)
        yield _run(stage.above, output)


def first_order(chain: Chain, x: Tensor, y: Tensor) -> Tensor:
    """Sum over samples of t ∂L/∂t for each neuron t of the only stage, in nats, float64."""
    (stage,) = chain.stages
    with torch.no_grad():
        t = _run(chain.below, x)
    t.requires_grad_()
    loss = cross_entropy(_run([*stage.between, stage.map, *stage.above], t), y, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, t)
    return by_neuron(t.detach() * gradient).double().sum((0, 2))


def _mixes(layer: nn.Linear | nn.Conv2d) -> bool:
    """Whether a map is one of all neurons, with zeros around the image."""
    return isinstance(layer, nn.Linear) or (layer.groups == 1 and layer.padding_mode == "zeros")


def _unroll(name: str, module: nn.Module, parts: list[nn.Module], ends: dict[str, int]) -> None:
    """List the modules of nested `nn.Sequential`s in the order of the forward pass, and where each named one ends."""
    if type(module).forward is nn.Sequential.forward:
        for child, part in module._modules.items():  # a module may stand in several places
            if part is not None:
                _unroll(f"{name}.{child}" if name else child, part, parts, ends)
    else:
        parts.append(module)
    if name:
        ends[name] = len(parts)


def _run(modules: Iterable[nn.Module], t: Tensor) -> Tensor:
    for module in modules:
        if type(module) is nn.Linear and t.ndim == 2:
            t = _mapped(module, t, module.weight, _bias(module))
        else:
            t = module(t.clone() if getattr(module, "inplace", False) else t)  # what is kept must not change
    return t


def _mapped(layer: nn.Linear | nn.Conv2d, t: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The map with another weight and bias; of a linear one the output, too, has neurons first in memory."""
    if isinstance(layer, nn.Linear):
        return torch.addmm(bias.T, weight, t.T).T
    return conv2d(t, weight, None, layer.stride, layer.padding, layer.dilation) + bias


def _add(layer: nn.Linear | nn.Conv2d, output: Tensor, change: Tensor, weight: Tensor) -> None:
    """Add to a map's output what the change of some neurons does to it."""
    if isinstance(layer, nn.Linear):
        output.addmm_(change, weight.T)
    else:
        output += conv2d(change, weight, None, layer.stride, layer.padding, layer.dilation)


def _bias(layer: nn.Linear | nn.Conv2d) -> Tensor:
    """A map's bias, (1, out) or (1, out, 1, 1)."""
    bias = layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias
    return bias.view(1, -1, *[1] * (layer.weight.ndim - 2))


def _part(weight: Tensor, of: int, neurons: Tensor) -> Tensor:
    """The weights of some of the neurons; a linear map may follow flattened channels."""
    return weight[:, neurons] if weight.ndim == 4 else by_neuron(weight, of)[:, neurons].flatten(1)


def _shaped(t: Tensor, like: Tensor) -> Tensor:
    """(n, some neurons, positions) in the shape that the map takes: flat or as images."""
    return t.flatten(1) if like.ndim == 2 else t.view(*t.shape[:2], *like.shape[2:])
