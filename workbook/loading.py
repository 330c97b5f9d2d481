"""Networks and images of your own, from the one line that names them.

>>> model("workbook.models:mlp", options={"sizes": [64, 16, 10], "seed": 0}).hidden1.linear
Linear(in_features=64, out_features=16, bias=True)
>>> images("digits", clutter=True, n=5).x.shape
torch.Size([5, 1, 12, 12])

Paths are relative to the workbook. Nothing pickled is run: weights are read as tensors only, arrays as numbers only. A
TorchScript file and an import path are programs, and as trustworthy as their author.
"""

import contextlib
import hashlib
import itertools
import math
import os
import pkgutil
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from numpy.lib import format as npy
from torch import Tensor, nn
from torch.random import fork_rng

from infolib import checks
from infolib.data import Data
from workbook import datasets, models, root, store

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
SPLITS = ("test", "testing", "val", "valid", "validation", "train", "training")  # no classes; the first is best
WRAPPERS = ("model.", "module.", "net.", "network.", "_orig_mod.")  # of names of weights
HOLDERS = ("state_dict", "model_state_dict", "net_state_dict", "model", "net", "network", "module", "weights")
LIMIT = 4 * 2**30  # bytes of memory that the arrays of a file, or images, may take


class Images(NamedTuple):
    """Labelled images, and where they come from.

    Parameters
    ----------
    x : Tensor, shape (n, c, h, w)
        Images in [0, 1], float32.
    y : Tensor, shape (n,)
        Labels, int64.
    name : str
        Name of the data set, folder or file.
    sha256 : dict of str to str
        SHA-256 of each of its files.
    boxed : bool
        Whether the object is in the central two thirds.
    classes : list of str
        Name of each label: a folder, or the label as the file has it.
    """

    x: Tensor
    y: Tensor
    name: str
    sha256: dict[str, str]
    boxed: bool
    classes: list[str]

    @property
    def data(self) -> Data:
        """Images and labels alone, as everything else takes them."""
        return Data(self.x, self.y)


def model(path: str, *, options: Mapping[str, Any] | None = None, state: str = "", seed: int = 0) -> nn.Module:
    """A network in eval mode, from its import path or from a TorchScript file.

    TorchScript takes no hooks. The steps of an nn.Sequential in a TorchScript file become layers all the same. Any
    other network in such a file is an error.

    Parameters
    ----------
    path : str
        "module:name" of a network or of a function that makes one, or a TorchScript file.
    options : mapping of str to object, optional
        Arguments of the function, by name.
    state : str
        File of weights, of torch.save or safetensors, read without running any of it. Weights may be under one of
        `HOLDERS`, as in a checkpoint of Lightning. Names may begin with one or more of
        `WRAPPERS`. Empty leaves the network as it is made.
    seed : int
        Seed of random weights.

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        For a path, option or file that is not of this form, and weights that do not fit.
    """
    if isinstance(path, str) and ":" in path and not os.path.isfile(root() / path):
        net = _called(path, {} if options is None else options, seed)
    elif options:
        raise ValueError(f"options are for a model named 'module:name', got {options} with {path!r}")
    else:
        net = _unscripted(located("model", path))
    if not isinstance(state, str) or state:
        _fill(net, state)
    return net.eval()


def images(
    source: str, *, clutter: bool = False, shape: Sequence[int] = (), n: int, seed: int = 0, fit: bool = False
) -> Images:
    """The first images, in a seeded order in which classes are balanced, of a data set, a folder or a .npz file.

    Parameters
    ----------
    source : str
        A data set of `datasets.load` (its test part); a folder with a folder of pictures for each class; or a .npz with
        x, shape (n, c, h, w) or (n, h, w), bytes or numbers in [0, 1], and y, shape (n,). Pictures may be grey of up to
        16 bits or of floats, or in colours of 8 bits; they are rotated by their EXIF tag. Labels y from 0 keep their
        numbers, as those are the network's outputs. Labels from 1, -1 and 1, bools and words are numbered from 0.
    clutter : bool
        Whether to put clutter around the images of a data set.
    shape : sequence of int
        Channels, height and width that images are brought to: sides by bilinear interpolation, one channel to three by
        repetition, three to one by their mean. Empty leaves them.
    n : int
        Number of images.
    seed : int
        Of the order.
    fit : bool
        Whether a folder or a file may have fewer images, which are then taken all.

    Returns
    -------
    Images

    Raises
    ------
    ValueError
        For a source or shape that is not of this form, images out of range, and fewer images than `n`.
    """
    checks.at_least("n", n, 1)
    shape = [checks.at_least("shape", side, 1) for side in shape]
    checks.hold("shape", shape, len(shape) in (0, 3), "empty or channels, height, width")
    _fits(f"n={n} images of shape {shape}", 4 * n * math.prod(shape))
    if isinstance(source, str) and source in _sets():
        found = _ours(source, clutter, n, seed)
    elif clutter:
        raise ValueError(f"clutter is for one of {', '.join(_sets())}, got {source!r}")
    else:
        path = located("data", source)
        found = _pictures(path, shape, n, seed, fit) if path.is_dir() else _arrays(path, n, seed, fit)
    return found._replace(x=_shaped(found.x, shape))


