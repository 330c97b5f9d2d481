"""Samples with labels, their splits, and an order of them in which every prefix is balanced."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from infolib import checks

MOST = 20_000  # samples of a Dataset or DataLoader that are taken into memory


@dataclass(frozen=True, eq=False)
class Data:
    """Samples with labels; an index, slice or mask gives the same rows of both.

    Parameters
    ----------
    x : Tensor, shape (n, c, h, w) or (n, d), or tuple or mapping of tensors
        Samples, or several inputs with a row for each. An array or a data frame becomes a tensor, its float64 torch's
        default.
    y : Tensor, shape (n,) or (n, labels)
        Labels, int64; where a function says so, several labels of each sample, or numbers. An array or a series becomes
        a tensor.

    Raises
    ------
    ValueError
        For x and y of different lengths, and for anything but arrays of numbers.

    Examples
    --------
    >>> data = Data(torch.rand(5, 1, 8, 8), torch.tensor([0, 1, 0, 1, 0]))
    >>> len(data), data[:2].y.tolist()
    (5, [0, 1])
    """

    x: Any
    y: Tensor

    def __post_init__(self) -> None:
        for name, check in (("x", checks.inputs), ("y", checks.samples)):
            if not isinstance(value := getattr(self, name), Tensor):  # a check of every value only here: rows are many
                object.__setattr__(self, name, check(name, value, empty=True))
        x = checks.leaves(self.x)[0]
        if x.ndim == 0 or self.y.ndim == 0 or len(x) != len(self.y):
            shapes = tuple(x.shape), tuple(self.y.shape)
            raise ValueError("x and y must have one row for each sample, got shapes {} and {}".format(*shapes))

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: slice | Tensor) -> "Data":
        return Data(checks.each(itemgetter(index), self.x), self.y[index])

    def shuffled(self, generator: torch.Generator) -> "Data":
        """The samples in random order.

        Parameters
        ----------
        generator : torch.Generator
            The order is its next draw.

        Returns
        -------
        Data
            All samples, each with its label.

        Examples
        --------
        >>> data = Data(torch.arange(9.0)[:, None], torch.arange(9)).shuffled(torch.Generator().manual_seed(0))
        >>> sorted(data.y.tolist()) == list(range(9)), torch.equal(data.x[:, 0], data.y.float())
        (True, True)
        """
        return self[torch.randperm(len(self), generator=generator)]

    def permuted_labels(self, generator: torch.Generator) -> "Data":
        """The same samples with their labels permuted: a control in which there is nothing to learn.

        Parameters
        ----------
        generator : torch.Generator
            The order of the labels is its next draw.

        Returns
        -------
        Data
            All samples, each with the label of another one or its own.

        Examples
        --------
        >>> data = Data(torch.arange(9.0)[:, None], torch.arange(9) % 3)
        >>> data = data.permuted_labels(torch.Generator().manual_seed(0))
        >>> data.y.bincount().tolist(), data.x[:3, 0].tolist()
        ([3, 3, 3], [0.0, 1.0, 2.0])
        """
        return Data(self.x, self.shuffled(generator).y)

    def noisy_labels(self, share: float, *, classes: int = 10, generator: torch.Generator) -> "Data":
        """The same samples, a fraction of them with labels drawn at random from all classes.

        Parameters
        ----------
        share : float
            Probability from 0 to 1 that a label is drawn anew; by chance it may stay the same.
        classes : int
            How many classes to draw from.
        generator : torch.Generator
            It draws which labels change, and then the new labels.

        Returns
        -------
        Data
            All samples in the same order.

        Raises
        ------
        ValueError
            For a share that is not a probability, and for no classes.

        Examples
        --------
        >>> data, draw = Data(torch.zeros(1000, 1), torch.zeros(1000).long()), torch.Generator().manual_seed(0)
        >>> changed = data.noisy_labels(0.5, generator=draw).y > 0
        >>> 0.4 < changed.double().mean() < 0.5  # nine tenths of a half
        tensor(True)
        """
        checks.within("share", share, 0, 1)
        redrawn = torch.rand(len(self), generator=generator) < share
        drawn = torch.randint(checks.at_least("classes", classes, 1), (len(self),), generator=generator)
        return Data(self.x, torch.where(redrawn, drawn, self.y))

    def permuted_pixels(self, *, seed: int) -> "Data":
        """The same images with their pixels in another order, one order for all images.

        Parameters
        ----------
        seed : int
            Seed of the order.

        Returns
        -------
        Data
            Images of the same shape.

        Examples
        --------
        >>> image = Data(torch.arange(4.0).reshape(1, 1, 2, 2), torch.zeros(1).long()).permuted_pixels(seed=0)
        >>> image.x.shape, sorted(image.x.flatten().tolist())
        (torch.Size([1, 1, 2, 2]), [0.0, 1.0, 2.0, 3.0])
        """
        order = torch.randperm(self.x[0].numel(), generator=torch.Generator().manual_seed(seed))
        return Data(self.x.flatten(1)[:, order].reshape(self.x.shape), self.y)

    def of_classes(self, classes: Sequence[int], *, renumber: bool = True) -> "Data":
        """The samples of some classes.

        Parameters
        ----------
        classes : sequence of int
            Labels, each once.
        renumber : bool
            Whether labels become indices into `classes`, from 0; otherwise they stay.

        Returns
        -------
        Data
            Samples of these classes alone, in the same order.

        Raises
        ------
        ValueError
            For no classes, and for classes that are not integers.

        Examples
        --------
        >>> data = Data(torch.zeros(6, 1), torch.arange(6))
        >>> data.of_classes([3, 4]).y.tolist(), data.of_classes([3, 4], renumber=False).y.tolist()
        ([0, 1], [3, 4])
        """
        wanted = checks.integers("classes", classes)
        chosen = self[torch.isin(self.y, wanted)]
        return Data(chosen.x, (chosen.y[:, None] == wanted).long().argmax(1)) if renumber else chosen

    @staticmethod
    def joined(parts: "Sequence[Data]") -> "Data":
        """The samples of all parts, one part after the other.

        Parameters
        ----------
        parts : sequence of Data
            At least one, with samples of one shape.

        Returns
        -------
        Data
            As many samples as there are in all parts.

        Examples
        --------
        >>> data = Data(torch.zeros(3, 1), torch.arange(3))
        >>> Data.joined([data, data[:1]]).y.tolist()
        [0, 1, 2, 0]
        """
        xs = [checks.leaves(part.x) for part in parts]
        joined = map(torch.cat, zip(*xs, strict=True))
        return Data(checks.each(lambda _: next(joined), parts[0].x), torch.cat([part.y for part in parts]))


def labelled(name: str, data: Any, *, empty: bool = False) -> Data:
    """`data` if it holds finite samples with class labels.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    data : Data
        Samples with labels from 0.
    empty : bool
        Whether there may be no samples.

    Returns
    -------
    Data
        The samples with labels of type int64.

    Raises
    ------
    ValueError
        For anything but `Data`, no samples unless `empty`, samples that are not finite real numbers, and labels that
        are not integers of shape (n,) or are below 0, such as -100.

    Examples
    --------
    >>> labelled("data", Data(torch.rand(2, 3), torch.tensor([0, -100])))
    Traceback (most recent call last):
    ValueError: the labels of data must be at least 0, got -100
    """
    checks.of_type(name, data, Data, "infolib.Data(x, y)")
    checks.of_type(f"x of {name}", data.x, Tensor, "a tensor")
    if len(data) == 0 and empty:
        return data
    x, y = checks.samples(f"x of {name}", data.x), checks.labels(f"the labels of {name}", data.y)
    if y.min() < 0:
        raise ValueError(f"the labels of {name} must be at least 0, got {int(y.min())}")
    return Data(x, y)


def gathered(name: str, data: Any) -> Data:
    """Samples with their targets, in whatever form they come.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    data : Data, (x, y), Dataset or DataLoader
        Of a Dataset each sample, of a DataLoader each batch is (x, y), or a mapping with the labels as "labels",
        "label" or "y"; at most MOST samples. A list of two tuples, or of two mappings, is a Dataset of two samples.

    Returns
    -------
    Data
        All samples, with targets as `checks.targets` has them.

    Raises
    ------
    ValueError
        For data in another form, too many samples or none, samples that are not finite numbers, and as
        `checks.targets`.

    Examples
    --------
    >>> gathered("data", [(torch.zeros(3), 1), (torch.ones(3), 0), (torch.ones(3), 1)]).y
    tensor([1, 0, 1])
    """
    whole = isinstance(data, tuple | list) and len(data) == 2 and all(hasattr(y, "__len__") for y in data)
    if whole and not (isinstance(data, list) and all(isinstance(one, tuple | Mapping) for one in data)):
        data = Data(*data)
    if not isinstance(data, Data):
        if isinstance(data, str | Mapping) or not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
            what = "infolib.Data(x, y), a pair (x, y), a Dataset or a DataLoader"
            raise ValueError(f"{name} must be {what}, got {type(data).__name__}")
        pieces, n = [], 0
        one = getattr(data, "batch_sampler", None) is None  # a DataLoader has one, and gives batches
        for item in data if hasattr(data, "__iter__") else map(data.__getitem__, range(len(data))):
            pieces.append(_piece(name, item, one))
            if (n := n + len(pieces[-1])) > MOST:
                raise ValueError(f"{name} has more than {MOST} samples: give a part, such as torch.utils.data.Subset")
        checks.at_least(f"the number of samples of {name}", n, 1)
        data = Data.joined(pieces)
    return Data(checks.inputs(f"x of {name}", data.x), checks.targets(f"the labels of {name}", data.y))


def _piece(name: str, item: Any, one: bool) -> Data:
    """A sample or a batch of a Dataset or DataLoader."""
    if isinstance(item, Mapping) and (key := next((key for key in ("labels", "label", "y") if key in item), None)):
        item = {other: value for other, value in item.items() if other != key}, item[key]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise ValueError(f"each of {name} must be (x, y) or a mapping with labels, got {type(item).__name__}")
    x, y = tuple(item[0]) if isinstance(item[0], list) else item[0], item[1]
    if not one:
        return Data(x, y)
    if isinstance(x, Mapping):
        return Data({key: torch.as_tensor(part)[None] for key, part in x.items()}, torch.as_tensor(y)[None])
    return Data(checks.each(lambda t: checks.samples(f"x of {name}", t)[None], x), torch.as_tensor(y)[None])


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set in three disjoint parts, with its origin.

    Parameters
    ----------
    train, val, test : Data
        The parts.
    name : str
        Name of the data set.
    sha256 : mapping of str to str
        SHA-256 of each file that the data come from, by file name.
    """

    train: Data
    val: Data
    test: Data
    name: str
    sha256: Mapping[str, str]

    def permuted_labels(self, *, seed: int) -> "Splits":
        """The same samples with permuted labels: a control without anything to learn.

        Parameters
        ----------
        seed : int
            Seed of the permutations, one within each part.

        Returns
        -------
        Splits
            The parts have the samples and the label counts of the original.

        Raises
        ------
        ValueError
            For a seed that is not an integer of at least 0.

        Examples
        --------
        >>> part = Data(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1]))
        >>> control = Splits(part, part, part, "zeros", {}).permuted_labels(seed=0)
        >>> sorted(control.train.y.tolist())
        [0, 0, 1, 1]
        """
        generator = torch.Generator().manual_seed(checks.at_least("seed", seed, 0))
        return self.each(lambda part: part.permuted_labels(generator))

    def each(self, change: Callable[[Data], Data]) -> "Splits":
        """The same change of train, validation and test data, one after the other.

        Parameters
        ----------
        change : callable
            From the data of one part to other data.

        Returns
        -------
        Splits
            With the same name and files.

        Examples
        --------
        >>> data = Data(torch.zeros(3, 1), torch.arange(3))
        >>> len(Splits(data, data, data, "three", {}).each(lambda part: part[:2]).test)
        2
        """
        return replace(self, train=change(self.train), val=change(self.val), test=change(self.test))

    def cluttered(self, *, patches: int = 8, seed: int = 0) -> "Splits":
        """The images in the centre of a canvas 1.5 times their side, with clutter around them.

        So the object's box is known: the central two thirds of the canvas. The clutter consists of squares of half an
        image's side, cut out of other images of the same part and placed along the edges of the canvas; where they
        overlap, the brighter pixel counts. None covers the object's box.

        Parameters
        ----------
        patches : int
            Number of squares around each image.
        seed : int
            Seed of what is cut out and where it is placed.

        Returns
        -------
        Splits
            Images of shape (n, c, 1.5 side, 1.5 side), named "cluttered" and their own name.

        Raises
        ------
        ValueError
            For images that are not square, whose side is not a multiple of 4, and for a part of a single image.

        Examples
        --------
        >>> data = Data(torch.ones(2, 1, 4, 4), torch.arange(2))
        >>> splits = Splits(data, data, data[:0], "white", {}).cluttered(patches=0)
        >>> splits.name, splits.train.x.shape, splits.train.x[0].sum()
        ('cluttered white', torch.Size([2, 1, 6, 6]), tensor(16.))
        """
        checks.at_least("patches", patches, 0)
        generator = torch.Generator().manual_seed(checks.at_least("seed", seed, 0))
        parts = self.each(lambda part: Data(_clutter(part.x, patches, generator), part.y))
        return replace(parts, name=f"cluttered {self.name}")


