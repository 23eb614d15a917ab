"""Dead letters: found by filter, read one by one, discarded."""

from contextlib import suppress
from typing import Annotated, NamedTuple
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from worker.api.callers import Shared
from worker.api.dead_letters import corrected_bytes
from worker.api.pools import FairRoute
from worker.api.problems import Problem, problem_of
from worker.api.resources import Resources
from worker.ledger.dead_letters import find_dead_letters, find_letter
from worker.ledger.letter_changes import discard_dead_letters
from worker.ledger.letter_history import letter_history
from worker.ledger.results import DeadLetterRow
from worker.model.deliveries import Cause
from worker.model.errors import BrokerUnavailable, InvalidInput, NotFoundError
from worker.model.events import EventType
from worker.model.replays import DeadLetterFilter, LetterState
from worker.model.untrusted_json import payload_text
from worker.pages.actions import Confirmation, asked_first, confirmation_page
from worker.pages.dead_letter_filter import LetterFilter
from worker.pages.drafts import GONE, Typed, find_draft, forget_draft
from worker.pages.form_tokens import FormToken
from worker.pages.rendering import render
from worker.pages.sessions import HOME, CsrfForm, Editor, User, Viewer
from worker.pipeline.correction import publish_corrected

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
_HERE_AGAIN = "Your correction was restored. Nothing was published yet: review it, and publish."


class _Correction(NamedTuple):
    """A correction as its form shows it.

    `typed` stands there in place of the event, `notice` is shown above, and `wrong` beside it.
    """

    typed: str | None = None
    token: FormToken | None = None
    notice: str = ""
    wrong: str = ""
    status: int = 200


@router.get(LETTERS)
def show_letters(
    request: Request,
    resources: Shared,
    user: Viewer,
    before: Annotated[str, Query(pattern=r"^([0-9]{1,16},.{1,128})?$")] = "",
) -> Response:
    """Show the letters that wait, the latest first."""
    narrowed = LetterFilter.of(request.query_params)
    found = find_dead_letters(resources.engine, narrowed.selection(user.tenant_id), PAGE + 1, _place(before))
    names = resources.integrations_of(user.tenant_id).names()
    return render(
        request,
        "letters.html",
        user,
        letters=found[:PAGE],
        before=f"{found[PAGE - 1].dead_ms},{found[PAGE - 1].id}" if len(found) > PAGE else None,
        narrowed=narrowed,
        names=names,
        deleted=resources.integrations_of(user.tenant_id).deleted_ids(),
        causes=CAUSES,
        types=[kind.value for kind in EventType],
    )


@router.get(HOME + "/{integration_id}/dead-letters")
async def show_of_one(_user: Viewer, integration_id: str) -> Response:
    """Go to the letters of one integration."""
    return RedirectResponse(f"{LETTERS}?{urlencode({'integration': integration_id})}", 303)


@router.get(LETTERS + "/{letter_id}")
def show_letter(
    request: Request, resources: Shared, user: Viewer, letter_id: str, draft: str = ""
) -> Response:
    """Show one letter: the event, why it died, and every time that it did; and a correction that was kept."""
    letter = _letter(resources, user, letter_id)
    return _shown(request, resources, user, letter, _kept(resources, user, letter, draft))


def _shown(
    request: Request,
    resources: Shared,
    user: User,
    letter: DeadLetterRow,
    correction: _Correction,
) -> Response:
    """Show a letter, and the form for its correction."""
    history = letter_history(resources.engine, letter)
    return render(
        request,
        "letter.html",
        user,
        letter=letter,
        payload=payload_text(letter.payload),
        attempts=history.attempts,
        deaths=history.deaths,
        names=resources.integrations_of(user.tenant_id).names(),
        deleted=resources.integrations_of(user.tenant_id).deleted_ids(),
        causes=CAUSES,
        waits=letter.state is LetterState.WAITING,
        correction=correction,
        token=correction.token or user.form_token(_place_of(letter)),
        status=correction.status,
    )


