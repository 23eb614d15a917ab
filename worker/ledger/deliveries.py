"""Answers questions about deliveries and dead letters with typed rows.

Comes in: filters from the doors. Goes out: rows, the newest first, or figures over them. Nothing here
writes; on SQLite nothing here waits for the recorder either.
"""

from collections.abc import Collection, Mapping
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

from worker.ledger.engine import reading
from worker.ledger.results import DeadLetterRow, DeliveryCounts, DeliveryRow, Percentiles, Place
from worker.ledger.rows import storable
from worker.ledger.schema import dead_letters as dead_letters_table
from worker.ledger.schema import deliveries as deliveries_table
from worker.ledger.schema import integrations
from worker.model.deliveries import Assurance, Cause, Status
from worker.model.outcomes import event_id_of, keys_between
from worker.model.replays import LetterState

__all__ = [
    "DeadLetterRow",
    "DeliveryCounts",
    "DeliveryRow",
    "Percentiles",
    "Place",
    "dead_letter_row",
    "delivery_percentiles",
    "find_dead_letters",
    "find_deliveries",
    "last_problem",
    "tallies",
]

_delivery = deliveries_table.c
_letter = dead_letters_table.c

_COLUMNS = [_delivery[field.name] for field in fields(DeliveryRow) if field.name in _delivery]

#: A partial index serves a question only if these very words stand in it.
_UNWELL = text("status <> 'delivered'")
WAITS = text("state = 'waiting'")

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
        conditions.append(_UNWELL)
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


def find_dead_letters(
    engine: Engine,
    *,
    integration_id: str | None = None,
    cause: Cause | None = None,
    state: LetterState | None = None,
    since_ms: int | None = None,
    limit: int = 50,
) -> list[DeadLetterRow]:
    """Return dead letters, the latest first; `since_ms` is inclusive."""
    wanted = select(*(_letter[field.name] for field in fields(DeadLetterRow)))
    if integration_id is not None:
        wanted = wanted.where(_letter.integration_id == storable(integration_id))
    if cause is not None:
        wanted = wanted.where(_letter.cause == cause)
    if state is not None:
        wanted = wanted.where(WAITS if state is LetterState.WAITING else _letter.state == state)
    if since_ms is not None:
        wanted = wanted.where(_letter.dead_ms >= since_ms)
    wanted = wanted.order_by(_letter.dead_ms.desc(), _letter.id.desc()).limit(limit)
    with reading(engine) as connection:
        rows = connection.execute(wanted).mappings()
        return [dead_letter_row(row) for row in rows]


def dead_letter_row(row: Mapping[Any, Any]) -> DeadLetterRow:
    """Read a row of all the columns that a DeadLetterRow has."""
    return DeadLetterRow(**{**row, "cause": Cause(row["cause"]), "state": LetterState(row["state"])})


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


def delivery_percentiles(engine: Engine, integration_id: str, *, limit: int = 10_000) -> Percentiles | None:
    """Return percentiles over the latest delivered events of an integration; None when there are none."""
    wanted = (
        select(_delivery.latency_ms)
        .where(_delivery.integration_id == storable(integration_id), _delivery.status == Status.DELIVERED)
        .order_by(_delivery.settled_ms.desc())
        .limit(limit)
    )
    with reading(engine) as connection:
        ascending = sorted(connection.execute(wanted).scalars())
    if not ascending:
        return None
    return Percentiles(*(ascending[-(-len(ascending) * percent // 100) - 1] for percent in (50, 95, 99)))


def last_problem(engine: Engine, integration_id: str) -> DeliveryRow | None:
    """Return the latest settled delivery of an integration that is dead or to be tried again."""
    conditions = [_delivery.integration_id == storable(integration_id), _UNWELL]
    with reading(engine) as connection:
        return next(iter(_delivery_rows(connection, _newest(conditions, 1))), None)


def _delivery_conditions(status: Status | None, since_ms: int | None, before: Place | None) -> list[Any]:
    conditions: list[Any] = []
    if status is not None:
        conditions.append(_delivery.status == status)
        if status is not Status.DELIVERED:
            conditions.append(_UNWELL)
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
    ids = _integrations_with_deliveries(connection)
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


def _integrations_with_deliveries(connection: Connection) -> list[str]:
    """Return their ids, hopping from one to the next in the index instead of reading all of it."""
    hops = select(func.min(_delivery.integration_id).label("id")).cte("hops", recursive=True)
    following = select(func.min(_delivery.integration_id)).where(_delivery.integration_id > hops.c.id)
    hops = hops.union_all(select(following.scalar_subquery()).where(hops.c.id.is_not(None)))
    return list(connection.execute(select(hops.c.id).where(hops.c.id.is_not(None))).scalars())


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
