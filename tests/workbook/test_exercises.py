"""Exercises: what a check says of each mistake, and the two copies of every notebook for a workshop."""

import ast
import math
import re

import nbformat
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from workbook import exercises, root
from workbook import run as runner
from workbook.__main__ import main

NOTEBOOKS = runner.notebooks()
P = torch.tensor([0.5, 0.25, 0.25, 0.0])
UNDEFINED = "0·log 0 counts as 0 here; ∞/∞ and a power or logarithm of less than 0 are NaN too"


def stub(_):
    raise NotImplementedError


def raising(_):
    raise KeyError("no such layer")


def unsupported(_):
    raise NotImplementedError("not for Bool")


def entropy(p, log=torch.log2):
    seen = p[p > 0]
    return -(seen * log(seen)).sum()


@pytest.mark.parametrize(
    ("answer", "printed"),
    [
        (entropy, "✓ three symbols"),
        (lambda p: float(entropy(p)), "✓ three symbols"),
        (lambda p: entropy(p) + 1e-6, "✓ three symbols"),
        (lambda p: entropy(p) + 1e-4, "✗ three symbols: 1.5, expected 1.5"),
        (lambda p: entropy(p, torch.log), "✗ three symbols: 1.04, expected 1.5 (in nats, not bits)"),
        (lambda p: -entropy(p), "✗ three symbols: -1.5, expected 1.5 (of the wrong sign)"),
        (lambda p: -entropy(p, torch.log),
         "✗ three symbols: -1.04, expected 1.5 (in nats, not bits, and of the wrong sign)"),
        (lambda p: entropy(p) / math.log(2), "✗ three symbols: 2.164, expected 1.5 (divided by ln 2 once too often)"),
        (lambda p: entropy(p) / 4, "✗ three symbols: 0.375, expected 1.5 (not normalised: too small by the factor 4)"),
        (lambda p: entropy(p) * 4, "✗ three symbols: 6, expected 1.5 (not normalised: too large by the factor 4)"),
        (lambda _: 1.3, "✗ three symbols: 1.3, expected 1.5"),
        (lambda p: -(p * p.log2()).sum(), f"✗ three symbols: nan, expected 1.5 ({UNDEFINED})"),
        (lambda p: -p.log2().sum(),
         "✗ three symbols: inf, expected 1.5 (infinite: a logarithm of 0, or a division by 0)"),
        (lambda p: p, "✗ three symbols: it returns an array of shape (4,), expected a number"),
        (lambda _: None, "✗ three symbols: it returns nothing; is there a `return`?"),
        (lambda _: "1.5 bits", "✗ three symbols: a str is neither a number nor an array of numbers"),
        (raising, "✗ three symbols: KeyError: 'no such layer'"),
        (lambda: 1.5, "✗ three symbols: TypeError: <lambda>() takes 0 positional arguments but 1 was given"),
        (unsupported, "✗ three symbols: NotImplementedError: not for Bool"),
        (stub, "… stub is still to be written"),
    ],
)  # fmt: skip
def test_a_number_and_what_is_wrong_with_it(capsys, answer, printed):
    exercises.check(answer, {"three symbols": ((P,), 1.5)})
    assert capsys.readouterr().out == printed + "\n"


@pytest.mark.parametrize(
    ("answer", "printed"),
    [
        (lambda x: x / x.sum(), "✓ shares"),
        (lambda x: (x / x.sum()).requires_grad_(), "✓ shares"),
        (lambda x: list(x.numpy() / 8), "✓ shares"),
        (lambda x: x, "✗ shares: at 0, 0 4, expected 0.5 (not normalised: too large by the factor 8)"),
        (lambda x: x / 5, "✗ shares: at 0, 0 0.8, expected 0.5 (not normalised: all entries by the factor 1.6)"),
        (lambda x: -x / 8, "✗ shares: at 0, 0 -0.5, expected 0.5 (of the wrong sign)"),
        (lambda x: x * math.log(2) / 8, "✗ shares: at 0, 0 0.3466, expected 0.5 (in nats, not bits)"),
        (lambda x: x.flip(0) / 8, "✗ shares: at 0, 0 0.125, expected 0.5"),
        (lambda x: (x == 0).double() - x / 8, "✗ shares: at 0, 0 -0.5, expected 0.5"),
        (lambda x: x / 8 + 1, "✗ shares: at 0, 0 1.5, expected 0.5"),
        (lambda x: x.flatten() / 8, "✗ shares: it returns an array of shape (4,), expected an array of shape (2, 2)"),
        (lambda x: x + 0 * x.log2(), f"✗ shares: at 1, 1 nan, expected 0 ({UNDEFINED})"),
    ],
)  # fmt: skip
def test_an_array_and_what_is_wrong_with_it(capsys, answer, printed):
    exercises.check(answer, {"shares": ((torch.tensor([[4.0, 3.0], [1.0, 0.0]]),), [[0.5, 0.375], [0.125, 0]])})
    assert capsys.readouterr().out == printed + "\n"


