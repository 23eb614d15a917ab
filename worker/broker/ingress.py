"""The stream to which events are published, and the hand-over from there to the backlogs."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import redis
from msgspec.structs import replace
from redis.exceptions import NoScriptError

from worker.broker import keys
from worker.broker.clocks import any_ahead, received_ms
from worker.broker.connection import broker_errors, joined_script, script_text
from worker.broker.formats import Format, KnownFormats
from worker.broker.framed_chunks import FramedChunk, chunk_id_of, read_framed
from worker.broker.frames import FRAME, InvalidFrame
from worker.broker.hand_over import PlainHandOver, RoutedChunk, RoutingResult, fill, may_share
from worker.broker.oom import (
    ALLOW_OOM,
    NOTHING,
    Behind,
    execute_when_full,
    flat,
    has_room,
    raise_first,
    report_displaced,
)
from worker.broker.packing import damaged_counts, whole
from worker.broker.redis_errors import FULL
from worker.broker.round_trips import ask, ask_one, call_of
from worker.broker.streams import Entry, GroupReader
from worker.broker.volumes import Volumes, count_volumes
from worker.model.errors import BrokerFull, InvalidEvent
from worker.model.event_lines import MOST_LINES_BYTES
from worker.model.trace_context import TRACEPARENT, TraceContext, parse_traceparent

__all__ = ["Ingress", "IngressEntry", "RoutedChunk", "RoutingResult"]

#: Counts on while the machine is suspended, where the system has such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
#: Bytes of memory that the entries of one read may take in Redis, unless it is a single one.
HEAVIEST_READ = 16 << 20
#: While hardly any wait, so many entries are read without a look: 64 MB, if all are as large as any may be.
LIGHT_READ = (64 << 20) // MOST_LINES_BYTES
#: A hand-over of so many bytes at the most is done by a script: more are not to be copied once more.
_SMALL = 16 << 10
#: The fields that hold what was published, in the order in which they count: one event; events, one a line;
#: events that their publisher has judged (`worker.broker.frames`).
EVENT_FIELD, EVENTS_FIELD, FRAME_FIELD = b"event", b"events", FRAME
_FORMS = (EVENT_FIELD, FRAME_FIELD, EVENTS_FIELD)


def _seconds() -> float:
    return time.clock_gettime(_CLOCK)


class IngressEntry(msgspec.Struct, frozen=True, gc=False):
    """One entry of the ingress stream: its id, when Redis took it (ms), and what it holds in which `form`.

    `raw` is None when the entry has no field of any form; `fields` then shows what it has instead.
    Where its events stand apart (`worker.broker.framed_chunks`), `framed` is what it says of them, unless it
    is damaged, `chunk_id` where they are, and `packed` what was fetched from there, which may be nothing.
    """

    entry_id: bytes
    published_ms: int
    raw: bytes | None
    fields: list[bytes]
    form: bytes = EVENT_FIELD
    chunk_id: str | None = None
    framed: FramedChunk | None = None
    packed: bytes | None = None

    def event_bytes(self) -> bytes:
        """Return the event's bytes. Raises InvalidEvent when the entry has none."""
        if self.raw is None:
            raise InvalidEvent("event", "is not a field of the entry", "XADD siem:events * event '{…}'")
        return self.raw


