import json
import math
import re

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from workbook import claims, root
from workbook.claims import Book, Claim, load_claims

NUMBERS = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 6)), min_size=2, max_size=30)
GOOD = {
    "id": "09-plateau", "statement": "s", "paper": "1909.11396", "where": "Fig. 3", "evidence": "figure",
    "kind": "value", "expected": 3.26, "tolerance": 0.1, "why": "w",
}  # fmt: skip
FIVE = [3.25, 3.26, 3.27, 3.24, 3.28]
FAR = [0.5, 0.52, 0.49, 0.51, 0.47]


def claim(**changes):
    return Claim(**(GOOD | changes))


def judge(values, profile="quick", control=None, positive=None, at_bound=None, **changes):
    named = {"control": "untrained"} if control is not None else {}
    named |= {"positive": "the label itself"} if positive is not None else {}
    book = Book([claim(**(named | changes))], profile=profile, show=False)
    book.judge("09-plateau", values, control=control, positive=positive, at_bound=at_bound)
    return book


def row(values, **options):
    (only,) = judge(values, **options).verdicts.to_dict("records")
    return only


def test_ours_keeps_its_sign():
    of = row([-0.3, -0.31, -0.32], kind="sign", expected="negative")
    assert (of["ours"], of["accepted_low"], of["accepted_high"]) == pytest.approx((-0.31, -math.inf, -0.1))
    of = row([[3, 2, 1], [5, 4, 3]], kind="trend", expected="decreasing", tolerance=0.5)
    assert (of["ours"], of["accepted_low"], of["accepted_high"]) == pytest.approx((-1, -1, -0.5))


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


def test_claim_without_values_or_beyond_the_profile_is_not_attempted():
    of = Book([claim()]).verdicts.iloc[0]
    assert (of["verdict"], of["word"], of["n"], of["control"]) == ("not attempted", "not attempted", 0, "")
    of = row(FIVE, needs="paper", control=FAR)
    assert of["verdict"] == "not attempted"
    assert math.isnan(of["ours"])
    assert row(FIVE, needs="paper", control=FAR, profile="paper")["verdict"] == "reproduced"


def test_verdict_carries_the_profile_that_ran(monkeypatch):
    monkeypatch.setenv("INFOLIB_PROFILE", "paper")
    assert Book([claim()]).verdicts.iloc[0]["profile"] == "paper"
    assert row(FIVE, profile=None, needs="paper", control=FAR)["verdict"] == "reproduced"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "at least 1 seed"),
        ([3.2, float("nan")], "claim 09-plateau was given a value that is not finite"),
        ([[3.2, 3.1], [3.2, 3.1]], "one number per seed, got shape"),
        ("3333333", "claim 09-plateau takes numbers, got '3'"),
        (["3.2"] * 5, "claim 09-plateau takes numbers, got '3.2'"),
        ([3.2 + 1j] * 5, "claim 09-plateau takes numbers, got"),
        (torch.tensor(FIVE, requires_grad=True), "claim 09-plateau takes numbers, got tensor"),
        (pd.DataFrame({"a": FIVE}), "claim 09-plateau takes numbers, got 'a'"),
        (3.2, "must have one entry per seed, got 3.2"),
        ({}, "must have one entry per seed, got {}"),
    ],
)
def test_values_that_cannot_be_judged_are_refused(values, message):
    for groups in ({"values": values}, {"values": FIVE, "control": values}, {"values": FIVE, "positive": values}):
        with pytest.raises(ValueError, match=message):
            judge(**groups)


@pytest.mark.parametrize("role", ["control", "positive"])
def test_controls_are_those_of_the_claims_file(role):
    book = Book([claim(id="09-a", **{role: "untrained"}), claim(id="09-b")], show=False)
    with pytest.raises(ValueError, match=f"09-a: {role} must be as in the claims file, which names one, which is not"):
        book.judge("09-a", FIVE)
    with pytest.raises(ValueError, match=f"09-b: {role} must be as in the claims file, which names none"):
        book.judge("09-b", FIVE, **{role: FAR})
    assert book.verdicts["verdict"].tolist() == ["not attempted"] * 2
    assert book.values.empty


