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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from infolib import checks
from workbook import records, root

SYMBOL = {"reproduced": "✓", "partly reproduced": "◐", "not reproduced": "✗", "not attempted": "–"}
VERDICTS = tuple(SYMBOL)
Kind = Literal["value", "null", "sign", "order", "trend"]
Origin = Literal["paper", "authors' code", "reconstructed", "ours"]
Profile = Literal["quick", "paper"]
DIRECTIONS = ("increasing", "decreasing")
EXPECTED = {"sign": ("positive", "negative"), "order": DIRECTIONS, "trend": DIRECTIONS}  # else a number
COLUMNS = [
    "claim", "statement", "paper", "where", "source", "kind", "expected", "tolerance", "accepted_low", "accepted_high",
    "ours", "low", "high", "n", "control", "verdict", "profile", "why",
]  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """One statement of a paper, with what we expect and how far off still counts, fixed before the run.

    Parameters
    ----------
    id, statement : str
        Name of the claim; the statement in our words.
    paper, where : str
        The paper and the place in it.
    source : str
        Where the expectation is from: "paper", "authors' code", "reconstructed" or "ours".
    kind : str
        "value", "null", "sign", "order" or "trend": see the table at the head of this module.
    expected : float or str
        A number for "value", 0 for "null", else a sign or a direction.
    tolerance : float
        At least 0, in the unit of the statistic.
    why : str
        Reason for this tolerance.
    needs : str
        The least profile that can judge the claim: "quick" or "paper".
    """

    id: str
    statement: str
    paper: str
    where: str
    source: Origin
    kind: Kind
    expected: float | str
    tolerance: float
    why: str
    needs: Profile = "quick"

    def __post_init__(self) -> None:
        checks.within("tolerance", self.tolerance, 0, math.inf)
        if self.kind in EXPECTED:
            checks.choice(f"expected {self.kind}", str(self.expected), EXPECTED[self.kind])
        elif isinstance(self.expected, str) or (self.kind == "null" and self.expected != 0):
            raise ValueError(f"expected must be {'0' if self.kind == 'null' else 'a number'}, got {self.expected!r}")

    @property
    def accepted(self) -> tuple[float, float]:
        """The range in which the statistic of this kind upholds the claim."""
        t = self.tolerance
        if not isinstance(self.expected, str):
            return self.expected - t, self.expected + t
        if self.kind == "order":
            return -t, math.inf
        most = math.inf if self.kind == "sign" else 1.0
        return (-most, -t) if self.expected in ("negative", "decreasing") else (t, most)

    def statistic(self, value: Any) -> float:
        """The number that one seed contributes: see the table at the head of this module.

        Parameters
        ----------
        value : float or array-like, shape (steps,)
            Result of the seed; a sequence for "order" and "trend".

        Returns
        -------
        float

        Raises
        ------
        ValueError
            For a value of the wrong shape or not finite.
        """
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


def _rank_correlation(value: np.ndarray) -> float:
    """Spearman's, of a sequence with its index; a constant sequence has none, so 0."""
    if np.ptp(value) == 0:
        return 0.0
    with np.errstate(invalid="ignore"):  # of two numbers scipy also wants a p-value
        return float(stats.spearmanr(value, range(len(value))).statistic)


def load_claims(name: str, folder: Path | None = None) -> list[Claim]:
    """Claims of a notebook, from `data/claims/<name>.toml`.

    Parameters
    ----------
    name : str
        Full name of the notebook.
    folder : Path, optional
        Another folder than `data/claims`.

    Returns
    -------
    list of Claim
        In the order of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        Names the file and the claim: for an unknown, missing or wrong key, and for two claims of one id.
    """
    path = (folder or root() / "data" / "claims") / f"{name}.toml"
    rows = tomllib.loads(path.read_text(encoding="utf-8")).get("claim", [])
    loaded = [records.built(Claim, row, f"{path.name}: claim {row.get('id', '(without id)')}") for row in rows]
    ids = [claim.id for claim in loaded]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise ValueError(f"{path.name} has more than one claim {', '.join(twice)}")
    return loaded


def paper_numbers(name: str, folder: Path | None = None) -> pd.DataFrame:
    """Numbers of the paper that claims of a notebook compare with, from `data/claims/<name>.csv`.

    Parameters
    ----------
    name : str
        Full name of the notebook.
    folder : Path, optional
        Another folder than `data/claims`.

    Returns
    -------
    DataFrame
        The file's columns; an empty cell is an empty string.
    """
    return pd.read_csv((folder or root() / "data" / "claims") / f"{name}.csv", keep_default_na=False)


def interval(values: Iterable[float]) -> tuple[float, float, float]:
    """Mean and two-sided 95 % t-interval of one number per seed.

    Parameters
    ----------
    values : iterable of float
        One number for each of at least two seeds.

    Returns
    -------
    tuple of float
        Mean, low and high, in the unit of the values.

    Raises
    ------
    ValueError
        For fewer than two numbers, or more than one per seed.

    Examples
    --------
    >>> [round(v, 3) for v in interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    """
    each = np.asarray(list(values), dtype=float)
    if each.ndim != 1 or len(each) < 2:
        raise ValueError(f"values must hold one number for each of at least 2 seeds, got shape {each.shape}")
    mean, spread = each.mean(), stats.sem(each)
    low, high = stats.t.interval(0.95, len(each) - 1, mean, spread) if spread > 0 else (mean, mean)
    return float(mean), float(low), float(high)


