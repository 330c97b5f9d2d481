"""What `look` has beside a number, and how it goes about it: baselines, intervals, rows, targets, cost."""

import io
import math
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

from infolib import activations, training
from infolib.data import Data
from infolib.estimators import binning, discrete, renyi
from infolib.measures import lenses
from infolib.networks import Network, untrained

N = 40
QUICK = ["information", "codelength"]
SIZES = {"information": {"n": N}, "codelength": {"n": N}}


@pytest.fixture(scope="module")
def data():
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(3 * N) % 4
    x = 0.6 * torch.rand(4, 1, 6, 6, generator=draw)[y] + 0.4 * torch.rand(len(y), 1, 6, 6, generator=draw)
    return Data(x, y)


@pytest.fixture(scope="module")
def net(data):
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    layers = OrderedDict(conv=conv, flat=nn.Flatten(), fc=nn.Linear(64, 12), relu=nn.ReLU(), output=nn.Linear(12, 4))
    net = nn.Sequential(layers)
    for _ in training.fit(net, data, epochs=20, batch_size=30, lr=0.01, seed=0):
        pass
    return net.eval()


class Residual(nn.Module):
    """Branches that meet, a layer that is called twice, and functions that overwrite what they get."""

    def __init__(self):
        super().__init__()
        self.first, self.block, self.side = (
            nn.Conv2d(1, 4, 3, padding=1),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.Conv2d(1, 4, 1),
        )
        self.again, self.head = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        t = self.first(x).relu_()
        t = self.block(t).add_(self.side(x)).relu_().mean((2, 3))
        return self.head(self.again(self.again(t)).relu_())


# beside a number


def test_untrained_is_the_lens_of_a_twin_with_random_weights(net, data):
    table = lenses.look(net, data, ["conv", "fc"], lenses=QUICK, beside=["untrained"], **SIZES)
    twin = untrained(net, 0, lenses.balanced(data, 64).x)
    for name in QUICK:
        alone = lenses.LENSES[name](twin, data, ["conv", "fc"], **SIZES[name])
        assert table[table["lens"] == name]["untrained"].tolist() == alone["value"].tolist()
    assert table["permuted"].isna().all()
    assert (table["untrained"] - table["value"]).abs().max() > 0.1
    mine = lenses.look(net, data, ["fc"], lenses=QUICK, beside=["untrained"], untrained=lambda _: net, **SIZES)
    assert mine["untrained"].tolist() == mine["value"].tolist()


def test_a_twin_has_other_weights_in_every_layer_and_the_network_keeps_its_own(net, data):
    kept = [p.clone() for p in net.parameters()]
    model = Network(nn.Sequential(net, nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)).eval(), take=None)
    model.model.register_parameter("token", nn.Parameter(torch.arange(9.0)))
    twin = untrained(model, 1)
    for (name, a), b in zip(model.named_parameters(), twin.parameters(), strict=True):
        if name.endswith("weight") and a.ndim > 1:
            assert not torch.equal(a, b), name
    assert not torch.equal(twin.model.token, model.model.token)
    assert twin.model.token.sort().values.tolist() == list(range(9))
    assert all(torch.equal(a, b) for a, b in zip(kept, net.parameters(), strict=True))
    again, other = untrained(model, 1), untrained(model, 2)
    assert torch.equal(again.model[0].fc.weight, twin.model[0].fc.weight)
    assert not torch.equal(other.model[0].fc.weight, twin.model[0].fc.weight)
    norm = untrained(net, 0, data.x).conv[1]
    inside = untrained(net, 0).conv[0](data.x)
    assert norm.running_mean.tolist() == pytest.approx(inside.mean((0, 2, 3)).tolist(), abs=1e-5)
    assert (norm.training, norm.momentum) == (False, 0.1)


