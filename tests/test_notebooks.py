"""The form of a notebook: what a reader, papermill and nbval rely on."""

import ast
import re
from itertools import pairwise

import nbformat
import pytest

from workbook import claims, root
from workbook import run as runner

NOTEBOOKS = runner.notebooks()
JUDGING = [name for name in NOTEBOOKS if (root() / "data" / "claims" / f"{name}.toml").exists()]


@pytest.fixture(params=NOTEBOOKS, ids=str)
def name(request):
    return request.param


@pytest.fixture
def cells(name):
    return nbformat.read(NOTEBOOKS[name], as_version=4).cells


def code_of(cells):
    return [c for c in cells if c.cell_type == "code"]


def prose_of(cells):
    return "\n".join(c.source for c in cells if c.cell_type == "markdown")


def tags(cell):
    return cell.metadata.get("tags", [])


def test_there_are_notebooks_and_all_but_the_one_for_your_model_judge_something():
    assert JUDGING
    assert set(NOTEBOOKS) - set(JUDGING) <= {"08_your_model"}


def test_committed_executed_from_first_to_last_without_errors(cells):
    code = code_of(cells)
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert [o for c in code for o in c.outputs if o.output_type == "error"] == []
    assert [o.text for c in code for o in c.outputs if o.get("name") == "stderr"] == []


def test_opens_with_its_claim_and_then_its_parameters(name, cells):
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    assert re.search(r"minutes? to read", cells[0].source)
    first_code = code_of(cells)[0]
    assert "parameters" in tags(first_code)
    assert 1 <= len(runner.parameters(name)) <= 10
    assert all(p.help for p in runner.parameters(name).values())
    assert not re.search(r"=.*=|#.*=", re.sub(r"\[.*?\]", "", first_code.source))  # papermill's own parser stumbles


def test_a_cell_is_checked_whose_output_is_words(cells):
    """Numbers may differ between processors; what nbval compares must not."""
    (checked,) = [c for c in code_of(cells) if "nbval-check-output" in tags(c)]
    assert [list(output) for output in checked.outputs] == [["name", "output_type", "text"]]
    assert checked.outputs[0].text.strip()


@pytest.mark.parametrize("name", JUDGING)
def test_one_checked_cell_prints_the_verdicts_of_its_claims(name, cells):
    (checked,) = [c for c in code_of(cells) if "nbval-check-output" in tags(c)]
    text = "".join(o.get("text", "") for o in checked.outputs)
    assert [c.id for c in claims.load_claims(name) if c.id not in text] == []


def test_a_cell_that_reads_reports_has_the_tag_that_makes_the_notebook_run_last(cells):
    for cell in code_of(cells):
        assert ("reports.board(" in cell.source) == (runner.READS_REPORTS in tags(cell)), cell.source


def test_sections_that_every_notebook_has(name, cells):
    headings = re.findall(r"^#+ (.+)$", prose_of(cells), flags=re.M)
    for wanted in ("Before you run", *["Verdict"] * (name in JUDGING), "Limits", "Exercises"):
        assert any(wanted in h for h in headings), f"no section {wanted!r} in {headings}"
    assert 3 <= prose_of(cells).count("<details>") <= 5


def test_code_is_short_and_argues(cells):
    code = code_of(cells)
    lines = [len(c.source.splitlines()) for c in code]
    assert max(lines) <= 15
    assert sum(lines) <= 150
    assert 15 <= len(cells) <= 45
    for cell in code:
        tree = ast.parse(cell.source)
        assert not any(isinstance(n, ast.ClassDef) for n in ast.walk(tree))
        assert all(n.end_lineno - n.lineno < 5 for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))
        assert not re.search(r"^[%!]|;\s*$|\.\./|['\"]/", cell.source, flags=re.M), cell.source


def test_every_code_cell_has_prose_before_it(cells):
    for before, cell in pairwise(cells):
        introduced = before.cell_type == "markdown" or "parameters" in tags(before)
        assert cell.cell_type == "markdown" or introduced, cell.source


def test_light_enough_to_commit(name):
    assert NOTEBOOKS[name].stat().st_size < 400_000


def test_paper_profile_fits_the_parameters(name):
    runner.resolve(name, "paper", {})


def test_listed_with_its_minutes(name, cells):
    listed = (root() / "notebooks" / "README.md").read_text()
    row = next(line for line in listed.splitlines() if f"`{name}`" in line)
    read = re.search(r"(\d+) minutes to read", cells[0].source)[1]
    quick, paper = (runner.minutes(name, profile) for profile in runner.PROFILES)
    assert f"| {read} min | {quick:g} min | {paper:g} min |" in row
    found = next(line for line in (root() / "README.md").read_text().splitlines() if line.startswith(f"| {name[:2]} |"))
    assert f" | {quick:g} | {paper:g} | " in found
