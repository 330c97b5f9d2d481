import hashlib
import json
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import nbformat
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from workbook import claims, execution, pages, provenance, reports, rule
from workbook import root as package_root

FIVE, FAR = [3.25, 3.26, 3.27, 3.24, 3.28], [0.5, 0.52, 0.49, 0.51, 0.47]
NASTY = '<script>alert("1 | 2")</script> & co'


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("INFOLIB_ROOT", str(tmp_path))
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "profiles.toml").touch()
    return tmp_path


def leave_report(root, monkeypatch, profile, values, name="02_topic", judged=True, control=FAR, **changes):
    """A report folder as a notebook and the runner leave it, with one claim whose text wants escaping."""
    folder = root / "reports" / profile / name
    monkeypatch.setenv("INFOLIB_REPORT", str(folder))
    claim = claims.Claim("02-a", NASTY, "1804.06537", "Fig. 2", "figure", "value", 3.26, 0.1, "why")
    claim = replace(claim, control="untrained") if control else claim
    claim = replace(claim, **changes)
    book = claims.Book([claim] * judged, profile=profile)
    if values:
        book.judge("02-a", values, control=control)
    provenance.save(results=book.verdicts[["claim"]], book=book, figures={"plane": Figure((1, 1))})
    record = json.loads((folder / "provenance.json").read_text())
    ours = {"parameters": {"n": 1}, "wall_seconds": 12.3, "commit": "0123456789abcdef", "dirty": True}
    (folder / "provenance.json").write_text(json.dumps(record | ours))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A topic")])
    nbformat.write(notebook, folder / "report.ipynb")
    nbformat.write(notebook, root / "notebooks" / f"{name.partition('@')[0]}.ipynb")


