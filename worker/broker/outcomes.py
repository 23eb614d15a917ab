"""What was settled, parked or withdrawn, on its way to the ledger: one recorder's end of the streams."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import redis

from worker.broker import keys
from worker.broker.chunks import DeadChunk
from worker.broker.clocks import redis_now_ms
from worker.broker.connection import broker_errors, send_command
from worker.broker.locks import LedgerClaim
from worker.broker.oom import execute_when_full
from worker.broker.packing import pack_dead, pack_outcomes
from worker.broker.recorder_entries import first_id_of, unpack_fields
from worker.broker.streams import Entry, GroupReader
from worker.broker.unrecordable import dead_parked_chunk, pack_fields
from worker.model.deliveries import DeadLetter, Outcome, Withdrawn
from worker.model.log_events import PARKED_UNREADABLE, STREAM_FOREIGN_ENTRY
from worker.model.parking import ParkedChunk
from worker.model.settlement import withdrawal
from worker.model.untrusted_json import DAMAGED

log = logging.getLogger(__name__)

#: Returns an entry as it stands; redis-py makes a dictionary of its fields, which may repeat a name.
_ENTRY = "return redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])"
#: What a recorder reads.
STREAMS = (keys.OUTCOMES, keys.DEAD_LETTERS, keys.PARKED)


@dataclass(slots=True)
class SettledEntries:
    """Entries of the streams, by their ids ("ms-seq").

    An entry that was set aside and put back keeps its first id, so that its rows are the same, and in their
    order; `standing` holds, by stream and that id, the id that it has in the stream now.
    """

    outcomes: list[tuple[str, list[Outcome]]] = field(default_factory=list)
    dead: list[tuple[str, DeadLetter]] = field(default_factory=list)
    parked: list[tuple[str, ParkedChunk]] = field(default_factory=list)
    standing: dict[tuple[str, str], str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Count the entries."""
        return len(self.outcomes) + len(self.dead) + len(self.parked)

    def add(self, other: "SettledEntries") -> None:
        """Take in further entries."""
        self.outcomes += other.outcomes
        self.dead += other.dead
        self.parked += other.parked
        self.standing |= other.standing

    def singly(self) -> "Iterator[SettledEntries]":
        """Yield the entries one by one."""
        standing = self.standing
        yield from (SettledEntries(outcomes=[entry], standing=standing) for entry in self.outcomes)
        yield from (SettledEntries(dead=[entry], standing=standing) for entry in self.dead)
        yield from (SettledEntries(parked=[entry], standing=standing) for entry in self.parked)

    def places(self) -> "Iterator[tuple[str, list[str]]]":
        """Yield each stream with the ids that the entries have in it now."""
        for stream, entries in (
            (keys.OUTCOMES, self.outcomes),
            (keys.DEAD_LETTERS, self.dead),
            (keys.PARKED, self.parked),
        ):
            ids = [entry_id for entry_id, _ in entries]
            yield stream, [self.standing.get((stream, entry_id), entry_id) for entry_id in ids]


