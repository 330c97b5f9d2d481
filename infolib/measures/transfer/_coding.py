"""The coder of `transfer`: blocks, the learner trained on each prefix, and the codelength of the next block."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax

from infolib import checks
from infolib.activations import evaluating, forward
from infolib.data import Data, labelled
from infolib.measures import _options

Predictor = Callable[[Tensor], Tensor]
Learner = Callable[[Any, Data, int], Predictor]  # state, prefix, seed
BatchedLearner = Callable[[list[Any], list[Data], int], Sequence[Predictor]]
Price = Callable[[Predictor, Data], float]
BETAS = torch.logspace(
    math.log10(0.05), math.log10(2.5), 40, dtype=torch.float64
)  # inverse temperatures to choose from
FEWEST = 8  # samples to choose one from; with fewer it is 1/2
BATCH = 4096  # samples whose scores are computed at once


class Coding(TypedDict, total=False):
    """Options of a prequential code.

    Parameters
    ----------
    calibrate, mixture, batched, bits, seed
        As `prequential_codelength` takes them.
    """

    calibrate: bool
    mixture: bool
    batched: bool
    bits: Price | None
    seed: int


class Codelength(NamedTuple):
    """A prequential code of k labels: its length in bits, and the lengths of its blocks, which add up to it.

    Parameters
    ----------
    bits : float
        Length of the whole code.
    costs : Tensor, shape (blocks,)
        Bits of each block, float64.
    ends : list of int
        Ends of the blocks, from 0 to k.
    """

    bits: float
    costs: Tensor
    ends: list[int]


def block_ends(k: int, *, first: int = 8, ratio: float = 2.0) -> list[int]:
    """Ends 0, t1, t2, ..., k of the blocks of a code, t1 = first and t_s+1 = ceil(ratio t_s).

    Parameters
    ----------
    k : int
        Number of labels that are sent.
    first : int
        Number of labels in the first block.
    ratio : float
        End of a block divided by the end of the block before it, above 1.

    Returns
    -------
    list of int

    Raises
    ------
    ValueError
        For k or first below 1, or a ratio not above 1.

    Examples
    --------
    >>> block_ends(100)
    [0, 8, 16, 32, 64, 100]
    """
    checks.at_least("k", k, 1)
    checks.at_least("first", first, 1)
    if not 1 < ratio < math.inf:
        raise ValueError(f"ratio must be a number above 1, got {ratio}")
    ends = [0, min(first, k)]
    while ends[-1] < k:
        ends.append(min(k, math.ceil(round(ratio * ends[-1], 9))))
    return ends


def codes(
    learner: Learner | BatchedLearner,
    states: Sequence[Any],
    data: Data,
    ends: Sequence[int] | None = None,
    *,
    calibrate: bool = False,
    mixture: bool = False,
    batched: bool = False,
    bits: Price | None = None,
    seed: int = 0,
) -> list[Codelength]:
    """A code of the same data from each state, all with the same blocks and seed."""
    ends = check_ends(ends, data, real=bits is not None)
    _options.check(learner)
    price = bits or partial(block_bits, mixture=mixture)
    blocks = list(pairwise(ends))

    def costs(jobs: Sequence[tuple[Any, tuple[int, int]]]) -> Tensor:
        chosen, prefixes = [state for state, _ in jobs], [data[:start] for _, (start, _) in jobs]
        learnt = predictors(learner, chosen, prefixes, seed=seed, calibrate=calibrate, batched=batched)
        blocks = [data[start:stop] for _, (start, stop) in jobs]
        return torch.tensor([price(*pair) for pair in zip(learnt, blocks, strict=True)], dtype=torch.float64)

    def alone(job: tuple[Any, tuple[int, int]]) -> Tensor:
        try:
            return costs([job])
        except (FloatingPointError, ValueError) as error:
            raise type(error)(f"seed {seed}, the block after {job[1][0]} labels: {error}") from error

    jobs = [(state, block) for state in states for block in blocks]
    found: list[Tensor] = []
    with suppress(FloatingPointError, ValueError):  # one by one below, which names the block
        found = [costs(jobs)] if batched else []
    found = found or [alone(job) for job in jobs]
    return [Codelength(float(one.sum()), one, ends) for one in torch.cat(found).reshape(len(states), -1)]


def predictors(
    learner: Any, states: Sequence[Any], prefixes: Sequence[Data], *, seed: int, calibrate: bool, batched: bool
) -> list[Predictor]:
    """The learner's predictor for each state and prefix; inverse temperatures from the prefix's last quarter.

    A network without a prefix is its own predictor, and its output is not scaled.
    """
    cuts = [3 * len(prefix) // 4 for prefix in prefixes]
    inner = [i for i, (prefix, cut) in enumerate(zip(prefixes, cuts, strict=True)) if len(prefix) - cut >= FEWEST]
    inner = inner if calibrate else []
    every = _learnt(
        learner,
        [*states, *(states[i] for i in inner)],
        [*prefixes, *(prefixes[i][: cuts[i]] for i in inner)],
        seed=seed,
        batched=batched,
    )
    if not calibrate:
        return every
    betas = [0.5 if len(prefix) else 1.0 for prefix in prefixes]
    for i, predictor in zip(inner, every[len(states) :], strict=True):
        rest = prefixes[i][cuts[i] :]
        betas[i] = inverse_temperature(scores(predictor, rest.x), rest.y)
    return [partial(_scaled, predictor, beta) for predictor, beta in zip(every, betas, strict=False)]


def _learnt(
    learner: Any, states: Sequence[Any], prefixes: Sequence[Data], *, seed: int, batched: bool
) -> list[Predictor]:
    found = {i: s for i, s in enumerate(states) if isinstance(s, nn.Module) and not len(prefixes[i])}
    rest = [i for i in range(len(states)) if i not in found]
    if batched:
        learnt = learner([states[i] for i in rest], [prefixes[i] for i in rest], seed) if rest else []
    else:
        learnt = [learner(states[i], prefixes[i], seed) for i in rest]
    found |= dict(zip(rest, learnt, strict=True))
    return [found[i] for i in range(len(states))]


def _scaled(predictor: Predictor, factor: float, x: Tensor) -> Tensor:
    return factor * scores(predictor, x)


def inverse_temperature(log_p: Tensor, y: Tensor) -> float:
    """The factor among `BETAS` that makes log-scores suit the labels best."""
    losses = [cross_entropy(beta * log_p, y).item() for beta in BETAS]
    return float(BETAS[losses.index(min(losses))])


def scores(predictor: Predictor, x: Tensor) -> Tensor:
    """Normalised log-scores in float64, of a network in eval mode."""
    if isinstance(predictor, nn.Module):
        with evaluating(predictor):
            found = torch.cat([forward(predictor, batch) for batch in x.split(BATCH)]).to(x.device)
    else:
        found = predictor(x)
    if found.ndim != 2 or len(found) != len(x):
        raise ValueError(f"the learner's scores must have shape ({len(x)}, classes), got {tuple(found.shape)}")
    log_p = log_softmax(found.detach().double(), 1)
    if log_p.isnan().any():
        raise ValueError("the learner's scores must be numbers, got NaN")
    return log_p


def label_bits(log_p: Tensor, y: Tensor, *, mixture: bool = False) -> float:
    """Codelength of the labels in bits, perhaps mixed with the uniform code; finite, or an error."""
    if y.max() >= log_p.shape[1]:
        raise ValueError(f"labels must be below the learner's {log_p.shape[1]} classes, got {int(y.max())}")
    nats = -log_softmax(log_p, 1).gather(1, y[:, None]).sum()
    if mixture:
        uniform = torch.full_like(nats, len(y) * math.log(log_p.shape[1]))
        nats = math.log(2) - torch.logaddexp(-nats, -uniform)
    if not nats.isfinite():
        raise ValueError("the learner gives a label the probability 0, which no code can send")
    return nats.item() / math.log(2)


def block_bits(predictor: Predictor, block: Data, *, mixture: bool = False) -> float:
    """Codelength of a block's labels in bits: -sum log2 p(y | x) of the predictor's probabilities, float64.

    Parameters
    ----------
    predictor : callable
        Network, or function of x (n, ...) with scores (n, classes).
    block : Data
        The n samples.
    mixture : bool
        Mix the probability of the whole block with that of the uniform code, half each.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For scores of another shape, NaN, a label without a score, and a label of probability 0.

    Examples
    --------
    >>> block_bits(lambda x: torch.zeros(len(x), 4), Data(torch.zeros(3, 1), torch.arange(3)))
    6.0
    """
    check_data(block, "block")
    return label_bits(scores(predictor, block.x), block.y, mixture=mixture)


def check_data(data: Data, name: str = "data", *, real: bool = False) -> None:
    """Refuse no data, and labels that are not classes."""
    if len(data) == 0 or len(data.x) != len(data.y):
        raise ValueError(f"{name} must hold k >= 1 samples with one label each, got {len(data.x)} and {len(data.y)}")
    if not real:
        labelled(name, data)


def check_ends(ends: Sequence[int] | None, data: Data, *, real: bool) -> list[int]:
    """The ends of the blocks, those of `block_ends` if there are none."""
    check_data(data, real=real)
    k, ends = len(data), block_ends(len(data)) if ends is None else list(ends)
    if len(ends) < 2 or ends[0] != 0 or ends[-1] != k or any(stop <= start for start, stop in pairwise(ends)):
        raise ValueError(f"ends must increase from 0 to {k}, got {ends}")
    return ends
