"""What a limit on open files costs that is too small for a dozen webhooks of 128 connections.

The same events go to a dozen webhooks, Splunk and CEF over TCP, all of them well, by a worker of the
Procfile: once with as many open files as it can use, then with less. Prints what was delivered and what died,
how many attempts failed, how long events took, how many files the worker had open at the most, and what it
logged of a shortage, as JSON.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, text

from tests.benchmarks.measuring import PATIENT, end_on_sigterm, hardware
from tests.fleet import Fleet, wait_until
from tests.procfile import WORKER
from tests.receivers.hec import HecReceiver
from tests.receivers.scripts import Action, Request
from tests.receivers.syslog import SyslogReceiver
from tests.receivers.webhook import WebhookReceiver
from worker.ledger.schema import minute_counts
from worker.model.events import EventType
from worker.samples import sample_lines

#: How long a webhook takes for a request, in seconds: long enough for many to be under way at once.
_ANSWER_AFTER = 0.02
_CONNECTIONS = 128


def main() -> None:
    """Measure and print one JSON object."""
    end_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--webhooks", type=int, default=12, help="of 128 connections (default 12)")
    parser.add_argument("--events", type=int, default=400, help="that go to each destination (default 400)")
    parser.add_argument("--files", type=int, nargs="+", default=[16384, 1024, 256], help="limits to try")
    given = parser.parse_args()
    result: dict[str, Any] = {"hardware": hardware(), "deliveries": given.events * (given.webhooks + 2)}
    for files in given.files:
        with tempfile.TemporaryDirectory(prefix="siem-bench-") as name:
            result[f"{files} files"] = _measure(Path(name), given, files)
    json.dump(result, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _measure(directory: Path, given: argparse.Namespace, files: int) -> dict[str, Any]:
    with Fleet(directory, **{**PATIENT, "SIEM_WORKER_THREADS": "128"}) as fleet, ExitStack() as stack:
        fleet.worker_files = files
        integrations = _integrate(fleet, stack, given.webhooks)
        fleet.start()
        worker = fleet.processes[WORKER].pid
        over, most = threading.Event(), [0]
        watching = threading.Thread(target=_watch, args=(worker, over, most))
        watching.start()
        began = time.monotonic()
        fleet.publish_at_once(json.loads(line) for line in sample_lines(given.events, run="files"))
        wait_until(lambda: _settled(fleet).total() >= given.events * len(integrations), "all is settled", 600)
        seconds = time.monotonic() - began
        over.set()
        watching.join()
        return {
            "seconds": round(seconds, 1),
            "deliveries_a_second": round(given.events * len(integrations) / seconds),
            **_settled(fleet),
            "failed_attempts": _failed_attempts(fleet),
            "latency_ms": _latencies(fleet),
            "files_open_at_most": most[0],
            "logged": [line for line in fleet.log(WORKER).splitlines() if "short of" in line],
        }


def _integrate(fleet: Fleet, stack: ExitStack, webhooks: int) -> list[str]:
    options: dict[str, Any] = {"event_types": [*EventType], "timeout_seconds": 30.0}
    for number in range(webhooks):
        url = stack.enter_context(WebhookReceiver(_slowly)).url
        fleet.integrate(url, f"hook{number}", type="webhook", connections=_CONNECTIONS, **options)
    fleet.integrate(stack.enter_context(HecReceiver()).url, "splunk", **options)
    fleet.integrate(stack.enter_context(SyslogReceiver()).url, "syslog", **options)
    return [one.id for one in fleet.store.list()]


def _slowly(request: Request) -> Action:
    time.sleep(_ANSWER_AFTER)  # the load itself
    return Action(200, b"", request.events)


def _watch(pid: int, over: threading.Event, most: list[int]) -> None:
    """Note how many files the worker had open at the most."""
    descriptors = Path(f"/proc/{pid}/fd")
    while not over.wait(0.05):
        most[0] = max(most[0], sum(1 for _ in descriptors.iterdir()))


def _settled(fleet: Fleet) -> Counter[str]:
    statement = "SELECT status, count(*) FROM delivery_status WHERE status != 'retrying' GROUP BY status"
    with fleet.engine.connect() as connection:
        return Counter({str(status): int(count) for status, count in connection.execute(text(statement))})


def _failed_attempts(fleet: Fleet) -> int:
    with fleet.engine.connect() as connection:
        counted = func.sum(minute_counts.c.retried + minute_counts.c.dead)
        return int(connection.execute(select(counted)).scalar() or 0)


def _latencies(fleet: Fleet) -> dict[str, int]:
    statement = "SELECT latency_ms FROM delivery_status WHERE latency_ms IS NOT NULL ORDER BY latency_ms"
    with fleet.engine.connect() as connection:
        found = [int(value) for (value,) in connection.execute(text(statement))]
    return {f"p{share}": found[len(found) * share // 100] for share in (50, 99)} if found else {}


if __name__ == "__main__":
    main()
