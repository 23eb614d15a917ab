"""Signing in with an API key, and out again."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from worker.api.access import TooManyFailures, UnknownKey
from worker.api.callers import Shared, host_of
from worker.api.pools import FairRoute, work
from worker.model.api_keys import ApiKey, Role
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
        return render(request, "sign_in.html", status=401, wanted=wanted, notice=None, error=_UNKNOWN)
    except TooManyFailures as error:
        words = (
            f"This key is not known, and too many wrong keys came from here. Wait {error.retry_after:.0f} s."
        )
        return render(request, "sign_in.html", status=429, wanted=wanted, notice=None, error=words)
    if key.role is Role.PUBLISH_ONLY:
        return render(request, "sign_in.html", status=403, wanted=wanted, notice=None, error=_NO_PAGES)
    return await work(key.tenant_id, _welcome, request, resources, key, wanted)


def _welcome(request: Request, resources: Shared, key: ApiKey, wanted: str) -> Response:
    """Begin with a new token, whatever cookie came with the request."""
    sessions = resources.sessions
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
    resources.sessions.close(user.token)
    answer = RedirectResponse(SIGN_IN, 303)
    answer.delete_cookie(COOKIE)
    return answer
