"""How values are stored in Redis: events, outcomes and dead letters as MessagePack, numbers as text."""

import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import redis
from redis.exceptions import ResponseError

from worker.model.deliveries import DeadLetter, Outcome
from worker.model.events import QueuedEvent
from worker.model.log_events import REDIS_COUNT_RESET

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


log = logging.getLogger(__name__)

#: What Lua can hold exactly; no count or time in milliseconds comes near it.
_LARGEST = 2**53


def whole(value: Any, otherwise: int = 0) -> int:
    """Return a count or a time; `otherwise` where there is none, or where damage made it no number."""
    try:
        found = int(float(value)) if value else otherwise
    except (ValueError, OverflowError):
        return otherwise
    return found if abs(found) <= _LARGEST else otherwise


@contextmanager
def damaged_counts(client: redis.Redis, commands: Iterable[Sequence[Any]]) -> Iterator[None]:
    """Let the counts begin again that commands could not add to; all the others were carried out."""
    try:
        yield
    except ResponseError as error:
        if not _is_damaged_count(error):
            raise
        restart_counts(client, commands)


def _is_damaged_count(error: ResponseError) -> bool:
    """Whether HINCRBY was refused because what it should add to is no number."""
    return any(sign in str(error) for sign in ("hash value is not an integer", "would overflow"))


def restart_counts(client: redis.Redis, commands: Iterable[Sequence[Any]]) -> None:
    """Let the counts begin again that commands of a transaction could not add to.

    Those of a backlog are right once it is empty (`recount` in slots.lua).
    """
    for _, key, count, by in (command for command in commands if command[0] == "HINCRBY"):
        stands: Any = client.hget(key, count)
        try:
            int(stands or 0)
        except ValueError:
            REDIS_COUNT_RESET.log(log, name=str(count), key=str(key), value=repr(stands))
            client.hset(key, mapping={count: by, "recount": 1})
