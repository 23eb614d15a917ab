"""How many descriptors the connections to destinations may take, in all threads and for all integrations.

What is left of the process's limit belongs to Redis, the ledger, look-ups and files: without them nothing is
settled. So a connection is made only if there is a place for it. Before one is refused, those that no sending
uses are closed, whichever sender keeps them, the one first that has rested longest; and a sending that
could use many has its share.
"""

import contextlib
import logging
import os
import resource
import socket
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from worker.model.errors import OutOfResources
from worker.model.log_events import RESOURCES_TOO_FEW_FILES
from worker.model.outages import Resource
from worker.transports.shortages import out_of

log = logging.getLogger(__name__)

#: More than any process here uses. Some programs close every number up to the limit, one by one.
MOST_DESCRIPTORS = 1 << 20
#: What a process has open whatever it does: its program, logs, heartbeats, watches, the consumer of Celery.
BASE = 48
#: What a thread of a worker needs beside its connection to a destination: one to Redis, one to publish work
#: orders, one for a look-up or a file.
OF_EACH_THREAD = 3
#: What libcurl keeps for itself with the connections of a flight.
OF_EACH_FLIGHT = 2
#: Threads of a process that says nothing of them.
FEW_THREADS = 8
#: The state of a connection that neither side has ended (TCP_ESTABLISHED of Linux's tcp_states.h).
_ESTABLISHED = 1
#: However few descriptors there are, so many connections are tried.
_FEWEST = 4
#: How long to wait for a place, in seconds, and how often to look.
LONGEST_WAIT = 5.0
#: A connection that was not used for so long, in seconds, is closed.
LONGEST_IDLE = 60.0
_LOOK_AGAIN = 0.02


class IdleConnections(Protocol):
    """Who keeps connections open for the next sending; `rests_since` is in monotonic seconds."""

    rests_since: float

    def close_idle(self) -> None:
        """Close those that no sending uses; by any thread."""
        ...


def raise_descriptor_limit() -> int:
    """Raise the soft limit on open files to the hard one; return the limit in force.

    Nothing here needs the low one, which is for programs that call select(2): see
    `worker.transports.curl.connections` for libcurl's, and all else polls.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return descriptor_limit()
    with contextlib.suppress(ValueError, OSError):  # some systems have a lower limit that they do not show
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return descriptor_limit()


def descriptor_limit() -> int:
    """Return how many descriptors this process may have, at most MOST_DESCRIPTORS."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else min(soft, MOST_DESCRIPTORS)


