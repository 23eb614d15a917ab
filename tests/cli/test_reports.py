"""`siem health` and `siem status` report what the one knows while the database or Redis is away."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import denial
from tests.cli.running import Ran, call, run
from tests.cli.test_troubles import NO_DATABASE, NO_REDIS
from tests.fleet import Fleet, wait_until
from tests.ledger.postgres import postgres_server
from tests.ledger.test_driver_errors_causes import FULL_DISK, NO_ROOM
from tests.receivers.hec import HecReceiver
from worker.broker import keys
from worker.broker.notices import RecorderStall, recorder_stall
from worker.model.errors import LedgerUnavailable
from worker.model.outages import OutageCause

pytestmark = pytest.mark.slow


def document(ran: Ran) -> Any:
    """Return the document of a report that could not ask everyone."""
    assert ran.code == 3
    return json.loads(ran.out)


def named(report: Any) -> dict[str, Any]:
    """Return the integrations of a report by name."""
    return {one["name"]: one for one in report["integrations"]}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet with three integrations, of which nothing runs: one is held, one is paused."""
    with Fleet(tmp_path) as fleet:
        for name in ("held", "quiet"):
            fleet.integrate("https://splunk.example.com/services/collector", name)
        fleet.integrate("https://splunk.example.com/services/collector", "paused", paused=True)
        opened = ("breaker", "open", "opened_by", "connect_failed", "opened_at", "1795600000000")
        fleet.client.hset(keys.state_key("int_held"), items=[*opened, "backlog_events", "7"])
        yield fleet


def test_health_without_the_database(own: Fleet) -> None:
    """Redis names the integrations; it decides for the held and the paused one, and not for the other."""
    away = own.environment | {"SIEM_DATABASE_URL": NO_DATABASE}
    reported = document(call(away, "health", "--json"))
    parts = {one["name"]: one for one in reported["fleet"]["parts"]}
    found = named(reported)
    [gap] = reported["unknown"]

    assert {name: one["state"] for name, one in found.items()} == {
        "held": "failing",
        "paused": "paused",
        "quiet": "unknown",
    }
    assert "circuit breaker open" in found["held"]["reason"]
    assert (found["held"]["backlog"], found["held"]["parked"]) == (7, None)
    assert "unknown without the database" in found["quiet"]["reason"]
    assert (parts["redis"]["ok"], parts["database"]["ok"]) == (True, False)
    assert "0 events to be routed wait" in parts["router"]["detail"]
    assert "no integration needs one" in parts["worker-webhook"]["detail"]
    assert (gap["source"], gap["fields"][0]) == ("database", "last_success_at")
    assert [one["unknown"] for one in found.values()] == [[gap]] * 3
    assert "127.0.0.1:1/siem does not answer" in gap["reason"]


def test_one_integration_without_the_database(own: Fleet) -> None:
    """By name or id; a name that Redis does not know is no such thing, as far as is known."""
    away = own.environment | {"SIEM_DATABASE_URL": NO_DATABASE}
    for given in ("held", "int_held"):
        assert document(call(away, "health", given, "--json"))["state"] == "failing"
    table = call(away, "health", "held")
    missing = call(away, "health", "nobody")

    assert "held is failing: circuit breaker open" in table.out
    assert "NOT KNOWN without the database: last_success_at" in table.out
    assert (missing.code, "there is no integration nobody in Redis" in missing.err) == (4, True)


def test_status_without_the_database(own: Fleet) -> None:
    """Backlogs, breakers and what waits are reported; deliveries are null, and ? in the table."""
    away = own.environment | {"SIEM_DATABASE_URL": NO_DATABASE}
    reported = document(call(away, "status", "--json"))
    table = call(away, "status")
    held = named(reported)["held"]

    assert held["backlog"] == 7
    assert held["breaker_open"]["cause"] == "connect_failed"
    assert held["delivered"] is None
    assert (reported["waiting_to_be_routed"], reported["processes"]["router"]) == (0, False)
    assert [one["source"] for one in reported["unknown"]] == ["database"]
    assert "NOT KNOWN without the database: last_success_at" in table.out
    assert " parked, delivered, retried, dead, disabled_reason (" in table.out
    assert "Not running: router, recorder" in table.out
    assert table.out.count("?") >= 12
    for command in ("status", "health"):
        [row] = [line for line in call(away, command).out.splitlines() if " quiet " in line]
        assert row.count("?") == {"status": 4, "health": 3}[command], row


