"""Says in the log of the API, once, that Redis or the database is lost and why, and once that it is back.

Input: the errors of requests, whose answers say nothing of how this installation is set up.
Output: one line with the reason for operators, and one when what was lost can be used again.
"""

import logging
import threading
from collections.abc import Callable

from worker.model.availability import Dependencies
from worker.model.errors import BrokerUnavailable, OutageError
from worker.model.log_events import PROCESS_UNEXPECTED_ERROR
from worker.model.outages import OutageCause

log = logging.getLogger(__name__)

#: Between two looks at what is lost, in seconds. A disk or a memory that was full a moment ago may have room
#: for a small write and for nothing more: it is given time, so that the log does not say "lost" and "back"
#: by turns.
LOOK_EVERY, LOOK_WHEN_FULL = 2.0, 30.0
_FULL = {OutageCause.DISK_FULL, OutageCause.DISK_FAILS, OutageCause.MEMORY_FULL, OutageCause.LOCKED}


class OutageLog:
    """May be shared between threads."""

    def __init__(self, look_at_redis: Callable[[], object], look_at_database: Callable[[], object]) -> None:
        """Take what uses each as requests do, and raises OutageError while that cannot be."""
        self._looks = {True: look_at_redis, False: look_at_database}
        #: For whatever else in this process may miss them: each loss is reported once.
        self.dependencies = Dependencies(log)
        self._lock = threading.Lock()
        self._watched: set[bool] = set()
        self._ending = threading.Event()

    def note(self, error: Exception) -> None:
        """Note that a request has met this error; one that is not an outage is ignored."""
        if not isinstance(error, OutageError):
            return
        is_redis = isinstance(error, BrokerUnavailable)
        with self._lock:
            if is_redis in self._watched or self._ending.is_set():
                return
            self._watched.add(is_redis)
        threading.Thread(target=self._watch, args=[is_redis, error], name="outage-log", daemon=True).start()

    def close(self) -> None:
        """Look no more."""
        self._ending.set()

    def _watch(self, is_redis: bool, error: OutageError) -> None:  # noqa: FBT001 - which of the two
        me, availability = object(), self.dependencies.of(error)
        still: OutageError | None = error
        while still is not None:
            pause = LOOK_WHEN_FULL if still.cause in _FULL else LOOK_EVERY
            availability.lost(me, still, silent=pause + availability.silent)
            if self._ending.wait(pause):
                return
            still = _failure(self._looks[is_redis], still)
        with self._lock:
            self._watched.discard(is_redis)
        availability.back(me)


def _failure(look: Callable[[], object], before: OutageError) -> OutageError | None:
    """Return why it cannot be written to; what was so `before` where a look does not say."""
    try:
        look()
    except OutageError as error:
        return error
    except Exception:  # noqa: BLE001 - it is logged with its traceback
        # Without its watch no later loss would be reported.
        PROCESS_UNEXPECTED_ERROR.log(log, task="outage_log", retry_in=LOOK_EVERY, exc_info=True)
        return before
    return None
