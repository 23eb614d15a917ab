"""`POST /events`: takes events for the fleet, and says so only when Redis has them.

Needs no database: a key that was recognised opens while it is away. Threads of its own publish, so that a
Redis that hangs does not hold up other requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from worker.api.bodies import raw_body, unpacked
from worker.api.callers import Publisher, Shared
from worker.api.idempotency import IdempotencyKey, run_idempotent
from worker.api.limits import RefusalReason, note_refusal
from worker.api.openapi import problems
from worker.api.pools import PUBLISHING, PoolFull
from worker.api.problems import Problem
from worker.api.resources import Resources
from worker.api.validation import ValidatedLines, lines_of, validate_lines
from worker.broker.connection import Client
from worker.broker.formats import KnownFormats
from worker.broker.frames import JudgedEvent
from worker.broker.ingress_counts import unrouted_roughly
from worker.broker.ingress_writer import add_judged
from worker.broker.notices import floods
from worker.model.api_keys import ApiKey
from worker.model.errors import BrokerUnavailable
from worker.model.events import EventType
from worker.views.publishing import MAX_LINE_ERRORS, PublicationDocument, publication_document

if TYPE_CHECKING:
    from worker.tracing.spans import OpenSpan, Tracing

router = APIRouter(tags=["events"])

#: Lines of one request, and events of one round trip to Redis.
MOST_LINES, WINDOW = 10_000, 1000
#: When to come back, in seconds: Redis is away or full, or too much waits in it.
_AWAY, _CROWDED, _FULL = "5", "5", "60"
#: So many times `SIEM_INGRESS_MOST` may wait before those are refused who do not flood the ingress.
_PATIENCE = 2

_ONE, _LINES = "application/json", ("application/x-ndjson", "application/ndjson")

_EVENT = {
    "type": "object",
    "required": ["id", "type", "timestamp"],
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": 128},
        "type": {"enum": list(EventType)},
        "timestamp": {"type": "string", "format": "date-time"},
        "tenant_id": {"type": "string", "description": "That of the API key; left out, it is filled in."},
    },
}
_EXAMPLE = {"id": "evt_1", "type": "policy.deny", "timestamp": "2026-11-22T10:11:12.345Z"}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "One event, or one a line; Content-Encoding: gzip is understood.",
        "content": {
            _ONE: {"schema": _EVENT, "example": _EXAMPLE},
            _LINES[0]: {"schema": {"type": "string"}},
        },
    }
}
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "Redis has those accepted; the lines in `errors` are not among them: the first "
        f"{MAX_LINE_ERRORS} of those that were refused",
        "model": PublicationDocument,
    }
}


@dataclass(frozen=True, slots=True)
class _Sent:
    """A body as it was sent, and what its headers say it is."""

    raw: bytes
    kind: str
    encoding: str


@dataclass(frozen=True, slots=True)
class _Traced:
    """A request that is traced, and its span."""

    tracing: "Tracing"
    span: "OpenSpan"


class _Publication:
    """Events on their way into Redis: `accepted` is how many it has said to have."""

    def __init__(self, judged: ValidatedLines, formats: KnownFormats, traced: "_Traced | None") -> None:
        self.judged = judged
        self._formats = formats
        self._traced = traced
        self.accepted = 0
        self._missed: int | None = 0

    def run(self, client: Client) -> None:
        """Publish. Raises BrokerUnavailable when Redis did not take all of them."""
        events = self.judged.events
        for start in range(0, len(events), WINDOW):
            self._missed = start
            answers = self._add(client, events[start : start + WINDOW])
            errors = [place for place, answer in enumerate(answers) if isinstance(answer, Exception)]
            self.accepted += len(answers) - len(errors)
            if errors:
                self._missed = start + errors[0]
                raise _unavailable(answers[errors[0]])
        self._missed = None

    def _add(self, client: Client, events: Sequence[JudgedEvent]) -> list[bytes | Exception]:
        if self._traced is None:
            return add_judged(client, self._formats, events)
        with self._traced.tracing.publish(len(events), self._traced.span.inside) as span:
            answers = add_judged(client, self._formats, events, span.header)
            span.answered(answers)
            return answers

    def document(self) -> dict[str, Any]:
        """Return how far it came, as the answer says it."""
        found = publication_document(self.accepted, self.judged.refused, self.judged.errors)
        return found.model_dump()

    def cut_short(self, error: BrokerUnavailable) -> Problem:
        """Return how far it came; to send again from `resume_at_line` on loses nothing."""
        more: dict[str, Any] = {}
        if self._missed is not None:
            more["resume_at_line"] = self.judged.lines[self._missed]
        return Problem(
            503,
            f"{error.public} ({self.accepted} events were accepted)",
            headers={"Retry-After": _AWAY},
            hint="send those that were not accepted again; an event that came twice has the same id",
            **self.document(),
            **more,
        )


@router.post(
    "/events",
    status_code=202,
    response_class=JSONResponse,
    openapi_extra=_BODY,
    responses=_ACCEPTED | problems(400, 401, 403, 408, 409, 413, 415, 429, 503),
)
async def publish_events(
    caller: Publisher, resources: Shared, request: Request, idempotency_key: IdempotencyKey = None
) -> Response:
    """Publish one event, or one a line; each is delivered to every integration that subscribed to it.

    202 says that Redis has them. Lines that hold no valid event are named, and do not keep the others out.
    """
    sent = _Sent(
        await raw_body(request, resources.config.api_body_bytes),
        _kind(request.headers.get("content-type", "")),
        request.headers.get("content-encoding", "").strip().lower(),
    )
    if resources.tracing is None:
        return await _in_pool(resources, caller, idempotency_key, sent)
    names = "traceparent", "tracestate"
    with resources.tracing.serve(request.url.path, *map(request.headers.getlist, names)) as span:
        span.set({"siem.tenant.id": caller.tenant_id})
        traced = _Traced(resources.tracing, span)
        try:
            found: Response | Problem = await _in_pool(resources, caller, idempotency_key, sent, traced)
        except Problem as problem:
            found = problem
        span.answer(found.status if isinstance(found, Problem) else found.status_code)
    if isinstance(found, Problem):
        raise found
    return found


async def _in_pool(
    resources: Resources, caller: ApiKey, key: str | None, sent: _Sent, traced: _Traced | None = None
) -> Response:
    try:
        return await PUBLISHING.run(caller.tenant_id, _publish, resources, caller, key, sent, traced)
    except PoolFull as full:
        raise _no_room(full, caller) from None


def _no_room(full: PoolFull, caller: ApiKey) -> Problem:
    """Return the problem of a body that would only wait: a Redis that hangs must not gather them all."""
    who = "tenant" if full.is_own else "installation"
    note_refusal(
        RefusalReason.THREADS_OF_ONE if full.is_own else RefusalReason.THREADS,
        f"tenant {caller.tenant_id}, publishing" if full.is_own else "all who publish",
    )
    return Problem(
        429 if full.is_own else 503,
        f"too many requests of this {who} wait for Redis already",
        headers={"Retry-After": _AWAY},
        hint="send it again later: it was not accepted",
        accepted=0,
    )


def _kind(content_type: str) -> str:
    kind = content_type.partition(";")[0].strip().lower()
    if kind != _ONE and kind not in _LINES:
        raise Problem(
            415,
            "Content-Type: is neither JSON nor NDJSON",
            field="Content-Type",
            hint=f"send one event as {_ONE}, or one a line as {_LINES[0]}",
        )
    return kind


def _publish(
    resources: Resources, caller: ApiKey, key: str | None, sent: _Sent, traced: _Traced | None
) -> Response:
    judged = _judged(sent, caller.tenant_id, resources.config.api_body_bytes)
    publication = _Publication(judged, resources.formats, traced)

    def do(_leave: object) -> Response:
        resources.ownership.require()
        _refuse_if_crowded(resources, caller.tenant_id)
        publication.run(resources.client)
        return JSONResponse(publication.document(), 202)

    asked = b"\0".join([sent.kind.encode(), sent.encoding.encode(), sent.raw])
    try:
        return run_idempotent(resources, caller, key, ("events", asked), do)
    except BrokerUnavailable as error:
        resources.outages.note(error)
        raise publication.cut_short(error) from None


def _judged(sent: _Sent, tenant_id: str, most: int) -> ValidatedLines:
    """Judge what was sent. Raises a Problem when nothing of it can be published."""
    body = unpacked(sent.raw, sent.encoding, most)
    if sent.kind == _ONE:
        judged = validate_lines([(1, body)], tenant_id)
    elif body.count(b"\n") > MOST_LINES:
        raise Problem(413, f"the body has more than {MOST_LINES} lines", hint="send less at once")
    else:
        judged = validate_lines(lines_of(body), tenant_id)
    if not judged.events:
        raise _nothing_valid(judged)
    return judged


def _nothing_valid(judged: ValidatedLines) -> Problem:
    if not judged.errors:
        reason, hint = "holds no event", "send one event a line"
        return Problem(422, f"body: {reason}; {hint}", field="body", reason=reason, hint=hint)
    refusal = publication_document(0, judged.refused, judged.errors).model_dump()
    first = {name: refusal["errors"][0][name] for name in ("field", "reason", "hint")}
    words = "{field}: {reason}; {hint}".format(**first)
    refused = judged.refused
    where = "" if refused == 1 else f"none of {refused} events is valid; line {judged.errors[0].line}: "
    return Problem(422, where + words, **first, **refusal)


def _refuse_if_crowded(resources: Resources, tenant_id: str) -> None:
    """Refuse who floods the ingress; others too if no router lets theirs pass, or far too much waits."""
    most = resources.config.ingress_most
    found = unrouted_roughly(resources.client, most)
    full = resources.full_tenants.now()
    if tenant_id in full:
        raise _full(full[tenant_id], resources.config.tenant_waiting_bytes)
    if found < most:
        return
    flooding = floods(resources.client)
    if flooding is not None and tenant_id not in flooding and found < _PATIENCE * most:
        return
    raise Problem(
        429,
        f"{found} events wait to be routed already",
        headers={"Retry-After": _CROWDED},
        hint="send it again later: it was not accepted",
        accepted=0,
    )


def _full(size: int, most: int) -> Problem:
    return Problem(
        429,
        f"{size} bytes of this tenant's events wait to be delivered (limit tenant_waiting_bytes: {most})",
        headers={"Retry-After": _FULL},
        hint="resume what is paused, or delete integrations that are not needed; then send it again",
        limit="tenant_waiting_bytes",
        most=most,
        accepted=0,
    )


def _unavailable(answer: object) -> BrokerUnavailable:
    return answer if isinstance(answer, BrokerUnavailable) else BrokerUnavailable(str(answer))
