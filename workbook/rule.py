"""What a claim is, and what a verdict word means.

A claim's `kind` says which statistic of each seed is compared with which accepted range (tolerance t, expectation e):

kind     values per seed  statistic                                     accepted
value    one number       the number                                    [e - t, e + t]
null     one number       the number                                    [-t, t]
sign     one number       the number                                    [t, inf) or (-inf, -t]
differs  one number       the number                                    (-inf, -t] and [t, inf)
order    a sequence       its smallest step in the direction e          [-t, inf)
trend    a sequence       Spearman's correlation with its index         [t, 1] or [-1, -t]

An interval is the 95 % t-interval of the mean over seeds of a claim's statistic, cut to what the
statistic can be. It lies inside the accepted range, outside, or across an edge. A verdict is the first
of these words that fits:

not attempted         nobody judged the claim, or it needs the paper profile
undecided             fewer than 5 seeds; fewer than 6 of a trend on which all seeds agree
blind                 the measure was at its upper or lower bound in half the seeds or more, or the positive control,
                      an experiment in which the statement is true, does not lie inside, or for an order is level: it
                      moves by no more than t
undecided             across an edge
not reproduced        outside
undecided             inside, and there is no control yet, or one that follows from the claim by algebra
reproduced            inside, and the control, an experiment in which the statement should fail, lies outside
holds without it too  inside, and so does the control
reproduced            inside, the control across an edge, but the interval of the difference claim - control on the same
                      seeds lies farther than t from 0, for sign, order and trend on the claim's side
undecided             the rest

A claim on several data sets has a verdict for each; its word is their common one, or the weakest. A check is not a
finding: it states what has to hold of the measure, passes if it holds for every seed, and is counted apart.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from infolib import checks
from workbook import records

RULE = 2  # the version of these words; the first had `partly reproduced`
SYMBOL = {
    "reproduced": "✓", "holds without it too": "≈", "undecided": "?", "blind": "∅", "not reproduced": "✗",
    "not attempted": "–",
}  # fmt: skip  # from the strongest to the weakest
CHECKED = {"passes": "✓", "fails": "✗"}
VERDICTS = tuple(SYMBOL)
DIRECTIONS = ("increasing", "decreasing")
EXPECTED = {"sign": ("positive", "negative"), "order": DIRECTIONS, "trend": DIRECTIONS}  # else a number
Kind = Literal["value", "null", "sign", "differs", "order", "trend"]
Evidence = Literal[
    "text", "abstract", "figure", "authors' output", "authors' code", "restated", "reconstructed", "ours"
]
Profile = Literal["quick", "paper"]
Quote = Annotated[str, records.Rule("of at most 25 words", lambda text: len(text.split()) <= 25)]
LEAST, LEAST_ALIKE, MANY = 5, 6, 1000  # seeds for a verdict, and of a trend on which all agree; more are not counted on


@dataclass(frozen=True)
class Claim:
    """One statement, with the expectation and the tolerance, fixed before the run.

    Parameters
    ----------
    id, statement : str
        Name of the claim, which begins with the notebook's number: "05-e8-adversarial". The statement, which stands
        alone.
    paper, where : str
        The paper and the place in it.
    evidence : str
        What the expectation rests on: the paper's "text", "abstract" or a "figure"; "authors' output" or "authors'
        code"; "restated" by others; "reconstructed" by us from what is known; or "ours".
    kind : str
        "value", "null", "sign", "differs", "order" or "trend": see the table at the head of this module.
    expected : float or str
        A number for "value", 0 for "null" and "differs", else a sign or a direction.
    tolerance : float
        At least 0, in the unit of the statistic; of a trend at most 1.
    why : str
        Reason for this tolerance.
    quote : str
        At most 25 words of the source, if there are words.
    control : str
        The experiment in which the statement should fail, and why; empty while there is none.
    positive : str
        The experiment in which the statement is true, so that a suitable measure shows it; empty if there is none.
    no_positive : str
        Why no positive control can be made.
    scale : str
        Our experiment's size next to the source's: "as published", "authors' run", "reduced" or "toy", then the sizes.
    role : str
        "finding", or "check" for what has to hold of a measure.
    needs : str
        The least profile that can judge the claim: "quick" or "paper".
    """

    id: str
    statement: str
    paper: str
    where: str
    evidence: Evidence
    kind: Kind
    expected: float | str
    tolerance: float
    why: str
    quote: Quote = ""
    control: str = ""
    positive: str = ""
    no_positive: str = ""
    scale: str = ""
    role: Literal["finding", "check"] = "finding"
    needs: Profile = "quick"

    def __post_init__(self) -> None:
        checks.within("tolerance", self.tolerance, 0, self.most)
        if self.kind in EXPECTED:
            checks.choice(f"expected {self.kind}", str(self.expected), EXPECTED[self.kind])
        elif isinstance(self.expected, str) or (self.kind != "value" and self.expected != 0):
            raise ValueError(f"expected must be {'a number' if self.kind == 'value' else '0'}, got {self.expected!r}")
        if self.positive and self.no_positive:
            raise ValueError("no_positive must be empty where there is a positive control")

    @property
    def accepted(self) -> tuple[float, float]:
        """The range in which the statistic of this kind upholds the claim; for "differs" that of its absolute value."""
        t = self.tolerance
        if self.kind == "differs":
            return t, math.inf
        if not isinstance(self.expected, str):
            return self.expected - t, self.expected + t
        if self.kind == "order":
            return -t, math.inf
        return (-self.most, -t) if self.side < 0 else (t, self.most)

    @property
    def side(self) -> int:
        """Where the statistic lies if the claim holds: above 0 (1), below (-1), or on either side (0)."""
        if self.kind == "order":
            return 1
        return {"positive": 1, "increasing": 1, "negative": -1, "decreasing": -1}.get(str(self.expected), 0)

    @property
    def most(self) -> float:
        """The largest absolute value of the statistic."""
        return 1.0 if self.kind == "trend" else math.inf

    def place(self, low: float, high: float) -> str:
        """Where an interval of the statistic lies: "inside" of the accepted range, "outside", or "across" an edge.

        Parameters
        ----------
        low, high : float
            Its ends.

        Returns
        -------
        str
        """
        least, most = self.accepted
        rounding = 1e-12 * max(abs(edge) for edge in (least, most, 1.0) if math.isfinite(edge))
        least, most = least - rounding, most + rounding  # a tie is inside
        ranges = [(least, most), (-most, -least)] if self.kind == "differs" else [(least, most)]
        if any(least <= low and high <= most for least, most in ranges):
            return "inside"
        return "outside" if all(high < least or low > most for least, most in ranges) else "across"

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
        try:
            numbers = np.asarray(value)  # of strings it would make numbers, and of complex ones real
            checks.hold("value", numbers.dtype, numbers.dtype.kind in "biufO", "of numbers")
            value = numbers.astype(float)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"claim {self.id} takes numbers, got {value!r}: {error}") from error
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
    from scipy import stats

    if np.ptp(value) == 0:
        return 0.0
    with np.errstate(invalid="ignore"):  # of two numbers scipy also wants a p-value
        return float(stats.spearmanr(value, range(len(value))).statistic)


class Interval(NamedTuple):
    """Mean over seeds with its two-sided 95 % t-interval.

    Parameters
    ----------
    mean, low, high : float
        In the unit of the values; without bounds for a single seed.
    spread : float
        Standard deviation over seeds, NaN for a single one.
    n : int
        Seeds.
    """

    mean: float
    low: float
    high: float
    spread: float
    n: int


NONE = Interval(math.nan, math.nan, math.nan, math.nan, 0)


def interval(values: Iterable[float], most: float = math.inf) -> Interval:
    """Mean and two-sided 95 % t-interval of one number per seed.

    Parameters
    ----------
    values : iterable of float
        One number for each seed.
    most : float
        The largest absolute value that they can have, at which the interval is cut.

    Returns
    -------
    Interval

    Raises
    ------
    ValueError
        For no number, or more than one per seed.

    Examples
    --------
    >>> [round(v, 3) for v in interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484, 1.0, 3]
    """
    each = np.asarray(list(values), dtype=float)
    if each.ndim != 1 or not len(each):
        raise ValueError(f"values must hold one number for each of at least 1 seed, got shape {each.shape}")
    n, mean = len(each), float(each.mean())
    spread = (float(each.std(ddof=1)) if np.ptp(each) else 0.0) if n > 1 else math.nan
    half = float(_quantiles()[min(n, MANY) - 2]) * spread / math.sqrt(n) if n > 1 else math.inf
    return Interval(mean, max(mean - half, -most), min(mean + half, most), spread, n)


@cache
def _quantiles() -> np.ndarray:
    """Of Student's t, for a 95 % interval of the mean of 2, 3, ... `MANY` numbers."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(np.arange(1, MANY), 0.975))