@router.get(LETTERS + "/{letter_id}/discard")
def ask_discard(request: Request, resources: Shared, user: Editor, letter_id: str) -> Response:
    """Ask before a letter is discarded."""
    letter = _letter(resources, user, letter_id)
    place = f"{LETTERS}/{quote(letter.id)}"
    called = f"event {letter.event_id}" if letter.event_id else "an event without an id"
    lost = (*_lost_by_discard(resources, user, letter), "It can be read here until it is pruned by age.")
    return confirmation_page(
        request, user, Confirmation(f"Discard {called}", lost, "Discard", f"{place}/discard", place)
    )


def _lost_by_discard(resources: Resources, user: User, letter: DeadLetterRow) -> tuple[str, str]:
    one = f"This one event, of the type {letter.event_type or 'not known'},"
    home = letter.integration_id
    if home is None:
        return (
            f"{one} is not valid: it was never delivered.",
            "It cannot be corrected and published any more.",
        )
    name = resources.integrations_of(user.tenant_id).names().get(home, home)
    return f"{one} will not be delivered to {name}.", "No replay will send it any more."


@router.post(LETTERS + "/{letter_id}/discard")
def discard_letter(resources: Shared, user: Editor, form: CsrfForm, letter_id: str) -> Response:
    """Let a letter wait no longer; it stays readable until it is pruned."""
    letter = _letter(resources, user, letter_id)
    if way := asked_first(form, f"{LETTERS}/{quote(letter.id)}/discard"):
        return way
    meant = DeadLetterFilter(ids=(letter.id,), tenant_id=user.tenant_id)
    discard_dead_letters(resources.engine, meant, letter.dead_ms, by=user.actor)
    return RedirectResponse(f"{LETTERS}/{letter.id}", 303)


@router.post(LETTERS + "/{letter_id}/correct")
def correct_letter(
    request: Request, resources: Shared, user: Editor, form: Typed, letter_id: str
) -> Response:
    """Publish an event that was not valid corrected; what is wrong still is said beside what was typed."""
    letter = _letter(resources, user, letter_id)
    typed, token = str(form.get("event", "")), user.token_of(form)
    try:
        event = corrected_bytes(typed.strip().encode(), user.tenant_id)
        resources.ownership.require()
        publish_corrected(resources.engine, resources.client, letter, event, by=user.actor)
    except (InvalidInput, BrokerUnavailable) as error:
        resources.outages.note(error)
        problem = problem_of(error)
        refused = _Correction(typed, token, wrong=_words_of(problem), status=problem.status)
        return _shown(request, resources, user, letter, refused)
    with suppress(BrokerUnavailable):  # the event is published
        forget_draft(resources, token)
    return RedirectResponse(_place_of(letter), 303)


def _kept(resources: Resources, user: User, letter: DeadLetterRow, name: str) -> _Correction:
    """Return the correction that was kept under this name, if there is a name."""
    if not name:
        return _Correction()
    draft = find_draft(resources, user, name)
    if draft is None or draft.token.place != _place_of(letter):
        return _Correction(notice=GONE)
    token = draft.token if user.owns(draft.token) else None
    return _Correction(str(draft.form.get("event", "")), token, notice=_HERE_AGAIN)


def _words_of(problem: Problem) -> str:
    hint = str(problem.more.get("hint", ""))
    return str(problem) if hint in str(problem) else f"{problem}: {hint}"


def _place_of(letter: DeadLetterRow) -> str:
    return f"{LETTERS}/{quote(letter.id)}"


def _letter(resources: Shared, user: User, letter_id: str) -> DeadLetterRow:
    """Return a letter of the user's tenant. Raises NotFoundError for any other."""
    unknown = NotFoundError("there is no dead letter with this id")
    try:
        letter = find_letter(resources.engine, letter_id)
    except NotFoundError:
        raise unknown from None
    is_ours = letter.tenant_id == user.tenant_id
    if not is_ours and not resources.integrations_of(user.tenant_id).knows(letter.integration_id or ""):
        raise unknown
    return letter


def _place(before: str) -> tuple[int, str] | None:
    at_ms, comma, letter_id = before.partition(",")
    return (int(at_ms), letter_id) if comma else None
