"""With the database gone, events are delivered all the same; once it is back, every outcome stands in it."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import Fleet, wait_until
from tests.ledger.power_switch import PowerSwitch
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.model.deliveries import Cause, Status

AWAY = "lost the database"
BACK = "the database is back"

pytestmark = pytest.mark.slow


@pytest.fixture
def own(own_postgres_url: str, tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet whose ledger is in PostgreSQL; nothing runs yet."""
    with Fleet(tmp_path, database_url=own_postgres_url) as fleet:
        yield fleet


def test_a_fleet_records_into_postgres(own: Fleet) -> None:
    """Deliveries, retries and dead letters stand in PostgreSQL as they would in SQLite."""
    with (
        HecReceiver(scripts.first(1, scripts.busy())) as flaky,
        HecReceiver(scripts.busy()) as ill,
    ):
        own.integrate(flaky.url, "flaky", tenant_id="one")
        own.integrate(ill.url, "ill", tenant_id="two", max_retries=0)
        own.start()
        own.publish_at_once(denial(f"flaky-{number}", tenant_id="one") for number in range(300))
        own.publish_at_once([denial("ill-1", tenant_id="two")])
        rows = own.settled(300, "int_flaky")
        [dead_row] = own.settled(1, "int_ill")
        [letter] = wait_until(lambda: own.dead("int_ill"), "the dead letter is recorded")
        status = {one["name"]: one for one in own.status()["integrations"]}

        assert Counter(row.status for row in rows) == {Status.DELIVERED: 300}
        assert {row.attempts for row in rows} <= {1, 2}
        assert (dead_row.status, dead_row.http_status) == (Status.DEAD, 503)
        assert (letter.event_id, letter.cause) == ("ill-1", Cause.EXHAUSTED)
        assert b'"ill-1"' in letter.payload
        twice = sum(row.attempts == 2 for row in rows)
        assert twice > 0, "the first batch is sent again, however many of the events it has"
        assert (status["flaky"]["delivered"], status["flaky"]["retried"]) == (300, twice)
        assert status["ill"]["dead"] == 1


def test_deliveries_go_on_without_the_database(own: Fleet, power: PowerSwitch) -> None:
    """Even after a restart of router and worker; later each outcome is there once, and the log was brief."""
    with HecReceiver() as well, HecReceiver(scripts.busy()) as ill:
        own.integrate(well.url, "well", tenant_id="one")
        own.integrate(ill.url, "ill", tenant_id="two", max_retries=0)
        own.start()
        ids = own.publish_at_once(denial(f"before-{number}", tenant_id="one") for number in range(100))
        own.settled(100, "int_well")

        power.off()
        ids += own.publish_at_once(denial(f"meanwhile-{number}", tenant_id="one") for number in range(200))
        well.wait_for_events(300, 30)
        for role in ("router", "worker"):
            assert own.terminate(role) == 0
            own.start(role)
        ids += own.publish_at_once(denial(f"restarted-{number}", tenant_id="one") for number in range(200))
        own.publish_at_once([denial("ill-1", tenant_id="two")])
        well.wait_for_events(500, 30)
        ill.wait_for_requests(1, 30)
        wait_until(lambda: AWAY in own.log("recorder"), "the recorder misses the database")

        power.on()
        rows = own.settled(500, "int_well")
        own.settled(1, "int_ill")
        wait_until(lambda: BACK in own.log("recorder"), "the recorder has the database back")
        status = {one["name"]: one for one in own.status()["integrations"]}

        assert set(well.accepted_ids) == set(ids)
        assert not Counter(well.accepted_ids) - own.requests("int_well")
        assert sorted(row.event_id for row in rows) == sorted(ids)
        assert {row.status for row in rows} == {Status.DELIVERED}
        assert [letter.event_id for letter in own.dead("int_ill")] == ["ill-1"]
        assert status["well"]["delivered"] == 500
        assert own.log("recorder").count(AWAY) == 1
        assert own.log("recorder").count(BACK) == 1
        assert "Traceback" not in own.log("recorder")


def test_a_recorder_that_starts_without_the_database_waits_for_it(own: Fleet, power: PowerSwitch) -> None:
    """It does not give up, and records what was settled meanwhile once the database answers."""
    with HecReceiver() as well:
        own.integrate(well.url)
        own.start("router", "worker")
        power.off()
        own.publish_at_once(denial(f"e{number}") for number in range(50))
        own.start("recorder")
        well.wait_for_events(50, 30)
        wait_until(lambda: AWAY in own.log("recorder"), "the recorder misses the database")
        asked = own.siem("status", "--json")
        power.on()
        rows = own.settled(50)

        assert asked.returncode == 3
        assert b"does not answer" in asked.stderr
        assert asked.stderr.count(b"\n") == 1
        told = json.loads(asked.stdout)
        assert told["processes"]["recorder"] is True
        assert told["integrations"][0]["delivered"] is None
        assert told["waiting_to_be_recorded"] > 0
        assert len(rows) == 50
        assert own.log("recorder").count(AWAY) == 1


def test_a_recorder_that_waits_for_the_database_can_be_ended(own: Fleet, power: PowerSwitch) -> None:
    """SIGTERM ends it at once and cleanly, database or not."""
    power.off()
    own.start("recorder")
    wait_until(lambda: AWAY in own.log("recorder"), "the recorder misses the database")

    assert own.terminate("recorder") == 0
    assert "Traceback" not in own.log("recorder")
