"""Pages of dead letters: of an integration, or of a tenant's invalid events; the latest first."""

from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Engine,
    literal,
    select,
    tuple_,
)

from worker.ledger.deliveries import WAITS, dead_letter_row
from worker.ledger.engine import reading
from worker.ledger.results import DeadLetterRow
from worker.ledger.rows import storable
from worker.ledger.schema import dead_letters
from worker.model.deliveries import Cause
from worker.model.replays import LetterState

_letter = dead_letters.c


_columns = [_letter[field.name] for field in fields(DeadLetterRow) if field.name != "payload"]


@dataclass(frozen=True, slots=True)
class LetterQuery:
    """Which dead letters are meant: those to which all of this applies.

    They are an integration's, or invalid events of a tenant. `since_ms` and `until_ms`, both inclusive, are
    about when the event died; `code` is that of the finding.
    """

    integration_id: str | None
    state: LetterState | None = None
    cause: Cause | None = None
    code: str | None = None
    event_id: str | None = None
    event_type: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    tenant_id: str | None = None


def letters_page(
    engine: Engine, asked: LetterQuery, limit: int, before: tuple[int, str] | None = None
) -> list[DeadLetterRow]:
    """Return the next letters, with nothing in `payload`; `before` is `dead_ms` and id of the last one.

    Raises LedgerUnavailable.
    """
    conditions = _conditions(asked)
    if before is not None:
        # The second condition is the first one's shadow, in words that an index understands.
        conditions += [tuple_(_letter.dead_ms, _letter.id) < before, _letter.dead_ms <= before[0]]
    wanted = select(*_columns, literal(b"").label("payload")).where(*conditions)
    wanted = wanted.order_by(_letter.dead_ms.desc(), _letter.id.desc()).limit(limit)
    with reading(engine) as connection:
        return [dead_letter_row(row) for row in connection.execute(wanted).mappings()]


def _conditions(asked: LetterQuery) -> list[ColumnElement[bool]]:
    conditions: list[Any] = []
    if asked.state is not None:
        # A partial index serves a question only if its very words stand in it.
        conditions.append(WAITS if asked.state is LetterState.WAITING else _letter.state == asked.state)
    # Of one event there are few letters: an index by integration would lead past all of its letters.
    home = _letter.integration_id if asked.event_id is None else _letter.integration_id.concat("")
    same = (
        (home, asked.integration_id),
        (_letter.tenant_id, asked.tenant_id),
        (_letter.cause, asked.cause),
        (_letter.error_code, asked.code),
        (_letter.event_id, asked.event_id),
        (_letter.event_type, asked.event_type),
    )
    conditions += [column == storable(value) for column, value in same if value is not None]
    if asked.since_ms is not None:
        conditions.append(_letter.dead_ms >= asked.since_ms)
    if asked.until_ms is not None:
        conditions.append(_letter.dead_ms <= asked.until_ms)
    return conditions
