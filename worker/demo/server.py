"""What the demo's receivers are built on: they listen on loopback, write down where, and end on SIGTERM.

For HTTP there is a small HTTP/1.1 protocol for asyncio, which costs less than what sends to it: a function
answers whole requests. It knows what clients of a collector use: keep-alive, pipelining, Content-Length.
`Expect` is ignored; what it does not know (chunked bodies, requests without end) it answers with an error and
hangs up.
"""

import asyncio
import errno
import os
import re
import signal
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple, cast

import click

#: Splunk's own limit for a body (limits.conf, max_content_length), in bytes.
LONGEST_BODY = 838_860_800
HOST = "127.0.0.1"

#: What has arrived is read into this and taken out at once, by all connections in turn: memory of its own
#: for each reading costs more than a small request does.
RECEIVE_BUFFER = memoryview(bytearray(256 * 1024))

_LONGEST_HEAD = 64 * 1024
_END_OF_HEAD = b"\r\n\r\n"

#: Request line and fields (RFC 9112, sections 3 and 5), without the empty line.
_HEAD = re.compile(rb"([^ \r\n]+) ([^ \r\n]+) ([^ \r\n]+)((?:\r\n[^:\r\n]+:[^\r\n]*)*)")
_FRAMING = re.compile(rb"\r\n(connection|content-length|transfer-encoding):([^\r\n]*)", re.IGNORECASE)
_PERSISTS = {b"HTTP/1.1": True, b"HTTP/1.0": False}


@dataclass(eq=False)
class Request:
    """One request; the path is without its query (`a=b&…`), `fields` are its headers as they came."""

    method: str
    path: str
    fields: bytes = b""
    body: bytes = b""
    keeps_alive: bool = True
    query: str = ""

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """The headers; their names are in lower case."""
        pairs = (line.split(":", 1) for line in self.fields.decode("latin-1").split("\r\n")[1:])
        return {name.lower(): value.strip() for name, value in pairs}


@dataclass(frozen=True)
class Response:
    """What is answered, and how many seconds later."""

    status: int
    body: bytes
    content_type: str = "application/json; charset=UTF-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0

    @cached_property
    def head(self) -> bytes:
        """The status line and headers; what is to become of the connection is still missing."""
        headers = {
            "Content-Type": self.content_type,
            "Content-Length": str(len(self.body)),
            **self.headers,
        }
        status = f"HTTP/1.1 {self.status:d} {HTTPStatus(self.status).phrase}"
        lines = [status, *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines).encode("latin-1")


def html_page(status: int) -> Response:
    """Answer with a page, as web servers and proxies do."""
    return Response(status, f"<html><body>{HTTPStatus(status).phrase}</body></html>".encode(), "text/html")


class BadRequest(Exception):
    """The bytes are no request that is understood here; the connection cannot go on."""

    def __init__(self, status: HTTPStatus) -> None:
        """Take the status to hang up with."""
        super().__init__(status.phrase)
        self.status = status


class _Head(NamedTuple):
    """A request's head, and how many bytes of body follow it."""

    method: bytes
    target: bytes
    fields: bytes
    keeps_alive: bool
    length: int


#: The connections of a listener that are open.
Connections = set[asyncio.Transport]


