"""Picks dead letters that wait: counts them, discards them, shows one.

Comes in: a selection. Goes out: figures and rows. What is changed is changed in small transactions, so that
the recorder never waits for long.
"""

import time
from collections import Counter
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from msgspec import structs
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    and_,
    func,
    literal,
    or_,
    select,
    text,
    update,
)

from worker.ledger.deliveries import WAITS, dead_letter_row
from worker.ledger.engine import reading, writing
from worker.ledger.results import DeadLetterRow
from worker.ledger.rows import storable
from worker.ledger.schema import dead_letters, integrations
from worker.model.deliveries import NOT_REPLAYABLE
from worker.model.errors import NotFoundError
from worker.model.replays import LetterState, Selection

#: Letters that one transaction changes.
STEP = 500

_letter = dead_letters.c
_columns = [_letter[field.name] for field in fields(DeadLetterRow)]


@dataclass(frozen=True, slots=True)
class DeadLetterCount:
    """How many letters a selection means.

    `replayable` can be sent again; `invalid` never were valid events; `unreadable` were damaged in Redis;
    `homeless` have an integration that was deleted, and nobody named another one. `groups` counts all of
    them by integration and code of the finding. `upto_ms` is when the last of them died.
    """

    replayable: int
    invalid: int
    unreadable: int
    homeless: int
    groups: dict[tuple[str | None, str], int]
    upto_ms: int

    @property
    def total(self) -> int:
        """All letters that are meant."""
        return self.replayable + self.invalid + self.unreadable + self.homeless


def chosen(selection: Selection) -> list[ColumnElement[bool]]:
    """Return the conditions under which a dead letter is meant; that it waits is the first."""
    conditions: list[Any] = [WAITS, *_about_its_event(selection)]
    if selection.ids:
        conditions.append(_letter.id.in_(map(storable, selection.ids)))
    if selection.since_ms is not None:
        conditions.append(_letter.dead_ms >= selection.since_ms)
    if selection.until_ms is not None:
        conditions.append(_letter.dead_ms <= selection.until_ms)
    if selection.causes:
        conditions.append(_letter.cause.in_(selection.causes))
    if selection.codes:
        conditions.append(_letter.error_code.in_(map(storable, selection.codes)))
    return conditions


def living() -> ColumnElement[bool]:
    """Return the condition that a letter's integration is there to get it."""
    home = integrations.c.id == _letter.integration_id
    return select(1).where(home, integrations.c.deleted_ms.is_(None)).exists()


def count_dead_letters(engine: Engine, selection: Selection, *, elsewhere: bool = False) -> DeadLetterCount:
    """Count what is meant; with `elsewhere`, for another integration than each letter's own."""
    with reading(engine) as connection:
        return count_letters(connection, selection, elsewhere=elsewhere)


def count_letters(
    connection: Connection, selection: Selection, *, elsewhere: bool = False
) -> DeadLetterCount:
    """Count what is meant, in the caller's transaction; in all else as `census`."""
    is_home = living() if not elsewhere else _letter.integration_id.is_not(None)
    wanted = (
        select(_letter.integration_id, _letter.cause, _letter.error_code, is_home, func.count())
        .add_columns(func.max(_letter.dead_ms))
        .where(*chosen(selection))
        .group_by(_letter.integration_id, _letter.cause, _letter.error_code, is_home)
    )
    kinds: Counter[str] = Counter()
    groups: Counter[tuple[str | None, str]] = Counter()
    upto_ms = 0
    for integration_id, cause, code, has_home, count, last_ms in connection.execute(wanted):
        kinds[_kind(cause, has_home=has_home)] += count
        groups[integration_id, code] += count
        upto_ms = max(upto_ms, last_ms)
    return DeadLetterCount(
        *(kinds["replayable"], kinds["invalid"], kinds["unreadable"], kinds["homeless"]),
        groups=dict(groups),
        upto_ms=upto_ms,
    )


def discard_dead_letters(engine: Engine, selection: Selection, upto_ms: int) -> int:
    """Let those that are meant wait no longer, and return how many; one that died after `upto_ms` is not.

    They keep their payload until they are pruned by age: a mistake can be put right that long.
    """
    until_ms = upto_ms if selection.until_ms is None else min(upto_ms, selection.until_ms)
    bounded = chosen(structs.replace(selection, until_ms=until_ms))
    discarded = 0
    while True:
        with reading(engine) as connection:
            ids = list(connection.execute(select(_letter.id).where(*bounded).limit(STEP)).scalars())
        if not ids:
            return discarded
        with writing(engine) as connection:
            discarded += _discard(connection, ids)


