"""The options of the lenses: their types, their ranges, and the samples that a lens takes."""

from collections.abc import Sequence
from typing import Any, TypedDict

from infolib import checks
from infolib.data import Data
from infolib.measures._measurable import balanced, sets
from infolib.measures._noisy import checked_bounds

SHARES = (0.25, 0.5, 0.75, 1.0)  # of a layer's units that are clamped together
SIZES = {"information": 128, "redundancy": 128, "class_information": 256, "discarding": 8, "codelength": 512}
LEAST = {"max_pairs": 1, "seed": 0, "steps": 0, "samples": 16, "permutations": 0, "batch_size": 1}
ABOUT_CLASSES = ("information", "class_information", "codelength")


class _Size(TypedDict, total=False):
    n: int | None


class _Codelength(_Size, total=False):
    permutations: int
    batch_size: int
    seed: int


class _Matrix(_Codelength, total=False):
    alpha: float


class _Information(_Matrix, total=False):
    ratio: float
    softmax: Sequence[str] | None


class _Redundancy(_Matrix, total=False):
    max_pairs: int


class _ClassInformation(_Codelength, total=False):
    shares: Sequence[float]


class _Discarding(_Size, total=False):
    boxed: bool
    bounds: tuple[float, float] | None
    error: float
    samples: int
    steps: int
    seed: int


class Options(TypedDict, total=False):
    """Options of the five lenses, by the name of the lens: what `look` passes on.

    Parameters
    ----------
    information, redundancy, class_information, discarding, codelength : dict
        Keywords of the function of that name, such as `{"n": 4, "boxed": True}`.
    """

    information: _Information
    redundancy: _Redundancy
    class_information: _ClassInformation
    discarding: _Discarding
    codelength: _Codelength


def size_for(lens: str, data: Data, n: int | None = None) -> int:
    """How many samples a lens takes: the number asked for, else its own number, or all that there are."""
    return min(SIZES[lens], len(data) // _times(lens)) if n is None else n


def fitted(lens: str, n: int | None, size: int) -> str:
    """For the settings: a note that no size was asked for and there were fewer samples than the lens's own number."""
    return f", n fitted to the data: {SIZES[lens]} if there are as many" if n is None and size < SIZES[lens] else ""


def samples_for(lens: str, data: Data, layers: Sequence[str], *, n: int | None = None, **options: Any) -> Data:
    """The balanced samples of a lens, n or twice as many, if they are enough and its options are in range."""
    for name in LEAST.keys() & options.keys():
        checks.at_least(name, options[name], LEAST[name])
    checks.positive("alpha", options.get("alpha", 1.0))
    for name in {"error", "ratio"} & options.keys():
        checks.within(name, checks.positive(name, options[name]), 0)
    checked_bounds(options.get("bounds"))
    checks.of_type("boxed", options.get("boxed", False), bool, "True or False")
    shares = list(checks.of_type("shares", options.get("shares", SHARES), Sequence, "a sequence of numbers"))
    rising = sorted({checks.within("shares", share, 0, 1) for share in shares})
    if not shares or shares != rising or shares[0] == 0:
        raise ValueError(f"shares must increase in (0, 1], got {shares}")
    if others := [name for name in checks.names("softmax", options.get("softmax") or ()) if name not in layers]:
        raise ValueError(f"softmax must name some of layers, {', '.join(layers)}, got {others[0]!r}")
    times, classes, least = _times(lens), len(sets(data.y).unique()), 1 if lens == "discarding" else 8
    n = max(checks.at_least("n", size_for(lens, data, n), least if n is not None else 0), least)
    if times * n > len(data):
        raise ValueError(f"{'2 times ' * (times - 1)}n={n} is more than the {len(data)} samples of data")
    batch = balanced(data, times * n)
    if lens in ABOUT_CLASSES and data.y.ndim == 1 and (held := len(sets(batch[:n].y).unique())) < classes:
        raise ValueError(
            f"n must be so large that each of {classes} classes has a sample, got n={n} with {held} of them"
        )
    return batch


def _times(lens: str) -> int:
    """Twice as many samples where half of them are for the ablation."""
    return 1 + (lens == "class_information")
