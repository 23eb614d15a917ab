"""Deliveries as JSON, with their attempts, and those of one event."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, Field

from worker.ledger.attempts import AttemptRow, Delivery
from worker.ledger.results import DeliveryRow, Place
from worker.model.deliveries import Assurance, Status
from worker.model.failures import FailureCode
from worker.model.time import rfc3339
from worker.views.cursors import Milliseconds, cut_page, decode_cursor

#: One line for each code, from the only place that defines them.
_CODES = "Why it failed, and where the cause lies:\n\n" + "\n".join(
    f"- `{code.value}` ({code.origin.value}): {code.meaning}" for code in FailureCode
)


class DeliveryDocument(BaseModel):
    """What became of one event at one integration, and why. Times are RFC 3339."""

    integration_id: str
    event_id: str
    event_type: str
    status: Status
    attempts: int
    http_status: int | None
    error_code: str | None = Field(description=_CODES)
    error: str | None
    hint: str | None = Field(description="What would fix it.")
    event_at: str | None
    published_at: str | None
    settled_at: str | None
    latency_ms: int | None = Field(description="From the publication to the destination's acceptance.")
    next_try_at: str | None
    assurance: Assurance | None = Field(description="How far a delivered event is known to have come.")
    content: str | None = Field(
        description="The first 32 hexadecimal digits of the SHA-256 of the event's bytes, where known."
    )
    reused_id: bool = Field(
        description="Whether another event, with other bytes, had this id before; it has an item of its own."
    )


class AttemptDocument(BaseModel):
    """One attempt to deliver an event: when it ended, and what was answered, or what failed."""

    number: int = Field(
        description="How many requests have carried the event, this one included if it counts."
    )
    at: str | None
    status: Status = Field(description="Where the event stood then.")
    http_status: int | None
    error_code: str | None = Field(description="As of a delivery.")
    error: str | None


class EventDelivery(DeliveryDocument):
    """What became of an event at one integration, with every attempt unless the first one succeeded."""

    history: list[AttemptDocument] = Field(description="The first attempt first.")


class EventPage(BaseModel):
    """What became of one event, the latest settled first; `next` is the cursor of the next page."""

    items: list[EventDelivery]
    next: str | None


class DeliveryPage(BaseModel):
    """Deliveries, the latest settled first; `next` is the cursor of the next page."""

    items: list[DeliveryDocument]
    next: str | None


def delivery_document(row: DeliveryRow) -> DeliveryDocument:
    """Return a delivery, without its attempts."""
    return DeliveryDocument(
        integration_id=row.integration_id,
        event_id=row.event_id,
        event_type=row.event_type,
        status=row.status,
        attempts=row.attempts,
        http_status=row.http_status,
        error_code=row.error_code,
        error=row.error,
        hint=row.hint,
        event_at=rfc3339(row.event_ms),
        published_at=rfc3339(row.published_ms),
        settled_at=rfc3339(row.settled_ms),
        latency_ms=row.latency_ms,
        next_try_at=rfc3339(row.retry_at_ms),
        assurance=row.assurance,
        content=row.content,
        reused_id=row.reused_id,
    )


def delivery_page(found: Sequence[DeliveryRow], limit: int) -> DeliveryPage:
    """Return a page of deliveries; `found` has one more than `limit` if there are more."""
    shown, following = cut_page(found, limit, _place_of)
    return DeliveryPage(items=[delivery_document(one) for one in shown], next=following)


def event_page(
    found: Sequence[DeliveryRow], limit: int, tried: Mapping[Delivery, Sequence[AttemptRow]]
) -> EventPage:
    """Return a page of the deliveries of one event, each with the attempts at it."""
    shown, following = cut_page(found, limit, _place_of)
    items = [
        EventDelivery(
            **delivery_document(one).model_dump(), history=attempt_documents(tried.get(one.delivery, ()))
        )
        for one in shown
    ]
    return EventPage(items=items, next=following)


def delivery_place(cursor: str | None) -> Place | None:
    """Return what the page of this cursor begins behind; None for the first page. Raises InvalidInput."""
    return None if cursor is None else Place(*decode_cursor(cursor, tuple[Milliseconds, str, str]))


def _place_of(row: DeliveryRow) -> Place:
    return row.place


def attempt_documents(attempts: Sequence[AttemptRow]) -> list[AttemptDocument]:
    """Return the attempts of a delivery, the earliest first."""
    return [
        AttemptDocument(
            number=one.number,
            at=rfc3339(one.at_ms),
            status=one.status,
            http_status=one.http_status,
            error_code=one.error_code,
            error=one.error,
        )
        for one in attempts
    ]
