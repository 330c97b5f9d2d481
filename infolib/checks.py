"""One place where arguments become tensors or a ValueError that names the argument."""

import dataclasses
import inspect
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial, wraps
from itertools import chain, repeat
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, is_typeddict

import numpy as np

if TYPE_CHECKING:  # words, numbers and names are checked without torch, which takes over a second
    import torch
    from torch import Tensor, nn

T = TypeVar("T")


def floats(name: str, value: Any, *, min_ndim: int = 1, finite: bool = True) -> "Tensor":
    """`value` as a tensor of real numbers.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value : array_like
        A tensor or array of float32 or float64 keeps its dtype. Half precision becomes float32, all else float64.
    min_ndim : int
        Least number of dimensions.
    finite : bool
        Whether NaN and infinity are refused.

    Returns
    -------
    Tensor, shape of `value`
        float32 or float64, on the device of `value`.

    Raises
    ------
    ValueError
        For values that are not real numbers, NaN, infinity, an empty array or too few dimensions.

    Examples
    --------
    >>> floats("x", [1, 2])
    tensor([1., 2.], dtype=torch.float64)
    >>> floats("x", [float("nan")])
    Traceback (most recent call last):
    ValueError: x must be finite, got NaN or infinity
    """
    import torch

    tensor = _tensor(name, value, "numbers", None if hasattr(value, "dtype") else torch.float64)
    if not tensor.is_floating_point():
        tensor = tensor.double()
    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()
    return _filled(name, tensor, min_ndim, finite=finite)


def integers(name: str, value: Any, *, min_ndim: int = 1) -> "Tensor":
    """`value` as a tensor of integers; floats are an error, whole or not.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value : array_like
        Integers or booleans of any type.
    min_ndim : int
        Least number of dimensions.

    Returns
    -------
    Tensor, shape of `value`
        uint8 for bool and uint8, int64 for all else.

    Raises
    ------
    ValueError
        For values that are not integers, an empty array or too few dimensions.

    Examples
    --------
    >>> integers("codes", [True, False])
    tensor([1, 0], dtype=torch.uint8)
    >>> integers("codes", [0.0])
    Traceback (most recent call last):
    ValueError: codes must be integers, got torch.float32
    """
    import torch

    tensor = _filled(name, _tensor(name, value, "integers"), min_ndim, finite=False)
    if tensor.is_floating_point():
        raise ValueError(f"{name} must be integers, got {tensor.dtype}")
    return tensor.to(torch.uint8) if tensor.dtype in (torch.bool, torch.uint8) else tensor.long()


def samples(name: str, value: Any, *, empty: bool = False) -> "Tensor":
    """`value` as samples for a network; a tensor keeps its dtype, so token numbers stay integers.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value : array_like, shape (n, ...)
        Finite real numbers. float64 of an array or a data frame becomes torch's default; a tensor is left as it is.
    empty : bool
        Whether there may be no samples.

    Returns
    -------
    Tensor, shape (n, ...)
        The samples, on the device of `value`.

    Raises
    ------
    ValueError
        For values that are not real numbers, NaN, infinity, a single number, and no samples unless `empty`.

    Examples
    --------
    >>> samples("x", [[0.5, 1.0]])
    tensor([[0.5000, 1.0000]])
    """
    import torch

    tensor = _tensor(name, value, "numbers")
    if not isinstance(value, torch.Tensor) and tensor.dtype == torch.float64:
        tensor = tensor.to(torch.get_default_dtype())
    return _filled(name, tensor, 1, empty=empty)


def inputs(name: str, value: Any, *, empty: bool = False) -> Any:
    """`value` as inputs of a network: samples, or several inputs in a tuple of arrays or a mapping.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value : array_like, shape (n, ...), or tuple of arrays or mapping of these
        As `samples` takes them, each with a row for every sample.
    empty : bool
        Whether there may be no samples.

    Returns
    -------
    Tensor, shape (n, ...), or tuple or dict of Tensor
        The inputs.

    Raises
    ------
    ValueError
        As `samples`, and for parts with different numbers of samples.

    Examples
    --------
    >>> inputs("x", {"ids": [[1, 2]], "mask": [[1, 0]]})
    {'ids': tensor([[1, 2]]), 'mask': tensor([[1, 0]])}
    """
    several = isinstance(value, tuple) and len(value) > 0 and all(hasattr(part, "shape") for part in value)
    if isinstance(value, Mapping) and value:
        found: Any = {key: samples(f"{name}[{key!r}]", part, empty=empty) for key, part in value.items()}
    elif several:
        found = tuple(samples(f"{name}[{i}]", part, empty=empty) for i, part in enumerate(value))
    else:
        return samples(name, value, empty=empty)
    if len(sizes := {len(part) for part in leaves(found)}) > 1:
        raise ValueError(f"{name} must have a row for each sample in every part, got {sorted(sizes)} rows")
    return found


