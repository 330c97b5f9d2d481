import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit

from workbook import rule
from workbook.claims import Claim
from workbook.rule import follows, interval, judged

SPREAD = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])  # half a t-interval is 0.0196
WIDE = np.array([-0.2, 0.1, -0.1, 0.2, 0.05])  # 0.204
MORE = np.array([0.3, -0.3, 0.1, 0.0, -0.1])  # of another order


def claim(**changes):
    good = {"id": "09-a", "statement": "s", "paper": "p", "where": "w", "evidence": "ours", "why": "w"}
    return Claim(**(good | {"kind": "value", "expected": 0.0, "tolerance": 1.0} | changes))


POSITIVE = {"kind": "sign", "expected": "positive"}
NEGATIVE = {"kind": "sign", "expected": "negative"}
RISING = {"kind": "trend", "expected": "increasing", "tolerance": 0.5}
UP, DOWN = [1, 2, 3, 4, 5], [5, 4, 3, 2, 1]
BENT = [[1, 2, 3, 4, 5], [1, 2, 3, 5, 4], [2, 1, 3, 4, 5], [1, 3, 2, 4, 5], [1, 2, 4, 3, 5]]


@pytest.mark.parametrize(
    ("changes", "values", "control", "word", "note"),
    [
        # inside: what the control does decides
        ({}, SPREAD, 3 + MORE, "reproduced", ""),
        ({}, SPREAD, 0.5 + WIDE, "holds without it too", ""),
        ({}, SPREAD, None, "undecided", "no control yet"),
        ({}, SPREAD, -SPREAD, "undecided", "control follows from the claim"),
        ({}, SPREAD, 2 + SPREAD, "undecided", "control follows from the claim"),
        ({}, SPREAD, 1.1 + WIDE, "undecided", "control undecided"),  # the difference is 1.1 ± 0.2, not beyond 1
        ({}, SPREAD, 1.2 + 1.5 * WIDE, "undecided", "control undecided"),
        ({}, -0.5 + WIDE, 1.1 + WIDE + SPREAD, "reproduced", "by the difference from the control"),
        # outside, and across an edge: whatever the control does
        ({}, 3 + SPREAD, 3 + MORE, "not reproduced", "no positive control yet"),
        ({"no_positive": "none"}, 3 + SPREAD, 3 + MORE, "not reproduced", ""),
        ({}, 1 + SPREAD, 3 + MORE, "undecided", "across an edge"),
        # the kinds
        (POSITIVE, 2 + SPREAD, WIDE, "reproduced", ""),
        (NEGATIVE, 2 + SPREAD, WIDE, "not reproduced", "no positive control yet"),
        (NEGATIVE, -2 + SPREAD, WIDE, "reproduced", ""),
        (POSITIVE, 0.5 + SPREAD, WIDE, "not reproduced", "no positive control yet"),  # a tie is no effect
        ({"kind": "null"}, 0.5 + SPREAD, 3 + MORE, "reproduced", ""),
        ({"kind": "differs"}, 2 + SPREAD, WIDE, "reproduced", ""),
        ({"kind": "differs"}, -2 + SPREAD, WIDE, "reproduced", ""),
        ({"kind": "differs"}, 0.5 + SPREAD, WIDE, "not reproduced", "no positive control yet"),
        ({"kind": "differs"}, 1 + SPREAD, WIDE, "undecided", "across an edge"),
        ({"kind": "differs"}, 20 * WIDE, WIDE, "undecided", "across an edge"),  # -2.. to 2..: beyond both edges
        (RISING, BENT, [DOWN] * 6, "reproduced", ""),
        (RISING, BENT, BENT[1:], "undecided", "control undecided, on other seeds"),
        (RISING, [UP] * 5, [DOWN] * 5, "undecided", "too few seeds"),  # all agree: six
        (RISING, [UP] * 6, [DOWN] * 6, "reproduced", ""),
        (RISING, [[2, 2, 2]] * 6, [DOWN] * 6, "not reproduced", "no positive control yet"),
        ({"kind": "order", "expected": "decreasing", "tolerance": 0.1}, [DOWN] * 5, [UP] * 5, "reproduced", ""),
        ({"kind": "order", "expected": "increasing", "tolerance": 0.1}, [DOWN] * 5, [UP] * 5, "not reproduced", None),
        # too few seeds
        ({}, SPREAD[:4], (3 + MORE)[:4], "undecided", "too few seeds"),
        ({}, [0.0], [3.0], "undecided", "too few seeds"),
        ({}, SPREAD, (3 + MORE)[:4], "undecided", "control undecided, on other seeds"),
    ],
)
def test_words(changes, values, control, word, note):
    found = judged(claim(**changes), list(values), None if control is None else list(control))
    assert (found.word, found.note) == (word, found.note if note is None else note)


