"""Setting up an integration, and changing it: a form for each type, judged on the server."""

import secrets

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from worker.api.announcing import announce
from worker.api.callers import Shared
from worker.api.documents import document
from worker.api.integration_changes import change, create
from worker.api.problems import Problem
from worker.broker.volumes import volumes_of
from worker.ledger.tenancy import Configured
from worker.model.errors import ChangedMeanwhile, InvalidIntegration
from worker.pages.complaints import complaint
from worker.pages.form_fields import ADVANCED, EVENT_TYPES, MAIN, REDRIVE, RETRIES
from worker.pages.form_filling import Filled, blank, filled_from, known, refilled
from worker.pages.form_reading import document_in, patch_in
from worker.pages.rendering import render
from worker.pages.visitors import HOME, Changing, Posted, Visitor

router = APIRouter(include_in_schema=False)

_CHANGED = (
    "Somebody else has changed this integration since you opened the form. What you see is what they made."
)


@router.get(HOME + "/new")
def choose_type(request: Request, visitor: Changing) -> Response:
    """Ask for the type."""
    return render(request, "choose.html", visitor)


@router.get(HOME + "/new/{kind}")
def new(request: Request, resources: Shared, visitor: Changing, kind: str) -> Response:
    """Show the empty form of a type."""
    return _form(request, resources, visitor, blank(known(kind)))


@router.post(HOME + "/new/{kind}")
def create_one(request: Request, resources: Shared, visitor: Changing, form: Posted, kind: str) -> Response:
    """Create it, or show what is wrong."""
    integration_id = f"int_{secrets.token_hex(8)}"
    try:
        create(resources, visitor.tenant_id, document_in(form, known(kind)), integration_id, again=False)
    except (InvalidIntegration, Problem) as error:
        return _form(request, resources, visitor, refilled(form, kind), None, error)
    announce(resources, integration_id)
    return RedirectResponse(f"{HOME}/{integration_id}", 303)


@router.get(HOME + "/{integration_id}/edit")
def edit(request: Request, resources: Shared, visitor: Changing, integration_id: str) -> Response:
    """Show the form of an integration."""
    configured = resources.integrations_of(visitor.tenant_id).show(integration_id)
    return _form(request, resources, visitor, filled_from(document(configured)), configured)


@router.post(HOME + "/{integration_id}/edit")
def change_one(
    request: Request, resources: Shared, visitor: Changing, form: Posted, integration_id: str
) -> Response:
    """Change it, or show what is wrong; the form tells which revision was seen."""
    integrations = resources.integrations_of(visitor.tenant_id)
    configured = integrations.show(integration_id)
    shown = document(configured)
    try:
        change(integrations, integration_id, patch_in(form, configured.type, shown), [_revision(form)])
    except ChangedMeanwhile:
        told = Problem(412, _CHANGED)
        return _form(request, resources, visitor, filled_from(shown), configured, told)
    except (InvalidIntegration, Problem) as error:
        filled = refilled(form, configured.type, shown)
        return _form(request, resources, visitor, filled, configured, error)
    announce(resources, integration_id)
    return RedirectResponse(f"{HOME}/{integration_id}", 303)


def _form(
    request: Request,
    resources: Shared,
    visitor: Visitor,
    filled: Filled,
    configured: Configured | None = None,
    error: InvalidIntegration | Problem | None = None,
) -> Response:
    kind = filled.kind
    return render(
        request,
        "form.html",
        visitor,
        status=_status(error),
        filled=filled,
        one=configured,
        main=MAIN[kind],
        advanced=ADVANCED[kind],
        common=(RETRIES, REDRIVE),
        event_types=EVENT_TYPES,
        volumes=volumes_of(resources.client, visitor.tenant_id),
        complaint=complaint(error) if error else None,
        wrong=error.more.get("field") if isinstance(error, Problem) else error and error.field,
    )


def _status(error: InvalidIntegration | Problem | None) -> int:
    if error is None:
        return 200
    return error.status if isinstance(error, Problem) else 422


def _revision(form: Posted) -> int:
    text = str(form.get("revision", ""))
    return int(text) if text.isdecimal() else -1
