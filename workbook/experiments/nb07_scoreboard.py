"""The networks of notebook 07 under five lenses, one table for each, and how far the lenses agree.

A network is a line "width, epochs, regulariser, labels", such as "6 8 L2:1e-2 true": a `models.vgg6` on a data set with
clutter around its images. The regulariser is none, L2:strength (the optimiser's weight decay) or attacked:eps (two more
epochs on images that are attacked within eps); labels are true or shuffled, in training only.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from torch import nn

from infolib import checks, training
from infolib.data import Splits
from infolib.measures import lenses
from workbook import datasets, models, store, techniques

QUANTITIES = (
    "I(X;T)", "I(T;Y)", "RS share", "class information", "ablation area", "discarding", "concentration", "codelength"
)  # fmt: skip
RUN = ["source", "seed", "network"]


class Network(NamedTuple):
    """What a network is made with, but for its data and its seed."""

    width: int
    epochs: int
    regulariser: str
    strength: float
    labels: str

    @property
    def learnt(self) -> bool:
        """Whether there was anything to learn, and time for it."""
        return self.epochs > 0 and self.labels == "true"

    @property
    def name(self) -> str:
        """How figures call it."""
        if self.epochs == 0:
            return "untrained"
        if self.labels != "true":
            return "shuffled labels"
        how = {"none": "", "L2": f", L2 {self.strength:g}", "attacked": f", attacked {self.strength:g}"}
        return f"width {self.width}, {self.epochs} epochs{how[self.regulariser]}"


def parse(line: str) -> Network:
    """The network that a line describes.

    Raises: ValueError for another form

    >>> parse("6 8 L2:1e-2 true").name, parse("6 0 none true").name
    ('width 6, 8 epochs, L2 0.01', 'untrained')
    """
    form = f"network must be like '6 8 L2:1e-2 true', got {line!r}"
    try:
        width, epochs, regulariser, labels = line.split()
        kind, _, strength = regulariser.partition(":")
        found = Network(int(width), int(epochs), kind, float(strength or 0), labels)
    except ValueError as error:
        raise ValueError(form) from error
    checks.choice("regulariser", kind, ("none", "L2", "attacked"))
    checks.choice("labels", labels, ("true", "shuffled"))
    if (kind == "none") == bool(strength):
        raise ValueError(f"{form}: none takes no strength, and the others do")
    return found


@lru_cache(maxsize=2)  # networks of one seed are trained and looked at one after another
def split(source: str, seed: int, *, n_train: int, n_test: int) -> Splits:
    """A data set with clutter around its images, split anew for each seed."""
    splits = datasets.load(source, n_train=n_train, n_val=0, n_test=n_test, seed=seed)
    return datasets.cluttered(splits, seed=seed)


def network(line: str, splits: Splits, seed: int) -> nn.Module:
    """The trained network of a line; its weights are kept in the cache."""
    made, shape = parse(line), splits.train.x[0].shape
    data = splits.shuffled_labels(seed=seed).train if made.labels == "shuffled" else splits.train
    net = models.vgg6(width=made.width, in_shape=shape, seed=seed)
    decay = made.strength if made.regulariser == "L2" else 0.0
    how = {"epochs": made.epochs, "batch_size": 64, "lr": 2e-3, "weight_decay": decay, "seed": seed}
    net = store.trained(net, data, **how)
    if made.regulariser == "attacked":
        net = techniques.adversarial(net, data, eps=made.strength, epochs=2, lr=1e-3, seed=seed)
    return net


def survey(
    source: str,
    line: str,
    seed: int,
    *,
    layers: Sequence[str],
    n_train: int,
    n_test: int,
    sizes: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """`lenses.look` at one network on test images, with its source and accuracy; `sizes` are the lenses' options."""
    splits = split(source, seed, n_train=n_train, n_test=n_test)
    net = network(line, splits, seed)
    table = lenses.look(net, splits.test, layers, network=parse(line).name, seed=seed, **sizes)
    return table.assign(source=source, accuracy=training.evaluate(net, splits.test).accuracy)


def curves(
    source: str, line: str, seed: int, *, layers: Sequence[str], n_train: int, n_test: int, n: int
) -> pd.DataFrame:
    """`lenses.clamped_accuracy` of one network, with source, network and seed."""
    splits = split(source, seed, n_train=n_train, n_test=n_test)
    found = lenses.clamped_accuracy(network(line, splits, seed), splits.test, layers, n=n)
    return found.assign(source=source, network=parse(line).name, seed=seed)


def agreement(
    table: pd.DataFrame, *, over: str, other: Callable[[np.ndarray], np.ndarray] = lambda values: values
) -> pd.DataFrame:
    """Spearman's correlation of each pair of quantities, over the layers of a network or over the networks of a seed.

    `table` is that of `survey`, for all networks; over networks it must be of a single layer. Over layers, `depth` is a
    quantity too. A pair is compared where both have values; where either is the same everywhere the correlation is 0.
    `other` rearranges the values of the second quantity of each pair before they meet: a control.

    Columns: source, seed, network (empty over networks), one, two (in the order of QUANTITIES), lenses (whether they
    are two different lenses), correlation. Raises ValueError for another `over`, several layers over networks, or fewer
    than three values to compare.
    """
    checks.choice("over", over, ("layer", "network"))
    if over == "network" and table["layer"].nunique() > 1:
        raise ValueError(f"table must be of one layer to compare networks, got {', '.join(table['layer'].unique())}")
    lens = table.groupby("quantity")["lens"].first().to_dict() | {"depth": ""}
    keys = RUN if over == "layer" else RUN[:2]
    rows = []
    for run, part in table.groupby(keys, sort=False):
        wide = part.pivot(index=over, columns="quantity", values="value").reindex(part[over].unique())
        if over == "layer":
            wide["depth"] = np.arange(len(wide))
        for one, two in combinations([q for q in (*QUANTITIES, "depth") if q in wide], 2):
            found = _spearman(wide[one].to_numpy(), other(wide[two].to_numpy()), f"{one} and {two} of {run}")
            apart = "depth" not in (one, two) and lens[one] != lens[two]
            rows.append([*run, *[""] * (over == "network"), one, two, apart, found])
    return pd.DataFrame(rows, columns=[*RUN, "one", "two", "lenses", "correlation"])


def between_lenses(pairs: pd.DataFrame) -> pd.Series:
    """Mean absolute correlation over all pairs of two different lenses, for each source, seed and network."""
    return pairs[pairs["lenses"]].groupby(RUN, sort=False)["correlation"].agg(lambda values: values.abs().mean())


def pair(pairs: pd.DataFrame, one: str, two: str) -> pd.Series:
    """The correlation of two quantities, for each source, seed and network."""
    rows = pairs[(pairs["one"] == one) & (pairs["two"] == two)]
    if rows.empty:
        raise ValueError(f"there is no pair {one!r}, {two!r}; quantities come in the order {', '.join(QUANTITIES)}")
    return rows.set_index(RUN)["correlation"]


def _spearman(a: np.ndarray, b: np.ndarray, what: str) -> float:
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3:
        raise ValueError(f"{what} have {both.sum()} values in common, and a correlation takes at least 3")
    a, b = (rankdata(values[both].round(9)) for values in (a, b))  # ties are ties on any machine
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) and np.ptp(b) else 0.0
