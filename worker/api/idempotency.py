"""Idempotency-Key: a request that comes twice with the same key is done once, and answered twice alike.

Input: a caller, the key, the bytes of the request, and what does it. Output: the answer.
"""

from collections.abc import Callable
from typing import Annotated

from fastapi import Header, Response

from worker.api.problems import Problem
from worker.api.resources import Resources
from worker.broker.idempotency import (
    Idempotency,
    IdempotencyLock,
    KeyReused,
    RequestInProgress,
    StoredResponse,
    request_digest,
)
from worker.broker.key_holders import apis_show_sealed_urls
from worker.model.api_keys import ApiKey
from worker.model.errors import InvalidInput, NotFoundError, RevisionConflict

FIELD = "Idempotency-Key"
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="Any text of your choice. The same request with the same key is done once in 24 hours, "
        "and answered as it was the first time. Of each tenant the latest answers are kept, up to a limit.",
    ),
]
#: Of the answer to a form of a page: what was in the form (`worker.pages.idempotency`).
FORM_DIGEST = "form-digest"
_KEPT_HEADERS = ("location", "etag", "content-type", FORM_DIGEST)


def run_idempotent(
    resources: Resources,
    caller: ApiKey,
    key: str | None,
    request: tuple[str, bytes],
    do: Callable[[IdempotencyLock | None], Response],
    *,
    has_secrets: bool = False,
) -> Response:
    """Do the request (its purpose and its bytes), unless that was done already; return the answer.

    Of a request that has secrets, a proof is kept in place of its digest (see `_signs`). Problems are not
    kept: the key may be used again with what is right. Raises a Problem, 422 or 409, and BrokerUnavailable;
    without a key, only what `do` raises.
    """
    if key is None:
        return do(None)
    purpose, raw = request
    try:
        found = Idempotency(resources.client, resources.config.idempotency_bytes).begin(
            caller.tenant_id, purpose, key, raw, _signs(resources, raw) if has_secrets else ()
        )
    except KeyReused:
        reason, hint = "was given before, with another request", "give another key"
        raise Problem(422, f"{FIELD}: {reason}; {hint}", field=FIELD, reason=reason, hint=hint) from None
    except RequestInProgress:
        raise Problem(
            409,
            "a request with this Idempotency-Key is under way",
            headers={"Retry-After": "1"},
            field=FIELD,
            hint="try again in a second",
        ) from None
    if isinstance(found, StoredResponse):
        return Response(found.body, found.status, found.headers)
    return finish(found, do)


def _signs(resources: Resources, raw: bytes) -> list[str]:
    """Return what stands for a request in Redis, where short secrets could be tried out on its digest.

    While an API of the release before runs, the digest is kept all the same: it knows that alone, and would
    refuse a request that was carried out here. Raises BrokerUnavailable.
    """
    digest = request_digest(raw)
    proofs = resources.vault.proofs.all("request", digest)
    return [*proofs, digest] if apis_show_sealed_urls(resources.client) else [digest, *proofs]


def finish(leave: IdempotencyLock, do: Callable[[IdempotencyLock | None], Response]) -> Response:
    """Do what the leave is for, and keep the answer; what fails with words for callers may be tried again."""
    try:
        response = do(leave)
    except (InvalidInput, Problem, RevisionConflict, NotFoundError):
        leave.forget()
        raise
    except BaseException:
        # It is not known how far it came: the next try goes on under the same name.
        leave.give_up()
        raise
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    leave.keep(StoredResponse(response.status_code, headers, bytes(response.body)))
    return response
