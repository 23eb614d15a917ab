"""What became of events: `…/{id}/deliveries`, `…/{id}/dead-letters`, and `/deliveries` of one event.

Comes in: filters and a cursor. Goes out: pages. The integration must be one of the caller's tenant, whatever
else is asked for: ids of another tenant's are as unknown as those that never were.
"""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from worker.api.callers import Admin, Reader, Shared
from worker.api.documentation import problems
from worker.api.filters import DeliveryFilters, EventFilters, LetterFilters, LetterStateFilter, epoch_ms
from worker.api.parameters import Milliseconds, cursor_after, decode_cursor
from worker.api.pools import FairRoute
from worker.api.problems import Problem
from worker.api.resources import Resources
from worker.ledger.attempts import attempts_of
from worker.ledger.dead_letters import discard_dead_letters, find_letter
from worker.ledger.deliveries import find_deliveries
from worker.ledger.letter_pages import LetterQuery, letters_page
from worker.ledger.results import DeadLetterRow, DeliveryRow, Place
from worker.model.errors import NotFoundError
from worker.model.replays import LetterState, Selection
from worker.views.deliveries import (
    DeliveryPage,
    EventPage,
    LetterPage,
    WholeLetter,
    delivery_document,
    event_delivery,
    letter_document,
    whole_letter,
)

router = APIRouter(route_class=FairRoute)

_ONE = "/integrations/siem/{integration_id}"
_USUAL = (401, 403, 404, 429, 503)
_UNKNOWN_LETTER = "there is no dead letter with this id"


@router.get(f"{_ONE}/deliveries", tags=["deliveries"], responses=problems(*_USUAL))
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


@router.get("/deliveries", tags=["deliveries"], responses=problems(401, 403, 429, 503))
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


@router.get(f"{_ONE}/dead-letters", tags=["dead letters"], responses=problems(*_USUAL))
def list_dead_letters(
    caller: Reader, resources: Shared, integration_id: str, asked: Annotated[LetterFilters, Query()]
) -> LetterPage:
    """List the dead letters of an integration, the latest first, less their payloads."""
    home = resources.integrations_of(caller.tenant_id).show(integration_id).id
    return letter_page(resources, asked, integration_id=home)


def letter_page(
    resources: Resources,
    asked: LetterFilters,
    *,
    integration_id: str | None = None,
    tenant_id: str | None = None,
) -> LetterPage:
    """Return a page of the letters of an integration, or of the invalid events of a tenant."""
    meant = LetterQuery(
        integration_id=integration_id,
        tenant_id=tenant_id,
        state=None if asked.state is LetterStateFilter.ANY else LetterState(asked.state),
        cause=asked.cause,
        code=asked.code,
        event_type=asked.event_type,
        event_id=asked.event_id,
        since_ms=epoch_ms(asked.since),
        until_ms=epoch_ms(asked.until),
    )
    before = None if asked.cursor is None else decode_cursor(asked.cursor, tuple[Milliseconds, str])
    found = letters_page(resources.engine, meant, asked.limit + 1, before)
    shown = found[: asked.limit]
    more = cursor_after((shown[-1].dead_ms, shown[-1].id)) if len(found) > asked.limit else None
    return LetterPage(items=[letter_document(one) for one in shown], next=more)


@router.get(f"{_ONE}/dead-letters/{{letter_id}}", tags=["dead letters"], responses=problems(*_USUAL))
def show_dead_letter(caller: Reader, resources: Shared, integration_id: str, letter_id: str) -> WholeLetter:
    """Show a dead letter with its event, as it was published, and every attempt to deliver it."""
    letter = _letter(resources, caller.tenant_id, integration_id, letter_id)
    home = (letter.integration_id or "", letter.content)
    tried = attempts_of(resources.engine, letter.event_id or "", [home])
    return whole_letter(letter, tried.get(home, ()))


@router.delete(
    f"{_ONE}/dead-letters/{{letter_id}}",
    tags=["dead letters"],
    status_code=204,
    responses=problems(*_USUAL, 409),
)
def discard_dead_letter(caller: Admin, resources: Shared, integration_id: str, letter_id: str) -> Response:
    """Discard a dead letter: it waits no longer, and no replay sends it. It can be shown until pruned."""
    letter = _letter(resources, caller.tenant_id, integration_id, letter_id)
    discard_dead_letters(
        resources.engine, Selection(ids=(letter.id,), integration_id=integration_id), letter.dead_ms
    )
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


def _delivery_place(cursor: str | None) -> Place | None:
    return None if cursor is None else Place(*decode_cursor(cursor, tuple[Milliseconds, str, str]))


def _delivery_page(found: list[DeliveryRow], limit: int) -> DeliveryPage:
    shown = found[:limit]
    more = cursor_after(tuple(shown[-1].place)) if len(found) > limit else None
    return DeliveryPage(items=[delivery_document(one) for one in shown], next=more)
