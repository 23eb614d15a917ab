"""What the reply of a webhook's endpoint means for the events of the request. Pure.

The status decides (RFC 9110; Standard Webhooks 1.0.0, "Operational considerations"): an endpoint may say
what it likes in the body, which is shown to people, and read by no code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

from worker.destinations.webhook.redaction import response_excerpt
from worker.model.deliveries import Failure
from worker.model.errors import TransportError
from worker.model.failures import FailureCode
from worker.transports.curl.answer import CurlResponse
from worker.transports.failures import certificate_refusal, describe


class WebhookMeaning(Enum):
    """The closed set of what a reply can mean for a request."""

    #: It was accepted.
    ACCEPTED = auto()
    #: It may be accepted later, or once a setting is corrected.
    RETRY = auto()
    #: As RETRY, and the endpoint asks that nothing else be sent for now.
    PAUSE = auto()
    #: What it carried will never be accepted; of several events, one may be to blame.
    REFUSED = auto()
    #: The endpoint wants no event ever again.
    GONE = auto()


@dataclass(frozen=True, slots=True)
class WebhookVerdict:
    """The meaning, the reason in words, when to come back (in seconds), the status."""

    meaning: WebhookMeaning
    failure: Failure | None = None
    retry_after: float | None = None
    http_status: int | None = None

    @property
    def is_shortage(self) -> bool:
        """Whether this process or machine could not send it."""
        return self.failure is not None and self.failure.code == FailureCode.OUT_OF_RESOURCES


#: Statuses by which what was sent is accepted.
SUCCESSES = range(200, 300)
_GONE = 410
_TOO_MANY = 429
_UNAVAILABLE = 503
_TOO_LARGE = 413
_BUSY = frozenset({408, 425, _TOO_MANY})

_BUSY_HINT = "if it lasts, the endpoint is overloaded or out of order"
_AUTH_HINT = "correct the integration's `auth`, `headers` or `signing_secrets`: they do not open the endpoint"
_URL_HINT = "correct the integration's `url`: the endpoint takes no events at this address"
_REDIRECT_HINT = "put the final address into the integration's `url`: none is followed"
_GONE_HINT = (
    "the integration was disabled: what waited is kept, and no later events are collected for it; once the "
    "endpoint is back, or its `url` is corrected, `siem integrations enable` sends what waited and this event"
)
_REFUSED_HINT = "look at the event and at the endpoint's own words: it does not take this event"
_TOO_LARGE_HINT = "raise the endpoint's limit, or lower the integration's `batch_bytes`"

#: Statuses that would meet every other event as well: our code, and the setting to change.
_SETTINGS = {
    401: (FailureCode.AUTH_REFUSED, _AUTH_HINT),
    403: (FailureCode.AUTH_REFUSED, _AUTH_HINT),
    407: (
        FailureCode.PROXY_IN_THE_WAY,
        "a proxy in front of the endpoint wants a password: correct the integration's `url`",
    ),
    404: (FailureCode.URL_REFUSED, _URL_HINT),
    405: (FailureCode.URL_REFUSED, _URL_HINT),
    414: (FailureCode.URL_REFUSED, _URL_HINT),
    421: (FailureCode.URL_REFUSED, _URL_HINT),
    426: (FailureCode.URL_REFUSED, _URL_HINT),
    431: (FailureCode.HEADERS_REFUSED, "shorten the integration's `headers`, or the key of its `auth`"),
}


def response_verdict(outcome: CurlResponse | TransportError, secrets: Sequence[str]) -> WebhookVerdict:
    """Judge what came of a request; what the endpoint said is shown without these secrets."""
    if isinstance(outcome, TransportError):
        return WebhookVerdict(WebhookMeaning.RETRY, describe(outcome))
    if outcome.status in SUCCESSES:
        return _accepted(outcome.status)
    if (refusal := certificate_refusal(outcome.status, outcome.body)) is not None:
        return WebhookVerdict(WebhookMeaning.RETRY, refusal, None, outcome.status)
    return webhook_verdict(outcome.status, response_excerpt(outcome.body, secrets), outcome.retry_after)


@lru_cache
def _accepted(status: int) -> WebhookVerdict:
    return WebhookVerdict(WebhookMeaning.ACCEPTED, http_status=status)


def webhook_verdict(status: int, words: str, retry_after: float | None) -> WebhookVerdict:
    """Judge a reply by its status; `words` are what it said, and are public."""
    if status in SUCCESSES:
        return _accepted(status)
    said = f"HTTP {status}: {words}" if words else f"HTTP {status}"
    if status in _BUSY or status >= 500:  # noqa: PLR2004 - the 5xx class of RFC 9110
        pauses = status == _TOO_MANY or (status == _UNAVAILABLE and retry_after is not None)
        failure = Failure(FailureCode.DESTINATION_BUSY, said, _BUSY_HINT, status)
        return WebhookVerdict(
            WebhookMeaning.PAUSE if pauses else WebhookMeaning.RETRY, failure, retry_after, status
        )
    meaning, code, hint = _unwelcome(status)
    return WebhookVerdict(meaning, Failure(code, said, hint, status), None, status)


def _unwelcome(status: int) -> tuple[WebhookMeaning, FailureCode, str]:
    if status < 400:  # noqa: PLR2004 - the 3xx class of RFC 9110
        return (WebhookMeaning.RETRY, FailureCode.REDIRECTED, _REDIRECT_HINT)
    if status in _SETTINGS:
        return (WebhookMeaning.RETRY, *_SETTINGS[status])
    if status == _GONE:
        return (WebhookMeaning.GONE, FailureCode.ENDPOINT_GONE, _GONE_HINT)
    if status == _TOO_LARGE:
        return (WebhookMeaning.REFUSED, FailureCode.TOO_LARGE, _TOO_LARGE_HINT)
    return (WebhookMeaning.REFUSED, FailureCode.EVENT_REFUSED, _REFUSED_HINT)
