"""What the lenses can measure: a layer's output must have a row for each sample that depends on it alone."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from infolib import activations, checks
from infolib.activations import evaluating, forward, hooked, reached
from infolib.data import Data, gathered, stratified_order
from infolib.measures.discarding import constrained
from infolib.networks import Layers, Network, select

BATCH = 64  # samples in a forward pass
WIDTH = 0.55  # of the root mean squared distance of two samples


def measurable(model: nn.Module, x: Any) -> pd.DataFrame:
    """Every named module that the forward pass reaches, in its order, and whether the lenses can measure it.

    The outputs of two passes are compared: the first three images, and the first two. A module that a pass calls
    several times has a row for each call, `name#1`, `name#2` and so on.

    Parameters
    ----------
    model : nn.Module
        Any network, in eval mode.
    x : Tensor, shape (n, ...), or tuple or mapping of tensors
        At least three samples.

    Returns
    -------
    DataFrame
        Columns: layer, type, shape (for one image), and `why not`, empty for a layer that can be measured.

    Raises
    ------
    ValueError
        For a model in training mode, fewer samples, and samples that it cannot take.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Softmax(dim=0)).eval()
    >>> measurable(net, torch.rand(3, 1, 2, 2))[["layer", "shape", "why not"]].values.tolist()
    [['0', '(4,)', ''], ['1', '(4,)', 'its output for a sample depends on the other samples, or on chance']]
    """
    return _table(model, x).drop(columns="units")


def _table(model: nn.Module, x: Any) -> pd.DataFrame:
    """The table of `measurable`, and what the units of each layer are."""
    constrained.checked_mode(checks.network("model", model))
    if (n := len(checks.leaves(x := checks.inputs("x", x))[0])) < 3:
        raise ValueError(f"x must hold at least 3 samples, got {n}")
    three, two = (checks.each(itemgetter(slice(k)), x) for k in (3, 2))
    of_three, of_two = _outputs(model, three), _outputs(model, two)
    modules, rows = dict(model.named_modules()), []
    told: dict[str, str] = {}
    for layer, t in of_three.items():
        shape = str(tuple(t.shape[1:])) if isinstance(t, Tensor) else ""
        why = _fault(t, of_two.get(layer))
        module = modules[layer.partition("#")[0]]
        told[shape] = _told(module) or told.get(shape) or ("features" if shape.count(",") == 1 else "channels")
        units = (model.units_of(layer) if isinstance(model, Network) else None) or told[shape]
        rows.append({"layer": layer, "type": type(module).__name__, "shape": shape, "why not": why, "units": units})
    return pd.DataFrame(rows, columns=["layer", "type", "shape", "why not", "units"])


def _told(module: nn.Module) -> str | None:
    """What the units of a layer's output are by its type; a layer of another type has those of the one before it."""
    if re.search(r"[123]d", type(module).__name__) or isinstance(module, nn.GroupNorm):
        return "channels"
    by_place = nn.Linear | nn.LayerNorm | nn.RMSNorm | nn.Embedding | nn.MultiheadAttention | nn.RNNBase
    return "features" if isinstance(module, by_place) else None


def rms(t: Tensor) -> float:
    """The root mean squared distance of two samples, over maps (n, maps, values); exactly 0 if all are the same."""
    return 0.0 if (t == t[:1]).all() else math.sqrt(2 * float(t.double().var(0).sum() / t.shape[1]))


class Ready(NamedTuple):
    """What all lenses start from: samples, layers in the order of the pass, and what the units of each are."""

    data: Data
    layers: list[str]
    units: dict[str, str]


def checked(model: nn.Module, data: Any, layers: Layers = None) -> list[str]:
    """The layers in the order of the forward pass, if all lenses can measure them.

    Parameters
    ----------
    model : nn.Module
        Any network, in eval mode.
    data : Data, (x, y), Dataset or DataLoader
        At least three samples of at least two classes.
    layers : sequence of str or re.Pattern, one pattern, int, or None
        As `networks.select` takes them, in any order.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        For no layers, and as `measurable`; for labels of a single class, or not one for each sample; for a layer that
        the model does not have, that the pass does not reach or calls several times, or whose output is not a tensor,
        has no row for each image, depends on the other images or on chance, or is not finite (the message lists the
        layers that can be measured); for a mask of another shape.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.ReLU()).eval()
    >>> checked(net, Data(torch.rand(3, 1, 2, 2), torch.arange(3)), ["1", "0"])
    ['0', '1']
    """
    return ready(model, data, layers).layers


