"""One place where arguments become tensors or a ValueError that names the argument."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor


def floats(name: str, value: Any, *, min_ndim: int = 1) -> Tensor:
    """`value` as a tensor of finite real numbers.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value : array_like
        A tensor or array of float32 or float64 keeps its dtype. Half precision becomes float32, all else float64.
    min_ndim : int
        Least number of dimensions.

    Returns
    -------
    Tensor, shape of `value`
        float32 or float64, on the device of `value`.

    Raises
    ------
    ValueError
        For values that are no real numbers, NaN, infinity, an empty array or too few dimensions.

    Examples
    --------
    >>> floats("x", [1, 2])
    tensor([1., 2.], dtype=torch.float64)
    >>> floats("x", [float("nan")])
    Traceback (most recent call last):
    ValueError: x must be finite, got NaN or infinity
    """
    try:
        tensor = value if hasattr(value, "dtype") else torch.as_tensor(value, dtype=torch.float64)
        tensor = torch.as_tensor(tensor)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be an array of numbers, got {type(value).__name__}: {error}") from error
    if tensor.is_complex():
        raise ValueError(f"{name} must be real, got {tensor.dtype}")
    if not tensor.is_floating_point():
        tensor = tensor.double()
    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()
    if tensor.ndim < min_ndim:
        raise ValueError(f"{name} needs at least {min_ndim} dimension(s), got shape {tuple(tensor.shape)}")
    if tensor.numel() == 0:
        raise ValueError(f"{name} is empty, got shape {tuple(tensor.shape)}")
    if not tensor.sum().isfinite() and not tensor.isfinite().all():  # the sum is fast, but may overflow
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return tensor


def integers(name: str, value: Any, *, min_ndim: int = 1) -> Tensor:
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
        For values that are no integers, an empty array or too few dimensions.

    Examples
    --------
    >>> integers("codes", [True, False])
    tensor([1, 0], dtype=torch.uint8)
    >>> integers("codes", [0.0])
    Traceback (most recent call last):
    ValueError: codes must be integers, got torch.float32
    """
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be an array of integers, got {type(value).__name__}: {error}") from error
    if tensor.is_floating_point() or tensor.is_complex():
        raise ValueError(f"{name} must be integers, got {tensor.dtype}")
    if tensor.ndim < min_ndim:
        raise ValueError(f"{name} needs at least {min_ndim} dimension(s), got shape {tuple(tensor.shape)}")
    if tensor.numel() == 0:
        raise ValueError(f"{name} is empty, got shape {tuple(tensor.shape)}")
    return tensor.to(torch.uint8) if tensor.dtype in (torch.bool, torch.uint8) else tensor.long()


def labels(name: str, value: Any, n: int | None = None) -> Tensor:
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
        The value itself.

    Raises
    ------
    ValueError
        For a value that is not above zero.

    Examples
    --------
    >>> positive("width", 0.5)
    0.5
    """
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")
    return value


def at_least(name: str, value: int, least: int) -> int:
    """`value` if it is an integer of at least `least`.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value, least : int
        The value, and the smallest allowed one.

    Returns
    -------
    int
        The value itself.

    Raises
    ------
    ValueError
        For a smaller value, a bool and any other type.

    Examples
    --------
    >>> at_least("bins", 1, 2)
    Traceback (most recent call last):
    ValueError: bins must be an integer of at least 2, got 1
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    return value


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
    if value not in allowed:
        raise ValueError(f"unknown {name} {value!r}; allowed: {', '.join(map(str, allowed))}")
    return value


def within(name: str, value: float, least: float, most: float) -> float:
    """`value` if it is a number in a closed interval.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value, least, most : float
        The value, and the ends of the interval.

    Returns
    -------
    float
        The value itself.

    Raises
    ------
    ValueError
        For a value outside the interval, NaN, a bool and any other type.

    Examples
    --------
    >>> within("dropout", 0.5, 0, 1)
    0.5
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} must be a number from {least:g} to {most:g}, got {value!r}")
    return value


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
        For no values, a first one below `least`, and values that do not rise.

    Examples
    --------
    >>> increasing("ends", [10, 20, 40], 1)
    [10, 20, 40]
    """
    if not values or values[0] < least or list(values) != sorted(set(values)):
        raise ValueError(f"{name} must rise from {least} or more, got {list(values)}")
    return values