def example(*, width: int = 6, epochs: int = 8, seed: int = 0) -> nn.Module:
    """A small VGG trained on cluttered digits; once, then from the cache.

    Parameters
    ----------
    width : int
        Width of `models.vgg6`.
    epochs, seed : int
        Of the training.

    Returns
    -------
    nn.Module
    """
    splits = datasets.load("digits", n_val=0, seed=seed).cluttered()
    net = models.vgg6(width=width, in_shape=(1, 12, 12), seed=seed)
    return store.trained(net, splits.train, epochs=epochs, batch_size=64, lr=2e-3, seed=seed)


# Networks


def _called(path: str, options: Mapping[str, Any], seed: int) -> nn.Module:
    with _naming(f"model {path!r} is no 'module:name' that can be imported", (ImportError, AttributeError, ValueError)):
        made = pkgutil.resolve_name(path)
    if isinstance(made, nn.Module) and options:
        raise ValueError(f"options are for a function, but {path!r} is a network already")
    if not isinstance(made, nn.Module):
        with fork_rng(devices=[]), _naming(f"model {path!r} cannot be called with {options}", (TypeError,)):
            torch.manual_seed(checks.at_least("seed", seed, 0))
            made = made(**options)
    if not isinstance(made, nn.Module):
        raise ValueError(f"model {path!r} must make a network, got {type(made).__name__}")
    return made


