"""What a hand-over writes: chunks into the backlogs, dead letters, and what it counts.

While events trickle in, nearly every hand-over is plain: chunks for some lanes, and nothing else. A script
of its own writes it with fewer commands, and says which integrations no worker comes for, so that as a rule
none has to be woken. Whatever is out of the ordinary it leaves alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import NoScriptError

from worker.broker import keys
from worker.broker.chunk_traces import TRACES
from worker.broker.connection import joined_script, send_command
from worker.broker.formats import Format, KnownFormats
from worker.broker.framed_chunks import FramedChunk
from worker.broker.oom import Behind
from worker.broker.packing import checksum, pack_chunk, pack_dead
from worker.broker.round_trips import Call, ask, call_of
from worker.broker.shared_chunks import SHARED, is_shared, new_chunk_id
from worker.broker.volumes import Volumes, count_volumes
from worker.model.deliveries import DeadLetter
from worker.model.events import QueuedEvent
from worker.model.trace_context import TraceContext

if TYPE_CHECKING:
    import redis


#: To append a reference to one backlog weighs as much as so many bytes of events.
_REFERENCE = 4096


class FrameOfEntry(NamedTuple):
    """A frame whose events stand apart, and when Redis took it (ms)."""

    framed: FramedChunk
    published_ms: int


@dataclass(frozen=True)
class RoutedChunk:
    """Events that go together into one lane of several integrations' backlogs.

    `traces` says which of them are traced (`worker.broker.chunk_traces`); empty if none is. Those of a
    `frame` stand in Redis already, and not here.
    """

    integration_ids: Sequence[str]
    urgent: bool
    events: list[QueuedEvent]
    traces: bytes = b""
    frame: FrameOfEntry | None = None

    @cached_property
    def size(self) -> int:
        """The bytes of its events."""
        return self.frame.framed.size if self.frame else sum([len(event.raw) for event in self.events])

    @property
    def count(self) -> int:
        """How many events it has."""
        return self.frame.framed.events if self.frame else len(self.events)

    def weight(self, *, share: bool) -> int:
        """Count the bytes that Redis is sent: those of the events once, if it may and is large enough."""
        several = len(self.integration_ids)
        if self.frame:
            return several * _REFERENCE
        copies = 1 if share and is_shared(self.size, several) else several
        return copies * self.size + several * len(self.traces)


@dataclass(slots=True)
class RoutingResult:
    """What becomes of the entries that were read: routed chunks, dead letters, or nothing.

    `done` are all entries, and `joined` counts their events beyond one of each; `unneeded` are the ids of
    chunks that go with them. `volumes` counts all events by type and tenant. `contexts` are the spans that
    published them, each once, as far as they are traced; `began_ns` is then when routing began.
    """

    routed_chunks: list[RoutedChunk] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    unwanted: int = 0
    volumes: Volumes = field(default_factory=dict)
    done: list[bytes] = field(default_factory=list)
    unneeded: list[str] = field(default_factory=list)
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
    is_any = any(is_shared(one.size, len(one.integration_ids)) for one in routed_chunks if one.frame is None)
    return is_any and formats.has(Format.SHARED_CHUNKS)


def fill(pipeline: "redis.client.Pipeline", routing_result: RoutingResult, *, share: bool = False) -> None:
    """Add to a transaction all of a hand-over but the end of its entries in the ingress."""
    append(pipeline, routing_result.routed_chunks, share=share)
    if routing_result.unneeded:
        pipeline.unlink(*map(keys.chunk, routing_result.unneeded))
    for dead in routing_result.dead:
        pipeline.xadd(keys.DEAD_LETTERS, {"dead": pack_dead(dead)})
    _count(pipeline, routing_result)
    count_volumes(pipeline, routing_result.volumes.items())


def append(
    pipeline: "redis.client.Pipeline", routed_chunks: Iterable[RoutedChunk], *, share: bool = False
) -> None:
    """Add to a transaction what puts the events into the backlogs.

    If all processes can read it (`share`), what several integrations want is written once.
    """
    waiting: dict[str, list[int]] = {}
    for one in routed_chunks:
        lane, fields = keys.urgent if one.urgent else keys.bulk, _written(pipeline, one, share=share)
        for integration_id in one.integration_ids:
            send_command(pipeline, "XADD", lane(integration_id), "*", *fields)
            counts = waiting.setdefault(integration_id, [0, 0])
            counts[0] += one.count
            counts[1] += one.size
    for integration_id, (count, size) in waiting.items():
        state = keys.state_key(integration_id)
        pipeline.hincrby(state, "backlog_events", count)
        pipeline.hincrby(state, "unclaimed_events", count)
        pipeline.hincrby(state, "unclaimed_bytes", size)


#: What stands in an entry of a lane, each behind its name. Scripts rely on the order of the first four pairs.
_Fields = tuple[str | int | bytes, ...]


def _with_events(chunk: RoutedChunk, packed: bytes) -> _Fields:
    traces: _Fields = (TRACES, chunk.traces) if chunk.traces else ()
    return ("n", chunk.count, "bytes", chunk.size, "events", packed, "crc", checksum(packed), *traces)


def _written(pipeline: "redis.client.Pipeline", chunk: RoutedChunk, *, share: bool) -> _Fields:
    """Write the events where they do not stand in the entries themselves; return the fields of these."""
    counts: _Fields = ("n", chunk.count, "bytes", chunk.size)
    traces: _Fields = (TRACES, chunk.traces) if chunk.traces else ()
    several = len(chunk.integration_ids)
    if chunk.frame is not None:
        framed, published_ms = chunk.frame
        pipeline.hincrby(keys.CHUNKS, framed.chunk_id, several)
        return (*counts, SHARED, framed.chunk_id, "crc", framed.check_word(published_ms), *traces)
    packed = pack_chunk(chunk.events)
    if not share or not is_shared(len(packed), several):
        return _with_events(chunk, packed)
    chunk_id = new_chunk_id()
    send_command(pipeline, "SET", keys.chunk(chunk_id), packed)
    pipeline.hincrby(keys.CHUNKS, chunk_id, several)
    return (*counts, SHARED, chunk_id, "crc", checksum(packed), *traces)


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


class PlainHandOver:
    """Hands over what is plain, for one router."""

    def __init__(self, client: "redis.Redis") -> None:
        """Write by this client."""
        self._client = client
        self._script = joined_script(client, "timing", "counts", "make_way", "taker", "hand_over_plainly")
        #: Whether no worker came for some of the last one: then those are woken in the same round trip.
        self._wakes = True

    def write(self, routing_result: RoutingResult, behind: Behind) -> int | None:
        """Write all, and return how many entries are left in the ingress; None if nothing was done.

        What is to be done `behind` is left out for integrations that a worker comes for. Raises ResponseError
        for what was refused while the rest was done.
        """
        if not _is_plain(routing_result):
            return None
        ids, call = _call_for(routing_result)
        commands = behind.commands() if self._wakes else ()
        reply, *others = ask(self._client, call_of(self._script, call), *commands)
        is_done = isinstance(reply, list)
        behind.answer(others, is_done=is_done)
        if not is_done:
            if isinstance(reply, NoScriptError):
                self._client.script_load(self._script.script)
            return None
        left, failure, *unserved = reply
        behind.skip(one for number, one in enumerate(ids, 1) if number not in unserved)
        self._wakes = bool(unserved)
        if failure is not None:
            raise failure
        return int(left)


def _is_plain(given: RoutingResult) -> bool:
    """Whether nothing is written but chunks, each once, and no two for one integration."""
    if given.dead or given.unneeded or given.unwanted or given.joined or given.volumes:
        return False
    chunks = given.routed_chunks
    if not chunks or any(one.frame or is_shared(one.size, len(one.integration_ids)) for one in chunks):
        return False
    return len(given.integration_ids()) == sum(len(one.integration_ids) for one in chunks)


def _call_for(given: RoutingResult) -> tuple[list[str], Call]:
    """Return the integrations, in the order of their chunks, and the call that writes these."""
    ids, of = list[str](), [keys.EVENTS, keys.COUNTERS]
    words: list[Any] = [keys.ROUTER_GROUP, len(given.done), *given.done]
    for chunk in given.routed_chunks:
        lane = keys.urgent if chunk.urgent else keys.bulk
        fields = _with_events(chunk, pack_chunk(chunk.events))
        for one in chunk.integration_ids:
            ids.append(one)
            of += lane(one), keys.state_key(one)
            words += len(fields), *fields
    return ids, (of, words)
