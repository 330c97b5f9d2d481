"""The form of a notebook: what a reader, papermill and nbval rely on."""

import ast
import re
from itertools import pairwise

import nbformat
import pytest

from workbook import claims, exercises, records, root
from workbook import run as runner

NOTEBOOKS = runner.notebooks()
JUDGING = [name for name in NOTEBOOKS if (root() / "data" / "claims" / f"{name}.toml").exists()]

UNATTEMPTED = {
    "03-b1-early-stopping", "03-b4-fitting", "03-b4-compression", "03-b4-test-weaker",
    "03-b5-order-vgg",
}  # fmt: skip  # left out, as their claims say


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


def test_opens_with_its_claim_and_then_its_parameters(cells):
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    assert re.search(r"minutes? to read", cells[0].source)
    assert [tags(c) for c in code_of(cells) if "parameters" in tags(c)] == [tags(code_of(cells)[0])]


def test_papermill_finds_every_parameter_with_its_type_value_and_help(name, cells):
    """Its parser works by lines: it drops `float | None` and a line with a second `=` without a word."""
    statements = ast.parse(code_of(cells)[0].source).body
    assert {type(statement) for statement in statements} == {ast.AnnAssign}
    assert 1 <= len(statements) <= 10
    found = runner.parameters(name)
    assert {n: p.default for n, p in found.items()} == {s.target.id: ast.literal_eval(s.value) for s in statements}
    assert [records.type_name(p.type) for p in found.values()] == [ast.unparse(s.annotation) for s in statements]
    assert [p.name for p in found.values() if not p.help] == []


def test_the_set_up_cell_checks_the_parameters_as_the_runner_does(name, cells):
    """So that papermill, nbval and JupyterLab stop there, with the same message."""
    calls = [node for node in ast.walk(ast.parse(code_of(cells)[1].source)) if isinstance(node, ast.Call)]
    assert f"records.prepared('{name}', globals())" in [ast.unparse(call) for call in calls]
    assert (root() / "workbook" / "experiments" / f"nb{name}.py").exists()


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


@pytest.mark.parametrize("name", JUDGING)
def test_a_line_judges_each_claim_and_the_checked_cell_prints_the_words(name, cells):
    judged = [line for cell in code_of(cells) for line in judging(cell.source)]
    assert sorted(judged) == sorted({c.id for c in claims.load_claims(name)} - UNATTEMPTED)
    (checked,) = [c for c in code_of(cells) if "nbval-check-output" in tags(c)]
    assert checked.source.splitlines()[-1] == "print(book.summary())"


def judging(source):
    """The claims that lines `book.judge("id", ...)` of a cell judge; an id that is no literal is shown as it stands."""
    for statement in ast.walk(ast.parse(source)):
        if isinstance(statement, ast.Expr) and ast.unparse(statement).startswith("book.judge("):
            yield ast.unparse(statement.value.args[0]).strip("'")


def test_a_cell_that_reads_reports_has_the_tag_that_makes_the_notebook_run_last(cells):
    for cell in code_of(cells):
        assert ("reports.board(" in cell.source) == (runner.READS_REPORTS in tags(cell)), cell.source


SECTIONS = ("Before you run", "Predictions, answered", "Limits", "Exercises", "References")


def faults(cells, sections=SECTIONS):
    """What a notebook lacks that teaches: the cell and the rule."""
    first, prose = cells[0].source, prose_of(cells)
    if not re.search(r"^After this notebook you", first, flags=re.M):
        yield f"{cells[0].id}: objectives, in a sentence that begins with 'After this notebook you'"
    parts = re.split(r"^## (.+)$", prose, flags=re.M)
    texts = dict(zip(parts[1::2], parts[2::2], strict=True))
    found = {wanted: next((texts[h] for h in texts if wanted in h), None) for wanted in sections}
    yield from (f"{cells[-1].id}: no section {wanted!r} before it" for wanted, text in found.items() if text is None)
    asked, answered = (re.findall(r"^(\d)\. ", found.get(part) or "", flags=re.M) for part in SECTIONS[:2])
    if asked != answered or not asked:
        yield f"predictions {', '.join(asked)}, answered {', '.join(answered)}: an answer to each, by number"
    if "**Take-away.**" not in (found.get("Predictions, answered") or ""):
        yield "no '**Take-away.**' after the answers"
    linked = r"\(https://doi\.org/.*^Neighbours: .*\]\(\d\d_\w+\.ipynb\)"
    if found["References"] is not None and not re.search(linked, found["References"], flags=re.M | re.S):
        yield f"{cells[-1].id}: references have a DOI, and a line 'Neighbours: ' with links"
    for cell, after in pairwise([c for c in cells if c.cell_type == "code"] + [None]):
        if "exercise" in tags(cell):
            if not exercises.SOLUTION.search(cell.source):
                yield f"{cell.id}: an exercise has its solution between {exercises.BEGIN!r} and {exercises.END!r}"
            if after is None or "check" not in tags(after):
                yield f"{cell.id}: after an exercise comes its check"
        if "check" in tags(cell) and not any(cases_of(node) for node in ast.walk(ast.parse(cell.source))):
            yield f"{cell.id}: a check has a case, `exercises.check(answer, {{name: ((arguments), right), ...}})`"


