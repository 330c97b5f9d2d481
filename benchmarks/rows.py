"""The comparisons. Each reference is the algorithm as one would first write it down."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

from infolib import datasets, models, training


class Row(NamedTuple):
    """One comparison: both calls return the same tensor up to `tolerance`; `goal` is the ratio we want to reach."""

    name: str
    ours: Callable[[], Any]
    reference: Callable[[], Any]
    goal: str
    tolerance: float = 1e-4


def all_rows() -> Iterator[Row]:
    yield from training_rows()


def training_rows() -> Iterator[Row]:
    """Three epochs of a small perceptron, without any of the workbook's bookkeeping; weights compared."""
    data = datasets.load("digits", seed=0).train

    def ours():
        net = models.mlp([64, 100, 100, 10], seed=0)
        for _ in training.fit(net, data, epochs=3, batch_size=32, lr=1e-3, seed=0):
            pass
        return net.output.weight.detach()

    def bare_loop():
        net = models.mlp([64, 100, 100, 10], seed=0)
        optimiser = torch.optim.Adam(net.parameters(), 1e-3, fused=True)
        generator = torch.Generator().manual_seed(0)
        for _ in range(3):
            for batch in torch.randperm(len(data), generator=generator).split(32):
                optimiser.zero_grad()
                nn.functional.cross_entropy(net(data.x[batch]), data.y[batch]).backward()
                optimiser.step()
        return net.output.weight.detach()

    yield Row(
        "`training.fit`, 64-100-100-10 on digits, against a bare loop", ours, bare_loop, "at least 0.77 × (1/1.3)"
    )
