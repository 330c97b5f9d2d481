"""Options that are bound to a function before it is called: one that it does not take is refused at once."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any


def check(function: Callable[..., Any], given: Mapping[str, Any] | None = None, *, positional: int = 3) -> None:
    """Refuse an option, bound by `partial` or `given` later, that the function does not take, and a missing one.

    >>> check(partial(sorted, rverse=True), positional=1)
    Traceback (most recent call last):
    ValueError: unknown option 'rverse' of sorted; allowed: key, reverse
    """
    options = dict(given or {})
    if isinstance(function, partial):
        options, positional = function.keywords | options, positional + len(function.args)
        function = function.func
    name = getattr(function, "__name__", type(function).__name__)
    parameters = list(inspect.signature(function).parameters.values())
    named = {p.name: p for p in parameters[positional:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if all(p.kind != p.VAR_KEYWORD for p in parameters):
        for option in options:
            if option not in named:
                raise ValueError(f"unknown option {option!r} of {name}; allowed: {', '.join(named) or 'none'}")
    if missing := [option for option, p in named.items() if p.default is p.empty and option not in options]:
        raise ValueError(f"{name} needs the option {missing[0]!r}, got {', '.join(options) or 'none'}")
