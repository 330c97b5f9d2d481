import math
from functools import partial

import pandas as pd
import pytest
import torch

from infolib.data import Data
from infolib.measures import transfer
from workbook import datasets
from workbook.experiments import nb06_information_transfer as study

FIT = {"steps": 60, "lr": 5e-3}
CODE = {"learner": partial(transfer.networks, steps=30, lr=5e-3), "batched": True, "calibrate": True}
LARGER = {"n": 200, "k": 100, "hidden": [32], "fit": {"steps": 200, "lr": 5e-3}, "code": CODE}
SIZES = {"n": 100, "k": 40, "hidden": [8], "fit": FIT, "code": CODE}


def test_parts_are_disjoint_and_noise_redraws_its_share_of_labels():
    clean, noisy = (study.parts("digits", 0, n=800, k=300, noise=noise) for noise in (0, 0.5))
    assert [len(part) for part in clean] == [800, 100, 300]
    assert transfer.overlap(clean[0], clean[2]) == transfer.overlap(clean[1], clean[2]) == 0
    assert all(torch.equal(a.x, b.x) for a, b in zip(clean, noisy, strict=True))
    assert (clean[0].y != noisy[0].y).double().mean() == pytest.approx(0.45, abs=0.06)


def test_permuted_pixels_are_the_same_order_for_every_image_and_another_for_each_task():
    data = datasets.load("digits", seed=0).train[:5]
    one, other = study.permuted(data, 1), study.permuted(data, 2)
    assert torch.equal(study.permuted(data, 0).x, data.x)
    assert torch.equal(one.x.flatten(1).sort().values, data.x.flatten(1).sort().values)
    assert not torch.equal(one.x, other.x)
    assert torch.equal(study.permuted(data[2:3], 1).x, one.x[2:3])


def test_sizes_have_their_curve_memory_and_bounds():
    table = study.size_and_noise("digits", 0.0, 0, sizes=[20, 60], **{k: v for k, v in SIZES.items() if k != "n"})
    assert (table["n"].tolist(), table["n"].dtype.kind) == ([20, 60], "i")
    first, second = (table["static"] / 40).tolist()
    assert table["sdl_curve"].tolist() == pytest.approx([20 * first, 20 * second + 40 * (second - first)])
    assert ((table["memorised"] > 0) & (table["memorised"] <= table["n"] * math.log2(10))).all()
    pool = study.parts("digits", 0, n=60, k=40)[0]
    code = transfer.prequential_codelength(
        initial=study.start(pool, [8], 0), data=pool, ends=[0, 8, 16, 20, 32, 60], **CODE
    )
    beyond = [float(code.costs[:3].sum()) - 20 * math.log2(10), code.bits - 60 * math.log2(10)]
    assert (table["L(M)"] - table["memorised"]).tolist() == pytest.approx(beyond, abs=1e-3)
    assert table["L0"].iloc[0] - table["L"].iloc[1] == pytest.approx(table["L_IT"].iloc[1])


def test_forgetting_has_references_methods_and_both_tasks():
    methods = {"plain": 0, "EWC": 10, "replay": 20, "joint": 0, "LwF": 4}
    for second in ("permuted", "split"):
        table = study.forgetting("digits", second, 0, methods=methods, **SIZES)
        assert set(table["network"]) == {*methods, "after A", "B only", "after A, own heads", "B only, own heads",
                                         "own heads"}  # fmt: skip
        rows = table.set_index(["task", "network"])
        assert rows.loc[("A", "after A"), "accuracy"] > rows.loc[("A", "B only"), "accuracy"] + 0.2
        assert rows.loc[("B", "B only"), "accuracy"] > rows.loc[("B", "after A"), "accuracy"] + 0.2


