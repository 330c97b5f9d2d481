"""Results kept by what determines them, under data/cache: one key for every result, one folder for every function.

>>> fingerprint({"lr": 0.1, "sizes": [784, 10]})[:12]
'0463dbd8c238'
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache, partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, Unpack
from uuid import uuid4

import numpy as np
import safetensors
import safetensors.torch
import torch
from joblib import Parallel, delayed, parallel_config
from torch import Tensor, nn
from tqdm import tqdm

from infolib import __version__, checks
from workbook import cache_folder as folder
from workbook import cluster, journal, progress, records
from workbook.reach import content

if TYPE_CHECKING:
    import pandas as pd

    from infolib.data import Data
    from infolib.training import Options

__all__ = ["cached", "content", "device", "fingerprint", "folder", "key", "tabulate", "trained"]
Model = TypeVar("Model", bound=nn.Module)
Result = TypeVar("Result")
Cases = Sequence[Sequence[Any]]
Tables = Iterator[tuple[int, list["pd.DataFrame"]]]


def device() -> torch.device:
    """Where networks of `workbook.models` are put, and so trained and measured: INFOLIB_DEVICE, or the processor.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        For a device that torch does not have here, or that has no float64.
    """
    return checks.device("INFOLIB_DEVICE", os.environ.get("INFOLIB_DEVICE") or "cpu")


def device_name() -> str:
    """What a key and a report call the device: the model of a card, since another one rounds otherwise.

    Returns
    -------
    str
        "cpu" for the processor.

    Raises
    ------
    ValueError
        As `device` does.
    """
    there = device()
    return torch.cuda.get_device_name(there) if there.type == "cuda" else there.type


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
        Contents of function, arguments and options; versions and threads; "seeds from" if the seeds are shifted, and
        "device" if it is not the processor.

    Raises
    ------
    ValueError
        As `content`, `records.seeds` and `device` do.
    """
    shift, where = records.seeds(1)[0], device_name()  # a function may take its seeds inside, and make networks
    own = ({"seeds from": shift} if shift else {}) | ({} if where == "cpu" else {"device": where})
    return own | {
        "function": content(function, "function"),
        "arguments": _arguments(arguments),
        "options": {name: content(value, f"option {name}") for name, value in options.items() if name != "progress"},
        "versions": {name: version(name) for name in ("torch", "numpy", "scipy")},
        "threads": torch.get_num_threads(),  # the last digits of a sum depend on it
    }


def cached(function: Callable[..., dict[str, Tensor]], *arguments: Any, **options: Any) -> dict[str, Tensor]:
    """Tensors that `function(*arguments, **options)` returns, read if they were computed before under its `key`.

    An entry that is corrupt, or was written under another key, is computed again with a warning. A cache that cannot be
    written costs a warning, never the result. INFOLIB_FRESH=1 computes everything again and renews the entries. An
    entry keeps when and in how many seconds it was computed; a run notes both of what it reads (`workbook.journal`).

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
    return _kept(_kind(function), name, partial(function, *arguments, **options), dict)


def tabulate(
    function: Callable[..., Any], cases: Sequence[Sequence[Any]], *, frames: Sequence[str] = ()
) -> "pd.DataFrame | list[pd.DataFrame]":
    """Tables `function(*case)` of all cases, one under the other, in the order of the cases.

    Each is cached once it is computed, under its `key`, so that a run that was interrupted goes on. A case is computed
    on one thread, however many there are, so that its numbers do not depend on the machine's cores.

    Cases go to processes of this machine, or to the workers of Dask if there is a client (`cluster.client`). There a
    case has the threads that OMP_NUM_THREADS gives the worker, or one. A process that is killed costs its case a retry.

    Parameters
    ----------
    function : callable
        It returns a frame of numbers, strings, times and categories, or a named tuple of frames.
    cases : sequence of sequences
        Arguments of each call.
    frames : sequence of str
        Fields of the named tuple; empty for a function that returns one frame.

    Returns
    -------
    DataFrame or list of DataFrame
        Rows are numbered from 0, names and types of columns are as computed; one frame for each of `frames`.

    Raises
    ------
    ValueError
        For no cases, for a column of anything else, before it is kept, for a scheduler or workers that will not do
        (`cluster.check`), for what cannot travel to them, and as `key` and the function do.
    ConnectionError
        If the scheduler ends meanwhile.
    """
    import pandas as pd  # late: the command line starts without it

    if not cases:
        raise ValueError("cases is empty: give at least one")
    if remote := cluster.client():
        checks.hold("INFOLIB_DEVICE", device_name(), device_name() == "cpu", "cpu where cases go to a scheduler")
        cluster.packed(function, "the function")
    shared = fingerprint(key(function) | {"threads": cluster.check(remote) if remote else 1, "frames": [*frames]})
    names = [fingerprint(shared, _arguments(case)) for case in cases]
    done: dict[int, list[pd.DataFrame]] = {}
    found = partial(_from_workers, remote) if remote else _from_here
    with journal.waiting(), progress.noted(folder(), _kind(function), len(cases)) as note, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A worker stopped while some jobs")  # a worker grown by 100 MB is renewed
        for i, tables in tqdm(found(function, cases, names, frames), total=len(cases)):
            done[i] = tables
            note(len(done))
    tables = [pd.concat(part, ignore_index=True) for part in zip(*map(done.get, range(len(cases))), strict=True)]
    return tables if frames else tables[0]


def trained(model: Model, data: "Data", **fit_options: Unpack["Options"]) -> Model:
    """A network as `infolib.training.fit` leaves it; trained once, then from the cache.

    Parameters
    ----------
    model : nn.Module
        The network, which gets the trained weights.
    data : Data
        Samples with labels.
    **fit_options : training.Options
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


