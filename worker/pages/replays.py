"""Replays of dead letters: counted first, then made, then watched as they go on."""

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from msgspec import structs
from starlette.datastructures import FormData

from worker.api.callers import Shared
from worker.api.pools import FairRoute
from worker.api.problems import Problem
from worker.api.resources import Resources
from worker.broker.idempotency import IdempotencyLock
from worker.ledger.dead_letters import count_dead_letters
from worker.ledger.replays import cancel_replay, create_replay, get_replay, replay_result
from worker.model.errors import InvalidReplay, NotFoundError
from worker.model.replays import (
    DEFAULT_RATE,
    FASTEST_RATE,
    DeadLetterFilter,
    Replay,
    ReplayResult,
    ReplayState,
)
from worker.pages.dead_letter_filter import LetterFilter
from worker.pages.dead_letters import LETTERS
from worker.pages.idempotency import run_form_once
from worker.pages.rendering import count_text_for_page, render
from worker.pages.sessions import HOME, CsrfForm, Editor, User, Viewer

router = APIRouter(include_in_schema=False, route_class=FairRoute)

REPLAYS = HOME + "/replays"
_RECOUNTED = "The number has changed: check it, and replay again. Nothing was sent."
#: Digits of a time in ms since 1970.
_LONGEST_MS = 16


@router.post(LETTERS + "/count")
def count(request: Request, resources: Shared, user: Editor, form: CsrfForm) -> Response:
    """Return what a replay would send, without sending it."""
    return _counted(request, resources, user, form)


@router.post(REPLAYS)
def make(request: Request, resources: Shared, user: Editor, form: CsrfForm) -> Response:
    """Make a replay of what was counted, and go where its progress is shown.

    What died since then is not meant; should it be another number all the same, it is asked again.
    """
    selection = _until(LetterFilter.of(form).selection(user.tenant_id), form)
    target = _target(resources, user, form.get("into"))

    def do(_leave: IdempotencyLock | None) -> Response:
        found = count_dead_letters(resources.engine, selection, elsewhere=target is not None)
        if form.get("counted", str(found.replayable)) != str(found.replayable):
            raise _OtherNumber(409, "it is another number of dead letters by now")
        replay = create_replay(
            resources.engine,
            selection,
            target_id=target,
            rate=_rate(str(form.get("rate", DEFAULT_RATE))),
            made_by=f"a page of {user.tenant_id}",
            quotas=resources.config.quotas,
            by=user.actor,
        )
        return RedirectResponse(f"{REPLAYS}/{replay.id}", 303)

    try:
        return run_form_once(resources, user.token_of(form), form, do)
    except _OtherNumber:
        return _counted(request, resources, user, form, notice=_RECOUNTED)


class _OtherNumber(Problem):
    """There are not as many letters as were counted."""


def _counted(
    request: Request, resources: Resources, user: User, form: FormData, notice: str = ""
) -> Response:
    narrowed, target = LetterFilter.of(form), _target(resources, user, form.get("into"))
    found = count_dead_letters(
        resources.engine, narrowed.selection(user.tenant_id), elsewhere=target is not None
    )
    return render(
        request,
        "count.html",
        user,
        status=409 if notice else 200,
        notice=notice,
        narrowed=narrowed,
        counted=found,
        into=target,
        names=resources.integrations_of(user.tenant_id).names(),
        rate=form.get("rate", DEFAULT_RATE),
        fastest=FASTEST_RATE,
    )


def _until(selection: DeadLetterFilter, form: FormData) -> DeadLetterFilter:
    """Return the selection without what died after the letters were counted."""
    text = str(form.get("upto", ""))
    if not text.isdecimal() or len(text) > _LONGEST_MS:
        return selection
    upto_ms = int(text)
    until_ms = upto_ms if selection.until_ms is None else min(upto_ms, selection.until_ms)
    return structs.replace(selection, until_ms=until_ms)


@router.get(REPLAYS + "/{replay_id}")
def show(request: Request, resources: Shared, user: Viewer, replay_id: str) -> Response:
    """Show how far a replay is."""
    replay = _replay(resources, user, replay_id)
    became = replay_result(resources.engine, replay)
    over = replay.state is not ReplayState.RUNNING and not became.under_way
    return render(
        request,
        "replay.html",
        user,
        replay=replay,
        became=became,
        names=resources.integrations_of(user.tenant_id).names(),
        runs=replay.state is ReplayState.RUNNING,
        over=over,
        ended=_ended(replay, became) if over else None,
    )


def _ended(replay: Replay, became: ReplayResult) -> tuple[str, str]:
    """Return how a replay has ended: a state, as of an integration, and words."""
    if became.dead and not became.delivered:
        return "failing", "None was delivered: all failed again"
    if became.dead:
        return "degraded", f"{count_text_for_page(became.dead, 'event', 'events')} failed again"
    if replay.state is not ReplayState.DONE:
        return "degraded", "Cancelled: what was not sent is still a dead letter"
    if became.delivered:
        return "healthy", "Done: all were delivered"
    return "idle", "Done: nothing had to be sent"


@router.post(REPLAYS + "/{replay_id}/cancel")
def cancel(resources: Shared, user: Editor, _form: CsrfForm, replay_id: str) -> Response:
    """End a replay; what it has handed over is sent."""
    replay = _replay(resources, user, replay_id)
    cancel_replay(resources.engine, replay, "by hand", user.actor)
    return RedirectResponse(f"{REPLAYS}/{replay.id}", 303)


def _replay(resources: Shared, user: User, replay_id: str) -> Replay:
    """Return a replay of the user's tenant. Raises NotFoundError for any other."""
    unknown = NotFoundError("there is no replay with this id")
    try:
        replay = get_replay(resources.engine, replay_id)
    except NotFoundError:
        raise unknown from None
    home = replay.selection.integration_id
    is_ours = replay.selection.tenant_id == user.tenant_id or (
        home is not None and resources.integrations_of(user.tenant_id).knows(home)
    )
    if not is_ours:
        raise unknown
    return replay


def _target(resources: Shared, user: User, given: object) -> str | None:
    """Return the id of the integration that gets the events; it must be one of the user's."""
    if not given:
        return None
    return resources.integrations_of(user.tenant_id).show(str(given)).id


def _rate(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidReplay("rate", "is no number", f"give 1 to {FASTEST_RATE} events a second") from None
