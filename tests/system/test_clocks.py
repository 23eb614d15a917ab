"""One process whose clock is wrong destroys nothing, and says so; a real second clock, by libfaketime."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import Fleet, wait_until
from tests.interop.programs import PEERS
from tests.ledger.letters import all_dead_letters, bury
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.broker.clocks import skews
from worker.broker.notices import PruningRefusals
from worker.ledger.pruning import DAY_MS
from worker.model.deliveries import Status

pytestmark = pytest.mark.slow

_FAKETIME = next(PEERS.glob("usr/lib/*/faketime/libfaketime.so.1"), None)
needs_faketime = pytest.mark.skipif(not _FAKETIME, reason="needs libfaketime: .ci/peers brings it")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet of its own; nothing runs yet."""
    with Fleet(tmp_path) as fleet:
        yield fleet


def start_with_clock(own: Fleet, role: str, offset: str) -> None:
    """Start a process whose clock is that far off; what it measures durations by is as it should be."""
    right = own.environment
    own.environment = {
        **right,
        "LD_PRELOAD": str(_FAKETIME),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    try:
        own.start(role)
    finally:
        own.environment = right


@needs_faketime
def test_a_recorder_that_lives_in_another_year_prunes_nothing(own: Fleet) -> None:
    """Undelivered events of yesterday would be gone after a minute; instead, everybody is told."""
    now_ms = time.time_ns() // 1_000_000
    bury(own.engine, *(f"e{number}" for number in range(20)), dead_ms=now_ms - DAY_MS)
    start_with_clock(own, "recorder", "+365d")
    wait_until(lambda: PruningRefusals(own.client).all(), "it refuses to prune")
    told = own.siem("health").stdout.decode()

    assert len(all_dead_letters(own.engine)) == 20
    assert "NOT OK  retention" in told
    assert "ahead of that of Redis" in told
    assert "nothing is pruned: the clock of this host is 365 d ahead" in own.log("recorder")
    own.terminate("recorder")
    own.start("recorder")
    wait_until(lambda: not PruningRefusals(own.client).all(), "a recorder with the right time goes on")
    assert len(all_dead_letters(own.engine)) == 20


@needs_faketime
def test_a_worker_whose_clock_is_off_says_so_and_delivers(own: Fleet) -> None:
    """Log, health and metrics name the process and its skew; its events arrive."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start("router", "recorder")
        start_with_clock(own, "worker", "+400s")
        own.publish([denial("e1")])
        [row] = own.settled(1)
        off = wait_until(
            lambda: [name for name, skew in skews(own.client).items() if skew > 390], "its skew is told"
        )
        told = own.siem("health")

        assert row.status is Status.DELIVERED
        assert all(name.startswith("worker-") for name in off)
        assert "NOT OK  clocks" in told.stdout.decode()
        assert f"{off[0]} is 6 min ahead of Redis" in told.stdout.decode()
        assert told.returncode == 1
        assert "s ahead of that of Redis: set it right (NTP)" in own.log("worker")


def test_after_weeks_without_a_recorder_a_person_is_asked(own: Fleet) -> None:
    """Most of what waits is due at once: nothing goes before somebody says yes, and then all that is due."""
    now_ms = time.time_ns() // 1_000_000
    bury(own.engine, *(f"old{number}" for number in range(150)), dead_ms=now_ms - 120 * DAY_MS)
    bury(own.engine, *(f"new{number}" for number in range(50)), dead_ms=now_ms - DAY_MS)
    own.start("recorder")
    wait_until(lambda: PruningRefusals(own.client).all(), "it refuses to prune")

    assert len(all_dead_letters(own.engine, limit=1000)) == 200
    assert "150 of 200 dead letters that wait are older than 90 days" in own.siem("health").stdout.decode()
    dry = own.siem_json("db", "prune", "--dry-run")
    [letters] = [one for one in dry["due"] if one["kind"] == "dead letters"]
    assert letters["unlikely"]
    assert letters["counts"][1] == {"of": "dead letters that wait", "due": 150, "total": 200}
    assert "may wait for --confirm" in own.siem("db", "prune", "--dry-run").stdout.decode()
    assert len(all_dead_letters(own.engine, limit=1000)) == 200
    done = own.siem("db", "prune", "--confirm")
    assert done.stdout.decode() == "Pruned 150 dead letters.\n", os.fsdecode(done.stderr)
    assert len(all_dead_letters(own.engine, limit=1000)) == 50
    assert PruningRefusals(own.client).all() == {}


def test_pruning_asks_what_is_meant(own: Fleet) -> None:
    """Neither to count nor to prune is said by itself."""
    for arguments in ((), ("--dry-run", "--confirm")):
        done = own.siem("db", "prune", *arguments)
        assert done.returncode == 2
        assert "give --dry-run to count what is old enough, or --confirm to prune it" in done.stderr.decode()
