"""Going on whatever happens: a dependency's absence is said once, and its return once.

A step that runs for ever must not end because Redis restarts, nor because of a fault of ours that
concerns one entry: it says so, waits a little, and goes on.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping

#: The pauses between two tries grow from the first to the second of these, in seconds.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


class Availability:
    """Watches one dependency, such as Redis or the database; not to be shared between threads."""

    def __init__(self, name: str, log: logging.Logger) -> None:
        """Name what is watched, in the words that the log will use."""
        self._name = name
        self._log = log
        self._lost_at: float | None = None
        self._tries = 0

    def lost(self, error: Exception) -> float:
        """Note a failure; return how many seconds to wait before the next try."""
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            self._log.error("lost %s: %s; trying again until it is back", self._name, error)
        self._tries += 1
        return min(LONGEST_PAUSE, SHORTEST_PAUSE * float(2 ** min(self._tries - 1, 5)))

    def back(self) -> None:
        """Note a success."""
        if self._lost_at is not None:
            self._log.warning("%s is back after %.1f s", self._name, time.monotonic() - self._lost_at)
        self._lost_at = None
        self._tries = 0


def persevere(
    step: Callable[[], object],
    stopping: threading.Event,
    watched: Mapping[type[Exception], Availability],
    log: logging.Logger,
) -> None:
    """Take the step again and again until told to stop, through every absence of what is watched.

    An error that nobody foresaw is logged with its traceback, each time, and does not end it either.
    """
    while not stopping.is_set():
        try:
            step()
        except tuple(watched) as error:
            stopping.wait(watched[type(error)].lost(error))
        except Exception:
            log.exception("unforeseen; going on in %.0f s", LONGEST_PAUSE)
            stopping.wait(LONGEST_PAUSE)
        else:
            for availability in watched.values():
                availability.back()
