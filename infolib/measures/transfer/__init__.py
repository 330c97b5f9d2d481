"""Information transfer by prequential coding: how many bits of new labels a trained network saves.

A prequential code sends labels y1, ..., yk, whose inputs both sides have, block by block. The learner is trained on
what has been sent, its probabilities price the next block, and the receiver does the same (Dawid 1984, Rissanen 1984;
block form of Blier & Ollivier 2018):

    L(y | x) = - sum over blocks s  sum over i in (t_s, t_s+1]  log2 p(y_i | x_i; learner(θ, first t_s samples)).

Zhang et al. 2020 (arXiv 2009.07624) measure the information in a trained model by such codes. Their equation is not
known to us; `information_transfer` offers three readings of what is known about it.

A state θ is whatever the learner starts from: a network, or counts. A learner is any function

    learner(state, prefix: Data, seed) -> predictor,        predictor(x) -> scores (n, classes),

where a network is a predictor too. The coder takes the log-softmax of the scores in float64: whatever a learner does,
the prices are those of a code, and a learner sees nothing of a block before it is paid for. All lengths are in bits.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus
from torch.optim import Adam

from infolib import checks, training
from infolib.data import Data
from infolib.measures.transfer import _coding
from infolib.measures.transfer._coding import Codelength, Learner, Predictor
from infolib.measures.transfer._coding import block_bits as block_bits
from infolib.measures.transfer._coding import block_ends as block_ends


class Transfer(NamedTuple):
    """Information transfer in bits by one reading, and the two lengths whose difference it is."""

    bits: float
    initial: float
    trained: float
    adapt: str


class Forgetting(NamedTuple):
    """What training on B took from a model of A."""

    forgetting: Tensor  # bits
    retention: Tensor  # share of the bits that A has beyond a model of B alone


def prequential_codelength(
    learner: Learner,
    initial: Any,
    data: Data,
    *,
    ends: Sequence[int] | None = None,
    calibrate: bool = False,
    mixture: bool = False,
    batched: bool = False,
    bits: Callable[[Predictor, Data], float] | None = None,
    seed: int = 0,
) -> Codelength:
    """Prequential codelength L(y1..yk | x1..xk) in bits, in blocks, each learnt from `initial` anew (cold restarts).

    The first block is priced by `initial` itself. `ends` as from `block_ends`, the default; `range(k + 1)` is the code
    without blocks. The order of the samples is that of `data`, and the learner gets the same seed for each block.

    With `calibrate`, scores are multiplied by an inverse temperature, chosen on the last quarter of the prefix for what
    the learner makes of the rest. With `mixture`, a block costs -log2(2^-L / 2 + C^-m / 2), at most 1 bit above the
    uniform code of its m labels. A `batched` learner takes lists of states and prefixes, and gives a list of
    predictors. `bits` prices a block otherwise, such as for labels that are numbers.

    Raises: ValueError for no data, ends that do not rise from 0 to k, scores that are not of shape (n, classes), NaN or
    infinite, a label without a score, and a label of probability 0.

    >>> coin = Data(torch.zeros(10, 1), torch.arange(10) % 3 // 2)  # 3 ones
    >>> laplace = prequential_codelength(counting, torch.ones(1, 2), coin, ends=range(11))
    >>> f"{laplace.bits:.6f}"  # log2 (11 · binomial(10, 3))
    '10.366322'
    """
    options = {"calibrate": calibrate, "mixture": mixture, "batched": batched, "bits": bits}
    return _coding.codes(learner, [initial], data, ends, seed=seed, **options)[0]


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

    Each batch is priced, learnt from by one step of Adam, and followed by a step on a batch of the past for each
    stream. A stream walks through the past and goes back to its beginning with probability 1 / (t + 2) at the t-th
    batch. With `calibrate`, logits are multiplied by softplus(b); b takes a step on each batch after it is paid for.

    Raises: ValueError as `prequential_codelength`, and for an option out of range.
    """
    _coding.check_data(data)
    checks.at_least("streams", streams, 0)
    ends = [*range(0, len(data), checks.at_least("batch_size", batch_size, 1)), len(data)]
    model = training.train(initial, data[:0], steps=0, seed=seed)
    b = torch.tensor(math.log(math.e - 1), dtype=torch.float64, requires_grad=True)  # softplus(b) is 1
    update, calibrator = Adam(model.parameters(), checks.positive("lr", lr), fused=True), Adam([b], 0.02)
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
    learner: Learner,
    adapt: str = "prequential",
    pool: Data | None = None,
    ends: Sequence[int] | None = None,
    **options: Any,
) -> Transfer:
    """Information transfer L_IT in bits: what the trained state saves on k labels that it has not seen (2009.07624).

    The paper's equation is not known to us. Three readings:
    - "prequential", with a confidence of about 75 %: L(initial) - L(trained), two prequential codes of the same
      hold-out in the same order with the same seed; both go on learning. It grows like log k.
    - "static": the same without learning, -log2 p(initial) + log2 p(trained) summed over the hold-out. It grows like k.
    - "sdl_curve": sum over i < n of CE(θ_i) - CE(trained), the hold-out's mean loss of what the learner makes of the
      first i samples of `pool`, which the trained state must come from; `ends` are then those of the pool.

    `options` as in `prequential_codelength`. Not clipped: a state that misleads the learner has a negative transfer.

    Raises: ValueError as `prequential_codelength`, for another reading, "sdl_curve" without a pool, and samples of the
    hold-out that are in the `pool`.

    >>> kt = partial(information_transfer, torch.full((1, 2), 0.5), torch.tensor([[70.5, 30.5]]), learner=counting)
    >>> data = Data(torch.zeros(20, 1), (torch.arange(20) < 6).long())
    >>> f"{kt(data, ends=range(21)).bits:.6f} {kt(data, adapt='static').bits:.6f}"
    '2.376178 2.373913'
    """
    checks.choice("adapt", adapt, ("prequential", "static", "sdl_curve"))
    _check_apart(pool, holdout)
    if adapt == "sdl_curve":
        return _sdl_curve(learner, initial, trained, holdout, pool, ends, **options)
    if adapt == "static":
        ends = [0, len(holdout)]
    codes = _coding.codes(learner, [initial, trained], holdout, ends, **options)
    return Transfer(codes[0].bits - codes[1].bits, codes[0].bits, codes[1].bits, adapt)


