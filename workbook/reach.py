"""What a value hangs on: its content, and the code that it reaches, without comments and docstrings.

Code counts function by function and class by class, as far as it is ours: the project's, a notebook's, a module beside
it. What is installed counts by its name.
"""

import ast
import copyreg
import dataclasses
import inspect
import linecache
import os
import re
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from enum import Enum
from functools import partial
from importlib.machinery import SourceFileLoader
from itertools import count
from operator import attrgetter
from pathlib import PurePath
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workbook.sources import (
    Chain,
    Scan,
    chains,
    global_names,
    imported,
    imports,
    index,
    is_ours,
    scan,
    targets,
    was_compiled,
)

_KEEPING = (__name__, "workbook.sources", "workbook.store")  # modules that keep results and change none
_SCALARS = (bool, int, float, str, bytes)
_MAPPINGS = (dict, OrderedDict, Counter, MappingProxyType)
_PRINTED = (torch.dtype, torch.device, torch.Size, torch.layout, np.dtype, PurePath, range, complex, type(...))
_METHODS = {staticmethod: ["__func__"], classmethod: ["__func__"], MethodType: ["__func__", "__self__"]}
_PARTS = _METHODS | {property: ["fget", "fset", "fdel"], slice: ["start", "stop", "step"]}
_USUAL = frozenset(vars(nn.Module()))  # attributes of every network
_STARTED = time.time()
_TEXTS: dict[str, list[str]] = {}  # of each file: an edit while a run goes on changes no running code


def content(value: Any, name: str = "value") -> Any:
    """What `value` is, in a form that `store.fingerprint` takes, with the code that it reaches.

    Functions and classes of ours count by their parsed code and all that it reads, networks by classes, tensors and
    attributes, data sets and other objects of our classes by what they hold, what is installed by its name. The modes
    of a network and its hooks do not count; the order of a dict does.

    Raises:
        ValueError: for an object that cannot be told, a function without source, a module of ours as a whole
    """
    reach = _Reach()
    try:
        told = reach.tell(value)
    except _UnknownError as unknown:
        raise ValueError(f"{name}, whose content cannot be told: {unknown}") from None
    return ["reaching", told, reach.found] if reach.found else told


class _UnknownError(ValueError):
    """An object without a content, until a name for it is known."""

    def __init__(self, value: Any) -> None:
        super().__init__(
            f"{type(value).__name__} has no stable content; give it as an argument made of numbers, strings, tensors, "
            "arrays, data sets, networks or functions"
        )


