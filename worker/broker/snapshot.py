"""The copy of all integrations that stands in Redis, so that routing and delivery need no database.

Each integration is kept as the JSON of its sealed document; one that was deleted leaves a tombstone,
under which what is left of its backlog finds its way to the dead letters; then it goes
(`worker.broker.deleted`).
"""

import json
import logging
import uuid
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import redis

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.broker.deleted import deletion_notes, tombstone
from worker.broker.numbers import whole
from worker.broker.overdraft import append_whole
from worker.broker.records import Record


class Limits(msgspec.Struct, frozen=True):
    """The parts of a destination's configuration that routing needs."""

    type: str
    batch_events: int = 500
    batch_bytes: int = 900_000
    use_ack: bool = False

    @property
    def requests_a_claim(self) -> int:
        """How many requests a batch may fill: with acknowledgement each batch waits a second or more."""
        return _ACKNOWLEDGED_REQUESTS if self.use_ack else 1


#: What is acknowledged as a whole can also be claimed as a whole; more would only be repeated if it fails.
_ACKNOWLEDGED_REQUESTS = 4


class Subscription(msgspec.Struct, frozen=True):
    """What routing needs to know of an integration; fields of its document that are not here are skipped."""

    id: str
    destination: Limits
    tenant_id: str = "default"
    enabled: bool = False
    paused: bool = False
    event_types: frozenset[str] = frozenset()
    deleted: bool = False
    #: Whether it was paused before it was held as unknown to the ledger; None: it was never held.
    paused_before: bool | None = None
    name: str = ""

    def wants(self, event_type: str, tenant_id: str) -> bool:
        """Whether events of that type and tenant are to be sent here."""
        return (
            self.enabled
            and not self.deleted
            and tenant_id == self.tenant_id
            and event_type in self.event_types
        )


log = logging.getLogger(__name__)

_decoder = msgspec.json.Decoder(Subscription)
_NOBODYS = "what Redis holds of this integration is damaged, and the ledger does not know it"
#: Stands for the destination's type where a document cannot be read.
_UNKNOWN = "unknown"


class Snapshot:
    """The subscriptions as of their last change; one instance for each thread."""

    def __init__(self, client: redis.Redis) -> None:
        """Start empty; `subscriptions` reads."""
        self._client = client
        self._version: bytes | None = None
        self._subscriptions: dict[str, Subscription] = {}
        self._reported: set[str] = set()
        #: Ids of integrations of which nobody can say what they want: what Redis has of them is damaged.
        self.unreadable: set[str] = set()
        #: Whether Redis was told the integrations, none included; it was not when it was emptied.
        self.is_told = False

    def subscriptions(self) -> dict[str, Subscription]:
        """Return all, read anew if any changed. The same object comes back while nothing changed."""
        with broker_errors():
            version: Any = self._client.get(keys.INTEGRATIONS_VERSION)
            self.is_told = version is not None
            if version != self._version or version is None:
                documents: Any = self._client.hgetall(keys.INTEGRATIONS)
                self.unreadable = set()
                self._subscriptions = dict(
                    self._read(key.decode(errors="replace"), documents[key]) for key in documents
                )
                # Until a recorder has brought it back, what cannot be read is looked for each time.
                self._version = None if self.unreadable else version
        return self._subscriptions

    def _read(self, integration_id: str, document: bytes) -> tuple[str, Subscription]:
        """Read one; of a document that cannot be read, what it said before, or that it wants nothing."""
        before = self._subscriptions.get(integration_id)
        try:
            found = _decoder.decode(document)
        except (msgspec.MsgspecError, ValueError) as error:
            if integration_id not in self._reported:
                self._reported.add(integration_id)
                log.error("integration %s in Redis cannot be read: %s", integration_id, error)  # noqa: TRY400 - no fault of the code, so no traceback
            if before is None or before.destination.type == _UNKNOWN:
                self.unreadable.add(integration_id)
                return integration_id, Subscription(integration_id, Limits(_UNKNOWN))
            return integration_id, before
        self._reported.discard(integration_id)
        return integration_id, found


def documents(client: redis.Redis, integration_ids: Sequence[str]) -> dict[str, bytes]:
    """Return what stands in Redis of these integrations, as a claim brings it. Raises BrokerUnavailable."""
    with broker_errors():
        found: Any = client.hmget(keys.INTEGRATIONS, list(integration_ids))
    return {one: document for one, document in zip(integration_ids, found, strict=True) if document}


def publish_integrations(client: redis.Redis, records: Sequence[Record], slots: int) -> bool:
    """Make Redis hold these integrations as they are; return whether anything had to change.

    One that the records do not know is left alone: what was deleted has a record that says so, and to
    forget an integration by mistake would be to lose its events. One that was deleted, and of which nothing
    is here any more, gets no tombstone again. Unless it cannot be read: no router goes on
    beside such a one, and nobody could bring it back. One that stands in Redis in a later and more careful
    state (`overrulings`) stays as it is as well.
    """
    with broker_errors():
        _drop_unreadable(client, {one.id.encode() for one in records})
        changes = _changes(client, records, slots)
        if not changes and client.exists(keys.INTEGRATIONS_VERSION):
            return False
        pipeline = client.pipeline(transaction=True)
        for change in changes:
            pipeline.hset(keys.INTEGRATIONS, change.record.id, _value(change.record))
            pipeline.hset(keys.state(change.record.id), mapping=_state(change, slots))
            if not change.record.deleted:
                pipeline.hdel(keys.DELETED, change.record.id)
            # Whoever changed it may have mended it: the next probe need not wait.
            pipeline.hdel(keys.state(change.record.id), "probe_at")
        # Not a counter: after a loss of data it might come back to a number that a reader knows.
        pipeline.set(keys.INTEGRATIONS_VERSION, uuid.uuid4().hex)
        pipeline.execute()
    return True


