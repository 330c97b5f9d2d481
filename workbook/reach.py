"""What a value depends on: its content, and the code that it reaches.

Code counts function by function as Python has compiled it, so that comments, docstrings and layout do not count, nor
what is edited while a run goes on. It counts as far as it is ours: the project's, a notebook's, a module beside it.
What is installed counts by its name.
"""

import copyreg
import dataclasses
import dis
import importlib
import importlib.util
import inspect
import re
import sys
import sysconfig
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import MISSING
from enum import Enum
from functools import cache, partial
from itertools import count
from operator import attrgetter
from pathlib import Path, PurePath
from types import CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_SCALARS = (bool, int, float, str, bytes)
_MAPPINGS = (dict, OrderedDict, Counter, MappingProxyType)
_PRINTED = (torch.dtype, torch.device, torch.Size, torch.layout, np.dtype, PurePath, range, complex, type(...))
_METHODS = {staticmethod: ["__func__"], classmethod: ["__func__"], MethodType: ["__func__", "__self__"]}
_PARTS = _METHODS | {property: ["fget", "fset", "fdel"], slice: ["start", "stop", "step"]}
_USUAL = frozenset(vars(nn.Module()))  # attributes of every network
_KEEPING = ("workbook.reach", "workbook.store")  # modules that keep results and change none
_OURS = ("infolib", "workbook", "__main__")  # wherever they are installed
_FROM = dict.fromkeys(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"), "") | {"LOAD_DEREF": "cells"}
Chain = tuple[str, ...]  # where from, a name and the attributes after it, as ("", "renyi", "gram")


def content(value: Any, name: str = "value") -> Any:
    """Content of a value, with the code that it reaches, in a form that `store.fingerprint` takes.

    Functions and classes of ours count by their code and all that it reads; networks by classes, tensors and
    attributes; data sets and other objects of our classes by what they hold; what is installed by its name. The modes
    of a network and its hooks do not count; the order of a dict does.

    Parameters
    ----------
    value : object
        Numbers, strings, tensors, arrays, data sets, networks, functions, and collections of them.
    name : str
        What a message calls the value.

    Returns
    -------
    object
        Nested lists and dicts of scalars and tensors.

    Raises
    ------
    ValueError
        For an object without a stable content, and for a module of ours as a whole.

    Examples
    --------
    >>> content([1, "a", (2.0,)]), content(np.exp)
    (['list', 1, 'a', ['tuple', 2.0]], ['name', 'numpy.exp'])
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

    def _callable(self, value: Any) -> Any:
        """A function or what is called like one; what other packages wrap around a function of ours counts with it."""
        inner = inspect.unwrap(value)
        if _is_own(inner) and not _is_own(value):
            return ["wrapped", *map(self._attribute, [vars(value), *_cells(value).values()])]
        if not isinstance(value, FunctionType) or (not _is_own(value) and _is_importable(value)):
            return self._object(value)
        home = value.__globals__.get("__name__")
        if home in _KEEPING and not value.__name__.endswith("trained"):
            return ["name", _name(value)]
        return self._enter(f"{home}.{value.__code__.co_qualname}", value, self._function)

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
        return self._enter(f"object {_name(kind)}", value, lambda _: self.tell(parts))

    def _function(self, function: FunctionType) -> list[Any]:
        """Its code, if it is ours, its defaults and what it encloses, with entries for what it reads from outside."""
        cells, own = _cells(function), _is_own(function)
        for origin, *names in _chains(function.__code__) if own else ():
            if origin in ("", "cells"):
                self._read(names, cells if origin else function.__globals__)
            elif is_ours(origin):
                self._read(names, vars(importlib.import_module(origin)))
        enclosed = {name: cell for name, cell in cells.items() if not isinstance(cell, ModuleType)}
        parts = [function.__defaults__, function.__kwdefaults__, enclosed, vars(function)]
        return [_text(function.__code__) if own else "", *map(self.tell, parts)]

    def _read(self, names: Sequence[str], space: dict[str, Any]) -> None:
        """Enter what a name in a space stands for; of a module of ours, the attribute rather than the whole."""
        for i, name in enumerate(names):
            if name not in space:
                return
            value = space[name]
            if not isinstance(value, ModuleType) or i + 1 == len(names) or not is_ours(value.__name__):
                label = f"{space.get('__name__')}:{name}"
                self._enter(label, space, partial(self._global, name), (id(space), name))
                return
            getattr(value, names[i + 1], None)  # a submodule may be imported by this
            space = vars(value)

    def _global(self, name: str, space: dict[str, Any]) -> Any:
        try:
            return self.tell(space[name])
        except _UnknownError as unknown:
            raise ValueError(f"a function reads {name}, whose content cannot be told: {unknown}") from None

    def _class(self, cls: type) -> dict[str, Any]:
        """Its bases, and its attributes, functions among them."""
        fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
        defaults = {field.name: [field.default, field.default_factory] for field in fields}
        made = {name: [self.tell(part) for part in parts if part is not MISSING] for name, parts in defaults.items()}
        members = {name: self._attribute(value) for name, value in vars(cls).items() if _is_member(cls, name, value)}
        return {"bases": self.tell(cls.__mro__[1:]), "attributes": members, "fields": made}

    def _attribute(self, value: Any) -> Any:
        """Of a class or a wrapper; of one that cannot be told, the functions that it holds."""
        try:
            return self.tell(value)
        except _UnknownError:
            return [self.tell(part) for part in getattr(value, "__dict__", {}).values() if callable(part)]

    def _network(self, network: nn.Module) -> dict[str, Any]:
        tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        return {
            "repr": re.sub(r" at 0x[0-9a-f]+", "", repr(network)),
            "modules": [[at, self.tell(type(part)), self.tell(_state(part))] for at, part in network.named_modules()],
            "tensors": tensors,
            "trainable": [name for name, parameter in network.named_parameters() if parameter.requires_grad],
            "device": next((tensor.device.type for tensor in tensors.values()), "cpu"),
        }


def is_ours(module: str, file: str = "<") -> bool:
    """Whether code is the project's or the reader's, not Python's or an installed package's.

    Parameters
    ----------
    module, file : str
        Name of the module; file of the code, which begins with "<" if there is none.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_ours("workbook.reach"), is_ours("numpy.linalg"), is_ours("json")
    (True, False, False)
    """
    top = module.partition(".")[0]
    if top in _OURS or not file.startswith("<"):
        return top in _OURS or not _is_installed(file)
    if top in sys.stdlib_module_names:
        return False
    with suppress(ValueError):  # of a module that was made at run time
        spec = importlib.util.find_spec(top)
        places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
        return not any(map(_is_installed, filter(None, places)))
    return True


@cache
def _is_installed(file: str) -> bool:
    path = Path(file)
    stdlib = path.is_relative_to(sysconfig.get_path("stdlib"))
    return stdlib or not {"site-packages", "dist-packages"}.isdisjoint(path.parts)


@cache
def _text(code: CodeType) -> str:
    """Compiled code as text: arguments and instructions with their constants and names, without lines and docstring."""
    steps = (f"{step.opname} {_shown(step.argval)}" for step in dis.get_instructions(code))
    return "; ".join(
        [f"{code.co_varnames} {code.co_argcount} {code.co_posonlyargcount} {code.co_kwonlyargcount}", *steps]
    )


def _shown(argument: Any) -> str:
    """The argument of an instruction, the same in every process."""
    if isinstance(argument, CodeType):
        return f"({_text(argument)})"
    if isinstance(argument, tuple | frozenset):
        parts = map(_shown, argument)
        return f"{type(argument).__name__}({', '.join(parts if isinstance(argument, tuple) else sorted(parts))})"
    return repr(argument)


@cache
def _chains(code: CodeType) -> list[Chain]:
    """What code and the code within it take from outside: where from, and a name with the attributes after it."""
    found: set[Chain] = set()
    now: Chain = ()
    home = ""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_ATTR", "LOAD_METHOD") and now:
            now = (*now, step.argval)
            continue
        found.add(now)
        now = (_FROM[step.opname], step.argval) if step.opname in _FROM else ()
        if step.opname == "IMPORT_NAME":
            home = step.argval
        elif step.opname == "IMPORT_FROM":
            now = (home, step.argval)
        elif isinstance(step.argval, CodeType):
            found.update(_chains(step.argval))
    return sorted(found - {()})


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
