"""Notebook 07: records of its networks, which are trained in several ways, and images with clutter around them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Annotated, Any, Literal

from infolib import checks
from infolib.data import Splits
from workbook import datasets
from workbook.records import RISING, Count, Natural, Rate, Rule, Seeds, Share, Ten, Two, Units, entries, placed


@dataclass(frozen=True)
class Network:
    """A `models.vgg6` and its training."""

    width: Units  # maps of the first convolution
    epochs: Natural  # 0: untrained
    weight_decay: Share = 0.0  # Adam's
    eps: Share = 0.0  # above 0: trained on, on images that are attacked within eps of each pixel
    labels: Literal["true", "permuted"] = "true"  # in training
    lr: Rate = 2e-3  # of Adam
    batch_size: Two = 64  # images in a training step
    attacked_epochs: Count = 2  # on attacked images
    attacked_lr: Rate = 1e-3  # on attacked images

    @property
    def learnt(self) -> bool:
        """Whether there was anything to learn, and time for it."""
        return self.epochs > 0 and self.labels == "true"

    @property
    def name(self) -> str:
        """How figures call it.

        Examples
        --------
        >>> Network(6, 8, weight_decay=1e-2).name, Network(6, 0).name
        ('width 6, 8 epochs, L2 0.01', 'untrained')
        """
        if not self.learnt:
            return "permuted labels" if self.epochs else "untrained"
        decay = f", L2 {self.weight_decay:g}" if self.weight_decay else ""
        return f"width {self.width}, {self.epochs} epochs{decay}" + (f", attacked {self.eps:g}" if self.eps else "")


RECORDS = {"networks": Network}
COMPARED = Rule("with conv6, where networks are compared", lambda layers: "conv6" in layers)
Layer = Literal["conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "fc1", "output"]
RANGES = {"sources": Annotated[list[datasets.Images], entries(1)], "steps": Natural, "n_seeds": Seeds, "n_train": Ten,
          "layers": Annotated[list[Layer], RISING, entries(3), COMPARED], "n_matrix": Ten, "n_units": Ten,
          "n_noise": Count, "n_labels": Ten}  # fmt: skip


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that cannot be, by name.

    Parameters
    ----------
    parameters : mapping
        All parameters of notebook 07 by name, `networks` as records.

    Raises
    ------
    ValueError
        For networks without those that the claims compare, or two alike; layers that there are not, or out of order;
        and more images than there are.
    """
    p, names = parameters, [network.name for network in parameters["networks"]]
    four = 4 <= len({*names}) == len(names) and {"untrained", "permuted labels"} <= {*names}
    checks.hold("networks", names, four, "four that differ, an untrained one and one of permuted labels")
    checks.hold("networks[0]", names[0], p["networks"][0].learnt, "one that learns")
    for source, name in product(p["sources"], ("n_matrix", "n_units", "n_noise", "n_labels")):
        with placed(f"{name} {p[name]}"):
            datasets.sizes(source, n_train=p["n_train"], n_val=0, n_test=p[name] * (1 + (name == "n_units")))


@lru_cache(maxsize=2)  # networks of one seed are trained and looked at one after another
def split(source: str, seed: int, *, n_train: int, n_test: int) -> Splits:
    """A data set with clutter around its images, split anew for each seed.

    Parameters
    ----------
    source : str
        Data set.
    seed : int
        Of the split and the clutter.
    n_train, n_test : int
        Images to train on and to measure on.

    Returns
    -------
    Splits
        Without validation images.
    """
    return datasets.load(source, n_train=n_train, n_val=0, n_test=n_test, seed=seed).cluttered(seed=seed)
