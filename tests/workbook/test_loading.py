import struct
import sys
import warnings
import zipfile
import zlib
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from PIL import Image, TiffImagePlugin
from torch import nn
from torch.nn.functional import interpolate

from infolib import activations, training
from workbook import datasets, loading, models

PATH = "workbook.models:mlp"
OPTIONS = {"sizes": [4, 3, 2], "seed": 1}


def perceptron():
    return models.mlp([4, 3, 2], seed=1)


# networks


def test_an_import_path_with_options_is_the_call(monkeypatch):
    net = loading.model(PATH, options=OPTIONS | {"activation": "tanh"})
    assert not net.training
    assert isinstance(net.hidden1.activation, nn.Tanh)
    tanh = models.mlp([4, 3, 2], activation="tanh", seed=1)
    assert torch.equal(net.output.weight, tanh.output.weight)
    monkeypatch.setattr(models, "ready", perceptron(), raising=False)
    assert loading.model("workbook.models:ready") is models.ready


def test_random_weights_are_those_of_the_seed_and_the_caller_s_stream_stays():
    before = torch.random.get_rng_state()
    nets = [loading.model("torch.nn:Linear", options={"in_features": 2, "out_features": 3}, seed=s) for s in (0, 0, 1)]
    assert torch.equal(nets[0].weight, nets[1].weight)
    assert not torch.equal(nets[0].weight, nets[2].weight)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("nowhere:net", {}, r"model 'nowhere:net' is no 'module:name' that can be imported: No module named 'nowhere'"),
        ("workbook.models:no", {}, "model 'workbook.models:no' is no 'module:name' that can be imported"),
        (":net", {}, "model ':net' is no 'module:name'"),
        ("workbook.models:DEPTHS", {}, r"DEPTHS' cannot be called with {}: 'tuple' object is not callable"),
        ("builtins:dict", {}, "model 'builtins:dict' must make a network, got dict"),
        (PATH, {"seed": 1}, r"'workbook.models:mlp' cannot be called with {'seed': 1}: .*sizes"),
        ("missing.pt", {}, "model must be 'module:name' or a TorchScript file, but there is no 'missing.pt'"),
        (PATH, ["sizes:4,2"], r"'workbook.models:mlp' cannot be called with \['sizes:4,2'\]: .* must be a mapping"),
        (None, {}, "model must be 'module:name' or a TorchScript file, but there is no None"),
        ("", {}, "model must be 'module:name' or a TorchScript file, but there is no ''"),
        ("x" * 5000, {}, "model must be 'module:name' or a TorchScript file, but there is no 'xxx"),
        ("tests", {}, r"model 'tests' is neither 'module:name' nor a TorchScript file \(weights are a state\)"),
    ],
)
def test_a_model_that_is_none_is_refused(path, options, message):
    with pytest.raises(ValueError, match=message):
        loading.model(path, options=options)


def test_options_of_a_network_that_exists_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "ready", perceptron(), raising=False)
    with pytest.raises(ValueError, match=r"options are for a function, but 'workbook.models:ready' is a network"):
        loading.model("workbook.models:ready", options={"seed": 1})
    scripted(perceptron(), tmp_path / "net.pt")
    with pytest.raises(ValueError, match="options are for a model named 'module:name'"):
        loading.model(str(tmp_path / "net.pt"), options={"seed": 1})


def prefixed(weights, prefix):
    return {prefix + name: value for name, value in weights.items()}


CHECKPOINTS = {
    "plain": lambda w: w,
    "state_dict": lambda w: {"state_dict": w},
    "model": lambda w: {"model": w},
    "tutorial": lambda w: {"epoch": 3, "model_state_dict": w, "optimizer_state_dict": {"state": {0: w}}, "loss": 0.1},
    "net": lambda w: {"net": w, "acc": 93.1, "epoch": 9},
    "network": lambda w: {"network": {"state_dict": w}},
    "module.": lambda w: prefixed(w, "module."),
    "model.": lambda w: prefixed(w, "model."),
    "_orig_mod.": lambda w: prefixed(w, "_orig_mod."),
    "module._orig_mod.": lambda w: {"model": prefixed(w, "module._orig_mod.")},
    "Lightning": lambda w: {"state_dict": prefixed(w, "model.") | {"loss.weight": torch.ones(2)}, "epoch": 1,
                            "pytorch-lightning_version": "2.4", "hyper_parameters": {"lr": 0.1}},
    "Lightning, net.": lambda w: {"state_dict": prefixed(w, "net.")},
    "module.model.net.": lambda w: prefixed(w, "module.model.net."),
    "safetensors": lambda w: w,
}  # fmt: skip


@pytest.mark.parametrize("form", CHECKPOINTS)
def test_weights_of_a_file_fill_the_network(tmp_path, form):
    weights = models.mlp([4, 3, 2], seed=5).state_dict()
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    save = safetensors.torch.save_file if form == "safetensors" else torch.save
    save(CHECKPOINTS[form](weights), path)
    net = loading.model(PATH, options=OPTIONS, state=path)
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
    assert not torch.equal(net.output.weight, perceptron().output.weight)


