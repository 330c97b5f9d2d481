"""Docstrings of everything public: numpydoc sections that name every parameter, and an example in the library."""

import dataclasses
import importlib
import inspect
import pkgutil
import re
import tomllib
from typing import Any

import pytest
import yaml

import infolib
import workbook
from workbook import root

SECTIONS = ("Parameters", "Returns", "Yields", "Raises", "Attributes", "Examples", "Notes", "See Also", "References")
# A word of the house or a layer that speaks, and what the field writes.
WORDS = {r"\blayers? (says?|said|tells?|knows?|speaks?|hears?|minds?)\b": "a layer has an activation",
         r"\bhangs? on\b": "depends on", r"\bless its\b": "minus its", r"\blouder\b": "scale"}  # fmt: skip


def modules():
    """Every public module of both packages."""
    for package in (infolib, workbook):
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not re.search(r"\._", found.name):
                yield importlib.import_module(found.name)


def public():
    """Full name -> function or class, once each, under the first public name that reaches it."""
    found = {}
    for module in modules():
        for name in getattr(module, "__all__", None) or [name for name in vars(module) if name[0] != "_"]:
            value = getattr(module, name)
            ours = str(getattr(value, "__module__", "")).startswith(module.__name__) and not inspect.ismodule(value)
            if ours and (inspect.isfunction(value) or inspect.isclass(value)):
                found.setdefault(id(value), (f"{module.__name__}.{name}", value))
                for part, method in vars(value).items() if inspect.isclass(value) else ():
                    if part[0] != "_" and inspect.isfunction(method):
                        found.setdefault(id(method), (f"{module.__name__}.{name}.{part}", method))
    return dict(found.values())


PUBLIC = public()


def sections(doc):
    """Section -> its text, by the lines that underline a heading; the rest is under ''."""
    parts = re.split(r"^(\w[\w ]*)\n-+\n", doc, flags=re.M)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def described(text):
    """The names that a section describes: `name : type` or `a, b : type`, and an indented text below."""
    lines = text.splitlines()
    entries = [line for line, below in zip(lines, [*lines[1:], ""], strict=False)
               if re.match(r"\*{0,2}\w", line) and below.startswith("    ")]  # fmt: skip
    return {name.strip(" *") for line in entries for name in line.split(" :")[0].split(",")}


def parameters(value):
    """What its caller gives: of a function its parameters, of a data class or named tuple its fields."""
    if dataclasses.is_dataclass(value):
        return {field.name for field in dataclasses.fields(value) if field.name in vars(value)["__annotations__"]}
    if inspect.isclass(value):
        return set(getattr(value, "_fields", ())) | set(getattr(value, "__required_keys__", ())) | set(
            getattr(value, "__optional_keys__", ()))  # fmt: skip
    return set(inspect.signature(value).parameters) - {"self", "cls"}


def commented(value):
    """Fields of an experiment's record, whose unit stands in a comment on their line."""
    lines = inspect.getsource(value).splitlines()
    return {match[1] for line in lines if (match := re.match(r" {4}(\w+): .*\S  # \S", line))}


def test_sections_and_names_are_found():
    doc = "First.\n\nParameters\n----------\na, b : int\n    Two.\n**options\n    More: one.\n\nReturns\n-------\nint\n"
    assert described(sections(doc)["Parameters"]) == {"a", "b", "options"}
    assert set(sections(doc)) == {"", "Parameters", "Returns"}
    assert len(PUBLIC) > 150


@pytest.mark.parametrize("name", PUBLIC)
def test_every_parameter_is_named_with_what_it_is(name):
    value = PUBLIC[name]
    found = sections(inspect.getdoc(value) or "")
    assert re.match(r"\S.*\S", found[""]), "no first line"
    assert set(found) - {""} <= set(SECTIONS)
    named = described(found.get("Parameters", "")) | described(found.get("Attributes", ""))
    if name.startswith("workbook.experiments") and dataclasses.is_dataclass(value):
        named |= commented(value)
    assert sorted(parameters(value) - named) == []
    assert inspect.isclass(value) or sorted(named - parameters(value)) == [], "names what is no parameter"
    old = r"^(Raises|Returns|Args|Parameters):"
    assert not re.search(old, inspect.getdoc(value), flags=re.M), "a section of another style"


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items() if inspect.isfunction(value)])
def test_what_a_function_returns_is_described(name):
    value = PUBLIC[name]
    gives = inspect.signature(value).return_annotation
    found = sections(inspect.getdoc(value))
    assert {"Returns", "Yields"} & set(found) or gives in (None, "None")


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items()
                                  if name.startswith("infolib.") and inspect.isfunction(value)])  # fmt: skip
