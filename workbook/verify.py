"""Check reports against their files, their claims and the history, so that a verdict need not be taken on trust."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from workbook import claims, provenance, reports, root
from workbook import run as runner

ACCEPTANCE = ("kind", "expected", "tolerance", "role", "control", "positive")  # what decides a verdict
CLOSE = {"rtol": 1e-9, "atol": 1e-12}  # of numbers that are computed again


class Outcome(NamedTuple):
    """What was found of one report.

    Parameters
    ----------
    report : str
        Profile and name, such as "paper/00_start_here".
    former : bool
        Whether the former rule judged it, so that nothing of it can be verified.
    wrong : list of str
        What does not hold, empty if all does.
    shown : str
        What was compared, in a few words.
    """

    report: str
    former: bool
    wrong: list[str]
    shown: str


def verify(names: Sequence[str] = (), *, profile: str = "paper") -> list[Outcome]:
    """Verify the reports of a profile, those with a name of their own too.

    A report holds if each of its files has the SHA-256 that its provenance names; its verdicts are those that the rule
    gives for its values; it ran, by what its provenance says, from a clean tree of a commit of this history, and with
    the profile's own parameters and seeds, unless it has a name of its own; its claims are those of that commit; and
    what decides each of them is the same today, or `CHANGES.md` next to the claims tells what became of it.

    Parameters
    ----------
    names : sequence of str
        Numbers or names of notebooks; empty for all.
    profile : str
        "quick" or "paper".

    Returns
    -------
    list of Outcome
        One for each report, in reading order.

    Raises
    ------
    ValueError
        For an unknown notebook, and if there are no reports.
    """
    chosen, found = {*runner.select(names)}, []
    broken: list[str] = []
    for name, report in reports.load(profile, named=True, broken=broken.append).items():
        if not names and name.partition("@")[0] not in chosen:
            found.append(Outcome(f"{profile}/{name}", report.former, ["there is no notebook of this name"], ""))
        elif name.partition("@")[0] in chosen:
            found.append(_outcome(f"{profile}/{name}", name.partition("@")[0], report))
    found += [Outcome(message.split(" ")[0].removeprefix("reports/"), False, [message], "") for message in broken]
    if not found:
        raise ValueError(f"there are no reports to verify in {runner.reports_folder(profile)}")
    return found


def _outcome(place: str, notebook: str, report: reports.Report) -> Outcome:
    if report.former:
        return Outcome(place, True, [], "judged by the former rule: not counted")
    try:
        wrong = [text for probe in (_files, _origin, _history, unlike_values) for text in probe(notebook, report)]
    except (AttributeError, KeyError, TypeError) as error:
        return Outcome(place, False, [f"provenance.json is not as a run writes it: {error!r}"], "")
    n, record = len(report.verdicts), report.provenance
    shown = f"{n} verdicts rebuilt, {len(record['files'])} files as written, claims fixed in {record['commit'][:9]}"
    return Outcome(place, False, wrong, shown if not wrong else "")


def _files(_: str, report: reports.Report) -> Iterator[str]:
    """What is not as the run wrote it."""
    then, now = report.provenance.get("files", {}), provenance.hashes(report.folder)
    for name in sorted(then.keys() | now.keys()):
        if name not in now:
            yield f"{name} is missing"
        elif then.get(name) != now[name]:
            yield f"{name} is not the one that the run wrote" if name in then else f"{name} is not a file of the run"


def _origin(_: str, report: reports.Report) -> Iterator[str]:
    """What keeps a run from being that of a commit and of the profile."""
    record = report.provenance
    if record["commit"] is None:
        yield f"it ran without a commit: {record.get('no_commit')}"
    elif record["dirty"] is not False:
        yield f"it ran with changes that commit {record['commit'][:9]} does not have"
    shift = {"seeds from": record["seed_shift"]} if record["seed_shift"] else {}
    if "@" not in report.folder.name and (changed := runner.described(record["overridden"] | shift)):
        yield f"it ran with other parameters than the profile's: {changed}"


def _history(notebook: str, report: reports.Report) -> Iterator[str]:
    """What is not as git has it: the commit, its claims, and what decides them today."""
    commit = report.provenance["commit"]
    if commit is None:
        return
    path = f"data/claims/{notebook}.toml"
    try:
        if not re.fullmatch("[0-9a-f]{40}", commit):
            raise OSError("not a full SHA-1")
        text = provenance.git("show", f"{commit}:{path}") if report.provenance["claims"] else ""
        last = _commit_of(report)
        provenance.git("cat-file", "-e", commit)
    except OSError as error:
        yield f"commit {commit[:9]} cannot be looked up ({_why(error)})"
        return
    try:
        provenance.git("merge-base", "--is-ancestor", commit, last)
    except OSError:
        yield f"commit {commit[:9]}, which it names, is not part of the history before the report"
    if not text:  # it judges nothing
        return
    if hashlib.sha256(text.encode()).hexdigest() != report.provenance["claims"].get(f"{notebook}.toml"):
        yield f"{path} of commit {commit[:9]} is not the file that the run read"
    now, told = root() / path, _told(commit)
    today = {claim.id: claim for claim in (claims.load_claims(notebook) if now.exists() else [])}
    for claim in claims.parsed(notebook, text):
        if claim.id not in told:
            yield from _changed(claim, today, commit)


def _commit_of(report: reports.Report) -> str:
    """The commit that the report is of; the last one, if the report has not been committed as it is."""
    folder = report.folder.relative_to(root())
    rest = ("--", str(folder), f":!{folder}/provenance.json")  # a run made again may have the same verdicts
    changed = provenance.git("status", "--porcelain", *rest)
    return "HEAD" if changed else provenance.git("log", "-1", "--format=%H", *rest) or "HEAD"


def _why(error: OSError) -> str:
    shallow = provenance.git("rev-parse", "--is-shallow-repository") if (root() / ".git").exists() else ""
    return "a shallow clone: `git fetch --unshallow` first" if shallow == "true" else str(error)


def _changed(claim: claims.Claim, today: dict[str, claims.Claim], commit: str) -> Iterator[str]:
    """What decides a claim and has changed since."""
    if claim.id not in today:
        yield f"claim {claim.id} is no longer in the claims file, and CHANGES.md does not tell why"
        return
    for name in ACCEPTANCE:
        then, now = getattr(claim, name), getattr(today[claim.id], name)
        if then != now:
            yield f"claim {claim.id}: {name} was {then!r} in {commit[:9]}, is {now!r}, and CHANGES.md does not tell why"


def _told(commit: str) -> set[str]:
    """Ids of the claims, as they were, of which `CHANGES.md` tells what has changed since a commit."""
    path = "data/claims/CHANGES.md"
    now = (root() / path).read_text(encoding="utf-8") if (root() / path).exists() else ""
    try:
        then = provenance.git("show", f"{commit}:{path}")
    except OSError:  # it came later
        then = ""
    rows = {*now.splitlines()} - {*then.splitlines()}
    return {re.sub(r"[`\s]", "", row.split("|")[2]) for row in rows if row.count("|") > 2}


def unlike_values(notebook: str, report: reports.Report) -> Iterator[str]:
    """Verdicts that the rule does not give for the values of the report.

    Parameters
    ----------
    notebook : str
        Its full name.
    report : Report
        Of the present rule.

    Yields
    ------
    str
        Claim, column, the value in the report and the value of the rule.
    """
    record = report.provenance
    try:
        values = pd.read_csv(report.folder / "values.csv", keep_default_na=False, dtype={"value": str, "data": str})
        fixed = claims.parsed(notebook, _claims_of(notebook, record["commit"])) if record["claims"] else []
        again = claims.rebuilt(fixed, values, record["profile"]).verdicts
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield f"the verdicts cannot be rebuilt: {error}"
        return
    if len(again) != len(report.verdicts):
        yield f"verdicts.csv has {len(report.verdicts)} rows, the values give {len(again)}"
        return
    for old, new in zip(report.verdicts.to_dict("records"), again.to_dict("records"), strict=True):
        for column in claims.COLUMNS:
            if not _same(old[column], new[column]):
                yield f"claim {new['claim']}: {column} is {old[column]!r}, the values give {new[column]!r}"


def _claims_of(notebook: str, commit: str | None) -> str:
    """The claims file of a commit; that of the workbook where there is no history to look it up in."""
    path = f"data/claims/{notebook}.toml"
    try:
        return provenance.git("show", f"{commit}:{path}")
    except OSError:
        return (root() / path).read_text(encoding="utf-8")


def _same(old: Any, new: Any) -> bool:
    """Whether a cell of the file is what the rule gives: numbers to rounding, words to the letter."""
    try:
        return bool(np.isclose(float(old), float(new), equal_nan=True, **CLOSE))
    except ValueError:
        return str(old) == str(new)
