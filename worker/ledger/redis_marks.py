"""Keeps the latest mark of Redis, and counts what the ledger knows of the events that stood there.

Input: marks. Output: the latest one, to be compared with what Redis holds.
"""

from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection, Engine, func, insert, select, update

from worker.ledger.batches import delivery_status
from worker.ledger.engine import reading, writing
from worker.ledger.rows import version_of
from worker.ledger.schema import parked, recorded_entries, redis_epochs
from worker.model.deliveries import Status
from worker.model.redis_marks import DEAD_LETTERS, EVENTS, OUTCOMES, PARKED, Figures, Mark
from worker.model.time import LATEST_MS, current_ms

#: Clocks of workers, which date what was settled, may be so far behind that of Redis, in milliseconds.
_CLOCKS_APART_MS = 60_000
#: What came back with old data is sent again within so long, as a rule, in milliseconds.
_SOON_MS = 86_400_000

#: How the entries of a stream are named in `recorded_entries`.
_RECORDED_AS = {OUTCOMES: "o:", DEAD_LETTERS: "d:", PARKED: "p:"}
_END = (Status.DELIVERED.value, Status.DEAD.value)
_decode = msgspec.json.Decoder(Figures).decode


class MarkStore:
    """The marks of one Redis. Every method may raise LedgerUnavailable or SchemaOutdated."""

    def __init__(self, engine: Engine) -> None:
        """Take the ledger."""
        self._engine = engine

    def latest(self) -> Mark | None:
        """Return the latest mark of the epoch that lasts; None before the first epoch."""
        columns = redis_epochs.c
        wanted = select(columns.id, columns.mark, columns.marked_ms, columns.figures)
        with reading(self._engine) as connection:
            found = connection.execute(wanted.where(columns.ended_ms.is_(None))).first()
        return Mark(found.id, found.mark, found.marked_ms, _decode(found.figures)) if found else None

    def changes(self) -> int:
        """Return how often an epoch followed another one; one row stays of each."""
        wanted = select(func.count()).select_from(redis_epochs)
        with reading(self._engine) as connection:
            return max(0, int(connection.execute(wanted).scalar_one()) - 1)

    def knows(self, epoch: str) -> bool:
        """Whether Redis has had this epoch before."""
        wanted = select(redis_epochs.c.id).where(redis_epochs.c.id == epoch)
        with reading(self._engine) as connection:
            return connection.execute(wanted).first() is not None

    def note(self, mark: Mark) -> None:
        """Keep a mark, unless a later one is known."""
        columns = redis_epochs.c
        with writing(self._engine) as connection:
            connection.execute(
                update(redis_epochs)
                .where(columns.id == mark.epoch, columns.mark < mark.number)
                .values(mark=mark.number, marked_ms=mark.at_ms, figures=_text(mark.figures))
            )

    def adopt(self, mark: Mark) -> None:
        """Let the epoch that Redis holds be the one that lasts."""
        with writing(self._engine) as connection:
            end_epoch(connection, None)
            begin_epoch(connection, mark)

    def settled(self, mark: Mark) -> dict[str, int]:
        """Count, by integration, the events that left the backlogs after the mark: settled or parked."""
        after = version_of(mark.figures.last_ids.get(OUTCOMES, "0-0"))
        columns = delivery_status.c
        counts = {}
        with reading(self._engine) as connection:
            for one in mark.figures.backlogs:
                wanted = select(func.count()).where(
                    columns.integration_id == one,
                    columns.settled_ms >= mark.at_ms - _CLOCKS_APART_MS,
                    columns.version > after,
                    columns.published_ms <= mark.at_ms,
                    columns.status.in_(_END),
                )
                counts[one] = int(connection.execute(wanted).scalar_one()) + _parked(connection, one, mark)
        return counts

    def done(self, mark: Mark) -> dict[str, int]:
        """Count, by stream, the entries that waited at the mark and were recorded, or settled, after it."""
        with reading(self._engine) as connection:
            return {
                EVENTS: _routed(connection, mark),
                **{name: _recorded(connection, name, mark) for name in _RECORDED_AS},
            }

    def settled_again(self, mark: Mark) -> dict[str, int]:
        """Count, by integration, the events of an older mark's backlogs that were settled after it."""
        after = version_of(mark.figures.last_ids.get(OUTCOMES, "0-0"))
        columns = delivery_status.c
        counts = {}
        with reading(self._engine) as connection:
            for one, held in mark.figures.backlogs.items():
                wanted = select(columns.event_id).where(
                    columns.integration_id == one,
                    columns.settled_ms.between(mark.at_ms - _CLOCKS_APART_MS, mark.at_ms + _SOON_MS),
                    columns.version > after,
                    columns.published_ms <= mark.at_ms,
                    columns.status.in_(_END),
                )
                counted = select(func.count()).select_from(wanted.limit(held).subquery())
                counts[one] = int(connection.execute(counted).scalar_one())
        return counts