def compare(
    initial: Any,
    states: Mapping[str, Any],
    holdout: Data,
    *,
    learner: Learner,
    pool: Data | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Both readings of `information_transfer` that need no pool, of several states beside one initial state: a frame.

    One row per state, `initial` itself among them. Columns: state; L, L_IT, static, in bits; accuracy; k. A pool is for
    the check alone that no sample of the hold-out is in it.

    Raises: as `information_transfer`.
    """
    _check_apart(pool, holdout)
    every = {"initial": initial} | dict(states)
    codes = _coding.codes(learner, list(every.values()), holdout, **options)
    rows = []
    for (name, state), code in zip(every.items(), codes, strict=True):
        predictor = state if isinstance(state, nn.Module) else learner(state, holdout[:0], 0)
        still = (options.get("bits") or _coding.block_bits)(predictor, holdout)
        rows.append({"state": name, "L": code.bits, "static": still, "accuracy": accuracy(predictor, holdout)})
    table = pd.DataFrame(rows).assign(k=len(holdout))
    return table.assign(L_IT=table["L"][0] - table["L"], static=table["static"][0] - table["static"])


def model_information(learner: Learner, initial: Any, trained: Any, data: Data, **options: Any) -> float:
    """Information in a trained state about its own training data, L(y | x) + sum log2 p(y | x; trained), in bits.

    It counts what the state has memorised too, and estimates its complexity: it is no bound (Blier & Ollivier 2018,
    section 3.4). `options` as in `prequential_codelength`.
    """
    static = {name: value for name, value in options.items() if name in ("bits", "seed", "batched")}
    final = prequential_codelength(learner, trained, data, ends=[0, len(data)], **static)
    return prequential_codelength(learner, initial, data, **options).bits - final.bits


def retention(after_a: Any, after_b: Any, b_only: Any) -> Forgetting:
    """Forgetting F = L_IT(A) - L_IT(A→B) in bits, and retention (L_IT(A→B) - L_IT(B)) / (L_IT(A) - L_IT(B)).

    All on hold-out samples of task A; B alone may help or hurt A, which is no merit of what was kept.

    Raises: ValueError where A and B have the same transfer.

    >>> retention(200.0, 120.0, -40.0).retention.item()
    0.6666666666666666
    """
    a, ab, b = (checks.floats(*pair, min_ndim=0).double() for pair in
                (("after_a", after_a), ("after_b", after_b), ("b_only", b_only)))  # fmt: skip
    if (a == b).any():
        raise ValueError("after_a and b_only must differ: there is nothing to retain")
    return Forgetting(a - ab, (ab - b) / (a - b))


def surplus_description_length(code: Codelength, *, tolerance: float) -> float:
    """Surplus description length sum_i [L_i - tolerance]_+ in bits, L_i the mean price of a label in its block.

    The bits beyond `tolerance` per label that it takes to learn (Whitney et al. 2020); L_i is the price that was paid,
    not a loss on other data.
    """
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance must be a number of at least 0, got {tolerance}")
    sizes = torch.tensor(code.ends, dtype=torch.float64).diff()
    return float((code.costs - tolerance * sizes).clamp(min=0).sum())


def counting(state: Tensor, prefix: Data, _seed: int = 0) -> Predictor:
    """Learner that counts: p(y | x) = counts[x, y] / sum of counts[x]; the state holds counts (cells, classes) > 0.

    1 in each is Laplace's rule, 1/2 the one of Krichevsky and Trofimov. x (n, 1) names the cell; (n, cells) is one-hot.
    """
    counts = state.double().clone()
    cells = partial(_cells, cells=len(counts))
    counts.index_put_((cells(prefix.x), prefix.y), torch.ones(len(prefix), dtype=torch.float64), accumulate=True)
    log_p = (counts / counts.sum(1, keepdim=True)).log()
    return lambda x: log_p[cells(x)]


def network(state: nn.Module, prefix: Data, seed: int, **options: Any) -> nn.Module:
    """Learner that trains a copy of a network: `training.train` with its options, such as steps, batch_size and lr."""
    return training.train(state, prefix, seed=seed, **options)


def networks(states: Sequence[nn.Module], prefixes: Sequence[Data], seed: int, **options: Any) -> list[nn.Sequential]:
    """The same for tiny perceptrons, all blocks at once: `training.train_many`; for a code with `batched=True`."""
    return training.train_many(states, prefixes, seed=seed, **options)


def calibrated(model: nn.Module, data: Data) -> nn.Module:
    """A copy of the network with the inverse temperature that suits `data` best folded into its last layer.

    The data must be neither of the hold-out nor the network's own training data.
    """
    return training.fold(model, _coding.inverse_temperature(_coding.scores(model, data.x), data.y))


def accuracy(predictor: Predictor, data: Data) -> float:
    """Share of the samples whose label has the highest score."""
    return (_coding.scores(predictor, data.x).argmax(1) == data.y).double().mean().item()


def overlap(pool: Data, holdout: Data) -> int:
    """How many samples of the hold-out are in the pool, value by value."""
    known = {row.numpy().tobytes() for row in pool.x.flatten(1)}
    return sum(row.numpy().tobytes() in known for row in holdout.x.flatten(1))


def _sdl_curve(
    learner: Learner,
    initial: Any,
    trained: Any,
    holdout: Data,
    pool: Data | None,
    ends: Sequence[int] | None,
    *,
    bits: Callable[[Predictor, Data], float] | None = None,
    **options: Any,
) -> Transfer:
    if pool is None:
        raise ValueError("adapt='sdl_curve' needs the pool that the trained state comes from, got None")
    ends = _coding.check_ends(ends, pool)
    _coding.check_data(holdout)
    price = bits or _coding.block_bits
    options = {"seed": 0, "calibrate": False, "batched": False} | options
    prefixes = [pool[:start] for start in ends[:-1]]
    *curve, last = _coding.predictors(learner, [initial] * len(prefixes) + [trained], [*prefixes, pool[:0]], **options)
    losses = [price(predictor, holdout) / len(holdout) for predictor in curve]
    area = sum((stop - start) * loss for (start, stop), loss in zip(pairwise(ends), losses, strict=True))
    floor = len(pool) * price(last, holdout) / len(holdout)
    return Transfer(area - floor, area, floor, "sdl_curve")


def _check_apart(pool: Data | None, holdout: Data) -> None:
    if pool is not None and (both := overlap(pool, holdout)):
        raise ValueError(f"holdout must not share samples with pool, got {both} of {len(holdout)} that do")


def _cells(x: Tensor, *, cells: int) -> Tensor:
    if cells == 1:
        return torch.zeros(len(x), dtype=torch.long)
    return x[:, 0].long() if x.shape[1] == 1 else x.argmax(1)
