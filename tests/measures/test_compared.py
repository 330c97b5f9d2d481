"""Several networks by relative depth, and linear CKA of their layers."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from infolib.data import Data
from infolib.measures import lenses

FEW = {"lenses": ["class_information"], "class_information": {"n": 20}, "beside": ()}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hsic(K, L):
    """Song et al. 2012, one quadruple of different samples at a time."""
    n, found = len(K), []
    for i in range(n):
        for j in set(range(n)) - {i}:
            for q in set(range(n)) - {i, j}:
                for r in set(range(n)) - {i, j, q}:
                    found.append(K[i, j] * (L[i, j] + L[q, r] - 2 * L[i, q]))
    return float(np.mean(found))


def slow(x, y):
    K, L = (np.asarray(t.flatten(1) @ t.flatten(1).T) for t in (x, y))
    return hsic(K, L) / math.sqrt(hsic(K, K) * hsic(L, L))


@pytest.mark.parametrize("shapes", [((7, 3), (7, 5)), ((8, 2, 3), (8, 4)), ((6, 40), (6, 1))])
def test_cka_is_the_mean_over_all_quadruples_of_samples(shapes):
    x, y = draw(*shapes[0]), draw(*shapes[1], seed=1)
    y.flatten(1)[:, 0] += 2 * x.flatten(1)[:, 0]
    assert abs(slow(x, y)) > 0.05
    assert lenses.cka(x, y) == pytest.approx(slow(x, y), abs=1e-9)


def test_cka_does_not_depend_on_rotation_scale_and_shift_but_on_other_maps():
    x, y = draw(60, 6), draw(60, 4, seed=1) + 0.7 * draw(60, 6)[:, :4]
    rotation = torch.linalg.qr(draw(6, 6, seed=2))[0]
    assert lenses.cka(x, x) == pytest.approx(1, abs=1e-12)
    assert lenses.cka(x, -3 * x @ rotation + 100) == pytest.approx(1, abs=1e-9)
    assert lenses.cka(y, 1e-4 * x @ rotation - 5) == pytest.approx(lenses.cka(x, y), abs=1e-9)
    stretched = x * torch.tensor([10.0, 1, 1, 1, 1, 1])
    assert lenses.cka(x, stretched) < 0.7  # of linear maps only isotropic ones leave it


def test_cka_of_a_part_of_the_features_has_its_closed_form():
    """x of p independent features of unit variance, y the first q: √(q/p), for many samples."""
    x = draw(1500, 9)
    assert lenses.cka(x, x[:, :4]) == pytest.approx(2 / 3, abs=0.02)


def test_cka_of_independent_layers_is_zero_where_the_biased_one_nears_one():
    found = [lenses.cka(draw(20, 500, seed=seed), draw(20, 500, seed=seed + 1000)) for seed in range(40)]
    assert abs(np.mean(found)) < 0.03
    x, y = (t - t.mean(0) for t in (draw(20, 500), draw(20, 500, seed=1000)))
    K, L = x @ x.T, y @ y.T
    assert float((K * L).sum() / (K.norm() * L.norm())) > 0.9


def test_cka_of_a_layer_that_is_the_same_everywhere_is_no_number():
    assert math.isnan(lenses.cka(draw(20, 3), torch.full((20, 4), 0.1)))
    assert math.isnan(lenses.cka(torch.eye(10), torch.eye(10).flip(0)))  # all are equally far apart


def test_samples_of_another_number_are_refused():
    with pytest.raises(ValueError, match="x and y must have the same samples, got 20 and 19"):
        lenses.cka(draw(20, 3), draw(19, 3))
    with pytest.raises(ValueError, match="the number of samples of x must be an integer of at least 4, got 3"):
        lenses.cka(draw(3, 3), draw(3, 3))


# compare


@pytest.fixture
def data():
    y = torch.arange(60) % 3
    return Data(draw(3, 1, 6, 6)[y].float() + 0.2 * draw(60, 1, 6, 6, seed=1).float(), y)


def networks():
    torch.manual_seed(0)
    deep = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 8),
        nn.Linear(8, 3),
    )  # fmt: skip
    wide = nn.Sequential(nn.Flatten(), nn.Linear(36, 50), nn.Tanh(), nn.Linear(50, 3))
    return {"deep": deep, "wide": wide.eval()}


CHOSEN = {"deep": ["0", "4", "7"], "wide": ["1", "3"]}


def test_each_network_s_rows_are_those_of_its_own_look_by_relative_depth(data):
    models = networks()
    table, _ = lenses.compare(models, data, CHOSEN, n=20, **FEW)
    assert models["deep"].training
    for name, model in models.items():
        rows = table[table["network"] == name]
        alone = lenses.class_information(model.eval(), data, CHOSEN[name], n=20)
        assert rows["value"].tolist() == alone["value"].tolist()
    assert table.drop_duplicates(["network", "layer"])["relative depth"].tolist() == [
        0.25,
        0.5,
        1.0,
        0.5,
        1.0,
    ]  # of four, and of two, with weights


def test_similarity_is_that_of_the_outputs_of_each_pair_of_layers_for_the_same_samples(data):
    models = networks()
    _, found = lenses.compare(models, data, CHOSEN, n=30, **FEW)
    x = lenses.balanced(data, 30).x
    assert found[["layer", "other layer"]].values.tolist() == [[a, b] for a in CHOSEN["deep"] for b in CHOSEN["wide"]]
    for layer, other, value in found[["layer", "other layer", "CKA"]].values:
        with torch.no_grad():
            one, two = models["deep"].eval()[: int(layer) + 1](x), models["wide"][: int(other) + 1](x)
        assert value == pytest.approx(lenses.cka(one, two), abs=1e-6)
    assert found["relative depth"].tolist() == [0.25, 0.25, 0.5, 0.5, 1, 1]
    assert found["other relative depth"].tolist() == [0.5, 1] * 3
    assert set(found["n"]) == {30}


def test_samples_that_change_with_each_reading_are_read_once(data):
    class Set(torch.utils.data.Dataset):
        read = 0

        def __len__(self):
            return len(data)

        def __getitem__(self, i):
            self.read += 1
            return data.x[i], int(data.y[i])

    items = Set()
    how = {"lenses": ["codelength"], "beside": (), "layers_at_once": 1, "n": 20}
    lenses.compare(networks(), items, CHOSEN, codelength={"n": 20}, **how)
    assert items.read == len(data)


def test_three_networks_make_three_pairs(data):
    models = networks() | {"again": networks()["wide"]}
    found = lenses.compare(models, data, CHOSEN | {"again": ["3"]}, n=30, **FEW).cka
    pairs = list(dict.fromkeys(zip(found["network"], found["other network"], strict=True)))
    assert pairs == [("deep", "wide"), ("deep", "again"), ("wide", "again")]
    same = found[(found["network"] == "wide") & (found["layer"] == "3")]
    assert same["CKA"].tolist() == pytest.approx([1.0], abs=1e-9)


def test_relative_depth_of_a_network_without_weights_counts_its_modules(data):
    nets = {name: nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Tanh(), nn.Softmax(1)) for name in ("one", "two")}
    table, _ = lenses.compare(nets, data, ["0", "3"], n=20, **FEW)
    assert table.drop_duplicates(["network", "layer"])["relative depth"].tolist() == [0.25, 1.0] * 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"models": {"deep": networks()["deep"]}}, "the number of models must be an integer of at least 2, got 1"),
        ({"models": {"one": networks()["deep"], "two": 3}}, r"models\['two'\] must be a torch\.nn\.Module"),
        ({"layers": {"deep": ["0"]}}, "layers must have the names of models, deep, wide, got deep"),
        ({"untrained": {"deep": print}}, "untrained must have the names of models, deep, wide, got deep"),
        ({"n": 3}, "n must be an integer of at least 4, got 3"),
        ({"n": 61}, "n=61 is more than the 60 samples of data"),
        ({"layers": ["2.x"]}, r"unknown layer '2\.x'"),
    ],
)
def test_what_cannot_be_compared_is_refused(data, changed, message):
    with pytest.raises(ValueError, match=message):
        lenses.compare(**{"models": networks(), "data": data, "layers": CHOSEN, "n": 20} | FEW | changed)
