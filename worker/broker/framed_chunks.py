"""Frames whose events stand under a key of their own from the publisher on, as `siem:chunk:<id>`.

A publisher writes the packed events (`pack_chunk`) there, and in the same transaction an entry of
`siem:events` with a frame that only says what they are. A router whose integrations all want all of them
passes on the reference: the events go into Redis once, and out of it once to each worker process that
delivers them. Otherwise it fetches them and sorts event by event, as it does where they are traced.

The frame has the head of one that holds its events (`worker.broker.frames`), with version 2, and then

    a MessagePack array: CRC-32 of the packed events; for each type [type, how many events, bytes of these]
    33 bytes   the id of the chunk

So a router has not seen the events. Who reads the chunk first looks at them as a router does, and gives
them the moment of their entry: what says so in the place of their checksum is `<checksum>@<moment in ms>`.
What then is no frame's content, or not what the frame said, becomes dead letters as a whole.

The id begins with `p`, and is not to be guessed: a publisher may write such keys, and must not hit those of
others. The sweep is that of all chunks (`worker.broker.shared_chunks`); one that waits in the ingress is in
use.
"""

import re
import zlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from secrets import token_hex
from typing import Annotated

import msgspec

from worker.broker.frames import (
    APART,
    MOST_BYTES,
    InvalidFrame,
    dated,
    not_objects,
    read_events,
    sealed,
    sound_head,
)
from worker.broker.packing import checksum
from worker.model.events import EventTypeName, QueuedEvent
from worker.model.time import LATEST_MS
from worker.model.untrusted_json import DAMAGED
from worker.model.untrusted_text import number_in

#: How an id begins, and how many bytes it has: `framed.lua` reads it, too.
ID_BEGINS, ID_LENGTH = "p", 33
#: No frame of version 2 is larger, in bytes.
_LARGEST = 16 << 10
_ID = re.compile(rb"p[0-9a-f]{32}")
_AT = b"@"


class Kind(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The events of one type in a frame: how many, and the bytes of their JSON."""

    type: EventTypeName
    events: Annotated[int, msgspec.Meta(gt=0)]
    size: Annotated[int, msgspec.Meta(gt=0)]


class _Content(msgspec.Struct, frozen=True, array_like=True, gc=False):
    crc: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    kinds: Annotated[tuple[Kind, ...], msgspec.Meta(min_length=1)]


_content = msgspec.msgpack.Decoder(_Content).decode
_encode = msgspec.msgpack.Encoder().encode


class FramedChunk(msgspec.Struct, frozen=True, dict=True):
    """What a frame says of events that stand apart; `crc` is that of the packed events."""

    tenant_id: str
    is_urgent: bool
    chunk_id: str
    crc: int
    kinds: tuple[Kind, ...]

    @cached_property
    def events(self) -> int:
        """How many events there are."""
        return sum([kind.events for kind in self.kinds])

    @cached_property
    def size(self) -> int:
        """The bytes of their JSON."""
        return sum([kind.size for kind in self.kinds])

    def check_word(self, published_ms: int) -> bytes:
        """Return what stands in an entry of a lane in the place of the checksum."""
        return b"%08x@%d" % (self.crc, published_ms)


def new_framed_id() -> str:
    """Return the id of a chunk that no other has, and no one can guess."""
    return ID_BEGINS + token_hex((ID_LENGTH - 1) // 2)


def pack_framed(
    tenant_id: str, events: Iterable[QueuedEvent], packed: bytes, chunk_id: str, *, is_urgent: bool
) -> bytes:
    """Return the frame of events that stand apart; `packed` is what stands there."""
    kinds: dict[str, list[int]] = {}
    for event in events:
        found = kinds.setdefault(event.type, [0, 0])
        found[0] += 1
        found[1] += len(event.raw)
    content = zlib.crc32(packed), [(kind, *counts) for kind, counts in kinds.items()]
    count = sum([counts[0] for counts in kinds.values()])
    rest = _encode(content) + chunk_id.encode()
    return b"".join(sealed(APART, count, tenant_id, rest, is_urgent=is_urgent))


def chunk_id_of(frame: bytes) -> str | None:
    """Return the id at the end of a frame whose events stand apart, damaged or not; None of any other."""
    found = frame[-ID_LENGTH:] if len(frame) <= _LARGEST else b""
    return found.decode() if _ID.fullmatch(found) else None


def read_framed(frame: bytes) -> FramedChunk:
    """Return what a frame says of events that stand apart. Raises InvalidFrame."""
    head, chunk_id = sound_head(frame, APART), chunk_id_of(frame)
    if chunk_id is None:
        raise InvalidFrame("does not say where its events stand")
    try:
        content = _content(memoryview(frame)[head.start : -ID_LENGTH])
    except DAMAGED as error:
        raise InvalidFrame(f"does not say what its events are: {error}") from None
    found = FramedChunk(head.tenant_id, head.is_urgent, chunk_id, content.crc, content.kinds)
    if found.events != head.events:
        raise InvalidFrame(f"says {head.events} events, and {found.events} by type")
    if found.size > MOST_BYTES:
        raise InvalidFrame(f"says {found.size} bytes of events, of which {MOST_BYTES} is the most")
    return found


def events_apart(frame: bytes, packed: bytes, published_ms: int) -> tuple[str, list[QueuedEvent]]:
    """Return the tenant of a frame and its events, which stood apart. Raises InvalidFrame.

    They are what `read_frame` would return of a frame that holds them.
    """
    framed = read_framed(frame)
    if not packed:
        raise InvalidFrame(f"refers to events that are not there: Redis has no siem:chunk:{framed.chunk_id}")
    if zlib.crc32(packed) != framed.crc:
        raise InvalidFrame("refers to events that are damaged: their checksum is that of other bytes")
    return framed.tenant_id, _sized(packed, framed.events, framed.size, published_ms)


def _sized(packed: bytes, count: int, size: int, published_ms: int) -> list[QueuedEvent]:
    events = read_events(packed, count, published_ms)
    found = sum([len(event.raw) for event in events])
    if found != size:
        raise InvalidFrame(f"holds {found} bytes of events, and says {size}")
    return events


def published_of(word: bytes) -> int | None:
    """Return the moment of events that no router has seen, by their check word; None of all others."""
    at = number_in(word.partition(_AT)[2]) if _AT in word else None
    return at if at is not None and 0 <= at <= LATEST_MS else None


def dated_chunk(packed: bytes, word: bytes) -> bytes:
    """Return packed events as they are to be kept, by the check word of their entry."""
    published_ms = published_of(word)
    return packed if published_ms is None else dated(packed, published_ms)


def first_reading(packed: bytes, fields: Sequence[bytes], published_ms: int) -> list[QueuedEvent]:
    """Return the events of a chunk that no router has seen. Raises InvalidFrame.

    `fields` is its entry in a lane: `n`, `bytes`, `events` or `shared`, and `crc`, each behind its name.
    """
    count, size, word = number_in(fields[1]), number_in(fields[3]), fields[7]
    if word.partition(_AT)[0] != checksum(packed):
        raise InvalidFrame("decodes, but its checksum is that of other bytes")
    events = _sized(packed, count or 0, size or 0, published_ms)
    if wrong := not_objects(events):
        raise InvalidFrame(f"holds {len(wrong)} events that are not one JSON object in UTF-8")
    return events
