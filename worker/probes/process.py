"""What one process says of itself: whether it lives, and whether it can do its work now.

Reasons are words of ours, without hosts or secrets: all who reach the port may read them.
"""

import logging
import threading
from collections.abc import Callable

from worker.model.availability import Dependencies
from worker.model.log_events import PROCESS_LIVE_AGAIN, PROCESS_STUCK
from worker.probes.service_manager import ServiceManager

log = logging.getLogger(__name__)

#: Returns what keeps a process from its work, or None; without waiting for anything.
Hindrance = Callable[[], str | None]

NOT_STARTED, STOPPING = "it has not started its work yet", "it is shutting down"


def nothing() -> None:
    """Find no hindrance."""


class ProcessProbe:
    """One process. May be shared between threads, and be told of the end by a signal handler."""

    def __init__(self, dependencies: Dependencies, hindered: Hindrance, stuck: Hindrance = nothing) -> None:
        """Take what keeps the process from its work, and what besides a loop that stands shows it stuck."""
        self.dependencies = dependencies
        self.manager = ServiceManager()
        self._hindered = hindered
        self._stuck = stuck
        self._works = self._ends = self._was_stuck = False
        self._lock = threading.Lock()

    def started(self) -> None:
        """Tell the service manager that the process has started, with or without Redis."""
        self.manager.tell("READY=1")

    def works(self) -> None:
        """Note that the process does its work from now on, as far as it is not hindered."""
        self._works = True

    def ends(self) -> None:
        """Note that it has been asked to end: it gets no new work, and finishes what it has."""
        if not self._ends:
            self._ends = True
            self.manager.tell("STOPPING=1")

    def not_live(self) -> str | None:
        """Return why the process should be restarted; None while it goes on.

        While it ends, its loops stand still by and by: what ended it bounds that time.
        """
        reason = None if self._ends else self.dependencies.loops.stuck() or self._stuck()
        with self._lock:
            is_news, self._was_stuck = self._was_stuck != (reason is not None), reason is not None
        if is_news and reason:
            PROCESS_STUCK.log(log, reason=reason)
        elif is_news:
            PROCESS_LIVE_AGAIN.log(log)
        return reason

    def not_ready(self) -> str | None:
        """Return why the process cannot do its work now; None if it can."""
        if self._ends:
            return STOPPING
        return self.not_live() or self._hindered() or (None if self._works else NOT_STARTED)
