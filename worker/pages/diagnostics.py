"""Trying what a form says before it is saved: the doctor's steps as they end, and the bytes to be sent.

Input: a form, of a new integration or of one that is there. Output: markup, a line for each step.
"""

from collections.abc import AsyncIterator, Callable

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from starlette.datastructures import FormData

from worker.api.callers import Shared
from worker.api.diagnostics import steps_of_test
from worker.api.integration_changes import changed, created
from worker.api.pools import FairRoute, work
from worker.api.problems import Problem
from worker.api.resources import Resources
from worker.background.doctor import StepReport
from worker.destinations.registry import make_sender
from worker.integrations.integration import Integration, require_readable_secrets
from worker.model.errors import InvalidIntegration, SecretUnreadable
from worker.model.event_decoder import decode_event
from worker.model.events import QueuedEvent
from worker.pages.drafts import Typed
from worker.pages.form_page import error_text
from worker.pages.form_values import document_in, judged_form, known, patch_in, text_of
from worker.pages.rendering import HEADERS, template_environment
from worker.pages.sessions import HOME, Editor, User
from worker.samples import sample_lines
from worker.transports.guard import Guard
from worker.views.integrations import integration_document

router = APIRouter(include_in_schema=False, route_class=FairRoute)

#: So is answered who has too much under way; whatever else is wrong is the form's.
_CROWDED = (429, 503)
#: Among so many samples there is one of every type.
_SAMPLES = 500


@router.post(HOME + "/new/{kind}/test")
async def test_new(resources: Shared, user: Editor, form: Typed, kind: str) -> Response:
    """Examine what the form of a new integration says."""
    return await _examined(resources, user, lambda: _new(user, form, known(kind)), saved=False)


@router.post(HOME + "/{integration_id}/test")
async def test_changed(resources: Shared, user: Editor, form: Typed, integration_id: str) -> Response:
    """Examine an integration as its form says; secrets that were left empty are those it has."""
    return await _examined(resources, user, lambda: _changed(resources, user, form, integration_id))


@router.post(HOME + "/new/{kind}/preview")
def preview_new(user: Editor, form: Typed, kind: str) -> Response:
    """Show the bytes that a new integration would be sent."""
    return _previewed(user, form, lambda: _new(user, form, known(kind)))


@router.post(HOME + "/{integration_id}/preview")
def preview_changed(resources: Shared, user: Editor, form: Typed, integration_id: str) -> Response:
    """Show the bytes that an integration would be sent."""
    return _previewed(user, form, lambda: _changed(resources, user, form, integration_id))


def _new(user: User, form: FormData, kind: str) -> Integration:
    given = document_in(form, kind)
    whole = {**given, "name": given["name"] or "test"}
    return judged_form(form, kind, lambda: created(whole, "int_test", user.tenant_id))


def _changed(resources: Resources, user: User, form: FormData, integration_id: str) -> Integration:
    integrations = resources.integrations_of(user.tenant_id)
    shown = integration_document(integrations.show(integration_id))
    old = integrations.get(integration_id)
    # The page of an integration has a button as well, and nothing filled in.
    if "event_types" not in form:
        return old
    return judged_form(form, old.type, lambda: changed(old, patch_in(form, old.type, shown), shown))


async def _examined(
    resources: Resources, user: User, integration: Callable[[], Integration], *, saved: bool = True
) -> Response:
    try:
        found = await work(user.tenant_id, integration)
        checks = await steps_of_test(resources, found, user.tenant_id, user.actor, saved=saved)
    except InvalidIntegration as error:
        return _complaint(error)
    except Problem as problem:
        return _refused(problem)
    return StreamingResponse(_lines(checks), media_type="text/html; charset=utf-8", headers=HEADERS)


async def _lines(checks: AsyncIterator[StepReport]) -> AsyncIterator[str]:
    async for check in checks:
        yield _part("check", check=check) + "\n"


def _refused(problem: Problem) -> Response:
    """Say in the place of the steps why there are none."""
    if problem.status not in _CROWDED:
        return _complaint(problem)
    answer = _markup(_part("complaint", error=f"{problem}; {problem.more['hint']}"))
    answer.status_code = problem.status
    answer.headers.update(problem.headers)
    return answer


def _previewed(user: User, form: FormData, integration: Callable[[], Integration]) -> Response:
    try:
        found = integration()
        require_readable_secrets(found)
        sender = make_sender(found, Guard(()), connections=1)
        try:
            content = sender.preview([_sample(user.tenant_id, text_of(form, "sample"))])
        finally:
            sender.close()
    except (InvalidIntegration, SecretUnreadable, Problem) as error:
        return _complaint(error)
    return _markup(_part("bytes", text=content.decode(errors="backslashreplace")))


def _sample(tenant_id: str, event_type: str) -> QueuedEvent:
    """Return a sample of the type, or of any if there is no such type."""
    samples = ((raw, decode_event(raw)) for raw in sample_lines(_SAMPLES, tenant_id=tenant_id))
    first = next(samples)
    raw, event = next((one for one in samples if one[1].type == event_type), first)
    return QueuedEvent(event.id, event.type, event.time_ms, event.time_ms, raw)


def _part(name: str, **shown: object) -> str:
    """Render a piece; it holds no line end, which is what separates one piece from the next.

    The bytes of a preview keep theirs as character references: within one element of the page.
    """
    module = template_environment().get_template("trying.html").make_module({})
    rendered = str(getattr(module, name)(**shown))
    return rendered.replace("\r\n", "\n").replace("\n", "&#10;" if name == "bytes" else " ")


def _complaint(error: InvalidIntegration | SecretUnreadable | Problem) -> Response:
    return _markup(_part("complaint", error=error_text(error)))


def _markup(text: str) -> Response:
    return HTMLResponse(text, headers=HEADERS)
