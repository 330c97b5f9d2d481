import math
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import forward_ad

from infolib.estimators import renyi

ALPHAS = [0.5, 1, 1.01, 2, 5, math.inf]
SIZES = torch.tensor([10, 20, 34])


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(n, *, seed, width=1.0, d=2):
    return renyi.gram(normal(n, d, seed=seed), width=width)


def by_definition(A, alpha):
    p = np.linalg.eigvalsh(A.numpy())
    p = p[p > 1e-15]
    if alpha == 1:
        return -(p * np.log2(p)).sum()
    return -np.log2(p.max()) if math.isinf(alpha) else np.log2((p**alpha).sum()) / (1 - alpha)


def indicators(*columns):
    return [renyi.label_gram(column) for column in columns]


# by hand and closed form


@pytest.mark.parametrize("alpha", ALPHAS)
def test_identical_samples_have_no_entropy_and_unrelated_ones_the_most(alpha):
    tolerance = 1e-6 if alpha < 1 else 1e-9  # the root of null eigenvalues
    identical = renyi.gram(torch.full((64, 3), 0.1, dtype=torch.float64), width=0.1)
    assert renyi.entropy(identical, alpha=alpha).item() == pytest.approx(0, abs=tolerance)
    assert renyi.entropy(torch.eye(64) / 64, alpha=alpha).item() == pytest.approx(6, abs=1e-6)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_label_gram_has_the_renyi_entropy_of_the_class_histogram(alpha):
    y = torch.repeat_interleave(torch.tensor([7, -1, 3]), SIZES)
    expected = by_definition(torch.diag(SIZES / 64).double(), alpha)
    assert renyi.label_entropy(y, alpha=alpha).item() == pytest.approx(expected, abs=1e-12)
    tolerance = 1e-6 if alpha < 1 else 1e-9
    assert renyi.entropy(renyi.label_gram(y), alpha=alpha).item() == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(("alpha", "bits"), [(1, 0.8112781245), (2, 0.6780719051)])
def test_two_clusters_of_16_and_48(alpha, bits):
    x = torch.repeat_interleave(torch.tensor([0.0, 1e6]).double(), torch.tensor([16, 48]))
    assert renyi.entropy(renyi.gram(x, width=1.0), alpha=alpha).item() == pytest.approx(bits, abs=1e-6)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", [2, 9])
def test_equicorrelated_samples(n, alpha):
    c = 0.3
    A = torch.full((n, n), c / n, dtype=torch.float64).fill_diagonal_(1 / n)
    spectrum = torch.tensor([(1 + (n - 1) * c) / n] + [(1 - c) / n] * (n - 1), dtype=torch.float64)
    assert renyi.entropy(A, alpha=alpha).item() == pytest.approx(by_definition(torch.diag(spectrum), alpha), abs=1e-9)


def test_points_on_a_circle_have_the_spectrum_of_a_circulant():
    angle = torch.arange(32, dtype=torch.float64) * 2 * math.pi / 32
    A = renyi.gram(torch.stack([angle.cos(), angle.sin()], dim=1), width=0.4)
    spectrum = torch.fft.fft(A[0]).real
    assert renyi.entropy(A, alpha=1).item() == pytest.approx(by_definition(torch.diag(spectrum), 1), abs=1e-9)


@pytest.mark.parametrize(("alpha", "bits"), [(1, 1.552372), (2, 1.160964)])
@pytest.mark.parametrize("d", [1, 2])
def test_normal_samples_approach_the_population_limit(alpha, bits, d):
    # s = w = 1: eigenvalues (1 - q) q^k with q = 0.381966; independent coordinates multiply spectra
    A = gaussian(1500, seed=0, d=d)
    assert renyi.entropy(A, alpha=alpha).item() == pytest.approx(d * bits, abs=0.03 * d)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_every_pair_once_has_no_information(alpha):
    i, j = torch.cartesian_prod(torch.arange(5), torch.arange(6)).T
    A, B = renyi.gram(normal(5)[i], width=0.7), renyi.gram(normal(6, seed=1)[j], width=0.7)
    assert renyi.mutual_information(A, B, alpha=alpha).item() == pytest.approx(0, abs=1e-6 if alpha < 1 else 1e-9)
    assert renyi.entropy(A, alpha=alpha) > 0.5


