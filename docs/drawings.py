"""The drawings of the site and the notebooks: `python docs/drawings.py` writes docs/drawings/*.svg."""

from html import escape
from itertools import pairwise
from pathlib import Path

import torch

from infolib.estimators import renyi

HERE = Path(__file__).parent / "drawings"
INK, PAPER, PALE, BLUE, ORANGE = "#1a1a1a", "#ffffff", "#e9edf2", "#1b6ca8", "#b3500e"


def text(x: float, y: float, words: str, *, size: int = 14, anchor: str = "middle", fill: str = INK) -> str:
    """Words at a place; what stands between underscores is italic."""
    parts = escape(words).split("_")
    inner = "".join(f'<tspan font-style="italic">{p}</tspan>' if i % 2 else p for i, p in enumerate(parts))
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">{inner}</text>'


def box(x: float, y: float, width: float, height: float, fill: str = PALE, stroke: str = INK) -> str:
    """A rectangle."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" stroke="{stroke}"/>'


def path(d: str, *, stroke: str = INK, width: float = 1.5, end: bool = False, dash: str = "") -> str:
    """A line, perhaps with an arrow's head at its end."""
    marker = ' marker-end="url(#head)"' if end else ""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="{d}" fill="none" stroke="{stroke}" stroke-width="{width:g}"{dashes}{marker}/>'


def dot(x: float, y: float, radius: float, fill: str = PAPER) -> str:
    """A circle."""
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{fill}" stroke="{INK}"/>'