def _unscripted(path: Path) -> nn.Module:
    """The network of a TorchScript file, with its steps as layers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated, but files live long
        with _naming(f"model {path.name!r} is neither 'module:name' nor a TorchScript file (weights are a state)"):
            script = torch.jit.load(path, map_location="cpu")
    if not _is_sequence(script):
        raise ValueError(f"model {path.name!r} is TorchScript of a {script.original_name}, not nn.Sequential: "
                         "TorchScript takes no hooks; name what makes it, and its weights as state")  # fmt: skip
    return _steps(script.eval())


def _is_sequence(script: Any) -> bool:
    name = script._c._type().qualified_name()  # with torch's mangling between module and class
    return name.startswith("__torch__.torch.nn.modules.container.") and name.endswith(".Sequential")


def _steps(script: Any) -> nn.Module:
    if not _is_sequence(script):
        return _Step(script)
    return nn.Sequential(OrderedDict((name, _steps(child)) for name, child in script.named_children()))


class _Step(nn.Module):
    """A module of TorchScript in a wrapper that takes hooks; modules inside it are not layers."""

    def __init__(self, script: Any) -> None:
        super().__init__()
        self.run = (script,)  # a tuple, so that it is no layer of its own

    def forward(self, x: Tensor) -> Tensor:
        return self.run[0](x)

    def extra_repr(self) -> str:
        return self.run[0].original_name


def _fill(net: nn.Module, state: str) -> None:
    path, expected = located("state", state), net.state_dict().keys()
    weights = _weights(path)
    prefixes = ("".join(words) for depth in (1, 2, 3) for words in itertools.product(WRAPPERS, repeat=depth))
    inner = ({key.removeprefix(p): value for key, value in weights.items() if key.startswith(p)} for p in prefixes)
    forms = [weights, *filter(None, inner)]
    if expected and sum(expected <= form.keys() for form in forms) > 1:
        raise ValueError(f"state {path.name!r} fits the model in several ways; save the weights of one network alone")
    best = max(forms, key=lambda form: len(expected & form.keys()))
    missing = [name for name in expected if name not in best and not name.endswith("num_batches_tracked")]
    other = [name for name in best if name not in expected]
    if missing or other:
        found = f"{len(missing)} missing: {_some(missing)}; {len(other)} unexpected: {_some(other)}"
        raise ValueError(f"state {path.name!r} does not fit the model: {found}; do options match?")
    with _naming(f"state {path.name!r} does not fit the model"):
        net.load_state_dict(best)


def _weights(path: Path) -> dict[str, Tensor]:
    safe = path.suffix == ".safetensors"
    with _naming(f"state {path.name!r} must be a file of weights alone, as torch.save(net.state_dict(), file) makes"):
        with zipfile.ZipFile(path) if zipfile.is_zipfile(path) else contextlib.nullcontext() as file:
            unpacked = sum(member.file_size for member in file.infolist()) if file else 0
        _fits("unpacked, it", unpacked if unpacked > path.stat().st_size else 0)  # torch.save does not compress
        content = safetensors.torch.load_file(path) if safe else torch.load(path, weights_only=True, map_location="cpu")
    if len(found := _tensors(content)) != 1:
        names = _some(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"state {path.name!r} must hold tensors by name, alone or as state_dict, got {names}")
    return found[0]


def _tensors(content: Any) -> list[dict[str, Tensor]]:
    """Every dict of tensors alone to which `HOLDERS` lead."""
    named = content if isinstance(content, dict) else {}
    if named and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in named.items()):
        return [named]
    return [found for key in HOLDERS if key in named for found in _tensors(named[key])]


# Images


def _sets() -> list[str]:
    return [name for name, entry in datasets.checksums().items() if "samples" in entry and "labels" not in entry]


def _ours(source: str, clutter: bool, n: int, seed: int) -> Images:
    with _naming(f"n={n}", (ValueError,)):
        splits = datasets.load(source, n_train=0, n_val=0, n_test=n, seed=seed)
    if clutter:
        splits = splits.cluttered()
    test, classes = splits.test, list(map(str, range(int(splits.test.y.max()) + 1)))
    if test.x.ndim != 4:
        raise ValueError(f"data {source!r} must hold images, got samples of shape {tuple(test.x.shape[1:])}")
    return Images(test.x, test.y, splits.name, dict(splits.sha256), clutter, classes)


def _pictures(folder: Path, shape: Sequence[int], n: int, seed: int, fit: bool) -> Images:
    held = _classes(folder)
    files, labels = zip(*((path, i) for i, paths in enumerate(held.values()) for path in paths), strict=True)
    y = torch.tensor(labels)
    n = min(n, len(y)) if fit else n
    chosen = _balanced(y, n, seed, folder.name)
    x, digest, brightest = [], hashlib.sha256(), torch.tensor(0.0)
    for path in (files[i] for i in chosen):
        picture = _picture(path, str(path.relative_to(folder.parent)))
        x.append(_shaped(picture, shape))
        digest.update(hashlib.sha256(path.read_bytes()).digest())
        _fits(f"{len(x)} pictures of {folder.name!r}", 4 * len(x) * x[-1].numel())
        brightest = max(brightest, picture.max())
    if brightest == torch.tensor(1.0) / 255:
        raise ValueError(f"the pictures of {folder.name!r} hold bytes of 0 and 1 alone, nearly black: save 255 for 1")
    if len(sizes := sorted({tuple(image.shape[1:]) for image in x})) > 1:
        raise ValueError(f"shape must be given: the pictures of {folder.name!r} are {_some(sizes)}")
    return Images(torch.cat(x), y[chosen], folder.name, {f"{n} pictures": digest.hexdigest()}, False, list(held))


def _classes(folder: Path) -> dict[str, list[Path]]:
    """The pictures of each class; hidden files and folders do not count."""
    with _naming(f"data {folder.name!r} cannot be listed", (OSError,)):
        held = {inner.name: [path for path in sorted(inner.rglob("*")) if path.suffix.lower() in PICTURES
                             and not any(part.startswith(".") for part in path.relative_to(inner).parts)]
                for inner in sorted(folder.iterdir()) if inner.is_dir() and not inner.name.startswith(".")}  # fmt: skip
    parts = [name for split in SPLITS for name in held if name.lower() == split]
    if len(parts) > 1 or 0 < len(parts) == len(held):
        raise ValueError(f"data {folder.name!r} has parts, no classes: name one, such as {folder.name}/{parts[0]}")
    if empty := [name for name, paths in held.items() if not paths] or ["it"] * (not held):
        none = f"no picture is in {_some(empty)}"
        raise ValueError(f"data {folder.name!r} must hold a folder of pictures for each class, and {none}")
    return held


def _picture(path: Path, name: str) -> Tensor:
    """A picture of shape (1, c, h, w), in [0, 1]."""
    from PIL import Image, ImageOps

    with _naming(f"picture {name!r} cannot be read, save it anew or take it away"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # by size, before any pixel is read
        with path.open("rb") as stream, Image.open(stream) as file:  # by its path Pillow would garble turned TIFFs
            white, picture = _white(file), ImageOps.exif_transpose(file)
        if white == 255:
            if picture.convert("RGBA").getchannel("A").getextrema() != (255, 255):
                raise ValueError("it is transparent in places: lay it on a background")
            picture = picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB")
        x = torch.from_numpy(np.asarray(picture).astype(np.float32)) / white
        if not (x.min() >= 0 and x.max() <= 1):
            raise ValueError(f"its floats must be in [0, 1], got {x.min():g} to {x.max():g}")
    return x[None, None] if x.ndim == 2 else x.permute(2, 0, 1)[None]


def _white(picture: Any) -> int:
    """The value of white; a ValueError for a picture that would be misread."""
    mode, tags = picture.mode, getattr(picture, "tag_v2", {})
    depth = max(tags.get(258, (16 if picture.format == "PNG" and ";16" in str(picture.tile) else 8,)))
    deep = mode.startswith("I;16") or (mode, picture.format) == ("I", "PNG")
    if deep or mode == "F":  # white may be 0, and one value transparent
        odd = tags.get(262) == 0 or "transparency" in picture.info
    else:  # bytes may be signed, and channels left out by Pillow
        odd = depth > 8 or tags.get(339, (1,))[0] != 1 or 0 in tags.get(338, ()) or mode in ("I", "CMYK", "LAB", "La")
    pages = getattr(picture, "is_animated", False) and picture.format != "MPO"  # its second is a thumbnail
    if odd or pages:
        what = f"mode {mode} of {depth} bits{' and several pages' * pages}"
        raise ValueError(f"{what}: save one page, as 8-bit grey or RGB, 16-bit grey, or floats in [0, 1]")
    return 2**depth - 1 if deep else 1 if mode == "F" else 255


def _arrays(path: Path, n: int, seed: int, fit: bool) -> Images:
    with _naming(f"data {path.name!r} must be a data set, folder or .npz with x and y"), zipfile.ZipFile(path) as file:
        x, y = _member(file, "x"), _member(file, "y")
    must = f"data {path.name!r} must hold"
    if mistake := _mistake(x.shape, y.shape):
        shapes = "x of shape (n, c, h, w) or (n, h, w) and y of shape (n,)"
        raise ValueError(f"{must} {shapes}, got {x.shape} and {y.shape}: {mistake}")
    labels, classes = _labels(y, f"{must} y")
    n = min(n, len(labels)) if fit else n
    chosen = _balanced(labels, n, seed, path.name)
    if x.dtype.kind not in "biuf" or (x.dtype == np.uint8 and x.max(initial=0) == 1):
        raise ValueError(f"{must} x as numbers, and 0 and 1 alone as x.astype(bool), not {x.dtype}")
    _fits(f"n={n} images of {path.name!r}", 4 * n * math.prod(x.shape[1:]))
    kept = checks.floats("x", torch.from_numpy(x[chosen].astype(np.float32))) / (255 if x.dtype == np.uint8 else 1)
    if kept.min() < 0 or kept.max() > 1:
        raise ValueError(f"{must} x as bytes or in [0, 1], got {kept.min():g} to {kept.max():g}: divide it by white")
    sha256 = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    return Images(kept[:, None] if kept.ndim == 3 else kept, labels[chosen], path.name, sha256, False, classes)


def _member(file: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array of a .npz, once its header shows that it fits."""
    with file.open(f"{name}.npy") as member:
        read = npy.read_array_header_1_0 if npy.read_magic(member) == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(member)
        _fits(f"{name}, {dtype} of shape {shape},", math.prod(shape) * dtype.itemsize)
        member.seek(0)
        return npy.read_array(member, allow_pickle=False)


