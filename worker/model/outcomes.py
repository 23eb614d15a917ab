"""What is recorded of events of one batch that share a fate. Pure."""

from collections.abc import Sequence

from worker.model.contents import content_of
from worker.model.deliveries import Batch, DeliveryResult, EventTrace, Outcome, Status
from worker.model.events import QueuedEvent


def trace_of(event: QueuedEvent, attempts: int) -> EventTrace:
    """Return what is recorded of one event that `attempts` requests have carried; its bytes must be whole."""
    return EventTrace(
        event.id, event.type, event.time_ms, event.published_ms, attempts, content_of(event.raw)
    )


def outcome_of(
    batch: Batch,
    status: Status,
    places: Sequence[int],
    result: DeliveryResult,
    retry_at_ms: int | None,
    *,
    sent: bool = True,
) -> Outcome:
    """Return the outcome of the events at these places; `sent` is whether a request carried them."""
    traces = [trace_of(batch.events[place], batch.request_counts[place]) for place in places]
    delivered = status is Status.DELIVERED
    return Outcome(
        batch.order.integration_id,
        status.value,
        batch.claimed_ms + result.elapsed_ms,
        None if delivered else result.failure,
        retry_at_ms,
        traces,
        result.http_status,
        result.assurance.value if delivered else None,
        sent,
    )
