"""Requests of webhooks: headers, bodies, ids and signatures (Standard Webhooks 1.0.0).

What was published is sent as it is. Only for lines, an event that was written over several of them is
written on one: the blanks between its tokens go, and nothing else changes.
"""

import hashlib
import hmac
import re
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Literal
from urllib.parse import quote

import msgspec

from worker.integrations.webhook import ApiKeyAuth, BearerAuth, NoAuth, Webhook, signing_key
from worker.model.events import QueuedEvent

BodyKind = Literal["event", "array", "lines"]

#: Letters and digits that need no care, neither in a header nor in what is signed.
_PLAIN_ID = re.compile(r"[A-Za-z0-9_~-]+")


def content_type(kind: BodyKind) -> str:
    """Return the media type of such a body."""
    return "application/x-ndjson" if kind == "lines" else "application/json"


def body(kind: BodyKind, events: Sequence[bytes]) -> bytes:
    """Write the body of a request that carries these events; of the kind `event`, it carries one."""
    return _WRITERS[kind](events)


def message_id(event_id: str) -> str:
    """Return an event's `webhook-id`: its id, percent-encoded where that is needed (RFC 3986, section 2.1).

    It holds no dot, no blank and nothing beyond ASCII, and `urllib.parse.unquote` makes the id of it again.
    """
    if _PLAIN_ID.fullmatch(event_id):
        return event_id
    return quote(event_id, safe="").replace(".", "%2E")


def batch_id(event_ids: Sequence[str]) -> str:
    """Return the `webhook-id` of several events: the same for the same events in the same order."""
    parts = (event_id.encode() for event_id in event_ids)
    digest = hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts))
    return f"batch_{digest.hexdigest()[:32]}"


def _array(events: Sequence[bytes]) -> bytes:
    return b"[%b]" % b",".join(events)


def _lines(events: Sequence[bytes]) -> bytes:
    return b"".join([_one_line(event) + b"\n" for event in events])


def _one_line(event: bytes) -> bytes:
    if b"\n" not in event and b"\r" not in event:
        return event
    try:
        return msgspec.json.format(event, indent=-1)
    except msgspec.DecodeError:
        # A line break inside a string, which JSON forbids and some readers let through.
        return event.replace(b"\r", b" ").replace(b"\n", b" ")


_WRITERS: dict[str, Callable[[Sequence[bytes]], bytes]] = {
    "event": b"".join,
    "array": _array,
    "lines": _lines,
}


def signature(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Sign exactly these bytes with each key, in their order; "v1,…" for each, separated by spaces.

    `timestamp` is that of this attempt, in seconds since 1970 UTC. The id must hold no dot: what is signed is
    `id.timestamp.body` (Standard Webhooks 1.0.0, "Signature scheme").
    """
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return " ".join(["v1," + b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys])


#: What stands in a preview in place of each secret.
MASK = "***"


class WebhookFormat:
    """Writes the requests of one integration."""

    def __init__(self, config: Webhook) -> None:
        """Prepare what all requests have in common."""
        self._config = config
        self._keys = [signing_key(secret) for secret in config.signing_secrets]
        self.is_batched = config.body != "event"

    def fixed_headers(self) -> dict[str, str]:
        """Return the headers that are the same for every request."""
        own = {name: value.get_secret_value() for name, value in self._config.headers.items()}
        return {"Content-Type": content_type(self._config.body), **self._auth(), **own}

    def request(self, events: Sequence[QueuedEvent]) -> tuple[list[str], bytes]:
        """Return the other headers, and the body.

        To be written at the moment of the attempt: receivers turn away what was signed long ago.
        """
        content = body(self._config.body, [event.raw for event in events])
        name = batch_id([event.id for event in events]) if self.is_batched else message_id(events[0].id)
        timestamp = int(time.time())
        headers = [f"webhook-id: {name}", f"webhook-timestamp: {timestamp}"]
        if self._keys:
            headers.append(f"webhook-signature: {signature(self._keys, name, timestamp, content)}")
        return headers, content

    def masked_headers(self) -> dict[str, str]:
        """Return the headers that hold secrets, without them; signatures are of no use to a reader either."""
        masked = dict.fromkeys((*self._auth(), *self._config.headers), MASK)
        if isinstance(self._config.auth, BearerAuth):
            masked["Authorization"] = f"Bearer {MASK}"
        if self._keys:
            masked["webhook-signature"] = " ".join([f"v1,{MASK}"] * len(self._keys))
        return masked

    def _auth(self) -> dict[str, str]:
        match self._config.auth:
            case NoAuth():
                return {}
            case BearerAuth(token=token):
                return {"Authorization": f"Bearer {token.get_secret_value()}"}
            case ApiKeyAuth(header=header, value=value):
                return {header: value.get_secret_value()}