def _trained(model: nn.Module, data: "Data", **fit_options: Unpack["Options"]) -> dict[str, Tensor]:
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


def _from_here(function: Callable[..., Any], cases: Cases, names: list[str], frames: Sequence[str]) -> Tables:
    """Tables of the cases, each as it ends, from processes of this machine; new ones, once, if one was killed."""
    left = dict(enumerate(names))
    for again in (True, False):
        todo = (delayed(_case)(i, _kind(function), partial(function, *cases[i]), left[i], frames) for i in [*left])
        with parallel_config("loky", inner_max_num_threads=1):
            jobs = Parallel(n_jobs=torch.get_num_threads(), return_as="generator_unordered")(todo)
        try:
            for i, tables in jobs:
                del left[i]
                yield i, tables
            return
        except BrokenProcessPool:
            if not again:
                raise


def _from_workers(
    remote: Any, function: Callable[..., Any], cases: Cases, names: list[str], frames: Sequence[str]
) -> Tables:
    """Tables of the cases from the cache, and of the others from workers of Dask, kept here as each ends."""
    todo, kind = [], _kind(function)
    for i, name in enumerate(names):
        try:
            yield _case(i, kind, _missing, name, frames)
        except LookupError:  # of `_missing`
            todo.append(i)
    opened = partial(_at_worker, function, frames, _code(function))
    sent = [(names[i], *cases[i]) for i in todo]
    for place, (entries, lines) in cluster.results(remote, opened, sent) if todo else ():
        journal.received(lines)
        for name, file in entries.items():
            _keep(folder() / kind / f"{name}.safetensors", file)
        yield todo[place], [_as_table(safetensors.torch.load(file)) for file in entries.values()]


def _missing() -> NoReturn:
    raise LookupError("no entry that can be read")


def _code(function: Callable[..., Any]) -> dict[str, str]:
    """What a function takes of the two packages, which a worker has to have alike."""
    told = content(function, "function")
    found = told[2].items() if isinstance(told, list) and told[0] == "reaching" else ()
    ours = {name: fingerprint(part) for name, part in found if name.startswith(("infolib.", "workbook."))}
    return {f"infolib {__version__}": ""} | ours


def _at_worker(function: Callable[..., Any], frames: Sequence[str], code: dict[str, str]) -> Callable[..., Any]:
    """What computes a case there, once the worker's code is known to be the caller's."""
    own = _code(function)
    if other := [name for name in code if own.get(name) != code[name]]:
        raise ValueError(f"its code differs in {', '.join(other[:3])}: install the same version there")
    return partial(_made, function, frames)


def _made(function: Callable[..., Any], frames: Sequence[str], name: str, *case: Any) -> tuple[dict, list]:
    """Entries of a case by name, as files of the cache, and the lines of the journal."""
    with journal.collected() as lines:
        made = {}
        for entry, compute in _entries(partial(function, *case), name, frames).items():
            with journal.timed(_kind(function), entry) as clock:
                made[entry] = _file(entry, _plain(compute()), clock)
    return made, lines


def _case(place: int, kind: str, compute: Callable[[], Any], name: str, frames: Sequence[str]) -> tuple[int, list]:
    """The place of a case, and its tables, from the cache or computed once."""
    return place, [_kept(kind, entry, make, _as_table) for entry, make in _entries(compute, name, frames).items()]


def _entries(compute: Callable[[], Any], name: str, frames: Sequence[str]) -> dict[str, Callable[..., Any]]:
    """What makes each entry of a case, by its name."""
    if not frames:
        return {name: partial(_as_tensors, compute)}
    once = lru_cache(compute)
    parts = {part: partial(lambda part: getattr(once(), part, None), part) for part in frames}
    return {fingerprint(name, part): partial(_as_tensors, make) for part, make in parts.items()}


def _kept(kind: str, name: str, compute: Callable[[], dict[str, Tensor]], read: Callable[..., Result]) -> Result:
    """What `read` makes of an entry's tensors; they are computed if there are none that it can read."""
    path = folder() / kind / f"{name}.safetensors"
    with journal.timed(kind, name) as clock:
        found = None if os.environ.get("INFOLIB_FRESH") == "1" else _found(path, name, read, clock)
        if found is not None:
            return found
        tensors = _plain(compute())
        _keep(path, _file(name, tensors, clock))
        return read(tensors)


