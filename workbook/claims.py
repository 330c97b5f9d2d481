"""Claims as data, and the book of the claims that a notebook judges.

A claim is written to `data/claims/NN_topic.toml` before the run that judges it, by the rule of `workbook.rule`.
"""

import ast
import json
import math
import os
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbook import records, root, rule
from workbook.rule import Claim

NUMBERS = ("ours", "low", "high", "control_mean", "control_low", "control_high", "paired_mean", "paired_low",
           "paired_high", "positive_mean", "positive_low", "positive_high", "at_bound", "needed")  # fmt: skip
COLUMNS = [
    "claim", "data", "statement", "role", "paper", "where", "evidence", "quote", "scale", "kind", "expected",
    "tolerance", "accepted_low", "accepted_high", "ours", "low", "high", "n", "control", "control_mean", "control_low",
    "control_high", "control_is", "paired_mean", "paired_low", "paired_high", "positive", "positive_mean",
    "positive_low", "positive_high", "positive_is", "at_bound", "verdict", "note", "needed", "word", "profile", "why",
]  # fmt: skip
GIVEN = ("claim", "control", "positive", "at_bound")  # the roles of values
VALUES = ["claim", "role", "data", "seed", "value"]


def load_claims(name: str, folder: Path | None = None) -> list[Claim]:
    """Claims of a notebook, from `data/claims/<name>.toml`.

    Parameters
    ----------
    name : str
        Full name of the notebook.
    folder : Path, optional
        Another folder than `data/claims`.

    Returns
    -------
    list of Claim
        In the order of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        Names the file and the claim: for an unknown, missing or wrong key, for two claims of one id, and for an id
        without the notebook's number.
    """
    path = (folder or root() / "data" / "claims") / f"{name}.toml"
    return parsed(name, path.read_text(encoding="utf-8"))


def parsed(name: str, text: str) -> list[Claim]:
    """The claims in the text of a claims file.

    Parameters
    ----------
    name : str
        Full name of the notebook.
    text : str
        Text of the file, in TOML.

    Returns
    -------
    list of Claim

    Raises
    ------
    ValueError
        As `load_claims` does.
    """
    file, rows = f"{name}.toml", tomllib.loads(text).get("claim", [])
    found = [records.built(Claim, row, f"{file}: claim {row.get('id', '(without id)')}") for row in rows]
    ids = [claim.id for claim in found]
    if stray := [i for i in ids if not i.startswith(f"{name[:2]}-")]:
        raise ValueError(f"{file}: claim {stray[0]} must begin with its notebook's number, {name[:2]}-")
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise ValueError(f"{file} has more than one claim {', '.join(twice)}")
    return found


def check(name: str, sources: Iterable[str]) -> None:
    """Refuse a notebook whose calls of `judge` do not fit its claims file, as far as the calls name claims literally.

    Parameters
    ----------
    name : str
        Full name of the notebook.
    sources : iterable of str
        Its code cells.

    Raises
    ------
    ValueError
        As `load_claims` does; for an unknown claim; and for a control that the claims file names and the call
        does not give, or the other way round.
    """
    path = root() / "data" / "claims" / f"{name}.toml"
    known = {claim.id: claim for claim in load_claims(name)} if path.exists() else {}
    for node in (node for source in sources if "judge(" in source for node in ast.walk(ast.parse(source))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "judge"):
            continue
        claim = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        if not isinstance(claim, str):
            continue
        with records.placed(f"notebook {name}"):
            _known(claim, known)
            given = {keyword.arg for keyword in node.keywords}
            if None not in given:
                _fit(known[claim], given)


def _known(claim: str, known: Mapping[str, Claim]) -> None:
    if claim not in known:
        raise ValueError(f"unknown claim {claim!r}; claims: {', '.join(known)}")


def _fit(claim: Claim, given: Collection[str | None]) -> None:
    """Refuse controls that differ from those in the claims file."""
    for role in ("control", "positive"):
        if (role in given) != bool(getattr(claim, role)):
            what = "names none" if role in given else "names one, which is not given"
            raise ValueError(f"claim {claim.id}: {role} must be as in the claims file, which {what}")


