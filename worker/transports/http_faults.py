"""What urllib3 and http.client complain of, in the words of `worker.model.errors`.

An exception comes in with the causes that it wraps, one `TransportError` goes out. It repeats nothing
that was sent or received, for that may be a secret.
"""

import os
import ssl
from collections.abc import Iterator
from http.client import BadStatusLine, HTTPException, IncompleteRead, RemoteDisconnected

from urllib3.exceptions import InvalidChunkLength, InvalidHeader

from worker.integrations import TlsOptions
from worker.model.errors import ConnectionLost, KeptConnectionLost, TransportError
from worker.transports.http_response import LONGEST_HEAD, HeadTooLarge
from worker.transports.tls_failures import handshake_failure

_NO_OPTIONS = TlsOptions()
_NOT_HTTP = "did not answer in HTTP: check that the url's port and scheme (http or https) are right"

#: So ends a connection before a byte of the answer.
_ENDS = (
    *(RemoteDisconnected, ssl.SSLEOFError, ssl.SSLZeroReturnError),
    *(ConnectionResetError, BrokenPipeError, ConnectionAbortedError),
)
#: The first row that fits a link of the chain is said.
_WORDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (RemoteDisconnected, "closed the connection without an answer"),
    (ssl.SSLEOFError, "closed the connection without an answer"),
    (ssl.SSLZeroReturnError, "closed the connection without an answer"),
    ((ConnectionResetError, BrokenPipeError, ConnectionAbortedError), "reset the connection"),
    ((InvalidHeader, InvalidChunkLength, BadStatusLine), _NOT_HTTP),
    (HeadTooLarge, f"answered with more than {LONGEST_HEAD // 1024} KiB of headers"),
    (IncompleteRead, "broke off its answer half-way"),
    (HTTPException, _NOT_HTTP),
)


def http_fault(
    error: BaseException, peer: str, tls: TlsOptions = _NO_OPTIONS, *, kept: bool = False
) -> TransportError:
    """Name the fault: TlsFailed when the peer turned our TLS down, else ConnectionLost.

    `kept`: no answer had begun, over a connection that had served another request before.
    """
    for link in _chain(error):
        for kind, words in _WORDS:
            if isinstance(link, kind):
                lost = KeptConnectionLost if kept and isinstance(link, _ENDS) else ConnectionLost
                return lost(f"{peer} {words}")
        if isinstance(link, ssl.SSLError):
            # In TLS 1.3 a server judges the client's certificate after the handshake has ended.
            return handshake_failure(link, peer, tls)
        if isinstance(link, OSError) and link.errno:
            # Whatever was lacking here: the request may have arrived, so that this is no shortage.
            return ConnectionLost(f"the connection to {peer} broke: {os.strerror(link.errno)}")
    return ConnectionLost(f"the exchange with {peer} broke: {type(error).__name__}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Walk from the wrapping to the wrapped, by both ways: urllib3 wraps some that were never raised."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        link = waiting.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += (link.__context__, link.__cause__)
