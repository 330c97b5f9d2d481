"""Networks and images of your own, from the one line that names them.

>>> model("workbook.models:mlp", options={"sizes": [64, 16, 10], "seed": 0}).hidden1.linear
Linear(in_features=64, out_features=16, bias=True)
>>> images("digits", clutter=True, n=5).x.shape
torch.Size([5, 1, 12, 12])

Paths are relative to the workbook. Nothing pickled is run: weights are read as tensors only, arrays as numbers only. A
TorchScript file and an import path are programs, and as trustworthy as their author.
"""

import hashlib
import pkgutil
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present
from torch.random import fork_rng

from infolib import checks
from infolib.data import Data
from workbook import datasets, models, root, store

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


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
        Name of each label.
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
        File of weights, of torch.save or safetensors, read without running any of it. Weights may be under "state_dict"
        or "model", and names may begin with "module.". Empty leaves the network as it is made.
    seed : int
        Of random weights.

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        For a path, option or file that is not of this form, and weights that do not fit.
    """
    if ":" in path and not (root() / path).is_file():
        net = _called(path, options or {}, seed)
    elif options:
        raise ValueError(f"options are for a model named 'module:name', got {dict(options)} with {path!r}")
    else:
        net = _unscripted(_file("model", path))
    if state:
        _fill(net, state)
    return net.eval()


def images(source: str, *, clutter: bool = False, shape: Sequence[int] = (), n: int, seed: int = 0) -> Images:
    """The first images, in a seeded order in which classes are balanced, of a data set, a folder or a .npz file.

    Parameters
    ----------
    source : str
        A data set of `datasets.load` (its test part); a folder with a folder of pictures for each class; or a .npz with
        x, shape (n, c, h, w) or (n, h, w), bytes or numbers in [0, 1], and y, shape (n,), integers.
    clutter : bool
        Whether to put clutter around the images of a data set.
    shape : sequence of int
        Channels, height and width that images are brought to: sides by bilinear interpolation, one channel to three by
        repetition, three to one by their mean. Empty leaves them.
    n : int
        Number of images.
    seed : int
        Of the order.

    Returns
    -------
    Images

    Raises
    ------
    ValueError
        For a source or shape that is not of this form, images out of range, and fewer images than `n`.
    """
    checks.at_least("n", n, 1)
    if len(shape) not in (0, 3):
        raise ValueError(f"shape must be empty or channels, height, width, got {list(shape)}")
    if source in _sets():
        found = _ours(source, clutter, n, seed)
    elif clutter:
        raise ValueError(f"clutter is for one of {', '.join(_sets())}, got {source!r}")
    else:
        path = _file("data", source)
        found = _pictures(path, shape, n, seed) if path.is_dir() else _arrays(path, n, seed)
    return found._replace(x=_shaped(found.x, shape))


def example(*, width: int = 6, epochs: int = 8, seed: int = 0) -> nn.Module:
    """A small VGG trained on cluttered digits; once, then from the cache.

    Parameters
    ----------
    width : int
        Of `models.vgg6`.
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
    try:
        made = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"model {path!r} is no 'module:name' that can be imported: {error}") from error
    if isinstance(made, nn.Module) and options:
        raise ValueError(f"options are for a function, but {path!r} is a network already")
    if not isinstance(made, nn.Module):
        with fork_rng(devices=[]):
            torch.manual_seed(checks.at_least("seed", seed, 0))
            try:
                made = made(**options)
            except TypeError as error:
                raise ValueError(f"model {path!r} cannot be called with {dict(options)}: {error}") from error
    if not isinstance(made, nn.Module):
        raise ValueError(f"model {path!r} must make a network, got {type(made).__name__}")
    return made


