"""Where Redis and the ledger disagree on integrations, as after the ledger was restored from a backup.

Two kinds: an integration that the ledger does not know (it was created after the backup), which is paused
and keeps its events; and one that Redis knows in a later and more careful state (paused, disabled, deleted),
which wins. Each stands in `siem:integrations:conflicts` until a person has decided.
"""

import json
import logging
import time
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any

import msgspec
import redis

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.broker.integration_documents import StoredState, Subscription, note_change
from worker.broker.packing import whole
from worker.broker.snapshot import LaterState
from worker.model.log_events import INTEGRATION_OLDER_IN_LEDGER, INTEGRATION_UNKNOWN_TO_LEDGER
from worker.model.untrusted_json import DAMAGED

log = logging.getLogger(__name__)

#: In a document that is held: whether it was paused before (`Subscription.paused_before`).
_BEFORE = "paused_before"


class ConflictKind(StrEnum):
    """What Redis and the ledger disagree on."""

    #: The ledger does not know the integration.
    UNKNOWN = "unknown"
    #: The ledger's state of it is older than that of Redis, which was more careful.
    OLDER = "older"


class Conflict(msgspec.Struct, frozen=True):
    """One disagreement: since when (ms since 1970 UTC), and the integration as far as it is known.

    `revision` is the one of Redis for an unknown integration, else the one that the ledger was given for it.
    """

    kind: ConflictKind
    name: str
    tenant_id: str
    type: str
    since_ms: int
    revision: int


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


_subscription = msgspec.json.Decoder(Subscription)
_named = msgspec.json.Decoder(_Named)
_conflict = msgspec.json.Decoder(Conflict)
_encode = msgspec.json.Encoder().encode


def conflicts(client: redis.Redis) -> dict[str, Conflict]:
    """Return what Redis and the ledger disagree on, by the integration's id. Raises BrokerUnavailable."""
    with broker_errors():
        found: Any = client.hgetall(keys.CONFLICTS)
    return {key.decode(): conflict for key, value in found.items() if (conflict := _read(value))}


def hold_unknown(client: redis.Redis, integration_ids: Iterable[str]) -> None:
    """Pause these integrations, which the ledger does not know, and note them. Raises BrokerUnavailable.

    That one was paused for this reason is kept in its document: should the ledger come to know it again, as
    at the end of a restore that was looked at half way, its pause ends.
    They must have stood in Redis before the ledger was asked: what is created is saved first.
    """
    for integration_id in sorted(integration_ids):
        with broker_errors():
            _hold(client, integration_id)


def note_yielded(client: redis.Redis, one: LaterState, revision: int) -> None:
    """Note that the ledger has taken over the more careful state. Raises BrokerUnavailable."""
    conflict = Conflict(ConflictKind.OLDER, one.name, one.tenant_id, one.type, _now_ms(), revision)
    with broker_errors():
        client.hset(keys.CONFLICTS, one.id, _encode(conflict))
    now = "paused" if one.enabled else "disabled"
    before = "deleted" if one.deleted else now
    INTEGRATION_OLDER_IN_LEDGER.log(log, integration=one.id, name=one.name, state_in_redis=before, state=now)


def forget_settled(client: redis.Redis, records: Collection[StoredState], standing: Container[str]) -> None:
    """Forget what was decided: adopted, deleted, or changed since. Raises BrokerUnavailable.

    `standing` are the ids in Redis: what is not there any more is no conflict either.
    """
    known = {one.id: one for one in records}
    settled = [
        one
        for one, conflict in conflicts(client).items()
        if one not in standing or _is_settled(conflict, known.get(one))
    ]
    if settled:
        with broker_errors():
            client.hdel(keys.CONFLICTS, *settled)


def orphan_document(client: redis.Redis, integration_id: str) -> dict[str, Any] | None:
    """Return the sealed document of an integration as Redis has it; None if there is none, or a tombstone.

    Raises BrokerUnavailable.
    """
    with broker_errors():
        found: Any = client.hget(keys.INTEGRATIONS, integration_id)
    return None if found is None else _document(found)


def standing_documents(client: redis.Redis) -> list[dict[str, Any]]:
    """Return the sealed documents of all integrations in Redis; tombstones and damaged ones left out.

    Raises BrokerUnavailable.
    """
    with broker_errors():
        found: Any = client.hgetall(keys.INTEGRATIONS)
    return [document for value in found.values() if (document := _document(value)) is not None]


def count_by_kind(found: Mapping[str, Conflict]) -> dict[ConflictKind, int]:
    """Count the conflicts of each kind; pure."""
    return {kind: sum(one.kind is kind for one in found.values()) for kind in ConflictKind}


def sentences(counts: Mapping[ConflictKind, int]) -> Iterator[str]:
    """Yield a sentence on each kind of conflict that there is; pure."""
    where = "see `siem integrations orphans list`"
    if unknown := counts.get(ConflictKind.UNKNOWN):
        are = _be(unknown)
        words = f"{unknown} of the integrations in Redis {are} not known to the ledger and {are} paused"
        yield f"{words}: {where}"
    if older := counts.get(ConflictKind.OLDER):
        are = _be(older)
        yield f"{older} of the integrations {are} paused or disabled because the ledger was set back: {where}"


def _be(number: int) -> str:
    return "is" if number == 1 else "are"


def _is_settled(conflict: Conflict, record: StoredState | None) -> bool:
    if conflict.kind is ConflictKind.UNKNOWN:
        return record is not None
    return record is None or record.deleted or record.revision > conflict.revision


def _hold(client: redis.Redis, integration_id: str) -> None:
    document: Any = client.hget(keys.INTEGRATIONS, integration_id)
    held, revision = client.hmget(keys.state_key(integration_id), "held", "revision")
    try:
        subscription, name = _subscription.decode(document or b""), _named.decode(document or b"").name
        known = json.loads(document or b"")
    except DAMAGED:
        return  # it wants nothing; the publisher sets it aside
    if subscription.deleted:
        return
    if not (subscription.paused and held == b"1"):
        pipeline = client.pipeline(transaction=True)
        before = subscription.paused if subscription.paused_before is None else subscription.paused_before
        paused = known | {"paused": True, _BEFORE: before}
        pipeline.hset(keys.INTEGRATIONS, integration_id, json.dumps(paused))
        pipeline.hset(keys.state_key(integration_id), "held", 1)
        note_change(pipeline, [integration_id])
        pipeline.execute()
    conflict = Conflict(
        ConflictKind.UNKNOWN,
        name,
        subscription.tenant_id,
        subscription.destination.type,
        _now_ms(),
        whole(revision),
    )
    if client.hsetnx(keys.CONFLICTS, integration_id, _encode(conflict)):
        INTEGRATION_UNKNOWN_TO_LEDGER.log(log, integration=integration_id, name=name)


def _document(value: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(value)
    except DAMAGED:
        return None
    if not isinstance(document, dict) or document.get("deleted"):
        return None
    return {name: value for name, value in document.items() if name != _BEFORE}


def _read(encoded: bytes) -> Conflict | None:
    try:
        return _conflict.decode(encoded)
    except DAMAGED:
        return None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
