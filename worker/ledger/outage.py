"""Turns what the database drivers raise into errors of ours that tell a person what to do.

Comes in: any SQLAlchemy error. Goes out: LedgerUnavailable when the database does not answer or refuses,
SchemaOutdated when its tables are not ours; an error of the data that was to be written, or of our SQL, as
it is. No message repeats a password.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Engine, exc

from worker.model.errors import LedgerUnavailable, SchemaOutdated

#: SQLSTATE of PostgreSQL (its manual, appendix A): undefined column, undefined table.
_MISSING_STATES = {"42703", "42P01"}
_MISSING_WORDS = ("no such table", "no such column", "has no column named")
#: Classes of SQLSTATE that may be about the values of one statement: data exception, integrity constraint
#: violation. All others are about the server, the role, the session or the tables.
_DATA_CLASSES = ("22", "23")
#: SQLSTATE syntax_error: our SQL is wrong.
_SYNTAX = "42601"
#: SQLSTATE lock_not_available: also what `lock_timeout` ends with.
_LOCK_TIMEOUT = "55P03"
#: How sqlite3 says that it cannot take a value: it has no error code for that.
_UNBINDABLE = "binding parameter"

#: What SQLite says, and what mends it.
_SQLITE_HINTS = {
    "locked": "another process has been writing for more than ten seconds: wait, or find it",
    "unable to open": "see that the folder exists and that this user may write to it and to the file",
    "readonly": "see that this user may write to the file and to its folder",
    "full": "free some space on its disk",
    "not a database": "move that file away, or let SIEM_DATABASE_URL name another one",
    "malformed": "restore it from a backup",
}
_SQLITE_HINT = "see that its disk works"
_SERVER_HINT = "see that the server runs and that SIEM_DATABASE_URL is right"

_UNPREPARED = (
    "take prepare_threshold out of SIEM_DATABASE_URL: a pooler in transaction mode forgets statements"
)

#: What mends a refusal of PostgreSQL, by the beginning of its SQLSTATE; the longest that fits counts.
_HINTS = {
    "26": _UNPREPARED,
    "42P05": _UNPREPARED,
    "25006": "let SIEM_DATABASE_URL name the primary, or end the read-only mode",
    "28": "see that SIEM_DATABASE_URL names a role that may connect, and its password",
    "3D": "create that database, or let SIEM_DATABASE_URL name another one",
    "3F": "see that the search path of the role names the schema that holds the tables",
    "40": "it is tried again",
    "42501": "grant the role of SIEM_DATABASE_URL all rights on the tables, or make it their owner, as is "
    "needed after a restore under another role",
    "53100": "free some space on the server's disk",
    "53300": "let the server take more connections (max_connections), or put a pooler before it",
    "53": "give the server more of what it lacks",
    "55": "see what else works on the tables",
    "57P03": "wait until the server has started",
}
_HINT = "see the server's log"


@contextmanager
def told_as_outage(engine: Engine) -> Iterator[None]:
    """Run the block; what the database refuses in it is raised as LedgerUnavailable or SchemaOutdated.

    DBAPIError passes if it is about the data of a statement (`is_about_data`) or our SQL is wrong.
    """
    try:
        yield
    except exc.DBAPIError as error:
        if _is_about_missing_tables(error):
            told = f"the ledger's tables are not those of this release ({reason_of(error)})"
            raise SchemaOutdated(f"{told}: run `siem db upgrade`") from error
        if not (is_about_data(error) or _is_about_sql(error)):
            raise unavailable(engine, error) from error
        raise
    except exc.TimeoutError as error:
        raise LedgerUnavailable(_words(engine.url, "every connection is in use", None)) from error


def is_about_data(error: exc.DBAPIError) -> bool:
    """Whether the database complains of the values of this statement, and not of anything else."""
    if error.connection_invalidated:
        return False
    if state := _state(error):
        return state.startswith(_DATA_CLASSES)
    if _UNBINDABLE in str(error.orig):
        return True
    # Without SQLSTATE: SQLite, or psycopg that refuses a value before it sends it.
    return isinstance(error, exc.DataError | exc.IntegrityError)


def unavailable(engine: Engine, error: exc.SQLAlchemyError) -> LedgerUnavailable:
    """Return what to raise when the database does not do as asked: the reason, and what mends it."""
    if not isinstance(error, exc.DBAPIError):
        return LedgerUnavailable(_words(engine.url, error, None))
    # A connection that was cut has a SQLSTATE as well, but it is no refusal.
    state = None if error.connection_invalidated else _state(error)
    return LedgerUnavailable(_words(engine.url, error.orig, state))


def is_lock_timeout(error: LedgerUnavailable) -> bool:
    """Whether another transaction held a table or row for longer than `lock_timeout` allows."""
    return isinstance(error.__cause__, exc.DBAPIError) and _state(error.__cause__) == _LOCK_TIMEOUT


def reason_of(error: exc.DBAPIError) -> str:
    """Return the first line of what the database says; the others may repeat values."""
    return _first_line(error.orig)


def _state(error: exc.DBAPIError) -> str | None:
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state


def _is_about_missing_tables(error: exc.DBAPIError) -> bool:
    return _state(error) in _MISSING_STATES or any(words in str(error.orig) for words in _MISSING_WORDS)


def _is_about_sql(error: exc.DBAPIError) -> bool:
    # SQLite's word for wrong SQL, although its driver calls it an OperationalError.
    return _state(error) == _SYNTAX or getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


def _words(url: URL, complaint: object, state: str | None) -> str:
    reason = _first_line(complaint)
    if url.get_backend_name() == "sqlite":
        hint = next((mend for word, mend in _SQLITE_HINTS.items() if word in reason), _SQLITE_HINT)
        return f"the ledger {url.database} cannot be used ({reason}): {hint}"
    place = _place(url)
    if state is None:
        return f"the database {place} does not answer ({reason}): {_SERVER_HINT}"
    hint = max((start for start in _HINTS if state.startswith(start)), key=len, default="")
    return f"the database {place} refuses ({reason}; SQLSTATE {state}): {_HINTS.get(hint, _HINT)}"


def _place(url: URL) -> str:
    """Name the server, or the folder of its socket, and the database."""
    hosts = url.host or ",".join(url.normalized_query.get("host", ())) or "localhost"
    port = url.port or ",".join(url.normalized_query.get("port", ())) or 5432
    return f"{hosts}:{port}/{url.database or ''}"


def _first_line(complaint: object) -> str:
    return str(complaint).strip().partition("\n")[0]
