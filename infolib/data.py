"""Samples with labels, their splits, and an order of them in which every prefix is balanced."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Data:
    """Samples `x`, float32 in [0, 1], of shape (n, c, h, w) or (n, d), with labels `y`, int64 of shape (n,)."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: slice | Tensor) -> "Data":
        return Data(self.x[index], self.y[index])


@dataclass(frozen=True, eq=False)
class Splits:
    """Disjoint train, validation and test data, the set's name, and the SHA-256 of each file they come from."""

    train: Data
    val: Data
    test: Data
    name: str
    sha256: Mapping[str, str]

    def permuted_labels(self, *, seed: int) -> "Splits":
        """The same images with labels permuted within each part: a control in which there is nothing to learn."""
        generator = torch.Generator().manual_seed(seed)
        parts = (self.train, self.val, self.test)
        shuffled = [Data(part.x, part.y[torch.randperm(len(part), generator=generator)]) for part in parts]
        return Splits(*shuffled, self.name, self.sha256)


def stratified_order(y: Tensor, generator: torch.Generator) -> Tensor:
    """A random order of the labels `y` in which every prefix is as balanced as the whole; indices, shape (n,).

    The i-th sample of a class of size m stands at (i + 1/2) / m, Webster's rule of apportionment: with C classes, none
    of a share above 1 / (C - 2), each prefix holds each class in its proportion to within one sample.
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
