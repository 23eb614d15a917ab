"""Counts of settlements: each counts once, however late it is recorded, and totals outlive the minutes."""

import itertools

import pytest
from sqlalchemy import Engine, event, text

from tests.ledger.entries import NOON, REFUSAL, outcome
from tests.ledger.letters import bury, delete, live
from tests.ledger.plans import plan_of, reads_all
from worker.ledger.counts import Minute, counts_since, failures_of, latencies_by_type, minutes_of, totals_of
from worker.ledger.recording import record_entries
from worker.ledger.replay_pages import mark_page, next_page
from worker.ledger.replays import create_replay
from worker.model.deliveries import EventTrace, Failure, Outcome, Status
from worker.model.failures import FailureCode
from worker.model.health import Counts
from worker.model.histograms import LATENCY_BUCKETS, Histogram
from worker.model.replays import ENABLED, REDRIVE, DeadLetterFilter, Page

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


def took(entry: str, *latencies_ms: int, integration_id: str = "int_a") -> tuple[str, list[Outcome]]:
    """Make an entry of events that were delivered after so many milliseconds each."""
    events = [
        EventTrace(f"{entry}-{place}", "policy.deny", NOON, NOON - one, 1)
        for place, one in enumerate(latencies_ms)
    ]
    return entry, [Outcome(integration_id, Status.DELIVERED, NOON, None, None, events, 200)]


def test_a_latency_counts_in_the_first_bucket_that_holds_it(engine: Engine) -> None:
    """A bound belongs to its own bucket; what is slower than all of them counts in the last one."""
    live(engine, "int_a")
    record_entries(engine, [took("1-0", 0, 5, 6, 300_000, 300_001)], [])
    [found] = latencies_by_type(engine).values()
    in_each = dict(zip((*LATENCY_BUCKETS, None), found.counts, strict=True))

    assert {bound: count for bound, count in in_each.items() if count} == {
        0.005: 2,
        0.01: 1,
        300.0: 1,
        None: 1,
    }
    assert (found.count, found.seconds) == (5, 600.012)
    assert list(found.cumulative())[-2:] == [4, 5]


def test_latencies_are_counted_once_and_by_type(engine: Engine) -> None:
    """An entry that is recorded again adds nothing; a deleted one stays counted."""
    live(engine, "int_a", "int_b")
    entries = [took("1-0", 7, 8), took("2-0", 7, integration_id="int_b")]
    for _ in range(2):
        record_entries(engine, entries, [])
    before = latencies_by_type(engine)
    delete(engine, "int_b")
    record_entries(engine, [*entries, took("3-0", 7)], [])

    assert (before["splunk_hec"].count, before["splunk_hec"].seconds) == (3, 0.022)
    assert latencies_by_type(engine)["splunk_hec"].count == 4


def test_without_a_delivery_there_is_no_latency(engine: Engine) -> None:
    """Neither of nothing, nor of what failed, nor of an integration that the ledger does not know."""
    live(engine, "int_a")
    settle(engine, 3, NOON, Status.DEAD)
    record_entries(engine, [took("1-0", 7, integration_id="int_unknown")], [])

    assert latencies_by_type(engine) == {"splunk_hec": Histogram.empty(len(LATENCY_BUCKETS))}


def replayed_late(engine: Engine, made_by: str, *, into: str | None = None, mark: bool = True) -> Histogram:
    """Let two events die, replay one, deliver both an hour after they were published; return the latencies.

    Without `mark` the replayer has handed the event over, and the ledger does not know that yet.
    """
    home = into or "int_a"
    live(engine, "int_a", "int_b")
    bury(engine, "replayed")
    selection = DeadLetterFilter(integration_id="int_a")
    replay = create_replay(engine, selection, target_id=into, rate=1, made_by=made_by)
    [letter], _ = next_page(engine, replay, 9)
    if mark:
        mark_page(engine, Page(replay.id, 1, [letter.id], [], NOON))
    bury(engine, "waits", integration_id="int_b")
    late = [EventTrace(one, "policy.deny", NOON, NOON - 3_600_000, 1) for one in ("replayed", "waits")]
    quick = EventTrace("quick", "policy.deny", NOON, NOON - 6, 1)
    delivered = Outcome(home, Status.DELIVERED, NOON, None, None, [*late, quick], 200)
    for _ in range(2):
        record_entries(engine, [("9-0", [delivered])], [])
    assert totals_of(engine, [home])[home].delivered == 3
    return latencies_by_type(engine)["splunk_hec"]


