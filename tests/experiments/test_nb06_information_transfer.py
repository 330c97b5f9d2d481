import dataclasses
import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from infolib import activations, training
from infolib.data import Data
from infolib.measures import transfer
from workbook import datasets, models, records
from workbook.experiments import nb06_information_transfer as study
from workbook.experiments import nb06_known as truth
from workbook.experiments import nb06_measures as measure

NOTEBOOK = "06_information_transfer"
NETWORK = study.Network(hidden=(8,), steps=60, lr=5e-3, at_once=True)
CODING = study.Coding(steps=30, lr=5e-3, at_once=True, mixture=False)
SAMPLES = study.Samples(data="digits", n=100, small=90, k=40, probe=40)
LARGER = {"network": dataclasses.replace(NETWORK, hidden=(32,), steps=200), "coding": CODING}
SMALL = {"network": NETWORK, "coding": CODING}
LOW, HIGH = (study.Sample(data="digits", classes=classes) for classes in ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9)))
ALL = study.Sample(data="digits")
CODE = {"learner": partial(transfer.networks, steps=30, batch_size=32, lr=5e-3), "batched": True, "calibrate": True}


def parameters(**changes):
    """Those of the notebook, as small as they may be."""
    low, high = ({"data": "digits", "classes": list(one.classes)} for one in (LOW, HIGH))
    return {
        "sets": ["digits"], "sizes": [50, 100],
        "samples": {"data": "digits", "n": 100, "small": 90, "k": 40}, "network": {"hidden": [8], "steps": 10},
        "coding": {"steps": 10}, "codes": [{"data": "digits", "n": 100}], "resnets": [], "n_seeds": 2,
        "pairs": [{"first": {"data": "digits"}, "second": {"data": "digits"}},
                  {"first": {"data": "digits"}, "second": {"data": "digits", "pixels": "permuted"}},
                  {"first": {"data": "digits"}, "second": {"data": "digits", "pixels": "half"}},
                  {"first": low, "second": high}],
        "forgetting": [{"second": second, "ewc": 100, "replay": 30} for second in ("permuted", "same")],
    } | changes  # fmt: skip


