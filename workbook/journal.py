"""When each result was computed and how long that took; and the journal of a run: what it computed and what it read.

The journal is `cache.jsonl` in the folder INFOLIB_REPORT, a line for each result, from all processes of the run.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE = "cache.jsonl"


@dataclass
class Clock:
    """When and how one result was made; for a process, all that it did for results.

    Parameters
    ----------
    entry : str
        Name of the result.
    start : float
        When its reading or computing began, in seconds of `time.perf_counter`.
    within : float
        Seconds that reading and computing other results took meanwhile.
    seconds : dict of str to float
        Seconds to compute each of these alone, by entry; None where they are unknown.
    when : str or None
        ISO time, in UTC, at which it had been computed; None if it is unknown.
    read : bool
        Whether it was read.
    """

    entry: str = ""
    start: float = 0.0
    within: float = 0.0
    seconds: dict[str, float | None] = field(default_factory=dict)
    when: str | None = None
    read: bool = False

    def computed(self) -> str:
        """Stop: the result has been computed.

        Returns
        -------
        str
            What an entry keeps, for `was_read`.
        """
        self.seconds[self.entry] = round(time.perf_counter() - self.start - self.within, 3)
        self.when = datetime.now(UTC).isoformat(timespec="seconds")
        return json.dumps([self.when, self.seconds])

    def was_read(self, kept: str | None) -> None:
        """The result was read from an entry.

        Parameters
        ----------
        kept : str or None
            What `computed` returned; None for an entry of earlier versions.
        """
        self.when, self.seconds = json.loads(kept or json.dumps([None, {self.entry: None}]))
        self.read = True


_PROCESS = Clock()
_NOW: ContextVar[Clock] = ContextVar("clock", default=_PROCESS)
_LINES: ContextVar[list[dict[str, Any]] | None] = ContextVar("lines", default=None)


@contextmanager
def timed(kind: str, entry: str) -> Iterator[Clock]:
    """A `with` block that reads or computes one result, and reports to the clock which it did.

    Its end writes a line of the journal, if there is a run; a journal that cannot be written is ignored.

    Parameters
    ----------
    kind : str
        Folder of the result.
    entry : str
        Its name there.

    Yields
    ------
    Clock
    """
    outer, own = _NOW.get(), Clock(entry, time.perf_counter())
    token = _NOW.set(own)
    try:
        yield own
        outer.seconds |= own.seconds
        _append({"kind": kind, "entry": entry, "what": "read" if own.read else "computed", "when": own.when,
                 "seconds": own.seconds, "inside": outer is not _PROCESS})  # fmt: skip
    finally:
        _NOW.reset(token)
        outer.within += time.perf_counter() - own.start


@contextmanager
def waiting() -> Iterator[None]:
    """A `with` block in which results are read or computed, here or in other processes.

    Yields
    ------
    None
    """
    now, start = _NOW.get(), time.perf_counter()
    before = now.within
    try:
        yield
    finally:
        now.within = before + time.perf_counter() - start


@contextmanager
def collected() -> Iterator[list[dict[str, Any]]]:
    """A `with` block whose lines are not written: a process of another machine sends them to the run.

    Yields
    ------
    list of dict
        The lines, for `received`.
    """
    lines: list[dict[str, Any]] = []
    token = _LINES.set(lines)
    now = _NOW.set(_PROCESS)
    try:
        yield lines
    finally:
        _LINES.reset(token)
        _NOW.reset(now)


def received(lines: list[dict[str, Any]]) -> None:
    """Write lines that another process `collected`.

    Parameters
    ----------
    lines : list of dict
        What it did for results.
    """
    now = _NOW.get()
    for line in lines:
        now.seconds |= line["seconds"]
        _append(line | {"inside": line["inside"] or now is not _PROCESS})


def _append(line: dict[str, Any]) -> None:
    if (lines := _LINES.get()) is not None:
        lines.append(line)
        return
    if "INFOLIB_REPORT" not in os.environ:
        return
    with suppress(OSError):
        file = os.open(Path(os.environ["INFOLIB_REPORT"]) / FILE, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o666)
        try:
            os.write(file, f"{json.dumps(line)}\n".encode())  # one write, so that lines of processes do not mix
        finally:
            os.close(file)


def closed(folder: Path) -> dict[str, Any]:
    """The journal in a few numbers; it is removed.

    A result that the run computed and then read is not counted as read. A result that was computed for another result
    is not counted.

    Parameters
    ----------
    folder : Path
        Of the report.

    Returns
    -------
    dict
        "computed", "read": how many results, and in "kinds" how many of each folder; "oldest", "newest": ISO times at
        which those that were read had been computed, None if unknown; "core_seconds": to compute them all, one after
        another and each once, None if unknown; "waited_seconds": that this process spent on reading and computing them.
    """
    lines, path = [], folder / FILE
    with suppress(OSError):
        for text in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # of a disk that was full
                lines.append(json.loads(text))
        path.unlink()
    here = {line["entry"] for line in lines if line["what"] == "computed"}
    first = {line["entry"]: line for line in lines if line["what"] == "computed" and not line["inside"]}
    read = {line["entry"]: line for line in lines if line["entry"] not in here}
    times = sorted(line["when"] or "" for line in read.values()) or [""]
    seconds: dict[str, float | None] = {entry: s for line in lines for entry, s in line["seconds"].items()}
    known = [s for s in seconds.values() if s is not None]
    kinds = {
        name: Counter(line["kind"] for line in found.values()) for name, found in (("computed", first), ("read", read))
    }
    return {
        "computed": len(first), "read": len(read), "kinds": kinds,
        "oldest": times[0] or None, "newest": times[-1] or None,
        "core_seconds": round(sum(known), 1) if len(known) == len(seconds) else None,
        "waited_seconds": round(_PROCESS.within, 1),
    }  # fmt: skip
