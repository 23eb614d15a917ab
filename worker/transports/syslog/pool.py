"""Connections that no thread uses, newest first, and the watch over those just used.

What was not taken for a while is closed: under light load, that is all but the newest.

Watches connections that were given back, for a moment behind their last batch.

A receiver that hangs up just behind a batch may not have kept it, and by then the batch counts as sent. One
that closes a connection on which nothing was sent for a while is in order. Only who looks at that time can
see them apart: when the next batch comes, both have ended.

A connection that has not outlived such a moment has proved nothing: its end is about all that went out on it.
A balancer without a receiver behind it takes one batch after the other for seconds before it hangs up.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Generic, Protocol, TypeVar

from worker.transports.budget import BUDGET, LONGEST_IDLE
from worker.transports.shortages import no_thread

#: An end within this time behind the last byte, in seconds, is about what was sent. A balancer that finds no
#: receiver behind it tries for a while before it hangs up: HAProxy for three seconds, as it comes.
SUSPICIOUS = 4.0
_TICK = 0.2


class Watched(Protocol):
    """What may end."""

    @property
    def seconds_old(self) -> float:
        """How long ago it was made."""
        ...

    def has_hung_up(self) -> bool:
        """Return, without reading, whether the other side has ended it."""
        ...

    def close(self) -> None:
        """Close it in order, without waiting; raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class _Sent:
    """What to call when the connection ends, and the sending that the batch was part of."""

    on_end: Callable[[], None]
    sending: object


@dataclass(slots=True)
class _Watch:
    """What went out on a connection and is in doubt until then (monotonic seconds)."""

    sent: list[_Sent]
    until: float
    rests: bool = True
    #: Whether it will not be used again, so that it is closed when the watch is over.
    is_retired: bool = False


class EndWatch:
    """Report each connection that ends too soon; shared by all senders of a process.

    Its thread lives only while there is something to watch.
    """

    def __init__(self) -> None:
        """Begin with nothing to watch."""
        self._lock = threading.Lock()
        self._watched: dict[Watched, _Watch] = {}
        self._thread: threading.Thread | None = None

    def follow(self, connection: Watched, on_end: Callable[[], None], sending: object = None) -> None:
        """Watch a connection on which a batch has just gone out; `on_end` is called once, or never."""
        with self._lock:
            before = self._watched.get(connection)
            sent = before.sent if before is not None and _is_young(connection) else []
            until = time.monotonic() + SUSPICIOUS
            self._watched[connection] = _Watch([*sent, _Sent(on_end, sending)], until)
            self._start_thread()

    def _start_thread(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = threading.Thread(target=self._run, name="syslog-end-watch", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            # What was sent is sent. The next batch tries again, and finds an end that came meanwhile.
            self._thread = None
            no_thread("watch connections behind their last batch")

    def use(self, connection: Watched) -> None:
        """Note that it is used again: its user sees its end."""
        with self._lock:
            watch = self._watched.get(connection)
            if watch is not None and _is_young(connection):
                watch.rests = False
            else:
                self._watched.pop(connection, None)

    def retire(self, connection: Watched) -> None:
        """Close it, but not before its watch is over: no sender will use it again."""
        with self._lock:
            watch = self._watched.get(connection)
            if watch is not None:
                watch.is_retired = watch.rests = True
        if watch is None:
            connection.close()

    def release(self, connection: Watched) -> None:
        """Watch it no longer: it is closed on this side."""
        with self._lock:
            self._watched.pop(connection, None)

    def recall(self, connection: Watched) -> Callable[[], None]:
        """Watch it no longer, for it is used again; return what reports an end all the same."""
        sent = self._taken_off(connection)
        return partial(_tell, sent)

    def end(self, connection: Watched, sending: object = None) -> None:
        """Hear that it ended before this sending could use it.

        What that sent on it itself, but for the last, it has seen to.
        """
        sent = self._taken_off(connection)
        _tell(one for one in sent[:-1] if one.sending is not sending)
        _tell(sent[-1:])

    def end_in_use(self, connection: Watched, sending: object) -> None:
        """Hear that it ended while this sending used it, which sees to its own."""
        _tell(one for one in self._taken_off(connection) if one.sending is not sending)

    def _taken_off(self, connection: Watched) -> list[_Sent]:
        with self._lock:
            watch = self._watched.pop(connection, None)
        return watch.sent if watch is not None and time.monotonic() < watch.until else []

    def wait_until_over(self) -> None:
        """Wait until nothing is watched any more, which takes no longer than an end is suspicious."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(SUSPICIOUS + 1)
        elif self._watched:
            self._run()

    def _run(self) -> None:
        while True:
            time.sleep(_TICK)
            retired: list[Watched] = []
            with self._lock:
                ended = self._take_ended(retired)
                is_over = not self._watched
                if is_over:
                    self._thread = None
            for connection in retired:
                connection.close()
            _tell(ended)
            if is_over:
                return

    def _take_ended(self, retired: list[Watched]) -> list[_Sent]:
        now = time.monotonic()
        ended: list[_Sent] = []
        for connection, watch in list(self._watched.items()):
            has_ended = now < watch.until and watch.rests and connection.has_hung_up()
            if has_ended or now >= watch.until:
                ended += watch.sent if has_ended else []
                retired += [connection] if watch.is_retired else []
                del self._watched[connection]
        return ended


#: Of all senders of this process.
ENDS = EndWatch()


def _is_young(connection: Watched) -> bool:
    return connection.seconds_old < SUSPICIOUS


def _tell(sent: Iterable[_Sent]) -> None:
    for one in sent:
        one.on_end()


class Closable(Protocol):
    """What can be let go of."""

    def close(self) -> None:
        """Let go of it; raises nothing."""
        ...


Kept = TypeVar("Kept", bound=Closable)


class Pool(Generic[Kept]):
    """Keeps at most `most` connections; shared by the threads of a process."""

    def __init__(self, most: int) -> None:
        """Begin without any."""
        self._most = most
        self._lock = threading.Lock()
        self._idle: list[tuple[float, Kept]] = []
        self._is_closed = False
        self.rests_since = monotonic()
        BUDGET.keeps_idle(self)

    def take(self) -> Kept | None:
        """Hand out the one that was given back last, to this caller alone; None when there is none."""
        with self._lock:
            return self._idle.pop()[1] if self._idle else None

    def give_back(self, connection: Kept) -> None:
        """Keep it for the next caller, or close it if there are enough, or the pool is closed."""
        now = self.rests_since = monotonic()
        with self._lock:
            self._idle.append((now, connection))
            fresh = [one for one in self._idle if now - one[0] <= LONGEST_IDLE]
            kept = fresh[max(0, len(fresh) - self._most) :] if not self._is_closed else []
            dropped = [one for one in self._idle if one not in kept]
            self._idle = kept
        for _, one in dropped:
            one.close()

    def close_idle(self) -> None:
        """Close all that are idle, but for those whose end would still show something of what was sent."""
        now = monotonic()
        with self._lock:
            resting = [one for one in self._idle if now - one[0] > SUSPICIOUS]
            self._idle = [one for one in self._idle if now - one[0] <= SUSPICIOUS]
        for _, connection in resting:
            connection.close()

    def close(self) -> None:
        """Close all that are idle, and from now on what is given back."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()
