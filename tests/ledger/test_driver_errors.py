"""What a database refuses: the fault of an entry's values, or of anything else, and in which words."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, event, make_url, text
from sqlalchemy.exc import PendingRollbackError, StatementError

from tests.ledger.content import recorded_rows
from tests.ledger.entries import letter, outcome
from worker.ledger.engine import open_ledger
from worker.ledger.migrations.runner import require_readable_schema, upgrade_tables
from worker.ledger.parked import ParkedStore
from worker.ledger.recording import probe, record_entries
from worker.model.errors import DataRefused, LedgerUnavailable, SchemaOutdated
from worker.model.parking import ParkedChunk

#: More than a column of eight bytes holds.
HUGE = 1 << 70
OUTCOMES = [("5-0", [outcome(["evt_1"])])]
DEAD = [("5-0", letter({"evt_2": b"{}"}))]
PARKED = [("5-0", ParkedChunk("int_a", urgent=True, position=1, events=1, size=2, packed=b"{}"))]


@pytest.fixture
def foreign(postgres_url: str) -> Iterator[Engine]:
    """Give an engine of a role that may not touch the tables, as after a restore under another role."""
    owner = open_ledger(postgres_url)
    upgrade_tables(owner)
    with owner.begin() as connection:
        connection.execute(text("DROP ROLE IF EXISTS stranger"))
        connection.execute(text("CREATE ROLE stranger LOGIN"))
    engine = open_ledger(
        make_url(postgres_url).set(username="stranger").render_as_string(hide_password=False)
    )
    yield engine
    engine.dispose()
    with owner.begin() as connection:
        connection.execute(text("DROP OWNED BY stranger"))
        connection.execute(text("DROP ROLE stranger"))
    owner.dispose()


def test_a_role_without_rights_is_an_outage(foreign: Engine) -> None:
    """Whatever is asked, `permission denied` says so, with a hint; it is no fault of ours."""
    for ask in (
        lambda: record_entries(foreign, OUTCOMES, DEAD, PARKED),
        lambda: probe(foreign),
        lambda: ParkedStore(foreign).counts(),
        lambda: require_readable_schema(foreign),
    ):
        with pytest.raises(
            LedgerUnavailable,
            match=r"siem-postgres-.*:5432/.* denies permission \(permission denied .*42501\): grant the role",
        ):
            ask()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("default_transaction_read_only = on", r"read-only.*25006.*name the primary"),
        ("statement_timeout = '1ms'", r"canceling statement.*57014"),
    ],
)
def test_a_server_that_takes_nothing_is_an_outage(postgres_url: str, setting: str, words: str) -> None:
    """Each in its own words."""
    engine = open_ledger(postgres_url)
    upgrade_tables(engine)
    name = make_url(postgres_url).database
    with engine.begin() as connection:
        connection.execute(text(f'ALTER DATABASE "{name}" SET {setting}'))
        connection.execute(
            text(
                "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
                "'BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END'"
            )
        )
        connection.execute(
            text("CREATE TRIGGER slow BEFORE INSERT ON deliveries FOR EACH ROW EXECUTE FUNCTION slow()")
        )
    engine.dispose()
    with pytest.raises(LedgerUnavailable, match=words):
        record_entries(engine, OUTCOMES, [])
    engine.dispose()


def test_a_file_that_cannot_be_written_is_an_outage(sqlite_url: str) -> None:
    """SQLite says that it is read-only."""
    engine = open_ledger(sqlite_url)
    upgrade_tables(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    for write in (lambda: record_entries(engine, OUTCOMES, []), lambda: probe(engine)):
        with pytest.raises(LedgerUnavailable, match=r"readonly database.*may write to the file"):
            write()
    engine.dispose()


def test_a_full_disk_is_an_outage(sqlite_url: str) -> None:
    """SQLite says that it is full; what does not fit any more waits."""
    engine = open_ledger(sqlite_url)
    upgrade_tables(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    heavy = [("6-0", letter({f"evt_{number}": b"x" * 10_000 for number in range(50)}))]
    with pytest.raises(LedgerUnavailable, match=r"disk is full.*free some space"):
        record_entries(engine, [], heavy)
    engine.dispose()


@pytest.mark.parametrize(
    "trouble",
    [
        PendingRollbackError("the transaction is over"),
        StatementError(
            "(wrapped) the transaction is over",
            "INSERT",
            None,
            PendingRollbackError("the transaction is over"),
        ),
    ],
)
def test_a_connection_in_trouble_is_an_outage(engine: Engine, trouble: Exception) -> None:
    """SQLAlchemy's own complaints, which no driver has raised, are no fault of the values either."""

    def fail(*_: object) -> None:
        raise trouble

    event.listen(engine, "before_cursor_execute", fail)
    with pytest.raises(LedgerUnavailable, match="the transaction is over"):
        record_entries(engine, OUTCOMES, [])
    event.remove(engine, "before_cursor_execute", fail)


def test_a_missing_table_is_named(engine: Engine) -> None:
    """The words say which, for it may only be out of sight."""
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE dead_letters"))
    with pytest.raises(SchemaOutdated, match=r"dead_letters.*siem db upgrade"):
        record_entries(engine, OUTCOMES, DEAD)


#: A trigger that is not ours and fails, in each database, where its SQL is run.
FOREIGN_TRIGGER = {
    "sqlite": ["CREATE TRIGGER foreign_one BEFORE INSERT ON delivered_batches BEGIN SELECT json('{'); END"],
    "postgresql": [
        "CREATE FUNCTION foreign_one() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN EXECUTE $$nonsense$$; END'",
        (
            "CREATE TRIGGER foreign_one BEFORE INSERT ON delivered_batches"
            " FOR EACH ROW EXECUTE FUNCTION foreign_one()"
        ),
    ],
}


def test_wrong_sql_is_an_outage(engine: Engine) -> None:
    """Neither an entry nor its values are to blame; the probe says the same."""
    with engine.begin() as connection:
        for statement in FOREIGN_TRIGGER[engine.dialect.name]:
            connection.exec_driver_sql(statement)
    for write in (lambda: record_entries(engine, OUTCOMES, []), lambda: probe(engine)):
        with pytest.raises(LedgerUnavailable, match=r"malformed JSON|syntax error.*42601"):
            write()


def test_values_that_no_column_holds_are_the_entrys_own(engine: Engine) -> None:
    """They differ from an outage, and the database takes others at that moment."""
    with pytest.raises((DataRefused, OverflowError)):
        record_entries(engine, [("6-0", [outcome(["evt_1"], attempts=HUGE)])], [])
    before = recorded_rows(engine)
    probe(engine)

    assert recorded_rows(engine) == before
    assert not any(before.values())


def test_a_constraint_that_nothing_satisfies_stops_the_probe_as_well(engine: Engine) -> None:
    """A violated constraint may be the table's fault: then no entry is taken."""
    with engine.begin() as connection:
        connection.execute(text("CREATE UNIQUE INDEX strange ON recorded_entries ((1))"))
    record_entries(engine, [("5-0", [])], [])
    with pytest.raises(DataRefused):
        record_entries(engine, [("6-0", [])], [])
    with pytest.raises(DataRefused):
        probe(engine)
