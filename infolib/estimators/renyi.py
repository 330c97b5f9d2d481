"""Matrix-based Rényi entropy: information from the eigenvalues of Gram matrices, without densities.

A Gram matrix A has shape (..., n, n) and trace 1: A_ij = K_ij / n for a kernel with K_ii = 1. From its eigenvalues

    S_alpha(A) = log2(sum_i lambda_i^alpha) / (1 - alpha)                       (Giraldo et al. 2015)

for alpha > 0; alpha = 1 is the von Neumann entropy -sum_i lambda_i log2 lambda_i, alpha = inf is -log2 max_i lambda_i.
Several variables together have the Hadamard product of their Grams, scaled to trace 1. Every other quantity is a sum of
such entropies. Wherever a Gram is expected, a list of Grams stands for their joint Gram; leading dimensions are a batch
and broadcast. Values are in bits, unclipped: S(A) + S(B) >= S(A, B) is a theorem at alpha = 1 only.

The one kernel here is the Gaussian exp(-|x - x'|^2 / (2 width^2)). Papers without the 2 have sigma = sqrt(2) width.
"""

import math
from collections.abc import Sequence
from functools import partial, reduce
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from infolib import checks
from infolib.estimators import _kernel
from infolib.estimators._eigen import eigenvalues

Gram = Tensor | Sequence["Gram"]

TOLERANCE = 1e-5  # of symmetry and trace: above float32 rounding, far below any mistake
ROUGH = 2**13  # times the rounding of norms of d values, eps sqrt(d): what is below is computed from differences
PAIRS = 2**22  # values of such differences held at once


class Width(NamedTuple):
    """A kernel width and whether it is an end of the range that was searched.

    Attributes
    ----------
    width : Tensor, shape ()
        In the unit of the samples.
    at_end : bool
        Whether the best width is an end of the range: a better width may lie outside.
    """

    width: Tensor
    at_end: bool


def squared_distances(x: Any) -> Tensor:
    """Squared distances |x_i - x_j|^2 of samples.

    The relative error is below 2e-4 in float32 and in float64, for any distances between clusters. So the error of
    any Gaussian kernel is below 1e-4. `gram` and `alignment_width` take squared distances in place of x with
    `precomputed=True`, so that one pass serves both.

    Parameters
    ----------
    x : array_like, shape (n, *features)
        Samples, in any unit; all features are flattened.

    Returns
    -------
    Tensor, shape (n, n)
        In the squared unit of x and in its dtype; symmetric, never negative, 0 between equal samples.

    Raises
    ------
    ValueError
        For NaN or infinite x, n < 2, or a scale whose square the dtype cannot hold.

    Examples
    --------
    >>> squared_distances([[0.0, 0.0], [3.0, 4.0]])
    tensor([[ 0., 25.],
            [25.,  0.]], dtype=torch.float64)
    """
    return _squared_distances(_samples("x", x))


def gram(x: Any, *, width: float | Tensor, precomputed: bool = False) -> Tensor:
    """Gram matrix A_ij = exp(-|x_i - x_j|^2 / (2 width^2)) / n of samples.

    All features are flattened: on feature maps this is the tensor kernel (Wickstrøm et al. 2019).

    Parameters
    ----------
    x : array_like, shape (n, *features) or (n, n)
        Samples, in any unit; with `precomputed`, their squared distances.
    width : float or Tensor, shape (*widths)
        Kernel width in the unit of x, positive.
    precomputed : bool
        Whether x holds squared distances.

    Returns
    -------
    Tensor, shape (*widths, n, n)
        Gram matrix of each width, with trace 1; (n, n) for one width.

    Raises
    ------
    ValueError
        As `squared_distances`; for squared distances that are not a symmetric matrix; for widths that are not positive.

    Examples
    --------
    >>> gram([0.0, 0.0], width=1.0)
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]], dtype=torch.float64)
    """
    squared = _squared(x, precomputed)
    return _kernel.gaussian(squared, _width(width, squared)[..., None, None]) / len(squared)


