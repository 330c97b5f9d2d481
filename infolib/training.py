"""Training as a loop of the caller's own: one step at a time, the same for the same seed.

>>> import torch
>>> from infolib.data import Data
>>> data = Data(torch.eye(4), torch.tensor([0, 1, 0, 1]))
>>> net = nn.Linear(4, 2)
>>> for step in fit(net, data, epochs=50, batch_size=4, lr=0.1, seed=0):
...     pass
>>> print(f"after step {step.step}: {step.loss:.2f} bits")
after step 50: 0.00 bits
>>> evaluate(net, data).accuracy
1.0
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, nll_loss
from torch.optim import SGD, Adam, Optimizer
from tqdm import tqdm

from infolib import _moved, checks
from infolib.activations import device_of, evaluating
from infolib.data import Data

__getattr__ = _moved.attributes(__name__)


class Step(NamedTuple):
    """One step of training: its epoch and its number, from 1; the samples' indices; their loss before it, in bits."""

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
    """Train `model` in place on cross-entropy, with Adam or SGD; yields after every step.

    Batches and dropout draw from a stream of their own: on a CPU the same seed gives the same steps, whatever the
    caller draws in between, and the caller's random state stays as it is. Between steps the caller may measure, and
    may switch the model to eval mode. A last batch of one sample is left out, unless all batches are of one: batch
    normalisation has no use for it.

    Raises:
        ValueError: for an option out of range
        FloatingPointError: when the loss is no longer finite
    """
    for name, value, least in (("epochs", epochs, 0), ("batch_size", batch_size, 1), ("seed", seed, 0)):
        checks.at_least(name, value, least)
    if len(data) == 0 or len(data.x) != len(data.y):
        raise ValueError(f"data must hold samples with one label each, got {len(data.x)} and {len(data.y)}")
    checks.positive("lr", lr)
    update = _optimiser(model, optimizer, lr=lr, momentum=momentum, weight_decay=weight_decay)
    return _steps(model, data, update, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, progress=progress)


def evaluate(model: nn.Module, data: Data, *, batch_size: int = 1024) -> Evaluation:
    """Accuracy and cross-entropy (bits, summed in float64) on `data`, in eval mode; the model's modes are restored.

    Raises:
        ValueError: for empty data
    """
    checks.at_least("batch_size", batch_size, 1)
    if len(data) == 0:
        raise ValueError("data is empty")
    device = device_of(model)
    right, nats = 0, 0.0
    with evaluating(model):
        for x, y in zip(data.x.split(batch_size), data.y.split(batch_size), strict=True):
            logits, y = model(x.to(device)).double(), y.to(device)
            right += (logits.argmax(1) == y).sum().item()
            nats += nll_loss(log_softmax(logits, 1), y, reduction="sum").item()
    return Evaluation(right / len(data), nats / len(data) / math.log(2))


class _Randomness:
    """A private random stream: inside the `with` torch's global generators are its own, outside the caller's."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.generators = [torch.default_generator]
        if device.type == "cuda":
            self.generators.append(torch.cuda.default_generators[device.index])
        self.states = [torch.Generator(g.device).manual_seed(seed).get_state() for g in self.generators]

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()

    def _swap(self) -> None:
        for i, generator in enumerate(self.generators):
            state = generator.get_state()
            generator.set_state(self.states[i])
            self.states[i] = state


def _steps(
    model: nn.Module,
    data: Data,
    update: Optimizer,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    seed: int,
    progress: bool,
) -> Iterator[Step]:
    device = device_of(model)
    x, y = data.x.to(device), data.y.to(device)
    randomness = _Randomness(seed, device)
    number = 0
    # disable=None: silent where the output is no terminal
    with tqdm(total=epochs, unit="epoch", disable=None if progress else True) as bar:
        for epoch in range(1, epochs + 1):
            with randomness:
                order = torch.randperm(len(y))
            for batch in _batches(order.to(device), batch_size):
                number += 1
                with randomness:
                    loss = _step(model.train(), update, x[batch], y[batch])
                if not math.isfinite(loss):
                    raise FloatingPointError(f"the loss is {loss} at step {number}, epoch {epoch}; lower lr={lr}")
                yield Step(epoch, number, batch, loss)
            bar.update()


def _step(model: nn.Module, update: Optimizer, x: Tensor, y: Tensor) -> float:
    """One update on one batch; its loss beforehand, in bits."""
    loss = cross_entropy(model(x), y)
    update.zero_grad()
    loss.backward()
    update.step()
    return loss.item() / math.log(2)


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
