"""`infolib look`: the lenses of a network by its import path, on images of a folder, with rows that are kept."""

import csv
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from infolib import checks
from infolib.data import Data
from infolib.measures import lenses
from infolib.networks import Layers, Network, select
from workbook import loading, root

NORMALISED = {"none": None, "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}  # means and deviations
WORDS = ("settings", "why not", "network", "unit", "permutes")  # columns of text that may be empty


def look(
    model: str,
    data: str,
    *,
    state: str = "",
    layers: Sequence[str] = (),
    lens: Sequence[str] = (),
    beside: Sequence[str] | None = None,
    n: int = 512,
    size: int = 224,
    normalize: str = "none",
    seed: int = 0,
    device: str = "cpu",
    output: str = "",
) -> pd.DataFrame:
    """The table of `lenses.look`: each row is written as soon as it is measured, and never measured again.

    Next to the table is `output`.json, with model, data and settings.

    Parameters
    ----------
    model, state : str
        As `loading.model` takes them; files from the folder of the call.
    data : str
        As `loading.images` takes it; images become `size` pixels wide and high, but for a data set and a .npz.
    layers : sequence of str
        Names, patterns, or one number of blocks; empty for the repeated blocks.
    lens, beside : sequence of str
        Names of lenses, empty for all; baselines, None for those of `look`.
    n : int
        Number of images; of a folder or a .npz all, if there are fewer.
    size : int
        Pixels.
    normalize : str
        "none", or "imagenet": means and deviations that the model expects. Images stay in [0, 1] before it.
    seed : int
        Of what is drawn, and of random weights.
    device : str
        Where the network is measured, such as "cuda".
    output : str
        A file of comma-separated values; empty for none.

    Returns
    -------
    DataFrame

    Raises
    ------
    ValueError
        For what these refuse, and a file of another model, other data or settings.
    """
    checks.choice("normalize", normalize, NORMALISED)
    for one in lens:
        checks.choice("lens", one, lenses.LENSES)
    shape = (3, checks.at_least("size", size, 1), size) if os.path.isdir(root() / _found(data)) else ()
    images = loading.images(_found(data), shape=shape, n=n, seed=seed, fit=True)
    net = _prepared(model, state, normalize, seed)
    names = select(net, _layers(net, layers))
    content = _hashed(model * os.path.isfile(root() / _found(model))) + _hashed(state)  # a name has none
    of = {"model": model, "state": content, "data": images.sha256, "layers": names, "lens": list(lens),
          "beside": None if beside is None else list(beside), "n": len(images.y), "size": list(images.x.shape[1:]),
          "normalize": normalize, "seed": seed, "device": device}  # fmt: skip
    file = _File(Path(output), of) if output else None
    given: dict[str, Any] = {"network": model, "seed": seed, "device": device, "progress": True}
    given |= {} if beside is None else {"beside": tuple(beside)}
    if ":" in model and not state:
        given["untrained"] = lambda fresh: _prepared(model, "", normalize, fresh)
    table = _looked(net, images.data, names, tuple(lens) or tuple(lenses.LENSES), given, file)
    if file:
        file.whole(table)
    return table


def _looked(
    net: nn.Module, data: Data, names: list[str], lens: Sequence[str], given: Mapping[str, Any], file: "_File | None"
) -> pd.DataFrame:
    saving: dict[str, Any] = {"on_row": file.add, "done": file.rows()} if file else {}
    return lenses.look(net, data, names, lenses=lens, **given, **saving)


class _File:
    """A table to which rows are added one by one, and its settings."""

    def __init__(self, path: Path, of: Mapping[str, Any]) -> None:
        self.path, said = path, path.with_name(f"{path.name}.json")
        if path.suffix != ".csv" or not path.absolute().parent.is_dir():
            raise ValueError(f"output must be a .csv file in an existing folder, got {str(path)!r}")
        if path.exists():
            former = {"device": "cpu"} | json.loads(said.read_text()) if said.exists() else {}
            if other := [name for name in of if former.get(name, "unknown") != of[name]]:
                changed = "; ".join(f"{name} {former.get(name, 'unknown')}, now {of[name]}" for name in other)
                raise ValueError(f"output {path.name!r} is of another run: {changed}; name another file")
        said.write_text(json.dumps(of, indent=1) + "\n")

    def rows(self) -> pd.DataFrame | None:
        """The rows that are there; one that was cut off in the middle is dropped."""
        text = self.path.read_text() if self.path.exists() else ""
        kept = text[: text.rfind("\n") + 1]
        if kept != text:
            self.path.write_text(kept)
        if kept.count("\n") < 2:
            return None
        kinds = dict.fromkeys(("layer", *WORDS), str)
        table = pd.read_csv(self.path, dtype=kinds, keep_default_na=False, na_values=[""])
        words = [name for name in WORDS if name in table]
        return table.assign(**{name: table[name].fillna("") for name in words})

    def add(self, row: Mapping[str, Any]) -> None:
        values = {name: " ".join(v.split()) if isinstance(v, str) else v for name, v in dict(row).items()}
        new = not self.path.exists() or not self.path.stat().st_size
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(values), lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow({name: "" if value != value else value for name, value in values.items()})

    def whole(self, table: pd.DataFrame) -> None:
        work = self.path.with_name(f"{self.path.name}.part")
        table.to_csv(work, index=False)
        work.replace(self.path)


def _prepared(model: str, state: str, normalize: str, seed: int) -> nn.Module:
    net = loading.model(_found(model), state=_found(state), seed=seed)
    if (expected := NORMALISED[normalize]) is None:
        return net
    return Network(net, forward=partial(_normalised, expected=expected)).eval()


def _normalised(net: nn.Module, x: Tensor, expected: tuple[Sequence[float], Sequence[float]]) -> Any:
    mean, deviation = (torch.tensor(values).to(x)[:, None, None] for values in expected)
    return net((x - mean) / deviation)


def _layers(net: nn.Module, layers: Sequence[str]) -> Layers:
    if len(layers) == 1 and layers[0].isdecimal() and layers[0] not in dict(net.named_modules()):
        return int(layers[0])
    return list(layers) or None


def _found(path: str) -> str:
    """A file from the folder of the call; anything else as it is."""
    return str(Path(path).expanduser().absolute()) if path and os.path.exists(os.path.expanduser(path)) else path


def _hashed(state: str) -> str:
    return hashlib.sha256(loading.located("state", _found(state)).read_bytes()).hexdigest() if state else ""
