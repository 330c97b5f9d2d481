"""The comparisons. Each reference is the algorithm as one would first write it down."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache, partial
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torchvision
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist, squareform
from scipy.special import digamma
from sklearn.metrics import mutual_info_score
from torch import nn

from benchmarks import codes
from benchmarks import discarding as former
from infolib import activations, training
from infolib.data import Data
from infolib.estimators import binning, discrete, knn, lanczos, renyi, truth
from infolib.estimators.uncertainty import subsampling_interval
from infolib.measures import discarding, information_plane, lenses, neuron_importance, synergy, transfer
from workbook import datasets, models
from workbook.experiments import nb05_information_discarding as study


class Row(NamedTuple):
    """One comparison: both calls return the same tensor up to `tolerance`.

    `goal` is the ratio that we want to reach, in time and where asked in memory. `limit` is work that no implementation
    of ours can do without (an eigenproblem, a product of matrices, forward passes), with a name for it. The least time
    of so many turns counts; a reference that takes a minute gets fewer.
    """

    name: str
    ours: Callable[[], Any]
    reference: Callable[[], Any]
    goal: float
    tolerance: float = 1e-4
    turns: int = 5
    at_most: bool = False  # the goal, where the ratio is a cost
    memory: float = 0.0  # times less than the reference
    limit: tuple[str, Callable[[], Any]] | None = None


def eigenproblems(count: int, n: int, dtype: torch.dtype = torch.float32) -> tuple[str, Callable[[], Any]]:
    """Eigenvalues of so many matrices of n samples, in one batch: a limit."""
    x = torch.randn(count, n, n, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return f"{count} eigenproblems", partial(torch.linalg.eigvalsh, x @ x.mT / n)


def forwards(model: nn.Module, x: torch.Tensor, passes: int = 1, *, layer: str = "") -> tuple[str, Callable[[], Any]]:
    """Forward passes, through the whole network or up to a layer, without gradients: a limit."""

    def run():
        with torch.no_grad(), activations.upto(model, layer) if layer else nullcontext(model) as features:
            return [features(x) for _ in range(passes)]

    return f"{passes * len(x):,} images forward", run


def all_rows() -> Iterator[Row]:
    yield from recording_rows()
    yield from training_rows()
    yield from kernel_rows()
    yield from large_rows()
    yield from plane_rows()
    yield from trajectory_rows()
    yield from pair_rows()
    yield from chain_rows()
    yield from score_rows()
    yield from neighbour_rows()
    yield from neuron_rows()
    yield from discarding_rows()
    yield from code_rows()


def recording_rows() -> Iterator[Row]:
    """One image through a ResNet of 20 layers: five recorded outputs and the logits, against the logits alone."""
    net, x = models.resnet(20, seed=0).eval(), torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    layers = ["stem", "stage1.block3", "stage2.block3", "stage3.block3", "output"]

    def recorded():
        return [activations.collect(net, x, layers)["output"] for _ in range(20)][-1]

    def bare():
        with torch.no_grad():
            return [net(x) for _ in range(20)][-1]

    yield Row(
        "five recorded layers of a ResNet-20, one image, 20 passes, against bare passes",
        recorded,
        bare,
        1 / 1.5,
        limit=forwards(net, x, 20),
    )


def training_rows() -> Iterator[Row]:
    """Three epochs of a small perceptron, without any of the workbook's bookkeeping; weights compared."""
    data = datasets.load("digits", seed=0).train

    def ours():
        net = models.mlp([64, 100, 100, 10], seed=0)
        for _ in training.fit(net, data, epochs=3, batch_size=32, lr=1e-3, seed=0):
            pass
        return net.output.weight.detach()

    def bare_loop():
        net = models.mlp([64, 100, 100, 10], seed=0)
        optimiser = torch.optim.Adam(net.parameters(), 1e-3, fused=True)
        generator = torch.Generator().manual_seed(0)
        for _ in range(3):
            for batch in torch.randperm(len(data), generator=generator).split(32):
                optimiser.zero_grad()
                nn.functional.cross_entropy(net(data.x[batch]), data.y[batch]).backward()
                optimiser.step()
        return net.output.weight.detach()

    yield Row("`training.fit`, 64-100-100-10 on digits, against a bare loop", ours, bare_loop, 1 / 1.3)


