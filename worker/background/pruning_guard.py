"""Whether the ledger may be pruned: only by a time that several clocks agree on, and of no unlikely share.

Input: what the clocks say, what is due. Output: a yes or a no; each no stands in Redis, where health
finds it, until it is over. A person who has looked says yes with `siem db prune --confirm`.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from worker.broker.clocks import redis_now_ms
from worker.broker.connection import Client
from worker.ledger.engine import Ledger, database_now_ms
from worker.ledger.pruning import DAY_MS, PrunableKind, Share
from worker.model.clocks import Clocks, disagreement, leap
from worker.model.log_events import PRUNING_REFUSED, PRUNING_RESUMED
from worker.model.time import span

log = logging.getLogger(__name__)

#: For how long nothing is pruned after a clock has leapt: an operator may want to correct it, in
#: milliseconds.
LEAP_REST_MS = DAY_MS
#: What is due is what became due since the last look, as a rule. From so much of arrears on, or a tenth of
#: the time for which it is kept, something has changed: a setting, a clock, or nothing was pruned for long.
ARREARS_MS, ARREARS_PART = DAY_MS, 10
#: After such a change, more than this part of what there is may not go unasked, unless it is this little.
LIKELY_PART = 0.5
LITTLE, LITTLE_UNDELIVERED = 1000, 100
#: How long a verdict on a kind holds, in milliseconds.
_HOLDS_MS = 60_000

#: Goes on while the host sleeps, where the system has such a clock: to wake up is no leap.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

#: Returns the age (ms since 1970) of the oldest row of a kind that is older than a moment; None without any.
Oldest = Callable[[PrunableKind, int], int | None]
#: Returns how much of a kind is older than a moment.
Shares = Callable[[PrunableKind, int], Sequence[Share]]


def read_clocks(engine: Ledger, client: Client) -> Clocks:
    """Ask every clock there is. Raises BrokerUnavailable, LedgerUnavailable."""
    database_ms, redis_ms = database_now_ms(engine), redis_now_ms(client)
    return Clocks(
        time.time_ns() // 1_000_000, redis_ms, database_ms, round(time.clock_gettime(_STEADY) * 1000)
    )


def usual_arrears_ms(kept_days: float) -> float:
    """Return for how much longer than so many days something may stay as a matter of course, in ms. Pure."""
    return min(ARREARS_MS, kept_days * DAY_MS / ARREARS_PART)


class RefusalStore(Protocol):
    """Where refusals stand so that others see them: by kind, or by "" for all of them."""

    def all(self) -> dict[str, str]:
        """Return them."""
        ...

    def replace(self, refusals: dict[str, str]) -> None:
        """Let these be all."""
        ...


class PruningGuard:
    """One process's guard; it remembers what the clocks said before."""

    def __init__(
        self, clocks: Callable[[], Clocks], oldest: Oldest, shares: Shares, refusals: RefusalStore
    ) -> None:
        """Ask these. What they raise, comes through: BrokerUnavailable, LedgerUnavailable."""
        self._clocks = clocks
        self._oldest = oldest
        self._shares = shares
        self._store = refusals
        self._last: Clocks | None = None
        self._leapt: tuple[str, int] | None = None
        self._refused: dict[str, str] | None = None
        self._checked_ms: dict[PrunableKind, int] = {}

    def now_ms(self) -> int | None:
        """Return the time to go by; None while the clocks disagree, or one has leapt."""
        now = self._clocks()
        if self._last is not None and (words := leap(self._last, now)):
            self._leapt = words, now.steady_ms
        self._last = now
        refusal = disagreement(now) or self._rests(now)
        self._note("", f"nothing is pruned: {refusal}" if refusal else None)
        return None if refusal else now.earliest_ms

    def may_prune(self, kind: PrunableKind, before_ms: int, kept_days: float) -> bool:
        """Whether rows older than that may go: not if so many would that something must be wrong."""
        steady_ms = self._last.steady_ms if self._last else 0
        checked_ms = self._checked_ms.get(kind)
        if checked_ms is None or steady_ms - checked_ms >= _HOLDS_MS:
            self._note(kind.value, self._refusal(kind, before_ms, kept_days))
            self._checked_ms[kind] = steady_ms
        return kind.value not in self._refusals()

    def _refusal(self, kind: PrunableKind, before_ms: int, kept_days: float) -> str | None:
        oldest_ms = self._oldest(kind, before_ms)
        if oldest_ms is None or before_ms - oldest_ms <= usual_arrears_ms(kept_days):
            return None
        # What was refused stays so until an operator confirms, or nothing is due any more.
        return self._refusals().get(kind.value) or unlikely(self._shares(kind, before_ms), kept_days)

    def _rests(self, now: Clocks) -> str | None:
        if self._leapt is None:
            return None
        words, at_ms = self._leapt
        left_ms = LEAP_REST_MS - (now.steady_ms - at_ms)
        if left_ms <= 0:
            self._leapt = None
            return None
        return f"{words}; it goes on in {span(left_ms)} if they agree"

    def _refusals(self) -> dict[str, str]:
        if self._refused is None:
            self._refused = dict(self._store.all())
        return self._refused

    def _note(self, name: str, words: str | None) -> None:
        """Keep a refusal, or that there is none any more; say each once."""
        refused = self._refusals()
        before = refused.get(name)
        if words == before:
            return
        if words is None:
            del refused[name]
            PRUNING_RESUMED.log(log, kind=name or None)
        else:
            refused[name] = words
            if before is None:
                PRUNING_REFUSED.log(log, details=words, kind=name or None)
        self._store.replace(refused)


def unlikely(shares: Sequence[Share], kept_days: float) -> str | None:
    """Return in words what would be an unlikely share to prune; None if nothing would. Pure."""
    for share in shares:
        little = LITTLE_UNDELIVERED if share.undelivered else LITTLE
        if share.due > little and share.due > share.total * LIKELY_PART:
            return (
                f"{share.due} of {share.total} {share.name} are older than {kept_days:g} days, more than is "
                "pruned unasked: check the clocks and SIEM_KEEP_*_DAYS, look with `siem db prune --dry-run`, "
                "and say yes with `siem db prune --confirm`"
            )
    return None
