import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit
from scipy.stats import rankdata

from workbook import claims
from workbook.claims import Book, Claim, load_claims

GOOD = {
    "id": "plateau", "statement": "s", "paper": "1909.11396", "where": "Fig. 3", "source": "paper",
    "kind": "value", "expected": 3.26, "tolerance": 0.1, "why": "w",
}  # fmt: skip


RISING = {"kind": "trend", "expected": "increasing", "tolerance": 0.5}


def claim(**changes):
    return Claim(**(GOOD | changes))


def verdict(values, control=None, profile="quick", **changes):
    book = Book([claim(**changes)], profile=profile)
    book.judge("plateau", values, control=control)
    return book.verdicts.iloc[0]


@pytest.mark.parametrize(
    ("values", "changes", "expected"),
    [
        ([3.25, 3.26, 3.27], {}, "reproduced"),
        ([2.0, 2.01, 2.02], {}, "not reproduced"),
        ([3.35, 3.36, 3.37], {}, "partly reproduced"),  # the mean sits on the edge of 3.26 ± 0.1
        ([3.1, 3.26, 3.42], {}, "partly reproduced"),  # right on average, spread too wide to say so
        ([0.3, 0.31, 0.32], {"kind": "sign", "expected": "positive"}, "reproduced"),
        ([0.3, 0.31, 0.32], {"kind": "sign", "expected": "negative"}, "not reproduced"),
        ([-0.3, -0.31, -0.32], {"kind": "sign", "expected": "negative"}, "reproduced"),
        ([0.05, 0.06, 0.04], {"kind": "sign", "expected": "positive"}, "not reproduced"),  # a tie is no effect
        ([0.01, -0.01, 0.02], {"kind": "null", "expected": 0}, "reproduced"),
        ([1.0, 1.1, 0.9], {"kind": "null", "expected": 0}, "not reproduced"),
        ([[3, 2, 2.05, 1], [4, 3, 3.05, 1]], {"kind": "order", "expected": "decreasing"}, "reproduced"),
        ([[3, 2, 2.5, 1], [4, 2, 2.5, 1]], {"kind": "order", "expected": "decreasing"}, "not reproduced"),
        ([[1, 2, 3], [1, 2, 2.95]], {"kind": "order", "expected": "increasing"}, "reproduced"),
        ([[1, 3, 2, 4], [1, 2, 3, 4]], RISING, "partly reproduced"),
        ([[1, 2, 3, 4], [1, 2, 3, 5]], RISING, "reproduced"),
        ([[4, 3, 2, 1], [9, 3, 2, 1]], RISING, "not reproduced"),
        ([[2, 2, 2], [2, 2, 2]], RISING, "not reproduced"),
    ],
)
def test_verdict_compares_the_interval_over_seeds_with_the_accepted_range(values, changes, expected):
    assert verdict(values, **changes)["verdict"] == expected


def test_ours_keeps_its_sign():
    row = verdict([-0.3, -0.31, -0.32], kind="sign", expected="negative")
    assert (row["ours"], row["accepted_low"], row["accepted_high"]) == pytest.approx((-0.31, -math.inf, -0.1))
    row = verdict([[3, 2, 1], [5, 4, 3]], kind="trend", expected="decreasing", tolerance=0.5)
    assert (row["ours"], row["accepted_low"], row["accepted_high"]) == pytest.approx((-1, -1, -0.5))
    assert row["verdict"] == "reproduced"


def test_one_wild_seed_keeps_a_claim_from_being_reproduced():
    assert verdict([3.26, 3.26, 3.26, 9.0])["verdict"] == "partly reproduced"


def test_interval_is_student_t():
    mean, low, high = claims.interval([1.0, 2.0, 3.0, 4.0])
    assert (mean, low, high) == pytest.approx((2.5, 2.5 - 2.0543, 2.5 + 2.0543), abs=1e-4)  # 3.1824 · 1.29099 / 2


NUMBERS = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 6)), min_size=2, max_size=30)


