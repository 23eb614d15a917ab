"""The audit trail, as tests look at it: the records that something left, and the table as it stands."""

from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex

from sqlalchemy import Engine, text

from tests.fleet import Fleet
from worker.background.audit_publisher import AuditPublisher
from worker.broker import keys
from worker.broker.audit import AuditInbox, AuditStream
from worker.broker.locks import LeaderLock
from worker.ledger.audit import AuditTrail, find_records
from worker.ledger.engine import reading
from worker.model.audit import AuditFilter, AuditRecord
from worker.vault.vault import open_vault
from worker.views.audit import stream_document


def trail(
    engine: Engine, *, tenant_id: str | None = None, integration_id: str | None = None
) -> list[AuditRecord]:
    """Return all records that are meant, the latest first."""
    return find_records(engine, AuditFilter(tenant_id=tenant_id, integration_id=integration_id), 10_000)


@contextmanager
def left_behind(engine: Engine) -> Iterator[list[AuditRecord]]:
    """Collect the records that the block leaves, the first first."""
    before = {one.id for one in trail(engine)}
    found: list[AuditRecord] = []
    yield found
    found += [one for one in reversed(trail(engine)) if one.id not in before]


def raw_table(engine: Engine) -> str:
    """Return all that the tables of the trail hold, as one text."""
    with reading(engine) as connection:
        rows = connection.execute(text("SELECT * FROM audit")).all()
    return repr(rows)


def take_in(fleet: Fleet) -> None:
    """Do what a recorder does with the trail, whoever has done it last."""
    turn = LeaderLock(fleet.client, f"{keys.AUDIT_LOCK}:{token_hex(8)}", 60)
    inbox = AuditInbox(fleet.client, open_vault(fleet.settings).proofs)
    stream = AuditStream(fleet.client)
    AuditPublisher(AuditTrail(fleet.engine), inbox, stream, turn, stream_document).step()
