"""Training, the same for the same seed: by epochs and watched, in a fixed number of steps, many networks at once.

`fit` trains a network in place and gives the caller each step:

>>> import torch
>>> from infolib.data import Data
>>> _ = torch.manual_seed(0)
>>> data = Data(torch.eye(4), torch.tensor([0, 1, 0, 1]))
>>> net = nn.Linear(4, 2)
>>> for step in fit(net, data, epochs=50, batch_size=4, lr=0.1, seed=0):
...     pass
>>> print(f"after step {step.step}: {step.loss:.1f} bits")
after step 50: 0.0 bits
>>> evaluate(net, data).accuracy
1.0

`minimise` does so with a loss of your own. `train` trains a copy, again and again from the same weights, as a
prequential code asks for. Its minibatches are drawn with replacement, and the draw depends on the seed and on the
number of samples alone: two networks with the same seed and data meet the same samples (common random numbers).

>>> start = zero_head(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
>>> train(start, data, steps=50, lr=0.1, seed=0)(data.x).argmax(1).tolist(), start(data.x).abs().sum().item()
([0, 1, 0, 1], 0.0)

All of them take their steps in `descend`.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, nll_loss
from torch.optim import SGD, Adam, Optimizer
from tqdm import tqdm

from infolib import _moved, checks
from infolib.activations import device_of, evaluating
from infolib.data import Data

__getattr__ = _moved.attributes(__name__)

Loss = Callable[[Tensor], Tensor]  # of the indices of a batch: a scalar, in any unit
Term = Callable[[nn.Module, Tensor], Tensor]  # of the network in training and the images of the step, added to the loss
T = TypeVar("T")


class Step(NamedTuple):
    """One step of training: its epoch and its number, from 1; the samples' indices; their loss before it.

    The loss is in bits for `fit`, in the unit of its own loss for `minimise`.
    """

    epoch: int
    step: int
    batch: Tensor
    loss: float


class Evaluation(NamedTuple):
    """How well a model predicts: the share of samples it gets right, and the mean cross-entropy in bits."""

    accuracy: float
    cross_entropy: float


def fit(
    model: nn.Module,
    data: Data,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    optimizer: str = "adam",
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    seed: int,
    progress: bool = False,
) -> Iterator[Step]:
    """Train `model` in place on cross-entropy, with Adam or SGD; yields after every step, with the loss in bits.

    `minimise` of the mean cross-entropy, which says what the options are and what may be done between steps.

    Raises:
        ValueError: for an option out of range, and data without one label for each sample
        FloatingPointError: when the loss is no longer finite
    """
    if len(data) == 0 or len(data.x) != len(data.y):
        raise ValueError(f"data must hold samples with one label each, got {len(data.x)} and {len(data.y)}")
    x, y = (part.to(device_of(model)) for part in (data.x, data.y))
    steps = minimise(
        model,
        lambda batch: cross_entropy(model(x[batch]), y[batch]),
        len(data),
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        optimizer=optimizer,
        momentum=momentum,
        weight_decay=weight_decay,
        seed=seed,
        progress=progress,
    )
    return (step._replace(loss=step.loss / math.log(2)) for step in steps)


def minimise(
    model: nn.Module,
    loss: Loss,
    n: int,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    optimizer: str = "adam",
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    seed: int,
    progress: bool = False,
) -> Iterator[Step]:
    """Train `model` in place on a loss of your own, by epochs; yields after every step.

    All that is random in batches, model and loss comes from a private stream: on a CPU the same seed gives the same
    steps, whatever the caller draws in between, and the caller's random state stays as it is. Between steps the caller
    may measure, and may switch the model to eval mode.

    Parameters
    ----------
    model : nn.Module
        What is trained: all its parameters that require a gradient. It is in training mode in each step.
    loss : callable
        From the indices of a batch, int64 of shape (batch,) on the model's device, to a scalar.
    n : int
        Number of samples. Each epoch visits each of them once, in a new order; a last batch of a single sample is left
        out, unless all batches are of one: batch normalisation has no use for it.
    epochs, batch_size : int
        How often to visit all samples, and how many of them to a step.
    lr, momentum, weight_decay : float
        Of the optimiser; momentum for SGD only.
    optimizer : str
        "adam" or "sgd".
    seed : int
        Of the private stream.
    progress : bool
        Whether to show a bar, where there is a terminal.

    Raises
    ------
    ValueError
        For an option out of range, before the first step.
    FloatingPointError
        When the loss, or a weight after the last step, is no longer finite.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> x, net = torch.rand(20, 3), nn.Linear(3, 3)
    >>> def reconstruction(batch):
    ...     return (net(x[batch]) - x[batch]).square().mean()
    >>> losses = [step.loss for step in minimise(net, reconstruction, 20, epochs=9, batch_size=5, lr=0.05, seed=0)]
    >>> losses[-1] < losses[0] / 5
    True
    """
    for name, value, least in (("n", n, 1), ("epochs", epochs, 0), ("batch_size", batch_size, 1), ("seed", seed, 0)):
        checks.at_least(name, value, least)
    checks.positive("lr", lr)
    update = _optimiser(model, optimizer, lr=lr, momentum=momentum, weight_decay=weight_decay)
    device = device_of(model)
    # disable=None: silent where the output is no terminal
    bar = tqdm(range(1, epochs + 1), unit="epoch", disable=None if progress else True)
    batches = ((e, batch) for e in bar for batch in _batches(torch.randperm(n).to(device), batch_size))

    def in_training(batch: tuple[int, Tensor]) -> Tensor:
        model.train()
        return loss(batch[1])

    steps = _apart(descend(update, in_training, batches), seed, device)
    return (Step(epoch, i, batch, value) for i, ((epoch, batch), value) in enumerate(steps, start=1))


def descend(optimizer: Optimizer, loss: Callable[[T], Tensor], batches: Iterable[T]) -> Iterator[tuple[T, float]]:
    """A step of the optimiser on the loss of each batch; yields the batch and its loss before the step.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        It holds the parameters that are trained.
    loss : callable
        From a batch to a scalar, in any unit.
    batches : iterable
        Whatever the loss takes, drawn one by one: the next batch may depend on the step before.

    Raises
    ------
    FloatingPointError
        When the loss, or a parameter after the last step, is no longer finite.
    """
    lr = optimizer.param_groups[0]["lr"]
    for number, batch in enumerate(batches, start=1):
        value = loss(batch)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if not math.isfinite(found := value.item()):
            raise FloatingPointError(f"the loss is {found} at step {number}; lower lr={lr}")
        yield batch, found
    if not all(parameter.isfinite().all() for group in optimizer.param_groups for parameter in group["params"]):
        raise FloatingPointError(f"the weights are no longer finite; lower lr={lr}")


def evaluate(model: nn.Module, data: Data, *, batch_size: int = 1024) -> Evaluation:
    """Accuracy and cross-entropy (bits, summed in float64) on `data`, in eval mode; the model's modes are restored.

    Raises:
        ValueError: for empty data
    """
    checks.at_least("batch_size", batch_size, 1)
    if len(data) == 0:
        raise ValueError("data is empty")
    device = device_of(model, data.x.device)
    right, nats = 0, 0.0
    with evaluating(model):
        for x, y in zip(data.x.split(batch_size), data.y.split(batch_size), strict=True):
            logits, y = model(x.to(device)).double(), y.to(device)
            right += (logits.argmax(1) == y).sum().item()
            nats += nll_loss(log_softmax(logits, 1), y, reduction="sum").item()
    return Evaluation(right / len(data), nats / len(data) / math.log(2))


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
    model, steps = copy.deepcopy(model), _count(steps, epochs, batch_size, len(data))
    update = Adam(model.parameters(), checks.positive("lr", lr), fused=True)
    draw, device = torch.Generator().manual_seed(checks.at_least("seed", seed, 0)), device_of(model)

    def loss(u: Tensor) -> Tensor:
        x, y = (part.to(device) for part in _minibatch(data, u, memory))
        value = cross_entropy(model(x)[:, head], y)
        return value if term is None else value + term(model, x)

    model.train()
    draws = (torch.rand(batch_size, generator=draw) for _ in range(steps if len(data) else 0))
    for _ in _apart(descend(update, loss, draws), seed, device):
        pass
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

    models: perceptrons of one shape with ReLU, without batch normalisation or dropout. One seed serves all, or each
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
    stacked, device = _stacked([copies[i] for i in busy]), device_of(models[0])
    update = Adam(stacked, checks.positive("lr", lr), fused=True)
    sizes = torch.tensor([len(data[i]) for i in busy])
    first = (sizes.cumsum(0) - sizes)[:, None]
    x, y = (torch.cat(parts).to(device) for parts in ([data[i].x.flatten(1) for i in busy], [data[i].y for i in busy]))
    draws = {s: torch.Generator().manual_seed(checks.at_least("seed", s, 0)) for s in seeds}
    steps = _count(steps, 0.0, batch_size, 0)
    uniform = ({s: torch.rand(batch_size, generator=draw) for s, draw in draws.items()} for _ in range(steps))

    def loss(u: dict[int, Tensor]) -> Tensor:
        """A sum over networks that share nothing: each gets its own gradient, and Adam is by element."""
        rows = first + (torch.stack([u[seeds[i]] for i in busy]) * sizes[:, None]).long()  # (models, batch)
        return cross_entropy(_forward(stacked, x[rows]).flatten(0, 1), y[rows].flatten(), reduction="sum") / batch_size

    for _ in descend(update, loss, uniform):
        pass
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


def last_linear(model: nn.Module) -> nn.Linear:
    """The last linear layer; ValueError if there is none."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"model has no linear layer: {type(model).__name__}")
    return linear[-1]


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
    """The term of learning without forgetting (Li & Hoiem 2016): outputs `head` stay near those of `model`."""
    model = copy.deepcopy(model)

    def penalty(now: nn.Module, x: Tensor) -> Tensor:
        with evaluating(model):
            target = (model(x)[:, head] / temperature).softmax(1)
        return weight * cross_entropy(now(x)[:, head] / temperature, target)

    return penalty


