"""Writes plain deliveries by the batch, and gives one a row of its own once there is more to say of it.

Input: settlements, in the transaction that records them. Output: rows of batches and of their index; and rows
for `deliveries`, of all that no batch can hold.

One recorder at a time does this, or of two settlements of one delivery neither would find the other.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

import msgspec
from sqlalchemy import Connection, case, func, insert, select, text, update

from worker.ledger.batches import (
    MOST_EVENTS,
    BatchedDelivery,
    Plain,
    batch_row,
    delivered_batches,
    delivery_periods,
    entries_of,
    index_keys,
    plain_events,
)
from worker.ledger.bulk import Upsert, as_array, write_rows
from worker.ledger.engine import chunks
from worker.ledger.period_indexes import PeriodIndex, ids_table, near_indexes, places_of, seal, write_keys
from worker.ledger.rows import Row, delivery_rows, storable
from worker.model.deliveries import EventTrace, Outcome

#: A period ends with so many events: a transaction of a busy recorder writes to every page of its index, and
#: a look for one event looks into each of them, which costs more on PostgreSQL.
FULL = {"sqlite": 150_000, "postgresql": 300_000}
#: Or after so long, in ms: its rows go together.
LONG_MS = 43_200_000
#: So many periods share a table on PostgreSQL, or as many as begin within a period's longest time: a span.
SPAN = 16
#: For how long a delivery is looked for in the period before as well, in ms.
OVERLAP_MS = 120_000

_period = delivery_periods.c
_batch = delivered_batches.c
_BATCHES = Upsert(delivered_batches, tuple(delivered_batches.c.keys()), "")
#: Names the lock that PostgreSQL gives to one recorder at a time; any number that is not in use.
_TURN = 0x5349_454D_0002


def take_turn(connection: Connection) -> None:
    """Wait until no other recorder is writing deliveries, on PostgreSQL; SQLite has one writer."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _TURN})


def set_apart(plain: list[Plain], outcome: Outcome, version: int) -> list[EventTrace]:
    """Add batches of what was plainly delivered, and return the other events of the outcome."""
    delivered, others = plain_events(outcome)
    home = storable(outcome.integration_id)
    for start in range(0, len(delivered), MOST_EVENTS):
        part = delivered[start : start + MOST_EVENTS]
        ids = [event.id for event in part]
        if "\0" in "".join(ids):
            ids = [storable(one) for one in ids]
        plain.append(Plain(outcome, version, part, index_keys(ids, home)))
    return others


def write_batches(connection: Connection, found: Sequence[Plain], now_ms: int) -> list[Row]:
    """Write what the ledger knows nothing of yet; return rows for `deliveries` of the others."""
    if not found:
        return []
    period = _open_period(connection, now_ms)
    known = rows_known(connection, list({event.id for one in found for event in one.events}))
    fresh, rest = _divided(found, known) if known else (list(found), [])
    placed = list(enumerate(fresh, period.batches + 1))
    keys: dict[int, int] = {}
    for place, one in reversed(placed):
        # Of a key that occurs twice, the first place stays.
        keys.update(zip(one.keys, repeat(place)))
    own = _claimed(connection, period, now_ms, keys)
    kept = placed
    if len(own) < sum(len(one.keys) for one in fresh):
        kept, others = _kept(placed, own)
        rest += others
    write_rows(connection, _BATCHES, [batch_row(period.id, place, one) for place, one in kept])
    _count(connection, period.id, len(fresh), kept)
    seal(connection, sum(len(one.keys) for one in fresh))
    return [row for one in rest for row in delivery_rows(one.outcome, one.version, one.events)]


def _kept(
    placed: Sequence[tuple[int, Plain]], own: dict[int, int]
) -> tuple[list[tuple[int, Plain]], list[Plain]]:
    """Divide into deliveries whose key is at this place, each once, and those that are known already."""
    kept, rest = [], []
    for place, one in placed:
        mine, others = _split(one, [own.get(key) == place and own.pop(key) == place for key in one.keys])
        kept += [(place, mine)] if mine.events else []
        rest += [others] if others.events else []
    return kept, rest


def moved_rows(connection: Connection, rows: Sequence[Row]) -> list[Row]:
    """Return rows for `deliveries` of what batches hold of the events and integrations of these rows.

    Of a delivery that has a row by now there is none; the others count no longer in their batch.
    """
    by_home: dict[str, set[str]] = {}
    for event_id, home, *_ in rows:
        by_home.setdefault(home, set()).add(event_id)
    near = near_indexes(connection) if by_home else []
    found: list[BatchedDelivery] = []
    for index in near:
        keys = [key for home, ids in by_home.items() for key in index_keys(list(ids), home)]
        numbers = {number for _, number in places_of(connection, index, keys)}
        found += [
            entry
            for batch in read_batches(connection, index.period, numbers)
            for entry in entries_of(batch)
            if entry.row[0] in by_home.get(entry.row[1], ())
        ]
    return move_entries(connection, found)


