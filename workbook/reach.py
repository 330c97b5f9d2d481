"""What a value depends on: its content, and the code that it reaches.

Code counts function by function as Python has compiled it, so that comments, docstrings and layout do not count, nor
what is edited while a run goes on. It counts as far as it is ours: the project's, a notebook's, a module beside it.
What is installed counts by its name, by its package's version, and by the functions of ours that it was given.

What is looked up at run time by a name that the code does not spell is refused where it can be detected: modules as a
whole, `globals()`, `eval`, `exec`, `import_module`, `sys.modules`. Not seen are files that a function opens, the
environment, the clock, the state of random generators within installed modules, and subclasses that nothing names:
give what a file holds, or a digest of it, as an argument.
"""

import copyreg
import dataclasses
import importlib
import importlib.util
import inspect
import pickle
import re
import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import _GeneratorContextManager, suppress
from contextvars import ContextVar
from dataclasses import MISSING
from enum import Enum
from functools import cache, partial
from importlib.metadata import packages_distributions, version
from itertools import count
from operator import attrgetter
from pathlib import PurePath
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from workbook.compiled import chains, is_ours, text

_SCALARS = (bool, int, float, str, bytes)
_MAPPINGS = (dict, OrderedDict, Counter, MappingProxyType)
_PRINTED = (torch.dtype, torch.device, torch.Size, torch.layout, np.dtype, PurePath, range, complex, type(...))
_METHODS = {staticmethod: ["__func__"], classmethod: ["__func__"], MethodType: ["__func__", "__self__"]}
_PARTS = _METHODS | {property: ["fget", "fset", "fdel"], slice: ["start", "stop", "step"]}
_PARTS |= {_GeneratorContextManager: ["func", "args", "kwds"]}
_ARRAYS = (np.ndarray, np.memmap)
_USUAL = frozenset(vars(nn.Module()))  # attributes of every network
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_PICKLED = {
    "collections.defaultdict", "collections.deque", "collections.ChainMap", "types.SimpleNamespace", "uuid.UUID",
    "datetime.date", "datetime.time", "datetime.datetime", "datetime.timedelta", "datetime.timezone", "logging.Logger",
    "decimal.Decimal", "fractions.Fraction",
}  # fmt: skip
_SCRIPTED = (torch.jit.ScriptModule, torch.jit.ScriptFunction)  # their code is not Python's
_STATELESS = (WeakKeyDictionary, type(threading.RLock()))  # caches and locks of what wraps a function
_MADE = {
    "__module__", "__dict__", "__weakref__", "__doc__", "__annotations__", "__firstlineno__", "__static_attributes__",
    "__orig_bases__", "__parameters__", "__type_params__", "__dataclass_fields__", "__dataclass_params__", "_abc_impl",
    "_autograd_function_id", "__slotnames__",  # the last once an object was copied or pickled
}  # fmt: skip  # attributes of a class that Python makes
_BLIND = {
    "eval", "exec", "globals", "__import__", "__globals__", "f_globals", "importlib.import_module", "sys.modules",
    "importlib.__import__", "inspect.currentframe", "inspect.stack", "sys._getframe",
}  # fmt: skip
_KEEPING = ("workbook.compiled", "workbook.reach", "workbook.store")  # modules that keep results and change none
_distributions = cache(packages_distributions)
_HEAP = 1 << 9  # of the flags of a class: made by a class statement or by `type`


def content(value: Any, name: str = "value") -> Any:
    """Content of a value, with the code that it reaches, in a form that `store.fingerprint` takes.

    Functions and classes of ours count by their code and all that it reads; networks by classes, tensors and
    attributes, hooks and modes; data sets and other objects of our classes by what they hold; what is installed by its
    name. The order of a dict counts.

    Parameters
    ----------
    value : object
        Numbers, strings, tensors, arrays, data sets, networks, functions, and collections of them.
    name : str
        Name of the value in messages.

    Returns
    -------
    object
        Nested lists and dicts of scalars and tensors.

    Raises
    ------
    ValueError
        For an object without a stable content, for a module of ours as a whole, and for code that looks up names at
        run time.

    Examples
    --------
    >>> content([1, "a", (2.0,)]), content(print)
    (['list', 1, 'a', ['tuple', 2.0]], ['name', 'builtins.print'])
    """
    reach = _Reach()
    try:
        told = reach.tell(value)
    except _UnknownError as unknown:
        raise ValueError(f"{name}, whose content cannot be determined: {unknown}") from None
    except RecursionError:
        raise ValueError(f"{name} holds itself or is nested too deeply: give what counts as an argument") from None
    return ["reaching", told, reach.found] if reach.found else told