def _apart(items: Iterator[T], seed: int, device: torch.device) -> Iterator[T]:
    """The items, each made while torch's global generators are at a private stream, in between at the caller's."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index])
    states = [torch.Generator(generator.device).manual_seed(seed).get_state() for generator in generators]

    def swap() -> None:
        for i, generator in enumerate(generators):
            states[i], private = generator.get_state(), states[i]
            generator.set_state(private)

    while True:
        swap()
        try:
            item = next(items, None)
        finally:
            swap()
        if item is None:
            return
        yield item


def _batches(order: Tensor, batch_size: int) -> list[Tensor]:
    batches = list(order.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1 < batch_size:
        batches.pop()
    return batches


def _optimiser(model: nn.Module, name: str, *, lr: float, momentum: float, weight_decay: float) -> Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError("model has no parameters to train")
    checks.choice("optimizer", name, ("adam", "sgd"))
    # fused: one kernel for all parameters, a fifth of a small network's step
    if name == "sgd":
        return SGD(parameters, lr, momentum, weight_decay=weight_decay, fused=True)
    if momentum != 0:
        raise ValueError(f"momentum={momentum} is for optimizer='sgd' only")
    return Adam(parameters, lr, weight_decay=weight_decay, fused=True)


def _count(steps: int, epochs: float, batch_size: int, n: int) -> int:
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
