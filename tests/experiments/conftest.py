"""The functions that measure in a notebook, for tests that compare them with the same by hand."""

import ast
from types import SimpleNamespace

import nbformat
import pytest

from workbook import root


@pytest.fixture(scope="session")
def defined():
    """What a notebook imports and defines, beside its globals that are given; of what it runs, names `kept` alone."""

    def names(node):
        return {target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)}

    def of(name, *, kept=(), **given):
        cells = nbformat.read(root() / "notebooks" / f"{name}.ipynb", as_version=4).cells
        nodes = [node for c in cells if c.cell_type == "code" for node in ast.parse(c.source).body]
        kinds = ast.Import | ast.ImportFrom | ast.FunctionDef
        nodes = [node for node in nodes if isinstance(node, kinds) or names(node) & {*kept}]
        exec(compile(ast.Module(nodes, []), name, "exec"), given)
        return SimpleNamespace(**given)

    return of
