"""`…/{id}/replays`: sends an integration's dead letters again, shows the progress, cancels it.

Input: which dead letters. Output: a job that a recorder carries out. The integration must be one of the
caller's tenant, and the replay one of that integration's letters; any other is unknown.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from worker.api.bodies import Body
from worker.api.callers import Admin, By, Reader, Shared
from worker.api.openapi import problems
from worker.api.parameters import USUAL, Cursor, Limit, epoch_ms
from worker.api.pools import FairRoute
from worker.api.problems import Problem
from worker.api.resources import Resources
from worker.ledger.dead_letters import DeadLetterCount, count_dead_letters
from worker.ledger.replays import cancel_replay, create_replay, get_replay, replay_result, replays_of
from worker.model.api_keys import ApiKey
from worker.model.deliveries import Cause
from worker.model.errors import InvalidReplay, NotFoundError
from worker.model.events import EventType
from worker.model.replays import DEFAULT_RATE, FASTEST_RATE, MOST_IDS, DeadLetterFilter, Replay
from worker.views.cursors import time_and_id
from worker.views.replays import (
    CountDocument,
    ReplayDetail,
    ReplayDocument,
    ReplayPage,
    count_document,
    replay_detail,
    replay_document,
    replay_page,
)


class ReplayRequest(BaseModel):
    """Which dead letters of the integration to send again: those to which all of this applies, and how."""

    model_config = ConfigDict(extra="forbid")

    ids: list[str] = Field([], max_length=MOST_IDS, description="Only these dead letters.")
    since: AwareDatetime | None = Field(None, description="Only what died not before this time.")
    until: AwareDatetime | None = Field(None, description="Only what died not after this time.")
    event_types: list[EventType] = Field([], description="Only events of these types.")
    causes: list[Cause] = Field([], description="Only what died of these.")
    codes: list[str] = Field([], max_length=100, description="Only what died for these: `error_code`s.")
    all: bool = Field(default=False, description="All that wait: instead of any of the above.")
    into: str | None = Field(
        None, description="Send them to this integration of the tenant instead, by its id."
    )
    rate: int = Field(DEFAULT_RATE, ge=1, le=FASTEST_RATE, description="The most events a second.")
    dry_run: bool = Field(default=False, description="Count what would be replayed, and replay nothing.")

    def selection(self, integration_id: str) -> DeadLetterFilter:
        """Return which dead letters of that integration are meant. Raises InvalidReplay unless it is said."""
        narrowed = any(
            getattr(self, name) for name in ("ids", "since", "until", "event_types", "causes", "codes")
        )
        if narrowed == self.all:
            raise InvalidReplay(
                "all",
                "must stand alone" if self.all else "is not set, and nothing says which dead letters",
                "give ids, since, until, event_types, causes or codes; or all: true",
            )
        return DeadLetterFilter(
            ids=tuple(self.ids),
            integration_id=integration_id,
            since_ms=epoch_ms(self.since),
            until_ms=epoch_ms(self.until),
            event_types=tuple(self.event_types),
            causes=tuple(self.causes),
            codes=tuple(self.codes),
        )


def request_in(value: dict[str, Any]) -> ReplayRequest:
    """Read a request. Raises InvalidReplay naming the field."""
    try:
        return ReplayRequest.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        known = ReplayRequest.model_fields.get(str(first["loc"][0]))
        hint = known.description if known and known.description else "leave it out"
        raise InvalidReplay(field, first["msg"], hint) from None


router = APIRouter(
    prefix="/integrations/siem/{integration_id}/replays", tags=["replays"], route_class=FairRoute
)

_USUAL = (401, 403, 404, 429, 503)
_SCHEMA = ReplayRequest.model_json_schema()
_SCHEMA.pop("$defs")
_SCHEMA["properties"]["event_types"]["items"] = {"enum": list(EventType)}
_SCHEMA["properties"]["causes"]["items"] = {"enum": list(Cause)}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "What would be replayed (`dry_run`)", "model": CountDocument},
    201: {"description": "The replay, which runs from now on", "model": ReplayDocument},
}
_REQUEST = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _SCHEMA,
                "example": {"since": "2026-11-22T10:00:00Z", "causes": ["exhausted"], "dry_run": True},
            }
        },
    }
}


class PageParameters(BaseModel):
    """Which page of a list."""

    model_config = ConfigDict(extra="forbid")

    limit: Limit = USUAL
    cursor: Cursor = None


@router.post(
    "",
    status_code=201,
    response_class=JSONResponse,
    openapi_extra=_REQUEST,
    responses=_ANSWERS | problems(*_USUAL, 400, 408, 409, 413, 415),
)
def make_replay(caller: Admin, by: By, resources: Shared, integration_id: str, body: Body) -> Response:
    """Send dead letters again. What was delivered meanwhile is not sent once more."""
    home = resources.integrations_of(caller.tenant_id).show(integration_id).id
    asked = request_in(body.value)
    selection = asked.selection(home)
    target = _target(resources, caller, asked.into)
    found = count_dead_letters(resources.engine, selection, elsewhere=target is not None)
    _refuse_unknown_ids(selection, found)
    if asked.dry_run:
        return JSONResponse(count_document(found).model_dump(mode="json"))
    if not found.replayable:
        raise InvalidReplay("body", "means no dead letter that waits", "ask with dry_run how many there are")
    made = create_replay(
        resources.engine,
        selection,
        target_id=target,
        rate=asked.rate,
        made_by=f"api:{caller.name}",
        quotas=resources.config.quotas,
        by=by,
    )
    where = f"/api/v1/integrations/siem/{home}/replays/{made.id}"
    document = replay_document(made, for_tenant=True)
    return JSONResponse(document.model_dump(mode="json"), 201, {"Location": where})


@router.get("", responses=problems(*_USUAL))
def list_replays(
    caller: Reader, resources: Shared, integration_id: str, asked: Annotated[PageParameters, Query()]
) -> ReplayPage:
    """List the replays of an integration's dead letters, the newest first.

    `redrive` makes some by itself once an outage is over, `enable` once an endpoint that was gone is enabled.
    """
    home = resources.integrations_of(caller.tenant_id).show(integration_id).id
    found = replays_of(resources.engine, home, asked.limit + 1, time_and_id(asked.cursor))
    return replay_page(found, asked.limit, for_tenant=True)


@router.get("/{replay_id}", responses=problems(*_USUAL))
def show_replay(caller: Reader, resources: Shared, integration_id: str, replay_id: str) -> ReplayDetail:
    """Show how far a replay is, and what became of its events."""
    return _detail(resources, _replay(resources, caller, integration_id, replay_id))


@router.delete("/{replay_id}", responses=problems(*_USUAL, 409))
def cancel_one(caller: Admin, by: By, resources: Shared, integration_id: str, replay_id: str) -> ReplayDetail:
    """Cancel a replay that runs. What it has handed over is sent; the rest waits on."""
    found = _replay(resources, caller, integration_id, replay_id)
    if not cancel_replay(resources.engine, found, f"by api:{caller.name}", by):
        state = get_replay(resources.engine, found.id).state
        raise Problem(409, f"it is {state} already", hint="cancel one that runs")
    return _detail(resources, get_replay(resources.engine, found.id))


def _detail(resources: Resources, replay: Replay) -> ReplayDetail:
    return replay_detail(replay, replay_result(resources.engine, replay), for_tenant=True)


def _replay(resources: Resources, caller: ApiKey, integration_id: str, replay_id: str) -> Replay:
    """Return one of this integration's. Raises NotFoundError."""
    home = resources.integrations_of(caller.tenant_id).show(integration_id).id
    try:
        found = get_replay(resources.engine, replay_id)
    except NotFoundError:
        found = None
    if found is None or found.selection.integration_id != home:
        raise NotFoundError("there is no replay with this id")
    return found


def _target(resources: Resources, caller: ApiKey, into: str | None) -> str | None:
    if into is None:
        return None
    try:
        return resources.integrations_of(caller.tenant_id).show(into).id
    except NotFoundError:
        raise InvalidReplay(
            "into", "is none of your integrations", "give the id of one, or leave it out"
        ) from None


def _refuse_unknown_ids(selection: DeadLetterFilter, found: DeadLetterCount) -> None:
    missing = len(set(selection.ids)) - found.total
    if missing > 0:
        raise InvalidReplay(
            "ids",
            f"{missing} of them do not wait at this integration, or are not what else was asked for",
            "give those that GET …/dead-letters lists",
        )
