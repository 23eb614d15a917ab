"""A full Redis refuses what is new, and lets through what the fleet needs to go on."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from tests.broker.sending import TIMING, append, claim, delivered, event, ids, subscribe
from tests.fleet import wait_until
from worker.broker import keys
from worker.broker.backlog import Backlog, Timing
from worker.broker.heartbeat import Heartbeat, roles_alive
from worker.broker.identity import process_identity
from worker.broker.ingress import Ingress, RoutedChunk, RoutingResult
from worker.broker.locks import LeaderLock
from worker.broker.outcomes import Outcomes
from worker.broker.packing import pack_chunk
from worker.broker.parking import Parking
from worker.broker.sweep import Housekeeping
from worker.model.errors import BrokerFull
from worker.model.parking import BacklogRoom, Cap, ParkedChunk

CHUNKS = [[f"e{number}"] for number in range(8)]
AT_ONCE = Timing(lease=0, order_lease=0, retry_grace=0)


@contextmanager
def full(client: redis.Redis, *, far_beyond: bool = True) -> Iterator[None]:
    """Let Redis be full: so far beyond its limit that no overdraft covers it, or just so."""
    limit = 1 if far_beyond else client.info("memory")["used_memory"] - 50_000
    client.config_set("maxmemory", limit)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


def hand_over(ingress: Ingress) -> None:
    """Hand over to integration `a` what the ingress holds, as one event."""
    done = [arrival.entry_id for arrival in ingress.read(10, 1)]
    ingress.hand_over(RoutingResult([RoutedChunk(["a"], urgent=True, events=[event("late")])], done=done))


def test_what_waits_is_sent_and_recorded(client: redis.Redis) -> None:
    """Claimed, settled, recorded; by the first claim of a lane and the first read of a recorder."""
    subscribe(client, "a", batch_events=1)
    append(client, "a", CHUNKS)
    backlog, outcomes = Backlog(client, TIMING), Outcomes(client, "test", 30)
    with full(client):
        batch = claim(backlog, "a").batch
        backlog.settle(batch, delivered(batch))
        outcomes.read(100, 1)
        settled = outcomes.read(100, 1)
        outcomes.finish(settled)

    assert ids(batch) == ["e0"]
    assert len(settled.outcomes) == 1
    assert client.xlen(keys.OUTCOMES) == 0
    assert client.xpending(keys.OUTCOMES, keys.RECORDER_GROUP)["pending"] == 0
    assert backlog.depth("a") == 7


def test_the_sweeper_goes_on(client: redis.Redis) -> None:
    """It has its lock, issues orders again, and parks."""
    subscribe(client, "a")
    append(client, "a", CHUNKS)
    backlog, housekeeping = Backlog(client, AT_ONCE), Housekeeping(client)
    [order] = backlog.wake(["a"])
    with full(client):
        sweeps = [housekeeping.may_sweep(1), housekeeping.may_sweep(1), Housekeeping(client).may_sweep(1)]
        reissued = backlog.reissue()
        parked = Parking(client, Cap(events=4, size=1000)).park("a")

    assert sweeps == [True, True, False]
    assert reissued == [(order, "ordered", None)]
    assert parked == 4


def test_nobody_seems_dead(client: redis.Redis) -> None:
    """A process gives its signs of life."""
    sign = Heartbeat(client, "router")
    with full(client):
        sign.start()
        wait_until(lambda: roles_alive(client) == {"router"}, "the router gives a sign")
        [key] = client.keys(f"siem:alive:router:{process_identity()}")
        lasts = client.ttl(key)
        sign.stop()

    assert 0 < lasts <= 10
    assert roles_alive(client) == set()


def test_what_was_accepted_is_handed_over_within_bounds(client: redis.Redis) -> None:
    """A little beyond the limit it is, and only once; far beyond it stays where it is, whole."""
    subscribe(client, "a")
    ingress = Ingress(client, "test", 30)
    ingress.read(1, 1)
    client.xadd(keys.EVENTS, {"event": b"{}"})
    with full(client):
        with pytest.raises(BrokerFull):
            hand_over(ingress)
        kept = client.xlen(keys.EVENTS), client.xlen(keys.urgent("a"))
    ingress.read_again()
    client.setrange("ballast", 5_000_000, b"!")
    with full(client, far_beyond=False):
        hand_over(ingress)

    assert kept == (1, 0)
    assert client.xlen(keys.EVENTS) == 0
    assert client.xpending(keys.EVENTS, keys.ROUTER_GROUP)["pending"] == 0
    assert client.xlen(keys.urgent("a")) == 1
    assert client.hget(keys.state_key("a"), "backlog_events") == b"1"


def test_what_rests_in_the_ledger_stays_there(client: redis.Redis) -> None:
    """Neither parked events nor replays come back while Redis is full, and nothing of them is half done."""
    subscribe(client, "a")
    parking, before = Parking(client, Cap(events=4, size=1000)), client.hgetall(keys.state_key("a"))
    page = [
        ("p1", ParkedChunk("a", urgent=True, position=1, events=1, size=10, packed=pack_chunk([event("e0")])))
    ]
    with full(client):
        with pytest.raises(BrokerFull, match="Redis is full"):
            parking.unpark(BacklogRoom(4, 1000, ()), page)
        with pytest.raises(BrokerFull, match="Redis is full"):
            LeaderLock(client, keys.REPLAYER_LOCK, 5).is_mine()

    assert client.hgetall(keys.state_key("a")) == before
    assert client.xlen(keys.urgent("a")) == 0
    assert parking.unpark(BacklogRoom(4, 1000, ()), page)


def test_who_frees_memory_keeps_its_turn_and_its_heartbeat(client: redis.Redis) -> None:
    """Both are small: without them nobody would, or nobody would know of it."""
    sign, turn = Heartbeat(client, "router"), LeaderLock(client, keys.AHEAD_LOCK, 5, when_full=True)
    kept = LeaderLock(client, keys.REPLAYER_LOCK, 5)
    assert kept.is_mine()
    with full(client):
        sign._beat()  # noqa: SLF001 - as its thread does
        assert turn.is_mine()
        assert turn.is_mine()
        assert kept.is_mine()

    assert roles_alive(client) == {"router"}
