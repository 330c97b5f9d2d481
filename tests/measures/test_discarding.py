import copy
import inspect
import math

import pytest
import torch
from torch import nn

from infolib.measures import discarding
from infolib.measures.discarding import constrained
from workbook import models, techniques
from workbook.experiments import nb05_information_discarding as study

FLOOR = math.log2(0.01 * math.sqrt(1.5)) + 0.5 * math.log2(2 * math.pi * math.e)  # -4.3043 bits, -2.9835 nats
NATS = math.log(2)
GREY = torch.full((2, 1, 8, 8), 0.5, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Elementwise(nn.Module):
    """Any function as a network of one layer, `h`."""

    def __init__(self, function):
        super().__init__()
        self.h, self.function = nn.Identity(), function

    def forward(self, x):
        return self.h(self.function(x))


def linear(*weights):
    """Layers named 1, 2, ...; their weights, without biases."""
    modules = [nn.Flatten()]
    for weight in weights:
        modules.append(nn.Linear(weight.shape[1], weight.shape[0], bias=False).double())
        modules[-1].weight = nn.Parameter(weight)
    return nn.Sequential(*modules).eval()


def small_net():
    """A VGG with random weights, its batch normalisation set by a pass over noise."""
    net = models.vgg6(width=2, in_shape=(1, 8, 8), seed=0).double()
    net(uniform(64, 1, 8, 8, seed=3))
    return net.eval()


def discarded(model, layer="1", x=GREY, **options):
    options = {"grid": 8, "rectify": False} | options
    return discarding.strict_information_discarding(model, x, layer, **options)


def problem(model, x=GREY, *, grid=8, rectify=False, sigma0=0.01, alpha=1.5):
    """Of a model whose output is the layer."""
    features = (lambda x: model(x).relu()) if rectify else model
    with torch.no_grad():
        return constrained.Problem(features, x, features(x), grid, sigma0, alpha)


def exact(p):
    """Samples ± sqrt(pixels) e_i of noise, whose second moments are exact, and the distances at σ0 under them."""
    pixels = p.x[0].numel()
    noise = math.sqrt(pixels) * torch.eye(pixels, dtype=p.x.dtype).view(pixels, *p.x.shape[1:])
    noise = torch.cat([noise, -noise]).expand(len(p.x), -1, -1, -1, -1)
    return noise, p.changes(p.level(), noise)


def scaled(p, theta):
    """θ at F = alpha of a linear layer, exactly."""
    noise, base = exact(p)
    above, _ = constrained.probe(p, theta, noise, base)
    return theta - above[:, None, None] / 2


def cells(a, grid):
    side = round(len(a) ** 0.5)
    return a.view(grid, side // grid, grid, side // grid).sum((1, 3))


def closed(a, *, alpha=1.5, sigma0=0.01):
    """σ and mean entropy of the constrained optimum of a linear layer with sensitivities a (grid, grid)."""
    sigma = (alpha * sigma0**2 * a.mean() / a).sqrt()
    return sigma, (0.5 * torch.log2(2 * math.pi * math.e * sigma**2)).mean()


def mean_entropy(theta):
    """Mean over cells, in bits, of normal noise of σ = exp(θ)."""
    return (theta / NATS + 0.5 * math.log2(2 * math.pi * math.e)).mean((1, 2))


UNEQUAL = normal(40, 64) * torch.logspace(-0.75, 0.75, 64, dtype=torch.float64)  # columns' norms span a factor 30

# linear layers, where everything is known


@pytest.mark.parametrize("alpha", [1.5, 3.0])
def test_at_the_optimum_every_cell_has_the_same_slope_and_all_together_two(alpha):  # T1
    p = problem(linear(UNEQUAL), alpha=alpha)
    noise, base = exact(p)
    theta = closed(cells(UNEQUAL.square().sum(0), 8), alpha=alpha)[0].log().expand(2, 8, 8)
    above, slopes = constrained.probe(p, theta, noise, base)
    assert above.tolist() == pytest.approx([0, 0])
    torch.testing.assert_close(slopes.mean(1), torch.full_like(theta, 2 / 64))


@pytest.mark.parametrize("grid", [8, 4])
def test_exact_noise_gives_the_closed_form(grid):  # T2 and T3
    p = problem(linear(UNEQUAL), grid=grid)
    a = cells(UNEQUAL.square().sum(0), grid)
    sigma, mean = closed(a)
    found = scaled(p, sigma.log().expand(2, grid, grid) + 1)  # any common factor
    torch.testing.assert_close(found.exp(), sigma.expand(2, grid, grid))
    assert mean_entropy(found).tolist() == pytest.approx([float(mean)] * 2)
    assert float(mean) == pytest.approx(FLOOR + 0.5 * math.log2(a.mean() / a.log().mean().exp()))
    flat = scaled(p, torch.zeros(2, grid, grid, dtype=torch.float64))
    torch.testing.assert_close(flat.exp(), torch.full_like(flat, 0.01 * math.sqrt(1.5)))


@pytest.mark.parametrize("method", ["certified", "closed_form"])
def test_both_methods_find_the_closed_form_of_a_linear_layer(method):
    sigma, mean = closed(cells(UNEQUAL.square().sum(0), 8))
    d = discarded(linear(UNEQUAL), method=method, error=0.01)
    assert float(mean) - FLOOR > 1.0
    assert d.mean.tolist() == pytest.approx([float(mean)] * 2, abs=0.05)
    assert (d.mean <= mean + 3 * d.mean_error).all()
    assert (d.sigma.log() - sigma.log()).std() < 0.15
    assert d.ratio.tolist() == pytest.approx([1.5, 1.5], abs=1e-9)
    assert d.reached.all()
    assert (d.capped == 0).all()


def test_the_optimiser_finds_what_the_jacobian_does_not_see():
    """In half the cells t + c t³, with E = s² + 6 c s⁴ + 15 c² s⁶; the others are linear."""
    bent = torch.zeros(64, 64, dtype=torch.float64)
    bent[:, :32] = 3e4
    net = Elementwise(lambda x: (x - 0.5) + bent * (x - 0.5) ** 3).eval()
    x = torch.full((3, 1, 64, 64), 0.5, dtype=torch.float64)
    x[1:] += torch.tensor([1e-7, 2e-7]).view(2, 1, 1, 1)  # other noise
    found, start = (discarded(net, "h", x, grid=4, steps=steps) for steps in (20, 0))
    assert set(start.kept.tolist()) <= {0, 1}
    assert (found.kept == 2).all()
    # In units of 1e-4, with σ² = u and v: the greatest u v of bend(u) + v = 1.5 (bend(1) + 1)
    bend = lambda u: u + 18 * u**2 + 135 * u**3  # noqa: E731
    u = torch.linspace(0.01, 1.4, 100_000, dtype=torch.float64)
    v = 1.5 * (bend(1) + 1) - bend(u)
    best = float(0.25 * torch.log2(u * v)[v > 0].max() + FLOOR - 0.5 * math.log2(1.5))
    assert found.mean.tolist() == pytest.approx([best] * 3, abs=0.1)  # it stops where 0.04 bits are promised
    assert (found.mean < best + 3 * found.mean_error).all()
    assert found.mean.mean() > start.mean.mean() + 0.05


@pytest.mark.parametrize("weight", [torch.eye(64, dtype=torch.float64), torch.linalg.qr(normal(64, 64)).Q], ids=str)
def test_a_layer_that_treats_all_pixels_alike_has_the_floor(weight):  # T3
    flat = scaled(problem(linear(weight)), torch.zeros(2, 8, 8, dtype=torch.float64))
    assert mean_entropy(flat).tolist() == pytest.approx([FLOOR] * 2)
    assert pytest.approx(-2.98350, abs=1e-5) == FLOOR * NATS
    assert discarded(linear(weight)).mean.tolist() == pytest.approx([FLOOR] * 2, abs=0.03)


def test_two_kinds_of_cells():  # T5
    r, p = 100.0, 0.25
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[2:6, 2:6] = True
    weight = torch.diag(torch.where(inside.flatten(), math.sqrt(r), 1.0).double())
    expected = FLOOR + 0.5 * (math.log2(p * r + 1 - p) - p * math.log2(r))
    assert expected * NATS == pytest.approx(-1.93493, abs=1e-5)
    d = discarded(linear(weight), method="closed_form", error=0.01)
    assert d.mean.tolist() == pytest.approx([expected] * 2, abs=0.06)
    rho = discarding.concentration(d.entropy, inside)
    assert rho.tolist() == pytest.approx([0.5 * math.log2(r)] * 2, abs=0.06)


def test_dead_cells_stay_at_the_largest_noise_and_are_counted():  # T6
    weight = torch.diag(torch.tensor([1, 1, 1, 1e-9], dtype=torch.float64).sqrt())
    x = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)
    # F counts the last cell too: 3 s² + 1e-9 = 1.5 · (3 + 1e-9) · 1e-4
    live = math.sqrt((1.5e-4 * (3 + 1e-9) - 1e-9) / 3)
    assert live == pytest.approx(0.01225, abs=1e-5)
    expected = (2.0471 + 3 * (math.log2(live) + 2.0471)) / 4
    d = discarded(linear(weight), x=x, grid=2)
    assert d.sigma.flatten()[3] == 1
    assert d.capped.tolist() == [0.25]
    assert d.reached.all()
    assert d.mean.tolist() == pytest.approx([expected], abs=0.1)
    given = discarding.certify(linear(weight), x, "1", torch.tensor([[[0.1, 0.1], [0.1, 1e4]]]), rectify=False)
    assert given.capped.tolist() == [0.25]
    assert given.mean.tolist() == pytest.approx([expected], abs=1e-4)


def test_composition_can_lower_it():  # T11: no data processing inequality, and no running maximum
    spread = torch.diag(torch.tensor([1.0, 10.0], dtype=torch.float64).repeat(32))
    net = linear(spread, torch.linalg.inv(spread))
    first, second = (discarded(net, layer, method="closed_form", error=0.01).mean for layer in ("1", "2"))
    expected = FLOOR + 0.5 * math.log2(50.5 / 10)
    assert expected * NATS == pytest.approx(-2.1738, abs=1e-4)
    assert first.tolist() == pytest.approx([expected] * 2, abs=0.06)
    assert second.tolist() == pytest.approx([FLOOR] * 2, abs=0.06)


# units that are not linear: F by integration


def phi(t):
    return math.exp(-t * t / 2) / math.sqrt(2 * math.pi)


def Phi(t):
    return 0.5 * (1 + math.erf(t / math.sqrt(2)))


@pytest.mark.parametrize(
    ("u", "s", "printed"),
    [(1, 0.3, 0.08993), (0.5, 1, 0.59256), (2, 2, 3.03212), (-0.5, 1, 0.20964), (0, 1, 0.5)],
)
def test_distance_of_a_relu_unit(u, s, printed):  # T7
    t = u / s
    truth = s**2 * (Phi(t) - t * phi(t)) + u**2 * Phi(-t) if u >= 0 else (u**2 + s**2) * Phi(t) + u * s * phi(t)
    assert truth == pytest.approx(printed, abs=1e-5)
    net, x = Elementwise(lambda x: x - 0.5 + u / 10).eval(), torch.full((1, 1, 100, 100), 0.5, dtype=torch.float64)
    p = problem(net, x, grid=1, rectify=True, sigma0=s / 10)
    base = p.changes(p.level(), constrained.Noise(x, 0, "search").draw(104))
    assert 100 * base.mean().item() == pytest.approx(truth, rel=0.01)


@pytest.mark.parametrize(("a", "s"), [(0.3, 0.5), (1.2, 1.0)])
def test_distance_of_a_sine_unit(a, s):  # T8
    truth = 0.5 - 0.5 * math.cos(2 * a) * math.exp(-2 * s**2)
    truth += math.sin(a) ** 2 - 2 * math.sin(a) ** 2 * math.exp(-(s**2) / 2)
    net, x = Elementwise(lambda x: (x - 0.5 + a).sin()).eval(), torch.full((1, 1, 100, 100), 0.5, dtype=torch.float64)
    p = problem(net, x, grid=1, sigma0=float(s))
    base = p.changes(p.level(), constrained.Noise(x, 0, "search").draw(104))
    assert base.mean().item() == pytest.approx(truth, rel=0.01)


def test_sensitivities_are_unbiased_with_the_stated_spread():  # T9
    weight = normal(5, 64, seed=1)
    truth = weight.square().sum(0)
    K, runs = 32, 40
    points = GREY[:1, None].expand(-1, K, -1, -1, -1)
    a = torch.stack([constrained.sensitivities(lambda x: x.flatten(1) @ weight.T, points, normal(K, 5, seed=seed), 8)
                     for seed in range(runs)])[:, 0].flatten(1)  # fmt: skip
    relative = a / truth
    assert relative.mean() == pytest.approx(1, abs=4 * math.sqrt(2 / K / runs))  # pixels are not independent
    assert relative.std(0).mean() == pytest.approx(math.sqrt(2 / K), rel=0.15)
    net = small_net()
    x = uniform(2, 1, 8, 8, seed=1)
    columns = torch.autograd.functional.jacobian(lambda x: net.conv2(net.conv1(x)).flatten(1).sum(0), x)  # (d, n, ...)
    exact = constrained.cell_sums(columns.square().sum((0, 2)), 4).sqrt()
    found = discarding.sensitivity(net, x, "conv2", grid=4, cotangents=1000)
    assert (found / exact - 1).abs().max() < 0.1


# what makes layers and networks comparable


@pytest.mark.parametrize("c", [8.0, 7.3, 1e-3])
@pytest.mark.parametrize("method", discarding.METHODS)
def test_a_scale_pair_changes_other_maps_but_not_this_one(c, method):  # T4
    x, grid = uniform(3, 1, 8, 8, seed=5), 4
    before, after = small_net(), small_net()
    with torch.no_grad():
        after.conv3.norm.weight.mul_(c)
        after.conv3.norm.bias.mul_(c)
        after.conv4.conv.weight.div_(c)
    torch.testing.assert_close(before(x), after(x))
    one, two = (discarded(net, "conv3", x, grid=grid, method=method, steps=20) for net in (before, after))
    torch.testing.assert_close(one.entropy, two.entropy, rtol=1e-4, atol=1e-4)
    assert one.entropy.std() > 0.01  # or the comparison would be empty
    for other in (discarding.sensitivity, discarding.jacobian, discarding.perturbation):
        torch.testing.assert_close(c * other(before, x, "conv3", grid=grid), other(after, x, "conv3", grid=grid))
    plain, scaled = (discarding.grad_cam(net, x, "conv3", grid=grid) for net in (before, after))
    torch.testing.assert_close(plain, scaled)  # weights shrink as the maps grow: here Grad-CAM is comparable


def test_the_table_of_comparability(net):
    louder = copy.deepcopy(net)
    louder.output.weight.data *= 10
    changed = {"pair": techniques.rescaled(net, "conv3", "conv4", 10.0), "same": net, "louder": louder}
    frame = discarding.comparability(net, changed, X, "conv3", grid=4).set_index("to")
    assert frame.loc["pair", ["jacobian", "sensitivity", "perturbation"]].tolist() == pytest.approx([1, 1, 1])
    assert frame["bits"].tolist() == pytest.approx([0] * 3, abs=1e-6)
    assert frame.loc["same"].tolist() == pytest.approx([0] * 5, abs=1e-9)
    assert frame["grad_cam"].tolist() == pytest.approx([0, 0, 1], abs=1e-6)
    assert frame.loc["louder", ["jacobian", "sensitivity", "perturbation"]].tolist() == [0] * 3
    flat = discarding.comparability(net, {"same": net}, X, "fc1", grid=4)
    assert flat["grad_cam"].isna().all()  # a layer without maps has no Grad-CAM
    assert flat["jacobian"].tolist() == [0]


def test_rotations_and_copies_of_features_change_nothing():  # T4
    sigma = uniform(2, 8, 8, seed=2) * 0.1 + 0.01
    rotated, copied = torch.linalg.qr(normal(40, 40)).Q @ UNEQUAL, torch.cat([UNEQUAL] * 3)
    plain, *others = (
        discarding.certify(linear(w), GREY, "1", sigma, rectify=False) for w in (UNEQUAL, rotated, copied)
    )
    assert (plain.mean - FLOOR).abs().min() > 0.1
    for other in others:
        torch.testing.assert_close(other.entropy, plain.entropy)


def test_scaling_the_input_does_change_it():
    shift = Elementwise(lambda x: (10 * x).sin()).eval()
    one, two = (discarded(net, "h", uniform(1, 1, 8, 8)).mean for net in (shift, Elementwise(torch.sin).eval()))
    assert (one - two).abs() > 0.05


# the certificate


@pytest.fixture(scope="module")
def net():
    return small_net()


X = uniform(4, 1, 8, 8, seed=7)


@pytest.mark.parametrize("layer", ["conv1", "conv4", "fc1"])
def test_certified_is_at_least_uniform_and_the_authors(net, layer):
    best = discarded(net, layer, X, grid=4, rectify=True)
    flat = discarding.certify(net, X, layer, torch.full((4, 4, 4), 0.01))
    authors = discarding.certify(net, X, layer, study.descent(net, X, layer, grid=4))
    for bound in (best, flat, authors):
        assert bound.ratio.tolist() == pytest.approx([1.5] * 4, abs=1e-6)
    assert (best.mean >= flat.mean - 3 * best.mean_error).all()
    assert (best.mean >= authors.mean - 3 * best.mean_error - 0.04).all()  # less is not worth a step of the optimiser
    assert best.mean.mean() > authors.mean.mean() - 0.01
    assert set(best.kept.tolist()) <= {0, 1, 2}
    assert (authors.kept == -1).all()


def above(model, layer, d, x, *, grid=4, rectify=False, samples=1024):
    """By how many bits the mean is too large, from F of its σ on fresh noise, and the slope of ln F there."""
    with constrained.tapped(model, [layer], x, rectify=rectify) as run, torch.no_grad():
        features = constrained.of_layer(run, layer)
        p = constrained.Problem(features, x, features(x), grid, 0.01, 1.5)
        noise, theta = constrained.Noise(x, 99, "fresh").draw(samples), d.sigma.log()
        base, here, more = (p.changes(t, noise).mean(1) for t in (p.level(), theta, theta + 0.05))
    return (here / base / 1.5).log() / ((more / here).log() / 0.05) / NATS


@pytest.mark.parametrize(("layer", "error"), [("conv4", 0.02), ("fc1", 0.05)])
def test_stated_errors_are_those_on_fresh_noise(net, layer, error):
    found = [discarded(net, layer, X, grid=4, error=error, seed=seed) for seed in range(10)]
    off = torch.stack([above(net, layer, d, X) for d in found])
    stated = torch.stack([d.mean_error for d in found])
    assert (stated <= error).all()
    assert (off / stated).square().mean().sqrt() < 1.25
    assert (off / stated).square().mean().sqrt() > 0.7
    assert off.mean().abs() < 0.25 * error


def test_samples_are_doubled_until_the_error_asked_for_is_met(net, monkeypatch):
    passed, draw = [], constrained.Noise.draw

    def counted(self, samples, which=None):
        passed.append((samples, None if which is None else list(which)))
        return draw(self, samples, which)

    monkeypatch.setattr(constrained.Noise, "draw", counted)
    monkeypatch.setattr(constrained, "VALUES", 64 * 8 * 4)  # eight samples in a pass
    totals = {}
    for error in (0.2, 0.02, 0.01):
        passed.clear()
        d = discarded(net, "conv4", X, grid=4, steps=0, error=error)
        assert (d.mean_error <= error).all()
        rounds = [(m, which) for m, which in passed if which is not None]
        totals[error] = [sum(m for m, which in rounds if i in which) for i in range(4)]
    assert totals[0.2] == [16] * 4
    assert all(total in {2**k for k in range(4, 13)} for error in totals for total in totals[error])
    assert sum(totals[0.01]) > sum(totals[0.02]) > 64
    assert len(set(totals[0.02] + totals[0.01])) > 1  # an image that is done draws no more


def test_an_error_that_is_not_met_is_told_and_leaves_no_number(net):
    how = {"grid": 4, "error": 1e-3, "samples": 100}
    with pytest.raises(
        ValueError, match=r"no standard error of error=0.001 bits within samples=100 at images \[0, 1, 2, 3\], but 0.0"
    ):
        discarded(net, "conv4", X, **how)
    with pytest.raises(ValueError, match=r"within samples=100 at images"):
        discarding.certify(net, X, "conv4", torch.ones(4, 4, 4), error=1e-3, samples=100)
    d = discarding.measured(net, X, ["conv4"], **how)["conv4"]
    for numbers in (d.entropy, d.sigma, d.mean, d.ratio, d.ratio_error, d.capped):
        assert numbers.isnan().all()
    assert (d.mean_error > 1e-3).all()
    assert (d.mean_error < 0.2).all()
    assert not d.reached.any()


def test_images_and_seeds_have_noise_of_their_own():
    streams = [constrained.Noise(X, seed, purpose).draw(8) for seed in (0, 1) for purpose in ("a", "b")]
    every = torch.stack(streams).flatten(0, 2).flatten(1)
    assert (torch.corrcoef(every) - torch.eye(len(every))).abs().max() < 0.7  # 64 values each
    assert every.mean().abs() < 0.02
    assert every.std().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(constrained.Noise(X[2:], 0, "a").draw(8), streams[0][2:])
    longer = constrained.Noise(X, 0, "a").draw(24, [1, 3])
    assert torch.equal(longer[:, :8], streams[0][[1, 3]])
    assert torch.equal(constrained.Noise(X.float(), 0, "a").draw(8).double(), streams[0])


def test_every_image_has_its_own_answer_whoever_is_measured_with_it(net):
    together = discarded(net, "conv3", X, grid=4, steps=10)
    alone = [discarded(net, "conv3", x[None], grid=4, steps=10) for x in X]
    torch.testing.assert_close(together.entropy, torch.cat([d.entropy for d in alone]))
    assert together.entropy.shape == (4, 4, 4)
    assert together.mean.unique().numel() == 4  # no row is left out, none is empty
    torch.testing.assert_close(together.mean, together.entropy.mean((1, 2)))


def test_parts_of_a_batch_do_not_show(net, monkeypatch):
    whole = discarded(net, "conv3", X, grid=4, steps=5)
    monkeypatch.setattr(constrained, "VALUES", 64 * 8 * 2)
    torch.testing.assert_close(discarded(net, "conv3", X, grid=4, steps=5).entropy, whole.entropy)
    certified = discarding.certify(net, X, "conv3", whole.sigma, rectify=False)
    assert (certified.mean - whole.mean).abs().max() < 0.01


def test_the_authors_selection_falls_below_the_floor_and_the_certificate_does_not():
    identity, x = linear(torch.eye(16, dtype=torch.float64)), GREY[:1, :, :4, :4]
    low = [mean_entropy(study.descent(identity, x, "1", grid=4, rectify=False, seed=s).log()) for s in range(20)]
    assert min(low) < FLOOR - 0.02
    for seed in range(5):
        d = discarded(identity, x=x, grid=4, seed=seed)
        assert d.mean >= FLOOR - 3 * d.mean_error - 1e-9


def test_deterministic_and_in_the_precision_of_the_model(net):
    one, two = (discarded(net, "conv2", X, grid=4, steps=5) for _ in range(2))
    assert torch.equal(one.entropy, two.entropy)
    assert one.entropy.dtype == torch.float64
    half = discarded(small_net().float(), "conv2", X, grid=4, steps=5)
    assert half.entropy.dtype == torch.float32
    torch.testing.assert_close(half.mean.double(), one.mean, rtol=0, atol=0.05)


# what is flagged


def test_a_layer_that_saturates_is_flagged():
    saturated = Elementwise(lambda x: (1e4 * (x - 0.5)).tanh()).eval()
    d = discarded(saturated, "h", grid=2, steps=3)
    assert not d.reached.any()
    assert (d.capped == 1).all()
    assert (d.ratio < 1.2).all()


def test_a_layer_that_does_not_move_is_refused():
    dead = linear(torch.zeros(3, 64, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"layer '1' does not move .* at images \[0, 1\]"):
        discarded(dead)
    with pytest.raises(ValueError, match="does not move"):
        discarded(linear(-torch.eye(64, dtype=torch.float64)), rectify=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": GREY + 0.6}, r"x must lie in \[0, 1\], got values from 1.1 to 1.1"),
        ({"x": GREY[0]}, "x must be images of shape"),
        ({"grid": 3}, "grid must divide the images' sides, 8 and 8, got 3"),
        ({"grid": 0}, "grid must be an integer of at least 1, got 0"),
        ({"layer": "nine"}, "unknown layer 'nine'"),
        ({"method": "best"}, "unknown method 'best'"),
        ({"alpha": 0}, "alpha must be positive and finite, got 0"),
        ({"sigma0": -1}, "sigma0 must be positive, got -1"),
        ({"samples": 15}, "samples must be an integer of at least 16, got 15"),
        ({"error": 0}, "error must be positive and finite, got 0"),
        ({"steps": -1}, "steps must be an integer of at least 0"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
    ],
    ids=str,
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        discarded(linear(UNEQUAL), **options)


def test_training_mode_is_refused():
    noisy = small_net()
    noisy.conv2.norm.train()
    for measure in (discarded, discarding.sensitivity, discarding.grad_cam):
        with pytest.raises(ValueError, match=r"model must be in eval mode, but conv2.norm is in training mode"):
            measure(noisy, layer="conv1", x=X, grid=4)


@pytest.mark.parametrize("sigma", [torch.zeros(2, 8, 8), torch.ones(2, 8, 4), torch.ones(3, 8, 8)], ids=str)
def test_certify_refuses_what_is_no_noise(sigma):
    with pytest.raises(ValueError, match=r"sigma must be positive, of shape \(2, grid, grid\)"):
        discarding.certify(linear(UNEQUAL), GREY, "1", sigma)


# several layers


def test_a_misspelt_option_of_several_layers_is_refused_before_the_first_is_measured():
    with pytest.raises(TypeError, match="unexpected keyword argument 'samplse'"):
        discarding.measured(None, None, ["conv1"], samplse=4)


def test_several_layers_take_every_option_of_one():
    several, one = (
        inspect.signature(f).parameters for f in (discarding.measured, discarding.strict_information_discarding)
    )
    assert {name: p.default for name, p in several.items() if name != "layers"} == {
        name: p.default for name, p in one.items() if name != "layer"
    }


def test_a_table_has_a_row_per_layer_and_image(net):
    options = {"grid": 4, "steps": 3, "error": 0.1}
    found = discarding.measured(net, X, ["conv1", "conv4"], **options)
    inside = torch.zeros(4, 4, dtype=torch.bool)
    inside[1:3, 1:3] = True
    frame = discarding.table(found, inside)
    d = discarding.strict_information_discarding(net, X, "conv4", **options)
    assert frame["layer"].tolist() == ["conv1"] * 4 + ["conv4"] * 4
    rows = frame[frame["layer"] == "conv4"]
    assert rows["image"].tolist() == [0, 1, 2, 3]
    assert rows["discarding"].tolist() == pytest.approx(d.mean.tolist())
    assert rows["concentration"].tolist() == pytest.approx(discarding.concentration(d.entropy, inside).tolist())
    assert rows["ratio"].tolist() == pytest.approx([1.5] * 4)
    assert "concentration" not in discarding.table(found)


def test_several_layers_are_measured_as_one_at_a_time_with_all_options(net):
    options = {"grid": 4, "steps": 3, "error": 0.1, "sigma0": 0.1, "rectify": False, "seed": 3}
    found = discarding.measured(net, X, ["conv4", "conv1"], **options)
    assert list(found) == ["conv4", "conv1"]
    for layer, d in found.items():
        alone = discarding.strict_information_discarding(net, X, layer, **options)
        assert all(torch.equal(one, other) for one, other in zip(d, alone, strict=True))


def test_images_that_a_dead_layer_does_not_see_are_flagged_among_several_layers():
    wary = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).eval().requires_grad_(False)
    wary[1].weight.copy_(torch.linspace(0.5, 1, 256).view(4, 64) / 64), wary[1].bias.fill_(-0.2)
    x = torch.stack([torch.full((1, 8, 8), level) for level in (0.0, 0.5, 0.1, 0.9)])
    options = {"grid": 4, "steps": 3, "error": 0.1}
    d = discarding.measured(wary, x, ["1"], **options)["1"]
    alive = discarding.strict_information_discarding(wary, x[[1, 3]], "1", **options)
    for all_images, some in zip(d, alive, strict=True):
        torch.testing.assert_close(all_images[[1, 3]], some, rtol=0, atol=1e-3)  # products round by the size of a batch
    assert d.reached.tolist() == [False, True, False, True]
    assert d.mean.isnan().tolist() == d.sigma.isnan().all(-1).all(-1).tolist() == [True, False, True, False]
    frame = discarding.table({"1": d}, torch.eye(4, dtype=torch.bool))
    assert frame["concentration"].isna().tolist() == [True, False, True, False]
    assert frame["concentration"][3] == pytest.approx(float(discarding.concentration(d.entropy[3], torch.eye(4) > 0)))
    nowhere = discarding.measured(wary, x[[0, 2]], ["1"], **options)["1"]
    assert nowhere.entropy.shape == (2, 4, 4)
    assert nowhere.entropy.isnan().all()
    assert not nowhere.reached.any()


def test_a_module_that_is_called_twice_has_a_layer_for_each_call():
    act, (one, two) = nn.ReLU(), (nn.Conv2d(1, 1, 3, padding=1).double() for _ in range(2))
    for conv in (one, two):
        nn.init.uniform_(conv.weight, 0, 1, generator=torch.Generator().manual_seed(0))
    shared = nn.Sequential(one, act, two, act).eval().requires_grad_(False)
    with pytest.raises(ValueError, match="layer '1' is called more than once in a forward pass; name one call"):
        discarded(shared, "1", X, grid=4)
    calls, before = (
        discarding.measured(shared, X, layers, grid=4, rectify=True, steps=0) for layers in (["1#1", "1#2"], ["0", "2"])
    )
    for call, layer in (("1#1", "0"), ("1#2", "2")):
        torch.testing.assert_close(calls[call].entropy, before[layer].entropy)
    assert (calls["1#1"].mean - calls["1#2"].mean).abs().min() > 1e-3


# concentration


def test_concentration_of_the_paper_box():
    entropy = torch.arange(72.0).view(2, 6, 6)
    inside = discarding.box(6)
    expected = [float(e[~inside].mean() - e[inside].mean()) for e in entropy + inside * 3]
    assert discarding.concentration(entropy + inside * 3, inside).tolist() == pytest.approx(expected)
    assert expected == pytest.approx([-3, -3])
    assert [int(discarding.box(g).sum()) for g in (6, 12, 14, 16)] == [16, 64, 81, 121]


@pytest.mark.parametrize("mask", [torch.ones(6, 6), torch.ones(5, 6, dtype=torch.bool), [[True]]], ids=str)
def test_concentration_refuses_what_is_no_mask(mask):
    with pytest.raises(ValueError, match="foreground must be boolean of shape"):
        discarding.concentration(torch.zeros(2, 6, 6), mask)


def test_concentration_needs_both_sides():
    with pytest.raises(ValueError, match="foreground must leave cells on either side"):
        discarding.concentration(torch.zeros(2, 6, 6), torch.ones(6, 6, dtype=torch.bool))


# reconstruction uncertainty


def reconstructed(weight, decoder, x=GREY, **options):
    options = {"grid": 8, "rectify": False} | options
    return discarding.reconstruction_uncertainty(linear(weight), x, "1", decoder, **options)


def test_uncertainty_of_a_linear_decoder():  # T10
    weight = normal(40, 64, seed=4)
    inverse = torch.linalg.pinv(weight)
    P = inverse @ weight
    r = reconstructed(weight, lambda f: (f @ inverse.T).view(-1, 1, 8, 8), torch.zeros(1, 1, 8, 8), sigma0=0.1)
    v = (P.square() @ r.sigma.flatten().square().double()).flatten()
    variance = 0.5 * torch.log2(2 * math.pi * math.e * v).mean()
    assert r.variance.item() == pytest.approx(float(variance), abs=0.05)
    lower = (0.5772156649 + math.log(2)) / 2 / NATS
    assert lower == pytest.approx(1.27036 / 2 / NATS, abs=1e-5)
    assert r.code.item() == pytest.approx(float(variance) - lower, abs=0.05)  # E ln z² = -1.27036
    assert r.unperturbed.item() == pytest.approx(0.5 * math.log2(1e-6))  # a perfect decoder at x = 0


def test_without_loss_the_uncertainty_is_the_noise():
    Q = torch.linalg.qr(normal(64, 64)).Q
    r = reconstructed(Q, lambda f: (f @ Q).view(-1, 1, 8, 8))
    d = discarding.certify(linear(Q), GREY, "1", r.sigma, rectify=False)
    assert r.variance.tolist() == pytest.approx(d.mean.tolist(), abs=0.02)
    assert r.ratio.tolist() == pytest.approx([1.5] * 2, abs=1e-6)
    assert r.reached.all()


def test_uncertainty_is_that_of_the_better_noise():
    half = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64).repeat(32))
    r = reconstructed(half, lambda f: f.view(-1, 1, 8, 8), torch.zeros(1, 1, 8, 8))
    # σ3 = s / 3 and σ1 = s: both cells leave the same log, with s² = 1.5 (9 + 1) / 2 σ0²
    expected = 0.5 * math.log2(2 * math.pi * math.e * 7.5e-4)
    assert r.variance.item() == pytest.approx(expected, abs=0.03)
    assert r.code.item() == pytest.approx(expected - (0.5772156649 + math.log(2)) / 2 / NATS, abs=0.05)
    ratio = r.sigma.flatten()[1::2].log().mean() - r.sigma.flatten()[::2].log().mean()
    assert ratio.item() == pytest.approx(math.log(3), abs=0.1)
    assert r.ratio.item() == pytest.approx(1.5, abs=1e-6)


