"""The answer to a publication as JSON: how many events were accepted, and what is wrong with the others."""

from collections.abc import Sequence

from pydantic import BaseModel, Field

from worker.model.errors import InvalidEvent
from worker.model.invalid_events import salvage_event

#: So many lines of one publication are listed with what is wrong with them; the others are counted.
MAX_LINE_ERRORS = 100


class LineError(BaseModel):
    """What is wrong with the event of a line, and what would be right."""

    line: int = Field(description="Counted from 1.")
    id: str | None = Field(description="The event's, if it can be read.")
    field: str
    reason: str
    hint: str


class PublicationDocument(BaseModel):
    """How many events Redis has, how many were refused, and what is wrong with the first of those."""

    accepted: int
    refused: int
    errors: list[LineError]


def line_error(number: int, line: bytes, error: InvalidEvent) -> LineError:
    """Return what is wrong with the event of this line."""
    known = salvage_event(line).id or None
    return LineError(line=number, id=known, field=error.field, reason=error.reason, hint=error.hint)


def publication_document(accepted: int, refused: int, errors: Sequence[LineError]) -> PublicationDocument:
    """Return what became of a publication."""
    return PublicationDocument(accepted=accepted, refused=refused, errors=list(errors))
