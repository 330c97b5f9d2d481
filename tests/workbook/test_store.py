import copy
import errno
import importlib
import inspect
import json
import linecache
import math
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load, load_file, save_file
from torch import nn

import workbook
from infolib.data import Data
from workbook import journal, reach, records, store
from workbook.store import cached, content, fingerprint, key, tabulate, trained

SCALE = 2.0


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("INFOLIB_CACHE", str(tmp_path / "kept"))
    monkeypatch.setenv("CALLS", "")
    monkeypatch.delenv("INFOLIB_FRESH", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    return tmp_path / "kept"


def compute(lr=0.1):
    os.environ["CALLS"] += "."
    return {"b": torch.arange(6.0).reshape(2, 3).T, "a": torch.tensor(3 if lr == 0.1 else 4)}


def other(lr=0.1):
    return {"a": torch.tensor(int(10 * lr))}


def calls():
    return len(os.environ["CALLS"])


def stored(folder):
    (entry,) = (folder / "compute").iterdir()  # one file: no temporary one is left
    assert entry.name == f"{fingerprint(key(compute))}.safetensors"
    return entry


# --- fingerprints ---


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
    assert fingerprint(content(one)) != fingerprint(content(other))


def test_equal_contents_have_one_fingerprint():
    assert fingerprint({"a": 1, "b": (2, 3)}) == fingerprint({"b": [2, 3], "a": 1})
    square = torch.arange(6).reshape(2, 3)
    assert fingerprint(square.T) == fingerprint(square.T.contiguous())
    wave = torch.tensor([1 + 2j, -3j])
    for view in (wave.conj(), wave.conj().imag, wave.imag._neg_view()):
        assert fingerprint(view) == fingerprint(torch.tensor(view.tolist()))
        assert cached(lambda view=view: {"a": view})["a"].tolist() == view.tolist()


def test_fingerprint_of_every_type_is_the_same_in_every_process():
    parts = {"t": torch.ones(2, dtype=torch.bfloat16), "e": torch.empty(0), "n": None, "i": -1, "f": 1e-300, "b": True}
    assert fingerprint(parts)[:16] == "d968e743b4fc94fa"


@pytest.mark.parametrize("part", [object(), len, {1: 2}, [{"a": {3}}]])
def test_types_without_stable_content_are_refused(part):
    with pytest.raises(ValueError, match="fingerprint"):
        fingerprint(part)


# --- entries ---


def test_a_result_is_computed_once_and_comes_back_the_same(folder):
    first, second = cached(compute), cached(compute)
    assert calls() == 1
    assert list(first) == list(second) == ["a", "b"]
    for name, value in compute().items():
        torch.testing.assert_close(first[name], value, rtol=0, atol=0)
        torch.testing.assert_close(second[name], value, rtol=0, atol=0)
    stored(folder)


def test_other_arguments_options_or_functions_are_another_result():
    assert cached(compute)["a"] == 3
    assert cached(compute, 0.2)["a"] == 4
    assert cached(compute, lr=0.1)["a"] == 3
    assert calls() == 3
    assert cached(other)["a"] == 1


def drawn(n):
    return pd.DataFrame({"seed": records.seeds(n)})


def test_shifted_seeds_are_another_result(monkeypatch):
    """A function that takes its seeds inside must not be answered with those of another shift."""
    for shift in ("", "100", "200", "0"):
        monkeypatch.setenv("INFOLIB_SEED_SHIFT", shift)
        assert tabulate(drawn, [(2,)])["seed"].tolist() == [int(shift or 0), int(shift or 0) + 1]
        assert ("seeds from" in key(drawn, 2)) == (shift not in ("", "0"))


def test_progress_and_the_order_of_options_do_not_count():
    def told(**options):
        return {"n": torch.tensor(len(options))}

    assert cached(told, a=1, b=2)["n"] == cached(told, b=2, a=1, progress=True)["n"] == 2
    assert key(told, progress=1) == key(told)


def test_a_result_of_other_threads_or_versions_is_another_result(monkeypatch):
    cached(compute)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    cached(compute)
    assert calls() == 2
    monkeypatch.setattr(store, "version", lambda name: f"{name} of tomorrow")
    cached(compute)
    assert calls() == 3
    assert set(key(compute)["versions"]) == {"torch", "numpy", "scipy"}


def test_fresh_computes_again_and_renews_the_entry(folder, monkeypatch):
    cached(compute)
    before = stored(folder).stat().st_mtime_ns
    monkeypatch.setenv("INFOLIB_FRESH", "1")
    cached(compute)
    monkeypatch.delenv("INFOLIB_FRESH")
    assert stored(folder).stat().st_mtime_ns > before
    assert cached(compute)["a"] == 3
    assert calls() == 2


def test_a_relative_folder_lies_in_the_workbook(monkeypatch):
    monkeypatch.setenv("INFOLIB_CACHE", "elsewhere")
    assert store.folder() == workbook.root() / "elsewhere"
    monkeypatch.delenv("INFOLIB_CACHE")
    assert store.folder() == workbook.root() / "data/cache"


def truncate(content):
    return content[: len(content) // 2]


def flip_last_bit(content):
    return content[:-1] + bytes([content[-1] ^ 1])


def another_year(content):
    return content.replace(b'[\\"20', b'[\\"30', 1)


@pytest.mark.parametrize("damage", [truncate, flip_last_bit, another_year, lambda _: b"", lambda _: b"not safetensors"])
def test_a_corrupt_entry_is_rebuilt_with_a_warning(folder, damage):
    cached(compute)
    entry = stored(folder)
    whole = load(entry.read_bytes())
    entry.write_bytes(damage(entry.read_bytes()))
    with pytest.warns(UserWarning, match="is not used and is computed again"):
        assert cached(compute)["a"] == 3
    torch.testing.assert_close(load(stored(folder).read_bytes()), whole, rtol=0, atol=0)


def test_an_entry_under_anothers_name_or_without_a_name_is_rebuilt(folder):
    cached(compute, 0.2)
    (entry,) = (folder / "compute").iterdir()
    mine = entry.with_name(f"{fingerprint(key(compute))}.safetensors")
    entry.rename(mine)
    with pytest.warns(UserWarning, match="written under another key"):
        assert cached(compute)["a"] == 3
    tensors = load_file(mine)
    for stored, reason in (
        ({}, "written under another key"),
        ({"key and content": f"{mine.stem} {fingerprint([])}"}, "content is not what was written"),
    ):
        save_file(tensors, mine, stored)
        with pytest.warns(UserWarning, match=reason):
            cached(compute)
    assert calls() == 4


def half_then(error):
    def write_bytes(path, content):
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
        raise error

    return write_bytes


def test_a_full_disk_costs_a_warning_and_leaves_nothing(folder, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", half_then(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    with pytest.warns(UserWarning, match=r"not cached in .*: No space left on device"):
        assert cached(compute)["a"] == 3
    assert list((folder / "compute").iterdir()) == []


def test_a_cache_that_is_no_folder_costs_a_warning(folder):
    folder.write_text("in the way")
    with pytest.warns(UserWarning, match="not cached"):
        assert cached(compute)["a"] == 3


def test_an_interrupt_while_writing_leaves_nothing(folder, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", half_then(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        cached(compute)
    assert list((folder / "compute").iterdir()) == []


VICTIM = """
import torch

def compute():
    return {"a": torch.tensor(4)}
"""

KILLED = """
import os, signal
from pathlib import Path
from victim import compute
from workbook.store import cached

write = Path.write_bytes
def killed(path, content):
    write(path, content[:50]); os.kill(os.getpid(), signal.SIGKILL)
Path.write_bytes = killed
cached(compute)
"""


def test_a_kill_while_writing_leaves_no_entry(folder, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "victim.py").write_text(VICTIM)
    (tmp_path / "script.py").write_text(KILLED)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    assert subprocess.run([sys.executable, tmp_path / "script.py"], check=False, env=environment).returncode == -9
    (left,) = (folder / "compute").iterdir()  # the child did get as far as a temporary file
    victim = importlib.import_module("victim")
    assert cached(victim.compute)["a"] == 4
    assert left.name.startswith(f"{fingerprint(key(victim.compute))}.safetensors.")


def test_writers_and_readers_at_the_same_time_see_whole_entries(folder, monkeypatch):
    def compute():
        return {"a": torch.ones(300_000)}

    monkeypatch.setenv("INFOLIB_FRESH", "1")
    cached(compute)
    (entry,) = (folder / "compute").iterdir()
    with ThreadPoolExecutor(8) as pool:
        writes = [pool.submit(cached, compute) for _ in range(64)]
        while not all(future.done() for future in writes):
            assert load_file(entry)["a"].sum() == 300_000
    assert all(future.result()["a"].sum() == 300_000 for future in writes)
    assert [*(folder / "compute").iterdir()] == [entry]


def test_an_error_of_the_computation_passes_through(folder):
    def refuse():
        raise OSError("ours")

    with pytest.raises(OSError, match="ours"):
        cached(refuse)
    with pytest.raises(ValueError, match="dict of tensors, got list"):
        cached(list)
    assert not folder.exists()


# --- tables ---


def frame_of(kind):
    os.environ["CALLS"] += "."
    columns = {"zeile": ["b", "a ∘ ä", "b", ""], "I(X;T)": [1.5, math.nan, -2.0, math.inf], "step": [3, 1, 2, 0]}
    whole = pd.DataFrame(columns | {"on": [True, False, True, True]}, index=[7, 8, 9, 9])
    twice = whole.set_axis(["a", "a", "rows", "words 001 a"], axis=1)
    return {"whole": whole, "empty": whole.iloc[:0], "twice": twice, "bare": pd.DataFrame(index=range(2))}[kind]


@pytest.mark.parametrize("kind", ["whole", "empty", "twice", "bare"])
def test_table_comes_back_as_it_was_computed(kind):
    expected = frame_of(kind).reset_index(drop=True)
    for _ in range(2):
        pd.testing.assert_frame_equal(tabulate(frame_of, [(kind,)]), expected, check_column_type=kind != "bare")
    assert calls() == 2


WORDS = ["b", "a", "b", "c\0 ∘"]
COLUMNS = [
    *(np.arange(4).astype(kind) for kind in ("i1", "u2", "u8", "i8", "f2", "f4", "f8", ">i4", "?")),
    np.array([-0.0, math.nan, -math.inf, 1e-320]),
    *(
        pd.to_datetime(["2020-01-01 00:00", None, "1969-12-31 23:59", "2262-04-11 00:00"]).as_unit(u)
        for u in ("s", "ms", "ns")
    ),
    *(pd.to_timedelta([1, None, -1, 10**6], unit="s").as_unit(unit) for unit in ("s", "us")),
    *(pd.Series(WORDS, dtype=kind) for kind in ("str", "object", "string")),
    pd.Series(["", "", "", "\ud800"], dtype=object),
    pd.Categorical(WORDS),
    pd.Categorical([*WORDS[:3], None], ["unused", *WORDS[:2]], ordered=True),
    pd.Categorical([3, 1, 3, 2], [3, 2, 1]),
    pd.Categorical([0.5, 1.5, 0.5, None]),
    pd.Categorical(pd.to_datetime(["2020-01-01"] * 4)),
    pd.Categorical([True, False, True, True]),
]


@pytest.mark.parametrize("rows", [4, 1, 0])
def test_columns_come_back_with_their_types_values_and_order(rows, monkeypatch):
    frame = pd.DataFrame({f"c{i}": values for i, values in enumerate(COLUMNS)}).iloc[:rows, ::-1]

    def once():
        os.environ["CALLS"] += "."
        return frame

    monkeypatch.setattr(store, "content", lambda *_: rows)  # a frame has none
    for _ in range(2):
        found = tabulate(once, [()])
        pd.testing.assert_frame_equal(found, frame, check_index_type=False, check_exact=True)
        assert [*found.dtypes] == [*frame.dtypes]
    assert calls() == 1


@pytest.mark.parametrize(
    "values",
    [
        *(pd.Series(values, dtype=object) for values in ([None, "a"], [{}, {}], [1, "a"], [1, 2])),
        pd.Series([1, 2], dtype="Int64"),
        pd.Series(["a", None], dtype="str"),
        pd.Series([1j, 2]),
        pd.to_datetime(["2020-01-01"]).tz_localize("UTC"),
        pd.cut([1, 2], 2),
        pd.period_range("2020", periods=2),
    ],
)
def test_table_of_anything_else_is_refused_and_not_kept(values, folder, monkeypatch):
    monkeypatch.setattr(store, "content", lambda *_: 1)
    frame = pd.DataFrame({"b": 1, "c": values})
    with pytest.raises(ValueError, match="column 'c' must hold numbers, strings, times or categories of them, got"):
        tabulate(lambda: frame, [()])
    assert [*folder.rglob("*.safetensors")] == []


def test_what_is_no_table_is_refused():
    with pytest.raises(ValueError, match="names of columns must be strings, got 3"):
        tabulate(lambda: pd.DataFrame({3: [1]}), [()])
    with pytest.raises(ValueError, match=r"must return a frame, .*got dict"):
        tabulate(lambda: {"a": [1]}, [()])
    with pytest.raises(ValueError, match=r"must return a frame, .*got NoneType"):
        tabulate(of_two, [(1,)], frames=["points", "missing"])


@pytest.mark.parametrize("wrong", [{}, {"a": torch.ones(2)}, {"table": torch.ones(2)}, "lost", "short", "shape"])
def test_an_entry_of_the_wrong_kind_is_computed_again(folder, wrong):
    expected = tabulate(frame_of, [("whole",)])
    (entry,) = (folder / "frame_of").iterdir()
    tensors = load_file(entry)
    name = entry.name.partition(".")[0]
    if wrong == "lost":
        wrong = {title: part for title, part in tensors.items() if title != "1"}
    elif wrong == "short":
        wrong = tensors | {"1": tensors["1"][:-1]}
    elif wrong == "shape":
        wrong = tensors | {"1": tensors["1"][:8]}
    save_file(wrong, entry, {"key and content": f"{name} {fingerprint(wrong)}"})
    with pytest.warns(UserWarning, match="it holds no table"):
        pd.testing.assert_frame_equal(tabulate(frame_of, [("whole",)]), expected)
    pd.testing.assert_frame_equal(tabulate(frame_of, [("whole",)]), expected)
    assert calls() == 2


# --- tabulate ---


def scaled(a, b="x"):
    os.environ["CALLS"] += "."
    return pd.DataFrame({"value": [SCALE * a], "label": [b]})


def test_tables_come_in_the_order_of_the_cases(folder):
    found = tabulate(scaled, [(1, "a"), (3,), (2, "b")])
    pd.testing.assert_frame_equal(found, pd.DataFrame({"value": [2.0, 6.0, 4.0], "label": ["a", "x", "b"]}))
    assert len(list((folder / "scaled").iterdir())) == 3
    assert tabulate(scaled, [(3,)])["value"].item() == 6.0
    assert calls() == 3


class Two(NamedTuple):
    points: pd.DataFrame
    words: pd.DataFrame


def of_two(a):
    os.environ["CALLS"] += "."
    return Two(pd.DataFrame({"value": [a, a + 1]}), pd.DataFrame({"word": ["x" * a]}))


def test_a_function_of_several_tables_is_computed_once_and_each_is_kept(folder):
    for _ in range(2):
        points, words = tabulate(of_two, [(1,), (4,)], frames=Two._fields)
        assert points["value"].tolist() == [1, 2, 4, 5]
        assert words["word"].tolist() == ["x", "xxxx"]
    assert calls() == 2
    assert len(list((folder / "of_two").iterdir())) == 4


def test_a_table_of_former_settings_is_not_taken_for_the_present_one(monkeypatch):
    assert tabulate(scaled, [(1,)])["value"].item() == 2.0
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert tabulate(scaled, [(1,)])["value"].item() == 3.0


SHARED = """
import os, sys
import pandas as pd, torch
from workbook import journal, reach, records, store

SCALE = 2.0
cell = '''
class Net(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x) * SCALE

def told(a):
    key = store.fingerprint(store.content(Net(1, 1)))  # of a class that only the notebook's cell holds
    asked = int(os.environ["OMP_NUM_THREADS"])
    return pd.DataFrame({"value": [SCALE * a], "torch": [torch.get_num_threads()], "asked": [asked], "n": [len(key)]})
'''
import linecache
linecache.cache["<cell 1>"] = (len(cell), None, cell.splitlines(keepends=True), "<cell 1>")
exec(compile(cell, "<cell 1>", "exec"), globals())
torch.get_num_threads = lambda: 2
print(store.tabulate(told, [(i,) for i in range(5)]).astype(int).to_numpy().tolist())
"""


def test_processes_share_the_work_keep_its_order_and_have_one_thread_each(folder, tmp_path):
    script = tmp_path / "script.py"  # a process of its own: the workers end with it
    script.write_text(SHARED)
    environment = os.environ | {"OMP_NUM_THREADS": "2", "INFOLIB_REPORT": str(tmp_path)}
    run = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == [[2 * i, 1, 1, 64] for i in range(5)]
    assert len(list((folder / "told").iterdir())) == 5
    assert journal.closed(tmp_path)["kinds"]["computed"] == {"told": 5}


def test_an_interrupted_run_goes_on_where_it_was(tmp_path):
    log, fail = tmp_path / "log", tmp_path / "fail"
    fail.touch()

    def slow(a, log, fail):
        if a == 2 and Path(fail).exists():
            raise RuntimeError("killed")
        with open(log, "a") as file:
            file.write(str(a))
        return pd.DataFrame({"value": [a]})

    todo = [(a, str(log), str(fail)) for a in range(4)]
    with pytest.raises(RuntimeError, match="killed"):
        tabulate(slow, todo)
    assert log.read_text() == "01"
    fail.unlink()
    assert tabulate(slow, todo)["value"].tolist() == [0, 1, 2, 3]
    assert log.read_text() == "0123"  # 0 and 1 came from the cache


def test_refusals(monkeypatch):
    with pytest.raises(ValueError, match="cases is empty"):
        tabulate(scaled, [])
    frame = pd.DataFrame({"a": [1]})
    with pytest.raises(ValueError, match=r"a function reads frame, whose content cannot be determined: DataFrame"):
        content(lambda: frame)
    with pytest.raises(ValueError, match="argument 1, whose content cannot be determined: DataFrame"):
        tabulate(scaled, [(1, frame)])
    with pytest.raises(ValueError, match=r"option b, .*DataFrame has no stable content; give it as an argument"):
        key(scaled, b=frame)
    with pytest.raises(ValueError, match=r"value, .*lock has no stable content"):
        content([threading.Lock()])
    with pytest.raises(ValueError, match=r"reads workbook as a whole: import its modules by name"):
        content(lambda: workbook)
    monkeypatch.setitem(globals(), "LOCK", threading.Lock())
    with pytest.raises(ValueError, match="reads LOCK, whose content"):
        content(lambda: LOCK)  # noqa: F821


# --- what a key reaches ---


def made_from(code, file, **names):
    """A function of a notebook's cell, `f`, with the given globals."""
    space = {"__name__": "notebook", "pd": pd, "nn": nn, **names}
    exec(compile(code, file, "exec"), space)
    return space["f"]


def cell(code, **names):
    file = f"<cell {fingerprint(code)}>"
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    return made_from(code, file, **names)


def same(one, another):
    return fingerprint(content(one)) == fingerprint(content(another))


BASE = '''
"""Helpers."""
LIMIT = 3
UNREAD = 1

def clamp(x):
    """Of x."""
    return min(x, LIMIT)  # at most

def unrelated(x):
    return x

class Base:
    rate = 1

    def forward(self, x):
        return helper(x) + 1

def helper(x):
    return 2 * x
'''

MAIN = '''
import re
import threading
from functools import lru_cache, wraps
from {base} import Base, clamp
import {base} as base
from contextlib import contextmanager

WORD = re.compile("a+")
FACTOR = 5
TABLE = {{"one": 1, 2: {{3, 4}}}}

def times(k):
    def wrap(function):
        @wraps(function)
        def wrapped(x):
            return k * function(x)
        return wrapped
    return wrap

@times(2)
def decorated(x):
    return x

LOUD = 50

def marked(function):
    function.mark = LOUD
    return function

@marked
@lru_cache(maxsize=1)
def remembered(x):
    return x + 10

@contextmanager
def opened():
    yield 20

class Net(Base):
    size = 7

    @property
    def half(self):
        return self.size / FACTOR

    @staticmethod
    def still():
        return 30

def inside(x):
    from {base} import helper
    return helper(x) + (lambda y=40: y)()

def f(x):
    """Everything."""
    FOREIGN = threading.current_thread  # a comment
    def nested(data):
        return data + len(TABLE)
    with opened():
        found = [nested(x), decorated(x), remembered(x), WORD.match("a")]
        return [*found, inside(x), clamp(x), base.clamp(x), Net().half, f]
'''


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A function `f` of a module beside the notebook, after edits of it or of the module that it imports."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"main_{tmp_path.name.replace('-', '_')}"

    def load(*edits):
        texts = {f"{name}_base": BASE, name: MAIN.format(base=f"{name}_base")}
        for old, new in edits:
            assert any(old in text for text in texts.values())
            texts = {module: text.replace(old, new) for module, text in texts.items()}
        for module, text in texts.items():
            (tmp_path / f"{module}.py").write_text(text)
            sys.modules.pop(module, None)
        importlib.invalidate_caches()
        sys.dont_write_bytecode, kept = True, sys.dont_write_bytecode
        found = importlib.import_module(name)
        sys.dont_write_bytecode = kept
        return found.f

    yield load
    for module in (name, f"{name}_base"):
        sys.modules.pop(module, None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # at most", "  # no more than this\n    # and never more"),
        ("# a comment", "# another"),
        ('"""Of x."""\n', '"""Of y,\n\n    in two lines."""\n'),
        ('    """Everything."""\n', ""),
        ("return 2 * x", "return (2\n        * x)"),
        ("def unrelated(x):\n    return x", "def unrelated(x):\n    return x + 1"),
        ("UNREAD = 1", "UNREAD = 2\nMORE = 3"),
        ('"""Helpers."""', '"""Not the same."""\nimport os'),
    ],
)
def test_comments_docstrings_layout_and_what_is_not_reached_do_not_count(modules, old, new):
    before = fingerprint(key(modules(), 1))
    assert fingerprint(key(modules((old, new)), 1)) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("min(x, LIMIT)", "min(x + 1, LIMIT)"),  # a function of another module
        ("LIMIT = 3", "LIMIT = 4"),  # what that reads
        ("LIMIT = 3", "LIMIT = 3.0"),
        ("return 2 * x", "return 3 * x"),  # imported inside a function, and read by a base class's method
        ("helper(x) + 1", "helper(x) + 2"),  # a method of a base class
        ("rate = 1", "rate = 2"),  # an attribute of one
        ("size = 7", "size = 8"),
        ("return self.size / FACTOR", "return FACTOR"),  # a property
        ("FACTOR = 5", "FACTOR = 6"),  # read there
        ("return 30", "return 31"),  # a static method
        ("@times(2)", "@times(3)"),  # a decorator's argument
        ("return k * function(x)", "return k + function(x)"),  # the decorator
        ("x + 10", "x + 11"),  # lru_cache
        ("LOUD = 50", "LOUD = 51"),  # read by a decorator that leaves no trace
        ("yield 20", "yield 21"),  # contextmanager
        ("y=40", "y=41"),  # a lambda's default
        ('"a+"', '"a*"'),  # an object by its pickle
        ("3, 4}", "3, 5}"),
        ("data + len(TABLE)", "data - len(TABLE)"),  # a nested function
        ("import Base, clamp", "import Base, helper as clamp"),  # another function by the same name
    ],
)
def test_what_is_reached_counts(modules, old, new):
    before = fingerprint(key(modules(), 1))
    assert fingerprint(key(modules((old, new)), 1)) != before
    assert fingerprint(key(modules(), 1)) == before


def test_only_what_is_reached_is_in_a_key(modules):
    f = modules()
    found = key(f)["function"][2]
    assert f"{f.__module__}.decorated" in found
    assert f"{f.__module__}_base.Base" in found
    assert not any("unrelated" in name or "UNREAD" in name for name in found)
    assert set(key(f.__globals__["inside"])["function"][2]) < {*found, f"{f.__module__}_base.helper"}


def test_a_file_that_is_edited_while_its_code_runs_does_not_change_the_key(modules):
    f = modules()
    path = Path(f.__code__.co_filename)
    path.write_text("# a line more\n" + path.read_text().replace("x + 10", "x + 11"))
    assert fingerprint(key(f)) == fingerprint(key(modules()))  # what runs is the former code


def test_a_function_without_a_file_counts_by_its_code():
    one, other = (made_from(f"def f(x):\n    return x + {i}", "nowhere.py") for i in (1, 2))
    assert not same(one, other)
    assert same(one, made_from('def f(x):\n    """Of x."""\n\n    return x + 1  # one', "elsewhere.py"))


def test_a_value_that_the_function_reads_counts(monkeypatch):
    before = content(scaled)
    assert before[2][f"{__name__}:SCALE"] == 2.0
    assert "SCALE" in before[2][f"{__name__}.scaled"][0]
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert content(scaled) != before


def test_a_local_name_or_an_attribute_is_no_global():
    def local(table):
        SCALE = table.scale
        return SCALE + table.scaled.SCALE

    assert f"{__name__}:SCALE" not in content(local)[2]


def test_annotations_are_not_read():
    def annotated(x: workbook, y: pd.DataFrame = None) -> workbook:
        return workbook.root, x, y

    assert "workbook.root" in content(annotated)[2]


def test_functions_that_it_calls_count_also_inside_lambdas_and_partials():
    def outer():
        return [(lambda: partial(scaled, 4))() for _ in range(2)]

    found = content(partial(outer))[2]
    assert {f"{__name__}:SCALE", f"{__name__}.scaled"} <= set(found)
    assert not same(partial(scaled, 4), partial(scaled, 5))
    assert not same(partial(scaled, b="x"), partial(scaled, b="y"))
    assert same(partial(scaled, b="x"), partial(scaled, b="x"))


def test_enclosed_values_and_defaults_count():
    def enclosing(k, j=0):
        return lambda a, b=j + 1, *, c=j: k + a + b + c

    assert not same(enclosing(1), enclosing(2))
    assert not same(enclosing(1), enclosing(1, 2))
    assert same(enclosing(1), enclosing(1))
    assert 7 in content(enclosing(7))[2].values()
    assert not same([enclosing(1), enclosing(2)], [enclosing(2), enclosing(1)])


def test_functions_that_another_package_wraps_at_run_time_count_with_how():
    assert not same(torch.func.vmap(other, in_dims=0), torch.func.vmap(other, in_dims=1))
    assert not same(lru_cache(other), lru_cache(compute))


def test_data_sets_count_by_their_content():
    def with_data(x):
        data = Data(x, torch.arange(3))
        return lambda: data

    assert same(with_data(torch.zeros(3, 2)), with_data(torch.zeros(3, 2)))
    assert not same(with_data(torch.zeros(3, 2)), with_data(torch.ones(3, 2)))
    assert "infolib.data.Data" in content(with_data(torch.zeros(3, 2)))[2]


def test_functions_in_a_dict_of_options_count():
    def options(a, k=1):
        options = {"k": k, "code": {"learner": partial(scaled, a)}}
        return [lambda: options, partial(scaled, **options)]

    for one, again, another, beside in zip(options(4), options(4), options(5), options(4, k=2), strict=True):
        assert same(one, again)
        assert not same(one, another)
        assert not same(one, beside)
        assert f"{__name__}:SCALE" in content(one)[2]


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a):
        self.a = a


