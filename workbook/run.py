"""Run notebooks: check parameters first, execute each in a process of its own, replace its report whole or not at all.

A notebook that reads the reports of others has a code cell tagged `reads-reports`, and runs when all others have ended.

`run` validates everything, then starts one process per notebook (`workbook.execution`), which executes it in a
temporary folder inside `reports/<profile>/`. Only when the process has succeeded and has left every deliverable does
the folder take the place of the former report. A failure of any kind, or a kill, leaves the former report as it was.
"""

import ast
import contextlib
import json
import logging
import math
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
from filelock import FileLock
from joblib import Parallel, delayed

from infolib import checks
from workbook import MARK, execution, records, root

PROFILES = ("quick", "paper")
TIME_LIMIT = {"quick": 20.0, "paper": 240.0}  # minutes for one notebook
DELIVERABLES = ("report.ipynb", "results.csv", "verdicts.csv", "provenance.json", "figures/*.png")
READS_REPORTS = "reads-reports"  # tag of a code cell
NAMES = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict}


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell: `name: type = default  # help`."""

    name: str
    type: Any
    default: Any
    help: str


@dataclass(frozen=True)
class Run:
    """What became of one notebook: `error` is None when its report stands."""

    name: str
    seconds: float
    error: str | None = None


def reports_folder(profile: str) -> Path:
    """`reports/<profile>` of this workbook."""
    return root() / "reports" / checks.choice("profile", profile, PROFILES)


def lock(profile: str) -> FileLock:
    """Held while a report of this profile is put in place, or while all of them are read."""
    return FileLock(reports_folder(profile) / ".lock")


def notebooks() -> dict[str, Path]:
    """Name -> path of every numbered notebook, in reading order."""
    return {path.stem: path for path in sorted((root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))}


def select(names: Sequence[str]) -> list[str]:
    """Full names for numbers ("02") or names; all notebooks if none is given. ValueError lists them."""
    known = notebooks()
    chosen = []
    for name in names or known:
        found = [full for full in known if full == name or full.split("_")[0] == name]
        if not found:
            raise ValueError(f"unknown notebook {name!r}; allowed: {', '.join(known) or 'none in ' + str(root())}")
        chosen += found
    return list(dict.fromkeys(chosen))


def title(name: str) -> str:
    """The first heading of a notebook."""
    cells = nbformat.read(notebooks()[name], as_version=4).cells
    lines = "\n".join(c.source for c in cells if c.cell_type == "markdown").splitlines()
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), name)


def minutes(name: str, profile: str) -> float:
    """How long a notebook takes on one core without a cache, as profiles.toml says; inf if it does not."""
    return float(_settings(name).get("minutes", {}).get(profile, math.inf))


def _settings(name: str) -> dict[str, Any]:
    """What notebooks/profiles.toml says of a notebook."""
    return tomllib.loads((root() / MARK).read_text(encoding="utf-8")).get(name, {})


def parameters(name: str) -> dict[str, Parameter]:
    """The parameters of a notebook, as papermill finds them in its cell without running it.

    It passes over a line that is not `name: type = literal  # help`, and an annotation with `|`.

    Raises
    ------
    ValueError
        if there is no such cell, or a parameter without a type, or one whose default is no literal of its type
    """
    import papermill  # late: it takes a second

    (name,) = select([name])
    if not _cells(name, "parameters"):
        raise ValueError(f"notebook {name} has no cell tagged 'parameters'")
    logging.getLogger("papermill").setLevel(logging.ERROR)  # of a line that it passes over it says so on stderr
    return {key: _parameter(name, found) for key, found in papermill.inspect_notebook(notebooks()[name]).items()}


def _parameter(notebook: str, found: Mapping[str, str]) -> Parameter:
    place = f"notebook {notebook}: parameter {found['name']}"
    try:
        kind = eval(found["inferred_type_name"], {"__builtins__": {}}, NAMES)
        default = ast.literal_eval(found["default"])
    except (AttributeError, NameError, SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"{place} must be `name: type = literal  # help`, got {found['default']!r}") from error
    if kind is None or not records.matches(default, kind):
        wanted = (
            f"a type made of {', '.join(NAMES)}" if kind is None else f"a default that is {records.type_name(kind)}"
        )
        raise ValueError(f"{place} must have {wanted}, got {default!r}")
    return Parameter(found["name"], kind, default, found["help"].removesuffix("fmt: skip").strip(" #"))


def waves(names: Sequence[str]) -> list[list[str]]:
    """Groups of notebooks to run one after the other: those that read reports come last."""
    last = [name for name in names if _cells(name, READS_REPORTS)]
    return [wave for wave in ([name for name in names if name not in last], last) if wave]


def _cells(name: str, tag: str) -> list[Any]:
    """The cells of a notebook with a tag."""
    cells = nbformat.read(notebooks()[name], as_version=4).cells
    return [c for c in cells if tag in c.metadata.get("tags", [])]


def resolve(name: str, profile: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What to inject into `name`: the profile's values, then `overrides`; what the notebook would refuse is refused.

    Raises
    ------
    ValueError
        for an unknown parameter, and for what `records.prepared` refuses
    """
    known = parameters(name)
    values = _settings(name).get(checks.choice("profile", profile, PROFILES), {}) | dict(overrides)
    if unknown := [key for key in values if key not in known]:
        raise ValueError(f"unknown parameter {unknown[0]!r} of {name}; allowed: {', '.join(known)}")
    defaults, kinds = ({key: getattr(p, part) for key, p in known.items()} for part in ("default", "type"))
    records.prepared(name, defaults | values | {"__annotations__": kinds})
    return values


