"""Watches connections that were given back, for a moment behind their last batch.

A receiver that hangs up just behind a batch may not have kept it, and by then the batch counts as sent. One
that closes a connection on which nothing was sent for a while is well. Only who looks at that time can tell
them apart: when the next batch comes, both have ended.
"""

import threading
import time
from collections.abc import Callable
from typing import Protocol

#: An end within this time behind the last byte, in seconds, is about what was sent. A balancer that finds no
#: receiver behind it tries for a while before it hangs up: HAProxy for three seconds, as it comes.
SUSPICIOUS = 4.0
_TICK = 0.2


class Watched(Protocol):
    """What may end."""

    def has_hung_up(self) -> bool:
        """Return, without reading, whether the other side has ended it."""
        ...


class EndWatch:
    """Tells of each connection that ends too soon; shared by all senders of a process.

    Its thread lives only while there is something to watch.
    """

    def __init__(self) -> None:
        """Begin with nothing to watch."""
        self._lock = threading.Lock()
        self._watched: dict[Watched, tuple[Callable[[], None], float]] = {}
        self._thread: threading.Thread | None = None

    def follow(self, connection: Watched, on_end: Callable[[], None]) -> None:
        """Watch a connection on which a batch has just gone out; `on_end` is called once, or never."""
        with self._lock:
            self._watched[connection] = on_end, time.monotonic() + SUSPICIOUS
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="syslog-end-watch", daemon=True)
                self._thread.start()

    def release(self, connection: Watched, *, has_ended: bool) -> None:
        """Watch it no longer: it is to be used again, or was found to have ended."""
        with self._lock:
            on_end, until = self._watched.pop(connection, (None, 0.0))
        if has_ended and on_end is not None and time.monotonic() < until:
            on_end()

    def _run(self) -> None:
        while True:
            time.sleep(_TICK)
            with self._lock:
                ended = self._take_ended()
                is_over = not self._watched
                if is_over:
                    self._thread = None
            for on_end in ended:
                on_end()
            if is_over:
                return

    def _take_ended(self) -> list[Callable[[], None]]:
        now = time.monotonic()
        ended = []
        for connection, (on_end, until) in list(self._watched.items()):
            if now >= until:
                del self._watched[connection]
            elif connection.has_hung_up():
                ended.append(on_end)
                del self._watched[connection]
        return ended
