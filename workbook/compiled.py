"""Compiled code: whether it is ours, its text, and what it reads from outside."""

import dis
import importlib.util
import inspect
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

_OURS = ("infolib", "workbook", "__main__")  # wherever they are installed
_LOADS = ("LOAD_FAST", "LOAD_DEREF", "LOAD_NAME", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF", "STORE_FAST_LOAD_FAST")
_FROM = dict.fromkeys(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"), "") | {"LOAD_DEREF": "cells"}
Chain = tuple[str, ...]  # where from, a name and the attributes after it, as ("", "renyi", "gram") or ("json", "dumps")


def is_ours(module: str, file: str = "<") -> bool:
    """Whether code is the project's or the reader's, not Python's or an installed package's.

    Parameters
    ----------
    module, file : str
        Name of the module; file of the code, which begins with "<" if there is none.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_ours("workbook.reach"), is_ours("numpy.linalg"), is_ours("json")
    (True, False, False)
    """
    top = module.partition(".")[0]
    if file.startswith("<"):
        file = getattr(sys.modules.get(module), "__file__", None) or file
    if top in _OURS or not file.startswith("<"):
        return top in _OURS or not _is_installed(file)
    if top in sys.stdlib_module_names:
        return False
    with suppress(ValueError):  # of a module that was made at run time
        spec = importlib.util.find_spec(top)
        places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
        return not any(map(_is_installed, filter(None, places)))
    return True


@cache
def _is_installed(file: str) -> bool:
    path = Path(file)
    stdlib = path.is_relative_to(sysconfig.get_path("stdlib"))
    return stdlib or not {"site-packages", "dist-packages"}.isdisjoint(path.parts)


@cache
def text(code: CodeType) -> str:
    """Compiled code as text: arguments and instructions with their constants and names, without lines and docstring.

    Parameters
    ----------
    code : CodeType
        Of a function.

    Returns
    -------
    str
        The same in every process of one version of Python.

    Examples
    --------
    >>> one, spaced, two = (text(f.__code__) for f in (lambda: 1, lambda: (1), lambda: 2))
    >>> one == spaced, one == two
    (True, False)
    """
    steps = (f"{step.opname} {_shown(step.argval)}" for step in dis.get_instructions(code))
    stars = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    arguments = f"{code.co_varnames} {code.co_argcount} {code.co_posonlyargcount} {code.co_kwonlyargcount} {stars}"
    return "; ".join([arguments, code.co_exceptiontable.hex(), *steps])


def _shown(argument: Any) -> str:
    """The argument of an instruction, the same in every process."""
    if isinstance(argument, CodeType):
        return f"({text(argument)})"
    if isinstance(argument, tuple | frozenset):
        parts = map(_shown, argument)
        return f"{type(argument).__name__}({', '.join(parts if isinstance(argument, tuple) else sorted(parts))})"
    return repr(argument)


@cache
def chains(code: CodeType, outer: frozenset[tuple[str, Chain]] = frozenset()) -> list[Chain]:
    """What code and the code within it read from outside: the source, and a name with the attributes after it.

    Parameters
    ----------
    code : CodeType
        Of a function.
    outer : frozenset of (str, Chain)
        Names that the code around it imported.

    Returns
    -------
    list of Chain
        First "" for a global, "cells" for what is enclosed, or an imported module, with a dot for each level up.

    Examples
    --------
    >>> chains((lambda x: x.a + json.decoder.b).__code__)
    [('', 'json', 'decoder', 'b')]
    """
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("EXTENDED_ARG", "CACHE")]
    imported = outer | _imports(steps)
    found: set[Chain] = set()
    now: list[Chain] = []
    for step in steps:
        if step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            now = [(*chain, step.argval) for chain in now]
            if step.argval in ("__globals__", "f_globals"):
                found.add(("", step.argval))
            continue
        found.update(now)
        now = [(_FROM[step.opname], step.argval)] if step.opname in _FROM else []
        if step.opname.startswith(_LOADS):
            names = step.argval if isinstance(step.argval, tuple) else (step.argval,)  # two at once, from Python 3.13
            *earlier, now = ([chain for at, chain in imported if at == name] or now for name in names)
            found.update(chain for chains in earlier for chain in chains if not step.opname.startswith("STORE"))
        elif isinstance(step.argval, CodeType):
            free = frozenset(pair for pair in imported if pair[0] in step.argval.co_freevars)
            found.update(chains(step.argval, free))
    return sorted(found)


def _imports(steps: Sequence[dis.Instruction]) -> set[tuple[str, Chain]]:
    """Local names of what code imports, each with the module and the name in it."""
    found: set[tuple[str, Chain]] = set()
    now: Chain = ()
    home, whole = "", True
    for i, step in enumerate(steps):
        if step.opname == "IMPORT_NAME":
            home, whole = "." * steps[i - 2].argval + step.argval, steps[i - 1].argval is None
            now = (step.argval.partition(".")[0],)
        elif step.opname == "IMPORT_FROM":
            now = (home,) if whole else (home, step.argval)
        elif step.opname.startswith("STORE_") and now:
            found.add((step.argval[0] if isinstance(step.argval, tuple) else step.argval, now))
            now = ()
    return found