def test_data_sets_are_judged_apart_and_the_word_is_the_weakest(capsys):
    values = {"mnist": FIVE, "fashion-mnist": FIVE, "digits": FAR}
    book = Book([claim(control="untrained")])
    book.judge("09-plateau", values, control=dict.fromkeys(values, FAR))
    assert book.verdicts[["data", "verdict", "word"]].values.tolist() == [
        ["mnist", "reproduced", "not reproduced"],
        ["fashion-mnist", "reproduced", "not reproduced"],
        ["digits", "not reproduced", "not reproduced"],
    ]
    assert capsys.readouterr().out.startswith("✗ not reproduced, reproduced on 2 of 3, no positive control yet: s (09-")
    assert "fashion-mnist" in book.summary()
    with pytest.raises(ValueError, match="09-plateau: control must be of mnist, fashion-mnist, digits, got mnist"):
        book.judge("09-plateau", values, control={"mnist": FAR})


def test_a_check_on_several_data_sets_says_on_how_many_it_passes(capsys):
    values = {"mnist": FIVE, "digits": FAR}
    Book([claim(role="check")]).judge("09-plateau", values)
    assert "fails, passes on 1 of 2" in capsys.readouterr().out


@pytest.mark.parametrize(("positive", "word"), [(FIVE, "seen"), (FAR, "not seen"), (FAR[:2], "not seen"), (None, "")])
def test_the_positive_control_is_seen_where_its_interval_is_inside(positive, word):
    of = {} if positive is None else {"positive": "known"}
    book = Book([claim(control="untrained", **of)], show=False)
    book.judge("09-plateau", FIVE[:2], control=FAR[:2], positive=positive)  # too few seeds to note anything of it
    assert book.verdicts["positive"].tolist() == [word]


def test_values_are_kept_unrounded_and_verdicts_are_rebuilt_from_them(tmp_path):
    kinds = [
        claim(control="c", positive="p"), claim(id="09-up", kind="trend", expected="increasing", tolerance=0.5),
        claim(id="09-none"), claim(id="09-check", role="check"),
    ]  # fmt: skip
    book = Book(kinds, profile="paper", show=False)
    third = {"a": [1 / 3, *FIVE], "b": [3.0, *FIVE]}
    far = {"a": [0.1, *FAR], "b": [0.2, *FAR]}
    book.judge("09-plateau", third, control=far, positive=third, at_bound={"a": [True] * 6, "b": [False] * 6})
    book.judge("09-up", [[1, 2, 3.1], [1, 3, 2]])
    book.judge("09-check", FIVE)
    book.values.to_csv(tmp_path / "values.csv", index=False)
    kept = pd.read_csv(tmp_path / "values.csv", keep_default_na=False)
    assert kept.columns.tolist() == claims.VALUES
    assert json.loads(kept["value"][0]) == 1 / 3
    assert len(kept) == 2 * 6 * 4 + 2 + 5
    pd.testing.assert_frame_equal(claims.rebuilt(kinds, kept, "paper").verdicts, book.verdicts)
    assert book.verdicts.loc[0, "verdict"] == "blind"


def test_unknown_claim_lists_the_claims():
    with pytest.raises(ValueError, match="unknown claim '09-platau'; claims: 09-plateau, 09-other"):
        Book([claim(), claim(id="09-other")]).judge("09-platau", [1, 2])


def test_the_word_stands_beside_its_statement_as_it_is_judged(capsys):
    book = Book([claim(statement="It stays at 3.26 bits.", control="untrained")], profile="quick")
    book.judge("09-plateau", (value for value in FIVE), control=iter(FAR))
    book.judge("09-plateau", np.array([1.0, 1.1]), control=iter(FAR))
    assert capsys.readouterr().out.splitlines() == [
        "✓ reproduced: It stays at 3.26 bits. (09-plateau)",
        "? undecided, too few seeds, 5 would do: It stays at 3.26 bits. (09-plateau)",
    ]
    assert book.verdicts[["verdict", "control"]].values.tolist() == [["undecided", "fails"]]  # the last
    book.judge("09-plateau", FIVE, control=[3.24, 3.27, 3.25, 3.26, 3.25])
    assert capsys.readouterr().out.startswith(
        "≈ holds without it too, difference 0.01 [-0.02, 0.03]: It stays at 3.26 bits."
    )


def test_verdicts_come_in_the_order_of_the_claims_whatever_is_judged_first():
    book = Book([claim(), claim(id="09-second"), claim(id="09-third")], show=False)
    book.judge("09-third", FAR)
    book.judge("09-plateau", FAR)
    assert book.verdicts["claim"].tolist() == ["09-plateau", "09-second", "09-third"]
    assert book.verdicts["verdict"].tolist() == ["not reproduced", "not attempted", "not reproduced"]


