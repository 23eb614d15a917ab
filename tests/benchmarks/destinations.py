"""How many events a second go through the whole fleet as CEF over TCP, and as single-event webhooks.

From `XADD` to the row in the ledger, one Celery worker process for all types, SQLite, receivers on the same
machine that count and read nothing. Beside them stand the figures of C routers that were measured elsewhere,
on two cores, without a durable broker and without a record for each event. Prints JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import PATIENT, cpu_seconds, hardware
from tests.benchmarks.throughput import recorded, statuses
from tests.demo.running import starter
from tests.fleet import Fleet, wait_until
from worker.model.events import EventType
from worker.samples import sample_lines

#: Receiver, type and address of each way.
WAYS = {
    "cef_over_tcp": ("syslog_receiver", "syslog_cef", "syslog://127.0.0.1:{}"),
    "webhook_one_event_a_request": ("webhook_receiver", "webhook", "http://127.0.0.1:{}/hook"),
}
#: Events a second, for orientation only: another machine, another day.
OTHERS = {
    "cef_over_tcp": {"syslog-ng": 55_800, "rsyslog": 68_400},
    "webhook_one_event_a_request": {"syslog-ng, 1 / 4 / 16 connections": [9_600, 28_600, 34_000]},
}


def main() -> None:
    """Measure both ways and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="events to publish (default 100000)")
    given = parser.parse_args()
    results: dict[str, Any] = {"hardware": hardware(), "others": OTHERS}
    results |= {way: _measure(way, given.events) for way in WAYS}
    json.dump(results, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _measure(way: str, events: int) -> dict[str, Any]:
    program, kind, address = WAYS[way]
    with tempfile.TemporaryDirectory(prefix="siem-bench-") as name:
        start = starter(program, Path(name) / "receiver.port")
        with start("--count-only") as receiver, Fleet(Path(name), **PATIENT) as fleet:
            url = address.format(receiver.port)
            fleet.integrate(url, "only", type=kind, event_types=[*EventType], timeout_seconds=20.0)
            return _deliver(fleet.start(), events)


def _deliver(fleet: Fleet, events: int) -> dict[str, Any]:
    lines = list(sample_lines(events))
    pids = {role: process.pid for role, process in fleet.processes.items()} | {"redis": fleet.server.pid}
    before, started = {role: cpu_seconds(pid) for role, pid in pids.items()}, time.monotonic()
    refused = [receipt.error for receipt in fleet.publisher.publish_many(lines) if receipt.error]
    wait_until(lambda: recorded(fleet) >= events, f"{events} rows stand in the ledger", 600)
    seconds = time.monotonic() - started
    assert not refused, refused[0]
    return {
        "published": events,
        "rows": statuses(fleet),
        "deliveries_per_second": round(events / seconds),
        "cpu_us_a_delivery": {
            role: round((cpu_seconds(pid) - before[role]) / events * 1e6, 1) for role, pid in pids.items()
        },
    }


if __name__ == "__main__":
    main()