class Page(HTMLParser):
    """Collects tags and text, and checks that every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_page_escapes_everything_and_needs_no_other_file(root, monkeypatch):
    leave_report(root, monkeypatch, "quick", FIVE)
    page = Page(reports.index().read_text())
    assert page.open == []
    assert NASTY in page.text  # as text, not as a tag
    assert [tag for tag, _ in page.tags].count("script") == 1  # its own
    sources = [a["src"] for _, a in page.tags if "src" in a]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert reports_linked(page) == ["quick/02_topic/report.html", "quick/02_topic/report.html#02-a"]
    assert (root / "reports" / "quick/02_topic/report.html").exists()
    within = [a["href"][1:] for tag, a in page.tags if tag == "a" and a["href"].startswith("#")]
    assert within == ["quick", "quick-02_topic", "quick-02-a"]
    assert {*within} <= {a.get("id") for _, a in page.tags}


def reports_linked(page):
    return [a["href"] for tag, a in page.tags if tag == "a" and not a["href"].startswith("#")]


def test_scoreboard_shows_ours_with_interval_verdict_and_origin(root, monkeypatch):
    leave_report(root, monkeypatch, "paper", FIVE)
    reports.index()
    text = (root / "reports" / "README.md").read_text()
    (row,) = [line for line in text.splitlines() if "alert" in line]
    assert row.count("|") - row.count("\\|") == 8  # seven cells: the claim's own bar is escaped
    assert row.endswith("| figure | 3.26 ± 0.1 | 3.26 [3.24, 3.28] | 5 | fails, 0.50 [0.47, 0.52] | ✓ reproduced |")
    assert "[A topic](paper/02_topic/report.ipynb)" in text
    assert "torch 2" in text


def test_scoreboard_holds_the_table_of_the_simulated_rule(root, monkeypatch):
    leave_report(root, monkeypatch, "paper", FIVE)
    reports.index()
    assert "How often the rule errs" not in (root / "reports" / "README.md").read_text()
    (root / "reports" / "rule.md").write_text("| a | 99.9 |\n")
    reports.index()
    assert "How often the rule errs</summary>\n\n| a | 99.9 |\n" in (root / "reports" / "README.md").read_text()


def test_markdown_scoreboard_knows_only_the_paper_profile(root, monkeypatch):
    leave_report(root, monkeypatch, "quick", FIVE)
    reports.index()
    assert "No paper-profile report yet" in (root / "reports" / "README.md").read_text()


NO_NUMBER = "claim,verdict\na,reproduced\n"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("provenance.json", "{}"), ("provenance.json", "{"), ("provenance.json", "[]"), ("provenance.json", "3"),
        ("verdicts.csv", "a\n"), ("verdicts.csv", ""), ("verdicts.csv", NO_NUMBER),
        ("provenance.json", None), ("verdicts.csv", None),
    ],
)  # fmt: skip
def test_report_that_is_not_whole_is_named_and_passed_over(root, monkeypatch, file, text):
    for name in ("02_topic", "04_other"):
        leave_report(root, monkeypatch, "paper", FIVE, name=name)
    path = root / "reports/paper/02_topic" / file
    path.unlink() if text is None else path.write_text(text)
    message = r"reports/paper/02_topic is not a whole report \(.*\): run 02_topic again, or remove it"
    with pytest.raises(ValueError, match=message):
        reports.load("paper")
    said = []
    page = Page(reports.index(said.append).read_text())
    (found,) = said
    assert re.fullmatch(message, found)
    assert str(root) not in found
    assert f"Passed over: {found}" in page.text
    assert page.open == []
    assert f"\nPassed over: {found}\n" in (root / "reports" / "README.md").read_text()
    assert reports_linked(page)[0] == "paper/04_other/report.html"
    assert "02_topic/" not in "".join(reports_linked(page))
    assert list(reports.load("paper", broken=lambda _: None)) == ["04_other"]


@pytest.mark.parametrize("damage", ["file", "link", "picture", "versions", "verdict"])
def test_whatever_a_report_lacks_the_others_are_on_the_scoreboard(root, monkeypatch, damage):
    leave_report(root, monkeypatch, "quick", FIVE)
    leave_report(root, monkeypatch, "quick", FIVE, name="04_other")
    folder = root / "reports/quick/02_topic"
    if damage in ("file", "link"):
        shutil.rmtree(folder)
        folder.touch() if damage == "file" else folder.symlink_to(root / "nowhere")
    elif damage == "picture":
        (folder / "figures" / "plane.png").unlink()
    elif damage == "versions":
        change(folder / "provenance.json", '"versions"', '"versions": {}, "others"')
    else:
        change(folder / "verdicts.csv", "reproduced", "proved")
    said = []
    page = Page(reports.index(said.append).read_text())
    assert [text.split(" (")[0] for text in said] == ["reports/quick/02_topic is not a whole report"]
    assert reports_linked(page)[0] == "quick/04_other/report.html"
    assert "02_topic/" not in "".join(reports_linked(page))


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_named_and_overridden_reports_are_marked_and_not_counted(root, monkeypatch):
    monkeypatch.setenv("INFOLIB_PROFILE", "quick")
    for profile in ("quick", "paper"):
        leave_report(root, monkeypatch, profile, FIVE)
        leave_report(root, monkeypatch, profile, FIVE, name="02_topic@mine")
        leave_report(root, monkeypatch, profile, FIVE, name="04_other" if profile == "quick" else "04_other@b")
    for folder in ("quick/04_other", "paper/04_other@b"):
        path = root / "reports" / folder / "provenance.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"overridden": {"n": 7, "name": NASTY + "`"}}))
    page = Page(reports.index().read_text())
    assert page.open == []
    assert page.text.count("✓ 1 reproduced") == 2  # of two or three reports
    assert page.text.count(f"profile’s own parameters: n = 7, name = {NASTY}`") == 2
    assert page.text.count("Counted without the reports that have other parameters or a name of their own.") == 2
    text = (root / "reports" / "README.md").read_text()
    assert "## [A topic @mine](paper/02_topic@mine/report.ipynb)" in text
    assert text.count("**Not the paper profile's own parameters:** `n = 7, name = ") == 1
    assert list(reports.load("quick")) == ["02_topic", "04_other"]
    assert list(reports.load("quick", named=True)) == ["02_topic", "02_topic@mine", "04_other"]
    board = reports.board()
    assert board.verdicts["notebook"].tolist() == ["02_topic", "04_other"]
    assert board.verdicts["commit"].tolist() == ["012345678", f"012345678 with n = 7, name = {NASTY}`"]
    assert len(board.sources) == 2


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, "; An EPYC; 98 s to compute it all in turn; 9 of 12 results read from the cache, "
             "computed between 2026-10-01 and 2026-11-02."),
        ({"cache": {"computed": 3, "read": 0}}, "; An EPYC; 98 s to compute it all in turn."),
        ({"cache": {"computed": 0, "read": 2, "oldest": "2026-10-01T1", "newest": "2026-10-01T2"}, "device": "H200"},
         "; An EPYC and H200; 98 s to compute it all in turn; 2 of 2 results read from the cache, "
         "computed on 2026-10-01."),
        ({"cache": {"computed": 0, "read": 2, "oldest": None, "newest": "2026-10-01T2"}, "compute_seconds": None},
         "; An EPYC; 2 of 2 results read from the cache, computed between an unknown day and 2026-10-01."),
    ],
)  # fmt: skip
def test_scoreboard_shows_what_a_report_took_and_what_was_read(root, monkeypatch, changes, shown):
    leave_report(root, monkeypatch, "paper", [3.25, 3.26])
    path = root / "reports/paper/02_topic/provenance.json"
    cache = {"computed": 3, "read": 9, "oldest": "2026-10-01T10:00:00+00:00", "newest": "2026-11-02T10:00:00+00:00"}
    record = {"processor": "An EPYC", "device": "cpu", "compute_seconds": 98.4, "cache": cache} | changes
    path.write_text(json.dumps(json.loads(path.read_text()) | record))
    reports.index()
    (line,) = [line for line in (root / "reports" / "README.md").read_text().splitlines() if "no data set" in line]
    assert line.endswith(f"; torch {torch.__version__.partition('+')[0]}{shown}")


def test_scoreboard_shows_what_an_earlier_report_knows(root, monkeypatch):
    leave_report(root, monkeypatch, "paper", [3.25, 3.26])
    path = root / "reports/paper/02_topic/provenance.json"
    kept = ("commit", "dirty", "data", "versions", "figures", "device", "threads", "wall_seconds")
    path.write_text(json.dumps({name: json.loads(path.read_text())[name] for name in kept}))
    reports.index()
    assert "Commit 012345678 with uncommitted changes; no data set; torch 2" in (root / "reports/README.md").read_text()
    assert "; cpu." in (root / "reports/README.md").read_text()


def test_scoreboard_says_why_there_is_no_commit(root, monkeypatch):
    leave_report(root, monkeypatch, "paper", FIVE)
    path = root / "reports/paper/02_topic/provenance.json"
    why = {"commit": None, "dirty": None, "no_commit": "git is not installed"}
    path.write_text(json.dumps(json.loads(path.read_text()) | why))
    reports.index()
    assert "No commit (git is not installed); no data set;" in (root / "reports" / "README.md").read_text()


def test_formulas_of_a_report_need_no_network(root):
    cell = nbformat.v4.new_markdown_cell("# T\n\nA $\\frac{a}\n{b}$ and\n\n$$S_\\alpha < 1$$\n")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), root / "report.ipynb")
    execution.render(root, "a report")
    body = (root / "report.html").read_text().split("<body", 1)[1]
    assert body.count("<math") == 2
    assert "<mfrac>" in body
    assert "&#x0003C;" in body or "&lt;" in body
    assert "$" not in body.split("</main>")[0]


def test_links_of_a_report_lead_from_its_folder(root):
    cell = nbformat.v4.new_markdown_cell("# T\n\n[06](06_a_topic.ipynb), [terms](../docs/glossary.md)")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), root / "report.ipynb")
    execution.render(root, "a report")
    links = {a["href"] for tag, a in Page((root / "report.html").read_text()).tags if tag == "a"}
    assert {"../06_a_topic/report.html", "../../../docs/glossary.md"} <= links


def test_report_page_is_one_file_with_its_verdicts_headings_and_links_to_the_board(root, monkeypatch):
    leave_report(root, monkeypatch, "paper", FIVE, name="02_topic@mine")
    folder = root / "reports/paper/02_topic@mine"
    picture = nbformat.v4.new_output("display_data", data={"image/png": "AA=="})
    table = nbformat.v4.new_output("display_data", data={"text/html": "<table><tr><th></th><th>a</th></tr></table>"})
    cells = [
        nbformat.v4.new_markdown_cell("# A topic\n\n## A part\n\n| | a |\n|-|-|\n| b | c |"),
        nbformat.v4.new_code_cell('book.judge("02-a", x)', outputs=[picture, picture, table], id="own"),
        nbformat.v4.new_code_cell("draw()", outputs=[picture], id="source"),
        nbformat.v4.new_code_cell("draw()", outputs=[picture], id="none"),
    ]
    cells[1].metadata["alt"] = ['Left "up"', "Right"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "report.ipynb")
    cells[2] = nbformat.v4.new_code_cell("draw()", metadata={"alt": "Of the notebook"}, id="source")
    nbformat.write(nbformat.v4.new_notebook(cells=cells), root / "notebooks" / "02_topic.ipynb")
    execution.render(folder, "02_topic@mine", "paper")
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert not re.search(r"""<(script|link|img)[^>]*(src|href)=["']?(https?:)?//""", text)
    assert "<th></th>" not in text
    assert "✓ 1 reproduced" in page.text
    alts = [a["alt"] for tag, a in page.tags if tag == "img"]
    assert alts == ['Left "up"', "Right", "Of the notebook", "Figure of the section: A part"]
    links = [(a.get("id"), a["href"]) for tag, a in page.tags if tag == "a" and a.get("class") != "anchor-link"]
    assert links == [
        (None, "../../index.html#paper-02_topic@mine"),
        (None, "#A-part"),
        ("02-a", "../../index.html#paper-02-a@mine"),
    ]
    board = {a.get("id") for _, a in Page(reports.index().read_text()).tags}
    assert {"paper-02_topic@mine", "paper-02-a@mine"} <= board


