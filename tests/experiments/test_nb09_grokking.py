import dataclasses
import itertools
import math

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from infolib import training
from infolib.data import Data
from infolib.estimators import discrete, renyi
from workbook import models, records
from workbook.experiments import nb09_grokking as study

NOTEBOOK = "09_grokking"
SMALL = study.Network(p=11, share=0.5, few=0.3, lr=1e-2, steps=100, width=16, hidden=32)
HOW = study.Measured(n=60, k=20, permutations=1, steps=2, pairs=4)
ALL = study.Measured(n=121, k=20, permutations=1, steps=2, pairs=4)


def parameters(**changes):
    network = {"p": 11, "share": 0.5, "few": 0.3, "lr": 0.01, "steps": 100}
    return {
        "networks": [network], "arms": ["groks", "permuted labels"], "measured": {"n": 60, "k": 20},
        "checkpoints": [0, 50, 75, 100], "part": 0.1, "n_seeds": 2,
    } | changes  # fmt: skip


class Table(nn.Module):
    """A lookup table: a unit for each pair, of seven scales, and an entry for each unit."""

    def __init__(self, p, y):
        super().__init__()
        self.p, self.hidden, self.output = p, nn.Identity(), nn.Linear(p * p, p, bias=False)
        self.embedding = nn.Embedding(p, 2)
        self.scale = 1 + torch.arange(p * p) % 7 / 10
        self.output.weight.data = 9 * one_hot(y).float().T / self.scale

    def forward(self, x):
        return self.output(self.hidden(one_hot(x[:, 0] * self.p + x[:, 1], self.p**2) * self.scale))


def by_hand(p, ks, phases=16):
    """Modular addition from Fourier features: ReLUs of cos(wa + u) + cos(wb + u) at all phases u, read at 2u."""
    model = models.embedding_mlp(p, width=2 * len(ks), hidden=phases * len(ks), seed=0).eval()
    w, n = 2 * math.pi * torch.tensor(ks) / p, torch.arange(p)
    u = 2 * math.pi * torch.arange(phases) / phases
    table = torch.stack([(n[:, None] * w).cos(), (n[:, None] * w).sin()], 2).flatten(1)
    rows = torch.block_diag(*[torch.stack([u.cos(), -u.sin()], 1)] * len(ks))
    read = torch.cat([(n[:, None] * f + 2 * u).cos() for f in w], 1)
    parts = [*model.get_submodule("embedding")]
    weights = [parts[0].weight, parts[1].weight, model.get_submodule("hidden.linear").weight, model.output.weight]
    for weight, value in zip(weights, (table, table, rows, read), strict=True):
        weight.data = value.float()
    return model


def look(model, data, how=ALL, layers=("hidden", "output")):
    table = study.measured(model, data, list(layers), how=how, known=data,
                           untrained=model, seed=0)  # fmt: skip
    return table.set_index(["layer", "quantity", "ratio", "alpha"])


# the task, and networks whose information is known


@pytest.mark.parametrize("p", [11, 31])
def test_a_sum_shares_nothing_with_one_number_and_everything_with_both(p):
    data = study.pairs(p)
    a, b = data.x.T
    assert data.y.tolist() == [(i + j) % p for i in range(p) for j in range(p)]
    assert discrete.mutual_information(data.x, data.y).tolist() == pytest.approx([0, 0], abs=1e-9)
    assert discrete.mutual_information(discrete.symbols(a, b), data.y).item() == pytest.approx(math.log2(p))


def test_one_hot_inputs_have_the_same_by_gram_matrices():
    p = 11
    data = study.pairs(p)
    inputs = one_hot(data.x)  # so narrow a kernel tells all pairs apart
    A, B, AB = (renyi.gram(x.double(), width=0.05) for x in (inputs[:, 0], inputs[:, 1], inputs))
    C = renyi.label_gram(data.y)
    found = [renyi.mutual_information(T, C, alpha=1).item() for T in (A, B, AB)]
    assert found == pytest.approx([0, 0, math.log2(p)], abs=1e-6)