def test_permuted_information_is_that_of_pairs_that_do_not_belong_together(net, data):
    table = lenses.information(net, data, ["fc"], n=N, permutations=200).set_index("quantity")
    batch = lenses.balanced(data, N)
    t = net.fc(net.flat(net.conv(batch.x))).detach().double()
    scale = {name: math.sqrt(2 * float(s.flatten(1).var(0).sum())) for name, s in (("x", batch.x.double()), ("t", t))}
    T, Y = renyi.gram(t, width=0.55 * scale["t"]), renyi.label_gram(batch.y)
    X, draw, found = renyi.gram(batch.x.double(), width=0.55 * scale["x"]), np.random.default_rng(1), []
    for _ in range(200):
        i = torch.from_numpy(draw.permutation(N))
        found.append([float(renyi.mutual_information(G[i][:, i], T, alpha=1.01)) for G in (X, Y)])
    of_images, of_labels = np.mean(found, 0)
    assert table["permuted"]["I(X;T)"] == pytest.approx(of_images, abs=0.02)
    assert table["permuted"]["I(T;Y)"] == pytest.approx(of_labels, abs=0.02)
    assert table["beyond chance"]["I(T;Y)"] > 0.2


def test_permuted_scores_codes_and_pairs_are_by_chance(net, data):
    few = {"class_information": {"n": N}, "redundancy": {"n": N}, "codelength": {"n": N, "permutations": 5}}
    table = lenses.look(net, data, ["conv", "fc"], lenses=list(few), beside=["permuted"], **few)
    fc = table[table["layer"] == "fc"].set_index("quantity")
    assert fc["permuted"]["codelength"] == pytest.approx(2, abs=0.3)
    assert fc["value"]["codelength"] < 1.5
    assert fc["permuted"]["class information"] < fc["value"]["class information"] / 2
    batch = lenses.balanced(data, 2 * N)
    codes = binning.quantile(net[:3](batch.x[:N]).detach(), 2)
    y = batch.y[torch.randperm(N, generator=torch.Generator().manual_seed(0))]
    assert fc["permuted"]["class information"] == pytest.approx(float(discrete.mutual_information(codes, y).mean()))
    conv = table[table["layer"] == "conv"].set_index("quantity")
    assert conv["permuted"]["RS share"] != conv["value"]["RS share"]
    assert conv["permutes"].to_dict() == {
        "class information": "labels", "intact accuracy": "", "ablation area": "labels", "ablation gap": "labels",
        "RS(X;T)": "images", "RS share": "images", "codelength": "labels",
    }  # fmt: skip


def test_repeats_are_disjoint_samples_and_the_interval_is_that_of_their_mean(net, data):
    table = lenses.look(net, data, ["fc"], lenses=QUICK, beside=(), repeats=3)
    parts = [lenses.balanced(data, N, part=r, parts=3) for r in range(3)]
    rows = torch.cat([part.x.flatten(1) for part in parts])
    assert len(rows.unique(dim=0)) == len(data)
    assert [part.y.bincount().tolist() for part in parts] == [[10] * 4] * 3
    each = [lenses.codelength(net, part, ["fc"])["value"][0] for part in parts]
    row = table[table["quantity"] == "codelength"].iloc[0]
    low, high = stats.t.interval(0.95, 2, np.mean(each), stats.sem(each))
    assert (row["value"], row["low"], row["high"]) == pytest.approx((np.mean(each), low, high))
    assert row["n"] == N
    assert "n fitted to the data: 512" in row["settings"]
    with pytest.raises(
        ValueError, match="2 times n=30 is more than the 40 samples of data, in each of 3 disjoint parts"
    ):
        lenses.look(net, data, ["fc"], repeats=3, class_information={"n": 30})


# how it goes about it


