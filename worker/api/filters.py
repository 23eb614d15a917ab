"""What narrows a list of outcomes: the parameters of its query, of which no other is understood."""

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from worker.api.parameters import USUAL, Cursor, Limit
from worker.model.deliveries import Cause, Status
from worker.model.events import EventType
from worker.model.replays import LetterState
from worker.model.time import EPOCH

_MILLISECOND = timedelta(milliseconds=1)


class _Filters(BaseModel):
    """What every list of outcomes understands."""

    model_config = ConfigDict(extra="forbid")

    event_type: EventType | None = Field(None, alias="type", description="Only of events of this type.")
    event_id: str | None = Field(None, min_length=1, max_length=128, description="Only of this event.")
    since: AwareDatetime | None = Field(
        None, description="Not before this time: RFC 3339 with a zone, such as 2026-11-22T10:00:00Z."
    )
    until: AwareDatetime | None = Field(None, description="Not after this time.")
    limit: Limit = USUAL
    cursor: Cursor = None


class DeliveryFilters(_Filters):
    """Which deliveries a list has; times are about when they were settled."""

    status: Status | None = Field(None, description="Only what stands so.")


class LetterStateFilter(StrEnum):
    """Which dead letters a list has: those in a state, or all."""

    WAITING = LetterState.WAITING
    REPLAYED = LetterState.REPLAYED
    SUPERSEDED = LetterState.SUPERSEDED
    DISCARDED = LetterState.DISCARDED
    ANY = "any"


class LetterFilters(_Filters):
    """Which dead letters a list has; times are about when they died."""

    state: LetterStateFilter = Field(LetterStateFilter.WAITING, description="Only in this state, or any.")
    cause: Cause | None = Field(None, description="Only what died of this.")
    code: str | None = Field(
        None, max_length=128, description="Only what died for this reason: an `error_code`."
    )


class EventFilters(BaseModel):
    """Which event is meant."""

    model_config = ConfigDict(extra="forbid")

    event_id: str = Field(min_length=1, max_length=128, description="The event's id.")
    limit: Limit = USUAL
    cursor: Cursor = None


def epoch_ms(time: datetime | None) -> int | None:
    """Return a time in ms since 1970 UTC."""
    return None if time is None else (time - EPOCH) // _MILLISECOND
