"""Networks followed through the information plane from a line of text, for notebook 03.

A description is a line of words: `follow("mnist 1024-20-20-20 relu .09 10", 0, input_width=5.66)` is a perceptron of
Wickstrøm et al. 2019 (arXiv 1909.11396) with all its planes. Every run is a frame with the columns of
`information_plane.trajectories`, and `run` (the description) and `seed`.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from infolib import activations, checks, training
from infolib.data import Data
from infolib.estimators import renyi
from infolib.measures import information_plane
from infolib.training import Step
from workbook import datasets, models

BATCH = 100  # images in a training step and in a point, as published
ALONG = ["run", "plane", "seed", "layer"]


def follow(description: str, seed: int, *, input_width: float, moments: int = 60) -> pd.DataFrame:
    """Six planes of a perceptron or the small CNN while it learns by SGD: quantities in bits.

    The description names the data set, hidden widths or `cnn`, activation, learning rate and epochs; a sixth word
    `random` permutes the labels. The planes, in float32 with eigenvalues in float64, at alpha = 1:

    train: the paper's, after every step, on the batch just trained on, with widths averaged with momentum 0.9; 75
        widths are tried, after 40 points 50
    test: the same on test images; like all that follow at the first step and up to `moments` others, dense at the
        beginning
    own width: each step's own width
    frozen width: the width of the first step for ever
    other images: as test, but on the batch just trained on, and each image meets another one's activations
    30 bins: `information_plane.binned` instead of kernels

    Raises: ValueError for a description that is not of this form, and moments < 1.
    """
    name, kind, activation, lr, epochs, *labels = _words(description, "set 100-20 relu .09 10", 5, 6)
    if labels not in ([], ["random"]):
        raise ValueError(f"the sixth word of a description can only be random, got {labels[0]!r}")

    splits = datasets.load(name, n_val=0, seed=seed)
    splits = splits.permuted_labels(seed=seed) if labels else splits
    model = _network(kind, activation, splits.train.x[0].shape, seed)
    at = _dense_at_first(int(epochs) * math.ceil(len(splits.train) / BATCH), moments)
    options = {"lr": float(lr), "epochs": int(epochs), "batch_size": BATCH, "optimizer": "sgd", "seed": seed}
    steps = training.fit(model, splits.train, **options)
    planes = _six_planes(splits.train, splits.test, at, input_width, seed)
    return information_plane.trajectories(model, steps, planes, activations.layers(model)).assign(
        run=description, seed=seed
    )


def follow_vgg(description: str, seed: int, *, every: int) -> pd.DataFrame:
    """Planes of a VGG-16 on training and test batches while it learns by Adam: quantities in bits.

    Adam is our choice: in 1,000 steps it has learnt most of 4,000 training images; the published schedule has 25,000.

    The description names the data set, the share of the full width, learning rate, epochs and number of training
    images; images are enlarged to 32 × 32. A point every so many steps, as in `follow`, with 300 widths tried and after
    20 points 100, and an input width of 8 / √2. At the last step there is one more plane, `product`: S(T) of
    `product_kernel`. The column `validation` holds the accuracy on validation images, after each fifth point.

    Raises: ValueError for a description that is not of this form.
    """
    name, width, lr, epochs, n = _words(description, "set .25 .02 20 10000", 5, 5)

    splits, accuracy = datasets.load(name, n_train=int(n), seed=seed), {}
    train, val, test = (enlarged(part) for part in (splits.train, splits.val[:1000], splits.test))
    model = models.vgg16(width=float(width), in_shape=train.x[0].shape, seed=seed)
    at = range(every, int(epochs) * math.ceil(len(train) / BATCH) + 1, every)
    tested = information_plane.drawn_from(test, BATCH, seed=seed)
    options = _kernel(8 / math.sqrt(2)) | {"at": at, "momentum": 0.9, "points": 300, "settled": (20, 100)}
    planes = {"train": options | {"batch": lambda step: train[step.batch]}, "test": options | {"batch": tested}}
    planes["product"] = {"batch": tested, "at": [at[-1]], "estimator": product_kernel}
    steps = training.fit(model, train, lr=float(lr), epochs=int(epochs), batch_size=BATCH, seed=seed)
    steps = _validated(steps, model, val, 5 * every, accuracy)
    table = information_plane.trajectories(model, steps, planes, activations.layers(model))
    return table.assign(validation=table["step"].map(accuracy).astype(float), run=description, seed=seed)


def follow_bits(description: str, seed: int, *, moments: int = 9) -> pd.DataFrame:
    """Four estimators on a perceptron that learns the task of twelve bits by Adam: quantities in bits.

    The description names the task (see `twelve_bits`), hidden widths, activation, learning rate and epochs. It learns
    from 3,481 of the 4,096 inputs, in batches of 256. At the first step and up to `moments` others, dense at the
    beginning: `30 bins` and `million bins` (from -1 to 1 for tanh, else over each layer's range) of all inputs,
    `neighbours` with noise 0.05 of 256 inputs, and `matrix`, the tensor kernel at input width 0.5, of 512.

    Raises: ValueError for a description or task that is not of this form, and moments < 1.
    """
    task, hidden, activation, lr, epochs = _words(description, "ib 10-7-5-4-3 tanh .01 100", 5, 5)

    data = twelve_bits(task)
    data = data[torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))]
    model = models.mlp([12, *map(int, hidden.split("-")), 2], activation=activation, seed=seed)
    at = _dense_at_first(14 * int(epochs), moments)
    ends = {"low": -1, "high": 1} if activation == "tanh" else {}
    bins = {"batch": data, "at": at, "estimator": information_plane.binned, **ends}
    planes: dict[str, dict] = {"30 bins": bins | {"bins": 30}, "million bins": bins | {"bins": 10**6}}
    near = {"batch": data[:256], "at": at, "estimator": information_plane.neighbours, "noise": 0.05}
    matrix = {"batch": data[:512], "at": at, "input_width": 0.5, "alpha": 1, "bins": 4096}
    planes |= {"neighbours": near, "matrix": matrix}
    steps = training.fit(model, data[:3481], epochs=int(epochs), batch_size=256, lr=float(lr), seed=seed)
    return information_plane.trajectories(model, steps, planes, activations.layers(model)).assign(
        run=description, seed=seed
    )


def averaged(table: pd.DataFrame, window: int) -> pd.DataFrame:
    """The frame of runs with I(X;T) and I(T;Y) as moving averages of each path over `window` points."""
    checks.at_least("window", window, 1)
    table = table.reset_index(drop=True)
    means = table.groupby(ALONG, sort=False)[["I(X;T)", "I(T;Y)"]].rolling(window, min_periods=1).mean()
    return table.assign(**means.reset_index(ALONG, drop=True))


def movement(table: pd.DataFrame) -> pd.DataFrame:
    """How each path of runs moves, in bits: a row for each run, plane, seed and layer, which are the index.

    rise: from the first point of I(X;T) to its peak; drop: from the peak to the last point; span: from the smallest to
    the largest; first, last: I(T;Y) at the two ends; mean: of I(X;T); settling: the change of the width from the first
    point to the middle one, as a share of the last, and drift: from the middle one to the last.
    """
    by = table.groupby(ALONG, sort=False)
    x, y, width = by["I(X;T)"], by["I(T;Y)"], by["width"]
    middle = width.agg(lambda values: values.iloc[len(values) // 2])
    return pd.DataFrame(
        {
            "rise": x.max() - x.first(),
            "drop": x.max() - x.last(),
            "span": x.max() - x.min(),
            "first": y.first(),
            "last": y.last(),
            "mean": x.mean(),
            "settling": (middle - width.first()).abs() / width.last(),
            "drift": (width.last() - middle).abs() / width.last(),
        }
    )


def by_layer(movements: pd.DataFrame, quantity: str, run: str, plane: str = "train") -> pd.DataFrame:
    """One column of `movement` for one run and plane: a row for each seed, a column for each layer in depth order.

    Raises: ValueError for a run or plane that is not there.
    """
    table = movements.reset_index()
    table = table[(table["run"] == run) & (table["plane"] == plane)]
    if table.empty:
        raise ValueError(f"there is no plane {plane!r} of run {run!r}")
    return table.pivot(index="seed", columns="layer", values=quantity)[list(dict.fromkeys(table["layer"]))]


def shuffled(x: Tensor, y: Tensor, recorded: Mapping[str, Tensor], **options: Any) -> list[information_plane.Row]:
    """`information_plane.matrix_based`, a control: each sample's input meets the activations of another one."""
    return information_plane.matrix_based(x.roll(1, 0), y, recorded, **options)


def product_kernel(_x: Tensor, y: Tensor, recorded: Mapping[str, Tensor]) -> list[information_plane.Row]:
    """S(T) at alpha = 1 in bits of the product of all filters' kernels, each with its width by alignment with y.

    The multivariate form, to compare with the tensor kernel: a row for each layer of feature maps (n, C, ...), with the
    number of filters that are not constant. A layer in which all are has S(T) = 0.
    """
    rows = []
    for layer, maps in recorded.items():
        if maps.ndim < 3:
            continue
        squared = [d for d in map(renyi.squared_distances, maps.unbind(1)) if d.any()]
        widths = [renyi.alignment_width(d, y, precomputed=True) for d in squared]
        grams = [renyi.gram(d, width=w, precomputed=True) for d, w in zip(squared, widths, strict=True)]
        entropy = float(renyi.joint_entropy(grams, alpha=1)) if grams else 0.0
        rows.append({"layer": layer, "filters": len(grams), "S(T)": entropy, "n": len(y)})
    return rows


def enlarged(data: Data, size: int = 32) -> Data:
    """The images at size × size pixels, each repeated: VGG-16 halves its images five times."""
    return Data(interpolate(data.x, size), data.y)


def twelve_bits(task: str) -> Data:
    """All 4,096 inputs of twelve bits with a label: the task `ib` of Shwartz-Ziv & Tishby, or one that is `made-here`.

    Ours needs no file: the label is whether an input lies farther than the median from the centre in a fixed random
    projection to three dimensions, so that H(Y) = 1 bit; theirs has H(Y) = 0.999157 bits.

    Raises: ValueError for another task.

    >>> twelve_bits("made-here").y.bincount().tolist()
    [2048, 2048]
    """
    if checks.choice("task", task, ("ib", "made-here")) == "ib":
        return datasets.load("ib", n_test=0).train
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 12)
    projection = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    distance = ((x - 0.5) @ projection).norm(dim=1)
    label = torch.zeros(len(x), dtype=torch.long)
    label[distance.argsort(stable=True)[len(x) // 2 :]] = 1
    return Data(x, label)


def _words(description: str, example: str, least: int, most: int) -> list[str]:
    words = description.split()
    if not least <= len(words) <= most:
        raise ValueError(f"description must be like {example!r}, got {description!r}")
    return words


def _network(kind: str, activation: str, shape: tuple[int, int, int], seed: int) -> nn.Module:
    if kind == "cnn":  # small images keep their size, where MNIST's shrink as published
        return models.cnn(in_shape=shape, padding=int(shape[-1] < 28), activation=activation, seed=seed)
    sizes = [math.prod(shape), *map(int, kind.split("-")), 10]
    return models.mlp(sizes, activation=activation, batch_norm="after", seed=seed)


def _kernel(input_width: float) -> dict[str, Any]:
    return {"input_width": input_width, "alpha": 1, "dtype": torch.float32}


def _six_planes(train: Data, test: Data, at: list[int], input_width: float, seed: int) -> dict[str, dict[str, Any]]:
    every = {"batch": lambda step: train[step.batch], **_kernel(input_width)}
    few = every | {"at": at}
    return {
        "train": every | {"momentum": 0.9, "settled": (40, 50)},
        "test": few | {"momentum": 0.9, "batch": information_plane.drawn_from(test, BATCH, seed=seed)},
        "own width": few,
        "frozen width": few | {"momentum": 1},
        "other images": few | {"momentum": 0.9, "estimator": shuffled},
        "30 bins": {"batch": few["batch"], "at": few["at"], "estimator": information_plane.binned, "bins": 30},
    }


def _dense_at_first(last: int, moments: int) -> list[int]:
    """Step 1 and up to `moments` others, to the last, evenly spaced on a logarithmic scale."""
    checks.at_least("moments", moments, 1)
    return sorted({round(last ** (i / moments)) for i in range(moments + 1)})


def _validated(
    steps: Iterator[Step], model: nn.Module, data: Data, every: int, accuracy: dict[int, float]
) -> Iterator[Step]:
    """The steps, on the way `accuracy` of the model on the data every so many of them."""
    for step in steps:
        if step.step % every == 0:
            accuracy[step.step] = training.evaluate(model, data).accuracy
        yield step
