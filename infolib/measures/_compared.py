"""Several networks next to each other: their measures by relative depth, and how similar their layers are."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple, Unpack

import pandas as pd
import torch
from torch import Tensor, nn

from infolib import activations, checks
from infolib.data import gathered
from infolib.measures._lenses import look
from infolib.measures._measurable import balanced, collected, ready
from infolib.measures._watched import SAVED, Look, undisturbed

BY_NAME = ("untrained",)  # options that may be a mapping from names of networks


class Comparison(NamedTuple):
    """What `compare` returns: one table with a row for each layer, and one with a row for each pair of layers.

    Parameters
    ----------
    table : DataFrame
        The rows of `look` for all networks, and the column `relative depth`.
    cka : DataFrame
        Columns: network, layer, relative depth, other network, other layer, other relative depth, CKA (NaN where a
        layer's output is the same for all samples), n.
    """

    table: pd.DataFrame
    cka: pd.DataFrame


def compare(
    models: Mapping[str, nn.Module], data: Any, layers: Any = None, *, n: int = 128, **options: Unpack[Look]
) -> Comparison:
    """The measures of `look` for several networks by relative depth, and the linear CKA of their layers.

    Relative depth is the fraction of the network's modules with weights (convolutions, linear layers, attention,
    embeddings) that have an output when the layer's output is ready: from 0 to 1, whatever layers are chosen.

    Parameters
    ----------
    models : mapping of str to nn.Module
        Two networks or more by name, in any mode.
    data : Data, (x, y), Dataset or DataLoader
        As `look` takes it; the same samples for all networks.
    layers : as `look` takes it, or mapping of str to these
        The layers of all networks, or of each by its name.
    n : int
        Samples of CKA, at least 4.
    **options
        As `look` takes them, but for `network`, `done` and `on_row`. `untrained` may be a mapping by name of networks.

    Returns
    -------
    Comparison
        Two tables: `table` with a row for each layer and quantity, `cka` with one for each pair of layers of two
        networks.

    Raises
    ------
    ValueError
        As `look`, for fewer than two networks, names of unknown networks, and more samples than there are.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    >>> images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    >>> twice = {"one": net, "two": net}
    >>> found = compare(twice, images, ["1", "3"], n=20, lenses=["codelength"], codelength={"n": 20}, beside=())
    >>> found.table[["network", "relative depth"]].values.tolist()
    [['one', 0.5], ['one', 1.0], ['two', 0.5], ['two', 1.0]]
    >>> found.cka[["layer", "other layer", "CKA"]].round(6).values.tolist()[::3]
    [['1', '1', 1.0], ['3', '3', 1.0]]
    """
    checks.at_least("the number of models", len(models), 2)
    data = gathered("data", data)
    batch = balanced(data, checks.at_least("n", n, 4)).x
    for given, value in {"layers": layers, **{name: options.get(name) for name in BY_NAME}}.items():
        if isinstance(value, Mapping) and set(value) != set(models):
            raise ValueError(f"{given} must have the names of models, {', '.join(models)}, got {', '.join(value)}")
    if unfit := [name for name in ("network", *SAVED) if name in options]:
        raise ValueError(f"{unfit[0]} is an option of look for one network, which compare does not take")
    tables, shapes, depths = [], {}, {}
    chosen = {}
    for name, model in models.items():
        with undisturbed(checks.network(f"models[{name!r}]", model)):
            own = layers[name] if isinstance(layers, Mapping) else layers
            data, chosen[name], units = ready(model, data, own)
            depths[name] = _relative_depths(model, batch, chosen[name])
            shapes[name] = torch.stack(
                [_shape(collected(model, batch, [layer], units)[layer]) for layer in chosen[name]]
            )
    for name, model in models.items():
        mine: dict[str, Any] = {key: value[name] if isinstance(value, Mapping) and key in BY_NAME else value
                for key, value in options.items()}  # fmt: skip
        with undisturbed(model):
            table = look(model, data, chosen[name], **mine).assign(network=name)
        tables.append(table.assign(**{"relative depth": table["layer"].map(depths[name])}))
    rows = []
    for one, two in combinations(models, 2):
        of_pairs = (shapes[one].cpu() @ shapes[two].cpu().T).tolist()
        for layer, similar in zip(chosen[one], of_pairs, strict=True):
            for other, value in zip(chosen[two], similar, strict=True):
                rows.append([one, layer, depths[one][layer], two, other, depths[two][other], value, n])
    sides = ["network", "layer", "relative depth"]
    columns = [*sides, *(f"other {side}" for side in sides), "CKA", "n"]
    return Comparison(pd.concat(tables, ignore_index=True), pd.DataFrame(rows, columns=columns))


def cka(x: Tensor, y: Tensor) -> float:
    """Linear CKA of two layers' outputs, without bias: how similar the inner products of the same samples are.

    CKA = HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)) with K = x xᵀ and L = y yᵀ (Kornblith et al. 2019), and
    the unbiased estimate of HSIC of Song et al. 2012. The usual biased estimate nears 1 for any two layers with
    more features than there are samples; this one is 0 on average for layers that are independent, and may be negative.
    Rotations, isotropic scaling and shifts of either layer do not change it.

    Parameters
    ----------
    x, y : Tensor, shape (n, ...)
        Outputs for the same n samples, at least 4.

    Returns
    -------
    float
        At most 1, without a unit; NaN where either output is the same for all samples.

    Raises
    ------
    ValueError
        For other numbers of samples.

    Examples
    --------
    >>> x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    >>> round(cka(x, 5 * x.flip(1) + 1), 6)
    1.0
    """
    x, y = (checks.floats(name, t) for name, t in (("x", x), ("y", y)))
    if len(x) != len(y):
        raise ValueError(f"x and y must have the same samples, got {len(x)} and {len(y)}")
    checks.at_least("the number of samples of x", len(x), 4)
    return float(_shape(x) @ _shape(y).to(x.device))


def _shape(t: Tensor) -> Tensor:
    """Inner products of samples (n, ...) with an unbiased centre, as a vector of length 1: CKA is an inner product."""
    t, n = t.flatten(1).double(), len(t)
    t = t - t.mean(0)  # changes nothing but rounding
    gram = t @ t.T
    scale = gram.norm()
    gram.fill_diagonal_(0)
    rows = gram.sum(1) / (n - 2)
    gram = gram - rows - rows[:, None] + gram.sum() / ((n - 1) * (n - 2))
    centred = gram.fill_diagonal_(0).flatten()
    return centred / torch.where(centred.norm() > 1e-9 * scale, centred.norm(), torch.nan)


def _relative_depths(model: nn.Module, x: Any, layers: list[str]) -> dict[str, float]:
    """The fraction of the modules with weights that the pass is done with, when it is done with each layer."""
    few = activations.placed(model, checks.each(lambda t: t[:2], x))
    modules, calls = dict(model.named_modules(remove_duplicate=False)), activations.reached(model, few)[:-1]
    weighted = [any(p.ndim > 1 for p in modules[call.partition("#")[0]].parameters(recurse=False)) for call in calls]
    weighted = weighted if any(weighted) else [True] * len(calls)
    return {layer: sum(weighted[: calls.index(layer) + 1]) / sum(weighted) for layer in layers}


checks.guard(globals())
