"""The progress of runs: a small file for each, under `progress` in the cache, which `infolib status` reads.

`workbook.store.tabulate` writes it as cases end. The runner removes it once the report is in place; a file
left by a killed run is recognised by its ended process.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbook import folders

EVERY = 1.0  # seconds between two notes


@dataclass(frozen=True)
class State:
    """The progress of a run.

    Parameters
    ----------
    run : str
        Profile and report, such as "quick/04_neuron_importance"; "a notebook's ..." of one that is open.
    table : str
        Function whose cases are computed.
    cases, done : int
        How many there are, and how many of them have ended.
    begun, noted : float
        When the first began, and when the last was noted, in seconds of `time.time`.
    ended : bool
        Whether the process that computes them is known to have ended.
    """

    run: str
    table: str
    cases: int
    done: int
    begun: float
    noted: float
    ended: bool = False

    @property
    def left(self) -> float | None:
        """Seconds that are left, if each case takes as long as those that have ended did; None if none has."""
        return (self.noted - self.begun) / self.done * (self.cases - self.done) if self.done else None


@contextmanager
def noted(cache: Path, table: str, cases: int) -> Iterator[Callable[[int], None]]:
    """A `with` block in which the cases of a function are computed; what it yields is told how many have ended.

    Parameters
    ----------
    cache : Path
        Folder of results.
    table : str
        Name of the function.
    cases : int
        How many there are.

    Yields
    ------
    callable
        A progress file that cannot be written is ignored.
    """
    run = os.environ.get("INFOLIB_RUN") or f"a notebook's {table}"
    path, temporary = _file(cache, run), _file(cache, f"{run}.{os.getpid()}").with_suffix(".tmp")
    told: dict[str, Any] = {"run": run, "table": table, "cases": cases, "begun": time.time(), "noted": 0.0}
    told["owner"] = folders.owner()

    def note(done: int) -> None:
        if done in (0, cases) or time.time() - told["noted"] > EVERY:
            told.update(done=done, noted=time.time())
            with suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.write_text(json.dumps(told), encoding="utf-8")
                temporary.replace(path)

    note(0)
    try:
        yield note
    finally:
        if not os.environ.get("INFOLIB_RUN"):  # of a run, the runner knows when it has ended
            forget(cache, run)


def forget(cache: Path, run: str) -> None:
    """Remove the file of a run that has ended well.

    Parameters
    ----------
    cache : Path
        Folder of results.
    run : str
        Profile and report.
    """
    with suppress(OSError):
        _file(cache, run).unlink(missing_ok=True)


def states(cache: Path) -> list[State]:
    """The progress of runs that go on or were interrupted.

    Parameters
    ----------
    cache : Path
        Folder of results.

    Returns
    -------
    list of State
        By the name of the run; what cannot be read is left out.
    """
    found = []
    for path in sorted((cache / "progress").glob("*.json")):
        with suppress(OSError, ValueError, TypeError, KeyError):
            told = json.loads(path.read_text(encoding="utf-8"))
            found.append(State(ended=folders.has_ended(told.pop("owner")), **told))
    return found


def spoken(seconds: float) -> str:
    """A time in a word or two.

    Parameters
    ----------
    seconds : float
        How long.

    Returns
    -------
    str

    Examples
    --------
    >>> [spoken(seconds) for seconds in (4.2, 90, 9000)]
    ['4 s', '2 min', '2.5 h']
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _file(cache: Path, run: str) -> Path:
    return cache / "progress" / f"{run.replace('/', '.')}.json"
