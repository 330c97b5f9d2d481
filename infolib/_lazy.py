"""Submodules that are imported when they are first used (PEP 562), so that `import infolib` takes no time."""

from collections.abc import Callable, Collection
from importlib import import_module
from typing import Any


def attributes(package: str, names: Collection[str]) -> Callable[[str], Any]:
    """A package's `__getattr__`: one of `names` is its submodule, anything else an AttributeError."""

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return import_module(f"{package}.{name}")

    return get
