"""Notebook 01, whose experiments are inline: what its parameters have to be."""

from collections.abc import Mapping
from typing import Annotated, Any

from infolib import checks
from workbook.records import RISING, Count, Positive, Rule, Seeds, Two, Units, between, entries

Samples = Annotated[int, between(8, 20_000)]  # a Gram matrix of more takes 3 GB
CLAIMED = Rule("with 1 and 25, which claims are about", lambda dimensions: {1, 25} <= {*dimensions})
SCALED = Rule("with 0.1 and 1.0, which claims are about", lambda widths: {0.1, 1.0} <= {*widths})
RECORDS: dict[str, type] = {}
RANGES = {"n_samples": Samples, "sizes": Annotated[list[Samples], RISING, entries(1)], "bins": Two, "k": Count,
          "dimensions": Annotated[list[Units], RISING, CLAIMED], "h": Positive, "n_seeds": Seeds,
          "widths": Annotated[list[Annotated[float, between(1e-3, 1e3)]], RISING, SCALED],
          "windows": Annotated[list[Samples], RISING], "n_windows": Seeds}  # fmt: skip


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that cannot be, by name.

    Parameters
    ----------
    parameters : mapping
        All parameters of notebook 01 by name.

    Raises
    ------
    ValueError
        For as many neighbours or more bins than samples, and windows without `n_samples`, which claims are about.
    """
    checks.hold("windows", parameters["windows"], parameters["n_samples"] in parameters["windows"], "with n_samples")
    least = min(parameters["n_samples"] // 2, *parameters["sizes"])  # intervals are of halves of the samples
    checks.within("bins", parameters["bins"], 2, least)
    checks.within("k", parameters["k"], 1, least - 1)
