"""What a healthy destination loses by its neighbours: by those that fail, that are slow, and that are loud.

The same mass of events, then the same steady trickle, goes to a healthy HEC integration alone, and beside

    ill    ten black holes, and ten that take five seconds, of another tenant
    slow   sixty that take everything and answer after 14 seconds: no circuit breaker helps
    loud   a tenant that publishes at a steady rate for an integration of its own (beside it only the trickle
           is measured: who shares two cores with a flood has no more than a share of them)

The neighbours get events of their own all the while. Prints the healthy one's deliveries a second and its
latencies, alone and beside each, and their ratios, as JSON.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from sqlalchemy import text

from tests.benchmarks.hostile import hostile_destinations
from tests.benchmarks.measuring import PATIENT, counting_splunk, end_on_sigterm, hardware
from tests.demo.running import Running
from tests.fleet import Fleet, wait_until
from worker.model.events import EventType
from worker.publisher import EventPublisher
from worker.samples import sample_lines


@dataclass(frozen=True, slots=True)
class Neighbours:
    """So many black holes and slow ones, how slow (seconds), and the events a second that each gets."""

    holes: int
    slow: int
    seconds: float
    rate: int

    @property
    def all(self) -> int:
        """How many integrations they are."""
        return self.holes + self.slow


KINDS = {"ill": Neighbours(10, 10, 5.0, 20), "slow": Neighbours(0, 60, 14.0, 5)}
LOUD = "loud"
HEALTHY = "int_healthy"
#: Two routers: while one hands an event to twenty ill neighbours, the other one reads on.
_ROLES = ("router", "router-2", "worker", "recorder")


def main() -> None:
    """Measure alone, then beside each, and print one JSON object."""
    end_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="of the mass (default 100000)")
    parser.add_argument("--rate", type=int, default=200, help="of the trickle, a second")
    parser.add_argument("--seconds", type=int, default=60, help="of the trickle")
    parser.add_argument(
        "--loud", type=int, default=2000, help="events a second of the loud one (default 2000)"
    )
    parser.add_argument("--beside", nargs="*", choices=[*KINDS, LOUD], default=[*KINDS, LOUD])
    given = parser.parse_args()
    alone = _measure(given, None)
    result = {"hardware": hardware(), "alone": alone}
    for kind in given.beside:
        beside = _measure(given, kind)
        result[kind] = beside | {
            "rate_kept": round(beside["deliveries_per_second"] / alone["deliveries_per_second"], 3),
            "trickle_kept": round(beside["trickle_per_second"] / alone["trickle_per_second"], 3),
            "p50_times": _times(beside, alone, "p50"),
            "p99_times": _times(beside, alone, "p99"),
        }
    json.dump(result, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _times(beside: dict[str, Any], alone: dict[str, Any], share: str) -> float:
    return float(round(beside["ms"][share] / max(1, alone["ms"][share]), 2))


def _measure(given: argparse.Namespace, kind: str | None) -> dict[str, Any]:
    neighbours = KINDS.get(kind or "")
    with tempfile.TemporaryDirectory(prefix="siem-bench-") as name, counting_splunk(Path(name)) as sink:
        fleet = Fleet(Path(name), **(PATIENT | {"SIEM_WORKER_THREADS": "128"}))
        fleet.integrate(sink.url, "healthy", event_types=[*EventType], timeout_seconds=20.0)
        beside = _neighbours(fleet, Path(name), neighbours) if neighbours else _nobody()
        with beside, fleet:
            fleet.start(*_ROLES)
            rate = _mass(fleet, given.events) if kind == LOUD else 0
            with _busy(fleet, sink, given, kind):
                rate = rate or _mass(fleet, given.events)
                began, latencies = time.monotonic(), _trickle(fleet, given.rate, given.seconds)
                trickled = given.rate * given.seconds / (time.monotonic() - began)
                others = _others(fleet)
    return {
        "deliveries_per_second": rate,
        "trickle_per_second": round(trickled, 1),
        "ms": latencies,
        "others": others,
    }


def _busy(
    fleet: Fleet, sink: Running, given: argparse.Namespace, kind: str | None
) -> AbstractContextManager[None]:
    """Give the neighbours of this kind their events while the block lasts."""
    if kind == LOUD:
        fleet.integrate(sink.url, LOUD, event_types=[*EventType], tenant_id=LOUD, timeout_seconds=20.0)
        return _publishing(fleet, LOUD, given.loud, lambda: True)
    if kind is None:
        return _nobody()
    neighbours = KINDS[kind]
    return _publishing(fleet, kind, neighbours.rate, lambda: _busy_slots(fleet) >= neighbours.all)


@contextmanager
def _nobody() -> Iterator[None]:
    yield


@contextmanager
def _neighbours(fleet: Fleet, directory: Path, given: Neighbours) -> Iterator[None]:
    """Start the destinations, with an integration to each, all of one tenant."""
    started = hostile_destinations(directory, holes=given.holes, slow=given.slow, seconds=given.seconds)
    with started as (holes, slow):
        for kind, ports in (("holes", holes), ("slow", slow)):
            for port in ports:
                fleet.integrate(
                    f"http://127.0.0.1:{port}/services/collector/event",
                    f"{kind}-{port}",
                    tenant_id=_tenant(given),
                    event_types=[*EventType],
                    timeout_seconds=20.0,
                )
        yield


def _tenant(given: Neighbours) -> str:
    return next(kind for kind, one in KINDS.items() if one == given)


@contextmanager
def _publishing(fleet: Fleet, tenant: str, rate: int, is_busy: Callable[[], bool]) -> Iterator[None]:
    """Publish for the tenant all the while; the block begins once its integrations are busy."""
    over = threading.Event()

    def publish() -> None:
        began = time.monotonic()
        with EventPublisher(fleet.server.url) as publisher:
            lines = sample_lines(100_000_000, run=tenant, tenant_id=tenant)
            for number in count(1):
                some = list(islice(lines, max(1, rate // 20)))
                for _ in publisher.publish_many(some):
                    pass
                if over.wait(max(0.0, began + number * len(some) / rate - time.monotonic())):
                    return

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        # The worst moment is when all of them have begun to wait.
        wait_until(is_busy, "every neighbour holds a slot")
        yield
    finally:
        over.set()
        thread.join()


def _busy_slots(fleet: Fleet) -> int:
    return int(fleet.client.zcard("siem:leases"))


def _mass(fleet: Fleet, events: int) -> int:
    lines = list(sample_lines(events, run="mass"))
    started = time.monotonic()
    for receipt in fleet.publisher.publish_many(lines):
        assert receipt.error is None
    wait_until(lambda: _recorded(fleet) >= events, "the mass has arrived", 600)
    return round(events / (time.monotonic() - started))


def _trickle(fleet: Fleet, rate: int, seconds: int) -> dict[str, int]:
    before, start = _recorded(fleet), time.monotonic()
    for number, line in enumerate(sample_lines(rate * seconds, run="trickle")):
        ahead = start + number / rate - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)  # keeps the rate: this is the load, not a wait for something
        fleet.publisher.publish(line)
    wait_until(lambda: _recorded(fleet) >= before + rate * seconds, "the trickle has arrived")
    with fleet.engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT latency_ms FROM delivery_status WHERE integration_id = :id"
                " ORDER BY settled_ms DESC LIMIT :n"
            ),
            {"id": HEALTHY, "n": rate * seconds},
        )
        found = sorted(row[0] for row in rows)
    return {f"p{share}": found[len(found) * share // 100] for share in (50, 95, 99)} | {"max": found[-1]}


def _recorded(fleet: Fleet) -> int:
    time.sleep(0.05)  # between two looks of a wait: to look more often would burden what is measured
    with fleet.engine.connect() as connection:
        statement = "SELECT coalesce(sum(delivered + dead), 0) FROM minute_counts WHERE integration_id = :id"
        return int(connection.execute(text(statement), {"id": HEALTHY}).scalar_one())


def _others(fleet: Fleet) -> dict[str, int]:
    """Count what became of the events of the neighbours, to show that they had theirs."""
    with fleet.engine.connect() as connection:
        statement = "SELECT status, count(*) FROM delivery_status WHERE integration_id <> :id GROUP BY status"
        return {
            str(status): int(count) for status, count in connection.execute(text(statement), {"id": HEALTHY})
        }


if __name__ == "__main__":
    main()
