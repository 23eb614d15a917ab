"""One deadline for a whole exchange, however many reads and writes it takes.

A thread declares the deadline with `within`; the two socket classes here obey it before every call
that can block. A peer that sends or takes one byte a second therefore gains no time by doing so, unless the
deadline has patience: then a peer that takes what it is sent is waited for, up to the end. What a peer has
answered by then counts, even if this process was suspended and reads it late.
"""

import contextlib
import errno
import select
import ssl
import threading
from collections.abc import Callable, Iterator
from functools import partial
from socket import SHUT_WR, socket
from time import monotonic
from typing import Any, NoReturn, TypeVar

from worker.model.errors import ConnectTimedOut, DeadlinePassed
from worker.transports.unsent import drop_unsent_of, unacknowledged

#: How long the other side may take to end a connection behind our end of it, in seconds, before the next.
NOTICE = 1.0
#: That it has ended the connection.
_ENDED = getattr(select, "POLLRDHUP", 0) | select.POLLHUP

Result = TypeVar("Result")


class Deadline:
    """A moment by which `peer` ("host:port") must be done, `seconds` from now.

    With `patience`, the peer has only so many seconds, counted again whenever its system has acknowledged
    more of what the sockets of this module have sent: a slow peer is waited for, a dead one is not.
    """

    # fmt: off
    __slots__ = ("_began", "_cargo", "_end", "_late", "_patience", "_peer", "_seconds", "_sent", "_stall",
                 "_taken")
    # fmt: on

    def __init__(
        self, seconds: float, peer: str, cargo: str = "request", patience: float | None = None
    ) -> None:
        """Start the clock; `cargo` is what the peer is to take, in one word."""
        self._began = monotonic()
        self._end = self._began + seconds
        self._peer = peer
        self._seconds = seconds
        self._cargo = cargo
        self._patience = patience
        self._stall = self._end if patience is None else min(self._end, self._began + patience)
        self._sent = self._taken = self._late = 0

    @property
    def is_patient(self) -> bool:
        """Whether it waits for a slow peer."""
        return self._patience is not None

    @property
    def rate(self) -> float:
        """How many bytes a second the peer has taken so far, as was last looked.

        It is 0 where it was not measured, and where the peer has all: then it is no measure of how slow it
        is.
        """
        return self._taken / max(monotonic() - self._began, _SHORTEST) if self._taken < self._sent else 0.0

    def remaining(self) -> float:
        """Return the seconds that are left, never less than zero."""
        return max(0.0, self._stall - monotonic())

    def pause(self) -> float:
        """Return for how long a call may block before `goes_on` is asked, never less than zero."""
        remaining = self.remaining()
        return remaining if self._patience is None else min(remaining, self._patience / _LOOKS)

    def sent(self, sock: socket, count: int) -> None:
        """Take note that so many bytes more were handed to our own system."""
        self._sent += count
        self._look(sock)

    def has_handed_over(self, count: int, descriptor: int) -> bool:
        """Take note that so many bytes in all were handed to our own system; return whether it goes on."""
        self._sent = count
        return self.goes_on(descriptor)

    def goes_on(self, sock: socket | int) -> bool:
        """Look whether the peer has taken more, and return whether there is time left."""
        self._look(sock)
        return self.remaining() > 0

    def allows_late_read(self) -> bool:
        """Return whether what has come by now may be read past the end, and count it: a few times it may."""
        self._late += 1
        return self._late <= _MOST_LATE_READS

    def passed(self, undone: str) -> NoReturn:
        """Raise DeadlinePassed (amid the handshake ConnectTimedOut), saying what the peer did not do."""
        words = undone.format(cargo=self._cargo)
        kind = ConnectTimedOut if undone == _SHAKE_HANDS else DeadlinePassed
        seconds = self._patience if self._patience and self._stall < self._end else self._seconds
        error = kind(f"{self._peer} did not {words} within {seconds:.3g} s")
        error.rate = self.rate
        raise error from None

    def _look(self, sock: socket | int) -> None:
        if self._patience is None or not self._sent:
            return
        taken = self._sent - min(self._sent, unacknowledged(sock))
        if taken > self._taken:
            self._taken = taken
            self._stall = min(self._end, monotonic() + self._patience)


class _InForce(threading.local):
    deadline: Deadline | None = None


_in_force = _InForce()


@contextlib.contextmanager
def within(
    seconds: float, peer: str, cargo: str = "request", patience: float | None = None
) -> Iterator[Deadline]:
    """Put a deadline in force for the sockets of this module that the running thread uses."""
    outer = _in_force.deadline
    _in_force.deadline = Deadline(seconds, peer, cargo, patience)
    try:
        yield _in_force.deadline
    finally:
        _in_force.deadline = outer


def seconds_left() -> float | None:
    """Return what is left of the deadline in force, never less than zero; None if there is none."""
    return None if _in_force.deadline is None else _in_force.deadline.remaining()


