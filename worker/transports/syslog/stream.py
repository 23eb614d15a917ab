"""Syslog over TCP and TLS: the frames of a batch come in, how far they are known to have come goes out.

Connections are kept, one for each thread that sends at the same time. Before each batch the newest is looked
at, for the first bytes to a receiver that has gone are lost without an error; behind each batch it is looked
at again, and whatever is amiss then makes the whole batch unconfirmed. A receiver that hangs up on what it is
sent does so a moment later: behind the first batch on a connection, that moment is waited for; behind the
others, the connection is watched while it rests.
"""

import functools
import logging
import ssl
from collections.abc import Callable, Sequence
from time import monotonic

from worker.integrations import TlsOptions
from worker.model.deliveries import Assurance
from worker.model.errors import ConnectionLost, ConnectTimedOut, DeadlinePassed, TransportError
from worker.model.log_events import SYSLOG_CLOSED_AFTER_SEND
from worker.transports.deadline import Deadline, within
from worker.transports.guard import Guard
from worker.transports.syslog.connection import SyslogConnection, SyslogTarget
from worker.transports.syslog.flow_control import StallTimeout, Window
from worker.transports.syslog.pool import ENDS, Pool
from worker.transports.tls import client_context

log = logging.getLogger(__name__)

#: How long a TLS 1.3 server may take to judge us, in seconds: so many times what the handshake took, within
#: these bounds. Only servers without session tickets cost that time, once a connection.
_HANDSHAKES, _SHORTEST_VERDICT, _LONGEST_VERDICT = 3, 0.1, 1.0
#: A receiver that hangs up on what it was sent has so many times as long as the connection took to make.
_CONNECTS, _SHORTEST_MOMENT, _LONGEST_MOMENT = 3, 0.1, 1.0
#: After a connection ended amid or behind a batch, that moment is waited for behind each batch, for so long.
_WARY = 300.0
#: How many batches a receiver must confirm before it gets less than the longest moment.
_CONFIRMED_BEFORE_TRUSTED = 3


