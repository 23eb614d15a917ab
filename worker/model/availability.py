"""Says once that something we depend on is gone, and once that it is back, however often it is tried."""

import logging
import time


class Availability:
    """Watches one dependency, such as Redis or the database; not to be shared between threads."""

    def __init__(self, name: str, log: logging.Logger) -> None:
        """Name what is watched, in the words that the log will use."""
        self._name = name
        self._log = log
        self._lost_at: float | None = None
        self._tries = 0

    def lost(self, error: Exception) -> float:
        """Note a failure; return how many seconds to wait before the next try: 0.1 up to 2."""
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            self._log.error("lost %s: %s; trying again until it is back", self._name, error)
        self._tries += 1
        return min(2.0, 0.1 * float(2 ** min(self._tries - 1, 5)))

    def back(self) -> None:
        """Note a success."""
        if self._lost_at is not None:
            self._log.warning("%s is back after %.1f s", self._name, time.monotonic() - self._lost_at)
        self._lost_at = None
        self._tries = 0
