"""Faults, counted: `python -m benchmarks.faults [--number N] [PART ...]` writes reports/reliability.md.

Each part is a process of its own, in a small workbook in a temporary folder. Rows of parts that are not run stay.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import psutil
import torch

from workbook import provenance, store
from workbook import run as runner

ROOT = Path(__file__).resolve().parents[1]
FILES = ("results.csv", "verdicts.csv", "values.csv")  # the others hold times
SMALL = """
import os, pathlib
folder = pathlib.Path(os.environ["INFOLIB_REPORT"])
(folder / "figures").mkdir()
(folder / "figures" / "a.png").write_bytes(b"a picture")
for name in ("verdicts", "values"):
    (folder / f"{name}.csv").write_text("claim\\n")
(folder / "provenance.json").write_text("{}")
"""
NUMBER = '(folder / "results.csv").write_text(f"n\\n{n}\\n")'
TABLE = """
import time
import pandas as pd
from workbook import store
def measure(n, case):
    time.sleep(0.1)
    return pd.DataFrame({"n": [n], "case": case, "root": (n + case) ** 0.5})
store.tabulate(measure, [(n, case) for case in range(5)]).to_csv(folder / "results.csv", index=False)
"""
DISKS = (("the cache", "cache"), ("reports", "reports"), ("the temporary folder", "tmp"))
Row = tuple[str, int, int, str]  # what was done, how often it went well, of how many, and what that means
WHO = ("runner", "child", "kernel")
CHOICE = random.Random(0)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


@contextlib.contextmanager
def workbook(*cells: str, names: Sequence[str] = ("02_small",)) -> Iterator[Path]:
    """A workbook whose notebooks have these cells, and its cache, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="faults") as place:
        root = Path(place) / "book"
        (root / "notebooks").mkdir(parents=True)
        (root / "notebooks" / "profiles.toml").touch()
        code = [nbformat.v4.new_code_cell(cell) for cell in ("n: int = 3  # a number", *cells)]
        code[0].metadata["tags"] = ["parameters"]
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Small"), *code])
        book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        for name in names:
            nbformat.write(book, root / "notebooks" / f"{name}.ipynb")
        os.environ |= {"INFOLIB_ROOT": str(root), "INFOLIB_CACHE": str(root / "cache"), "OMP_NUM_THREADS": "1"}
        torch.set_num_threads(1)
        yield root


def run(name: str, n: int, answer: Path | None = None, log: Path | None = None) -> None:
    """One run, in a process of its own; its message, empty if there is none, and what it printed, go to files."""
    if log:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
    try:
        error = runner.run([name], overrides={"n": n})[0].error
    except OSError as failed:
        error = str(failed)
    if answer:
        answer.write_text(error or "")


def begun(*arguments: object) -> multiprocessing.Process:
    """A runner that has its imports: forked."""
    process = multiprocessing.get_context("fork").Process(target=run, args=arguments)
    process.start()
    return process


def message(root: Path, n: int, *, log: Path | None = None) -> str:
    """What a run says that nobody disturbs."""
    answer = root.parent / "answer"
    answer.unlink(missing_ok=True)
    begun("02_small", n, answer, log).join()
    return answer.read_text() if answer.exists() else "the runner ended without a word"


def reported(folder: Path) -> dict[str, str] | None:
    """The files of a report that hold no times; None if there is no report, ValueError if it is not whole."""
    if not folder.exists():
        return None
    told = json.loads((folder / "provenance.json").read_text())
    if not told.get("files") or told["files"] != provenance.hashes(folder):
        raise ValueError(f"{folder} is not whole")
    if missing := [pattern for pattern in runner.DELIVERABLES if not any(folder.glob(pattern))]:
        raise ValueError(f"{folder} has no {missing}")
    return {name: (folder / name).read_text() for name in FILES}


def beside(root: Path) -> list[str]:
    """What a run has left in the reports folder, beside reports."""
    return [path.name for path in (root / "reports" / "quick").glob(".*")]


