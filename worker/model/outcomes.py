"""What is recorded of events of one batch that share a fate. Pure."""

from collections.abc import Sequence

from worker.model.contents import content_of
from worker.model.deliveries import Batch, EventTrace, Outcome, Ruling, Status
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
    ruling: Ruling,
    retry_at_ms: int | None,
    *,
    sent: bool = True,
) -> Outcome:
    """Return the outcome of the events at these places; `sent` is whether a request carried them."""
    traces = [trace_of(batch.events[place], batch.carried[place]) for place in places]
    delivered = status is Status.DELIVERED
    return Outcome(
        batch.order.integration_id,
        status.value,
        batch.claimed_ms + ruling.elapsed_ms,
        None if delivered else ruling.finding,
        retry_at_ms,
        traces,
        ruling.http_status,
        ruling.assurance.value if delivered else None,
        sent,
    )
