"""How `lenses.look` goes about it: repeats, the baselines, and rows as they are finished."""

import copy
import hashlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
from scipy import stats
from torch import nn
from tqdm import tqdm

from infolib import checks
from infolib.activations import device_of, placed
from infolib.data import Data
from infolib.measures import _options
from infolib.measures._lens_options import samples_for, size_for
from infolib.measures._lens_table import COLUMNS, OF, table
from infolib.measures._measurable import balanced, ready, source
from infolib.networks import Layers, Network, untrained

BESIDE = ("untrained", "permuted")
ASKED = ["network", "seed", "options"]  # columns of what a table is of
HOW = ("how", "take", "units", "mask", "input_of")  # a `Network` is run
LEVEL = 0.95  # of the interval over repeats
FAILED = r"(?:^|, untrained: )\w+(?:Error|Exception): "  # a reason that is another one's error: it is tried again

Lens = partial[pd.DataFrame]  # with all its options


@dataclass(frozen=True, kw_only=True)
class Run:
    """How the lenses are asked: the arguments of `look` of these names."""

    seed: int = 0
    beside: Sequence[str] = BESIDE
    repeats: int = 1
    untrained: Callable[[int], nn.Module] | None = None
    layers_at_once: int | None = None
    device: torch.device | str | None = None
    on_row: Callable[[dict[str, Any]], Any] | None = None
    done: pd.DataFrame | None = None
    progress: bool = False


def chosen(
    lenses: Mapping[str, Callable[..., pd.DataFrame]],
    names: Sequence[str] | None,
    options: Mapping[str, Any],
    *,
    beside: Sequence[str],
    **common: Any,
) -> dict[str, Lens]:
    """The lenses that are asked for, with all their options; one that does not exist is refused."""
    checks.hold("lenses", names, names is None or len(names) > 0, "some of the lenses, or None")
    for name in checks.names("lenses", lenses if names is None else names):
        checks.choice("lenses", name, lenses)
    for name, given in options.items():
        checks.choice("argument, or lens with options,", name, lenses)
        _options.check(lenses[name], checks.of_type(name, given, Mapping, "a mapping from options to values"))
    for word in checks.names("beside", beside):
        checks.choice("beside", word, BESIDE)
    common["permutations"] = int("permuted" in beside)
    found = {}
    for name, lens in lenses.items():
        if names is None or name in names:
            own = {p.name: p.default for p in inspect.signature(lens).parameters.values() if p.kind == p.KEYWORD_ONLY}
            found[name] = partial(
                lens, **own | {q: v for q, v in common.items() if q in own} | dict(options.get(name, {}))
            )
    return found


def looked(
    lenses: Mapping[str, Lens], model: nn.Module, data: Any, layers: Layers, network: str, run: Run
) -> pd.DataFrame:
    """As `lenses.look`."""
    model = moved(model, run.device)
    data, layers, parts, networks = prepared(lenses, model, data, layers, run)
    sizes = {name: size_for(name, parts[0], lens.keywords.get("n")) for name, lens in lenses.items()}
    asked = {name: _asked(lens, model, run) for name, lens in lenses.items()}
    done = _done(run.done, sizes, asked, layers, network, run.seed)
    size = at_once(run.layers_at_once, layers)
    found: dict[tuple[str, str], pd.DataFrame] = {}
    bar = tqdm(total=len(lenses) * len(layers), unit="layer", **{} if run.progress else {"disable": True})
    with bar:
        for name, lens in lenses.items():
            left = [layer for layer in layers if (name, layer) not in done]
            bar.update(len(layers) - len(left))
            for group in (left[i : i + size] for i in range(0, len(left), size)):
                bar.set_description(f"{name} {group[0]}{' …' if len(group) > 1 else ''}")
                for layer, rows in _measured(name, lens, parts, networks, group).groupby("layer", sort=False):
                    rows = rows.assign(
                        depth=layers.index(layer) + 1, network=network, seed=run.seed, options=asked[name]
                    )
                    found[name, layer] = rows
                    for row in rows.to_dict("records") if run.on_row else []:
                        run.on_row(row)  # type: ignore[misc]
                bar.update(len(group))
    every = [(done | found)[name, layer] for name in lenses for layer in layers]
    return pd.concat(every, ignore_index=True)[[*COLUMNS, *ASKED]]


