"""The copy of the integrations in Redis follows the ledger, and forgets nothing by mistake."""

import json
from dataclasses import replace

import pytest
import redis

from tests.broker.sending import TIMING, append, claim, delivered, subscribe
from worker.broker import keys
from worker.broker.backlog import Backlog
from worker.broker.snapshot import Snapshot, differing, publish_integrations
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
    """Pointing a recorder at an empty ledger by mistake ends no subscription."""
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


DOCUMENT = '{"id": "a", "enabled": %s, "event_types": ["policy.deny"], "destination": {"type": "webhook"}}'


def state(*, revision: int, enabled: bool = True, deleted: bool = False) -> IntegrationRecord:
    """Make a record of the integration `a` at that revision, as the ledger keeps it."""
    return IntegrationRecord("a", "webhook", DOCUMENT % str(enabled).lower(), revision, deleted=deleted)


def is_held(client: redis.Redis) -> bool:
    """Whether nothing is claimed of the integration."""
    return client.hget(keys.state_key("a"), "held") == b"1"


def hold(client: redis.Redis) -> None:
    """Do what a worker's settle does when the destination says that it is gone."""
    client.hset(keys.state_key("a"), "held", "1")


#: What the ledger says once a worker holds an integration; whether that is news, and it stays held.
AFTER_A_HOLD = {
    "nothing": (state(revision=1), False, True),
    "disabled by its destination": (state(revision=2, enabled=False), True, True),
    "disabled, and enabled again": (state(revision=3), True, False),
    "deleted: what waits drains into the dead letters": (state(revision=2, deleted=True), True, False),
}


@pytest.mark.parametrize("ledger", AFTER_A_HOLD)
def test_what_a_worker_holds_stays_held_until_the_ledger_knows(client: redis.Redis, ledger: str) -> None:
    """A later revision that is enabled or deleted lets go, though its document may be what Redis has."""
    record_now, is_news, stays_held = AFTER_A_HOLD[ledger]
    publish_integrations(client, [state(revision=1)], slots=4)
    hold(client)

    assert publish_integrations(client, [record_now], slots=4) is is_news
    assert is_held(client) is stays_held
    wanted = Snapshot(client).subscriptions()["a"].wants("policy.deny", "default")
    assert wanted is (record_now.document == DOCUMENT % "true" and not record_now.deleted)


def test_another_number_of_slots_does_not_let_go(client: redis.Redis) -> None:
    """A recorder with another SIEM_SLOTS writes limits, and leaves alone what it knows nothing of."""
    publish_integrations(client, [state(revision=1)], slots=4)
    hold(client)

    assert publish_integrations(client, [state(revision=1)], slots=2)
    assert client.hget(keys.state_key("a"), "slots") == b"2"
    assert is_held(client)


def test_a_lost_version_does_not_let_go(client: redis.Redis) -> None:
    """To make readers look again is no change of any integration."""
    publish_integrations(client, [state(revision=1)], slots=4)
    hold(client)
    client.delete(keys.INTEGRATIONS_VERSION)

    assert publish_integrations(client, [state(revision=1)], slots=4)
    assert is_held(client)


def test_enabled_again_it_is_let_go(client: redis.Redis) -> None:
    """With the next revision that is enabled, its events are claimed again."""
    publish_integrations(client, [state(revision=2, enabled=False)], slots=4)
    publish_integrations(client, [state(revision=3)], slots=4)

    assert not is_held(client)


def test_state_of_an_earlier_release_is_brought_up_to_date(client: redis.Redis) -> None:
    """It knows no revision: it is written once, and then is as any other."""
    publish_integrations(client, [state(revision=1)], slots=4)
    client.hdel(keys.state_key("a"), "revision")

    assert publish_integrations(client, [state(revision=1)], slots=4)
    assert not publish_integrations(client, [state(revision=1)], slots=4)


def test_what_waits_is_claimed_once_it_is_let_go(client: redis.Redis) -> None:
    """Held, nothing is leased of a backlog; let go, it is."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    hold(client)
    backlog = Backlog(client, TIMING)
    before = backlog.wake(["a"])
    publish_integrations(client, [state(revision=2)], slots=4)

    assert before == []
    assert [order.integration_id for order in backlog.wake(["a"])] == ["a"]


def test_a_batch_that_says_so_holds_all_that_follows(client: redis.Redis) -> None:
    """Nothing more is claimed from that very step on; the ledger learns of it by the outcome."""
    backlog = Backlog(client, TIMING)
    subscribe(client, "a", batch_events=1)
    append(client, "a", [["e1"], ["e2"]])
    batch = claim(backlog, "a").batch

    assert backlog.settle(batch, replace(delivered(batch), disable=True)) is None
    assert is_held(client)
    assert backlog.wake(["a"]) == []


def test_of_hundreds_those_are_named_that_stand_here_otherwise(client: redis.Redis) -> None:
    """Under another revision, with another number of slots, not at all, or unreadable."""
    names = [f"i{number}" for number in range(600)]
    subscribe(client, *names)
    client.hset("siem:state:i249", "revision", 7)
    client.hset("siem:state:i250", "slots", 9)
    client.hdel(keys.INTEGRATIONS, "i400")
    client.set("siem:state:i599", "no hash")
    known = [IntegrationRecord(one, "splunk_hec", "{}", 1, deleted=False) for one in names]

    assert differing(client, known, 4) == {"i249", "i250", "i400", "i599"}
