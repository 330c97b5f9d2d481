"""Cases on other machines: Dask, through joblib.

INFOLIB_SCHEDULER names a scheduler, as `infolib run --scheduler` does; it is read here only. A function and its cases
travel as cloudpickle writes them, so that code of a notebook comes along. What is installed has to be there already.

One process computes one case at a time, since random generators and numbers of threads are a process's own. It does so
on as many threads as OMP_NUM_THREADS gives it there, or on one.
"""

import gc
import inspect
import logging
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, nullcontext, suppress
from functools import cache, lru_cache, partial
from types import FunctionType
from typing import Any
from unittest.mock import patch

import cloudpickle  # joblib's, and Dask's
from joblib import Parallel, delayed, parallel_config
from joblib.parallel import get_active_backend

from workbook import root
from workbook.compiled import is_ours

WAIT = 10.0  # seconds for a scheduler, and for its first worker
ALIKE = ("information-workbook", "information-workbook-notebooks", "torch", "numpy", "scipy")  # on every worker
SENT = ("INFOLIB_SEED_SHIFT", "INFOLIB_FRESH")  # what a case may read of the environment
HERE = ("infolib", "workbook", "__main__", "__mp_main__")  # the first two are installed, the others always travel
_ONE = threading.RLock()


def client() -> Any:
    """The Dask client that cases go to: joblib's, if its backend is Dask; the notebook's; that of INFOLIB_SCHEDULER.

    Returns
    -------
    distributed.Client or None
        None where cases stay on this machine.

    Raises
    ------
    ValueError
        If no scheduler answers at the address.
    """
    backend = get_active_backend()[0]
    if type(backend).__name__ != "LokyBackend":  # a user's own
        return getattr(backend, "client", None)
    if "distributed" in sys.modules:
        with suppress(ValueError):  # there is none
            return sys.modules["distributed"].default_client()
    address = os.environ.get("INFOLIB_SCHEDULER")
    return connected(address) if address else None


@cache
def connected(address: str) -> Any:
    """A client of the scheduler at an address, one for all calls of a process.

    Parameters
    ----------
    address : str
        Such as "tcp://host:8786".

    Returns
    -------
    distributed.Client

    Raises
    ------
    ValueError
        If no scheduler answers within `WAIT` seconds, or if Dask is not installed.
    """
    make, at = _dask(address).Client, address if "://" in address else f"tcp://{address}"
    try:
        return begun(make, at, timeout=WAIT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        allowed = f"local or an address such as tcp://host:8786 where one answers within {WAIT:g} s"
        raise ValueError(f"scheduler must be {allowed}, got {address!r}") from error


@contextmanager
def serving(scheduler: str | None) -> Iterator[dict[str, str]]:
    """A `with` block of a run whose cases go to a scheduler.

    Parameters
    ----------
    scheduler : str or None
        An address; "local" for workers on this machine, which end with the block; None for no scheduler.

    Yields
    ------
    dict of str to str
        What the environment of a notebook's process gets.

    Raises
    ------
    ValueError
        As `connected` and `check` do.
    """
    if scheduler is None:
        yield {}
    elif scheduler != "local":
        check(connected(scheduler))
        yield {"INFOLIB_SCHEDULER": scheduler}
    else:
        how = {"memory_limit": 0, "dashboard_address": "127.0.0.1:0", "silence_logs": logging.ERROR}
        cluster = begun(_dask(scheduler).LocalCluster, threads_per_worker=1, env={"INFOLIB_ROOT": str(root())}, **how)
        try:
            yield {"INFOLIB_SCHEDULER": cluster.scheduler_address}
        finally:
            with suppress(TimeoutError):  # on a busy machine: the reports are in place
                cluster.close()


def begun(what: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """A client or a cluster of Dask; until it stands, no garbage is collected.

    A client that is collected waits for the lock that one that begins holds, for ever if both are in one thread.

    Parameters
    ----------
    what : callable
        Of Dask.
    *arguments, **options
        What it is called with.

    Returns
    -------
    object
        What it gives.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return what(*arguments, **options)
    finally:
        if collects:
            gc.enable()


def _dask(scheduler: str) -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ValueError(f"scheduler {scheduler!r} needs Dask: pip install dask distributed") from error
    return distributed


def check(client: Any) -> int:
    """Threads of a case on each worker, once every worker is known to have the packages that this process has.

    Parameters
    ----------
    client : distributed.Client
        Of a scheduler.

    Returns
    -------
    int
        Of OMP_NUM_THREADS on the workers, or 1.

    Raises
    ------
    ValueError
        If there is no worker, and for one with another version, or another number of threads; names it.
    """
    with _told(client):
        try:
            client.wait_for_workers(1, timeout=WAIT)
        except TimeoutError as error:
            none = "scheduler {0} has no worker after {1:g} s: start one, dask worker {0}"
            raise ValueError(none.format(client.scheduler.address, WAIT)) from error
        found = client.get_versions(packages=ALIKE)
        threads = client.run(lambda: int(os.environ.get("OMP_NUM_THREADS") or 1), on_error="ignore")  # one may end now
    for worker, told in found["workers"].items():
        for name in ("python", *ALIKE):
            here, there = (one["packages"][name] for one in (found["client"], told))
            if here != there:
                raise ValueError(f"worker {worker} has {name} {there or 'not installed'}, and this process has {here}")
    if len({*threads.values()}) > 1:
        told = ", ".join(f"{worker} {n}" for worker, n in threads.items())
        raise ValueError(f"OMP_NUM_THREADS must be one number on all workers, on which results depend, got {told}")
    return max(threads.values(), default=1)


def results(
    client: Any, opened: Callable[[], Callable[..., Any]], cases: Sequence[Sequence[Any]]
) -> Iterator[tuple[int, Any]]:
    """Results of cases from the workers of a scheduler, each as it is computed.

    A case whose worker ends is computed by another one; Dask gives it up after three.

    Parameters
    ----------
    client : distributed.Client
        Of a scheduler.
    opened : callable
        Called once in each process of a worker; it returns what is called with a case.
    cases : sequence of sequences
        Arguments of each call.

    Yields
    ------
    int
        Place of the case.
    object
        Its result.

    Raises
    ------
    ValueError
        For what cannot travel; names what it holds.
    ConnectionError
        If the scheduler has gone, or a case ends its workers.
    """
    with _by_value():
        what = packed(opened, "the function")
        sent = [packed(tuple(case), f"case {i}") for i, case in enumerate(cases)]
    environment = {name: os.environ.get(name, "") for name in SENT}
    todo = (delayed(_one)(i, what, case, environment) for i, case in enumerate(sent))
    with _told(client), parallel_config(_backend()(client=client)):
        yield from Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")(todo)


def shared(client: Any) -> Callable[..., Callable[..., Any]]:
    """What `infolib.estimators.lanczos` takes as `shared`: each worker computes and keeps a part of the kernel's rows.

    Parameters
    ----------
    client : distributed.Client
        Of a scheduler. The part of a worker that ends is computed again by another one.

    Returns
    -------
    callable
        It raises a ValueError as `check` does, and a ConnectionError if the scheduler ends.
    """

    how = {"pure": False, "allow_other_workers": True}

    def of(rows: Callable[[int, int], Any]) -> Callable[[Any], Any]:
        check(client)
        with _told(client):
            workers = [*client.scheduler_info(n_workers=-1)["workers"]]
            sent = client.scatter(rows, broadcast=True)
            parts = [client.submit(_called, sent, i, len(workers), workers=[w], **how) for i, w in enumerate(workers)]

        def times(v: Any) -> Any:
            with _told(client):
                to = client.scatter(v, broadcast=True)
                added = [client.submit(_called, p, to, workers=[w], **how) for p, w in zip(parts, workers, strict=True)]
                return sum(client.gather(added))

        return times

    return of


def _called(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


@contextmanager
def _told(client: Any) -> Iterator[None]:
    """A `with` block in which a scheduler may go and workers may end."""
    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    kept = "what was computed is kept"
    try:
        yield
    except KilledWorker as error:
        last = error.last_worker.address
        raise ConnectionError(f"a case ended each worker that it was given to, at last {last}: {kept}") from error
    except (CancelledError, CommClosedError) as error:
        connected.cache_clear()  # it may be started again
        where = client.scheduler.address
        raise ConnectionError(f"scheduler {where} has gone: {kept}; start it and run again") from error


@cache
def _backend() -> Any:
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):
        """One that raises for a case that is lost, which joblib's waits for, and sends to one worker, as to many."""

        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, super().effective_n_jobs(n_jobs))

        def submit(self, func: Any, callback: Any = None) -> Any:
            future = super().submit(func, callback)
            future.add_done_callback(lambda done: callback(done.exception()) if done.exception() else None)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, BaseException):
                raise out
            return super().retrieve_result_callback(out)

    return Backend


