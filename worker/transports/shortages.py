"""What this process or machine lacks for a connection: descriptors, memory, threads, ports.

Comes in: the number of a system's error, or an exception. Goes out: OutOfResources, which names the limit to
raise. Nothing is wrong with the SIEM then, nor with its settings.
"""

import errno
import os
import socket
from contextlib import ExitStack

from worker.model.errors import OutOfResources

_FILES = "raise the limit on open files of the workers (ulimit -n, LimitNOFILE=), or start fewer threads"
_MEMORY = "give this machine more memory, or start fewer workers"
_THREADS = "raise the limit on threads of the workers (ulimit -u, TasksMax=, the container's pids limit)"
_PORTS = "widen net.ipv4.ip_local_port_range: this machine has no free local port or address for it"

#: By the numbers that connect, socket and sendto fail with (their pages of the Linux manual).
_HINTS = {
    errno.EMFILE: _FILES,
    errno.ENFILE: "raise fs.file-max of this machine, or end what keeps so many files open",
    errno.ENOMEM: _MEMORY,
    errno.ENOBUFS: _MEMORY,
    errno.EADDRNOTAVAIL: _PORTS,
}
#: What a look-up or libcurl opens at once, besides the connection itself.
_NEEDED = 3


def shortage(number: int, message: str) -> OutOfResources | None:
    """Return the error with that message if the system's error number is a shortage of our own."""
    return OutOfResources(message, _HINTS[number]) if number in _HINTS else None


def no_thread(what_for: str) -> OutOfResources:
    """Say that no thread could be started (EAGAIN of clone)."""
    return OutOfResources(f"cannot start a thread to {what_for}", _THREADS)


def shortage_behind(error: BaseException) -> OutOfResources | None:
    """Return what an unexpected error says of a shortage of our own, or None if it says nothing of one.

    Libraries hide it: some name no reason at all, so this also looks whether descriptors can be had now.
    """
    if isinstance(error, OutOfResources):
        return error
    if isinstance(error, MemoryError):
        return OutOfResources("this process is out of memory", _MEMORY)
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return no_thread("send")
    number = error.errno if isinstance(error, OSError) else None
    if number in _HINTS:
        return shortage(number, f"this machine cannot connect to anything: {os.strerror(number)}")
    return None if isinstance(error, OSError) and number else short_of_descriptors()


def short_of_descriptors() -> OutOfResources | None:
    """Find out whether a few descriptors can be had."""
    with ExitStack() as held:
        for _ in range(_NEEDED):
            try:
                held.enter_context(socket.socket())
            except OSError as error:
                words = f"this process cannot open sockets: {os.strerror(error.errno or 0)}"
                return shortage(error.errno or 0, words)
    return None
