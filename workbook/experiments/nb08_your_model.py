"""Notebook 08, whose work is inline: what its parameters have to be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infolib import checks


@dataclass(frozen=True)
class Images:
    """Where images come from, as `loading.images` takes it."""

    source: str  # a data set, a folder with a folder for each class, or a .npz
    clutter: bool = False  # around the images of a data set
    shape: tuple[int, ...] = ()  # channels, height and width that images are brought to; empty leaves them


RECORDS = {"images": Images}


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that cannot be, by name.

    Parameters
    ----------
    parameters : mapping
        All parameters of notebook 08 by name, `images` as a record.

    Raises
    ------
    ValueError
        For fewer images than a lens takes.
    """
    for name, least in (("n_matrix", 8), ("n_units", 8), ("n_noise", 1), ("n_labels", 8)):
        checks.at_least(name, parameters[name], least)
