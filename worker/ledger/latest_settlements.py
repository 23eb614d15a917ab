"""The latest settlements of integrations: of those with rows of their own, and of those in batches.

Input: ids, and how many settlements are wanted of each. Output: when they were, how they ended, how long they
took. Asked for hundreds of integrations at once, so that no more is read or made than that.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, CompoundSelect, Connection, Select, Text, bindparam, select, union_all

from worker.ledger.batch_reading import without_moved
from worker.ledger.batch_writing import read_batches
from worker.ledger.batches import delivered_batches, entries_of, latencies_of
from worker.ledger.rows import Row
from worker.ledger.schema import deliveries
from worker.model.deliveries import Status

#: Parts of one UNION: SQLite takes 500.
_MOST_PARTS = 100
#: Batches of an integration that are looked at first: a full one holds hundreds of deliveries.
_FEW_BATCHES = 16

_delivery = deliveries.c

#: Where a row of `deliveries` holds them.
_HOME, _STATUS, _SETTLED, _LATENCY = (
    list(deliveries.c).index(column)
    for column in (_delivery.integration_id, _delivery.status, _delivery.settled_ms, _delivery.latency_ms)
)
#: Stands for the id of an integration in a question.
Id = BindParameter[str]


class Settled(NamedTuple):
    """Deliveries that were settled at once: when (ms), where they stand, how many they are.

    `took_ms` is how long each took, and empty if that is not known.
    """

    at_ms: int
    status: str
    events: int
    took_ms: Sequence[int]


def latest_settlements(connection: Connection, ids: Sequence[str], sample: int) -> dict[str, list[Settled]]:
    """Return the latest settlements of each, the latest first; without a sample the latest one.

    How long that took is not known then.
    """
    most = max(1, sample)
    found: dict[str, list[Settled]] = {one: [] for one in ids}
    for one, at_ms, status, took_ms in of_each(connection, ids, _latest, most):
        found[one].append(Settled(at_ms, status, 1, () if took_ms is None else (took_ms,)))
    for one, plain in _latest_plain(connection, ids, sample):
        found[one].append(plain)
    return {
        one: list(_first(sorted(settled, key=_moment, reverse=True), most)) for one, settled in found.items()
    }


def _moment(settled: Settled) -> int:
    return settled.at_ms


def _first(settled: Iterable[Settled], most: int) -> Iterator[Settled]:
    """Yield the first ones, as many as are so many deliveries."""
    left = most
    for one in settled:
        if left <= 0:
            return
        yield one if one.events <= left else one._replace(events=left, took_ms=one.took_ms[:left])
        left -= one.events


def _latest_plain(connection: Connection, ids: Sequence[str], sample: int) -> Iterator[tuple[str, Settled]]:
    """Yield the latest deliveries that batches hold, of each integration at least so many if there are.

    Without a sample: the latest of each, and not how long it took, for which its batch would have to be read.
    """
    read: dict[int, dict[int, int]] = {}
    for one, wanted in _newest_batches(connection, ids, max(1, sample)):
        if sample or one.moved:
            read.setdefault(one.period, {})[one.number] = wanted
        else:
            yield one.integration_id, Settled(one.settled_ms, Status.DELIVERED, 1, ())
    moved: list[Row] = []
    for period, numbers in read.items():
        for batch in read_batches(connection, period, numbers):
            if batch.moved:
                moved += [entry.row for entry in entries_of(batch)]
            else:
                took_ms = latencies_of(batch)[: numbers[batch.number]]
                yield (
                    batch.integration_id,
                    Settled(batch.settled_ms, Status.DELIVERED, len(took_ms), took_ms),
                )
    for row in without_moved(connection, moved):
        yield row[_HOME], Settled(row[_SETTLED], row[_STATUS], 1, (row[_LATENCY],))


def _newest_batches(connection: Connection, ids: Sequence[str], events: int) -> Iterator[tuple[Any, int]]:
    """Yield the latest batches of each that hold so many events, or all; with how many are wanted of it."""
    found = _batches_by_home(connection, ids, min(events, _FEW_BATCHES))
    small = [
        home
        for home, batches in found.items()
        if len(batches) == _FEW_BATCHES < events > sum(one.events - one.moved for one in batches)
    ]
    found |= _batches_by_home(connection, small, events)
    for batches in found.values():
        held = 0
        for one in batches:
            if held < events:
                yield one, events - held
            held += one.events - one.moved


def _batches_by_home(connection: Connection, ids: Sequence[str], most: int) -> dict[str, list[Any]]:
    """Return so many batches of each integration that has any, the latest first."""
    found: dict[str, list[Any]] = {}
    for one in of_each(connection, ids, _latest_batches, most):
        found.setdefault(one.integration_id, []).append(one)
    return {home: sorted(some, key=attrgetter("settled_ms"), reverse=True) for home, some in found.items()}


def _latest_batches(integration_id: Id) -> Select[Any]:
    batch = delivered_batches.c
    return (
        select(
            *(batch.integration_id, batch.settled_ms, batch.period, batch.number, batch.events, batch.moved)
        )
        .where(batch.integration_id == integration_id)
        .order_by(batch.settled_ms.desc())
    )


def _latest(integration_id: Id) -> Select[Any]:
    return (
        select(_delivery.integration_id, _delivery.settled_ms, _delivery.status, _delivery.latency_ms)
        .where(_delivery.integration_id == integration_id)
        .order_by(_delivery.settled_ms.desc())
    )


def of_each(
    connection: Connection, ids: Sequence[str], question: Callable[[Id], Select[Any]], limit: int = 1
) -> Iterator[Any]:
    """Ask the same of each integration, of many in one statement; up to `limit` rows of each."""
    for start in range(0, len(ids), _MOST_PARTS):
        some = ids[start : start + _MOST_PARTS]
        values = {f"id_{place}": one for place, one in enumerate(some)}
        yield from connection.execute(_union(question, limit, len(some)), values)


@lru_cache(maxsize=256)
def _union(question: Callable[[Id], Select[Any]], limit: int, parts: int) -> CompoundSelect[Any]:
    """Put the question so many times; to build it again takes longer than to answer it."""
    asked = (question(bindparam(f"id_{place}", type_=Text())).limit(limit) for place in range(parts))
    return union_all(*(select(part.subquery()) for part in asked))
