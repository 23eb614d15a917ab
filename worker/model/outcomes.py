"""What is recorded of events of one batch that share a fate. Pure."""

from collections.abc import Sequence

from worker.model.contents import content_of
from worker.model.deliveries import Batch, EventTrace, Outcome, Ruling, Status


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
    events = [(place, batch.events[place]) for place in places]
    traces = [
        EventTrace(
            *(event.id, event.type, event.time_ms, event.published_ms),
            batch.carried[place],
            content_of(event.raw),
        )
        for place, event in events
    ]
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
