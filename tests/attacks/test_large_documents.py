"""What tenants put into their integrations must not make the changes of others slow."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.api.conftest import Api, running
from tests.fleet import Fleet
from worker.background.reconciler import Reconciliation
from worker.broker import keys
from worker.broker.api_keys import KeyCopy
from worker.broker.connection import redis_client
from worker.broker.snapshot import Snapshot, publish_some
from worker.integrations.integration import Integration, parse_integration
from worker.ledger.integrations import IntegrationStore
from worker.vault.vault import open_vault

MANY, LARGE = 40, 50_000
#: A change reads and writes its own document a few times.
FEW_BYTES = 8 * LARGE


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet in which a tenant has many large integrations, and another one has a small one."""
    with Fleet(tmp_path) as own:
        for number in range(MANY):
            own.store.create(webhook(f"large{number}", "greedy", {"headers": headers()}))
        own.store.create(webhook("small", "ours", {}))
        own.announce()
        yield own


def headers() -> dict[str, str]:
    """Make headers that are large altogether."""
    return {f"X-{number}": "x" * 3000 for number in range(LARGE * 3 // 4 // 3000)}


def webhook(name: str, tenant: str, more: dict[str, object]) -> Integration:
    """Make an integration."""
    destination = {"type": "webhook", "url": "https://hook.example.com/in", **more}
    return parse_integration(
        {"id": f"int_{name}", "name": name, "tenant_id": tenant, "destination": destination}
    )


@contextmanager
def bytes_of(client: redis.Redis) -> Iterator[list[int]]:
    """Count the bytes that all clients exchange with Redis meanwhile."""
    counted: list[int] = []
    before = _bytes(client)
    yield counted
    counted.append(_bytes(client) - before)


def _bytes(client: redis.Redis) -> int:
    found = client.info("stats")
    return int(found["total_net_input_bytes"] + found["total_net_output_bytes"])


def test_a_change_costs_one_document(fleet: Fleet) -> None:
    """By the API: neither it nor a router that learns of it reads the documents of others."""
    snapshot = Snapshot(redis_client(fleet.settings.broker_address()))
    assert len(snapshot.subscriptions()) == MANY + 1
    with running(fleet) as api, bytes_of(fleet.client) as counted:
        changed = change(api)
        seen = snapshot.subscriptions()["int_small"].name

    assert (changed, seen) == ("another name", "another name")
    assert counted[0] < FEW_BYTES


def change(api: Api) -> str:
    """Change the small integration, and return its name then."""
    answer = api.ask("PATCH", "/integrations/siem/int_small", json={"name": "another name"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["name"])


def test_a_recorder_looks_without_reading_all(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first look compares all; later ones compare revisions, and some documents in turn."""
    monkeypatch.setattr("worker.background.reconciler.AT_ONCE", 2)
    client = redis_client(fleet.settings.broker_address())
    store = IntegrationStore(fleet.engine, open_vault(fleet.settings))
    copy = KeyCopy(client, open_vault(fleet.settings).proofs)
    reconciliation = Reconciliation(client, store, copy, fleet.settings.slots)
    reconciliation.look()
    with bytes_of(fleet.client) as counted:
        assert not reconciliation.look()
    assert counted[0] < FEW_BYTES

    store.set_paused("int_small", paused=True)
    assert reconciliation.look()
    fleet.client.hset(keys.INTEGRATIONS, "int_large7", "{")
    assert any(reconciliation.look() for _ in range(MANY))
    assert json.loads(fleet.client.hget(keys.INTEGRATIONS, "int_large7") or b"")["id"] == "int_large7"


def test_a_redis_that_was_emptied_is_never_told_one_alone(fleet: Fleet) -> None:
    """A router that finds one integration would drop the events of all others."""
    fleet.client.flushall()

    assert publish_some(fleet.client, fleet.store.records(["int_small"]), 4) is None
    assert not fleet.client.exists(keys.INTEGRATIONS, keys.INTEGRATIONS_VERSION)
    with running(fleet) as api:
        change(api)
    assert len(Snapshot(fleet.client).subscriptions()) == MANY + 1


def test_a_change_of_the_release_before_is_seen(fleet: Fleet) -> None:
    """It sets another version and notes no change: all is read then, and a gap later on as well."""
    snapshot = Snapshot(fleet.client)
    snapshot.subscriptions()
    document = json.loads(fleet.client.hget(keys.INTEGRATIONS, "int_small") or b"")
    fleet.client.hset(keys.INTEGRATIONS, "int_small", json.dumps(document | {"name": "by the old one"}))
    fleet.client.set(keys.INTEGRATIONS_VERSION, "of the old one")
    fleet.store.set_paused("int_large0", paused=True)
    assert publish_some(fleet.client, fleet.store.records(["int_large0"]), 4)

    found = snapshot.subscriptions()
    assert (found["int_small"].name, found["int_large0"].paused) == ("by the old one", True)


def test_only_what_changed_is_read_again(fleet: Fleet) -> None:
    """Changes, deletions, and several of them since the last look."""
    snapshot = Snapshot(fleet.client)
    before = snapshot.subscriptions()
    fleet.client.hset(keys.INTEGRATIONS, "int_large1", "nobody reads this")
    for number in range(2, 5):
        fleet.store.set_paused(f"int_large{number}", paused=True)
        publish_some(fleet.client, fleet.store.records([f"int_large{number}"]), 4)
    fleet.store.delete("int_small")
    publish_some(fleet.client, fleet.store.records(["int_small"]), 4)
    after = snapshot.subscriptions()

    assert {one for one in after if after[one] is not before[one]} == {
        "int_large2",
        "int_large3",
        "int_large4",
        "int_small",
    }
    assert after["int_small"].deleted


def test_a_list_of_changes_that_is_damaged_costs_time_alone(fleet: Fleet) -> None:
    """Of another type, or no JSON: readers read everything, and the list begins again."""
    snapshot = Snapshot(fleet.client)
    snapshot.subscriptions()
    fleet.client.delete(keys.INTEGRATIONS_CHANGES)
    fleet.client.set(keys.INTEGRATIONS_CHANGES, "damaged")
    for paused in (True, False):
        fleet.store.set_paused("int_small", paused=paused)
        publish_some(fleet.client, fleet.store.records(["int_small"]), 4)
        assert snapshot.subscriptions()["int_small"].paused is paused
        fleet.client.rpush(keys.INTEGRATIONS_CHANGES, "{")
