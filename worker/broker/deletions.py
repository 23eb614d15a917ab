"""What Redis holds of integrations that were deleted, until nothing refers to them any more.

A deleted integration first leaves a tombstone in `siem:integrations`, under which workers turn what waits for
it into dead letters. Once no event and no slot of it is left, one script removes tombstone, streams, state
and slots. What is left is a note in `siem:integrations:deleted`, one line of JSON that no sweep reads:

    <id> → {"type": "…", "revision": 7, "at_ms": 1795651200000}

It stands for the tombstone when the ledger is restored from a backup in which the integration still lives
(`worker.broker.snapshot.later_states`), and is kept for `NOTES_KEPT`.

A router that slept while the integration was deleted, or one of an earlier release, may append to a backlog
that is gone. So the names of all keys are looked through now and then: keys without a document are
`leftovers`. An earlier release ignores the notes; its recorders write tombstones again, which are removed
again.
"""

import json
import logging
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from worker.broker import keys
from worker.broker.connection import broker_errors, script_text
from worker.broker.integration_documents import MOST_KEPT, note_change
from worker.model.log_events import INTEGRATION_REMOVAL_FAILED
from worker.model.untrusted_json import DAMAGED
from worker.model.untrusted_text import number_in

if TYPE_CHECKING:
    import redis


log = logging.getLogger(__name__)

#: How long a note is kept, in seconds: longer than backups are kept to be restored.
NOTES_KEPT = 400 * 86_400.0
#: Integrations of one pipeline: Redis serves others between two of them.
AT_ONCE = 100
#: Keys of one SCAN, and looks of a pass over all keys.
_SCANNED, _LOOKS = 1000, 4
#: `siem:backlog:`, `siem:slot:` and `siem:state:`.
_PATTERN = "siem:[bs][alt]*"


class Removal(StrEnum):
    """What came of an attempt to remove an integration from Redis."""

    #: It is not deleted, as far as Redis knows.
    LIVING = "living"
    #: Events wait for it, or a slot is in use.
    BUSY = "busy"
    REMOVED = "removed"


class DeletionNote(msgspec.Struct, frozen=True):
    """What is kept of a deleted integration: the type of its destination, its revision, when it went (ms)."""

    type: str
    revision: int
    at_ms: int = 0


_note = msgspec.json.Decoder(DeletionNote)


def tombstone(integration_id: str, kind: str) -> bytes:
    """Return the document of an integration that was deleted; earlier releases write these very bytes."""
    return json.dumps({"id": integration_id, "destination": {"type": kind}, "deleted": True}).encode()


def deletion_notes(client: "redis.Redis", integration_ids: Sequence[str]) -> dict[str, DeletionNote]:
    """Return the notes of those of the integrations that are gone. Raises BrokerUnavailable."""
    if not integration_ids:
        return {}
    with broker_errors():
        found: Any = client.hmget(keys.DELETED, list(integration_ids))
    pairs = zip(integration_ids, map(_read, found), strict=True)
    return {one: note for one, note in pairs if note is not None}


