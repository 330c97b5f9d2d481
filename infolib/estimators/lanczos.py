"""Matrix-based Rényi entropy of many samples, with a standard error, by stochastic Lanczos quadrature.

The quantities are those of `renyi`, in bits: S_alpha(A) of the Gram A_ij = exp(-|x_i - x_j|^2 / (2 width^2)) / n. Up to
`exact` samples all eigenvalues are computed. Above, the leading ones come from a subspace iteration and the rest from
quadrature (Ubaru, Chen & Saad 2017): tr f(A) is the mean of z^T f(A) z over random signs z, and Lanczos steps from z
give nodes and weights for f. The trace and the dimension of the rest are known, so that only the difference of f from a
straight line is random. What the subspace has not reached enters to second order, through its residuals. At alpha = 2
the entropy is exact: the squared kernel values are summed block by block. Values have no gradient.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypedDict, Unpack

import torch
from scipy.special import stdtrit
from torch import Tensor

from infolib import checks
from infolib.estimators import _kernel, renyi
from infolib.estimators._eigen import eigenvalues

ITERATIONS = 4  # of the subspace: after one the bias is up to 0.01 bit, whatever the other settings
OVERSAMPLING = 8  # vectors that are iterated too and not kept
ERROR = 1e-4  # of a kernel value, for which float32 is good enough
TOLERANCE = 1e-5  # of symmetry and trace
ROUNDING = 256  # units in the last place of the trace, each worth up to log2 n bits

Product = Callable[[Tensor], Tensor]
Shared = Callable[[Callable[[int, int], Product]], Product]


class Estimate(NamedTuple):
    """A value and its standard error.

    The standard error is that of the random probes and of rounding, not of the samples: value ± 2 standard errors
    contains the value of all eigenvalues in 90 to 96 of 100 draws. It is wider than the spread of the probes by the
    ratio of Student's t to the normal distribution.

    It is 0 where the value is exact, and at alpha = inf. There, above `exact` samples, the value has the unknown error
    of the largest eigenvalue of the subspace; it was 0.05 bit in one case with a narrow kernel.

    Attributes
    ----------
    value, standard_error : Tensor, shape ()
        In bits, float64, on the device of the samples.
    """

    value: Tensor
    standard_error: Tensor


class Options(TypedDict, total=False):
    """Options of the quadrature.

    Parameters
    ----------
    alpha, probes, steps, deflated, exact, memory, seed, shared
        As `entropy` takes them, with the same defaults. `gram_entropy` uses neither `memory` nor `shared`.
    """

    alpha: float
    probes: int
    steps: int
    deflated: int
    exact: int
    memory: float
    seed: int
    shared: Shared | None


class _Settings(NamedTuple):
    alpha: float = 1.01
    probes: int = 8
    steps: int = 14
    deflated: int = 64
    exact: int = 3000
    memory: float = 2e9
    seed: int = 0
    shared: Shared | None = None

    @property
    def small(self) -> int:
        """The number of samples up to which all eigenvalues are computed."""
        return max(self.exact, 4 * self.deflated)


class _Spectrum(NamedTuple):
    """Eigenvalues, and a quadrature for the rest from each probe: nodes and weights of shape (probes, steps).

    `missed` are the squared residuals |A u - u found|^2, which couple the found with eigenvalues of the rest of about
    `below`.
    """

    found: Tensor
    nodes: Tensor | None = None
    weights: Tensor | None = None
    dimension: int = 0  # of the rest
    trace: float = 0.0
    missed: Any = 0.0
    below: Any = 0.0


def entropy(
    x: Any,
    *,
    width: float,
    alpha: float = 1.01,
    probes: int = 8,
    steps: int = 14,
    deflated: int = 64,
    exact: int = 3000,
    memory: float = 2e9,
    seed: int = 0,
    shared: Shared | None = None,
) -> Estimate:
    """Matrix-based Rényi entropy S_alpha of samples in bits, for any number of samples.

    It estimates `renyi.entropy(renyi.gram(x, width=width))`. Half of the Gram matrix is kept, or as much of it as fits
    into `memory`; the rest is computed again at each of the 6 + `steps` products. It is float32 where norms and width
    show that a kernel value is then right within 1e-4, else float64.

    Parameters
    ----------
    x : array_like, shape (n, *features)
        Samples, in any unit; all features are flattened.
    width : float
        Kernel width in the unit of x, positive.
    alpha : float
        Order of the Rényi entropy, at least 1.
    probes, steps : int
        Random probes and Lanczos steps of the quadrature, at least 2 each.
    deflated : int
        Number of leading eigenvalues that are computed one by one.
    exact : int
        All eigenvalues are computed for up to this many samples, and for n up to 4 `deflated`.
    memory : float
        Memory to work in, in bytes.
    seed : int
        Seed of the probes and of the subspace's start.
    shared : callable or None
        What has others compute the products of the kernel with vectors v (n, columns). It is called with a function
        `rows(part, parts)`, which can be pickled and gives a map from v to what a part of the kernel's rows adds to the
        product; it returns the map to the sum over parts. Each part may work in `memory`. None computes them here.

    Returns
    -------
    Estimate
        S_alpha in bits and its standard error.

    Raises
    ------
    ValueError
        For NaN or infinite x, n < 2, a Gram matrix in place of samples, width not above 0, alpha < 1, probes or steps
        < 2, a `memory` that n samples do not fit into, or a width so small that float64 cannot hold the kernel.

    Examples
    --------
    >>> value, standard_error = entropy([[0.0], [0.0], [9.0], [9.0]], width=1.0)
    >>> round(value.item(), 6), standard_error.item()
    (1.0, 0.0)
    """
    settings = _checked(_Settings(alpha, probes, steps, deflated, exact, memory, seed, shared))
    return _sum([(1, _features(_scaled("x", x, "width", width), settings=settings), None)], settings)


def mutual_information(
    x: Any,
    y: Any,
    *,
    width_x: float,
    width_y: float,
    **options: Unpack[Options],
) -> Estimate:
    """Matrix-based mutual information I_alpha(X;Y) of samples in bits, for any number of samples.

    It estimates `renyi.mutual_information` of the two Grams. The three entropies have common probes, so that much of
    their errors cancels. The joint Gram is that of (x / width_x, y / width_y).

    Parameters
    ----------
    x, y : array_like, shape (n, *features)
        Samples, in any unit; all features are flattened.
    width_x, width_y : float
        Kernel widths in the units of x and y, positive.
    **options
        Of the quadrature, see `Options`.

    Returns
    -------
    Estimate
        I_alpha(X;Y) in bits and its standard error; never clipped.

    Raises
    ------
    ValueError
        As `entropy`, and for different n.

    Examples
    --------
    >>> x = torch.tensor([0.0, 0.0, 9.0, 9.0])
    >>> round(mutual_information(x, x, width_x=1.0, width_y=1.0).value.item(), 6)
    1.0
    """
    settings = _checked(_Settings(**options))
    x, y = _scaled("x", x, "width_x", width_x), _scaled("y", y, "width_y", width_y)
    if len(x) != len(y):
        raise ValueError(f"x and y must have the same n, got {len(x)} and {len(y)}")
    x, y, joint = (_features(*parts, settings=settings) for parts in ((x,), (y,), (x, y)))
    return _sum([(1, x, None), (1, y, None), (-1, joint, None)], settings)


def label_mutual_information(
    x: Any,
    y: Any,
    *,
    width: float,
    **options: Unpack[Options],
) -> Estimate:
    """Matrix-based mutual information I_alpha(X;Y) of samples with their labels in bits, for any number of samples.

    It estimates `renyi.label_mutual_information`. The joint Gram is block-diagonal: each class is a problem of its own,
    exact where the class has at most `exact` samples.

    Parameters
    ----------
    x : array_like, shape (n, *features)
        Samples, in any unit; all features are flattened.
    y : array_like of int, shape (n,)
        Labels.
    width : float
        Kernel width in the unit of x, positive.
    **options
        Of the quadrature, see `Options`.

    Returns
    -------
    Estimate
        I_alpha(X;Y) in bits and its standard error; never clipped.

    Raises
    ------
    ValueError
        As `entropy`, and for labels that are not integers of shape (n,).

    Examples
    --------
    >>> round(label_mutual_information([0.0, 0.0, 9.0, 9.0], [3, 3, 7, 7], width=1.0).value.item(), 6)
    1.0
    """
    settings = _checked(_Settings(**options))
    x = _scaled("x", x, "width", width)
    y = checks.labels("y", y, len(x)).to(x.device)
    classes = [(y == label).nonzero().squeeze(-1) for label in y.unique()]
    x = _features(x, settings=settings)
    value, error = _sum([(1, x, None), (-1, x, classes)], settings)
    return Estimate(value + renyi.label_entropy(y, alpha=settings.alpha), error)


def gram_entropy(
    A: Tensor,
    **options: Unpack[Options],
) -> Estimate:
    """Matrix-based Rényi entropy S_alpha(A) of a Gram matrix in bits, for any n.

    It estimates `renyi.entropy(A)`. The products are computed in the dtype of A: float32 takes half the time.

    Parameters
    ----------
    A : Tensor, shape (n, n)
        Gram matrix with trace 1.
    **options
        Of the quadrature, see `Options`.

    Returns
    -------
    Estimate
        S_alpha(A) in bits and its standard error.

    Raises
    ------
    ValueError
        For a matrix that is not square, symmetric, finite or of trace 1, n < 2, alpha < 1, or probes or steps < 2.

    Examples
    --------
    >>> round(gram_entropy(torch.eye(8) / 8).value.item(), 6)
    3.0
    """
    settings = _checked(_Settings(**options))
    A = _gram(A)
    if settings.alpha == 2:
        return _estimate(renyi.entropy(A, alpha=2).double(), torch.zeros(1), A)
    if len(A) <= settings.small:
        return _estimate(*_evaluate([_Spectrum(eigenvalues(A).double())], settings.alpha), A)
    return _estimate(*_evaluate([_quadrature(_times(A), 1.0, *_draws(A, settings), settings)], settings.alpha), A)


def leading_eigenpairs(A: Tensor, *, deflated: int = 64, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Leading eigenvalues and eigenvectors of a Gram matrix, by the subspace iteration of the other functions.

    With vectors U and P = 1 - UU^T, the quadrature's limit for many probes and steps is the entropy of the pinched
    matrix UU^T A UU^T + P A P. The bias of the deflation is its difference from S_alpha(A).

    Parameters
    ----------
    A : Tensor, shape (n, n)
        Gram matrix with trace 1.
    deflated, seed : int
        Number of eigenvalues; seed of the start.

    Returns
    -------
    tuple of two Tensor, shapes (deflated,) and (n, deflated)
        Eigenvalues, rising, in float64, and orthonormal eigenvectors in the dtype of A.

    Raises
    ------
    ValueError
        As `gram_entropy`, and for deflated < 1 or above n.

    Examples
    --------
    >>> leading_eigenpairs(torch.diag(torch.tensor([0.7, 0.2, 0.1])), deflated=1)[0]
    tensor([0.7000], dtype=torch.float64)
    """
    A = _gram(A)
    if checks.at_least("deflated", deflated, 1) > len(A):
        raise ValueError(f"deflated must be at most n = {len(A)}, got {deflated}")
    settings = _Settings(deflated=deflated, seed=seed)
    values, vectors, _ = _leading(_times(A), _draws(A, settings)[0], deflated)
    return values[-deflated:], vectors


