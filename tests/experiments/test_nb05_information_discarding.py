"""Notebook 05: its networks and tables on networks that have seen next to nothing, against ones made by hand."""

import math
from dataclasses import replace

import pytest
import torch

from infolib import activations, training
from infolib.data import Data, Splits
from infolib.measures import discarding
from workbook import datasets, models, records, store, techniques
from workbook.experiments import nb05_information_discarding as study

NAME = "05_information_discarding"
ROW = {"data": "digits", "clutter": True, "n_train": 128, "n_test": 449, "width": 4, "grid": 6, "epochs": 2}
NETWORK = study.Network(**ROW)
PLAIN = study.Network(**ROW | {"clutter": False, "grid": 4})
LAYERS = ["conv1", "conv2", "conv4", "conv6", "fc1"]
PARAMETERS = {"networks": [ROW], "kinds": list(study.KINDS), "layers": LAYERS, "n_images": 2, "steps": 1, "n_seeds": 2,
              "decoded": ["conv1", "fc1"], "resnets": [], "segmentation": []}  # fmt: skip
FEW = {"n_images": 2, "steps": 1}


@pytest.fixture
def measure(defined):
    """The notebook's measurement of one network, with parameters of the notebook."""

    def measured(network, kind, seed, **parameters):
        return defined(NAME, main=network, **parameters).measure(network, seed, kind)

    return measured


def prepared(**changed):
    return records.prepared(NAME, PARAMETERS | changed)


# what is refused, before anything runs


