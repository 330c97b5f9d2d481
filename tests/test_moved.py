"""An old import says the new one, and the new one is there."""

import ast
import importlib.util
import re
import subprocess
import sys

import pytest

from workbook import root

CHANGELOG = (root() / "CHANGELOG.md").read_text()
MOVED = dict(re.findall(r"^\| `(infolib\.[\w.]+)` \| `([\w.]+)` \|$", CHANGELOG, re.M))


def found(name):
    """What a dotted name leads to: a module, or an attribute of the longest one."""
    thing, *parts = name.split(".")
    thing = importlib.import_module(thing)
    for part in parts:
        path = f"{thing.__name__}.{part}"
        is_module = hasattr(thing, "__path__") and importlib.util.find_spec(path)
        thing = importlib.import_module(path) if is_module else getattr(thing, part)
    return thing


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_raises_an_import_error_that_says_the_new_one(old):
    parent, _, name = old.rpartition(".")
    said = rf"\b{old} is now {MOVED[old]}(;| \(workbook is in the repository only\)|$)".replace(".", r"\.")
    with pytest.raises(ImportError, match=said):
        exec(f"from {parent} import {name}")
    if parent not in MOVED:
        home = importlib.import_module(parent)
        with pytest.raises(ImportError, match=said):
            getattr(home, name)
        if hasattr(home, "__path__"):  # a package: what lies in it may have been a module
            with pytest.raises(ImportError, match=said):
                importlib.import_module(old)


@pytest.mark.parametrize("new", sorted(set(MOVED.values())))
def test_the_new_name_is_there(new):
    assert found(new) is not None


def test_the_changelog_has_every_name_that_the_library_refuses():
    (table,) = [node.value for node in ast.parse((root() / "infolib/_moved.py").read_text()).body
                if isinstance(node, ast.Assign)]  # fmt: skip
    assert ast.literal_eval(table) == dict(sorted(MOVED.items()))


def test_what_never_was_is_missing_as_ever():
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'infolib\.nonsense'"):
        importlib.import_module("infolib.nonsense")
    for parent in ("infolib", "infolib.measures", "infolib.training"):
        assert not hasattr(importlib.import_module(parent), "nonsense")


def test_the_old_command_line_says_the_new_one():
    done = subprocess.run([sys.executable, "-m", "infolib"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "infolib.__main__ is now workbook.__main__" in done.stderr
