"""What differs between two reports, or between all reports of two folders."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbook import claims, root

OF_RUN = ("commit", "rule", "parameters", "overridden", "seed_shift", "data", "versions", "platform", "processor",
          "blas", "threads", "device")  # fmt: skip


def differences(first: str, second: str) -> list[str]:
    """What differs between two reports, or between all reports that two folders have in common, in reading order.

    Parameters
    ----------
    first, second : str
        A profile ("quick"), a report ("paper/00_start_here") or any folder of a report or of reports.

    Returns
    -------
    list of str
        One line for each difference: of the run, of numbers beyond rounding, of intervals and of words; one for a
        report that cannot be compared. Empty if there is none.

    Raises
    ------
    ValueError
        For a folder that is neither, for one report against several, and for folders without a report in common.
    """
    a, b = _reports(first), _reports(second)
    if (None in a) != (None in b):
        raise ValueError(f"{first} and {second} must both be a report, or both hold reports")
    if not (both := [name for name in a if name in b]):
        raise ValueError(f"{first} and {second} have no report in common: {_names(a)} and {_names(b)}")
    lines = [f"{name}: only in {first if name in a else second}" for name in sorted(a.keys() ^ b.keys(), key=str)]
    for name in both:
        try:
            found = [*_of_report(a[name], b[name])]
        except (AttributeError, KeyError, OSError, ValueError) as error:
            found = [f"cannot be compared: {error}"]
        lines += [f"{name}: {line}" if name else line for line in found]
    return lines


def _names(found: dict[Any, Path]) -> str:
    return ", ".join(map(str, found)) or "none"


def _reports(place: str) -> dict[str | None, Path]:
    """Folders of reports by name; a single one has none."""
    folder = next((path for path in (Path(place), root() / "reports" / place) if path.is_dir()), None)
    if folder is None:
        raise ValueError(f"{place} must be a profile, a report or a folder that exists")
    if (folder / "provenance.json").exists():
        return {None: folder}
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/provenance.json"))}


def _of_report(a: Path, b: Path) -> Iterator[str]:
    first, second = (json.loads((folder / "provenance.json").read_text(encoding="utf-8")) for folder in (a, b))
    for name in OF_RUN:
        if (then := first.get(name)) != (now := second.get(name)):
            yield from _parts(name, then, now)
    yield from _tables(
        "results.csv", *(pd.read_csv(folder / "results.csv", keep_default_na=False) for folder in (a, b))
    )
    yield from _verdicts(*(pd.read_csv(f / "verdicts.csv", keep_default_na=False) for f in (a, b)))


def _parts(name: str, then: Any, now: Any) -> Iterator[str]:
    """The entries of two dicts that differ, or two values as a whole."""
    if not (isinstance(then, dict) and isinstance(now, dict)):
        yield f"{name}: {_short(then)} → {_short(now)}"
        return
    for key in [*dict.fromkeys([*then, *now])]:
        if then.get(key) != now.get(key):
            yield f"{name}: {key} {_short(then.get(key))} → {_short(now.get(key))}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 60 else f"{text[:56]} …"


def _tables(name: str, a: pd.DataFrame, b: pd.DataFrame) -> Iterator[str]:
    """Columns whose cells differ: how many, and by how much at most."""
    if [*a] != [*b] or len(a) != len(b):
        yield f"{name}: {len(a)} rows of {', '.join(a)} → {len(b)} rows of {', '.join(b)}"
        return
    for column in a:
        x, y = (pd.to_numeric(table[column], errors="coerce").to_numpy(float) for table in (a, b))
        close = np.isclose(x, y, rtol=1e-6, atol=1e-9) | (a[column].astype(str) == b[column].astype(str)).to_numpy()
        if not close.all():
            most = np.nanmax(np.abs(x - y), initial=0.0, where=~close & ~np.isnan(x - y))
            by = f", by {most:.3g} at most" if most else ""
            yield f"{name}: {column} differs in {(~close).sum()} of {len(a)} rows{by}"


def _verdicts(a: pd.DataFrame, b: pd.DataFrame) -> Iterator[str]:
    """Claims whose word or interval differs."""
    rows = [{(row["claim"], row.get("data", "")): row for row in table.to_dict("records")} for table in (a, b)]
    for key in [*dict.fromkeys([*rows[0], *rows[1]])]:
        claim = " on ".join(part for part in key if part)
        then, now = (of.get(key) for of in rows)
        if then is None or now is None:
            yield f"{claim}: only in the {'second' if then is None else 'first'}"
            continue
        words = [row["verdict"] for row in (then, now)]
        numbers = [_interval(row) for row in (then, now)]
        if words[0] != words[1] or numbers[0] != numbers[1]:
            changed = f"{words[0]} → {words[1]}" if words[0] != words[1] else f"still {words[0]}"
            yield f"{claim}: {changed}; {numbers[0]} → {numbers[1]}"
        elif moved := [
            name for name in claims.NUMBERS if name in then.keys() & now.keys() and _moved(then[name], now[name])
        ]:
            yield f"{claim}: still {words[0]}; {', '.join(moved)} differ"


def _moved(then: Any, now: Any) -> bool:
    return not np.isclose(_number(then), _number(now), rtol=1e-6, atol=1e-9, equal_nan=True)


def _number(cell: Any) -> float:
    return math.nan if cell == "" else float(cell)


def _interval(row: dict[str, Any]) -> str:
    return claims.shown({name: _number(row[name]) for name in ("ours", "low", "high", "tolerance")})