def test_parameters_become_records_with_the_papers_settings_as_defaults():
    (network,), (resnet,), (unet,) = prepared(resnets=[{"depth": 20}], segmentation=[{"n_networks": 8}])
    assert network == NETWORK
    assert resnet == study.ResNet(depth=20)
    assert (network.decoder_width, network.decoder_epochs, network.decoder_lr) == (16, 3, 5e-3)
    assert (resnet.n_images, resnet.grid) == (4, 8)
    paper = study.Network(data="mnist", clutter=True, n_train=4000, width=8, grid=14, epochs=4)
    assert paper.n_test == resnet.n_test == 2000
    assert (unet.n_train, unet.n_test, unet.side, unet.width, unet.grid, unet.layer) == (20, 10, 64, 8, 16, "dec1")
    assert (network.side, PLAIN.side, paper.side) == (12, 8, 42)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": None}, r"networks\[0\] lacks the field 'width'"),
        ({"widht": 4}, r"networks\[0\] has an unknown field 'widht'"),
        ({"width": "six"}, r"networks\[0\]\.width must be int from 1 to 10000, got 'six'"),
        ({"clutter": 1}, r"networks\[0\]\.clutter must be bool, got 1"),
        ({"data": "ib"}, r"networks\[0\]\.data must be one of 'digits', 'mnist', 'fashion-mnist', 'cifar10', got 'ib'"),
        ({"damaged_layer": "conv7"}, r"networks\[0\]\.damaged_layer must be one of 'conv1'"),
        ({"n_train": 1349}, r"networks\[0\]: n_train=1349 is more than the 1348 samples available of digits"),
        ({"n_test": 2000}, r"networks\[0\]: n_test=2000 is more than the 1797 samples available of digits"),
        ({"grid": 5}, r"networks\[0\]: grid must be a divisor of the side of the images, 12, got 5"),
        ({"grid": 1}, r"networks\[0\]\.grid must be int from 2 to 1000000, got 1"),
        ({"lr": 0.0}, r"networks\[0\]\.lr must be float from 1e-15 to 10, got 0"),
        ({"epochs": 0}, r"networks\[0\]\.epochs must be int from 1 to 1000000, got 0"),
        ({"sigma0": -0.1}, r"networks\[0\]\.sigma0 must be float from 1e-06 to 1000000, got -0.1"),
        ({"samples": 15}, r"networks\[0\]\.samples must be int from 16 to 1000000, got 15"),
        ({"error": 0.0}, r"networks\[0\]\.error must be .* got 0.0"),
        ({"pruned_share": 1.5}, r"networks\[0\]\.pruned_share must be float from 0.001 to 0.999, got 1.5"),
        ({"pruned_share": 1.0}, r"networks\[0\]\.pruned_share must be float from 0.001 to 0.999, got 1.0"),
        ({"student_width": 2.0}, r"networks\[0\]\.student_width must be float from 0.001 to 1, got 2"),
        ({"student_width": 0.2}, r"networks\[0\]: the width of students must be an integer of at least 1, got 0"),
        ({"student_images": 0.01}, r"networks\[0\]: the number of images of students must be .* at least 2, got 1"),
        ({"batch_size": 1}, r"networks\[0\]\.batch_size must be int from 2 to 1000000, got 1"),
    ],
    ids=str,
)
def test_a_network_that_cannot_be_is_refused(change, message):
    row = {name: value for name, value in (ROW | change).items() if value is not None}
    with pytest.raises(ValueError, match=f"notebook {NAME}: {message}"):
        prepared(networks=[row])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 21}, r"resnets\[0\]\.depth must be one of 20, 32, 44, 56, got 21"),
        ({"depth": 20, "grid": 7}, r"resnets\[0\]: grid must be a divisor of the side of the images, 32, got 7"),
        ({"depth": 20, "taps": 10}, r"resnets\[0\]: taps must be a number from 2 to 9, got 10"),
        ({"depth": 20, "n_test": 10_001}, r"resnets\[0\]: n_test=10001 is more than the 10000 samples"),
        ({"depth": 20, "n_images": 1001}, r"n_images of resnets\[0\] must be a number from 1 to 1000, got 1001"),
    ],
    ids=str,
)
def test_a_resnet_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=f"notebook {NAME}: {message}"):
        prepared(resnets=[change])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"networks": []}, "networks must be a list whose first has clutter"),
        ({"networks": [ROW | {"clutter": False, "grid": 4}, ROW]}, "networks must be a list whose first has clutter"),
        (
            {"layers": LAYERS[::-1]},
            "layers must be .*'conv1', 'conv2', .* in rising order and with conv6 and fc1 at its end",
        ),
        ({"networks": [ROW, ROW | {"width": 3}]}, "networks must be a list in which data or padding differ, got 2"),
        ({"networks": [ROW | {"padding": "reflect"}]}, r"padding must be one of 'circular', 'zeros', got 'reflect'"),
        ({"kinds": ["untrained", "trained"]}, "kinds must be .* in the order of .*, with the first three, got"),
        ({"kinds": [*study.MAIN, "damaged", "pruned"]}, "kinds must be .* in the order of"),
        ({"kinds": [*study.MAIN, "twin"]}, "kinds must be .* in the order of"),
        (
            {"kinds": [*study.MAIN, "student of the network"]},
            "kinds must be a list that has the student of labels beside",
        ),
        ({"decoded": ["fc1"]}, "decoded must be .* of 2 or more, all different, got"),
        ({"layers": [*LAYERS, "fc2"]}, "layers must be list"),
        ({"layers": LAYERS[:-1]}, "layers must be list"),
        ({"layers": ["conv4", "conv6", "fc1"]}, r"layers must be .*, behind two others, got"),
        ({"networks": [ROW | {"damaged_layer": "conv2"}]}, r"damaged_layer 'conv2'; allowed: conv4, conv6"),
        ({"networks": [ROW | {"encoder": "conv5"}]}, r"unknown networks\[0\].encoder 'conv5'; allowed: conv1, conv2"),
        (
            {"segmentation": [{"n_networks": 2}, {"n_networks": 3}]},
            "length of segmentation .* from 0 to 1, got 2",
        ),
        ({"segmentation": [{"n_networks": 2, "n_train": 1}]}, r"segmentation\[0\].n_train must be int from 2"),
        ({"n_images": 450}, "n_images must be a number from 2 to 449, got 450"),
        ({"n_images": 1}, "n_images must be int from 2 to 1000000, got 1"),
        ({"steps": -1}, "steps must be int from 0 to 1000000, got -1"),
        ({"n_seeds": 1}, "n_seeds must be int from 2 to 1000000, as an interval takes two, got 1"),
    ],
    ids=str,
)
def test_parameters_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        prepared(**change)


