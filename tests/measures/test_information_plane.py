import copy
import inspect
import math
from collections import OrderedDict
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
import torch
from scipy.special import digamma
from torch import nn

from infolib import activations, training
from infolib.data import Data
from infolib.estimators import renyi
from infolib.measures import information_plane
from infolib.measures.information_plane import Plane, binned, matrix_based, neighbours
from workbook import datasets, models


class Named(nn.Sequential):
    """Layers whose information is known: a copy of the input, its class alone, and nothing."""

    def __init__(self):
        super().__init__()
        self.add_module("copy", nn.Identity())
        self.add_module("sign", Sign())
        self.add_module("output", nn.Flatten())


class Sign(nn.Module):
    def forward(self, x):
        return 60 * torch.stack([x[:, 0] < 0, x[:, 0] >= 0], dim=1).float()  # after softmax: one-hot classes


@pytest.fixture
def batch():
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] >= 0).long()


def test_layer_that_is_the_class_has_the_information_of_the_class(batch):
    x, y = batch
    table = information_plane.point(Named(), x, y, ["copy", "sign", "output"], input_width=0.01).set_index("layer")
    s_y = float(renyi.entropy(renyi.label_gram(y), alpha=1.01))
    assert s_y > 0.9
    for layer in ("sign", "output"):  # the class alone: S(T) = I(T;Y) = S(Y), and I(X;T) the same, X fixes T
        assert table.loc[layer, ["S(T)", "I(T;Y)", "I(X;T)"]].to_list() == pytest.approx([s_y] * 3, abs=1e-3)
    assert table["S(X)"].to_list() == pytest.approx([math.log2(60)] * 3, abs=1e-6)  # so narrow a kernel tells all apart
    assert table["S(Y)"].to_list() == pytest.approx([s_y] * 3)


def test_dead_layer_has_no_information_and_no_width(batch):
    dead = nn.Sequential(OrderedDict(hidden1=nn.Linear(5, 3), output=nn.Linear(3, 2)))
    nn.init.zeros_(dead.hidden1.weight)
    table = information_plane.point(dead, *batch, ["hidden1"], input_width=1.0)
    assert table.loc[0, ["S(T)", "I(X;T)", "I(T;Y)"]].to_list() == pytest.approx([0, 0, 0], abs=1e-9)
    assert table.loc[0, "width"] == math.inf


def test_point_names_the_settings_of_its_numbers(batch):
    table = information_plane.point(Named(), *batch, ["copy"], input_width=2.0, alpha=2)
    row = table.iloc[0]
    assert (row["input_width"], row["alpha"], row["n"]) == (2.0, 2, 60)
    gram_x, gram_t = (renyi.gram(batch[0].double(), width=w) for w in (2.0, row["width"]))
    assert row["I(X;T)"] == pytest.approx(float(renyi.mutual_information(gram_x, gram_t, alpha=2)))
    labels = renyi.label_gram(batch[1])
    assert row["I(T;Y)"] == pytest.approx(float(renyi.mutual_information(gram_t, labels, alpha=2)))


def fit(net, batch, epochs=3):
    return training.fit(net, Data(*batch), epochs=epochs, batch_size=20, lr=0.01, seed=0)


def test_trajectory_measures_at_the_steps_asked_for_and_then_stops(batch):
    net = models.mlp([5, 4, 2], seed=0)
    untrained = information_plane.point(net, *batch, activations.layers(net), input_width=1.0)
    steps = fit(net, batch, epochs=100)
    table = information_plane.trajectory(net, steps, *batch, activations.layers(net), at=[0, 2, 5], input_width=1.0)
    assert table["step"].to_list() == [0, 0, 2, 2, 5, 5]
    assert table["I(X;T)"][:2].to_list() == untrained["I(X;T)"].to_list()
    again = models.mlp([5, 4, 2], seed=0)
    for step in fit(again, batch, epochs=100):
        if step.step == 5:
            break
    after = information_plane.point(again, *batch, activations.layers(again), input_width=1.0)
    assert table["I(X;T)"][4:].to_list() == after["I(X;T)"].to_list()


@pytest.mark.parametrize("at", [[], [3, 1], [1, 1], [-1, 2]])
def test_steps_that_do_not_increase_are_refused(batch, at):
    net = models.mlp([5, 4, 2], seed=0)
    with pytest.raises(ValueError, match="at must be integers that increase from at least 0"):
        information_plane.trajectory(net, fit(net, batch), *batch, ["output"], at=at, input_width=1.0)


