"""The connections of one sender that no thread uses at the moment. The newest is taken first.

What nobody has taken for a while is closed: under light load, that is all but the newest.
"""

import threading
from time import monotonic
from typing import Generic, Protocol, TypeVar

from worker.transports.budget import BUDGET
from worker.transports.syslog_watch import SUSPICIOUS

#: A connection that was not used for so long, in seconds, is closed.
LONGEST_IDLE = 60.0


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
        """Close all that are idle, but for those whose end would still tell something of what was sent."""
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
