"""The copy of all integrations that stands in Redis, so that routing and delivery need no database.

Each integration is kept as the JSON of its sealed document; one that was deleted leaves a tombstone,
under which what is left of its backlog finds its way to the dead letters.
"""

import json
import logging
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import redis

from worker.broker import keys
from worker.broker.connection import broker_errors


class Limits(msgspec.Struct, frozen=True):
    """The parts of a destination's configuration that routing needs."""

    type: str
    batch_events: int = 500
    batch_bytes: int = 900_000


class Subscription(msgspec.Struct, frozen=True):
    """What routing needs to know of an integration; fields of its document that are not here are skipped."""

    id: str
    destination: Limits
    tenant_id: str = "default"
    enabled: bool = False
    event_types: frozenset[str] = frozenset()
    deleted: bool = False

    def wants(self, event_type: str, tenant_id: str) -> bool:
        """Whether events of that type and tenant are to be sent here."""
        return (
            self.enabled
            and not self.deleted
            and tenant_id == self.tenant_id
            and event_type in self.event_types
        )


class Record(Protocol):
    """One integration as the ledger keeps it: `document` is its JSON, with sealed secrets."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def type(self) -> str:
        """The type of its destination."""
        ...

    @property
    def document(self) -> str:
        """The whole integration as JSON."""
        ...

    @property
    def deleted(self) -> bool:
        """Whether only a tombstone is left to publish."""
        ...


log = logging.getLogger(__name__)

_decoder = msgspec.json.Decoder(Subscription)


class Snapshot:
    """The subscriptions as of their last change; one instance for each thread."""

    def __init__(self, client: redis.Redis) -> None:
        """Start empty; `subscriptions` reads."""
        self._client = client
        self._version: bytes | None = None
        self._subscriptions: dict[str, Subscription] = {}

    def subscriptions(self) -> dict[str, Subscription]:
        """Return all, read anew if any changed. The same object comes back while nothing changed."""
        with broker_errors():
            version: Any = self._client.get(keys.INTEGRATIONS_VERSION)
            if version != self._version or version is None:
                documents: Any = self._client.hgetall(keys.INTEGRATIONS)
                self._subscriptions = dict(self._read(key.decode(), documents[key]) for key in documents)
                self._version = version
        return self._subscriptions

    def _read(self, integration_id: str, document: bytes) -> tuple[str, Subscription]:
        """Read one; of a document that cannot be read, what it said before, or that it wants nothing."""
        try:
            return integration_id, _decoder.decode(document)
        except msgspec.DecodeError as error:
            log.error("integration %s cannot be read (%s): it stays as it was", integration_id, error)  # noqa: TRY400 - no fault of the code, so no traceback
            nothing = Subscription(integration_id, Limits("unknown"))
            return integration_id, self._subscriptions.get(integration_id, nothing)


def publish_integrations(client: redis.Redis, records: Sequence[Record], slots: int) -> bool:
    """Make Redis hold these integrations as they are; return whether anything had to change.

    One that the records do not know is left alone: what was deleted has a record that says so, and to
    forget an integration by mistake would be to lose its events.
    """
    with broker_errors():
        standing: Any = client.hgetall(keys.INTEGRATIONS)
        known_slots = _slots(client, records)
        changed = [
            one
            for one, known in zip(records, known_slots, strict=True)
            if standing.get(one.id.encode()) != _value(one) or known != slots
        ]
        if not changed and client.exists(keys.INTEGRATIONS_VERSION):
            return False
        pipeline = client.pipeline(transaction=True)
        for one in changed:
            pipeline.hset(keys.INTEGRATIONS, one.id, _value(one))
            pipeline.hset(keys.state(one.id), mapping=_limits(one, slots))
        # Not a counter: after a loss of data it might come back to a number that a reader knows.
        pipeline.set(keys.INTEGRATIONS_VERSION, uuid.uuid4().hex)
        pipeline.execute()
    return True


def _slots(client: redis.Redis, records: Sequence[Record]) -> list[int]:
    """Return how many slots Redis grants each; 0 where it knows nothing of it."""
    pipeline = client.pipeline(transaction=False)
    for one in records:
        pipeline.hget(keys.state(one.id), "slots")
    return [int(found or 0) for found in pipeline.execute()]


def _value(one: Record) -> bytes:
    if one.deleted:
        return json.dumps({"id": one.id, "destination": {"type": one.type}, "deleted": True}).encode()
    return one.document.encode()


def _limits(one: Record, slots: int) -> dict[bytes | bytearray | memoryview | str | int | float, Any]:
    subscription = _decoder.decode(_value(one))
    return {
        "slots": slots,
        "batch_events": subscription.destination.batch_events,
        "batch_bytes": subscription.destination.batch_bytes,
        # What was deleted drains into the dead letters; what is switched off waits.
        "held": int(not subscription.enabled and not subscription.deleted),
    }