def leaves(x: Any) -> "list[Tensor]":
    """The tensors that inputs consist of.

    Parameters
    ----------
    x : Tensor, or tuple or mapping of tensors
        Inputs.

    Returns
    -------
    list of Tensor

    Examples
    --------
    >>> import torch
    >>> leaves({"a": torch.tensor(1), "b": torch.tensor(2)})
    [tensor(1), tensor(2)]
    """
    return list(x.values()) if isinstance(x, Mapping) else list(x) if isinstance(x, tuple) else [x]


def each(change: "Callable[[Tensor], Tensor]", x: Any) -> Any:
    """Inputs of the same form, with a function applied to every tensor.

    Parameters
    ----------
    change : callable
        From one tensor to another.
    x : Tensor, or tuple or mapping of tensors
        Inputs.

    Returns
    -------
    Tensor, or tuple or dict of Tensor
        Inputs of the same form.

    Examples
    --------
    >>> import torch
    >>> each(torch.neg, (torch.tensor(1), torch.tensor(2)))
    (tensor(-1), tensor(-2))
    """
    if isinstance(x, Mapping):
        return {key: change(part) for key, part in x.items()}
    return tuple(map(change, x)) if isinstance(x, tuple) else change(x)


def nearest(name: str | re.Pattern[str], names: Sequence[str]) -> str:
    """Advice for an unknown name: the known names that are similar; empty where there are none.

    Parameters
    ----------
    name : str or re.Pattern
        The name or pattern that was asked for.
    names : sequence of str
        The known names.

    Returns
    -------
    str

    Examples
    --------
    >>> nearest("layer1.conv", ["layer1.0.conv1", "fc"])
    "; the nearest are 'layer1.0.conv1'"
    """
    plain = re.sub(r"[^\w.]", "", name if isinstance(name, str) else name.pattern)
    found = get_close_matches(plain, [one for one in names if one], cutoff=0.5)
    return f"; the nearest are {', '.join(map(repr, found))}" if found else ""


def labels(name: str, value: Any, n: int | None = None) -> "Tensor":
    """`value` as class labels.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value : array_like, shape (n,)
        Integers, one per sample.
    n : int or None
        Number of samples; None accepts any.

    Returns
    -------
    Tensor, shape (n,)
        int64.

    Raises
    ------
    ValueError
        For labels that are not integers of shape (n,).

    Examples
    --------
    >>> labels("y", [0, 3, 3], n=3)
    tensor([0, 3, 3])
    """
    tensor = integers(name, value).long()
    if tensor.ndim != 1:
        raise ValueError(f"{name} must have shape (n,), got {tuple(tensor.shape)}")
    if n is not None and len(tensor) != n:
        raise ValueError(f"{name} must have {n} entries, one per sample, got {len(tensor)}")
    return tensor


def targets(name: str, value: Any) -> "Tensor":
    """`value` as the targets of a network: classes, several labels for each sample, or numbers.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value : array_like, shape (n,), (n, 1) or (n, labels)
        Integers are classes, and with several columns labels that hold (1) or not (0). Floats are numbers, unless all
        of them are 0 or 1, which are labels.

    Returns
    -------
    Tensor, shape (n,) or (n, labels)
        int64 for classes and labels, float64 for numbers.

    Raises
    ------
    ValueError
        For anything but an array of finite numbers, other shapes, labels that are not 0 or 1, and several numbers for
        a sample.

    Examples
    --------
    >>> targets("y", [[1.0], [0.0]]), targets("y", [2.5, 1.0])
    (tensor([1, 0]), tensor([2.5000, 1.0000], dtype=torch.float64))
    >>> targets("y", [[1, 0, 2]])
    Traceback (most recent call last):
    ValueError: y must hold 0 and 1 where a sample has several labels, got 2
    """
    tensor = _filled(name, _tensor(name, value, "classes, labels or numbers"), 1)
    tensor = tensor[:, 0] if tensor.ndim == 2 and tensor.shape[1] == 1 else tensor
    hold(f"the shape of {name}", tuple(tensor.shape), tensor.ndim < 3, "(n,) or (n, labels)")
    binary = bool(((tensor == 0) | (tensor == 1)).all())
    if tensor.ndim == 2 and not binary:
        other = tensor[(tensor != 0) & (tensor != 1)][0].item()
        raise ValueError(f"{name} must hold 0 and 1 where a sample has several labels, got {other:g}")
    return tensor.double() if tensor.is_floating_point() and not binary else tensor.long()


