"""Recording when something is in the way: a failure half way, other recorders, a ledger that is gone."""

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, event, text

from tests.ledger.content import MinuteCounts, minute_counts, recorded_rows
from tests.ledger.entries import NOON, letter, outcome
from worker.ledger.deliveries import find_deliveries, tallies
from worker.ledger.engine import open_ledger
from worker.ledger.recording import record_entries
from worker.model.errors import LedgerUnavailable, SchemaOutdated


def test_failure_on_the_way_writes_nothing(engine: Engine) -> None:
    """A transaction that ends half way leaves nothing, so that its entries are recorded later."""
    entries = [("5-0", [outcome(["evt_1"])])]

    def fail(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "INTO minute_counts" in statement:
            raise KeyError

    event.listen(engine, "before_cursor_execute", fail)
    with pytest.raises(KeyError):
        record_entries(engine, entries, [])
    event.remove(engine, "before_cursor_execute", fail)
    before = recorded_rows(engine)

    assert not any(before.values())
    assert record_entries(engine, entries, []).count == 1


def _at_once(*calls: Callable[[], int]) -> list[int]:
    """Run the calls in threads that start together; return what they return, or -1 where one raises."""
    results = [-1] * len(calls)
    barrier = threading.Barrier(len(calls))

    def run(place: int) -> None:
        barrier.wait()
        results[place] = calls[place]()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_recorders_with_the_same_entries(engine: Engine) -> None:
    """Two recorders that got the same entries, in different orders, record each of them once."""
    entries = [
        (f"5-{place}", [outcome([f"evt_{number}" for number in range(50)], attempts=place)])
        for place in range(20)
    ]
    dead = [(f"5-{place}", letter({f"evt_{place}": b"{}"})) for place in range(20)]
    results = _at_once(
        lambda: record_entries(engine, entries, dead).count,
        lambda: record_entries(engine, entries[::-1], dead[::-1]).count,
    )

    assert sorted(results) == [0, 1020]
    assert minute_counts(engine) == [
        MinuteCounts("int_a", NOON, delivered=1000, latency_sum=10_000, latency_max=10)
    ]
    assert {row.attempts for row in find_deliveries(engine)} == {19}


def test_recorders_with_the_same_events(engine: Engine) -> None:
    """Recorders that settle the same events in opposite orders do not stop each other for ever."""
    events = [f"evt_{number}" for number in range(300)]

    def rounds(parity: int, direction: int) -> int:
        return sum(
            record_entries(
                engine, [(f"{number}-{parity}", [outcome(events[::direction], attempts=number)])], []
            ).count
            for number in range(1, 16)
        )

    results = _at_once(lambda: rounds(0, 1), lambda: rounds(1, -1))

    assert results == [4500, 4500]
    assert tallies(engine)["int_a"].delivered == 300
    assert {row.attempts for row in find_deliveries(engine, limit=300)} == {15}


def test_ledger_that_is_gone(engine: Engine) -> None:
    """Without tables, and without a database, the recorder sees which of them it is."""
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE recorded_entries"))
    with pytest.raises(SchemaOutdated):
        record_entries(engine, [("5-0", [outcome(["evt_1"])])], [])
    gone = open_ledger("postgresql://siem@127.0.0.1:1/ledger")
    with pytest.raises(LedgerUnavailable):
        record_entries(gone, [("5-0", [outcome(["evt_1"])])], [])
    gone.dispose()
