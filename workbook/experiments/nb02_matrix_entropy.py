"""Notebook 02, whose experiments are inline: its networks, filters and kernels as records."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from infolib import checks
from workbook import datasets, models


@dataclass(frozen=True)
class Network:
    """A LeNet-5 and its training."""

    data: str  # data set
    activation: Literal["relu", "sigmoid", "tanh"]
    optimizer: Literal["adam", "sgd"]
    lr: float
    epochs: int
    momentum: float = 0.0  # of sgd

    def __post_init__(self) -> None:
        checks.positive("lr", self.lr)
        checks.at_least("epochs", self.epochs, 0)
        checks.within("momentum", self.momentum, 0, 1 if self.optimizer == "sgd" else 0)


@dataclass(frozen=True)
class Filters:
    """How many filters the two convolutional layers have."""

    conv1: int
    conv2: int

    def __post_init__(self) -> None:
        for layer in ("conv1", "conv2"):
            checks.at_least(layer, getattr(self, layer), 1)


@dataclass(frozen=True)
class Kernel:
    """Order of the entropy and Silverman's factors of the widths."""

    alpha: float
    h: float  # of input and activations
    h_error: float  # of errors

    def __post_init__(self) -> None:
        for name in ("alpha", "h", "h_error"):
            checks.positive(name, getattr(self, name))


RECORDS = {"networks": Network, "swept": Network, "filters": Filters, "kernels": Kernel}


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that cannot be, by name.

    Raises:
        ValueError: for no networks or kernels, images that the filters do not fit, more images than there are, filters
            without the published 6 and 12, depths that no public ResNet has, and numbers out of range
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
    for depth in p["depths"]:
        checks.choice("depths", depth, models.DEPTHS)