class _Reach:
    """What a value reaches: one entry by name for each function, class, object and global, so that circles end."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.texts: dict[str, str] = {}  # of files
        self.names: dict[Any, tuple[str, Any]] = {}  # by id, with the object, which keeps its id while it is held

    def tell(self, value: Any) -> Any:
        """The content of `value`, with references to the entries of what is reached."""
        kind = type(value)
        if value is None or kind in _SCALARS or isinstance(value, Tensor):
            return value
        if kind in (list, tuple):
            return [kind.__name__, *map(self.tell, value)]
        if kind in (set, frozenset):
            return [kind.__name__, *sorted(map(self.tell, value), key=repr)]
        if kind in _MAPPINGS:
            return [kind.__name__, *([self.tell(name), self.tell(part)] for name, part in value.items())]
        if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
            return [kind.__name__, str(value.dtype), [*value.shape], value.tobytes()]
        if isinstance(value, _PRINTED):
            return [kind.__name__, repr(value)]
        if kind in _PARTS:
            return [kind.__name__, *(self.tell(getattr(value, part)) for part in _PARTS[kind])]
        if isinstance(value, ModuleType):
            return _module(value)
        if isinstance(value, type):
            own = is_ours(value.__module__)
            return self._enter(_name(value), value, self._class) if own else ["name", _name(value)]
        if isinstance(value, nn.Module):
            return self._enter(f"network {_name(kind)}", value, self._network)
        return self._callable(value) if callable(value) else self._object(value)

    def _enter(self, name: str, value: Any, make: Callable[[Any, str], Any], identity: Any = None) -> list[str]:
        """A reference to the entry of `value`, which is made when it is first met."""
        identity = identity or id(value)
        if identity not in self.names:
            name = next(free for i in count(1) if (free := name if i == 1 else f"{name} #{i}") not in self.found)
            self.names[identity], self.found[name] = (name, value), None
            try:
                self.found[name] = make(value, name)
            except _UnknownError:
                del self.names[identity], self.found[name]
                raise
        return ["reached", self.names[identity][0]]

    def _callable(self, value: Any) -> Any:
        """A function or what is called like one; what other packages wrap around a function of ours counts with it."""
        inner = inspect.unwrap(value)
        if _is_own(inner) and not _is_own(value):
            decorated = self._scan(inner).decorators  # then the code says how
            parts = [value.__wrapped__, getattr(value, "registry", None), None if decorated else _cells(value)]
            return ["wrapped", *map(self.tell, parts)]
        if not isinstance(value, FunctionType) or (not _is_own(value) and _is_importable(value)):
            return self._object(value)
        home = value.__globals__.get("__name__")
        if home in _KEEPING and not value.__name__.endswith("trained"):
            return ["name", _name(value)]
        make = self._function if _is_own(value) else self._made
        return self._enter(f"{home}.{value.__code__.co_qualname}", value, make)

    def _made(self, function: FunctionType, _: str) -> Any:
        """Of a function that an installed one has made."""
        return self.tell([_cells(function), function.__defaults__, function.__kwdefaults__])

    def _object(self, value: Any) -> Any:
        """An object by its name, if it has one, else by what a pickle of it would hold."""
        kind = type(value)
        if _is_importable(value):
            return ["name", _name(value)]
        reduce = copyreg.dispatch_table.get(kind)
        known = reduce or callable(value) or isinstance(value, tuple | Enum) or dataclasses.is_dataclass(kind)
        if not known and not is_ours(kind.__module__):
            raise _UnknownError(value)
        try:
            parts = reduce(value) if reduce else value.__reduce_ex__(4)
        except TypeError:
            raise _UnknownError(value) from None
        if isinstance(parts, str):
            return ["name", f"{getattr(value, '__module__', None)}.{parts}"]
        parts = [list(part) if isinstance(part, Iterator) else part for part in parts]
        return self._enter(f"object {_name(kind)}", value, lambda *_: self.tell(parts))

    def _function(self, function: FunctionType, name: str) -> list[str]:
        """Its code, with entries for what it reads: closure, imports, defaults, globals."""
        found = self._scan(function)
        defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        unread = _cells(function) | {f"default {i}": value for i, value in enumerate(defaults)}
        own = {"__name__": name, **unread, **imported(found.imports)}
        known = (global_names(function.__code__) | found.decorators) - own.keys()
        self._read_all((names for names in found.chains if names[0] in known), function.__globals__)
        self._read_all((names for names in found.chains if names[0] in own), own)
        self._read_all(((part,) for part in unread.keys() - {names[0] for names in found.chains}), own)
        return found.code

    def _read_all(self, reads: Iterable[Chain], space: dict[str, Any]) -> None:
        """Enter what chains read from a space of names; of a module of ours, the attribute rather than the whole."""
        for names in sorted(reads):
            at = space
            while names and names[0] in at:
                value, label, make = at[names[0]], f"{at.get('__name__')}:{names[0]}", partial(self._value, names[0])
                through = isinstance(value, ModuleType) and len(names) > 1 and is_ours(value.__name__)
                if through:
                    getattr(value, names[1], None)  # a submodule may be imported by this
                    make = lambda _, __, value=value: ["name", value.__name__]  # noqa: E731
                self._enter(label, at, make, (id(at), names[0]))
                names, at = names[1:] if through else (), vars(value) if through else at

    def _value(self, name: str, space: dict[str, Any], _: str = "") -> Any:
        try:
            return self.tell(space[name])
        except _UnknownError as unknown:
            home = type(space[name]).__module__
            if not is_ours(home) and getattr(sys.modules.get(home), name, None) is space[name]:
                return ["name", home, name]  # as scipy.stats.norm
            if (told := self._assigned(space, name)) is None:
                raise ValueError(f"a function reads {name}, whose content cannot be told: {unknown}") from None
            return told

    def _assigned(self, space: dict[str, Any], name: str) -> Any:
        """What the module's file assigns to a global that cannot be told, or imports as it."""
        module = sys.modules.get(space.get("__name__", ""))
        if vars(module or self) is not space or not getattr(module, "__file__", None):
            return None
        body = index(self._newest(module.__file__))[""][0].body
        for bound, home, attribute in imports(body, space.get("__package__")):
            if bound == name:
                return self._value(attribute, vars(sys.modules[home])) if is_ours(home) else ["name", home, attribute]
        made = [part.value for part in body if name in targets(part) and getattr(part, "value", None)]
        if len(made) != 1:
            return None
        self._read_all(chains(made), space)
        return ["assigned", ast.dump(made[0])]

    def _class(self, cls: type, _: str) -> dict[str, Any]:
        """Its code where it is found, its bases, and its attributes, functions among them."""
        members = {part: value for part, value in vars(cls).items() if _is_member(cls, part, value)}
        functions = [inner for inner in map(inspect.unwrap, members.values()) if _is_own(inner)]
        module = sys.modules.get(cls.__module__)
        file = getattr(module, "__file__", None)
        space = functions[0].__globals__ if functions else vars(module or self)
        text = self._text(functions[0]) if functions else self._newest(file) if file else ""
        nodes = index(text).get(cls.__qualname__.replace(".<locals>", ""), [])
        self._read_all((names for names in chains(nodes, within=False) if names[0] in space), space)
        told = {part: self._attribute(value, bool(nodes)) for part, value in members.items()}
        return {"code": [*map(ast.dump, nodes)], "bases": self.tell(cls.__mro__[1:]), "attributes": told}

    def _attribute(self, value: Any, has_code: bool) -> Any:
        """Of a class; what cannot be told is in the class's code, as an expression whose names are read with it."""
        try:
            return self.tell(value)
        except _UnknownError:
            if not has_code and not hasattr(value, "__get__"):
                raise
            return [self.tell(part) for part in getattr(value, "__dict__", {}).values() if callable(part)]

    def _network(self, network: nn.Module, _: str) -> dict[str, Any]:
        tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        return {
            "repr": re.sub(r" at 0x[0-9a-f]+", "", repr(network)),
            "modules": [[at, self.tell(type(part)), self.tell(_state(part))] for at, part in network.named_modules()],
            "tensors": tensors,
            "trainable": [name for name, parameter in network.named_parameters() if parameter.requires_grad],
            "device": next((tensor.device.type for tensor in tensors.values()), "cpu"),
        }

    def _newest(self, file: str) -> str:
        """The text of a file as it is now, looked up once."""
        if file not in self.texts:
            linecache.checkcache(file)
            self.texts[file] = "".join(linecache.getlines(file))
            if self.texts[file] not in (known := _TEXTS.setdefault(file, [])):
                known.append(self.texts[file])
        return self.texts[file]

    def _text(self, function: FunctionType) -> str:
        """The text that a function was compiled from: if the file was edited since, the one it had."""
        file = function.__code__.co_filename
        if not (newest := self._newest(file)):
            raise ValueError(f"function {function.__qualname__} has no source: define it in a file or a notebook")
        if not os.path.exists(file) or (os.path.getmtime(file) < _STARTED and len(_TEXTS[file]) == 1):
            return newest
        compiled = next((text for text in (newest, *_TEXTS[file]) if was_compiled(function.__code__, text)), None)
        # Another loader, as pytest's, compiles something else.
        if compiled is None and type(function.__globals__.get("__loader__")) is SourceFileLoader:
            raise ValueError(f"function {function.__qualname__} was edited in {file} since it was imported: start anew")
        return compiled or newest

    def _scan(self, function: FunctionType) -> Scan:
        code = function.__code__
        return scan(self._text(function), code.co_firstlineno, code.co_name, function.__globals__.get("__package__"))