class Ingress:
    """One router's end of `siem:events`. Every method raises BrokerUnavailable when Redis is away."""

    def __init__(self, client: redis.Redis, consumer: str, claim_idle: float) -> None:
        """Read as `consumer`, a name of no other process."""
        self._client = client
        self._consumer = consumer
        self._reader = GroupReader(
            client, [keys.EVENTS], keys.ROUTER_GROUP, consumer, claim_idle, keys.INTEGRATIONS_VERSION
        )
        self._if_held = client.register_script(
            ALLOW_OOM + script_text("make_way") + script_text("held") + script_text("write_when_full")
        )
        self._small = joined_script(client, "make_way", "hand_over")
        self._plain = PlainHandOver(client)
        self._light = joined_script(client, "ids", "weighing", "light")
        self._formats = KnownFormats(client)
        self._late_after = claim_idle / 2
        self._read_at = 0.0
        self._may_be_taken = False
        #: How many entries stood in the stream behind the latest hand-over; None where that is not known.
        self._left: int | None = None

    def read(self, count: int, block_ms: int) -> list[IngressEntry]:
        """Read up to `count` entries, waiting up to `block_ms` for the first; fewer where they are huge.

        After an error, what was read before is read again.
        """
        # While events trickle in, few come at once: that needs no look at how heavy they are.
        is_trickle = self._left is not None and self._left <= LIGHT_READ // 4
        count = min(count, LIGHT_READ) if is_trickle else self._bounded(count)
        # Before it: who falls asleep in it wakes up with entries that it was given long ago.
        self._read_at = _seconds()
        try:
            entries = self._reader.read(count, block_ms).get(keys.EVENTS, [])
            self._left = None if entries else self._left
            received = ingress_entries(self._client, entries)
        except BaseException:
            self.read_again()
            raise
        self._may_be_taken = any_ahead([entry.entry_id for entry in received])
        return received

    @property
    def version(self) -> bytes | None:
        """The version of the integrations when the latest entries had been read; None if it was not read."""
        return self._reader.noted

    def _bounded(self, count: int) -> int:
        """Return how many entries may be read: a thousand huge ones are too much for Redis and for us."""
        with broker_errors():
            return int(self._light(keys=[keys.EVENTS], args=[keys.ROUTER_GROUP, count, HEAVIEST_READ]))

    def hand_over(self, routing_result: RoutingResult, behind: Behind = NOTHING) -> bool:
        """Append to the backlogs and finish the entries: all of it at once, or nothing.

        If possible, what is to be done `behind` goes with it in one round trip.
        Returns whether it was done: another router may have taken entries over, if this one was asleep since
        it read them; those with ids ahead of the clock may have got others (`worker.broker.clocks`).
        Then, and after BrokerUnavailable, call `read_again`: what is left comes back.
        """
        may_be_taken = self._may_be_taken or _seconds() - self._read_at >= self._late_after
        is_small = routing_result.weight() <= _SMALL
        if is_small and not may_be_taken:
            with broker_errors():
                left = self._plain.write(routing_result, behind)
            if left is not None:
                self._left = left
                return True
        pipeline = self._client.pipeline(transaction=True)
        fill(pipeline, routing_result, share=may_share(self._formats, routing_result.routed_chunks))
        pipeline.xack(keys.EVENTS, keys.ROUTER_GROUP, *routing_result.done)
        pipeline.xdel(keys.EVENTS, *routing_result.done)
        with broker_errors():
            commands = [command for command, _ in pipeline.command_stack]
            with damaged_counts(self._client, commands):
                if may_be_taken:
                    return self._hand_over_held(routing_result.done, commands)
                # Only what is handed over is ever sent, and only what is sent frees memory.
                self._left = self._write(pipeline, behind, is_small=is_small)
        return True

    def _write(self, pipeline: "redis.client.Pipeline", behind: Behind, *, is_small: bool) -> int:
        """Carry out a transaction; return how many entries are left in the stream."""
        pipeline.xlen(keys.EVENTS)
        replies = None
        if is_small:
            replies = self._write_small([command for command, _ in pipeline.command_stack], behind)
        if replies is None:
            replies = execute_when_full(self._client, pipeline, within_bounds=True, behind=behind)
        return int(replies[-1])

    def _write_small(self, commands: Sequence[Sequence[Any]], behind: Behind) -> list[Any] | None:
        """Do the same by a script, which answers once; None if nothing was done."""
        call = call_of(self._small, ((), flat(commands)))
        reply, *others = ask(self._client, call, *behind.commands())
        is_done = isinstance(reply, list)
        behind.answer(others, is_done=is_done)
        if not is_done:
            if isinstance(reply, NoScriptError):
                self._client.script_load(self._small.script)
            return None
        replies: list[Any]
        replies, moved = reply
        report_displaced(moved)
        raise_first(commands, replies)
        return replies

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

    def count(self, volumes: Volumes) -> None:
        """Count these volumes, apart from a hand-over."""
        with broker_errors():
            pipeline = self._client.pipeline(transaction=False)
            count_volumes(pipeline, volumes.items())
            pipeline.execute()

    def shares(self) -> bool:
        """Whether large chunks are written once for all integrations that want them."""
        return self._formats.has(Format.SHARED_CHUNKS)

    def with_events(self, entries: Sequence[IngressEntry]) -> list[IngressEntry]:
        """Return the entries, each of them with its events where these stand apart."""
        keys_ = [keys.chunk(one.chunk_id) for one in entries if one.chunk_id]
        if not keys_:
            return list(entries)
        with broker_errors():
            found = iter(ask_one(self._client, "MGET", *keys_))
        return [replace(one, packed=next(found) or b"") if one.chunk_id else one for one in entries]

    def read_again(self) -> None:
        """Begin again with what this router holds: it could not be handed over."""
        self._left = None
        self._reader.read_again()

    def waiting(self) -> int:
        """Count the entries that no router had handed over, as of the latest hand-over if that said so."""
        if self._left is not None:
            return self._left
        with broker_errors():
            return int(self._client.xlen(keys.EVENTS))


def payload_of(fields: list[bytes]) -> tuple[bytes, bytes | None]:
    """Return in which form an entry holds events, and these; None without any."""
    # Its other fields have no meaning.
    if len(fields) == 2 and fields[0] in _FORMS:  # noqa: PLR2004 - name and value
        return fields[0], fields[1]
    given = dict(zip(fields[::2], fields[1::2], strict=False))
    form = next((one for one in _FORMS if one in given), EVENT_FIELD)
    return form, given.get(form)


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
    received = []
    for (entry_id, fields), published_ms in zip(found, times, strict=True):
        form, raw = payload_of(fields)
        chunk_id = chunk_id_of(raw) if raw is not None and form == FRAME_FIELD else None
        framed = _framed(raw or b"") if chunk_id else None
        received.append(IngressEntry(entry_id, published_ms, raw, fields, form, chunk_id, framed))
    return received


def _framed(raw: bytes) -> FramedChunk | None:
    try:
        return read_framed(raw)
    except InvalidFrame:
        return None  # it is judged with its events


def counters(client: redis.Redis) -> dict[str, int]:
    """Count events since the beginning.

    Those that were routed are `published`, and of these some `unwanted` or `invalid`; `unreadable` are those
    that were damaged in a backlog. `renumbered` counts how often the ids of the ingress were brought back to
    the clock.
    """
    with broker_errors():
        found: Any = client.hgetall(keys.COUNTERS)
    counts = {
        name: whole(found.get(name.encode()))
        for name in ("published", "unwanted", "invalid", "unreadable", "renumbered")
    }
    counts["published"] += whole(found.get(b"joined"))
    return counts
