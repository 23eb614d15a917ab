"""A webhook over HTTP/2 that goes away after every few requests, as nginx does with `keepalive_requests`.

It says which requests it has not processed (GOAWAY, RFC 9113 section 6.8) and ends the connection. What it
processed is passed on before the answer is sent.
"""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from tests.transports.certificates import server_context
from tests.transports.endpoint import Endpoint
from tests.transports.http2 import Http2, Request, answer, goes_away, leaves_after, offering_http2

#: How many requests one connection serves.
_REQUESTS = 20


class _PassedOn(list[bytes]):
    """Bodies that were processed: each is passed on instead of kept."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        """Pass on to `take`."""
        super().__init__()
        self._take = take

    def append(self, body: bytes, /) -> None:
        """Pass it on."""
        self._take(body)


@contextmanager
def going_away(take: Callable[[bytes], None], is_healed: Callable[[], bool], ca: Path) -> Iterator[int]:
    """Serve while the `with` lasts, and yield the port; the certificate's CA is written to `ca`, in PEM."""

    def reply(request: Request) -> bytes:
        if request.place <= _REQUESTS or is_healed():
            return answer(request)
        return leaves_after(goes_away)(request)

    peer = Http2(replies=reply, processed=_PassedOn(take))
    with Endpoint(peer.behaviour(), tls=_context(ca)) as endpoint:
        yield endpoint.port


def _context(ca: Path) -> ssl.SSLContext:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(ca)
    return offering_http2(server_context(authority.issue_cert("127.0.0.1")))
