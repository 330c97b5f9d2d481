import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from infolib.estimators import discrete, truth


def normal_bits(covariance, dim_x):
    blocks = covariance[:dim_x, :dim_x], covariance[dim_x:, dim_x:], covariance
    of_x, of_y, of_both = (np.linalg.slogdet(block)[1] for block in blocks)
    return (of_x + of_y - of_both) / (2 * math.log(2))


@pytest.mark.parametrize(
    "distribution",
    [
        truth.SparseNormal(3, 2, pairs=2, correlation=-0.8),
        truth.DenseNormal(3, 2, correlation=0.6),
        truth.DenseNormal(1, 1, correlation=0.6),
    ],
    ids=repr,
)
def test_normal_information_is_that_of_the_covariance(distribution):
    x, y = distribution.sample(100_000, seed=0)
    both = torch.cat([x, y], dim=1).numpy()
    tolerance = 0.02
    bits = distribution.mutual_information()
    assert normal_bits(np.cov(both.T), x.shape[1]) == pytest.approx(bits, abs=tolerance)
    assert bits > 5 * tolerance
    assert both.std(axis=0) == pytest.approx(np.ones(both.shape[1]), abs=tolerance)


def test_sparse_normal_correlates_its_pairs_only():
    x, y = truth.SparseNormal(2, 2, pairs=1, correlation=0.5).sample(100_000, seed=0)
    expected = np.array([[0.5, 0], [0, 0]])
    assert np.corrcoef(x.T, y.T)[:2, 2:] == pytest.approx(expected, abs=0.02)


def operator_bits(points, weights, width, alpha):
    """Entropy of the Gaussian kernel's operator on nodes with probabilities."""
    squared = ((points[:, None] - points) ** 2).sum(-1)
    values = np.linalg.eigvalsh(np.sqrt(weights[:, None] * weights) * np.exp(-squared / (2 * width**2)))
    values = values[values > 1e-14]
    return -(values * np.log2(values)).sum() if alpha == 1 else np.log2((values**alpha).sum()) / (1 - alpha)


@pytest.mark.parametrize(
    ("correlation", "width", "alpha"), [(0.75, 1.0, 1), (0.75, 3.0, 1), (-0.5, 1.5, 1), (0.75, 1.0, 2), (0.6, 2, 1.01)]
)
def test_matrix_information_is_that_of_the_kernel_operator_on_quadrature_nodes(correlation, width, alpha):
    nodes, weights = np.polynomial.hermite_e.hermegauss(32)
    weights /= weights.sum()
    z = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2)
    z[:, 1] = correlation * z[:, 0] + math.sqrt(1 - correlation**2) * z[:, 1]
    alone, both = ((nodes[:, None], weights), (z, np.outer(weights, weights).ravel()))
    oracle = 2 * operator_bits(*alone, width, alpha) - operator_bits(*both, width, alpha)
    value = truth.SparseNormal(3, 2, pairs=2, correlation=correlation).matrix_information(width, alpha=alpha)
    assert value == pytest.approx(2 * oracle, abs=1e-4)
    assert value > 0.05


@pytest.mark.parametrize("alpha", [0.5, 1, 1.01, 2])
def test_matrix_information_lies_between_nothing_and_shannons(alpha):
    pair = truth.SparseNormal(correlation=0.75)
    values = [pair.matrix_information(width, alpha=alpha) for width in (1e6, 10, 1, 0.1, 1e-4)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(0, abs=1e-4)
    assert values[-1] == pytest.approx(pair.mutual_information(), abs=1e-4)
    assert truth.SparseNormal(correlation=0.0).matrix_information(0.1, alpha=alpha) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("name", "value"), [("width", 0.0), ("width", 1e7), ("alpha", 0.0)])
def test_matrix_information_refuses_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a number from .*, got {value}"):
        truth.SparseNormal().matrix_information(**{"width": 1.0, name: value})


@pytest.mark.parametrize(("correlation", "dof"), [(0.0, 2), (0.7, 3), (0.7, 20)])
def test_student_information_agrees_with_integration(correlation, dof):
    # I = E[log t_2(x, y) / (t_1(x) t_1(y))] on a grid of angles and of quantiles of the radius
    normal = truth.SparseNormal(correlation=correlation)
    shape = np.linalg.cholesky([[1, correlation], [correlation, 1]])
    angle = (np.arange(400) + 0.5) * 2 * np.pi / 400
    level = (np.arange(4000) + 0.5) / 4000
    radius = np.sqrt(2 * stats.f.ppf(level, 2, dof))  # |z|^2 / 2 of a bivariate t is F distributed
    points = radius[:, None, None] * (np.stack([np.cos(angle), np.sin(angle)], axis=1) @ shape.T)
    joint = stats.multivariate_t(shape=shape @ shape.T, df=dof).logpdf(points)
    nats = (joint - stats.t(dof).logpdf(points).sum(-1)).mean()
    bits = truth.StudentT(normal, dof).mutual_information()
    assert bits == pytest.approx(nats / math.log(2), abs=2e-3)
    assert bits > 0.01


def test_student_samples_have_student_margins_and_correlated_magnitudes():
    student = truth.StudentT(truth.SparseNormal(2, 1, correlation=0.0), dof=3)
    x, y = student.sample(20_000, seed=0)
    assert stats.kstest(x[:, 1], stats.t(3).cdf).pvalue > 0.001
    assert stats.spearmanr(x[:, 0].abs(), y[:, 0].abs()).statistic > 0.1
    divisors = [student.normal.sample(9, seed)[0] / student.sample(9, seed)[0] for seed in (0, 1)]
    assert not torch.allclose(*divisors)