def test_training_that_is_over_too_soon_is_named(batch):
    net = models.mlp([5, 4, 2], seed=0)
    with pytest.raises(ValueError, match="at asks for step 10, but training ends at 9"):
        information_plane.trajectory(net, fit(net, batch), *batch, ["output"], at=[0, 10], input_width=1.0)


def test_labels_of_another_length_are_refused(batch):
    with pytest.raises(ValueError, match=r"one row for each sample, got shapes \(60, .*\) and \(59,\)"):
        information_plane.point(Named(), batch[0], batch[1][1:], ["copy"], input_width=1.0)


# Against the published algorithm, written out slowly in float64


def entropy(K):
    p = torch.linalg.eigvalsh(K / K.trace()).clamp(min=0)
    return float(-torch.special.xlogy(p, p).sum() / math.log(2))


def published(x, y, recorded, sigma_x, points, former=None):
    """I(X;T), I(T;Y) and sigma of each layer after Wickstrøm et al. 2019: exp(-d²/sigma²), all pairs at once."""

    def squared(t):
        t = t.flatten(1)
        return (t[:, None] - t[None]).square().sum(-1)

    K_x, K_y = torch.exp(-squared(x) / sigma_x**2), (y[:, None] == y).double()
    rows = {}
    for layer, t in recorded.items():
        D = squared(t)
        grid = torch.linspace(0.1, 10 * float(D.sqrt().mean()), points, dtype=torch.float64)
        kernels = [torch.exp(-D / sigma**2) for sigma in grid]
        sigma = float(grid[torch.stack([(K * K_y).sum() / K.norm() for K in kernels]).argmax()])
        sigma = sigma if former is None else 0.9 * former[layer] + 0.1 * sigma
        K_t = torch.exp(-D / sigma**2)
        about_x = entropy(K_x) + entropy(K_t) - entropy(K_x * K_t)
        rows[layer] = (about_x, entropy(K_t) + entropy(K_y) - entropy(K_t * K_y), sigma)
    return rows


@pytest.fixture(scope="module")
def images():
    x = torch.rand(60, 1, 28, 28, generator=torch.Generator().manual_seed(3))
    return Data(x, torch.arange(60) % 7)  # no 7, 8 or 9: a one-hot code of the largest label would be too narrow


@pytest.mark.parametrize("bins", [None, 2**16])
def test_all_layers_of_the_small_cnn_agree_with_the_published_algorithm(images, bins):
    net = models.cnn(seed=0).eval()
    layers = activations.layers(net)
    recorded = {layer: t.double() for layer, t in activations.collect(net, images.x, layers).items()}
    recorded["output"] = recorded["output"].softmax(1)
    expected = published(images.x.double(), images.y, recorded, 8.0, 75)
    options = {"input_width": 8 / math.sqrt(2), "alpha": 1, "bins": bins, "search": "published"}
    table = information_plane.point(net, images.x, images.y, layers, **options).set_index("layer")
    assert list(table.index) == ["conv1", "conv2", "conv3", "fc1", "output"]  # as asked for, first to last
    for layer, (about_x, about_y, sigma) in expected.items():
        assert table.loc[layer, ["I(X;T)", "I(T;Y)"]].to_list() == pytest.approx([about_x, about_y], abs=1e-9)
        assert table.loc[layer, "width"] * math.sqrt(2) == pytest.approx(sigma, rel=1e-9)
    assert table["I(X;T)"].min() > 0.1


def test_float32_with_eigenvalues_in_float64_is_close(images):
    net = models.cnn(seed=0)
    measure = partial(information_plane.point, net, *vars(images).values(), activations.layers(net), input_width=5.0)
    exact, quick = measure(), measure(dtype=torch.float32)
    for quantity in ("I(X;T)", "I(T;Y)", "S(X)"):
        assert quick[quantity].to_list() == pytest.approx(exact[quantity].to_list(), abs=2e-4)
    assert quick["S(X)"][0] != exact["S(X)"][0]
    squared = renyi.squared_distances(activations.collect(net, images.x, ["conv1"])["conv1"])
    kernel = renyi.gram(squared, width=quick["width"][0], precomputed=True)
    assert quick["S(T)"][0] == renyi.entropy(kernel.double())  # kernels in float32, eigenvalues in float64
    rough = measure(dtype=torch.float32, precision=torch.float32)
    assert rough["S(T)"][0] == pytest.approx(float(renyi.entropy(kernel)), abs=1e-6)
    assert rough["S(T)"][0] != quick["S(T)"][0]


