"""Results kept by what determines them, under data/cache: one key for every result, one folder for every function.

>>> fingerprint({"lr": 0.1, "sizes": [784, 10]})[:12]
'0463dbd8c238'
"""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import numpy as np
import safetensors
import safetensors.torch
import torch
from joblib import Parallel, delayed, parallel_config
from torch import Tensor, nn
from tqdm import tqdm

from workbook import root
from workbook.reach import content

if TYPE_CHECKING:
    import pandas as pd

    from infolib.data import Data

__all__ = ["cached", "content", "fingerprint", "folder", "key", "tabulate", "trained"]
Model = TypeVar("Model", bound=nn.Module)


def folder() -> Path:
    """Folder of downloads and results: INFOLIB_CACHE (from the workbook, if relative), else data/cache in the workbook.

    Returns
    -------
    Path
        It need not exist.
    """
    named = Path(os.environ.get("INFOLIB_CACHE") or "data/cache")
    return named if named.is_absolute() else root() / named  # without a workbook an absolute one will do


def fingerprint(*parts: Any) -> str:
    """SHA-256 of nested dicts, lists, strings, numbers and tensors; the same in every process.

    The order of a dict's keys does not count. Lists and tuples are alike; 1, 1.0 and True differ.

    Parameters
    ----------
    *parts : object
        Dicts with string keys, lists, tuples, strings, bytes, numbers, None and tensors.

    Returns
    -------
    str
        As hex.

    Raises
    ------
    ValueError
        For any other type, such as a function.

    Examples
    --------
    >>> fingerprint({"a": 1, "b": (2, 3)}) == fingerprint({"b": [2, 3], "a": 1}), fingerprint(1) == fingerprint(1.0)
    (True, False)
    """
    digest = hashlib.sha256()
    for chunk in _chunks(parts):
        digest.update(chunk)
    return digest.hexdigest()


def key(function: Callable[..., Any], *arguments: Any, **options: Any) -> dict[str, Any]:
    """What the result of `function(*arguments, **options)` depends on.

    Parameters
    ----------
    function : callable
        It counts with all code and values that it reaches (`content`).
    *arguments, **options : object
        They count by their content; the option `progress` does not.

    Returns
    -------
    dict
        Contents of function, arguments and options; versions and threads.

    Raises
    ------
    ValueError
        As `content` does.
    """
    return {
        "function": content(function, "function"),
        "arguments": _arguments(arguments),
        "options": {name: content(value, f"option {name}") for name, value in options.items() if name != "progress"},
        "versions": {name: version(name) for name in ("torch", "numpy", "scipy")},
        "threads": torch.get_num_threads(),  # the last digits of a sum depend on it
    }


def cached(function: Callable[..., dict[str, Tensor]], *arguments: Any, **options: Any) -> dict[str, Tensor]:
    """Tensors that `function(*arguments, **options)` returns, read if they were computed before under its `key`.

    A corrupt entry is computed again with a warning. A cache that cannot be written costs a warning, never the result.
    INFOLIB_FRESH=1 computes everything again and renews the entries.

    Parameters
    ----------
    function : callable
        It returns a dict of tensors.
    *arguments, **options : object
        What it is called with.

    Returns
    -------
    dict of str to Tensor
        On the CPU, detached, in the order of their names, whether they were read or computed.

    Raises
    ------
    ValueError
        As `key` does, and for a result that is not a dict of tensors.
    """
    name = fingerprint(key(function, *arguments, **options))
    return _kept(_kind(function), name, partial(function, *arguments, **options))


