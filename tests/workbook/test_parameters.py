"""Absurd values of the right type, for every parameter of every notebook: refused before a kernel starts, by name."""

import copy
import dataclasses
import math
import random
import typing
from importlib import import_module
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest

from workbook import records
from workbook import run as runner

NOTEBOOKS = {name[:2]: name for name in runner.notebooks()}
INF, NAN = math.inf, math.nan
ABSURD = [
    ("00", "dataset", "nonsense"), ("00", "dataset", "ib"), ("00", "n_train", 0), ("00", "n_train", 1349),
    ("00", "widths", []), ("00", "widths", [10**9]), ("00", "widths", [48, 0]), ("00", "batch_size", 0),
    ("00", "learning_rate", -1.0), ("00", "learning_rate", 1e308), ("00", "n_steps", 0),
    ("00", "n_steps", 10**6), ("00", "n_measured", 100_000), ("00", "input_width", INF),
    ("00", "input_width", 1e-320), ("00", "n_seeds", 1), ("00", "n_seeds", 10**9),
    ("01", "n_samples", 1), ("01", "n_samples", 10**6), ("01", "sizes", []), ("01", "sizes", [100, 50]),
    ("01", "dimensions", []), ("01", "dimensions", [1, 2]), ("01", "dimensions", [1, 25, 10**9]), ("01", "bins", 0),
    ("01", "bins", 51), ("01", "k", 0), ("01", "k", 50), ("01", "h", -1.0), ("01", "h", NAN), ("01", "n_seeds", 1),
    ("01", "widths", [0.1, 1.0, 0.3]), ("01", "widths", [0.3, 1.0]), ("01", "widths", [0.0, 0.1, 1.0]),
    ("01", "windows", []), ("01", "windows", [100, 200]), ("01", "windows", [300, 10**6]), ("01", "n_windows", 1),
    ("02", "networks", []), ("02", "networks[0].data", "nonsense"), ("02", "networks[0].epochs", -1),
    ("02", "networks[0].activation", "tanh"), ("02", "networks[1].activation", "sigmoid"), ("02", "swept.lr", 1e308),
    ("02", "swept.momentum", 0.5), ("02", "filters", []), ("02", "filters[0].conv1", 1),
    ("02", "filters[0]", {"conv1": 6, "conv2": 12}), ("02", "filters[2]", {"conv1": 8, "conv2": 8}),
    ("02", "kernels", []), ("02", "kernels[0].alpha", 0.0), ("02", "kernels[1].alpha", 1.01),
    ("02", "lenet.filter_size", 2), ("02", "lenet.filter_size", 9), ("02", "lenet.filter_size", 10**9),
    ("02", "lenet.batch_size", 1), ("02", "lenet.n_train", 10**5), ("02", "kernels[0].ratio", None),
    ("02", "published.h", None), ("02", "measured.sizes", [10**5]),
    ("02", "n_checkpoints", 1), ("02", "n_seeds", 1), ("02", "depths", [7]),
    ("02", "depths", [20]), ("02", "depths", [56, 20]), ("02", "depths", [20, 20]),
    ("03", "networks", []), ("03", "networks[0].hidden", [10**9]), ("03", "networks[0].batch_size", 450),
    ("03", "networks[0].lr", 0.0), ("03", "networks[0].width_momentum", 0.0), ("03", "networks[0].held", 0),
    ("03", "windows.early", [6, 10**6]), ("03", "windows.first", [5, 1]), ("03", "moons.epochs", 1),
    ("03", "n_held_out", 10**6), ("03", "pixels", "ib"), ("03", "bits[0].noise", 0.0), ("03", "bits[0].n_train", 4097),
    ("03", "input_width", INF), ("03", "n_seeds", 14),
    ("04", "networks", []), ("04", "networks[0].hidden", []), ("04", "networks[0].n_networks", 1),
    ("04", "networks[0].threshold", 2.0), ("04", "protocol.points", 0), ("04", "protocol.n_test", 10**6),
    ("04", "protocol.modes", ["mean", "mean"]), ("04", "deep_protocol.n_random", 0), ("04", "upto", 0),
    ("04", "upto", 10**6), ("04", "n_top", 0), ("04", "n_top", 101), ("04", "search.epochs", [61]),
    ("04", "search.weight_decays", []), ("04", "search.weight_decays", [0.0, 0.0]), ("04", "search.n_networks", 0),
    ("05", "networks", []), ("05", "networks[0].grid", 7), ("05", "networks[0].eps", 2.0),
    ("05", "networks[0].width", 10**9), ("05", "layers", []), ("05", "layers", ["conv1", "conv2", "conv4", "fc1"]),
    ("05", "layers", ["conv1", "conv1", "conv4", "conv6", "fc1"]), ("05", "layers", ["conv1", "nonsense", "fc1"]),
    ("05", "n_images", 450), ("05", "steps", -1), ("05", "n_seeds", 1), ("05", "kinds", ["trained"]),
    ("05", "kinds", ["untrained", "trained", "permuted labels", "twin"]), ("05", "decoded", ["fc1"]),
    ("05", "resnets", [{"depth": 20, "n_images": 1000}]), ("05", "resnets", [{"depth": 20}, {"depth": 20}]),
    ("05", "segmentation", [{"n_networks": 1}]), ("05", "segmentation", [{"n_networks": 8, "n_crops": 50}]),
    ("05", "segmentation", [{"n_networks": 8}, {"n_networks": 9}]),
    ("05", "segmentation", [{"n_networks": 8, "bins": 0}]),
    ("06", "sets", []), ("06", "sets", ["digits", "digits"]), ("06", "sets", ["nonsense"]), ("06", "sizes", [50]),
    ("06", "sizes", [50, 10**5]), ("06", "samples.n", 50), ("06", "samples.k", 10**5), ("06", "network.steps", 0),
    ("06", "network.hidden", []), ("06", "coding.steps", 20), ("06", "coding.ratio", 1.0), ("06", "coding.first", 0),
    ("06", "pairs", []), ("06", "pairs[1].second", {"data": "mnist"}), ("06", "codes", []), ("06", "codes[1].n", 1797),
    ("06", "forgetting", []), ("06", "forgetting[0].tasks", 1), ("06", "forgetting[0].lwf", -1.0),
    ("06", "resnets", [{"layers": []}]), ("06", "resnets", [{"layers": ["stem", "stem"]}]),
    ("06", "resnets", [{"layers": ["stem", "output"]}, {"layers": ["stem", "stage1.block1"], "depth": 32}]),
    ("06", "n_seeds", 1),
    ("07", "sources", []), ("07", "sources", ["ib"]), ("07", "networks", []), ("07", "networks[0].epochs", 0),
    ("07", "networks[0].weight_decay", 1e308), ("07", "layers", []), ("07", "layers", ["conv6", "conv1", "conv2"]),
    ("07", "layers", ["conv1", "conv2", "conv3"]), ("07", "n_train", 0), ("07", "n_matrix", 1),
    ("07", "n_units", 600), ("07", "n_noise", 0), ("07", "n_labels", 10**6), ("07", "steps", -1), ("07", "n_seeds", 1),
    ("08", "model", ""), ("08", "model", "nonsense"), ("08", "state", "nonsense"), ("08", "images.source", "nonsense"),
    ("08", "images.source", "ib"), ("08", "images.shape", [1, 28]), ("08", "images.shape", [1, 10**9, 1]),
    ("08", "layers", ["conv1", "conv1"]), ("08", "layers", [""]), ("08", "n_matrix", 0), ("08", "n_units", 1000),
    ("08", "n_noise", -1), ("08", "n_labels", 10**9), ("08", "repeats", 0),
    ("09", "networks", []), ("09", "networks[0].p", 33), ("09", "networks[0].p", 7), ("09", "networks[0].share", 1.0),
    ("09", "networks[0].share", 0.99), ("09", "networks[0].few", 0.9), ("09", "networks[0].steps", 99),
    ("09", "networks[0].lr", 1e-4), ("09", "networks[0].width", 30), ("09", "networks[0].kind", "CNN"),
    ("09", "measured.n", 10**4), ("09", "measured.k", 0), ("09", "measured.ratio", 0.0), ("09", "measured.pairs", 1),
    ("09", "checkpoints", [0, 50, 100]), ("09", "checkpoints", [0, 50, 100, 10**4]), ("09", "part", 0.0),
    ("09", "checkpoints", [10, 50, 100, 200]), ("09", "arms", ["groks"]), ("09", "arms", ["groks", "permuted"]),
    ("09", "n_seeds", 1),
]  # fmt: skip


