"""The shape of the repository: imports point down, environments agree, the lock is exact, tests compare something."""

import ast
import re
import tomllib

import pytest
import yaml

from workbook import root

LEVELS = [
    {"_checks", "cache", "experiment"},
    {"estimators", "datasets", "models"},
    {"training", "activations", "learning", "techniques", "loading"},
    {"measures"},
    {"claims", "plotting", "provenance"},
    {"execution", "workbook", "reports"},
    {"__main__"},
]
BELONGS = {
    "papermill": {"execution"}, "nbconvert": {"execution"}, "nbformat": {"execution", "workbook"},
    "matplotlib": {"plotting"}, "seaborn": {"plotting"},
}  # fmt: skip
LATE = {"torchvision", "sklearn"}  # slow to import: only inside the functions that need them
PROJECT = tomllib.loads((root() / "pyproject.toml").read_text())["project"]
MODULES = sorted((root() / "infolib").rglob("*.py"))


def level(part):
    return next(i for i, parts in enumerate(LEVELS) if part in parts)


def part(path):
    return path.relative_to(root() / "infolib").with_suffix("").parts[0]


def imports(tree):
    """(imported name, node) of every import that runs; `if TYPE_CHECKING` is for readers and tools only."""
    typing_only = {n for node in ast.walk(tree) if isinstance(node, ast.If) for n in ast.walk(node)
                   if getattr(node.test, "id", "") == "TYPE_CHECKING"}  # fmt: skip
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            inside = node.module == "infolib"
            yield from ((f"infolib.{a.name}" if inside else node.module, node) for a in node.names)


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name != "infolib" or p.name != "__init__.py"], ids=str)
def test_imports_point_down_and_heavy_ones_come_late(path):
    tree = ast.parse(path.read_text())
    for name, node in imports(tree):
        root, *rest = name.split(".")
        if root == "infolib" and rest and not rest[0].isupper() and not rest[0].startswith("__version"):
            assert level(rest[0]) <= level(part(path)), f"{name} is imported upwards"
        assert part(path) in BELONGS.get(root, {part(path)}), f"{name} belongs in {BELONGS.get(root)}"
        assert not (root in LATE and node in tree.body), f"{name} is imported before it is needed"


def normalised(requirement):
    return requirement.split("#")[0].strip().replace("pytorch", "torch").replace(" ", "")


def test_conda_environment_has_the_names_and_bounds_of_pyproject():
    environment = yaml.safe_load((root() / "environment.yml").read_text())
    *conda, last = environment["dependencies"]
    ours = {normalised(d) for d in [*conda, *last["pip"]]} - {"pip", "-e."}
    theirs = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    assert environment["name"] == "infolib"
    assert ours == {normalised(d) for d in theirs} | {f"python{PROJECT['requires-python']}"}


def test_lock_is_exact_hashed_without_addresses_and_covers_every_dependency():
    text = (root() / "requirements.lock").read_text()
    assert not re.search(r"https?://|--index|--extra-index|--find-links", text)
    entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.M).strip())
    assert len(entries) > 100
    assert all(re.match(r"[\w.-]+==\S+", entry) and "--hash=sha256:" in entry for entry in entries)
    locked = {re.match(r"[\w.-]+", entry)[0] for entry in entries}
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    assert {re.match(r"[\w.-]+", w)[0] for w in wanted} <= locked


@pytest.mark.parametrize("path", sorted((root() / "tests").rglob("test_*.py")), ids=lambda p: p.name)
def test_no_test_throws_a_comparison_away(path):
    """`np.allclose(a, b)` or `a == b` on a line of its own checks nothing."""
    boolean = {"allclose", "array_equal", "equal", "isclose"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr):
            called = getattr(getattr(node.value, "func", None), "attr", "")
            assert not isinstance(node.value, ast.Compare), f"line {node.lineno}"
            assert called not in boolean, f"line {node.lineno}"


def test_functions_and_modules_keep_their_size():
    for path in MODULES:
        assert len(path.read_text().splitlines()) <= 420, path.name
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                code = node.body[1:] if ast.get_docstring(node) else node.body
                assert not code or node.end_lineno - code[0].lineno < 50, f"{path.name}: {node.name}"
