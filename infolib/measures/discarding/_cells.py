"""What the cells of an image discard: where the object is, and tables."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from infolib import checks
from infolib.measures.discarding._strict import Discarding


def concentration(entropy: Any, foreground: Any) -> Tensor:
    """Concentration ρ = mean H_i of the background - mean H_i of the foreground, in bits (the paper's eq. 5).

    Parameters
    ----------
    entropy : Tensor, shape (..., grid, grid)
        H_i in bits.
    foreground : Tensor, shape (grid, grid) or that of entropy
        Boolean: the cells of the object.

    Returns
    -------
    Tensor, shape (...)
        In bits; NaN for images with NaN, as a dead layer has.

    Raises
    ------
    ValueError
        For another shape, or where either side is empty.

    Examples
    --------
    >>> concentration(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([[False, True], [True, False]]))
    tensor(2.)
    """
    entropy = checks.floats("entropy", entropy, min_ndim=2, finite=False)
    if entropy.isinf().any():
        raise ValueError("entropy must be finite, or NaN, got infinity")
    mask = checks.samples("foreground", foreground)
    if mask.dtype != torch.bool or mask.shape not in (entropy.shape, entropy.shape[-2:]):
        raise ValueError(
            f"foreground must be boolean of shape {tuple(entropy.shape[-2:])}, got {mask.dtype} {tuple(mask.shape)}"
        )
    inside = mask.expand(entropy.shape).to(entropy)
    sizes = inside.sum((-2, -1)), (1 - inside).sum((-2, -1))
    if not all((size > 0).all() for size in sizes):
        raise ValueError("foreground must leave cells on either side, in every image")
    return (entropy * (1 - inside)).sum((-2, -1)) / sizes[1] - (entropy * inside).sum((-2, -1)) / sizes[0]


def box(grid: int) -> Tensor:
    """The cells of an object whose box is the image's central two thirds, as the authors round it.

    Parameters
    ----------
    grid : int
        Cells along a side, at least 2.

    Returns
    -------
    Tensor, shape (grid, grid)
        Boolean.

    Examples
    --------
    >>> box(6).int().sum(0)
    tensor([0, 4, 4, 4, 4, 0])
    """
    inside = torch.zeros(checks.at_least("grid", grid, 2), dtype=torch.bool)
    inside[grid // 6 : grid * 5 // 6] = True
    return inside[:, None] & inside


def table(results: Mapping[str, Discarding], foreground: Tensor | None = None) -> pd.DataFrame:
    """Strict information discarding in bits as a frame with one row per layer and image.

    Parameters
    ----------
    results : mapping from str to Discarding
        As `measured` returns it.
    foreground : Tensor, shape (grid, grid), optional
        Boolean: the cells of the object.

    Returns
    -------
    DataFrame
        Columns: layer, image, discarding (mean H), error, ratio, capped, reached; with a foreground also concentration.

    Examples
    --------
    >>> one, nil, cells = torch.ones(1), torch.zeros(1), torch.ones(1, 2, 2)
    >>> d = Discarding(-4 * cells, cells, -4 * one, nil, one, nil, nil, one > 0, nil)
    >>> table({"conv1": d})[["layer", "image", "discarding", "reached"]].values.tolist()
    [['conv1', 0, -4.0, True]]
    """
    rows = []
    for layer, d in results.items():
        columns = {"discarding": d.mean, "error": d.mean_error, "ratio": d.ratio, "capped": d.capped}
        if foreground is not None:
            columns["concentration"] = concentration(d.entropy, foreground)
        rows.append(pd.DataFrame({name: t.double().cpu().numpy() for name, t in columns.items()}))
        rows[-1].insert(0, "layer", layer)
        rows[-1] = rows[-1].assign(image=range(len(d.mean)), reached=d.reached.cpu().numpy())
    return pd.concat(rows, ignore_index=True)
