"""E10 of notebook 05: its crops, networks and contrasts on made-up sections; a few steps on the real ones."""

import pytest
import torch

from infolib.data import Data, Splits
from infolib.measures import discarding
from workbook import datasets, models, records
from workbook.experiments import nb05_segmentation as study

ROW = {"n_networks": 2, "n_train": 3, "n_test": 2, "side": 16, "n_crops": 4, "grid": 8, "width": 2, "epochs": 1}
SMALL = study.Segmentation(**ROW)


@pytest.fixture
def made_up(monkeypatch):
    """Sections of 80 pixels in which stripes of 4 are membrane, dark, and 8 wide cells are bright; of other phases."""

    def sections(*, n_train, n_test):
        generator, n = torch.Generator().manual_seed(0), n_train + n_test
        y = ((torch.arange(80)[None] + 5 * torch.arange(n)[:, None]) % 12 < 4)[:, None, :].expand(n, 80, 80).long()
        x = 0.7 - 0.4 * y[:, None] + 0.1 * torch.rand(n, 1, 80, 80, generator=generator)
        return Splits(Data(x[:n_train], y[:n_train]), Data(x[:0], y[:0]), Data(x[n_train:], y[n_train:]), "made", {})

    monkeypatch.setattr(datasets, "sections", sections)
    return sections(n_train=3, n_test=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_networks": 1}, r"n_networks must be int from 2 to 1000, got 1"),
        ({"n_train": 1}, r"n_train must be int from 2 to 1000000, got 1"),
        ({"n_test": 1}, r"n_test must be int from 2 to 1000000, got 1"),
        ({"n_train": 21, "n_test": 10}, r"n_train must be a number from 2 to 20, got 21"),
        ({"side": 30}, r"side must be a multiple of 4 and of grid=8, got 30"),
        ({"grid": 7}, r"side must be a multiple of 4 and of grid=7, got 16"),
        ({"side": 64, "n_crops": 50}, r"n_crops must be a number from 1 to 49, got 50"),
        ({"side": 64, "n_crops": 24, "n_shown": 50}, r"n_shown must be a number from 1 to 49, got 50"),
        ({"most": 0.1}, r"most must be a finite number of at least 0.15, got 0.1"),
        ({"layer": "dec3"}, r"layer must be one of 'enc1', .*, got 'dec3'"),
    ],
    ids=str,
)
def test_an_experiment_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        records.built(study.Segmentation, ROW | change, "segmentation")


