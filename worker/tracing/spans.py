"""Spans as the fleet uses them: the only place that knows how OpenTelemetry makes them.

Names and attributes are those of OpenTelemetry's conventions for messaging and HTTP, and `siem.*` of ours.
"""

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from worker import __version__
from worker.model.trace_context import TraceContext, of_one_trace, parse_traceparent

#: What OpenTelemetry calls the program that makes spans.
SCOPE = "siem"
#: The stream that events are published to, as spans name it.
INGRESS = "siem:events"
#: A longer `tracestate` is left out: so much has to be passed on (W3C Trace Context, section 3.3.1.5).
_LONGEST_STATE = 512
#: From this status on a request has failed by our own fault.
_SERVER_ERROR = 500

Attributes = Mapping[str, str | int]


class OpenSpan:
    """A span under way; it ends with its block, as failed if that raises.

    Of an error it names the class alone: its words might repeat an event, or a secret.
    """

    def __init__(self, span: trace.Span) -> None:
        """Take a span of OpenTelemetry's that has begun."""
        self._span = span

    @property
    def inside(self) -> Context:
        """What a child of it begins in."""
        return trace.set_span_in_context(self._span, Context())

    @property
    def header(self) -> bytes:
        """Its `traceparent`, to be told to others; empty if it is not sampled: nothing needs to follow it."""
        found = self._span.get_span_context()
        if not (found.is_valid and found.trace_flags.sampled):
            return b""
        return TraceContext(found.trace_id.to_bytes(16), found.span_id.to_bytes(8)).header()

    @property
    def trace(self) -> str:
        """The id of its trace, as logs and traces show it."""
        return trace.format_trace_id(self._span.get_span_context().trace_id)

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""
        self._span.set_attributes(attributes)

    def note(self, event: str) -> None:
        """Note that something happened now."""
        self._span.add_event(event)

    def fail(self, kind: str) -> None:
        """Call it failed, for a reason of this kind: a code, or the name of a class."""
        self._span.set_attribute("error.type", kind)
        self._span.set_status(Status(StatusCode.ERROR))

    def answered(self, answers: Sequence[bytes | Exception]) -> None:
        """Say what Redis answered: it fails by the first error."""
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        if errors:
            self.set({"siem.events.not_taken": len(errors)})
            self.fail(type(errors[0]).__name__)

    def answer(self, status: int) -> None:
        """Say what a request was answered with; what its sender did wrong is no failure of ours."""
        self.set({"http.response.status_code": status})
        if status >= _SERVER_ERROR:
            self.fail(str(status))

    def __enter__(self) -> Self:
        """Begin its block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it."""
        if kind is not None:
            self.fail(kind.__name__)
        self._span.end()


class Tracing:
    """Makes spans; may be shared between threads."""

    def __init__(
        self,
        tracer: trace.Tracer,
        close: Callable[[], None] = lambda: None,
        be_the_applications: Callable[[], None] = lambda: None,
    ) -> None:
        """Use a tracer.

        `close` sends what is left of its spans; `be_the_applications` has what asks for the tracing of the
        whole application use the same provider.
        """
        self._tracer = tracer
        self.close = close
        self.be_the_applications = be_the_applications

    def serve(self, route: str, traceparents: Sequence[str], tracestates: Sequence[str]) -> OpenSpan:
        """Begin the span of a POST request that has these headers."""
        # More than one names no caller (W3C Trace Context, section 3.2).
        caller = parse_traceparent(traceparents[0].strip().encode()) if len(traceparents) == 1 else None
        whole = ",".join(tracestates)
        state = whole if len(whole) <= _LONGEST_STATE else ""
        parent = Context() if caller is None else _remote_parent(caller, state)
        attributes = {"http.request.method": "POST", "http.route": route}
        return self._start(f"POST {route}", parent, SpanKind.SERVER, attributes)

    def publish(self, events: int, parent: Context | None = None) -> OpenSpan:
        """Begin the span of publishing so many events below this parent.

        Left out, that is the current span of this thread, if there is one.
        """
        attributes = {**_messaging("publish", "send", events), "messaging.destination.name": INGRESS}
        return self._start(f"publish {INGRESS}", parent, SpanKind.PRODUCER, attributes)

    def follow(
        self,
        operation: str,
        target: str,
        contexts: Sequence[TraceContext],
        events: int,
        attributes: Attributes,
        began_ns: int | None = None,
    ) -> OpenSpan:
        """Begin the span of an operation on events that these spans have published: it is linked to each.

        If all belong to one trace, it belongs to that as well; else it begins a trace of its own.
        """
        one = of_one_trace(contexts)
        parent = Context() if one is None else _remote_parent(one)
        links = [Link(_span_context(context)) for context in contexts]
        whole = {**_messaging(operation, "process", events), **attributes}
        return self._start(f"{operation} {target}", parent, SpanKind.CONSUMER, whole, links, began_ns)

    def _start(
        self,
        name: str,
        parent: Context | None,
        kind: SpanKind,
        attributes: Attributes,
        links: Sequence[Link] = (),
        began_ns: int | None = None,
    ) -> OpenSpan:
        span = self._tracer.start_span(
            name,
            parent,
            kind,
            attributes,
            links,
            began_ns,
            # Errors are put down in our own words (`OpenSpan.fail`).
            record_exception=False,
            set_status_on_exception=False,
        )
        return OpenSpan(span)


def tracing_of_application() -> Tracing:
    """Return the tracing of the application that we are a library of."""
    return Tracing(trace.get_tracer(SCOPE, __version__))


def _messaging(operation: str, kind: str, events: int) -> dict[str, str | int]:
    return {
        "messaging.system": "redis",
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
        "messaging.batch.message_count": events,
    }


def _remote_parent(context: TraceContext, state: str = "") -> Context:
    """Return what a span begins in that was caused by one elsewhere; `state` is its `tracestate`."""
    found = _span_context(context, TraceState.from_header([state]) if state else None)
    return trace.set_span_in_context(NonRecordingSpan(found), Context())


def _span_context(context: TraceContext, state: TraceState | None = None) -> SpanContext:
    trace_id, span_id = int.from_bytes(context.trace_id), int.from_bytes(context.span_id)
    flags = TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT)
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags, trace_state=state)