def same(one, other):
    """Whether two networks have the same weights to the last digit."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# records


def test_records_of_the_notebook_are_built():
    samples, network, coding, pairs, codes, forgetting, resnets = records.prepared(NOTEBOOK, parameters())
    assert (samples.n, network.hidden, coding.steps, codes[0].n, resnets) == (100, (8,), 10, 100, [])
    assert [pair.columns["relation"] for pair in pairs] == list(study.CLAIMED)
    assert forgetting[0].methods == {"shared": ("plain", "EWC", "replay")}


@pytest.mark.parametrize(("name", "value", "message"), [
    ("samples", {"data": "digits", "n": 100, "small": 90}, "samples lacks the field 'k'; fields: data, n, small, k, p"),
    ("samples", {"data": "digits", "n": 90, "small": 100, "k": 40}, "samples: n must be an integer of at least 100"),
    ("samples", {"data": "digits", "n": 90, "small": 5, "k": 40}, "samples.small must be int from 10 to .*, got 5"),
    ("samples", {"data": "ib", "n": 90, "small": 90, "k": 40}, "samples.data must be one of 'digits', 'mnist', 'fashi"),
    ("samples", {"data": "digits", "n": 1700, "small": 90, "k": 40}, "samples: n_train=3740 is more than"),
    ("network", {"hidden": [8], "step": 10}, "network has an unknown field 'step'"),
    ("network", {"hidden": [8.5], "steps": 10}, r"network.hidden must be list.* of one layer or more, got \[8.5\]"),
    ("network", {"hidden": [0], "steps": 10}, r"network.hidden must be list\[int from 1 to 10000\] of one"),
    ("network", {"hidden": [8], "steps": -1}, "network.steps must be int from 0 to 1000000, got -1"),
    ("network", {"hidden": [8], "steps": 1, "epochs": 2, "at_once": True}, "epochs must be 0 with at_once, got 2"),
    ("coding", {"steps": 1, "batch_size": 0}, "coding.batch_size must be int from 1 to 1000000, got 0"),
    ("coding", {"steps": 1, "lr": -0.1}, "coding.lr must be float from 1e-15 to 10, got -0.1"),
    ("coding", {"steps": 1, "epochs": math.inf}, "coding.epochs must be float from 0 to 1000000, got inf"),
    ("coding", {"steps": 1, "ratio": 1}, "coding.ratio must be float from 1.001 to 1000, got 1"),
    ("coding", {"steps": 1, "calibrate": 1}, r"coding.calibrate must be bool, got 1 \(int\)"),
    ("codes", [{"data": "digits", "n": 1797}], r"codes\[0\]: n_train=1797 is more than the 1796 samples"),
    ("codes", [{"data": "digits", "n": 5}], r"codes\[0\].n must be int from 10 to 1000000, got 5"),
    ("codes", [{"data": "mnist", "n": 60_001}], r"codes\[0\]: n_train=60001 is more than the 60000 samples"),
    ("codes", [{"data": "digits", "n": 99, "classes": [0, 2]}], r"codes\[0\].classes must be list.* in a row, two or"),
    ("codes", [{"data": "digits", "n": 99, "classes": [4]}], r"classes must be .*two or more, or none, got \[4\]"),
    ("codes", [{"data": "digits", "n": 99, "classes": [8, 9, 10]}], r"classes must be .* got \[8, 9, 10\]"),
    ("pairs", [{"first": {"data": "digits"}}], r"pairs\[0\] lacks the field 'second'"),
    ("pairs", [{"first": {"data": "digits"}, "second": "digits"}], r"pairs\[0\].second must be a dict"),
    ("pairs", [{"first": {"data": "digits"}, "second": {"data": "digits"}}], "pairs must be one of digits for each"),
    ("samples", {"data": "digits", "n": 410, "small": 90, "k": 40}, r"pairs\[3\]: n_train=1820 is more than the 1797"),
    ("samples", {"data": "digits", "n": 100, "small": 100, "k": 800}, r"samples: n_train=300 is more than the 197"),
    ("samples", {"data": "digits", "n": 100, "small": 90, "k": 40, "probe": 759}, r"pairs\[0\]: n_train=1798 is more"),
    ("samples", {"data": "digits", "n": 100, "small": 90, "k": 1797}, "k of samples must be a .* 10 to 1796, got 1797"),
    ("forgetting", [{"second": "split", "ewc": 1, "replay": 1, "tasks": 3}], r"forgetting\[0\]: tasks must be 2 if"),
    ("forgetting", [{"second": "split", "ewc": 1, "replay": 1, "order": [1, 1]}],
     r"forgetting\[0\]: order must be a permutation of \[0, 1\], or none, got \(1, 1\)"),
    ("forgetting", [{"second": "permuted", "tasks": 3, "ewc": 1, "replay": 1, "order": [2, 1]}],
     r"forgetting\[0\]: order must be a permutation of \[0, 1, 2\], or none, got \(2, 1\)"),
    ("forgetting", [{"second": "permuted", "ewc": 1, "replay": 0}], r"forgetting\[0\].replay must be int from 1"),
    ("forgetting", [{"second": "permuted", "ewc": 1, "replay": 9, "tasks": 3}], "must be a list of 2 tasks twice or"),
    ("forgetting", [{"second": "permuted", "ewc": 1, "replay": 9, "tasks": 11}],
     r"forgetting\[0\].tasks must be int from 2 to 10, got 11"),
    ("forgetting", [{"second": "permuted", "ewc": 1, "replay": 9}], "of which one is `same`, as claims need"),
    ("codes", [{"data": "digits", "n": 99, "learner": "tree"}], r"codes\[0\].learner must be one of 'perceptron"),
    ("forgetting", [{"second": "shuffled", "ewc": 1, "replay": 9}], r"forgetting\[0\].second must be one of 'permuted"),
    ("resnets", [{"layers": ["stem", "stage4"]}], r"resnets\[0\]: unknown layer 'stage4'; allowed: stem, stage1"),
    ("resnets", [{"layers": ["stem", "output"], "depth": 21}], r"resnets\[0\].depth must be one of .*56, got 21"),
    ("sets", ["digits", "digit"], "sets must be list.*'digits', 'mnist', .* got .*'digit'"),
    ("sizes", [100], r"sizes must be .* of 2 or more, all different, got"),
    ("sizes", [100, 50], r"sizes must be .* in rising order .* got \[100, 50\]"),
    ("sizes", [100, 1700], "sizes: n_train=1870 is more than the 1757 samples available of digits"),
    ("n_seeds", 1, "n_seeds must be int from 2 to 1000000, as an interval takes two, got 1"),
])  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_runs(name, value, message):
    with pytest.raises(ValueError, match=f"notebook {NOTEBOOK}: .*{message}"):
        records.prepared(NOTEBOOK, parameters(**{name: value}))


@pytest.mark.parametrize("change", [{"steps": 20}, {"epochs": 1}, {"lr": 0.01}, {"batch_size": 16}])
def test_codes_are_trained_like_the_networks_whose_learning_curve_they_follow(change):
    (name, value), alike = *change.items(), {"steps": 10} | change
    records.prepared(NOTEBOOK, parameters(network={"hidden": [8]} | alike, coding=alike))
    with pytest.raises(ValueError, match=f"coding must be as in network, .*, got .*'{name}': {value}"):
        records.prepared(NOTEBOOK, parameters(coding=alike))


def test_the_official_test_images_are_for_tests_alone():
    wide, long = (
        {"data": "mnist", "small": 90} | samples for samples in ({"n": 27_274, "k": 40}, {"n": 90, "k": 10_001})
    )
    with pytest.raises(ValueError, match="samples: n_train=60002 is more than the 60000 samples available of mnist"):
        records.prepared(NOTEBOOK, parameters(samples=wide))
    with pytest.raises(ValueError, match=r"k of samples must be a .* from 10 to 10000, got 10001"):
        records.prepared(NOTEBOOK, parameters(samples=long, sets=["mnist"]))


def test_split_classes_take_two_and_a_half_times_as_many_samples():
    records.prepared(NOTEBOOK, parameters(samples={"data": "digits", "n": 400, "small": 90, "k": 150}))
    halves = [{"second": second, "ewc": 1, "replay": 1} for second in ("split", "same")]
    samples = {"data": "digits", "n": 400, "small": 90, "k": 300}
    with pytest.raises(ValueError, match="samples: n_train=1100 is more than the 1047 samples available of digits"):
        records.prepared(NOTEBOOK, parameters(samples=samples, forgetting=halves))


def test_defaults_are_those_of_the_paper_profile():
    schedule = study.Schedule(steps=1)
    assert (schedule.epochs, schedule.batch_size, schedule.lr, schedule.at_once) == (0, 32, 1e-3, False)
    coding = study.Coding(steps=1)
    assert (coding.calibrate, coding.mixture, coding.first, coding.ratio) == (True, True, 8, 2)
    two = study.Forgetting(second="split", ewc=1, replay=1)
    assert (two.tasks, two.ewc_samples, two.lwf, two.temperature, two.classes) == (2, 200, None, 2, 5)
    assert (study.Samples(data="digits", n=10, small=10, k=10).probe, study.ResNet(layers=()).depth) == (100, 20)


def test_names_and_relations_of_pairs():
    permuted, other = study.Sample(data="digits", pixels="permuted"), study.Sample(data="mnist")
    found = [study.Pair(first=a, second=b).columns for a, b in ((LOW, HIGH), (ALL, permuted), (ALL, ALL), (ALL, other))]
    assert [columns["relation"] for columns in found] == ["other classes", "permuted pixels", "same", "other data"]
    assert [columns["pair"] for columns in found[:2]] == ["digits 0–4 | digits 5–9", "digits | digits permuted"]
    assert study.Whole(data="digits", n=1200, classes=(0, 1)).name == "digits 1,200, 0–1"
    assert study.Whole(data="mnist", n=60_000, learner="cnn").name == "mnist 60,000, CNN"
    half = study.Sample(data="digits", pixels="half")
    assert study.Pair(first=ALL, second=half).columns["relation"] == "half brightness"
    assert half.name == "digits half as bright"
    assert torch.equal(2 * study.sample(half, 0, 9, half=0).x, study.sample(ALL, 0, 9, half=0).x)
    assert study.Forgetting(second="split", order=(1, 0), ewc=1, replay=1).name == "split 1 0"


@pytest.mark.parametrize("at_once", [True, False])
def test_a_schedule_is_followed_in_training_and_in_codes(at_once):
    schedule = {"steps": 5, "batch_size": 7, "lr": 0.01, "at_once": at_once} | ({} if at_once else {"epochs": 3})
    data = study.parts("digits", 0, n=40, k=10)[0]
    theta = study.start(data, [8], 0)
    (found,) = study.trained([theta], [data], 4, study.Network(hidden=(8,), **schedule))
    options = {name: value for name, value in schedule.items() if name != "at_once"}
    expected = training.train_many([theta], [data], seed=4, **options)[0] if at_once else (
        training.train(theta, data, seed=4, **options))  # fmt: skip
    assert same(found, expected)
    code = study.Coding(**schedule, first=5, ratio=3).of(40, extra=[10])
    assert code["ends"] == [0, 5, 10, 15, 40]
    learnt = code["learner"]([theta], [data], 4)[0] if at_once else code["learner"](theta, data, 4)
    assert same(learnt, expected)
    assert (code["batched"], code["calibrate"], code["mixture"]) == (at_once, True, True)


# data


def test_parts_are_disjoint_and_noise_redraws_its_share_of_labels():
    clean, noisy = (study.parts("digits", 0, n=800, k=300, noise=noise) for noise in (0, 0.5))
    assert [len(part) for part in clean] == [800, 100, 300]
    assert [len(part) for part in study.parts("digits", 0, n=1500, k=100)] == [1500, 150, 100]
    assert transfer.overlap(clean[0], clean[2]) == transfer.overlap(clean[1], clean[2]) == 0
    assert transfer.overlap(clean[0], clean[1]) == 0
    assert all(torch.equal(a.x, b.x) for a, b in zip(clean, noisy, strict=True))
    assert (clean[0].y != noisy[0].y).double().mean() == pytest.approx(0.45, abs=0.06)
    assert study.parts("digits", 0, n=800, k=300, noise=1)[0].y.bincount(minlength=10).min() > 40


def test_samples_are_of_their_classes_and_the_halves_have_none_in_common():
    permuted = study.Sample(data="digits", pixels="permuted")
    for which, labels in ((LOW, range(5)), (HIGH, range(5)), (permuted, range(10))):
        data = study.sample(which, 0, 100, half=0)
        assert (len(data), sorted(set(data.y.tolist()))) == (100, list(labels))
        assert transfer.overlap(data, study.sample(which, 0, 500, half=1)) == 0
    halves = [study.sample(ALL, 0, 2000, half=half) for half in (0, 1)]
    assert [len(half) for half in halves] == [898, 899]  # as many as there are
    assert transfer.overlap(*halves) == 0
    assert set(study.sample(HIGH, 0, 100, half=0, renumber=False).y.tolist()) == set(range(5, 10))
    plain = study.sample(ALL, 0, 100, half=0)
    assert torch.equal(plain.permuted_pixels(seed=1).x, study.sample(permuted, 0, 100, half=0).x)


def test_a_tenth_of_each_set_of_a_pair_calibrates():
    (a, rest_a), (b, rest_b) = study.divided(study.Pair(first=ALL, second=LOW), 0, SAMPLES)
    assert [len(part) for part in (a, rest_a, b, rest_b)] == [90, 10, 99, 12]
    whole = Data.joined([a, rest_a])
    assert torch.equal(whole.x, study.sample(ALL, 0, 100, half=0).x)
    assert torch.equal(Data.joined([b, rest_b]).y, study.sample(LOW, 0, 111, half=1).y)


def test_what_is_learnt_in_increments_has_a_hold_out_of_both_sets_and_labels_that_keep_their_meaning():
    (high, low), *_ = study.both(study.Pair(first=HIGH, second=LOW), 0, SAMPLES)
    assert (high.y.min(), low.y.max()) == (5, 4)
    (one, other), *_ = study.both(study.Pair(first=ALL, second=ALL), 0, SAMPLES)
    assert transfer.overlap(one, other) == 0
    (a, b), rest, holdout = study.both(study.Pair(first=LOW, second=HIGH), 0, SAMPLES)
    assert [len(part) for part in (a, b, rest, holdout)] == [90, 90, 20, 40]
    assert (a.y.max(), b.y.min()) == (4, 5)
    assert sorted((holdout.y >= 5).tolist()) == [False] * 20 + [True] * 20
    assert (holdout.y[:20] >= 5).any()  # in random order
    for part, other in ((a, rest), (b, rest), (a, holdout), (b, holdout), (rest, holdout)):
        assert transfer.overlap(part, other) == 0


def test_tasks_are_learnt_in_their_order_and_the_same_task_has_other_samples():
    plain, turned = (study.Forgetting(second="split", order=order, ewc=1, replay=1) for order in ((), (1, 0)))
    for a, b in zip(study.tasks(plain, 0, SAMPLES), study.tasks(turned, 0, SAMPLES)[::-1], strict=True):
        assert all(torch.equal(one.x, other.x) for one, other in zip(a, b, strict=True))
    first, second = study.tasks(study.Forgetting(second="same", ewc=1, replay=1), 0, SAMPLES)
    for (pool, rest, holdout), (other, same_rest, new) in (((first), (second)), ((second), (first))):
        assert [len(part) for part in (pool, rest, holdout)] == [100, 100, 40]
        assert rest is same_rest
        assert [transfer.overlap(pool, part) for part in (other, rest, holdout, new)] == [0] * 4


def test_tasks_are_permuted_pixels_or_halves_of_the_classes():
    two, three = (study.Forgetting(second="permuted", tasks=n, ewc=1, replay=1) for n in (2, 3))
    plain = study.parts("digits", 0, n=100, k=40)
    found = study.tasks(three, 0, SAMPLES)
    for i, task in enumerate(found):
        expected = [part.permuted_pixels(seed=i) if i else part for part in plain]
        assert all(torch.equal(a.x, b.x) for a, b in zip(task, expected, strict=True))
    assert len(study.tasks(two, 0, SAMPLES)) == 2
    split = study.Forgetting(second="split", ewc=1, replay=1)
    low, high = study.tasks(split, 0, dataclasses.replace(SAMPLES, n=440))
    assert [[len(part) for part in task] for task in (low, high)] == [[440, 56, 40], [440, 54, 40]]
    wide = study.parts("digits", 0, n=1100, k=100)
    assert torch.equal(high[0].y, wide[0].y[wide[0].y >= 5][:440] - 5)
    assert torch.equal(low[2].x, wide[2].x[wide[2].y < 5][:40])


# networks that learn in turn, by hand


TURN = study.Network(hidden=(8,), steps=20, batch_size=16, lr=5e-3)


def by_hand(seed, outputs):
    pools = [task[0] for task in study.tasks(study.Forgetting(second="permuted", tasks=3, ewc=1, replay=1), seed,
                                             dataclasses.replace(SAMPLES, n=250))]  # fmt: skip
    theta = training.zero_head(models.mlp([64, 8, outputs], seed=seed))
    return pools, theta, partial(training.train, seed=seed, steps=20, batch_size=16, lr=5e-3)


def test_networks_in_turn_are_those_of_their_steps_by_hand():
    pools, theta, train = by_hand(3, 10)
    record = study.Forgetting(second="permuted", ewc=50, ewc_samples=150, replay=20, lwf=4, temperature=3)
    found = measure.in_turn(pools[:2], record, 3, TURN)
    a = train(theta, pools[0])
    expected = {
        ("shared", "after A"): a, ("shared", "B only"): train(theta, pools[1]),
        ("shared", "plain"): train(a, pools[1]),
        ("shared", "EWC"): train(a, pools[1], term=training.ewc(a, pools[0], strength=50, samples=150, seed=3)),
        ("shared", "replay"): train(a, pools[1], memory=pools[0][:20]),
        ("shared", "joint"): training.train(theta, Data.joined(pools[:2]), seed=3, steps=40, batch_size=16, lr=5e-3),
    }  # fmt: skip
    _, theta, _ = by_hand(3, 20)
    a, heads = train(theta, pools[0], head=slice(0, 10)), (slice(0, 10), slice(10, 20))
    term = training.distillation(a, heads[0], weight=4, temperature=3)
    expected |= {
        ("own", "after A"): a, ("own", "B only"): train(theta, pools[1], head=heads[1]),
        ("own", "own heads"): train(a, pools[1], head=heads[1]),
        ("own", "LwF"): train(a, pools[1], head=heads[1], term=term),
    }  # fmt: skip
    assert list(found) == list(expected)
    assert [name for name in expected if not same(found[name], expected[name])] == []


def test_in_a_sequence_each_task_before_has_its_term_and_its_part_of_the_memory():
    pools, theta, train = by_hand(3, 10)
    found = measure.in_turn(pools, study.Forgetting(second="permuted", tasks=3, ewc=50, replay=21, lwf=4), 3, TURN)
    a = train(theta, pools[0])
    penalty = partial(training.ewc, strength=50, samples=200, seed=3)
    first = penalty(a, pools[0])
    b = train(a, pools[1], term=first)
    second = penalty(b, pools[1])
    assert same(found["shared", "EWC"], train(b, pools[2], term=lambda now, x: first(now, x) + second(now, x)))
    b = train(a, pools[1], memory=pools[0][:21])
    memory = Data.joined([pools[0][:10], pools[1][:10]])
    assert same(found["shared", "replay"], train(b, pools[2], memory=memory))
    assert same(found["shared", "joint"], train(theta, Data.joined(pools), steps=60))
    _, theta, _ = by_hand(3, 30)
    heads = [slice(0, 10), slice(10, 20), slice(20, 30)]
    a = train(theta, pools[0], head=heads[0])
    b = train(a, pools[1], head=heads[1], term=training.distillation(a, heads[0], weight=4, temperature=2))
    terms = [training.distillation(b, head, weight=4, temperature=2) for head in heads[:2]]
    c = train(b, pools[2], head=heads[2], term=lambda now, x: terms[0](now, x) + terms[1](now, x))
    assert same(found["own", "LwF"], c)
    assert [method for _, method in found] == ["plain", "EWC", "replay", "joint", "LwF"]


# measures


def test_sizes_are_measured_as_by_hand():
    table = measure.by_size("digits", 0.5, 0, (8,), sizes=[20, 60], k=40, **SMALL)
    assert (table["n"].tolist(), table["n"].dtype.kind) == ([20, 60], "i")
    pool, rest, holdout = study.parts("digits", 0, n=60, k=40, noise=0.5)
    theta = training.zero_head(models.mlp([64, 8, 10], seed=0))
    raw = training.train_many([theta] * 2, [pool[:20], pool], seed=0, steps=60, batch_size=32, lr=5e-3)
    ready = {n: transfer.calibrated(model, rest) for n, model in zip((20, 60), raw, strict=True)}
    rows = transfer.compare(theta, ready, holdout, **CODE)
    for column, of in (("L", "L"), ("prequential", "L_IT"), ("static", "static"), ("accuracy", "accuracy")):
        assert table[column].tolist() == rows[of][1:].tolist()
    assert set(table["L0"]) == {rows["L"][0]}
    bit, lost = math.log2(10), [transfer.block_bits(raw[0], pool[:20]), transfer.block_bits(raw[1], pool)]
    assert table["explained"].tolist() == [20 * bit - lost[0], 60 * bit - lost[1]]
    assert table["static, raw"].tolist() == [40 * bit - transfer.block_bits(model, holdout) for model in raw]
    code = transfer.prequential_codelength(initial=theta, data=pool, ends=[0, 8, 16, 20, 32, 60], **CODE)
    assert table["L(M)"].tolist() == pytest.approx([float(code.costs[:3].sum()) - lost[0], code.bits - lost[1]])
    first, second = (table["static"] / 40).tolist()
    area = [20 * first, 20 * second + 40 * (second - first)]
    assert table["area"].tolist() == pytest.approx(area)
    assert table["share of area"].tolist() == pytest.approx([area[0] / 20 / bit, area[1] / 60 / bit])
    assert (table["share of static"] * 40 * bit).tolist() == pytest.approx(table["static"].tolist())
    assert (table["memory"] * table["n"] * bit).tolist() == pytest.approx(table["explained"].tolist())
    assert (table["information"] * table["n"] * bit).tolist() == pytest.approx(table["L(M)"].tolist())
    least = np.minimum(table["L0"], table["L(M)"])
    assert (table["room"] * 40 * bit + table["prequential"]).tolist() == pytest.approx(least.tolist())
    assert (table["room, static"] * 40 * bit + table["static"]).tolist() == pytest.approx(least.tolist())
    assert (table["raw"] * 40 * bit).tolist() == pytest.approx(table["static, raw"].tolist())


def test_networks_are_compared_by_three_definitions_with_the_area_of_their_pool():
    pool, rest, holdout = study.parts("digits", 0, n=60, k=40)
    theta = study.start(pool, [8], 0)
    nets = {"a": transfer.calibrated(study.trained([theta], [pool], 1, NETWORK)[0], rest), "b": theta}
    table = measure.compare(theta, nets, {"a": pool, "b": pool[:30]}, holdout, seed=0, coding=CODING)
    rows = transfer.compare(theta, nets, holdout, **CODE)[1:]
    assert table["prequential"].tolist() == rows["L_IT"].tolist()
    assert table["static"].tolist() == rows["static"].tolist()
    for (name, net), part in zip(nets.items(), (pool, pool[:30]), strict=True):
        found = transfer.information_transfer(theta, net, holdout, adapt="sdl_curve", pool=part, **CODE)
        row = table[table["state"] == name].iloc[0]
        assert row["area"] == pytest.approx(found.bits)
        assert row["share of area"] == pytest.approx(found.bits / len(part) / math.log2(10))


def test_a_hold_out_that_overlaps_the_pool_is_refused():
    pool, _, holdout = study.parts("digits", 0, n=60, k=40)
    theta = study.start(pool, [8], 0)
    both = Data.joined([pool, holdout[:3]])
    with pytest.raises(ValueError, match="holdout must not share samples with pool, got 3 of 40 that do"):
        measure.compare(theta, {"a": theta}, {"a": both}, holdout, seed=0, coding=CODING)


@pytest.mark.parametrize("learner", ["perceptron", "cnn"])
def test_a_whole_set_is_coded_by_either_network(learner):
    table = measure.information(study.Whole(data="digits", n=100, learner=learner), 0, **SMALL)
    data = datasets.load("digits", n_train=100, n_val=0, n_test=1, seed=0).train
    data = data.shuffled(torch.Generator().manual_seed(0))
    theta = models.mlp([64, 8, 10], seed=0) if learner == "perceptron" else (
        models.cnn(in_shape=(1, 8, 8), padding=1, seed=0))  # fmt: skip
    options = CODE if learner == "perceptron" else (
        CODE | {"learner": partial(transfer.network, steps=30, lr=5e-3), "batched": False})  # fmt: skip
    code = transfer.prequential_codelength(initial=training.zero_head(theta), data=data, **options)
    assert table["bits"].tolist() == pytest.approx(code.costs.tolist())
    assert (table["end"].tolist(), table["labels"].tolist()) == ([8, 16, 32, 64, 100], [8, 8, 16, 32, 36])


def test_what_two_sets_share_is_measured_as_by_hand_and_with_permuted_labels():
    table = measure.increments(study.Pair(first=ALL, second=ALL), 0, samples=SAMPLES, **SMALL)
    (a, b), rest, holdout = study.both(study.Pair(first=ALL, second=ALL), 0, SAMPLES)
    theta, train = study.start(holdout, [8], 0), partial(study.trained, seed=0, schedule=NETWORK)
    others = {"true": a, "permuted": a.permuted_labels(torch.Generator().manual_seed(0))}
    for labels, other in others.items():
        sets = {"first": b, "second": other, "both": Data.joined([b, other])}
        first, second = train([theta] * 2, [b, other])
        nets = {"first": first, "second": second, "both": train([first], [sets["both"]])[0]}
        nets = {name: transfer.calibrated(net, rest) for name, net in nets.items()}
        by_hand = measure.compare(theta, nets, sets, holdout, seed=0, coding=CODING).set_index("state")
        for q in study.DEFINITIONS:
            rows = table[(table["direction"] == "B first") & (table["labels"] == labels) & (table["definition"] == q)]
            (row,) = rows.to_dict("records")
            bits = by_hand[q]
            shared = bits["first"] + bits["second"] - bits["both"]
            assert [row[name] for name in sets] == pytest.approx([bits[name] for name in sets], abs=0.5)
            n = 180 if q == "area" else 40
            assert (row["shared"], row["share"]) == pytest.approx((shared, shared / n / math.log2(10)), abs=1)


@pytest.mark.parametrize(("second", "classes"), [("permuted", 10), ("split", 5)])
def test_forgetting_is_measured_as_by_hand(second, classes):
    record = study.Forgetting(second=second, ewc=10, replay=20, lwf=4)
    table = measure.forgetting(record, 0, samples=SAMPLES, **SMALL)
    tasks = study.tasks(record, 0, SAMPLES)
    networks = measure.in_turn([task[0] for task in tasks], record, 0, NETWORK)
    assert list(zip(table["heads"], table["method"], table["task"], strict=True)) == [
        (*name, task) for task in "AB" for name in networks
    ]
    for task, (pool, rest, holdout) in zip("AB", tasks, strict=True):
        theta, own = study.start(holdout, [8], 0, classes), slice(0, classes) if task == "A" else slice(classes, None)
        each = {name: training.narrow(model, own) if "own" in name else model for name, model in networks.items()}
        rows = transfer.compare(theta, {n: transfer.calibrated(m, rest) for n, m in each.items()}, holdout, **CODE)[1:]
        found = table[table["task"] == task]
        for column, of in (("prequential", "L_IT"), ("static", "static"), ("accuracy", "accuracy")):
            assert found[column].tolist() == rows[of].tolist()
        step = (
            found["area"].diff() / found["static"].diff()
        )  # of one pool: the static value times n / k, and a constant
        assert step.dropna().tolist() == pytest.approx([len(pool) / 40] * (len(found) - 1), rel=1e-6)
        uniform = 40 * math.log2(classes)
        assert found["raw"].tolist() == [uniform - transfer.block_bits(model, holdout) for model in each.values()]
    accuracy = table.set_index(["task", "heads", "method"])["accuracy"]
    assert accuracy["A", "shared", "after A"] > accuracy["A", "shared", "B only"] + 0.2
    assert accuracy["B", "shared", "B only"] > accuracy["B", "shared", "after A"] + 0.2


def test_in_a_sequence_lwf_forgets_less_than_plain_training_and_learns_every_task():
    record = study.Forgetting(second="permuted", tasks=3, ewc=10, replay=20, lwf=4)
    table = measure.forgetting(record, 3, samples=dataclasses.replace(SAMPLES, n=200, k=100), **LARGER)
    accuracy = table.set_index(["method", "task"])["accuracy"]
    assert accuracy["LwF", "A"] > accuracy["plain", "A"] + 0.05
    assert (accuracy[:, "C"] > 0.4).all()  # of three tasks that are mapped to three heads


def test_features_are_coded_as_by_hand():
    pair = study.Pair(first=LOW, second=HIGH)
    table = measure.of_networks(pair, 0, samples=SAMPLES, **SMALL)
    true, permuted = (table[table["labels"] == labels] for labels in ("true", "permuted"))
    names = ["pixels", "perceptron, random", "perceptron, other task", "CNN, random", "CNN, other task"]
    assert true["features"].tolist() == permuted["features"].tolist() == names
    source, task = study.sample(LOW, 0, 100, half=0), study.sample(HIGH, 0, 180, half=1)
    mlp, cnn = study.start(source, [8], 0, 5), study.start(source, None, 0, 5)
    (other,) = study.trained([mlp], [source], 0, NETWORK)
    features = [task.x.flatten(1), mlp[:2](task.x).detach(), other[:2](task.x).detach()]
    features.append(activations.collect(cnn, task.x, ["fc1"])["fc1"])
    lengths = []
    for x in features:
        data = Data((x - x.mean()) / x.std(), task.y)
        theta = training.zero_head(models.mlp([x.shape[1], 8, 5], seed=0))
        code = transfer.prequential_codelength(initial=theta, data=data[:40], ends=[0, 8, 16, 32, 40], **CODE)
        (net,) = training.train_many([theta], [data[:40]], steps=30, lr=5e-3, seed=0)
        final = transfer.calibrated(net, data[40:140])
        how = {"ends": [0, 8, 16, 32, 40], "pool": data[:40], "adapt": "sdl_curve"}
        curve = transfer.information_transfer(theta, final, data[140:], **how, **CODE)
        lengths.append([code.bits, curve.trained, curve.initial])
    lengths = np.array(lengths) / 40 / math.log2(5)
    for i, q in enumerate(study.DEFINITIONS):
        assert true[f"share of {q}"][:4].tolist() == pytest.approx((lengths[0, i] - lengths[:, i]).tolist(), abs=1e-4)


@pytest.mark.data
def test_layers_of_the_public_resnet_are_coded_beside_pixels_of_test_images():
    net = study.ResNet(layers=("stem", "stage3.block3"))
    random, trained = (measure.of_resnet(net, w, 0, samples=SAMPLES, **LARGER) for w in ("random", "trained"))
    assert random["features"].tolist() == trained["features"].tolist() == ["pixels", *net.layers]
    for q in study.DEFINITIONS:
        assert trained[f"share of {q}"][2] > random[f"share of {q}"][2] + 0.1


# positive controls

KNOWN = {"network": study.Network(hidden=(64,), steps=50, lr=0.01, at_once=True),
         "coding": study.Coding(steps=50, lr=0.01, at_once=True)}  # fmt: skip


@pytest.fixture(scope="module")
def known():
    return truth.answers(3, layers=["first", "second", "third", "last"], **KNOWN)


def test_a_known_image_shows_its_kind_and_a_kind_has_one_class_and_each_step_brings_new_ones():
    pool, rest, holdout = truth.in_steps(0, [20, 40, 80])
    kinds = pool.x.argmax(1)
    assert torch.equal(kinds // truth.KINDS, pool.y)
    assert [sorted({*(kinds[part] % 5).tolist()}) for part in (slice(20), slice(20, 40), slice(40, 80))] == [
        [0], [1, 2], [3, 4]]  # fmt: skip
    assert len({*(holdout.x.argmax(1) % 5).tolist()}) == len({*(rest.x.argmax(1) % 5).tolist()}) == 5
    turned = truth.images(50, 1, turn=1, other=True)
    assert torch.equal((turned.x.argmax(1) - 50) // 5, (turned.y - 1) % 10)
    assert transfer.overlap(pool, holdout) == 0


def test_at_the_smallest_size_what_is_known_is_memorised_or_wrong():
    found = truth.checks(3, **KNOWN).set_index("experiment")
    assert found.loc["once", "information"] == pytest.approx(1, abs=0.05)
    assert found.loc["turned", "raw"] < -0.3


def test_by_each_definition_transfer_grows_with_the_kinds_seen_and_falls_with_noise(known):
    for q in study.DEFINITIONS:
        by = known.sizes.pivot(index="n", columns="noise", values=q)
        assert by[0].is_monotonic_increasing
        assert (by.loc[400].diff().dropna() < 0).all()
    assert known.sizes.set_index("noise").loc[1, "share of static"].abs().max() < 0.05
    assert known.widths["static"].pct_change().abs().max() < 0.1


def test_by_each_definition_sets_share_their_kinds_and_nothing_else(known):
    by = known.pairs.pivot(index="relation", columns="direction", values=[*study.DEFINITIONS])
    for q in study.DEFINITIONS:
        assert (by[q].loc["same"] > 100).all()
        assert by[q].loc["permuted pixels"].mean() < by[q].loc["same"].mean() / 4
        rows = known.increments[known.increments["definition"] == q].groupby("labels")["share"].mean()
        assert rows["true"] > rows["permuted"] + 0.1
    assert (by["prequential"].loc["other classes"] > 30).all()
    assert (by[["static", "area"]].loc["other classes"] == 0).all()


def test_by_each_definition_features_that_tell_more_classes_save_more_and_less_is_left_of_less(known):
    left = known.forgetting.set_index(["second", "method"])
    for q in map("share of {}".format, study.DEFINITIONS):
        assert known.features[q].diff().min() > 0.1
        assert known.layers[q][1:].is_monotonic_increasing
        steps = left.loc["known"].loc[["plain", "EWC", "joint", "after A"], q].diff()
        assert steps[["EWC", "joint"]].min() > 0.05
    assert left.loc[("exchanged", "plain"), "raw"] < 0 < left.loc[("exchanged", "plain"), "prequential"]


def test_known_networks_are_trained_at_once_in_as_many_steps_as_their_epochs_have(monkeypatch):
    seen = []
    monkeypatch.setattr(truth.measure, "of_sizes", lambda *_, network, **__: seen.append(network) or pd.DataFrame())
    slow = {"steps": 0, "epochs": 3.0, "batch_size": 8}
    truth.checks(0, network=study.Network(hidden=(8,), **slow), coding=study.Coding(**slow))
    assert [(one.steps, one.epochs, one.at_once) for one in seen] == [(150, 0, True)] * 2
