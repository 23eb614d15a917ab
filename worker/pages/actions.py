"""Actions on an integration, and the question before those that cannot be undone.

What cannot be undone is asked for first, on a page of its own that says what will be lost.

Such a button is a link to that page, so that nothing is done by it without a script, either. Its form is sent
to the same path with `sure`; one that comes without is led back to the question.
"""

import base64
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import SecretStr
from starlette.datastructures import FormData

from worker.api.callers import Shared
from worker.api.integration_changes import refresh_integration
from worker.api.pools import FairRoute
from worker.api.problems import Problem
from worker.api.resources import Resources
from worker.background.health import HealthService
from worker.broker.idempotency import IdempotencyLock
from worker.broker.volumes import volumes_of
from worker.destinations.registry import named
from worker.integrations.integration import Integration
from worker.ledger.dead_letters import count_dead_letters
from worker.model.audit import Action
from worker.model.replays import DeadLetterFilter
from worker.pages.idempotency import run_form_once
from worker.pages.rendering import count_text_for_page, render
from worker.pages.sessions import HOME, CsrfForm, Editor, User
from worker.vault.masking import MaskedIntegration

router = APIRouter(include_in_schema=False, route_class=FairRoute)

#: The newest first.
_SigningSecrets = tuple[SecretStr, ...]

_ONE = HOME + "/{integration_id}"
#: What a button changes.
_ACTIONS = {
    "pause": Action.INTEGRATION_PAUSED,
    "resume": Action.INTEGRATION_RESUMED,
    "enable": Action.INTEGRATION_ENABLED,
    "disable": Action.INTEGRATION_DISABLED,
}
_SWITCHES = {
    "pause": {"paused": True},
    "resume": {"paused": False},
    "enable": {"enabled": True},
    "disable": {"enabled": False},
}


@router.post(_ONE + "/delete")
def delete(resources: Shared, user: Editor, form: CsrfForm, integration_id: str) -> Response:
    """Delete it; its undelivered events become dead letters."""

    def do(_leave: IdempotencyLock | None) -> Response:
        resources.integrations_of(user.tenant_id, user.actor).delete(integration_id)
        refresh_integration(resources, integration_id)
        return RedirectResponse(HOME, 303)

    if way := asked_first(form, f"{HOME}/{integration_id}/delete"):
        resources.integrations_of(user.tenant_id).show(integration_id)
        return way
    return run_form_once(resources, user.token_of(form), form, do)


@router.post(_ONE + "/secret/new")
def new_secret(
    request: Request, resources: Shared, user: Editor, form: CsrfForm, integration_id: str
) -> Response:
    """Sign with a new secret and with the one before, and show the new one: this once."""
    token = user.token_of(form)
    place = f"new secret of {integration_id}, by the form {token.name if token else ''}"

    def do(_leave: IdempotencyLock | None) -> Response:
        text = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()

        _sign(resources, user, integration_id, lambda signing: (SecretStr(text), *signing[:1]))
        # What is kept for a form that comes twice is sealed, as the secret itself is.
        return Response(resources.vault.seal(text, place))

    before = resources.integrations_of(user.tenant_id).show(integration_id)
    drops_one = len(before.document["destination"].get("signing_secrets", ())) > 1
    if drops_one and (way := asked_first(form, f"{HOME}/{integration_id}/secret/new")):
        return way
    made = run_form_once(resources, token, form, do)
    one = resources.integrations_of(user.tenant_id).show(integration_id)
    text = resources.vault.open_bound(bytes(made.body).decode(), place)
    return render(request, "secret.html", user, one=one, text=text)


@router.post(_ONE + "/secret/{what}")
def forget_secret(
    resources: Shared, user: Editor, form: CsrfForm, integration_id: str, what: str
) -> Response:
    """Stop signing with the `old` secret, or with `none` at all."""
    kept = {"old": 1, "none": 0}.get(what)
    if kept is None:
        raise Problem(404, "no such page")
    if way := asked_first(form, f"{HOME}/{integration_id}/secret/{what}"):
        return way
    _sign(resources, user, integration_id, lambda signing: signing[:kept])
    return RedirectResponse(f"{HOME}/{integration_id}", 303)


