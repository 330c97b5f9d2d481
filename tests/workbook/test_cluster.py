import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from joblib import parallel_config

from workbook import cluster, journal, progress, records, store
from workbook.experiments import nb04_neuron_importance as importance

distributed = pytest.importorskip("distributed")
GAIN = 2.0


@pytest.fixture(scope="module")
def local():
    """A scheduler with two workers, in this process."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0", protocol="tcp"
    ) as found:
        yield found


@pytest.fixture
def sent(local, monkeypatch):
    """The address of a scheduler, to which cases go."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("INFOLIB_SCHEDULER", local.scheduler_address)
    return local.scheduler_address


def scaled(a, log=None):
    if log:
        Path(log).open("a").write(str(a))
    return pd.DataFrame({"value": [GAIN * a], "seed": records.seeds(1)[0], "threads": torch.get_num_threads()})


def test_cases_go_to_the_workers_and_come_back_in_order_and_are_kept_here(sent, tmp_path, monkeypatch):
    monkeypatch.setenv("INFOLIB_SEED_SHIFT", "7")
    log = str(tmp_path / "log")
    for _ in range(2):
        found = store.tabulate(scaled, [(a, log) for a in (3, 1, 2)])
        assert found.to_numpy().tolist() == [[6, 7, 1], [2, 7, 1], [4, 7, 1]]
    assert sorted(Path(log).read_text()) == ["1", "2", "3"]
    assert len(list((store.folder() / "scaled").glob("*.safetensors"))) == 3
    monkeypatch.delenv("INFOLIB_SCHEDULER")
    store.tabulate(scaled, [(1, log)])
    assert len(Path(log).read_text()) == 3
