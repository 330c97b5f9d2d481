"""The papers' networks, with layers named as the papers plot them, and two that add numbers.

Each but the two that add takes images in [0, 1]; all return logits. The output of a plotted layer, such as conv1 or
fc1, is that after its activation (and batch normalisation, where there is one); pooling is a layer of its own.

>>> from infolib import activations
>>> activations.layers(mlp([784, 100, 100, 10], seed=0))
['hidden1', 'hidden2', 'output']
"""

import io
import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import count, pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, pad, relu, scaled_dot_product_attention
from torch.random import fork_rng

from infolib import checks
from workbook import datasets, store

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
DEPTHS = (20, 32, 44, 56)
Activation = Literal["relu", "tanh", "sigmoid"]
Padding = Literal["zeros", "circular"]
Shape = Sequence[int]  # of one image: channels, height, width
Named = list[tuple[str, nn.Module]]  # layers, in order
_VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))

# Building layers draws from torch's global generator; the factories give its state back and initialise from `seed`.
_untouched_rng = fork_rng(devices=[])


@_untouched_rng
def mlp(
    sizes: Sequence[int],
    *,
    activation: Activation = "relu",
    batch_norm: Literal["before", "after"] | None = None,
    dropout: Sequence[float] = (),
    seed: int,
) -> nn.Sequential:
    """A multilayer perceptron: flatten, hidden1, hidden2, ..., output.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, input first.
    activation : str
        "relu", "tanh" or "sigmoid".
    batch_norm : str, optional
        Where batch normalisation is: "before" the activation (Ioffe & Szegedy 2015) or "after" it (Wickstrøm et al.
        2019).
    dropout : sequence of float
        Probability for each hidden layer, applied to its output.
    seed : int
        Of the initial weights.

    Returns
    -------
    nn.Sequential

    Raises
    ------
    ValueError
        For an option out of range.
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes must have at least an input and an output, got {list(sizes)}")
    for size in sizes:
        checks.at_least("sizes", size, 1)
    if batch_norm is not None:
        checks.choice("batch_norm", batch_norm, ("before", "after"))
    if len(dropout) not in (0, len(sizes) - 2):
        raise ValueError(f"dropout must have {len(sizes) - 2} entries, one per hidden layer, got {list(dropout)}")
    named: Named = [("flatten", nn.Flatten())]
    for i, (inputs, outputs) in enumerate(pairwise(sizes[:-1]), start=1):
        norm = nn.BatchNorm1d(outputs) if batch_norm else None
        parts = {"activation": _act(activation), "norm": norm}
        if batch_norm == "before":
            parts = {"norm": norm, "activation": parts["activation"]}
        drop = nn.Dropout(dropout[i - 1]) if dropout else None
        named.append((f"hidden{i}", _layer(linear=nn.Linear(inputs, outputs), **parts, dropout=drop)))
    named.append(("output", nn.Linear(sizes[-2], sizes[-1])))
    return _initialised(_sequence(named), activation, seed)


@_untouched_rng
def lenet5(
    *,
    maps: tuple[int, int] = (6, 12),
    filter_size: int = 5,
    hidden: int = 84,
    activation: Activation = "relu",
    in_shape: Shape = (1, 28, 28),
    classes: int = 10,
    seed: int,
) -> nn.Sequential:
    """The LeNet-5 of Yu et al. 2021: conv1, pool1, conv2, pool2, fc1, output; 5×5 filters, 2×2 max pooling.

    Parameters
    ----------
    maps : tuple of int
        Feature maps of conv1 and conv2.
    filter_size : int
        Odd, so that conv1 keeps the size of the images; 3×3 filters fit images of 8×8.
    hidden : int
        Units of fc1.
    activation : str
        "relu", "tanh" or "sigmoid".
    in_shape : tuple of int
        Channels, height and width of an image.
    classes, seed : int
        Number of logits; seed of the initial weights.

    Returns
    -------
    nn.Sequential

    Raises
    ------
    ValueError
        For an option out of range, and images that are too small.
    """
    checks.hold("filter_size", filter_size, checks.at_least("filter_size", filter_size, 1) % 2, "odd")
    conv1 = nn.Conv2d(in_shape[0], maps[0], filter_size, padding=filter_size // 2)
    features: Named = [
        ("conv1", _layer(conv=conv1, activation=_act(activation))),
        ("pool1", nn.MaxPool2d(2)),
        ("conv2", _layer(conv=nn.Conv2d(maps[0], maps[1], filter_size), activation=_act(activation))),
        ("pool2", nn.MaxPool2d(2)),
    ]
    linear = nn.Linear(_flat_size(features, in_shape), hidden)
    fc1 = _layer(linear=linear, activation=_act(activation))
    head: Named = [("flatten", nn.Flatten()), ("fc1", fc1), ("output", nn.Linear(hidden, classes))]
    return _initialised(_sequence([*features, *head]), activation, seed)


@_untouched_rng
def cnn(
    *,
    in_shape: Shape = (1, 28, 28),
    padding: int = 0,
    activation: Activation = "relu",
    classes: int = 10,
    seed: int,
) -> nn.Sequential:
    """The small CNN of Wickstrøm et al. 2019: conv1, conv2, pool2, conv3, pool3, fc1, output.

    3×3 filters (4, 8 and 16 of them) and 256 units, each layer with batch normalisation after its activation.

    Parameters
    ----------
    in_shape : tuple of int
        Channels, height and width of an image.
    padding : int
        Zeros on each side of the images and maps.
    activation : str
        "relu", "tanh" or "sigmoid".
    classes, seed : int
        Number of logits; seed of the initial weights.

    Returns
    -------
    nn.Sequential

    Raises
    ------
    ValueError
        For images that are too small.
    """

    def conv(inputs: int, outputs: int) -> nn.Sequential:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=padding)
        return _layer(conv=convolution, activation=_act(activation), norm=nn.BatchNorm2d(outputs))

    features: Named = [
        ("conv1", conv(in_shape[0], 4)),
        ("conv2", conv(4, 8)),
        ("pool2", nn.MaxPool2d(2)),
        ("conv3", conv(8, 16)),
        ("pool3", nn.MaxPool2d(2)),
    ]
    linear = nn.Linear(_flat_size(features, in_shape), 256)
    fc1 = _layer(linear=linear, activation=_act(activation), norm=nn.BatchNorm1d(256))
    head: Named = [("flatten", nn.Flatten()), ("fc1", fc1), ("output", nn.Linear(256, classes))]
    return _initialised(_sequence([*features, *head]), activation, seed)


@_untouched_rng
def vgg16(
    *, width: float = 1.0, in_shape: Shape = (3, 32, 32), classes: int = 10, dropout: float = 0.5, seed: int
) -> nn.Sequential:
    """VGG16 for small images: conv1 to conv13 with batch normalisation, pool1 to pool5, fc1, fc2, output.

    Parameters
    ----------
    width : float
        Factor of every number of channels and hidden units.
    in_shape : tuple of int
        Channels, height and width of an image.
    dropout : float
        Probability before fc1 and fc2.
    classes, seed : int
        Number of logits; seed of the initial weights.

    Returns
    -------
    nn.Sequential

    Raises
    ------
    ValueError
        For an option out of range, and images that are too small.
    """
    checks.positive("width", width)
    features, hidden = _vgg_features(in_shape[0], width, _VGG16), _scaled(4096, width)
    named = [*features, ("flatten", nn.Flatten())]
    for i, inputs in enumerate((_flat_size(features, in_shape), hidden), start=1):
        fc = _layer(dropout=nn.Dropout(dropout), linear=nn.Linear(inputs, hidden), activation=nn.ReLU())
        named.append((f"fc{i}", fc))
    return _initialised(_sequence([*named, ("output", nn.Linear(hidden, classes))]), "relu", seed)


@_untouched_rng
def vgg6(
    *,
    width: int = 8,
    in_shape: Shape = (1, 42, 42),
    padding: Padding = "zeros",
    classes: int = 10,
    seed: int,
) -> nn.Sequential:
    """A VGG of six convolutions: conv1 to conv6 with batch normalisation, pool1 to pool3 after pairs, fc1, output.

    Parameters
    ----------
    width : int
        Maps of the first pair; the other pairs have 2 and 4 times as many, and fc1 has 16 times as many units.
    in_shape : tuple of int
        Channels, height and width of an image.
    padding : str
        Of the convolutions: "zeros", or "circular", by which an image has no border.
    classes, seed : int
        Number of logits; seed of the initial weights.

    Returns
    -------
    nn.Sequential

    Raises
    ------
    ValueError
        For an option out of range, and images that are too small.
    """
    checks.at_least("width", width, 1), checks.choice("padding", padding, ("zeros", "circular"))
    features = _vgg_features(in_shape[0], width, ((1, 1), (2, 2), (4, 4)), padding)
    fc1 = _layer(linear=nn.Linear(_flat_size(features, in_shape), 16 * width), activation=nn.ReLU())
    head: Named = [("flatten", nn.Flatten()), ("fc1", fc1), ("output", nn.Linear(16 * width, classes))]
    return _initialised(_sequence([*features, *head]), "relu", seed)


@_untouched_rng
def resnet(depth: int = 20, *, pretrained: bool = False, seed: int = 0) -> nn.Sequential:
    """The ResNet for CIFAR-10 of He et al. 2016 (shortcut A): stem, stage1.block1, ..., pool, output.

    The first module, normalise, standardises the channels.

    Parameters
    ----------
    depth : int
        20, 32, 44 or 56.
    pretrained : bool
        Whether to have the weights of github.com/akamaster/pytorch_resnet_cifar10, which are verified, and read without
        running pickled code.
    seed : int
        Of the initial weights.

    Returns
    -------
    nn.Sequential

    Raises
    ------
    ValueError
        For another depth, and an altered file of weights.
    FileNotFoundError
        For missing weights; `infolib data --download weights` gets them.
    """
    if depth not in DEPTHS:
        raise ValueError(f"unknown depth {depth}; allowed: {', '.join(map(str, DEPTHS))}")
    stem = _layer(conv=nn.Conv2d(3, 16, 3, padding=1, bias=False), norm=nn.BatchNorm2d(16), activation=nn.ReLU())
    named: Named = [("normalise", _Normalise()), ("stem", stem)]
    for stage, channels in enumerate((16, 32, 64), start=1):
        first = _Block(channels if stage == 1 else channels // 2, channels)
        rest = [_Block(channels, channels) for _ in range((depth - 2) // 6 - 1)]
        blocks: Named = [(f"block{i}", block) for i, block in enumerate([first, *rest], start=1)]
        named.append((f"stage{stage}", _sequence(blocks)))
    named += [("pool", _layer(mean=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())), ("output", nn.Linear(64, 10))]
    model = _initialised(_sequence(named), "relu", seed)
    return _with_public_weights(model, depth) if pretrained else model


@_untouched_rng
def unet(*, width: int = 8, depth: int = 2, channels: int = 1, classes: int = 2, seed: int) -> nn.Sequential:
    """The U-Net of Ronneberger et al. 2015, padded: enc1, enc2, ..., bottom, ..., dec2, dec1, output.

    Each layer but the output is two 3×3 convolutions with batch normalisation. Max pooling halves the maps, repetition
    doubles them, and they are joined to the encoder's maps of their size.

    Parameters
    ----------
    width : int
        Maps of enc1 and dec1; each layer below has twice as many.
    depth : int
        How often the image is halved; its sides are multiples of 2 ** depth.
    channels : int
        Of an image.
    classes, seed : int
        Number of logits of each pixel; seed of the initial weights.

    Returns
    -------
    nn.Sequential
        From images (n, channels, h, w) to logits (n, classes, h, w).

    Raises
    ------
    ValueError
        For an option out of range.
    """
    checks.at_least("width", width, 1), checks.at_least("depth", depth, 1)
    maps = [width * 2**i for i in range(depth + 1)]
    enc = [(f"enc{i}", _pair(a, b)) for i, (a, b) in enumerate(pairwise([channels, *maps[:-1]]), start=1)]
    dec = [(f"dec{i}", _pair(a + b, a)) for i, (a, b) in enumerate(pairwise(maps), start=1)]
    last = ("output", nn.Conv2d(width, classes, 1))
    return _initialised(_UNet(OrderedDict([*enc, ("bottom", _pair(*maps[-2:])), *dec[::-1], last])), "relu", seed)


@_untouched_rng
def embedding_mlp(p: int, *, width: int = 128, hidden: int = 256, seed: int) -> nn.Sequential:
    """A perceptron on two symbols: embedding (the sum of one for each place), hidden, output.

    Weights are normal with a standard deviation of 1 / sqrt(fan-in), which for an embedding is its width; biases are 0.

    Parameters
    ----------
    p : int
        How many symbols there are, and logits.
    width, hidden : int
        Units of the embedding and of the hidden layer, a ReLU.
    seed : int
        Of the initial weights.

    Returns
    -------
    nn.Sequential
        From symbols (n, 2), integers from 0 to p - 1, to logits (n, p).

    Raises
    ------
    ValueError
        For fewer than 2 symbols, and a layer without units.

    Examples
    --------
    >>> embedding_mlp(5, seed=0)(torch.tensor([[0, 4], [1, 2]])).shape
    torch.Size([2, 5])
    """
    checks.at_least("p", p, 2), checks.at_least("width", width, 1), checks.at_least("hidden", hidden, 1)
    layer = _layer(linear=nn.Linear(width, hidden), activation=nn.ReLU())
    named: Named = [("embedding", _Summed(p, width, 2)), ("hidden", layer), ("output", nn.Linear(hidden, p))]
    return _fan_in(_sequence(named), seed)


@_untouched_rng
def transformer(p: int, *, width: int = 64, hidden: int = 128, heads: int = 4, seed: int) -> nn.Sequential:
    """A transformer of one layer without normalisation on two symbols, read at a third: embedding, ..., output.

    The third place has a symbol of its own, "=". Its residual stream goes through attention (without biases) and
    through a perceptron, whose ReLU is `hidden`; all but the embedding is computed at this place alone. Weights are as
    in `embedding_mlp`.

    Parameters
    ----------
    p : int
        How many symbols there are besides "=", and logits.
    width, hidden : int
        Units of the residual stream and of the perceptron's hidden layer.
    heads : int
        Of the attention; they share the width.
    seed : int
        Of the initial weights.

    Returns
    -------
    nn.Sequential
        From symbols (n, 2), integers from 0 to p - 1, to logits (n, p). Layers: embedding (n, 3, width), attention
        (n, width), perceptron and in it perceptron.hidden (n, hidden), output.

    Raises
    ------
    ValueError
        As `embedding_mlp`, and for a width that is not a multiple of the heads.

    Examples
    --------
    >>> transformer(5, seed=0)(torch.tensor([[0, 4], [1, 2]])).shape
    torch.Size([2, 5])
    """
    checks.at_least("p", p, 2), checks.at_least("width", width, 1), checks.at_least("hidden", hidden, 1)
    checks.hold("width", width, width % checks.at_least("heads", heads, 1) == 0, f"a multiple of the {heads} heads")
    named: Named = [("embedding", _Placed(p, width)), ("attention", _Attention(width, heads))]
    named += [("perceptron", _Residual(width, hidden)), ("output", nn.Linear(width, p))]
    return _fan_in(_sequence(named), seed)


class _Summed(nn.ModuleList):
    """The sum of an embedding for each place."""

    def __init__(self, symbols: int, width: int, places: int) -> None:
        super().__init__(nn.Embedding(symbols, width) for _ in range(places))

    def forward(self, x: Tensor) -> Tensor:
        return sum((embed(symbol) for embed, symbol in zip(self, x.T, strict=True)), torch.tensor(0.0))


class _Placed(nn.Module):
    """Embeddings of two symbols and "=", each plus that of its place."""

    def __init__(self, symbols: int, width: int) -> None:
        super().__init__()
        self.symbols, self.places = nn.Embedding(symbols + 1, width), nn.Embedding(3, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.symbols(pad(x, (0, 1), value=self.symbols.num_embeddings - 1)) + self.places.weight


class _Attention(nn.Module):
    """What the last place has after attending to all."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        parts = (self.query(x[:, -1:]), self.key(x), self.value(x))
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in parts)
        return x[:, -1] + self.out(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(1))


