"""A syslog receiver that reads once, keeps nothing and hangs up, until it is healed.

It runs in a process of its own that does nothing else: one that hangs up late, behind the sender's own end of
the connection, cannot be told from one that confirms.
"""

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

#: How much of a batch it reads before it hangs up.
_READ = 1 << 20
#: How often it looks whether whoever started it has gone, in seconds.
_LOOK_SECONDS = 1.0


def start_hanging_up(take: Callable[[bytes], None], is_healed: Callable[[], bool]) -> int:
    """Start it; return its port. Once it is healed, each line is passed to `take`, in its own process."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=500)
    port: int = listener.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    fork.Process(target=_serve, args=(listener, take, is_healed, os.getpid()), daemon=True).start()
    listener.close()
    return port


def _serve(
    listener: socket.socket, take: Callable[[bytes], None], is_healed: Callable[[], bool], parent: int
) -> None:
    # The handler of whoever forked belongs to its event loop, which does not run here.
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    listener.settimeout(_LOOK_SECONDS)
    while os.getppid() == parent:
        with suppress(TimeoutError):
            connection, _ = listener.accept()
            threading.Thread(target=_visit, args=(connection, take, is_healed), daemon=True).start()


def _visit(connection: socket.socket, take: Callable[[bytes], None], is_healed: Callable[[], bool]) -> None:
    connection.settimeout(None)
    with connection, connection.makefile("rb") as lines, suppress(OSError):
        if not is_healed():
            connection.recv(_READ)
            return
        for line in lines:
            take(line)
