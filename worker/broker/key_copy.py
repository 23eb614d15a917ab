"""The copy of the API keys in Redis, by which the API lets callers in while the database is away.

What stands here of a key is what the database has: the digest of its text, its tenant and its role. A
recorder makes the copy equal to the ledger every few seconds and says when (by the clock of Redis); a copy
that nobody has confirmed for longer than `LASTS` opens nothing. What was revoked stands in a set of its own,
which only grows, and which wins: a key once revoked opens nothing by this copy any more, and a recorder
revokes it in the ledger as well, should that not know it.

The release before this one neither writes nor reads these keys.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from redis.exceptions import ResponseError

from worker.broker import keys
from worker.broker.clocks import redis_now_ms
from worker.broker.connection import broker_errors
from worker.broker.overdraft import execute_anyway
from worker.model.api_keys import NO_DIGEST, ApiKey, Role

if TYPE_CHECKING:
    import redis

#: How long the copy may open doors after the ledger confirmed it last, in seconds.
LASTS = 24 * 3600.0


class CopiedKey(msgspec.Struct, frozen=True):
    """One key: `digest` is of its text, times are ms since 1970 UTC."""

    digest: str
    tenant_id: str
    name: str
    role: Role
    created_ms: int


@dataclass(frozen=True, slots=True)
class Found:
    """A key as the copy has it; `key` is None if it was revoked."""

    key: ApiKey | None
    digest: str


_REVOKED = Found(None, NO_DIGEST)

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(CopiedKey).decode


class KeyCopy:
    """May be shared between threads. Every method raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client."""
        self._client = client

    def find(self, key_id: str) -> Found | None:
        """Return what is known of the key with this id; None where the copy does not tell."""
        with broker_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hget(keys.API_KEYS, key_id)
            pipeline.sismember(keys.API_KEYS_REVOKED, key_id)
            pipeline.get(keys.API_KEYS_CONFIRMED)
            pipeline.time()
            document, is_revoked, confirmed, (seconds, _) = pipeline.execute()
        if is_revoked:
            return _REVOKED
        if document is None or not _is_fresh(confirmed, int(seconds)):
            return None
        return _read(key_id, document)

    def revoke(self, key_id: str) -> None:
        """Let this key open nothing by this copy, for ever."""
        with broker_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.sadd(keys.API_KEYS_REVOKED, key_id)
            pipeline.hdel(keys.API_KEYS, key_id)
            execute_anyway(self._client, pipeline)

    def revoked(self) -> set[str]:
        """Return the ids of the keys that were revoked here."""
        with broker_errors():
            found: Any = self._client.smembers(keys.API_KEYS_REVOKED)
        return {one.decode(errors="replace") for one in found}

    def replace(self, standing: Collection[tuple[ApiKey, str]]) -> None:
        """Let these keys, each with its digest, be all that open; the ledger has just told them."""
        wanted = {key.id.encode(): _document(key, digest) for key, digest in standing}
        now_ms = redis_now_ms(self._client)
        with broker_errors():
            pipeline = self._client.pipeline(transaction=True)
            if self._documents() != wanted:
                _replace(pipeline, wanted)
            pipeline.set(keys.API_KEYS_CONFIRMED, now_ms)
            # A recorder does this every few seconds, and must go on in a full Redis.
            execute_anyway(self._client, pipeline)

    def _documents(self) -> dict[bytes, bytes] | None:
        """Return what stands in the copy; None where somebody has overwritten it."""
        try:
            found: Any = self._client.hgetall(keys.API_KEYS)
        except ResponseError:
            return None
        return dict(found)


def _replace(pipeline: Any, wanted: Mapping[bytes, bytes]) -> None:
    pipeline.delete(keys.API_KEYS)
    if wanted:
        pipeline.hset(keys.API_KEYS, mapping=wanted)


def _is_fresh(confirmed: bytes | None, now: int) -> bool:
    try:
        return confirmed is not None and now - int(confirmed) / 1000 < LASTS
    except ValueError:
        return False


def _document(key: ApiKey, digest: str) -> bytes:
    return _encode(CopiedKey(digest, key.tenant_id, key.name, key.role, key.created_ms))


def _read(key_id: str, document: bytes) -> Found | None:
    try:
        found = _decode(document)
    except (msgspec.MsgspecError, ValueError):
        return None  # damaged: a recorder writes it again
    return Found(ApiKey(key_id, found.tenant_id, found.name, found.role, found.created_ms), found.digest)
