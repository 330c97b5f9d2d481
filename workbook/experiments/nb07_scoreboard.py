"""Notebook 07: networks on images with clutter around them, trained in several ways, through the five lenses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import pandas as pd
from torch import nn

from infolib import activations, checks, training
from infolib.data import Splits
from infolib.measures import lenses
from workbook import datasets, models, records, store, techniques


@dataclass(frozen=True)
class Network:
    """A `models.vgg6` and its training."""

    width: int  # maps of the first convolution
    epochs: int  # 0: untrained
    weight_decay: float = 0.0
    eps: float = 0.0  # above 0: trained on, on images that are attacked within eps of each pixel
    labels: Literal["true", "permuted"] = "true"  # in training
    lr: float = 2e-3  # of Adam
    batch_size: int = 64
    attacked_epochs: int = 2
    attacked_lr: float = 1e-3

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("epochs", 0), ("batch_size", 2), ("attacked_epochs", 0)):
            checks.at_least(name, getattr(self, name), least)
        for name in ("weight_decay", "eps"):
            checks.within(name, getattr(self, name), 0, 1)
        for name in ("lr", "attacked_lr"):
            checks.positive(name, getattr(self, name))

    @property
    def learnt(self) -> bool:
        """Whether there was anything to learn, and time for it."""
        return self.epochs > 0 and self.labels == "true"

    @property
    def name(self) -> str:
        """How figures call it.

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

    Raises:
        ValueError: for networks without those that the claims compare, or two alike; layers that there are not; more
            images than there are; and numbers out of range
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
    """A data set with clutter around its images, split anew for each seed."""
    splits = datasets.load(source, n_train=n_train, n_val=0, n_test=n_test, seed=seed)
    return datasets.cluttered(splits, seed=seed)


def train(network: Network, seed: int, splits: Splits) -> nn.Module:
    """The trained network of a record; its weights are kept by `store.trained`."""
    data = splits.permuted_labels(seed=seed).train if network.labels == "permuted" else splits.train
    net = models.vgg6(width=network.width, in_shape=splits.train.x[0].shape, seed=seed)
    how = {"batch_size": network.batch_size, "lr": network.lr, "weight_decay": network.weight_decay, "seed": seed}
    net = store.trained(net, data, epochs=network.epochs, **how)
    if network.eps:
        further = {"epochs": network.attacked_epochs, "lr": network.attacked_lr, "seed": seed}
        net = techniques.adversarial(net, data, eps=network.eps, **further)
    return net


def lens_table(
    source: str,
    network: Network,
    seed: int,
    *,
    layers: Sequence[str],
    n_train: int,
    n_test: int,
    sizes: lenses.Options,
) -> pd.DataFrame:
    """`lenses.look` at one network on test images, with its source, fields and accuracy; `sizes` go to the lenses."""
    splits = split(source, seed, n_train=n_train, n_test=n_test)
    net = train(network, seed, splits)
    table = lenses.look(net, splits.test, layers, network=network.name, seed=seed, **sizes)
    fields = records.columns(network)
    return table.assign(source=source, accuracy=training.evaluate(net, splits.test).accuracy, **fields)


def ablation(
    source: str, network: Network, seed: int, *, layers: Sequence[str], n_train: int, n_test: int, n: int
) -> pd.DataFrame:
    """`lenses.clamped_accuracy` of one network, with source, network and seed."""
    splits = split(source, seed, n_train=n_train, n_test=n_test)
    found = lenses.clamped_accuracy(train(network, seed, splits), splits.test, layers, n=n)
    return found.assign(source=source, network=network.name, seed=seed)
