"""The audit trail in the ledger: a record is written in the transaction of the change that it is about.

So there is no change without its record and no record without its change. A record is never changed, and
removed by age alone (`worker.ledger.pruning`). The database's own rights see to that better than a trigger
or a chain of digests would: who may write to the table could renew both. What makes a removed record
noticeable is that each is also published, and kept elsewhere: `audit_outbox` has the ids of those that are
not published yet.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Table,
    Text,
    delete,
    insert,
    inspect,
    select,
)

from worker.ledger.engine import reading, writing
from worker.ledger.rows import storable
from worker.ledger.schema import ID, integrations, metadata
from worker.model.audit import (
    MOST_AN_HOUR,
    Actor,
    ActorKind,
    AuditFilter,
    AuditRecord,
    Change,
    audit_record,
    first_id_at,
)
from worker.model.limits import TooManyChanges
from worker.model.time import current_ms
from worker.model.untrusted_json import DAMAGED

audit = Table(
    "audit",
    metadata,
    # Begins with the time in hexadecimal digits: the order of the ids is that of the records.
    Column("id", ID, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("action", ID, nullable=False),
    # NULL for what concerns the whole fleet.
    Column("tenant_id", ID),
    Column("integration_id", ID),
    Column("key_id", ID),
    # The rest as JSON: who, to what, what changed.
    Column("document", Text, nullable=False),
)
# To forget the old ones; and each list, the latest first.
Index("audit_age", audit.c.at_ms)
Index("audit_of_tenant", audit.c.tenant_id, audit.c.id)
Index("audit_of_integration", audit.c.integration_id, audit.c.id)
Index("audit_of_key", audit.c.key_id, audit.c.id)
Index("audit_of_action", audit.c.action, audit.c.id)
# What is rare in a tenant with many records, and frequent with others.
Index("audit_of_tenant_action", audit.c.tenant_id, audit.c.action, audit.c.id)

#: Which records are not published yet.
outbox = Table("audit_outbox", metadata, Column("record_id", ID, primary_key=True))

_HOUR_MS = 3_600_000
_UNKNOWN, _DAMAGED = "unknown", "cannot be read"
_LIMITED = (ActorKind.API, ActorKind.PAGE)


class _Document(msgspec.Struct, frozen=True):
    actor: Actor
    subject: str | None
    subject_name: str | None
    changes: tuple[Change, ...]
    details: dict[str, Any]


_decode = msgspec.json.Decoder(_Document).decode


def add_record(connection: Connection, record: AuditRecord) -> None:
    """Write a record in the caller's transaction.

    Raises TooManyChanges when the keys of its tenant have made as many in an hour as they may.
    """
    if record.tenant_id is not None and record.actor.kind in _LIMITED:
        _require_share(connection, record.tenant_id)
    connection.execute(insert(audit).values(_row(record)))
    connection.execute(insert(outbox).values(record_id=record.id))


def add_integration_record(
    connection: Connection,
    action: str,
    actor: Actor,
    document: Mapping[str, Any],
    changes: Iterable[Change] = (),
    **details: Any,
) -> None:
    """Write the record of an integration, of whose document its names are taken. Raises as `add_record`."""
    record = audit_record(
        action,
        actor,
        tenant_id=document.get("tenant_id", "default"),
        subject=document["id"],
        subject_name=document.get("name", document["id"]),
        integration_id=document["id"],
        changes=changes,
        details={"type": document.get("destination", {}).get("type"), **details},
    )
    add_record(connection, record)


def record_alone(engine: Engine, record: AuditRecord) -> None:
    """Write a record of what changes nothing in the ledger. Raises as `add_record`."""
    with writing(engine) as connection:
        add_record(connection, record)


@contextmanager
def recorded(engine: Engine, record: AuditRecord) -> Iterator[None]:
    """Write a record, do what the block does in Redis, and commit; nothing is recorded if that fails."""
    with writing(engine) as connection:
        add_record(connection, record)
        yield


def find_records(
    engine: Engine, asked: AuditFilter, limit: int, before: str | None = None
) -> list[AuditRecord]:
    """Return the next records that are meant, the latest first; `before` is the id of the last one before."""
    conditions: list[Any] = [
        column == storable(value)
        for column, value in (
            (audit.c.tenant_id, asked.tenant_id),
            (audit.c.integration_id, asked.integration_id),
            (audit.c.key_id, asked.key_id),
            (audit.c.action, asked.action),
        )
        if value is not None
    ]
    if asked.since_ms is not None:
        conditions.append(audit.c.id >= first_id_at(max(0, asked.since_ms)))
    if asked.until_ms is not None:
        conditions.append(audit.c.id < first_id_at(max(0, asked.until_ms + 1)))
    if before is not None:
        conditions.append(audit.c.id < storable(before))
    wanted = select(audit).where(*conditions).order_by(audit.c.id.desc()).limit(limit)
    with reading(engine) as connection:
        return [_read(row) for row in connection.execute(wanted)]


class AuditTrail:
    """What the publisher does with the trail. Every method may raise LedgerUnavailable, SchemaOutdated."""

    def __init__(self, engine: Engine) -> None:
        """Take the ledger."""
        self._engine = engine

    def take_in(self, records: Sequence[AuditRecord]) -> int:
        """Write the records that are not there yet; return how many were. One recorder at a time."""
        with writing(self._engine) as connection:
            ids = [one.id for one in records]
            known = set(connection.execute(select(audit.c.id).where(audit.c.id.in_(ids))).scalars())
            fresh = {one.id: one for one in records if one.id not in known}
            if fresh:
                connection.execute(insert(audit), [_row(one) for one in fresh.values()])
                connection.execute(insert(outbox), [{"record_id": one} for one in fresh])
        return len(fresh)

    def unpublished(self, most: int) -> list[AuditRecord]:
        """Return records that are not published yet, the oldest first; forget those that were pruned."""
        joined = outbox.outerjoin(audit, outbox.c.record_id == audit.c.id)
        wanted = select(outbox.c.record_id, *audit.c).select_from(joined).order_by(outbox.c.record_id)
        with reading(self._engine) as connection:
            rows = connection.execute(wanted.limit(most)).all()
        if pruned := [row.record_id for row in rows if row.id is None]:
            self.note_published(pruned)
        return [_read(row) for row in rows if row.id is not None]

    def note_published(self, ids: Collection[str]) -> None:
        """Forget that these are to be published."""
        with writing(self._engine) as connection:
            connection.execute(delete(outbox).where(outbox.c.record_id.in_(ids)))


def has_audit_table(connection: Connection) -> bool:
    """Whether these tables have a trail: a step of the migrations brought it."""
    return bool(inspect(connection).has_table(audit.name))


def tenants_of(connection: Connection, integration_ids: Iterable[str]) -> dict[str, str]:
    """Return whose each of these integrations is or was."""
    columns = integrations.c
    wanted = select(columns.id, columns.tenant_id).where(columns.id.in_(list(integration_ids)))
    return {row.id: row.tenant_id for row in connection.execute(wanted)}


def _require_share(connection: Connection, tenant_id: str) -> None:
    wanted = (
        select(audit.c.at_ms)
        .where(audit.c.tenant_id == storable(tenant_id))
        .order_by(audit.c.id.desc())
        .offset(MOST_AN_HOUR - 1)
        .limit(1)
    )
    at_ms = connection.execute(wanted).scalar_one_or_none()
    if at_ms is not None and current_ms() - at_ms < _HOUR_MS:
        raise TooManyChanges(MOST_AN_HOUR)


def _row(record: AuditRecord) -> dict[str, Any]:
    document = _Document(record.actor, record.subject, record.subject_name, record.changes, record.details)
    return {
        "id": record.id,
        "at_ms": record.at_ms,
        "action": str(record.action),
        "tenant_id": _storable_or_none(record.tenant_id),
        "integration_id": _storable_or_none(record.integration_id),
        "key_id": _storable_or_none(record.actor.key_id),
        "document": msgspec.json.encode(document).decode(),
    }


def _storable_or_none(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _read(row: Any) -> AuditRecord:
    """Return the record of a row; of one that is damaged, what stands in its columns.

    Else one such row would end each list that has it, and hold up the publication of all behind it.
    """
    try:
        found = _decode(row.document)
    except DAMAGED:
        found = _Document(Actor(_UNKNOWN, row.key_id), row.integration_id, None, (), {"document": _DAMAGED})
    return AuditRecord(
        row.id,
        row.at_ms,
        row.action,
        found.actor,
        row.tenant_id,
        found.subject,
        found.subject_name,
        row.integration_id,
        found.changes,
        found.details,
    )