def paper_numbers(name: str, folder: Path | None = None) -> pd.DataFrame:
    """Numbers of the paper that claims of a notebook compare with, from `data/claims/<name>.csv`.

    Parameters
    ----------
    name : str
        Full name of the notebook.
    folder : Path, optional
        Another folder than `data/claims`.

    Returns
    -------
    DataFrame
        The file's columns; an empty cell is an empty string.
    """
    return pd.read_csv((folder or root() / "data" / "claims") / f"{name}.csv", keep_default_na=False)


class Book:
    """Claims of a notebook, and the verdicts on them as they are judged one after another.

    Parameters
    ----------
    claims : sequence of Claim
        In the order in which they are listed.
    profile : str, optional
        "quick" or "paper"; the profile that runs, if it is not given.
    show : bool
        Whether `judge` prints.
    """

    def __init__(self, claims: Sequence[Claim], *, profile: str | None = None, show: bool = True) -> None:
        self.claims, self.show = {claim.id: claim for claim in claims}, show
        self.profile = profile or os.environ.get("INFOLIB_PROFILE", "quick")
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._values: dict[str, list[list[Any]]] = {}

    def judge(
        self,
        claim: str,
        values: Iterable[Any] | Mapping[str, Iterable[Any]],
        *,
        control: Iterable[Any] | Mapping[str, Iterable[Any]] | None = None,
        positive: Iterable[Any] | Mapping[str, Iterable[Any]] | None = None,
        at_bound: Iterable[Any] | Mapping[str, Iterable[Any]] | None = None,
    ) -> None:
        """Judge a claim by the values of all seeds, and print the word next to the statement.

        A claim that needs the paper profile is not judged in a quick run. A claim judged again has its last verdict.

        Parameters
        ----------
        claim : str
            Its id.
        values : iterable, or mapping from str to iterable
            One entry per seed: a number, or a sequence for "order" and "trend". With several data sets, those of each
            by its name.
        control, positive : the same, optional
            Values from an experiment in which the claim should fail, and from one in which it is true, as the claims
            file names them.
        at_bound : iterable of bool, or mapping, optional
            For each seed, whether the measure stood at its upper or lower bound.

        Raises
        ------
        ValueError
            For an unknown id, a control that is not named or one that is named and not given, other data sets,
            no seeds, and a value of the wrong shape or not finite.
        """
        _known(claim, self.claims)
        given = zip(GIVEN, (values, control, positive, at_bound), strict=True)
        groups = {role: _by_data(group) for role, group in given if group is not None}
        _fit(self.claims[claim], groups)
        for role, group in groups.items():
            if [*group] != [*groups["claim"]]:
                raise ValueError(
                    f"claim {claim}: {role} must be of {', '.join(groups['claim'])}, got {', '.join(group)}"
                )
        self._rows[claim] = _rows(self.claims[claim], groups, self.profile)
        self._values[claim] = [
            [claim, role, data, seed, json.dumps(np.asarray(value).tolist())]
            for role, group in groups.items() for data, each in group.items() for seed, value in enumerate(each)
        ]  # fmt: skip
        if self.show:
            print(said(self._rows[claim]))

    @property
    def verdicts(self) -> pd.DataFrame:
        """One row per claim and data set, columns `COLUMNS`; "not attempted" for a claim that was not judged."""
        rows = [self._rows.get(i) or _rows(c, {}, self.profile) for i, c in self.claims.items()]
        return pd.DataFrame([row for of_claim in rows for row in of_claim], columns=COLUMNS)

    @property
    def values(self) -> pd.DataFrame:
        """What was judged: one row per claim, role, data set and seed, columns `VALUES`; the value is JSON."""
        return pd.DataFrame([row for rows in self._values.values() for row in rows], columns=VALUES)

    def expectations(self) -> pd.DataFrame:
        """What is expected of each claim, for a reader before the run.

        Returns
        -------
        DataFrame
            Columns kind, expected, tolerance; the claim's id is the index.
        """
        rows = [(c.id, c.kind, c.expected, f"{c.tolerance:g}") for c in self.claims.values()]
        return pd.DataFrame(rows, columns=["claim", "kind", "expected", "tolerance"]).set_index("claim")

    def summary(self) -> str:
        """The words of the verdicts without digits, which are the same on any machine.

        Returns
        -------
        str
            A table: claim, data set if there are several, expected, tolerance, control, verdict.
        """
        words = self.verdicts[["claim", "data", "expected", "tolerance", "control", "verdict"]]
        words = words if words["data"].any() else words.drop(columns="data")
        return words.assign(tolerance=[f"{t:g}" for t in words["tolerance"]]).to_string(index=False)

    def rounded(self) -> pd.DataFrame:
        """The numbers of the verdicts, to one digit finer than each tolerance.

        Returns
        -------
        DataFrame
            Columns ours, control and difference (see `shown`), n, expected, tolerance, verdict, note; the claim's id is
            the index.
        """
        rows = self.verdicts.to_dict("records")
        table = self.verdicts[["claim", "data", "ours", "control", "n", "expected", "tolerance", "verdict", "note"]]
        table = table.assign(ours=[shown(row) for row in rows], control=[shown(row, "control_") for row in rows])
        table.insert(4, "difference", [shown(row, "paired_") for row in rows])
        table = table if table["data"].any() else table.drop(columns="data")
        return table.assign(tolerance=[f"{t:g}" for t in table["tolerance"]]).set_index("claim")


