"""Dead letters: `…/{id}/dead-letters`, and a tenant's invalid events: `/dead-letters`.

The integration must be one of the caller's tenant, whatever else is asked for: ids of another tenant's are as
unknown as those that never were. What was published past this API, into Redis itself, is judged by a router.
An invalid event has no integration, but a tenant where its bytes name one, whose keys see it here, publish it
corrected, or discard it.
"""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from worker.api.bodies import limited_body
from worker.api.callers import Admin, By, Reader, Shared
from worker.api.openapi import problems
from worker.api.parameters import LetterFilters, LetterStateFilter, epoch_ms
from worker.api.pools import FairRoute, work
from worker.api.problems import Problem
from worker.api.resources import Resources
from worker.api.validation import validate_lines
from worker.ledger.dead_letters import find_dead_letters, find_letter
from worker.ledger.letter_changes import discard_dead_letters
from worker.ledger.letter_history import letter_history
from worker.ledger.results import DeadLetterRow
from worker.model.audit import Actor
from worker.model.errors import InvalidInput, NotFoundError
from worker.model.events import MAX_EVENT_BYTES
from worker.model.replays import DeadLetterFilter, LetterState
from worker.pipeline.correction import publish_corrected
from worker.views.cursors import time_and_id
from worker.views.dead_letters import (
    LetterDetail,
    LetterDocument,
    LetterPage,
    letter_detail,
    letter_document,
    letter_page,
)

router = APIRouter(route_class=FairRoute)

_ONE = "/integrations/siem/{integration_id}"
_USUAL = (401, 403, 404, 429, 503)
_UNKNOWN_LETTER = "there is no dead letter with this id"


@router.get(f"{_ONE}/dead-letters", tags=["dead letters"], responses=problems(*_USUAL))
def list_dead_letters(
    caller: Reader, resources: Shared, integration_id: str, asked: Annotated[LetterFilters, Query()]
) -> LetterPage:
    """List the dead letters of an integration, the latest first, less their payloads."""
    home = resources.integrations_of(caller.tenant_id).show(integration_id).id
    return _page(resources, asked, integration_id=home)


def _page(
    resources: Resources,
    asked: LetterFilters,
    *,
    integration_id: str | None = None,
    tenant_id: str | None = None,
) -> LetterPage:
    """Return a page of the letters of an integration, or of the invalid events of a tenant."""
    meant = DeadLetterFilter(
        integration_id=integration_id,
        tenant_id=tenant_id,
        only_invalid=integration_id is None,
        state=None if asked.state is LetterStateFilter.ANY else LetterState(asked.state),
        causes=(asked.cause,) if asked.cause else (),
        codes=(asked.code,) if asked.code is not None else (),
        event_types=(asked.event_type,) if asked.event_type is not None else (),
        event_id=asked.event_id,
        since_ms=epoch_ms(asked.since),
        until_ms=epoch_ms(asked.until),
    )
    found = find_dead_letters(resources.engine, meant, asked.limit + 1, time_and_id(asked.cursor))
    return letter_page(found, asked.limit)


@router.get(f"{_ONE}/dead-letters/{{letter_id}}", tags=["dead letters"], responses=problems(*_USUAL))
def show_dead_letter(caller: Reader, resources: Shared, integration_id: str, letter_id: str) -> LetterDetail:
    """Show a dead letter with its event, as it was published, and every attempt to deliver it."""
    letter = _letter(resources, caller.tenant_id, integration_id, letter_id)
    return letter_detail(letter, letter_history(resources.engine, letter))


@router.delete(
    f"{_ONE}/dead-letters/{{letter_id}}",
    tags=["dead letters"],
    status_code=204,
    responses=problems(*_USUAL, 409),
)
def discard_dead_letter(
    caller: Admin, by: By, resources: Shared, integration_id: str, letter_id: str
) -> Response:
    """Discard a dead letter: it waits no longer, and no replay sends it. It can be shown until pruned."""
    letter = _letter(resources, caller.tenant_id, integration_id, letter_id)
    meant = DeadLetterFilter(ids=(letter.id,), integration_id=integration_id)
    discard_dead_letters(resources.engine, meant, letter.dead_ms, by=by)
    now = find_letter(resources.engine, letter.id)
    if now.state is not LetterState.DISCARDED:
        raise Problem(409, f"it is {now.state} already", hint="discard one that waits")
    return Response(status_code=204)


