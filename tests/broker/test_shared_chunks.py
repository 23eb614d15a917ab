"""What several integrations want stands in Redis once, as long as one of them wants it, and not longer."""

from typing import Any

import pytest
import redis

from tests.broker.damaging import damage_backlog, of_the_size
from tests.broker.sending import TIMING, claim, delivered, event, failed, ids, settle_all, subscribe
from tests.broker.shared import counts_of, references_of, whole_look
from tests.broker.test_backlog_damage import depth_is_nothing, letters
from tests.broker.test_oom import full
from worker.broker import keys, shared_chunks
from worker.broker.backlog import Backlog, Claim
from worker.broker.formats import Format
from worker.broker.hand_over import append
from worker.broker.ingress import Ingress, RoutedChunk, RoutingResult
from worker.broker.outcomes import Outcomes
from worker.broker.packing import unpack_chunk
from worker.broker.parking import Parking
from worker.broker.redis_stats import RedisStats
from worker.broker.shared_chunks import ChunkFindings, ChunkSweep
from worker.model.events import QueuedEvent
from worker.model.parking import BacklogRoom, Cap

ABC = ("a", "b", "c")
LANES = [lane for one in ABC for lane in (keys.urgent(one), keys.bulk(one))]
NOTHING, ONE_COUNT = ChunkFindings(), ChunkFindings(recounted=1)