def _asked(lens: Lens, model: nn.Module, run: Run) -> str:
    """A fingerprint of all that is asked of a lens beside n, and of how the network is run."""
    given: dict[str, Any] = {name: value for name, value in lens.keywords.items() if name not in ("n", "batch_size")}
    given |= {"repeats": run.repeats, "untrained": "untrained" in run.beside and (run.untrained or True)}
    given |= {name: vars(model)[name] for name in HOW} if isinstance(model, Network) else {}
    return f"x{hashlib.sha256(repr(_plain(given)).encode()).hexdigest()[:12]}"  # a word, to who reads it from a file


def _plain(value: Any) -> Any:
    """An option as it is printed alike in every process: a function by its name, whole numbers as others."""
    if isinstance(value, Mapping):
        return [(str(name), _plain(one)) for name, one in value.items()]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    if isinstance(value, int | float):
        return float(value)
    return getattr(value, "__qualname__", type(value).__qualname__) if callable(value) else str(value)


def at_once(given: int | None, layers: Sequence[str]) -> int:
    """How many layers are recorded in one pass: all, unless it is said."""
    return len(layers) if given is None else checks.at_least("layers_at_once", given, 1)


def moved(model: nn.Module, device: torch.device | str | None) -> nn.Module:
    """The model, or a copy of it on another device; on one without float64 it is refused."""
    model = checks.network("model", model)
    there = checks.device("device", device_of(model) if device is None else device)
    return model if there == device_of(model) else copy.deepcopy(model).to(there)


def prepared(
    lenses: Mapping[str, Lens], model: nn.Module, data: Any, layers: Layers, run: Run
) -> tuple[Data, list[str], list[Data], list[list[nn.Module]]]:
    """Samples, layers, the samples of each repeat, and its networks: the trained one, and one with random weights."""
    repeats = checks.at_least("repeats", run.repeats, 1)
    data, layers, units = ready(model, data, layers)
    source(model, data[:3].x, units)
    size = len(data) // repeats
    checks.hold("repeats", repeats, size >= 3, f"at most a third of the {len(data)} samples")
    parts = [data] if repeats == 1 else [balanced(data, size, part=r, parts=repeats) for r in range(repeats)]
    for name, lens in lenses.items():
        try:
            for part in parts:
                samples_for(name, part, layers, **lens.keywords)
        except ValueError as error:
            where = f", in each of {repeats} disjoint parts" if repeats > 1 else ""
            raise ValueError(f"{name}: {error}{where}") from None
    networks: list[list[nn.Module]] = [[model] for _ in parts]
    for r, of in enumerate(networks if "untrained" in run.beside else []):
        x = placed(model, balanced(parts[r], min(64, len(parts[r]))).x)
        try:
            one = run.untrained(run.seed + r) if run.untrained else untrained(model, run.seed + r, x)
            ready(one, data, layers)
        except ValueError as error:
            raise ValueError(f"untrained: {error}") from error
        of.append(one)
    return data, layers, parts, networks