def _claimed(connection: Connection, period: Any, now_ms: int, keys: Mapping[int, int]) -> dict[int, int]:
    """Write these keys into the index; return those that were not there, nor in the period before."""
    # In the order of the index, for both: neighbours stand on one page.
    own = {key: keys[key] for key in sorted(keys)}
    if now_ms - period.began_ms < OVERLAP_MS:
        for earlier in near_indexes(connection)[1:]:
            for key, _ in places_of(connection, earlier, keys):
                own.pop(key, None)
    if write_keys(connection, period.id, own) != len(own):
        first = period.batches + 1
        for key, _ in places_of(connection, PeriodIndex(period.id), own, before=first):
            own.pop(key, None)
    return own


def _count(connection: Connection, period: int, batches: int, kept: Sequence[tuple[int, Plain]]) -> None:
    """Count what a period has got."""
    newest_ms = max((one.outcome.settled_ms for _, one in kept), default=0)
    changed = {
        "batches": _period.batches + batches,
        "events": _period.events + sum(len(one.events) for _, one in kept),
        "newest_ms": case((_period.newest_ms < newest_ms, newest_ms), else_=_period.newest_ms),
    }
    connection.execute(update(delivery_periods).where(_period.id == period).values(changed))


def rows_known(connection: Connection, event_ids: Sequence[str]) -> set[tuple[str, str]]:
    """Return the event and integration of all rows that these events have in `deliveries`."""
    if not event_ids:
        return set()
    if connection.dialect.name == "postgresql":
        statement = "SELECT event_id, integration_id FROM deliveries WHERE event_id = ANY(%s::text[])"
        return {(row[0], row[1]) for row in connection.exec_driver_sql(statement, (as_array(event_ids),))}
    statement = (
        "SELECT d.event_id, d.integration_id"
        " FROM json_each(?) j CROSS JOIN deliveries d ON d.event_id = j.value"
    )
    encoded = msgspec.json.encode(list(event_ids)).decode()
    return {(row[0], row[1]) for row in connection.exec_driver_sql(statement, (encoded,))}


def read_batches(connection: Connection, period: int, numbers: Collection[int]) -> Iterator[Any]:
    """Yield these batches of a period, one after the other."""
    for some in chunks(sorted(numbers)):
        wanted = select(delivered_batches).where(_batch.period == period, _batch.number.in_(some))
        yield from connection.execute(wanted)


def move_entries(connection: Connection, entries: Sequence[BatchedDelivery]) -> list[Row]:
    """Return the rows of those entries that have no row in `deliveries` yet, and count them as moved."""
    known = rows_known(connection, list({entry.row[0] for entry in entries}))
    moving = [entry for entry in entries if entry.row[:2] not in known]
    for (period, number), count in Counter(entry.batch for entry in moving).items():
        mine = (_batch.period == period, _batch.number == number)
        connection.execute(update(delivered_batches).where(*mine).values(moved=_batch.moved + count))
    return [entry.row for entry in moving]


def _divided(found: Sequence[Plain], known: Collection[tuple[str, str]]) -> tuple[list[Plain], list[Plain]]:
    """Divide into deliveries without a row in `deliveries` and those that have one."""
    fresh, rest = [], []
    for one in found:
        home = storable(one.outcome.integration_id)
        mine, others = _split(one, [(storable(event.id), home) not in known for event in one.events])
        fresh += [mine] if mine.events else []
        rest += [others] if others.events else []
    return fresh, rest


def _split(one: Plain, is_first: Sequence[bool]) -> tuple[Plain, Plain]:
    """Divide one outcome's deliveries."""
    if all(is_first):
        return one, one._replace(events=[], keys=[])
    return _those(one, is_first, wanted=True), _those(one, is_first, wanted=False)


def _those(one: Plain, is_first: Sequence[bool], *, wanted: bool) -> Plain:
    places = [place for place, first in enumerate(is_first) if first is wanted]
    return one._replace(
        events=[one.events[place] for place in places], keys=[one.keys[place] for place in places]
    )


def _open_period(connection: Connection, now_ms: int) -> Any:
    """Return the period that is written to; begin one if there is none, or the last one is full or old."""
    wanted = select(delivery_periods).order_by(_period.id.desc()).limit(1)
    last = connection.execute(wanted).one_or_none()
    full = FULL[connection.dialect.name]
    if last is not None and last.events < full and now_ms - last.began_ms < LONG_MS:
        return last
    period = _next_period(connection, last.id, now_ms) if last else 1
    fresh = {"id": period, "began_ms": now_ms, "newest_ms": 0, "batches": 0, "events": 0}
    connection.execute(insert(delivery_periods).values(fresh))
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT siem_add_period(:period)"), {"period": period})
    else:
        # The key is the rowid: one tree holds both.
        made = f"CREATE TABLE {ids_table(period)} (key INTEGER PRIMARY KEY, number INTEGER NOT NULL)"
        connection.execute(text(made))
    return connection.execute(wanted).one()


def _next_period(connection: Connection, last: int, now_ms: int) -> int:
    """Return the number behind that of the last period: the next one, or the first one of another span."""
    span = last // SPAN
    first_ms = select(func.min(_period.began_ms)).where(_period.id >= span * SPAN)
    is_long = now_ms - connection.execute(first_ms).scalar_one() >= LONG_MS
    return (span + 1) * SPAN if is_long else last + 1