def _checked(settings: _Settings) -> _Settings:
    if checks.positive("alpha", settings.alpha) < 1:
        raise ValueError(
            f"alpha must be at least 1, got {settings.alpha}: below, the smallest eigenvalues matter, for which no "
            "quadrature converges; renyi.entropy takes it"
        )
    for name, least in (("probes", 2), ("steps", 2), ("deflated", 1), ("exact", 0)):
        checks.at_least(name, getattr(settings, name), least)
    checks.positive("memory", settings.memory)
    return settings


def _scaled(name: str, x: Any, width_name: str, width: float) -> Tensor:
    """Centred samples of shape (n, features) over their width, in float64."""
    x = checks.floats(name, x).detach()
    n = checks.at_least(f"{name}: n", len(x), 2)
    x = checks.no_gram(name, x, "gram_entropy takes a Gram matrix")
    x = x.reshape(n, -1).double()
    x = (x - x.mean(0)).div_(checks.positive(width_name, width))
    largest = float(torch.linalg.vector_norm(x, dim=1).max()) ** 2
    if not largest * torch.finfo(x.dtype).eps * x.shape[1] ** 0.5 < ERROR:
        raise ValueError(
            f"{width_name} must be larger, got {width}: samples of {name} lie {largest**0.5:.3g} widths from their "
            "mean, and rounding would decide the kernel"
        )
    return x