class _UnknownError(ValueError):
    """An object without a content, until a name for it is known."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} has no stable content; give it as an argument made of numbers, strings, tensors, "
            "arrays, data sets, networks or functions"
        )


class _Reach:
    """What a value reaches: one entry by name for each function, class, object and global, so that circles end."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.names: dict[Any, tuple[str, Any]] = {}  # by id, with the object, which keeps its id while it is held

    def tell(self, value: Any) -> Any:
        """The content of `value`, with references to the entries of what is reached."""
        kind = type(value)
        if value is None or kind in _SCALARS:
            return value
        if isinstance(value, Tensor):
            return self._tensor(value)
        if kind in (list, tuple):
            return [kind.__name__, *map(self.tell, value)]
        if kind in (set, frozenset):
            return [kind.__name__, *sorted(map(self.tell, value), key=repr)]
        if kind in _MAPPINGS:
            return [kind.__name__, *([self.tell(name), self.tell(part)] for name, part in value.items())]
        if (kind in _ARRAYS or isinstance(value, np.generic)) and not value.dtype.hasobject:
            return [kind.__name__, str(value.dtype), [*value.shape], value.tobytes()]
        if isinstance(value, _PRINTED):
            return [kind.__name__, repr(value)]
        if isinstance(value, ContextVar):
            return [kind.__name__, value.name, self.tell(value.get(None))]
        if kind in _PARTS:
            return [kind.__name__, *(self.tell(getattr(value, part)) for part in _PARTS[kind])]
        if isinstance(value, ModuleType):
            return _module(value)
        if isinstance(value, type):
            return self._type(value)
        if isinstance(value, _SCRIPTED):
            raise _UnknownError(kind.__name__)
        if isinstance(value, nn.Module):
            return self._enter(f"network {_name(kind)}", value, self._network)
        return self._callable(value) if callable(value) else self._object(value)

    def _enter(self, name: str, value: Any, make: Callable[[Any], Any], identity: Any = None) -> list[str]:
        """A reference to the entry of `value`, which is made when it is first met."""
        identity = identity or id(value)
        if identity not in self.names:
            name = next(free for i in count(1) if (free := name if i == 1 else f"{name} #{i}") not in self.found)
            self.names[identity], self.found[name] = (name, value), None
            try:
                self.found[name] = make(value)
            except _UnknownError:
                del self.names[identity], self.found[name]
                raise
        return ["reached", self.names[identity][0]]

    def _tensor(self, tensor: Tensor) -> Any:
        if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized or nn.parameter.is_lazy(tensor):
            raise _UnknownError(f"{tensor.layout} {type(tensor).__name__} on {tensor.device}")
        if not vars(tensor) and not is_ours(type(tensor).__module__):
            return tensor
        return ["tensor", self.tell(type(tensor)), self.tell(vars(tensor)), tensor.detach().as_subclass(Tensor)]

    def _callable(self, value: Any) -> Any:
        """A function or what is called like one; what other packages wrap around a function of ours counts with it."""
        kind, is_wrapper = type(value), _is_own(inspect.unwrap(value)) and not _is_own(value)
        if isinstance(value, FunctionType) and (_is_own(value) or is_wrapper or not _is_importable(value)):
            home = value.__globals__.get("__name__")
            if home in _KEEPING and not value.__name__.endswith("trained"):
                return ["name", _name(value)]
            return self._enter(f"{home}.{value.__code__.co_qualname}", value, self._function)
        if is_wrapper and not is_ours(kind.__module__):
            return self._enter(f"{_name(kind)} of {_name(value)}", value, lambda _: self._inside(vars(value)))
        return self._object(value)

    def _object(self, value: Any) -> Any:
        """An object by its name, if it has one, else by what a pickle of it would hold."""
        kind = type(value)
        own = is_ours(kind.__module__)
        if not own and _is_importable(value):
            return _named(_name(value))
        reduce = copyreg.dispatch_table.get(kind)
        known = reduce or callable(value) or isinstance(value, tuple | Enum) or dataclasses.is_dataclass(kind)
        if not known and not own and _name(kind) not in _PICKLED:
            raise _UnknownError(kind.__name__)
        try:
            parts = reduce(value) if reduce else value.__reduce_ex__(4)
            if isinstance(parts, str):
                pickle.dumps(value)  # it has that name somewhere
        except (TypeError, AttributeError, RuntimeError, pickle.PickleError):
            raise _UnknownError(kind.__name__) from None
        if isinstance(parts, str):
            return ["name", f"{_name(kind)} {parts}"]
        parts = [list(part) if isinstance(part, Iterator) else part for part in parts]
        return self._enter(f"object {_name(kind)}", value, lambda _: [self.tell(kind), self.tell(parts)])

    def _function(self, function: FunctionType) -> list[Any]:
        """Its code, if it is ours, its defaults and what it encloses, with entries for what it reads from outside."""
        cells, own = _cells(function), _is_own(function)
        for origin, *names in chains(function.__code__) if own else ():
            if origin in ("", "cells"):
                self._read(names, cells if origin else function.__globals__)
            elif module := _imported(origin, names, function.__globals__.get("__package__")):
                self._read(names, vars(module), module)
            else:
                self._versions(origin)  # as they count once it is imported
        enclosed = {name: cell for name, cell in cells.items() if not isinstance(cell, ModuleType)}
        defaults = [function.__defaults__, function.__kwdefaults__]
        held = self.tell(defaults), self._inside(enclosed, own), self._inside(vars(function), own)
        return [text(function.__code__) if own else "", *held]

    def _inside(self, parts: Mapping[str, Any], own: bool = False) -> Any:
        """What a function or a wrapper holds, without docstrings; caches and locks of an installed one do not count."""
        counted = {name: part for name, part in parts.items() if name not in _MADE}
        return self.tell({name: part for name, part in counted.items() if own or not _is_stateless(part)})

    def _read(self, names: Sequence[str], space: dict[str, Any], module: ModuleType | None = None) -> None:
        """Enter what a name stands for: of a module of ours the attribute, not the whole; of others what is ours."""
        if module and (not names or names[0] == "__dict__"):
            _module(module)
            return
        name, *rest = names
        own = module is None or is_ours(module.__name__)
        if not own or name not in space:
            _named(f"{module.__name__}.{name}" if module else name)
            self._versions(module.__name__ if module else "")
        try:
            value = _member(module, name) if module else space[name]
        except (KeyError, AttributeError, ImportError):
            return
        if module and own and name not in space:
            self.tell(space.get("__getattr__"))
        if isinstance(value, ModuleType) and (rest or not own):
            if own and not is_ours(value.__name__):
                self._enter(f"{space.get('__name__')}:{name}", space, lambda _: _module(value), (id(space), name))
            if rest:
                self._read(rest, vars(value), value)
        elif own or _is_patch(value):
            label = f"{space.get('__name__')}:{name}"
            self._enter(label, space, partial(self._global, name, value), (id(space), name))

    def _versions(self, module: str) -> None:
        of = module.partition(".")[0]
        self.found |= {f"versions of {of}": found} if (found := versions(of)) else {}

    def _global(self, name: str, value: Any, _: Any) -> Any:
        try:  # where a module lies is not what it does
            return _named(name) if name == "__file__" else self.tell(value)
        except _UnknownError as unknown:
            raise ValueError(f"a function reads {name}, whose content cannot be determined: {unknown}") from None

    def _type(self, cls: type) -> Any:
        """A class of ours, or one that was made at run time, by what it holds; others by name and what we put there."""
        if is_ours(cls.__module__) or (cls.__flags__ & _HEAP and not _is_importable(cls)):
            return self._enter(_name(cls), cls, self._class)
        patches = _patches(cls)
        return self._enter(_name(cls), cls, lambda _: self.tell(patches)) if patches else _named(_name(cls))

    def _class(self, cls: type) -> dict[str, Any]:
        """Its metaclass and bases, and its attributes, functions among them."""
        members = {name: self._attribute(name, part) for name, part in vars(cls).items() if _is_member(name, part)}
        found = {"kind": self.tell(type(cls)), "bases": self.tell(cls.__mro__[1:]), "attributes": members}
        if "__dataclass_fields__" in vars(cls):
            found["fields"] = [[field.name, *map(self.tell, _options(field))] for field in dataclasses.fields(cls)]
            found["options"] = repr(vars(cls)["__dataclass_params__"])
        return found

    def _attribute(self, name: str, value: Any) -> Any:
        """An attribute of a class; a descriptor without a known content counts by what it holds."""
        try:
            return self.tell(value)
        except _UnknownError as unknown:
            if not hasattr(type(value), "__get__"):
                raise ValueError(f"a class has {name}, whose content cannot be determined: {unknown}") from None
            return ["descriptor", _name(type(value)), self._inside(getattr(value, "__dict__", {}))]

    def _network(self, network: nn.Module) -> dict[str, Any]:
        tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        return {
            "repr": re.sub(r" at 0x[0-9a-f]+", "", repr(network)),
            "modules": [[at, *map(self.tell, (type(part), _state(part)))] for at, part in network.named_modules()],
            "tensors": {name: self.tell(tensor) for name, tensor in tensors.items()},
            "trainable": [name for name, parameter in network.named_parameters() if parameter.requires_grad],
            "device": next((tensor.device.type for tensor in tensors.values()), "cpu"),
        }


