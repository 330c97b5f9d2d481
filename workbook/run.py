"""Run notebooks: check parameters first, execute each in a process of its own, replace its report whole or not at all.

A notebook that reads the reports of others has a code cell tagged `reads-reports`. It begins last, and that cell waits
until all others have ended (`workbook.reports.await_others`); what it computes before does not wait.

`run` validates everything, then starts one process per notebook (`workbook.child`), which executes it in a temporary
folder inside `reports/<profile>/` (`workbook.folders`). Only when the process has succeeded and has left every
deliverable does the folder take the place of the former report. A failure of any kind, or a kill, leaves the former
report as it was. Commit and claims are taken before the first cell and compared after the last (`provenance.before`).
"""

import ast
import contextlib
import json
import logging
import math
import os
import re
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import psutil
from joblib import Parallel, delayed

from infolib import checks
from workbook import (
    MARK,
    cache_folder,
    child,
    claims,
    cluster,
    execution,
    folders,
    journal,
    progress,
    provenance,
    records,
    root,
    rule,
)

PROFILES = ("quick", "paper")
TIME_LIMIT = {"quick": 20.0, "paper": 240.0}  # minutes for one notebook
DELIVERABLES = ("report.ipynb", "results.csv", "verdicts.csv", "values.csv", "provenance.json", "figures/*.png")
READS_REPORTS = "reads-reports"  # tag of a code cell
NAMES = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict}


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell: `name: type = default  # help`.

    Parameters
    ----------
    name : str
        Name of the variable.
    type : type
        Its annotation, made of `NAMES`.
    default : object
        A literal of that type.
    help : str
        The comment.
    """

    name: str
    type: Any
    default: Any
    help: str


@dataclass(frozen=True)
class Run:
    """Outcome of one notebook.

    Parameters
    ----------
    name : str
        Full name of the notebook.
    seconds : float
        Time that it took.
    error : str or None
        Message of what went wrong; None if the report is in place.
    """

    name: str
    seconds: float
    error: str | None = None


def reports_folder(profile: str) -> Path:
    """Folder `reports/<profile>` of this workbook, which need not exist.

    Parameters
    ----------
    profile : str
        "quick" or "paper".

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        For another profile.
    """
    return root() / "reports" / checks.choice("profile", profile, PROFILES)


def notebooks() -> dict[str, Path]:
    """Every numbered notebook, in reading order.

    Returns
    -------
    dict of str to Path
        Path by name, such as "04_neuron_importance".
    """
    return {path.stem: path for path in sorted((root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))}


def select(names: Sequence[str]) -> list[str]:
    """Full names of notebooks.

    Parameters
    ----------
    names : sequence of str
        Numbers ("02") or full names; empty for all notebooks.

    Returns
    -------
    list of str
        Each once, in the order of `names`.

    Raises
    ------
    ValueError
        For an unknown name; lists the notebooks.
    """
    known = notebooks()
    chosen = []
    for name in names or known:
        found = [full for full in known if full == name or full.split("_")[0] == name]
        if not found:
            raise ValueError(f"unknown notebook {name!r}; allowed: {', '.join(known) or 'none in ' + str(root())}")
        chosen += found
    return list(dict.fromkeys(chosen))


def title(name: str) -> str:
    """First heading of a notebook.

    Parameters
    ----------
    name : str
        Full name of the notebook.

    Returns
    -------
    str
        The heading; the name if there is none.
    """
    cells = execution.cells(notebooks()[name])
    lines = "\n".join(c.source for c in cells if c.cell_type == "markdown").splitlines()
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), name)


def minutes(name: str, profile: str) -> float:
    """Minutes that a notebook takes on one core without a cache.

    Parameters
    ----------
    name, profile : str
        Full name of the notebook; "quick" or "paper".

    Returns
    -------
    float
        The number in notebooks/profiles.toml; inf if there is none.
    """
    return float(_settings(name).get("minutes", {}).get(profile, math.inf))


def _settings(name: str) -> dict[str, Any]:
    """What notebooks/profiles.toml says of a notebook."""
    return tomllib.loads((root() / MARK).read_text(encoding="utf-8")).get(name, {})


def parameters(name: str) -> dict[str, Parameter]:
    """Parameters of a notebook, as papermill finds them in its cell without running it.

    Papermill ignores a line that is not `name: type = literal  # help`, and an annotation with `|`.

    Parameters
    ----------
    name : str
        Number or full name of the notebook.

    Returns
    -------
    dict of str to Parameter
        By name, in the order of the cell.

    Raises
    ------
    ValueError
        If there is no such cell, for a parameter without a type, and for a default that is no literal of its type.
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
    if kind is None:
        raise ValueError(f"{place} must have a type made of {', '.join(NAMES)}, got {default!r}")
    if not records.matches(default, kind):
        raise ValueError(f"{place} must have a default that is {records.type_name(kind)}, got {default!r}")
    return Parameter(found["name"], kind, default, found["help"].removesuffix("fmt: skip").strip(" #"))


