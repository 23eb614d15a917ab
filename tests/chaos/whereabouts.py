"""Where an event still waits: what has not settled yet is not lost, and what is lost waits nowhere.

Read before the ledger and the books of those who receive: what moves on meanwhile is found there then.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import msgspec
import redis
from sqlalchemy import Engine, text

from worker.broker import keys
from worker.broker.framed_chunks import chunk_id_of, events_apart
from worker.broker.frames import FRAME, InvalidFrame, read_frame
from worker.broker.packing import unpack_chunk
from worker.broker.recorder_entries import unpack_fields
from worker.broker.shared_chunks import SHARED
from worker.broker.unrecordable import Unrecordable
from worker.model.deliveries import Status
from worker.model.events import QueuedEvent
from worker.model.parking import ParkedChunk
from worker.model.untrusted_json import DAMAGED

#: A place in words, by the id of each event that waits there.
Whereabouts = dict[str, str]


class _Event(msgspec.Struct):
    id: str


def whereabouts_of(client: redis.Redis, engine: Engine, integration_id: str) -> Whereabouts:
    """Return where each event still waits that has not ended at this integration."""
    found: Whereabouts = {}
    # From the end of the way to its beginning: of several places, the one that is nearest to the end counts.
    for events, place in (
        *_parked(engine, integration_id),
        *_before_the_recorder(client, integration_id),
        *_in_the_backlog(client, integration_id),
        (_in_the_ingress(client), "in siem:events, where no router has taken it yet"),
    ):
        for event_id in events:
            found.setdefault(event_id, place)
    return found


def _parked(engine: Engine, integration_id: str) -> Iterator[tuple[list[str], str]]:
    with engine.connect() as connection:
        wanted = text("SELECT packed FROM parked WHERE integration_id = :id")
        for row in connection.execute(wanted, {"id": integration_id}):
            yield _ids(row[0]), "parked in the ledger"


def _before_the_recorder(client: redis.Redis, integration_id: str) -> Iterator[tuple[list[str], str]]:
    for stream, what in (
        (keys.DEAD_LETTERS, "a dead letter in siem:dead-letters, which no recorder has taken yet"),
        (keys.PARKED, "on its way to the ledger in siem:parked"),
        (keys.OUTCOMES, "settled in siem:outcomes, which no recorder has taken yet"),
    ):
        for _, fields in _entries(client, stream):
            with suppress(*DAMAGED, LookupError):
                yield _of_one(unpack_fields(stream, fields), integration_id), what
    for one in Unrecordable(client).all():
        if one.content is not None:
            yield _of_one(one.content, integration_id), "set aside in siem:unrecordable"


def _of_one(content: Any, integration_id: str) -> list[str]:
    """Return the events of this integration in what an entry before the recorder holds."""
    parts = content if isinstance(content, list) else [content]
    # What is to be tried again is still in its backlog.
    mine = [
        part
        for part in parts
        if part.integration_id == integration_id and getattr(part, "status", "") != Status.RETRYING
    ]
    packed = [event for part in mine if isinstance(part, ParkedChunk) for event in _ids(part.packed)]
    return packed + [event.id for part in mine if not isinstance(part, ParkedChunk) for event in part.events]


def _in_the_backlog(client: redis.Redis, integration_id: str) -> Iterator[tuple[list[str], str]]:
    for lane, key in (("urgent", keys.urgent(integration_id)), ("bulk", keys.bulk(integration_id))):
        holders = _holders(client, key)
        for entry_id, fields in _entries(client, key):
            holder = holders.get(entry_id)
            held = f"held by slot {holder}" if holder else "claimed by no slot yet"
            yield _ids(_packed(client, fields)), f"in the {lane} lane of its backlog, {held}"


def _packed(client: redis.Redis, fields: list[bytes]) -> bytes:
    """Return the events of a chunk, which may stand under a key of their own."""
    if fields[4] != SHARED:
        return fields[5]
    found: Any = client.get(keys.chunk(fields[5].decode(errors="replace")))
    return found or b""


def _holders(client: redis.Redis, key: str) -> dict[bytes, str]:
    """Return the slot that holds each chunk of a lane."""
    with suppress(redis.ResponseError):
        pending: Any = client.xpending_range(key, keys.DELIVERY_GROUP, "-", "+", 100_000)
        return {one["message_id"]: one["consumer"].decode() for one in pending}
    return {}  # nothing was ever claimed of it


def _in_the_ingress(client: redis.Redis) -> Iterable[str]:
    for _, fields in _entries(client, keys.EVENTS):
        for name, value in zip(fields[::2], fields[1::2], strict=True):
            if name == FRAME:
                with suppress(InvalidFrame):
                    yield from (event.id for event in _framed(client, value))
                continue
            for line in value.splitlines():
                with suppress(msgspec.MsgspecError):
                    yield msgspec.json.decode(line, type=_Event).id


def _framed(client: redis.Redis, frame: bytes) -> list[QueuedEvent]:
    chunk_id = chunk_id_of(frame)
    if chunk_id is None:
        return read_frame(frame, 0)[1]
    packed: Any = client.get(keys.chunk(chunk_id))
    return events_apart(frame, packed or b"", 0)[1]


def _entries(client: redis.Redis, key: str) -> Iterator[tuple[bytes, list[bytes]]]:
    found: Any = client.execute_command("XRANGE", key, "-", "+")  # type: ignore[no-untyped-call]  # so is redis-py
    for entry_id, fields in found:
        flat = fields if isinstance(fields, list) else [part for pair in fields.items() for part in pair]
        yield entry_id, flat


def _ids(packed: bytes) -> list[str]:
    with suppress(*DAMAGED):
        return [event.id for event in unpack_chunk(packed)]
    return []
