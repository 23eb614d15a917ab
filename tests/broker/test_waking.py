"""A router wakes in the transaction of its hand-over; what cannot be asked there is asked afterwards."""

from typing import Any

import pytest
import redis

from tests.broker.sending import event, subscribe
from tests.broker.test_oom import full
from worker.broker import keys, waking
from worker.broker.backlog import Backlog
from worker.broker.ingress import Ingress, RoutedChunk, RoutingResult
from worker.broker.waking import Wakes
from worker.model.errors import BrokerFull


def handing_over(client: redis.Redis, *ids: str) -> tuple[Ingress, RoutingResult]:
    """Return a router, and what it is to hand over: an event for these integrations."""
    subscribe(client, *ids)
    router = Ingress(client, "router", 30)
    router.read(1, 1)
    client.xadd(keys.EVENTS, {"event": b"e"})
    [entry] = router.read(1, 1)
    chunk = RoutedChunk(list(ids), urgent=True, events=[event("e")])
    return router, RoutingResult([chunk], done=[entry.entry_id])


def hand_over(client: redis.Redis, backlog: Backlog, *ids: str) -> Wakes:
    """Hand an event over to these integrations, which are woken behind it."""
    router, result = handing_over(client, *ids)
    wakes = backlog.wakes(ids)
    assert router.hand_over(result, wakes)
    return wakes


def scripts_run(client: redis.Redis) -> int:
    """Count the scripts that Redis was asked to run by their digests."""
    found: Any = client.info("commandstats")
    return int(found.get("cmdstat_evalsha", {"calls": 0})["calls"])


def woken(wakes: Wakes) -> list[str]:
    """Return of which integrations orders are to be issued."""
    return [order.integration_id for order in wakes.orders()]


def test_a_hand_over_wakes_in_its_transaction(client: redis.Redis, backlog: Backlog) -> None:
    """The order is there without a further round trip."""
    assert not backlog.wake(["a"])  # now Redis has the script
    wakes = hand_over(client, backlog, "a")

    before = scripts_run(client)
    assert woken(wakes) == ["a"]
    assert scripts_run(client) == before
    assert client.hget("siem:slot:a:1", "state") == b"ordered"


def test_a_redis_that_has_lost_its_scripts_is_asked_again(client: redis.Redis, backlog: Backlog) -> None:
    """The hand-over is done, and the wake follows it."""
    client.script_flush()

    assert woken(hand_over(client, backlog, "a")) == ["a"]


def test_a_full_redis_is_asked_afterwards(client: redis.Redis, backlog: Backlog) -> None:
    """It takes no transaction, and no script calls another."""
    assert not backlog.wake(["a"])
    router, result = handing_over(client, "a")
    wakes = backlog.wakes(["a"])
    with full(client, far_beyond=False):
        assert router.hand_over(result, wakes)
        assert woken(wakes) == ["a"]


def test_many_are_woken_apart_from_the_transaction(client: redis.Redis, backlog: Backlog) -> None:
    """It would hold up all other clients; all of them get their orders."""
    ids = [f"a{number}" for number in range(waking.MOST_BEHIND + 1)]

    assert not backlog.wakes(ids).commands()
    assert woken(hand_over(client, backlog, *ids)) == ids


def test_a_damaged_backlog_does_not_hold_up_the_others(client: redis.Redis, backlog: Backlog) -> None:
    """What its wake was answered is logged, and the other has its order."""
    assert not backlog.wake(["a"])
    client.set("siem:slot:a:1", "damage")

    assert woken(hand_over(client, backlog, "a", "b")) == ["b"]


def test_a_count_that_is_damaged_does_not_keep_from_waking(client: redis.Redis, backlog: Backlog) -> None:
    """It begins again, and the replies behind it are not lost."""
    assert not backlog.wake(["a"])
    client.hset("siem:state:a", "backlog_events", "damage")

    wakes = hand_over(client, backlog, "a")

    before = scripts_run(client)
    assert woken(wakes) == ["a"]
    assert scripts_run(client) == before
    assert client.hget("siem:state:a", "backlog_events") == b"1"


def test_what_is_refused_wakes_nobody(client: redis.Redis, backlog: Backlog) -> None:
    """A Redis that is too full takes no hand-over: nothing was appended, and no slot is leased."""
    router, result = handing_over(client, "a")
    with full(client), pytest.raises(BrokerFull):
        router.hand_over(result, backlog.wakes(["a"]))

    assert client.hget("siem:slot:a:1", "state") is None
