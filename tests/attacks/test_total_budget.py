"""Fifty paused integrations of one tenant must not fill Redis, nor push out what waits for its neighbours."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from tests.broker.sending import event
from tests.pipeline.test_sweeper import Fleet
from worker.background.unparker import Unparker, WaitingQuota
from worker.broker import keys
from worker.broker.hand_over import append as append_chunks
from worker.broker.ingress import RoutedChunk
from worker.broker.locks import LeaderLock
from worker.broker.outcomes import Outcomes
from worker.broker.packing import pack_chunk, unpack_chunk
from worker.broker.parking import BacklogBudget, Parking
from worker.broker.snapshot import Snapshot, publish_integrations
from worker.ledger.engine import open_ledger, writing
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.parked import ParkedStore, keep
from worker.ledger.recording import record_entries
from worker.ledger.results import IntegrationRecord
from worker.model.parking import (
    BacklogRoom,
    Cap,
    ParkedChunk,
    UnclaimedEvents,
    fair_level,
    memory_of,
    memory_shares,
    room_of,
    total,
)

CAP = Cap(events=100_000, size=100_000_000)
#: Bytes of each event, and about what it takes of memory.
SIZE = 1000
ONE = memory_of(1, SIZE)


def tell(client: redis.Redis, tenants: dict[str, str]) -> None:
    """Let Redis know integrations, by id, of these tenants."""
    records = []
    for one, tenant in tenants.items():
        document = {
            "id": one,
            "tenant_id": tenant,
            "enabled": True,
            "paused": True,
            "event_types": ["policy.deny"],
            "destination": {"type": "webhook"},
        }
        records.append(IntegrationRecord(one, "webhook", json.dumps(document), 1, deleted=False))
    publish_integrations(client, records, 4)


def fill(client: redis.Redis, integration_id: str, count: int, *, urgent: bool = True) -> None:
    """Let events wait, one a chunk."""
    pipeline = client.pipeline(transaction=False)
    for number in range(count):
        one = event(f"{integration_id}-{number}", SIZE)
        append_chunks(pipeline, [RoutedChunk([integration_id], urgent, [one])])
    pipeline.execute()


def sweep(client: redis.Redis, budget: int) -> None:
    """Sweep once, with so many bytes for all backlogs, whichever sweeper did so before."""
    client.delete(keys.SWEEPER_LOCK, keys.SWEPT)
    fleet = Fleet(client)
    fleet.budget = budget
    fleet.sweeper().step()


def waiting(client: redis.Redis, integration_id: str) -> int:
    """Count the events that wait in Redis."""
    return int(client.hget(keys.state_key(integration_id), "unclaimed_events") or 0)


def test_one_tenants_backlogs_give_way_to_its_neighbours(client: redis.Redis) -> None:
    """The sweeper parks of the tenant with fifty, down to the budget; the neighbour's all stay in Redis."""
    greedy = [f"a{number}" for number in range(50)]
    tell(client, dict.fromkeys(greedy, "a") | {"b": "b"})
    for one in greedy:
        fill(client, one, 10)
    fill(client, "b", 40)
    sweep(client, 300 * ONE)

    kept = [waiting(client, one) for one in greedy]
    assert waiting(client, "b") == 40
    assert 200 <= sum(kept) <= 230
    assert max(kept) - min(kept) <= 1
    assert client.xlen(keys.PARKED) == 500 - sum(kept)


def test_nothing_is_parked_within_the_budget(client: redis.Redis) -> None:
    """It costs a look, and changes nothing."""
    tell(client, {"a": "a", "b": "b"})
    fill(client, "a", 10)
    sweep(client, 11 * ONE)

    assert (waiting(client, "a"), client.xlen(keys.PARKED)) == (10, 0)


def test_what_is_urgent_goes_last_within_a_tenant(client: redis.Redis) -> None:
    """What may wait of all its integrations first; then of the largest what is urgent."""
    tell(client, {"a1": "a", "a2": "a", "b": "b"})
    fill(client, "a1", 40, urgent=True)
    fill(client, "a2", 20, urgent=False)
    fill(client, "b", 30, urgent=False)
    sweep(client, 80 * ONE)

    assert (waiting(client, "a1"), waiting(client, "b")) == (40, 30)
    assert waiting(client, "a2") == 2
    sweep(client, 50 * ONE)
    assert waiting(client, "a2") == 0
    assert 20 <= waiting(client, "a1") < 30


def test_a_damaged_count_costs_its_neighbours_nothing(client: redis.Redis) -> None:
    """Its own events are parked, since their number is unknown, and then it is right again."""
    tell(client, {"a1": "a", "a2": "a", "b": "b"})
    fill(client, "a1", 10)
    fill(client, "a2", 100, urgent=False)
    fill(client, "b", 150, urgent=False)
    client.hset(keys.state_key("a1"), "unclaimed_bytes", 4 * 10**12)
    sweep(client, 300 * ONE)

    assert (waiting(client, "a2"), waiting(client, "b")) == (100, 150)
    assert client.xlen(keys.PARKED) == 10
    assert client.hmget(keys.state_key("a1"), "unclaimed_events", "unclaimed_bytes") == [b"0", b"0"]


