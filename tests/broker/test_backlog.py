"""A backlog never loses an event, never hands one to two slots, and knows who may settle what."""

from typing import Any

import pytest
import redis

from tests.broker.sending import append, claim, delivered, failed, ids, subscribe
from worker.broker.backlog import Backlog, Claim, Timing
from worker.broker.clocks import redis_now_ms
from worker.broker.packing import unpack_dead, unpack_outcomes
from worker.model.batches import DeliveryAttempt
from worker.model.errors import LeaseLost
from worker.model.orders import WorkOrder

#: As `slots.lua` has it: within this time a slot will soon be back.
SOON_MS = 50
#: And within this one an order that was issued will come.
ON_ITS_WAY_MS = 1000


def test_what_is_appended_is_claimed_once_and_gone_when_settled(
    client: redis.Redis, backlog: Backlog
) -> None:
    """A batch is handed to one slot, and its entries vanish once it is settled."""
    subscribe(client, "a")
    append(client, "a", [["e1", "e2"], ["e3"]])

    batch = claim(backlog, "a").batch

    assert ids(batch) == ["e1", "e2", "e3"]
    assert backlog.wake(["a"]) == []
    assert backlog.settle(batch, delivered(batch)) is None
    assert client.xlen("siem:backlog:a:urgent") == 0
    assert backlog.depth("a") == 0


def test_nothing_is_woken_without_work(backlog: Backlog) -> None:
    """An empty backlog leases no slot."""
    assert backlog.wake(["a", "b"]) == []


def test_a_batch_stays_within_the_limit_of_events(client: redis.Redis, backlog: Backlog) -> None:
    """Chunks are taken as long as they fit; the rest is for the next batch."""
    subscribe(client, "a", batch_events=3)
    append(client, "a", [["e1", "e2"], ["e3"], ["e4", "e5"], ["e6"]])

    first = claim(backlog, "a").batch
    order = backlog.settle(first, delivered(first))
    assert order is not None
    second = backlog.claim(order)

    assert ids(first) == ["e1", "e2", "e3"]
    assert isinstance(second, Claim)
    assert ids(second.batch) == ["e4", "e5", "e6"]


def test_a_quick_destination_keeps_to_one_slot(client: redis.Redis, backlog: Backlog) -> None:
    """While a slot will soon be back, no further one is leased, however much waits."""
    for name in map("a{}".format, range(100)):
        subscribe(client, name, batch_events=1)
        append(client, name, [["e1"], ["e2"], ["e3"]])
        found = claim(backlog, name)
        woken = backlog.wake([name])
        assert found.further is None
        # On a busy machine more than that may pass between two commands: then it is none that is quick.
        if redis_now_ms(client) - found.batch.claimed_ms < SOON_MS:
            assert woken == []
            return
    raise AssertionError("this machine never took less than 50 ms for three commands")


def test_a_slow_destination_gets_further_slots(client: redis.Redis, backlog: Backlog) -> None:
    """Once a batch took its time and a whole one waits, it goes out beside the first."""
    subscribe(client, "a", batch_events=2)
    append(client, "a", [["e1", "e2"], ["e3", "e4"]])
    client.hset("siem:state:a", "last_send_ms", 200)

    first = claim(backlog, "a")
    assert first.further is not None
    second = backlog.claim(first.further)

    assert isinstance(second, Claim)
    assert ids(second.batch) == ["e3", "e4"]


def test_an_order_says_whether_its_destination_is_slow(client: redis.Redis, backlog: Backlog) -> None:
    """As its last batch went: orders of others may pass those of a slow one."""
    for name, took_ms in (("quick", 999), ("slow", 1000), ("new", 0)):
        subscribe(client, name)
        append(client, name, [["e1"]])
        client.hset(f"siem:state:{name}", "last_send_ms", took_ms)

    woken = {order.integration_id: order.slow for order in backlog.wake(["quick", "slow", "new"])}

    assert woken == {"quick": False, "slow": True, "new": False}