def test_a_lookup_table_has_both_numbers_without_synergy_and_the_sum_at_its_output():
    p, data = 11, study.pairs(11)
    narrow = dataclasses.replace(ALL, ratio=0.05, wide=0.05)
    found = look(Table(p, data.y).eval(), data, narrow)["value"]
    at = found.loc["hidden"][:, 0.05, 1.01]
    assert at["S(T)"] == pytest.approx(2 * math.log2(p))
    assert [at[q] for q in ("I(X;T)", "I(T;a)", "I(T;b)", "I(T;c)")] == pytest.approx(
        [2 * math.log2(p), *[math.log2(p)] * 3])  # fmt: skip
    assert at["synergy"] == pytest.approx(0, abs=1e-6)
    out = found.loc["output"][:, 0.05, 1.01]
    assert [out[q] for q in ("S(T)", "I(T;c)", "synergy")] == pytest.approx([math.log2(p)] * 3)
    assert [out[q] for q in ("I(T;a)", "I(T;b)")] == pytest.approx([0, 0], abs=1e-6)


def test_a_network_built_from_fourier_features_adds_and_its_output_has_the_sum_alone():
    p, ks = 31, (1, 5, 8)
    data, model = study.pairs(p), by_hand(31, ks)
    assert training.evaluate(model, data).accuracy == 1.0
    power = study.frequencies(model, data).set_index("frequency")["share"]
    assert power[list(ks)].tolist() == pytest.approx([1 / 3] * 3, abs=1e-6)
    few = data.shuffled(torch.Generator().manual_seed(0))
    found = look(model, few, study.Measured(n=300, k=20, steps=2))
    assert found["value"]["embedding", "leading frequencies", 0, 0] == pytest.approx(1)
    assert found["beyond"]["hidden", "I(side;c)", 0, 0] == pytest.approx(1, abs=0.2)
    beyond = found["beyond"].loc["output"][:, 0.5, 2.0]
    assert beyond["I(T;c)"] > 1 > 0.2 > abs(beyond["I(T;a)"])


def test_of_permuted_labels_no_layer_has_anything_beyond_chance():
    data = study.pairs(31).shuffled(torch.Generator().manual_seed(1))
    data = data.permuted_labels(torch.Generator().manual_seed(2))
    found = look(by_hand(31, (1, 5, 8)), data, study.Measured(n=300, k=20, steps=2))["beyond"]
    assert found.xs("I(T;c)", level="quantity").abs().max() < 0.05
    assert found.loc["hidden"][["I(unit;c)", "I(two units;c)"]].abs().max() < 0.05


def test_synergy_is_what_the_pair_has_beyond_its_numbers_and_beyond_is_the_value_minus_chance():
    data = study.pairs(31).shuffled(torch.Generator().manual_seed(1))
    found = look(by_hand(31, (1, 5, 8)), data, HOW)
    at = found["value"].loc["hidden"][:, 0.5, 1.01]
    T = renyi.label_gram(discrete.symbols(*data[:60].x.T))  # all pairs differ
    assert at["synergy"] == pytest.approx(at["S(T)"] - at["I(T;a)"] - at["I(T;b)"])
    assert renyi.entropy(T).item() == pytest.approx(math.log2(60))
    own = found.xs((0.5, 2.0), level=("ratio", "alpha"))
    assert (own["value"] > own["beyond"]).loc[("hidden", "I(T;a)")]


def test_a_code_by_a_probe_is_short_where_sums_have_directions_and_longer_where_pairs_have():
    data = study.pairs(11).shuffled(torch.Generator().manual_seed(0))
    table = Table(11, study.pairs(11).y).eval()
    name = ("hidden", "codelength of a probe", 0.0, 0.0)
    sums, single = (
        look(table, data, layers=layers)["value"][name] for layers in (("output",) * 2, ("hidden", "output"))
    )
    assert sums < 0.5 < math.log2(11) - 0.1 < single