@settings(deadline=None)
@given(NUMBERS)
@example([0.3, 0.3, 0.3])
@example([0.1, 0.1])
def test_interval_agrees_with_its_formula_and_has_no_width_without_a_spread(values):
    """Reports hold intervals that were computed by this formula."""
    half = stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1) / math.sqrt(len(values))
    expected = np.mean(values) + np.array([0, -half, half])
    np.testing.assert_allclose(claims.interval(values), expected, rtol=1e-12, atol=1e-12)


@settings(deadline=None)
@given(NUMBERS)
@example([5, 5, 5])
@example([1, 2])
@example([2, 1, 1])
def test_trend_is_the_correlation_of_ranks_with_places_and_0_for_a_constant(values):
    statistic = claim(kind="trend", expected="increasing", tolerance=0.5).statistic(values)
    ranks = rankdata(values)
    expected = np.corrcoef(ranks, np.arange(len(values)))[0, 1] if np.ptp(values) else 0.0
    assert statistic == pytest.approx(expected, abs=1e-12)


def test_claim_whose_control_does_not_fail_is_partly_reproduced():
    row = verdict([3.25, 3.26], control=[3.25, 3.26])
    assert (row["verdict"], row["control"]) == ("partly reproduced", "does not fail")
    row = verdict([3.25, 3.26], control=[0.5, 0.51])
    assert (row["verdict"], row["control"]) == ("reproduced", "fails as it should")


def test_claim_without_values_or_beyond_the_profile_is_not_attempted():
    row = Book([claim()]).verdicts.iloc[0]
    assert (row["verdict"], row["n"], row["control"]) == ("not attempted", 0, "")
    row = verdict([3.25, 3.26], needs="paper")
    assert row["verdict"] == "not attempted"
    assert math.isnan(row["ours"])
    assert verdict([3.25, 3.26], needs="paper", profile="paper")["verdict"] == "reproduced"


def test_verdict_carries_the_profile_that_ran(monkeypatch):
    monkeypatch.setenv("INFOLIB_PROFILE", "paper")
    assert Book([claim()]).verdicts.iloc[0]["profile"] == "paper"
    assert verdict([3.2, 3.3], profile=None, needs="paper")["profile"] == "paper"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([3.2], "at least 2 seeds"),
        ([3.2, float("nan")], "claim plateau was given a value that is not finite"),
        ([[3.2, 3.1], [3.2, 3.1]], "one number per seed, got shape"),
    ],
)
def test_values_that_cannot_be_judged_are_refused(values, message):
    for given_values in ({"values": values}, {"values": [3.2, 3.3], "control": values}):
        book = Book([claim()])
        with pytest.raises(ValueError, match=message):
            book.judge("plateau", **given_values)
        assert book.verdicts["verdict"].tolist() == ["not attempted"]


def test_unknown_claim_lists_the_claims():
    with pytest.raises(ValueError, match="unknown claim 'platau'; claims: plateau, other"):
        Book([claim(), claim(id="other")]).judge("platau", [1, 2])


def test_the_word_stands_beside_its_statement_as_it_is_judged(capsys):
    book = Book([claim(statement="It stays at 3.26 bits.")], profile="quick")
    book.judge("plateau", (value for value in (3.25, 3.26)))
    book.judge("plateau", np.array([1.0, 1.1]), control=iter([1, 2]))
    assert capsys.readouterr().out.splitlines() == [
        "✓ reproduced: It stays at 3.26 bits. (plateau)",
        "✗ not reproduced: It stays at 3.26 bits. (plateau)",
    ]
    assert book.verdicts[["verdict", "control"]].values.tolist() == [["not reproduced", "does not fail"]]  # the last


def test_verdicts_come_in_the_order_of_the_claims_whatever_is_judged_first():
    book = Book([claim(), claim(id="second"), claim(id="third")])
    book.judge("third", [3.25, 3.26])
    book.judge("plateau", [3.25, 3.26])
    assert book.verdicts["claim"].tolist() == ["plateau", "second", "third"]
    assert book.verdicts["verdict"].tolist() == ["reproduced", "not attempted", "reproduced"]