def _mistake(x: tuple[int, ...], y: tuple[int, ...]) -> str:
    """Why arrays of these shapes are not images and labels, and what to save instead; empty if they are."""
    few, many = sorted((0, 0, *x)[-2:])
    series = len(x) == 3 and (few <= 3 < many - 1 or many > 4 * few)
    last = len(x) == 4 and (x[1] > 4 >= x[3] or x[1] == x[2] > x[3])
    mistakes = {
        "y is one label for each image; of shape (n, 1) save y[:, 0], of one-hot labels y.argmax(1)": y != x[:1],
        "save flat images as x.reshape(len(x), c, h, w)": len(x) not in (3, 4),
        "are these time series, or flat? Images of one channel, save as x[:, None]": series,
        "channels come before height and width: save x.transpose(0, 3, 1, 2)": last,
    }
    return next((mistake for mistake, made in mistakes.items() if made), "")


def _labels(y: np.ndarray, must: str) -> tuple[Tensor, list[str]]:
    """Labels from 0, and what each is in the file."""
    with contextlib.suppress(ValueError, OverflowError):
        y = y.astype(np.int64) if y.dtype.kind in "SU" else y  # so that 10 comes after 2
    values, numbers = np.unique(y, return_inverse=True)
    if y.dtype.kind in "SUb" or values.tolist() == [-1, 1]:
        return torch.from_numpy(numbers), values.astype(str).tolist()
    if y.dtype.kind not in "iu" or (len(values) and not 0 <= values[0] <= values[-1] <= 100_000):
        got = f"got {y.dtype}: {_some(values)}; save y.astype(int), without unlabelled images"
        raise ValueError(f"{must} as integers of at least 0 (to 100,000), -1 and 1, bools or words, {got}")
    first = int(values[:1].tolist() == [1])  # 1 to K are numbered from 1
    return torch.from_numpy(y.astype(np.int64) - first), [str(i) for i in range(first, int(values.max(initial=0)) + 1)]


