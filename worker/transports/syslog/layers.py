"""What lies between the frames of syslog and the socket: nothing, or TLS.

TLS is spoken over buffers in memory here, so that every byte passes through the one socket: what the network
says (an end, a reset) is distinguished from what TLS says (close_notify, an alert), and our close_notify
goes out without anything being read meanwhile. `SSLSocket.unwrap` would read, and takes an alert for a
close_notify.
"""

import socket
import ssl
from contextlib import suppress
from typing import Protocol

from worker.transports.certificates import Certificate, shown_chain, shown_end
from worker.transports.deadline import DeadlineSocket

_RECORDS = 65_536


class Layer(Protocol):
    """A way to send and to listen. All of it raises OSError, and obeys the deadline in force."""

    def wrapped(self, data: bytes) -> bytes:
        """Return the bytes that carry this on the socket; they have to be sent in this order."""
        ...

    def receive_at_once(self, most: int) -> bytes:
        """Return what has come; nothing at the other side's end, in TLS its close_notify. Never waits.

        Raises BlockingIOError where there is neither, and ssl.SSLEOFError at an end that TLS did not say.
        """
        ...

    def end(self) -> None:
        """End our side, but not the other."""
        ...

    def leave(self) -> None:
        """Say close_notify, if that is possible without waiting."""
        ...


class PlainLayer:
    """Nothing in between."""

    def __init__(self, sock: DeadlineSocket) -> None:
        """Use this socket."""
        self.receive_at_once = sock.receive_at_once
        self._sock = sock

    def wrapped(self, data: bytes) -> bytes:
        """Return the very bytes."""
        return data

    def end(self) -> None:
        """End our side by a FIN."""
        self._sock.shutdown(socket.SHUT_WR)

    def leave(self) -> None:
        """Do nothing: closing the socket is close_notify enough."""


class TlsLayer:
    """TLS as a client."""

    def __init__(self, sock: DeadlineSocket, context: ssl.SSLContext, host: str) -> None:
        """Prepare for a server of this name. Raises ValueError for a name that no certificate can carry."""
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    @property
    def shown(self) -> tuple[Certificate, ...]:
        """The certificates that the server has shown, trusted or not."""
        return shown_chain(self._tls)

    @property
    def shown_end(self) -> float | None:
        """When the server's own certificate ends (seconds since 1970 UTC)."""
        return shown_end(self._tls)

    def shake_hands(self) -> None:
        """Do the handshake; in TLS 1.3 the server may still refuse us afterwards."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._feed(self._sock.recv(_RECORDS))
            except ssl.SSLError:
                with suppress(OSError):
                    self._sock.send_at_once(self._outgoing.read())  # an alert, for the server's log
                raise
            else:
                self._flush()
                return

    @property
    def may_be_judged_late(self) -> bool:
        """Whether the server judges us after the handshake (TLS 1.3: RFC 8446, 4.4.2.4)."""
        return self._tls.version() == "TLSv1.3"

    def wrapped(self, data: bytes) -> bytes:
        """Return the records that carry this."""
        self._tls.write(data)
        return self._outgoing.read()

    def receive_at_once(self, most: int) -> bytes:
        """Return what has come; see `Layer`. Session tickets and the like are taken in on the way."""
        while True:
            try:
                return self._tls.read(most)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                self._feed(self._sock.receive_at_once(_RECORDS))

    def end(self) -> None:
        """End our side by a close_notify."""
        self._close_notify()
        self._flush()

    def leave(self) -> None:
        """Say close_notify by a close_notify (RFC 5425, 4.4)."""
        self._close_notify()
        self._sock.send_at_once(self._outgoing.read())

    def _close_notify(self) -> None:
        with suppress(ssl.SSLWantReadError):  # what the other side says to that is read later
            self._tls.unwrap()

    def _feed(self, received: bytes) -> None:
        if received:
            self._incoming.write(received)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._sock.sendall(self._outgoing.read())
