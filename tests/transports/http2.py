"""A server that speaks just enough HTTP/2 (RFC 9113) to answer requests with 200, or to turn them away."""

import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.transports.endpoint import Behaviour, Visit, answers

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
#: Error codes (RFC 9113, section 7).
INTERNAL_ERROR, REFUSED_STREAM, HTTP_1_1_REQUIRED = 0x2, 0x7, 0xD
#: ":status: 200", the eighth entry of HPACK's static table (RFC 7541, 6.1 and appendix A).
_STATUS_200 = b"\x88"
#: In seconds: how long a connection rests before it is ended. Less than a second, within which libcurl looks.
_SOON = 0.2


@dataclass(frozen=True)
class Request:
    """A request that has come whole: its connection (from 1), its place there (from 1), its stream."""

    connection: int
    place: int
    stream: int


class Leaves(Exception):
    """The server ends the connection here, having sent `last`."""

    def __init__(self, last: bytes = b"") -> None:
        """Take the bytes to send before."""
        super().__init__()
        self.last = last


#: What is sent in answer to a request; may raise Leaves.
Replies = Callable[[Request], bytes]


def answer(request: Request) -> bytes:
    """Answer 200."""
    return _frame(_HEADERS, _END_STREAM | _END_HEADERS, request.stream, _STATUS_200)


def half_an_answer(request: Request) -> bytes:
    """Begin to answer."""
    return _frame(_HEADERS, _END_HEADERS, request.stream, _STATUS_200)


def nothing(_request: Request) -> bytes:
    """Stay silent."""
    return b""


def resets(error: int) -> Replies:
    """Reset the stream."""
    return lambda request: _frame(_RST_STREAM, stream=request.stream, payload=struct.pack(">I", error))


def goes_away(request: Request) -> bytes:
    """Say that this request, and all behind it, will not be processed."""
    return _frame(_GOAWAY, payload=struct.pack(">II", max(0, request.stream - 2), 0))


def leaves(_request: Request) -> bytes:
    """End the connection without a word."""
    raise Leaves


def leaves_after(replies: Replies) -> Replies:
    """End the connection behind this reply."""

    def reply(request: Request) -> bytes:
        raise Leaves(replies(request))

    return reply


def then(count: int, replies: Replies) -> Replies:
    """Answer the first so many requests of each connection, and reply so to the others."""
    return lambda request: answer(request) if request.place <= count else replies(request)


def at_first(replies: Replies) -> Replies:
    """Reply so on the first connection to all but its first request, and answer everything else."""
    return lambda request: replies(request) if request.connection == 1 < request.place else answer(request)


@dataclass
class Http2:
    """What came: the bodies by connection and stream. With `hold`, answers wait for that many requests.

    `processed` are the bodies of the requests that were answered. Who asks for HTTP/1.1 in the handshake gets
    that.
    """

    hold: int = 1
    replies: Replies = answer
    bodies: dict[tuple[int, int], bytes] = field(default_factory=dict)
    processed: list[bytes] = field(default_factory=list)
    most_open: int = 0

    def behaviour(self) -> Behaviour:
        """Give the behaviour of an endpoint."""
        return self._serve

    def _serve(self, visit: Visit) -> None:
        connection, number = visit.connection, visit.number
        if isinstance(connection, ssl.SSLSocket) and connection.selected_alpn_protocol() == "http/1.1":
            answers()(visit)
            return
        with connection.makefile("rb") as reader, suppress(Leaves):
            if reader.read(len(_PREFACE)) != _PREFACE:
                return
            connection.sendall(_frame(_SETTINGS))
            ended: list[int] = []
            place = 0
            while head := reader.read(9):
                kind, flags, stream = head[3], head[4], struct.unpack(">I", head[5:])[0]
                payload = reader.read(int.from_bytes(head[:3], "big"))
                if kind == _SETTINGS and not flags & _ACK:
                    connection.sendall(_frame(_SETTINGS, _ACK))
                if kind == _DATA:
                    self.bodies[number, stream] = self.bodies.get((number, stream), b"") + payload
                    more = struct.pack(">I", len(payload) or 1)
                    connection.sendall(_frame(_WINDOW_UPDATE, payload=more))
                if kind in {_DATA, _HEADERS} and flags & _END_STREAM:
                    ended.append(stream)
                self.most_open = max(self.most_open, len(ended))
                if len(ended) >= self.hold:
                    for one in ended:
                        place += 1
                        self._reply(visit, Request(number, place, one))
                    ended.clear()

    def _reply(self, visit: Visit, request: Request) -> None:
        try:
            reply = self.replies(request)
        except Leaves as end:
            visit.connection.sendall(end.last)
            # To close over what was not read would reset the connection, and lose what was sent.
            socket.socket.shutdown(visit.connection, socket.SHUT_WR)
            while socket.socket.recv(visit.connection, 65536):
                pass
            raise
        if reply == answer(request):
            self.processed.append(self.bodies.get((request.connection, request.stream), b""))
        visit.connection.sendall(reply)


def offering_http2(context: ssl.SSLContext) -> ssl.SSLContext:
    """Offer HTTP/2 in the handshake (RFC 7301), and HTTP/1.1 to those who want nothing else."""
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def _frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def leaving_first(behaviour: Behaviour) -> Behaviour:
    """End the first connection after a single request, without a word: as a server that is restarted."""

    def behave(visit: Visit) -> None:
        if visit.number == 1:
            visit.connection.settimeout(_SOON)
        with suppress(TimeoutError):
            behaviour(visit)

    return behave
