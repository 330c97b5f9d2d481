"""Docstrings of everything public: numpydoc sections that name every parameter, and an example in the library."""

import dataclasses
import importlib
import inspect
import pkgutil
import re

import pytest

import infolib
import workbook

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
            ours = getattr(value, "__module__", "").startswith(module.__name__) and not inspect.ismodule(value)
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
    entries = [line for line, below in zip(lines, [*lines[1:], ""], strict=True)
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
