"""Opens the ledger and keeps its tables up to date.

Comes in: the ledger's URL. Goes out: an engine, and transactions on it. Several processes may use
one SQLite file at once, and several may upgrade one ledger at once; whatever the database refuses
is raised as LedgerUnavailable or SchemaOutdated.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text

from worker.ledger.address import SETTING, postgres_arguments, read_address
from worker.ledger.driver_errors import as_outage, is_lock_conflict, unmade_file
from worker.ledger.migrations.revisions import (
    Revision,
    Revisions,
    Tables,
    own_steps,
    read_tables,
    require_readable_tables,
)
from worker.ledger.migrations.runner import climb, descend
from worker.model.errors import InvalidSetting, LedgerUnavailable

#: SQLite waits this long for another process's transaction before it says "locked".
_SQLITE_SETTINGS = (
    "PRAGMA busy_timeout = 10000",
    "PRAGMA journal_mode = WAL",
    # An outcome leaves Redis once its transaction has returned: it must be on the disk by then.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    # The recorder touches thousands of pages in a transaction: 64 MiB hold them, and a log of
    # 16 MiB lets pages that are written often be copied back once.
    "PRAGMA cache_size = -65536",
    "PRAGMA wal_autocheckpoint = 4000",
)
_WRITES = "siem_writes"
#: SQLAlchemy's `pool_size`.
_KEPT = 5

#: Names the lock that PostgreSQL gives to one upgrade at a time; any number that nobody else uses.
_UPGRADE_LOCK = 0x5349_454D_0001
#: The longest wait for a table that another transaction holds, in milliseconds.
_TABLE_WAIT_MS = 3000
#: Between the tries to get hold of it, in seconds.
_PAUSES = (1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
#: Alembic keeps the migration that runs in globals, so threads must take turns.
_upgrading = threading.Lock()

log = logging.getLogger(__name__)


def open_ledger(url: str, *, connections: int = 15) -> Engine:
    """Return an engine for an SQLAlchemy URL of SQLite or PostgreSQL. Connects when first used.

    Of `connections` at once, five are kept while nobody needs them.

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
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that writes: committed when the block ends well, else rolled back.

    On SQLite it takes the write lock at once. One that read first and wanted the lock later would be
    refused ("database is locked") whenever another process had written in between.
    """
    with as_outage(engine), engine.connect() as connection:
        connection.execution_options(**{_WRITES: True})
        with connection.begin():
            yield connection


def tables_of(engine: Engine) -> Tables | None:
    """Return what the database says of its tables; None when it has none yet."""
    with reading(engine) as connection:
        return read_tables(connection, own_steps())


def require_readable_schema(engine: Engine) -> Tables:
    """Return what the database says of its tables if this release can work with them.

    They may be those of a newer release. Raises SchemaOutdated, with what to do about it.
    """
    return require_readable_tables(tables_of(engine), own_steps())


def upgrade_tables(engine: Engine, steps: Revisions | None = None) -> list[Revision]:
    """Take the steps that the tables lack, all of them or none; return them.

    Any number of processes may call it at once. Tables of a newer release with which this one can work are
    left alone; raises SchemaOutdated for others.
    """
    return _change_tables(engine, lambda connection: climb(connection, steps or own_steps()))


def downgrade_tables(engine: Engine, revision: str, steps: Revisions | None = None) -> list[Revision]:
    """Undo the steps above a revision, all of them or none; return them, the last one first.

    What only these steps made room for is lost. Raises NotFoundError for a revision that is none,
    SchemaOutdated when only a newer release can do it.
    """
    return _change_tables(engine, lambda connection: descend(connection, steps or own_steps(), revision))


def _change_tables(engine: Engine, change: Callable[[Connection], list[Revision]]) -> list[Revision]:
    """Change the tables in one transaction, one process at a time.

    On PostgreSQL whoever wants a table waits behind the change that waits for it: so a change waits for a few
    seconds only, lets the others go first, and tries again. So it does after a deadlock: whoever writes to
    several tables may take them in another order.
    """
    for pause in (*_PAUSES, None):
        try:
            with _upgrading, writing(engine) as connection:
                if engine.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _UPGRADE_LOCK})
                    connection.execute(text(f"SET LOCAL lock_timeout = '{_TABLE_WAIT_MS}ms'"))
                return change(connection)
        except LedgerUnavailable as error:
            if pause is None or not is_lock_conflict(error):
                raise
            log.warning(
                "another transaction holds a table that is to be changed: trying again in %.0f s", pause
            )
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _open_sqlite(url: URL, connections: int) -> Engine:
    path = Path(url.database or "")
    try:
        _make_file(path)
    except OSError as error:
        raise unmade_file(path, error) from error
    try:
        engine = create_engine(url, max_overflow=connections - _KEPT, hide_parameters=True)
    except ValueError:
        raise InvalidSetting(
            SETTING, "has an option whose value SQLite cannot read", "leave it out"
        ) from None
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make_file(path: Path) -> None:
    """Make the file before SQLite does, because SQLite would let everybody read it.

    A file that is there is not opened: closing it again would drop the locks that this process
    holds on it through SQLite (see "How To Corrupt An SQLite Database File", section 2.2).
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # sqlite3 must not begin transactions by itself: _begin_sqlite does
    for setting in _SQLITE_SETTINGS:
        connection.execute(setting).close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
