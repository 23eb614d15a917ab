"""What a healthy destination loses by its neighbours: ten black holes, and ten that take five seconds.

The same flood, then the same steady trickle, goes to a healthy HEC integration twice: alone, and beside
twenty ill ones that get events of their own all the while. Prints the healthy one's deliveries a second and
its latencies, alone and beside, and their ratios, as JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text

from tests.benchmarks.measuring import PATIENT, Sink, hardware
from tests.fleet import Fleet, wait_until
from worker.demo.samples import sample_lines
from worker.model.events import EventType
from worker.publisher import EventPublisher

HOLES = SLOW = 10
SLOW_SECONDS = 5.0
#: Events a second that the ill ones get, all of them each.
ILL_RATE = 20
HEALTHY = "int_healthy"
#: Two routers: while one hands an event to twenty ill neighbours, the other one reads on.
_ROLES = ("router", "router-2", "worker", "recorder")


def main() -> None:
    """Measure alone, then beside, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="of the flood (default 100000)")
    parser.add_argument("--rate", type=int, default=200, help="of the trickle, a second")
    parser.add_argument("--seconds", type=int, default=60, help="of the trickle")
    given = parser.parse_args()
    alone = _measure(given, ill=False)
    beside = _measure(given, ill=True)
    result = {
        "hardware": hardware(),
        "alone": alone,
        "beside": beside,
        "rate_kept": round(beside["deliveries_per_second"] / alone["deliveries_per_second"], 3),
        "p99_times": round(beside["ms"]["p99"] / max(1, alone["ms"]["p99"]), 2),
    }
    json.dump(result, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _measure(given: argparse.Namespace, *, ill: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="siem-bench-") as name, Sink(Path(name)) as sink:
        fleet = Fleet(Path(name), **(PATIENT | {"SIEM_WORKER_THREADS": "128"}))
        every = [*EventType]
        fleet.integrate(sink.url, "healthy", event_types=every, timeout_seconds=20.0)
        with _neighbours(fleet, Path(name)) if ill else _nobody(), fleet:
            fleet.start(*_ROLES)
            with _illness(fleet) if ill else _nobody():
                rate = _flood(fleet, given.events)
                latencies = _trickle(fleet, given.rate, given.seconds)
                ills = _ill_counts(fleet)
    return {"deliveries_per_second": rate, "ms": latencies, "others": ills}


@contextmanager
def _nobody() -> Iterator[None]:
    yield


@contextmanager
def _neighbours(fleet: Fleet, directory: Path) -> Iterator[None]:
    """Start the ill destinations, with an integration to each, all of one tenant."""
    ports_file = directory / "hostile.json"
    command = [sys.executable, "-m", "tests.benchmarks.hostile", str(ports_file)]
    process = subprocess.Popen([*command, str(HOLES), str(SLOW), str(SLOW_SECONDS)])
    try:
        wait_until(ports_file.exists, "the ill destinations listen")
        for kind, ports in json.loads(ports_file.read_text()).items():
            for port in ports:
                fleet.integrate(
                    f"http://127.0.0.1:{port}/services/collector/event",
                    f"{kind}-{port}",
                    tenant_id="ill",
                    event_types=[*EventType],
                    timeout_seconds=20.0,
                )
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _illness(fleet: Fleet) -> Iterator[None]:
    """Publish to the ill ones all the while."""
    over = threading.Event()

    def publish() -> None:
        with EventPublisher(fleet.server.url) as publisher:
            for line in sample_lines(1_000_000, run="ill", tenant_id="ill"):
                publisher.publish(line)
                if over.wait(1 / ILL_RATE):
                    return

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        # The worst moment is when all of them have begun to hang.
        wait_until(lambda: _busy_slots(fleet) >= HOLES + SLOW, "every ill destination holds a slot", 60)
        yield
    finally:
        over.set()
        thread.join()


def _busy_slots(fleet: Fleet) -> int:
    return int(fleet.client.zcard("siem:leases"))


def _flood(fleet: Fleet, events: int) -> int:
    lines = list(sample_lines(events, run="flood"))
    started = time.monotonic()
    for receipt in fleet.publisher.publish_many(lines):
        assert receipt.error is None
    wait_until(lambda: _recorded(fleet) >= events, "the flood has arrived", 600)
    return round(events / (time.monotonic() - started))


def _trickle(fleet: Fleet, rate: int, seconds: int) -> dict[str, int]:
    before, start = _recorded(fleet), time.monotonic()
    for number, line in enumerate(sample_lines(rate * seconds, run="trickle")):
        ahead = start + number / rate - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)  # keeps the rate: this is the load, not a wait for something
        fleet.publisher.publish(line)
    wait_until(lambda: _recorded(fleet) >= before + rate * seconds, "the trickle has arrived", 60)
    with fleet.engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT latency_ms FROM deliveries WHERE integration_id = :id"
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


def _ill_counts(fleet: Fleet) -> dict[str, int]:
    """Count what became of the events of the ill ones, to show that they had theirs."""
    with fleet.engine.connect() as connection:
        statement = "SELECT status, count(*) FROM deliveries WHERE integration_id <> :id GROUP BY status"
        return {
            str(status): int(count) for status, count in connection.execute(text(statement), {"id": HEALTHY})
        }


if __name__ == "__main__":
    main()
