"""Dead letters as JSON: one in a list, and one with its payload and its history."""

import base64
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from worker.ledger.letter_history import LetterHistory
from worker.ledger.results import DeadLetterRow
from worker.model.deliveries import Cause
from worker.model.replays import LetterState
from worker.model.time import rfc3339
from worker.views.cursors import cut_page
from worker.views.deliveries import AttemptDocument, DeliveryDocument, attempt_documents, delivery_document


class LetterDocument(BaseModel):
    """An event that was given up at an integration, and why. Times are RFC 3339."""

    id: str
    integration_id: str | None
    tenant_id: str | None = Field(description="Of an event without an integration: whose it is, if known.")
    event_id: str | None
    event_type: str | None
    cause: Cause
    error_code: str = Field(description="As of a delivery.")
    error: str
    hint: str = Field(description="A hint.")
    http_status: int | None
    attempts: int
    event_at: str | None
    published_at: str | None
    dead_at: str | None
    state: LetterState
    state_at: str | None = Field(description="When it stopped waiting.")
    replay_id: str | None
    content: str | None = Field(description="As of a delivery.")


class LetterPage(BaseModel):
    """Dead letters, the latest first; `next` is the cursor of the next page."""

    items: list[LetterDocument]
    next: str | None


class LetterDetail(LetterDocument):
    """A dead letter with its event, as text, or in base64 when it is not UTF-8; and with its history."""

    payload: str | None
    payload_base64: str | None
    deaths: list[LetterDocument] = Field(
        description="Each time that this event died at this integration, the first one first."
    )
    delivery: DeliveryDocument | None = Field(description="Where the event stands at this integration now.")
    history: list[AttemptDocument] = Field(description="The first attempt first, replays included.")


def letter_document(row: DeadLetterRow) -> LetterDocument:
    """Return a dead letter, without its payload."""
    return LetterDocument(**_fields(row))


def letter_page(found: Sequence[DeadLetterRow], limit: int) -> LetterPage:
    """Return a page of dead letters; `found` has one more than `limit` if there are more."""
    shown, following = cut_page(found, limit, lambda row: (row.dead_ms, row.id))
    return LetterPage(items=[letter_document(one) for one in shown], next=following)


def letter_detail(row: DeadLetterRow, history: LetterHistory) -> LetterDetail:
    """Return a dead letter with its payload and its history."""
    try:
        text, packed = row.payload.decode(), None
    except UnicodeDecodeError:
        text, packed = None, base64.b64encode(row.payload).decode()
    return LetterDetail(
        **_fields(row),
        payload=text,
        payload_base64=packed,
        deaths=[letter_document(one) for one in history.deaths],
        delivery=delivery_document(history.delivery) if history.delivery else None,
        history=attempt_documents(history.attempts),
    )


def _fields(row: DeadLetterRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "integration_id": row.integration_id,
        "tenant_id": row.tenant_id,
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
