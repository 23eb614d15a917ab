"""What an application publishes is a span of its own OpenTelemetry, and its entries say so."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from tests.embedded_servers import RunningServer
from tests.tracing.collector import Collector
from worker import publisher as module
from worker.broker import keys
from worker.cells import CellPublisher
from worker.publisher import EventPublisher
from worker.tracing.spans import Tracing

EVENT = {"id": "e1", "type": "policy.deny", "timestamp": "2026-11-22T10:11:12Z"}


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Give what keeps the spans of the application."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    # OpenTelemetry lets a process set its provider once.
    monkeypatch.setattr(module, "application_tracing", lambda: Tracing(provider.get_tracer("application")))
    return kept


def traceparents(client: redis.Redis) -> list[bytes | None]:
    """Return the field of each entry."""
    entries: Any = client.xrange(keys.EVENTS)
    return [fields.get(b"traceparent") for _, fields in entries]


def test_entries_name_the_publishing_span(
    server: RunningServer, client: redis.Redis, exporter: InMemorySpanExporter
) -> None:
    """It stands below the application's current span; one for each round trip."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("application")
    with EventPublisher(server.url, tracing=True) as publisher, tracer.start_as_current_span("work") as work:
        receipts = list(publisher.publish_many([EVENT, b"not JSON", EVENT]))

    assert [receipt.error is None for receipt in receipts] == [True, False, True]
    [span] = exporter.get_finished_spans()
    assert span.parent is not None
    assert span.parent.span_id == work.get_span_context().span_id
    name = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01".encode()
    assert traceparents(client) == [name, name]
    assert dict(span.attributes or {})["messaging.batch.message_count"] == 2


def test_cells_do_as_well(
    server: RunningServer, client: redis.Redis, exporter: InMemorySpanExporter, tmp_path: Any
) -> None:
    """Each cell's publisher has its spans."""
    directory = tmp_path / "cells.json"
    directory.write_text(f'{{"cells": {{"one": {{"redis_url": "{server.url}"}}}}, "default": "one"}}')
    with CellPublisher(directory, tracing=True) as publisher:
        publisher.publish(EVENT)

    assert len(exporter.get_finished_spans()) == 1
    assert None not in traceparents(client)


def test_what_is_not_sampled_takes_no_room(
    server: RunningServer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing needs to follow it. So it is without any provider."""
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    for tracer in (provider.get_tracer("off"), trace.NoOpTracer()):
        monkeypatch.setattr(module, "application_tracing", lambda found=tracer: Tracing(found))
        with EventPublisher(server.url, tracing=True) as publisher:
            publisher.publish(EVENT)

    assert traceparents(client) == [None, None]


def test_what_redis_does_not_take_is_a_failed_span(exporter: InMemorySpanExporter) -> None:
    """By the class of the error; the receipt has its words."""
    with EventPublisher("redis://127.0.0.1:1/0", patience=0, tracing=True) as publisher:
        [receipt] = publisher.publish_many([EVENT])

    assert receipt.error is not None
    [span] = exporter.get_finished_spans()
    assert (span.status.is_ok, dict(span.attributes or {})["error.type"]) == (False, "BrokerUnavailable")


def test_the_command_exports_by_itself(server: RunningServer, client: redis.Redis) -> None:
    """`siem publish` is a program of ours: its spans are sent before it ends, and a wrong address ends it."""
    environment = {**os.environ, "SIEM_REDIS_URL": server.url, "SIEM_TRACING": "true"}
    command = [str(Path(sys.executable).parent / "siem"), "publish", "-"]
    with Collector() as collector:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
        done = subprocess.run(
            command, env=environment, input=json.dumps(EVENT).encode(), capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
        [span] = collector.spans
    environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = "collector"
    refused = subprocess.run(command, env=environment, input=b"", capture_output=True, check=False)

    assert (span.service, span.name) == ("siem-publisher", "publish siem:events")
    assert traceparents(client) == [f"00-{span.trace_id}-{span.span_id}-01".encode()]
    assert refused.returncode == 2
    assert b"OTEL_EXPORTER_OTLP_ENDPOINT: is no address" in refused.stderr
