"""What makes other data of data: orders, labels, pixels, classes, clutter."""

import pytest
import torch

from infolib import checks
from infolib.data import Data, Splits, gathered
from workbook import datasets


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits", n_val=0, seed=0).train


def test_shuffled_samples_keep_their_labels(digits):
    found = digits.shuffled(draw(3))
    order = torch.randperm(len(digits), generator=draw(3))
    assert torch.equal(found.x, digits.x[order])
    assert torch.equal(found.y, digits.y[order])


def test_permuted_labels_leave_the_samples_and_how_many_there_are_of_each_class(digits):
    found = digits.permuted_labels(draw())
    assert torch.equal(found.x, digits.x)
    assert torch.equal(found.y.bincount(), digits.y.bincount())
    assert (found.y != digits.y).double().mean() > 0.8
    parts = Splits(digits, digits[:9], digits[:50], "three", {}).permuted_labels(seed=4)
    generator = draw(4)
    for part, n in ((parts.train, len(digits)), (parts.val, 9), (parts.test, 50)):
        assert torch.equal(part.y, digits[:n].permuted_labels(generator).y)


def test_noise_redraws_its_share_of_labels(digits):
    noisy = digits.noisy_labels(0.5, generator=draw())
    assert torch.equal(noisy.x, digits.x)
    assert (digits.y != noisy.y).double().mean() == pytest.approx(0.45, abs=0.06)
    assert torch.equal(digits.noisy_labels(0, generator=draw()).y, digits.y)
    assert digits.noisy_labels(1, generator=draw()).y.bincount(minlength=10).min() > 80
    assert digits.noisy_labels(1, classes=2, generator=draw()).y.unique().tolist() == [0, 1]
    with pytest.raises(ValueError, match="share must be a number from 0 to 1, got 2"):
        digits.noisy_labels(2, generator=draw())


def test_permuted_pixels_are_the_same_order_for_every_image_and_another_for_each_seed(digits):
    data = digits[:5]
    one, other = data.permuted_pixels(seed=1), data.permuted_pixels(seed=2)
    assert torch.equal(one.x.flatten(1).sort().values, data.x.flatten(1).sort().values)
    assert torch.equal(one.y, data.y)
    assert not torch.equal(one.x, other.x)
    assert torch.equal(data[2:3].permuted_pixels(seed=1).x, one.x[2:3])


def test_samples_of_classes_in_their_order_with_labels_of_their_own_or_not(digits):
    chosen = (digits.y == 3) | (digits.y == 7)
    kept, own = (digits.of_classes([7, 3], renumber=renumber) for renumber in (False, True))
    assert torch.equal(kept.x, digits.x[chosen])
    assert torch.equal(kept.y, digits.y[chosen])
    assert torch.equal(own.y, (kept.y == 3).long())
    assert torch.equal(digits.of_classes(range(5, 10)).y, digits.y[digits.y >= 5] - 5)
    for wrong, message in (([], "classes is empty"), ([1.5], "classes must be integers, got")):
        with pytest.raises(ValueError, match=message):
            digits.of_classes(wrong)


def test_each_part_is_changed_in_turn(digits):
    splits = Splits(digits[:3], digits[3:5], digits[5:9], "three", {"file": "hash"})
    found = splits.each(lambda part: part[1:])
    assert [len(part) for part in (found.train, found.val, found.test)] == [2, 1, 3]
    assert torch.equal(found.test.x, digits.x[6:9])
    assert (found.name, found.sha256) == ("three", {"file": "hash"})


def test_clutter_lies_around_the_object_and_comes_from_other_images():
    plain = datasets.load("digits", n_train=200, n_val=0, seed=0)
    splits = plain.cluttered(seed=0)
    assert splits.name == "cluttered digits"
    assert splits.train.x.shape == (200, 1, 12, 12)
    for part, full in ((plain.train, splits.train), (plain.test, splits.test)):
        assert torch.equal(full.x[..., 2:10, 2:10], part.x)
        assert torch.equal(full.y, part.y)
        assert 0 <= full.x.min() <= full.x.max() <= 1
    border = torch.ones(12, 12, dtype=torch.bool)
    border[2:10, 2:10] = False
    around = splits.train.x[:, 0, border]
    assert 0.5 < (around > 0).any(0).float().mean() <= 1  # everywhere on the border, in some image
    assert (around.amax(1) > 0).float().mean() > 0.95
    again, other = (plain.cluttered(seed=seed).train.x for seed in (0, 1))
    assert torch.equal(again, splits.train.x)
    assert not torch.equal(other, splits.train.x)
    assert (plain.cluttered(patches=0).train.x[:, 0, border] == 0).all()


def test_an_image_is_not_its_own_clutter():
    x = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])  # a black image among white ones sees white
    data = Data(x, torch.arange(2))
    canvas = Splits(data, data, data, "two", {}).cluttered(patches=20).train.x
    assert canvas[0].max() == 1
    assert canvas[1].sum() == 16


@pytest.mark.parametrize("shape", [(5, 5), (6, 6), (10, 10), (4, 8)])
def test_clutter_needs_square_images_whose_border_is_a_whole_number_of_pixels(shape):
    data = Data(torch.zeros(2, 1, *shape), torch.arange(2))
    with pytest.raises(ValueError, match="images must be square, with a side that is a multiple of 4"):
        Splits(data, data, data, "odd", {}).cluttered()


def test_labels_are_one_array():
    assert Data(torch.zeros(2, 3), (torch.tensor(4), torch.tensor(5))).y.tolist() == [4, 5]
    for y in ((torch.zeros(2), torch.ones(2)), {"y": torch.zeros(2)}):
        with pytest.raises(ValueError, match=f"y must be an array of numbers, got {type(y).__name__}"):
            Data(torch.zeros(2, 3), y)


def test_two_samples_in_a_list_are_no_pair():
    a, b = torch.zeros(3), torch.ones(3)
    for two in ([(a, 1), (b, 0)], [(a, torch.tensor(1)), (b, torch.tensor(0))],
                [{"x": a, "labels": 1}, {"x": b, "labels": 0}]):  # fmt: skip
        found = gathered("data", two)
        assert found.y.tolist() == [1, 0]
        assert torch.equal(checks.leaves(found.x)[0], torch.stack([a, b]))
    for pair in ([torch.stack([a, b]), (1, 0)], ((a[:2], b[:2]), [1, 0]), [(a[:2], b[:2]), torch.tensor([1, 0])]):
        assert gathered("data", pair).y.tolist() == [1, 0]