def _balanced(y: Tensor, n: int, seed: int, name: str) -> Tensor:
    if n > len(y):
        raise ValueError(f"n={n} is more than the {len(y)} images of {name!r}")
    return datasets.stratified_order(y, torch.Generator().manual_seed(checks.at_least("seed", seed, 0)))[:n]


def _shaped(x: Tensor, shape: Sequence[int]) -> Tensor:
    if not shape:
        return x
    channels, *sides = shape
    if x.shape[1] != channels:
        if (x.shape[1], channels) not in ((1, 3), (3, 1)):
            raise ValueError(f"shape asks for {channels} channels of images that have {x.shape[1]}")
        x = x.mean(1, keepdim=True) if channels == 1 else x.expand(-1, 3, -1, -1)
    if list(x.shape[2:]) != sides:
        x = nn.functional.interpolate(x, size=sides, mode="bilinear", antialias=True).clamp(0, 1)
    return x


def located(argument: str, path: str | os.PathLike[str]) -> Path:
    """Where a file or folder is that an argument names.

    Parameters
    ----------
    argument : str
        "model", "state" or "data", for the error message.
    path : path-like
        From the root of the workbook, from the user's home after ~, or absolute.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If it does not exist; the message lists what the argument may be.
    """
    ways = {"model": "'module:name' or a TorchScript file", "state": "a file of weights",
            "data": f"one of {', '.join(_sets())}, a folder or a .npz file"}  # fmt: skip
    named = isinstance(path, str | os.PathLike) and str(path)
    if not named or not os.path.exists(found := root() / os.path.expanduser(path)):
        raise ValueError(f"{argument} must be {ways[argument]}, but there is no {path!r:.80}")
    return found


@contextlib.contextmanager
def _naming(what: str, kinds: tuple[type[Exception], ...] = (Exception,)) -> Iterator[None]:
    """Errors, of any kind by default, as a ValueError that names the file or argument."""
    try:
        yield
    except kinds as error:
        reason = " ".join(str(error).split())[:400] or type(error).__name__
        raise ValueError(f"{what}: {reason}") from error


def _fits(what: str, size: int) -> None:
    if size > LIMIT:
        raise ValueError(f"{what} would take {size / 2**30:.3g} GiB, more than {LIMIT / 2**30:.3g}: take fewer")


def _some(names: Collection[Any]) -> str:
    shown = ", ".join(map(str, list(names)[:5])) or "none"
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
