"""What the scoreboards show of verdicts: rows as text, the rows of a claim together, and its chart on one scale."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from workbook import claims, root, rule

FOLDER = Path(__file__).parent  # the templates, and what they hold
SYMBOLS = rule.SYMBOL | rule.CHECKED
STATISTIC = {"order": "smallest step in the direction, ", "trend": "Spearman’s correlation"}
BAR, AXIS = 34, 36  # pixels: the height of a row of a chart, and of its axis


def shown(rows: Iterable[Mapping[str, Any]], *, former: bool = False) -> list[dict[str, Any]]:
    """Verdicts with their numbers as text.

    Parameters
    ----------
    rows : iterable of mapping
        Of `Book.verdicts`.
    former : bool
        Whether another rule gave the verdicts, so that no symbol fits.

    Returns
    -------
    list of dict
        Each row with criterion, ours, control and difference as text, and symbol.
    """
    return [
        {**row, "criterion": _criterion(row), "ours": claims.shown(row), "control": _control(row),
         "difference": claims.shown(row, "paired_"), "symbol": "" if former else SYMBOLS[row["verdict"]]}
        for row in rows
    ]  # fmt: skip


def together(
    rows: Sequence[Mapping[str, Any]], units: Mapping[str, str], *, former: bool = False
) -> list[dict[str, Any]]:
    """The claims of a report, each with its rows.

    Parameters
    ----------
    rows : sequence of mapping
        Of `Book.verdicts`; those of a claim stand together.
    units : mapping of str to str
        Unit of the statistic by claim.
    former : bool
        As of `shown`.

    Returns
    -------
    list of dict
        The first row of each claim as of `shown`, with `rows` (as of `shown`), `symbol` of its word, `said` (its
        numbers, or on how many data sets it has which verdict) and `chart` (None for a claim without numbers).
    """
    found = []
    for claim, group in groupby(rows, key=lambda row: row["claim"]):
        mine = list(group)
        texts = shown(mine, former=former)
        words = [row["verdict"] for row in mine]
        said = texts[0]["ours"]
        if len(mine) > 1:
            said = f"{len(mine)} cases: " + ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
        symbol = "" if former else SYMBOLS[mine[0]["word"]]
        found.append(
            {**texts[0], "rows": texts, "symbol": symbol, "said": said, "chart": chart(mine, units.get(claim, ""))}
        )
    return found


def chart(rows: Sequence[Mapping[str, Any]], unit: str) -> dict[str, Any] | None:
    """Claim, control and positive control of a claim on one scale, with places in percent of the width.

    Parameters
    ----------
    rows : sequence of mapping
        Of one claim, one per data set.
    unit : str
        Of the statistic.

    Returns
    -------
    dict or None
        bands (low, high), ticks (place, text), bars (role, text, mean, low, high, beyond: where the mean is beyond the
        scale, "<" or ">"), label, height, and text for those who do not see it; None if nothing was judged.
    """
    bars = [bar for row in rows if row["n"] for bar in _bars(row, several=len(rows) > 1)]
    if not bars:
        return None
    bands = [(rows[0]["accepted_low"], rows[0]["accepted_high"])]
    bands += [(-math.inf, -bands[0][0])] * (rows[0]["kind"] == "differs")
    low, high = _scale([*bands, *(bar["ends"] for bar in bars if bar["role"] == "ours")])
    least, most = 2 * low - high, 2 * high - low  # what lies farther would press the rest together
    ends = [min(max(end, least), most) for bar in bars for end in bar["ends"]]
    low, high = _scale([(low, high), ends])

    def place(value: float) -> float:
        return round(100 * (min(max(value, low), high) - low) / (high - low), 2)

    for bar in bars:
        mean = bar["ends"][0]
        bar |= dict(zip(("mean", "low", "high"), map(place, bar["ends"]), strict=True))
        bar["beyond"] = "<" if mean < low else ">" if mean > high else ""
    label = STATISTIC.get(rows[0]["kind"], "") + unit
    accepted = " or ".join(f"{a:.6g} to {b:.6g}" for a, b in bands).replace("inf", "∞").replace("-", "−")
    text = f"{'; '.join(bar['text'] for bar in bars)}; accepted: {accepted} {unit}".strip()
    return {
        "bands": [(place(a), place(b)) for a, b in bands],
        "ticks": [(place(t), f"{t:.6g}") for t in _ticks(low, high)],
        "bars": bars,
        "label": label,
        "accepted": accepted,
        "text": text,
        "height": BAR * len(bars) + AXIS,
    }


def _bars(row: Mapping[str, Any], *, several: bool) -> list[dict[str, Any]]:
    """Those of one data set that have numbers."""
    names = {"ours": ("ours", ("ours", "low", "high"))}
    names |= {part: (name, (f"{part}_mean", f"{part}_low", f"{part}_high"))
              for part, name in (("control", "control"), ("positive", "positive control"))}  # fmt: skip
    found = []
    for role, (name, columns) in names.items():
        mean, *ends = (row[column] for column in columns)
        if math.isfinite(mean):
            whole = (mean, *(end if math.isfinite(end) else mean for end in ends))
            numbers = claims.shown(row, "" if role == "ours" else f"{role}_")
            text = f"{name} on {row['data']}: {numbers}" if several else f"{name}: {numbers}"
            found.append({"role": role, "text": text, "ends": whole})
    return found


def _scale(ranges: Iterable[Sequence[float]]) -> tuple[float, float]:
    """Ends of a scale on which every finite number is seen."""
    edges = [edge for one in ranges for edge in one if math.isfinite(edge)]
    margin = 0.05 * (max(edges) - min(edges) or abs(max(edges)) or 1.0)
    return min(edges) - margin, max(edges) + margin


def _ticks(low: float, high: float) -> list[float]:
    """At most six round numbers between two."""
    ten = 10 ** math.floor(math.log10((high - low) / 5))
    step = next(ten * times for times in (1, 2, 5, 10) if (high - low) / (ten * times) <= 5)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _control(row: Mapping[str, Any]) -> str:
    """What the control did, with its interval if there is one."""
    numbers = claims.shown(row, "control_")
    return row["control"] if numbers == "–" else f"{row['control']}, {numbers}"


def _criterion(row: Mapping[str, Any]) -> str:
    """What would have upheld the claim, in a few characters."""
    e, t = row["expected"], f"{row['tolerance']:g}"
    if row["kind"] == "value":
        return f"{float(e):g} ± {t}"
    return {
        "null": f"0 ± {t}",
        "sign": f"{e}, beyond {t}",
        "differs": f"not 0, beyond {t}",
        "order": f"{e}, ties within {t}",
        "trend": f"{e}, |ρ| ≥ {t}",
    }[row["kind"]]


def write(name: str, shown: Mapping[str, Any]) -> Path:
    """Fill a template of this package into the reports folder.

    Parameters
    ----------
    name : str
        Name of the page; its template is `<name>.j2`.
    shown : mapping from str to object
        What the template shows.

    Returns
    -------
    Path
        Of the page.
    """
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=select_autoescape(["html.j2"]), trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    path = root() / "reports" / name
    path.write_text(environment.get_template(f"{name}.j2").render(shown), encoding="utf-8")
    return path


def units() -> dict[str, str]:
    """Unit of the statistic of each claim that has one, from `data/claims/units.csv`.

    Returns
    -------
    dict of str to str
        By the id of the claim; empty without the file.
    """
    path = root() / "data" / "claims" / "units.csv"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {row["claim"]: row["unit"] for row in csv.DictReader(lines)}


def assets() -> dict[str, str]:
    """What the board holds in itself, so that it is one file.

    Returns
    -------
    dict of str to str
        css and script.
    """
    files = {"css": "page.css", "script": "board.js"}
    return {name: (FOLDER / file).read_text(encoding="utf-8") for name, file in files.items()}
