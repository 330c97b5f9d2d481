"""Plug-in information of integer codes, many units at once.

`codes` has shape (n, *units): n samples of one symbol per unit. Every quantity but `joint_entropy` is taken for each
unit on its own and comes back with shape (*units); codes of shape (n,) give a scalar. `y` holds one symbol per sample,
shape (n,). Symbols are any integers; `symbols` turns rows, or several variables, into one joint symbol.

All values are in bits, float64, with 0 log 0 = 0. `correction="miller-madow"` adds (K - 1) / (2 n ln 2) to each entropy
with K occupied cells (Miller 1955); the corrected mutual information is the sum of the corrected entropies.
"""

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from infolib import checks

Correction = Literal["miller-madow"]

BLOCK = 2**20  # cells counted at a time: a few such int64 tables stay in cache, whatever the number of units


def entropy(codes: Any, *, correction: Correction | None = None) -> Tensor:
    """Entropy H(T) = -sum_t P(t) log2 P(t) of each unit in bits.

    Parameters
    ----------
    codes : array_like of int, shape (n, *units)
        Symbols of n >= 2 samples.
    correction : "miller-madow" or None
        Correction of the bias, or the plug-in value.

    Returns
    -------
    Tensor, shape (*units)
        H(T) of each unit in bits, float64.

    Raises
    ------
    ValueError
        For codes that are not integers, n < 2 or an unknown correction.

    Examples
    --------
    >>> entropy([[0, 7], [0, 7], [1, 7], [1, 7]])
    tensor([1., 0.], dtype=torch.float64)
    """
    codes = _codes(codes)
    counts = _counts(codes, torch.zeros(len(codes), dtype=torch.long, device=codes.device))  # (1, units, levels)
    return _entropy(counts.sum(0), 1, correction).reshape(codes.shape[1:])


def joint_entropy(codes: Any, *, correction: Correction | None = None) -> Tensor:
    """Joint entropy H(T_1, ..., T_d) of all units together in bits.

    Parameters
    ----------
    codes : array_like of int, shape (n, *units)
        Symbols of n >= 2 samples.
    correction : "miller-madow" or None
        Correction of the bias, or the plug-in value.

    Returns
    -------
    Tensor, shape ()
        H(T_1, ..., T_d) in bits, float64.

    Raises
    ------
    ValueError
        As `entropy`.

    Examples
    --------
    >>> joint_entropy([[0, 0], [0, 1], [1, 0], [1, 1]])
    tensor(2., dtype=torch.float64)
    """
    return entropy(symbols(_codes(codes)), correction=correction)


def conditional_entropy(codes: Any, y: Any, *, correction: Correction | None = None) -> Tensor:
    """Conditional entropy H(T|Y) = H(T,Y) - H(Y) of each unit in bits.

    Parameters
    ----------
    codes : array_like of int, shape (n, *units)
        Symbols of n >= 2 samples.
    y : array_like of int, shape (n,)
        Labels.
    correction : "miller-madow" or None
        Correction of the bias of each entropy, or the plug-in value.

    Returns
    -------
    Tensor, shape (*units)
        H(T|Y) of each unit in bits, float64.

    Raises
    ------
    ValueError
        As `entropy`, and for labels that are not integers of shape (n,).

    Examples
    --------
    >>> conditional_entropy([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 0, 1, 1])
    tensor([0., 1.], dtype=torch.float64)
    """
    codes, y = _codes_and_labels(codes, y)
    counts = _counts(codes, y)
    joint = _entropy(counts, (0, 2), correction)
    return (joint - _entropy(y.bincount(), 0, correction)).reshape(codes.shape[1:])


def mutual_information(codes: Any, y: Any, *, correction: Correction | None = None) -> Tensor:
    """Mutual information I(T;Y) = H(T) + H(Y) - H(T,Y) of each unit in bits.

    The plug-in value has an upward bias of about (|T| - 1)(|Y| - 1) / (2 n ln 2).

    Parameters
    ----------
    codes : array_like of int, shape (n, *units)
        Symbols of n >= 2 samples.
    y : array_like of int, shape (n,)
        Labels.
    correction : "miller-madow" or None
        Correction of the bias of each entropy, or the plug-in value.

    Returns
    -------
    Tensor, shape (*units)
        I(T;Y) of each unit in bits, float64.

    Raises
    ------
    ValueError
        As `entropy`, and for labels that are not integers of shape (n,).

    Examples
    --------
    >>> mutual_information([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 0, 1, 1])
    tensor([1., 0.], dtype=torch.float64)
    """
    codes, y = _codes_and_labels(codes, y)
    counts = _counts(codes, y)
    marginals = _entropy(counts.sum(0), 1, correction) + _entropy(y.bincount(), 0, correction)
    return (marginals - _entropy(counts, (0, 2), correction)).reshape(codes.shape[1:])


