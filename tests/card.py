"""A pretended card: tensors that say they are on it, and hold real numbers in main memory.

Operations keep the rules of devices: a tensor on the card and one beside it do not meet, but for a single number, an
index, and a copy; a generator of the processor draws nothing on the card; and nothing on the card is a NumPy array.
Unlike those of PyTorch's fake tensors, numbers are real, so that code may look at them.
"""

import contextlib
import copy
import dataclasses
from collections.abc import Mapping
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")  # which needs no driver; here its tensors have values
MOVES = {"_to_copy", "copy_", "_copy_from", "set_"}  # from one device to another
INDEXED = {"index", "index_put_", "index_put", "_index_put_impl_", "_unsafe_index"}  # by indices from either side


class OnCard(Tensor):
    """A tensor that says it is on a card."""

    @staticmethod
    def __new__(cls, real):
        shape = {"strides": real.stride(), "storage_offset": real.storage_offset()}
        return Tensor._make_wrapper_subclass(cls, real.size(), **shape, dtype=real.dtype, device=DEVICE)

    def __init__(self, real):
        self.held = real

    def __repr__(self):
        return f"OnCard({self.held})"

    def __getitem__(self, index):
        return super().__getitem__(listed(index))

    def __setitem__(self, index, value):
        super().__setitem__(listed(index), value)

    def new_tensor(self, numbers):
        return torch.tensor(numbers, dtype=self.dtype).to(self.device)

    def tolist(self):
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return dispatched(func, args, kwargs or {})


class Card(TorchDispatchMode):
    """Within it, what is made on a card is on the pretended card."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return dispatched(func, args, kwargs or {})


def dispatched(func, args, kwargs):
    """The result of an operation, on the device where it belongs."""
    name, given = func.overloadpacket.__name__, tree_flatten((args, kwargs))[0]
    tensors = [t for t in given if isinstance(t, Tensor)]
    cards = [t for t in tensors if isinstance(t, OnCard)]
    beside = [t for t in tensors if not isinstance(t, OnCard) and t.ndim]
    asked = kwargs.get("device")
    if name in INDEXED and cards:
        indices = isinstance(args[0], OnCard) and all(t.dtype in (torch.long, torch.bool) for t in beside)
        beside = [] if indices else beside
    if cards and beside and name not in MOVES:
        shapes = [[tuple(t.shape) for t in part] for part in (cards, beside)]
        raise RuntimeError("{}: on the card {}, beside it {}".format(func, *shapes))
    if name == "_local_scalar_dense" or not (cards or asked):
        return func(*tree_map(held, args), **tree_map(held, kwargs))
    there = torch.device(asked) == DEVICE if asked is not None else bool(cards)
    if name in ("copy_", "set_"):
        there = isinstance(args[0], OnCard)
    if there and kwargs.get("generator") is not None:
        raise RuntimeError(f"{func}: a generator of the processor, asked for numbers on the card")
    if there and asked is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    found = func(*tree_map(held, args), **tree_map(held, kwargs))
    same = {id(t.held): t for t in cards}
    if not there:
        return found
    return tree_map(lambda t: same[id(t)] if id(t) in same else OnCard(t) if isinstance(t, Tensor) else t, found)


def held(value):
    return value.held if isinstance(value, OnCard) else value


@contextlib.contextmanager
def plugged_in():
    """The pretended card is there."""
    patches = {
        "torch.__future__.get_overwrite_module_params_on_conversion": lambda: True,
        "torch.optim.optimizer._get_fused_kernels_supported_devices": lambda: ["cpu", DEVICE.type],
        "torch.tensor": made,
    }
    with contextlib.ExitStack() as stack:
        for name, own in patches.items():
            stack.enter_context(mock.patch(name, own))
        stack.enter_context(Card())
        yield


def listed(index):
    """An index whose lists are tensors."""
    if isinstance(index, tuple):
        return tuple(map(listed, index))
    return torch.tensor(index) if isinstance(index, list) else index


def made(numbers, *, device=None, make=torch.tensor, **how):
    """`torch.tensor`, which goes to a device where no mode sees it."""
    found = make(held(numbers), **how)
    return found if device is None else found.to(device)


def moved(value, *, tensors=True):
    """A value with its networks, and its tensors if they are asked for, on the card."""
    if isinstance(value, nn.Module):
        return copy.deepcopy(value).to(DEVICE)
    if isinstance(value, Tensor):
        return value.to(DEVICE) if tensors and not isinstance(value, OnCard) else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: moved(getattr(value, f.name), tensors=tensors) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **fields)
    if isinstance(value, Mapping):
        return {key: moved(each, tensors=tensors) for key, each in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(moved(each, tensors=tensors) for each in value)
    return value
