"""Turns what the database drivers raise into errors of ours that tell a person what to do.

Comes in: any SQLAlchemy error. Goes out: LedgerUnavailable when the database does not answer,
SchemaOutdated when its tables are not ours, and anything else, being a fault of this program,
as it is. No message repeats a password.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Engine, exc

from worker.model.errors import LedgerUnavailable, SchemaOutdated

#: SQLSTATE of PostgreSQL: undefined column, undefined table.
_MISSING_STATES = {"42703", "42P01"}
_MISSING_WORDS = ("no such table", "no such column", "has no column named")

#: What SQLite says, and what mends it.
_SQLITE_REMEDIES = {
    "locked": "another process has been writing for more than ten seconds: wait, or find it",
    "unable to open": "see that the folder exists and that this user may write to it and to the file",
    "readonly": "see that this user may write to the file and to its folder",
    "full": "free some space on its disk",
    "not a database": "move that file away, or let SIEM_DATABASE_URL name another one",
    "malformed": "restore it from a backup",
}
_SQLITE_REMEDY = "see that its disk works"
_SERVER_REMEDY = "see that the server runs and that SIEM_DATABASE_URL is right"


@contextmanager
def told_as_outage(engine: Engine) -> Iterator[None]:
    """Run the block; what the database refuses in it is raised as LedgerUnavailable or SchemaOutdated."""
    try:
        yield
    except exc.DBAPIError as error:
        if _is_about_missing_tables(error):
            raise SchemaOutdated from error
        if _is_outage(error):
            raise LedgerUnavailable(_words(engine.url, error.orig)) from error
        raise
    except exc.TimeoutError as error:
        raise LedgerUnavailable(_words(engine.url, "every connection is in use")) from error


def _is_about_missing_tables(error: exc.DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    return state in _MISSING_STATES or any(words in str(error.orig) for words in _MISSING_WORDS)


def _is_outage(error: exc.DBAPIError) -> bool:
    """Whether the database is to blame: InternalError is PostgreSQL's while it is a read-only standby."""
    if error.connection_invalidated:
        return True
    if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
        return False  # SQLite's word for wrong SQL, although its driver calls it an OperationalError
    # SQLite says plain DatabaseError of a file that is broken or no database.
    unspecific = type(error) is exc.DatabaseError
    return unspecific or isinstance(error, exc.OperationalError | exc.InterfaceError | exc.InternalError)


def _words(url: URL, complaint: object) -> str:
    reason = str(complaint).strip().partition("\n")[0]
    if url.get_backend_name() == "sqlite":
        remedy = next((mend for word, mend in _SQLITE_REMEDIES.items() if word in reason), _SQLITE_REMEDY)
        return f"the ledger {url.database} cannot be used ({reason}): {remedy}"
    place = f"{url.host or 'localhost'}:{url.port or 5432}/{url.database or ''}"
    return f"the database {place} does not answer ({reason}): {_SERVER_REMEDY}"