def test_names_that_begin_as_a_wrapper_are_the_network_s_own(tmp_path, monkeypatch):
    own, other = (nn.Sequential(OrderedDict(model=nn.Sequential(OrderedDict(net=nn.Linear(2, 1))))) for _ in "ab")
    monkeypatch.setattr(models, "ready", own, raising=False)
    for wrapper in ("", "module.", "model.", "net.model."):
        nn.init.normal_(other.model.net.weight)
        torch.save(prefixed(other.state_dict(), wrapper), tmp_path / "w.pth")
        assert torch.equal(
            loading.model("workbook.models:ready", state=str(tmp_path / "w.pth")).model.net.weight,
            other.model.net.weight,
        )


def test_old_weights_without_counts_of_batches_fill_a_network(tmp_path):
    weights = {name: value for name, value in nn.BatchNorm1d(3).state_dict().items() if "num" not in name}
    torch.save(weights | {"weight": torch.full((3,), 7.0)}, tmp_path / "w.pth")
    net = loading.model("torch.nn:BatchNorm1d", options={"num_features": 3}, state=str(tmp_path / "w.pth"))
    assert net.weight.tolist() == [7, 7, 7]


def test_two_networks_that_fit_are_refused(tmp_path):
    weights = perceptron().state_dict()
    torch.save(prefixed(weights, "model.") | prefixed(weights, "net."), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"state 'w.pth' fits the model in several ways; save the weights of one"):
        loading.model(PATH, options=OPTIONS, state=str(tmp_path / "w.pth"))
    torch.save({"model": weights, "net": weights}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"state 'w.pth' must hold tensors by name, .* got model, net"):
        loading.model(PATH, options=OPTIONS, state=str(tmp_path / "w.pth"))


def test_weights_that_do_not_fit_list_five_names_of_either_kind(tmp_path):
    deep = {"sizes": [4, 3, 3, 3, 3, 2], "seed": 0}
    torch.save({"model." + name: torch.zeros(1) for name in "abcdefg"}, tmp_path / "w.pth")
    missing = "hidden1.linear.weight, hidden1.linear.bias, .* and 5 more"
    with pytest.raises(ValueError, match=rf"10 missing: {missing}; 7 unexpected: model.a, .*model.e and 2 more; do op"):
        loading.model(PATH, options=deep, state=str(tmp_path / "w.pth"))
    weights = prefixed(models.mlp([4, 3, 2], seed=0).state_dict(), "model.")
    torch.save(weights | {"model.more": torch.zeros(1)}, tmp_path / "w.pth")  # the wrapper is not what is wrong
    with pytest.raises(ValueError, match=r"the model: 0 missing: none; 1 unexpected: more; do options match"):
        loading.model(PATH, options=OPTIONS, state=str(tmp_path / "w.pth"))
    with pytest.raises(ValueError, match=r"0 missing: none; 5 unexpected: model.hidden1.linear.weight, "):
        loading.model("torch.nn:ReLU", state=str(tmp_path / "w.pth"))


class Evil:
    """Something that a pickle would run."""

    def __reduce__(self):
        return sys.exit, ("pickled code was run",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Evil(), r"state 'w.pth' must be a file of weights alone, .*: Weights only load failed"),
        ([torch.zeros(2)], "state 'w.pth' must hold tensors by name, alone or as state_dict, got list"),
        ({"epoch": 3}, "state 'w.pth' must hold tensors by name, alone or as state_dict, got epoch"),
        ({}, "state 'w.pth' must hold tensors by name, alone or as state_dict, got none"),
        ({0: torch.zeros(2)}, "state 'w.pth' must hold tensors by name, alone or as state_dict, got 0"),
        (perceptron(), r"must be a file of weights alone, as torch.save\(net.state_dict\(\), file\) makes: Weights"),
        (
            {"output.weight": torch.zeros(9, 9)},
            "state 'w.pth' does not fit the model: 3 missing: hidden1.linear.weight",
        ),
        (
            perceptron().state_dict() | {"output.weight": torch.zeros(9, 9)},
            r"not fit the model: .*output.weight: .*9, 9",
        ),
    ],
)
def test_a_file_without_weights_is_refused_and_never_run(tmp_path, content, message):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=message):
        loading.model(PATH, options=OPTIONS, state=str(tmp_path / "w.pth"))


def test_missing_and_broken_files_of_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"state must be a file of weights, but there is no 'no.pth'"):
        loading.model(PATH, options=OPTIONS, state="no.pth")
    whole = {"w.pth": torch.save, "w.safetensors": lambda w, path: safetensors.torch.save_file(w, path)}
    for name, save in whole.items():
        save(perceptron().state_dict(), tmp_path / name)
        part = (tmp_path / name).read_bytes()[:-40]
        for content in (b"not weights", b"", part):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ValueError, match=f"state '{name}' must be a file of weights alone"):
                loading.model(PATH, options=OPTIONS, state=str(tmp_path / name))