def positive(name: str, value: float) -> float:
    """`value` if it is above zero.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value : float
        Any number; infinity is allowed, NaN is not.

    Returns
    -------
    float
        The value as a Python number.

    Raises
    ------
    ValueError
        For a value that is not above zero, a bool and any other type.

    Examples
    --------
    >>> positive("width", 0.5)
    0.5
    """
    number = _plain(value)
    if not isinstance(number, int | float) or not number > 0:
        raise ValueError(f"{name} must be positive, got {value!r}")
    return number


def at_least(name: str, value: int, least: int) -> int:
    """`value` if it is an integer of at least `least`.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value, least : int
        The value, an integer of Python or NumPy; the smallest allowed value.

    Returns
    -------
    int
        The value as a Python integer.

    Raises
    ------
    ValueError
        For a smaller value, one of more than 63 bits, a bool and any other type.

    Examples
    --------
    >>> at_least("bins", 1, 2)
    Traceback (most recent call last):
    ValueError: bins must be an integer of at least 2, got 1
    """
    number = _plain(value)
    if not isinstance(number, int) or not least <= number < 2**63:
        end = " and below 2**63" if isinstance(number, int) and number > least else ""
        raise ValueError(f"{name} must be an integer of at least {least}{end}, got {value!r}")
    return number


def choice(name: str, value: str, allowed: Collection[str]) -> str:
    """`value` if it is one of the words `allowed`.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value : str
        A word.
    allowed : collection of str
        All words that the argument may take.

    Returns
    -------
    str
        The value itself.

    Raises
    ------
    ValueError
        For any other word; the message lists those allowed.

    Examples
    --------
    >>> choice("optimizer", "sdg", ("adam", "sgd"))
    Traceback (most recent call last):
    ValueError: unknown optimizer 'sdg'; allowed: adam, sgd
    """
    try:
        known = value in allowed
    except (TypeError, ValueError, RuntimeError):  # what has no hash, or no single answer, is no word
        known = False
    if not known:
        raise ValueError(f"unknown {name} {value!r}; allowed: {', '.join(map(str, allowed))}")
    return value


def within(name: str, value: float, least: float, most: float = math.inf) -> float:
    """`value` if it is a finite number in a closed interval.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value, least, most : float
        The value, and the ends of the interval.

    Returns
    -------
    float
        The value as a Python number.

    Raises
    ------
    ValueError
        For a value outside the interval, NaN, infinity, a bool and any other type.

    Examples
    --------
    >>> within("dropout", 0.5, 0, 1)
    0.5
    """
    number = _plain(value)
    if not isinstance(number, int | float) or not least <= number <= most or abs(number) == math.inf:
        span = "finite number" + f" of at least {least:g}" * (least > -math.inf)
        span = f"number from {least:g} to {most:g}" if most < math.inf else span
        raise ValueError(f"{name} must be a {span}, got {value!r}")
    return number


def increasing(name: str, values: Sequence[int], least: int) -> Sequence[int]:
    """`values` if they are a strictly increasing sequence.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    values : sequence of int
        At least one number.
    least : int
        Smallest allowed first number.

    Returns
    -------
    sequence of int
        The values themselves.

    Raises
    ------
    ValueError
        For no values, a first value below `least`, and values that do not increase.

    Examples
    --------
    >>> increasing("ends", [10, 20, 40], 1)
    [10, 20, 40]
    """
    found = [_plain(value) for value in values] if isinstance(values, Iterable) else []
    whole = all(isinstance(value, int) for value in found)
    if not found or not whole or found[0] < least or found != sorted(set(found)):
        raise ValueError(f"{name} must be integers that increase from at least {least}, got {found or values!r}")
    return values


