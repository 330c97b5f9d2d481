"""Groups of multilayer perceptrons whose neurons are scored and ablated, for notebook 04."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import pandas as pd
from torch import nn

from infolib import activations
from infolib.data import Splits
from infolib.estimators import binning
from infolib.measures.neuron_importance import Analysis, analyse, area
from workbook import datasets, models, records, store

PLAIN = {"weight_decay": 0.0, "dropout": (), "batch_norm": "none", "labels": "true"}


@dataclass(frozen=True)
class Network:
    """A group of perceptrons that differ in their seed alone, and how their neurons are scored."""

    data: Literal["digits", "mnist", "fashion-mnist", "cifar10"]
    hidden: tuple[int, ...]  # units of each hidden layer
    activation: Literal["relu", "sigmoid", "tanh"]
    lr: float  # Adam's learning rate
    epochs: int  # passes through the training images; 0 leaves the networks untrained
    n_networks: int  # seeds 0, 1, ..., each with a split and weights of its own
    batch_size: int  # images in a training step
    labels: Literal["true", "permuted"] = "true"  # that neurons are scored on; all networks learn the true ones
    weight_decay: float = 0.0  # Adam's
    dropout: tuple[float, ...] = ()  # probability for each hidden layer
    batch_norm: Literal["none", "before", "after"] = "none"  # before or after the activation
    threshold: float | None = None  # activation above which a neuron fires; None is 1/2 for a sigmoid, else 0

    def __post_init__(self) -> None:
        if self.threshold is None:
            object.__setattr__(self, "threshold", 0.5 if self.activation == "sigmoid" else 0.0)
        for name, least in (("epochs", 0), ("n_networks", 1), ("batch_size", 1 if self.batch_norm == "none" else 2)):
            _hold(name, getattr(self, name), getattr(self, name) >= least, f"at least {least}")
        _hold("hidden", self.hidden, min(self.hidden, default=0) >= 1, "a number of units for each layer")
        _hold("lr", self.lr, self.lr > 0, "above 0")
        _hold("weight_decay", self.weight_decay, self.weight_decay >= 0, "at least 0")
        each = len(self.dropout) in (0, len(self.hidden)) and all(0 <= p < 1 for p in self.dropout)
        _hold("dropout", self.dropout, each, "empty, or a probability below 1 for each hidden layer")

    @property
    def name(self) -> str:
        """Data set, hidden layers, activation, "untrained", and the fields of PLAIN that are not as there."""
        facts, untrained = records.columns(self), ", untrained" if self.epochs == 0 else ""
        told = [f", {name} {facts[name]}".replace("_", " ") for name in PLAIN if getattr(self, name) != PLAIN[name]]
        return "".join([f"{self.data} {facts['hidden']} {self.activation}", untrained, *told])


@dataclass(frozen=True)
class Protocol:
    """On which images and how neurons are scored and ablated."""

    n_val: int  # validation images that neurons are scored on
    n_test: int  # test images that ablation is measured on
    points: int  # steps of an ablation curve, at most
    n_random: int  # random orders for each network and pool of layers
    modes: tuple[Literal["mean", "zero"], ...] = ("mean", "zero")  # what neurons are clamped to
    n_permutations: int = 20  # of the labels, for the level of chance

    def __post_init__(self) -> None:
        for name, least in (("n_val", 10), ("n_test", 10), ("points", 1), ("n_random", 1), ("n_permutations", 1)):
            _hold(name, getattr(self, name), getattr(self, name) >= least, f"at least {least}")
        _hold("modes", self.modes, "mean" in self.modes, "mean, or mean and zero")


RECORDS = {"networks": Network, "protocol": Protocol, "deep_networks": Network, "deep_protocol": Protocol}


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse two networks of one name, more images than there are, and what the claims cannot be judged by.

    Parameters
    ----------
    parameters : mapping
        The parameters of notebook 04 by name; those of RECORDS are records.

    Raises
    ------
    ValueError
        Names the parameter, what it must be, and what was given.
    """
    networks, protocol, deep, deep_protocol = (parameters[name] for name in RECORDS)
    for group, how, name in ((networks, protocol, "networks"), (deep, deep_protocol, "deep_networks")):
        names = [network.name for network in group]
        _hold(name, names, len(set(names)) == len(names), "of different names")
        for i, network in enumerate(group):
            try:
                datasets.sizes(network.data, n_train=1, n_val=how.n_val, n_test=how.n_test)
            except ValueError as error:
                raise ValueError(f"{name}[{i}]: {error}") from error
    judged, fewest = roles(networks), min(sum(network.hidden) for network in networks)
    alike = {(network.hidden, network.n_networks) for network in judged}
    comparable = len(alike) == 1 and len(judged[0].hidden) == 2 <= judged[0].n_networks
    _hold("networks", alike, comparable, "alike in hidden, two layers, and n_networks, at least 2, for the claims")
    _hold("modes of protocol", protocol.modes, "zero" in protocol.modes, "mean and zero, which claims compare")
    step = math.ceil(max(sum(network.hidden) for network in networks) / protocol.points)
    _hold("upto", parameters["upto"], step <= parameters["upto"] <= fewest, f"from {step}, the first step, to {fewest}")
    last = judged[0].hidden[-1]
    _hold("n_top", parameters["n_top"], 2 <= parameters["n_top"] <= last, f"from 2 to {last}, the last layer's units")


