"""Periods of plain deliveries beside others that write, and behind a recorder that was killed."""

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from tests.ledger.entries import NOON, outcome
from worker.ledger import batch_writing, period_indexes, periods, recording
from worker.ledger.deliveries import find_deliveries
from worker.ledger.engine import open_ledger, reading
from worker.ledger.period_indexes import ids_table, indexes
from worker.ledger.pruning import PrunableKind, prune_rows
from worker.ledger.recording import record_entries
from worker.model.deliveries import Outcome, Status

_DAY_MS = 86_400_000


def _tables(engine: Engine) -> set[str]:
    """Return the names of the indexes of periods that are there, sealed or not."""
    source = "pg_tables" if engine.dialect.name == "postgresql" else "sqlite_master"
    column = "tablename" if engine.dialect.name == "postgresql" else "name"
    with reading(engine) as connection:
        names = connection.execute(text(f"SELECT {column} FROM {source}")).scalars()  # noqa: S608 - names of ours
        return {name for name in names if name.startswith("delivered_ids_")} | {
            ids_table(one.period) for one in indexes(connection) if one.bits is not None
        }


def _periods(engine: Engine) -> list[int]:
    with reading(engine) as connection:
        return list(connection.execute(text("SELECT id FROM delivery_periods ORDER BY id")).scalars())


def _held(engine: Engine) -> tuple[int, int]:
    """Return how many deliveries batches hold, and how many keys the indexes of their periods."""
    with reading(engine) as connection:
        events = connection.execute(text("SELECT coalesce(sum(events), 0) FROM delivered_batches"))
        keys = [
            connection.execute(text(f"SELECT count(*) FROM {ids_table(one.period)}")).scalar_one()  # noqa: S608 - names of ours
            for one in indexes(connection)
            if one.bits is None
        ]
        if engine.dialect.name == "postgresql":
            finished = "SELECT period FROM sealed_periods WHERE finished"
            sealed = f"SELECT sum(cardinality(keys)) FROM delivered_keys WHERE period IN ({finished})"  # noqa: S608 - the same
            keys.append(connection.execute(text(sealed)).scalar_one() or 0)
        return int(events.scalar_one()), sum(keys)


def _settlements(rng: random.Random, count: int) -> list[tuple[str, list[Outcome]]]:
    """Return entries that settle few events of two integrations, over and over."""
    found = []
    for number in range(1, count + 1):
        status = rng.choices([Status.DELIVERED, Status.RETRYING, Status.DEAD], [6, 1, 1])[0]
        ids = [f"e{one}" for one in rng.sample(range(40), 6)]
        home = rng.choice(("int_a", "int_b"))
        found.append((f"{number}-0", [outcome(ids, status, integration_id=home, settled_ms=NOON + number)]))
    return found


