"""The documents of integrations in Redis: read, written, compared with the ledger's.

Which integrations changed between two versions of the copy in Redis: so a reader fetches only those.

`siem:integrations:changes` is a list of the latest changes as JSON, `[version before, version after, [ids]]`.
A reader that knows a version follows them to the present one. A reader that finds a gap reads everything: an
earlier release sets another version and writes no change, a change of very many integrations names none.
"""

import logging
import uuid
from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from redis.exceptions import ResponseError

from worker.broker import keys
from worker.broker.connection import broker_errors, script_text
from worker.broker.oom import append_whole
from worker.model.log_events import INTEGRATION_DAMAGED_UNKNOWN
from worker.model.untrusted_json import DAMAGED

if TYPE_CHECKING:
    import redis
    from redis.client import Pipeline


class StoredState(Protocol):
    """Where one integration stands in the ledger."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def type(self) -> str:
        """The type of its destination."""
        ...

    @property
    def revision(self) -> int:
        """Another number with every change."""
        ...

    @property
    def deleted(self) -> bool:
        """Whether only a tombstone is left to publish."""
        ...


class StoredIntegration(StoredState, Protocol):
    """One integration as the ledger keeps it."""

    @property
    def document(self) -> str:
        """The whole integration as JSON, with sealed secrets."""
        ...


#: Stands for the destination's type where a document cannot be read.
UNKNOWN = "unknown"


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


#: Reads a document. Raises one of DAMAGED.
decode_subscription = msgspec.json.Decoder(Subscription).decode


#: So many levels of nesting more than a document has. With a longer stack as many fewer can be read.
_SPARE = 200
_read_anything = msgspec.json.Decoder().decode


def is_subscription_readable(document: bytes) -> bool:
    """Whether a document says what routing needs to know, to every program of ours."""
    try:
        decode_subscription(document)
        _read_anything(b"[" * _SPARE + document + b"]" * _SPARE)
    except DAMAGED:
        return False
    return True


log = logging.getLogger(__name__)

_REASON = "what Redis holds of this integration is damaged, and the ledger does not know it"


def standing_ids(client: "redis.Redis") -> set[str]:
    """Return the ids of the integrations in Redis, tombstones included. Raises BrokerUnavailable."""
    with broker_errors():
        found: Any = client.hkeys(keys.INTEGRATIONS)
    return {key.decode(errors="replace") for key in found}


def drop_unreadable(client: "redis.Redis", known: Container[bytes]) -> None:
    """Move documents that cannot be read, and whose ids are not known, to where a person finds them.

    Raises BrokerUnavailable.
    """
    with broker_errors():
        standing: Any = client.hkeys(keys.INTEGRATIONS)
        names = [name for name in standing if name not in known]
        found: Any = client.hmget(keys.INTEGRATIONS, names) if names else []
        for name, document in zip(names, found, strict=True):
            if document is not None and not is_subscription_readable(document):
                _set_aside(client, name, document)


def _set_aside(client: "redis.Redis", name: bytes, document: bytes) -> None:
    INTEGRATION_DAMAGED_UNKNOWN.log(log, integration=repr(name))
    pipeline = client.pipeline(transaction=True)
    pipeline.xadd(
        keys.UNRECORDABLE,
        {"stream": keys.INTEGRATIONS, "entry": name, "raw": document, "reason": _REASON},
    )
    pipeline.hdel(keys.INTEGRATIONS, name)
    append_whole(pipeline)


#: Changes that the list holds, and integrations that one of them names.
MOST_KEPT, MOST_NAMED = 64, 100

#: Fields of an integration's state, with their values.
State = dict[str, int]

_change = msgspec.json.Decoder(tuple[str, str, list[str]])
_NOTE = script_text("changed") + "note_change(KEYS[1], KEYS[2], ARGV)\n"
_PUBLISH = script_text("changed") + script_text("publish")


def note_change(pipeline: "Pipeline", integration_ids: Sequence[str]) -> None:
    """Add to a transaction that these integrations are others now; it must be the last that it does."""
    pipeline.eval(_NOTE, 2, keys.INTEGRATIONS_VERSION, keys.INTEGRATIONS_CHANGES, *_named(integration_ids))


def write_integrations(
    client: "redis.Redis", changed: Iterable[tuple[str, bytes, bool, State]], *, are_all: bool
) -> bool:
    """Write documents and states in one step: of each the id, the document, whether it is deleted, its state.

    Unless these `are_all` that there are, nothing is written into a Redis that does not have the integrations
    yet: it would count as complete. Returns whether it was done. Raises BrokerUnavailable.
    """
    ids: list[str] = []
    words: list[Any] = []
    for integration_id, document, is_deleted, state in changed:
        ids.append(integration_id)
        fields = [word for pair in state.items() for word in pair]
        words += [integration_id, document, int(is_deleted), len(fields), *fields]
    named = _named(ids)
    script = client.register_script(_PUBLISH)
    with broker_errors():
        return bool(
            script(
                keys=[
                    keys.INTEGRATIONS_VERSION,
                    keys.INTEGRATIONS_CHANGES,
                    keys.INTEGRATIONS,
                    keys.DELETED,
                ],
                args=[int(are_all), len(named), *named, *words],
            )
        )


def changed_since(client: "redis.Redis", seen: bytes, version: bytes) -> set[str] | None:
    """Return the ids of the integrations that changed between two versions; None if that is not known.

    Raises BrokerUnavailable.
    """
    with broker_errors():
        try:
            entries: Any = client.lrange(keys.INTEGRATIONS_CHANGES, -MOST_KEPT, -1)
        except ResponseError:
            return None  # overwritten
    wanted, changed = version.decode(errors="replace"), set()
    for entry in reversed(entries):
        try:
            before, after, ids = _change.decode(entry)
        except DAMAGED:
            return None
        if after != wanted:
            return None
        changed.update(ids)
        if before.encode() == seen:
            return changed
        wanted = before
    return None


def _named(integration_ids: Sequence[str]) -> list[str | int]:
    """Return a version, how many changes are kept, and the ids, unless those are too many."""
    # Not a counter: after a loss of data it might come back to a number that a reader knows.
    ids = integration_ids if len(integration_ids) <= MOST_NAMED else ()
    return [uuid.uuid4().hex, MOST_KEPT, *ids]