@dataclass(frozen=True, slots=True)
class Overruling:
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


def overrulings(client: redis.Redis, records: Sequence[Record]) -> list[Overruling]:
    """Return those of the records of which Redis has a later and more careful state.

    Such a ledger was set back, by a restore from a backup for instance: every change there raises the
    revision before it comes to Redis. Raises BrokerUnavailable.
    """
    with broker_errors():
        standing = _standing(client, records)
    judged = (_overruling(one, found) for one, found in standing)
    return [one for one in judged if one is not None]


def _overruling(record: Record, found: "_Standing") -> Overruling | None:
    document, known = found.document, whole(found.revision, -1)
    if record.deleted or document in {None, record.document.encode()} or known < record.revision:
        return None
    try:
        here, there = _decoder.decode(document or b""), _decoder.decode(record.document)
    except (msgspec.MsgspecError, ValueError):
        return None
    # One that was deleted is paused in the ledger: to delete it again is for a person.
    enabled = there.enabled and (here.enabled or here.deleted)
    was_paused = here.paused if here.paused_before is None else here.paused_before
    paused = there.paused or was_paused or here.deleted
    if (enabled, paused, here.deleted) == (there.enabled, there.paused, False):
        return None
    name = str(json.loads(record.document).get("name", ""))
    return Overruling(record.id, name, there.tenant_id, record.type, here.deleted, enabled, paused, known)


@dataclass(frozen=True, slots=True)
class _Change:
    """A record that Redis does not have as it is; `itself` unless only the number of slots is another."""

    record: Record
    itself: bool


def _drop_unreadable(client: redis.Redis, known: Container[bytes]) -> None:
    """Move what cannot be read, and nobody knows, to where a person finds it."""
    standing: Any = client.hgetall(keys.INTEGRATIONS)
    for name, document in standing.items():
        if name in known or _is_readable(document):
            continue
        log.error("integration %r in Redis is damaged, and the ledger does not know it: set aside", name)
        pipeline = client.pipeline(transaction=True)
        pipeline.xadd(
            keys.UNRECORDABLE,
            {"stream": keys.INTEGRATIONS, "entry": name, "raw": document, "reason": _NOBODYS},
        )
        pipeline.hdel(keys.INTEGRATIONS, name)
        append_whole(pipeline)


def _is_readable(document: bytes) -> bool:
    try:
        _decoder.decode(document)
    except (msgspec.MsgspecError, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Standing:
    """What Redis has of an integration; of one that was removed after its deletion, what its note says."""

    document: bytes | None
    revision: bytes | int | None
    slots: bytes | None


def _standing(client: redis.Redis, records: Sequence[Record]) -> list[tuple[Record, _Standing]]:
    """Return what Redis has of each, less those that were deleted and are not there any more."""
    documents: Any = client.hgetall(keys.INTEGRATIONS)
    told = [one for one in records if one.id.encode() in documents or not one.deleted]
    notes = deletion_notes(client, [one.id for one in told if one.id.encode() not in documents])
    pipeline = client.pipeline(transaction=False)
    for one in told:
        pipeline.hmget(keys.state(one.id), "slots", "revision")
    standing = []
    for one, (slots, revision) in zip(told, pipeline.execute(), strict=True):
        found = _Standing(documents.get(one.id.encode()), revision, slots)
        if note := notes.get(one.id):
            found = _Standing(tombstone(one.id, note.type), note.revision, slots)
        standing.append((one, found))
    return standing


def _changes(client: redis.Redis, records: Sequence[Record], slots: int) -> list[_Change]:
    changes = []
    for one, found in _standing(client, records):
        if _overruling(one, found):
            continue
        # Switched off and on again between two looks, a document is what it was, and `held` is not.
        itself = found.document != _value(one) or found.revision != b"%d" % one.revision
        if itself or found.slots != b"%d" % slots:
            changes.append(_Change(one, itself))
    return changes


def _value(one: Record) -> bytes:
    if one.deleted:
        return tombstone(one.id, one.type)
    return one.document.encode()


def _state(change: _Change, slots: int) -> dict[bytes | bytearray | memoryview | str | int | float, Any]:
    subscription = _decoder.decode(_value(change.record))
    limits = subscription.destination
    state: dict[bytes | bytearray | memoryview | str | int | float, Any] = {
        "slots": slots,
        "revision": change.record.revision,
        "batch_events": limits.batch_events * limits.requests_a_claim,
        "batch_bytes": limits.batch_bytes * limits.requests_a_claim,
    }
    if change.itself:
        # What was deleted drains into the dead letters; what is switched off or paused waits. Else left
        # alone: a worker that finds a destination gone sets it too, and the ledger learns of that later.
        waits = subscription.paused or not subscription.enabled
        state["held"] = int(waits and not subscription.deleted)
    return state
