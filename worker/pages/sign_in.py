"""Signing in with an API key, and out again."""

import logging
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from worker.api.access import TooManyFailures, UnknownKey
from worker.api.callers import Shared, host_of
from worker.api.limits import origin_of
from worker.api.pools import SESSIONS, FairRoute, PoolFull, work
from worker.model.api_keys import ApiKey, Role
from worker.model.audit import Action, Actor, ActorKind, AuditRecord, key_actor, session_record
from worker.model.errors import BrokerUnavailable
from worker.model.log_events import AUDIT_RECORDS_DROPPED
from worker.pages.rendering import render
from worker.pages.sessions import (
    COOKIE,
    HOME,
    SIGN_IN,
    CsrfForm,
    Viewer,
    fields_of,
    refuse_foreign,
    safe_place,
)

log = logging.getLogger(__name__)

router = APIRouter(include_in_schema=False, route_class=FairRoute)

_UNKNOWN = "This key is not known here, or was revoked. `siem api-keys create` makes one."
_NO_PAGES = "This key may only publish events. Sign in with one that is admin or read-only."


#: Why a user who sent a form has to sign in.
_WHY = {
    "ended": "Your session has ended. Your input is kept for half an hour: sign in with the same key to "
    "restore it. Nothing was saved yet.",
    "other": "A key of another tenant was used to sign in since you opened that form. Your input is kept for "
    "half an hour: sign in with the earlier key to restore it.",
    "lost": "That form belongs to a session that has ended, and your input is not kept: it is too long, or "
    "its key was revoked. Go back in your browser to copy it. Nothing was saved.",
}


@router.get("/")
async def home() -> RedirectResponse:
    """Go to the list."""
    return RedirectResponse(HOME, 303)


@router.get(SIGN_IN)
async def sign_in(
    request: Request, wanted: Annotated[str, Query(alias="next")] = HOME, why: str = ""
) -> Response:
    """Ask for a key, and say why if a form was not saved."""
    return render(request, "sign_in.html", wanted=safe_place(wanted), error=None, notice=_WHY.get(why))


@router.post(SIGN_IN)
async def begin(request: Request, resources: Shared) -> Response:
    """Begin a session with the key that was given."""
    refuse_foreign(request)
    form = await fields_of(request)
    wanted, text = safe_place(str(form.get("next", HOME))), str(form.get("key", "")).strip()
    try:
        key = await resources.access.admit(text, host_of(request))
    except UnknownKey:
        await _note_refused(request, resources, text)
        return render(request, "sign_in.html", status=401, wanted=wanted, notice=None, error=_UNKNOWN)
    except TooManyFailures as error:
        words = (
            f"This key is not known, and too many wrong keys came from here. Wait {error.retry_after:.0f} s."
        )
        return render(request, "sign_in.html", status=429, wanted=wanted, notice=None, error=words)
    if key.role is Role.PUBLISH_ONLY:
        await _note_refused(request, resources, text)
        return render(request, "sign_in.html", status=403, wanted=wanted, notice=None, error=_NO_PAGES)
    recorded = resources.access.sign_ins.allows(f"in {key.id}")
    return await work(key.tenant_id, _welcome, request, resources, key, wanted, recorded)


def _welcome(
    request: Request,
    resources: Shared,
    key: ApiKey,
    wanted: str,
    recorded: bool,  # noqa: FBT001 - passed on by place
) -> Response:
    """Begin with a new token, whatever cookie came with the request."""
    sessions = resources.sessions
    actor = key_actor(ActorKind.PAGE, key, host_of(request))
    _record(resources, session_record(Action.SIGNED_IN, actor, key.tenant_id), recorded=recorded)
    sessions.close(request.cookies.get(COOKIE, ""))
    answer = RedirectResponse(wanted, 303)
    answer.set_cookie(
        COOKIE,
        sessions.open(key),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/sign-out")
def sign_out(resources: Shared, user: Viewer, _form: CsrfForm) -> Response:
    """End the session."""
    recorded = resources.access.sign_ins.allows(f"out {user.key_id}")
    _record(resources, session_record(Action.SIGNED_OUT, user.actor, user.tenant_id), recorded=recorded)
    resources.sessions.close(user.token)
    answer = RedirectResponse(SIGN_IN, 303)
    answer.delete_cookie(COOKIE)
    return answer


async def _note_refused(request: Request, resources: Shared, text: str) -> None:
    """Record that a key which is or was one has not opened, once in a while; others are anyone's guesses."""
    named = resources.access.refused_key(text)
    if named is None or not resources.access.refusals.allows(named[0]):
        return
    key_id, key = named
    address = host_of(request)
    actor = Actor(ActorKind.PAGE, key_id, key.name if key else None, address or None)
    record = session_record(Action.SIGN_IN_REFUSED, actor, key.tenant_id if key else None)
    with suppress(PoolFull, BrokerUnavailable):  # what was refused is refused all the same
        await SESSIONS.run(origin_of(address), resources.inbox.put_if_room, record)


def _record(resources: Shared, record: AuditRecord, *, recorded: bool) -> None:
    """Leave a record for the audit trail, before what it is about is done."""
    if not recorded:
        AUDIT_RECORDS_DROPPED.log(log, count=1, reason=f"too many sign-ins with key {record.actor.key_id}")
    elif not resources.inbox.put_if_room(record):
        AUDIT_RECORDS_DROPPED.log(log, count=1, reason="too many wait for a recorder")