def test_page_that_is_older_than_its_report_is_made_anew(root, monkeypatch):
    leave_report(root, monkeypatch, "quick", FIVE)
    page = root / "reports/quick/02_topic/report.html"
    reports.index()
    page.write_text("now")
    reports.index()
    assert page.read_text() == "now"
    os.utime(page, (0, 0))
    reports.index()
    assert "A topic" in page.read_text()


@pytest.mark.parametrize(
    ("values", "control", "ticks", "beyond"),
    [
        (FIVE, FAR, ["3", "3.1", "3.2", "3.3"], ["", "<"]),
        (FIVE, [30.0, 30.1, 30.2, 30.1, 30.0], ["3.2", "3.3", "3.4", "3.5", "3.6"], ["", ">"]),
    ],
)
def test_control_far_away_does_not_press_the_claim_into_a_corner(values, control, ticks, beyond):
    claim = claims.Claim("02-a", "s", "p", "w", "ours", "value", 3.26, 0.1, "why", control="c")
    book = claims.Book([claim], show=False)
    book.judge("02-a", values, control=control)
    found = pages.chart(book.verdicts.to_dict("records"), "bits")
    assert [bar["beyond"] for bar in found["bars"]] == beyond
    assert [text for _, text in found["ticks"]] == ticks
    assert found["label"] == "bits"


