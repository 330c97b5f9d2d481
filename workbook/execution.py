"""Execute one notebook with papermill, and render a report for a browser.

`workbook.run` starts `python -m workbook.execution SPEC` for each notebook; the outcome is the exit code, and in the
folder that the specification names `report.ipynb`, or `error.txt` if it failed. The runner itself renders: it imports
nbconvert once for all.
"""

import json
import os
import re
import sys
import tempfile
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from workbook import root

sys.modules.setdefault("rfc3987_syntax", None)  # jsonschema's grammars of addresses: 1.5 s, and no notebook has any
import nbformat  # noqa: E402

if TYPE_CHECKING:
    from nbconvert import HTMLExporter

KERNEL_STARTS = 3
RENDERING = threading.Lock()  # one page at a time: the runner's threads share an interpreter
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)


def cells(notebook: Path) -> list[Any]:
    """The cells of a notebook."""
    return nbformat.read(notebook, as_version=4).cells


def execute(notebook: Path, values: dict[str, Any], work: Path, position: int = 0) -> None:
    """Execute one notebook with papermill into `work`/report.ipynb; a kernel that does not start is tried again."""
    import papermill
    from traitlets.config import Config

    output = work / "report.ipynb"
    bar = {"desc": notebook.stem, "position": position, "leave": False, "disable": not sys.stderr.isatty()}
    for attempt in range(1, KERNEL_STARTS + 1):
        # One short socket path per kernel: TCP ports and the default ipc path collide when kernels start side by side.
        with tempfile.TemporaryDirectory(prefix="k", dir=_short_folder()) as sockets:
            config = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/s"}})
            try:
                papermill.execute_notebook(
                    notebook, output, values, kernel_name="python3", progress_bar=bar, start_timeout=180, config=config
                )
            except papermill.PapermillExecutionError:
                raise
            except Exception:
                if _begun(output) or attempt == KERNEL_STARTS:
                    raise
            else:
                _forget_paths(output)
                break


def _forget_paths(output: Path) -> None:
    """Leave this machine's paths out of a report."""
    notebook = nbformat.read(output, as_version=4)
    for key in ("input_path", "output_path", "environment_variables"):
        notebook.metadata.papermill.pop(key, None)
    for text in (o for cell in notebook.cells for o in cell.get("outputs", []) if "text" in o):
        text["text"] = text["text"].replace(f"{root()}/", "")  # a library's warning names its file
    nbformat.write(notebook, output)


def render(folder: Path, title: str) -> None:
    """Write a report's notebook as report.html, for a browser; its formulas as MathML, which needs no network."""
    notebook = nbformat.read(folder / "report.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = FORMULA.sub(_mathml, cell.source)
    with RENDERING:
        text, _ = _exporter().from_notebook_node(notebook, {"metadata": {"name": title}})
    (folder / "report.html").write_text(text, encoding="utf-8")


@lru_cache
def _exporter() -> "HTMLExporter":
    """One for all pages: it compiles its templates once."""
    from nbconvert import HTMLExporter

    return HTMLExporter()


def _mathml(formula: re.Match) -> str:
    from latex2mathml.converter import convert

    displayed, inline = formula.groups()
    return convert(displayed, display="block") if displayed else convert(inline)


def _short_folder() -> str:
    """Where sockets fit: a path of theirs may have 103 bytes at most."""
    return tempfile.gettempdir() if len(tempfile.gettempdir()) < 70 else "/tmp"


def _begun(output: Path) -> bool:
    """Whether a kernel has run a cell of this notebook, as far as can be told."""
    if not output.exists():
        return False
    try:
        found = cells(output)
    except ValueError:  # cut off by a full disk
        return True
    return any(c.get("metadata", {}).get("papermill", {}).get("status") not in (None, "pending") for c in found)


def _end_with(parent: int) -> None:
    """Leave when the runner has been killed: nobody would publish this report."""
    while os.getppid() == parent:
        time.sleep(0.5)
    for process in psutil.Process().children(recursive=True):
        process.kill()
    os._exit(1)


def _child(spec: dict[str, Any]) -> int:
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    work, notebook = Path(spec["work"]), Path(spec["notebook"])
    try:
        execute(notebook, spec["parameters"], work, spec["position"])
    except Exception as error:
        text = _plain(f"{notebook.stem}: {error or type(error).__name__}")
        try:
            (work / "error.txt").write_text(text, encoding="utf-8")
        except OSError:  # a full disk
            print(text, file=sys.stderr)
        return 1
    return 0


def _plain(text: str) -> str:
    """`text` without terminal colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


if __name__ == "__main__":
    sys.exit(_child(json.loads(sys.argv[1])))
