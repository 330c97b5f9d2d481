"""Images and maps over images."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from infolib import checks
from infolib.plotting._style import frame


def images(x: Any, labels: Any, *, n: int = 8) -> Figure:
    """The first images of a data set with their labels.

    Parameters
    ----------
    x : array_like, shape (images, c, h, w)
        Images; one channel is drawn in grey, three are red, green and blue.
    labels : sequence of int
        Their labels.
    n : int
        How many are drawn, at least 1.

    Returns
    -------
    Figure
        Images from left to right, titled with their labels.

    Examples
    --------
    >>> [ax.get_title() for ax in images(np.zeros((5, 1, 4, 4)), [7, 2, 1, 0, 4], n=3).axes]
    ['7', '2', '1']
    """
    x, labels = checks.floats("x", x, min_ndim=4), checks.labels("labels", labels)
    if min(len(x), len(labels)) < checks.at_least("n", n, 1):
        raise ValueError(f"n={n} is more than there are of x and labels, {len(x)} and {len(labels)}")
    figure, axes = plt.subplots(1, n, figsize=(n, 1.3), squeeze=False, layout="constrained")
    for ax, image, label in zip(axes[0], x[:n].detach().cpu(), labels[:n], strict=True):
        ax.imshow(np.moveaxis(np.asarray(image), 0, -1), cmap="gray_r")  # which colours are spared
        ax.set_title(int(label), fontsize="small")
        ax.axis("off")
    return figure


def heat_maps(
    x: Any,
    maps: Mapping[str, Sequence],
    *,
    unit: str,
    box: tuple[float, float] | None = None,
    rows: Sequence[str] = (),
    size: float = 1.3,
) -> Figure:
    """Images next to their maps: a row for each image, a column for each entry of `maps`, one scale of colours.

    Parameters
    ----------
    x : array_like, shape (n, c, h, w)
        Images.
    maps : mapping of str to array_like, shape (n, grid, grid)
        Title -> a map of each image.
    unit : str
        Label of the colours, with the unit of the maps.
    box : tuple of two float, or None
        Both ends of the object's box, as fractions of the image's side.
    rows : sequence of str
        Names of the rows, if they have any.
    size : float
        Side of a map in inches, from 0.1 to 10.

    Returns
    -------
    Figure
        The last axes are the scale of colours.

    Examples
    --------
    >>> figure = heat_maps(np.zeros((1, 1, 8, 8)), {"conv1": np.arange(16.0).reshape(1, 4, 4)}, unit="H  [bits]")
    >>> [ax.get_title() for ax in figure.axes[:-1]], figure.axes[-1].get_ylabel()
    (['image', 'conv1'], 'H  [bits]')
    """
    x = checks.floats("x", x, min_ndim=4).detach().cpu()
    checks.at_least("the number of maps", len(maps), 1)
    here = {name: checks.floats(f"maps[{name!r}]", given, min_ndim=3).detach().cpu() for name, given in maps.items()}
    for name, each in here.items():
        if len(each) != len(x):
            raise ValueError(f"maps[{name!r}] must have {len(x)} maps, one for each image of x, got {len(each)}")
    checks.hold("the number of rows", len(rows), len(rows) in (0, len(x)), f"0 or {len(x)}, one for each image of x")
    figure, axes = plt.subplots(len(x), len(maps) + 1, squeeze=False, layout="constrained", dpi=80)
    figure.set_size_inches(checks.within("size", size, 0.1, 10) * axes.shape[1] + 0.7, size * axes.shape[0] + 0.2)
    limits = np.quantile(np.concatenate([np.ravel(values) for values in here.values()]), [0.01, 0.99])
    columns = {"image": [np.moveaxis(np.asarray(image), 0, -1) for image in x]} | here
    for i, (name, pictures) in enumerate(columns.items()):
        axes[0, i].set_title(name, fontsize="small")
        style = {"cmap": "magma", "norm": plt.Normalize(*limits)} if i else {"cmap": "gray_r"}
        for ax, picture in zip(axes[:, i], pictures, strict=True):
            shown = ax.imshow(np.asarray(picture), extent=(0, 1, 1, 0), **style)
            ax.axis("off")
            frame(ax, box, lw=1.3)
    for ax, name in zip(axes[:, 0], rows, strict=False):
        ax.text(-0.06, 0.5, name, rotation=90, va="center", ha="right", fontsize="small", transform=ax.transAxes)
    figure.colorbar(shown, ax=axes, shrink=0.8, pad=0.01, extend="both").set_label(unit, fontsize="small")
    return figure
