"""Networks that learn one task after another, by the methods of continual learning that notebook 06 compares.

Methods with their strength: "plain", "EWC", "replay" (number of stored samples), "joint", "LwF" (with an output layer
for each task), and "own heads", which has those layers without LwF's penalty. `fit` are `learning.train`'s options.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from infolib import learning
from infolib.data import Data
from workbook import models

SEPARATE = ("own heads", "LwF")  # methods whose networks have an output layer for each task


def start(data: Data, hidden: Sequence[int], seed: int, *, classes: int | None = None) -> nn.Sequential:
    """An untrained perceptron for the data, which predicts all classes alike."""
    classes = classes or int(data.y.max()) + 1
    return learning.zero_head(models.mlp([data.x[0].numel(), *hidden, classes], seed=seed))


def head_of(model: nn.Module, task: int, classes: int) -> nn.Module:
    """The network with the output layer of one task, if it has several."""
    two = learning.last_linear(model).out_features > classes
    return learning.narrow(model, slice(task * classes, (task + 1) * classes)) if two else model


def sequence(
    pools: Sequence[Data], seed: int, hidden: Sequence[int], classes: int, methods: Mapping[str, float], fit: Mapping
) -> dict[str, nn.Module]:
    """Networks after A, after B alone, and after A and then B by each method; LwF has references of its own."""
    train, networks = partial(learning.train, seed=seed, **fit), {}
    for own in (False, True):
        chosen = {method: value for method, value in methods.items() if own == (method in SEPARATE)}
        if chosen:
            heads, label = _heads(own, 2, classes), ", own heads" if own else ""
            theta = start(pools[0], hidden, seed, classes=(1 + own) * classes)
            after = networks[f"after A{label}"] = train(theta, pools[0], head=heads[0])
            networks[f"B only{label}"] = train(theta, pools[1], head=heads[1])
            for method, value in ({"own heads": 0.0} | chosen if own else chosen).items():
                networks[method] = _go_on(after, pools, heads, method, value, seed, train)
            if "joint" in chosen:
                networks["joint"] = _jointly(theta, pools, train)
    return networks


def chain(
    pools: Sequence[Data], method: str, value: float, seed: int, hidden: Sequence[int], fit: Mapping
) -> nn.Module:
    """The network after all tasks, which have ten classes each."""
    train, heads = partial(learning.train, seed=seed, **fit), _heads(method in SEPARATE, len(pools), 10)
    theta = start(pools[0], hidden, seed, classes=heads[-1].stop or 10)
    if method == "joint":
        return _jointly(theta, pools, train)
    return _go_on(train(theta, pools[0], head=heads[0]), pools, heads, method, value, seed, train)


def join(parts: Sequence[Data]) -> Data:
    """The samples of all parts, one part after the other."""
    return Data(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))


def _go_on(
    model: nn.Module, pools: Sequence[Data], heads: Sequence[slice], method: str, value: float, seed: int, train: Any
) -> nn.Module:
    """The network after all tasks, from the one after the first; EWC and LwF have a term for each task before."""
    terms, memory = [], None
    for i in range(1, len(pools)):
        if method == "EWC":
            terms = [*terms, learning.ewc(model, pools[i - 1], strength=value, seed=seed)]
        elif method == "LwF":
            terms = [learning.distillation(model, head, weight=value) for head in heads[:i]]
        elif method == "replay":
            memory = join([pool[: max(1, int(value) // i)] for pool in pools[:i]])
        model = train(model, pools[i], head=heads[i], memory=memory, term=partial(_sum, terms) if terms else None)
    return model


def _jointly(theta: nn.Module, pools: Sequence[Data], train: Any) -> nn.Module:
    return train(theta, join(pools), steps=len(pools) * train.keywords["steps"])


def _heads(own: bool, tasks: int, classes: int) -> list[slice]:
    return [slice(classes * i, classes * (i + 1)) if own else slice(None) for i in range(tasks)]


def _sum(terms: Sequence[learning.Term], model: nn.Module, x: Tensor) -> Tensor:
    return sum(term(model, x) for term in terms)