def test_weights_that_unpack_to_more_than_memory_are_refused_by_size(tmp_path, monkeypatch):
    torch.save({"w": torch.zeros(50_000)}, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as whole, zipfile.ZipFile(tmp_path / "b.pth", "w", 8) as bomb:
        for member in whole.namelist():
            bomb.writestr(member, whole.read(member))
    monkeypatch.setattr(loading, "LIMIT", 100_000)
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(ValueError, match=r"state 'b.pth' .*: unpacked, it would take 0.0001.. GiB, more than"):
        loading.model(PATH, options=OPTIONS, state=str(tmp_path / "b.pth"))


def scripted(net, path, trace=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        made = torch.jit.script(net) if trace is None else torch.jit.trace(net, trace)
        torch.jit.save(made, str(path))


@pytest.mark.parametrize("traced", [False, True])
def test_the_steps_of_a_sequence_in_torchscript_are_layers(tmp_path, traced):
    inner = nn.Sequential(OrderedDict(flatten=nn.Flatten(), fc1=nn.Linear(8, 4)))
    net = nn.Sequential(OrderedDict(act=nn.ReLU(), head=inner)).eval()
    x = torch.randn(5, 2, 2, 2)
    scripted(net, tmp_path / "net.pt", x if traced else None)
    loaded = loading.model(str(tmp_path / "net.pt"))
    assert [name for name, _ in loaded.named_modules()] == ["", "act", "head", "head.flatten", "head.fc1"]
    assert "Linear" in repr(loaded)
    ours, theirs = (activations.collect(of, x, ["act", "head.flatten", "head.fc1"]) for of in (loaded, net))
    assert all(torch.equal(ours[layer], theirs[layer]) for layer in theirs)
    assert not loaded.training


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.ReLU()

    def forward(self, x):
        return self.a(x) + x


class Sequential(nn.Module):  # a name alone makes no sequence
    def __init__(self):
        super().__init__()
        self.a = nn.ReLU()

    def forward(self, x):
        return self.a(-x)


@pytest.mark.parametrize("net", [Branches(), Sequential()], ids=["branches", "a class of that name"])
def test_other_torchscript_is_refused_with_a_way_out(tmp_path, net):
    scripted(net, tmp_path / "net.pt")
    with pytest.raises(ValueError, match=f"is TorchScript of a {type(net).__name__}, not nn.Sequential: Tor"):
        loading.model(str(tmp_path / "net.pt"))


def test_a_file_that_is_no_torchscript_is_refused(tmp_path):
    (tmp_path / "net.pt").write_text("no program")
    with pytest.raises(ValueError, match=r"model 'net.pt' is neither 'module:name' nor a TorchScript file "):
        loading.model(str(tmp_path / "net.pt"))


def test_the_example_has_learnt_the_cluttered_digits():
    data = loading.images("digits", clutter=True, n=200).data
    net = loading.model("workbook.loading:example", options={"epochs": 4})
    assert training.evaluate(net, data).accuracy > 0.6
    assert training.evaluate(loading.example(epochs=0), data).accuracy < 0.3


# images


def test_our_sets_give_their_test_part_cluttered_or_not():
    found = loading.images("digits", n=30, seed=3)
    expected = datasets.load("digits", n_train=0, n_val=0, n_test=30, seed=3).test
    assert torch.equal(found.x, expected.x)
    assert torch.equal(found.y, expected.y)
    assert not found.boxed
    assert found.data.y is found.y
    cluttered = loading.images("digits", clutter=True, n=30, seed=3)
    assert torch.equal(cluttered.x[:, :, 2:10, 2:10], expected.x)
    assert cluttered.boxed
    assert cluttered.name == "cluttered digits"
    assert found.sha256 == cluttered.sha256 != {}


def pictures(root, colours=("red", "blue"), size=(6, 4), per_class=4, mode="RGB"):
    for colour in colours:
        (root / colour).mkdir(parents=True)
        for i in range(per_class):
            Image.new(mode, size, colour).save(root / colour / f"{i}.png")
    (root / "notes.txt").write_text("no class")
    (root / colours[0] / "notes.txt").write_text("no picture")


def test_a_folder_has_a_class_for_each_folder_in_it(tmp_path):
    pictures(tmp_path / "set")
    found = loading.images(str(tmp_path / "set"), n=4)
    assert found.x.shape == (4, 3, 4, 6)
    assert sorted(found.y.tolist()) == [0, 0, 1, 1]  # balanced
    assert found.classes == ["blue", "red"]
    blue = found.x[found.y == 0][:, :, 0, 0]
    assert blue.tolist() == [[0, 0, 1]] * 2
    assert found.name == "set"
    assert loading.images(str(tmp_path / "set"), n=4).sha256 == found.sha256
    Image.new("RGB", (6, 4), "green").save(tmp_path / "set" / "red" / "0.png")
    assert loading.images(str(tmp_path / "set"), n=8).sha256 != found.sha256


def test_grey_pictures_have_one_channel_and_sizes_are_brought_together(tmp_path):
    pictures(tmp_path / "grey", colours=("white", "black"), mode="L")
    assert loading.images(str(tmp_path / "grey"), n=8).x.shape == (8, 1, 4, 6)
    Image.new("L", (9, 9)).save(tmp_path / "grey" / "white" / "0.png")
    with pytest.raises(ValueError, match=r"shape must be given: the pictures of 'grey' are \(1, 4, 6\), \(1, 9, 9\)"):
        loading.images(str(tmp_path / "grey"), n=8)
    assert loading.images(str(tmp_path / "grey"), n=8, shape=[3, 5, 5]).x.shape == (8, 3, 5, 5)


@pytest.mark.parametrize("scale", [np.uint8, np.float64])
def test_arrays_are_read_in_a_balanced_order(tmp_path, scale):
    x = np.random.default_rng(0).integers(0, 256, (12, 5, 5)).astype(np.uint8)
    stored = x if scale is np.uint8 else x / 255
    np.savez(tmp_path / "a.npz", x=stored, y=np.arange(12) % 3)
    found = loading.images(str(tmp_path / "a.npz"), n=6)
    assert found.x.shape == (6, 1, 5, 5)
    assert found.x.dtype == torch.float32
    assert found.y.bincount().tolist() == [2, 2, 2]
    order = datasets.stratified_order(torch.arange(12) % 3, torch.Generator().manual_seed(0))[:6]
    assert torch.allclose(found.x[:, 0], torch.from_numpy(x[order] / 255).float())
    assert found.classes == ["0", "1", "2"]


def test_images_are_brought_to_a_shape(tmp_path):
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def brought(images, shape):
        np.savez(tmp_path / "a.npz", x=images.numpy(), y=np.zeros(3, int))
        return loading.images(str(tmp_path / "a.npz"), shape=shape, n=3).x

    x = brought(x, [])  # in the order that the seed gives, which is the same each time
    order = brought(torch.arange(3.0).view(3, 1, 1, 1) / 2, []).flatten().mul(2).long()
    three = brought(x, [3, 12, 10])
    assert torch.equal(three[:, 0], three[:, 2])
    larger = interpolate(x[order], size=(12, 10), mode="bilinear", antialias=True).clamp(0, 1)
    assert torch.equal(three[:, :1], larger)
    assert torch.allclose(brought(three, [1, 12, 10]), three[order][:, :1])
    with pytest.raises(ValueError, match="shape asks for 2 channels of images that have 1"):
        brought(x, [2, 8, 8])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((4, 2, 2))}, "must be a data set, folder or .npz with x and y: .*y"),
        ({"x": np.zeros((4, 2)), "y": np.zeros(4, int)}, r"must hold x of shape .* got \(4, 2\) and \(4,\)"),
        ({"x": np.zeros((4, 2, 2)), "y": np.zeros(3, int)}, r"must hold x of shape .* got \(4, 2, 2\) and \(3,\)"),
        (
            {"x": np.zeros((4, 2, 2)), "y": np.zeros(4)},
            r"y as integers of at least 0.*got float64: 0.0; save y.astype\(int",
        ),
        ({"x": np.zeros((4, 2, 2)), "y": -np.ones(4, int)}, "got int64: -1; save .*, without unlabelled images"),
        ({"x": np.zeros((4, 2, 2)), "y": [-1, 0, 1, 2]}, "got int64: -1, 0, 1, 2; save .*, without unlabelled images"),
        ({"x": np.zeros((4, 2, 2)), "y": [0, 1, 2, 10**12]}, r"integers of at least 0 \(to 100,000\).*1000000000000"),
        ({"x": np.zeros((4, 2, 2)), "y": np.array([None] * 4)}, "must be a data set.*Object arrays cannot be loaded"),
        ({"x": np.zeros((4, 2, 2)), "y": np.zeros((4, 1), int)}, r"got \(4, 2, 2\) and \(4, 1\): .*save y\[:, 0\]"),
        ({"x": np.zeros((4, 2, 2)), "y": np.eye(4)}, r"\(4, 4\): .*of one-hot labels y.argmax\(1\)"),
        ({"x": np.zeros((4, 784)), "y": np.zeros(4, int)}, r"save flat images as x.reshape\(len\(x\), c, h, w\)"),
        ({"x": np.zeros((4, 2, 1, 8, 8)), "y": np.zeros(4, int)}, r"of shape .* got \(4, 2, 1, 8, 8\)"),
        ({"x": np.float64(0), "y": np.int64(0)}, r"must hold x of shape .* got \(\) and \(\)"),
        ({"x": np.ones((4, 5, 5), np.uint8), "y": np.zeros(4, int)}, r"0 and 1 alone as x.astype\(bool\), not uint8"),
        ({"x": np.full((4, 5, 5), "a"), "y": np.zeros(4, int)}, "must hold x as numbers, .* not <U1"),
        ({"x": np.zeros((4, 5, 5), complex), "y": np.zeros(4, int)}, "must hold x as numbers, .* not complex128"),
        ({"x": np.full((4, 5, 5), 1000, np.uint16), "y": np.zeros(4, int)}, "got 1000 to 1000: divide it by white"),
        ({"x": np.zeros((4, 0, 5)), "y": np.zeros(4, int)}, "x is empty|time series"),
        ({"x": np.full((4, 2, 2), 3.0), "y": np.zeros(4, int)}, r"must hold x as bytes or in \[0, 1\], got 3 to 3"),
        ({"x": np.full((4, 2, 2), np.nan), "y": np.zeros(4, int)}, "x must be finite"),
        ({"x": np.zeros((2, 2, 2)), "y": np.zeros(2, int)}, "n=4 is more than the 2 images of 'a.npz'"),
        ({"x": np.array([Evil()]), "y": np.zeros(1, int)}, "must be a data set, folder or .npz with x and y"),
    ],
)
def test_arrays_of_another_form_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        loading.images(str(tmp_path / "a.npz"), n=4)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("nowhere", {}, "data must be one of digits, mnist, fashion-mnist, cifar10, ib, a folder or a .npz file, but"),
        ("weights", {}, "data must be one of"),
        (
            "nowhere",
            {"clutter": True},
            "clutter is for one of digits, mnist, .*, got 'nowhere'",
        ),
        ("digits", {"n": 0}, "n must be an integer of at least 1, got 0"),
        ("digits", {"n": 2000}, "n=2000: n_test=2000 is more than the 1797 samples"),
        ("digits", {"shape": [8, 8]}, r"shape must be empty or channels, height, width, got \[8, 8\]"),
        ("digits", {"shape": [1, 0, 8]}, "shape must be an integer of at least 1, got 0"),
        ("digits", {"shape": [1, 8.0, 8]}, "shape must be an integer of at least 1, got 8.0"),
        ("digits", {"shape": [3, 100_000, 100_000]}, r"n=4 images of shape \[3, 100000, 100000\] would take 447 GiB"),
        ("", {}, "data must be one of .*, but there is no ''"),
        (None, {}, "data must be one of .*, but there is no None"),
        (np.zeros(3), {}, r"data must be one of .*, a folder or a .npz file, but there is no array\(\[0., 0., 0.\]\)"),
        (pd.Series([0.0]), {}, "data must be one of .*, a folder or a .npz file, but there is no 0    0.0"),
        ("x" * 5000, {}, "data must be one of .*, but there is no 'xxx"),
    ],
)
def test_sources_and_options_that_are_none_are_refused(source, options, message):
    with pytest.raises(ValueError, match=message):
        loading.images(source, **{"n": 4} | options)


