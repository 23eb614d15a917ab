"""Replays of dead letters: counted first, then made, then watched as they go on."""

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from worker.api.callers import Shared
from worker.ledger.letters import census
from worker.ledger.replays import create_replay, end_replay, fates, get_replay
from worker.model.errors import InvalidReplay, NotFoundError
from worker.model.replays import DEFAULT_RATE, FASTEST_RATE, Replay, ReplayState
from worker.pages.letter_filter import LetterFilter
from worker.pages.letters import LETTERS
from worker.pages.rendering import render
from worker.pages.visitors import HOME, Changing, Looking, Posted, Visitor

router = APIRouter(include_in_schema=False)

REPLAYS = HOME + "/replays"


@router.post(LETTERS + "/count")
def count(request: Request, resources: Shared, visitor: Changing, form: Posted) -> Response:
    """Say what a replay would send, without sending it."""
    narrowed, target = LetterFilter.of(form), _target(resources, visitor, form.get("into"))
    counted = census(resources.engine, narrowed.selection(visitor.tenant_id), elsewhere=target is not None)
    return render(
        request,
        "count.html",
        visitor,
        narrowed=narrowed,
        counted=counted,
        into=target,
        names=resources.integrations_of(visitor.tenant_id).names(),
        rate=DEFAULT_RATE,
        fastest=FASTEST_RATE,
    )


@router.post(REPLAYS)
def make(resources: Shared, visitor: Changing, form: Posted) -> Response:
    """Make a replay, and go where its progress is shown."""
    replay = create_replay(
        resources.engine,
        LetterFilter.of(form).selection(visitor.tenant_id),
        target_id=_target(resources, visitor, form.get("into")),
        rate=_rate(str(form.get("rate", DEFAULT_RATE))),
        made_by=f"a page of {visitor.tenant_id}",
        quotas=resources.config.quotas,
    )
    return RedirectResponse(f"{REPLAYS}/{replay.id}", 303)


@router.get(REPLAYS + "/{replay_id}")
def show(request: Request, resources: Shared, visitor: Looking, replay_id: str) -> Response:
    """Show how far a replay is."""
    replay = _replay(resources, visitor, replay_id)
    became = fates(resources.engine, replay)
    return render(
        request,
        "replay.html",
        visitor,
        replay=replay,
        became=became,
        names=resources.integrations_of(visitor.tenant_id).names(),
        runs=replay.state is ReplayState.RUNNING,
        over=replay.state is not ReplayState.RUNNING and not became.under_way,
    )


@router.post(REPLAYS + "/{replay_id}/cancel")
def cancel(resources: Shared, visitor: Changing, _form: Posted, replay_id: str) -> Response:
    """End a replay; what it has handed over is sent."""
    replay = _replay(resources, visitor, replay_id)
    end_replay(resources.engine, replay.id, ReplayState.CANCELLED, "by hand")
    return RedirectResponse(f"{REPLAYS}/{replay.id}", 303)


def _replay(resources: Shared, visitor: Visitor, replay_id: str) -> Replay:
    """Return a replay of the visitor's tenant. Raises NotFoundError for any other."""
    unknown = NotFoundError("there is no replay with this id")
    try:
        replay = get_replay(resources.engine, replay_id)
    except NotFoundError:
        raise unknown from None
    home = replay.selection.integration_id
    is_ours = replay.selection.tenant_id == visitor.tenant_id or (
        home is not None and resources.integrations_of(visitor.tenant_id).knew(home)
    )
    if not is_ours:
        raise unknown
    return replay


def _target(resources: Shared, visitor: Visitor, given: object) -> str | None:
    """Return the id of the integration that gets the events; it must be one of the visitor's."""
    if not given:
        return None
    return resources.integrations_of(visitor.tenant_id).show(str(given)).id


def _rate(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidReplay("rate", "is no number", f"give 1 to {FASTEST_RATE} events a second") from None