def runs(wanted: int = 300, at_once: int = 16) -> Iterator[Row]:
    names = [f"0{i}_small" for i in range(2, 6)]
    with workbook(SMALL, NUMBER, names=names) as root:
        going: dict[int, multiprocessing.Process] = {}
        good, start = 0, time.monotonic()
        for i in range(wanted + at_once):
            if i >= at_once or i >= wanted:
                if (old := going.pop(i - at_once, None)) is not None:
                    old.join()
                    good += (root / f"{i - at_once}").read_text() == ""
                if i % 20 == 0:
                    say(f"{i} runs begun, {time.monotonic() - start:.0f} s")
            if i < wanted:
                going[i] = begun(names[i % len(names)], i, root / f"{i}")
        whole = sum(reported(root / "reports" / "quick" / name) is not None for name in names)
        took = f"{time.monotonic() - start:.0f} s; {whole} of {len(names)} reports whole, {len(beside(root))} left over"
        yield f"runs of {len(names)} notebooks, {at_once} at a time", good, wanted, f"end without an error; {took}"


def below(process: multiprocessing.Process, who: str) -> psutil.Process | None:
    """The runner, its child or the kernel, if it is there now."""
    with contextlib.suppress(psutil.Error):
        one = psutil.Process(process.pid)
        word = {"child": "workbook.child", "kernel": "ipykernel_launcher"}.get(who)
        for found in [one] if word is None else one.children(recursive=True):
            if word is None or word in " ".join(found.cmdline()):
                return found
    return None


def seen(root: Path, who: str, n: int, delay: float) -> bool:
    """Whether a run's process could be killed so many seconds after it had begun, before it had ended."""
    process = begun("02_small", n, None, root.parent / "log")
    victim = None
    while victim is None and process.is_alive():
        victim = below(process, who)
        time.sleep(0.01)
    process.join(delay)
    hit = process.is_alive() and victim is not None
    with contextlib.suppress(psutil.Error):
        victim.kill() if hit else None
    process.join()
    return hit


def lifetimes(root: Path) -> dict[str, float]:
    """Seconds that runner, child and kernel live for in a run that nobody disturbs."""
    process, found, last = begun("02_small", 3, None, root.parent / "log"), {}, {}
    while process.is_alive():
        for who in WHO:
            if below(process, who):
                found.setdefault(who, time.monotonic())
                last[who] = time.monotonic()
        time.sleep(0.02)
    return {who: last[who] - found[who] for who in found}


def alive(root: Path) -> list[str]:
    """Processes of a workbook's notebooks that have not ended half a minute later: the machine may be busy."""
    end = time.monotonic() + 30
    while True:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get("INFOLIB_REPORT", "").startswith(str(root))
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline())[:80])
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.05)


def kills(wanted: int = 50, lanes: int = 6) -> Iterator[Row]:
    with ProcessPoolExecutor(lanes, multiprocessing.get_context("fork")) as pool:
        share = [len(range(i, wanted, lanes)) for i in range(lanes)]
        found = [one for lane in pool.map(killed, range(lanes), share) for one in lane]
    died = ", ".join(f"{sum(one[0] == who for one in found)} of a {who}" for who in WHO)
    whole, same, nothing = (sum(one[i] for one in found) for i in (1, 2, 3))
    yield f"kills at a random moment: {died}", whole, wanted, "the report is the former one, absent, or whole"
    yield "the same run after the kill", same, wanted, "goes on and gives the same bytes"
    yield "what is left after both", nothing, wanted, "no process, no socket and no folder"


def killed(lane: int, wanted: int) -> list[tuple[str, bool, bool, bool]]:
    """Who was killed; whether the report was whole or absent, the next run had the same bytes, and nothing was left."""
    CHOICE.seed(lane)
    found: list[tuple[str, bool, bool, bool]] = []
    with workbook(SMALL, f"import time; time.sleep(1)\n{NUMBER}" if lane % 2 else TABLE) as root:
        folder, long, expected = root / "reports" / "quick" / "02_small", lifetimes(root), {}
        for n in (3, 4, 5):
            message(root, n)
            expected[n] = reported(folder)
        while len(found) < wanted:
            who, n = WHO[(len(found) + lane) % 3], 3 + len(found) % 3
            shutil.rmtree(root / "cache", ignore_errors=True)
            former = reported(folder) if CHOICE.random() < 0.5 else shutil.rmtree(folder)
            if not seen(root, who, n, CHOICE.uniform(0, long[who])):
                continue
            others, whole = alive(root), False
            sockets = [Path("/tmp") / f"infolib{path.suffix}" for path in folder.parent.glob(".0*")]
            with contextlib.suppress(ValueError, OSError):
                whole = reported(folder) in (former, expected[n])
            again = message(root, n)
            same = again == "" and reported(folder) == expected[n] != expected[3 + (n + 1) % 3]
            others += beside(root) + [path.name for path in sockets if path.exists()]
            found.append((who, whole, same, not others))
            say(f"{len(found)} of {wanted} in lane {lane}: {found[-1]} {again} {others or ''}")
    return found


