"""`siem integrations orphans`: what a restored ledger does not know is seen, adopted or deleted."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete

from tests.broker.sending import append
from tests.cli.running import Ran, call
from tests.fleet import Fleet
from worker.broker import keys
from worker.broker.conflicts import hold_unknown
from worker.broker.integration_documents import standing_ids
from worker.broker.snapshot import Snapshot
from worker.ledger.schema import integrations


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet without any process but the server."""
    with Fleet(tmp_path) as fleet:
        yield fleet


@pytest.fixture
def orphan(own: Fleet) -> str:
    """Give the id of an integration of which the ledger knows nothing; two events wait for it."""
    made = own.integrate("https://hook.example.com/in", "late", type="webhook", headers={"X-Key": "hush"})
    with own.engine.begin() as connection:
        connection.execute(delete(integrations).where(integrations.c.id == made.id))
    append(own.client, made.id, [["e1", "e2"]])
    hold_unknown(own.client, standing_ids(own.client))
    return made.id


def siem(fleet: Fleet, *arguments: str) -> Ran:
    """Run `siem integrations orphans`."""
    return call(fleet.environment, "integrations", "orphans", *arguments)


def test_every_command_reports_it(own: Fleet, orphan: str) -> None:
    """The list of orphans has it; list, status and health say that there is one."""
    [listed] = siem(own, "list", "--json").json["items"]
    integrations_list = call(own.environment, "integrations", "list")
    status = call(own.environment, "status")
    health = call(own.environment, "health")

    assert listed["id"] == orphan
    assert listed["name"] == "late"
    assert listed["type"] == "webhook"
    assert (listed["kind"], listed["backlog"]) == ("unknown", 2)
    assert "paused until it is adopted or deleted" in siem(own, "list").out
    reported = "1 of the integrations in Redis is not known to the ledger and is paused"
    assert reported in integrations_list.out
    assert f"NOT OK: {reported}" in status.out
    assert call(own.environment, "status", "--json").report["conflicts"] == {"unknown": 1, "older": 0}
    assert health.code == 1
    assert reported in health.out


@pytest.mark.parametrize("by", ["id", "name"])
def test_one_is_adopted_as_it_was(own: Fleet, orphan: str, by: str) -> None:
    """Secrets included; it stays paused until it is resumed, and its events wait."""
    adopted = siem(own, "adopt", orphan if by == "id" else "late")
    found = own.store.get(orphan)
    resumed = call(own.environment, "integrations", "resume", orphan)
    [subscription] = Snapshot(own.client).subscriptions().values()

    assert (adopted.code, resumed.code) == (0, 0)
    assert adopted.out.startswith(f"Adopted late ({orphan}); ")
    assert found.paused
    assert found.destination.headers["X-Key"].get_secret_value() == "hush"  # type: ignore[attr-defined]  # a webhook's
    assert (subscription.paused, own.client.hget(keys.state_key(orphan), "held")) == (False, b"0")
    assert siem(own, "list", "--json").json == {"items": [], "next": None}
    assert own.client.xlen(keys.urgent(orphan)) == 1


def test_one_whose_name_is_taken_gets_another(own: Fleet, orphan: str) -> None:
    """Someone has created it again meanwhile."""
    own.integrate("https://hook.example.com/in", "late", type="webhook", id="int_new")
    taken = siem(own, "adopt", orphan)
    adopted = siem(own, "adopt", orphan, "--name", "later", "--json")

    assert taken.code == 2
    assert "name: late is taken" in taken.complaint
    assert "--name" in taken.complaint
    assert adopted.json["name"] == "later"
    assert own.store.resolve("later") == orphan


def test_one_is_deleted_with_a_record(own: Fleet, orphan: str) -> None:
    """The ledger knows that it was, without its secrets; its backlog drains as of any that is deleted."""
    refused = siem(own, "delete", "late")
    deleted = siem(own, "delete", "late", "--yes", "--json")
    [record] = own.store.records()
    [tombstone] = Snapshot(own.client).subscriptions().values()

    assert (refused.code, "--yes" in refused.complaint) == (2, True)
    assert deleted.json == {"deleted": orphan}
    assert record.id == orphan
    assert record.deleted is True
    assert "sealed" not in record.document
    assert (tombstone.deleted, own.client.hget(keys.state_key(orphan), "held")) == (True, b"0")
    assert siem(own, "list", "--json").json == {"items": [], "next": None}


@pytest.mark.parametrize("command", [["adopt", "nobody"], ["delete", "nobody", "--yes"]])
def test_one_that_is_known_is_no_orphan(own: Fleet, command: list[str]) -> None:
    """The error names the command that lists them."""
    own.integrate("https://hook.example.com/in", "known", type="webhook")
    for name in ("nobody", "known"):
        ran = siem(own, command[0], name, *command[2:])
        assert (ran.code, "orphans list" in ran.complaint) == (4, True)