# configurations and training


def test_configurations_differ_in_one_thing_each():
    groks, few, permuted, free = (study.split(SMALL, arm, 3) for arm in study.ARMS)
    assert [len(known) for known, _ in (groks, few, permuted, free)] == [60, 36, 60, 60]
    assert all(len(known) + len(held) == 121 for known, held in (groks, few, permuted, free))
    assert torch.equal(few[0].x, groks[0].x[:36])
    assert torch.equal(few[1].x[:61], groks[1].x)
    assert torch.equal(permuted[0].x, groks[0].x)
    assert not torch.equal(permuted[0].y, groks[0].y)
    assert torch.equal(free[0].y, groks[0].y)
    whole = {tuple(x) for part in groks for x in part.x.tolist()}
    assert len(whole) == 121


@pytest.mark.parametrize("kind", ["MLP", "transformer"])
def test_each_kind_memorises_its_pairs_by_the_step_that_the_record_asks_for(kind):
    network = dataclasses.replace(SMALL, kind=kind, steps=200, lr=1e-2, width=32, hidden=64)
    known, _ = study.split(network, "groks", 0)
    *_, (step, model) = study.train(network, "groks", known, 0)
    assert step == 200
    assert training.evaluate(model, known).accuracy == 1.0


def test_weight_decay_warm_up_and_learning_rate_are_those_of_the_record():
    known, _ = study.split(SMALL, "groks", 0)

    def after(arm="groks", steps=5, **changes):
        network = dataclasses.replace(SMALL, **changes)
        (*_, (_, model)) = itertools.islice(study.train(network, arm, known, 0), steps + 1)
        return torch.cat([weight.detach().flatten() for weight in model.parameters()])

    norm = {name: after(**changes).norm() for name, changes in {
        "own": {}, "none": {"arm": "no weight decay"}, "none by record": {"weight_decay": 0.0}}.items()}  # fmt: skip
    assert norm["own"] < norm["none"] == norm["none by record"]
    untrained = torch.cat([weight.detach().flatten() for weight in study.start(SMALL, 0).parameters()])
    assert torch.equal(after(steps=0), untrained)
    options = {"arm": "no weight decay", "steps": 1}  # Adam's first step is its learning rate
    moved = [(after(warm=warm, **options) - untrained).abs().max().item() for warm in (1, 10)]
    assert moved == pytest.approx([0.01, 0.001], rel=1e-3)


def test_a_run_measures_at_its_checkpoints_and_leaves_training_as_it_is():
    found = study.run(SMALL, "groks", 0, how=HOW, checkpoints=[0, 3, 7])
    assert found.table["step"].unique().tolist() == found.power["step"].unique().tolist() == [0, 3, 7]
    assert found.table.groupby("step").size().nunique() == 1
    assert found.power.groupby("step")["share"].sum().tolist() == pytest.approx([1] * 3)
    untrained = found.table[(found.table["step"] == 0) & (found.table["quantity"] == "L_IT")]
    assert untrained["value"].tolist() == [0.0]
    alone = study.run(SMALL, "groks", 0, how=HOW, checkpoints=[0, 7]).table
    last = found.table[found.table["step"] != 3].reset_index(drop=True)
    pd.testing.assert_frame_equal(last, alone)


# when a quantity has moved


def test_progress_is_the_part_of_the_way_and_since_the_step_from_which_on_it_is_gone():
    curve = pd.Series([9.0, 0.0, 2.0, 0.5, 4.0, 10.0], index=[0, 10, 20, 30, 40, 50])
    parts = study.progress(curve, first=10, last=50)
    assert parts.tolist() == pytest.approx([0, 0.2, 0.05, 0.4, 1])
    assert study.since(parts, 0.1) == pytest.approx(30 + 10 * 0.05 / 0.35)  # at 20 it had gone it, but went back
    assert study.since(parts, 0.3) == pytest.approx(30 + 10 * 0.25 / 0.35)
    assert study.since(parts.loc[:30], 0.1) == math.inf
    assert study.progress(curve * 0, first=10, last=50).tolist() == [0.0] * 5


