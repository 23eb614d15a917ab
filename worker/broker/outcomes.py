"""What was settled or parked, on its way to the ledger: one recorder's end of three streams."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
import redis

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.broker.overdraft import execute_anyway
from worker.broker.packing import pack_dead, pack_outcomes, unpack_chunk, unpack_dead, unpack_outcomes
from worker.broker.streams import Entry, GroupReader
from worker.model.deliveries import DeadLetter, Outcome
from worker.model.parking import ParkedChunk

log = logging.getLogger(__name__)

Unpacked = TypeVar("Unpacked")

#: What a recorder reads.
STREAMS = (keys.OUTCOMES, keys.DEAD_LETTERS, keys.PARKED)


@dataclass(slots=True)
class Settled:
    """Entries of the streams, by their ids ("ms-seq")."""

    outcomes: list[tuple[str, list[Outcome]]] = field(default_factory=list)
    dead: list[tuple[str, DeadLetter]] = field(default_factory=list)
    parked: list[tuple[str, ParkedChunk]] = field(default_factory=list)

    def __len__(self) -> int:
        """Count the entries."""
        return len(self.outcomes) + len(self.dead) + len(self.parked)

    def add(self, other: "Settled") -> None:
        """Take in further entries."""
        self.outcomes += other.outcomes
        self.dead += other.dead
        self.parked += other.parked

    def singly(self) -> "Iterator[Settled]":
        """Yield the entries one by one."""
        yield from (Settled(outcomes=[entry]) for entry in self.outcomes)
        yield from (Settled(dead=[entry]) for entry in self.dead)
        yield from (Settled(parked=[entry]) for entry in self.parked)


class Outcomes:
    """Reads what was settled and finishes what was recorded. Raises BrokerUnavailable."""

    def __init__(self, client: redis.Redis, consumer: str, claim_idle: float) -> None:
        """Read as `consumer`, a name of no other process."""
        self._client = client
        self._reader = GroupReader(client, STREAMS, keys.RECORDER_GROUP, consumer, claim_idle)

    def read(self, count: int, block_ms: int) -> Settled:
        """Read up to `count` entries of each stream, waiting up to `block_ms` for the first."""
        entries = self._reader.read(count, block_ms)
        return Settled(
            self._unpacked(keys.OUTCOMES, entries, lambda fields: unpack_outcomes(fields[1])),
            self._unpacked(keys.DEAD_LETTERS, entries, lambda fields: unpack_dead(fields[1])),
            self._unpacked(keys.PARKED, entries, _parked_chunk),
        )

    def finish(self, settled: Settled) -> None:
        """Acknowledge and delete entries that stand in the ledger."""
        pipeline = self._client.pipeline(transaction=True)
        for stream, ids in (
            (keys.OUTCOMES, [entry_id for entry_id, _ in settled.outcomes]),
            (keys.DEAD_LETTERS, [entry_id for entry_id, _ in settled.dead]),
            (keys.PARKED, [entry_id for entry_id, _ in settled.parked]),
        ):
            if ids:
                pipeline.xack(stream, keys.RECORDER_GROUP, *ids)
                pipeline.xdel(stream, *ids)
        try:
            with broker_errors():
                execute_anyway(self._client, pipeline)
        except BaseException:
            self._reader.read_again()
            raise

    def set_aside(self, settled: Settled) -> None:
        """Move entries that cannot be recorded to `siem:unrecordable`, where a person finds them."""
        for entry_id, outcomes in settled.outcomes:
            self._move(keys.OUTCOMES, entry_id, pack_outcomes(outcomes))
        for entry_id, dead in settled.dead:
            self._move(keys.DEAD_LETTERS, entry_id, pack_dead(dead))
        for entry_id, chunk in settled.parked:
            self._move(keys.PARKED, entry_id, b" ".join([chunk.integration_id.encode(), chunk.packed]))

    def _unpacked(
        self, stream: str, entries: dict[str, list[Entry]], unpack: Callable[[list[bytes]], Unpacked]
    ) -> list[tuple[str, Unpacked]]:
        """Unpack entries; set aside what was not packed by us."""
        unpacked = []
        for entry_id, fields in entries.get(stream, []):
            try:
                unpacked.append((entry_id.decode(), unpack(fields)))
            except (msgspec.DecodeError, ValueError, KeyError) as error:
                log.error("entry %s of %s is not ours (%s): set aside", entry_id.decode(), stream, error)  # noqa: TRY400 - no fault of the code, so no traceback
                self._move(stream, entry_id.decode(), b" ".join(fields))
        return unpacked

    def _move(self, stream: str, entry_id: str, raw: bytes) -> None:
        pipeline = self._client.pipeline(transaction=True)
        pipeline.xadd(keys.UNRECORDABLE, {"stream": stream, "entry": entry_id, "raw": raw})
        pipeline.xack(stream, keys.RECORDER_GROUP, entry_id)
        pipeline.xdel(stream, entry_id)
        with broker_errors():
            pipeline.execute()

    def read_again(self) -> None:
        """Begin anew with what this recorder holds: it could not be recorded."""
        self._reader.read_again()


def _parked_chunk(fields: list[bytes]) -> ParkedChunk:
    """Read what `park.lua` wrote. Raises ValueError, KeyError or msgspec.DecodeError if that did not."""
    given = dict(zip(fields[::2], fields[1::2], strict=True))
    unpack_chunk(given[b"events"])
    return ParkedChunk(
        given[b"integration"].decode(),
        given[b"lane"] == b"urgent",
        _position(given[b"entry"]),
        int(given[b"n"]),
        int(given[b"bytes"]),
        given[b"events"],
    )


def _position(entry_id: bytes) -> int:
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds) << 20 | int(sequence)


def lag(client: redis.Redis) -> int:
    """Count the entries that wait to be recorded."""
    with broker_errors():
        return sum(int(client.xlen(stream)) for stream in STREAMS)


def oldest_ms(client: redis.Redis) -> int | None:
    """Return when the oldest entry came that waits to be recorded, by Redis's clock; None without any."""
    with broker_errors():
        found: list[Any] = [client.xrange(stream, count=1) for stream in STREAMS]
    return min((int(entry_id.partition(b"-")[0]) for ((entry_id, _),) in filter(None, found)), default=None)
