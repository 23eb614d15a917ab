"""How many events a second the whole fleet delivers, beside the obvious alternative, in one run.

Ours: events are published to a real Redis (append-only file on), routed, delivered to one and to four
HEC integrations by one Celery worker process, and recorded row by row in the SQLite ledger. The
alternative: one Celery task an event that calls `requests.Session.post`, two prefork processes. Both
deliver to the same kind of sink, and both are timed from the first event published, with their workers
up; the alternative is timed once more with its queue filled beforehand. Prints JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text

from tests.benchmarks.measuring import PATIENT, counting_splunk, cpu_by_role, hardware
from tests.demo.running import Running
from tests.embedded_servers import VALKEY, start_server
from tests.fleet import Fleet, wait_until
from worker.model.events import EventType
from worker.samples import sample_lines


def main() -> None:
    """Run what was asked for and print one JSON object."""
    arguments = _arguments()
    results: dict[str, Any] = {"hardware": hardware(), "events": arguments.events}
    for integrations in (1, 4):
        results[f"integrations_{integrations}"] = _ours(arguments.events, integrations)
    results["one_task_an_event"] = alternative = _alternative(arguments.baseline_events)
    for integrations in (1, 4):
        ours = results[f"integrations_{integrations}"]
        ours["ratio"] = round(ours["deliveries_per_second"] / alternative["deliveries_per_second"], 1)
    results["latency_at_200_events_a_second"] = _latency(200, arguments.latency_seconds)
    json.dump(results, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000, help="events to publish (default 200000)")
    parser.add_argument("--baseline-events", type=int, default=4_000, help="for the alternative")
    parser.add_argument("--latency-seconds", type=int, default=20, help="how long to publish at 200/s")
    return parser.parse_args()


def _ours(events: int, integrations: int) -> dict[str, Any]:
    with _fleet(integrations) as (fleet, sink):
        lines = list(sample_lines(events))
        before, started = cpu_by_role(fleet, sink), time.monotonic()
        refused = [receipt.error for receipt in fleet.publisher.publish_many(lines) if receipt.error]
        published = time.monotonic()
        wanted = events * integrations
        wait_until(lambda: recorded(fleet) >= wanted, f"{wanted} rows stand in the ledger", 600)
        seconds = time.monotonic() - started
        after = cpu_by_role(fleet, sink)
        assert not refused, refused[0]
        found, counts = statuses(fleet), sink.counts()
    return {
        "published": events,
        "bytes_an_event": round(sum(map(len, lines)) / events),
        "rows": found,
        "received": counts["events"],
        "events_a_request": round(counts["events"] / counts["requests"]),
        "seconds": round(seconds, 2),
        "seconds_publishing": round(published - started, 2),
        "deliveries_per_second": round(wanted / seconds),
        "cpu_us_a_delivery": {role: round((after[role] - before[role]) / wanted * 1e6, 1) for role in after},
    }


def _latency(rate: int, seconds: int) -> dict[str, Any]:
    """Publish at a steady rate; latency is from XADD to the destination's acceptance, by Redis's clock."""
    with _fleet(1) as (fleet, _):
        start = time.monotonic()
        for number, line in enumerate(sample_lines(rate * seconds)):
            ahead = start + number / rate - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)  # keeps the rate: this is the load, not a wait for something
            fleet.publisher.publish(line)
        wait_until(lambda: recorded(fleet) >= rate * seconds, "all rows stand in the ledger", 60)
        with fleet.engine.connect() as connection:
            rows = connection.execute(text("SELECT latency_ms FROM deliveries ORDER BY latency_ms"))
            latencies = [row[0] for row in rows]
    return {
        "events": len(latencies),
        "ms": {f"p{share}": latencies[len(latencies) * share // 100] for share in (50, 95, 99)},
        "max_ms": latencies[-1],
    }


@contextmanager
def _fleet(integrations: int) -> Iterator[tuple[Fleet, Running]]:
    """Start a fleet with that many integrations that want every type, and the sink that they share."""
    with (
        tempfile.TemporaryDirectory(prefix="siem-bench-") as name,
        counting_splunk(Path(name)) as sink,
        Fleet(Path(name), **PATIENT) as fleet,
    ):
        for number in range(integrations):
            fleet.integrate(sink.url, f"splunk{number}", event_types=[*EventType], timeout_seconds=20.0)
        yield fleet.start(), sink


def recorded(fleet: Fleet) -> int:
    """Count rows cheaply; asking the ledger for all of them would slow what is measured."""
    time.sleep(0.05)  # between two looks of a wait: to look more often would burden what is measured
    with fleet.engine.connect() as connection:
        counted = connection.execute(text("SELECT coalesce(sum(delivered + dead), 0) FROM minute_counts"))
        return int(counted.scalar_one())


def statuses(fleet: Fleet) -> dict[str, int]:
    """Count the ledger's rows by status."""
    with fleet.engine.connect() as connection:
        rows = connection.execute(text("SELECT status, count(*) FROM deliveries GROUP BY status"))
        return {str(status): int(count) for status, count in rows}


def _alternative(events: int) -> dict[str, Any]:
    """Measure it twice: from publishing on, as ours is, and with its queue filled beforehand."""
    with (
        tempfile.TemporaryDirectory(prefix="siem-bench-") as name,
        counting_splunk(Path(name)) as sink,
        start_server(VALKEY, Path(name) / "server") as server,
    ):
        environment = {**os.environ, "ALTERNATIVE_REDIS": server.url, "ALTERNATIVE_URL": sink.url}
        filled = _timed(sink, environment, events, beforehand=True)
        published = _timed(sink, environment, events, beforehand=False)
    return {
        "published": events,
        "deliveries_per_second": round(published),
        "deliveries_per_second_of_a_queue_filled_beforehand": round(filled),
    }


def _timed(sink: Running, environment: dict[str, str], events: int, *, beforehand: bool) -> float:
    """Return deliveries a second; its workers are up and have delivered an event before time is taken."""
    before = sink.counts()["events"]
    _publish(environment, events if beforehand else 1)
    command = [
        str(Path(sys.executable).parent / "celery"),
        "-A",
        _MODULE,
        "worker",
        "-P",
        "prefork",
        "-c",
        "2",
    ]
    options = ["-l", "ERROR", "--without-gossip", "--without-mingle"]
    worker = subprocess.Popen([*command, *options], env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: sink.counts()["events"] > before, "the first event arrives", 60)
        first, started = sink.counts()["events"], time.monotonic()
        if not beforehand:
            _publish(environment, events)
        wanted = before + events if beforehand else first + events
        wait_until(lambda: sink.counts()["events"] >= wanted, "every event arrives", 300)
        return float(wanted - first) / (time.monotonic() - started)
    finally:
        worker.terminate()
        worker.wait()


_MODULE = "tests.benchmarks.one_task_an_event"


def _publish(environment: dict[str, str], events: int) -> None:
    subprocess.run([sys.executable, "-m", _MODULE, str(events)], env=environment, check=True)


if __name__ == "__main__":
    main()
