"""What Redis holds of a deleted integration goes as a whole, once nothing refers to it, and not before."""

import itertools
import json
from typing import Any

import msgspec
import pytest
import redis

from tests.broker.sending import TIMING, append, claim, settle_all, subscribe
from worker.broker import deletions, keys
from worker.broker.backlog import Backlog
from worker.broker.deletions import DeletedKeys, Removal, deletion_notes
from worker.broker.snapshot import Snapshot, later_states, publish_integrations
from worker.ledger.results import IntegrationRecord
from worker.model.errors import LeaseLost

DOCUMENT = {
    "id": "a",
    "name": "alpha",
    "enabled": True,
    "event_types": ["policy.deny"],
    "destination": {"type": "webhook"},
}


def record(revision: int, *, is_deleted: bool = False, **fields: Any) -> IntegrationRecord:
    """Make a record of an integration as the ledger keeps it."""
    document = json.dumps(DOCUMENT | fields)
    return IntegrationRecord("a", "webhook", document, revision, deleted=is_deleted)


def delete(client: redis.Redis, revision: int = 2) -> None:
    """Tell the fleet that the integration was deleted."""
    publish_integrations(client, [record(revision, is_deleted=True)], slots=4)


def remove(client: redis.Redis, **how: Any) -> Removal:
    """Try to remove it."""
    return DeletedKeys(client).remove({"a": 2}, {}, **how)["a"]


def naming(client: redis.Redis) -> list[str]:
    """Name the keys that name the integration, and the hashes and sets that have something of it."""
    found = [name.decode() for name in client.scan_iter(count=1000)]
    named = [name for name in found if ":a:" in name or name.endswith(":a")]
    hashes = (keys.INTEGRATIONS, keys.CONFLICTS, keys.HEALTH_STATES, keys.HEALTH_UNSENT, keys.CERTIFICATES)
    named += [name for name in hashes if client.hexists(name, "a")]
    leases: list[Any] = client.zrange(keys.LEASES, 0, -1)
    return sorted(named + [member.decode() for member in leases if member.startswith(b"a/")])


def test_one_that_has_nothing_left_goes_as_a_whole(client: redis.Redis) -> None:
    """Streams, state, slots, document and health; readers see that something has changed."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    backlog = Backlog(client, TIMING)
    settle_all(backlog, "a")
    for name in (keys.HEALTH_STATES, keys.HEALTH_UNSENT, keys.CERTIFICATES):
        client.hset(name, "a", "{}")
    delete(client)
    snapshot = Snapshot(client)
    assert snapshot.subscriptions()["a"].deleted

    assert remove(client) is Removal.REMOVED
    assert naming(client) == []
    assert snapshot.subscriptions() == {}
    [note] = deletion_notes(client, ["a", "b"]).values()
    assert (note.type, note.revision) == ("webhook", 2)


@pytest.mark.parametrize("urgent", [True, False])
def test_what_waits_keeps_it(client: redis.Redis, urgent: bool) -> None:  # noqa: FBT001 - the lane
    """No event goes with its stream; nor does a batch that a worker is sending."""
    subscribe(client, "a")
    append(client, "a", [["e1"], ["e2"]], urgent=urgent)
    backlog = Backlog(client, TIMING)
    held = claim(backlog, "a")
    delete(client)
    before = client.hgetall(keys.slot_prefix("a") + "1")

    assert remove(client) is Removal.BUSY
    assert client.hgetall(keys.slot_prefix("a") + "1") == before
    settle_all(backlog, "a", held)
    assert remove(client) is Removal.REMOVED


def test_a_slot_in_use_keeps_it(client: redis.Redis) -> None:
    """A work order on its way finds what it needs; the empty claim frees the slot."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    backlog = Backlog(client, TIMING)
    [order] = backlog.wake(["a"])
    client.delete(keys.urgent("a"))
    delete(client)
    assert remove(client) is Removal.BUSY

    assert backlog.claim(order) == "empty"
    assert remove(client) is Removal.REMOVED
    assert backlog.claim(order) == "stale"
    assert naming(client) == []