@pytest.mark.parametrize("made_by", ["cli:root", ENABLED])
@pytest.mark.parametrize("into", [None, "int_b"])
@pytest.mark.parametrize("mark", [True, False])
def test_what_a_person_replayed_has_no_latency(
    engine: Engine, made_by: str, into: str | None, *, mark: bool
) -> None:
    """Letters of last month say nothing of today, and would burn the budget; they count as delivered."""
    found = replayed_late(engine, made_by, into=into, mark=mark)

    assert (found.count, found.counts[-1], found.seconds) == (2, 1, 3600.006)


@pytest.mark.parametrize("mark", [True, False])
def test_what_the_fleet_replayed_by_itself_is_late(engine: Engine, *, mark: bool) -> None:
    """For a customer it is an event that came late, because of an outage."""
    found = replayed_late(engine, REDRIVE, mark=mark)

    assert (found.count, found.counts[-1], found.seconds) == (3, 2, 7200.006)


def test_only_what_is_late_is_looked_up_among_the_letters(engine: Engine) -> None:
    """A batch in time costs no statement more; a late one a single one, while no letter is of its events."""
    live(engine, "int_a")
    bury(engine, "other")
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    counts = []
    for number, latency_ms in enumerate((7, 60_000, 60_001)):
        asked.clear()
        record_entries(engine, [took(f"{number}-0", latency_ms, latency_ms)], [])
        counts.append(sum("dead_letters" in one for one in asked))

    assert counts == [0, 0, 1]
    assert not [one for one in asked if "FROM replays" in one]


def test_failed_attempts_are_counted_by_code(engine: Engine) -> None:
    """What is to be repeated apart from what is dead; once each; what no request carried is no attempt."""
    other = Failure(FailureCode.CONNECT_FAILED, "no answer", "wait")
    unsent = Outcome("int_a", Status.RETRYING, NOON, other, NOON, [EventTrace("u", "x", 1, 1, 0)], sent=False)
    entries = [
        (
            "1-0",
            [outcome(["a", "b"], Status.RETRYING), outcome(["c"], Status.RETRYING, failure=other), unsent],
        ),
        ("2-0", [outcome(["a"], Status.RETRYING), outcome(["b"], Status.DEAD), outcome(["d"])]),
    ]
    for _ in range(2):
        record_entries(engine, entries, [])
    found = failures_of(engine, ["int_a", "int_b"])

    assert found == {
        "int_a": {
            ("retrying", REFUSAL.code.value): 3,
            ("retrying", FailureCode.CONNECT_FAILED.value): 1,
            ("dead", REFUSAL.code.value): 1,
        },
        "int_b": {},
    }
    assert totals_of(engine, ["int_a"])["int_a"] == Counts(1, 4, 1)


def test_a_batch_takes_no_more_statements_than_before(engine: Engine) -> None:
    """Latencies stand in the row of the totals; failures cost one statement, where there are any."""
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    record_entries(engine, [took("1-0", 7, 8)], [], batches=False)
    delivered = len(asked)
    record_entries(engine, [("2-0", [outcome(["a"]), outcome(["b"], Status.RETRYING)])], [], batches=False)
    writing = [one.split()[2] for one in asked if one.startswith("INSERT")]

    assert writing[: writing.index("delivery_totals") + 1] == [
        *("recorded_entries", "deliveries", "minute_counts", "delivery_totals")
    ]
    assert writing[4:].count("failure_totals") == 1
    assert "failure_totals" not in writing[:4]
    assert len(asked) > delivered


def test_plain_deliveries_take_a_batch_and_its_keys(engine: Engine) -> None:
    """However many events there are: two statements that write, and one that counts them in their period."""
    record_entries(engine, [took("1-0", 7, 8)], [])
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    record_entries(engine, [("2-0", [outcome([f"e{number}" for number in range(200)])])], [])
    written = [one.split()[2] for one in asked if one.startswith("INSERT")]

    assert written == [
        *("recorded_entries", "delivered_ids_1", "delivered_batches", "minute_counts", "delivery_totals")
    ]
    assert [one.split()[1] for one in asked if one.startswith("UPDATE")] == ["delivery_periods"]


@pytest.mark.parametrize("number", [1, 1000])
def test_every_count_is_read_by_an_index(engine: Engine, number: int) -> None:
    """However many integrations there are."""
    ids = [f"int_{one}" for one in range(number)]
    plans = {
        "totals": plan_of(engine, lambda asked: totals_of(asked, ids)),
        "minutes": plan_of(engine, lambda asked: minutes_of(asked, ids, NOON)),
        "counts": plan_of(engine, lambda asked: counts_since(asked, ids, NOON)),
        "failures": plan_of(engine, lambda asked: failures_of(asked, ids)),
    }

    assert [name for name, plan in plans.items() if any(map(reads_all, plan))] == []
