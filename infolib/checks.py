"""One place where arguments become tensors or a ValueError that names the argument."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor


def floats(name: str, value: Any, *, min_ndim: int = 1) -> Tensor:
    """`value` as a finite floating-point tensor; a tensor or array of floats keeps its dtype, the rest is float64."""
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
    """`value` as a tensor of int64, or uint8 if it is one (or bool); floats are refused, whole or not."""
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
    """`value` as class labels: int64, shape (n,)."""
    tensor = integers(name, value).long()
    if tensor.ndim != 1:
        raise ValueError(f"{name} must have shape (n,), got {tuple(tensor.shape)}")
    if n is not None and len(tensor) != n:
        raise ValueError(f"{name} must have {n} entries, one per sample, got {len(tensor)}")
    return tensor


def positive(name: str, value: float) -> float:
    """`value` if it is a number above zero (infinity allowed, NaN not)."""
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")
    return value


def at_least(name: str, value: int, least: int) -> int:
    """`value` if it is an integer of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    return value


def choice(name: str, value: str, allowed: Collection[str]) -> str:
    """`value` if it is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"unknown {name} {value!r}; allowed: {', '.join(map(str, allowed))}")
    return value


def within(name: str, value: float, least: float, most: float) -> float:
    """`value` if it is a number from `least` to `most`."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} must be a number from {least:g} to {most:g}, got {value!r}")
    return value


def increasing(name: str, values: Sequence[int], least: int) -> Sequence[int]:
    """`values` if they are whole numbers, at least one, that rise from `least` or more."""
    if not values or values[0] < least or list(values) != sorted(set(values)):
        raise ValueError(f"{name} must rise from {least} or more, got {list(values)}")
    return values
