"""The ledger's own id, by which Redis knows whose events it holds. A restored dump has the same one."""

from sqlalchemy import Engine, select

from worker.ledger.engine import reading
from worker.ledger.schema import ledger_identity
from worker.model.errors import SchemaOutdated


def ledger_id(engine: Engine) -> str:
    """Return it. Raises LedgerUnavailable, SchemaOutdated."""
    with reading(engine) as connection:
        found = connection.execute(select(ledger_identity.c.id)).scalars().first()
    if found is None:
        raise SchemaOutdated("the ledger has no id (its table ledger_identity is empty): restore that row")
    return str(found)
