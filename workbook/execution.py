"""Execute one notebook with papermill, and render a report for a browser.

`workbook.child` executes, in a process of its own; the runner renders, as it imports nbconvert once.
"""

import re
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

from workbook import root

# An empty one for jsonschema's grammars of addresses: they take 1.5 s, and no notebook has any.
sys.modules.setdefault("rfc3987_syntax", ModuleType("rfc3987_syntax"))
import nbformat  # noqa: E402

RENDERING = threading.Lock()  # one page at a time: the runner's threads share an interpreter
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)


def cells(notebook: Path) -> list[Any]:
    """Cells of a notebook.

    Parameters
    ----------
    notebook : Path
        Its file.

    Returns
    -------
    list of NotebookNode
    """
    return nbformat.read(notebook, as_version=4).cells


def execute(notebook: Path, values: dict[str, Any], work: Path, sockets: str, position: int = 0) -> None:
    """Execute a notebook with papermill into `work`/report.ipynb, in this interpreter.

    Parameters
    ----------
    notebook : Path
        Its file.
    values : dict of str to object
        Parameters to inject.
    work : Path
        Folder of the report.
    sockets : str
        Folder for the kernel's sockets: TCP ports and the default path collide when kernels start side by side.
    position : int
        Line of the progress bar, from 0.

    Raises
    ------
    PapermillExecutionError
        When a cell raises.
    """
    import papermill
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from traitlets.config import Config

    class OwnKernel(AsyncKernelManager):
        """Of this interpreter, whatever kernel is called python3 on Jupyter's path."""

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(**get_kernel_dict())

    bar = {"desc": notebook.stem, "position": position, "leave": False, "disable": not sys.stderr.isatty()}
    papermill.execute_notebook(
        notebook, work / "report.ipynb", values, kernel_name="python3", progress_bar=bar, start_timeout=180,
        kernel_manager_class=OwnKernel,
        config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/s"}}),
    )  # fmt: skip
    _forget_paths(work / "report.ipynb")


def mark(folder: Path, text: str) -> None:
    """Put a line of Markdown at the head of a report.

    Parameters
    ----------
    folder : Path
        Folder of the report.
    text : str
        The line.
    """
    notebook = nbformat.read(folder / "report.ipynb", as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell(text))
    nbformat.write(notebook, folder / "report.ipynb")


def _forget_paths(output: Path) -> None:
    """Leave this machine's paths out of a report."""
    notebook = nbformat.read(output, as_version=4)
    for key in ("input_path", "output_path", "environment_variables"):
        notebook.metadata.papermill.pop(key, None)
    for text in (o for cell in notebook.cells for o in cell.get("outputs", []) if "text" in o):
        text["text"] = text["text"].replace(f"{root()}/", "")  # a library's warning names its file
    nbformat.write(notebook, output)


def render(folder: Path, title: str) -> None:
    """Write report.html, for a browser, from report.ipynb; formulas become MathML, which needs no network.

    Parameters
    ----------
    folder : Path
        Folder of the report.
    title : str
        Title of the page.
    """
    from nbconvert import HTMLExporter

    notebook = nbformat.read(folder / "report.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = FORMULA.sub(_mathml, cell.source)
    with RENDERING:
        text, _ = HTMLExporter().from_notebook_node(notebook, {"metadata": {"name": title}})
    (folder / "report.html").write_text(text, encoding="utf-8")


def _mathml(formula: re.Match[str]) -> str:
    from latex2mathml.converter import convert

    displayed, inline = formula.groups()
    return convert(displayed, display="block") if displayed else convert(inline)
