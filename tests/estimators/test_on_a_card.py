"""Estimators of tensors on a card, pretended: values are the same and stay there, at sizes that take every way."""

import math

import card
import pytest
import torch

from infolib.estimators import chance, lanczos, renyi

SLQ = {"exact": 0, "deflated": 16}
ORDERS = (1, 1.01, 2, 3, math.inf)
CALLS = {
    "entropy": lambda x, _: renyi.entropy(renyi.gram(x, width=1.0)),
    "channels": lambda x, _: renyi.joint_entropy(renyi.channel_grams(x[:, :, None], width=1.0)),
    "labels": lambda x, y: renyi.label_mutual_information(renyi.gram(x, width=1.0), y),
    "width": lambda x, y: renyi.alignment_width(x, y).width,
    "width of bins": lambda x, y: renyi.alignment_width(x, y, bins=64).width,
    "centred width": lambda x, y: renyi.alignment_width(x, y, centred=True).width,
    "published width": lambda x, y: renyi.published_width(x, y).width,
    "distance": lambda x, _: renyi.distance_width(x, kind="median"),
    "chance": lambda x, _: (
        chance.beyond_grams(*[renyi.gram(x, width=w) for w in (1.0, 2.0)], permutations=5, seed=0).low
    ),
    "chance of labels": lambda x, y: chance.beyond_labels(renyi.gram(x, width=1.0), y, permutations=5, seed=0).low,
    "exact chance": lambda x, y: (
        chance.beyond_labels(renyi.gram(x, width=1.0), y, alpha=2, permutations=0, seed=0).value
    ),
    "few": lambda x, _: lanczos.entropy(x, width=1.0),
    **{f"order {a}": lambda x, _, a=a: lanczos.entropy(x, width=1.0, alpha=a, **SLQ) for a in ORDERS},
    "information": lambda x, _: lanczos.mutual_information(x, x[:, :1], width_x=1.0, width_y=2.0, **SLQ),
    "quadrature with labels": lambda x, y: lanczos.label_mutual_information(x, y, width=1.0, **SLQ),
    "squares with labels": lambda x, y: lanczos.label_mutual_information(x, y, width=1.0, alpha=2, **SLQ),
    "quadrature of a Gram": lambda x, _: lanczos.gram_entropy(renyi.gram(x, width=1.0), **SLQ),
    "a small Gram": lambda x, _: lanczos.gram_entropy(renyi.gram(x, width=1.0)),
    "eigenvalues": lambda x, _: lanczos.leading_eigenpairs(renyi.gram(x, width=1.0), deflated=16)[0],
}


@pytest.mark.parametrize("case", CALLS)
def test_values_are_the_same_elsewhere_and_stay_there(case):
    def values(x, y):
        found = CALLS[case](x, y)
        return torch.stack(found) if isinstance(found, tuple) else found

    x, y = torch.randn(300, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64), torch.arange(300) % 3
    with card.plugged_in():
        far = values(x.to(card.DEVICE), y.to(card.DEVICE))
        assert far.device == card.DEVICE
        torch.testing.assert_close(far.cpu(), values(x, y), rtol=0, atol=1e-12)
