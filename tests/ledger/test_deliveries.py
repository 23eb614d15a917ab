"""The questions that people ask: what was delivered, what failed, why, how many."""

import pytest
from sqlalchemy import Engine

from tests.ledger.entries import NOON, letter, outcome
from tests.ledger.letters import all_dead_letters
from worker.ledger.deliveries import find_deliveries, tallies
from worker.ledger.health import latencies, records
from worker.ledger.recording import record_entries
from worker.ledger.results import DeadLetterRow, DeliveryCounts, DeliveryRow, Place
from worker.model.deliveries import Cause, Status


@pytest.fixture
def settled(engine: Engine) -> Engine:
    """Give a ledger with deliveries of two integrations, of every status."""
    record_entries(
        engine,
        [
            ("1-0", [outcome(["e1", "e2"], settled_ms=NOON)]),
            ("2-0", [outcome(["e3"], Status.RETRYING, settled_ms=NOON + 1)]),
            ("3-0", [outcome(["e4"], Status.DEAD, settled_ms=NOON + 2, attempts=4)]),
            ("4-0", [outcome(["e1"], integration_id="int_b", settled_ms=NOON + 3, attempts=2)]),
            ("5-0", [outcome(["e5"], settled_ms=NOON + 4)]),
        ],
        [],
    )
    return engine


def _names(rows: list[DeliveryRow]) -> list[str]:
    return [f"{row.integration_id[-1]}:{row.event_id}" for row in rows]


def test_latest_come_first(settled: Engine) -> None:
    """Without a filter, the deliveries of all integrations stand in one list, the latest first."""
    assert _names(find_deliveries(settled)) == ["a:e5", "b:e1", "a:e4", "a:e3", "a:e2", "a:e1"]
    assert _names(find_deliveries(settled, limit=2)) == ["a:e5", "b:e1"]


def test_empty_ledger_has_no_answers(engine: Engine) -> None:
    """Before the first event, lists are empty and figures are none."""
    assert find_deliveries(engine) == []
    assert all_dead_letters(engine) == []
    assert tallies(engine) == {}
    assert latencies(engine, ["int_a"], sample=9) == {"int_a": None}
    assert records(engine, {"int_a": NOON}, sample=9)["int_a"].problem is None


def test_deliveries_by_integration(settled: Engine) -> None:
    """One integration's deliveries are its alone."""
    assert _names(find_deliveries(settled, integration_id="int_b")) == ["b:e1"]
    assert find_deliveries(settled, integration_id="int_x") == []


@pytest.mark.parametrize("integration_id", [None, "int_a"])
def test_deliveries_by_status(settled: Engine, integration_id: str | None) -> None:
    """Each status has its list, of one integration or of all."""
    names = {Status.RETRYING: ["a:e3"], Status.DEAD: ["a:e4"], Status.DELIVERED: ["a:e5", "a:e2", "a:e1"]}
    found = {
        status: _names(find_deliveries(settled, integration_id=integration_id, status=status))
        for status in names
    }

    assert {status: [name for name in rows if name != "b:e1"] for status, rows in found.items()} == names


def test_deliveries_by_event(settled: Engine) -> None:
    """An event is found at every integration that got it, or at the one that is asked for."""
    assert _names(find_deliveries(settled, event_id="e1")) == ["b:e1", "a:e1"]
    assert _names(find_deliveries(settled, event_id="e1", integration_id="int_a")) == ["a:e1"]
    assert find_deliveries(settled, event_id="e1", status=Status.DEAD) == []


def test_deliveries_since(settled: Engine) -> None:
    """The moment that is given belongs to what it begins."""
    assert _names(find_deliveries(settled, since_ms=NOON + 3)) == ["a:e5", "b:e1"]


