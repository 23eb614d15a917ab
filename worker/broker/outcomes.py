"""What was settled, on its way to the ledger: one recorder's end of the two streams."""

from dataclasses import dataclass, field

import redis

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.broker.packing import unpack_dead, unpack_outcomes
from worker.broker.streams import Entry, GroupReader
from worker.model.deliveries import DeadLetter, Outcome


@dataclass(slots=True)
class Settled:
    """Entries of both streams, by their ids ("ms-seq")."""

    outcomes: list[tuple[str, list[Outcome]]] = field(default_factory=list)
    dead: list[tuple[str, DeadLetter]] = field(default_factory=list)

    def __len__(self) -> int:
        """Count the entries."""
        return len(self.outcomes) + len(self.dead)

    def add(self, other: "Settled") -> None:
        """Take in further entries."""
        self.outcomes += other.outcomes
        self.dead += other.dead


class Outcomes:
    """Reads what was settled and finishes what was recorded. Raises BrokerUnavailable."""

    def __init__(self, client: redis.Redis, consumer: str, claim_idle: float) -> None:
        """Read as `consumer`, a name of no other process."""
        self._client = client
        streams = [keys.OUTCOMES, keys.DEAD_LETTERS]
        self._reader = GroupReader(client, streams, keys.RECORDER_GROUP, consumer, claim_idle)

    def read(self, count: int, block_ms: int) -> Settled:
        """Read up to `count` entries of each stream, waiting up to `block_ms` for the first."""
        entries = self._reader.read(count, block_ms)
        return Settled(
            [(_id(entry), unpack_outcomes(entry[1][1])) for entry in entries.get(keys.OUTCOMES, [])],
            [(_id(entry), unpack_dead(entry[1][1])) for entry in entries.get(keys.DEAD_LETTERS, [])],
        )

    def finish(self, settled: Settled) -> None:
        """Acknowledge and delete entries that stand in the ledger."""
        pipeline = self._client.pipeline(transaction=True)
        for stream, ids in (
            (keys.OUTCOMES, [entry_id for entry_id, _ in settled.outcomes]),
            (keys.DEAD_LETTERS, [entry_id for entry_id, _ in settled.dead]),
        ):
            if ids:
                pipeline.xack(stream, keys.RECORDER_GROUP, *ids)
                pipeline.xdel(stream, *ids)
        try:
            with broker_errors():
                pipeline.execute()
        except BaseException:
            self._reader.read_again()
            raise

    def read_again(self) -> None:
        """Begin anew with what this recorder holds: it could not be recorded."""
        self._reader.read_again()


def lag(client: redis.Redis) -> int:
    """Count the entries that wait to be recorded."""
    with broker_errors():
        return int(client.xlen(keys.OUTCOMES)) + int(client.xlen(keys.DEAD_LETTERS))


def _id(entry: Entry) -> str:
    return entry[0].decode()
