"""The spans of the journey: one for what a router hands over at once, one for each sending of a batch.

Only where events are traced, and only with tracing on. A span names ids, counts and codes: nothing of an
event, no address, no word of a destination.
"""

import time
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from worker.broker import keys
from worker.broker.chunk_traces import batch_contexts, pack_traces
from worker.broker.ingress import RoutedChunk, RoutingResult, traceparent_field
from worker.model.batches import SETTLED, Batch
from worker.model.deliveries import Settlement, Status
from worker.model.events import QueuedEvent
from worker.model.log_records import bind_more
from worker.model.trace_context import TraceContext
from worker.pipeline.task_report import waiting_in

if TYPE_CHECKING:
    from worker.tracing.spans import OpenSpan, Tracing


class TracedEvents:
    """Gathers, while entries are sorted, which of them are traced."""

    def __init__(self) -> None:
        """Begin with none; now is when routing began."""
        self._began_ns = time.time_ns()
        # By identity: what is sorted is the very object, and to hash an event is to hash its bytes.
        self._contexts: dict[int, TraceContext] = {}

    def add(self, events: Iterable[QueuedEvent], fields: list[bytes]) -> None:
        """Note the span of the events of an entry, if it has one that was sampled."""
        context = traceparent_field(fields)
        if context is not None:
            self._contexts.update((id(event), context) for event in events)

    def write(self, routing_result: RoutingResult) -> None:
        """Put them into what is to be handed over."""
        if not self._contexts:
            return
        routing_result.began_ns = self._began_ns
        routing_result.contexts = list(dict.fromkeys(self._contexts.values()))
        routing_result.routed_chunks = [self._with_traces(one) for one in routing_result.routed_chunks]

    def _with_traces(self, chunk: RoutedChunk) -> RoutedChunk:
        traces = pack_traces([self._contexts.get(id(event)) for event in chunk.events])
        return RoutedChunk(chunk.integration_ids, chunk.urgent, chunk.events, traces) if traces else chunk


def trace_routing(tracing: "Tracing", routing_result: RoutingResult) -> None:
    """Record the span of what was handed over just now."""
    attributes: dict[str, str | int] = {
        "messaging.destination.name": keys.EVENTS,
        "siem.events.invalid": sum(len(dead.events) for dead in routing_result.dead),
        "siem.events.unwanted": routing_result.unwanted,
    }
    began_ns, events = routing_result.began_ns, routing_result.events
    with tracing.follow("route", keys.EVENTS, routing_result.contexts, events, attributes, began_ns):
        pass


class BatchSpan:
    """The span of one sending of a batch."""

    def __init__(self, span: "OpenSpan") -> None:
        """Take what has begun."""
        self._span = span

    def of_tenant(self, tenant_id: str) -> None:
        """Say whose batch it is."""
        self._span.set({"siem.tenant.id": tenant_id})

    def settle(self, batch: Batch, settlement: Settlement) -> None:
        """Say what became of it."""
        delivered = sum(len(one.events) for one in settlement.outcomes if one.status == Status.DELIVERED)
        dead, retried = sum(len(one.events) for one in settlement.dead), waiting_in(settlement.retry)
        self._span.set(
            {
                "siem.events.delivered": delivered,
                "siem.events.retried": retried,
                "siem.events.dead": dead,
                "siem.elapsed_ms": batch.elapsed_ms(),
            }
        )
        if delivered:
            self._span.note("accepted")
        if retried:
            self._span.fail(settlement.cause)
        elif dead:
            self._span.fail(settlement.dead[-1].failure.code)

    def __enter__(self) -> Self:
        """Give the id of its trace to what is logged meanwhile."""
        bind_more(trace=self._span.trace)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it; as failed if what it is about failed."""
        self._span.__exit__(kind, error, trace)


def trace_batch(tracing: "Tracing", batch: Batch, kind: str) -> BatchSpan | None:
    """Begin the span of a batch that was claimed just now; None if none of its open events is traced."""
    places = [place for place, count in enumerate(batch.request_counts) if count != SETTLED]
    contexts = batch_contexts(batch.traces, places)
    if not contexts:
        return None
    attributes: dict[str, str | int] = {
        "siem.integration.id": batch.order.integration_id,
        "siem.destination.type": kind,
        "siem.attempt": batch.attempts + 1,
    }
    return BatchSpan(tracing.follow("deliver", kind, contexts, len(places), attributes))
