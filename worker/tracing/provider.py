"""The exporting end: spans go to an OTLP collector over HTTP, in the background.

A collector that is away, hangs or refuses costs spans, and nothing else: what waits for it is bounded by
spans and by their links, each loss is counted, and the log says once that spans are being lost, and once
that they are no more. The end of a process waits a moment for it, not longer.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import requests
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from worker import __version__
from worker.model.errors import InvalidSetting
from worker.model.log_events import TRACING_FAILED, TRACING_RESUMED
from worker.tracing.environment import check_environment, collector_headers
from worker.tracing.spans import SCOPE, Tracing

log = logging.getLogger(__name__)

#: Links of all spans that wait to be exported; one takes about 400 bytes. A batch has a link for each of its
#: events that was published by a span of its own, so that spans alone are no measure.
MOST_LINKS = 100_000
#: Links of one request to the collector, about 40 bytes each, unless it is a single span.
LINKS_A_REQUEST = 20_000
#: Links of one span: more than events of any batch (the SDK would keep 128).
LINKS_A_SPAN = 10_000
#: How long the end of a process waits for what is left to be exported, in seconds.
CLOSING = 3.0
#: Seconds between two reports that spans are being lost.
REPORT_EVERY = 60.0
_LINK_LIMIT = "OTEL_SPAN_LINK_COUNT_LIMIT"


def start_tracing(service: str, *, begins: bool) -> Tracing:
    """Begin to export, as `worker.tracing.open_tracing` says. Raises InvalidSetting."""
    check_environment()
    session = _Session()
    try:
        limits = SpanLimits(max_links=None if _LINK_LIMIT in os.environ else LINKS_A_SPAN)
        exporter = CountedExporter(OTLPSpanExporter(headers=collector_headers(), session=session), session)
        provider = TracerProvider(
            # Who only follows must not draw lots again: what was sampled once would be missing here.
            sampler=None if begins else ALWAYS_ON,
            resource=_resource(service),
            shutdown_on_exit=False,
            span_limits=limits,
        )
        provider.add_span_processor(BoundedProcessor(exporter))
    except ValueError as error:
        # Of limits and queues: its words name the variable, or say what is to hold, and hold no secret.
        raise InvalidSetting("OTEL_*", f"are not valid: {error}", "see deploy/README.md, Tracing") from None
    tracer = provider.get_tracer(SCOPE, __version__)
    return Tracing(tracer, lambda: _close(provider), lambda: trace.set_tracer_provider(provider))


def _resource(service: str) -> Resource:
    """Return who we are in traces; the environment wins."""
    ours = Resource.create({"service.name": service, "service.version": __version__})
    return ours.merge(OTELResourceDetector().detect())


def _close(provider: TracerProvider) -> None:
    """Export what is left, for a moment: the SDK would wait for half a minute."""
    thread = threading.Thread(target=provider.shutdown, name="tracing-end", daemon=True)
    thread.start()
    thread.join(CLOSING)


class _Session(requests.Session):
    """Remembers how the last request went, for the log: neither its address nor what was answered."""

    last = ""

    def request(self, *args: Any, **options: Any) -> requests.Response:
        """Send a request."""
        try:
            response = super().request(*args, **options)
        except Exception as error:
            self.last = type(error).__name__
            raise
        self.last = f"HTTP {response.status_code}"
        if response.is_redirect:
            # The exporter would call it a success, and follows none: the spans would be lost silently.
            raise requests.HTTPError(self.last)
        return response


class CountedExporter(SpanExporter):
    """Exports spans, and counts those that wait for it and those that are lost."""

    def __init__(self, exporter: SpanExporter, session: _Session) -> None:
        """Export by this exporter, which uses this session."""
        self._exporter = exporter
        self._session = session
        self._lock = threading.Lock()
        self._spans = self._links = self._lost = 0
        self._is_reported = False
        self._next_report = 0.0

    def has_room(self, span: ReadableSpan, most: int) -> bool:
        """Whether another span may wait beside no more than `most`; if so, it is counted as waiting."""
        links = len(span.links)
        with self._lock:
            if self._spans >= most or self._links + links > MOST_LINKS:
                self._lost += 1
                return False
            self._spans += 1
            self._links += links
            return True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans, in requests that are not too large."""
        result = SpanExportResult.SUCCESS
        for part in _parts(spans):
            done = self._exporter.export(part)
            result = done if done is not SpanExportResult.SUCCESS else result
            with self._lock:
                self._spans -= len(part)
                self._links -= sum(len(span.links) for span in part)
                self._lost += 0 if done is SpanExportResult.SUCCESS else len(part)
        self._report(is_well=result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        """Export no more."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits here."""
        return self._exporter.force_flush(timeout_millis)

    def _report(self, *, is_well: bool) -> None:
        """Log that spans are being lost, once; and that it is over."""
        now = time.monotonic()
        if is_well and self._is_reported:
            self._is_reported = False
            with self._lock:
                lost, self._lost = self._lost, 0
            TRACING_RESUMED.log(log, count=lost)
        elif not is_well and not self._is_reported and now >= self._next_report:
            self._is_reported, self._next_report = True, now + REPORT_EVERY
            TRACING_FAILED.log(log, reason=self._session.last or "nothing was sent")


def _parts(spans: Sequence[ReadableSpan]) -> Iterator[list[ReadableSpan]]:
    part: list[ReadableSpan] = []
    links = 0
    for span in spans:
        if part and links + len(span.links) > LINKS_A_REQUEST:
            yield part
            part, links = [], 0
        part.append(span)
        links += len(span.links)
    if part:
        yield part


def _queue_size() -> int:
    """Return how many spans may wait. Raises ValueError."""
    name = "OTEL_BSP_MAX_QUEUE_SIZE"
    size = os.environ.get(name, "").strip() or "2048"
    if not size.isdecimal():
        raise ValueError(f"{name} is no number")
    return int(size)


class BoundedProcessor(BatchSpanProcessor):
    """Exports in the background; what finds no room is lost at once, and costs nothing."""

    def __init__(self, exporter: CountedExporter) -> None:
        """Queue as many spans as the environment says."""
        self._counted = exporter
        self._most = _queue_size()
        super().__init__(exporter, self._most)

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span that has ended."""
        if self._counted.has_room(span, self._most):
            super().on_end(span)