def hold(name: str, value: Any, holds: Any, what: str) -> None:
    """Raise ValueError for a value that does not meet a condition.

    Parameters
    ----------
    name : str
        The parameter, for the error message.
    value : object
        What was given, for the error message.
    holds : object
        Whether the condition is met.
    what : str
        The condition in words, after "must be".

    Raises
    ------
    ValueError
        If the condition is not met.

    Examples
    --------
    >>> hold("layers", ["fc1"], False, "of two layers")
    Traceback (most recent call last):
    ValueError: layers must be of two layers, got ['fc1']
    """
    if not holds:
        raise ValueError(f"{name} must be {what}, got {value!r}")


def names(name: str, values: Iterable[str]) -> list[str]:
    """`values` if they are names, such as those of layers, one after the other.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    values : sequence of str
        Names; none are allowed.

    Returns
    -------
    list of str
        The names, each once, in their order.

    Raises
    ------
    ValueError
        For a single string and for anything else that is not a sequence of names.

    Examples
    --------
    >>> names("layers", ("conv1", "fc1"))
    ['conv1', 'fc1']
    >>> names("layers", "conv1")
    Traceback (most recent call last):
    ValueError: layers must be a sequence of names, got 'conv1'; write ['conv1']
    """
    found: list[Any] = list(values) if isinstance(values, Iterable) and not isinstance(values, str) else [None]
    if not all(isinstance(value, str) for value in found):
        advice = f"; write [{values!r}]" if isinstance(values, str) else ""
        raise ValueError(f"{name} must be a sequence of names, got {values!r}{advice}")
    return list(dict.fromkeys(found))


def network(name: str, value: Any) -> "nn.Module":
    """`value` if it is a network.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value : nn.Module
        Any network.

    Returns
    -------
    nn.Module
        The value itself.

    Raises
    ------
    ValueError
        For anything else.

    Examples
    --------
    >>> network("model", "resnet18")
    Traceback (most recent call last):
    ValueError: model must be a torch.nn.Module, got str
    """
    from torch import nn

    return of_type(name, value, nn.Module, "a torch.nn.Module")


def device(name: str, value: "torch.device | str") -> "torch.device":
    """`value` as a device that torch can use here, and that has float64.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value : torch.device or str
        Such as "cpu" or "cuda:1".

    Returns
    -------
    torch.device
        With its number, where the device has one.

    Raises
    ------
    ValueError
        For any other device, and for MPS, which has no float64.

    Examples
    --------
    >>> device("device", "cpu")
    device(type='cpu')
    >>> device("device", "mps")
    Traceback (most recent call last):
    ValueError: device must have float64, which mps does not: give 'cpu'
    """
    import torch

    try:
        there = torch.device(value)
        if there.type == "mps":
            raise ValueError(f"{name} must have float64, which mps does not: give 'cpu'")
        number = torch.zeros((), dtype=torch.float64, device=there)
        number.item()  # of "meta" there is none
        return number.device
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ValueError(f"{name} must be one that torch has here, got {value!r}: {error}") from error


def of_type(name: str, value: T, kind: Any, words: str) -> T:
    """`value` if it is an instance of a type.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value : any
        The value.
    kind : type
        The allowed type.
    words : str
        The type in words, for the error message.

    Returns
    -------
    any
        The value itself.

    Raises
    ------
    ValueError
        For a value of another type.

    Examples
    --------
    >>> of_type("head", 3, slice, "a slice, such as slice(0, 5)")
    Traceback (most recent call last):
    ValueError: head must be a slice, such as slice(0, 5), got int
    """
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be {words}, got {type(value).__name__}")
    return value


def no_gram(name: str, x: "Tensor", advice: str) -> "Tensor":
    """`x` unless it is a Gram or distance matrix in place of samples.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    x : Tensor, shape (n, ...)
        Samples.
    advice : str
        Which function takes a matrix, for the error message.

    Returns
    -------
    Tensor, shape (n, ...)
        The samples themselves.

    Raises
    ------
    ValueError
        For a symmetric n x n matrix with a constant diagonal, unless it is diagonal or constant. A matrix with n below
        16 may well hold samples and is accepted.

    Examples
    --------
    >>> import torch
    >>> no_gram("x", torch.ones(16, 16) + torch.eye(16), "gram_entropy takes it")
    Traceback (most recent call last):
    ValueError: x must be samples, got a symmetric 16 x 16 matrix with a constant diagonal; gram_entropy takes it
    """
    n = len(x)
    square = n >= 16 and x.shape == (n, n) and (x.diagonal() == x[0, 0]).all() and x.equal(x.mT)
    if square and x.count_nonzero() > n and (x != x[0, 0]).any():
        what = f"a symmetric {n} x {n} matrix with a constant diagonal"
        raise ValueError(f"{name} must be samples, got {what}; {advice}")
    return x


