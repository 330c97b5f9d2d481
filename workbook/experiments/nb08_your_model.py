"""Notebook 08: its parameters, and three small networks that are not image classifiers.

`wine`, `sentences` and `walks` give a network, trained, and samples that it has not seen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from infolib import training
from infolib.data import Data
from workbook import datasets, loading
from workbook.records import Count, Rule, Units, between, entries, placed

Eight = Annotated[int, between(8)]


@dataclass(frozen=True)
class Images:
    """Where images come from, as `loading.images` takes it."""

    source: str  # a data set, a folder with a folder for each class, or a .npz
    clutter: bool = False  # around the images of a data set
    shape: tuple[()] | tuple[Units, Units, Units] = ()  # channels, height and width to be given; empty: as they are


RECORDS = {"images": Images}
RANGES = {"repeats": Annotated[int, between(1, 20)], "n_matrix": Eight, "n_units": Eight, "n_noise": Count,
          "n_labels": Eight,
          "layers": Annotated[list[str], entries(0), Rule("of names", all)]}  # fmt: skip


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that cannot be, by name.

    Parameters
    ----------
    parameters : mapping
        All parameters of notebook 08 by name, `images` as a record.

    Raises
    ------
    ValueError
        For a model, a state or images that must be files and are not, and more images than there are of a set.
    """
    p, images = parameters, parameters["images"]
    for name in ("model",) * (":" not in p["model"]) + ("state",) * (p["state"] != ""):
        loading.located(name, p[name])
    if images.source not in get_args(datasets.Images):
        with placed("images.source"):
            loading.located("data", images.source)
        return
    for name in ("n_matrix", "n_units", "n_noise", "n_labels"):
        with placed(f"{name} {p[name]}"):
            datasets.sizes(images.source, n_train=0, n_val=0, n_test=p["repeats"] * p[name] * (1 + (name == "n_units")))


ANIMALS, PEOPLE = ("cat", "dog", "cow", "fox"), ("girl", "boy", "nurse", "king")
WORDS = ("", "the", "a", "old", "small", "happy", "sees", "hears", "follows", *ANIMALS, *PEOPLE)  # "" fills up
LENGTH = 8  # places for words; a sentence has 5 to 7


class Reader(nn.Module):
    """A transformer encoder on numbers of words: it predicts whether the animal acts on the person, or is acted upon.

    Parameters
    ----------
    width : int
        Features of a word.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), width, padding_idx=0)
        self.place = nn.Parameter(0.5 * torch.randn(LENGTH, width))
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.output = nn.Linear(width, 2)

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """Logits of "the person acts" and "the animal acts".

        Parameters
        ----------
        words, mask : Tensor, shape (n, LENGTH)
            Numbers of words; 1 where there is one.

        Returns
        -------
        Tensor, shape (n, 2)
        """
        t = self.encoder(self.embedding(words) + self.place, src_key_padding_mask=mask == 0)
        return self.output((t * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True))


class Walker(nn.Module):
    """An LSTM that reads the steps of a walk, and predicts how far from its start it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.output = nn.LSTM(1, 16, batch_first=True), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The number.

        Parameters
        ----------
        x : Tensor, shape (n, steps, 1)
            Steps, each a number.

        Returns
        -------
        Tensor, shape (n, 1)
        """
        return self.output(self.lstm(x)[0][:, -1])


def wine(seed: int = 0) -> tuple[nn.Module, Data]:
    """A perceptron on the 13 measurements of scikit-learn's wines, and the half of them that it has not seen.

    Parameters
    ----------
    seed : int
        Of split and weights.

    Returns
    -------
    tuple of nn.Module and Data
    """
    from sklearn.datasets import load_wine  # late: slow to import

    x, y = map(torch.as_tensor, load_wine(return_X_y=True))
    data = Data(((x - x.mean(0)) / x.std(0)).float(), y).shuffled(torch.Generator().manual_seed(seed))
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3))
    return training.train(net, data[:88], steps=200, batch_size=32, lr=1e-2, seed=seed).eval(), data[88:]


def sentences(seed: int = 0, n: int = 600) -> tuple[Reader, Data]:
    """A trained `Reader`, and n sentences that it has not seen: 1 if the animal acts, 0 if the person does.

    Both kinds have the same words, in another order.

    Parameters
    ----------
    seed : int
        Of sentences and weights.
    n : int
        Sentences.

    Returns
    -------
    tuple of Reader and Data
        The samples are a mapping of words and mask, both (n, LENGTH).

    Examples
    --------
    >>> reader, texts = sentences(n=4)
    >>> texts.x["words"].shape, sorted(texts.x)
    (torch.Size([4, 8]), ['mask', 'words'])
    """
    draw = torch.Generator().manual_seed(seed)

    def one(of: tuple[str, ...]) -> str:
        return of[int(torch.randint(len(of), (1,), generator=draw))]

    def sentence(animal: int) -> list[int]:
        nouns = [f"{one(('the', 'a'))} {one(('', 'old', 'small', 'happy'))} {one(of)}" for of in (ANIMALS, PEOPLE)]
        first, second = nouns if animal else nouns[::-1]
        found = [WORDS.index(word) for word in f"{first} {one(('sees', 'hears', 'follows'))} {second}".split()]
        return found + [0] * (LENGTH - len(found))

    y = torch.arange(1000 + n) % 2
    words = torch.tensor([sentence(animal) for animal in y.tolist()])
    data = Data({"words": words, "mask": (words > 0).long()}, y)
    torch.manual_seed(seed)
    reader = _descended(Reader(), data[n:], lambda net, part: cross_entropy(net(**part.x), part.y), seed, 300, 5e-3)
    return reader, data[:n]


def walks(seed: int = 0, n: int = 600) -> tuple[Walker, Data]:
    """A trained `Walker`, and n walks of twelve steps that it has not seen, with the numbers that it should give.

    Parameters
    ----------
    seed : int
        Of walks and weights.
    n : int
        Walks.

    Returns
    -------
    tuple of Walker and Data
    """
    x = torch.randn(1000 + n, 12, 1, generator=torch.Generator().manual_seed(seed))
    data = Data(x, x.sum((1, 2)).abs())
    torch.manual_seed(seed)
    walker = _descended(Walker(), data[n:], lambda net, part: mse_loss(net(part.x)[:, 0], part.y), seed, 600, 1e-2)
    return walker, data[:n]


def _descended(net: Any, data: Data, loss: Callable[[Any, Data], Tensor], seed: int, steps: int, lr: float) -> Any:
    """The network after so many steps of Adam on minibatches."""
    optimizer, draw = torch.optim.Adam(net.parameters(), lr=lr), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(net, data[torch.randint(len(data), (64,), generator=draw)]).backward()
        optimizer.step()
    return net.eval()
