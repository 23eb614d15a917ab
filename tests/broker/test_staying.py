"""A worker may keep its slot for what comes next: for all others that is a work order on its way."""

from dataclasses import replace

import pytest
import redis

from tests.broker.sending import append, claim, delivered, failed, ids, subscribe
from worker.broker.backlog import Backlog, Claim
from worker.broker.clocks import redis_now_ms
from worker.model.orders import WorkOrder

#: As `ordering.lua` has it: so soon the sweeper steps in if the worker that stays has ended.
STAY_LEASE_MS = 2000


def stay(client: redis.Redis, backlog: Backlog) -> WorkOrder:
    """Have a worker settle all that waits, and stay; return its order."""
    subscribe(client, "a", window=1)
    # As on a machine that is quick: on a busy one the batch may have taken long.
    for _ in range(100):
        append(client, "a", [["e1"]])
        batch = claim(backlog, "a").batch
        order = backlog.settle(batch, delivered(batch), stay=True)
        if order is not None or int(client.hget("siem:state:a", "last_send_ms") or 0) < 200:
            break
    assert order is not None
    return order


def test_what_comes_is_claimed_without_another_order(client: redis.Redis, backlog: Backlog) -> None:
    """Nobody is given a second order beside the one of the worker that stays."""
    order = stay(client, backlog)

    append(client, "a", [["e2"]])
    assert backlog.wake(["a"]) == []
    found = backlog.claim_next(order, 5.0)

    assert order.stays
    assert isinstance(found, Claim)
    assert ids(found.batch) == ["e2"]


def test_where_nothing_comes_the_slot_is_free_again(client: redis.Redis, backlog: Backlog) -> None:
    """Then the next event has an order as ever."""
    order = stay(client, backlog)

    assert backlog.claim_next(order, 0.001) == "nothing"
    assert client.hget("siem:slot:a:1", "state") == b"ordered"
    assert backlog.claim(order) == "empty"

    append(client, "a", [["e2"]])
    assert ids(claim(backlog, "a").batch) == ["e2"]


def test_the_slot_of_a_worker_that_ended_is_ordered_again_soon(client: redis.Redis, backlog: Backlog) -> None:
    """Sooner than an order that may wait in a queue; the bearer that comes second finds it stale."""
    order = stay(client, backlog)
    append(client, "a", [["e2"]])
    due = client.zscore("siem:leases", "a/1")
    assert due is not None
    assert due <= redis_now_ms(client) + STAY_LEASE_MS

    client.zadd("siem:leases", {"a/1": 1})
    [(again, state, holder)] = backlog.reissue()
    found = backlog.claim(again)

    assert (state, holder) == ("ordered", None)
    assert isinstance(found, Claim)
    assert ids(found.batch) == ["e2"]
    assert backlog.claim(order) == "stale"


def test_what_comes_is_claimed_by_a_redis_that_has_lost_its_scripts(
    client: redis.Redis, backlog: Backlog
) -> None:
    """It has waited for the entry all the same."""
    order = stay(client, backlog)
    append(client, "a", [["e2"]])
    client.script_flush()

    found = backlog.claim_next(order, 5.0)

    assert isinstance(found, Claim)
    assert ids(found.batch) == ["e2"]


def test_who_stays_with_what_was_paused_gives_up_its_slot(client: redis.Redis, backlog: Backlog) -> None:
    """As soon as something comes that may not be sent."""
    order = stay(client, backlog)
    client.hset("siem:state:a", "held", "1")
    assert backlog.claim_next(order, 0.001) == "nothing"
    append(client, "a", [["e2"]])

    assert backlog.claim_next(order, 5.0) == "held"
    assert client.hget("siem:slot:a:1", "state") is None


@pytest.mark.parametrize("state", ["held", "rests_until", "ordered_at"])
def test_nobody_stays_with_what_may_not_be_sent_to(client: redis.Redis, backlog: Backlog, state: str) -> None:
    """Paused, disabled, or at rest; nor beside an order that is on its way."""
    subscribe(client, "a", window=1)
    append(client, "a", [["e1"]])
    batch = claim(backlog, "a").batch
    now = redis_now_ms(client)
    client.hset("siem:state:a", state, {"held": 1, "rests_until": now + 60_000, "ordered_at": now}[state])

    assert backlog.settle(batch, delivered(batch), stay=True) is None


def test_a_worker_stays_beside_batches_of_other_slots(client: redis.Redis, backlog: Backlog) -> None:
    """One that waits for its retry: it gets what comes behind that, at once."""
    for _ in range(100):
        client.flushdb()
        subscribe(client, "a", batch_events=1)
        append(client, "a", [["e1"], ["e2"]])
        first = claim(backlog, "a").batch
        following = backlog.settle(first, failed(first))
        assert following is not None
        second = backlog.claim(following)
        assert isinstance(second, Claim)
        order = backlog.settle(second.batch, delivered(second.batch), stay=True)
        if order is not None or int(client.hget("siem:state:a", "last_send_ms") or 0) < 200:
            break
    assert order is not None

    assert backlog.claim_next(order, 0.001) == "nothing"
    append(client, "a", [["e3"]], urgent=False)
    found = backlog.claim_next(order, 5.0)

    assert isinstance(found, Claim)
    assert ids(found.batch) == ["e3"]


def test_what_another_slot_has_claimed_is_not_waited_for_again(client: redis.Redis, backlog: Backlog) -> None:
    """It stands in its lane while it is being sent: to read it again and again would be a busy loop."""
    order = stay(client, backlog)
    client.hset("siem:state:a", mapping={"window": 4, "ordered_at": 0})
    append(client, "a", [["e2"]])
    [other] = backlog.wake(["a"])
    assert isinstance(backlog.claim(other), Claim)
    before = client.info("commandstats")["cmdstat_xread"]["calls"]

    assert backlog.claim_next(order, 0.3) == "nothing"
    assert client.info("commandstats")["cmdstat_xread"]["calls"] <= before + 3


def test_a_destination_that_takes_its_time_may_get_further_slots(
    client: redis.Redis, backlog: Backlog
) -> None:
    """Nobody stays with it: what comes while it is busy must have an order of its own."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    batch = claim(backlog, "a").batch
    client.hincrby("siem:slot:a:1", "since", -300)
    aged = replace(batch, claimed_ms=batch.claimed_ms - 300)

    assert backlog.settle(aged, delivered(aged), stay=True) is None
