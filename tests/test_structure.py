"""The shape of the repository: walls between its packages, sizes, environments that agree, a lock that is exact."""

import ast
import io
import re
import statistics
import subprocess
import sys
import tokenize
import tomllib
from functools import cache
from graphlib import TopologicalSorter

import pytest
import yaml

import infolib
from workbook import root

MODULES = {".".join(path.relative_to(root()).with_suffix("").parts).removesuffix(".__init__"): path
           for package in ("infolib", "workbook") for path in sorted((root() / package).rglob("*.py"))}  # fmt: skip
TESTS = sorted((root() / "tests").rglob("*.py"))

# What each part of the library may import of the library; itself always.
LIBRARY = {
    "": {"_lazy", "data"},  # data for type checkers only
    "_lazy": {"_moved"},
    "_moved": set(),
    "checks": set(),
    "data": {"checks"},
    "networks": {"checks"},
    "activations": {"checks", "networks"},
    "training": {"checks", "data", "activations", "_moved"},
    "estimators": {"checks", "_lazy"},
    "measures": {"checks", "data", "networks", "activations", "training", "estimators", "_lazy", "_moved"},
    "plotting": {"checks", "_moved"},
}
ALLOWED = {"torch", "numpy", "scipy", "pandas", "tqdm"}  # of others, with what Python brings and opens no file
PYTHON = {"collections", "contextlib", "contextvars", "copy", "dataclasses", "difflib", "functools", "hashlib",
          "importlib", "inspect", "io", "itertools", "math", "operator", "re", "sys", "time", "types",
          "typing"}  # fmt: skip
TRAINERS = {
    "lightning",
    "pytorch_lightning",
    "transformers",
}  # of others: callbacks are made where they are asked for
FIGURES = {"matplotlib", "seaborn", "PIL"}
FILES = {"open", "fdopen", "environ", "getenv", "load", "save", "savez", "savetxt", "fromfile", "memmap", "savefig"}
FILES_LIKE = r"(read|write)_\w+|to_(csv|json|pickle|parquet|excel|hdf|feather|html|latex|file)|(load|save)_?\w*file"
IN_MEMORY = {("infolib.plotting._style", name) for name in ("open", "save", "savefig")}  # PNG for a notebook

# What experiments may import of workbook, and where else what belongs.
EXPERIMENTS = {"store", "datasets", "models", "techniques", "loading", "records", "experiments"}
BELONGS = {
    "papermill": {"execution", "run"}, "nbconvert": {"execution"}, "nbformat": {"execution", "run", "exercises"},
    "matplotlib": {"charts"}, "seaborn": {"charts"}, "ipywidgets": {"charts"}, "distributed": {"cluster"},
    "cloudpickle": {"cluster"},
}  # fmt: skip
LATE = {"torchvision", "sklearn", "papermill", "nbconvert", "pooch", "jinja2", "ipywidgets",
        "distributed"}  # slow: inside functions  # fmt: skip

LIBRARY_PROJECT, WORKBOOK_PROJECT = (
    tomllib.loads((root() / name).read_text())["project"] for name in ("pyproject.toml", "workbook/pyproject.toml")
)


def part(name):
    """`estimators` of infolib.estimators.renyi."""
    return f"{name}.".split(".")[1]


@cache
def nodes(path):
    """The parsed code of a file: the module, and all that is in it."""
    return tuple(ast.walk(ast.parse(path.read_text())))


def imports(path):
    """(dotted name, node) of every import, those for type checkers too; of a module, or of a name in one."""
    for node in nodes(path):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((target(node, alias), node) for alias in node.names)


def target(node, alias):
    return alias.name if isinstance(node, ast.Import) else f"{'.' * node.level}{node.module}.{alias.name}"


def runs(path):
    """The imports that run: not those under `if TYPE_CHECKING`."""
    typing_only = {n for node in nodes(path) if isinstance(node, ast.If) for n in ast.walk(node)
                   if getattr(node.test, "id", "") == "TYPE_CHECKING"}  # fmt: skip
    return [(name, node) for name, node in imports(path) if node not in typing_only]


def module_of(name):
    """The module that a dotted name of ours is, or lies in."""
    while name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def used(path):
    """Every dotted name that code imports, reads or patches, such as infolib.estimators.renyi.entropy."""
    known = {}
    for name, node in imports(path):
        yield name
        for alias in node.names:
            local = alias.name.split(".")[0]
            plain = isinstance(node, ast.Import) and not alias.asname
            known[alias.asname or local] = local if plain else target(node, alias)
    for node in nodes(path):
        if isinstance(node, ast.Attribute):
            yield dotted(node, known)
        elif isinstance(node, ast.Call) and called(node) in ("setattr", "getattr", "delattr"):
            owner, name = node.args[:2]
            yield str(getattr(owner, "value", ""))
            yield f"{dotted(owner, known)}.{getattr(name, 'value', '')}"


def dotted(node, known):
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, known)}.{node.attr}"
    return known.get(node.id, "") if isinstance(node, ast.Name) else ""


