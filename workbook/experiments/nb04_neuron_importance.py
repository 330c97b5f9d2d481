"""Notebook 04: groups of multilayer perceptrons whose neurons are scored and ablated, and which groups claims take."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from infolib.checks import at_least, hold, within
from workbook import datasets, records
from workbook.records import LAYERS, Count, Natural, Rate, Rule, Share, Ten, Two, Units, entries

Dropout = Annotated[float, Rule("from 0 to below 1", lambda p: 0 <= p < 1)]
Modes = Annotated[tuple[Literal["mean", "zero"], ...], Rule("with 'mean'", lambda m: "mean" in m), entries(1)]
SPANS = {"relu": (0, 1e6), "sigmoid": (0, 1), "tanh": (-1, 1)}  # of activations
PLAIN: dict[str, Any] = {"weight_decay": 0.0, "dropout": (), "batch_norm": "none", "labels": "true"}


@dataclass(frozen=True)
class Network:
    """A group of perceptrons that differ in their seed alone, and how their neurons are scored."""

    data: datasets.Images  # data set
    hidden: Annotated[tuple[Units, ...], LAYERS]  # units of each hidden layer
    activation: Literal["relu", "sigmoid", "tanh"]  # of the hidden layers
    lr: Rate  # Adam's learning rate
    epochs: Natural  # passes through the training images; 0 leaves the networks untrained
    n_networks: Count  # of as many seeds, each with a split and weights of its own
    batch_size: Count  # images in a training step
    labels: Literal["true", "permuted"] = "true"  # that neurons are scored on; all networks learn the true ones
    weight_decay: Share = 0.0  # Adam's
    dropout: tuple[Dropout, ...] = ()  # probability for each hidden layer
    batch_norm: Literal["none", "before", "after"] = "none"  # before or after the activation
    threshold: float | None = None  # activation above which a neuron fires; None is 1/2 for a sigmoid, else 0

    def __post_init__(self) -> None:
        threshold = (0.5 if self.activation == "sigmoid" else 0.0) if self.threshold is None else self.threshold
        object.__setattr__(self, "threshold", within("threshold", threshold, *SPANS[self.activation]))
        at_least("batch_size", self.batch_size, 1 if self.batch_norm == "none" else 2)
        each = len(self.dropout) in (0, len(self.hidden))
        hold("dropout", self.dropout, each, "empty, or a probability for each hidden layer")

    @property
    def name(self) -> str:
        """Data set, hidden layers, activation, "untrained", and the fields of PLAIN that are not as there."""
        facts, untrained = records.columns(self), ", untrained" if self.epochs == 0 else ""
        told = [f", {name} {facts[name]}".replace("_", " ") for name in PLAIN if getattr(self, name) != PLAIN[name]]
        return "".join([f"{self.data} {facts['hidden']} {self.activation}", untrained, *told])


@dataclass(frozen=True)
class Protocol:
    """On which images and how neurons are scored and ablated."""

    n_val: Ten  # validation images that neurons are scored on
    n_test: Ten  # test images that ablation is measured on
    points: Count  # steps of an ablation curve, at most
    n_random: Count  # random orders for each network and pool of layers
    modes: Modes = ("mean", "zero")  # what neurons are clamped to
    n_permutations: Count = 20  # of the labels, for the level of chance


RECORDS = {"networks": Network, "protocol": Protocol, "deep_networks": Network, "deep_protocol": Protocol}
RANGES = {"upto": Count, "n_top": Two}


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
        hold(name, names, len(set(names)) == len(names), "of different names")
        for i, network in enumerate(group):
            with records.placed(f"{name}[{i}] and {name.replace('networks', 'protocol')}"):
                datasets.sizes(network.data, n_train=1, n_val=how.n_val, n_test=how.n_test)
    judged, fewest = roles(networks), min(sum(network.hidden) for network in networks)
    alike = {(network.hidden, network.n_networks) for network in judged}
    comparable = len(alike) == 1 and len(judged[0].hidden) == 2 <= judged[0].n_networks
    hold("networks", alike, comparable, "alike in hidden, two layers, and n_networks, at least 2, for the claims")
    hold("modes of protocol", protocol.modes, "zero" in protocol.modes, "mean and zero, which claims compare")
    step = math.ceil(max(sum(network.hidden) for network in networks) / protocol.points)
    upto, n_top = parameters["upto"], parameters["n_top"]
    hold("upto", upto, step <= upto <= fewest, f"from {step}, the first step, to {fewest}, the units of networks")
    last = judged[0].hidden[-1]
    hold("n_top", n_top, 2 <= n_top <= last, f"from 2 to {last}, the last layer's units")


def roles(networks: Sequence[Network]) -> list[Network]:
    """The networks that claims are about: main, that of version 1, untrained, and main on permuted labels.

    Of each kind the first in the list: a trained ReLU network without regulariser; a trained sigmoid network; an
    untrained one; and the first of them once more, its neurons scored on permuted labels.

    Parameters
    ----------
    networks : sequence of Network
        All groups.

    Returns
    -------
    list of Network
        Four of them.

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
        hold("networks", [network.name for network in networks], found, f"a list that holds {kind}")
    return [found[0] for found in kinds.values()]
