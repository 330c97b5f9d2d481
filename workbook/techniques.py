"""Changes to networks: distilling, pruning, damaging, adversarial training, decoding a layer's activations.

All return a new network in eval mode and leave the given one unchanged. Those that train take the options of a
`Schedule`; what they train is cached (`store`).
"""

import copy
from itertools import pairwise
from typing import Any, NotRequired, TypedDict, TypeVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss, relu
from torch.nn.utils import prune

from infolib import activations, checks, training
from infolib.data import Data
from workbook import store

State = dict[str, Tensor]
Model = TypeVar("Model", bound=nn.Module)


class Schedule(TypedDict):
    """How long and how fast to train, with Adam.

    Parameters
    ----------
    epochs : int
        How often each sample is visited.
    lr : float
        Learning rate.
    batch_size : int
        Samples of a step; 64 if it is not given.
    seed : int
        Of the batches and of what else is random.
    """

    epochs: int
    lr: float
    batch_size: NotRequired[int]
    seed: int


def distilled(
    student: Model, teacher: nn.Module, data: Data, *, temperature: float = 4.0, **how: Unpack[Schedule]
) -> Model:
    """A copy of a student trained on the outputs of a teacher, not on labels (Hinton et al. 2015).

    The loss is the KL divergence of softmax(logits / temperature), with the factor temperature² of the paper, which
    keeps the gradient's size.

    Parameters
    ----------
    student, teacher : nn.Module
        Networks with as many logits.
    data : Data
        Images; the labels are not used.
    temperature : float
        Positive.
    **how : int or float
        As of `Schedule`.

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        For an option out of range.
    """
    checks.positive("temperature", temperature)
    return _loaded(student, store.cached(_distilled, student, teacher, data, temperature, **how))


def _distilled(
    student: nn.Module, teacher: nn.Module, data: Data, temperature: float, **how: Unpack[Schedule]
) -> State:
    model, data = copy.deepcopy(student), _beside(student, data)
    with activations.evaluating(teacher):
        soft = torch.cat([teacher(x) for x in data.x.split(1024)]).div(temperature).softmax(1)

    def loss(batch: Tensor) -> Tensor:
        log_p = log_softmax(model(data.x[batch]) / temperature, 1)
        return temperature**2 * kl_div(log_p, soft[batch], reduction="batchmean")

    return _minimised(model, loss, len(data), **how)


def adversarial(model: Model, data: Data, *, eps: float, steps: int = 2, **how: Unpack[Schedule]) -> Model:
    """A copy of a network trained further on images that `attacked` has changed.

    Parameters
    ----------
    model : nn.Module
        Where training begins.
    data : Data
        Images in [0, 1], and labels.
    eps, steps : float, int
        Of `attacked`.
    **how : int or float
        As of `Schedule`.

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        For an option out of range.
    """
    return _loaded(model, store.cached(_adversarial, model, data, eps, steps, **how))


def _adversarial(start: nn.Module, data: Data, eps: float, steps: int, **how: Unpack[Schedule]) -> State:
    model, data = copy.deepcopy(start), _beside(start, data)

    def loss(batch: Tensor) -> Tensor:
        x, y = data.x[batch], data.y[batch]
        return cross_entropy(model(attacked(model, x, y, eps=eps, steps=steps)), y)

    return _minimised(model, loss, len(data), **how)


def attacked(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, steps: int = 2) -> Tensor:
    """Images near x that raise the cross-entropy, by projected gradient ascent (Madry et al. 2018).

    It begins at x itself; its steps along the gradient's sign are eps (one step) or 1.5 eps / steps.

    Parameters
    ----------
    model : nn.Module
        The network attacked.
    x : Tensor, shape (n, ...)
        Images in [0, 1].
    y : Tensor, shape (n,)
        Their labels.
    eps : float
        Largest change of any value, positive.
    steps : int
        Number of steps.

    Returns
    -------
    Tensor, shape (n, ...)
        Images in [0, 1].

    Raises
    ------
    ValueError
        For an option out of range.
    """
    checks.positive("eps", eps)
    rate, best = eps if checks.at_least("steps", steps, 1) == 1 else 1.5 * eps / steps, x
    for _ in range(steps):
        at = best.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(model(at), y), at)
        best = (best + rate * gradient.sign()).clamp(x - eps, x + eps).clamp(0, 1)
    return best.detach()


