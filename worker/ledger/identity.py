"""The ledger's own id, by which Redis knows whose events it holds. A restored dump has the same one."""

from sqlalchemy import Engine, select, update

from worker.ledger.engine import reading, writing
from worker.ledger.schema import ledger_identity
from worker.model.errors import SchemaOutdated


def ledger_id(engine: Engine) -> str:
    """Return it. Raises LedgerUnavailable, SchemaOutdated."""
    with reading(engine) as connection:
        found = connection.execute(select(ledger_identity.c.id)).scalars().first()
    if found is None:
        raise SchemaOutdated("the ledger has no id (its table ledger_identity is empty): restore that row")
    return str(found)


def check_ledger_writes(engine: Engine) -> None:
    """Write the id once more, and commit it. Raises LedgerUnavailable while the database takes no writes."""
    with writing(engine) as connection:
        connection.execute(update(ledger_identity).values(id=ledger_identity.c.id))
