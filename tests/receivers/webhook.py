"""An endpoint for webhooks that follows a script, and checks signatures as the demo's endpoint does.

It is the receiver of `tests.receivers.hec` with another way to read bodies: an event, an array, or lines.
"""

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
from worker.demo.webhook_receiver import judge_signature, read_secret


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
    """Whether the demo's endpoint would believe it; that shares no code with what signs."""
    headers = {name.lower(): str(value) for name, value in request.headers.items()}
    return judge_signature(read_secret(secret), headers, request.body, time.time()) is None


def _events(body: bytes) -> Sequence[Any]:
    """Return the events of a body, of whatever kind it is."""
    with suppress(ValueError):
        whole = json.loads(body)
        return whole if isinstance(whole, list) else [whole]
    return [json.loads(line) for line in body.split(b"\n") if line]
