"""The networks of notebook 08 that take no images: what their samples are, and that they have learnt."""

import torch

from infolib.measures import lenses
from workbook.experiments import nb08_your_model as study
from workbook.experiments.nb08_your_model import ANIMALS, PEOPLE, WORDS


def test_sentences_of_both_kinds_have_the_same_words_in_another_order():
    reader, data = study.sentences(n=200)
    words = data.x["words"]
    assert torch.equal(data.x["mask"], (words > 0).long())
    for row, label in zip(words.tolist(), data.y.tolist(), strict=True):
        said = [WORDS[i] for i in row if i]
        nouns = [word for word in said if word in ANIMALS + PEOPLE]
        assert len(nouns) == 2
        assert (nouns[0] in ANIMALS, nouns[1] in ANIMALS) == (bool(label), not label)
        assert 5 <= len(said) <= study.LENGTH
    counts = [torch.stack([(part == i).sum() for i in range(1, len(WORDS))]) for part in (words[::2], words[1::2])]
    assert (counts[0] - counts[1]).abs().max() < 4 * counts[0].max().sqrt()
    assert (reader(**data.x).argmax(1) == data.y).float().mean() > 0.95


def test_the_reader_hears_no_empty_place():
    reader, data = study.sentences(n=8)
    other = data.x["words"].clone()
    other[data.x["mask"] == 0] = 5
    assert torch.allclose(reader(other, data.x["mask"]), reader(**data.x), atol=1e-5)


def test_walks_have_the_distance_of_their_end_for_a_number():
    walker, data = study.walks(n=300)
    assert torch.allclose(data.y, data.x[:, :, 0].sum(1).abs())
    missed = (walker(data.x)[:, 0] - data.y).square().mean() / data.y.var()
    assert missed < 0.5


def test_wines_are_those_that_the_network_has_not_seen():
    net, data = study.wine()
    assert data.x.shape == (90, 13)
    assert (net(data.x).argmax(1) == data.y).float().mean() > 0.9
    assert not torch.equal(study.wine(1)[1].y, data.y)
    assert lenses.codelength(net, data, ["4"])["value"][0] < 0.6
