"""What a receiver of the tests can do with a request.

A script takes a request and returns an action: the events that are taken, the answer, and the manner
in which the answer reaches the client. Scripts that are handed other scripts combine them.
"""

import datetime as dt
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from email.message import Message
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlsplit

from worker.demo.server import Response, html_page
from worker.demo.splunk import EVENT_PATHS, HEALTH_PATHS, Reply, channel_of, index_body, judge_token

_JSON = "application/json; charset=UTF-8"
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived, at `arrived` by the monotonic clock.

    `wire_body` is what was sent, `body` the same unzipped, `events` what the envelopes carry.
    """

    method: str
    path: str
    headers: Message
    arrived: float
    wire_body: bytes
    body: bytes
    events: Sequence[Any]

    @property
    def channel(self) -> str:
        """The channel it names: in its header, or else in its query; empty without one."""
        return channel_of(self.headers.get("X-Splunk-Request-Channel"), urlsplit(self.path).query)

    @property
    def ids(self) -> list[str]:
        """The ids of the events it carries, in order."""
        return event_ids(self.events)


def event_ids(events: Sequence[Any]) -> list[str]:
    """Return the ids of those events that have one, in order."""
    return [event["id"] for event in events if isinstance(event, dict) and "id" in event]


@dataclass(frozen=True, slots=True)
class Wire:
    """The client's end of a connection; `closing` is set when the receiver stops."""

    connection: socket.socket
    closing: threading.Event


def whole(wire: Wire, payload: bytes) -> None:
    """Send the answer at once."""
    wire.connection.sendall(payload)


@dataclass(frozen=True, slots=True)
class Action:
    """What becomes of a request: the events it `takes`, the answer, and how that is sent."""

    status: int
    body: bytes
    takes: Sequence[Any] = ()
    content_type: str = _JSON
    headers: dict[str, str] = field(default_factory=dict)
    set_cookies: Sequence[str] = ()
    manner: Callable[[Wire, bytes], None] = whole
    hangs_up: bool = False

    def payload(self) -> bytes:
        """Write the answer as bytes."""
        head = Response(self.status, self.body, self.content_type, self.headers).head
        cookies = "".join(f"\r\nSet-Cookie: {cookie}" for cookie in self.set_cookies)
        return head + cookies.encode() + _END_OF_HEAD + self.body


Script = Callable[[Request], Action]


def ok() -> Script:
    """Answer as a healthy Splunk does, which refuses what is no envelope."""
    return offender(lambda _event: False)


def offender(refuses: Callable[[Any], bool], *, code: int = 6) -> Script:
    """Refuse the first such event with 400 and its number; what stands before it is taken."""

    def script(request: Request) -> Action:
        path = request.path.partition("?")[0]
        if request.method == "GET" or path not in EVENT_PATHS:
            return answer(Reply(17 if path in HEALTH_PATHS else 404))
        indexed = index_body(request.body, refuses)
        reply = indexed.reply
        if reply.code == 6 and indexed.refused is not None:
            reply = replace(reply, code=code)
        return answer(reply, indexed.events)

    return script


def status(number: int, code: int | None = None, *, headers: dict[str, str] | None = None) -> Script:
    """Take nothing; answer with the status, and with Splunk's text for the code if one is given."""
    body = b"" if code is None else Reply(code).body
    return always(Action(number, body, headers=headers or {}))


def busy() -> Script:
    """Answer 503, code 9, and take nothing."""
    return status(503, code=9)


def strained(code: int = 24) -> Script:
    """Take the events, and say that the queue (24) or the acknowledgements (25) will soon be full."""

    def script(request: Request) -> Action:
        return answer(Reply(code), request.events)

    return script


def throttled(retry_after: str | float) -> Script:
    """Answer 429 with `Retry-After`: a number of seconds, or any text (`http_date`)."""
    return status(429, code=26, headers={"Retry-After": str(retry_after)})


def http_date(seconds: float) -> str:
    """Write the moment in so many seconds as HTTP does (RFC 9110, section 5.6.7)."""
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    return format_datetime(moment, usegmt=True)


def reject_token() -> Script:
    """Answer 403, code 4, whatever the token."""
    return status(403, code=4)


def demand_token(token: str, then: Script | None = None) -> Script:
    """Let through what carries the token; answer the rest as Splunk does. Health needs none."""
    following = then or ok()

    def script(request: Request) -> Action:
        objection = judge_token(request.headers.get("Authorization"), token)
        if objection is None or request.method == "GET":
            return following(request)
        return answer(objection)

    return script


