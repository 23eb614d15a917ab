"""What tests ask of a ledger's tables, and the quick way to have them."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import Engine

from worker.ledger.engine import open_ledger
from worker.ledger.migrations.revisions import own_steps
from worker.ledger.migrations.runner import tables_of, upgrade_tables


def lay_tables(engine: Engine) -> None:
    """Give a ledger the tables of this release; a file that has none yet becomes a copy of one that has.

    The steps take a tenth of a second, and most tests are about something else.
    """
    file = Path(engine.url.database or "")
    if engine.dialect.name == "sqlite" and not file.stat().st_size:
        shutil.copyfile(_file_with_tables(), file)
    upgrade_tables(engine)


@cache
def _file_with_tables() -> Path:
    """Make a file with the tables, which this process leaves as it ends."""
    folder = Path(tempfile.mkdtemp(prefix="siem-tables-"))
    atexit.register(shutil.rmtree, folder)
    engine = open_ledger(f"sqlite:///{folder / 'ledger.sqlite3'}")
    upgrade_tables(engine)
    engine.dispose()
    return folder / "ledger.sqlite3"


def is_current(engine: Engine) -> bool:
    """Whether the tables are exactly those of this release."""
    found = tables_of(engine)
    return found is not None and found.revision == own_steps().head
