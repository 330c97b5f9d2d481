"""How a network is run, and which of its layers are chosen: for networks that are not plain image classifiers.

A network that takes several inputs, returns a tuple, or starts from token numbers is wrapped in a `Network`. It defines
how the network is called and which of its outputs count. Every function of the library takes it in place of the model:

>>> net = nn.LSTM(4, 3, batch_first=True)
>>> Network(net, take=0)(torch.zeros(2, 5, 4)).shape  # (outputs, states) is what it returns
torch.Size([2, 5, 3])

Layers are chosen by name, wildcard or regular expression, in evenly spaced blocks, or as the repeated blocks that there
are: see `select`.
"""

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from infolib import checks

MOST = 12  # layers that are chosen where none are named
PLACE = int | str | Callable | None
WILD = re.compile(r"[*?]")
UNITS = ("features", "channels", "tokens")
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)

Layers = str | re.Pattern[str] | int | Sequence[str | re.Pattern[str]] | None


class Network(nn.Module):
    """A network and how it is run; it has the same layers, weights and mode, and goes wherever a model goes.

    Without it, a model is called with a tensor, with the parts of a tuple as several arguments, and with those of a
    mapping as keywords.

    Parameters
    ----------
    model : nn.Module
        Any network. A `Network` keeps the arguments that are not given here.
    forward : callable, optional
        From the model and a batch to what the model returns, such as `lambda model, x: model.encode(x)`.
    take : int, str, callable or mapping, optional
        Which tensor counts where an output is not a tensor: its index, its key or attribute, or a function of the
        output. Or a mapping from names, wildcards or regular expressions of layers to these, of which the first that
        fits counts; the output of the model itself has the name "".
    units : str or mapping, optional
        What the units of layers with outputs of three or more dimensions are: "features", the last dimension,
        "channels" or "tokens", the second. Or a mapping, as for `take`. Without it, the type of the layer decides.
    mask : str, int or callable, optional
        Which tokens count: key or index of a mask (n, tokens) in the inputs, or a function from a batch to the mask.
    input_of : str, optional
        Layer whose output is the input that kernels and noise are about, such as that of the embeddings.

    Raises
    ------
    ValueError
        For arguments of another type, unknown units, an unknown layer, and a compiled model.

    Examples
    --------
    >>> net = nn.Sequential(nn.Embedding(9, 4), nn.LSTM(4, 3, batch_first=True)).eval()
    >>> run = Network(net, take={"": "0", "1": 0}, mask=lambda tokens: tokens > 0, input_of="0")
    >>> run.taken("1", net(torch.ones(2, 5, dtype=torch.long))).shape, run.masked(torch.tensor([[3, 0]]))
    (torch.Size([2, 5, 3]), tensor([[ True, False]]))
    """

    model: nn.Module
    how: Callable[[nn.Module, Any], Any] | None
    take: Any
    units: str | Mapping[str, str] | None
    mask: str | int | Callable[[Any], Tensor] | None
    input_of: str | None

    def __init__(
        self,
        model: nn.Module,
        *,
        forward: Callable[[nn.Module, Any], Any] | None = None,
        take: Any = None,
        units: str | Mapping[str, str] | None = None,
        mask: str | int | Callable[[Any], Tensor] | None = None,
        input_of: str | None = None,
    ) -> None:
        mode = checks.network("model", model).training
        self.__dict__["model"] = model  # no layer of its own: layers have the names that they have without it
        super().__init__()
        self.__dict__ |= {part: vars(model)[part] for part in ("_parameters", "_buffers", "_modules")}
        self.training = mode
        names = [name for name, _ in model.named_modules()]
        checks.of_type("forward", forward, Callable | None, "a function of the model and a batch")
        for one in take.values() if isinstance(take, Mapping) else [take]:
            checks.of_type("take", one, PLACE, "an index, a key, a function, or a mapping to these")
        for word in units.values() if isinstance(units, Mapping) else [] if units is None else [units]:
            checks.choice("units", word, UNITS)
        checks.of_type("mask", mask, PLACE, "a key, an index, or a function of a batch")
        if input_of is not None and str(input_of).partition("#")[0] not in names:
            raise ValueError(f"input_of must be a layer, got {input_of!r}{checks.nearest(str(input_of), names)}")
        given = {"how": forward, "take": take, "units": units, "mask": mask, "input_of": input_of}
        kept = vars(model) if isinstance(model, Network) else {}
        self.__dict__ |= {k: kept.get(k) if v is None and k != "how" else v for k, v in given.items()}

    @property
    def training(self) -> bool:
        """Whether the model is in training mode."""
        return self.model.training

    @training.setter
    def training(self, mode: bool) -> None:
        self.model.training = mode

    def forward(self, x: Any) -> Any:
        """The tensor of the model's output that counts.

        Parameters
        ----------
        x : Tensor, or tuple or mapping of tensors
            A batch.

        Returns
        -------
        any

        Examples
        --------
        >>> Network(nn.Linear(2, 3), forward=lambda model, x: model(x / 255))(torch.ones(4, 2)).shape
        torch.Size([4, 3])
        """
        return self.taken("", (self.how or self.run)(self.model, x))

    @staticmethod
    def run(model: nn.Module, x: Any) -> Any:
        """What a model returns for a batch, which is a tensor, a tuple of arguments, or a mapping of keywords.

        Parameters
        ----------
        model : nn.Module
            Any network.
        x : Tensor, or tuple or mapping of tensors
            A batch.

        Returns
        -------
        any

        Examples
        --------
        >>> Network.run(nn.Bilinear(2, 3, 4), (torch.ones(5, 2), torch.ones(5, 3))).shape
        torch.Size([5, 4])
        """
        if isinstance(model, Network):
            return model(x)
        return model(**x) if isinstance(x, Mapping) else model(*x) if isinstance(x, tuple) else model(x)

    def taken(self, layer: str, output: Any) -> Any:
        """The tensor of a layer's output that counts.

        Parameters
        ----------
        layer : str
            Dotted name; "" is the model itself.
        output : any
            What the layer returned.

        Returns
        -------
        any
            A tensor, or the output as it is where `take` has no entry for the layer.

        Raises
        ------
        ValueError
            For an output that does not have what `take` asks for.

        Examples
        --------
        >>> Network(nn.Identity(), take="logits").taken("", {"logits": torch.zeros(1)})
        tensor([0.])
        """
        rule = None if isinstance(output, Tensor) else _ruled(self.take, layer)
        if rule is None:
            return output
        try:
            if callable(rule):
                return rule(output)
            return getattr(output, rule) if isinstance(rule, str) and hasattr(output, rule) else output[rule]
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            what = f"the output of layer {layer!r}" if layer else "the output of the model"
            keys = f" of {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
            raise ValueError(f"take={rule!r} does not fit {what}, a {type(output).__name__}{keys}: {error}") from error

    def units_of(self, layer: str) -> str | None:
        """What the units of a layer are, where `units` has an entry for it.

        Parameters
        ----------
        layer : str
            Dotted name.

        Returns
        -------
        str or None

        Examples
        --------
        >>> Network(nn.ReLU(), units={"conv*": "channels"}).units_of("conv1")
        'channels'
        """
        return _ruled(self.units, layer)

    def put(self, layer: str, output: Any, tensor: Tensor) -> Any:
        """The output of a layer with another tensor in the place that counts.

        Parameters
        ----------
        layer : str
            Dotted name.
        output : any
            What the layer returned.
        tensor : Tensor
            Replaces the tensor that `taken` gives.

        Returns
        -------
        any
            Of the type of `output`.

        Raises
        ------
        ValueError
            Where `take` is a function that makes a tensor of its own, which has no place in the output.

        Examples
        --------
        >>> Network(nn.Identity(), take=0).put("0", (1, 2), torch.zeros(1))
        (tensor([0.]), 2)
        >>> a, b, new = torch.zeros(3, 1)
        >>> Network(nn.Identity(), take=lambda output: output["x"][-1]).put("0", {"x": (a, b)}, new)["x"][1] is new
        True
        """
        rule = None if isinstance(output, Tensor) else _ruled(self.take, layer)
        if rule is None:
            return tensor
        if callable(rule):
            changed = _swapped(output, rule(output), tensor)
            what = "a place, a key, or a function that picks one of the tensors there are"
            checks.hold(f"take, where layer {layer!r} is changed,", rule, changed is not output, what)
            return changed
        if isinstance(output, tuple):
            parts = list(output)
            parts[rule if isinstance(rule, int) else output._fields.index(rule)] = tensor  # type: ignore[attr-defined]
            return type(output)(*parts) if hasattr(output, "_fields") else tuple(parts)
        changed = copy.copy(output)
        if hasattr(output, "__setitem__"):
            changed[rule] = tensor
        else:
            setattr(changed, rule, tensor)
        return changed

    def masked(self, x: Any) -> Tensor | None:
        """Which tokens of a batch count.

        Parameters
        ----------
        x : Tensor, or tuple or mapping of tensors
            A batch.

        Returns
        -------
        Tensor, shape (n, tokens), or None
            bool; None where all count.

        Raises
        ------
        ValueError
            For a mask of another shape, and inputs without a mask.

        Examples
        --------
        >>> Network(nn.Identity(), mask="mask").masked({"mask": torch.tensor([[1, 0]])})
        tensor([[ True, False]])
        """
        if self.mask is None:
            return None
        try:
            mask = self.mask(x) if callable(self.mask) else x[self.mask]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"mask={self.mask!r} does not fit the inputs: {error}") from error
        n = len(checks.leaves(x)[0])
        if not isinstance(mask, Tensor) or mask.ndim != 2 or len(mask) != n:
            got = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(f"mask must have shape (n, tokens) with n={n}, got {got}")
        return mask.to(torch.bool)


