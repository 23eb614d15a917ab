"""What is old goes, a few rows at a time; what is young, or still needed, stays."""

from contextlib import AbstractContextManager
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, func, select, text

from tests.ledger.entries import NOON, letter, outcome
from tests.ledger.letters import all_dead_letters, bury, deliver, live
from tests.ledger.plans import plan_of, reads_all
from worker.ledger import periods
from worker.ledger.deliveries import find_deliveries
from worker.ledger.engine import reading, removing
from worker.ledger.pruning import (
    PrunableKind,
    Pruned,
    Share,
    oldest_due,
    oldest_rows,
    prunable_shares,
    prune_rows,
)
from worker.ledger.recording import record_entries
from worker.ledger.replays import create_replay, end_replay, find_replays
from worker.ledger.schema import minute_counts, recorded_entries
from worker.model.parking import ParkedChunk
from worker.model.replays import DeadLetterFilter, ReplayState

DAY_MS = 86_400_000
#: Everything is older than that.
LATER = NOON + DAY_MS


def count(engine: Engine, table: str) -> int:
    """Count the rows of a table."""
    with reading(engine) as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608 - tables of ours


def test_deliveries_go_by_age_a_few_at_a_time(engine: Engine) -> None:
    """Of every integration, the oldest first, and no more than was asked for."""
    for number in range(5):
        for one in ("int_a", "int_b"):
            deliver(engine, [f"e{number}"], settled_ms=NOON + number, integration_id=one, batches=False)
    steps = [prune_rows(engine, PrunableKind.DELIVERIES, NOON + 3, 4) for _ in range(3)]

    assert steps == [Pruned(4), Pruned(2), Pruned(0)]
    assert {row.event_id for row in find_deliveries(engine)} == {"e3", "e4"}
    assert len(find_deliveries(engine)) == 4


def test_each_integration_gives_its_share_of_a_step(engine: Engine) -> None:
    """Rows of one time stand on the same pages, which are then written once for all integrations."""
    for number in range(4):
        for one in ("int_a", "int_b"):
            deliver(engine, [f"e{number}"], settled_ms=NOON + number, integration_id=one, batches=False)
    deliver(engine, ["few"], settled_ms=NOON, integration_id="int_c", batches=False)
    prune_rows(engine, PrunableKind.DELIVERIES, LATER, 5)

    assert {(row.event_id, row.integration_id) for row in find_deliveries(engine)} == {
        (f"e{number}", one) for number in (2, 3) for one in ("int_a", "int_b")
    }


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_what_removes_rows_calls_no_function(engine: Engine) -> None:
    """It might fail: SQLite would first copy each page that such a statement changes, and write twice."""
    deliver(engine, ["e1"], batches=False)
    programs: list[list[str]] = []

    def explain(asking: Connection, _cursor: object, statement: str, values: Any, *_rest: object) -> None:
        if statement.startswith("DELETE FROM deliveries"):
            steps = asking.exec_driver_sql(f"EXPLAIN {statement}", values)
            programs.append([row[1] for row in steps])

    event.listen(engine, "before_cursor_execute", explain)
    pruned = prune_rows(engine, PrunableKind.DELIVERIES, LATER, 10).count

    assert (pruned, len(programs)) == (1, 1)
    assert "Delete" in programs[0]
    assert not {"Function", "PureFunc"} & set(programs[0])


def test_the_oldest_go_first(engine: Engine) -> None:
    """A step that is too small for all takes the beginning."""
    bury(engine, *(f"e{number}" for number in range(6)))

    assert prune_rows(engine, PrunableKind.DEAD_LETTERS, LATER, 2) == Pruned(2, 2)
    assert [row.event_id for row in all_dead_letters(engine)] == ["e5", "e4", "e3", "e2"]


def test_letters_that_wait_expire_and_are_counted(engine: Engine) -> None:
    """Of those that go, the answer says how many were still waiting."""
    live(engine, "int_a")
    bury(engine, "e1", "e2", "e3")
    with engine.begin() as connection:
        connection.execute(text("UPDATE dead_letters SET state = 'replayed' WHERE event_id = 'e1'"))

    assert prune_rows(engine, PrunableKind.DEAD_LETTERS, NOON + 2, 10) == Pruned(2, 1)
    assert [row.event_id for row in all_dead_letters(engine)] == ["e3"]


def test_a_delivery_that_keeps_a_letter_from_being_replayed_stays(engine: Engine) -> None:
    """Until that letter is gone: without it, a replay would send what was delivered."""
    bury(engine, "e1", "e2")
    deliver(engine, ["e1", "f1"], settled_ms=NOON + 10)

    gone = [prune_rows(engine, PrunableKind.DELIVERIES, LATER, 10).count for _ in range(3)]
    assert gone == [1, 1, 0]
    assert [row.event_id for row in find_deliveries(engine)] == ["e1"]
    prune_rows(engine, PrunableKind.DEAD_LETTERS, LATER, 10)
    assert prune_rows(engine, PrunableKind.DELIVERIES, LATER, 10) == Pruned(1)


