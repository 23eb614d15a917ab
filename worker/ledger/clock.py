"""The clock of the database, where it has one of its own."""

from sqlalchemy import Engine, text

from worker.ledger.engine import reading


def database_now_ms(engine: Engine) -> int | None:
    """Tell the time by PostgreSQL's clock, in milliseconds since 1970 UTC; SQLite has none but this host's.

    Raises LedgerUnavailable.
    """
    if engine.dialect.name != "postgresql":
        return None
    with reading(engine) as connection:
        seconds = connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one()
    return round(float(seconds) * 1000)
