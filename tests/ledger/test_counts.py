"""Totals of what was settled: each settlement counts once, however late it is recorded."""

import itertools

import pytest
from sqlalchemy import Engine

from tests.ledger.entries import NOON, outcome
from tests.ledger.plans import plan_of, reads_all
from worker.ledger.counts import SettledCounts, Totals
from worker.ledger.recording import record_entries
from worker.model.deliveries import Status

_MINUTE = 60_000
_entries = itertools.count(1)


def settle(engine: Engine, count: int, at_ms: int, status: Status = Status.DELIVERED) -> None:
    """Record so many settlements of that moment."""
    number = next(_entries)
    events = [f"e{number}-{place}" for place in range(count)]
    record_entries(engine, [(f"{at_ms}-{number}", [outcome(events, status, settled_ms=at_ms)])], [])


def test_what_was_there_before_the_first_look_does_not_count(engine: Engine) -> None:
    """A counter begins at nought, with an entry for each that was asked for."""
    settle(engine, 3, NOON)

    assert Totals(engine).look(["int_a", "int_b"], NOON) == {
        "int_a": SettledCounts(),
        "int_b": SettledCounts(),
    }


def test_each_settlement_counts_once(engine: Engine) -> None:
    """In a minute that was seen half full as well, and in many later ones."""
    totals = Totals(engine)
    settle(engine, 3, NOON)
    totals.look(["int_a"], NOON + 10)
    settle(engine, 2, NOON + 20)
    seen = [totals.look(["int_a"], NOON + 30)["int_a"].delivered]
    for minute in range(1, 6):
        settle(engine, 10, NOON + minute * _MINUTE)
        settle(engine, 1, NOON + minute * _MINUTE, Status.DEAD)
        settle(engine, 2, NOON + minute * _MINUTE, Status.RETRYING)
        seen.append(totals.look(["int_a"], NOON + minute * _MINUTE)["int_a"].delivered)

    assert seen == [2, 12, 22, 32, 42, 52]
    assert totals.look(["int_a"], NOON + 6 * _MINUTE)["int_a"] == SettledCounts(52, 10, 5)


def test_what_a_recorder_was_late_with_counts(engine: Engine) -> None:
    """As long as outcomes wait, their minutes are looked at again."""
    totals = Totals(engine)
    totals.look(["int_a"], NOON)
    settle(engine, 5, NOON + 60 * _MINUTE)
    totals.look(["int_a"], NOON)
    settle(engine, 2, NOON + 1)

    assert totals.look(["int_a"], NOON + 60 * _MINUTE)["int_a"].delivered == 7


def test_a_clock_that_is_set_back_counts_nothing_twice(engine: Engine) -> None:
    """The minutes that are done with stay so."""
    totals = Totals(engine)
    totals.look(["int_a"], NOON)
    settle(engine, 5, NOON)
    totals.look(["int_a"], NOON + 60 * _MINUTE)
    totals.look(["int_a"], NOON)

    assert totals.look(["int_a"], NOON)["int_a"].delivered == 5


@pytest.mark.parametrize("number", [1, 1000])
def test_a_look_reads_an_index(engine: Engine, number: int) -> None:
    """However many integrations there are."""
    plan = plan_of(engine, lambda asked: Totals(asked).look([f"int_{one}" for one in range(number)], NOON))

    assert not [line for line in plan if reads_all(line)]