def tabulate(
    function: Callable[..., Any], cases: Sequence[Sequence[Any]], *, frames: Sequence[str] = ()
) -> "pd.DataFrame | list[pd.DataFrame]":
    """Tables `function(*case)` of all cases, one under the other, in the order of the cases.

    Each is cached once it is computed, under its `key`, so that a run that was interrupted goes on. A case is computed
    on one thread, however many there are, so that its numbers do not depend on the machine's cores.

    Parameters
    ----------
    function : callable
        It returns a frame of numbers and strings, or a named tuple of frames.
    cases : sequence of sequences
        Arguments of each call.
    frames : sequence of str
        Fields of the named tuple; empty for a function that returns one frame.

    Returns
    -------
    DataFrame or list of DataFrame
        Rows are numbered from 0; one frame for each of `frames`.

    Raises
    ------
    ValueError
        For no cases, for a column that is neither numbers nor strings, and as `key` and the function do.
    """
    import pandas as pd  # late: the command line starts without it

    if not cases:
        raise ValueError("cases is empty: give at least one")
    shared = key(function) | {"threads": 1}
    names = [fingerprint(shared | {"arguments": _arguments(case)}) for case in cases]
    todo = (delayed(_case)(partial(function, *case), name, frames) for case, name in zip(cases, names, strict=True))
    with parallel_config("loky", inner_max_num_threads=1):
        jobs = Parallel(n_jobs=torch.get_num_threads(), return_as="generator")(todo)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A worker stopped while some jobs")  # a worker grown by 100 MB is renewed
        tables = [pd.concat(part, ignore_index=True) for part in zip(*tqdm(jobs, total=len(cases)), strict=True)]
    return tables if frames else tables[0]


def trained(model: Model, data: "Data", **fit_options: Any) -> Model:
    """A network as `infolib.training.fit` leaves it; trained once, then from the cache.

    Parameters
    ----------
    model : nn.Module
        The network, which gets the trained weights.
    data : Data
        Samples with labels.
    **fit_options : int, float or str
        Options of `fit`.

    Returns
    -------
    nn.Module
        The model itself, in eval mode.

    Raises
    ------
    ValueError, FloatingPointError
        As `fit` does; ValueError also as `key` does.
    """
    model.load_state_dict(cached(_trained, model, data, **fit_options))
    return model.eval()


def _trained(model: nn.Module, data: "Data", **fit_options: Any) -> dict[str, Tensor]:
    from infolib.training import fit

    for _ in fit(model, data, **fit_options):
        pass
    return model.state_dict()


def _arguments(arguments: Iterable[Any]) -> list[Any]:
    return [content(value, f"argument {i}") for i, value in enumerate(arguments)]


