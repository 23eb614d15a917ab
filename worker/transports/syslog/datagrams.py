"""Syslog over UDP: messages come in, one datagram each goes out, in small bursts (RFC 5426).

Nothing says whether a datagram arrived. What can be noticed is a port where nothing listens: the other system
then answers by ICMP, which a connected socket reports at its next use. That answer is waited for behind a
batch, but not while one follows the other: then the next one finds it, and behind the last the socket is
watched while it rests. Either way the batch before it does not count as sent any more.
"""

import errno
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from worker.model.errors import ConnectFailed, DeadlinePassed, OutOfResources, TransportError
from worker.model.log_events import SYSLOG_CLOSED_AFTER_SEND
from worker.transports.deadline import Deadline
from worker.transports.guard import Guard, Lifetime
from worker.transports.shortages import shortage
from worker.transports.syslog.bare_send import sending
from worker.transports.syslog.connection import SyslogTarget
from worker.transports.syslog.pool import ENDS, SUSPICIOUS, Pool

log = logging.getLogger(__name__)

#: How long a refusal of the last datagram is waited for, in seconds: a round trip within a data centre.
_LAST_LOOK = 0.01
#: A batch that begins so soon behind the last one, in seconds, is one of many, and not waited behind.
_FOLLOWS = 0.05
#: After a refusal each batch is waited behind, for so long.
_WARY = 300.0
#: What goes out without a pause: a default receive buffer of Linux (212 992 bytes) holds 92 datagrams of 700
#: to 1 400 bytes, and 48 of 2 000.
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


def _nothing(_: object) -> None:
    """Take no note."""


class SyslogDatagrams:
    """Sends to one receiver; shared by the threads of a process, which share the `rate` (a second)."""

    def __init__(self, guard: Guard, target: SyslogTarget, *, rate: int, connections: int) -> None:
        """Open nothing yet; keep as many sockets as threads send at once."""
        self._guard = guard
        self._host, self._port = target.host, target.port
        self._peer = str(target)
        self._pace = _Pace(rate)
        self._pool: Pool[_Line] = Pool(connections)
        self._wary_until = 0.0

    def send(
        self,
        messages: Sequence[bytes],
        seconds: float,
        on_send: Callable[[range], None] = _nothing,
        on_end: Callable[[SentDatagrams], None] = _nothing,
    ) -> SentDatagrams:
        """Send one datagram each; `seconds` is all the time there is, from the look-up to the last look.

        What the pace does not allow in that time is not sent. `on_send` is called with the places of each
        burst just before it goes, and `on_end`, by any thread, with what was returned, should a refusal come
        later. Raises what `Guard.dial_datagrams` raises, and ConnectFailed when the other system refused one,
        or one that was sent shortly before: then nothing is known of any.
        """
        deadline = Deadline(seconds, self._peer)
        line = self._take(deadline)
        before, began = ENDS.recall(line), time.monotonic()
        try:
            _see_no_error(line.sock)
            handed = self._send_all(line.sock, messages, deadline, on_send)
            _look(line.sock, self._pause_behind(line, began))
        except OSError as error:
            if isinstance(error, ConnectionRefusedError):
                self._wary_until = time.monotonic() + _WARY
                if time.monotonic() - began < _LAST_LOOK:
                    before()
            line.close()
            raise self._fault(error, seconds) from None
        except BaseException:
            line.close()
            raise
        ENDS.follow(line, partial(self._refused_behind, handed, on_end))
        line.rests_since = time.monotonic()
        self._pool.give_back(line)
        return handed

    def close(self) -> None:
        """Close the sockets that are idle; those in use are closed behind their batch."""
        self._pool.close()

    def _pause_behind(self, line: "_Line", began: float) -> float:
        """Return for how many seconds to wait for a refusal behind a batch that began then."""
        is_one_of_many = began - line.rests_since < _FOLLOWS and time.monotonic() >= self._wary_until
        return 0.0 if is_one_of_many else _LAST_LOOK

    def _refused_behind(self, handed: SentDatagrams, on_end: Callable[[SentDatagrams], None]) -> None:
        self._wary_until = time.monotonic() + _WARY
        SYSLOG_CLOSED_AFTER_SEND.log(log, peer=self._peer, events=handed.count)
        on_end(handed)

    def _take(self, deadline: Deadline) -> "_Line":
        while (line := self._pool.take()) is not None:
            # A socket that connects nothing never breaks: that the name has moved is seen by this alone.
            if not line.lifetime.is_over():
                return line
            ENDS.retire(line)
        sock = self._guard.dial_datagrams(self._host, self._port, deadline.remaining())
        sock.settimeout(0)
        return _Line(sock, self._guard.lifetime(self._host, self._port, sock.peer_ip))

    def _send_all(
        self,
        sock: socket.socket,
        messages: Sequence[bytes],
        deadline: Deadline,
        on_send: Callable[[range], None],
    ) -> SentDatagrams:
        too_long: set[int] = set()
        count = 0
        put = sending(sock)
        while burst := messages[count : count + self._pace.burst]:
            if not self._pace.wait_for_turn(len(burst), deadline):
                break
            on_send(range(count, count + len(burst)))
            for place, message in enumerate(burst, count):
                try:
                    try:
                        put(message)
                    except (BlockingIOError, InterruptedError):
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


@dataclass(slots=True, eq=False)
class _Line:
    """A connected socket, and for how long it may be used; `rests_since` is in monotonic seconds."""

    sock: socket.socket
    lifetime: Lifetime
    rests_since: float = field(default=-_FOLLOWS)
    #: A refusal comes a round trip behind what it is about: only the last batch can be meant.
    seconds_old: float = SUSPICIOUS

    def has_hung_up(self) -> bool:
        """Return, without taking it, whether a refusal has come."""
        try:
            return bool(_errors(self.sock, 0))
        except ValueError:  # closed on this side
            return False

    def close(self) -> None:
        """Close the socket."""
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
    """Send one datagram once our own system has room for it. Raises OSError."""
    while True:
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        if not poll.poll(deadline.remaining() * 1000):
            raise TimeoutError
        try:
            socket.socket.send(sock, message)
        except BlockingIOError:
            continue
        return


def _look(sock: socket.socket, seconds: float) -> None:
    """Raise the refusal of a datagram that was sent, if it comes within so many seconds."""
    if _errors(sock, seconds):
        _see_no_error(sock)


def _see_no_error(sock: socket.socket) -> None:
    """Raise the refusal that has come, if one has."""
    if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(number, os.strerror(number))


def _errors(sock: socket.socket, seconds: float) -> list[tuple[int, int]]:
    poll = select.poll()
    poll.register(sock, 0)  # errors are reported whatever is asked for
    return poll.poll(seconds * 1000)