def _verdict(claim: Claim, low: float, high: float) -> str:
    least, most = claim.accepted
    if least <= low and high <= most:
        return "reproduced"
    return "not reproduced" if high < least or low > most else "partly reproduced"


class Book:
    """Claims of a notebook, and the verdicts on them as they are judged one after another.

    Parameters
    ----------
    claims : sequence of Claim
        In the order in which they are listed.
    profile : str, optional
        "quick" or "paper"; the profile that runs, if it is not given.
    show : bool
        Whether `judge` prints.
    """

    def __init__(self, claims: Sequence[Claim], *, profile: str | None = None, show: bool = True) -> None:
        self.claims, self.show = {claim.id: claim for claim in claims}, show
        self.profile = profile or os.environ.get("INFOLIB_PROFILE", "quick")
        self._rows: dict[str, dict[str, Any]] = {}

    def judge(self, claim: str, values: Iterable[Any], *, control: Iterable[Any] | None = None) -> None:
        """Judge a claim by the values of all seeds, and print the word next to the statement.

        A claim that needs the paper profile is not judged in a quick run. A claim judged again has its last verdict.

        Parameters
        ----------
        claim : str
            Its id.
        values : iterable
            One entry per seed: a number, or a sequence for "order" and "trend".
        control : iterable, optional
            The same from an experiment in which the claim must fail.

        Raises
        ------
        ValueError
            For an id that is no claim, fewer than two seeds, and a value of the wrong shape or not finite.
        """
        if claim not in self.claims:
            raise ValueError(f"unknown claim {claim!r}; claims: {', '.join(self.claims)}")
        others = None if control is None else list(control)
        row = self._rows[claim] = _row(self.claims[claim], list(values), others, self.profile)
        if self.show:
            print(f"{SYMBOL[row['verdict']]} {row['verdict']}: {row['statement']} ({claim})")

    @property
    def verdicts(self) -> pd.DataFrame:
        """One row per claim with the columns `COLUMNS`; "not attempted" for a claim that was not judged."""
        rows = [self._rows.get(i) or _row(c, None, None, self.profile) for i, c in self.claims.items()]
        return pd.DataFrame(rows, columns=COLUMNS)

    def expectations(self) -> pd.DataFrame:
        """What is expected of each claim, for a reader before the run.

        Returns
        -------
        DataFrame
            Columns kind, expected, tolerance; the claim's id is the index.
        """
        rows = [(c.id, c.kind, c.expected, f"{c.tolerance:g}") for c in self.claims.values()]
        return pd.DataFrame(rows, columns=["claim", "kind", "expected", "tolerance"]).set_index("claim")

    def summary(self) -> str:
        """The words of the verdicts without digits, which are the same on any machine.

        Returns
        -------
        str
            A table: claim, expected, tolerance, control, verdict.
        """
        words = self.verdicts[["claim", "expected", "tolerance", "control", "verdict"]]
        return words.assign(tolerance=[f"{t:g}" for t in words["tolerance"]]).to_string(index=False)

    def rounded(self) -> pd.DataFrame:
        """The numbers of the verdicts, to one digit finer than each tolerance.

        Returns
        -------
        DataFrame
            Columns ours, low, high (see `digits`), n, expected, tolerance, verdict; the claim's id is the index.
        """
        table = self.verdicts[["claim", "ours", "low", "high", "n", "expected", "tolerance", "verdict"]]
        for column in ("ours", "low", "high"):
            table[column] = [digits(v, t) for v, t in zip(table[column], table["tolerance"], strict=True)]
        return table.assign(tolerance=[f"{t:g}" for t in table["tolerance"]]).set_index("claim")


def book(name: str, *, show: bool = True) -> Book:
    """Book of a notebook's claims.

    Parameters
    ----------
    name : str
        Full name of the notebook.
    show : bool
        Whether `Book.judge` prints.

    Returns
    -------
    Book
        Without a verdict yet; for errors see `load_claims`.
    """
    return Book(load_claims(name), show=show)


def _row(claim: Claim, values: list[Any] | None, control: list[Any] | None, profile: str) -> dict[str, Any]:
    numbers: dict[str, Any] = {"ours": math.nan, "low": math.nan, "high": math.nan, "n": 0}
    verdict, control_verdict = "not attempted", ""
    if values is not None and not (claim.needs == "paper" and profile == "quick"):
        mean, low, high = interval(claim.statistic(v) for v in values)
        numbers = {"ours": mean, "low": low, "high": high, "n": len(values)}
        verdict = _verdict(claim, low, high)
        if control is not None:
            _, *bounds = interval(claim.statistic(v) for v in control)
            failed = _verdict(claim, *bounds) == "not reproduced"
            control_verdict = "fails as it should" if failed else "does not fail"
            if verdict == "reproduced" and not failed:
                verdict = "partly reproduced"
    words = {"claim": claim.id, "control": control_verdict, "verdict": verdict, "profile": profile}
    least, most = claim.accepted
    return asdict(claim) | {"accepted_low": least, "accepted_high": most} | numbers | words


def digits(value: float, tolerance: float) -> str:
    """A number to one decimal place more than its tolerance has, two to six (three for 0); a dash for none.

    Parameters
    ----------
    value, tolerance : float
        In one unit; the value may be NaN.

    Returns
    -------
    str

    Examples
    --------
    >>> digits(3.14159, 0.1), digits(3.14159, 0.001), digits(float("nan"), 0.1)
    ('3.14', '3.1416', '–')
    """
    if math.isnan(value):
        return "–"
    places = 1 - math.floor(math.log10(tolerance)) if tolerance > 0 else 3
    return f"{value:.{min(max(places, 2), 6)}f}"