def test_crops_lie_in_their_section_beside_one_another_and_spread_over_the_shares_of_membrane():
    y = (torch.arange(80) % 8 < torch.arange(80)[:, None] // 12 + 1).long().expand(2, 80, 80)  # the lower, the more
    x = torch.arange(6400.0).view(1, 1, 80, 80) + torch.tensor([0.0, 6400.0]).view(2, 1, 1, 1)
    data = study.crops(Data(x, y), 4, SMALL, seed=0)
    assert data.x.shape == (8, 1, 16, 16)
    for i, (image, mask) in enumerate(zip(data.x[:, 0].long(), data.y, strict=True)):
        assert (image // 6400 == i // 4).all()
        top, left = divmod(int(image[0, 0]) % 6400, 80)
        assert torch.equal(image, x[i // 4, 0, top : top + 16, left : left + 16].long())
        assert torch.equal(mask, y[i // 4, top : top + 16, left : left + 16])
    assert data.x.unique().numel() == data.x.numel()  # no pixel twice
    share = data.y.float().mean((1, 2)).view(2, 4)
    assert (share.diff() >= 0).all()
    assert (share >= 0.15).all()
    assert (share <= 0.5).all()
    assert (share[:, -1] - share[:, 0] > 0.1).all()
    assert not torch.equal(study.crops(Data(x, y), 4, SMALL, seed=1).x, data.x)


def test_masks_of_another_size_and_more_crops_than_there_are_are_refused(made_up):
    x, y = made_up.train.x, made_up.train.y
    with pytest.raises(ValueError, match=r"masks must be \(3, 80, 80\), as of the images, got \(3, 79, 80"):
        study.crops(Data(x, y[:, 1:]), 1, SMALL, seed=0)
    with pytest.raises(ValueError, match=r"crops of section 1, which has 0 with enough membrane, must be .*, got 1"):
        study.crops(Data(x, y * torch.tensor([1, 0, 1]).view(3, 1, 1)), 1, SMALL, seed=0)
    with pytest.raises(ValueError, match=r"crops of section 0, which has 16 with .* from 1 to 16, got 17"):
        study.crops(made_up.train, 17, SMALL, seed=0)


@pytest.mark.usefixtures("made_up")
def test_kinds_differ_in_their_labels_alone_and_the_untrained_one_in_its_statistics(monkeypatch):
    taught = []
    monkeypatch.setattr(study.techniques, "segmenting", lambda *taken, **_how: taught.append(taken[1:]))
    for kind in study.KINDS:
        study.train(SMALL, kind, 1)
    (x, y), (x_others, others), (x_shuffled, shuffled) = taught
    assert torch.equal(x, x_others) and torch.equal(x, x_shuffled)  # noqa: PT018
    sections = y.view(3, 4, 16, 16)
    assert any(torch.equal(others.view(3, 4, 16, 16), sections.roll(by, 0)) for by in (1, 2))
    assert not torch.equal(others, y)
    assert torch.equal(shuffled.flatten(1).sum(1), y.flatten(1).sum(1))
    assert not torch.equal(shuffled, y)
    untrained, start = study.train(SMALL, "untrained", 1), models.unet(width=2, seed=1)
    assert torch.equal(untrained.enc1.conv1.conv.weight, start.enc1.conv1.conv.weight)
    before = start.enc1.conv1.conv(x)
    torch.testing.assert_close(untrained.enc1.conv1.norm.running_mean, before.mean((0, 2, 3)))
    torch.testing.assert_close(untrained.enc1.conv1.norm.running_var, before.var((0, 2, 3)))
    assert not untrained.training
    with pytest.raises(ValueError, match="unknown kind 'twin'; allowed: trained, untrained, other sections' labels"):
        study.train(SMALL, "twin", 0)


@pytest.mark.usefixtures("made_up")
def test_a_trained_network_finds_the_membranes_and_one_of_shuffled_labels_does_not():
    longer = study.Segmentation(**ROW | {"epochs": 30, "n_crops": 8})
    crops = study.shown(longer, 0)
    nets = {kind: study.train(longer, kind, 0) for kind in ("trained", "shuffled labels")}
    right = {kind: (net(crops.x).argmax(1) == crops.y).float().mean().item() for kind, net in nets.items()}
    assert right["trained"] > 0.95
    assert right["shuffled labels"] < 0.8


def by_hand(entropy, on, brightness, bins):
    order = brightness.flatten().argsort().tolist()
    total = weights = 0.0
    for start in range(0, len(order), len(order) // bins):
        cells = order[start : start + len(order) // bins]
        off = [entropy.flatten()[i].item() for i in cells if not on.flatten()[i]]
        there = [entropy.flatten()[i].item() for i in cells if on.flatten()[i]]
        if off and there:
            weight = len(off) * len(there) / (len(off) + len(there))
            total += weight * (sum(off) / len(off) - sum(there) / len(there))
            weights += weight
    return total / weights


@pytest.mark.parametrize("bins", [1, 4, 8])
def test_the_contrast_is_the_weighted_mean_of_those_of_the_bins(bins):
    generator = torch.Generator().manual_seed(0)
    entropy, brightness = torch.randn(2, 5, 8, 8, generator=generator)
    on = torch.rand(5, 8, 8, generator=generator) < 0.3
    expected = [by_hand(*cells, bins) for cells in zip(entropy, on, brightness, strict=True)]
    assert study.contrast(entropy, on, brightness, bins).tolist() == pytest.approx(expected)


def test_what_brightness_alone_decides_is_gone_when_matched_on_it():
    generator = torch.Generator().manual_seed(0)
    brightness = torch.rand(20, 16, 16, generator=generator)
    on = torch.rand(20, 16, 16, generator=generator) > brightness  # membranes are dark
    raw, matched = (study.contrast(brightness, on, brightness, bins).mean() for bins in (1, 64))
    assert raw > 0.3
    assert abs(matched) < 0.01


def test_a_contrast_without_cells_on_either_side_is_nan_and_other_sizes_are_refused():
    cells = torch.rand(1, 4, 4)
    assert study.contrast(cells, cells < 2, cells, 2).isnan().all()
    with pytest.raises(ValueError, match=r"the shape of on must be \(1, 4, 4\), as of entropy, got \(1, 4, 3\)"):
        study.contrast(cells, cells[..., 1:] > 0, cells, 2)
    with pytest.raises(ValueError, match=r"shape of brightness must be \(1, 4, 4\), as of entropy, got \(1, 2"):
        study.contrast(cells, cells > 0, cells[:, 2:], 2)


@pytest.mark.usefixtures("made_up")
def test_the_known_layer_discards_a_bit_more_off_the_membranes():
    masks = study.shown(SMALL, 0).y
    crops = Data(torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0)), masks)
    on, options = crops.y.view(-1, 8, 2, 8, 2).sum((2, 4)), SMALL.options | {"steps": 0}
    whole = torch.cat([
        discarding.measured(study.known(y, ["known"]), x[None], ["known"], error=0.01, **options)["known"].entropy
        for x, y in zip(crops.x, crops.y, strict=True)
    ])  # fmt: skip
    pure = [h[m == 0].mean() - h[m == 4].mean() for h, m in zip(whole, on, strict=True)]
    assert torch.stack(pure).tolist() == pytest.approx([1.0] * 4, abs=0.1)
    table = study.contrasts(whole, crops, SMALL)
    assert table["section"].tolist() == [0, 0, 1, 1]
    assert (table["raw"] > 0.6).all()
    pooled = torch.nn.functional.avg_pool2d(crops.x, 2)[:, 0]
    assert table["matched"].tolist() == study.contrast(whole, on >= 2, pooled, 8).tolist()
    assert (table["matched"] > 0.6).all()


@pytest.mark.data
def test_every_section_has_the_crops_of_the_paper_profile():
    paper = study.Segmentation(n_networks=6)
    for seed in range(100, 103):
        train = study.crops(datasets.sections(n_train=20, n_test=10).train, paper.n_crops, paper, seed)
        assert train.x.shape == (480, 1, 64, 64)
        assert study.shown(paper, seed).x.shape == (20, 1, 64, 64)


@pytest.mark.data
def test_a_network_is_measured_on_the_real_sections():
    few = study.Segmentation(n_networks=2, n_train=2, n_test=2, n_crops=4, n_shown=1, width=2, epochs=1)
    crops = study.shown(few, 0)
    found = discarding.measured(study.train(few, "trained", 0), crops.x, ["dec1"], steps=0, **few.options)["dec1"]
    table = study.contrasts(found.entropy, crops, few)
    assert table["section"].tolist() == [0, 1]
    assert table.notna().all(axis=None)


def test_the_claims_are_about_these_settings():
    assert records.columns(study.Segmentation(n_networks=8)) == {
        "n_networks": 8, "n_train": 20, "n_test": 10, "side": 64, "n_crops": 24, "n_shown": 2, "least": 0.15,
        "most": 0.5, "width": 8, "epochs": 5, "lr": 3e-3, "batch_size": 8, "layer": "dec1", "grid": 16, "bins": 8,
        "sigma0": 0.01, "alpha": 1.5,
    }  # fmt: skip


@pytest.mark.usefixtures("made_up")
def test_there_is_a_row_for_each_crop_of_a_network_and_of_the_known_layer():
    rows, known = (study.measure(SMALL, kind, 1, 0) for kind in ("untrained", "known layer"))
    net, crops = study.train(SMALL, "untrained", 1), study.shown(SMALL, 1)
    found = discarding.measured(net, crops.x, ["dec1"], steps=0, seed=1, **SMALL.options)["dec1"]
    assert rows[["section", "raw", "matched"]].equals(study.contrasts(found.entropy, crops, SMALL))
    right = [(net(x[None]).argmax(1) == y).double().mean().item() for x, y in zip(crops.x, crops.y, strict=True)]
    assert rows["accuracy"].tolist() == pytest.approx(right)
    assert set(rows["kind"]) == {"untrained"}
    assert known["section"].tolist() == rows["section"].tolist()
    assert (known["raw"] > 0.6).all()
    assert set(known["kind"]) == {"known layer"}
