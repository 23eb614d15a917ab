"""One connection to a syslog receiver, in plain TCP or TLS, and what can be known of its other end.

Syslog has no answers. What shows the receiver's state is the end of its side, a reset, an alert of TLS,
and on Linux the number of bytes that its system has yet to acknowledge. A system that throws away bytes
which its program has not read must say so by a reset (RFC 1122, 4.2.2.13), but a program that ends after
it has read them, and before it has stored them, leaves the same trace as one that is done.
"""

import errno
import os
import select
import socket
import ssl
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from itertools import accumulate

from worker.integrations import TlsOptions
from worker.model.errors import ClosedBehindBatch, ConnectionLost, DeadlinePassed, TransportError, Unconfirmed
from worker.transports.deadline import Deadline, DeadlineSocket, hang_up
from worker.transports.guard import Lifetime
from worker.transports.syslog.flow_control import TAKE, Outflow, StallTimeout, Window
from worker.transports.syslog.layers import Layer, PlainLayer, TlsLayer
from worker.transports.tls_failures import closed_behind_handshake, handshake_failure

_PIECE = 65_536
_MOST_READS = 16
_RESETS = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})


class _End(Enum):
    """How far the other side has ended the connection."""

    NONE = auto()
    #: A FIN in plain TCP, a close_notify in TLS.
    ORDERLY = auto()
    #: A FIN in TLS without close_notify before it.
    CUT_OFF = auto()


