"""Replays, as the API is asked for them and tells of them."""

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from worker.api.filters import epoch_ms
from worker.api.moments import rfc3339
from worker.ledger.dead_letters import DeadLetterCount
from worker.model.deliveries import Cause
from worker.model.errors import InvalidReplay
from worker.model.events import EventType
from worker.model.replays import (
    DEFAULT_RATE,
    FASTEST_RATE,
    MOST_IDS,
    Replay,
    ReplayResult,
    ReplayState,
    Selection,
)


class ReplayRequest(BaseModel):
    """Which dead letters of the integration to send again: those to which all of this applies, and how."""

    model_config = ConfigDict(extra="forbid")

    ids: list[str] = Field([], max_length=MOST_IDS, description="Only these dead letters.")
    since: AwareDatetime | None = Field(None, description="Only what died not before this time.")
    until: AwareDatetime | None = Field(None, description="Only what died not after this time.")
    event_types: list[EventType] = Field([], description="Only events of these types.")
    causes: list[Cause] = Field([], description="Only what died of these.")
    codes: list[str] = Field([], max_length=100, description="Only what died for these: `error_code`s.")
    all: bool = Field(default=False, description="All that wait: instead of any of the above.")
    into: str | None = Field(
        None, description="Send them to this integration of the tenant instead, by its id."
    )
    rate: int = Field(DEFAULT_RATE, ge=1, le=FASTEST_RATE, description="The most events a second.")
    dry_run: bool = Field(default=False, description="Count what would be replayed, and replay nothing.")

    def selection(self, integration_id: str) -> Selection:
        """Return which dead letters of that integration are meant. Raises InvalidReplay unless it is said."""
        narrowed = any(
            getattr(self, name) for name in ("ids", "since", "until", "event_types", "causes", "codes")
        )
        if narrowed == self.all:
            raise InvalidReplay(
                "all",
                "must stand alone" if self.all else "is not set, and nothing says which dead letters",
                "give ids, since, until, event_types, causes or codes; or all: true",
            )
        return Selection(
            ids=tuple(self.ids),
            integration_id=integration_id,
            since_ms=epoch_ms(self.since),
            until_ms=epoch_ms(self.until),
            event_types=tuple(self.event_types),
            causes=tuple(self.causes),
            codes=tuple(self.codes),
        )


class GroupDocument(BaseModel):
    """Dead letters that died for the same reason."""

    error_code: str
    count: int


class CountDocument(BaseModel):
    """What a replay would do: `invalid` letters never held a valid event, `unreadable` ones were damaged.

    Neither can be replayed.
    """

    replayable: int
    invalid: int
    unreadable: int
    groups: list[GroupDocument]


class SelectionDocument(BaseModel):
    """Which dead letters a replay was asked for."""

    ids: list[str]
    since: str | None
    until: str | None
    event_types: list[str]
    causes: list[str]
    codes: list[str]


class ReplayResultDocument(BaseModel):
    """What has become so far of the events that were handed over."""

    delivered: int
    dead: int
    under_way: int


class ReplayDocument(BaseModel):
    """A replay: of `total` dead letters, `replayed` were sent again and `skipped` did not need it."""

    id: str
    integration_id: str
    into: str | None
    state: ReplayState
    rate: int
    total: int
    replayed: int
    skipped: int
    made_by: str
    created_at: str | None
    ended_at: str | None
    note: str | None
    selection: SelectionDocument


class WholeReplay(ReplayDocument):
    """A replay, and what became of its events."""

    result: ReplayResultDocument


class ReplayPage(BaseModel):
    """Replays, the newest first; `next` is the cursor of the next page."""

    items: list[ReplayDocument]
    next: str | None


def request_in(value: dict[str, Any]) -> ReplayRequest:
    """Read a request. Raises InvalidReplay naming the field."""
    try:
        return ReplayRequest.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        known = ReplayRequest.model_fields.get(str(first["loc"][0]))
        hint = known.description if known and known.description else "leave it out"
        raise InvalidReplay(field, first["msg"], hint) from None


def count_document(found: DeadLetterCount) -> CountDocument:
    """Tell what a replay would do."""
    groups = sorted(found.groups.items(), key=lambda group: -group[1])
    return CountDocument(
        replayable=found.replayable,
        invalid=found.invalid,
        unreadable=found.unreadable,
        groups=[GroupDocument(error_code=code, count=count) for (_, code), count in groups],
    )


def replay_document(replay: Replay) -> ReplayDocument:
    """Tell of a replay."""
    return ReplayDocument(**_told(replay))


def whole_replay(replay: Replay, became: ReplayResult) -> WholeReplay:
    """Tell of a replay, and what became of its events."""
    result = ReplayResultDocument(delivered=became.delivered, dead=became.dead, under_way=became.under_way)
    return WholeReplay(**_told(replay), result=result)


def _maker(made_by: str) -> str:
    """Say who made it; who works here is nobody else's business."""
    return "operator" if made_by.startswith("cli:") else made_by


def _told(replay: Replay) -> dict[str, Any]:
    asked = replay.selection
    return {
        "id": replay.id,
        "integration_id": asked.integration_id,
        "into": replay.target_id,
        "state": replay.state,
        "rate": replay.rate,
        "total": replay.total,
        "replayed": replay.replayed,
        "skipped": replay.skipped,
        "made_by": _maker(replay.made_by),
        "created_at": rfc3339(replay.created_ms),
        "ended_at": rfc3339(replay.ended_ms),
        "note": replay.note,
        "selection": SelectionDocument(
            ids=list(asked.ids),
            since=rfc3339(asked.since_ms),
            until=rfc3339(asked.until_ms),
            event_types=list(asked.event_types),
            causes=list(asked.causes),
            codes=list(asked.codes),
        ),
    }