def test_every_case_is_tried_on_arguments_of_its_own(capsys):
    def spoils(x):
        x += 1
        return x.sum()

    x = np.zeros(3)
    exercises.check(spoils, {"first": ((x,), 3), "again": ((x,), 3), "wrong": ([x], 0)}, tolerance=0.1)
    assert capsys.readouterr().out == "✓ first\n✓ again\n✗ wrong: 3, expected 0\n"


@pytest.mark.parametrize(
    ("answer", "cases", "message"),
    [
        (entropy, {}, "cases must have at least one case, got none"),
        (1.5, {"a": ((), 1.5)}, "answer must be a function, got 1.5"),
        (entropy, {"a": 1.5}, r"cases\['a'\] must be a pair \(\(arguments, \.\.\.\), right answer\), got 1\.5"),
        (entropy, {"a": (P, 1.5)}, r"cases\['a'\] must be a pair"),
        (entropy, {"a": ((P,),)}, r"cases\['a'\] must be a pair"),
    ],
)
def test_a_check_that_checks_nothing_is_refused(answer, cases, message):
    with pytest.raises(ValueError, match=message):
        exercises.check(answer, cases)


SOURCE = "def f(x):\n    # BEGIN SOLUTION\n    y = 2 * x\n    return y\n    # END SOLUTION\n"


def notebook(source=SOURCE, output="✓ two\n"):
    printed = [nbformat.v4.new_output("stream", name="stdout", text=output)]
    return new_notebook(cells=[
        new_markdown_cell("See [claims](../data/claims) and [01](01_estimators.ipynb)."),
        new_code_cell("1 + 1", execution_count=1, outputs=printed),
        new_code_cell(source, execution_count=2, metadata={"tags": ["exercise"]}),
        new_code_cell('exercises.check(f, {"two": ((1,), 2)})', execution_count=3, metadata={"tags": ["check"]},
                      outputs=printed),
    ])  # fmt: skip


def test_a_student_has_a_stub_and_no_output():
    given = notebook()
    cells = exercises.student(given).cells
    assert cells[2].source == f"def f(x):\n    {exercises.STUB}\n"
    assert [(c.outputs, c.execution_count) for c in cells[1:]] == [([], None)] * 3
    assert given.cells[2].source == SOURCE
    assert given.cells[1].outputs


def test_two_solutions_in_a_cell_are_two_stubs():
    twice = exercises.student(notebook(SOURCE + "\n\n" + SOURCE.replace("f(x)", "g(x)"))).cells[2].source
    assert twice == "\n\n".join(f"def {name}(x):\n    {exercises.STUB}\n" for name in "fg")


@pytest.mark.parametrize(
    "source", ["def f(x):\n    return 2 * x", SOURCE.replace("END", "end"), SOURCE + "# END SOLUTION"]
)
def test_an_exercise_without_its_marks_is_refused(source):
    with pytest.raises(ValueError, match="is an exercise: its solution must be between '# BEGIN SOLUTION' and"):
        exercises.student(notebook(source))


