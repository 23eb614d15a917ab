"""What became of events: `…/{id}/deliveries`, and `/deliveries` of one event at every integration.

The integration must be one of the caller's tenant, whatever else is asked for: ids of another tenant's are as
unknown as those that never were.
"""

from typing import Annotated

from fastapi import APIRouter, Query

from worker.api.callers import Reader, Shared
from worker.api.openapi import problems
from worker.api.parameters import DeliveryFilters, EventFilters, epoch_ms
from worker.api.pools import FairRoute
from worker.ledger.attempts import attempts_of
from worker.ledger.deliveries import find_deliveries
from worker.views.deliveries import DeliveryPage, EventPage, delivery_page, delivery_place, event_page

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
        before=delivery_place(asked.cursor),
    )
    return delivery_page(found, asked.limit)


@router.get("/deliveries", responses=problems(401, 403, 429, 503))
def find_event(caller: Reader, resources: Shared, asked: Annotated[EventFilters, Query()]) -> EventPage:
    """Find out what became of one event at each integration of the tenant, deleted ones included."""
    found = find_deliveries(
        resources.engine,
        tenant_id=caller.tenant_id,
        event_id=asked.event_id,
        limit=asked.limit + 1,
        before=delivery_place(asked.cursor),
    )
    tried = attempts_of(resources.engine, asked.event_id, [row.delivery for row in found[: asked.limit]])
    return event_page(found, asked.limit, tried)
