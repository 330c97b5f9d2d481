"""The reports folder: its lock, the temporary folders in which runs work, and the swap that puts a report in place.

A run works in `reports/<profile>/.<report>.<random>/`. There `owner.json` names the process that runs, `report/`
becomes the report, and `former/` holds the report before it while the two change places. Such a folder is swept only if
its owner is known to have ended: what has no readable owner, or one on another machine or in another container, stays.
"""

import contextlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from workbook import root

WAIT = 120.0  # seconds for the lock
SKEW = 60.0  # seconds by which the clock may have been set while a run goes on


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Lock of the reports folder, held while a report is put in place, or while reports are read.

    Yields
    ------
    None
        While it is held.

    Raises
    ------
    TimeoutError
        After `WAIT` seconds; names the process that holds it.
    """
    path = root() / "reports" / ".lock"
    held = FileLock(path, timeout=WAIT)
    try:
        held.acquire()
    except Timeout as error:
        open_files = {process.pid: process.info["open_files"] for process in psutil.process_iter(["open_files"])}
        holders = [str(pid) for pid, files in open_files.items() if str(path) in [file.path for file in files or ()]]
        who = f"process {', '.join(holders)}" if holders else "a process of another user or machine"
        raise TimeoutError(
            f"waited {WAIT:g} s for {path}, which {who} holds to put a report in place or to read reports: "
            "wait for it or end it, then try again"
        ) from error
    try:
        yield
    finally:
        held.release()


@contextlib.contextmanager
def temporary(target: Path) -> Iterator[Path]:
    """A folder for the work on a report, next to it, so that a rename publishes it.

    Parameters
    ----------
    target : Path
        Folder of the report.

    Yields
    ------
    Path
        With an empty folder `report` and `sockets`; removed at the end, and a swap that was cut is undone.
    """
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        (work / "owner.json").write_text(json.dumps(owner()), encoding="utf-8")
        sockets(work).mkdir(0o700)
        (work / "report").mkdir()
        yield work
    finally:
        _clear(work)


def sockets(work: Path) -> Path:
    """Folder of the kernel's sockets, whose path may have 103 bytes at most.

    Parameters
    ----------
    work : Path
        A `temporary` folder.

    Returns
    -------
    Path
        With the same random end to its name.
    """
    return Path("/tmp") / f"infolib{work.suffix}"


def publish(work: Path, target: Path) -> None:
    """Replace the former report by a finished one.

    Parameters
    ----------
    work : Path
        Its `temporary` folder.
    target : Path
        Folder of the report; a link there is replaced, and what it leads to stays.
    """
    with lock():
        if os.path.lexists(target):
            target.rename(work / "former")
        (work / "report").rename(target)


def sweep(folder: Path) -> None:
    """Clear the temporary folders that killed runs left behind.

    Parameters
    ----------
    folder : Path
        Reports of a profile.
    """
    with lock():
        for work in folder.glob(".[0-9][0-9]_*.*"):
            if not work.is_symlink() and has_ended(_owner(work)):
                _clear(work)


def _clear(work: Path) -> None:
    former, target = work / "former", work.parent / work.stem[1:]
    if os.path.lexists(former) and not os.path.lexists(target):
        former.rename(target)  # a swap cut between its renames
    for folder in (sockets(work), work):
        shutil.rmtree(folder, ignore_errors=True)


def _machine() -> dict[str, str]:
    """Where a process id has a meaning: the machine, and the namespace in which a container numbers its processes."""
    found = {"machine": platform.node(), "namespace": ""}
    with contextlib.suppress(OSError):  # what there is on Linux
        found["namespace"] = os.readlink("/proc/self/ns/pid")
        found["machine"] += f" {Path('/etc/machine-id').read_text().strip()}"
    return found


def _owner(work: Path) -> dict[str, Any]:
    """The owner of a temporary folder; nothing if it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((work / "owner.json").read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def owner() -> dict[str, Any]:
    """What identifies this process, for `has_ended`.

    Returns
    -------
    dict of str to object
    """
    own = psutil.Process()
    return _machine() | {"pid": own.pid, "started": own.create_time()}


def has_ended(owner: Mapping[str, Any]) -> bool:
    """Whether a process is known to have ended.

    Parameters
    ----------
    owner : mapping of str to object
        What the process had from `owner`.

    Returns
    -------
    bool
        False if that cannot be known here.
    """
    try:
        if {name: owner[name] for name in _machine()} != _machine():
            return False
        process = psutil.Process(owner["pid"])
        other = abs(process.create_time() - owner["started"]) > SKEW
        return other or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (KeyError, TypeError, ValueError, psutil.Error):
        return False
