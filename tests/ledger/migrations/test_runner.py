"""The migrations: what they make, from where, and how often."""

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, MetaData, Table, inspect, text

from tests.ledger.tables import is_current
from worker.ledger.deliveries import find_deliveries
from worker.ledger.engine import open_ledger, reading, writing
from worker.ledger.migrations.runner import downgrade_tables, require_readable_schema, upgrade_tables
from worker.ledger.period_indexes import postgres_metadata
from worker.ledger.schema import metadata
from worker.model.deliveries import Status
from worker.model.errors import SchemaOutdated

_UPGRADE = """
import sys
from worker.ledger.engine import open_ledger
from worker.ledger.migrations.runner import upgrade_tables
engine = open_ledger(sys.argv[1])
upgrade_tables(engine)
engine.dispose()
"""


def _of_this_database(engine: Engine) -> list[Table]:
    return list(postgres_metadata.tables.values()) if engine.dialect.name == "postgresql" else []


def test_migrations_make_the_tables_of_the_code(engine: Engine) -> None:
    """After every migration the tables, columns and indexes are those that the code knows."""
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        known = MetaData()
        for table in (*metadata.tables.values(), *_of_this_database(engine)):
            table.to_metadata(known)
        differences = compare_metadata(context, known)

    assert differences == []


def test_partial_indexes_are_partial(engine: Engine) -> None:
    """The indexes that are to hold few rows hold few rows, in the database as in the code."""
    inspector = inspect(engine)
    option = f"{engine.dialect.name}_where"
    conditions = {
        index["name"]: str(index["dialect_options"][option]).replace("::text", "").strip("()")
        for table in ("integrations", "deliveries", "dead_letters", "replays")
        for index in inspector.get_indexes(table)
        if option in index.get("dialect_options", {})
    }

    assert conditions == {
        "integrations_living_name": "deleted_ms IS NULL",
        "deliveries_unwell": "status <> 'delivered'",
        "dead_letters_invalid": "tenant_id IS NOT NULL",
        "dead_letters_of_tenant": "tenant_id IS NOT NULL",
        "dead_letters_replayed": "replay_id IS NOT NULL",
        "dead_letters_waiting": "state = 'waiting'",
        "dead_letters_waiting_of_event": "state = 'waiting'",
        "dead_letters_waiting_of_all": "state = 'waiting'",
        "replays_running": "state = 'running'",
    }


def test_upgrading_twice_changes_nothing(engine: Engine) -> None:
    """An upgrade of tables that are current keeps what is in them."""
    with writing(engine) as connection:
        connection.execute(text("INSERT INTO recorded_entries VALUES ('o:1-1', 7)"))
    upgrade_tables(engine)
    with reading(engine) as connection:
        kept = connection.execute(text("SELECT recorded_ms FROM recorded_entries")).scalars().all()

    assert kept == [7]
    assert is_current(engine)
    require_readable_schema(engine)


@pytest.mark.slow
def test_processes_may_upgrade_at_once(url: str) -> None:
    """Of processes that start at once on an empty ledger, each ends well and finds the tables."""
    processes = [subprocess.Popen([sys.executable, "-c", _UPGRADE, url]) for _ in range(3)]
    codes = [process.wait() for process in processes]
    engine = open_ledger(url)
    current = is_current(engine)
    engine.dispose()

    assert (codes, current) == ([0, 0, 0], True)


def test_ledger_without_tables_says_what_to_run(empty: Engine) -> None:
    """Before the first upgrade nothing works with the ledger, and each error says what to do."""
    assert not is_current(empty)
    with pytest.raises(SchemaOutdated, match="no tables yet: run `siem db upgrade`"):
        require_readable_schema(empty)


def _bring_to(engine: Engine, revision: str) -> None:
    """Bring the tables to the release that made this revision."""
    upgrade_tables(engine)
    downgrade_tables(engine, revision)


def test_tables_of_an_older_release(empty: Engine) -> None:
    """When the code has moved on, the words are to upgrade the ledger."""
    _bring_to(empty, "0001")

    with pytest.raises(SchemaOutdated, match="run `siem db upgrade`"):
        require_readable_schema(empty)


def test_upgrade_keeps_what_an_older_release_wrote(empty: Engine) -> None:
    """Rows of the first release are there after the upgrade; of what was unknown then, they say nothing."""
    _bring_to(empty, "0001")
    delivery = "'evt_1', 'int_a', 'policy.deny', 'delivered', 1, 200, NULL, NULL, NULL, 1, 2, 3, 1, NULL, 5"
    integration = "'int_a', 'default', 'splunk_hec', 'Splunk', false, '{}', 7, 1, 2, NULL"
    with writing(empty) as connection:
        connection.execute(text(f"INSERT INTO deliveries VALUES ({delivery})"))  # noqa: S608 - values of ours
        connection.execute(text(f"INSERT INTO integrations VALUES ({integration})"))  # noqa: S608 - values of ours
    upgrade_tables(empty)
    [row] = find_deliveries(empty)
    with reading(empty) as connection:
        kept = connection.execute(
            text("SELECT revision, disabled_reason, disabled_ms FROM integrations")
        ).one()

    assert (row.event_id, row.status, row.assurance) == ("evt_1", Status.DELIVERED, None)
    assert tuple(kept) == (7, None, None)


def test_the_way_back_to_the_first_release(engine: Engine) -> None:
    """Down to the first release and up again, the tables are those of this release."""
    _bring_to(engine, "0001")
    assert not is_current(engine)
    upgrade_tables(engine)

    assert is_current(engine)
