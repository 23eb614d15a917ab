"""Indexes of periods that are over take less room on PostgreSQL, and all they lead to is found as before."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from tests.ledger.entries import NOON, letter, outcome
from worker.ledger import batch_writing, period_indexes
from worker.ledger.batches import keys_of_event
from worker.ledger.deliveries import find_deliveries
from worker.ledger.engine import reading, writing
from worker.ledger.migrations.runner import downgrade_tables, upgrade_tables
from worker.ledger.period_indexes import PeriodIndex, ids_table, indexes, places_of, seal, write_keys
from worker.ledger.pruning import PrunableKind, prune_rows
from worker.ledger.recording import record_entries

pytestmark = pytest.mark.parametrize("url", ["postgres"], indirect=True)
_SMALLEST, _LARGEST = -(1 << 63), (1 << 63) - 1


@pytest.fixture
def slow_sealing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each transaction seal no more than twice what it writes."""
    monkeypatch.setattr(period_indexes, "_SMALLEST_STEP", 1)


@pytest.fixture
def short_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each transaction begin a period."""
    monkeypatch.setattr(batch_writing, "FULL", dict.fromkeys(batch_writing.FULL, 1))


def _sealed(engine: Engine) -> dict[int, bool]:
    """Return which periods are sealed, or about to be, and whether they are."""
    with reading(engine) as connection:
        rows = connection.execute(text("SELECT period, finished FROM sealed_periods"))
        return {period: finished for period, finished in rows}  # noqa: C416 - rows are no pairs to mypy


def _tables(engine: Engine, beginning: str) -> list[str]:
    with reading(engine) as connection:
        names = connection.execute(text("SELECT tablename FROM pg_tables")).scalars()
        return sorted(name for name in names if name.startswith(beginning))


def _record(engine: Engine, number: int, events: int = 3) -> list[str]:
    ids = [f"e{number}-{place}" for place in range(events)]
    record_entries(engine, [(f"{number + 1}-0", [outcome(ids, settled_ms=NOON + number)])], [])
    return ids


def _found(engine: Engine, ids: list[str]) -> list[str]:
    return [one for one in ids if [row.event_id for row in find_deliveries(engine, event_id=one)] == [one]]


@pytest.mark.usefixtures("short_periods")
def test_what_is_sealed_is_found(engine: Engine) -> None:
    """Each event of each period, by one that asks for one and by one that asks for many."""
    ids = [one for number in range(5) for one in _record(engine, number, 8)]
    with reading(engine) as connection:
        places = period_indexes.places_of_events(connection, ids)

    assert _sealed(engine) == {1: True, 2: True, 3: True}
    assert _tables(engine, "delivered_ids") == ["delivered_ids_4", "delivered_ids_5"]
    assert _found(engine, ids) == ids
    assert places == {period: {1} for period in range(1, 6)}


@pytest.mark.usefixtures("slow_sealing")
def test_an_index_is_sealed_in_steps(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is half sealed everything is found; each transaction takes a step."""
    ids = _record(engine, 0, 900)[::90]
    monkeypatch.setattr(batch_writing, "FULL", dict.fromkeys(batch_writing.FULL, 1))
    ids += _record(engine, 1, 30)[::29] + _record(engine, 2, 30)[::29]
    monkeypatch.undo()
    monkeypatch.setattr(period_indexes, "_SMALLEST_STEP", 1)
    states = [_sealed(engine)]
    number = 3
    while not all(states[-1].values()):
        ids += _record(engine, number, 30)[::29]
        assert _found(engine, ids[::3]) == ids[::3]
        states.append(_sealed(engine))
        number += 1

    assert len(states) > 3
    assert _found(engine, ids) == ids
    assert _tables(engine, "delivered_ids") == ["delivered_ids_2", "delivered_ids_3"]


@pytest.mark.parametrize("count", [0, 1, 2, 111, 5000])
def test_every_key_keeps_its_place(engine: Engine, count: int) -> None:
    """Whatever keys a period has, the first and the last possible among them; however few a step takes."""
    rng = random.Random(count)
    keys = {rng.randint(_SMALLEST, _LARGEST): rng.randint(1, 9) for _ in range(count)}
    if count > 1:
        keys |= {_SMALLEST: 1, _LARGEST: 2, 0: 3, -1: 4}
    with writing(engine) as connection:
        for period in (1, 2, 3):
            values = {"period": period, "events": len(keys)}
            connection.execute(
                text("INSERT INTO delivery_periods VALUES (:period, 1, 1, 1, :events)"), values
            )
            connection.execute(text("SELECT siem_add_period(:period)"), values)
        write_keys(connection, 1, keys)
        for _ in range(200):
            connection.execute(text("SELECT siem_seal_keys(77)"))
        index = indexes(connection)[-1]
        found = places_of(connection, index, [*keys, 12345])
        first, last = keys_of_event("evt")
        held = connection.execute(text("SELECT count(*), max(cardinality(keys)) FROM delivered_keys")).one()

    assert index.bits is not None
    assert dict(found) == keys
    assert len(found) == len(keys)
    assert first >> 64 - index.bits == last >> 64 - index.bits
    assert held[0] <= 1 << index.bits
    assert (held[1] or 0) < 200


