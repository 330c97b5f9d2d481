"""The former training of many perceptrons at once: a deep copy of each, and scores with the classes along the rows."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from infolib.data import Data


def train_many(
    models: Sequence[nn.Sequential], data: Sequence[Data], *, steps: int, seed: Sequence[int]
) -> list[nn.Sequential]:
    """As `infolib.training.train_many` at its defaults, to the last bit.

    Parameters
    ----------
    models : sequence of nn.Sequential
        ReLU perceptrons of one shape.
    data : sequence of Data
        Samples of each, at least one.
    steps : int
        Number of steps.
    seed : sequence of int
        Seeds of the minibatches.

    Returns
    -------
    list of nn.Sequential
    """
    copies = [copy.deepcopy(model).eval() for model in models]
    columns = zip(*(model.parameters() for model in copies), strict=True)
    stacked = [torch.stack([(p.T if p.ndim == 2 else p[None]).detach() for p in column]) for column in columns]
    stacked = [parameter.contiguous().requires_grad_() for parameter in stacked]
    update = torch.optim.Adam(stacked, 1e-3, fused=True)
    sizes = torch.tensor([len(one) for one in data])
    first = (sizes.cumsum(0) - sizes)[:, None]
    x, y = torch.cat([one.x.flatten(1) for one in data]), torch.cat([one.y for one in data])
    draws = {s: torch.Generator().manual_seed(s) for s in seed}

    def forward(x: Tensor) -> Tensor:
        for weight, bias in zip(stacked[:-2:2], stacked[1:-2:2], strict=True):
            x = torch.baddbmm(bias, x, weight).relu()
        return torch.baddbmm(stacked[-1], x, stacked[-2])

    for _ in range(steps):
        u = {s: torch.rand(32, generator=draw) for s, draw in draws.items()}
        rows = first + (torch.stack([u[s] for s in seed]) * sizes[:, None]).long()
        loss = cross_entropy(forward(x[rows]).flatten(0, 1), y[rows].flatten(), reduction="sum") / 32
        update.zero_grad()
        loss.backward()
        update.step()
        loss.item()
    with torch.no_grad():
        for m, model in enumerate(copies):
            for own, trained in zip(model.parameters(), stacked, strict=True):
                own.copy_(trained[m].T if own.ndim == 2 else trained[m, 0])
    return copies
