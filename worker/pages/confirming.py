"""What cannot be undone is asked for first, on a page of its own that says what will be lost.

Such a button is a link to that page, so that nothing is done by it without a script, either. Its form is sent
to the same path with `sure`; one that comes without is led back to the question.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import FormData

from worker.api.callers import Shared
from worker.api.pools import FairRoute
from worker.api.problems import Problem
from worker.api.resources import Resources
from worker.background.health import HealthService
from worker.broker.volumes import volumes_of
from worker.ledger.dead_letters import count_dead_letters
from worker.ledger.tenancy import Configured
from worker.model.replays import Selection
from worker.pages.rendering import render
from worker.pages.sessions import HOME, Editor, User
from worker.pages.words import count_text_for_page

router = APIRouter(include_in_schema=False, route_class=FairRoute)

SURE = "sure"


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What is asked before something is done: the words of the page, of its button, and where it leads."""

    title: str
    sentences: tuple[str, ...]
    button: str
    action: str
    back: str


def asked_first(form: FormData, place: str) -> Response | None:
    """Return the way to the question at this path, unless it was asked."""
    return None if form.get(SURE) == "yes" else RedirectResponse(place, 303)


def confirmation_page(request: Request, user: User, question: Confirmation) -> Response:
    """Answer with the question."""
    return render(request, "confirm.html", user, question=question, sure=SURE)


@router.get(HOME + "/{integration_id}/delete")
def ask_delete(request: Request, resources: Shared, user: Editor, integration_id: str) -> Response:
    """Ask before an integration is deleted."""
    one = resources.integrations_of(user.tenant_id).show(integration_id)
    return confirmation_page(
        request, user, _question(one, "delete", "Delete", _lost_by_deletion(resources, user, one))
    )


@router.get(HOME + "/{integration_id}/disable")
def ask_disable(request: Request, resources: Shared, user: Editor, integration_id: str) -> Response:
    """Ask before an integration is disabled."""
    one = resources.integrations_of(user.tenant_id).show(integration_id)
    lost = _lost_while_off(resources, user, one)
    return confirmation_page(request, user, _question(one, "disable", "Disable", lost))


@router.get(HOME + "/{integration_id}/secret/{what}")
def ask_secret(request: Request, resources: Shared, user: Editor, integration_id: str, what: str) -> Response:
    """Ask before a signing secret is not used any more."""
    one = resources.integrations_of(user.tenant_id).show(integration_id)
    signed = len(one.document["destination"].get("signing_secrets", ()))
    questions = {
        "new": ("Make a new signing secret", _LOST_BY_NEW if signed > 1 else _GIVEN_NEW),
        "old": ("Drop the old signing secret", _LOST_BY_OLD),
        "none": ("Drop all signing secrets", _LOST_BY_NONE),
    }
    if what not in questions:
        raise Problem(404, "there is no such page")
    words, lost = questions[what]
    return confirmation_page(request, user, _question(one, f"secret/{what}", words, [lost]))


_GIVEN_NEW = "It is shown once. Requests are signed with it, and with the one before, from then on."
_LOST_BY_NEW = (
    "Two secrets sign its requests already. The older one is dropped for good: an endpoint that knows only "
    "that one will refuse every request."
)
_LOST_BY_OLD = (
    "It is dropped for good. An endpoint that does not know the new secret yet will refuse every request."
)
_LOST_BY_NONE = (
    "All its signing secrets are dropped for good. An endpoint that checks signatures will refuse every "
    "request."
)


def _question(one: Configured, path: str, words: str, lost: Iterable[str]) -> Confirmation:
    place = f"{HOME}/{one.id}"
    title = f"{words}{' of' if 'secret' in path else ''} {one.document['name']}"
    return Confirmation(title, tuple(lost), words, f"{place}/{path}", place)


def _lost_by_deletion(resources: Resources, user: User, one: Configured) -> Iterator[str]:
    if count := _waiting(resources, one):
        waiting = count_text_for_page(count, "event waits", "events wait")
        yield f"{waiting} for it. They will not be delivered: they become dead letters."
    else:
        yield "No event waits for it."
    selection = Selection(tenant_id=user.tenant_id, integration_id=one.id)
    if count := count_dead_letters(resources.engine, selection).total:
        letters = count_text_for_page(count, "dead letter of it waits", "dead letters of it wait")
        yield f"{letters}, too. They stay, and can be replayed into another integration only."
    yield "Its settings and its secrets are forgotten. This cannot be undone."


def _lost_while_off(resources: Resources, user: User, one: Configured) -> Iterator[str]:
    wanted, volumes = set(one.document["event_types"]), volumes_of(resources.client, user.tenant_id)
    daily = sum(volume.events for kind, volume in volumes.items() if kind in wanted)
    published = count_text_for_page(daily, "event was", "events were")
    yield "Events that are published while it is off never reach it, not even later."
    yield f"In the last 24 hours, {published} published of the types that it forwards."
    if count := _waiting(resources, one):
        waiting = count_text_for_page(count, "event waits", "events wait")
        yield f"{waiting} for it already: kept, and sent once it is switched on again."
    yield "To hold back events without losing any, pause it instead."


def _waiting(resources: Resources, one: Configured) -> int:
    """Return how many events wait for it, in its backlog or parked in the ledger."""
    health = HealthService(resources.engine, resources.client, resources.config).of(one.id)
    return health.backlog_events + health.parked_events
