"""Replays as JSON: what one would do, one in a list, and one with what became of its events."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from worker.ledger.dead_letters import DeadLetterCount
from worker.model.replays import Replay, ReplayResult, ReplayState
from worker.model.time import rfc3339
from worker.views.cursors import cut_page


class GroupDocument(BaseModel):
    """Dead letters of one integration that died for the same reason."""

    integration_id: str | None
    error_code: str
    count: int


class CountDocument(BaseModel):
    """What a replay would do: how many dead letters it would send again, and how many it cannot.

    `invalid` ones never held a valid event, `unreadable` ones were damaged in Redis, and the integration of
    `homeless` ones was deleted: `into` sends these to another one.
    """

    replayable: int
    invalid: int
    unreadable: int
    homeless: int
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
    integration_id: str | None = Field(description="Null if it is of all integrations.")
    into: str | None = Field(description="The integration that gets the events, if not their own.")
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


class ReplayDetail(ReplayDocument):
    """A replay, and what became of its events."""

    result: ReplayResultDocument


class ReplayPage(BaseModel):
    """Replays, the newest first; `next` is the cursor of the next page."""

    items: list[ReplayDocument]
    next: str | None


def count_document(found: DeadLetterCount) -> CountDocument:
    """Return what a replay would do, the largest group first."""
    groups = sorted(found.groups.items(), key=lambda group: -group[1])
    return CountDocument(
        replayable=found.replayable,
        invalid=found.invalid,
        unreadable=found.unreadable,
        homeless=found.homeless,
        groups=[
            GroupDocument(integration_id=home, error_code=code, count=count) for (home, code), count in groups
        ],
    )


def replay_document(replay: Replay, *, for_tenant: bool = False) -> ReplayDocument:
    """Return a replay; tenants are not shown which operator made it."""
    return ReplayDocument(**_fields(replay, for_tenant=for_tenant))


def replay_page(found: Sequence[Replay], limit: int, *, for_tenant: bool = False) -> ReplayPage:
    """Return a page of replays; `found` has one more than `limit` if there are more."""
    shown, following = cut_page(found, limit, lambda one: (one.created_ms, one.id))
    items = [replay_document(one, for_tenant=for_tenant) for one in shown]
    return ReplayPage(items=items, next=following)


def replay_detail(replay: Replay, became: ReplayResult, *, for_tenant: bool = False) -> ReplayDetail:
    """Return a replay, and what became of its events."""
    result = ReplayResultDocument(delivered=became.delivered, dead=became.dead, under_way=became.under_way)
    return ReplayDetail(**_fields(replay, for_tenant=for_tenant), result=result)


def _fields(replay: Replay, *, for_tenant: bool) -> dict[str, Any]:
    asked = replay.selection
    by_operator = replay.made_by.startswith("cli:")
    return {
        "id": replay.id,
        "integration_id": asked.integration_id,
        "into": replay.target_id,
        "state": replay.state,
        "rate": replay.rate,
        "total": replay.total,
        "replayed": replay.replayed,
        "skipped": replay.skipped,
        "made_by": "operator" if for_tenant and by_operator else replay.made_by,
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
