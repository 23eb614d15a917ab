"""Measures one run of a whole fleet: from publishing to the row in the ledger, in one process of its own.

Input: what is to be delivered and where. Output: figures by name. CPU is user and system time in
microseconds, by role: `publisher` is this process while it publishes; `redis` and `database` include the
processes below them, such as those that rewrite the append-only file. Receivers are not counted.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import inspect, text

from tests.benchmarks.ledger_filling import fill
from tests.benchmarks.measuring import PATIENT, recorded, running_cpu_seconds, tree_cpu_seconds
from tests.demo.running import Running, wait_for_ports
from tests.fleet import Fleet, wait_until
from tests.ledger.postgres import postgres_server
from worker.broker import keys
from worker.model.events import EventType
from worker.samples import sample_lines

Figures = dict[str, float]

#: Where the code of the receivers is, if not here: those of two commits would not be the same load.
RECEIVERS = "BENCHMARK_RECEIVERS"
_LONGEST_RUN = 240.0
_WARM_UP = 2_000
_RATE = 200


@dataclass(frozen=True, slots=True)
class Way:
    """A receiver of the demo, its options, and what an integration says of it."""

    program: str
    kind: str
    address: str
    options: tuple[str, ...] = ()
    integration: dict[str, Any] = field(default_factory=dict)


HEC = Way("splunk_receiver", "splunk_hec", "http://127.0.0.1:{}/services/collector/event")
CEF = Way("syslog_receiver", "syslog_cef", "syslog://127.0.0.1:{}")
UDP = Way("syslog_receiver", "syslog_cef", "syslog+udp://127.0.0.1:{}", ("--udp",))
UNPACED = Way(
    *("syslog_receiver", "syslog_cef", UDP.address, UDP.options), {"max_datagrams_per_second": 1_000_000}
)
WEBHOOK = Way("webhook_receiver", "webhook", "http://127.0.0.1:{}/hook")
SLOW = Way(*("webhook_receiver", "webhook", WEBHOOK.address), ("--delay", "20"))


@contextmanager
def receiver(way: Way, directory: Path) -> Iterator[Running]:
    """Start a receiver that counts what comes and reads nothing, by the code of RECEIVERS."""
    top = os.environ.get(RECEIVERS, str(Path.cwd()))
    port_file = directory / f"{way.program}.port"
    command = [sys.executable, "-m", f"worker.demo.{way.program}", "--port-file", str(port_file)]
    environment = {**os.environ, "PYTHONPATH": top}
    with subprocess.Popen(
        [*command, "--count-only", *way.options], cwd=top, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            ports = wait_for_ports(process, port_file)
            yield Running(process, ports[0], ports[-1])
        finally:
            process.terminate()


@contextmanager
def running_fleet(
    way: Way, integrations: int = 1, *, database: str = "sqlite", filled: int = 0, roles: tuple[str, ...] = ()
) -> Iterator["Subject"]:
    """Start a fleet whose integrations want every type and share a receiver; its ledger has `filled` rows."""
    with tempfile.TemporaryDirectory(prefix="siem-bench-") as name, ExitStack() as stack:
        server = stack.enter_context(postgres_server()) if database == "postgresql" else None
        url = stack.enter_context(server.database("siem")) if server else ""
        came = stack.enter_context(receiver(way, Path(name)))
        fleet = stack.enter_context(Fleet(Path(name), database_url=url, **PATIENT))
        fill(fleet.engine, filled)
        for number in range(integrations):
            options: dict[str, Any] = {"type": way.kind, "event_types": [*EventType], "timeout_seconds": 20.0}
            fleet.integrate(way.address.format(came.port), f"no{number}", **options, **way.integration)
        fleet.start(*roles)
        _await_formats(fleet)
        pids = {"redis": fleet.server.pid, **{role: one.pid for role, one in fleet.processes.items()}}
        if server:
            pids["database"] = postmaster(server.socket_folder)
        yield Subject(fleet, came, pids, integrations)


def _await_formats(fleet: Fleet) -> None:
    """Wait until it is known what all processes read: until then earlier forms are written."""
    # An older commit knows no such key, and fewer forms.
    name: str | None = getattr(keys, "FORMATS", None)
    wait_until(
        lambda: name is None or fleet.client.exists(name), "the forms that all processes read are known"
    )


def postmaster(folder: Path) -> int:
    """Return the id of the server's first process."""
    return int((folder / "data" / "postmaster.pid").read_text().split()[0])


