"""Removes plain deliveries that are old: whole periods where that can be, else batches.

What keeps a dead letter that waits from being replayed gets a row of its own first, and stays.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import takewhile
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, select, text

from worker.ledger.batch_writing import ids_table, move_entries, places_of, read_batches, take_turn
from worker.ledger.batches import BatchedDelivery, delivered_batches, delivery_periods, entries_of, index_keys
from worker.ledger.bulk import SETTLEMENTS, write_rows
from worker.ledger.dead_letters import WAITS
from worker.ledger.engine import chunks, reading, writing
from worker.ledger.rows import newest_only
from worker.ledger.schema import dead_letters

_batch = delivered_batches.c
_period = delivery_periods.c
_letter = dead_letters.c
#: On PostgreSQL, how long to wait for those that read batches, in milliseconds: others wait behind it.
_WAIT_MS = 1000
#: On SQLite, how many deliveries go with their batches while one goes that has a row of its own. With a whole
#: period of 300 000, 19 MB of pages are written at once, and a recorder waits 0.1 to 0.2 s.
_AS_CHEAP = 30


def drop_old_period(engine: Engine, before_ms: int, most: int) -> int | None:
    """Remove the oldest period in which nothing was settled since then; return how many deliveries went.

    On SQLite it goes in steps, each as short as one of `most` rows, and its index last. None if there is no
    such period: the period that is written to stays. Raises LedgerUnavailable.
    """
    with reading(engine) as connection:
        if _old_period(connection, before_ms) is None:
            return None
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL lock_timeout = '{_WAIT_MS}ms'"))
        take_turn(connection)
        period = _old_period(connection, before_ms)
        if period is None:
            return None
        _keep(connection, _waited_for(connection, period))
        if connection.dialect.name == "postgresql":
            count, left = _events_in(connection, period), False
            connection.execute(text("SELECT siem_drop_period(:period)"), {"period": period})
        else:
            count, left = _drop_step(connection, period, most * _AS_CHEAP)
        if not left:
            connection.execute(delete(delivery_periods).where(_period.id == period))
    return count


def _events_in(connection: Connection, period: int) -> int:
    """Count the deliveries of a period that have no row of their own."""
    counted = select(func.sum(_batch.events - _batch.moved)).where(_batch.period == period)
    return int(connection.execute(counted).scalar_one() or 0)


def _drop_step(connection: Connection, period: int, most: int) -> tuple[int, bool]:
    """Remove batches of up to `most` deliveries, or the index if there are none.

    Return how many deliveries went, and whether anything is left of the period.
    """
    wanted = select(_batch.number, _batch.events, _batch.moved).where(_batch.period == period)
    batches = _up_to(connection.execute(wanted.order_by(_batch.number).limit(most)).all(), most)
    if not batches:
        connection.execute(text(f"DROP TABLE {ids_table(period)}"))
        return 0, False
    mine = (_batch.period == period, _batch.number <= batches[-1].number)
    connection.execute(delete(delivered_batches).where(*mine))
    return sum(batch.events - batch.moved for batch in batches), True


def drop_old_batches(engine: Engine, before_ms: int, most: int) -> int | None:
    """Remove batches that were settled before, of up to `most` deliveries, at least one; return how many.

    None if there are none. Raises LedgerUnavailable.
    """
    with reading(engine) as connection:
        if oldest_batch_ms(connection, before_ms) is None:
            return None
    with writing(engine) as connection:
        take_turn(connection)
        wanted = select(delivered_batches).where(_batch.settled_ms < before_ms).order_by(_batch.settled_ms)
        batches = _up_to(connection.execute(wanted.limit(most)).all(), most)
        entries = [entry for batch in batches for entry in entries_of(batch)]
        waiting = _waiting(connection, {entry.row[0] for entry in entries})
        _keep(connection, [entry for entry in entries if entry.row[:2] in waiting])
        for batch in batches:
            mine = (_batch.period == batch.period, _batch.number == batch.number)
            connection.execute(delete(delivered_batches).where(*mine))
    return sum(int(batch.events - batch.moved) for batch in batches)


def oldest_batch_ms(connection: Connection, before_ms: int) -> int | None:
    """Return when the oldest of the batches that were settled before was settled, in ms; None without any."""
    wanted = select(func.min(_batch.settled_ms)).where(_batch.settled_ms < before_ms)
    found: int | None = connection.execute(wanted).scalar_one()
    return found


def _old_period(connection: Connection, before_ms: int) -> int | None:
    current = select(func.max(_period.id)).scalar_subquery()
    wanted = select(func.min(_period.id)).where(_period.newest_ms < before_ms, _period.id < current)
    found: int | None = connection.execute(wanted).scalar_one()
    return found


def _waited_for(connection: Connection, period: int) -> list[BatchedDelivery]:
    """Return the deliveries of a period of whose event a dead letter waits at the same integration."""
    waiting = _waiting(connection, None)
    by_home: dict[str, list[str]] = {}
    for event_id, home in waiting:
        by_home.setdefault(home, []).append(event_id)
    keys = [key for home, ids in by_home.items() for key in index_keys(ids, home)]
    numbers = {number for _, number in places_of(connection, period, keys)}
    batches = read_batches(connection, period, numbers)
    return [entry for batch in batches for entry in entries_of(batch) if entry.row[:2] in waiting]


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


def _up_to(batches: Sequence[Any], most: int) -> list[Any]:
    """Return the first batches, as many as hold no more deliveries than that; at least one."""
    total = 0

    def fits(batch: Any) -> bool:
        nonlocal total
        total += batch.events
        return bool(total <= most or total == batch.events)

    return list(takewhile(fits, batches))
