"""How a database would answer: the plans of all that a question asks it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

TABLES = (
    *("deliveries", "attempts", "dead_letters", "minute_counts", "delivery_totals"),
    *("failure_totals", "recorded_entries", "replays", "audit"),
)


@contextmanager
def _statements(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """Collect what the block asks the database, with its values."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, values: Any, *_rest: object) -> None:
        if "SELECT" in statement:
            asked.append((statement, values))

    event.listen(engine, "before_cursor_execute", note)
    yield asked
    event.remove(engine, "before_cursor_execute", note)


def plan_of(engine: Engine, question: Callable[[Engine], object]) -> list[str]:
    """Return the lines of the plans of all statements that the question takes."""
    with _statements(engine) as asked:
        question(engine)
    assert asked
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # It reads small tables whole; what counts is whether it could do otherwise.
            connection.exec_driver_sql("SET enable_seqscan = off")
        return [
            str(row[-1])
            for statement, values in asked
            for row in connection.exec_driver_sql(f"{explain} {statement}", values)
        ]


def reads_all(line: str) -> bool:
    """Whether a line says that a table is read whole, or all of its rows sorted."""
    whole = tuple(f"SCAN {table}" for table in TABLES)
    in_sqlite = line.startswith(whole) and "USING INDEX" not in line
    return in_sqlite or "Seq Scan" in line
