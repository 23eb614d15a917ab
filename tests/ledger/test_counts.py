"""Counts of settlements: each counts once, however late it is recorded, and totals outlive the minutes."""

import itertools

import pytest
from sqlalchemy import Engine, text

from tests.ledger.entries import NOON, outcome
from tests.ledger.plans import plan_of, reads_all
from worker.ledger.counts import Minute, counts_since, minutes_of, totals_of
from worker.ledger.recording import record_entries
from worker.model.deliveries import Status
from worker.model.health import Counts

_MINUTE = 60_000
_entries = itertools.count(1)


def settle(engine: Engine, count: int, at_ms: int, status: Status = Status.DELIVERED) -> None:
    """Record so many settlements of that moment."""
    number = next(_entries)
    events = [f"e{number}-{place}" for place in range(count)]
    record_entries(engine, [(f"{at_ms}-{number}", [outcome(events, status, settled_ms=at_ms)])], [])


def test_a_total_begins_at_zero(engine: Engine) -> None:
    """There is one for each integration that is asked for, and of another nothing counts."""
    settle(engine, 3, NOON)

    assert totals_of(engine, ["int_a", "int_b"]) == {"int_a": Counts(delivered=3), "int_b": Counts()}
    assert totals_of(engine, []) == {}


def test_each_settlement_counts_once(engine: Engine) -> None:
    """In minutes that are added to, and in many of them; whenever they are read."""
    settle(engine, 2, NOON)
    seen = [totals_of(engine, ["int_a"])["int_a"].delivered]
    for minute in range(1, 6):
        settle(engine, 10, NOON + minute * _MINUTE)
        settle(engine, 1, NOON + minute * _MINUTE, Status.DEAD)
        settle(engine, 2, NOON + minute * _MINUTE, Status.RETRYING)
        seen.append(totals_of(engine, ["int_a"])["int_a"].delivered)

    assert seen == [2, 12, 22, 32, 42, 52]
    assert totals_of(engine, ["int_a"])["int_a"] == Counts(52, 10, 5)
    assert counts_since(engine, ["int_a"], 0)["int_a"] == Counts(52, 10, 5)


def test_an_entry_that_is_recorded_again_counts_once(engine: Engine) -> None:
    """Beside an entry that is new."""
    entries = [(f"{NOON}-{number}", [outcome([f"e{number}"], settled_ms=NOON)]) for number in (1, 2)]
    record_entries(engine, entries[:1], [])
    record_entries(engine, entries, [])

    assert totals_of(engine, ["int_a"])["int_a"] == Counts(delivered=2)


def test_many_integrations_are_recorded_at_once(engine: Engine) -> None:
    """Each with its own total, over all of its minutes in one transaction."""
    ids = [f"int_{number}" for number in range(3)]
    outcomes = [
        outcome([f"{one}-{minute}"], settled_ms=NOON + minute * _MINUTE, integration_id=one)
        for one in ids
        for minute in range(ids.index(one) + 1)
    ]
    record_entries(engine, [(f"{NOON}-1", outcomes)], [])

    assert totals_of(engine, ids) == {one: Counts(place) for place, one in enumerate(ids, 1)}


def test_what_a_recorder_was_late_with_counts(engine: Engine) -> None:
    """A minute long past is added to."""
    settle(engine, 5, NOON + 60 * _MINUTE)
    settle(engine, 2, NOON + 1)

    assert totals_of(engine, ["int_a"])["int_a"].delivered == 7


def test_a_total_does_not_fall_when_minutes_are_pruned(engine: Engine) -> None:
    """Prometheus would take it for a restart, and count all of it again."""
    settle(engine, 5, NOON)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM minute_counts"))

    assert counts_since(engine, ["int_a"], 0)["int_a"] == Counts()
    assert totals_of(engine, ["int_a"])["int_a"] == Counts(delivered=5)


def test_minutes_come_in_their_order(engine: Engine) -> None:
    """With the latencies of what was delivered in each."""
    settle(engine, 1, NOON + _MINUTE)
    settle(engine, 2, NOON, Status.DEAD)
    settle(engine, 3, NOON + 7)

    assert minutes_of(engine, ["int_a", "int_b"], NOON) == {
        "int_a": [Minute(NOON, Counts(3, 0, 2), 30, 10), Minute(NOON + _MINUTE, Counts(1), 10, 10)]
    }
    assert minutes_of(engine, ["int_a"], NOON + 1) == {"int_a": [Minute(NOON + _MINUTE, Counts(1), 10, 10)]}


@pytest.mark.parametrize("number", [1, 1000])
def test_every_count_is_read_by_an_index(engine: Engine, number: int) -> None:
    """However many integrations there are."""
    ids = [f"int_{one}" for one in range(number)]
    plans = {
        "totals": plan_of(engine, lambda asked: totals_of(asked, ids)),
        "minutes": plan_of(engine, lambda asked: minutes_of(asked, ids, NOON)),
        "counts": plan_of(engine, lambda asked: counts_since(asked, ids, NOON)),
    }

    assert [name for name, plan in plans.items() if any(map(reads_all, plan))] == []
