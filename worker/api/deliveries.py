"""What became of events: `…/{id}/deliveries`, and `/deliveries` of one event at every integration.

The integration must be one of the caller's tenant, whatever else is asked for: ids of another tenant's are as
unknown as those that never were.
"""

from typing import Annotated

from fastapi import APIRouter, Query

from worker.api.callers import Reader, Shared
from worker.api.openapi import problems
from worker.api.parameters import (
    DeliveryFilters,
    EventFilters,
    Milliseconds,
    cursor_after,
    decode_cursor,
    epoch_ms,
)
from worker.api.pools import FairRoute
from worker.ledger.attempts import attempts_of
from worker.ledger.deliveries import find_deliveries
from worker.ledger.results import DeliveryRow, Place
from worker.views.deliveries import DeliveryPage, EventPage, delivery_document, event_delivery

router = APIRouter(route_class=FairRoute, tags=["deliveries"])


@router.get("/integrations/siem/{integration_id}/deliveries", responses=problems(401, 403, 404, 429, 503))
def list_deliveries(
    caller: Reader, resources: Shared, integration_id: str, asked: Annotated[DeliveryFilters, Query()]
) -> DeliveryPage:
    """List what became of the events of an integration, the latest settled first."""
    found = find_deliveries(
        resources.engine,
        integration_id=resources.integrations_of(caller.tenant_id).show(integration_id).id,
        status=asked.status,
        event_type=asked.event_type,
        event_id=asked.event_id,
        since_ms=epoch_ms(asked.since),
        until_ms=epoch_ms(asked.until),
        limit=asked.limit + 1,
        before=_delivery_place(asked.cursor),
    )
    return _delivery_page(found, asked.limit)


@router.get("/deliveries", responses=problems(401, 403, 429, 503))
def find_event(caller: Reader, resources: Shared, asked: Annotated[EventFilters, Query()]) -> EventPage:
    """Find out what became of one event at each integration of the tenant, deleted ones included."""
    found = find_deliveries(
        resources.engine,
        tenant_id=caller.tenant_id,
        event_id=asked.event_id,
        limit=asked.limit + 1,
        before=_delivery_place(asked.cursor),
    )
    page = _delivery_page(found, asked.limit)
    shown = found[: asked.limit]
    tried = attempts_of(resources.engine, asked.event_id, [row.delivery for row in shown])
    items = [event_delivery(row, tried.get(row.delivery, ())) for row in shown]
    return EventPage(items=items, next=page.next)


def _delivery_place(cursor: str | None) -> Place | None:
    return None if cursor is None else Place(*decode_cursor(cursor, tuple[Milliseconds, str, str]))


def _delivery_page(found: list[DeliveryRow], limit: int) -> DeliveryPage:
    shown = found[:limit]
    more = cursor_after(tuple(shown[-1].place)) if len(found) > limit else None
    return DeliveryPage(items=[delivery_document(one) for one in shown], next=more)