class Held:
    def __init__(self, a):
        self.a, self.me = a, self

    def get(self):
        return self.a


CONTENTS = [
    *(1, 1.0, True, "1", b"1", None, (), [], {}, set(), frozenset(), [1], (1,), {1}, frozenset({1}), {1: 2}, {"1": 2}),
    *({(1, 2): 3}, {"a": 1, "b": 2}, {"b": 2, "a": 1}, np.float64(1), np.float32(1), np.int64(1), np.ones(2)),
    *(np.ones((1, 2)), np.array(1.0), torch.float32, torch.float64, torch.device("cpu"), torch.Size([1]), range(3)),
    *(range(0, 3, 2), slice(3), slice(None, 4), Path("a"), Two(1, 2), Two(1, 3), math.sqrt, math.exp, len, torch.relu),
    *(torch.tanh, nn.functional.relu, np.exp, np.sum, nn.ReLU, Two, Held, Held(1), Held(2), Held(1).get, Held(2).get),
    *(Slotted(1), Slotted(2), compute, other, Held.get, 1j, ..., str.upper),
]


def test_contents_that_differ_are_told_apart_and_equal_ones_are_not():
    told = [fingerprint(content(value)) for value in CONTENTS]
    assert len(set(told)) == len(told)
    for value in CONTENTS[:-8]:
        assert fingerprint(content(copy.deepcopy(value))) == fingerprint(content(value))


