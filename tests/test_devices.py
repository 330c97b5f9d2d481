"""Every public call of the library with its networks and data on a card, and with data beside it: no device is mixed.

The card is pretended: `card.py`, which runs in a process of its own.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_arguments import FUNCTIONS, HANDED

MEASURES = [name for name in FUNCTIONS if name not in HANDED and ".plotting." not in name]


@pytest.fixture(scope="module")
def faults():
    run = subprocess.run(
        [sys.executable, "-B", Path(__file__).with_name("card.py")], capture_output=True, text=True, check=False
    )
    assert not run.returncode, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("where", ["all", "networks"])
@pytest.mark.parametrize("name", MEASURES)
def test_a_public_call_finds_the_same_on_a_card(name, where, faults):
    assert faults[f"{name}, {where} there"] == ""


def test_the_card_keeps_the_rules_of_devices(faults):
    assert faults["rules"] == []
