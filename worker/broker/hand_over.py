"""What a hand-over writes: chunks into the backlogs, dead letters, and what it counts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from worker.broker import keys
from worker.broker.chunk_traces import TRACES
from worker.broker.connection import send_command
from worker.broker.formats import Format, KnownFormats
from worker.broker.packing import checksum, pack_chunk, pack_dead
from worker.broker.shared_chunks import SHARED, is_shared, new_chunk_id
from worker.broker.volumes import Volume, count_volumes
from worker.model.deliveries import DeadLetter
from worker.model.events import QueuedEvent
from worker.model.trace_context import TraceContext

if TYPE_CHECKING:
    import redis


@dataclass(frozen=True)
class RoutedChunk:
    """Events that go together into one lane of several integrations' backlogs.

    `traces` says which of them are traced (`worker.broker.chunk_traces`); empty if none is.
    """

    integration_ids: Sequence[str]
    urgent: bool
    events: list[QueuedEvent]
    traces: bytes = b""

    @cached_property
    def size(self) -> int:
        """The bytes of its events."""
        return sum([len(event.raw) for event in self.events])

    def weight(self, *, share: bool) -> int:
        """Count the bytes that Redis is sent: those of the events once, if it may and is large enough."""
        several = len(self.integration_ids)
        copies = 1 if share and is_shared(self.size, several) else several
        return copies * self.size + several * len(self.traces)


@dataclass(slots=True)
class RoutingResult:
    """What becomes of the entries that were read: routed chunks, dead letters, or nothing.

    `done` are all entries, and `joined` counts their events beyond one of each. `volumes` counts all events
    by type and tenant. `contexts` are the spans that published them, each once, as far as they are traced;
    `began_ns` is then when routing began.
    """

    routed_chunks: list[RoutedChunk] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    unwanted: int = 0
    volumes: dict[tuple[str, str], Volume] = field(default_factory=dict)
    done: list[bytes] = field(default_factory=list)
    joined: int = 0
    contexts: list[TraceContext] = field(default_factory=list)
    began_ns: int = 0

    @property
    def events(self) -> int:
        """How many events these entries held, those that are not valid included."""
        return len(self.done) + self.joined

    def integration_ids(self) -> list[str]:
        """Return the integrations that get any of it."""
        return sorted({one for chunk in self.routed_chunks for one in chunk.integration_ids})

    def weight(self, *, share: bool = False) -> int:
        """Count the bytes of events that the hand-over will send to Redis, dead letters included.

        Without `share`, each integration is sent a copy.
        """
        wanted = sum(one.weight(share=share) for one in self.routed_chunks)
        return wanted + sum(len(event.raw) for dead in self.dead for event in dead.events)


def may_share(formats: KnownFormats, routed_chunks: Iterable[RoutedChunk]) -> bool:
    """Whether any of these chunks may be written under a key of its own."""
    is_any = any(is_shared(one.size, len(one.integration_ids)) for one in routed_chunks)
    return is_any and formats.has(Format.SHARED_CHUNKS)


def fill(pipeline: "redis.client.Pipeline", routing_result: RoutingResult, *, share: bool = False) -> None:
    """Add to a transaction all of a hand-over but the end of its entries in the ingress."""
    for routed_chunk in routing_result.routed_chunks:
        append(pipeline, routed_chunk, share=share)
    for dead in routing_result.dead:
        pipeline.xadd(keys.DEAD_LETTERS, {"dead": pack_dead(dead)})
    _count(pipeline, routing_result)
    count_volumes(pipeline, routing_result.volumes.items())


def append(pipeline: "redis.client.Pipeline", routed_chunk: RoutedChunk, *, share: bool = False) -> None:
    """Add to a transaction what puts the events into the backlogs.

    If all processes can read it (`share`), what several integrations want is written once.
    """
    packed = pack_chunk(routed_chunk.events)
    crc = checksum(packed)
    count = len(routed_chunk.events)
    size = routed_chunk.size
    lane = keys.urgent if routed_chunk.urgent else keys.bulk
    # The scripts that claim a batch rely on this order of fields, and pass over what follows.
    fields: tuple[str | int | bytes, ...] = ("n", count, "bytes", size, "events", packed, "crc", crc)
    if share and is_shared(len(packed), len(routed_chunk.integration_ids)):
        chunk_id = new_chunk_id()
        send_command(pipeline, "SET", keys.chunk(chunk_id), packed)
        pipeline.hincrby(keys.CHUNKS, chunk_id, len(routed_chunk.integration_ids))
        fields = ("n", count, "bytes", size, SHARED, chunk_id, "crc", crc)
    if routed_chunk.traces:
        fields = (*fields, TRACES, routed_chunk.traces)
    for integration_id in routed_chunk.integration_ids:
        send_command(pipeline, "XADD", lane(integration_id), "*", *fields)
        pipeline.hincrby(keys.state_key(integration_id), "backlog_events", count)
        pipeline.hincrby(keys.state_key(integration_id), "unclaimed_events", count)
        pipeline.hincrby(keys.state_key(integration_id), "unclaimed_bytes", size)


def _count(pipeline: "redis.client.Pipeline", routing_result: RoutingResult) -> None:
    invalid = sum(len(dead.events) for dead in routing_result.dead)
    # Entries: marks compare it with how many Redis was given (scripts/mark.lua).
    pipeline.hincrby(keys.COUNTERS, "published", len(routing_result.done))
    if routing_result.joined:
        pipeline.hincrby(keys.COUNTERS, "joined", routing_result.joined)
    if routing_result.unwanted:
        pipeline.hincrby(keys.COUNTERS, "unwanted", routing_result.unwanted)
    if invalid:
        pipeline.hincrby(keys.COUNTERS, "invalid", invalid)