def channel_grams(x: Any, *, width: float | Tensor) -> Tensor:
    """Gram matrix of each channel of samples.

    With one width, `joint_entropy(*channel_grams(...))` is the entropy of the tensor kernel.

    Parameters
    ----------
    x : array_like, shape (n, channels, *features)
        Samples, in any unit; the features of a channel are flattened.
    width : float or Tensor, shape (channels,)
        Kernel width in the unit of x, positive: one for all channels, or one for each.

    Returns
    -------
    Tensor, shape (channels, n, n)
        Gram matrices with trace 1.

    Raises
    ------
    ValueError
        As `gram`.

    Examples
    --------
    >>> channel_grams(torch.zeros(4, 3, 2, 2), width=1.0).shape
    torch.Size([3, 4, 4])
    """
    x = checks.floats("x", x, min_ndim=2)
    checks.at_least("x: n", len(x), 2)
    squared = _squared_distances(x.reshape(*x.shape[:2], -1).transpose(0, 1))  # (channels, n, n)
    return _kernel.gaussian(squared, _width(width, squared)[..., None, None]) / len(x)


def label_gram(y: Any) -> Tensor:
    """Gram matrix of labels: 1/n where the classes agree, else 0.

    Its S_alpha is the Rényi entropy of the class histogram, for every alpha.

    Parameters
    ----------
    y : array_like of int, shape (n,)
        Labels of n >= 2 samples.

    Returns
    -------
    Tensor, shape (n, n)
        float64, trace 1.

    Raises
    ------
    ValueError
        For labels that are not integers of shape (n,), or n < 2.

    Examples
    --------
    >>> entropy(label_gram([0, 0, 1, 1]))
    tensor(1., dtype=torch.float64)
    """
    y = _labels(y)
    return (y[:, None] == y).double() / len(y)


def entropy(A: Gram, *, alpha: float = 1.01) -> Tensor:
    """Matrix-based Rényi entropy S_alpha(A) in bits (Giraldo et al. 2015).

    At alpha = 2 it is -log2 |A|_F^2, without an eigenproblem.

    Parameters
    ----------
    A : Tensor, shape (..., n, n), or sequence of them
        Gram matrix with trace 1; a list stands for its joint Gram.
    alpha : float
        Order of the Rényi entropy, positive.

    Returns
    -------
    Tensor, shape (...)
        S_alpha(A) in bits.

    Raises
    ------
    ValueError
        For a Gram that is not square, symmetric, finite or of trace 1, n < 2, or alpha not above 0.

    Examples
    --------
    >>> entropy(torch.eye(8) / 8, alpha=2)
    tensor(3.)
    """
    return _entropy(_gram("A", A), alpha=alpha)


def joint_entropy(*grams: Gram, alpha: float = 1.01) -> Tensor:
    """Joint entropy S_alpha(A_1, ..., A_C) = S_alpha(A_1 ∘ ... ∘ A_C / tr) in bits (Yu et al. 2019).

    Parameters
    ----------
    *grams : Tensor, shape (..., n, n), or sequence of them
        Gram matrices with trace 1, at least one.
    alpha : float
        Order of the Rényi entropy, positive.

    Returns
    -------
    Tensor, shape (...)
        S_alpha(A_1, ..., A_C) in bits.

    Raises
    ------
    ValueError
        As `entropy`, and for Grams of different n.

    Examples
    --------
    >>> joint_entropy(label_gram([0, 0, 1, 1]), label_gram([0, 1, 0, 1]))
    tensor(2., dtype=torch.float64)
    """
    return _entropy(_gram("grams", grams), alpha=alpha)


def conditional_entropy(A: Gram, B: Gram, *, alpha: float = 1.01) -> Tensor:
    """Conditional entropy S_alpha(A|B) = S_alpha(A, B) - S_alpha(B) in bits.

    Parameters
    ----------
    A, B : Tensor, shape (..., n, n), or sequence of them
        Gram matrices with trace 1; a list stands for its joint Gram.
    alpha : float
        Order of the Rényi entropy, positive.

    Returns
    -------
    Tensor, shape (...)
        S_alpha(A|B) in bits.

    Raises
    ------
    ValueError
        As `joint_entropy`.

    Examples
    --------
    >>> conditional_entropy(label_gram([0, 1, 2, 3]), label_gram([0, 0, 1, 1]))
    tensor(1., dtype=torch.float64)
    """
    A, B = _gram("A", A), _gram("B", B)
    S = partial(_entropy, alpha=alpha)
    return S(_joint(A, B)) - S(B)


