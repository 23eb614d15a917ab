"""Removes plain deliveries that are old: whole periods where that can be, else batches.

What keeps a dead letter that waits from being replayed gets a row of its own first, and stays.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, takewhile
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, select, text

from worker.ledger.batch_writing import SPAN, move_entries, read_batches, take_turn
from worker.ledger.batches import BatchedDelivery, delivered_batches, delivery_periods, entries_of, index_keys
from worker.ledger.bulk import SETTLEMENTS, write_rows
from worker.ledger.dead_letters import WAITS
from worker.ledger.engine import chunks, reading, removing
from worker.ledger.period_indexes import ids_table, indexes, places_of
from worker.ledger.rows import newest_only
from worker.ledger.schema import dead_letters

_batch = delivered_batches.c
_period = delivery_periods.c
_letter = dead_letters.c
#: On PostgreSQL, how long to wait for those that read batches, in milliseconds: others wait behind it.
_WAIT_MS = 1000
#: On SQLite, how many deliveries go with their batches while one goes that has a row of its own. In the
#: largest step a whole period goes, with its index: about 10 ms, for which a recorder waits.
_AS_CHEAP = 150


def drop_old_period(engine: Engine, before_ms: int, most: int) -> int | None:
    """Remove the oldest period in which nothing was settled since then; return how many deliveries went.

    On SQLite it goes in steps, each as short as one of `most` rows, and its index with the last; on
    PostgreSQL with all of its span, whose tables are dropped. None if there is no such period: the one that
    is written to stays. Raises LedgerUnavailable.
    """
    with reading(engine) as connection:
        if not _old_periods(connection, before_ms):
            return None
    with removing(engine) as connection, _without_wiping(connection):
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL lock_timeout = '{_WAIT_MS}ms'"))
        take_turn(connection)
        periods = _old_periods(connection, before_ms)
        if not periods:
            return None
        _keep(connection, _waited_for(connection, periods))
        if connection.dialect.name == "postgresql":
            return _drop_tables(connection, periods)
        return _drop_step(connection, periods[0], most * _AS_CHEAP)


def _drop_tables(connection: Connection, periods: Sequence[int]) -> int:
    """Drop the tables of periods, which share one; return how many deliveries went that had no other row."""
    counted = select(func.sum(_batch.events - _batch.moved)).where(_batch.period.in_(periods))
    count = int(connection.execute(counted).scalar_one() or 0)
    # The table of the span goes with the last of its periods that stands there.
    connection.execute(delete(delivery_periods).where(_period.id.in_(periods)))
    dropped = "SELECT siem_drop_period(one), siem_drop_keys(one) FROM unnest(CAST(:periods AS bigint[])) one"
    connection.execute(text(dropped), {"periods": list(periods)})
    return count


@contextmanager
def _without_wiping(connection: Connection) -> Iterator[None]:
    """Let SQLite free pages as they are, where its build would fill them with zeros first (Debian's does).

    To read them for that, and to write all of them, takes ten times as long. They hold no payloads.
    """
    if connection.dialect.name == "postgresql":
        yield
        return
    wipes = int(connection.exec_driver_sql("PRAGMA secure_delete").scalar_one())
    connection.exec_driver_sql("PRAGMA secure_delete = OFF")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA secure_delete = {('OFF', 'ON', 'FAST')[wipes]}")


def _drop_step(connection: Connection, period: int, most: int) -> int:
    """Remove batches of up to `most` deliveries, at least one; with the last of them, their index.

    Return how many deliveries went that had no row of their own.
    """
    mine = _batch.period == period
    oldest = [mine, *_first(connection, period, most)]
    counted = select(func.coalesce(func.sum(_batch.events - _batch.moved), 0)).where(*oldest)
    count = int(connection.execute(counted).scalar_one())
    connection.execute(delete(delivered_batches).where(*oldest))
    if connection.execute(select(_batch.number).where(mine).limit(1)).first() is None:
        connection.execute(text(f"DROP TABLE {ids_table(period)}"))
        connection.execute(delete(delivery_periods).where(_period.id == period))
    return count


def _first(connection: Connection, period: int, most: int) -> list[Any]:
    """Return the condition for a period's first batches of up to `most` deliveries; none if all are."""
    if connection.execute(select(_period.events).where(_period.id == period)).scalar_one() <= most:
        return []
    wanted = select(_batch.number, _batch.events).where(_batch.period == period).order_by(_batch.number)
    # Closed before the table is dropped: SQLite does not drop one beside a statement that reads.
    with connection.execute(wanted) as found:
        batches = _up_to(found, most)
    return [_batch.number <= batches[-1].number] if batches else []


def drop_old_batches(engine: Engine, before_ms: int, most: int) -> int | None:
    """Remove batches that were settled before, of up to `most` deliveries, at least one; return how many.

    None if there are none. Raises LedgerUnavailable.
    """
    with reading(engine) as connection:
        if oldest_batch_ms(connection, before_ms) is None:
            return None
    with removing(engine) as connection:
        take_turn(connection)
        # Without what they hold: of so many as there might be, a few are taken.
        wanted = select(_batch.period, _batch.number, _batch.events, _batch.moved)
        old = wanted.where(_batch.settled_ms < before_ms).order_by(_batch.settled_ms).limit(most)
        batches = _up_to(connection.execute(old).all(), most)
        entries = _entries(connection, batches)
        waiting = _waiting(connection, {entry.row[0] for entry in entries})
        _keep(connection, [entry for entry in entries if entry.row[:2] in waiting])
        for period, numbers in _by_period(batches).items():
            mine = (_batch.period == period, _batch.number.in_(numbers))
            connection.execute(delete(delivered_batches).where(*mine))
    return sum(int(batch.events - batch.moved) for batch in batches)


def _by_period(batches: Iterable[Any]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for batch in batches:
        found.setdefault(batch.period, []).append(batch.number)
    return found


def _entries(connection: Connection, batches: Iterable[Any]) -> list[BatchedDelivery]:
    """Return the deliveries that these batches hold."""
    return [
        entry
        for period, numbers in _by_period(batches).items()
        for batch in read_batches(connection, period, numbers)
        for entry in entries_of(batch)
    ]


def oldest_batch_ms(connection: Connection, before_ms: int) -> int | None:
    """Return when the oldest of the batches that were settled before was settled, in ms; None without any."""
    wanted = select(func.min(_batch.settled_ms)).where(_batch.settled_ms < before_ms)
    found: int | None = connection.execute(wanted).scalar_one()
    return found


def _old_periods(connection: Connection, before_ms: int) -> list[int]:
    """Return the oldest period that may go; on PostgreSQL all of its span, if they all may."""
    size = SPAN if connection.dialect.name == "postgresql" else 1
    known = connection.execute(select(_period.id, _period.newest_ms).order_by(_period.id)).all()
    spans = [list(some) for _, some in groupby(known, lambda one: one.id // size)]
    for some in spans[:-1]:
        if all(one.newest_ms < before_ms for one in some):
            return [one.id for one in some]
    return []


def _waited_for(connection: Connection, periods: Sequence[int]) -> list[BatchedDelivery]:
    """Return the deliveries of periods of whose event a dead letter waits at the same integration."""
    waiting = _waiting(connection, None)
    by_home: dict[str, list[str]] = {}
    for event_id, home in waiting:
        by_home.setdefault(home, []).append(event_id)
    keys = [key for home, ids in by_home.items() for key in index_keys(ids, home)]
    found: list[BatchedDelivery] = []
    for index in indexes(connection, _period.id.in_(periods)):
        numbers = {number for _, number in places_of(connection, index, keys)}
        for batch in read_batches(connection, index.period, numbers):
            found += [entry for entry in entries_of(batch) if entry.row[:2] in waiting]
    return found


def _waiting(connection: Connection, event_ids: Collection[str] | None) -> set[tuple[str, str]]:
    """Return the event and integration of the dead letters that wait, or of those of these events."""
    wanted = select(_letter.event_id, _letter.integration_id).where(
        WAITS, _letter.event_id.is_not(None), _letter.integration_id.is_not(None)
    )
    parts: Iterable[Any] = (
        [wanted]
        if event_ids is None
        else (wanted.where(_letter.event_id.in_(some)) for some in chunks(event_ids))
    )
    return {(event_id, home) for part in parts for event_id, home in connection.execute(part)}


def _keep(connection: Connection, entries: Sequence[BatchedDelivery]) -> None:
    """Give these deliveries rows of their own."""
    write_rows(connection, SETTLEMENTS, newest_only(move_entries(connection, entries)))


def _up_to(batches: Iterable[Any], most: int) -> list[Any]:
    """Return the first batches, as many as hold no more deliveries than that; at least one."""
    total = 0

    def fits(batch: Any) -> bool:
        nonlocal total
        total += batch.events
        return bool(total <= most or total == batch.events)

    return list(takewhile(fits, batches))
