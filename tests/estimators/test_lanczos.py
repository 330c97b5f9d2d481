import math
import pickle
import re

import pytest
import torch

from infolib.estimators import lanczos, renyi

LARGE = {"exact": 0}  # no eigenproblem of all samples, however few there are
ORDERS = [1, 1.01, 1.5, 3, math.inf]


def normal(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs(n, seed=0):
    """Samples whose features shrink, as those of images do: a spectrum that falls fast."""
    return normal(n, 20, seed) / torch.arange(1, 21)


def layer(n, seed=0):
    """Rectified features of equal scale: a flat spectrum, within 1.3 bits of log2 n."""
    return normal(n, 60, seed).relu()


CASES = {"inputs": (inputs, 1.0), "layer": (layer, 3.0)}


def within(estimate, truth, *, errors=4, floor=1e-3):
    """Whether an estimate is right within so many standard errors, and the bias that is allowed."""
    assert estimate.standard_error < 0.02
    return abs(float(estimate.value) - float(truth)) < errors * float(estimate.standard_error) + floor


# against all eigenvalues


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("alpha", ORDERS)
def test_entropy_agrees_with_all_eigenvalues(case, alpha):
    draw, width = CASES[case]
    x = draw(700)
    truth = renyi.entropy(renyi.gram(x, width=width), alpha=alpha)
    assert within(lanczos.entropy(x, width=width, alpha=alpha, **LARGE), truth, floor=2e-4)
    few = lanczos.entropy(x, width=width, alpha=alpha)
    assert few.value.item() == pytest.approx(truth.item(), abs=1e-9)
    assert few.standard_error == 0


@pytest.mark.parametrize("alpha", [1, 1.01, 1.5])
def test_information_agrees_with_all_eigenvalues(alpha):
    x = inputs(700)
    y = (x[:, :3] + 0.3 * normal(700, 3, seed=1)).tanh()
    A, B = renyi.gram(x, width=1.0), renyi.gram(y, width=0.7)
    truth = renyi.mutual_information(A, B, alpha=alpha)
    options = {"width_x": 1.0, "width_y": 0.7, "alpha": alpha}
    estimate = lanczos.mutual_information(x, y, **options, **LARGE)
    assert within(estimate, truth)
    assert estimate.standard_error > 0
    assert lanczos.mutual_information(x, y, **options).value.item() == pytest.approx(truth.item(), abs=1e-9)


def test_common_probes_make_the_error_of_a_difference_smaller():
    x = inputs(700)
    y = x[:, :3].tanh()
    joint = torch.cat([x, y / 0.7], 1)
    shared, apart = [], []
    for seed in range(5):
        shared.append(lanczos.mutual_information(x, y, width_x=1.0, width_y=0.7, seed=seed, **LARGE).standard_error)
        terms = [(x, 1.0), (y, 0.7), (joint, 1.0)]
        apart.append(torch.stack([lanczos.entropy(v, width=w, seed=seed, **LARGE)[1] for v, w in terms]).norm())
    assert sum(shared) < sum(apart)


@pytest.mark.parametrize("alpha", [1, 1.01, 2, 3])
def test_label_information_agrees_with_all_eigenvalues(alpha):
    x, y = inputs(900), torch.arange(900) % 7 // 4  # classes of 514 and 386
    x = x + y[:, None]
    truth = renyi.label_mutual_information(renyi.gram(x, width=1.0), y, alpha=alpha)
    estimate = lanczos.label_mutual_information(x, y, width=1.0, alpha=alpha, **LARGE)
    assert within(estimate, truth)
    assert (estimate.standard_error > 0) == (alpha != 2)
    assert lanczos.label_mutual_information(x, y, width=1.0, alpha=alpha).value.item() == pytest.approx(truth.item())


@pytest.mark.parametrize("alpha", ORDERS)
def test_gram_entropy_agrees_with_all_eigenvalues(alpha):
    A = renyi.gram(layer(700), width=3.0)
    truth = renyi.entropy(A, alpha=alpha)
    assert within(lanczos.gram_entropy(A, alpha=alpha, **LARGE), truth, floor=2e-4)
    assert lanczos.gram_entropy(A, alpha=alpha).value.item() == pytest.approx(truth.item(), abs=1e-9)


# the error of the deflation, and the error that is stated


@pytest.mark.parametrize("case", CASES)
def test_the_deflation_has_a_bias_below_a_thousandth_of_a_bit(case):
    draw, width = CASES[case]
    A = renyi.gram(draw(500), width=width)
    found, U = lanczos.leading_eigenpairs(A)
    torch.testing.assert_close(U.mT @ U, torch.eye(64, dtype=U.dtype))
    torch.testing.assert_close(found[-8:], torch.linalg.eigvalsh(A)[-8:], rtol=1e-4, atol=0)
    P = torch.eye(500, dtype=U.dtype) - U @ U.mT
    pinched = U @ (U.mT @ A @ U) @ U.mT + P @ A @ P
    bias = renyi.entropy((pinched + pinched.mT) / 2) - renyi.entropy(A)
    assert 0 < bias < 1e-3


def test_what_the_deflation_has_not_reached_is_added_by_its_residuals():
    """At the flattest spectrum the pinched matrix has a bias of 0.0016 bit; the estimate has none that one can see."""
    x = layer(500, seed=1)
    truth = renyi.entropy(renyi.gram(x, width=2.0))
    estimate = lanczos.entropy(x, width=2.0, probes=500, steps=20, **LARGE)
    assert estimate.standard_error < 4e-4
    assert abs(float(estimate.value - truth)) < 8e-4


@pytest.mark.parametrize("case", CASES)
def test_two_standard_errors_hold_what_all_eigenvalues_give(case):
    draw, width = CASES[case]
    x = draw(600)
    truth = renyi.entropy(renyi.gram(x, width=width))
    draws = [lanczos.entropy(x, width=width, seed=seed, **LARGE) for seed in range(30)]
    errors = torch.stack([e.value for e in draws]) - truth
    stated = torch.stack([e.standard_error for e in draws])
    assert (errors.abs() <= 2 * stated).sum() >= 25
    assert 0.7 < stated.square().mean().sqrt() / errors.square().mean().sqrt() < 2  # nor are they much too wide


def test_more_probes_have_a_smaller_error():
    x = layer(600)
    few, many = (lanczos.entropy(x, width=3.0, probes=p, **LARGE).standard_error for p in (8, 128))
    assert many < few / 2


# closed forms and invariances


@pytest.mark.parametrize("alpha", [*ORDERS, 2])
def test_identical_samples_have_no_entropy_and_unrelated_ones_the_most(alpha):
    same = lanczos.entropy(torch.ones(512, 2), width=0.1, alpha=alpha, **LARGE)
    assert same.value.item() == pytest.approx(0, abs=1e-4)
    apart = lanczos.entropy(torch.eye(512), width=0.01, alpha=alpha, **LARGE)
    assert apart.value.item() == pytest.approx(9, abs=1e-4)
    assert max(same.standard_error, apart.standard_error) < 1e-3


@pytest.mark.parametrize("alpha", [1, 1.01])
def test_points_on_a_circle_have_the_spectrum_of_a_circulant(alpha):
    """One row decides: its Fourier transform has the eigenvalues."""
    angle = torch.arange(1024).double() * 2 * math.pi / 1024
    row = torch.exp(-(2 - 2 * angle.cos()) / (2 * 0.02**2)) / 1024
    p = torch.fft.fft(row).real.clamp(min=1e-300)
    truth = -(p * p.log2()).sum() if alpha == 1 else (p**alpha).sum().log2() / (1 - alpha)
    x = torch.stack([angle.cos(), angle.sin()], 1)
    assert truth > 6
    assert within(lanczos.entropy(x, width=0.02, alpha=alpha, **LARGE), truth)


def test_classes_far_apart_have_the_entropy_of_their_histogram():
    y = torch.arange(600) % 3
    information = lanczos.label_mutual_information(10.0 * y, y, width=0.1, **LARGE)
    assert information.value.item() == pytest.approx(math.log2(3), abs=1e-4)
    assert lanczos.mutual_information(
        10.0 * y, y.double(), width_x=0.1, width_y=0.01, **LARGE
    ).value.item() == pytest.approx(math.log2(3), abs=1e-4)


def test_classes_of_one_sample_are_allowed():
    x, y = inputs(300), torch.cat([torch.zeros(299), torch.ones(1)]).long()
    truth = renyi.label_mutual_information(renyi.gram(x, width=1.0), y)
    assert within(lanczos.label_mutual_information(x, y, width=1.0, **LARGE), truth)


def test_estimates_ignore_position_rotation_and_unit():
    x = inputs(600)
    rotation = torch.linalg.qr(normal(20, 20, seed=3)).Q
    plain = lanczos.entropy(x, width=1.0, **LARGE)
    other = lanczos.entropy(1000 * (x @ rotation + 7), width=1000.0, **LARGE)
    assert other.value.item() == pytest.approx(plain.value.item(), abs=1e-4)
    assert other.standard_error.item() == pytest.approx(plain.standard_error.item(), rel=0.02)


# seeds, types, memory


def test_a_seed_gives_the_same_and_another_seed_another_value():
    x = inputs(600)
    one, again, other = (lanczos.entropy(x, width=1.0, seed=seed, **LARGE) for seed in (0, 0, 1))
    assert one == again
    assert one.value != other.value


@pytest.mark.parametrize("alpha", [1.01, 2])
def test_values_are_float64_whatever_the_samples_are(alpha):
    x = inputs(600).float()
    single, double = (lanczos.entropy(v, width=1.0, alpha=alpha, **LARGE) for v in (x, x.double()))
    assert single.value.dtype == single.standard_error.dtype == torch.float64
    assert single == double
    A = renyi.gram(x, width=1.0)
    assert lanczos.gram_entropy(A, alpha=alpha, **LARGE).value.dtype == torch.float64


def test_samples_far_from_their_mean_are_computed_in_float64():
    """Two clusters 2,000 widths apart, for whose norms float32 would lose the kernel."""
    x = torch.cat([inputs(300), inputs(300, seed=1) + 1000])
    truth = renyi.entropy(renyi.gram(x, width=0.5))
    assert within(lanczos.entropy(x, width=0.5, **LARGE), truth)


def test_without_memory_for_the_gram_blocks_of_it_are_computed_at_each_step():
    x, y = inputs(3000), torch.arange(3000) % 3  # three blocks of rows
    none, one, every = 6e7, 7.5e7, 1e9
    for call in (lambda memory: lanczos.entropy(x, width=1.0, memory=memory, **LARGE),
                 lambda memory: lanczos.label_mutual_information(x, y, width=1.0, memory=memory, **LARGE)):  # fmt: skip
        kept = call(every)
        for memory in (none, one):
            blocks = call(memory)
            assert blocks.value.item() == pytest.approx(kept.value.item(), abs=2e-5)
            assert blocks.standard_error.item() == pytest.approx(kept.standard_error.item(), rel=0.02)


@pytest.mark.parametrize("memory", [1e9, 6e7])
def test_rows_of_the_kernel_may_be_computed_in_parts_elsewhere(memory):
    x = inputs(3000)  # three blocks of rows
    widths = []

    def shared(rows):
        parts = [pickle.loads(pickle.dumps(rows))(part, 2) for part in range(2)]
        return lambda v: widths.append(v.shape[1]) or sum(part(v) for part in parts)

    alone = lanczos.entropy(x, width=1.0, **LARGE)
    found = lanczos.entropy(x, width=1.0, memory=memory, shared=shared, **LARGE)
    torch.testing.assert_close(found.value, alone.value, rtol=0, atol=2e-5)
    assert len(widths) == 1 + lanczos.ITERATIONS + 1 + 14  # of the subspace, and of Lanczos: one reduction each


def test_the_memory_that_a_refusal_names_is_enough_and_not_too_much():
    x = inputs(600)
    with pytest.raises(ValueError, match="memory must be at least") as refused:
        lanczos.entropy(x, width=1.0, memory=1e6, **LARGE)
    enough = int(re.search(r"set memory=([\d_]+)", str(refused.value))[1])
    assert within(lanczos.entropy(x, width=1.0, memory=enough, **LARGE), renyi.entropy(renyi.gram(x, width=1.0)))
    with pytest.raises(ValueError, match="memory must be at least"):
        lanczos.entropy(x, width=1.0, memory=enough - 1, **LARGE)


@pytest.mark.parametrize("n", [50, 2500])
def test_order_2_is_exact_for_any_number_of_samples(n):
    x, y = inputs(n), torch.arange(n) % 3
    A, B = renyi.gram(x, width=1.0), renyi.gram(x[:, :2], width=0.3)
    entropy = lanczos.entropy(x, width=1.0, alpha=2, **LARGE)
    assert entropy.value.item() == pytest.approx(renyi.entropy(A, alpha=2).item(), abs=1e-10)
    assert entropy.standard_error == 0
    both = lanczos.mutual_information(x, x[:, :2], width_x=1.0, width_y=0.3, alpha=2, **LARGE)
    assert both.value.item() == pytest.approx(renyi.mutual_information(A, B, alpha=2).item(), abs=1e-10)
    labels = lanczos.label_mutual_information(x, y, width=1.0, alpha=2, **LARGE)
    assert labels.value.item() == pytest.approx(renyi.label_mutual_information(A, y, alpha=2).item(), abs=1e-10)
    assert lanczos.gram_entropy(A, alpha=2, **LARGE).value == renyi.entropy(A, alpha=2)


# what is refused

X = inputs(20)
A20 = renyi.gram(X, width=1.0)
SKEW = A20 + torch.diag(torch.full((19,), 0.01, dtype=torch.float64), 1)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: lanczos.entropy(A20, width=1.0), r"x must be samples, got a symmetric 20 x 20 matrix .* gram_entropy"),
    (lambda: lanczos.mutual_information(X, A20, width_x=1.0, width_y=1.0), "y must be samples"),
    (lambda: lanczos.entropy(X, width=1.0, alpha=0.99), r"alpha must be at least 1, got 0.99.*renyi\.entropy"),
    (lambda: lanczos.gram_entropy(A20, alpha=0.5), "alpha must be at least 1"),
    (lambda: lanczos.entropy(X, width=1.0, probes=1), "probes must be an integer of at least 2, got 1"),
    (lambda: lanczos.label_mutual_information(X, torch.arange(20), width=1.0, steps=1), "steps must be .* 2, got 1"),
    (lambda: lanczos.entropy(X, width=1.0, deflated=0), "deflated must be an integer of at least 1"),
    (lambda: lanczos.entropy(X, width=1.0, exact=-1), "exact must be an integer of at least 0"),
    (lambda: lanczos.entropy(X, width=1.0, memory=100), r"memory must be at least [\d_]+ bytes for n = 20 samples of 20"
                                                        r" features, got 100; set memory=[\d_]+, or lower exact"),
    (lambda: lanczos.entropy(inputs(2000), width=1.0, memory=1e8), r"memory must be .* n = 2,000 samples"),
    (lambda: lanczos.entropy(torch.linspace(0, 1, 200_000)[:, None], width=1.0, memory=3e8),
     r"at least 399_931_648 bytes for n = 200,000 samples of 1 features, got 3e\+08; set memory=399_931_648, or lower"),
    (lambda: lanczos.entropy(X, width=0.0), "width must be positive"),
    (lambda: lanczos.mutual_information(X, X, width_x=1.0, width_y=-1.0), "width_y must be positive"),
    (lambda: lanczos.entropy(X, width=1e-9), r"width must be larger, got 1e-09: samples of x lie"),
    (lambda: lanczos.entropy(X[:1], width=1.0), "x: n must be an integer of at least 2"),
    (lambda: lanczos.mutual_information(X, X[:9], width_x=1.0, width_y=1.0), "same n, got 20 and 9"),
    (lambda: lanczos.label_mutual_information(X, torch.arange(9), width=1.0), "y must have 20 entries"),
    (lambda: lanczos.gram_entropy(X[:, :9]), r"A must be square, got shape \(20, 9\)"),
    (lambda: lanczos.gram_entropy(2 * A20), "A must have trace 1, got 2"),
    (lambda: lanczos.gram_entropy(SKEW), "A must be symmetric"),
    (lambda: lanczos.leading_eigenpairs(A20, deflated=21), "deflated must be at most n = 20, got 21"),
])  # fmt: skip
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_one_hot_samples_are_no_gram():
    assert lanczos.entropy(torch.eye(20), width=0.1).value.item() == pytest.approx(math.log2(20))


@pytest.mark.parametrize(("samples", "truth"), [(1, 0.0), (2, 1.0), (5, math.log2(5))])
def test_where_few_samples_differ_the_standard_error_is_that_of_rounding(samples, truth):
    x = 9.0 * (torch.arange(4000) % samples)[:, None].float()
    value, error = lanczos.entropy(x, width=1.0, alpha=1)
    assert abs(float(value) - truth) <= 2 * float(error) < 1e-3