STEPS = [0, 50, 100, 200, 400]
ROWS = {  # by hand: the network memorises at 50, and its accuracy has gone a tenth between 100 and 200
    ("groks", "training loss"): [5.0, 0.05, 0.0, 0.0, 0.0], ("groks", "test accuracy"): [0.1, 0.0, 0.05, 0.5, 1.0],
    ("groks", "early"): [7.0, 1.0, 3.0, 4.0, 5.0], ("groks", "flat"): [2.0] * 5,
    ("permuted labels", "training loss"): [5.0, 4.0, 3.0, 2.0, 1.0],
    ("permuted labels", "test accuracy"): [0.1] * 5, ("permuted labels", "early"): [7.0, 6.0, 5.0, 4.0, 0.0],
    ("permuted labels", "flat"): [9.0, 8.0, 7.0, 6.0, 5.0],
}  # fmt: skip


def by_seed(rows):
    index = pd.MultiIndex.from_tuples(
        [("MLP", 0, *name) for name in rows], names=["network", "seed", "arm", "quantity"]
    )
    return pd.DataFrame(list(rows.values()), index=index, columns=STEPS)


def test_moved_is_the_part_gone_at_the_last_checkpoint_before_accuracy_and_controls_have_the_same_way():
    found = study.moved(by_seed(ROWS), 0.1).loc["MLP", 0]
    assert (set(found["first"]), set(found["at"])) == ({50}, {100})
    assert found["gone"]["groks"].to_dict() == pytest.approx(
        {"training loss": 1.0, "test accuracy": 0.05, "early": 0.5, "flat": 0.0})  # fmt: skip
    assert found["since"]["groks"].to_dict() == pytest.approx(
        {"training loss": 55, "test accuracy": 100 + 100 * 0.05 / 0.45, "early": 60, "flat": math.inf})  # fmt: skip
    assert found["gone"]["permuted labels"]["early"] == pytest.approx((5 - 6) / (5 - 1))
    assert found["since"]["permuted labels"].isna().all()


def test_a_seed_that_does_not_grok_is_left_out():
    """It has no moment before grokking, and must not count as one in which nothing moves."""
    slow = ROWS | {("groks", "test accuracy"): [0.0, 0.0, 0.1, 0.2, 0.89]}
    both = pd.concat([by_seed(ROWS), by_seed(slow).rename({0: 1}, level="seed")])
    assert study.moved(both, 0.1).equals(study.moved(by_seed(ROWS), 0.1))
    with pytest.raises(ValueError, match=r"steps must be more: no network reaches a test accuracy of 0.9 in 400"):
        study.moved(by_seed(slow), 0.1)


def test_a_network_that_has_not_memorised_is_named():
    rows = ROWS | {("groks", "training loss"): [5.0, 4.0, 3.0, 2.0, 1.0]}
    with pytest.raises(ValueError, match="steps must be more: MLP, seed 0, has not memorised its pairs, got 400"):
        study.moved(by_seed(rows), 0.1)


def test_curves_are_at_one_width_and_order_and_both_numbers_together():
    found = study.run(SMALL, "groks", 0, how=HOW, checkpoints=[0, 1])
    rows = study.curves(found.table, ratio=0.5, alpha=2.0).loc["MLP, p = 11", 0, "groks"]
    table = found.table[
        (found.table["layer"] == "hidden") & (found.table["ratio"] == 0.5) & (found.table["alpha"] == 2)
    ]
    by = table.pivot(index="quantity", columns="step", values="beyond")
    assert rows.loc["hidden I(T;a,b)"].tolist() == pytest.approx(by.loc[["I(T;a)", "I(T;b)"]].mean().tolist())
    assert rows.loc["hidden I(T;c)"].tolist() == pytest.approx(by.loc["I(T;c)"].tolist())
    assert {"test accuracy", "training loss", "embedding leading frequencies", "output L_IT"} <= set(rows.index)
    assert rows.index.is_unique


