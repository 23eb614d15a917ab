"""Keeps the replays, and gives each its next page.

Input: selections from the doors, pages that were handed over from the replayer. Output: jobs, letters,
figures. That a page was handed over is noted once, however often it is reported.
"""

import secrets
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    and_,
    func,
    insert,
    literal,
    select,
    true,
    tuple_,
    update,
)

from worker.ledger.audit import add_record, tenants_of
from worker.ledger.batch_reading import rows_of_events
from worker.ledger.dead_letters import DeadLetterCount, count_dead_letters, same_content
from worker.ledger.engine import reading, writing
from worker.ledger.letter_changes import selection_details
from worker.ledger.quotas import RUNS, require_replay
from worker.ledger.rows import storable
from worker.ledger.schema import dead_letters, deliveries, integrations, ledger_totals
from worker.ledger.schema import replays as table
from worker.model.audit import FLEET, Action, Actor, AuditRecord, audit_record
from worker.model.deliveries import Status
from worker.model.errors import NotFoundError
from worker.model.limits import DEFAULT_QUOTAS, Quotas
from worker.model.outcomes import key_of_reused
from worker.model.replays import DeadLetterFilter, LetterState, Replay, ReplayResult, ReplayState, check_rate
from worker.model.time import current_ms

#: The name of how many events all replays have handed over, in `ledger_totals`.
REPLAYED_EVENTS = "replayed_events"

_replay = table.c
_letter = dead_letters.c
_delivery = deliveries.c
#: Where a row of `deliveries` holds when it was settled.
_SETTLED = list(_delivery).index(_delivery.settled_ms)


def create_replay(
    engine: Engine,
    selection: DeadLetterFilter,
    *,
    target_id: str | None,
    rate: int,
    made_by: str,
    quotas: Quotas | None = DEFAULT_QUOTAS,
    by: Actor = FLEET,
) -> Replay:
    """Make a job of all letters that are meant and can be replayed, and return it; it runs from now on.

    Raises InvalidReplay for a rate that is none, and TooManyReplays; never the latter without `quotas`.
    """
    check_rate(rate)
    counted = count_dead_letters(engine, selection, elsewhere=target_id is not None)
    with writing(engine) as connection:
        if quotas is not None:
            require_replay(connection, selection, target_id, quotas)
        replay = insert_replay(
            connection, selection, counted, target_id=target_id, rate=rate, made_by=made_by
        )
        for record in _records(connection, replay, counted, by):
            add_record(connection, record)
        return replay


