import gc
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
import torch
from joblib import parallel_config

from infolib.estimators import lanczos
from infolib.measures import neuron_importance
from workbook import cluster, datasets, journal, models, records, store
from workbook.experiments import nb04_neuron_importance as importance

distributed = pytest.importorskip("distributed")
GAIN = 2.0
PLACE = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}


@pytest.fixture(autouse=True)
def without(monkeypatch):
    """No client of the process: a worker within it has left one there."""
    monkeypatch.setattr(distributed, "default_client", distributed.get_worker)  # which raises a ValueError


@pytest.fixture(scope="module")
def local():
    """A scheduler with one worker, in this process, where joblib would send nothing to it."""
    with cluster.begun(distributed.LocalCluster, n_workers=1, processes=False, protocol="tcp", **PLACE) as found:
        yield found.scheduler_address


@pytest.fixture
def sent(local, monkeypatch):
    """The address of a scheduler, to which cases go."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("INFOLIB_SCHEDULER", local)
    return local


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """A scheduler and two workers in processes of their own, as they are on other machines, with their process ids."""
    folder = tmp_path_factory.mktemp("cluster")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
    environment |= {"INFOLIB_CACHE": str(folder / "cache"), "INFOLIB_DATA": str(folder)}
    dask, log = [sys.executable, "-m", "dask"], {"env": environment, "cwd": folder, "stderr": subprocess.DEVNULL}
    file = folder / "scheduler.json"
    begun = [
        subprocess.Popen([*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
                          "--scheduler-file", file], **log),
        subprocess.Popen([*dask, "worker", "--scheduler-file", file, "--nworkers", "2", "--nthreads", "1",
                          "--no-dashboard", "--local-directory", folder], **log)]  # fmt: skip
    for _ in range(600):
        if file.exists():
            break
        time.sleep(0.1)
    client = cluster.begun(distributed.Client, scheduler_file=str(file), timeout=60, set_as_default=False)
    client.wait_for_workers(2, timeout=60)
    yield client
    client.close()
    for process in begun[::-1]:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.kill()
        process.wait()


def note(log, text):
    with open(log, "a") as file:
        file.write(f"{text}")


def scaled(a, log):
    note(log, a)
    return pd.DataFrame({"value": [GAIN * a], "seed": records.seeds(1)[0], "threads": torch.get_num_threads()})


def test_cases_go_to_the_workers_come_back_in_order_and_are_kept_here(sent, tmp_path, monkeypatch):
    monkeypatch.setenv("INFOLIB_SEED_SHIFT", "7")
    log = str(tmp_path / "log")
    for _ in range(2):
        found = store.tabulate(scaled, [(a, log) for a in (3, 1, 2)])
        assert found.to_numpy().tolist() == [[6, 7, 1], [2, 7, 1], [4, 7, 1]]
    assert sorted(Path(log).read_text()) == ["1", "2", "3"]
    assert len(list((store.folder() / "scaled").glob("*.safetensors"))) == 3
    assert sent
    monkeypatch.delenv("INFOLIB_SCHEDULER")
    store.tabulate(scaled, [(1, log)])
    assert len(Path(log).read_text()) == 3


def doubled(a):
    return {"a": torch.tensor(2 * a)}


def inside(a):
    return pd.DataFrame({"a": [store.cached(doubled, a)["a"].item()]})


@pytest.mark.usefixtures("sent")
def test_the_journal_has_what_the_workers_did(tmp_path, monkeypatch):
    monkeypatch.setenv("INFOLIB_REPORT", str(tmp_path))
    store.tabulate(inside, [(1,), (2,)])
    found = journal.closed(tmp_path)
    assert found["kinds"] == {"computed": {"inside": 2}, "read": {}}
    store.tabulate(inside, [(1,), (3,)])
    assert journal.closed(tmp_path)["kinds"] == {"computed": {"inside": 1}, "read": {"inside": 1}}


def where(a):
    return pd.DataFrame({"a": [a], "process": os.getpid(), "seed": records.seeds(1)[0]})


def test_a_users_own_dask_is_taken_and_other_backends_are_not(apart, monkeypatch):
    monkeypatch.setenv("INFOLIB_SEED_SHIFT", "7")
    with parallel_config("dask", client=apart):
        found = store.tabulate(where, [(1,)])
    assert found["process"].item() != os.getpid()
    assert found["seed"].item() == 7  # of the caller's environment, not of the worker's
    monkeypatch.setattr(distributed, "default_client", distributed.client.default_client)
    with apart.as_current():
        assert os.getpid() not in store.tabulate(where, [(2,)])["process"].tolist()
    monkeypatch.setenv("INFOLIB_SCHEDULER", apart.scheduler.address)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    with parallel_config("threading"):
        assert store.tabulate(where, [(3,)])["process"].tolist() == [os.getpid()]


def killing(flag):
    """A function whose second case ends its process once."""

    def kills(a, flag=str(flag)):
        if a == 1 and not Path(flag).exists():
            Path(flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return pd.DataFrame({"a": [a]})

    return kills


@pytest.mark.parametrize("place", ["here", "on Dask"])
def test_a_killed_process_costs_its_case_a_retry(apart, place, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with parallel_config("dask", client=apart) if place == "on Dask" else nullcontext():
        found = store.tabulate(killing(tmp_path / "flag"), [(a,) for a in range(4)])
    assert found["a"].tolist() == [0, 1, 2, 3]
    assert (tmp_path / "flag").exists()


def measure(network, seed):
    """A case of notebook 04."""
    splits = datasets.load("digits", n_val=449, n_test=449, seed=seed)
    model = store.trained(
        models.mlp([64, *network.hidden, 10], seed=seed), splits.train, epochs=2, batch_size=64, lr=1e-3, seed=seed
    )
    how = {"quantise": network.fires, "seed": seed, "random": 1, "points": 2, "permutations": 2}
    return neuron_importance.analyse(model, splits, network.layers, **how)


def test_results_are_equal_here_on_workers_of_this_process_and_on_those_apart(apart, sent, tmp_path, monkeypatch):
    network = importance.Network("digits", (6,), "relu", 1e-3, 2, 2, 64)
    how = {"cases": [(network.alone, seed) for seed in records.seeds(2)], "frames": ("scores", "curves")}
    with parallel_config("dask", client=apart):
        there = store.tabulate(measure, **how)
    monkeypatch.setenv("INFOLIB_CACHE", str(tmp_path / "sent"))
    local = store.tabulate(measure, **how)
    monkeypatch.setenv("INFOLIB_CACHE", str(tmp_path / "here"))
    monkeypatch.delenv("INFOLIB_SCHEDULER")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    here = store.tabulate(measure, **how)
    assert sent
    assert min(map(len, here)) > 4
    for found, expected in zip([*there, *local], [*here, *here], strict=True):
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_rows_of_a_kernel_are_computed_by_the_workers_and_give_the_same_entropy(apart, tmp_path):
    x = torch.randn(3000, 8, generator=torch.Generator().manual_seed(0))
    options = {"width": 2.0, "exact": 0, "deflated": 16, "probes": 3, "steps": 4}
    log = tmp_path / "log"

    def shared(rows):
        def noted(part, parts):
            with log.open("a") as file:
                file.write(f"{os.getpid()} {part} {parts}\n")
            return rows(part, parts)

        return cluster.shared(apart)(noted)

    found = lanczos.entropy(x, shared=shared, **options)
    torch.testing.assert_close(found.value, lanczos.entropy(x, **options).value, rtol=0, atol=1e-4)
    processes, *parts = zip(*map(str.split, log.read_text().splitlines()), strict=True)
    assert (len({*processes, str(os.getpid())}), *map(sorted, parts)) == (3, ["0", "1"], ["2", "2"])


def test_a_worker_without_a_data_set_says_which_and_how_to_give_it(apart):
    def of_mnist(a):
        return pd.DataFrame({"a": [a], "n": datasets.load("mnist").n})

    message = r"worker tcp://.*MNIST/raw.* is not in .*infolib data --download mnist; or set INFOLIB_DATA to .*there"
    with parallel_config("dask", client=apart), pytest.raises(FileNotFoundError, match=message):
        store.tabulate(of_mnist, [(1,)])


def most(a):
    return pd.DataFrame({"a": [a], "most": records.MOST})


def test_a_worker_with_other_code_is_refused_by_its_name(apart, monkeypatch):
    with parallel_config("dask", client=apart):
        assert store.tabulate(most, [(1,)])["most"].tolist() == [records.MOST]
        monkeypatch.setattr(records, "MOST", 5)
        with pytest.raises(ValueError, match=r"worker tcp://.* its code differs in workbook\.records:MOST"):
            store.tabulate(most, [(1,)])
        monkeypatch.setattr(store, "__version__", "9.1")
        with pytest.raises(ValueError, match=r"worker tcp://.* its code differs in infolib 9\.1"):
            store.tabulate(where, [(9,)])


def stub(packages=(), threads=(1, 1)):
    """What `check` asks of a client."""
    own = dict.fromkeys(("python", *cluster.ALIKE), "1")
    workers = {f"tcp://w{i}": {"packages": own | dict(packages if i else ())} for i in range(2)}
    return SimpleNamespace(wait_for_workers=lambda n, timeout: (n, timeout),
                           run=lambda *_, **how: how and dict(enumerate(threads)),
                           get_versions=lambda **_: {"client": {"packages": own}, "workers": workers})  # fmt: skip


def test_workers_must_be_there_and_have_the_same_packages_and_threads():
    def nobody(n, timeout):
        raise TimeoutError(n, timeout)

    empty = SimpleNamespace(wait_for_workers=nobody, scheduler=SimpleNamespace(address="tcp://s"))
    with pytest.raises(ValueError, match="scheduler tcp://s has no worker after 10 s: start one, dask worker tcp://s"):
        cluster.check(empty)

    def closed(n, timeout):
        raise distributed.comm.CommClosedError(n, timeout)

    empty.wait_for_workers = closed
    with pytest.raises(ConnectionError, match="scheduler tcp://s has gone: what was computed is kept"):
        cluster.check(empty)
    assert cluster.check(stub()) == 1
    assert cluster.check(stub(threads=(3, 3))) == 3
    with pytest.raises(ValueError, match="worker tcp://w1 has torch 2, and this process has 1"):
        cluster.check(stub({"torch": "2"}))
    with pytest.raises(ValueError, match="worker tcp://w1 has scipy not installed, and this process has 1"):
        cluster.check(stub({"scipy": None}))
    with pytest.raises(ValueError, match=r"OMP_NUM_THREADS must be one number on all workers.* got 0 1, 1 2"):
        cluster.check(stub(threads=(1, 2)))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere", "local"])
def test_an_address_without_a_scheduler_is_named(address, monkeypatch):
    monkeypatch.setattr(cluster, "WAIT", 0.3)
    monkeypatch.setenv("INFOLIB_SCHEDULER", address)
    with pytest.raises(ValueError, match=f"scheduler must be local or an address .* within 0.3 s, got '{address}'"):
        store.tabulate(where, [(1,)])


def test_without_dask_a_scheduler_and_workers_of_this_machine_are_refused_in_words(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    for scheduler in ("local", "tcp://127.0.0.1:8"):
        with pytest.raises(ValueError, match=f"scheduler '{scheduler}' needs Dask"), cluster.serving(scheduler):
            pass


def holding(value):
    x = value
    return lambda a: pd.DataFrame({"a": [a, x]})


def test_a_client_that_is_collected_does_not_stop_one_that_begins(local, monkeypatch):
    made, ended, found = distributed.utils._CollectErrorThread, [distributed.Client(local, set_as_default=False)], []

    def within_the_lock(*arguments, **options):
        if gc.isenabled():  # it may collect here
            ended.pop().close()
        return made(*arguments, **options)

    monkeypatch.setattr(distributed.utils, "_CollectErrorThread", within_the_lock)
    begins = partial(cluster.begun, distributed.Client, local, timeout=10, set_as_default=False)
    thread = threading.Thread(target=lambda: found.append(begins()), daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert gc.isenabled()
    for client in (*found, *ended):
        assert client.submit(abs, -2).result() == 2
        client.close()


@pytest.mark.usefixtures("sent")
def test_what_cannot_travel_is_named():
    generator = (i for i in range(3))
    for function in (holding(generator), partial(where, x=generator), holding([{"x": generator}])):
        with pytest.raises(ValueError, match="the function cannot travel to a worker: it holds a generator `x`"):
            store.tabulate(function, [(1,)])


def waits(a, flag):
    note(flag, a)
    time.sleep(0.1 if a < 2 else 60)
    return pd.DataFrame({"a": [a]})


def test_a_scheduler_that_ends_is_named_and_what_was_computed_is_kept(apart, tmp_path):
    """The last one: it ends the scheduler."""
    pid = apart.run_on_scheduler(os.getpid)
    flag = tmp_path / "flag"

    def end():
        while len(list((store.folder() / "waits").glob("*.safetensors"))) < 2 or len(flag.read_text()) < 4:
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=end)
    thread.start()
    where = apart.scheduler.address
    with parallel_config("dask", client=apart), pytest.raises(ConnectionError, match=f"scheduler {where} has gone"):
        store.tabulate(waits, [(a, str(flag)) for a in range(4)])
    thread.join()
    assert len(list((store.folder() / "waits").glob("*.safetensors"))) == 2