def test_the_order_of_a_set_does_not_count():
    assert [*{0, 8}] != [*{8, 0}]
    assert content({0, 8}) == content({8, 0})


def test_what_is_installed_counts_by_its_name_and_version(tmp_path, monkeypatch):
    assert content(divmod) == ["name", "builtins.divmod"]
    assert content(nn.functional.relu) == ["name", "torch.nn.functional.relu", version("torch")]
    assert content(nn.Linear) == ["name", "torch.nn.modules.linear.Linear", version("torch")]
    assert content(Image.open) == ["name", "PIL.Image.open", version("pillow")]
    used = [nn.Linear, lambda: pd.DataFrame(), lambda: Image.new("L", (1, 1))]
    before = [content(value) for value in used]
    monkeypatch.setattr(reach, "versions", lambda _: ["99"])
    assert [content(value) == old for value, old in zip(used, before, strict=True)] == [False] * 3
    (tmp_path / "this.py").write_text("class Net: rate = 1\n")  # beside the notebook, by a name that Python has too
    monkeypatch.syspath_prepend(tmp_path)
    assert "this.Net" in content(importlib.import_module("this").Net)[2]
    sys.modules.pop("this")
    for place, ours in (("dist-packages", False), ("site-packages", False), ("mine", True)):
        (tmp_path / place).mkdir()
        (tmp_path / place / f"from_{place[:4]}.py").write_text("def f(): return 1\n")
        monkeypatch.syspath_prepend(tmp_path / place)
        told = content(importlib.import_module(f"from_{place[:4]}").f)
        assert (told[0] == "reaching") == ours