def kernel_rows() -> Iterator[Row]:
    """Squared distances that are right to rounding, against one product of matrices."""
    for dtype, (n, d) in product((torch.float32, torch.float64), ((1000, 2), (1000, 20), (1000, 784))):
        x = torch.randn(n, d, generator=torch.Generator().manual_seed(0)).relu().to(dtype)

        def product_alone(x: torch.Tensor = x) -> torch.Tensor:
            x = x - x.mean(0)
            product = x @ x.mT
            norms = product.diagonal()
            norms = norms[:, None] + norms
            squared = norms - 2 * product
            return torch.where(squared > 4 * torch.finfo(x.dtype).eps * norms, squared, 0)

        yield Row(
            f"squared distances of {n:,} × {d}, {str(dtype).removeprefix('torch.')}, against a matrix product alone",
            partial(renyi.squared_distances, x), product_alone, 1 / 2.5, tolerance=1e-2,
            limit=("one product", partial(torch.mm, x, x.mT)),
        )  # fmt: skip


def large_rows() -> Iterator[Row]:
    """Matrix-based entropy of 10,000 samples of 256 features against all eigenvalues, float32, α = 1.01.

    The difference is the error of one draw; what it is over many stands below, under the standard errors.
    """
    x = torch.randn(10_000, 256, generator=torch.Generator().manual_seed(0)) / torch.arange(1, 257).sqrt()

    @cache
    def kept() -> torch.Tensor:
        return renyi.gram(x, width=1.5)

    name = "S of 10,000 samples by stochastic Lanczos quadrature against all eigenvalues"
    yield Row(
        f"{name}, from a Gram",
        lambda: lanczos.gram_entropy(kept()).value, lambda: renyi.entropy(kept()), 8, tolerance=1e-2, turns=1,
    )  # fmt: skip
    yield Row(
        f"{name}, from samples of 256 features",
        lambda: lanczos.entropy(x, width=1.5).value, lambda: renyi.entropy(renyi.gram(x, width=1.5)), 3,
        tolerance=1e-2, turns=1, limit=("one product", partial(torch.mm, x, x.mT)),
    )  # fmt: skip


def plane_rows() -> Iterator[Row]:
    """I(X;T) and I(T;Y) of the small CNN's five layers on one batch, each width out of 75 by alignment; float32.

    The reference is the published algorithm line by line: all pairwise differences at once, matrix products and traces
    for each width, an eigenproblem for each entropy.
    """
    generator = torch.Generator().manual_seed(0)
    for n, bins, goal, memory in ((100, None, 10, 0), (512, 4096, 20, 30)):
        x, y = torch.rand(n, 1, 28, 28, generator=generator), torch.arange(n) % 10
        net = models.cnn(seed=0)
        recorded = activations.collect(net, x, activations.layers(net))
        name = f"information-plane point, small CNN, n = {n}, 75 widths"
        ours, plain = partial(_plane, x, y, recorded, bins), partial(_plain_plane, x, y, recorded)
        yield Row(name, ours, plain, goal, memory=memory, limit=eigenproblems(11, n))  # S(X), and S(T), S(X, T) of five


def _plane(x, y, recorded, bins):
    options = {"input_width": 5.0, "alpha": 1, "search": "published", "bins": bins, "precision": torch.float32}
    table = pd.DataFrame(information_plane.matrix_based(x, y, recorded, **options))
    return torch.tensor(table[["I(X;T)", "I(T;Y)"]].to_numpy())