def _swapped(part: Any, old: Any, new: Tensor) -> Any:
    """A nested output with another tensor in the place of one of its own; the same object where it is not in it."""
    if part is old:
        return new
    if isinstance(part, tuple | list):
        ones = [_swapped(one, old, new) for one in part]
        same = all(a is b for a, b in zip(ones, part, strict=True))
        return part if same else type(part)(*ones) if hasattr(part, "_fields") else type(part)(ones)
    held = part if isinstance(part, Mapping) else {} if isinstance(part, Tensor) else getattr(part, "__dict__", {})
    parts = {name: _swapped(one, old, new) for name, one in held.items()}
    changed = part if all(parts[name] is held[name] for name in held) else copy.copy(part)
    for name in held if changed is not part else ():
        changed.__setitem__(name, parts[name]) if held is part else setattr(changed, name, parts[name])
    return changed


def _ruled(given: Any, layer: str) -> Any:
    """What holds for a layer: the first of a mapping whose name or pattern fits, or the one value for all."""
    if not isinstance(given, Mapping):
        return given
    names = (layer, layer.partition("#")[0])
    return next((one for pattern, one in given.items() if any(_matches(pattern, name) for name in names)), None)


def untrained(model: nn.Module, seed: int = 0, x: Any = None) -> nn.Module:
    """A copy of a network with random weights: the baseline of a measure without training.

    Every module draws its weights anew by its own `reset_parameters`, torch's initialisation. Parameters of modules
    without it, such as a class token, and those that it leaves as they are, such as the original of a pruned or normed
    weight, are put into a random order. With samples, batch normalisation gets their statistics in one pass.

    Parameters
    ----------
    model : nn.Module
        Any network, or `Network`.
    seed : int
        Seed of the weights.
    x : Tensor, or tuple or mapping of tensors, optional
        Samples, on the model's device.

    Returns
    -------
    nn.Module
        In the mode of the model, with the same layers.

    Raises
    ------
    ValueError
        For anything but a network, one that cannot be copied, a negative seed, and samples that are not arrays of
        finite numbers.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    >>> twin = untrained(net, x=torch.arange(20.0).view(5, 4))
    >>> torch.equal(twin[0].weight, net[0].weight), bool(twin[1].running_mean.any()), twin.training
    (False, True, False)
    """
    checks.network("model", model)
    try:
        twin = copy.deepcopy(model)
    except Exception as error:
        raise ValueError(f"model cannot be copied: {error}; look takes `untrained=`, a function") from error
    drawn: set[int] = set()
    x = None if x is None else checks.inputs("x", x)
    with forked(model), torch.no_grad():
        torch.manual_seed(checks.at_least("seed", seed, 0))
        for module in twin.modules():
            if reset := getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None)):
                before = [(parameter, parameter.clone()) for parameter in module.parameters(recurse=False)]
                reset()
                drawn |= {id(parameter) for parameter, old in before if not torch.equal(parameter, old)}
        for parameter in twin.parameters():
            if id(parameter) not in drawn:
                order = torch.randperm(parameter.numel())
                parameter.copy_(parameter.flatten()[order.to(parameter.device)].view_as(parameter))
        normal = [module for module in twin.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        if x is not None and normal:
            modes = [(module, module.training, module.momentum) for module in normal]
            for module in normal:
                module.train()
                module.momentum = None  # the mean over all samples
            Network.run(twin, x)
            for module, mode, momentum in modes:
                module.train(mode)
                module.momentum = momentum
    return twin


def forked(model: nn.Module) -> AbstractContextManager[None]:
    """A context that restores torch's random state at its end, on the CPU and on the model's GPUs.

    Parameters
    ----------
    model : nn.Module
        Any network.

    Returns
    -------
    context manager

    Examples
    --------
    >>> net, before = nn.Linear(1, 1), torch.get_rng_state()
    >>> with forked(net):
    ...     _ = torch.rand(3)
    >>> torch.equal(torch.get_rng_state(), before)
    True
    """
    devices = {tensor.device for tensor in checks.network("model", model).parameters()}
    return torch.random.fork_rng([device for device in devices if device.type == "cuda"])


def select(model: nn.Module, layers: Layers = None) -> list[str]:
    """Names of layers, from names, patterns or a number of blocks.

    Parameters
    ----------
    model : nn.Module
        Any network.
    layers : sequence of str or re.Pattern, one pattern, int, or None
        Names, with `#k` for the k-th call. A wildcard: `*` is any part of a name without a dot, `**` any part, `?` one
        letter. A regular expression of `re.compile`, which must match the whole name. A number: this
        many of the repeated blocks, evenly spaced, the first and the last among them. None: the repeated blocks, at
        most twelve, evenly spaced; their names are printed.

    Returns
    -------
    list of str
        Names, each once, in the order given; within one pattern, in the order in which the modules are declared.

    Raises
    ------
    ValueError
        For a pattern that no layer matches, with the nearest names; for more blocks than there are; for a model
        without repeated blocks and layers with weights; for layers of another kind. Names are checked when the model
        is run.

    Examples
    --------
    >>> block = lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    >>> net = nn.Sequential(nn.Linear(3, 4), nn.TransformerEncoder(block(), 6, enable_nested_tensor=False))
    >>> select(net)
    layers: 1.layers.0, 1.layers.1, 1.layers.2, 1.layers.3, 1.layers.4, 1.layers.5
    ['1.layers.0', '1.layers.1', '1.layers.2', '1.layers.3', '1.layers.4', '1.layers.5']
    >>> select(net, 3), select(net, ["0", "1.layers.4.linear?"])
    (['1.layers.0', '1.layers.2', '1.layers.5'], ['0', '1.layers.4.linear1', '1.layers.4.linear2'])
    >>> select(net, re.compile(r".*\\.[01]\\.norm1")), select(net, "**.norm2")[:2]
    (['1.layers.0.norm1', '1.layers.1.norm1'], ['1.layers.0.norm2', '1.layers.1.norm2'])
    """
    names = [name for name, _ in checks.network("model", model).named_modules() if name]
    if layers is None or (isinstance(layers, int) and not isinstance(layers, bool)):
        found = blocks(model)
        if layers is not None and checks.at_least("layers", layers, 1) > len(found):
            raise ValueError(f"layers must be at most the number of blocks, {len(found)}, got {layers}")
        found = _spaced(found, min(MOST, len(found)) if layers is None else layers)
        if layers is None:
            print(f"layers: {', '.join(found)}")
        return found
    some: list[Any] = [None]
    if isinstance(layers, re.Pattern) or (isinstance(layers, str) and WILD.search(layers)):
        some = [layers]
    elif isinstance(layers, Iterable) and not isinstance(layers, str):
        some = list(layers)
    if not all(isinstance(one, str | re.Pattern) for one in some):
        advice = f"write [{layers!r}]" if isinstance(layers, str) else "a pattern or a number will do too"
        raise ValueError(f"layers must be a sequence of names, got {layers!r}; {advice}")
    return list(dict.fromkeys(name for one in some for name in _matching(one, names)))


def _matching(one: str | re.Pattern[str], names: Sequence[str]) -> list[str]:
    if isinstance(one, str) and not WILD.search(one):
        return [one]
    if not (found := [name for name in names if _matches(one, name)]):
        pattern = one if isinstance(one, str) else one.pattern
        raise ValueError(f"layers: no layer matches {pattern!r}{checks.nearest(one, names)}")
    return found


def _matches(pattern: str | re.Pattern[str], layer: str) -> bool:
    """Whether a name, a wildcard or a regular expression is that of a layer."""
    if isinstance(pattern, str):
        letters = {"**": ".*", "*": "[^.]*", "?": "[^.]"}
        pattern = re.compile("".join(letters.get(s) or re.escape(s) for s in re.split(r"(\*\*|\*|\?)", pattern)))
    return pattern.fullmatch(layer) is not None


def blocks(model: nn.Module) -> list[str]:
    """The repeated blocks of a network: modules of a class that occurs several times, outside of other such modules.

    A stage, which is a list of blocks, does not count. For a network without blocks: its layers with weights.

    Parameters
    ----------
    model : nn.Module
        Any network.

    Returns
    -------
    list of str
        Dotted names, in the order of declaration.

    Raises
    ------
    ValueError
        For a network without blocks and layers with weights.

    Examples
    --------
    >>> blocks(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)))
    ['0', '3']
    """
    modules = {name: module for name, module in checks.network("model", model).named_modules() if name}
    whole = {name: type(module) for name, module in modules.items() if type(module) not in CONTAINERS
             and any(module.children()) and any(True for _ in module.parameters())}  # fmt: skip
    number = Counter(whole.values())
    repeated = {name: kind for name, kind in whole.items() if number[kind] > 1}
    lists = ((type(modules[name]), part) for name in repeated for part in modules[name].children())
    inside = ((kind, {type(m) for m in part.children()}) for kind, part in lists if type(part) in CONTAINERS)
    block = {kind for kind in repeated.values() if not issubclass(kind, CONTAINERS)}  # no convolution with its norm
    stages = {kind for kind, kinds in inside if len(kinds) == 1 and kinds <= block}
    repeated = {name: kind for name, kind in repeated.items() if kind not in stages}
    inner = Counter(kind for name, kind in repeated.items() if any(outer in repeated for outer in _above(name)))
    found = [name for name, kind in repeated.items() if 2 * inner[kind] <= number[kind]]
    found = [name for name in found if not set(_above(name)) & set(found)]
    if found := found or [name for name, m in modules.items() if next(m.parameters(recurse=False), None) is not None]:
        return found
    raise ValueError("model has no repeated blocks and no layers with weights; name layers")


def _above(name: str) -> Iterator[str]:
    """The names of the modules that a module lies in."""
    parts = name.split(".")
    return (".".join(parts[:i]) for i in range(1, len(parts)))


def _spaced(found: list[str], n: int) -> list[str]:
    """So many of them, evenly spaced, the first and the last among them; of one, the last."""
    last = len(found) - 1
    return [found[round(last * i / (n - 1)) if n > 1 else last] for i in range(n)]
