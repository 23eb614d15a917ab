"""A short reign of chaos; the long ones are run by hand."""

import argparse
from collections.abc import Sequence
from typing import Any

import pytest

from tests.chaos.oracle import run


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_nothing_is_lost_whatever_is_killed() -> None:
    """Every acknowledged event is received or a dead letter, at every destination, and the ledger agrees."""
    found = run(_given(seconds=15.0, pause=1.5))

    assert _faults(found) == {}
    assert found["events"] >= 1_000
    assert sum(found["deeds"].values()) >= 3


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_database_that_refuses_every_write_costs_nothing() -> None:
    """What cannot be recorded waits: no entry is blamed for what every other one meets as well."""
    found = run(_given(seconds=12.0, pause=1.0, deed=["refuse-writes"]))

    assert _faults(found) == {}
    assert found["deeds"]["database refused"] >= 2


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_damage_in_redis_is_told_event_by_event() -> None:
    """What cannot be read of a backlog is a dead letter for each event; everything else arrives."""
    found = run(_given(seconds=12.0, pause=1.0, deed=["damage-backlog"]))

    assert _faults(found) == {}
    assert found["deeds"]["chunk damaged"] >= 2
    assert found["dead"] >= found["deeds"]["chunk damaged"]


def _given(*, seconds: float, pause: float, deed: Sequence[str] = ()) -> argparse.Namespace:
    return argparse.Namespace(
        seed=3, seconds=seconds, rate=200, pause=pause, settle=120.0, sabotage="", deed=deed
    )


def _faults(found: dict[str, Any]) -> dict[str, Any]:
    return {name: one["faults"] for name, one in found["integrations"].items() if one["faults"]}
