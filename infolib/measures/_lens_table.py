"""The table of the lenses: its columns, the contents of a row, and what is permuted for each quantity."""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import pandas as pd

COLUMNS = [
    "lens", "layer", "depth", "quantity", "value", "low", "high", "untrained", "permuted", "beyond chance", "floor",
    "ceiling", "unit", "n", "width", "at edge", "permutes", "settings", "why not",
]  # fmt: skip
BARE = ("RS share", "intact accuracy", "ablation area", "ablation gap", "capped cells")  # these have no unit
ALIGNED = ("I(X;T) aligned", "I(T;Y) aligned")
OF = {
    "information": ("I(X;T)", "I(T;Y)", *ALIGNED),
    "redundancy": ("RS(X;T)", "RS share"),
    "class_information": ("class information", "intact accuracy", "ablation area", "ablation gap"),
    "discarding": ("discarding", "discarding error", "capped cells", "concentration"),
    "codelength": ("codelength",),
}  # the quantities of each lens
IMAGES, LABELS = "images", "labels"
PERMUTES = dict.fromkeys(("I(X;T)", "I(X;T) aligned", "RS(X;T)", "RS share"), IMAGES)
PERMUTES |= dict.fromkeys(("I(T;Y)", "I(T;Y) aligned", "class information"), LABELS)
PERMUTES |= dict.fromkeys(("ablation area", "ablation gap", "codelength"), LABELS)  # which quantities have a null
FLOORS = "discarding"  # whose bound is one from below


class Cell(NamedTuple):
    """What a lens finds of a quantity of a layer."""

    value: float
    permuted: float = math.nan
    width: float = math.nan  # of the layer's kernel, in its root mean squared distances
    at_edge: bool = False  # whether that is an end of the range searched


Found = dict[tuple[str, str], Cell | float | str]  # (layer, quantity) -> what was found, or why nothing was


def table(
    lens: str,
    layers: Sequence[str],
    found: Found,
    n: int,
    settings: str | Mapping[str, str],
    bounds: Mapping[str, float],
    unit: str = "bit",
) -> pd.DataFrame:
    """A row for each layer and quantity, in the order of `OF`; a quantity without any value has a reason."""
    rows = []
    for (depth, layer), of in product(enumerate(layers, start=1), OF[lens]):
        one = found[layer, of]
        cell, why = (Cell(math.nan), one) if isinstance(one, str) else (one if isinstance(one, Cell) else Cell(one), "")
        if not why and not math.isfinite(cell.value):
            cell, why = Cell(math.nan), f"the estimate is {cell.value}"
        bound, below = bounds.get(of, math.nan), of == FLOORS
        how = settings if isinstance(settings, str) else settings[layer]
        rows.append({
            "lens": lens, "layer": layer, "depth": depth, "quantity": of, "value": cell.value, "low": math.nan,
            "high": math.nan, "untrained": math.nan, "permuted": cell.permuted,
            "beyond chance": cell.value - cell.permuted, "floor": bound if below else math.nan,
            "ceiling": math.nan if below else bound, "unit": "1" if of in BARE else unit, "n": n, "width": cell.width,
            "at edge": cell.at_edge, "permutes": "" if math.isnan(cell.permuted) else PERMUTES.get(of, ""),
            "settings": how, "why not": why,
        })  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)