def _done(
    done: pd.DataFrame | None,
    sizes: Mapping[str, int],
    asked: Mapping[str, str],
    layers: Sequence[str],
    network: str,
    seed: int,
) -> dict[tuple[str, str], pd.DataFrame]:
    """The complete layers of a former table, by lens and layer, but for those where a lens has failed."""
    if done is None or not len(done):
        return {}
    lacking = [column for column in [*COLUMNS, *ASKED] if column not in done]
    checks.hold("done", lacking, not lacking, f"a table of look: it lacks {', '.join(lacking)}")
    names = not pd.api.types.is_numeric_dtype(done["layer"])
    how = "a table with names as layers: read_csv(..., dtype={'layer': str, 'network': str})"
    checks.hold("done", done["layer"][:1].tolist(), names, how)
    words = ("network", "unit", "permutes", "settings", "why not")
    done = done.assign(**{word: done[word].where(done[word].notna(), "").astype(str) for word in words})
    of = sorted({*zip(done["network"], done["seed"], strict=True)})
    checks.hold("done", of, of == [(network, seed)], f"of network {network!r} and seed {seed} alone")
    found = {}
    for (name, layer), rows in done.groupby(["lens", "layer"]):
        failed = any(rows[column].str.contains(FAILED).any() for column in ("why not", "settings"))
        if name in sizes and layer in layers and tuple(rows["quantity"]) == OF[name] and not failed:
            n = sorted(rows["n"].unique().tolist())
            checks.hold(f"n of {name} in done", n, n == [sizes[name]], f"[{sizes[name]}], as it is asked for")
            same = rows["options"].eq(asked[name]).all()
            checks.hold(
                f"layer of {name} in done", layer, same, "one of the options, repeats and baselines asked for now"
            )
            found[name, layer] = rows.assign(depth=layers.index(layer) + 1)
    return found


def _measured(
    name: str,
    lens: Lens,
    parts: Sequence[Data],
    networks: Sequence[Sequence[nn.Module]],
    layers: list[str],
) -> pd.DataFrame:
    """One lens of some layers: means over repeats, with what stands beside them."""
    tables: list[list[pd.DataFrame]] = [[] for _ in networks[0]]
    for r, (part, of) in enumerate(zip(parts, networks, strict=True)):
        own = partial(lens, **({"seed": lens.keywords["seed"] + r} if "seed" in lens.keywords else {}))
        for which, model in enumerate(of):
            if which and "permutations" in own.keywords:
                own = partial(own, permutations=0)
            tables[which].append(_tried(name, own, model, part, layers))
    found = _joined(tables[0])
    if len(tables) > 1:
        twin = _joined(tables[1])
        found["untrained"] = twin["value"]
        silent = (twin["why not"] != "") & (found["why not"] == "")
        found.loc[silent, "settings"] += ", untrained: " + twin["why not"]
    return found


def _tried(name: str, lens: Lens, model: nn.Module, data: Data, layers: list[str]) -> pd.DataFrame:
    """A lens of some layers; where it fails each of them by itself, and its error is the reason."""
    options: dict[str, Any] = dict(lens.keywords)
    if options.get("softmax"):
        options["softmax"] = [layer for layer in options["softmax"] if layer in layers]
    try:
        return lens(model, data, layers, **options)
    except Exception as error:
        if len(layers) > 1:
            return pd.concat([_tried(name, lens, model, data, [layer]) for layer in layers], ignore_index=True)
        advice = ": a smaller n or layers_at_once=1 takes less memory" if "memory" in str(error) else ""
        why = f"{type(error).__name__}: {error}{advice}"
        n = size_for(name, data, options.get("n"))
        return table(name, layers, {(layers[0], of): why for of in OF[name]}, n, "", {})


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Means over repeats and the interval of the value's; a reason in any of them is one for all."""
    found, means = tables[0].copy(), ["value", "permuted", "beyond chance", "floor", "ceiling", "width"]
    if len(tables) == 1:
        return found
    every = pd.concat(tables, keys=range(len(tables)))
    by = every.groupby(level=1)
    for column in means:
        found[column] = by[column].agg(lambda values: values.mean(skipna=False))
    half = stats.t.ppf((1 + LEVEL) / 2, len(tables) - 1) * by["value"].std() / math.sqrt(len(tables))
    found["low"], found["high"] = found["value"] - half, found["value"] + half
    found["at edge"] = by["at edge"].any()
    for i in found.index[found["value"].isna()]:
        reasons = [one for one in every.xs(i, level=1)["why not"] if one]
        some = f" (in {len(reasons)} of {len(tables)} repeats)" if len(reasons) < len(tables) else ""
        found.loc[i, "why not"] = reasons[0] + some
    return found
