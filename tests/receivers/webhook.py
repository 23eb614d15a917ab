"""An endpoint for webhooks that does what a test tells it to, and checks signatures as receivers do.

It is the receiver of `tests.receivers.hec` with another way to read bodies: an event, an array, or lines.
"""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from tests.receivers.hec import HecReceiver
from tests.receivers.scripts import Action, Request, Script

#: How old a signature may be, in seconds, in the libraries of Standard Webhooks.
_TOLERANCE = 300


class WebhookReceiver(HecReceiver):
    """Takes every event with 200 and no words, unless its script says otherwise."""

    def __init__(self, script: Script | None = None, **options: Any) -> None:
        """Listen, as a `HecReceiver`."""
        super().__init__(script or takes(), **options)
        self.url = f"{self.base_url}/hook"

    @property
    def posts(self) -> list[Request]:
        """Every request."""
        return self.requests

    @property
    def ids(self) -> Counter[str]:
        """How many requests have carried each event."""
        return Counter(event_id for request in self.requests for event_id in request.ids)

    def decide(self, request: Request) -> Action:
        """Read the body as a webhook's before anything else."""
        return super().decide(replace(request, events=_events(request.body)))


def takes(status: int = 200, body: bytes = b"") -> Script:
    """Take everything."""
    return lambda request: Action(status, body, request.events)


def answers(status: int, body: bytes = b"", **headers: str) -> Script:
    """Take nothing, and answer so; `Retry_After` is the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _request: Action(status, body, headers=named)


def by_event(answers: Mapping[str, Iterable[Script]], otherwise: Script | None = None) -> Script:
    """Follow, for a request that carries one of these events, its next script, and take it after the last."""
    turns = {event_id: iter(scripts) for event_id, scripts in answers.items()}
    lock = threading.Lock()
    usual = otherwise or takes()

    def script(request: Request) -> Action:
        with lock:
            scripts = [next(turns[one], usual) for one in request.ids if one in turns]
        return (scripts[0] if scripts else usual)(request)

    return script


def refuses(refused: Callable[[str], bool], status: int = 400) -> Script:
    """Refuse a request that carries such an event, whole."""

    def script(request: Request) -> Action:
        if any(refused(event_id) for event_id in request.ids):
            return Action(status, b'{"error":"invalid event"}')
        return takes()(request)

    return script


def demands_signature(*secrets: str, then: Script | None = None) -> Script:
    """Turn away with 401 what none of the secrets has signed, as a receiver of Standard Webhooks does."""
    following = then or takes()

    def script(request: Request) -> Action:
        if any(is_signed(request, secret) for secret in secrets):
            return following(request)
        return Action(401, b"no matching signature")

    return script


def is_signed(request: Request, secret: str) -> bool:
    """Verify as Standard Webhooks 1.0.0 says under "Verifying webhook authenticity"."""
    message_id = str(request.headers["webhook-id"])
    timestamp = str(request.headers["webhook-timestamp"])
    if abs(time.time() - int(timestamp)) > _TOLERANCE:
        return False
    mac = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), digestmod=hashlib.sha256)
    for part in (message_id, ".", timestamp, "."):
        mac.update(part.encode())
    mac.update(request.body)
    expected = base64.b64encode(mac.digest()).decode()
    given = str(request.headers.get("webhook-signature", "")).split(" ")
    return any(hmac.compare_digest(f"v1,{expected}", one) for one in given)


def _events(body: bytes) -> Sequence[Any]:
    """Return the events of a body, of whatever kind it is."""
    with suppress(ValueError):
        whole = json.loads(body)
        return whole if isinstance(whole, list) else [whole]
    return [json.loads(line) for line in body.split(b"\n") if line]
