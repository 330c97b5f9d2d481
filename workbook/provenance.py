"""Where a result comes from: commit, versions, machine, cache, data; and the files that a run leaves behind."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from packaging.requirements import Requirement

import infolib
import workbook
from workbook import MARK, journal, records, root, rule

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from workbook.claims import Book

OURS = ("information-workbook", "information-workbook-notebooks")  # infolib and workbook, as they are installed
PACKAGES = (*OURS, "torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas", "seaborn", "papermill")


def git(*arguments: str) -> str:
    """The answer of git in the workbook's folder.

    Parameters
    ----------
    *arguments : str
        Of the command.

    Returns
    -------
    str
        Its output, without the last line break but of a file that it shows.

    Raises
    ------
    OSError
        With the reason, in a few words, why there is no answer.
    """
    elsewhere = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"}  # a hook of another checkout sets them
    own = {name: value for name, value in os.environ.items() if name not in elsewhere} | {"LC_ALL": "C"}
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, cwd=root(), env=own, capture_output=True, text=True, check=True, timeout=60)
    except FileNotFoundError as error:
        raise OSError("git is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise OSError("git did not answer within 60 s") from error
    except subprocess.CalledProcessError as error:
        dubious = "dubious ownership" in error.stderr
        raise OSError(
            "git refuses a folder of dubious ownership" if dubious else "no checkout with a commit"
        ) from error
    return done.stdout if arguments[0] == "show" else done.stdout.removesuffix("\n")


def _repository() -> dict[str, Any]:
    """Commit of the code that runs, and whether anything but reports/ differs from it; or why there is none."""
    try:
        top = Path(git("rev-parse", "--show-toplevel")).resolve()
        if top != root().resolve():
            raise OSError("the workbook is not a checkout: it is inside another one")
        if any(Path(package.__file__ or "").resolve().parents[1] != top for package in (infolib, workbook)):
            raise OSError("the code that runs is not that of the workbook's checkout")
        commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", ".", ":!reports")
    except OSError as error:
        return {"commit": None, "dirty": None, "no_commit": str(error)}
    return {"commit": commit, "dirty": bool(changes)}


def before(notebook: str) -> dict[str, Any]:
    """What has to be recorded before the first cell of a notebook runs.

    Parameters
    ----------
    notebook : str
        Its full name.

    Returns
    -------
    dict
        Commit, or why there is none ("no_commit"); "dirty"; and "claims", the SHA-256 of each of its files of claims.
    """
    paths = [root() / "data" / "claims" / f"{notebook}.{suffix}" for suffix in ("toml", "csv")]
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.exists()}
    return _repository() | {"claims": hashes}


def after(notebook: str, first: dict[str, Any]) -> dict[str, Any]:
    """The origin of a report, once the notebook's last cell has run.

    Parameters
    ----------
    notebook : str
        Its full name.
    first : dict
        What `before` returned.

    Returns
    -------
    dict
        The same; it is "dirty" also if the files, reports/ apart, are no longer those of its commit.

    Raises
    ------
    ValueError
        If claims have changed meanwhile.
    """
    last = before(notebook)
    if changed := sorted({name for name, _ in first["claims"].items() ^ last["claims"].items()}):
        raise ValueError(
            f"data/claims/{changed[0]} changed while the notebook ran, so that its claims were not fixed before: "
            "run it again"
        )
    if first["commit"] is None:
        return first
    moved = last["commit"] != first["commit"] and git("diff", "--name-only", first["commit"], "--", ".", ":!reports")
    return first | {"dirty": first["dirty"] or last["dirty"] is not False or bool(moved)}


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of a report, but of the one that holds them and of what is made from the others.

    Parameters
    ----------
    folder : Path
        Of the report.

    Returns
    -------
    dict of str to str
        By the file's path in the folder.
    """
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in files.items()
        if name not in ("provenance.json", "report.html")
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The model of the processor, as the system calls it."""
    with suppress(OSError):  # Linux
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if models := [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]:
            return models[0]
    with suppress(OSError, subprocess.SubprocessError):  # macOS
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    return platform.processor() or platform.machine()


def _affinity() -> list[int | None]:
    """How many processors this process may use, of how many."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [usable, os.cpu_count()]


