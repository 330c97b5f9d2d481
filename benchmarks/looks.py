"""Time and memory of each lens against layers and images: `python -m benchmarks.looks`.

As in `benchmarks.scaling` each measurement is a process of its own, and rows that reports/looks.csv holds are kept.
Then reports/looks.png is drawn.
"""

import time
from pathlib import Path

import pandas as pd
import torch

from benchmarks import scaling
from infolib import Data
from infolib.measures import lenses
from workbook import models, root

LAYERS = (1, 2, 4, 8)  # of nine blocks of a ResNet-20, evenly spaced
IMAGES = (64, 128, 256, 512)
HERE = (4, 256)  # layers and images, the ones where the other is varied
EACH = 64  # images of other lenses for one of information discarding, which is far slower


def images(lens: str, n: int) -> int:
    """How many images a lens takes where others take n."""
    return n // EACH if lens == "discarding" else n


def measured(lens: str, layers: int, n: int) -> dict[str, float]:
    """Processor time and bytes of one lens without baselines, in the process that calls it."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    data = Data(torch.rand(2 * n, 3, 32, 32, generator=generator), torch.arange(2 * n) % 10)
    model, size = models.resnet(20, seed=0).eval(), images(lens, n)
    start = time.process_time()
    table = lenses.look(model, data, layers, lenses=[lens], beside=(), **{lens: {"n": size}})
    taken = time.process_time() - start
    if table["value"].isna().all():
        raise ValueError(f"{lens} measured nothing: {table['why not'].unique()}")
    return {"processor_s": taken, "peak_bytes": scaling.peak()}


def measure(path: Path) -> None:
    """A row of the file for each lens, number of layers and of images, written as soon as it is there."""
    cases = dict.fromkeys([(k, HERE[1]) for k in LAYERS] + [(HERE[0], n) for n in IMAGES])
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    for lens in lenses.LENSES:
        for layers, n in cases:
            if any((row["lens"], row["layers"], row["images"]) == (lens, layers, images(lens, n)) for row in rows):
                continue
            found = scaling.apart(measured, lens, layers, n)
            rows.append({"lens": lens, "layers": layers, "images": images(lens, n)} | found)
            print(f"{lens}, {layers} layers, {images(lens, n)} images: {found['processor_s']:.1f} s", flush=True)
            pd.DataFrame(rows).to_csv(path, index=False, float_format="%.6g")


def draw(table: pd.DataFrame, path: Path) -> None:
    """Processor time of a lens against layers, and against images."""
    import matplotlib.pyplot as plt  # not in the processes that are measured

    from infolib import plotting

    plotting.theme()
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.6), layout="constrained", sharey=True)
    for i, (lens, rows) in enumerate(table.groupby("lens", sort=False)):
        here = images(lens, HERE[1])
        name = f"{lens}, 1 image for {EACH}" if lens == "discarding" else lens
        each = {"layers": rows[rows["images"] == here], "images": rows[rows["layers"] == HERE[0]]}
        for ax, (axis, of) in zip(axes, each.items(), strict=True):
            of = of.sort_values(axis)
            x = of[axis] * (EACH if (lens, axis) == ("discarding", "images") else 1)
            ax.plot(x, of["processor_s"], label=name.replace("_", " "), color=f"C{i}", marker="o", ms=4)
    labels = {f"layers, at {HERE[1]} images": LAYERS, f"images, at {HERE[0]} layers": IMAGES}
    for ax, (label, ticks) in zip(axes, labels.items(), strict=True):
        ax.set(xscale="log", yscale="log", xlabel=label)
        ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        ax.minorticks_off()
    axes[0].set_ylabel("processor time  [s]")
    axes[1].legend(fontsize="x-small")
    path.write_bytes(plotting.light_png(figure))
    plt.close(figure)


def section(folder: Path) -> list[str]:
    """Lines for benchmarks.md: the figure, and by how much twice as many layers or images take longer."""
    if not (folder / "looks.csv").exists():
        return []
    table = pd.read_csv(folder / "looks.csv").set_index(["lens", "layers", "images"])
    lines = [
        "",
        "## Layers and images",
        "",
        "One lens of an untrained ResNet-20, images of 32 px, without baselines, on one thread: processor time and "
        f"peak memory of the whole process. Information discarding takes one image where others take {EACH}. The last "
        "two columns: how many times as long twice as many layers or images take. Written by "
        "`python -m benchmarks.looks`, numbers in [looks.csv](looks.csv).",
        "",
        "![time against layers and images](looks.png)",
        "",
        f"| lens | {HERE[0]} layers, {HERE[1]} images | memory | layers | images |",
        "|---|---|---|---|---|",
    ]
    for lens in dict.fromkeys(table.index.get_level_values("lens")):
        k, n = HERE
        cases = [(lens, a, images(lens, b)) for a, b in ((k, n), (2 * k, n), (k, 2 * n))]
        if not {*cases} <= {*table.index}:  # a run that was ended
            continue
        here, wide, many = (table.loc[case] for case in cases)
        ratios = [other["processor_s"] / here["processor_s"] for other in (wide, many)]
        lines.append(
            f"| {lens.replace('_', ' ')} | {here['processor_s']:.1f} s | {here['peak_bytes'] / 1e9:.2f} GB "
            f"| {ratios[0]:.1f} × | {ratios[1]:.1f} × |"
        )
    return lines


if __name__ == "__main__":
    reports = root() / "reports"
    measure(reports / "looks.csv")
    draw(pd.read_csv(reports / "looks.csv"), reports / "looks.png")
