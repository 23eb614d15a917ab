"""The obvious alternative in one run: a Celery task for each event, two prefork processes, `requests`.

It is timed from the first event published, as the fleet is, with its workers up; and once more with its queue
filled beforehand.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.fleet_runs import HEC, Figures, receiver
from tests.demo.running import Running
from tests.embedded_servers import VALKEY, start_server
from tests.fleet import wait_until

_MODULE = "tests.benchmarks.one_task_an_event"
_WORKER = ("-A", _MODULE, "worker", "-P", "prefork", "-c", "2", "-l", "ERROR", "--without-gossip")


def one_task_an_event(events: int) -> Figures:
    """Deliver by it; return deliveries a second of both ways."""
    with (
        tempfile.TemporaryDirectory(prefix="siem-bench-") as name,
        receiver(HEC, Path(name)) as sink,
        start_server(VALKEY, Path(name) / "server") as server,
    ):
        url = HEC.address.format(sink.port)
        environment = {**os.environ, "ALTERNATIVE_REDIS": server.url, "ALTERNATIVE_URL": url}
        filled = _timed(sink, environment, events, beforehand=True)
        published = _timed(sink, environment, events, beforehand=False)
    return {
        "deliveries": events,
        "per_second": round(published),
        "per_second_of_a_queue_filled_beforehand": round(filled),
    }


def _timed(sink: Running, environment: dict[str, str], events: int, *, beforehand: bool) -> float:
    """Return deliveries a second; its workers are up and have delivered an event before time is taken."""
    before = sink.counts()["events"]
    _publish(environment, events if beforehand else 1)
    command = [str(Path(sys.executable).parent / "celery"), *_WORKER, "--without-mingle"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as worker:
        try:
            wait_until(lambda: sink.counts()["events"] > before, "the first event arrives")
            first, started = sink.counts()["events"], time.monotonic()
            if not beforehand:
                _publish(environment, events)
            wanted = before + events if beforehand else first + events
            wait_until(lambda: sink.counts()["events"] >= wanted, "every event arrives", 200)
            return float(wanted - first) / (time.monotonic() - started)
        finally:
            worker.terminate()


def _publish(environment: dict[str, str], events: int) -> None:
    subprocess.run([sys.executable, "-m", _MODULE, str(events)], env=environment, check=True)
