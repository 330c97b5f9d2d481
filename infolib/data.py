"""Samples with labels, their splits, and an order of them in which every prefix is balanced."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infolib import checks


@dataclass(frozen=True, eq=False)
class Data:
    """Samples with labels; an index, slice or mask gives the same rows of both.

    Parameters
    ----------
    x : Tensor, shape (n, c, h, w) or (n, d)
        Samples, float32 in [0, 1]. An array or a data frame becomes a tensor, its float64 torch's default.
    y : Tensor, shape (n,)
        Labels, int64. An array or a series becomes a tensor.

    Raises
    ------
    ValueError
        For x and y of different lengths, and for what is no array of numbers.

    Examples
    --------
    >>> data = Data(torch.rand(5, 1, 8, 8), torch.tensor([0, 1, 0, 1, 0]))
    >>> len(data), data[:2].y.tolist()
    (5, [0, 1])
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            if not isinstance(value := getattr(self, name), Tensor):  # a check of every value only here: rows are many
                object.__setattr__(self, name, checks.samples(name, value, empty=True))
        if self.x.ndim == 0 or self.y.ndim == 0 or len(self.x) != len(self.y):
            shapes = tuple(self.x.shape), tuple(self.y.shape)
            raise ValueError("x and y must have one row for each sample, got shapes {} and {}".format(*shapes))

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: slice | Tensor) -> "Data":
        return Data(self.x[index], self.y[index])


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
        For anything but `Data`, no samples unless `empty`, samples that are no finite real numbers, and labels that are
        no integers of shape (n,) or are below 0, such as -100.

    Examples
    --------
    >>> labelled("data", Data(torch.rand(2, 3), torch.tensor([0, -100])))
    Traceback (most recent call last):
    ValueError: the labels of data must be at least 0, got -100
    """
    checks.of_type(name, data, Data, "infolib.Data(x, y)")
    if len(data) == 0 and empty:
        return data
    x, y = checks.samples(f"x of {name}", data.x), checks.labels(f"the labels of {name}", data.y)
    if y.min() < 0:
        raise ValueError(f"the labels of {name} must be at least 0, got {int(y.min())}")
    return Data(x, y)


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
            For a seed that is no integer of at least 0.

        Examples
        --------
        >>> part = Data(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1]))
        >>> control = Splits(part, part, part, "zeros", {}).permuted_labels(seed=0)
        >>> sorted(control.train.y.tolist())
        [0, 0, 1, 1]
        """
        generator = torch.Generator().manual_seed(checks.at_least("seed", seed, 0))
        train, val, test = (
            Data(part.x, part.y[torch.randperm(len(part), generator=generator)])
            for part in (self.train, self.val, self.test)
        )
        return Splits(train, val, test, self.name, self.sha256)


def stratified_order(y: Tensor, generator: torch.Generator) -> Tensor:
    """A random order of samples in which every prefix has about the class proportions of the whole.

    The i-th sample of a class of size m has the place (i + 1/2) / m, Webster's rule of apportionment. With C classes,
    none above a fraction 1 / (C - 2), each prefix has each class in its proportion to within one sample.

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
        For labels that are no integers of shape (n,), no labels, and for another kind of generator.

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
