import gzip
import hashlib
import io
import os
import re
import socket
import tarfile
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from infolib.data import stratified_order
from workbook import datasets

TRAIN = 60  # images of the made-up MNIST below; 20 more are its test set
UNREACHABLE = "http://127.0.0.1:9/"
SHARED = os.environ.get("INFOLIB_DATA", "")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A made-up MNIST in INFOLIB_DATA: image i is filled with i, its label is i % 10."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    files = {}
    for prefix, numbers in (("train", range(TRAIN)), ("t10k", range(TRAIN, TRAIN + 20))):
        values = np.array(numbers, np.uint8)
        images = bytes([0, 0, 8, 3]) + np.array([len(values), 28, 28], ">i4").tobytes() + values.repeat(784).tobytes()
        labels = bytes([0, 0, 8, 1]) + np.array([len(values)], ">i4").tobytes() + (values % 10).tobytes()
        for kind, content in (("images-idx3", images), ("labels-idx1", labels)):
            path = raw / f"{prefix}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(content))
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            files[f"MNIST/raw/{path.name}"] = {"bytes": path.stat().st_size, "sha256": digest}
    entry = datasets.checksums()["mnist"] | {"files": files, "samples": TRAIN + 20, "official": 20}
    monkeypatch.setitem(datasets.checksums(), "mnist", entry)
    monkeypatch.setenv("INFOLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("INFOLIB_CACHE", str(tmp_path / "cache"))
    return raw


def numbers(data):
    return (data.x[:, 0, 0, 0] * 255).round().long()


@pytest.mark.usefixtures("tiny")
def test_images_are_read_in_0_to_1_with_their_labels():
    splits = datasets.load("mnist", n_val=20)
    assert splits.train.x.shape == (40, 1, 28, 28)
    assert (splits.train.x.dtype, splits.train.y.dtype) == (torch.float32, torch.int64)
    for data in (splits.train, splits.val, splits.test):
        torch.testing.assert_close(data.x, (numbers(data) / 255).view(-1, 1, 1, 1).expand_as(data.x))
        assert torch.equal(data.y, numbers(data) % 10)
    pool = torch.cat([numbers(splits.train), numbers(splits.val)])
    assert pool.sort().values.tolist() == list(range(TRAIN))
    assert numbers(splits.test).sort().values.tolist() == list(range(TRAIN, TRAIN + 20))
    assert splits.sha256 == {file: e["sha256"] for file, e in datasets.checksums()["mnist"]["files"].items()}


@pytest.mark.parametrize("damage", ["altered", "truncated"])
@pytest.mark.parametrize("where", ["data", "cache"])
@pytest.mark.usefixtures("tiny")
def test_a_damaged_file_is_refused(tmp_path, damage, where):
    if where == "cache":
        (tmp_path / "data").rename(tmp_path / "cache")
    path = tmp_path / where / "MNIST" / "raw" / "train-labels-idx1-ubyte.gz"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + (bytes([content[-1] ^ 1]) if damage == "altered" else b""))
    what = f"is not as published: {len(path.read_bytes())} bytes, .*expected {len(content)} bytes, "
    with pytest.raises(ValueError, match=rf"{path} {what}.*; remove it, and .*: infolib data --download mnist"):
        datasets.load("mnist", n_val=0)
    row = next(row for row in datasets.status() if row["name"] == "mnist")
    assert row["where"] == str(tmp_path / where)
    assert re.search(what, row["state"])


