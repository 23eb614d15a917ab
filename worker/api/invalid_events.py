"""A tenant's events that were not valid: `/dead-letters`, less those that have an integration.

What was published past this API, into Redis itself, is judged by a router. It has no integration, but a
tenant where its bytes name one, whose keys see it here, publish it corrected, or discard it.
"""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from worker.api.callers import Admin, Reader, Shared
from worker.api.dead_letters import letter_page
from worker.api.documentation import problems
from worker.api.filters import LetterFilters
from worker.api.pools import FairRoute, work
from worker.api.problems import Problem
from worker.api.reading import limited_body
from worker.api.resources import Resources
from worker.api.validation import validate_lines
from worker.ledger.dead_letters import discard_dead_letters, find_letter
from worker.ledger.results import DeadLetterRow
from worker.model.errors import InvalidInput, NotFoundError
from worker.model.events import MAX_EVENT_BYTES
from worker.model.replays import LetterState, Selection
from worker.pipeline.correction import publish_corrected
from worker.views.deliveries import (
    LetterDocument,
    LetterPage,
    WholeLetter,
    letter_document,
    whole_letter,
)

router = APIRouter(prefix="/dead-letters", tags=["dead letters"], route_class=FairRoute)

_USUAL = (401, 403, 429, 503)
_UNKNOWN = "there is no dead letter with this id"
_BODY = {
    "requestBody": {
        "required": True,
        "description": "The corrected event, with the id and tenant that it had, where those could be read.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


@router.get("", responses=problems(*_USUAL))
def list_invalid_events(
    caller: Reader, resources: Shared, asked: Annotated[LetterFilters, Query()]
) -> LetterPage:
    """List the tenant's events that were not valid, the latest first, less their payloads.

    Those of its integrations are at `/integrations/siem/{integration_id}/dead-letters`.
    """
    return letter_page(resources, asked, tenant_id=caller.tenant_id)


@router.get("/{letter_id}", responses=problems(*_USUAL, 404))
def show_invalid_event(caller: Reader, resources: Shared, letter_id: str) -> WholeLetter:
    """Show an event that was not valid, as it was published, and why it was not."""
    return whole_letter(_letter(resources, caller.tenant_id, letter_id), ())


@router.post(
    "/{letter_id}/correction",
    status_code=202,
    openapi_extra=_BODY,
    responses=problems(*_USUAL, 400, 404, 408, 413),
)
async def correct_invalid_event(
    caller: Admin, resources: Shared, request: Request, letter_id: str
) -> LetterDocument:
    """Publish the event corrected: 202 says that Redis has it. Its dead letter then waits no longer."""
    raw = await limited_body(request, MAX_EVENT_BYTES)
    return await work(caller.tenant_id, _correct, resources, caller.tenant_id, letter_id, raw)


@router.delete("/{letter_id}", status_code=204, responses=problems(*_USUAL, 404, 409))
def discard_invalid_event(caller: Admin, resources: Shared, letter_id: str) -> Response:
    """Discard an event that was not valid: it waits no longer. It can be shown until pruned."""
    letter = _letter(resources, caller.tenant_id, letter_id)
    discard_dead_letters(
        resources.engine, Selection(ids=(letter.id,), tenant_id=caller.tenant_id), letter.dead_ms
    )
    now = find_letter(resources.engine, letter.id)
    if now.state is not LetterState.DISCARDED:
        raise Problem(409, f"it is {now.state} already", hint="discard one that waits")
    return Response(status_code=204)


def corrected_bytes(raw: bytes, tenant_id: str) -> bytes:
    """Return the event that a tenant gave, with its tenant in it. Raises InvalidInput."""
    judged = validate_lines([(1, raw)], tenant_id)
    for wrong in judged.complaints:
        raise InvalidInput(wrong.field, wrong.reason, wrong.hint)
    return judged.events[0]


def _correct(resources: Resources, tenant_id: str, letter_id: str, raw: bytes) -> LetterDocument:
    letter = _letter(resources, tenant_id, letter_id)
    event = corrected_bytes(raw, tenant_id)
    resources.ownership.require()
    publish_corrected(resources.engine, resources.client, letter, event)
    return letter_document(find_letter(resources.engine, letter.id))


def _letter(resources: Resources, tenant_id: str, letter_id: str) -> DeadLetterRow:
    """Return one of this tenant's. Raises NotFoundError."""
    try:
        letter = find_letter(resources.engine, letter_id)
    except NotFoundError:
        raise NotFoundError(_UNKNOWN) from None
    if letter.tenant_id != tenant_id:
        raise NotFoundError(_UNKNOWN)
    return letter