@pytest.mark.parametrize(
    ("t1", "t2", "x", "bits", "redundancy_synergy", "non_redundant"),
    [
        pytest.param([0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0], 1, -1, 2, id="xor"),
        pytest.param([0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], 1, 1, 0, id="copy"),
        pytest.param([0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 1, 1], 1, 0, 1, id="unique"),
        pytest.param([0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 2, 3], 2, 0, 2, id="both"),
        pytest.param([0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1], 0.811278, -0.188722, 1, id="and"),
    ],
)
def test_indicator_kernels_give_the_discrete_decomposition(t1, t2, x, bits, redundancy_synergy, non_redundant):
    A1, A2, X = indicators(t1, t2, x)
    pair = renyi.mutual_information(X, [A1, A2], alpha=1)
    one, two = renyi.mutual_information(X, A1, alpha=1), renyi.mutual_information(X, A2, alpha=1)
    values = torch.stack([pair, one + two - pair, 2 * pair - one - two])
    assert values.tolist() == pytest.approx([bits, redundancy_synergy, non_redundant], abs=1e-6)


def test_total_correlations_of_a_parity_and_of_three_copies():
    parity, copies = indicators([0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0]), indicators([0, 0, 1, 1]) * 3
    for grams, total, dual in [(parity, 1, 2), (copies, 2, 1)]:
        assert renyi.total_correlation(*grams, alpha=1).item() == pytest.approx(total, abs=1e-9)
        assert renyi.dual_total_correlation(*grams, alpha=1).item() == pytest.approx(dual, abs=1e-9)


def test_coarser_symbols_keep_less():
    x = torch.arange(16)
    X, T1, T2 = indicators(x, x // 2, x // 4)
    first, second = (renyi.mutual_information(X, T, alpha=1).item() for T in (T1, T2))
    assert (first, second) == (pytest.approx(3, abs=1e-9), pytest.approx(2, abs=1e-9))


def test_mutual_information_of_order_2_can_be_negative():
    m = 16  # so S(A) + S(B) >= S(A, B) is no theorem for alpha other than 1, and nothing is clipped
    A, B = indicators([0] * m + list(range(1, m + 1)), list(range(1, m + 1)) + [0] * m)
    assert renyi.mutual_information(A, B, alpha=2).item() == pytest.approx(-1.174926, abs=1e-6)
    assert renyi.mutual_information(A, B, alpha=1).item() == pytest.approx(1, abs=1e-9)


# theorems

grams = st.tuples(st.integers(4, 12), st.integers(0, 10**6), st.sampled_from([0.2, 1.0, 4.0]))
few = settings(max_examples=25, deadline=None)


@few
@given(grams, st.sampled_from(ALPHAS))
def test_entropy_lies_between_0_and_log_n_and_joints_above_their_parts(case, alpha):
    n, seed, width = case
    A, B = gaussian(n, seed=seed, width=width), gaussian(n, seed=seed + 1)
    joint = renyi.joint_entropy(A, B, alpha=alpha)
    assert -1e-6 <= renyi.entropy(A, alpha=alpha) <= math.log2(n) + 1e-6
    assert joint >= max(renyi.entropy(A, alpha=alpha), renyi.entropy(B, alpha=alpha)) - 1e-6


@few
@given(grams)
def test_information_is_non_negative_and_obeys_the_chain_rule_at_order_1(case):
    n, seed, width = case
    A, B, C = gaussian(n, seed=seed, width=width), gaussian(n, seed=seed + 1), gaussian(n, seed=seed + 2)
    conditional = renyi.conditional_mutual_information(A, B, C, alpha=1)
    assert renyi.mutual_information(A, B, alpha=1) >= -1e-9
    assert conditional >= -1e-9
    chain = renyi.mutual_information(A, C, alpha=1) + conditional
    assert renyi.mutual_information(A, [B, C], alpha=1).item() == pytest.approx(chain.item(), abs=1e-9)
    loss = renyi.entropy(A, alpha=1) - renyi.conditional_entropy(A, B, alpha=1)
    assert renyi.mutual_information(A, B, alpha=1).item() == pytest.approx(loss.item(), abs=1e-9)


@few
@given(grams, st.sampled_from(ALPHAS))
def test_entropy_falls_with_the_order_and_with_the_width(case, alpha):
    n, seed, width = case
    x = normal(n, 2, seed=seed)
    by_width = renyi.entropy(renyi.gram(x, width=torch.tensor([width, 1.5 * width, 3 * width])), alpha=alpha)
    assert (by_width.diff() <= 1e-6).all()
    assert renyi.entropy(renyi.gram(x, width=width), alpha=alpha + 0.2) <= by_width[0] + 1e-6


@pytest.mark.parametrize("alpha", [1, 1.01, 2, 5, math.inf])
def test_entropy_ignores_order_position_rotation_and_repetition(alpha):
    x = normal(20, 3)
    rotation = torch.linalg.qr(normal(3, 3, seed=1)).Q
    variants = [x, x.flip(0), x + 100, x @ rotation, x.repeat(3, 1)]
    values = [renyi.entropy(renyi.gram(variant, width=1.0), alpha=alpha).item() for variant in variants]
    assert values == pytest.approx([values[0]] * 5, abs=1e-9)
    assert values[0] > 1


def test_narrow_kernels_tell_all_samples_apart_and_wide_ones_none():
    x, t = normal(32, 2), normal(32, 2, seed=1)
    for width, bits in [(1e-170, 5), (1e-3, 5), (1e6, 0), (math.inf, 0)]:
        A, B = renyi.gram(x, width=width), renyi.gram(t, width=width)
        assert renyi.entropy(A).item() == pytest.approx(bits, abs=1e-6)
        assert renyi.mutual_information(A, B).item() == pytest.approx(bits, abs=1e-6)
    B = renyi.gram(t, width=1.0)
    saturated = renyi.mutual_information(torch.eye(32, dtype=torch.float64) / 32, B)
    assert saturated.item() == pytest.approx(renyi.entropy(B).item(), abs=1e-9)  # I(X;T) = S(T)


def test_tensor_kernel_is_the_hadamard_product_of_channel_kernels():
    x = normal(12, 5, 2, 3)
    channels = renyi.channel_grams(x, width=2.0)
    torch.testing.assert_close(channels[3], renyi.gram(x[:, 3], width=2.0))
    torch.testing.assert_close(12**4 * channels.prod(0), renyi.gram(x, width=2.0))
    whole = renyi.entropy(renyi.gram(x, width=2.0))
    assert renyi.joint_entropy(*channels).item() == pytest.approx(whole.item(), abs=1e-9)
    widths = torch.linspace(1, 3, 5)
    torch.testing.assert_close(renyi.channel_grams(x, width=widths)[4], renyi.gram(x[:, 4], width=3.0))


def test_a_gram_with_itself_is_the_gram_of_a_width_smaller_by_root_2():
    x = normal(16, 2)
    A = renyi.gram(x, width=1.0)
    narrower = renyi.entropy(renyi.gram(x, width=math.sqrt(0.5)))
    assert renyi.joint_entropy(A, A).item() == pytest.approx(narrower.item(), abs=1e-9)


# second opinions and numerics


@pytest.mark.parametrize("alpha", [0.3, 0.999, 1, 1.01, 1.9, 2, 2.1, 50, math.inf])
def test_entropy_agrees_with_its_definition(alpha):
    A = gaussian(24, seed=3, width=0.5)
    assert renyi.entropy(A, alpha=alpha).item() == pytest.approx(by_definition(A, alpha), abs=1e-9)


SOLVED = {254: 0, 256: 6, 300: 6}  # how many of a batch of 6 go to SciPy's solver


@pytest.mark.parametrize("n", SOLVED)
def test_large_grams_go_to_the_faster_solver_and_have_the_same_entropy(n, monkeypatch):
    sizes, solver = [], scipy.linalg.eigh
    monkeypatch.setattr(scipy.linalg, "eigh", lambda A, **options: sizes.append(len(A)) or solver(A, **options))
    A = gaussian(n, seed=0)
    B = renyi.gram(normal(n, 2, seed=1), width=torch.tensor([[0.3, 1.0], [2.0, 4.0], [5.0, 9.0]], dtype=torch.float64))
    found = renyi.joint_entropy(A, B)
    assert sizes == [n] * SOLVED[n]
    for i in np.ndindex(3, 2):
        C = A * B[i] / (A * B[i]).trace()
        assert found[i].item() == pytest.approx(by_definition(C, 1.01), abs=1e-8)
    single = renyi.joint_entropy(A.float(), B.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), found, rtol=0, atol=2e-4)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")  # from within torch