class Verdict(NamedTuple):
    """The word for a claim on one data set, and what it rests on.

    Parameters
    ----------
    word, note : str
        The word; what decided, in a few words.
    needed : float
        Seeds that would decide it at this spread, for "undecided"; infinite for more than `MANY`, else NaN.
    control_word : str
        "fails", "passes" or "undecided"; "follows from the claim"; "none yet"; empty for a check.
    values, control, paired, positive : Interval
        Of the statistic, in its control, of their difference on the same seeds, in the positive control; or `NONE`.
    """

    word: str
    note: str
    needed: float
    control_word: str
    values: Interval
    control: Interval
    paired: Interval
    positive: Interval


def judged(
    claim: Claim,
    values: Sequence[Any],
    control: Sequence[Any] | None = None,
    positive: Sequence[Any] | None = None,
    at_bound: Sequence[bool] = (),
) -> Verdict:
    """The verdict on a claim by the rule at the head of this module.

    Parameters
    ----------
    claim : Claim
        What is claimed.
    values : sequence
        One entry per seed: a number, or a sequence of numbers for "order" and "trend".
    control, positive : sequence, optional
        The same from an experiment in which the claim should fail, and from one in which it is true.
    at_bound : sequence of bool
        For each seed, whether the measure was at its upper or lower bound.

    Returns
    -------
    Verdict

    Raises
    ------
    ValueError
        For a value of the wrong shape or not finite, for no seeds, and for `at_bound` of other seeds.

    Examples
    --------
    >>> claim = Claim("00-a", "It is 1", "p", "w", "ours", "value", 1.0, 0.5, "a half")
    >>> judged(claim, [1.0, 1.1, 0.9, 1.0, 1.2], control=[3.0, 3.2, 2.9, 3.1, 3.2]).word
    'reproduced'
    """
    each = [claim.statistic(value) for value in values]
    checks.hold(f"at_bound of claim {claim.id}", at_bound, len(at_bound) in (0, len(each)), f"of {len(each)} seeds")
    others = None if control is None else [claim.statistic(value) for value in control]
    ours, other, seen = (
        NONE if group is None else interval(group, claim.most)
        for group in (each, others, None if positive is None else map(claim.statistic, positive))
    )
    paired = NONE
    if others is not None and len(others) == len(each):
        paired = interval(np.subtract(each, others), 2 * claim.most)
    if claim.role == "check":
        passes = all(claim.place(number, number) == "inside" for number in each)
        return Verdict("passes" if passes else "fails", "", math.nan, "", ours, other, paired, seen)
    told = _control_word(claim, values, control, other)
    word, note, needed = _word(claim, ours, told, paired, seen, _blind(claim, positive, seen, at_bound))
    return Verdict(word, note, needed, told, ours, other, paired, seen)


