"""A notebook's parameters as typed records; wrong ones are refused by name before anything runs.

Each module of `workbook.experiments` has RECORDS, the dataclass of each parameter that is a dict or a list of dicts,
RANGES, the type of each other one, and `check(parameters)`, which refuses what several parameters together cannot be.
A notebook without a module has none. A range is part of a type: `Count`, `Positive` and the like, or any `Annotated`
type with a `Rule`.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import numpy as np

from infolib import checks

MOST = 1_000_000  # of whatever is counted: nothing here is drawn, trained or measured so often within a time limit


class Rule(NamedTuple):
    """A condition on a field's value beyond its type, for use in `Annotated`.

    Parameters
    ----------
    words : str
        They follow the type's name in a message, such as "of at least 1".
    holds : callable
        Whether the condition holds for a value of the type.
    """

    words: str
    holds: Callable[[Any], bool]


def between(least: float, most: float = MOST) -> Rule:
    """The rule that a number lies in a closed interval.

    Parameters
    ----------
    least, most : float
        The ends of the interval.

    Returns
    -------
    Rule
        For use in `Annotated`.

    Examples
    --------
    >>> matches(9, Annotated[int, between(10)]), type_name(Annotated[int, between(10)])
    (False, 'int from 10 to 1000000')
    """
    return Rule(f"from {least:.15g} to {most:.15g}", lambda number: least <= number <= most)


def entries(least: int) -> Rule:
    """The rule that a list has at least a number of entries, each once.

    Parameters
    ----------
    least : int
        The least number of entries.

    Returns
    -------
    Rule
        For use in `Annotated`.

    Examples
    --------
    >>> [matches(names, Annotated[list[str], entries(2)]) for names in (["a"], ["a", "a"], ["a", "b"])]
    [False, False, True]
    """
    return Rule(f"of {least} or more, all different", lambda found: least <= len(set(found)) == len(found))


RISING = Rule("in rising order", lambda found: list(found) == sorted(set(found)))
LAYERS = Rule("of one layer or more", bool)
Natural = Annotated[int, between(0)]
Count = Annotated[int, between(1)]
Two = Annotated[int, between(2)]
Ten = Annotated[int, between(10)]
Seeds = Annotated[int, Rule(f"from 2 to {MOST}, as an interval takes two", between(2).holds)]
Units = Annotated[int, between(1, 10_000)]  # of a layer: the weights between two of 10,000 take 0.4 GB
NotNegative = Annotated[float, between(0)]
Positive = Annotated[float, between(1e-6)]  # of the data's order: single precision holds the square of a millionth
Rate = Annotated[float, between(1e-15, 10)]  # of learning; below 1e-9 the weights stay as they are
Share = Annotated[float, between(0, 1)]
Part = Annotated[float, between(0.001, 1)]


def seeds(n: int) -> range:
    """The seeds of an experiment: the first n, or as many from INFOLIB_SEED_SHIFT on.

    A claim that holds for seeds from 0 on should hold for others too. Where a seed chooses a part of a whole, such as a
    batch of images, take its place in this range, not the seed.

    Parameters
    ----------
    n : int
        How many.

    Returns
    -------
    range
        0, 1, ..., n - 1, each greater by the shift.

    Raises
    ------
    ValueError
        For a shift that is not an integer from 0 to 999999999.

    Examples
    --------
    >>> seeds(3)
    range(0, 3)
    """
    text = os.environ.get("INFOLIB_SEED_SHIFT") or "0"
    if not (text.isdecimal() and len(text) <= 9):
        raise ValueError(f"INFOLIB_SEED_SHIFT must be an integer from 0 to 999999999, got {text!r}")
    return range(int(text), int(text) + n)


@contextmanager
def placed(place: str) -> Iterator[None]:
    """A `with` block whose refusals begin with the place that they are about.

    Parameters
    ----------
    place : str
        Such as "networks[2]".

    Yields
    ------
    None

    Raises
    ------
    ValueError
        As raised inside the block, with the place in front.
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def prepared(notebook: str, values: Mapping[str, Any]) -> list[Any]:
    """The records of a notebook's parameters, in the order of its RECORDS, once all parameters have been checked.

    Parameters
    ----------
    notebook : str
        Its name, such as "04_neuron_importance".
    values : mapping
        All parameters by name, as in the `globals()` of a running notebook; other names are left alone. What is
        annotated there has to be of its type. `__profile__` is "quick" or "paper" before a run.

    Returns
    -------
    list
        A record, or a list of records, for each parameter of RECORDS.

    Raises
    ------
    ValueError
        Names the notebook, the parameter, and of a record its row and field.
    """
    values, module = dict(values), f"workbook.experiments.nb{notebook}"
    experiment = import_module(module) if find_spec(module) else SimpleNamespace(RECORDS={}, RANGES={}, check=bool)
    kinds = experiment.RECORDS
    with placed(f"notebook {notebook}"):
        for name, kind in (values.get("__annotations__", {}) | experiment.RANGES).items():
            wanted = kind if name not in kinds else list[object] if get_origin(kind) is list else kind | kinds[name]
            if name in values:
                _matched(name, kind, values[name], wanted)
        for name, record in kinds.items():
            rows = values[name] = built(record, values.get(name), name)
            for i, row in enumerate(rows if isinstance(rows, list) else []):
                checks.hold(f"{name}[{i}]", row, row not in rows[:i], "different from the rows before it")
        experiment.check(values)
    return [values[name] for name in kinds]


