"""An endpoint to try things with: a webhook on loopback that counts the events that it is sent.

`python -m worker.demo.webhook_receiver --port-file F` listens, writes its port to F and takes events by POST,
one a request or several (an array, or lines), until SIGTERM. It can be set to demand a bearer token or a
signature, to be slow or busy, or to refuse certain events for good; `GET /counts` shows what came.

The check of signatures is written from Standard Webhooks 1.0.0 and shares no code with what signs: the tests
use it as their oracle.
"""

import hmac
import json
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from worker.demo.counting import Behaviour, HttpReceiver, http_options
from worker.demo.server import Request, Response, listen_http, run

#: How far the time of an attempt may be from the receiver's own, in seconds.
TOLERANCE = 5 * 60

_PREFIX = "whsec_"
_SHORTEST_KEY, _LONGEST_KEY = 24, 64


def read_secret(secret: str) -> bytes:
    """Return the key that a secret stands for. Raises ValueError, which does not repeat it."""
    try:
        key = b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(_PREFIX) or not _SHORTEST_KEY <= len(key) <= _LONGEST_KEY:
        msg = f"give {_PREFIX} and {_SHORTEST_KEY} to {_LONGEST_KEY} random bytes in base64"
        raise ValueError(msg)
    return key


def judge_signature(key: bytes, headers: Mapping[str, str], body: bytes, now: float) -> str | None:
    """Return what is wrong with a request, or None; `now` is in seconds since 1970 UTC.

    The names of headers are in lower case. Of several signatures one has to fit: a sender that changes
    its secret gives one for each.
    """
    missing = [
        name for name in ("webhook-id", "webhook-timestamp", "webhook-signature") if name not in headers
    ]
    if missing:
        return f"{missing[0]} is missing"
    identity, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    if not timestamp.isascii() or not timestamp.isdecimal():
        return "webhook-timestamp is no number of seconds"
    if abs(int(timestamp) - now) > TOLERANCE:
        return "webhook-timestamp is more than five minutes off"
    signed = f"{identity}.{timestamp}.".encode("latin-1") + body
    right = "v1," + b64encode(hmac.digest(key, signed, "sha256")).decode()
    return None if right in headers["webhook-signature"].split(" ") else "webhook-signature does not fit"


_AS_LINES = b"\r\ncontent-type: application/x-ndjson"


def _key(_context: click.Context, _option: click.Parameter, secret: str | None) -> bytes | None:
    try:
        return None if secret is None else read_secret(secret)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@http_options
@click.option("--bearer", metavar="TOKEN", help="Demand `Authorization: Bearer TOKEN`.")
@click.option("--secret", "key", callback=_key, help="Demand a signature with this secret, whsec_….")
@click.option("--delay", type=click.FloatRange(0), default=0.0, help="Milliseconds until each answer.")
def main(
    *, port_file: Path, port: int, bearer: str | None, key: bytes | None, delay: float, **behaviour: Any
) -> None:
    """Receive webhooks on loopback, count their events, and forget them."""
    endpoint = Endpoint(Behaviour(**behaviour), bearer=bearer, key=key, delay=delay / 1000)
    run(listen_http(endpoint.answer, port), port, port_file)


class _Event(msgspec.Struct, gc=False):
    id: str


_event = msgspec.json.Decoder(_Event)
_events = msgspec.json.Decoder(list[_Event])
_anything = msgspec.json.Decoder(list[msgspec.Raw])


class Endpoint(HttpReceiver):
    """Answers requests as a careful endpoint does, `delay` seconds later."""

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        bearer: str | None = None,
        key: bytes | None = None,
        delay: float = 0.0,
    ) -> None:
        """Begin with nothing counted; `bearer` and `key` are demanded if they are given."""
        super().__init__(behaviour)
        self._bearer = bearer
        self._key = key
        self._delay = delay
        self._taken = Response(200, b"{}", delay=delay)
        self._unauthorized = 0

    def counts(self) -> dict[str, int | None]:
        """Report what came."""
        return super().counts() | {"unauthorized": self._unauthorized}

    def _respond(self, request: Request) -> Response:
        """Any path will do to post to."""
        if request.method != "POST":
            return Response(405, b'{"error":"post events, or GET /counts"}', headers={"Allow": "POST"})
        self._note(request)
        if (objection := self._objection(request)) is not None:
            self._unauthorized += 1
            return self._refuse(401, objection)
        if self._is_busy():
            return self._refuse(503, "busy: try again later")
        return self._count(request) if self._behaviour.count_only else self._read(request)

    def _objection(self, request: Request) -> str | None:
        """Return why the sender is not believed, if it is not."""
        if self._bearer is not None and request.headers.get("authorization") != f"Bearer {self._bearer}":
            return "the bearer token is missing or wrong"
        if self._key is None:
            return None
        return judge_signature(self._key, request.headers, request.body, time.time())

    def _count(self, request: Request) -> Response:
        try:
            self._events += count_events(request)
        except _UNREADABLE:
            return self._refuse_unreadable()
        return self._taken

    def _read(self, request: Request) -> Response:
        try:
            ids = read_ids(request)
        except _UNREADABLE:
            return self._refuse_unreadable()
        refused = [one for one in ids if self._refuses(one)] if self._behaviour.refuse else []
        if refused:
            self._refused.update(refused)
            return self._refuse(400, f"{len(refused)} of {len(ids)} events cannot be processed")
        self._events += len(ids)
        self._seen.update(ids)
        return self._taken

    def _refuse_unreadable(self) -> Response:
        self._unreadable += 1
        return self._refuse(400, "the body is no event, array or lines of events with an id")

    def _refuse(self, status: int, reason: str) -> Response:
        body = json.dumps({"error": reason}).encode()
        return Response(status, body, delay=self._delay)


#: What a body may raise that is not what it should be.
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def read_ids(request: Request) -> list[str]:
    """Return the ids of the events that a request carries, in order. Raises one of _UNREADABLE."""
    body = request.body
    if _comes_in_lines(request):
        return [event.id for event in _event.decode_lines(body)]
    return [event.id for event in (_events.decode(body) if body[:1] == b"[" else [_event.decode(body)])]


def count_events(request: Request) -> int:
    """Count the events that a request carries; of lines and of a single one nothing is read.

    Raises one of _UNREADABLE.
    """
    body = request.body
    if body[:1] == b"[":
        return len(_anything.decode(body))
    return body.count(b"\n") + (body[-1:] != b"\n") if _comes_in_lines(request) else 1


def _comes_in_lines(request: Request) -> bool:
    return _AS_LINES in request.fields.lower()


if __name__ == "__main__":
    main()
