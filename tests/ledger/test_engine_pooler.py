"""The ledger behind a connection pooler in transaction mode: each transaction may meet another session."""

import threading
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text

from tests.ledger.entries import letter, outcome
from tests.ledger.pgbouncer import pgbouncer
from tests.ledger.tables import is_current
from worker.ledger.deliveries import find_deliveries, tallies
from worker.ledger.engine import open_ledger, reading
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.parked import ParkedStore
from worker.ledger.recording import probe, record_entries
from worker.model.errors import LedgerUnavailable
from worker.model.parking import BacklogRoom, ParkedChunk

#: More than the five executions after which psycopg prepares a statement by default.
ROUNDS = 25


@pytest.fixture
def pooled_url(postgres_url: str) -> Iterator[str]:
    """Give the URL of an empty database through a pool of three connections."""
    with pgbouncer(postgres_url) as url:
        yield url


def test_many_clients_share_few_sessions(pooled_url: str) -> None:
    """Recorders, readers and what brings parked events back, each with an engine of its own."""
    engines = [open_ledger(pooled_url) for _ in range(6)]
    upgrade_tables(engines[0])

    def recorder(place: int) -> None:
        for number in range(ROUNDS):
            name = f"{number + 1}-{place}"
            chunk = ParkedChunk(f"int_{place}", urgent=True, position=number, events=1, size=2, packed=b"{}")
            record_entries(
                engines[place], [(name, [outcome([f"evt_{name}"])])], [(name, letter({name: b"{}"}))],
                [(name, chunk)],
            )  # fmt: skip
            probe(engines[place])

    def unparker(place: int) -> None:
        store = ParkedStore(engines[place])
        for _ in range(ROUNDS):
            for one in store.counts():
                store.forget([name for name, _ in store.oldest(one, BacklogRoom(10, 1000, ()))])

    def reader(place: int) -> None:
        for _ in range(ROUNDS):
            assert is_current(engines[place])
            tallies(engines[place])
            find_deliveries(engines[place], integration_id="int_a", limit=10)

    _at_once([recorder, recorder, recorder, unparker, reader, reader])
    rows = find_deliveries(engines[0], limit=1000)
    for engine in engines:
        engine.dispose()

    assert len(rows) == 3 * ROUNDS


def _at_once(roles: list[Callable[[int], None]]) -> None:
    """Run each role in a thread; raise the first error of any."""
    errors: list[BaseException] = []

    def run(place: int) -> None:
        try:
            roles[place](place)
        except BaseException as error:  # noqa: BLE001 - it is raised below, where the test sees it
            errors.append(error)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(roles))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


def test_processes_that_upgrade_at_once_take_turns(pooled_url: str) -> None:
    """The lock of an upgrade belongs to its transaction, and so to one session."""
    engines = [open_ledger(pooled_url) for _ in range(3)]

    def take_turn(place: int) -> None:
        upgrade_tables(engines[place])

    _at_once([take_turn] * 3)
    current = [is_current(engine) for engine in engines]
    for engine in engines:
        engine.dispose()

    assert current == [True] * 3


def test_nothing_is_left_behind_in_a_session(pooled_url: str) -> None:
    """No prepared statement, no lock, no temporary table, nothing listened to, no setting changed."""
    engine = open_ledger(pooled_url)
    upgrade_tables(engine)
    for number in range(ROUNDS):
        record_entries(engine, [(f"{number + 1}-0", [outcome(["evt_1"])])], [])
    engine.dispose()
    bare = open_ledger(pooled_url)
    with reading(bare) as connection:
        left = {
            what: connection.execute(text(f"SELECT count(*) FROM {what}")).scalar_one()  # noqa: S608 - names of catalogues
            for what in (
                "pg_prepared_statements",
                "pg_cursors",
                "pg_listening_channels() AS channel",
                "pg_locks WHERE locktype = 'advisory'",
                "pg_class WHERE relpersistence = 't'",
                # The pooler itself sets the name of the client.
                "pg_settings WHERE source = 'session' AND name <> 'application_name'",
            )
        }
    bare.dispose()

    assert {what: count for what, count in left.items() if count} == {}


@pytest.mark.parametrize(("given", "prepared"), [("", 0), ("&prepare_threshold=0", 1)])
def test_who_wants_prepared_statements_can_have_them(postgres_url: str, given: str, prepared: int) -> None:
    """Without a pooler they do no harm; the number in the URL is text, and is read."""
    engine = open_ledger(postgres_url + given)
    with reading(engine) as connection:
        connection.execute(text("SELECT 'of its own'"))
        names = text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT ''of its%'")
        count = connection.execute(names).scalar_one()
    engine.dispose()

    assert count == prepared


def test_who_wants_them_behind_a_pooler_is_told(pooled_url: str) -> None:
    """The error names the option that is to go."""
    engine, other = open_ledger(f"{pooled_url}&prepare_threshold=0"), open_ledger(pooled_url)
    statement = text("SELECT 'of its own'")

    def ask() -> None:
        with reading(engine) as connection:
            connection.execute(statement)

    for _ in range(2):
        ask()
    # While a client holds the only session that there is, the next transaction is served by a new one.
    with reading(other) as holder:
        holder.execute(statement)
        with pytest.raises(LedgerUnavailable, match="take prepare_threshold out of SIEM_DATABASE_URL"):
            ask()
    engine.dispose()
    other.dispose()
