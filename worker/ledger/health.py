"""What the ledger knows of the health of integrations: a few statements for any number of them.

Input: ids, and from when on minutes count. Output: a `DeliveryStats` for each.
Every question is answered from the near end of an index, so that neither a long history nor a large ledger
makes it slow.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    CompoundSelect,
    Connection,
    Engine,
    Select,
    Text,
    bindparam,
    select,
    union_all,
)

from worker.ledger.batch_reading import without_moved
from worker.ledger.batch_writing import read_batches
from worker.ledger.batches import delivered_batches, entries_of, latencies_of
from worker.ledger.counts import Minute, read_minutes
from worker.ledger.deliveries import NOT_DELIVERED
from worker.ledger.engine import reading
from worker.ledger.rows import Row, storable
from worker.ledger.schema import deliveries, integrations, minute_counts
from worker.model.deliveries import Status
from worker.model.health import Counts, DeliveryStats, LastError, Latency, Subject

#: Parts of one UNION: SQLite takes 500.
_MOST_PARTS = 100
#: Batches of an integration that are looked at first: a full one holds hundreds of deliveries.
_FEW_BATCHES = 16

_delivery = deliveries.c
_minute = minute_counts.c

#: Where a row of `deliveries` holds them.
_HOME, _STATUS, _SETTLED, _LATENCY = (
    list(deliveries.c).index(column)
    for column in (_delivery.integration_id, _delivery.status, _delivery.settled_ms, _delivery.latency_ms)
)
#: When it was settled (ms), where it stands, how long it took (ms).
_Settled = tuple[int, str, int | None]
_Id = BindParameter[str]


def subjects(
    engine: Engine, *, tenant_id: str | None = None, integration_id: str | None = None
) -> list[Subject]:
    """Return the integrations of a tenant, or of all, by tenant and name; or the one of that id."""
    columns = integrations.c
    wanted = select(
        *(columns.id, columns.tenant_id, columns.name, columns.type, columns.enabled),
        *(columns.document, columns.disabled_reason, columns.disabled_ms),
    ).where(columns.deleted_ms.is_(None))
    if tenant_id is not None:
        wanted = wanted.where(columns.tenant_id == storable(tenant_id))
    if integration_id is not None:
        wanted = wanted.where(columns.id == storable(integration_id))
    with reading(engine) as connection:
        rows = connection.execute(wanted.order_by(columns.tenant_id, columns.name)).all()
    return [
        Subject(*row[:5], bool(json.loads(row.document).get("paused")), row.disabled_reason, row.disabled_ms)
        for row in rows
    ]


def types_in_use(engine: Engine) -> set[str]:
    """Return the types of destinations of the enabled integrations; no document is read."""
    columns = integrations.c
    wanted = select(columns.type).where(columns.deleted_ms.is_(None), columns.enabled).distinct()
    with reading(engine) as connection:
        return set(connection.execute(wanted).scalars())


def records(
    engine: Engine, since: Mapping[str, int], *, recent_ms: int = 0, sample: int
) -> dict[str, DeliveryStats]:
    """Return what is known of each of these integrations, as of one moment.

    `since` says for each the first minute that counts (its first ms, or a moment before it), `recent_ms` the
    first of all that is recent. Latencies are of the latest `sample` settlements, and left out without one.
    """
    ids = list(since)
    if not ids:
        return {}
    with reading(engine) as connection:
        counts = defaultdict(_Window, _windows(connection, since, recent_ms))
        settled = _latest_settled(connection, ids, sample)
        problems = _problems(connection, ids)
        last_success = {one: next(_successes(settled[one]), None) for one in ids}
        further_back = [one for one, found in last_success.items() if found is None and settled[one]]
        last_success |= _last_good_minutes(connection, further_back)
    return {
        one: DeliveryStats(
            counts=counts[one].counts,
            recent=counts[one].recent,
            retry_minutes=counts[one].retry_minutes,
            last_success_ms=last_success[one],
            last_settled_ms=settled[one][0][0] if settled[one] else None,
            problem=problems.get(one),
            latency=_latency(settled[one]) if sample else None,
        )
        for one in ids
    }


def latencies(engine: Engine, ids: Sequence[str], *, sample: int) -> dict[str, Latency | None]:
    """Return the latencies of each, of its latest `sample` settlements; None if none was a delivery."""
    if not ids:
        return {}
    with reading(engine) as connection:
        return {one: _latency(found) for one, found in _latest_settled(connection, ids, sample).items()}


class _Window(NamedTuple):
    """What the minutes of one integration add up to; see `DeliveryStats`."""

    counts: Counts = Counts()
    recent: Counts = Counts()
    retry_minutes: int = 0


def _windows(connection: Connection, since: Mapping[str, int], recent_ms: int) -> dict[str, _Window]:
    """Add up the minutes that count, and those of them that are recent; count those with a retry."""
    minutes = read_minutes(connection, since, min(since.values()))
    return {one: _window(found, since[one], recent_ms) for one, found in minutes.items()}


def _window(minutes: Iterable[Minute], since_ms: int, recent_ms: int) -> _Window:
    counting = [one for one in minutes if one.minute_ms >= since_ms]
    return _Window(
        sum((one.counts for one in counting), Counts()),
        sum((one.counts for one in counting if one.minute_ms >= recent_ms), Counts()),
        sum(one.counts.retried > 0 for one in counting),
    )


def _latest_settled(connection: Connection, ids: Sequence[str], sample: int) -> dict[str, list[_Settled]]:
    """Return the latest settlements of each, the latest first; without a sample the latest one.

    How long that took is not known then.
    """
    most = max(1, sample)
    found: dict[str, list[_Settled]] = {one: [] for one in ids}
    for one, at_ms, status, took_ms in _of_each(connection, ids, _latest, most):
        found[one].append((at_ms, status, took_ms))
    for one, plain in _latest_plain(connection, ids, sample):
        found[one].append(plain)
    return {one: sorted(settled, key=_moment, reverse=True)[:most] for one, settled in found.items()}


def _moment(settled: _Settled) -> int:
    return settled[0]


def _problems(connection: Connection, ids: Sequence[str]) -> dict[str, LastError]:
    """Return the latest delivery of each that is dead or to be tried again."""
    return {
        one: LastError(at_ms, code or "", error or "", hint or "", retry_at_ms)
        for one, at_ms, code, error, hint, retry_at_ms in _of_each(connection, ids, _unwell)
    }


def _last_good_minutes(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    """Return for each the first millisecond of the last minute in which something was delivered."""
    return dict(_of_each(connection, ids, _good_minute))


def _latest_plain(connection: Connection, ids: Sequence[str], sample: int) -> Iterator[tuple[str, _Settled]]:
    """Yield the latest deliveries that batches hold, of each integration at least so many if there are.

    Without a sample: the latest of each, and not how long it took, for which its batch would have to be read.
    """
    read: dict[int, dict[int, int]] = {}
    for one, wanted in _newest_batches(connection, ids, max(1, sample)):
        if sample or one.moved:
            read.setdefault(one.period, {})[one.number] = wanted
        else:
            yield one.integration_id, (one.settled_ms, Status.DELIVERED, None)
    moved: list[Row] = []
    for period, numbers in read.items():
        for batch in read_batches(connection, period, numbers):
            if batch.moved:
                moved += [entry.row for entry in entries_of(batch)]
            else:
                home, at_ms = batch.integration_id, batch.settled_ms
                wanted = numbers[batch.number]
                yield from ((home, (at_ms, Status.DELIVERED, took)) for took in latencies_of(batch)[:wanted])
    for row in without_moved(connection, moved):
        yield row[_HOME], (row[_SETTLED], row[_STATUS], row[_LATENCY])


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
    for one in _of_each(connection, ids, _latest_batches, most):
        found.setdefault(one.integration_id, []).append(one)
    return {home: sorted(some, key=attrgetter("settled_ms"), reverse=True) for home, some in found.items()}


def _latest_batches(integration_id: _Id) -> Select[Any]:
    batch = delivered_batches.c
    return (
        select(
            *(batch.integration_id, batch.settled_ms, batch.period, batch.number, batch.events, batch.moved)
        )
        .where(batch.integration_id == integration_id)
        .order_by(batch.settled_ms.desc())
    )


def _latest(integration_id: _Id) -> Select[Any]:
    return (
        select(_delivery.integration_id, _delivery.settled_ms, _delivery.status, _delivery.latency_ms)
        .where(_delivery.integration_id == integration_id)
        .order_by(_delivery.settled_ms.desc())
    )


def _unwell(integration_id: _Id) -> Select[Any]:
    return (
        select(
            *(_delivery.integration_id, _delivery.settled_ms, _delivery.error_code),
            *(_delivery.error, _delivery.hint, _delivery.retry_at_ms),
        )
        .where(_delivery.integration_id == integration_id, NOT_DELIVERED)
        .order_by(_delivery.settled_ms.desc())
    )


def _good_minute(integration_id: _Id) -> Select[Any]:
    return (
        select(_minute.integration_id, _minute.minute_ms)
        .where(_minute.integration_id == integration_id, _minute.delivered > 0)
        .order_by(_minute.minute_ms.desc())
    )


def _of_each(
    connection: Connection, ids: Sequence[str], question: Callable[[_Id], Select[Any]], limit: int = 1
) -> Iterator[Any]:
    """Ask the same of each integration, of many in one statement; up to `limit` rows of each."""
    for start in range(0, len(ids), _MOST_PARTS):
        some = ids[start : start + _MOST_PARTS]
        values = {f"id_{place}": one for place, one in enumerate(some)}
        yield from connection.execute(_union(question, limit, len(some)), values)


@lru_cache(maxsize=256)
def _union(question: Callable[[_Id], Select[Any]], limit: int, parts: int) -> CompoundSelect[Any]:
    """Put the question so many times; to build it again takes longer than to answer it."""
    asked = (question(bindparam(f"id_{place}", type_=Text())).limit(limit) for place in range(parts))
    return union_all(*(select(part.subquery()) for part in asked))


def _successes(settled: Sequence[_Settled]) -> Iterator[int]:
    return (at_ms for at_ms, status, _ in settled if status == Status.DELIVERED)


def _latency(settled: Sequence[_Settled]) -> Latency | None:
    ascending = sorted(took for _, status, took in settled if status == Status.DELIVERED and took is not None)
    if not ascending:
        return None
    return Latency(*(ascending[-(-len(ascending) * percent // 100) - 1] for percent in (50, 95, 99)))