@router.post(_ONE + "/{switch}")
def switch(resources: Shared, user: Editor, form: CsrfForm, integration_id: str, switch: str) -> Response:
    """Pause, resume, enable or disable it."""
    changes = _SWITCHES.get(switch)
    if changes is None:
        raise Problem(404, "no such page")
    if switch == "disable" and (way := asked_first(form, f"{HOME}/{integration_id}/disable")):
        return way
    action = _ACTIONS[switch]
    _change(resources, user, integration_id, lambda one: one.model_copy(update=changes), action)
    return RedirectResponse(f"{HOME}/{integration_id}", 303)


def _sign(
    resources: Resources,
    user: User,
    integration_id: str,
    choose: Callable[[_SigningSecrets], _SigningSecrets],
) -> None:
    def sign(one: Integration) -> Integration:
        destination: Any = one.destination
        if "sign" not in named(one.type).actions:
            raise Problem(422, "requests to this destination are not signed", field="signing_secrets")
        signed = destination.model_copy(update={"signing_secrets": choose(destination.signing_secrets)})
        return one.model_copy(update={"destination": signed})

    _change(resources, user, integration_id, sign)


def _change(
    resources: Resources,
    user: User,
    integration_id: str,
    change: Callable[[Integration], Integration],
    action: Action | None = None,
) -> None:
    resources.integrations_of(user.tenant_id, user.actor).change(integration_id, change, action=action)
    refresh_integration(resources, integration_id)


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
        "old": ("Remove the old signing secret", _LOST_BY_OLD),
        "none": ("Remove all signing secrets", _LOST_BY_NONE),
    }
    if what not in questions:
        raise Problem(404, "no such page")
    words, lost = questions[what]
    return confirmation_page(request, user, _question(one, f"secret/{what}", words, [lost]))


_GIVEN_NEW = "It is shown once. Requests are signed with it, and with the one before, from then on."
_LOST_BY_NEW = (
    "Two secrets sign its requests already. The older one is removed permanently: an endpoint that knows "
    "only that one will refuse every request."
)
_LOST_BY_OLD = (
    "It is removed permanently. An endpoint that does not know the new secret yet will refuse every request."
)
_LOST_BY_NONE = (
    "All its signing secrets are removed permanently. An endpoint that checks signatures will refuse every "
    "request."
)


def _question(one: MaskedIntegration, path: str, words: str, lost: Iterable[str]) -> Confirmation:
    place = f"{HOME}/{one.id}"
    title = f"{words}{' of' if 'secret' in path else ''} {one.document['name']}"
    return Confirmation(title, tuple(lost), words, f"{place}/{path}", place)


def _lost_by_deletion(resources: Resources, user: User, one: MaskedIntegration) -> Iterator[str]:
    if count := _waiting(resources, one):
        waiting = count_text_for_page(count, "event waits", "events wait")
        yield f"{waiting} for it. They will not be delivered: they become dead letters."
    else:
        yield "No event waits for it."
    selection = DeadLetterFilter(tenant_id=user.tenant_id, integration_id=one.id)
    if count := count_dead_letters(resources.engine, selection).total:
        letters = count_text_for_page(count, "dead letter of it waits", "dead letters of it wait")
        yield f"{letters}, too. They stay, and can be replayed into another integration only."
    yield "Its settings and its secrets are forgotten. This cannot be undone."


def _lost_while_off(resources: Resources, user: User, one: MaskedIntegration) -> Iterator[str]:
    wanted, volumes = set(one.document["event_types"]), volumes_of(resources.client, user.tenant_id)
    daily = sum(volume.events for kind, volume in volumes.items() if kind in wanted)
    published = count_text_for_page(daily, "event was", "events were")
    yield "Events that are published while it is off never reach it, not even later."
    yield f"In the last 24 hours, {published} published of the types that it forwards."
    if count := _waiting(resources, one):
        waiting = count_text_for_page(count, "event waits", "events wait")
        yield f"{waiting} for it already: kept, and sent once it is enabled again."
    yield "To hold back events without losing any, pause it instead."


def _waiting(resources: Resources, one: MaskedIntegration) -> int:
    """Return how many events wait for it, in its backlog or parked in the ledger."""
    health = HealthService(resources.engine, resources.client, resources.config).of(one.id)
    return health.backlog_events + health.parked_events
