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

`minimise` does the same with a loss of your own. `train` trains a copy, again and again from the same weights, as a
prequential code asks for. Its minibatches are drawn with replacement, and the draw depends on the seed and on the
number of samples alone: two networks with the same seed and data get the same samples (common random numbers).

>>> start = zero_head(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
>>> train(start, data, steps=50, lr=0.1, seed=0)(data.x).argmax(1).tolist(), start(data.x).abs().sum().item()
([0, 1, 0, 1], 0.0)

All of them take their steps in `descend`.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from typing import Any, Literal, NamedTuple, Required, TypedDict, TypeVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, nll_loss
from torch.optim import SGD, Adam, Optimizer
from tqdm import tqdm

from infolib import _moved, checks
from infolib.activations import device_of, evaluating, final, forward
from infolib.data import Data, labelled

__getattr__ = _moved.attributes(__name__)

Loss = Callable[[Tensor], Tensor]  # of the indices of a batch: a scalar, in any unit
Term = Callable[[nn.Module, Tensor], Tensor]  # of the network in training and the images of the step, added to the loss
T = TypeVar("T")


class Step(NamedTuple):
    """One step of training.

    Parameters
    ----------
    epoch, step : int
        Numbers from 1 of the epoch, and of the step since the start.
    batch : Tensor, shape (batch,)
        Indices of the samples of the step, int64.
    loss : float
        Loss of these samples before the step: in bits from `fit`, in its own unit from `minimise`.
    """

    epoch: int
    step: int
    batch: Tensor
    loss: float


class Evaluation(NamedTuple):
    """Accuracy and cross-entropy of a model on data.

    Parameters
    ----------
    accuracy : float
        Fraction of samples with the right class, from 0 to 1.
    cross_entropy : float
        Mean over the samples, in bits.
    """

    accuracy: float
    cross_entropy: float


class Options(TypedDict, total=False):
    """Options of training by epochs, for `fit` and `minimise`; the first four are required.

    Parameters
    ----------
    epochs, batch_size : int
        Number of visits to all samples, at least 0; samples in a step, at least 1.
    lr : float
        Learning rate, positive.
    seed : int
        Seed of the private stream of random numbers, at least 0.
    optimizer : "adam" or "sgd"
        Rule of the steps; "adam" unless given.
    momentum, weight_decay : float
        Of the optimiser, 0 unless given; momentum is for SGD only.
    progress : bool
        Whether to show a bar, where there is a terminal; False unless given.
    """

    epochs: Required[int]
    batch_size: Required[int]
    lr: Required[float]
    seed: Required[int]
    optimizer: Literal["adam", "sgd"]
    momentum: float
    weight_decay: float
    progress: bool


def fit(model: nn.Module, data: Data, **options: Unpack[Options]) -> Iterator[Step]:
    """Train a model in place on the mean cross-entropy, by epochs.

    It is `minimise` of this loss: training is reproducible, and between steps the caller may measure the model.

    Parameters
    ----------
    model : nn.Module
        From samples to logits; all its parameters that require a gradient are trained.
    data : Data
        Samples with their labels.
    **options : Options
        epochs, batch_size, lr and seed; optional are optimizer, momentum, weight_decay and progress. `Options`
        describes them.

    Returns
    -------
    iterator of Step
        A step is taken when its item is drawn. The loss is in bits.

    Raises
    ------
    ValueError
        For an option out of range, no data, and labels that are not integers from 0, such as -100; before the first
        step. At the first step: for samples that the model cannot take, and labels beyond its outputs.
    TypeError
        For an unknown or a missing option, before the first step.
    FloatingPointError
        When the loss, or a weight after the last step, is no longer finite.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> net, data = nn.Linear(4, 2), Data(torch.eye(4), torch.tensor([0, 1, 0, 1]))
    >>> steps = list(fit(net, data, epochs=3, batch_size=2, lr=0.1, optimizer="sgd", momentum=0.9, seed=0))
    >>> [step.epoch for step in steps], len(steps[0].batch)
    ([1, 1, 2, 2, 3, 3], 2)
    """
    data, device = labelled("data", data), device_of(model)
    x, y, largest = data.x.to(device), data.y.to(device), int(data.y.max())
    steps = minimise(model, lambda batch: cross_entropy(_logits(model, x[batch], largest), y[batch]), len(x), **options)
    return (step._replace(loss=step.loss / math.log(2)) for step in steps)


def minimise(
    model: nn.Module,
    loss: Loss,
    n: int,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    optimizer: Literal["adam", "sgd"] = "adam",
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    seed: int,
    progress: bool = False,
) -> Iterator[Step]:
    """Train a model in place on a loss of your own, by epochs.

    All that is random in batches, model and loss comes from a private stream. On a CPU the same seed gives the same
    steps, whatever the caller draws in between, and the caller's random state does not change. Between steps the caller
    may measure, and may switch the model to eval mode.

    Parameters
    ----------
    model : nn.Module
        What is trained: all its parameters that require a gradient. It is in training mode in each step.
    loss : callable
        From the indices of a batch, int64 of shape (batch,) on the model's device, to a scalar in any unit.
    n : int
        Number of samples. Each epoch visits each of them once, in a new order. A last batch of a single sample is left
        out, unless all batches are of one: batch normalisation cannot use it.
    epochs, batch_size : int
        Number of visits to all samples; samples in a step.
    lr : float
        Learning rate, positive.
    optimizer : "adam" or "sgd"
        Rule of the steps.
    momentum, weight_decay : float
        Of the optimiser; momentum is for SGD only.
    seed : int
        Seed of the private stream, at least 0.
    progress : bool
        Whether to show a bar, where there is a terminal.

    Returns
    -------
    iterator of Step
        A step is taken when its item is drawn. The loss is in the unit of `loss`.

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
    checks.of_type("loss", loss, Callable, "a function of a batch's indices")
    checks.of_type("progress", progress, bool, "True or False")
    n, epochs = checks.at_least("n", n, 1), checks.at_least("epochs", epochs, 0)
    batch_size, seed = checks.at_least("batch_size", batch_size, 1), checks.at_least("seed", seed, 0)
    update = _optimiser(model, optimizer, lr=lr, momentum=momentum, weight_decay=weight_decay)
    device, modules = device_of(model), list(model.modules())
    # disable=None: silent where the output is no terminal
    bar = tqdm(range(1, epochs + 1), unit="epoch", disable=None if progress else True)
    batches = ((e, batch) for e in bar for batch in _batches(torch.randperm(n), batch_size))

    def in_training(batch: tuple[int, Tensor]) -> Tensor:
        _ = all(m.training for m in modules) or model.train()  # the caller may have measured between two steps
        return loss(batch[1])

    steps = _apart(descend(update, in_training, batches), seed, device)
    return (Step(epoch, i, batch, value) for i, ((epoch, batch), value) in enumerate(steps, start=1))


def descend(optimizer: Optimizer, loss: Callable[[T], Tensor], batches: Iterable[T]) -> Iterator[tuple[T, float]]:
    """A step of the optimiser on the loss of each batch.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        It holds the parameters that are trained.
    loss : callable
        From a batch to a scalar, in any unit.
    batches : iterable
        Whatever the loss takes, drawn one by one: the next batch may depend on the step before.

    Yields
    ------
    tuple of a batch and float
        The batch, and its loss before the step.

    Raises
    ------
    ValueError
        For another kind of optimiser, and a loss that is not a scalar.
    FloatingPointError
        When the loss, or a parameter after the last step, is no longer finite.

    Examples
    --------
    >>> w = torch.tensor(1.0, requires_grad=True)
    >>> list(descend(SGD([w], lr=0.25), lambda factor: factor * w.square(), [1.0, 2.0]))
    [(1.0, 1.0), (2.0, 0.5)]
    """
    checks.of_type("batches", batches, Iterable, "batches"), checks.of_type("loss", loss, Callable, "a function")
    lr = checks.of_type("optimizer", optimizer, Optimizer, "a torch.optim.Optimizer").param_groups[0]["lr"]
    for number, batch in enumerate(batches, start=1):
        value = loss(batch)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise ValueError(f"loss must give a scalar tensor, got {getattr(value, 'shape', type(value))}")
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if not math.isfinite(found := value.item()):
            raise FloatingPointError(f"the loss is {found} at step {number}; lower lr={lr}")
        yield batch, found
    if not all(parameter.isfinite().all() for group in optimizer.param_groups for parameter in group["params"]):
        raise FloatingPointError(f"the weights are no longer finite; lower lr={lr}")


def evaluate(model: nn.Module, data: Data, *, batch_size: int = 1024) -> Evaluation:
    """Accuracy and mean cross-entropy of a model, in eval mode; each module's mode is restored.

    Parameters
    ----------
    model : nn.Module
        From samples to logits.
    data : Data
        Samples with their labels.
    batch_size : int
        Number of samples in a forward pass.

    Returns
    -------
    Evaluation
        Accuracy from 0 to 1, and cross-entropy in bits, summed in float64.

    Raises
    ------
    ValueError
        For no data, a batch size below 1, samples that the model cannot take, outputs that are not logits (n, classes),
        NaN or +infinity, and labels that are not integers from 0 to classes - 1, such as -100.

    Examples
    --------
    >>> evaluate(nn.Identity(), Data(torch.tensor([[1.0, 1.0], [99.0, 0.0]]), torch.tensor([1, 0])))
    Evaluation(accuracy=0.5, cross_entropy=0.5)
    """
    batch_size, data = checks.at_least("batch_size", batch_size, 1), labelled("data", data)
    device, largest = device_of(model, data.x.device), int(data.y.max())
    right, nats = 0, 0.0
    with evaluating(model):
        for x, y in zip(data.x.split(batch_size), data.y.split(batch_size), strict=True):
            logits, y = _logits(model, x.to(device), largest).double(), y.to(device)
            if (log_p := log_softmax(logits, 1)).isnan().any():
                raise ValueError("the outputs of model must be numbers below infinity, got NaN or infinity")
            right += (logits.argmax(1) == y).sum().item()
            nats += nll_loss(log_p, y, reduction="sum").item()
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
    """A copy of a model after a number of steps of a fresh Adam on the mean cross-entropy.

    Minibatches are drawn with replacement. The draw depends on the seed and the number of samples only.

    Parameters
    ----------
    model : nn.Module
        From samples to logits; it does not change.
    data : Data
        Samples with their labels; without any, the copy is not trained.
    steps : int
        Number of steps.
    epochs : float
        Least number of visits to the data; more steps are taken if this needs them.
    batch_size : int
        Samples in a step.
    lr : float
        Learning rate, positive.
    seed : int
        Seed of the minibatches, and of what is random in the model, at least 0.
    head : slice
        Outputs of the model that are trained.
    memory : Data or None
        Samples for half of each minibatch (replay).
    term : callable or None
        From the network in training and the samples of the step to a scalar in nats, which is added to the loss.

    Returns
    -------
    nn.Module
        The trained copy, in eval mode.

    Raises
    ------
    ValueError
        For an option out of range, samples that the model cannot take, and labels that are not integers from 0 to the
        number of trained outputs minus 1, such as -100.
    FloatingPointError
        When the loss, or a weight after the last step, is no longer finite.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> net, data = nn.Linear(4, 2), Data(torch.eye(4), torch.tensor([0, 1, 0, 1]))
    >>> evaluate(train(net, data, steps=100, lr=0.1, seed=0), data).accuracy
    1.0
    """
    data = labelled("data", data, empty=True)
    memory = None if memory is None else labelled("memory", memory)
    largest = max(int(part.y.max()) for part in (data, memory or data)) if len(data) else 0
    head = _slice(head)
    checks.of_type("term", term, Callable | None, "a function of network and samples, or None")
    model, steps = copy.deepcopy(checks.network("model", model)), _count(steps, epochs, batch_size, len(data))
    update = _optimiser(model, "adam", lr=lr, momentum=0, weight_decay=0)
    seed, device = checks.at_least("seed", seed, 0), device_of(model)
    draw = torch.Generator().manual_seed(seed)

    def loss(u: Tensor) -> Tensor:
        x, y = (part.to(device) for part in _minibatch(data, u, memory))
        value = cross_entropy(_logits(model, x, largest, head), y)
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
    """`train` for many perceptrons at once, in one batched network: several times as fast for tiny networks.

    Parameters
    ----------
    models : sequence of nn.Sequential
        ReLU perceptrons of one shape, with biases and without frozen weights, batch normalisation or dropout; they do
        not change.
    data : sequence of Data
        Samples with their labels, for each model; a model without samples is not trained.
    steps, batch_size : int
        Number of steps; samples in a step.
    lr : float
        Learning rate, positive.
    seed : int or sequence of int
        Seed of the minibatches: one for all models, or one for each.

    Returns
    -------
    list of nn.Sequential
        Trained copies, in eval mode.

    Raises
    ------
    ValueError
        For an option out of range, other networks, lists of different lengths, samples that do not fit a network, and
        labels that are not integers from 0 to its outputs minus 1, such as -100.
    FloatingPointError
        When the loss, or a weight after the last step, is no longer finite.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> net, data = nn.Sequential(nn.Linear(4, 2)), Data(torch.eye(4), torch.tensor([0, 1, 0, 1]))
    >>> one, none = train_many([net, net], [data, data[:0]], steps=100, lr=0.1, seed=0)
    >>> evaluate(one, data).accuracy, torch.equal(none[0].weight, net[0].weight)
    (1.0, True)
    """
    checks.of_type("data", data, Sequence, "a sequence of infolib.Data")
    for i, model in enumerate(checks.of_type("models", models, Sequence, "a sequence of networks")):
        checks.network(f"models[{i}]", model)
    data = [labelled(f"data[{i}]", one, empty=True) for i, one in enumerate(data)]
    several = isinstance(seed, Iterable) and not isinstance(seed, str | bytes) and bool(getattr(seed, "ndim", 1))
    each: Any = seed if several else [seed] * len(models)
    seeds = [checks.at_least("seed", one, 0) for one in each]
    if not len(models) == len(data) == len(seeds):
        raise ValueError(f"models, data and seed must have one length, got {len(models)}, {len(data)} and {len(seeds)}")
    busy = [i for i, one in enumerate(data) if len(one)]
    if not busy:
        return [copy.deepcopy(model).eval() for model in models]
    stacked, device = _stacked([models[i] for i in busy]), device_of(models[0])
    if (features := {one.x[0].numel() for one in data if len(one)}) != {len(stacked[0][0])}:
        raise ValueError(f"x of data must have {len(stacked[0][0])} features for these models, got {sorted(features)}")
    _fitting(stacked[-1][0], max(int(data[i].y.max()) for i in busy))
    update = Adam(stacked, checks.within("lr", checks.positive("lr", lr), 0), fused=True)
    sizes = torch.tensor([len(data[i]) for i in busy], device=device)
    first = (sizes.cumsum(0) - sizes)[:, None]
    x, y = (torch.cat(parts).to(device) for parts in ([data[i].x.flatten(1) for i in busy], [data[i].y for i in busy]))
    draws = {s: torch.Generator().manual_seed(s) for s in seeds}
    steps = _count(steps, 0.0, batch_size, 0)
    uniform = ({s: torch.rand(batch_size, generator=draw) for s, draw in draws.items()} for _ in range(steps))

    def loss(u: dict[int, Tensor]) -> Tensor:
        """A sum over networks that share nothing: each gets its own gradient, and Adam is by element."""
        rows = (first + (torch.stack([u[seeds[i]] for i in busy]).to(device) * sizes[:, None]).long()).flatten()
        scores = _forward(stacked, x.index_select(0, rows).view(len(busy), batch_size, -1)).flatten(0, 1)
        scores.register_hook(Tensor.contiguous)  # of the gradient, which else comes with the classes first
        log_p = log_softmax(scores.T.contiguous(), 0).T  # the same sums, and twenty times as fast
        return nll_loss(log_p, y[rows], reduction="sum") / batch_size

    for _ in descend(update, loss, uniform):
        pass
    last = [p.detach().mT if i % 2 == 0 else p.detach()[:, 0] for i, p in enumerate(stacked)]  # weights, biases in turn
    made = {i: _with(models[i], (p[m].contiguous().clone() for p in last)) for m, i in enumerate(busy)}
    return [made[i] if i in made else copy.deepcopy(model).eval() for i, model in enumerate(models)]


def zero_head(model: nn.Module) -> nn.Module:
    """A copy of a model whose output layer is 0, so that all classes are equally probable for every sample.

    Parameters
    ----------
    model : nn.Module
        A network that ends in a linear layer; it does not change.

    Returns
    -------
    nn.Module
        The copy.

    Raises
    ------
    ValueError
        As `last_linear`.

    Examples
    --------
    >>> zero_head(nn.Linear(3, 2))(torch.rand(1, 3)).tolist()
    [[0.0, 0.0]]
    """
    return fold(model, 0.0)


def fold(model: nn.Module, factor: float) -> nn.Module:
    """A copy of a model with all logits times a factor: an inverse temperature, folded into the output layer.

    Parameters
    ----------
    model : nn.Module
        A network that ends in a linear layer; it does not change.
    factor : float
        Inverse temperature, at least 0.

    Returns
    -------
    nn.Module
        The copy.

    Raises
    ------
    ValueError
        As `last_linear`, and for a factor that is negative or not finite.

    Examples
    --------
    >>> net, x = nn.Linear(3, 2), torch.rand(5, 3)
    >>> torch.allclose(fold(net, 0.5)(x), 0.5 * net(x))
    True
    """
    model, factor = copy.deepcopy(checks.network("model", model)), checks.within("factor", factor, 0)
    with torch.no_grad():
        for parameter in last_linear(model).parameters():
            if not parameter.mul_(factor).isfinite().all():
                raise ValueError(f"factor must be so small that weights stay finite, got {factor}")
    return model


def narrow(model: nn.Module, head: slice) -> nn.Module:
    """A copy of a model with some of its outputs only: one task of a network with separate heads.

    Parameters
    ----------
    model : nn.Module
        A network that ends in a linear layer; it does not change.
    head : slice
        The outputs that are left, at least one.

    Returns
    -------
    nn.Module
        The copy.

    Raises
    ------
    ValueError
        As `last_linear`, and for a slice of no outputs.

    Examples
    --------
    >>> net, x = nn.Linear(3, 10), torch.rand(5, 3)
    >>> torch.allclose(narrow(net, slice(2, 4))(x), net(x)[:, 2:4])
    True
    """
    last = last_linear(model := copy.deepcopy(checks.network("model", model)))
    left = last.weight[_slice(head)].detach()
    if len(left) == 0:
        raise ValueError(f"head must leave some of the {last.out_features} outputs, got {head}")
    last.weight, last.out_features = nn.Parameter(left), len(left)
    if last.bias is not None:
        last.bias = nn.Parameter(last.bias[head].detach())
    return model


def last_linear(model: nn.Module) -> nn.Linear:
    """The linear layer whose output is the output of a model, wherever it is declared.

    Parameters
    ----------
    model : nn.Module
        A network that ends in a linear layer.

    Returns
    -------
    nn.Linear
        The layer itself.

    Raises
    ------
    ValueError
        As `activations.final`; for a model with another output than that of a plain linear layer, such as
        probabilities; and for a layer that shares its weights with another.

    Examples
    --------
    >>> last_linear(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    Linear(in_features=3, out_features=2, bias=True)
    """
    last = final(model)
    names = {name for name, _ in last.named_parameters()}
    if type(last) is not nn.Linear or names - {"bias"} != {"weight"}:  # others are what a weight is computed from
        raise ValueError(f"the output of model must be that of a plain nn.Linear, got that of {type(last).__name__}")
    own = [id(parameter) for parameter in last.parameters()]
    if sum(id(parameter) in own for _, parameter in model.named_parameters(remove_duplicate=False)) > len(own):
        raise ValueError("the output layer of model shares its weights with another layer, which would change too")
    return last


def ewc(model: nn.Module, data: Data, *, strength: float, samples: int = 200, seed: int) -> Term:
    """The penalty strength / 2 Σ F (θ − θ_A)² of elastic weight consolidation (Kirkpatrick et al. 2017).

    F is the mean squared gradient of the log-likelihood, in nats, with labels drawn from the model itself.

    Parameters
    ----------
    model : nn.Module
        The network after task A; its parameters are θ_A.
    data : Data
        Samples of task A.
    strength : float
        Factor of the penalty, at least 0.
    samples, seed : int
        Number of samples that F is a mean over, at least 1; seed of the draws, at least 0.

    Returns
    -------
    callable
        A `term` for `train`, in nats.

    Raises
    ------
    ValueError
        For no data, labels that are not classes, samples that the model cannot take, and a number out of range.

    Examples
    --------
    >>> net = nn.Linear(4, 2)
    >>> penalty = ewc(net, Data(torch.eye(4), torch.zeros(4).long()), strength=1.0, seed=0)
    >>> penalty(net, torch.eye(4)).item(), penalty(fold(net, 2.0), torch.eye(4)).item() > 0
    (0.0, True)
    """
    data, strength = labelled("data", data), checks.within("strength", strength, 0)
    samples, seed = checks.at_least("samples", samples, 1), checks.at_least("seed", seed, 0)
    start = [parameter.detach().clone() for parameter in checks.network("model", model).parameters()]
    fisher = [torch.zeros_like(parameter) for parameter in start]
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(data), generator=generator)[:samples]
    for i in chosen:
        log_p = log_softmax(_logits(model, data.x[i : i + 1], 0), 1)[0]
        drawn = torch.multinomial(log_p.detach().exp().cpu(), 1, generator=generator)[0]
        for total, gradient in zip(fisher, torch.autograd.grad(log_p[drawn], list(model.parameters())), strict=True):
            total += gradient.square() / len(chosen)

    def penalty(now: nn.Module, _x: Tensor) -> Tensor:
        moved = zip(now.parameters(), start, fisher, strict=True)
        return strength / 2 * reduce(torch.add, [(f * (p - p0).square()).sum() for p, p0, f in moved])

    return penalty


def distillation(model: nn.Module, head: slice, *, weight: float = 4.0, temperature: float = 2.0) -> Term:
    """The penalty of learning without forgetting (Li & Hoiem 2016): some outputs stay near those of a model.

    It is the cross-entropy with the model's probabilities at a temperature.

    Parameters
    ----------
    model : nn.Module
        The network before the new task; it is copied.
    head : slice
        The outputs that are to stay.
    weight, temperature : float
        Factor of the penalty, at least 0; divisor of all logits in it, above 0.

    Returns
    -------
    callable
        A `term` for `train`, in nats.

    Raises
    ------
    ValueError
        For a number out of range, and anything but a network and a slice.

    Examples
    --------
    >>> net, x = nn.Linear(4, 2), torch.eye(4)
    >>> penalty = distillation(net, slice(None))
    >>> (penalty(net, x) < penalty(fold(net, 2.0), x)).item()
    True
    """
    model, weight = copy.deepcopy(checks.network("model", model)), checks.within("weight", weight, 0)
    head, temperature = _slice(head), checks.within("temperature", checks.positive("temperature", temperature), 0)

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
    parameters = [parameter for parameter in checks.network("model", model).parameters() if parameter.requires_grad]
    lr, momentum = checks.within("lr", checks.positive("lr", lr), 0), checks.within("momentum", momentum, 0, 1)
    weight_decay = checks.within("weight_decay", weight_decay, 0)
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
    visits = math.ceil(checks.within("epochs", epochs, 0) * n / checks.at_least("batch_size", batch_size, 1))
    return max(checks.at_least("steps", steps, 0), visits)


def _logits(model: nn.Module, x: Tensor, largest: int, head: slice = slice(None)) -> Tensor:
    """Some of a model's outputs (n, classes), if there is one for the largest label."""
    logits = forward(model, x)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(x):
        got = getattr(logits, "shape", type(logits))
        raise ValueError(f"model must give logits of shape ({len(x)}, classes), got {got}")
    return _fitting(logits[:, head], largest)


def _slice(head: slice) -> slice:
    parts = [part for part in (head.start, head.stop, head.step) if part is not None] if type(head) is slice else [""]
    if not all(isinstance(part, int) for part in parts) or (head.step or 1) < 1:
        raise ValueError(f"head must be a slice of outputs, such as slice(0, 5), got {head!r}")
    return head


def _fitting(logits: Tensor, largest: int) -> Tensor:
    if largest >= logits.shape[1]:
        raise ValueError(f"the labels of data must be below the {logits.shape[1]} outputs of model, got {largest}")
    return logits


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
    shapes = {tuple(tuple(p.shape) for p in model.parameters() if p.requires_grad) for model in models}
    every = [[m for _, m in model.named_modules(remove_duplicate=False)] for model in models]
    kinds = {" ".join(type(m).__name__ for m in own if not isinstance(m, nn.Sequential | nn.Flatten)) for own in every}
    wanted = {" ReLU ".join(["Linear"] * (len(shape) // 2)) or "nothing" for shape in shapes}  # each has two
    if len(shapes) > 1 or kinds != wanted:
        what = "ReLU perceptrons of one shape, with biases and without frozen weights"
        raise ValueError(f"models must be {what}, got {len(shapes)} shapes, {sorted(kinds)}")
    columns = zip(*(model.parameters() for model in models), strict=True)
    stacked = [torch.stack([(p.T if p.ndim == 2 else p[None]).detach() for p in column]) for column in columns]
    return [parameter.contiguous().requires_grad_() for parameter in stacked]


def _with(module: Any, weights: Iterator[Tensor]) -> Any:
    """A copy of a module of `_stacked` in eval mode, with these weights: a deep copy takes five times as long."""
    made = object.__new__(type(module))
    state = vars(module) | {"training": False}
    made.__dict__ |= {name: value.copy() if isinstance(value, dict) else value for name, value in state.items()}
    made._parameters |= {name: nn.Parameter(next(weights), p.requires_grad) for name, p in module._parameters.items()}
    made._modules |= {name: _with(child, weights) for name, child in module._modules.items()}
    return made


def _forward(stacked: list[Tensor], x: Tensor) -> Tensor:
    """Logits (models, batch, classes) of x (models, batch, inputs)."""
    for weight, bias in zip(stacked[:-2:2], stacked[1:-2:2], strict=True):
        x = torch.baddbmm(bias, x, weight).relu()
    return torch.baddbmm(stacked[-1], x, stacked[-2])
