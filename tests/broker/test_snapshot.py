"""The copy of the integrations in Redis follows the ledger, and forgets nothing by mistake."""

import json

import redis

from worker.broker.snapshot import Snapshot, publish_integrations
from worker.ledger.results import IntegrationRecord


def record(integration_id: str, *, deleted: bool = False, **fields: object) -> IntegrationRecord:
    """Make a record as the ledger keeps it."""
    destination = {"type": "splunk_hec", "batch_events": 7, "batch_bytes": 900}
    document = {
        "id": integration_id,
        "enabled": True,
        "event_types": ["policy.deny"],
        "destination": destination,
    }
    return IntegrationRecord(integration_id, "splunk_hec", json.dumps(document | fields), 1, deleted=deleted)


def test_what_is_published_is_read(client: redis.Redis) -> None:
    """A reader sees every change, and the same object while there is none."""
    snapshot = Snapshot(client)
    assert publish_integrations(client, [record("a")], slots=4)
    first = snapshot.subscriptions()

    assert first["a"].wants("policy.deny", "default")
    assert snapshot.subscriptions() is first
    assert not publish_integrations(client, [record("a")], slots=4)
    assert publish_integrations(client, [record("a", enabled=False)], slots=4)
    assert not snapshot.subscriptions()["a"].wants("policy.deny", "default")


def test_limits_stand_beside_the_backlog(client: redis.Redis) -> None:
    """The scripts read slots and limits of batches from the integration's state, which follows as well."""
    publish_integrations(client, [record("a")], slots=4)

    assert client.hmget("siem:state:a", ["slots", "batch_events", "batch_bytes", "held"]) == [
        b"4",
        b"7",
        b"900",
        b"0",
    ]
    assert publish_integrations(client, [record("a")], slots=2)
    assert client.hget("siem:state:a", "slots") == b"2"


def test_what_was_deleted_leaves_a_tombstone_without_secrets(client: redis.Redis) -> None:
    """A tombstone wants nothing, and lets what is left of the backlog go out."""
    publish_integrations(client, [record("a", token="sealed")], slots=4)
    publish_integrations(client, [record("a", deleted=True)], slots=4)

    [tombstone] = Snapshot(client).subscriptions().values()
    assert tombstone.deleted
    assert not tombstone.wants("policy.deny", "default")
    assert client.hget("siem:state:a", "held") == b"0"
    assert b"sealed" not in (client.hget("siem:integrations", "a") or b"")


def test_an_integration_that_the_ledger_does_not_know_is_left_alone(client: redis.Redis) -> None:
    """Pointing a recorder at an empty ledger by mistake unsubscribes nobody."""
    publish_integrations(client, [record("a")], slots=4)
    publish_integrations(client, [], slots=4)

    assert Snapshot(client).subscriptions()["a"].wants("policy.deny", "default")


def test_what_redis_has_lost_is_brought_back(client: redis.Redis) -> None:
    """State and documents that vanished are written again."""
    publish_integrations(client, [record("a")], slots=4)
    client.flushall()

    assert publish_integrations(client, [record("a")], slots=4)
    assert Snapshot(client).subscriptions()["a"].enabled
    assert client.hget("siem:state:a", "slots") == b"4"
