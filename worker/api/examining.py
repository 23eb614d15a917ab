"""`…/{id}/test` and `…/{id}/health`: does an integration work, and how has it fared.

A test dials the destination and may take long: a tenant has few at once, so that nobody waits for others.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel

from worker.api.callers import Admin, Reader, Shared
from worker.api.documentation import problems
from worker.api.health_documents import HealthDocument, health_document
from worker.api.problems import Problem
from worker.api.resources import Resources
from worker.doctor import Check, Result, examine, examine_keys
from worker.health import Health
from worker.model.errors import NotFoundError
from worker.model.gaps import Gaps, Source
from worker.model.integrations import Integration
from worker.reach import held_connections
from worker.transports.fleet_guard import FleetGuard

router = APIRouter(prefix="/integrations/siem/{integration_id}", tags=["integrations"])

LINES = "application/x-ndjson"
#: Tests at once: of one tenant, and in one process.
MOST_OF_TENANT, MOST = 2, 8


class StepDocument(BaseModel):
    """One step of a test; `remedy` goes with `failed` and `warning`."""

    step: str
    result: Result
    message: str
    remedy: str | None
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


class Places:
    """Counts the tests that are under way."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    def take(self, tenant_id: str) -> None:
        """Begin one. Raises a Problem, 429, when there are too many."""
        with self._lock:
            if self._taken[tenant_id] >= MOST_OF_TENANT or self._taken.total() >= MOST:
                raise Problem(
                    429,
                    "too many tests are under way",
                    headers={"Retry-After": "5"},
                    remedy="wait until one has ended",
                )
            self._taken[tenant_id] += 1

    def give_back(self, tenant_id: str) -> None:
        """End one."""
        with self._lock:
            self._taken[tenant_id] -= 1


_places = Places()


@router.post(
    "/test",
    response_model=TestDocument,
    responses=_ANSWERS | problems(401, 403, 404, 429, 503),
)
def examine_integration(
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
    integration = resources.integrations_of(caller.tenant_id).open(integration_id)
    checks = _begun(_checks(integration, resources, caller.tenant_id, test_event=test_event))
    if LINES in request.headers.get("accept", ""):
        return StreamingResponse(map(_line, checks), media_type=LINES)
    return JSONResponse(_document(integration, list(checks)))


@router.get("/health", responses=problems(401, 403, 404, 429, 503))
def show_health(caller: Reader, resources: Shared, integration_id: str) -> HealthDocument:
    """Say how an integration fares, and why; while a part of the installation is away, as far as is known."""
    health, gaps = Health(resources.engine, resources.client, resources.config), Gaps()
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


def _checks(
    integration: Integration, resources: Resources, tenant_id: str, *, test_event: bool
) -> Iterator[Check]:
    _places.take(tenant_id)
    try:
        reach = resources.reach_of(integration.type)
        seconds = reach.send_deadline(resources.config.send_deadline)
        guard = FleetGuard(reach)
        yield from examine_keys(resources.client, resources.vault, integration, with_names=False)
        held = held_connections(resources.client, integration)
        yield from examine(integration, guard, send_seconds=seconds, test_event=test_event, held=held)
    finally:
        _places.give_back(tenant_id)


def _begun(checks: Iterator[Check]) -> Iterator[Check]:
    """Take the first step now: what keeps a test from beginning is answered before anything is sent."""
    return chain([next(checks)], checks)


def _line(check: Check) -> str:
    return json.dumps(asdict(check)) + "\n"


def _document(integration: Integration, done: list[Check]) -> dict[str, Any]:
    return {
        "id": integration.id,
        "name": integration.name,
        "type": integration.type,
        "failed": any(check.result is Result.FAILED for check in done),
        "steps": [asdict(check) for check in done],
    }
