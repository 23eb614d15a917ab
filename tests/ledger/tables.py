"""What tests ask of a ledger's tables."""

from sqlalchemy import Engine

from worker.ledger.migrations.revisions import own_steps
from worker.ledger.migrations.runner import tables_of


def is_current(engine: Engine) -> bool:
    """Whether the tables are exactly those of this release."""
    found = tables_of(engine)
    return found is not None and found.revision == own_steps().head
