"""`siem db status`, `upgrade`, `downgrade`, beside processes of this release and of others."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, text

from tests.cli.running import Ran, call
from tests.fleet import Fleet, wait_until
from tests.ledger.migrations.later_steps import CONTRACTS, EXPANDS, as_later_release
from tests.ledger.tables import is_current
from worker import __version__
from worker.background.schema_compatibility import ledger_users, schema_facts
from worker.broker import keys
from worker.broker.heartbeat import API, Heartbeat
from worker.ledger.engine import writing
from worker.ledger.migrations.revisions import own_steps
from worker.ledger.migrations.runner import upgrade_tables

_HEAD = own_steps().head


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet without any process but the server."""
    with Fleet(tmp_path / "fleet") as made:
        yield made


@pytest.fixture
def api_of_this_release(fleet: Fleet) -> Iterator[Heartbeat]:
    """Give a sign of life as `siem api` does."""
    sign = Heartbeat(fleet.client, API, facts=schema_facts())
    sign.start()
    wait_until(lambda: ledger_users(fleet.client), "it gives a sign of life")
    yield sign
    sign.stop()


def _run_0_1_0(fleet: Fleet, role: str) -> None:
    """Give a sign of life as release 0.1.0 does."""
    fleet.client.set(f"{keys.ALIVE_PREFIX}{role}:there:7", "1795600000 0.2", ex=60)


def _json(ran: Ran) -> Any:
    return json.loads(ran.out)


@pytest.mark.usefixtures("api_of_this_release")
def test_status_tells_who_can_work_with_the_tables(fleet: Fleet) -> None:
    """Processes of two releases, and what each needs."""
    _run_0_1_0(fleet, "recorder")
    _run_0_1_0(fleet, "router")
    ran = call(fleet.environment, "db", "status", "--json")
    reported = _json(ran)
    text_ = call(fleet.environment, "db", "status").out

    assert ran.code == 0
    assert reported["release"] == __version__
    assert reported["revision"] == _HEAD
    assert reported["usable"] is True
    assert reported["reason"] is None
    assert reported["database"]["readable_from"] == "0007"
    assert reported["database"]["readable_release"] == "0.1.0"
    assert reported["pending"]["steps"] == []
    assert {
        (one["role"], one["release"], one["revision"], one["can_work"]) for one in reported["processes"]
    } == {
        ("api", __version__, _HEAD, True),
        ("recorder", "0.1.0", "0007", True),
        ("router", "0.1.0", None, True),
    }
    assert f"works with:    code of revision 0007 to {_HEAD} (from release 0.1.0 on)" in text_


@pytest.mark.usefixtures("api_of_this_release")
def test_a_downgrade_waits_for_those_who_need_the_tables(fleet: Fleet) -> None:
    """It names them; a process of the older release is in no one's way."""
    _run_0_1_0(fleet, "recorder")
    refused = call(fleet.environment, "db", "downgrade", "--to-release", "0.1.0")
    still = is_current(fleet.engine)
    done = call(fleet.environment, "db", "downgrade", "--to-release", "0.1.0", "--confirm", "--json")
    status = call(fleet.environment, "db", "status", "--json")

    assert (refused.code, still) == (1, True)
    assert f"api {ledger_users(fleet.client)[0].name} (release {__version__})" in refused.complaint
    assert "recorder" not in refused.complaint
    assert (done.code, _json(done)["database"]["revision"]) == (0, "0007")
    assert status.code == 1
    assert {one["role"]: one["can_work"] for one in _json(status)["processes"]} == {
        "api": False,
        "recorder": True,
    }
    assert "run `siem db upgrade`" in _json(status)["reason"]


def test_a_downgrade_says_what_is_lost(fleet: Fleet) -> None:
    """Nothing is changed until someone says that it may be lost; the dry run shows the SQL."""
    with writing(fleet.engine) as connection:
        connection.execute(
            text(
                "INSERT INTO redis_losses (id, kind, since_ms, found_ms, events, document)"
                " VALUES ('loss_1', 'emptied', 1, 2, 3, '{}')"
            )
        )
    words = ("db", "downgrade", "0006")
    dry = call(fleet.environment, *words, "--dry-run", "--json")
    refused = call(fleet.environment, *words)
    still = is_current(fleet.engine)
    done = call(fleet.environment, *words, "--confirm")

    assert {"what": "drops the table redis_losses", "values": 1} in _json(dry)["lost"]
    assert "DROP TABLE redis_losses" in _json(dry)["sql"]
    assert (refused.code, still) == (1, True)
    assert "this would lose data: " in refused.complaint
    assert "drops the table redis_losses (1 value)" in refused.complaint
    assert done.code == 0
    assert "redis_losses" not in inspect(fleet.engine).get_table_names()


