"""Measures one ledger that is full beside one that is empty: rows, bytes, questions, retention.

Writes what a busy recorder writes, by the recorder's own function, without a fleet: transactions into the
empty ledger and into the full one, in turn. CPU is that of this process and of the database.
`share_of_empty` is what a row costs in the full ledger against the empty one. Of each question there are
four figures, of the whole of it, with what Python does with the answer: `ms_…`, the median of a few times in
milliseconds; `least_ms_…`, the shortest; `cpu_ms_…`, what it took of this process and of the database; and
`pages_…`, what the database read for it, from memory or not. On a busy machine a median says how long others
had the processor or the disk: a question is slow if the other three say so. Retention takes whole periods.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from sqlalchemy import Engine, text

from tests.benchmarks.fleet_runs import Figures, postmaster
from tests.benchmarks.ledger_filling import BATCH, MONTH_MS, TRANSACTION, fill, record, transactions
from tests.benchmarks.ledger_questions import questions
from tests.benchmarks.measuring import tree_cpu_seconds
from tests.ledger.postgres import postgres_server
from worker.background.retention import LARGEST_STEP
from worker.ledger.engine import open_ledger
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.pruning import PrunableKind, prune_rows

#: Turns of writing, each into both ledgers; how often each question is put.
_TURNS, _ASKED = 9, 11
_SQLITE_PAGE = 4096
_PAGES_READ = "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()"
_LONGEST_PRUNING = 60.0
#: As long the rest of a period may stay: what is older goes with its own.
_SPARE_MS = MONTH_MS // 4


@dataclass(slots=True)
class _Subject:
    """A ledger, and what writing into it has cost: CPU seconds a row, and rows a second, of each turn."""

    engine: Engine
    database_pid: int | None
    cpu: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)

    def write(self, count: int, seed: str) -> None:
        """Record so many full transactions."""
        cpu = seconds = 0.0
        for entries in transactions(count, seed):
            before, started = self._cpu(), time.monotonic()
            record(self.engine, entries)
            cpu += self._cpu() - before
            seconds += time.monotonic() - started
        rows = count * BATCH * TRANSACTION
        self.cpu.append(cpu / rows)
        self.per_second.append(rows / seconds)

    def _cpu(self) -> float:
        return time.process_time() + (tree_cpu_seconds(self.database_pid) if self.database_pid else 0.0)

    def pages(self) -> int:
        """Return how many pages the database has read so far: all of them, or on SQLite from its file."""
        if self.engine.dialect.name != "postgresql":
            said = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
            return int(said["rchar"]) // _SQLITE_PAGE
        with self.engine.begin() as connection:
            connection.execute(text("SELECT pg_stat_force_next_flush()"))
        with self.engine.begin() as connection:
            return int(connection.execute(text(_PAGES_READ)).scalar_one())

    def put(self, name: str, ask: Callable[[], object]) -> Figures:
        """Put a question a few times; return its figures by name."""
        if self.engine.dialect.name == "sqlite":
            # Or its pages would be in the cache of the connection.
            self.engine.dispose()
        else:
            # The first time, a session reads catalogues as well.
            _ = ask(), self.pages()
        first, second, _ = self.pages(), self.pages(), ask()
        # Without those for asking how many there are.
        pages = self.pages() - second - (second - first)
        took, cpu = [], self._cpu()
        for _ in range(_ASKED):
            started = time.perf_counter()
            ask()
            took.append(1000 * (time.perf_counter() - started))
        cpu = 1000 * (self._cpu() - cpu) / _ASKED
        return {
            f"ms_{name}": round(median(took), 1),
            f"least_ms_{name}": round(min(took), 1),
            f"cpu_ms_{name}": round(cpu, 1),
            f"pages_{name}": pages,
        }

    def bytes(self) -> int:
        """Return what the whole database takes, whatever its tables; what waits to be reused is not taken."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:

            def asked(statement: str) -> int:
                return int(connection.execute(text(statement)).scalar_one())

            if self.engine.dialect.name == "postgresql":
                return asked("SELECT pg_database_size(current_database())")
            pages = asked("PRAGMA page_count") - asked("PRAGMA freelist_count")
            return pages * asked("PRAGMA page_size")


