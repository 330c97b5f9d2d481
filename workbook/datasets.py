"""Data sets, verified by checksum and split with balanced classes.

>>> splits = load("digits", n_train=100, seed=0)
>>> splits.train.x.shape, splits.train.x.dtype, len(splits.test)
(torch.Size([100, 1, 8, 8]), torch.float32, 449)
>>> splits.train.y.bincount().tolist()
[10, 10, 10, 10, 10, 10, 10, 10, 10, 10]
"""

import functools
import gzip
import hashlib
import io
import os
import pickle
import tempfile
import time
import tomllib
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from infolib import checks
from infolib.data import Data, Splits, stratified_order
from workbook import root, store

Images = Literal["digits", "mnist", "fashion-mnist", "cifar10"]  # the sets of images, all of ten classes
COMMAND = "infolib data --download"
SILENCE, LONGEST = 60.0, 3600.0  # seconds that a download may be silent, and that a file may take


def load(
    name: str, *, n_train: int | None = None, n_val: int | None = None, n_test: int | None = None, seed: int = 0
) -> Splits:
    """Read and verify a data set, and split it with balanced classes.

    One seeded order of the samples determines all parts: train has its first `n_train` samples, val and test are at its
    end, so that a smaller subset is part of a larger one. Every prefix of the order is as balanced as the whole
    (`stratified_order`). Where the set has an official test set, test is taken from that, in an order of its own.

    Parameters
    ----------
    name : str
        "digits", "mnist", "fashion-mnist", "cifar10" or "ib".
    n_train, n_val, n_test : int, optional
        Samples of each part. By default `n_val` and `n_test` are 25 % each (digits), 10,000 and all (mnist,
        fashion-mnist), 5,000 and all (cifar10), 0 and 15 % (ib); `n_train` is the rest.
    seed : int
        Seed of the order.

    Returns
    -------
    Splits
        Images in [0, 1], float32 of shape (n, c, h, w); of "ib" bits, shape (n, 12).

    Raises
    ------
    ValueError
        For an unknown name, more samples than there are, and an altered file.
    FileNotFoundError
        For a set that is neither in INFOLIB_DATA nor downloaded.
    """
    n_train, n_val, n_test = sizes(name, n_train=n_train, n_val=n_val, n_test=n_test)
    generator = torch.Generator().manual_seed(checks.at_least("seed", seed, 0))
    pool, official = _SETS[name].read(name)
    order = stratified_order(pool.y, generator)
    if official is None:
        order, last = order[: len(order) - n_test], order[len(order) - n_test :]
        official = pool
    else:
        last = stratified_order(official.y, generator)[:n_test]
    places = ((pool, order[:n_train]), (pool, order[len(order) - n_val :]), (official, last))
    train, val, test = (_taken(of, indices, _SETS[name].scale) for of, indices in places)
    return Splits(train, val, test, name, _hashes(name, pool))


def first(name: str, n: int) -> Data:
    """The first training samples of a set, in the order of its file.

    Parameters
    ----------
    name : str
        As of `load`.
    n : int
        Number of samples.

    Returns
    -------
    Data
        As `load` gives them.
    """
    source = _SETS[checks.choice("data set", name, _SETS)]
    pool, _ = source.read(name)
    return _taken(pool, torch.arange(_count("n", n, len(pool), name)), source.scale)


def sections(*, n_train: int, n_test: int) -> Splits:
    """Sections through tissue, "isbi2012", with labels of pixels: the first sections to train, the last ones to test.

    Neighbours in the stack are similar, so a random part of it would not be independent test data.

    Parameters
    ----------
    n_train, n_test : int
        Sections of each part; there are no validation sections.

    Returns
    -------
    Splits
        Images in [0, 1], float32 of shape (n, 1, 512, 512), and labels of shape (n, 512, 512): 1 on a membrane, else 0.

    Raises
    ------
    ValueError
        For more sections than there are, and an altered file.
    FileNotFoundError
        If they are neither in INFOLIB_DATA nor downloaded.
    """
    from PIL import Image

    name = "isbi2012"
    n_test = _count("n_test", n_test, total := checksums()[name]["samples"], name)
    n_train = _count("n_train", n_train, total - n_test, f"{name} beside n_test={n_test}")
    files = {file: expected["sha256"] for file, expected in checksums()[name]["files"].items()}
    pictures = {file: np.asarray(Image.open(io.BytesIO(read(name, file)))) for file in files}  # in the stack's order
    x, y = (np.stack([t for file, t in pictures.items() if kind in file]) for kind in ("/image/", "/label/"))
    stack = Data(torch.from_numpy(x[:, None]).float() / 255, torch.from_numpy(y == 0).long())
    return Splits(stack[:n_train], stack[:0], stack[total - n_test :], name, files)


