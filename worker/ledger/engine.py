"""Opens the ledger and keeps its tables up to date.

Comes in: the ledger's URL. Goes out: an engine, and transactions on it. Several processes may use
one SQLite file at once, and several may upgrade one ledger at once; whatever the database refuses
is raised as LedgerUnavailable or SchemaOutdated.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, text

from worker.ledger.address import SETTING, postgres_arguments, read_address
from worker.ledger.outage import told_as_outage
from worker.model.errors import InvalidSetting, LedgerUnavailable, SchemaOutdated

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

#: Names the lock that PostgreSQL gives to one upgrade at a time; any number that nobody else uses.
_UPGRADE_LOCK = 0x5349_454D_0001
#: Alembic keeps the migration that runs in globals, so threads must take turns.
_upgrading = threading.Lock()


def open_ledger(url: str) -> Engine:
    """Return an engine for an SQLAlchemy URL of SQLite or PostgreSQL. Connects when first used.

    The file of SQLite is made here, readable by its owner alone, its folder as well. Raises
    InvalidSetting for a URL that cannot be a ledger's, LedgerUnavailable when the file cannot be made.
    """
    parsed = read_address(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed)
    address, arguments = postgres_arguments(parsed)
    return create_engine(address, pool_pre_ping=True, hide_parameters=True, connect_args=arguments)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that only reads; on SQLite it neither waits for writers nor hinders them."""
    with told_as_outage(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that writes: committed when the block ends well, else rolled back.

    On SQLite it takes the write lock at once. One that read first and wanted the lock later would be
    refused ("database is locked") whenever another process had written in between.
    """
    with told_as_outage(engine), engine.connect() as connection:
        connection.execution_options(**{_WRITES: True})
        with connection.begin():
            yield connection


def schema_is_current(engine: Engine) -> bool:
    """Whether the tables are those of this release."""
    return _revision(engine) == _scripts().get_current_head()


def require_current(engine: Engine) -> None:
    """Raise SchemaOutdated, with what to do about it, unless the tables are those of this release."""
    if not schema_is_current(engine):
        raise _outdated(_revision(engine))


def upgrade(engine: Engine) -> None:
    """Bring the tables to this release, whole or not at all; changes nothing when they are already.

    Any number of processes may call it at once. Raises SchemaOutdated when a newer release made them.
    """
    with _upgrading, writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _UPGRADE_LOCK})
        present = MigrationContext.configure(connection).get_current_revision()
        if present is not None and not _is_known(present):
            raise _outdated(present)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _open_sqlite(url: URL) -> Engine:
    path = Path(url.database or "")
    try:
        _make_file(path)
    except OSError as error:
        raise LedgerUnavailable(
            f"the ledger {path} cannot be made ({error.strerror}): "
            "see that this user may write to its folder, or let SIEM_DATABASE_URL name another place"
        ) from error
    try:
        engine = create_engine(url, hide_parameters=True)
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


def _config() -> Config:
    config = Config()
    folder = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _revision(engine: Engine) -> str | None:
    with reading(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _is_known(revision: str) -> bool:
    return any(script.revision == revision for script in _scripts().walk_revisions())


def _outdated(revision: str | None) -> SchemaOutdated:
    if revision is None:
        return SchemaOutdated("the ledger has no tables yet: run `siem db upgrade`")
    if _is_known(revision):
        return SchemaOutdated()
    return SchemaOutdated(
        f"the ledger's tables are those of a newer release (revision {revision}): install that release"
    )
