"""Real data only where INFOLIB_DATA is set; each test has its own cache."""

import os

import pytest


def pytest_collection_modifyitems(items):
    if "INFOLIB_DATA" in os.environ:
        return
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(pytest.mark.skip(reason="INFOLIB_DATA is not set: no real data here"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INFOLIB_CACHE", str(tmp_path / "cache"))
