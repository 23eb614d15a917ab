"""What this process or machine lacks for a connection: descriptors, memory, threads, ports.

Input: the number of a system's error, or an exception. Output: OutOfResources, which names the limit to
raise. Nothing is wrong with the SIEM then, nor with its settings. The process logs one line when a resource
runs short, and one when that is over.
"""

import errno
import logging
import os
import resource
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from worker.model.errors import OutOfResources
from worker.model.log_events import RESOURCES_RECOVERED, RESOURCES_SHORT
from worker.model.outages import Resource

log = logging.getLogger(__name__)

#: By the numbers that connect, socket and sendto fail with (their pages of the Linux manual).
_RESOURCES = {
    errno.EMFILE: Resource.OPEN_FILES,
    errno.ENFILE: Resource.MACHINE_FILES,
    errno.ENOMEM: Resource.MEMORY,
    errno.ENOBUFS: Resource.MEMORY,
    errno.EADDRNOTAVAIL: Resource.PORTS,
}
#: What a look-up or libcurl opens at once, besides the connection itself.
_NEEDED = 3
#: With fewer left than this, what failed without a reason may have failed for want of them.
_SPARE = 8
#: A shortage that nothing has met for so many seconds is over. Longer than what it put off waits.
OVER_AFTER = 10.0


class ShortageLog:
    """The shortages of one process: logs their beginning and their end. Shared by its threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without any; `clock` returns seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        #: Since when each is short, when that was met last, and how often.
        self._short: dict[Resource, tuple[float, float, int]] = {}

    def note(self, resource: Resource, message: str) -> None:
        """Note that something failed for want of this."""
        now = self._clock()
        with self._lock:
            since, _, times = self._short.get(resource, (now, now, 0))
            self._short[resource] = (since, now, times + 1)
        if not times:
            RESOURCES_SHORT.log(log, resource=resource.words, error=message, hint=resource.hint)

    def current(self) -> list[Resource]:
        """Return what is short at present; log what is so no longer. To be called now and then."""
        now = self._clock()
        with self._lock:
            over = {one: met for one, met in self._short.items() if now - met[1] >= OVER_AFTER}
            for one in over:
                del self._short[one]
            found = sorted(self._short)
        for one, (since, last, times) in over.items():
            RESOURCES_RECOVERED.log(log, resource=one.words, seconds=last - since, times=times)
        return found


#: Of this process.
SHORTAGES = ShortageLog()


def out_of(resource: Resource, message: str) -> OutOfResources:
    """Return the error that says so, for the caller to raise; the process notes the shortage."""
    SHORTAGES.note(resource, message)
    return OutOfResources(message, resource)


def shortage(number: int, message: str) -> OutOfResources | None:
    """Return the error with that message if the system's error number is a shortage of our own."""
    return out_of(_RESOURCES[number], message) if number in _RESOURCES else None


def no_thread(what_for: str) -> OutOfResources:
    """Report that no thread could be started (EAGAIN of clone)."""
    return out_of(Resource.THREADS, f"cannot start a thread to {what_for}")


def shortage_behind(error: BaseException) -> OutOfResources | None:
    """Return what an unexpected error says of a shortage of our own, or None if it says nothing of one.

    Libraries hide it: some name no reason at all, so this also looks whether descriptors can be had now.
    """
    if isinstance(error, OutOfResources):
        return error
    if isinstance(error, MemoryError):
        return out_of(Resource.MEMORY, "this process is out of memory")
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return no_thread("send")
    number = error.errno if isinstance(error, OSError) else None
    if number in _RESOURCES:
        return shortage(number, f"this machine cannot connect to anything: {os.strerror(number)}")
    return None if isinstance(error, OSError) and number else short_of_descriptors()


def short_of_descriptors() -> OutOfResources | None:
    """Find out whether a few descriptors can be had, and could be a moment ago.

    Each new one has the lowest number that is free: one just below the limit says that hardly any are.
    """
    highest = 0
    with ExitStack() as held:
        for _ in range(_NEEDED):
            try:
                highest = max(highest, held.enter_context(socket.socket()).fileno())
            except OSError as error:
                words = f"this process cannot open sockets: {os.strerror(error.errno or 0)}"
                return shortage(error.errno or 0, words)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or highest < soft - _SPARE:
        return None
    return out_of(Resource.OPEN_FILES, f"this process has nearly all of its {soft} files open")