def called(node):
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def private(path, home):
    """Private names of ours that code outside the module or package they lie in uses."""
    for name in used(path):
        parts = name.split(".")
        for i, piece in enumerate(parts):
            owner = ".".join(parts[:i])
            if parts[0] in ("infolib", "workbook") and is_private(piece) and not f"{home}.".startswith(f"{owner}."):
                yield name


def is_private(piece):
    return re.match(r"_[a-zA-Z]", piece) and piece not in {"_fields", "_replace", "_asdict", "_make"}  # of named tuples


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("infolib")])
def test_the_library_imports_only_what_lies_below_and_what_the_wheel_needs(name):
    here = part(name)
    packages = ALLOWED | PYTHON | (FIGURES if here == "plotting" else set())
    for wanted, node in imports(MODULES[name]):
        first = wanted.split(".")[0]
        if first == "infolib":
            assert part(module_of(wanted)) in LIBRARY[here] | {here}, f"line {node.lineno}: {wanted}"
        elif first in TRAINERS:
            assert name == "infolib.measures._watched"
            assert node not in nodes(MODULES[name])[0].body
        else:
            assert first in packages, f"line {node.lineno}: {wanted}"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("infolib")])
def test_the_library_opens_no_file_and_reads_no_environment(name):
    """What its code calls; what it does is watched in test_wheel.py."""
    for node in nodes(MODULES[name]):
        word = getattr(node, "attr", getattr(node, "id", ""))
        if word in FILES or re.fullmatch(FILES_LIKE, word):
            assert (name, word) in IN_MEMORY, f"line {node.lineno}: {word}"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("workbook")])
def test_the_workbook_keeps_its_walls(name):
    path, here = MODULES[name], part(name)
    for wanted, node in imports(path):
        if wanted.startswith("workbook"):
            room = part(module_of(wanted))
            allowed = room in EXPERIMENTS if here == "experiments" else room != "experiments"
            assert allowed, f"line {node.lineno}: {wanted}"
    for wanted, node in runs(path):
        first = wanted.split(".")[0]
        assert here in BELONGS.get(first, {here}), f"line {node.lineno}: {first} belongs in {BELONGS[first]}"
        assert not (first in LATE and node in nodes(path)[0].body), (
            f"line {node.lineno}: {first} is imported before it is needed"
        )


def test_the_machine_reaches_experiments_late_by_name_and_three_names_only():
    machine = {name: nodes(path) for name, path in MODULES.items()
               if name.startswith("workbook") and part(name) != "experiments"}  # fmt: skip
    naming = {name for name, inside in machine.items() for node in inside
              if isinstance(node, ast.Constant) and "workbook.experiments." in str(node.value)
              and not str(node.value).count("\n")}  # fmt: skip
    assert naming == {"workbook.records"}
    read = {node.attr for node in machine["workbook.records"]
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "experiment"}  # fmt: skip
    assert read == {"RECORDS", "RANGES", "check"}


@pytest.mark.parametrize("name", MODULES)
def test_no_package_uses_what_is_private_to_another(name):
    assert sorted(set(private(MODULES[name], name))) == []


@pytest.mark.parametrize("path", TESTS, ids=lambda p: p.name)
def test_no_test_uses_what_is_private(path):
    assert sorted(set(private(path, "tests"))) == []


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: {module_of(wanted) for wanted, _ in imports(path)
                    if wanted.split(".")[0] in ("infolib", "workbook")} - {name}
             for name, path in MODULES.items()}  # fmt: skip
    order = list(TopologicalSorter(graph).static_order())  # graphlib.CycleError names the circle
    assert set(order) == set(MODULES)


