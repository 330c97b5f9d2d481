"""Training in a fixed number of steps from a given start: one network, many tiny ones at once, task after task.

`training.fit` trains in epochs and is watched; here a network is trained again and again from the same weights, as a
prequential code asks for. Minibatches are drawn with replacement, and the draw depends on the seed and on the number of
samples alone: two networks with the same seed and data meet the same samples (common random numbers).

>>> import torch
>>> from infolib.data import Data
>>> data = Data(torch.eye(4), torch.tensor([0, 1, 0, 1]))
>>> start = zero_head(models.mlp([4, 8, 2], seed=0))
>>> train(start, data, steps=50, lr=0.1, seed=0)(data.x).argmax(1).tolist(), start(data.x).abs().sum().item()
([0, 1, 0, 1], 0.0)
"""

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax
from torch.optim import Adam
from torch.random import fork_rng

from infolib import checks
from infolib.activations import evaluating
from infolib.data import Data

Term = Callable[[nn.Module, Tensor], Tensor]  # of the network in training and the images of the step, added to the loss


def train(
    model: nn.Module,
    data: Data,
    *,
    steps: int,
    epochs: float = 0.0,
    batch_size: int = 32,
    lr: float = 1e-3,
    seed: int,
    head: slice = slice(None),
    memory: Data | None = None,
    term: Term | None = None,
) -> nn.Module:
    """A copy of `model` after `steps` steps of a fresh Adam on the mean cross-entropy, or `epochs` if they are more.

    Only the outputs `head` are trained; with a `memory`, half of each minibatch is drawn from it (replay); a `term` is
    added to the loss. No data: the copy itself. The copy is in eval mode, and `model` stays as it is.

    Raises:
        ValueError: for an option out of range
        FloatingPointError: when the loss is no longer finite
    """
    model, steps = copy.deepcopy(model), _steps(steps, epochs, batch_size, len(data))
    update = Adam(model.parameters(), checks.positive("lr", lr), fused=True)
    draw = torch.Generator().manual_seed(checks.at_least("seed", seed, 0))
    with fork_rng(devices=[]):
        torch.manual_seed(seed)  # of dropout, if there is any
        model.train()
        for _ in range(steps if len(data) else 0):
            u = torch.rand(batch_size, generator=draw)
            x, y = _minibatch(data, u, memory)
            loss = cross_entropy(model(x)[:, head], y)
            if term is not None:
                loss = loss + term(model, x)
            update.zero_grad()
            loss.backward()
            update.step()
    _finite(model.parameters(), lr)
    return model.eval()


def train_many(
    models: Sequence[nn.Sequential],
    data: Sequence[Data],
    *,
    steps: int,
    batch_size: int = 32,
    lr: float = 1e-3,
    seed: int | Sequence[int],
) -> list[nn.Sequential]:
    """What `train` makes of each perceptron on its data, all in one batched network: several times as fast if tiny.

    models: `models.mlp` of one shape with ReLU, without batch normalisation or dropout. One seed serves all, or each
    has its own. A network without data is not trained.

    Raises: as `train`, and ValueError for other networks or lists of different lengths.
    """
    seeds = [seed] * len(models) if isinstance(seed, int) else list(seed)
    if not len(models) == len(data) == len(seeds):
        raise ValueError(f"models, data and seed must be as many, got {len(models)}, {len(data)} and {len(seeds)}")
    busy = [i for i, one in enumerate(data) if len(one)]
    copies = [copy.deepcopy(model).eval() for model in models]
    if not busy:
        return copies
    stacked = _stacked([copies[i] for i in busy])
    update = Adam(stacked, checks.positive("lr", lr), fused=True)
    sizes = torch.tensor([len(data[i]) for i in busy])
    first = (sizes.cumsum(0) - sizes)[:, None]
    x, y = torch.cat([data[i].x.flatten(1) for i in busy]), torch.cat([data[i].y for i in busy])
    draws = {s: torch.Generator().manual_seed(checks.at_least("seed", s, 0)) for s in seeds}
    for _ in range(_steps(steps, 0.0, batch_size, 0)):
        u = {s: torch.rand(batch_size, generator=draw) for s, draw in draws.items()}
        rows = first + (torch.stack([u[seeds[i]] for i in busy]) * sizes[:, None]).long()  # (models, batch)
        loss = cross_entropy(_forward(stacked, x[rows]).flatten(0, 1), y[rows].flatten(), reduction="sum") / batch_size
        update.zero_grad()
        loss.backward()  # of a sum over networks that share nothing: each gets its own gradient, and Adam is by element
        update.step()
    _finite(stacked, lr)
    with torch.no_grad():
        for m, i in enumerate(busy):
            for own, trained in zip(copies[i].parameters(), stacked, strict=True):
                own.copy_(trained[m].T if own.ndim == 2 else trained[m, 0])
    return copies


def zero_head(model: nn.Module) -> nn.Module:
    """A copy whose last linear layer is 0: it predicts every class alike, whatever the image."""
    return fold(model, 0.0)