def mutual_information(A: Gram, B: Gram, *, alpha: float = 1.01) -> Tensor:
    """Mutual information I_alpha(A;B) = S_alpha(A) + S_alpha(B) - S_alpha(A, B) in bits (Giraldo et al. 2015).

    With a list it is multivariate: `mutual_information(A, [B1, B2])` is I_alpha(A; {B1, B2}).

    Parameters
    ----------
    A, B : Tensor, shape (..., n, n), or sequence of them
        Gram matrices with trace 1; a list stands for its joint Gram.
    alpha : float
        Order of the Rényi entropy, positive.

    Returns
    -------
    Tensor, shape (...)
        I_alpha(A;B) in bits. Only at alpha = 1 is it guaranteed not to be negative.

    Raises
    ------
    ValueError
        As `joint_entropy`.

    Examples
    --------
    >>> mutual_information(label_gram([0, 1, 2, 3]), [label_gram([0, 0, 1, 1]), label_gram([0, 1, 0, 1])])
    tensor(2., dtype=torch.float64)
    """
    A, B = _gram("A", A), _gram("B", B)
    S = partial(_entropy, alpha=alpha)
    return S(A) + S(B) - S(_joint(A, B))


def conditional_mutual_information(A: Gram, B: Gram, C: Gram, *, alpha: float = 1.01) -> Tensor:
    """Conditional mutual information I_alpha(A;B|C) = S(A, C) + S(B, C) - S(A, B, C) - S(C) in bits.

    Parameters
    ----------
    A, B, C : Tensor, shape (..., n, n), or sequence of them
        Gram matrices with trace 1; a list stands for its joint Gram.
    alpha : float
        Order of the Rényi entropy, positive.

    Returns
    -------
    Tensor, shape (...)
        I_alpha(A;B|C) in bits.

    Raises
    ------
    ValueError
        As `joint_entropy`.

    Examples
    --------
    >>> a, b, xor = label_gram([0, 0, 1, 1]), label_gram([0, 1, 0, 1]), label_gram([0, 1, 1, 0])
    >>> conditional_mutual_information(a, b, xor)
    tensor(1., dtype=torch.float64)
    """
    A, B, C = _gram("A", A), _gram("B", B), _gram("C", C)
    S = partial(_entropy, alpha=alpha)
    return S(_joint(A, C)) + S(_joint(B, C)) - S(_joint(A, B, C)) - S(C)


def total_correlation(*grams: Gram, alpha: float = 1.01) -> Tensor:
    """Total correlation T_alpha = sum_c S_alpha(A_c) - S_alpha(A_1, ..., A_C) in bits.

    Parameters
    ----------
    *grams : Tensor, shape (..., n, n), or sequence of them
        Gram matrices with trace 1, at least one.
    alpha : float
        Order of the Rényi entropy, positive.

    Returns
    -------
    Tensor, shape (...)
        T_alpha in bits.

    Raises
    ------
    ValueError
        As `joint_entropy`.

    Examples
    --------
    >>> total_correlation(*[label_gram([0, 0, 1, 1])] * 3)
    tensor(2., dtype=torch.float64)
    """
    S = partial(joint_entropy, alpha=alpha)
    joint = S(*grams)
    return reduce(torch.add, [S(A) for A in grams]) - joint


def dual_total_correlation(*grams: Gram, alpha: float = 1.01) -> Tensor:
    """Dual total correlation D_alpha = sum_c S_alpha(all but A_c) - (C - 1) S_alpha(A_1, ..., A_C) in bits.

    Parameters
    ----------
    *grams : Tensor, shape (..., n, n), or sequence of them
        Gram matrices with trace 1, at least two.
    alpha : float
        Order of the Rényi entropy, positive.

    Returns
    -------
    Tensor, shape (...)
        D_alpha in bits.

    Raises
    ------
    ValueError
        As `joint_entropy`.

    Examples
    --------
    >>> dual_total_correlation(*[label_gram([0, 0, 1, 1])] * 3)
    tensor(1., dtype=torch.float64)
    """
    S = partial(joint_entropy, alpha=alpha)
    C = len(grams)
    joint = S(*grams)
    return reduce(torch.add, [S(*grams[:c], *grams[c + 1 :]) for c in range(C)]) - (C - 1) * joint


