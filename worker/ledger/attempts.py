"""Every attempt to deliver an event that did not succeed at once: when, which one, and what was answered.

Comes in: what the recorder reads. Goes out: rows, and for a few deliveries the attempts in their order. What
is delivered at its first attempt has no row here, so that the usual way of an event costs nothing.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Engine, Index, Integer, Table, Text, select

from worker.ledger.engine import reading
from worker.ledger.rows import Row, finding_columns, version_of
from worker.ledger.schema import ID, metadata
from worker.ledger.text import storable
from worker.model.deliveries import Outcome, Status

attempts = Table(
    "attempts",
    metadata,
    Column("event_id", ID, primary_key=True),
    Column("integration_id", ID, primary_key=True),
    # That of the settlement which told of it, as in `deliveries`.
    Column("version", BigInteger, primary_key=True),
    Column("status", Text, primary_key=True),
    # How many requests have carried the event, this one included.
    Column("number", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("http_status", Integer),
    Column("error_code", Text),
    Column("error", Text),
)
# To forget the old ones.
Index("attempts_age", attempts.c.at_ms)

_attempt = attempts.c


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt, which ended at `at_ms` (ms since 1970 UTC): what the destination answered, or what failed.

    `number` counts the requests that have carried the event, this one included. `status` is where the event
    stood then: delivered, to be tried again (`retrying`), or dead.
    """

    number: int
    at_ms: int
    status: Status
    http_status: int | None
    error_code: str | None
    error: str | None


def attempt_rows(entries: Mapping[str, list[Outcome]]) -> list[Row]:
    """Return rows for `attempts`: of what failed, and of what succeeded after a failure."""
    return [
        row
        for entry, outcomes in entries.items()
        for one in outcomes
        for row in _rows(one, version_of(entry))
    ]


def attempts_of(
    engine: Engine, event_id: str, integration_ids: Collection[str]
) -> dict[str, list[AttemptRow]]:
    """Return, for each of these integrations, the attempts to deliver the event there, the first one first.

    Has no entry for one that got the event at once. Raises LedgerUnavailable.
    """
    columns = (_attempt.number, _attempt.at_ms, _attempt.status)
    answered = (_attempt.http_status, _attempt.error_code, _attempt.error)
    wanted = (
        select(_attempt.integration_id, *columns, *answered)
        .where(
            _attempt.event_id == storable(event_id),
            _attempt.integration_id.in_(map(storable, integration_ids)),
        )
        .order_by(_attempt.at_ms, _attempt.version, _attempt.number)
    )
    found: dict[str, list[AttemptRow]] = defaultdict(list)
    with reading(engine) as connection:
        for integration_id, number, at_ms, status, *answer in connection.execute(wanted):
            found[integration_id].append(AttemptRow(number, at_ms, Status(status), *answer))
    return dict(found)


def _rows(outcome: Outcome, version: int) -> Iterator[Row]:
    if not outcome.sent:
        return
    integration_id = storable(outcome.integration_id)
    _, code, error, _ = finding_columns(outcome.finding)
    # A first attempt that succeeded is no news; what no request carried was no attempt.
    fewest = 2 if outcome.status == Status.DELIVERED else 1
    for event in outcome.events:
        if event.attempts >= fewest:
            yield (
                storable(event.id),
                integration_id,
                version,
                outcome.status,
                event.attempts,
                outcome.settled_ms,
                outcome.http_status,
                code,
                error,
            )
