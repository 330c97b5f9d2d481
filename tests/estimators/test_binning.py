import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from infolib.estimators import binning, discrete

columns = arrays(np.float64, st.tuples(st.integers(2, 30), st.integers(1, 3)), elements=st.floats(-1e6, 1e6))


def test_sign_is_strict():
    x = torch.tensor([[-2.0, 0.0], [0.5, 0.6]])
    assert binning.sign(x).tolist() == [[0, 0], [1, 1]]
    assert binning.sign(x, threshold=0.5).tolist() == [[0, 0], [0, 1]]


def test_uniform_bins_are_closed_on_the_left_and_the_last_on_both_sides():
    x = torch.linspace(0, 1, 9)
    binned = binning.uniform(x, 4)
    assert binned.codes.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 3]
    assert binned.codes.bincount().tolist() == np.histogram(x.numpy(), bins=4)[0].tolist()
    assert binned.clipped == 0


def test_values_outside_the_range_go_to_the_nearest_bin_and_are_counted():
    codes, clipped = binning.uniform([-9.0, -1.0, 0.0, 0.9, 7.0], 30, low=-1.0, high=1.0)
    assert codes.tolist() == [0, 0, 15, 28, 29]
    assert clipped == pytest.approx(0.4)


def test_a_fair_unit_at_plus_or_minus_2_has_one_bit():
    # published code: bins[digitize(x, linspace(-1, 1, 30)) - 1] sends -2 to the top bin too, 0 bits
    x = torch.tensor([-2.0, 2.0]).repeat(50)
    for codes in (
        binning.sign(x),
        binning.uniform(x, 30).codes,
        binning.uniform(x, 30, low=-1.0, high=1.0).codes,
        binning.quantile(x, 2),
    ):
        assert discrete.entropy(codes).item() == pytest.approx(1, abs=1e-12)


def test_a_unit_that_always_fires_is_seen_by_the_median_only():
    x = torch.tensor([-1.0, 1.0]).repeat(50)
    hidden = torch.relu(x + 10)
    assert discrete.entropy(binning.sign(hidden)) == 0
    assert discrete.mutual_information(binning.quantile(hidden, 2), binning.sign(x)).item() == pytest.approx(1)


def test_a_constant_unit_has_one_code():
    x = torch.full((5, 2), 3.7)
    assert (binning.uniform(x, 4).codes == 0).all()
    assert len(binning.quantile(x, 4).unique()) == 1


@pytest.mark.parametrize("largest", [torch.finfo(torch.float32).max, torch.finfo(torch.float64).max])
def test_the_largest_floats_fall_into_their_bins(largest):
    x = torch.tensor([-largest, -largest / 3, largest / 3, largest], dtype=torch.float64)
    x = x.float() if largest < 1e39 else x
    assert binning.uniform(x, 3).codes.tolist() == [0, 1, 2, 2]


def test_a_saturated_unit_and_its_mirror_image_have_the_same_bit():
    y = torch.tensor([1] * 60 + [0] * 40)  # the unit is the class, and at its upper end for most samples
    bits = [discrete.mutual_information(binning.quantile(t, 2), y).item() for t in (y.double(), 1 - y.double())]
    assert bits == pytest.approx([0.970951] * 2, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(columns, st.integers(2, 8))
def test_quantile_bins_of_the_mirror_image_are_the_same_in_opposite_order(x, bins):
    bins = min(bins, len(x))
    assert (binning.quantile(x, bins) + binning.quantile(-x, bins) == bins - 1).all() or (
        x == x[0]).all(0).any()  # fmt: skip


@pytest.mark.parametrize("bins", [2, 3, 5])
def test_ties_miss_the_edges_by_as_little_as_can_be(bins):
    x = torch.randint(0, 4, (37,), generator=torch.Generator().manual_seed(0))
    codes, values = binning.quantile(x.double(), bins), x.unique()
    ends = [0, *[(x <= value).sum().item() for value in values]]  # where an edge can be
    for k in range(1, bins):
        miss = abs((codes < k).sum().item() - k * 37 / bins)
        assert miss == pytest.approx(min(abs(end - k * 37 / bins) for end in ends))


@settings(max_examples=40, deadline=None)
@given(columns, st.integers(2, 8))
def test_codes_are_monotone_functions_within_the_bins(x, bins):
    bins = min(bins, len(x))
    ordered = np.sort(x, axis=0)
    for codes in (binning.uniform(ordered, bins).codes, binning.quantile(ordered, bins)):
        assert codes.shape == x.shape
        assert codes.min() >= 0
        assert codes.max() < bins
        assert (codes.diff(dim=0) >= 0).all()
        assert (codes.diff(dim=0)[np.diff(ordered, axis=0) == 0] == 0).all()


@pytest.mark.parametrize(("n", "bins"), [(12, 4), (13, 4), (7, 7), (1000, 30)])
def test_quantile_bins_of_distinct_values_are_equally_filled_per_unit(n, bins):
    x = torch.rand(n, 2, 3, generator=torch.Generator().manual_seed(0)).double()
    codes = binning.quantile(x * torch.tensor([1.0, 10.0, 100.0]), bins)
    assert codes.shape == x.shape
    for unit in codes.reshape(n, -1).T:
        counts = unit.bincount(minlength=bins)
        assert counts.max() - counts.min() <= 1
    assert torch.equal(codes, binning.quantile(x**3, bins))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: binning.sign([0.0, math.nan]), "x must be finite"),
        (lambda: binning.uniform([0.0, math.inf], 2), "x must be finite"),
        (lambda: binning.uniform([], 2), "x is empty"),
        (lambda: binning.uniform([0.0, 1.0], 1), "bins must be an integer of at least 2, got 1"),
        (lambda: binning.uniform([0.0, 1.0], 2, low=1.0, high=0.0), "low not above high, got 1.0 and 0.0"),
        (lambda: binning.uniform([0.0, 1.0], 2, low=math.nan), "low must be a number, got nan"),
        (lambda: binning.uniform([0.0, 1.0], 2, high=math.inf), "low and high must be finite, .* got 0.0 and inf"),
        (lambda: binning.quantile([0.0, math.nan], 2), "x must be finite"),
        (lambda: binning.quantile([0.0, 1.0], 1), "bins must be an integer of at least 2, got 1"),
        (lambda: binning.quantile([0.0, 1.0], 3), "bins must be at most n, got 3 bins for n=2"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_large_finite_values_are_not_taken_for_infinite():
    assert binning.sign(torch.tensor([3e38, 3e38, -3e38])).tolist() == [1, 1, 0]  # their sum overflows


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sign_compares_in_the_precision_of_the_data(dtype):
    x = torch.tensor([0.1, 0.2], dtype=dtype)
    assert torch.equal(binning.sign(x, 0.1), (x > 0.1).to(torch.uint8))
    assert torch.equal(binning.sign(x[None].mT, 0.1), (x[None].mT > 0.1).to(torch.uint8))  # not contiguous
