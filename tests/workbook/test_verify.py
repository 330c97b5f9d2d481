"""A report is held against its files, its values, its claims and the history; whatever is touched is named."""

import json
import shutil
import subprocess

import nbformat
import pytest
from click.testing import CliRunner

import infolib
import workbook
from workbook import run as runner
from workbook.__main__ import main
from workbook.verify import verify

CLAIMS = """# before the run
[[claim]]
id = "02-gap"
statement = "The gap is 0"
paper = "p"
where = "w"
evidence = "ours"
kind = "null"
expected = 0
tolerance = 0.1
why = "a tenth"
control = "another gap"
no_positive = "a test"
"""
CELL = """
import pandas as pd
from matplotlib.figure import Figure
from workbook import claims, provenance
print(provenance.line())
book = claims.book("02_topic")
book.judge("02-gap", [0.01 * n, -0.02, 0.013, 0.004, 1 / 300], control=[2.0, 2.1, 1.9, 2.0, 2.2])
provenance.save(results=pd.DataFrame({"n": [n]}), book=book, figures={"a": Figure((1, 1))})
"""


def git(folder, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder, message="a commit"):
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)


def use(monkeypatch, root):
    """Let `root` be the workbook whose code runs."""
    for package in (infolib, workbook):
        monkeypatch.setattr(package, "__file__", str(root / package.__name__ / "__init__.py"))
    monkeypatch.setenv("INFOLIB_ROOT", str(root))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(root.parent))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workbook with one notebook, its claims and a report of the paper profile, all committed."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        root = tmp_path_factory.mktemp("made") / "book"
        (root / "notebooks").mkdir(parents=True)
        (root / "data" / "claims").mkdir(parents=True)
        (root / "notebooks" / "profiles.toml").touch()
        (root / ".gitignore").write_text("report.html\n.lock\nfailed/\n")
        (root / "data" / "claims" / "02_topic.toml").write_text(CLAIMS)
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A topic")])
        notebook.cells.append(nbformat.v4.new_code_cell("n: int = 1  # how many", metadata={"tags": ["parameters"]}))
        notebook.cells.append(nbformat.v4.new_code_cell(CELL))
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, root / "notebooks" / "02_topic.ipynb")
        use(monkeypatch, root)
        git(root, "init", "-q")
        commit(root, "claims")
        (done,) = runner.run(["02"], profile="paper")
        assert done.error is None, done.error
        commit(root, "report")
        yield root


@pytest.fixture
def root(made, tmp_path, monkeypatch):
    root = tmp_path / "book"
    shutil.copytree(made, root)
    use(monkeypatch, root)
    return root


def report(root, name="02_topic"):
    return root / "reports" / "paper" / name


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def wrong():
    (one,) = verify()
    return one.wrong


def said(*options):
    done = CliRunner().invoke(main, ["verify", *options])
    return done.exit_code, done.output


def hash_again(root):
    """As somebody does who knows how a report is verified."""
    from workbook import provenance

    path = report(root) / "provenance.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"files": provenance.hashes(report(root))}))


@pytest.mark.usefixtures("root")
def test_a_report_as_it_was_made_holds():
    assert wrong() == []
    code, text = said()
    assert code == 0
    assert "✓ paper/02_topic: 1 verdicts rebuilt, 5 files as written, claims fixed in" in text
    assert "1 of 1 reports hold" in text
    assert said("--strict", "02")[0] == 0


@pytest.mark.parametrize("file", ["results.csv", "verdicts.csv", "values.csv", "report.ipynb", "figures/a.png"])
def test_an_edited_file_is_named(root, file):
    with (report(root) / file).open("ab") as opened:
        opened.write(b" ")
    assert f"{file} is not the one that the run wrote" in wrong()
    assert said()[0] == 1


def test_files_that_are_missing_or_new_are_named(root):
    (report(root) / "figures" / "a.png").unlink()
    (report(root) / "figures" / "b.png").touch()
    assert wrong() == ["figures/a.png is missing", "figures/b.png is not a file of the run"]


