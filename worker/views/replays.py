"""Replays, as the API is asked for them and tells of them."""

from typing import Any

from pydantic import BaseModel

from worker.ledger.dead_letters import DeadLetterCount
from worker.model.replays import (
    Replay,
    ReplayResult,
    ReplayState,
)
from worker.model.time import rfc3339


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
    return ReplayDocument(**_fields(replay))


def whole_replay(replay: Replay, became: ReplayResult) -> WholeReplay:
    """Tell of a replay, and what became of its events."""
    result = ReplayResultDocument(delivered=became.delivered, dead=became.dead, under_way=became.under_way)
    return WholeReplay(**_fields(replay), result=result)


def _maker(made_by: str) -> str:
    """Say who made it; who works here is nobody else's business."""
    return "operator" if made_by.startswith("cli:") else made_by


def _fields(replay: Replay) -> dict[str, Any]:
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