# Both classes set the time that is left as the timeout of each call. That bounds the call as a whole:
# CPython turns a timeout into a moment when sendall, SSL_read, SSL_write and the handshake begin, not
# at each packet (Modules/socketmodule.c, Modules/_ssl.c), and SSLSocket.sendall loops over send. Where a slow
# peer is waited for, a call is repeated with the same arguments: so sendall is made of calls to send, each of
# which hands over a piece or nothing.

_ANSWER = "answer in full"
_TAKE = "take the whole {cargo}"
_SHAKE_HANDS = "complete the TLS handshake"
#: So many bytes are handed over at a time, and so many looks taken in the time that a peer may be silent.
_PIECE = 16_384
_LOOKS = 10
_SHORTEST = 0.001
#: So often, past the deadline, a call may read what has already come: an answer takes a few calls, the head
#: and each TLS record (RFC 8446, section 5.1) one, while a peer that drips must gain nothing by it.
_MOST_LATE_READS = 16


class DeadlineSocket(socket):
    """A TCP socket that obeys the deadline in force: past it, every call raises DeadlinePassed.

    `peer_ip` is the address that it was connected to; the system forgets it at a reset.
    """

    peer_ip = ""

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive, as `socket.recv`."""
        return _obeying(self, _ANSWER, partial(super().recv, bufsize, flags))

    def receive_at_once(self, most: int) -> bytes:
        """Return what has come, `most` bytes of it; nothing at the peer's end. Never waits.

        Raises BlockingIOError where there is neither.
        """
        self.settimeout(0)
        return super().recv(most)

    def send_at_once(self, data: bytes | memoryview) -> int:
        """Send what our own system takes without waiting, and return how much that was.

        Raises BlockingIOError where that is nothing.
        """
        self.settimeout(0)
        return super().send(data)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receive, as `socket.recv_into`; what `makefile` reads with."""
        return _obeying(self, _ANSWER, partial(super().recv_into, buffer, nbytes, flags))

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Send, as `socket.send`."""
        return _noted(self, _obeying(self, _TAKE, partial(super().send, data, flags)))

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send everything, as `socket.sendall`."""
        if not _is_patient():
            return _obeying(self, _TAKE, partial(super().sendall, data, flags))
        view = memoryview(data).cast("B")
        while view:
            view = view[self.send(view[:_PIECE], flags) :]
        return None


class DeadlineTlsSocket(ssl.SSLSocket):
    """A TLS socket that obeys the deadline in force: past it, every call raises DeadlinePassed."""

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 - the name is ssl's
        """Read, as `SSLSocket.read`, on which `recv` and `recv_into` rest."""
        return _obeying(self, _ANSWER, partial(super().read, len, buffer))

    def send(self, data: Any, flags: int = 0) -> int:
        """Send, as `SSLSocket.send`, on which `sendall` rests."""
        piece = memoryview(data).cast("B")[:_PIECE] if _is_patient() else data
        return _noted(self, _obeying(self, _TAKE, partial(super().send, piece, flags)))

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature is ssl's
        """Shake hands, as `SSLSocket.do_handshake`."""
        _obeying(self, _SHAKE_HANDS, partial(super().do_handshake, block))


def hang_up(sock: socket, seconds: float) -> None:
    """Close the socket once the other side has ended the connection behind our end of it, or after so long.

    A receiver that takes one connection at a time refuses the next one until it has noticed the end of the
    last. What it says before that does not count.
    """
    with contextlib.suppress(OSError):
        # Below TLS, whose own end would have to be read first.
        socket.shutdown(sock, SHUT_WR)
        poll = select.poll()
        poll.register(sock, _ENDED)
        poll.poll(seconds * 1000)
    sock.close()


def _is_patient() -> bool:
    return _in_force.deadline is not None and _in_force.deadline.is_patient


def _noted(sock: socket, count: int) -> int:
    if _in_force.deadline is not None:
        _in_force.deadline.sent(sock, count)
    return count


def _obeying(sock: socket, undone: str, call: Callable[[], Result]) -> Result:
    """Give a call on the socket the time that is left, or raise DeadlinePassed."""
    deadline = _in_force.deadline
    if deadline is None:
        return call()
    while True:
        pause = deadline.pause()
        if not pause:
            return _late(sock, undone, call, deadline)
        sock.settimeout(pause)
        try:
            return call()
        except TimeoutError as error:
            # With a number, the system itself has given the connection up (TCP_USER_TIMEOUT).
            if error.errno == errno.ETIMEDOUT or not deadline.goes_on(sock):
                _give_up(sock)
                deadline.passed(undone)


def _late(sock: socket, undone: str, call: Callable[[], Result], deadline: Deadline) -> Result:
    """Read what has come already, or raise DeadlinePassed.

    A process that was suspended between a request and the read of its answer finds that its time is over, and
    the answer there: to send the request again would deliver it twice.
    """
    if undone != _ANSWER or not deadline.allows_late_read():
        deadline.passed(undone)
    sock.settimeout(0)
    try:
        return call()
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        deadline.passed(undone)


def _give_up(sock: socket) -> None:
    """See to it that a peer that has not taken all gets no more, so that it cannot take the request late."""
    if _is_patient():
        drop_unsent_of(sock)