def own(notebook, profile="quick"):
    """The values of a profile by parameter, and the types."""
    known = runner.parameters(notebook)
    values = {name: parameter.default for name, parameter in known.items()} | runner.resolve(notebook, profile, {})
    return copy.deepcopy(values), {name: parameter.type for name, parameter in known.items()}


def steps(place):
    """networks[0].lr -> networks, 0, lr."""
    return [int(step) if step.isdigit() else step for step in place.replace("[", ".").replace("]", "").split(".")]


def changed(values, path, value):
    values = copy.deepcopy(values)
    inner = values
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return values


@pytest.mark.parametrize(("number", "place", "value"), ABSURD, ids=str)
def test_absurd_value_is_refused_before_a_kernel_starts_with_notebook_parameter_and_value(number, place, value):
    notebook, (name, *path) = NOTEBOOKS[number], steps(place)
    values, _ = own(notebook)
    with pytest.raises(ValueError, match=f"^notebook {notebook}: .*{name}") as caught:
        runner.resolve(notebook, "quick", {name: changed(values, [name, *path], value)[name]})
    assert str(path[-1] if path and isinstance(path[-1], str) else name) in str(caught.value)


def test_absurd_values_are_of_all_notebooks_and_of_all_parameters_that_are_no_dicts():
    assert {number for number, *_ in ABSURD} == set(NOTEBOOKS)
    for number, notebook in NOTEBOOKS.items():
        tried = {steps(place)[0] for other, place, _ in ABSURD if other == number}
        assert set(runner.parameters(notebook)) - tried <= {"deep_networks", "options"}


