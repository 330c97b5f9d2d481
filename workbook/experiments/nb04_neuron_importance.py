"""Groups of perceptrons whose neurons are scored and ablated, for notebook 04."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import pandas as pd
from torch import nn

from infolib import activations, checks
from infolib.data import Data, Splits
from infolib.estimators import binning
from infolib.measures.neuron_importance import Analysis, analyse, area
from workbook import datasets, models, store
from workbook.store import tabulate


class Arm(NamedTuple):
    """A group of perceptrons that differ in their seed alone, and the labels that their neurons are scored on."""

    dataset: str
    network: str  # as `training.perceptron` takes it
    lr: float
    epochs: int
    networks: int
    labels: str

    @property
    def name(self) -> str:
        """Data set, activation and regulariser, and whether the arm is a control."""
        control = [*([] if self.epochs else ["untrained"]), *([] if self.labels == "true" else ["permuted"])]
        return " ".join([self.dataset, *self.network.split()[1:], *control])

    def trained(self, seed: int, *, batch_size: int, **sizes: int) -> tuple[Splits, nn.Module]:
        """The splits (`sizes` as `datasets.load` takes them) and the network of one seed, trained once and cached."""
        splits = datasets.load(self.dataset, seed=seed, **sizes)
        options = {"epochs": self.epochs, "batch_size": batch_size, "lr": self.lr, "seed": seed}
        return splits, perceptron(splits.train, self.network, **options)


def parse_arm(text: str) -> Arm:
    """An arm from its line: data set, widths, activation, regulariser, Adam's lr, epochs, networks, labels to score on.

    Raises ValueError for a line that is not of this form, and for labels other than true or permuted.

    >>> parse_arm("mnist 100-100 sigmoid L2:1e-5 1e-3 25 10 true").name
    'mnist sigmoid L2:1e-5'
    """
    try:
        dataset, *network, lr, epochs, networks, labels = text.split()
        arm = Arm(dataset, " ".join(network), float(lr), int(epochs), int(networks), labels)
    except ValueError as error:
        raise ValueError(f"arm must be like 'mnist 100-100 relu none 1e-3 20 10 true', got {text!r}") from error
    checks.choice("labels", labels, ("true", "permuted"))
    checks.at_least("networks", arm.networks, 1)
    return arm


def survey(arms: Sequence[Arm], *, fit: Mapping[str, Any], protocol: Mapping[str, Any]) -> Analysis:
    """`analyse` every network of every arm by `store.tabulate`; the frames gain arm and seed.

    `fit` goes to `Arm.trained`, `protocol` to `analyse`. Of a sigmoid one bit is taken at 1/2, else at 0 (Amjad et
    al. 2018). Raises ValueError as those do.
    """
    cases = [(arm._replace(networks=1), seed, fit, protocol) for arm in arms for seed in range(arm.networks)]
    return Analysis(*tabulate(_survey_one, cases, frames=Analysis._fields))


def perceptron(data: Data, description: str, *, seed: int, **fit_options: Any) -> nn.Module:
    """A trained perceptron from a description: hidden widths, activation, regulariser, as "100-100 relu dropout:.3,.4".

    The regulariser is none, L2:strength (the optimiser's weight decay), dropout:p,p,... (one for each hidden layer) or
    batch-norm (before the activation). The seed decides weights and training; the result is cached by `trained`.

    Raises:
        ValueError: for a description that is not of this form, and as `models.mlp` and `fit` do
    """
    form = f"description must be like '100-100 relu L2:1e-4', got {description!r}"
    try:
        widths, activation, regulariser = description.split()
        kind, _, strength = regulariser.partition(":")
        hidden = [int(width) for width in widths.split("-")]
        numbers = [float(number) for number in strength.split(",") if number]
    except ValueError as error:
        raise ValueError(form) from error
    expected = {"none": 0, "L2": 1, "dropout": len(hidden), "batch-norm": 0}
    if len(numbers) != expected[checks.choice("regulariser", kind, expected)]:
        raise ValueError(f"{form}: {kind} takes {expected[kind]} numbers")
    model = models.mlp(
        [data.x[0].numel(), *hidden, int(data.y.max()) + 1],
        activation=activation,
        batch_norm="before" if kind == "batch-norm" else None,
        dropout=numbers if kind == "dropout" else (),
        seed=seed,
    )
    decay = numbers[0] if kind == "L2" else 0.0
    return store.trained(model, data, weight_decay=decay, seed=seed, **fit_options)


def numbers(table: pd.DataFrame, curves: pd.DataFrame, *, upto: int) -> pd.DataFrame:
    """What figures of the paper show, one number per row (column `ours`), to be merged with what was read off them.

    Points of the ablation curves (column `at` holds k), areas under their first `upto` steps ("area"), and the ends of
    the scores' distributions in each layer ("lowest", "highest"), for each seed; column names are those of `curves`.
    """
    keys = ["seed", "layers", "mode", "quantity"]
    on_curves = curves.rename(columns={"k": "at", "accuracy": "ours"})
    under = area(curves, upto=upto).assign(at="area")
    under = under.melt([*keys, "at"], ["ascending", "descending", "random"], "direction", "ours")
    under.loc[under["direction"] == "random", "quantity"] = "random"
    ends = table.groupby(["seed", "layer", "quantity"])["value"].agg(lowest="min", highest="max").reset_index()
    ends = ends.rename(columns={"layer": "layers"}).assign(mode="", direction="")
    ends = ends.melt([*keys, "direction"], ["lowest", "highest"], "at", "ours")
    ours = pd.concat([on_curves, under, ends]).astype({"at": str})
    return ours.groupby([*keys, "direction", "at"])["ours"].mean().reset_index()


def _survey_one(arm: Arm, seed: int, fit: Mapping[str, Any], protocol: Mapping[str, Any]) -> Analysis:
    splits, model = arm.trained(seed, **fit)
    if arm.labels == "permuted":
        splits = replace(splits, val=splits.permuted_labels(seed=seed).val)
    quantise = partial(binning.sign, threshold=0.5 if arm.network.split()[1] == "sigmoid" else 0.0)
    result = analyse(model, splits, activations.layers(model)[:-1], quantise=quantise, seed=seed, **protocol)
    return Analysis(*(table.assign(arm=arm.name, seed=seed) for table in result))
