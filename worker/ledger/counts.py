"""Counts of minutes: what was settled at each integration, by the minute and in all.

Comes in: ids and a moment. Goes out: the minutes since then in which anything happened, the oldest first.

Counts what was settled at each integration since this process began to look: for Prometheus.

Comes in: ids, and up to when outcomes are recorded. Goes out: totals that only grow. Each look reads the
minutes that may have changed since the last one, so that its cost grows with neither history nor ledger.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import Engine, select

from worker.ledger.engine import reading
from worker.ledger.schema import minute_counts

_minute = minute_counts.c


class Minute(NamedTuple):
    """One minute: its first ms since 1970 UTC, what was settled in it, and how long deliveries took (ms)."""

    minute_ms: int
    delivered: int
    retried: int
    dead: int
    latency_sum_ms: int
    latency_max_ms: int

    @property
    def failed(self) -> int:
        """How many attempts failed."""
        return self.retried + self.dead


def minutes_of(engine: Engine, integration_ids: Collection[str], since_ms: int) -> dict[str, list[Minute]]:
    """Return the minutes of each. Raises LedgerUnavailable."""
    wanted = (
        select(
            *(_minute.integration_id, _minute.minute_ms, _minute.delivered, _minute.retried),
            *(_minute.dead, _minute.latency_sum_ms, _minute.latency_max_ms),
        )
        .where(_minute.integration_id.in_(integration_ids), _minute.minute_ms >= since_ms)
        .order_by(_minute.integration_id, _minute.minute_ms)
    )
    found: dict[str, list[Minute]] = defaultdict(list)
    with reading(engine) as connection:
        for integration_id, *minute in connection.execute(wanted):
            found[integration_id].append(Minute(*minute))
    return found


_MINUTE_MS = 60_000
#: Clocks may differ by so much.
_MARGIN_MS = 60_000
#: Bound values of one SQLite statement: older releases take 999.
_MOST_VALUES = 900

_count = minute_counts.c


class SettledCounts(NamedTuple):
    """How many events were delivered, sent back to be tried again (each time), and given up."""

    delivered: int = 0
    retried: int = 0
    dead: int = 0

    def plus(self, more: "SettledCounts", less: "SettledCounts") -> "SettledCounts":
        """Add what is more of it than before."""
        return SettledCounts(*(one + new - old for one, new, old in zip(self, more, less, strict=True)))


class Totals:
    """The totals of all integrations; one thread at a time."""

    def __init__(self, engine: Engine) -> None:
        """Count from the first look on."""
        self._engine = engine
        self._since_ms: int | None = None
        self._seen: dict[tuple[str, int], SettledCounts] = {}
        self._totals: dict[str, SettledCounts] = {}

    def look(self, integration_ids: Sequence[str], recorded_until_ms: int) -> dict[str, SettledCounts]:
        """Return the total of each; what was settled before that moment (ms) stands in the ledger.

        Raises LedgerUnavailable, and has changed nothing then.
        """
        following_ms = recorded_until_ms - _MARGIN_MS - (recorded_until_ms - _MARGIN_MS) % _MINUTE_MS
        is_first = self._since_ms is None
        since_ms = following_ms if self._since_ms is None else self._since_ms
        found = self._minutes(integration_ids, since_ms)
        totals = {one: self._totals.get(one, SettledCounts()) for one in integration_ids}
        if not is_first:
            for (one, minute_ms), counts in found.items():
                before = self._seen.get((one, minute_ms), SettledCounts())
                totals[one] = totals[one].plus(counts, before)
        # A clock that was set back must not have minutes counted twice.
        self._since_ms = max(since_ms, following_ms)
        self._seen = {place: counts for place, counts in found.items() if place[1] >= self._since_ms}
        self._totals = totals
        return totals

    def _minutes(self, integration_ids: Sequence[str], since_ms: int) -> dict[tuple[str, int], SettledCounts]:
        columns = (
            _count.integration_id,
            _count.minute_ms,
            _count.delivered,
            _count.retried,
            _count.dead,
        )
        found = {}
        with reading(self._engine) as connection:
            for start in range(0, len(integration_ids), _MOST_VALUES):
                some = integration_ids[start : start + _MOST_VALUES]
                wanted = select(*columns).where(_count.integration_id.in_(some), _count.minute_ms >= since_ms)
                for one, minute_ms, *counts in connection.execute(wanted):
                    found[one, minute_ms] = SettledCounts(*counts)
        return found