def test_nothing_holds_up_what_drains(client: redis.Redis) -> None:
    """Neither a pause, nor an open breaker, nor a retry that is due in ten minutes."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    backlog = Backlog(client, TIMING)
    claim(backlog, "a")
    slot = keys.slot_prefix("a") + "1"
    client.hset(slot, mapping={"state": "waiting", "due": 9e15})
    client.zadd(keys.LEASES, {"a/1": 9e15})
    delete(client)
    late = {"held": 1, "breaker": "open", "opened_by": "timeout", "probe_at": 9_000_000_000_000_000}
    client.hset(keys.state_key("a"), mapping=late | {"rests_until": 9_000_000_000_000_000})  # type: ignore[arg-type]  # numbers are taken as well

    assert remove(client) is Removal.BUSY
    [(order, state, _)] = backlog.reissue()
    assert state == "waiting"
    found = backlog.claim(order)
    assert not isinstance(found, str)
    assert [one.id for one in found.batch.events] == ["e1"]
    assert json.loads(found.batch.configuration)["deleted"]


def test_events_that_are_to_come_back_keep_it(client: redis.Redis) -> None:
    """What is parked in the ledger returns to the backlog first."""
    subscribe(client, "a")
    delete(client)

    assert remove(client, waiting={"a"}) is Removal.BUSY
    assert remove(client) is Removal.REMOVED


@pytest.mark.parametrize("document", [json.dumps(DOCUMENT), "{", "[]"])
def test_one_that_is_not_deleted_stays(client: redis.Redis, document: str) -> None:
    """Whatever the caller believes: what stands here decides."""
    subscribe(client, "a")
    client.hset(keys.INTEGRATIONS, "a", document)
    before = naming(client)

    assert remove(client) is Removal.LIVING
    assert naming(client) == before


def test_keys_without_a_document_are_found_and_removed(client: redis.Redis) -> None:
    """Also slots above any limit that is set now, and what damage made of another type."""
    client.hset(keys.slot_prefix("a") + "700", "epoch", 3)
    client.set(keys.state_key("a"), "damaged")
    client.hset(keys.slot_prefix("b") + "1", "epoch", 3)
    client.set("siem:sweeper", "somebody")
    found = DeletedKeys(client)

    assert found.leftovers({"b"}) == {"a": 700}
    assert found.remove({"a": 0}, {"a": 700}) == {"a": Removal.REMOVED}
    assert found.leftovers({"b"}) == {}
    assert deletion_notes(client, ["a"]) == {}


def test_all_keys_are_looked_through_in_a_few_looks(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many other keys there are."""
    monkeypatch.setattr(deletions, "_SCANNED", 10)
    client.mset({f"siem:idempotency:{number}": "x" for number in range(500)})
    ids = {f"int_{number}" for number in range(50)}
    for one in ids:
        client.hset(keys.state_key(one), "slots", 4)
    looking = DeletedKeys(client)

    assert set().union(*(looking.leftovers(()) for _ in range(5))) == ids


def test_many_go_at_once(client: redis.Redis) -> None:
    """In pipelines of a bounded length, between which others are served."""
    ids = [f"int_{number}" for number in range(2500)]
    subscribe(client, *ids)
    gone = [IntegrationRecord(one, "webhook", "{}", 2, deleted=True) for one in ids]
    publish_integrations(client, gone, slots=4)
    results = DeletedKeys(client).remove(dict.fromkeys(ids, 2), {})

    assert set(results.values()) == {Removal.REMOVED}
    assert client.hlen(keys.INTEGRATIONS) == 0
    assert list(client.scan_iter(match="siem:state:*")) == []


def test_what_came_late_drains_and_goes_again(client: redis.Redis) -> None:
    """A router that slept appends to a backlog that is gone: a tombstone makes dead letters of that."""
    subscribe(client, "a")
    delete(client)
    remove(client)
    append(client, "a", [["late"]])
    backlog, found = Backlog(client, TIMING), DeletedKeys(client)
    leftovers = found.leftovers(())
    assert leftovers == {"a": 0}
    assert found.remove({"a": 2}, leftovers) == {"a": Removal.BUSY}
    found.set_tombstones(found.kinds(["a"]))

    held = claim(backlog, "a")
    assert json.loads(held.batch.configuration)["deleted"]
    settle_all(backlog, "a", held)
    assert remove(client) is Removal.REMOVED
    assert naming(client) == []
    assert [note.revision for note in deletion_notes(client, ["a"]).values()] == [2]


