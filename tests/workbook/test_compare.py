import json
import shutil

import pandas as pd
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure

from workbook import claims, provenance
from workbook.__main__ import main
from workbook.compare import differences

FIVE, FAR = [3.25, 3.26, 3.27, 3.24, 3.28], [0.5, 0.52, 0.49, 0.51, 0.47]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("INFOLIB_ROOT", str(tmp_path))
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "profiles.toml").touch()
    monkeypatch.chdir(tmp_path)
    for place in ("quick/02_topic", "paper/02_topic", "quick/04_other"):
        leave(tmp_path / "reports" / place, monkeypatch)
    return tmp_path / "reports"


def leave(folder, monkeypatch, values=FIVE, number=1 / 3, word="x"):
    monkeypatch.setenv("INFOLIB_REPORT", str(folder))
    book = claims.Book(
        [claims.Claim("02-a", "s", "p", "w", "ours", "value", 3.26, 0.1, "why", control="c")], show=False
    )
    book.judge("02-a", values, control=FAR)
    results = pd.DataFrame({"layer": ["fc1", word], "bits": [number, 2.0]})
    provenance.save(results=results, book=book, figures={"a": Figure((1, 1))})
    monkeypatch.delenv("INFOLIB_REPORT")
    set_provenance(folder, parameters={"n": 1})


def set_provenance(folder, **changes):
    path = folder / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_equal_reports_have_no_difference(root):
    assert differences("quick/02_topic", "paper/02_topic") == []
    done = CliRunner().invoke(main, ["diff", "quick/02_topic", str(root / "paper" / "02_topic")])
    assert (done.exit_code, done.output) == (
        0, f"quick/02_topic and {root}/paper/02_topic are the same but for rounding\n",
    )  # fmt: skip


def test_rounding_is_no_difference(root, monkeypatch):
    leave(root / "quick" / "02_topic", monkeypatch, number=1 / 3 + 1e-8)
    assert differences("quick/02_topic", "paper/02_topic") == []


def test_numbers_words_and_intervals_that_differ_are_told(root, monkeypatch):
    leave(root / "quick" / "02_topic", monkeypatch, values=[5.0, 5.1, 5.2, 5.0, 5.1], number=0.5, word="y")
    assert differences("paper/02_topic", "quick/02_topic") == [
        "results.csv: layer differs in 1 of 2 rows",
        "results.csv: bits differs in 1 of 2 rows, by 0.167 at most",
        "02-a: reproduced → not reproduced; 3.26 [3.24, 3.28] → 5.08 [4.98, 5.18]",
    ]
    leave(root / "quick" / "02_topic", monkeypatch, values=[value + 0.02 for value in FIVE])
    (line,) = differences("paper/02_topic", "quick/02_topic")
    assert line == "02-a: still reproduced; 3.26 [3.24, 3.28] → 3.28 [3.26, 3.30]"


def test_parameters_and_machines_that_differ_are_told(root):
    set_provenance(root / "quick" / "02_topic", parameters={"n": 2, "m": 3}, threads=64, wall_seconds=9)
    lines = differences("paper/02_topic", "quick/02_topic")
    assert lines[:2] == ["parameters: n 1 → 2", "parameters: m None → 3"]
    assert lines[2].startswith("threads: ")
    assert len(lines) == 3


def test_two_profiles_are_compared_report_by_report(root, monkeypatch):
    leave(root / "quick" / "02_topic", monkeypatch, number=0.5)
    lines = differences("quick", "paper")
    assert lines == ["04_other: only in quick", "02_topic: results.csv: bits differs in 1 of 2 rows, by 0.167 at most"]
    done = CliRunner().invoke(main, ["diff", "quick", "paper"])
    assert (done.exit_code, done.output) == (1, "\n".join(lines) + "\n")


def test_other_rows_and_claims_are_told(root):
    path = root / "quick" / "02_topic"
    (path / "results.csv").write_text("layer\nfc1\n")
    table = pd.read_csv(path / "verdicts.csv")
    table.assign(claim="02-b").to_csv(path / "verdicts.csv", index=False)
    assert differences("paper/02_topic", "quick/02_topic") == [
        "results.csv: 2 rows of layer, bits → 1 rows of layer",
        "02-a: only in the first",
        "02-b: only in the second",
    ]


def test_what_cannot_be_compared_is_refused_by_name(root):
    for pair, message in (
        (("quick", "nowhere"), "nowhere must be a profile, a report or a folder"),
        (("quick", "paper/02_topic"), "must both be a report, or both hold reports"),
    ):
        with pytest.raises(ValueError, match=message):
            differences(*pair)
    shutil.rmtree(root / "paper" / "02_topic")
    with pytest.raises(ValueError, match="quick and paper have no report in common: 02_topic, 04_other and none"):
        differences("quick", "paper")


def test_a_control_that_moved_is_told_though_the_word_and_our_interval_stand(root, monkeypatch):
    monkeypatch.setattr(f"{__name__}.FAR", [0.6, 0.62, 0.59, 0.61, 0.57])
    leave(root / "quick" / "02_topic", monkeypatch)
    assert differences("paper/02_topic", "quick/02_topic") == [
        "02-a: still reproduced; control_mean, control_low, control_high, paired_mean, paired_low, paired_high differ"
    ]


@pytest.mark.parametrize(
    ("file", "content"),
    [("results.csv", None), ("verdicts.csv", ""), ("provenance.json", "[]"), ("provenance.json", "{")],
)
def test_a_broken_report_is_told_and_the_others_are_compared(root, monkeypatch, file, content):
    leave(root / "paper" / "04_other", monkeypatch, number=0.5)
    path = root / "quick" / "02_topic" / file
    path.unlink() if content is None else path.write_text(content)
    broken, other = differences("quick", "paper")
    assert broken.startswith("02_topic: cannot be compared: ")
    assert other == "04_other: results.csv: bits differs in 1 of 2 rows, by 0.167 at most"


def test_another_rule_is_told(root):
    set_provenance(root / "quick" / "02_topic", rule=1)
    assert differences("paper/02_topic", "quick/02_topic") == ["rule: 2 → 1"]


def test_a_number_that_is_0_is_shown(root, monkeypatch):
    leave(root / "quick" / "02_topic", monkeypatch, values=[0.0] * 5)
    (line,) = differences("paper/02_topic", "quick/02_topic")
    assert line.endswith("→ 0.00 [0.00, 0.00]")