def entry(i: int) -> dict[str, torch.Tensor]:
    return {"a": torch.arange(5) + i, "b": torch.full((3, 2), i / 7)}


def rows(i: int) -> pd.DataFrame:
    return pd.DataFrame({"i": [i, -i], "word": ["a", "b"], "kind": pd.Categorical(["x", "y"]), "half": i / 2})


def damaged(content: bytes, i: int) -> bytes:
    """Cut at a random byte, one bit turned, or emptied."""
    at = CHOICE.randrange(len(content))
    turned = bytes([content[at] ^ 1 << CHOICE.randrange(8)])
    flipped = content[:at] + turned + content[at + 1 :]
    return (content[:at], flipped, flipped, b"")[i % 4]


def cache(wanted: int = 1000) -> Iterator[Row]:
    with workbook(SMALL, NUMBER):
        half = wanted // 2
        cases = [(i,) for i in range(half)]
        table, tensors = store.tabulate(rows, cases), [store.cached(entry, i) for i in range(half)]
        files = sorted(store.folder().glob("*/*.safetensors"))
        for i, file in enumerate(files):
            file.write_bytes(damaged(file.read_bytes(), i))
        before = [file.read_bytes() for file in files]
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            same, again = store.tabulate(rows, cases), [store.cached(entry, i) for i in range(half)]
        renewed = sum(file.read_bytes() != old for file, old in zip(files, before, strict=True))
        wrong = sum(not torch.equal(a[key], b[key]) for a, b in zip(again, tensors, strict=True) for key in a)
        wrong += int((same.to_numpy() != table.to_numpy()).any(1).sum())
        noticed = sum("is not used and is computed again" in str(one.message) for one in told)
        say(f"{noticed} noticed, {renewed} renewed, {wrong} values wrong")
        good = min(noticed, renewed) if not wrong else 0
        what = "entries of the cache cut, emptied, or with one bit turned"
        yield what, good, len(files), f"noticed and computed again; {wrong} wrong values"