def book(name: str, *, show: bool = True) -> Book:
    """Book of a notebook's claims.

    Parameters
    ----------
    name : str
        Full name of the notebook.
    show : bool
        Whether `Book.judge` prints.

    Returns
    -------
    Book
        Without a verdict yet; for errors see `load_claims`.
    """
    return Book(load_claims(name), show=show)


def rebuilt(claims: Sequence[Claim], values: pd.DataFrame, profile: str) -> Book:
    """The verdicts again, from the values that were judged.

    Parameters
    ----------
    claims : sequence of Claim
        Of the claims file.
    values : DataFrame
        As of `Book.values`.
    profile : str
        "quick" or "paper".

    Returns
    -------
    Book

    Raises
    ------
    ValueError
        As `Book.judge` does.
    """
    found = Book(claims, profile=profile, show=False)
    for claim, rows in values.groupby("claim", sort=False):
        groups: dict[str, dict[str, list[Any]]] = {}
        for row in rows.itertuples():
            groups.setdefault(row.role, {}).setdefault(row.data, []).append(json.loads(row.value))
        found.judge(str(claim), groups.pop("claim", {}), **groups)
    return found


def said(rows: Sequence[Mapping[str, Any]]) -> str:
    """A verdict next to its statement.

    Parameters
    ----------
    rows : sequence of mapping
        Those of one claim in `Book.verdicts`.

    Returns
    -------
    str
        Such as "✓ reproduced: Layers retain less with depth (00-depth)".
    """
    word, attempted = rows[0]["word"], len(rows)
    parts = [word]
    if attempted > 1:
        good = "passes" if rows[0]["role"] == "check" else "reproduced"
        parts.append(f"{good} on {sum(row['verdict'] == good for row in rows)} of {attempted}")
    (weakest, *_) = [row for row in rows if row["verdict"] == word]
    if word == "holds without it too":
        parts.append(f"difference {shown(weakest, 'paired_')}")
    if weakest["note"]:
        parts.append(weakest["note"])
    if not math.isnan(weakest["needed"]):
        parts.append(
            f"even {rule.MANY:,} seeds would not do"
            if math.isinf(weakest["needed"])
            else f"{weakest['needed']:.0f} would do"
        )
    return f"{(rule.SYMBOL | rule.CHECKED)[word]} {', '.join(parts)}: {rows[0]['statement']} ({rows[0]['claim']})"


