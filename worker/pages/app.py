"""The application of the pages: routes, static files, errors in words for people.

Input: the API's application, which it joins, and whose resources it shares.
"""

from contextlib import suppress
from importlib.resources import files

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from worker.api.load import MOST_WITHOUT_KEY
from worker.api.pools import SESSIONS, PoolFull, crowded
from worker.api.problems import Problem, problem_of
from worker.api.request_counts import RequestCounts
from worker.api.resources import Resources
from worker.model.errors import BrokerUnavailable, OutageError, SiemError
from worker.model.untrusted_text import number_in
from worker.pages import actions, audit, dead_letters, diagnostics, forms, integrations, replays, sign_in
from worker.pages.drafts import keep_draft
from worker.pages.form_tokens import FormToken, token_in
from worker.pages.rendering import HEADERS, render
from worker.pages.sessions import (
    SIGN_IN,
    NotSignedIn,
    SessionReplaced,
    fields_of,
    refuse_foreign,
    sign_in_to,
    wanted_by,
)

#: Those whose paths begin with the id of an integration come last: an id may be any name that is no page.
ROUTERS = (
    sign_in.router,
    dead_letters.router,
    replays.router,
    audit.router,
    forms.router,
    diagnostics.router,
    actions.router,
    integrations.router,  # the last, for its paths begin with any id
)


def add_pages(api: FastAPI) -> None:
    """Answer with pages to everything that the API does not."""
    app = FastAPI(openapi_url=None)
    app.state.resources = api.state.resources
    for router in ROUTERS:
        app.include_router(router)
    for kind in (SiemError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _answer)
    app.add_exception_handler(NotSignedIn, _to_sign_in)
    counts: RequestCounts = api.state.request_counts
    counts.add_routes(ROUTERS)
    counts.add_route("/static/{path:path}")
    app.mount("/static", StaticFiles(directory=str(files("worker.pages") / "static")))
    api.mount("/", app)


async def _answer(request: Request, error: Exception) -> Response:
    if isinstance(error, SessionReplaced):
        return await _outlived(request, error)
    request.app.state.resources.outages.note(error)
    problem = problem_of(error)
    if request.url.path.startswith("/api/"):
        return problem.response()
    return await _problem_page(request, problem)


async def _to_sign_in(request: Request, error: Exception) -> Response:
    """Lead to the sign-in page, and from there to the form again, with what was typed into it."""
    location = error.location if isinstance(error, NotSignedIn) else SIGN_IN
    # What htmx asks for is a part of a page: the browser itself must go.
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={**HEADERS, "HX-Redirect": location})
    if request.method == "POST":
        try:
            location = await _way_to_form(request) or location
        except (BrokerUnavailable, Problem) as trouble:
            return await _answer(request, trouble)
    return RedirectResponse(location, 303, HEADERS)


async def _way_to_form(request: Request) -> str | None:
    """Keep the form that was sent, and return the way to it by the sign-in page; None for a mere button.

    Raises BrokerUnavailable, Problem.
    """
    form = await _form_of(request)
    if form is None:
        return sign_in_to(wanted_by(request), "lost")
    resources: Resources = request.app.state.resources
    token = token_in(form, resources.vault)
    if token is None or not token.place:
        return None
    is_kept = await _keep(resources, token, form)
    return sign_in_to(_place_of(token), "ended" if is_kept else "lost")


async def _form_of(request: Request) -> FormData | None:
    """Return the form that was sent although no user is signed in, if it is one of a sane size."""
    length = number_in(request.headers.get("content-length", ""))
    if length is None or length > MOST_WITHOUT_KEY:
        return None
    try:
        refuse_foreign(request)
        return await fields_of(request)
    except (Problem, HTTPException):
        return None


async def _outlived(request: Request, error: SessionReplaced) -> Response:
    """Show the form again, under the session that stands now; or ask for a key of its own tenant."""
    token = error.token
    try:
        is_kept = await _keep(request.app.state.resources, token, error.form)
    except (BrokerUnavailable, Problem) as trouble:
        return await _answer(request, trouble)
    place = _place_of(token)
    return RedirectResponse(
        place if error.is_ours else sign_in_to(place, "other" if is_kept else "lost"), 303, HEADERS
    )


async def _keep(resources: Resources, token: FormToken, form: FormData) -> bool:
    """Keep what was typed, also while the tenant's own work takes all its threads; return whether it is kept.

    What comes with a token of a key that was revoked is not. Raises BrokerUnavailable, and a Problem when
    there is no room here either.
    """
    with suppress(OutageError):  # not known: a share bounds what is kept
        if await resources.access.standing(token.key_id) is None:
            return False
    try:
        return await SESSIONS.run(f"tenant {token.tenant_id}", keep_draft, resources, token, form)
    except PoolFull as full:
        raise crowded(full, "requests", "tenant", token.tenant_id) from None


def _place_of(token: FormToken) -> str:
    return f"{token.place}?draft={token.name}"


async def _problem_page(request: Request, problem: Problem) -> Response:
    back = await _kept_place(request)
    answer = render(request, "problem.html", status=problem.status, problem=problem, back=back)
    answer.headers.update(problem.headers)
    return answer


async def _kept_place(request: Request) -> str | None:
    """Keep what was typed into the form that was sent, if any; return where it is shown again."""
    resources: Resources = request.app.state.resources
    form: FormData | None = getattr(request.state, "typed", None)
    token = None if form is None else token_in(form, resources.vault)
    if form is None or token is None or not token.place:
        return None
    with suppress(BrokerUnavailable, Problem):
        return _place_of(token) if await _keep(resources, token, form) else None
    return None
