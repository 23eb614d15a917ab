"""Redis and the ledger disagree on integrations: the more careful state stands, and the unknown is held."""

import json
from typing import Any

import pytest
import redis

from worker.broker import keys
from worker.broker.conflicts import (
    ConflictKind,
    conflicts,
    forget_settled,
    hold_unknown,
    note_yielded,
    orphan_document,
)
from worker.broker.integration_documents import standing_ids
from worker.broker.snapshot import Snapshot, later_states, publish_integrations
from worker.ledger.results import IntegrationRecord


def record(revision: int, *, deleted: bool = False, **fields: Any) -> IntegrationRecord:
    """Make a record of one integration as the ledger keeps it."""
    document = {
        "id": "a",
        "name": "alpha",
        "tenant_id": "ours",
        "enabled": True,
        "paused": False,
        "event_types": ["policy.deny"],
        "destination": {"type": "webhook", "url": "https://one.example"},
    }
    return IntegrationRecord("a", "webhook", json.dumps(document | fields), revision, deleted=deleted)


def publish(client: redis.Redis, one: IntegrationRecord) -> None:
    """Publish it, if it is deleted as one that lived before: of one that never did, no note is kept."""
    if one.deleted:
        publish_integrations(client, [record(one.revision - 1)], slots=4)
    publish_integrations(client, [one], slots=4)


def standing(client: redis.Redis) -> tuple[Any, list[Any]]:
    """Return document and state of the integration in Redis."""
    return client.hget(keys.INTEGRATIONS, "a"), client.hmget(keys.state_key("a"), ["held", "revision"])


#: In Redis, in the ledger, and what the ledger is to take over: enabled, paused.
CASES: list[tuple[IntegrationRecord, IntegrationRecord, tuple[bool, bool] | None]] = [
    (record(5, paused=True), record(3), (True, True)),
    (record(5, enabled=False), record(3), (False, False)),
    (record(5, enabled=False), record(3, paused=True), (False, True)),
    (record(5, enabled=False, paused=True), record(3), (False, True)),
    (record(5, paused=True), record(3, enabled=False), (False, True)),
    (record(5, deleted=True), record(3), (True, True)),
    (record(5, deleted=True), record(3, paused=True), (True, True)),
    # The ledger was changed once since it was set back.
    (record(5, paused=True), record(5, name="beta"), (True, True)),
    (record(5), record(3, paused=True), None),
    (record(5), record(3), None),
    (record(5, paused=True), record(3, deleted=True), None),
    (record(5, paused=True), record(6), None),
    (record(5, deleted=True), record(6), None),
]


def test_a_later_and_more_careful_state_stands(client: redis.Redis, subtests: pytest.Subtests) -> None:
    """A ledger that was set back does not lift a pause; anything newer there is published."""
    for in_redis, in_ledger, taken in CASES:
        with subtests.test(redis=in_redis, ledger=in_ledger):
            client.flushall()
            publish(client, in_redis)
            before = standing(client)
            found = later_states(client, [in_ledger])
            publish_integrations(client, [in_ledger], slots=4)

            assert [(one.enabled, one.paused) for one in found] == ([taken] if taken else [])
            assert (standing(client) == before) is (taken is not None)


def test_what_the_ledger_does_not_know_is_held(client: redis.Redis, caplog: pytest.LogCaptureFixture) -> None:
    """Its events are collected, nothing is claimed; it is logged once, and stays as it is otherwise."""
    publish_integrations(client, [record(5)], slots=4)
    for _ in range(3):
        hold_unknown(client, standing_ids(client))
    [subscription] = Snapshot(client).subscriptions().values()
    [conflict] = conflicts(client).values()
    document, state = standing(client)

    assert subscription.wants("policy.deny", "ours")
    assert (subscription.paused, state) == (True, [b"1", b"5"])
    assert json.loads(document) == json.loads(record(5, paused=True, paused_before=False).document)
    assert orphan_document(client, "a") == json.loads(record(5, paused=True).document)
    assert conflict.kind is ConflictKind.UNKNOWN
    assert (conflict.name, conflict.tenant_id) == ("alpha", "ours")
    assert (conflict.type, conflict.revision) == ("webhook", 5)
    assert [line.levelname for line in caplog.records] == ["ERROR"]


def test_tombstones_and_what_cannot_be_read_are_left_alone(client: redis.Redis) -> None:
    """One that was deleted drains; the other wants nothing, and is set aside by the publication."""
    publish(client, record(5, deleted=True))
    client.hset(keys.INTEGRATIONS, "b", "{")
    before = client.hgetall(keys.INTEGRATIONS)
    hold_unknown(client, ["a", "b", "gone"])

    assert client.hgetall(keys.INTEGRATIONS) == before
    assert conflicts(client) == {}


def test_a_conflict_stands_until_it_is_decided(client: redis.Redis) -> None:
    """Unknown until the ledger knows it; older until the ledger's revision goes on."""
    publish_integrations(client, [record(5, paused=True)], slots=4)
    hold_unknown(client, ["a"])
    forget_settled(client, [], {"a"})
    assert [one.kind for one in conflicts(client).values()] == [ConflictKind.UNKNOWN]
    forget_settled(client, [record(6)], {"a"})
    assert conflicts(client) == {}

    [one] = later_states(client, [record(3)])
    note_yielded(client, one, 6)
    forget_settled(client, [record(6, paused=True)], {"a"})
    assert [one.kind for one in conflicts(client).values()] == [ConflictKind.OLDER]
    forget_settled(client, [record(7)], {"a"})
    assert conflicts(client) == {}


def test_a_revision_that_is_damaged_is_none(client: redis.Redis) -> None:
    """The ledger's word is then all that there is, and nothing is stuck."""
    publish_integrations(client, [record(5, paused=True)], slots=4)
    client.hset(keys.state_key("a"), "revision", "five")
    hold_unknown(client, ["a"])

    assert later_states(client, [record(3)]) == []
    assert publish_integrations(client, [record(3)], slots=4)
    assert [one.revision for one in conflicts(client).values()] == [0]


@pytest.mark.parametrize("paused", [True, False])
def test_one_that_the_ledger_knows_again_is_as_it_was(client: redis.Redis, paused: bool) -> None:  # noqa: FBT001 - as it was
    """A recorder that looks amid a restore pauses nothing for good; what was paused before stays so."""
    publish_integrations(client, [record(5, paused=paused)], slots=4)
    for _ in range(2):
        hold_unknown(client, ["a"])
    found = later_states(client, [record(5)])
    publish_integrations(client, [record(5)], slots=4)

    assert [one.paused for one in found] == ([True] if paused else [])
    assert standing(client)[1][0] == (b"1" if paused else b"0")
