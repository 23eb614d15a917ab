"""The exporting end beside a real receiver of OTLP: what arrives, what is bounded, what an end costs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import wait_until
from tests.tracing.collector import HANGS, Collector
from worker.model.trace_context import TraceContext
from worker.tracing import provider
from worker.tracing.provider import start_tracing
from worker.tracing.spans import Tracing


def context(number: int) -> TraceContext:
    """Make a span of a trace of its own."""
    return TraceContext(number.to_bytes(16), number.to_bytes(8))


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Give a collector to which what starts here exports."""
    with Collector() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield running


def follow(tracing: Tracing, contexts: list[TraceContext]) -> None:
    """Make a span of a batch."""
    with tracing.follow("deliver", "webhook", contexts, len(contexts), {}):
        pass


def test_no_link_of_a_batch_is_lost(collector: Collector) -> None:
    """The SDK alone keeps 128."""
    tracing = start_tracing("siem-test", begins=False)
    follow(tracing, [context(number) for number in range(1, 1001)])
    follow(tracing, [context(7), context(7)._replace(span_id=b"12345678")])
    tracing.close()

    many, one = collector.spans
    assert len(set(many.links)) == 1000
    assert many.parent_id == ""
    assert (one.trace_id, one.parent_id) == (f"{7:032x}", f"{7:016x}")
    assert (one.service, one.name, one.kind) == ("siem-test", "deliver webhook", 5)


def test_headers_of_a_file_go_to_the_collector(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The environment holds only its path."""
    (tmp_path / "headers").write_text("authorization=Bearer%20s3cr3t\n")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS_FILE", str(tmp_path / "headers"))
    tracing = start_tracing("siem-test", begins=False)
    follow(tracing, [context(1)])
    tracing.close()

    assert [headers["authorization"] for headers in collector.headers] == ["Bearer s3cr3t"]


def test_requests_are_not_too_large(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of many links are spread over several."""
    monkeypatch.setattr(provider, "LINKS_A_REQUEST", 250)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    tracing = start_tracing("siem-test", begins=False)
    for _ in range(6):
        follow(tracing, [context(number) for number in range(1, 101)])
    tracing.close()

    assert (len(collector.spans), len(collector.bodies)) == (6, 3)


def test_what_waits_is_bounded_and_losses_are_counted(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By links, too; and it goes on once the collector answers."""
    monkeypatch.setattr(provider, "MOST_LINKS", 1000)
    collector.status = 503
    tracing = start_tracing("siem-test", begins=False)
    for _ in range(50):
        follow(tracing, [context(number) for number in range(1, 101)])
    wait_until(lambda: "spans are lost" in caplog.text, "the loss is logged")
    collector.status = 200
    wait_until(lambda: _goes_on(tracing, caplog), "spans are exported again")
    tracing.close()

    assert caplog.text.count("spans are lost") == 1
    assert 40 <= _lost(caplog) < 50 + 1_000_000


def _goes_on(tracing: Tracing, caplog: pytest.LogCaptureFixture) -> bool:
    follow(tracing, [context(1)])
    return "spans are exported again" in caplog.text


def _lost(caplog: pytest.LogCaptureFixture) -> int:
    [record] = [one for one in caplog.records if "exported again" in one.getMessage()]
    return int(record.__dict__["fields"]["count"])


def test_the_end_does_not_wait_for_a_collector_that_hangs(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It returns, although the answer never comes."""
    monkeypatch.setattr(provider, "CLOSING", 0.05)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    collector.status = HANGS
    tracing = start_tracing("siem-test", begins=False)
    follow(tracing, [context(1)])
    wait_until(lambda: collector.bodies, "the collector has the request")
    tracing.close()

    assert collector.spans == []


def test_what_is_sampled_before_is_not_drawn_again(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a batch of several traces would be missing, as it begins a trace of its own."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    following, beginning = start_tracing("siem-test", begins=False), start_tracing("siem-test", begins=True)
    follow(following, [context(1), context(2)])
    with beginning.publish(1) as span:
        assert span.header == b""
    following.close()
    beginning.close()

    assert [span.name for span in collector.spans] == ["deliver webhook"]