def _features(*scaled: Tensor, settings: _Settings) -> Tensor:
    """Scaled samples side by side, whose Gaussian kernel of width 1 is the joint one; float32 where that will do.

    Refused where `settings.memory` does not hold what one entropy takes.
    """
    n, d = len(scaled[0]), sum(x.shape[1] for x in scaled)
    largest = sum(float(torch.linalg.vector_norm(x, dim=1).max()) ** 2 for x in scaled)
    fine = largest * torch.finfo(torch.float32).eps * d**0.5 < ERROR
    size = 4 if fine and settings.alpha != 2 and n > settings.small else 8
    if (needed := _space(n, d, size, settings) + 12 * n * d) > settings.memory:  # for copies in float64 before
        raise ValueError(
            f"memory must be at least {needed:_} bytes for n = {n:,} samples of {d:,} features, got "
            f"{settings.memory:g}; set memory={needed:_}, or lower exact, deflated, probes or steps"
        )
    return torch.cat([x.to(torch.float32 if size == 4 else torch.float64) for x in scaled], 1)


def _space(n: int, d: int, size: int, settings: _Settings) -> int:
    """Bytes that one entropy takes, without a Gram matrix that is kept."""
    block = min(n * n, max(n, _kernel.BLOCK))
    data = 2 * size * n * d + 3 * size * block
    if settings.alpha == 2:
        return data
    if n <= settings.small:
        return data + 4 * size * n**2
    vectors = 4 * (settings.deflated + OVERSAMPLING) + settings.probes * (settings.steps + 4)
    return data + size * n * vectors