# --- notebooks ---

NOTEBOOK = """
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.special import ndtr

def act(x):
    return x * GAIN

class Base(nn.Module):
    def forward(self, x):
        return act(x) + self.gain

class Net(Base):
    def __init__(self):
        super().__init__()
        self.gain, self.act, self.linear = 1, nn.functional.relu, nn.Linear(2, 2)
        nn.init.zeros_(self.linear.weight), nn.init.zeros_(self.linear.bias)

class Settings:
    rate = 0.1

class Pair(NamedTuple):
    a: int
    b: int = 2

@dataclass
class Case:
    a: int = 3

@torch.no_grad()
def f():
    return Net(), Settings, GAIN, ndtr(0), Pair(1), Case()
"""


def test_functions_and_classes_of_a_notebook_count():
    one = cell(NOTEBOOK, GAIN=1)
    assert same(one, cell("# a comment\n" + NOTEBOOK, GAIN=1))
    assert not same(one, cell(NOTEBOOK, GAIN=2))
    for old, new in [
        ("x * GAIN", "x + GAIN"),
        ("act(x) +", "act(x) -"),
        ("0.1", "0.2"),
        ("b: int = 2", "b: int = 4"),
        ("a: int = 3", "a: int = 4"),
        ("1, nn", "2, nn"),
    ]:
        assert not same(one, cell(NOTEBOOK.replace(old, new), GAIN=1))


