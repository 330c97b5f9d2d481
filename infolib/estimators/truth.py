"""Distributions whose mutual information is known in closed form, to compare every estimator with.

Each has `sample(n, seed)`, which draws x and y as float64 or integer tensors with n rows, and `mutual_information()`,
the true I(X;Y) in bits. Each docstring has the formula and where it comes from.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from scipy.special import digamma, gammaln
from torch import Tensor

from infolib import checks
from infolib.estimators import discrete


@runtime_checkable
class Distribution(Protocol):
    """A joint distribution of x and y with known mutual information."""

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw n pairs of x and y.

        Parameters
        ----------
        n, seed : int
            Number of pairs; seed of their generator.

        Returns
        -------
        tuple of two Tensor, shapes (n, ...) and (n, ...)
            x and y, float64 or integers.

        Examples
        --------
        >>> given: Distribution = SparseNormal()
        >>> [tuple(part.shape) for part in given.sample(5, seed=0)]
        [(5, 1), (5, 1)]
        """

    def mutual_information(self) -> float:
        """Mutual information I(X;Y) in bits.

        Returns
        -------
        float
            I(X;Y) in bits.

        Examples
        --------
        >>> given: Distribution = Channel(((0.5, 0.0), (0.0, 0.5)))
        >>> given.mutual_information()
        1.0
        """