@pytest.mark.usefixtures("short_periods")
def test_who_reads_an_index_does_not_hold_up_recording(engine: Engine) -> None:
    """As a dump of the database does for hours: the table is dropped later."""
    ids = _record(engine, 0) + _record(engine, 1)
    with reading(engine) as dumping:
        dumping.execute(text("LOCK TABLE delivered_ids_1 IN ACCESS SHARE MODE"))
        ids += _record(engine, 2) + _record(engine, 3)
        during = (_sealed(engine), _found(engine, ids) == ids)
    ids += _record(engine, 4) + _record(engine, 5)

    assert during == ({1: False}, True)
    assert _sealed(engine) == {1: True, 2: True}
    assert _found(engine, ids) == ids


@contextmanager
def _before_the_look(engine: Engine, what: Callable[[], object]) -> Iterator[None]:
    """Do something once, between the question which indexes there are and the look into them."""
    left = [what]

    def act(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if "delivered_ids" in statement and statement.startswith("SELECT") and left:
            left.pop()()

    event.listen(engine, "before_cursor_execute", act)
    yield
    event.remove(engine, "before_cursor_execute", act)
    assert not left


@pytest.mark.usefixtures("short_periods")
def test_an_index_that_is_sealed_under_a_reader_is_looked_into_again(engine: Engine) -> None:
    """Its table is gone by the time it is read; so is that of a period which retention has dropped."""
    ids = _record(engine, 0) + _record(engine, 1)
    with _before_the_look(engine, lambda: _record(engine, 2)):
        sealed = find_deliveries(engine, event_id=ids[0])
    with writing(engine) as connection:
        connection.execute(text("UPDATE delivery_periods SET id = id + 100"))
    with pytest.raises(Exception, match="delivered_ids_10"):
        find_deliveries(engine, event_id=ids[0])

    assert [row.event_id for row in sealed] == ids[:1]
    assert _sealed(engine) == {1: True}


@pytest.mark.usefixtures("short_periods")
def test_sealed_periods_go_with_their_span(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows, and the table in which all of the span have their keys."""
    ids = [one for number in range(4) for one in _record(engine, number)]
    record_entries(engine, [], [("9-9", letter({ids[0]: b"{}"}))])
    monkeypatch.setattr(batch_writing, "LONG_MS", 0)
    _record(engine, 4)
    before = _tables(engine, "delivered_keys_of")
    gone = [prune_rows(engine, PrunableKind.DELIVERIES, NOON + 4, 100).count for _ in range(2)]

    assert before == ["delivered_keys_of_0"]
    assert gone == [11, 0]
    assert _tables(engine, "delivered_keys_of") == []
    assert _sealed(engine) == {}
    assert [row.event_id for row in find_deliveries(engine)] == ["e4-2", "e4-1", "e4-0", ids[0]]


def _unsealed(_connection: Connection, _written: int) -> None:
    """Stand for a recorder of the step before, which sealed nothing."""


@pytest.mark.usefixtures("short_periods")
def test_a_database_of_the_step_before_goes_on(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its indexes are sealed one after the other; what it has is found before, meanwhile and behind."""
    downgrade_tables(engine, "0014")
    monkeypatch.setattr(batch_writing, "seal", _unsealed)
    ids = [one for number in range(6) for one in _record(engine, number, 1)]
    upgrade_tables(engine)
    upgraded = _found(engine, ids)
    monkeypatch.setattr(batch_writing, "seal", seal)
    for number in range(6, 12):
        ids += _record(engine, number, 1)
        assert _found(engine, ids[-9:]) == ids[-9:]

    assert upgraded == ids[:6]
    assert _found(engine, ids) == ids
    assert _sealed(engine) == dict.fromkeys(range(1, 7), True)


@pytest.mark.usefixtures("short_periods", "slow_sealing")
def test_undoing_the_step_gives_each_key_a_row_again(engine: Engine) -> None:
    """Of what is sealed, and of what is half sealed; then the step can be taken again."""
    ids = [one for number in range(4) for one in _record(engine, number, 250)[::50]]
    ids += _record(engine, 4, 3)
    states = _sealed(engine)
    downgrade_tables(engine, "0014")
    with reading(engine) as connection:
        counts = [
            connection.execute(text(f"SELECT count(*) FROM {ids_table(period)}")).scalar_one()  # noqa: S608 - names of ours
            for period in range(1, 6)
        ]
        first, last = keys_of_event(ids[0])
        look = text("SELECT number FROM delivered_ids_1 WHERE key BETWEEN :first AND :last")
        number = connection.execute(look, {"first": first, "last": last}).scalar_one()
    upgrade_tables(engine)

    assert False in states.values()
    assert True in states.values()
    assert counts == [250, 250, 250, 250, 3]
    assert number == 1
    assert _sealed(engine) == {}
    assert _found(engine, ids) == ids
    with reading(engine) as connection:
        assert indexes(connection)[-1] == PeriodIndex(1)