class _Smallest(prune.L1Unstructured):
    """With the smallest weights go those that equal the largest of them: the order of equal weights does not count."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        mask = super().compute_mask(t, default_mask)
        gone = t[mask == 0].abs()
        return mask * (t.abs() > gone.max()) if len(gone) else mask


def pruned(model: Model, share: float) -> Model:
    """A copy of a network whose smallest weights are 0.

    Parameters
    ----------
    model : nn.Module
        The network.
    share : float
        Fraction of all weights of Linear and Conv2d, in [0, 1).

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        For a share out of range.
    """
    checks.hold("share", share, 0 <= share < 1, "in [0, 1)")
    masked = copy.deepcopy(model)
    prune.global_unstructured(_weights(masked), _Smallest, amount=share)
    return _loaded(model, _unmasked(masked))


def finetuned(model: Model, data: Data, **how: Unpack[Schedule]) -> Model:
    """A copy of a network trained further on the labels; weights of Linear and Conv2d that are 0 stay 0.

    Parameters
    ----------
    model : nn.Module
        Where training begins.
    data : Data
        Samples with labels.
    **how : int or float
        As of `Schedule`.

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        For an option out of range.
    """
    return _loaded(model, store.cached(_finetuned, model, data, **how))


def _finetuned(start: nn.Module, data: Data, **how: Unpack[Schedule]) -> State:
    model, data = copy.deepcopy(start), _beside(start, data)
    for module, name in _weights(model):
        prune.custom_from_mask(module, name, getattr(module, name) != 0)
    _minimised(model, lambda batch: cross_entropy(model(data.x[batch]), data.y[batch]), len(data), **how)
    return _unmasked(model)


def _weights(model: nn.Module) -> list[tuple[nn.Module, str]]:
    return [(module, "weight") for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]


def _unmasked(model: nn.Module) -> State:
    """The state of a network whose weights have masks, with the masks' zeros in it."""
    for module, name in _weights(model):
        prune.remove(module, name)
    return model.state_dict()


def damaged(model: Model, layer: str, *, share: float = 0.5, seed: int) -> Model:
    """A copy of a network in which some filters of the first Conv2d in a layer are 0, drawn at random.

    Parameters
    ----------
    model : nn.Module
        The network.
    layer : str
        Name of the layer.
    share : float
        Fraction of its filters, in (0, 1].
    seed : int
        Of the draw.

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        For a share out of range, and a layer without a Conv2d.
    """
    checks.hold("share", share, 0 < share <= 1, "in (0, 1]")
    model = copy.deepcopy(model).eval()
    conv = _first(model, layer, nn.Conv2d)
    n = conv.out_channels
    gone = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[: round(share * n)]
    with torch.no_grad():
        conv.weight[gone] = 0
    return model


def rescaled(model: Model, layer: str, following: str, factor: float) -> Model:
    """A copy of a network that computes the same, with activations of another scale in one layer.

    The weights of the layer that follows are divided by the factor; a ReLU lets a positive factor through.

    Parameters
    ----------
    model : nn.Module
        The network.
    layer, following : str
        Names of a layer with a BatchNorm, and of the layer after it, with a Linear or Conv2d.
    factor : float
        Positive.

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        For a factor out of range, and layers of another kind.
    """
    checks.positive("factor", factor)
    model = copy.deepcopy(model)
    norm = _first(model, layer, nn.BatchNorm2d | nn.BatchNorm1d)
    with torch.no_grad():
        norm.weight.mul_(factor)
        norm.bias.mul_(factor)
        _first(model, following, nn.Linear | nn.Conv2d).weight.div_(factor)
    return model


def folded(model: Model) -> Model:
    """A copy of a network whose batch normalisation has become part of the convolution right before it.

    Parameters
    ----------
    model : nn.Module
        The network.

    Returns
    -------
    nn.Module
        In eval mode, with Identity in place of each BatchNorm2d.
    """
    model = copy.deepcopy(model).eval()
    for parent in list(model.modules()):
        children = list(parent.named_children())
        for (name, conv), (norm_name, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, nn.utils.fusion.fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity().eval())
    return model


def decoder(model: nn.Module, layer: str, data: Data, *, width: int = 16, **how: Unpack[Schedule]) -> nn.Module:
    """A small network trained to reconstruct the images from the rectified activations of a layer, in squared error.

    It is a linear map to maps of a quarter of the image's side, two up-samplings, and three convolutions; for
    activations of at least that size, the convolutions alone.

    Parameters
    ----------
    model : nn.Module
        The network that has the layer.
    layer : str
        Name of the layer.
    data : Data
        Images in [0, 1]; the labels are not used.
    width : int
        Number of maps.
    **how : int or float
        As of `Schedule`.

    Returns
    -------
    nn.Module
        From activations to images.

    Raises
    ------
    ValueError
        For an option out of range.
    """
    start = _decoder(model, layer, data, width, how["seed"])
    return _loaded(start, store.cached(_decoding, start, model, layer, data, **how))


def _decoding(start: nn.Module, model: nn.Module, layer: str, data: Data, **how: Unpack[Schedule]) -> State:
    decode, data = copy.deepcopy(start), _beside(start, data)
    features = relu(activations.collect(model, data.x, [layer], batch_size=256)[layer])
    return _minimised(decode, lambda batch: mse_loss(decode(features[batch]), data.x[batch]), len(data), **how)


