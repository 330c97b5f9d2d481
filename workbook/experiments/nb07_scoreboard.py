"""Notebook 07: records of its networks, which are trained in several ways, and images with clutter around them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

from infolib import activations, checks
from infolib.data import Splits
from workbook import datasets, models
from workbook.records import Count, Natural, Positive, Share, at_least


@dataclass(frozen=True)
class Network:
    """A `models.vgg6` and its training."""

    width: Count  # maps of the first convolution
    epochs: Natural  # 0: untrained
    weight_decay: Share = 0.0  # Adam's
    eps: Share = 0.0  # above 0: trained on, on images that are attacked within eps of each pixel
    labels: Literal["true", "permuted"] = "true"  # in training
    lr: Positive = 2e-3  # of Adam
    batch_size: Annotated[int, at_least(2)] = 64  # images in a training step
    attacked_epochs: Natural = 2  # on attacked images
    attacked_lr: Positive = 1e-3  # on attacked images

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


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that cannot be, by name.

    Parameters
    ----------
    parameters : mapping
        All parameters of notebook 07 by name, `networks` as records.

    Raises
    ------
    ValueError
        For networks without those that the claims compare, or two alike; layers that there are not; more images than
        there are; and numbers out of range.
    """
    p, names = parameters, [network.name for network in parameters["networks"]]
    if len(names) < 4 or len({*names}) < len(names) or not {"untrained", "permuted labels"} <= {*names}:
        raise ValueError(f"networks must be four that differ, an untrained one and one of permuted labels; got {names}")
    if not p["networks"][0].learnt:
        raise ValueError(f"the first of networks must learn, got {names[0]}")
    known = activations.layers(models.vgg6(width=1, seed=0))
    for layer in p["layers"]:
        checks.choice("layers:", layer, known)
    if "conv6" not in p["layers"] or len(p["layers"]) < 3:
        raise ValueError(f"layers must hold conv6, where networks are compared, and two others, got {p['layers']}")
    for name in ("n_matrix", "n_units", "n_labels"):
        checks.at_least(name, p[name], 10)
    for name, least in (("n_noise", 1), ("n_seeds", 2), ("steps", 0)):
        checks.at_least(name, p[name], least)
    needed = max(p["n_matrix"], 2 * p["n_units"], p["n_noise"], p["n_labels"])
    for source in p["sources"]:
        datasets.sizes(source, n_train=checks.at_least("n_train", p["n_train"], 10), n_val=0, n_test=needed)


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