def _letter(resources: Resources, tenant_id: str, integration_id: str, letter_id: str) -> DeadLetterRow:
    """Return one of this integration. Raises NotFoundError."""
    home = resources.integrations_of(tenant_id).show(integration_id).id
    try:
        letter = find_letter(resources.engine, letter_id)
    except NotFoundError:
        raise NotFoundError(_UNKNOWN_LETTER) from None
    if letter.integration_id != home:
        raise NotFoundError(_UNKNOWN_LETTER)
    return letter


tenant_router = APIRouter(prefix="/dead-letters", tags=["dead letters"], route_class=FairRoute)

_TENANT_USUAL = (401, 403, 429, 503)
_BODY = {
    "requestBody": {
        "required": True,
        "description": "The corrected event, with the id and tenant that it had, where those could be read.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


@tenant_router.get("", responses=problems(*_TENANT_USUAL))
def list_invalid_events(
    caller: Reader, resources: Shared, asked: Annotated[LetterFilters, Query()]
) -> LetterPage:
    """List the tenant's events that were not valid, the latest first, less their payloads.

    Those of its integrations are at `/integrations/siem/{integration_id}/dead-letters`.
    """
    return _page(resources, asked, tenant_id=caller.tenant_id)


@tenant_router.get("/{letter_id}", responses=problems(*_TENANT_USUAL, 404))
def show_invalid_event(caller: Reader, resources: Shared, letter_id: str) -> LetterDetail:
    """Show an event that was not valid, as it was published, and why it was not."""
    letter = _invalid_event(resources, caller.tenant_id, letter_id)
    return letter_detail(letter, letter_history(resources.engine, letter))


@tenant_router.post(
    "/{letter_id}/correction",
    status_code=202,
    openapi_extra=_BODY,
    responses=problems(*_TENANT_USUAL, 400, 404, 408, 413),
)
async def correct_invalid_event(
    caller: Admin, by: By, resources: Shared, request: Request, letter_id: str
) -> LetterDocument:
    """Publish the event corrected: 202 says that Redis has it. Its dead letter then waits no longer."""
    raw = await limited_body(request, MAX_EVENT_BYTES)
    return await work(caller.tenant_id, _correct, resources, caller.tenant_id, by, letter_id, raw)


@tenant_router.delete("/{letter_id}", status_code=204, responses=problems(*_TENANT_USUAL, 404, 409))
def discard_invalid_event(caller: Admin, by: By, resources: Shared, letter_id: str) -> Response:
    """Discard an event that was not valid: it waits no longer. It can be shown until pruned."""
    letter = _invalid_event(resources, caller.tenant_id, letter_id)
    meant = DeadLetterFilter(ids=(letter.id,), tenant_id=caller.tenant_id)
    discard_dead_letters(resources.engine, meant, letter.dead_ms, by=by)
    now = find_letter(resources.engine, letter.id)
    if now.state is not LetterState.DISCARDED:
        raise Problem(409, f"it is {now.state} already", hint="discard one that waits")
    return Response(status_code=204)


def corrected_bytes(raw: bytes, tenant_id: str) -> bytes:
    """Return the event that a tenant gave, with its tenant in it. Raises InvalidInput."""
    judged = validate_lines([(1, raw)], tenant_id)
    for wrong in judged.errors:
        raise InvalidInput(wrong.field, wrong.reason, wrong.hint)
    return judged.events[0].event.raw


def _correct(resources: Resources, tenant_id: str, by: Actor, letter_id: str, raw: bytes) -> LetterDocument:
    letter = _invalid_event(resources, tenant_id, letter_id)
    event = corrected_bytes(raw, tenant_id)
    resources.ownership.require()
    publish_corrected(resources.engine, resources.client, letter, event, by=by)
    return letter_document(find_letter(resources.engine, letter.id))


def _invalid_event(resources: Resources, tenant_id: str, letter_id: str) -> DeadLetterRow:
    """Return one of this tenant's. Raises NotFoundError."""
    try:
        letter = find_letter(resources.engine, letter_id)
    except NotFoundError:
        raise NotFoundError(_UNKNOWN_LETTER) from None
    if letter.tenant_id != tenant_id:
        raise NotFoundError(_UNKNOWN_LETTER)
    return letter
