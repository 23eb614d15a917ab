"""Dead letters as JSON: one in a list, and one with its payload and its attempts."""

import base64
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from worker.ledger.attempts import AttemptRow
from worker.ledger.results import DeadLetterRow
from worker.model.deliveries import Cause
from worker.model.replays import LetterState
from worker.model.time import rfc3339
from worker.views.deliveries import AttemptDocument, attempt_documents


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


def letter_document(row: DeadLetterRow) -> LetterDocument:
    """Tell of a dead letter, less its payload."""
    return LetterDocument(**_fields(row))


def whole_letter(row: DeadLetterRow, history: Sequence[AttemptRow]) -> WholeLetter:
    """Tell of a dead letter with its payload and its attempts."""
    try:
        text, packed = row.payload.decode(), None
    except UnicodeDecodeError:
        text, packed = None, base64.b64encode(row.payload).decode()
    told = _fields(row) | {"history": attempt_documents(history)}
    return WholeLetter(**told, payload=text, payload_base64=packed)


def _fields(row: DeadLetterRow) -> dict[str, Any]:
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
