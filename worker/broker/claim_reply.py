"""What a claim brought: the batch of what can be read, and the chunks that cannot."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.broker.chunk_cache import Named, name_of
from worker.broker.chunks import DeadChunk, StoredChunk, UnreadableChunk, dead_chunk
from worker.model.batches import SETTLED, Batch
from worker.model.event_runs import EventRun
from worker.model.events import QueuedEvent
from worker.model.orders import WorkOrder


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """A chunk that cannot be read, why, and how many requests carried each of its events, if known."""

    chunk: StoredChunk
    reason: str
    request_counts: bytes


@dataclass(slots=True)
class Claimed:
    """The reply of `claim.lua`. `request_counts_before`: what the slot is to say of the events that stay."""

    batch: Batch
    request_counts_before: bytes = b""
    unreadable: list[_Unreadable] = field(default_factory=list)

    @classmethod
    def of(
        cls, order: WorkOrder, reply: Sequence[Any], fetched: Mapping[Named, EventRun] | None = None
    ) -> "Claimed":
        """Read the reply of a claim that has brought a batch; `fetched` are the events that it refers to."""
        _, now, configuration, request_counts, attempts, losses, urgent, bulk, _, probing, suspects, alone = (
            reply
        )
        chunks = [
            StoredChunk(lane, entry[0], entry[1] or ())
            for lane, entries in (("urgent", urgent), ("bulk", bulk))
            for entry in entries
        ]
        reading = _Reading(chunks, request_counts, fetched or {})
        lanes: dict[str, list[bytes]] = {"urgent": [], "bulk": []}
        for chunk in reading.readable:
            lanes[chunk.lane].append(chunk.entry_id)
        counts = reading.request_counts or bytes(len(reading.events))
        batch = Batch(
            order=order,
            events=reading.events,
            configuration=configuration,
            request_counts=_with_losses(counts, int(losses)),
            attempts=int(attempts),
            claimed_ms=int(now),
            claimed_at=time.monotonic(),
            urgent=lanes["urgent"],
            bulk=lanes["bulk"],
            probing=bool(probing),
            suspects=int(suspects),
            lost_alone=int(alone),
            traces=reading.traces,
            runs=reading.runs if fetched else (),
        )
        return cls(batch, reading.request_counts, reading.unreadable)

    def dead_chunks(self) -> list[DeadChunk]:
        """Return what stands for each chunk that cannot be read."""
        integration_id, now_ms = self.batch.order.integration_id, self.batch.claimed_ms
        return [
            dead_chunk(integration_id, one.chunk, one.reason, now_ms, one.request_counts)
            for one in self.unreadable
        ]

    def unreadable_ids(self) -> list[int | bytes]:
        """Return how many of these chunks are urgent, their ids, and the ids of the others."""
        urgent = [one.chunk.entry_id for one in self.unreadable if one.chunk.lane == "urgent"]
        bulk = [one.chunk.entry_id for one in self.unreadable if one.chunk.lane == "bulk"]
        return [len(urgent), *urgent, *bulk]


class _Reading:
    """Reads chunk after chunk; `request_counts` has a byte for each event of all of them, or is empty."""

    def __init__(
        self, chunks: Sequence[StoredChunk], request_counts: bytes, fetched: Mapping[Named, EventRun]
    ) -> None:
        self.runs: list[EventRun] = []
        self.events: list[QueuedEvent] = []
        self.readable: list[StoredChunk] = []
        self.traces: list[tuple[int, int, bytes]] = []
        self.unreadable: list[_Unreadable] = []
        found = [_read(chunk, fetched) for chunk in chunks]
        lengths = [
            len(one.events) if isinstance(one, EventRun) else chunk.count or 0
            for chunk, one in zip(chunks, found, strict=True)
        ]
        # One that does not match says nothing: what was delivered is then sent once more.
        known = request_counts if len(request_counts) == sum(lengths) else b""
        self.request_counts = b""
        at = 0
        for chunk, one, length in zip(chunks, found, lengths, strict=True):
            counts = known[at : at + length]
            at += length
            if isinstance(one, EventRun):
                if traces := chunk.traces:
                    self.traces.append((len(self.events), length, traces))
                self.runs.append(one)
                self.events += one.events
                self.readable.append(chunk)
                self.request_counts += counts
            else:
                self.unreadable.append(_Unreadable(chunk, one, counts))


def _read(chunk: StoredChunk, fetched: Mapping[Named, EventRun]) -> EventRun | str:
    """Return the events of a chunk, or why it cannot be read."""
    name = name_of(chunk.fields)
    if name is not None and name in fetched:
        return fetched[name]
    try:
        return EventRun(chunk.events())
    except UnreadableChunk as error:
        return str(error)


def _with_losses(request_counts: bytes, losses: int) -> bytes:
    """Count a request for each worker that did not settle the batch: it had probably sent it."""
    if not losses:
        return request_counts
    return bytes(count if count == SETTLED else min(count + losses, SETTLED - 1) for count in request_counts)