def drawing(title: str, description: str, width: int, height: int, parts: list[str]) -> str:
    """A whole picture on white paper, which is readable on a dark page too."""
    head = (
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" fill="{INK}"/></marker>'
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'aria-labelledby="title desc" font-family="system-ui, sans-serif">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(description)}</desc>',
        f"<defs>{head}</defs>",
        f'<rect width="{width}" height="{height}" rx="6" fill="{PAPER}"/>',
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def chain() -> str:
    """X → T → Y: what a layer retains of the input and has about the label."""
    names = ["_X_", "_T_₁", "_T_₂", "_T_₃", "prediction"]
    below = ["input", "layer 1", "layer 2", "layer 3", "output"]
    parts = []
    for i, (name, what) in enumerate(zip(names, below, strict=True)):
        x, width = 150 + 115 * i, 90 if i == 4 else 70
        parts += [box(x, 110, width, 50), text(x + width / 2, 141, name, size=18 if i < 4 else 14)]
        parts += [text(x + width / 2, 180, what, size=12)]
        if i:
            parts.append(path(f"M{x - 45} 135H{x - 3}", end=True))
    parts += [box(25, 110, 70, 50, fill="#fbeee3"), text(60, 141, "_Y_", size=18), text(60, 180, "label", size=12)]
    parts.append(path("M95 135H147", end=True, dash="5 4"))
    parts += [path("M185 106C230 45 370 45 415 106", stroke=BLUE, width=2.5)]
    parts += [text(300, 50, "_I_(_X_;_T_₂), information about the input that layer 2 retains", fill=BLUE)]
    parts += [path("M60 190C130 255 345 255 415 190", stroke=ORANGE, width=2.5)]
    parts += [text(238, 260, "_I_(_T_₂;_Y_), information about the label that layer 2 has", fill=ORANGE)]
    description = (
        "A chain of boxes: the label Y, the input X, three layers T1 to T3, and the prediction. An arc joins "
        "X and T2, the information that the layer retains of the input. A second arc joins Y and T2, the "
        "information that the layer has about the label."
    )
    return drawing("A layer between input and label", description, 720, 280, parts)


def gram() -> str:
    """Samples, their Gram matrix and its spectrum, at three kernel widths."""
    x = torch.tensor([0.0, 0.15, 0.3, 0.5, 3.0, 3.2, 3.35, 3.5, 6.1, 6.25, 6.4, 6.6], dtype=torch.float64)[:, None]
    n, cell, parts = len(x), 12, [text(360, 26, "12 samples in three groups, in order", size=14)]
    parts += [path("M60 50H660", width=1)] + [dot(70 + 85 * float(v), 50, 4, BLUE) for v in x[:, 0]]
    for column, (width, word) in enumerate(((0.02, "narrow"), (0.6, "between"), (30.0, "wide"))):
        left, A = 40 + 230 * column, renyi.gram(x, width=width)
        parts.append(text(left + 90, 92, f"{word}: kernel width {width:g}"))
        for i in range(n):
            for j in range(n):
                grey = round(255 * (1 - float(A[i, j]) * n))
                fill = f"rgb({grey},{grey},{grey})"
                parts.append(box(left + 18 + cell * j, 102 + cell * i, cell, cell, fill=fill, stroke="#c8c8c8"))
        values = torch.linalg.eigvalsh(A).flip(0).clamp(min=0)
        for i, value in enumerate(values.tolist()):
            if height := round(100 * value, 1):
                parts.append(box(left + 19 + cell * i, 370 - height, cell - 2, height, fill=BLUE, stroke=BLUE))
        bits = float(renyi.entropy(A, alpha=2)) + 0.0
        parts += [path(f"M{left + 14} 370H{left + 166}", width=1), text(left + 90, 388, "eigenvalues", size=12)]
        parts.append(text(left + 90, 410, f"_S_₂ = {bits:.2f} bits"))
    parts.append(text(360, 440, "all samples differ: log₂ 12 = 3.58 bits; three groups: log₂ 3 = 1.58; all alike: 0"))
    description = (
        "Twelve points on a line in three groups. With a narrow kernel their Gram matrix is diagonal and its "
        "twelve eigenvalues are equal. With a width between, it has three blocks and three large eigenvalues. "
        "With a wide kernel all entries are alike and one eigenvalue is left. The entropy "
        "falls from 3.58 over 1.83 to 0.02 bits."
    )
    return drawing("A Gram matrix and its spectrum", description, 720, 456, parts)


def blocks() -> str:
    """Labels that are sent block by block, and what each costs."""
    ends, costs = [0, 8, 16, 32, 64], [3.32, 2.4, 1.3, 0.6]
    parts = [text(360, 28, "Both sides have the images. The labels are sent in blocks, each twice as long.")]
    left, unit = 60, 9.4
    for i, (begin, end) in enumerate(pairwise(ends)):
        x, width = left + unit * begin, unit * (end - begin)
        parts += [box(x, 60, width - 2, 34, fill=PALE if i else "#fbeee3"), text(x + width / 2, 82, str(end - begin))]
        height = 130 * costs[i] / 3.32
        parts.append(box(x, 290 - height, width - 2, height, fill="#cfe0ee", stroke=BLUE))
        if i:
            parts.append(path(f"M{left + 2} {104 + 12 * i}H{x - 4}", end=True))
    parts.append(
        text(left + unit * 64, 121, "training of sender and receiver on all labels sent", size=12, anchor="end")
    )
    parts += [path(f"M{left} 160H{left + unit * 64}", stroke=ORANGE, dash="7 4")]
    parts.append(
        text(left + unit * 64, 153, "uniform code: log₂ 10 = 3.32 bits per label", size=12, anchor="end", fill=ORANGE)
    )
    parts += [path(f"M{left} 160V290H{left + unit * 64}", width=1), text(left - 8, 296, "0", size=12, anchor="end")]
    parts += [text(360, 314, "labels sent", size=12), text(360, 340, "The area of the bars is the codelength in bits.")]
    description = (
        "Four blocks of 8, 8, 16 and 32 labels. The first costs 3.32 bits per label, as much as the uniform code. "
        "For each later block, sender and receiver train the same network on all labels that were sent so far, and "
        "a label costs less. The area of the bars is the codelength. Costs are an illustration."
    )
    return drawing("Sending labels block by block", description, 720, 356, parts)


def ablation() -> str:
    """Units of a layer that are clamped one after another, and the accuracy that is left."""
    columns = [(60, 4), (160, 6), (260, 3)]
    at = [[(x, 150 + 42 * (i - (n - 1) / 2)) for i in range(n)] for x, n in columns]
    parts = [path(f"M{a} {b:g}L{c} {d:g}", stroke="#9a9a9a", width=0.8)
             for left, right in pairwise(at) for a, b in left for c, d in right]  # fmt: skip
    parts += [dot(x, y, 13, PALE) for layer in at for x, y in layer]
    for x, y in at[1][:2]:
        parts += [dot(x, y, 13, "#fbeee3"), path(f"M{x - 8} {y - 8:g}l16 16m0 -16l-16 16", stroke=ORANGE, width=2.5)]
    parts += [text(160, 290, "two units clamped to a constant", size=13), text(160, 308, "(0, or their mean)", size=13)]
    left, top, bottom, right = 400, 50, 260, 680
    parts += [path(f"M{left} {top}V{bottom}H{right}", width=1), text(540, 296, "units clamped")]
    parts += [
        text(left - 8, top + 5, "1", anchor="end", size=12),
        text(left - 8, bottom + 4, "0", anchor="end", size=12),
    ]
    parts += [text(left + 2, bottom + 18, "0", size=12), text(right, bottom + 18, "all", size=12)]
    parts += [text(left - 6, top - 14, "accuracy", anchor="start", size=13)]
    steep = f"M{left} 62C440 66 450 170 520 205S640 236 {right} 239"
    parts += [path(f"M{left} 62C540 64 600 80 630 150S660 236 {right} 239", stroke=BLUE, width=2.5)]
    parts += [path(steep, stroke=ORANGE, width=2.5, dash="7 4")]
    parts += [path(f"M{left} 239H{right}", dash="2 4", width=1), text(right, 254, "guessing", anchor="end", size=12)]
    parts += [text(676, 66, "least informative first", anchor="end", size=12, fill=BLUE)]
    parts += [text(512, 196, "most informative first", anchor="start", size=12, fill=ORANGE)]
    description = (
        "Left, a network with a layer of six units, two of which are crossed out: their activations are clamped to a "
        "constant. Right, the accuracy falls from near 1 to guessing as more units are clamped. It falls early if the "
        "most informative units go first and late if the least informative go first. Curves are an illustration."
    )
    return drawing("Ablation", description, 720, 324, parts)


DRAWINGS = {"chain": chain, "gram": gram, "blocks": blocks, "ablation": ablation}

if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for name, draw in DRAWINGS.items():
        (HERE / f"{name}.svg").write_text(draw(), encoding="utf-8")
