"""`…/{id}/test` and `…/{id}/health`: does an integration work, and how has it fared.

A test dials the destination and may take long: `worker.api.connection_tests` says who waits for whom.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel

from worker.api.callers import Admin, Reader, Shared
from worker.api.connection_tests import steps_of_test
from worker.api.documentation import problems
from worker.api.pools import FairRoute, work
from worker.background.doctor import StepReport, StepStatus
from worker.background.health import HealthService
from worker.integrations.integration import Integration
from worker.model.errors import NotFoundError
from worker.model.sources import MissingSources, Source
from worker.views.health import HealthDocument, health_document

router = APIRouter(prefix="/integrations/siem/{integration_id}", tags=["integrations"], route_class=FairRoute)

LINES = "application/x-ndjson"


class StepDocument(BaseModel):
    """One step of a test; `hint` goes with `failed` and `warning`."""

    step: str
    result: StepStatus
    message: str
    hint: str | None
    milliseconds: float


class TestDocument(BaseModel):
    """All steps; `failed` is whether one of them did."""

    __test__ = False

    id: str
    name: str
    type: str
    failed: bool
    steps: list[StepDocument]


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
    resources: Shared,
    integration_id: str,
    request: Request,
    *,
    test_event: Annotated[
        bool, Query(description="Whether to send a real event, marked as a test, as the last step.")
    ] = True,
) -> Response:
    """Find out whether an integration works, step by step, each with what would mend it.

    It dials and sends from the API's machine, as a worker would. 200 says that the test ran, not that it
    went well. With `Accept: application/x-ndjson` each step is a line, sent as soon as it has ended.
    """
    tenant_id = caller.tenant_id
    integration = await work(tenant_id, resources.integrations_of(tenant_id).open, integration_id)
    checks = await steps_of_test(resources, integration, tenant_id, test_event=test_event)
    if LINES in request.headers.get("accept", ""):
        return StreamingResponse(_lines(checks), media_type=LINES)
    return JSONResponse(_document(integration, [check async for check in checks]))


@router.get("/health", responses=problems(401, 403, 404, 429, 503))
def show_health(caller: Reader, resources: Shared, integration_id: str) -> HealthDocument:
    """Say how an integration fares, and why; while a part of the installation is away, as far as is known."""
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
    return health_document(found[0], gaps)


async def _lines(checks: AsyncIterator[StepReport]) -> AsyncIterator[str]:
    async for check in checks:
        yield json.dumps(asdict(check)) + "\n"


def _document(integration: Integration, done: list[StepReport]) -> dict[str, Any]:
    return {
        "id": integration.id,
        "name": integration.name,
        "type": integration.type,
        "failed": any(check.result is StepStatus.FAILED for check in done),
        "steps": [asdict(check) for check in done],
    }