def stratified_order(y: Tensor, generator: torch.Generator) -> Tensor:
    """A random order of samples in which every prefix has about the class proportions of the whole.

    The i-th sample of a class of size m has the place (i + 1/2) / m, Webster's rule of apportionment. With C classes,
    none above a fraction 1 / (C - 2), each prefix has the right number of each class to within one sample.

    Parameters
    ----------
    y : Tensor, shape (n,)
        Labels, any integers.
    generator : torch.Generator
        Source of the random order within each class.

    Returns
    -------
    Tensor, shape (n,)
        Indices of the samples, int64.

    Raises
    ------
    ValueError
        For labels that are not integers of shape (n,), no labels, and for another kind of generator.

    Examples
    --------
    >>> y = torch.tensor([0, 0, 0, 0, 1, 1])
    >>> order = stratified_order(y, torch.Generator().manual_seed(0))
    >>> y[order[:3]].sum().item(), y[order[3:]].sum().item()
    (1, 1)
    """
    y = checks.labels("y", y).unique(return_inverse=True)[1].cpu()
    checks.of_type("generator", generator, torch.Generator, "a torch.Generator")
    shuffled = torch.randperm(len(y), generator=generator)
    y = y[shuffled]
    by_class = y.argsort(stable=True)
    size = y.bincount()
    start = size.cumsum(0) - size
    rank = torch.empty_like(y)
    rank[by_class] = torch.arange(len(y)) - start[y[by_class]]
    place = (rank + 0.5).double() / size[y]
    return shuffled[place.argsort(stable=True)]  # stable: equal places keep their random order