def test_the_budget_is_half_of_what_redis_may_take(client: redis.Redis) -> None:
    """Where no other one is set; a change of `maxmemory` is noticed."""
    parking = Parking(client, CAP)
    assert BacklogBudget(client, parking, 0).most() == 2_000_000_000
    client.config_set("maxmemory", 100_000_000)
    try:
        assert BacklogBudget(client, parking, 0).most() == 50_000_000
        assert BacklogBudget(client, parking, 7).most() == 7
    finally:
        client.config_set("maxmemory", 0)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Give an empty ledger."""
    made = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    upgrade_tables(made)
    yield made
    made.dispose()


def test_what_was_parked_comes_back_beside_a_tenant_that_fills_its_share(
    client: redis.Redis, engine: Engine
) -> None:
    """Once there is room in the share of its own tenant, whatever others hold; each event comes back once."""
    tell(client, {"a": "a", "b": "b"})
    fill(client, "a", 100)
    fill(client, "b", 100)
    budget = 100 * ONE
    sweep(client, budget)
    assert (waiting(client, "a"), waiting(client, "b")) == (45, 45)
    outcomes = Outcomes(client, "test", 30)
    outcomes.read(1, 1)
    while len(settled := outcomes.read(1000, 1)):
        record_entries(engine, [], [], settled.parked)
        outcomes.finish(settled)
    left_b = names(client, "b")
    client.delete(keys.urgent("b"))
    client.hset(keys.state_key("b"), mapping={"unclaimed_events": 0, "unclaimed_bytes": 0})

    parking, store = Parking(client, CAP), ParkedStore(engine)
    bounds = BacklogBudget(client, parking, budget)
    quota = WaitingQuota(client, store, 10**9)
    unparker = Unparker(store, parking, bounds, quota, Snapshot(client), LeaderLock(client, "turn", 60))
    while unparker.step():
        sweep(client, budget)
    back = names(client, "b")

    assert waiting(client, "a") + len(back) <= 100
    assert 20 <= len(back) <= 50
    assert not set(back) & set(left_b)
    assert len(set(back)) == len(back)


def test_a_step_asks_once_what_waits_for_all(client: redis.Redis, engine: Engine) -> None:
    """Twice as many parked integrations cost about twice as many commands, and not four times."""
    few = commands_of_a_step(client, engine, 50)
    many = commands_of_a_step(client, engine, 100)

    assert many < 2.5 * few


def commands_of_a_step(client: redis.Redis, engine: Engine, integrations: int) -> int:
    """Bring an event back to each of so many integrations in one step; count what Redis was asked."""
    unparker = with_parked(client, engine, ParkedStore(engine), integrations)
    before = client.info("stats")["total_commands_processed"]
    assert unparker.step() == integrations
    return int(client.info("stats")["total_commands_processed"] - before)


def with_parked(client: redis.Redis, engine: Engine, store: ParkedStore, integrations: int) -> Unparker:
    """Park an event of each of so many integrations; return who brings them back."""
    ids = [f"of-{integrations}-{number}" for number in range(integrations)]
    tell(client, dict.fromkeys(ids, "a"))
    packed = pack_chunk([event("e", SIZE)])
    with writing(engine) as connection:
        keep(connection, {one: ParkedChunk(*(one, True, 1, 1, SIZE, packed)) for one in ids}, 1)
    parking = Parking(client, CAP)
    bounds, quota = BacklogBudget(client, parking, 0), WaitingQuota(client, store, 10**9)
    client.delete("turn")
    return Unparker(store, parking, bounds, quota, Snapshot(client), LeaderLock(client, "turn", 60))


def test_a_step_ends_with_its_turn(
    client: redis.Redis, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once another one has it, that one brings the other pages back."""
    store = ParkedStore(engine)
    unparker = with_parked(client, engine, store, 3)
    oldest = store.oldest

    def while_the_turn_is_lost(integration_id: str, room: BacklogRoom) -> list[tuple[str, ParkedChunk]]:
        client.set("turn", "another")
        return oldest(integration_id, room)

    monkeypatch.setattr(store, "oldest", while_the_turn_is_lost)

    assert unparker.step() == 1
    assert sum(one.events for one in store.counts().values()) == 2


def names(client: redis.Redis, integration_id: str) -> list[str]:
    """Name the events of a backlog."""
    entries = client.xrange(keys.urgent(integration_id)) or []
    return [one.id for _, fields in entries for one in unpack_chunk(fields[b"events"])]  # type: ignore[index, arg-type]  # redis-py


amounts = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.integers(0, 50_000)), min_size=1, max_size=12
)


@given(amounts, st.integers(1, 200_000))
def test_shares_are_fair_and_fit(found: list[tuple[str, int, int]], budget: int) -> None:
    """No tenant with less than an equal part is cut; what is cut has no more than the others of its kind."""
    ones = [UnclaimedEvents(str(place), *one) for place, one in enumerate(found)]
    kept = memory_shares(ones, budget)
    tenants = {one.tenant_id for one in ones}

    assert sum(kept.values()) <= budget
    if total(ones) <= budget:
        assert kept == {one.integration_id: one.memory for one in ones}
    for one in ones:
        of_tenant = sum(other.tenant_id == one.tenant_id for other in ones)
        assert kept[one.integration_id] >= min(one.memory, budget // len(tenants) // of_tenant)


@given(amounts, st.integers(1, 200_000))
def test_room_is_bounded_by_the_share(found: list[tuple[str, int, int]], budget: int) -> None:
    """What comes back leaves the integration within what it may keep."""
    ones = [UnclaimedEvents(str(place), *one) for place, one in enumerate(found)]
    for one in ones:
        room = room_of(one.integration_id, one.tenant_id, ones, budget)
        assert 0 <= room <= budget
        assert room == 0 or one.memory + room <= budget


@given(st.lists(st.integers(0, 1000), min_size=1), st.integers(0, 5000))
def test_a_level_is_the_highest_that_fits(demands: list[int], budget: int) -> None:
    """With one more for each, it would not."""
    level = fair_level(demands, budget)

    assert sum(min(one, level) for one in demands) <= budget
    if sum(demands) > budget:
        assert sum(min(one, level + 1) for one in demands) > budget