def last(names: Sequence[str]) -> list[str]:
    """The notebooks that read reports, which begin last.

    Parameters
    ----------
    names : sequence of str
        Full names of notebooks.

    Returns
    -------
    list of str
        In the order of `names`.
    """
    return [name for name in names if _cells(name, READS_REPORTS)]


def _cells(name: str, tag: str) -> list[Any]:
    """The cells of a notebook with a tag."""
    return [c for c in execution.cells(notebooks()[name]) if tag in c.metadata.get("tags", [])]


def resolve(name: str, profile: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Values to inject into a notebook, once they are known to fit.

    Parameters
    ----------
    name, profile : str
        Full name of the notebook; "quick" or "paper".
    overrides : mapping of str to object
        Values that take precedence over the profile's.

    Returns
    -------
    dict of str to object
        Values by parameter; a parameter that keeps its default is not among them.

    Raises
    ------
    ValueError
        For an unknown parameter, and where `records.prepared` raises one.
    """
    known = parameters(name)
    values = _settings(name).get(checks.choice("profile", profile, PROFILES), {}) | dict(overrides)
    if unknown := [key for key in values if key not in known]:
        raise ValueError(f"unknown parameter {unknown[0]!r} of {name}; allowed: {', '.join(known)}")
    defaults, kinds = ({key: getattr(p, part) for key, p in known.items()} for part in ("default", "type"))
    records.prepared(name, defaults | values | {"__annotations__": kinds, "__profile__": profile})
    return values


def overridden(name: str, profile: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Those overrides that differ from what a notebook has in a profile, "seeds from" if shifted, and "device".

    Parameters
    ----------
    name, profile : str
        Full name of the notebook; "quick" or "paper".
    overrides : mapping of str to object
        Values of its parameters.

    Returns
    -------
    dict of str to object
        Value by parameter.

    Raises
    ------
    ValueError
        For a shift that `records.seeds` refuses, and a device that `store.device` does.
    """
    from workbook import store  # late: it imports torch

    shift, where = records.seeds(1)[0], store.device()
    own = {key: parameter.default for key, parameter in parameters(name).items()} | _settings(name).get(profile, {})
    changed = {key: value for key, value in overrides.items() if value != own[key]}
    return changed | ({"seeds from": shift} if shift else {}) | ({} if where.type == "cpu" else {"device": str(where)})


def few_seeds(names: Sequence[str], profile: str, overrides: Mapping[str, Any]) -> dict[str, int]:
    """Notebooks with fewer seeds than a verdict takes, so that their findings will be undecided.

    Parameters
    ----------
    names : sequence of str
        Full names of notebooks.
    profile : str
        "quick" or "paper".
    overrides : mapping of str to object
        Values that take precedence over the profile's.

    Returns
    -------
    dict of str to int
        Seeds by notebook.
    """
    found = {}
    for name in names:
        if own := parameters(name).get("n_seeds"):
            found[name] = ({"n_seeds": own.default} | _settings(name).get(profile, {}) | dict(overrides))["n_seeds"]
    return {name: n for name, n in found.items() if isinstance(n, int) and n < rule.LEAST}


def described(changed: Mapping[str, Any]) -> str:
    """Overridden parameters, and seeds that are shifted, in a few words.

    Parameters
    ----------
    changed : mapping of str to object
        As of `overridden`.

    Returns
    -------
    str
        Such as "n = 7, layers = ['fc1'], seeds from 100"; a long value is cut.
    """
    texts = {f"{key} =" if key.isidentifier() else key: str(value) for key, value in changed.items()}
    return ", ".join(f"{key} {text if len(text) < 60 else text[:56] + ' …'}" for key, text in texts.items())


def _place(notebook: str, profile: str, name: str | None, changed: Mapping[str, Any]) -> Path:
    """Folder of a report; that of the paper profile is kept for the paper profile's own parameters."""
    if name is None and changed and profile == "paper":
        raise ValueError(
            f"notebook {notebook} with {described(changed)} would replace the report of the paper profile: "
            "give the report a name (--name), and so a place of its own"
        )
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", name):
        raise ValueError("name must be at most 40 letters, digits, dots, hyphens and underscores, "
                         f"a letter or a digit first, got {name!r}")  # fmt: skip
    return reports_folder(profile) / (notebook if name is None else f"{notebook}@{name}")


@dataclass(frozen=True)
class _Job:
    """One notebook of a run: its name, the folder of its report, its parameters, and those that are overridden."""

    notebook: str
    target: Path
    values: dict[str, Any]
    changed: dict[str, Any]


def _prepare(names: Sequence[str], profile: str, overrides: Mapping[str, Any], name: str | None) -> list[_Job]:
    """What there is to run, once it is known to fit."""
    resolved = {notebook: resolve(notebook, profile, overrides) for notebook in select(names)}
    from workbook import store

    if (there := store.device()).type != "cpu":
        beside = [notebook for notebook in resolved if not _settings(notebook).get("cards")]
        checks.hold("INFOLIB_DEVICE", str(there), not beside, f"cpu, for what {', '.join(beside)} makes is not moved")
    for notebook in resolved:
        claims.check(notebook, [c.source for c in execution.cells(notebooks()[notebook]) if c.cell_type == "code"])
    changed = {notebook: overridden(notebook, profile, overrides) for notebook in resolved}
    return [_Job(n, _place(n, profile, name, changed[n]), values, changed[n]) for n, values in resolved.items()]


def run(
    names: Sequence[str] = (),
    *,
    profile: str = "quick",
    jobs: int = 1,
    overrides: Mapping[str, Any] | None = None,
    name: str | None = None,
    fresh: bool = False,
    time_limit: float | None = None,
    scheduler: str | None = None,
    report: Callable[[Run], None] = lambda _: None,
) -> list[Run]:
    """Execute notebooks into `reports/<profile>/`.

    Everything is checked before the first kernel starts. The notebook with the most `minutes` begins first, and those
    that read reports (`last`) begin last. Networks are on the device that INFOLIB_DEVICE names, of notebooks that have
    `cards` in profiles.toml; their reports are marked as if a parameter were overridden. The notebooks that run at once
    share the processors that this process may use, unless OMP_NUM_THREADS says how many threads each has. On Ctrl-C all
    processes are ended and no report changes.

    Parameters
    ----------
    names : sequence of str
        Numbers or full names; empty for all notebooks.
    profile : str
        "quick" or "paper".
    jobs : int
        Notebooks at a time.
    overrides : mapping of str to object, optional
        Values of parameters, for every notebook. The reports are marked.
    name : str, optional
        The reports are `<notebook>@<name>`, beside those of the profile; the paper profile needs one for overrides.
    fresh : bool
        Whether to compute everything again instead of reading the cache.
    time_limit : float, optional
        Minutes for each notebook; `TIME_LIMIT` if it is not given.
    scheduler : str, optional
        Address of a Dask scheduler that takes the cases of all notebooks, or "local" for one on this machine.
    report : callable
        Called with the `Run` of each notebook as it ends.

    Returns
    -------
    list of Run
        In the order of `names`, and `last` those that read reports.

    Raises
    ------
    ValueError
        For a bad name, parameter or profile, a device that torch does not have here or the notebook does not take, and
        as `cluster.serving` does.
    OSError
        If the reports folder cannot be written, or is locked for too long.
    """
    checks.at_least("jobs", jobs, 1)
    folder = reports_folder(profile)
    limit = checks.positive("time_limit", TIME_LIMIT[profile] if time_limit is None else time_limit)
    todo = {job.notebook: job for job in _prepare(names, profile, overrides or {}, name)}
    folder.mkdir(parents=True, exist_ok=True)
    folders.sweep(folder)
    environment = {"INFOLIB_PROFILE": profile, "TQDM_DISABLE": "1", "JPY_SESSION_NAME": ""}  # no bars, no sliders
    environment |= {"INFOLIB_FRESH": "1"} if fresh else {}
    threads = {"OMP_NUM_THREADS": str(max(1, joblib.cpu_count() // min(jobs, len(todo))))}  # a user's own number stands
    children: set[psutil.Process] = set()
    reading = last(list(todo))
    awaited = {*todo} - {*reading}

    def one(position: int, notebook: str, running: Path) -> Run:
        start, own = time.monotonic(), threads | os.environ | environment | {"INFOLIB_AWAITED": str(running)}
        error = _run_one(todo[notebook], position, own, limit, children)
        done = Run(notebook, time.monotonic() - start, error)
        report(done)
        awaited.discard(notebook)
        if not awaited:
            running.unlink(missing_ok=True)
        return done

    order = sorted(todo, key=lambda notebook: (notebook in reading, -minutes(notebook, profile)))
    try:
        with tempfile.TemporaryDirectory() as place, cluster.serving(scheduler) as served:
            environment |= served
            running = Path(place) / "running"
            running.touch() if awaited else None
            done = Parallel(jobs, backend="threading")(delayed(one)(i, name, running) for i, name in enumerate(order))
        return sorted(done, key=lambda run: (run.name in reading, [*todo].index(run.name)))
    finally:  # Ctrl-C: joblib's threads wait for processes that nobody needs any more
        for process in list(children):
            _kill(process)


def _run_one(
    job: _Job, position: int, environment: dict[str, str], limit: float, children: set[psutil.Process]
) -> str | None:
    """Execute one notebook and publish its report; the error message if there is one."""
    name, start, run = job.target.name, time.monotonic(), f"{job.target.parent.name}/{job.target.name}"
    try:
        with folders.temporary(job.target) as work:
            first = provenance.before(job.notebook)
            spec = {"notebook": str(notebooks()[job.notebook]), "parameters": job.values, "position": position}
            spec |= {"runner": os.getpid(), "sockets": str(folders.sockets(work))}
            error = _execute(work / "report", name, spec, environment | {"INFOLIB_RUN": run}, limit, children)
            if error is None:
                error = _complete(work / "report", job, first, time.monotonic() - start)
            if error is not None:
                return _keep_failed(work / "report", job, error)
            folders.publish(work, job.target)
            progress.forget(cache_folder(), run)
    except OSError as failed:  # a full disk, a folder taken away: the former report stands
        return f"{name}: {failed}"
    return None


def _execute(
    report: Path,
    name: str,
    spec: dict[str, Any],
    environment: dict[str, str],
    limit: float,
    children: set[psutil.Process],
) -> str | None:
    """Execute one notebook in a process of its own; the error message if there is one."""
    process = psutil.Popen(
        [sys.executable, "-m", "workbook.child", json.dumps(spec)],
        env=environment | {"INFOLIB_REPORT": str(report), "INFOLIB_ROOT": str(root())},
        cwd=root() / "notebooks",
        start_new_session=True,  # Ctrl-C reaches us alone; we end the child and its kernel
    )
    children.add(process)
    try:
        process.wait(60 * limit)
    except psutil.TimeoutExpired:
        return f"{name} passed its time limit of {limit:g} minutes"
    finally:
        _kill(process)
        children.discard(process)
    if process.returncode == 0:
        return None
    for path in (report / "error.txt", Path(spec["sockets"]) / "error.txt"):
        if path.exists() and (text := path.read_text(encoding="utf-8")):
            return f"{name}: {text}"
    code = process.returncode
    return f"{name}: its process ended with {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"


def _complete(report: Path, job: _Job, first: dict[str, Any], seconds: float) -> str | None:
    """Add to a report what the runner knows, and its page for a browser; the error message if there is one."""
    name, path = job.target.name, report / "provenance.json"
    if missing := [pattern for pattern in DELIVERABLES if not any(report.glob(pattern))]:
        return f"{name} ran to its end but left no {', '.join(missing)}"
    try:
        record = json.loads(path.read_text(encoding="utf-8")) | provenance.after(job.notebook, first)
    except ValueError as error:
        return f"{name}: {error}"
    record |= {"parameters": job.values, "overridden": job.changed, "wall_seconds": round(seconds, 1)}
    record["compute_seconds"] = _without_cache(seconds, record.get("cache", {}))
    (report / journal.FILE).unlink(missing_ok=True)  # of what ran after the report was saved
    try:
        if job.changed:
            text = described(job.changed).replace("`", "'")
            execution.mark(report, f"> **Not the {job.target.parent.name} profile's own parameters:** `{text}`")
        record["files"] = provenance.hashes(report)
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        execution.render(report, name, job.target.parent.name)
    except Exception as error:  # nbconvert's, jinja's, latex2mathml's: whatever it is, the former report stands
        return f"{name} could not be rendered for a browser: {error}"
    return None


def _without_cache(seconds: float, cache: Mapping[str, Any]) -> float | None:
    """Seconds that a run takes if it computes each result, one after another and each once; None if unknown.

    That is the wall time less the waiting for results, and what it takes to compute these, whenever that was.
    """
    core, waited = (cache.get(name) for name in ("core_seconds", "waited_seconds"))
    return None if core is None or waited is None else round(seconds - waited + core, 1)


def _keep_failed(report: Path, job: _Job, error: str) -> str:
    """Keep the partial notebook under reports/failed/ and say where."""
    partial = report / "report.ipynb"
    if not partial.exists():
        return error
    kept = root() / "reports" / "failed" / f"{job.target.name}.{job.target.parent.name}.ipynb"
    kept.parent.mkdir(exist_ok=True)
    partial.rename(kept)
    return f"{error}\nThe partial notebook is {kept.relative_to(root())}"


def _kill(process: psutil.Process) -> None:
    """End a process and all below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.suspend()  # so that it starts nothing meanwhile
        child.end_below(process)
        process.kill()
    process.wait()
