"""What tests ask of a ledger's tables, and the quick way to have them."""

import tempfile
from functools import cache
from pathlib import Path
from uuid import uuid4

from sqlalchemy import Engine, update

from worker.ledger.engine import open_ledger
from worker.ledger.migrations.revisions import own_steps
from worker.ledger.migrations.runner import tables_of, upgrade_tables
from worker.ledger.schema import ledger_identity


def lay_tables(engine: Engine) -> None:
    """Give a ledger the tables of this release; a file that has none yet becomes a copy of one that has.

    The steps take a tenth of a second, and most tests are about something else.
    """
    file = Path(engine.url.database or "")
    if engine.dialect.name == "sqlite" and not file.stat().st_size:
        file.write_bytes(_file_with_tables())
        with engine.begin() as connection:  # two ledgers of one Redis are told apart by it
            connection.execute(update(ledger_identity).values(id=str(uuid4())))
    upgrade_tables(engine)


@cache
def _file_with_tables() -> bytes:
    with tempfile.TemporaryDirectory(prefix="siem-tables-") as folder:
        engine = open_ledger(f"sqlite:///{folder}/ledger.sqlite3")
        upgrade_tables(engine)
        engine.dispose()
        return Path(folder, "ledger.sqlite3").read_bytes()


def is_current(engine: Engine) -> bool:
    """Whether the tables are exactly those of this release."""
    found = tables_of(engine)
    return found is not None and found.revision == own_steps().head
