import math
from itertools import product

import dit
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score

from infolib.estimators import discrete

Y = torch.arange(10).repeat_interleave(100)  # balanced, 10 classes of 100
H2 = 0.4689955935892812  # binary entropy of 0.1


def random_codes(n, units, levels, seed=0):
    return torch.randint(levels, (n, units), generator=torch.Generator().manual_seed(seed))


def by_definition(codes, y):
    """(H, I, D per class) of one unit by counting pairs."""
    n, labels = len(y), sorted(set(y))
    p = {t: codes.count(t) / n for t in set(codes)}
    divergences = []
    for label in labels:
        given_label = [t for t, c in zip(codes, y, strict=True) if c == label]
        q = {t: given_label.count(t) / len(given_label) for t in set(given_label)}
        divergences.append(sum(q[t] * math.log2(q[t] / p[t]) for t in q))
    weights = [y.count(label) / n for label in labels]
    information = sum(w * d for w, d in zip(weights, divergences, strict=True))
    return -sum(v * math.log2(v) for v in p.values()), information, divergences


# by hand


@pytest.mark.parametrize(
    ("codes", "entropy", "information", "selectivity"),
    [
        pytest.param(Y * 0, 0, 0, 0, id="dead"),
        pytest.param(Y * 0 + 1, 0, 0, 0, id="always on"),
        pytest.param(Y < 5, 1, 1, 1, id="half the classes"),
        pytest.param(Y == 3, H2, H2, 3.3219280949, id="one class"),
        pytest.param(Y != 3, H2, H2, 3.3219280949, id="all classes but one"),
        pytest.param(Y < 2, 0.7219280949, 0.7219280949, 2.3219280949, id="two classes"),
        pytest.param(Y < 3, 0.8812908992, 0.8812908992, 1.7369655942, id="three classes"),
        pytest.param(Y < 4, 0.9709505945, 0.9709505945, 1.3219280949, id="four classes"),
        pytest.param(torch.arange(1000) % 2, 1, 0, 0, id="independent coin"),
        pytest.param(
            (Y == 3) & (torch.arange(1000) % 2 == 0), 0.2863969571, 0.1863969571, 1.1979643382, id="half of it"
        ),
        pytest.param(Y, 3.3219280949, 3.3219280949, 3.3219280949, id="the class itself"),
    ],
)
def test_units_of_known_information(codes, entropy, information, selectivity):
    codes = codes.long()
    values = discrete.entropy(codes), discrete.mutual_information(codes, Y), discrete.kl_selectivity(codes, Y)
    assert [value.item() for value in values] == pytest.approx([entropy, information, selectivity], abs=1e-9)
    equivocation = discrete.conditional_entropy(codes, Y).item()
    assert equivocation == pytest.approx(entropy - information, abs=1e-9)


def test_preferred_class_is_the_largest_specific_surprise():
    labels = Y * 5 - 7  # any integers; columns in the order of torch.unique
    codes = torch.stack([Y == 3, Y != 8], dim=1).long()
    assert discrete.class_information(codes, labels).argmax(-1).tolist() == [3, 8]


@pytest.mark.parametrize(
    ("a", "b", "y", "one", "two", "both", "shared"),
    [
        pytest.param([0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0], 0, 0, 1, 0, id="xor"),
        pytest.param([0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1], 0.311278, 0.311278, 0.811278, 0.311278, id="and"),
        pytest.param([0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], 1, 1, 1, 1, id="copy"),
        pytest.param([0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 1, 1], 1, 0, 1, 0, id="y is a"),
        pytest.param([0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 2, 3], 1, 1, 2, 1, id="y is both"),
    ],
)
def test_two_units_about_one_label(a, b, y, one, two, both, shared):
    pair = torch.tensor([a, b]).T
    each = discrete.mutual_information(pair, y)
    joint = discrete.mutual_information(discrete.symbols(pair), y).item()
    p = torch.tensor(y).bincount() / 4
    redundancy = (p * discrete.class_information(pair, y).amin(0)).sum().item()  # Williams & Beer 2010
    assert [*each.tolist(), joint, redundancy] == pytest.approx([one, two, both, shared], abs=1e-6)
    synergy = discrete.conditional_mutual_information(a, y, b).item() - each[0].item() + redundancy
    assert synergy == pytest.approx(joint - each.sum().item() + redundancy, abs=1e-9)