def test_bases_of_a_class_without_code_count():
    def made(old):
        return type(
            "Made",
            (inspect.unwrap(cell(NOTEBOOK.replace(old, "0.3"), GAIN=1)).__globals__["Settings"],),
            {"__module__": "made"},
        )

    assert same(made("0.1"), made("0.1"))
    assert not same(made("0.1"), made("none"))


# --- networks ---


def network(old="", new=""):
    return inspect.unwrap(cell(NOTEBOOK.replace(old, new), GAIN=1)).__globals__["Net"]()


def test_a_network_counts_by_tensors_code_attributes_and_what_is_frozen():
    assert same(network(), network())
    assert same(network().eval(), network().eval())
    assert not same(network(), network().eval())
    for edit in [("act(x) +", "act(x) -"), ("x * GAIN", "x + GAIN"), ("gain, self", "gain, self"), ("relu", "gelu")]:
        assert same(network(), network(*edit)) == (edit[0] == edit[1])
    frozen, other, gain, biased = network(), network(), network(), network()
    frozen.linear.weight.requires_grad_(False)
    other.linear.stride = 2
    gain.gain = 5
    nn.init.ones_(biased.linear.bias)
    assert len({fingerprint(content(net)) for net in (network(), frozen, other, gain, biased)}) == 5
    assert not same(nn.Sequential(nn.ReLU()), nn.Sequential(nn.Tanh()))
    assert not same(nn.LSTM(2, 2), nn.LSTM(2, 2))  # two draws