class DeletedKeys:
    """The keys of deleted integrations in one Redis; one thread at a time. Raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis") -> None:
        """Begin to look through the keys at the beginning."""
        self._client = client
        self._remove = client.register_script(script_text("changed") + script_text("remove"))
        self._cursor = 0

    def leftovers(self, known: Collection[str]) -> dict[str, int]:
        """Look through a part of all keys: the ids that are not known, each with the highest slot seen.

        So many calls as `_LOOKS` see every key.
        """
        found: dict[str, int] = {}
        for name in self._names():
            integration_id, slot = _owner(name)
            if integration_id and integration_id not in known:
                found[integration_id] = max(slot, found.get(integration_id, 0))
        return found

    def remove(
        self, revisions: Mapping[str, int], slots: Mapping[str, int], waiting: Collection[str] = ()
    ) -> dict[str, Removal]:
        """Remove the integrations of these ids, unless they are busy; of these, nothing is held any longer.

        `revisions` are the ledger's (0: not known there), `slots` the highest that were seen. Those in
        `waiting` stay: events of them are still to come back.
        """
        ids = list(revisions)
        results: dict[str, Removal] = {}
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            with broker_errors():
                pipeline = self._client.pipeline(transaction=False)
                for one in some:
                    args: list[str | int] = [one, keys.slot_prefix(one), slots.get(one, 0), revisions[one]]
                    self._remove(
                        keys=_keys(one),
                        args=[*args, uuid.uuid4().hex, int(one not in waiting), MOST_KEPT],
                        client=pipeline,
                    )
                replies = pipeline.execute(raise_on_error=False)
            results |= dict(_results(some, replies))
            if gone := [one for one in some if results.get(one) is Removal.REMOVED]:
                with broker_errors():
                    self._client.hdel(keys.CERTIFICATES, *gone)
        return results

    def kinds(self, integration_ids: Sequence[str]) -> dict[str, str]:
        """Return the types of the destinations of those that are known to be deleted, by their notes."""
        return {one: note.type for one, note in deletion_notes(self._client, integration_ids).items()}

    def set_tombstones(self, kinds: Mapping[str, str]) -> None:
        """Let workers see again that these were deleted, so that they make dead letters of what came late.

        `kinds` are the types of their destinations by id; one that has a document by now keeps it.
        """
        for one, kind in kinds.items():
            with broker_errors():
                pipeline = self._client.pipeline(transaction=True)
                pipeline.hsetnx(keys.INTEGRATIONS, one, tombstone(one, kind).decode())
                note_change(pipeline, [one])
                pipeline.execute()

    def forget_old_notes(self) -> int:
        """Remove the notes that are older than `NOTES_KEPT`; return how many."""
        oldest_ms = (time.time() - NOTES_KEPT) * 1000
        with broker_errors():
            old = [
                name
                for name, value in self._client.hscan_iter(keys.DELETED, count=_SCANNED)
                if (note := _read(value)) is None or note.at_ms < oldest_ms
            ]
            for start in range(0, len(old), _SCANNED):
                self._client.hdel(keys.DELETED, *old[start : start + _SCANNED])
        return len(old)

    def _names(self) -> Iterator[str]:
        with broker_errors():
            looks = -(-self._client.dbsize() // (_SCANNED * _LOOKS))
            for _ in range(max(1, looks)):
                found: Any = self._client.scan(self._cursor, match=_PATTERN, count=_SCANNED)
                self._cursor, names = found
                yield from (name.decode(errors="replace") for name in names)
                if not self._cursor:
                    return


def _keys(integration_id: str) -> list[str]:
    return [
        keys.LEASES,
        keys.state_key(integration_id),
        keys.urgent(integration_id),
        keys.bulk(integration_id),
        *(keys.INTEGRATIONS, keys.INTEGRATIONS_VERSION, keys.DELETED),
        *(keys.HEALTH_STATES, keys.HEALTH_UNSENT, keys.INTEGRATIONS_CHANGES),
    ]


def _results(ids: Iterable[str], replies: Iterable[Any]) -> Iterator[tuple[str, Removal]]:
    for one, reply in zip(ids, replies, strict=True):
        if isinstance(reply, Exception):
            INTEGRATION_REMOVAL_FAILED.log(log, integration=one, error=str(reply))
            yield one, Removal.BUSY
        else:
            yield one, Removal(reply.decode())


def _owner(name: str) -> tuple[str, int]:
    """Return the integration that a key names, or nothing, and the number of its slot, or 0."""
    if name.startswith(keys.STATE_PREFIX):
        return name.removeprefix(keys.STATE_PREFIX), 0
    if name.startswith(keys.BACKLOG_PREFIX):
        return name.removeprefix(keys.BACKLOG_PREFIX).rpartition(":")[0], 0
    if name.startswith(keys.SLOT_PREFIX):
        integration_id, _, slot = name.removeprefix(keys.SLOT_PREFIX).rpartition(":")
        return integration_id, number_in(slot) or 0
    return "", 0


def _read(encoded: bytes | None) -> DeletionNote | None:
    try:
        return None if encoded is None else _note.decode(encoded)
    except DAMAGED:
        return None
