"""What becomes of a fleet as it grows: more waiting events, more integrations, more processes.

Every tenant has four integrations, each of which wants all types; the tenants' events come in turn. With
`--waiting`, workers start only when all events are routed: what is beyond the limit of a backlog is then
parked in the ledger and comes back. Each number of `--processes` is a run with so many routers, recorders
and workers. Prints JSON.

`per_process` is how many deliveries a second one process of a role could take with a core of its own, by the
CPU that it used: the least of these is the first limit, where no second process of that role helps. Redis is
always one. `peak_mb` is the most memory (resident) that one process of a role has taken.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

from tests.benchmarks.fleet_runs import per_unit
from tests.benchmarks.measuring import (
    PATIENT,
    counting_splunk,
    end_on_sigterm,
    hardware,
    peak_mb,
    recorded,
    tree_cpu_seconds,
)
from tests.fleet import Fleet, wait_until
from tests.ledger.postgres import postgres_server
from worker.broker import keys
from worker.broker.snapshot import publish_integrations
from worker.integrations.integration import parse_integration
from worker.model.events import EventType
from worker.samples import sample_lines

_OF_A_TENANT = 4
_LONGEST_WAIT = 3600.0


def main() -> None:
    """Measure and print one JSON object."""
    end_on_sigterm()
    given = arguments()
    runs = [measure(given, number) for number in given.processes]
    json.dump({"hardware": hardware(), "runs": runs}, sys.stdout, indent=2)
    sys.stdout.write("\n")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="to publish (default 100000)")
    parser.add_argument("--integrations", type=int, default=1, help="in all (default 1)")
    parser.add_argument("--processes", type=int, nargs="+", default=[1], help="of each role, in turn (1)")
    parser.add_argument("--waiting", action="store_true", help="start workers when all events wait")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    return parser.parse_args(words)


def measure(given: argparse.Namespace, processes: int) -> dict[str, Any]:
    """Return the figures of one run."""
    with tempfile.TemporaryDirectory(prefix="siem-bench-") as name, ExitStack() as stack:
        url = ""
        if given.database == "postgresql":
            url = stack.enter_context(stack.enter_context(postgres_server()).database("siem"))
        sink = stack.enter_context(counting_splunk(Path(name)))
        fleet = stack.enter_context(Fleet(Path(name), database_url=url, **PATIENT))
        _integrate(fleet, sink.url, given.integrations)
        growing = Growing(fleet, processes, given.integrations)
        return {"processes": processes, "integrations": given.integrations} | growing.run(
            given.events, waiting=given.waiting
        )


def _integrate(fleet: Fleet, url: str, integrations: int) -> None:
    for number in range(integrations):
        document = {
            "id": f"int_{number}",
            "name": f"number {number}",
            "tenant_id": f"tenant-{number // _OF_A_TENANT}",
            "event_types": [*EventType],
            "destination": {"type": "splunk_hec", "url": url, "token": "t"},
        }
        fleet.store.create(parse_integration(document))
    publish_integrations(fleet.client, fleet.store.records(), fleet.settings.slots)


class Growing:
    """A fleet with several processes of each role, and what they have used."""

    def __init__(self, fleet: Fleet, processes: int, integrations: int) -> None:
        """Take a fleet that has not started, and the numbers."""
        self._fleet, self._processes = fleet, processes
        self._tenants, self._integrations = -(-integrations // _OF_A_TENANT), integrations
        self._publishing = 0.0

    def run(self, events: int, *, waiting: bool) -> dict[str, Any]:
        """Publish, wait until all are recorded, and return what that took."""
        self._start("router", "recorder", *(() if waiting else ("worker",)))
        before, started = self._cpu(), time.monotonic()
        deliveries = self._publish(events)
        wait_until(lambda: not self._fleet.client.xlen(keys.EVENTS), "all is routed", _LONGEST_WAIT)
        routed = time.monotonic()
        if waiting:
            self._start("worker")
        wait_until(lambda: recorded(self._fleet) >= deliveries, f"{deliveries} are recorded", _LONGEST_WAIT)
        ended = time.monotonic()
        used = per_unit(defaultdict(float, before), self._cpu(), deliveries)
        return {
            "deliveries": deliveries,
            "routed_per_second": round(events / (routed - started)),
            "per_second": round(deliveries / (ended - (routed if waiting else started))),
            **used,
            "per_process": {
                name.removeprefix("cpu_us_"): round(1e6 / value)
                for name, value in used.items()
                if name.startswith("cpu_us_") and value
            },
            "peak_mb": self._peaks(),
            "redis_peak_mb": round(self._fleet.client.info("memory")["used_memory_peak"] / 1e6),
        }

    def _start(self, *roles: str) -> None:
        names = [
            role if not number else f"{role}-{number + 1}"
            for role in roles
            for number in range(self._processes)
        ]
        self._fleet.start(*names)

    def _publish(self, events: int) -> int:
        """Publish the events of all tenants in turn; return how many deliveries they become."""
        share = -(-events // self._tenants)
        began = time.process_time()
        receipts = self._fleet.publisher.publish_many(_in_turn(self._tenants, share))
        refused = next((one.error for one in receipts if one.error), None)
        assert refused is None, refused
        self._publishing += time.process_time() - began
        return share * self._integrations

    def _cpu(self) -> dict[str, float]:
        used = defaultdict(float, redis=tree_cpu_seconds(self._fleet.server.pid), publisher=self._publishing)
        for name, process in self._fleet.processes.items():
            used[name.partition("-")[0]] += tree_cpu_seconds(process.pid)
        return used

    def _peaks(self) -> dict[str, int]:
        peaks: defaultdict[str, int] = defaultdict(int)
        for name, process in self._fleet.processes.items():
            role = name.partition("-")[0]
            peaks[role] = max(peaks[role], peak_mb(process.pid))
        return peaks


def _in_turn(tenants: int, share: int) -> Iterator[bytes]:
    """Make so many events of each tenant, one of each in turn."""
    lines = [sample_lines(share, run=f"growth-{one}", tenant_id=f"tenant-{one}") for one in range(tenants)]
    return chain.from_iterable(zip(*lines, strict=True))


if __name__ == "__main__":
    main()