# networks


def by_hand(kind, seed):
    splits = datasets.load("digits", n_train=128, n_val=0, n_test=449, seed=seed).cluttered(seed=seed)
    data, few = splits.train, splits.train[:32]
    start, student, twin = (
        models.vgg6(width=width, in_shape=(1, 12, 12), padding="circular", seed=s)
        for width, s in ((4, seed), (2, seed), (4, seed + 1000))
    )
    further = {"epochs": 2, "lr": 1e-3, "seed": seed}

    def learnt(model, data, epochs, seed=seed):
        return store.trained(model, data, epochs=epochs, batch_size=64, lr=2e-3, seed=seed)

    if kind == "untrained":
        return start.eval()
    if kind == "permuted labels":
        return learnt(start, splits.permuted_labels(seed=seed).train, 2)
    if kind == "one epoch":
        return learnt(start, data, 1)
    if kind == "trained again":
        return learnt(twin, data, 2, seed + 1000)
    if kind == "student of labels":
        return learnt(student, few, 6)
    if kind == "student of permuted labels":
        teacher = by_hand("permuted labels", seed)
        return techniques.distilled(student, teacher, few, temperature=4.0, epochs=6, lr=2e-3, seed=seed)
    if kind == "autoencoder":
        return techniques.autoencoder(start, "conv6", data, width=16, epochs=2, lr=2e-3, seed=seed)
    trained = learnt(start, data, 2)
    if kind == "trained":
        return trained
    if kind == "student of the network":
        return techniques.distilled(student, trained, few, temperature=4.0, epochs=6, lr=2e-3, seed=seed)
    if kind == "damaged":
        return techniques.damaged(trained, "conv4", share=0.5, seed=seed)
    if kind == "trained on":
        return techniques.finetuned(trained, data, **further)
    if kind == "attacked in training":
        return techniques.adversarial(trained, data, eps=0.1, steps=2, **further)
    pruned = techniques.pruned(trained, 0.8)
    return techniques.finetuned(pruned, data, **further) if kind == "pruned, trained on" else pruned


@pytest.mark.parametrize("kind", study.KINDS)
def test_each_kind_is_made_as_by_hand(kind):
    made, expected = study.train(NETWORK, kind, 1), by_hand(kind, 1).state_dict()
    assert not made.training
    assert list(made.state_dict()) == list(expected)
    assert all(torch.equal(t, expected[name]) for name, t in made.state_dict().items())


def test_kinds_and_seeds_differ():
    weights = [study.train(NETWORK, kind, 0).fc1.linear.weight for kind in study.KINDS if "student" not in kind]
    weights += [study.train(NETWORK, "trained", 1).fc1.linear.weight]
    alike = [(i, j) for i, one in enumerate(weights) for j, other in enumerate(weights[:i]) if torch.equal(one, other)]
    kinds = [kind for kind in study.KINDS if "student" not in kind]
    # The encoder ends, and the damage is, before the first linear layer.
    assert {(kinds[i], kinds[j]) for i, j in alike} == {("damaged", "trained"), ("autoencoder", "untrained")}


def test_each_seed_has_its_own_images_and_padding_is_the_networks():
    one, other = (study.images(NETWORK, seed) for seed in (0, 1))
    assert not torch.equal(one.test.y, other.test.y)
    assert not torch.equal(one.test.x, other.test.x)
    assert one.train.x.shape == other.train.x.shape == (128, 1, 12, 12)
    ways = {row: study.train(replace(NETWORK, padding=row), "untrained", 0).conv1.conv for row in ("circular", "zeros")}
    assert {row: conv.padding_mode for row, conv in ways.items()} == {row: row for row in ways}
    assert torch.equal(*[conv.weight for conv in ways.values()])


def test_what_was_done_is_compared_with_the_network_it_was_done_to():
    assert set(study.AGAINST) == {*study.KINDS} - {*study.MAIN, "student of labels"}
    others = {kind: other for kind, other in study.AGAINST.items() if other != "trained"}
    assert others == dict.fromkeys(["student of the network", "student of permuted labels"], "student of labels")


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="unknown kind 'twin'; allowed: untrained, trained"):
        study.train(NETWORK, "twin", 0)