def test_what_differs_is_accepted_on_both_sides():
    claim = claims.Claim("02-a", "s", "p", "w", "ours", "differs", 0, 0.1, "why")
    book = claims.Book([claim], show=False)
    book.judge("02-a", [0.2, 0.3, 0.2, 0.3, 0.2])
    found = pages.chart(book.verdicts.to_dict("records"), "")
    assert found["accepted"] == "0.1 to ∞ or −∞ to −0.1"
    (low, high), (left, right) = found["bands"]
    assert left < right < low < high


def test_every_claim_but_a_trend_has_a_unit(monkeypatch):
    monkeypatch.delenv("INFOLIB_ROOT", raising=False)
    known = [
        c for path in sorted((package_root() / "data" / "claims").glob("*.toml")) for c in claims.load_claims(path.stem)
    ]
    assert set(pages.units()) == {claim.id for claim in known if claim.kind != "trend"}


def test_claim_that_was_not_attempted_has_no_numbers(root, monkeypatch):
    leave_report(root, monkeypatch, "paper", None)
    reports.index()
    assert "| – | 0 |  | – not attempted |" in (root / "reports" / "README.md").read_text()


@pytest.mark.parametrize(
    ("values", "changes", "inside"),
    [
        (FIVE, {}, True),
        ([1.0, 1.1, 1.2, 1.1, 1.0], {}, False),
        ([1, 2, 2.5, 0, 1], {"kind": "sign", "expected": "positive", "tolerance": 0.5}, False),
        ([2.1, 2.2, 2.3, 2.1, 2.0], {"kind": "sign", "expected": "positive", "tolerance": 0.5}, True),
    ],
)
def test_small_chart_shows_the_interval_inside_the_band_only_when_it_is(root, monkeypatch, values, changes, inside):
    leave_report(root, monkeypatch, "quick", values, **changes)
    band, (line, of_control, *_), (mean, *_) = drawn(reports.index())
    start, width, low, high, middle = (
        float(text.removesuffix("%")) for text in (band["x"], band["width"], line["x1"], line["x2"], mean["cx"])
    )
    assert (start <= low and high <= start + width + 0.1) is inside
    assert low <= middle <= high
    assert all(0 <= value <= 100 for value in (start, start + width, low, high))
    assert float(of_control["x2"].removesuffix("%")) < middle  # on the same scale, where the control has less


