"""Dead letters: found by filter, read one by one, discarded."""

from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from worker.api.callers import Shared
from worker.api.invalid_events import corrected_bytes
from worker.api.pools import FairRoute
from worker.correction import publish_corrected
from worker.ledger.answers import DeadLetterRow
from worker.ledger.attempts import attempts_of
from worker.ledger.letters import deaths_of, discard, find_letter, waiting_letters
from worker.model.deliveries import Cause
from worker.model.errors import InvalidInput, NotFoundError
from worker.model.events import EventType
from worker.model.payload_text import payload_text
from worker.model.replays import LetterState, Selection
from worker.pages.confirming import Question, ask, asked_first
from worker.pages.letter_filter import LetterFilter
from worker.pages.rendering import render
from worker.pages.visitors import HOME, Changing, Looking, Posted, Visitor

router = APIRouter(include_in_schema=False, route_class=FairRoute)

LETTERS = HOME + "/dead-letters"
PAGE = 50
CAUSES = {
    Cause.EXHAUSTED: "every attempt failed",
    Cause.REFUSED: "refused by the destination",
    Cause.INVALID: "not a governance event",
    Cause.DELETED: "its integration was deleted",
    Cause.WORKER_LOST: "workers died while sending it",
    Cause.UNREADABLE: "damaged in Redis",
}


@router.get(LETTERS)
def show_letters(
    request: Request,
    resources: Shared,
    visitor: Looking,
    before: Annotated[str, Query(pattern=r"^([0-9]{1,16},.{1,128})?$")] = "",
) -> Response:
    """Show the letters that wait, the latest first."""
    narrowed = LetterFilter.of(request.query_params)
    found = waiting_letters(resources.engine, narrowed.selection(visitor.tenant_id), PAGE + 1, _place(before))
    names = resources.integrations_of(visitor.tenant_id).names()
    return render(
        request,
        "letters.html",
        visitor,
        letters=found[:PAGE],
        before=f"{found[PAGE - 1].dead_ms},{found[PAGE - 1].id}" if len(found) > PAGE else None,
        narrowed=narrowed,
        names=names,
        deleted=resources.integrations_of(visitor.tenant_id).deleted(),
        causes=CAUSES,
        types=[kind.value for kind in EventType],
    )


@router.get(HOME + "/{integration_id}/dead-letters")
async def show_of_one(_visitor: Looking, integration_id: str) -> Response:
    """Go to the letters of one integration."""
    return RedirectResponse(f"{LETTERS}?{urlencode({'integration': integration_id})}", 303)


@router.get(LETTERS + "/{letter_id}")
def show_letter(request: Request, resources: Shared, visitor: Looking, letter_id: str) -> Response:
    """Show one letter: the event, why it died, and every time that it did."""
    return _shown(request, resources, visitor, _letter(resources, visitor, letter_id))


def _shown(
    request: Request,
    resources: Shared,
    visitor: Visitor,
    letter: DeadLetterRow,
    *,
    typed: str | None = None,
    wrong: str | None = None,
) -> Response:
    """Show a letter; `typed` is a correction that was refused, and `wrong` says why."""
    integration_id = letter.integration_id or ""
    tried = attempts_of(resources.engine, letter.event_id or "", [integration_id])
    return render(
        request,
        "letter.html",
        visitor,
        letter=letter,
        payload=payload_text(letter.payload),
        attempts=tried.get(integration_id, ()),
        deaths=deaths_of(resources.engine, letter.event_id or "", integration_id, letter.content),
        names=resources.integrations_of(visitor.tenant_id).names(),
        deleted=resources.integrations_of(visitor.tenant_id).deleted(),
        causes=CAUSES,
        waits=letter.state is LetterState.WAITING,
        typed=typed,
        wrong=wrong,
        status=422 if wrong else 200,
    )


@router.get(LETTERS + "/{letter_id}/discard")
def ask_discard(request: Request, resources: Shared, visitor: Changing, letter_id: str) -> Response:
    """Ask before a letter is discarded."""
    letter = _letter(resources, visitor, letter_id)
    place = f"{LETTERS}/{quote(letter.id)}"
    name = resources.integrations_of(visitor.tenant_id).names().get(letter.integration_id or "", "")
    sentences = (
        f"This one event, of the type {letter.event_type or 'not known'}, will not be delivered to {name}.",
        "No replay will send it any more. It can be read here until it is pruned by age.",
    )
    return ask(
        request,
        visitor,
        Question(f"Discard event {letter.event_id}", sentences, "Discard", f"{place}/discard", place),
    )


@router.post(LETTERS + "/{letter_id}/discard")
def discard_letter(resources: Shared, visitor: Changing, form: Posted, letter_id: str) -> Response:
    """Let a letter wait no longer; it stays readable until it is pruned."""
    letter = _letter(resources, visitor, letter_id)
    if way := asked_first(form, f"{LETTERS}/{quote(letter.id)}/discard"):
        return way
    discard(resources.engine, Selection(ids=(letter.id,), tenant_id=visitor.tenant_id), letter.dead_ms)
    return RedirectResponse(f"{LETTERS}/{letter.id}", 303)


@router.post(LETTERS + "/{letter_id}/correct")
def correct_letter(
    request: Request, resources: Shared, visitor: Changing, form: Posted, letter_id: str
) -> Response:
    """Publish an event that was not valid corrected; what is wrong still is said beside what was typed."""
    letter = _letter(resources, visitor, letter_id)
    typed = str(form.get("event", ""))
    try:
        event = corrected_bytes(typed.strip().encode(), visitor.tenant_id)
        resources.ownership.require()
        publish_corrected(resources.engine, resources.client, letter, event)
    except InvalidInput as error:
        return _shown(request, resources, visitor, letter, typed=typed, wrong=str(error))
    return RedirectResponse(f"{LETTERS}/{letter.id}", 303)


def _letter(resources: Shared, visitor: Visitor, letter_id: str) -> DeadLetterRow:
    """Return a letter of the visitor's tenant. Raises NotFoundError for any other."""
    unknown = NotFoundError("there is no dead letter with this id")
    try:
        letter = find_letter(resources.engine, letter_id)
    except NotFoundError:
        raise unknown from None
    is_ours = letter.tenant_id == visitor.tenant_id
    if not is_ours and not resources.integrations_of(visitor.tenant_id).knew(letter.integration_id or ""):
        raise unknown
    return letter


def _place(before: str) -> tuple[int, str] | None:
    at_ms, comma, letter_id = before.partition(",")
    return (int(at_ms), letter_id) if comma else None
