"""Syslog over UDP: messages come in, one datagram each goes out, in small bursts (RFC 5426).

Nothing says whether a datagram arrived. What can be noticed is a port where nothing listens: the other system
then answers by ICMP, which a connected socket reports at its next use.
"""

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.model.errors import ConnectFailed, DeadlinePassed, OutOfResources, TransportError
from worker.transports.deadline import Deadline
from worker.transports.guard import Guard, Lifetime
from worker.transports.shortages import shortage
from worker.transports.syslog.connection import SyslogTarget
from worker.transports.syslog.pool import Pool

#: How long a refusal of the last datagram is waited for, in seconds: a round trip within a data centre.
_LAST_LOOK = 0.01
#: What goes out without a pause: a default receive buffer of Linux (212 992 bytes) holds several such bursts.
_LARGEST_BURST = 32
#: A shorter pause than this, in seconds, is not worth sleeping for; it is owed, and added to the next.
_SHORTEST_PAUSE = 0.001


@dataclass(frozen=True, slots=True)
class SentDatagrams:
    """The first `count` messages of those given went to the network, but for those at `too_long`.

    `lack` is what kept back the others, if this machine was short of something.
    """

    count: int
    too_long: frozenset[int]
    lack: OutOfResources | None = None


class SyslogDatagrams:
    """Sends to one receiver; shared by the threads of a process, which share the `rate` (a second)."""

    def __init__(self, guard: Guard, target: SyslogTarget, *, rate: int, connections: int) -> None:
        """Open nothing yet; keep as many sockets as threads send at once."""
        self._guard = guard
        self._host, self._port = target.host, target.port
        self._peer = str(target)
        self._pace = _Pace(rate)
        self._pool: Pool[_Line] = Pool(connections)

    def send(
        self, messages: Sequence[bytes], seconds: float, on_send: Callable[[int], None] = lambda _place: None
    ) -> SentDatagrams:
        """Send one datagram each; `seconds` is all the time there is, from the look-up to the last look.

        What the pace does not allow in that time is not sent. `on_send` is called with the place of each just
        before it goes. Raises what `Guard.dial_datagrams` raises,
        and ConnectFailed when the other system refused one, or one that was sent shortly before: then nothing
        is known of any.
        """
        deadline = Deadline(seconds, self._peer)
        line = self._take(deadline)
        try:
            handed = self._send_all(line.sock, messages, deadline, on_send)
            _look(line.sock)
        except OSError as error:
            line.close()
            raise self._fault(error, seconds) from None
        except BaseException:
            line.close()
            raise
        self._pool.give_back(line)
        return handed

    def close(self) -> None:
        """Close the sockets that are idle; those in use are closed behind their batch."""
        self._pool.close()

    def _take(self, deadline: Deadline) -> "_Line":
        while (line := self._pool.take()) is not None:
            # A socket that connects nothing never breaks: that the name has moved is seen by this alone.
            if not line.lifetime.is_over():
                return line
            line.close()
        sock = self._guard.dial_datagrams(self._host, self._port, deadline.remaining())
        sock.settimeout(0)
        return _Line(sock, self._guard.lifetime(self._host, self._port, sock.peer_ip))

    def _send_all(
        self,
        sock: socket.socket,
        messages: Sequence[bytes],
        deadline: Deadline,
        on_send: Callable[[int], None],
    ) -> SentDatagrams:
        too_long: set[int] = set()
        count = 0
        while burst := messages[count : count + self._pace.burst]:
            if not self._pace.wait_for_turn(len(burst), deadline):
                break
            for place, message in enumerate(burst, count):
                on_send(place)
                try:
                    _put(sock, message, deadline)
                except OSError as error:
                    if error.errno == errno.EMSGSIZE:
                        too_long.add(place)
                    elif (lack := shortage(error.errno or 0, self._words(error))) is not None:
                        return SentDatagrams(place, frozenset(too_long), lack)
                    else:
                        raise
            count += len(burst)
        return SentDatagrams(count, frozenset(too_long))

    def _fault(self, error: OSError, seconds: float) -> TransportError:
        if isinstance(error, TimeoutError):
            return DeadlinePassed(f"this machine's network did not take the batch within {seconds:g} s")
        if isinstance(error, ConnectionRefusedError):
            return ConnectFailed(f"{self._peer} refused the datagrams: nothing listens on that UDP port")
        return ConnectFailed(self._words(error))

    def _words(self, error: OSError) -> str:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        return f"cannot send to {self._peer}: {reason}"


@dataclass(frozen=True, slots=True)
class _Line:
    """A connected socket, and for how long it may be used."""

    sock: socket.socket
    lifetime: Lifetime

    def close(self) -> None:
        self.sock.close()


class _Pace:
    """Spreads bursts of up to `burst` datagrams over time, so that all threads together keep to the rate."""

    def __init__(self, rate: int) -> None:
        self.burst = max(1, min(rate // 100, _LARGEST_BURST))
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = 0.0

    def wait_for_turn(self, count: int, deadline: Deadline) -> bool:
        """Wait until so many may go; return False at once where that would be past the deadline."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._free_at)
            if turn - now >= deadline.remaining():
                return False
            self._free_at = turn + count / self._rate
        if turn - now >= _SHORTEST_PAUSE:
            time.sleep(turn - now)
        return True


def _put(sock: socket.socket, message: bytes, deadline: Deadline) -> None:
    """Send one datagram; wait only where our own system has no room for it. Raises OSError.

    On a socket with a timeout, each call would ask first whether there is room.
    """
    while True:
        try:
            socket.socket.send(sock, message)
        except BlockingIOError:
            poll = select.poll()
            poll.register(sock, select.POLLOUT)
            if not poll.poll(deadline.remaining() * 1000):
                raise TimeoutError from None
        else:
            return


def _look(sock: socket.socket) -> None:
    """Raise the refusal of a datagram that was sent, if it comes within a moment."""
    poll = select.poll()
    poll.register(sock, 0)  # errors are reported whatever is asked for
    if poll.poll(_LAST_LOOK * 1000) and (number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
        raise OSError(number, os.strerror(number))
