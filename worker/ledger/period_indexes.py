"""The index of each period of plain deliveries: it leads from an event and integration to a batch.

While a period is written to, its index is a table of its own, with a row for each key. SQLite keeps it so. On
PostgreSQL such a row costs 73 bytes: there the recorder *seals* the index of a period that is over, step by
step. Its keys go into buckets, by their first bits, and a bucket is one row with an array of them: 15 bytes a
key. The table is dropped behind the last of them.
"""

from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    and_,
    null,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import ProgrammingError

from worker.ledger.batches import delivery_periods, keys_of_event
from worker.ledger.bulk import as_array
from worker.ledger.driver_errors import is_about_missing_tables
from worker.ledger.engine import chunks

#: What only PostgreSQL has.
postgres_metadata = MetaData()
#: Indexes that are sealed, or about to be.
sealed_periods = Table(
    "sealed_periods",
    postgres_metadata,
    Column("period", BigInteger, primary_key=True, autoincrement=False),
    # So many of a key's first bits, with its sign, are the name of its bucket.
    Column("bits", Integer, nullable=False),
    # How many of the buckets are there, in the order of their names.
    Column("buckets", BigInteger, nullable=False),
    # Whether all are, and the table is gone.
    Column("finished", Boolean, nullable=False),
)
delivered_keys = Table(
    "delivered_keys",
    postgres_metadata,
    Column("period", BigInteger, primary_key=True, autoincrement=False),
    Column("bucket", Integer, primary_key=True, autoincrement=False),
    # In any order; at the same place of the other array, the number of the key's batch.
    Column("keys", ARRAY(BigInteger), nullable=False),
    Column("numbers", ARRAY(Integer), nullable=False),
)

_period = delivery_periods.c
_sealed = sealed_periods.c
_KEY_BITS = 64
#: Above all numbers of batches.
_LARGEST = (1 << 31) - 1
#: Events, and ranges of keys, that one statement looks for; SQLite takes 500 parts of a UNION.
_FEW_EVENTS, _MOST_RANGES = 20, 400
#: Rows of one statement that writes keys on SQLite.
_AT_ONCE = 200
#: So many keys are sealed for each that is written, so that older ones follow; and no fewer in one step.
_PACE, _SMALLEST_STEP = 2, 4000
#: How often an index may be sealed or dropped between two looks before that is an error.
_TRIES = 5


class PeriodIndex(NamedTuple):
    """The index of a period: a table of its own, or sealed; then `bits` name a bucket."""

    period: int
    bits: int | None = None

    def buckets_of(self, keys: Collection[int]) -> str:
        """Return the names of the buckets that these keys stand in, with commas."""
        shift = _KEY_BITS - (self.bits or 0)
        return ",".join(map(str, sorted({key >> shift for key in keys})))


def ids_table(period: int) -> str:
    """Return the name of the table that is the index of a period."""
    return f"delivered_ids_{int(period)}"


def near_indexes(connection: Connection) -> list[PeriodIndex]:
    """Return the index of the period that is written to, and of the one before: neither is ever sealed."""
    periods = connection.execute(select(_period.id).order_by(_period.id.desc()).limit(2)).scalars()
    return [PeriodIndex(period) for period in periods]


def indexes(connection: Connection, *conditions: Any) -> list[PeriodIndex]:
    """Return the indexes of the periods for which this holds, the latest first."""
    wanted = select(_period.id, null()).select_from(delivery_periods)
    if connection.dialect.name == "postgresql":
        sealed = and_(_sealed.period == _period.id, _sealed.finished)
        wanted = select(_period.id, _sealed.bits).select_from(
            delivery_periods.outerjoin(sealed_periods, sealed)
        )
    rows = connection.execute(wanted.where(*conditions).order_by(_period.id.desc()))
    return [PeriodIndex(*row) for row in rows]


def write_keys(connection: Connection, period: int, keys: Mapping[int, int]) -> int:
    """Write keys, each with the number of its batch, into the index of the period that is written to.

    They come in the order of the index. Return how many were new.
    """
    if not keys:
        return 0
    into = f"INSERT INTO {ids_table(period)} (key, number)"
    if connection.dialect.name == "postgresql":
        statement = f"{into} SELECT * FROM unnest(%s::bigint[], %s::int[]) ON CONFLICT DO NOTHING"  # noqa: S608 - a name of ours
        given = (as_array(list(keys)), as_array(list(keys.values())))
        return connection.exec_driver_sql(statement, given).rowcount
    words = tuple(chain.from_iterable(keys.items()))
    many = len(words) - len(words) % (2 * _AT_ONCE)
    # Two hundred rows of one statement take SQLite half of what it takes for two hundred statements.
    parts = [(_AT_ONCE, words[:many]), (1, words[many:])]
    return sum(_insert(connection, into, rows, given) for rows, given in parts if given)