def test_a_missing_file_names_the_command(tiny):
    (tiny / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-images-idx3-ubyte.gz is not in .*infolib data --download mnist"):
        datasets.load("mnist", n_val=0)
    states = {row["name"]: row["state"] for row in datasets.status()}
    assert (states["mnist"], states["digits"]) == ("missing", "verified")


def test_the_cache_serves_what_infolib_data_lacks(tiny, tmp_path):
    target = tmp_path / "cache" / "MNIST" / "raw"
    target.mkdir(parents=True)
    for path in tiny.iterdir():
        path.rename(target / path.name)
    assert len(datasets.load("mnist", n_val=0).train) == TRAIN


@pytest.mark.parametrize("name", ["digits", "ib", "mnist", "fashion-mnist", "cifar10", "isbi2012"])
def test_every_set_is_described(name):
    entry = datasets.checksums()[name]
    assert {"title", "source", "licence", "samples", "shape", "files"} <= set(entry)
    assert all(len(expected["sha256"]) == 64 for expected in entry["files"].values())


def worst_imbalance(y, order):
    """The largest distance of a class's count in a prefix from its share of the prefix."""
    counts = torch.nn.functional.one_hot(y[order]).cumsum(0)
    share = y.bincount() / len(y)
    return (counts - torch.arange(1, len(y) + 1)[:, None] * share).abs().max().item()


@settings(deadline=None, max_examples=50)
@given(sizes=st.lists(st.integers(20, 25), min_size=2, max_size=10), seed=st.integers(0, 99))
def test_every_prefix_of_the_order_is_balanced(sizes, seed):
    y = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    order = stratified_order(y, torch.Generator().manual_seed(seed))
    assert order.sort().values.tolist() == list(range(len(y)))
    assert worst_imbalance(y, order) <= 1 + 1e-5
    assert worst_imbalance(y, torch.arange(len(y))) > 1  # the check can fail


def rows(data):
    return {row.numpy().tobytes() for row in data.x}


def test_splits_are_disjoint_balanced_and_complete():
    splits = datasets.load("digits")
    assert [len(data) for data in (splits.train, splits.val, splits.test)] == [899, 449, 449]
    train, val, test = rows(splits.train), rows(splits.val), rows(splits.test)
    assert train.isdisjoint(val)
    assert (train | val).isdisjoint(test)
    for data in (splits.train, splits.val, splits.test):
        assert data.y.bincount().max() - data.y.bincount().min() <= 5  # classes hold 174 to 183


def test_a_smaller_subset_is_part_of_a_larger_one():
    small = datasets.load("digits", n_train=50, n_val=30)
    large = datasets.load("digits", n_train=500, n_val=300)
    assert torch.equal(small.train.x, large.train.x[:50])
    assert rows(small.val) < rows(large.val)
    assert torch.equal(small.test.x, large.test.x)


def test_the_seed_decides_the_split():
    one, again, other = (datasets.load("digits", n_train=50, seed=seed).train for seed in (0, 0, 1))
    assert torch.equal(one.x, again.x)
    assert not torch.equal(one.x, other.x)


def test_empty_splits_are_allowed():
    splits = datasets.load("digits", n_val=0, n_test=0)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (1797, 0, 0)
    assert splits.test.x.shape == (0, 1, 8, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_test": 1798}, "n_test=1798 is more than the 1797 samples available of digits"),
        ({"n_val": 1349}, "n_val=1349 is more than the 1348"),
        (
            {"n_train": 900},
            "n_train=900 is more than the 899 samples available of digits beside n_val=449 and n_test=449",
        ),
        ({"n_train": -1}, "n_train must be an integer of at least 0, got -1"),
        ({"n_train": 1.5}, "n_train must be an integer"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        datasets.load("digits", **options)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown data set 'svhn'; allowed: digits, mnist, fashion-mnist, cifar10, ib"):
        datasets.load("svhn")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "shape", "means"),
    [
        ("mnist", (60_000, 1, 28, 28), [0.1307]),
        ("fashion-mnist", (60_000, 1, 28, 28), [0.2860]),
        ("cifar10", (50_000, 3, 32, 32), [0.4914, 0.4822, 0.4465]),
    ],
)
def test_real_images_have_their_published_means(name, shape, means):
    train = datasets.load(name, n_val=0, n_test=0).train
    assert train.x.shape == shape
    assert train.x.mean((0, 2, 3)).tolist() == pytest.approx(means, abs=1e-4)
    assert (train.x.min(), train.x.max()) == (0, 1)
    assert len(train.y.bincount()) == 10


@pytest.mark.data
def test_the_12_bit_task_holds_every_pattern_once():
    assert len(datasets.load("ib").test) == 614
    train = datasets.load("ib", n_val=0, n_test=0).train
    assert len(rows(train)) == len(train) == 4096
    assert train.y.bincount().tolist() == [1978, 2118]


@pytest.fixture
def stack(tmp_path, monkeypatch):
    """A made-up isbi2012 in INFOLIB_DATA: of 12 sections, i is filled with 20 i and has i columns of membrane."""
    files = {}
    for i in range(12):
        label = np.where(np.arange(16) < i, 0, 255) * np.ones((16, 1))
        for kind, pixels in (("image", np.full((16, 16), 20 * i)), ("label", label)):
            file = f"isbi2012/train/{kind}/{i}.png"
            path = tmp_path / "data" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
            files[file] = {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    entry = datasets.checksums()["isbi2012"] | {"files": files, "samples": 12}
    monkeypatch.setitem(datasets.checksums(), "isbi2012", entry)
    monkeypatch.setenv("INFOLIB_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.mark.usefixtures("stack")
def test_sections_are_read_in_the_order_of_their_stack_with_the_labels_of_their_pixels():
    splits = datasets.sections(n_train=7, n_test=4)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [7, 0, 4]
    for part, numbers in ((splits.train, range(7)), (splits.test, range(8, 12))):
        assert (part.x.dtype, part.y.dtype, part.x.shape[1:]) == (torch.float32, torch.int64, (1, 16, 16))
        for x, y, i in zip(part.x, part.y, numbers, strict=True):
            torch.testing.assert_close(x, torch.full_like(x, 20 * i / 255))
            assert torch.equal(y, (torch.arange(16) < i).long().expand(16, 16))
    assert splits.name == "isbi2012"
    assert splits.sha256 == {file: e["sha256"] for file, e in datasets.checksums()["isbi2012"]["files"].items()}


def test_sections_that_are_not_there_or_too_many_are_refused(stack):
    with pytest.raises(ValueError, match="n_test=13 is more than the 12 samples available of isbi2012"):
        datasets.sections(n_train=0, n_test=13)
    with pytest.raises(ValueError, match="n_train=9 is more than the 8 samples available of isbi2012 beside n_test=4"):
        datasets.sections(n_train=9, n_test=4)
    (stack / "isbi2012" / "train" / "label" / "3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"label/3.png is not in .*zhixuhao.*infolib data --download isbi2012"):
        datasets.sections(n_train=1, n_test=1)


def test_files_of_one_name_in_two_folders_are_downloaded_from_theirs(offered, monkeypatch, tmp_path):
    folder, address = offered
    contents = {"ours/a/0": b"a", "ours/b/0": b"b"}
    described(monkeypatch, "made", contents, files_at=address, below="ours/")
    for file, content in contents.items():
        path = folder / file.removeprefix("ours/")
        path.parent.mkdir()
        path.write_bytes(content)
    assert datasets.download("made") == tmp_path / "cache"
    assert {file: datasets.read("made", file) for file in contents} == contents


@pytest.mark.data
def test_real_sections_have_their_shares_of_membrane():
    splits = datasets.sections(n_train=20, n_test=10)
    assert splits.train.x.shape == (20, 1, 512, 512)
    assert (splits.train.x.min(), splits.train.x.max()) == (0, 1)
    assert splits.train.y.unique().tolist() == [0, 1]
    assert splits.train.y.float().mean().item() == pytest.approx(0.2289, abs=1e-4)
    assert splits.test.y.float().mean().item() == pytest.approx(0.2011, abs=1e-4)


@contextmanager
def serving(folder):
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def served(monkeypatch, tmp_path):
    """The folder of real files served at a local address, and an empty cache."""
    monkeypatch.delenv("INFOLIB_DATA")
    monkeypatch.setenv("INFOLIB_CACHE", str(tmp_path))
    with serving(SHARED) as address:
        yield address


@pytest.mark.data
def test_mnist_is_downloaded_and_verified_and_what_is_whole_stays(served, monkeypatch, tmp_path):
    monkeypatch.setitem(
        datasets.checksums(), "mnist", datasets.checksums()["mnist"] | {"files_at": served + "MNIST/raw/"}
    )
    with pytest.raises(FileNotFoundError):
        datasets.load("mnist")
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    whole = folder / "train-labels-idx1-ubyte.gz"
    whole.write_bytes((Path(SHARED) / "MNIST" / "raw" / whole.name).read_bytes())
    before = whole.stat()
    assert datasets.download("mnist") == tmp_path
    assert len(datasets.load("mnist", n_train=10).train) == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MNIST"]  # no temporary folder is left
    assert (whole.stat().st_ino, whole.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    monkeypatch.setitem(datasets.checksums()["mnist"], "files_at", UNREACHABLE)
    datasets.download("mnist")  # all there: nothing to fetch


@pytest.mark.data
def test_files_of_repositories_are_downloaded_and_verified(served, monkeypatch, tmp_path):
    monkeypatch.setitem(datasets.checksums()["ib"], "source", served + "ib/")
    datasets.download("ib")
    assert len(datasets.load("ib").train) == 3482
    (tmp_path / "ib" / "var_u.mat").unlink()
    monkeypatch.setitem(datasets.checksums()["ib"]["files"]["ib/var_u.mat"], "sha256", "0" * 64)
    with pytest.raises(OSError, match=r"download of ib from .* failed: .*hash"):
        datasets.download("ib")
    assert list((tmp_path / "ib").iterdir()) == []


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """A folder that is served at a local address, the address, and an empty cache; two made-up sets come from it."""
    folder = tmp_path / "offered"
    folder.mkdir()
    monkeypatch.delenv("INFOLIB_DATA", raising=False)
    monkeypatch.setenv("INFOLIB_CACHE", str(tmp_path / "cache"))
    with serving(folder) as address:
        yield folder, address


def described(monkeypatch, name, contents, **entry):
    """Make a set of files known; they are as large and have the hash as `contents` say."""
    files = {
        file: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for file, content in contents.items()
    }
    monkeypatch.setitem(datasets.checksums(), name, {"source": "http://papers.org/", "files": files} | entry)


TWO = {"made/one": b"1" * 100, "made/two": b"2" * 200}


@pytest.mark.parametrize("fault", ["missing", "altered"])
def test_files_appear_only_when_all_are_downloaded_and_verified(offered, monkeypatch, tmp_path, fault):
    folder, address = offered
    described(monkeypatch, "made", TWO, files_at=address)
    (folder / "one").write_bytes(TWO["made/one"])
    if fault == "altered":
        (folder / "two").write_bytes(b"3" * 200)
    with pytest.raises(OSError, match=r"download of made from http://papers.org/ failed: .*(hash|404)"):
        datasets.download("made")
    assert list((tmp_path / "cache").iterdir()) == []
    (folder / "two").write_bytes(TWO["made/two"])
    assert datasets.download("made") == tmp_path / "cache"
    assert [datasets.read("made", file) for file in TWO] == list(TWO.values())


@pytest.mark.parametrize("fault", ["", "archive", "file"])
def test_files_of_an_archive_are_unpacked_and_verified_and_nothing_else_of_it_appears(
    offered, monkeypatch, tmp_path, fault
):
    folder, address = offered
    with tarfile.open(folder / "all.tar.gz", "w:gz") as archive:
        for file, content in (TWO | {"made/readme": b"more"}).items():
            entry = tarfile.TarInfo(file)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    digest = hashlib.md5((folder / "all.tar.gz").read_bytes()).hexdigest()
    where = {"url": address + "all.tar.gz", "hash": "md5:" + ("0" * 32 if fault == "archive" else digest)}
    described(monkeypatch, "made", TWO | ({"made/two": b"3" * 200} if fault == "file" else {}), archive=where)
    if fault:
        with pytest.raises(OSError, match=r"download of made from http.*org/ failed: .*(hash|not as published)"):
            datasets.download("made")
        assert list((tmp_path / "cache").iterdir()) == []
    else:
        datasets.download("made")
        assert sorted(path.name for path in (tmp_path / "cache").rglob("*")) == ["made", "one", "two"]


def test_a_source_that_falls_silent_ends_the_download(monkeypatch, tmp_path):
    monkeypatch.setenv("INFOLIB_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets, "SILENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes the call and never answers
        monkeypatch.setitem(datasets.checksums()["ib"], "source", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        with pytest.raises(OSError, match=r"download of ib from http.* failed: .*timed out.*0\.2"):
            datasets.download("ib")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", ["", "Content-Length: 999999999\r\n"])
def test_a_source_that_never_ends_ends_the_download_and_is_named(monkeypatch, tmp_path, length):
    monkeypatch.setenv("INFOLIB_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets, "LONGEST", 0.3)

    def pour(server):
        client, _ = server.accept()
        with client, suppress(OSError):
            client.sendall(f"HTTP/1.0 200 OK\r\n{length}\r\n".encode())
            for _ in range(100):
                client.sendall(b"0" * 2**15)
                time.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=pour, args=(server,)).start()
        monkeypatch.setitem(datasets.checksums()["ib"], "source", f"http://127.0.0.1:{server.getsockname()[1]}/")
        with pytest.raises(OSError, match=r"download of ib from http.* failed: ib/.* was not here after 0.005 minutes"):
            datasets.download("ib")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["mnist", "cifar10", "ib"])
def test_a_dead_network_is_said_plainly(name, monkeypatch, tmp_path):
    archive = {"url": UNREACHABLE + "all.tar.gz", "hash": "md5:" + "0" * 32}
    unreachable = {"files_at": UNREACHABLE} | ({"archive": archive} if name == "cifar10" else {})
    monkeypatch.setitem(datasets.checksums(), name, datasets.checksums()[name] | unreachable)
    monkeypatch.setenv("INFOLIB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match=f"download of {name} from http.* failed: (.|\n)*refused"):
        datasets.download(name)
    assert list(Path(tmp_path).iterdir()) == []


def test_files_are_downloaded_from_addresses():
    """Each file has an address of its own, or lies in an archive that has one."""
    for name, entry in datasets.checksums().items():
        address = entry["archive"]["url"] if "archive" in entry else entry.get("files_at", entry["source"])
        assert address.startswith("http"), name
        assert not entry["files"] or address.endswith(("/", ".tar.gz")), name
        below = entry.get("below")
        ends = {file.removeprefix(below) if below else Path(file).name for file in entry["files"]}
        assert len(ends) == len(entry["files"]), name
        assert not below or all(file.startswith(below) for file in entry["files"]), name


def test_nothing_is_downloaded_for_digits(monkeypatch, tmp_path):
    monkeypatch.setenv("INFOLIB_CACHE", str(tmp_path / "cache"))
    datasets.download("digits")
    assert not (tmp_path / "cache").exists()
    with pytest.raises(ValueError, match="unknown data set 'svhn'"):
        datasets.download("svhn")


@pytest.mark.usefixtures("tiny")
def test_relative_data_folder_counts_from_the_workbook_whatever_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "book" / "notebooks").mkdir(parents=True)
    (tmp_path / "book" / "notebooks" / "profiles.toml").touch()
    monkeypatch.setenv("INFOLIB_ROOT", str(tmp_path / "book"))
    monkeypatch.setenv("INFOLIB_DATA", "../data")
    monkeypatch.chdir("/")
    assert len(datasets.load("mnist", n_val=0).train) == TRAIN


def test_an_axis_of_length_one_has_the_stride_that_numpy_gives():
    """On which the kernel of a convolution, and so the last digits of its output, depends."""
    splits = datasets.load("digits", n_train=20, n_val=10)
    assert [part.x.stride() for part in (splits.train, splits.val, splits.test)] == [(64, 8, 8, 1)] * 3