def cases_of(node):
    """The cases of a call of `exercises.check`, which stand where it is called."""
    checks = isinstance(node, ast.Call) and ast.unparse(node.func) == "exercises.check"
    return node.args[1].keys if checks and len(node.args) == 2 and isinstance(node.args[1], ast.Dict) else []


def test_what_teaches_is_there(name, cells):
    assert list(faults(cells, (*SECTIONS, *["Verdict"] * (name in JUDGING)))) == []


ANSWER = "def f(x):\n    # BEGIN SOLUTION\n    y = 2 * x\n    return y\n    # END SOLUTION"
CHECK = 'exercises.check(f, {"two": ((1,), 2)})'


def lesson(change=("", ""), answer=ANSWER, check=CHECK):
    """A small notebook with all that teaches, but for one change."""
    texts = (
        "# T\n\nAfter this notebook you can.",
        "## Before you run: what?\n\n1. A?\n2. B?\n\nText.",
        "## Predictions, answered\n\n1. A.\n2. B.\n\n**Take-away.** C.\n\n## Limits\n\n- None.",
        "## Exercises\n\n**1.** F.",
    )
    last = "## References\n\n- [doi:1](https://doi.org/1).\n\nNeighbours: [00](00_start_here.ipynb)."
    text = [nbformat.v4.new_markdown_cell(text.replace(*change)) for text in (*texts, last)]
    code = [nbformat.v4.new_code_cell(source, metadata={"tags": [tag]}, id=tag)
            for tag, source in (("exercise", answer), ("check", check)) if source]  # fmt: skip
    return [*text[:-1], *code, text[-1]]


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"change": ("After this notebook you can", "Read it")}, "objectives"),
        ({"change": ("## References", "### References")}, "no section 'References'"),
        ({"change": ("## Limits", "## And")}, "no section 'Limits'"),
        ({"change": ("2. B.", "B.")}, "predictions 1, 2, answered 1:"),
        ({"change": ("Take-away", "Last")}, "no '**Take-away.**'"),
        ({"change": ("https://doi.org/1", "https://example.org")}, "references have a DOI"),
        ({"change": ("00_start_here.ipynb", "README.md")}, "references have a DOI, and a line 'Neighbours: '"),
        ({"answer": "def f(x):\n    return 2 * x"}, "exercise: an exercise has its solution between"),
        ({"answer": ANSWER.replace("# END", "# end")}, "exercise: an exercise has its solution between"),
        ({"check": "exercises.check(f, {})"}, "check: a check has a case"),
        ({"check": "f(1)"}, "check: a check has a case"),
        ({"check": ""}, "exercise: after an exercise comes its check"),
    ],
)
def test_a_fault_names_the_cell_and_the_rule(changed, fault):
    assert list(faults(lesson())) == []
    (found,) = faults(lesson(**changed))
    assert fault in found


def before_exercises(cells):
    """The cells that argue: exercises and their checks come last, and do not count."""
    heads = [i for i, cell in enumerate(cells) if re.search("^## Exercises", cell.source, flags=re.M)]
    assert len(heads) == 1
    return cells[: heads[0]]


