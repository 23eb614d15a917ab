"""The copy of all integrations that stands in Redis, so that routing and delivery need no database.

Each integration is kept as the JSON of its sealed document; one that was deleted leaves a tombstone,
under which what is left of its backlog finds its way to the dead letters; then it goes
(`worker.broker.deletions`).
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from worker.broker import keys
from worker.broker.backlog_looks import others_of
from worker.broker.connection import broker_errors
from worker.broker.deletions import deletion_notes, tombstone
from worker.broker.integration_documents import (
    UNKNOWN,
    Limits,
    State,
    StoredIntegration,
    StoredState,
    Subscription,
    changed_since,
    decode_subscription,
    drop_unreadable,
    standing_ids,
    write_integrations,
)
from worker.broker.packing import whole
from worker.model.log_events import INTEGRATION_UNREADABLE
from worker.model.untrusted_json import DAMAGED

__all__ = ["LaterState", "Limits", "Snapshot", "Subscription", "later_states", "publish_integrations"]


log = logging.getLogger(__name__)


class Snapshot:
    """The subscriptions as of their last change; one instance for each thread."""

    def __init__(self, client: redis.Redis) -> None:
        """Start empty; `subscriptions` reads."""
        self._client = client
        self._version: bytes | None = None
        self._subscriptions: dict[str, Subscription] = {}
        self._reported: set[str] = set()
        #: Ids of integrations that are damaged in Redis, so that it is not known what they want.
        self.unreadable: set[str] = set()
        #: Whether Redis has the integrations, none included; an emptied one has not.
        self.is_complete = False

    def subscriptions(self, known: bytes | None = None) -> dict[str, Subscription]:
        """Return all, those read again that changed. The same object comes back while nothing changed.

        `known` is their version, if the caller has just read it.
        """
        with broker_errors():
            version: Any = known or self._client.get(keys.INTEGRATIONS_VERSION)
            self.is_complete = version is not None
            if version != self._version or version is None:
                self._subscriptions = self._changed(version) or self._all()
                # Until a recorder has brought it back, what cannot be read is looked for each time.
                self._version = None if self.unreadable else version
        return self._subscriptions

    def _all(self) -> dict[str, Subscription]:
        found: Any = self._client.hgetall(keys.INTEGRATIONS)
        self.unreadable = set()
        return dict(self._read(key.decode(errors="replace"), found[key]) for key in found)

    def _changed(self, version: bytes | None) -> dict[str, Subscription] | None:
        """Return all, of which only those were read that changed; None if it is not known which did."""
        if self._version is None or version is None:
            return None
        ids = changed_since(self._client, self._version, version)
        if ids is None:
            return None
        found = documents(self._client, sorted(ids))
        kept = {
            one: self._subscriptions[one] for one in self._subscriptions if one not in ids or one in found
        }
        return kept | dict(self._read(one, document) for one, document in found.items())

    def _read(self, integration_id: str, document: bytes) -> tuple[str, Subscription]:
        """Read one; of a document that cannot be read, what it said before, or that it wants nothing."""
        before = self._subscriptions.get(integration_id)
        try:
            found = decode_subscription(document)
        except DAMAGED as error:
            if integration_id not in self._reported:
                self._reported.add(integration_id)
                INTEGRATION_UNREADABLE.log(
                    log, integration=integration_id, name="", store="Redis", error=str(error)
                )
            # So a recorder sees, by the revision that is not there, that it must be brought back.
            self._client.hdel(keys.state_key(integration_id), "revision")
            if before is None or before.destination.type == UNKNOWN:
                self.unreadable.add(integration_id)
                return integration_id, Subscription(integration_id, Limits(UNKNOWN))
            return integration_id, before
        self._reported.discard(integration_id)
        return integration_id, found


def documents(client: redis.Redis, integration_ids: Sequence[str]) -> dict[str, bytes]:
    """Return what stands in Redis of these integrations, as a claim brings it. Raises BrokerUnavailable."""
    if not integration_ids:
        return {}
    with broker_errors():
        found: Any = client.hmget(keys.INTEGRATIONS, list(integration_ids))
    return {one: document for one, document in zip(integration_ids, found, strict=True) if document}


def publish_integrations(client: redis.Redis, records: Sequence[StoredIntegration], slots: int) -> bool:
    """Make Redis hold these integrations as they are; return whether anything had to change.

    One that the records do not know is left alone: what was deleted has a record that says so, and to
    forget an integration by mistake would be to lose its events. One that was deleted, and of which nothing
    is here any more, gets no tombstone again. Unless it cannot be read: no router goes on
    beside such a one, and nothing could bring it back. One that is in Redis in a later and more careful
    state (`later_states`) stays as it is as well.
    """
    with broker_errors():
        drop_unreadable(client, {one.id.encode() for one in records})
        changes = _changes(client, records, slots)
        if not changes and client.exists(keys.INTEGRATIONS_VERSION):
            return False
    return _write(client, changes, slots, are_all=True)


def publish_some(client: redis.Redis, records: Sequence[StoredIntegration], slots: int) -> bool | None:
    """Do the same with some of the integrations, at the cost of those alone.

    Returns None, and does nothing, if Redis does not have the integrations at all: it must get them
    together, for a router that finds some would drop the events of the others. Raises BrokerUnavailable.
    """
    with broker_errors():
        changes = _changes(client, records, slots)
        if not changes:
            return False if client.exists(keys.INTEGRATIONS_VERSION) else None
    return _write(client, changes, slots, are_all=False) or None


def differing(client: redis.Redis, known: Sequence[StoredState], slots: int) -> set[str]:
    """Return the ids of those that stand in Redis under another revision, or not at all, or too long.

    Reads no documents. Raises BrokerUnavailable.
    """
    standing = standing_ids(client)
    listed = [one for one in known if not one.deleted or one.id in standing]
    missing = {one.id for one in listed if one.id not in standing}
    return missing | others_of(client, [(one.id, one.revision) for one in listed], slots)


def _write(client: redis.Redis, changes: Sequence["_Change"], slots: int, *, are_all: bool) -> bool:
    written = ((one.record.id, _value(one.record), one.record.deleted, _state(one, slots)) for one in changes)
    return write_integrations(client, written, are_all=are_all)


@dataclass(frozen=True, slots=True)
class LaterState:
    """An integration that Redis has in a later state than the ledger, and in a more careful one.

    `enabled` and `paused` are what the ledger is to take over, `revision` is Redis's.
    """

    id: str
    name: str
    tenant_id: str
    type: str
    deleted: bool
    enabled: bool
    paused: bool
    revision: int


def is_ahead(client: redis.Redis, records: Sequence[StoredIntegration]) -> bool:
    """Whether Redis has any of these otherwise, and not in an older state.

    Then the ledger has changed since they were read, or it was set back. Raises BrokerUnavailable.
    """
    with broker_errors():
        standing = _standing(client, records)
    return any(
        found.document not in {None, _value(one)} and whole(found.revision, -1) >= one.revision
        for one, found in standing
    )


def later_states(client: redis.Redis, records: Sequence[StoredIntegration]) -> list[LaterState]:
    """Return those of the records of which Redis has a later and more careful state.

    Such a ledger was set back, by a restore from a backup for instance: every change there raises the
    revision before it comes to Redis. Raises BrokerUnavailable.
    """
    with broker_errors():
        standing = _standing(client, records)
    judged = (_later_state(one, found) for one, found in standing)
    return [one for one in judged if one is not None]


def _later_state(record: StoredIntegration, found: "_Standing") -> LaterState | None:
    document, known = found.document, whole(found.revision, -1)
    if record.deleted or document in {None, record.document.encode()} or known < record.revision:
        return None
    try:
        here, there = decode_subscription(document or b""), decode_subscription(record.document)
    except DAMAGED:
        return None
    # One that was deleted is paused in the ledger: to delete it again is for a person.
    enabled = there.enabled and (here.enabled or here.deleted)
    was_paused = here.paused if here.paused_before is None else here.paused_before
    paused = there.paused or was_paused or here.deleted
    if (enabled, paused, here.deleted) == (there.enabled, there.paused, False):
        return None
    name = str(json.loads(record.document).get("name", ""))
    return LaterState(record.id, name, there.tenant_id, record.type, here.deleted, enabled, paused, known)


@dataclass(frozen=True, slots=True)
class _Change:
    """A record that Redis does not have as it is; `itself` unless only the number of slots is another."""

    record: StoredIntegration
    itself: bool


@dataclass(frozen=True, slots=True)
class _Standing:
    """What Redis has of an integration; of one that was removed after its deletion, what its note says."""

    document: bytes | None
    revision: bytes | int | None
    slots: bytes | None


def _standing(
    client: redis.Redis, records: Sequence[StoredIntegration]
) -> list[tuple[StoredIntegration, _Standing]]:
    """Return what Redis has of each, less those that were deleted and are not there any more."""
    found_here = documents(client, [one.id for one in records])
    listed = [one for one in records if one.id in found_here or not one.deleted]
    notes = deletion_notes(client, [one.id for one in listed if one.id not in found_here])
    pipeline = client.pipeline(transaction=False)
    for one in listed:
        pipeline.hmget(keys.state_key(one.id), "slots", "revision")
    standing = []
    for one, (slots, revision) in zip(listed, pipeline.execute(), strict=True):
        found = _Standing(found_here.get(one.id), revision, slots)
        if note := notes.get(one.id):
            found = _Standing(tombstone(one.id, note.type), note.revision, slots)
        standing.append((one, found))
    return standing


def _changes(client: redis.Redis, records: Sequence[StoredIntegration], slots: int) -> list[_Change]:
    changes = []
    for one, found in _standing(client, records):
        if _later_state(one, found):
            continue
        # Disabled and on again between two looks, a document is what it was, and `held` is not.
        itself = found.document != _value(one) or found.revision != b"%d" % one.revision
        if itself or found.slots != b"%d" % slots:
            changes.append(_Change(one, itself))
    return changes


def _value(one: StoredIntegration) -> bytes:
    if one.deleted:
        return tombstone(one.id, one.type)
    return one.document.encode()


def _state(change: _Change, slots: int) -> State:
    subscription = decode_subscription(_value(change.record))
    limits = subscription.destination
    state = {
        "slots": slots,
        "revision": change.record.revision,
        "batch_events": limits.batch_events * limits.requests_a_claim,
        "batch_bytes": limits.batch_bytes * limits.requests_a_claim,
    }
    if change.itself:
        # What was deleted drains into the dead letters; what is disabled or paused waits. Else left
        # alone: a worker that finds a destination gone sets it too, and the ledger learns of that later.
        waits = subscription.paused or not subscription.enabled
        state["held"] = int(waits and not subscription.deleted)
    return state