def test_more_images_than_public_networks_have_are_refused_where_there_are_some():
    measured = {"published": 100, "order": 2001, "others": 100, "sizes": [100]}
    runner.resolve("02_matrix_entropy", "paper", {"measured": measured, "depths": []})
    with pytest.raises(ValueError, match=r"measured\.order must be a number from 10 to 2000, got 2001"):
        runner.resolve("02_matrix_entropy", "paper", {"measured": measured})
    probe = {"samples": {"data": "mnist", "n": 3000, "small": 300, "k": 1000, "probe": 10_001}}
    runner.resolve("06_information_transfer", "paper", probe | {"resnets": []})
    with pytest.raises(ValueError, match="probe of samples must be a number from 10 to 8900, got 10001"):
        runner.resolve("06_information_transfer", "paper", probe)


def test_a_word_that_yaml_takes_for_a_boolean_is_refused_with_its_field_and_why():
    rows, _ = own("04_neuron_importance")
    rows["networks"][0] |= {"batch_norm": True}
    with pytest.raises(
        ValueError, match=r"networks\[0\].batch_norm must be one of 'none', 'before', 'after', got True \(bool, as Y"
    ):
        runner.resolve("04_neuron_importance", "quick", {"networks": rows["networks"]})
    with pytest.raises(ValueError, match=r"networks\[0\].lr must be float .*, got False \(bool\)$"):
        runner.resolve("04_neuron_importance", "quick", {"networks": [rows["networks"][1] | {"lr": False}]})


BITS = {"data": "ib", "hidden": [10, 7, 5, 4, 3], "lr": 0.01, "epochs": 120, "moments": 6}
EXERCISES = [
    ("00", "widths", [48, 2, 48]), ("00", "input_width", 17), ("00", "n_measured", 64), ("01", "bins", 30),
    ("01", "k", 1), ("01", "h", 5), ("02", "published.h", 5), ("02", "swept.epochs", 0),
    ("02", "networks[0].epochs", 0), ("02", "measured.order", 64),
    ("03", "networks[0].epochs", 20), ("03", "networks[2].epochs", 20),
    ("03", "bits", [BITS | {"activation": "tanh"}, BITS | {"activation": "relu"}]), ("04", "n_top", 50),
    ("06", "samples.k", 50), ("06", "coding.calibrate", False),
    ("08", "options", {"epochs": 0}), ("08", "n_matrix", 32),
    ("08", "images", {"source": "digits", "shape": [1, 12, 12]}), ("09", "networks[0].weight_decay", 0.0),
    ("09", "measured.ratio", 2.0), ("09", "checkpoints", [0, 100, 200, 400, 1000]),
]  # fmt: skip


@pytest.mark.parametrize(("number", "place", "value"), EXERCISES, ids=str)
def test_what_an_exercise_asks_for_is_taken(number, place, value):
    values, _ = own(NOTEBOOKS[number])
    name, *path = steps(place)
    assert runner.resolve(NOTEBOOKS[number], "quick", {name: changed(values, [name, *path], value)[name]})


# a generated fuzz: every scalar, list and field of every record


def bare(kind):
    return bare(get_args(kind)[0]) if get_origin(kind) is Annotated else kind