def drawn(board):
    """The accepted range, the lines and the circles of the only chart of a board."""
    tags = Page(board.read_text()).tags
    (band,), lines, circles = ([a for tag, a in tags if tag == name] for name in ("rect", "line", "circle"))
    return band, lines, circles


def test_a_board_names_what_is_no_whole_report_and_reads_the_others(root, monkeypatch):
    monkeypatch.setenv("INFOLIB_PROFILE", "paper")
    for name in ("02_topic", "04_other"):
        leave_report(root, monkeypatch, "paper", FIVE, name=name)
    (root / "reports/paper/02_topic/verdicts.csv").write_text("a\n")
    board = reports.board()
    assert board.verdicts["notebook"].tolist() == ["04_other"]
    assert [source.name for source in board.sources] == ["paper report 04_other"]
    (why,) = board.left_out.items()
    assert why[0] == "02_topic"
    assert "reports/paper/02_topic is not a whole report" in why[1]


def test_reports_of_the_former_rule_are_shown_as_such_and_not_counted(root, monkeypatch):
    monkeypatch.setenv("INFOLIB_PROFILE", "paper")
    leave_report(root, monkeypatch, "paper", FIVE)
    leave_report(root, monkeypatch, "paper", FIVE, name="04_other")
    folder = root / "reports/paper/04_other"
    (folder / "verdicts.csv").write_text((folder / "verdicts.csv").read_text().replace(",reproduced,", ",as it was,"))
    record = json.loads((folder / "provenance.json").read_text())
    del record["rule"]
    (folder / "provenance.json").write_text(json.dumps(record))
    assert {name: report.former for name, report in reports.load("paper").items()} == {
        "02_topic": False,
        "04_other": True,
    }
    board = reports.board()
    assert board.verdicts["notebook"].tolist() == ["02_topic"]
    assert board.left_out == {"04_other": "judged by the former rule, whose words mean something else"}
    page = Page(reports.index().read_text())
    assert page.open == []
    assert "✓ 1 reproduced" in page.text
    assert "Counted without the reports of the former rule." in page.text
    cells = [attributes["class"] for tag, attributes in page.tags if tag == "td" and "wide" not in attributes["class"]]
    assert cells == ["verdict reproduced", "soft"]
    assert [a["data-word"] for tag, a in page.tags if "data-word" in a] == ["reproduced", "former rule"]
    text = (root / "reports" / "README.md").read_text()
    assert text.count("Judged by the former rule, whose words mean something else") == 1
    row = "</details> | figure | 3.26 ± 0.1 | 3.26 [3.24, 3.28] | 5 | fails, 0.50 [0.47, 0.52] |  as it was |"
    assert row in text


