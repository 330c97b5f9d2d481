"""The pages of docs/: their code runs, their links lead somewhere, their drawings and numbers are what code makes."""

import ast
import json
import math
import pkgutil
import re
import runpy
import sys
import tomllib
from itertools import pairwise

import pytest
from click.testing import CliRunner

import infolib
from workbook import root, rule
from workbook import run as runner
from workbook.__main__ import main

DOCS = root() / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
NOT_YET = {"../../workshop/README.md"}  # may be missing; the site then has its name without a link


def blocks(path, languages="python|toml|bash"):
    """The code of a page in its order: language and text."""
    return re.findall(rf"```({languages})\n(.*?)```", path.read_text(), re.S)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


ALONE = [path for path in PAGES if blocks(path) and path.stem != "cluster"]  # which needs machines: test_cluster.py


@pytest.mark.parametrize("path", ALONE, ids=lambda path: path.stem)
def test_the_code_of_a_page_runs_in_its_order(path, folder, capsys):
    names = {"__name__": path.stem}
    for language, code in blocks(path):
        if file := re.match(r"# file: ([\w.]+)\n", code):
            (folder / file[1]).write_text(code)
        elif language == "python":
            exec(code, names)
        else:
            for line in code.splitlines():
                command(line)
    assert "nan" not in capsys.readouterr().out


def command(line):
    """`infolib look` is run; of `infolib run`, which takes a minute, the parameters are checked."""
    program, name, *arguments = line.split()
    assert program == "infolib"
    if name == "run":
        pairs = dict(a.split("=") for flag, a in pairwise(arguments) if flag == "-p")
        (notebook,) = [full for full in runner.notebooks() if full.startswith(arguments[0])]
        runner.resolve(notebook, "quick", {key: int(value) for key, value in pairs.items()})
    else:
        assert name == "look"
        done = CliRunner().invoke(main, [name, *arguments])
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_of_a_page_lead_somewhere(path):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / link).exists() or link in NOT_YET, link


def test_the_reference_lists_every_public_module():
    listed = set(re.findall(r"^   (infolib[\w.]*)$", (DOCS / "reference.rst").read_text(), re.M))
    packages = {"infolib.estimators", "infolib.measures"}  # they hold modules only
    public = {found.name for found in pkgutil.walk_packages(infolib.__path__, "infolib.")}
    assert listed == {name for name in public if "._" not in name} - packages


def test_the_reference_calls_the_same_names_stable_as_the_readme():
    text = (DOCS / "reference.rst").read_text()
    row = re.search(r"\* - stable\n(.*?)\n   \* -", text, re.S)[1]
    readme = re.search(r"^\| stable \|(.*?)\|", (root() / "README.md").read_text(), re.M)[1]
    assert set(re.findall(r"``([\w.]+)``", row)) == set(re.findall(r"`([\w.]+)`", readme))


def test_the_glossary_has_every_word_of_a_verdict():
    terms = re.findall(r"^(.+)\n: ", (DOCS / "glossary.md").read_text(), re.M)
    assert {f"{word} ({symbol})" for word, symbol in rule.SYMBOL.items()} <= set(terms)
    assert len(terms) == len(set(terms))


def test_the_references_have_every_paper_that_notebooks_and_claims_cite():
    text = (DOCS / "references.md").read_text()
    sources = [*(root() / "notebooks").glob("*.ipynb"), *(root() / "data" / "claims").glob("*.toml")]
    cited = {number for path in sources for number in re.findall(
        r"(?:arxiv\.org/abs/|arXiv\.?\s?|\b)(1\d\d\d\.\d{5}|2\d\d\d\.\d{5})\b", prose(path))}  # fmt: skip
    assert len(cited) > 8
    assert {number for number in cited if f"doi.org/10.48550/arXiv.{number}" not in text} == set()


def test_the_references_have_every_paper_that_docstrings_of_the_library_cite():
    """As "Name et al. 2000", "Name & Name 2000", "Name, Name & Name 2000" and "Name 2000"."""
    heads = [entry.split("*")[0] for entry in (DOCS / "references.md").read_text().split("\n- ")[1:]]
    cited = {found for path in (root() / "infolib").rglob("*.py") for doc in docstrings(path) for found in re.findall(
        r"\b((?:[A-Z][\w-]+, )*[A-Z][\w-]+(?: & [A-Z][\w-]+| et al\.)?),? \(?((?:19|20)\d\d)\b", doc)}  # fmt: skip
    assert len(cited) > 30
    for names, year in cited:
        words = {year, *re.findall(r"[A-Z][\w-]+", names)}
        assert any(words <= set(re.findall(r"[\w-]+", head)) for head in heads), f"{names} {year}"


def docstrings(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield " ".join((ast.get_docstring(node) or "").split())


def prose(path):
    if path.suffix == ".toml":
        return " ".join(claim["paper"] for claim in tomllib.loads(path.read_text())["claim"])
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def test_drawings_are_what_the_code_draws_and_have_a_title_and_a_description():
    drawings = runpy.run_path(str(DOCS / "drawings.py"))["DRAWINGS"]
    assert {path.stem for path in (DOCS / "drawings").glob("*.svg")} == set(drawings)
    for name, draw in drawings.items():
        text = (DOCS / "drawings" / f"{name}.svg").read_text()
        assert text == draw(), f"python docs/drawings.py renews {name}.svg"
        assert re.search(r"<title[^>]*>\w.*</title>\n<desc[^>]*>\w.{40,}</desc>", text)
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("name", sorted(re.findall(r"^EXPLORABLE:(\d\d)$", (DOCS / "explore.md").read_text(), re.M)))
def test_the_numbers_of_an_explorable_fit_its_sliders(name):
    path = DOCS / "explorables" / f"{name}.json"
    assert path.stat().st_size <= 60_000
    data = json.loads(path.read_text())
    sizes = {control["name"]: len(control["values"]) for control in data["controls"]} | {"x": len(data["x"]["values"])}
    for line in data["lines"]:
        assert shape(line["values"]) == [*(sizes[control] for control in line["by"]), sizes["x"]], line["name"]
    for picture in data.get("pictures", []):
        *settings, pixels = shape(picture["values"])
        assert settings == [sizes[control] for control in picture["by"]], picture["name"]
        assert math.isqrt(pixels) ** 2 == pixels


def shape(values):
    """Lengths of lists in lists, which must be even."""
    if not isinstance(values, list):
        return []
    inner = {tuple(shape(value)) for value in values}
    assert len(inner) == 1
    return [len(values), *inner.pop()]


def test_the_first_explorable_has_the_known_truth():
    """The mean of one sample's estimates is not far from its population value where the kernel is wide."""
    data = json.loads((DOCS / "explorables" / "01.json").read_text())
    lines = {line["name"]: line["values"] for line in data["lines"]}
    assert lines["Shannon's information"][0] == pytest.approx(-math.log2(1 - 0.75**2) / 2, abs=1e-3)
    width, n, alpha = data["x"]["values"].index(1.0), -1, 0
    assert lines["estimate"][n][alpha][width] == pytest.approx(lines["population"][alpha][width], abs=0.1)
    assert lines["independent pair"][n][alpha][width] < 0.1 < lines["population"][alpha][width]
