"""A form that comes twice, as by a double click, is carried out once, and answered twice alike.

Input: a form with its token, and what does it. Output: the answer. Only for what must not be done twice:
a button that merely sets a state does no harm, and may be meant a second time.
"""

import json
import time
from collections.abc import Callable

from fastapi import Response
from starlette.datastructures import FormData

from worker.api.idempotency import FORM_DIGEST, finish
from worker.api.problems import Problem
from worker.api.resources import Resources
from worker.broker.idempotency import Idempotency, IdempotencyLock, RequestInProgress, StoredResponse
from worker.pages.form_tokens import FORM_FIELD, FormToken
from worker.pages.sessions import CSRF_FIELD, safe_place

#: How long the second one waits for the answer to the first, in seconds.
_PATIENCE, _LOOK = 2.0, 0.05
_PURPOSE = "form"
_RELOAD = "load the page again"


class FormAlreadySent(Problem):
    """The form was sent before, with something else in it, and carried out."""


def run_form_once(
    resources: Resources,
    token: FormToken | None,
    form: FormData,
    do: Callable[[IdempotencyLock | None], Response],
) -> Response:
    """Do it, unless this very form was carried out before; without a token, do it in any case.

    A form that failed with words for people may be sent again. Raises UsedForm, Problem, BrokerUnavailable,
    and what `do` raises.
    """
    if token is None:
        return do(None)
    typed = _typed(form)
    found = _begin(resources, token)
    if isinstance(found, StoredResponse):
        if not resources.vault.proofs.holds(found.headers.get(FORM_DIGEST, ""), _PURPOSE, typed):
            raise FormAlreadySent(
                409, "this form has been saved before, with something else in it", hint=_RELOAD
            )
        return _again(found)

    def do_and_note(leave: IdempotencyLock | None) -> Response:
        made = do(leave)
        # A bare digest would let who reads Redis try out short secrets of the form.
        made.headers[FORM_DIGEST] = resources.vault.proofs.prove(_PURPOSE, typed)
        return made

    return finish(found, do_and_note)


def _again(found: StoredResponse) -> Response:
    """Return what was answered; not as a page to show, for who can write to Redis could write one."""
    headers = {name: value for name, value in found.headers.items() if name in {"location", "etag"}}
    if "location" in headers:
        headers["location"] = safe_place(headers["location"])
    return Response(found.body, found.status, headers, media_type="text/plain")


def _begin(resources: Resources, token: FormToken) -> IdempotencyLock | StoredResponse:
    requests = Idempotency(resources.client, resources.config.idempotency_bytes)
    ends = time.monotonic() + _PATIENCE
    while True:
        try:
            # What is in the form does not count here: it may be changed until it was carried out.
            return requests.begin(token.tenant_id, _PURPOSE, token.name, b"")
        except RequestInProgress:
            if time.monotonic() > ends:
                raise Problem(
                    409, "this form is being saved at this moment", hint="try again in a second"
                ) from None
            time.sleep(_LOOK)


def _typed(form: FormData) -> str:
    """Return all that is in the form, as one text."""
    typed = [one for one in form.multi_items() if one[0] not in {CSRF_FIELD, FORM_FIELD}]
    return json.dumps([(name, str(value)) for name, value in typed])
