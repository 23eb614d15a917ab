"""Reads SIEM_DATABASE_URL: which database, and how to connect to it.

Output: a URL for SQLAlchemy and the arguments of the driver. What cannot work is refused here, by the
setting's name, before anything connects; no complaint repeats the URL, which may hold a password.
"""

import re
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from worker.model.errors import InvalidSetting

SETTING = "SIEM_DATABASE_URL"
_HINT = "give postgresql+psycopg://user:password@host:5432/name or sqlite:////path/to/ledger.sqlite3"

_POSTGRES_DRIVER = "postgresql+psycopg"

#: Seconds to wait for PostgreSQL to take a connection.
_CONNECT_TIMEOUT = 5
#: After this many milliseconds without an answer from its machine, a connection counts as dead.
_SILENCE_MS = 30_000

#: After so many executions psycopg prepares a statement on the server; None: never.
_PREPARE = "prepare_threshold"
#: What psycopg or libpq reads as a number.
_NUMBERS = {
    *(_PREPARE, "connect_timeout", "tcp_user_timeout"),
    *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
}
#: SQLAlchemy lets these be given several times, one for each server.
_MANY = {"host", "port"}
#: What Python's sqlite3 takes; with `uri=true`, SQLite reads the others itself.
_SQLITE_OPTIONS = {
    "uri",
    "timeout",
    "isolation_level",
    "detect_types",
    "check_same_thread",
    "cached_statements",
}


def read_address(url: str) -> URL:
    """Return the URL of an SQLite file, or of a PostgreSQL with the driver that we ship.

    Raises InvalidSetting for one that cannot be a ledger's.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Without the cause: it may repeat the URL, which may hold a password.
        raise InvalidSetting(SETTING, "is not the URL of a database", _HINT) from None
    match parsed.drivername:
        case "sqlite" | "sqlite+pysqlite":
            return _checked_sqlite(parsed)
        case "postgres" | "postgresql" | "postgresql+psycopg":
            return _checked_postgres(parsed.set(drivername=_POSTGRES_DRIVER))
        case other:
            raise InvalidSetting(SETTING, f"names {other}, which is not supported", _HINT)


def postgres_arguments(url: URL) -> tuple[URL, dict[str, Any]]:
    """Return the URL and the arguments of psycopg, which do not stand in it; those in it win.

    No statement is prepared on the server unless the URL asks for it: behind a pooler in transaction mode,
    the next transaction may meet a session that has another statement of that name, or none.
    """
    wanted: dict[str, Any] = {
        "connect_timeout": _CONNECT_TIMEOUT,
        "tcp_user_timeout": _SILENCE_MS,
        "application_name": "siem",
    }
    arguments = {name: value for name, value in wanted.items() if name not in url.query}
    threshold = url.query.get(_PREPARE)
    # The values of a URL are text, and psycopg counts with this one.
    arguments[_PREPARE] = None if threshold is None else int(str(threshold))
    return url.difference_update_query([_PREPARE]), arguments


def _checked_sqlite(url: URL) -> URL:
    if not url.database or ":memory:" in url.database:
        raise InvalidSetting(SETTING, "names no file, and several processes share it", _HINT)
    unknown = set(url.query) - _SQLITE_OPTIONS
    if unknown and "uri" not in url.query:
        raise InvalidSetting(
            SETTING, f"has an option {min(unknown)}, which SQLite does not know", "leave it out"
        )
    return url


def _checked_postgres(url: URL) -> URL:
    for name, value in url.query.items():
        if isinstance(value, tuple) and name not in _MANY:
            raise InvalidSetting(SETTING, f"has {name} more than once", "give it once")
        if name in _NUMBERS and not re.fullmatch(r"[0-9]{1,9}", str(value)):
            raise InvalidSetting(SETTING, f"has {name}, which is no whole number there", "give 0 or more")
        if name not in _NUMBERS | _MANY:
            _check_option(name)
    return url


def _check_option(name: str) -> None:
    """Raise InvalidSetting unless libpq knows the option (PostgreSQL's manual, section 34.1.2)."""
    from psycopg import ProgrammingError  # noqa: PLC0415 - slow to import, and SQLite needs none of it
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - the same

    try:
        make_conninfo(**{name: ""})
    except ProgrammingError:
        raise InvalidSetting(
            SETTING,
            f"has an option {name}, which PostgreSQL's client does not know",
            "leave it out, or see PostgreSQL's list of connection parameters",
        ) from None