def ready(model: nn.Module, data: Any, layers: Layers) -> Ready:
    """As `checked`: samples as `Data`, the layers that were chosen, and their units."""
    layers, data = select(model, layers), gathered("data", data)
    checks.at_least("the number of layers", len(layers), 1)
    if len(data.y.unique(dim=0)) < 2:
        what = "numbers" if kinds(data.y) == "numbers" else "classes"
        raise ValueError(f"y must hold at least two {what}, got only {data.y[0].tolist()}")
    table = _table(model, data.x).set_index("layer")
    allowed = f"layers that can be measured: {', '.join(table.index[table['why not'] == '']) or 'none'}"
    names = dict(model.named_modules(remove_duplicate=False))
    for layer in layers:
        if layer.partition("#")[0] not in names:
            raise ValueError(f"unknown layer {layer!r}{checks.nearest(layer, list(names))}; {allowed}")
        if calls := [call for call in table.index if call.startswith(f"{layer}#")]:
            raise ValueError(
                f"layer {layer!r} is called several times in a forward pass; name one of {calls}; {allowed}"
            )
        if layer not in table.index:
            raise ValueError(f"layer {layer!r} is not reached by the forward pass; {allowed}")
        if fault := table.loc[layer, "why not"]:
            raise ValueError(f"layer {layer!r} cannot be measured: {fault}; {allowed}")
    found = [layer for layer in table.index if layer in layers]
    units = table["units"].to_dict()
    if isinstance(model, Network) and model.mask is not None:
        collected(model, data[:3].x, found, units)  # whether it fits
    return Ready(data, found, units)


def kinds(y: Tensor) -> Literal["classes", "labels", "numbers"]:
    """What the targets of samples are: one class each, several labels each, or numbers."""
    return "numbers" if y.is_floating_point() else "labels" if y.ndim == 2 else "classes"


def sets(y: Tensor) -> Tensor:
    """Classes as integers from 0; a set of labels is a class, and numbers are all in one."""
    return torch.zeros(len(y)).long() if kinds(y) == "numbers" else y.unique(dim=0, return_inverse=True)[1]


def collected(
    model: nn.Module, x: Any, layers: Sequence[str], units: Mapping[str, str], batch_size: int = BATCH
) -> dict[str, Tensor]:
    """Outputs of layers, 0 at tokens that do not count, half precision as float32."""
    mask, found = model.masked(x) if isinstance(model, Network) else None, {}
    for layer, t in activations.collect(model, x, layers, batch_size=batch_size).items():
        found[layer] = t = checks.floats(f"the output of layer {layer!r}", t)
        if mask is not None and t.ndim == 3 and units.get(layer) != "channels":
            if mask.shape[1] != t.shape[1]:
                raise ValueError(f"mask must have the {t.shape[1]} tokens of layer {layer!r}, got {mask.shape[1]}")
            found[layer] = t * mask[:, :, None].to(t)
    return found


def source(model: nn.Module, x: Any, units: Mapping[str, str], batch_size: int = BATCH) -> Tensor:
    """What the input's kernel is about: the samples, or the output of the layer that is their place."""
    if isinstance(model, Network) and (layer := model.input_of):
        return collected(model, x, [layer], units, batch_size)[layer]
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = f"{x.dtype}" if isinstance(x, Tensor) else f"{len(checks.leaves(x))} inputs"
        advice = "name the layer whose output is the input, such as the embeddings: Network(model, input_of=...)"
        raise ValueError(f"x of data must be floats, between which there are distances, got {got}; {advice}")
    return x


