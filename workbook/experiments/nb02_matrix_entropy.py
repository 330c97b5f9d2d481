"""Notebook 02, whose experiments are inline: its networks, filters and kernels as records."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from infolib import checks
from workbook import datasets, models
from workbook.records import Count, Natural, Positive


@dataclass(frozen=True)
class Network:
    """A LeNet-5 and its training."""

    data: str  # data set
    activation: Literal["relu", "sigmoid", "tanh"]  # of all layers but the last
    optimizer: Literal["adam", "sgd"]  # with the learning rate and momentum below
    lr: Positive  # learning rate
    epochs: Natural  # passes through the training images
    momentum: float = 0.0  # of sgd

    def __post_init__(self) -> None:
        checks.within("momentum", self.momentum, 0, 1 if self.optimizer == "sgd" else 0)


@dataclass(frozen=True)
class Filters:
    """How many filters the two convolutional layers have."""

    conv1: Count  # of the first layer
    conv2: Count  # of the second


@dataclass(frozen=True)
class Kernel:
    """Order of the entropy and Silverman's factors of the widths."""

    alpha: Positive  # order
    h: Positive  # of input and activations
    h_error: Positive  # of errors


RECORDS = {"networks": Network, "swept": Network, "filters": Filters, "kernels": Kernel}


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that cannot be, by name.

    Parameters
    ----------
    parameters : mapping
        All parameters of notebook 02 by name; those of RECORDS are records.

    Raises
    ------
    ValueError
        For no networks or kernels, images that the filters do not fit, more images than there are, filters without the
        published 6 and 12, depths that no public ResNet has, and numbers out of range.
    """
    p = parameters
    for name in ("networks", "kernels"):
        checks.at_least(f"the number of {name}", len(p[name]), 1)
    for network in [*p["networks"], p["swept"]]:
        _, _, n_test = datasets.sizes(network.data)
        checks.within("n_measured", p["n_measured"], 10, n_test)
        models.lenet5(filter_size=p["filter_size"], in_shape=tuple(datasets.checksums()[network.data]["shape"]), seed=0)
    if Filters(6, 12) not in p["filters"] or len(p["filters"]) < 2:
        raise ValueError("filters must hold 6 and 12, which the others are compared with, and at least one row more")
    for name, least in (("batch_size", 2), ("n_checkpoints", 1), ("n_seeds", 2)):
        checks.at_least(name, p[name], least)
    if not set(p["depths"]) <= set(models.DEPTHS):
        raise ValueError(f"depths must be of {', '.join(map(str, models.DEPTHS))}, got {p['depths']}")
