"""Nothing is pruned by a clock that stands alone, nor more at once than is likely."""

import logging
from collections.abc import Sequence

import pytest
import redis

from worker.background.pruning_guard import PruningGuard
from worker.broker.notices import PruningRefusals
from worker.ledger.pruning import DAY_MS, PrunableKind, Share
from worker.model.clocks import Clocks

NOW = 1_795_600_000_000
BEFORE = NOW - 90 * DAY_MS


class World:
    """Clocks that can be set, and a ledger of which so much is due."""

    def __init__(self) -> None:
        """Begin with clocks that agree, and nothing due."""
        self.host_ms = self.redis_ms = NOW
        self.database_ms: int | None = NOW
        self.steady_ms = 5_000
        self.oldest_ms: int | None = None
        self.due, self.total = 0, 10_000
        self.undelivered = False
        self.counted = 0

    def clocks(self) -> Clocks:
        """Tell what they say."""
        return Clocks(self.host_ms, self.redis_ms, self.database_ms, self.steady_ms)

    def oldest(self, _kind: PrunableKind, _before_ms: int) -> int | None:
        """Tell how old the oldest due row is."""
        return self.oldest_ms

    def shares(self, kind: PrunableKind, _before_ms: int) -> Sequence[Share]:
        """Count."""
        self.counted += 1
        return [Share(kind.value, self.due, self.total, self.undelivered)]

    def passes(self, milliseconds: int) -> None:
        """Let time pass, for all clocks."""
        self.host_ms += milliseconds
        self.redis_ms += milliseconds
        self.database_ms = None if self.database_ms is None else self.database_ms + milliseconds
        self.steady_ms += milliseconds


@pytest.fixture
def world() -> World:
    """Give a world in order."""
    return World()


def guard_of(world: World, client: redis.Redis) -> PruningGuard:
    """Make the guard of one process."""
    return PruningGuard(world.clocks, world.oldest, world.shares, PruningRefusals(client))


def test_clocks_that_disagree_prune_nothing(
    world: World, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Any of the three; it is said once, stands in Redis, and ends by itself."""
    caplog.set_level(logging.WARNING)
    guard = guard_of(world, client)
    assert guard.now_ms() == NOW
    world.database_ms = NOW + 10 * 60_000
    world.steady_ms += 1
    assert guard_of(world, client).now_ms() is None
    other = guard_of(world, client)
    world.database_ms = NOW - 10 * 60_000
    assert [other.now_ms(), other.now_ms()] == [None, None]
    assert list(PruningRefusals(client).all()) == [""]
    world.database_ms = NOW
    assert guard_of(world, client).now_ms() == NOW
    said = [record.message for record in caplog.records if "nothing is pruned" in record.message]
    assert len(said) == 1


def test_a_refusal_is_taken_back(world: World, client: redis.Redis) -> None:
    """Health is well again once the clocks are."""
    guard = guard_of(world, client)
    world.redis_ms += DAY_MS
    assert guard.now_ms() is None
    world.redis_ms -= DAY_MS
    assert guard.now_ms() is None  # it has leapt back
    world.passes(DAY_MS + 1)
    assert guard.now_ms() == NOW + DAY_MS + 1
    assert PruningRefusals(client).all() == {}


def test_all_clocks_of_one_host_leap_together(world: World, client: redis.Redis) -> None:
    """They agree, and nothing is pruned for a day."""
    world.database_ms = None
    guard = guard_of(world, client)
    assert guard.now_ms() == NOW
    world.host_ms += 365 * DAY_MS
    world.redis_ms += 365 * DAY_MS
    assert guard.now_ms() is None
    [words] = PruningRefusals(client).all().values()
    assert "leapt forward by 365 d" in words
    world.passes(DAY_MS - 60_000)
    assert guard.now_ms() is None
    world.passes(120_000)
    assert guard.now_ms() is not None


def test_what_became_due_since_the_last_look_goes_uncounted(world: World, client: redis.Redis) -> None:
    """The ordinary run costs no count of the table, however much is due."""
    guard = guard_of(world, client)
    guard.now_ms()
    world.oldest_ms = BEFORE - 3_600_000
    world.due = 9_999
    assert guard.may_prune(PrunableKind.DELIVERIES, BEFORE, 90)
    assert world.counted == 0


@pytest.mark.parametrize(
    ("due", "total", "undelivered", "may"),
    [
        (4_999, 10_000, False, True),
        (5_001, 10_000, False, False),
        (1_000, 1_000, False, True),
        (101, 101, True, False),
        (100, 100, True, True),
    ],
)
def test_an_unlikely_share_waits_for_a_person(
    world: World, client: redis.Redis, *, due: int, total: int, undelivered: bool, may: bool
) -> None:
    """More than half at once, unless it is little, is not pruned unasked; the words say how to say yes."""
    guard = guard_of(world, client)
    guard.now_ms()
    world.oldest_ms, world.due, world.total, world.undelivered = BEFORE - 5 * DAY_MS, due, total, undelivered
    assert guard.may_prune(PrunableKind.PARKED, BEFORE, 90) is may
    refused = PruningRefusals(client).all()
    assert (refused == {}) is may
    if not may:
        assert "siem db prune --confirm" in refused[PrunableKind.PARKED.value]


def test_a_refusal_outlives_its_process_and_a_growing_table(world: World, client: redis.Redis) -> None:
    """It ends when nothing is due any more, because a person pruned it or the setting is what it was."""
    first = guard_of(world, client)
    first.now_ms()
    world.oldest_ms, world.due = BEFORE - 5 * DAY_MS, 6_000
    assert not first.may_prune(PrunableKind.DELIVERIES, BEFORE, 90)
    assert first.may_prune(PrunableKind.PARKED, BEFORE, 90) is False
    world.total = 100_000
    second = guard_of(world, client)
    second.now_ms()
    assert not second.may_prune(PrunableKind.DELIVERIES, BEFORE, 90)
    world.oldest_ms = None
    world.passes(60_000)
    second.now_ms()
    assert second.may_prune(PrunableKind.DELIVERIES, BEFORE, 90)
    assert PrunableKind.DELIVERIES.value not in PruningRefusals(client).all()
