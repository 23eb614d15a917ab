"""A small HTTP/1.1 server protocol for asyncio: bytes come in, whole requests go to a function.

It knows what clients of a collector use: keep-alive, pipelining, Content-Length. `Expect` is ignored;
what it does not know (chunked bodies, requests without end) it answers with an error and hangs up.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast

#: Splunk's own limit for a body (limits.conf, max_content_length), in bytes.
LONGEST_BODY = 838_860_800
_LONGEST_HEAD = 64 * 1024
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """One request; the names of headers are in lower case, the path is without its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    keeps_alive: bool = True


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered."""

    status: int
    body: bytes
    content_type: str = "application/json; charset=UTF-8"
    headers: Mapping[str, str] = field(default_factory=dict)


class BadRequest(Exception):
    """The bytes are no request that is understood here; the connection cannot go on."""

    def __init__(self, status: HTTPStatus) -> None:
        """Take the status to hang up with."""
        super().__init__(status.phrase)
        self.status = status


class HttpConnection(asyncio.Protocol):
    """One connection of a client; registers itself in `connections` as long as it is open."""

    def __init__(self, answer: Callable[[Request], Response], connections: set[asyncio.Transport]) -> None:
        """Take the function that answers, which must not block."""
        self._answer = answer
        self._connections = connections
        self._unread = bytearray()
        self._head: Request | None = None
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to serve."""
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the connection."""
        self._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete by now."""
        self._unread += data
        try:
            while not self._transport.is_closing() and (request := self._take_request()):
                self._send(self._answer(request), keep_alive=request.keeps_alive)
        except BadRequest as error:
            text = f"<html><body>{error.status.phrase}</body></html>".encode()
            self._send(Response(error.status, text, "text/html"), keep_alive=False)

    def _take_request(self) -> Request | None:
        """Cut the first request off what was read, if all of it is there."""
        if self._head is None:
            self._head = self._take_head()
        if self._head is None or len(self._unread) < self._missing:
            return None
        head, self._head = self._head, None
        body = bytes(self._unread[: self._missing])
        del self._unread[: self._missing]
        return Request(head.method, head.path, head.headers, body, head.keeps_alive)

    def _take_head(self) -> Request | None:
        end = self._unread.find(_END_OF_HEAD)
        if (len(self._unread) if end < 0 else end) > _LONGEST_HEAD:
            raise BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if end < 0:
            return None
        head = read_head(bytes(self._unread[:end]))
        self._missing = _body_length(head)
        del self._unread[: end + len(_END_OF_HEAD)]
        return head

    def _send(self, response: Response, *, keep_alive: bool) -> None:
        headers = {
            "Content-Type": response.content_type,
            "Content-Length": str(len(response.body)),
            "Connection": "keep-alive" if keep_alive else "close",
            **response.headers,
        }
        status = f"HTTP/1.1 {response.status:d} {HTTPStatus(response.status).phrase}"
        lines = [status, *(f"{name}: {value}" for name, value in headers.items())]
        self._transport.write("\r\n".join(lines).encode("latin-1") + _END_OF_HEAD + response.body)
        if not keep_alive:
            self._transport.close()


def read_head(head: bytes) -> Request:
    """Read request line and headers (RFC 9112, sections 3 and 5), without the empty line.

    Raises BadRequest.
    """
    first, *lines = head.decode("latin-1").split("\r\n")
    try:
        method, target, version = first.split(" ")
        pairs = [line.split(":", 1) for line in lines]
        headers = {name.lower(): value.strip() for name, value in pairs}
    except ValueError:
        raise BadRequest(HTTPStatus.BAD_REQUEST) from None
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    default = "keep-alive" if version == "HTTP/1.1" else "close"
    keeps_alive = headers.get("connection", default).lower() != "close"
    return Request(method, target.partition("?")[0], headers, keeps_alive=keeps_alive)


def _body_length(head: Request) -> int:
    if "transfer-encoding" in head.headers:
        raise BadRequest(HTTPStatus.LENGTH_REQUIRED)
    length = head.headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal()):
        raise BadRequest(HTTPStatus.BAD_REQUEST)
    if int(length) > LONGEST_BODY:
        raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return int(length)