def test_a_slot_that_takes_long_holds_nobody_up(client: redis.Redis, backlog: Backlog) -> None:
    """What arrives while a request hangs is leased to another slot."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    claim(backlog, "a")
    append(client, "a", [["e2"]])
    client.hincrby("siem:state:a", "claimed_at", -1_000)

    assert ids(claim(backlog, "a").batch) == ["e2"]


def test_a_failed_batch_does_not_keep_the_others_waiting(client: redis.Redis, backlog: Backlog) -> None:
    """While one batch waits for its retry, another slot takes what came after it."""
    subscribe(client, "a", batch_events=1)
    append(client, "a", [["e1"], ["e2"]])
    first = claim(backlog, "a").batch

    order = backlog.settle(first, failed(first))

    assert order is not None
    assert order.slot != first.order.slot
    second = backlog.claim(order)
    assert isinstance(second, Claim)
    assert ids(second.batch) == ["e2"]


def test_a_chunk_larger_than_the_limit_is_still_claimed(client: redis.Redis, backlog: Backlog) -> None:
    """Limits that were lowered meanwhile do not block a backlog: the sender splits."""
    subscribe(client, "a", batch_events=1)
    append(client, "a", [["e1", "e2", "e3"]])

    assert ids(claim(backlog, "a").batch) == ["e1", "e2", "e3"]


def test_urgent_events_overtake_the_bulk_lane(client: redis.Redis, backlog: Backlog) -> None:
    """A denial never waits behind a mass of permissions."""
    subscribe(client, "a", batch_events=2)
    append(client, "a", [["b1", "b2"], ["b3", "b4"]], urgent=False)
    append(client, "a", [["u1", "u2"]])

    assert ids(claim(backlog, "a").batch) == ["u1", "u2"]


def test_the_bulk_lane_is_not_starved(client: redis.Redis, backlog: Backlog) -> None:
    """However much is urgent, every eighth batch begins with the bulk lane."""
    subscribe(client, "a", batch_events=1)
    append(client, "a", [[f"u{number}"] for number in range(20)])
    append(client, "a", [["b1"]], urgent=False)

    seen = []
    for _ in range(8):
        batch = claim(backlog, "a").batch
        seen += ids(batch)
        backlog.settle(batch, delivered(batch))
        _free_all(client, "a")

    assert "b1" in seen


def test_the_same_order_twice_is_carried_out_once(client: redis.Redis, backlog: Backlog) -> None:
    """Celery delivers a message twice after a reconnect; the second bearer finds it stale."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    [order] = backlog.wake(["a"])
    first = backlog.claim(order)

    assert backlog.claim(order) == "stale"
    assert isinstance(first, Claim)
    backlog.settle(first.batch, delivered(first.batch))
    assert backlog.claim(order) == "stale"


def test_an_order_that_was_replaced_is_stale(client: redis.Redis, backlog: Backlog) -> None:
    """Its slot was ordered again when its worker was given up: only the new order has the batch."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    batch = claim(backlog, "a").batch
    _let_leases_run_out(client)
    [(order, _, _)] = backlog.reissue()

    assert backlog.claim(batch.order) == "stale"
    assert isinstance(backlog.claim(order), Claim)


def test_an_order_that_nobody_issued_is_stale(backlog: Backlog) -> None:
    """A forged order gains nothing."""
    assert backlog.claim(WorkOrder("a", 1, 1)) == "stale"
    assert backlog.claim(WorkOrder("no such", 99, 5)) == "stale"


def test_more_work_leads_to_the_next_order_for_the_same_slot(client: redis.Redis, backlog: Backlog) -> None:
    """A settle that leaves work behind leases its slot again, with a new epoch."""
    subscribe(client, "a", slots=1, batch_events=1)
    append(client, "a", [["e1"], ["e2"]])
    batch = claim(backlog, "a").batch

    following = backlog.settle(batch, delivered(batch))

    assert following == WorkOrder("a", batch.order.slot, batch.order.epoch + 1)
    again = backlog.claim(following)
    assert isinstance(again, Claim)
    assert ids(again.batch) == ["e2"]


def test_one_order_at_a_time_is_on_its_way(client: redis.Redis, backlog: Backlog) -> None:
    """What is appended while an order is on its way is claimed by that order: batches grow under load."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    [order] = backlog.wake(["a"])
    append(client, "a", [["e2"]])

    assert backlog.wake(["a"]) == []
    found = backlog.claim(order)
    assert isinstance(found, Claim)
    assert ids(found.batch) == ["e1", "e2"]