def test_no_form_of_uncertainty_is_infinite():
    weight, least = torch.eye(64, dtype=torch.float64), 0.5 * math.log2(1e-6)
    r = reconstructed(
        weight, lambda f: torch.full((len(f), 1, 8, 8), 0.5, dtype=torch.float64)
    )  # the image, whatever f
    for form in (r.code, r.unperturbed, r.variance):
        assert form.tolist() == pytest.approx([least] * 2)


def test_a_bad_decoder_counts_without_any_noise():
    r = reconstructed(torch.eye(64, dtype=torch.float64), lambda f: torch.zeros(len(f), 1, 8, 8).double())
    assert r.unperturbed.tolist() == pytest.approx([0.5 * math.log2(2 * math.pi * math.e / 4)] * 2, abs=1e-5)
    assert r.code.tolist() == pytest.approx(r.unperturbed.tolist())


def test_a_decoder_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"decoder must return \(1, 8, 8\) per image, got \(64,\)"):
        reconstructed(torch.eye(64, dtype=torch.float64), lambda f: f)


# the maps of others


def test_signs_cancel_in_the_authors_map_and_not_in_the_sensitivity():
    weight = torch.cat([UNEQUAL, -UNEQUAL])
    assert discarding.jacobian(linear(weight), GREY, "1", grid=8, rectify=False).abs().max() < 1e-12
    found = discarding.sensitivity(linear(weight), GREY, "1", grid=8, rectify=False, cotangents=2000)
    truth = (2 * UNEQUAL.square().sum(0)).sqrt().view(8, 8)
    assert (found / truth - 1).abs().max() < 0.12