def test_recorders_at_once_have_each_delivery_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same events from both sides, some entries to both, while periods begin, and others are pruned."""
    monkeypatch.setattr(batch_writing, "FULL", dict.fromkeys(batch_writing.FULL, 50))
    old = NOON - 2 * _DAY_MS
    for number in range(3):
        ids = [f"old{number}-{place}" for place in range(50)]
        record_entries(engine, [(f"{number}-9", [outcome(ids, settled_ms=old)])], [])
    entries = _settlements(random.Random(7), 60)
    failures: list[Exception] = []

    def in_thread(what: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            try:
                what()
            except Exception as error:  # noqa: BLE001 - shown by the test
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def record(mine: list[tuple[str, list[Outcome]]], size: int) -> None:
        for start in range(0, len(mine), size):
            record_entries(engine, mine[start : start + size], [])

    def prune() -> None:
        while prune_rows(engine, PrunableKind.DELIVERIES, NOON - _DAY_MS, 1000).count:
            pass

    threads = [
        in_thread(lambda: record(entries[:40], 3)),
        in_thread(lambda: record(entries[:19:-1], 2)),
        in_thread(prune),
    ]
    for thread in threads:
        thread.join()
    expected = {
        (one.id, settled.integration_id): (settled.status, settled.settled_ms)
        for _, [settled] in entries
        for one in settled.events
    }
    rows = find_deliveries(engine, limit=1000)

    assert failures == []
    assert len(rows) == len(expected)
    assert {(row.event_id, row.integration_id): (row.status, row.settled_ms) for row in rows} == expected


def _record_two(engine: Engine, number: int) -> None:
    """Write a batch of two deliveries, so many milliseconds after noon."""
    ids = [f"e{number}{place}" for place in range(2)]
    record_entries(engine, [(f"{number + 1}-0", [outcome(ids, settled_ms=NOON + number)])], [])


def _killed(url: str, work: Callable[[Engine], object], prepare: Callable[[Engine], object]) -> None:
    """Do work in a process that kills itself where `prepare` says."""

    def run() -> None:
        engine = open_ledger(url)
        prepare(engine)
        work(engine)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(180)
    assert process.exitcode == -signal.SIGKILL


def _die(*_arguments: Any, **_more: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _behind(module: Any, name: str) -> Callable[[Engine], None]:
    """Let the process die as soon as this function of the module has done its work."""
    original = getattr(module, name)

    def then_die(*arguments: Any, **more: Any) -> None:
        original(*arguments, **more)
        _die()

    return lambda _engine: setattr(module, name, then_die)


def _at_commit(engine: Engine) -> None:
    event.listen(engine, "commit", _die)


#: Where a recorder dies: in each place nothing of its transaction may be left.
_PLACES = {
    "a period was made": _behind(batch_writing, "_open_period"),
    "keys are in the index": _behind(batch_writing, "write_keys"),
    "batches are written": _behind(batch_writing, "_count"),
    "all is written": _behind(recording, "disable_gone"),
    "at commit": _at_commit,
}


@pytest.mark.parametrize("place", _PLACES)
def test_a_killed_recorder_leaves_nothing_half_done(engine: Engine, url: str, place: str) -> None:
    """Neither a period without a table, nor keys without a batch; the next recorder does the same again."""
    entry = ("1-0", [outcome(["e1", "e2"]), outcome(["e3"], Status.RETRYING)])
    _killed(url, lambda mine: record_entries(mine, [entry], []), _PLACES[place])
    left = (_periods(engine), _tables(engine), _held(engine))
    again = record_entries(engine, [entry], []).count

    assert left == ([], set(), (0, 0))
    assert again == 3
    assert (_periods(engine), _tables(engine), _held(engine)) == ([1], {"delivered_ids_1"}, (2, 2))
    assert record_entries(engine, [entry], []).count == 0


@pytest.mark.parametrize("place", [*_PLACES, "an index is sealed"])
def test_who_is_killed_at_a_change_of_periods_changes_nothing(
    engine: Engine, url: str, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Neither a period begins, nor is an older one sealed; then both are done, and all is found."""
    monkeypatch.setattr(batch_writing, "FULL", dict.fromkeys(batch_writing.FULL, 2))
    for number in range(2):
        _record_two(engine, number)
    before = (_periods(engine), _tables(engine), _held(engine))
    places = _PLACES | {"an index is sealed": _behind(batch_writing, "seal")}
    _killed(url, lambda mine: _record_two(mine, 2), places[place])
    left = (_periods(engine), _tables(engine), _held(engine))
    _record_two(engine, 2)
    with reading(engine) as connection:
        sealed = [one.period for one in indexes(connection) if one.bits is not None]

    assert before == ([1, 2], {"delivered_ids_1", "delivered_ids_2"}, (4, 4))
    assert left == before
    assert _periods(engine) == [1, 2, 3]
    assert _held(engine) == (6, 6)
    assert sealed == ([1] if engine.dialect.name == "postgresql" else [])
    assert [len(find_deliveries(engine, event_id=f"e{number}0")) for number in range(3)] == [1, 1, 1]


