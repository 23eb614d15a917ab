"""Keeps the replays, and tells each its next page.

Comes in: selections from the doors, pages that were handed over from the replayer. Goes out: jobs, letters,
figures. That a page was handed over is noted once, however often it is told.
"""

import secrets
import time
from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import (
    Connection,
    Engine,
    and_,
    func,
    insert,
    literal,
    select,
    text,
    true,
    tuple_,
    update,
)

from worker.ledger.dead_letters import DeadLetterCount, chosen, count_dead_letters, living, same_content
from worker.ledger.engine import reading, writing
from worker.ledger.quotas import require_replay
from worker.ledger.replay_pages import contents_of_letters, dealt_with
from worker.ledger.schema import dead_letters, deliveries, integrations
from worker.ledger.schema import replays as table
from worker.ledger.text import storable
from worker.model.deliveries import NOT_REPLAYABLE, Status
from worker.model.errors import NotFoundError
from worker.model.events import QueuedEvent
from worker.model.limits import DEFAULT_QUOTAS, Quotas
from worker.model.outcomes import key_of_reused
from worker.model.replays import (
    LetterState,
    Page,
    Replay,
    ReplayedLetter,
    ReplayResult,
    ReplayState,
    Selection,
    check_rate,
)

#: Bytes of events that one page should not exceed.
HEAVIEST_PAGE = 4 << 20

#: A partial index serves a question only if these very words stand in it.
_RUNS = text("state = 'running'")

_replay = table.c
_letter = dead_letters.c
_delivery = deliveries.c


def create_replay(
    engine: Engine,
    selection: Selection,
    *,
    target_id: str | None,
    rate: int,
    made_by: str,
    quotas: Quotas | None = DEFAULT_QUOTAS,
) -> Replay:
    """Make a job of all letters that are meant and can be replayed, and return it; it runs from now on.

    Raises InvalidReplay for a rate that is none, and TooManyReplays; never the latter without `quotas`.
    """
    check_rate(rate)
    counted = count_dead_letters(engine, selection, elsewhere=target_id is not None)
    with writing(engine) as connection:
        if quotas is not None:
            require_replay(connection, selection, target_id, quotas)
        return insert_replay(connection, selection, counted, target_id=target_id, rate=rate, made_by=made_by)


def insert_replay(
    connection: Connection,
    selection: Selection,
    counted: DeadLetterCount,
    *,
    target_id: str | None,
    rate: int,
    made_by: str,
) -> Replay:
    """Make a job of what was counted, in the caller's transaction, and return it."""
    replay = Replay(
        id=f"rpl_{secrets.token_hex(8)}",
        selection=selection,
        target_id=target_id,
        state=ReplayState.RUNNING,
        rate=rate,
        total=counted.replayable,
        replayed=0,
        skipped=0,
        pages=0,
        # Not the time by some clock: what dies of this very replay dies later than the last of these did.
        upto_ms=counted.upto_ms,
        made_by=storable(made_by),
        created_ms=_now_ms(),
    )
    row = msgspec.structs.asdict(replay) | {"selection": msgspec.json.encode(selection).decode()}
    connection.execute(insert(table).values(row))
    return replay


def get_replay(engine: Engine, replay_id: str) -> Replay:
    """Return one. Raises NotFoundError."""
    with reading(engine) as connection:
        found = _found(connection, _replay.id == storable(replay_id), 1)
    if not found:
        raise NotFoundError(f"there is no replay {replay_id}: `siem replays list` shows those there are")
    return found[0]


def find_replays(engine: Engine, limit: int = 50) -> list[Replay]:
    """Return the latest, the newest first."""
    with reading(engine) as connection:
        return _found(connection, true(), limit)


def replays_of(
    engine: Engine, integration_id: str, limit: int, before: tuple[int, str] | None = None
) -> list[Replay]:
    """Return those of one integration's dead letters, the newest first.

    `before` is `created_ms` and id of the last one of the page before this.
    """
    conditions = [_is_of(integration_id)]
    if before is not None:
        conditions += [tuple_(_replay.created_ms, _replay.id) < before, _replay.created_ms <= before[0]]
    with reading(engine) as connection:
        return _found(connection, and_(*conditions), limit)


def running_replays(engine: Engine) -> list[Replay]:
    """Return those that run, the oldest first."""
    with reading(engine) as connection:
        return running_in(connection)


def running_in(connection: Connection) -> list[Replay]:
    """Return those that run, the oldest first, in the caller's transaction."""
    return _found(connection, _RUNS, None)[::-1]


def is_deleted(engine: Engine, integration_id: str) -> bool:
    """Return whether there was an integration of that id that is deleted by now."""
    columns = integrations.c
    wanted = select(columns.id).where(columns.id == storable(integration_id), columns.deleted_ms.is_not(None))
    with reading(engine) as connection:
        return connection.execute(wanted).first() is not None


def end_replay(engine: Engine, replay_id: str, state: ReplayState, note: str | None = None) -> bool:
    """End one that runs, as done or cancelled; return whether it ran."""
    runs = update(table).where(_replay.id == storable(replay_id), _RUNS)
    with writing(engine) as connection:
        ended = connection.execute(runs.values(state=state, ended_ms=_now_ms(), note=note))
        return ended.rowcount == 1