# refusals


@pytest.mark.parametrize(("changes", "message"), [
    ({"p": 33}, r"networks\[0\].p must be int that is a prime from 11 to 199, got 33"),
    ({"p": 7}, r"networks\[0\].p must be int that is a prime from 11"),
    ({"share": 1.0}, r"networks\[0\].share must be float from 0.01 to 0.99, got 1.0"),
    ({"share": 0.99}, r"networks\[0\], share 0.99: n of measured must be a number from 10 to 1, got 60"),
    ({"share": 0.05, "few": 0.04}, r"networks\[0\]: share must be such that 11 pairs or more are in it, got 0.05"),
    ({"few": 0.5}, r"networks\[0\]: few must be below share, 0.5, got 0.5"),
    ({"steps": 99}, r"networks\[0\]: steps must be at least 100 at lr 0.01, or it cannot memorise, got 99"),
    ({"width": 30}, r"networks\[0\]: width must be a multiple of 4, the heads"),
    ({"kind": "CNN"}, r"networks\[0\].kind must be one of 'MLP', 'transformer', got 'CNN'"),
])  # fmt: skip
def test_networks_that_cannot_show_anything_are_refused_before_the_run(changes, message):
    network = parameters()["networks"][0] | changes
    with pytest.raises(ValueError, match=f"^notebook {NOTEBOOK}: {message}"):
        records.prepared(NOTEBOOK, parameters(networks=[network]))


@pytest.mark.parametrize(("name", "value", "message"), [
    ("checkpoints", [0, 50, 100, 101], r"networks\[0\], share 0.5: the last of checkpoints must be at most 100,"),
    ("checkpoints", [1, 50, 75, 100], "checkpoints must be a list that begins at 0, the untrained network, got"),
    ("checkpoints", [0, 50, 50, 100], "checkpoints must be list.* in rising order"),
    ("arms", ["groks", "no weight decay"], "arms must be with groks and permuted labels, got"),
    ("measured", {"n": 62, "k": 20}, r"networks\[0\], share 0.5: n of measured must be a number from 10 to 61, got 62"),
    ("measured", {"n": 60, "k": 62}, r"networks\[0\], share 0.5: k of measured must be a number from 10 to 61, got 62"),
    ("networks", [], "the number of networks must be an integer of at least 1, got 0"),
    ("part", 0.6, "part must be float from 0.01 to 0.5, got 0.6"),
])  # fmt: skip
def test_parameters_that_cannot_be_are_refused_before_the_run(name, value, message):
    with pytest.raises(ValueError, match=f"^notebook {NOTEBOOK}: {message}"):
        records.prepared(NOTEBOOK, parameters(**{name: value}))


def test_records_of_the_notebook_are_built_with_the_defaults_that_claims_depend_on():
    networks, how = records.prepared(NOTEBOOK, parameters())
    assert networks[0].name == "MLP, p = 11"
    assert (networks[0].weight_decay, networks[0].warm, networks[0].width, networks[0].hidden) == (1.0, 10, 128, 256)
    assert (how.ratio, how.wide, how.permutations, how.steps, how.pairs) == (0.5, 1.0, 2, 30, 32)
    assert (study.LEADING, study.BY_HEART, study.MEMORISED) == (3, 0.1, 0.5)
    assert study.Network(kind="transformer", p=11, share=0.5, few=0.3, lr=0.01, steps=100).layers[0] == (
        "perceptron.hidden")  # fmt: skip


def test_held_out_pairs_are_never_trained_on():
    known, held = study.split(SMALL, "too few pairs", 0)
    assert not {*map(tuple, known.x.tolist())} & {*map(tuple, held.x.tolist())}
    assert isinstance(held, Data)