def test_a_batch_that_was_settled_late_writes_nothing(client: redis.Redis) -> None:
    """A worker whose lease was lost long ago brings nothing back."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    backlog = Backlog(client, TIMING)
    slow = claim(backlog, "a")
    client.zadd(keys.LEASES, {"a/1": 0})
    [(order, _, _)] = backlog.reissue()
    again = backlog.claim(order)
    assert not isinstance(again, str)
    settle_all(backlog, "a", again)
    delete(client)
    remove(client)

    with pytest.raises(LeaseLost):
        settle_all(backlog, "a", slow)
    assert naming(client) == []


def test_a_note_protects_as_the_tombstone_did(client: redis.Redis) -> None:
    """A ledger that was set back to before the deletion does not set its sending going again."""
    subscribe(client, "a")
    delete(client, revision=5)
    remove(client)
    [one] = later_states(client, [record(3)])

    assert one.deleted is True
    assert one.enabled is True
    assert one.paused is True
    assert one.revision == 5
    assert not publish_integrations(client, [record(3)], slots=4)
    assert naming(client) == []
    # The recorder has written the more careful state into the ledger.
    assert later_states(client, [record(6, paused=True)]) == []
    assert publish_integrations(client, [record(6, paused=True)], slots=4)
    assert Snapshot(client).subscriptions()["a"].paused
    assert deletion_notes(client, ["a"]) == {}


def test_one_that_is_gone_gets_no_tombstone_again(client: redis.Redis) -> None:
    """The ledger keeps its row for ever, and sends it every few seconds."""
    subscribe(client, "a")
    delete(client)
    remove(client)

    assert not publish_integrations(client, [record(2, is_deleted=True)], slots=4)
    assert naming(client) == []


def test_an_older_redis_is_told_again(client: redis.Redis) -> None:
    """Where data came back in which it lives, it is buried once more."""
    publish_integrations(client, [record(1)], slots=4)
    delete(client)

    assert Snapshot(client).subscriptions()["a"].deleted


def test_an_earlier_release_writes_the_same_tombstone() -> None:
    """Else its recorder and ours would write over each other's for ever."""
    expected = json.dumps({"id": "a", "destination": {"type": "webhook"}, "deleted": True})
    assert deletions.tombstone("a", "webhook") == expected.encode()


def test_old_notes_are_forgotten(client: redis.Redis) -> None:
    """No backup that old is restored; what is damaged says nothing."""
    note = deletions.DeletionNote("webhook", 1)
    now = deletions.DeletionNote("webhook", 1, at_ms=9_000_000_000_000)
    client.hset(keys.DELETED, mapping={"old": msgspec.json.encode(note), "new": msgspec.json.encode(now)})
    client.hset(keys.DELETED, "damaged", "{")

    assert DeletedKeys(client).forget_old_notes() == 2
    assert client.hkeys(keys.DELETED) == [b"new"]


def test_a_kill_at_any_step_leaves_what_the_next_look_completes(client: redis.Redis) -> None:
    """Deleting is a few commands: after each of them, what is there drains or is removed."""
    for steps in itertools.count():
        client.flushall()
        subscribe(client, "a")
        done = list(itertools.islice(_late_arrival(client), steps))
        found = DeletedKeys(client)
        backlog = Backlog(client, TIMING)
        for _ in range(5):
            delete(client)
            known = Snapshot(client).subscriptions()
            leftovers = found.leftovers(known)
            results = found.remove(dict.fromkeys(known | leftovers, 2), leftovers)
            late = [one for one in leftovers if results[one] is Removal.BUSY]
            found.set_tombstones(dict.fromkeys(late, "webhook"))
            settle_all(backlog, "a")
        assert naming(client) == [], f"after {steps} steps"
        if len(done) < steps:
            break


def _late_arrival(client: redis.Redis) -> Any:
    """Delete, remove, append late, wake, put the tombstone back: each step by a process that then dies."""
    delete(client)
    yield
    remove(client)
    yield
    append(client, "a", [["late"]])
    yield
    Backlog(client, TIMING).wake(["a"])
    client.zadd(keys.LEASES, {"a/1": 0}, xx=True)
    yield
    DeletedKeys(client).set_tombstones({"a": "webhook"})
    yield
