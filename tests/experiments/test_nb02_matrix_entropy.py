"""Notebook 02: what it measures, on known layers and by second opinions, and what it refuses."""

import pytest
import torch
from torch.nn.functional import one_hot

from infolib.measures import information_plane
from workbook import rule
from workbook import run as runner
from workbook.experiments import nb02_matrix_entropy as experiment
from workbook.experiments.nb02_matrix_entropy import Kernel

SEEING, PUBLISHED = Kernel(2, ratio=1.0), Kernel(1.01, h=5.0, h_error=0.1)
ORDER = rule.Claim("02-order", "s", "p", "w", "ours", "order", "decreasing", 0.02, "w", control="c")


@pytest.fixture(scope="module")
def images():
    """Ten classes around ten centres, and a layer of maps of noise."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 10
    x = 2 * one_hot(y, 10).float() + 0.3 * torch.randn(200, 10, generator=generator)
    return x.reshape(200, 1, 2, 5), y, torch.randn(200, 3, 2, 2, generator=generator)


def beyond(table):
    return (table["I(X;T)"] - table["I(X;T) chance"]).to_list()


def test_known_layers_are_in_order_beyond_chance_by_distance_and_noise_has_nothing(images):
    x, y, noise = images
    image, label, odd, nothing = beyond(
        experiment.information(x, experiment.known(x, y, noise, seed=0), [SEEING], seed=0)
    )
    assert image > label > odd > 0.02
    assert abs(nothing) < 0.002


def test_as_published_noise_has_as_much_information_as_the_image(images):
    x, y, noise = images
    layers = experiment.known(50 * x, y, 50 * noise, seed=0)
    table = experiment.information(50 * x, layers, [PUBLISHED], seed=0).set_index("layer")
    assert table.loc["noise", "I(X;T)"] == pytest.approx(table.loc["noise", "S(X)"], abs=0.02)
    assert table.loc["class", "I(X;T)"] < table.loc["noise", "I(X;T)"]


def test_widths_by_distance_are_those_of_the_information_plane(images):
    x, y, noise = images
    layers = {"noise": noise, "label": one_hot(y, 10).float()}
    for alpha in (1.01, 2):
        ours = experiment.information(x, layers, [Kernel(alpha, ratio=0.5)], y=y, seed=3)
        rows = information_plane.matrix_based(x, y, layers, ratio=0.5, alpha=alpha, permutations=4, seed=3)
        for quantity in ("I(X;T)", "I(X;T) chance", "I(T;Y)", "I(T;Y) chance", "S(X)", "S(Y)"):
            assert ours[quantity].to_list() == pytest.approx([row[quantity] for row in rows], abs=2e-4), quantity


@pytest.mark.parametrize("kernel", [Kernel(1.01, ratio=1e-3), Kernel(2, ratio=1e-3), Kernel(1.01, h=1e-3, h_error=1.0)])
def test_a_width_rule_without_a_window_is_blind_and_does_not_crash(images, kernel):
    x, _, noise = images
    table = experiment.information(x, {"conv1": x, "conv2": noise}, [kernel], seed=0).assign(seed=0)
    assert experiment.closed(table, ["seed"]).to_list() == [True]
    values = [table["I(X;T)"].to_list()] * 5
    assert rule.judged(ORDER, values, control=values, at_bound=[True] * 5).word == "blind"


def test_a_width_rule_with_a_window_is_not_closed(images):
    x, y, noise = images
    table = experiment.information(x, experiment.known(x, y, noise, seed=0), [SEEING, PUBLISHED], seed=0)
    assert experiment.closed(table, ["kernel"]).to_dict() == {SEEING.name: False, PUBLISHED.name: False}


def test_a_dead_layer_has_no_information_and_no_pairs_with_any(images):
    x, _, _ = images
    dead = {"conv1": torch.full((200, 3, 2, 2), 0.5)}
    kernels = [SEEING, Kernel(1.01, ratio=0.5), PUBLISHED]
    assert beyond(experiment.information(x, dead, kernels)) == pytest.approx([0] * 3, abs=1e-4)
    found = experiment.pairs(x, dead, kernels, seed=0)
    assert found[["RS(X;T)", "WN(X;T)"]].abs().to_numpy().max() < 1e-4  # rounding in float32
    assert not found[["share", "share chance", "share beyond"]].to_numpy().any()


def test_a_map_twice_is_redundant_beyond_chance_and_independent_noise_is_not(images):
    x, _, noise = images
    layers = {"copies": x[:, [0, 0]], "noise": noise, "flat": x.flatten(1)}
    found = experiment.pairs(x, layers, [Kernel(1.01, ratio=1.0)], seed=0).set_index("layer")
    assert [*found.index] == ["copies", "noise"]
    rest = found["RS(X;T)"] - found["RS(X;T) chance"]
    assert rest["copies"] > 0.2
    assert abs(rest["noise"]) < 0.02


def test_a_kernel_has_one_rule_of_widths():
    for bad in ({}, {"ratio": 1.0, "h": 5.0}, {"h": 5.0}, {"ratio": 1.0, "h": 5.0, "h_error": 0.1}):
        with pytest.raises(ValueError, match="ratio, or h and h_error"):
            Kernel(2, **bad)


def resolved(**changes):
    runner.resolve("02_matrix_entropy", "quick", changes)


def test_batches_larger_than_the_data_are_refused():
    default = {"published": 128, "order": 449, "others": 128, "sizes": [64]}
    resolved(measured=default)
    for name in ("published", "order", "others"):
        with pytest.raises(ValueError, match=rf"measured\.{name} must be a number from 10 to 449, got 450"):
            resolved(measured=default | {name: 450})
    with pytest.raises(ValueError, match=r"measured\.sizes must be a number from 10 to 449, got 1000"):
        resolved(measured=default | {"sizes": [64, 1000]})


def test_kernels_are_two_widths_by_two_orders():
    rows = [{"alpha": a, "ratio": r} for a in (1.01, 2) for r in (0.5, 1)]
    resolved(kernels=rows)
    for bad in (rows[:3], [*rows[:3], {"alpha": 1.5, "ratio": 1}], [r | {"alpha": r["alpha"] - 1} for r in rows]):
        with pytest.raises(ValueError, match="two ratios by two orders, one of them 2"):
            resolved(kernels=bad)
    with pytest.raises(ValueError, match="Silverman's factors"):
        resolved(published={"alpha": 2, "ratio": 1})