@contextmanager
def _by_value() -> Iterator[None]:
    """A `with` block that packs the reader's own modules whole, since no worker can import them."""
    named = {name for name in [*sys.modules] if name.partition(".")[0] not in HERE and is_ours(name)}
    own = [sys.modules[name] for name in named if getattr(sys.modules[name], "__file__", None)]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)


def packed(value: Any, what: str) -> bytes:
    """A value as it travels.

    Parameters
    ----------
    value : object
        A function, or a case.
    what : str
        What a message calls it.

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        For what cannot travel; names what it holds.
    """
    try:
        return cloudpickle.dumps(value)
    except Exception as error:
        raise ValueError(f"{what} cannot travel to a worker: it holds {_culprit(value, what)}") from error


def _culprit(value: Any, name: str) -> str:
    """The innermost part of a value that cannot be pickled: what it is, and its name."""
    parts = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    if isinstance(value, partial):
        parts = {"": value.func} | dict(enumerate(value.args)) | value.keywords
    elif isinstance(value, FunctionType):
        parts = {**inspect.getclosurevars(value).globals, **inspect.getclosurevars(value).nonlocals}
    for inner, part in enumerate(value) if isinstance(value, list | tuple) else parts.items():
        try:
            cloudpickle.dumps(part)
        except Exception:
            return _culprit(part, inner if inner and isinstance(inner, str) else name)
    return f"a {type(value).__name__} `{name}`"


@lru_cache(4)
def _opened(what: bytes) -> Callable[..., Any]:
    return pickle.loads(what)()


def _one(place: int, what: bytes, case: bytes, environment: dict[str, str]) -> tuple[int, Any]:
    """A case, in the process of a worker."""
    import torch  # late: a scheduler imports this module too
    from distributed import get_worker
    from threadpoolctl import threadpool_limits

    worker, before = get_worker().address, torch.get_num_threads()
    threads = int(os.environ.get("OMP_NUM_THREADS") or 1)
    limited = nullcontext() if os.environ.get("OMP_NUM_THREADS") else threadpool_limits(threads)
    with _ONE, patch.dict(os.environ, environment), parallel_config("sequential"), limited:
        try:
            torch.set_num_threads(threads)
            compute, arguments = _opened(what), pickle.loads(case)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"worker {worker} does not take the function: {error}") from error
        try:
            return place, compute(*arguments)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"worker {worker}: {error}, there") from error
        finally:
            torch.set_num_threads(before)