# second opinions


@pytest.mark.parametrize(("levels", "classes"), [(2, 3), (2, 100), (5, 3), (40, 7)])
def test_many_units_agree_with_counting_and_scikit_learn(levels, classes):
    codes, y = random_codes(200, 6, levels) - 3, random_codes(200, 1, classes, seed=1)[:, 0]
    entropies, informations = discrete.entropy(codes), discrete.mutual_information(codes, y)
    divergences = discrete.class_information(codes, y)
    for unit, column in enumerate(codes.T.tolist()):
        entropy, information, per_class = by_definition(column, y.tolist())
        assert entropies[unit].item() == pytest.approx(entropy, abs=1e-12)
        assert informations[unit].item() == pytest.approx(information, abs=1e-12)
        assert divergences[unit].tolist() == pytest.approx(per_class, abs=1e-12)
        nats = mutual_info_score(column, y)
        assert informations[unit].item() == pytest.approx(nats / math.log(2), abs=1e-12)


def test_joint_quantities_agree_with_dit():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, size=(2, 3, 2))
    outcomes = list(product(range(2), range(3), range(2)))
    distribution = dit.Distribution(outcomes, (counts / counts.sum()).ravel())
    t, y, z = torch.tensor(outcomes).repeat_interleave(torch.tensor(counts.ravel()), dim=0).T
    entropy = dit.multivariate.entropy
    joint = discrete.joint_entropy(torch.stack([t, y, z], dim=1))
    assert joint.item() == pytest.approx(entropy(distribution), abs=1e-9)
    assert discrete.conditional_entropy(t, y).item() == pytest.approx(entropy(distribution, [0], [1]), abs=1e-9)
    expected = dit.shannon.mutual_information(distribution, [0], [1, 2]) - dit.shannon.mutual_information(
        distribution, [0], [2]
    )
    assert discrete.conditional_mutual_information(t, y, z).item() == pytest.approx(expected, abs=1e-9)
    assert expected > 0.01


# theorems

tables = st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 3), st.integers(0, 1)), min_size=2, max_size=40)


@settings(max_examples=60, deadline=None)
@given(tables)
def test_bounds_of_the_three_scores(table):
    t, y, z = torch.tensor(table).T
    h, i, kl = discrete.entropy(t), discrete.mutual_information(t, y), discrete.kl_selectivity(t, y)
    rarest = y.unique(return_counts=True)[1].min() / len(y)
    assert -1e-9 <= i <= min(h, discrete.entropy(y)) + 1e-9
    assert h <= math.log2(len(t.unique())) + 1e-9
    assert i - 1e-9 <= kl <= i / rarest + 1e-6
    assert kl <= -rarest.log2() + 1e-6
    assert kl <= -(t.unique(return_counts=True)[1].min() / len(t)).log2() + 1e-6
    assert discrete.conditional_mutual_information(t, y, z) >= -1e-9


@settings(max_examples=60, deadline=None)
@given(tables, st.randoms(use_true_random=False))
def test_identities_and_invariances(table, random):
    t, y, _ = torch.tensor(table).T
    information = discrete.mutual_information(t, y).item()
    order = random.sample(range(len(t)), len(t))
    for other in (
        discrete.mutual_information(y, t),
        discrete.mutual_information(7 - 3 * t, y),
        discrete.mutual_information(t * 10**17, y),
        discrete.mutual_information(t[order], y[order]),
        discrete.mutual_information(t.repeat(3), y.repeat(3)),
        discrete.entropy(t) + discrete.entropy(y) - discrete.joint_entropy(torch.stack([t, y], dim=1)),
        discrete.class_information(t, y) @ (y.unique(return_counts=True)[1] / len(y)).double(),
    ):
        assert other.item() == pytest.approx(information, abs=1e-6)


