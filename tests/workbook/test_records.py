"""A notebook's parameters as records: what is refused, in which words, and what a record holds."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

import numpy as np
import pytest

from workbook import records


@dataclass(frozen=True)
class Network:
    hidden: tuple[int, ...]
    activation: Literal["relu", "tanh"]
    lr: float = 0.001
    epochs: int = 3
    batch_norm: bool = False
    dropout: float | None = None
    places: tuple[tuple[int, ...], ...] = ()
    size: tuple[int, int] = (28, 28)
    modes: tuple[Literal["mean", "zero"], ...] = ("mean",)
    strengths: dict[str, float] = field(default_factory=dict)
    data: str = "digits"

    def __post_init__(self):
        if self.epochs < 0:
            raise ValueError(f"epochs must be at least 0, got {self.epochs}")


@dataclass(frozen=True)
class Pair:
    source: Network
    weight: float = 1.0


GOOD = {"hidden": [100, 50], "activation": "relu"}


def check(parameters):
    if parameters["n_seeds"] < 1:
        raise ValueError(f"n_seeds must be at least 1, got {parameters['n_seeds']}")
    if any(network.epochs > parameters["most"] for network in parameters["networks"]):
        raise ValueError("networks train for longer than most")


@pytest.fixture(autouse=True)
def _experiment(monkeypatch):
    """A module of experiments with two parameters that are records."""
    module = ModuleType("workbook.experiments.nb99_made_here")
    module.__spec__ = sys.__spec__
    module.RECORDS, module.RANGES, module.check = {"networks": Network, "pair": Pair}, {}, check
    monkeypatch.setitem(sys.modules, module.__name__, module)


def cell(annotated=True, **changes):
    """The globals of a notebook after its parameters cell."""
    names = {"networks": [GOOD], "pair": {"source": GOOD}, "n_seeds": 3, "most": 10, "names": ["a"]} | changes
    kinds = {"networks": list[dict], "pair": dict, "n_seeds": int, "most": int, "names": list[str]}
    return {"__name__": "__main__", "In": [""]} | names | ({"__annotations__": kinds} if annotated else {})


def prepared(**changes):
    return records.prepared("99_made_here", cell(**changes))


def network(**changes):
    return prepared(networks=[GOOD | changes])[0][0]


def test_records_come_in_the_order_of_records_with_lists_as_tuples():
    networks, pair = prepared(networks=[GOOD, GOOD | {"epochs": 5}])
    assert networks == [Network((100, 50), "relu"), Network((100, 50), "relu", epochs=5)]
    assert pair == Pair(Network((100, 50), "relu"))
    assert prepared(annotated=False) == prepared()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": [100, 5.0]}, "hidden must be list[int], got [100, 5.0] (list)"),
        ({"hidden": 100}, "hidden must be list[int], got 100 (int)"),
        ({"hidden": "100"}, "hidden must be list[int], got '100' (str)"),
        ({"hidden": None}, "hidden must be list[int], got None (NoneType)"),
        ({"activation": "rellu"}, "activation must be one of 'relu', 'tanh', got 'rellu' (str)"),
        ({"activation": ["relu"]}, "activation must be one of 'relu', 'tanh', got ['relu'] (list)"),
        ({"lr": "1e-3"}, "lr must be float, got '1e-3' (str)"),
        ({"lr": True}, "lr must be float, got True (bool)"),
        ({"lr": float("nan")}, "lr must be float, got nan (not finite)"),
        ({"lr": float("inf")}, "lr must be float, got inf (not finite)"),
        ({"lr": None}, "lr must be float, got None (NoneType)"),
        ({"epochs": True}, "epochs must be int, got True (bool)"),
        ({"epochs": 3.0}, "epochs must be int, got 3.0 (float)"),
        ({"batch_norm": 1}, "batch_norm must be bool, got 1 (int)"),
        ({"dropout": "none"}, "dropout must be float or None, got 'none' (str)"),
        ({"places": [[0, 1], [2, "x"]]}, "places must be list[list[int]], got [[0, 1], [2, 'x']] (list)"),
        ({"size": [28, 28, 1]}, "size must be list[int, int], got [28, 28, 1] (list)"),
        ({"strengths": {"ewc": "big"}}, "strengths must be dict[str, float], got {'ewc': 'big'} (dict)"),
        ({"modes": ["mean", "none"]}, "modes must be list[one of 'mean', 'zero'], got ['mean', 'none'] (list)"),
        ({"strengths": {1: 2}}, "strengths must be dict[str, float], got {1: 2} (dict)"),
        ({"data": 5}, "data must be str, got 5 (int)"),
    ],
    ids=str,
)
def test_field_of_a_wrong_type_is_named_with_notebook_parameter_and_row(changes, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message
        prepared(networks=[GOOD, GOOD | changes])
    assert str(caught.value) == f"notebook 99_made_here: networks[1].{message}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"networks": [GOOD | {"epoch": 5}]},
            "networks[0] has an unknown field 'epoch'; did you mean 'epochs'? allowed: ",
        ),
        (
            {"networks": [GOOD | {"zzz": 5}]},
            "networks[0] has an unknown field 'zzz'; allowed: hidden, activation, lr, ",
        ),
        ({"networks": [GOOD | {7: 5}]}, "networks[0] has an unknown field '7'; allowed: hidden, "),
        ({"networks": [{"hiden": [1], "activation": 3}]}, "networks[0] has an unknown field 'hiden'; did you mean"),
        ({"networks": [{"activation": 3}]}, "networks[0] lacks the field 'hidden'; fields: hidden, activation, lr, "),
        ({"networks": [{}]}, "networks[0] lacks the field 'hidden'; fields: hidden, activation"),
        ({"networks": [GOOD, "6 4"]}, "networks[1] must be a dict, got '6 4' (str)"),
        ({"networks": [GOOD, [GOOD]]}, "networks[1] must be a dict, got [{'hidden': "),
        ({"networks": [Pair(Network((), "relu"))]}, "networks[0] must be a dict, got Pair("),
        ({"networks": [GOOD, GOOD | {"epochs": -1}]}, "networks[1]: epochs must be at least 0, got -1"),
        ({"networks": GOOD}, "networks must be list[dict], got {'hidden': [100, 50], 'activation': 'relu'} (dict)"),
        ({"networks": "6 4 none"}, "networks must be list[dict], got '6 4 none' (str)"),
        ({"networks": "6 4 none", "annotated": False}, "networks must be a dict, got '6 4 none' (str)"),
        ({"pair": [{"source": GOOD}]}, "pair must be dict, got [{'source': {'hidden': "),
        ({"pair": 3}, "pair must be dict, got 3 (int)"),
        ({"pair": {"source": [GOOD]}}, "pair.source must be a dict, got [{'hidden': "),
        ({"pair": {"source": GOOD | {"epochs": -1}}}, "pair.source: epochs must be at least 0, got -1"),
        ({"n_seeds": 2.5}, "n_seeds must be int, got 2.5 (float)"),
        ({"n_seeds": "3"}, "n_seeds must be int, got '3' (str)"),
        ({"names": ["a", 1]}, "names must be list[str], got ['a', 1] (list)"),
        ({"n_seeds": 0}, "n_seeds must be at least 1, got 0"),
        ({"most": 2}, "networks train for longer than most"),
        ({"n_seeds": 2.5, "networks": [{}]}, "n_seeds must be int, got 2.5"),  # types of all, records, then the check
        ({"n_seeds": 0, "networks": [{}]}, "networks[0] lacks the field 'hidden'"),
    ],
    ids=str,
)
def test_refusal_names_the_notebook_the_parameter_its_row_and_its_field(changes, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the beginning of the message
        prepared(**changes)
    text = str(caught.value)
    assert text.startswith(f"notebook 99_made_here: {message}")
    assert text.count("notebook 99_made_here") == 1


def test_parameter_that_the_cell_lacks_is_named():
    values = cell()
    del values["pair"]
    with pytest.raises(ValueError, match="notebook 99_made_here: pair must be a dict, got None"):
        records.prepared("99_made_here", values)


def test_whole_numbers_do_for_floats_and_none_where_it_is_allowed():
    assert network(lr=1).lr == 1
    assert network(dropout=None).dropout is None
    assert network(dropout=0.5, hidden=[]) == Network((), "relu", dropout=0.5)
    assert network(strengths={"ewc": 100}).strengths == {"ewc": 100}
    assert network(lr=10**400).lr == 10**400  # beyond what a float holds, and still a number


def test_tuples_do_for_lists_at_every_level_and_a_record_can_be_hashed_by_its_tuples():
    built = network(hidden=(100, 50), places=[(0, 1), [2, 3]], size=[7, 8])
    assert (built.hidden, built.places, built.size) == ((100, 50), ((0, 1), (2, 3)), (7, 8))
    assert hash((built.hidden, built.places, built.size))
    networks, _ = prepared(networks=(GOOD,))
    assert networks == [Network((100, 50), "relu")]


def test_numbers_of_numpy_become_pythons():
    built = network(hidden=list(np.array([3, 4])), lr=np.float32(0.5), epochs=np.int64(2), dropout=np.float64(0.25))
    assert built == Network((3, 4), "relu", lr=0.5, epochs=2, dropout=0.25)
    assert {type(number) for number in (*built.hidden, built.epochs)} == {int}
    assert {type(number) for number in (built.lr, built.dropout)} == {float}
    with pytest.raises(ValueError, match="must be int"):
        network(epochs=np.float64(2))
    with pytest.raises(ValueError, match="must be float"):
        network(lr=np.float32("nan"))


def test_no_rows_are_no_records():
    networks, _ = prepared(networks=[])
    assert networks == []


def test_a_set_up_cell_that_runs_once_more_finds_its_own_records():
    """In JupyterLab `networks = records.prepared(...)` rebinds what the parameters cell has set."""
    networks, pair = prepared()
    assert prepared(networks=networks, pair=pair) == [networks, pair]


def test_what_a_reader_has_annotated_in_later_cells_does_no_harm():
    values = cell(best=lambda x: x, model=3, table=None)
    values["__annotations__"] |= {
        "best": Callable[[int], int],
        "model": "Tensor",
        "table": Any and object,
        "later": int,
    }
    assert len(records.prepared("99_made_here", values)) == 2


def test_notebook_without_a_module_has_no_records_but_types():
    assert records.prepared("98_nowhere", {"n": 3, "__annotations__": {"n": int}}) == []
    with pytest.raises(ValueError, match=r"notebook 98_nowhere: n must be int, got 'x' \(str\)"):
        records.prepared("98_nowhere", {"n": "x", "__annotations__": {"n": int}})


def test_values_are_left_as_they_are():
    values = cell()
    records.prepared("99_made_here", values)
    assert values["networks"] == [GOOD]


def test_columns_hold_numbers_and_strings():
    assert records.columns(Network((100, 50), "relu", dropout=None, strengths={"ewc": 100, "replay": 0.5})) == {
        "hidden": "100-50", "activation": "relu", "lr": 0.001, "epochs": 3, "batch_norm": False, "dropout": "",
        "places": "", "size": "28-28", "modes": "mean", "strengths": "ewc 100, replay 0.5", "data": "digits",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (True, bool, True),
        (True, Literal[1], False),
        (1.0, Literal[1], False),
        ([], list[int], True),
        ({}, dict, True),
        ("ab", list[str], False),
        ({"a": 1}, list[str], False),
        ([1, [2]], list[int | list[int]], True),
        ({"a": [1]}, dict[str, list[int]], True),
        (float("-inf"), float, False),
    ],
    ids=str,
)
def test_matches(value, kind, expected):
    assert records.matches(value, kind) is expected


def test_seeds_begin_at_the_shift(monkeypatch):
    monkeypatch.delenv("INFOLIB_SEED_SHIFT", raising=False)
    assert list(records.seeds(3)) == [0, 1, 2]
    monkeypatch.setenv("INFOLIB_SEED_SHIFT", "100")
    assert list(records.seeds(3)) == [100, 101, 102]


@pytest.mark.parametrize("shift", ["-1", "1.5", "x", "²", "1" * 10])
def test_a_shift_that_is_no_integer_in_range_is_refused(monkeypatch, shift):
    monkeypatch.setenv("INFOLIB_SEED_SHIFT", shift)
    with pytest.raises(ValueError, match=f"INFOLIB_SEED_SHIFT must be an integer from 0 to 999999999, got '{shift}'"):
        records.seeds(3)