class Connection(asyncio.BufferedProtocol, ABC):
    """One connection of a client, which puts itself into `connections` as long as it is open."""

    def __init__(self, connections: Connections) -> None:
        """Begin with nothing read."""
        self._connections = connections
        self._unread = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to serve."""
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the connection."""
        self._connections.discard(self._transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Lend the place to read into."""
        return RECEIVE_BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Serve what is complete by now."""
        self._unread += RECEIVE_BUFFER[:nbytes]
        self._serve()

    @abstractmethod
    def _serve(self) -> None:
        """Take what is complete off what was read."""


class HttpConnection(Connection):
    """Answers requests, one after the other."""

    def __init__(self, answer: Callable[[Request], Response], connections: Connections) -> None:
        """Take the function that answers, which must not block."""
        super().__init__(connections)
        self._answer = answer
        self._head: _Head | None = None
        self._waits = False

    def _serve(self) -> None:
        """Answer one request after the other; a delayed answer keeps those behind it waiting."""
        try:
            while not self._waits and not self._transport.is_closing() and (request := self._take_request()):
                response = self._answer(request)
                if response.delay:
                    self._send_later(response, keep_alive=request.keeps_alive)
                else:
                    self._send(response, keep_alive=request.keeps_alive)
        except BadRequest as error:
            self._send(html_page(error.status), keep_alive=False)

    def _take_request(self) -> Request | None:
        """Cut the first request off what was read, if all of it is there."""
        head = self._head = self._head or self._take_head()
        if head is None or len(self._unread) < head.length:
            return None
        self._head = None
        body = bytes(self._unread[: head.length])
        del self._unread[: head.length]
        path, _, query = head.target.decode("latin-1").partition("?")
        return Request(head.method.decode("latin-1"), path, head.fields, body, head.keeps_alive, query)

    def _take_head(self) -> _Head | None:
        end = self._unread.find(_END_OF_HEAD)
        if (len(self._unread) if end < 0 else end) > _LONGEST_HEAD:
            raise BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if end < 0:
            return None
        head = _read_head(bytes(self._unread[:end]))
        del self._unread[: end + len(_END_OF_HEAD)]
        return head

    def _send(self, response: Response, *, keep_alive: bool) -> None:
        fate = b"\r\nConnection: keep-alive\r\n\r\n" if keep_alive else b"\r\nConnection: close\r\n\r\n"
        self._transport.write(response.head + fate + response.body)
        if not keep_alive:
            self._transport.close()

    def _send_later(self, response: Response, *, keep_alive: bool) -> None:
        def send() -> None:
            self._waits = False
            if not self._transport.is_closing():
                self._send(response, keep_alive=keep_alive)
                self._serve()

        self._waits = True
        asyncio.get_running_loop().call_later(response.delay, send)


def _read_head(head: bytes) -> _Head:
    """Read a head. Raises BadRequest."""
    found = _HEAD.fullmatch(head)
    if found is None:
        raise BadRequest(HTTPStatus.BAD_REQUEST)
    method, target, version, fields = found.groups()
    if version not in _PERSISTS:
        raise BadRequest(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    framing = {name.lower(): value.strip() for name, value in _FRAMING.findall(fields)}
    wish = framing.get(b"connection")
    keeps_alive = _PERSISTS[version] if wish is None else wish.lower() != b"close"
    return _Head(method, target, fields, keeps_alive, _body_length(framing))


def _body_length(framing: Mapping[bytes, bytes]) -> int:
    if b"transfer-encoding" in framing:
        raise BadRequest(HTTPStatus.LENGTH_REQUIRED)
    length = framing.get(b"content-length", b"0")
    if not length.isdigit():
        raise BadRequest(HTTPStatus.BAD_REQUEST)
    if int(length) > LONGEST_BODY:
        raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return int(length)


@asynccontextmanager
async def listening_server(
    protocol: Callable[[Connections], asyncio.BaseProtocol], port: int
) -> AsyncIterator[Sequence[int]]:
    """Listen on TCP, on any free port if that is 0; hang up in the end. Raises OSError.

    A protocol keeps itself in the set that it is given as long as it is open.
    """
    connections: Connections = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol(connections), HOST, port)
    yield [server.sockets[0].getsockname()[1]]
    server.close()
    for connection in list(connections):
        connection.close()


def listen_http(
    answer: Callable[[Request], Response], port: int
) -> AbstractAsyncContextManager[Sequence[int]]:
    """Listen for HTTP; see `listen`. `answer` must not block."""
    return listening_server(lambda connections: HttpConnection(answer, connections), port)


def run(receiver: AbstractAsyncContextManager[Sequence[int]], port: int, port_file: Path) -> None:
    """Let a receiver listen, write its ports to the file, and end it on SIGTERM or SIGINT.

    Raises ClickException when `port` is taken or the file cannot be written.
    """
    try:
        port_file.unlink(missing_ok=True)  # an old port must not be taken for the new one
        asyncio.run(_run(receiver, port_file))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise click.ClickException(
                f"cannot listen on {HOST}:{port} or write {port_file}: {error}"
            ) from None
        hint = "choose another --port, or leave it out to get a free one"
        raise click.ClickException(f"--port: {port} is taken by another program; {hint}") from None


async def _run(receiver: AbstractAsyncContextManager[Sequence[int]], port_file: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with receiver as ports:
        _write_at_once(port_file, "".join(f"{port}\n" for port in ports))
        await stop.wait()


def _write_at_once(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)
