"""Plain deliveries by the batch: in whatever order things settle, the view is a plain table."""

import random
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, text

from tests.ledger.entries import NOON, letter, outcome
from tests.ledger.letters import bury, deliver, live
from worker.ledger import batch_writing
from worker.ledger.batches import plain_events
from worker.ledger.deliveries import find_deliveries, tallies
from worker.ledger.engine import reading
from worker.ledger.migrations.changes import changes_of, lost_by
from worker.ledger.migrations.revisions import own_steps
from worker.ledger.migrations.runner import downgrade_tables, upgrade_tables
from worker.ledger.period_indexes import indexes
from worker.ledger.pruning import PrunableKind, oldest_due, prune_rows
from worker.ledger.recording import record_entries
from worker.model.deliveries import EventTrace, Outcome, Status

_HOMES = ("int_a", "int_b")
_CONTENTS = ("0" * 31 + "1", "f" * 32)
_DAY_MS = 86_400_000


def _view(engine: Engine, table: str = "delivery_status") -> list[tuple[Any, ...]]:
    """Return event, integration, status, times and version of each row, sorted."""
    columns = (
        "event_id, integration_id, status, event_ms, published_ms, settled_ms, latency_ms, version, content"
    )
    with reading(engine) as connection:
        return sorted(map(tuple, connection.execute(text(f"SELECT {columns} FROM {table}"))))  # noqa: S608 - names of ours


def _settlement(rng: random.Random, events: int) -> Outcome:
    """Return an outcome of a few of so many events: delivered as a rule, and at the first attempt."""
    status = rng.choices([Status.DELIVERED, Status.RETRYING, Status.DEAD], [6, 1, 1])[0]
    settled_ms = NOON + rng.randrange(1000)
    attempts = rng.choice((1, 1, 1, 2))
    made = outcome([], status, integration_id=rng.choice(_HOMES), settled_ms=settled_ms, attempts=attempts)
    names = rng.sample(range(events), rng.randint(1, 4))
    traces = [
        EventTrace(f"e{name}", rng.choice("xyz"), settled_ms - 30, settled_ms - 10, attempts, _CONTENTS[0])
        for name in names
    ]
    return msgspec.structs.replace(made, events=traces)


