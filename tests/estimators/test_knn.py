import math

import numpy as np
import pytest
import torch
from scipy.special import digamma
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

from infolib.estimators import knn, truth


def by_definition(x, y, k, estimator):
    """Kraskov et al. 2004, eq. 8 and 9, over all pairs."""
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    n = len(x)
    dx, dy = torch.cdist(x, x, p=math.inf), torch.cdist(y, y, p=math.inf)
    joint = torch.maximum(dx, dy)
    total = 0.0
    for i in range(n):
        order = joint[i].topk(k + 1, largest=False).indices  # itself included
        for d in (dx, dy):
            others = torch.cat([d[i, :i], d[i, i + 1 :]])
            near = (others < joint[i, order[-1]]).sum() + 1 if estimator == 1 else (others <= d[i, order].max()).sum()
            total += digamma(near.item())
    return (digamma(k) + digamma(n) - total / n - (1 / k if estimator == 2 else 0)) / math.log(2)


@pytest.mark.parametrize("estimator", [1, 2])
@pytest.mark.parametrize(("dim_x", "dim_y", "k"), [(1, 1, 1), (1, 1, 5), (3, 2, 3), (3, 6, 4)])
def test_agrees_with_the_sum_over_all_pairs(dim_x, dim_y, k, estimator):
    x, y = truth.SparseNormal(dim_x, dim_y, correlation=0.8).sample(300, seed=0)
    estimate = knn.mutual_information(x, y, k=k, estimator=estimator).item()
    assert estimate == pytest.approx(by_definition(x, y, k, estimator), abs=1e-12)


KINDS = {
    "float64": lambda x: x,
    "float32": lambda x: x.float(),
    "integers": lambda x: ranks(x),
    "tenths": lambda x: ranks(x) / 10,  # many are at one distance, which rounds up or down
    "coarse features": lambda x: torch.cat([ranks(x[:, :1]) / 10, x[:, 1:].round()], 1),
    "far from zero": lambda x: 1e8 + x,
    "tiny": lambda x: 1e-310 * x,
    "scales": lambda x: x * 10.0 ** torch.arange(-9, x.shape[1] - 9),
}


def ranks(x):
    return x.argsort(0).argsort(0)


@pytest.fixture
def small(monkeypatch):
    """Sizes at which few samples fill several sets, queries and blocks, and leave a rest."""
    for name, size in (("SET", 64), ("QUERIES", 50), ("BLOCK", 32)):
        monkeypatch.setattr(knn, name, size)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("estimator", [1, 2])
@pytest.mark.parametrize(
    ("dim_x", "dim_y", "k"), [(1, 1, 3), (1, 1, 199), (1, 5, 3), (2, 3, 3), (5, 5, 5), (5, 6, 4), (5, 30, 2)]
)
def test_agrees_with_all_pairs_of_any_kind(dim_x, dim_y, k, estimator, kind):
    if estimator == 2 and kind in ("integers", "tenths", "coarse features") and dim_x + dim_y <= 5:
        k = 199  # with fewer, it is a matter of choice which of equally distant samples are neighbours
    x, y = truth.SparseNormal(dim_x, dim_y, correlation=0.8).sample(200, seed=1)
    x, y = KINDS[kind](x.double()), KINDS[kind](y.double())
    estimate = knn.mutual_information(x, y, k=k, estimator=estimator).item()
    assert estimate == pytest.approx(by_definition(x.double(), y.double(), k, estimator), abs=1e-12)


@pytest.mark.parametrize("features", [1, 2])
def test_zeros_of_both_signs_are_equal_samples(features):
    x = torch.tensor([0.0, -0.0, 0.0, 1.0, 2.0])[:, None].expand(-1, features)
    with pytest.raises(ValueError, match="x must have a density, but 3 of its samples are equal, more than k=2"):
        knn.mutual_information(x, range(5), k=2)