@dataclass(frozen=True)
class SparseNormal:
    """Normal x and y, unit variances; only x_i and y_i correlate, for i < pairs.

    The pairs are independent of each other, so that their information adds up: I = -pairs/2 log2(1 - correlation^2).

    Parameters
    ----------
    dim_x, dim_y : int
        Numbers of coordinates of x and of y.
    pairs : int
        Number of correlated pairs, from 1 to min(dim_x, dim_y).
    correlation : float
        Correlation of each pair, in (-1, 1).

    Raises
    ------
    ValueError
        For pairs or a correlation out of range.

    Examples
    --------
    >>> round(SparseNormal(dim_x=3, dim_y=2, pairs=2, correlation=0.8).mutual_information(), 4)
    1.4739
    """

    dim_x: int = 1
    dim_y: int = 1
    pairs: int = 1
    correlation: float = 0.75

    def __post_init__(self) -> None:
        if not 1 <= self.pairs <= min(self.dim_x, self.dim_y):
            raise ValueError(f"pairs must be between 1 and min(dim_x, dim_y), got {self.pairs}")
        _check_correlation(self.correlation, -1)

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw n pairs of x and y.

        Parameters
        ----------
        n, seed : int
            Number of pairs; seed of their generator.

        Returns
        -------
        tuple of two Tensor, shapes (n, dim_x) and (n, dim_y)
            x and y, float64.

        Examples
        --------
        >>> [tuple(part.shape) for part in SparseNormal(dim_x=3).sample(5, seed=0)]
        [(5, 3), (5, 1)]
        """
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((n, self.dim_x)), rng.standard_normal((n, self.dim_y))
        rest = math.sqrt(1 - self.correlation**2)
        y[:, : self.pairs] = self.correlation * x[:, : self.pairs] + rest * y[:, : self.pairs]
        return torch.from_numpy(x), torch.from_numpy(y)

    def mutual_information(self) -> float:
        """Mutual information I(X;Y) in bits, from the closed form.

        Returns
        -------
        float
            I(X;Y) in bits.

        Examples
        --------
        >>> round(SparseNormal(correlation=0.6).mutual_information(), 4)
        0.3219
        """
        return -self.pairs / 2 * math.log2(1 - self.correlation**2)

    def matrix_information(self, width: float, *, alpha: float = 1.0) -> float:
        """Population value of the matrix-based information I_alpha(X;Y) in bits, which it has as n goes to infinity.

        Along a principal axis of variance v, the operator of the kernel exp(-|x - x'|^2 / (2 width^2)) has the
        eigenvalues (1 - q) q^k, with q = m / (m + 1) and m = (1/4 + v / width^2)^(1/2) - 1/2. Their
        entropy is S_1(v) = (m + 1) log2(m + 1) - m log2 m, or S_alpha(v) = log2((1 - q)^alpha / (1 - q^alpha)) / (1 -
        alpha). Entropies of axes add: I = pairs (2 S(1) - S(1 + correlation) - S(1 - correlation)), whatever the number
        of coordinates without correlation. It tends to Shannon's I(X;Y) as the width goes to 0, and to 0 as it grows.

        Parameters
        ----------
        width : float
            Kernel width in the unit of x and y, the same for both, from 1e-6 to 1e6.
        alpha : float
            Order of the Rényi entropy, from 0.01 to 100.

        Returns
        -------
        float
            I_alpha(X;Y) in bits.

        Raises
        ------
        ValueError
            For a width or an alpha out of range.

        Examples
        --------
        >>> [round(SparseNormal(correlation=0.75).matrix_information(width), 4) for width in (3.0, 1.0, 0.1)]
        [0.1026, 0.3951, 0.5932]
        """
        checks.within("width", width, 1e-6, 1e6)
        checks.within("alpha", alpha, 0.01, 100)

        def entropy(variance: float) -> float:
            m = variance / width**2 / (math.sqrt(0.25 + variance / width**2) + 0.5)
            first, ratio = -math.log1p(m), -math.log1p(1 / m)  # ln(1 - q) and ln q
            if alpha == 1:
                return -first - m * ratio
            beyond = (alpha - 1) * first - math.log1p(-m * math.expm1((alpha - 1) * ratio))  # m is q / (1 - q)
            return beyond / (1 - alpha)

        parts = 2 * entropy(1.0) - entropy(1 + self.correlation) - entropy(1 - self.correlation)
        return self.pairs * parts / math.log(2)


@dataclass(frozen=True)
class DenseNormal:
    """Normal x and y, unit variances; every two coordinates have the same correlation.

    I = 1/2 log2(|S_x| |S_y| / |S|), and an equicorrelated d x d matrix has |S| = (1 - r)^(d-1) (1 + (d-1) r). The
    powers of 1 - r cancel up to one factor 1 / (1 - r).

    Parameters
    ----------
    dim_x, dim_y : int
        Numbers of coordinates of x and of y.
    correlation : float
        Correlation of every two coordinates, in [0, 1).

    Raises
    ------
    ValueError
        For a correlation out of range: below 0 there is no common cause to sample from.

    Examples
    --------
    >>> round(DenseNormal(dim_x=2, dim_y=3, correlation=0.5).mutual_information(), 4)
    0.5
    """

    dim_x: int = 1
    dim_y: int = 1
    correlation: float = 0.5

    def __post_init__(self) -> None:
        for name in ("dim_x", "dim_y"):
            checks.at_least(name, getattr(self, name), 1)
        _check_correlation(self.correlation, 0)  # below 0 there is no common cause to sample from

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw n pairs of x and y: a common cause plus independent noise.

        Parameters
        ----------
        n, seed : int
            Number of pairs; seed of their generator.

        Returns
        -------
        tuple of two Tensor, shapes (n, dim_x) and (n, dim_y)
            x and y, float64.

        Examples
        --------
        >>> [tuple(part.shape) for part in DenseNormal(dim_x=3).sample(5, seed=0)]
        [(5, 3), (5, 1)]
        """
        rng = np.random.default_rng(seed)
        both = math.sqrt(self.correlation) * rng.standard_normal((n, 1))
        both = both + math.sqrt(1 - self.correlation) * rng.standard_normal((n, self.dim_x + self.dim_y))
        return torch.from_numpy(both[:, : self.dim_x]), torch.from_numpy(both[:, self.dim_x :])

    def mutual_information(self) -> float:
        """Mutual information I(X;Y) in bits, from the closed form.

        Returns
        -------
        float
            I(X;Y) in bits.

        Examples
        --------
        >>> round(DenseNormal(correlation=0.6).mutual_information(), 4)  # as of one pair of `SparseNormal`
        0.3219
        """
        x, y, both = (1 + (d - 1) * self.correlation for d in (self.dim_x, self.dim_y, self.dim_x + self.dim_y))
        return math.log2(x * y / both / (1 - self.correlation)) / 2


@dataclass(frozen=True)
class StudentT:
    """Multivariate Student-t: the normal x and y divided by one common sqrt(chi^2 / dof) per sample.

    The entropy of a t in d dimensions is that of the normal up to constants and

        g(d) = ln G(dof/2) - ln G((dof+d)/2) + (dof+d)/2 (psi((dof+d)/2) - psi(dof/2)),  G the gamma function.

    The constant d/2 ln(dof pi) cancels, so I = I_normal + g(dim_x) + g(dim_y) - g(dim_x + dim_y) (Czyż et al. 2023).
    Even without correlation I is above 0: x and y have a common divisor.

    Parameters
    ----------
    normal : SparseNormal or DenseNormal
        The normal x and y.
    dof : float
        Degrees of freedom, positive.

    Raises
    ------
    ValueError
        For dof not above 0.

    Examples
    --------
    >>> round(StudentT(SparseNormal(correlation=0.0), dof=1).mutual_information(), 4)
    0.3234
    """

    normal: SparseNormal | DenseNormal
    dof: float

    def __post_init__(self) -> None:
        checks.within("dof", checks.positive("dof", self.dof), 0)

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw n pairs of x and y.

        Parameters
        ----------
        n, seed : int
            Number of pairs; seed of their generator.

        Returns
        -------
        tuple of two Tensor, shapes (n, dim_x) and (n, dim_y)
            x and y, float64.

        Examples
        --------
        >>> [tuple(part.shape) for part in StudentT(SparseNormal(dim_x=3), dof=2).sample(5, seed=0)]
        [(5, 3), (5, 1)]
        """
        x, y = self.normal.sample(n, seed)
        chi2 = np.random.default_rng([seed, 1]).chisquare(self.dof, size=(n, 1))  # a stream of its own
        scale = torch.from_numpy(np.sqrt(self.dof / chi2))
        return x * scale, y * scale

    def mutual_information(self) -> float:
        """Mutual information I(X;Y) in bits, from the closed form.

        Returns
        -------
        float
            I(X;Y) in bits.

        Examples
        --------
        >>> StudentT(SparseNormal(), dof=3).mutual_information() > SparseNormal().mutual_information()
        True
        """

        def excess(d: int) -> float:
            low, high = self.dof / 2, (self.dof + d) / 2
            return gammaln(low) - gammaln(high) + high * (digamma(high) - digamma(low))

        dim_x, dim_y = self.normal.dim_x, self.normal.dim_y
        nats = excess(dim_x) + excess(dim_y) - excess(dim_x + dim_y)
        return self.normal.mutual_information() + float(nats) / math.log(2)


@dataclass(frozen=True)
class Mapped:
    """Another distribution after an invertible map of x and one of y: I(X;Y) does not change.

    Parameters
    ----------
    base : Distribution
        The distribution of x and y before the maps.
    map_x, map_y : callable
        Invertible maps of tensors, such as `torch.exp`.

    Examples
    --------
    >>> Mapped(SparseNormal(correlation=0.5), torch.exp, torch.sinh).mutual_information() == SparseNormal(
    ...     correlation=0.5
    ... ).mutual_information()
    True
    """

    base: Distribution
    map_x: Callable[[Tensor], Tensor]
    map_y: Callable[[Tensor], Tensor]

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw n pairs of mapped x and y.

        Parameters
        ----------
        n, seed : int
            Number of pairs; seed of their generator.

        Returns
        -------
        tuple of two Tensor, shapes (n, ...) and (n, ...)
            x and y after their maps.

        Examples
        --------
        >>> x, y = Mapped(SparseNormal(), torch.exp, torch.sinh).sample(5, seed=0)
        >>> torch.equal(x.log().float(), SparseNormal().sample(5, seed=0)[0].float())
        True
        """
        x, y = self.base.sample(n, seed)
        return self.map_x(x), self.map_y(y)

    def mutual_information(self) -> float:
        """Mutual information I(X;Y) in bits: that of the base.

        Returns
        -------
        float
            I(X;Y) in bits.

        Examples
        --------
        >>> round(Mapped(SparseNormal(correlation=0.6), torch.exp, torch.exp).mutual_information(), 4)
        0.3219
        """
        return self.base.mutual_information()


@dataclass(frozen=True)
class UniformNoise:
    """x uniform on (0, 1), y = x + u with u uniform on (-noise, noise), u independent of x.

    I = h(Y) - h(U) with h(U) = log2(2 noise). For noise <= 1/2 the density of y is a trapezoid of height 1. Its two
    flanks, 2 noise wide each, contribute noise nats: I = noise - ln(2 noise) nats. For noise >= 1/2 the height is 1 /
    (2 noise), the flanks are 1 wide, and I = 1 / (4 noise) nats.

    Parameters
    ----------
    noise : float
        Half width of the noise in the unit of x, positive.

    Raises
    ------
    ValueError
        For noise not above 0.

    Examples
    --------
    >>> round(UniformNoise(noise=0.5).mutual_information(), 4)
    0.7213
    """

    noise: float

    def __post_init__(self) -> None:
        checks.within("noise", checks.positive("noise", self.noise), 0)

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw n pairs of x and y.

        Parameters
        ----------
        n, seed : int
            Number of pairs; seed of their generator.

        Returns
        -------
        tuple of two Tensor, shapes (n, 1) and (n, 1)
            x and y, float64.

        Examples
        --------
        >>> x, y = UniformNoise(noise=0.1).sample(5, seed=0)
        >>> bool(((y - x).abs() < 0.1).all())
        True
        """
        rng = np.random.default_rng(seed)
        x = rng.uniform(0, 1, (n, 1))
        return torch.from_numpy(x), torch.from_numpy(x + rng.uniform(-self.noise, self.noise, (n, 1)))

    def mutual_information(self) -> float:
        """Mutual information I(X;Y) in bits, from the closed form.

        Returns
        -------
        float
            I(X;Y) in bits.

        Examples
        --------
        >>> round(UniformNoise(noise=1.0).mutual_information(), 4)
        0.3607
        """
        nats = self.noise - math.log(2 * self.noise) if self.noise <= 0.5 else 1 / (4 * self.noise)
        return nats / math.log(2)


@dataclass(frozen=True)
class Channel:
    """Symbols x and y with given joint probabilities.

    I = sum P(x,y) log2(P(x,y) / (P(x) P(y))), with 0 log 0 = 0.

    Parameters
    ----------
    table : tuple of tuple of float
        `table[x][y]` is P(x,y).

    Raises
    ------
    ValueError
        For probabilities that are negative, do not sum to 1 or do not fill a matrix.

    Examples
    --------
    >>> Channel(((0.5, 0.0), (0.0, 0.5))).mutual_information()
    1.0
    """

    table: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        joint = np.array(self.table)
        if joint.ndim != 2 or not (joint >= 0).all() or not math.isclose(joint.sum(), 1, abs_tol=1e-9):
            raise ValueError(f"table must hold joint probabilities that sum to 1, got sum {joint.sum()}")

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw n pairs of symbols.

        Parameters
        ----------
        n, seed : int
            Number of pairs; seed of their generator.

        Returns
        -------
        tuple of two Tensor, shapes (n,) and (n,)
            Symbols x and y, int64.

        Examples
        --------
        >>> x, y = Channel(((0.5, 0.0), (0.0, 0.5))).sample(5, seed=0)
        >>> torch.equal(x, y)
        True
        """
        joint = np.array(self.table)
        cell = np.random.default_rng(seed).choice(joint.size, size=n, p=joint.ravel() / joint.sum())
        x, y = np.unravel_index(cell, joint.shape)
        return torch.from_numpy(x), torch.from_numpy(y)

    def mutual_information(self) -> float:
        """Mutual information I(X;Y) in bits, from the closed form.

        Returns
        -------
        float
            I(X;Y) in bits.

        Examples
        --------
        >>> Channel(((0.25, 0.25), (0.25, 0.25))).mutual_information()
        0.0
        """
        joint = np.array(self.table)
        independent = joint.sum(1, keepdims=True) * joint.sum(0)
        seen = joint > 0
        return float((joint[seen] * np.log2(joint[seen] / independent[seen])).sum())


def symmetric_channel(symbols: int, error: float) -> Channel:
    """Channel with uniform input that replaces a symbol, with probability `error`, by one of the others.

    I = log2 K - h(error) - error log2(K - 1) for K symbols, h the binary entropy.

    Parameters
    ----------
    symbols : int
        Number K of symbols, at least 2.
    error : float
        Probability of another symbol, in [0, 1].

    Returns
    -------
    Channel
        With a table of K x K.

    Raises
    ------
    ValueError
        For symbols or an error out of range.

    Examples
    --------
    >>> round(symmetric_channel(2, error=0.11).mutual_information(), 4)
    0.5001
    """
    checks.at_least("symbols", symbols, 2)
    if not 0 <= error <= 1:
        raise ValueError(f"error must be between 0 and 1, got {error}")
    table = np.full((symbols, symbols), error / (symbols - 1) / symbols)
    np.fill_diagonal(table, (1 - error) / symbols)
    return Channel(tuple(map(tuple, table.tolist())))


@dataclass(frozen=True, eq=False)
class Patterns:
    """A fixed task: patterns that are equally likely, each with its label.

    I(X;Y) = H(Y) - H(Y|X) by counting the patterns. It is H(Y) where no row occurs twice, as in the 12-bit task of
    4096 rows.

    Parameters
    ----------
    x : Tensor, shape (n_patterns, features)
        One pattern in each row.
    y : Tensor, shape (n_patterns,)
        Their labels, integers.

    Examples
    --------
    >>> Patterns(torch.eye(4), torch.tensor([0, 0, 1, 1])).mutual_information()
    1.0
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        checks.labels("y", self.y, len(self.x))

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw n rows with replacement.

        Parameters
        ----------
        n, seed : int
            Number of pairs; seed of their generator.

        Returns
        -------
        tuple of two Tensor, shapes (n, features) and (n,)
            Patterns and their labels.

        Examples
        --------
        >>> x, y = Patterns(torch.eye(4), torch.tensor([0, 0, 1, 1])).sample(5, seed=0)
        >>> torch.equal(x.argmax(1) // 2, y)
        True
        """
        rows = torch.from_numpy(np.random.default_rng(seed).integers(len(self.x), size=n))
        return self.x[rows], self.y[rows]

    def mutual_information(self) -> float:
        """Mutual information I(X;Y) in bits, by counting the patterns.

        Returns
        -------
        float
            I(X;Y) in bits.

        Examples
        --------
        >>> Patterns(torch.tensor([[0], [0], [1], [1]]), torch.tensor([0, 1, 2, 2])).mutual_information()
        1.0
        """
        pattern = self.x.unique(dim=0, return_inverse=True)[1]
        return float(discrete.mutual_information(pattern, self.y))


def _check_correlation(correlation: float, low: float) -> None:
    if not low <= correlation < 1 or correlation == -1:
        least = "above -1" if low < 0 else "at least 0"
        raise ValueError(f"correlation must be {least} and below 1, got {correlation}")


checks.guard(globals())