def test_paired_difference_decides_where_the_control_is_across_an_edge():
    """The spread of claim and control is one of seeds, and goes away in their difference."""
    seeds = 4 * WIDE
    for changes, side in ((POSITIVE, 1), (NEGATIVE, -1), ({"kind": "differs"}, 1), ({"kind": "differs"}, -1)):
        values, control = side * (3 + seeds), side * (1 + seeds + SPREAD)
        found = judged(claim(**changes), list(values), list(control))
        assert found.control_word == "undecided"
        assert found.paired.mean == pytest.approx(2 * side)
        assert (found.word, found.note) == ("reproduced", "by the difference from the control")
        nearer = judged(claim(**changes), list(values), list(values - side * 0.9 - SPREAD))
        assert nearer.control_word == "passes" or nearer.word == "undecided"
    weak = judged(claim(**POSITIVE), list(1.9 + seeds), list(0.91 + seeds + 0.1 * MORE))
    assert (weak.control_word, weak.word, weak.note) == ("undecided", "undecided", "control undecided")
    wrong = judged(claim(kind="sign", expected="positive", tolerance=0.0), list(1 + SPREAD), list(0.1 + 2 * WIDE))
    assert wrong.word == "undecided" or wrong.paired.low > 0


def test_blind_is_a_measure_that_could_not_have_said_otherwise():
    far, seen = list(3 + SPREAD), list(WIDE)
    assert judged(claim(), far, positive=seen).word == "not reproduced"
    assert judged(claim(), far, positive=far)[:2] == ("blind", "the positive control is not seen")
    assert judged(claim(), far, positive=list(1 + WIDE)).word == "blind"  # across an edge is not seen
    assert judged(claim(), list(SPREAD), list(3 + MORE), positive=far).word == "blind"
    order = claim(kind="order", expected="decreasing", tolerance=0.1)
    level = judged(order, [DOWN] * 5, [UP] * 5, positive=[[1.0, 1.05, 0.95]] * 5)
    assert level[:2] == ("blind", "the positive control is level")
    assert judged(order, [DOWN] * 5, [UP] * 5, positive=[[1.0, 1.05, 0.85]] * 5).word == "reproduced"
    assert judged(order, [DOWN] * 4, [UP] * 4, positive=[[1.0, 1.0]] * 4).word == "undecided"  # too few come first
    for at, word in (([True] * 5, "blind"), ([True, True, True, False, False], "blind"), ([True] + [False] * 4, None)):
        found = judged(claim(), list(SPREAD), list(3 + MORE), at_bound=at)
        assert found.word == (word or "reproduced")
    assert judged(claim(), far[:4], positive=far, at_bound=[True] * 4).word == "undecided"  # the first word that fits


def test_a_check_passes_where_it_holds_for_every_seed():
    assert judged(claim(role="check"), [0.0, 0.9])[:4] == ("passes", "", pytest.approx(math.nan, nan_ok=True), "")
    assert judged(claim(role="check"), [0.0] * 50 + [1.1]).word == "fails"


def test_seeds_that_it_would_take_are_the_fewest_whose_interval_is_short_enough():
    values = list(0.8 + 2 * WIDE)  # the edge is at 1
    found = judged(claim(), values, list(3 + MORE))
    n = int(found.needed)
    spread = np.std(values, ddof=1)
    half = [stdtrit(m - 1, 0.975) * spread / math.sqrt(m) for m in (n - 1, n)]
    assert found.word == "undecided"
    assert half[1] < 1 - np.mean(values) <= half[0]
    assert math.isinf(judged(claim(), list(0.9901 + WIDE), list(3 + MORE)).needed)
    assert judged(claim(), [0.5, 0.5], [3.0, 3.1]).needed == 5
    none = judged(claim(), [0.5, 0.5])  # whatever the seeds, it has no control
    assert math.isnan(none.needed)
    assert none.note == "too few seeds, no control yet"
    assert judged(claim(), list(0.8 + 2 * WIDE)).note == "across an edge, no control yet"
    assert judged(claim(), list(1.1 + 2 * WIDE)).needed > 5  # it might still come to lie outside
    assert judged(claim(**RISING), [UP] * 3, [DOWN] * 3).needed == 6
    undecided = judged(claim(**POSITIVE), list(3 + 4 * WIDE), list(1 + 4 * WIDE + 8 * SPREAD[::-1]))
    assert undecided.needed != undecided.needed or undecided.needed >= 5


