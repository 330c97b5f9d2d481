"""Scoreboards from the reports' verdicts: reports/README.md (paper profile), reports/index.html (both profiles)."""

import base64
import hashlib
import json
import math
import os
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pandas as pd

from workbook import claims, execution, root
from workbook import run as runner

RECORD = {"commit", "dirty", "data", "versions", "device", "threads", "figures", "wall_seconds"}
NUMBERS = {"ours": "", "low": "", "high": ""}  # the columns whose empty cells are missing numbers


class Source(NamedTuple):
    """A report that something was read from, and the SHA-256 of the file that it stands in."""

    name: str
    sha256: dict[str, str]


class Board(NamedTuple):
    """Every verdict of every report of a profile, side by side, and where they were read."""

    profile: str
    verdicts: pd.DataFrame
    sources: list[Source]


def board(*, without: Collection[str] = ()) -> Board:
    """The verdicts of all reports of the profile that runs; if it has none, of those of the paper profile.

    `without` names notebooks to leave out, such as the one that asks. The frame has a row for each claim: notebook,
    title, claim, paper, statement, source, expected (what would have upheld it), ours (mean and interval), n, control,
    verdict, why (the reason for the tolerance), commit and dirty (of the run that judged it).

    Raises ValueError for a folder that is not a whole report, and if there are no reports at all.
    """
    running = os.environ.get("INFOLIB_PROFILE", "quick")
    for profile in dict.fromkeys((running, "paper")):
        with ExitStack() as locked:
            if runner.reports_folder(profile).exists():
                locked.enter_context(runner.lock(profile))  # no report is replaced while we read
            found = load(profile, without=without)
            sources = [_source(profile, report["folder"]) for report in found.values()]
        if rows := [row for name, report in found.items() for row in _claims_of(name, report)]:
            return Board(profile, pd.DataFrame(rows), sources)
    raise ValueError("there are no reports to read: run `infolib run` first")


def claims_table(verdicts: pd.DataFrame, *words: str) -> "pd.io.formats.style.Styler":
    """The claims of a `board` that have one of these verdicts, as a table that fits a page."""
    chosen = verdicts[verdicts["verdict"].isin(words)]
    chosen = chosen.assign(notebook=[name[:2] for name in chosen["notebook"]])
    columns = ["notebook", "statement", "source", "expected", "ours", "control", "verdict", "why"]
    shown = chosen[columns] if len(words) > 1 else chosen[columns].drop(columns="verdict")
    left = [("text-align", "left"), ("vertical-align", "top"), ("font-size", "12px"), ("white-space", "normal")]
    wide = [
        {"selector": f".col{shown.columns.get_loc(c)}", "props": [("min-width", "15em")]} for c in ("statement", "why")
    ]
    return shown.style.hide(axis="index").set_table_styles([{"selector": "td, th", "props": left}, *wide])


def _source(profile: str, folder: Path) -> Source:
    file = folder / "verdicts.csv"
    return Source(f"{profile} report {folder.name}", {file.name: hashlib.sha256(file.read_bytes()).hexdigest()})


def _claims_of(name: str, report: dict[str, Any]) -> list[dict[str, Any]]:
    origin = {"commit": (report["provenance"]["commit"] or "")[:9], "dirty": bool(report["provenance"]["dirty"])}
    return [
        {"notebook": name, "title": report["title"]}
        | {key: row[key] for key in ("claim", "paper", "statement", "source")}
        | {"expected": _criterion(row), "ours": _ours(row)}
        | {key: row[key] for key in ("n", "control", "verdict", "why")}
        | origin
        for row in report["verdicts"].to_dict("records")
    ]


def load(profile: str, *, without: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """Name -> title, folder, verdicts (frame) and provenance (dict) of every report of a profile, in reading order.

    Those `without` are not looked at. Raises ValueError for a folder that is not a whole report.
    """
    folders = sorted(runner.reports_folder(profile).glob("[0-9][0-9]_*"))
    return {folder.name: _load(folder) for folder in folders if folder.name not in without}


def _load(folder: Path) -> dict[str, Any]:
    name = folder.name
    try:
        provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        verdicts = pd.read_csv(folder / "verdicts.csv", keep_default_na=False, na_values=NUMBERS)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} is not a whole report ({error}): run {name} again, or remove it") from error
    if missing := RECORD - provenance.keys() | {"verdict"} - set(verdicts):
        raise ValueError(f"{folder} is not a whole report (no {', '.join(missing)}): run {name} again, or remove it")
    title = runner.title(name) if name in runner.notebooks() else name
    return {"title": title, "folder": folder, "verdicts": verdicts, "provenance": provenance}