def _unscripted(path: Path) -> nn.Module:
    """The network of a TorchScript file, with its steps as layers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated, but files live long
        try:
            script = torch.jit.load(path, map_location="cpu")
        except RuntimeError as error:
            first = str(error).partition("\n")[0][:100]
            raise ValueError(f"model {path.name!r} is neither 'module:name' nor a TorchScript file: {first}") from error
    if not _is_sequence(script):
        raise ValueError(
            f"model {path.name!r} is TorchScript of a {script.original_name}, into which nobody can look: TorchScript "
            "takes no hooks; name the function that makes it, and its weights as state"
        )
    return _steps(script.eval())


def _is_sequence(script: Any) -> bool:
    name = script._c._type().qualified_name()  # with torch's mangling between module and class
    return name.startswith("__torch__.torch.nn.modules.container.") and name.endswith(".Sequential")


def _steps(script: Any) -> nn.Module:
    if not _is_sequence(script):
        return _Step(script)
    return nn.Sequential(OrderedDict((name, _steps(child)) for name, child in script.named_children()))


class _Step(nn.Module):
    """A module of TorchScript in a shell that takes hooks; what is inside stays out of sight."""

    def __init__(self, script: Any) -> None:
        super().__init__()
        self.run = (script,)  # a tuple, so that it is no layer of its own

    def forward(self, x: Tensor) -> Tensor:
        return self.run[0](x)

    def extra_repr(self) -> str:
        return self.run[0].original_name


def _fill(net: nn.Module, state: str) -> None:
    path = _file("state", state)
    weights: Any
    try:
        if path.suffix == ".safetensors":
            weights = safetensors.torch.load_file(path)
        else:
            weights = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # unpickling, zip, safetensors: each has its own
        first = str(error).partition("\n")[0][:100] or type(error).__name__
        raise ValueError(f"state {path.name!r} is no file of weights alone: {first}") from error
    for key in ("state_dict", "model"):
        weights = weights.get(key, weights) if isinstance(weights, dict) else weights
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"state {path.name!r} must hold tensors by name, got {type(weights).__name__}")
    consume_prefix_in_state_dict_if_present(weights, "module.")
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"state {path.name!r} does not fit the model: {error}") from error


# Images


def _sets() -> list[str]:
    return [name for name, entry in datasets.checksums().items() if "samples" in entry]


def _ours(source: str, clutter: bool, n: int, seed: int) -> Images:
    splits = datasets.load(source, n_train=0, n_val=0, n_test=n, seed=seed)
    if clutter:
        splits = splits.cluttered()
    if splits.test.x.ndim != 4:
        raise ValueError(f"data {source!r} holds no images but samples of shape {tuple(splits.test.x.shape[1:])}")
    test = splits.test
    return Images(test.x, test.y, splits.name, dict(splits.sha256), clutter, _numbered(test.y))


def _pictures(folder: Path, shape: Sequence[int], n: int, seed: int) -> Images:
    from PIL import Image

    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = [(path, label) for label, name in enumerate(classes) for path in sorted((folder / name).rglob("*"))
             if path.suffix.lower() in PICTURES]  # fmt: skip
    if not files:
        raise ValueError(f"data {folder.name!r} must hold a folder of pictures for each class; it holds no pictures")
    y = torch.tensor([label for _, label in files])
    chosen = _balanced(y, n, seed, folder.name)
    x, digest = [], hashlib.sha256()
    for path in (files[i][0] for i in chosen):
        content = path.read_bytes()
        digest.update(hashlib.sha256(content).digest())
        with Image.open(path) as picture:
            grey = picture.mode in ("1", "L", "I;16", "LA")
            pixels = torch.from_numpy(np.array(picture.convert("L" if grey else "RGB"))).float() / 255
        x.append(_shaped(pixels[None, None] if grey else pixels.permute(2, 0, 1)[None], shape))
    sizes = sorted({tuple(image.shape[1:]) for image in x})
    if len(sizes) > 1:
        raise ValueError(f"shape must be given: the pictures of {folder.name!r} are {', '.join(map(str, sizes))}")
    return Images(torch.cat(x), y[chosen], folder.name, {f"{n} pictures": digest.hexdigest()}, False, classes)


def _arrays(path: Path, n: int, seed: int) -> Images:
    try:
        with np.load(path, allow_pickle=False) as file:
            x, y = file["x"], file["y"]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"data {path.name!r} is no data set, folder or .npz with x and y: {error}") from error
    if x.ndim not in (3, 4) or y.shape != x.shape[:1]:
        raise ValueError(f"data {path.name!r} must hold x of shape (n, c, h, w) or (n, h, w) and y of shape (n,), got "
                         f"{x.shape} and {y.shape}")  # fmt: skip
    if y.dtype.kind not in "iu" or y.min(initial=0) < 0:
        raise ValueError(f"data {path.name!r} must hold y as integers of at least 0, got {y.dtype}")
    labels = torch.from_numpy(y.astype(np.int64))
    chosen = _balanced(labels, n, seed, path.name)
    kept = torch.from_numpy(x[chosen])
    kept = kept.float() / 255 if kept.dtype == torch.uint8 else checks.floats("x", kept).float()
    if kept.min() < 0 or kept.max() > 1:
        raise ValueError(f"data {path.name!r} must hold x as bytes or in [0, 1], got {kept.min():g} to {kept.max():g}")
    if kept.ndim == 3:
        kept = kept[:, None]
    sha256 = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    return Images(kept, labels[chosen], path.name, sha256, False, _numbered(labels))


def _numbered(labels: Tensor) -> list[str]:
    return [str(label) for label in range(int(labels.max()) + 1)]


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
        x = interpolate(x, size=sides, mode="bilinear", antialias=True).clamp(0, 1)
    return x


def _file(argument: str, path: str) -> Path:
    found = root() / Path(path).expanduser()
    if not found.exists():
        ways = {
            "model": "'module:name' or a TorchScript file",
            "state": "a file of weights",
            "data": f"one of {', '.join(_sets())}, a folder or a .npz file",
        }
        raise ValueError(f"{argument} must be {ways[argument]}, but there is no {path!r}")
    return found