def balanced(data: Any, n: int, *, part: int = 0, parts: int = 1) -> Data:
    """Samples of which every prefix has about the class proportions of `data`; the same for any order of `data`.

    A random order within each class, by a fixed seed, of the samples as sorted by their values.

    Parameters
    ----------
    data : Data, (x, y), Dataset or DataLoader
        Samples. A set of several labels is a class; of numbers the order is random.
    n : int
        Number of samples, at most all of a part.
    part, parts : int
        Into how many disjoint parts of equal length the order is divided, and which of them is taken, from 0.

    Returns
    -------
    Data
        The n samples, with their labels.

    Raises
    ------
    ValueError
        For more samples than there are, and a part that does not exist.

    Examples
    --------
    >>> data = Data(torch.rand(40, 4), torch.arange(40) // 20)  # sorted by class
    >>> balanced(data, 10).y.bincount().tolist()
    [5, 5]
    >>> torch.equal(balanced(data, 10).x, balanced(data[torch.randperm(40)], 10).x)
    True
    """
    data = gathered("data", data)
    checks.within("part", part, 0, checks.at_least("parts", parts, 1) - 1)
    size = len(data) // parts
    if checks.at_least("n", n, 1) > size:
        raise ValueError(f"n={n} is more than the {size} samples of {'data' if parts == 1 else 'a part of data'}")
    y, draw = sets(data.y).cpu(), torch.Generator()
    flat = [t.detach().cpu().float().reshape(len(data), -1) for t in checks.leaves(data.x)]
    bits = torch.cat(flat, 1).view(torch.int32)
    weights = torch.randint(2**62, bits.shape[1:], generator=draw.manual_seed(0))
    key = torch.cat([(rows * weights).sum(1) for rows in bits.split(64)])  # of integers, so that it has no rounding
    order = y.argsort(stable=True)
    order = order[key[order].argsort(stable=True)]
    return data[order[stratified_order(y[order], draw.manual_seed(0))[part * size : part * size + n]]]


def _outputs(model: nn.Module, x: Any) -> dict[str, Any]:
    """The output of each call of a named module for x, in the order in which they were computed."""
    outputs: dict[str, Any] = {}

    def keep(layer: str, t: Any) -> None:
        try:
            t = model.taken(layer, t) if isinstance(model, Network) else t
        except ValueError as error:
            t = error
        outputs[layer] = t.clone() if isinstance(t, Tensor) else t  # an in-place ReLU would overwrite it

    names = filter(None, reached(model, x))
    with hooked(model, dict.fromkeys(names, keep)):
        output(model, x)
    return outputs


def output(model: nn.Module, x: Any) -> Any:
    """What the model returns for samples, in eval mode and without gradients."""
    with evaluating(model):
        return forward(model, x)


def logits(model: nn.Module, x: Any, recorded: Mapping[str, Tensor]) -> list[str]:
    """The layers whose output is what the network returns, where that is logits of classes."""
    out = output(model, checks.each(itemgetter(slice(BATCH)), x))
    if not isinstance(out, Tensor) or out.ndim != 2 or out.shape[1] < 2:
        return []
    if out.min() >= 0 and torch.allclose(out.sum(1), torch.ones_like(out[:, 0]), atol=1e-3):  # probabilities
        return []
    same = partial(torch.allclose, rtol=1e-4, atol=1e-4 * float(out.abs().max()))
    return [layer for layer, t in recorded.items() if t[:BATCH].shape == out.shape and same(out.to(t), t[:BATCH])]


def _fault(t: Any, two: Any) -> str:
    """Why an output for three images, compared with that for the first two, cannot be measured; empty if it can."""
    if isinstance(t, ValueError):
        return str(t)
    if not isinstance(t, Tensor) or not isinstance(two, Tensor):
        return f"its output must be a tensor, got {type(t).__name__}: {activations.TAKE}"
    if t.ndim < 2 or len(t) != 3 or len(two) != 2:
        return f"its output is not batched: for 3 images it has shape {tuple(t.shape)}, for 2 {tuple(two.shape)}"
    if not t.is_floating_point() or not t.isfinite().all():
        return "its output is not made of finite numbers"
    near = max(1e-3, 4 * torch.finfo(t.dtype).eps)
    if not torch.allclose(t[:2], two, rtol=near, atol=near * float(t.abs().max())):
        return "its output for a sample depends on the other samples, or on chance"
    return ""


checks.guard(globals())
