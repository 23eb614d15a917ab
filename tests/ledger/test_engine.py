"""Opening the ledger: which URLs, with which rights, and what is said when it does not answer."""

import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from tests.ledger.postgres import PostgresServer
from worker.ledger.engine import database_now_ms, open_ledger, reading, removing, writing
from worker.ledger.migrations.runner import tables_of, upgrade_tables
from worker.model.errors import InvalidSetting, LedgerUnavailable, SchemaOutdated

_ADD_COUNTS = """
import sys
from sqlalchemy import text
from worker.ledger.engine import open_ledger, writing
engine = open_ledger(sys.argv[1])
for _ in range(100):
    with writing(engine) as connection:
        connection.execute(text("SELECT count(*) FROM recorded_entries")).all()
        connection.execute(text("UPDATE recorded_entries SET recorded_ms = recorded_ms + 1"))
engine.dispose()
"""


def test_sqlite_file_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    """The file, its log and the folders that are made for it are closed to everybody else."""
    path = tmp_path / "deep" / "er" / "ledger.sqlite3"
    engine = open_ledger(f"sqlite:///{path}")
    upgrade_tables(engine)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    engine.dispose()

    assert modes.pop("ledger.sqlite3-wal") == 0o600
    assert modes.pop("ledger.sqlite3-shm") == 0o600
    assert modes == {"ledger.sqlite3": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_sqlite_is_set_up_to_survive_and_to_share(sqlite_url: str) -> None:
    """A commit is on the disk when it returns, readers see past writers, and writers wait in line."""
    engine = open_ledger(sqlite_url)
    with reading(engine) as connection:
        values = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    engine.dispose()

    assert values == ["wal", 2, 1, 10_000]


def test_a_new_file_of_sqlite_knows_its_pages(sqlite_url: str) -> None:
    """So that a long value goes without being read; the mode is written once, not by each connection."""
    engine = open_ledger(sqlite_url)
    upgrade_tables(engine)
    with reading(engine) as connection:
        mode = connection.exec_driver_sql("PRAGMA auto_vacuum").scalar_one()
        before = connection.exec_driver_sql("PRAGMA data_version").scalar_one()
        with reading(engine) as other:
            again = other.exec_driver_sql("PRAGMA auto_vacuum").scalar_one()
    with reading(engine) as connection:
        after = connection.exec_driver_sql("PRAGMA data_version").scalar_one()
    engine.dispose()

    assert (mode, again) == (2, 2)
    assert after == before


def test_a_file_of_an_earlier_release_stays_as_it_is(sqlite_url: str) -> None:
    """Only when the whole file is written again can it change: all else goes on."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE of_an_earlier_release (x)")
    engine = open_ledger(sqlite_url)
    upgrade_tables(engine)
    with removing(engine) as connection:
        mode = connection.exec_driver_sql("PRAGMA auto_vacuum").scalar_one()
        sound = connection.exec_driver_sql("PRAGMA integrity_check").scalar_one()
    engine.dispose()

    assert (mode, sound) == (0, "ok")


def test_only_what_removes_does_not_wait_for_the_disk(sqlite_url: str) -> None:
    """The same connection writes outcomes later, also behind a removal that has failed."""
    engine = open_ledger(sqlite_url)
    asked = "PRAGMA synchronous"
    with removing(engine) as connection:
        used = connection.connection.dbapi_connection
        during = connection.exec_driver_sql(asked).scalar_one()
    with pytest.raises(SchemaOutdated), removing(engine) as connection:
        connection.exec_driver_sql("DELETE FROM nothing_of_that_name")
    with writing(engine) as connection:
        after = connection.exec_driver_sql(asked).scalar_one()
        again = connection.connection.dbapi_connection
    engine.dispose()

    assert again is used
    assert (during, after) == (1, 2)


def test_caches_of_sqlite_are_bounded_all_together(sqlite_url: str) -> None:
    """Each of a process's connections has one of 64 MiB: a recorder that has used five had taken 440 MB."""
    engine = open_ledger(sqlite_url)
    with reading(engine) as connection:
        limit = connection.exec_driver_sql("PRAGMA soft_heap_limit").scalar_one()
    with reading(engine) as first, reading(engine) as second:
        used = [one.connection.dbapi_connection for one in (first, second)]
    with reading(engine) as connection:
        again = connection.connection.dbapi_connection
    engine.dispose()

    assert limit == 96 << 20
    assert again is used[0]


@pytest.mark.slow
def test_processes_that_write_at_once_wait_for_each_other(sqlite_url: str) -> None:
    """Transactions that read before they write never fail because another process wrote in between."""
    engine = open_ledger(sqlite_url)
    upgrade_tables(engine)
    with writing(engine) as connection:
        connection.execute(text("INSERT INTO recorded_entries VALUES ('o:1-1', 0)"))
    command = [sys.executable, "-c", _ADD_COUNTS, sqlite_url]
    writers = [subprocess.Popen(command) for _ in range(3)]
    codes = [writer.wait() for writer in writers]
    with reading(engine) as connection:
        total = connection.execute(text("SELECT recorded_ms FROM recorded_entries")).scalar_one()
    engine.dispose()

    assert (codes, total) == ([0, 0, 0], 300)


def test_readers_do_not_wait_for_a_writer(engine: Engine) -> None:
    """While one transaction writes, another reads what was there before."""
    with writing(engine) as writer:
        writer.execute(text("INSERT INTO recorded_entries VALUES ('o:1-1', 0)"))
        with reading(engine) as reader:
            seen = reader.execute(text("SELECT count(*) FROM recorded_entries")).scalar_one()

    assert seen == 0


def test_failed_block_writes_nothing(engine: Engine) -> None:
    """A block that raises leaves no trace."""

    def fail() -> None:
        with writing(engine) as connection:
            connection.execute(text("INSERT INTO recorded_entries VALUES ('o:1-1', 0)"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with reading(engine) as connection:
        seen = connection.execute(text("SELECT count(*) FROM recorded_entries")).scalar_one()

    assert seen == 0


#: URLs that cannot be a ledger's, and a pattern of the complaint.
NO_LEDGERS = {
    "nonsense": "is not the URL",
    "postgresql://user:hunter2@host:port/name": "is not the URL",
    "sqlite://": "names no file",
    "sqlite:///:memory:": "names no file",
    "mysql://user:hunter2@host/name": "names mysql, which is not supported",
    "postgresql+psycopg2://user:hunter2@host/name": "not supported",
    "postgresql://user:hunter2@host/name?prepare_threshold=often": "prepare_threshold.*whole number",
    "postgresql://user:hunter2@host/name?connect_timeout=soon": "connect_timeout.*whole number",
    "postgresql://user:hunter2@host/name?sslmode=require&sslmode=allow": "sslmode more than once",
    "postgresql://user:hunter2@host/name?autocommit=1": "option autocommit.*connection parameters",
    "postgresql://user:hunter2@host/name?plugin=hunter2": "option plugin",
    "sqlite:////tmp/name?pool_size=5": "option pool_size",
    "sqlite:////tmp/name?timeout=long": "cannot read",
}


def test_url_of_no_ledger_is_refused(subtests: pytest.Subtests) -> None:
    """A URL that cannot be a ledger's is refused by the setting's name, and not repeated."""
    for url, complaint in NO_LEDGERS.items():
        with subtests.test(url=url):
            with pytest.raises(InvalidSetting, match=f"SIEM_DATABASE_URL: .*{complaint}") as raised:
                open_ledger(url)

            assert "hunter2" not in str(raised.value)


def test_short_names_of_postgresql_are_understood(postgres_url: str) -> None:
    """`postgres://` and `postgresql://`, as hosting firms write it, mean the driver that we ship."""
    _, _, rest = postgres_url.partition(":")
    for scheme in ("postgres", "postgresql"):
        engine = open_ledger(f"{scheme}:{rest}&connect_timeout=3")
        assert tables_of(engine) is None
        engine.dispose()


def test_unreachable_server_is_named_without_the_password() -> None:
    """A server that is down is named with its address and what to check, but not the password."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    engine = open_ledger(f"postgresql://siem:hunter2@127.0.0.1:{port}/ledger?sslpassword=hunter3")
    with pytest.raises(LedgerUnavailable) as raised, reading(engine):
        pass
    engine.dispose()

    assert f"127.0.0.1:{port}/ledger does not answer" in str(raised.value)
    assert "SIEM_DATABASE_URL" in str(raised.value)
    assert "hunter" not in str(raised.value)


def test_connection_lost_within_a_transaction(postgres: PostgresServer, postgres_url: str) -> None:
    """A server that goes away is named as such, and serves again once it is back."""
    engine = open_ledger(postgres_url)

    def lose_it() -> None:
        with writing(engine) as connection:
            postgres.end_session(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
            connection.execute(text("SELECT 1"))

    with pytest.raises(LedgerUnavailable, match=r"shutting down .*57P01"):
        lose_it()
    with reading(engine) as connection:
        alive = connection.execute(text("SELECT 1")).scalar_one()
    engine.dispose()

    assert alive == 1


def test_connection_lost_while_idle_is_not_noticed(postgres: PostgresServer, postgres_url: str) -> None:
    """A connection that died in the pool is replaced before it is given out."""
    engine = open_ledger(postgres_url)
    with reading(engine) as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    postgres.end_session(pid)
    with reading(engine) as connection:
        other = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    engine.dispose()

    assert other != pid


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    """A path that is a folder is named, with what to look at."""
    engine = open_ledger(f"sqlite:///{tmp_path}")
    with pytest.raises(LedgerUnavailable, match=f"{tmp_path} cannot be used .*see that the folder exists"):
        tables_of(engine)
    engine.dispose()


def test_file_that_is_no_database(tmp_path: Path) -> None:
    """A file of something else is left alone and named as such."""
    path = tmp_path / "ledger.sqlite3"
    path.write_text("shopping list: " + "milk " * 1000)
    engine = open_ledger(f"sqlite:///{path}")
    with pytest.raises(LedgerUnavailable, match="move that file away"):
        tables_of(engine)
    engine.dispose()


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A path below a file is named before anything connects."""
    (tmp_path / "file").touch()

    with pytest.raises(LedgerUnavailable, match="cannot be made"):
        open_ledger(f"sqlite:///{tmp_path / 'file' / 'ledger.sqlite3'}")


def test_writer_that_waits_too_long(sqlite_url: str) -> None:
    """A lock that another process does not let go of is named as that."""
    engine = open_ledger(sqlite_url)
    upgrade_tables(engine)
    impatient = open_ledger(sqlite_url)
    with impatient.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 1")
    with (
        writing(engine),
        pytest.raises(LedgerUnavailable, match="another process has been writing"),
        writing(impatient),
    ):
        pass
    impatient.dispose()
    engine.dispose()


def test_missing_tables_are_told_as_an_outdated_schema(empty: Engine) -> None:
    """A question to a ledger without tables says what to run."""
    with pytest.raises(SchemaOutdated, match="siem db upgrade"), reading(empty) as connection:
        connection.execute(text("SELECT 1 FROM deliveries"))


def test_fault_of_ours_is_not_blamed_on_the_database(engine: Engine) -> None:
    """What is no outage is raised as it is."""
    with pytest.raises(DBAPIError, match="syntax"), reading(engine) as connection:
        connection.execute(text("SELECT FROM WHERE"))


def test_pool_that_is_used_up(sqlite_url: str) -> None:
    """Threads that get no connection learn why."""
    engine = open_ledger(sqlite_url)
    held = [engine.connect() for _ in range(15)]
    engine.pool._timeout = 0  # type: ignore[attr-defined]  # noqa: SLF001 - the default would wait half a minute
    with pytest.raises(LedgerUnavailable, match="every connection is in use"), reading(engine):
        pass
    for connection in held:
        connection.close()
    engine.dispose()


def test_threads_share_an_engine(engine: Engine) -> None:
    """Threads that write through one engine all succeed."""

    def add(name: str) -> None:
        with writing(engine) as connection:
            connection.execute(text("INSERT INTO recorded_entries VALUES (:name, 0)"), {"name": name})

    threads = [threading.Thread(target=add, args=(f"o:{number}-0",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine) as connection:
        seen = connection.execute(text("SELECT count(*) FROM recorded_entries")).scalar_one()

    assert seen == 8


def test_postgresql_gives_the_time_and_sqlite_has_none(engine: Engine) -> None:
    """In milliseconds since 1970 UTC, whatever zone it is set to."""
    found = database_now_ms(engine)

    if engine.dialect.name == "sqlite":
        assert found is None
    else:
        assert found is not None
        assert abs(found - time.time_ns() // 1_000_000) < 60_000