@dataclass(frozen=True, slots=True)
class SyslogTarget:
    """Where a receiver listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return "host:port", as messages name the receiver."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class SyslogConnection:
    """A connection that was made, and the peer's name in messages: "host:port". For one thread at a time."""

    def __init__(self, sock: DeadlineSocket, peer: str, lifetime: Lifetime, window: Window) -> None:
        """Take over the socket; its calls obey the deadline in force.

        `window` is what earlier connections have learned of the receiver.
        """
        #: For how long batches may begin on it.
        self.lifetime = lifetime
        self._sock = sock
        self._peer = peer
        self._layer: Layer = PlainLayer(sock)
        self._options = TlsOptions()
        #: When the receiver's certificate ends (seconds since 1970 UTC), where it has shown one.
        self.certificate_ends: float | None = None
        self._outflow = Outflow(sock, window, self._see_no_error)
        self._was_answered = False
        self._made = time.monotonic()
        #: Of the batch that is or was under way: how many frames were handed over, in part or whole.
        self.tried = 0
        #: And how many of them the other system has certainly taken, if time was all that was missing.
        self.taken = 0
        #: Whether the receiver has kept a connection open behind what it was sent on it.
        self.is_proven = False

    @property
    def seconds_old(self) -> float:
        """How long ago the connection was made."""
        return time.monotonic() - self._made

    def begin_tls(self, context: ssl.SSLContext, options: TlsOptions, host: str, deadline: Deadline) -> None:
        """Speak TLS from now on, by these options. Raises TlsFailed and DeadlinePassed."""
        self._options = options
        layer: TlsLayer | None = None
        try:
            layer = TlsLayer(self._sock, context, options.server_name(host))
            layer.shake_hands()
        except DeadlinePassed:
            deadline.passed("complete the TLS handshake")
        except (OSError, ValueError) as error:
            shown = layer.shown if layer is not None else ()
            raise handshake_failure(error, self._peer, options, shown) from None
        self._layer = layer
        self.certificate_ends = layer.shown_end

    def is_open(self) -> bool:
        """Return, without waiting, whether the other side is still open; what it has said is read off.

        In plain TCP and in TLS alike, only a read that finds nothing says so: what has come before the end,
        such as the session tickets of TLS 1.3, would hide it from a mere peek. Raises ConnectionLost when
        the connection was reset, and TlsFailed for an alert.
        """
        return self._look() is _End.NONE

    def hear_verdict(self, seconds: float) -> None:
        """Give a TLS 1.3 server time to judge our certificate, which it does after the handshake has ended.

        Most then send a session ticket, and end the wait by it (RFC 8446, 4.6.1). Raises TlsFailed when we
        are not let in.
        """
        if isinstance(self._layer, TlsLayer) and self._layer.may_be_judged_late:
            _wait_to_read(self._sock, seconds)
        if not self.is_open():
            raise closed_behind_handshake(self._peer, self._options)

    def carry(self, frames: Sequence[bytes], patience: StallTimeout) -> int:
        """Send frames as fast as the receiver takes them; return how many its system has acknowledged.

        Those behind them were not handed over, for want of time. Raises ConnectionLost, TlsFailed and
        DeadlinePassed; `tried` and `taken` then say how far it came.
        """
        self.tried = self.taken = 0
        marks: list[tuple[int, int]] = []
        patience.begin(self._outflow.acknowledged())
        patience.look(self._outflow.acknowledged())
        try:
            for piece, data in _pieces(frames, self._outflow):
                if not self._outflow.has_room(len(data), patience):
                    break
                self.tried += piece
                self._outflow.push(self._layer.wrapped(data), patience)
                marks.append((self.tried, self._outflow.handed))
            self._outflow.drain(patience)
        except DeadlinePassed:
            if patience.is_moving():
                acknowledged = self._outflow.acknowledged()
                self.taken = max((count for count, end in marks if end <= acknowledged), default=0)
            raise
        except OSError as error:
            self._look()  # an alert that has come says more than a broken pipe
            raise self._fault(error) from None
        self.taken = self.tried
        return self.tried

    def see_open(self, seconds: float) -> None:
        """Watch for so long whether the receiver hangs up on what it was sent.

        Raises TlsFailed, ConnectionLost, and ClosedBehindBatch for an orderly end: its program may have read
        everything before, but one that throws away what it has read, or was killed, looks the same.
        """
        until = time.monotonic() + seconds
        while self.is_open():
            self._see_no_error()
            if not _wait_to_read(self._sock, max(0.0, until - time.monotonic())):
                self.is_proven |= seconds > 0
                return
        raise ClosedBehindBatch(f"{self._peer} closed the connection behind the batch{self._remark()}")

    def confirm(self, patience: StallTimeout) -> None:
        """End our side, and wait until the receiver has ended its own in answer to that, without a word.

        In TLS, only its close_notify counts, which it must send in answer to ours (RFC 5425, 4.4). Raises
        Unconfirmed when nothing more than that is missing, DeadlinePassed when it has not even taken all
        bytes, ClosedBehindBatch for an end that was there before ours, ConnectionLost, and TlsFailed. An end
        that crosses ours on the way, although it answers nothing, passes for an answer if no reset follows:
        so `see_open` comes before this.
        """
        if not self.is_open():
            words = "closed the connection before our end of it, so what it has read is unknown"
            raise ClosedBehindBatch(f"{self._peer} {words}{self._remark()}")
        try:
            self._layer.end()
        except OSError as error:
            self._look()
            raise self._fault(error) from None
        self._await_end(Deadline(patience.remaining, self._peer, cargo="batch"))
        # An end that crossed our bytes on the way is followed by a reset.
        self._outflow.drain(patience)
        if self._was_answered:
            raise ConnectionLost(f"{self._peer} closed the connection{self._remark()}")

    def has_hung_up(self) -> bool:
        """Return, without reading, whether the other side has ended the connection. Any thread may ask."""
        poll = select.poll()
        ended = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR
        try:
            poll.register(self._sock, ended)
        except ValueError:  # closed on this side
            return False
        return any(event & ended for _, event in poll.poll(0))

    def close(self, notice: float = 0.0) -> None:
        """Close in order: TLS sends close_notify, and nothing is left unread.

        Else our system would reset the connection, and some receivers then forget what they have not read
        yet, earlier batches included. So a batch that failed half-way may still arrive, and then once more.
        The receiver gets `notice` seconds to end its side as well; without them, nothing is waited for.
        """
        with suppress(TransportError, OSError):
            self._look()
        with suppress(OSError):
            self._layer.leave()
        if notice:
            hang_up(self._sock, notice)
        self._sock.close()

    def _look(self) -> _End:
        for _ in range(_MOST_READS):
            try:
                if not self._layer.receive_at_once(_PIECE):
                    return _End.ORDERLY
            except BlockingIOError:
                return _End.NONE
            except ssl.SSLEOFError:
                return _End.CUT_OFF
            except OSError as error:
                raise self._fault(error) from None
            self._was_answered = True
        raise ConnectionLost(f"{self._peer} sends without end, where a syslog receiver is silent")

    def _see_no_error(self) -> None:
        """Raise what has become of the connection, also where the end of the other side came first."""
        number = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._look()  # an alert that has come says more than a reset
            raise self._fault(OSError(number, os.strerror(number)))

    def _await_end(self, deadline: Deadline) -> None:
        while (end := self._look()) is _End.NONE:
            if not _wait_to_read(self._sock, deadline.remaining()):
                if self._outflow.unacknowledged():
                    deadline.passed(TAKE)
                words = "took the whole batch, but did not close the connection in answer to our end of it"
                raise Unconfirmed(f"{self._peer} {words}{self._remark()}")
        if end is _End.CUT_OFF:
            raise Unconfirmed(f"{self._peer} closed the connection without TLS's close_notify")

    def _remark(self) -> str:
        return ", having answered something: is it a syslog port?" if self._was_answered else ""

    def _fault(self, error: OSError) -> TransportError:
        if isinstance(error, ssl.SSLError):
            shown = self._layer.shown if isinstance(self._layer, TlsLayer) else ()
            return handshake_failure(error, self._peer, self._options, shown)
        if error.errno in _RESETS:
            return ConnectionLost(f"{self._peer} reset the connection{self._remark()}")
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        # Whatever was lacking here: the receiver may have what was sent, so that this is no shortage.
        return ConnectionLost(f"the connection to {self._peer} broke: {reason}")


def _pieces(frames: Sequence[bytes], outflow: Outflow) -> Iterator[tuple[int, bytes]]:
    """Put frames together to pieces of about the size that suits the receiver; each with their number."""
    ends = list(accumulate(map(len, frames)))
    at = size = 0
    while at < len(frames):
        end = max(at + 1, bisect_right(ends, size + outflow.piece, at))
        yield end - at, b"".join(frames[at:end])
        at, size = end, ends[end - 1]


def _wait_to_read(sock: socket.socket, seconds: float) -> bool:
    """Wait for something to read; return whether it came. Unlike select, poll takes sockets of any number."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