def test_retentions_use_the_references_of_their_heads_and_exchange_them_for_the_second_task():
    L_IT = {"after A": 100, "B only": -20, "plain": 40, "after A, own heads": 50, "B only, own heads": 0, "LwF": 25}
    rows = [
        {"network": name, "L_IT": bits, "raw": 2 * bits + 10, "task": task}
        for name, bits in L_IT.items()
        for task in "AB"
    ]
    found = study.retentions(pd.DataFrame(rows).assign(second="x", seed=0)).set_index(["task", "method"])
    assert found["retention"].to_dict() == {
        ("A", "plain"): 0.5,
        ("A", "LwF"): 0.5,
        ("B", "plain"): 0.5,
        ("B", "LwF"): 0.5,
    }
    assert found["forgetting"].tolist() == [60, 25, -60, -25]
    assert found.loc[("A", "plain"), "share"] == 0.4
    assert found.loc[("A", "plain"), "raw share"] == 90 / 210


def test_a_memory_holds_equally_many_samples_of_each_old_task(monkeypatch):
    seen = []
    monkeypatch.setattr(
        study.learning, "train", lambda model, data, **options: seen.append((len(data), options)) or model
    )
    study.tasks_in_sequence("digits", 0, tasks=3, methods={"replay": 20, "joint": 0}, **SIZES)
    assert [(n, len(o.get("memory") or [])) for n, o in seen] == [(100, 0), (100, 20), (100, 20), (300, 0)]
    assert seen[-1][1]["steps"] == 180


def test_in_a_sequence_of_tasks_each_one_before_has_a_term_and_lwf_a_head(monkeypatch):
    seen, train = [], study.learning.train

    def watched(model, data, *, head, term, **options):
        seen.append((head.start, len(term.args[0]) if term else 0))
        if term:
            zero = study.learning.zero_head(model)
            each = [part(zero, data.x) for part in term.args[0]]
            assert term(zero, data.x).item() == pytest.approx(sum(e.item() for e in each))
        return train(model, data, head=head, term=term, **options)

    monkeypatch.setattr(study.learning, "train", lambda *args, term=None, **o: watched(*args, term=term, **o))
    table = study.tasks_in_sequence("digits", 3, tasks=3, methods={"EWC": 10, "LwF": 4, "own heads": 0}, **LARGER)
    assert seen == [(None, 0), (None, 1), (None, 2), (0, 0), (10, 1), (20, 2), (0, 0), (10, 0), (20, 0)]
    accuracy = table.set_index(["method", "task"])["accuracy"]
    assert accuracy["LwF", 1] > accuracy["own heads", 1] + 0.05  # it forgets less
    assert (accuracy[:, 3] > 0.4).all()  # of three tasks that are mapped to three heads


@pytest.mark.parametrize(("text", "classes"), [("digits 0-4", 5), ("digits 5-9", 5), ("digits permuted", 10)])
def test_named_sets(text, classes):
    data = study._named(text, 0, 50, half=0)
    assert (len(data), int(data.y.max()) + 1) == (50, classes)
    assert transfer.overlap(data, study._named(text, 0, 500, half=1)) == 0


def test_features_keep_the_labels_and_permuted_ones_save_nothing_much():
    table = study.features("digits 5-9", "digits 0-4", 0, **SIZES)
    assert table["features"].tolist() == ["pixels", "random", "other task"]
    assert table["saved"][0] == 0
    assert (table["share"] * 40 * math.log2(5)).tolist() == pytest.approx(table["saved"].tolist())
    shuffled = study.features("digits 5-9", "digits 0-4", 0, shuffle=True, **SIZES)
    assert (shuffled["L"] > 0.8 * 40 * math.log2(5)).all()
    assert (table["L"] < shuffled["L"]).all()


def test_information_adds_up_to_the_code_and_knows_its_classes():
    table = study.information("digits", 0, n=200, hidden=[8], code=CODE, classes=range(5))
    assert table["set"].unique().tolist() == ["digits 200, 0–4"]
    assert table["labels"].sum() == table["end"].iloc[-1]
    assert table["bits"][0] == pytest.approx(8 * math.log2(5))