def test_a_network_is_trained_once(folder):
    data = Data(torch.eye(4), torch.tensor([0, 1, 0, 1]))
    options = {"epochs": 3, "batch_size": 2, "lr": 0.1, "seed": 0}
    start = nn.Linear(4, 2)
    net = trained(copy.deepcopy(start), data, **options)
    assert not net.training
    again = copy.deepcopy(start)
    assert trained(again, data, progress=False, **options) is again
    assert torch.equal(again.weight, net.weight)
    assert not torch.equal(start.weight, net.weight)
    assert len(list((folder / "trained").iterdir())) == 1
    trained(copy.deepcopy(start), data, **options | {"seed": 1})
    assert len(list((folder / "trained").iterdir())) == 2
    again.act = torch.tanh  # another network by a plain attribute
    trained(again, data, **options)
    assert len(list((folder / "trained").iterdir())) == 3
    assert "infolib.training.fit" in content(lambda: trained)[2]  # whoever calls it hangs on how it trains
    assert "workbook.store._kept" not in content(lambda: trained)[2]


# --- the journal of a run ---


@pytest.fixture
def report(tmp_path, monkeypatch):
    """The folder of a report, and a clock that only `spend` moves."""
    monkeypatch.setenv("NOW", "0")
    monkeypatch.setattr(journal.time, "perf_counter", lambda: float(os.environ["NOW"]))
    monkeypatch.setenv("INFOLIB_REPORT", str(tmp_path))
    return tmp_path