def _plain_plane(x, y, recorded, points=75, former=None):
    """I(X;T) and I(T;Y) of each layer; `former` holds the layers' sigmas, averaged in place."""

    def distances(t):
        t = t.flatten(1)
        return (t[:, None] - t[None, :]).square().sum(-1).sqrt()

    def entropy(K):
        eigenvalues = torch.linalg.eigvalsh(K / K.trace()).clamp(min=0)
        return -torch.special.xlogy(eigenvalues, eigenvalues).sum() / np.log(2)

    K_x, K_y = torch.exp(-distances(x).square() / (2 * 5.0**2)), (y[:, None] == y).float()
    rows = []
    for layer, t in recorded.items():
        D = distances(t)
        best, chosen, K_t = -1.0, None, None
        for sigma in torch.linspace(0.1, 10 * float(D.mean()), points):
            K = torch.exp(-D.square() / sigma**2)
            alignment = (K @ K_y).trace() / ((K @ K).trace() * (K_y @ K_y).trace()).sqrt()
            if alignment > best:
                best, chosen, K_t = alignment, sigma, K
        if former is not None:
            former[layer] = 0.9 * former.get(layer, chosen) + 0.1 * chosen
            K_t = torch.exp(-D.square() / former[layer] ** 2)
        rows.append(
            [entropy(K_t) + entropy(K_x) - entropy(K_t * K_x), entropy(K_t) + entropy(K_y) - entropy(K_t * K_y)]
        )
    return torch.tensor(rows)


def trajectory_rows() -> Iterator[Row]:
    """The perceptron 784-1024-20-20-20-10 learns for 60 steps, with a point of the plane after every one; float32.

    As published, widths are averaged over the points and 50 instead of 75 are tried after 40 points, so that the last
    steps cost what the 6,000 of a whole trajectory do. The reference trains in a bare loop and measures line by line.
    The second row is the cost beside training alone: the ratio less 1 is the trajectory's share of it.
    """
    x = torch.rand(6_000, 784, generator=torch.Generator().manual_seed(0))
    data = datasets.Data(x, torch.arange(6_000) % 10)
    plane = information_plane.Plane(
        batch=lambda step: data[step.batch],
        estimator=partial(information_plane.matrix_based, input_width=5.0, alpha=1, search="published"),
        momentum=0.9,
        settled=(40, 50),
        dtype=torch.float32,
    )

    def start():
        net = models.mlp([784, 1024, 20, 20, 20, 10], batch_norm="after", seed=0)
        options = {"epochs": 1, "batch_size": 100, "lr": 0.09, "optimizer": "sgd", "seed": 0}
        return net, training.fit(net, data, **options)

    def ours():
        net, steps = start()
        return net, information_plane.trajectories(net, steps, {"train": plane}, activations.layers(net))

    def plain():
        net, steps = start()
        sigmas, rows = {}, []
        for step in steps:
            batch = data[step.batch]
            recorded = activations.collect(net, batch.x, activations.layers(net))
            recorded["output"] = recorded["output"].softmax(1)
            rows.append(_plain_plane(batch.x, batch.y, recorded, 75 if step.step <= 40 else 50, sigmas))
        return torch.cat(rows)

    def alone():
        net, steps = start()
        for _ in steps:
            pass
        return net.output.weight.detach()

    name = "training of a perceptron, 60 steps of 100"
    table = partial(_columns, ours)
    limit = eigenproblems(60 * 11, 100)
    yield Row(f"{name}, with a point of the plane after each", table, plain, 6.5, tolerance=1e-3, turns=2, limit=limit)
    with_points = lambda: ours()[0].output.weight.detach()  # noqa: E731
    yield Row(f"{name}, alone, against with its points", alone, with_points, 4, at_most=True)


def _columns(follow):
    return torch.tensor(follow()[1][["I(X;T)", "I(T;Y)"]].to_numpy())


