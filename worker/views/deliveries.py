"""What became of events, as the API tells it: deliveries, and dead letters."""

import base64
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from worker.api.moments import rfc3339
from worker.ledger.attempts import AttemptRow
from worker.ledger.results import DeadLetterRow, DeliveryRow
from worker.model.deliveries import Assurance, Cause, Status
from worker.model.failures import FailureCode
from worker.model.replays import LetterState

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
    hint: str | None = Field(description="What would mend it.")
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


class LetterDocument(BaseModel):
    """An event that was given up at an integration, and why. Times are RFC 3339."""

    id: str
    integration_id: str | None
    event_id: str | None
    event_type: str | None
    cause: Cause
    error_code: str = Field(description="As of a delivery.")
    error: str
    hint: str = Field(description="What would mend it.")
    http_status: int | None
    attempts: int
    event_at: str | None
    published_at: str | None
    dead_at: str | None
    state: LetterState
    state_at: str | None = Field(description="When it ceased to wait.")
    replay_id: str | None
    content: str | None = Field(description="As of a delivery.")


class LetterPage(BaseModel):
    """Dead letters, the latest first; `next` is the cursor of the next page."""

    items: list[LetterDocument]
    next: str | None


class WholeLetter(LetterDocument):
    """A dead letter with its event, as text, or in base64 when it is not UTF-8; and with every attempt."""

    payload: str | None
    payload_base64: str | None
    history: list[AttemptDocument] = Field(description="The first attempt first, replays included.")


def delivery_document(row: DeliveryRow) -> DeliveryDocument:
    """Tell of a delivery."""
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


def event_delivery(row: DeliveryRow, history: Sequence[AttemptRow]) -> EventDelivery:
    """Tell of a delivery with its attempts."""
    return EventDelivery(**delivery_document(row).model_dump(), history=_history(history))


def _history(attempts: Sequence[AttemptRow]) -> list[AttemptDocument]:
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


def letter_document(row: DeadLetterRow) -> LetterDocument:
    """Tell of a dead letter, less its payload."""
    return LetterDocument(**_told(row))


def whole_letter(row: DeadLetterRow, history: Sequence[AttemptRow]) -> WholeLetter:
    """Tell of a dead letter with its payload and its attempts."""
    try:
        text, packed = row.payload.decode(), None
    except UnicodeDecodeError:
        text, packed = None, base64.b64encode(row.payload).decode()
    return WholeLetter(**_told(row), payload=text, payload_base64=packed, history=_history(history))


def _told(row: DeadLetterRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "integration_id": row.integration_id,
        "event_id": row.event_id,
        "event_type": row.event_type,
        "cause": row.cause,
        "error_code": row.error_code,
        "error": row.error,
        "hint": row.hint,
        "http_status": row.http_status,
        "attempts": row.attempts,
        "event_at": rfc3339(row.event_ms) if row.event_ms else None,
        "published_at": rfc3339(row.published_ms),
        "dead_at": rfc3339(row.dead_ms),
        "state": row.state,
        "state_at": rfc3339(row.state_ms),
        "replay_id": row.replay_id,
        "content": row.content,
    }
