"""Images and maps over images."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure


def images(x: Sequence, labels: Sequence, *, n: int = 8) -> Figure:
    """The first `n` images of a data set with their labels."""
    figure, axes = plt.subplots(1, n, figsize=(n, 1.3), layout="constrained")
    for ax, image, label in zip(axes, x[:n], labels[:n], strict=True):
        ax.imshow(np.moveaxis(np.asarray(image), 0, -1), cmap="gray_r")  # which colours are spared
        ax.set_title(int(label), fontsize="small")
        ax.axis("off")
    return figure


def heat_maps(
    x: Sequence, maps: Mapping[str, Sequence], *, unit: str, box: tuple[float, float] | None = None
) -> Figure:
    """Images beside their maps: a row for each image, a column for each entry of `maps`, one scale of colours for all.

    x: (n, c, h, w); each map (n, grid, grid). `box` gives the ends of the object's box as shares of the image's side.
    """
    figure, axes = plt.subplots(len(x), len(maps) + 1, squeeze=False, layout="constrained", dpi=80)
    figure.set_size_inches(1.3 * axes.shape[1] + 0.7, 1.3 * axes.shape[0] + 0.2)
    limits = np.quantile(np.concatenate([np.ravel(values) for values in maps.values()]), [0.01, 0.99])
    columns = {"image": [np.moveaxis(np.asarray(image), 0, -1) for image in x]} | dict(maps)
    for i, (name, pictures) in enumerate(columns.items()):
        axes[0, i].set_title(name, fontsize="small")
        style = {"cmap": "magma", "norm": plt.Normalize(*limits)} if i else {"cmap": "gray_r"}
        for ax, picture in zip(axes[:, i], pictures, strict=True):
            shown = ax.imshow(np.asarray(picture), extent=(0, 1, 1, 0), **style)
            ax.axis("off")
            if box:
                ax.add_patch(plt.Rectangle((box[0],) * 2, *[box[1] - box[0]] * 2, fill=False, ec="#56b4e9", lw=1.3))
    figure.colorbar(shown, ax=axes, shrink=0.8, pad=0.01, extend="both").set_label(unit, fontsize="small")
    return figure
