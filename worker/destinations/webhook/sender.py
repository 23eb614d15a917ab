"""A webhook: each event in a request of its own, or several in one, signed as Standard Webhooks 1.0.0 says.

Events become requests (`format`), many of them in flight at once, each with one answer and one meaning
(`verdict`), and only what failed is sent again. Where a request carries several events, the one to blame must
not take the others with it, and no event may be carried by more than four requests: a refused request is sent
again in parts of about its square root, and one by one with the last request that its events have left.

A request that met a kept connection just as the other side ended it (RFC 9112, section 9.3.1) is sent once
more at once. It may have been processed, so it counts among the four, but it is no attempt that failed.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import msgspec

from worker.destinations.batching import IF_UNSENT, WITH_THREE_LEFT, BatchPlan, RequestLimit
from worker.destinations.webhook.format import MASK, WebhookFormat
from worker.destinations.webhook.redaction import webhook_secrets
from worker.destinations.webhook.verdict import SUCCESSES, WebhookMeaning, WebhookVerdict, response_verdict
from worker.integrations.secrets import masked_url
from worker.integrations.webhook import Webhook
from worker.model.batches import DeliveryAttempt
from worker.model.deliveries import DeliveryResult, Failure, Verdict
from worker.model.errors import KeptConnectionLost
from worker.model.events import QueuedEvent
from worker.model.failures import FailureCode
from worker.transports.curl.answer import CurlResponse
from worker.transports.curl.client import ManyHttp
from worker.transports.curl.flight import Flight
from worker.transports.guard import Guard

#: How far apart the first and the last of one result may be: so many milliseconds, and a share of their age.
_CLOSE_MS = 5
_CLOSE_SHARE = 0.2


@dataclass(slots=True)
class _Group:
    first_ms: int
    last_ms: int
    places: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ResultKey:
    """What results have in common; see `worker.model.deliveries.DeliveryResult`."""

    verdict: Verdict
    failure: Failure | None = None
    retry_after: float | None = None
    http_status: int | None = None
    not_accepted: bool | None = None


@lru_cache
def accepted_key(status: int) -> ResultKey:
    """Return what those have in common that were accepted with this status."""
    return ResultKey(Verdict.ACCEPTED, http_status=status)


class ResultCollector:
    """Gathers the results of one sending."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._open: dict[ResultKey, _Group] = {}
        #: What was added last, which most of what follows is like: to look it up costs more than all else.
        self._last: tuple[ResultKey, _Group] | None = None
        self._results: list[DeliveryResult] = []

    def add(self, places: Sequence[int], reason: ResultKey, elapsed_ms: int) -> None:
        """Add a result for these places; `elapsed_ms` never goes back."""
        if self._last is not None and self._last[0] is reason:
            group: _Group | None = self._last[1]
        else:
            group = self._open.get(reason)
        if group is None or elapsed_ms > group.first_ms * (1 + _CLOSE_SHARE) + _CLOSE_MS:
            if group is not None:
                self._close(reason, group)
            group = self._open[reason] = _Group(elapsed_ms, elapsed_ms)
        self._last = reason, group
        group.places.extend(places)
        group.last_ms = elapsed_ms

    def results(self) -> list[DeliveryResult]:
        """Return them all; the time of each is the middle of its own."""
        for reason, group in self._open.items():
            self._close(reason, group)
        self._open.clear()
        self._last = None
        return self._results

    def _close(self, reason: ResultKey, group: _Group) -> None:
        middle = (group.first_ms + group.last_ms) // 2
        self._results.append(
            DeliveryResult(
                group.places,
                reason.verdict,
                middle,
                failure=reason.failure,
                retry_after=reason.retry_after,
                http_status=reason.http_status,
                not_accepted=reason.not_accepted,
            )
        )


#: So many failures in a row, with no success among them, and what has not been started waits.
_ENOUGH = 5
#: How long to wait for an answer before looking at the clock again, in seconds.
_LOOK_UP = 1.0
_OUT_OF_TIME = Failure(
    FailureCode.OUT_OF_TIME,
    "the time for this batch ran out before these events were sent",
    "if it lasts, the endpoint is too slow for what it is sent: raise the integration's `connections`",
)


