"""A short reign of chaos; the long ones are run by hand."""

import argparse

import pytest

from tests.chaos.oracle import run


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_nothing_is_lost_whatever_is_killed() -> None:
    """Every acknowledged event is received or a dead letter, at every destination, and the ledger agrees."""
    found = run(argparse.Namespace(seed=3, seconds=15.0, rate=200, pause=1.5, settle=120.0, sabotage=""))

    assert {name: one["faults"] for name, one in found["integrations"].items() if one["faults"]} == {}
    assert found["events"] >= 1_000
    assert sum(found["deeds"].values()) >= 3
