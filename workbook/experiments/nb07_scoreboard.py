"""Notebook 07: records of its networks, images with clutter around them, and whether numbers are at a bound or chance.

`looked` is the one place that knows how the lenses' tables are made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product
from typing import Annotated, Any, Literal, Unpack

import numpy as np
import pandas as pd
from scipy.stats import zscore
from torch import nn

from infolib import checks
from infolib.data import Data, Splits
from infolib.measures import lenses
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
TWICE = ("n_matrix", "n_units")  # so many images, and as many others
NEAR = 0.05  # bits from an edge, within which a number is at that edge


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that cannot be, by name.

    Parameters
    ----------
    parameters : mapping
        All parameters of notebook 07 by name, `networks` as records.

    Raises
    ------
    ValueError
        For fewer than three networks, none untrained or none of permuted labels, or two alike; layers that there are
        not, or out of order; and more images than there are.
    """
    p, names = parameters, [network.name for network in parameters["networks"]]
    three = 3 <= len({*names}) == len(names) and {"untrained", "permuted labels"} <= {*names}
    checks.hold("networks", names, three, "three that differ, an untrained one and one of permuted labels")
    checks.hold("networks[0]", names[0], p["networks"][0].learnt, "one that learns")
    for source, name in product(p["sources"], ("n_matrix", "n_units", "n_noise", "n_labels")):
        with placed(f"{name} {p[name]}"):
            datasets.sizes(source, n_train=p["n_train"], n_val=0, n_test=p[name] * (1 + (name in TWICE)))


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


def looked(
    model: nn.Module, data: Data, layers: list[str], *, seed: int, **sizes: Unpack[lenses.Options]
) -> pd.DataFrame:
    """Lenses of a network, information at widths that need no labels.

    Parameters
    ----------
    model : nn.Module
        Any network, in eval mode.
    data : Data
        Held-out images.
    layers : list of str
        In the order of the forward pass.
    seed : int
        Of every lens that draws.
    **sizes
        Options of each lens that is asked, by its name.

    Returns
    -------
    DataFrame
        As `lenses.look` returns it, without network, seed and width, and without what is aligned with labels.
    """
    table = lenses.look(model, data, layers, lenses=list(sizes), seed=seed, beside=(), **sizes)
    return (
        table[~table["quantity"].str.endswith("aligned")]
        .drop(columns=["network", "seed", "width"])
        .reset_index(drop=True)
    )


def beyond(table: pd.DataFrame) -> pd.DataFrame:
    """A table of `looked` with what permuted pairs have subtracted, where that is known: what is left to compare.

    Parameters
    ----------
    table : DataFrame
        With columns value and permuted.

    Returns
    -------
    DataFrame
    """
    return table.assign(value=table["value"] - table["permuted"].fillna(0))


def at_edge(table: pd.DataFrame) -> pd.Series:
    """Whether each number is within NEAR of its floor, its ceiling or what permuted pairs have.

    Parameters
    ----------
    table : DataFrame
        As `looked` returns it.

    Returns
    -------
    Series of bool
    """
    edges = table[["floor", "ceiling", "permuted"]]
    return edges.sub(table["value"], axis=0).abs().le(NEAR).any(axis=1)


def by_chance(table: pd.DataFrame, *, over: Literal["layer", "network"], draws: int, seed: int) -> pd.DataFrame:
    """What `lenses.between_lenses` finds where one quantity of each pair is in a random order, many times.

    Parameters
    ----------
    table : DataFrame
        As `lenses.agreement` takes it.
    over : str
        "layer" or "network".
    draws : int
        Random orders.
    seed : int
        Of these.

    Returns
    -------
    DataFrame
        A row for each source, seed and network (empty over networks), a column for each draw.
    """
    draw, found = np.random.default_rng(seed), {}
    lens = table[table["quantity"].isin(lenses.QUANTITIES)].groupby("quantity")["lens"].first()
    for run, part in table.groupby(["source", "seed", "network"][: 3 if over == "layer" else 2], sort=False):
        wide = part.pivot(index=over, columns="quantity", values="value")
        sizes = [np.zeros(draws)]
        for one, two in combinations(lens.index, 2):
            ranks = wide[[one, two]].dropna().round(9).rank()
            if lens[one] != lens[two]:
                a, b = zscore(ranks.to_numpy()).T if ranks.nunique().min() > 1 else np.zeros((2, len(ranks)))
                sizes.append(np.abs(draw.permuted(np.tile(b, (draws, 1)), axis=1) @ a) / len(a))
        found[(*run, "")[:3]] = np.mean(sizes[1:], axis=0)
    rows = pd.DataFrame.from_dict(found, orient="index")
    return rows.set_index(pd.MultiIndex.from_tuples(found, names=["source", "seed", "network"]))
