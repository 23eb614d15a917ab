"""Answers questions about deliveries with typed rows, the newest first, or figures over them.

Nothing here writes; on SQLite nothing here waits for the recorder either.
"""

from collections.abc import Collection
from dataclasses import fields
from typing import Any

from sqlalchemy import (
    CompoundSelect,
    Connection,
    Engine,
    Executable,
    Select,
    and_,
    case,
    func,
    select,
    text,
    tuple_,
    union_all,
)

from worker.ledger.engine import distinct_values, reading
from worker.ledger.results import DeliveryCounts, DeliveryRow, Place
from worker.ledger.rows import storable
from worker.ledger.schema import deliveries as deliveries_table
from worker.ledger.schema import integrations
from worker.model.deliveries import Assurance, Status
from worker.model.outcomes import event_id_of, keys_between

_delivery = deliveries_table.c

_COLUMNS = [_delivery[field.name] for field in fields(DeliveryRow) if field.name in _delivery]

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
    conditions = _delivery_conditions(status, since_ms, before)
    if failed:
        conditions.append(NOT_DELIVERED)
    if until_ms is not None:
        conditions.append(_delivery.settled_ms <= until_ms)
    if event_type is not None:
        conditions.append(_delivery.event_type == storable(event_type))
    if tenant_id is not None:
        conditions.append(_is_of_tenant(tenant_id))
    if integration_id is not None:
        # Of one event there are few rows: an index by integration would lead past all of its deliveries.
        column = _delivery.integration_id if event_id is None else _delivery.integration_id.concat("")
        conditions.append(column == storable(integration_id))
    if event_id is not None:
        conditions += _is_of_event(storable(event_id))
    with reading(engine) as connection:
        if integration_id is None and event_id is None:
            return _newest_of_all(connection, conditions, limit)
        return _delivery_rows(connection, _newest(conditions, limit))


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


def _is_of_tenant(tenant_id: str) -> Any:
    """Return the condition that a delivery's integration is, or was, of this tenant."""
    home = integrations.c.id == _delivery.integration_id
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
        rows += _delivery_rows(connection, _newest_of_each(some, conditions, limit))
    return sorted(rows, key=lambda row: row.place, reverse=True)[:limit]


def _newest_of_each(integration_ids: list[str], conditions: list[Any], limit: int) -> CompoundSelect[Any]:
    parts = [
        _newest([_delivery.integration_id == integration_id, *conditions], limit).subquery()
        for integration_id in integration_ids
    ]
    return union_all(*(select(part) for part in parts))


def _delivery_rows(connection: Connection, wanted: Executable) -> list[DeliveryRow]:
    rows = connection.execute(wanted).mappings()
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