def fold(model: nn.Module, factor: float) -> nn.Module:
    """A copy whose logits are `factor` times those of `model`: an inverse temperature, folded into its last layer."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in last_linear(model).parameters():
            parameter.mul_(factor)
    return model


def narrow(model: nn.Module, head: slice) -> nn.Module:
    """A copy that keeps only the outputs `head`: one task of a network with separate heads."""
    model = copy.deepcopy(model)
    last = last_linear(model)
    last.weight, last.bias = nn.Parameter(last.weight[head].detach()), nn.Parameter(last.bias[head].detach())
    last.out_features = len(last.weight)
    return model


def ewc(model: nn.Module, data: Data, *, strength: float, samples: int = 200, seed: int) -> Term:
    """The penalty strength / 2 Σ F (θ − θ_A)² of elastic weight consolidation (Kirkpatrick et al. 2017).

    F is the mean squared gradient of the log-likelihood, labels drawn from the model itself, over `samples` of `data`.
    """
    start = [parameter.detach().clone() for parameter in model.parameters()]
    fisher = [torch.zeros_like(parameter) for parameter in start]
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(data), generator=generator)[:samples]
    for i in chosen:
        log_p = log_softmax(model(data.x[i : i + 1]), 1)[0]
        drawn = torch.multinomial(log_p.detach().exp(), 1, generator=generator)[0]
        for total, gradient in zip(fisher, torch.autograd.grad(log_p[drawn], list(model.parameters())), strict=True):
            total += gradient.square() / len(chosen)

    def penalty(now: nn.Module, _x: Tensor) -> Tensor:
        moved = zip(now.parameters(), start, fisher, strict=True)
        return strength / 2 * sum((f * (p - p0).square()).sum() for p, p0, f in moved)

    return penalty


def distillation(model: nn.Module, head: slice, *, weight: float = 4.0, temperature: float = 2.0) -> Term:
    """The term of learning without forgetting (Li & Hoiem 2016): outputs `head` stay near what `model` says there."""
    model = copy.deepcopy(model)

    def penalty(now: nn.Module, x: Tensor) -> Tensor:
        with evaluating(model):
            target = (model(x)[:, head] / temperature).softmax(1)
        return weight * cross_entropy(now(x)[:, head] / temperature, target)

    return penalty


def _steps(steps: int, epochs: float, batch_size: int, n: int) -> int:
    checks.at_least("batch_size", batch_size, 1)
    if not 0 <= epochs < math.inf:
        raise ValueError(f"epochs must be a number of at least 0, got {epochs}")
    return max(checks.at_least("steps", steps, 0), math.ceil(epochs * n / batch_size))


def _minibatch(data: Data, u: Tensor, memory: Data | None) -> tuple[Tensor, Tensor]:
    """Samples drawn with replacement by uniform numbers, the second half from the memory if there is one."""
    if memory is None:
        batch = data[(u * len(data)).long()]
        return batch.x, batch.y
    half = len(u) // 2
    new, old = data[(u[:half] * len(data)).long()], memory[(u[half:] * len(memory)).long()]
    return torch.cat([new.x, old.x]), torch.cat([new.y, old.y])


def _stacked(models: Sequence[nn.Sequential]) -> list[Tensor]:
    """The weights (models, inputs, outputs) and biases (models, 1, outputs) of perceptrons of one shape."""
    shapes = {tuple(tuple(p.shape) for p in model.parameters()) for model in models}
    allowed = (nn.Sequential, nn.Flatten, nn.Linear, nn.ReLU)
    strange = {type(m).__name__ for model in models for m in model.modules() if not isinstance(m, allowed)}
    if len(shapes) > 1 or strange or any(p.ndim > 2 for p in models[0].parameters()):
        raise ValueError(f"models must be ReLU perceptrons of one shape, got {len(shapes)} shapes, {sorted(strange)}")
    columns = zip(*(model.parameters() for model in models), strict=True)
    stacked = [torch.stack([(p.T if p.ndim == 2 else p[None]).detach() for p in column]) for column in columns]
    return [parameter.contiguous().requires_grad_() for parameter in stacked]


def _forward(stacked: list[Tensor], x: Tensor) -> Tensor:
    """Logits (models, batch, classes) of x (models, batch, inputs)."""
    for weight, bias in zip(stacked[:-2:2], stacked[1:-2:2], strict=True):
        x = torch.baddbmm(bias, x, weight).relu()
    return torch.baddbmm(stacked[-1], x, stacked[-2])


def last_linear(model: nn.Module) -> nn.Linear:
    """The last linear layer; ValueError if there is none."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"model has no linear layer: {type(model).__name__}")
    return linear[-1]


def _finite(parameters, lr: float) -> None:
    if not all(parameter.isfinite().all() for parameter in parameters):
        raise FloatingPointError(f"the weights are no longer finite; lower lr={lr}")