def test_tensor_kernel_is_the_product_of_channel_kernels_and_knows_no_shape(images):
    t = torch.randn(60, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    measure = partial(information_plane.matrix_based, images.x.double(), images.y, input_width=5.0, alpha=1)
    (row,), (flat,) = measure({"maps": t}), measure({"maps": t.flatten(1)})
    assert row == flat
    channels = renyi.channel_grams(t, width=row["width"])
    assert row["S(T)"] == pytest.approx(float(renyi.joint_entropy(list(channels), alpha=1)), abs=1e-9)
    assert 1 < row["S(T)"] < 5.8


@pytest.mark.parametrize("alpha", [1, 1.01, 2])
def test_raw_pixels_make_every_image_different_and_leave_the_entropy_of_the_layer(images, alpha):
    """K_X = I: S(X) = log2 n and I(X;T) = S(T), which says nothing about X."""
    net = models.cnn(seed=0)
    table = information_plane.point(
        net, 255 * images.x, images.y, activations.layers(net), input_width=5.66, alpha=alpha
    )
    assert table["S(X)"].to_list() == pytest.approx([math.log2(60)] * 5, abs=1e-12)
    assert table["I(X;T)"].to_list() == pytest.approx(table["S(T)"].to_list(), abs=1e-12)
    scaled = information_plane.point(net, images.x, images.y, activations.layers(net), input_width=5.66, alpha=alpha)
    assert (scaled["S(T)"] - scaled["I(X;T)"]).min() > 0.01


def test_equal_samples_have_null_eigenvalues_and_no_nan(images):
    twice = torch.arange(30).repeat(2)
    for alpha in (1, 1.01):
        table = information_plane.point(
            models.cnn(seed=0), images.x[twice], images.y[twice], ["conv1", "output"], input_width=0.01, alpha=alpha
        )
        assert not table.isna().any(axis=None)
        assert table["S(X)"].to_list() == pytest.approx([math.log2(30)] * 2, abs=1e-3)


def test_measured_in_eval_mode_and_given_back_in_training_mode(images):
    net = models.cnn(seed=0).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    first, second = (
        information_plane.point(net, images.x[:n], images.y[:n], ["conv1"], input_width=5.0, alpha=1) for n in (60, 20)
    )
    assert net.training
    assert net.conv1.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    untouched = information_plane.point(net.eval(), images.x, images.y, ["conv1"], input_width=5.0, alpha=1)
    assert first["I(X;T)"].to_list() == untouched["I(X;T)"].to_list() != second["I(X;T)"].to_list()


def test_full_width_vgg16_has_a_point():
    """Sixteen layers, 33 million weights: one batch only. The two classes and the noise come out at the ends."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(16) % 2
    x = torch.rand(16, 3, 32, 32, generator=generator) * 0.1 + 0.5 * y[:, None, None, None]
    net = models.vgg16(width=1.0, seed=0)
    table = information_plane.point(net, x, y, activations.layers(net), input_width=1.0, alpha=1, dtype=torch.float32)
    assert len(table) == 16
    assert (table["I(T;Y)"] <= 1 + 1e-6).all()
    assert table["I(T;Y)"][0] == pytest.approx(1, abs=0.01)
    assert table["I(X;T)"].between(0.5, 4.001).all()


# Widths that move from point to point


def sampled(seed):
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(seed))
    return Data(x, (x[:, 0] >= 0).long())


def test_moving_average_of_the_widths_is_the_published_one():
    net = models.mlp([5, 8, 2], seed=0)
    measure = partial(information_plane.point, layers=["hidden1"], input_width=1.0)
    stars = [float(measure(net, s.x, s.y)["width"][0]) for s in map(sampled, range(4))]
    assert len(set(stars)) == 4
    expected = [stars[0]]
    for star in stars[1:]:
        expected.append(0.9 * expected[-1] + 0.1 * star)
    steps = [training.Step(1, i, torch.arange(0), 0.0) for i in range(1, 5)]
    own = Plane(batch=lambda step: sampled(step.step - 1), estimator=partial(matrix_based, input_width=1.0))
    planes = {
        "moving": replace(own, momentum=0.9),
        "own": own,
        "frozen": replace(own, momentum=1),
        "given": replace(own, batch=sampled(0), momentum=1, widths={"hidden1": 0.7}),
    }
    table = information_plane.trajectories(net, steps, planes, ["hidden1"])
    width = {name: rows["width"].to_list() for name, rows in table.groupby("plane")}
    assert width["moving"] == pytest.approx(expected, rel=1e-12)
    assert width["own"] == stars
    assert width["frozen"] == [stars[0]] * 4
    assert width["given"] == [0.7] * 4
    assert table["step"].to_list() == [step for step in range(1, 5) for _ in planes]


def test_dead_layer_neither_enters_the_average_nor_ends_it(batch):
    x, y = batch
    measure = partial(information_plane.matrix_based, x.double(), y, input_width=1.0, momentum=0.9)
    alive, dead = {"t": x.double()}, {"t": torch.zeros(60, 3).double()}
    star = measure(alive)[0]["width"]
    assert measure(dead)[0]["width"] == math.inf
    assert measure(alive, widths={"t": math.inf})[0]["width"] == star  # as if there had been none
    assert measure(dead, widths={"t": 2.0})[0]["width"] == 2.0
    assert measure(alive, widths={"t": 2.0})[0]["width"] == pytest.approx(1.8 + 0.1 * star)


def test_search_settles_after_so_many_points(batch):
    net = models.mlp([5, 4, 2], seed=0)
    run = partial(information_plane.trajectory, x=batch[0], y=batch[1], layers=["hidden1"], input_width=1.0)
    settled, few, many = (
        run(net, fit(models.mlp([5, 4, 2], seed=0), batch), search="published", **options)["width"].to_list()
        for options in ({"settled": (3, 5)}, {"points": 5}, {})
    )
    assert settled == many[:3] + few[3:]
    assert many[3:] != few[3:]
    assert many[:3] != few[:3]


@pytest.mark.parametrize("momentum", [-0.1, 1.1, math.nan])
def test_momentum_outside_of_its_range_is_refused(batch, momentum):
    x, y = batch
    with pytest.raises(ValueError, match=r"momentum must be a number.*, got"):
        information_plane.matrix_based(x, y, {"t": x}, input_width=1.0, momentum=momentum)


# Widths without labels, the end of a search, and chance


def test_ratio_is_of_the_root_mean_squared_distance_of_input_and_layers(batch):
    x, y = batch[0].double(), batch[1]
    recorded = {"t": x[:, :2].tanh(), "dead": torch.zeros(60, 3).double()}
    found, dead = matrix_based(x, y, recorded, ratio=0.5)
    rms = [torch.pdist(t).square().mean().sqrt().item() / 2 for t in (x, recorded["t"])]
    assert [found["input_width"], found["width"]] == pytest.approx(rms, rel=1e-12)
    A, B = (renyi.gram(t, width=width) for t, width in zip((x, recorded["t"]), rms, strict=True))
    assert found["I(X;T)"] == pytest.approx(renyi.mutual_information(A, B).item(), abs=1e-9)
    assert not found["width_at_end"]
    assert (dead["width"], dead["width_at_end"]) == (math.inf, 0)
    assert dead["I(X;T)"] == pytest.approx(0, abs=1e-9)
    (relabelled,) = matrix_based(x, y.flip(0), {"t": recorded["t"]}, ratio=0.5)
    assert relabelled["I(X;T)"] == found["I(X;T)"]


def test_searches_are_those_of_the_estimators_and_an_end_of_their_range_is_a_column(batch):
    x, y = batch[0].double(), batch[1]
    recorded = {"x": x, "part": x[:, :1].sign() + 0.1 * x[:, 1:2]}
    measure = partial(matrix_based, x, y, recorded, input_width=1.0)
    for search, options in (
        (renyi.alignment_width, {"centred": True}),
        (renyi.alignment_width, {}),
        (renyi.published_width, {"search": "published"}),
        (
            partial(renyi.published_width, points=3, low=0.5, high=2.0),
            {"search": "published", "points": 3, "low": 0.5, "high": 2.0},
        ),
    ):
        own = {"centred": True} if "centred" in options else {}
        for row, t in zip(measure(**options), recorded.values(), strict=True):
            width, at_end = search(t, y, **own)
            assert (row["width"], row["width_at_end"]) == (width.item(), at_end)
    (exact,) = matrix_based(x, y, {"class": y.double()[:, None]}, input_width=1.0)
    assert exact["width_at_end"]  # samples that are the class have no least width


@pytest.fixture(scope="module")
def perceptron():
    """That of notebook 00, before and after its training, and images to measure it on."""
    splits = datasets.load("digits", n_train=899, seed=0)
    net = models.mlp([64, 48, 24, 10], seed=0)
    untrained = copy.deepcopy(net)
    for _ in training.fit(net, splits.train, epochs=16, batch_size=32, lr=0.003, seed=0):
        pass
    return {"untrained": untrained, "trained": net}, splits.test[:200]


@pytest.mark.parametrize("moment", ["untrained", "trained"])
def test_refined_width_leaves_a_hundredth_of_a_bit_to_a_fine_search(perceptron, moment):
    """Of 3,000 widths on all pairs; the published grid misses by more than a twentieth of a bit."""
    nets, (x, y) = perceptron[0], vars(perceptron[1]).values()
    net = nets[moment]
    measure = partial(information_plane.point, net, x, y, activations.layers(net), input_width=1.7)
    found, published = measure(), measure(search="published")
    recorded = activations.collect(net, x, activations.layers(net))
    i, j = torch.triu_indices(200, 200, 1)
    agree = (y[i] == y[j]).double()
    missed = []
    for row, old, t in zip(found.itertuples(), published["I(X;T)"], recorded.values(), strict=True):
        t = t.double().softmax(1) if row.softmax else t.double()
        d = torch.pdist(t).square()
        widths = d.sqrt().mean() * torch.logspace(-1.3, 0.7, 3000, dtype=torch.float64)
        kernels = ((d / (-2 * w**2)).exp() for w in widths)
        best = widths[torch.stack([(100 + K @ agree) / (100 + K @ K).sqrt() for K in kernels]).argmax()]
        assert row.width == pytest.approx(best.item(), rel=2e-3)
        A, B = renyi.gram(x.double(), width=1.7), renyi.gram(t, width=best)
        exact = renyi.mutual_information(A, B).item()
        assert found.loc[row.Index, "I(X;T)"] == pytest.approx(exact, abs=0.01)
        missed.append(abs(old - exact))
    assert max(missed) > 0.05


@pytest.mark.parametrize("alpha", [1, 1.01, 2])
def test_chance_is_the_mean_over_permuted_pairs(batch, alpha):
    """Against the mean over grams of permuted samples; at alpha = 2 of the log of the mean, over more of them."""
    x, y = batch[0].double(), batch[1]
    recorded = {"x": x.tanh(), "class": y.double()[:, None]}
    rows = matrix_based(x, y, recorded, input_width=1.0, alpha=alpha, permutations=20, seed=3)
    A, K = renyi.gram(x, width=1.0), renyi.label_gram(y)
    generator = torch.Generator().manual_seed(9)
    orders = [torch.randperm(60, generator=generator) for _ in range(200)]
    for row, t in zip(rows, recorded.values(), strict=True):
        B = renyi.gram(t, width=row["width"])
        for of, fixed in (("I(X;T) chance", A), ("I(T;Y) chance", K)):
            nulls = torch.stack([renyi.mutual_information(fixed, B[o][:, o], alpha=alpha) for o in orders])
            assert row[of] == pytest.approx(nulls.mean().item(), abs=max(4 * nulls.std().item() / math.sqrt(20), 1e-9))
            assert row[of] < row[of.removesuffix(" chance")] - 0.05
    assert all(("I(X;T) chance" in row) == (alpha == 2) for row in matrix_based(x, y, recorded, ratio=1.0, alpha=alpha))


# Several planes of one run


def test_planes_of_one_run_are_those_of_runs_of_their_own(batch):
    data, held_out = Data(*batch), sampled(9)
    kernel = partial(matrix_based, input_width=1.0)
    planes = {
        "train": Plane(batch=lambda step: data[step.batch], momentum=0.9, estimator=kernel),
        "test": Plane(batch=information_plane.drawn_from(held_out, 20, seed=1), at=[2, 4], estimator=kernel),
        "binned": Plane(batch=data, at=[0, 9], estimator=partial(binned, bins=8)),
    }

    def run(planes):
        net = models.mlp([5, 4, 2], seed=0)
        return information_plane.trajectories(net, fit(net, batch), planes, activations.layers(net))

    together = run(planes)
    assert together.groupby("plane")["step"].unique().map(list).to_dict() == {
        "train": list(range(1, 10)),
        "test": [2, 4],
        "binned": [0, 9],
    }
    for name, plane in planes.items():
        mine = together[together["plane"] == name].dropna(axis=1).reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, run({name: plane}), check_like=True, check_dtype=False)


def test_training_ends_with_the_last_plane(batch):
    net = models.mlp([5, 4, 2], seed=0)
    steps = fit(net, batch, epochs=100)
    plane = Plane(batch=Data(*batch), at=[0, 1], estimator=partial(matrix_based, input_width=1.0))
    planes = {"a": plane, "b": replace(plane, at=range(2, 5))}
    assert information_plane.trajectories(net, steps, planes, ["output"])["step"].max() == 4
    assert next(steps).step == 5


@pytest.mark.parametrize(
    ("plane", "message"),
    [
        (
            {"estimator": partial(matrix_based, inputwidth=1.0)},
            "unknown option 'inputwidth' of matrix_based; allowed: inp",
        ),
        ({"estimator": matrix_based}, "matrix_based needs one of input_width and ratio, got neither"),
        ({"estimator": partial(matrix_based, input_width=1.0, ratio=1.0)}, "one of input_width and ratio, got both"),
        ({"estimator": partial(matrix_based, ratio=0)}, "ratio must be positive, got 0"),
        ({"estimator": partial(matrix_based, ratio=1.0, centred=True)}, "centred and bins must be left out with ratio"),
        ({"estimator": partial(matrix_based, ratio=1.0, search="published")}, "must be left out with ratio=1"),
        ({"estimator": partial(matrix_based, ratio=1.0, search="finest")}, "unknown search 'finest'; allowed: refined"),
        ({"estimator": partial(matrix_based, ratio=1.0, low=1.0)}, "low must be left out with search='refined', got 1"),
        (
            {"estimator": partial(matrix_based, input_width=1.0, search="published", centred=True)},
            "centred must be left out with search='published', got True",
        ),
        (
            {"estimator": partial(matrix_based, input_width=1.0), "settled": (40, 50)},
            "points must be left out with search='refined', got 50",
        ),
        ({"estimator": partial(binned, bins=8, k=3)}, "unknown option 'k' of binned; allowed: bins, low, high$"),
        ({"estimator": partial(binned, bins=8), "momentum": 0.9}, "unknown option 'widths' of binned"),
        ({"estimator": partial(neighbours, noise=1.0), "settled": (3, 5)}, "unknown option 'points' of neighbours"),
        (
            {"estimator": partial(matrix_based, input_width=1.0, momentum=0.9)},
            "momentum and widths must be the plane's",
        ),
        ({"estimator": partial(matrix_based, input_width=1.0), "momentum": 2}, "momentum must be a number from 0 to 1"),
    ],
)
def test_a_plane_that_its_estimator_cannot_take_is_refused_when_it_is_made(batch, plane, message):
    with pytest.raises(ValueError, match=message):
        Plane(batch=Data(*batch), **plane)


def test_a_misspelt_option_is_refused_before_the_first_step_and_the_first_activation(batch):
    """Neither is the network looked at nor a step taken: the model is None, and the steps raise."""

    def steps():
        raise AssertionError("a training step was taken")
        yield

    message = "unknown option 'input_wdith' of matrix_based; allowed: input_width, ratio, alpha"
    with pytest.raises(ValueError, match=message):
        information_plane.point(None, *batch, ["output"], input_wdith=1.0)
    with pytest.raises(ValueError, match=message):
        information_plane.trajectory(None, steps(), *batch, ["output"], at=[5], input_wdith=1.0)
    with pytest.raises(ValueError, match="needs one of input_width and ratio, got neither"):
        information_plane.trajectory(nn.Identity(), steps(), *batch, ["output"], alpha=2)


def test_an_estimator_may_wrap_another_and_take_whatever_that_takes(batch):
    def mismatched(x, y, recorded, **options):
        return matrix_based(x.roll(1, 0), y, recorded, **options)

    kernel = partial(mismatched, input_width=1.0)
    point = information_plane.point(Named(), *batch, ["copy"], estimator=kernel)
    expected = matrix_based(batch[0].double().roll(1, 0), batch[1], {"copy": batch[0].double()}, input_width=1.0)
    assert point.to_dict("records") == [row | {"softmax": False} for row in expected]
    assert Plane(batch=Data(*batch), estimator=kernel, momentum=0.9).momentum == 0.9


def test_the_short_form_has_every_option_of_the_estimator_but_those_of_the_plane():
    taken = set(inspect.signature(matrix_based).parameters) - {"x", "y", "recorded", "widths", "momentum"}
    assert information_plane.Kernel.__optional_keys__ == taken


def test_no_planes_are_refused(batch):
    net = models.mlp([5, 4, 2], seed=0)
    with pytest.raises(ValueError, match="the number of planes must be"):
        information_plane.trajectories(net, fit(net, batch), {}, ["output"])


def test_drawn_batches_depend_on_seed_and_step_alone():
    data = sampled(0)
    draw, other = (information_plane.drawn_from(data, 30, seed=seed) for seed in (0, 1))
    one, again, later = (draw(training.Step(1, step, torch.arange(0), 0.0)) for step in (1, 1, 2))
    assert torch.equal(one.x, again.x)
    assert torch.equal(one.y, again.y)
    assert not torch.equal(one.x, later.x)
    assert not torch.equal(one.x, other(training.Step(1, 1, torch.arange(0), 0.0)).x)
    assert len(one.x.unique(dim=0)) == 30
    with pytest.raises(ValueError, match="size=61 is more than the 60 samples there are"):
        information_plane.drawn_from(data, 61, seed=0)


def test_early_stopping_waits_for_an_improvement():
    validation = {1: 0.5, 2: 0.4, 3: 0.6, 4: 0.6, 5: 0.5, 6: 0.7}
    assert information_plane.early_stops(validation, [1, 2, 3]) == {1: 2, 2: 5, 3: 6}
    with pytest.raises(ValueError, match="patience must be an integer of at least 1, got 0"):
        information_plane.early_stops(validation, [0])
    with pytest.raises(ValueError, match="the number of validation must be"):
        information_plane.early_stops({}, [1])


# Other estimators, on the task of twelve bits


@pytest.fixture(scope="module")
def twelve_bits():
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 12)
    return x, x[:, 0].long() * (x[:, 1] + x[:, 2] > 0).long()  # P(y) = 3/8


def test_fine_bins_see_a_bijection_and_never_more(twelve_bits):
    x, y = twelve_bits
    recorded = {"bijective": torch.tanh(x @ torch.eye(12) - 0.3), "three bits": x[:, :3], "constant": 0 * x}
    rows = information_plane.binned(x, y, recorded, bins=1000)
    h_y = -(3 / 8 * math.log2(3 / 8) + 5 / 8 * math.log2(5 / 8))
    assert [row["I(X;T)"] for row in rows] == pytest.approx([12, 3, 0], abs=1e-9)
    assert [row["I(T;Y)"] for row in rows] == pytest.approx([h_y, h_y, 0], abs=1e-9)
    assert [row["H(Y)"] for row in rows] == pytest.approx([h_y] * 3)
    (coarse,) = information_plane.binned(x, y, {"bijective": 0.1 * recorded["bijective"]}, bins=2, low=-1, high=1)
    assert coarse["I(X;T)"] == pytest.approx(12)  # the sign is the bit
    (outside,) = information_plane.binned(x, y, {"far": x + 2}, bins=2, low=-1, high=1)
    assert (outside["I(X;T)"], outside["clipped"]) == (0, 1)


def test_neighbours_see_what_the_noise_leaves(twelve_bits):
    """Grid points a unit apart: with little noise all samples are told apart, with much noise almost none."""
    x, y = (values[::16] for values in twelve_bits)  # 256 inputs: eight bits
    measure = partial(information_plane.neighbours, x, y, {"t": x}, copies=4, k=3)
    (sharp,), (blurred,) = measure(noise=0.01), measure(noise=100.0)
    ceiling = (digamma(1024) - digamma(4)) / math.log(2)  # log2 256 and the bias of four copies
    assert sharp["I(X;T)"] == pytest.approx(ceiling, abs=1e-9)
    p = float(y.double().mean())
    assert sharp["I(T;Y)"] == pytest.approx(-(p * math.log2(p) + (1 - p) * math.log2(1 - p)), abs=0.05)
    assert abs(blurred["I(X;T)"]) < 0.3
    assert abs(blurred["I(T;Y)"]) < 0.15
    assert measure(noise=0.3, seed=1) == measure(noise=0.3, seed=1) != measure(noise=0.3, seed=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": 0.0}, "noise must be positive"),
        ({"noise": 1.0, "copies": 1}, "copies must be an integer of at least 2"),
    ],
)
def test_neighbours_without_noise_or_copies_are_refused(batch, options, message):
    x, y = batch
    with pytest.raises(ValueError, match=message):
        information_plane.neighbours(x, y, {"t": x}, **options)


# softmax, and other arguments


class Logits(nn.Module):
    """One Linear under two names."""

    def __init__(self):
        super().__init__()
        self.hidden, self.output, self.maps = nn.Linear(5, 3), nn.Linear(5, 3), nn.Unflatten(1, (3, 1))
        self.hidden.load_state_dict(self.output.state_dict())

    def forward(self, x):
        return self.maps(self.hidden(x) + self.output(x))


def test_softmax_is_an_argument_and_a_column_and_one_layer_has_the_same_bits_under_any_name(batch):
    torch.manual_seed(0)
    net, kernel = Logits(), {"input_width": 1.0}
    for softmax in ((), ("hidden", "output")):
        one, other = information_plane.point(net, *batch, ["hidden", "output"], softmax=softmax, **kernel).drop(
            columns="layer").to_dict("records")  # fmt: skip
        assert one == other
    by_name = information_plane.point(net, *batch, ["hidden", "output"], **kernel)
    assert by_name["S(T)"][0] != by_name["S(T)"][1]
    steps = [training.Step(1, i, torch.arange(0), 0.0) for i in (1, 2)]
    path = information_plane.trajectory(net, steps, *batch, ["hidden", "output"], softmax=["hidden"], **kernel)
    assert path["softmax"].tolist() == [True, False] * 2
    assert path["S(T)"].tolist() == [by_name["S(T)"][1], by_name["S(T)"][0]] * 2


@pytest.mark.parametrize(("changed", "message"), [
    ({"model": "mlp"}, r"model must be a torch\.nn\.Module, got str"),
    ({"layers": "hidden"}, r"layers must be a sequence of names, got 'hidden'; write \['hidden'\]"),
    ({"layers": []}, "the number of layers must be an integer of at least 1, got 0"),
    ({"y": torch.zeros(3, dtype=torch.long)}, "y must have 60 entries|x and y must have one row for each sample"),
    ({"softmax": "hidden"}, "softmax must be a sequence of names, got 'hidden'"),
    ({"softmax": ["fc"]}, "softmax must name some of layers, hidden, got 'fc'"),
    ({"layers": ["maps"], "softmax": ["maps"]}, r"softmax must name layers of logits \(n, classes\), got 'maps'"),
    ({"dtype": torch.long}, r"dtype must be of floating point, got torch\.int64"),
    ({"estimator": "binned"}, "estimator must be of type Callable, got str"),
    ({"input_width": -1.0}, r"input_width must be positive, got -1\.0"),
    ({"search": "published", "low": 2.0, "high": 1.0}, "high must be above low=2, got 1"),
    ({"search": "published", "high": -1.0}, "high must be positive, got -1"),
    ({"permutations": -1}, "permutations must be an integer of at least 0, got -1"),
    ({"x": torch.ones(60, 5), "input_width": None, "ratio": 1.0}, "x must have a rms distance above 0"),
])  # fmt: skip
def test_arguments_that_cannot_be_are_refused_by_name(batch, changed, message):
    given = {"model": Logits(), "x": batch[0], "y": batch[1], "layers": ["hidden"], "input_width": 1.0} | changed
    with pytest.raises(ValueError, match=message):
        information_plane.point(**given)


def test_activations_of_other_samples_are_refused(batch):
    for estimator in (partial(matrix_based, input_width=1.0), partial(binned, bins=3), partial(neighbours, noise=1.0)):
        with pytest.raises(ValueError, match=r"recorded\['fc'\] must have 60 rows, one per sample, got 3"):
            estimator(*batch, {"fc": torch.zeros(3, 2)})
        with pytest.raises(ValueError, match="the number of recorded must be"):
            estimator(*batch, {})


def test_a_plane_of_other_types_is_refused(batch):
    plane = partial(information_plane.Plane, estimator=partial(binned, bins=3))
    with pytest.raises(ValueError, match=r"batch must be of type Data or Callable, got tuple"):
        plane(batch=batch)
    with pytest.raises(ValueError, match="settled: points must be an integer of at least 1, got 0"):
        plane(batch=Data(*batch), settled=(40, 0))
    with pytest.raises(ValueError, match="planes must be a mapping, got list"):
        information_plane.trajectories(Logits(), [], [plane(batch=Data(*batch))], ["hidden"])
    with pytest.raises(ValueError, match="validation must be a mapping, got list"):
        information_plane.early_stops([0.5], [1])
    with pytest.raises(ValueError, match="patiences must be a sequence, got int"):
        information_plane.early_stops({1: 0.5}, 1)


def test_planes_of_several_estimators_are_one_table_of_numbers(batch):
    """So that a store of tables takes it: what an estimator does not have is a missing number."""
    own = {"kernel": partial(matrix_based, ratio=1.0), "searched": partial(matrix_based, input_width=1.0)}
    estimators = own | {"bins": partial(binned, bins=4)}
    planes = {name: Plane(batch=Data(*batch), estimator=estimator, at=[0]) for name, estimator in estimators.items()}
    table = information_plane.trajectories(Named(), [], planes, ["copy", "output"])
    words = [name for name, column in table.items() if column.dtype.kind not in "bif"]
    assert words == ["plane", "layer"]
    assert table.groupby("plane")["width_at_end"].count().to_dict() == {"bins": 0, "kernel": 2, "searched": 2}