def _imported(origin: str, names: Sequence[str], package: str | None) -> ModuleType | None:
    """The module that a function imports, if it is ours, or if it was imported already."""
    with suppress(ImportError):  # then the function cannot import it either
        name = importlib.util.resolve_name(origin, package)
        for i in range(len(names)):
            _named(".".join((name, *names[: i + 1])))
        return importlib.import_module(name) if is_ours(name) else sys.modules.get(name)
    return None


def _member(module: ModuleType, name: str) -> Any:
    """An attribute of a module, or a module in a package of ours that is not imported yet."""
    try:
        return getattr(module, name)
    except AttributeError:
        if is_ours(module.__name__):
            return importlib.import_module(f"{module.__name__}.{name}")
        raise


def _is_own(value: Any) -> bool:
    """Whether a value is a function of ours."""
    if not isinstance(value, FunctionType):
        return False
    return is_ours(value.__globals__.get("__name__", ""), value.__code__.co_filename)


def _is_patch(value: Any) -> bool:
    """Whether something in an installed module or class is ours, or a class that holds what is."""
    if isinstance(value, type):
        return is_ours(value.__module__) or bool(_patches(value))
    return callable(value) and _is_own(inspect.unwrap(getattr(value, "__func__", value)))


def _patches(cls: type) -> dict[str, Any]:
    """Functions of ours in an installed class and its bases."""
    held = {name: part for base in reversed(cls.__mro__) for name, part in [*vars(base).items()]}
    return {name: part for name, part in held.items() if not isinstance(part, type) and _is_patch(part)}