@contextlib.contextmanager
def small_disk(place: Path, size: int) -> Iterator[None]:
    """A folder on a disk of its own, of so many bytes."""
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", place], capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(f"a small disk cannot be mounted: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path, left: int) -> Path:
    """Write a file until so many bytes are left."""
    free = os.statvfs(place)
    path = place / "filler"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        for _ in range((free.f_bavail * free.f_frsize - left) // 4096):
            file.write(bytes(4096))
    return path


def disks() -> Iterator[Row]:
    lefts = [0, 8192, 65536]
    for what, part in DISKS:
        good, texts = 0, []
        for left in lefts:
            with workbook(SMALL, TABLE if part == "cache" else NUMBER) as root:
                if part == "tmp":
                    os.environ["TMPDIR"] = str(root / "tmp")
                try:
                    with small_disk(root / part, 2**21):
                        good += survived(root, root / part, left, texts)
                except PermissionError as error:
                    say(f"skipped: {error}")
                    return
                finally:
                    os.environ.pop("TMPDIR", None)
            say(f"{what}, {left} bytes left: {texts[-1]}")
        ended = sum(text != "" for text in texts)
        means = f"right results, or a message that says why ({ended}) and the former report; then the same run goes on"
        yield f"runs with a full disk for {what}, 0 to {lefts[-1] // 1024} kB left", good, len(lefts), means


def survived(root: Path, disk: Path, left: int, texts: list[str]) -> bool:
    """Whether a run on a full disk gives the right report, or a message and the former one, and then goes on."""
    folder = root / "reports" / "quick" / "02_small"
    tempfile.tempdir = None
    first = message(root, 3)
    former = reported(folder)
    shutil.rmtree(root / "cache", ignore_errors=True) if disk.name != "cache" else None
    filler = fill(disk, left)
    texts.append(message(root, 4, log=root.parent / "log"))
    found = reported(folder)
    kept = found == former and "o space left" in texts[-1]
    filler.unlink()
    again = message(root, 4)
    renewed = reported(folder)
    right = (
        first == again == ""
        and renewed is not None
        and renewed["results.csv"].startswith(("n\n4\n", "n,case,root\n4,0,2.0"))
    )
    return right and (kept if texts[-1] else found == renewed) and beside(root) == []


def namespaces(pairs: int = 5) -> Iterator[Row]:
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        say("skipped: no new pid namespace may be made here")
        return
    command += [sys.executable, "-c", "from workbook import run; print(run.run(['02'])[0].error)"]
    good = survivors = 0
    with workbook(SMALL, "import time; time.sleep(2)", NUMBER) as root:
        folder = root / "reports" / "quick" / "02_small"
        for i in range(2 * pairs):
            shutil.rmtree(root / "reports", ignore_errors=True)
            both = [subprocess.Popen(command, stdout=-1, text=True) for _ in range(2)]
            if i >= pairs:  # one of the two is killed while it works
                while len(list(folder.parent.glob(".02_small.*/report"))) < 2 and both[0].poll() is None:
                    time.sleep(0.05)
                time.sleep(CHOICE.uniform(0, 2))
                both[0].kill()
            said = [one.communicate()[0].strip() for one in both]
            whole = reported(folder) is not None
            good += i < pairs and said == ["None", "None"] and whole and beside(root) == []
            survivors += i >= pairs and said[1] == "None" and whole
            say(f"pair {i + 1}: {said}, left {beside(root)}")
        what = "of one notebook at once in one folder, from two pid namespaces"
        yield f"two runs {what}", good, pairs, "both end without an error, and nothing is left"
        yield f"two runs {what}, one of them killed", survivors, pairs, "the other one's report is whole"


def serve(port: int, folder: Path, kind: str) -> None:
    """A scheduler, or a worker of it, until it is killed."""
    from distributed import Scheduler, Worker

    logging.getLogger("distributed").setLevel(logging.CRITICAL)

    async def live() -> None:
        if kind == "scheduler":
            one = Scheduler(host="127.0.0.1", port=port, dashboard=False)
        else:
            one = Worker(f"tcp://127.0.0.1:{port}", nthreads=1, local_directory=folder, death_timeout=300)
        async with one:
            await one.finished()

    asyncio.run(live())


@contextlib.contextmanager
def cluster(folder: Path, port: int) -> Iterator[Callable[[], list[Any]]]:
    """A scheduler and two workers, which have their imports; what is yielded begins those again that have ended."""
    from distributed import Client

    from workbook.cluster import connected

    os.environ["INFOLIB_SCHEDULER"] = address = f"tcp://127.0.0.1:{port}"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["distributed", "nbformat", "torch", "workbook.run"])
    begun: list[Any] = [None, None, None]

    def renewed() -> list[Any]:
        for i, kind in enumerate(["scheduler", "worker", "worker"]):
            if begun[i] is None or not begun[i].is_alive():
                begun[i] = context.Process(target=serve, args=(port, folder, kind), daemon=True)
                begun[i].start()
        with Client(address, timeout=300, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=300)
        return begun

    try:
        yield renewed
    finally:
        connected.cache_clear()
        for process in filter(None, begun[::-1]):
            process.kill()
            process.join()


def slow(log: str, i: int) -> pd.DataFrame:
    time.sleep(0.2)
    with open(log, "a") as file:
        file.write(f"{i}\n")
    return pd.DataFrame({"i": [i], "root": i**0.5})


def table(log: Path, i: int, n: int = 24) -> tuple[str, bool]:
    """What `tabulate` says, and whether all rows are right."""
    try:
        found = store.tabulate(slow, [(str(log), 100 * i + case) for case in range(n)])
    except (ConnectionError, ValueError) as error:
        return str(error), False
    return "", found["i"].tolist() == [100 * i + case for case in range(n)]


