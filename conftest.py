"""Figures that tests and examples draw: without a window, and closed afterwards. The order of the tests."""

import os
import sys

import pytest
from filelock import FileLock

os.environ.setdefault("MPLBACKEND", "agg")


def pytest_collection_modifyitems(items):
    """First `make reports`, which takes longest, last the notebooks: `make test` gives out the files in this order."""
    items.sort(key=lambda item: (item.path.suffix == ".ipynb", item.path.name != "test_readme.py"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """A notebook waits for `make reports` in another process, which takes two processors, and reads what it kept."""
    if item.path.suffix == ".ipynb":
        with being_reported(item.config):
            pass


def being_reported(config):
    """The lock that `make reports` holds."""
    return FileLock(config.rootpath / "reports" / ".making")


@pytest.fixture
def reporting(pytestconfig):
    """While it lasts, other processes begin no notebook."""
    with being_reported(pytestconfig):
        yield


@pytest.fixture(autouse=True)
def _closed():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
