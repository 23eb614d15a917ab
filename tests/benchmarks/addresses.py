"""What a destination loses that moves to another address, and one whose first address is dead.

The same steady trickle goes to HEC, a webhook and CEF over TCP, each once over connections that are kept and
once over one that is made for each batch. First their name leads to one address; then it moves to another one
while the first stays up; then a dead address comes to stand before that. Prints how long events took in
each span, after how many seconds the move was followed by all, and the ratios to the first span, as JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import text

from tests.benchmarks.measuring import PATIENT, end_on_sigterm, hardware
from tests.fleet import Fleet, wait_until
from tests.interop.hosts_file import HOST, HostsFile
from tests.receivers.hec import HecReceiver
from tests.receivers.scripts import Action, Request, Script, ok
from tests.receivers.syslog import SyslogReceiver
from tests.receivers.webhook import WebhookReceiver, takes
from tests.transports.dead_addresses import full_queue
from worker.model.events import EventType
from worker.samples import sample_lines

A, B, DEAD = "127.0.0.1", "127.0.0.2", "127.0.0.3"

Receiver = HecReceiver | SyslogReceiver


@dataclass(frozen=True)
class Destination:
    """An integration, and what stands at A and at B."""

    id: str
    at_a: Receiver
    at_b: Receiver

    def came_to_a(self) -> int:
        """Count the events and requests that A has had."""
        one = self.at_a
        return len(one.messages if isinstance(one, SyslogReceiver) else one.requests)


def main() -> None:
    """Measure and print one JSON object."""
    end_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rate", type=int, default=20, help="events a second (default 20)")
    parser.add_argument("--seconds", type=int, default=45, help="of each span (default 45)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="siem-bench-") as name:
        result = {"hardware": hardware()} | _measure(Path(name), given)
    json.dump(result, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _measure(directory: Path, given: argparse.Namespace) -> dict[str, Any]:
    hosts = HostsFile(directory, [A])
    with Fleet(directory / "fleet", **PATIENT) as fleet, _destinations(fleet) as destinations:
        fleet.start("router", "recorder")
        fleet.environment |= hosts.environment
        fleet.start("worker")
        alone = _span(fleet, given, destinations)
        hosts.lead_to([B])
        moved = _span(fleet, given, destinations)
        with ExitStack() as stack:
            for one in destinations:
                stack.enter_context(full_queue(DEAD, one.at_a.port))
            hosts.lead_to([DEAD, B])
            dead = _span(fleet, given, destinations)
    return {"one_address": alone, "moves": moved, "first_address_dead": dead} | {
        f"{share}_times": {
            name: {
                "moves": round(moved[name][share] / max(1, alone[name][share]), 2),
                "first_address_dead": round(dead[name][share] / max(1, alone[name][share]), 2),
            }
            for name in alone
        }
        for share in ("p50", "p99")
    }


@contextmanager
def _destinations(fleet: Fleet) -> Iterator[list[Destination]]:
    with ExitStack() as stack:
        made: list[Destination] = []
        for is_kept in (True, False):
            for kind in ("hec", "webhook", "cef"):
                one = _receiver(kind, A, 0, is_kept=is_kept)
                stack.enter_context(one)
                other = _receiver(kind, B, one.port, is_kept=is_kept)
                stack.enter_context(other)
                made.append(Destination(_integrate(fleet, kind, one.port, is_kept=is_kept), one, other))
        yield made


def _receiver(kind: str, ip: str, port: int, *, is_kept: bool) -> Receiver:
    if kind == "cef":
        return SyslogReceiver(host=ip, port=port)
    script = ok() if kind == "hec" else takes()
    receiver = HecReceiver if kind == "hec" else WebhookReceiver
    return receiver(script if is_kept else _closing(script), host=ip, port=port)


def _closing(script: Script) -> Script:
    """End each connection behind its answer, having said so."""

    def close(request: Request) -> Action:
        action = script(request)
        return replace(action, headers={**action.headers, "Connection": "close"})

    return close


def _integrate(fleet: Fleet, kind: str, port: int, *, is_kept: bool) -> str:
    urls = {
        "hec": f"http://{HOST}:{port}/services/collector/event",
        "webhook": f"http://{HOST}:{port}/webhook",
        "cef": f"syslog://{HOST}:{port}",
    }
    own: dict[str, Any] = {"type": "webhook"} if kind == "webhook" else {}
    own |= {"confirm_by_shutdown": not is_kept} if kind == "cef" else {}
    name = f"{kind}_{'kept' if is_kept else 'new'}"
    made = fleet.integrate(urls[kind], name, event_types=[*EventType], **(own | {"timeout_seconds": 10.0}))
    return made.id


def _span(
    fleet: Fleet, given: argparse.Namespace, destinations: list[Destination]
) -> dict[str, dict[str, float]]:
    """Publish at the steady rate; return how long events took, and after how many seconds A had its last."""
    since_ms = time.time_ns() // 1_000_000
    began = time.monotonic()
    came = {one.id: one.came_to_a() for one in destinations}
    last = dict.fromkeys(came, 0.0)
    for number, line in enumerate(sample_lines(given.rate * given.seconds, run=f"span-{since_ms}")):
        fleet.publisher.publish(line)
        for one in destinations:
            if (now := one.came_to_a()) != came[one.id]:
                came[one.id], last[one.id] = now, time.monotonic() - began
        time.sleep(max(0.0, began + number / given.rate - time.monotonic()))  # the load itself
    wanted = given.rate * given.seconds
    wait_until(
        lambda: all(len(_latencies(fleet, one.id, since_ms)) >= wanted for one in destinations),
        "all arrive",
        120,
    )
    found = {one.id: _latencies(fleet, one.id, since_ms) for one in destinations}
    return {
        one: {f"p{share}": ms[len(ms) * share // 100] for share in (50, 99)}
        | {"max": ms[-1], "last_at_first_address_s": round(last[one], 1)}
        for one, ms in found.items()
    }


def _latencies(fleet: Fleet, integration: str, since_ms: int) -> list[int]:
    statement = (
        "SELECT latency_ms FROM delivery_status WHERE integration_id = :id AND published_ms >= :since"
        " AND status = 'delivered'"
    )
    with fleet.engine.connect() as connection:
        rows = connection.execute(text(statement), {"id": integration, "since": since_ms})
        return sorted(row[0] for row in rows)


if __name__ == "__main__":
    main()
