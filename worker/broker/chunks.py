"""A chunk as it stands in a backlog: reading it, and what becomes of one that cannot be read.

Each event of a chunk that cannot be read becomes a dead letter. One whose id, type and times still decode is
known by them, and its letter holds the bytes that follow, up to the next such event. For each of the others
there is a letter under a name that says where it was; the first of these holds the whole chunk.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import msgspec

from worker.broker import keys
from worker.broker.chunk_traces import TRACES
from worker.broker.framed_chunks import dated_chunk, first_reading, published_of
from worker.broker.frames import InvalidFrame
from worker.broker.packing import checksum, unpack_chunk
from worker.broker.shared_chunks import SHARED
from worker.model.batches import SETTLED
from worker.model.deliveries import Cause, DeadLetter, EventTrace, Failure, Outcome, Status
from worker.model.errors import SiemError
from worker.model.events import EventType, QueuedEvent
from worker.model.failures import FailureCode
from worker.model.untrusted_json import DAMAGED
from worker.model.untrusted_text import number_in

#: No chunk was ever made of more events.
MOST_EVENTS = 10_000
#: The largest number that a column holds.
_LARGEST = 2**63 - 1
#: The place of a checksum in an entry of a lane.
_CRC = 7
_HINT = (
    "see that Redis's disk and memory are sound; `siem dead-letters show` has the bytes: publish again what "
    "is right in them, and discard the letter"
)
_TYPES = frozenset(EventType)

#: How a packed event begins: a list of five, of which the first is a string. Text in UTF-8 may look like it.
_BEGINNING = re.compile(rb"\x95[\xa1-\xbf\xd9\xda]")
#: Bytes of the longest id, with what says how long it is.
_LONGEST_ID = 4 * 128 + 5
#: Places in one chunk that may look like the beginning of an event: each costs a microsecond or two.
_MOST_PLACES = 20_000


class UnreadableChunk(SiemError):
    """The bytes of a chunk are not those that were written; the text says how that was found."""


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """An entry of a backlog: `n`, `bytes`, `events` and `crc`, in this order, each behind its name.

    An earlier release wrote no `crc`; one of a frame says that no router has seen its events
    (`worker.broker.framed_chunks`). `traces` may follow (`worker.broker.chunk_traces`). `lane` is `urgent`
    or `bulk`. One that still has `shared` in the place of `events` refers to events that are not there
    (`worker.broker.shared_chunks`).
    """

    lane: str
    entry_id: bytes
    fields: Sequence[bytes]

    @property
    def packed(self) -> bytes:
        """The events, as `pack_chunk` packed them; empty if they are not there."""
        return b"" if self._field(4) == SHARED else dated_chunk(self._field(5), self._field(7))

    @property
    def count(self) -> int | None:
        """How many events there should be; None if damage left no such number."""
        count = number_in(self._field(1))
        return count if count is not None and 1 <= count <= MOST_EVENTS else None

    @property
    def traces(self) -> bytes:
        """The spans of its events, packed (`worker.broker.chunk_traces`); empty if none is traced."""
        return self.fields[9] if len(self.fields) > 9 and self.fields[8] == TRACES else b""  # noqa: PLR2004 - places

    def events(self) -> list[QueuedEvent]:
        """Read the events. Raises UnreadableChunk."""
        if self._field(4) == SHARED:
            name = keys.chunk(self._field(5).decode(errors="replace"))
            raise UnreadableChunk(f"its events are not there: Redis has no {name}")
        return events_of(self._field(5), self.fields)

    def _field(self, place: int) -> bytes:
        return self.fields[place] if len(self.fields) > place else b""


def events_of(packed: bytes, fields: Sequence[bytes]) -> list[QueuedEvent]:
    """Unpack a chunk of which an entry of a lane says this, its checksum as well. Raises UnreadableChunk."""
    expected = fields[_CRC] if len(fields) > _CRC else b""
    if expected and (published_ms := published_of(expected)) is not None:
        return _first_reading(packed, fields, published_ms)
    try:
        events = unpack_chunk(packed)
    except DAMAGED as error:
        raise UnreadableChunk(f"it does not decode: {error}") from None
    if expected and expected != checksum(packed):
        raise UnreadableChunk("it decodes, but its checksum is that of other bytes")
    if not events:
        raise UnreadableChunk("it holds no event")
    return events


def _first_reading(packed: bytes, fields: Sequence[bytes], published_ms: int) -> list[QueuedEvent]:
    try:
        return first_reading(packed, fields, published_ms)
    except InvalidFrame as error:
        raise UnreadableChunk(f"it {error.reason}") from None


@dataclass(frozen=True, slots=True)
class DeadChunk:
    """What stands for a chunk that cannot be read: an outcome, and a dead letter for each of its events.

    Both are None when all of its events had been settled before.
    """

    outcome: Outcome | None
    dead: DeadLetter | None

    @property
    def count(self) -> int:
        """How many events it stands for."""
        return len(self.dead.events) if self.dead else 0


def dead_chunk(
    integration_id: str, chunk: StoredChunk, reason: str, now_ms: int, request_counts: Sequence[int] = ()
) -> DeadChunk:
    """Make dead letters of a chunk that cannot be read; `now_ms` is when, by the clock of Redis.

    `request_counts` says of each of its events how many requests carried it, or SETTLED; empty if none did.
    """
    events = _events(chunk, sum(count != SETTLED for count in request_counts) if request_counts else None)
    counts = [0] * len(events)
    if len(request_counts) == len(events):
        open_ = [place for place, count in enumerate(request_counts) if count != SETTLED]
        events, counts = [events[place] for place in open_], [request_counts[place] for place in open_]
    if not events:
        return DeadChunk(None, None)
    failure = Failure(
        FailureCode.UNREADABLE,
        f"chunk {chunk.entry_id.decode(errors='replace')} of the {chunk.lane} backlog in Redis is damaged: "
        f"{reason}",
        _HINT,
    )
    traces = [
        EventTrace(one.id, one.type, one.time_ms, one.published_ms, count)
        for one, count in zip(events, counts, strict=True)
    ]
    dead = Cause.UNREADABLE.value
    return DeadChunk(
        Outcome(integration_id, Status.DEAD.value, now_ms, failure, None, traces, sent=False),
        DeadLetter(integration_id, dead, failure, now_ms, events, counts),
    )


def _events(chunk: StoredChunk, still_open: int | None) -> list[QueuedEvent]:
    """Return an event for each that the chunk holds, or for each that is open, with what is left of it."""
    found = salvage_chunk(chunk.packed, chunk.count or MOST_EVENTS)
    expected = chunk.count or max(1, len(found))
    if still_open is not None and len(found) != expected:
        # Which of those found were settled before is not known.
        found, expected = [], still_open
    lost = range(len(found), expected)
    # The first of them holds the whole chunk.
    return [*found, *(_lost(chunk, place, b"" if place > lost[0] else chunk.packed) for place in lost)]


def _lost(chunk: StoredChunk, place: int, raw: bytes) -> QueuedEvent:
    entry = chunk.entry_id.decode(errors="replace")
    at_ms = int(entry.partition("-")[0]) if entry.partition("-")[0].isdigit() else 0
    name = f"unreadable:{chunk.lane}:{entry}:{place}"
    return QueuedEvent(name, "", min(at_ms, _LARGEST), min(at_ms, _LARGEST), raw)


def salvage_chunk(packed: bytes, most: int = MOST_EVENTS) -> list[QueuedEvent]:
    """Return the events whose id, type and times still decode, each with all bytes up to the next of them.

    Whether those bytes are the event's own is not known. There are `most` at the most, and behind 20 000
    places that look like the beginning of one no further is looked for: the last has all bytes that are left.
    """
    heads = list(islice(_heads(packed), most))
    ends = [*(head.start for head in heads), len(packed)]
    return [
        QueuedEvent(head.id, head.type, head.time_ms, head.published_ms, packed[head.raw : ends[place]])
        for place, head in enumerate(heads, start=1)
    ]


@dataclass(frozen=True, slots=True)
class _Head:
    """Where a packed event begins, where its bytes do and how many there are, and what stands before them."""

    start: int
    raw: int
    length: int
    id: str
    type: str
    time_ms: int
    published_ms: int


def _heads(packed: bytes) -> Iterator[_Head]:
    at = 0
    for _ in range(_MOST_PLACES):
        found = _BEGINNING.search(packed, at)
        if found is None:
            return
        head = _head(packed, found.start())
        if head is None:
            at = found.start() + 1
            continue
        yield head
        # Within an event's bytes something may look like another; only damage makes its length a wrong one.
        ends = head.raw + head.length
        at = ends if ends == len(packed) or _head(packed, ends) else head.raw


def _head(packed: bytes, start: int) -> _Head | None:
    """Read the four fields before an event's bytes, and the length of those; None if they are not there."""
    at, values = start + 1, []
    for _ in range(4):
        end = at + _length(packed, at)
        if end - at > _LONGEST_ID:
            return None
        try:
            values.append(msgspec.msgpack.decode(packed[at:end]))
        except DAMAGED:
            return None
        at = end
    raw = at + _BINARY_HEADS.get(packed[at : at + 1], 0)
    length = int.from_bytes(packed[at + 1 : raw])
    id_, type_, time_ms, published_ms = values
    if raw == at or not _is_name(id_) or type_ not in _TYPES:
        return None
    if not all(isinstance(one, int) and 0 <= one <= _LARGEST for one in (time_ms, published_ms)):
        return None
    return _Head(start, raw, length, id_, type_, time_ms, published_ms)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 128 and value.isprintable()  # noqa: PLR2004 - as events.py has it


#: Of binary values, by their first byte: how many bytes stand before the value itself.
_BINARY_HEADS = {b"\xc4": 2, b"\xc5": 3, b"\xc6": 5}
#: Of unsigned and signed numbers, by their first byte: how long they are, that byte included.
_NUMBERS = {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
#: Of strings, by their first byte: how many bytes give the length.
_STRINGS = {0xD9: 1, 0xDA: 2, 0xDB: 4}


def _length(packed: bytes, at: int) -> int:
    """Return how long the text or number there is (MessagePack's specification, "Formats"); 1 for others."""
    first = packed[at] if at < len(packed) else 0
    if 0xA0 <= first <= 0xBF:  # noqa: PLR2004 - fixstr: the length stands in the same byte
        return 1 + (first & 0x1F)
    if first in _STRINGS:
        digits = _STRINGS[first]
        return 1 + digits + int.from_bytes(packed[at + 1 : at + 1 + digits])
    return _NUMBERS.get(first, 1)
