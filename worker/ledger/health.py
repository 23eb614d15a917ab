"""What the ledger knows of the health of integrations: a few statements for any number of them.

Input: ids, and from when on minutes count. Output: a `DeliveryStats` for each.
Every question is answered from the near end of an index, so that neither a long history nor a large ledger
makes it slow.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Select, select

from worker.ledger.counts import Minute, read_minutes
from worker.ledger.deliveries import NOT_DELIVERED
from worker.ledger.engine import reading
from worker.ledger.latest_settlements import Id, Settled, latest_settlements, of_each
from worker.ledger.rows import storable
from worker.ledger.schema import deliveries, integrations, minute_counts
from worker.model.deliveries import Status
from worker.model.health import Counts, DeliveryStats, LastError, Latency, Subject

_delivery = deliveries.c
_minute = minute_counts.c


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
        settled = latest_settlements(connection, ids, sample)
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
            last_settled_ms=settled[one][0].at_ms if settled[one] else None,
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
        return {one: _latency(found) for one, found in latest_settlements(connection, ids, sample).items()}


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


def _problems(connection: Connection, ids: Sequence[str]) -> dict[str, LastError]:
    """Return the latest delivery of each that is dead or to be tried again."""
    return {
        one: LastError(at_ms, code or "", error or "", hint or "", retry_at_ms)
        for one, at_ms, code, error, hint, retry_at_ms in of_each(connection, ids, _unwell)
    }


def _last_good_minutes(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    """Return for each the first millisecond of the last minute in which something was delivered."""
    return dict(of_each(connection, ids, _good_minute))


def _unwell(integration_id: Id) -> Select[Any]:
    return (
        select(
            *(_delivery.integration_id, _delivery.settled_ms, _delivery.error_code),
            *(_delivery.error, _delivery.hint, _delivery.retry_at_ms),
        )
        .where(_delivery.integration_id == integration_id, NOT_DELIVERED)
        .order_by(_delivery.settled_ms.desc())
    )


def _good_minute(integration_id: Id) -> Select[Any]:
    return (
        select(_minute.integration_id, _minute.minute_ms)
        .where(_minute.integration_id == integration_id, _minute.delivered > 0)
        .order_by(_minute.minute_ms.desc())
    )


def _successes(settled: Sequence[Settled]) -> Iterator[int]:
    return (one.at_ms for one in settled if one.status == Status.DELIVERED)


def _latency(settled: Sequence[Settled]) -> Latency | None:
    delivered = (one.took_ms for one in settled if one.status == Status.DELIVERED)
    ascending = sorted(chain.from_iterable(delivered))
    if not ascending:
        return None
    return Latency(*(ascending[-(-len(ascending) * percent // 100) - 1] for percent in (50, 95, 99)))