def label_entropy(y: Any, *, alpha: float = 1.01) -> Tensor:
    """Entropy S_alpha(Y) of `label_gram(y)` in bits, from the class histogram.

    Parameters
    ----------
    y : array_like of int, shape (n,)
        Labels of n >= 2 samples.
    alpha : float
        Order of the Rényi entropy, positive.

    Returns
    -------
    Tensor, shape ()
        S_alpha(Y) in bits, float64.

    Raises
    ------
    ValueError
        As `label_gram`, and for alpha not above 0.

    Examples
    --------
    >>> label_entropy([0, 0, 1, 1], alpha=2)
    tensor(1., dtype=torch.float64)
    """
    y = _labels(y)
    return _spectral_entropy(y.unique(return_counts=True)[1].double() / len(y), checks.positive("alpha", alpha))


def label_joint_entropy(A: Gram, y: Any, *, alpha: float = 1.01) -> Tensor:
    """Joint entropy S_alpha(A, Y) with the label kernel in bits.

    A ∘ K_Y is block-diagonal, so its spectrum is the union of the spectra of the class blocks of A.

    Parameters
    ----------
    A : Tensor, shape (..., n, n), or sequence of them
        Gram matrix with trace 1; a list stands for its joint Gram.
    y : array_like of int, shape (n,)
        Labels.
    alpha : float
        Order of the Rényi entropy, positive.

    Returns
    -------
    Tensor, shape (...)
        S_alpha(A, Y) in bits.

    Raises
    ------
    ValueError
        As `joint_entropy` and `label_gram`.

    Examples
    --------
    >>> label_joint_entropy(label_gram([0, 1, 0, 1]), [0, 0, 1, 1])
    tensor(2., dtype=torch.float64)
    """
    A = _gram("A", A)
    y = _labels(y, n=A.shape[-1]).to(A.device)
    members = [(y == label).nonzero().squeeze(-1) for label in y.unique()]
    blocks = [A.index_select(-2, of_class).index_select(-1, of_class) for of_class in members]
    return _entropy(*blocks, alpha=alpha)


def label_mutual_information(A: Gram, y: Any, *, alpha: float = 1.01) -> Tensor:
    """Mutual information I_alpha(A;Y) = S_alpha(A) + S_alpha(Y) - S_alpha(A, Y) with labels in bits.

    It equals `mutual_information(A, label_gram(y))`, at the cost of one eigenproblem and those of the class blocks.

    Parameters
    ----------
    A : Tensor, shape (..., n, n), or sequence of them
        Gram matrix with trace 1; a list stands for its joint Gram.
    y : array_like of int, shape (n,)
        Labels.
    alpha : float
        Order of the Rényi entropy, positive.

    Returns
    -------
    Tensor, shape (...)
        I_alpha(A;Y) in bits.

    Raises
    ------
    ValueError
        As `label_joint_entropy`.

    Examples
    --------
    >>> label_mutual_information(label_gram([0, 1, 2, 3]), [0, 0, 1, 1])
    tensor(1., dtype=torch.float64)
    """
    joint = label_joint_entropy(A, y, alpha=alpha)
    return joint_entropy(A, alpha=alpha) + label_entropy(y, alpha=alpha).to(joint) - joint


def alignment(A: Gram, B: Gram, *, centred: bool = False) -> Tensor:
    """Kernel alignment <A, B>_F / (|A|_F |B|_F) of two Grams (Cristianini et al. 2001), or of both centred.

    Centred alignment takes HAH and HBH, H = 1 - 11^T / n (Cortes, Mohri & Rostamizadeh 2012): what the kernels have in
    common besides their means.

    Parameters
    ----------
    A, B : Tensor, shape (..., n, n), or sequence of them
        Gram matrices with trace 1; a list stands for its joint Gram.
    centred : bool
        Whether both are centred.

    Returns
    -------
    Tensor, shape (...)
        Alignment without unit, from 0 to 1 for kernels without negative values.

    Raises
    ------
    ValueError
        As `joint_entropy`; for a centred Gram that is 0, because all samples are equal.

    Examples
    --------
    >>> alignment(label_gram([0, 0, 1, 1]), label_gram([0, 1, 2, 3]))
    tensor(0.7071, dtype=torch.float64)
    >>> alignment(label_gram([0, 0, 1, 1]), label_gram([0, 1, 2, 3]), centred=True)
    tensor(0.5774, dtype=torch.float64)
    """
    A, B = _gram("A", A), _gram("B", B)
    if centred:
        A, B = _centred("A", A), _centred("B", B)
    return _hadamard(A, B).sum((-2, -1)) / (torch.linalg.matrix_norm(A) * torch.linalg.matrix_norm(B))