def replay_result(engine: Engine, replay: Replay) -> ReplayResult:
    """Count what became of the events that a replay handed over, as far as the ledger knows."""
    home = _letter.integration_id if replay.target_id is None else literal(replay.target_id)
    since = _delivery.settled_ms >= _letter.state_ms
    keys = (_letter.event_id, _letter.event_id + key_of_reused("", "") + func.coalesce(_letter.content, ""))
    same = _delivery.event_id.in_(keys) & same_content(_delivery.content, _letter.content)
    # Of one event there are few rows: an index by integration would lead past all of its deliveries.
    at_home = _delivery.integration_id.concat("") == home
    joined = dead_letters.outerjoin(deliveries, same & at_home & since)
    mine = (_letter.replay_id == replay.id, _letter.state == LetterState.REPLAYED)
    wanted = select(_delivery.status, func.count()).select_from(joined).where(*mine)
    with reading(engine) as connection:
        rows = connection.execute(wanted.group_by(_delivery.status))
        counts: dict[str | None, int] = {status: count for status, count in rows}  # noqa: C416 - rows are no pairs to mypy
    delivered, dead = counts.pop(Status.DELIVERED, 0), counts.pop(Status.DEAD, 0)
    return ReplayResult(delivered, dead, sum(counts.values()))


def next_page(
    engine: Engine, replay: Replay, most: int, closed: Collection[str] = ()
) -> tuple[list[ReplayedLetter], list[str]]:
    """Return up to `most` letters to hand over next, and the ids of letters that need not be.

    Letters of the integrations in `closed` are left for later. The oldest come first. Both lists are empty
    when nothing is left; else each page, once it was marked, makes way for the next.
    """
    with reading(engine) as connection:
        rows = _within_weight(_next_rows(connection, replay, most, closed))
        contents = contents_of_letters(connection, rows)
        superseded = [row.id for row in rows if row.id not in contents]
        rows = [row for row in rows if row.id in contents]
        done = dealt_with(connection, replay, {(row.event_id, contents[row.id]) for row in rows})
        wanted: dict[str, str] = {}
        for row in rows:
            home = replay.target_id or row.integration_id
            mine, unknown = (row.event_id, home, contents[row.id]), (row.event_id, home, None)
            if mine in done or unknown in done:
                superseded.append(row.id)
            else:
                done.add(mine)
                wanted[row.id] = home
        return _letters(connection, wanted), superseded


def mark_page(engine: Engine, page: Page) -> bool:
    """Note in the ledger what a page did; return False, and change nothing, when that stands there."""
    with writing(engine) as connection:
        counted = connection.execute(
            update(table)
            .where(_replay.id == page.replay_id, _replay.pages == page.number - 1)
            .values(
                pages=page.number,
                replayed=_replay.replayed + len(page.replayed),
                skipped=_replay.skipped + len(page.superseded),
            )
        )
        if not counted.rowcount:
            return False
        for ids, state in (
            (page.replayed, LetterState.REPLAYED),
            (page.superseded, LetterState.SUPERSEDED),
        ):
            # Whatever was done about a letter meanwhile: this is what became of it.
            change = update(dead_letters).where(_letter.id.in_(sorted(ids)))
            values = {"state": state, "state_ms": page.handed_ms, "replay_id": page.replay_id}
            connection.execute(change.values(values))
    return True


def _is_of(integration_id: str) -> Any:
    """Return the condition that a replay selects this integration's letters, and no others.

    Within a string of JSON each quote has a backslash before it, so that this cannot stand in one.
    """
    named = msgspec.json.encode({"integration_id": integration_id}).decode()[1:-1]
    return _replay.selection.contains(named, autoescape=True)


def _found(connection: Connection, condition: Any, limit: int | None) -> list[Replay]:
    wanted = select(table).where(condition).order_by(_replay.created_ms.desc(), _replay.id.desc())
    rows = connection.execute(wanted.limit(limit)).mappings()
    return [_read(row) for row in rows]


def _read(row: Any) -> Replay:
    selection = msgspec.json.decode(row["selection"], type=Selection)
    return Replay(**{**row, "selection": selection, "state": ReplayState(row["state"])})


def _next_rows(connection: Connection, replay: Replay, most: int, closed: Collection[str]) -> list[Any]:
    conditions = [*chosen(replay.selection), _letter.cause.not_in(NOT_REPLAYABLE)]
    conditions.append(_letter.dead_ms <= replay.upto_ms)
    conditions.append(_letter.integration_id.is_not(None) if replay.target_id else living())
    if closed and not replay.target_id:
        conditions.append(_letter.integration_id.not_in(closed))
    columns = (_letter.id, _letter.event_id, _letter.integration_id, _letter.content)
    wanted = (
        select(*columns, func.length(_letter.payload))
        .where(*conditions)
        .order_by(_letter.dead_ms, _letter.id)
    )
    return list(connection.execute(wanted.limit(most)))


def _within_weight(rows: list[Any]) -> list[Any]:
    """Cut off what would make a page too heavy; one letter always fits."""
    weight = 0
    for place, (*_, length) in enumerate(rows):
        weight += length
        if place and weight > HEAVIEST_PAGE:
            return rows[:place]
    return rows


def _letters(connection: Connection, targets: dict[str, str]) -> list[ReplayedLetter]:
    """Read the letters with these ids, in this order."""
    columns = (_letter.event_id, _letter.event_type, _letter.event_ms, _letter.published_ms, _letter.payload)
    wanted = select(_letter.id, *columns).where(_letter.id.in_(list(targets)))
    events = {letter_id: QueuedEvent(*event) for letter_id, *event in connection.execute(wanted)}
    return [ReplayedLetter(one, target, events[one]) for one, target in targets.items() if one in events]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
