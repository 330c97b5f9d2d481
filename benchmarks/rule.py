"""How often the verdict rule errs: `python -m benchmarks.rule` simulates it and writes reports/rule.md.

Seeds are independent and normal with a standard deviation of 1, the claim is that a number is positive beyond the
tolerance, and its control has the same spread. What is simulated is `workbook.rule.judged` itself.
"""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from workbook import root, rule
from workbook.claims import Claim

RUNS = 10_000
SEEDS = (3, 5, 10)
TOLERANCES = (0.0, 0.5, 1.0, 2.0)
TRUTHS = (3.0, 1.0, 0.5, -0.5, -1.0, -3.0)  # standard deviations inside of the edge; outside below 0
CONTROLS = {"fails": -1.0, "on the edge": 0.0, "passes": 3.0, "as good as the claim": None}  # inside of the edge
WORDS = ("reproduced", "holds without it too", "undecided", "not reproduced")


def rates(n: int, tolerance: float, truth: float, control: str, runs: int = RUNS) -> dict[str, float]:
    """Share of runs with each word.

    Parameters
    ----------
    n : int
        Seeds.
    tolerance, truth : float
        In standard deviations over seeds; the truth is counted from the edge, inwards.
    control : str
        One of `CONTROLS`.
    runs : int
        How many are simulated.

    Returns
    -------
    dict of str to float
        By word.
    """
    claim = Claim(
        "00-a", "It is positive", "p", "w", "ours", "sign", "positive", tolerance, "w", no_positive="simulated"
    )
    generator = np.random.default_rng([n, int(10 * tolerance), int(10 * truth) + 100, [*CONTROLS].index(control)])
    place = CONTROLS[control]
    values = tolerance + truth + generator.normal(size=(runs, n))
    others = tolerance + (truth if place is None else place) + generator.normal(size=(runs, n))
    words = [rule.judged(claim, a, b).word for a, b in zip(values.tolist(), others.tolist(), strict=True)]
    return {word: words.count(word) / runs for word in WORDS}


def table(runs: int = RUNS) -> pd.DataFrame:
    """The rates of all cases.

    Parameters
    ----------
    runs : int
        How many are simulated of each.

    Returns
    -------
    DataFrame
        One row per case and number of seeds.
    """
    cases = [*product(TOLERANCES, TRUTHS, CONTROLS, SEEDS)]
    found = Parallel(n_jobs=-1)(delayed(rates)(n, t, truth, control, runs) for t, truth, control, n in cases)
    keys = ["tolerance", "truth", "control", "n"]
    return pd.DataFrame([dict(zip(keys, case, strict=True)) | of for case, of in zip(cases, found, strict=True)])


def markdown(found: pd.DataFrame, runs: int = RUNS) -> str:
    """The table for a reader: percent of runs with each word, side by side for the numbers of seeds.

    Parameters
    ----------
    found : DataFrame
        Of `table`.
    runs : int
        How many were simulated of each.

    Returns
    -------
    str
        In Markdown.
    """
    at = " / ".join(map(str, SEEDS))
    lines = [
        f"Percent of {runs:,} simulated runs with each word, at n = {at} seeds. Lengths are in standard deviations",
        "over seeds; the claim is a sign, its truth lies so far inside of the accepted range (outside below 0), its",
        "control 1 outside (fails), on the edge, 3 inside (passes), or where the truth lies.",
        "`python -m benchmarks.rule` makes this table.",
        "",
        f"| tolerance | truth | control | {' | '.join(WORDS)} |",
        "|---|---|---|" + "---|" * len(WORDS),
    ]
    for (tolerance, truth, control), rows in found.groupby(["tolerance", "truth", "control"], sort=False):
        cells = [" / ".join(_percent(share) for share in rows[word]) for word in WORDS]
        lines.append(f"| {tolerance:g} | {truth:+g} | {control} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _percent(share: float) -> str:
    """Two digits below 10 and above 99, none for certainty."""
    return f"{100 * share:.0f}" if share in (0, 1) or 0.1 <= share <= 0.99 else f"{100 * share:.2f}"


if __name__ == "__main__":
    Path(root() / "reports" / "rule.md").write_text(markdown(table()), encoding="utf-8")