def test_large_grams_can_be_differentiated_backward_and_forward():
    """Near alpha = 2, where S = -log2 |A|_F^2 has the derivative -2 <A, dA> / |A|_F^2 / ln 2."""
    A, change = (gaussian(256, seed=0) + torch.eye(256) / 256) / 2, gaussian(256, seed=1) - gaussian(256, seed=2)
    slope = -2 * (A * change).sum().item() / A.square().sum().item() / math.log(2)
    (gradient,) = torch.autograd.grad(renyi.entropy(A.requires_grad_(), alpha=2 + 1e-9), A)
    assert (gradient * change).sum().item() == pytest.approx(slope, rel=1e-6)
    with forward_ad.dual_level():
        forward = forward_ad.unpack_dual(renyi.entropy(forward_ad.make_dual(A.detach(), change), alpha=2 + 1e-9))
        assert forward.tangent.item() == pytest.approx(slope, rel=1e-6)


def test_what_one_solver_does_not_solve_goes_to_the_other(monkeypatch):
    def fail(*_, **__):
        raise scipy.linalg.LinAlgError("did not converge")

    A = gaussian(256, seed=0)
    truth = renyi.entropy(A)
    monkeypatch.setattr(scipy.linalg, "eigh", fail)
    assert renyi.entropy(A).item() == pytest.approx(truth.item(), abs=1e-10)