def _blind(claim: Claim, positive: Sequence[Any] | None, seen: Interval, at_bound: Sequence[bool]) -> str:
    """Why the measure is blind; empty where it is not."""
    if len(at_bound) and np.mean(at_bound) >= 0.5:
        return "the measure is at its upper or lower bound"
    if seen.n and claim.place(seen.low, seen.high) != "inside":
        return "the positive control is not seen"
    moved = [abs(sequence[-1] - sequence[0]) for sequence in positive or ()] if claim.kind == "order" else []
    return "the positive control is level" if moved and np.mean(moved) <= claim.tolerance else ""


def _control_word(claim: Claim, values: Sequence[Any], control: Sequence[Any] | None, found: Interval) -> str:
    if control is None:
        return "none yet"
    if follows(values, control):
        return "follows from the claim"
    if found.n < _least(claim, found):
        return "undecided"
    return {"inside": "passes", "outside": "fails", "across": "undecided"}[claim.place(found.low, found.high)]


def _least(claim: Claim, found: Interval) -> int:
    """The least number of seeds for a verdict."""
    return LEAST_ALIKE if claim.kind == "trend" and found.spread == 0 else LEAST


def _word(
    claim: Claim, ours: Interval, told: str, paired: Interval, positive: Interval, blind: str
) -> tuple[str, str, float]:
    """Word, what decided, and the seeds that it would take."""
    place, least, t = claim.place(ours.low, ours.high), _least(claim, ours), claim.tolerance
    edges = [edge for edge in claim.accepted if abs(edge) < claim.most]
    near = min((abs((abs(ours.mean) if claim.kind == "differs" else ours.mean) - edge) for edge in edges), default=0.0)
    needed, lacking = max(least, _needed(ours.spread, near)), ""
    if told in ("none yet", "follows from the claim") and claim.place(ours.mean, ours.mean) == "inside":
        needed, lacking = math.nan, "no control yet" if told == "none yet" else f"control {told}"
    if ours.n < least:
        return "undecided", ", ".join(filter(None, ("too few seeds", lacking))), needed
    if blind:
        return "blind", blind, math.nan
    if place == "across":
        return "undecided", ", ".join(filter(None, ("across an edge", lacking))), needed
    if place == "outside":
        return "not reproduced", "" if positive.n or claim.no_positive else "no positive control yet", math.nan
    if lacking:
        return "undecided", lacking, math.nan
    if told != "undecided":
        return ("reproduced" if told == "fails" else "holds without it too"), "", math.nan
    if not paired.n:
        return "undecided", "control undecided, on other seeds", math.nan
    if (claim.side >= 0 and paired.low > t) or (claim.side <= 0 and paired.high < -t):
        return "reproduced", "by the difference from the control", math.nan
    gap = (paired.mean if claim.side >= 0 else -paired.mean) if claim.side else abs(paired.mean)
    return "undecided", "control undecided", max(least, _needed(paired.spread, gap - t))


