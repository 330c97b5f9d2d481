"""The tables of notebook 05, on networks that have seen next to nothing: what is in them, not what it says."""

import math

import pytest
import torch

from infolib import activations
from infolib.measures import discarding
from workbook import datasets, models, techniques
from workbook.experiments import nb05_information_discarding as study

LINE = "digits clutter 3 6 1"
FEW = {"n_train": 64}
SIZE = FEW | {"n_images": 2, "steps": 1}


def test_an_arm_has_its_images_and_the_cells_of_the_object():
    arm = study.arm(LINE, **FEW)
    assert (arm.width, arm.grid, arm.epochs) == (3, 6, 1)
    assert arm.splits.train.x.shape == (64, 1, 12, 12)
    assert torch.equal(arm.box, discarding.box(6))
    plain = study.arm("digits plain 3 4 1", **FEW)
    assert plain.splits.train.x.shape == (64, 1, 8, 8)
    assert plain.box is None


@pytest.mark.parametrize("line", ["digits clutter 3 6", "digits clutter 3 6 1 1", "digits clutter three 6 1"])
def test_a_line_of_another_form_is_refused(line):
    with pytest.raises(ValueError, match=f"arm must be like 'mnist clutter 8 14 4', got '{line}'"):
        study.arm(line, **FEW)


def test_unknown_surroundings_are_refused():
    with pytest.raises(ValueError, match="unknown surroundings 'noise'; allowed: clutter, plain"):
        study.arm("digits noise 3 6 1", **FEW)


def test_students_have_half_the_width_and_seeds_their_own_weights():
    nets = [
        study.network("digits clutter 4 6 1", *case, **FEW) for case in (("student of labels", 0), ("untrained", 1))
    ]
    assert [net.conv1.conv.out_channels for net in nets] == [2, 4]
    again = study.network("digits clutter 4 6 1", "untrained", 1, **FEW)
    assert torch.equal(again.fc1.linear.weight, nets[1].fc1.linear.weight)
    assert not torch.equal(study.network("digits clutter 4 6 1", "untrained", 2, **FEW).fc1.linear.weight,
                           again.fc1.linear.weight)  # fmt: skip


def test_a_survey_is_the_table_of_one_network():
    rows = study.survey(LINE, "trained", 1, layers=["conv4", "conv6"], **SIZE)
    net, (splits, box, *_) = study.network(LINE, "trained", 1, **FEW), study.arm(LINE, **FEW)
    d = discarding.strict_information_discarding(net, splits.test.x[:2], "conv6", grid=6, steps=1, **study.SEARCH)
    last = rows[rows["layer"] == "conv6"]
    assert last["discarding"].tolist() == pytest.approx(d.mean.tolist())
    assert last["concentration"].tolist() == pytest.approx(discarding.concentration(d.entropy, box).tolist())
    assert set(rows["arm"] + rows["kind"]) == {LINE + "trained"}
    assert set(rows["seed"]) == {1}
    assert 0 < rows["accuracy"].iloc[0] < 1


def test_cells_in_random_places_have_the_same_values_and_no_concentration(monkeypatch):
    def half(_model, x, layers, *, grid, **_options):
        entropy = torch.where(discarding.box(grid), 0.0, 1.0).expand(len(x), grid, grid)
        nothing = torch.zeros(len(x))
        return {layers[0]: discarding.Discarding(entropy, entropy, *[nothing] * 5, nothing.bool(), nothing.long())}

    monkeypatch.setattr(discarding, "measured", half)
    rows = study.survey(LINE, "untrained", 0, layers=["conv4"], **SIZE | {"n_images": 100})
    assert rows["concentration"].tolist() == [1.0] * 100
    assert rows["elsewhere"].between(-1, 0.8).all()
    assert rows["elsewhere"].nunique() > 3
    assert abs(rows["elsewhere"].mean()) < 4 * rows["elsewhere"].std() / 10


def test_without_a_box_there_is_no_concentration():
    rows = study.survey("digits plain 3 4 1", "untrained", 0, layers=["conv4"], **SIZE)
    assert rows[["concentration", "elsewhere"]].isna().all(axis=None)
    assert rows["discarding"].notna().all()


def test_layers_are_measured_where_their_kind_needs_them():
    layers = ["conv1", "conv4", "conv6", "fc1"]
    taps = {kind: study.tapped(kind, layers) for kind in techniques.VARIANTS}
    assert [kind for kind in taps if taps[kind] == layers] == [*study.MAIN, "damaged"]
    assert taps.pop("autoencoder") == ["conv6"]
    assert all(chosen[-2:] == ["conv6", "fc1"] for chosen in taps.values())
    rows = study.survey(LINE, "autoencoder", 0, layers=layers, **SIZE)
    assert set(rows["layer"]) == {"conv6"}
    assert rows["accuracy"].isna().all()


def test_ten_times_the_noise_is_about_as_much_more_in_bits():
    loud = study.louder(LINE, 0, layer="conv1", **SIZE)["discarding"].item()
    usual = study.survey(LINE, "trained", 0, layers=["conv1"], **SIZE)["discarding"].mean()
    assert loud - usual == pytest.approx(math.log2(10), abs=0.5)


def test_comparisons_have_the_pair_the_folded_and_the_untrained_network():
    rows = study.compared(LINE, 0, n_train=64, n_images=2).set_index("to")
    assert rows.loc["scales 10 and 1/10", ["jacobian", "sensitivity", "perturbation"]].tolist() == pytest.approx(
        [1] * 3
    )
    assert rows["bits"].tolist()[:2] == pytest.approx([0, 0], abs=1e-6)
    assert rows.loc["untrained", "bits"] > 1e-3


def test_the_three_forms_of_uncertainty():
    rows = study.uncertainty(LINE, "conv2", 0, **SIZE).set_index("form")["bits"]
    net, (splits, *_) = study.network(LINE, "trained", 0, **FEW), study.arm(LINE, **FEW)
    decode = techniques.decoder(net, "conv2", splits.train, epochs=3, lr=5e-3, seed=0)
    x = splits.test.x[:2]
    r = discarding.reconstruction_uncertainty(net, x, "conv2", decode, grid=6, steps=1, **study.SEARCH)
    assert rows.tolist() == pytest.approx([float(t.mean()) for t in (r.code, r.unperturbed, r.variance)])
    assert rows.index.tolist() == ["code's form", "the same without noise", "around its mean"]


def test_a_public_network_is_measured_in_blocks_from_first_to_last(monkeypatch):
    shown = []

    def load(name, **sizes):
        x = torch.rand(sizes["n_test"], 3, 32, 32, generator=torch.Generator().manual_seed(0))
        shown.append((name, x))
        return datasets.Splits(*[datasets.Data(x, torch.zeros(len(x)))] * 3, name, {})

    monkeypatch.setattr(datasets, "load", load)
    monkeypatch.setattr(study, "N_TEST", 6)
    rows = study.public(20, "untrained", 2, n_images=2, steps=1, taps=3)
    assert rows["block"].tolist() == [0, 0, 1, 1, 2, 2]
    names = [name for name in activations.layers(models.resnet(20)) if name.startswith("stage")]
    assert rows["layer"].unique().tolist() == [names[0], names[4], names[8]]
    assert set(rows["depth"]) == {20}
    few = {"samples": 8, "held_out": 64}
    net, ((name, x),) = models.resnet(20, seed=2).eval(), shown
    d = discarding.strict_information_discarding(net, x[4:6], names[4], grid=8, steps=1, **few)
    assert name == "cifar10"
    assert rows.loc[rows["block"] == 1, "discarding"].tolist() == pytest.approx(d.mean.tolist())