def waiting_letters(
    engine: Engine, selection: Selection, limit: int, before: tuple[int, str] | None = None
) -> list[DeadLetterRow]:
    """Return letters that are meant, the latest first, without payloads.

    `before` is `dead_ms` and id of the last one of the page before this.
    """
    wanted = _without_payload().where(*chosen(selection))
    if before is not None:
        at_ms, letter_id = before
        wanted = wanted.where(
            _letter.dead_ms <= at_ms,
            or_(_letter.dead_ms < at_ms, _letter.id < storable(letter_id)),
        )
    wanted = wanted.order_by(_letter.dead_ms.desc(), _letter.id.desc()).limit(limit)
    with reading(engine) as connection:
        return [dead_letter_row(row) for row in connection.execute(wanted).mappings()]


def find_letter(engine: Engine, letter_id: str) -> DeadLetterRow:
    """Return one dead letter. Raises NotFoundError."""
    with reading(engine) as connection:
        wanted = select(*_columns).where(_letter.id == storable(letter_id))
        row = connection.execute(wanted).mappings().first()
    if row is None:
        raise NotFoundError(
            f"there is no dead letter {letter_id}: `siem dead-letters list` shows those there are"
        )
    return dead_letter_row(row)


def same_content(one: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that two events of one id are the same, as far as that is known."""
    return or_(one == other, one.is_(None), other.is_(None))


def dead_letter_history(
    engine: Engine, event_id: str, integration_id: str, content: str | None
) -> list[DeadLetterRow]:
    """Return every time that this event died at this integration, the first first; without payloads."""
    wanted = _without_payload().where(_letter.event_id == event_id, _letter.integration_id == integration_id)
    if content is not None:
        wanted = wanted.where(same_content(_letter.content, literal(content)))
    with reading(engine) as connection:
        rows = [dead_letter_row(row) for row in connection.execute(wanted).mappings()]
    # Not by the database: SQLite would go through all letters of the integration in their order.
    return sorted(rows, key=attrgetter("dead_ms", "id"))


def mark_corrected(engine: Engine, letter_id: str) -> None:
    """Let a letter wait no longer: its event was published again, corrected."""
    now_ms = time.time_ns() // 1_000_000
    changed = update(dead_letters).where(_letter.id == storable(letter_id), WAITS)
    with writing(engine) as connection:
        connection.execute(changed.values(state=LetterState.REPLAYED, state_ms=now_ms))


def invalid_since(engine: Engine, since_ms: int) -> dict[str | None, int]:
    """Count by tenant the invalid events that came since then, and that nobody has dealt with."""
    came = (_letter.dead_ms >= since_ms, WAITS)
    of_all = select(func.count()).where(_letter.integration_id.is_(None), *came)
    # Both by indexes alone: on SQLite the tenant lies behind the payload, which may be large.
    # Not by the column itself: SQLite would follow the order of another index, which leads to every letter.
    tenant = _letter.tenant_id.concat("").label("tenant")
    of_known = select(tenant, func.count()).where(_letter.tenant_id.is_not(None), *came)
    with reading(engine) as connection:
        rows = connection.execute(of_known.group_by(text("tenant")))
        found: dict[str | None, int] = {tenant_id: count for tenant_id, count in rows}  # noqa: C416 - rows are no pairs to mypy
        unknown = connection.execute(of_all).scalar_one() - sum(found.values())
    return found | ({None: unknown} if unknown > 0 else {})


def _without_payload() -> Select[Any]:
    """Select all that a DeadLetterRow has, but an empty payload."""
    columns = [column for column in _columns if column.name != "payload"]
    return select(*columns, literal(b"").label("payload"))


def _about_its_event(selection: Selection) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if selection.integration_id is not None:
        conditions.append(_letter.integration_id == storable(selection.integration_id))
    if selection.tenant_id is not None:
        home = select(integrations.c.tenant_id).where(integrations.c.id == _letter.integration_id)
        owner = func.coalesce(_letter.tenant_id, home.scalar_subquery())
        conditions.append(owner == storable(selection.tenant_id))
    if selection.event_types:
        conditions.append(_letter.event_type.in_(map(storable, selection.event_types)))
    if selection.most_deaths is not None:
        conditions.append(_history() <= selection.most_deaths)
    return conditions


def _history() -> Any:
    """Count, within a statement, how often a letter's event has died at its integration."""
    other = dead_letters.alias()
    same = and_(
        other.c.event_id == _letter.event_id,
        other.c.integration_id == _letter.integration_id,
        same_content(other.c.content, _letter.content),
    )
    return select(func.count()).select_from(other).where(same).scalar_subquery()


def _discard(connection: Connection, ids: list[str]) -> int:
    return connection.execute(
        update(dead_letters)
        .where(_letter.id.in_(ids), WAITS)
        .values(state=LetterState.DISCARDED, state_ms=time.time_ns() // 1_000_000)
    ).rowcount


def _kind(cause: str, *, has_home: bool) -> str:
    if cause in NOT_REPLAYABLE:
        return cause
    return "replayable" if has_home else "homeless"
