"""Claims as data, verdicts by rule.

A claim is written to `data/claims/NN_topic.toml` before the run that judges it. Its `kind` says which statistic of each
seed is held against which range of acceptance (tolerance t, expectation e):

kind   values per seed  statistic                                     accepted
value  one number       the number                                    [e - t, e + t]
null   one number       the number                                    [-t, t]
sign   one number       the number                                    [t, inf) or (-inf, -t]
order  a sequence       its smallest step in the direction e          [-t, inf)
trend  a sequence       Spearman's correlation with its index         [t, 1] or [-1, -t]

The verdict compares the 95 % t-interval of the statistic over all seeds with that range: inside is `reproduced`,
outside `not reproduced`, across its edge `partly reproduced`. A claim whose control does not fail is at best
`partly reproduced`.
"""

import math
import os
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from infolib import checks
from workbook import root

SYMBOL = {"reproduced": "✓", "partly reproduced": "◐", "not reproduced": "✗", "not attempted": "–"}
VERDICTS = tuple(SYMBOL)
SOURCES = ("paper", "authors' code", "reconstructed", "ours")
EXPECTED = {
    "value": "a number",
    "null": "0",
    "sign": "positive or negative",
    "order": "increasing or decreasing",
    "trend": "increasing or decreasing",
}
CONFIDENCE = 0.95
COLUMNS = [
    "claim", "statement", "paper", "where", "source", "kind", "expected", "tolerance", "accepted_low", "accepted_high",
    "ours", "low", "high", "n", "control", "verdict", "profile", "why",
]  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """One statement of a paper, with what we expect and how far off still counts, fixed before the run."""

    id: str
    statement: str  # in our words
    paper: str
    where: str
    source: str
    kind: str
    expected: float | str
    tolerance: float
    why: str  # the reason for this tolerance
    needs: str = "quick"  # the least profile that can judge it

    def __post_init__(self):
        checks.choice(f"source of claim {self.id}:", self.source, SOURCES)
        checks.choice(f"kind of claim {self.id}:", self.kind, EXPECTED)
        checks.choice(f"needs of claim {self.id}:", self.needs, ("quick", "paper"))
        if not _is_number(self.tolerance) or not 0 <= self.tolerance < math.inf:
            raise ValueError(f"tolerance of claim {self.id} must be a number of at least 0, got {self.tolerance!r}")
        allowed = EXPECTED[self.kind]
        numeric = _is_number(self.expected)
        if not {"value": numeric, "null": self.expected == 0}.get(self.kind, self.expected in allowed.split(" or ")):
            raise ValueError(f"expected of claim {self.id} ({self.kind}) must be {allowed}, got {self.expected!r}")

    @property
    def accepted(self) -> tuple[float, float]:
        """The range in which the statistic of this kind upholds the claim."""
        t = self.tolerance
        if self.kind in ("value", "null"):
            return self.expected - t, self.expected + t
        if self.kind == "order":
            return -t, math.inf
        most = math.inf if self.kind == "sign" else 1.0
        return (-most, -t) if self.expected in ("negative", "decreasing") else (t, most)

    def statistic(self, value: Any) -> float:
        """The number that one seed contributes: see the table at the head of this module."""
        value = np.asarray(value, dtype=float)
        sequence = self.kind in ("order", "trend")
        if value.ndim != sequence or (sequence and len(value) < 2):
            wanted = "a sequence of at least 2 numbers" if sequence else "one number"
            raise ValueError(f"claim {self.id} ({self.kind}) takes {wanted} per seed, got shape {value.shape}")
        if not np.isfinite(value).all():
            raise ValueError(f"claim {self.id} was given a value that is not finite: {value}")
        if self.kind == "order":
            steps = np.diff(value)
            return float(min(-steps if self.expected == "decreasing" else steps))
        return _rank_correlation(value) if self.kind == "trend" else float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rank_correlation(value: np.ndarray) -> float:
    """Spearman's, of a sequence with its index; a constant sequence has none, so 0."""
    if np.ptp(value) == 0:
        return 0.0
    with np.errstate(invalid="ignore"):  # of two numbers scipy also wants a p-value
        return float(stats.spearmanr(value, range(len(value))).statistic)


def load_claims(name: str, folder: Path | None = None) -> list[Claim]:
    """The claims of notebook `name`, from `data/claims/<name>.toml`; ValueError says what is wrong with which claim."""
    path = (folder or root() / "data" / "claims") / f"{name}.toml"
    if not path.exists():
        raise ValueError(f"no claims for {name!r}: {path} does not exist")
    rows = tomllib.loads(path.read_text(encoding="utf-8")).get("claim", [])
    known = {f.name: f for f in fields(Claim)}
    loaded = []
    for row in rows:
        label = f"{path.name}: claim {row.get('id', '(without id)')}"
        if missing := [k for k, f in known.items() if k not in row and k != "needs"]:
            raise ValueError(f"{label} lacks {', '.join(missing)}")
        if unknown := sorted(row.keys() - known.keys()):
            raise ValueError(f"{label} has unknown keys {', '.join(unknown)}; allowed: {', '.join(known)}")
        loaded.append(Claim(**row))
    ids = [claim.id for claim in loaded]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise ValueError(f"{path.name} has more than one claim {', '.join(twice)}")
    return loaded