def silverman_width(x: Any, *, h: float = 5.0) -> float:
    """Kernel width h n^(-1 / (4 + d)) of n samples with d features each (Yu et al. 2021).

    The kernel is exp(-|x - x'|^2 / (2 width^2)), as in that paper. For `channel_grams`, pass one channel.

    Parameters
    ----------
    x : array_like, shape (n, *features)
        Samples; only their shape matters.
    h : float
        Factor in the unit of x, positive.

    Returns
    -------
    float
        Kernel width in the unit of h.

    Raises
    ------
    ValueError
        For NaN or infinite x, n < 2, or h not above 0.

    Examples
    --------
    >>> silverman_width(torch.zeros(32, 1))
    2.5
    """
    x = checks.floats("x", x)
    n = checks.at_least("x: n", len(x), 2)
    return checks.within("h", checks.positive("h", h), 0) * n ** (-1 / (4 + x[0].numel()))


def distance_width(
    x: Any, *, ratio: float = 1.0, kind: Literal["rms", "mean", "median"] = "rms", precomputed: bool = False
) -> Tensor:
    """Kernel width without labels: `ratio` times the distance between two different samples.

    The root mean square over all pairs i != j is sqrt(2 n / (n - 1) Var), Var the variance of x about its mean in all
    features together: it needs no distances. The median is the heuristic of Gretton et al. 2012.

    Parameters
    ----------
    x : array_like, shape (n, *features) or (n, n)
        Samples, in any unit; with `precomputed`, their squared distances.
    ratio : float
        Widths per distance, positive.
    kind : {"rms", "mean", "median"}
        Which distance: root mean square, mean or median over the pairs of different samples.
    precomputed : bool
        Whether x holds squared distances.

    Returns
    -------
    Tensor, shape ()
        The width in the unit of x, float64.

    Raises
    ------
    ValueError
        For NaN or infinite x, n < 2, x for which that distance is 0, or a ratio that is not positive and finite.

    Examples
    --------
    >>> distance_width([0.0, 3.0, 3.0]), distance_width([0.0, 3.0, 3.0], ratio=2, kind="mean")
    (tensor(2.4495, dtype=torch.float64), tensor(4., dtype=torch.float64))
    """
    checks.within("ratio", checks.positive("ratio", ratio), 0)
    if kind == "rms" and not precomputed:
        x = _samples("x", x).detach().double()
        x = torch.zeros_like(x) if (x == x[:1]).all() else x - x.mean(0)
        _check_scale(x.square().sum(1).amax(), x)
        distance = (2 * x.square().sum() / (len(x) - 1)).sqrt()
    else:
        squared = _squared(x, precomputed).detach().double()
        pairs = _pairs(squared)
        middle = pairs.sort().values[(len(pairs) - 1) // 2 : len(pairs) // 2 + 1]
        distance = {"rms": pairs.mean().sqrt(), "mean": pairs.sqrt().mean(), "median": middle.sqrt().mean()}[kind]
    if distance == 0:
        raise ValueError(f"x must have a {kind} distance above 0, got equal samples")
    return ratio * distance


def alignment_width(
    x: Any,
    y: Any,
    *,
    low: float = 0.02,
    high: float = 20.0,
    centred: bool = False,
    bins: int | None = None,
    precomputed: bool = False,
) -> Width:
    """Kernel width that maximises the alignment of the Gram of x with the labels (Wickstrøm et al. 2019), exact.

    A logarithmic grid from `low` to `high` mean distances finds the peaks, and golden sections the maximum of the best
    two, to a thousandth of the width. Of equal alignments the smallest width wins. The result scales with x and does
    not depend on the order of the samples. `published_width` is the search of that paper.

    Parameters
    ----------
    x : array_like, shape (n, *features) or (n, n)
        Samples, in any unit; with `precomputed`, their squared distances.
    y : array_like of int, shape (n,)
        Labels.
    low, high : float
        Ends of the range in mean distances between different samples.
    centred : bool
        Whether alignment is that of centred kernels, as `alignment` takes it.
    bins : int or None
        Bins of a histogram that replaces the distances, several times faster for n >= 256; 4096 do, unless an outlier
        stretches their range. None takes the distances themselves.
    precomputed : bool
        Whether x holds squared distances.

    Returns
    -------
    Width
        The width in the unit of x, float64, and whether it is an end of the range.

    Raises
    ------
    ValueError
        For NaN or infinite x, n < 2, labels that are not integers, a range that is not positive, finite and increasing,
        and bins with `centred`. Where alignment chooses no width: for constant x, pairs that are all equally far apart,
        a single class, and alignment that is the same at every width, such as centred alignment of one-hot classes.

    Examples
    --------
    >>> alignment_width([0.0, 0.1, 1.0, 1.1], [0, 0, 1, 1])
    Width(width=tensor(0.3218, dtype=torch.float64), at_end=False)
    """
    if not 0 < low < high < math.inf:
        raise ValueError(f"low and high must be positive, finite and increasing, got {low} and {high}")
    if bins is not None and checks.at_least("bins", bins, 2) and centred:
        raise ValueError(f"bins must be None with centred=True, which needs the distances themselves, got {bins}")
    pairs, agree, n = _labelled_pairs(x, y, precomputed)
    if agree.all() or pairs.max() - pairs.min() <= TOLERANCE * pairs.max():
        why = "y has a single class" if agree.all() else "all pairs of x are equally far apart"
        raise ValueError(f"{why}: no width can be chosen by alignment")
    pairs, agree = pairs.double(), agree.double()
    unit, heights = pairs.sqrt().mean(), _kernel.heights(pairs, agree, n, bins=bins, centred=centred)

    at, at_end = _kernel.best(lambda logs: heights(unit * logs.to(unit).exp()) / n, math.log(low), math.log(high))
    return Width(unit * math.exp(at), at_end)


def published_width(
    x: Any,
    y: Any,
    *,
    widths: Any = None,
    points: int = 75,
    low: float = 0.1 / math.sqrt(2),
    high: float | None = None,
    bins: int | None = None,
    precomputed: bool = False,
) -> Width:
    """Kernel width that is best aligned with the labels on the grid of Wickstrøm et al. 2019.

    The kernel is exp(-|x - x'|^2 / (2 width^2)). That paper writes exp(-|x - x'|^2 / sigma^2) and tries 75 sigmas from
    0.1 to 10 mean distances (the zero diagonal included). The default grid has the same kernels: width = sigma /
    sqrt(2). Of equal alignments the smallest width wins. The n(n-1)/2 distances are visited once per width, without any
    matrix.

    Parameters
    ----------
    x : array_like, shape (n, *features) or (n, n)
        Samples, in any unit; with `precomputed`, their squared distances.
    y : array_like of int, shape (n,)
        Labels.
    widths : array_like, shape (widths,), or None
        Widths to try in the unit of x; None tries the grid of the next three arguments.
    points : int
        Number of equally spaced widths of the grid.
    low : float
        Smallest width of the grid in the unit of x.
    high : float or None
        Largest width of the grid in the unit of x; None is 10 mean distances over sqrt(2).
    bins : int or None
        Bins of a histogram that replaces the distances. For n >= 256, 4096 bins are several times faster and give the
        same or a neighbouring width. None takes the distances themselves.
    precomputed : bool
        Whether x holds squared distances.

    Returns
    -------
    Width
        The best width in the unit of x, and whether it is the smallest or the largest of those tried.

    Raises
    ------
    ValueError
        For NaN or infinite x, n < 2, constant x, labels that are not integers, or widths that are not positive.

    Examples
    --------
    >>> published_width([0.0, 0.1, 1.0, 1.1], [0, 0, 1, 1], widths=[0.01, 0.3, 10.0])
    Width(width=tensor(0.3000, dtype=torch.float64), at_end=False)
    """
    checks.at_least("points", points, 1)
    if bins is not None:
        checks.at_least("bins", bins, 2)
    if checks.within("low", checks.positive("low", low), 0) > checks.within("high", low if high is None else high, 0):
        raise ValueError(f"low must be at most high, got {low} and {high}")
    pairs, agree, n = _labelled_pairs(x, y, precomputed)
    if widths is None:
        high = 10 * 2 * float(pairs.sqrt().sum()) / n**2 / math.sqrt(2) if high is None else high
        widths = torch.linspace(low, high, points, dtype=torch.float64)
    widths = _width(checks.floats("widths", widths, min_ndim=0), pairs).reshape(-1).sort().values
    best = widths[_kernel.heights(pairs, agree, n, bins=bins)(widths).argmax()]
    return Width(best, bool(best == widths.min() or best == widths.max()))


def _centred(name: str, A: Tensor) -> Tensor:
    A = A - A.mean(-1, keepdim=True) - A.mean(-2, keepdim=True) + A.mean((-2, -1), keepdim=True)
    if (A.diagonal(dim1=-2, dim2=-1).sum(-1) < 100 * torch.finfo(A.dtype).eps).any():
        raise ValueError(f"{name} must not be constant, as nothing is left of it when it is centred")
    return A


def _pairs(matrix: Tensor) -> Tensor:
    """What stands above the diagonal: each pair of different samples once."""
    i, j = torch.triu_indices(len(matrix), len(matrix), 1, device=matrix.device)
    return matrix.take(i * len(matrix) + j)


def _labelled_pairs(x: Any, y: Any, precomputed: bool) -> tuple[Tensor, Tensor, int]:
    """Squared distances of all pairs, each once, whether their labels agree, and n."""
    squared = _squared(x, precomputed).detach()
    y = _labels(y, len(squared)).to(squared.device)
    pairs = _pairs(squared)
    if pairs.max() == 0:
        raise ValueError("x must not be constant: no width can be chosen by alignment")
    return pairs, _pairs(y[:, None] == y).to(pairs), len(y)


def _samples(name: str, x: Any) -> Tensor:
    """Samples of shape (n, features)."""
    x = checks.floats(name, x)
    checks.at_least(f"{name}: n", len(x), 2)
    return checks.no_gram(name, x, "for squared distances set precomputed=True").reshape(len(x), -1)


def _squared(x: Any, precomputed: bool) -> Tensor:
    if not precomputed:
        return squared_distances(x)
    x = _square("x", x)
    if x.ndim > 2 or (x < 0).any() or x.diagonal().any():
        raise ValueError(
            "x must hold squared distances (n, n) with precomputed=True: never negative, 0 on the diagonal"
        )
    return x


def _squared_distances(x: Tensor) -> Tensor:
    """|x_i|^2 + |x_j|^2 - 2 x_i x_j over the last two dimensions (..., n, d), as one matrix product.

    What is left of a pair that is close against its norms is rounding: it is computed again from its differences, or
    all pairs in float64 where that is cheaper. The relative error stays below 2e-4, of any Gaussian kernel below 1e-4.
    """
    centred = x - x.mean(-2, keepdim=True)  # small norms, small rounding
    if x.shape[-1] == 1:
        _check_scale(4 * centred.detach().square().amax(), centred.detach())
        return (x - x.mT).square()
    product = centred @ centred.mT
    norms = product.diagonal(dim1=-2, dim2=-1)
    _check_scale(norms.detach().amax(), centred.detach())
    norms = norms[..., :, None] + norms[..., None, :]
    squared = torch.sub(norms, product, alpha=2).triu(1)
    rough = (squared < ROUGH * torch.finfo(x.dtype).eps * x.shape[-1] ** 0.5 * norms).triu(1)
    pairs = rough.nonzero(as_tuple=True)
    if x.dtype == torch.float32 and len(pairs[0]) > rough.numel() / 16:
        return _squared_distances(x.double()).float()
    if len(pairs[0]):
        blocks = zip(*(index.split(max(1, PAIRS // x.shape[-1])) for index in pairs), strict=True)
        close = [(x[(*batch, i)] - x[(*batch, j)]).square().sum(-1) for *batch, i, j in blocks]
        squared = squared.index_put(pairs, torch.cat(close))
    return squared + squared.mT


def _check_scale(largest: Tensor, x: Tensor) -> None:
    """Refuse values whose squares overflow, or vanish though the values differ."""
    info = torch.finfo(x.dtype)
    if not largest <= info.max / 8 or (largest < info.tiny / info.eps and x.any()):
        size, name = float(x.abs().max()), str(x.dtype).removeprefix("torch.")
        raise ValueError(f"x must have a scale whose square {name} can hold, got values up to {size:.3g} from the mean")


def _width(width: Any, like: Tensor) -> Tensor:
    width = checks.floats("width", width, min_ndim=0, finite=False).to(like)
    if not (width > 0).all():
        raise ValueError(f"width must be positive, got {width.tolist()}")
    return width


def _labels(y: Any, n: int | None = None) -> Tensor:
    y = checks.labels("y", y, n)
    checks.at_least("y: n", len(y), 2)
    return y


def _square(name: str, matrix: Any) -> Tensor:
    """A symmetric matrix of at least 2 x 2, or a batch of them."""
    matrix = checks.floats(name, matrix, min_ndim=2)
    if matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"{name} must be square, got shape {tuple(matrix.shape)}")
    checks.at_least(f"{name}: n", matrix.shape[-1], 2)
    if not torch.equal(matrix, matrix.mT) and (matrix - matrix.mT).amax() > TOLERANCE * matrix.abs().amax():
        raise ValueError(f"{name} must be symmetric")
    return matrix


def _gram(name: str, A: Gram) -> Tensor:
    """A checked Gram; a list or tuple of Grams becomes their joint."""
    if isinstance(A, list | tuple):
        if not A:
            raise ValueError(f"{name} must hold at least one Gram, got none")
        return _joint(*[_gram(name, one) for one in A])
    A = _square(name, A)
    traces = A.diagonal(dim1=-2, dim2=-1).sum(-1)
    if (traces - 1).abs().max() > TOLERANCE:
        raise ValueError(f"{name} must have trace 1, got {traces.tolist()}")
    return A


def _hadamard(A: Tensor, B: Tensor) -> Tensor:
    if A.shape[-1] != B.shape[-1]:
        raise ValueError(f"Grams must have the same n, got {A.shape[-1]} and {B.shape[-1]} in A, B, ...")
    return A * B


def _joint(*grams: Tensor) -> Tensor:
    def joint(A: Tensor, B: Tensor) -> Tensor:
        product = _hadamard(A, B)  # scaled at once: the entries of a long product would underflow
        return product / product.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]

    return reduce(joint, grams)


def _entropy(*blocks: Tensor, alpha: float) -> Tensor:
    """S_alpha of the block-diagonal matrix of these blocks."""
    if checks.positive("alpha", alpha) == 2:
        return -reduce(torch.add, [block.square().sum((-2, -1)) for block in blocks]).log2()
    p = torch.cat([eigenvalues(block) for block in blocks], dim=-1)
    if alpha < 1:  # where p^alpha makes much of the rounding of an eigenvalue 0
        p = torch.where(p > p.shape[-1] * torch.finfo(p.dtype).eps, p, 0)
    return _spectral_entropy(p, alpha)


def _spectral_entropy(p: Tensor, alpha: float) -> Tensor:
    """Rényi entropy of eigenvalues p, in the form that keeps its digits at this alpha."""
    p = p.clamp(min=0)  # tiny negative eigenvalues are rounding
    p = p / p.sum(-1, keepdim=True)
    log_p = torch.where(p > 0, p, 1).log()  # 0 log 0 = 0, for the gradient too
    top = p.amax(-1, keepdim=True)
    if alpha == 1:
        nats = -(p * log_p).sum(-1)
    elif alpha < 2:  # sum p^alpha - 1 without cancellation as alpha -> 1
        nats = torch.log1p((p * torch.expm1((alpha - 1) * log_p)).sum(-1)) / (1 - alpha)
    elif math.isinf(alpha):
        nats = -top.squeeze(-1).log()
    else:  # relative to the largest, so that no power underflows
        nats = (alpha * top.squeeze(-1).log() + (p / top).pow(alpha).sum(-1).log()) / (1 - alpha)
    return nats / math.log(2)


checks.guard(globals())
