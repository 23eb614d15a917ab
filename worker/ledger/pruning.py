"""Removes what is older than it has to be kept, a few rows at a time.

Input: a kind of record, and a moment. Output: how many were removed. Whether anything
is to go is found out by reading alone; what writes is one short statement, for on SQLite a recorder waits.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any

from sqlalchemy import (
    Column,
    ColumnClause,
    Connection,
    Engine,
    Select,
    Table,
    and_,
    delete,
    func,
    literal_column,
    not_,
    or_,
    select,
    text,
)

from worker.ledger.attempts import attempts
from worker.ledger.audit import audit
from worker.ledger.batch_reading import counts_of_plain
from worker.ledger.batches import delivered_batches
from worker.ledger.dead_letters import WAITS
from worker.ledger.engine import distinct_values, reading, removing
from worker.ledger.periods import drop_old_batches, drop_old_period, oldest_batch_ms
from worker.ledger.schema import (
    dead_letters,
    deliveries,
    integrations,
    minute_counts,
    parked,
    recorded_entries,
    replays,
)
from worker.model.deliveries import Status
from worker.model.outcomes import key_of_reused
from worker.model.replays import LetterState, ReplayState
from worker.model.time import LATEST_MS

DAY_MS = 86_400_000
#: Of so many integrations at the most rows go in one step: with one for each, its commit takes the most time.
_MOST_PARTS = 32


class PrunableKind(StrEnum):
    """What can be pruned."""

    DELIVERIES = "deliveries"
    ATTEMPTS = "attempts"
    DEAD_LETTERS = "dead letters"
    PARKED = "chunks of parked events"
    RECORDED_ENTRIES = "recorded entries"
    REPLAYS = "replays"
    MINUTE_COUNTS = "minute counts"
    AUDIT = "audit records"


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows went, and how many of those were dead letters that still waited.

    For `seconds` no other process could write, if the ledger is SQLite.
    """

    count: int
    waited: int = 0
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Share:
    """How much of something is due to be pruned; `undelivered`: it is not delivered yet."""

    name: str
    due: int
    total: int
    undelivered: bool = False


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where rows of a kind are, how old each is, and which must stay whatever their age.

    With `by`, the index by age begins with that column: it is gone through value by value.
    """

    table: Table
    age: Column[Any]
    by: Column[Any] | None = None
    stays: Callable[[], Any] | None = None


def prune_rows(engine: Engine, kind: PrunableKind, before_ms: int, most: int, *, spare_ms: int = 0) -> Pruned:
    """Remove up to `most` rows that are older than `before_ms`, the oldest first where that is no detour.

    None were removed only if none are left. Of plain deliveries whole periods go, far more than `most` and
    far sooner; one by one only those that are `spare_ms` older than that.
    """
    if kind is PrunableKind.DELIVERIES and (pruned := _prune_plain(engine, before_ms, most, spare_ms)).count:
        return pruned
    plan = _PLANS[kind]
    with reading(engine) as connection:
        _in_order(connection)
        parts = list(islice(_aged(connection, plan, before_ms), _MOST_PARTS))
        if not parts:
            return Pruned(0)
        waited = _waiting(connection, parts[0].limit(most)) if kind is PrunableKind.DEAD_LETTERS else 0
    removed = 0
    with removing(engine) as connection:
        begun = time.monotonic()
        _in_order(connection)
        for left, aged in zip(range(len(parts), 0, -1), parts, strict=True):
            # One statement for many rows: with one a row, the interpreter's lock changes hands at each, and
            # every row waits for the other threads while the ledger is locked. Of each part its share: rows
            # of one time stand on the same pages, and these are then written once.
            share = -(-(most - removed) // left)
            removed += _remove(connection, plan.table, aged.limit(share))
    return Pruned(removed, waited, time.monotonic() - begun)


def _prune_plain(engine: Engine, before_ms: int, most: int, spare_ms: int) -> Pruned:
    begun = time.monotonic()
    count: int | None = 0
    while count == 0:
        # What is left of a batch may have a row of its own by now: it goes, and counts as nothing.
        count = drop_old_period(engine, before_ms, most)
        count = drop_old_batches(engine, before_ms - spare_ms, most) if count is None else count
    return Pruned(count or 0, seconds=time.monotonic() - begun)


def oldest_due(engine: Engine, kind: PrunableKind, before_ms: int) -> int | None:
    """Return the age of the oldest row that is older than that and may go, in ms; None without any."""
    plan = _PLANS[kind]
    with reading(engine) as connection:
        plain = oldest_batch_ms(connection, before_ms) if kind is PrunableKind.DELIVERIES else None
        _in_order(connection)
        aged = next(_aged(connection, plan, before_ms), None)
        if aged is None:
            return plain
        found = connection.execute(aged.with_only_columns(plan.age).limit(1)).scalar_one_or_none()
    return min((one for one in (found, plain) if one is not None), default=None)


def oldest_rows(engine: Engine) -> dict[PrunableKind, int]:
    """Return the age of the oldest row of each kind, in ms; 0 for a kind that has none.

    Also of those that may not go. Raises LedgerUnavailable.
    """
    with reading(engine) as connection:
        found = {kind: connection.execute(_oldest(plan)).scalar_one() or 0 for kind, plan in _PLANS.items()}
        plain = oldest_batch_ms(connection, LATEST_MS)
    single = found[PrunableKind.DELIVERIES]
    return found | {PrunableKind.DELIVERIES: min(single or plain or 0, plain or single or 0)}


def _oldest(plan: _Plan) -> Select[Any]:
    if plan.by is None:
        return select(func.min(plan.age))
    # From the near end of each integration's part of the index: rows of none that ever was are left out.
    home = integrations.c.id
    of_one = select(func.min(plan.age)).where(plan.by == home).correlate(integrations).scalar_subquery()
    return select(func.min(of_one)).select_from(integrations)


def prunable_shares(engine: Engine, kind: PrunableKind, before_ms: int) -> list[Share]:
    """Count how much of a kind is older than that, and how much there is; that reads all rows of the kind."""
    plan = _PLANS[kind]
    waits = dead_letters.c.state == LetterState.WAITING
    with reading(engine) as connection:

        def counted(name: str, what: Any, *conditions: Any, undelivered: bool = False) -> Share:
            wanted = select(func.coalesce(what, 0)).select_from(plan.table).where(*conditions)
            total = int(connection.execute(wanted).scalar_one())
            due = int(connection.execute(wanted.where(plan.age < before_ms)).scalar_one())
            return Share(name, due, total, undelivered)

        if kind is PrunableKind.PARKED:
            return [counted("parked events", func.sum(parked.c.events), undelivered=True)]
        found = [counted(kind.value, func.count())]
        if kind is PrunableKind.DELIVERIES:
            found = [_with_plain(connection, found[0], before_ms)]
        if kind is PrunableKind.DEAD_LETTERS:
            found.append(counted("dead letters that wait", func.count(), waits, undelivered=True))
        return found


def _with_plain(connection: Connection, single: Share, before_ms: int) -> Share:
    """Add the deliveries that batches hold."""
    total = sum(counts_of_plain(connection, []).values())
    due = sum(counts_of_plain(connection, [delivered_batches.c.settled_ms < before_ms]).values())
    return Share(single.name, single.due + due, single.total + total)


def _remove(connection: Connection, table: Table, places: Select[Any]) -> int:
    """Remove the rows at these places, looking at no others; return how many."""
    place = _place(connection, table)
    if connection.dialect.name == "postgresql":
        # An array, because PostgreSQL would join the rows that it got by IN with the whole table.
        removal = delete(table).where(place == func.any(func.array(places.scalar_subquery())))
        return connection.execute(removal).rowcount
    # As numbers: which rows may go is found out by functions, each of which might fail. If a statement that
    # writes had any, SQLite would first copy every page that it changes, to take it back.
    found = ",".join(map(str, connection.execute(places).scalars()))
    written = f"DELETE FROM {table.name} WHERE rowid IN ({found})"  # noqa: S608 - a name and numbers of ours
    return connection.exec_driver_sql(written).rowcount


def _place(connection: Connection, table: Table) -> ColumnClause[Any]:
    """Return what says where a row is: shorter than its key, and good for one statement."""
    name = "ctid" if connection.dialect.name == "postgresql" else "rowid"
    return literal_column(f"{table.name}.{name}")


def _in_order(connection: Connection) -> None:
    """Let PostgreSQL take the oldest rows from the near end of their index, until the transaction ends.

    It expects nearly all rows to stay, of which next to none do, and would read and sort all that are old.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL enable_sort = off"))