def test_order_2_of_a_normalised_gram_stays_below_log_n():
    # a published library divides by n^2 here although its input has trace 1: 11.42 nats for n = 100
    A = gaussian(100, seed=0, width=0.5)
    near = renyi.entropy(A, alpha=2 + 1e-9).item()
    assert renyi.entropy(A, alpha=2).item() == pytest.approx(near, abs=1e-6)
    assert 1 < near < math.log2(100)


def test_order_tends_to_1_smoothly_with_the_slope_of_the_spectrum_variance():
    A = gaussian(24, seed=3, width=0.5)
    p = torch.linalg.eigvalsh(A)
    mean = (p * p.log()).sum()
    slope = -(p * (p.log() - mean) ** 2).sum() / (2 * math.log(2))
    below, at, above = (renyi.entropy(A, alpha=alpha).item() for alpha in (1 - 1e-6, 1, 1 + 1e-6))
    assert at == pytest.approx((below + above) / 2, abs=1e-9)
    assert (above - below) / 2e-6 == pytest.approx(slope.item(), rel=1e-5)


@pytest.mark.parametrize("alpha", [0.5, 1, 1.01, 2, 3])
def test_gradient_is_that_of_the_trace_formula(alpha):
    A = (gaussian(6, seed=0, width=0.3) + torch.eye(6) / 6).div(2).requires_grad_()
    (gradient,) = torch.autograd.grad(renyi.entropy(A, alpha=alpha), A)
    change = (normal(6, 6, seed=1) / 1e5).fill_diagonal_(0)
    change = change + change.T
    with torch.no_grad():
        difference = (renyi.entropy(A + change, alpha=alpha) - renyi.entropy(A - change, alpha=alpha)) / 2
    assert (gradient * change).sum().item() == pytest.approx(difference.item(), rel=1e-4)
    assert abs(difference) > 1e-8


def test_gradient_with_respect_to_repeated_samples_is_finite():
    x = normal(5, 2).repeat(2, 1).requires_grad_()
    for alpha in [0.5, 1, 1.01, 2, math.inf]:
        (gradient,) = torch.autograd.grad(renyi.entropy(renyi.gram(x, width=1.0), alpha=alpha), x)
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0.01


@pytest.mark.parametrize("alpha", [1, 1.01, 2.5])
def test_null_eigenvalues_give_no_nan(alpha):
    A = renyi.label_gram(torch.arange(60) % 4)  # rank 4: 56 eigenvalues are 0 or rounding of either sign
    assert renyi.mutual_information(A, A, alpha=alpha).item() == pytest.approx(2, abs=1e-9)


def test_joint_of_many_channels_does_not_underflow():
    channels = renyi.channel_grams(normal(128, 64, 2).float(), width=30.0)
    whole = renyi.gram(normal(128, 64, 2), width=30.0)
    assert renyi.joint_entropy(*channels).item() == pytest.approx(renyi.entropy(whole).item(), abs=1e-3)


def test_float32_is_kept_and_agrees_with_float64():
    x = normal(128, 10)
    single = renyi.entropy(renyi.gram(x.float(), width=2.0))
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(renyi.entropy(renyi.gram(x, width=2.0)).item(), abs=1e-4)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_leading_dimensions_are_a_batch(alpha):
    x, y = normal(10, 2), torch.arange(10) % 3
    batch, A = renyi.gram(x, width=torch.tensor([[0.5, 1.0, 2.0]])), renyi.gram(normal(10, seed=1), width=1.0)
    assert batch.shape == (1, 3, 10, 10)
    for quantity in (
        lambda B: renyi.entropy(B, alpha=alpha),
        lambda B: renyi.mutual_information(A, B, alpha=alpha),
        lambda B: renyi.conditional_mutual_information(A, [B, A], renyi.label_gram(y), alpha=alpha),
        lambda B: renyi.label_mutual_information(B, y, alpha=alpha),
        lambda B: renyi.alignment(A, B),
    ):
        torch.testing.assert_close(quantity(batch)[0], torch.stack([quantity(B) for B in batch[0]]))


@pytest.mark.parametrize("alpha", [1, 1.01, 2, 5, math.inf])
def test_class_blocks_have_the_spectrum_of_the_whole(alpha):
    A, y = gaussian(40, seed=0), torch.arange(40).square() % 7 - 3
    whole = renyi.joint_entropy(A, renyi.label_gram(y), alpha=alpha).item()
    assert renyi.label_joint_entropy(A, y, alpha=alpha).item() == pytest.approx(whole, abs=1e-12)
    information = renyi.mutual_information(A, renyi.label_gram(y), alpha=alpha).item()
    assert renyi.label_mutual_information(A, y, alpha=alpha).item() == pytest.approx(information, abs=1e-9)
    assert information > 0.2