@pytest.mark.parametrize("integration_id", [None, "int_a"])
def test_pages_join_without_a_gap(engine: Engine, integration_id: str | None) -> None:
    """Page by page one sees each delivery once, though a whole batch was settled in one millisecond."""
    events = [f"Evt_{number}" if number % 2 else f"evt-{number}" for number in range(25)]
    record_entries(engine, [("1-0", [outcome(events), outcome(events[:5], integration_id="int_b")])], [])
    seen: list[DeliveryRow] = []
    before: Place | None = None
    while page := find_deliveries(engine, integration_id=integration_id, limit=4, before=before):
        seen += page
        before = page[-1].place

    assert seen == find_deliveries(engine, integration_id=integration_id, limit=100)
    assert len(seen) == len({row.place for row in seen}) == (25 if integration_id else 30)


def test_list_of_many_integrations(engine: Engine) -> None:
    """The list of all is right with more integrations than one statement asks for."""
    entries = [
        (f"1-{number}", [outcome(["e"], integration_id=f"int_{number:03}", settled_ms=NOON + number)])
        for number in range(230)
    ]
    record_entries(engine, entries, [])
    rows = find_deliveries(engine, limit=3)

    assert [row.integration_id for row in rows] == ["int_229", "int_228", "int_227"]
    assert len(find_deliveries(engine, limit=1000)) == 230


@pytest.fixture
def letters(engine: Engine) -> Engine:
    """Give a ledger with dead letters of two integrations and of none."""
    record_entries(
        engine,
        [],
        [
            ("1-0", letter({"e1": b"1", "e2": b"2"}, dead_ms=NOON)),
            ("2-0", letter({"e3": b"3"}, dead_ms=NOON + 1, cause=Cause.REFUSED)),
            ("3-0", letter({"e1": b"1"}, dead_ms=NOON + 2, integration_id="int_b")),
            ("4-0", letter({"": b"?"}, dead_ms=NOON + 3, integration_id=None, cause=Cause.INVALID)),
        ],
    )
    return engine


def _ids(rows: list[DeadLetterRow]) -> list[str]:
    return [row.id for row in rows]


def test_dead_letters_latest_first(letters: Engine) -> None:
    """Without a filter all are listed, those without an integration too."""
    assert _ids(all_dead_letters(letters)) == ["4-0-0", "3-0-0", "2-0-0", "1-0-1", "1-0-0"]
    assert _ids(all_dead_letters(letters, limit=1)) == ["4-0-0"]


def test_dead_letters_by_filter(letters: Engine) -> None:
    """Integration, cause and time narrow the list, alone and together."""
    assert _ids(all_dead_letters(letters, integration_id="int_a")) == ["2-0-0", "1-0-1", "1-0-0"]
    assert _ids(all_dead_letters(letters, cause=Cause.INVALID)) == ["4-0-0"]
    assert _ids(all_dead_letters(letters, since_ms=NOON + 2)) == ["4-0-0", "3-0-0"]
    assert _ids(all_dead_letters(letters, integration_id="int_a", cause=Cause.REFUSED)) == ["2-0-0"]


def test_tallies_are_exact(settled: Engine) -> None:
    """Each delivery counts once, by where it stands now; retried are those that ended after a retry."""
    assert tallies(settled) == {"int_a": DeliveryCounts(3, 1, 1, 1), "int_b": DeliveryCounts(1, 0, 0, 1)}


def test_retry_under_way_is_not_retried_yet(engine: Engine) -> None:
    """An event counts as retried once it is settled for good."""
    record_entries(engine, [("1-0", [outcome(["e1"], Status.RETRYING, attempts=2)])], [])

    assert tallies(engine) == {"int_a": DeliveryCounts(retrying=1)}


def test_tallies_by_filter(settled: Engine) -> None:
    """Those asked for are all there, with zeros where nothing happened."""
    assert tallies(settled, integration_ids=["int_b", "int_x"]) == {
        "int_b": DeliveryCounts(1, 0, 0, 1),
        "int_x": DeliveryCounts(),
    }
    assert tallies(settled, integration_ids=[]) == {}
    assert tallies(settled, since_ms=NOON + 2) == {
        "int_a": DeliveryCounts(1, 0, 1, 1),
        "int_b": DeliveryCounts(1, 0, 0, 1),
    }
