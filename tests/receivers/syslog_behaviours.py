"""What a syslog receiver of the tests may do with a connection: each behaviour is named for it.

Frames are read as the demo's receiver reads them, but of one kind only, and each message has to be one.
"""

import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from worker.demo.syslog_receiver import Bounds, NotSyslog, take_frames

#: How often a wait looks up to see whether the receiver is being stopped, in seconds.
TICK = 0.02
_NO_LINGER = struct.pack("ii", 1, 0)
_MESSAGE = re.compile(rb"<(0|[1-9][0-9]{0,2})>[^\x00-\x1f\x7f]+")


def checked(message: bytes) -> bytes:
    """Return the message: a priority of RFC 5424 (at most 191), then text on one line, without controls."""
    found = _MESSAGE.fullmatch(message)
    if found is None or int(found[1]) > 191:
        raise NotSyslog(f"no syslog message: {message[:200]!r}")
    return message


def whole_messages(unread: bytearray, bounds: Bounds) -> list[bytes]:
    """Cut the messages that are whole off what was read. Raises NotSyslog."""
    return [checked(message) for message in take_frames(unread, bounds)]


class Over(Exception):
    """The receiver is being stopped."""


class Receiving(Protocol):
    """What a behaviour needs to know of its receiver."""

    #: Set when the receiver is being stopped.
    over: threading.Event
    bounds: Bounds

    def keep(self, messages: list[bytes]) -> None:
        """Record what has come."""
        ...

    def note_end(self) -> None:
        """Count a connection that was ended, or half of it, on this side."""
        ...


class Visit:
    """One accepted connection, as a behaviour sees it; `number` counts from 1."""

    def __init__(self, receiver: Receiving, connection: socket.socket, number: int) -> None:
        """Take the connection, after its handshake if there is one."""
        self.receiver = receiver
        self.connection = connection
        self.number = number
        self.taken = 0
        self._unread = bytearray()
        connection.settimeout(TICK)

    def read(self, most: int = 65_536, *, wait: bool = True) -> bool:
        """Read once, keep the messages that are whole; return False at the sender's end. Raises Over."""
        while not self.receiver.over.is_set():
            with suppress(TimeoutError):
                return self._take(self.connection.recv(most))
            if not wait:
                return True
        raise Over

    def _take(self, received: bytes) -> bool:
        self._unread += received
        messages = whole_messages(self._unread, self.receiver.bounds)
        self.taken += len(messages)
        self.receiver.keep(messages)
        return bool(received)

    def read_until(self, count: int) -> None:
        """Read until so many messages have come on this connection, or the sender's end."""
        while self.taken < count and self.read(1024):
            pass

    def wait(self) -> None:
        """Do nothing until the receiver is stopped."""
        self.receiver.over.wait()

    def end_in_order(self) -> None:
        """Say goodbye in TLS (close_notify); closing follows in any case."""
        if isinstance(self.connection, ssl.SSLSocket):
            with suppress(OSError):
                self.connection.unwrap()


Behaviour = Callable[[Visit], None]


def reads(visit: Visit) -> None:
    """Read to the sender's end, and answer it by closing, as rsyslog and syslog-ng do."""
    while visit.read():
        pass
    visit.end_in_order()


def stalls(visit: Visit) -> None:
    """Never read a byte."""
    visit.wait()


def never_ends(visit: Visit) -> None:
    """Read everything, but leave the connection open when the sender has ended it."""
    while visit.read():
        pass
    visit.wait()


def cuts(visit: Visit) -> None:
    """Read everything, and close without TLS's close_notify."""
    while visit.read():
        pass


def slowly(pause: float, most: int = 4096) -> Behaviour:
    """Read so many bytes, then pause, again and again."""

    def behave(visit: Visit) -> None:
        while visit.read(most):
            if visit.receiver.over.wait(pause):
                raise Over
        visit.end_in_order()

    return behave


def closes(after: int) -> Behaviour:
    """Close in order as soon as so many messages have come."""

    def behave(visit: Visit) -> None:
        visit.read_until(after)
        visit.end_in_order()

    return behave


def resets(after: int) -> Behaviour:
    """Reset the connection as soon as so many messages have come."""

    def behave(visit: Visit) -> None:
        visit.read_until(after)
        visit.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)

    return behave


def half_closes(after: int, then: Behaviour = stalls) -> Behaviour:
    """End its own side as soon as so many messages have come, and only that."""

    def behave(visit: Visit) -> None:
        visit.read_until(after)
        socket.socket.shutdown(visit.connection, socket.SHUT_WR)
        visit.receiver.note_end()
        then(visit)

    return behave


def on_cue(cue: threading.Event, then: Behaviour) -> Behaviour:
    """Read until the test gives the cue, then behave so."""

    def behave(visit: Visit) -> None:
        while not cue.is_set() and visit.read(wait=False):
            pass
        then(visit)

    return behave


def answers(words: bytes, then: Behaviour = reads) -> Behaviour:
    """Say something, which a syslog receiver never does."""

    def behave(visit: Visit) -> None:
        visit.connection.sendall(words)
        then(visit)

    return behave


def first(count: int, behaviour: Behaviour, then: Behaviour = reads) -> Behaviour:
    """Behave in one way on so many connections, and in another on all that follow."""
    return lambda visit: (behaviour if visit.number <= count else then)(visit)