def autoencoder(model: Model, layer: str, data: Data, *, width: int = 16, **how: Unpack[Schedule]) -> Model:
    """A copy of a network trained up to a layer, together with a `decoder`, to reconstruct the images.

    Parameters
    ----------
    model : nn.Module
        Where training begins.
    layer : str
        Name of the layer.
    data : Data
        Images in [0, 1]; the labels are not used.
    width : int
        Number of maps of the decoder.
    **how : int or float
        As of `Schedule`.

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        For an option out of range.
    """
    decode = _decoder(model, layer, data, width, how["seed"])
    return _loaded(model, store.cached(_autoencoder, model, decode, layer, data, **how))


def _autoencoder(model: nn.Module, decode: nn.Module, layer: str, data: Data, **how: Unpack[Schedule]) -> State:
    data = _beside(model, data)
    pair = nn.ModuleDict({"encoder": copy.deepcopy(model), "decoder": copy.deepcopy(decode)})
    with activations.upto(pair["encoder"], layer) as run:

        def loss(batch: Tensor) -> Tensor:
            return mse_loss(pair["decoder"](relu(run(data.x[batch]))), data.x[batch])

        _minimised(pair, loss, len(data), **how)
    return pair["encoder"].state_dict()


def segmenting(model: Model, x: Tensor, y: Tensor, **how: Unpack[Schedule]) -> Model:
    """A copy of a network trained to classify each pixel.

    Parameters
    ----------
    model : nn.Module
        From images to logits (n, classes, h, w).
    x : Tensor, shape (n, c, h, w)
        Images.
    y : Tensor, shape (n, h, w)
        Class of each pixel.
    **how : int or float
        As of `Schedule`.

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        For an option out of range.
    """
    return _loaded(model, store.cached(_segmenting, model, x, y, **how))


def _segmenting(start: nn.Module, x: Tensor, y: Tensor, **how: Unpack[Schedule]) -> State:
    model, data = copy.deepcopy(start), _beside(start, Data(x, y))
    return _minimised(model, lambda batch: cross_entropy(model(data.x[batch]), data.y[batch]), len(x), **how)


def _beside(model: nn.Module, data: Data) -> Data:
    """Samples on the device of a network."""
    where = activations.device_of(model)
    return Data(data.x.to(where), data.y.to(where))


def normalised(model: Model, x: Tensor) -> Model:
    """A copy of a network whose batch normalisation has the statistics of images.

    Parameters
    ----------
    model : nn.Module
        Its weights stay as they are.
    x : Tensor, shape (n, c, h, w)
        Images, all of them one batch.

    Returns
    -------
    nn.Module
    """
    model = copy.deepcopy(model).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        activations.forward(model, x)
    return model.eval()


def _decoder(model: nn.Module, layer: str, data: Data, width: int, seed: int) -> nn.Sequential:
    """An untrained decoder of the layer's features."""
    with activations.evaluating(model), activations.upto(model, layer) as run:
        features = run(data.x[:2]).shape[1:]
    channels, h, w = data.x.shape[1:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(checks.at_least("seed", seed, 0))
        if len(features) == 3 and features[1] * 4 >= h:
            modules: list[nn.Module] = [nn.Conv2d(features[0], width, 3, padding=1)]
        else:
            h4, w4 = -(-h // 4), -(-w // 4)
            modules = [nn.Flatten(), nn.Linear(features.numel(), width * h4 * w4), nn.Unflatten(1, (width, h4, w4))]
        for size in ((-(-h // 2), -(-w // 2)), (h, w)):
            modules += [nn.ReLU(), nn.Upsample(size), nn.Conv2d(width, width, 3, padding=1)]
        return nn.Sequential(*modules, nn.ReLU(), nn.Conv2d(width, channels, 3, padding=1), nn.Sigmoid()).to(
            activations.device_of(model)
        )


def _first(model: nn.Module, layer: str, kind: Any) -> Any:
    """The first module of a kind in a layer."""
    inside = dict(model.named_modules()).get(layer, nn.Identity()).modules()
    if (found := next((module for module in inside if isinstance(module, kind)), None)) is None:
        raise ValueError(f"layer must be one with a {getattr(kind, '__name__', kind)}, got {layer!r}")
    return found


def _minimised(model: nn.Module, loss: training.Loss, n: int, **how: Unpack[Schedule]) -> State:
    """The state of the model after Adam on `loss` of batches of n samples."""
    how.setdefault("batch_size", 64)
    for _ in training.minimise(model, loss, n, **how):
        pass
    return model.state_dict()


def _loaded(model: Model, state: State) -> Model:
    """A copy of `model` in eval mode with another state."""
    model = copy.deepcopy(model)
    model.load_state_dict(state)
    return model.eval()