def _times(A: Tensor) -> Product:
    return lambda v: (v.mT @ A).mT  # A is symmetric, and few rows times A take half the time of A times few columns


def _product(x: Tensor, n: int, settings: _Settings) -> Product:
    """The map from v to A v for A_ij = exp(-|x_i - x_j|^2 / 2) / n."""
    room = settings.memory - _space(len(x), x.shape[1], x.element_size(), settings)
    rows = partial(_kernel.rows, x, room)
    times = rows(0, 1) if settings.shared is None else settings.shared(rows)
    return lambda v: times(v) / n


def _sum(terms: Sequence[tuple[int, Tensor, list[Tensor] | None]], settings: _Settings) -> Estimate:
    """Sum of signed entropies: of all samples, or of the block-diagonal matrix of their classes; common probes."""
    n, alpha = len(terms[0][1]), settings.alpha
    value, deviations = terms[0][1].new_zeros((), dtype=torch.float64), torch.zeros(1)
    for sign, x, classes in terms:
        parts = [slice(None)] if classes is None else classes
        if alpha == 2:
            bits, deviation = -(torch.stack([_squares(x[part]) for part in parts]).sum() / n**2).log2(), torch.zeros(1)
        else:
            start, signs = _draws(x, settings)
            spectra = [_spectrum(x[part], n, start[part], signs[part], settings) for part in parts]
            bits, deviation = _evaluate(spectra, alpha)
        value, deviations = value + sign * bits, deviations.to(deviation) + sign * deviation
    return _estimate(value, deviations, terms[0][1])


