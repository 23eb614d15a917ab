"""What happened to integrations in each minute: for charts.

Comes in: ids and a moment. Goes out: the minutes since then in which anything happened, the oldest first.
"""

from collections import defaultdict
from collections.abc import Collection
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