def index() -> Path:
    """Write both scoreboards, and a report.html beside each report that lacks one; the path of index.html."""
    folder = root() / "reports"
    folder.mkdir(exist_ok=True)
    with ExitStack() as locked:
        for profile in runner.PROFILES:
            if runner.reports_folder(profile).exists():
                locked.enter_context(runner.lock(profile))  # no report is replaced while we read
        reports = {profile: load(profile) for profile in ("paper", "quick")}
        for report in [*reports["paper"].values(), *reports["quick"].values()]:
            if not (report["folder"] / "report.html").exists():
                execution.render(report["folder"], report["folder"].name)
        _write(folder / "README.md", _markdown(reports["paper"]))
        _write(folder / "index.html", _html(reports))
    return folder / "index.html"


def _write(path: Path, text: str) -> None:
    """Replace a file whole, and only if its text is new."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    new = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _ours(row: dict[str, Any]) -> str:
    mean, low, high = (claims.digits(row[k], row["tolerance"]) for k in ("ours", "low", "high"))
    return f"{mean} [{low}, {high}]" if row["n"] else "–"


def _criterion(row: dict[str, Any]) -> str:
    """What would have upheld the claim, in a few characters."""
    e, t = row["expected"], f"{row['tolerance']:g}"
    if row["kind"] == "value":
        return f"{float(e):g} ± {t}"
    return {
        "null": f"0 ± {t}",
        "sign": f"{e}, beyond {t}",
        "order": f"{e}, ties within {t}",
        "trend": f"{e}, |ρ| ≥ {t}",
    }[row["kind"]]


def _markdown(reports: dict[str, dict[str, Any]]) -> str:
    lines = [
        "# Scoreboard",
        "",
        "Written by `make reports PROFILE=paper`; never edited by hand. *Ours* is the mean over seeds with its 95 % "
        "interval. Verdicts follow the rule in [`workbook/claims.py`](../workbook/claims.py), from claims fixed in "
        "[`data/claims/`](../data/claims) before the run.",
    ]
    for name, report in reports.items():
        lines += ["", f"## [{report['title']}](paper/{name}/report.ipynb)", "", _origin(report["provenance"]), ""]
        if report["verdicts"].empty:
            lines += ["It judges nothing."]
            continue
        lines += ["| claim | source | expected | ours | n | control | verdict |", "|---|---|---|---|---|---|---|"]
        for row in report["verdicts"].to_dict("records"):
            cells = [row["statement"], row["source"], _criterion(row), _ours(row), row["n"], row["control"]]
            cells.append(f"{claims.SYMBOL[row['verdict']]} {row['verdict']}")
            lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    if not reports:
        lines += ["", "No paper-profile report yet."]
    return "\n".join(lines) + "\n"


def _origin(record: dict[str, Any]) -> str:
    commit = (record["commit"] or "unknown")[:9] + (" with uncommitted changes" if record["dirty"] else "")
    data = ", ".join(record["data"]) or "no data set"
    return (
        f"Commit {commit}; {data}; torch {record['versions']['torch']}, {record['device']}, "
        f"{record['threads']} threads, {record['wall_seconds']:.0f} s."
    )


def _html(reports: dict[str, dict[str, dict[str, Any]]]) -> str:
    from jinja2 import Environment

    text = Path(__file__).with_name("index.html.j2").read_text(encoding="utf-8")
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text)
    sections = []
    for profile, found in reports.items():
        cards = [_card(profile, report) for report in found.values()]
        words = [row["verdict"] for card in cards for row in card["rows"]]
        tally = [(word, symbol, words.count(word)) for word, symbol in claims.SYMBOL.items()]
        sections.append({"profile": profile, "cards": cards, "tally": tally})
    return template.render(sections=sections)


def _card(profile: str, report: dict[str, Any]) -> dict[str, Any]:
    folder, record = report["folder"], report["provenance"]
    rows = [
        {**row, "criterion": _criterion(row), "ours": _ours(row), "glyph": _glyph(row)}
        | {"symbol": claims.SYMBOL[row["verdict"]]}
        for row in report["verdicts"].to_dict("records")
    ]
    cover = folder / "figures" / f"{record['figures'][0]}.png"
    return {
        "title": report["title"],
        "link": f"{profile}/{folder.name}/report.html",
        "origin": _origin(record),
        "cover": base64.b64encode(cover.read_bytes()).decode(),
        "rows": rows,
    }


def _glyph(row: dict[str, Any]) -> dict[str, float] | None:
    """Places, in percent of a small chart's width, of the accepted range and of our interval."""
    if not row["n"]:
        return None
    edges = [row[k] for k in ("accepted_low", "accepted_high", "low", "high") if math.isfinite(row[k])]
    span = max(edges) - min(edges) or 1.0
    start, stop = min(edges) - 0.15 * span, max(edges) + 0.15 * span
    shown = {k: min(max(row[k], start), stop) for k in ("accepted_low", "accepted_high", "low", "high", "ours")}
    return {k: round(100 * (value - start) / (stop - start), 1) for k, value in shown.items()}
