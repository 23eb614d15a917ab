"""Answers questions about deliveries with typed rows, the newest first, or figures over them.

Nothing here writes; on SQLite nothing here waits for the recorder either.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Engine,
    Select,
    and_,
    case,
    func,
    select,
    text,
    tuple_,
    union_all,
)

from worker.ledger.batch_reading import counts_of_plain, has_type, newest_rows, rows_of_events
from worker.ledger.batches import delivered_batches
from worker.ledger.engine import chunks, distinct_values, reading
from worker.ledger.results import DeliveryCounts, DeliveryRow, Place
from worker.ledger.rows import Row, storable
from worker.ledger.schema import deliveries as deliveries_table
from worker.ledger.schema import integrations
from worker.model.deliveries import Assurance, Status
from worker.model.outcomes import event_id_of, keys_between
from worker.model.time import LATEST_MS

_delivery = deliveries_table.c

_COLUMNS = [_delivery[field.name] for field in fields(DeliveryRow) if field.name in _delivery]

#: Their names, and where they stand among all columns.
_NAMES = [column.name for column in _COLUMNS]
_PLACES = [list(deliveries_table.c).index(column) for column in _COLUMNS]
_SETTLED = list(deliveries_table.c).index(_delivery.settled_ms)
_batch = delivered_batches.c

#: A partial index serves a question only if these very words stand in it.
NOT_DELIVERED = text("status <> 'delivered'")

#: Parts of one UNION: SQLite takes 500.
_MOST_PARTS = 100


def find_deliveries(  # noqa: PLR0913 - each is named, and narrows what is meant
    engine: Engine,
    *,
    integration_id: str | None = None,
    status: Status | None = None,
    failed: bool = False,
    event_id: str | None = None,
    event_type: str | None = None,
    tenant_id: str | None = None,
    since_ms: int | None = None,
    until_ms: int | None = None,
    limit: int = 50,
    before: Place | None = None,
) -> list[DeliveryRow]:
    """Return deliveries, the latest settled first; `since_ms` and `until_ms` are inclusive, `before` is not.

    `failed` means those that are dead or to be tried again. Only the event and the integration spare a look
    at those that another filter leaves out.
    """
    asked = _Asked(
        integration_id, status, failed, event_id, event_type, tenant_id, since_ms, until_ms, before
    )
    with reading(engine) as connection:
        rows = _with_own_row(connection, asked, limit)
        if not failed and status in {None, Status.DELIVERED}:
            rows += _plain(connection, asked, limit)
    return sorted(rows, key=attrgetter("place"), reverse=True)[:limit]


class _Asked(NamedTuple):
    """What `find_deliveries` was asked for."""

    integration_id: str | None
    status: Status | None
    failed: bool
    event_id: str | None
    event_type: str | None
    tenant_id: str | None
    since_ms: int | None
    until_ms: int | None
    before: Place | None


def _with_own_row(connection: Connection, asked: _Asked, limit: int) -> list[DeliveryRow]:
    conditions = _delivery_conditions(asked.status, asked.since_ms, asked.before)
    integration_id, event_id = asked.integration_id, asked.event_id
    if asked.failed:
        conditions.append(NOT_DELIVERED)
    if asked.until_ms is not None:
        conditions.append(_delivery.settled_ms <= asked.until_ms)
    if asked.event_type is not None:
        conditions.append(_delivery.event_type == storable(asked.event_type))
    if asked.tenant_id is not None:
        conditions.append(_is_of_tenant(_delivery.integration_id, asked.tenant_id))
    if integration_id is not None:
        # Of one event there are few rows: an index by integration would lead past all of its deliveries.
        column = _delivery.integration_id if event_id is None else _delivery.integration_id.concat("")
        conditions.append(column == storable(integration_id))
    if event_id is not None:
        conditions += _is_of_event(storable(event_id))
    if integration_id is None and event_id is None:
        return _newest_of_all(connection, conditions, limit)
    return _delivery_rows(connection.execute(_newest(conditions, limit)).mappings())


def _plain(connection: Connection, asked: _Asked, limit: int) -> list[DeliveryRow]:
    """Return those that batches hold: see `find_deliveries`."""

    def is_meant(row: Row) -> bool:
        is_behind = asked.before is not None and (row[_SETTLED], row[0], row[1]) >= asked.before
        return not is_behind and (asked.event_type is None or row[2] == storable(asked.event_type))

    until_ms = min(asked.until_ms or LATEST_MS, asked.before.settled_ms if asked.before else LATEST_MS)
    since_ms = asked.since_ms or 0
    if asked.event_id is not None:
        found = rows_of_events(connection, [storable(asked.event_id)], since_ms)
        homes = _homes(connection, asked, {row[1] for row in found})
        rows = [
            row
            for row in found
            if since_ms <= row[_SETTLED] <= until_ms and is_meant(row) and row[1] in homes
        ]
    else:
        conditions: list[ColumnElement[bool]] = [_batch.settled_ms.between(since_ms, until_ms)]
        if asked.integration_id is not None:
            conditions.append(_batch.integration_id == storable(asked.integration_id))
        if asked.tenant_id is not None:
            conditions.append(_is_of_tenant(_batch.integration_id, asked.tenant_id))
        if asked.event_type is not None:
            conditions.append(has_type(storable(asked.event_type)))
        rows = newest_rows(connection, conditions, is_meant, limit)
    return _delivery_rows(dict(zip(_NAMES, (row[place] for place in _PLACES), strict=True)) for row in rows)


def _homes(connection: Connection, asked: _Asked, found: set[str]) -> set[str]:
    """Return those of these integrations whose deliveries are meant."""
    if asked.integration_id is not None:
        found &= {storable(asked.integration_id)}
    if asked.tenant_id is None:
        return found
    wanted = select(integrations.c.id).where(integrations.c.tenant_id == storable(asked.tenant_id))
    homes = chunks(found)
    return {
        one
        for some in homes
        for one in connection.execute(wanted.where(integrations.c.id.in_(some))).scalars()
    }


def tallies(
    engine: Engine, *, since_ms: int | None = None, integration_ids: Collection[str] | None = None
) -> dict[str, DeliveryCounts]:
    """Count deliveries by integration, exactly: looks at each, so `since_ms` spares work.

    Has an entry for each of `integration_ids`, or else for each integration with deliveries.
    """
    again = func.sum(case((and_(_delivery.attempts > 1, _delivery.status != Status.RETRYING), 1), else_=0))
    wanted = select(_delivery.integration_id, _delivery.status, func.count(), again).group_by(
        _delivery.integration_id, _delivery.status
    )
    counts: dict[str, dict[str, int]] = {}
    if integration_ids is not None:
        wanted = wanted.where(_delivery.integration_id.in_(integration_ids))
        counts = {integration_id: {} for integration_id in integration_ids}
    if since_ms is not None:
        wanted = wanted.where(_delivery.settled_ms >= since_ms)
    with reading(engine) as connection:
        for integration_id, status, count, retried in connection.execute(wanted):
            of_one = counts.setdefault(integration_id, {})
            of_one[status] = count
            of_one["retried"] = of_one.get("retried", 0) + int(retried)
        plain = [_batch.settled_ms >= (since_ms or 0)]
        if integration_ids is not None:
            plain.append(_batch.integration_id.in_(integration_ids))
        for integration_id, count in counts_of_plain(connection, plain).items():
            of_one = counts.setdefault(integration_id, {})
            of_one[Status.DELIVERED] = of_one.get(Status.DELIVERED, 0) + count
    return {integration_id: DeliveryCounts(**of_one) for integration_id, of_one in counts.items()}


def _delivery_conditions(status: Status | None, since_ms: int | None, before: Place | None) -> list[Any]:
    conditions: list[Any] = []
    if status is not None:
        conditions.append(_delivery.status == status)
        if status is not Status.DELIVERED:
            conditions.append(NOT_DELIVERED)
    if since_ms is not None:
        conditions.append(_delivery.settled_ms >= since_ms)
    if before is not None:
        place = tuple_(_delivery.settled_ms, _delivery.event_id, _delivery.integration_id)
        conditions += [place < tuple(before), _delivery.settled_ms <= before.settled_ms]
    return conditions


def _is_of_tenant(integration_id: ColumnElement[str], tenant_id: str) -> Any:
    """Return the condition that an integration is, or was, of this tenant."""
    home = integrations.c.id == integration_id
    return select(1).where(home, integrations.c.tenant_id == storable(tenant_id)).exists()


def _is_of_event(event_id: str) -> list[Any]:
    """Return the conditions that a delivery is of an event of this id, whatever its content."""
    first, behind = keys_between(event_id)
    return [_delivery.event_id >= first, _delivery.event_id < behind]


def _newest(conditions: list[Any], limit: int) -> Select[Any]:
    return (
        select(*_COLUMNS)
        .where(*conditions)
        .order_by(_delivery.settled_ms.desc(), _delivery.event_id.desc(), _delivery.integration_id.desc())
        .limit(limit)
    )


def _newest_of_all(connection: Connection, conditions: list[Any], limit: int) -> list[DeliveryRow]:
    """Merge the newest of each integration, so that an index by integration serves here too."""
    ids = distinct_values(connection, _delivery.integration_id)
    rows: list[DeliveryRow] = []
    for start in range(0, len(ids), _MOST_PARTS):
        some = ids[start : start + _MOST_PARTS]
        rows += _delivery_rows(connection.execute(_newest_of_each(some, conditions, limit)).mappings())
    return sorted(rows, key=lambda row: row.place, reverse=True)[:limit]


def _newest_of_each(integration_ids: list[str], conditions: list[Any], limit: int) -> CompoundSelect[Any]:
    parts = [
        _newest([_delivery.integration_id == integration_id, *conditions], limit).subquery()
        for integration_id in integration_ids
    ]
    return union_all(*(select(part) for part in parts))


def _delivery_rows(rows: Iterable[Mapping[Any, Any]]) -> list[DeliveryRow]:
    """Type rows, each by the names of its columns."""
    return [
        DeliveryRow(
            **{
                **row,
                "event_id": event_id_of(row["event_id"]),
                "status": Status(row["status"]),
                "assurance": _assurance_or_none(row["assurance"]),
            },
            reused_id=event_id_of(row["event_id"]) != row["event_id"],
        )
        for row in rows
    ]


def _assurance_or_none(text: str | None) -> Assurance | None:
    return Assurance(text) if text else None
