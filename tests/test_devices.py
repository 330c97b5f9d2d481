"""Every public call of the library with its networks and data on a card, and with data beside it: no device is mixed.

The card is pretended (`card.py`), the calls are those of `test_arguments`, and the numbers are those of the processor.
"""

import dataclasses
import warnings
from collections.abc import Mapping

import card
import numpy as np
import pandas as pd
import pytest
import torch
from test_arguments import FUNCTIONS, HANDED, NET, STATE, call, calls
from torch import Tensor, nn

MEASURES = [name for name in FUNCTIONS if name not in HANDED and ".plotting." not in name]
OWN = {"infolib.training.descend", "infolib.training.minimise"}  # their loss is the caller's, who trains on with it


def numbers(result):
    """All that is in a result, as a list of arrays and words."""
    if isinstance(result, Tensor):
        return [result.detach().cpu().double().numpy()]
    if isinstance(result, pd.DataFrame | pd.Series):
        table = pd.DataFrame(result).drop(columns="seconds", errors="ignore")
        words = table.select_dtypes(exclude="number").astype(str)
        return [table.select_dtypes("number").to_numpy(float), *words.to_numpy().flatten()]
    if isinstance(result, nn.Module):
        return numbers(list(result.parameters()))
    if isinstance(result, Mapping):
        return numbers(list(result.values()))
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return numbers([getattr(result, field.name) for field in dataclasses.fields(result)])
    if isinstance(result, list | tuple):
        return [each for part in result for each in numbers(part)]
    return [np.asarray(result, float)] if isinstance(result, int | float) else []


def answer(name, arguments):
    for generator in (value for value in arguments.values() if isinstance(value, torch.Generator)):
        generator.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return numbers(call(name, arguments))


@pytest.mark.parametrize("where", ["all", "networks"])
@pytest.mark.parametrize("name", MEASURES)
def test_a_public_call_finds_the_same_on_a_card(name, where):
    arguments = calls()[name][0]
    NET.load_state_dict(STATE)
    NET.eval()
    with card.plugged_in():
        found = answer(name, {key: card.moved(value, tensors=where == "all") for key, value in arguments.items()})
    for ours, theirs in () if name in OWN else zip(found, answer(name, arguments), strict=True):
        if isinstance(theirs, str):
            assert ours == theirs
        else:
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)


def test_the_card_keeps_the_rules_of_devices():
    with card.plugged_in():
        there, beside = torch.ones(3).to(card.DEVICE), torch.ones(3)
        wrong = {
            "two devices": lambda: there + beside,
            "an array": there.numpy,
            "an index on the card": lambda: beside[torch.arange(2).to(card.DEVICE)],
            "a generator beside it": lambda: torch.rand(3, device=card.DEVICE, generator=torch.Generator()),
        }
        for step in wrong.values():
            with pytest.raises((RuntimeError, TypeError)):
                step()
        assert (there + 1)[torch.arange(2)].device == card.DEVICE
        assert float((there * beside.sum()).cpu().numpy().sum()) == 9
