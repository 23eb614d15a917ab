"""What went wrong, as RFC 9457 problem details: which field, what is wrong with it, what would be right.

Input: any error that this software raises on purpose. Output: `application/problem+json`. No answer
repeats a value, for it may be a secret, none shows whether another tenant has something, and none names a
host, a file or a release of this installation: its operators read that in the log.
"""

import logging
import math
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from worker.api.access import TooManyFailures, UnknownKey
from worker.model.errors import (
    InvalidInput,
    InvalidIntegration,
    NotFoundError,
    OutageError,
    RevisionConflict,
    SecretUnreadable,
    SiemError,
)
from worker.model.limits import OverQuota, TooLargeIntegration, TooManyChanges
from worker.model.log_events import REQUEST_FAILED

#: What is wrong with an integration as a whole, or with how its fields go together, is said of these.
_WHOLE = frozenset({"destination", "integration"})
#: Items of `errors` in one answer at the most; the detail counts all.
MOST_ERRORS = 100

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
#: When to come back while something that we depend on is away, in seconds.
_AWAY = "5"
_LATER = "retry later; if it lasts, ask the operator of this installation: its log has the reason"

#: Phrases of RFC 9110 (15.5.14, 15.5.21) that differ between releases of Python.
_PHRASES = {413: "Content Too Large", 422: "Unprocessable Content"}


def status_phrase(status: int) -> str:
    """Return the phrase of an HTTP status, which is the title of a problem (RFC 9457, 4.2.1)."""
    return _PHRASES.get(status) or HTTPStatus(status).phrase


class Problem(SiemError):
    """An answer that is a problem."""

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        """Answer this HTTP status; `more` stands beside the detail: `field`, `reason`, `hint`, `errors`."""
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})
        self.more = more

    @property
    def title(self) -> str:
        """What kind of problem it is, in words."""
        return status_phrase(self.status)

    def response(self) -> JSONResponse:
        """Return it as an answer."""
        content = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": str(self),
            **self.more,
        }
        return JSONResponse(content, self.status, self.headers, media_type=MEDIA_TYPE)


def problem_of(error: Exception) -> Problem:
    """Return what to answer to an error; an unexpected error is not shown, but logged."""
    if isinstance(error, Problem):
        return error
    for kind, answer in _ANSWERS:
        if isinstance(error, kind):
            return answer(error)
    REQUEST_FAILED.log(log, error=type(error).__name__, exc_info=error)
    return Problem(500, "internal error; see the log")


def answer_problems(app: FastAPI) -> None:
    """Have every error of this application answered as a problem."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        request.app.state.resources.outages.note(error)
        return problem_of(error).response()

    for kind in (SiemError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer)


def _of_input(error: InvalidInput) -> Problem:
    items = [_error_item(one) for one in error.all]
    more = f" ({len(items) - 1} more wrong, see errors)" if error.others else ""
    return Problem(
        422,
        f"{error}{more}",
        field=error.field,
        reason=error.reason,
        hint=error.hint,
        errors=items[:MOST_ERRORS],
    )


def _error_item(error: InvalidInput) -> dict[str, str]:
    """Return an item of `errors`; `pointer` is where the field of an integration stands (RFC 6901)."""
    item = {"field": error.field, "reason": error.reason, "hint": error.hint}
    if isinstance(error, InvalidIntegration):
        parts = [] if error.field in _WHOLE else error.field.split(".")
        item["pointer"] = "#" + "".join("/" + one.replace("~", "~0").replace("/", "~1") for one in parts)
    return item


def _of_quota(error: OverQuota) -> Problem:
    """Name the quota: it is used up (409), or this alone is too large for it (422)."""
    status = 422 if isinstance(error, TooLargeIntegration) else 409
    more: dict[str, Any] = {"limit": error.limit, "most": error.most}
    return Problem(status, str(error), field=error.field, reason=error.reason, hint=error.hint, **more)


def _of_failures(error: TooManyFailures) -> Problem:
    seconds = str(math.ceil(error.retry_after))
    return Problem(429, str(error), headers={"Retry-After": seconds}, hint=f"wait {seconds} s")


def _of_changes(error: TooManyChanges) -> Problem:
    return Problem(429, str(error), headers={"Retry-After": "60"}, hint="try again later, or change less")


def _of_unknown_key(error: UnknownKey) -> Problem:
    return Problem(401, str(error), headers={"WWW-Authenticate": "Bearer"}, hint="use another key")


def _of_outage(error: OutageError) -> Problem:
    return Problem(503, error.public, headers={"Retry-After": _AWAY}, hint=_LATER)


def _of_others(error: SiemError) -> Problem:
    """Show no words that are not meant for callers."""
    REQUEST_FAILED.log(log, error=str(error))
    return Problem(503, "not available", hint=_LATER)


def _of_change(error: RevisionConflict) -> Problem:
    return Problem(412, str(error), hint="read it again, and send its ETag")


def _of_parameters(error: RequestValidationError) -> Problem:
    errors = [
        {"field": ".".join(map(str, one["loc"][1:])) or str(one["loc"][0]), "reason": one["msg"]}
        for one in error.errors()
    ]
    first = errors[0]
    return Problem(422, f"{first['field']}: {first['reason']}", **first, errors=errors)


#: The first kind that fits decides.
_ANSWERS: list[tuple[type[Exception], Callable[[Any], Problem]]] = [
    (OverQuota, _of_quota),
    (InvalidInput, _of_input),
    (UnknownKey, _of_unknown_key),
    (TooManyFailures, _of_failures),
    (TooManyChanges, _of_changes),
    (NotFoundError, lambda error: Problem(404, str(error))),
    (RevisionConflict, _of_change),
    (OutageError, _of_outage),
    (SecretUnreadable, lambda error: Problem(503, str(error))),
    (SiemError, _of_others),
    (HTTPException, lambda error: Problem(error.status_code, str(error.detail), headers=error.headers)),
    (RequestValidationError, _of_parameters),
    # No one reads this one; it is not an error of ours.
    (ClientDisconnect, lambda _: Problem(400, "the connection ended before the body did")),
]