def spend(seconds):
    os.environ["NOW"] = str(float(os.environ["NOW"]) + seconds)


def inner(a):
    spend(100)
    return {"a": torch.tensor(a)}


def outer(a):
    spend(7)
    return cached(inner, a)


def frame_of_outer(a):
    return pd.DataFrame({"a": [int(outer(a)["a"])]})


def test_a_run_notes_what_it_computed_and_what_it_read(report):
    before = datetime.now(UTC).isoformat(timespec="seconds")
    cached(outer, 1)
    cached(inner, 1)  # computed for another in this run already
    cached(inner, 2)
    found = journal.closed(report)
    assert (found["computed"], found["read"], found["oldest"], found["newest"]) == (2, 0, None, None)
    assert found["kinds"] == {"computed": {"outer": 1, "inner": 1}, "read": {}}
    assert found["core_seconds"] == 207
    assert not (report / "cache.jsonl").exists()
    cached(outer, 1)
    cached(outer, 1)
    cached(inner, 3)
    found = journal.closed(report)
    assert found["kinds"] == {"computed": {"inner": 1}, "read": {"outer": 1}}
    assert found["core_seconds"] == 207
    assert before <= found["oldest"] == found["newest"] <= datetime.now(UTC).isoformat()
    assert journal.closed(report)["core_seconds"] == 0