def test_folders_without_pictures_and_files_of_another_kind_are_refused(tmp_path):
    must = "must hold a folder of pictures for each class, and no picture is in"
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match=f"data 'empty' {must} cat"):
        loading.images(str(tmp_path / "empty"), n=4)
    with pytest.raises(ValueError, match=f"data 'cat' {must} it"):
        loading.images(str(tmp_path / "empty" / "cat"), n=4)
    pictures(tmp_path / "empty", colours=("red",))
    with pytest.raises(ValueError, match=f"data 'empty' {must} cat"):  # or it would be a class without images
        loading.images(str(tmp_path / "empty"), n=4)
    (tmp_path / "a.csv").write_text("1,2")
    np.save(tmp_path / "a.npy", np.zeros((4, 2, 2)))
    (tmp_path / "empty.npz").write_bytes(b"")
    for name in ("a.csv", "a.npy", "empty.npz"):
        with pytest.raises(
            ValueError, match=f"data '{name}' must be a data set, folder or .npz with x and y: File is not a zip"
        ):
            loading.images(str(tmp_path / name), n=4)


def arrays(path, x, y, n=None, **options):
    np.savez(path, x=x, y=y)
    return loading.images(str(path), n=n or len(y), **options)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 28, 28, 3), r"channels come before height and width: save x.transpose\(0, 3, 1, 2\)"),
        ((8, 28, 28, 1), "channels come before"),
        ((8, 28, 20, 4), "channels come before"),
        ((8, 16, 16, 12), "channels come before"),
        ((8, 3, 3, 1), "channels come before"),
        ((8, 3, 100), r"time series, or flat.* Images of one channel, save as x\[:, None\]"),
        ((8, 100, 3), "time series"),
        ((8, 1000, 12), "time series"),
        ((8, 12, 1000), "time series"),
        ((8, 64, 1), "time series"),
        ((8, 1, 64), "time series"),
        ((8, 3, 8), "time series"),
        ((8, 3, 28, 28), ""),
        ((8, 3, 3, 3), ""),
        ((8, 12, 16, 16), ""),
        ((8, 1, 3, 100), ""),  # the way out
        ((8, 28, 28), ""),
        ((8, 20, 40), ""),
        ((8, 2, 3), ""),
    ],
)
def test_arrays_that_are_no_images_or_in_another_order_are_named(tmp_path, shape, message):
    x, y = np.random.default_rng(0).random(shape), np.arange(8) % 2
    if message:
        with pytest.raises(ValueError, match=rf"data 'a.npz' must hold x of shape .* got .*: .*{message}"):
            arrays(tmp_path / "a.npz", x, y)
    else:
        assert arrays(tmp_path / "a.npz", x, y).x.numel() == x.size