class Outcomes:
    """Reads what was settled and finishes what was recorded. Raises BrokerUnavailable."""

    def __init__(
        self, client: redis.Redis, consumer: str, claim_idle: float, claim: LedgerClaim | None = None
    ) -> None:
        """Read as `consumer`, a name of no other process.

        With a `claim`, nothing is read while Redis holds the events of another ledger: WrongLedger is raised.
        """
        self._client = client
        self._claim = claim
        self._reader = GroupReader(client, STREAMS, keys.RECORDER_GROUP, consumer, claim_idle)

    def read(self, count: int, block_ms: int) -> SettledEntries:
        """Read up to `count` entries of each stream, waiting up to `block_ms` for the first.

        After an error, what was read before is read again.
        """
        try:
            return self._read(count, block_ms)
        except BaseException:
            self._reader.read_again()
            raise

    def _read(self, count: int, block_ms: int) -> SettledEntries:
        if self._claim is not None:
            self._claim.require()
        entries = self._reader.read(count, block_ms)
        standing: dict[tuple[str, str], str] = {}
        return SettledEntries(
            self._unpacked(keys.OUTCOMES, entries, standing),
            self._unpacked(keys.DEAD_LETTERS, entries, standing),
            self._unpacked(keys.PARKED, self._readable_parked(entries), standing),
            standing,
        )

    def finish(self, settled: SettledEntries) -> None:
        """Acknowledge and delete entries that stand in the ledger."""
        pipeline = self._client.pipeline(transaction=True)
        for stream, ids in settled.places():
            if ids:
                pipeline.xack(stream, keys.RECORDER_GROUP, *ids)
                pipeline.xdel(stream, *ids)
        try:
            with broker_errors():
                execute_when_full(self._client, pipeline)
        except BaseException:
            self._reader.read_again()
            raise

    def set_aside(self, settled: SettledEntries, reason: str) -> None:
        """Move entries that cannot be recorded to `siem:unrecordable`, where a person finds them."""
        for stream, ids in settled.places():
            for entry_id in ids:
                self._move(stream, entry_id, reason)

    def _readable_parked(self, entries: dict[str, list[Entry]]) -> dict[str, list[Entry]]:
        """Leave out parked chunks that cannot be read: dead letters take their place, to be read next."""
        readable = []
        for entry_id, fields in entries.get(keys.PARKED, []):
            dead = dead_parked_chunk(entry_id, fields)
            if dead is None:
                readable.append((entry_id, fields))
            else:
                self._make_dead_letters(entry_id, dead)
        return {keys.PARKED: readable}

    def _make_dead_letters(self, entry_id: bytes, chunk: DeadChunk) -> None:
        pipeline = self._client.pipeline(transaction=True)
        if chunk.outcome and chunk.dead:
            pipeline.xadd(keys.OUTCOMES, {"outcomes": pack_outcomes([chunk.outcome])})
            pipeline.xadd(keys.DEAD_LETTERS, {"dead": pack_dead(chunk.dead)})
            pipeline.hincrby(keys.COUNTERS, "unreadable", chunk.count)
        pipeline.xack(keys.PARKED, keys.RECORDER_GROUP, entry_id)
        pipeline.xdel(keys.PARKED, entry_id)
        with broker_errors():
            execute_when_full(self._client, pipeline)
        PARKED_UNREADABLE.log(log, events=chunk.count)

    def _unpacked(
        self, stream: str, entries: dict[str, list[Entry]], standing: dict[tuple[str, str], str]
    ) -> list[tuple[str, Any]]:
        """Unpack entries; set aside what was not packed by us."""
        unpacked = []
        for entry_id, fields in entries.get(stream, []):
            here = entry_id.decode()
            try:
                first_id = first_id_of(fields) or here
                unpacked.append((first_id, unpack_fields(stream, fields)))
            except (*DAMAGED, LookupError) as error:
                STREAM_FOREIGN_ENTRY.log(log, entry=here, stream=stream, error=str(error))
                self._move(stream, here, f"it cannot be read: {error}")
            else:
                if first_id != here:
                    standing[stream, first_id] = here
        return unpacked

    def _move(self, stream: str, entry_id: str, reason: str) -> None:
        with broker_errors():
            # As it stands there, so that it can be put back without any loss.
            found = send_command(self._client, "EVAL", _ENTRY, 1, stream, entry_id)
            if not found:
                return
            pipeline = self._client.pipeline(transaction=True)
            [(_, fields)] = found
            aside: dict[Any, Any] = {"stream": stream, "entry": first_id_of(fields) or entry_id}
            pipeline.xadd(keys.UNRECORDABLE, aside | {"reason": reason, "fields": pack_fields(fields)})
            pipeline.xack(stream, keys.RECORDER_GROUP, entry_id)
            pipeline.xdel(stream, entry_id)
            execute_when_full(self._client, pipeline)

    def read_again(self) -> None:
        """Begin again with what this recorder holds: it could not be recorded."""
        self._reader.read_again()


def lag(client: redis.Redis) -> int:
    """Count the entries that wait to be recorded."""
    with broker_errors():
        return sum(int(client.xlen(stream)) for stream in STREAMS)


def oldest_ms(client: redis.Redis) -> int | None:
    """Return when the oldest entry came that waits to be recorded, by Redis's clock; None without any."""
    with broker_errors():
        found: list[Any] = [client.xrange(stream, count=1) for stream in STREAMS]
    return min((int(entry_id.partition(b"-")[0]) for ((entry_id, _),) in filter(None, found)), default=None)


def withdraw(client: "redis.Redis", integration_id: str, withdrawn: Withdrawn) -> None:
    """Make dead letters of the events: both entries are written, or none. Raises BrokerUnavailable."""
    outcome, letter = withdrawal(integration_id, withdrawn, redis_now_ms(client))
    with broker_errors():
        pipeline = client.pipeline()
        pipeline.xadd(keys.OUTCOMES, {"outcomes": pack_outcomes([outcome])})
        pipeline.xadd(keys.DEAD_LETTERS, {"dead": pack_dead(letter)})
        execute_when_full(client, pipeline)