def _is_own(value: Any) -> bool:
    """Whether a value is a function of ours."""
    if not isinstance(value, FunctionType):
        return False
    return is_ours(value.__globals__.get("__name__", ""), value.__code__.co_filename)


def _is_member(cls: type, name: str, value: Any) -> bool:
    """Whether an attribute of a class was written in it, not made by Python."""
    special, inner = name.startswith("__") or name == "_abc_impl", inspect.unwrap(value)
    made = dataclasses.is_dataclass(cls) or issubclass(cls, tuple)
    if _is_own(inner):
        return not (made and inner.__code__.co_filename == "<string>")
    return not special or isinstance(value, property)


def _is_importable(value: Any) -> bool:
    try:
        return attrgetter(_name(value).removeprefix(f"{value.__module__}."))(sys.modules[value.__module__]) is value
    except (AttributeError, KeyError):
        return False


def _name(value: Any) -> str:
    return f"{value.__module__}.{getattr(value, '__qualname__', None) or value.__name__}"


def _module(module: ModuleType) -> list[str]:
    if is_ours(module.__name__):
        raise ValueError(f"a function reads {module.__name__} as a whole: import its modules by name, or what it reads")
    return ["name", module.__name__]


def _cells(function: Any) -> dict[str, Any]:
    """What a function encloses, by name; names without a value yet are left out."""
    found = {}
    if isinstance(function, FunctionType):
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with suppress(ValueError):
                found[name] = cell.cell_contents
    return found


def _state(network: nn.Module) -> dict[str, Any]:
    """The plain attributes of a network; of an installed class those without an underscore."""
    own = is_ours(type(network).__module__)
    return {name: part for name, part in vars(network).items() if name not in _USUAL and (own or name[0] != "_")}
