"""Syslog over TCP and TLS: the frames of a batch come in, how far they are known to have come goes out.

Connections are kept, one for each thread that sends at the same time. Before each batch the newest is looked
at, for the first bytes to a receiver that has gone are lost without an error; behind each batch it is looked
at again, and whatever is amiss then makes the whole batch unconfirmed.
"""

import functools
import ssl
from collections.abc import Callable, Sequence
from time import monotonic

from worker.model.deliveries import Assurance
from worker.model.destinations import SyslogCef, TlsOptions
from worker.model.errors import TransportError
from worker.transports.deadline import Deadline, within
from worker.transports.guard import Guard
from worker.transports.syslog_connection import SyslogConnection
from worker.transports.syslog_pool import Pool
from worker.transports.tls import client_context

#: How long a TLS 1.3 server may take to judge us, in seconds: so many times what the handshake took, within
#: these bounds. Only servers without session tickets cost that time, once a connection.
_HANDSHAKES, _SHORTEST_VERDICT, _LONGEST_VERDICT = 3, 0.1, 1.0


class SyslogStream:
    """Sends to one receiver; shared by the threads of a process. Keeps up to `connections` open."""

    def __init__(self, guard: Guard, config: SyslogCef, *, connections: int) -> None:
        """Dial nothing yet; the TLS context, too, is made when the first connection asks for it."""
        self._guard = guard
        self._host, self._port = config.target
        self.peer = peer_name(config)
        self._context = _context_source(config)
        self._tls: TlsOptions = config
        self._confirms = config.confirm_by_shutdown
        self._pool: Pool[SyslogConnection] = Pool(connections)

    def send(self, frames: Sequence[bytes], seconds: float) -> Assurance:
        """Send the frames; `seconds` is all the time there is, from the look-up of the name to the last look.

        Returns SENT when the receiver's system has acknowledged every byte and the connection still stands.
        With `confirm_by_shutdown` the batch has a connection of its own, and RECEIVED says that the receiver
        has closed it in answer to our end. Raises a leaf of TransportError when that cannot be said of the
        whole, and InvalidIntegration when a PEM cannot be used.
        """
        with within(seconds, self.peer, cargo="batch") as deadline:
            connection = self._connect(deadline) if self._confirms else self._take(deadline)
            try:
                connection.send(frames)
                if self._confirms:
                    connection.confirm(deadline)
                else:
                    connection.see_taken(deadline)
            except BaseException:
                connection.close()
                raise
        if self._confirms:
            connection.close()
            return Assurance.RECEIVED
        self._pool.give_back(connection)
        return Assurance.SENT

    def close(self) -> None:
        """Close the connections that are idle; those in use are closed behind their batch."""
        self._pool.close()

    def _take(self, deadline: Deadline) -> SyslogConnection:
        while (connection := self._pool.take()) is not None:
            if _is_usable(connection):
                return connection
            connection.close()
        return self._connect(deadline)

    def _connect(self, deadline: Deadline) -> SyslogConnection:
        context = self._context() if self._context is not None else None
        sock = self._guard.dial(self._host, self._port, deadline.remaining())
        connection = SyslogConnection(sock, self.peer)
        try:
            if context is not None:
                self._begin_tls(connection, context, deadline)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_tls(self, connection: SyslogConnection, context: ssl.SSLContext, deadline: Deadline) -> None:
        began = monotonic()
        connection.begin_tls(context, self._tls, self._host, deadline)
        if self._confirms:
            return  # the receiver's own end will tell, or an alert in its place
        patience = min(max(_HANDSHAKES * (monotonic() - began), _SHORTEST_VERDICT), _LONGEST_VERDICT)
        connection.hear_verdict(min(patience, deadline.remaining()))


def peer_name(config: SyslogCef) -> str:
    """Return "host:port", as messages name the receiver."""
    host, port = config.target
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _context_source(config: SyslogCef) -> Callable[[], ssl.SSLContext] | None:
    return functools.cache(functools.partial(client_context, config)) if config.transport == "tls" else None


def _is_usable(connection: SyslogConnection) -> bool:
    try:
        return connection.is_open()
    except TransportError:
        return False