def run(
    names: Sequence[str] = (),
    *,
    profile: str = "quick",
    jobs: int = 1,
    overrides: Mapping[str, Any] | None = None,
    fresh: bool = False,
    time_limit: float | None = None,
    report: Callable[[Run], None] = lambda _: None,
) -> list[Run]:
    """Execute notebooks, `jobs` at a time, into `reports/<profile>/`; `report` is called as each one ends.

    The results come in the order of `waves`; within a wave, what says that it takes longest begins first. Everything is
    checked before the first kernel starts. `time_limit` is in minutes for each notebook. On Ctrl-C all processes are
    ended and no report changes.

    Raises ValueError for bad names, parameters or profile, and OSError if the reports folder cannot be written.
    """
    checks.at_least("jobs", jobs, 1)
    folder = reports_folder(profile)
    limit = checks.positive("time_limit", TIME_LIMIT[profile] if time_limit is None else time_limit)
    resolved = {name: resolve(name, profile, overrides or {}) for name in select(names)}
    _check_writable(folder)
    _sweep(folder)
    environment = {"INFOLIB_PROFILE": profile, "TQDM_DISABLE": "1"}
    if fresh:
        environment["INFOLIB_FRESH"] = "1"
    children: set[psutil.Process] = set()

    def one(position: int, name: str, threads: int) -> Run:
        start, own = time.monotonic(), environment | {"OMP_NUM_THREADS": str(threads)}
        error = _run_one(name, resolved[name], folder, own, limit * 60, position, children)
        done = Run(name, time.monotonic() - start, error)
        report(done)
        return done

    try:
        runs: list[Run] = []
        for wave in waves(list(resolved)):
            threads = max(1, (os.cpu_count() or 1) // min(jobs, len(wave)))
            begun = enumerate(sorted(wave, key=lambda name: minutes(name, profile), reverse=True))
            done = Parallel(jobs, backend="threading")(delayed(one)(i, name, threads) for i, name in begun)
            runs += sorted(done, key=lambda run: wave.index(run.name))
        return runs
    finally:  # Ctrl-C: joblib's threads wait for processes that nobody needs any more
        for child in list(children):
            _kill(child)


def _check_writable(folder: Path) -> None:
    """An error now rather than after an hour."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f"the reports folder {folder} cannot be written: {error.strerror}") from error


def _run_one(
    name: str,
    values: dict[str, Any],
    folder: Path,
    environment: Mapping[str, str],
    limit: float,
    position: int,
    children: set[psutil.Process],
) -> str | None:
    """Execute one notebook in its own process and publish its report; the error message if there is one."""
    try:
        with _workplace(folder, name) as work:
            spec = {"notebook": str(notebooks()[name]), "parameters": values, "work": str(work), "position": position}
            command = [sys.executable, "-m", "workbook.execution", json.dumps(spec)]
            start = time.monotonic()
            child = psutil.Popen(
                command,
                env=os.environ | environment | {"INFOLIB_REPORT": str(work), "INFOLIB_ROOT": str(root())},
                cwd=root() / "notebooks",
                start_new_session=True,  # Ctrl-C reaches us alone; we end the child and its kernel
            )
            children.add(child)
            try:
                child.wait(limit)
            except psutil.TimeoutExpired:
                return _keep_failed(work, name, f"{name} passed its time limit of {limit / 60:g} minutes")
            finally:
                _kill(child)
                children.discard(child)
            if child.returncode != 0:
                return _keep_failed(work, name, _child_error(work, name, child.returncode))
            _finish(work, values, time.monotonic() - start)
            if missing := [d for d in DELIVERABLES if not any(work.glob(d))]:
                return _keep_failed(work, name, f"{name} ran to its end but left no {', '.join(missing)}")
            try:
                execution.render(work, name)
            except Exception as error:  # nbconvert's, jinja's, latex2mathml's: whatever it is, the former report stands
                return _keep_failed(work, name, f"{name} could not be rendered for a browser: {error}")
            _publish(work, folder / name)
    except OSError as error:  # a full disk, a folder taken away: the former report stands
        return f"{name}: {error}"
    return None


@contextlib.contextmanager
def _workplace(folder: Path, name: str) -> Iterator[Path]:
    """A temporary folder beside the reports (so that a rename publishes it), removed at the end."""
    work = Path(tempfile.mkdtemp(prefix=f".{name}.{os.getpid()}.", dir=folder))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Clear what a killed run left behind: its temporary folders, and a swap between its two renames."""
    with lock(folder.name):
        for old in folder.glob(".old.*"):
            target = folder / old.name.removeprefix(".old.")
            if target.exists():
                shutil.rmtree(old)
            else:
                old.rename(target)
        for work in folder.glob(".[0-9][0-9]_*.*.*"):
            if not psutil.pid_exists(int(work.name.split(".")[2])):
                shutil.rmtree(work, ignore_errors=True)


def _publish(work: Path, target: Path) -> None:
    """Put a finished report in the place of the former one; a kill between the renames is mended by `_sweep`."""
    work.chmod(0o755)  # mkdtemp's folders are for their owner alone
    with lock(target.parent.name):
        old = target.parent / f".old.{target.name}"
        if target.exists():
            target.rename(old)
        work.rename(target)
        shutil.rmtree(old, ignore_errors=True)


def _finish(work: Path, values: dict[str, Any], seconds: float) -> None:
    """Add to the kernel's provenance what only the runner knows."""
    path = work / "provenance.json"
    if path.exists():
        record = json.loads(path.read_text(encoding="utf-8"))
        record |= {"parameters": values, "wall_seconds": round(seconds, 1)}
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _child_error(work: Path, name: str, code: int) -> str:
    path = work / "error.txt"
    if path.exists() and (text := path.read_text(encoding="utf-8")):
        return text
    cause = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"{name}: its process ended with {cause}"


def _keep_failed(work: Path, name: str, error: str) -> str:
    """Keep the partial notebook under reports/failed/ and say where."""
    partial = work / "report.ipynb"
    if not partial.exists():
        return error
    kept = root() / "reports" / "failed" / f"{name}.{work.parent.name}.ipynb"
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(partial, kept)
    except OSError as also:
        return f"{error}\nThe partial notebook could not be kept: {also}"
    return f"{error}\nThe partial notebook is {kept.relative_to(root())}"


def _kill(child: psutil.Process) -> None:
    """End a process and all below it: a kernel sits in a session of its own and would live on."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in [*child.children(recursive=True), child]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    with contextlib.suppress(psutil.NoSuchProcess):
        child.wait()