def test_several_data_sets_are_rows_of_one_claim(root, monkeypatch):
    monkeypatch.setenv("INFOLIB_PROFILE", "paper")
    both = {"mnist": FIVE, "digits": [1.0, 1.1, 1.2, 1.1, 1.0]}
    (root / "data" / "claims").mkdir(parents=True)
    (root / "data" / "claims" / "units.csv").write_text("claim,unit\n02-a,bits\n")
    leave_report(root, monkeypatch, "paper", both, control={"mnist": FAR, "digits": FAR})
    page = Page(reports.index().read_text())
    assert "✗ 1 not reproduced" in page.text
    assert "✓ 0 reproduced" in page.text
    assert "2 cases: 1 reproduced, 1 not reproduced" in page.text
    (picture,) = [a["aria-label"] for tag, a in page.tags if tag == "svg"]
    assert picture == (
        "ours on mnist: 3.26 [3.24, 3.28]; control on mnist: 0.50 [0.47, 0.52]; "
        "ours on digits: 1.08 [0.98, 1.18]; control on digits: 0.50 [0.47, 0.52]; accepted: 3.16 to 3.36 bits"
    )
    text = (root / "reports" / "README.md").read_text()
    assert "✓ reproduced |" in text
    assert "✗ not reproduced: no positive control yet |" in text
    table = reports.claims_table(reports.board().verdicts, "not reproduced").data
    assert table["verdict"].tolist() == ["reproduced", "not reproduced"]
    assert table["data"].tolist() == ["mnist", "digits"]


def test_checks_are_counted_apart(root, monkeypatch):
    leave_report(root, monkeypatch, "quick", FIVE, control=None, role="check")
    page = Page(reports.index().read_text())
    assert ("✓ 1 passes" in page.text, "✓ 0 reproduced" in page.text) == (True, True)
    assert headings(page) == ["Checks"]
    leave_report(root, monkeypatch, "quick", [1.0, 2.0], control=None, role="check")
    page = Page(reports.index().read_text())
    assert "✗ 1 fails" in page.text
    assert "✓ 0 reproduced" in page.text
    assert "1 passes" not in page.text
    leave_report(root, monkeypatch, "quick", FIVE, name="04_other")
    assert headings(Page(reports.index().read_text())) == ["Checks", "Findings"]


def headings(page):
    """The tables of the board by what they hold."""
    return [a["aria-label"].partition(" of ")[0] for _, a in page.tags if a.get("class") == "scroll"]