def _blas() -> list[str]:
    """The loaded libraries of linear algebra, with the kind of processor that they take this one for."""
    import torch
    from threadpoolctl import threadpool_info

    found = [one for one in threadpool_info() if one["user_api"] == "blas"]
    names = {f"{one['internal_api']} {one['version']} ({one.get('architecture', 'any')})" for one in found}
    return [*sorted(names), f"torch {'with' if torch.backends.mkl.is_available() else 'without'} MKL"]


def _device() -> str:
    """The device of networks, if it is not the processor; else the accelerator, if it gave memory to any tensor."""
    import torch

    from workbook import store

    if (asked := store.device_name()) != "cpu":  # where others than this process may have computed
        return asked
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.get_device_name()
    return "mps" if torch.backends.mps.is_available() and torch.mps.driver_allocated_memory() else "cpu"


def describe() -> dict[str, Any]:
    """Description of what runs in this process.

    Returns
    -------
    dict
        Commit of the workbook's own repository, or why there is none ("no_commit"); whether anything but reports/
        differs from it ("dirty"); profile, shift of the seeds, Python, platform, model of the processor; "affinity",
        how many processors this process may use, of how many; "blas", libraries of linear algebra; "device", that of
        the tensors so far; threads and versions of packages.
    """
    import torch

    return _repository() | {
        "profile": os.environ.get("INFOLIB_PROFILE", "quick"),
        "seed_shift": records.seeds(1)[0],
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "affinity": _affinity(),
        "blas": _blas(),
        "device": _device(),
        "threads": torch.get_num_threads(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def line() -> str:
    """One line for a notebook's set-up cell: what runs here.

    Returns
    -------
    str
    """
    d = describe()
    commit = (d["commit"] or "no commit")[:9] + ("+" if d["dirty"] else "")
    return (
        f"infolib {infolib.__version__} ({commit}), torch {d['versions']['torch']}, Python {d['python']}, "
        f"{d['device']}, {d['threads']} threads, {d['profile']} profile"
        + (f", seeds from {d['seed_shift']}" if d["seed_shift"] else "")
    )


def save(
    *,
    results: "pd.DataFrame",
    book: "Book",
    figures: Mapping[str, "Figure"],
    data: Iterable["Source"] = (),
) -> str:
    """Write results, verdicts, judged values (.csv), figures/*.png and provenance.json where `infolib run` asked.

    In JupyterLab nobody asked, so nothing is written. provenance.json has `describe`, "data", "figures", and "cache",
    which is `journal.closed`: what was read from the cache, and what it would take to compute it all.

    Parameters
    ----------
    results : DataFrame
        Results of the notebook.
    book : claims.Book
        Its claims: what was judged, and the verdicts.
    figures : mapping of str to Figure
        Figures by name; the first is the one of the scoreboard.
    data : iterable of Source
        What the results were made from, such as `infolib.data.Splits`.

    Returns
    -------
    str
        A line that says what was written, if anything.
    """
    if "INFOLIB_REPORT" not in os.environ:
        return "nothing saved: only `infolib run` writes a report"
    folder = Path(os.environ["INFOLIB_REPORT"])
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    results.to_csv(folder / "results.csv", index=False)
    book.verdicts.to_csv(folder / "verdicts.csv", index=False)
    book.values.to_csv(folder / "values.csv", index=False)
    for name, figure in figures.items():
        places = [(ax.get_position(True), ax.get_subplotspec()) for ax in figure.axes]
        if any(of and place.bounds != of.get_position(figure).bounds for place, of in places):
            figure.set_layout_engine("none")  # it was shown, so it is laid out: that takes as long as to draw it
        figure.savefig(folder / "figures" / f"{name}.png", dpi=150, bbox_inches="tight")
    sets = {source.name: dict(source.sha256) for source in data}
    record = describe() | {"rule": rule.RULE, "data": sets, "figures": list(figures), "cache": journal.closed(folder)}
    (folder / "provenance.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return f"saved {len(results)} results, {len(book.verdicts)} verdicts, {len(figures)} figures"


class Source(Protocol):
    """Something that results are made from."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def sha256(self) -> Mapping[str, str]:
        """The SHA-256 of each of its files."""


class Check(NamedTuple):
    """One line of `infolib doctor`.

    Parameters
    ----------
    name : str
        What was looked at.
    good : bool
        Whether it is as it should be.
    found : str
        What was found.
    mend : str
        How to fix it.
    """

    name: str
    good: bool
    found: str
    mend: str


def check_environment() -> list[Check]:
    """Look at the workbook; then at Python, packages, kernel, data, reports folder and disk.

    Returns
    -------
    list of Check
        The workbook alone, if there is none.
    """
    of_workbook, *others = PROBES
    first = _check(*of_workbook)
    return [first, *(_check(*probe) for probe in others if first.good)]


def _check(name: str, probe: Callable[[], tuple[bool, str]], mend: str) -> Check:
    try:
        return Check(name, *probe(), mend)
    except (AttributeError, ImportError, OSError, RuntimeError, ValueError) as error:
        return Check(name, False, str(error), mend)


def _python() -> tuple[bool, str]:
    return (3, 11) <= sys.version_info[:2] <= (3, 13), platform.python_version()


def _packages() -> tuple[bool, str]:
    """Both packages of the checkout, and what they ask for."""
    asked = [text for name in OURS if _version(name) for text in requires(name) or ()]
    wanted = [Requirement(text) for text in (*(f"{name}>0" for name in OURS), *asked)]
    wanted = [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": "plot"})]
    found = {r: _version(r.name) or "0" for r in wanted}
    bad = [f"{r.name} {v if v != '0' else 'missing'}" for r, v in found.items() if not r.specifier.contains(v, True)]
    good = f"{len({r.name for r in wanted})} packages within their bounds"
    return not bad, f"out of bounds: {', '.join(bad)}" if bad else good


def _vision() -> tuple[bool, str]:
    import torch
    import torchvision

    torchvision.ops.nms(torch.eye(1, 4), torch.ones(1), 0.5)  # an operator of its own fails where the builds differ
    return True, f"{torch.__version__} and {torchvision.__version__}"


def _kernel() -> tuple[bool, str]:
    from jupyter_client.kernelspec import find_kernel_specs, get_kernel_spec

    specs = find_kernel_specs()
    if "python3" not in specs:
        return False, ", ".join(sorted(specs)) or "none"
    program, here = get_kernel_spec("python3").argv[0], sys.executable  # jupyter takes the bare names for `here`
    bare = {"python", "python3", f"python3.{sys.version_info.minor}"}
    same = [(Path(path).parent.resolve(), Path(path).resolve()) for path in (program, here)]
    if program not in bare and same[0] != same[1]:
        return False, f"the kernel python3 in {specs['python3']} is {program}, not {here}"
    return True, ", ".join(sorted(specs))


def _data() -> tuple[bool, str]:
    folder = os.environ.get("INFOLIB_DATA")
    found = f"INFOLIB_DATA={folder}" if folder else "digits, and downloads in data/cache"
    return not folder or (root() / folder).is_dir(), found


def _reports() -> tuple[bool, str]:
    (root() / "reports").mkdir(exist_ok=True)
    tempfile.TemporaryFile(dir=root() / "reports").close()
    return True, "writable"


def _disk() -> tuple[bool, str]:
    free = shutil.disk_usage(root()).free / 2**30
    return free > 2, f"{free:.0f} GiB free"


ANEW = "`make clean`, then `make test`"
PROBES = (
    ("workbook", lambda: (True, str(root())), f"set INFOLIB_ROOT to the folder that holds {MARK}"),
    ("Python", _python, f"use Python 3.11 to 3.13: {ANEW}"),
    ("packages", _packages, f"{ANEW}; with conda: `conda env update -f environment.yml`"),
    ("torch and torchvision", _vision, f"take torch and torchvision from one source: {ANEW}"),
    ("Jupyter kernel", _kernel, "`python -m ipykernel install --sys-prefix`, and remove another kernel of that name"),
    ("data", _data, "set INFOLIB_DATA to a folder in torchvision's layout, or unset it"),
    ("reports", _reports, "make reports/ writable for you"),
    ("disk", _disk, "free 2 GiB for data and reports"),
)