def test_a_word_that_the_rule_does_not_give_is_named_even_if_its_hash_is_made_anew(root):
    change(report(root) / "verdicts.csv", ",reproduced,", ",not reproduced,")
    hash_again(root)
    (text,) = wrong()
    assert text == "claim 02-gap: verdict is 'not reproduced', the values give 'reproduced'"


def test_numbers_that_do_not_fit_their_values_are_named(root):
    change(report(root) / "values.csv", "0.013", "0.014")
    hash_again(root)
    assert any("ours is " in text for text in wrong())


def test_a_changed_tolerance_is_named_unless_it_is_told(root):
    change(root / "data" / "claims" / "02_topic.toml", "tolerance = 0.1", "tolerance = 0.5")
    (text,) = wrong()
    assert text.startswith("claim 02-gap: tolerance was 0.1 in ")
    assert text.endswith("is 0.5, and CHANGES.md does not tell why")
    (root / "data" / "claims" / "CHANGES.md").write_text(
        "| new id | old id | change |\n|---|---|---|\n| x | `02-gap` | y |"
    )
    assert wrong() == []
    change(root / "data" / "claims" / "02_topic.toml", "02-gap", "02-x")
    assert wrong() == []
    (root / "data" / "claims" / "CHANGES.md").unlink()
    assert wrong() == ["claim 02-gap is no longer in the claims file, and CHANGES.md does not tell why"]


def test_another_reason_or_statement_is_no_other_acceptance(root):
    change(root / "data" / "claims" / "02_topic.toml", "a tenth", "a tenth of a bit")
    assert wrong() == []


def test_claims_that_were_committed_after_the_run_are_named(root):
    """The report names a commit that its history does not have before it."""
    record = json.loads((report(root) / "provenance.json").read_text())
    change(root / "data" / "claims" / "02_topic.toml", "tolerance = 0.1", "tolerance = 0.5")
    commit(root, "later")
    later = git(root, "rev-parse", "HEAD")
    (report(root) / "provenance.json").write_text(json.dumps(record | {"commit": later}))
    (first, *others) = wrong()
    assert first == f"commit {later[:9]}, which it names, is not part of the history before the report"
    assert any("tolerance is 0.1" in text for text in others)


def test_claims_that_the_commit_does_not_have_are_named(root):
    path = report(root) / "provenance.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"claims": {"02_topic.toml": "0" * 64}}))
    (text,) = wrong()
    assert text.startswith("data/claims/02_topic.toml of commit ")


@pytest.mark.parametrize("where", ["claims", "notebook"])
def test_a_run_from_a_changed_tree_is_named(root, where):
    if where == "claims":
        change(root / "data" / "claims" / "02_topic.toml", "tolerance = 0.1", "tolerance = 0.2")
    else:
        (root / "notebooks" / "new.txt").touch()
    (done,) = runner.run(["02"], profile="paper")
    assert done.error is None
    found = wrong()
    assert any(text.startswith("it ran with changes that commit ") for text in found)
    assert any("is not the file that the run read" in text for text in found) == (where == "claims")


def test_an_overridden_run_is_named_and_one_with_a_name_is_not(root):
    (done,) = runner.run(["02"], profile="paper", overrides={"n": 2}, name="two")
    assert done.error is None
    first, second = verify()
    assert (first.report, first.wrong, second.report, second.wrong) == ("paper/02_topic", [], "paper/02_topic@two", [])
    shutil.rmtree(report(root))
    report(root, "02_topic@two").rename(report(root))
    assert wrong() == ["it ran with other parameters than the profile's: n = 2"]


def test_a_report_that_is_not_committed_yet_holds_if_its_commit_is_part_of_the_history(root):
    (done,) = runner.run(["02"], profile="paper")
    assert done.error is None
    assert wrong() == []
    path = report(root) / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"commit": "0" * 40}))
    assert wrong()[0].startswith("commit 000000000 cannot be looked up (")