# widths


def test_silverman_width_shrinks_with_the_samples():
    assert renyi.silverman_width(normal(128, 6, 6)) == pytest.approx(5 * 128 ** (-1 / 40), abs=1e-12)
    assert renyi.silverman_width(normal(128), h=0.1) == pytest.approx(0.1 * 128 ** (-1 / 5), abs=1e-12)


def test_alignment_of_constant_and_of_unrelated_samples_with_labels():
    y = torch.repeat_interleave(torch.arange(3), SIZES)
    share = (SIZES / 64).square().sum()
    K = renyi.label_gram(y)
    assert renyi.alignment(torch.full((64, 64), 1 / 64), K).item() == pytest.approx(share.sqrt().item(), abs=1e-6)
    unrelated = renyi.alignment(torch.eye(64) / 64, K).item()
    assert unrelated == pytest.approx((1 / (64 * share)).sqrt().item(), abs=1e-6)


@pytest.mark.parametrize(("d", "spread"), [(2, 1.0), (20, 1.0), (2, 0.05)])
def test_published_width_is_the_published_search_over_root_2(d, spread):
    y = torch.arange(60) % 4
    x = 4 * spread * normal(4, d, seed=9)[y] + spread * normal(60, d, seed=d)
    D = (x[:, None] - x).square().sum(-1)
    sigmas = torch.linspace(0.1, 10 * D.sqrt().mean().item(), 75, dtype=torch.float64)
    Ky = (y[:, None] == y).double()
    alignment = [torch.trace(K @ Ky) / (K.norm() * Ky.norm()) for K in (torch.exp(-D / s**2) for s in sigmas)]
    sigma = sigmas[torch.stack(alignment).argmax()].item()
    found = renyi.published_width(x, y)
    assert math.sqrt(2) * found.width.item() == pytest.approx(sigma, rel=1e-9)
    assert not found.at_end
    assert sigmas[0] < sigma < sigmas[-1]


def test_widths_by_histogram_or_from_distances_are_the_same():
    y = torch.arange(300) % 5
    x = 2 * normal(5, 8)[y] + normal(300, 8, seed=1)
    squared = renyi.squared_distances(x)
    for search, near in ((renyi.published_width, 0), (renyi.alignment_width, 1e-3)):
        width = search(x, y).width
        assert search(x, y, bins=4096).width.item() == pytest.approx(width.item(), rel=near)
        assert search(squared, y, precomputed=True).width == width
    torch.testing.assert_close(renyi.gram(squared, width=2.0, precomputed=True), renyi.gram(x, width=2.0))


def test_published_width_takes_the_best_of_the_widths_given():
    x, y = torch.tensor([0.0, 0.1, 5.0, 5.1]), [0, 0, 1, 1]
    widths = [0.01, 1.0, 50.0]
    aligned = renyi.alignment(renyi.gram(x, width=torch.tensor(widths)), renyi.label_gram(y))
    assert renyi.published_width(x, y, widths=widths) == (widths[aligned.argmax()], False) == (1.0, False)
    assert renyi.published_width(x, y, low=2.0, high=3.0, points=5) == (2.0, True)
    assert renyi.published_width(x, y, widths=[0.01, 0.02, 0.03]) == (torch.tensor(0.03), True)


def slow_alignment(squared, y, widths, *, centred):
    """With a matrix for each width, and one that centres it."""
    H = torch.eye(len(y), dtype=torch.float64) - (1 / len(y) if centred else 0)
    L = H @ (y[:, None] == y).double() @ H
    K = H @ torch.exp(squared / (-2 * torch.as_tensor(widths)[:, None, None] ** 2)) @ H
    return (K * L).sum((1, 2)) / (torch.linalg.matrix_norm(K) * L.norm())


def classes(n, d, *, apart, seed=0):
    y = torch.arange(n) % 4
    return apart * normal(4, d, seed=seed + 50)[y] + normal(n, d, seed=seed), y


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(("d", "apart"), [(2, 4.0), (20, 1.0), (3, 0.5), (1, 20.0)])
def test_alignment_width_is_the_best_of_thousands(d, apart, centred):
    x, y = classes(60, d, apart=apart)
    squared = (x[:, None] - x).square().sum(-1)
    widths = torch.pdist(x).mean() * torch.logspace(-1.3, 0.7, 2000, dtype=torch.float64)
    best = slow_alignment(squared, y, widths, centred=centred).argmax()
    found = renyi.alignment_width(x, y, centred=centred)
    assert 2 < best < 1997
    assert found.width.item() == pytest.approx(widths[best].item(), rel=2e-3)
    assert not found.at_end