@pytest.mark.parametrize(
    ("y", "labels", "classes"),
    [
        ([0, 1, 2, 0], [0, 1, 2, 0], ["0", "1", "2"]),
        ([0, 4, 4, 0], [0, 4, 4, 0], ["0", "1", "2", "3", "4"]),  # outputs of a network have these numbers
        ([1, 2, 3, 1], [0, 1, 2, 0], ["1", "2", "3"]),
        ([1, 2, 4, 1], [0, 1, 3, 0], ["1", "2", "3", "4"]),
        ([-1, 1, 1, -1], [0, 1, 1, 0], ["-1", "1"]),
        ([True, False, True, True], [1, 0, 1, 1], ["False", "True"]),
        (["dog", "cat", "emu", "cat"], [1, 0, 2, 0], ["cat", "dog", "emu"]),
        ([b"dog", b"cat", b"cat", b"cat"], [1, 0, 0, 0], ["cat", "dog"]),
        (["10", "2", "0", "10"], [10, 2, 0, 10], [str(i) for i in range(11)]),
        (["9" * 40, "2", "0", "2"], [2, 1, 0, 1], ["0", "2", "9" * 40]),
        (np.array([1, 2, 3, 1], np.uint8), [0, 1, 2, 0], ["1", "2", "3"]),
        (np.array([1, 0, 3, 1], ">i2"), [1, 0, 3, 1], ["0", "1", "2", "3"]),
    ],
)
def test_labels_are_numbered_from_zero_and_keep_their_names(tmp_path, y, labels, classes):
    found = arrays(tmp_path / "a.npz", np.arange(1, 5)[:, None, None] / 4 * np.ones((4, 5, 5)), np.array(y))
    assert found.classes == classes
    assert found.y.dtype == torch.int64
    order = (found.x[:, 0, 0, 0] * 4 - 1).long().tolist()
    assert found.y.tolist() == [labels[i] for i in order]


