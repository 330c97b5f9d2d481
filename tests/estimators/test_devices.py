"""Tensors on a GPU, pretended: values are the same and stay there, and no operation mixes devices."""

import math
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from infolib.estimators import chance, lanczos, renyi

DEVICE = torch.device("meta")  # which needs no driver; here its tensors have values, in main memory
INDICES = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default}  # as on a GPU, these may lie on the CPU
COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}


class Elsewhere(Tensor):
    """A tensor that says it is on the device."""

    @staticmethod
    def __new__(cls, held):
        layout = {"dtype": held.dtype, "strides": held.stride(), "storage_offset": held.storage_offset()}
        return Tensor._make_wrapper_subclass(cls, held.shape, device=DEVICE, **layout)

    def __init__(self, held):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


class Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def run(func, args, kwargs):
    """A function on what is held; its results are on the device if its arguments are, or if it is told so."""
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    there = [t for t in tensors if isinstance(t, Elsewhere)]
    if there and func not in INDICES | COPIES and any(t.ndim for t in tensors if not isinstance(t, Elsewhere)):
        raise RuntimeError(f"{func} of tensors on two devices")
    wrap, device = bool(there), kwargs.get("device")
    if device is not None:
        wrap, kwargs = torch.device(device) == DEVICE, kwargs | {"device": torch.device("cpu")}
    args, kwargs = tree_map_only(Elsewhere, lambda t: t.held, (args, kwargs))
    known = {id(t.held): t for t in there}  # what a function in place returns is its argument
    found = func(*args, **kwargs)
    return tree_map_only(Tensor, lambda t: known[id(t)] if id(t) in known else Elsewhere(t), found) if wrap else found


@contextmanager
def samples(n):
    """Samples and labels on the CPU and elsewhere."""
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.arange(n) % 3
    with Mode():
        yield (x, y), (x.to(DEVICE), y.to(DEVICE))


def test_the_pretended_device_refuses_what_a_gpu_refuses():
    with samples(4) as ((x, y), (far, _)):
        assert (far.device, (far + 1).cpu().tolist()) == (DEVICE, (x + 1).tolist())
        with pytest.raises(RuntimeError, match="on two devices"):
            far + x
        with pytest.raises((RuntimeError, TypeError)):
            far.numpy()
        assert far[y].device == DEVICE


SLQ = {"exact": 0, "deflated": 16}
ORDERS = (1, 1.01, 2, 3, math.inf)
CALLS = {
    "entropy": lambda x, _: renyi.entropy(renyi.gram(x, width=1.0)),
    "channels": lambda x, _: renyi.joint_entropy(renyi.channel_grams(x[:, :, None], width=1.0)),
    "labels": lambda x, y: renyi.label_mutual_information(renyi.gram(x, width=1.0), y),
    "width": lambda x, y: renyi.alignment_width(x, y).width,
    "width of bins": lambda x, y: renyi.alignment_width(x, y, bins=64).width,
    "centred width": lambda x, y: renyi.alignment_width(x, y, centred=True).width,
    "published width": lambda x, y: renyi.published_width(x, y).width,
    "distance": lambda x, _: renyi.distance_width(x, kind="median"),
    "chance": lambda x, _: (
        chance.beyond_grams(*[renyi.gram(x, width=w) for w in (1.0, 2.0)], permutations=5, seed=0).low
    ),
    "chance of labels": lambda x, y: chance.beyond_labels(renyi.gram(x, width=1.0), y, permutations=5, seed=0).low,
    "exact chance": lambda x, y: (
        chance.beyond_labels(renyi.gram(x, width=1.0), y, alpha=2, permutations=0, seed=0).value
    ),
    "few": lambda x, _: lanczos.entropy(x, width=1.0),
    **{f"order {a}": lambda x, _, a=a: lanczos.entropy(x, width=1.0, alpha=a, **SLQ) for a in ORDERS},
    "information": lambda x, _: lanczos.mutual_information(x, x[:, :1], width_x=1.0, width_y=2.0, **SLQ),
    "quadrature with labels": lambda x, y: lanczos.label_mutual_information(x, y, width=1.0, **SLQ),
    "squares with labels": lambda x, y: lanczos.label_mutual_information(x, y, width=1.0, alpha=2, **SLQ),
    "quadrature of a Gram": lambda x, _: lanczos.gram_entropy(renyi.gram(x, width=1.0), **SLQ),
    "a small Gram": lambda x, _: lanczos.gram_entropy(renyi.gram(x, width=1.0)),
    "eigenvalues": lambda x, _: lanczos.leading_eigenpairs(renyi.gram(x, width=1.0), deflated=16)[0],
}


@pytest.mark.parametrize("case", CALLS)
def test_values_are_the_same_elsewhere_and_stay_there(case):
    def values(x, y):
        found = CALLS[case](x, y)
        return torch.stack(found) if isinstance(found, tuple) else found

    with samples(300) as (here, there):
        far = values(*there)
        assert far.device == DEVICE
        torch.testing.assert_close(far.cpu(), values(*here), rtol=0, atol=1e-12)
