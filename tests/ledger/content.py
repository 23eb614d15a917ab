"""Reads back, as plain tuples, everything that a recorder wrote."""

from typing import Any, NamedTuple

from sqlalchemy import Engine, text

from worker.ledger.engine import reading

_TABLES = (
    "deliveries",
    "dead_letters",
    "minute_counts",
    "delivery_totals",
    "failure_totals",
    "recorded_entries",
)


def recorded_rows(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of what was recorded, but for the time of the recording."""
    with reading(engine) as connection:
        rows = {
            table: sorted(tuple(row) for row in connection.execute(text(f"SELECT * FROM {table}")))  # noqa: S608 - tables of ours
            for table in _TABLES
        }
    rows["recorded_entries"] = [row[:1] for row in rows["recorded_entries"]]
    return rows


class MinuteCounts(NamedTuple):
    """What was settled at an integration within a minute: latencies are milliseconds, over the delivered."""

    integration_id: str
    minute_ms: int
    delivered: int = 0
    retried: int = 0
    dead: int = 0
    latency_sum: int = 0
    latency_max: int = 0


def minute_counts(engine: Engine) -> list[MinuteCounts]:
    """Return the row of each minute, in order."""
    return [MinuteCounts(*row) for row in recorded_rows(engine)["minute_counts"]]