def test_agrees_with_scikit_learn():
    x, y = truth.SparseNormal(correlation=0.8).sample(1000, seed=0)
    # its own noise (1e-10) and scaling of y to unit variance are the difference
    x, y = x / x.std(correction=0), y / y.std(correction=0)
    nats = mutual_info_regression(x, y[:, 0], n_neighbors=5, random_state=0)[0]
    assert knn.mutual_information(x, y, k=5).item() == pytest.approx(nats / math.log(2), abs=1e-6)


@pytest.mark.parametrize("estimator", [1, 2])
@pytest.mark.parametrize(
    "distribution",
    [
        truth.SparseNormal(correlation=0.9),
        truth.SparseNormal(dim_x=2, dim_y=2, pairs=2, correlation=0.8),
        truth.DenseNormal(dim_x=2, dim_y=2, correlation=0.75),
        truth.UniformNoise(noise=0.1),
        truth.Mapped(truth.SparseNormal(correlation=0.9), torch.atan, torch.tanh),
        truth.StudentT(truth.SparseNormal(correlation=0.9), dof=5),
    ],
    ids=lambda distribution: type(distribution).__name__,
)
def test_finds_the_closed_form(distribution, estimator):
    bits = distribution.mutual_information()
    estimates = [knn.mutual_information(*distribution.sample(1500, seed), estimator=estimator) for seed in range(3)]
    assert torch.stack(estimates).mean().item() == pytest.approx(bits, abs=0.12)
    assert bits > 5 * 0.12


@pytest.mark.parametrize("estimator", [1, 2])
def test_independent_samples_scatter_around_zero(estimator):
    independent = truth.SparseNormal(dim_x=2, dim_y=1, correlation=0.0)
    values = [knn.mutual_information(*independent.sample(200, seed), estimator=estimator) for seed in range(40)]
    values = torch.stack(values)
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(40)
    assert values.min() < 0  # never clipped


@pytest.mark.parametrize("estimator", [1, 2])
def test_symmetric_and_blind_to_translation_and_order(estimator):
    x, y = truth.SparseNormal(2, 2, correlation=0.7).sample(100, seed=0)
    values = [
        knn.mutual_information(a, b, estimator=estimator).item()
        for a, b in [(x, y), (y, x), (x * 4 + 8, y * 4), (x.flip(0), y.flip(0)), (x.reshape(100, 1, 2), y)]
    ]
    assert values == pytest.approx([values[0]] * 5, abs=1e-9)


@pytest.mark.parametrize("estimator", [1, 2])
def test_ties_in_one_variable_are_refused_with_what_to_use(estimator):
    """They are no joint ties: of independent symbols estimator 2 would give -0.29 bits."""
    y = torch.randint(2, (200,), generator=torch.Generator().manual_seed(0)).double()
    z = torch.randn(200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for x, name in ((torch.ones(200), "x"), (y, "x"), (z.relu(), "x"), ((10 * z).round() / 10, "x")):
        for pair, place in (((x, z), name), ((z, x), "y")):
            with pytest.raises(ValueError, match=f"{place} must have a density, .* use label_mutual_information"):
                knn.mutual_information(*pair, k=5, estimator=estimator)
    few = torch.cat([z[:5], z[:1].expand(4), z[9:]])  # k equal values are k - 1 neighbours at distance 0
    assert knn.mutual_information(few, z, k=5, estimator=estimator).isfinite()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: knn.mutual_information([0.0, math.nan], [0.0, 1.0], k=1), "x must be finite"),
        (lambda: knn.mutual_information([0.0, 1.0], [0.0, math.inf], k=1), "y must be finite"),
        (lambda: knn.mutual_information([], [], k=1), "x is empty"),
        (lambda: knn.mutual_information([0.0], [1.0], k=1), "n must be an integer of at least 2, got 1"),
        (lambda: knn.mutual_information([0.0, 1.0], [1.0], k=1), "x and y must have the same n, got 2 and 1"),
        (lambda: knn.mutual_information(range(5), range(5), k=5), "k must be below n, got k=5 for n=5"),
        (lambda: knn.mutual_information(range(5), range(5), k=0), "k must be an integer of at least 1, got 0"),
        (lambda: knn.mutual_information(range(5), range(5), k=1, estimator=3), "unknown estimator 3; allowed: 1, 2"),
        (lambda: knn.mutual_information([0, 0, 0, 1], [0, 0, 0, 1], k=2), "3 of its samples are equal, more than k=2"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def by_ross(x, y, k):
    """Ross 2014, eq. 2, sample by sample."""
    x, n, total = x.reshape(len(x), -1), len(x), 0.0
    for i in range(n):
        distance = (x - x[i]).abs().amax(1)
        own = distance[y == y[i]].sort().values  # itself first
        total += digamma((y == y[i]).sum().item()) + digamma((distance < own[k]).sum().item())
    return (digamma(n) + digamma(k) - total / n) / math.log(2)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("features", "k"), [(1, 1), (2, 3), (8, 4), (30, 2)])