def test_expectations_say_before_the_run_what_is_expected():
    book = Book([claim(tolerance=0.10), claim(id="09-up", kind="sign", expected="positive")])
    table = book.expectations()
    assert table.index.tolist() == ["09-plateau", "09-up"]
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
        (
            {"kind": "trend", "expected": "increasing", "tolerance": 2},
            "tolerance must be a number from 0 to 1, got 2",
        ),
        ({"expected": "big"}, "expected must be a number, got 'big'"),
        ({"kind": "sign", "expected": 1}, "unknown expected sign '1'; allowed: positive, negative"),
        ({"kind": "trend", "expected": "up"}, "unknown expected trend 'up'; allowed: increasing, decreasing"),
        ({"kind": "null", "expected": 2}, "expected must be 0, got 2"),
        ({"kind": "differs", "expected": "positive"}, "expected must be 0, got 'positive'"),
        ({"positive": "a", "no_positive": "b"}, "no_positive must be empty where there is a positive control"),
    ],
)
def test_claim_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        claim(**changes)


def write(folder, text):
    (folder / "09_test.toml").write_text(text)
    return load_claims("09_test", folder)


ROW = """[[claim]]
id="09-a"
statement="s"
paper="p"
where="w"
evidence="text"
kind="null"
expected=0
tolerance=1
why="w"
"""


def test_claims_file_is_read_in_order(tmp_path):
    assert [c.id for c in write(tmp_path, ROW + ROW.replace('"09-a"', '"09-b"'))] == ["09-a", "09-b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ROW.replace('why="w"\n', ""), "09_test.toml: claim 09-a lacks the field 'why'"),
        (ROW + "tolerence=2\n", "unknown field 'tolerence'; did you mean 'tolerance'[?] allowed: id, statement"),
        (
            ROW.replace("null", "guess"),
            "claim 09-a.kind must be one of 'value', 'null', 'sign', 'differs', 'order', 'trend'",
        ),
        (ROW.replace('"text"', '"hearsay"'), "claim 09-a.evidence must be one of 'text', 'abstract', .*, got 'hea"),
        (ROW + f'quote="{"word " * 26}"\n', "claim 09-a.quote must be str of at most 25 words"),
        (ROW.replace("09-a", "08-a"), "claim 08-a must begin with its notebook's number, 09-"),
        (ROW + 'needs="cluster"\n', "claim 09-a.needs must be one of 'quick', 'paper', got 'cluster'"),
        (ROW.replace("tolerance=1", "tolerance=inf"), "claim 09-a.tolerance must be float, got inf"),
        (
            ROW.replace("tolerance=1", "tolerance=-1"),
            "claim 09-a: tolerance must be a finite number of",
        ),
        (ROW + ROW, "more than one claim 09-a"),
    ],
)
def test_claims_file_with_a_mistake_names_it(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path, text)


def test_summary_holds_words_and_no_digits_of_ours():
    book = judge([3.2512345, 3.2634567, *FIVE], control=FAR)
    assert "undecided" not in book.summary()
    assert "reproduced" in book.summary()
    assert "3.25" not in book.summary()
    assert "data" not in book.summary()
    assert book.rounded().loc["09-plateau", ["ours", "control", "n", "tolerance"]].tolist() == [
        "3.26 [3.25, 3.27]", "0.50 [0.47, 0.52]", 7, "0.1",
    ]  # fmt: skip


def test_numbers_of_a_paper_are_data(tmp_path):
    (tmp_path / "09_x.csv").write_text("figure,mode,at,value\nfig1,,20,0.5\n")
    assert claims.paper_numbers("09_x", tmp_path).to_dict("records") == [
        {"figure": "fig1", "mode": "", "at": 20, "value": 0.5}
    ]
    with pytest.raises(FileNotFoundError, match=r"08_x.csv"):
        claims.paper_numbers("08_x", tmp_path)


def test_every_column_of_a_verdict_is_listed_and_no_claims_make_an_empty_table():
    of = judge(FIVE, control=FAR, positive=FIVE, at_bound=[False] * 5).verdicts.iloc[0]
    assert of.index.tolist() == claims.COLUMNS
    assert of[of.isna()].index.tolist() == ["needed"]
    assert (of["control_is"], of["positive_is"], of["positive"]) == ("untrained", "the label itself", "seen")
    empty = Book([])
    assert (len(empty.verdicts), empty.verdicts.columns.tolist()) == (0, claims.COLUMNS)
    assert (len(empty.values), empty.values.columns.tolist()) == (0, claims.VALUES)


