"""The former training of many perceptrons at once: a deep copy of each, and scores with the classes along the rows.

And the former linear probe: PyTorch's L-BFGS with gradients by autograd, in as many coordinates as samples.
"""

import copy
from collections.abc import Callable, Sequence

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


def probe(state: Tensor, prefix: Data, _seed: int = 0) -> Callable[[Tensor], Tensor]:
    """As `infolib.measures.lenses.probe`, where it converges within 100 steps.

    Parameters
    ----------
    state : Tensor, shape (classes,)
        Only its length counts.
    prefix : Data
        Features (n, d) and their labels.
    _seed : int
        Not used.

    Returns
    -------
    callable
        From features (n, d) to logits (n, classes).
    """
    x = nn.functional.pad(prefix.x, (0, 1), value=1.0)
    W = torch.zeros(x.shape[1], len(state), dtype=torch.float64, requires_grad=True)
    options = {"max_iter": 100, "tolerance_grad": 1e-6, "tolerance_change": 1e-12, "line_search_fn": "strong_wolfe"}
    solver = torch.optim.LBFGS([W], **options)

    def loss() -> Tensor:
        solver.zero_grad()
        value = cross_entropy(x @ W, prefix.y, reduction="sum") + W.square().sum() / 200
        value.backward()
        return value

    if len(prefix):
        with torch.enable_grad():
            solver.step(loss)
    return lambda x: nn.functional.pad(x, (0, 1), value=1.0) @ W.detach()


def coordinates(t: Tensor) -> Tensor:
    """Features (n, d) in n coordinates with the same inner products, about their mean, of root mean squared length 1.

    Parameters
    ----------
    t : Tensor, shape (n, d)
        Features.

    Returns
    -------
    Tensor, shape (n, n)
        float64.
    """
    centred = t.double() - t.double().mean(0)
    gram = centred @ centred.T
    values, vectors = torch.linalg.eigh(gram / gram.diagonal().mean())
    return vectors * values.clamp_min(0).sqrt()
