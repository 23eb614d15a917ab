"""A webhook: each event in a request of its own, or several in one, signed as Standard Webhooks 1.0.0 says.

Events become bodies (`format`), bodies become requests with an id that stays the same over retries
and a signature that does not, many of them in flight at once (`sending`), each with one answer and
one meaning (`webhook_verdict`).
"""

import time
from collections.abc import Sequence
from functools import lru_cache

from worker.destinations.batching import RequestLimit
from worker.destinations.webhook.format import batch_id, body, content_type, message_id, signature
from worker.destinations.webhook.redaction import response_excerpt, webhook_secrets
from worker.destinations.webhook.sending import WebhookSending, event_sizes
from worker.destinations.webhook.verdict import WebhookMeaning, WebhookVerdict, webhook_verdict
from worker.integrations import ApiKeyAuth, BearerAuth, NoAuth, Webhook
from worker.integrations.secrets import masked_url
from worker.integrations.webhook import signing_key
from worker.model.batches import DeliveryAttempt
from worker.model.deliveries import DeliveryResult
from worker.model.errors import TransportError
from worker.model.events import QueuedEvent
from worker.transports.curl.client import ManyHttp
from worker.transports.curl.exchange import CurlResponse
from worker.transports.failures import certificate_refusal, describe
from worker.transports.guard import Guard

_MASK = "***"


class WebhookSender:
    """Sends batches to one endpoint."""

    def __init__(self, config: Webhook, guard: Guard, **_unused: object) -> None:
        """Prepare what all requests have in common; connect when the first batch comes.

        Raises InvalidIntegration when the url or a PEM cannot be used.
        """
        self._config = config
        self._keys = [signing_key(secret) for secret in config.signing_secrets]
        self._secrets = webhook_secrets(config)
        self._is_batched = config.body != "event"
        self._limit = RequestLimit(
            events=config.batch_events if self._is_batched else 1, size=config.batch_bytes - len("[")
        )
        self._transport = ManyHttp(
            guard, config, config.url, _headers(config), connections=config.connections
        )

    def send(self, attempt: DeliveryAttempt, deadline: float) -> list[DeliveryResult]:
        """Send what is to be sent of the batch; see `worker.destinations.Sender`."""
        timeout = self._config.timeout_seconds
        sending = WebhookSending(self._write, self._judge, self._limit, attempt)
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

    def _write(self, events: Sequence[QueuedEvent]) -> tuple[list[str], bytes]:
        """Write a request at the moment of its attempt: receivers turn away what was signed long ago."""
        content = body(self._config.body, [event.raw for event in events])
        name, timestamp = _name(events, batched=self._is_batched), int(time.time())
        headers = [f"webhook-id: {name}", f"webhook-timestamp: {timestamp}"]
        if self._keys:
            headers.append(f"webhook-signature: {signature(self._keys, name, timestamp, content)}")
        return headers, content

    def _judge(self, outcome: CurlResponse | TransportError) -> WebhookVerdict:
        if isinstance(outcome, TransportError):
            return WebhookVerdict(WebhookMeaning.RETRY, describe(outcome))
        if 200 <= outcome.status < 300:  # noqa: PLR2004 - the 2xx class of RFC 9110
            return _accepted(outcome.status)
        if (refusal := certificate_refusal(outcome.status, outcome.body)) is not None:
            return WebhookVerdict(WebhookMeaning.RETRY, refusal, None, outcome.status)
        return webhook_verdict(
            outcome.status, response_excerpt(outcome.body, self._secrets), outcome.retry_after
        )

    def _preview(self, events: Sequence[QueuedEvent]) -> bytes:
        lines, content = self._write(events)
        headers = dict(line.split(": ", 1) for line in lines)
        if self._keys:
            headers["webhook-signature"] = " ".join([f"v1,{_MASK}"] * len(self._keys))
        written = self._transport.written(_masked(self._config) | headers, content)
        method, path, rest = written.split(b" ", 2)
        return b" ".join([method, masked_url(path.decode("latin-1"), _MASK).encode("latin-1"), rest])


@lru_cache
def _accepted(status: int) -> WebhookVerdict:
    return webhook_verdict(status, "", None)


def _name(events: Sequence[QueuedEvent], *, batched: bool) -> str:
    return batch_id([event.id for event in events]) if batched else message_id(events[0].id)


def _headers(config: Webhook) -> dict[str, str]:
    own = {name: value.get_secret_value() for name, value in config.headers.items()}
    return {"Content-Type": content_type(config.body), **_auth(config), **own}


def _auth(config: Webhook) -> dict[str, str]:
    match config.auth:
        case NoAuth():
            return {}
        case BearerAuth(token=token):
            return {"Authorization": f"Bearer {token.get_secret_value()}"}
        case ApiKeyAuth(header=header, value=value):
            return {header: value.get_secret_value()}


def _masked(config: Webhook) -> dict[str, str]:
    """Return the headers that hold secrets, without them."""
    masked = dict.fromkeys((*_auth(config), *config.headers), _MASK)
    if isinstance(config.auth, BearerAuth):
        masked["Authorization"] = f"Bearer {_MASK}"
    return masked
