"""The database tells the time, where it has a clock of its own."""

import time

from sqlalchemy import Engine

from worker.ledger.engine import database_now_ms


def test_postgresql_tells_the_time_and_sqlite_has_none(engine: Engine) -> None:
    """In milliseconds since 1970 UTC, whatever zone it is set to."""
    found = database_now_ms(engine)

    if engine.dialect.name == "sqlite":
        assert found is None
    else:
        assert found is not None
        assert abs(found - time.time_ns() // 1_000_000) < 60_000
