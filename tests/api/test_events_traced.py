"""Publishing over the API with tracing on."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.api.conftest import running
from tests.api.publishing import NDJSON, event, lines, publish, taken
from tests.fleet import Fleet
from worker.api import resources
from worker.tracing.spans import Tracing


def test_a_repeat_publishes_nothing_and_is_a_request_alone(
    bare_fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer is the first one's: no event and no span of a publishing comes of it."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    traced = Tracing(provider.get_tracer("api"))
    monkeypatch.setattr(resources, "open_tracing", lambda *_, **__: traced)
    sent = event(77)
    headers = NDJSON | {"Idempotency-Key": "traced"}
    with running(bare_fleet, tracing=True) as api:
        first, again = (publish(api, lines(sent), headers) for _ in range(2))
        events = taken(api)

    assert (first.status_code, again.content) == (202, first.content)
    assert len(events) == 1
    names = [span.name for span in kept.get_finished_spans()]
    assert names == ["publish siem:events", *["POST /api/v1/events"] * 2]