def test_saving_outside_a_run_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("INFOLIB_REPORT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert "nothing saved" in provenance.save(results=None, book=None, figures={})
    assert list(tmp_path.iterdir()) == []


def test_saving_writes_what_was_judged_and_the_verdicts(tmp_path, monkeypatch):
    monkeypatch.setenv("INFOLIB_REPORT", str(tmp_path))
    book = claims.Book([claims.Claim("02-a", "s", "p", "w", "ours", "value", 1.0, 0.1, "why")])
    book.judge("02-a", [1.0, 1.05])
    assert "1 verdicts" in provenance.save(results=book.verdicts[["claim"]], book=book, figures={})
    assert pd.read_csv(tmp_path / "values.csv", keep_default_na=False, dtype={"value": str}).equals(book.values)
    assert pd.read_csv(tmp_path / "verdicts.csv")["verdict"].tolist() == ["undecided"]


def test_provenance_names_commit_versions_and_data(root, monkeypatch):
    leave_report(root, monkeypatch, "quick", FIVE)
    record = json.loads((root / "reports/quick/02_topic/provenance.json").read_text())
    assert record["versions"]["torch"]
    assert record["threads"] >= 1
    assert record["figures"] == ["plane"]
    assert record.keys() >= {"commit", "dirty", "python", "platform", "device", "data", "parameters", "wall_seconds"}


def test_a_report_that_judges_nothing_has_a_place_without_a_table(root, monkeypatch):
    leave_report(root, monkeypatch, "paper", None, judged=False)
    page = reports.index()
    assert "It judges nothing.\n" in (root / "reports" / "README.md").read_text()
    assert "A topic" in Page(page.read_text()).text


def test_board_has_every_claim_of_the_profile_that_runs_with_its_origin(root, monkeypatch):
    monkeypatch.setenv("INFOLIB_PROFILE", "quick")
    for name in ("02_topic", "04_other", "07_mine"):
        leave_report(root, monkeypatch, "quick", FIVE, name=name)
    leave_report(root, monkeypatch, "quick", None, name="08_nothing", judged=False)
    leave_report(root, monkeypatch, "paper", [9.0, 9.1, 9.2, 9.0, 9.3], name="05_elsewhere")
    # The notebook that asks may run because its report is broken.
    (root / "reports/quick/07_mine/provenance.json").unlink()
    board = reports.board(without=["07_mine"])
    assert board.profile == "quick"
    assert board.verdicts["notebook"].tolist() == ["02_topic", "04_other"]
    row = board.verdicts.iloc[0].to_dict()
    assert row["expected"] == "3.26 ± 0.1"
    assert row["ours"] == "3.26 [3.24, 3.28]"
    assert (row["control"], row["difference"]) == ("fails, 0.50 [0.47, 0.52]", "2.76 [2.72, 2.80]")
    assert (row["word"], row["verdict"], row["why"], row["statement"], row["n"]) == (
        *["reproduced"] * 2,
        "why",
        NASTY,
        5,
    )
    assert (row["commit"], row["dirty"]) == ("012345678", True)


def test_board_names_what_it_was_read_from(root, monkeypatch):
    monkeypatch.setenv("INFOLIB_PROFILE", "quick")
    leave_report(root, monkeypatch, "quick", FIVE)
    before, (source,) = reports.board(), reports.board().sources
    content = (root / "reports/quick/02_topic/verdicts.csv").read_bytes()
    assert source == ("quick report 02_topic", {"verdicts.csv": hashlib.sha256(content).hexdigest()})
    monkeypatch.setenv("INFOLIB_REPORT", str(root / "mine"))
    provenance.save(results=before.verdicts, book=claims.Book([]), figures={}, data=before.sources)
    assert json.loads((root / "mine" / "provenance.json").read_text())["data"] == {source.name: source.sha256}


def test_board_falls_back_on_the_paper_profile_and_says_so(root, monkeypatch):
    monkeypatch.setenv("INFOLIB_PROFILE", "quick")
    leave_report(root, monkeypatch, "quick", FIVE, name="07_mine")
    leave_report(root, monkeypatch, "paper", FIVE)
    board = reports.board(without=["07_mine"])
    assert (board.profile, board.verdicts["notebook"].tolist()) == ("paper", ["02_topic"])
    monkeypatch.setenv("INFOLIB_PROFILE", "paper")
    leave_report(root, monkeypatch, "quick", FIVE)
    assert reports.board().profile == "paper"


@pytest.mark.usefixtures("root")
def test_board_of_no_reports_is_refused():
    with pytest.raises(ValueError, match="there are no reports to read: run `infolib run` first"):
        reports.board()


def test_a_claim_on_several_data_sets_has_its_statement_once():
    verdicts = reports.board().verdicts
    rows = verdicts[verdicts["claim"] == verdicts["claim"].mode()[0]]
    table = reports.claims_table(rows, *rule.VERDICTS).data
    assert len(table) == len(rows) > 1
    assert table["statement"].tolist() == [rows["statement"].iloc[0]] + [""] * (len(rows) - 1)
    assert table["ours"].tolist() == rows["ours"].tolist()


def test_the_table_of_claims_has_those_with_the_verdicts_asked_for(root, monkeypatch):
    monkeypatch.setenv("INFOLIB_PROFILE", "quick")
    leave_report(root, monkeypatch, "quick", FIVE)
    leave_report(root, monkeypatch, "quick", [9.0, 9.1, 9.2, 9.0, 9.3], name="04_other")
    verdicts = reports.board().verdicts
    asked = [("reproduced",), ("not reproduced",), ("not attempted",), rule.VERDICTS]
    for words, numbers in zip(asked, (["02"], ["04"], [], ["02", "04"]), strict=True):
        table = reports.claims_table(verdicts, *words)
        assert table.data["notebook"].tolist() == numbers
        assert ("verdict" in table.data) == (len(words) > 1)
        assert "min-width: 15em" in table._repr_html_()