def _clutter(x: Tensor, patches: int, generator: torch.Generator) -> Tensor:
    n, side = len(x), x.shape[-1]
    if side % 4 or x.shape[-2] != side or n == 1:
        what = "images must be square, with a side that is a multiple of 4, and more than one"
        raise ValueError(f"{what}, got shape {tuple(x.shape)}")
    draw = partial(torch.randint, generator=generator)
    size, border = side // 2, side // 4
    canvas = x.new_zeros(*x.shape[:-2], side + 2 * border, side + 2 * border)
    far, square = canvas.shape[-1] - size, torch.arange(size)
    image = torch.arange(n)[:, None, None]
    for _ in range(patches if n else 0):
        other = (image + draw(1, n, (n, 1, 1))) % n
        row, column = (draw(side - size + 1, (n, 1)) + square for _ in range(2))
        edge, along, upright = draw(2, (n, 1)) * far, draw(far + 1, (n, 1)), draw(2, (n, 1)).bool()
        to_row, to_column = (torch.where(way, edge, along) + square for way in (upright, ~upright))
        cut = x[other, :, row[:, :, None], column[:, None, :]]  # (n, size, size, c): advanced indices come first
        place = (image, slice(None), to_row[:, :, None], to_column[:, None, :])
        canvas[place] = torch.maximum(canvas[place], cut)
    canvas[..., border : border + side, border : border + side] = x
    return canvas
