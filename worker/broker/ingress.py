"""The stream to which events are published, and the hand-over from there to the backlogs."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import redis

from worker.broker import keys
from worker.broker.chunk_traces import TRACES
from worker.broker.chunks import SHARED
from worker.broker.clocks import any_ahead, received_ms
from worker.broker.connection import broker_errors, joined_script, script_text, send_command
from worker.broker.formats import Format, KnownFormats
from worker.broker.oom import ALLOW_OOM, execute_when_full, flat, has_room
from worker.broker.packing import checksum, damaged_counts, pack_chunk, pack_dead, whole
from worker.broker.redis_errors import FULL
from worker.broker.shared_chunks import is_shared, new_chunk_id
from worker.broker.streams import Entry, GroupReader
from worker.broker.volumes import Volume, count_volumes
from worker.model.deliveries import DeadLetter
from worker.model.errors import BrokerFull, InvalidEvent
from worker.model.events import QueuedEvent
from worker.model.invalid_events import salvage_event
from worker.model.trace_context import TRACEPARENT, TraceContext, parse_traceparent

#: Counts on while the machine is suspended, where the system has such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
#: Bytes of memory that the entries of one read may take in Redis, unless it is a single one.
HEAVIEST_READ = 64 << 20
#: Entries of one look through the ingress, and how many looks there are.
_READ, _MOST_READS = 500, 20


def _seconds() -> float:
    return time.clock_gettime(_CLOCK)


class IngressEntry(msgspec.Struct, frozen=True, gc=False):
    """One entry of the ingress stream: its id, when Redis took it (ms), and the event's bytes.

    `raw` is None when the entry has no field `event`; `fields` then shows what it has instead.
    """

    entry_id: bytes
    published_ms: int
    raw: bytes | None
    fields: list[bytes]

    def event_bytes(self) -> bytes:
        """Return the event's bytes. Raises InvalidEvent when the entry has none."""
        if self.raw is None:
            raise InvalidEvent("event", "is not a field of the entry", "XADD siem:events * event '{…}'")
        return self.raw


@dataclass(frozen=True, slots=True)
class RoutedChunk:
    """Events that go together into one lane of several integrations' backlogs.

    `traces` says which of them are traced (`worker.broker.chunk_traces`); empty if none is.
    """

    integration_ids: Sequence[str]
    urgent: bool
    events: list[QueuedEvent]
    traces: bytes = b""


@dataclass(slots=True)
class RoutingResult:
    """What becomes of the entries that were read: routed chunks, dead letters, or nothing.

    `volumes` counts all events by type and tenant. `contexts` are the spans that published them, each once,
    as far as they are traced; `began_ns` is then when routing began.
    """

    routed_chunks: list[RoutedChunk] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    unwanted: int = 0
    volumes: dict[tuple[str, str], Volume] = field(default_factory=dict)
    done: list[bytes] = field(default_factory=list)
    contexts: list[TraceContext] = field(default_factory=list)
    began_ns: int = 0

    def weight(self) -> int:
        """Count the bytes of events that the hand-over will send to Redis, dead letters included."""
        wanted = sum(
            len(one.integration_ids) * (len(one.traces) + sum(len(event.raw) for event in one.events))
            for one in self.routed_chunks
        )
        return wanted + sum(len(event.raw) for dead in self.dead for event in dead.events)


