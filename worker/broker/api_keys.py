"""The copy of the API keys in Redis, by which the API lets callers in while the database is away.

What stands here of a key is what the database has: the digest of its text, its tenant and its role. A
recorder makes the copy equal to the ledger every few seconds and says when (by the clock of Redis); a copy
that was not confirmed for longer than `LASTS` opens nothing. What was revoked stands in a set of its own,
which only grows, and which wins: a key once revoked opens nothing by this copy any more, and a recorder
revokes it in the ledger as well, should that not know it.

Each entry and the confirmation carry a proof of the fleet's own (`worker.vault.vault`), and both name the
edition that they belong to, which is the digest of all entries: who can write to Redis makes no key and
raises no role, and can at the most bring back an edition that was confirmed within `LASTS`.

The release before this one reads and writes the same keys without proofs; it skips ours, and what it has
written opens nothing here. While recorders of both run, the last one that wrote counts.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from redis.exceptions import ResponseError

from worker.broker import keys
from worker.broker.clocks import redis_now_ms
from worker.broker.connection import broker_errors, send_command
from worker.broker.oom import execute_when_full
from worker.model.api_keys import NO_DIGEST, ApiKey, Role
from worker.model.untrusted_json import DAMAGED
from worker.vault.vault import Signer

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
    edition: str = ""
    proof: str = ""


class _Confirmation(msgspec.Struct, frozen=True):
    """When the ledger has confirmed which edition (ms since 1970 UTC, by the clock of Redis)."""

    at_ms: int
    edition: str
    proof: str


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key as the copy has it; `key` is None if it was revoked."""

    key: ApiKey | None
    digest: str


_REVOKED = FoundKey(None, NO_DIGEST)

_KEY, _CONFIRMATION = "copied API key", "confirmed API keys"

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(CopiedKey).decode
_decode_confirmation = msgspec.json.Decoder(_Confirmation).decode


class KeyCopy:
    """May be shared between threads. Every method raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis", proofs: Signer) -> None:
        """Use the client, and the proofs of the fleet's own keys."""
        self._client = client
        self._proofs = proofs

    def find(self, key_id: str) -> FoundKey | None:
        """Return what is known of the key with this id; None where the copy does not say."""
        return self.find_all([key_id]).get(key_id)

    def find_all(self, key_ids: Collection[str]) -> dict[str, FoundKey]:
        """Return what is known of each of these keys that the copy has."""
        if not key_ids:
            return {}
        with broker_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hmget(keys.API_KEYS, list(key_ids))
            send_command(pipeline, "SMISMEMBER", keys.API_KEYS_REVOKED, *key_ids)
            pipeline.get(keys.API_KEYS_PROVED)
            pipeline.time()
            documents, revoked, confirmed, (seconds, _) = pipeline.execute()
        edition = self._edition(confirmed, int(seconds))
        listed = zip(key_ids, documents, revoked, strict=True)
        found = {
            one: _REVOKED if gone else self._read(one, document, edition) for one, document, gone in listed
        }
        return {key_id: one for key_id, one in found.items() if one is not None}

    def revoke(self, key_id: str, record: tuple[str, bytes] | None = None) -> None:
        """Let this key open nothing by this copy, for ever; `record` is for the audit trail's inbox."""
        with broker_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.sadd(keys.API_KEYS_REVOKED, key_id)
            pipeline.hdel(keys.API_KEYS, key_id)
            if record is not None:
                pipeline.hset(keys.AUDIT_INBOX, *record)
            execute_when_full(self._client, pipeline)

    def revoked(self) -> set[str]:
        """Return the ids of the keys that were revoked here."""
        with broker_errors():
            found: Any = self._client.smembers(keys.API_KEYS_REVOKED)
        return {one.decode(errors="replace") for one in found}

    def replace(self, standing: Collection[tuple[ApiKey, str]]) -> None:
        """Let these keys, each with its digest, be all that open; the ledger has just named them."""
        wanted = self._proved(standing)
        now_ms = redis_now_ms(self._client)
        with broker_errors():
            pipeline = self._client.pipeline(transaction=True)
            if self._documents() != wanted:
                _replace(pipeline, wanted)
            # This one is for the release before this one alone.
            pipeline.set(keys.API_KEYS_CONFIRMED, now_ms)
            pipeline.set(keys.API_KEYS_PROVED, self._confirmation(now_ms, _edition_of(standing)))
            # A recorder does this every few seconds, and must go on in a full Redis.
            execute_when_full(self._client, pipeline)

    def _proved(self, standing: Collection[tuple[ApiKey, str]]) -> dict[bytes, bytes]:
        edition = _edition_of(standing)
        entries = {key.id: _copied(key, digest, edition) for key, digest in standing}
        return {
            one.encode(): _encode(
                msgspec.structs.replace(entry, proof=self._proofs.prove(_KEY, *_parts(one, entry)))
            )
            for one, entry in entries.items()
        }

    def _confirmation(self, now_ms: int, edition: str) -> bytes:
        proof = self._proofs.prove(_CONFIRMATION, str(now_ms), edition)
        return _encode(_Confirmation(now_ms, edition, proof))

    def _edition(self, confirmed: bytes | None, now: int) -> str | None:
        """Return the edition that the ledger has confirmed lately, if the fleet says so."""
        try:
            read = _decode_confirmation(confirmed or b"")
        except DAMAGED:
            return None
        is_ours = self._proofs.holds(read.proof, _CONFIRMATION, str(read.at_ms), read.edition)
        return read.edition if is_ours and now - read.at_ms / 1000 < LASTS else None

    def _read(self, key_id: str, document: bytes | None, edition: str | None) -> FoundKey | None:
        if document is None or edition is None:
            return None
        try:
            found = _decode(document)
        except DAMAGED:
            return None  # damaged: a recorder writes it again
        if found.edition != edition or not self._proofs.holds(found.proof, _KEY, *_parts(key_id, found)):
            return None  # of an edition that has gone, or not ours
        return FoundKey(
            ApiKey(key_id, found.tenant_id, found.name, found.role, found.created_ms), found.digest
        )

    def _documents(self) -> dict[bytes, bytes] | None:
        """Return what stands in the copy; None where it was overwritten."""
        try:
            found: Any = self._client.hgetall(keys.API_KEYS)
        except ResponseError:
            return None
        return dict(found)


def _replace(pipeline: Any, wanted: Mapping[bytes, bytes]) -> None:
    pipeline.delete(keys.API_KEYS)
    if wanted:
        pipeline.hset(keys.API_KEYS, mapping=wanted)


def _copied(key: ApiKey, digest: str, edition: str = "") -> CopiedKey:
    return CopiedKey(digest, key.tenant_id, key.name, key.role, key.created_ms, edition)


def _edition_of(standing: Collection[tuple[ApiKey, str]]) -> str:
    """Return another text for each other set of keys."""
    entries = sorted((key.id.encode(), _encode(_copied(key, digest))) for key, digest in standing)
    return hashlib.sha256(_encode([[one.decode(), entry.decode()] for one, entry in entries])).hexdigest()


def _parts(key_id: str, entry: CopiedKey) -> tuple[str, ...]:
    """Return what the proof of an entry is of."""
    whose = (key_id, entry.digest, entry.tenant_id, entry.name, entry.role.value)
    return (*whose, str(entry.created_ms), entry.edition)
