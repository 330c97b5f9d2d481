"""Execute one notebook with papermill, and render a report for a browser.

`workbook.run` starts `python -m workbook.execution SPEC` for each notebook. The outcome is the exit code and, in the
folder INFOLIB_REPORT, `report.ipynb`, or `error.txt` if it failed. The runner renders: it imports nbconvert once.
"""

import json
import os
import re
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

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


def execute(notebook: Path, values: dict[str, Any], work: Path, position: int = 0) -> None:
    """Execute a notebook with papermill into `work`/report.ipynb.

    Parameters
    ----------
    notebook : Path
        Its file.
    values : dict of str to object
        Parameters to inject.
    work : Path
        Folder of the report.
    position : int
        Line of the progress bar, from 0.

    Raises
    ------
    PapermillExecutionError
        When a cell raises.
    """
    import papermill
    from traitlets.config import Config

    bar = {"desc": notebook.stem, "position": position, "leave": False, "disable": not sys.stderr.isatty()}
    # One socket path per kernel: TCP ports and the default path collide when kernels start side by side. It may have
    # 103 bytes at most, so it is not in the folder for temporary files.
    with tempfile.TemporaryDirectory(prefix="k", dir="/tmp") as sockets:
        papermill.execute_notebook(
            notebook, work / "report.ipynb", values, kernel_name="python3", progress_bar=bar, start_timeout=180,
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/s"}}),
        )  # fmt: skip
    _forget_paths(work / "report.ipynb")


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


def _end_with(parent: int) -> None:
    """Leave when the runner has been killed: nobody would publish this report."""
    while os.getppid() == parent:
        time.sleep(0.5)
    for process in psutil.Process().children(recursive=True):
        process.kill()
    os._exit(1)


def _child(notebook: Path, parameters: dict[str, Any], position: int) -> int:
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    work = Path(os.environ["INFOLIB_REPORT"])
    try:
        execute(notebook, parameters, work, position)
    except Exception as error:
        text = re.sub(r"\x1b\[[0-9;]*m", "", str(error) or type(error).__name__)  # without terminal colours
        (work / "error.txt").write_text(f"{notebook.stem}: {text}", encoding="utf-8")
        return 1
    return 0


if __name__ == "__main__":
    spec = json.loads(sys.argv[1])
    sys.exit(_child(Path(spec["notebook"]), spec["parameters"], spec["position"]))