def built(record: type, value: Any, place: str) -> Any:
    """The record that a dict describes, or the list of those of a list; a record that is one already stays.

    Parameters
    ----------
    record : type
        A dataclass.
    value : object
        A dict, a record, or a list of them.
    place : str
        Where it is, for messages, such as "networks".

    Returns
    -------
    object
        The record, or a list of records.

    Raises
    ------
    ValueError
        Begins with `place`, for anything but a dict, for unknown and missing fields, for values out of type or range,
        and for what the record itself refuses.
    """
    if isinstance(value, list | tuple):
        return [_built(record, row, f"{place}[{i}]") for i, row in enumerate(value)]
    return _built(record, value, place)


def _built(record: type, value: Any, place: str) -> Any:
    if isinstance(value, record):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"{place} must be a dict, got {value!r} ({type(value).__name__})")
    kinds = get_type_hints(record, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(record)}
    if unknown := [str(name) for name in value if name not in fields]:
        near = "".join(f" did you mean {match!r}?" for match in get_close_matches(unknown[0], fields, 1))
        raise ValueError(f"{place} has an unknown field {unknown[0]!r};{near} allowed: {', '.join(fields)}")
    for name, field in fields.items():
        if name not in value and field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{place} lacks the field {name!r}; fields: {', '.join(fields)}")
    content = {name: _converted(value[name], kinds[name], f"{place}.{name}") for name in fields if name in value}
    with placed(place):
        return record(**content)


def columns(record: Any) -> dict[str, Any]:
    """A record's fields as columns of a table: numbers and strings; sequences joined by hyphens, nothing for None.

    Parameters
    ----------
    record : dataclass
        Its fields are numbers, strings, None, sequences of those, or dicts of numbers.

    Returns
    -------
    dict
        Field -> number or string.

    Examples
    --------
    >>> @dataclasses.dataclass
    ... class Network:
    ...     hidden: tuple[int, ...]
    ...     dropout: float | None = None
    >>> columns(Network((100, 50)))
    {'hidden': '100-50', 'dropout': ''}
    """
    return {field.name: _cell(getattr(record, field.name)) for field in dataclasses.fields(record)}


def matches(value: Any, kind: Any) -> bool:
    """Whether a value is of a type: int, float, str, bool, dict, list[...], tuple[...], Literal, unions, Annotated.

    A whole number is a float too; True, NaN and infinity are not numbers; and a list is allowed for a tuple. Another
    type is taken as Python takes it; one that has no instances, such as `Callable[[int], int]`, is not looked at.

    Parameters
    ----------
    value : object
        What a notebook's parameter or a record's field is given.
    kind : type
        What it should be; an `Annotated` type has a `Rule` or several.

    Returns
    -------
    bool
        Whether it is.

    Examples
    --------
    >>> matches([1, 2.5], list[float]), matches(True, int), matches("relu", Literal["relu", "tanh"])
    (True, False, True)
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (UnionType, Union):
        return any(matches(value, one) for one in inner)
    if origin is Annotated:
        return matches(value, inner[0]) and all(rule.holds(value) for rule in inner[1:])
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if origin in (list, tuple):
        if not isinstance(value, list | tuple):
            return False
        kinds = inner if origin is tuple and ... not in inner else inner[:1] * len(value)
        return len(kinds) == len(value) and all(map(matches, value, kinds))
    if origin is dict:
        return isinstance(value, dict) and all(matches(k, inner[0]) and matches(v, inner[1]) for k, v in value.items())
    if kind in (int, float):
        number = isinstance(value, int | np.integer) or (kind is float and isinstance(value, float | np.floating))
        return number and not isinstance(value, bool) and abs(value) < np.inf
    return not isinstance(kind, type) or isinstance(value, kind)


def type_name(kind: Any) -> str:
    """A type as one writes it.

    Parameters
    ----------
    kind : type
        As `matches` takes it.

    Returns
    -------
    str
        Its name, with the words of its rules.

    Examples
    --------
    >>> type_name(tuple[Count, ...]), type_name(float | None), type_name(Literal["relu", "tanh"])
    ('list[int from 1 to 1000000]', 'float or None', "one of 'relu', 'tanh'")
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (UnionType, Union):
        return " or ".join(map(type_name, inner))
    if origin is Literal:
        return f"one of {', '.join(map(repr, inner))}"
    if origin is Annotated:
        return f"{type_name(inner[0])} {' and '.join(rule.words for rule in inner[1:])}"
    if origin in (list, tuple, dict):
        return f"{'dict' if origin is dict else 'list'}[{', '.join(type_name(one) for one in inner if one is not ...)}]"
    return "None" if kind is NoneType else kind.__name__ if isinstance(kind, type) else str(kind)


def _matched(name: str, kind: Any, value: Any, wanted: Any) -> None:
    """Refuse what is not as wanted, in the words of a kind."""
    what = "not finite" if isinstance(value, float) and not abs(value) < np.inf else type(value).__name__
    what += ", as YAML takes yes, no, true and false" * (isinstance(value, bool) and "'" in type_name(kind))
    if not matches(value, wanted):
        raise ValueError(f"{name} must be {type_name(kind)}, got {value!r} ({what})")


def _converted(value: Any, kind: Any, place: str) -> Any:
    """The value of a field, once its type is right."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _built(kind, value, place)
    _matched(place, kind, value, kind)
    return _plain(value)


def _plain(value: Any) -> Any:
    """Tuples for lists, as a record does not change, and Python's numbers for NumPy's."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def _cell(value: Any) -> Any:
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:g}" for name, number in value.items())
    return "" if value is None else value