def test_exercises_come_last_and_are_few_and_short(cells):
    argued = before_exercises(cells)
    practice = cells[len(argued) :]
    assert [tags(c) for c in code_of(argued) if {"exercise", "check"} & set(tags(c))] == []
    kinds = [tags(cell) for cell in code_of(practice)]
    assert 2 <= len(kinds) // 2 <= 4
    assert kinds == [["exercise"], ["check"]] * (len(kinds) // 2)
    solutions = [text.splitlines() for cell in practice for _, text in exercises.SOLUTION.findall(cell.source)]
    assert [lines for lines in solutions if not 2 <= len(lines) <= 8] == []
    assert 1 <= prose_of(practice).count("<details>") <= 2
    assert prose_of(argued).count("<details>") == 0


def test_code_is_short_and_argues(cells):
    code = code_of(cells)
    assert [c.source for c in code if len(c.source.splitlines()) > 20] == []
    argued = before_exercises(cells)
    lines = [line.strip() for c in code_of(argued) for line in c.source.splitlines()]
    assert sum(bool(line) and not line.startswith("#") for line in lines) <= 220
    assert 15 <= len(argued) <= 50
    for cell in code:
        nodes = list(ast.walk(ast.parse(cell.source)))
        assert not any(isinstance(n, ast.ClassDef) for n in nodes)
        functions = [n for n in nodes if isinstance(n, ast.FunctionDef)]
        assert [n.name for n in functions if n.end_lineno - n.lineno >= 10] == []
        assert not re.search(r"^[%!]|;\s*$|\.\./|['\"]/", cell.source, flags=re.M), cell.source


PIECES = {"startswith", "endswith", "split", "partition", "rpartition", "removeprefix", "removesuffix", "contains"}


def filters_by_pieces(source):
    """Conditions of a cell that look into a name: what they ask for should be a column, or a field of a record."""
    nodes = list(ast.walk(ast.parse(source)))
    loops = [n.target for n in nodes if isinstance(n, ast.comprehension | ast.For)]
    items = {n.id for target in loops for n in ast.walk(target) if isinstance(n, ast.Name)}
    conditions = [n.slice for n in nodes if isinstance(n, ast.Subscript)]
    conditions += [n.test for n in nodes if isinstance(n, ast.If | ast.IfExp | ast.While)]
    conditions += [test for n in nodes if isinstance(n, ast.comprehension) for test in n.ifs]
    for node in (n for condition in conditions for n in ast.walk(condition)):
        if isinstance(node, ast.Attribute) and node.attr in PIECES:
            yield ast.unparse(node)
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            inside, whole = node.left, node.comparators[0]
            if isinstance(inside, ast.Constant) and isinstance(whole, ast.Name) and whole.id in items:
                yield ast.unparse(node)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('t[t["network"].str.endswith("permuted")]', ["t['network'].str.endswith"]),
        ('t.loc[t["network"].str.contains("L2")]', ["t['network'].str.contains"]),
        ('[n for n in names if "permuted" in n]', ["'permuted' in n"]),
        ('[n for n in names if "permuted" not in n]', ["'permuted' not in n"]),
        ('[n for n in names if n.split()[1] == "relu"]', ["n.split"]),
        ('for n in names:\n    x = 1 if n.startswith("a") else 2', ["n.startswith"]),
        ('t[t["labels"] == "permuted"]', []),
        ('t[t["layer"].isin(["conv1", "fc1"])]', []),
        ('"seed" in t\nif "depth" in t.columns:\n    pass', []),
        ('[n for n in names if n in ("relu", "tanh")]', []),
        ('t.assign(reason=t["why not"].str.split(":").str[0])', []),  # a text for a reader, nothing is chosen by it
        ("a, b = x.split(100)\nx.split(100)[0]", []),
    ],
)
def test_the_rule_finds_filters_by_pieces_of_a_name_and_nothing_else(source, found):
    assert list(filters_by_pieces(source)) == found


def test_rows_are_chosen_by_column_and_never_by_a_piece_of_a_name(cells):
    assert [f for cell in code_of(cells) for f in filters_by_pieces(cell.source)] == []


def test_every_code_cell_has_prose_before_it(cells):
    for before, cell in pairwise(cells):
        introduced = before.cell_type == "markdown" or "parameters" in tags(before)
        assert cell.cell_type == "markdown" or introduced, cell.source


def without_alt(cells):
    """The first line of each cell with a picture that has no alternative text of its own; one text may be for all."""
    for cell in code_of(cells):
        drawn = sum("image/png" in output.get("data", {}) for output in cell.outputs)
        alt = cell.metadata.get("alt", "")
        drawn = drawn or len(re.findall(r"^ *figures\[.+\] =", cell.source, re.M))  # in the paper profile only
        texts = [alt] * drawn if isinstance(alt, str) else alt
        if len(texts) < drawn or any(len(text.split()) < 10 for text in texts):
            yield cell.source.splitlines()[0]


def test_every_picture_is_described_for_readers_who_do_not_see_it(cells):
    assert list(without_alt(cells)) == []


@pytest.mark.parametrize(
    ("alt", "found"),
    [(None, 1), ("I(X;T) by layer", 1), ("word " * 10, 0), (["word " * 10], 1), (["word " * 10, ""], 1),
     (["word " * 10] * 2, 0)],
)  # fmt: skip
def test_each_of_two_pictures_needs_a_text(alt, found):
    picture = nbformat.v4.new_output("display_data", data={"image/png": ""})
    metadata = {} if alt is None else {"alt": alt}
    cell = nbformat.v4.new_code_cell("draw()", outputs=[picture, picture], metadata=metadata)
    assert len(list(without_alt([cell]))) == found


def test_light_enough_to_commit(name):
    assert NOTEBOOKS[name].stat().st_size < 400_000


def test_paper_profile_fits_the_parameters(name):
    runner.resolve(name, "paper", {})


def test_minutes_are_the_same_in_profiles_prose_and_both_tables(name, cells):
    quick, paper = (runner.minutes(name, profile) for profile in runner.PROFILES)
    said = r"\*(\d+) minutes to read, ([\d.]+) minutes? to run, ([\d.]+) in the `paper` profile\.\*"
    read, *run = re.search(said, cells[0].source).groups()
    assert run == [f"{quick:g}", f"{paper:g}"]
    listed = (root() / "notebooks" / "README.md").read_text()
    row = next(line for line in listed.splitlines() if f"`{name}`" in line)
    assert f"| {read} min | {quick:g} min | {paper:g} min |" in row
    found = next(line for line in (root() / "README.md").read_text().splitlines() if line.startswith(f"| {name[:2]} |"))
    assert f" | {quick:g} | {paper:g} | " in found


def test_seeds_are_those_that_can_be_shifted(cells):
    """`for seed in range(n_seeds)` would be the same seeds again in a run that asks for others."""
    lines = [line for c in code_of(cells) for line in c.source.splitlines()]
    assert [line for line in lines if re.search(r"\brange\(\w*(n_|seed)", line)] == []
