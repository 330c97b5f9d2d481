"""Experiments as tables: one function, many cases, one to a thread, and none computed twice."""

import dataclasses
import dis
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pandas as pd
import torch
from joblib import Parallel, delayed, parallel_config
from torch import Tensor, nn
from tqdm import tqdm

from infolib import training
from infolib.activations import device_of
from infolib.data import Data
from workbook import cache


def tabulate(
    function: Callable[..., Any], cases: Sequence[Sequence[Any]], *, frames: Sequence[str] = ()
) -> pd.DataFrame | list[pd.DataFrame]:
    """The tables `function(*case)` of all cases, one under the other, in the order of `cases`.

    Each is kept in the cache once it is computed, so that a run that was interrupted goes on. What determines it makes
    its key: the case, the function's source, the values and functions that it reads (see `origin`), torch's version.
    A case is computed on one thread, however many there are, so that its numbers do not hang on the machine's cores.
    A function of several tables returns a named tuple with the fields `frames`, and there is a frame for each.

    Raises:
        ValueError: for no cases, for what `origin` and `cache.table` refuse, and whatever the function raises
    """
    if not cases:
        raise ValueError("cases is empty: give at least one")
    key = {"origin": origin(function), "torch": torch.__version__}
    kept = (delayed(_kept)(key | {"case": list(c)}, partial(function, *c), frames) for c in cases)
    with parallel_config("loky", inner_max_num_threads=1):
        jobs = Parallel(n_jobs=torch.get_num_threads(), return_as="generator")(kept)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A worker stopped while some jobs")  # a worker grown by 100 MB is renewed
        tables = [pd.concat(part, ignore_index=True) for part in zip(*tqdm(jobs, total=len(cases)), strict=True)]
    return tables if frames else tables[0]


def _kept(key: dict[str, Any], compute: Callable[[], Any], frames: Sequence[str]) -> list[pd.DataFrame]:
    """The tables of one case, from the cache or computed once."""
    if not frames:
        return [cache.table("tables", key, compute)]
    once = lru_cache(compute)
    return [cache.table("tables", key | {"frame": name}, lambda name=name: getattr(once(), name)) for name in frames]


def origin(function: Callable[..., Any]) -> dict[str, Any]:
    """What a function's result hangs on beside its arguments, in a form that has a fingerprint.

    Its own source, that of the functions it calls from the same place (a notebook, a script), the plain values, tensors
    and data sets it reads there, and the source of every module of this package that it reaches. Other packages are
    taken to stay as they are, and a module that is imported inside a function is not seen.

    Raises:
        ValueError: for a value without a stable content, a function without source, or the package read as a whole
    """
    found: dict[str, Any] = {}
    _note("function", function, found)
    return found


def _note(name: str, value: Any, found: dict[str, Any]) -> None:
    """Add what `value`, known as `name`, hangs on."""
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    if name in found:
        return
    if isinstance(value, partial):
        for part, of in (("function", value.func), ("arguments", [*value.args]), ("options", value.keywords)):
            _note(f"{name}'s {part}", of, found)
    elif isinstance(home, str) and home.split(".")[0] == "infolib":
        _note_module(sys.modules[home], found)
        if dataclasses.is_dataclass(type(value)):
            found[name] = _plain(name, value)
    elif isinstance(value, FunctionType) and _is_ours(value):
        found[name] = _source(value)
        for read, content in _reads(value):
            _note(read, content, found)
    elif isinstance(value, dict) and _holds_functions(value):
        for part, content in value.items():
            _note(f"{name}[{part!r}]", content, found)
    elif not isinstance(value, ModuleType | type | FunctionType) and not callable(value):
        found[name] = _plain(name, value)


def _note_module(module: ModuleType, found: dict[str, Any]) -> None:
    """Add the module's source and that of the package's modules that it imports."""
    if module.__name__ == "infolib":
        raise ValueError("a function reads the package infolib as a whole: import its modules by name")
    if module.__name__ not in found:
        found[module.__name__] = inspect.getsource(module)
        for name, value in vars(module).items():
            if isinstance(value, ModuleType | type | FunctionType):
                _note(f"{module.__name__}.{name}", value, found)


def _holds_functions(options: dict) -> bool:
    return any(_holds_functions(part) if isinstance(part, dict) else callable(part) for part in options.values())


def _is_ours(function: FunctionType) -> bool:
    """Whether a function was written in a notebook, a script or a test rather than in an installed package."""
    return "site-packages" not in function.__code__.co_filename and function.__module__ not in sys.stdlib_module_names


def _reads(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The names that a function reads from outside, with their values; built-ins are left out."""
    enclosing = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    yield from ((f"{function.__qualname__}: {name}", cell.cell_contents) for name, cell in enclosing)
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    yield from ((f"{function.__qualname__}: default {i}", value) for i, value in enumerate(defaults))
    names = sorted(_globals(function.__code__))
    yield from ((name, function.__globals__[name]) for name in names if name in function.__globals__)


def _globals(code: CodeType) -> set[str]:
    inner = (_globals(part) for part in code.co_consts if isinstance(part, CodeType))
    own = {i.argval for i in dis.get_instructions(code) if i.opname in {"LOAD_GLOBAL", "LOAD_NAME"}}
    return own.union(*inner)


def _source(function: FunctionType) -> str:
    try:
        return inspect.getsource(function)
    except OSError:
        raise ValueError(f"function {function.__qualname__} has no source: define it in a file or a notebook") from None


def _plain(name: str, value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        value = {field.name: _plain(name, getattr(value, field.name)) for field in dataclasses.fields(value)}
    try:
        cache.fingerprint(value)
    except ValueError as error:
        raise ValueError(f"a function reads {name}, whose content cannot be told: {error}") from None
    return value


def trained(model: nn.Module, data: Data, **fit_options: Any) -> nn.Module:
    """The model itself, in eval mode, as `fit(model, data, **fit_options)` leaves it; trained once, then cached.

    What determines the weights makes the cache's key: initial weights, the model's shape and code, the data, the
    options, torch's version and this module's code.

    Raises:
        ValueError, FloatingPointError: as `fit` does; ValueError also for a class without source, typed at a prompt
    """

    def compute() -> dict[str, Tensor]:
        for _ in training.fit(model, data, **fit_options):
            pass
        return model.state_dict()

    options = {name: value for name, value in fit_options.items() if name != "progress"}
    key = {
        "model": _network(model),
        "x": data.x,
        "y": data.y,
        "options": options,
        "code": Path(training.__file__).read_text(),
    }
    model.load_state_dict(cache.cached("trained", key | {"torch": torch.__version__}, compute))
    return model.eval()


def _network(model: nn.Module) -> dict[str, Any]:
    """What a model is before training: tensors, structure, what is frozen, and the code of classes not torch's own."""
    classes = {type(module) for module in model.modules() if not type(module).__module__.startswith("torch.")}
    return {
        "tensors": {**dict(model.named_parameters()), **dict(model.named_buffers())},
        "structure": repr(model),
        "trainable": [name for name, parameter in model.named_parameters() if parameter.requires_grad],
        "code": sorted(_code(cls) for cls in classes),
        "device": device_of(model).type,
    }


def _code(cls: type) -> str:
    """The source of a class's functions, one by one: of a class in a notebook, Python finds only these."""
    try:
        return "".join(inspect.getsource(function) for function in vars(cls).values() if inspect.isfunction(function))
    except OSError as error:
        raise ValueError(f"the cache needs the source of {cls.__name__}; define it in a file or notebook") from error