def guard(module: dict[str, Any], *, classes: bool = True) -> None:
    """Make the public functions and data classes of a module check their arguments against the annotations.

    One call at the end of a module covers every function that is added to it. Checked are networks, numbers, words,
    names, functions, tensors of finite numbers, and tables with rows in them. What is annotated as `Any`, and ranges,
    are left to the functions. An error about a missing column names the table and the argument that names the column.

    Parameters
    ----------
    module : dict
        Its `globals()`; in a package also what the package imports from its own modules.
    classes : bool
        Whether its data classes too.

    Examples
    --------
    >>> from torch import nn
    >>> def halved(model: nn.Module, share: float, *, name: str = "") -> float:
    ...     return share / 2
    >>> space = {"__name__": halved.__module__, "halved": halved}
    >>> guard(space)
    >>> space["halved"](nn.ReLU(), "x")
    Traceback (most recent call last):
    ValueError: share must be a number, got 'x'
    """
    for name, value in list(module.items()):
        if name[0] == "_" or not str(getattr(value, "__module__", "")).startswith(module["__name__"]):
            continue
        if inspect.isfunction(value):
            module[name] = _guarded(value)
        elif classes and dataclasses.is_dataclass(value):
            for part, method in list(vars(value).items()):
                if inspect.isfunction(method) and (part == "__init__" or part[0] != "_"):
                    setattr(value, part, _guarded(method))


def _guarded(function: Callable) -> Callable:
    rules: dict[str, Callable[[str, Any], Any] | None] = {}
    places, rest, frames = [], "", []
    for p in inspect.signature(function).parameters.values():
        if p.kind == p.VAR_KEYWORD:  # Unpack of a TypedDict
            rules |= {name: _rule(hint) for name, hint in get_args(p.annotation)[0].__annotations__.items()}
            continue
        rules[p.name] = _rule(p.annotation, p.default is p.empty)
        frames += [p.name] if _rows in (rules[p.name], *getattr(rules[p.name], "args", ())) else []
        places += [p.name] if p.kind == p.POSITIONAL_OR_KEYWORD else []
        rest = p.name if p.kind == p.VAR_POSITIONAL else rest

    if "bits" in rules:  # a codelength of the user's own may take labels that are not classes
        rules |= {name: partial(_data, whole=False) for name, rule in rules.items() if rule is _data}
        rules |= {"pool": partial(_optional, partial(_data, whole=False))} if "pool" in rules else {}

    @wraps(function)
    def checked(*args: Any, **options: Any) -> Any:
        given = [*zip(chain(places, repeat(rest)), args, strict=False), *options.items()]
        for name, value in given if options.keys() <= rules.keys() else ():  # a misspelt one is Python's to refuse
            if rule := rules.get(name):
                rule(name, value)
        try:
            return function(*args, **options)
        except KeyError as error:
            tables = [name for name, value in given if name in frames and value is not None]
            if not tables:
                raise
            words = [(name, [value] if isinstance(value, str) else value) for name, value in given]
            naming = [name for name, value in words if type(value) is list and any(str(v) in str(error) for v in value)]
            raise ValueError(f"{', '.join(tables + naming)}: there is no column {error}") from error

    return checked


def _rule(hint: Any, some: bool = False) -> Callable[[str, Any], Any] | None:
    """The check of a value against a type hint; an empty value is refused where there must be `some` entries.

    None where the function has to see for itself.
    """
    from torch import Tensor, nn

    if get_origin(hint) in (Union, UnionType):
        kinds = [one for one in get_args(hint) if one is not NoneType]
        if len(kinds) < len(get_args(hint)):
            rule = _rule(Union[tuple(kinds)])  # noqa: UP007
            return rule and partial(_optional, rule)
        plain = [get_origin(one) or one for one in kinds]
        return None if {Tensor, float} & set(plain) else _of_kinds(tuple(plain))
    if get_origin(hint) is Literal:
        return partial(choice, allowed=get_args(hint))
    if hint in (Any, inspect.Parameter.empty):
        return None
    special = {bool: _bool, int: _whole, float: _number, Tensor: samples, nn.Module: network}
    named = {"DataFrame": _rows, "Data": _data}  # whose modules checks does not import
    kind = Mapping if is_typeddict(hint) else get_origin(hint) or hint
    if hint in special or (word := getattr(kind, "__name__", "")) in named:
        return special.get(hint) or named[word]
    if kind in (Sequence, Mapping, tuple):
        parts = [part for part in get_args(hint) if part is not ...]
        each = names if get_args(hint) == (str,) else _rule(parts[-1]) if parts else None
        size = len(parts) if kind is tuple and ... not in get_args(hint) else None
        return partial(_held, kind, each, some, size)
    return _of_kinds((kind,)) if isinstance(kind, type) else None


