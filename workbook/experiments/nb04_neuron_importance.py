"""Notebook 04: perceptrons whose neurons are scored and ablated, copies of them in which the answer is known by
construction, and which networks claims take."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

import pandas as pd
import torch
from torch import Tensor, nn

from infolib import activations, training
from infolib.checks import at_least, hold, within
from infolib.data import Splits
from infolib.estimators import binning, discrete
from infolib.measures import neuron_importance
from workbook import datasets, records
from workbook.records import LAYERS, Count, Natural, Rate, Rule, Share, Ten, Two, Units, entries

Dropout = Annotated[float, Rule("from 0 to below 1", lambda p: 0 <= p < 1)]
Modes = Annotated[tuple[Literal["mean", "zero"], ...], Rule("with 'mean'", lambda m: "mean" in m), entries(1)]
CANDIDATES, FEW = 20, 100  # random units for each that is appended; images of a mean that is only near
SPANS = {"relu": (0, 1e6), "sigmoid": (0, 1), "tanh": (-1, 1)}  # of activations
PLAIN: dict[str, Any] = {"weight_decay": 0.0, "dropout": (), "batch_norm": "none"}


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

    @property
    def alone(self) -> "Network":
        """The record of one of its networks, which does not depend on how many there are."""
        return replace(self, n_networks=1)

    @property
    def layers(self) -> list[str]:
        """Names of the hidden layers, from the first."""
        return [f"hidden{i}" for i in range(1, len(self.hidden) + 1)]

    @property
    def fires(self) -> Callable[[Tensor], Tensor]:
        """One bit of an activation: whether it is above the threshold."""
        return partial(binning.sign, threshold=self.threshold or 0.0)

    def facts(self, seed: int) -> dict[str, Any]:
        """Columns of a table of one network: its name, its fields, and the seed.

        Parameters
        ----------
        seed : int
            Of the network.

        Returns
        -------
        dict
        """
        return {"network": self.name, **records.columns(self.alone), "seed": seed}


@dataclass(frozen=True)
class Protocol:
    """On which images and how neurons are scored and ablated."""

    n_val: Ten  # validation images that neurons are scored on
    n_test: Ten  # test images that ablation is measured on
    points: Count  # steps of an ablation curve, at most
    n_random: Count  # random orders for each network and pool of layers
    modes: Modes = ("mean", "zero")  # what neurons are clamped to
    n_permutations: Count = 20  # of the labels, for the level of chance


@dataclass(frozen=True)
class Search:
    """The L2 strengths and numbers of epochs that are tried for the network of version 1."""

    weight_decays: Annotated[tuple[Share, ...], entries(1)]  # the last is the control of its accuracy
    epochs: Annotated[tuple[Count, ...], entries(1)]  # passes through the training images
    n_networks: Count  # of each setting, with seeds after those of version 1's network

    def tried(self, network: Network) -> list[tuple[Network, int]]:
        """A network with each of the settings, and the seeds that none of its own networks has.

        Parameters
        ----------
        network : Network
            The network of version 1.

        Returns
        -------
        list of tuple of Network and int
        """
        seeds = records.seeds(network.n_networks + self.n_networks)[network.n_networks :]
        settings = [(decay, epochs) for decay in self.weight_decays for epochs in self.epochs]
        return [(replace(network, weight_decay=d, epochs=e, n_networks=1), seed) for d, e in settings for seed in seeds]


@dataclass(frozen=True)
class Change:
    """What is done to a copy of a trained network so that the answer is known; its output stays as it is."""

    kind: Literal["idle units", "copies", "zero near the mean", "zero far off"]  # what `changed` does
    layer: str  # that is changed
    quantities: tuple[str, ...]  # that its neurons are ordered by; "copies" are of the unit with most of the first


RECORDS = {"networks": Network, "protocol": Protocol, "deep_networks": Network, "deep_protocol": Protocol,
           "search": Search}  # fmt: skip
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
    networks, protocol, deep, deep_protocol, search = (parameters[name] for name in RECORDS)
    for group, how, name in ((networks, protocol, "networks"), (deep, deep_protocol, "deep_networks")):
        names = [network.name for network in group]
        hold(name, names, len(set(names)) == len(names), "of different names")
        for i, network in enumerate(group):
            with records.placed(f"{name}[{i}] and {name.replace('networks', 'protocol')}"):
                datasets.sizes(network.data, n_train=1, n_val=how.n_val, n_test=how.n_test)
    plain, v1, untrained = roles(networks)
    judged, fewest = [*plain, v1, untrained], min(sum(network.hidden) for network in networks)
    alike = {(network.hidden, network.n_networks) for network in judged}
    comparable = len(alike) == 1 and len(v1.hidden) == 2 <= v1.n_networks
    hold("networks", alike, comparable, "alike in hidden, two layers, and n_networks, at least 2, for the claims")
    hold("deep_networks", [network.name for network in deep], len(deep) <= 1, "at most one, which claims are about")
    hold("modes of protocol", protocol.modes, "zero" in protocol.modes, "mean and zero, which claims compare")
    chosen = v1.weight_decay in search.weight_decays[:-1] and v1.epochs in search.epochs
    what = (
        f"of {v1.weight_decay} and {v1.epochs}, as version 1's network has, and of a last L2 strength that it has not"
    )
    hold("search", search, chosen, what)
    step = math.ceil(max(sum(network.hidden) for network in networks) / protocol.points)
    upto, n_top = parameters["upto"], parameters["n_top"]
    hold("upto", upto, step <= upto <= fewest, f"from {step}, the first step, to {fewest}, the units of networks")
    last = v1.hidden[-1]
    hold("n_top", n_top, 2 <= n_top <= last, f"from 2 to {last}, the last layer's units")


def roles(networks: Sequence[Network]) -> tuple[list[Network], Network, Network]:
    """The networks that claims are about: plain ones, that of version 1, and an untrained one.

    The trained ReLU networks without a regulariser, one for each data set; the first trained sigmoid network, and the
    first that is untrained.

    Parameters
    ----------
    networks : sequence of Network
        All groups.

    Returns
    -------
    list of Network
        The plain ones; the first is the main one.
    v1, untrained : Network

    Raises
    ------
    ValueError
        If there is none of a kind, or two plain ones on one data set.
    """
    plain = [n for n in networks if n.epochs > 0 and n.activation == "relu" and n == replace(n, **PLAIN)]
    kinds = {
        "a trained relu network without regulariser": plain,
        "a trained sigmoid network": [n for n in networks if n.epochs > 0 and n.activation == "sigmoid"],
        "an untrained network": [n for n in networks if n.epochs == 0],
    }
    for kind, found in kinds.items():
        hold("networks", [network.name for network in networks], found, f"a list that holds {kind}")
    sets = [network.data for network in plain]
    hold("networks", sets, len(set(sets)) == len(sets), "with one plain relu network for each data set")
    _, (v1, *_), (untrained, *_) = kinds.values()
    return plain, v1, untrained


def chance(
    model: nn.Module, splits: Splits, layers: Sequence[str], *, quantise: Callable[[Tensor], Tensor], seed: int
) -> pd.DataFrame:
    """Scores that have nothing to do with the classes: those of permuted labels, and random numbers.

    Parameters
    ----------
    model, splits, layers, quantise
        As `neuron_importance.analyse` takes them.
    seed : int
        Of the permutation and the numbers.

    Returns
    -------
    DataFrame
        In the form of `neuron_importance.scores`.
    """
    val = splits.permuted_labels(seed=seed).val
    table = neuron_importance.scores(model, val, layers, quantise=quantise, permutations=1, seed=seed)
    rows = table[table["quantity"] != "entropy"]
    numbers = table[table["quantity"] == "entropy"].assign(quantity="random numbers", unit="1")
    numbers["value"] = torch.rand(len(numbers), generator=torch.Generator().manual_seed(seed)).numpy()
    return pd.concat([rows.assign(quantity=rows["quantity"] + ", permuted labels"), numbers], ignore_index=True)


def other_images(model: nn.Module, splits: Splits, layers: Sequence[str]) -> pd.DataFrame:
    """The loss of single ablations on the test images, which shows how far images decide it.

    Parameters
    ----------
    model, splits, layers
        As `neuron_importance.analyse` takes them.

    Returns
    -------
    DataFrame
        In the form of `neuron_importance.scores`.
    """
    table = neuron_importance.comparisons(model, splits.test, layers)
    return table[table["quantity"] == "ablation loss, mean"].assign(quantity="ablation loss, other images")


def changes(network: Network) -> list[Change]:
    """The changes to copies of a network that controls of its claims take.

    Parameters
    ----------
    network : Network
        A plain network, or that of version 1.

    Returns
    -------
    list of Change
        Idle units in each layer; in two layers also copies in the last one, and where zero is.
    """
    every, layers = neuron_importance.QUANTITIES, network.layers
    found = [Change("idle units", layer, every) for layer in layers]
    if len(layers) == 2:
        found += [Change("copies", layers[-1], (quantity,)) for quantity in every]
        found += [Change("zero near the mean", layers[0], every[:1]), Change("zero far off", layers[0], every[:1])]
    return found


@torch.no_grad()
def changed(model: nn.Sequential, change: Change, splits: Splits, scores: pd.DataFrame, seed: int) -> nn.Sequential:
    """A copy of a plain perceptron in which the answer is known by construction.

    "idle units" appends as many units as the layer has, which the next layer ignores, so that none is missed. Each
    fires for half of the validation images, and of `CANDIDATES` times as many with random weights they have the least
    class information. "copies" appends as many copies of the unit with the most of a quantity, which the next layer
    ignores. The other two change only what zero means, because the next layer's bias takes it back: "zero near the
    mean" subtracts from each activation its mean over `FEW` validation images, "zero far off" adds 1.

    Parameters
    ----------
    model : nn.Sequential
        As `models.mlp` makes it, without normalisation.
    change : Change
        What is done.
    splits : Splits
        Its validation images.
    scores : DataFrame
        Of the model's neurons.
    seed : int
        Of the candidates.

    Returns
    -------
    nn.Sequential
        In eval mode.
    """
    model = copy.deepcopy(model)
    names = [name for name, _ in model.named_children()]
    layer, follower = (model.get_submodule(names[names.index(change.layer) + i]) for i in (0, 1))
    old, above = (part if isinstance(part, nn.Linear) else part.get_submodule("linear") for part in (layer, follower))
    assert isinstance(old, nn.Linear)
    assert isinstance(above, nn.Linear)
    given = _given(model, splits.val.x, change.layer)
    if change.kind.startswith("zero"):
        few = given[:FEW] if change.kind == "zero near the mean" else given[:0]
        shift = nn.BatchNorm1d(old.out_features, eps=0, affine=False)
        shift.running_mean = layer(few).mean(0) if len(few) else given.new_full((old.out_features,), -1.0)
        layer.add_module("shift", shift.to(given.device))
        above.bias.add_(above.weight @ shift.running_mean)
        return model.eval()
    if change.kind == "copies":
        rows = scores[(scores["layer"] == change.layer) & (scores["quantity"] == change.quantities[0])]
        most = int(rows["value"].to_numpy().argmax())
        weight, bias = (t[most].expand(t.shape) for t in (old.weight, old.bias))
    else:
        several = CANDIDATES * old.out_features, old.in_features
        weight = torch.randn(several, generator=torch.Generator().manual_seed(seed)).to(given) / old.in_features**0.5
        bias = -(given @ weight.T).median(0).values
        information = discrete.mutual_information(binning.sign(given @ weight.T + bias), splits.val.y)
        weight, bias = (t[information.argsort()[: old.out_features]] for t in (weight, bias))
    old.weight, old.bias = (nn.Parameter(torch.cat(pair)) for pair in ((old.weight, weight), (old.bias, bias)))
    above.weight = nn.Parameter(torch.cat([above.weight, torch.zeros_like(above.weight)], 1))
    return model.eval()


def _given(model: nn.Sequential, x: Tensor, layer: str) -> Tensor:
    """What a layer is given."""
    names = [name for name, _ in model.named_children()]
    below = names[names.index(layer) - 1]
    return activations.collect(model, x, [below])[below].flatten(1)


def layerwise(model: nn.Sequential, splits: Splits, network: Network, protocol: Protocol, seed: int) -> pd.DataFrame:
    """Ablation curves of each layer of a network by class information, with its accuracy on the validation images.

    Parameters
    ----------
    model, splits, seed
        As `neuron_importance.analyse` takes them.
    network : Network
        The record of the model.
    protocol : Protocol
        Sizes.

    Returns
    -------
    DataFrame
        As `neuron_importance.ablation_curves` returns it, with a further column, validation.
    """
    how: dict[str, Any] = {"quantise": network.fires, "permutations": 1, "seed": seed}
    rows = neuron_importance.scores(model, splits.val, network.layers, **how)
    rows = rows[rows["quantity"] == "class information"]
    orders = neuron_importance.orders(rows, random=protocol.n_random, seed=seed)
    within, test, points = [o for o in orders if len(o.layers) == 1], splits.test, protocol.points
    curves = [neuron_importance.ablation_curves(model, test, within, mode=mode, means=splits.val, points=points)
              for mode in protocol.modes]  # fmt: skip
    return pd.concat(curves).assign(validation=training.evaluate(model, splits.val).accuracy)


def ablated(
    model: nn.Sequential,
    splits: Splits,
    layers: Sequence[str],
    change: Change,
    protocol: Protocol,
    *,
    quantise: Callable[[Tensor], Tensor],
    seed: int,
) -> pd.DataFrame:
    """Ablation curves of a changed copy of a network: of the changed layer, of all layers for "copies".

    Parameters
    ----------
    model, splits, layers, quantise, seed
        As `neuron_importance.analyse` takes them.
    change : Change
        What is done to the copy.
    protocol : Protocol
        Sizes.

    Returns
    -------
    DataFrame
        As `neuron_importance.ablation_curves` returns it; to zero where zero was moved, else to the mean.
    """
    how: dict[str, Any] = {"layers": layers, "quantise": quantise, "permutations": 1, "seed": seed}
    model = changed(model, change, splits, neuron_importance.scores(model, splits.val, **how), seed)
    rows = neuron_importance.scores(model, splits.val, **how)
    rows = rows[rows["quantity"].isin(change.quantities)]
    pool = tuple(layers) if change.kind == "copies" else (change.layer,)
    orders = [o for o in neuron_importance.orders(rows, random=protocol.n_random, seed=seed) if o.layers == pool]
    mode: Literal["mean", "zero"] = "zero" if change.kind.startswith("zero") else "mean"
    test, points = splits.test, protocol.points
    return neuron_importance.ablation_curves(model, test, orders, mode=mode, means=splits.val, points=points)