def _insert(connection: Connection, into: str, rows: int, words: tuple[int, ...]) -> int:
    """Write so many rows with each statement; return how many were new."""
    statement = f"{into} VALUES {', '.join(['(?, ?)'] * rows)} ON CONFLICT DO NOTHING"
    given = [words[start : start + 2 * rows] for start in range(0, len(words), 2 * rows)]
    return connection.exec_driver_sql(statement, given).rowcount


def places_of(
    connection: Connection, index: PeriodIndex, keys: Collection[int], *, before: int = _LARGEST
) -> list[tuple[int, int]]:
    """Return those of the keys that the index of a period has, each with the number of its batch.

    Only of batches with a number below `before`.
    """
    if not keys:
        return []
    ordered = msgspec.json.encode(sorted(keys)).decode()
    if connection.dialect.name == "postgresql":
        statement = (
            f"SELECT key, number FROM {_source(index, keys)} AND key = ANY(%s::bigint[]) AND number < %s"  # noqa: S608 - names and numbers of ours
        )
        given = f"{{{ordered[1:-1]}}}"
    else:
        joined = f"json_each(?) j CROSS JOIN {ids_table(index.period)} i ON i.key = j.value AND i.number < ?"
        statement = f"SELECT i.key, i.number FROM {joined}"  # noqa: S608 - the same
        given = ordered
    return [(row[0], row[1]) for row in connection.exec_driver_sql(statement, (given, before))]


def places_of_events(
    connection: Connection, event_ids: Collection[str], *conditions: Any
) -> dict[int, set[int]]:
    """Return the batches that have, or seem to have, one of these events, by period.

    Of the periods for which the conditions hold.
    """
    for left in reversed(range(_TRIES)):
        found = indexes(connection, *conditions) if event_ids else []
        if connection.dialect.name != "postgresql":
            return _places(connection, found, event_ids)
        try:
            with connection.begin_nested():
                return _places(connection, found, event_ids)
        except ProgrammingError as error:
            # Sealed, or dropped, since we have asked which there are: who does that waits for no reader.
            if not left or not is_about_missing_tables(error):
                raise
    raise AssertionError


def seal(connection: Connection, written: int) -> None:
    """Seal some keys of a period that is over, on PostgreSQL: about twice as many as were written."""
    if connection.dialect.name == "postgresql":
        most = max(_PACE * written, _SMALLEST_STEP)
        connection.execute(text("SELECT siem_seal_keys(:most)"), {"most": most})


def _source(index: PeriodIndex, keys: Collection[int]) -> str:
    """Return where the keys of an index stand, with the first condition: those of the buckets of these."""
    if index.bits is None:
        return f"{ids_table(index.period)} WHERE true"
    rows = f"delivered_keys b, unnest(b.keys, b.numbers) one(key, number) WHERE b.period = {index.period}"
    return f"{rows} AND b.bucket IN ({index.buckets_of(keys)})"


def _places(
    connection: Connection, found: Collection[PeriodIndex], event_ids: Collection[str]
) -> dict[int, set[int]]:
    places: dict[int, set[int]] = {}
    for events in chunks(event_ids, _FEW_EVENTS):
        for some in chunks(found, _MOST_RANGES // len(events)):
            # In one statement: with one for each period, most of the time is the way there and back.
            for period, number in connection.exec_driver_sql(" UNION ALL ".join(_looks(some, events))):
                places.setdefault(period, set()).add(number)
    return places


def _looks(some: Collection[PeriodIndex], event_ids: Collection[str]) -> Iterator[str]:
    """Yield the statement that looks into each of these indexes."""
    bounds = [keys_of_event(event_id) for event_id in event_ids]
    condition = " OR ".join(f"key BETWEEN {first} AND {last}" for first, last in bounds)
    firsts = [first for first, _ in bounds]
    for index in some:
        yield f"SELECT {index.period}, number FROM {_source(index, firsts)} AND ({condition})"  # noqa: S608 - names and numbers of ours