def two_scales(far):
    """Eight classes of four tight groups `far` from each other, each group near to one of every other class."""
    group = torch.arange(64) // 2
    y = group // 4
    same = [one[:, None] == one for one in (group, y, group % 4)]
    D = torch.where(same[0], 1.5, torch.where(same[1], far, torch.where(same[2], 6.0, 40.0)))
    return D.double().fill_diagonal_(0).square(), y


def test_the_higher_of_two_peaks_is_found_however_small_the_difference():
    """Groups or classes: either scale has its best width. The distance at which both are as good is bracketed first."""
    widths = torch.logspace(-1.5, 2, 1500, dtype=torch.float64)
    low, high = 15.0, 39.0
    for _ in range(22):
        far = (low + high) / 2
        squared, y = two_scales(far)
        heights = slow_alignment(squared, y, widths, centred=False)
        groups, whole = heights[widths < 6].max(), heights[widths > 6].max()
        low, high = (low, far) if groups > whole else (far, high)
        found = renyi.alignment_width(squared, y, precomputed=True)
        assert not found.at_end
        if abs(groups - whole) > 1e-6:
            assert (found.width < 6) == (groups > whole)
    assert high - low < 1e-4


@pytest.mark.parametrize("centred", [False, True])
def test_alignment_width_follows_scale_and_ignores_shift_and_order(centred):
    x, y = classes(50, 5, apart=1.0)
    width = renyi.alignment_width(x, y, centred=centred).width.item()
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    for changed, factor in ((x[order], 1), (1e-6 * x, 1e-6), (1e5 * x, 1e5), (x + 1e3, 1)):
        labels = y[order] if changed.equal(x[order]) else y
        found = renyi.alignment_width(changed, labels, centred=centred).width.item()
        assert found == pytest.approx(factor * width, rel=1e-5)


def test_an_end_of_the_range_that_wins_is_said():
    x, y = classes(60, 2, apart=4.0)
    best = renyi.alignment_width(x, y).width / torch.pdist(x).mean()
    for low, high, end in ((2 * best, 20, 2 * best), (0.02, best / 2, best / 2)):
        found = renyi.alignment_width(x, y, low=float(low), high=float(high))
        assert found.at_end
        assert found.width.item() == pytest.approx(float(end * torch.pdist(x).mean()), rel=2e-3)
    exact = renyi.alignment_width(torch.eye(3, dtype=torch.float64)[y.clamp(max=2)], y.clamp(max=2))
    assert exact.at_end  # samples that are the class: any narrower width is as good
    assert exact.width.item() == pytest.approx(0.02 * math.sqrt(2) * 0.636, rel=0.1)


def test_of_widths_that_are_equally_good_the_smallest_wins_in_any_order():
    y = torch.arange(90) % 3
    x = normal(3, 4)[y] + 1e-12 * normal(90, 4)
    orders = [torch.randperm(90, generator=torch.Generator().manual_seed(seed)) for seed in range(8)]
    found = [renyi.alignment_width(x[order], y[order]) for order in orders]
    assert all(one.at_end for one in found)
    assert [one.width.item() for one in found] == pytest.approx([found[0].width.item()] * 8, rel=1e-6)


def test_alignment_of_centred_grams_is_that_of_the_papers():
    A, B = renyi.gram(normal(20, 2), width=1.0), renyi.gram(normal(20, 3, seed=5), width=2.0)
    H = torch.eye(20, dtype=torch.float64) - 1 / 20
    P, Q = H @ A @ H, H @ B @ H
    expected = torch.trace(P @ Q) / torch.sqrt(torch.trace(P @ P) * torch.trace(Q @ Q))
    assert renyi.alignment(A, B, centred=True).item() == pytest.approx(expected.item(), abs=1e-12)
    assert renyi.alignment(A, torch.stack([B, A]), centred=True)[1].item() == pytest.approx(1.0, abs=1e-12)
    assert renyi.alignment(A, B).item() > renyi.alignment(A, B, centred=True).item() + 0.1


@pytest.mark.parametrize("kind", ["rms", "mean", "median"])
@pytest.mark.parametrize("n", [5, 40])
def test_distance_width_is_that_of_pairs_of_different_samples(kind, n):
    x = normal(n, 2, 3)
    pairs = np.array([(a - b).norm().item() for a, b in combinations(x, 2)])
    expected = {"rms": np.sqrt((pairs**2).mean()), "mean": pairs.mean(), "median": np.median(pairs)}[kind]
    for shift, scale in ((0, 1), (1e3, 1), (0, 1e-4)):
        found = renyi.distance_width(scale * x + shift, kind=kind, ratio=0.5).item()
        assert found == pytest.approx(0.5 * scale * expected, rel=1e-8)
    squared = renyi.squared_distances(x)
    assert renyi.distance_width(squared, kind=kind, precomputed=True).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("apart", [0.0, 1e2, 1e4, 1e6])
