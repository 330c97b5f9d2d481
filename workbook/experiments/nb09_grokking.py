"""The records of notebook 09, its task with known information, its networks, and what is measured while they train.

The task is c = (a + b) mod p. Over all p² pairs I(a;c) = I(b;c) = 0 and I(a,b;c) = log2 p bits, exactly. A network is
trained on some of the pairs, all at once; everything is measured on the others, which it has not seen.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Annotated, Any, Literal, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from infolib import activations, checks, training
from infolib.data import Data
from infolib.estimators import binning, chance, discrete, renyi
from infolib.measures import lenses, transfer
from workbook import models, records
from workbook.records import (
    RISING,
    Count,
    Natural,
    NotNegative,
    Positive,
    Rate,
    Rule,
    Seeds,
    Ten,
    Units,
    between,
    entries,
)

ARMS = ("groks", "too few pairs", "permuted labels", "no weight decay")
LAYERS = ("hidden", "output")  # where information is measured, for tables and figures
MEMORISED = 0.5  # steps times learning rate: in pilots, networks have learnt their pairs by heart after as much
GROKKED = 0.9  # test accuracy at the end: below it there was no grokking, and no moment before it
BY_HEART = 0.1  # bits: the training loss below which a network has
LEADING = 3  # frequencies

Arm = Literal["groks", "too few pairs", "permuted labels", "no weight decay"]
Prime = Annotated[
    int, Rule("that is a prime from 11 to 199", lambda p: 11 <= p < 200 and all(p % d for d in range(2, p)))
]
Pairs = Annotated[float, between(0.01, 0.99)]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network, its task and its training by AdamW on all training pairs at once, with a warm-up."""

    kind: Literal["MLP", "transformer"] = "MLP"  # embeddings summed and a hidden layer, or one layer of attention
    p: Prime  # of the task; the frequencies of its embedding are alike only if it is prime
    share: Pairs  # of all pairs that the network is trained on
    few: Pairs  # the same for the configuration with too few pairs
    lr: Rate  # learning rate
    steps: Count  # of training, at most: it ends at the last checkpoint
    weight_decay: NotNegative = 1.0  # of all weights
    warm: Count = 10  # steps until the learning rate is reached
    width: Units = 128  # units of the embedding
    hidden: Units = 256  # units of the hidden layer

    def __post_init__(self) -> None:
        least = math.ceil(2 * MEMORISED / self.lr)
        checks.hold(
            "steps", self.steps, self.steps >= least, f"at least {least} at lr {self.lr:g}, or it cannot memorise"
        )
        checks.hold("few", self.few, self.few < self.share, f"below share, {self.share:g}")
        checks.hold("width", self.width, self.width % 4 == 0, "a multiple of 4, the heads of the attention")
        for name in ("share", "few"):
            n = round(getattr(self, name) * self.p**2)
            checks.hold(
                name, getattr(self, name), self.p <= n < self.p**2, f"such that {self.p} pairs or more are in it"
            )

    @property
    def name(self) -> str:
        """For tables and figures, such as "MLP, p = 31"."""
        return f"{self.kind}, p = {self.p}"

    @property
    def layers(self) -> list[str]:
        """The network's own names of LAYERS."""
        return ["perceptron.hidden" if self.kind == "transformer" else "hidden", "output"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How information is measured."""

    n: Ten  # held-out pairs whose activations are compared, and whose sums a code by a probe sends
    k: Ten  # held-out sums that a code sends, for information transfer
    ratio: Positive = 0.5  # kernel width, as part of the root mean squared distance, at alpha = 1.01 and at 2
    wide: Positive = 1.0  # the same at 2 alone
    permutations: Count = 2  # for chance, at alpha = 1.01; at 2 it is exact
    steps: Count = 30  # of training for the second half of that code
    pairs: Annotated[int, between(2, 256)] = 32  # hidden units, those of largest variance, of which pairs are taken


class Found(NamedTuple):
    """What a run leaves.

    Parameters
    ----------
    table : DataFrame
        A row for each step and quantity, as of `measured`.
    power : DataFrame
        A row for each step and frequency, as of `frequencies`.
    """

    table: pd.DataFrame
    power: pd.DataFrame


RECORDS = {"networks": Network, "measured": Measured}
RANGES = {"n_seeds": Seeds, "part": Annotated[float, between(0.01, 0.5)], "arms": Annotated[list[Arm], entries(2)],
          "checkpoints": Annotated[list[Natural], RISING, entries(4)]}  # fmt: skip


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse what cannot be measured, before anything is trained.

    Parameters
    ----------
    parameters : mapping
        All parameters of notebook 09 by name; those of RECORDS are records.

    Raises
    ------
    ValueError
        Names the parameter: for no network, checkpoints that do not begin at 0 or lie beyond a network's steps,
        more pairs to measure or labels to send than are held out, and arms without those that claims compare.
    """
    networks, how, checkpoints = parameters["networks"], parameters["measured"], parameters["checkpoints"]
    checks.at_least("the number of networks", len(networks), 1)
    checks.hold("checkpoints", checkpoints, checkpoints[0] == 0, "a list that begins at 0, the untrained network")
    names = {"groks", "permuted labels"}
    checks.hold("arms", parameters["arms"], names <= set(parameters["arms"]), f"with {' and '.join(sorted(names))}")
    for i, network in enumerate(networks):
        with records.placed(f"networks[{i}], share {network.share:g}"):
            least = network.p**2 - round(network.share * network.p**2)
            checks.within("n of measured", how.n, 10, least), checks.within("k of measured", how.k, 10, least)
            last, end = checkpoints[-1], network.steps
            checks.hold("the last of checkpoints", last, last <= end, f"at most {end}, the steps of the network")


def pairs(p: int) -> Data:
    """All p² pairs (a, b) and their sums mod p.

    Parameters
    ----------
    p : int
        The modulus.

    Returns
    -------
    Data
        x (p², 2) and y, in the order of a and then of b.

    Examples
    --------
    >>> pairs(3).y.tolist()
    [0, 1, 2, 1, 2, 0, 2, 0, 1]
    """
    x = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    return Data(x, x.sum(1) % p)


def split(network: Network, arm: Arm, seed: int) -> tuple[Data, Data]:
    """Training pairs and held-out pairs of a configuration, in random order.

    Parameters
    ----------
    network : Network
        The task, and the shares of its pairs.
    arm : str
        "permuted labels" gives each of all pairs the sum of another; "too few pairs" has the smaller share.
    seed : int
        Of order and permutation.

    Returns
    -------
    tuple of Data
        The pairs that are held out of "groks" are held out of "too few pairs" first, in the same order.
    """
    draw = torch.Generator().manual_seed(seed)
    data = pairs(network.p).shuffled(draw)
    data = data.permuted_labels(draw) if arm == "permuted labels" else data
    n = [round(share * len(data)) for share in (network.share, network.few)]
    return data[: n[arm == "too few pairs"]], Data.joined(
        [data[n[0] :], data[n[1] : n[0]]][: 1 + (arm == "too few pairs")]
    )


def start(network: Network, seed: int) -> nn.Sequential:
    """The untrained network.

    Parameters
    ----------
    network : Network
        Its kind and sizes.
    seed : int
        Of its weights.

    Returns
    -------
    nn.Sequential
    """
    make = models.transformer if network.kind == "transformer" else models.embedding_mlp
    return make(network.p, width=network.width, hidden=network.hidden, seed=seed).eval()


def train(network: Network, arm: Arm, data: Data, seed: int) -> Iterator[tuple[int, nn.Sequential]]:
    """A network before training and after each step.

    Parameters
    ----------
    network : Network
        The network and its training.
    arm : str
        "no weight decay" has none.
    data : Data
        Training pairs, all in each step.
    seed : int
        Of the weights.

    Yields
    ------
    tuple of int and nn.Sequential
        The step, from 0, and the network, always the same object.

    Raises
    ------
    FloatingPointError
        When the loss is no longer finite.
    """
    model = start(network, seed)
    decay = 0.0 if arm == "no weight decay" else network.weight_decay
    optimizer = AdamW(model.parameters(), network.lr, betas=(0.9, 0.98), weight_decay=decay, fused=True)
    warmer = LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / network.warm))
    yield 0, model
    steps = training.descend(optimizer, lambda _: cross_entropy(model(data.x), data.y), range(1, network.steps + 1))
    for step, _ in steps:
        warmer.step()
        yield step, model


