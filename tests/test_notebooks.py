"""The form of a notebook: what a reader, papermill and nbval rely on."""

import ast
import re
from itertools import pairwise

import nbformat
import pytest

from workbook import claims, records, root
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


def test_sections_that_every_notebook_has(name, cells):
    headings = re.findall(r"^#+ (.+)$", prose_of(cells), flags=re.M)
    for wanted in ("Before you run", *["Verdict"] * (name in JUDGING), "Limits", "Exercises"):
        assert any(wanted in h for h in headings), f"no section {wanted!r} in {headings}"
    assert 3 <= prose_of(cells).count("<details>") <= 5


def test_code_is_short_and_argues(cells):
    code = code_of(cells)
    assert [c.source for c in code if len(c.source.splitlines()) > 20] == []
    lines = [line.strip() for c in code for line in c.source.splitlines()]
    assert sum(bool(line) and not line.startswith("#") for line in lines) <= 220
    assert 15 <= len(cells) <= 50
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
