"""Results kept by content: what determines a result names its file under data/cache.

>>> fingerprint({"lr": 0.1, "sizes": [784, 10]})[:12]
'0463dbd8c238'
"""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from workbook import root

if TYPE_CHECKING:
    import pandas as pd


def folder() -> Path:
    """Where downloads and results are kept: INFOLIB_CACHE (from the workbook, if relative), else data/cache in it."""
    return root() / (os.environ.get("INFOLIB_CACHE") or "data/cache")


def fingerprint(*parts: Any) -> str:
    """SHA-256 of nested dicts, lists, strings, numbers and tensors, as hex; the same in every process.

    The order of a dict's keys does not count; lists and tuples are alike; 1, 1.0 and True differ.

    Raises:
        ValueError: for a type without a stable content, such as an object or a function
    """
    digest = hashlib.sha256()
    for chunk in _chunks(parts):
        digest.update(chunk)
    return digest.hexdigest()


def cached(kind: str, key: dict[str, Any], compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that `compute()` returns, read from the cache when the same `key` was computed before.

    It must have been computed on as many threads, too: the last digits of a sum, and with them what a training comes
    to, hang on their number.
    The tensors come back on the CPU, detached, in the order of their names, found or computed alike. A corrupt entry
    is computed again with a warning; a cache that cannot be written costs a warning, never the result.
    INFOLIB_FRESH=1 computes everything again and renews the entries.

    Raises:
        ValueError: for a key without a fingerprint, or a result that is not a dict of tensors
    """
    path = folder() / kind / f"{fingerprint(key, torch.get_num_threads())}.safetensors"
    found = None if os.environ.get("INFOLIB_FRESH") == "1" else _read(path)
    if found is not None:
        return found
    result = _plain(compute())
    try:
        _write(path, result)
    except OSError as error:
        # One text for the whole folder, so that Python shows it once.
        warnings.warn(f"results are not cached in {folder()}: {error.strerror}", stacklevel=2)
    return result


def table(kind: str, key: dict[str, Any], compute: Callable[[], "pd.DataFrame"]) -> "pd.DataFrame":
    """The frame that `compute()` returns, of numbers and strings, kept as `cached` keeps tensors.

    Rows are numbered from 0. Columns of numbers keep their dtype, found or computed alike.

    Raises:
        ValueError: as `cached` does, and for a column that is neither numbers nor strings
    """
    import pandas as pd  # late: the command line starts without it

    def tensors() -> dict[str, Tensor]:
        columns = enumerate(compute().items())
        return dict(chain.from_iterable(_as_tensors(place, name, column) for place, (name, column) in columns))

    found = cached(kind, key, tensors)
    columns = {name: values for name, values in found.items() if not name.startswith("words")}
    words = {
        name: bytes(found[f"words {name}"].tolist()).decode().split("\0")
        for name in columns
        if f"words {name}" in found
    }
    frame = {
        name.split(" ", 1)[1]: [words[name][code] for code in values] if name in words else values.numpy()
        for name, values in columns.items()
    }
    return pd.DataFrame(frame)


def _as_tensors(place: int, name: str, column: "pd.Series") -> Iterator[tuple[str, Tensor]]:
    """A column of numbers as it is, one of strings as codes and the words they stand for."""
    if column.dtype.kind in "iufb":
        yield f"{place:03d} {name}", torch.tensor(column.to_numpy())
    elif column.map(lambda value: isinstance(value, str) and "\0" not in value).all():
        codes, words = column.factorize()
        yield f"{place:03d} {name}", torch.tensor(codes)
        yield f"words {place:03d} {name}", torch.tensor(list("\0".join(words).encode()), dtype=torch.uint8)
    else:
        raise ValueError(f"column {name!r} must hold numbers or strings, got {column.dtype}")


def _chunks(part: Any) -> Iterator[bytes]:
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
            for item in part:
                yield from _chunks(item)
        case dict() if all(isinstance(name, str) for name in part):
            yield f"dict:{len(part)}:".encode()
            for name in sorted(part):
                yield from _chunks(name)
                yield from _chunks(part[name])
        case Tensor():
            yield from _tagged(f"{part.dtype}{tuple(part.shape)}", _content(part))
        case dict():
            raise ValueError(f"a dict with a fingerprint has string keys only, got {list(part)[:5]}")
        case _:
            raise ValueError(
                f"{type(part).__name__} has no stable fingerprint; allowed: dict, list, tuple, str, bytes, int, float, "
                "bool, None, tensor"
            )


def _tagged(tag: str, content: bytes | memoryview) -> Iterator[bytes | memoryview]:
    yield f"{tag}:{len(content)}:".encode()
    yield content


def _content(tensor: Tensor) -> memoryview:
    """The tensor's bytes in row-major order, without a copy where they lie so already."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy())


def _plain(result: Any) -> dict[str, Tensor]:
    if not isinstance(result, dict) or not all(isinstance(value, Tensor) for value in result.values()):
        raise ValueError(f"compute must return a dict of tensors, got {type(result).__name__}")
    # Cloned: safetensors refuses views and tensors that share memory.
    return {name: result[name].detach().cpu().contiguous().clone() for name in sorted(result)}


def _read(path: Path) -> dict[str, Tensor] | None:
    """The entry's tensors; None, with a warning if it is corrupt, when there is no entry to use."""
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
            if (file.metadata() or {}).get("fingerprint") == fingerprint(tensors):
                return tensors
        reason = "content and checksum differ"
    except (OSError, safetensors.SafetensorError) as error:
        reason = str(error)
    warnings.warn(f"the cache entry {path.name} is corrupt and is computed again: {reason}", stacklevel=3)
    return None


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write the entry whole or not at all, whoever else is writing it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    try:
        temporary.write_bytes(safetensors.torch.save(tensors, {"fingerprint": fingerprint(tensors)}))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
