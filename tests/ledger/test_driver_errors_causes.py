"""Why a database cannot be used: each cause is named as itself, with a hint."""

import os
import re
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trustme
from sqlalchemy import Engine, make_url, text

from tests.fleet import wait_until
from tests.ledger.entries import letter
from tests.ledger.postgres import postgres_server
from tests.small_disk import NEEDS_SMALL_DISK, fill, small_disk
from worker.ledger.engine import open_ledger, reading, writing
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.recording import record_entries
from worker.model.errors import LedgerUnavailable
from worker.model.outages import OutageCause

HEAVY = [("6-0", letter({f"evt_{number}": os.urandom(100_000) for number in range(50)}))]

FULL_DISK = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION USING ERRCODE = '53100', MESSAGE = 'could not extend file: No space left on device';
END $$
"""
NO_ROOM = "CREATE TRIGGER no_room BEFORE INSERT ON dead_letters FOR EACH ROW EXECUTE FUNCTION full_disk()"


def outage_of(url: str) -> LedgerUnavailable:
    """Ask the database of that URL for something; return how it fails."""
    engine = open_ledger(url)
    try:
        with pytest.raises(LedgerUnavailable) as raised, reading(engine) as connection:
            connection.execute(text("SELECT 1"))
    finally:
        engine.dispose()
    return raised.value


def outage_of_write(engine: Engine) -> LedgerUnavailable:
    """Record some megabytes; return how that fails."""
    with pytest.raises(LedgerUnavailable) as raised:
        record_entries(engine, [], HEAVY)
    return raised.value


def _run(url: str, *statements: str) -> None:
    engine = open_ledger(url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@contextmanager
def _roles(url: str) -> Iterator[None]:
    _run(url, "CREATE ROLE bounded LOGIN CONNECTION LIMIT 0", "CREATE ROLE outside NOLOGIN")
    try:
        yield
    finally:
        _run(url, "DROP ROLE bounded", "DROP ROLE outside")


@pytest.mark.parametrize(
    ("changes", "cause", "words"),
    [
        ({"database": "nowhere"}, OutageCause.UNKNOWN_DATABASE, "/nowhere does not exist .*create that"),
        ({"username": "nobody"}, OutageCause.LOGIN_REFUSED, "refuses the login .*names a role"),
        ({"username": "outside"}, OutageCause.LOGIN_REFUSED, "refuses the login .*names a role"),
        ({"username": "bounded"}, OutageCause.TOO_MANY_CONNECTIONS, "takes no more .*max_connections"),
    ],
)
def test_a_login_that_is_refused_is_no_absence(
    postgres_url: str, changes: dict[str, str], cause: OutageCause, words: str
) -> None:
    """A wrong name in the URL, or a limit, is named as such: the server answers."""
    with _roles(postgres_url):
        found = outage_of(make_url(postgres_url).set(**changes).render_as_string(hide_password=False))  # type: ignore[arg-type]  # names of columns

    assert found.cause is cause
    assert re.search(words, str(found))


def test_a_server_without_a_free_connection_says_so(postgres_url: str) -> None:
    """SQLSTATE 53300, which libpq gives in words alone."""
    url = make_url(postgres_url)
    with ExitStack() as held:
        while connection := _connection(str(url.query["host"]), str(url.database)):
            held.enter_context(closing(connection))
        found = outage_of(postgres_url)

    assert (found.cause, found.public) == (
        OutageCause.TOO_MANY_CONNECTIONS,
        "the database takes no more connections",
    )


def _connection(folder: str, database: str) -> "psycopg.Connection[Any] | None":
    try:
        return psycopg.connect(host=folder, user="postgres", dbname=database)
    except psycopg.OperationalError:
        return None


@contextmanager
def _open_to_all(folder: Path) -> Iterator[None]:
    folder.chmod(0o755)
    yield


def _await_server(url: str) -> None:
    """Wait until a server that panicked has recovered."""
    engine = open_ledger(url)

    def answers() -> bool:
        try:
            with reading(engine):
                return True
        except LedgerUnavailable:
            return False

    wait_until(answers, "the server has recovered")
    engine.dispose()


@contextmanager
def _answering(first: bytes, context: ssl.SSLContext | None) -> Iterator[int]:
    """Listen as a server does that answers the question for TLS (SSLRequest) with this byte."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    taken, _ = listener.accept()
                except OSError:
                    return
                with taken:
                    taken.settimeout(20)
                    taken.recv(8)
                    taken.sendall(first)
                    if context is not None:
                        try:
                            context.wrap_socket(taken, server_side=True)
                        except OSError:
                            continue

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_certificates_are_told_as_such(tmp_path: Path) -> None:
    """A server without TLS, and one whose certificate no authority has signed, are there."""
    trusted, other = trustme.CA(), trustme.CA()
    trusted.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    other.issue_cert("localhost").configure_cert(context)
    options = f"?sslmode=verify-full&sslrootcert={tmp_path / 'ca.pem'}"
    for first, served in ((b"N", None), (b"S", context)):
        with _answering(first, served) as port:
            found = outage_of(f"postgresql+psycopg://siem:pw@localhost:{port}/siem{options}")

        assert found.cause is OutageCause.TLS, str(found)
        assert f"TLS to the database localhost:{port}/siem fails" in str(found)
        assert found.public == "the database cannot be used at present"