def test_rows_come_at_once_and_a_former_table_is_gone_on_from(net, data, monkeypatch):
    rows, seen = [], []
    kept = dict(lenses.LENSES)
    how = {"lenses": QUICK, "beside": (), "layers_at_once": 1, **SIZES}
    whole = lenses.look(net, data, ["conv", "fc"], on_row=rows.append, **how)
    pd.testing.assert_frame_equal(pd.DataFrame(rows)[list(whole)], whole)
    part = pd.DataFrame(rows[:6])  # the second layer of the first lens is not complete

    def counted(name):
        def lens(model, data, layers, **options):
            seen.append((name, *layers))
            return kept[name](model, data, layers, **options)

        lens.__signature__ = __import__("inspect").signature(kept[name])
        return lens

    for name in QUICK:
        monkeypatch.setitem(lenses.LENSES, name, counted(name))
    again = lenses.look(net, data, ["conv", "fc"], done=part, **how)
    assert seen == [("information", "fc"), ("codelength", "conv"), ("codelength", "fc")]
    pd.testing.assert_frame_equal(again, whole)
    with pytest.raises(ValueError, match=r"done must be of network '' and seed 1 alone, got \[\('', 0\)\]"):
        lenses.look(net, data, ["fc"], seed=1, done=part, **how)
    failed = part.assign(**{"why not": part["why not"].where(part["layer"] != "conv", "RuntimeError: no memory")})
    beside = part.assign(settings=part["settings"] + ", untrained: MemoryError: 9 GB")
    for former in (failed, beside):  # what has failed is tried again
        seen.clear()
        lenses.look(net, data, ["conv"], done=former, **how | {"lenses": ["information"]})
        assert seen == [("information", "conv")]
    with pytest.raises(ValueError, match=r"n of information in done must be \[30\], as it is asked for, got \[40\]"):
        lenses.look(net, data, ["conv", "fc"], done=part, **how | {"information": {"n": 30}})
    with pytest.raises(ValueError, match="done must be a table of look: it lacks ceiling"):
        lenses.look(net, data, ["fc"], done=part.drop(columns="ceiling"), **how)


def test_a_table_from_a_file_is_done_where_its_layers_are_names(data):
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 4)).eval()
    how, rows = {"lenses": ["codelength"], "codelength": {"n": N}, "beside": ()}, []
    whole = lenses.look(net, data, ["0", "1"], **how)
    text = whole.to_csv(index=False)
    with pytest.raises(ValueError, match=r"done must be a table with names as layers: read_csv\(.*, got \[0\]"):
        lenses.look(net, data, ["0", "1"], done=pd.read_csv(io.StringIO(text)), **how)
    again = pd.read_csv(io.StringIO(text), dtype={"layer": str, "network": str})
    again = lenses.look(net, data, ["0", "1"], done=again, on_row=rows.append, **how)
    assert rows == []
    pd.testing.assert_frame_equal(again, whole)


def test_a_former_table_of_other_options_is_refused_from_a_file_too(net, data):
    how = {"lenses": ["redundancy", "codelength"], "beside": (), "redundancy": {"n": N, "max_pairs": 3}}
    model = Network(net, units={"conv": "channels"})
    text = lenses.look(model, data, ["conv"], **how).to_csv(index=False)
    former = pd.read_csv(io.StringIO(text), dtype={"layer": str, "network": str})
    same = {"redundancy": {"alpha": 1.01, "max_pairs": 3, "n": N}, "batch_size": 7, "beside": []}
    assert lenses.look(model, data, ["conv"], done=former, **how | same).to_csv(index=False) == text
    refused = "layer of {} in done must be one of the options, repeats and baselines asked for now, got 'conv'"
    for other in ({"redundancy": {"n": N, "max_pairs": 2}}, {"redundancy": {"n": N, "max_pairs": 3, "alpha": 2}}):
        with pytest.raises(ValueError, match=refused.format("redundancy")):
            lenses.look(model, data, ["conv"], done=former, **how | other)
    for other, wrapped in (
        ({"beside": ["untrained"]}, model),
        ({"repeats": 2, "redundancy": {"n": 20, "max_pairs": 3}}, model),
        ({}, net),
        ({}, Network(net, units="features")),
        ({}, Network(model, forward=lambda model, x: model(x / 2))),
    ):
        codes = former[former["lens"] == "codelength"].assign(n=len(data) // other.get("repeats", 1))
        with pytest.raises(ValueError, match=refused.format("codelength")):
            lenses.look(wrapped, data, ["conv"], done=codes, **how | other)
    lenses.look(model, data, ["conv"], done=former, **how | {"lenses": ["codelength"], "redundancy": {"alpha": 2}})


def test_an_error_of_the_callers_own_functions_is_not_said_to_be_of_the_table(net, data):
    def fails(_row):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        lenses.look(net, data, ["fc"], lenses=["codelength"], codelength={"n": N}, beside=(), on_row=fails)
    wrong = Network(net, forward=lambda model, x: model({"a": x}["b"]))
    with pytest.raises(ValueError, match=r"model cannot take x of shape \(3, 1, 6, 6\): 'b'"):
        lenses.look(wrong, data, ["fc"])


def test_a_module_keeps_a_forward_of_its_own_through_the_ablation(data):
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Linear(8, 4)).eval()
    own = net[1].forward = lambda x, before=net[1].forward: 3 * before(x)
    lenses.clamped_accuracy(net, data, ["1", "2"], n=N)
    lenses.cost(net, data, ["1", "2"], lenses=["class_information"], class_information={"n": N})
    assert net[1].forward is own


