"""Scoreboards from the reports' verdicts: reports/README.md (paper profile), reports/index.html (both profiles)."""

import base64
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from pandas.io.formats.style import Styler

from workbook import claims, execution, folders, journal, pages, root, rule
from workbook import run as runner

RECORD = {"commit", "dirty", "data", "versions", "device", "figures"}
NAMES = {"paper": "The papers’ data and sizes", "quick": "Quick profile: small data, same code"}
NUMBERS = dict.fromkeys(claims.NUMBERS, "")  # the columns whose empty cells are missing numbers
COLUMNS = [
    "notebook", "title", "claim", "data", "statement", "role", "paper", "evidence", "expected", "ours", "n", "control",
    "difference", "verdict", "word", "note", "why", "commit", "dirty",
]  # fmt: skip


class Report(NamedTuple):
    """One report of a profile.

    Parameters
    ----------
    title : str
        First heading of the notebook, and the report's own name if it has one.
    folder : Path
        Where the report is.
    verdicts : DataFrame
        One row per claim and data set, with `claims.COLUMNS`.
    provenance : dict
        Commit, versions, data and times of the run.
    former : bool
        Whether another rule than the present one gave the verdicts, whose words mean something else.
    """

    title: str
    folder: Path
    verdicts: pd.DataFrame
    provenance: dict[str, Any]
    former: bool


class Source(NamedTuple):
    """A report that something was read from.

    Parameters
    ----------
    name : str
        Profile and notebook.
    sha256 : dict of str to str
        SHA-256 of the file of verdicts, by its name.
    """

    name: str
    sha256: dict[str, str]


class Board(NamedTuple):
    """Every verdict of every report of a profile.

    Parameters
    ----------
    profile : str
        "quick" or "paper".
    verdicts : DataFrame
        One row per claim and data set, see `board`.
    sources : list of Source
        The reports that were read.
    left_out : dict of str to str
        Why a report was not read, by the name of its notebook.
    """

    profile: str
    verdicts: pd.DataFrame
    sources: list[Source]
    left_out: dict[str, str]


def await_others() -> None:
    """Return when the notebooks of this run that read no reports have ended; at once if none runs."""
    running = Path(os.environ.get("INFOLIB_AWAITED", ""))
    with journal.waiting():
        while running.is_file():
            time.sleep(0.2)


def board(*, without: Collection[str] = ()) -> Board:
    """The verdicts of all reports of the profile that runs; if it has none, those of the paper profile.

    Parameters
    ----------
    without : collection of str
        Notebooks to leave out, such as the caller's own.

    Returns
    -------
    Board
        Its frame has one row per claim and data set: notebook, title, claim, data, statement, role, paper, evidence,
        expected (what would have upheld the claim), ours (mean and interval), n, control (what it did, with its
        interval), difference (of claim and control), verdict, word (of the claim on all data sets), note (what
        decided), why (the reason for the tolerance), commit (of the run that judged the claim, with the parameters that
        it overrode) and dirty. Reports with a name of their own are left out; those of the former rule, and folders
        that are not a whole report, are named in `left_out`.

    Raises
    ------
    ValueError
        If there are no reports at all.
    """
    await_others()
    for profile in dict.fromkeys((os.environ.get("INFOLIB_PROFILE", "quick"), "paper")):
        with folders.lock():  # no report is replaced while we read
            broken: list[str] = []
            all_ = load(profile, without=without, broken=broken.append)
            found = {name: one for name, one in all_.items() if not one.former}
            files = {name: (report.folder / "verdicts.csv").read_bytes() for name, report in found.items()}
        if rows := [row for name, report in found.items() for row in _on_board(name, report)]:
            hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
            sources = [Source(f"{profile} report {name}", {"verdicts.csv": sha256}) for name, sha256 in hashes.items()]
            former = "judged by the former rule, whose words mean something else"
            left_out = dict.fromkeys(all_.keys() - found.keys(), former)
            left_out |= {Path(text.split(" ", 1)[0]).name: text for text in broken}
            return Board(profile, pd.DataFrame(rows, columns=COLUMNS), sources, dict(sorted(left_out.items())))
    raise ValueError("there are no reports to read: run `infolib run` first")


def _on_board(name: str, report: Report) -> list[dict[str, Any]]:
    commit, dirty = (report.provenance["commit"] or "")[:9], bool(report.provenance["dirty"])
    commit += f" with {changed}" if (changed := runner.described(report.provenance.get("overridden", {}))) else ""
    rows = report.verdicts.to_dict("records")
    of_all = {"notebook": name, "title": report.title, "commit": commit, "dirty": dirty}
    return [row | {"expected": row["criterion"]} | of_all for row in pages.shown(rows, former=report.former)]


