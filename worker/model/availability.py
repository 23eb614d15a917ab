"""Going on whatever happens: a dependency's absence is said once, and its return once.

A step that runs for ever must not end because Redis restarts, nor because of a fault of ours that
concerns one entry: it says so, waits a little, and goes on. Steps that share a process share what they
say: a dependency is lost when the first of them misses it, and back when none does any more.

A loop turns whether or not Redis or the database answers, since each wait of its steps has a limit. One that
does not turn any more is stuck, and nothing else shows it.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from worker.model.errors import BrokerUnavailable, LedgerUnavailable, SchemaOutdated
from worker.model.log_events import DEPENDENCY_BACK, DEPENDENCY_LOST, PROCESS_UNEXPECTED_ERROR

#: The pauses between two tries grow from the first to the second of these, in seconds.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
#: A step that still misses something fails again within this time, in seconds: several pauses and tries.
SILENT = 10.0
#: The same for the database: each try may take 10 s, for which SQLite waits before it says "locked".
SILENT_AT_DATABASE = 20.0


#: Each step of a loop ends within this time, in seconds: several time-outs of Redis and the database.
LONGEST_TURN = 120.0


class LoopProgress:
    """The loops that one process must keep turning; shared by its threads."""

    def __init__(self) -> None:
        """Begin with no loop."""
        self._turned: dict[str, float] = {}

    def watch(self, *names: str) -> None:
        """Expect these to turn from now on."""
        self._turned.update(dict.fromkeys(names, time.monotonic()))

    def turned(self, name: str) -> None:
        """Note that a loop goes on; one that is not watched is ignored."""
        if name in self._turned:
            self._turned[name] = time.monotonic()

    def stuck(self) -> str | None:
        """Return which loop has not turned for too long; None if all go on."""
        now = time.monotonic()
        for name, turned in self._turned.items():
            if now - turned > LONGEST_TURN:
                return f"its {name} loop has not gone on for {now - turned:.0f} s"
        return None


class _Miss(NamedTuple):
    """How often a step has failed in a row, and until when it counts (monotonic seconds)."""

    tries: int
    until: float


class Availability:
    """Watches one dependency, such as Redis or the database, for all threads of a process.

    Both of its lines appear at any log level: one without the other would mislead.
    """

    def __init__(self, name: str, log: logging.Logger, *, silent: float = SILENT) -> None:
        """Name what is watched, in the words that the log will use.

        Within `silent` seconds a step fails again if it still misses it.
        """
        self._name = name
        self.silent = silent
        self._log = log.getChild("availability")
        self._log.setLevel(logging.WARNING)
        self._lock = threading.Lock()
        self._misses: dict[object, _Miss] = {}
        self._lost_at = 0.0
        self._back_at = 0.0
        self._unlogged: Exception | None = None
        self._answered = False

    @property
    def is_missed(self) -> bool:
        """Whether a step misses it."""
        return bool(self._misses)

    def absence(self) -> str | None:
        """Return in words that it is missed, or was not reached yet; None while it can be used."""
        if self._misses:
            return f"{self._name} does not answer, or refuses what is asked"
        return None if self._answered else f"{self._name} has not answered yet"

    def lost(
        self,
        step: object,
        error: Exception,
        began: float | None = None,
        *,
        silent: float | None = None,
        is_cut: bool = False,
    ) -> float:
        """Note a failure of this step; return how many seconds to wait before its next try.

        `began` is when the step began (monotonic seconds). If that was before the dependency was back, it
        is of the outage that is over, for example with a connection from before: no line is written. Nor
        is one by a step that began before the loss, or whose connection was cut: the next try gives the true
        reason, such as a password that was changed. `silent` is for a step that may take
        longer than others to fail again.
        """
        now = time.monotonic()
        with self._lock:
            tries = self._misses[step].tries if step in self._misses else 0
            if self._misses or began is None or began >= self._back_at:
                if not self._misses:
                    self._lost_at, self._unlogged = now, error
                if not is_cut and (began is None or began >= self._lost_at):
                    self._log_loss(error)
                self._misses[step] = _Miss(tries + 1, now + (self.silent if silent is None else silent))
        return min(LONGEST_PAUSE, SHORTEST_PAUSE * float(2 ** min(tries, 5)))

    def back(self, step: object) -> None:
        """Note a success of this step, or that it ends and misses nothing any more.

        A step that has been silent for longer than it announced does not hold up the news: it rests, or
        waits for something else.
        """
        now = time.monotonic()
        self._answered = True
        with self._lock:
            if not self._misses:
                return
            self._misses.pop(step, None)
            self._misses = {one: miss for one, miss in self._misses.items() if now < miss.until}
            if not self._misses:
                self._back_at = now
                if self._unlogged is not None:
                    self._log_loss(self._unlogged)
                DEPENDENCY_BACK.log(self._log, dependency=self._name, seconds=now - self._lost_at)

    def _log_loss(self, error: Exception) -> None:
        """Write that it is lost, unless that was written since."""
        if self._unlogged is not None:
            self._unlogged = None
            reason = " ".join(str(error).split())
            DEPENDENCY_LOST.log(self._log, dependency=self._name, error=reason)


class Dependencies:
    """What a process cannot do without: Redis and the database, as far as it uses them, and its own loops."""

    def __init__(self, log: logging.Logger) -> None:
        """Write to this log what is lost and what is back."""
        self.redis = Availability("Redis", log)
        self.database = Availability("the database", log, silent=SILENT_AT_DATABASE)
        self.loops = LoopProgress()

    def absence(self) -> str | None:
        """Return which is missed, or not reached yet; None while both can be used."""
        return self.redis.absence() or self.database.absence()

    def of(self, error: Exception) -> Availability:
        """Return the one whose absence this error reports."""
        return self.redis if isinstance(error, BrokerUnavailable) else self.database

    def lost(self, step: object, error: Exception, began: float) -> float:
        """Note what this step misses since it began; return how many seconds to wait before its next try."""
        missed = self.of(error)
        pause = missed.lost(step, error, began)
        if missed is self.database:
            # Every step asks Redis first, and does not get as far as the database without it.
            self.redis.back(step)
        return pause

    def back(self, step: object) -> None:
        """Note that this step misses neither."""
        self.redis.back(step)
        self.database.back(step)


def run_forever(
    step: Callable[[], object], stopping: threading.Event, dependencies: Dependencies, log: logging.Logger
) -> None:
    """Take the step again and again until it is to stop, through every absence of Redis and the database.

    An unexpected error is logged with its traceback, each time, and does not end it either.
    """

    def step_without_pause() -> float:
        step()
        return 0.0

    run_forever_pausing(step_without_pause, stopping, dependencies, log)


def run_forever_pausing(
    step: Callable[[], float], stopping: threading.Event, dependencies: Dependencies, log: logging.Logger
) -> None:
    """Do as `run_forever`, and pause after each step for the seconds that it returns.

    That a dependency is back is noted before the rest, not after it.
    """
    me = object()
    pause = 0.0
    task = log.name.rpartition(".")[2]
    while not stopping.wait(together(pause)):
        dependencies.loops.turned(task)
        began = time.monotonic()
        try:
            pause = step()
        except (BrokerUnavailable, LedgerUnavailable, SchemaOutdated) as error:
            pause = dependencies.lost(me, error, began)
        except Exception:  # noqa: BLE001 - it is logged with its traceback
            PROCESS_UNEXPECTED_ERROR.log(log, task=task, retry_in=LONGEST_PAUSE, exc_info=True)
            pause = LONGEST_PAUSE
        else:
            dependencies.back(me)


def together(seconds: float, clock: Callable[[], float] = time.monotonic) -> float:
    """Return for how long to rest instead of so many seconds, so that what rests for long wakes together.

    Processes at rest wake so seldom that each time they find the processor's caches cold. What all of them do
    at once costs a fifth less than one after the other. It is no longer than asked for, and half of that at
    the least; less than a second is left as it is.
    """
    if seconds < 1:
        return seconds
    now = clock()
    return max(seconds / 2, math.floor(now + seconds) - now)
