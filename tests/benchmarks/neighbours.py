"""A thousand integrations of which a hundred hang: what the other nine hundred notice of it, and of a flood.

Nine hundred tenants get a few events a second between them: first alone, then while a further tenant floods
the ingress, then while a hundred integrations of another one begin to hang, all at once, and go on hanging.
Prints how long the healthy ones' events took in these spans, what did not arrive, and how many threads the
hanging ones held at the most, as JSON.
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

from tests.benchmarks.hostile import hostile_destinations
from tests.benchmarks.measuring import PATIENT, counting_splunk, end_on_sigterm, hardware
from tests.fleet import Fleet, wait_until
from worker.integrations.integration import parse_integration
from worker.model.events import EventType
from worker.publisher import EventPublisher
from worker.samples import sample_lines
from worker.settings import Settings

#: Ports that the hanging ones share.
_PORTS = 20
#: Events a second of the tenant whose integrations hang; each goes to all of them.
_ILL_RATE = 2


def main() -> None:
    """Measure and print one JSON object."""
    end_on_sigterm()
    given = _arguments()
    threads = str(Settings.model_fields["worker_threads"].default)
    with (
        tempfile.TemporaryDirectory(prefix="siem-bench-") as name,
        counting_splunk(Path(name)) as sink,
        Fleet(Path(name), **(PATIENT | {"SIEM_WORKER_THREADS": threads})) as fleet,
        hostile_destinations(Path(name), holes=_PORTS) as (ports, _),
    ):
        _integrate(fleet, sink.url, ports, given)
        fleet.start()
        alone = _span(fleet, given, ill=False)
        with _flood(fleet.server.url, given.flood):
            flooded = _span(fleet, given, ill=False)
        beside = _span(fleet, given, ill=True)
    result = {
        "hardware": hardware(),
        "integrations": given.integrations,
        "hanging": given.hanging,
        "threads": int(threads),
        "alone": alone,
        "beside_flood": flooded,
        "beside": beside,
        "p99_times_flood": round(flooded["ms"]["p99"] / max(1, alone["ms"]["p99"]), 2),
        "p99_times": round(beside["ms"]["p99"] / max(1, alone["ms"]["p99"]), 2),
    }
    json.dump(result, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--integrations", type=int, default=1000, help="in all (default 1000)")
    parser.add_argument("--hanging", type=int, default=100, help="of which so many hang (default 100)")
    parser.add_argument("--rate", type=int, default=200, help="events a second of the healthy (default 200)")
    parser.add_argument("--seconds", type=int, default=45, help="of each span (default 45)")
    parser.add_argument("--flood", type=int, default=10, help="seconds of it, at full speed (default 10)")
    return parser.parse_args()


@contextmanager
def _flood(url: str, seconds: int) -> Iterator[None]:
    """Let a tenant without integrations publish as fast as one process can."""
    command = [sys.executable, "-m", "tests.benchmarks.flooding", "--publish", url, str(seconds)]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.wait()


def _integrate(fleet: Fleet, well: str, ports: list[int], given: argparse.Namespace) -> None:
    for number in range(given.integrations):
        hangs = number < given.hanging
        url = f"http://127.0.0.1:{ports[number % len(ports)]}/{number}" if hangs else well
        document = {
            "id": f"{'ill' if hangs else 'well'}_{number}",
            "name": f"number {number}",
            "tenant_id": "ill" if hangs else f"tenant-{number}",
            "event_types": [*EventType],
            "destination": {"type": "splunk_hec", "url": url, "token": "t"},
        }
        fleet.store.create(parse_integration(document))
    fleet.announce()


def _span(fleet: Fleet, given: argparse.Namespace, *, ill: bool) -> dict[str, Any]:
    """Publish at the steady rate; return how long the healthy ones' events took."""
    since_ms = time.time_ns() // 1_000_000
    run = f"{since_ms}-"
    over, held = threading.Event(), [0]
    threads = [threading.Thread(target=_watch, args=(fleet, over, held))]
    threads += [threading.Thread(target=_publish_ill, args=(fleet, over))] if ill else []
    for thread in threads:
        thread.start()
    began = time.monotonic()
    tenants = given.integrations - given.hanging
    for number in range(given.rate * given.seconds):
        tenant = f"tenant-{given.hanging + number % tenants}"
        [line] = sample_lines(1, run=f"{run}{number}", tenant_id=tenant)
        fleet.publisher.publish(line)
        time.sleep(max(0.0, began + number / given.rate - time.monotonic()))  # the load itself
    wait_until(lambda: len(_latencies(fleet, since_ms)) >= given.rate * given.seconds, "all arrive", 120)
    over.set()
    for thread in threads:
        thread.join()
    found = _latencies(fleet, since_ms)
    shares = {f"p{share}": found[len(found) * share // 100] for share in (50, 95, 99)}
    return {"events": len(found), "ms": shares | {"max": found[-1]}, "slots_held_at_most": held[0]}


def _publish_ill(fleet: Fleet, over: threading.Event) -> None:
    with EventPublisher(fleet.server.url) as publisher:
        for line in sample_lines(1_000_000, run="ill", tenant_id="ill"):
            publisher.publish(line)
            if over.wait(1 / _ILL_RATE):
                return


def _watch(fleet: Fleet, over: threading.Event, held: list[int]) -> None:
    """Note how many slots were leased at the most."""
    while not over.wait(0.2):
        held[0] = max(held[0], int(fleet.client.zcard("siem:leases")))


def _latencies(fleet: Fleet, since_ms: int) -> list[int]:
    statement = (
        "SELECT latency_ms FROM delivery_status WHERE integration_id LIKE 'well%'"
        " AND status = 'delivered' AND published_ms >= :since"
    )
    with fleet.engine.connect() as connection:
        return sorted(row[0] for row in connection.execute(text(statement), {"since": since_ms}))


if __name__ == "__main__":
    main()