def test_functions_of_the_library_have_an_example(name):
    assert ">>> " in inspect.getdoc(PUBLIC[name])


@pytest.mark.parametrize("name", PUBLIC)
def test_docstrings_use_the_words_of_the_field(name):
    for pattern, better in WORDS.items():
        assert not re.search(pattern, inspect.getdoc(PUBLIC[name])), f"write: {better}"


def stable():
    """The full names of what the library's docstring calls stable, functions of whole modules one by one."""
    text = re.search(r"^stable\n(.*?)\nprovisional", infolib.__doc__, re.S | re.M)[1]
    said = re.findall(r"`(\w+)`", text)
    modules = said[said.index("estimators") + 1 :]
    names = {"infolib.Data", *(f"infolib.activations.{name}" for name in ("record", "replace", "collect", "upto")),
             *(f"infolib.training.{name}" for name in ("fit", "evaluate"))}  # fmt: skip
    assert {name for full in names for name in full.split(".")[1:]} | {"estimators"} == set(said) - set(modules)
    return names | {name for name in PUBLIC if re.fullmatch(rf"infolib\.estimators\.({'|'.join(modules)})\.\w+", name)
                    and inspect.isfunction(PUBLIC[name])}  # fmt: skip


def test_readme_calls_the_same_names_stable():
    row = re.search(r"^\| stable \|(.*?)\|", (root() / "README.md").read_text(), re.M)[1]
    said = set(re.findall(r"\w+", " ".join(re.findall(r"`([\w.]+)`", row))))
    text = re.search(r"^stable\n(.*?)\nprovisional", infolib.__doc__, re.S | re.M)[1]
    modules = {name.split(".")[2] for name in stable() if "estimators" in name}
    assert said == set(re.findall(r"`(\w+)`", text)) - modules
    assert modules == {path.stem for path in (root() / "infolib" / "estimators").glob("[a-z]*.py")}


def uses():
    """Every name that the tests read."""
    return {word for path in (root() / "tests").rglob("test_*.py") for word in re.findall(r"\w+", path.read_text())}


USED = uses()


@pytest.mark.parametrize("name", sorted(stable()))
def test_stable_names_have_an_example_and_a_test(name):
    value = PUBLIC.get(name) or infolib.Data
    assert ">>> " in inspect.getdoc(value)
    assert name.rpartition(".")[2] in USED


def test_the_library_tells_type_checkers_that_it_is_typed():
    assert (root() / "infolib" / "py.typed").read_text() == ""


def test_types_are_checked_with_few_exceptions():
    settings = tomllib.loads((root() / "pyproject.toml").read_text())["tool"]["mypy"]
    assert settings["packages"] == ["infolib", "workbook"]
    assert settings["check_untyped_defs"]
    assert settings["disallow_untyped_defs"]
    assert settings["warn_unused_ignores"]
    assert all(set(entry) == {"module", "ignore_missing_imports"} for entry in settings["overrides"])
    assert not any(module.startswith(("infolib", "workbook")) for o in settings["overrides"] for module in o["module"])
    texts = [path.read_text() for package in ("infolib", "workbook") for path in (root() / package).rglob("*.py")]
    ignored = [match for text in texts for match in re.findall(r"# type: ignore(\[\w[\w-]*\])?", text)]
    assert len(ignored) <= 20
    assert all(ignored)
    assert not any("mypy: ignore" in text for text in texts)
    assert "\t$(BIN)/mypy & " in (root() / "Makefile").read_text()


def test_no_options_of_any_kind_pass_between_functions_of_ours():
    """A function that calls whatever it is given, or keeps its results, takes what that takes."""
    calling = {"workbook.store.key", "workbook.store.cached", "workbook.__main__.run", "workbook.cluster.begun"}
    loose = {name for name, value in PUBLIC.items() if inspect.isfunction(value)
             for p in inspect.signature(value).parameters.values() if p.kind is p.VAR_KEYWORD
             and p.annotation in (inspect.Parameter.empty, Any, "Any")}  # fmt: skip
    assert loose <= calling


def test_actions_are_pinned_and_may_only_read():
    for path in (root() / ".github" / "workflows").glob("*.yml"):
        text = path.read_text()
        assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
        uses = re.findall(r"uses: (\S+)", text)
        assert uses
        assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action in uses)
    versions = yaml.safe_load((root() / ".github" / "workflows" / "test.yml").read_text())["jobs"]["test"]["strategy"]
    assert versions["matrix"]["python"] == ["3.11", "3.12", "3.13"]
