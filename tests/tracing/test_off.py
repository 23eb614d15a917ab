"""Off, it is not there: no module of its own, and to Redis the very commands of a release without it."""

import json
import subprocess
import sys
from typing import Any

import pytest
import redis

from tests.broker.sending import TIMING, subscribe
from tests.embedded_servers import RunningServer
from worker.broker import keys
from worker.broker.backlog import Backlog
from worker.broker.ingress import Ingress
from worker.broker.ingress_ahead import IngressAhead
from worker.broker.snapshot import Snapshot
from worker.model.trace_context import TraceContext
from worker.pipeline.router import Router
from worker.publisher import EventPublisher

#: redis-py and FastAPI import OpenTelemetry's API, and redis-py the SDK's metrics, whatever we do.
_OURS = (
    "worker.tracing.",
    "opentelemetry.sdk.trace",
    "opentelemetry.exporter",
    "opentelemetry.proto",
    "google",
)


@pytest.mark.parametrize(
    "module", ["worker.cli.processes", "worker.celery", "worker.cli.api", "worker.publisher"]
)
def test_no_process_imports_it(server: RunningServer, module: str) -> None:
    """Not even what opens it: `worker.tracing` alone stands there, and returns None."""
    program = (
        f"import sys, {module}\n"
        "from worker.tracing import open_tracing, close_tracing\n"
        "assert open_tracing('siem', enabled=False) is None; close_tracing()\n"
        "print(*sys.modules)"
    )
    environment = {"SIEM_REDIS_URL": server.url, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True, text=True
    )

    assert [name for name in done.stdout.split() if name.startswith(_OURS)] == []


class Traces:
    """What a router needs of tracing."""

    def follow(self, *_: Any) -> Any:
        """Make no span."""
        raise AssertionError("nothing that was sampled is routed here")


def commands(client: redis.Redis, tracing: Any, traceparent: bytes) -> list[str]:
    """Return the commands by which a router hands over what is published with this context."""
    client.flushall()
    subscribe(client, "a")
    orders: list[Any] = []
    router = Router(
        Ingress(client, "router", 30),
        Backlog(client, TIMING),
        Snapshot(client),
        lambda order, _: orders.append(order),
        IngressAhead(client),
        tracing,
    )
    router.step()  # makes the group
    for number in range(3):
        event = {"id": f"e{number}", "type": "policy.deny", "timestamp": "2026-11-22T10:11:12Z"}
        fields: dict[Any, Any] = {"event": json.dumps(event)} | (
            {"traceparent": traceparent} if traceparent else {}
        )
        client.xadd(keys.EVENTS, fields)
    client.config_resetstat()
    assert router.step() == 3
    stats: Any = client.info("commandstats")
    written: Any = client.xrange(keys.urgent("a"))
    # A server is given each script once.
    calls = (f"{name} {one['calls']}" for name, one in stats.items() if "script" not in name)
    return [*sorted(calls), str(list(written[0][1]))]


def test_off_redis_gets_the_same_commands_and_fields(client: redis.Redis) -> None:
    """Whether events have contexts or not; and on, an event that is not sampled costs as much."""
    context = TraceContext(b"a" * 16, b"b" * 8)
    commands(client, None, b"")  # whoever comes first gives the server its scripts: some are called twice
    usual = commands(client, None, b"")

    assert usual[-1] == "[b'n', b'bytes', b'events', b'crc']"
    assert commands(client, None, context.header()) == usual
    assert commands(client, Traces(), context._replace(sampled=False).header()) == usual
    assert commands(client, Traces(), b"garbage") == usual


def test_off_a_publisher_writes_the_event_alone(server: RunningServer, client: redis.Redis) -> None:
    """As ever."""
    with EventPublisher(server.url) as publisher:
        publisher.publish({"id": "e1", "type": "policy.deny", "timestamp": "2026-11-22T10:11:12Z"})

    entries: Any = client.xrange(keys.EVENTS)
    [(_, fields)] = entries
    assert list(fields) == [b"event"]
