"""Turns what the database drivers raise into errors of ours with a hint.

Input: any SQLAlchemy error. Output: LedgerUnavailable with its cause when the database does not answer
or refuses, SchemaOutdated when its tables are not ours; an error of the data that was to be written, or of
our SQL, as it is. No message repeats a password. The tables here are the one place that says what each code
and saying of a database means, with a hint.
"""

import errno
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, Engine, exc

from worker.model.errors import LedgerUnavailable, SchemaOutdated
from worker.model.outages import OutageCause

#: SQLSTATE of PostgreSQL (its manual, appendix A): undefined column, undefined table.
_MISSING_STATES = {"42703", "42P01"}
_MISSING_WORDS = ("no such table", "no such column", "has no column named")
#: Classes of SQLSTATE that may be about the values of one statement: data exception, integrity constraint
#: violation. All others are about the server, the role, the session or the tables.
_DATA_CLASSES = ("22", "23")
#: SQLSTATE syntax_error: our SQL is wrong.
_SYNTAX = "42601"
#: SQLSTATE lock_not_available, also what `lock_timeout` ends with; and deadlock_detected.
_LOCK_STATES = {"55P03", "40P01"}
#: How sqlite3 says that it cannot take a value: it has no error code for that.
_UNBINDABLE = "binding parameter"
#: Bytes of the shortest `-shm` file of SQLite.
_SHARED_MEMORY = 32_768

_Cause = OutageCause
_Entry = TypeVar("_Entry")

#: What each result code of SQLite means (sqlite.org/rescode.html).
_SQLITE_CAUSES = {
    sqlite3.SQLITE_PERM: _Cause.PERMISSION_DENIED,
    sqlite3.SQLITE_BUSY: _Cause.LOCKED,
    sqlite3.SQLITE_LOCKED: _Cause.LOCKED,
    sqlite3.SQLITE_READONLY: _Cause.READ_ONLY,
    sqlite3.SQLITE_IOERR: _Cause.DISK_FAILS,
    sqlite3.SQLITE_CORRUPT: _Cause.DAMAGED,
    sqlite3.SQLITE_FULL: _Cause.DISK_FULL,
    sqlite3.SQLITE_CANTOPEN: _Cause.UNREACHABLE,
    sqlite3.SQLITE_NOTADB: _Cause.DAMAGED,
}
#: What the system says where the file, or its folder, cannot be made.
_OS_CAUSES = {
    errno.ENOSPC: _Cause.DISK_FULL,
    errno.EDQUOT: _Cause.DISK_FULL,
    errno.EROFS: _Cause.READ_ONLY,
    errno.EACCES: _Cause.PERMISSION_DENIED,
    errno.EPERM: _Cause.PERMISSION_DENIED,
}
_OTHER_PLACE = "or let SIEM_DATABASE_URL name another place"
_SQLITE_HINTS = {
    _Cause.LOCKED: "another process has been writing for more than ten seconds: wait, or find it",
    _Cause.READ_ONLY: "see that this user may write to the file and to its folder, and that the file system "
    "is not mounted read-only",
    _Cause.DISK_FULL: "free some space on its disk, or raise the quota",
    _Cause.DISK_FAILS: "see that its disk works, and the system's log",
    _Cause.UNREACHABLE: "see that the folder exists and that this user may write to it and to the file",
    _Cause.PERMISSION_DENIED: f"see that this user may write to its folder, {_OTHER_PLACE}",
    _Cause.DAMAGED: "move that file away and restore it from a backup, "
    "or let SIEM_DATABASE_URL name another one",
}
#: A file does not answer, and refuses nothing.
_VAGUE = {_Cause.UNREACHABLE, _Cause.REFUSED}
_SQLITE_HINT = "see that its disk works"

