"""Write reports/stability.md: the words of the quick profile under other seeds, against those that are committed.

Run before: for S in 100 200: `INFOLIB_SEED_SHIFT=S infolib run --name shiftS`.
"""

import re
import sys
from collections.abc import Iterator

import nbformat
import pandas as pd

from workbook import provenance, root, rule
from workbook import run as runner

OPPOSITE = {"reproduced", "not reproduced"}
WORDS = sorted([*rule.VERDICTS, *rule.CHECKED], key=len, reverse=True)  # "not reproduced" before "reproduced"


def committed(name: str) -> dict[str, list[str]]:
    """Claim -> its words, one for each data set, of the cell of a notebook whose output is compared."""
    cells = nbformat.read(runner.notebooks()[name], as_version=4).cells
    text = "".join(o.text for c in cells if "nbval-check-output" in c.metadata.get("tags", []) for o in c.outputs)
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if (claim := re.match(r" *(\d\d-\S+) ", line)) and (word := [w for w in WORDS if line.rstrip().endswith(w)]):
            found.setdefault(claim[1], []).append(word[0])
    return found


def compared(shift: int) -> Iterator[dict[str, str | int]]:
    """A row for each word of the committed notebooks, and what it is with other seeds."""
    for name in runner.notebooks():
        path = root() / "reports" / "quick" / f"{name}@shift{shift}" / "verdicts.csv"
        if path.exists():
            verdicts = pd.read_csv(path)
            for claim, words in committed(name).items():
                others = verdicts.loc[verdicts["claim"] == claim, "verdict"]
                for word, other in zip(words, others, strict=True):
                    yield {
                        "seeds from": shift,
                        "notebook": name,
                        "claim": claim,
                        "word": word,
                        "with other seeds": other,
                    }


def main(shifts: list[int]) -> None:
    """Write the page, and say what it counts."""
    if not (rows := [row for shift in shifts for row in compared(shift)]):
        name = f"shift{shifts[0]}"
        raise SystemExit(f"no report is named {name}: INFOLIB_SEED_SHIFT={shifts[0]} infolib run --name {name}")
    table = pd.DataFrame(rows)
    table = table[table["word"] != "not attempted"]
    same = table["word"] == table["with other seeds"]
    jumped = table[["word", "with other seeds"]].apply(lambda row: set(row) == OPPOSITE, axis=1)
    counts = table.assign(same=same).groupby(["notebook", "seeds from"])["same"].agg(["sum", "size"])
    text = [
        "# Words under other seeds",
        "",
        "Written by `python -m benchmarks.stability` from runs of the quick profile with `INFOLIB_SEED_SHIFT`.",
        "Compared are the words that the committed notebooks have, for each data set and without *not attempted*.",
        f"{same.sum()} of {len(table)} are the same ({same.mean():.0%}); {jumped.sum()} went from reproduced to not",
        f"reproduced or back. {provenance.line()}",
        "",
        "| notebook | " + " | ".join(f"seeds from {shift}" for shift in shifts) + " |",
        "|---|" + "---|" * len(shifts),
    ]
    for name in dict.fromkeys(table["notebook"]):
        cells = [
            "{} of {}".format(*counts.loc[name, shift]) if (name, shift) in counts.index else "–" for shift in shifts
        ]
        text.append(f"| {name} | " + " | ".join(cells) + " |")
    text += ["", "The words that changed:", "", "| seeds from | claim | word | with other seeds |", "|---|---|---|---|"]
    text += [
        f"| {row['seeds from']} | {row['claim']} | {row['word']} | {row['with other seeds']} |"
        for _, row in table[~same].iterrows()
    ]
    (root() / "reports" / "stability.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    print(f"{same.sum()} of {len(table)} words are the same")


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [100, 200])