def _squares(x: Tensor) -> Tensor:
    """Sum of the squared kernel values."""
    return torch.stack([2 * K.square().sum() - K[:, : len(K)].square().sum() for _, K in _kernel.blocks(x)]).sum()


def _spectrum(x: Tensor, n: int, start: Tensor, signs: Tensor, settings: _Settings) -> _Spectrum:
    if len(x) <= settings.small:
        return _Spectrum(eigenvalues(_kernel.lower(x.double()) / n))
    return _quadrature(_product(x, n, settings), len(x) / n, start, signs, settings)


def _draws(like: Tensor, settings: _Settings) -> tuple[Tensor, Tensor]:
    """The start of the subspace, and the probes; the same on every device."""
    generator = torch.Generator().manual_seed(settings.seed)
    start = torch.randn(len(like), settings.deflated + OVERSAMPLING, generator=generator)
    signs = torch.randint(2, (len(like), settings.probes), generator=generator) * 2 - 1
    return start.to(like), signs.to(like)


def _leading(product: Product, start: Tensor, deflated: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ritz values of the whole subspace, the leading Ritz vectors, and their squared residuals."""
    basis = start
    for _ in range(1 + ITERATIONS):
        basis = torch.linalg.qr(product(basis)).Q
    image = product(basis)
    inner = (basis.mT @ image).double()
    values, vectors = torch.linalg.eigh((inner + inner.mT) / 2)
    kept = vectors[:, -deflated:].to(basis)
    U = basis @ kept
    return values, U, (image @ kept - U * values[-deflated:].to(U)).double().square().sum(0)


def _quadrature(product: Product, trace: float, start: Tensor, signs: Tensor, settings: _Settings) -> _Spectrum:
    """Leading eigenvalues, and Lanczos steps from each probe on what is left."""
    values, U, missed = _leading(product, start, settings.deflated)
    found = values[-settings.deflated :]
    v = signs - U @ (U.mT @ signs)
    mass = v.double().square().sum(0)
    v = v / v.norm(dim=0)
    steps, kept = settings.steps, [v]
    T = mass.new_zeros(len(mass), steps, steps)
    for i in range(steps):
        w = product(v)
        T[:, i, i] = (v * w).sum(0)
        for _ in range(2):  # orthogonal to all before, to rounding
            w = w - U @ (U.mT @ w)
            for u in kept:
                w = w - u * (u * w).sum(0)
        if i < steps - 1:
            norm = w.norm(dim=0)
            v = torch.where(norm > 0, w / norm, 0)
            T[:, i, i + 1] = T[:, i + 1, i] = norm
            kept.append(v)
    nodes, vectors = torch.linalg.eigh(T)
    weights = mass[:, None] * vectors[:, 0].square()
    rest = len(signs) - len(found), trace - float(found.sum())
    rounding = torch.finfo(signs.dtype).eps * float(values[-1])
    return _Spectrum(found, nodes.clamp(min=0), weights, *rest, missed, values[0].clamp(min=rounding))


def _evaluate(spectra: Sequence[_Spectrum], alpha: float) -> tuple[Tensor, Tensor]:
    """S_alpha in bits of the union of the spectra, and its deviation at each probe."""
    top = torch.stack([s.found.max() for s in spectra]).max()
    if math.isinf(alpha):
        return -top.log2(), torch.zeros(1)

    def f(p: Tensor) -> Tensor:
        log_p = p.clamp(min=torch.finfo(p.dtype).tiny).log()
        if alpha == 1:
            return -p * log_p
        return p * ((alpha - 1) * log_p).expm1() if alpha < 2 else (alpha * (log_p - top.log())).exp()

    def derivative(p: Tensor) -> Tensor:
        log_p = p.clamp(min=torch.finfo(p.dtype).tiny).log()
        if alpha == 1:
            return -log_p - 1
        return alpha * ((alpha - 1) * log_p - (alpha * top.log() if alpha >= 2 else 0)).exp() - int(alpha < 2)

    total, deviations = torch.zeros_like(top), torch.zeros(1)
    for s in spectra:
        total = total + f(s.found.clamp(min=0)).sum()
        if s.nodes is not None and s.weights is not None:  # the line a + b p is known in sum, the rest is estimated
            p, w = s.nodes, s.weights
            centre = (w * p).sum() / w.sum()
            q, at = p - centre, f(p)
            mass, first, second, value, cross = ((w * v).sum(1) for v in (torch.ones_like(q), q, q * q, at, q * at))
            m, x, xx, y, xy = (v.sum() - v for v in (mass, first, second, value, cross))  # of the other probes
            spread = xx - x * x / m
            wide = spread > (1e-6 * centre).square() * m  # else one eigenvalue, and any line will do
            b = torch.where(wide, (xy - x * y / m) / spread, 0)
            a = (y - b * x) / m
            sums = a * s.dimension + b * (s.trace - centre * s.dimension) + value - a * mass - b * first
            total, deviations = total + sums.mean(), deviations.to(sums) + sums - sums.mean()
            gap = s.found - s.below
            total = total + torch.where(gap > 0, s.missed * (derivative(s.found) - derivative(s.below)) / gap, 0).sum()
    if alpha == 1:
        nats, slope = total, torch.ones_like(total)
    elif alpha < 2:
        nats, slope = total.log1p() / (1 - alpha), 1 / (1 + total) / (1 - alpha)
    else:
        nats, slope = (alpha * top.log() + total.log()) / (1 - alpha), 1 / total / (1 - alpha)
    return nats / math.log(2), slope.to(deviations) * deviations / math.log(2)


def _estimate(value: Tensor, deviations: Tensor, like: Tensor) -> Estimate:
    """With the error of the products' rounding, which decides where few eigenvalues are all there is."""
    probes, error = len(deviations), value.new_zeros(())
    if probes > 1:  # as Student's t is wider than the normal distribution at two standard errors
        error = deviations.std() / probes**0.5 * float(stdtrit(probes - 1, 0.97725)) / 2
        error = (error.square() + (ROUNDING * torch.finfo(like.dtype).eps * math.log2(len(like))) ** 2).sqrt()
    return Estimate(value, error)


def _gram(A: Tensor) -> Tensor:
    A = checks.floats("A", A, min_ndim=2).detach()
    n = len(A)
    if A.shape != (n, n):
        raise ValueError(f"A must be square, got shape {tuple(A.shape)}")
    checks.at_least("A: n", n, 2)
    if abs(float(A.diagonal().double().sum()) - 1) > TOLERANCE:
        raise ValueError(f"A must have trace 1, got {float(A.diagonal().sum()):.6g}")
    parts, limit = range(0, n, 512), TOLERANCE * float(A.diagonal().max())  # tiles, which a cache holds
    tiles = ((A[i : i + 512, j : j + 512], A[j : j + 512, i : i + 512].mT) for i in parts for j in parts if i <= j)
    if any(float((one - other).abs().max()) > limit for one, other in tiles):
        raise ValueError("A must be symmetric")
    return A


checks.guard(globals())
