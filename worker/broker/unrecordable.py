"""Entries of the recorder's streams, and those that no recorder could record, in `siem:unrecordable`.

Each keeps the stream that it came from, the id that it had there, the reason, and its fields as they stood,
so that it can be put back without any loss. Its own id says when it was set aside. Entries of
releases that kept only the content (`raw`) are read as well.

Entries of the recorder's three streams as they stand in Redis: fields and values in turn.

Outcomes have `outcomes`, dead letters `dead`, parked chunks what `park.lua` writes. An entry that was set
aside and put back has `first_id` behind these: the id that it had when it came first.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import redis

from worker.broker import keys
from worker.broker.chunks import DeadChunk, StoredChunk, UnreadableChunk, dead_chunk
from worker.broker.connection import appending_script, broker_errors
from worker.broker.packing import unpack_chunk, whole
from worker.broker.recorder_entries import FIRST_ID, first_id_of, unpack_fields
from worker.model.deliveries import DeadLetter, Outcome
from worker.model.events import BULK_EVENT_TYPES
from worker.model.parking import ParkedChunk
from worker.model.untrusted_json import DAMAGED

_encoder = msgspec.msgpack.Encoder()
_unpack_list = msgspec.msgpack.Decoder(list[bytes])


def pack_fields(fields: Sequence[bytes]) -> bytes:
    """Pack the fields of an entry as they are."""
    return _encoder.encode(list(fields))


def unpack_packed_fields(packed: bytes) -> list[bytes]:
    """Unpack what `pack_fields` packed. Raises one of DAMAGED."""
    return _unpack_list.decode(packed)


def dead_parked_chunk(entry_id: bytes, fields: Sequence[bytes]) -> DeadChunk | None:
    """Return what stands for an entry of `siem:parked` whose events cannot be read.

    None if they can, and for what is no chunk of an integration at all.
    """
    given = dict(zip(fields[::2], fields[1::2], strict=False))
    integration = given.get(b"integration", b"")
    is_chunk = {b"entry", b"events"} <= given.keys() and integration.isascii()
    if not (is_chunk and integration.decode().isprintable() and integration):
        return None
    names = (b"n", b"bytes", b"events", b"crc")  # as the backlog had them; `crc` since this release
    stored = [part for name in names for part in (name, given.get(name, b""))]
    chunk = StoredChunk(given.get(b"lane", b"").decode(errors="replace"), given[b"entry"], stored)
    try:
        chunk.events()
    except UnreadableChunk as error:
        now_ms = whole(entry_id.partition(b"-")[0])
        return dead_chunk(integration.decode(), chunk, str(error), now_ms)
    return None


#: The streams that entries are put back into, each with the name of the field that holds the content.
_CONTENT = {keys.OUTCOMES: b"outcomes", keys.DEAD_LETTERS: b"dead", keys.PARKED: b"events"}
#: Entries of one read.
_PAGE = 100
#: How an earlier release wrote the fields of a parked chunk that it could not read.
_RAW_PARKED = re.compile(
    rb"(integration) (\S+) (lane) (\S+) (entry) (\S+) (n) (\S+) (bytes) (\S+) (events) (.*)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class SetAside:
    """An entry that was set aside: `id` is its id here, `entry` the one that it had in `stream`.

    `fields` are what it consisted of, in pairs; None when nothing can be put back. `content` is what it
    holds, None when that cannot be read; `raw` is what an earlier release, or a stranger, has put there.
    """

    id: str
    stream: str
    entry: str
    reason: str
    fields: tuple[bytes, ...] | None
    content: list[Outcome] | DeadLetter | ParkedChunk | None
    raw: bytes

    @property
    def set_aside_ms(self) -> int:
        """When it was set aside, in milliseconds since 1970 UTC by the clock of Redis."""
        return int(self.id.partition("-")[0])


class Unrecordable:
    """The entries that were set aside. Raises BrokerUnavailable."""

    def __init__(self, client: redis.Redis) -> None:
        """Use the client, which may be shared between threads."""
        self.client = client
        self._put_back = appending_script(client, "put_back")

    def count(self) -> int:
        """Count them."""
        with broker_errors():
            return int(self.client.xlen(keys.UNRECORDABLE))

    def all(self, after: str | None = None) -> Iterator[SetAside]:
        """Yield them, the oldest first, as of now; those `after` an id alone, if one is given."""
        with broker_errors():
            last: Any = self.client.xrevrange(keys.UNRECORDABLE, count=1)
            start = f"({after}" if after else "-"
            while last:
                found: Any = self.client.xrange(keys.UNRECORDABLE, start, last[0][0], _PAGE)
                yield from (_read(entry_id, given) for entry_id, given in found)
                if len(found) < _PAGE:
                    return
                start = f"({found[-1][0].decode()}"

    def find(self, entry_id: str) -> SetAside | None:
        """Return the one with this id; None when there is none (any more)."""
        if not re.fullmatch(r"[0-9]{1,20}-[0-9]{1,20}", entry_id):
            return None
        with broker_errors():
            found: Any = self.client.xrange(keys.UNRECORDABLE, entry_id, entry_id)
        return _read(*found[0]) if found else None

    def put_back(self, one: SetAside) -> bool:
        """Put it back into its stream, where a recorder takes it; False if it is not here any more.

        Raises ValueError when it cannot be put back (`fields` is None).
        """
        if one.fields is None:
            raise ValueError(f"{one.id} cannot be put back")
        fields = list(one.fields)
        if first_id_of(fields) is None:
            fields += [FIRST_ID, one.entry.encode()]
        with broker_errors():
            return bool(self._put_back(keys=[keys.UNRECORDABLE, one.stream], args=[one.id, *fields]))

    def discard(self, one: SetAside) -> bool:
        """Delete it for good; False if it is not here any more."""
        with broker_errors():
            return bool(self.client.xdel(keys.UNRECORDABLE, one.id))


def _read(entry_id: bytes, given: dict[bytes, bytes]) -> SetAside:
    stream = given.get(b"stream", b"").decode(errors="replace")
    entry = given.get(b"entry", b"").decode(errors="replace")
    reason = given.get(b"reason", b"not known: an earlier release set it aside").decode(errors="replace")
    fields = _fields(stream, entry, given) if re.fullmatch(r"[0-9]+-[0-9]+", entry) else None
    return SetAside(
        entry_id.decode(),
        stream,
        entry,
        reason,
        tuple(fields) if fields else None,
        _content(stream, fields),
        given.get(b"raw", b""),
    )


def _fields(stream: str, entry: str, given: dict[bytes, bytes]) -> Sequence[bytes] | None:
    if stream not in _CONTENT:
        return None
    if b"fields" in given:
        try:
            return unpack_packed_fields(given[b"fields"])
        except DAMAGED:
            return None
    return _fields_of_raw(stream, entry, given.get(b"raw", b""))


def _fields_of_raw(stream: str, entry: str, raw: bytes) -> Sequence[bytes] | None:
    """Return the fields as an earlier release kept them: the content alone, or joined by spaces."""
    if stream == keys.PARKED:
        joined = _RAW_PARKED.fullmatch(raw)
        return joined.groups() if joined else _parked_fields(entry, *raw.split(b" ", 1))
    name = _CONTENT[stream]
    return [name, raw.removeprefix(name + b" ")]


def _parked_fields(entry: str, integration: bytes, packed: bytes = b"") -> list[bytes] | None:
    """Return the fields of a parked chunk of which only the integration and the events were kept."""
    try:
        events = unpack_chunk(packed)
    except DAMAGED:
        return None
    is_bulk = all(event.type in BULK_EVENT_TYPES for event in events)
    size = sum(len(event.raw) for event in events)
    return [
        *(b"integration", integration, b"lane", b"bulk" if is_bulk else b"urgent", b"entry", entry.encode()),
        *(b"n", b"%d" % len(events), b"bytes", b"%d" % size, b"events", packed),
    ]


def _content(stream: str, fields: Sequence[bytes] | None) -> Any:
    if not fields:
        return None
    try:
        return unpack_fields(stream, fields)
    except (*DAMAGED, LookupError):
        return None
