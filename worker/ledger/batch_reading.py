"""Finds plain deliveries in their batches: those of an event, the latest ones, and how many there are.

Output: rows in the order of the columns of `deliveries`. What has a row of its own by now is left out.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, func, select, tuple_

from worker.ledger.batch_writing import read_batches
from worker.ledger.batches import BatchedDelivery, delivered_batches, delivery_periods, entries_of
from worker.ledger.engine import chunks
from worker.ledger.period_indexes import places_of_events
from worker.ledger.rows import Row
from worker.ledger.schema import deliveries
from worker.model.outcomes import event_id_of, key_of_reused

_batch = delivered_batches.c
_period = delivery_periods.c
_delivery = deliveries.c
#: Batches of one look, at first and at the most.
_FIRST_LOOK, _LARGEST_LOOK = 2, 64
#: Where a row holds its event, integration, version and content.
_EVENT, _HOME, _VERSION, _CONTENT = 0, 1, 14, 16


def rows_of_events(connection: Connection, event_ids: Collection[str], since_ms: int = 0) -> list[Row]:
    """Return the plain deliveries of these events, of each integration and content the latest one.

    Those of periods in which nothing was settled since then may be left out.
    """
    ids = set(event_ids)
    found: list[BatchedDelivery] = []
    for period, numbers in places_of_events(connection, ids, _period.newest_ms >= since_ms).items():
        for batch in read_batches(connection, period, numbers):
            found += [entry for entry in entries_of(batch) if entry.row[_EVENT] in ids]
    latest: dict[Row, Row] = {}
    for row in sorted((entry.row for entry in found), key=lambda row: row[_VERSION]):
        latest[row[_EVENT], row[_HOME], row[_CONTENT]] = row
    return without_moved(connection, latest.values())


def newest_rows(
    connection: Connection,
    conditions: Sequence[ColumnElement[bool]],
    is_meant: Callable[[Row], bool],
    limit: int,
) -> list[Row]:
    """Return the latest plain deliveries of batches for which the conditions hold, and which are meant.

    They are `limit`, or more; fewer only if there are no others.
    """
    found: list[Row] = []
    for _, batches in groupby(_newest_batches(connection, conditions), attrgetter("settled_ms")):
        for batch in batches:
            rows = [entry.row for entry in entries_of(batch) if is_meant(entry.row)]
            found += without_moved(connection, rows) if batch.moved else rows
        if len(found) >= limit:
            break
    return found


def latest_settled(connection: Connection, integration_id: str, sample: int) -> list[Row]:
    """Return the latest plain deliveries of an integration, at least so many if there are."""
    mine = [_batch.integration_id == integration_id]
    return newest_rows(connection, mine, lambda _: True, sample)


def latest_ms(connection: Connection, integration_id: str) -> int | None:
    """Return when something was last delivered plainly, in ms since 1970 UTC."""
    wanted = select(func.max(_batch.settled_ms)).where(_batch.integration_id == integration_id)
    found: int | None = connection.execute(wanted).scalar_one()
    return found


def counts_of_plain(connection: Connection, conditions: Sequence[ColumnElement[bool]]) -> dict[str, int]:
    """Count plain deliveries by integration, of batches for which the conditions hold."""
    counted = func.sum(_batch.events - _batch.moved)
    wanted = select(_batch.integration_id, counted).where(*conditions).group_by(_batch.integration_id)
    return {home: int(count) for home, count in connection.execute(wanted) if count}


def without_moved(connection: Connection, rows: Iterable[Row]) -> list[Row]:
    """Return those of these rows that have no row of their own in `deliveries`."""
    given = list(rows)
    keys = {key for row in given for key in (row[_EVENT], key_of_reused(row[_EVENT], row[_CONTENT] or ""))}
    own: dict[tuple[str, str], set[str | None]] = {}
    wanted = select(_delivery.event_id, _delivery.integration_id, _delivery.content)
    for some in chunks(sorted(keys)):
        for key, home, content in connection.execute(wanted.where(_delivery.event_id.in_(some))):
            own.setdefault((event_id_of(key), home), set()).add(content)
    return [row for row in given if not _is_among(row[_CONTENT], own.get((row[_EVENT], row[_HOME]), set()))]


def _is_among(content: str | None, contents: set[str | None]) -> bool:
    """Whether one of these may be the content; one that is not known may be any."""
    return bool(contents) and (content is None or content in contents or None in contents)


def _newest_batches(connection: Connection, conditions: Sequence[ColumnElement[bool]]) -> Iterator[Any]:
    """Yield the batches, the latest first, a few at a time."""
    place = tuple_(_batch.settled_ms, _batch.period, _batch.number)
    wanted: Select[Any] = (
        select(delivered_batches)
        .where(*conditions)
        .order_by(_batch.settled_ms.desc(), _batch.period.desc(), _batch.number.desc())
    )
    following, most = wanted, _FIRST_LOOK
    while rows := connection.execute(following.limit(most)).all():
        yield from rows
        if len(rows) < most:
            return
        last = rows[-1]
        behind = (place < (last.settled_ms, last.period, last.number), _batch.settled_ms <= last.settled_ms)
        following, most = wanted.where(*behind), min(2 * most, _LARGEST_LOOK)


def has_type(event_type: str) -> ColumnElement[bool]:
    """Return the condition that a batch has an event of this type."""
    return _batch.types.contains(msgspec.json.encode(event_type).decode(), autoescape=True)
