"""`/healthz`, `/readyz`, `/readyz/process`, `/metrics`: for whatever runs the fleet. Without an API key.

They show nothing of what is configured but ids, tenants and types; with SIEM_METRICS_TOKEN set, even that,
and the hosts of the fleet's processes, only to those who have it. Each answer is remembered for a second, and
comes from threads and connections to the database that serve nothing else: to ask often costs no one
anything, and while Redis or the database hangs, `/readyz` says so within seconds.

One answer for all who ask at the same time, and for a moment after: none waits in a thread for it.

Readiness and metrics are open to all who reach the API, and ask Redis and the database. While these hang,
each question would hold a thread, and those who ask often would take them all.
"""

import asyncio
import hmac
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Generic, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel, Field

from worker.api.callers import Shared
from worker.api.metrics import MetricsCollector
from worker.api.openapi import problems
from worker.api.pools import FLEET
from worker.api.problems import Problem
from worker.api.request_counts import RequestCounts
from worker.api.resources import Resources
from worker.background.health import HealthService
from worker.model.fleet_health import FleetHealth, Part
from worker.probes.process import ProcessProbe
from worker.views.health import FleetDocument, fleet_document

T = TypeVar("T")

#: Who asks again within so many seconds gets the same answer, and waits for `PATIENCE` at most.
FRESH, PATIENCE = 1.0, 8.0


class CachedValue(Generic[T]):
    """The last answer of a function that may be slow; for one event loop."""

    def __init__(self, name: str, find: Callable[[], T]) -> None:
        """Take the function, which runs in a thread of `FLEET`; the name is its owner there."""
        self._owner = f"{name} {id(self)}"
        self._find = find
        self._found: tuple[float, T] | None = None
        self._under_way: asyncio.Future[T] | None = None

    async def get(self) -> T:
        """Return the answer, at most a second old. Raises TimeoutError, and whatever the function raises."""
        if self._found is not None and time.monotonic() - self._found[0] < FRESH:
            return self._found[1]
        if self._under_way is None:
            self._under_way = asyncio.wrap_future(FLEET.submit(self._owner, self._find))
            self._under_way.add_done_callback(self._keep)
        under_way = self._under_way
        done, _ = await asyncio.wait([under_way], timeout=PATIENCE)
        if not done:
            raise TimeoutError
        return under_way.result()

    def _keep(self, done: "asyncio.Future[T]") -> None:
        self._under_way = None
        if not done.cancelled() and done.exception() is None:
            self._found = (time.monotonic(), done.result())


router = APIRouter(tags=["fleet"])

_token = HTTPBearer(auto_error=False, scheme_name="MetricsToken", description="SIEM_METRICS_TOKEN, if set.")
Token = Annotated[HTTPAuthorizationCredentials | None, Depends(_token)]
#: The part that is not ok where the question itself hangs.
_HANGS = Part(
    "answers",
    ok=False,
    words=f"Redis or the database has not answered within {PATIENCE:g} s",
    public="something that is needed does not answer",
)
#: What is said of a part that has no public words.
_WELL, _UNWELL = "ok", "not ok: `siem health` says why"


class _Watch:
    """The health of the fleet, and its figures, as one process knows them."""

    def __init__(self, resources: Resources, requests: RequestCounts) -> None:
        # Requests of tenants may take every connection of the engine that they share.
        own = replace(resources, engine=resources.reserve)
        self.metrics = CachedValue("metrics", MetricsCollector(own, requests).scrape)
        self.health = CachedValue("readiness", HealthService(own.engine, own.client, own.config).fleet)


async def _watch(request: Request, resources: Shared) -> _Watch:
    state = request.app.state
    if not hasattr(state, "watch"):
        state.watch = _Watch(resources, state.request_counts)
    watch: _Watch = state.watch
    return watch


FleetView = Annotated[_Watch, Depends(_watch)]


@router.get("/healthz")
async def healthz() -> dict[str, bool]:
    """Report that this process lives and answers; nothing else is looked at."""
    return {"ok": True}


@router.get(
    "/readyz",
    response_model=FleetDocument,
    responses={503: {"description": "Some part does not do its work", "model": FleetDocument}},
)
async def readyz(watch: FleetView, resources: Shared, token: Token) -> Response:
    """Return the health of the fleet: Redis, the database, routers, recorders, and workers of each queue."""
    try:
        found = await watch.health.get()
    except TimeoutError:
        found = FleetHealth((_HANGS,))
    holder = _holds_token(resources, token)
    document = fleet_document(found, lambda part: _detail(resources, part, holder=holder))
    return JSONResponse(document.model_dump(), 200 if found.ok else 503)


class ProcessDocument(BaseModel):
    """Whether one process of the API can serve."""

    ready: bool
    reason: Annotated[str | None, Field(description="Why it cannot.")] = None


@router.get(
    "/readyz/process",
    response_model=ProcessDocument,
    responses={503: {"description": "This process cannot serve", "model": ProcessDocument}},
)
async def readyz_process(request: Request) -> Response:
    """Report whether this process of the API can serve, for a balancer; the rest of the fleet is no matter.

    It can while Redis or the database answers it: with one of them it still does a part of its work, and
    says so in its other answers.
    """
    process: ProcessProbe = request.app.state.process
    reason = process.not_ready()
    document = ProcessDocument(ready=reason is None, reason=reason)
    return JSONResponse(document.model_dump(), 503 if reason else 200)


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses=problems(401, 503),
)
async def metrics(watch: FleetView, resources: Shared, token: Token) -> Response:
    """Give Prometheus the figures of the fleet and of each integration."""
    if _is_closed(resources) and not _holds_token(resources, token):
        raise Problem(
            401,
            "these figures ask for a token",
            headers={"WWW-Authenticate": "Bearer"},
            hint="give the one of SIEM_METRICS_TOKEN as a bearer token",
        )
    try:
        return Response(await watch.metrics.get(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
    except TimeoutError:
        raise Problem(
            503, _HANGS.public or "", headers={"Retry-After": "5"}, hint="see `siem health`"
        ) from None


def _is_closed(resources: Resources) -> bool:
    return bool(resources.config.metrics_token.get_secret_value())


def _holds_token(resources: Resources, given: HTTPAuthorizationCredentials | None) -> bool:
    wanted = resources.config.metrics_token.get_secret_value()
    text = given.credentials if given else ""
    return bool(wanted) and hmac.compare_digest(text.encode(), wanted.encode())


def _detail(resources: Resources, part: Part, *, holder: bool) -> str | None:
    if holder:
        return part.words
    if _is_closed(resources):
        return None
    return part.public or (_WELL if part.ok else _UNWELL)