def answer(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_importing_the_library_imports_nothing_else_and_makes_its_parts_attributes():
    assert answer("import infolib, sys; print(*{m.split('.')[0] for m in sys.modules} & "
                  f"{ALLOWED | FIGURES | {'workbook'}})") == []  # fmt: skip
    assert answer("import infolib; print(infolib.estimators.renyi.entropy.__name__, infolib.measures.lenses.__name__, "
                  "infolib.Data.__name__, infolib.training.fit.__name__)") == [
        "entropy", "infolib.measures.lenses", "Data", "fit"]  # fmt: skip
    assert set(infolib.__all__) <= set(dir(infolib))
    assert {"binning", "discrete", "knn", "renyi", "truth", "uncertainty"} <= set(dir(infolib.estimators))
    assert {"information_plane", "lenses", "synergy"} <= set(dir(infolib.measures))


def test_only_figures_need_what_draws_them():
    names = sorted({module_of(name) for name in MODULES if name.startswith("infolib") and part(name) != "plotting"})
    assert answer(f"import sys, {', '.join(names)}; print(*{FIGURES | {'workbook', 'sklearn', 'torchvision'}}"
                  " & set(sys.modules))") == []  # fmt: skip


@cache
def code_lines(text):
    """The numbers of the lines that hold code: neither docstrings, comments nor blanks."""
    nothing = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {line for t in tokens if t.type not in nothing for line in range(t.start[0], t.end[0] + 1)}
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return lines


def test_code_lines_are_what_is_left_without_words():
    text = '"""Doc."""\n\n# comment\nx = """a\nb"""  # c\n\ndef f():\n    """Doc."""\n    return (\n        1)\n'
    assert code_lines(text) == {4, 5, 7, 9, 10}


@pytest.mark.parametrize(("package", "most"), [("infolib", 6689), ("workbook", 6657)])
def test_packages_modules_and_functions_keep_their_size(package, most):
    sizes, functions = {}, {}
    for name, path in MODULES.items():
        if name.split(".")[0] == package:
            lines = code_lines(path.read_text())
            sizes[name] = len(lines)
            functions |= {f"{name}.{node.name}": len(lines & set(range(node.lineno, node.end_lineno + 1)))
                          for node in nodes(path) if isinstance(node, ast.FunctionDef)}  # fmt: skip
    assert {name: size for name, size in sizes.items() if size > 300} == {}
    assert {name: size for name, size in functions.items() if size > 50} == {}
    assert statistics.median(functions.values()) <= 10
    assert sum(sizes.values()) <= most


def normalised(requirement):
    return requirement.split("#")[0].strip().replace("pytorch", "torch").replace(" ", "")


def requirements():
    """Every requirement of both packages, and of development, but that of one for the other."""
    listed = [*LIBRARY_PROJECT["dependencies"], *LIBRARY_PROJECT["optional-dependencies"]["plot"],
              *WORKBOOK_PROJECT["dependencies"], *WORKBOOK_PROJECT["optional-dependencies"]["dev"]]  # fmt: skip
    return {normalised(r) for r in listed if not r.startswith("information-workbook")}


def test_conda_environment_has_both_packages_and_the_names_and_bounds_of_both():
    environment = yaml.safe_load((root() / "environment.yml").read_text())
    *conda, last = environment["dependencies"]
    *others, library, workbook = last["pip"]
    assert environment["name"] == "infolib"
    assert (library, workbook) == ("-e .", "-e ./workbook")
    assert {normalised(d) for d in [*conda, *others]} - {"pip"} == requirements() | {
        f"python{LIBRARY_PROJECT['requires-python']}"}  # fmt: skip


def test_the_two_packages_have_one_version_and_one_python():
    assert f"information-workbook[plot]=={infolib.__version__}" in WORKBOOK_PROJECT["dependencies"]
    assert LIBRARY_PROJECT["dynamic"] == WORKBOOK_PROJECT["dynamic"] == ["version"]
    assert LIBRARY_PROJECT["requires-python"] == WORKBOOK_PROJECT["requires-python"]
    assert {re.match(r"[\w-]+", r)[0] for r in LIBRARY_PROJECT["dependencies"]} == ALLOWED
    cited = yaml.safe_load((root() / "CITATION.cff").read_text())
    assert cited["version"] == infolib.__version__
    if "dev" not in infolib.__version__:
        assert f"\n## [{infolib.__version__}] - {cited['date-released']}\n" in (root() / "CHANGELOG.md").read_text()


def test_no_address_of_the_repository_is_invented():
    """One line in pyproject.toml will be its only source."""
    assert "urls" not in LIBRARY_PROJECT | WORKBOOK_PROJECT
    assert "repository-code" not in (root() / "CITATION.cff").read_text()


def test_lock_is_exact_hashed_without_addresses_and_covers_every_dependency():
    text = (root() / "requirements.lock").read_text()
    assert not re.search(r"https?://|--index|--extra-index|--find-links", text)
    entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.M).strip())
    assert len(entries) > 100
    assert all(re.match(r"[\w.-]+==\S+", entry) and "--hash=sha256:" in entry for entry in entries)
    locked = {re.match(r"[\w.-]+", entry)[0] for entry in entries}
    assert {re.match(r"[\w.-]+", w)[0] for w in requirements()} <= locked


def test_files_of_tests_go_to_processes_whole_make_reports_first_and_notebooks_last(request):
    how = "$(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder"
    assert f"{how};" in (root() / "Makefile").read_text()
    items = request.session.items  # those that are run now
    order = [item.path.suffix == ".ipynb" or -(item.path.name == "test_readme.py") for item in items]
    assert order == sorted(order)
    assert [item.nodeid for item in items if " at 0x" in item.nodeid] == []  # the same in every process


@pytest.mark.parametrize("path", TESTS, ids=lambda p: p.name)
def test_no_test_throws_a_comparison_away(path):
    """`np.allclose(a, b)` or `a == b` on a line of its own checks nothing."""
    boolean = {"allclose", "array_equal", "equal", "isclose"}
    for node in nodes(path):
        if isinstance(node, ast.Expr):
            called = getattr(getattr(node.value, "func", None), "attr", "")
            assert not isinstance(node.value, ast.Compare), f"line {node.lineno}"
            assert called not in boolean, f"line {node.lineno}"
