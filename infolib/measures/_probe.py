"""The codes of the fifth lens: labels by a linear probe, block by block, and numbers by a Bayesian regression."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from infolib import checks
from infolib.data import Data
from infolib.measures import transfer

PRIOR = 10.0  # standard deviation of the probe's weights, for features of root mean squared length 1
COLUMNS = 2**15  # of the features whose inner products are summed at once


def probe(state: Tensor, prefix: Data, _seed: int = 0) -> Callable[[Tensor], Tensor]:
    """Learner for prequential codes: multinomial logistic regression with a normal prior on its weights.

    W maximises Σ log softmax(x W + b)_y - |W|² / (2 PRIOR²), where W holds the biases b too. Without a prefix all
    classes are equally probable.

    Parameters
    ----------
    state : Tensor, shape (classes,)
        Only its length counts.
    prefix : Data
        What the regression learns from: features (n, d) and their labels.
    _seed : int
        Not used.

    Returns
    -------
    callable
        From features (n, d) to logits (n, classes), float64.

    Raises
    ------
    ValueError
        For labels outside 0 to classes - 1.

    Examples
    --------
    >>> predictor = probe(torch.zeros(2), Data(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1])))
    >>> predictor(torch.tensor([[-2.0], [3.0]])).argmax(1)
    tensor([0, 1])
    """
    if len(prefix) and not 0 <= int(prefix.y.min()) <= int(prefix.y.max()) < len(state):
        raise ValueError(f"the labels of prefix must be from 0 to {len(state) - 1}, got {prefix.y.unique().tolist()}")
    ones = partial(nn.functional.pad, pad=(0, 1), value=1.0)
    x, shape = ones(prefix.x.detach().double()), (prefix.x.shape[1] + 1, len(state))
    labels = nn.functional.one_hot(prefix.y.long(), len(state)).double()

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        W = torch.from_numpy(w).view(shape).to(x)
        log_p = (x @ W).log_softmax(1)
        slope = x.T @ (log_p.exp() - labels) + W / PRIOR**2
        return float(W.square().sum() / (2 * PRIOR**2) - (labels * log_p).sum()), slope.flatten().cpu().numpy()

    start, options = np.zeros(math.prod(shape)), {"gtol": 1e-6, "ftol": 1e-15}
    w = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
    return lambda x: ones(x.double()) @ torch.from_numpy(w).view(shape).to(x.device)


def label_bits(features: Tensor, y: Tensor) -> float:
    """The length of all labels in bits; each of several labels of a sample has a code of its own."""
    total = 0.0
    for column in y.T if y.ndim == 2 else [y]:
        classes, codes = column.unique(return_inverse=True)  # their numbers cost nothing
        labelled = Data(features, codes.to(features.device))
        total += transfer.prequential_codelength(probe, torch.zeros(len(classes)), labelled, mixture=True).bits
    return total


def uniform_bits(y: Tensor) -> float:
    """The length of all labels in bits where all classes are equally probable."""
    return sum(len(column) * math.log2(len(column.unique())) for column in (y.T if y.ndim == 2 else [y]))


def number_bits(features: Tensor, y: Tensor) -> float:
    """The length of numbers in bits, to a precision of 1 of their standard deviations, by an exact mixture code.

    A linear regression with normal weights of standard deviation PRIOR times that of the noise, whose variance has an
    inverse gamma prior of shape and scale 1/2: y is multivariate t with 1 degree of freedom and the scale matrix
    I + PRIOR² (11ᵀ + x xᵀ). With features of 0 it is the code without the layer.
    """
    z = (y - y.mean()) / (y.std(correction=0) or 1.0)
    n, z = len(y), z.to(features)
    scale = torch.eye(n).to(features) + PRIOR**2 * (1 + features @ features.T)
    root = torch.linalg.cholesky(scale)
    distance = float(torch.linalg.solve_triangular(root, z[:, None], upper=False).square().sum())
    nats = math.lgamma(0.5) - math.lgamma((1 + n) / 2) + n / 2 * math.log(math.pi)
    return (nats + float(root.diagonal().log().sum()) + (1 + n) / 2 * math.log1p(distance)) / math.log(2)


def coordinates(t: Tensor) -> Tensor:
    """Features (n, ...) in at most n coordinates with the same inner products, about their mean, rms length 1.

    A linear probe with a normal prior depends on the inner products of its features alone: nothing is lost. Of more
    than n they are summed over some columns at a time, so that the features are not held twice.
    """
    t = t.flatten(1)
    if (t == t[:1]).all():
        return torch.zeros(len(t), 1, dtype=torch.float64, device=t.device)
    largest = torch.linalg.vector_norm(t, math.inf).double()  # whose square may overflow
    if t.shape[1] <= len(t):
        t = t.double() / largest
        return (t - t.mean(0)) / t.var(0, correction=0).sum().sqrt()
    gram = torch.zeros(len(t), len(t), dtype=torch.float64, device=t.device)
    for part in t.split(COLUMNS, dim=1):
        centred = (part - part.mean(0, dtype=torch.float64).to(part)) / largest
        gram += (centred @ centred.T).double()
    gram -= gram.mean(0) + gram.mean(1, keepdim=True) - gram.mean()  # what rounding has left of the mean
    values, vectors = torch.linalg.eigh(gram / gram.diagonal().mean())
    return vectors * values.clamp_min(0).sqrt()


checks.guard(globals())