# tables


def test_a_table_is_that_of_one_network_and_its_record(measure):
    rows = measure(NETWORK, "trained", 1, layers=["conv4", "conv6"], n_images=2, steps=40)
    splits, net = study.images(NETWORK, 1), by_hand("trained", 1)
    how = {"grid": 6, "steps": 40, "error": 0.02, "samples": 4096, "sigma0": 0.01, "alpha": 1.5, "seed": 1}
    d = discarding.strict_information_discarding(net, splits.test.x[:2], "conv6", **how)
    last = rows[rows["layer"] == "conv6"]
    assert rows["layer"].tolist() == ["conv4"] * 2 + ["conv6"] * 2
    assert last["discarding"].tolist() == d.mean.tolist()
    assert last["concentration"].tolist() == discarding.concentration(d.entropy, discarding.box(6)).tolist()
    assert set(rows["accuracy"]) == {training.evaluate(net, splits.test).accuracy}
    for column, value in {**records.columns(NETWORK), "kind": "trained", "seed": 1}.items():
        assert set(rows[column]) == {value}


def test_each_setting_of_the_search_counts(measure):
    how = {"layers": ["conv6"], "n_images": 2, "steps": 40}
    usual = measure(NETWORK, "trained", 1, **how)["discarding"]
    for change in ({"error": 0.01}, {"sigma0": 0.02}, {"alpha": 2.0}):
        assert (measure(replace(NETWORK, **change), "trained", 1, **how)["discarding"] != usual).any(), change


def test_ten_times_the_noise_is_about_as_much_more_in_bits(measure):
    usual, loud = (
        measure(network, "trained", 0, layers=["conv1"], **FEW)["discarding"].mean()
        for network in (NETWORK, replace(NETWORK, sigma0=10 * NETWORK.sigma0))
    )
    assert loud - usual == pytest.approx(math.log2(10), abs=0.5)


def test_each_known_layer_discards_a_quarter_of_a_bit_more_off_the_object():
    rows = study.known(replace(NETWORK, error=0.01), 1, 4, LAYERS, 0)
    found = rows.pivot_table(index="image", columns="layer", values="concentration")[LAYERS]
    assert found.mean().tolist() == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.25], abs=0.15)
    assert found.diff(axis=1).iloc[:, 1:].mean().tolist() == pytest.approx([0.25] * 4, abs=0.1)
    assert set(rows["kind"]) == {"known"}
    assert set(rows["padding"]) == {"circular"}


@pytest.mark.parametrize(("padding", "least", "most"), [("circular", -0.1, 0.1), ("zeros", 0.3, 1.0)])
def test_an_untrained_network_concentrates_where_there_is_a_border_and_only_there(measure, padding, least, most):
    network = replace(NETWORK, width=8, grid=12, padding=padding)
    rows = [measure(network, "untrained", seed, layers=LAYERS, n_images=4, steps=0) for seed in range(3)]
    found = [table.loc[table["layer"] == "conv6", "concentration"].mean() for table in rows]
    assert least < sum(found) / 3 < most


def test_without_clutter_there_is_no_concentration(measure):
    rows = measure(PLAIN, "untrained", 0, layers=["conv4"], **FEW)
    assert study.images(PLAIN, 0).train.x.shape == (128, 1, 8, 8)
    assert "concentration" not in rows
    assert rows["discarding"].notna().all()


def test_layers_are_measured_where_their_kind_needs_them(measure):
    few = replace(NETWORK, error=0.2, epochs=1)
    tables = {kind: measure(few, kind, 0, layers=LAYERS, n_images=1, steps=0) for kind in study.KINDS}
    layers = {kind: rows["layer"].tolist() for kind, rows in tables.items()}
    assert {kind for kind in layers if layers[kind] == LAYERS} == set(study.MAIN)
    assert layers.pop("autoencoder") == ["conv6"]
    assert all(layers[kind] == ["conv4", "conv6", "fc1"] for kind in layers if kind not in study.MAIN)
    assert tables["autoencoder"]["accuracy"].isna().all()


