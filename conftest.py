"""Figures that tests and examples draw: without a window, and closed afterwards. Which tests run in one process."""

import os
import sys

import pytest

os.environ.setdefault("MPLBACKEND", "agg")


def pytest_collection_modifyitems(items):
    """Each file to one process, for its fixtures; the reports first, and then the notebooks, which read their cache.

    What is said here is for `pytest -n 2 --dist loadgroup --no-loadscope-reorder`, as `make test` runs it.
    """
    for item in items:
        reports = item.path.suffix == ".ipynb" or item.path.name == "test_readme.py"
        item.add_marker(pytest.mark.xdist_group("reports" if reports else item.nodeid.partition("::")[0]))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group").args != ("reports",))


@pytest.fixture(autouse=True)
def _closed():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
