"""Events, outcomes and dead letters as MessagePack: a hundred nanoseconds an event, both ways."""

import zlib

import msgspec

from worker.model.deliveries import DeadLetter, Outcome
from worker.model.events import QueuedEvent

_encoder = msgspec.msgpack.Encoder()
_chunks = msgspec.msgpack.Decoder(list[QueuedEvent])
_outcomes = msgspec.msgpack.Decoder(list[Outcome])
_dead = msgspec.msgpack.Decoder(DeadLetter)


def pack_chunk(events: list[QueuedEvent]) -> bytes:
    """Pack events that will wait in one entry of a backlog."""
    return _encoder.encode(events)


def unpack_chunk(packed: bytes) -> list[QueuedEvent]:
    """Unpack what `pack_chunk` packed. Raises one of DAMAGED when it is not that."""
    return _chunks.decode(packed)


def checksum(packed: bytes) -> bytes:
    """Return the CRC-32 of a packed chunk in eight hexadecimal digits: it finds damage that still decodes."""
    return b"%08x" % zlib.crc32(packed)


def pack_outcomes(outcomes: list[Outcome]) -> bytes:
    """Pack what was settled of one batch."""
    return _encoder.encode(outcomes)


def unpack_outcomes(packed: bytes) -> list[Outcome]:
    """Unpack what `pack_outcomes` packed."""
    return _outcomes.decode(packed)


def pack_dead(dead: DeadLetter) -> bytes:
    """Pack dead letters that share a reason."""
    return _encoder.encode(dead)


def unpack_dead(packed: bytes) -> DeadLetter:
    """Unpack what `pack_dead` packed."""
    return _dead.decode(packed)