def test_what_two_results_share_takes_its_time_once_read_or_computed(report):
    for computed, read in ((3, 0), (0, 3)):
        cached(outer, 1)
        tabulate(frame_of_outer, [[1], [2]])
        found = journal.closed(report)
        assert (found["computed"], found["read"], found["core_seconds"]) == (computed, read, 3 * 7 + 2 * 100)


def test_a_result_of_which_a_part_was_read_was_computed_and_its_part_read(report):
    cached(inner, 1)
    journal.closed(report)
    cached(outer, 1)
    found = journal.closed(report)
    assert found["kinds"] == {"computed": {"outer": 1}, "read": {"inner": 1}}
    assert found["core_seconds"] == 107


def test_the_time_that_a_notebook_waits_for_results_is_told_from_its_own(report):
    before = journal.closed(report)["waited_seconds"]
    cached(outer, 1)
    spend(1000)
    tabulate(frame_of_outer, [[1], [2]])
    assert journal.closed(report)["waited_seconds"] - before == 107 + 7 + 107


def test_entries_of_earlier_versions_are_read_with_their_time_unknown(report, folder):
    cached(outer, 1)
    (entry,) = (folder / "outer").iterdir()
    tensors = load(entry.read_bytes())
    save_file(tensors, entry, {"key and content": f"{entry.stem} {fingerprint(tensors)}"})
    journal.closed(report)
    cached(inner, 1)
    assert journal.closed(report)["core_seconds"] == 100
    cached(outer, 1)
    cached(inner, 1)
    found = journal.closed(report)
    assert (found["read"], found["oldest"], found["core_seconds"]) == (2, None, None)
    assert found["newest"] is not None


def test_a_journal_that_cannot_be_written_or_was_cut_is_no_error(report, monkeypatch):
    cached(inner, 1)
    with open(report / "cache.jsonl", "a") as file:
        file.write('{"kind": "inn')
    assert journal.closed(report)["computed"] == 1
    monkeypatch.setenv("INFOLIB_REPORT", str(report / "nowhere"))
    assert cached(inner, 2)["a"] == 2
    monkeypatch.delenv("INFOLIB_REPORT")
    cached(inner, 3)
    assert not (report / "cache.jsonl").exists()