#: What SQLSTATE means (PostgreSQL's manual, appendix A), by its beginning; the longest that fits counts.
_STATES = {
    "08": _Cause.UNREACHABLE,
    "25006": _Cause.READ_ONLY,
    "28": _Cause.LOGIN_REFUSED,
    "3D": _Cause.UNKNOWN_DATABASE,
    "42501": _Cause.PERMISSION_DENIED,
    "53100": _Cause.DISK_FULL,
    "53300": _Cause.TOO_MANY_CONNECTIONS,
    "57P01": _Cause.STARTING,
    "57P02": _Cause.STARTING,
    "57P03": _Cause.STARTING,
    "58": _Cause.DISK_FAILS,
    "XX001": _Cause.DAMAGED,
    "XX002": _Cause.DAMAGED,
}
#: The SQLSTATE of a connection that was cut is the reason for the cut, if it is one of these.
_CUTS = ("53", "57P", "58")
#: A login that fails has no SQLSTATE in libpq: what PostgreSQL, libpq and pgbouncer say. The first counts.
_SAYINGS = tuple(
    (re.compile(words, re.IGNORECASE), cause)
    for words, cause in (
        (r"no space left on device", _Cause.DISK_FULL),
        (r"read-only file system", _Cause.READ_ONLY),
        (r"too many (clients|connections)|connection slots|no more connections", _Cause.TOO_MANY_CONNECTIONS),
        (r"starting up|recovery mode|shutting down|not (yet )?accepting connections", _Cause.STARTING),
        # PostgreSQL's names have at most 63 bytes; unbounded, each beginning would be tried to the end.
        (r'database ".{1,100}" does not exist|no such database', _Cause.UNKNOWN_DATABASE),
        (r"permission denied for", _Cause.PERMISSION_DENIED),
        (
            r"authentication failed|no password|role .{1,100} does not exist|no such user",
            _Cause.LOGIN_REFUSED,
        ),
        (r"not permitted to log in|pg_hba\.conf", _Cause.LOGIN_REFUSED),
        (r"certificate|ssl error|support ssl|ssl was required", _Cause.TLS),
        (r"\bFATAL\b", _Cause.REFUSED),
    )
)

_UNPREPARED = (
    "take prepare_threshold out of SIEM_DATABASE_URL: a pooler in transaction mode forgets statements"
)
_LACK = "give the server more of what it lacks"
#: The hint for a refusal of PostgreSQL, by the beginning of its SQLSTATE; the longest that fits counts.
_STATE_HINTS = {
    "26": _UNPREPARED,
    "42P05": _UNPREPARED,
    "3F": "see that the search path of the role names the schema that holds the tables",
    "40": "it is tried again",
    "42501": "grant the role of SIEM_DATABASE_URL all rights on the tables, or make it their owner, as is "
    "needed after a restore under another role",
    "53000": _LACK,
    "53200": _LACK,
    "53400": _LACK,
    "55": "see what else works on the tables",
}
_HINTS = {
    _Cause.UNREACHABLE: "see that the server runs and that SIEM_DATABASE_URL is right",
    _Cause.STARTING: "wait until the server has started; its log says why it restarted",
    _Cause.DISK_FULL: "free some space on the server's disk",
    _Cause.DISK_FAILS: "see the server's log and its disk",
    _Cause.READ_ONLY: "let SIEM_DATABASE_URL name the primary, or end the read-only mode",
    _Cause.TOO_MANY_CONNECTIONS: "let the server take more connections (max_connections, or the role's own "
    "limit), or put a pooler before it",
    _Cause.LOGIN_REFUSED: "see that SIEM_DATABASE_URL names a role that may connect, and its password",
    _Cause.PERMISSION_DENIED: "let the role of SIEM_DATABASE_URL connect to that database",
    _Cause.UNKNOWN_DATABASE: "create that database, or let SIEM_DATABASE_URL name another one",
    _Cause.TLS: "see sslmode and sslrootcert in SIEM_DATABASE_URL, and the server's certificate",
    _Cause.DAMAGED: "restore it from a backup",
}
_HINT = "see the server's log"


@contextmanager
def as_outage(engine: Engine) -> Iterator[None]:
    """Run the block; what the database refuses in it is raised as LedgerUnavailable or SchemaOutdated.

    DBAPIError passes if it is about the data of a statement (`is_about_data`) or our SQL is wrong.
    """
    try:
        yield
    except exc.DBAPIError as error:
        if is_about_missing_tables(error):
            words = f"the ledger's tables are not those of this release ({reason_of(error)})"
            raise SchemaOutdated(f"{words}: run `siem db upgrade`") from error
        if not (is_about_data(error) or _is_about_sql(error)):
            raise ledger_unavailable(engine, error) from error
        raise
    except exc.TimeoutError as error:
        raise _refusal(engine.url, _Cause.UNREACHABLE, "every connection is in use", "") from error


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


def is_about_missing_tables(error: exc.DBAPIError) -> bool:
    """Whether the database knows a table, or a column, not by that name."""
    return _state(error) in _MISSING_STATES or any(words in str(error.orig) for words in _MISSING_WORDS)