def test_cost_leaves_the_generator_as_it_is(net, data):
    before = torch.get_rng_state()
    lenses.cost(net, data, ["fc"], lenses=QUICK, **SIZES)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_lens_that_fails_has_a_reason_and_the_others_go_on(net, data, monkeypatch):
    broken = lenses.codelength

    def codelength(model, data, layers=None, *, n=None):
        if "conv" in layers:
            raise RuntimeError("not enough memory: you tried to allocate 9 GB")
        return broken(model, data, layers, n=n)

    monkeypatch.setitem(lenses.LENSES, "codelength", codelength)
    table = lenses.look(net, data, ["conv", "fc"], lenses=QUICK, beside=(), **SIZES).set_index(["quantity", "layer"])
    assert table["why not"]["codelength", "conv"].startswith("RuntimeError: not enough memory: you tried")
    assert table["why not"]["codelength", "conv"].endswith("a smaller n or layers_at_once=1 takes less memory")
    assert table["value"]["codelength", "fc"] == broken(net, data, ["fc"], n=N)["value"][0]
    assert table["why not"]["I(X;T)", "conv"] == ""


def test_an_untrained_network_that_cannot_be_measured_has_its_reason_in_the_settings(data):
    class Picky(nn.Sequential):
        """Trained it answers; of random weights it takes no more than eight samples."""

        def forward(self, x):
            if len(x) > 8 and not self.trained:
                raise RuntimeError("too many")
            return super().forward(x)

    torch.manual_seed(0)
    net, other = (Picky(nn.Flatten(), nn.Linear(36, 4)).eval() for _ in range(2))
    net.trained, other.trained = True, False
    table = lenses.look(net, data, ["1"], lenses=["codelength"], untrained=lambda _: other, beside=["untrained"],
                        codelength={"n": N})  # fmt: skip
    assert table["untrained"].isna().all()
    assert table["value"].notna().all()
    assert ", untrained: ValueError: model cannot take x" in table["settings"][0]


@pytest.mark.parametrize(("options", "message"), [
    ({"beside": ["random"]}, "unknown beside 'random'; allowed: untrained, permuted"),
    ({"lenses": ["sight"]}, "unknown lenses 'sight'; allowed: information, redundancy"),
    ({"repeats": 50}, "repeats must be at most a third of the 120 samples, got 50"),
    ({"device": "mps"}, "device must have float64, which mps does not"),
    ({"untrained": lambda _: nn.Sequential(nn.Flatten()).eval()}, "untrained: unknown layer 'fc'"),
    ({"device": "cuda:99"}, "device must be one that torch has here, got 'cuda:99': "),
    ({"layers_at_once": 0}, "layers_at_once must be an integer of at least 1, got 0"),
    ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
    ({"information": {"ratio": math.inf}}, "information: ratio must be a finite number of at least 0, got inf"),
    ({"discarding": {"bounds": 1}}, "discarding: bounds must be two increasing numbers, got int"),
    ({"discarding": {"bounds": ("a", "b")}}, "discarding: bounds must be a finite number, got 'a'"),
])  # fmt: skip
def test_what_look_cannot_do_is_refused_before_it_measures(net, data, options, message):
    with pytest.raises(ValueError, match=message):
        lenses.look(net, data, ["fc"], **options)


