"""Frames: many events in one entry of `siem:events`, field `frame`, packed as they will stand in a backlog.

Who writes one has judged each of its events with `accept_event`: what the frame says of an event (id, type,
tenant, time) is what the event's bytes say, and of these bytes a router only sees to it that they are one
JSON object. So only EventPublisher, CellPublisher, `siem publish` and the API write frames; everyone else
writes `event` or `events`, which are judged. A client that may add to `siem:events` can write one by hand all
the same: it reaches the tenant that it names, as with plain events. What is not a frame becomes dead letters.

    1 byte     version; of version 2 the events stand apart (`worker.broker.framed_chunks`)
    4 bytes    CRC-32 of the rest
    2 bytes    how many events; ingress_counts.lua reads it, too
    1 byte     lane: 1 urgent, 0 bulk
    2 bytes    length of the tenant's id in UTF-8; the id
    the rest   a MessagePack array of events, as `pack_chunk` packs it; `published_ms` is NOT_YET

Numbers are big-endian. All events are of one tenant and one lane, so that a frame is of one flow
(`worker.model.flows`), which routing out of turn can tell from its head.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import filterfalse
from typing import Annotated, NamedTuple

import msgspec
from msgspec.structs import force_setattr

from worker.broker.packing import pack_chunk
from worker.model.errors import InvalidEvent
from worker.model.event_decoder import accept_event, to_publish
from worker.model.events import BULK_EVENT_TYPES, MAX_EVENT_BYTES, EventTypeName, QueuedEvent
from worker.model.flows import UNREADABLE, Flow
from worker.model.time import LATEST_MS
from worker.model.untrusted_json import DAMAGED

#: The name of the field.
FRAME = b"frame"
#: Events of one frame, and bytes of JSON, unless it is a single event.
MOST_EVENTS, MOST_BYTES = 500, 512 * 1024
#: Bytes that a frame may have, with what stands beside each event's bytes.
MOST_FRAME_BYTES = MOST_BYTES + MOST_EVENTS * 1024
#: When Redis accepts an event is not known to its publisher. No text in UTF-8 has these bytes, so that they
#: stand nowhere else in a frame.
NOT_YET = 2**64 - 1
_NOT_YET = b"\xcf" + NOT_YET.to_bytes(8)

#: The version of a frame that holds its events, and of one whose events stand under a key of their own.
WITHIN, APART = 1, 2
_SEAL = struct.Struct(">BI")
_HEAD = struct.Struct(">BIHBH")
_DAMAGED_HINT = (
    "see that Redis's disk and memory are sound, and publish again what is right in it; who writes frames "
    "by hand should write `event` or `events`"
)


class _FramedEvent(QueuedEvent, frozen=True, array_like=True, gc=False):
    """An event with the bounds of what a valid one has."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    type: EventTypeName
    time_ms: Annotated[int, msgspec.Meta(ge=0, le=LATEST_MS)]
    published_ms: Annotated[int, msgspec.Meta(ge=0)]
    raw: Annotated[bytes, msgspec.Meta(min_length=2, max_length=MAX_EVENT_BYTES)]


_decoder = msgspec.msgpack.Decoder(list[_FramedEvent])


class JudgedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that `accept_event` has accepted, and whose it is.

    `is_whole` is False where its bytes are to be repaired by a router: it travels alone.
    """

    tenant_id: str
    event: QueuedEvent
    is_whole: bool = True

    @property
    def is_urgent(self) -> bool:
        """Whether it must not wait."""
        return self.event.type not in BULK_EVENT_TYPES


def judge(raw: bytes) -> JudgedEvent:
    """Judge the bytes of an event that is to be published. Raises InvalidEvent."""
    event, accepted = accept_event(raw)
    ready = raw if accepted is raw else to_publish(raw, accepted)
    queued = QueuedEvent(event.id, event.type, event.time_ms, NOT_YET, ready)
    return JudgedEvent(event.tenant_id, queued, ready is accepted)


class FrameHead(NamedTuple):
    """What a frame says of its events; `start` is where these begin."""

    events: int
    is_urgent: bool
    tenant_id: str
    start: int
    version: int = WITHIN

    @property
    def flow(self) -> Flow:
        """The flow of its events."""
        return self.tenant_id, self.is_urgent


class InvalidFrame(InvalidEvent):
    """A frame that is damaged, or was not written by this software."""

    def __init__(self, reason: str) -> None:
        """Say what is wrong with it."""
        super().__init__("frame", reason, _DAMAGED_HINT)


def pack_frame(tenant_id: str, events: Sequence[QueuedEvent], *, is_urgent: bool) -> bytes:
    """Pack judged events of one tenant and one lane; `published_ms` of each is NOT_YET."""
    packed = pack_chunk(list(events))
    return b"".join(sealed(WITHIN, len(events), tenant_id, packed, is_urgent=is_urgent))


def sealed(
    version: int, events: int, tenant_id: str, rest: bytes, *, is_urgent: bool
) -> tuple[bytes, bytes, bytes]:
    """Return a frame of that version in three parts: the last is what stands behind its head."""
    tenant = tenant_id.encode()
    head = _HEAD.pack(version, 0, events, is_urgent, len(tenant))[_SEAL.size :] + tenant
    return _SEAL.pack(version, zlib.crc32(rest, zlib.crc32(head))), head, rest


def frame_head(frame: bytes) -> FrameHead | None:
    """Read the head of a frame, whose checksum is not looked at; None if there is none."""
    if len(frame) < _HEAD.size:
        return None
    version, _, events, lane, length = _HEAD.unpack_from(frame)
    start = _HEAD.size + length
    if version not in {WITHIN, APART} or not 0 < events <= MOST_EVENTS or len(frame) > MOST_FRAME_BYTES:
        return None
    try:
        tenant_id = frame[_HEAD.size : start].decode()
    except UnicodeDecodeError:
        return None
    is_tenant = 0 < len(tenant_id) <= 128  # noqa: PLR2004 - as events.py has it
    return FrameHead(events, bool(lane), tenant_id, start, version) if is_tenant else None


def flow_of_frame(frame: bytes) -> Flow:
    """Return the flow of a frame by its head; UNREADABLE if it has none."""
    head = frame_head(frame)
    return UNREADABLE if head is None else head.flow


def read_frame(frame: bytes, published_ms: int) -> tuple[str, list[QueuedEvent]]:
    """Return the tenant of a frame and its events, published at that moment. Raises InvalidFrame.

    They can be delivered: whatever a frame holds that was written by hand, each has an id, a type, a time and
    bytes that every later step can bear.
    """
    head = sound_head(frame, WITHIN)
    return head.tenant_id, read_events(memoryview(frame)[head.start :], head.events, published_ms)


def sound_head(frame: bytes, version: int) -> FrameHead:
    """Return the head of a frame that is whole. Raises InvalidFrame."""
    head = frame_head(frame)
    if head is None or head.version != version:
        limits = f"at most {MOST_EVENTS} events and {MOST_FRAME_BYTES} bytes"
        raise InvalidFrame(f"of {len(frame)} bytes has no head of version {version} ({limits})")
    if _SEAL.unpack_from(frame)[1] != zlib.crc32(memoryview(frame)[_SEAL.size :]):
        raise InvalidFrame("is damaged: its checksum is that of other bytes")
    return head


def read_events(packed: bytes | memoryview, count: int, published_ms: int) -> list[QueuedEvent]:
    """Return so many events that `pack_chunk` packed, published at that moment. Raises InvalidFrame.

    They can be delivered, but that their bytes may be no JSON (`not_objects`).
    """
    try:
        events = _decoder.decode(packed)
    except DAMAGED as error:
        raise InvalidFrame(f"does not decode: {error}") from None
    if len(events) != count:
        raise InvalidFrame(f"holds {len(events)} events, and says {count}")
    if not "".join([event.id for event in events]).isprintable():
        raise InvalidFrame("holds an id with characters that cannot be printed")
    _date(events, published_ms)
    return [*events]


def _date(events: Sequence[_FramedEvent], published_ms: int) -> None:
    """Set when they were published. Raises InvalidFrame for a moment that no database holds."""
    for event in events:
        if event.published_ms == NOT_YET:
            # They were made just now, and no one else has seen them.
            force_setattr(event, "published_ms", published_ms)
        elif event.published_ms > LATEST_MS:
            raise InvalidFrame(f"holds an event that was published at {event.published_ms}")


class _Object(msgspec.Struct, gc=False):
    """A JSON object; whatever it holds is passed over."""


_object = msgspec.json.Decoder(_Object).decode


def not_objects(events: Sequence[QueuedEvent]) -> frozenset[int]:
    """Return the places of events whose bytes are not one JSON object in UTF-8: none that was judged."""
    raws = [event.raw for event in events]
    try:
        all(map(_object, raws))  # each is an object, or raises
        for raw in filterfalse(bytes.isascii, raws):
            raw.decode()
    except DAMAGED:
        return frozenset(place for place, event in enumerate(events) if not _is_object(event.raw))
    return frozenset()


def not_an_object(raw: bytes) -> InvalidEvent:
    """Return why the bytes of an event in a frame are refused."""
    reason = f"in a frame is not one JSON object in UTF-8 ({len(raw)} bytes), which its publisher had to see"
    return InvalidEvent("event", reason, _DAMAGED_HINT)


def _is_object(raw: bytes) -> bool:
    try:
        _object(raw)
        raw.decode()
    except DAMAGED:
        return False
    return True


def dated(packed: bytes, published_ms: int) -> bytes:
    """Return packed events with that moment wherever one says NOT_YET."""
    return packed.replace(_NOT_YET, b"\xcf" + published_ms.to_bytes(8))


def frame_remains(frame: bytes, published_ms: int) -> bytes:
    """Return what is left of the events of a damaged frame, to be searched for them."""
    return dated(frame[_SEAL.size :], published_ms)


def entry_groups(events: Sequence[JudgedEvent]) -> Iterator[list[int]]:
    """Yield which events go into one entry, by their places; in the order of each tenant and lane."""
    open_: dict[Flow, tuple[list[int], list[int]]] = {}
    for place, one in enumerate(events):
        event = one.event
        flow, size = (one.tenant_id, event.type not in BULK_EVENT_TYPES), len(event.raw)
        if found := open_.get(flow):
            places, left = found
            if size <= left[0] and one.is_whole:
                places.append(place)
                # Once it is full, nothing is small enough.
                left[0] = left[0] - size if len(places) < MOST_EVENTS else -1
                continue
            yield places
            del open_[flow]
        if one.is_whole:
            open_[flow] = [place], [MOST_BYTES - size]
        else:
            yield [place]
    for places, _ in open_.values():
        yield places
