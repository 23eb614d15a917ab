"""A second look at a server that ended a connection in TLS without a word that arrived.

libcurl does not tell which certificates a server showed. And in TLS 1.3 a server judges the client's
certificate when the client is done with the handshake and sends already (RFC 8446, section 4.4.2.4): its
alert is lost behind the reset that answers what was sent. So this connects once more, and sends nothing.
"""

import contextlib
import threading
import time

from worker.integrations import TlsOptions
from worker.model.errors import InvalidIntegration, TlsFailed, TransportError
from worker.transports.guard import Guard
from worker.transports.probe import ProbedConnection, connect_first

#: What was found holds for so many seconds, so that a batch costs one look and not one for each request.
_FRESH = 10.0
#: No look takes longer, in seconds.
_LONGEST = 1.5


class TlsInquiry:
    """Finds out why one server refuses TLS with one set of options; shared by the threads of a process."""

    def __init__(self, guard: Guard, options: TlsOptions, host: str, port: int) -> None:
        """Dial nothing yet."""
        self._guard = guard
        self._options = options
        self._host = host
        self._port = port
        self._lock = threading.Lock()
        self._until = 0.0
        self._found: TlsFailed | None = None

    def refusal(self, seconds: float) -> TlsFailed | None:
        """Return why TLS fails there, or None if it does not, or for another reason than TLS.

        Takes up to that many seconds, and never more than one and a half.
        """
        with self._lock:
            if time.monotonic() >= self._until:
                self._found = self._look(min(seconds, _LONGEST))
                self._until = time.monotonic() + _FRESH
            return self._found

    def _look(self, seconds: float) -> TlsFailed | None:
        end = time.monotonic() + seconds
        with contextlib.suppress(TransportError, InvalidIntegration, OSError):
            made = connect_first(self._guard, self._host, [self._host], self._port, seconds)
            with contextlib.closing(made):
                return self._hear(made, end)
        return None

    def _hear(self, made: ProbedConnection, end: float) -> TlsFailed | None:
        handshake = made.shake_hands(self._options, self._host, max(0.0, end - time.monotonic()))
        if handshake.failure is not None:
            return handshake.failure if isinstance(handshake.failure, TlsFailed) else None
        try:
            made.hear_whether_let_in(max(0.0, end - time.monotonic()))
        except TlsFailed as refusal:
            return refusal
        return None
