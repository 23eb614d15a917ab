"""Entries of the recorder's three streams as they stand in Redis: fields and values in turn.

Outcomes have `outcomes`, dead letters `dead`, parked chunks what `park.lua` writes. An entry that was set
aside and put back has `first_id` behind these: the id that it had when it came first.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from worker.broker import keys
from worker.broker.chunks import DeadChunk, StoredChunk, UnreadableChunk, dead_chunk
from worker.broker.numbers import whole
from worker.broker.packing import unpack_chunk, unpack_dead, unpack_outcomes
from worker.model.parking import ParkedChunk

FIRST_ID = b"first_id"

_ID = re.compile(rb"[0-9]+-[0-9]+")
_encoder = msgspec.msgpack.Encoder()
_fields = msgspec.msgpack.Decoder(list[bytes])


def unpack_fields(stream: str, fields: Sequence[bytes]) -> Any:
    """Return what an entry holds: a list of Outcome, a DeadLetter, or a ParkedChunk.

    Raises one of DAMAGED, or LookupError, for what was not written by us.
    """
    if stream == keys.PARKED:
        return _parked_chunk(fields)
    return (unpack_outcomes if stream == keys.OUTCOMES else unpack_dead)(fields[1])


def first_id_of(fields: Sequence[bytes]) -> str | None:
    """Return the first id of an entry that was put back, None of any other. Raises ValueError for no id."""
    if len(fields) < 4 or fields[-2] != FIRST_ID:  # noqa: PLR2004 - one pair of its own, and this one
        return None
    if not _ID.fullmatch(fields[-1]):
        raise ValueError(f"{FIRST_ID.decode()} is no id of an entry")
    return fields[-1].decode()


def pack_fields(fields: Sequence[bytes]) -> bytes:
    """Pack the fields of an entry as they are."""
    return _encoder.encode(list(fields))


def unpack_packed_fields(packed: bytes) -> list[bytes]:
    """Unpack what `pack_fields` packed. Raises one of DAMAGED."""
    return _fields.decode(packed)


def _parked_chunk(fields: Sequence[bytes]) -> ParkedChunk:
    given = dict(zip(fields[::2], fields[1::2], strict=True))
    events = unpack_chunk(given[b"events"])
    return ParkedChunk(
        given[b"integration"].decode(),
        given[b"lane"] == b"urgent",
        _position(given[b"entry"]),
        len(events),
        sum(len(event.raw) for event in events),
        given[b"events"],
    )


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


def _position(entry_id: bytes) -> int:
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds) << 20 | int(sequence)