def test_a_downgrade_without_redis_is_confirmed_by_a_person(fleet: Fleet) -> None:
    """Who runs is not known then."""
    away = fleet.environment | {"SIEM_REDIS_URL": "redis://127.0.0.1:1/0"}
    refused = call(away, "db", "downgrade", "0007")
    status = call(away, "db", "status")
    done = call(away, "db", "downgrade", "0007", "--confirm")

    assert refused.code == 1
    assert status.code == 0
    assert done.code == 0
    assert "who runs is not known" in refused.complaint
    assert "who runs is not known: " in status.out


def test_there_and_back_again(fleet: Fleet) -> None:
    """Down to release 0.1.0, pending steps listed with who waits for them, and up again; each once."""
    steps = [call(fleet.environment, "db", *words.split()) for words in (
        "downgrade --to-release 0.1.0 --confirm",  # the audit trail goes
        "downgrade --to-release 0.1.0",
        "status",
        "upgrade --dry-run",
        "upgrade",
        "upgrade",
    )]  # fmt: skip
    down, again, status, dry, up, _ = steps

    assert [ran.code for ran in steps] == [0, 0, 1, 0, 0, 0]
    assert down.out.startswith(f"Undid {_HEAD}")
    assert "Undid" not in again.out
    assert "pending:       0008, " in status.out
    assert "makes the table schema_revisions (nothing waits)" in status.out
    assert "CREATE TABLE schema_revisions" in dry.out
    assert up.out.startswith("Took 0008")
    assert is_current(fleet.engine)


def test_what_only_adds_is_upgraded_beside_everybody(fleet: Fleet, tmp_path: Path) -> None:
    """Redis is not even asked: no one could be stopped."""
    _run_0_1_0(fleet, "recorder")
    away = fleet.environment | {"SIEM_REDIS_URL": "redis://127.0.0.1:1/0"}
    with as_later_release(tmp_path / "later", EXPANDS):
        done = call(away, "db", "upgrade", "--json")

    assert done.code == 0
    assert _json(done)["took"] == ["9001"]
    assert _json(done)["database"]["readable_from"] == "0007"


def test_what_takes_away_waits_for_those_who_need_it(fleet: Fleet, tmp_path: Path) -> None:
    """First it only adds; what takes away comes once no process needs the old shape."""
    _run_0_1_0(fleet, "recorder")
    _run_0_1_0(fleet, "worker-webhook")
    with as_later_release(tmp_path / "later", EXPANDS, CONTRACTS):
        refused = call(fleet.environment, "db", "upgrade")
        still = is_current(fleet.engine)
        fleet.client.delete(f"{keys.ALIVE_PREFIX}recorder:there:7")
        done = call(fleet.environment, "db", "upgrade")
    shut_out = call(fleet.environment, "db", "status")
    upgraded = call(fleet.environment, "db", "upgrade")

    assert refused.code == 1
    assert still is False
    assert done.code == 0
    assert (
        "these processes could not work with the changed tables: recorder there:7 (release 0.1.0)"
        in refused.complaint
    )
    assert "worker-webhook" not in refused.complaint
    assert shut_out.code == 1
    assert "install release 8.0.0 or later" in shut_out.out
    assert (upgraded.code, "install release 8.0.0 or later" in upgraded.complaint) == (3, True)


def test_looking_makes_no_ledger(tmp_path: Path) -> None:
    """In the wrong directory."""
    environment = {"SIEM_DATA_DIR": str(tmp_path / "data")}
    looked = [call(environment, "db", *words.split()) for words in ("status", "downgrade 0007")]

    assert [ran.code for ran in looked] == [3, 3]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        ("downgrade", 2, "either a revision, such as 0007, or --to-release"),
        ("downgrade 0007 --to-release 0.1.0", 2, "either a revision"),
        ("downgrade 7", 4, "there is no revision 7 of the ledger's tables: this release has 0001 to"),
        ("downgrade --to-release 0.0.9", 4, "give one of 0.1.0, "),
    ],
)
def test_a_target_that_is_none(fleet: Fleet, words: str, code: int, complaint: str) -> None:
    """It is named, with what would be right."""
    ran = call(fleet.environment, "db", *words.split())

    assert ran.code == code
    assert complaint in ran.complaint
    upgrade_tables(fleet.engine)
    assert is_current(fleet.engine)
