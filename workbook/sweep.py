"""One notebook over a grid of its parameters: a named report for each case, one table and one figure of all."""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from workbook import charts, claims, cluster, records, store
from workbook import run as runner

MOST = 10_000  # cases that are run unasked
NUMBERS = [name for name in claims.NUMBERS if name not in ("at_bound", "needed")]
COLUMNS = ["claim", "data", "statement", *NUMBERS, "n", "verdict", "word"]


def cases(notebook: str, grid: Any, profile: str, *, many: bool = False) -> list[dict[str, Any]]:
    """Overrides of each case: the product of the grid, once every case is known to fit.

    Parameters
    ----------
    notebook, profile : str
        Full name of the notebook; "quick" or "paper".
    grid : dict of str to list
        Values by parameter.
    many : bool
        Whether there may be more than `MOST` cases.

    Returns
    -------
    list of dict

    Raises
    ------
    ValueError
        For anything but a mapping, for an empty grid or list, for too many cases, and for a case as `run.resolve` does.
    """
    if not isinstance(grid, dict) or not grid:
        raise ValueError(f"grid must be a mapping of parameters to lists of values, got {grid!r}")
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"grid: {name} must be a list of at least one value, got {values!r}")
    number = math.prod(map(len, grid.values()))
    if number > MOST and not many:
        raise ValueError(f"grid has {number} cases, more than {MOST}: give --yes if you mean it")
    found = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    for case in found:
        runner.resolve(notebook, profile, case)
    return found


def run(
    notebook: str,
    todo: Sequence[dict[str, Any]],
    place: Path,
    *,
    profile: str = "quick",
    fresh: bool = False,
    scheduler: str | None = None,
    report: Callable[[runner.Run, dict[str, Any]], None] = lambda *_: None,
) -> list[str]:
    """Run the cases that have no report yet, each as `<notebook>@sweep-...`, and write a table and a figure of all.

    A report made with other seeds (INFOLIB_SEED_SHIFT) or on another device (INFOLIB_DEVICE) does not count.

    Parameters
    ----------
    notebook, profile : str
        Full name of the notebook; "quick" or "paper".
    todo : sequence of dict
        As of `cases`.
    place : Path
        Folder for results.csv, index.html and, once a claim has a number, figure.png; they are renewed after each case.
    fresh : bool
        Whether to run cases that have a report again, without the cache.
    scheduler : str, optional
        As for `run.run`.
    report : callable
        Called with the `run.Run` and the parameters of each case that was run.

    Returns
    -------
    list of str
        Messages of what went wrong.
    """
    wrong, rows = [], []
    with cluster.serving(scheduler) as served:
        for case in todo:
            name = f"sweep-{store.fingerprint(case)[:12]}"
            folder = runner.reports_folder(profile) / f"{notebook}@{name}"
            if fresh or _rows(folder, case) is None:
                (done,) = runner.run(
                    [notebook], profile=profile, overrides=case, name=name, fresh=fresh,
                    scheduler=served.get("INFOLIB_SCHEDULER"),
                )  # fmt: skip
                report(done, case)
                wrong += [done.error] if done.error else []
            if (found := _rows(folder, case)) is not None:
                rows.append(found)
                _write(place, pd.concat(rows, ignore_index=True), [*case])
    return wrong


def _rows(folder: Path, case: Mapping[str, Any]) -> pd.DataFrame | None:
    """The claims' numbers of a report, with the parameters of its case; None without one of these seeds and device."""
    with suppress(OSError, ValueError, KeyError):
        record = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        made = {"seeds from": 0, "device": "cpu"} | record["parameters"] | record["overridden"]
        wanted = json.loads(json.dumps(case)) | {"seeds from": records.seeds(1)[0], "device": str(store.device())}
        if {name: made[name] for name in wanted} == wanted:
            found = pd.read_csv(folder / "verdicts.csv", keep_default_na=False, na_values=dict.fromkeys(NUMBERS, ""))
            shown = {name: one if isinstance(one, int | float | str) else str(one) for name, one in case.items()}
            return pd.DataFrame(shown, index=found.index).join(found[COLUMNS]).assign(report=folder.name)
    return None


def _write(place: Path, table: pd.DataFrame, names: Sequence[str]) -> None:
    place.mkdir(parents=True, exist_ok=True)
    temporary = place / ".results.csv"
    table.to_csv(temporary, index=False)
    os.replace(temporary, place / "results.csv")
    if table["ours"].notna().any():
        charts.facets(table, names).savefig(place / "figure.png", dpi=100)
    page = f"<!doctype html><html lang=en><title>{place.name}</title><h1>{place.name}</h1>"
    alt = "The number of each claim, with its interval, by the parameters of the grid"
    page += f"<img src=figure.png alt='{alt}'>" * (place / "figure.png").exists()
    (place / "index.html").write_text(page + table.to_html(index=False), encoding="utf-8")
