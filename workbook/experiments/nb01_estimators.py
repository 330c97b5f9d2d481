"""Notebook 01, whose experiments are inline: what its parameters have to be."""

from collections.abc import Mapping
from typing import Any

from infolib import checks

RECORDS: dict[str, type] = {}


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that cannot be, by name.

    Parameters
    ----------
    parameters : mapping
        All parameters of notebook 01 by name.

    Raises
    ------
    ValueError
        For too few samples, neighbours or bins, and dimensions or widths that there are not.
    """
    p = parameters
    for name, least in (("n_samples", 8), ("bins", 2), ("n_seeds", 2)):
        checks.at_least(name, p[name], least)
    checks.increasing("sizes", p["sizes"], 8)
    checks.increasing("dimensions", p["dimensions"], 1)
    if p["dimensions"][0] != 1 or 25 not in p["dimensions"]:
        raise ValueError(f"dimensions must hold 1 and 25, which claims are about, got {p['dimensions']}")
    checks.within("k", p["k"], 1, min(p["n_samples"], *p["sizes"]) - 1)
    checks.positive("h", p["h"])
