"""Notebook 08, whose work is inline: what its parameters have to be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from workbook import datasets, loading
from workbook.records import Count, Rule, Units, between, entries, placed

Eight = Annotated[int, between(8)]


@dataclass(frozen=True)
class Images:
    """Where images come from, as `loading.images` takes it."""

    source: str  # a data set, a folder with a folder for each class, or a .npz
    clutter: bool = False  # around the images of a data set
    shape: tuple[()] | tuple[Units, Units, Units] = ()  # channels, height and width to be given; empty: as they are


RECORDS = {"images": Images}
RANGES = {"n_matrix": Eight, "n_units": Eight, "n_noise": Count, "n_labels": Eight,
          "layers": Annotated[list[str], entries(0), Rule("of names", all)]}  # fmt: skip


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that cannot be, by name.

    Parameters
    ----------
    parameters : mapping
        All parameters of notebook 08 by name, `images` as a record.

    Raises
    ------
    ValueError
        For a model, a state or images that are no files where they have to be, and more images than there are of a set.
    """
    p, images = parameters, parameters["images"]
    for name in ("model",) * (":" not in p["model"]) + ("state",) * (p["state"] != ""):
        loading.located(name, p[name])
    if images.source not in get_args(datasets.Images):
        with placed("images.source"):
            loading.located("data", images.source)
        return
    for name in ("n_matrix", "n_units", "n_noise", "n_labels"):
        with placed(f"{name} {p[name]}"):
            datasets.sizes(images.source, n_train=0, n_val=0, n_test=p[name] * (1 + (name == "n_units")))