def measure(database: str, rows: int, filled: int) -> Figures:
    """Write `rows` into an empty ledger and into one of `filled` rows; ask that; then prune half of it."""
    count = max(1, rows // (BATCH * TRANSACTION * _TURNS))
    with _ledgers(database) as (empty, full):
        bytes_before = full.bytes()
        fill(full.engine, filled)
        bytes_a_row = (full.bytes() - bytes_before) / filled
        for turn in range(-1, _TURNS):
            for one in (empty, full) if turn % 2 else (full, empty):
                one.write(count, f"turn {turn}")
        figures = {
            name: figure
            for question, ask in questions(full.engine).items()
            for name, figure in full.put(question, ask).items()
        }
        written = median(full.per_second[1:])
        pruned = _prune(full)
    # The first turn of each warms up.
    costs = {name: median(one.cpu[1:]) * 1e6 for name, one in (("empty", empty), ("full", full))}
    return {
        "cpu_us": round(costs["full"], 2),
        "cpu_us_empty": round(costs["empty"], 2),
        "share_of_empty": round(costs["full"] / costs["empty"], 2),
        "bytes_a_row": round(bytes_a_row, 1),
        "per_second": round(written),
        **pruned,
        "pruned_against_written": round(pruned["pruned_per_second"] / written, 1),
        **figures,
        **{f"{kind}slowest": _largest(figures, kind) for kind in ("ms_", "least_ms_", "cpu_ms_", "pages_")},
    }


def _largest(figures: Figures, kind: str) -> float:
    return max(figure for name, figure in figures.items() if name.startswith(kind))


@contextmanager
def _ledgers(database: str) -> Iterator[tuple[_Subject, _Subject]]:
    """Make two ledgers without rows, in one server if they are in one."""
    with tempfile.TemporaryDirectory(prefix="siem-bench-") as name, ExitStack() as stack:
        if database == "sqlite":
            urls, pid = [f"sqlite:///{Path(name) / one}.db" for one in ("empty", "full")], None
        else:
            server = stack.enter_context(postgres_server())
            urls = [stack.enter_context(server.database(one)) for one in ("empty", "full")]
            pid = postmaster(server.socket_folder)
        empty, full = (_Subject(stack.enter_context(_opened(url)), pid) for url in urls)
        yield empty, full


@contextmanager
def _opened(url: str) -> Iterator[Engine]:
    engine = open_ledger(url)
    try:
        upgrade_tables(engine)
        yield engine
    finally:
        engine.dispose()


def _prune(subject: _Subject) -> Figures:
    """Prune what is in the older half of the month, for a while at the most."""
    before_ms = time.time_ns() // 1_000_000 - MONTH_MS // 2
    bytes_before, started = subject.bytes(), time.monotonic()
    steps = list(_steps(subject.engine, before_ms))
    seconds = time.monotonic() - started
    gone = sum(count for count, _ in steps)
    return {
        "pruned_per_second": round(gone / seconds),
        "pruned_ms_longest": round(1000 * max(took for _, took in steps), 1),
        "bytes_back_a_row": round((bytes_before - subject.bytes()) / max(1, gone), 1),
    }


def _steps(engine: Engine, before_ms: int) -> Iterator[tuple[int, float]]:
    """Take steps of pruning; yield how many rows went with each, and for how long others could not write."""
    ends = time.monotonic() + _LONGEST_PRUNING
    while time.monotonic() < ends:
        step = prune_rows(engine, PrunableKind.DELIVERIES, before_ms, LARGEST_STEP, spare_ms=_SPARE_MS)
        yield step.count, step.seconds
        if not step.count:
            return