def threads_within(limit: int, wanted: int) -> int:
    """Return how many threads of a worker so many descriptors suffice for, each with one connection."""
    return max(1, min(wanted, (limit - BASE) // (OF_EACH_THREAD + OF_EACH_FLIGHT + 1)))


class DescriptorBudget:
    """The places of one process; shared by its threads."""

    def __init__(self, threads: int = FEW_THREADS) -> None:
        """Leave what so many threads need beside connections."""
        self._lock = threading.Lock()
        #: Descriptors of connections, and the number of the file behind each when it was noted.
        self._noted: dict[int, int] = {}
        self._keepers: weakref.WeakSet[IdleConnections] = weakref.WeakSet()
        self._flights = 0
        self._sendings = 0
        self._threads = threads
        #: How many connections one sending may have at present.
        self.share = MOST_DESCRIPTORS

    def leave_room_for(self, threads: int, *, wanted: int = 0) -> None:
        """Leave what so many threads need beside connections; say so if they are fewer than are wanted."""
        self._threads = threads
        if threads < wanted:
            RESOURCES_TOO_FEW_FILES.log(
                log, limit=descriptor_limit(), threads=threads, wanted=wanted, hint=Resource.OPEN_FILES.hint
            )

    @property
    def most(self) -> int:
        """How many connections there may be."""
        return max(_FEWEST, descriptor_limit() - BASE - OF_EACH_THREAD * self._threads)

    def sending(self) -> AbstractContextManager[None]:
        """Share the places with one more sending for as long as the block lasts."""
        return _Sending(self)

    def keeps_idle(self, keeper: IdleConnections) -> None:
        """Note an owner that keeps connections open."""
        with self._lock:
            self._keepers.add(keeper)

    def has_place(self) -> bool:
        """Return whether a connection may be made; closes idle ones if that takes it."""
        return self._is_free() or any(self._is_free() for _ in self._closing_idle())

    def wait_for_place(self, seconds: float, what_for: str) -> None:
        """Wait until a connection may be made, so long and never longer than LONGEST_WAIT.

        Raises OutOfResources, which names `what_for` it was wanted, "a connection to host:port".
        """
        until = time.monotonic() + min(seconds, LONGEST_WAIT)
        while not self.has_place():
            if time.monotonic() >= until:
                raise self.refusal(what_for)
            time.sleep(_LOOK_AGAIN)  # nothing signals that a connection is closed

    def refusal(self, what_for: str) -> OutOfResources:
        """Return the error that says that there is no place."""
        return out_of(
            Resource.OPEN_FILES,
            f"no descriptor is left for {what_for}: all {self.most} that connections may take of this "
            f"process's {descriptor_limit()} are in use",
        )

    def note(self, descriptor: int) -> None:
        """Note the descriptor of a connection that is being made; its end is noticed here."""
        number = _file_behind(descriptor)
        if number is not None:
            with self._lock:
                self._noted[descriptor] = number

    def peers(self) -> "Counter[str]":
        """Count the connections that stand, by their other end ("ip:port").

        One that the other side has ended no longer counts, even if this side has not noticed yet.
        """
        with self._lock:
            noted = dict(self._noted)
        found = (_peer_of(one) for one, file in noted.items() if _file_behind(one) == file)
        return Counter(peer for peer in found if peer)

    def count_flights(self, change: int) -> None:
        """Count what libcurl opens for itself: 1 for a multi handle that is made, -1 for its end."""
        with self._lock:
            self._flights += change

    def count_sendings(self, change: int) -> None:
        """Count what is being sent: 1 for one more, -1 for its end."""
        with self._lock:
            self._sendings += change
            self.share = max(1, self.most // max(1, self._sendings) - OF_EACH_FLIGHT)

    def _is_free(self) -> bool:
        with self._lock:
            most = self.most - OF_EACH_FLIGHT * self._flights
            if len(self._noted) >= most:
                self._noted = {one: file for one, file in self._noted.items() if _file_behind(one) == file}
            return len(self._noted) < most

    def _closing_idle(self) -> Iterator[IdleConnections]:
        """Have those close what rests who keep it, the longest rest first; yield after each."""
        with self._lock:
            keepers = sorted(self._keepers, key=lambda one: one.rests_since)
        for keeper in keepers:
            keeper.close_idle()
            yield keeper


class _Sending:
    """What `sending` returns; each batch enters one, and a generator costs three times as much."""

    __slots__ = ("_budget",)

    def __init__(self, budget: DescriptorBudget) -> None:
        self._budget = budget

    def __enter__(self) -> None:
        self._budget.count_sendings(1)

    def __exit__(self, *_: object) -> None:
        self._budget.count_sendings(-1)


def _file_behind(descriptor: int) -> int | None:
    """Return the number of the file or socket; None if the descriptor is closed."""
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return None


def _peer_of(descriptor: int) -> str | None:
    """Return the other end of a TCP connection that is established; None for anything else."""
    try:
        borrowed = socket.socket(fileno=descriptor)
    except OSError:
        return None
    try:
        if not _is_established(borrowed):
            return None
        host, port = borrowed.getpeername()[:2]
    except (OSError, ValueError):
        return None
    finally:
        borrowed.detach()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_established(sock: socket.socket) -> bool:
    """Whether it is a TCP connection that neither side has ended; not every system shows an end."""
    if not hasattr(socket, "TCP_INFO"):
        return sock.type is socket.SOCK_STREAM
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED


#: That of this process.
BUDGET = DescriptorBudget()
