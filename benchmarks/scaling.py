"""Time and memory of one matrix-based entropy against n: `python -m benchmarks.scaling`.

Each measurement is a process of its own, so that its peak memory is that of nothing else. Rows that
reports/scaling.csv holds already are kept: a run that was ended goes on where it was, and without the file it begins
anew. Then reports/scaling.png is drawn. Numbers as arguments are the sizes to measure, in place of all.
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from infolib.estimators import lanczos, renyi
from workbook import cluster, root

SIZES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
MEMORY = 3.1e9  # bytes that the quadrature may work in: the process stays below 4 GB
TWO = ("quadrature, α = 1.01, two threads", "quadrature, α = 1.01, two workers of Dask")  # at one n, by their wall time
METHODS = {
    "quadrature, α = 1.01": lambda x, width: lanczos.entropy(x, width=width, memory=MEMORY),
    "all eigenvalues, α = 1.01": lambda x, width: lanczos.Estimate(
        renyi.entropy(renyi.gram(x, width=width)), torch.zeros(())
    ),
    "sum of squares, α = 2": lambda x, width: lanczos.entropy(x, width=width, alpha=2, memory=MEMORY),
} | dict.fromkeys(TWO, lambda x, width, **options: lanczos.entropy(x, width=width, memory=MEMORY, **options))
MOST = {"all eigenvalues, α = 1.01": 10_000}  # samples: beyond, it takes hours and many GB


def images(n: int) -> tuple[torch.Tensor, float]:
    """Samples like images, 784 pixels of 30 factors and noise, float32; and half their root mean square distance."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n, 30, generator=generator) @ torch.randn(30, 784, generator=generator)
    x += torch.randn(n, 784, generator=generator) / 10
    return x, 0.5 * float(2 * x.var(0, correction=0).sum()) ** 0.5


@contextmanager
def options(method: str) -> Iterator[dict[str, Any]]:
    """What the methods of `TWO` take besides, once the workers have begun."""
    torch.set_num_threads(2 if method == TWO[0] else 1)
    if method != TWO[1]:
        yield {}
        return
    from distributed import Client, LocalCluster

    how = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**how) as local, Client(local) as client:
        client.run(images, 10)  # which imports torch
        yield {"shared": cluster.shared(client)}


def measured(method: str, n: int) -> dict[str, float]:
    """Bits, seconds and bytes of one entropy, in the process that calls it; the samples are drawn before."""
    x, width = images(n)
    with options(method) as given:
        cpu, wall = time.process_time(), time.perf_counter()
        value, error = METHODS[method](x, width, **given)
        seconds = {"processor_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    return {"bits": float(value), "standard_error": float(error)} | seconds | {"peak_bytes": peak()}


def peak() -> int:
    """Bytes that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def apart(function: Callable[..., dict[str, float]], *args: Any) -> dict[str, float]:
    """What a function gives in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *args).result()


def measure(path: Path, sizes: Sequence[int]) -> None:
    """A row of the file for each method and n, written as soon as it is there."""
    for n, method in product(sizes, METHODS):
        rows = pd.read_csv(path).to_dict("records") if path.exists() else []
        if (
            n > MOST.get(method, n)
            or (method in TWO and n != 20_000)
            or any((row["method"], row["n"]) == (method, n) for row in rows)
        ):
            continue
        found = apart(measured, method, n)
        print(f"{method}, n = {n:,}: {found['processor_s']:.1f} s, {found['peak_bytes'] / 1e9:.2f} GB", flush=True)
        rows = pd.read_csv(path).to_dict("records") if path.exists() else []  # another process may have added some
        rows.append({"method": method, "n": n} | found)
        rows.sort(key=lambda row: ([*METHODS].index(row["method"]), row["n"]))
        pd.DataFrame(rows).to_csv(path, index=False, float_format="%.6g")


def draw(table: pd.DataFrame, path: Path) -> None:
    """Processor time, and the peak memory of the process, against n."""
    import matplotlib.pyplot as plt  # not in the processes that are measured

    from infolib import plotting

    plotting.theme()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.6), layout="constrained")
    for i, (method, rows) in enumerate(table[~table["method"].isin(TWO)].groupby("method", sort=False)):
        style = {"color": f"C{i}", "marker": "o", "ms": 4}
        left.plot(rows["n"], rows["processor_s"], label=method, **style)
        right.plot(rows["n"], rows["peak_bytes"] / 1e9, label=method, **style)
    left.set(ylabel="processor time of one entropy  [s]")
    right.set(ylabel="peak memory of the process  [GB]")
    for ax in (left, right):
        ax.set(xscale="log", yscale="log", xlabel="samples n of 784 features")
        ax.set_xticks(SIZES, [f"{n:,}" for n in SIZES], fontsize="small")
        ax.minorticks_off()
    right.set_yticks(ticks := [0.5, 1, 2, 4], [f"{tick:g}" for tick in ticks])
    left.legend(fontsize="x-small")
    path.write_bytes(plotting.light_png(figure))
    plt.close(figure)


def section(folder: Path) -> list[str]:
    """Lines for benchmarks.md: the figure and its numbers, if they are there."""
    if not (folder / "scaling.csv").exists():
        return []
    table = pd.read_csv(folder / "scaling.csv")
    exact = table[table["method"] == "all eigenvalues, α = 1.01"].set_index("n")["bits"]
    lines = [
        "",
        "## Large n",
        "",
        "One entropy of samples of 784 features, float32, on one thread: processor time, wall time on a machine that "
        f"others used, and peak memory of the whole process. The quadrature has `memory={MEMORY:.2g}`; up to n = 3,000 "
        "it takes all eigenvalues, in float64. "
        "Two threads and two workers are there to be compared by their wall time; "
        "processor time and memory of the latter are those of the process that asks them. "
        "Error: against all eigenvalues of the float32 Gram. Written by "
        "`python -m benchmarks.scaling`, numbers in [scaling.csv](scaling.csv).",
        "",
        "![time and memory against n](scaling.png)",
        "",
        "| method | n | bits | standard error | error | processor | wall | memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        other = row.method.startswith("quadrature") and row.n in exact.index
        error = f"{row.bits - exact[row.n]:+.4f}" if other else "–"
        lines.append(
            f"| {row.method} | {row.n:,} | {row.bits:.4f} | {row.standard_error:.4f} | {error} "
            f"| {row.processor_s:.1f} s | {row.wall_s:.1f} s | {row.peak_bytes / 1e9:.2f} GB |"
        )
    return lines


if __name__ == "__main__":
    reports = root() / "reports"
    measure(reports / "scaling.csv", [int(n) for n in sys.argv[1:]] or SIZES)
    draw(pd.read_csv(reports / "scaling.csv"), reports / "scaling.png")
