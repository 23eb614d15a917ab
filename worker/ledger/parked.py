"""Keeps parked events until their backlog has room for them again.

Input: chunks, in the recorder's transaction. Output: the oldest of them, in the order in which the
backlog had them; what has come back is forgotten.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, func, insert, select

from worker.ledger.engine import reading, writing
from worker.ledger.schema import parked
from worker.model.parking import BacklogRoom, ParkedChunk

#: Chunks of one page at the most, since its name lists them all, and bytes: Redis takes it in one gulp. While
#: events trickle in, a chunk has one or a few of them.
LARGEST_PAGE = 500
HEAVIEST_PAGE = 8 << 20


@dataclass(frozen=True, slots=True)
class ParkedTotals:
    """What is parked of one integration: how many events, and when the oldest came to its backlog (ms)."""

    events: int
    oldest_ms: int


def keep(connection: Connection, chunks: Mapping[str, ParkedChunk], now_ms: int) -> None:
    """Keep chunks, each under its name, which must be new."""
    if not chunks:
        return
    rows = [
        {
            "name": name,
            "integration_id": chunk.integration_id,
            "urgent": chunk.urgent,
            "position": chunk.position,
            "events": chunk.events,
            "size": chunk.size,
            "packed": chunk.packed,
            "parked_ms": now_ms,
        }
        for name, chunk in sorted(chunks.items())
    ]
    connection.execute(insert(parked), rows)


class ParkedStore:
    """The parked events of all integrations. Every method may raise LedgerUnavailable or SchemaOutdated."""

    def __init__(self, engine: Engine) -> None:
        """Take the ledger."""
        self._engine = engine

    def counts(self) -> dict[str, ParkedTotals]:
        """Return what is parked, by the integration's id; nothing of one that has nothing parked."""
        columns = parked.c
        wanted = select(
            columns.integration_id, func.sum(columns.events), func.min(columns.position)
        ).group_by(columns.integration_id)
        with reading(self._engine) as connection:
            return {
                key: ParkedTotals(int(events), oldest >> 20)
                for key, events, oldest in connection.execute(wanted)
            }

    def sizes(self) -> dict[str, int]:
        """Return how many bytes of events are parked, by the integration's id. Reads a row of each chunk."""
        columns = parked.c
        wanted = select(columns.integration_id, func.sum(columns.size)).group_by(columns.integration_id)
        with reading(self._engine) as connection:
            return {key: int(size) for key, size in connection.execute(wanted)}

    def oldest(self, integration_id: str, room: BacklogRoom) -> list[tuple[str, ParkedChunk]]:
        """Return the oldest chunks that fit, by their names: those of the urgent lane, or else of the other.

        One that fits nowhere by itself comes alone, if there is any room at all.
        """
        if room.events <= 0 or room.size <= 0:
            return []
        with reading(self._engine) as connection:
            for urgent in (True, False):
                if names := _fitting(connection, integration_id, room, urgent=urgent):
                    return _chunks(connection, names)
        return []

    def forget(self, names: Collection[str]) -> None:
        """Forget chunks that are in their backlog again; of those that are not here, nothing is to forget."""
        if not names:
            return
        with writing(self._engine) as connection:
            connection.execute(delete(parked).where(parked.c.name.in_(names)))


def _fitting(connection: Connection, integration_id: str, room: BacklogRoom, *, urgent: bool) -> list[str]:
    """Name the oldest chunks of a lane, as many as there is room for, and one at least."""
    columns = parked.c
    wanted = (
        select(columns.name, columns.events, columns.size)
        .where(columns.integration_id == integration_id, columns.urgent.is_(urgent))
        .order_by(columns.position)
        .limit(LARGEST_PAGE)
    )
    names: list[str] = []
    events_left, bytes_left = room.events, min(room.size, HEAVIEST_PAGE)
    for name, events, size in connection.execute(wanted):
        events_left, bytes_left = events_left - events, bytes_left - size
        if names and (events_left < 0 or bytes_left < 0):
            break
        names.append(name)
    return names


def _chunks(connection: Connection, names: Sequence[str]) -> list[tuple[str, ParkedChunk]]:
    columns = parked.c
    wanted = (
        select(
            columns.name,
            *(columns.integration_id, columns.urgent, columns.position),
            *(columns.events, columns.size, columns.packed),
        )
        .where(columns.name.in_(names))
        .order_by(columns.position)
    )
    return [(name, ParkedChunk(*chunk)) for name, *chunk in connection.execute(wanted)]