def conditional_mutual_information(codes: Any, y: Any, z: Any, *, correction: Correction | None = None) -> Tensor:
    """Conditional mutual information I(T;Y|Z) = I(T;(Y,Z)) - I(T;Z) of each unit in bits.

    Parameters
    ----------
    codes : array_like of int, shape (n, *units)
        Symbols of n >= 2 samples.
    y, z : array_like of int, shape (n,)
        Labels, and the symbols of the condition.
    correction : "miller-madow" or None
        Correction of the bias of each entropy, or the plug-in value.

    Returns
    -------
    Tensor, shape (*units)
        I(T;Y|Z) of each unit in bits, float64.

    Raises
    ------
    ValueError
        As `entropy`, and for y or z that are not integers of shape (n,).

    Examples
    --------
    >>> conditional_mutual_information([0, 1, 1, 0], [0, 0, 1, 1], [0, 1, 0, 1])
    tensor(1., dtype=torch.float64)
    """
    codes = _codes(codes)
    y, z = checks.labels("y", y, len(codes)), checks.labels("z", z, len(codes))
    both = mutual_information(codes, symbols(y, z), correction=correction)
    return both - mutual_information(codes, z, correction=correction)


def class_information(codes: Any, y: Any) -> Tensor:
    """Specific surprise D_KL(P_{T|Y=y} || P_T) of each unit about each class in bits.

    Its mean under P_Y is I(T;Y) (DeWeese & Meister 1999). Its maximum is `kl_selectivity`, and the class of the maximum
    is the unit's preferred class.

    Parameters
    ----------
    codes : array_like of int, shape (n, *units)
        Symbols of n >= 2 samples.
    y : array_like of int, shape (n,)
        Labels.

    Returns
    -------
    Tensor, shape (*units, classes)
        D_KL in bits, float64; classes are in the order of `torch.unique(y)`.

    Raises
    ------
    ValueError
        As `conditional_entropy`.

    Examples
    --------
    >>> class_information([1, 0, 0, 0], [0, 1, 2, 3])
    tensor([2.0000, 0.4150, 0.4150, 0.4150], dtype=torch.float64)
    """
    codes, y = _codes_and_labels(codes, y)
    counts = _counts(codes, y)
    given_class = counts / counts.sum(-1, keepdim=True)  # P(t|y): (classes, units, levels)
    overall = counts.sum(0) / len(codes)  # P(t): (units, levels)
    divergence = (torch.xlogy(given_class, given_class) - torch.xlogy(given_class, overall)).sum(-1) / math.log(2)
    return divergence.T.reshape(*codes.shape[1:], -1)


def kl_selectivity(codes: Any, y: Any) -> Tensor:
    """KL selectivity max_y D_KL(P_{T|Y=y} || P_T) of each unit in bits (Amjad et al. 2018).

    Parameters
    ----------
    codes : array_like of int, shape (n, *units)
        Symbols of n >= 2 samples.
    y : array_like of int, shape (n,)
        Labels.

    Returns
    -------
    Tensor, shape (*units)
        KL selectivity of each unit in bits, float64.

    Raises
    ------
    ValueError
        As `conditional_entropy`.

    Examples
    --------
    >>> kl_selectivity([1, 0, 0, 0], [0, 1, 2, 3])
    tensor(2., dtype=torch.float64)
    """
    return class_information(codes, y).amax(-1)


class PairInformation(NamedTuple):
    """Information of all pairs of units about the label, in bits.

    Parameters
    ----------
    information : Tensor, shape (units, units)
        I(T_a,T_b;Y).
    redundancy : Tensor, shape (units, units)
        I_min of the two units (Williams & Beer 2010).
    synergy : Tensor, shape (units, units)
        Redundancy minus co-information.
    co_information : Tensor, shape (units, units)
        I(T_a;Y) + I(T_b;Y) - I(T_a,T_b;Y).
    """

    information: Tensor
    redundancy: Tensor
    synergy: Tensor
    co_information: Tensor


