"""Parked events come back once, whatever dies in between."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine

from tests.broker.sending import append, subscribe
from worker.background import unparker as module
from worker.background.unparker import Unparker, WaitingQuota
from worker.broker import keys
from worker.broker.locks import LeaderLock
from worker.broker.outcomes import Outcomes
from worker.broker.parking import BacklogBudget, Parking
from worker.broker.snapshot import Snapshot
from worker.ledger.engine import open_ledger
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.parked import ParkedStore, ParkedTotals
from worker.ledger.recording import record_entries
from worker.model.parking import BacklogRoom, Cap, ParkedChunk

CAP = Cap(events=10, size=1_000)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Give an empty ledger."""
    engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    upgrade_tables(engine)
    yield engine
    engine.dispose()


class Died(BaseException):
    """What a kill leaves undone, the test leaves undone."""


class Mortal(ParkedStore):
    """Dies when it is to forget what has gone back."""

    def forget(self, names: object) -> None:
        """Forget nothing, and die, unless there is nothing to forget."""
        if names:
            raise Died


def unparker(client: redis.Redis, store: ParkedStore, turn: str = "turn") -> Unparker:
    """Make an unparker as a recorder runs it."""
    parking = Parking(client, CAP)
    budget = BacklogBudget(client, parking, 0)
    quota = WaitingQuota(client, store, 10**9)
    return Unparker(store, parking, budget, quota, Snapshot(client), LeaderLock(client, turn, 60))


def fill_and_drain(client: redis.Redis, engine: Engine) -> None:
    """Park twenty events in the ledger, and leave the backlog empty."""
    subscribe(client, "a")
    append(client, "a", [[f"e{number}"] for number in range(29)])
    Parking(client, CAP).park("a")
    outcomes = Outcomes(client, "test", 30)
    outcomes.read(1, 1)
    settled = outcomes.read(100, 1)
    record_entries(engine, [], [], settled.parked)
    outcomes.finish(settled)
    client.delete(keys.urgent("a"))
    client.hset(
        keys.state_key("a"), mapping={"unclaimed_events": 0, "unclaimed_bytes": 0, "backlog_events": 0}
    )


def waiting(client: redis.Redis) -> int:
    """Count the chunks in the backlog; each of them is one event here."""
    return int(client.xlen(keys.urgent("a")))


def test_it_fills_the_backlog_and_no_more(client: redis.Redis, engine: Engine) -> None:
    """Up to three quarters of the cap, and again when half of it is free."""
    fill_and_drain(client, engine)
    store = ParkedStore(engine)

    assert [unparker(client, store).step() for _ in range(2)] == [8, 0]
    assert waiting(client) == 8
    assert store.counts()["a"].events == 12


def test_a_death_between_the_two_writes_doubles_nothing(client: redis.Redis, engine: Engine) -> None:
    """Redis has the page, the ledger has it still: the next one forgets it there, and sends it nowhere."""
    fill_and_drain(client, engine)
    with pytest.raises(Died):
        unparker(client, Mortal(engine)).step()
    assert waiting(client) == 8
    assert ParkedStore(engine).counts()["a"].events == 20

    assert unparker(client, ParkedStore(engine), "another's turn").step() == 0
    assert waiting(client) == 8
    assert ParkedStore(engine).counts()["a"].events == 12


def test_millions_are_not_counted_for_each_page(
    client: redis.Redis, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count that takes its time is good for many pages; a quick one is asked again."""
    fill_and_drain(client, engine)
    asked: list[int] = []

    class Counting(ParkedStore):
        """Notes each count."""

        def counts(self) -> dict[str, ParkedTotals]:
            """Note it, and count."""
            asked.append(1)
            return super().counts()

    monkeypatch.setattr(module, "SHORT_COUNT", -1.0)
    monkeypatch.setattr(module, "COUNT_PART", 1e9)
    dear = unparker(client, Counting(engine))
    brought = [dear.step() for _ in range(3)]
    monkeypatch.setattr(module, "SHORT_COUNT", 1e9)
    quick = unparker(client, Counting(engine), "another's turn")
    brought += [quick.step() for _ in range(2)]

    assert brought == [8, 0, 0, 0, 0]
    assert len(asked) == 1 + 2


def test_small_chunks_come_back_many_at_a_time(client: redis.Redis, engine: Engine) -> None:
    """Of events that trickled in, each has a chunk of its own."""
    subscribe(client, "a")
    chunks = [
        (f"{number}-0", ParkedChunk("a", urgent=True, position=number, events=1, size=2, packed=b"e"))
        for number in range(1, 701)
    ]
    record_entries(engine, [], [], chunks)
    store = ParkedStore(engine)
    room = BacklogRoom(10_000, 1 << 20, ())
    page = store.oldest("a", room)
    store.forget([name for name, _ in page])

    assert [name for name, _ in page] == [name for name, _ in chunks[:500]]
    assert [name for name, _ in store.oldest("a", room)] == [name for name, _ in chunks[500:]]


def test_one_works_at_a_time_and_passes_its_turn_on(client: redis.Redis, engine: Engine) -> None:
    """The second waits until the first has ended."""
    fill_and_drain(client, engine)
    first, second = (unparker(client, ParkedStore(engine)) for _ in range(2))
    first.step()
    client.delete(keys.urgent("a"))
    client.hset(keys.state_key("a"), mapping={"unclaimed_events": 0, "unclaimed_bytes": 0})
    assert second.step() == 0
    ended = threading.Event()
    ended.set()
    first.run(ended)

    assert second.step() == 8