def test_expectations_say_before_the_run_what_is_expected():
    book = Book([claim(tolerance=0.10), claim(id="up", kind="sign", expected="positive")])
    table = book.expectations()
    assert table.index.tolist() == ["plateau", "up"]
    assert table.values.tolist() == [["value", 3.26, "0.1"], ["sign", "positive", "0.1"]]


def test_book_of_a_notebook_has_its_claims():
    assert list(claims.book("04_neuron_importance").claims) == [c.id for c in load_claims("04_neuron_importance")]
    with pytest.raises(FileNotFoundError, match=r"claims/09_mine.toml"):
        claims.book("09_mine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tolerance": -0.1}, "tolerance must be a finite number of at least 0, got -0.1"),
        ({"tolerance": "small"}, "tolerance must be a finite number of at least 0"),
        ({"expected": "big"}, "expected must be a number, got 'big'"),
        ({"kind": "sign", "expected": 1}, "unknown expected sign '1'; allowed: positive, negative"),
        ({"kind": "trend", "expected": "up"}, "unknown expected trend 'up'; allowed: increasing, decreasing"),
        ({"kind": "null", "expected": 2}, "expected must be 0, got 2"),
    ],
)
def test_claim_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        claim(**changes)


def write(folder, text):
    (folder / "09_test.toml").write_text(text)
    return load_claims("09_test", folder)


ROW = """[[claim]]
id="a"
statement="s"
paper="p"
where="w"
source="paper"
kind="null"
expected=0
tolerance=1
why="w"
"""


def test_claims_file_is_read_in_order(tmp_path):
    assert [c.id for c in write(tmp_path, ROW + ROW.replace('"a"', '"b"'))] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ROW.replace('why="w"\n', ""), "09_test.toml: claim a lacks the field 'why'"),
        (ROW + "tolerence=2\n", "unknown field 'tolerence'; did you mean 'tolerance'[?] allowed: id, statement"),
        (ROW.replace("null", "guess"), "claim a.kind must be one of 'value', 'null', 'sign', 'order', 'trend'"),
        (ROW.replace('"paper"', '"hearsay"'), "claim a.source must be one of 'paper', \"authors' code\", .*, got 'hea"),
        (ROW + 'needs="cluster"\n', "claim a.needs must be one of 'quick', 'paper', got 'cluster'"),
        (ROW.replace("tolerance=1", "tolerance=inf"), "claim a.tolerance must be float, got inf"),
        (
            ROW.replace("tolerance=1", "tolerance=-1"),
            "claim a: tolerance must be a finite number of",
        ),
        (ROW + ROW, "more than one claim a"),
    ],
)
def test_claims_file_with_a_mistake_names_it(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path, text)


def test_summary_holds_words_and_no_digits_of_ours():
    book = Book([claim()])
    book.judge("plateau", [3.2512345, 3.2634567])
    assert "reproduced" in book.summary()
    assert "3.25" not in book.summary()
    assert book.rounded().loc["plateau", ["ours", "n", "tolerance"]].tolist() == ["3.26", 2, "0.1"]
    assert book.verdicts.loc[0, "ours"] == pytest.approx(3.2573456)  # as it is, where nobody rounds


def test_numbers_of_a_paper_are_data(tmp_path):
    (tmp_path / "09_x.csv").write_text("figure,mode,at,value\nfig1,,20,0.5\n")
    assert claims.paper_numbers("09_x", tmp_path).to_dict("records") == [
        {"figure": "fig1", "mode": "", "at": 20, "value": 0.5}
    ]
    with pytest.raises(FileNotFoundError, match=r"08_x.csv"):
        claims.paper_numbers("08_x", tmp_path)


def test_every_column_of_a_verdict_is_listed_and_no_claims_make_an_empty_table():
    assert verdict([3.25, 3.26]).index.tolist() == claims.COLUMNS
    assert not verdict([3.25, 3.26], control=[1, 2]).isna().any()
    empty = Book([]).verdicts
    assert (len(empty), empty.columns.tolist()) == (0, claims.COLUMNS)
