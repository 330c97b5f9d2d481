import os
import subprocess
import sys
from functools import partial
from typing import NamedTuple

import pandas as pd
import pytest
import torch

import infolib
from infolib.estimators import renyi
from infolib.measures import synergy
from workbook import datasets, store
from workbook.cache import fingerprint

SCALE = 2.0


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("INFOLIB_CACHE", str(tmp_path))
    monkeypatch.delenv("INFOLIB_FRESH", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    return tmp_path


def scaled(a, b="x"):
    return pd.DataFrame({"value": [SCALE * a], "label": [b]})


def made_from(code, **names):
    """A function of a file of its own, `f`, with the given globals."""
    module = {"__name__": "notebook", "pd": pd, **names}
    exec(compile(code, "notebook.py", "exec"), module)
    return module["f"]


def test_tables_come_in_the_order_of_the_cases():
    table = store.tabulate(scaled, [(1, "a"), (3,), (2, "b")])
    pd.testing.assert_frame_equal(table, pd.DataFrame({"value": [2.0, 6.0, 4.0], "label": ["a", "x", "b"]}))


class Two(NamedTuple):
    points: pd.DataFrame
    words: pd.DataFrame


def of_two(a):
    os.environ["COMPUTED"] += "."
    return Two(pd.DataFrame({"value": [a, a + 1]}), pd.DataFrame({"word": ["x" * a]}))


def test_a_function_of_several_tables_is_computed_once_and_each_is_kept(folder, monkeypatch):
    monkeypatch.setenv("COMPUTED", "")
    for _ in range(2):
        points, words = store.tabulate(of_two, [(1,), (4,)], frames=Two._fields)
        assert points["value"].tolist() == [1, 2, 4, 5]
        assert words["word"].tolist() == ["x", "xxxx"]
    assert os.environ["COMPUTED"] == ".."
    assert len(list((folder / "tables").iterdir())) == 4


def test_a_table_of_former_settings_is_not_taken_for_the_present_one(monkeypatch):
    assert store.tabulate(scaled, [(1,)])["value"].item() == 2.0
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert store.tabulate(scaled, [(1,)])["value"].item() == 3.0


PROCESSES = """
import pandas as pd, torch
from workbook import store

SCALE = 2.0

def scaled(a):
    return pd.DataFrame({"value": [SCALE * a]})

torch.get_num_threads = lambda: 2
print(store.tabulate(scaled, [(i,) for i in range(5)])["value"].tolist())
"""


def test_processes_share_the_work_and_keep_its_order(tmp_path):
    script = tmp_path / "script.py"  # a process of its own: the workers end with it
    script.write_text(PROCESSES)
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[0.0, 2.0, 4.0, 6.0, 8.0]"
    assert len(list((tmp_path / "tables").iterdir())) == 5


ALONE = """
import os
import pandas as pd, torch
from workbook import store

def threads(a):
    return pd.DataFrame({"torch": [torch.get_num_threads()], "asked": [int(os.environ["OMP_NUM_THREADS"])]})

torch.get_num_threads = lambda: 2
print(store.tabulate(threads, [(i,) for i in range(2)]).to_numpy().tolist())
"""


def test_a_case_has_one_thread_however_many_the_process_has(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(ALONE)
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    run = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[[1, 1], [1, 1]]"


def test_an_interrupted_run_goes_on_where_it_was(tmp_path):
    log, fail = tmp_path / "log", tmp_path / "fail"
    fail.touch()

    def slow(a, log, fail):
        from pathlib import Path

        if a == 2 and Path(fail).exists():
            raise RuntimeError("killed")
        with open(log, "a") as file:
            file.write(str(a))
        return pd.DataFrame({"value": [a]})

    todo = [(a, str(log), str(fail)) for a in range(4)]
    with pytest.raises(RuntimeError, match="killed"):
        store.tabulate(slow, todo)
    assert log.read_text() == "01"
    fail.unlink()
    assert store.tabulate(slow, todo)["value"].tolist() == [0, 1, 2, 3]
    assert log.read_text() == "0123"  # 0 and 1 came from the cache


def test_a_value_that_the_function_reads_is_part_of_its_origin(monkeypatch):
    before = store.origin(scaled)
    assert before["SCALE"] == 2.0
    assert "SCALE * a" in before["function"]
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert store.origin(scaled) != before


def test_functions_that_it_calls_are_part_of_it_also_inside_lambdas_and_partials():
    def outer():
        return [(lambda: partial(scaled, 4))() for _ in range(2)]

    found = store.origin(partial(outer))
    assert "SCALE" in found
    assert "pd.DataFrame" in found["scaled"]


def test_enclosed_values_and_defaults_are_part_of_it():
    def enclosing(k):
        return lambda a, b=k + 1: k + a + b

    assert store.origin(enclosing(1)) != store.origin(enclosing(2))
    assert 7 in store.origin(enclosing(7)).values()
    assert 8 in store.origin(enclosing(7)).values()


def test_the_packages_modules_are_part_of_it_as_far_as_they_are_reached():
    def measured():
        return synergy.point

    found = store.origin(measured)
    assert {"infolib.measures.synergy", "infolib.estimators.renyi", "workbook.models"} <= set(found)
    assert not any("plotting" in name or "knn" in name or "torch" in name for name in found)
    assert set(store.origin(lambda: renyi.gram)) < set(found) | {"function"}


def test_data_sets_and_arguments_of_partials_count_by_their_content():
    def with_data(x):
        data = datasets.Data(x, torch.arange(3))
        return store.origin(lambda: data)

    assert fingerprint(with_data(torch.zeros(3, 2))) == fingerprint(with_data(torch.zeros(3, 2)))
    assert fingerprint(with_data(torch.zeros(3, 2))) != fingerprint(with_data(torch.ones(3, 2)))
    assert "class Data" in with_data(torch.zeros(3, 2))["workbook.datasets"]
    assert store.origin(partial(scaled, 4)) != store.origin(partial(scaled, 5))
    assert store.origin(partial(scaled, b="x")) != store.origin(partial(scaled, b="y"))


def test_functions_in_a_dict_of_options_are_part_of_it():
    def origin(a, k=1):
        options = {"k": k, "code": {"learner": partial(scaled, a)}}
        return store.origin(lambda: options), store.origin(partial(scaled, **options))

    for one, same, other, beside in zip(origin(4), origin(4), origin(5), origin(4, k=2), strict=True):
        assert one == same
        assert fingerprint(one) not in (fingerprint(other), fingerprint(beside))
        assert "SCALE" in one


def test_refusals():
    with pytest.raises(ValueError, match="cases is empty"):
        store.tabulate(scaled, [])
    frame = pd.DataFrame({"a": [1]})
    with pytest.raises(ValueError, match=r"reads .*frame, whose content cannot be told: DataFrame has no stable"):
        store.origin(lambda: frame)
    with pytest.raises(ValueError, match="f has no source"):
        store.origin(made_from("def f(): return 1"))
    with pytest.raises(ValueError, match="import its modules by name"):
        store.origin(lambda: infolib)
    with pytest.raises(ValueError, match="set has no stable fingerprint"):
        store.tabulate(scaled, [({1},)])
