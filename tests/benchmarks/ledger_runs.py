"""Measures one ledger: what a delivery costs in an empty and in a full one, its bytes, and pruning.

Writes what a busy recorder writes, by the recorder's own function, without a fleet. CPU is that of this
process and of the database. `share_of_empty` is what a row costs in the full ledger against the empty one.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, text

from tests.benchmarks.fleet_runs import Figures, postmaster
from tests.benchmarks.ledger_filling import BATCH, HOUR_MS, MONTH_MS, TRANSACTION, fill, record, transactions
from tests.benchmarks.measuring import tree_cpu_seconds
from tests.ledger.postgres import postgres_server
from worker.ledger.engine import open_ledger
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.pruning import PrunableKind, prune_rows

#: Rows of one step of pruning: the largest that a recorder takes.
_STEP = 1000
_LONGEST_PRUNING = 15.0


def measure(database: str, rows: int, filled: int) -> Figures:
    """Write `rows` into an empty ledger and into one of `filled` rows; then prune half of those."""
    count = max(1, rows // (BATCH * TRANSACTION))
    with _ledger(database) as (engine, database_pid):
        _write(engine, database_pid, 1, "warm-up")
        bytes_before = _bytes(engine)
        empty, _ = _write(engine, database_pid, count, "empty")
        fill(engine, filled)
        written = count * BATCH * TRANSACTION + filled
        bytes_a_row = (_bytes(engine) - bytes_before) / written
        full, per_second = _write(engine, database_pid, count, "full")
        pruned = _prune(engine)
    return {
        "cpu_us": round(full, 2),
        "cpu_us_empty": round(empty, 2),
        "cpu_us_full": round(full, 2),
        "share_of_empty": round(full / empty, 2),
        "bytes_a_row": round(bytes_a_row, 1),
        "per_second": round(per_second),
        "pruned_per_second": round(pruned),
        "pruned_against_written": round(pruned / per_second, 3),
    }


@contextmanager
def _ledger(database: str) -> Iterator[tuple[Engine, int | None]]:
    """Make an empty ledger; also gives the process of its server, if it has one."""
    with tempfile.TemporaryDirectory(prefix="siem-bench-") as name:
        if database == "sqlite":
            with _opened(f"sqlite:///{Path(name) / 'siem.db'}") as engine:
                yield engine, None
            return
        with postgres_server() as server, server.database("siem") as url, _opened(url) as engine:
            yield engine, postmaster(server.socket_folder)


@contextmanager
def _opened(url: str) -> Iterator[Engine]:
    engine = open_ledger(url)
    try:
        upgrade_tables(engine)
        yield engine
    finally:
        engine.dispose()


def _write(engine: Engine, database_pid: int | None, count: int, seed: str) -> tuple[float, float]:
    """Record so many full transactions; return the CPU of a row in microseconds, and rows a second."""
    cpu = seconds = 0.0
    for entries in transactions(count, seed):
        before, started = _cpu(database_pid), time.monotonic()
        record(engine, entries)
        cpu += _cpu(database_pid) - before
        seconds += time.monotonic() - started
    rows = count * BATCH * TRANSACTION
    return cpu / rows * 1e6, rows / seconds


def _cpu(database_pid: int | None) -> float:
    return time.process_time() + (tree_cpu_seconds(database_pid) if database_pid else 0.0)


def _bytes(engine: Engine) -> int:
    """Return what the whole database takes, whatever its tables; what waits to be reused is not taken."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:

        def asked(statement: str) -> int:
            return int(connection.execute(text(statement)).scalar_one())

        if engine.dialect.name == "postgresql":
            return asked("SELECT pg_database_size(current_database())")
        pages = asked("PRAGMA page_count") - asked("PRAGMA freelist_count")
        return pages * asked("PRAGMA page_size")


def _prune(engine: Engine) -> float:
    """Prune what is in the older half of the month, for a while at the most; return rows a second."""
    before_ms = (time.time_ns() // 1_000_000 - MONTH_MS // 2) // HOUR_MS * HOUR_MS
    gone, started = 0, time.monotonic()
    while time.monotonic() - started < _LONGEST_PRUNING:
        step = prune_rows(engine, PrunableKind.DELIVERIES, before_ms, _STEP).count
        gone += step
        if not step:
            break
    return gone / (time.monotonic() - started)