def test_both_without_redis(settled: Fleet) -> None:
    """The ledger's deliveries are settled; what waits is not known, and nothing is called healthy for it."""
    away = settled.environment | {"SIEM_REDIS_URL": NO_REDIS}
    health, status = (document(call(away, command, "--json")) for command in ("health", "status"))
    parts = {one["name"]: one for one in health["fleet"]["parts"]}
    well, counted = named(health)["well"], named(status)["well"]

    assert (parts["redis"]["ok"], parts["database"]["ok"]) == (False, True)
    assert (well["state"], well["backlog"]) == ("unknown", None)
    assert "last delivery at" in well["reason"]
    assert well["last_success_at"]
    assert counted["delivered"] == 300
    assert counted["backlog"] is None
    assert status["processes"] is None
    whole = settled.siem("status", "--json").stdout
    assert set(status) == set(json.loads(whole))
    assert named(status)["ill"]["dead"] == 2


def test_nothing_answers(own: Fleet) -> None:
    """Both are reported, a line each."""
    away = own.environment | {"SIEM_REDIS_URL": NO_REDIS, "SIEM_DATABASE_URL": NO_DATABASE}
    for command in ("health", "status"):
        ran = call(away, command)
        assert ran.code == 3
        assert sorted(line.split()[1] for line in ran.err.splitlines()) == ["Redis", "the"]
        assert "No integration is known." in ran.out


def test_a_database_that_takes_nothing_is_not_ok(own: Fleet) -> None:
    """It answers who reads, and a recorder cannot write: health says so until one can."""
    stall = RecorderStall(own.client)
    stall.note(LedgerUnavailable("the disk of the database x is full: free some", OutageCause.DISK_FULL))
    ran = call(own.environment, "health", "--json")
    [part] = [one for one in json.loads(ran.out)["fleet"]["parts"] if one["name"] == "database"]
    status = call(own.environment, "status")
    stall.clear()

    assert ran.code == 1
    assert status.code == 1
    assert part["ok"] is False
    assert "takes nothing from a recorder: the disk of the database x is full" in part["detail"]
    assert "NOT OK: nothing can be recorded: the disk of the database x is full" in status.out
    assert recorder_stall(own.client) is None


def test_a_recorder_that_can_write_takes_back_what_another_one_said(own: Fleet) -> None:
    """However often: that no recorder can write is not reported while one of them does."""
    cut_off, well = RecorderStall(own.client), RecorderStall(own.client)
    for _ in range(2):
        cut_off.note(LedgerUnavailable("the database takes no connection of it", OutageCause.UNREACHABLE))
        assert recorder_stall(own.client)
        well.clear()
        assert recorder_stall(own.client) is None


def test_a_full_disk_is_reported_by_all(tmp_path: Path) -> None:
    """A real PostgreSQL without room: the recorder's log and health name it, until it is over."""
    with (
        postgres_server() as server,
        server.database("full") as url,
        HecReceiver() as splunk,
        Fleet(tmp_path, database_url=url) as fleet,
    ):
        fleet.integrate(splunk.url)
        fleet.start()
        refuse_for_want_of_room(fleet)
        fleet.publish([denial("e1")])
        wait_until(lambda: recorder_stall(fleet.client), "the recorder says so")
        ran = run(fleet.environment, "health")
        fleet_log = fleet.log("recorder")
        make_room(fleet)
        fleet.settled(1)
        wait_until(lambda: recorder_stall(fleet.client) is None, "it is over")

    assert "NOT OK  database" in ran.out
    assert "disk of the database" in ran.out
    assert ran.code == 1
    assert fleet_log.count("lost the database: the disk of the database") == 1


#: Where a delivery is recorded: by the batch, or in a row of its own while a process may not know batches.
DELIVERIES = ("deliveries", "delivered_batches")


def refuse_for_want_of_room(fleet: Fleet) -> None:
    """Have PostgreSQL say of every delivery what it says on a full disk."""
    with fleet.engine.begin() as connection:
        connection.exec_driver_sql(FULL_DISK)
        for table in DELIVERIES:
            connection.exec_driver_sql(NO_ROOM.replace("dead_letters", table))


def make_room(fleet: Fleet) -> None:
    """Let it take deliveries again."""
    with fleet.engine.begin() as connection:
        for table in DELIVERIES:
            connection.exec_driver_sql(f"DROP TRIGGER no_room ON {table}")
