"""A short reign of chaos; the long ones are run by hand."""

import argparse
from collections.abc import Sequence
from typing import Any

import pytest

from tests.chaos.oracle import arguments, run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_whatever_is_killed() -> None:
    """Every acknowledged event is received or a dead letter, at every destination, and the ledger agrees."""
    found = run(_given(seconds=15.0, pause=1.5))

    assert _faults(found) == {}
    assert found["reported"] == []
    assert found["events"] >= 1_000
    assert found["shared_chunks"] > 0
    assert found["refused"] > 0
    assert sum(found["deeds"].values()) >= 3


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_database_that_refuses_every_write_costs_nothing() -> None:
    """What cannot be recorded waits: no entry is blamed for what every other one meets as well."""
    found = run(_given(seconds=12.0, pause=1.0, deed=["refuse-writes"]))

    assert _faults(found) == {}
    assert found["reported"] == []
    assert found["deeds"]["database refused"] >= 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_damage_in_redis_is_told_event_by_event() -> None:
    """What cannot be read of a backlog is a dead letter for each event; everything else arrives."""
    found = run(_given(seconds=12.0, pause=1.0, deed=["damage-backlog"]))

    assert _faults(found) == {}
    assert found["deeds"]["chunk damaged"] >= 2
    assert found["dead"] >= found["deeds"]["chunk damaged"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_emptied_redis_is_reported_and_never_with_too_much() -> None:
    """Each time, and no more deliveries at an integration than the account misses there."""
    found = run(_given(seconds=15.0, pause=3.0, settle=20.0, deed=["pause", "empty-redis"]))
    emptied = found["deeds"]["redis emptied"]

    assert _faults(found) == {}
    assert emptied >= 1
    assert [loss["kind"] for loss in found["reported"]] == ["emptied"] * emptied
    assert found["reported_missing"] > 0


def _given(
    *, seconds: float, pause: float, deed: Sequence[str] = (), settle: float = 120.0
) -> argparse.Namespace:
    words = f"--seed 3 --rate 200 --seconds {seconds} --pause {pause} --settle {settle}".split()
    return arguments([*words, *(word for one in deed for word in ("--deed", one))])


def _faults(found: dict[str, Any]) -> dict[str, Any]:
    """Return what is wrong at a destination, and in Redis."""
    wrong = {name: one["faults"] for name, one in found["integrations"].items() if one["faults"]}
    return wrong | {
        name: found[name]
        for name in ("wrong_counts", "left_in_redis", "refused_without_letter")
        if found[name]
    }