def sizes(
    name: str, *, n_train: int | None = None, n_val: int | None = None, n_test: int | None = None
) -> tuple[int, int, int]:
    """How many samples `load` gives, without reading the set.

    Parameters
    ----------
    name : str
        As of `load`.
    n_train, n_val, n_test : int, optional
        As of `load`.

    Returns
    -------
    tuple of int
        Samples for training, validation and test.

    Raises
    ------
    ValueError
        For an unknown name, and more samples than there are.
    """
    source = _SETS[checks.choice("data set", name, _SETS)]
    left, official = checksums()[name]["samples"], checksums()[name].get("official", 0)
    n_test = _count("n_test", (official or source.n_test) if n_test is None else n_test, official or left, name)
    left -= official or n_test
    n_val = _count("n_val", source.n_val if n_val is None else n_val, left, name)
    left -= n_val
    others = f"n_val={n_val}" + ("" if official else f" and n_test={n_test}")
    n_train = _count("n_train", left if n_train is None else n_train, left, f"{name} beside {others}")
    return n_train, n_val, n_test


def read(name: str, file: str) -> bytes:
    """Content of one file of a set, read once and verified.

    Parameters
    ----------
    name : str
        A data set, or "weights".
    file : str
        Its path below INFOLIB_DATA, which comes first, or data/cache.

    Returns
    -------
    bytes

    Raises
    ------
    FileNotFoundError
        If the file is in neither folder.
    ValueError
        If its SHA-256 is not the one in data/checksums.toml.
    """
    return _verified(_find(name, file), name, file)


def status() -> list[dict[str, Any]]:
    """State of every set.

    Returns
    -------
    list of dict
        Per set its name, samples and shape; "where" it is; and its "state": "verified", "missing", or what is wrong
        with the first bad file.
    """
    return [
        {"name": name, "samples": entry.get("samples"), "shape": entry.get("shape")} | _state(name, entry["files"])
        for name, entry in checksums().items()
    ]


