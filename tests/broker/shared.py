"""What several integrations share, as Redis has it; and looks of the sweep at it."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import redis

from worker.broker import keys
from worker.broker.shared_chunks import ChunkFindings, ChunkSweep

Fields = dict[bytes, bytes]


def counts_of(client: redis.Redis) -> dict[bytes, int]:
    """Return how many entries refer to each chunk, as the counts say; it is there, and no other is."""
    found: Any = client.hgetall(keys.CHUNKS)
    names = {name.removeprefix(keys.CHUNK_PREFIX.encode()) for name in client.scan_iter("siem:chunk:*")}
    assert names == set(found)
    return {one: int(count) for one, count in found.items()}


def references_of(client: redis.Redis, lanes: Iterable[str]) -> Counter[bytes]:
    """Return how many entries refer to each chunk."""
    found: list[Any] = [client.xrange(lane) for lane in lanes]
    entries = [entry for lane in found for entry in lane]
    return Counter(fields[b"shared"] for _, fields in entries if b"shared" in fields)


def resolved(client: redis.Redis, fields: Fields) -> Fields:
    """Return the fields of an entry with the events that it refers to."""
    if b"shared" not in fields:
        return fields
    events: Any = client.get(keys.chunk(fields[b"shared"].decode()))
    assert events is not None, "the events are gone, and an entry refers to them"
    return {**fields, b"events": events}


def whole_look(sweep: ChunkSweep) -> ChunkFindings:
    """Go on until a look is at its end; return what it set right."""
    found = sweep.step()
    while sweep.is_looking():
        found = sweep.step()
    return found