@pytest.fixture
def workbench(tmp_path, monkeypatch):
    """A workbook of one small notebook, as `infolib workshop` finds it."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "profiles.toml").write_text("")
    monkeypatch.setenv("INFOLIB_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_writes_both_copies_with_links_that_lead_from_there(workbench):
    nbformat.write(notebook(), workbench / "notebooks" / "00_a.ipynb")
    result = CliRunner().invoke(main, ["workshop"])
    assert (result.exit_code, result.output) == (0, "workshop/solutions\nworkshop/student\n")
    student, solved = (
        nbformat.read(workbench / "workshop" / folder / "00_a.ipynb", 4) for folder in ("student", "solutions")
    )
    assert exercises.STUB in student.cells[2].source
    assert solved.cells[2].source == SOURCE
    assert solved.cells[3].outputs[0].text == "✓ two\n"
    assert {copy.cells[0].source for copy in (student, solved)} == {
        "See [claims](../../data/claims) and [01](01_estimators.ipynb)."}  # fmt: skip


@pytest.mark.parametrize(
    "output", ["✗ two: 3, expected 2\n", "✓ one\n✗ two: 3, expected 2\n", "… f is still to be written\n", ""]
)
def test_solutions_that_do_not_pass_are_not_written(workbench, output):
    nbformat.write(notebook(output=output), workbench / "notebooks" / "00_a.ipynb")
    result = CliRunner().invoke(main, ["workshop"])
    assert result.exit_code == 1
    assert "00_a: check" in result.output
    assert "does not pass as committed" in result.output
    assert not (workbench / "workshop").exists()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Both copies of all notebooks of this repository."""
    folder = tmp_path_factory.mktemp("workshop")
    written = {(path.parent.name, path.stem): nbformat.read(path, as_version=4) for path in exercises.build(folder)}
    assert set(written) == {(kind, name) for kind in ("student", "solutions") for name in NOTEBOOKS}
    return written


def tagged(cells):
    return [cell for cell in cells if {"exercise", "check"} & set(cell.metadata.get("tags", []))]


def tried(cells):
    """Execute the exercises and checks of a notebook alone, with the imports of its set-up cell."""
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    imports = [node for node in ast.parse(code[1]).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {}
    for source in [ast.unparse(ast.Module(imports, [])), *(cell.source for cell in tagged(cells))]:
        exec(source, names)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_students_copy_runs_to_its_end_unwritten(name, built, capsys):
    cells = built["student", name].cells
    tried(cells)
    unwritten = [f"… {function.name} is still to be written" for cell in tagged(cells)
                 for function in ast.parse(cell.source).body if isinstance(function, ast.FunctionDef)]  # fmt: skip
    assert capsys.readouterr().out.splitlines() == unwritten
    assert len(unwritten) == len(tagged(cells)) / 2


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_solutions_pass_now_as_they_did_when_they_were_committed(name, built, capsys):
    cells = built["solutions", name].cells
    tried(cells)
    text = capsys.readouterr().out
    assert set(re.findall("^.", text, flags=re.M)) == {"✓"}
    assert text == "".join(output.text for cell in tagged(cells) for output in cell.outputs)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_line_of_a_solution_is_in_a_students_copy(name, built):
    lines = {line.strip() for cell in built["solutions", name].cells if "exercise" in cell.metadata.get("tags", [])
             for _, text in exercises.SOLUTION.findall(cell.source) for line in text.splitlines()}  # fmt: skip
    student = {line.strip() for cell in built["student", name].cells for line in cell.source.splitlines()}
    assert len(lines) >= 4
    assert sorted(lines & student) == []
    assert not any("SOLUTION" in cell.source for cell in built["student", name].cells)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebook_does_not_use_the_names_that_a_student_defines(name, built):
    """A later run of an earlier cell would find the student's function in place of its own."""
    cells = built["student", name].cells
    others = [cell for cell in cells if cell.cell_type == "code" and cell not in tagged(cells)]
    assert (
        sorted(functions(tagged(cells)) & {getattr(node, "id", getattr(node, "name", "")) for node in nodes(others)})
        == []
    )


def nodes(cells):
    return [node for cell in cells for node in ast.walk(ast.parse(cell.source))]


def functions(cells):
    return {node.name for node in nodes(cells) if isinstance(node, ast.FunctionDef)}


def test_the_plan_of_the_workshop_names_notebooks_and_exercises_that_exist():
    text = (root() / "workshop" / "README.md").read_text()
    named = re.findall(r"exercise (\d) of (\d\d)", text)
    assert named
    for number, notebook in named:
        (path,) = [path for name, path in NOTEBOOKS.items() if name.startswith(notebook)]
        prose = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
        assert f"\n**{number}.** " in f"\n{prose.split('## Exercises')[1]}", f"exercise {number} of {notebook}"
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (root() / "workshop" / path).exists(), path