def _keep(path: Path, content: bytes) -> None:
    try:
        _write(path, content)
    except OSError as error:
        # One text for the whole folder, so that Python shows it once.
        warnings.warn(f"results are not cached in {folder()}: {error.strerror}", stacklevel=4)


def _as_tensors(compute: Callable[[], Any]) -> dict[str, Tensor]:
    """A computed frame as a header and tensors, from which `_as_table` makes the same columns."""
    import pandas as pd

    frame = compute()
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(
            f"function must return a frame, or a named tuple of those asked for, got {type(frame).__name__}"
        )
    tensors: dict[str, Tensor] = {}
    forms = [_form(tensors, name, column) for name, column in frame.items()]
    tensors["table"] = _bytes(json.dumps([len(frame), [*frame], forms]).encode())
    for (name, column), (_, back) in zip(frame.items(), _as_table(tensors).items(), strict=True):
        if column.dtype != back.dtype or not column.reset_index(drop=True).equals(back):
            _refuse(name, column)
    return tensors


def _form(tensors: dict[str, Tensor], name: Any, column: "pd.Series") -> list[Any]:
    """How a column is kept, and its number among the tensors, where its values go."""
    import pandas as pd

    if not isinstance(name, str):
        raise ValueError(f"the names of columns must be strings, got {name!r}")
    dtype, at = column.dtype, str(len(tensors))
    if isinstance(dtype, pd.CategoricalDtype):
        tensors[at] = _bytes(column.cat.codes.to_numpy("int64").tobytes())
        return ["category", at, dtype.ordered, _form(tensors, name, dtype.categories.to_series())]
    if isinstance(dtype, np.dtype) and dtype.kind in "iufbmM":
        tensors[at] = _bytes(column.to_numpy().tobytes())
        return [dtype.str, at]
    if not all(isinstance(value, str) for value in column):
        _refuse(name, column)
    codes, words = column.factorize()
    tensors[at] = _bytes(codes.astype("int64").tobytes())
    return ["words", at, str(dtype), [*words]]


def _refuse(name: str, column: "pd.Series") -> NoReturn:
    raise ValueError(f"column {name!r} must hold numbers, strings, times or categories of them, got {column.dtype}")


def _as_table(tensors: dict[str, Tensor]) -> "pd.DataFrame":
    import pandas as pd

    def column(form: str, at: str, *more: Any) -> "pd.Series":
        values = np.frombuffer(bytearray(tensors[at].numpy()), "int64" if more else form)
        if form == "category":
            return pd.Series(pd.Categorical.from_codes(values, pd.Index(column(*more[1])), ordered=more[0]))
        return pd.Series([more[1][code] for code in values], dtype=more[0]) if more else pd.Series(values)

    rows, names, forms = json.loads(bytes(tensors["table"].numpy()))
    columns = [column(*form) for form in forms]
    if {rows, *map(len, columns)} != {rows}:
        raise ValueError(f"columns must have {rows} rows each, got {[*map(len, columns)]}")
    frame = pd.DataFrame(dict(enumerate(columns)), index=range(rows))
    return frame.set_axis(names, axis=1)


def _bytes(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)


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
            flat = _held(part).reshape(-1) if part.numel() else torch.empty(0)
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
    return {name: _held(result[name]).clone() for name in sorted(result)}


def _held(tensor: Tensor) -> Tensor:
    """Its values as they lie in memory on the CPU: no view, no conjugate or negative that is still to be taken."""
    return tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()


def _found(path: Path, name: str, read: Callable[..., Result], clock: journal.Clock) -> Result | None:
    """What `read` makes of the entry; None, with a warning if it is corrupt or another's, when there is none to use."""
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {title: file.get_tensor(title) for title in sorted(file.keys())}
            kept = file.metadata() or {}
        key, _, digest = kept.get("key and content", "").partition(" ")
        if key != name:
            reason = "it was written under another key"
        elif fingerprint(tensors, kept.get("made")) != digest != fingerprint(tensors):  # as earlier versions wrote it
            reason = "its content is not what was written"
        else:
            result = read(tensors)
            clock.was_read(kept.get("made"))
            return result
    except (OSError, safetensors.SafetensorError) as error:
        reason = str(error)
    except (KeyError, IndexError, TypeError, ValueError):
        reason = "it holds no table"
    warnings.warn(f"the cache entry {path.name} is not used and is computed again: {reason}", stacklevel=4)
    return None


def _file(name: str, tensors: dict[str, Tensor], clock: journal.Clock) -> bytes:
    """An entry, with when it was made, which is now."""
    made = clock.computed()
    notes = {"key and content": f"{name} {fingerprint(tensors, made)}", "made": made}
    return safetensors.torch.save(tensors, notes)


def _write(path: Path, content: bytes) -> None:
    """Write the entry whole or not at all, whoever else is writing it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