def test_an_order_that_does_not_arrive_holds_nobody_up(client: redis.Redis, backlog: Backlog) -> None:
    """After a second another slot is leased, should the first order be lost."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    [lost] = backlog.wake(["a"])
    client.hincrby("siem:state:a", "ordered_at", -1_000)

    [order] = backlog.wake(["a"])

    assert order.slot != lost.slot


def test_a_retry_keeps_its_claim_less_what_is_through(client: redis.Redis, backlog: Backlog) -> None:
    """What was delivered in a failed attempt is settled at once and not sent again."""
    subscribe(client, "a")
    append(client, "a", [["e1", "e2", "e3"]])
    batch = claim(backlog, "a").batch

    backlog.settle(batch, failed(batch, delivered_places=(0,)))
    _make_due(client, "a", batch.order.slot)
    again = backlog.claim(batch.order)

    assert isinstance(again, Claim)
    assert DeliveryAttempt(again.batch).places == [1, 2]
    assert list(again.batch.request_counts) == [255, 1, 1]
    assert again.batch.attempts == 1
    assert backlog.depth("a") == 2


def test_a_retry_that_is_not_due_is_left_alone(client: redis.Redis, backlog: Backlog) -> None:
    """A duplicate of the first order cannot shorten the backoff."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    batch = claim(backlog, "a").batch
    backlog.settle(batch, failed(batch))

    assert backlog.claim(batch.order) == "early"


def test_a_lost_worker_s_batch_is_issued_again_and_its_late_settle_refused(client: redis.Redis) -> None:
    """Once the lease ran out the batch belongs to the next bearer; the first one can write nothing."""
    backlog = Backlog(client, Timing(lease=0.001, order_lease=30, retry_grace=5))
    subscribe(client, "a")
    append(client, "a", [["e1", "e2"]])
    lost = claim(backlog, "a").batch
    _let_leases_run_out(client)

    [(order, state, _)] = backlog.reissue()
    again = backlog.claim(order)

    assert state == "sending"
    assert order.epoch == lost.order.epoch + 1
    assert isinstance(again, Claim)
    assert ids(again.batch) == ["e1", "e2"]
    assert list(again.batch.request_counts) == [1, 1]
    with pytest.raises(LeaseLost):
        backlog.settle(lost, delivered(lost))
    assert client.xlen("siem:outcomes") == 0
    backlog.settle(again.batch, delivered(again.batch))
    assert client.xlen("siem:backlog:a:urgent") == 0


def test_a_settle_that_is_repeated_cannot_end_the_next_claim(client: redis.Redis, backlog: Backlog) -> None:
    """A retry keeps its epoch: a worker that settles again, because the reply was lost, is refused."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    first = claim(backlog, "a").batch
    settlement = failed(first)
    backlog.settle(first, settlement)
    _make_due(client, "a", first.order.slot)
    _let_time_pass(client)
    second = backlog.claim(first.order)
    assert isinstance(second, Claim)

    with pytest.raises(LeaseLost):
        backlog.settle(first, settlement)
    backlog.settle(second.batch, delivered(second.batch))


def test_an_order_that_waited_long_stays_good(client: redis.Redis, backlog: Backlog) -> None:
    """Issuing an order again does not spoil the copy that is still in a long queue."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    [order] = backlog.wake(["a"])
    _let_leases_run_out(client)

    assert backlog.reissue() == [(order, "ordered", None)]
    assert isinstance(backlog.claim(order), Claim)


