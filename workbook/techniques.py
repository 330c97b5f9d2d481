"""What else is done to networks: distilling, pruning, damaging, adversarial training, decoding a layer's activations.

All return a new network in eval mode and leave theirs as it is. Those that train take `how`: epochs, lr and seed, the
batch size (64), and what else `training.minimise` takes; what they train is kept by what determines it (`store`).
"""

import copy
from itertools import pairwise
from typing import Any, NotRequired, TypedDict, Unpack

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss, relu
from torch.nn.utils import prune

from infolib import activations, checks, training
from infolib.data import Data
from workbook import store

State = dict[str, Tensor]


class Schedule(TypedDict):
    """How long and how fast to train."""

    epochs: int
    lr: float
    batch_size: NotRequired[int]
    seed: int


def distilled(
    student: nn.Module, teacher: nn.Module, data: Data, *, temperature: float = 4.0, **how: Unpack[Schedule]
) -> nn.Module:
    """`student` trained on the outputs of `teacher`, not on labels: KL divergence of softmax(logits / temperature).

    Hinton et al. 2015, with their factor temperature² that keeps the gradient's size.
    """
    checks.positive("temperature", temperature)
    return _loaded(student, store.cached(_distilled, student, teacher, data, temperature, **how))


def _distilled(
    student: nn.Module, teacher: nn.Module, data: Data, temperature: float, **how: Unpack[Schedule]
) -> State:
    model = copy.deepcopy(student)
    with activations.evaluating(teacher):
        soft = torch.cat([teacher(x) for x in data.x.split(1024)]).div(temperature).softmax(1)

    def loss(batch: Tensor) -> Tensor:
        log_p = log_softmax(model(data.x[batch]) / temperature, 1)
        return temperature**2 * kl_div(log_p, soft[batch], reduction="batchmean")

    return _minimised(model, loss, len(data), **how)


def adversarial(model: nn.Module, data: Data, *, eps: float, steps: int = 2, **how: Unpack[Schedule]) -> nn.Module:
    """A copy of `model` trained further on images that `attacked` has changed."""
    return _loaded(model, store.cached(_adversarial, model, data, eps, steps, **how))


def _adversarial(start: nn.Module, data: Data, eps: float, steps: int, **how: Unpack[Schedule]) -> State:
    model = copy.deepcopy(start)

    def loss(batch: Tensor) -> Tensor:
        x, y = data.x[batch], data.y[batch]
        return cross_entropy(model(attacked(model, x, y, eps=eps, steps=steps)), y)

    return _minimised(model, loss, len(data), **how)


def attacked(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, steps: int = 2) -> Tensor:
    """Images in [0, 1], none further than `eps` from x in any value, that raise the loss: projected gradient ascent.

    Madry et al. 2018, from x itself in steps of eps (one step) or 1.5 eps / steps along the gradient's sign.
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


def pruned(model: nn.Module, share: float) -> nn.Module:
    """A copy of `model` whose smallest weights, `share` of all weights of Linear and Conv2d, are 0."""
    if not 0 <= share < 1:
        raise ValueError(f"share must lie in [0, 1), got {share}")
    masked = copy.deepcopy(model)
    prune.global_unstructured(_weights(masked), _Smallest, amount=share)
    return _loaded(model, _unmasked(masked))


def finetuned(model: nn.Module, data: Data, **how: Unpack[Schedule]) -> nn.Module:
    """A copy of `model` trained further on the labels; weights of Linear and Conv2d that are 0 stay 0."""
    return _loaded(model, store.cached(_finetuned, model, data, **how))


def _finetuned(start: nn.Module, data: Data, **how: Unpack[Schedule]) -> State:
    model = copy.deepcopy(start)
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


def damaged(model: nn.Module, layer: str, *, share: float = 0.5, seed: int) -> nn.Module:
    """A copy of `model` in which `share` of the filters of the first Conv2d in `layer` are 0, drawn at random."""
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], got {share}")
    model = copy.deepcopy(model).eval()
    conv = _first(model, layer, nn.Conv2d)
    n = conv.out_channels
    gone = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[: round(share * n)]
    with torch.no_grad():
        conv.weight[gone] = 0
    return model


def rescaled(model: nn.Module, layer: str, following: str, factor: float) -> nn.Module:
    """A copy of `model` with `factor` times the activations of `layer`, for which the weights of `following` make up.

    The network's function is the same, as a ReLU lets a positive factor through. `layer` has a BatchNorm, `following` a
    Linear or Conv2d.
    """
    checks.positive("factor", factor)
    model = copy.deepcopy(model)
    norm = _first(model, layer, nn.BatchNorm2d | nn.BatchNorm1d)
    with torch.no_grad():
        norm.weight.mul_(factor)
        norm.bias.mul_(factor)
        _first(model, following, nn.Linear | nn.Conv2d).weight.div_(factor)
    return model


def folded(model: nn.Module) -> nn.Module:
    """A copy of `model` in eval mode whose batch normalisation has become part of the convolution right before it."""
    model = copy.deepcopy(model).eval()
    for parent in list(model.modules()):
        children = list(parent.named_children())
        for (name, conv), (norm_name, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, nn.utils.fusion.fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity().eval())
    return model


def decoder(model: nn.Module, layer: str, data: Data, *, width: int = 16, **how: Unpack[Schedule]) -> nn.Module:
    """A small network trained to give back the images from the rectified features of a layer, in squared error.

    A linear map to `width` maps of a quarter of the image's side, two up-samplings, and three convolutions; from maps
    of at least that size, the convolutions alone.
    """
    start = _decoder(model, layer, data, width, how["seed"])
    return _loaded(start, store.cached(_decoding, start, model, layer, data, **how))


def _decoding(start: nn.Module, model: nn.Module, layer: str, data: Data, **how: Unpack[Schedule]) -> State:
    decode = copy.deepcopy(start)
    features = relu(activations.collect(model, data.x, [layer], batch_size=256)[layer])
    return _minimised(decode, lambda batch: mse_loss(decode(features[batch]), data.x[batch]), len(data), **how)


def autoencoder(model: nn.Module, layer: str, data: Data, *, width: int = 16, **how: Unpack[Schedule]) -> nn.Module:
    """A copy of `model` trained, up to `layer`, to keep what a decoder needs to give back the image; no labels."""
    decode = _decoder(model, layer, data, width, how["seed"])
    return _loaded(model, store.cached(_autoencoder, model, decode, layer, data, **how))


def _autoencoder(model: nn.Module, decode: nn.Module, layer: str, data: Data, **how: Unpack[Schedule]) -> State:
    pair = nn.ModuleDict({"encoder": copy.deepcopy(model), "decoder": copy.deepcopy(decode)})
    with activations.upto(pair["encoder"], layer) as run:

        def loss(batch: Tensor) -> Tensor:
            return mse_loss(pair["decoder"](relu(run(data.x[batch]))), data.x[batch])

        _minimised(pair, loss, len(data), **how)
    return pair["encoder"].state_dict()


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
        return nn.Sequential(*modules, nn.ReLU(), nn.Conv2d(width, channels, 3, padding=1), nn.Sigmoid())


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


def _loaded(model: nn.Module, state: State) -> nn.Module:
    """A copy of `model` in eval mode with another state."""
    model = copy.deepcopy(model)
    model.load_state_dict(state)
    return model.eval()