@pytest.mark.parametrize("dimensions", [1, 3, 200])
def test_kernels_of_far_clusters_are_right_in_any_precision(dtype, apart, dimensions):
    """Against differences in float64 of the values as the precision holds them."""
    x = normal(60, dimensions)
    x[30:] += apart
    x = torch.cat([x, x[:3]]).to(dtype)
    exact = (x.double()[:, None] - x.double()).square().sum(-1)
    for width in (0.05, 0.5, 5.0, 500.0):
        found = renyi.gram(x, width=width * dimensions**0.5) * 63
        assert (found == found.mT).all()
        assert (found - (exact / (-2 * dimensions * width**2)).exp()).abs().max() < 1e-4
    squared = renyi.squared_distances(x)
    assert (squared[60:, :3].diagonal() == 0).all()
    assert ((squared - exact).abs() <= 2e-4 * exact).all()
    assert renyi.entropy(renyi.gram(1e3 * x, width=500.0)) > 0  # no Gram of ours is refused


def test_distances_in_a_batch_are_those_of_each():
    x = normal(3, 40, 2).float()
    x[1, 20:] += 1e4
    one_by_one = torch.stack([renyi.gram(part, width=1.0) for part in x])
    torch.testing.assert_close(renyi.channel_grams(x.transpose(0, 1)[..., None], width=1.0), one_by_one)


def test_distances_of_close_pairs_can_be_differentiated():
    x = torch.cat([normal(6, 2), 1e-9 + normal(6, 2)]).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: renyi.squared_distances(x), x, eps=1e-4, atol=1e-6)


@pytest.mark.parametrize("scale", [1e20, 1e-25])
def test_scales_whose_squares_float32_cannot_hold_are_refused(scale):
    with pytest.raises(ValueError, match="x must have a scale whose square float32 can hold"):
        renyi.gram(normal(8, 3).float() * scale, width=scale)
    assert renyi.entropy(renyi.gram(normal(8, 3) * scale, width=scale)) > 1


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.5])
def test_rounding_is_no_eigenvalue_for_small_orders(alpha):
    y = torch.arange(400) % 10
    assert renyi.entropy(renyi.label_gram(y), alpha=alpha).item() == pytest.approx(math.log2(10), abs=1e-9)
    assert renyi.label_joint_entropy(renyi.label_gram(y), y // 5, alpha=alpha).item() == pytest.approx(
        math.log2(10), abs=1e-9)  # fmt: skip


# refusals