def test_a_shallow_clone_and_an_export_without_git_say_what_is_missing(root, tmp_path, monkeypatch):
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{root}", str(shallow))
    use(monkeypatch, shallow)
    (text,) = wrong()
    assert text.endswith("(a shallow clone: `git fetch --unshallow` first)")
    git(shallow, "fetch", "-q", "--unshallow")
    assert wrong() == []
    shutil.rmtree(shallow / ".git")
    (text,) = wrong()
    assert text.endswith("(no checkout with a commit)")


def test_reports_of_the_former_rule_are_listed_and_fail_only_strictly(root):
    path = report(root) / "provenance.json"
    record = json.loads(path.read_text())
    del record["rule"]
    path.write_text(json.dumps(record))
    code, text = said()
    assert code == 0
    assert "– paper/02_topic: judged by the former rule: not counted" in text
    assert "0 of 1 reports hold, 1 of the former rule" in text
    assert said("--strict")[0] == 1


def test_a_broken_report_is_named_and_no_report_is_an_error(root):
    (report(root) / "provenance.json").write_text("{")
    code, text = said()
    assert code == 1
    assert "✗ paper/02_topic" in text
    assert "is not a whole report" in text
    shutil.rmtree(report(root))
    code, text = said()
    assert code == 1
    assert "there are no reports to verify" in text


def again(root, **changes):
    """Another provenance, as somebody writes it who has something to hide."""
    path = report(root) / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_run_of_a_later_commit_holds_though_its_verdicts_are_the_same(root):
    (root / "notes.txt").write_text("nothing to do with it")
    commit(root)
    verdicts = (report(root) / "verdicts.csv").read_bytes()
    (done,) = runner.run(["02"], profile="paper")
    assert done.error is None, done.error
    assert (report(root) / "verdicts.csv").read_bytes() == verdicts
    assert wrong() == []
    commit(root)
    assert wrong() == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"seed_shift": 100}, "it ran with other parameters than the profile's: seeds from 100"),
        ({"dirty": None}, "it ran with changes that commit "),
        ({"commit": "HEAD"}, "commit HEAD cannot be looked up (not a full SHA-1)"),
        ({"commit": 12}, "provenance.json is not as a run writes it: "),
        ({"claims": "all"}, "provenance.json is not as a run writes it: "),
        ({"files": None}, "provenance.json is not as a run writes it: "),
        ({"overridden": ["n"]}, "reports/paper/02_topic is not a whole report (overridden must be a table)"),
    ],
)
def test_a_provenance_that_no_run_writes_is_named(root, changes, text):
    again(root, **changes)
    assert wrong()[0].startswith(text)
    code, _ = said()
    assert code == 1


def test_a_report_of_no_notebook_is_named(root):
    shutil.copytree(report(root), report(root, "09_ghost"))
    assert [one.wrong for one in verify()] == [[], ["there is no notebook of this name"]]
    assert [one.report for one in verify(["02"])] == ["paper/02_topic"]


def test_what_was_told_before_the_run_excuses_nothing_after_it(root):
    (root / "data" / "claims" / "CHANGES.md").write_text("| x | `02-gap` | an earlier change |\n")
    commit(root)
    (done,) = runner.run(["02"], profile="paper")
    assert done.error is None, done.error
    change(root / "data" / "claims" / "02_topic.toml", "tolerance = 0.1", "tolerance = 0.5")
    (text,) = wrong()
    assert text.startswith("claim 02-gap: tolerance was 0.1 in ")


def test_a_claims_file_that_is_gone_is_named(root):
    (root / "data" / "claims" / "02_topic.toml").unlink()
    assert wrong() == ["claim 02-gap is no longer in the claims file, and CHANGES.md does not tell why"]


def test_the_reports_of_this_workbook_hold():
    """Where the history is there; else what can be held against the files alone."""
    present = [one for one in verify() if not one.former]
    assert present
    for one in present:
        assert [text for text in one.wrong if "cannot be looked up" not in text] == [], one.report