def test_jacobian_and_perturbation_of_a_linear_layer():
    weight, x = UNEQUAL, uniform(2, 1, 8, 8)
    expected = cells(weight.sum(0).abs(), 4) / 4  # mean over the four pixels of a cell
    found = discarding.jacobian(linear(weight), x, "1", grid=4, rectify=False)
    torch.testing.assert_close(found, expected.expand(2, 4, 4))
    change = torch.zeros(64, dtype=torch.float64)
    change.view(8, 8)[2:4, 4:6] = x[1].mean() - x[1, 0, 2:4, 4:6]
    found = discarding.perturbation(linear(weight), x, "1", grid=4, rectify=False)
    torch.testing.assert_close(found[1, 1, 2], (weight @ change).norm())


def test_grad_cam_of_a_network_that_averages_its_maps():
    conv = nn.Conv2d(1, 2, 1, bias=False).double()
    conv.weight = nn.Parameter(torch.tensor([1.0, -1.0], dtype=torch.float64).view(2, 1, 1, 1))
    head = nn.Linear(2, 2, bias=False).double()
    head.weight = nn.Parameter(torch.tensor([[3.0, 1.0], [0.0, 0.0]], dtype=torch.float64))
    net = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
    x = uniform(1, 1, 8, 8)
    heat = discarding.grad_cam(net, x, "0", grid=4)
    pooled = nn.functional.avg_pool2d(x, 2)[:, 0]
    torch.testing.assert_close(heat, (3 - 1) / 64 * pooled)
    with pytest.raises(ValueError, match="Grad-CAM needs a layer with maps"):
        discarding.grad_cam(net, x, "3", grid=4)
    assert discarding.grad_cam(small_net(), X, "conv5", grid=4).shape == (4, 4, 4)
