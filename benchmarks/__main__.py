"""Measure every row and write reports/benchmarks.md.

Ours and the reference take turns, one thread, and the least processor time of several turns counts. A row whose two
outputs differ by more than its tolerance is an error, not a row.
"""

import ctypes
import gc
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import torch

from benchmarks import looks, scaling
from benchmarks.rows import Row, all_rows, closed_forms, coverage, discarding_errors, resnet18, stated_errors
from infolib.measures import discarding
from workbook import root


class Measured(NamedTuple):
    ours: float  # seconds
    reference: float
    ours_memory: float | None  # bytes above the start
    reference_memory: float | None
    difference: float
    limit: float | None  # seconds

    def reaches(self, row: Row) -> bool:
        """Whether the row's goals are reached, in time and in memory."""
        ratio = self.reference / self.ours
        fast = ratio <= row.goal if row.at_most else ratio >= row.goal
        sizes = self.ours_memory, self.reference_memory
        return fast and (not row.memory or None in sizes or sizes[1] >= row.memory * sizes[0])


def measure(row: Row) -> Measured:
    difference = float((torch.as_tensor(row.ours()) - torch.as_tensor(row.reference())).abs().max())
    if not difference <= row.tolerance:
        raise ValueError(f"{row.name}: outputs differ by {difference:g}, more than {row.tolerance:g}")
    limit = row.limit[1] if row.limit else lambda: None
    times: dict[Callable, list[float]] = {row.ours: [], row.reference: [], limit: []}
    for _ in range(row.turns):
        for call, taken in times.items():
            start = time.process_time()
            call()
            taken.append(time.process_time() - start)
    ours, reference, least = map(min, times.values())
    return Measured(ours, reference, peak(row.ours), peak(row.reference), difference, least if row.limit else None)


def peak(call: Callable[[], Any]) -> float | None:
    """Peak resident memory of one call above what was there before, where Linux tells it."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # freed memory that is kept would hide what the call takes
    reset.write_text("5")  # forget the former peak
    before = _high_water(status)
    call()
    return _high_water(status) - before


def _high_water(status: Path) -> float:
    return 1024 * float(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])


def line(row: Row, m: Measured) -> str:
    """A row of the table."""
    limit = f"{1e3 * m.limit:.1f} ms: {row.limit[0]}" if row.limit and m.limit is not None else "–"
    memory = ["–" if b is None else f"{b / 2**20:.0f} MiB" for b in (m.ours_memory, m.reference_memory)]
    goal = f"at {'most' if row.at_most else 'least'} {row.goal:.3g} ×"
    goal += f", {row.memory:g} × less memory" * (row.memory > 0) + ", **missed**" * (not m.reaches(row))
    return (
        f"| {row.name} | {1e3 * m.ours:.1f} ms | {limit} | {1e3 * m.reference:.1f} ms | {m.reference / m.ours:.2f} × "
        f"| {goal} | {memory[0]} | {memory[1]} | {m.difference:.1g} |"
    )


def table(rows: list[tuple[Row, Measured]]) -> str:
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`: processor time, one thread, the least of 5 turns (1 or 2 of slow rows), ours and the "
        "reference taking turns in one process; memory is the peak above the start of one call. Ratios carry over to "
        "other machines, seconds do not. The limit is work that no implementation can do without, timed beside ours.",
        "",
        f"{platform.machine()}, torch {torch.__version__}. {sum(m.reaches(row) for row, m in rows)} of {len(rows)} "
        "rows reach their goal; a missed one says so.",
        "",
        "| what | ours | limit | reference | ratio | goal | memory, ours | memory, reference | largest difference |",
        "|---|---|---|---|---|---|---|---|---|",
        *(line(row, m) for row, m in rows),
    ]
    lines += [
        "",
        "## Error against closed forms",
        "",
        "In bits: one value where the answer is exact; mean ± standard deviation of 20 seeds where it is sampled.",
        "",
        "| what | truth | error |",
        "|---|---|---|",
    ]
    for name, truth, values in closed_forms():
        errors = [value - truth for value in values]
        sampled = len(errors) > 1
        error = f"{mean(errors):.3f} ± {stdev(errors):.3f}" if sampled else f"{abs(errors[0]):.0e}"
        lines.append(f"| {name} | {truth:.6f} | {error} |")
    lines += [
        "",
        "## Coverage of intervals",
        "",
        "How many of 300 intervals of `subsampling_interval`, of 30 subsamples each and at level 0.95, hold the "
        "estimator's expectation, which is the mean of 900 estimates.",
        "",
        "| what | n | coverage |",
        "|---|---|---|",
        *(f"| {name} | {n} | {covered:.3f} |" for name, n, covered in coverage()),
        "",
        "## Stated standard errors",
        "",
        "Entropies by stochastic Lanczos quadrature, n = 2,000, α = 1.01: bias and rms error of 100 draws in bits, and "
        "how many hold the exact value within two of their standard errors.",
        "",
        "| what | bias | rms error | held |",
        "|---|---|---|---|",
        *(f"| {name} | {bias:.4f} | {rms:.4f} | {held} |" for name, bias, rms, held in stated_errors()),
        *large_image(),
        *scaling.section(root() / "reports"),
        *looks.section(root() / "reports"),
    ]
    return "\n".join(lines) + "\n"


def large_image() -> list[str]:
    """Errors of information discarding, and what one image of 224 px takes."""
    lines = [
        "",
        "## Errors of information discarding",
        "",
        "In bits, of several seeds against the same σ on 4,096 fresh samples of noise (1,024 for resnet18), and the "
        "root mean square of errors over their stated standard errors. The goal: an rms error as asked for, a "
        "bias within .01, and stated errors right within a factor of 1.2.",
        "",
        "| what | layer | error asked for | rms error | bias | error / stated | goal |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, layer, error, rms, bias, over in discarding_errors():
        goal = "reached" if rms <= error and abs(bias) <= 0.01 and over <= 1.2 else "**missed**"
        lines.append(f"| {name} | {layer} | {error:g} | {rms:.4f} | {bias:+.4f} | {over:.2f} | {goal} |")
    net, x = resnet18(), torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    for layer in ("layer1", "layer4"):
        measure = partial(discarding.strict_information_discarding, net, x, layer, grid=16)
        start = time.process_time()
        measure()
        taken, memory = time.process_time() - start, peak(measure)
        at_most = "" if memory is None else f", {memory / 2**20:.0f} MiB (2,048)"
        lines += ["", f"An untrained resnet18 at 224 px, one image, {layer}: {taken:.1f} s (6 s at most){at_most}."]
    return lines


def main() -> None:
    torch.set_num_threads(1)
    measured = []
    for row in all_rows():
        measured.append((row, measure(row)))
        print(line(*measured[-1]), flush=True)
    (root() / "reports" / "benchmarks.md").write_text(table(measured), encoding="utf-8")


if __name__ == "__main__":
    main()
