"""`/integrations/siem`: create, list, show, change, delete, pause and resume the integrations of a tenant."""

import secrets

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from worker.api import openapi
from worker.api.bodies import Body
from worker.api.callers import Admin, Anyone, By, Reader, Shared
from worker.api.idempotency import IdempotencyKey, run_idempotent
from worker.api.integration_changes import change, create_integration_of_tenant, refresh_integration
from worker.api.openapi import problems
from worker.api.parameters import USUAL, Cursor, IfMatch, Limit, seen_in
from worker.api.pools import FairRoute
from worker.api.resources import Resources
from worker.broker.idempotency import IdempotencyLock
from worker.integrations.integration import Integration
from worker.ledger.integrations import IntegrationStore
from worker.model.audit import Action
from worker.model.events import DEFAULT_EVENT_TYPES, EventType
from worker.vault.masking import MaskedIntegration
from worker.views.cursors import time_and_id
from worker.views.integrations import etag, integration_document, integration_page

router = APIRouter(prefix="/integrations/siem", tags=["integrations"], route_class=FairRoute)

#: What any route of one integration may answer.
_USUAL = (401, 403, 404, 429, 503)
#: And any that reads a body.
_OF_A_BODY = (400, 408, 413, 415)


@router.post(
    "",
    status_code=201,
    response_class=JSONResponse,
    openapi_extra=openapi.CREATION,
    responses=openapi.one(201) | problems(401, 403, 409, 429, 503, *_OF_A_BODY),
)
def create_integration(
    caller: Admin, by: By, resources: Shared, body: Body, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create an integration; events reach it from now on. Without a name, it is named by type and host."""

    def do(leave: IdempotencyLock | None) -> Response:
        integration_id = f"int_{leave.name if leave else secrets.token_hex(8)}"
        mine, again = resources.integrations_of(caller.tenant_id, by), bool(leave and not leave.is_first)
        create_integration_of_tenant(mine, caller.tenant_id, body.value, integration_id, again=again)
        refresh_integration(resources, integration_id)
        made = mine.show(integration_id)
        response = _answer(made, 201, resources.warning_of(made))
        response.headers["Location"] = f"/api/v1/integrations/siem/{integration_id}"
        return response

    return run_idempotent(
        resources, caller, idempotency_key, ("integrations", body.raw), do, has_secrets=True
    )


@router.get("", response_class=JSONResponse, responses=openapi.PAGE | problems(401, 403, 429, 503))
def list_integrations(
    caller: Reader, resources: Shared, limit: Limit = USUAL, cursor: Cursor = None
) -> Response:
    """List the integrations, the oldest first."""
    found = resources.integrations_of(caller.tenant_id).page(limit + 1, time_and_id(cursor))
    return JSONResponse(integration_page(found, limit))


@router.get("/{integration_id}", response_class=JSONResponse, responses=openapi.one(200) | problems(*_USUAL))
def show_integration(caller: Reader, resources: Shared, integration_id: str) -> Response:
    """Show an integration. Of a secret: since when it is set, and how it ends if it is long enough."""
    return _answer(resources.integrations_of(caller.tenant_id).show(integration_id))


@router.patch(
    "/{integration_id}",
    response_class=JSONResponse,
    openapi_extra=openapi.CHANGE,
    responses=openapi.one(200) | problems(*_USUAL, 412, *_OF_A_BODY),
)
def change_integration(
    caller: Admin, by: By, resources: Shared, integration_id: str, body: Body, if_match: IfMatch = None
) -> Response:
    """Change an integration by a JSON merge patch (RFC 7396): null brings back the default.

    A secret that is left out stays, and so does one whose mark is sent back as it was read, as does a value
    of a url's query that is sent back as `…`. Where they would go to another server (another scheme, host or
    port), or one that need not prove who it is as before, all secrets are given again, or the change is
    refused (422). The body may be called application/json as well.
    """
    integrations = resources.integrations_of(caller.tenant_id, by)
    change(integrations, integration_id, body.value, seen_in(if_match))
    refresh_integration(resources, integration_id)
    made = integrations.show(integration_id)
    return _answer(made, 200, resources.warning_of(made))


@router.delete("/{integration_id}", status_code=204, responses=problems(*_USUAL, 412))
def delete_integration(
    caller: Admin, by: By, resources: Shared, integration_id: str, if_match: IfMatch = None
) -> Response:
    """Delete an integration and forget its secrets. Its undelivered events become dead letters."""
    resources.integrations_of(caller.tenant_id, by).delete(integration_id, seen_in(if_match))
    refresh_integration(resources, integration_id)
    return Response(status_code=204)


@router.post(
    "/{integration_id}/pause",
    response_class=JSONResponse,
    responses=openapi.one(200) | problems(*_USUAL, 412),
)
def pause_integration(
    caller: Admin, by: By, resources: Shared, integration_id: str, if_match: IfMatch = None
) -> Response:
    """Keep its events waiting: they are collected, and nothing more is sent."""
    mine = resources.integrations_of(caller.tenant_id, by)
    return _pause(resources, mine, integration_id, if_match, paused=True)


@router.post(
    "/{integration_id}/resume",
    response_class=JSONResponse,
    responses=openapi.one(200) | problems(*_USUAL, 412),
)
def resume_integration(
    caller: Admin, by: By, resources: Shared, integration_id: str, if_match: IfMatch = None
) -> Response:
    """Send what has waited; also tries a SIEM at once whose circuit breaker is open."""
    mine = resources.integrations_of(caller.tenant_id, by)
    return _pause(resources, mine, integration_id, if_match, paused=False)


def _pause(
    resources: Resources, mine: IntegrationStore, integration_id: str, if_match: str | None, *, paused: bool
) -> Response:
    def switch(one: Integration) -> Integration:
        return one.model_copy(update={"paused": paused})

    action = Action.INTEGRATION_PAUSED if paused else Action.INTEGRATION_RESUMED
    mine.change(integration_id, switch, seen_in(if_match), action=action)
    refresh_integration(resources, integration_id)
    return _answer(mine.show(integration_id))


def _answer(one: MaskedIntegration, status: int = 200, warning: str | None = None) -> Response:
    headers = {"ETag": etag(one)} | ({openapi.WARNING: warning} if warning else {})
    return JSONResponse(integration_document(one), status, headers)


event_types_router = APIRouter(tags=["events"])

DESCRIPTIONS = {
    EventType.POLICY_DENY: "An action was blocked by a deny policy",
    EventType.POLICY_ALERT: "An action triggered an alert policy",
    EventType.POLICY_HOLD: "An action was held for human approval",
    EventType.POLICY_ALLOW: "An action was permitted (opt-in, high volume)",
    EventType.DRIFT_WARNING: "Drift score exceeded the warning threshold",
    EventType.DRIFT_CRITICAL: "Drift score exceeded the critical threshold",
    EventType.AGENT_CONNECTED: "An agent connected to the control plane",
    EventType.AGENT_DISCONNECTED: "An agent lost connection to the control plane",
    EventType.HOLD_APPROVED: "A held action was approved by a human",
    EventType.HOLD_DENIED: "A held action was denied by a human",
    EventType.HOLD_EXPIRED: "A held action expired without a decision",
}


class KnownEventType(BaseModel):
    """A type of event; `default` is whether an integration gets it that names no types."""

    type: EventType
    description: str
    default: bool


class EventTypes(BaseModel):
    """All types there are."""

    items: list[KnownEventType]


@event_types_router.get("/event-types", responses=problems(401, 403, 429, 503))
async def list_event_types(_caller: Anyone) -> EventTypes:
    """List the types of events."""
    return EventTypes(
        items=[
            KnownEventType(type=one, description=DESCRIPTIONS[one], default=one in DEFAULT_EVENT_TYPES)
            for one in EventType
        ]
    )
