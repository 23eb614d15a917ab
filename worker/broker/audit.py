"""The audit trail in Redis: what waits to come into the ledger, and the stream that others subscribe to.

**`siem:audit:inbox`** takes the records of what is changed in Redis alone (a sign-in, a key that is revoked
while the database is away, entries that were set aside); a recorder moves them into the ledger. Each carries
a proof of the fleet's own (`worker.vault.vault`), so that who can write to Redis makes no record.

**`siem:audit`** has every record once more, at least once, in the field `record`: the document of
`GET /api/v1/audit` as JSON. A record leaves the ledger's outbox only once it stands here, so that nothing is
lost while Redis is away or full. The stream has at most `MOST_ENTRIES`. While a consumer group reads it, only
what every group has acknowledged is removed, and further records wait in the ledger; without a group the
oldest are removed.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from worker.broker import keys
from worker.broker.connection import broker_errors, send_command
from worker.broker.oom import ask_when_full
from worker.model.audit import AuditRecord
from worker.model.untrusted_json import DAMAGED
from worker.vault.vault import Signer

if TYPE_CHECKING:
    import redis

#: Entries of the stream, and records of the inbox that may be dropped, at the most.
MOST_ENTRIES, MOST_WAITING = 1000, 5000
#: Records that a recorder takes at once.
PAGE = 100
_PURPOSE = "audit"


class _Entry(msgspec.Struct, frozen=True):
    record: str
    proof: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Entry).decode
_decode_record = msgspec.json.Decoder(AuditRecord).decode


class AuditInbox:
    """What a recorder is to write into the ledger. Every method raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis", proofs: Signer) -> None:
        """Use the client and the proofs, which may be shared between threads."""
        self._client = client
        self._proofs = proofs

    def entry(self, record: AuditRecord) -> tuple[str, bytes]:
        """Return what stands for a record and its id, to be written in the transaction of its change."""
        text = _encode(record).decode()
        return record.id, _encode(_Entry(text, self._proofs.prove(_PURPOSE, text)))

    def put(self, record: AuditRecord) -> None:
        """Write a record, however full Redis is."""
        with broker_errors():
            ask_when_full(self._client, "HSET", keys.AUDIT_INBOX, *self.entry(record))

    def put_if_room(self, record: AuditRecord) -> bool:
        """Write a record unless too many wait already; return whether it was."""
        with broker_errors():
            if int(send_command(self._client, "HLEN", keys.AUDIT_INBOX)) >= MOST_WAITING:
                return False
            send_command(self._client, "HSET", keys.AUDIT_INBOX, *self.entry(record))
        return True

    def waiting(self) -> list[tuple[bytes, AuditRecord | None]]:
        """Return some entries, by name, with their records; None for one that the fleet has not written."""
        cursor: Any = 0
        with broker_errors():
            while True:
                answer: Any = self._client.hscan(keys.AUDIT_INBOX, cursor, count=PAGE)
                cursor, found = answer
                if found or not cursor:
                    return [(name, self._read(entry)) for name, entry in sorted(found.items())]

    def remove(self, names: Sequence[bytes]) -> None:
        """Remove entries that the ledger has."""
        with broker_errors():
            self._client.hdel(keys.AUDIT_INBOX, *names)

    def _read(self, entry: bytes) -> AuditRecord | None:
        try:
            read = _decode(entry)
            if not self._proofs.holds(read.proof, _PURPOSE, read.record):
                return None
            return _decode_record(read.record.encode())
        except DAMAGED:
            return None


class AuditStream:
    """The stream that others read. Every method raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis", most: int = MOST_ENTRIES) -> None:
        """Keep at most so many entries."""
        self._client = client
        self._most = most

    def make_room(self, wanted: int) -> int:
        """Remove what every group has acknowledged, or without one the oldest; return the room there is."""
        with broker_errors():
            length = int(self._client.xlen(keys.AUDIT))
            if length + wanted > self._most:
                self._trim(wanted)
                length = int(self._client.xlen(keys.AUDIT))
        return max(0, self._most - length)

    def publish(self, documents: Sequence[bytes]) -> None:
        """Append all of them, or none."""
        with broker_errors():
            pipeline = self._client.pipeline(transaction=True)
            for one in documents:
                pipeline.xadd(keys.AUDIT, {"record": one})
            pipeline.execute()

    def _trim(self, wanted: int) -> None:
        """Delete the oldest; of a stream with groups, what is below the first that any group still needs."""
        beyond = int(self._client.xlen(keys.AUDIT)) + wanted - self._most
        found: Any = self._client.xrange(keys.AUDIT, count=beyond)
        groups: Any = self._client.xinfo_groups(keys.AUDIT)
        ids = [entry.decode() for entry, _ in found]
        if groups:
            needed = min(_place(self._first_needed(group)) for group in groups)
            ids = [one for one in ids if _place(one) < needed]
        if ids:
            self._client.xdel(keys.AUDIT, *ids)

    def _first_needed(self, group: dict[str, Any]) -> str:
        pending: Any = self._client.xpending(keys.AUDIT, group["name"])
        if pending["pending"]:
            return str(pending["min"].decode())
        at_ms, _, sequence = group["last-delivered-id"].decode().partition("-")
        return f"{at_ms}-{int(sequence) + 1}"


def _place(entry_id: str) -> tuple[int, int]:
    at_ms, _, sequence = entry_id.partition("-")
    return int(at_ms), int(sequence)