NUMBERS = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 6)), min_size=2, max_size=30)


@settings(deadline=None)
@given(NUMBERS)
@example([0.3, 0.3, 0.3])
@example([0.1, 0.1])
def test_interval_agrees_with_its_formula_and_has_no_width_without_a_spread(values):
    half = stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1) / math.sqrt(len(values))
    expected = np.mean(values) + np.array([0, -half, half])
    np.testing.assert_allclose(interval(values)[:3], expected, rtol=1e-12, atol=1e-12)


def test_interval_is_cut_to_what_the_statistic_can_be_and_has_no_end_for_a_single_seed():
    assert interval([1.0, 0.9, 1.0, 1.0], most=1.0).high == 1.0
    assert interval([1.0, 0.9, 1.0, 1.0]).high > 1
    assert interval([2.0])[1:3] == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="at least 1 seed"):
        interval([])


def test_a_control_that_follows_from_its_claim_is_seen():
    a = np.random.default_rng(0).normal(size=(6, 3))
    v = a[:, 0]
    for control in (v[::-1], np.roll(v, 1), -v, -v[::-1], v + 2.0, v - np.roll(v, 1), np.roll(v, 1) - v):
        assert follows(list(v), list(control))
    for control in (a[:, ::-1], a[::-1], -a, a + 1):
        assert follows(list(a), list(control))
    few = np.array([1, -1, 0, 0, 2, -2])
    independent = [few, a[:, 1], a[:, 1] + v, 2 * v, v[:5], np.zeros(6), np.ones(6)]
    assert not any(follows(list(v), list(control)) for control in independent)
    assert not follows([0.0] * 6, [0.0] * 6)  # two exact zeros are no algebra
    assert not follows(list(a), list(a * [1, 2, 3]))


def test_words_are_ranked_and_told_apart():
    assert list(rule.SYMBOL) == [
        "reproduced", "holds without it too", "undecided", "blind", "not reproduced", "not attempted",
    ]  # fmt: skip
    assert len(set(rule.SYMBOL.values())) == 6


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({"expected": 0.7, "tolerance": 0.1}, 0.8),  # 0.7 + 0.1 is 0.7999999999999999
        (POSITIVE | {"tolerance": 0.1}, 0.1),  # six of 0.1 have a mean below
        (POSITIVE | {"tolerance": 0.3}, 0.3),
        (RISING | {"tolerance": 0.9}, [0, 1, 2, 4, 3]),  # Spearman's is 0.9, computed as 0.8999999999999998
        (RISING | {"tolerance": 1.0}, [0, 1, 2, 3, 4]),
        (RISING | {"expected": "decreasing", "tolerance": 0.9}, [3, 4, 2, 1, 0]),
        ({"kind": "differs", "tolerance": 0.7}, -0.7),
        ({"kind": "order", "expected": "increasing", "tolerance": 0.1}, [0.4, 0.3]),
    ],
)
def test_a_tie_with_an_edge_is_inside_whatever_rounding_does(changes, value):
    for n in (6, 7, 10):
        assert judged(claim(**changes), [value] * n)[:2] == ("undecided", "no control yet")


def test_a_control_of_few_values_is_not_taken_for_one_that_follows():
    rng = np.random.default_rng(0)
    few = [rng.integers(0, 2, (2, 5)).astype(float) for _ in range(200)]
    assert not any(follows(list(values), list(control)) for values, control in few)
    assert follows([0.0, 1.0, 2.0, 3.0, 3.0], [3.0, 3.0, 0.0, 1.0, 2.0])


def test_bounds_are_of_the_seeds_that_are_judged():
    for at_bound in ([True], [True] * 9, np.ones(4, bool)):
        with pytest.raises(ValueError, match=r"at_bound of claim .* must be of 5 seeds"):
            judged(claim(), list(SPREAD), at_bound=at_bound)
    assert judged(claim(), list(SPREAD), at_bound=np.ones(5, bool)).word == "blind"
