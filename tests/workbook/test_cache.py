import errno
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from workbook.cache import cached, fingerprint, table

KEY = {"lr": 0.1, "seed": 0}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("INFOLIB_CACHE", str(tmp_path))
    monkeypatch.delenv("INFOLIB_FRESH", raising=False)
    return tmp_path / "kind"


def compute():
    return {"b": torch.arange(6.0).reshape(2, 3).T, "a": torch.tensor(3)}


def refuse():
    raise AssertionError("computed again")


def stored(folder):
    (entry,) = folder.iterdir()  # one file: no temporary one is left
    assert entry.name == f"{fingerprint(KEY, torch.get_num_threads())}.safetensors"
    return entry


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1], [True]),
        ([1], [1.0]),
        ([1], ["1"]),
        ([None], ["None"]),
        (["a"], [b"a"]),
        (["ab"], ["a", "b"]),
        ([[1], 2], [[1, 2]]),
        ([{"a": 1}], [{"a": 2}]),
        ([{"a": "b"}], [["a", "b"]]),
        ([torch.zeros(2, 3)], [torch.zeros(3, 2)]),
        ([torch.zeros(2)], [torch.zeros(2, dtype=torch.int32)]),
        ([torch.zeros(2)], [torch.tensor([0.0, 1e-30])]),
    ],
)
def test_different_contents_have_different_fingerprints(one, other):
    assert fingerprint(*one) != fingerprint(*other)


def test_equal_contents_have_one_fingerprint():
    assert fingerprint({"a": 1, "b": (2, 3)}) == fingerprint({"b": [2, 3], "a": 1})
    square = torch.arange(6).reshape(2, 3)
    assert fingerprint(square.T) == fingerprint(square.T.contiguous())


def test_fingerprint_of_every_type_is_the_same_in_every_process():
    parts = {"t": torch.ones(2, dtype=torch.bfloat16), "e": torch.empty(0), "n": None, "i": -1, "f": 1e-300, "b": True}
    assert fingerprint(parts)[:16] == "d968e743b4fc94fa"


@pytest.mark.parametrize("part", [object(), len, {1: 2}, [{"a": {3}}]])
def test_types_without_stable_content_are_refused(part):
    with pytest.raises(ValueError, match="fingerprint"):
        fingerprint(part)


def test_a_result_is_computed_once_and_comes_back_the_same(folder):
    first, second = cached("kind", KEY, compute), cached("kind", KEY, refuse)
    assert list(first) == list(second) == ["a", "b"]
    for name, value in compute().items():
        torch.testing.assert_close(first[name], value, rtol=0, atol=0)
        torch.testing.assert_close(second[name], value, rtol=0, atol=0)
    stored(folder)


def test_another_key_or_kind_is_another_result():
    cached("kind", KEY, compute)
    with pytest.raises(AssertionError, match="computed again"):
        cached("kind", KEY | {"seed": 1}, refuse)
    with pytest.raises(AssertionError, match="computed again"):
        cached("other", KEY, refuse)


def test_a_result_of_other_threads_is_another_result(monkeypatch):
    others = torch.get_num_threads() + 1
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: others)
        cached("kind", KEY, compute)
    with pytest.raises(AssertionError, match="computed again"):
        cached("kind", KEY, refuse)


def test_fresh_computes_again_and_renews_the_entry(monkeypatch):
    cached("kind", KEY, compute)
    monkeypatch.setenv("INFOLIB_FRESH", "1")
    cached("kind", KEY, lambda: {"a": torch.tensor(4)})
    monkeypatch.delenv("INFOLIB_FRESH")
    assert cached("kind", KEY, refuse)["a"] == 4


def truncate(content):
    return content[: len(content) // 2]


def flip_last_bit(content):
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("damage", [truncate, flip_last_bit, lambda _: b"", lambda _: b"not safetensors"])
def test_a_corrupt_entry_is_rebuilt_with_a_warning(folder, damage):
    cached("kind", KEY, compute)
    entry = stored(folder)
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    with pytest.warns(UserWarning, match="corrupt and is computed again"):
        assert cached("kind", KEY, compute)["a"] == 3
    assert stored(folder).read_bytes() == whole


def half_then(error):
    def write_bytes(path, content):
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
        raise error

    return write_bytes


def test_a_full_disk_costs_a_warning_and_leaves_nothing(folder, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", half_then(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    with pytest.warns(UserWarning, match=r"not cached in .*: No space left on device"):
        assert cached("kind", KEY, compute)["a"] == 3
    assert list(folder.iterdir()) == []


def test_a_cache_that_is_no_folder_costs_a_warning(folder):
    folder.write_text("in the way")
    with pytest.warns(UserWarning, match="not cached"):
        assert cached("kind", KEY, compute)["a"] == 3


def test_an_interrupt_while_writing_leaves_nothing(folder, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", half_then(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        cached("kind", KEY, compute)
    assert list(folder.iterdir()) == []


def test_a_kill_while_writing_leaves_no_entry(folder):
    script = (
        "import os, signal, torch; from pathlib import Path; from workbook.cache import cached\n"
        "write = Path.write_bytes\n"
        "def killed(path, content):\n"
        "    write(path, content[:50]); os.kill(os.getpid(), signal.SIGKILL)\n"
        "Path.write_bytes = killed\n"
        f"cached('kind', {KEY!r}, lambda: {{'a': torch.tensor(4)}})\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert len(list(folder.iterdir())) == 1  # the child did get as far as a temporary file
    assert cached("kind", KEY, compute)["a"] == 3
    assert cached("kind", KEY, refuse)["a"] == 3


def test_writers_and_readers_at_the_same_time_see_whole_entries(folder, monkeypatch):
    def write():
        return cached("kind", KEY, lambda: {"a": torch.ones(300_000)})

    monkeypatch.setenv("INFOLIB_FRESH", "1")
    write()
    entry = stored(folder)
    with ThreadPoolExecutor(8) as pool:
        writes = [pool.submit(write) for _ in range(64)]
        while not all(future.done() for future in writes):
            assert load_file(entry)["a"].sum() == 300_000
    assert all(future.result()["a"].sum() == 300_000 for future in writes)
    assert stored(folder) == entry


def test_an_error_of_the_computation_passes_through(folder):
    with pytest.raises(OSError, match="ours"):
        cached("kind", KEY, lambda: (_ for _ in ()).throw(OSError("ours")))
    with pytest.raises(ValueError, match="dict of tensors, got list"):
        cached("kind", KEY, list)
    assert not folder.exists()


def test_table_comes_back_as_it_was_computed():
    columns = {"zeile": ["b", "a ∘ ä", "b", ""], "I(X;T)": [1.5, math.nan, -2.0, math.inf], "step": [3, 1, 2, 0]}
    frame = pd.DataFrame(columns | {"on": [True, False, True, True]}, index=[7, 8, 9, 9])
    calls = []

    def compute():
        calls.append(1)
        return frame

    for _ in range(2):
        pd.testing.assert_frame_equal(table("tables", {"key": 1}, compute), frame.reset_index(drop=True))
    assert calls == [1]


def test_table_of_anything_else_is_refused():
    for column in ([None, "a"], [{}, {}]):
        with pytest.raises(ValueError, match="column 'c' must hold numbers or strings, got object"):
            table("tables", {"key": 2}, lambda column=column: pd.DataFrame({"c": pd.Series(column, dtype=object)}))
