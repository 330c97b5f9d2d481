"""What else is done to networks: distilling, pruning, damaging, adversarial training, decoding what a layer says.

All return a new network in eval mode; what is trained is cached by what determines it, as in `training.trained`.
"""

import copy
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss, relu

from infolib import activations, checks
from infolib.data import Data, Splits
from workbook import store
from workbook.cache import cached

VARIANTS = (
    "untrained", "trained", "shuffled labels", "one epoch", "student of labels", "student of the network", "pruned",
    "pruned, trained on", "damaged", "attacked in training", "autoencoder",
)  # fmt: skip
_Loss = Callable[[Tensor, Tensor], Tensor]


def variant(kind: str, start: nn.Module, student: nn.Module, splits: Splits, *, epochs: int, seed: int) -> nn.Module:
    """One of VARIANTS of a convolutional network on a data set, with settings that are the same for all of them.

    `start` and `student` are untrained, and one of them becomes the variant. Students have a quarter of the images and
    three times the epochs; what is changed after training (pruned by 80 %, attacked within 0.1) goes
    on for 2 epochs at half the rate; damage is to conv4; the autoencoder's encoder ends with conv6.
    """
    checks.choice("kind", kind, VARIANTS)
    data, how, more = splits.train, {"lr": 2e-3, "seed": seed}, {"epochs": 2, "lr": 1e-3, "seed": seed}
    few, long = data[: len(data) // 4], how | {"epochs": 3 * epochs}

    def learnt(model: nn.Module, data: Data, epochs: int = epochs) -> nn.Module:
        return store.trained(model, data, epochs=epochs, batch_size=64, **how)

    makers: dict[str, Callable[[], nn.Module]] = {
        "untrained": lambda: start.eval(),
        "trained": lambda: learnt(start, data),
        "shuffled labels": lambda: learnt(start, splits.permuted_labels(seed=seed).train),
        "one epoch": lambda: learnt(start, data, 1),
        "student of labels": lambda: learnt(student, few, 3 * epochs),
        "student of the network": lambda: distilled(student, learnt(start, data), few, **long),
        "pruned": lambda: pruned(learnt(start, data), 0.8),
        "pruned, trained on": lambda: finetuned(pruned(learnt(start, data), 0.8), data, **more),
        "damaged": lambda: damaged(learnt(start, data), "conv4", seed=seed),
        "attacked in training": lambda: adversarial(learnt(start, data), data, eps=0.1, **more),
        "autoencoder": lambda: autoencoder(start, "conv6", data, **how | {"epochs": epochs}),
    }
    return makers[kind]()


def distilled(
    student: nn.Module, teacher: nn.Module, data: Data, *, temperature: float = 4.0, epochs: int, lr: float, seed: int
) -> nn.Module:
    """`student` trained on what `teacher` says instead of the labels: KL divergence of softmax(logits / temperature).

    Hinton et al. 2015, with their factor temperature² that keeps the gradient's size.
    """
    checks.positive("temperature", temperature)
    with torch.no_grad():
        soft = torch.cat([teacher.eval()(x) for x in data.x.split(1024)]).div(temperature).softmax(1)
    model = copy.deepcopy(student)

    def loss(x: Tensor, target: Tensor) -> Tensor:
        said = log_softmax(model(x) / temperature, 1)
        return temperature**2 * kl_div(said, target, reduction="batchmean")

    return _fitted(model, data.x, soft, loss, what=f"distilled {temperature}", epochs=epochs, lr=lr, seed=seed)


def adversarial(
    model: nn.Module, data: Data, *, eps: float, steps: int = 2, epochs: int, lr: float, seed: int
) -> nn.Module:
    """A copy of `model` trained further on images that `attacked` has changed."""
    model = copy.deepcopy(model)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(model(attacked(model, x, y, eps=eps, steps=steps)), y)

    return _fitted(model, data.x, data.y, loss, what=f"attacked {eps} {steps}", epochs=epochs, lr=lr, seed=seed)


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


def pruned(model: nn.Module, share: float) -> nn.Module:
    """A copy of `model` whose smallest weights, `share` of all weights of Linear and Conv2d, are 0."""
    if not 0 <= share < 1:
        raise ValueError(f"share must lie in [0, 1), got {share}")
    model = copy.deepcopy(model).eval()
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    magnitudes = torch.cat([weight.detach().abs().flatten() for weight in weights])
    if gone := round(share * len(magnitudes)):
        least = magnitudes.kthvalue(gone).values
        with torch.no_grad():
            for weight in weights:
                weight.mul_(weight.abs() > least)
    return model


def finetuned(model: nn.Module, data: Data, *, epochs: int, lr: float, seed: int) -> nn.Module:
    """A copy of `model` trained further on the labels; weights of Linear and Conv2d that are 0 stay 0."""
    model = copy.deepcopy(model)
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    masks = [(weight != 0).to(weight) for weight in weights]

    def loss(x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            for weight, mask in zip(weights, masks, strict=True):
                weight.mul_(mask)
        return cross_entropy(model(x), y)

    model = _fitted(model, data.x, data.y, loss, what="fine-tuned", epochs=epochs, lr=lr, seed=seed)
    with torch.no_grad():
        for weight, mask in zip(weights, masks, strict=True):
            weight.mul_(mask)
    return model


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
    """A copy of `model` in which `layer` says `factor` times as much, and the weights of `following` make up for it.

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


def decoder(
    model: nn.Module, layer: str, data: Data, *, width: int = 16, epochs: int, lr: float, seed: int
) -> nn.Module:
    """A small network trained to give back the images from the rectified features of a layer, in squared error.

    A linear map to `width` maps of a quarter of the image's side, two up-samplings, and three convolutions; from maps
    of at least that size, the convolutions alone.
    """
    with activations.upto(model.eval(), layer) as run, torch.no_grad():
        features = torch.cat([relu(run(x)) for x in data.x.split(256)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(checks.at_least("seed", seed, 0))
        made = _decoder(features.shape[1:], data.x.shape[1:], width)

    def loss(x: Tensor, target: Tensor) -> Tensor:
        return mse_loss(made(x), target)

    return _fitted(made, features, data.x, loss, what="decoder", epochs=epochs, lr=lr, seed=seed)


def autoencoder(
    model: nn.Module, layer: str, data: Data, *, width: int = 16, epochs: int, lr: float, seed: int
) -> nn.Module:
    """A copy of `model` trained, up to `layer`, to keep what a decoder needs to give back the image; no labels."""
    pair = nn.ModuleDict({"encoder": copy.deepcopy(model)})
    with activations.upto(model, layer) as run, torch.no_grad():
        shape = run(data.x[:2]).shape[1:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(checks.at_least("seed", seed, 0))
        pair["decoder"] = _decoder(shape, data.x.shape[1:], width)
    with activations.upto(pair["encoder"], layer) as run:

        def loss(x: Tensor, target: Tensor) -> Tensor:
            return mse_loss(pair["decoder"](relu(run(x))), target)

        what = f"autoencoder {layer}"
        return _fitted(pair, data.x, data.x, loss, what=what, epochs=epochs, lr=lr, seed=seed)["encoder"]


def _first(model: nn.Module, layer: str, kind: Any) -> Any:
    """The first module of a kind in a layer."""
    inside = dict(model.named_modules()).get(layer, nn.Identity()).modules()
    if (found := next((module for module in inside if isinstance(module, kind)), None)) is None:
        raise ValueError(f"layer must be one with a {getattr(kind, '__name__', kind)}, got {layer!r}")
    return found


def _decoder(features: torch.Size, image: torch.Size, width: int) -> nn.Sequential:
    channels, h, w = image
    if len(features) == 3 and features[1] * 4 >= h:
        modules: list[nn.Module] = [nn.Conv2d(features[0], width, 3, padding=1)]
    else:
        h4, w4 = -(-h // 4), -(-w // 4)
        modules = [nn.Flatten(), nn.Linear(features.numel(), width * h4 * w4), nn.Unflatten(1, (width, h4, w4))]
    for size in ((-(-h // 2), -(-w // 2)), (h, w)):
        modules += [nn.ReLU(), nn.Upsample(size), nn.Conv2d(width, width, 3, padding=1)]
    return nn.Sequential(*modules, nn.ReLU(), nn.Conv2d(width, channels, 3, padding=1), nn.Sigmoid())


def _fitted(
    model: nn.Module, x: Tensor, target: Tensor, loss: _Loss, *, what: str, epochs: int, lr: float, seed: int
) -> nn.Module:
    """The model itself, in eval mode, after Adam on `loss` in batches of 64; cached by all that determines it."""
    checks.positive("lr", lr)
    checks.at_least("epochs", epochs, 0)

    def compute() -> dict[str, Tensor]:
        optimiser = torch.optim.Adam(model.parameters(), lr, fused=True)
        for batch in _batches(len(x), epochs, seed):
            value = loss(x[batch], target[batch])
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
        return model.state_dict()

    key = {"what": what, "model": repr(model), "state": dict(model.state_dict()), "x": x, "target": target}
    key |= {"epochs": epochs, "lr": lr, "seed": seed, "torch": torch.__version__, "code": Path(__file__).read_text()}
    model.train()
    model.load_state_dict(cached("techniques", key, compute))
    return model.eval()


def _batches(n: int, epochs: int, seed: int, size: int = 64) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(checks.at_least("seed", seed, 0))
    for _ in range(epochs):
        # A last batch of one image would have no variance for batch normalisation.
        yield from (b for b in torch.randperm(n, generator=generator).split(size) if len(b) > 1)