def claims_table(verdicts: pd.DataFrame, *words: str) -> Styler:
    """A table that fits a page, of the claims with one of the given words.

    Parameters
    ----------
    verdicts : DataFrame
        Of a `board`.
    *words : str
        Words of claims, such as "reproduced".

    Returns
    -------
    Styler
        Columns notebook (its number), statement, data (if there are several sets), evidence, expected, ours, control,
        verdict (for several `words` or data sets), note. What a claim is stands in the first of its rows.
    """
    columns = ["notebook", "statement", "data", "evidence", "expected", "ours", "control", "verdict", "note"]
    shown = verdicts.loc[verdicts["word"].isin(words), columns]
    shown = shown.assign(notebook=shown["notebook"].str[:2])
    shown.loc[shown.duplicated(["notebook", "statement"]), ["statement", "evidence", "expected"]] = ""
    alike = {"verdict": set(shown["verdict"]) <= {*words[:1]}, "data": not shown["data"].any()}
    alike["note"] = not shown["note"].any()
    shown = shown.drop(columns=[column for column, same in alike.items() if same])
    left = [("text-align", "left"), ("vertical-align", "top"), ("font-size", "12px"), ("white-space", "normal")]
    wide = {"selector": f".col{shown.columns.get_loc('statement')}", "props": [("min-width", "15em")]}
    styled = _Small(shown, cell_ids=False).hide(axis="index")
    return styled.set_table_styles([{"selector": "td, th", "props": left}, wide])


class _Small(Styler):
    """A table without what its look does not need: notebooks are committed with theirs."""

    def _repr_html_(self) -> str:
        html = re.sub(r">\s+<", "><", self.to_html())
        return re.sub(r' class="data row\d+ col(\d+)" ', lambda cell: ' class="col1"' if cell[1] == "1" else "", html)


def load(
    profile: str,
    *,
    without: Collection[str] = (),
    named: bool = False,
    broken: Callable[[str], object] | None = None,
) -> dict[str, Report]:
    """Every report of a profile by the name of its folder, in reading order.

    Parameters
    ----------
    profile : str
        "quick" or "paper".
    without : collection of str
        Notebooks whose reports are not read.
    named : bool
        Whether to read the reports with a name of their own, `<notebook>@<name>`, too; not those of a sweep.
    broken : callable, optional
        Called with a message for each folder that is not a whole report, which is passed over.

    Returns
    -------
    dict of str to Report

    Raises
    ------
    ValueError
        For a folder that is not a whole report, without `broken`.
    """
    found = {}
    for folder in sorted(runner.reports_folder(profile).glob("[0-9][0-9]_*")):
        if folder.name not in without and (named or "@" not in folder.name) and "@sweep-" not in folder.name:
            try:
                found[folder.name] = _load(folder)
            except ValueError as error:
                if broken is None:
                    raise
                broken(str(error))
    return found


def _load(folder: Path) -> Report:
    notebook, _, name = folder.name.partition("@")
    try:
        provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        verdicts = pd.read_csv(folder / "verdicts.csv", keep_default_na=False, na_values=NUMBERS, dtype={"paper": str})
        former = provenance.get("rule") != rule.RULE
        if missing := sorted(RECORD - set(provenance) | set(claims.COLUMNS) - set(verdicts)):
            raise ValueError(f"no {', '.join(missing)}")
        if not isinstance(provenance.get("overridden", {}), dict):
            raise ValueError("overridden must be a table")
        known = {*rule.SYMBOL, *rule.CHECKED}
        if unknown := sorted({*verdicts["verdict"], *verdicts["word"]} - known if not former else ()):
            raise ValueError(f"unknown verdict {unknown[0]!r}")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(_not_whole(folder, error)) from error
    title = runner.title(notebook) if notebook in runner.notebooks() else notebook
    return Report(f"{title} @{name}" if name else title, folder, verdicts, provenance, former)


def _not_whole(folder: Path, error: Exception) -> str:
    notebook = folder.name.partition("@")[0]
    text = str(error).replace(f"{root()}/", "")
    return f"{folder.relative_to(root())} is not a whole report ({text}): run {notebook} again, or remove it"


def index(broken: Callable[[str], object] = lambda _: None) -> Path:
    """Write both scoreboards, and the report.html of each report that has none or an older one.

    Parameters
    ----------
    broken : callable, optional
        Called with a message for each folder that is not a whole report; the scoreboards name it too.

    Returns
    -------
    Path
        Of reports/index.html.
    """
    with folders.lock():  # no report is replaced while we read
        sections = [_section(profile) for profile in ("paper", "quick")]
        for message in (message for section in sections for message in section["broken"]):
            broken(message)
        table = root() / "reports" / "rule.md"
        simulated = table.read_text(encoding="utf-8") if table.exists() else ""
        page: dict[str, Any] = {"sections": sections}
        page |= {name: (root() / "reports" / f"{name}.md").exists() for name in ("stability", "reliability")}
        pages.write("README.md", page | {"simulated": simulated})
        page |= {"names": NAMES, "choices": _choices(sections)}
        return pages.write("index.html", page | pages.assets())


def counted(profile: str, broken: Callable[[str], object]) -> dict[str, int]:
    """How many claims of a profile have each word, by the present rule and the profile's own parameters.

    Parameters
    ----------
    profile : str
        "quick" or "paper".
    broken : callable
        As for `load`.

    Returns
    -------
    dict of str to int
        By word.
    """
    found = [
        one for one in load(profile, broken=broken).values() if not one.former and not one.provenance.get("overridden")
    ]
    words = [word for one in found for word in one.verdicts.drop_duplicates("claim")["word"]]
    return {word: words.count(word) for word in rule.SYMBOL | rule.CHECKED if word in words}