def _needed(spread: float, near: float) -> float:
    """Seeds at which half an interval is shorter than the distance to an edge; infinite for more than `MANY`."""
    if not spread > 0:
        return math.nan if math.isnan(spread) else 2
    short = _quantiles() * spread / np.sqrt(np.arange(2, MANY + 1)) < near
    return float(2 + short.argmax()) if short.any() else math.inf


def follows(values: Sequence[Any], control: Sequence[Any]) -> bool:
    """Whether a control follows from its claim by algebra, so that it shows nothing.

    Parameters
    ----------
    values, control : sequence
        One entry per seed, each a number or a sequence.

    Returns
    -------
    bool
        Whether the control is a permutation, a sign change, a reversal or a shift of the values, or has a mean of 0
        whatever they are. Never where the values of hardly any two seeds differ: these agree by chance.

    Examples
    --------
    >>> follows([1.0, 2.0, 4.0], [4.0, 1.0, 2.0]), follows([1.0, 2.0, 4.0], [-3.0, 1.0, 2.0])
    (True, True)
    """
    if len(values) != len(control) or len({np.shape(value) for value in [*values, *control]}) != 1 or len(values) < 3:
        return False
    a, b = np.asarray(values, dtype=float), np.asarray(control, dtype=float)
    scale = 1e-9 * max(np.abs(a).max(), np.abs(b).max())
    spread = np.ptp(a, axis=0).max(), np.ptp(b, axis=0).max()
    if min(spread) <= scale or len(np.unique(a, axis=0)) < min(len(a), 4):
        return False
    of_seed = (b - a).reshape(len(a), -1)
    rows = [np.sort(group.reshape(len(a), -1), axis=0) for group in (b, a, -a, a[..., ::-1] if a.ndim > 1 else a)]
    same = any(np.abs(rows[0] - row).max() <= scale for row in rows[1:])
    balanced = b.ndim == 1 and abs(b.sum()) <= scale and len(np.unique(np.abs(b))) == len(b)  # no chance of few values
    return bool(same or balanced or np.ptp(of_seed, axis=0).max() <= scale)
