"""Notebook 02, whose experiments are inline: its networks, filters and kernels as records."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from infolib import checks
from workbook import datasets, models, records
from workbook.records import RISING, Natural, Positive, Rate, Rule, Seeds, Two, between

Depth = Literal[20, 32, 44, 56]
Maps = Annotated[int, between(2, 1000)]  # information is of pairs of maps; it takes time of half a million


@dataclass(frozen=True)
class Network:
    """A LeNet-5 and its training."""

    data: datasets.Images  # data set
    activation: Literal["relu", "sigmoid", "tanh"]  # of all layers but the last
    optimizer: Literal["adam", "sgd"]  # with the learning rate and momentum below
    lr: Rate  # learning rate
    epochs: Natural  # passes through the training images
    momentum: float = 0.0  # of sgd

    def __post_init__(self) -> None:
        checks.within("momentum", self.momentum, 0, 1 if self.optimizer == "sgd" else 0)


@dataclass(frozen=True)
class Filters:
    """How many filters the two convolutional layers have."""

    conv1: Maps  # of the first layer
    conv2: Maps  # of the second


@dataclass(frozen=True)
class Kernel:
    """Order of the entropy and Silverman's factors of the widths."""

    alpha: Positive  # order
    h: Positive  # of input and activations
    h_error: Positive  # of errors


RECORDS = {"networks": Network, "swept": Network, "filters": Filters, "kernels": Kernel}
RANGES = {"filter_size": Annotated[int, between(1, 31)], "batch_size": Two, "n_checkpoints": Two, "n_seeds": Seeds,
          "depths": Annotated[list[Depth], RISING, Rule("of none or several", lambda d: len(d) != 1)]}  # fmt: skip


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that cannot be, by name.

    Parameters
    ----------
    parameters : mapping
        All parameters of notebook 02 by name; those of RECORDS are records.

    Raises
    ------
    ValueError
        For networks without those that the claims compare, or two of a kind, two kernels of one order and width, images
        that the filters do not fit, more images than there are, and filters that do not vary one layer each.
    """
    p = parameters
    kinds = [(network.activation, network.data) for network in p["networks"]]
    both = {kind for kind, _ in kinds} == {"relu", "sigmoid"} and len({*kinds}) == len(kinds)
    checks.hold("networks", kinds, both, "of activation relu and sigmoid, each once for a data set")
    orders = [(kernel.alpha, kernel.h) for kernel in p["kernels"]]
    checks.hold("kernels", orders, 0 < len({*orders}) == len(orders), "one or more that differ in alpha or h")
    images = [datasets.sizes(network.data)[2] for network in (*p["networks"], p["swept"])]
    images += [datasets.sizes("cifar10")[2] // p["n_seeds"]] * bool(p["depths"])
    checks.within("n_measured", p["n_measured"], 10, min(images))
    for network in [*p["networks"], p["swept"]]:
        with records.placed(f"filter_size {p['filter_size']}"):
            models.lenet5(filter_size=p["filter_size"], in_shape=datasets.checksums()[network.data]["shape"], seed=0)
    varied = [[f for f in p["filters"] if f.conv2 == 12], [f for f in p["filters"] if f.conv1 == 6]]
    fit = min(map(len, varied)) >= 2 and sum(map(len, varied)) == len(p["filters"]) + 1  # 6 and 12 is in both
    checks.hold("filters", p["filters"], fit, "6 and 12, others with 12, and others with 6")
