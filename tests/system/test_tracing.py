"""One trace from the request to acceptance, by the processes of the Procfile, to a real receiver of OTLP."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fleet import Fleet, wait_until
from tests.receivers.webhook import WebhookReceiver, answers, by_event
from tests.system.conftest import denial
from tests.tracing.collector import HANGS, Collector
from worker.ledger.api_keys import ApiKeyStore
from worker.model.api_keys import Role
from worker.model.deliveries import Status

pytestmark = pytest.mark.slow

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRET = "s3cr3t-of-the-collector"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """Give a collector."""
    with Collector() as running:
        yield running


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Fleet]:
    """Give a fleet with an API that traces what its publishers sample."""
    environment: dict[str, Any] = {
        "SIEM_TRACING": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {SECRET}",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    with Fleet(tmp_path_factory.mktemp("traced"), **environment) as running:
        yield running.start("router", "recorder", "worker-webhook", "api")


def post(fleet: Fleet, events: list[dict[str, Any]], **headers: str) -> None:
    """Publish events of the tenant `acme` over the API."""
    key = ApiKeyStore(fleet.engine).create("acme", Role.PUBLISH_ONLY, "control plane").text
    url = (fleet.directory / "api.url").read_text().strip()
    request = urllib.request.Request(  # noqa: S310 - our own API, on loopback
        f"{url}/api/v1/events",
        "\n".join(map(json.dumps, events)).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson", **headers},
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - the same
        assert answer.status == 202


def test_one_trace_from_the_request_to_acceptance(traced: Fleet, collector: Collector) -> None:
    """Request, publishing, routing, and two sendings, for the first is answered with 503."""
    event = denial("whole-way", tenant_id="acme", reason="only the SIEM may read this")
    with WebhookReceiver(by_event({"whole-way": [answers(503)]})) as endpoint:
        traced.integrate(endpoint.url, "whole", type="webhook", tenant_id="acme")
        post(traced, [event], traceparent=f"00-{TRACE}-{CALLER}-01", tracestate="vendor=1")
        [row] = traced.settled(1, "int_whole")
        wait_until(lambda: len(collector.named("deliver")) == 2, "both sendings are exported")

    assert row.status is Status.DELIVERED
    [request], [publish] = collector.named("POST /api/v1/events"), collector.named("publish")
    [route], [first, second] = collector.named("route"), collector.named("deliver webhook")
    everyone = (request, publish, route, first, second)
    assert {span.trace_id for span in everyone} == {TRACE}
    assert [span.service for span in everyone] == [*["siem-api"] * 2, "siem-router", *["siem-worker"] * 2]
    assert (request.parent_id, publish.parent_id) == (CALLER, request.span_id)
    assert {span.parent_id for span in (route, first, second)} == {publish.span_id}
    assert {tuple(span.links) for span in (route, first, second)} == {(publish.ids,)}
    assert [span.failed for span in everyone] == [False, False, False, True, False]
    assert [span.attributes["siem.attempt"] for span in (first, second)] == [1, 2]
    assert [span.events for span in (first, second)] == [[], ["accepted"]]
    assert first.attributes["error.type"] == "destination_busy"
    assert (second.attributes["siem.integration.id"], second.attributes["siem.tenant.id"]) == (
        "int_whole",
        "acme",
    )
    assert request.attributes["http.response.status_code"] == 202


def test_what_is_exported_tells_nothing_of_an_event(traced: Fleet, collector: Collector) -> None:
    """Nor is the secret of the collector in a log; it goes to the collector alone."""
    exported = b"".join(collector.bodies)
    logs = "".join(traced.log(role) for role in traced.processes)

    assert collector.spans
    assert not [word for word in (b"only the SIEM", b"whole-way", b"hook/", b"127.0.0.1") if word in exported]
    assert {headers["authorization"] for headers in collector.headers} == {f"Bearer {SECRET}"}
    assert SECRET not in logs + traced.siem("settings").stdout.decode()


def test_each_publisher_is_linked_from_the_batch(traced: Fleet, collector: Collector) -> None:
    """Events of many traces and of none, by XADD, go out in few batches: each sampled one is linked once."""
    hostile: list[bytes] = [
        b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01",
        b"x" * 2_000_000,
        b"\0",
        "é".encode() * 28,
        b"",
    ]
    contexts = [(f"{number:032x}", f"{number:016x}") for number in range(1, 1001)]
    with WebhookReceiver() as endpoint:
        traced.integrate(endpoint.url, "many", type="webhook", tenant_id="many", body="array")
        pipeline = traced.client.pipeline(transaction=True)
        for number, (trace_id, span_id) in enumerate(contexts):
            sampled = "01" if number < 900 else "00"
            value = f"00-{trace_id}-{span_id}-{sampled}".encode()
            event = json.dumps(denial(f"many-{number}", tenant_id="many"))
            fields: Any = {"event": event, "traceparent": value}
            pipeline.xadd("siem:events", fields)
        for number, value in enumerate(hostile):
            fields = {"traceparent": value, "event": json.dumps(denial(f"odd-{number}", tenant_id="many"))}
            pipeline.xadd("siem:events", fields)
        pipeline.execute()
        rows = traced.settled(1000 + len(hostile), "int_many")
        spans = wait_until(lambda: _linked(collector, "int_many", 900), "900 links are exported")

    assert {row.status for row in rows} == {Status.DELIVERED}
    assert sorted(link for span in spans for link in span.links) == contexts[:900]
    assert len(spans) < 10


def _linked(collector: Collector, integration: str, links: int) -> list[Any]:
    found = [
        span for span in collector.named("deliver") if span.attributes["siem.integration.id"] == integration
    ]
    return found if sum(len(span.links) for span in found) >= links else []


@pytest.mark.parametrize("status", [401, HANGS])
def test_a_collector_that_does_not_take_them_costs_spans_alone(
    traced: Fleet, collector: Collector, status: int
) -> None:
    """Everything is delivered, one line says that spans are lost, and another that they are no more."""
    name = f"broken{status}"
    with WebhookReceiver() as endpoint:
        traced.integrate(endpoint.url, name, type="webhook", tenant_id=name)
        collector.status = status
        for number in range(100):
            event = json.dumps(denial(f"{name}-{number}", tenant_id=name))
            traceparent = f"00-{number + 1:032x}-{1:016x}-01"
            traced.client.xadd("siem:events", {"event": event, "traceparent": traceparent})
        rows = traced.settled(100, f"int_{name}")
        wait_until(lambda: "spans are lost" in traced.log("worker-webhook"), "the loss is logged")
        collector.status = 200

    assert {row.status for row in rows} == {Status.DELIVERED}
    log = traced.log("worker-webhook")
    assert log.count("spans are lost") <= 2  # one a case: the other may have had its own
    assert "Traceback" not in log


def test_a_process_ends_although_its_collector_hangs(traced: Fleet, collector: Collector) -> None:
    """A router that has spans left ends as ever, and cleanly."""
    collector.status = HANGS
    event = json.dumps(denial("last", tenant_id="nobody"))
    before = len(collector.bodies)
    traced.client.xadd("siem:events", {"event": event, "traceparent": f"00-{TRACE}-{CALLER}-01"})
    wait_until(lambda: len(collector.bodies) > before, "the router exports, in vain")

    assert {traced.terminate(role) for role in ("router", "worker-webhook")} == {0}