def test_notes_of_what_was_recorded(engine: Engine) -> None:
    """They go by the time of the recording; what is noted and young is not recorded twice."""
    record_entries(engine, [("1-1", [outcome(["e1"])])], [("1-2", letter({"e2": b"{}"}))])
    with reading(engine) as connection:
        newest = connection.execute(select(func.max(recorded_entries.c.recorded_ms))).scalar_one()

    assert prune_rows(engine, PrunableKind.RECORDED_ENTRIES, newest, 10) == Pruned(0)
    assert record_entries(engine, [("1-1", [outcome(["e1"])])], []).count == 0
    assert prune_rows(engine, PrunableKind.RECORDED_ENTRIES, newest + 1, 10) == Pruned(2)
    assert count(engine, "recorded_entries") == 0


def test_replays_go_unless_they_run(engine: Engine) -> None:
    """However old it is, a replay that runs is known."""
    ended, running = (
        create_replay(engine, DeadLetterFilter(), target_id=None, rate=1, made_by="a test") for _ in range(2)
    )
    end_replay(engine, ended.id, ReplayState.DONE)

    assert prune_rows(engine, PrunableKind.REPLAYS, running.created_ms + 1, 10) == Pruned(1)
    assert [one.id for one in find_replays(engine)] == [running.id]


def test_minute_counts_go_by_minute(engine: Engine) -> None:
    """Of each integration."""
    for minute in range(3):
        deliver(engine, [f"e{minute}"], settled_ms=NOON + minute * 60_000)
        deliver(engine, [f"e{minute}"], settled_ms=NOON + minute * 60_000, integration_id="int_b")
    with reading(engine) as connection:
        assert connection.execute(select(func.count()).select_from(minute_counts)).scalar_one() == 6

    steps = [prune_rows(engine, PrunableKind.MINUTE_COUNTS, NOON + 60_000, 10).count for _ in range(2)]

    assert steps == [2, 0]
    assert count(engine, "minute_counts") == 4