@pytest.mark.parametrize("seed", range(8))
def test_the_view_is_a_plain_table(engine: Engine, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries in any order, some twice, in transactions of any size: the latest settlement of each counts."""
    monkeypatch.setattr(batch_writing, "FULL", dict.fromkeys(batch_writing.FULL, 15))
    rng = random.Random(seed)
    entries = [(f"{number}-0", [_settlement(rng, 12)]) for number in range(1, 60)]
    given = rng.sample(entries, len(entries)) + entries[:10]
    # Only the period that is written to and the one before are looked into.
    monkeypatch.setattr(batch_writing, "near_indexes", indexes)
    while given:
        size = rng.randint(1, 6)
        record_entries(engine, given[:size], [])
        given = given[size:]
    expected: dict[tuple[str, str], tuple[Any, ...]] = {}
    for number, (entry, [one]) in enumerate(entries, 1):
        assert entry == f"{number}-0"
        for event in one.events:
            took = 10 if one.status == Status.DELIVERED else None
            times = (event.time_ms, event.published_ms, one.settled_ms, took, number << 20, _CONTENTS[0])
            expected[event.id, one.integration_id] = (event.id, one.integration_id, one.status, *times)

    assert _view(engine) == sorted(expected.values())
    rows = find_deliveries(engine, limit=1000)
    assert sorted((row.event_id, row.integration_id, row.status.value) for row in rows) == sorted(
        row[:3] for row in expected.values()
    )
    for name in range(12):
        mine = find_deliveries(engine, event_id=f"e{name}")
        assert {(row.integration_id, row.settled_ms) for row in mine} == {
            (row[1], row[5]) for row in expected.values() if row[0] == f"e{name}"
        }
    counted = tallies(engine)
    assert sum(one.delivered + one.retrying + one.dead for one in counted.values()) == len(expected)


def test_pages_of_batches_have_each_delivery_once(engine: Engine) -> None:
    """However small a page is, and however many share a millisecond."""
    for number in range(6):
        events = [f"e{number}{place}" for place in range(7)]
        record_entries(engine, [(f"{number + 1}-0", [outcome(events, settled_ms=NOON + number // 2)])], [])
    seen: list[str] = []
    page = find_deliveries(engine, limit=4)
    while page:
        seen += [row.event_id for row in page]
        page = find_deliveries(engine, limit=4, before=page[-1].place)

    assert len(seen) == 42
    assert seen == [row.event_id for row in find_deliveries(engine, limit=100)]
    assert len(set(seen)) == 42


def test_a_batch_holds_what_has_one_digest_each_or_none_at_all() -> None:
    """And what the first request delivered; the order stays, and nothing is in both parts or in none."""
    ways = [(1, _CONTENTS[0]), (2, _CONTENTS[0]), (1, ""), (1, "abc"), (2, "")]
    rng = random.Random(3)
    for _ in range(300):
        some = rng.choices(ways, [6, 1, 1, 1, 1], k=rng.randint(0, 5))
        events = [EventTrace(f"e{place}", "x", NOON, NOON, *way) for place, way in enumerate(some)]
        plain, others = plain_events(msgspec.structs.replace(outcome([]), events=events))

        first = [event for event in events if event.attempts == 1]
        known = [event for event in first if len(event.content) == 32]
        assert plain == (known if any(event.content for event in first) else first)
        assert others == [event for event in events if event not in plain]


def test_events_of_a_batch_keep_their_contents_at_each_integration(engine: Engine) -> None:
    """And what two integrations got stands in two batches: neither needs a row of its own."""
    events = [EventTrace(f"e{place}", "x", NOON, NOON, 1, one) for place, one in enumerate(_CONTENTS)]
    settled = [msgspec.structs.replace(outcome([], integration_id=home), events=events) for home in _HOMES]
    record_entries(engine, [("1-0", settled)], [])

    wanted = {(home, f"e{place}", one) for home in _HOMES for place, one in enumerate(_CONTENTS)}
    assert {(row.integration_id, row.event_id, row.content) for row in find_deliveries(engine)} == wanted
    assert _view(engine, "deliveries") == []


def test_an_event_that_is_published_again_is_one_delivery(engine: Engine) -> None:
    """And with another content it is two, both of which are shown."""
    for number, content in enumerate((_CONTENTS[0], _CONTENTS[0], _CONTENTS[1]), 1):
        trace = EventTrace("e", "x", NOON, NOON, 1, content)
        record_entries(
            engine, [(f"{number}-0", [Outcome("int_a", "delivered", NOON, None, None, [trace])])], []
        )

    found = find_deliveries(engine, event_id="e")
    assert sorted((row.content, row.reused_id) for row in found) == [
        (_CONTENTS[0], False),
        (_CONTENTS[1], True),
    ]
    assert len(_view(engine)) == 2


def test_old_periods_go_as_a_whole(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what keeps a letter that waits from being replayed: that gets a row of its own."""
    monkeypatch.setattr(batch_writing, "LONG_MS", 0)
    live(engine, "int_a")
    for number in range(4):
        deliver(engine, [f"e{number}{place}" for place in range(3)], settled_ms=NOON + number * _DAY_MS)
    record_entries(engine, [], [("9-9", letter({"e01": b"{}"}))])
    before_ms = NOON + 2 * _DAY_MS
    due = oldest_due(engine, PrunableKind.DELIVERIES, before_ms)
    steps = [prune_rows(engine, PrunableKind.DELIVERIES, before_ms, 100).count for _ in range(3)]

    assert due == NOON
    assert steps == [2, 3, 0]
    assert [row[0] for row in _view(engine)] == ["e01", "e20", "e21", "e22", "e30", "e31", "e32"]
    assert [row[0] for row in _view(engine, "deliveries")] == ["e01"]
    tables = "pg_class WHERE relname" if engine.dialect.name == "postgresql" else "sqlite_master WHERE name"
    with reading(engine) as connection:
        left = connection.execute(text(f"SELECT count(*) FROM {tables} = 'delivered_ids_1'")).scalar_one()  # noqa: S608 - names of ours
    assert left == 0


def test_going_back_gives_each_delivery_a_row(engine: Engine) -> None:
    """So an earlier release finds what became of every event, and nothing is lost by it."""
    deliver(engine, ["e1", "e2", "e3"])
    bury(engine, "e4")
    before = _view(engine)
    changes = changes_of(own_steps().above("0013")[::-1], engine.dialect.name, undone=True)
    lost = lost_by(engine, changes)
    downgrade_tables(engine, "0013")
    after = _view(engine, "deliveries")
    upgrade_tables(engine)

    assert lost == []
    assert after == before
    assert _view(engine) == before
