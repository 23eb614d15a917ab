"""The application: routes, problems, headers. Comes in: what the doors share; out, ASGI."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from worker.api import (
    dead_letters,
    diagnostics,
    event_types,
    events,
    fleet,
    integrations,
    invalid_events,
    openapi,
    replays,
)
from worker.api.bodies import BoundedBodies
from worker.api.documentation import document_app
from worker.api.problems import answer_problems
from worker.api.resources import Resources
from worker.api.unanswered import UnknownRoute
from worker.api.wrapping import Wrapping

API_VERSION = "1"
PREFIX = f"/api/v{API_VERSION}"
#: What is here under `PREFIX`.
ROUTERS = (
    integrations.router,
    diagnostics.router,
    event_types.router,
    events.router,
    dead_letters.router,
    invalid_events.router,
    replays.router,
)
#: What is here at the top, for those who run the fleet.
TOP = (fleet.router,)
_DESCRIPTION = """\
Forwards the governance events of AI agents to the SIEMs of a tenant. Errors are RFC 9457 problem details,
which name the field, the reason and the remedy. Lists are paged: `next` of a page is the next one's `cursor`.
"""


def create_app(resources: Resources) -> FastAPI:
    """Make the API; the resources are closed when it ends."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        resources.close()

    # Its pages of documentation would load scripts from elsewhere; /openapi.json is there.
    app = FastAPI(
        title="SIEM integrations",
        # That of the API: which release runs here is nobody's business who has no key.
        version=API_VERSION,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.resources = resources
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
    return app
