"""One deadline for a whole exchange, however many reads and writes it takes.

A thread declares the deadline with `within`; the two socket classes here obey it before every call
that can block. A peer that sends or takes one byte a second therefore gains no time by doing so.
"""

import contextlib
import ssl
import threading
from collections.abc import Iterator
from socket import socket
from time import monotonic
from typing import Any, NoReturn

from worker.model.errors import ConnectTimedOut, DeadlinePassed


class Deadline:
    """A moment by which `peer` ("host:port") must be done, `seconds` from now."""

    __slots__ = ("_cargo", "_end", "_peer", "_seconds")

    def __init__(self, seconds: float, peer: str, cargo: str = "request") -> None:
        """Start the clock; `cargo` is what the peer is to take, in one word."""
        self._end = monotonic() + seconds
        self._peer = peer
        self._seconds = seconds
        self._cargo = cargo

    def remaining(self) -> float:
        """Return the seconds that are left, never less than zero."""
        return max(0.0, self._end - monotonic())

    def passed(self, undone: str) -> NoReturn:
        """Raise DeadlinePassed (amid the handshake ConnectTimedOut), saying what the peer did not do."""
        words = undone.format(cargo=self._cargo)
        kind = ConnectTimedOut if undone == _SHAKE_HANDS else DeadlinePassed
        raise kind(f"{self._peer} did not {words} within {self._seconds:.3g} s") from None


class _InForce(threading.local):
    deadline: Deadline | None = None


_in_force = _InForce()


@contextlib.contextmanager
def within(seconds: float, peer: str, cargo: str = "request") -> Iterator[Deadline]:
    """Put a deadline in force for the sockets of this module that the running thread uses."""
    outer = _in_force.deadline
    _in_force.deadline = Deadline(seconds, peer, cargo)
    try:
        yield _in_force.deadline
    finally:
        _in_force.deadline = outer


def seconds_left() -> float | None:
    """Return what is left of the deadline in force, never less than zero; None if there is none."""
    return None if _in_force.deadline is None else _in_force.deadline.remaining()


# Both classes set the time that is left as the timeout of each call. That bounds the call as a whole:
# CPython turns a timeout into a moment when sendall, SSL_read, SSL_write and the handshake begin, not
# at each packet (Modules/socketmodule.c, Modules/_ssl.c), and SSLSocket.sendall loops over send.

_ANSWER = "answer in full"
_TAKE = "take the whole {cargo}"
_SHAKE_HANDS = "complete the TLS handshake"


class DeadlineSocket(socket):
    """A TCP socket that obeys the deadline in force: past it, every call raises DeadlinePassed."""

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive, as `socket.recv`."""
        with _obeying(self, _ANSWER):
            return super().recv(bufsize, flags)

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
        with _obeying(self, _ANSWER):
            return super().recv_into(buffer, nbytes, flags)

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Send, as `socket.send`."""
        with _obeying(self, _TAKE):
            return super().send(data, flags)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send everything, as `socket.sendall`."""
        with _obeying(self, _TAKE):
            super().sendall(data, flags)


class DeadlineTlsSocket(ssl.SSLSocket):
    """A TLS socket that obeys the deadline in force: past it, every call raises DeadlinePassed."""

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 - the name is ssl's
        """Read, as `SSLSocket.read`, on which `recv` and `recv_into` rest."""
        with _obeying(self, _ANSWER):
            return super().read(len, buffer)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send, as `SSLSocket.send`, on which `sendall` rests."""
        with _obeying(self, _TAKE):
            return super().send(data, flags)

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature is ssl's
        """Shake hands, as `SSLSocket.do_handshake`."""
        with _obeying(self, _SHAKE_HANDS):
            super().do_handshake(block)


class _obeying:  # noqa: N801 - a context manager that reads as a verb; a class for its speed
    """Give a call on the socket the time that is left, or raise DeadlinePassed."""

    __slots__ = ("_deadline", "_undone")

    def __init__(self, sock: socket, undone: str) -> None:
        self._deadline = deadline = _in_force.deadline
        self._undone = undone
        if deadline is None:
            return
        remaining = deadline.remaining()
        if not remaining:
            deadline.passed(undone)
        sock.settimeout(remaining)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._deadline is not None and issubclass(kind, TimeoutError):
            self._deadline.passed(self._undone)
