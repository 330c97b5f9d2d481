"""Notebook 00, whose experiment is inline: what its parameters have to be."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from infolib import checks
from workbook import datasets
from workbook.records import LAYERS, Count, Positive, Rate, Seeds, Ten, Two, Units

RECORDS: dict[str, type] = {}
RANGES = {"dataset": Literal["digits", "mnist", "fashion-mnist"], "n_train": Ten, "n_seeds": Seeds, "batch_size": Two,
          "widths": Annotated[list[Units], LAYERS], "learning_rate": Rate, "input_width": Positive,
          "n_steps": Count}  # fmt: skip


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that cannot be, by name.

    Parameters
    ----------
    parameters : mapping
        All parameters of notebook 00 by name.

    Raises
    ------
    ValueError
        For more images than there are, and more training steps than 1,000 epochs.
    """
    n_train, _, n_test = datasets.sizes(parameters["dataset"], n_train=parameters["n_train"])
    checks.within("n_measured", parameters["n_measured"], 10, n_test)
    epochs = 1000 * -(-n_train // parameters["batch_size"])
    checks.within("n_steps", parameters["n_steps"], 1, epochs)
