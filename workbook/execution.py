"""Execute one notebook with papermill, and render a report for a browser.

`workbook.child` executes, in a process of its own; the runner renders, as it imports nbconvert once.
"""

import csv
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
NEIGHBOUR = re.compile(r"\]\((\d\d_\w+)\.ipynb")  # a link to another notebook
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)
JUDGED = re.compile(r"^ *book\.judge\(\s*[\"']([^\"']+)", re.MULTILINE)
HEADING = re.compile(r'<h2 id="([^"]+)">(.*?)<a class="anchor-link"', re.DOTALL)
EMPTY_HEADER = re.compile(r"<th([^>]*)>(?:\s|&nbsp;)*</th>")
PAGES = Path(__file__).parent  # the templates, and what they hold


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


def render(folder: Path, title: str, profile: str = "paper") -> None:
    """Write report.html, for a browser, from report.ipynb, as one file that asks the network for nothing.

    Formulas are MathML. At the top are a link to the board, the verdicts and the headings; next to the code that judges
    a claim is a link to the claim on the board.

    Parameters
    ----------
    folder : Path
        Folder of the report.
    title : str
        Title of the page: the name of the report.
    profile : str
        The profile whose section of the board the links lead to.
    """
    from jinja2 import FileSystemLoader
    from nbconvert import HTMLExporter

    notebook = nbformat.read(folder / "report.ipynb", as_version=4)
    name, _, own = title.partition("@")
    _describe(notebook.cells, root() / "notebooks" / f"{name}.ipynb")
    claims = {cell.id: JUDGED.findall(cell.source) for cell in notebook.cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            linked = NEIGHBOUR.sub(r"](../\1/report.html", FORMULA.sub(_mathml, cell.source))
            cell.source = linked.replace("](../docs/", "](../../../docs/")
    board = f"../../index.html#{profile}-"
    page = {"css": (PAGES / "page.css").read_text(encoding="utf-8"), "tally": _tally(folder), "claims": claims}
    page |= {"board": board + title, "row": f"{board}{{}}{'@' * bool(own)}{own}"}
    with RENDERING:
        exporter = HTMLExporter(template_file="report.html.j2", extra_loaders=[FileSystemLoader(PAGES)])
        text, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title}, "page": page})
    text = EMPTY_HEADER.sub(r"<td\1></td>", text)  # a header without words is none
    contents = "".join(f'<li><a href="#{place}">{words}</a></li>' for place, words in HEADING.findall(text))
    (folder / "report.html").write_text(text.replace("<!--contents-->", f"<ol>{contents}</ol>"), encoding="utf-8")


def _describe(cells: list[Any], source: Path) -> None:
    """Give each picture an alternative text: of its cell, of that cell in the notebook, or the heading above."""
    known = nbformat.read(source, as_version=4).cells if source.exists() else []
    alts = {cell.get("id"): cell.metadata.get("alt") for cell in known}
    heading = "the beginning"
    for cell in cells:
        if cell.cell_type == "markdown":
            heading = [heading, *re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE)][-1]
        alt = cell.metadata.get("alt") or alts.get(cell.get("id")) or f"Figure of the section: {heading}"
        pictures = [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
        for i, output in enumerate(pictures):
            output.metadata["alt"] = alt if isinstance(alt, str) else alt[min(i, len(alt) - 1)]


def _tally(folder: Path) -> list[tuple[str, str, int]]:
    """Word, symbol and number of claims of a report; of a former rule, whose words mean something else, none."""
    from workbook import rule

    path = folder / "verdicts.csv"
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines()) if path.exists() else ()
    words = [*{row["claim"]: row.get("word") for row in rows}.values()]
    return [(word, symbol, words.count(word)) for word, symbol in (rule.SYMBOL | rule.CHECKED).items() if word in words]


def _mathml(formula: re.Match[str]) -> str:
    from latex2mathml.converter import convert

    displayed, inline = formula.groups()
    if inline:
        return convert(inline)
    text = convert(displayed, display="block")
    return f'<span class="formula" tabindex="0" role="group" aria-label="Formula">{text}</span>'
