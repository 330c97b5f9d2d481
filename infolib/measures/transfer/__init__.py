"""Information transfer by prequential coding: how many bits of new labels a trained network saves.

A prequential code sends labels y1, ..., yk, whose inputs both sides have, block by block. The learner is trained on
what has been sent. Its probabilities give the length of the next block, and the receiver does the same (Dawid 1984,
Rissanen 1984; block form of Blier & Ollivier 2018):

    L(y | x) = - sum over blocks s  sum over i in (t_s, t_s+1]  log2 p(y_i | x_i; learner(θ, first t_s samples)).

Zhang et al. 2020 (arXiv 2009.07624) measure the information in a trained model by such codes. Their equation is not
known to us; `information_transfer` has three definitions that fit what is known about it.

A state θ is whatever the learner starts from: a network, or counts. A learner is any function

    learner(state, prefix: Data, seed) -> predictor,        predictor(x) -> scores (n, classes),

where a network is a predictor too. The coder takes the log-softmax of the scores in float64: the lengths are those of a
code for any learner, and a learner gets nothing of a block before the block is sent. All lengths are in bits.

The options of a learner are bound by `functools.partial`, such as `partial(network, steps=100)`. An option that the
learner does not take is refused before anything is learnt.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Unpack

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus
from torch.optim import Adam

from infolib import checks, training
from infolib.activations import device_of, placed
from infolib.data import Data
from infolib.measures import _options
from infolib.measures.transfer import _coding
from infolib.measures.transfer._coding import (
    BatchedLearner,
    Codelength,
    Coding,
    Learner,
    Predictor,
    Price,
    block_bits,
    block_ends,
)

__all__ = [
    "BatchedLearner", "Codelength", "Coding", "Forgetting", "Learner", "Predictor", "Price", "Transfer", "accuracy",
    "block_bits", "block_ends", "calibrated", "compare", "counting", "information_transfer", "model_information",
    "network", "networks", "overlap", "prequential_codelength", "replay_codelength", "retention",
    "surplus_description_length",
]  # fmt: skip


class Transfer(NamedTuple):
    """Information transfer L_IT in bits by one definition, and the two lengths whose difference it is.

    Parameters
    ----------
    bits : float
        initial minus trained.
    initial, trained : float
        Codelengths in bits from either state.
    adapt : str
        The definition.
    """

    bits: float
    initial: float
    trained: float
    adapt: str


class Forgetting(NamedTuple):
    """How much of A a model has lost by training on B.

    Parameters
    ----------
    forgetting : Tensor
        F = L_IT(A) - L_IT(A→B) in bits.
    retention : Tensor
        Fraction of the bits that A has beyond a model of B alone.
    """

    forgetting: Tensor
    retention: Tensor


def prequential_codelength(
    learner: Learner | BatchedLearner,
    initial: Any,
    data: Data,
    *,
    ends: Sequence[int] | None = None,
    calibrate: bool = False,
    mixture: bool = False,
    batched: bool = False,
    bits: Price | None = None,
    seed: int = 0,
) -> Codelength:
    """Prequential codelength L(y1..yk | x1..xk) in bits, in blocks, each learnt from `initial` anew (cold restarts).

    The first block's length is that of `initial` itself. The order of the samples is that of `data`.

    Parameters
    ----------
    learner : callable
        As at the head of this package; it gets the same seed for each block.
    initial : object
        The state that the learner starts from.
    data : Data
        k samples, whose labels are sent.
    ends : sequence of int, optional
        Ends of the blocks, by default those of `block_ends`; `range(k + 1)` is the code without blocks.
    calibrate : bool
        Multiply scores by an inverse temperature. It is chosen on the last quarter of the prefix, for the learner
        trained on the rest.
    mixture : bool
        A block costs -log2(2^-L / 2 + C^-m / 2), at most 1 bit above the uniform code of its m labels.
    batched : bool
        The learner takes lists of states and prefixes, and returns a list of predictors.
    bits : callable, optional
        The length in bits of a block, from a predictor and the block, such as for labels that are numbers.
    seed : int
        Seed of the learner.

    Returns
    -------
    Codelength

    Raises
    ------
    ValueError
        For an option that the learner does not take; no data, ends that do not rise from 0 to k, scores that are not of
        shape (n, classes), NaN or infinite, a label without a score, and a label of probability 0.

    Examples
    --------
    >>> coin = Data(torch.zeros(10, 1), torch.arange(10) % 3 // 2)  # 3 ones
    >>> laplace = prequential_codelength(counting, torch.ones(1, 2), coin, ends=range(11))
    >>> f"{laplace.bits:.6f}"  # log2 (11 · binomial(10, 3))
    '10.366322'
    """
    options: Coding = {"calibrate": calibrate, "mixture": mixture, "batched": batched, "bits": bits, "seed": seed}
    return _coding.codes(learner, [initial], data, ends, **options)[0]


def replay_codelength(
    initial: nn.Module,
    data: Data,
    *,
    batch_size: int = 8,
    streams: int = 24,
    lr: float = 1e-3,
    calibrate: bool = True,
    seed: int = 0,
) -> Codelength:
    """Prequential codelength in bits of one pass through the data, with replay streams (Bornschein et al. 2022).

    Each batch is sent and learnt from by one step of Adam; a step on a batch of the past follows for each stream. A
    stream walks through the past and goes back to its beginning with probability 1 / (t + 2) at the t-th batch.

    Parameters
    ----------
    initial : nn.Module
        The network before the first batch; it stays as it is.
    data : Data
        k samples, whose labels are sent.
    batch_size, streams : int
        Samples of a batch; replayed batches for each new one, at least 0.
    lr : float
        Learning rate of Adam.
    calibrate : bool
        Multiply logits by softplus(b), where b takes a step on each batch after it is sent.
    seed : int
        Seed of the streams and the network.

    Returns
    -------
    Codelength

    Raises
    ------
    ValueError
        As `prequential_codelength`, and for an option out of range.

    Examples
    --------
    >>> x = torch.eye(2).repeat(16, 1)
    >>> code = replay_codelength(training.zero_head(nn.Linear(2, 2)), Data(x, x.argmax(1)), lr=0.1)
    >>> code.ends, code.costs[0].item(), bool(code.costs[-1] < 1)
    ([0, 8, 16, 24, 32], 8.0, True)
    """
    _coding.check_data(data)
    checks.at_least("streams", streams, 0)
    ends = [*range(0, len(data), checks.at_least("batch_size", batch_size, 1)), len(data)]
    model = training.train(initial, data[:0], steps=0, seed=seed)
    data = Data(placed(model, data.x), data.y.to(device_of(model)))
    b = torch.tensor(math.log(math.e - 1), dtype=torch.float64, requires_grad=True)  # softplus(b) is 1
    update = Adam(model.parameters(), checks.within("lr", checks.positive("lr", lr), 0), fused=True)
    calibrator = Adam([b], 0.02)
    generator, places, costs = torch.Generator().manual_seed(seed), torch.zeros(streams, dtype=torch.long), []
    batches = [data[start:stop] for start, stop in pairwise(ends)]

    def loss(batch: Data) -> Tensor:
        return cross_entropy(model(batch.x), batch.y)

    def scaled_loss(priced: tuple[Tensor, Tensor]) -> Tensor:
        scores, y = priced
        return cross_entropy(scores * softplus(b), y)

    for t, batch in enumerate(batches):
        scores = _coding.scores(model, batch.x)
        costs.append(_coding.label_bits(scores * softplus(b).item(), batch.y))
        if calibrate:
            list(training.descend(calibrator, scaled_loss, [(scores, batch.y)]))
        if t == len(batches) - 1:  # nothing is coded after it, and batch norm cannot train on what may be one sample
            break
        back = torch.rand(streams, generator=generator) < 1 / (t + 2)
        places = torch.where(back, 0, places + 1).clamp(max=t)
        model.train()
        list(training.descend(update, loss, [batches[place] for place in [t, *places.tolist()]]))
    return Codelength(sum(costs), torch.tensor(costs, dtype=torch.float64), ends)


def information_transfer(
    initial: Any,
    trained: Any,
    holdout: Data,
    *,
    learner: Learner | BatchedLearner,
    adapt: Literal["prequential", "static", "sdl_curve"] = "prequential",
    pool: Data | None = None,
    ends: Sequence[int] | None = None,
    **options: Unpack[Coding],
) -> Transfer:
    """Information transfer L_IT in bits: what the trained state saves on k labels that are new to it (2009.07624).

    The paper's equation is not known to us. Three definitions; we give the first a confidence of about 50 %, the last
    40 %:

    - "prequential": L(initial) - L(trained), two prequential codes of the same hold-out in the same order with the
      same seed; both go on learning. It grows like log k.
    - "static": the same without learning, -log2 p(initial) + log2 p(trained) summed over the hold-out. It grows like k.
    - "sdl_curve": sum over i < n of CE(θ_i) - CE(trained), the hold-out's mean loss of the learner trained on the
      first i samples of `pool`, from which the trained state must come.

    Not clipped: a state that misleads the learner has a negative transfer.

    Parameters
    ----------
    initial, trained : object
        States that the learner starts from.
    holdout : Data
        k samples, whose labels are sent.
    learner : callable
        As at the head of this package.
    adapt : str
        The definition.
    pool : Data, optional
        The samples that the trained state comes from. None of the hold-out may be among them.
    ends : sequence of int, optional
        Ends of the blocks; of the pool's for "sdl_curve".
    **options
        calibrate, mixture, batched, bits, seed, as `prequential_codelength` takes them; no mixture for "sdl_curve".

    Returns
    -------
    Transfer

    Raises
    ------
    ValueError
        As `prequential_codelength`, for another definition, "sdl_curve" without a pool or with a mixture, and samples
        of the hold-out that are in the `pool`.

    Examples
    --------
    >>> kt = partial(information_transfer, torch.full((1, 2), 0.5), torch.tensor([[70.5, 30.5]]), learner=counting)
    >>> data = Data(torch.zeros(20, 1), (torch.arange(20) < 6).long())
    >>> f"{kt(data, ends=range(21)).bits:.6f} {kt(data, adapt='static').bits:.6f}"
    '2.376178 2.373913'
    """
    checks.choice("adapt", adapt, ("prequential", "static", "sdl_curve"))
    _check_apart(pool, holdout, real=options.get("bits") is not None)
    if adapt == "sdl_curve":
        return _sdl_curve(learner, initial, trained, holdout, pool, ends, **options)
    ends = [0, len(holdout)] if adapt == "static" else ends
    codes = _coding.codes(learner, [initial, trained], holdout, ends, **options)
    return Transfer(codes[0].bits - codes[1].bits, codes[0].bits, codes[1].bits, adapt)


def compare(
    initial: Any,
    states: Mapping[Any, Any],
    holdout: Data,
    *,
    learner: Learner | BatchedLearner,
    pool: Data | None = None,
    ends: Sequence[int] | None = None,
    **options: Unpack[Coding],
) -> pd.DataFrame:
    """Information transfer L_IT of several states in bits, prequential and static, from one initial state: a frame.

    Parameters
    ----------
    initial : object
        The state that the others are compared with.
    states : mapping
        The other states, by any name.
    holdout : Data
        k samples, whose labels are sent.
    learner : callable
        As at the head of this package.
    pool : Data, optional
        Samples that none of the hold-out may be among: for the check alone.
    ends
        As `prequential_codelength` takes them.
    **options
        calibrate, mixture, batched, bits, seed, as `prequential_codelength` takes them.

    Returns
    -------
    DataFrame
        One row per state, `initial` itself among them. Columns: state; L, L_IT, static, in bits; accuracy; k.

    Raises
    ------
    ValueError
        As `information_transfer`.

    Examples
    --------
    >>> data = Data(torch.zeros(20, 1), (torch.arange(20) < 6).long())
    >>> trained = {"trained": torch.tensor([[70.5, 30.5]])}
    >>> compare(torch.full((1, 2), 0.5), trained, data, learner=counting, ends=range(21))["L_IT"].round(6).tolist()
    [0.0, 2.376178]
    """
    _check_apart(pool, holdout, real=options.get("bits") is not None)
    every = {"initial": initial} | dict(states)
    codes = _coding.codes(learner, list(every.values()), holdout, ends, **options)
    batched, price = options.get("batched", False), options.get("bits") or _coding.block_bits
    rows, none = [], [holdout[:0]]
    for (name, state), code in zip(every.items(), codes, strict=True):
        (predictor,) = _coding.predictors(learner, [state], none, seed=0, calibrate=False, batched=batched)
        still = price(predictor, holdout)
        rows.append({"state": name, "L": code.bits, "static": still, "accuracy": accuracy(predictor, holdout)})
    table = pd.DataFrame(rows).assign(k=len(holdout))
    return table.assign(L_IT=table["L"][0] - table["L"], static=table["static"][0] - table["static"])


def model_information(
    learner: Learner | BatchedLearner,
    initial: Any,
    trained: Any,
    data: Data,
    *,
    ends: Sequence[int] | None = None,
    **options: Unpack[Coding],
) -> float:
    """Information in a trained state about its own training data, L(y | x) + sum log2 p(y | x; trained), in bits.

    It includes what the state has memorised, and estimates its complexity; it is not a bound (Blier & Ollivier
    2018, section 3.4).

    Parameters
    ----------
    learner : callable
        As at the head of this package.
    initial, trained : object
        States that the learner starts from, and ends at.
    data : Data
        The training samples.
    ends
        As `prequential_codelength` takes them.
    **options
        calibrate, mixture, batched, bits, seed, as `prequential_codelength` takes them.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        As `prequential_codelength`.

    Examples
    --------
    >>> coin = Data(torch.zeros(10, 1), torch.arange(10) % 3 // 2)
    >>> initial = torch.ones(1, 2)
    >>> f"{model_information(counting, initial, initial + torch.tensor([[7, 3]]), coin, ends=range(11)):.6f}"
    '1.516697'
    """
    learnt = prequential_codelength(learner, initial, data, ends=ends, **options)
    static: Coding = {**options, "calibrate": False, "mixture": False}
    return learnt.bits - prequential_codelength(learner, trained, data, ends=[0, len(data)], **static).bits


def retention(after_a: Any, after_b: Any, b_only: Any) -> Forgetting:
    """Forgetting F = L_IT(A) - L_IT(A→B) in bits, and retention (L_IT(A→B) - L_IT(B)) / (L_IT(A) - L_IT(B)).

    B alone may help or hurt A, and the retention does not count that.

    Parameters
    ----------
    after_a, after_b, b_only : array of float
        L_IT in bits on hold-out samples of task A: after A, after A and then B, and after B alone.

    Returns
    -------
    Forgetting

    Raises
    ------
    ValueError
        Where A and B have the same transfer.

    Examples
    --------
    >>> retention(200.0, 120.0, -40.0).retention.item()
    0.6666666666666666
    """
    a, ab, b = (checks.floats(*pair, min_ndim=0).double() for pair in
                (("after_a", after_a), ("after_b", after_b), ("b_only", b_only)))  # fmt: skip
    if (a == b).any():
        raise ValueError("after_a and b_only must differ: there is nothing to retain")
    return Forgetting(a - ab, (ab - b) / (a - b))


def surplus_description_length(code: Codelength, *, tolerance: float) -> float:
    """Surplus description length sum_i [L_i - tolerance]_+ in bits, L_i the mean bits of a label in its block.

    The bits beyond `tolerance` per label that it takes to learn (Whitney et al. 2020). L_i is of the code itself, not a
    loss on other data.

    Parameters
    ----------
    code : Codelength
        As `prequential_codelength` returns it.
    tolerance : float
        Bits per label, at least 0.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For a tolerance that is negative or infinite.

    Examples
    --------
    >>> code = Codelength(12.0, torch.tensor([10.0, 2.0], dtype=torch.float64), [0, 4, 8])
    >>> surplus_description_length(code, tolerance=1.0)
    6.0
    """
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance must be a number of at least 0, got {tolerance}")
    sizes = torch.tensor(code.ends, dtype=torch.float64).diff()
    return float((code.costs - tolerance * sizes).clamp(min=0).sum())


def counting(state: Tensor, prefix: Data, _seed: int = 0) -> Predictor:
    """Learner that counts: p(y | x) = counts[x, y] / sum of counts[x].

    Parameters
    ----------
    state : Tensor, shape (cells, classes)
        Counts above 0 to start with: 1 in each is Laplace's rule, 1/2 the one of Krichevsky and Trofimov.
    prefix : Data
        What it counts; x (n, 1) is the cell, (n, cells) its one-hot code.
    _seed : int
        Not used.

    Returns
    -------
    callable
        From x to log-probabilities (n, classes), float64.

    Examples
    --------
    >>> predictor = counting(torch.ones(1, 2), Data(torch.zeros(3, 1), torch.tensor([0, 0, 1])))
    >>> predictor(torch.zeros(1, 1)).exp().round(decimals=4)
    tensor([[0.6000, 0.4000]], dtype=torch.float64)
    """
    counts = state.double().clone()
    if len(prefix):
        _coding.check_data(prefix, "prefix")
    cells = partial(_cells, cells=len(counts))
    counts.index_put_((cells(prefix.x), prefix.y), counts.new_ones(len(prefix)), accumulate=True)
    log_p = (counts / counts.sum(1, keepdim=True)).log()
    return lambda x: log_p[cells(x)]


def network(
    state: nn.Module,
    prefix: Data,
    seed: int,
    *,
    steps: int,
    epochs: float = 0.0,
    batch_size: int = 32,
    lr: float = 1e-3,
    head: slice = slice(None),
    memory: Data | None = None,
    term: training.Term | None = None,
) -> nn.Module:
    """Learner that trains a copy of a network: `training.train`.

    Parameters
    ----------
    state : nn.Module
        The network that training starts from; it stays as it is.
    prefix : Data
        Training samples.
    seed : int
        Seed of the minibatches.
    steps, epochs, batch_size, lr, head, memory, term
        As `training.train` takes them.

    Returns
    -------
    nn.Module
        The trained copy.

    Examples
    --------
    >>> data, theta = Data(torch.eye(2), torch.arange(2)), training.zero_head(nn.Linear(2, 2))
    >>> accuracy(network(theta, data, 0, steps=20, lr=0.1), data)
    1.0
    >>> prequential_codelength(partial(network, step=20), theta, data)
    Traceback (most recent call last):
    ValueError: unknown option 'step' of network; allowed: steps, epochs, batch_size, lr, head, memory, term
    """
    train = partial(training.train, head=head, memory=memory, term=term)
    if len(prefix):
        _coding.check_data(prefix, "prefix")
    return train(state, prefix, steps=steps, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed)


def networks(
    states: Sequence[nn.Sequential],
    prefixes: Sequence[Data],
    seed: int,
    *,
    steps: int,
    batch_size: int = 32,
    lr: float = 1e-3,
) -> list[nn.Sequential]:
    """Learner that trains tiny perceptrons, all blocks at once: `training.train_many`, for a code with `batched=True`.

    Parameters
    ----------
    states : sequence of nn.Sequential
        The networks that training starts from; they stay as they are.
    prefixes : sequence of Data
        Training samples of each.
    seed : int
        Seed of the minibatches.
    steps, batch_size, lr
        As `training.train_many` takes them.

    Returns
    -------
    list of nn.Sequential
        The trained copies.

    Examples
    --------
    >>> data = Data(torch.eye(2), torch.arange(2))
    >>> theta = training.zero_head(nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2)))
    >>> [accuracy(net, data) for net in networks([theta, theta], [data[:0], data], 0, steps=50, lr=0.1)]
    [0.5, 1.0]
    """
    if not len(states) == len(prefixes) > 0:
        raise ValueError(f"states and prefixes must have one length, at least 1, got {len(states)} and {len(prefixes)}")
    return training.train_many(states, prefixes, seed=seed, steps=steps, batch_size=batch_size, lr=lr)


def calibrated(model: nn.Module, data: Data) -> nn.Module:
    """A copy of the network with the inverse temperature that suits `data` best folded into its last layer.

    Parameters
    ----------
    model : nn.Module
        It stays as it is.
    data : Data
        Neither of the hold-out nor the network's own training data.

    Returns
    -------
    nn.Module

    Examples
    --------
    >>> net, data = nn.Linear(2, 2, bias=False), Data(torch.eye(2).repeat(2, 1), torch.tensor([0, 1, 0, 0]))
    >>> _ = net.weight.data.copy_(10 * torch.eye(2))  # sure, and wrong about one of four
    >>> before, after = (prequential_codelength(counting, model, data, ends=[0, 4]).bits
    ...                  for model in (net, calibrated(net, data)))
    >>> after < before / 3
    True
    """
    _coding.check_data(data)
    return training.fold(model, _coding.inverse_temperature(_coding.scores(model, data.x), data.y))


def accuracy(predictor: Predictor, data: Data) -> float:
    """Fraction of the samples whose label has the highest score.

    Parameters
    ----------
    predictor : callable
        Network, or function of x (n, ...) with scores (n, classes).
    data : Data
        The n samples.

    Returns
    -------
    float

    Examples
    --------
    >>> accuracy(nn.Identity(), Data(torch.eye(4), torch.tensor([0, 1, 0, 0])))
    0.5
    """
    _coding.check_data(data)
    return (_coding.scores(predictor, data.x).argmax(1) == data.y).double().mean().item()


def overlap(pool: Data, holdout: Data) -> int:
    """How many samples of the hold-out are in the pool, value by value.

    Parameters
    ----------
    pool, holdout : Data
        Samples of one shape.

    Returns
    -------
    int

    Examples
    --------
    >>> x = torch.arange(5.0)[:, None]
    >>> overlap(Data(x[:4], torch.zeros(4).long()), Data(x[2:], torch.zeros(3).long()))
    2
    """
    known = {row.numpy().tobytes() for row in pool.x.cpu().flatten(1)}
    return sum(row.numpy().tobytes() in known for row in holdout.x.cpu().flatten(1))


def _sdl_curve(
    learner: Learner | BatchedLearner,
    initial: Any,
    trained: Any,
    holdout: Data,
    pool: Data | None,
    ends: Sequence[int] | None,
    *,
    calibrate: bool = False,
    mixture: bool = False,
    batched: bool = False,
    bits: Price | None = None,
    seed: int = 0,
) -> Transfer:
    if mixture:
        raise ValueError("mixture is an option of codes, and adapt='sdl_curve' sends none")
    if pool is None:
        raise ValueError("adapt='sdl_curve' needs the pool that the trained state comes from, got None")
    ends = _coding.check_ends(ends, pool, real=bits is not None)
    _options.check(learner)
    prefixes, price = [pool[:start] for start in ends[:-1]], bits or _coding.block_bits
    states, prefixes = [initial] * len(prefixes) + [trained], [*prefixes, pool[:0]]
    *curve, last = _coding.predictors(learner, states, prefixes, seed=seed, calibrate=calibrate, batched=batched)
    losses = [price(predictor, holdout) / len(holdout) for predictor in curve]
    area = sum((stop - start) * loss for (start, stop), loss in zip(pairwise(ends), losses, strict=True))
    floor = len(pool) * price(last, holdout) / len(holdout)
    return Transfer(area - floor, area, floor, "sdl_curve")


def _check_apart(pool: Data | None, holdout: Data, *, real: bool) -> None:
    for name, part in (("holdout", holdout), ("pool", pool)):
        if part is not None:
            _coding.check_data(part, name, real=real)
    if pool is not None and (both := overlap(pool, holdout)):
        raise ValueError(f"holdout must not share samples with pool, got {both} of {len(holdout)} that do")


def _cells(x: Tensor, *, cells: int) -> Tensor:
    if cells == 1:
        return torch.zeros(len(x), dtype=torch.long)
    return x[:, 0].long() if x.shape[1] == 1 else x.argmax(1)


checks.guard(globals())