class _Residual(nn.Module):
    """A perceptron's output, added to its input."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = _layer(linear=nn.Linear(width, hidden), activation=nn.ReLU())
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.hidden(x))


class _UNet(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        layers, depth, sides = list(self), len(self) // 2 - 1, tuple(x.shape[2:])
        checks.hold("the sides of the images", sides, not any(n % 2**depth for n in sides), f"multiples of {2**depth}")
        skips: list[Tensor] = []
        for encode in layers[:depth]:
            skips.append(encode(x))
            x = max_pool2d(skips[-1], 2)
        x = layers[depth](x)
        for decode in layers[depth + 1 : -1]:
            x = decode(torch.cat([skips.pop(), interpolate(x, scale_factor=2)], 1))
        return layers[-1](x)


class _Normalise(nn.Module):
    """Standardise the channels of images in [0, 1] as the public weights expect."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Constants, not state: a state dict holds the same entries with and without this module.
        self.register_buffer("mean", torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class _Block(nn.Module):
    """Two 3×3 convolutions around a shortcut without parameters (option A of He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = outputs // inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.extra = (outputs - inputs) // 2  # zero channels on either side of the shortcut

    def forward(self, x: Tensor) -> Tensor:
        shortcut = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra, self.extra))
        out = self.norm2(self.conv2(relu(self.norm1(self.conv1(x)))))
        return relu(out + shortcut)


def _with_public_weights(model: nn.Sequential, depth: int) -> nn.Sequential:
    """Fill in the weights in order: their state dict holds the same tensors under other names."""
    file = next(file for file in datasets.checksums()["weights"]["files"] if f"resnet{depth}-" in file)
    content = io.BytesIO(datasets.read("weights", file))
    theirs = torch.load(content, weights_only=True, map_location="cpu")["state_dict"]
    counters = "num_batches_tracked"  # not in files of before PyTorch 0.4.1
    source = [(name, value) for name, value in theirs.items() if counters not in name]
    target = [(name, value) for name, value in model.state_dict().items() if counters not in name]
    for (name, value), (our_name, ours) in zip(source, target, strict=True):
        if value.shape != ours.shape or name.split(".")[-1] != our_name.split(".")[-1]:
            raise ValueError(f"weights {name} {tuple(value.shape)} do not fit {our_name} {tuple(ours.shape)}")
        ours.copy_(value)
    return model


def _initialised(model: nn.Sequential, activation: Activation, seed: int) -> nn.Sequential:
    """Weights: Kaiming normal for ReLU, else Xavier uniform with the activation's gain; biases: 0."""
    generator = torch.Generator().manual_seed(checks.at_least("seed", seed, 0))
    for module in model.modules():
        if not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        if activation == "relu":
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        else:
            nn.init.xavier_uniform_(module.weight, nn.init.calculate_gain(activation), generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return model.to(store.device())


def _fan_in(model: nn.Sequential, seed: int) -> nn.Sequential:
    """Weights: normal with a standard deviation of 1 / sqrt(fan-in), an embedding's being its width; biases: 0."""
    generator = torch.Generator().manual_seed(checks.at_least("seed", seed, 0))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=1 / math.sqrt(parameter.shape[1]), generator=generator)
        else:
            nn.init.zeros_(parameter)
    return model.to(store.device())


def _act(activation: Activation) -> nn.Module:
    return ACTIVATIONS[checks.choice("activation", activation, ACTIVATIONS)]()


def _layer(**parts: nn.Module | None) -> nn.Sequential:
    return _sequence([(name, part) for name, part in parts.items() if part is not None])


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3×3 convolutions, each with batch normalisation and ReLU."""
    convs = (nn.Conv2d(maps, outputs, 3, padding=1) for maps in (inputs, outputs))
    layers = (_layer(conv=conv, norm=nn.BatchNorm2d(outputs), activation=nn.ReLU()) for conv in convs)
    return _sequence([(f"conv{i}", layer) for i, layer in enumerate(layers, start=1)])


def _sequence(named: Named) -> nn.Sequential:
    return nn.Sequential(OrderedDict(named))


def _vgg_features(channels: int, width: float, stages: Sequence[Sequence[int]], padding: Padding = "zeros") -> Named:
    named: Named = []
    numbers = count(1)
    for stage, group in enumerate(stages, start=1):
        for size in group:
            conv = nn.Conv2d(channels, _scaled(size, width), 3, padding=1, padding_mode=padding)
            layer = _layer(conv=conv, norm=nn.BatchNorm2d(conv.out_channels), activation=nn.ReLU())
            named.append((f"conv{next(numbers)}", layer))
            channels = conv.out_channels
        named.append((f"pool{stage}", nn.MaxPool2d(2)))
    return named


def _scaled(size: int, width: float) -> int:
    return max(1, round(size * width))


def _flat_size(features: Named, in_shape: Shape) -> int:
    """How many numbers the features make of one image."""
    with torch.no_grad():
        t = torch.zeros(1, *in_shape)
        for name, layer in features:
            try:
                t = layer.eval()(t)  # eval: the probe must not move the statistics of batch normalisation
            except RuntimeError as error:
                raise ValueError(f"in_shape={tuple(in_shape)} does not fit, at {name}: {error}") from error
            layer.train()
    return t.numel()