def absurd(kind, former, draw):
    """Values of a type that hardly any parameter can have."""
    kind = bare(kind)
    origin, inner = get_origin(kind), [bare(one) for one in get_args(kind)]
    if origin in (typing.Union, UnionType):
        return [value for one in inner if one is not type(None) for value in absurd(one, former, draw)]
    if origin in (list, tuple):
        entries = absurd(inner[0], None, draw) if inner else []
        twice = [[*former, former[0]], list(former)[::-1]] if former else []
        return [[], *([entry] for entry in entries), *([entry] * 2 for entry in entries), *twice]
    numbers = [0, -1, 10**12, -draw.randrange(1, 10**6), draw.randrange(10**7, 10**15)]
    tiny = [INF, -INF, NAN, 1e-320, 1e308, -0.5, -draw.random(), draw.uniform(1e7, 1e30)]
    of = {int: numbers, float: numbers + tiny, str: ["", "nonsense"], dict: [{}]}
    return ["", "nonsense"] if origin is Literal else of.get(kind, [])


def fields(record, path, row):
    """Place, type and value of each field of a record, and of the records in it."""
    kinds = get_type_hints(record, include_extras=True)
    for field in dataclasses.fields(record):
        place, kind = [*path, field.name], kinds[field.name]
        if dataclasses.is_dataclass(kind):
            yield from fields(kind, place, row[field.name])
        else:
            yield place, kind, row.get(field.name, field.default)


def places(notebook, values, kinds):
    experiment = import_module(f"workbook.experiments.nb{notebook}")
    for name, value in values.items():
        record = experiment.RECORDS.get(name)
        yield [name], kinds[name] if record else experiment.RANGES.get(name, kinds[name]), None if record else value
        for i, row in enumerate(value if record and isinstance(value, list) else []):
            yield from fields(record, [name, i], row)
        if record and isinstance(value, dict):
            yield from fields(record, [name], value)


ZERO = (0, 1e-320)  # hardly differ where nothing is divided by them
HARMLESS: dict[str, tuple[Any, ...]] = {
    "momentum": ZERO, "weight_decay": ZERO, "eps": ZERO, "ewc": ZERO, "lwf": ZERO, "threshold": ZERO,
    "steps": (0,), "epochs": ZERO, "dropout": ([], [0, 0], [1e-320, 1e-320]), "classes": ([],), "shape": ([],),
    "options": ({},), "depths": ([],), "deep_networks": ([],), "resnets": ([],), "segmentation": ([],),
    "layers": (["nonsense"], []), "first_images": (0,), "order": ([],),
}  # fmt: skip


def harmless(notebook, path, value, former):
    """Whether a value that passed may do so: nothing of what may be left out, or the same entries in another order."""
    name, again = path[-1], isinstance(value, list) and former and len(value) >= len(former)
    if again and (name in ("widths", "hidden") or sorted(value) == sorted(former)):
        return True
    allowed = HARMLESS.get(name, ())
    return value in allowed and (name != "layers" or notebook.startswith("08"))


@pytest.mark.parametrize("profile", runner.PROFILES)
@pytest.mark.parametrize("notebook", NOTEBOOKS.values())
def test_whatever_is_absurd_is_refused_by_name_or_is_known_to_do_no_harm(notebook, profile):
    values, kinds = own(notebook, profile)
    draw, refused, passed, unnamed = random.Random(0), 0, [], []
    for path, kind, former in places(notebook, values, kinds):
        for value in absurd(kind, former, draw):
            if value == former:
                continue
            tried = changed(values, path, value) | {"__annotations__": kinds, "__profile__": profile}
            try:
                records.prepared(notebook, tried)
            except ValueError as error:
                refused += 1
                if not str(error).startswith(f"notebook {notebook}: ") or str(path[0]) not in str(error):
                    unnamed.append((path, value, str(error)))
            else:
                if not harmless(notebook, path, value, former):
                    passed.append((path, value))
    assert (passed, unnamed) == ([], [])
    assert refused > 4 * len(kinds)


@pytest.mark.parametrize("notebook", NOTEBOOKS.values())
def test_both_profiles_are_taken_whether_there_are_data_or_not(notebook, monkeypatch, tmp_path):
    for folder in ("", str(tmp_path)):
        monkeypatch.setenv("INFOLIB_DATA", folder)
        for profile in runner.PROFILES:
            assert set(runner.resolve(notebook, profile, {})) <= set(runner.parameters(notebook))
