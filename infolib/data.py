"""Samples with labels, their splits, and an order of them in which every prefix is balanced."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Data:
    """Samples with labels; an index, slice or mask gives the same rows of both.

    Parameters
    ----------
    x : Tensor, shape (n, c, h, w) or (n, d)
        Samples, float32 in [0, 1].
    y : Tensor, shape (n,)
        Labels, int64.

    Examples
    --------
    >>> data = Data(torch.rand(5, 1, 8, 8), torch.tensor([0, 1, 0, 1, 0]))
    >>> len(data), data[:2].y.tolist()
    (5, [0, 1])
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: slice | Tensor) -> "Data":
        return Data(self.x[index], self.y[index])


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

        Examples
        --------
        >>> part = Data(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1]))
        >>> control = Splits(part, part, part, "zeros", {}).permuted_labels(seed=0)
        >>> sorted(control.train.y.tolist())
        [0, 0, 1, 1]
        """
        generator = torch.Generator().manual_seed(seed)
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
        Labels, integers of at least 0.
    generator : torch.Generator
        Source of the random order within each class.

    Returns
    -------
    Tensor, shape (n,)
        Indices of the samples, int64.

    Examples
    --------
    >>> y = torch.tensor([0, 0, 0, 0, 1, 1])
    >>> order = stratified_order(y, torch.Generator().manual_seed(0))
    >>> y[order[:3]].sum().item(), y[order[3:]].sum().item()
    (1, 1)
    """
    shuffled = torch.randperm(len(y), generator=generator)
    y = y[shuffled]
    by_class = y.argsort(stable=True)
    size = y.bincount()
    start = size.cumsum(0) - size
    rank = torch.empty_like(y)
    rank[by_class] = torch.arange(len(y)) - start[y[by_class]]
    place = (rank + 0.5).double() / size[y]
    return shuffled[place.argsort(stable=True)]  # stable: equal places keep their random order
