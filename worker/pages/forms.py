"""Setting up an integration, and changing it: a form for each type, judged on the server."""

import secrets
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from msgspec import structs
from starlette.datastructures import FormData

from worker.api.callers import Shared
from worker.api.integration_changes import (
    change,
    changed,
    create_integration_of_tenant,
    created,
    refresh_integration,
)
from worker.api.pools import FairRoute
from worker.api.problems import Problem
from worker.api.resources import Resources
from worker.broker.idempotency import IdempotencyLock
from worker.model.errors import InvalidIntegration, RevisionConflict
from worker.model.untrusted_text import number_in
from worker.pages.drafts import GONE, SECRET_FIELDS, Typed, find_draft, forget_draft, keep_secrets
from worker.pages.form_page import FormPage, form_with_errors, show_form
from worker.pages.form_values import (
    blank,
    document_in,
    filled_from,
    judged_form,
    known,
    merged,
    patch_in,
    refilled,
    text_of,
    texts_of,
)
from worker.pages.idempotency import FormAlreadySent, run_form_once
from worker.pages.rendering import render
from worker.pages.sessions import HOME, Editor, User
from worker.views.integrations import etag, integration_document

router = APIRouter(include_in_schema=False, route_class=FairRoute)

_CHANGED = (
    "This integration was changed since you opened the form. Your input is kept, and the saved values are "
    "shown beside it. Nothing was saved: review both, and save again."
)
_HERE_AGAIN = "Your input was restored. Nothing was saved yet: review it, and save."
_OTHER_KEY = " Secrets were typed with another API key: type them again."
_MADE = "This form has created an integration already; press Create once more only if you want another one."
_SAVED = (
    "This form was saved before with other values, which are shown beside your input. Nothing more was "
    "saved: review both, and save again."
)


@router.get(HOME + "/new")
def choose_type(request: Request, user: Editor) -> Response:
    """Ask for the type."""
    return render(request, "choose.html", user)


@router.get(HOME + "/new/{kind}")
def new(request: Request, resources: Shared, user: Editor, kind: str, draft: str = "") -> Response:
    """Show the empty form of a type, or what was typed into it before."""
    page = FormPage(blank(known(kind)))
    return show_form(request, resources, user, _reopened(resources, user, page, draft))


@router.post(HOME + "/new/{kind}")
def create_one(request: Request, resources: Shared, user: Editor, form: Typed, kind: str) -> Response:
    """Create it, or show what is wrong; a form that comes twice makes one."""
    token = user.token_of(form)
    page = FormPage(refilled(form, known(kind)), token=token)

    def do(leave: IdempotencyLock | None) -> Response:
        integration_id = f"int_{leave.name if leave else secrets.token_hex(8)}"
        given = document_in(form, kind)
        if leave and not leave.is_first and resources.integrations_of(user.tenant_id).knows(integration_id):
            raise FormAlreadySent(409, "an attempt that was cut short has created it")
        judged_form(form, kind, lambda: created(_named(given), integration_id, user.tenant_id))
        mine = resources.integrations_of(user.tenant_id, user.actor)
        create_integration_of_tenant(mine, user.tenant_id, given, integration_id, again=False)
        refresh_integration(resources, integration_id)
        return RedirectResponse(f"{HOME}/{integration_id}", 303)

    try:
        answer = run_form_once(resources, token, form, do)
    except FormAlreadySent:
        return show_form(request, resources, user, _renewed(resources, user, form, page))
    except (InvalidIntegration, Problem) as error:
        return show_form(request, resources, user, form_with_errors(resources, user, form, page, error))
    forget_draft(resources, token)
    return answer


@router.get(HOME + "/{integration_id}/edit")
def edit(request: Request, resources: Shared, user: Editor, integration_id: str, draft: str = "") -> Response:
    """Show the form of an integration, or what was typed into it before."""
    configured = resources.integrations_of(user.tenant_id).show(integration_id)
    page = FormPage(filled_from(integration_document(configured)), configured)
    return show_form(request, resources, user, _reopened(resources, user, page, draft))


@router.post(HOME + "/{integration_id}/edit")
def change_one(
    request: Request, resources: Shared, user: Editor, form: Typed, integration_id: str
) -> Response:
    """Change it, or show what is wrong; the form says which revision was seen."""
    integrations = resources.integrations_of(user.tenant_id, user.actor)
    configured = integrations.show(integration_id)
    shown, token = integration_document(configured), user.token_of(form)
    kind, revision = configured.type, _revision(form)
    page = FormPage(refilled(form, kind, shown), configured, revision, token)

    is_first: list[bool] = []

    def do(_leave: IdempotencyLock | None) -> Response:
        if configured.revision != revision:
            raise RevisionConflict
        patch, old = patch_in(form, kind, shown), integrations.get(integration_id)
        judged_form(form, kind, lambda: changed(old, patch, shown))
        change(integrations, integration_id, patch, [revision])
        is_first.append(True)
        refresh_integration(resources, integration_id)
        headers = {"ETag": etag(integrations.show(integration_id))}
        return RedirectResponse(f"{HOME}/{integration_id}", 303, headers)

    try:
        answer = run_form_once(resources, token, form, do)
        if not is_first and answer.headers.get("etag") != etag(integrations.show(integration_id)):
            raise RevisionConflict  # noqa: TRY301 - what was saved then does not stand any more
    except (RevisionConflict, FormAlreadySent) as error:
        notice = _CHANGED if isinstance(error, RevisionConflict) else _SAVED
        return show_form(request, resources, user, _overtaken(resources, user, form, page, notice))
    except (InvalidIntegration, Problem) as error:
        return show_form(request, resources, user, form_with_errors(resources, user, form, page, error))
    forget_draft(resources, token)
    return answer


def _reopened(resources: Resources, user: User, page: FormPage, name: str) -> FormPage:
    """Return the form with what was typed into it before under this name, if there is a name."""
    if not name:
        return page
    draft = find_draft(resources, user, name)
    if draft is None or draft.token.place != page.place:
        return replace(page, notice=GONE)
    form, is_own = draft.form, user.owns(draft.token)
    fresh = structs.replace(user.form_token(page.place), seen=draft.token.seen)
    return replace(
        page,
        filled=refilled(form, page.filled.kind, integration_document(page.one) if page.one else None),
        revision=_revision(form) if page.one else None,
        token=draft.token if is_own else fresh,
        notice=_HERE_AGAIN if is_own else _HERE_AGAIN + _OTHER_KEY,
        kept=frozenset(field for field in SECRET_FIELDS if text_of(form, field)),
    )


def _renewed(resources: Resources, user: User, form: FormData, page: FormPage) -> FormPage:
    """Return a form that has created one already, as one that may create another."""
    token = user.form_token(page.place)
    kept = keep_secrets(resources, token, form)
    return replace(page, token=token, notice=_MADE, kept=kept, status=409)


def _overtaken(resources: Resources, user: User, form: FormData, page: FormPage, notice: str) -> FormPage:
    """Return what was typed, beside what was saved meanwhile."""
    configured = resources.integrations_of(user.tenant_id).show(page.one.id if page.one else "")
    theirs = filled_from(integration_document(configured))
    filled, notes = merged(page.filled, theirs, page.token.seen if page.token else {})
    token = user.form_token(page.place, texts_of(theirs))
    kept = keep_secrets(resources, token, form)
    return FormPage(
        filled, configured, configured.revision, token, notice, notes=notes, kept=kept, status=412
    )


def _named(given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "name": given["name"] or "test"}


def _revision(form: FormData) -> int:
    seen = number_in(text_of(form, "revision"))
    return -1 if seen is None else seen
