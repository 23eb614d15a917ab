"""A server that speaks just enough HTTP/2 (RFC 9113) to answer every request with 200 and nothing else."""

import ssl
import struct
from contextlib import suppress
from dataclasses import dataclass, field

from tests.transports.endpoint import Behaviour, Visit

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _WINDOW_UPDATE = 0, 1, 4, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
#: ":status: 200", the eighth entry of HPACK's static table (RFC 7541, 6.1 and appendix A).
_STATUS_200 = b"\x88"
#: In seconds: how long a connection rests before it is ended. Less than a second, within which libcurl looks.
_SOON = 0.2


@dataclass
class Http2:
    """What came: the bodies by connection and stream. With `hold`, answers wait for that many requests."""

    hold: int = 1
    bodies: dict[tuple[int, int], bytes] = field(default_factory=dict)
    most_open: int = 0

    def behaviour(self) -> Behaviour:
        """Give the behaviour of an endpoint."""
        return self._serve

    def _serve(self, visit: Visit) -> None:
        connection, number = visit.connection, visit.endpoint.accepted
        reader = connection.makefile("rb")
        with reader:
            assert reader.read(len(_PREFACE)) == _PREFACE
            connection.sendall(_frame(_SETTINGS))
            ended: list[int] = []
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
                        connection.sendall(_frame(_HEADERS, _END_STREAM | _END_HEADERS, one, _STATUS_200))
                    ended.clear()


def offering_http2(context: ssl.SSLContext) -> ssl.SSLContext:
    """Offer HTTP/2 in the handshake (RFC 7301)."""
    context.set_alpn_protocols(["h2"])
    return context


def _frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def leaving_first(behaviour: Behaviour) -> Behaviour:
    """End the first connection after a single request, without a word: as a server that is restarted."""

    def behave(visit: Visit) -> None:
        if visit.endpoint.accepted == 1:
            visit.connection.settimeout(_SOON)
        with suppress(TimeoutError):
            behaviour(visit)

    return behave