def _aged(connection: Connection, plan: _Plan, before_ms: int) -> Iterator[Select[Any]]:
    """Yield what selects the places of rows that may go: for each value of `by`, if there are any."""
    places = select(_place(connection, plan.table)).select_from(plan.table)
    wanted = places.where(plan.age < before_ms).order_by(plan.age)
    if plan.stays is not None:
        wanted = wanted.where(not_(plan.stays()))
    by, parts = plan.by, iter([wanted])
    if by is not None:
        parts = (wanted.where(by == value) for value in distinct_values(connection, by))
    return (part for part in parts if connection.execute(part.limit(1)).first())


def _waiting(connection: Connection, places: Select[Any]) -> int:
    """Count those at these places that wait."""
    states = connection.execute(places.with_only_columns(dead_letters.c.state)).scalars()
    return sum(state == LetterState.WAITING for state in states)


def _has_a_waiting_letter() -> Any:
    """Whether a delivery is what keeps a dead letter of its event from being replayed: a rare thing.

    Where the content of either is not known, every letter of the id counts. Each look goes to one place of
    an index that has nothing but letters that wait, however many events have the id.
    """
    letter, content = dead_letters.c, deliveries.c.content
    behind_id = key_of_reused("", "") + func.coalesce(content, "")
    of_id = and_(
        WAITS,
        letter.event_id == func.replace(deliveries.c.event_id, behind_id, ""),
        letter.integration_id == deliveries.c.integration_id,
    )

    def one_waits(*conditions: Any) -> Any:
        # Not EXISTS: PostgreSQL would gather all letters that wait, for each step again.
        found = select(letter.event_id).where(of_id, *conditions).limit(1)
        return found.scalar_subquery().is_not(None)

    has_attempts = or_(
        one_waits(letter.content == content),
        one_waits(letter.content.is_(None)),
        and_(content.is_(None), one_waits()),
    )
    return and_(deliveries.c.status == Status.DELIVERED, has_attempts)


_PLANS = {
    PrunableKind.DELIVERIES: _Plan(
        deliveries, deliveries.c.settled_ms, deliveries.c.integration_id, _has_a_waiting_letter
    ),
    PrunableKind.ATTEMPTS: _Plan(attempts, attempts.c.at_ms),
    PrunableKind.DEAD_LETTERS: _Plan(dead_letters, dead_letters.c.dead_ms),
    PrunableKind.PARKED: _Plan(parked, parked.c.parked_ms),
    PrunableKind.RECORDED_ENTRIES: _Plan(recorded_entries, recorded_entries.c.recorded_ms),
    PrunableKind.REPLAYS: _Plan(
        replays, replays.c.created_ms, stays=lambda: replays.c.state == ReplayState.RUNNING
    ),
    PrunableKind.MINUTE_COUNTS: _Plan(
        minute_counts, minute_counts.c.minute_ms, minute_counts.c.integration_id
    ),
    PrunableKind.AUDIT: _Plan(audit, audit.c.at_ms),
}