@pytest.mark.slow
def test_recorders_that_are_killed_over_and_over_lose_nothing(
    engine: Engine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any moment, while periods begin and are sealed; who asks meanwhile finds all that is recorded."""
    monkeypatch.setattr(batch_writing, "FULL", dict.fromkeys(batch_writing.FULL, 60))
    monkeypatch.setattr(period_indexes, "_SMALLEST_STEP", 8)
    rng = random.Random(11)
    entries = [
        (f"{number}-0", [outcome([f"e{number}-{place}" for place in range(6)], settled_ms=NOON + number)])
        for number in range(1, 201)
    ]
    done = multiprocessing.Value("i", 0)

    def record() -> None:
        mine = open_ledger(url)
        while done.value < len(entries):
            record_entries(mine, entries[done.value : done.value + 1], [])
            done.value += 1

    def ask() -> None:
        number = rng.randint(1, max(1, done.value))
        # Of one that is being recorded it may not be known yet.
        certain = number <= done.value
        found = find_deliveries(engine, event_id=f"e{number}-{rng.randrange(6)}")
        assert len(found) == 1 or not (found or certain)

    kills, ends = 0, time.monotonic() + 120
    while done.value < len(entries):
        assert time.monotonic() < ends
        process = multiprocessing.get_context("fork").Process(target=record)
        process.start()
        aim = done.value + rng.randint(1, 12)
        while process.is_alive() and done.value < min(aim, len(entries)) and time.monotonic() < ends:
            ask()
        process.join(rng.uniform(0, 0.01))
        kills += process.is_alive()
        process.kill()
        process.join(180)
    rows = find_deliveries(engine, limit=10_000)
    with reading(engine) as connection:
        sealed = [one.period for one in indexes(connection) if one.bits is not None]

    assert kills > 5
    assert sorted(row.event_id for row in rows) == sorted(
        trace.id for _, [settled] in entries for trace in settled.events
    )
    assert _held(engine) == (1200, 1200)
    assert len(_periods(engine)) > 15
    assert len(sealed) > (10 if engine.dialect.name == "postgresql" else -1)


def test_who_is_killed_dropping_a_period_leaves_it_whole(
    engine: Engine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batches, its index and its row; the next one drops all three."""
    monkeypatch.setattr(batch_writing, "LONG_MS", 0)
    for number in range(3):
        _record_two(engine, number)

    def prune(mine: Engine) -> int:
        return prune_rows(mine, PrunableKind.DELIVERIES, NOON + 1, 100).count

    _killed(url, prune, _at_commit)
    left = (_periods(engine), len(_tables(engine)), _held(engine))

    assert left == ([1, 16, 32], 3, (6, 6))
    assert [prune(engine), prune(engine)] == [2, 0]
    assert (_periods(engine), len(_tables(engine)), _held(engine)) == ([16, 32], 2, (4, 4))


def test_what_is_late_goes_before_its_period(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then it stays, to go with all others at once: on PostgreSQL those of the periods of its span."""
    monkeypatch.setattr(batch_writing, "FULL", dict.fromkeys(batch_writing.FULL, 4))
    for number in range(4):
        _record_two(engine, number)
    monkeypatch.setattr(batch_writing, "LONG_MS", 0)
    _record_two(engine, 4)

    def steps(before_ms: int) -> list[int]:
        return [
            prune_rows(engine, PrunableKind.DELIVERIES, before_ms, 100, spare_ms=10).count for _ in range(3)
        ]

    is_postgres = engine.dialect.name == "postgresql"
    assert steps(NOON + 2) == ([0, 0, 0] if is_postgres else [4, 0, 0])
    assert steps(NOON + 4) == ([8, 0, 0] if is_postgres else [4, 0, 0])
    assert steps(NOON + 14) == [0, 0, 0]
    assert steps(NOON + 15) == [2, 0, 0]


def test_a_period_goes_in_short_steps_on_sqlite(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others wait for one that writes; PostgreSQL drops tables without touching their pages."""
    monkeypatch.setattr(batch_writing, "FULL", dict.fromkeys(batch_writing.FULL, 6))
    monkeypatch.setattr(periods, "_AS_CHEAP", 2)
    for number in range(3):
        _record_two(engine, number)
    monkeypatch.setattr(batch_writing, "LONG_MS", 0)
    _record_two(engine, 3)
    steps = [prune_rows(engine, PrunableKind.DELIVERIES, NOON + 3, 2).count for _ in range(3)]

    assert steps == ([6, 0, 0] if engine.dialect.name == "postgresql" else [4, 2, 0])
    assert (_periods(engine), _tables(engine), _held(engine)) == ([16], {"delivered_ids_16"}, (2, 2))


def test_of_a_small_period_all_goes_in_one_step(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its index, and what has a row of its own by now counts as nothing."""
    monkeypatch.setattr(batch_writing, "FULL", dict.fromkeys(batch_writing.FULL, 4))
    for number in range(3):
        _record_two(engine, number)
    entry = outcome(["e00"], Status.RETRYING, settled_ms=NOON + 9)
    record_entries(engine, [("9-0", [entry])], [])
    monkeypatch.setattr(batch_writing, "LONG_MS", 0)
    _record_two(engine, 3)
    monkeypatch.setattr(batch_writing, "LONG_MS", 1 << 60)
    steps = [prune_rows(engine, PrunableKind.DELIVERIES, NOON + 3, 100).count for _ in range(3)]

    assert steps == ([5, 0, 0] if engine.dialect.name == "postgresql" else [3, 2, 0])
    assert (_periods(engine), _held(engine)) == ([16], (2, 2))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_long_values_go_unread(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file of SQLite that this release has made: pages that are read, against those that go."""
    monkeypatch.setattr(batch_writing, "FULL", dict.fromkeys(batch_writing.FULL, 1000))
    for number in range(20):
        ids = [f"{number}-{place}-{'x' * 90}" for place in range(500)]
        record_entries(engine, [(f"{number + 1}-0", [outcome(ids, settled_ms=NOON)])], [])
    monkeypatch.setattr(batch_writing, "LONG_MS", 0)
    _record_two(engine, 30)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    # Or its pages would be in the cache of the connection.
    engine.dispose()
    before = _bytes_read()
    with reading(engine) as connection:
        held = connection.execute(text("PRAGMA freelist_count")).scalar_one()
    while prune_rows(engine, PrunableKind.DELIVERIES, NOON + 1, 1000).count:
        pass
    read = (_bytes_read() - before) // 4096
    with reading(engine) as connection:
        freed = connection.execute(text("PRAGMA freelist_count")).scalar_one() - held

    assert freed > 250
    assert read < freed * 0.6


def _bytes_read() -> int:
    """Return how many bytes this process has read (Linux)."""
    said = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(said["rchar"])


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_payloads_are_wiped_as_before(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what goes with a period is not: the same connection removes dead letters later."""
    event.listen(engine, "connect", lambda made, _: made.execute("PRAGMA secure_delete = ON"))
    engine.dispose()
    monkeypatch.setattr(batch_writing, "LONG_MS", 0)
    for number in range(2):
        _record_two(engine, number)
    during: list[int] = []
    dropped = periods._drop_step  # noqa: SLF001 - to look at its connection

    def noting(connection: Any, *more: Any) -> int:
        during.append(connection.exec_driver_sql("PRAGMA secure_delete").scalar_one())
        return dropped(connection, *more)

    monkeypatch.setattr(periods, "_drop_step", noting)
    prune_rows(engine, PrunableKind.DELIVERIES, NOON + 1, 100)
    with reading(engine) as connection:
        after = connection.exec_driver_sql("PRAGMA secure_delete").scalar_one()

    assert (during, after) == ([0], 1)