def test_about_labels_agrees_with_the_sum_over_samples(features, k, kind):
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(3, (200,), generator=generator)
    x = KINDS[kind](torch.randn(200, features, generator=generator).double() + y[:, None])
    assert knn.label_mutual_information(x, 7 - y, k=k).item() == pytest.approx(by_ross(x.double(), y, k), abs=1e-12)


def test_about_labels_many_values_round_to_one_distance():
    """1 - v is 1 for hundreds of them, the radius of the first sample: these are not nearer."""
    x = torch.tensor([1.0, 0.0, *np.geomspace(1e-40, 1e-15, 1000), -1e-3, -1e-40], dtype=torch.float64)
    y = (torch.arange(len(x)) > 1).long()
    assert (1 - x[1:900] == 1).all()
    assert knn.label_mutual_information(x, y, k=1).item() == pytest.approx(by_ross(x, y, 1), abs=1e-12)


def test_about_labels_agrees_with_scikit_learn():
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(4, (500,), generator=generator)
    x = torch.randn(500, generator=generator).double() + y
    nats = mutual_info_classif(x[:, None].numpy(), y.numpy(), n_neighbors=3, random_state=0)[0]
    assert knn.label_mutual_information(x, y, k=3).item() == pytest.approx(nats / math.log(2), abs=1e-4)
    assert nats / math.log(2) > 0.3


def test_about_labels_finds_the_closed_form():
    """Uniform on [0, 2] or [1, 3]: half of each lies where only one class is, so I = 1/2 bit."""
    estimates = []
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        y = torch.arange(2000) % 2
        estimates.append(knn.label_mutual_information(2 * torch.rand(2000, generator=generator).double() + y, y))
    assert torch.stack(estimates).mean().item() == pytest.approx(0.5, abs=0.05)


def test_nothing_about_labels_is_zero_on_average():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(600) % 3
    values = torch.stack([knn.label_mutual_information(torch.randn(600, 2, generator=generator), y) for _ in range(20)])
    assert abs(values.mean().item()) < 4 * values.std().item() / math.sqrt(20)


@pytest.mark.parametrize(
    ("x", "y", "k", "message"),
    [
        (torch.randn(4), [0, 0, 1, 1], 2, "k must be below the samples of each symbol, got k=2 and a symbol with 2"),
        (torch.randn(4), [0, 0, 1, 1], 0, "k must be an integer of at least 1, got 0"),
        (torch.zeros(4), [0, 0, 1, 1], 1, "over k=1 samples of one symbol are equal"),
        (torch.randn(4), [0, 0, 1], 1, "y must have 4 entries, one per sample, got 3"),
    ],
)
def test_about_labels_refuses(x, y, k, message):
    with pytest.raises(ValueError, match=message):
        knn.label_mutual_information(x, y, k=k)