def later(seconds: float, act: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer


def workers(wanted: int = 20) -> Iterator[Row]:
    good = 0
    with workbook(SMALL, NUMBER) as root, cluster(root.parent, 8798) as renewed:
        for i in range(wanted):
            victim = CHOICE.choice(renewed()[1:])
            timer = later(CHOICE.uniform(0, 2), victim.kill)
            said, right = table(root.parent / "log", i)
            timer.join()
            victim.join()
            good += right
            say(f"{i + 1} of {wanted}, worker {victim.pid} killed: {said or 'all rows'}")
    yield "kills of one of two Dask workers at a random moment", good, wanted, "all rows, without an error"


def scheduler(wanted: int = 5) -> Iterator[Row]:
    good, ended, waits, held = 0, 0, [], []
    with workbook(SMALL, NUMBER) as root:
        for i in range(3 * wanted):
            if ended == wanted:
                break
            log, died = root.parent / f"log{i}", []
            with cluster(root.parent, 8799) as renewed:
                first = renewed()[0]

                def end(first: Any = first, died: list[float] = died, log: Path = log, begun: bool = i > 0) -> None:
                    while begun and not log.exists():  # but for the first time, once cases are computed
                        time.sleep(0.05)
                    time.sleep(CHOICE.uniform(0, 2.4))
                    first.kill()
                    died.append(time.monotonic())

                timer = later(0, end)
                said, whole = table(log, i)
                waits.append(time.monotonic() - died[0] if died else 0)
                timer.join()
            if whole:  # before that
                continue
            ended += 1
            kept = len(list((store.folder() / "slow").glob("*.safetensors"))) - 24 * i
            before = len(log.read_text().split()) if log.exists() else 0
            with cluster(root.parent, 8799) as renewed:
                renewed()
                _, right = table(log, i)
            again = len(log.read_text().split()) - before
            held.append(kept)
            good += right and "has gone" in said and again == 24 - kept
            say(f"scheduler killed with {kept} of 24 rows kept: {said}; then {again} computed, {right}")
    means = f"a message after {max(waits):.0f} s at most; of 24 rows {held} are kept, and then only the others computed"
    yield "ends of the Dask scheduler at a random moment", good, wanted, means


PARTS: dict[str, Callable[..., Iterator[Row]]] = {
    "runs": runs, "kills": kills, "workers": workers, "scheduler": scheduler,
    "cache": cache, "disks": disks, "namespaces": namespaces,
}  # fmt: skip


def written(path: Path, part: str, found: Sequence[Row]) -> None:
    """Put the rows of a part in the place of its former ones."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    old = [line for line in text.splitlines() if line.startswith(tuple(f"| {name} |" for name in PARTS))]
    commit = (provenance.describe()["commit"] or "–")[:9]
    new = [f"| {part} | {what} | {good} of {of} | {means} | {commit} |" for what, good, of, means in found]
    lines = [line for line in old if not line.startswith(f"| {part} |")] + new
    lines.sort(key=lambda line: [*PARTS].index(line.split("|")[1].strip()))
    head = [
        "# Reliability",
        "",
        "Written by `make faults`: what was done to the workbook on one machine, how often it went well. A run is of",
        "a small notebook, with runner, child and kernel. `python -m benchmarks.faults kills` does one part again;",
        "rows of the others stay. The commit is that of the run.",
        "",
        "| part | what was done | went well | that is | commit |",
        "|---|---|---|---|---|",
    ]
    path.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none is given")
    parser.add_argument("--number", type=int, help="of runs, kills or entries, except of `disks` (each part's own)")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "reliability.md", help="file to write")
    given = parser.parse_args()
    if unknown := {*given.parts} - {*PARTS}:
        parser.error(f"PART must be of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    if len(given.parts) != 1:
        own = [sys.executable, "-m", "benchmarks.faults", "--out", given.out]
        own += ["--number", f"{given.number}"] if given.number else []
        return max(subprocess.run([*own, part]).returncode for part in given.parts or PARTS)
    (part,) = given.parts
    print(part, flush=True)
    found = list(PARTS[part](*([given.number] if given.number and part != "disks" else [])))
    for what, good, of, means in found:
        print(f"{what}: {good} of {of} ({means})", flush=True)
    if found:
        os.environ["INFOLIB_ROOT"] = str(ROOT)
        written(given.out, part, found)
    return int(any(good < of for _, good, of, _ in found))


if __name__ == "__main__":
    sys.exit(main())