ALL = {c.id: c for path in sorted((root() / "data" / "claims").glob("*.toml")) for c in load_claims(path.stem)}
NEVER = r"\b(no|not|never|hardly)\b"
MORE = r"more|less|below|better|rises|falls|saves|positive|negative|exceeds|at least|correlat|grows|gain|agree|misses"
WORDING = {  # what a statement has to say, and what it may not
    "value": (r"within|reaches|between|is |no more than|by at most", None),
    "null": (
        rf"within|at most|as (much|many)|tends to|is |less than|unchanged|{NEVER}",
        r"(changes|differs) .*by more",
    ),
    "differs": (r"changes|differs", NEVER),
    "sign": (MORE, r"(does not|do not) (change|differ)|as (much|many) "),
    "order": (r"never rises|never falls|no more|no .* over|most .* then", None),
    "trend": (r"grows|rises|falls|becomes|[Tt]he deeper", r"does not"),
}
TURNED = {"increasing": r"falls|smaller|lower|fewer", "decreasing": r"grows|rises(?! by)"}  # of a trend


@pytest.mark.parametrize("one", ALL.values(), ids=list(ALL))
def test_a_statement_says_what_its_rule_asks_for(one):
    """A true statement must not stand under "not reproduced"."""
    needed, forbidden = WORDING[one.kind]
    assert re.search(needed, one.statement), one.statement
    assert not (forbidden and re.search(forbidden, one.statement)), one.statement
    if one.kind == "trend":
        assert not re.search(TURNED[one.expected], one.statement), one.statement


@pytest.mark.parametrize(
    ("kind", "statement"),
    [
        ("null", "Pruning changes what a layer discards by more than 0.05 bit"),
        ("differs", "Pruning does not change what a layer discards"),
        ("sign", "A layer discards as much as the one before it"),
        ("trend", "Discarding does not grow with depth"),
    ],
)
def test_a_statement_that_contradicts_its_rule_is_found(kind, statement):
    needed, forbidden = WORDING[kind]
    assert re.search(forbidden, statement) or not re.search(needed, statement)


def test_claims_have_grades_scales_and_ids_of_their_own():
    assert len(ALL) >= 120
    assert [i for i, c in ALL.items() if c.role == "check" and c.control] == []
    assert [i for i, c in ALL.items() if not c.scale and c.evidence != "ours"] == []
    assert [i for i in ALL if i != i.lower()] == []
    changes = (root() / "data" / "claims" / "CHANGES.md").read_text()
    assert [i for i in ALL if f"| {i} |" not in changes.replace("`", "")] == []


def test_the_first_two_notebooks_have_a_positive_control_for_each_finding_or_say_why_there_is_none():
    findings = [c for i, c in ALL.items() if i[:2] in ("00", "01") and c.role == "finding"]
    assert findings
    assert [c.id for c in findings if not (c.positive or c.no_positive)] == []
    assert [c.id for c in findings if not c.control] == []


def test_a_notebooks_calls_of_judge_are_held_against_its_claims_before_it_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("INFOLIB_ROOT", str(tmp_path))
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "profiles.toml").touch()
    (tmp_path / "data" / "claims").mkdir(parents=True)
    (tmp_path / "data" / "claims" / "09_test.toml").write_text(
        ROW + "control='untrained'\n" + ROW.replace('"09-a"', '"09-b"')
    )
    good = [
        "x = 1",
        "book.judge('09-a', v, control=w)\nbook.judge('09-b', v)\nbook.judge('09-a', **seeds)\nbook.judge(i, v)",
    ]
    claims.check("09_test", good)
    for cell, message in (
        (
            "book.judge('09-a', v)",
            "notebook 09_test: claim 09-a: control must be as in the claims file, which names one",
        ),
        ("book.judge('09-b', v, control=w)", "claim 09-b: control must be as in the claims file, which names none"),
        ("book.judge('09-b', v, positive=w)", "claim 09-b: positive must be as in the claims file, which names none"),
        ("book.judge('09-c', v)", "notebook 09_test: unknown claim '09-c'; claims: 09-a, 09-b"),
    ):
        with pytest.raises(ValueError, match=message):
            claims.check("09_test", [*good, cell])
    claims.check("08_without_claims", ["print()"])