class SyslogStream:
    """Sends to one receiver; shared by the threads of a process. Keeps up to `connections` open."""

    def __init__(
        self, guard: Guard, target: SyslogTarget, tls: TlsOptions | None, *, confirms: bool, connections: int
    ) -> None:
        """Dial nothing yet; the TLS context, too, is made when the first connection asks for it.

        Without `tls` all goes in plain text. `confirms` is whether a batch counts once the receiver has
        closed its connection in answer to our end.
        """
        self._guard = guard
        self._host, self._port = target.host, target.port
        self.peer = str(target)
        self._context = functools.cache(functools.partial(client_context, tls)) if tls is not None else None
        self._tls = tls or TlsOptions()
        self._confirms = confirms
        self._pool: Pool[SyslogConnection] = Pool(connections)
        self._window = Window()
        self._moment = _LONGEST_MOMENT
        self._wary_until = 0.0
        self._confirmed = 0

    def send(
        self,
        frames: Sequence[bytes],
        seconds: float,
        *,
        patience: float | None = None,
        on_send: Callable[[], None] = lambda: None,
        on_end: Callable[[], None] = lambda: None,
        sending: object = None,
        is_suspect: bool = False,
    ) -> Assurance:
        """Send the frames; `seconds` is all the time there is, from the look-up of the name to the last look.

        The receiver may take no byte for `patience` seconds of that, or all of them. `on_send` is called once
        a connection stands: from then on the receiver may have frames, whatever is raised. Returns SENT when
        the receiver's system has acknowledged every byte and the connection still stands; should it end
        shortly after that, `on_end` is called, by any thread. While the connection is young, what was sent on
        it before is reported with it, but not by the same `sending`, nor if this is the reason
        (`is_suspect`). A stream that confirms gives the batch a connection of its own, and RECEIVED says
        that the receiver has closed it in answer to our end, and not before. Raises a leaf of
        TransportError when that cannot be said of the whole, whose `tried` and `taken` say how many frames
        it is about, and InvalidIntegration when a PEM cannot be used.
        """
        stall = min(seconds, patience or seconds)
        with within(seconds, self.peer, cargo="batch") as deadline:
            with within(stall, self.peer, cargo="batch") as sooner:
                connection = self._connect(sooner) if self._confirms else self._take(sooner, sending)
            waiting = StallTimeout(deadline, self.peer, stall)
            try:
                on_send()
                self._carry(connection, frames, waiting)
            except BaseException as error:
                self._note(error, connection, waiting)
                if _is_end(error) and not is_suspect:
                    ENDS.end_in_use(connection, sending)
                ENDS.release(connection)
                connection.close()
                raise
        if self._confirms:
            connection.close()
            return Assurance.RECEIVED
        ENDS.follow(connection, functools.partial(self._ended_behind, len(frames), on_end), sending)
        self._pool.give_back(connection)
        return Assurance.SENT

    def watch(self, seconds: float) -> TransportError | None:
        """Watch an idle connection for so long; return how the receiver ended it, or None."""
        connection = self._pool.take()
        if connection is None:
            return None
        ENDS.release(connection)
        try:
            connection.see_open(seconds)
        except TransportError as error:
            connection.close()
            return error
        self._pool.give_back(connection)
        return None

    def hang_up(self, seconds: float) -> None:
        """Close the connections that are idle; give the receiver so long to end its side of each."""
        while (connection := self._pool.take()) is not None:
            ENDS.release(connection)
            connection.close(notice=seconds)

    def close(self) -> None:
        """Close the connections that are idle; those in use are closed behind their batch."""
        self._pool.close()

    def _carry(self, connection: SyslogConnection, frames: Sequence[bytes], patience: StallTimeout) -> None:
        count = connection.carry(frames, patience)
        # A short time for the batch leaves most of it for the confirmation.
        connection.see_open(min(self._pause_behind(connection), patience.remaining / 4))
        if count < len(frames):
            patience.deadline.passed(f"take more than {count} of {len(frames)} events")
        if self._confirms:
            connection.confirm(patience)
            self._confirmed += 1

    def _pause_behind(self, connection: SyslogConnection) -> float:
        """Return for how many seconds to watch a connection behind a batch.

        Where a confirmation is all that counts, a receiver that hangs up must do so before our own end: while
        it is unknown, or has hung up lately, it gets the longest time, for its machine may be busy.
        """
        is_wary = monotonic() < self._wary_until
        if self._confirms and (is_wary or self._confirmed < _CONFIRMED_BEFORE_TRUSTED):
            return _LONGEST_MOMENT
        return self._moment if is_wary or not connection.is_proven else 0.0

    def _note(self, error: BaseException, connection: SyslogConnection, patience: StallTimeout) -> None:
        """Keep with the error how far the batch had come; be wary after an end of the connection."""
        if not isinstance(error, TransportError):
            return
        error.tried = connection.tried
        if isinstance(error, DeadlinePassed):
            error.taken = 0 if self._confirms else connection.taken
            error.rate = patience.taken / patience.seconds if patience.is_moving() else 0.0
        elif isinstance(error, ConnectionLost):
            self._wary_until = monotonic() + _WARY

    def _ended_behind(self, count: int, on_end: Callable[[], None]) -> None:
        self._wary_until = monotonic() + _WARY
        SYSLOG_CLOSED_AFTER_SEND.log(log, peer=self.peer, events=count)
        on_end()

    def _take(self, deadline: Deadline, sending: object) -> SyslogConnection:
        while (connection := self._pool.take()) is not None:
            if not _is_usable(connection):
                ENDS.end(connection, sending)
                connection.close()
            elif connection.lifetime.is_over():
                ENDS.retire(connection)
            else:
                ENDS.use(connection)
                return connection
        return self._connect(deadline)

    def _connect(self, deadline: Deadline) -> SyslogConnection:
        context = self._context() if self._context is not None else None
        began = monotonic()
        sock = self._guard.dial(self._host, self._port, deadline.remaining())
        self._moment = min(max(_CONNECTS * (monotonic() - began), _SHORTEST_MOMENT), _LONGEST_MOMENT)
        lifetime = self._guard.lifetime(self._host, self._port, sock.peer_ip)
        connection = SyslogConnection(sock, self.peer, lifetime, self._window)
        try:
            if context is not None:
                self._begin_tls(connection, context, deadline)
        except BaseException as error:
            if isinstance(error, ConnectTimedOut):
                # Not another address now: the time is over. But the next attempt begins with another one.
                self._guard.note_silent(lifetime.ip, self._port)
            connection.close()
            raise
        return connection

    def _begin_tls(self, connection: SyslogConnection, context: ssl.SSLContext, deadline: Deadline) -> None:
        began = monotonic()
        connection.begin_tls(context, self._tls, self._host, deadline)
        if connection.certificate_ends is not None:
            self._guard.note_certificate(connection.certificate_ends)
        if self._confirms:
            return  # the receiver's own end will show it, or an alert in its place
        patience = min(max(_HANDSHAKES * (monotonic() - began), _SHORTEST_VERDICT), _LONGEST_VERDICT)
        connection.hear_verdict(min(patience, deadline.remaining()))


def watch_to_the_end() -> None:
    """Wait for what the last batches of this process bring about: 4 s, and only if they are that young."""
    ENDS.wait_until_over()


def _is_end(error: BaseException) -> bool:
    return isinstance(error, TransportError) and not isinstance(error, DeadlinePassed)


def _is_usable(connection: SyslogConnection) -> bool:
    try:
        return connection.is_open()
    except TransportError:
        return False