def _kind(function: Any) -> str:
    """The folder of a function's results: its name."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__).strip("_<>")


def _case(compute: partial, name: str, frames: Sequence[str]) -> list["pd.DataFrame"]:
    """The tables of one case, from the cache or computed once."""
    if not frames:
        return [_frame(_kind(compute), name, compute)]
    once = lru_cache(compute)
    parts = {part: partial(lambda part: getattr(once(), part), part) for part in frames}
    return [_frame(_kind(compute), fingerprint(name, part), of_part) for part, of_part in parts.items()]


def _kept(kind: str, name: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    path = folder() / kind / f"{name}.safetensors"
    found = None if os.environ.get("INFOLIB_FRESH") == "1" else _read(path, name)
    if found is not None:
        return found
    result = _plain(compute())
    try:
        _write(path, name, result)
    except OSError as error:
        # One text for the whole folder, so that Python shows it once.
        warnings.warn(f"results are not cached in {folder()}: {error.strerror}", stacklevel=3)
    return result


def _frame(kind: str, name: str, compute: Callable[[], "pd.DataFrame"]) -> "pd.DataFrame":
    import pandas as pd

    def tensors() -> dict[str, Tensor]:
        frame = compute()
        parts = (_as_tensors(place, *column) for place, column in enumerate(frame.items()))
        return {"rows": torch.tensor(len(frame)), **dict(chain.from_iterable(parts))}

    found = _kept(kind, name, tensors)
    columns = {title: values for title, values in found.items() if title[0].isdigit()}
    words = {name: bytes(found[f"words {name}"].tolist()) for name in columns if f"words {name}" in found}
    parts = [_as_words(words[name], codes) if name in words else codes.numpy() for name, codes in columns.items()]
    frame = pd.DataFrame(dict(enumerate(parts)), index=range(int(found["rows"])))
    return frame.set_axis([title.split(" ", 1)[1] for title in columns], axis=1)


def _as_tensors(place: int, name: Any, column: "pd.Series") -> Iterator[tuple[str, Tensor]]:
    """A column of numbers as it is, one of strings as codes and the words they stand for."""
    if not isinstance(name, str):
        raise ValueError(f"the names of columns must be strings, got {name!r}")
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iufb":
        yield f"{place:03d} {name}", torch.tensor(column.to_numpy())
    elif column.map(lambda value: isinstance(value, str) and "\0" not in value).all():
        codes, words = column.factorize()
        yield f"{place:03d} {name}", torch.tensor(codes)
        yield f"words {place:03d} {name}", torch.tensor(list("\0".join(words).encode()), dtype=torch.uint8)
    else:
        raise ValueError(f"column {name!r} must hold numbers or strings, got {column.dtype}")


def _as_words(words: bytes, codes: Tensor) -> "pd.Series":
    import pandas as pd

    known = words.decode().split("\0")
    return pd.Series([known[code] for code in codes], dtype=str)


def _chunks(part: Any) -> Iterator[bytes | memoryview]:
    """The bytes of one part: a tag with type and length, so that no two contents read alike, then the content."""
    match part:
        case None | bool():
            yield from _tagged("constant", repr(part).encode())
        case int():
            yield from _tagged("int", b"%d" % part)
        case float():
            yield from _tagged("float", float(part).hex().encode())
        case str():
            yield from _tagged("str", part.encode())
        case bytes():
            yield from _tagged("bytes", part)
        case list() | tuple():
            yield f"list:{len(part)}:".encode()
            yield from chain.from_iterable(map(_chunks, part))
        case dict() if all(isinstance(name, str) for name in part):
            yield f"dict:{len(part)}:".encode()
            for name in sorted(part):
                yield from _chunks(name)
                yield from _chunks(part[name])
        case Tensor():
            flat = part.detach().cpu().contiguous().reshape(-1) if part.numel() else torch.empty(0)
            yield from _tagged(f"{part.dtype}{tuple(part.shape)}", flat.view(torch.uint8).numpy().data)
        case _:
            raise ValueError(
                f"{type(part).__name__} has no stable fingerprint; allowed: dict with string keys, list, tuple, str, "
                "bytes, int, float, bool, None, tensor"
            )


def _tagged(tag: str, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
    yield f"{tag}:{len(data)}:".encode()
    yield data


def _plain(result: Any) -> dict[str, Tensor]:
    if not isinstance(result, dict) or not all(isinstance(value, Tensor) for value in result.values()):
        raise ValueError(f"function must return a dict of tensors, got {type(result).__name__}")
    # Cloned: safetensors refuses views and tensors that share memory.
    return {name: result[name].detach().cpu().contiguous().clone() for name in sorted(result)}


def _read(path: Path, name: str) -> dict[str, Tensor] | None:
    """The entry's tensors; None, with a warning if it is corrupt, when there is no entry to use."""
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {title: file.get_tensor(title) for title in sorted(file.keys())}
            if (file.metadata() or {}).get("fingerprint") == fingerprint(name, tensors):
                return tensors
        reason = "content or key is not what was written"
    except (OSError, safetensors.SafetensorError) as error:
        reason = str(error)
    warnings.warn(f"the cache entry {path.name} is corrupt and is computed again: {reason}", stacklevel=4)
    return None


def _write(path: Path, name: str, tensors: dict[str, Tensor]) -> None:
    """Write the entry whole or not at all, whoever else is writing it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    try:
        temporary.write_bytes(safetensors.torch.save(tensors, {"fingerprint": fingerprint(name, tensors)}))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
