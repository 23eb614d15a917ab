"""Writes many rows with one statement, the quickest way that each database has.

Input: tuples in the order of a table's columns. SQLite takes them with `executemany`; PostgreSQL as
one array per column, which costs one round trip and a statement of one fixed text.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Table, select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from worker.ledger.attempts import attempts
from worker.ledger.counts import delivery_totals, failure_totals
from worker.ledger.engine import chunks
from worker.ledger.rows import Row
from worker.ledger.schema import dead_letters, deliveries, ledger_totals, minute_counts, recorded_entries

_POSTGRES = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # SQLAlchemy's dialects have no types


@dataclass(frozen=True, slots=True)
class Upsert:
    """Into which columns of a table rows go, and what becomes of one whose key is there."""

    table: Table
    columns: tuple[str, ...]
    on_conflict: str


def _overwritten(table: Table, *but: str) -> str:
    changed = [column.name for column in table.c if not column.primary_key and column.name not in but]
    return ", ".join(f"{name} = excluded.{name}" for name in changed)


def _added(table: Table, *names: str) -> str:
    """Return what adds the new values to those that are there, of all columns but the key, or of these."""
    names = names or tuple(column.name for column in table.c if not column.primary_key)
    return ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in names)


#: A settlement changes its delivery unless a later one has come before it, or it is of another content.
SETTLEMENTS = Upsert(
    deliveries,
    tuple(deliveries.c.keys()),
    f"ON CONFLICT (event_id, integration_id) DO UPDATE SET {_overwritten(deliveries, 'content')}"
    ", content = COALESCE(excluded.content, deliveries.content)"
    " WHERE excluded.version > deliveries.version"
    " AND (excluded.content = deliveries.content OR excluded.content IS NULL OR deliveries.content IS NULL)",
)
COUNTS = Upsert(
    minute_counts,
    tuple(minute_counts.c.keys()),
    "ON CONFLICT (integration_id, minute_ms) DO UPDATE SET "
    + _added(minute_counts, "delivered", "retried", "dead", "latency_sum_ms")
    + ", latency_max_ms = CASE WHEN excluded.latency_max_ms > minute_counts.latency_max_ms"
    " THEN excluded.latency_max_ms ELSE minute_counts.latency_max_ms END",
)
TOTALS = Upsert(
    delivery_totals,
    tuple(delivery_totals.c.keys()),
    f"ON CONFLICT (integration_id) DO UPDATE SET {_added(delivery_totals)}",
)
FAILURES = Upsert(
    failure_totals,
    tuple(failure_totals.c.keys()),
    f"ON CONFLICT (integration_id, status, error_code) DO UPDATE SET {_added(failure_totals)}",
)
LEDGER_TOTALS = Upsert(
    ledger_totals,
    tuple(ledger_totals.c.keys()),
    f"ON CONFLICT (name) DO UPDATE SET {_added(ledger_totals)}",
)
#: Columns of a dead letter that say what was done about it.
_LATER = {"state", "state_ms", "replay_id"}
DEAD_LETTERS = Upsert(
    dead_letters,
    tuple(name for name in dead_letters.c.keys() if name not in _LATER),  # noqa: SIM118 - columns, not a dict
    "ON CONFLICT (id) DO NOTHING",
)
ATTEMPTS = Upsert(attempts, tuple(attempts.c.keys()), "ON CONFLICT DO NOTHING")
_ENTRIES = Upsert(recorded_entries, tuple(recorded_entries.c.keys()), "ON CONFLICT (stream_entry) DO NOTHING")


def write_rows(connection: Connection, upsert: Upsert, rows: Sequence[Row]) -> int:
    """Write the rows, and return how many changed something. On PostgreSQL no two may have the same key."""
    if not rows:
        return 0
    if connection.dialect.name == "postgresql":
        return connection.exec_driver_sql(_from_arrays(upsert), _as_arrays(rows)).rowcount
    return connection.exec_driver_sql(_from_tuples(upsert), list(rows)).rowcount


def contents_of(connection: Connection, rows: Sequence[Row]) -> dict[Row, str | None]:
    """Return which contents the ledger has under the keys of these deliveries."""
    columns = deliveries.c
    found: dict[Row, str | None] = {}
    wanted = select(columns.event_id, columns.integration_id, columns.content)
    for some in chunks(sorted({row[0] for row in rows})):
        of_some = wanted.where(columns.event_id.in_(some))
        found |= {(event, home): content for event, home, content in connection.execute(of_some)}
    return found


def claim_entries(connection: Connection, entries: Collection[str], now_ms: int) -> set[str]:
    """Note the stream entries as recorded, and return those that were not noted before.

    Holds even if another recorder notes them at this moment: SQLite has one writer, and PostgreSQL
    makes the second wait until the first has committed, or rolled back.
    """
    rows = [(entry, now_ms) for entry in sorted(entries)]
    if not rows:
        return set()
    if connection.dialect.name == "postgresql":
        statement = f"{_from_arrays(_ENTRIES)} RETURNING stream_entry"
        return set(connection.exec_driver_sql(statement, _as_arrays(rows)).scalars())
    fresh = set(entries) - _noted(connection, sorted(entries))
    write_rows(connection, _ENTRIES, [row for row in rows if row[0] in fresh])
    return fresh


def _noted(connection: Connection, entries: list[str]) -> set[str]:
    column = recorded_entries.c.stream_entry
    noted: set[str] = set()
    for some in chunks(entries):
        noted |= set(connection.execute(select(column).where(column.in_(some))).scalars())
    return noted


def _from_tuples(upsert: Upsert) -> str:
    places = ", ".join("?" for _ in upsert.columns)
    return f"INSERT INTO {_target(upsert)} VALUES ({places}) {upsert.on_conflict}"  # noqa: S608 - names from schema.py


def _from_arrays(upsert: Upsert) -> str:
    arrays = ", ".join(f"%s::{_type(upsert.table.c[name])}[]" for name in upsert.columns)
    return f"INSERT INTO {_target(upsert)} SELECT * FROM unnest({arrays}) {upsert.on_conflict}"  # noqa: S608 - names from schema.py


def _as_arrays(rows: Sequence[Row]) -> tuple[object, ...]:
    return tuple(as_array(column) for column in zip(*rows, strict=True))


def as_array(column: Sequence[Any]) -> str:
    """Return a column as PostgreSQL writes arrays: of text, of bytes or of numbers, each with None.

    The driver would take half a microsecond a value, and much more where it has quotes or backslashes. JSON
    in square brackets is an array's text in curly ones, unless it has a backslash, which means something else
    there; and JSON knows no bytes.
    """
    if not isinstance(column[0], bytes):
        json = msgspec.json.encode(column)
        if b"\\" not in json:
            return f"{{{json[1:-1].decode()}}}"
    return f"{{{','.join(map(_element, column))}}}"


def _element(value: object) -> str:
    match value:
        case None:
            return "NULL"
        case bytes():
            return f'"\\\\x{value.hex()}"'
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case _:
            return msgspec.json.encode(value).decode()


def _target(upsert: Upsert) -> str:
    return f"{upsert.table.name} ({', '.join(upsert.columns)})"


def _type(column: Column[object]) -> str:
    """Return the name of the type in PostgreSQL, without its collation."""
    return column.type.compile(dialect=_POSTGRES).partition(" ")[0]
