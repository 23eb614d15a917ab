"""Every attempt to deliver an event that did not succeed at once: when, which one, and what was answered.

Input: what the recorder reads. Output: rows, and for a few deliveries the attempts in their order. What
is delivered at its first attempt has no row here, so that the usual way of an event costs nothing.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Connection, Engine, Index, Integer, Table, Text, select

from worker.ledger.engine import reading
from worker.ledger.rows import Row, finding_columns, storable, version_of
from worker.ledger.schema import ID, metadata
from worker.model.deliveries import Outcome, Status

attempts = Table(
    "attempts",
    metadata,
    Column("event_id", ID, primary_key=True),
    Column("integration_id", ID, primary_key=True),
    # The digest of the event's bytes; empty if that is not known.
    Column("content", ID, primary_key=True),
    # That of the settlement which reported it, as in `deliveries`.
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

#: So many requests must have carried an event: a first attempt that succeeded is no news, what died without
#: any had none, and a failed one says whether it counts or not. A later release may know further states.
_FEWEST: Mapping[str, int] = {Status.DELIVERED: 2, Status.DEAD: 1, Status.RETRYING: 0}
#: A delivery of an event: its integration, and the digest of the event's bytes; None if that is not known.
Delivery = tuple[str, str | None]
#: A circuit breaker's probes of days are more than anyone reads: the latest are shown.
MOST = 100


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt, which ended at `at_ms` (ms since 1970 UTC): what the destination answered, or what failed.

    `number` counts the requests that have carried the event, this one included; one that a wrong setting or
    an open circuit breaker turned away is not counted. `status` is where the event stood then: delivered, to
    be tried again (`retrying`), or dead.
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
    engine: Engine, event_id: str, deliveries: Collection[Delivery]
) -> dict[Delivery, list[AttemptRow]]:
    """Return, for each of these deliveries of the event, the attempts at it, the first one first.

    They are the latest MOST. An attempt of an unknown one of the events with this id is one at
    each of them. Has no entry for a delivery that succeeded at once. Raises LedgerUnavailable.
    """
    with reading(engine) as connection:
        found = {one: _latest(connection, event_id, *one) for one in deliveries}
    return {one: tried for one, tried in found.items() if tried}


def _latest(
    connection: Connection, event_id: str, integration_id: str, content: str | None
) -> list[AttemptRow]:
    conditions = [
        _attempt.event_id == storable(event_id),
        _attempt.integration_id == storable(integration_id),
    ]
    if content is not None:
        conditions.append(_attempt.content.in_((content, "")))
    wanted = (
        select(_attempt.number, _attempt.at_ms, _attempt.status)
        .add_columns(_attempt.http_status, _attempt.error_code, _attempt.error)
        .where(*conditions)
        .order_by(_attempt.at_ms.desc(), _attempt.version.desc(), _attempt.number.desc())
        .limit(MOST)
    )
    rows = connection.execute(wanted).all()
    return [AttemptRow(number, at, Status(status), *answer) for number, at, status, *answer in reversed(rows)]


def _rows(outcome: Outcome, version: int) -> Iterator[Row]:
    fewest = _FEWEST.get(outcome.status)
    if fewest is None or not outcome.sent:
        return
    integration_id = storable(outcome.integration_id)
    _, code, error, _ = finding_columns(outcome.failure)
    for event in outcome.events:
        if event.attempts >= fewest:
            yield (
                storable(event.id),
                integration_id,
                event.content,
                version,
                outcome.status,
                event.attempts,
                outcome.settled_ms,
                outcome.http_status,
                code,
                error,
            )