def _by_data(group: Any) -> dict[str, list[Any]]:
    groups = {str(data): each for data, each in group.items()} if isinstance(group, Mapping) else {"": group}
    lone = [each for each in groups.values() if not hasattr(each, "__iter__") or getattr(each, "ndim", 1) == 0]
    if lone := lone or [group] * (not groups):
        raise ValueError(f"values must have one entry per seed, got {lone[0]!r}")
    return {data: list(each) for data, each in groups.items()}


def _rows(claim: Claim, groups: Mapping[str, Mapping[str, list[Any]]], profile: str) -> list[dict[str, Any]]:
    """The rows of a claim, one per data set."""
    least, most = claim.accepted
    seen_in = claim.positive or (claim.no_positive and f"none: {claim.no_positive}")
    same = asdict(claim) | {"claim": claim.id, "control_is": claim.control, "positive_is": seen_in}
    same |= {"accepted_low": least, "accepted_high": most, "profile": profile}
    if not groups or (claim.needs == "paper" and profile == "quick"):
        nothing = dict.fromkeys(NUMBERS, math.nan) | {"data": "", "n": 0, "control": "", "positive": "", "note": ""}
        return [same | nothing | {"verdict": "not attempted", "word": "not attempted"}]
    rows = []
    for data, values in groups["claim"].items():
        control, positive, bound = (groups[role][data] if role in groups else None for role in GIVEN[1:])
        found = rule.judged(claim, values, control, positive, bound or ())
        rows.append(same | {"data": data} | _row(claim, found, bound))
    word = max((row["verdict"] for row in rows), key=[*rule.SYMBOL, *rule.CHECKED].index)
    return [row | {"word": word} for row in rows]


def _row(claim: Claim, found: rule.Verdict, bound: Sequence[bool] | None) -> dict[str, Any]:
    parts = {"control_": found.control, "paired_": found.paired, "positive_": found.positive}
    row = {f"{name}{end}": getattr(part, end) for name, part in parts.items() for end in ("mean", "low", "high")}
    inside = claim.place(found.positive.low, found.positive.high) == "inside" and "level" not in found.note
    seen = "" if not found.positive.n else "seen" if inside else "not seen"
    row |= {"ours": found.values.mean, "low": found.values.low, "high": found.values.high, "n": found.values.n}
    row |= {"control": found.control_word, "positive": seen, "at_bound": float(np.mean(bound)) if bound else math.nan}
    return row | {"verdict": found.word, "note": found.note, "needed": found.needed}


def shown(row: Mapping[str, Any], part: str = "") -> str:
    """Mean and interval to a digit more than the tolerance has (see `digits`); a dash for none.

    Parameters
    ----------
    row : mapping
        Of `Book.verdicts`.
    part : str
        "" for the claim, "control_", "paired_" or "positive_".

    Returns
    -------
    str
        Such as "3.14 [3.02, 3.26]".
    """
    names = (f"{part}mean" if part else "ours", f"{part}low", f"{part}high")
    mean, low, high = (digits(row[name], row["tolerance"]) for name in names)
    return "–" if mean == "–" else f"{mean} [{low}, {high}]"


def digits(value: float, tolerance: float) -> str:
    """A number to one decimal place more than its tolerance has, two to six (three for 0); a dash for none.

    Parameters
    ----------
    value, tolerance : float
        In one unit; the value may be NaN.

    Returns
    -------
    str

    Examples
    --------
    >>> digits(3.14159, 0.1), digits(3.14159, 0.001), digits(float("nan"), 0.1)
    ('3.14', '3.1416', '–')
    """
    if math.isnan(value):
        return "–"
    places = 1 - math.floor(math.log10(tolerance)) if tolerance > 0 else 3
    places = min(max(places, 2), 6)
    return f"{round(value, places) + 0.0:.{places}f}"  # no -0.00