class Ingress:
    """One router's end of `siem:events`. Every method raises BrokerUnavailable when Redis is away."""

    def __init__(self, client: redis.Redis, consumer: str, claim_idle: float) -> None:
        """Read as `consumer`, a name of no other process."""
        self._client = client
        self._consumer = consumer
        self._reader = GroupReader(client, [keys.EVENTS], keys.ROUTER_GROUP, consumer, claim_idle)
        self._if_held = client.register_script(
            ALLOW_OOM + script_text("make_way") + script_text("held") + script_text("write_when_full")
        )
        self._light = joined_script(client, "ids", "weighing", "light")
        self._formats = KnownFormats(client)
        self._late_after = claim_idle / 2
        self._read_at = 0.0
        self._may_be_taken = False

    def read(self, count: int, block_ms: int) -> list[IngressEntry]:
        """Read up to `count` events, waiting up to `block_ms` for the first; fewer where they are huge.

        After an error, what was read before is read again.
        """
        count = self._bounded(count)
        # Before it: who falls asleep in it wakes up with entries that it was given long ago.
        self._read_at = _seconds()
        try:
            entries = self._reader.read(count, block_ms).get(keys.EVENTS, [])
            received = ingress_entries(self._client, entries)
        except BaseException:
            self._reader.read_again()
            raise
        self._may_be_taken = any_ahead([entry.entry_id for entry in received])
        return received

    def _bounded(self, count: int) -> int:
        """Return how many entries may be read: a thousand huge ones are too much for Redis and for us."""
        with broker_errors():
            return int(self._light(keys=[keys.EVENTS], args=[keys.ROUTER_GROUP, count, HEAVIEST_READ]))

    def hand_over(self, routing_result: RoutingResult) -> bool:
        """Append to the backlogs and finish the entries: all of it at once, or nothing.

        Returns whether it was done: another router may have taken entries over, if this one was asleep since
        it read them; those with ids ahead of the clock may have got others (`worker.broker.clocks`).
        Then, and after BrokerUnavailable, call `read_again`: what is left comes back.
        """
        pipeline = self._client.pipeline(transaction=True)
        fill(pipeline, routing_result, share=may_share(self._formats, routing_result.routed_chunks))
        pipeline.xack(keys.EVENTS, keys.ROUTER_GROUP, *routing_result.done)
        pipeline.xdel(keys.EVENTS, *routing_result.done)
        with broker_errors():
            commands = [command for command, _ in pipeline.command_stack]
            with damaged_counts(self._client, commands):
                if self._may_be_taken or _seconds() - self._read_at >= self._late_after:
                    return self._hand_over_held(routing_result.done, commands)
                # Only what is handed over is ever sent, and only what is sent frees memory.
                execute_when_full(self._client, pipeline, within_bounds=True)
        return True

    def _hand_over_held(self, done: Sequence[bytes], commands: Sequence[Sequence[Any]]) -> bool:
        """Do so if all entries are still this router's, within the bounds that hold in a full Redis."""
        if not has_room(self._client):
            raise BrokerFull(FULL)
        replies: Any = self._if_held(
            keys=[keys.EVENTS],
            args=[keys.ROUTER_GROUP, self._consumer, len(done), *done, *flat(commands)],
        )
        if replies == b"taken":
            return False
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return True

    def read_again(self) -> None:
        """Begin again with what this router holds: it could not be handed over."""
        self._reader.read_again()

    def waiting(self) -> int:
        """Count the events that no router has handed over yet."""
        return count_unrouted(self._client)


def event_field(fields: list[bytes]) -> bytes | None:
    """Return the field `event` of an entry; the others have no meaning."""
    if len(fields) == 2 and fields[0] == b"event":  # noqa: PLR2004 - name and value
        return fields[1]
    return dict(zip(fields[::2], fields[1::2], strict=False)).get(b"event")


def traceparent_field(fields: list[bytes]) -> TraceContext | None:
    """Return the span that published an entry, if it was sampled; None for whatever else stands there."""
    if len(fields) <= 2:  # noqa: PLR2004 - a name and a value are those of the event
        return None
    value = dict(zip(fields[::2], fields[1::2], strict=False)).get(TRACEPARENT)
    context = parse_traceparent(value) if value else None
    return context if context is not None and context.sampled else None


def ingress_entries(client: redis.Redis, entries: Iterable[Entry]) -> list[IngressEntry]:
    """Return what stands in these entries of the ingress stream. Raises BrokerUnavailable."""
    found = list(entries)
    times = received_ms(client, [entry_id for entry_id, _ in found])
    return [
        IngressEntry(entry_id, published_ms, event_field(fields), fields)
        for (entry_id, fields), published_ms in zip(found, times, strict=True)
    ]


def may_share(formats: KnownFormats, routed_chunks: Iterable[RoutedChunk]) -> bool:
    """Whether any of these chunks may be written once for several integrations."""
    has_several = any(len(one.integration_ids) > 1 for one in routed_chunks)
    return has_several and formats.has(Format.SHARED_CHUNKS)


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
    size = sum(len(event.raw) for event in routed_chunk.events)
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
    pipeline.hincrby(keys.COUNTERS, "published", len(routing_result.done))
    if routing_result.unwanted:
        pipeline.hincrby(keys.COUNTERS, "unwanted", routing_result.unwanted)
    if invalid:
        pipeline.hincrby(keys.COUNTERS, "invalid", invalid)


def count_unrouted(client: redis.Redis) -> int:
    """Count the events that no router has handed over yet."""
    with broker_errors():
        return int(client.xlen(keys.EVENTS))


def count_unrouted_of(client: redis.Redis, tenant_id: str) -> int | None:
    """Count the events of a tenant among those; None where so many wait that they are not looked through."""
    count, first = 0, "-"
    for _ in range(_MOST_READS):
        with broker_errors():
            entries: Any = client.xrange(keys.EVENTS, first, count=_READ)
        for _, fields in entries:
            raw = event_field([part for pair in fields.items() for part in pair]) or b""
            count += salvage_event(raw).tenant_id == tenant_id
        if len(entries) < _READ:
            return count
        first = f"({entries[-1][0].decode()}"
    return None


def counters(client: redis.Redis) -> dict[str, int]:
    """Count events since the beginning.

    Those that were routed are `published`, and of these some `unwanted` or `invalid`; `unreadable` are those
    that were damaged in a backlog. `renumbered` counts how often the ids of the ingress were brought back to
    the clock.
    """
    with broker_errors():
        found: Any = client.hgetall(keys.COUNTERS)
    return {
        name: whole(found.get(name.encode()))
        for name in ("published", "unwanted", "invalid", "unreadable", "renumbered")
    }
