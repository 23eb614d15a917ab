"""Retention takes small steps, rests in between, and knows what it must not forget yet."""

import itertools
import logging
import threading
import time

import pytest
import redis

from tests.logged import event_names, fields_of
from worker.background.pruning_guard import PruningGuard
from worker.background.retention import CLOCKS_APART_MS, LOOK_EVERY, Retention, suited
from worker.broker.locks import LeaderLock
from worker.broker.outcomes import oldest_ms
from worker.ledger.pruning import DAY_MS, PrunableKind, Pruned
from worker.model.clocks import Clocks
from worker.model.errors import LedgerUnavailable
from worker.model.log_events import DEPENDENCY_LOST

_names = itertools.count()


class Ledger:
    """Holds so many old rows of each kind, and says what it was asked."""

    def __init__(self, **rows: int) -> None:
        """Take how many rows there are of each kind, by its name in code."""
        self.rows = {PrunableKind[name]: count for name, count in rows.items()}
        self.asked: list[tuple[PrunableKind, int, int]] = []

    def prune(self, kind: PrunableKind, before_ms: int, most: int) -> Pruned:
        """Remove up to `most`; of dead letters, half have waited."""
        self.asked.append((kind, before_ms, most))
        count = min(most, self.rows.get(kind, 0))
        self.rows[kind] = self.rows.get(kind, 0) - count
        return Pruned(count, count // 2 if kind is PrunableKind.DEAD_LETTERS else 0)


class Refusals:
    """Keeps what was refused."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.refusals: dict[str, str] = {}

    def all(self) -> dict[str, str]:
        """Return them."""
        return self.refusals

    def replace(self, refusals: dict[str, str]) -> None:
        """Let these be all."""
        self.refusals = dict(refusals)


def now() -> Clocks:
    """Give the time, which nothing disputes."""
    at_ms = time.time_ns() // 1_000_000
    return Clocks(at_ms, at_ms, None, round(time.monotonic() * 1000))


def guard() -> PruningGuard:
    """Make a guard that has nothing to say against it."""
    return PruningGuard(now, lambda *_: None, lambda *_: [], Refusals())


def retention_of(client: redis.Redis, ledger: Ledger, oldest: int | None = None) -> Retention:
    """Make a retention whose turn it is."""
    return Retention(ledger.prune, lambda: oldest, guard(), LeaderLock(client, f"turn-{next(_names)}", 60))


def test_it_goes_on_until_nothing_is_old(client: redis.Redis, caplog: pytest.LogCaptureFixture) -> None:
    """Step by step, with rests; at the end it says what went, and how many letters still waited."""
    caplog.set_level(logging.INFO)
    ledger = Ledger(DELIVERIES=5_000, DEAD_LETTERS=10)
    retention = retention_of(client, ledger)
    rests: list[float] = []
    while not rests or rests[-1] < LOOK_EVERY:
        rests.append(retention.step())

    assert not any(ledger.rows.values())
    assert len(rests) > 5
    assert all(rest > 0 for rest in rests)
    assert [record.message for record in caplog.records] == [
        "pruned by age: 5000 deliveries, 10 dead letters",
        "5 of the pruned dead letters were still waiting for a replay",
    ]


def test_each_kind_has_its_age(client: redis.Redis) -> None:
    """Deliveries go after 30 days, dead letters after 90, and so on; by the clock of this machine."""
    ledger = Ledger()
    retention_of(client, ledger).step()
    now_ms = time.time_ns() // 1_000_000
    days = {kind: round((now_ms - before_ms) / DAY_MS) for kind, before_ms, _ in ledger.asked}

    assert days == {
        PrunableKind.DELIVERIES: 30,
        PrunableKind.ATTEMPTS: 30,
        PrunableKind.DEAD_LETTERS: 90,
        PrunableKind.PARKED: 90,
        PrunableKind.RECORDED_ENTRIES: 7,
        PrunableKind.REPLAYS: 90,
        PrunableKind.MINUTE_COUNTS: 400,
        PrunableKind.AUDIT: 400,
    }


def test_what_stands_in_redis_is_not_forgotten(client: redis.Redis) -> None:
    """After weeks without a database, an entry may come once more that was recorded before."""
    long_ago = time.time_ns() // 1_000_000 - 20 * DAY_MS
    client.xadd("siem:outcomes", {"outcomes": b""}, id=f"{long_ago}-1")
    client.xadd("siem:dead-letters", {"dead": b""}, id=f"{long_ago + 5}-1")
    ledger = Ledger()
    retention_of(client, ledger, oldest_ms(client)).step()

    assert oldest_ms(client) == long_ago
    assert {kind: before for kind, before, _ in ledger.asked}[PrunableKind.RECORDED_ENTRIES] == (
        long_ago - CLOCKS_APART_MS
    )


def test_nothing_waits_in_redis(client: redis.Redis) -> None:
    """Then age alone counts."""
    assert oldest_ms(client) is None


@pytest.mark.parametrize(
    ("most", "seconds", "then"),
    [(100, 0.001, 200), (200, 0.02, 200), (400, 0.05, 200), (3000, 0.001, 3000), (100, 0.05, 100)],
)
def test_steps_suit_the_database(most: int, seconds: float, then: int) -> None:
    """What was quick may be larger, what was slow must be smaller, within bounds."""
    assert suited(most, seconds) == then


def test_one_of_many_prunes(client: redis.Redis) -> None:
    """The others leave the ledger alone until it ends."""
    ledger = Ledger()
    first, second = (
        Retention(ledger.prune, lambda: None, guard(), LeaderLock(client, "siem:retention", 60))
        for _ in range(2)
    )
    first.step()
    second.step()
    assert len(ledger.asked) == len(PrunableKind)
    ended = threading.Event()
    ended.set()
    first.run(ended)
    second.step()

    assert len(ledger.asked) == 2 * len(PrunableKind)


def test_it_outlives_the_database(client: redis.Redis, caplog: pytest.LogCaptureFixture) -> None:
    """It says that once, and ends on request."""
    stopping = threading.Event()
    tries = itertools.count(1)

    def away(_kind: PrunableKind, _before_ms: int, _most: int) -> Pruned:
        if next(tries) == 3:
            stopping.set()
        raise LedgerUnavailable

    Retention(away, lambda: None, guard(), LeaderLock(client, "siem:retention", 60)).run(stopping)

    assert [one["dependency"] for one in fields_of(caplog, DEPENDENCY_LOST)] == ["the database"]
    assert event_names(caplog) == ["dependency.lost"]