def pair_rows() -> Iterator[Row]:
    """What a layer of 12 maps says about its input at n = 128: together, and RS and WN of 66 pairs; 159 entropies.

    The reference builds the kernels and calls the general eigensolver for each entropy, as a first script would, in
    float64. Ours builds them in float64 too and takes the eigenvalues in float32. The eigensolver is the limit: three
    quarters of our time are its 159 problems, which alone would make the ratio 16.
    """
    generator = torch.Generator().manual_seed(0)
    x, maps = torch.randn(128, 1, 64, generator=generator), torch.randn(128, 12, 36, generator=generator)

    def ours():
        X, A = renyi.gram(x.double(), width=8.0), renyi.channel_grams(maps.double(), width=6.0)
        d = synergy.decompose(X, A, precision=torch.float32)
        return torch.tensor([d.information, *d.pairs["RS"], *d.pairs["WN"]])

    def plain():
        X, A = (x, 8.0), [(maps[:, c], 6.0) for c in range(12)]
        s_x = _plain_entropy(X)
        one = [s_x + _plain_entropy(a) - _plain_entropy(X, a) for a in A]
        every = s_x + _plain_entropy(*A) - _plain_entropy(X, *A)
        rs, wn = [], []
        for i, j in combinations(range(12), 2):
            both = s_x + _plain_entropy(A[i], A[j]) - _plain_entropy(X, A[i], A[j])
            rs.append(one[i] + one[j] - both)
            wn.append(2 * both - one[i] - one[j])
        return torch.tensor([every, *rs, *wn])

    name = "redundancy and synergy of a 12-map layer, n = 128, α = 1.01: 159 entropies, ours in float32"
    yield Row(name, ours, plain, 15, limit=eigenproblems(159, 128))


def _plain_entropy(*variables: tuple[torch.Tensor, float]) -> float:
    """S at alpha = 1.01 of variables with their widths, kernels and all."""
    K = np.ones((len(variables[0][0]),) * 2)
    for variable, width in variables:
        squared = squareform(pdist(variable.flatten(1).double().numpy(), "sqeuclidean"))
        K = K * np.exp(-squared / (2 * width**2))
    eigenvalues = np.abs(np.linalg.eig(K / len(K))[0])
    return np.log2((eigenvalues**1.01).sum()) / (1 - 1.01)


