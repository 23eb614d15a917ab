"""Discards dead letters, and notes that one was corrected; each with its record in the audit trail.

What is changed is changed in small transactions, so that the recorder never waits for long.
"""

from typing import Any

from msgspec import structs
from sqlalchemy import ColumnElement, Connection, Engine, func, select, text, update

from worker.ledger.audit import add_record
from worker.ledger.dead_letters import WAITS, owner_of_letter, waiting
from worker.ledger.engine import reading, writing
from worker.ledger.results import DeadLetterRow
from worker.ledger.rows import storable
from worker.ledger.schema import dead_letters
from worker.model.audit import FLEET, Action, Actor, AuditRecord, audit_record
from worker.model.replays import DeadLetterFilter, LetterState
from worker.model.time import current_ms

#: Letters that one transaction changes.
STEP = 500
_letter = dead_letters.c


def discard_dead_letters(engine: Engine, asked: DeadLetterFilter, upto_ms: int, *, by: Actor = FLEET) -> int:
    """Let those that are meant wait no longer, and return how many; one that died after `upto_ms` is not.

    They keep their payload until they are pruned by age: a mistake can be put right that long. All of it is
    one record for each tenant, written with the first of them.
    """
    until_ms = upto_ms if asked.until_ms is None else min(upto_ms, asked.until_ms)
    bounded = waiting(structs.replace(asked, until_ms=until_ms))
    discarded = 0
    while True:
        with reading(engine) as connection:
            ids = list(connection.execute(select(_letter.id).where(*bounded).limit(STEP)).scalars())
        if not ids:
            return discarded
        with writing(engine) as connection:
            meant = {} if discarded else _count_by_tenant(connection, bounded)
            discarded += (some := _discard(connection, ids))
            for tenant_id, count in meant.items() if some else ():
                add_record(connection, _discard_record(by, asked, tenant_id, count))


def mark_corrected(engine: Engine, letter: DeadLetterRow, *, by: Actor = FLEET) -> None:
    """Let a letter wait no longer: its event was published again, corrected."""
    now_ms = current_ms()
    changed = update(dead_letters).where(_letter.id == storable(letter.id), WAITS)
    with writing(engine) as connection:
        done = connection.execute(changed.values(state=LetterState.REPLAYED, state_ms=now_ms))
        if done.rowcount:
            record = audit_record(
                Action.LETTER_CORRECTED,
                by,
                tenant_id=letter.tenant_id,
                subject=letter.id,
                details={"event_id": letter.event_id} if letter.event_id else {},
            )
            add_record(connection, record)


def selection_details(asked: DeadLetterFilter) -> dict[str, Any]:
    """Return what a filter says, for the audit trail."""
    given = structs.asdict(asked)
    return {
        name: value
        for name, value in given.items()
        if value and name not in {"tenant_id", "integration_id", "state", "only_invalid"}
    }


def _count_by_tenant(connection: Connection, conditions: list[ColumnElement[bool]]) -> dict[str | None, int]:
    owner = owner_of_letter().label("owner")
    wanted = select(owner, func.count()).where(*conditions).group_by(text("owner"))
    return {row[0]: row[1] for row in connection.execute(wanted)}


def _discard_record(by: Actor, asked: DeadLetterFilter, tenant_id: str | None, count: int) -> AuditRecord:
    return audit_record(
        Action.LETTERS_DISCARDED,
        by,
        tenant_id=tenant_id,
        subject=asked.ids[0] if len(asked.ids) == 1 else None,
        integration_id=asked.integration_id,
        details={**selection_details(asked), "count": count},
    )


def _discard(connection: Connection, ids: list[str]) -> int:
    return connection.execute(
        update(dead_letters)
        .where(_letter.id.in_(ids), WAITS)
        .values(state=LetterState.DISCARDED, state_ms=current_ms())
    ).rowcount