def incorrect_index(place: int = 0) -> Script:
    """Answer 400, code 7, for the event at `place`. Splunk reports one too many here (measured)."""

    def script(request: Request) -> Action:
        return answer(Reply(7, place + 1), request.events[:place])

    return script


def too_large(
    *, max_bytes: int | None = None, max_events: int | None = None, then: Script | None = None
) -> Script:
    """Answer 413 to an (unzipped) body of more bytes or events than that, and take nothing of it."""
    following = then or ok()

    def script(request: Request) -> Action:
        heavy = max_bytes is not None and len(request.body) > max_bytes
        many = max_events is not None and len(request.events) > max_events
        return _page(413) if heavy or many else following(request)

    return script


def html() -> Script:
    """Answer 200 with a page, as a portal or proxy in the way does, and take nothing."""
    return always(_page(200))


def redirect(location: str, number: int = 302) -> Script:
    """Send the client elsewhere, and take nothing."""
    return status(number, headers={"Location": location})


def first(times: int, script: Script, then: Script | None = None) -> Script:
    """Follow `script` that many times, and `then` (left out: ok) ever after."""
    return sequence(*[script] * times, then or ok())


def sequence(*scripts: Script) -> Script:
    """Follow each script for one request, and the last one ever after."""
    turns = itertools.count()

    def script(request: Request) -> Action:
        return scripts[min(next(turns), len(scripts) - 1)](request)

    return script


def hang(*, taking: bool = False) -> Script:
    """Read the request and never answer, until the receiver closes; `taking` takes the events though."""

    def wait(wire: Wire, _payload: bytes) -> None:
        wire.closing.wait()

    return _in_manner(wait, ok(), taking=taking)


def close_mid_response(
    after: str = "body", *, reset: bool = False, taking: bool = True, of: Script | None = None
) -> Script:
    """Break off the answer: before anything (`nothing`), or amid the `status`, the `headers`, the `body`.

    The connection is closed, or with `reset` torn down (RST). With `taking`, the events were taken. The
    answer is that of another script (left out: ok).
    """

    def cut(wire: Wire, payload: bytes) -> None:
        wire.connection.sendall(payload[: _cut_at(payload, after)])
        if reset:
            no_linger = struct.pack("ii", 1, 0)
            wire.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)

    return _in_manner(cut, of or ok(), taking=taking)


def after_interim(*heads: str, of: Script | None = None) -> Script:
    """Send interim answers with these statuses before the answer of another script (left out: ok)."""

    def lead(wire: Wire, payload: bytes) -> None:
        interim = (f"HTTP/1.1 {head}\r\nLink: </a>\r\n\r\n".encode() for head in heads)
        wire.connection.sendall(b"".join(interim) + payload)

    following = of or ok()
    return lambda request: replace(following(request), manner=lead)


def drip(interval: float, of: Script | None = None) -> Script:
    """Send the answer of another script (left out: ok) byte by byte, one each `interval` seconds."""

    def trickle(wire: Wire, payload: bytes) -> None:
        for at in range(len(payload)):
            wire.connection.sendall(payload[at : at + 1])
            if wire.closing.wait(interval):
                return

    following = of or ok()
    return lambda request: replace(following(request), manner=trickle)


def _cut_at(payload: bytes, after: str) -> int:
    end_of_status = payload.index(b"\r\n")
    end_of_head = payload.index(_END_OF_HEAD) + len(_END_OF_HEAD)
    places = {
        "nothing": 0,
        "status": end_of_status // 2,
        "headers": (end_of_status + end_of_head) // 2,
        "body": (end_of_head + len(payload)) // 2,
    }
    return places[after]


def _in_manner(manner: Callable[[Wire, bytes], None], of: Script, *, taking: bool) -> Script:
    def script(request: Request) -> Action:
        action = replace(of(request), manner=manner, hangs_up=True)
        return action if taking else replace(action, takes=())

    return script


def always(action: Action) -> Script:
    """Do the same with every request."""
    return lambda _request: action


def answer(reply: Reply, takes: Sequence[Any] = ()) -> Action:
    """Answer as Splunk would, and take these events."""
    return Action(reply.status, reply.body, takes)


def _page(number: int) -> Action:
    page = html_page(number)
    return Action(number, page.body, content_type=page.content_type)