def _of_kinds(kinds: tuple[type, ...]) -> Callable[[str, Any], Any]:
    return partial(of_type, kind=kinds, words=f"of type {' or '.join(kind.__name__ for kind in kinds)}")


def _optional(rule: Callable[[str, Any], Any], name: str, value: Any) -> Any:
    return None if value is None else rule(name, value)


def _bool(name: str, value: Any) -> Any:
    return of_type(name, value, bool | np.bool_, "True or False")


def _whole(name: str, value: Any) -> Any:
    if not isinstance(_plain(value), int):
        raise ValueError(f"{name} must be an integer, got {value!r}")
    return at_least(name, value, 0 if name == "seed" else -(2**63))


def _number(name: str, value: Any) -> Any:
    if not isinstance(number := _plain(value), int | float) or math.isnan(number):
        raise ValueError(f"{name} must be a number, got {value!r}")


def _held(
    kind: type, each: Callable[[str, Any], Any] | None, some: bool, size: int | None, name: str, value: Any
) -> None:
    """Refuse anything but a mapping or a sequence (an array is one), and entries that are not allowed."""
    if each is names:
        names(name, value)
    elif isinstance(value, str | bytes) or isinstance(value, Mapping) != (kind is Mapping) or not _sized(value):
        raise ValueError(f"{name} must be a {kind.__name__.lower()}, got {type(value).__name__}")
    elif each and hasattr(value, "__getitem__"):
        for key, one in value.items() if isinstance(value, Mapping) else enumerate(value):
            each(f"{name}[{key!r}]", one)
    if size is not None and len(value) != size:
        raise ValueError(f"{name} must have {size} parts, got {len(value)}")
    if some:
        at_least(f"the number of {name}", len(value), 1)


def _sized(value: Any) -> bool:
    return hasattr(value, "__len__") and getattr(value, "ndim", 1) > 0


def _data(name: str, value: Any, *, whole: bool = True) -> Any:
    if not {"x", "y"} <= set(getattr(value, "__dataclass_fields__", ())):
        raise ValueError(f"{name} must be infolib.Data(x, y), got {type(value).__name__}")
    samples(f"x of {name}", value.x, empty=True)
    kept = samples(f"the labels of {name}", value.y, empty=True)
    if whole and len(kept):
        labels(f"the labels of {name}", kept)


def _rows(name: str, value: Any) -> Any:
    if not hasattr(value, "columns") or not len(value):
        got = "one without rows" if hasattr(value, "columns") else type(value).__name__
        raise ValueError(f"{name} must be a data frame with rows in it, got {got}")


def _plain(value: Any) -> Any:
    """Python's number for one of NumPy or torch, None for a bool."""
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    return None if isinstance(value, bool) else value


def _tensor(name: str, value: Any, kind: str, dtype: "torch.dtype | None" = None) -> "Tensor":
    import torch

    try:
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError("its mask would be lost")
        if hasattr(value, "__array__") and not isinstance(value, torch.Tensor):
            value = np.require(np.asarray(value), requirements=["C", "W"])  # torch needs a contiguous, writeable one
        tensor = torch.as_tensor(value, dtype=dtype)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{name} must be an array of {kind}, got {type(value).__name__}: {error}") from error
    if tensor.is_complex():
        raise ValueError(f"{name} must be real, got {tensor.dtype}")
    return tensor


def _filled(name: str, tensor: "Tensor", min_ndim: int, *, empty: bool = False, finite: bool = True) -> "Tensor":
    """The tensor, if it has so many dimensions, numbers in it, and only finite ones."""
    if tensor.ndim < min_ndim:
        raise ValueError(f"{name} needs at least {min_ndim} dimension(s), got shape {tuple(tensor.shape)}")
    if tensor.numel() == 0 and not empty:
        raise ValueError(f"{name} is empty, got shape {tuple(tensor.shape)}")
    number = finite and tensor.is_floating_point() and not tensor.is_meta  # a meta tensor holds none
    if number and not tensor.sum().isfinite() and not tensor.isfinite().all():  # the sum is fast, but may overflow
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return tensor
