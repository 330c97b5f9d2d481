"""Notebook 05: networks that were trained, changed or damaged in different ways."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Annotated, Any, Literal

import pandas as pd
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn.functional import interpolate

from infolib import activations, checks
from infolib.data import Data, Splits
from infolib.measures import discarding
from workbook import datasets, models, records, store, techniques
from workbook.experiments import nb05_segmentation
from workbook.records import RISING, Count, Natural, Part, Positive, Rate, Rule, Seeds, Two, Units, between, entries
from workbook.techniques import Schedule

MAIN = ("untrained", "trained", "permuted labels")
KINDS = (
    *MAIN, "trained again", "one epoch", "student of labels", "student of the network", "student of permuted labels",
    "pruned", "pruned, trained on", "damaged", "trained on", "attacked in training", "autoencoder",
)  # fmt: skip
AGAINST = {
    kind: "student of labels" if kind.startswith("student") else "trained"
    for kind in KINDS[3:] if kind != "student of labels"
}  # fmt: skip  # what was done to a network -> the network that it is compared with
TWIN = 1000  # added to the seed of a network that is trained again
Layer = Literal["conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "fc1"]


@dataclass(frozen=True, kw_only=True)
class Search:
    """How information discarding is searched for, on the first of the test images."""

    grid: Two  # cells along a side of the image
    error: Positive = 0.02  # standard error in bits that each image's mean is to have
    samples: Annotated[int, between(16)] = 4096  # of noise to judge by, at most
    sigma0: Positive = 0.01  # unit of noise; pixels are in [0, 1]
    alpha: Positive = 1.5  # change of a layer's output that is allowed, relative to that under noise of sigma0
    n_test: Count = 2000  # test images

    def __post_init__(self) -> None:
        checks.hold("grid", self.grid, self.side % self.grid == 0, f"a divisor of the side of the images, {self.side}")

    @property
    def side(self) -> int:
        """Pixels along a side of an image: those of CIFAR-10, unless the record names another set."""
        return 32

    @property
    def options(self) -> dict[str, Any]:
        """What `discarding.measured` takes."""
        return {field.name: getattr(self, field.name) for field in fields(Search) if field.name != "n_test"}


@dataclass(frozen=True, kw_only=True)
class Network(Search):
    """Small VGGs on a data set, trained by Adam: those of KINDS for a seed. Shares are of 1."""

    data: datasets.Images  # data set
    clutter: bool  # pieces of other images around each image, so that the object's box is known
    padding: Literal["circular", "zeros"] = "circular"  # of convolutions; with zeros, images have a border
    n_train: Count  # training images
    width: Units  # maps of the first two convolutions
    epochs: Count  # passes through the training images
    lr: Rate = 2e-3  # learning rate
    batch_size: Two = 64  # images in a training step
    student_width: Part = 0.5  # share of the width
    student_images: Part = 0.25  # share of the training images
    student_epochs: Count = 3  # times the epochs
    temperature: Positive = 4.0  # of the outputs that a student learns from
    pruned_share: Annotated[float, between(0.001, 0.999)] = 0.8  # of the weights
    damaged_layer: Layer = "conv4"  # whose filters are set to 0
    damaged_share: Part = 0.5  # of its filters
    eps: Part = 0.1  # the most that an attack changes a pixel
    attack_steps: Count = 2  # of an attack
    further_epochs: Count = 2  # after pruning, and on attacked images
    further_lr: Rate = 1e-3  # after pruning, and on attacked images
    encoder: Layer = "conv6"  # the autoencoder's last layer before its decoder
    decoder_width: Units = 16  # maps
    decoder_epochs: Count = 3  # on a layer of a trained network; the autoencoder learns for `epochs`
    decoder_lr: Rate = 5e-3  # on a layer of a trained network

    def __post_init__(self) -> None:
        super().__post_init__()
        datasets.sizes(self.data, n_train=self.n_train, n_val=0, n_test=self.n_test)
        checks.at_least("the width of students", int(self.student_width * self.width), 1)
        checks.at_least("the number of images of students", int(self.student_images * self.n_train), 2)

    @property
    def side(self) -> int:
        """Pixels along a side of an image; clutter adds a half."""
        return datasets.checksums()[self.data]["shape"][-1] * (3 if self.clutter else 2) // 2


@dataclass(frozen=True, kw_only=True)
class ResNet(Search):
    """A public ResNet for CIFAR-10."""

    depth: Literal[20, 32, 44, 56]  # layers
    taps: Two = 5  # blocks that are measured, evenly spread from the first to the last
    n_images: Count = 4  # for each seed others
    grid: Two = 8  # cells along a side

    def __post_init__(self) -> None:
        super().__post_init__()
        datasets.sizes("cifar10", n_test=self.n_test)
        checks.within("taps", self.taps, 2, (self.depth - 2) // 2)


RECORDS = {"networks": Network, "resnets": ResNet, "segmentation": nb05_segmentation.Segmentation}
SOME = Rule(f"in the order of {KINDS}, with the first three", lambda f: f == [k for k in KINDS if k in {*MAIN, *f}])
BEHIND = Rule("with conv6 and fc1 at its end, behind two others", lambda f: f[-2:] == ["conv6", "fc1"] and len(f) > 3)
RANGES = {"n_images": Two, "steps": Natural, "n_seeds": Seeds, "layers": Annotated[list[Layer], RISING, BEHIND],
          "kinds": Annotated[list[str], SOME], "decoded": Annotated[list[Layer], RISING, entries(2)]}  # fmt: skip


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that cannot be, by name.

    Parameters
    ----------
    parameters : mapping
        All parameters of notebook 05 by name; those of RECORDS are records.

    Raises
    ------
    ValueError
        For a first network without clutter, layers out of order or without those that claims are about, more images
        than there are, and options out of range.
    """
    layers, kinds, networks, n_seeds = (parameters[name] for name in ("layers", "kinds", "networks", "n_seeds"))
    clutter = [network.clutter for network in networks]
    checks.hold("networks", clutter, clutter[:1] == [True], "a list whose first has clutter, which claims need")
    apart = len({(network.data, network.padding) for network in networks}) == len(networks)
    checks.hold("networks", len(networks), apart, "a list in which data or padding differ")
    missing = {AGAINST[kind] for kind in kinds if kind in AGAINST} - set(kinds)
    checks.hold("kinds", kinds, not missing, "a list that has the student of labels beside other students")
    checks.choice("networks[0].damaged_layer", networks[0].damaged_layer, layers[2:-1])
    checks.choice("networks[0].encoder", networks[0].encoder, layers)
    checks.within("n_images", parameters["n_images"], 2, min(network.n_test for network in networks))
    checks.within("the length of segmentation", len(parameters["segmentation"]), 0, 1)
    for i, resnet in enumerate(parameters["resnets"]):
        checks.within(f"n_images of resnets[{i}]", resnet.n_images, 1, resnet.n_test // n_seeds)


@lru_cache(maxsize=1)  # whatever is measured on a network begins with it
def images(network: Network, seed: int) -> Splits:
    """The images of a network's training and test.

    Parameters
    ----------
    network : Network
        Data set and sizes, and whether there is clutter.
    seed : int
        Of the split, and of the clutter.

    Returns
    -------
    Splits
        Without validation images.
    """
    splits = datasets.load(network.data, n_train=network.n_train, n_val=0, n_test=network.n_test, seed=seed)
    return splits.cluttered(seed=seed) if network.clutter else splits


def train(network: Network, kind: str, seed: int) -> nn.Module:
    """The network of a kind and a seed; training is cached.

    Parameters
    ----------
    network : Network
        Its images, and how each kind is made.
    kind : str
        One of KINDS.
    seed : int
        Of images, weights, minibatches and permuted labels. "trained again" has the same images.

    Returns
    -------
    nn.Module
        In eval mode.

    Raises
    ------
    ValueError
        For another kind.
    """
    checks.choice("kind", kind, KINDS)
    n, splits = network, images(network, seed)
    data, few = splits.train, splits.train[: int(network.student_images * network.n_train)]
    again = TWIN + seed

    def new(width: int = n.width, seed: int = seed) -> nn.Module:
        return models.vgg6(width=width, in_shape=tuple(data.x.shape[1:]), padding=n.padding, seed=seed)

    start, student = new(), new(int(n.student_width * n.width))
    how: Schedule = {"epochs": n.epochs, "lr": n.lr, "batch_size": n.batch_size, "seed": seed}
    more: Schedule = {**how, "epochs": n.further_epochs, "lr": n.further_lr}
    long: Schedule = {**how, "epochs": n.student_epochs * n.epochs}

    def learnt(model: nn.Module = start, data: Data = data, how: Schedule = how) -> nn.Module:
        return store.trained(model, data, **how)

    def permuted() -> nn.Module:
        return learnt(data=splits.permuted_labels(seed=seed).train)

    def taught(teacher: nn.Module) -> nn.Module:
        return techniques.distilled(student, teacher, few, temperature=n.temperature, **long)

    return {
        "untrained": lambda: start.eval(),
        "trained": lambda: learnt(),
        "permuted labels": permuted,
        "trained again": lambda: learnt(new(seed=again), how={**how, "seed": again}),
        "one epoch": lambda: learnt(how={**how, "epochs": 1}),
        "student of labels": lambda: learnt(student, few, long),
        "student of the network": lambda: taught(learnt()),
        "student of permuted labels": lambda: taught(permuted()),
        "pruned": lambda: techniques.pruned(learnt(), n.pruned_share),
        "pruned, trained on": lambda: techniques.finetuned(techniques.pruned(learnt(), n.pruned_share), data, **more),
        "damaged": lambda: techniques.damaged(learnt(), n.damaged_layer, share=n.damaged_share, seed=seed),
        "trained on": lambda: techniques.finetuned(learnt(), data, **more),
        "attacked in training": lambda: techniques.adversarial(learnt(), data, eps=n.eps, steps=n.attack_steps, **more),
        "autoencoder": lambda: techniques.autoencoder(start, n.encoder, data, width=n.decoder_width, **how),
    }[kind]()


def descent(
    model: nn.Module, x: Tensor, layer: str, *, grid: int, rectify: bool = True, steps: int = 100, seed: int = 0
) -> Tensor:
    """The σ nearest to F = 1.5 of a gradient descent as in the authors' code, with new noise in each step.

    Parameters
    ----------
    model, x, layer, grid, rectify
        As `discarding.strict_information_discarding` takes them.
    steps : int
        Of the descent.
    seed : int
        Of the noise, eight samples in each step.

    Returns
    -------
    Tensor, shape (n, grid, grid)
        Not scaled to F = 1.5: `discarding.certify` does that.
    """
    x = activations.placed(model, x)
    generator, sigma = torch.Generator().manual_seed(seed), x.new_full((len(x), 1, grid, grid), 0.01)
    best, nearest, scale = sigma, x.new_full((len(x),), torch.inf), None
    with activations.upto(model, layer) as run:
        clean = run(x)[:, None]
        for step in range(steps + 1):
            sigma = sigma.clamp(1e-3, 1).requires_grad_()
            noise = torch.randn(8, *x.shape[1:], generator=generator, dtype=x.dtype).to(x.device)
            wide = interpolate(sigma, x.shape[2:])[:, None]
            moved = run((x[:, None] + wide * noise).flatten(0, 1)).unflatten(0, (len(x), 8))
            change = moved.relu() - clean.relu() if rectify else moved - clean
            distance = change.square().flatten(1).mean(1)
            scale = distance.detach() if scale is None else scale
            (gradient,) = torch.autograd.grad((distance / scale - 10 * sigma.log().mean((1, 2, 3))).sum(), sigma)
            gap = (distance.detach() / scale - 1.5).abs()
            best = torch.where((gap < nearest).view(-1, 1, 1, 1), sigma.detach(), best)
            nearest, sigma = torch.minimum(gap, nearest), sigma.detach() - 1e-4 * gradient * (step > 0)
    return best[:, 0]


def maps(network: Network, kind: str, seed: int, n: int, steps: int) -> dict[str, Tensor]:
    """Ranks of an image's cells by how much the last convolution depends on them, by five maps.

    Parameters
    ----------
    network, kind, seed
        As `train` takes them.
    n, steps : int
        Test images; steps of discarding's optimiser, at most.

    Returns
    -------
    dict from str to Tensor, shape (n, grid, grid)
        By the map's name, discarding first: there the cells of least discarding have the highest rank. From 1, ties
        have their mean rank.
    """
    x, model = images(network, seed).test.x[:n], train(network, kind, seed)
    found = discarding.measured(model, x, ["conv6"], steps=steps, seed=seed, **network.options)["conv6"]
    others = discarding.sensitivity, discarding.jacobian, discarding.perturbation, discarding.grad_cam
    drawn = {"discarding": -found.entropy} | {f.__name__: f(model, x, "conv6", grid=network.grid) for f in others}
    return {name: torch.tensor(stats.rankdata(t.flatten(1).cpu(), axis=1)).view(t.shape) for name, t in drawn.items()}


def agreement(network: Network, kind: str, seed: int, n: int, steps: int) -> pd.DataFrame:
    """Rank correlation over the cells of an image of each other map with that of discarding.

    Parameters
    ----------
    network, kind, seed, n, steps
        As `maps` takes them.

    Returns
    -------
    DataFrame
        A row for each image; columns kind, seed and each map, NaN for a constant one.
    """
    ranks = maps(network, kind, seed, n, steps).items()
    ours, *others = ((name, pd.DataFrame(t.flatten(1).numpy())) for name, t in ranks)
    return pd.DataFrame({name: ours[1].corrwith(t, axis=1) for name, t in others}).assign(kind=kind, seed=seed)


def comparability(network: Network, seed: int, n: int) -> pd.DataFrame:
    """How far maps of `conv4` differ between a trained network and networks that answer the same.

    Parameters
    ----------
    network, seed
        As `train` takes them.
    n : int
        Test images.

    Returns
    -------
    DataFrame
        As `discarding.comparability` gives it, with the seed; the last row is the untrained network.
    """
    model, untrained = (train(network, kind, seed).double() for kind in ("trained", "untrained"))
    louder = copy.deepcopy(model)
    louder.get_parameter("output.weight").data.mul_(10)
    pair = techniques.rescaled(model, "conv4", "conv5", 10.0)
    changed = {"scales 10 and 1/10": pair, "folded": techniques.folded(model), "logits times 10": louder}
    x, every = images(network, seed).test.x[:n], changed | {"untrained": untrained}
    return discarding.comparability(model, every, x, "conv4", grid=network.grid).assign(seed=seed)


def uncertainty(network: Network, layer: str, seed: int, n: int, steps: int) -> pd.DataFrame:
    """Reconstruction uncertainty of a layer of the trained network, from a decoder that is trained for it.

    Parameters
    ----------
    network, seed
        As `train` takes them.
    layer : str
        Name of the layer.
    n, steps : int
        Test images; steps of the optimiser, at most.

    Returns
    -------
    DataFrame
        A row for each form; columns layer, seed, form and bits, the mean over images.
    """
    model, splits = train(network, "trained", seed), images(network, seed)
    how: Schedule = {
        "epochs": network.decoder_epochs, "lr": network.decoder_lr, "batch_size": network.batch_size, "seed": seed
    }  # fmt: skip
    decode = techniques.decoder(model, layer, splits.train, width=network.decoder_width, **how)
    options = network.options | {"steps": steps, "seed": seed}
    r = discarding.reconstruction_uncertainty(model, splits.test.x[:n], layer, decode, **options)
    forms = {"code's form": r.code, "the same without noise": r.unperturbed, "around its mean": r.variance}
    return pd.DataFrame([{"layer": layer, "seed": seed, "form": f, "bits": float(t.mean())} for f, t in forms.items()])


def known(network: Network, seed: int, n: int, layers: Sequence[str], steps: int) -> pd.DataFrame:
    """What the known layers discard of a network's test images.

    Each is the image, faded off the object by a factor of 2^(1/4) once more, so that the k-th discards k / 4 bits more
    of the background.

    Parameters
    ----------
    network, seed
        As `images` takes them.
    n, steps : int
        Test images; steps of the optimiser, at most.
    layers : sequence of str
        Names of the layers.

    Returns
    -------
    DataFrame
        As `discarding.table` gives it, with the network's fields, the kind "known" and the seed.
    """
    x, box = images(network, seed).test.x[:n], discarding.box(network.grid)
    pixels = interpolate(box[None, None].to(x), x.shape[2:]).expand_as(x[:1])
    model = nb05_segmentation.known(pixels, layers, bits=0.25)
    found = discarding.measured(model, x, layers, steps=steps, seed=seed, **network.options)
    return discarding.table(found, box).assign(**records.columns(network), kind="known", seed=seed)


def public(resnet: ResNet, kind: str, seed: int, batch: int, steps: int) -> pd.DataFrame:
    """Discarding of blocks of a ResNet for CIFAR-10, evenly spread from the first to the last.

    Parameters
    ----------
    resnet : ResNet
        Depth, blocks and images.
    kind : str
        "trained" or "untrained".
    seed : int
        Of the noise, and of the weights of an untrained network.
    batch : int
        Number of the batch of test images, from 0.
    steps : int
        Of the optimiser, at most.

    Returns
    -------
    DataFrame
        As `discarding.table` gives it, with the record's fields, kind, seed and block, from 0.
    """
    model = models.resnet(resnet.depth, pretrained=kind == "trained", seed=seed).eval()
    blocks = activations.layers(model)[1:-1]  # between the stem and the output
    chosen = [blocks[round(i * (len(blocks) - 1) / (resnet.taps - 1))] for i in range(resnet.taps)]
    test = datasets.load("cifar10", n_train=0, n_val=0, n_test=resnet.n_test, seed=0).test
    x = test.x[batch * resnet.n_images :][: resnet.n_images]
    table = discarding.table(discarding.measured(model, x, chosen, steps=steps, seed=seed, **resnet.options))
    return table.assign(**records.columns(resnet), kind=kind, seed=seed, block=table["layer"].map(chosen.index))