class WebhookDelivery:
    """One sending of one batch; a part of it is what one request carries, as places in the batch."""

    def __init__(
        self, written: WebhookFormat, secrets: Sequence[str], limit: RequestLimit, attempt: DeliveryAttempt
    ) -> None:
        """Send in requests within the limit; results show what the endpoint said without these secrets."""
        self._format = written
        self._secrets = secrets
        self._limit = limit
        self._batch = attempt.batch
        self._results = ResultCollector()
        self._failures = 0
        self._why_stopped: WebhookVerdict | None = None
        self._plan = BatchPlan(attempt, limit, event_sizes(self._batch.events, attempt.places))
        self._plan.add(attempt.places, whole=WITH_THREE_LEFT)

    def run(self, flight: Flight, timeout: float, deadline: float) -> list[DeliveryResult]:
        """Send until `deadline` (monotonic seconds), with `timeout` seconds for each request."""
        while self._plan or not flight.is_empty:
            self._start(flight, timeout, deadline)
            landed = flight.landed(_LOOK_UP)
            elapsed_ms = self._batch.elapsed_ms()
            for part, outcome in landed:
                if isinstance(outcome, CurlResponse) and outcome.status in SUCCESSES:
                    self._failures = 0
                    self._results.add(part, accepted_key(outcome.status), elapsed_ms)
                elif not (self._is_cut_off(outcome) and self._plan.repeat(part)):
                    self._take(part, response_verdict(outcome, self._secrets))
        return self._results.results()

    def _start(self, flight: Flight, timeout: float, deadline: float) -> None:
        plan, events = self._plan, self._batch.events
        while plan and flight.has_room:
            left = deadline - time.monotonic()
            if left <= 0:
                self._stop(WebhookVerdict(WebhookMeaning.RETRY, _OUT_OF_TIME))
                return
            part = plan.next_part()
            headers, body = self._format.request([events[place] for place in part])
            is_repeat = plan.is_repeated(part)
            flight.start(part, headers, body, min(left, timeout), dials=is_repeat)
            # Nothing of it goes out before the flight is asked what has landed.
            plan.count(part)

    def _is_cut_off(self, outcome: object) -> bool:
        return isinstance(outcome, KeptConnectionLost) and self._why_stopped is None

    def _take(self, part: Sequence[int], verdict: WebhookVerdict) -> None:
        meaning = verdict.meaning
        if meaning is WebhookMeaning.REFUSED and len(part) > 1:
            self._split(part, verdict)
        elif meaning is WebhookMeaning.REFUSED:
            self._failures = 0
            self._add_result(part, Verdict.REFUSED, verdict)
        else:
            self._fail(part, verdict)

    def _fail(self, part: Sequence[int], verdict: WebhookVerdict) -> None:
        # One event answers for an endpoint that is gone; of several, none is known to be to blame.
        refused = verdict.meaning is WebhookMeaning.GONE and len(part) == 1
        self._add_result(part, Verdict.REFUSED if refused else Verdict.RETRY, verdict)
        self._failures += 1
        if verdict.is_shortage:
            self._stop(verdict)
        elif verdict.meaning is not WebhookMeaning.RETRY or self._failures >= _ENOUGH:
            self._stop(_held_back(verdict))

    def _stop(self, why: WebhookVerdict) -> None:
        """Start nothing more: what has not been sent waits, uncounted."""
        self._why_stopped = self._why_stopped or why
        for part in self._plan.stop():
            self._add_result(part, Verdict.RETRY, self._why_stopped)

    def _split(self, part: Sequence[int], verdict: WebhookVerdict) -> None:
        """Send in smaller parts what was refused as a whole."""
        if verdict.failure is not None and verdict.failure.code == FailureCode.TOO_LARGE:
            self._limit.shrink(self._plan.size_of(part))
        spent = self._plan.add_first(part, whole=IF_UNSENT)
        self._add_result(spent, Verdict.RETRY, verdict)
        if self._why_stopped is not None:
            self._stop(self._why_stopped)

    def _add_result(self, places: Sequence[int], verdict: Verdict, why: WebhookVerdict) -> None:
        # Whatever the last answer says, what was cut off before may have arrived.
        cut_off, others = self._plan.by_repeated(places)
        for some, not_accepted in ((cut_off, False), (others, None)):
            if some:
                reason = ResultKey(verdict, why.failure, why.retry_after, why.http_status, not_accepted)
                self._results.add(some, reason, self._batch.elapsed_ms())


def event_sizes(events: Sequence[QueuedEvent], places: Sequence[int]) -> dict[int, int]:
    """Return the bytes that each of these adds to a body of several, the comma or line end included."""
    return {place: len(events[place].raw) + 1 for place in places}


def _held_back(verdict: WebhookVerdict) -> WebhookVerdict:
    """Say of events that were not sent which answer to others kept them back."""
    failure = verdict.failure
    if failure is not None:
        message = f"not sent, because of the answer to others: {failure.message}"
        failure = msgspec.structs.replace(failure, message=message, http_status=None)
    return replace(verdict, failure=failure, http_status=None)


class WebhookSender:
    """Sends batches to one endpoint."""

    def __init__(self, config: Webhook, guard: Guard, **_unused: object) -> None:
        """Prepare what all requests have in common; connect when the first batch comes.

        Raises InvalidIntegration when the url or a PEM cannot be used.
        """
        self._config = config
        self._format = WebhookFormat(config)
        self._secrets = webhook_secrets(config)
        events = config.batch_events if self._format.is_batched else 1
        self._limit = RequestLimit(events=events, size=config.batch_bytes - len("["))
        headers = self._format.fixed_headers()
        self._transport = ManyHttp(guard, config, config.url, headers, connections=config.connections)

    def send(self, attempt: DeliveryAttempt, deadline: float) -> list[DeliveryResult]:
        """Send what is to be sent of the batch; see `worker.destinations.Sender`."""
        timeout = self._config.timeout_seconds
        sending = WebhookDelivery(self._format, self._secrets, self._limit, attempt)
        with self._transport.flight(min(timeout, max(0.0, deadline - time.monotonic()))) as flight:
            return sending.run(flight, timeout, deadline)

    def preview(self, events: Sequence[QueuedEvent]) -> bytes:
        """Return the very requests for these events, one after the other, but for secrets; dials nothing.

        Each is request line, headers, an empty line and the body, as over HTTP/1.1.
        """
        places = range(len(events))
        parts = self._limit.cut(places, event_sizes(events, places))
        return b"\r\n\r\n".join([self._preview([events[place] for place in part]) for part in parts])

    def close(self, *, notice: float = 0.0) -> None:  # noqa: ARG002 - web servers take many connections
        """Let go of idle connections."""
        self._transport.close()

    def _preview(self, events: Sequence[QueuedEvent]) -> bytes:
        lines, content = self._format.request(events)
        headers = dict(line.split(": ", 1) for line in lines)
        written = self._transport.written(headers | self._format.masked_headers(), content)
        method, path, rest = written.split(b" ", 2)
        return b" ".join([method, masked_url(path.decode("latin-1"), MASK).encode("latin-1"), rest])
