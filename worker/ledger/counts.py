"""Counts of settlements at each integration: by the minute, since a moment, and in all.

The one reader of `minute_counts`, `delivery_totals` and `failure_totals`; `worker.ledger.recording` adds to
them.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import BigInteger, Column, Connection, Engine, Table, Text, func, select, text

from worker.ledger.engine import chunks, reading
from worker.ledger.rows import LATENCY_BOUNDS_MS
from worker.ledger.schema import ID, integrations, metadata, minute_counts
from worker.model.health import Counts
from worker.model.histograms import Histogram

_minute = minute_counts.c
_COUNTED = (_minute.delivered, _minute.retried, _minute.dead)
_MINUTE_MS = 60_000
_BUCKETS = (*(f"within_{bound}_ms" for bound in LATENCY_BOUNDS_MS), "slower")
_SUM = "latency_sum_ms"

#: All that was ever settled at an integration since revision 0011: minutes are pruned, and this never falls.
#: A recorder of release 0.1.0 does not add to it.
delivery_totals = Table(
    "delivery_totals",
    metadata,
    Column("integration_id", ID, primary_key=True),
    # As in `minute_counts`.
    Column("delivered", BigInteger, nullable=False),
    Column("retried", BigInteger, nullable=False),
    Column("dead", BigInteger, nullable=False),
    # Since revision 0012: of the delivered how many took how long, each in one of these; and all together.
    *(Column(name, BigInteger, nullable=False, server_default=text("0")) for name in (*_BUCKETS, _SUM)),
)
_total = delivery_totals.c

#: Of what attempts failed that were repeated (`retrying`) or made dead letters, since revision 0012.
failure_totals = Table(
    "failure_totals",
    metadata,
    Column("integration_id", ID, primary_key=True),
    Column("status", Text, primary_key=True),
    # Empty where no failure was named.
    Column("error_code", Text, primary_key=True),
    Column("attempts", BigInteger, nullable=False),
)
_failed = failure_totals.c


class Minute(NamedTuple):
    """What was settled in one minute that begins at `minute_ms`, and how long its deliveries took, in ms."""

    minute_ms: int
    counts: Counts
    latency_sum_ms: int
    latency_max_ms: int


def minutes_of(engine: Engine, integration_ids: Collection[str], since_ms: int) -> dict[str, list[Minute]]:
    """Return for each the minutes since then in which anything was settled, the oldest first.

    Raises LedgerUnavailable.
    """
    with reading(engine) as connection:
        return read_minutes(connection, integration_ids, since_ms)


def read_minutes(
    connection: Connection, integration_ids: Collection[str], since_ms: int
) -> dict[str, list[Minute]]:
    """Return what `minutes_of` returns, as of the moment of the connection's transaction."""
    wanted = (
        select(_minute.integration_id, _minute.minute_ms, _minute.latency_sum_ms, _minute.latency_max_ms)
        .add_columns(*_COUNTED)
        .order_by(_minute.integration_id, _minute.minute_ms)
    )
    found: dict[str, list[Minute]] = defaultdict(list)
    for some in chunks(integration_ids):
        of_some = wanted.where(_minute.integration_id.in_(some), _minute.minute_ms >= since_ms)
        for one, minute_ms, latency_sum_ms, latency_max_ms, *counts in connection.execute(of_some):
            found[one].append(Minute(minute_ms, Counts(*counts), latency_sum_ms, latency_max_ms))
    return found


def counts_since(engine: Engine, integration_ids: Sequence[str], since_ms: int) -> dict[str, Counts]:
    """Return what was settled at each since a moment, the whole of its minute included.

    Raises LedgerUnavailable.
    """
    found = dict.fromkeys(integration_ids, Counts())
    first_ms = since_ms - since_ms % _MINUTE_MS
    # The database adds up: a month of minutes of many integrations is millions of rows.
    wanted = select(_minute.integration_id, *map(func.sum, _COUNTED)).group_by(_minute.integration_id)
    with reading(engine) as connection:
        for some in chunks(integration_ids):
            of_some = wanted.where(_minute.integration_id.in_(some), _minute.minute_ms >= first_ms)
            for one, *counts in connection.execute(of_some):
                found[one] = Counts(*map(int, counts))
    return found


def totals_of(engine: Engine, integration_ids: Sequence[str]) -> dict[str, Counts]:
    """Return what was settled at each since there is a table of totals. Raises LedgerUnavailable."""
    found = dict.fromkeys(integration_ids, Counts())
    wanted = select(_total.integration_id, _total.delivered, _total.retried, _total.dead)
    with reading(engine) as connection:
        for some in chunks(integration_ids):
            for one, *counts in connection.execute(wanted.where(_total.integration_id.in_(some))):
                found[one] = Counts(*counts)
    return found


def failures_of(engine: Engine, integration_ids: Sequence[str]) -> dict[str, dict[tuple[str, str], int]]:
    """Return of each how many attempts failed, by what became of them (retrying, dead) and code.

    Raises LedgerUnavailable.
    """
    found: dict[str, dict[tuple[str, str], int]] = {one: {} for one in integration_ids}
    wanted = select(_failed.integration_id, _failed.status, _failed.error_code, _failed.attempts)
    with reading(engine) as connection:
        for some in chunks(integration_ids):
            rows = connection.execute(wanted.where(_failed.integration_id.in_(some)))
            for one, status, code, attempts in rows:
                found[one][status, code] = attempts
    return found


def latencies_by_type(engine: Engine) -> dict[str, Histogram]:
    """Return how long deliveries took, by the type of their destination; deleted integrations count on.

    Adds up one row for each integration there ever was. Raises LedgerUnavailable.
    """
    sums = [func.sum(_total[name]) for name in (*_BUCKETS, _SUM)]
    home = integrations.c.id == _total.integration_id
    wanted = select(integrations.c.type, *sums).join_from(delivery_totals, integrations, home)
    with reading(engine) as connection:
        rows = connection.execute(wanted.group_by(integrations.c.type)).all()
    # PostgreSQL adds integers up to decimal numbers.
    return {kind: Histogram(tuple(map(int, counts)), int(sum_ms) / 1000) for kind, *counts, sum_ms in rows}
