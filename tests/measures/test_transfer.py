import copy
import math
from functools import partial
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from scipy.special import gammaln
from scipy.stats import binom
from torch import nn

from infolib import training
from infolib.data import Data
from infolib.measures import transfer
from infolib.measures.transfer import (
    block_ends,
    counting,
    information_transfer,
    model_information,
    network,
    networks,
    prequential_codelength,
    replay_codelength,
)
from workbook import datasets, models

LAPLACE, KT = torch.ones(1, 2), torch.full((1, 2), 0.5)


def coin(n, ones, seed=None):
    y = (torch.arange(n) < ones).long()
    if seed is not None:
        y = y[torch.randperm(n, generator=torch.Generator().manual_seed(seed))]
    return Data(torch.zeros(n, 1), y)


def each(data):
    return range(len(data) + 1)


def join(*parts):
    return Data(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))


def dirichlet_bits(counts, a):
    """Length of the Dirichlet(a) mixture code of these counts, closed form (T1c)."""
    c = np.asarray(counts, dtype=float)
    n, C = c.sum(), len(c)
    return (gammaln(n + C * a) - gammaln(C * a) - (gammaln(c + a) - gammaln(a)).sum()) / math.log(2)


# T1: closed forms


@pytest.mark.parametrize(("n", "k", "expected"), [(10, 3, 10.366322), (50, 15, 46.706019), (100, 30, 91.260872)])
def test_laplace_is_the_closed_form_in_any_order(n, k, expected):
    for seed in (None, 1):
        code = prequential_codelength(counting, LAPLACE, coin(n, k, seed), ends=range(n + 1))
        assert code.bits == pytest.approx(math.log2((n + 1) * math.comb(n, k)), abs=1e-10)
        assert code.bits == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("n", "k", "expected"), [(10, 3, 10.840129), (50, 15, 47.220349), (100, 30, 91.780831)])
def test_kt_is_the_closed_form(n, k, expected):
    code = prequential_codelength(counting, KT, coin(n, k, 0), ends=range(n + 1))
    assert code.bits == pytest.approx(dirichlet_bits([n - k, k], 0.5), abs=1e-10)
    assert code.bits == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("a", "expected"), [(0.5, 18.302617), (1, 17.343602)])
def test_dirichlet_is_the_closed_form(a, expected):
    data = Data(torch.zeros(10, 1), torch.tensor([0, 2, 0, 1, 1, 0, 0, 2, 1, 0]))
    code = prequential_codelength(counting, torch.full((1, 3), float(a)), data, ends=each(data))
    assert code.bits == pytest.approx(expected, abs=1e-6)


# T2, T3: information transfer of exact mixtures


def redundancy(n, theta=0.3):
    """E L - n H of the KT code of n coins, exactly."""
    h = -(theta * math.log2(theta) + (1 - theta) * math.log2(1 - theta))
    k = np.arange(n + 1)
    return binom.pmf(k, n, theta) @ [dirichlet_bits([n - j, j], 0.5) for j in k] - n * h


def kt_transfer(pool, holdout):
    trained = KT + pool.y.bincount(minlength=2)
    return information_transfer(KT, trained, holdout, learner=counting, ends=each(holdout)).bits


def test_transfer_of_coins_has_the_expectation_of_the_closed_form():
    n, k, generator = 200, 50, torch.Generator().manual_seed(0)
    values = []
    for _ in range(200):
        y = (torch.rand(n + k, generator=generator) < 0.3).long()
        data = Data(torch.zeros(n + k, 1), y)
        values.append(kt_transfer(data[:n], data[n:]))
    expected = redundancy(n) + redundancy(k) - redundancy(n + k)
    assert expected == pytest.approx(2.2642, abs=1e-4)
    assert np.mean(values) == pytest.approx(expected, abs=4 * np.std(values) / math.sqrt(200))
    assert np.std(values) / math.sqrt(200) < expected / 30


def test_transfer_is_the_joint_saving_and_symmetric():
    a, b = coin(40, 12, 0), coin(60, 25, 1)
    joint = [prequential_codelength(counting, KT, d, ends=each(d)).bits for d in (a, b, join(a, b))]
    assert kt_transfer(a, b) == pytest.approx(joint[0] + joint[1] - joint[2], abs=1e-9)
    assert kt_transfer(a, b) == pytest.approx(kt_transfer(b, a), abs=1e-9)
    assert kt_transfer(a, b) > 1


def regression(state, prefix, _seed):
    """Bayesian linear regression with noise 1/4; the state is mean and covariance of the weights."""
    mean, covariance = state
    for x, y in zip(prefix.x, prefix.y, strict=True):
        gain = covariance @ x / (x @ covariance @ x + 0.25)
        mean, covariance = mean + gain * (y - x @ mean), covariance - torch.outer(gain, covariance @ x)
    return mean, covariance