def _is_stateless(value: Any) -> bool:
    return isinstance(value, _STATELESS) or isinstance(getattr(value, "__self__", None), _STATELESS)


def _is_member(name: str, value: Any) -> bool:
    """Whether an attribute of a class was written in it, not made by Python."""
    inner = inspect.unwrap(value)
    made = isinstance(inner, FunctionType) and (
        inner.__code__.co_qualname.startswith("__create_fn__")  # of a dataclass
        or inner.__globals__.get("__name__", "").startswith("namedtuple_")
    )
    return name not in _MADE and not made


def _options(field: dataclasses.Field) -> list[Any]:
    parts = {"default": field.default, "factory": field.default_factory}
    defaults = {name: part for name, part in parts.items() if part is not MISSING}
    return [defaults, field.init, field.repr, field.hash, field.compare, field.kw_only, field.metadata]


def _is_importable(value: Any) -> bool:
    try:
        return attrgetter(_name(value).removeprefix(f"{value.__module__}."))(sys.modules[value.__module__]) is value
    except (AttributeError, KeyError):
        return False


def _name(value: Any) -> str:
    return f"{value.__module__}.{getattr(value, '__qualname__', None) or value.__name__}"


def _named(name: str) -> list[str]:
    """What counts by its name; not what looks up other names at run time."""
    if name in _BLIND:
        raise ValueError(
            f"a function uses {name}, and what it reads by that cannot be determined: import that by name, or give "
            "it as an argument"
        )
    return ["name", name, *versions(name.partition(".")[0])]


@cache
def versions(module: str) -> list[str]:
    """Versions of the distributions that an installed module is of.

    Parameters
    ----------
    module : str
        Its name, without a dot.

    Returns
    -------
    list of str
        Empty for a module of Python's own.

    Examples
    --------
    >>> versions("math")
    []
    """
    return [version(name) for name in sorted(_distributions().get(module, []))]


def _module(module: ModuleType) -> list[str]:
    if is_ours(module.__name__):
        raise ValueError(f"a function reads {module.__name__} as a whole: import its modules by name, or what it reads")
    return _named(module.__name__)


def _cells(function: Any) -> dict[str, Any]:
    """What a function encloses, by name; names without a value yet are left out."""
    found = {}
    if isinstance(function, FunctionType):
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with suppress(ValueError):
                found[name] = cell.cell_contents
    return found


def _state(network: nn.Module) -> dict[str, Any]:
    """Mode, hooks and plain attributes of a network; of an installed class those without an underscore."""
    own, compiled = is_ours(type(network).__module__), "_orig_mod" in network._modules
    names = [name for name in vars(network) if name not in _USUAL and (own or name[0] != "_") and not compiled]
    hooks = {name: [*getattr(network, name).values()] for name in _HOOKS}
    return {name: vars(network)[name] for name in names} | hooks | {"training": network.training}
