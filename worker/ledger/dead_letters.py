"""Dead letters: lists and counts those that a filter means, and shows one."""

from collections import Counter
from collections.abc import Mapping
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
    tuple_,
)

from worker.ledger.engine import reading
from worker.ledger.results import DeadLetterRow
from worker.ledger.rows import storable
from worker.ledger.schema import dead_letters, integrations
from worker.model.deliveries import NOT_REPLAYABLE, Cause
from worker.model.errors import NotFoundError
from worker.model.replays import DeadLetterFilter, LetterState

#: A partial index serves a question only if these very words stand in it.
WAITS = text("state = 'waiting'")

_letter = dead_letters.c
_columns = [_letter[field.name] for field in fields(DeadLetterRow)]


@dataclass(frozen=True, slots=True)
class DeadLetterCount:
    """How many letters a filter means.

    `replayable` can be sent again; `invalid` never were valid events; `unreadable` were damaged in Redis;
    `homeless` have an integration that was deleted, and no other one was named. `groups` counts all of
    them by integration and code of the failure. `upto_ms` is when the last of them died.
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


def conditions_of(asked: DeadLetterFilter) -> list[ColumnElement[bool]]:
    """Return the conditions under which a dead letter is meant; its state is the first."""
    conditions: list[Any] = []
    if asked.state is not None:
        conditions.append(WAITS if asked.state is LetterState.WAITING else _letter.state == asked.state)
    conditions += _about_its_event(asked)
    if asked.ids:
        conditions.append(_letter.id.in_(map(storable, asked.ids)))
    if asked.since_ms is not None:
        conditions.append(_letter.dead_ms >= asked.since_ms)
    if asked.until_ms is not None:
        conditions.append(_letter.dead_ms <= asked.until_ms)
    if asked.causes:
        conditions.append(_letter.cause.in_(asked.causes))
    if asked.codes:
        conditions.append(_letter.error_code.in_(map(storable, asked.codes)))
    return conditions


def waiting(asked: DeadLetterFilter) -> list[ColumnElement[bool]]:
    """Return the conditions of those that wait: a replay takes no others, and no others are discarded."""
    return conditions_of(structs.replace(asked, state=LetterState.WAITING))


def living() -> ColumnElement[bool]:
    """Return the condition that a letter's integration is there to get it."""
    home = integrations.c.id == _letter.integration_id
    return select(1).where(home, integrations.c.deleted_ms.is_(None)).exists()


def count_dead_letters(
    engine: Engine, asked: DeadLetterFilter, *, elsewhere: bool = False
) -> DeadLetterCount:
    """Count what is meant; with `elsewhere`, for another integration than each letter's own."""
    with reading(engine) as connection:
        return count_letters(connection, asked, elsewhere=elsewhere)


def count_letters(
    connection: Connection, asked: DeadLetterFilter, *, elsewhere: bool = False
) -> DeadLetterCount:
    """Count what is meant, in the caller's transaction; in all else as `count_dead_letters`."""
    is_home = living() if not elsewhere else _letter.integration_id.is_not(None)
    wanted = (
        select(_letter.integration_id, _letter.cause, _letter.error_code, is_home, func.count())
        .add_columns(func.max(_letter.dead_ms))
        .where(*waiting(asked))
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


def waiting_by_integration(engine: Engine) -> dict[str, int]:
    """Return how many letters of each integration wait: reads the index of those that wait, and no row."""
    wanted = select(_letter.integration_id, func.count()).where(WAITS).group_by(_letter.integration_id)
    with reading(engine) as connection:
        return {one: count for one, count in connection.execute(wanted) if one is not None}


def find_dead_letters(
    engine: Engine, asked: DeadLetterFilter, limit: int, before: tuple[int, str] | None = None
) -> list[DeadLetterRow]:
    """Return the next letters that are meant, the latest first, without payloads.

    `before` is `dead_ms` and id of the last one of the page before this. Raises LedgerUnavailable.
    """
    conditions = conditions_of(asked)
    if before is not None:
        place = before[0], storable(before[1])
        # The second condition is the first one's shadow, in words that an index understands.
        conditions += [tuple_(_letter.dead_ms, _letter.id) < place, _letter.dead_ms <= before[0]]
    wanted = _without_payload().where(*conditions)
    wanted = wanted.order_by(_letter.dead_ms.desc(), _letter.id.desc()).limit(limit)
    with reading(engine) as connection:
        return [_row(row) for row in connection.execute(wanted).mappings()]


def find_letter(engine: Engine, letter_id: str) -> DeadLetterRow:
    """Return one dead letter. Raises NotFoundError."""
    with reading(engine) as connection:
        wanted = select(*_columns).where(_letter.id == storable(letter_id))
        row = connection.execute(wanted).mappings().first()
    if row is None:
        raise NotFoundError(
            f"there is no dead letter {letter_id}: `siem dead-letters list` shows those there are"
        )
    return _row(row)


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
        rows = [_row(row) for row in connection.execute(wanted).mappings()]
    # Not by the database: SQLite would go through all letters of the integration in their order.
    return sorted(rows, key=attrgetter("dead_ms", "id"))


def invalid_since(engine: Engine, since_ms: int) -> dict[str | None, int]:
    """Count by tenant the invalid events that came since then and wait."""
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


def _about_its_event(asked: DeadLetterFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if asked.integration_id is not None:
        # Of one event there are few letters: an index by integration would lead past all of its letters.
        home = _letter.integration_id if asked.event_id is None else _letter.integration_id.concat("")
        conditions.append(home == storable(asked.integration_id))
    if asked.event_id is not None:
        conditions.append(_letter.event_id == storable(asked.event_id))
    if asked.tenant_id is not None:
        owner = _letter.tenant_id if asked.only_invalid else owner_of_letter()
        conditions.append(owner == storable(asked.tenant_id))
    if asked.event_types:
        conditions.append(_letter.event_type.in_(map(storable, asked.event_types)))
    if asked.most_deaths is not None:
        conditions.append(_history() <= asked.most_deaths)
    return conditions


def owner_of_letter() -> ColumnElement[Any]:
    """Return the tenant that an invalid event named, else that of the letter's integration."""
    home = select(integrations.c.tenant_id).where(integrations.c.id == _letter.integration_id)
    return func.coalesce(_letter.tenant_id, home.scalar_subquery())


def _history() -> Any:
    """Count, within a statement, how often a letter's event has died at its integration."""
    other = dead_letters.alias()
    same = and_(
        other.c.event_id == _letter.event_id,
        other.c.integration_id == _letter.integration_id,
        same_content(other.c.content, _letter.content),
    )
    return select(func.count()).select_from(other).where(same).scalar_subquery()


def _row(row: Mapping[Any, Any]) -> DeadLetterRow:
    """Read a row of all the columns that a DeadLetterRow has."""
    return DeadLetterRow(**{**row, "cause": Cause(row["cause"]), "state": LetterState(row["state"])})


def _kind(cause: str, *, has_home: bool) -> str:
    if cause in NOT_REPLAYABLE:
        return cause
    return "replayable" if has_home else "homeless"