@pytest.mark.parametrize("layer", ["first", "block", "side", "again#2", "head"])
def test_passes_that_begin_at_a_layer_give_what_whole_passes_give(data, layer):
    torch.manual_seed(1)
    model = Residual().eval()
    with torch.no_grad():
        model.head.bias -= model(data.x).mean(0)  # so that it has several answers
        data = Data(data.x, model(data.x).argmax(1))  # all are right until something is clamped
    found, batch = (
        lenses.clamped_accuracy(model, data, [layer], n=N, shares=(0.25, 0.5, 1.0)),
        lenses.balanced(data, 2 * N),
    )
    t = activations.collect(model, batch.x[:N], [layer])[layer]
    t = t.flatten(2).mean(2) if t.ndim > 2 else t
    bits = discrete.mutual_information(binning.quantile(t, 2), batch.y[:N]).round(decimals=9)
    expected = []
    for descending in (True, False):
        order = bits.argsort(descending=descending, stable=True)
        for k in (0, 1, 2, 4):

            def clamp(output, which=order[:k]):
                output[:, which] = t.mean(0)[which].view(-1, *[1] * (output.ndim - 2))
                return output

            with activations.replace(model, {layer: clamp}):
                expected.append(training.evaluate(model, batch[N:]).accuracy)
    assert found["accuracy"].tolist() == expected
    assert len(set(expected)) > 2
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_network_that_hears_of_other_layers_behind_the_hooks_is_passed_whole(data):
    class Behind(nn.Module):
        """Counts the calls of its first layer, and answers by the count."""

        def __init__(self):
            super().__init__()
            self.first, self.last, self.at = nn.Sequential(nn.Flatten(), nn.Linear(36, 8)), nn.Linear(8, 4), []

        def forward(self, x):
            self.at.clear()
            t = self.first(x)
            return self.last(t) if self.seen() else -self.last(t)

        def seen(self):
            return bool(self.at)

    torch.manual_seed(0)
    model = Behind().eval()
    model.first[1].register_forward_hook(lambda *_: model.at.append(1))  # a replayed block does not run it
    with torch.no_grad():
        model.last.bias -= model(data.x).mean(0)
    data = Data(data.x, model(data.x).argmax(1))
    found = lenses.clamped_accuracy(model, data, ["first"], n=N)
    intact = training.evaluate(model, lenses.balanced(data, 2 * N)[N:]).accuracy
    assert found[found["share"] == 0]["accuracy"].tolist() == [intact] * 2
    mean = model.first(lenses.balanced(data, N).x).mean(0)
    answer = int(model.last(mean).argmax())
    expected = float((lenses.balanced(data, 2 * N)[N:].y == answer).float().mean())
    assert found[found["share"] == 1]["accuracy"].tolist() == pytest.approx([expected] * 2)
    assert expected != float((lenses.balanced(data, 2 * N)[N:].y == int(model.last(mean).argmin())).float().mean())


# other targets


def perceptron(outputs):
    layers = OrderedDict(flat=nn.Flatten(), fc=nn.Linear(36, 6), relu=nn.ReLU(), out=nn.Linear(6, outputs))
    return nn.Sequential(layers).eval()


def test_a_single_logit_is_right_by_its_sign(data):
    torch.manual_seed(0)
    two = Data(data.x, (data.y > 1).float()[:, None])  # as a binary cross entropy takes them
    model = nn.Sequential(
        OrderedDict(flat=nn.Flatten(), fc=nn.Linear(36, 6), relu=nn.ReLU(), out=nn.Linear(6, 1))
    ).eval()
    table = lenses.class_information(model, two, ["fc"], n=N).set_index("quantity")
    part = lenses.balanced(Data(data.x, (data.y > 1).long()), 2 * N)[N:]
    right = ((model(part.x)[:, 0] > 0) == part.y.bool()).float().mean()
    assert table["value"]["intact accuracy"] == pytest.approx(float(right))
    with torch.no_grad():
        model.out.bias -= model(data.x).median()  # answers of both kinds
    likely = nn.Sequential(model, nn.Sigmoid()).eval()
    table = lenses.class_information(likely, two, ["0.fc"], n=N).set_index("quantity")
    assert "its outputs are from 0 to 1: give logits, whose sign is the answer" in table["why not"]["ablation area"]
    three = lenses.class_information(model, Data(data.x, data.y % 3), ["fc"], n=N).set_index("quantity")
    assert (
        three["why not"]["ablation area"]
        == "the model has no accuracy: it has a single output, and labels are from 0 to 2"
    )