@pytest.mark.parametrize("dtype", [bool, np.uint8, ">f4", np.float16, np.longdouble, np.int64])
def test_arrays_of_any_type_have_their_values(tmp_path, dtype):
    x = np.random.default_rng(0).integers(0, 2, (6, 5, 5))
    stored = (x * 255 if dtype is np.uint8 else x).astype(dtype)
    found = arrays(tmp_path / "a.npz", stored, np.zeros(6, int))
    assert found.x.dtype == torch.float32
    assert sorted(map(float, found.x.sum((1, 2, 3)))) == sorted(x.sum((1, 2)).tolist())


def test_arrays_too_large_for_memory_are_refused_by_their_header(tmp_path, monkeypatch):
    header = {"descr": "<f4", "fortran_order": False, "shape": (1024, 3, 1024, 1024)}
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file, file.open("x.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, header)
        member.write(bytes(1000))
    monkeypatch.setattr(np.lib.format, "read_array", None)
    with pytest.raises(
        ValueError, match=r"data 'a.npz' .*: x, float32 of shape \(1024, 3, 1024, 1024\), would take 12 GiB"
    ):
        loading.images(str(tmp_path / "a.npz"), n=4)


def test_damaged_arrays_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.random.default_rng(0).random((8, 9, 9)), y=np.zeros(8, int))
    whole = (tmp_path / "a.npz").read_bytes()
    for content in (whole[:-200], whole[:1000] + bytes(100) + whole[1100:], whole[: len(whole) // 2]):
        (tmp_path / "b.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"data 'b.npz' must be a data set, folder or .npz with x and y: "):
            loading.images(str(tmp_path / "b.npz"), n=4)


# pictures of every kind


def tiff(path, values, bits, photometric, **tags):
    """A small TIFF of 8 x 8 pixels, with tags that Pillow does not write."""
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    named = {256: 8, 257: 8, 258: bits, 259: 1, 262: photometric, 273: 0, 277: len(bits), 278: 8, 279: len(values)}
    for tag, value in (named | {int(tag[1:]): value for tag, value in tags.items()}).items():
        directory[tag] = value
    path.write_bytes(b"II*\0" + struct.pack("<L", 8) + directory.tobytes(8) + values)


def value_of(folder, n=1, **options):
    return loading.images(str(folder), n=n, **options).x


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("array", "name", "value"),
    [
        (np.full((8, 8), 32768, np.uint16), "1.png", 32768 / 65535),
        (np.full((8, 8), 16384, np.uint16), "1.tif", 16384 / 65535),
        (np.full((8, 8), 0.25, np.float32), "1.tif", 0.25),
        (np.full((8, 8), 128, np.uint8), "1.webp", None),
        (np.full((8, 8), 51, np.uint8), "1.bmp", 0.2),
        (np.full((8, 8), 51, np.uint8), "1.GIF", 0.2),
        (np.full((8, 8), True), "1.png", 1.0),
        (np.full((8, 8, 3), 51, np.uint8), "1.png", 0.2),
        (np.full((8, 8, 4), [51, 51, 51, 255], np.uint8), "1.png", 0.2),
        (np.full((8, 8, 2), [51, 255], np.uint8), "1.png", 0.2),
        (np.full((8, 8, 3), 51, np.uint8), "1.tif", 0.2),
    ],
    ids=lambda value: f"{value.dtype} {value.shape}" if hasattr(value, "dtype") else str(value),
)
def test_pictures_of_any_depth_have_their_values(folder, array, name, value):
    Image.fromarray(array).save(folder / "a" / name)
    x = value_of(folder)
    channels = 3 if array.shape[2:] > (2,) or name in ("1.webp", "1.GIF") else 1  # as these are stored
    assert x.shape == (1, channels, 8, 8)
    assert torch.allclose(x, torch.tensor(128 / 255 if value is None else value), atol=0.01 if value is None else 1e-7)


def test_palettes_have_the_colours_of_their_entries(folder):
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 51, 102, 204])
    picture.save(folder / "a" / "1.png")
    assert torch.allclose(value_of(folder)[0, :, 0, 0], torch.tensor([0.2, 0.4, 0.8]))


