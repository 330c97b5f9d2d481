"""The information plane: what each layer keeps of the input, I(X;T), and of the label, I(T;Y)."""

import math
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from infolib import _checks, activations
from infolib.estimators import renyi
from infolib.training import Step


def point(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    layers: Sequence[str],
    *,
    input_width: float,
    alpha: float = 1.01,
) -> pd.DataFrame:
    """Matrix-based I(X;T) and I(T;Y) in bits of each layer on one batch, in float64: a frame with one row per layer.

    `of_activations` on what the layers of `model` say about x, in eval mode. The layer `output` enters as
    softmax(logits), as in Wickstrøm et al. 2019.

    x: (n, ...); y: (n,) integers. Raises ValueError for what the estimators or `activations.collect` refuse.
    """
    recorded = activations.collect(model, x, layers)
    if "output" in recorded:
        recorded["output"] = torch.softmax(recorded["output"].double(), dim=1)
    recorded = {layer: t.double() for layer, t in recorded.items()}
    return of_activations(x.double(), y, recorded, input_width=input_width, alpha=alpha)


def of_activations(
    x: Tensor,
    y: Tensor,
    recorded: Mapping[str, Tensor],
    *,
    input_width: float,
    alpha: float = 1.01,
    bins: int | None = None,
) -> pd.DataFrame:
    """Matrix-based I(X;T) and I(T;Y) in bits of recorded activations: a frame with one row per layer.

    The tensor kernel of Wickstrøm et al. 2019 (arXiv 1909.11396): an activation of any shape is flattened, and its
    width is the one whose kernel is best aligned with the labels' (their σ*, without the average over iterations;
    `bins` as in `renyi.alignment_width`). The input's width is given. All widths are those of exp(-d²/(2 width²)); that
    of a dead layer, whose activations are all the same, is infinite, its information 0.

    x: (n, ...); y: (n,) integers; each activation (n, ...), in the precision it is given in. Columns: layer, I(X;T),
    I(T;Y), S(T), S(X), S(Y), width, input_width, alpha, n. Raises ValueError for what the estimators refuse.
    """
    y = _checks.labels("y", y, len(x))
    gram_x = renyi.gram(x, width=input_width)
    s_x, s_y = float(renyi.entropy(gram_x, alpha=alpha)), float(renyi.label_entropy(y, alpha=alpha))
    rows = []
    for layer, t in recorded.items():
        squared = renyi.squared_distances(t)
        # A dead layer is constant: it has no information and needs no width.
        width = renyi.alignment_width(squared, y, bins=bins, precomputed=True) if squared.any() else math.inf
        gram_t = renyi.gram(squared, width=width, precomputed=True)
        s_t = float(renyi.entropy(gram_t, alpha=alpha))
        row = {
            "layer": layer,
            "I(X;T)": s_x + s_t - float(renyi.joint_entropy(gram_x, gram_t, alpha=alpha)),
            "I(T;Y)": s_t + s_y - float(renyi.label_joint_entropy(gram_t, y, alpha=alpha)),
        }
        row |= {"S(T)": s_t, "S(X)": s_x, "S(Y)": s_y}
        rows.append(row | {"width": float(width), "input_width": input_width, "alpha": alpha, "n": len(x)})
    return pd.DataFrame(rows)


def trajectory(
    model: nn.Module,
    steps: Iterable[Step],
    x: Tensor,
    y: Tensor,
    layers: Sequence[str],
    *,
    at: Sequence[int],
    **options: float,
) -> pd.DataFrame:
    """Points of the information plane while a network learns: `point` after each number of steps in `at`.

    `steps` is what `training.fit` gives for `model`; 0 is the network before its first step, and training ends at the
    last step asked for. `options` go to `point`, whose columns gain `step`.

    Raises ValueError if `at` does not increase from 0 or more, or if training is over before its last step.
    """
    if not at or list(at) != sorted(set(at)) or at[0] < 0:
        raise ValueError(f"at must increase from 0 or more, got {list(at)}")
    points = [point(model, x, y, layers, **options).assign(step=0)] if at[0] == 0 else []
    wanted, step = set(at), None
    for step in steps:
        if step.step in wanted:
            points.append(point(model, x, y, layers, **options).assign(step=step.step))
        if step.step >= at[-1]:
            break
    if at[-1] > 0 and (step is None or step.step < at[-1]):
        raise ValueError(f"at asks for step {at[-1]}, but training ends at {step.step if step else 0}")
    return pd.concat(points, ignore_index=True)