def download(name: str) -> Path:
    """Download a data set into data/cache and verify it.

    Complete files there are kept. The others appear only when all are downloaded and verified.

    Parameters
    ----------
    name : str
        A data set, or "weights".

    Returns
    -------
    Path
        The folder data/cache.

    Raises
    ------
    ValueError
        For an unknown name.
    OSError
        If the source cannot be reached, or serves something else.
    """
    import pooch

    entry, kept = checksums()[checks.choice("data set", name, checksums())], store.folder()
    if not (missing := [file for file, expected in entry["files"].items() if not _sound(kept / file, expected)]):
        return kept
    registry = {file: f"sha256:{entry['files'][file]['sha256']}" for file in missing}
    at, below = entry.get("files_at", entry["source"]), entry.get("below")
    urls = {file: at + (file.removeprefix(below) if below else Path(file).name) for file in missing}
    if archive := entry.get("archive"):
        registry, urls = {"archive": archive["hash"]}, {"archive": archive["url"]}
    unpack = pooch.Untar(missing, extract_dir=".") if archive else None
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept, prefix="download-") as temporary:
        source = pooch.create(temporary, "", registry=registry, urls=urls)
        try:
            for file in registry:
                bar = _Bar(desc=file, ncols=79, unit="B", unit_scale=True, leave=True)
                source.fetch(file, unpack, pooch.HTTPDownloader(bar, chunk_size=2**14, timeout=SILENCE))
            for file in missing:
                _verified(Path(temporary), name, file)
        except (OSError, ValueError) as error:
            raise OSError(f"download of {name} from {entry['source']} failed: {error}") from error
        for file in missing:
            (kept / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(Path(temporary) / file, kept / file)
    return kept


class _Bar(tqdm):
    """Progress of one file, which ends when it takes too long."""

    def __init__(self, **options: Any) -> None:
        self.end, self.file = time.monotonic() + LONGEST, options.get("desc", "a file")  # tqdm may be switched off
        super().__init__(**options)

    def __bool__(self) -> bool:
        return True  # tqdm's is False for a source that does not say how much it sends

    def update(self, n: float | None = 1) -> bool | None:
        if time.monotonic() > self.end:
            raise TimeoutError(f"{self.file} was not here after {LONGEST / 60:g} minutes")
        return super().update(n)


@functools.cache
def checksums() -> dict[str, dict[str, Any]]:
    """Content of data/checksums.toml.

    Returns
    -------
    dict of str to dict
        Per set its title, source, licence, samples, shape and files.
    """
    return tomllib.loads((root() / "data" / "checksums.toml").read_text())


def _taken(data: Data, indices: Tensor, scale: float) -> Data:
    """Samples in [0, 1], indexed by NumPy: the kernel of a convolution depends on the stride of an axis of length 1."""
    return Data(torch.from_numpy(data.x.numpy()[indices.numpy()]).float().div_(scale), data.y[indices])


class _Set(NamedTuple):
    """How a set is read (training pool, and official test set if any), its largest value, and its sizes by default."""

    read: Callable[[str], tuple[Data, Data | None]]
    scale: float
    n_val: int
    n_test: int = 0  # unless there is an official test set: then that


@functools.cache
def _read_digits(_name: str) -> tuple[Data, None]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return Data(torch.from_numpy(digits.images[:, None].astype(np.uint8)), torch.from_numpy(digits.target).long()), None


def _read_idx(name: str) -> tuple[Data, Data]:
    """MNIST's format, gzipped: big-endian, 16 bytes of header before images and 8 before labels."""

    def part(prefix: str) -> Data:
        images, labels = (_idx(name, f"{prefix}-{kind}.gz") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        return Data(torch.from_numpy(images[:, None]), torch.from_numpy(labels).long())

    return part("train"), part("t10k")


def _idx(name: str, basename: str) -> np.ndarray:
    (file,) = (file for file in checksums()[name]["files"] if Path(file).name == basename)
    content = gzip.decompress(read(name, file))
    shape = np.frombuffer(content, ">i4", count=content[3], offset=4)  # byte 3 is the number of dimensions
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape).copy()


def _read_cifar10(name: str) -> tuple[Data, Data]:
    train = [_batch(name, f"data_batch_{i}") for i in range(1, 6)]
    pool = Data(torch.cat([batch.x for batch in train]), torch.cat([batch.y for batch in train]))
    return pool, _batch(name, "test_batch")


def _batch(name: str, basename: str) -> Data:
    content = read(name, f"cifar-10-batches-py/{basename}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the pickles of 2009 name NumPy's old modules
        batch = pickle.loads(content, encoding="latin1")  # exactly the bytes that were verified
    return Data(torch.from_numpy(batch["data"]).reshape(-1, 3, 32, 32), torch.tensor(batch["labels"]))


def _read_ib(name: str) -> tuple[Data, None]:
    from scipy.io import loadmat

    task = loadmat(io.BytesIO(read(name, "ib/var_u.mat")))
    return Data(torch.from_numpy(task["F"]), torch.from_numpy(task["y"][0]).long()), None


_SETS = {
    "digits": _Set(_read_digits, 16, 449, 449),
    "mnist": _Set(_read_idx, 255, 10_000),
    "fashion-mnist": _Set(_read_idx, 255, 10_000),
    "cifar10": _Set(_read_cifar10, 255, 5_000),
    "ib": _Set(_read_ib, 1, 0, 614),
}


def _count(argument: str, number: int, available: int, of: str) -> int:
    if checks.at_least(argument, number, 0) > available:
        raise ValueError(f"{argument}={number} is more than the {available} samples available of {of}")
    return number


def _hashes(name: str, pool: Data) -> dict[str, str]:
    """SHA-256 of the files just verified; of the arrays for a set without files (digits)."""
    files = {file: expected["sha256"] for file, expected in checksums()[name]["files"].items()}
    return files or {name: hashlib.sha256(pool.x.numpy().tobytes() + pool.y.numpy().tobytes()).hexdigest()}


def _find(name: str, file: str) -> Path:
    """The folder that holds `file`: INFOLIB_DATA if it does, else data/cache."""
    shared = os.environ.get("INFOLIB_DATA")
    folders = [*([root() / shared] if shared else []), store.folder()]
    for folder in folders:
        if (folder / file).is_file():
            return folder
    tried, source = " or ".join(map(str, folders)), checksums()[name]["source"]
    raise FileNotFoundError(
        f"{file} is not in {tried}; get it from {source} with: {COMMAND} {name}; or set INFOLIB_DATA to its folder"
    )


def _verified(folder: Path, name: str, file: str) -> bytes:
    content = (folder / file).read_bytes()
    actual, expected = hashlib.sha256(content).hexdigest(), checksums()[name]["files"][file]
    if actual != expected["sha256"]:
        raise ValueError(
            f"{folder / file} is not as published: {len(content)} bytes, sha256 {actual[:8]}…, expected "
            f"{expected['bytes']} bytes, {expected['sha256'][:8]}…; remove it, and get it with: {COMMAND} {name}"
        )
    return content


def _sound(path: Path, expected: dict[str, Any]) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == expected["sha256"]


def _state(name: str, files: Iterable[str]) -> dict[str, str | None]:
    where = "scikit-learn"
    for file in files:
        try:
            where = str(folder := _find(name, file))
            _verified(folder, name, file)
        except FileNotFoundError:
            return {"where": None, "state": "missing"}
        except (OSError, ValueError) as error:
            return {"where": where, "state": str(error)}
    return {"where": where, "state": "verified"}
