"""A database that answers and refuses everything, as after a restore under another role, loses nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from tests.fleet import Fleet, wait_until
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.ledger.engine import open_ledger
from worker.ledger.server_facts import FUNCTIONS

pytestmark = pytest.mark.slow


@pytest.fixture
def administrator(own_postgres_url: str) -> Iterator[Engine]:
    """Give a database as its superuser sees it; a role `siem` may make tables there."""
    engine = open_ledger(own_postgres_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE ROLE siem LOGIN"))
        connection.execute(text("GRANT ALL ON SCHEMA public TO siem"))
    yield engine
    with engine.begin() as connection:
        connection.execute(text("DROP OWNED BY siem"))
        connection.execute(text("DROP ROLE siem"))
    engine.dispose()


@pytest.fixture
def own(administrator: Engine, tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet that works as that role, with room for 1000 events in a backlog; nothing runs yet."""
    url = make_url(administrator.url).set(username="siem").render_as_string(hide_password=False)
    with Fleet(tmp_path, database_url=url, SIEM_BACKLOG_EVENTS="1000") as fleet:
        yield fleet


def _take_tables(engine: Engine) -> None:
    """Take each in a transaction of its own: with all in one, it could deadlock with the fleet."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        for name in connection.execute(text(tables)).scalars().all():
            connection.execute(text(f'ALTER TABLE "{name}" OWNER TO postgres'))


def _take_functions(engine: Engine) -> None:
    with engine.begin() as connection:
        for name in FUNCTIONS:
            connection.execute(text(f"ALTER FUNCTION {name} OWNER TO postgres"))


def test_events_wait_until_the_role_has_its_rights_again(own: Fleet, administrator: Engine) -> None:
    """Nothing is set aside; once the rights are there, every event is delivered, the parked ones as well."""
    with HecReceiver() as splunk:
        integration = own.integrate(splunk.url)
        own.store.set_paused(integration.id, paused=True)
        own.announce()
        own.start()
        _take_tables(administrator)
        _take_functions(administrator)
        ids = own.publish_at_once(denial(f"e{number}") for number in range(3000))
        wait_until(lambda: own.client.xlen("siem:parked") > 0, "events are parked, and wait to be recorded")
        wait_until(lambda: "permission denied" in own.log("recorder"), "the recorder says why it waits")
        health = own.siem("health")
        assert b"permission denied" in health.stderr + health.stdout

        with administrator.begin() as connection:
            connection.execute(text("GRANT ALL ON ALL TABLES IN SCHEMA public TO siem"))
        wait_until(lambda: "the database is back" in own.log("recorder"), "the recorder goes on")
        own.store.set_paused(integration.id, paused=False)
        own.announce()
        own.settled(3000)

        assert set(splunk.accepted_ids) == set(ids)
        assert own.client.xlen("siem:unrecordable") == 0
        assert own.log("recorder").count("lost the database") == 1
        assert "Traceback" not in own.log("recorder")
