"""`…/{id}/test` and `…/{id}/health`: whether an integration works, and how it is.

A test dials the destination and may take long: `worker.api.diagnostics` says what waits for what.

Runs tests of integrations, for the API and the pages alike, in threads that serve nothing else.

A test dials the destination and may take minutes: a tenant has few at once, whichever door it comes by, and
forty destinations that never answer hold up nothing but further tests.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import aclosing, closing
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from worker.api.callers import Admin, By, Reader, Shared
from worker.api.openapi import problems
from worker.api.pools import TESTS, FairRoute, PoolFull, crowded, work
from worker.api.resources import Resources
from worker.background.doctor import StepReport, examine, examine_keys
from worker.background.health import HealthService
from worker.background.reach import held_connections
from worker.broker.certificates import CertificateNotes
from worker.integrations.integration import Integration
from worker.ledger.audit import record_alone
from worker.model.audit import Actor
from worker.model.errors import NotFoundError
from worker.model.sources import MissingSources, Source
from worker.transports.check_guards import FleetGuard
from worker.transports.guard import Guard
from worker.vault.changes import integration_test_record
from worker.views.diagnostics import TestDocument, step_document, test_document
from worker.views.health import HealthDocument, health_document

Checks = Callable[[], Generator[StepReport, None, None]]


async def steps_of_test(
    resources: Resources,
    integration: Integration,
    tenant_id: str,
    by: Actor,
    *,
    test_event: bool = True,
    saved: bool = True,
) -> AsyncGenerator[StepReport, None]:
    """Return the steps of a test that has begun and is recorded, each as soon as it has ended.

    Raises a Problem, 429 or 503, when too many tests are under way, and whatever keeps a test from its first
    step. If no one reads the steps any more, the test ends with the step that it is at.
    """
    run = _Run(lambda: _checks(resources, integration, test_event=test_event, saved=saved))
    try:
        TESTS.submit(tenant_id, run.work)
    except PoolFull as full:
        raise crowded(full, "tests", "tenant", tenant_id) from None
    steps = run.steps()
    first = await anext(steps)
    chained = _chained(first, steps)
    try:
        record = integration_test_record(by, integration, tenant_id, saved=saved, test_event=test_event)
        await work(tenant_id, record_alone, resources.engine, record)
    except BaseException:
        await steps.aclose()  # what cannot be recorded goes no further
        raise
    return chained


async def _chained(
    first: StepReport, rest: AsyncGenerator[StepReport, None]
) -> AsyncGenerator[StepReport, None]:
    async with aclosing(rest):
        yield first
        async for one in rest:
            yield one


def _checks(
    resources: Resources, integration: Integration, *, test_event: bool, saved: bool
) -> Generator[StepReport, None, None]:
    reach = resources.reach_of(integration.type)
    seconds = reach.send_deadline(resources.config.send_deadline)
    held = held_connections(resources.client, integration)
    keys = examine_keys(resources.client, resources.vault, integration, with_names=False)
    yield from keys
    guard: Guard = FleetGuard(reach)
    if saved:
        guard = guard.noting(partial(CertificateNotes(resources.client).note, integration.id))
    yield from examine(integration, guard, send_seconds=seconds, test_event=test_event, held=held)


class _Run:
    """One test: made in a thread, followed from the event loop that made this."""

    def __init__(self, checks: Checks) -> None:
        self._checks = checks
        self._loop = asyncio.get_running_loop()
        self._found: asyncio.Queue[StepReport | BaseException | None] = asyncio.Queue()
        self._is_left = False

    def work(self) -> None:
        """Run in a thread."""
        try:
            with closing(self._checks()) as checks:
                for check in checks:
                    self._tell(check)
                    if self._is_left:
                        break
        except BaseException as error:  # noqa: BLE001 - raised where the steps are awaited
            self._tell(error)
        else:
            self._tell(None)

    async def steps(self) -> AsyncGenerator[StepReport, None]:
        """Yield what `work` finds, and raise what it raises."""
        try:
            while (found := await self._found.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                yield found
        finally:
            self._is_left = True

    def _tell(self, found: StepReport | BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._found.put_nowait, found)
        except RuntimeError:  # the server has ended, and its loop is closed
            self._is_left = True


router = APIRouter(prefix="/integrations/siem/{integration_id}", tags=["integrations"], route_class=FairRoute)

LINES = "application/x-ndjson"


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The steps; as lines, each is sent as soon as it has ended",
        "content": {LINES: {"schema": {"$ref": "#/components/schemas/StepDocument"}}},
    }
}


@router.post(
    "/test",
    response_model=TestDocument,
    responses=_ANSWERS | problems(401, 403, 404, 429, 503),
)
async def examine_integration(
    caller: Admin,
    by: By,
    resources: Shared,
    integration_id: str,
    request: Request,
    *,
    test_event: Annotated[
        bool, Query(description="Whether to send a real event, marked as a test, as the last step.")
    ] = True,
) -> Response:
    """Find out whether an integration works, step by step, each with a hint.

    It dials and sends from the API's machine, as a worker would. 200 says that the test ran, not that it
    went well. With `Accept: application/x-ndjson` each step is a line, sent as soon as it has ended.
    """
    tenant_id = caller.tenant_id
    integration = await work(tenant_id, resources.integrations_of(tenant_id).get, integration_id)
    checks = await steps_of_test(resources, integration, tenant_id, by, test_event=test_event)
    if LINES in request.headers.get("accept", ""):
        return StreamingResponse(_lines(checks), media_type=LINES)
    return JSONResponse(test_document(integration, [check async for check in checks]).model_dump(mode="json"))


@router.get("/health", responses=problems(401, 403, 404, 429, 503))
def show_health(caller: Reader, resources: Shared, integration_id: str) -> HealthDocument:
    """Return the health of an integration; while a part of the installation is away, as far as is known."""
    health, gaps = HealthService(resources.engine, resources.client, resources.config), MissingSources()
    # Of no other tenant: what is theirs is answered as what never was.
    mine = [one for one in health.known_subjects(gaps, caller.tenant_id) if one.id == integration_id]
    found = health.survey(mine, gaps) if mine else []
    for error in gaps.errors.values():
        resources.outages.note(error)
    if not found and Source.DATABASE in gaps.errors:
        raise gaps.errors[Source.DATABASE]
    if not found:
        raise NotFoundError("there is no integration with this id")
    return health_document(found[0], gaps, for_tenant=True)


async def _lines(checks: AsyncIterator[StepReport]) -> AsyncIterator[str]:
    async for check in checks:
        yield step_document(check).model_dump_json() + "\n"