EYE = torch.eye(3) / 3
ROUND = renyi.gram(torch.randn(18, 2), width=1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: renyi.gram([1.0, math.nan], width=1.0), "x must be finite"),
        (lambda: renyi.gram([1.0, math.inf], width=1.0), "x must be finite"),
        (lambda: renyi.gram([1.0], width=1.0), "n must be an integer of at least 2, got 1"),
        (lambda: renyi.gram([], width=1.0), "x is empty"),
        (lambda: renyi.gram([1.0, 2.0], width=0.0), r"width must be positive, got 0.0"),
        (lambda: renyi.gram([1.0, 2.0], width=math.nan), "width must be positive, got nan"),
        (lambda: renyi.channel_grams([[1.0], [2.0]], width=torch.tensor([-1.0])), r"width must be positive"),
        (lambda: renyi.channel_grams([1.0, 2.0], width=1.0), "x needs at least 2 dimension"),
        (lambda: renyi.entropy(torch.ones(2, 3)), r"A must be square, got shape \(2, 3\)"),
        (lambda: renyi.entropy(torch.ones(3)), "A needs at least 2 dimension"),
        (lambda: renyi.entropy(torch.tensor([[0.5, 0.1], [0.2, 0.5]])), "A must be symmetric"),
        (lambda: renyi.entropy(torch.eye(3)), r"A must have trace 1, got 3"),
        (lambda: renyi.entropy(EYE * math.nan), "A must be finite"),
        (lambda: renyi.entropy(torch.ones(1, 1)), "n must be an integer of at least 2, got 1"),
        (lambda: renyi.mutual_information(EYE, EYE[:2]), "B must be square"),
        (lambda: renyi.mutual_information(EYE, []), "B must hold at least one Gram"),
        (lambda: renyi.mutual_information(EYE, torch.eye(4) / 4), "Grams must have the same n, got 3 and 4"),
        (lambda: renyi.conditional_mutual_information(EYE, EYE, 2 * EYE), "C must have trace 1"),
        (lambda: renyi.entropy(EYE, alpha=0), "alpha must be positive, got 0"),
        (lambda: renyi.joint_entropy(EYE, EYE, alpha=math.nan), "alpha must be a number, got nan"),
        (lambda: renyi.label_entropy([0, 1], alpha=-1), "alpha must be positive, got -1"),
        (lambda: renyi.label_gram([0.0, 1.0]), "y must be integers"),
        (lambda: renyi.label_gram([1]), "n must be an integer of at least 2, got 1"),
        (lambda: renyi.label_joint_entropy(EYE, [0, 1]), "y must have 3 entries, one per sample, got 2"),
        (lambda: renyi.silverman_width([0.0, 1.0], h=0), "h must be positive, got 0"),
        (lambda: renyi.alignment_width(torch.full((7, 3), 0.1), range(7)), "x must not be constant"),
        (lambda: renyi.alignment_width([0.0, 1.0], [0, 1, 1]), "y must have 2 entries"),
        (lambda: renyi.alignment_width([0.0, 1.0], [0, 1], bins=1), "bins must be an integer of at least 2, got 1"),
        (lambda: renyi.alignment_width([0.0, 1.0], [0, 1], low=2, high=1), "low and high must be positive.* 2 and 1"),
        (lambda: renyi.alignment_width([0.0, 1.0], [0, 1], low=0), "low and high must be positive.* got 0 and 20"),
        (lambda: renyi.alignment_width([0.0, 1.0], [0, 1], high=math.inf), "low and high must be positive, finite"),
        (lambda: renyi.alignment_width([0.0, 1.0, 3.0], [1, 1, 1]), "y has a single class: no width can be chosen"),
        (lambda: renyi.alignment_width(torch.eye(4), [0, 0, 1, 1]), "all pairs of x are equally far apart: no width"),
        (lambda: renyi.alignment_width(EYE[:2], [0, 1], centred=True, bins=9), "bins must be None with centred=True"),
        (lambda: renyi.alignment_width([0.0, 2.0, 9.0], [0, 0, 1], low=1e-9, high=2e-9), "same at every width"),
        (lambda: renyi.published_width([0.0, 1.0], [0, 1], widths=[0.0]), "width must be positive"),
        (lambda: renyi.published_width([0.0, 1.0], [0, 1], points=0), "points must be an integer of at least 1"),
        (lambda: renyi.published_width([0.0, 1.0], [0, 1], bins=1), "bins must be an integer of at least 2, got 1"),
        (lambda: renyi.published_width([0.0, 1.0], [0, 1], low=2, high=1), "low must be at most high, got 2 and 1"),
        (lambda: renyi.distance_width([0.1] * 7), "x must have a rms distance above 0"),
        (lambda: renyi.distance_width([0, 0, 0, 0, 1], kind="median"), "x must have a median distance above 0"),
        (lambda: renyi.distance_width([0, 1], kind="mode"), "unknown kind 'mode'; allowed: rms, mean, median"),
        (lambda: renyi.distance_width([0, 1], ratio=-1), "ratio must be positive, got -1"),
        (lambda: renyi.distance_width([0.0, 1e200]), "x must have a scale whose square"),
        (lambda: renyi.alignment(EYE, torch.ones(3, 3) / 3, centred=True), "B must not be constant"),
        (lambda: renyi.gram(ROUND, width=1.0), "x must be samples, got a symmetric 18 x 18 .*precomputed=True"),
        (lambda: renyi.squared_distances(1 - 18 * ROUND), "x must be samples, got a symmetric 18 x 18"),
        (lambda: renyi.distance_width(ROUND), "x must be samples, got a symmetric 18 x 18"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("wrong", [[[0.0, -4.0], [-4.0, 0.0]], [[1.0, 4.0], [4.0, 0.0]], torch.zeros(2, 3, 3)])
@pytest.mark.parametrize(
    "call",
    [
        partial(renyi.gram, width=1.0), renyi.distance_width, partial(renyi.alignment_width, y=[0, 1]),
        partial(renyi.published_width, y=[0, 1]),
    ],
)  # fmt: skip
def test_what_are_no_squared_distances_is_refused(call, wrong):
    with pytest.raises(ValueError, match=r"^x must hold squared distances"):
        call(wrong, precomputed=True)


def test_a_few_samples_may_be_symmetric():
    assert renyi.gram([[1.0, 2.0], [2.0, 1.0]], width=1.0).shape == (2, 2)


def test_wide_kernels_are_centred_too():
    A = renyi.gram(torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), width=1000.0)
    assert float(renyi.alignment(A, A, centred=True)) == pytest.approx(1)


def test_the_least_of_equally_aligned_widths_is_published_whatever_their_order():
    assert renyi.published_width([0.0, 0.0, 9.0, 9.0], [0, 0, 1, 1], widths=[0.3, 0.2, 0.1]).width == pytest.approx(0.1)