class Subject:
    """A running fleet, what it delivers to, and what its processes have used."""

    def __init__(self, fleet: Fleet, came: Running, pids: dict[str, int], integrations: int) -> None:
        """Take the fleet, its receiver, the processes by role, and how many integrations want each event."""
        self.fleet, self.came, self._pids, self.integrations = fleet, came, pids, integrations
        self._since_ms = (time.time_ns() // 1_000_000) // 60_000 * 60_000
        self._published = self._publishing = 0.0
        self._expected = recorded(fleet, self._since_ms)

    def cpu(self) -> dict[str, float]:
        """Return the seconds that each role has used so far."""
        return {role: tree_cpu_seconds(pid) for role, pid in self._pids.items()} | {
            "publisher": self._publishing
        }

    def running_cpu(self) -> dict[str, float]:
        """Return the same of the threads that live, to the nanosecond."""
        return {role: running_cpu_seconds(pid) for role, pid in self._pids.items()}

    def publish(self, lines: list[bytes], rate: float = 0.0) -> None:
        """Publish all at once, or so many a second."""
        began, started = time.process_time(), time.monotonic()
        if rate:
            for number, line in enumerate(lines):
                time.sleep(max(0.0, started + number / rate - time.monotonic()))  # the load itself
                self.fleet.publisher.publish(line)
        else:
            refused = [one.error for one in self.fleet.publisher.publish_many(lines) if one.error]
            assert not refused, refused[0]
        self._publishing += time.process_time() - began
        self._expected += len(lines) * self.integrations

    def wait(self) -> None:
        """Wait until all that was published stands in the ledger."""
        wait_until(
            lambda: recorded(self.fleet, self._since_ms) >= self._expected,
            f"{self._expected} rows stand in the ledger",
            _LONGEST_RUN,
        )

    def deliver(self, name: str, events: int, rate: float = 0.0) -> Figures:
        """Publish so many events; return the rate and the CPU of each role, once all are recorded."""
        lines = list(sample_lines(events, run=name))
        before, received, started = self.cpu(), self.came.counts()["events"], time.monotonic()
        self.publish(lines, rate)
        self.wait()
        seconds, after = time.monotonic() - started, self.cpu()
        deliveries = events * self.integrations
        arrived = self.came.counts()["events"] - received
        return {
            "deliveries": deliveries,
            "received_share": round(arrived / deliveries, 4),
            "seconds": round(seconds, 3),
            "per_second": round(deliveries / seconds),
            **per_unit(before, after, deliveries),
        }


def per_unit(before: dict[str, float], after: dict[str, float], units: float) -> Figures:
    """Return the microseconds of CPU for each unit, in all and by role."""
    used = {f"cpu_us_{role}": round((after[role] - before[role]) / units * 1e6, 2) for role in after}
    return {"cpu_us": round(sum(used.values()), 2), **used}


def deliver(way: Way, events: int, integrations: int = 1, **options: Any) -> Figures:
    """Deliver at full speed, after a warm-up."""
    with running_fleet(way, integrations, **options) as subject:
        warm_up(subject, events)
        return subject.deliver("measured", events)


def warm_up(subject: Subject, events: int) -> None:
    """Deliver some events: connections are open then, caches filled, and slots grown."""
    subject.deliver("warm-up", max(1, min(_WARM_UP, events // 4)))


def steady(events: int) -> Figures:
    """Deliver at 200 events a second; latency is from `XADD` to the acceptance, by the clock of Redis."""
    with running_fleet(HEC) as subject:
        subject.deliver("warm-up", min(_RATE, events), _RATE)
        since_ms = time.time_ns() // 1_000_000
        figures = subject.deliver("measured", events, _RATE)
        return figures | _latencies(subject.fleet, since_ms)


def _latencies(fleet: Fleet, since_ms: int) -> Figures:
    views = inspect(fleet.engine).get_view_names()
    # An older commit has no such view.
    table = "delivery_status" if "delivery_status" in views else "deliveries"
    statement = f"SELECT latency_ms FROM {table} WHERE published_ms >= :since ORDER BY latency_ms"  # noqa: S608 - names of ours
    with fleet.engine.connect() as connection:
        found = [row[0] for row in connection.execute(text(statement), {"since": since_ms})]
    return {f"p{share}_ms": found[len(found) * share // 100] for share in (50, 95, 99)} | {
        "max_ms": found[-1]
    }


def rest(seconds: float) -> Figures:
    """Return the CPU of each role in a second in which nothing is to do."""
    with running_fleet(HEC) as subject:
        warm_up(subject, 4)
        # A worker stays behind what it has delivered, and the sweeper sees to its slot: then all is at rest.
        wait_until(lambda: not subject.fleet.client.zcard(keys.LEASES), "no slot is leased")
        before, started = subject.running_cpu(), time.monotonic()
        time.sleep(seconds)  # what is measured
        return per_unit(before, subject.running_cpu(), time.monotonic() - started)


def waiting(events: int) -> Figures:
    """Return the bytes of Redis for an event that waits for one integration, and for ten."""
    found = {count: _waiting(events, count) for count in (1, 10)}
    return {
        "redis_bytes_for_one": round(found[1]),
        "redis_bytes_for_ten": round(found[10]),
        "share_of_ten_copies": round(found[10] / (10 * found[1]), 3),
    }


def _waiting(events: int, integrations: int) -> float:
    with running_fleet(HEC, integrations, roles=("router",)) as subject:
        client = subject.fleet.client
        used: Callable[[], int] = lambda: client.info("memory")["used_memory"]  # noqa: E731 - short
        before = used()
        subject.publish(list(sample_lines(events, run="waiting")))
        wait_until(lambda: not client.xlen(keys.EVENTS), "all is routed", _LONGEST_RUN)
        return (used() - before) / events


def print_figures(figures: Figures) -> None:
    """Print what a run has measured, for the process that asked for it."""
    json.dump(figures, sys.stdout)
    sys.stdout.write("\n")