def test_a_retry_whose_order_was_lost_is_issued_again(client: redis.Redis, backlog: Backlog) -> None:
    """Celery may lose the retry; its slot is found by the time at which it was due."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    batch = claim(backlog, "a").batch
    backlog.settle(batch, failed(batch))
    _let_leases_run_out(client)

    assert backlog.reissue() == [(batch.order, "waiting", None)]
    assert isinstance(backlog.claim(batch.order), Claim)


def test_what_is_disabled_is_held(client: redis.Redis, backlog: Backlog) -> None:
    """An integration that was disabled keeps its backlog, and an order on its way claims nothing."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    [order] = backlog.wake(["a"])
    subscribe(client, "a", enabled=False)

    assert backlog.claim(order) == "held"
    assert backlog.wake(["a"]) == []
    assert backlog.depth("a") == 1
    subscribe(client, "a", revision=2)
    assert ids(claim(backlog, "a").batch) == ["e1"]


def test_settling_writes_outcomes_and_dead_letters_together(client: redis.Redis, backlog: Backlog) -> None:
    """The fourth failure makes dead letters, with payload, in the same step that ends the claim."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    batch = claim(backlog, "a").batch
    order = batch.order
    for _ in range(3):
        assert backlog.settle(batch, failed(batch)) is None
        _make_due(client, "a", order.slot)
        again = backlog.claim(order)
        assert isinstance(again, Claim)
        batch = again.batch
    backlog.settle(batch, failed(batch))

    [(_, fields)] = _entries(client, "siem:dead-letters")
    dead = unpack_dead(fields[b"dead"])
    statuses = [
        outcome.status
        for _, entry in _entries(client, "siem:outcomes")
        for outcome in unpack_outcomes(entry[b"outcomes"])
    ]
    assert statuses == ["retrying", "retrying", "retrying", "dead"]
    assert (dead.cause, dead.attempts, dead.events[0].raw) == ("exhausted", [4], b"x" * 10)
    assert client.xlen("siem:backlog:a:urgent") == 0
    assert backlog.depth("a") == 0


def test_a_backlog_whose_groups_were_lost_goes_on(client: redis.Redis, backlog: Backlog) -> None:
    """Groups are made when they are missing, as after a restore from elsewhere."""
    subscribe(client, "a")
    append(client, "a", [["e1"], ["e2"]])
    claim(backlog, "a")
    client.xgroup_destroy("siem:backlog:a:urgent", "delivery")
    _free_all(client, "a")

    assert ids(claim(backlog, "a").batch) == ["e1", "e2"]


def _make_due(client: redis.Redis, integration_id: str, slot: int) -> None:
    client.hset(f"siem:slot:{integration_id}:{slot}", "due", 0)


def _let_time_pass(client: redis.Redis) -> None:
    """Wait until the clock of Redis shows another millisecond."""
    before: Any = client.time()
    now: Any = before
    while (now[0], now[1] // 1000) == (before[0], before[1] // 1000):
        now = client.time()


def _let_leases_run_out(client: redis.Redis) -> None:
    members: Any = client.zrange("siem:leases", 0, -1)
    client.zadd("siem:leases", dict.fromkeys(members, 0))


def _free_all(client: redis.Redis, integration_id: str) -> None:
    client.hdel(f"siem:state:{integration_id}", "ordered_at", "claimed_at")
    for slot in range(1, 5):
        client.delete(f"siem:slot:{integration_id}:{slot}")
    client.delete("siem:leases")


def _entries(client: redis.Redis, stream: str) -> Any:
    """Read a whole stream (redis-py's types allow for clients that are none of ours)."""
    return client.xrange(stream)


def test_a_worker_that_is_there_takes_what_is_worth_a_batch(client: redis.Redis, backlog: Backlog) -> None:
    """Although an order for another slot is on its way: its task would else end, and another begin soon."""
    taken: dict[int, bool] = {}
    while len(taken) < 2:
        for waiting in (99, 100):
            client.flushdb()
            subscribe(client, "a")
            append(client, "a", [["e1"]])
            batch = claim(backlog, "a").batch
            append(client, "a", [[f"e{number}" for number in range(waiting)]])
            now = redis_now_ms(client)
            client.hset("siem:state:a", "ordered_at", now)
            found = backlog.settle(batch, delivered(batch))
            # On a busy machine a second may pass between two commands: then that order is lost.
            if redis_now_ms(client) - now < ON_ITS_WAY_MS:
                taken[waiting] = found is not None

    assert taken == {99: False, 100: True}
