"""Submodules that are imported when they are first used (PEP 562), so that `import infolib` takes no time."""

import sys
from collections.abc import Callable, Collection
from importlib import import_module
from typing import Any

from infolib import _moved


def attributes(package: str, names: Collection[str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__getattr__`, for which one of `names` is its submodule, and its `__dir__`, which lists them."""
    missing = _moved.attributes(package)

    def get(name: str) -> Any:
        return import_module(f"{package}.{name}") if name in names else missing(name)

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names})

    return get, listed