def _section(profile: str) -> dict[str, Any]:
    """What the templates show of a profile; verdicts of other parameters, or under a name, are not counted."""
    broken: list[str] = []
    cards = []
    for report in load(profile, named=True, broken=broken.append).values():
        try:
            cards.append(_card(report))
        except Exception as error:  # whatever lacks in one report, the others are shown
            broken.append(_not_whole(report.folder, error))
    findings, checks = _tally(claim for card in cards if card["counts"] for claim in card["claims"])
    missing = [(word, symbol, 0) for word, symbol in rule.SYMBOL.items() if word not in {one[0] for one in findings}]
    findings = sorted(findings + missing, key=lambda one: rule.VERDICTS.index(one[0]))
    return {"profile": profile, "cards": cards, "findings": findings, "checks": checks, "broken": broken}


def _tally(claims: Iterable[dict[str, Any]]) -> list[list[tuple[str, str, int]]]:
    """Word, symbol and number of claims, of findings and of checks."""
    words = [claim["word"] for claim in claims]
    return [
        [(word, symbol, words.count(word)) for word, symbol in of.items() if word in words]
        for of in (rule.SYMBOL, rule.CHECKED)
    ]


def _choices(sections: Iterable[dict[str, Any]]) -> list[tuple[str, str, list[str]]]:
    """What the board can be filtered by: name of the column, label and values."""
    cards = [card for section in sections for card in section["cards"]]
    every = [(card, claim) for card in cards for claim in card["claims"]]
    values = {
        ("profile", "Profile"): {card["profile"] for card in cards},
        ("notebook", "Notebook"): {card["number"] for card in cards},
        ("paper", "Paper"): {claim["paper"] for _, claim in every},
        ("word", "Verdict"): {"former rule" if card["former"] else claim["word"] for card, claim in every},
        ("evidence", "Evidence"): {claim["evidence"] for _, claim in every},
    }  # fmt: skip
    return [(name, label, sorted(found)) for (name, label), found in values.items()]


def _card(report: Report) -> dict[str, Any]:
    folder, record = report.folder, report.provenance
    if not _is_new(folder / "report.html", folder / "report.ipynb"):
        execution.render(folder, folder.name, folder.parent.name)
    cover = folder / "figures" / f"{record['figures'][0]}.png"
    changed = runner.described(record.get("overridden", {}))
    rows, (number, own) = report.verdicts.to_dict("records"), (folder.name[:2], "".join(folder.name.partition("@")[1:]))
    together = pages.together(rows, pages.units(), former=report.former)
    findings, checks = _tally([] if report.former else together)
    return {
        "title": report.title, "profile": folder.parent.name, "number": number, "own": own,
        "id": f"{folder.parent.name}-{folder.name}",
        "slug": re.sub(r"[^\w -]", "", report.title.lower()).replace(" ", "-"),  # of its heading in Markdown
        "place": f"{folder.parent.name}/{folder.name}",
        "origin": _origin(record),
        "changed": changed,
        "former": report.former,
        "counts": not changed and not report.former and "@" not in folder.name,
        "cover": base64.b64encode(cover.read_bytes()).decode(),
        "rows": pages.shown(rows, former=report.former),
        "claims": together, "findings": findings, "checks": checks,
    }  # fmt: skip


def _is_new(page: Path, source: Path) -> bool:
    """Whether a page is younger than its notebook and what it is made with."""
    made_with = [source, *pages.FOLDER.glob("*.j2"), *pages.FOLDER.glob("*.css"), pages.FOLDER / "execution.py"]
    return page.exists() and page.stat().st_mtime > max(path.stat().st_mtime for path in made_with)


def _origin(record: dict[str, Any]) -> str:
    """Commit, data, versions and machine of a report, and what it took; earlier reports know of none of the last."""
    commit = f"Commit {(record['commit'] or 'unknown')[:9]}" + (" with uncommitted changes" if record["dirty"] else "")
    if why := record.get("no_commit"):
        commit = f"No commit ({why})"
    parts = [commit, ", ".join(record["data"]) or "no data set", f"torch {record['versions']['torch']}"]
    machine = [record.get("processor"), record["device"] if record["device"] != "cpu" else None]
    parts.append(" and ".join(filter(None, machine)) or "cpu")
    if record.get("compute_seconds") is not None:
        parts.append(f"{record['compute_seconds']:.0f} s to compute it all in turn")
    return "; ".join([*parts, *_read(record.get("cache", {}))]) + "."


def _read(cache: dict[str, Any]) -> list[str]:
    """How much of a report was read from the cache, and when that had been computed."""
    if not cache.get("read"):
        return []
    days = dict.fromkeys(when[:10] if when else "an unknown day" for when in (cache["oldest"], cache["newest"]))
    computed = ("between " if len(days) > 1 else "on ") + " and ".join(days)
    return [f"{cache['read']} of {cache['read'] + cache['computed']} results read from the cache, computed {computed}"]