def test_a_full_disk_of_tables_is_told(postgres_url: str) -> None:
    """SQLSTATE 53100 of a statement, from a real server, which goes on."""
    engine = open_ledger(postgres_url)
    upgrade_tables(engine)
    with writing(engine) as connection:
        connection.execute(text(FULL_DISK))
        connection.execute(text(NO_ROOM))
    found = outage_of_write(engine)
    engine.dispose()

    assert (found.cause, found.public) == (OutageCause.DISK_FULL, "the disk of the database is full")
    assert "free some space on the server's disk" in str(found)


@NEEDS_SMALL_DISK
@pytest.mark.slow
def test_a_full_disk_of_the_write_ahead_log_is_told() -> None:
    """PostgreSQL then panics and cuts every connection: that is a full disk all the same, and no absence."""
    with (
        tempfile.TemporaryDirectory(prefix="siem-wal-") as folder,
        small_disk(Path(folder) / "disk", 9) as disk,
        # The server runs as nobody, who must get there.
        _open_to_all(Path(folder)),
        postgres_server("max_wal_size=1GB", "min_wal_size=2MB", wal=disk / "wal") as server,
        server.database("ledger") as url,
    ):
        engine = open_ledger(url)
        upgrade_tables(engine)
        filler = fill(disk)
        found = outage_of_write(engine)
        filler.unlink()
        engine.dispose()
        _await_server(url)

    assert found.cause is OutageCause.DISK_FULL, str(found)
    assert "No space left on device" in str(found)
    assert "does not answer" not in str(found)


@NEEDS_SMALL_DISK
def test_a_full_disk_under_sqlite_is_told(tmp_path: Path) -> None:
    """As `database or disk is full` while it is open; and when it cannot be opened for want of room."""
    with small_disk(tmp_path / "disk", 12) as disk:
        url = f"sqlite:///{disk}/ledger.sqlite3"
        engine = open_ledger(url)
        upgrade_tables(engine)
        filler = fill(disk)
        open_one = outage_of_write(engine)
        filler.unlink()
        engine.dispose()
        fill(disk)
        unopened = outage_of(url)

    assert [one.cause for one in (open_one, unopened)] == [OutageCause.DISK_FULL] * 2
    assert all("free some space on its disk" in str(one) for one in (open_one, unopened))


def test_sqlite_without_room_is_told(sqlite_url: str) -> None:
    """The real error of a database that may not grow, wherever one can mount nothing."""
    engine = open_ledger(sqlite_url)
    upgrade_tables(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    found = outage_of_write(engine)
    engine.dispose()

    assert (found.cause, found.public) == (OutageCause.DISK_FULL, "the disk of the database is full")


def test_what_the_public_may_read_names_nothing() -> None:
    """Every cause has words for operators and for the public; the latter hold no more than a name."""
    for cause in OutageCause:
        found = LedgerUnavailable("the database db.internal:5432/siem is gone", cause)

        assert "{}" not in cause.of("it"), cause
        assert "internal" not in found.public, cause
        assert found.public in {cause.of("the database"), "the database cannot be used at present"}, cause
