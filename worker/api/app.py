"""The application: routes, problems, headers.

What is done around every request: headers that protect the answer, and an answer to unexpected errors.

Input: an ASGI application. Output: the same, of which no answer is kept by those in between.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.api import (
    audit,
    dead_letters,
    deliveries,
    diagnostics,
    events,
    fleet,
    integrations,
    openapi,
    replays,
)
from worker.api.bodies import BoundedBodies
from worker.api.limits import sharing_refusals
from worker.api.openapi import document_app
from worker.api.problems import Problem, answer_problems, problem_of
from worker.api.process import api_process, turning
from worker.api.request_counts import MeasuredRequests, RequestCounts
from worker.api.resources import Resources


class Wrapping:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = False

        async def send_protected(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        try:
            await self._app(scope, receive, send_protected)
        except Exception as error:  # noqa: BLE001 - logged there, and answered as an internal error
            problem = problem_of(error)
            if not began:
                await problem.response()(scope, receive, send_protected)


class UnknownRoute:
    """An ASGI application that always raises a Problem."""

    def __init__(self, paths: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the paths of an OpenAPI document, with their methods."""
        self._paths = [(_pattern(path), sorted(map(str.upper, methods))) for path, methods in paths.items()]

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        """Refuse the request."""
        methods = next((methods for path, methods in self._paths if path.fullmatch(scope["path"])), None)
        if methods is None:
            raise Problem(404, "there is nothing at this path", hint="see /openapi.json")
        allowed = ", ".join(methods)
        raise Problem(
            405,
            f"{scope['method']} cannot be done here",
            headers={"Allow": allowed},
            hint=f"use {' or '.join(methods)}",
        )


def _pattern(path: str) -> re.Pattern[str]:
    """Match what a path of OpenAPI stands for: `{id}` is anything but a slash."""
    parts = re.split(r"\{\w+\}", path)
    return re.compile("[^/]+".join(map(re.escape, parts)))


API_VERSION = "1"
PREFIX = f"/api/v{API_VERSION}"
#: What is here under `PREFIX`.
ROUTERS = (
    integrations.router,
    diagnostics.router,
    integrations.event_types_router,
    events.router,
    deliveries.router,
    dead_letters.router,
    dead_letters.tenant_router,
    replays.router,
    audit.router,
)
#: What is here at the top, for those who run the fleet.
TOP = (fleet.router,)
_DESCRIPTION = """\
Forwards the governance events of AI agents to the SIEMs of a tenant. Errors are RFC 9457 problem details,
which name the field, the reason and a hint. Lists are paged: `next` of a page is the next one's `cursor`.
"""


def create_app(resources: Resources) -> FastAPI:
    """Make the API; the resources are closed when it ends."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with sharing_refusals(resources.client):
            async with turning(app.state.process):
                yield
        resources.close()

    # Its pages of documentation would load scripts from elsewhere; /openapi.json is there.
    app = FastAPI(
        title="SIEM integrations",
        # That of the API: which release runs here is shown to no one without a key.
        version=API_VERSION,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        # Its own would record queries and tracebacks, and export them if the environment says so.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.resources = resources
    app.state.process = api_process(resources.outages.dependencies)
    answer_problems(app)
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX)
    for router in TOP:
        app.include_router(router)
    document_app(app, openapi.COMPONENTS)
    app.mount(PREFIX, UnknownRoute(app.openapi()["paths"]))
    # The last one added is the outermost.
    app.add_middleware(BoundedBodies, resources=resources)
    app.add_middleware(Wrapping)
    counts = app.state.request_counts = RequestCounts()
    counts.add_routes(ROUTERS, PREFIX)
    counts.add_routes(TOP)
    app.add_middleware(MeasuredRequests, counts=counts)
    return app
