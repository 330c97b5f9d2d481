import sys
import warnings
from collections import OrderedDict

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
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


@pytest.mark.parametrize("form", ["plain", "state_dict", "model", "module.", "safetensors"])
def test_weights_of_a_file_fill_the_network(tmp_path, form):
    weights = models.mlp([4, 3, 2], seed=5).state_dict()
    wrapped = {form: weights} if form in ("state_dict", "model") else weights
    if form == "module.":
        wrapped = {f"module.{name}": value for name, value in weights.items()}
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    safetensors.torch.save_file(weights, path) if form == "safetensors" else torch.save(wrapped, path)
    net = loading.model(PATH, options=OPTIONS, state=str(path))
    assert torch.equal(net.output.weight, weights["output.weight"])
    assert not torch.equal(net.output.weight, perceptron().output.weight)


class Evil:
    """Something that a pickle would run."""

    def __reduce__(self):
        return sys.exit, ("pickled code was run",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Evil(), r"state 'w.pth' is no file of weights alone: Weights only load failed"),
        ([torch.zeros(2)], "state 'w.pth' must hold tensors by name, got list"),
        ({"epoch": 3}, "state 'w.pth' must hold tensors by name, got dict"),
        ({"output.weight": torch.zeros(9, 9)}, "state 'w.pth' does not fit the model: Error"),
    ],
)
def test_a_file_without_weights_is_refused_and_never_run(tmp_path, content, message):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=message):
        loading.model(PATH, options=OPTIONS, state=str(tmp_path / "w.pth"))


def test_missing_and_broken_files_of_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"state must be a file of weights, but there is no 'no.pth'"):
        loading.model(PATH, options=OPTIONS, state="no.pth")
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_text("not weights")
        with pytest.raises(ValueError, match=f"state '{name}' is no file of weights alone"):
            loading.model(PATH, options=OPTIONS, state=str(tmp_path / name))


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
    with pytest.raises(ValueError, match=f"is TorchScript of a {type(net).__name__}, into which nobody can look: Tor"):
        loading.model(str(tmp_path / "net.pt"))


def test_a_file_that_is_no_torchscript_is_refused(tmp_path):
    (tmp_path / "net.pt").write_text("no program")
    with pytest.raises(ValueError, match=r"model 'net.pt' is neither 'module:name' nor a TorchScript file: "):
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
        ({"x": np.zeros((4, 2, 2))}, "is no data set, folder or .npz with x and y: .*y"),
        ({"x": np.zeros((4, 2)), "y": np.zeros(4, int)}, r"must hold x of shape .* got \(4, 2\) and \(4,\)"),
        ({"x": np.zeros((4, 2, 2)), "y": np.zeros(3, int)}, r"must hold x of shape .* got \(4, 2, 2\) and \(3,\)"),
        ({"x": np.zeros((4, 2, 2)), "y": np.zeros(4)}, "must hold y as integers of at least 0, got float64"),
        ({"x": np.zeros((4, 2, 2)), "y": -np.ones(4, int)}, "must hold y as integers of at least 0, got int64"),
        ({"x": np.full((4, 2, 2), 3.0), "y": np.zeros(4, int)}, r"must hold x as bytes or in \[0, 1\], got 3 to 3"),
        ({"x": np.full((4, 2, 2), np.nan), "y": np.zeros(4, int)}, "x must be finite"),
        ({"x": np.zeros((2, 2, 2)), "y": np.zeros(2, int)}, "n=4 is more than the 2 images of 'a.npz'"),
        ({"x": np.array([Evil()]), "y": np.zeros(1, int)}, "is no data set, folder or .npz with x and y"),
    ],
    ids=["no y", "flat", "lengths", "real labels", "negative", "range", "nan", "few", "objects"],
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
        ("digits", {"n": 2000}, "n_test=2000 is more than the 1797 samples"),
        ("digits", {"shape": [8, 8]}, r"shape must be empty or channels, height, width, got \[8, 8\]"),
    ],
)
def test_sources_and_options_that_are_none_are_refused(source, options, message):
    with pytest.raises(ValueError, match=message):
        loading.images(source, **{"n": 4} | options)


def test_folders_without_pictures_and_files_of_another_kind_are_refused(tmp_path):
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match="data 'empty' must hold a folder of pictures for each class"):
        loading.images(str(tmp_path / "empty"), n=4)
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(ValueError, match=r"data 'a.csv' is no data set, folder or .npz with x and y"):
        loading.images(str(tmp_path / "a.csv"), n=4)


@pytest.mark.data
def test_samples_that_are_no_images_are_refused():
    with pytest.raises(ValueError, match=r"data 'ib' holds no images but samples of shape \(12,\)"):
        loading.images("ib", n=4)