def begin_epoch(connection: Connection, mark: Mark) -> None:
    """Begin an epoch with this mark, or go on with it if it was there before."""
    values = {"mark": mark.number, "marked_ms": mark.at_ms, "figures": _text(mark.figures), "ended_ms": None}
    columns = redis_epochs.c
    if not connection.execute(update(redis_epochs).where(columns.id == mark.epoch).values(values)).rowcount:
        began = {"id": mark.epoch, "began_ms": current_ms()}
        connection.execute(insert(redis_epochs).values(values | began))


def end_epoch(connection: Connection, epoch: str | None) -> bool:
    """End this epoch, or whichever lasts; return whether there was one to end."""
    lasting = redis_epochs.c.ended_ms.is_(None)
    chosen = lasting if epoch is None else lasting & (redis_epochs.c.id == epoch)
    return connection.execute(update(redis_epochs).where(chosen).values(ended_ms=current_ms())).rowcount > 0


def _routed(connection: Connection, mark: Mark) -> int:
    """Count the events that no router had read, of which at least one delivery was settled."""
    first, last = _waited(mark, EVENTS)
    if not mark.figures.waiting.get(EVENTS):
        return 0
    columns = delivery_status.c
    wanted = select(func.count(columns.event_id.distinct())).where(
        columns.settled_ms >= mark.at_ms - _CLOCKS_APART_MS,
        # A publisher may have chosen an id that no column can hold.
        columns.published_ms.between(min(first >> 20, LATEST_MS), min(last >> 20, LATEST_MS)),
        columns.status.in_(_END),
    )
    return int(connection.execute(wanted).scalar_one())


def _recorded(connection: Connection, stream: str, mark: Mark) -> int:
    first, last = _waited(mark, stream)
    if not mark.figures.waiting.get(stream):
        return 0
    prefix = _RECORDED_AS[stream]
    columns = recorded_entries.c
    wanted = select(columns.stream_entry).where(columns.recorded_ms >= mark.at_ms - _CLOCKS_APART_MS)
    names = [name for name in connection.execute(wanted).scalars() if name.startswith(prefix)]
    return sum(first <= version_of(name.removeprefix(prefix)) <= last for name in names)


def _waited(mark: Mark, stream: str) -> tuple[int, int]:
    """Return the versions of the first and the last entry that may have waited at the mark."""
    figures = mark.figures
    return version_of(figures.first_ids.get(stream, "0-0")), version_of(figures.last_ids.get(stream, "0-0"))


def _parked(connection: Connection, integration_id: str, mark: Mark) -> int:
    """Count the events that were parked after the mark: they are not missing."""
    columns = parked.c
    after = version_of(mark.figures.last_ids.get(PARKED, "0-0"))
    wanted = select(columns.name, columns.events).where(
        columns.integration_id == integration_id, columns.parked_ms >= mark.at_ms - _CLOCKS_APART_MS
    )
    rows: Mapping[str, int] = {name: int(events) for name, events in connection.execute(wanted)}
    return sum(events for name, events in rows.items() if version_of(name) > after)


def _text(figures: Figures) -> str:
    return msgspec.json.encode(figures).decode()