def gaussian_bits(predictor, block):
    mean, covariance = predictor
    (x,), (y,) = block.x, block.y
    variance = x @ covariance @ x + 0.25
    return float((2 * math.pi * variance).log() / 2 + (y - x @ mean) ** 2 / variance / 2) / math.log(2)


def test_labels_that_are_numbers_run_through_the_same_coder():
    x = torch.tensor([[1, 0], [0, 1], [1, 1], [1, -1]], dtype=torch.float64)
    data = Data(x, torch.tensor([1, 2, 3, -1], dtype=torch.float64))
    prior = (torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    options = {"bits": gaussian_bits, "ends": range(5)}
    K = 0.25 * torch.eye(4).double() + x @ x.T
    closed = float((2 * math.pi * K).logdet() / 2 + data.y @ K.inverse() @ data.y / 2) / math.log(2)
    assert prequential_codelength(regression, prior, data, **options).bits == pytest.approx(closed, abs=1e-9)
    assert closed == pytest.approx(8.332728, abs=1e-6)
    for pool, holdout in ((data[:2], data[2:]), (data[2:], data[:2])):
        trained = regression(prior, pool, 0)
        found = information_transfer(prior, trained, holdout, learner=regression, bits=gaussian_bits, ends=range(3))
        assert found.bits == pytest.approx(4.553496, abs=1e-6)
    found = information_transfer(prior, regression(prior, data[:2], 0), data[2:], learner=regression, ends=range(3),
                                 bits=gaussian_bits)  # fmt: skip
    assert (found.initial, found.trained) == pytest.approx((7.027410, 2.473914), abs=1e-6)


# T4: the table task, through a neural learner

CELLS, CLASSES = 64, 10


class Table(nn.Linear):
    def __init__(self):
        super().__init__(CELLS, CLASSES, bias=False)
        nn.init.zeros_(self.weight)


def table(n, seed):
    """One-hot cells with a random label each."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (CELLS,), generator=generator)
    cells = torch.randint(CELLS, (n,), generator=generator)
    return Data(torch.eye(CELLS)[cells], labels[cells])


LINEAR = partial(network, steps=300, batch_size=64, lr=0.3)


def unseen(data, ends, known=()):
    """How many labels of each block have a cell that comes neither before the block nor among those known."""
    cells = data.x.argmax(1).tolist()
    return [sum(c not in {*cells[:start], *known} for c in cells[start:stop]) for start, stop in pairwise(ends)]


@pytest.mark.parametrize("seed", range(3))
def test_table_task_costs_what_counting_says(seed):
    both = table(228, seed)
    pool, holdout = both[:100], both[100:]
    ends, bit = block_ends(128), math.log2(CLASSES)
    trained = LINEAR(Table(), pool, 7)
    found = information_transfer(Table(), trained, holdout, learner=LINEAR, seed=1)
    known = pool.x.argmax(1).tolist()
    counts = [sum(unseen(holdout, ends, seen)) for seen in ((), known)]
    assert found.initial == pytest.approx(bit * counts[0], abs=0.1)
    assert found.trained == pytest.approx(bit * counts[1], abs=0.1)
    assert found.bits == pytest.approx(bit * (counts[0] - counts[1]), abs=0.1)
    assert found.bits > 100


def test_a_memoriser_of_a_table_knows_all_of_its_own_labels_and_none_of_others():
    """T5: every cell once, so that nothing can be foretold."""
    labels = torch.randint(CLASSES, (CELLS,), generator=torch.Generator().manual_seed(0))
    data = Data(torch.eye(CELLS), labels)
    pool, holdout = data[:32], data[32:]
    trained = LINEAR(Table(), pool, 0)
    assert model_information(LINEAR, Table(), trained, pool) == pytest.approx(32 * math.log2(CLASSES), abs=0.1)
    assert information_transfer(Table(), trained, holdout, learner=LINEAR).bits == pytest.approx(0, abs=1e-6)
    wrong = LINEAR(Table(), Data(data.x, (labels + 1) % CLASSES), 0)
    assert information_transfer(Table(), wrong, holdout, learner=LINEAR, adapt="static").bits < -200


def test_label_noise_lowers_transfer_and_each_cell_is_its_own_mixture():
    """T6, by counting: cells are independent, so that lengths add up."""
    generator, values = torch.Generator().manual_seed(0), []
    clean = table(400, 0)
    for noise in (0, 0.2, 0.5):
        flipped = torch.rand(400, generator=generator) < noise
        y = torch.where(flipped, (clean.y + torch.randint(1, CLASSES, (400,), generator=generator)) % CLASSES, clean.y)
        data = Data(clean.x.argmax(1, keepdim=True).float(), y)
        pool, holdout = data[:200], data[200:]
        counts = torch.zeros(2, CELLS, CLASSES)
        for part, into in ((pool, counts[0]), (holdout, counts[1])):
            into.index_put_((part.x[:, 0].long(), part.y), torch.ones(200), accumulate=True)
        start = torch.full((CELLS, CLASSES), 0.1, dtype=torch.float64)
        found = information_transfer(start, start + counts[0], holdout, learner=counting, ends=each(holdout)).bits
        lengths = [sum(dirichlet_bits(cell, 0.1) for cell in c) for c in (*counts, counts.sum(0))]
        assert found == pytest.approx(lengths[0] + lengths[1] - lengths[2], abs=1e-8)
        values.append(found)
    assert values[0] > values[1] + 50 > values[2] + 100


def test_increments_of_disjoint_and_of_equal_tables():
    """T7: what is known of other cells adds up, what is known already adds nothing."""
    start = torch.full((4, 3), 0.01)
    a, b = (
        Data(torch.tensor([[0.0], [1]]), torch.tensor([0, 1])),
        Data(torch.tensor([[2.0], [3]]), torch.tensor([2, 0])),
    )
    holdout = join(a, b)

    def known(*pools):
        counts = start.clone()
        for pool in pools:
            counts.index_put_((pool.x[:, 0].long(), pool.y), torch.full((2,), 1e6), accumulate=True)
        return information_transfer(start, counts, holdout, learner=counting, ends=each(holdout)).bits

    assert known(a, b) == pytest.approx(known(a) + known(b), abs=1e-9)
    assert known(a) == pytest.approx(2 * math.log2(3), abs=1e-3)
    assert known(a, a) - known(a) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_forgetting_of_counts_that_fade(gamma):
    """T8: γ = 1 keeps everything, γ = 0 nothing, and between it is the closed form with fewer counts."""
    a, b, holdout = torch.tensor([10.0, 50.0]).double(), torch.tensor([60.0, 0.0]).double(), coin(40, 33, 0)
    cells = [torch.stack([a, 0 * a]), torch.stack([0 * b, b])]  # B is about another cell
    start = torch.full((2, 2), 0.5, dtype=torch.float64)
    lengths = {name: prequential_codelength(counting, start + counts, holdout, ends=each(holdout)).bits
               for name, counts in (("0", 0 * cells[0]), ("A", cells[0]), ("AB", gamma**20 * cells[0] + cells[1]),
                                    ("B", cells[1]))}  # fmt: skip
    found = transfer.retention(*(lengths["0"] - lengths[name] for name in ("A", "AB", "B")))
    faded = gamma**20 * a + 0.5

    def closed(counts):
        c = np.array([7, 33.0])
        return (gammaln(counts.sum() + 40) - gammaln(counts.sum()) - (gammaln(c + counts) - gammaln(counts)).sum()) / (
            math.log(2)
        )

    expected = [closed(np.array(counts)) for counts in ((0.5, 0.5), (10.5, 50.5), faded.tolist())]
    assert found.forgetting == pytest.approx(expected[2] - expected[1], abs=1e-9)
    assert found.retention == pytest.approx((expected[0] - expected[2]) / (expected[0] - expected[1]), abs=1e-9)
    assert gamma == 0.9 or found.retention == pytest.approx(gamma, abs=1e-10)
    assert gamma != 0.9 or 0.05 < found.retention < 0.95


# T9: what blocks cost


@pytest.fixture(scope="module")
def excess():
    """Expected bits that the KT estimate after m coins of 0.3 loses on the next one."""
    m, theta = np.arange(8, 2048), 0.3
    k = np.arange(2048)
    p = (k + 0.5) / (m[:, None] + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        loss = theta * np.log2(theta / p) + (1 - theta) * np.log2((1 - theta) / (1 - p))
    return np.nansum(binom.pmf(k, m[:, None], theta) * np.where(k <= m[:, None], loss, 0), 1)


@pytest.mark.parametrize("ratio", [math.sqrt(2), 2, 4])
def test_block_bias_is_the_one_of_a_1_over_m_curve(excess, ratio):
    ends = block_ends(2048, ratio=ratio)[1:]
    left = sum((stop - start) * excess[start - 8] for start, stop in pairwise(ends))
    right = sum((stop - start) * excess[min(stop, 2047) - 8] for start, stop in pairwise(ends))
    assert left / excess.sum() == pytest.approx((ratio - 1) / math.log(ratio), rel=0.03)
    assert right / excess.sum() == pytest.approx((ratio - 1) / math.log(ratio) / ratio, rel=0.03)


@pytest.mark.parametrize(("k", "first", "ratio", "expected"), [
    (100, 8, 2, [0, 8, 16, 32, 64, 100]), (5, 8, 2, [0, 5]), (10, 1, 1.3, [0, 1, 2, 3, 4, 6, 8, 10]),
    (1000, 10, 1.1, None),
])  # fmt: skip
def test_block_ends(k, first, ratio, expected):
    ends = block_ends(k, first=first, ratio=ratio)
    assert expected is None or ends == expected
    assert ends[-1] == k
    assert all(stop > start for start, stop in pairwise(ends))


# T10: identities


def digits(n=160, seed=0):
    data = datasets.load("digits", seed=seed).train[:n]
    return Data(data.x.flatten(1), data.y)


START = training.zero_head(models.mlp([64, 8, 10], seed=0))
SMALL = {"steps": 60, "batch_size": 8, "lr": 1e-2}


@pytest.mark.parametrize("calibrate", [False, True])
@pytest.mark.parametrize("adapt", ["prequential", "static", "sdl_curve"])
def test_nothing_learnt_is_nothing_transferred(adapt, calibrate):
    data = digits()
    learner = partial(network, steps=0) if adapt == "sdl_curve" else partial(network, **SMALL)
    options = {"learner": learner, "calibrate": calibrate, "pool": data[:64]}
    assert information_transfer(START, START, data[64:], adapt=adapt, **options).bits == pytest.approx(0, abs=1e-6)


def test_blocks_add_up_the_first_is_uniform_and_their_inner_order_does_not_count():
    data = digits()
    code = prequential_codelength(partial(network, **SMALL), START, data)
    assert code.bits == pytest.approx(code.costs.sum().item(), abs=1e-9)
    assert code.costs.dtype == torch.float64
    assert code.costs[0].item() == pytest.approx(8 * math.log2(10), abs=1e-6)
    assert code.bits < 0.9 * 160 * math.log2(10)
    last = torch.cat([torch.arange(128), torch.arange(159, 127, -1)])
    turned = prequential_codelength(partial(network, **SMALL), START, data[last])
    assert turned.bits == pytest.approx(code.bits, abs=1e-6)


def test_transfer_telescopes_over_stages():
    data, learner = digits(), partial(network, **SMALL)
    after_a = network(START, data[:50], 0, **SMALL)
    after_b = network(after_a, data[50:100], 0, **SMALL)
    steps = [(START, after_a), (after_a, after_b), (START, after_b)]
    first, second, whole = (information_transfer(*s, data[100:], learner=learner).bits for s in steps)
    assert first + second == pytest.approx(whole, abs=1e-6)
    assert abs(first) > 1


def test_three_readings_of_the_same_coins_by_hand():
    pool, holdout = coin(100, 30, 0), coin(20, 6)
    trained = KT + torch.tensor([[70.0, 30.0]])
    options = {"learner": counting}
    preq = information_transfer(KT, trained, holdout, ends=range(21), **options)
    static = information_transfer(KT, trained, holdout, adapt="static", **options)
    curve = information_transfer(KT, trained, holdout, adapt="sdl_curve", **options,
                                 pool=Data(pool.x + 1, pool.y), ends=range(101))  # fmt: skip
    assert (preq.bits, static.bits) == pytest.approx((2.376178, 2.373913), abs=1e-6)
    ones = [0, *pool.y.cumsum(0).tolist()]
    losses = [
        -0.3 * math.log2((o + 0.5) / (i + 1)) - 0.7 * math.log2((i - o + 0.5) / (i + 1)) for i, o in enumerate(ones)
    ]
    assert curve.bits == pytest.approx(sum(loss - losses[100] for loss in losses[:100]), abs=1e-9)
    assert curve.bits > 2
    assert {preq.adapt, static.adapt, curve.adapt} == {"prequential", "static", "sdl_curve"}


def test_static_grows_like_k_and_prequential_like_its_logarithm():
    trained = KT + torch.tensor([[7000.0, 3000.0]])
    bits = {k: [information_transfer(KT, trained, coin(k, 3 * k // 10, 0), learner=counting, adapt=adapt,
                                     ends=range(k + 1)).bits for adapt in ("prequential", "static")]
            for k in (100, 1000)}  # fmt: skip
    assert bits[1000][1] == pytest.approx(10 * bits[100][1], rel=1e-3)
    assert bits[1000][0] - bits[100][0] == pytest.approx(math.log2(10) / 2, abs=0.1)


# T11: regular models


def test_redundancy_rises_by_half_a_logarithm_per_parameter():
    """Four cells of three classes, d = 8: sequences of fixed proportions have no noise."""
    d, n, redundancies = 8, [160, 320, 640], []
    for size in n:
        block = torch.tensor([0, 1, 0, 2, 0, 1, 0, 2, 0, 1])  # shares 1/2, 3/10, 1/5 of every ten
        y, cell = block.repeat(size // 10), torch.arange(size // 10).repeat_interleave(10) % 4
        order = torch.randperm(size, generator=torch.Generator().manual_seed(0))
        data = Data(cell[order, None].float(), y[order])
        entropy = -sum(p * math.log2(p) for p in (0.5, 0.3, 0.2))
        code = prequential_codelength(counting, torch.full((4, 3), 0.5), data, ends=each(data))
        redundancies.append(code.bits - size * entropy)
    slope = np.polyfit(np.log2(n), redundancies, 1)[0]
    assert slope == pytest.approx(d / 2, rel=0.1)


# what a code is: the probabilities 2^-L of all label sequences add up to 1


def kraft(code, k, classes):
    x = torch.randn(k, 3, generator=torch.Generator().manual_seed(0))
    lengths = [code(Data(x, torch.tensor(y))).bits for y in product(range(classes), repeat=k)]
    return sum(2.0**-bits for bits in lengths)


def tiny(classes=2):
    return models.mlp([3, 4, classes], seed=0)


@pytest.mark.parametrize("options", [
    {}, {"calibrate": True}, {"mixture": True}, {"batched": True},
    {"batched": True, "calibrate": True, "mixture": True},
], ids=str)  # fmt: skip
def test_block_codes_are_codes(options):
    learner = partial(networks if options.get("batched") else network, steps=4, batch_size=2, lr=0.3)
    ends = block_ends(5, first=1)
    assert kraft(lambda data: prequential_codelength(learner, tiny(), data, ends=ends, **options), 5, 2) == (
        pytest.approx(1, abs=1e-5)
    )


@pytest.mark.parametrize("calibrate", [False, True])
def test_single_pass_codes_are_codes(calibrate):
    options = {"batch_size": 2, "streams": 2, "lr": 0.3, "calibrate": calibrate}
    assert kraft(lambda data: replay_codelength(tiny(), data, **options), 5, 2) == pytest.approx(1, abs=1e-5)


def test_counting_codes_are_codes_also_beyond_two_classes():
    start = torch.tensor([[0.1, 1.0, 2.0]])
    assert kraft(lambda data: prequential_codelength(counting, start, Data(data.x[:, :1] * 0, data.y)), 4, 3) == (
        pytest.approx(1, abs=1e-9)
    )


def test_the_flaws_of_public_code_are_no_codes():
    """The sum is above 1 if a block is capped without a flag, chooses its stopping time, or is charged once learnt."""

    def capped(data):
        code = prequential_codelength(partial(network, steps=4, lr=0.3), tiny(), data, ends=block_ends(5, first=1))
        sizes = torch.tensor(code.ends).diff()
        return code._replace(bits=float(torch.minimum(code.costs, sizes.double()).sum()))

    def leaking(data):
        learners = [partial(network, steps=steps, lr=0.3) for steps in (1, 4)]
        codes = [prequential_codelength(one, tiny(), data, ends=block_ends(5, first=1)) for one in learners]
        return codes[0]._replace(bits=float(torch.minimum(codes[0].costs, codes[1].costs).sum()))

    def right_endpoint(data):
        data, ends = Data(data.x[:, :1] * 0, data.y), block_ends(5, first=1)
        nats = [counting(KT, data[:stop])(data.x[start:stop]).gather(1, data.y[start:stop, None]).sum()
                for start, stop in pairwise(ends)]  # fmt: skip
        return transfer.Codelength(-float(sum(nats)) / math.log(2), torch.tensor([]), ends)

    assert kraft(right_endpoint, 5, 2) > 1.1
    assert kraft(capped, 5, 2) > 1.1
    assert kraft(leaking, 5, 2) > 1.1


def conditional(code, data):
    """Sum of 2^-L over all labels of the last sample, given the others."""
    lengths = [code(Data(data.x, torch.cat([data.y[:-1], torch.tensor([c])]))) for c in range(10)]
    return [float(one.costs[-1]) for one in lengths], [one.costs[:-1] for one in lengths]


@pytest.mark.parametrize("options", [{"calibrate": True}, {"calibrate": True, "batched": True}], ids=str)
def test_a_fitted_temperature_knows_nothing_of_the_block(options):
    learner = partial(networks if options.get("batched") else network, **SMALL)
    data, ends = digits(65), [0, 8, 16, 32, 64, 65]
    last, before = conditional(lambda d: prequential_codelength(learner, START, d, ends=ends, **options), data)
    assert sum(2.0**-bits for bits in last) == pytest.approx(1, abs=1e-6)
    assert all(torch.equal(costs, before[0]) for costs in before)
    plain = prequential_codelength(learner, START, data, ends=ends, batched=options.get("batched", False))
    assert (before[0][-1] - plain.costs[-2]).abs() > 0.1  # it does something


def test_forward_calibration_knows_nothing_of_the_batch():
    last, before = conditional(lambda d: replay_codelength(START, d, batch_size=4, streams=3), digits(65))
    assert sum(2.0**-bits for bits in last) == pytest.approx(1, abs=1e-6)
    assert all(torch.equal(costs, before[0]) for costs in before)


def test_a_learner_is_given_the_prefix_and_nothing_else():
    data, seen = digits(100), []

    def spy(_state, prefix, seed):
        seen.append((prefix, seed))
        return lambda x: torch.zeros(len(x), 10)

    prequential_codelength(spy, None, data, seed=3, calibrate=True)
    assert sorted(len(prefix) for prefix, _ in seen) == [0, 8, 16, 24, 32, 48, 64]
    assert all(torch.equal(prefix.y, data.y[: len(prefix)]) and seed == 3 for prefix, seed in seen)


# units, optimisers, long codes


def test_every_part_is_in_bits():
    """A learner that knows nothing pays log2 C for each label of each block, the first like the rest."""
    code = prequential_codelength(lambda _s, _p, _i: lambda x: torch.ones(len(x), 10), None, digits(100))
    sizes = torch.tensor(code.ends, dtype=torch.float64).diff()
    torch.testing.assert_close(code.costs, sizes * math.log2(10), atol=1e-9, rtol=0)


def test_the_optimiser_starts_anew_for_each_block_and_code():
    data, learner = digits(100), partial(network, **SMALL)
    whole = prequential_codelength(learner, START, data)
    alone = training.train(START, data[:64], seed=0, **SMALL)
    expected = -alone(data.x[64:]).double().log_softmax(1).gather(1, data.y[64:, None]).sum().item() / math.log(2)
    assert whole.costs[-1].item() == pytest.approx(expected, abs=1e-4)
    again = prequential_codelength(learner, START, data)
    assert torch.equal(again.costs, whole.costs)


def test_long_codes_do_not_underflow_and_charge_the_first_block_once():
    data = coin(2000, 1100, 0)
    log_p = torch.tensor([[0.45, 0.55]]).log()
    still = prequential_codelength(lambda _s, _p, _i: lambda x: log_p.expand(len(x), 2), None, data)
    assert still.bits == pytest.approx(-1100 * math.log2(0.55) - 900 * math.log2(0.45), abs=1e-3)


def test_batched_codes_are_the_same_codes():
    data, codes = digits(), []
    for learner, batched in ((network, False), (networks, True)):
        code = prequential_codelength(partial(learner, **SMALL), START, data, batched=batched, calibrate=True)
        codes.append(code.costs)
    torch.testing.assert_close(codes[0], codes[1], atol=2e-2, rtol=1e-3)


def test_replay_streams_save_bits_and_a_trained_start_saves_more():
    data = digits(400)
    lengths = [replay_codelength(START, data, streams=s, lr=5e-3).bits for s in (0, 8)]
    assert lengths[1] < 0.8 * lengths[0]
    trained = network(START, digits(898)[400:], 0, steps=500, lr=5e-3)
    assert replay_codelength(trained, data, streams=8, lr=5e-3).bits < 0.7 * lengths[1]


def test_replay_codes_a_last_batch_of_one_for_a_network_with_batch_norm():
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    data = Data(torch.rand(17, 4), torch.arange(17) % 4)
    found = replay_codelength(net, data, batch_size=8, streams=2)
    assert found.ends == [0, 8, 16, 17]
    assert found.costs.isfinite().all()
    assert torch.equal(found.costs[:2], replay_codelength(net, data[:16], batch_size=8, streams=2).costs)


def test_replay_walks_through_the_past_as_a_slow_version_does():
    data, batch = digits(40), 4
    found = replay_codelength(START, data, batch_size=batch, streams=2, lr=1e-2, calibrate=False, seed=9)
    model, draw = copy.deepcopy(START), torch.Generator().manual_seed(9)
    update, at, bits = torch.optim.Adam(model.parameters(), 1e-2), [0, 0], 0.0
    for t in range(10):
        x, y = data.x[batch * t : batch * (t + 1)], data.y[batch * t : batch * (t + 1)]
        bits -= model(x).detach().double().log_softmax(1)[range(batch), y].sum().item() / math.log(2)
        back = torch.rand(2, generator=draw).tolist()
        at = [0 if u < 1 / (t + 2) else min(place + 1, t) for u, place in zip(back, at, strict=True)]
        for place in [t, *at]:
            rows = slice(batch * place, batch * (place + 1))
            update.zero_grad()
            nn.functional.cross_entropy(model(data.x[rows]), data.y[rows]).backward()
            update.step()
    assert found.bits == pytest.approx(bits, abs=1e-2)
    assert found.ends == [*range(0, 41, 4)]


# compare, calibrate, surplus, one block


@pytest.mark.parametrize("batched", [False, True])
def test_compare_has_the_numbers_of_information_transfer(batched):
    data, learner = digits(), partial(networks if batched else network, **SMALL)
    trained = network(START, data[:60], 0, **SMALL)
    frame = transfer.compare(START, {"trained": trained}, data[60:], learner=learner, batched=batched, pool=data[:60])
    rows = frame.set_index("state")
    for adapt, column in (("prequential", "L_IT"), ("static", "static")):
        options = {"learner": learner, "adapt": adapt, "batched": batched}
        found = information_transfer(START, trained, data[60:], **options)
        assert rows.loc["trained", column] == pytest.approx(found.bits, abs=1e-6)
        assert rows.loc["initial", column] == pytest.approx(0, abs=1e-9)
    assert rows.loc["trained", "accuracy"] == transfer.accuracy(trained, data[60:]) > 0.3


def test_calibration_finds_the_temperature_of_an_overconfident_network():
    data = digits(400)
    trained = network(START, data[:300], 0, steps=300, lr=5e-3)
    loud = training.fold(trained, 10.0)
    betas = [transfer.calibrated(model, data[300:]).output.weight.detach().norm().item() for model in (trained, loud)]
    assert betas[1] / betas[0] == pytest.approx(1, abs=0.11)  # one step of the grid
    assert transfer.calibrated(loud, data[300:]).output.weight.norm() < 0.3 * loud.output.weight.norm()


def test_surplus_by_hand():
    code = transfer.Codelength(19.0, torch.tensor([10.0, 5.0, 4.0], dtype=torch.float64), [0, 2, 4, 12])
    assert transfer.surplus_description_length(code, tolerance=1) == 8 + 3 + 0
    assert transfer.surplus_description_length(code, tolerance=0) == 19
    with pytest.raises(ValueError, match="tolerance must be a number of at least 0, got -1"):
        transfer.surplus_description_length(code, tolerance=-1)


def test_a_block_costs_the_logarithm_of_its_probabilities():
    data = Data(torch.zeros(3, 1), torch.tensor([0, 0, 1]))
    log_p = torch.tensor([[0.25, 0.75]]).log()
    assert transfer.block_bits(lambda x: log_p.expand(len(x), 2), data) == pytest.approx(4 - math.log2(0.75))
    mixed = -math.log2((0.25**2 * 0.75 + 0.5**3) / 2)
    assert transfer.block_bits(lambda x: log_p.expand(len(x), 2), data, mixture=True) == pytest.approx(mixed)


# bad input


def test_refusals():
    data = digits(40)
    code = partial(prequential_codelength, partial(network, **SMALL), START)
    with pytest.raises(ValueError, match="data must hold k >= 1 samples with one label each, got 0 and 0"):
        code(data[:0])
    with pytest.raises(ValueError, match="the labels of data must be at least 0, got -1"):
        code(Data(data.x, data.y - data.y - 1))
    with pytest.raises(ValueError, match=r"ends must increase from 0 to 40, got \[0, 8, 8, 40\]"):
        code(data, ends=[0, 8, 8, 40])
    for k, options, message in (
        (0, {}, "k must be an integer of at least 1, got 0"),
        (5, {"first": 0}, "first must be an integer of at least 1, got 0"),
        (5, {"ratio": 1}, "ratio must be a number above 1, got 1"),
        (5, {"ratio": math.nan}, "ratio must be a number, got nan"),
    ):
        with pytest.raises(ValueError, match=message):
            block_ends(k, **options)
    with pytest.raises(ValueError, match="unknown adapt 'online'; allowed: prequential, static, sdl_curve"):
        information_transfer(START, START, data, learner=network, adapt="online")
    with pytest.raises(ValueError, match="'sdl_curve' needs the pool"):
        information_transfer(START, START, data, learner=network, adapt="sdl_curve")
    for function in (partial(information_transfer, START, START), partial(transfer.compare, START, {"b": START})):
        with pytest.raises(ValueError, match="holdout must not share samples with pool, got 5 of 10 that do"):
            function(data[:10], learner=network, pool=data[5:])
    with pytest.raises(ValueError, match="after_a and b_only must differ"):
        transfer.retention([1.0, 2.0], [1.0, 2.0], [0.0, 2.0])
    with pytest.raises(ValueError, match="streams must be an integer of at least 0, got -1"):
        replay_codelength(START, data, streams=-1)


LEARNS = {
    "code": lambda **options: prequential_codelength(initial=START, data=digits(40), **options),
    "transfer": lambda **options: information_transfer(START, START, digits(40), **options),
    "curve": lambda **options: information_transfer(
        START, START, digits(40)[20:], adapt="sdl_curve", pool=digits(40)[:20], **options
    ),
    "compare": lambda **options: transfer.compare(START, {"again": START}, digits(40), **options),
    "model": lambda **options: transfer.model_information(options.pop("learner"), START, START, digits(40), **options),
}


@pytest.mark.parametrize("call", LEARNS)
def test_a_misspelt_option_is_refused_before_anything_is_learnt(call, monkeypatch):
    """No network runs, in training or for its scores."""
    monkeypatch.setattr(torch.nn.Module, "__call__", lambda *_: pytest.fail("a network has run"))
    message = "unknown option 'step' of network; allowed: steps, epochs, batch_size, lr, head, memory, term$"
    with pytest.raises(ValueError, match=message):
        LEARNS[call](learner=partial(network, step=5))
    with pytest.raises(ValueError, match=r"unknown option 'epochs' of networks; allowed: steps, batch_size, lr$"):
        LEARNS[call](learner=partial(networks, steps=5, epochs=2), batched=True)
    with pytest.raises(ValueError, match="network needs the option 'steps', got lr"):
        LEARNS[call](learner=partial(network, lr=0.1))
    with pytest.raises(TypeError, match="unexpected keyword argument 'calibrat'"):
        LEARNS[call](learner=partial(network, steps=5), calibrat=True)


def test_a_curve_of_losses_has_no_mixture():
    with pytest.raises(ValueError, match="mixture is an option of codes"):
        information_transfer(START, START, digits(40), learner=network, adapt="sdl_curve", mixture=True)


@pytest.mark.parametrize(("scores", "message"), [
    (torch.full((1, 10), math.nan), "must be numbers, got NaN"),
    (torch.zeros(1, 3), "labels must be below the learner's 3 classes, got 9"),
    (torch.zeros(10), r"must have shape \(8, classes\), got \(10,\)"),
    (torch.tensor([[0.0] + [-math.inf] * 9]), "gives a label the probability 0"),
])  # fmt: skip
def test_learners_that_cannot_be_paid(scores, message):
    data = digits(40)
    data = Data(data.x, (data.y[:40] * 0 + 9))

    def learner(_state, _prefix, _seed):
        return lambda x: scores.expand(len(x), -1) if scores.ndim == 2 else scores

    with pytest.raises(ValueError, match=message):
        prequential_codelength(learner, None, data)


@pytest.mark.parametrize("batched", [False, True])
def test_a_learner_that_diverges_is_named_by_seed_block_and_step(batched):
    def learner(state, prefix, seed):
        longest = max(map(len, prefix)) if batched else len(prefix)
        return (networks if batched else network)(state, prefix, seed, steps=5, lr=1e30 if longest >= 32 else 1e-3)

    with pytest.raises(
        FloatingPointError, match=r"^seed 3, the block after 32 labels: the loss is (nan|inf) at step 3;"
    ):
        prequential_codelength(learner, START, digits(40), batched=batched, seed=3)


@pytest.mark.parametrize(("calibrate", "sent"), [(False, 16), (True, 32)])
def test_a_learner_that_gives_nan_is_named_by_seed_and_block(calibrate, sent):
    def learner(_state, prefix, _seed):
        return lambda x: torch.full((len(x), 10), math.nan if len(prefix) == (24 if calibrate else 16) else 0.0)

    with pytest.raises(ValueError, match=rf"^seed 3, the block after {sent} labels: .* must be numbers, got NaN"):
        prequential_codelength(learner, None, digits(40), calibrate=calibrate, seed=3)


def test_a_label_never_seen_has_a_price():
    """By counting with a prior; of probability 0, one bit more than the uniform code of the block, if mixed with it."""
    data = Data(torch.zeros(9, 1), torch.tensor([0] * 8 + [1]))
    code = prequential_codelength(counting, LAPLACE, data, ends=[0, 8, 9])
    assert code.costs[1] == pytest.approx(math.log2(10))
    zero = torch.tensor([[1.0, 0.0]])
    with pytest.raises(ValueError, match="probability 0"):
        prequential_codelength(counting, zero, data, ends=[0, 8, 9])
    assert prequential_codelength(counting, zero, data, ends=[0, 8, 9], mixture=True).costs[1] == pytest.approx(2)
