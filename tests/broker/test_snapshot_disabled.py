"""Who switches an integration off, and what undoes that: a worker in Redis, the recorder, a person."""

from dataclasses import replace

import redis

from tests.broker.sending import TIMING, append, claim, delivered, subscribe
from worker.broker import keys
from worker.broker.backlog import Backlog
from worker.broker.snapshot import Snapshot, publish_integrations
from worker.ledger.results import IntegrationRecord

DOCUMENT = '{"id": "a", "enabled": %s, "event_types": ["policy.deny"], "destination": {"type": "webhook"}}'


def record(*, revision: int, enabled: bool = True, deleted: bool = False) -> IntegrationRecord:
    """Make a record as the ledger keeps it."""
    return IntegrationRecord("a", "webhook", DOCUMENT % str(enabled).lower(), revision, deleted=deleted)


def is_held(client: redis.Redis) -> bool:
    """Whether nothing is claimed of the integration."""
    return client.hget(keys.state_key("a"), "held") == b"1"


def hold(client: redis.Redis) -> None:
    """Do what a worker's settle does when the destination says that it is gone."""
    client.hset(keys.state_key("a"), "held", "1")


def test_what_a_worker_holds_stays_held_until_the_ledger_knows(client: redis.Redis) -> None:
    """Looking again, with the same revision, does not let go of it."""
    publish_integrations(client, [record(revision=1)], slots=4)
    hold(client)

    assert not publish_integrations(client, [record(revision=1)], slots=4)
    assert is_held(client)


def test_another_number_of_slots_does_not_let_go(client: redis.Redis) -> None:
    """A recorder with another SIEM_SLOTS writes limits, and leaves alone what it knows nothing of."""
    publish_integrations(client, [record(revision=1)], slots=4)
    hold(client)

    assert publish_integrations(client, [record(revision=1)], slots=2)
    assert client.hget(keys.state_key("a"), "slots") == b"2"
    assert is_held(client)


def test_a_lost_version_does_not_let_go(client: redis.Redis) -> None:
    """Telling readers to look again is no change of any integration."""
    publish_integrations(client, [record(revision=1)], slots=4)
    hold(client)
    client.delete(keys.INTEGRATIONS_VERSION)

    assert publish_integrations(client, [record(revision=1)], slots=4)
    assert is_held(client)


def test_disabled_by_the_ledger_it_stays_held(client: redis.Redis) -> None:
    """The recorder's change arrives: held, and no longer routed to."""
    publish_integrations(client, [record(revision=1)], slots=4)
    hold(client)
    publish_integrations(client, [record(revision=2, enabled=False)], slots=4)

    assert is_held(client)
    assert not Snapshot(client).subscriptions()["a"].wants("policy.deny", "default")


def test_switched_on_it_is_let_go(client: redis.Redis) -> None:
    """With the next revision that is enabled, its events are claimed again."""
    publish_integrations(client, [record(revision=2, enabled=False)], slots=4)
    publish_integrations(client, [record(revision=3)], slots=4)

    assert not is_held(client)


def test_off_and_on_between_two_looks_lets_go(client: redis.Redis) -> None:
    """The document is again what Redis has; the revision tells that somebody switched it on since."""
    publish_integrations(client, [record(revision=1)], slots=4)
    hold(client)

    assert publish_integrations(client, [record(revision=3)], slots=4)
    assert not is_held(client)


def test_deleted_it_is_let_go(client: redis.Redis) -> None:
    """What waits for one that was disabled and deleted drains into the dead letters."""
    publish_integrations(client, [record(revision=1)], slots=4)
    hold(client)
    publish_integrations(client, [record(revision=2, deleted=True)], slots=4)

    assert not is_held(client)


def test_state_of_an_earlier_release_is_brought_up_to_date(client: redis.Redis) -> None:
    """It knows no revision: it is written once, and then is as any other."""
    publish_integrations(client, [record(revision=1)], slots=4)
    client.hdel(keys.state_key("a"), "revision")

    assert publish_integrations(client, [record(revision=1)], slots=4)
    assert not publish_integrations(client, [record(revision=1)], slots=4)


def test_what_waits_is_claimed_once_it_is_let_go(client: redis.Redis) -> None:
    """Held, nothing is leased of a backlog; let go, it is."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    hold(client)
    backlog = Backlog(client, TIMING)
    before = backlog.wake(["a"])
    publish_integrations(client, [record(revision=2)], slots=4)

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