def test_student_tends_to_the_normal():
    normal = truth.DenseNormal(2, 3, correlation=0.4)
    assert truth.StudentT(normal, 1e6).mutual_information() == pytest.approx(normal.mutual_information(), abs=1e-5)


@pytest.mark.parametrize("noise", [0.05, 0.3, 0.5, 0.8, 3.0])
def test_uniform_noise_information_agrees_with_integration(noise):
    def surprise(y):
        density = (min(y + noise, 1) - max(y - noise, 0)) / (2 * noise)
        return -density * math.log2(density) if density > 0 else 0

    kinks = sorted({noise, 1 - noise})
    entropy = integrate.quad(surprise, -noise, 1 + noise, points=kinks, limit=200)[0]
    bits = truth.UniformNoise(noise).mutual_information()
    assert bits == pytest.approx(entropy - math.log2(2 * noise), abs=1e-6)
    assert bits > 0.05
    x, y = truth.UniformNoise(noise).sample(5000, seed=0)
    assert stats.kstest((y - x)[:, 0], stats.uniform(-noise, 2 * noise).cdf).pvalue > 0.001


def test_maps_move_the_samples_and_keep_the_information():
    base = truth.SparseNormal(correlation=0.6)
    mapped = truth.Mapped(base, torch.exp, torch.sinh)
    (x, y), (u, v) = base.sample(10, seed=3), mapped.sample(10, seed=3)
    assert torch.equal(u, x.exp())
    assert torch.equal(v, y.sinh())
    assert mapped.mutual_information() == base.mutual_information() == pytest.approx(0.321928, abs=1e-6)


@pytest.mark.parametrize(("symbols", "error"), [(2, 0.0), (2, 0.11), (5, 0.3), (4, 0.75)])
def test_symmetric_channel_has_its_textbook_information(symbols, error):
    entropy = stats.entropy([error, 1 - error], base=2)
    expected = math.log2(symbols) - entropy - error * math.log2(symbols - 1)
    assert truth.symmetric_channel(symbols, error).mutual_information() == pytest.approx(expected, abs=1e-9)


def test_channel_samples_agree_with_the_table():
    channel = truth.Channel(((0.4, 0.1, 0.0), (0.0, 0.2, 0.3)))
    x, y = channel.sample(50_000, seed=0)
    counts = (3 * x + y).bincount(minlength=6) / 50_000
    assert counts.tolist() == pytest.approx(np.ravel(channel.table), abs=0.01)
    bits = channel.mutual_information()
    assert discrete.mutual_information(x, y).item() == pytest.approx(bits, abs=0.02)
    assert bits > 5 * 0.02


def test_the_12_bit_task_has_the_entropy_of_its_labels():
    x = (torch.arange(4096)[:, None] >> torch.arange(12)) % 2
    y = (torch.arange(4096) < 2048 + 70).long()
    task = truth.Patterns(x.float(), y)
    assert task.mutual_information() == pytest.approx(0.999157, abs=1e-6)
    drawn_x, drawn_y = task.sample(100, seed=0)
    pattern = (drawn_x.long() << torch.arange(12)).sum(1)
    assert torch.equal(drawn_y, y[pattern])
    assert len(pattern.unique()) > 90


def test_repeated_patterns_with_different_labels_know_less():
    task = truth.Patterns(torch.tensor([[0], [0], [1], [1]]), torch.tensor([0, 1, 1, 1]))
    assert task.mutual_information() == pytest.approx(0.311278, abs=1e-6)


@pytest.mark.parametrize(
    "distribution",
    [truth.SparseNormal(), truth.DenseNormal(), truth.StudentT(truth.SparseNormal(), 3), truth.UniformNoise(0.2),
     truth.symmetric_channel(3, 0.1), truth.Patterns(torch.eye(9), torch.arange(9))],
    ids=lambda distribution: type(distribution).__name__,
)  # fmt: skip
def test_samples_follow_the_seed(distribution):
    first, again, other = (distribution.sample(20, seed) for seed in (0, 0, 1))
    for a, b, c in zip(first, again, other, strict=True):
        assert len(a) == 20
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: truth.SparseNormal(correlation=1.0), "correlation must be above -1 and below 1, got 1.0"),
        (lambda: truth.SparseNormal(correlation=-1.0), "correlation must be above -1 and below 1, got -1.0"),
        (lambda: truth.DenseNormal(correlation=-0.1), "correlation must be at least 0"),
        (lambda: truth.SparseNormal(dim_x=1, dim_y=3, pairs=2), "pairs must be between 1"),
        (lambda: truth.StudentT(truth.SparseNormal(), dof=0), "dof must be positive, got 0"),
        (lambda: truth.UniformNoise(math.nan), "noise must be a number, got nan"),
        (lambda: truth.Channel(((0.5, 0.6),)), "table must hold joint probabilities"),
        (lambda: truth.Channel(((1.5, -0.5),)), "table must hold joint probabilities"),
        (lambda: truth.symmetric_channel(1, 0.1), "symbols must be an integer of at least 2, got 1"),
        (lambda: truth.symmetric_channel(2, 1.1), "error must be between 0 and 1, got 1.1"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("away", [0.0, 2**-52, -(2**-53), 1e-13, -1e-9, 1e-6])
def test_matrix_information_has_no_step_at_alpha_one(away):
    law = truth.SparseNormal(correlation=0.75)
    assert law.matrix_information(1.0, alpha=1 + away) == pytest.approx(0.395057, abs=1e-6)
