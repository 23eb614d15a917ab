"""What a flood of one tenant at the ingress costs the others, and its own urgent events.

Standing: so many events of one tenant wait when the router starts, with one urgent and one other event of a
second tenant, and one urgent event of its own, behind all of them. Streaming: several processes publish
events of the one tenant as fast as they can, by plain XADD in pipelines, while such single events are
published one after the other. Both with a worker and a recorder that work at the same time. Prints how long
the single events waited until they were routed: beside the flood, alone, and as a ratio of both.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import PATIENT, counting_splunk, end_on_sigterm, hardware
from tests.demo.running import Running
from tests.fleet import Fleet, wait_until
from worker.broker.connection import redis_client
from worker.broker.heartbeat import roles_alive
from worker.model.events import EventType
from worker.samples import sample_events

#: Events of one pipeline of a publisher.
_PIPELINE = 1000
#: The single events: whose, and of which type.
_PROBES = {
    "other_urgent": ("quiet", EventType.POLICY_DENY),
    "other_bulk": ("quiet", EventType.POLICY_ALLOW),
    "own_urgent": ("loud", EventType.POLICY_DENY),
}


def main() -> None:
    """Measure and print one JSON object."""
    end_on_sigterm()
    given = _arguments()
    if given.publish:
        url, seconds = given.publish
        _publish(url, float(seconds), given.type)
        return
    standing = _standing(given)
    streaming = _streaming(given)
    result = {"hardware": hardware(), "flood": given.type, "standing": standing, "streaming": streaming}
    json.dump(result, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=440_000, help="that stand there (default 440000)")
    parser.add_argument("--seconds", type=int, default=20, help="of publishing at full speed (default 20)")
    parser.add_argument("--publishers", type=int, default=2, help="that publish at once (default 2)")
    parser.add_argument("--routers", type=int, default=1, help="side by side (default 1)")
    parser.add_argument("--type", default=EventType.POLICY_ALLOW.value, help="of the flood (policy.allow)")
    parser.add_argument("--publish", nargs=2, metavar=("URL", "SECONDS"), help=argparse.SUPPRESS)
    return parser.parse_args()


def _standing(given: argparse.Namespace) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="siem-bench-") as name,
        counting_splunk(Path(name)) as sink,
        _fleet(Path(name), sink) as fleet,
    ):
        fleet.start("worker", "recorder")
        for lines in _batches(given.events, given.type):
            _add(fleet.client, lines)
        waiting = {probe: _probe(fleet, probe, "standing") for probe in _PROBES}
        for number in range(given.routers):
            fleet.spawn(f"router-{number}" if number else "router")
        wait_until(lambda: _routed(fleet) > 0, "the router has begun")
        began, seconds = time.monotonic(), {}

        def are_routed() -> bool:
            for probe in [one for one, entry in waiting.items() if _is_routed(fleet, entry)]:
                seconds[probe] = round(time.monotonic() - began, 3)
                del waiting[probe]
            return not waiting

        wait_until(are_routed, "what came last is routed", 600)
        wait_until(lambda: fleet.client.xlen("siem:events") == 0, "the flood is routed", 600)
        flood = time.monotonic() - began
    return {
        "events": given.events,
        "seconds": seconds | {"flood": round(flood, 1)},
        "overtakes_times": {probe: round(flood / max(0.01, one)) for probe, one in seconds.items()},
    }


def _streaming(given: argparse.Namespace) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="siem-bench-") as name,
        counting_splunk(Path(name)) as sink,
        _fleet(Path(name), sink) as fleet,
    ):
        fleet.start("worker", "recorder")
        for number in range(given.routers):
            fleet.spawn(f"router-{number}" if number else "router")
        wait_until(lambda: "router" in roles_alive(fleet.client), "a router is alive")
        alone = _probes_until(partial(_is_past, time.monotonic() + given.seconds / 2), fleet, "alone")
        command = [sys.executable, "-m", "tests.benchmarks.flooding", "--type", given.type, "--publish"]
        publishers = [
            subprocess.Popen([*command, fleet.server.url, str(given.seconds)])
            for _ in range(given.publishers)
        ]
        wait_until(lambda: fleet.client.xlen("siem:events") > _PIPELINE * 10, "the flood has begun")
        beside = _probes_until(
            lambda: any(publisher.poll() is not None for publisher in publishers), fleet, "beside"
        )
        for publisher in publishers:
            publisher.wait()
        waiting, routed = fleet.client.xlen("siem:events"), _routed(fleet)
    return {
        "published": waiting + routed,
        "waiting_at_the_end": waiting,
        "alone_ms": alone,
        "beside_ms": beside,
        "p95_times": {
            probe: round(beside[probe]["p95"] / max(1, alone[probe]["p95"]), 1) for probe in beside
        },
    }


def _fleet(directory: Path, sink: Running) -> Fleet:
    fleet = Fleet(directory, **PATIENT)
    for tenant in ("loud", "quiet"):
        fleet.integrate(sink.url, tenant, tenant_id=tenant, event_types=[*EventType], timeout_seconds=20.0)
    return fleet


def _probes_until(is_over: Callable[[], bool], fleet: Fleet, run: str) -> dict[str, dict[str, int]]:
    """Publish single events, one after the other; return how long each kind waited to be routed, in ms."""
    found: dict[str, list[int]] = {probe: [] for probe in _PROBES}
    number = 0
    while not all(found.values()) or not is_over():
        for probe, waited in found.items():
            number += 1
            began = time.monotonic()
            entry = _probe(fleet, probe, f"{run}{number}")
            wait_until(partial(_is_routed, fleet, entry), "the event is routed", 300)
            waited.append(round((time.monotonic() - began) * 1000))
    return {
        probe: {
            "events": len(waited),
            "p50": _share(waited, 50),
            "p95": _share(waited, 95),
            "max": max(waited),
        }
        for probe, waited in found.items()
    }


def _is_past(moment: float) -> bool:
    return time.monotonic() > moment


def _share(values: Iterable[int], share: int) -> int:
    ordered = sorted(values)
    return ordered[len(ordered) * share // 100]


def _probe(fleet: Fleet, probe: str, run: str) -> bytes:
    tenant, kind = _PROBES[probe]
    [event] = sample_events(1, run=probe + run, tenant_id=tenant)
    [entry] = _add(fleet.client, [json.dumps(event | {"type": kind})])
    return entry


def _is_routed(fleet: Fleet, entry: bytes) -> bool:
    """Say whether the entry is gone: it is deleted as it is handed over."""
    return not fleet.client.xrange("siem:events", entry, entry)


def _routed(fleet: Fleet) -> int:
    return int(fleet.client.hget("siem:counters", "published") or 0)


def _add(client: Any, lines: Iterable[Any]) -> list[bytes]:
    pipeline = client.pipeline(transaction=False)
    for line in lines:
        pipeline.xadd("siem:events", {"event": line})
    entries: list[bytes] = pipeline.execute()
    return entries


def _batches(events: int, kind: str) -> Iterable[list[bytes]]:
    """Make the flood, a pipeline at a time."""
    made = [json.dumps(one | {"type": kind}).encode() for one in sample_events(_PIPELINE, tenant_id="loud")]
    for start in range(0, events, _PIPELINE):
        yield [
            line.replace(b'"id": "', b'"id": "%d-' % start, 1)
            for line in made[: min(_PIPELINE, events - start)]
        ]


def _publish(url: str, seconds: float, kind: str) -> None:
    """Publish the flood as fast as this process can."""
    client, end = redis_client(url), time.monotonic() + seconds
    for lines in _batches(1 << 40, kind):
        if time.monotonic() > end:
            return
        _add(client, lines)


if __name__ == "__main__":
    main()