def ledger_unavailable(engine: Engine, error: exc.SQLAlchemyError) -> LedgerUnavailable:
    """Return what to raise when the database does not do as asked: the reason, and a hint."""
    if engine.dialect.name == "sqlite":
        return _unusable_file(engine.url, error)
    if not isinstance(error, exc.DBAPIError):
        return _refusal(engine.url, _Cause.REFUSED, _first_line(error), "")
    reason, state = _first_line(error.orig), _state(error) or ""
    if error.connection_invalidated and not state.startswith(_CUTS):
        return _refusal(engine.url, _Cause.UNREACHABLE, reason, "")
    if state:
        return _refusal(engine.url, _by_beginning(_STATES, state, _Cause.REFUSED), reason, state)
    return _failed_login(engine.url, reason)


def unmade_file(path: Path, error: OSError) -> LedgerUnavailable:
    """Return what to raise when the file of SQLite cannot be made."""
    cause = _OS_CAUSES.get(error.errno or 0, _Cause.UNREACHABLE)
    hint = _SQLITE_HINTS[cause if cause is not _Cause.UNREACHABLE else _Cause.PERMISSION_DENIED]
    words = f"the ledger {path} cannot be made ({error.strerror})"
    return LedgerUnavailable(f"{words}: {hint}", cause)


def is_lock_conflict(error: LedgerUnavailable) -> bool:
    """Whether another transaction held a table or row: beyond `lock_timeout`, or in a deadlock."""
    return isinstance(error.__cause__, exc.DBAPIError) and _state(error.__cause__) in _LOCK_STATES


def reason_of(error: exc.DBAPIError) -> str:
    """Return the first line of what the database says; the others may repeat values."""
    return _first_line(error.orig)


def _state(error: exc.DBAPIError) -> str | None:
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state


def _is_about_sql(error: exc.DBAPIError) -> bool:
    # SQLite's word for wrong SQL, although its driver calls it an OperationalError.
    return _state(error) == _SYNTAX or getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


def _unusable_file(url: URL, error: exc.SQLAlchemyError) -> LedgerUnavailable:
    complaint = error.orig if isinstance(error, exc.DBAPIError) else error
    # The lower byte is the kind, the others say more (sqlite.org/rescode.html#extrc).
    code = getattr(complaint, "sqlite_errorcode", 0) & 0xFF
    cause = _SQLITE_CAUSES.get(code, _Cause.REFUSED)
    if cause in {_Cause.DISK_FAILS, _Cause.UNREACHABLE} and _is_full(Path(url.database or "").parent):
        cause = _Cause.DISK_FULL
    ledger = f"the ledger {url.database}"
    words = f"{ledger} cannot be used" if cause in _VAGUE else cause.of(ledger)
    hint = _SQLITE_HINTS.get(cause, _SQLITE_HINT)
    return LedgerUnavailable(f"{words} ({_first_line(complaint)}): {hint}", cause)


def _is_full(folder: Path) -> bool:
    """Whether the disk has no room for a page of SQLite's shared memory, which it then cannot make."""
    try:
        return shutil.disk_usage(folder).free < _SHARED_MEMORY
    except OSError:
        return False


def _failed_login(url: URL, reason: str) -> LedgerUnavailable:
    """Judge what was said before there was a session: by words, for want of anything else."""
    cause = next((one for words, one in _SAYINGS if words.search(reason)), None)
    return _refusal(url, cause or _Cause.UNREACHABLE, reason, "")


def _refusal(url: URL, cause: OutageCause, reason: str, state: str) -> LedgerUnavailable:
    words = f"{reason}; SQLSTATE {state}" if state else reason
    hint = _by_beginning(_STATE_HINTS, state, _HINTS.get(cause, _HINT))
    return LedgerUnavailable(f"{cause.of(_name(url))} ({words}): {hint}", cause)


def _by_beginning(table: Mapping[str, _Entry], state: str, default: _Entry) -> _Entry:
    beginning = max((start for start in table if state.startswith(start)), key=len, default=None)
    return default if beginning is None else table[beginning]


def _name(url: URL) -> str:
    return f"the database {_place(url)}"


def _place(url: URL) -> str:
    """Name the server, or the folder of its socket, and the database."""
    hosts = url.host or ",".join(url.normalized_query.get("host", ())) or "localhost"
    port = url.port or ",".join(url.normalized_query.get("port", ())) or 5432
    return f"{hosts}:{port}/{url.database or ''}"


def _first_line(complaint: object) -> str:
    return str(complaint).strip().partition("\n")[0]