def insert_replay(
    connection: Connection,
    selection: DeadLetterFilter,
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
        created_ms=current_ms(),
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


def find_replays(engine: Engine, limit: int = 50, before: tuple[int, str] | None = None) -> list[Replay]:
    """Return replays, the newest first; `before` is `created_ms` and id of the last of the page before."""
    with reading(engine) as connection:
        return _found(connection, _is_before(before), limit)


def replays_of(
    engine: Engine, integration_id: str, limit: int, before: tuple[int, str] | None = None
) -> list[Replay]:
    """Return those of one integration's dead letters; all else as in `find_replays`."""
    with reading(engine) as connection:
        return _found(connection, and_(_is_of(integration_id), _is_before(before)), limit)


def _is_before(before: tuple[int, str] | None) -> ColumnElement[bool]:
    if before is None:
        return true()
    # The second condition is the first one's shadow, in words that an index understands.
    return and_(tuple_(_replay.created_ms, _replay.id) < before, _replay.created_ms <= before[0])


def running_replays(engine: Engine) -> list[Replay]:
    """Return those that run, the oldest first."""
    with reading(engine) as connection:
        return running_in(connection)


def running_in(connection: Connection) -> list[Replay]:
    """Return those that run, the oldest first, in the caller's transaction."""
    return _found(connection, RUNS, None)[::-1]


def replays_in(connection: Connection, ids: Collection[str]) -> list[Replay]:
    """Return those of these ids that are kept, in the caller's transaction."""
    return _found(connection, _replay.id.in_(ids), None)


def is_deleted(engine: Engine, integration_id: str) -> bool:
    """Return whether there was an integration of that id that is deleted by now."""
    columns = integrations.c
    wanted = select(columns.id).where(columns.id == storable(integration_id), columns.deleted_ms.is_not(None))
    with reading(engine) as connection:
        return connection.execute(wanted).first() is not None


def cancel_replay(engine: Engine, replay: Replay, note: str, by: Actor = FLEET) -> bool:
    """Cancel one; return whether it ran."""
    with writing(engine) as connection:
        if not _end(connection, replay.id, ReplayState.CANCELLED, note):
            return False
        for tenant_id in _tenants(connection, replay, [replay.selection.integration_id]):
            add_record(connection, _record(Action.REPLAY_CANCELLED, by, replay, tenant_id))
    return True


def end_replay(engine: Engine, replay_id: str, state: ReplayState, note: str | None = None) -> bool:
    """End one that runs, as done or because it cannot go on; return whether it ran."""
    with writing(engine) as connection:
        return _end(connection, replay_id, state, note)


def _end(connection: Connection, replay_id: str, state: ReplayState, note: str | None) -> bool:
    runs = update(table).where(_replay.id == storable(replay_id), RUNS)
    return connection.execute(runs.values(state=state, ended_ms=current_ms(), note=note)).rowcount == 1


def _records(
    connection: Connection, replay: Replay, counted: DeadLetterCount, by: Actor
) -> Iterator[AuditRecord]:
    """Yield the record of a replay, one for each tenant whose letters it sends."""
    for tenant_id in _tenants(connection, replay, {home for home, _ in counted.groups}):
        yield _record(Action.REPLAY_CREATED, by, replay, tenant_id)


def _tenants(
    connection: Connection, replay: Replay, integration_ids: Iterable[str | None]
) -> set[str | None]:
    """Return whose a replay is; None if that is not known."""
    if replay.selection.tenant_id is not None:
        return {replay.selection.tenant_id}
    found = tenants_of(connection, (one for one in integration_ids if one is not None))
    return {*found.values()} or {None}


def _record(action: Action, by: Actor, replay: Replay, tenant_id: str | None) -> AuditRecord:
    return audit_record(
        action,
        by,
        tenant_id=tenant_id,
        subject=replay.id,
        integration_id=replay.selection.integration_id,
        details=selection_details(replay.selection)
        | {"total": replay.total, "rate": replay.rate}
        | ({"into": replay.target_id} if replay.target_id else {}),
    )


def replay_counts(engine: Engine) -> tuple[dict[str, int], int]:
    """Return how many replays there are of each state, and how many events were replayed since ever."""
    by_state = select(_replay.state, func.count()).group_by(_replay.state)
    total = select(ledger_totals.c.total).where(ledger_totals.c.name == REPLAYED_EVENTS)
    with reading(engine) as connection:
        found: dict[str, int] = {state: count for state, count in connection.execute(by_state)}  # noqa: C416 - rows are no pairs to mypy
        return found, connection.execute(total).scalar_one_or_none() or 0


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
        plain = _plainly_delivered(connection, joined, (*mine, _delivery.status.is_(None)), replay)
    counts[None] = counts.get(None, 0) - plain
    counts[Status.DELIVERED] = counts.get(Status.DELIVERED, 0) + plain
    delivered, dead = counts.pop(Status.DELIVERED, 0), counts.pop(Status.DEAD, 0)
    return ReplayResult(delivered, dead, sum(counts.values()))


def _plainly_delivered(connection: Connection, joined: Any, unsettled: Any, replay: Replay) -> int:
    """Count those of the letters without a row in `deliveries` whose events batches hold."""
    columns = (_letter.event_id, _letter.integration_id, _letter.content, _letter.state_ms)
    letters = connection.execute(select(*columns).select_from(joined).where(*unsettled)).all()
    since_ms = min((one.state_ms for one in letters), default=0)
    known: dict[tuple[str, str], list[Any]] = {}
    for row in rows_of_events(connection, {one.event_id for one in letters}, since_ms):
        known.setdefault((row[0], row[1]), []).append(row)
    return sum(
        any(
            row[_SETTLED] >= one.state_ms and (row[-1] == one.content or None in (row[-1], one.content))
            for row in known.get((one.event_id, replay.target_id or one.integration_id), ())
        )
        for one in letters
    )


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
    selection = msgspec.json.decode(row["selection"], type=DeadLetterFilter)
    return Replay(**{**row, "selection": selection, "state": ReplayState(row["state"])})