def run(network: Network, arm: Arm, seed: int, *, how: Measured, checkpoints: list[int]) -> Found:
    """Train a network of a configuration, and measure it at checkpoints.

    Parameters
    ----------
    network : Network
        The network and its training.
    arm : str
        One of ARMS.
    seed : int
        Of split, weights and permutations.
    how : Measured
        What is measured, and on how much.
    checkpoints : list of int
        Steps; training ends at the last one.

    Returns
    -------
    Found
        With the columns network, kind, p, arm and seed.
    """
    known, held = split(network, arm, seed)
    measure = partial(measured, how=how, known=known, untrained=start(network, seed), seed=seed)
    watches = [lenses.Watch(held, network.layers, every=1, measure=each) for each in (measure, frequencies)]
    torch.set_flush_denormal(True)  # squared gradients of what is known by heart are so small: four times as slow
    try:
        for step, model in islice(train(network, arm, known, seed), checkpoints[-1] + 1):
            for watch in watches if step in checkpoints else ():
                watch(model, step)
    finally:
        torch.set_flush_denormal(False)
    same = {"network": network.name, "kind": network.kind, "p": network.p, "arm": arm, "seed": seed}
    return Found(*(watch.table.assign(**same) for watch in watches))


def measured(
    model: nn.Module,
    data: Data,
    layers: list[str],
    *,
    how: Measured,
    known: Data,
    untrained: nn.Module,
    seed: int,
) -> pd.DataFrame:
    """What a network has of the pairs and their sums, at one step.

    Parameters
    ----------
    model : nn.Module
        The network.
    data : Data
        Held-out pairs, of which the first are measured.
    layers : list of str
        The network's own names of LAYERS, in that order.
    how : Measured
        What is measured, and on how much.
    known : Data
        Training pairs.
    untrained : nn.Module
        The network before training, with which its information transfer is compared.
    seed : int
        Of permutations and codes.

    Returns
    -------
    DataFrame
        Columns: layer, quantity, ratio and alpha (0 where there are none), value, and beyond, the value minus chance.
        Accuracies are fractions; all else is in bits, but the share of the leading frequencies.
    """
    few = data[: how.n]
    found = activations.collect(model, few.x, layers)
    rows = _fit(model, data, known)
    for name, layer in zip(LAYERS, layers, strict=True):
        for ratio, alphas in ((how.ratio, (1.01, 2.0)), (how.wide, (2.0,))):
            rows += _information(name, found[layer], few, ratio, alphas, how.permutations, seed)
    t = found[layers[0]]
    rows += _units(t, few, how.pairs, seed) + _aligned(t, few) + _coded(t, few, int(data.y.max()) + 1)
    options: dict[str, Any] = {"learner": partial(transfer.network, steps=how.steps), "mixture": True, "seed": seed}
    saved = transfer.information_transfer(untrained, model, data[: how.k], ends=[0, how.k // 2, how.k], **options)
    rows.append(_row("output", "L_IT", saved.bits / how.k))
    leading = frequencies(model, data, layers)["share"].nlargest(LEADING).sum()
    rows.append(_row("embedding", "leading frequencies", leading))
    return pd.DataFrame(rows)


def frequencies(model: nn.Module, data: Data, _layers: Any = None) -> pd.DataFrame:
    """The shares of the frequencies 1, ..., (p - 1) / 2 in the power of an embedding about its mean.

    Parameters
    ----------
    model : nn.Module
        A network whose first layer, `embedding`, holds embeddings of p symbols or p + 1.
    data : Data
        Pairs, whose sums say how many symbols are numbers.
    _layers : object
        Not used.

    Returns
    -------
    DataFrame
        Columns frequency and share.
    """
    p = int(data.y.max()) + 1
    tables = [part.weight[:p] for part in model.get_submodule("embedding").modules() if isinstance(part, nn.Embedding)]
    power = sum(torch.fft.rfft(W.detach().double(), dim=0).abs().square().sum(1) for W in tables if len(W) == p)[1:]
    return pd.DataFrame({"frequency": range(1, len(power) + 1), "share": (power / power.sum()).numpy()})


def curves(table: pd.DataFrame, *, ratio: float, alpha: float = 1.01) -> pd.DataFrame:
    """Quantities by step, at one kernel width and order, beyond chance where there is chance.

    Parameters
    ----------
    table : DataFrame
        Of runs, as `Found.table`.
    ratio, alpha : float
        The width and the order, for what depends on them.

    Returns
    -------
    DataFrame
        A row for each network, seed, arm and quantity, such as "hidden I(T;a,b)", the mean of I(T;a) and I(T;b); a
        column for each step.
    """
    rows = table[((table["ratio"] == ratio) & (table["alpha"] == alpha)) | (table["ratio"] == 0)]
    names = rows["quantity"].replace({"I(T;a)": "I(T;a,b)", "I(T;b)": "I(T;a,b)"})
    rows = rows.assign(quantity=(rows["layer"] + " " + names).str.strip(), value=rows["beyond"].fillna(rows["value"]))
    return rows.pivot_table(index=["network", "seed", "arm", "quantity"], columns="step", values="value", sort=False)


def moved(found: pd.DataFrame, part: float) -> pd.DataFrame:
    """Which part of its way each quantity has gone at the last checkpoint before test accuracy has gone a part of its.

    The way is from the first checkpoint with a training loss below `BY_HEART` to the last one, in the network that
    groks; checkpoints and way are the same for its controls. A seed whose network does not grok has no such checkpoint,
    and is left out.

    Parameters
    ----------
    found : DataFrame
        As `curves` returns it, with the arm "groks" of each network and seed.
    part : float
        Of the way.

    Returns
    -------
    DataFrame
        A row for each network, seed, arm and quantity: first and at, the checkpoints between which it is; gone, the
        part; since, the step from which on the quantity has gone `part`, for "groks".

    Raises
    ------
    ValueError
        For a network that has not learnt its pairs by heart, and where none groks.
    """
    tables = []
    for (network, seed), rows in found.groupby(level=["network", "seed"], sort=False):
        own = rows.xs((network, seed, "groks"))
        learnt = own.columns[own.loc["training loss"] < BY_HEART]
        checks.hold(
            "steps", int(own.columns[-1]), len(learnt), f"more: {network}, seed {seed}, has not memorised its pairs"
        )
        if own.loc["test accuracy"].iloc[-1] < GROKKED:
            continue
        ends = {"first": learnt[0], "last": own.columns[-1]}
        when = pd.Series({name: since(progress(curve, **ends), part) for name, curve in own.iterrows()})
        at = max(ends["first"], *(step for step in own.columns if step < when["test accuracy"]))
        way = (own[ends["last"]] - own[ends["first"]]).reindex(rows.index, level="quantity")
        gone = ((rows[at] - rows[ends["first"]]) / way).where(way != 0, 0.0)
        until = when.reindex(rows.index, level="quantity").where(rows.index.get_level_values("arm") == "groks")
        tables.append(pd.DataFrame({"first": ends["first"], "at": at, "gone": gone, "since": until}))
    if not tables:
        raise ValueError(f"steps must be more: no network reaches a test accuracy of {GROKKED} in {found.columns[-1]}")
    return pd.concat(tables)


def progress(curve: pd.Series, *, first: int, last: int) -> pd.Series:
    """Which part of its way from one step to another a quantity has gone.

    Parameters
    ----------
    curve : Series
        Values by step.
    first, last : int
        Steps where the part is 0 and 1.

    Returns
    -------
    Series
        Parts by step, from `first` on; 0 everywhere for a quantity that is the same at both ends.
    """
    way = curve[last] - curve[first]
    return (curve.loc[first:] - curve[first]) / way if way else 0.0 * curve.loc[first:]


def since(parts: pd.Series, part: float) -> float:
    """The step from which on a quantity has gone a part of its way at all checkpoints, between checkpoints by a line.

    Parameters
    ----------
    parts : Series
        As `progress` returns them.
    part : float
        Above 0 and below 1.

    Returns
    -------
    float
        Infinite for a quantity that has not gone it at the end.
    """
    below = [i for i, found in enumerate(parts) if found < part]
    if not below or below[-1] + 1 == len(parts):
        return math.inf if below else float(parts.index[0])
    (a, b), (low, high) = parts.index[below[-1] : below[-1] + 2], parts.iloc[below[-1] : below[-1] + 2]
    return float(a + (b - a) * (part - low) / (high - low))


def _row(
    layer: str, quantity: str, value: Any, beyond: Any = math.nan, ratio: float = 0.0, alpha: float = 0.0
) -> dict[str, Any]:
    numbers = {"value": float(value), "beyond": float(beyond)}
    return {"layer": layer, "quantity": quantity, "ratio": ratio, "alpha": alpha} | numbers


def _fit(model: nn.Module, held: Data, known: Data) -> list[dict[str, Any]]:
    rows = []
    for name, data in (("training", known), ("test", held)):
        found = training.evaluate(model, data, batch_size=len(data))
        rows += [_row("", f"{name} accuracy", found.accuracy), _row("", f"{name} loss", found.cross_entropy)]
    return rows


def _information(
    layer: str, t: Tensor, data: Data, ratio: float, alphas: tuple[float, ...], permutations: int, seed: int
) -> list[dict[str, Any]]:
    """S(T), I(X;T), I(T;a), I(T;b), I(T;c) and synergy, at one width."""
    x, rows = one_hot(data.x).double(), []
    T, X = (renyi.gram(s.double(), width=renyi.distance_width(s, ratio=ratio)) for s in (t, x))
    for alpha in alphas:
        options: dict[str, Any] = {"alpha": alpha, "permutations": permutations * (alpha != 2), "seed": seed}
        options["level"] = None
        found = {"I(X;T)": chance.beyond_grams(X, T, **options)}
        for name, y in (("I(T;a)", data.x[:, 0]), ("I(T;b)", data.x[:, 1]), ("I(T;c)", data.y)):
            found[name] = chance.beyond_labels(T, y, **options)
        S = renyi.entropy(T, alpha=alpha)
        rows.append(_row(layer, "S(T)", S, ratio=ratio, alpha=alpha))
        rows += [_row(layer, name, each.own, each.value, ratio, alpha) for name, each in found.items()]
        synergy = S - found["I(T;a)"].own - found["I(T;b)"].own
        rows.append(_row(layer, "synergy", synergy, ratio=ratio, alpha=alpha))
    return rows


def _units(t: Tensor, data: Data, most: int, seed: int) -> list[dict[str, Any]]:
    """Mean information of single units and of their pairs about the sum, a bit of each: above its median or not.

    For comparison that of a bit of the sum itself: on which side of the circle it is.
    """
    codes = binning.quantile(t[:, t.var(0).topk(min(most, t.shape[1])).indices], 2)
    side = (2 * data.y > data.y.max()).long()
    pair = torch.triu_indices(codes.shape[1], codes.shape[1], 1)
    own, other = (
        (
            discrete.mutual_information(codes, y).mean(),
            discrete.pair_information(codes, y).information[*pair].mean(),
            discrete.mutual_information(side, y),
        )
        for y in (data.y, data.permuted_labels(torch.Generator().manual_seed(seed)).y)
    )
    names = ("I(unit;c)", "I(two units;c)", "I(side;c)")
    return [_row("hidden", name, a, a - b) for name, a, b in zip(names, own, other, strict=True)]


def _aligned(t: Tensor, data: Data) -> list[dict[str, Any]]:
    """S(T) at the width that is best aligned with the sums, as a part of log2 n."""
    width = renyi.alignment_width(t.double(), data.y).width
    return [
        _row("hidden", "S(T) at aligned width", renyi.entropy(renyi.gram(t.double(), width=width)) / math.log2(len(t)))
    ]


def _coded(t: Tensor, data: Data, classes: int) -> list[dict[str, Any]]:
    """Bits per sum of a code by a linear probe: of the second half of the sums, learnt from the first; unclipped."""
    x, n = t.double() - t.double().mean(0), len(data)
    features = Data(x / x.square().sum(1).mean().sqrt().clamp_min(1e-12), data.y)
    code = transfer.prequential_codelength(lenses.probe, torch.zeros(classes), features, ends=[0, n // 2, n])
    return [_row("hidden", "codelength of a probe", code.costs[-1] / (n - n // 2))]
