"""A collector of OpenTelemetry for tests: takes spans over HTTP, or does what a broken one does."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

#: In place of a status: the collector takes the request and does not answer.
HANGS = 0


@dataclass(frozen=True)
class Seen:
    """A span as it came."""

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    links: Sequence[tuple[str, str]]
    attributes: dict[str, Any]
    events: Sequence[str]
    failed: bool

    @property
    def ids(self) -> tuple[str, str]:
        """What a link to it names."""
        return self.trace_id, self.span_id


class Collector:
    """Listens on loopback; `status` may be changed while it runs."""

    def __init__(self, status: int = 200) -> None:
        """Begin to listen."""
        self.status = status
        self.spans: list[Seen] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self._ending = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer._take(self)

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is to be set to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def named(self, name: str) -> list[Seen]:
        """Return the spans whose names begin so."""
        return [span for span in tuple(self.spans) if span.name.startswith(name)]

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["content-length"]))
        self.bodies.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if self.status == HANGS:
            self._ending.wait()
            return
        if self.status == 200:
            self.spans += _spans(body)
        request.send_response(self.status)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def __enter__(self) -> Self:
        """Stop at the end of a `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _spans(body: bytes) -> list[Seen]:
    found = ExportTraceServiceRequest.FromString(body)
    return [
        Seen(
            service=_attributes(group.resource.attributes)["service.name"],
            name=span.name,
            kind=span.kind,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
            attributes=_attributes(span.attributes),
            events=[event.name for event in span.events],
            failed=span.status.code == 2,
        )
        for group in found.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def _attributes(found: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in found}