def test_sets_whose_labels_mean_the_same_keep_the_last_layer(monkeypatch):
    """Its static reading is 0 where the last layer is new."""
    digits, named = study._named("digits", 0, 100, half=0), []
    monkeypatch.setattr(study, "_named", lambda text, *_args, **_options: named.append(text) or digits)
    for pair, same in ((["fashion-mnist"] * 2, True), (["fashion-mnist", "mnist"], False), (["a 0-4", "a 5-9"], False)):
        static = study.shared(*pair, 0, **SIZES)["static"]
        assert (static != 0).tolist() == [same, same]
    assert named[:2] == ["fashion-mnist"] * 2


def test_increments_are_what_a_second_set_adds_less_than_alone():
    fit = {"steps": 200, "lr": 5e-3}
    one, apart = (study.increments(*pair, 0, **SIZES | {"fit": fit, "k": 120})
                  for pair in (("digits", "digits"), ("digits 0-4", "digits 5-9")))  # fmt: skip
    for table in (one, apart):
        assert table["direction"].tolist() == ["A to B", "B to A"]
        assert table["shared"].tolist() == pytest.approx((table["A"] + table["B"] - table["both"]).tolist())
        assert (table["share"] * 120 * math.log2(10)).tolist() == pytest.approx(table["shared"].tolist())
        assert (table["both"] > table[["A", "B"]].max(axis=1)).all()
    assert (one["shared"] > 0).all()
    assert (apart["shared"] < one["shared"] - 12).all()


def test_increments_are_of_a_hold_out_of_both_sets_and_labels_keep_their_meaning(monkeypatch):
    seen = {}
    monkeypatch.setattr(study.transfer, "compare", lambda *args, **_options: seen.update(holdout=args[2])
                        or pd.DataFrame({"L_IT": [0.0, 1.0, 2.0, 4.0, 5.0]}))  # fmt: skip
    table = study.increments("digits 0-4", "digits 5-9", 0, **SIZES)
    assert table[["A", "B", "both", "shared"]].to_numpy().tolist() == [[1, 2, 4, -1], [1, 2, 5, -2]]
    assert sorted((seen["holdout"].y >= 5).tolist()) == [False] * 20 + [True] * 20
    for half, text in enumerate(("digits 0-4", "digits 5-9")):
        assert transfer.overlap(seen["holdout"], study._named(text, 0, 111, half=half)) == 0


def test_shared_and_width_and_table():
    table = study.shared("digits", "digits permuted", 0, **SIZES)
    assert table["direction"].tolist() == ["A to B", "B to A"]
    assert (table["share"] * table["k"] * math.log2(10)).tolist() == pytest.approx(table["L_IT"].tolist())
    assert table[["n", "k"]].to_numpy().tolist() == [[90, 36], [36, 90]]
    wide = study.width("digits", 0, factor=4, **SIZES)
    assert wide["weights"].tolist() == [64 * 8 + 8 + 90, 64 * 32 + 32 + 330]
    found = study.table_task(0)
    assert found["network"] == pytest.approx(found["counted"], abs=0.1)
    assert found["counted"] > found["other blocks"] + 10


def test_standardised_features_do_not_know_the_labels():
    """A code of features that are the labels is short; the same with the labels of others is not."""
    y = torch.randint(5, (64,), generator=torch.Generator().manual_seed(0))
    kinds = {"labels": torch.eye(5)[y], "others": torch.eye(5)[y.roll(1)]}
    L = study._codelengths(kinds, y, 0, hidden=[8], code=CODE).set_index("features")["L"]
    assert L["labels"] < 0.8 * L["others"]


def test_joined_data():
    data = Data(torch.arange(3.0)[:, None], torch.arange(3))
    assert study.join([data, data[:1]]).y.tolist() == [0, 1, 2, 0]
