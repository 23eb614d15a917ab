"""Bounds the body of every request: its size as it comes and unpacked, how long it takes, what all hold.

Input: an ASGI application. Output: the same, in which reading a body that is too large or too slow ends
in a Problem. A route that knows better may ask for less. Who may hold how much is said in `worker.api.load`.

Reads the body of a request: a JSON object of bounded size, and an error in words when it is none.

Input: a request. Output: the object and the bytes that it was read from.
"""

import asyncio
import time
import zlib
from functools import cached_property
from typing import Annotated, Any, NamedTuple

import msgspec
from fastapi import Depends, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.api.load import MOST_WITHOUT_KEY, Load, Loads
from worker.api.problems import Problem
from worker.api.resources import Resources
from worker.model.errors import InvalidInput
from worker.model.untrusted_text import number_in
from worker.settings import Settings

#: Parts of one gzip; each costs a copy of what follows it.
_MOST_MEMBERS = 64
_GZIP = zlib.MAX_WBITS | 16


class BoundedBodies:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, resources: Resources) -> None:
        """Wrap the application."""
        self._app = app
        self._resources = resources

    @cached_property
    def _loads(self) -> Loads:
        config = self._resources.config
        return Loads(config.api_connections, config.all_bodies_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        load = self._loads.begin(scope)
        body = _Body(receive, scope, load, self._resources.config)

        async def send_and_end(message: Message) -> None:
            if message["type"] == "http.response.start" and body.is_unread:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        try:
            await self._app(scope, body.receive, send_and_end)
        finally:
            load.end()


class _Body:
    """The body of one request, on its way in."""

    def __init__(self, receive: Receive, scope: Scope, load: Load, config: Settings) -> None:
        #: A client that was answered before could drip on for ever, and hold a connection: it is to be
        #: closed.
        self.is_unread = any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
            for name, value in scope["headers"]
        )
        self._receive = receive
        self._load = load
        self._config = config
        self._ends = time.monotonic() + config.api_body_seconds
        self._is_whole = False

    async def receive(self) -> Message:
        if self._is_whole:
            return await self._receive()
        if not self._load.has_key:
            # Not before: of those behind one address, none with a key is refused for the others.
            self._load.refuse_if_crowded()
        message = await self._receive_in_time()
        self._load.grow(len(message.get("body", b"")))
        most = self._config.api_body_bytes
        most = most if self._load.has_key else min(most, MOST_WITHOUT_KEY)
        if self._load.size > most:
            raise too_large(most)
        if not message.get("more_body", False):
            self._is_whole, self.is_unread = True, False
        return message

    async def _receive_in_time(self) -> Message:
        try:
            async with asyncio.timeout(self._ends - time.monotonic()):
                return await self._receive()
        except TimeoutError:
            raise Problem(
                408,
                f"the body has not come within {self._config.api_body_seconds:g} s",
                field="body",
                hint="send less at once, or faster",
            ) from None


async def raw_body(request: Request, most: int) -> bytes:
    """Return the body as it came. Raises a Problem, 413, when that says it is longer than `most`."""
    announced = request.headers.get("content-length", "0")
    length = number_in(announced)
    if length is None or length > most:
        raise too_large(most)
    return b"".join([piece async for piece in request.stream()])


def unpacked(raw: bytes, encoding: str, most: int) -> bytes:
    """Return the body without its Content-Encoding: none or gzip. No more than `most` bytes are unpacked.

    Raises a Problem: 415 for another encoding, 400 for what is no gzip, 413 when it is larger.
    """
    if encoding in {"", "identity"}:
        return raw
    if encoding not in {"gzip", "x-gzip"}:
        raise Problem(
            415,
            "Content-Encoding: is not gzip",
            headers={"Accept-Encoding": "gzip"},
            field="Content-Encoding",
            hint="send gzip, or leave it out",
        )
    plain, rest, members = bytearray(), raw, 0
    while rest or not members:
        members += 1
        member, rest = _unpacked_member(rest, most + 1 - len(plain))
        plain += member
        if len(plain) > most:
            raise too_large(most)
        if members == _MOST_MEMBERS and rest:
            raise _no_gzip(f"has more than {_MOST_MEMBERS} members")
    return bytes(plain)


def _unpacked_member(packed: bytes, most: int) -> tuple[bytes, bytes]:
    """Return what the first member holds, up to so many bytes, and what follows it."""
    gzip = zlib.decompressobj(_GZIP)
    try:
        plain = gzip.decompress(packed, most)
    except zlib.error:
        raise _no_gzip("is not gzip") from None
    if not gzip.eof and len(plain) < most:
        raise _no_gzip("is gzip that was cut short")
    return plain, gzip.unused_data


def _no_gzip(reason: str) -> Problem:
    return Problem(400, f"body: {reason}", field="body", reason=reason, hint="send one whole gzip (RFC 1952)")


def too_large(most: int) -> Problem:
    """Return the problem of a body that is larger than so many bytes."""
    return Problem(
        413,
        f"the body is larger than {most} bytes, packed or unpacked",
        field="body",
        hint="send less at once",
    )


#: The largest description of an integration, certificates included, in bytes.
MOST_BYTES = 1 << 20
#: How deep it may be nested.
MOST_LEVELS = 20
_TYPES = ("application/json", "application/merge-patch+json")


class JsonObject(NamedTuple):
    """A JSON object, and its bytes."""

    value: dict[str, Any]
    raw: bytes


async def limited_body(request: Request, most: int) -> bytes:
    """Return the body. Raises a Problem, 413, once it is longer than `most` bytes."""
    read = bytearray()
    async for piece in request.stream():
        read += piece
        if len(read) > most:
            raise Problem(413, f"the body is larger than {most} bytes", hint="send less at once")
    return bytes(read)


async def _read_object(request: Request) -> JsonObject:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _TYPES:
        raise Problem(
            415,
            "Content-Type: is not JSON",
            field="Content-Type",
            hint="send application/json",
        )
    raw = await limited_body(request, MOST_BYTES)
    return JsonObject(_parsed(raw), raw)


_TOO_DEEP = InvalidInput("body", "is nested too deeply", "send it flat")


def _is_deeper_than(levels: int, value: Any) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 0 or _is_deeper_than(levels - 1, part) for part in parts)


def _parsed(raw: bytes) -> dict[str, Any]:
    """Read JSON as the standard has it: no NaN, and no text that cannot be written down again."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Problem(400, "the body is not JSON", field="body", hint="send a JSON object in UTF-8") from None
    except RecursionError:
        raise _TOO_DEEP from None
    if _is_deeper_than(MOST_LEVELS, value):
        raise _TOO_DEEP
    if not isinstance(value, dict):
        raise InvalidInput("body", "is no JSON object", 'send one like {"type": …}')
    return value


Body = Annotated[JsonObject, Depends(_read_object)]