def test_twelve_bits_in_a_tiff_are_not_sixteen(folder):
    tiff(folder / "a" / "1.tif", bytes([0x80, 0x08, 0x00]) * 32, (12,), 1)  # 2048 twice in three bytes
    assert torch.allclose(value_of(folder), torch.tensor(2048 / 4095))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "16 bits"])
def test_pictures_are_turned_as_their_exif_wants(folder, orientation, kind):
    array = np.kron(np.array([[40, 80], [120, 160], [200, 240]], np.uint8), np.ones((8, 8), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    deep = array.astype(np.uint16) * 257 if kind == "16 bits" else array
    Image.fromarray(deep).save(folder / "a" / f"1.{'png' if deep is not array else kind}", exif=exif)
    flips = {1: array, 2: array[:, ::-1], 3: array[::-1, ::-1], 4: array[::-1], 5: array.T, 6: array[::-1].T,
             7: array[::-1, ::-1].T, 8: array.T[::-1]}  # fmt: skip
    expected = torch.from_numpy(flips[orientation].copy()).float() / 255
    assert torch.allclose(value_of(folder)[0, 0], expected, atol=0.01)


def misread():
    opaque = Image.new("RGB", (8, 8), "red")
    transparent = Image.new("P", (8, 8))
    sixteen = np.zeros((8, 8), np.uint16)
    return {
        "transparent": ("1.png", Image.new("RGBA", (8, 8), (9, 9, 9, 254)), {}, "transparent in places: lay it on"),
        "transparent grey": ("1.png", Image.new("LA", (8, 8), (9, 0)), {}, "transparent in places"),
        "transparent entry": ("1.gif", transparent, {"transparency": 0}, "transparent in places"),
        "transparent colour": ("1.png", opaque, {"transparency": (255, 0, 0)}, "transparent in places"),
        "transparent 16 bits": ("1.png", Image.fromarray(sixteen), {"transparency": 7}, "mode I.* of 16 bits"),
        "CMYK": ("1.jpg", Image.new("CMYK", (8, 8)), {}, "mode CMYK of 8 bits: save one page, as 8-bit grey or RGB"),
        "LAB": ("1.tif", Image.new("LAB", (8, 8)), {}, "mode LAB of 8 bits"),
        "32 bits": ("1.tif", Image.new("I", (8, 8), 70000), {}, "mode I of 32 bits"),
        "floats to 255": ("1.tif", Image.new("F", (8, 8), 255), {}, r"floats must be in \[0, 1\], got 255 to 255"),
        "no number": ("1.tif", Image.new("F", (8, 8), float("nan")), {}, r"floats must be in \[0, 1\], got nan to nan"),
        "film": ("1.gif", opaque, {"save_all": True, "append_images": [Image.new("RGB", (8, 8))]}, "several pages"),
        "stack": ("1.tif", opaque, {"save_all": True, "append_images": [opaque]}, "several pages: save one page"),
    }  # fmt: skip


@pytest.mark.parametrize("case", misread())
def test_pictures_that_would_be_misread_are_refused(folder, case):
    name, picture, options, message = misread()[case]
    picture.save(folder / "a" / name, **options)
    with pytest.raises(
        ValueError, match=f"picture 'set/a/{name}' cannot be read, save it anew or take it away: .*{message}"
    ):
        value_of(folder)


@pytest.mark.parametrize(
    ("bits", "photometric", "tags", "message"),
    [
        ((16,), 0, {}, "mode I;16 of 16 bits"),
        ((32,), 0, {"t339": 3}, "mode F of 32 bits"),
        ((8,), 1, {"t339": 2}, "mode L of 8 bits"),
        ((16,), 1, {"t339": 2}, "mode I of 16 bits"),
        ((16, 16, 16), 2, {}, "mode RGB of 16 bits"),
        ((8, 8, 8, 8), 2, {"t338": (0,)}, "mode RGBX? of 8 bits"),
        ((8, 8), 1, {"t338": (0,)}, "mode L of 8 bits"),
    ],
    ids=["white is 0", "float white is 0", "signed", "signed 16", "colours of 16", "infrared", "two bands"],
)
def test_tiffs_that_would_be_misread_are_refused(folder, bits, photometric, tags, message):
    tiff(folder / "a" / "1.tif", bytes(8 * 8 * sum(bits) // 8), bits, photometric, **tags)
    with pytest.raises(ValueError, match=f"picture 'set/a/1.tif' cannot be read, .*: {message}: save one page"):
        value_of(folder)


def chunk(kind, content):
    return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))


@pytest.mark.parametrize("colour", [2, 4, 6])
def test_colours_of_sixteen_bits_in_a_png_are_refused(folder, colour):
    channels = {2: 3, 4: 2, 6: 4}[colour]
    header, rows = struct.pack(">LLBBBBB", 8, 8, 16, colour, 0, 0, 0), (b"\0" + b"\x80\1" * 8 * channels) * 8
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (folder / "a" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with pytest.raises(ValueError, match=r"mode RGBA? of 16 bits: save one page, as 8-bit grey or RGB"):
        value_of(folder)


@pytest.mark.parametrize("side", [10_000, 13_000, 100_000])
def test_a_picture_that_is_a_bomb_is_refused_before_a_pixel_is_read(folder, side, monkeypatch):
    header = struct.pack(">LLBBBBB", side, side, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    (folder / "a" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(ValueError, match=rf"picture 'set/a/1.png' cannot .*: Image size \({side**2} pixels\) exceeds"):
        value_of(folder)


def test_pictures_too_many_for_memory_are_refused(folder, monkeypatch):
    for i in range(4):
        Image.new("L", (8, 8), 9).save(folder / "a" / f"{i}.png")
    monkeypatch.setattr(loading, "LIMIT", 3 * 8 * 8 * 4)
    assert len(value_of(folder, n=3)) == 3
    with pytest.raises(ValueError, match=r"4 pictures of 'set' would take .* GiB, more than .*: take fewer"):
        value_of(folder, n=4)


def test_broken_pictures_are_refused_by_name(folder):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(folder / "a" / "1.png")
    whole = (folder / "a" / "1.png").read_bytes()
    for content in (b"", b"no picture", whole[:30], whole[:1000], whole[:1000] + bytes(100) + whole[1100:]):
        (folder / "a" / "1.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"picture 'set/a/1.png' cannot be read, save it anew or take it away: "):
            value_of(folder)
    (folder / "a" / "1.png").unlink()
    (folder / "a" / "1.png").symlink_to("nowhere.png")
    with pytest.raises(ValueError, match=r"picture 'set/a/1.png' cannot be read, .* No such file"):
        value_of(folder)


@pytest.mark.parametrize("shape", [[], [3, 4, 4]])
def test_pictures_of_zero_and_one_are_named(folder, shape):
    array = np.arange(64, dtype=np.uint8).reshape(8, 8) % 2
    Image.fromarray(array).save(folder / "a" / "1.png")
    with pytest.raises(
        ValueError, match="the pictures of 'set' hold bytes of 0 and 1 alone, nearly black: save 255 for 1"
    ):
        value_of(folder, shape=shape)
    Image.fromarray(array * 2).save(folder / "a" / "2.png")
    assert value_of(folder, n=2).max() == 2 / torch.tensor(255)


def test_hidden_files_and_folders_are_no_pictures(folder):
    for path in (
        "a/1.png",
        "a/more/2.png",
        "a/.ipynb_checkpoints/1-checkpoint.png",
        "b/1.png",
        ".b/1.png",
        "b/.x/y/1.png",
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 100).save(folder / path)
    (folder / "a" / "._1.png").write_bytes(b"\0\5\26\7")
    found = loading.images(str(folder), n=3)
    assert found.classes == ["a", "b"]
    assert found.y.bincount().tolist() == [2, 1]
    with pytest.raises(ValueError, match="n=4 is more than the 3 images of 'set'"):
        loading.images(str(folder), n=4)


@pytest.mark.parametrize(
    ("names", "best"),
    [
        (("train", "test"), "test"),
        (("Train", "val"), "val"),
        (("train",), "train"),
        (("train", "valid", "cat"), "valid"),
    ],
)
def test_parts_of_a_set_are_no_classes(folder, names, best):
    (folder / "a").rmdir()
    for name in names:
        (folder / name / "dog").mkdir(parents=True)
        Image.new("L", (8, 8), 100).save(folder / name / "dog" / "1.png")
    with pytest.raises(ValueError, match=f"data 'set' has parts, no classes: name one, such as set/{best}"):
        value_of(folder)
    assert loading.images(str(folder / best), n=1).classes == ["dog"]


def test_one_class_may_be_called_a_train(folder):
    pictures(folder, colours=("red", "blue"))
    (folder / "red").rename(folder / "train")
    (folder / "a").rmdir()
    assert loading.images(str(folder), n=2).classes == ["blue", "train"]


@pytest.mark.data
def test_samples_that_are_no_images_are_refused():
    with pytest.raises(ValueError, match=r"data 'ib' must hold images, got samples of shape \(12,\)"):
        loading.images("ib", n=4)
