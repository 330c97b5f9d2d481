"""Notebook 00, whose experiment is inline: what its parameters have to be."""

from collections.abc import Mapping
from typing import Any

from infolib import checks
from workbook import datasets

RECORDS: dict[str, type] = {}


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that cannot be, by name.

    Parameters
    ----------
    parameters : mapping
        All parameters of notebook 00 by name.

    Raises
    ------
    ValueError
        For a set that has no images, more images than there are, and options out of range.
    """
    p = parameters
    checks.choice("dataset", p["dataset"], ("digits", "mnist", "fashion-mnist"))
    _, _, n_test = datasets.sizes(p["dataset"], n_train=checks.at_least("n_train", p["n_train"], 2))
    for units in p["widths"]:
        checks.at_least("widths", units, 1)
    for name in ("batch_size", "n_seeds"):
        checks.at_least(name, p[name], 2)  # an interval takes two seeds
    for name in ("learning_rate", "input_width"):
        checks.positive(name, p[name])
    checks.increasing("checkpoints", p["checkpoints"], 0)
    checks.within("n_measured", p["n_measured"], 10, n_test)
