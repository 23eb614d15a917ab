"""Parameters of routes: pages with opaque cursors, filters, and the revision in If-Match."""

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

from fastapi import Header, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from worker.model.deliveries import Cause, Status
from worker.model.errors import InvalidInput
from worker.model.events import EventType
from worker.model.limits import MOST_ROWS, USUAL_ROWS
from worker.model.replays import LetterState
from worker.model.time import EPOCH

USUAL, MOST = USUAL_ROWS, MOST_ROWS
_LONGEST = 1024

Limit = Annotated[int, Query(ge=1, le=MOST, description="How many items the page has at the most.")]
Cursor = Annotated[
    str | None,
    Query(max_length=_LONGEST, description="`next` of the page before; left out, the first page."),
]

IfMatch = Annotated[
    str | None,
    Header(description="The ETag of what you have seen: if it has changed since, 412 and nothing is done."),
]

_TAG = re.compile(r'(W/)?"([!#-~\x80-\xff]*)"')
_REVISION = re.compile(r"[0-9]{1,18}")


def seen_in(if_match: str | None) -> frozenset[int] | None:
    """Return the revisions that a request knows; None if any will do. Raises InvalidInput."""
    if if_match is None or if_match.strip() == "*":
        return None
    tags = [_TAG.fullmatch(part.strip()) for part in if_match.split(",")]
    if None in tags:
        raise InvalidInput("If-Match", "is no list of ETags", 'give the ETag of an answer, such as "3", or *')
    # A weak tag never matches here.
    return frozenset(int(tag[2]) for tag in tags if tag and not tag[1] and _REVISION.fullmatch(tag[2]))


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