def test_a_row_that_became_young_meanwhile_stays(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay may settle an old delivery again between the look and the removal."""
    deliver(engine, ["e1"], settled_ms=NOON)

    def renewing_first(given: Engine) -> AbstractContextManager[Connection]:
        deliver(given, ["e1"], settled_ms=LATER)
        return removing(given)

    monkeypatch.setattr(periods, "removing", renewing_first)

    assert prune_rows(engine, PrunableKind.DELIVERIES, NOON + 1, 10).count == 0
    assert [row.settled_ms for row in find_deliveries(engine)] == [LATER]


@pytest.mark.parametrize("kind", PrunableKind)
def test_what_is_old_is_found_by_an_index(engine: Engine, kind: PrunableKind) -> None:
    """No step reads its table from end to end."""
    live(engine, "int_a")
    bury(engine, "e1")
    deliver(engine, ["e2"])
    create_replay(engine, DeadLetterFilter(), target_id=None, rate=1, made_by="a test")
    plan = plan_of(engine, lambda given: prune_rows(given, kind, LATER, 10))

    assert not [line for line in plan if reads_all(line)]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_letters_that_wait_are_found_in_their_own_index(engine: Engine) -> None:
    """For each delivery, at one place: however many letters the event has, no more than one is read."""
    deliver(engine, ["e1"], batches=False)
    plan = plan_of(engine, lambda given: prune_rows(given, PrunableKind.DELIVERIES, LATER, 10))
    looks = {line for line in plan if "SEARCH dead_letters" in line}
    index = "SEARCH dead_letters USING INDEX dead_letters_waiting_of_event "

    assert looks == {
        index + "(event_id=? AND integration_id=? AND content=?)",
        index + "(event_id=? AND integration_id=?)",
    }


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
@pytest.mark.parametrize("kind", PrunableKind)
def test_what_is_removed_is_not_looked_for_again(engine: Engine, kind: PrunableKind) -> None:
    """PostgreSQL goes to the places that it was given, however many other rows there are."""
    bury(engine, "e1")
    deliver(engine, ["e2"], batches=False)
    made = create_replay(engine, DeadLetterFilter(), target_id=None, rate=1, made_by="a test")
    end_replay(engine, made.id, ReplayState.DONE)
    record_entries(
        engine,
        [],
        [],
        [("7-1", ParkedChunk("int_a", urgent=True, position=1, events=1, size=6, packed=b"events"))],
    )
    plan = plan_of(engine, lambda given: prune_rows(given, kind, made.created_ms + DAY_MS, 10))

    assert [line for line in plan if "Tid Scan" in line]


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_the_oldest_are_not_sorted_out_of_all_that_are_old(engine: Engine) -> None:
    """However many there are, and whatever the server knows of them: a step reads what it takes."""
    for number in range(4):
        deliver(engine, [f"e{number}-{place}" for place in range(300)], settled_ms=NOON, batches=False)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    plans: list[str] = []

    def explain(asking: Connection, _cursor: object, statement: str, values: Any, *_rest: object) -> None:
        if "FROM deliveries" in statement and statement.startswith(("SELECT", "DELETE")):
            plans.extend(row[0] for row in asking.exec_driver_sql(f"EXPLAIN {statement}", values))

    event.listen(engine, "before_cursor_execute", explain)
    due = oldest_due(engine, PrunableKind.DELIVERIES, LATER)
    pruned = prune_rows(engine, PrunableKind.DELIVERIES, LATER, 10).count

    assert (due, pruned) == (NOON, 10)
    assert any("Tid Scan" in line for line in plans)
    assert any("Index Scan using deliveries_latest" in line for line in plans)
    assert [line for line in plans if "Sort" in line or "Bitmap Heap Scan on deliveries" in line] == []


def test_shares_are_counted_by_age_and_by_what_waits(engine: Engine) -> None:
    """What was not delivered yet is counted by itself; parked chunks by their events."""
    bury(engine, "e1", "e2", "e3")
    chunk = ParkedChunk("int_a", urgent=True, position=1, events=7, size=70, packed=b"x")
    record_entries(engine, [], [], [(f"{NOON}-1", chunk)])

    assert oldest_due(engine, PrunableKind.DEAD_LETTERS, NOON + 2) == NOON
    assert oldest_due(engine, PrunableKind.DEAD_LETTERS, NOON) is None
    assert prunable_shares(engine, PrunableKind.DEAD_LETTERS, NOON + 2) == [
        Share("dead letters", 2, 3),
        Share("dead letters that wait", 2, 3, undelivered=True),
    ]
    [share] = prunable_shares(engine, PrunableKind.PARKED, 2**62)
    assert share.due == 7
    assert share.total == 7
    assert share.undelivered is True
    assert [prunable_shares(engine, kind, 0)[0].due for kind in PrunableKind] == [0] * len(PrunableKind)


def test_a_recorder_whose_clock_is_behind_makes_nothing_older(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Redis's ids tell counts, where it is later: a pruner with the right time lets it stand."""
    monkeypatch.setattr("worker.ledger.recording.time.time_ns", lambda: (NOON - 365 * DAY_MS) * 1_000_000)
    chunk = ParkedChunk("int_a", urgent=True, position=1, events=7, size=70, packed=b"x")
    record_entries(engine, [(f"{NOON}-2", [outcome(["e1"])])], [], [(f"{NOON}-1", chunk)])

    assert prune_rows(engine, PrunableKind.PARKED, NOON - 90 * DAY_MS, 10) == Pruned(0)
    assert prune_rows(engine, PrunableKind.RECORDED_ENTRIES, NOON - 7 * DAY_MS, 10) == Pruned(0)


def test_a_letter_of_a_redis_whose_clock_was_behind_counts_from_its_entry(engine: Engine) -> None:
    """Ids of a stream never go back; the time of the death did."""
    dead = letter({"e1": b"{}"}, dead_ms=1_000)
    record_entries(engine, [], [(f"{NOON}-1", dead)])

    [row] = all_dead_letters(engine)
    assert row.dead_ms == NOON


def test_the_oldest_row_of_each_kind_is_known(engine: Engine) -> None:
    """Of all integrations, deleted ones too; 0 where there is none. No table is read from end to end."""
    live(engine, "int_a", "int_b")
    for number, one in enumerate(("int_b", "int_a")):
        deliver(engine, [f"e{number}"], settled_ms=NOON + number, integration_id=one)
    bury(engine, "d1", dead_ms=NOON + 5)
    bury(engine, "d2", dead_ms=NOON + 3)
    found = oldest_rows(engine)

    assert found[PrunableKind.DELIVERIES] == NOON
    assert found[PrunableKind.MINUTE_COUNTS] == NOON
    assert found[PrunableKind.DEAD_LETTERS] == NOON + 3
    assert found[PrunableKind.RECORDED_ENTRIES] > 0
    assert (found[PrunableKind.REPLAYS], found[PrunableKind.PARKED]) == (0, 0)
    assert [line for line in plan_of(engine, oldest_rows) if reads_all(line)] == []
