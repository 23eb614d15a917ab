"""What entries of the recorder's streams hold: outcomes, dead letters, parked chunks."""

import re
from collections.abc import Sequence
from typing import Any

from worker.broker import keys
from worker.broker.framed_chunks import first_reading, published_of
from worker.broker.frames import InvalidFrame
from worker.broker.packing import pack_chunk, unpack_chunk, unpack_dead, unpack_outcomes
from worker.model.events import QueuedEvent
from worker.model.parking import ParkedChunk

#: In an entry that was put back: the field of the id that it had when it came first.
FIRST_ID = b"first_id"
_ID = re.compile(rb"[0-9]+-[0-9]+")


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


def _parked_chunk(fields: Sequence[bytes]) -> ParkedChunk:
    given = dict(zip(fields[::2], fields[1::2], strict=True))
    packed, events = _parked_events(given)
    return ParkedChunk(
        given[b"integration"].decode(),
        given[b"lane"] == b"urgent",
        _position(given[b"entry"]),
        len(events),
        sum(len(event.raw) for event in events),
        packed,
    )


def _parked_events(given: dict[bytes, bytes]) -> tuple[bytes, list[QueuedEvent]]:
    """Return the events, and these as the ledger keeps them: seen, and with the moment of their entry."""
    packed, word = given[b"events"], given.get(b"crc", b"")
    if (published_ms := published_of(word)) is None:
        return packed, unpack_chunk(packed)
    fields = [b"n", given[b"n"], b"bytes", given[b"bytes"], b"events", packed, b"crc", word]
    try:
        events = first_reading(packed, fields, published_ms)
    except InvalidFrame as error:
        raise ValueError(error.reason) from None
    return pack_chunk(events), events


def _position(entry_id: bytes) -> int:
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds) << 20 | int(sequence)
