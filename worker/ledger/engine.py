"""Opens the ledger: an engine, transactions on it, the clock of its database and its own id.

Several processes may use one SQLite file at once; whatever the database refuses is raised as
LedgerUnavailable or SchemaOutdated. A restored dump keeps the ledger's id, by which Redis knows whose
events it holds.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    TextClause,
    create_engine,
    event,
    func,
    select,
    text,
    update,
)

from worker.ledger.address import SETTING, postgres_arguments, read_address
from worker.ledger.driver_errors import as_outage, unmade_file
from worker.ledger.schema import ledger_identity
from worker.model.errors import InvalidSetting, SchemaOutdated

_Value = TypeVar("_Value")

#: An open ledger, as modules name it that know no SQL.
Ledger = Engine

#: SQLite waits this long for another process's transaction before it says "locked".
_PATIENCE = "PRAGMA busy_timeout = 10000"
#: Of a new file: SQLite notes to what each page belongs, and so frees those of a long value without reading
#: each to see which is next. Retention reads a third of what it would read. A file keeps what it has.
_PAGES_KNOWN = "PRAGMA auto_vacuum = INCREMENTAL"
_SQLITE_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    # An outcome leaves Redis once its transaction has returned: it must be on the disk by then.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    # The recorder touches thousands of pages in a transaction: 64 MiB hold them, and a log of
    # 16 MiB lets pages that are written often be copied back once.
    "PRAGMA cache_size = -65536",
    # Every connection has such a cache: from 96 MiB on, all of the process's, each reuses its own pages.
    "PRAGMA soft_heap_limit = 100663296",
    "PRAGMA wal_autocheckpoint = 4000",
)
_WRITES, _LASTS = "siem_writes", "siem_lasts"
#: SQLAlchemy's `pool_size`.
_KEPT = 5
#: Bound values of one SQLite statement: older releases take 999.
_MOST_VALUES = 900


def open_ledger(url: str, *, connections: int = 15) -> Engine:
    """Return an engine for an SQLAlchemy URL of SQLite or PostgreSQL. Connects when first used.

    Of `connections` at once, five are kept while they are not needed.

    The file of SQLite is made here, readable by its owner alone, its folder as well. Raises
    InvalidSetting for a URL that cannot be a ledger's, LedgerUnavailable when the file cannot be made.
    """
    parsed = read_address(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, connections)
    address, arguments = postgres_arguments(parsed)
    return create_engine(
        address,
        pool_pre_ping=True,
        max_overflow=connections - _KEPT,
        hide_parameters=True,
        connect_args=arguments,
    )


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that only reads; on SQLite it neither waits for writers nor hinders them."""
    with as_outage(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine, *, on_disk: bool = True) -> Iterator[Connection]:
    """Open a transaction that writes: committed when the block ends well, else rolled back.

    On SQLite it takes the write lock at once. One that read first and wanted the lock later would be
    refused ("database is locked") whenever another process had written in between.
    """
    with as_outage(engine), engine.connect() as connection:
        connection.execution_options(**{_WRITES: True, _LASTS: on_disk})
        with connection.begin():
            yield connection


def removing(engine: Engine) -> AbstractContextManager[Connection]:
    """Open a transaction that removes what is old: as `writing` does, but SQLite does not wait for the disk.

    After a loss of power the latest of these may not have happened; what was written before is all there.
    """
    return writing(engine, on_disk=False)


def chunks(values: Collection[_Value], most: int = _MOST_VALUES) -> Iterator[list[_Value]]:
    """Yield the values in lists, each short enough to be bound in one statement, or of `most` values."""
    left = list(values)
    for start in range(0, len(left), most):
        yield left[start : start + most]


def distinct_values(
    connection: Connection, column: ColumnElement[Any], *conditions: ColumnElement[bool] | TextClause
) -> list[Any]:
    """Return the values that a column has, hopping from one to the next in its index."""
    hops = select(func.min(column).label("value")).where(*conditions).cte("hops", recursive=True)
    following = select(func.min(column)).where(column > hops.c.value, *conditions)
    hops = hops.union_all(select(following.scalar_subquery()).where(hops.c.value.is_not(None)))
    return list(connection.execute(select(hops.c.value).where(hops.c.value.is_not(None))).scalars())


def _open_sqlite(url: URL, connections: int) -> Engine:
    path = Path(url.database or "")
    try:
        _make_file(path)
    except OSError as error:
        raise unmade_file(path, error) from error
    try:
        # The connection that was used last is used next: its cache is filled, and others stay small.
        engine = create_engine(
            url, max_overflow=connections - _KEPT, pool_use_lifo=True, hide_parameters=True
        )
    except ValueError:
        raise InvalidSetting(
            SETTING, "has an option whose value SQLite cannot read", "leave it out"
        ) from None
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make_file(path: Path) -> None:
    """Make the file before SQLite does, because SQLite would let every user read it.

    A file that is there is not opened: closing it again would drop the locks that this process
    holds on it through SQLite (see "How To Corrupt An SQLite Database File", section 2.2).
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # sqlite3 must not begin transactions by itself: _begin_sqlite does
    connection.execute(_PATIENCE).close()
    if connection.execute("PRAGMA page_count").fetchone() == (0,):
        connection.execute(_PAGES_KNOWN).close()
    for setting in _SQLITE_SETTINGS:
        connection.execute(setting).close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    lasts = options.get(_LASTS, True)
    if lasts is not connection.info.get(_LASTS, True):
        # It is a matter of the connection, and can be set outside of a transaction alone.
        connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if lasts else 'NORMAL'}")
        connection.info[_LASTS] = lasts
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(_WRITES) else "BEGIN")


def database_now_ms(engine: Engine) -> int | None:
    """Return the time by PostgreSQL's clock, in milliseconds since 1970 UTC; SQLite has none but this host's.

    Raises LedgerUnavailable.
    """
    if engine.dialect.name != "postgresql":
        return None
    with reading(engine) as connection:
        seconds = connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one()
    return round(float(seconds) * 1000)


def ledger_id(engine: Engine) -> str:
    """Return it. Raises LedgerUnavailable, SchemaOutdated."""
    with reading(engine) as connection:
        found = connection.execute(select(ledger_identity.c.id)).scalars().first()
    if found is None:
        raise SchemaOutdated("the ledger has no id (its table ledger_identity is empty): restore that row")
    return str(found)


def check_ledger_writes(engine: Engine) -> None:
    """Write the id once more, and commit it. Raises LedgerUnavailable while the database takes no writes."""
    with writing(engine) as connection:
        connection.execute(update(ledger_identity).values(id=ledger_identity.c.id))
