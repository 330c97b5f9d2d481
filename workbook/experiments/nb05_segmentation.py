"""Notebook 05: a small U-Net that finds membranes in electron microscopy, and what it discards off and on them."""

import copy
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import pandas as pd
import torch
from torch import Tensor, nn

from infolib import activations, checks
from infolib.data import Data
from infolib.measures import discarding
from workbook import datasets, models, techniques
from workbook.records import Count, Part, Positive, Rate, Two, Units, between

KINDS = ("trained", "untrained", "other sections' labels", "shuffled labels")
Layer = Literal["enc1", "enc2", "bottom", "dec2", "dec1", "output"]


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """A U-Net of depth 2 on crops of sections, and where its discarding is looked at. Shares are of 1."""

    n_networks: Annotated[int, between(2, 1000)]  # of each kind
    n_train: Two = 20  # sections, from the first of the stack on
    n_test: Two = 10  # sections, the last of the stack
    side: Annotated[int, between(8, 256)] = 64  # pixels along a side of a crop
    n_crops: Count = 24  # of each section to train on
    n_shown: Count = 2  # crops of each section whose discarding is measured
    least: Part = 0.15  # share of a crop's pixels that are membrane
    most: Part = 0.5  # share of a crop's pixels that are membrane
    width: Units = 8  # maps of the first layer
    epochs: Count = 5  # passes through the crops
    lr: Rate = 3e-3  # learning rate
    batch_size: Two = 8  # crops in a training step
    layer: Layer = "dec1"  # whose discarding is measured
    grid: Two = 16  # cells along a side of a crop
    bins: Two = 8  # of the intensity of a crop's cells, equally full
    sigma0: Positive = 0.01  # unit of noise; pixels are in [0, 1]
    alpha: Positive = 1.5  # change of the layer's output that is allowed, relative to that under noise of sigma0

    def __post_init__(self) -> None:
        stack = datasets.checksums()["isbi2012"]
        checks.within("n_train", self.n_train, 2, stack["samples"] - self.n_test)
        fits = self.side % 4 == 0 and self.side % self.grid == 0
        checks.hold("side", self.side, fits, f"a multiple of 4 and of grid={self.grid}")
        checks.within("most", self.most, self.least)
        for name in ("n_crops", "n_shown"):
            checks.within(name, getattr(self, name), 1, (stack["shape"][-1] // self.side - 1) ** 2)

    @property
    def options(self) -> dict[str, Any]:
        """What `discarding.measured` takes."""
        return {name: getattr(self, name) for name in ("grid", "sigma0", "alpha")}


def crops(data: Data, n: int, segmentation: Segmentation, seed: int) -> Data:
    """Crops of each section that do not overlap, evenly spread over the shares of membrane that there are.

    Parameters
    ----------
    data : Data
        Sections (sections, c, h, w) and the labels of their pixels (sections, h, w), 1 on a membrane.
    n : int
        Crops of each section.
    segmentation : Segmentation
        Side of a crop; least and most share of membrane.
    seed : int
        Of the place of the first crop in each section.

    Returns
    -------
    Data
        Shapes (sections * n, c, side, side) and (sections * n, side, side): section by section, by membrane.

    Raises
    ------
    ValueError
        For labels of another size than the sections, and for more crops than there are.

    Examples
    --------
    >>> masks = (torch.arange(36) % 6 > 3).expand(2, 36, 36).long()
    >>> how = Segmentation(n_networks=2, side=12, grid=6)
    >>> some = crops(Data(torch.rand(2, 1, 36, 36), masks), 3, how, seed=0)
    >>> some.x.shape, round(some.y.float().mean().item(), 3)
    (torch.Size([6, 1, 12, 12]), 0.333)
    """
    s, shape, (h, w) = segmentation, tuple(data.y.shape), data.x.shape[2:]
    checks.hold("the shape of the masks", shape, shape == (len(data), h, w), f"{(len(data), h, w)}, as of the images")
    down, across = ((length // s.side - 1) * s.side for length in (h, w))
    generator, found = torch.Generator().manual_seed(seed), []
    for i, (image, mask) in enumerate(zip(data.x, data.y, strict=True)):
        top, left = torch.randint(s.side + 1, (2,), generator=generator).tolist()
        both = torch.cat([image, mask[None].to(image)])[:, top : top + down, left : left + across]
        tiles = both.unfold(1, s.side, s.side).unfold(2, s.side, s.side).flatten(1, 2).movedim(1, 0)
        share = tiles[:, -1].mean((1, 2))
        order = share.argsort(stable=True)
        order = order[(share[order] >= s.least) & (share[order] <= s.most)]
        checks.within(f"crops of section {i}, which has {len(order)} with enough membrane,", n, 1, len(order))
        found.append(tiles[order[(torch.arange(n) + 0.5).mul(len(order) / n).long()]])
    every = torch.cat(found)
    return Data(every[:, :-1].contiguous(), every[:, -1].long())


def train(segmentation: Segmentation, kind: str, seed: int) -> nn.Module:
    """The U-Net of a kind and a seed; training is cached.

    Parameters
    ----------
    segmentation : Segmentation
        Sections, crops and training.
    kind : str
        One of KINDS. "untrained" has the statistics of batch normalisation of the training crops; "other sections'
        labels" come from one section for all crops of another; "shuffled labels" are shuffled within a crop.
    seed : int
        Of crops, weights, minibatches and labels.

    Returns
    -------
    nn.Module
        In eval mode.

    Raises
    ------
    ValueError
        For another kind, and as `crops`.
    FileNotFoundError
        If the sections are not here; `infolib data --download isbi2012` gets them.
    """
    checks.choice("kind", kind, KINDS)
    s, generator = segmentation, torch.Generator().manual_seed(seed)
    sections = datasets.sections(n_train=s.n_train, n_test=s.n_test)
    data = crops(sections.train, s.n_crops, s, seed)
    start = models.unet(width=s.width, seed=seed)
    if kind == "untrained":
        return techniques.normalised(start, data.x)
    labels = data.y
    if kind == "shuffled labels":
        order = torch.rand(labels.flatten(1).shape, generator=generator).argsort(1)
        labels = labels.flatten(1).gather(1, order).view_as(labels)
    elif kind == "other sections' labels":
        labels = labels.roll(s.n_crops * int(torch.randint(1, s.n_train, (), generator=generator)), 0)
    how: techniques.Schedule = {"epochs": s.epochs, "lr": s.lr, "batch_size": s.batch_size, "seed": seed}
    return techniques.segmenting(start, data.x, labels, **how)


def shown(segmentation: Segmentation, seed: int) -> Data:
    """The crops whose discarding is measured, for each seed others.

    Parameters
    ----------
    segmentation : Segmentation
        Sections and crops.
    seed : int
        Of the crops.

    Returns
    -------
    Data
        As `crops` gives them.
    """
    s = segmentation
    return crops(datasets.sections(n_train=s.n_train, n_test=s.n_test).test, s.n_shown, s, seed)


def known(mask: Tensor, layers: Sequence[str], *, bits: float = 1.0) -> nn.Module:
    """A network whose layers each fade the image off a mask by 2^bits once more: so much more they discard there.

    Parameters
    ----------
    mask : Tensor, shape (h, w) or (c, h, w)
        1 on the object, else 0.
    layers : sequence of str
        Their names.
    bits : float
        What each layer adds.

    Returns
    -------
    nn.Module
        In eval mode.
    """
    fading = nn.BatchNorm1d(mask.numel())  # in eval mode a factor for each pixel, and the same for all
    fading.weight.data = 2 ** (bits * (mask.flatten() - 1.0))
    each = {layer: copy.deepcopy(fading) for layer in layers}
    return nn.Sequential(OrderedDict(flatten=nn.Flatten(), **each)).eval()


def contrast(entropy: Tensor, on: Tensor, brightness: Tensor, bins: int) -> Tensor:
    """Mean discarding of the cells off the membranes minus of those on them, in bits, at equal brightness.

    The difference is taken in each bin of brightness that has both, with weight n_off n_on / (n_off + n_on), the
    inverse of its variance. With one bin it is the plain difference of means.

    Parameters
    ----------
    entropy : Tensor, shape (n, grid, grid)
        H_i in bits.
    on : Tensor, shape (n, grid, grid)
        Boolean: cells on a membrane.
    brightness : Tensor, shape (n, grid, grid)
        Mean of a cell's pixels.
    bins : int
        Of each crop's cells by brightness, equally full.

    Returns
    -------
    Tensor, shape (n,)
        NaN for crops in which no bin has both.

    Raises
    ------
    ValueError
        For masks or brightness of another size.

    Examples
    --------
    >>> on = torch.tensor([[[True, False], [True, False]]])
    >>> bright = torch.tensor([[[0.1, 0.2], [0.8, 0.9]]])
    >>> [contrast(torch.tensor([[[1.0, 3.0], [2.0, 3.0]]]), on, bright, bins).item() for bins in (1, 2)]
    [1.5, 1.5]
    """
    shape = tuple(entropy.shape)
    for name, cells in (("on", on), ("brightness", brightness)):
        checks.hold(f"the shape of {name}", tuple(cells.shape), cells.shape == shape, f"{shape}, as of entropy")
    rank = brightness.flatten(1).argsort(stable=True, dim=1).argsort(1)
    cells, place = entropy.double().flatten(1), rank * checks.at_least("bins", bins, 1) // rank.shape[1]
    sides = [side.flatten(1).double() for side in (~on, on)]
    sums = partial(cells.new_zeros(len(cells), bins).scatter_add, 1, place)  # over the cells of each bin
    (off, there), (h_off, h_on) = map(sums, sides), (sums(side * cells) for side in sides)
    weight = off * there / (off + there).clamp_min(1)
    gap = h_off / off.clamp_min(1) - h_on / there.clamp_min(1)
    return (weight * gap).sum(1) / weight.sum(1)


def contrasts(entropy: Tensor, data: Data, segmentation: Segmentation) -> pd.DataFrame:
    """What is discarded off the membranes minus on them, a row for each crop.

    Parameters
    ----------
    entropy : Tensor, shape (n, grid, grid)
        H_i in bits.
    data : Data
        The crops, as `shown` gives them. A cell is on a membrane if half of its pixels are.
    segmentation : Segmentation
        Cells, bins and crops of a section.

    Returns
    -------
    DataFrame
        Columns: section, from 0 for the first that is looked at; raw and matched, in bits.

    Raises
    ------
    ValueError
        As `contrast` does.
    """
    pool, bins = nn.AvgPool2d(data.x.shape[-1] // segmentation.grid), {"raw": 1, "matched": segmentation.bins}
    on, brightness = pool(data.y.float()) >= 0.5, pool(data.x.mean(1))
    columns = {name: contrast(entropy.cpu(), on, brightness, n).numpy() for name, n in bins.items()}
    return pd.DataFrame({"section": torch.arange(len(data)).numpy() // segmentation.n_shown} | columns)


def measure(segmentation: Segmentation, kind: str, seed: int, steps: int) -> pd.DataFrame:
    """What a network discards off the membranes minus on them, a row for each crop.

    Parameters
    ----------
    segmentation, kind, seed
        As `train` takes them; the kind may also be "known layer", the image halved off the membranes.
    steps : int
        Of discarding's optimiser, at most.

    Returns
    -------
    DataFrame
        As `contrasts` gives it, with kind, seed and accuracy, the fraction of a crop's pixels that are right.

    Raises
    ------
    ValueError
        As `train` does.
    """
    data, how = shown(segmentation, seed), segmentation.options | {"steps": steps, "seed": seed}
    right, layer = math.nan, segmentation.layer
    if kind == "known layer":
        pairs = zip(data.x, (known(mask, ["known"]) for mask in data.y), strict=True)
        found = [discarding.measured(model, x[None], ["known"], **how)["known"].entropy for x, model in pairs]
    else:
        model = train(segmentation, kind, seed)
        found = [discarding.measured(model, data.x, [layer], **how)[layer].entropy]
        with torch.no_grad():
            right = (activations.forward(model, data.x).argmax(1).cpu() == data.y).double().mean((1, 2)).numpy()
    return contrasts(torch.cat(found), data, segmentation).assign(kind=kind, seed=seed, accuracy=right)