# shapes, levels, correction


def test_units_keep_their_shape_and_do_not_depend_on_their_neighbours():
    codes, y = random_codes(500, 3000, 3).reshape(500, 3, 1000), random_codes(500, 1, 4, seed=1)[:, 0]
    codes[:, 0, 0] = torch.arange(500) * 10**15  # scattered symbols in one unit
    values = discrete.mutual_information(codes, y)
    assert values.shape == (3, 1000)
    assert discrete.class_information(codes, y).shape == (3, 1000, 4)
    for unit in [(0, 0), (0, 1), (2, 999)]:
        alone = discrete.mutual_information(codes[:, *unit], y)
        assert alone.shape == ()
        assert values[unit].item() == pytest.approx(alone.item(), abs=1e-12)


def test_nothing_is_nan_where_a_symbol_never_meets_a_class():
    codes = torch.tensor([[0, 0], [0, 1], [1, 2], [1, 2]])
    for value in (discrete.class_information(codes, [0, 0, 1, 2]), discrete.mutual_information(codes, [0, 0, 1, 2])):
        assert value.isfinite().all()


def test_extreme_integers_are_symbols_like_any_other():
    extremes = torch.tensor([-(2**63), 2**63 - 1, -(2**63), 2**63 - 1])
    assert discrete.mutual_information(extremes, [0, 1, 0, 1]) == 1


@pytest.mark.parametrize("n", [100, 1000])
def test_miller_madow_removes_most_of_the_plug_in_bias(n):
    codes, y = random_codes(n, 400, 2), random_codes(n, 1, 10, seed=1)[:, 0]
    raw = discrete.mutual_information(codes, y).mean().item()
    corrected = discrete.mutual_information(codes, y, correction="miller-madow")
    assert raw == pytest.approx(9 / (2 * n * math.log(2)), rel=0.1)  # (|T| - 1)(|Y| - 1) / (2 n ln 2)
    assert abs(corrected.mean().item()) < raw / 10
    assert corrected.min() < 0  # never clipped


def test_miller_madow_adds_the_occupied_cells():
    codes, y = random_codes(50, 1, 6)[:, 0], random_codes(50, 1, 3, seed=1)[:, 0]
    cells = [len(symbol.unique()) for symbol in (codes, y, discrete.symbols(codes, y))]
    shifts = [(cells[0] - 1), (cells[0] + cells[1] - cells[2] - 1), (cells[2] - cells[1])]
    for quantity, shift in zip(
        (discrete.entropy, lambda t, **how: discrete.mutual_information(t, y, **how),
         lambda t, **how: discrete.conditional_entropy(t, y, **how)), shifts, strict=True,
    ):  # fmt: skip
        change = quantity(codes, correction="miller-madow") - quantity(codes)
        assert change.item() == pytest.approx(shift / (100 * math.log(2)), abs=1e-12)
    both = torch.stack([codes, y], dim=1)
    change = discrete.joint_entropy(both, correction="miller-madow") - discrete.joint_entropy(both)
    assert change.item() == pytest.approx((cells[2] - 1) / (100 * math.log(2)), abs=1e-12)


# refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: discrete.entropy([0.0, 1.0]), "codes must be integers, got torch.float32"),
        (lambda: discrete.entropy([]), "codes is empty"),
        (lambda: discrete.entropy(torch.zeros(0, 3, dtype=torch.long)), "codes is empty"),
        (lambda: discrete.entropy([1]), "n must be an integer of at least 2, got 1"),
        (lambda: discrete.entropy([0, 1], correction="jackknife"), "unknown correction 'jackknife'; allowed: miller"),
        (lambda: discrete.mutual_information([0, 1], [0, 1, 1]), "y must have 2 entries, one per sample, got 3"),
        (lambda: discrete.mutual_information([0, 1], [[0], [1]]), r"y must have shape \(n,\), got \(2, 1\)"),
        (lambda: discrete.kl_selectivity([0, 1], [0.5, 1.0]), "y must be integers"),
        (lambda: discrete.conditional_mutual_information([0, 1], [0, 1], [0]), "z must have 2 entries"),
        (lambda: discrete.symbols([0, 1], [0, 1, 2]), r"variables must have the same n, got \[2, 3\]"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_bytes_count_like_wide_integers(levels):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(levels, (3000, 4), generator=generator)  # 3000 samples: sums beyond a byte
    y = torch.randint(10, (3000,), generator=generator)
    for quantity in (discrete.entropy, discrete.joint_entropy):
        torch.testing.assert_close(quantity(codes.to(torch.uint8)), quantity(codes))
    for quantity in (discrete.mutual_information, discrete.kl_selectivity):
        torch.testing.assert_close(quantity(codes.to(torch.uint8), y), quantity(codes, y))


def test_booleans_are_codes():
    assert discrete.mutual_information([True, True, False, False], [0, 0, 1, 1]) == 1


# Pairs of units


@pytest.mark.parametrize(
    ("label", "information", "redundancy", "synergy", "co_information"),
    [
        (lambda a, b: a ^ b, 1, 0, 1, -1),
        (lambda a, b: a & b, 0.8112781245, 0.3112781245, 0.5, -0.1887218755),
        (lambda a, b: a + 0 * b, 1, 0, 0, 0),
        (lambda a, b: 2 * a + b, 2, 1, 1, 0),
    ],
    ids=["xor", "and", "one of them", "both"],
)
def test_pairs_of_fair_bits(label, information, redundancy, synergy, co_information):
    a, b = torch.tensor([0, 0, 1, 1] * 5), torch.tensor([0, 1, 0, 1] * 5)
    pair = discrete.pair_information(torch.stack([a, b], 1), label(a, b))
    expected = [information, redundancy, synergy, co_information]
    assert [float(quantity[0, 1]) for quantity in pair] == pytest.approx(expected, abs=1e-9)


def test_copies_are_redundant():
    y = torch.tensor([0, 1] * 4)
    pair = discrete.pair_information(torch.stack([y, y], 1), y)
    assert [float(quantity[0, 1]) for quantity in pair] == pytest.approx([1, 1, 0, 1])


@pytest.mark.parametrize("levels", [2, 4])
def test_pairs_are_those_of_joint_symbols(levels):
    generator = torch.Generator().manual_seed(0)
    codes, y = torch.randint(levels, (200, 5), generator=generator) - 1, torch.randint(3, (200,), generator=generator)
    pair = discrete.pair_information(codes, y)
    single, surprise = discrete.mutual_information(codes, y), discrete.class_information(codes, y)
    share = y.bincount() / len(y)
    for a in range(5):
        for b in range(5):
            joint = discrete.mutual_information(discrete.symbols(codes[:, a], codes[:, b]), y)
            redundancy = (share * torch.minimum(surprise[a], surprise[b])).sum()
            assert pair.information[a, b].item() == pytest.approx(joint.item(), abs=1e-12)
            assert pair.redundancy[a, b].item() == pytest.approx(redundancy.item(), abs=1e-7)
            assert pair.co_information[a, b].item() == pytest.approx((single[a] + single[b] - joint).item(), abs=1e-12)
    assert torch.allclose(pair.synergy, pair.redundancy - pair.co_information)


def test_pairs_need_units():
    with pytest.raises(ValueError, match=r"codes must have shape \(n, units\), got \(4,\)"):
        discrete.pair_information([0, 1, 0, 1], [0, 1, 0, 1])