def test_several_labels_are_coded_each_and_are_one_class_for_units(data):
    torch.manual_seed(0)
    both = torch.stack([data.y % 2, data.y // 2], 1)
    model = nn.Sequential(
        OrderedDict(flat=nn.Flatten(), fc=nn.Linear(36, 6), relu=nn.ReLU(), out=nn.Linear(6, 2))
    ).eval()
    how = {"lenses": ["information", "class_information", "codelength"], "beside": (), "class_information": {"n": N}}
    several, one = (
        lenses.look(model, Data(data.x, y), ["fc"], **how, **SIZES).set_index("quantity") for y in (both, data.y)
    )
    batch = lenses.balanced(Data(data.x, both), N)
    each = [lenses.codelength(model, Data(batch.x, batch.y[:, i]), ["fc"])["value"][0] for i in range(2)]
    assert several["value"]["codelength"] == pytest.approx(sum(each), abs=0.15)  # in another order
    assert several["ceiling"]["codelength"] == 2
    assert several["ceiling"]["I(T;Y)"] == pytest.approx(2)
    assert several["value"]["class information"] > 0.1
    part = lenses.balanced(Data(data.x, both), 2 * N)[N:]
    right = ((model(part.x) > 0) == part.y.bool()).float().mean()
    assert several["value"]["intact accuracy"] == pytest.approx(float(right))
    assert one["ceiling"]["codelength"] == 2


def test_labels_that_are_all_the_same_among_the_samples_take_the_aligned_widths_alone(net, data):
    rare = torch.zeros(len(data), 2).long()
    rare[-1, 1] = 1
    table = lenses.information(net, Data(data.x, rare), ["fc"], n=N).set_index("quantity")
    classes = lenses.information(net, data, ["fc"], n=N).set_index("quantity")["value"]
    assert table["value"]["I(X;T)"] == pytest.approx(classes["I(X;T)"], abs=0.3)  # of other samples
    assert table["value"]["I(T;Y)"] == pytest.approx(0, abs=1e-9)
    assert table["why not"]["I(X;T) aligned"] == "samples of a single class align no width"


@pytest.mark.parametrize("lens", ["information", "class_information"])
def test_no_pass_has_more_samples_than_a_batch(net, data, lens):
    sizes = []
    handle = net.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    many = Data(data.x.repeat(3, 1, 1, 1), data.y.repeat(3))
    lenses.look(net, many, ["fc", "output"], lenses=[lens], beside=(), batch_size=20, **{lens: {"n": 150}})
    handle.remove()
    assert max(sizes) <= 64


def test_a_network_of_two_inputs_is_measurable():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, a, b):
            return self.fc(a + b)

    table = lenses.measurable(Sum().eval(), (torch.rand(4, 3), torch.rand(4, 3)))
    assert table[["layer", "why not"]].values.tolist() == [["fc", ""]]


def test_numbers_have_information_and_a_code_and_no_classes(data):
    torch.manual_seed(0)
    model = nn.Sequential(OrderedDict(flat=nn.Flatten(), fc=nn.Linear(36, 6))).eval()
    z = data.x.flatten(1).mean(1) * 3 + data.y + 0.5
    table = lenses.look(model, Data(data.x, z), ["fc"], beside=["permuted"], lenses=[*SIZES, "class_information"],
                        class_information={"n": N}, **SIZES).set_index("quantity")  # fmt: skip
    for of in ("class information", "ablation area", "ablation gap"):
        assert table["why not"][of] == "targets are numbers, without classes"
    assert table["why not"]["intact accuracy"] == "the model has no accuracy: its targets are numbers"
    assert table["why not"]["I(T;Y) aligned"] == "targets are numbers: no classes to align widths with"
    assert table["unit"]["codelength"] == "bit per number"
    assert table["value"]["codelength"] < table["ceiling"]["codelength"] < table["permuted"]["codelength"] + 0.5
    batch = lenses.balanced(Data(data.x, z), N)
    t = model(batch.x).detach().double()
    T = renyi.gram(t, width=0.55 * math.sqrt(2 * float(t.var(0).sum())))
    Y = renyi.gram(batch.y[:, None].double(), width=0.55 * math.sqrt(2 * float(batch.y.double().var())))
    assert table["value"]["I(T;Y)"] == pytest.approx(float(renyi.mutual_information(Y, T, alpha=1.01)), abs=1e-6)
    assert table["beyond chance"]["I(T;Y)"] > 0.1


@pytest.mark.parametrize("features", [3, 40_000])  # inner products of the many are summed in parts
def test_the_code_of_numbers_is_the_density_of_a_multivariate_t_and_that_of_its_parts(features):
    draw = torch.Generator().manual_seed(0)
    data = Data(5 + torch.randn(12, features, generator=draw), torch.randn(12, generator=draw))
    found = lenses.codelength(nn.Sequential(nn.Identity(), nn.Flatten()).eval(), data, ["0"])
    batch = lenses.balanced(data, 12)
    x, y = (batch.x - batch.x.mean(0)).double().numpy(), batch.y.double().numpy()
    x /= np.sqrt((x**2).sum(1).mean())
    z = (y - y.mean()) / y.std()
    K = np.eye(12) + 100 * (1 + x @ x.T)
    expected = -stats.multivariate_t(shape=K, df=1).logpdf(z) / math.log(2) / 12
    assert found["value"][0] == pytest.approx(expected, rel=1e-5)
    assert found["ceiling"][0] == pytest.approx(
        -stats.multivariate_t(shape=np.eye(12) + 100, df=1).logpdf(z) / math.log(2) / 12
    )
    if features > 100:
        return
    total, precision, sums, a, b = 0.0, np.eye(4) / 100, np.zeros(4), 0.5, 0.5
    for row, value in zip(np.column_stack([x, np.ones(12)]), z, strict=True):  # one number after the other
        inverse = np.linalg.inv(precision)
        mean, scale = inverse @ sums, b / a * (1 + row @ inverse @ row)
        total -= stats.t(2 * a, row @ mean, math.sqrt(scale)).logpdf(value) / math.log(2)
        b += (value - row @ mean) ** 2 / (1 + row @ inverse @ row) / 2
        a, precision, sums = a + 0.5, precision + np.outer(row, row), sums + value * row
    assert found["value"][0] == pytest.approx(total / 12, rel=1e-5)


# cost


def test_cost_has_a_row_for_each_lens_and_grows_with_what_is_asked(net, data):
    few = lenses.cost(net, data, ["conv", "fc"], beside=())
    assert few["lens"].tolist() == list(lenses.LENSES)
    assert few["n"].tolist() == [120, 120, 60, 8, 120]
    assert (few[["seconds", "GB"]] > 0).all().all()
    with pytest.raises(ValueError, match="unknown option 'm' of redundancy"):
        lenses.cost(net, data, ["fc"], redundancy={"m": 1})


def test_cost_has_less_memory_for_fewer_layers_or_samples_at_once(net, data):
    how = {"lenses": ["information"], "beside": ()}
    whole = lenses.cost(net, data, ["conv", "fc"], **how)["GB"][0]
    assert lenses.cost(net, data, ["conv", "fc"], layers_at_once=1, **how)["GB"][0] < whole
    assert lenses.cost(net, data, ["conv", "fc"], batch_size=1, **how)["GB"][0] < whole


def test_gradients_are_taken_inside_inference_mode_too(net, data):
    with torch.inference_mode():
        table = lenses.look(net, data, ["fc"], lenses=["discarding"], beside=(), discarding={"n": 1})
    assert table["value"].notna().any()