def paper_numbers(name: str, folder: Path | None = None) -> pd.DataFrame:
    """Numbers of the paper that claims of notebook `name` compare with: `data/claims/<name>.csv`."""
    path = (folder or root() / "data" / "claims") / f"{name}.csv"
    if not path.exists():
        raise ValueError(f"no numbers for {name!r}: {path} does not exist")
    return pd.read_csv(path, keep_default_na=False)


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Mean and two-sided t-interval (mean, low, high) of one number per seed.

    >>> [round(v, 3) for v in interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"values must hold one number for each of at least 2 seeds, got shape {values.shape}")
    mean, spread = values.mean(), stats.sem(values)
    low, high = stats.t.interval(confidence, len(values) - 1, mean, spread) if spread > 0 else (mean, mean)
    return float(mean), float(low), float(high)


def _verdict(claim: Claim, low: float, high: float) -> str:
    least, most = claim.accepted
    if least <= low and high <= most:
        return "reproduced"
    return "not reproduced" if high < least or low > most else "partly reproduced"


class Book:
    """The claims of a notebook, and the verdicts on them as they are judged one after another.

    claims: in the order in which they are listed
    profile: the one that runs, unless given
    show: whether `judge` prints
    """

    def __init__(self, claims: Sequence[Claim], *, profile: str | None = None, show: bool = True) -> None:
        self.claims, self.show = {claim.id: claim for claim in claims}, show
        self.profile = profile or os.environ.get("INFOLIB_PROFILE", "quick")
        self._rows: dict[str, dict[str, Any]] = {}

    def judge(self, claim: str, values: Iterable, *, control: Iterable | None = None) -> None:
        """Judge a claim by the values of all seeds, and print the word beside the statement.

        values: one entry per seed, a number, or a sequence for `order` and `trend`
        control: the same from an experiment in which the claim must fail

        A claim that needs the paper profile is not judged in a quick run; one judged again has its last verdict.

        Raises:
            ValueError: for an id that is no claim, fewer than 2 seeds, a value of the wrong shape or not finite
        """
        if claim not in self.claims:
            raise ValueError(f"unknown claim {claim!r}; claims: {', '.join(self.claims)}")
        others = None if control is None else list(control)
        row = self._rows[claim] = _row(self.claims[claim], list(values), others, self.profile)
        if self.show:
            print(f"{SYMBOL[row['verdict']]} {row['verdict']}: {row['statement']} ({claim})")

    @property
    def verdicts(self) -> pd.DataFrame:
        """A row for each claim, with its verdict; `not attempted` where there is none. No claims: no rows."""
        rows = [self._rows.get(i) or _row(c, None, None, self.profile) for i, c in self.claims.items()]
        return pd.DataFrame(rows, columns=COLUMNS)

    def expectations(self) -> pd.DataFrame:
        """What is expected of each claim, for a reader before the run."""
        rows = [(c.id, c.kind, c.expected, f"{c.tolerance:g}") for c in self.claims.values()]
        return pd.DataFrame(rows, columns=["claim", "kind", "expected", "tolerance"]).set_index("claim")

    def summary(self) -> str:
        """The words of the verdicts, without digits: what nbval holds a stored notebook to on any machine."""
        words = self.verdicts[["claim", "expected", "tolerance", "control", "verdict"]]
        return words.assign(tolerance=[f"{t:g}" for t in words["tolerance"]]).to_string(index=False)

    def rounded(self) -> pd.DataFrame:
        """The numbers of the verdicts, to one digit finer than each tolerance."""
        table = self.verdicts[["claim", "ours", "low", "high", "n", "expected", "tolerance", "verdict"]]
        for column in ("ours", "low", "high"):
            table[column] = [digits(v, t) for v, t in zip(table[column], table["tolerance"], strict=True)]
        return table.assign(tolerance=[f"{t:g}" for t in table["tolerance"]]).set_index("claim")


def book(name: str, *, show: bool = True) -> Book:
    """The book of a notebook's claims; ValueError as `load_claims`."""
    return Book(load_claims(name), show=show)


def _row(claim: Claim, values: Sequence | None, control: Sequence | None, profile: str) -> dict[str, Any]:
    attempted = values is not None and not (claim.needs == "paper" and profile == "quick")
    mean, low, high, verdict, control_verdict = math.nan, math.nan, math.nan, "not attempted", ""
    if attempted:
        mean, low, high = interval([claim.statistic(v) for v in values])
        verdict = _verdict(claim, low, high)
    if attempted and control is not None:
        _, *bounds = interval([claim.statistic(v) for v in control])
        failed = _verdict(claim, *bounds) == "not reproduced"
        control_verdict = "fails as it should" if failed else "does not fail"
        if verdict == "reproduced" and not failed:
            verdict = "partly reproduced"
    return {
        "claim": claim.id, "statement": claim.statement, "paper": claim.paper, "where": claim.where,
        "source": claim.source, "kind": claim.kind, "expected": claim.expected, "tolerance": claim.tolerance,
        "accepted_low": claim.accepted[0], "accepted_high": claim.accepted[1],
        "ours": mean, "low": low, "high": high, "n": len(values) if attempted else 0,
        "control": control_verdict, "verdict": verdict, "profile": profile, "why": claim.why,
    }  # fmt: skip


def digits(value: float, tolerance: float) -> str:
    """`value` to one decimal place finer than `tolerance` has, two to six (three for 0); a dash for none.

    >>> digits(3.14159, 0.1), digits(3.14159, 0.001), digits(float("nan"), 0.1)
    ('3.14', '3.1416', '–')
    """
    if math.isnan(value):
        return "–"
    places = 1 - math.floor(math.log10(tolerance)) if tolerance > 0 else 3
    return f"{value:.{min(max(places, 2), 6)}f}"
