"""Several routers share the work, and one of them sweeps; whoever dies is stood in for."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fleet import Fleet, wait_until
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.model.deliveries import Status

pytestmark = pytest.mark.slow

ROUTERS = ("router", "router-2", "router-3")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet whose routers the test may kill; nothing runs yet."""
    with Fleet(tmp_path, SIEM_SWEEP_INTERVAL="0.2") as fleet:
        yield fleet


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet in which no lease runs out because the machine is busy; nothing runs yet."""
    waits: dict[str, Any] = {"SIEM_SEND_DEADLINE": "50", "SIEM_LEASE": "60"}
    waits |= {"SIEM_ORDER_LEASE": "60", "SIEM_CLAIM_IDLE": "60"}
    with Fleet(tmp_path, **waits) as fleet:
        yield fleet


def _readers(fleet: Fleet) -> dict[bytes, int]:
    """Return the routers that have read from the stream of events, and how many entries each holds."""
    return {one["name"]: one["pending"] for one in fleet.client.xinfo_consumers("siem:events", "router")}


@pytest.mark.timeout(600)
def test_they_share_the_work(patient: Fleet) -> None:
    """Each reads, nothing is handed over twice, and no entry stays behind."""
    with HecReceiver() as splunk:
        patient.integrate(splunk.url, timeout_seconds=30.0)
        patient.start(*ROUTERS, "worker", "recorder")
        ids = patient.publish(denial(f"e{number}") for number in range(20_000))
        rows = patient.settled(20_000, seconds=150)
        readers = _readers(patient)

    assert sorted(splunk.accepted_ids) == sorted(ids)
    assert {row.status for row in rows} == {Status.DELIVERED}
    assert len(readers) == 3
    assert set(readers.values()) == {0}
    assert patient.client.xlen("siem:events") == 0


def test_one_of_them_sweeps_and_the_next_takes_over(own: Fleet) -> None:
    """A batch lost with its worker comes back, however many of the routers are killed as well."""
    with HecReceiver(scripts.first(1, scripts.hang())) as splunk:
        own.integrate(splunk.url, timeout_seconds=2.5)
        own.start(*ROUTERS, "worker", "recorder")
        ids = own.publish_at_once(denial(f"e{number}") for number in range(200))
        splunk.wait_for_requests(1, 20)
        for victim in ("worker", "router", "router-2"):
            own.kill(victim)
        own.start("worker")
        own.settled(200)
        found = sum("interrupted by the end of the worker on " in own.log(router) for router in ROUTERS)

    assert sorted(set(splunk.accepted_ids)) == sorted(ids)
    # Whoever swept told of it; two that sweep would both have found it.
    assert found == 1


def test_what_a_dead_router_had_read_is_taken_over_once(own: Fleet) -> None:
    """Killed again and again while it hands over: each event arrives, and arrives once."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start("router", "router-2", "worker", "recorder")
        ids: list[str] = []
        for turn in range(4):
            ids += own.publish(denial(f"t{turn}-{number}") for number in range(1500))
            victim = ROUTERS[turn % 2]
            own.kill(victim)
            own.spawn(victim)
        wait_until(lambda: own.client.xlen("siem:events") == 0, "all are handed over")
        own.settled(6000)

    assert set(splunk.accepted_ids) == set(ids)
    assert not Counter(splunk.accepted_ids) - own.requests()


def test_what_is_published_together_stays_together(tmp_path: Path) -> None:
    """Right behind its start, too, a router reads as much at once as it may: one chunk, so one request."""
    with Fleet(tmp_path) as fleet:
        fleet.integrate("https://splunk.example.com/services/collector/event")
        fleet.start("router")
        fleet.publish_at_once(denial(f"evt-{number}") for number in range(300))
        wait_until(lambda: not fleet.client.xlen("siem:events"), "all are routed")

        assert fleet.client.xlen("siem:backlog:int_splunk:urgent") == 1
