"""The code of functions and classes, parsed: what it loads and imports, and whether it is ours or installed.

Ours is what the project, a notebook or a module beside it holds: all but Python's own code and what is installed.
"""

import ast
import dis
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

_STDLIB = sysconfig.get_path("stdlib")
_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_OURS = ("infolib", "workbook", "__main__")  # wherever they are installed
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
Chain = tuple[str, ...]  # a name and the attributes after it, as ("renyi", "gram")


class Scan(NamedTuple):
    """A function's parsed code, the names it loads with their attributes, its imports, the names of its decorators."""

    code: list[str]
    chains: set[Chain]
    imports: list[tuple[str, str, str]]
    decorators: set[str]


@cache
def scan(text: str, line: int, name: str, package: str | None) -> Scan:
    """What the functions of a name hold that begin on a line of a text: two lambdas may share one."""
    nodes = index(text).get((line, name))
    if nodes is None:
        raise ValueError(f"function {name} has no source at line {line} of its file: start anew after an edit")
    decorators = [part for node in nodes for part in getattr(node, "decorator_list", [])]
    roots = {names[0] for names in chains(decorators)}
    return Scan([*map(ast.dump, nodes)], {*chains(nodes)}, [*imports(nodes, package)], roots)


@cache
def index(text: str) -> dict[Any, list[Any]]:
    """The code of a text without docstrings: functions by line and name, classes by qualified name, all as ""."""
    found: dict[Any, list[Any]] = {"": [ast.parse(text)]}

    def enter(node: ast.AST, within: str) -> None:
        for child in ast.iter_child_nodes(node):
            inside = f"{within}{child.name}." if isinstance(child, _DEFINITIONS) else within
            if isinstance(child, _DEFINITIONS) and ast.get_docstring(child, clean=False) is not None:
                del child.body[0]
            if isinstance(child, ast.ClassDef):
                found.setdefault(inside[:-1], []).append(child)
            elif isinstance(child, _FUNCTIONS):
                line = min(part.lineno for part in [child, *getattr(child, "decorator_list", [])])
                found.setdefault((line, getattr(child, "name", "<lambda>")), []).append(child)
            enter(child, inside)

    enter(found[""][0], "")
    return found


def chains(nodes: Iterable[ast.AST], *, within: bool = True) -> Iterator[Chain]:
    """The names in code, each with all the attributes after it; annotations aside, and functions if not `within`."""
    left = [*nodes]
    while left:
        node, attributes = left.pop(), ()
        while isinstance(node, ast.Attribute):
            node, attributes = node.value, (node.attr, *attributes)
        if isinstance(node, ast.Name):
            yield (node.id, *attributes)
        elif within or not isinstance(node, _FUNCTIONS):
            parts = (part for name, part in ast.iter_fields(node) if name not in ("annotation", "returns"))
            flat = chain.from_iterable(part if isinstance(part, list) else [part] for part in parts)
            left += (part for part in flat if isinstance(part, ast.AST))


def imports(nodes: Iterable[ast.AST], package: str | None) -> Iterator[tuple[str, str, str]]:
    """The names that imports bind, each with its module and the attribute of it: "." for its first package."""
    for node in chain.from_iterable(map(ast.walk, nodes)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0], alias.name, "" if alias.asname else "."
        elif isinstance(node, ast.ImportFrom):
            home = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield from ((alias.asname or alias.name, home, alias.name) for alias in node.names)


def imported(bindings: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """The values of `imports` from modules of ours; what is not there is left out."""
    found = {}
    for bound, home, attribute in bindings:
        with suppress(ImportError):
            if is_ours(home):
                found[bound] = importlib.import_module(home)
                if attribute == ".":
                    found[bound] = sys.modules[bound]
                elif attribute:
                    member = getattr(found[bound], attribute, None)
                    found[bound] = importlib.import_module(f"{home}.{attribute}") if member is None else member
    return found


def targets(statement: ast.AST) -> set[str]:
    """The names that a statement assigns to."""
    parts = getattr(statement, "targets", [getattr(statement, "target", None)])
    return {node.id for part in parts if part for node in ast.walk(part) if isinstance(node, ast.Name)}


def _codes(code: CodeType) -> list[CodeType]:
    """A code and those within it."""
    codes = [code]
    for part in codes:
        codes += (inner for inner in part.co_consts if isinstance(inner, CodeType))
    return codes


@cache
def global_names(code: CodeType) -> frozenset[str]:
    """The names that a function or one within it takes from outside."""
    codes = _codes(code)
    names = {name for part in codes for name in part.co_names}
    if names.isdisjoint(name for part in codes for name in (*part.co_varnames, *part.co_cellvars)):
        return frozenset(names)
    loads = (load for part in codes for load in dis.get_instructions(part))  # exact, but slow
    return frozenset(load.argval for load in loads if load.opname in _LOADS)


@cache
def _shapes(text: str) -> frozenset[tuple[Any, ...]]:
    return frozenset(map(_shape, _codes(compile(text, "", "exec", dont_inherit=True))))


def was_compiled(code: CodeType, text: str) -> bool:
    """Whether a function comes from a text, unchanged."""
    return _shape(code) in _shapes(text)


def _shape(code: CodeType) -> tuple[Any, ...]:
    """What tells whether a function was compiled from a text."""
    parts = [_shape(part) if isinstance(part, CodeType) else (type(part), part) for part in code.co_consts]
    return code.co_qualname, code.co_firstlineno, code.co_code, code.co_names, tuple(parts)


def is_ours(module: str, file: str = "<") -> bool:
    """Whether code is the project's or the reader's, not Python's or an installed package's."""
    top = module.partition(".")[0]
    if top in _OURS or not file.startswith("<"):
        return top in _OURS or not _is_installed(file)
    if top in sys.stdlib_module_names:
        return False
    with suppress(ValueError):  # of a module that was made at run time
        spec = importlib.util.find_spec(top)
        places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
        return not any(map(_is_installed, filter(None, places)))
    return True


@cache
def _is_installed(file: str) -> bool:
    path = Path(file)
    return path.is_relative_to(_STDLIB) or not {"site-packages", "dist-packages"}.isdisjoint(path.parts)
