"""Forgets what has been kept for long enough, in small steps that hold up no recorder.

Runs beside every recorder; a lock in Redis lets one of them work at a time. Dead letters expire as well,
those that still wait included, and so do parked events: how many, the log says.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping

from worker.background.pruning_guard import PruningGuard, usual_arrears_ms
from worker.broker.locks import LeaderLock
from worker.ledger.pruning import DAY_MS, PrunableKind, Pruned
from worker.model.availability import Dependencies, run_forever_pausing
from worker.model.log_events import PRUNING_DONE, PRUNING_PARKED_PRUNED, PRUNING_WAITING_PRUNED
from worker.settings import Settings

log = logging.getLogger(__name__)

#: For how many days records are kept, by default.
KEPT_DAYS: dict[PrunableKind, float] = {
    PrunableKind.DELIVERIES: 30,
    PrunableKind.ATTEMPTS: 30,
    PrunableKind.DEAD_LETTERS: 90,
    PrunableKind.PARKED: 90,
    PrunableKind.RECORDED_ENTRIES: 7,
    PrunableKind.REPLAYS: 90,
    PrunableKind.MINUTE_COUNTS: 400,
    PrunableKind.AUDIT: 400,
}

#: Rows of one transaction: at first, at the least and at the most.
FIRST_STEP, SMALLEST_STEP, LARGEST_STEP = 100, 100, 3000
#: How long a transaction should take, in seconds: so long may it hold up the recorder. Measured with SQLite
#: and ten million deliveries on two cores: 8 ms for 1000 rows, 20 ms for 3000, which share more pages.
SHORT, LONG = 0.008, 0.03
#: After each step, rest for this many times what it took, and for no less than so many seconds.
RESTS, SHORTEST_REST = 3, 0.02
#: How often to look when nothing is old enough, in seconds.
LOOK_EVERY = 60.0
#: Another process takes over when the one at work was silent for this long, in seconds.
TURN = 3 * LOOK_EVERY
#: What Redis still has to be recorded is distinguished from what was recorded by notes that are never
#: younger than it, but for the clocks of two machines.
CLOCKS_APART_MS = 3_600_000

#: Removes up to so many rows of a kind that are older than a moment (ms). Raises LedgerUnavailable.
Prune = Callable[[PrunableKind, int, int], Pruned]
#: When the oldest entry that is not finished in Redis came there (ms); None when there is none.
Oldest = Callable[[], int | None]


class Retention:
    """Prunes; runs in one thread."""

    def __init__(
        self,
        prune: Prune,
        oldest: Oldest,
        guard: PruningGuard,
        turn: LeaderLock,
        kept_days: Mapping[PrunableKind, float] = KEPT_DAYS,
    ) -> None:
        """Keep each kind for so many days, by the time of the guard, and prune only what it allows."""
        self._prune = prune
        self._oldest = oldest
        self._guard = guard
        self._turn = turn
        self._kept_days = kept_days
        self._most = dict.fromkeys(kept_days, FIRST_STEP)
        self._gone: Counter[PrunableKind] = Counter()
        self._waited = 0

    def run(self, stopping: threading.Event, dependencies: Dependencies | None = None) -> None:
        """Prune until stopped; outlive any absence of Redis or the database."""
        with self._turn.passed_on_at_the_end():
            run_forever_pausing(self.step, stopping, dependencies or Dependencies(log), log)

    def step(self) -> float:
        """Prune a little of every kind; return for how many seconds to rest then.

        Raises BrokerUnavailable, LedgerUnavailable.
        """
        if not self._turn.is_mine():
            return LOOK_EVERY
        now_ms = self._guard.now_ms()
        if now_ms is None:
            return LOOK_EVERY
        pruned = [self._prune_some(kind, now_ms) for kind in self._kept_days]
        if any(one.count for one in pruned):
            return max(SHORTEST_REST, RESTS * sum(one.seconds for one in pruned))
        self._report()
        return LOOK_EVERY

    def _prune_some(self, kind: PrunableKind, now_ms: int) -> Pruned:
        """Take one step, and let its length decide how large the next one may be."""
        most, kept_days = self._most[kind], self._kept_days[kind]
        before_ms = due_before_ms(kind, now_ms, kept_days, self._oldest)
        if not self._guard.may_prune(kind, before_ms, kept_days):
            return Pruned(0)
        pruned = self._prune(kind, before_ms, most)
        if pruned.count:
            self._most[kind] = suited(most, pruned.seconds)
        self._gone[kind] += pruned.count
        self._waited += pruned.waited
        return pruned

    def _report(self) -> None:
        gone = ", ".join(f"{count} {kind}" for kind, count in self._gone.items() if count)
        if gone:
            PRUNING_DONE.log(log, details=gone)
        if parked := self._gone[PrunableKind.PARKED]:
            PRUNING_PARKED_PRUNED.log(log, count=parked)
        if self._waited:
            PRUNING_WAITING_PRUNED.log(log, count=self._waited)
        self._gone.clear()
        self._waited = 0


def kept_days_of(config: Settings) -> dict[PrunableKind, float]:
    """Return for how many days each kind is kept."""
    return KEPT_DAYS | {
        PrunableKind.DELIVERIES: config.keep_deliveries_days,
        PrunableKind.ATTEMPTS: config.keep_deliveries_days,
        PrunableKind.DEAD_LETTERS: config.keep_dead_letters_days,
        PrunableKind.PARKED: config.keep_parked_days,
        PrunableKind.AUDIT: config.keep_audit_days,
    }


def spare_ms_of(config: Settings) -> int:
    """Return for how much longer plain deliveries may stay, until the last of their period is due; in ms.

    It is half of what the guard takes for granted. Periods of a busy fleet are over by then.
    """
    return round(usual_arrears_ms(config.keep_deliveries_days) / 2)


def due_before_ms(kind: PrunableKind, now_ms: int, kept_days: float, oldest: Oldest) -> int:
    """Return from when on rows of a kind are kept: older ones may go."""
    before_ms = now_ms - round(kept_days * DAY_MS)
    if kind is PrunableKind.RECORDED_ENTRIES and (oldest_ms := oldest()) is not None:
        # As long as an entry stands in Redis, it may come once more.
        return min(before_ms, oldest_ms - CLOCKS_APART_MS)
    return before_ms


def suited(most: int, seconds: float) -> int:
    """Return how many rows the next step should take, going by how long this one took; pure."""
    if seconds > LONG:
        return max(SMALLEST_STEP, most // 2)
    return min(LARGEST_STEP, most * 2) if seconds < SHORT else most
