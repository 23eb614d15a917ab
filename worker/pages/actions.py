"""What can be done with an integration without a form: pause, switch, delete, change its signing secret."""

import base64
import secrets
from collections.abc import Callable

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import SecretStr

from worker.api.announcing import refresh_integration
from worker.api.callers import Shared
from worker.api.pools import FairRoute
from worker.api.problems import Problem
from worker.api.resources import Resources
from worker.broker.idempotency import IdempotencyLock
from worker.integrations import Webhook
from worker.integrations.integration import Integration
from worker.pages.confirming import asked_first
from worker.pages.idempotency import run_form_once
from worker.pages.rendering import render
from worker.pages.sessions import HOME, CsrfForm, Editor, User

router = APIRouter(include_in_schema=False, route_class=FairRoute)

_ONE = HOME + "/{integration_id}"
#: What a button changes.
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
        resources.integrations_of(user.tenant_id).delete(integration_id)
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

        def rotate(webhook: Webhook) -> tuple[SecretStr, ...]:
            return (SecretStr(text), *webhook.signing_secrets[:1])

        _sign(resources, user, integration_id, rotate)
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
    """Sign no more with the `old` secret, or with `none` at all."""
    kept = {"old": 1, "none": 0}.get(what)
    if kept is None:
        raise Problem(404, "there is no such page")
    if way := asked_first(form, f"{HOME}/{integration_id}/secret/{what}"):
        return way
    _sign(resources, user, integration_id, lambda webhook: webhook.signing_secrets[:kept])
    return RedirectResponse(f"{HOME}/{integration_id}", 303)


@router.post(_ONE + "/{switch}")
def switch(resources: Shared, user: Editor, form: CsrfForm, integration_id: str, switch: str) -> Response:
    """Pause, resume, enable or disable it."""
    changes = _SWITCHES.get(switch)
    if changes is None:
        raise Problem(404, "there is no such page")
    if switch == "disable" and (way := asked_first(form, f"{HOME}/{integration_id}/disable")):
        return way
    _change(resources, user, integration_id, lambda one: one.model_copy(update=changes))
    return RedirectResponse(f"{HOME}/{integration_id}", 303)


def _sign(
    resources: Resources,
    user: User,
    integration_id: str,
    choose: Callable[[Webhook], tuple[SecretStr, ...]],
) -> None:
    def sign(one: Integration) -> Integration:
        webhook = one.destination
        if not isinstance(webhook, Webhook):
            raise Problem(422, "only webhooks are signed", field="signing_secrets")
        signed = webhook.model_copy(update={"signing_secrets": choose(webhook)})
        return one.model_copy(update={"destination": signed})

    _change(resources, user, integration_id, sign)


def _change(
    resources: Resources, user: User, integration_id: str, change: Callable[[Integration], Integration]
) -> None:
    resources.integrations_of(user.tenant_id).change(integration_id, change)
    refresh_integration(resources, integration_id)