def roles(networks: Sequence[Network]) -> list[Network]:
    """The networks that claims are about: main, that of version 1, untrained, and main on permuted labels.

    Of each kind the first in the list: a trained ReLU network without regulariser; a trained sigmoid network; an
    untrained one; and the first of them once more, its neurons scored on permuted labels.

    Raises
    ------
    ValueError
        If there is none of a kind.
    """
    true = [network for network in networks if network.labels == "true"]
    plain = [n for n in true if n.epochs > 0 and n.activation == "relu" and n == replace(n, **PLAIN)][:1]
    permuted = [replace(n, labels="permuted") for n in plain]
    kinds = {
        "a trained relu network without regulariser": plain,
        "a trained sigmoid network": [n for n in true if n.epochs > 0 and n.activation == "sigmoid"],
        "an untrained network": [n for n in true if n.epochs == 0],
        "the first plain relu network with permuted labels": [n for n in networks if n in permuted],
    }
    for kind, found in kinds.items():
        _hold("networks", [network.name for network in networks], found, f"a list that holds {kind}")
    return [found[0] for found in kinds.values()]


def train(network: Network, seed: int, protocol: Protocol) -> tuple[Splits, nn.Module]:
    """The splits of one seed, and the network trained on them; trained once, then cached.

    Parameters
    ----------
    network : Network
        How to train it; its labels do not count here.
    seed : int
        Of the split, the initial weights and the training.
    protocol : Protocol
        Its sizes are those of the validation and the test images; all others are trained on.
    """
    splits = datasets.load(network.data, n_val=protocol.n_val, n_test=protocol.n_test, seed=seed)
    sizes = [splits.train.x[0].numel(), *network.hidden, int(splits.train.y.max()) + 1]
    how = {"activation": network.activation, "dropout": network.dropout, "seed": seed}
    model = models.mlp(sizes, batch_norm=None if network.batch_norm == "none" else network.batch_norm, **how)
    fit = {name: getattr(network, name) for name in ("epochs", "batch_size", "lr", "weight_decay")}
    return splits, store.trained(model, splits.train, seed=seed, **fit)


def measure(network: Network, seed: int, protocol: Protocol) -> Analysis:
    """Scores of all neurons of one network, and its ablation curves: `analyse`, on its validation and test images.

    Parameters
    ----------
    network, seed, protocol
        As `train` takes them. Permuted labels are those of the validation images alone.

    Returns
    -------
    Analysis
        The frames of `analyse` with the network's name, a column for each of its fields but n_networks, and its seed.
    """
    splits, model = train(network, seed, protocol)
    if network.labels == "permuted":
        splits = replace(splits, val=splits.permuted_labels(seed=seed).val)
    layers, bit = activations.layers(model)[:-1], partial(binning.sign, threshold=network.threshold)
    how = {"modes": protocol.modes, "random": protocol.n_random, "points": protocol.points}
    result = analyse(model, splits, layers, quantise=bit, permutations=protocol.n_permutations, seed=seed, **how)
    facts = {"network": network.name, **records.columns(network), "seed": seed}
    return Analysis(*(table.assign(**facts).drop(columns="n_networks") for table in result))


def cases(networks: Sequence[Network], protocol: Protocol) -> list[tuple[Network, int, Protocol]]:
    """Arguments of `measure` for each network of each group; without the size of its group, on which none depends."""
    alone = [(replace(network, n_networks=1), network.n_networks) for network in networks]
    return [(network, seed, protocol) for network, seeds in alone for seed in range(seeds)]


def figure_numbers(table: pd.DataFrame, curves: pd.DataFrame, *, upto: int) -> pd.DataFrame:
    """Numbers that figures of the paper show, one per row (column `ours`), to be merged with what was read off them.

    Points of the ablation curves (column `at` holds k), areas under their first `upto` neurons ("area"), and the ends
    of the scores' distributions in each layer ("lowest", "highest"), for each seed; column names are those of `curves`.

    Parameters
    ----------
    table, curves : DataFrame
        Scores and curves as `measure` returns them, of one group of networks.
    upto : int
        Neurons clamped at the end of an area.
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


def _hold(name: str, value: Any, holds: Any, what: str) -> None:
    if not holds:
        raise ValueError(f"{name} must be {what}, got {value!r}")
