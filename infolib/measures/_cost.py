"""What a look at a network will take: from passes that are timed and the sizes of what is recorded."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from infolib import activations
from infolib.activations import placed
from infolib.data import Data
from infolib.measures import _ablation
from infolib.measures._lens_options import size_for
from infolib.measures._look import Lens
from infolib.measures._measurable import BATCH, balanced, collected, kinds, output, ready
from infolib.measures._probe import label_bits

PILOTS = (8, 32)  # samples of a pass that is timed, the more where it is fast
FAST, SLOW = 0.05, 1.0  # seconds
SIZE = 384  # of the products of matrices that are timed
BYTES = 8  # of a float64


@torch.random.fork_rng(devices=[])  # matrices that are timed are drawn
def costs(
    lenses: Mapping[str, Lens],
    networks: Sequence[nn.Module],
    data: Data,
    layers: list[str],
    units: Mapping[str, str],
    at_once: int,
) -> pd.DataFrame:
    """Seconds and GB of each lens for one part of the data: n, and for each network what it takes, layers at once."""
    model = networks[0]
    for size in PILOTS:
        few = balanced(data, min(size, len(data)))
        recorded = collected(model, few.x, layers, units)  # it also warms up
        each = _timed(partial(collected, model, few.x, layers, units)) / len(few)
        if each * len(few) > FAST:
            break
    rows, seconds, held = [], 0.0, 0.0
    checked = 2 * _timed(partial(ready, model, data, layers))  # by a lens and by `look`
    groups = [layers[i : i + at_once] for i in range(0, len(layers), at_once)]
    for name, lens in lenses.items():
        n = size_for(name, data, lens.keywords.get("n"))
        values = {layer: t[0].numel() for layer, t in recorded.items()}
        orders = 1 + lens.keywords.get("permutations", 0)
        if name == "information":
            seconds, held = _information(n, list(values.values()), orders), 3 * BYTES
            seconds += min(n, BATCH) * each * (lens.keywords["softmax"] is None)  # a pass that looks for logits
        elif name == "redundancy":
            seconds, held = _redundancy(n, recorded, units, lens.keywords["max_pairs"], orders), 1.5 * BYTES
        elif name == "class_information":
            left = [_left(model, few, layer) for layer in layers]
            seconds = 2 * n * each + n * sum(left) * min(orders, 2) * (2 * len(lens.keywords["shares"]) - 1)
            held = 0.5 * BYTES
        elif name == "discarding":
            seconds, held = _discarding(n, partial(lens, model, few, layers), lens.keywords["error"]) - n * each, 0.0
        else:
            seconds, held = _codelength(n, list(values.values()), _codes(data.y), orders), 0.5 * BYTES
        inputs = few.x[0].numel() if isinstance(few.x, Tensor) else 0
        most = max(sum(values[layer] for layer in group) for group in groups)
        memory = n * (most * held + 0.5 * BYTES * inputs) + _passing(model, few) * lens.keywords.get("batch_size", 1)
        rows.append({"lens": name, "n": n, "seconds": checked + seconds + n * each * len(groups), "GB": memory / 1e9})
    return pd.DataFrame(rows)


def _timed(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _rate(dtype: torch.dtype) -> float:
    """Operations per second of a product of matrices."""
    a = torch.randn(SIZE, SIZE, dtype=dtype)
    return 2 * SIZE**3 / min(_timed(lambda: a @ a) for _ in range(4))


def _spectrum(n: int) -> float:
    """Seconds for the eigenvalues of a matrix (n, n), of several at once."""
    size = min(n, SIZE)
    a = torch.randn(8, size, size, dtype=torch.float64)
    a = a + a.mT
    return min(_timed(lambda: torch.linalg.eigvalsh(a)) for _ in range(2)) / len(a) * (n / size) ** 3


def _information(n: int, values: Sequence[int], orders: int) -> float:
    spectra = 2 * len(values) * (1 + 2 * orders) * _spectrum(n)
    return spectra + 2 * sum(2 * n**2 * v for v in values) / _rate(torch.float64) + len(values) * 250 * n**2 * 5e-9


def _redundancy(n: int, recorded: Mapping[str, Tensor], units: Mapping[str, str], max_pairs: int, orders: int) -> float:
    seconds, one = 0.0, _spectrum(n)
    for layer, t in recorded.items():
        count = _ablation.maps(t, units[layer]).shape[1]
        if count > 1 and t.ndim > 2 + (units[layer] == "features"):  # else it has no maps
            pairs = min(max_pairs, count * (count - 1) // 2)
            seconds += 2 * n**2 * t[0].numel() / _rate(torch.float64) + count * n**2 * 4e-8
            seconds += orders * 2 * (count + pairs) * one
    return seconds


def _discarding(n: int, lens: Callable[..., Any], error: float) -> float:
    """Of one image, or where it is fast of one and four: the first of a pass takes longer than the next."""
    most = min(n, 4)
    one, some = (partial(lens, n=k, error=error * math.sqrt(n / k)) for k in (1, most))
    if (first := _timed(one)) > SLOW or n == 1:
        return n * first
    first = _timed(one)
    return first + (n - 1) / (most - 1) * max(_timed(some) - first, 0)


def _codes(y: Tensor) -> list[int]:
    """The classes of each code that is sent; numbers have none."""
    return [] if kinds(y) == "numbers" else [len(one.unique()) for one in (y.T if y.ndim == 2 else [y])]


def _codelength(n: int, values: Sequence[int], codes: Sequence[int], orders: int) -> float:
    """Blocks take about four times the steps of those timed here, and these longer with samples and weights."""
    small = partial(label_bits, torch.randn(32, 4, dtype=torch.float64), torch.arange(32) % 2)
    block = min(_timed(small) for _ in range(3)) / 2  # which it has
    steps = sum(1 + n * min(n, v) * classes / 1e6 for v in values for classes in codes)
    wide = [v for v in values if v > n or not codes]
    gram = len(wide) * 4 * _spectrum(n) + 2 * n**2 * sum(wide) / _rate(torch.float32)
    return gram + orders * 3.6 * block * math.log2(max(n / 8, 2)) * steps


def _left(model: nn.Module, few: Data, layer: str) -> float:
    """Seconds per sample of a pass from a layer on."""
    x = placed(model, few.x)
    with _ablation.from_there(model, x, layer):
        return _timed(lambda: output(model, x)) / len(few)


def _passing(model: nn.Module, few: Data) -> float:
    """Bytes per sample of the largest outputs that a pass holds at once, about."""
    sizes: list[int] = []
    names = [name for name in activations.reached(model, few.x) if name]
    kept = dict.fromkeys(names, lambda _, t: sizes.append(t.numel() * t.element_size() if isinstance(t, Tensor) else 0))
    with activations.hooked(model, kept):
        output(model, few.x)
    return 3 * max(sizes, default=0) / len(few)
