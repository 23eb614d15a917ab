"""The application of the pages: routes, static files, errors in words for people.

Comes in: the API's application, which it joins, and whose resources it shares.
"""

from importlib.resources import files

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from worker.api.problems import Problem, problem_of
from worker.model.errors import SiemError
from worker.pages import actions, events, forms, letters, listing, one, replays, sign_in, trying
from worker.pages.rendering import HEADERS, render
from worker.pages.visitors import SignInFirst

#: Those whose paths begin with the id of an integration come last: an id may be any name that is no page.
ROUTERS = (
    *(sign_in.router, listing.router, letters.router, replays.router, events.router),
    *(forms.router, trying.router, actions.router, one.router),
)


def add_pages(api: FastAPI) -> None:
    """Answer with pages to everything that the API does not."""
    app = FastAPI(openapi_url=None)
    app.state.resources = api.state.resources
    for router in ROUTERS:
        app.include_router(router)
    for kind in (SiemError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _answer)
    app.mount("/static", StaticFiles(directory=str(files("worker.pages") / "static")))
    api.mount("/", app)


def _answer(request: Request, error: Exception) -> Response:
    if isinstance(error, SignInFirst):
        return _to_sign_in(request, error)
    request.app.state.resources.outages.note(error)
    problem = problem_of(error)
    if request.url.path.startswith("/api/"):
        return problem.response()
    return _told(request, problem)


def _to_sign_in(request: Request, error: SignInFirst) -> Response:
    # What htmx asks for is a part of a page: the browser itself must go.
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={**HEADERS, "HX-Redirect": error.location})
    return RedirectResponse(error.location, 303, HEADERS)


def _told(request: Request, problem: Problem) -> Response:
    answer = render(request, "problem.html", status=problem.status, problem=problem)
    answer.headers.update(problem.headers)
    return answer