def test_a_public_network_is_measured_in_five_blocks_from_first_to_last(monkeypatch):
    asked = []

    def load(name, **sizes):
        x = torch.rand(sizes["n_test"], 3, 32, 32, generator=torch.Generator().manual_seed(0))
        asked.append((name, x))
        return Splits(*[Data(x, torch.zeros(len(x)))] * 3, name, {})

    monkeypatch.setattr(datasets, "load", load)
    rows = study.public(study.ResNet(depth=20, n_test=2, n_images=1), "untrained", 1, 1, 1)
    names = [name for name in activations.layers(models.resnet(20)) if name.startswith("stage")]
    assert rows["layer"].tolist() == [names[i] for i in (0, 2, 4, 6, 8)]
    assert rows["block"].tolist() == [0, 1, 2, 3, 4]
    ((name, x),), net = asked, models.resnet(20, seed=1).eval()
    how = {"grid": 8, "steps": 1, "error": 0.02, "samples": 4096, "sigma0": 0.01, "alpha": 1.5, "seed": 1}
    d = discarding.strict_information_discarding(net, x[1:], names[4], **how)
    assert name == "cifar10"
    assert rows.loc[rows["block"] == 2, "discarding"].tolist() == d.mean.tolist()
    assert set(rows["depth"]) == {20}
    assert set(rows["kind"]) == {"untrained"}


def test_maps_are_ranks_of_what_the_last_convolution_depends_on():
    drawn, x = study.maps(NETWORK, "trained", 1, 2, 0), study.images(NETWORK, 1).test.x[:2]
    assert list(drawn) == ["discarding", "sensitivity", "jacobian", "perturbation", "grad_cam"]
    net = by_hand("trained", 1)
    for name in ("sensitivity", "perturbation"):
        order = getattr(discarding, name)(net, x, "conv6", grid=6).flatten(1).argsort(1)
        assert drawn[name].flatten(1).gather(1, order).tolist() == [list(range(1, 37))] * 2
    how = {"grid": 6, "steps": 0, "seed": 1, "error": 0.02}
    d = discarding.strict_information_discarding(net, x, "conv6", **how)
    top = drawn["discarding"].flatten(1).argmax(1)
    assert torch.equal(top, d.entropy.flatten(1).argmin(1))
    rows = study.agreement(NETWORK, "trained", 1, 2, 0)
    ours, theirs = (drawn[name].flatten(1)[0] for name in ("discarding", "sensitivity"))
    assert rows["sensitivity"][0] == pytest.approx(torch.corrcoef(torch.stack([ours, theirs]))[0, 1].item())
    assert rows[["kind", "seed"]].to_numpy().tolist() == [["trained", 1]] * 2


def test_networks_that_answer_the_same_have_the_same_discarding():
    rows = study.comparability(NETWORK, 1, 2).set_index("to")
    assert list(rows.index) == ["scales 10 and 1/10", "folded", "logits times 10", "untrained"]
    assert (rows["bits"][:3] < 1e-3).all()
    assert rows.loc["untrained", "bits"] > 1e-3
    assert rows["jacobian"].tolist()[:3] == pytest.approx([1, 0, 0], abs=1e-3)
    assert set(rows["seed"]) == {1}


def test_uncertainty_has_a_decoder_of_its_own_in_all_its_forms():
    rows = study.uncertainty(NETWORK, "fc1", 1, 2, 0)
    net, splits = by_hand("trained", 1), study.images(NETWORK, 1)
    decode = techniques.decoder(net, "fc1", splits.train, width=16, epochs=3, lr=5e-3, batch_size=64, seed=1)
    how = {"grid": 6, "steps": 0, "seed": 1, "error": 0.02}
    r = discarding.reconstruction_uncertainty(net, splits.test.x[:2], "fc1", decode, **how)
    assert rows["form"].tolist() == ["code's form", "the same without noise", "around its mean"]
    assert rows["bits"].tolist() == [float(t.mean()) for t in (r.code, r.unperturbed, r.variance)]