def chain_rows() -> Iterator[Row]:
    """Both data processing chains of a LeNet of 6 and 12 maps on one batch: I(X;T) of 4 layers, I(δK;δ) of 3.

    The reference keeps activations and gradients in one pass and writes each information as three entropies.
    """
    x, y = torch.rand(128, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.arange(128) % 10
    net = models.lenet5(activation="relu", seed=0)
    layers = activations.layers(net)

    def ours():
        forward, errors = synergy.forward_chain(net, x, layers), synergy.error_chain(net, x, y, layers)
        return torch.tensor([*forward["I(X;T)"], *errors["I(δK;δ)"]])

    def plain():
        z1 = net.conv1.conv(x)
        z2 = net.conv2.conv(net.pool1(z1.relu()))
        z3 = net.fc1.linear(net.pool2(z2.relu()).flatten(1))
        z4 = net.output(z3.relu())
        loss = nn.functional.cross_entropy(z4, y, reduction="sum")
        *errors, last = torch.autograd.grad(loss, [z1, z2, z3, z4])
        outputs = [z.detach() for z in (z1.relu(), z2.relu(), z3.relu(), z4.double().softmax(1))]
        forward = [_plain_information(x, t, 5.0) for t in outputs]
        return torch.tensor([*forward, *[_plain_information(last, error, 0.1) for error in reversed(errors)]])

    yield Row(
        "forward and error chain of a LeNet, n = 128, α = 1.01",
        ours,
        plain,
        3,
        limit=eigenproblems(21, 128, torch.float64),
    )


def _plain_information(a: torch.Tensor, b: torch.Tensor, h: float) -> float:
    a, b = ([(m, _silverman(m, h)) for m in (t.unbind(1) if t.ndim > 2 else [t])] for t in (a, b))
    return _plain_entropy(*a) + _plain_entropy(*b) - _plain_entropy(*a, *b)


def _silverman(t: torch.Tensor, h: float) -> float:
    return h * len(t) ** (-1 / (4 + t[0].numel()))


def score_rows() -> Iterator[Row]:
    """One-bit class information of 1,000 neurons on 10,000 samples, from the activations."""
    generator = torch.Generator().manual_seed(0)
    t, y = torch.randn(10_000, 1_000, generator=generator), torch.randint(10, (10_000,), generator=generator)

    def ours():
        return discrete.mutual_information(binning.sign(t), y)

    def loop():
        columns, labels = t.numpy(), y.numpy()
        return torch.tensor([mutual_info_score(columns[:, j] > 0, labels) / np.log(2) for j in range(t.shape[1])])

    bits, classes = (t > 0).float(), nn.functional.one_hot(y).float()
    limit = ("one product", lambda: classes.mT @ bits)
    yield Row("class information of 1,000 one-bit neurons, n = 10,000", ours, loop, 50, limit=limit)


def neighbour_rows() -> Iterator[Row]:
    """Kraskov's estimator 1; the reference counts with k-d trees, above five dimensions among all distances.

    Both include the check for equal samples.
    """
    for n, d, goal in ((10_000, 5, 4), (100_000, 1, 2.5)):
        x, y = (v.double() for v in truth.SparseNormal(d, d, correlation=0.8).sample(n, seed=0))
        name = f"I by Kraskov 1, {d} + {d} dimensions, n = {n:,}"
        ours, plain = partial(knn.mutual_information, x, y), partial(_plain_kraskov, x.numpy(), y.numpy())
        yield Row(name, ours, plain, goal, tolerance=1e-12)


def _plain_kraskov(x, y, k=5):
    if max(np.unique(v, axis=0, return_counts=True)[1].max() for v in (x, y)) > k:
        raise ValueError("no density")
    joint = np.hstack([x, y])
    if joint.shape[1] <= 5:
        radius = cKDTree(joint).query(joint, k + 1, p=np.inf)[0][:, k]
    else:
        every = torch.from_numpy(joint)
        blocks = [torch.cdist(some, every, p=torch.inf).topk(k + 1, largest=False) for some in every.split(256)]
        radius = torch.cat([block.values[:, k] for block in blocks]).numpy()
    nearer = np.nextafter(radius, 0)
    counts = [cKDTree(v).query_ball_point(v, nearer, p=np.inf, return_length=True) for v in (x, y)]
    nats = digamma(k) + digamma(len(x)) - sum(digamma(count).mean() for count in counts)
    return torch.tensor(nats / np.log(2))


def neuron_rows() -> Iterator[Row]:
    """Accuracy with k = 0, ..., all neurons clamped, along four orders for each layer and for both together.

    784-100-100-10 on 10,000 images; the reference masks what the layers say and runs the network for every k.
    """
    generator = torch.Generator().manual_seed(0)
    data = datasets.Data(torch.rand(10_000, 784, generator=generator), torch.arange(10_000) % 10)
    net, layers = models.mlp([784, 100, 100, 10], seed=0).eval(), ("hidden1", "hidden2")
    table = neuron_importance.scores(net, data, layers, permutations=1)
    orders = [o for o in neuron_importance.orders(table, random=0, seed=0) if o.quantity != "entropy"]
    means = {layer: t.mean(0) for layer, t in activations.collect(net, data.x, layers).items()}

    def masked(order):
        gone = {layer: torch.zeros(100, dtype=torch.bool) for layer in layers}
        place = [(layer, j) for layer in order.layers for j in range(100)]
        changes = {layer: partial(_masked, gone[layer], means[layer]) for layer in order.layers}
        accuracies = []
        for neuron in [None, *order.neurons.tolist()]:
            if neuron is not None:
                gone[place[neuron][0]][place[neuron][1]] = True
            with activations.replace(net, changes):
                accuracies.append(training.evaluate(net, data, batch_size=2000).accuracy)
        return accuracies

    yield Row(
        "ablation curves of a perceptron, n = 10,000, all k of 12 orders",
        lambda: torch.tensor(neuron_importance.ablation_curves(net, data, orders)["accuracy"].to_numpy()),
        lambda: torch.tensor([accuracy for order in orders for accuracy in masked(order)]),
        20,
        limit=forwards(net, data.x),
        tolerance=3e-4,  # three images of 10,000: float32 rounds the logits of a near tie either way
        turns=2,
    )


def _masked(gone, means, t):
    return torch.where(gone, means, t)


def code_rows() -> Iterator[Row]:
    """Prequential codes: many tiny networks in one batch against one by one, and one pass against cold restarts.

    The codes of the second row are not the same: compared is what the single pass costs beyond the blocks, if it does.
    """
    digits = datasets.load("digits", seed=0).train
    start, sizes = training.zero_head(models.mlp([64, 32, 10], seed=0)), [8 * 2 ** (i % 6) for i in range(48)]
    prefixes = [digits[:n] for n in sizes]

    def weights(nets):
        return torch.stack([net.output.weight.detach() for net in nets])

    yield Row(
        "48 networks 64-32-10 on 8 to 256 digits, 100 steps, in one batch against one by one",
        lambda: weights(training.train_many([start] * 48, prefixes, steps=100, seed=list(range(48)))),
        lambda: weights([training.train(start, prefix, steps=100, seed=i) for i, prefix in enumerate(prefixes)]),
        4,
        tolerance=1e-3,  # Adam's first steps are signs of gradients, and a gradient near 0 may round either way
    )
    yield Row(
        "48 networks 64-32-10 on 8 to 256 digits, 100 steps, in one batch against the former one",
        lambda: weights(training.train_many([start] * 48, prefixes, steps=100, seed=list(range(48)))),
        lambda: weights(codes.train_many([start] * 48, prefixes, steps=100, seed=list(range(48)))),
        1.2,
        tolerance=1e-6,  # equal to the last bit on some processors
    )
    net, sent = models.mlp([64, 32, 10], seed=0).eval(), lenses.balanced(digits, 512)

    def former():
        t = activations.collect(net, sent.x, ["hidden1"])["hidden1"]
        found = Data(codes.coordinates(t), sent.y)
        return transfer.prequential_codelength(codes.probe, torch.zeros(10), found, mixture=True).bits / len(sent)

    yield Row(
        "codelength of 512 digits by a linear probe of 32 units, against the former solver in 512 coordinates",
        lambda: lenses.codelength(net, digits, ["hidden1"], n=len(sent))["value"].iloc[0],
        former,
        3,
        tolerance=1e-5,
        turns=2,
    )
    try:
        mnist = datasets.load("mnist", n_train=8000, n_val=0, n_test=1, seed=0).train
    except FileNotFoundError as error:
        warnings.warn(f"the row of MNIST's codes is left out: {error}", stacklevel=2)
        return
    perceptron, lengths = training.zero_head(models.mlp([784, 128, 10], seed=0)), {}

    def blocks():
        learner = partial(transfer.network, steps=300, epochs=10, batch_size=32)
        lengths["blocks"] = transfer.prequential_codelength(learner, perceptron, mnist).bits
        return torch.zeros(1)

    def replay():
        lengths["replay"] = transfer.replay_codelength(perceptron, mnist, batch_size=32, streams=5).bits
        return torch.tensor([max(0.0, lengths["replay"] - lengths.get("blocks", torch.inf))])

    blocks()
    name = "codelength of 8,000 MNIST labels, one pass with replay against blocks (difference: bits more, if any)"
    yield Row(name, replay, blocks, 2, turns=2)


def discarding_rows() -> Iterator[Row]:
    """Information discarding against the search of before; images at once; the authors' descent; sensitivities."""
    net = models.vgg6(width=4, in_shape=(1, 12, 12), seed=0).eval().requires_grad_(False)
    x = torch.rand(20, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    measure = partial(discarding.strict_information_discarding, net, layer="conv4", grid=6)

    def one_by_one():
        return torch.cat([measure(x=image[None]).mean for image in x])

    name = "information discarding of conv4, 20 images at once against one by one"
    yield Row(name, lambda: measure(x=x).mean, one_by_one, 2, limit=forwards(net, x, 4 * 16, layer="conv4"))
    for name, layers, error, goal in DISCARDING:
        model, images, grid = discarded_networks()[name]
        ours = partial(discarding.measured, model, images, layers, grid=grid, error=error)
        plain = partial(former.search, model, images, grid=grid)
        yield Row(
            f"information discarding, {name}, {', '.join(layers)}, error of {error:g} bits, against the former search "
            "(difference: of mean bits)",
            lambda ours=ours: torch.stack([d.mean.mean() for d in ours().values()]),
            lambda plain=plain, layers=layers: torch.stack([plain(layer=layer).mean() for layer in layers]),
            goal,
            0.1,
            turns=2,
            limit=forwards(model, images.repeat(16, 1, 1, 1), 2, layer=layers[-1]),
        )
    model, images, grid = discarded_networks()[TRAINED]
    yield Row(
        "information discarding of conv4 of it, one image, against the authors' descent until as large: 55 steps",
        lambda: discarding.strict_information_discarding(model, images[:1], "conv4", grid=grid, error=0.03).mean,
        partial(former.descended, model, images[:1], "conv4", grid=grid, steps=55),
        100,
        0.01,
        turns=2,
        limit=forwards(model, images[:1].repeat(16, 1, 1, 1), 4, layer="conv4"),
    )

    def columns():
        with activations.upto(net, "conv4") as run:
            J = torch.autograd.functional.jacobian(lambda image: run(image).flatten(), x[:1])
        return J.square().sum((0, 1, 2)).view(6, 2, 6, 2).sum((1, 3)).mean().sqrt()

    def cotangents():
        return discarding.sensitivity(net, x[:1], "conv4", grid=6).square().mean().sqrt()

    yield Row("sensitivities from 128 cotangents against the Jacobian, one image", cotangents, columns, 3, 0.3)


UNTRAINED, TRAINED = "untrained resnet18, an image of 64 px", "VGG trained on CIFAR-10, 8 images"
DISCARDING = (
    (UNTRAINED, ["layer1", "layer2", "layer3", "layer4"], 0.01, 20),
    (TRAINED, ["conv2", "conv4"], 0.02, 20),
    (TRAINED, ["fc1"], 0.025, 8),
)


@cache
def discarded_networks() -> dict[str, tuple[nn.Module, torch.Tensor, int]]:
    """Name -> network, images and grid."""
    sizes = {"n_train": 3000, "n_test": 449, "width": 8, "grid": 16, "epochs": 3}
    record = study.Network(data="cifar10", clutter=False, padding="zeros", **sizes)
    trained, x = study.train(record, "trained", 0).requires_grad_(False), study.images(record, 0).test.x[:8]
    large = nn.functional.interpolate(x[:1], size=64, mode="bilinear").clamp(0, 1)
    return {TRAINED: (trained, x, 16), UNTRAINED: (resnet18(), large, 16)}


def resnet18() -> nn.Module:
    """Torchvision's, untrained."""
    torch.manual_seed(0)
    return torchvision.models.resnet18().eval().requires_grad_(False)


def discarding_errors() -> Iterator[tuple[str, str, float, float, float, float]]:
    """(What, layer, error asked for, rms error and bias in bits, rms of errors over stated ones)."""
    for (name, layers, error, _), seeds in zip(DISCARDING, (12, 3, 3), strict=True):
        model, images, grid = discarded_networks()[name]
        samples = 1024 if name == UNTRAINED else 4096
        found = former.errors(model, images, layers, grid=grid, error=error, seeds=seeds, samples=samples)
        yield from ((name, layer, error, *numbers) for layer, *numbers in found)


def closed_forms() -> Iterator[tuple[str, float, list[float]]]:
    """(What, truth in bits, estimates): one estimate where the answer is exact, 20 seeds where it is sampled."""
    histogram = torch.tensor([10, 20, 34]) / 64
    y = torch.arange(3).repeat_interleave(torch.tensor([10, 20, 34]))
    for alpha in (0.5, 1, 1.01, 2, float("inf")):
        exact = _renyi(histogram.double(), alpha)
        yield (
            f"S(Y), classes of 10, 20, 34, α = {alpha:g}",
            exact,
            [float(renyi.entropy(renyi.label_gram(y), alpha=alpha))],
        )
    circle = torch.arange(64).double() * 2 * np.pi / 64
    points = renyi.gram(torch.stack([circle.cos(), circle.sin()], 1), width=0.5)
    spectrum = torch.fft.fft(points[0]).real  # a circulant matrix has the eigenvalues of its first row's transform
    for alpha in (1, 1.01):
        exact = _renyi(spectrum.clamp(min=0), alpha)
        yield f"S of 64 points on a circle, α = {alpha:g}", exact, [float(renyi.entropy(points, alpha=alpha))]
    u = torch.tensor([0] * 16 + list(range(1, 17)))
    negative = renyi.mutual_information(renyi.label_gram(u), renyi.label_gram(u.flip(0)), alpha=2)
    yield "I of two partitions, α = 2", -2 * np.log2(0.5**2 + 16 / 32**2) - 5, [float(negative)]
    x = [truth.SparseNormal().sample(1000, seed)[0] for seed in range(20)]
    yield (
        "S of N(0, 1), width 1, α = 1, n = 1,000",
        1.552372,
        [float(renyi.entropy(renyi.gram(v, width=1.0), alpha=1)) for v in x],
    )
    codes, labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    yield "I of 4 symbols with 2 classes", 1.0, [float(discrete.mutual_information(codes, labels))]
    detector, ten = (torch.arange(10) == 3).long(), torch.arange(10)
    yield "KL selectivity of a one-class detector", float(np.log2(10)), [float(discrete.kl_selectivity(detector, ten))]
    channel = truth.symmetric_channel(4, 0.2)
    corrected = [
        float(discrete.mutual_information(*channel.sample(1000, seed), correction="miller-madow")) for seed in range(20)
    ]
    yield "I of a symmetric channel, Miller–Madow, n = 1,000", channel.mutual_information(), corrected
    for distribution in (truth.SparseNormal(correlation=0.75), truth.DenseNormal(2, 2, 0.5), truth.UniformNoise(0.5)):
        for estimator in (1, 2):
            values = [
                float(knn.mutual_information(*distribution.sample(1000, s), estimator=estimator)) for s in range(20)
            ]
            yield f"I by Kraskov {estimator}, {distribution}, n = 1,000", distribution.mutual_information(), values


def _renyi(p: torch.Tensor, alpha: float) -> float:
    """Rényi entropy of probabilities, from its definition."""
    p = p[p > 0]
    if alpha == 1:
        return float(-(p * p.log2()).sum())
    return float(-p.max().log2() if alpha == float("inf") else (p**alpha).sum().log2() / (1 - alpha))


def coverage(trials: int = 300) -> Iterator[tuple[str, int, float]]:
    """(Estimator, n, the fraction of intervals that hold its expectation)."""
    channel, normal = truth.symmetric_channel(4, 0.2), truth.SparseNormal()

    def matrix_based(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return renyi.mutual_information(renyi.gram(x, width=0.5), renyi.gram(y, width=0.5))

    cases = [("plug-in I of a symmetric channel", channel, discrete.mutual_information)]
    cases += [("I by Kraskov 1 of a normal pair", normal, knn.mutual_information)]
    cases += [("matrix-based I of a normal pair, width 0.5, α = 1.01", normal, matrix_based)]
    for n, (name, source, estimator) in product((100, 400), cases):
        expectation = np.mean([float(estimator(*source.sample(n, trials + i))) for i in range(3 * trials)])
        ends = [subsampling_interval(estimator, *source.sample(n, i), n_subsamples=30, seed=i) for i in range(trials)]
        yield name, n, sum(bool(low <= expectation <= high) for low, high in ends) / trials


def stated_errors(draws: int = 100, n: int = 2000) -> Iterator[tuple[str, float, float, int]]:
    """(What, bias and rms error in bits, how many of the draws hold the exact value within two standard errors).

    Of entropies by quadrature at n = 2,000, where all eigenvalues give the exact value.
    """
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(n, 20, generator=generator, dtype=torch.float64) / torch.arange(1, 21)
    layer = torch.randn(n, 60, generator=generator, dtype=torch.float64).relu()
    for what, x, width in (("features that shrink", inputs, 1.0), ("60 rectified features of one scale", layer, 3.0)):
        exact = renyi.entropy(renyi.gram(x, width=width))
        found = [lanczos.entropy(x, width=width, exact=0, seed=seed) for seed in range(draws)]
        errors = torch.stack([e.value for e in found]) - exact
        held = errors.abs() <= 2 * torch.stack([e.standard_error for e in found])
        name = f"{what}, S = {float(exact):.2f} of {np.log2(n):.2f} bits"
        yield name, float(errors.mean()), float(errors.square().mean().sqrt()), int(held.sum())
