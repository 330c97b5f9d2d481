"""A new notebook with all that goes with it: claims, experiment, profile and rows of the tables, from templates."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from workbook import root
from workbook import run as runner

NAME = r"\d\d(_[a-z][a-z0-9]*)+"
MINUTES = {"quick": 0.5, "paper": 2}
TEMPLATES = Path(__file__).parent / "template"
ROWS = (
    "notebooks/profiles.toml",
    "notebooks/README.md",
    "README.md",
    "data/claims/CHANGES.md",
    "data/claims/units.csv",
)


def begin(name: str, title: str | None = None) -> list[Path]:
    """Write a notebook, its claims, its experiment and its profile, and its rows in the tables; nothing is overwritten.

    Parameters
    ----------
    name : str
        Such as "10_my_topic": a number that no notebook has, and words.
    title : str, optional
        Of the notebook; without it the words of the name.

    Returns
    -------
    list of Path
        What was written, from the workbook's folder, files that got rows last.

    Raises
    ------
    ValueError
        For a name of another form or with a number that is taken, before anything is written.
    """
    if not re.fullmatch(NAME, name):
        raise ValueError(f"name must be two digits and words, such as 10_my_topic, got {name!r}")
    if taken := [other for other in runner.notebooks() if other[:2] == name[:2]]:
        raise ValueError(f"name must have a free number, got {name}: {taken[0]} exists")
    title = title or name[3:].replace("_", " ").capitalize()
    words = {"name": name, "number": name[:2], "title": title}
    made = {
        f"notebooks/{name}.ipynb": _notebook(_filled("notebook.md.j2", words)),
        f"data/claims/{name}.toml": _filled("claims.toml.j2", words),
        f"workbook/experiments/nb{name}.py": _filled("experiment.py.j2", words),
    }
    if there := [path for path in made if (root() / path).exists()]:
        raise ValueError(f"name must be new, got {name}: {there[0]} exists")
    claims = [claim["id"] for claim in tomllib.loads(made[f"data/claims/{name}.toml"])["claim"]]
    rows = _rows(name, title, claims)
    for path, text in (made | rows).items():
        (root() / path).write_text(text, encoding="utf-8")
    return [Path(path) for path in made | rows]


def _filled(template: str, words: dict[str, str]) -> str:
    import jinja2  # only where it is needed

    text = (TEMPLATES / template).read_text(encoding="utf-8")
    made = jinja2.Template(text, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    return made.render(words)


def _notebook(text: str) -> str:
    """Cells that begin with `%%` and a tag: none for prose, `code`, `figure` and an alternative text, or a tag."""
    cells = []
    for i, part in enumerate(re.split(r"^%%", f"\n{text}", flags=re.M)):
        head, source = part.split("\n", 1)
        tag, _, alt = head.strip().partition(" ")
        own = {"alt": alt} if tag == "figure" else {"tags": [tag]} if tag not in ("", "code") else {}
        cell = {"cell_type": "code" if tag else "markdown", "id": uuid5(NAMESPACE_URL, f"{i}").hex[:8], "metadata": own}
        code: dict[str, Any] = {"execution_count": None, "outputs": []} if tag else {}
        cells.append(cell | code | {"source": source.strip().splitlines(keepends=True)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {"cells": cells, "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}}}
    return json.dumps(notebook | {"nbformat": 4, "nbformat_minor": 5}, indent=1, ensure_ascii=False) + "\n"


def _rows(name: str, title: str, claims: list[str]) -> dict[str, str]:
    """Path -> text with what a notebook needs elsewhere: profile, rows of the two tables, units and corrections."""
    quick, paper = MINUTES["quick"], MINUTES["paper"]
    profile = f"\n[{name}]\nminutes = {{ quick = {quick:g}, paper = {paper:g} }}\n\n[{name}.paper]\nn_seeds = 10\n"
    listed = f"| `{name}` | {title}: what does training add? | 5 min | {quick:g} min | {paper:g} min | notebook 00 |"
    board = f"| {name[:2]} | {title} | ours | {quick:g} | {paper:g} |" + " · |" * 7
    changes = f"\n## {name[:2]}\n\n| new id | old id | change | why | word before (paper) |\n|---|---|---|---|---|\n"
    changes += "".join(f"| {claim} | – | new | notebook {name[:2]} is new | – |\n" for claim in claims)
    files = {path: (root() / path).read_text(encoding="utf-8") for path in ROWS}
    files["notebooks/profiles.toml"] += profile
    files["notebooks/README.md"] = _after(files["notebooks/README.md"], r"^\| `\d\d_.*\|$", listed)
    files["README.md"] = _after(files["README.md"], r"^\| \d\d \|.*\|$", board)
    files["data/claims/CHANGES.md"] += changes
    files["data/claims/units.csv"] += "".join(f"{claim},bits\n" for claim in claims)
    return files


def _after(text: str, pattern: str, row: str) -> str:
    """A text with a row after the last one of its kind."""
    last = [*re.finditer(pattern, text, flags=re.M)][-1]
    return f"{text[: last.end()]}\n{row}{text[last.end() :]}"
