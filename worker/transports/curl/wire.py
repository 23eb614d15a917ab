"""What carries the bytes of one connection of HTTP/1.1 that libcurl has made: a socket, or libcurl's TLS.

Input: a handle of libcurl that was told to connect only, and has. Output: `send` and `receive`, neither of
which waits: both raise BlockingIOError instead, and OSError or `pycurl.error` for an end that is none of TLS
or TCP.
"""

import os
import socket
from dataclasses import dataclass
from typing import Any, Protocol

import pycurl

from worker.transports.budget import BUDGET
from worker.transports.curl.answer import LONGEST_BODY, LONGEST_HEAD

_PIECE = 65_536
#: An answer is over by then, whatever it is: as much is read at once, so that others get their turn.
_MOST = LONGEST_BODY + LONGEST_HEAD


@dataclass(slots=True)
class WrittenRequest:
    """A request as it goes over the wire; `due` is in monotonic seconds, `seconds` what it had in all."""

    key: Any
    payload: bytes
    due: float
    seconds: float


class Wire(Protocol):
    """A connection that stands; `descriptor` is for those who wait."""

    descriptor: int

    def send(self, data: bytes | memoryview) -> int:
        """Send some of it; return how much."""
        ...

    def receive(self) -> bytes:
        """Return what has come; empty at its end."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class PlainWire:
    """A socket of our own. libcurl would close one that it holds as it sees fit: its own is closed here."""

    __slots__ = ("_receive", "_sock", "descriptor", "send")

    def __init__(self, easy: Any, multi: Any) -> None:
        """Take over. Raises OSError where no descriptor is left; libcurl closes the connection then."""
        try:
            descriptor = os.dup(easy.getinfo(pycurl.ACTIVESOCKET))
        finally:
            multi.remove_handle(easy)
        self._sock = socket.socket(fileno=descriptor)
        self._sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
        BUDGET.note(descriptor)
        self.descriptor = descriptor
        self.send = self._sock.send
        self._receive = self._sock.recv

    def receive(self) -> bytes:
        """Return what has come; empty at its end."""
        return self._receive(_PIECE)

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()


class TlsWire:
    """TLS stays with libcurl: its handle is needed for as long as the connection lasts."""

    __slots__ = ("_easy", "_multi", "descriptor", "send")

    def __init__(self, easy: Any, multi: Any) -> None:
        """Take a handle that is on this multi handle."""
        self._easy = easy
        self._multi = multi
        self.descriptor: int = easy.getinfo(pycurl.ACTIVESOCKET)
        self.send = easy.send

    def receive(self) -> bytes:
        """Return all that has come: what TLS has read already, no descriptor shows."""
        pieces: list[bytes] = []
        size = 0
        while size < _MOST:
            try:
                piece: bytes = self._easy.recv(_PIECE)
            except (BlockingIOError, pycurl.error):
                if pieces:
                    break  # an end is met again behind what came before it
                raise
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Close the connection."""
        self._multi.remove_handle(self._easy)
        self._easy.close()
