import math
from functools import partial
from itertools import permutations

import pytest
import torch
from scipy import stats

from infolib.estimators import chance, discrete, knn, lanczos, renyi, uncertainty


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gram(n, d=2, *, seed=0, width=1.0):
    return renyi.gram(normal(n, d, seed=seed), width=width)


def shuffled(n, count, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(n, generator=generator) for _ in range(count)]


def test_beyond_is_the_estimate_minus_the_mean_of_its_null():
    x, y = torch.randint(4, (60,), generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    estimator = discrete.mutual_information
    found = chance.beyond(estimator, x, y, permutations=30, seed=5, p_value=True, level=0.9)
    null = uncertainty.permutation_null(estimator, x, y, n_permutations=30, seed=5)
    assert found.own == estimator(x, y)
    assert found.chance.item() == pytest.approx(null.mean().item(), abs=1e-12)
    assert found.spread.item() == pytest.approx(null.std().item(), abs=1e-12)
    low, high = stats.t.interval(0.9, 29, loc=found.value.item(), scale=null.std().item() / math.sqrt(30))
    assert [found.low.item(), found.high.item()] == pytest.approx([low, high], abs=1e-12)
    assert found.p_value.item() == pytest.approx((1 + (null >= found.own).sum().item()) / 31)
    batched = chance.beyond(estimator, x, y, permutations=30, seed=5, batched=True)
    assert batched.chance.item() == pytest.approx(found.chance.item(), abs=1e-12)


def test_independent_samples_have_nothing_beyond_chance_and_their_p_values_are_uniform():
    """Of 200 pairs of samples."""
    values, p_values = [], []
    for seed in range(200):
        x, y = normal(30, 1, seed=seed), normal(30, 1, seed=seed + 1000)
        found = chance.beyond(partial(knn.mutual_information, k=3), x, y, permutations=19, seed=seed, p_value=True)
        values.append(found.value.item())
        p_values.append(found.p_value.item())
    values = torch.tensor(values)
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(200)
    assert stats.kstest(p_values, "uniform").statistic < 0.15
    assert min(p_values) == 0.05
    dependent = chance.beyond(
        knn.mutual_information, normal(60, 1), normal(60, 1), permutations=19, seed=0, p_value=True
    )
    assert dependent.p_value == 0.05
    assert dependent.low > 1


def test_the_interval_covers_the_mean_over_all_permutations():
    """Its level, within what 300 draws allow: of the mean of all 720 orders of six samples."""
    x, y = normal(6, 1), normal(6, 1, seed=1)

    def product(x, y):
        return (x * y).mean()

    every = torch.stack([product(x, y[list(order)]) for order in permutations(range(6))]).mean()
    found = [chance.beyond(product, x, y, permutations=10, seed=seed, level=0.8) for seed in range(300)]
    covers = sum(bool(one.low <= one.own - every <= one.high) for one in found)
    assert covers / 300 == pytest.approx(0.8, abs=0.07)


def test_estimates_with_a_standard_error_are_understood():
    x, y = normal(20, 2), normal(20, 2)
    matrix_free = partial(lanczos.mutual_information, width_x=1.0, width_y=1.0)
    found = chance.beyond(matrix_free, x, y, permutations=5, seed=0)
    dense = chance.beyond_grams(gram(20), gram(20), permutations=5, seed=0)
    assert found.own.item() == pytest.approx(dense.own.item(), abs=1e-9)
    assert found.chance.item() == pytest.approx(dense.chance.item(), abs=5 * dense.spread.item())


@pytest.mark.parametrize("alpha", [0.5, 1, 1.01, 5])
def test_grams_of_all_layers_are_permuted_against_one(alpha):
    A, B = gram(20, seed=1), torch.stack([gram(20, seed=seed) for seed in (1, 2, 3)])
    found = chance.beyond_grams(A, B, alpha=alpha, permutations=20, seed=4, p_value=True)
    orders = shuffled(20, 20, 4)
    for layer, own in enumerate(B):
        nulls = torch.stack([renyi.mutual_information(A[o][:, o], own, alpha=alpha) for o in orders])
        expected = renyi.mutual_information(A, own, alpha=alpha)
        assert found.own[layer].item() == pytest.approx(expected.item(), abs=1e-9)
        assert found.chance[layer].item() == pytest.approx(nulls.mean().item(), abs=1e-9)
        assert found.spread[layer].item() == pytest.approx(nulls.std().item(), abs=1e-9)
        assert found.p_value[layer].item() == pytest.approx((1 + (nulls >= expected).sum().item()) / 21)
    assert found.p_value[0] == 1 / 21
    turned = chance.beyond_grams(B, A, alpha=alpha, permutations=20, seed=4)
    torch.testing.assert_close(turned.chance, found.chance)


@pytest.mark.parametrize("alpha", [1, 1.01])
def test_labels_are_permuted_by_class_blocks(alpha):
    y = torch.arange(24) % 3
    A = torch.stack([gram(24, seed=8), renyi.gram(normal(24, 2) + 3 * y[:, None], width=1.0)])
    found = chance.beyond_labels(A, y, alpha=alpha, permutations=20, seed=4, p_value=True)
    for layer, own in enumerate(A):
        nulls = torch.stack([renyi.mutual_information(own, renyi.label_gram(y[o]), alpha=alpha)
                             for o in shuffled(24, 20, 4)])  # fmt: skip
        assert found.chance[layer].item() == pytest.approx(nulls.mean().item(), abs=1e-9)
        assert found.own[layer].item() == pytest.approx(renyi.label_mutual_information(own, y, alpha=alpha).item())
    assert found.p_value[1].item() == 1 / 21 < found.p_value[0].item()


def test_information_of_unrelated_grams_is_what_chance_finds():
    for alpha in (1.01, 2):
        beyond = partial(chance.beyond_grams, alpha=alpha, permutations=20, seed=0)
        values = [beyond(gram(30, seed=2 * s), gram(30, seed=2 * s + 1)) for s in range(60)]
        means = torch.stack([one.value for one in values])
        assert abs(means.mean()) < 4 * means.std() / math.sqrt(60)
        assert torch.stack([one.chance for one in values]).min() > 0.1


@pytest.mark.parametrize("labelled", [False, True])
def test_chance_at_alpha_2_is_exact_over_all_permutations(labelled):
    """All 720 orders of six samples, one Gram with an unequal diagonal; minus the log of the mean of |.|²."""
    y = torch.tensor([0, 0, 1, 1, 1, 2])
    root = normal(6, 6)
    A = root @ root.T
    A, B = A / A.trace(), renyi.label_gram(y) if labelled else gram(6, seed=1)
    every = [renyi.joint_entropy(A, B[list(o)][:, list(o)], alpha=2) for o in permutations(range(6))]
    mean = -torch.stack([2**-bits for bits in every]).mean().log2()
    for count in (0, 3):
        found = (chance.label_joint_entropy(A, y, alpha=2, permutations=count, seed=0) if labelled
                 else chance.joint_entropy(A, B, alpha=2, permutations=count, seed=0))  # fmt: skip
        assert found.mean.item() == pytest.approx(mean.item(), abs=1e-12)
        assert len(found.values) == count
    beyond = (chance.beyond_labels(A, y, alpha=2, permutations=0, seed=0) if labelled
              else chance.beyond_grams(A, B, alpha=2, permutations=0, seed=0))  # fmt: skip
    alone = renyi.entropy(A, alpha=2) + renyi.entropy(B, alpha=2)
    assert beyond.chance.item() == pytest.approx((alone - mean).item(), abs=1e-12)
    assert beyond.low == beyond.value == beyond.high
    assert beyond.spread is beyond.p_value is None
    assert mean < torch.stack(every).mean() - 1e-4  # the mean of logs is another


def test_spread_at_alpha_2_is_that_of_the_permutations():
    A, B = gram(20), gram(20, seed=1)
    found = chance.beyond_grams(A, B, alpha=2, permutations=19, seed=4, p_value=True)
    nulls = torch.stack([renyi.mutual_information(A[o][:, o], B, alpha=2) for o in shuffled(20, 19, 4)])
    assert found.spread.item() == pytest.approx(nulls.std().item(), abs=1e-12)
    assert found.chance.item() == chance.beyond_grams(A, B, alpha=2, permutations=0, seed=0).chance.item()
    assert found.p_value.item() == pytest.approx((1 + (nulls >= found.own).sum().item()) / 20)


def test_one_permutation_gives_a_mean_alone():
    found = chance.beyond_grams(gram(9), gram(9, seed=1), permutations=1, seed=0, level=None)
    assert found[2:] == (None, None, None, None)
    assert found.value == found.own - found.chance


def test_orders_that_change_nothing_count_as_ties():
    """Against samples that are all equally far every order has the same spectrum, up to rounding."""
    B = renyi.gram(torch.eye(12, dtype=torch.float64), width=1.0)
    found = chance.beyond_grams(gram(12), B, permutations=19, seed=0, p_value=True)
    assert found.p_value.item() == 1
    assert found.value.item() == pytest.approx(0, abs=1e-9)


UNEQUAL = torch.diag(torch.tensor([0.5, 0.3, 0.2]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(chance.beyond_grams, permutations=0), "permutations must be at least 1, got 0 \\(0 is for Grams"),
        (partial(chance.beyond_grams, permutations=-1), "permutations must be an integer of at least 0, got -1"),
        (partial(chance.beyond_grams, permutations=-1, alpha=2), "permutations must be an integer of at least 0"),
        (
            partial(chance.beyond_grams, permutations=4),
            "permutations must be at least 5 for an interval, got 4; or set",
        ),
        (partial(chance.beyond_grams, permutations=18, p_value=True), "at least 19 for a p-value, got 18"),
        (partial(chance.beyond_grams, permutations=0, p_value=True, alpha=2), "at least 19 for a p-value, got 0"),
        (partial(chance.beyond_grams, permutations=5, level=1.0), "level must be between 0 and 1, got 1"),
        (partial(chance.joint_entropy, permutations=0), "permutations must be at least 1, got 0"),
    ],
)
def test_too_few_permutations_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(gram(5), gram(5), seed=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: chance.beyond_grams(gram(5), gram(6), permutations=5, seed=0),
            "Grams must have the same n, got 5 and 6",
        ),
        (lambda: chance.beyond_grams(gram(5), 5 * gram(5), permutations=5, seed=0), "B must have trace 1"),
        (lambda: chance.beyond_grams(normal(5, 2), gram(5), permutations=5, seed=0), "A must be square"),
        (
            lambda: chance.joint_entropy([gram(5)], gram(5), permutations=5, seed=0),
            "A must be an array of numbers, got list",
        ),
        (
            lambda: chance.joint_entropy(UNEQUAL, UNEQUAL, alpha=2, permutations=0, seed=0),
            "A or B must have a constant",
        ),
        (lambda: chance.beyond_labels(gram(5), [0, 1], permutations=5, seed=0), "y must have 5 entries"),
        (lambda: chance.beyond(discrete.entropy, [0], [0, 1], permutations=5, seed=0), "x and y must have the same n"),
        (lambda: chance.beyond(knn.mutual_information, [0], [1], permutations=0, seed=0), "at least 1, got 0"),
    ],
)
def test_what_is_refused_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_permutations_that_change_nothing_but_rounding_count_in_both_precisions():
    x = torch.randn(6, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    A, y = renyi.gram(x, width=0.5), [0, 0, 0, 1, 1, 1]
    p = [chance.beyond_labels(a, y, permutations=400, seed=0, p_value=True).p_value for a in (A, A.float())]
    assert p[0] == p[1]


def test_any_estimate_that_differs_by_rounding_alone_counts_as_a_tie():
    """A narrow kernel is at its upper bound in every order: in float32 a spread of some 1e-7 bits is rounding."""

    def estimator(x, y):
        return renyi.mutual_information(renyi.gram(x, width=0.3), renyi.gram(y, width=0.3))

    for seed in range(10):
        x, y = (normal(20, 6, seed=s).float() for s in (seed, seed + 100))
        assert estimator(x, y).dtype == torch.float32
        assert chance.beyond(estimator, x, y, permutations=19, seed=0, p_value=True).p_value == 1
    small = chance.beyond(lambda x, y: 1e-6 * (x * y).mean(), torch.arange(9.0), torch.arange(9.0), permutations=19,
                          seed=0, p_value=True)  # fmt: skip
    assert small.p_value == 0.05  # whatever the unit, what differs by more than rounding is no tie
