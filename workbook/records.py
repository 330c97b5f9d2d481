"""A notebook's parameters as typed records: what its dicts have to hold, refused by name before anything runs.

Each module of `workbook.experiments` has RECORDS, the dataclass of each parameter that is a dict or a list of
dicts, and `check(parameters)`, which refuses ranges and sizes that cannot be.
"""

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints


def prepared(notebook: str, values: Mapping[str, Any]) -> list[Any]:
    """The records of a notebook's parameters, in the order of its RECORDS, once all parameters have been checked.

    values: all parameters by name, as in the `globals()` of a running notebook; names that are no parameters are left
        alone. What is annotated there has to be of its type.

    Raises:
        ValueError: names the notebook, the parameter, and of a record its row and field
    """
    experiment = import_module(f"workbook.experiments.nb{notebook}")
    values, place = dict(values), f"notebook {notebook}: "
    for name, kind in values.get("__annotations__", {}).items():
        if name not in experiment.RECORDS and not matches(values[name], kind):
            raise ValueError(f"{place}{name} must be {type_name(kind)}, got {values[name]!r}")
    for name, record in experiment.RECORDS.items():
        values[name] = built(record, values[name], place + name)
    try:
        experiment.check(values)
    except ValueError as error:
        raise ValueError(f"{place}{error}") from error
    return [values[name] for name in experiment.RECORDS]


def built(record: type, value: Any, place: str) -> Any:
    """The record that a dict describes, or the list of those of a list; a record that is one already stays.

    Raises:
        ValueError: begins with `place`, for what is no dict, and for unknown, missing and wrongly typed fields
    """
    if isinstance(value, list | tuple):
        return [built(record, row, f"{place}[{i}]") for i, row in enumerate(value)]
    if isinstance(value, record):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"{place} must be a dict or a list of dicts, got {value!r} ({type(value).__name__})")
    kinds, fields = get_type_hints(record), {field.name: field for field in dataclasses.fields(record)}
    if unknown := [name for name in value if name not in fields]:
        raise ValueError(f"{place} has an unknown field {unknown[0]!r}; allowed: {', '.join(fields)}")
    if missing := [name for name, field in fields.items() if name not in value and _is_required(field)]:
        raise ValueError(f"{place} lacks the field {missing[0]!r}; fields: {', '.join(fields)}")
    try:
        return record(**{name: _converted(v, kinds[name], f"{place}.{name}") for name, v in value.items()})
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(place) else f"{place}: {error}") from error


def columns(record: Any) -> dict[str, Any]:
    """A record's fields as columns of a table: numbers and strings; sequences joined by hyphens, nothing for None.

    >>> @dataclasses.dataclass
    ... class Network:
    ...     hidden: tuple[int, ...]
    ...     dropout: float | None = None
    >>> columns(Network((100, 50)))
    {'hidden': '100-50', 'dropout': ''}
    """
    return {field.name: _cell(getattr(record, field.name)) for field in dataclasses.fields(record)}


def matches(value: Any, kind: Any) -> bool:
    """Whether a value is of a type: int, float, str, bool, dict, list[...], tuple[..., ...], Literal, unions.

    A whole number is a float too, True is no number, and a list does for a tuple.

    >>> matches([1, 2.5], list[float]), matches(True, int), matches("relu", Literal["relu", "tanh"])
    (True, False, True)
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return any(matches(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    if origin in (list, tuple):
        return isinstance(value, list | tuple) and all(matches(v, inner[0]) for v in value)
    if origin is dict:
        return isinstance(value, dict) and all(matches(k, inner[0]) and matches(v, inner[1]) for k, v in value.items())
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def type_name(kind: Any) -> str:
    """A type as one writes it.

    >>> type_name(list[int]), type_name(float | None), type_name(Literal["relu", "tanh"])
    ('list[int]', 'float or None', "one of 'relu', 'tanh'")
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return " or ".join(map(type_name, inner))
    if origin is Literal:
        return f"one of {', '.join(map(repr, inner))}"
    if origin is tuple:
        return f"list[{type_name(inner[0])}]"
    return "None" if kind is NoneType else str(kind) if origin else kind.__name__


def _is_required(field: dataclasses.Field) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _converted(value: Any, kind: Any, place: str) -> Any:
    """The value of a field: what is a list where the record has a tuple becomes one."""
    if dataclasses.is_dataclass(kind):
        return built(kind, value, place)
    if not matches(value, kind):
        raise ValueError(f"{place} must be {type_name(kind)}, got {value!r} ({type(value).__name__})")
    return tuple(value) if isinstance(value, list) else value


def _cell(value: Any) -> Any:
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:g}" for name, number in value.items())
    return "" if value is None else value