def pair_information(codes: Any, y: Any) -> PairInformation:
    """Information I(T_a,T_b;Y) of each pair of units about the label, its redundancy and its synergy, in bits.

    Redundancy is I_min = sum_y P(y) min(D_a(y), D_b(y)) of the specific surprises D (Williams & Beer 2010). Synergy is
    redundancy minus the co-information I(T_a;Y) + I(T_b;Y) - I(T_a,T_b;Y).

    Parameters
    ----------
    codes : array_like of int, shape (n, units)
        Symbols of n >= 2 samples.
    y : array_like of int, shape (n,)
        Labels.

    Returns
    -------
    PairInformation
        Four matrices (units, units) in bits, float64.

    Raises
    ------
    ValueError
        As `conditional_entropy`, and for codes that are not (n, units).

    Examples
    --------
    >>> pair_information([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]).synergy
    tensor([[0., 1.],
            [1., 0.]], dtype=torch.float64)
    """
    codes, y = _codes_and_labels(codes, y)
    if codes.ndim != 2:
        raise ValueError(f"codes must have shape (n, units), got {tuple(codes.shape)}")
    codes, surprise = _levels(codes), class_information(codes, y)  # (units, classes)
    dtype = torch.float32 if len(codes) < 2**24 else torch.float64  # integers below 2^24 are exact in float32
    ones = one_hot(codes.long()).to(dtype).flatten(1)  # (n, units * levels)
    units, share = codes.shape[1], y.bincount().double() / len(y)
    counts = torch.stack([part.T @ part for part in (ones[y == label] for label in range(len(share)))]).double()
    given_class, overall = counts / (share * len(y))[:, None, None], counts.sum(0) / len(y)
    divergence = torch.xlogy(given_class, given_class) - torch.xlogy(given_class, overall)
    divergence = divergence.reshape(len(share), units, -1, units, counts.shape[1] // units).sum((2, 4)) / math.log(2)
    information = torch.einsum("yab,y->ab", divergence, share)
    redundancy = torch.minimum(surprise[:, None], surprise[None]) @ share
    single = surprise @ share
    co_information = single[:, None] + single - information
    return PairInformation(information, redundancy, redundancy - co_information, co_information)


def symbols(*variables: Any) -> Tensor:
    """Joint symbol of several variables: one integer per distinct row.

    Parameters
    ----------
    *variables : array_like of int, shape (n,) or (n, *units)
        All units of all variables make up the row of a sample.

    Returns
    -------
    Tensor, shape (n,)
        Symbols from 0 in the lexicographic order of the rows, int64.

    Raises
    ------
    ValueError
        For values that are not integers, or variables of different n.

    Examples
    --------
    >>> symbols([0, 0, 1, 1], [5, 6, 5, 5])
    tensor([0, 1, 2, 2])
    """
    columns = [_codes(variable, "variables") for variable in variables]
    if len({len(column) for column in columns}) != 1:
        raise ValueError(f"variables must have the same n, got {[len(column) for column in columns]}")
    rows = torch.cat([column.reshape(len(column), -1) for column in columns], dim=1)
    return rows.unique(dim=0, return_inverse=True)[1]


def _codes(codes: Any, name: str = "codes") -> Tensor:
    codes = checks.integers(name, codes)
    checks.at_least(f"{name}: n", len(codes), 2)
    return codes


def _codes_and_labels(codes: Any, y: Any) -> tuple[Tensor, Tensor]:
    """Checked codes, and labels renumbered 0, 1, ... in their order."""
    codes = _codes(codes)
    return codes, checks.labels("y", y, len(codes)).to(codes.device).unique(return_inverse=True)[1]


def _counts(codes: Tensor, y: Tensor) -> Tensor:
    """How often each unit shows each level in each class: (classes, units, levels), float64."""
    codes = _levels(codes.reshape(len(codes), -1))
    classes, levels = int(y.max()) + 1, int(codes.max()) + 1
    units_at_once = max(1, BLOCK // max(len(codes), classes * levels))
    count = _count_binary if levels <= 2 and classes <= 64 else _count
    blocks = codes.split(units_at_once, dim=1)
    return torch.cat([count(block, y, classes, levels) for block in blocks], dim=1).double()


def _count(codes: Tensor, y: Tensor, classes: int, levels: int) -> Tensor:
    units = codes.shape[1]
    cell = (y[:, None] * units + torch.arange(units, device=y.device)) * levels + codes  # (n, units)
    return cell.flatten().bincount(minlength=classes * units * levels).reshape(classes, units, levels)


def _count_binary(codes: Tensor, y: Tensor, classes: int, levels: int) -> Tensor:
    dtype = torch.float32 if len(codes) < 2**24 else torch.float64  # integers below 2^24 are exact in float32
    ones = one_hot(y, classes).to(dtype).T @ codes.to(dtype)  # one matrix product: (classes, units)
    zeros = y.bincount(minlength=classes)[:, None] - ones
    return torch.stack([zeros, ones], dim=-1)[..., :levels]


def _levels(codes: Tensor) -> Tensor:
    """Codes (n, units) renumbered from 0, so that a table over the levels is small."""
    low, high = (int(extreme) for extreme in codes.aminmax())
    if high - low < max(len(codes), 2):
        return codes - low if low else codes
    ordered, order = codes.sort(dim=0)  # scattered integers: the rank of the value within its unit
    rank = torch.zeros_like(order)
    rank[1:] = (ordered[1:] != ordered[:-1]).cumsum(0)
    return torch.empty_like(order).scatter_(0, order, rank)


def _entropy(counts: Tensor, dim: int | tuple[int, ...], correction: Correction | None) -> Tensor:
    counts = counts.double()
    n = counts.sum(dim, keepdim=True)
    bits = torch.special.entr(counts / n).sum(dim) / math.log(2)
    if correction is None:
        return bits
    checks.choice("correction", correction, ("miller-madow",))
    return bits + ((counts > 0).sum(dim) - 1) / (2 * math.log(2) * n.reshape(bits.shape))


checks.guard(globals())
