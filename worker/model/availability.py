"""Going on whatever happens: a dependency's absence is said once, and its return once.

A step that runs for ever must not end because Redis restarts, nor because of a fault of ours that
concerns one entry: it says so, waits a little, and goes on. Steps that share a process share what they
say: a dependency is lost when the first of them misses it, and back when none does any more.
"""

import logging
import threading
import time
from collections.abc import Callable

from worker.model.errors import BrokerUnavailable, LedgerUnavailable, SchemaOutdated

#: The pauses between two tries grow from the first to the second of these, in seconds.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


class Availability:
    """Watches one dependency, such as Redis or the database, for all threads of a process."""

    def __init__(self, name: str, log: logging.Logger) -> None:
        """Name what is watched, in the words that the log will use."""
        self._name = name
        self._log = log
        self._lock = threading.Lock()
        self._tries: dict[object, int] = {}
        self._lost_at = 0.0

    def lost(self, step: object, error: Exception) -> float:
        """Note a failure of this step; return how many seconds to wait before its next try."""
        with self._lock:
            if not self._tries:
                self._lost_at = time.monotonic()
                self._log.error("lost %s: %s; trying again until it is back", self._name, error)
            tries = self._tries.get(step, 0)
            self._tries[step] = tries + 1
        return min(LONGEST_PAUSE, SHORTEST_PAUSE * float(2 ** min(tries, 5)))

    def back(self, step: object) -> None:
        """Note a success of this step, or that it ends and misses nothing any more."""
        with self._lock:
            if self._tries.pop(step, 0) and not self._tries:
                seconds = time.monotonic() - self._lost_at
                self._log.warning("%s is back after %.1f s", self._name, seconds)


class Dependencies:
    """What a process cannot do without: Redis and the database, as far as it uses them."""

    def __init__(self, log: logging.Logger) -> None:
        """Tell this log what is lost and what is back."""
        self.redis = Availability("Redis", log)
        self.database = Availability("the database", log)

    def of(self, error: Exception) -> Availability:
        """Return the one whose absence this error tells."""
        return self.redis if isinstance(error, BrokerUnavailable) else self.database

    def back(self, step: object) -> None:
        """Note that this step misses neither."""
        self.redis.back(step)
        self.database.back(step)


def persevere(
    step: Callable[[], object], stopping: threading.Event, dependencies: Dependencies, log: logging.Logger
) -> None:
    """Take the step again and again until told to stop, through every absence of Redis and the database.

    An error that nobody foresaw is logged with its traceback, each time, and does not end it either.
    """
    me = object()
    while not stopping.is_set():
        try:
            step()
        except (BrokerUnavailable, LedgerUnavailable, SchemaOutdated) as error:
            stopping.wait(dependencies.of(error).lost(me, error))
        except Exception:
            log.exception("unforeseen; going on in %.0f s", LONGEST_PAUSE)
            stopping.wait(LONGEST_PAUSE)
        else:
            dependencies.back(me)


def persevere_resting(
    step: Callable[[], float], stopping: threading.Event, dependencies: Dependencies, log: logging.Logger
) -> None:
    """Do as `persevere`, and rest after each step for the seconds that it returns.

    That a dependency is back is noted before the rest, not after it.
    """
    pause = 0.0

    def rest_and_step() -> None:
        nonlocal pause
        if not stopping.wait(pause):
            pause = 0.0
            pause = step()

    persevere(rest_and_step, stopping, dependencies, log)