@pytest.fixture(autouse=True)
def _small_chunks(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let three integrations share the smallest chunks: all processes can read them."""
    monkeypatch.setattr(shared_chunks, "LEAST_SHARED", 1)
    client.set(keys.FORMATS, Format.SHARED_CHUNKS)
    subscribe(client, *ABC)


def share(client: redis.Redis, *names: str, among: tuple[str, ...] = ABC, urgent: bool = True) -> None:
    """Hand one chunk of events over, as a router does."""
    entry: Any = client.xadd(keys.EVENTS, {"event": b"{}"})
    chunk = RoutedChunk(among, urgent, [event(one) for one in names])
    ingress = Ingress(client, "router", 30)
    ingress.read(1, 1)
    assert ingress.hand_over(RoutingResult(routed_chunks=[chunk], done=[entry]))


def is_exact(client: redis.Redis) -> bool:
    """Whether the counts are those of the entries, and events stand there that are counted, and no others."""
    return counts_of(client) == references_of(client, LANES)


def the_chunk(client: redis.Redis) -> str:
    """Return the id of the only one."""
    [one] = counts_of(client)
    return one.decode()


def twice(client: redis.Redis) -> list[ChunkFindings]:
    """Return what two looks set right."""
    sweep = ChunkSweep(client, look_every=0, look_again=0)
    return [whole_look(sweep), whole_look(sweep)]


def test_events_stand_there_once_until_the_last_has_settled_them(
    client: redis.Redis, backlog: Backlog
) -> None:
    """Each gets all of them, whole; the last takes them along."""
    share(client, "e1", "e2")
    share(client, "e3", among=("a", "b"), urgent=False)
    share(client, "e4", among=("c",))

    assert sorted(counts_of(client).values()) == [2, 3]
    assert is_exact(client)
    for one, names in (("a", ["e1", "e2", "e3"]), ("b", ["e1", "e2", "e3"]), ("c", ["e1", "e2", "e4"])):
        batch = claim(backlog, one).batch
        assert [(found.id, found.raw) for found in batch.events] == [(name, b"x" * 10) for name in names]
        assert is_exact(client)
        backlog.settle(batch, delivered(batch))
        assert is_exact(client)
        assert depth_is_nothing(client, one)
    assert not client.exists(keys.CHUNKS)


def test_one_that_is_small_or_wanted_by_one_stands_in_the_backlog(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key of its own costs more than the bytes are worth. Nor is written what others cannot read."""
    share(client, "e1", among=("a",))
    monkeypatch.setattr(shared_chunks, "LEAST_SHARED", 200)
    share(client, "e2")
    monkeypatch.setattr(shared_chunks, "LEAST_SHARED", 1)
    client.delete(keys.FORMATS)
    share(client, "e3")

    assert counts_of(client) == {}
    assert not references_of(client, LANES)
    assert [client.xlen(lane) for lane in LANES] == [3, 0, 2, 0, 2, 0]


def large(client: redis.Redis, names: str, among: tuple[str, ...] = ("a",)) -> list[QueuedEvent]:
    """Hand over a chunk of events that are too large for a script."""
    events = [QueuedEvent(name, "policy.deny", 1, 2, name.encode() * 40_000) for name in names]
    entry: Any = client.xadd(keys.EVENTS, {"event": b"{}"})
    ingress = Ingress(client, "router", 30)
    ingress.read(1, 1)
    assert ingress.hand_over(RoutingResult([RoutedChunk(among, urgent=True, events=events)], done=[entry]))
    return events


@pytest.mark.parametrize("among", [("a",), ABC])
def test_many_bytes_go_past_the_scripts(
    client: redis.Redis, backlog: Backlog, among: tuple[str, ...]
) -> None:
    """For one integration, too, they stand under a key of their own; every claim has them whole."""
    share(client, "e1", among=among)
    events = large(client, "xy", among)
    assert max(counts_of(client).values()) == len(among)
    assert is_exact(client)

    first = claim(backlog, "a").batch
    assert [(one.id, one.raw) for one in first.events[1:]] == [(one.id, one.raw) for one in events]
    backlog.settle(first, failed(first, delivered_places=(0,)))
    client.hset(keys.slot_prefix("a") + "1", "due", 0)
    found = backlog.claim(first.order)
    assert isinstance(found, Claim)
    assert [one.raw for one in found.batch.events[1:]] == [one.raw for one in events]
    backlog.settle(found.batch, delivered(found.batch))

    assert set(counts_of(client).values()) == ({len(among) - 1} if len(among) > 1 else set())
    assert is_exact(client)
    assert depth_is_nothing(client, "a")


@pytest.mark.parametrize("damage", ["missing", "another type", "other bytes"])
def test_many_bytes_that_are_damaged_are_dead_letters(
    client: redis.Redis, backlog: Backlog, damage: str
) -> None:
    """What a claim finds no events for, or others, ends as letters; what else it has goes on."""
    large(client, "xy")
    name = keys.chunk(the_chunk(client))
    if damage == "other bytes":
        client.setrange(name, 200, b"?")
    else:
        client.delete(name)
    if damage == "another type":
        client.hset(name, "x", 1)
    share(client, "e1", among=("a",))

    assert ids(claim(backlog, "a").batch) == ["e1"]
    assert sum(len(one.events) for one in letters(client)) == 2
    assert not client.hexists(keys.CHUNKS, name.removeprefix(keys.CHUNK_PREFIX))


def test_a_retry_and_a_lost_batch_keep_them(client: redis.Redis, backlog: Backlog) -> None:
    """What is claimed again has the same events, and is counted once."""
    share(client, "e1", "e2")
    first = claim(backlog, "a").batch
    backlog.settle(first, failed(first, delivered_places=(0,)))
    assert is_exact(client)
    client.hset(keys.slot_prefix("a") + "1", "due", 0)

    found = backlog.claim(first.order)
    assert isinstance(found, Claim)
    assert ids(found.batch) == ["e1", "e2"]
    late = Backlog(client, TIMING)
    client.zadd(keys.LEASES, {"a/1": 0})
    [(order, _, _)] = late.reissue()
    again = late.claim(order)
    assert isinstance(again, Claim)
    late.settle(again.batch, delivered(again.batch))
    assert sorted(counts_of(client).values()) == [2]
    assert is_exact(client)


def test_what_is_parked_takes_its_bytes_along(client: redis.Redis, backlog: Backlog) -> None:
    """The ledger gets the events themselves, and what comes back holds them: it is shared no more."""
    share(client, "e1", "e2")
    parking = Parking(client, Cap(events=1, size=1))
    assert parking.park("a") == 2
    assert is_exact(client)
    settle_all(backlog, "b")
    settle_all(backlog, "c")
    assert counts_of(client) == {}

    outcomes = Outcomes(client, "test", 30)
    outcomes.read(100, 1)
    page = outcomes.read(100, 1).parked
    assert [one.id for _, chunk in page for one in unpack_chunk(chunk.packed)] == ["e1", "e2"]
    assert parking.unpark(BacklogRoom(10, 1000, ()), page)
    batch = claim(backlog, "a").batch
    assert ids(batch) == ["e1", "e2"]
    backlog.settle(batch, delivered(batch))
    assert depth_is_nothing(client)


def test_a_full_redis_is_relieved(client: redis.Redis, backlog: Backlog) -> None:
    """The last that settles frees the bytes, and the sweep sets counts right."""
    share(client, "e1")
    share(client, "e2", among=("a", "b"))
    client.set(keys.chunk("left"), b"x")
    with full(client):
        for one in ABC:
            settle_all(backlog, one)
        assert twice(client) == [NOTHING, ChunkFindings(removed=1)]
        assert counts_of(client) == {}


def test_a_hand_over_within_the_reserve_shares(client: redis.Redis) -> None:
    """What was accepted goes on a little beyond the limit, in the same form."""
    ingress = Ingress(client, "router", 30)
    ingress.read(1, 1)
    client.xadd(keys.EVENTS, {"event": b"{}"})
    client.setrange("ballast", 5_000_000, b"!")
    with full(client, far_beyond=False):
        done = [one.entry_id for one in ingress.read(1, 1)]
        assert ingress.hand_over(
            RoutingResult([RoutedChunk(ABC, urgent=True, events=[event("e1")])], done=done)
        )
    assert list(counts_of(client).values()) == [3]
    assert is_exact(client)


def test_ten_integrations_take_little_more_memory_than_one(client: redis.Redis) -> None:
    """A waiting event takes less than 0.15 of ten copies, and as much less of what is sent to Redis."""
    many = tuple(f"int_{number:016}" for number in range(10))
    events = [event(f"evt_{number:026}", 720) for number in range(200)]
    sent, taken = [], []
    for shares in (True, False):
        client.flushall()
        subscribe(client, *many)
        before = int(client.info("stats")["total_net_input_bytes"])
        with client.pipeline(transaction=True) as pipeline:
            append(pipeline, [RoutedChunk(many, urgent=False, events=events)], share=shares)
            pipeline.execute()
        sent.append(int(client.info("stats")["total_net_input_bytes"]) - before)
        taken.append(sum(memory(client, name) for name in client.scan_iter("siem:[bc]*")))

    assert taken[0] <= 0.15 * taken[1]
    assert sent[0] <= 0.15 * sent[1]


def memory(client: redis.Redis, name: bytes) -> int:
    """Return how many bytes a key takes with all that stands there."""
    return int(client.memory_usage(name, samples=0) or 0)


def test_health_sees_since_when_they_wait(client: redis.Redis) -> None:
    """The time of the first event is read where it stands."""
    share(client, "e1")
    assert RedisStats(client).of(["b"])["b"].oldest_published_ms == 2_000


def test_events_that_are_gone_become_dead_letters_that_say_so(client: redis.Redis, backlog: Backlog) -> None:
    """Those who want them learn which chunk it was; what else waits is sent."""
    share(client, "e1", "e2")
    gone = the_chunk(client)
    share(client, "e3")
    client.delete(keys.chunk(gone))

    for one in ABC:
        batch = claim(backlog, one).batch
        assert ids(batch) == ["e3"]
        backlog.settle(batch, delivered(batch))
        assert depth_is_nothing(client, one)
    found = letters(client)
    assert [len(letter.events) for letter in found] == [2, 2, 2]
    assert all(f"Redis has no {keys.chunk(gone)}" in letter.failure.message for letter in found)
    assert counts_of(client) == {}


def test_damaged_events_and_a_damaged_entry_stop_nobody_else(client: redis.Redis, backlog: Backlog) -> None:
    """Bytes are lost for all who shared them; an entry only for its own integration."""
    share(client, "e1")
    client.setrange(keys.chunk(the_chunk(client)), 30, b"\xc1\xc1")
    share(client, "e2")
    damage_backlog(client, "b", of_the_size("shared", b"nobody"), places={1})

    for one, names in (("a", ["e2"]), ("c", ["e2"])):
        batch = claim(backlog, one).batch
        assert ids(batch) == names
        backlog.settle(batch, delivered(batch))
    [order] = backlog.wake(["b"])
    assert backlog.claim(order) == "empty"
    assert len(letters(client)) == 4
    # The entry that named another left one too many.
    assert twice(client) == [NOTHING, ChunkFindings(removed=1)]
    assert counts_of(client) == {}


def test_parked_ones_that_are_gone_become_dead_letters(client: redis.Redis) -> None:
    """They have no bytes to take along; the recorder says so."""
    share(client, "e1", "e2")
    client.delete(keys.chunk(the_chunk(client)))
    assert Parking(client, Cap(events=1, size=1)).park("a") == 2

    [letter] = letters(client)
    assert (letter.integration_id, len(letter.events)) == ("a", 2)


@pytest.mark.parametrize("count", ["1", "7", "many", ""])
def test_a_wrong_count_is_set_right(client: redis.Redis, backlog: Backlog, count: str) -> None:
    """Too high, too low, none, no number: the second look that sees it counts again; nothing is lost."""
    share(client, "e1", among=("a", "b"))
    chunk = the_chunk(client)
    client.hset(keys.CHUNKS, chunk, count) if count else client.hdel(keys.CHUNKS, chunk)

    assert twice(client) == [NOTHING, ONE_COUNT]
    assert is_exact(client)
    assert twice(client) == [NOTHING, NOTHING]
    for one in ("a", "b"):
        batch = claim(backlog, one).batch
        assert ids(batch) == ["e1"]
        backlog.settle(batch, delivered(batch))
    assert counts_of(client) == {}


@pytest.mark.parametrize("count", [None, "many"])
def test_a_count_that_is_lost_deletes_nothing(
    client: redis.Redis, backlog: Backlog, count: str | None
) -> None:
    """One settles before a look has found it; the other still gets its events."""
    share(client, "e1", among=("a", "b"))
    chunk = the_chunk(client)
    client.hset(keys.CHUNKS, chunk, count) if count else client.delete(keys.CHUNKS)

    settle_all(backlog, "a")
    assert ids(claim(backlog, "b").batch) == ["e1"]
    assert twice(client) == [NOTHING, ONE_COUNT]
    assert is_exact(client)


def test_what_nobody_refers_to_is_removed_by_the_second_look(client: redis.Redis) -> None:
    """Events without a count or an entry, and a count of nothing."""
    client.set(keys.chunk("left"), b"x")
    client.hset(keys.CHUNKS, "none", 2)
    share(client, "e1")
    sweep = ChunkSweep(client, look_every=0, look_again=0)

    assert whole_look(sweep) == NOTHING
    assert client.exists(keys.chunk("left"))
    assert whole_look(sweep) == ChunkFindings(removed=2)
    assert is_exact(client)
    assert len(counts_of(client)) == 1


def test_missing_events_are_reported_once(client: redis.Redis) -> None:
    """Until they are claimed, each look finds them."""
    share(client, "e1")
    client.delete(keys.chunk(the_chunk(client)))
    sweep = ChunkSweep(client, look_every=0, look_again=0)

    assert [whole_look(sweep).missing for _ in range(5)] == [0, 1, 0, 0, 0]
    assert list(client.hgetall(keys.CHUNKS).values()) == [b"3"]


def test_counts_of_a_wrong_type_are_moved_away_and_made_again(client: redis.Redis, backlog: Backlog) -> None:
    """Who settles meanwhile is not held up."""
    share(client, "e1")
    client.delete(keys.CHUNKS)
    client.set(keys.CHUNKS, "by hand")
    settle_all(backlog, "a")

    assert twice(client) == [NOTHING, ONE_COUNT]
    assert is_exact(client)
    assert client.get(f"{keys.DISPLACED}:{keys.CHUNKS}") == b"by hand"


def test_a_look_is_not_misled_by_what_goes_on(
    client: redis.Redis, backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks come and go between any two of its steps: it takes none of that for damage."""
    sweep = ChunkSweep(client, look_every=0, look_again=0)
    for number in range(12):
        share(client, f"e{number}", among=ABC if number % 2 else ("a", "b"))
    monkeypatch.setattr(shared_chunks, "_TRIPS", 1)
    looks = 0
    for number in range(60):
        assert sweep.step() == NOTHING
        looks += not sweep.is_looking()
        share(client, f"f{number}")
        settle_all(backlog, ABC[number % 3])
    assert looks > 2
    assert is_exact(client)
