"""The circuit breaker in Redis: when it opens, what it holds, how it probes, and how it closes."""

import time
from dataclasses import replace

import pytest
import redis

from tests.broker.sending import TIMING, append, claim, delivered, failed, ids, subscribe
from tests.logged import fields_of
from worker.broker import keys
from worker.broker.backlog import Backlog, Claim, Timing
from worker.broker.redis_stats import RedisStats
from worker.model.batches import Batch, DeliveryAttempt
from worker.model.breaker import BreakerPolicy
from worker.model.deliveries import BreakerSignal, DeliveryResult, Failure, Settlement, Verdict
from worker.model.failures import FailureCode
from worker.model.log_events import BREAKER_OPENED, BREAKER_REASON_CHANGED
from worker.model.orders import WorkOrder
from worker.model.settlement import RetryPolicy, settle_results

STATE = "siem:state:a"


@pytest.fixture
def backlog(client: redis.Redis) -> Backlog:
    """Give the backlogs of an empty Redis, with a breaker that opens after two failures."""
    return Backlog(client, replace(TIMING, breaker=BreakerPolicy(failures=2)))


def misconfigured(batch: Batch) -> Settlement:
    """Settle a batch that a wrong setting turned away."""
    return replace(failed(batch), health=BreakerSignal.MISCONFIGURED, cause="token_invalid")


def broken(client: redis.Redis, backlog: Backlog) -> Batch:
    """Open the breaker by a batch that a wrong setting turned away, while more waits behind it."""
    subscribe(client, "a", batch_events=1)
    append(client, "a", [["e1"], ["e2"]])
    batch = claim(backlog, "a").batch
    backlog.settle(batch, misconfigured(batch))
    return batch


def due(client: redis.Redis) -> None:
    """Let the moment of the next probe have come."""
    client.hset(STATE, "probe_at", 0)


def probe(backlog: Backlog) -> Batch:
    """Claim the one batch that may try."""
    found = claim(backlog, "a").batch
    assert found.probing
    return found


def test_it_opens_after_failures_in_a_row(client: redis.Redis, backlog: Backlog) -> None:
    """One failure changes nothing, the second opens it: the third batch is not even ordered."""
    subscribe(client, "a", batch_events=1)
    append(client, "a", [["e1"], ["e2"], ["e3"]])
    first = claim(backlog, "a").batch
    order = backlog.settle(first, failed(first))
    assert order is not None
    second = backlog.claim(order)
    assert isinstance(second, Claim)

    assert backlog.settle(second.batch, failed(second.batch)) is None
    assert backlog.wake(["a"]) == []
    assert client.hmget(STATE, "breaker", "opened_by") == [b"open", b"destination_busy"]


def test_the_last_attempt_of_a_batch_gives_the_reason(
    client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure that opens it leaves nothing to retry: log and status tell why all the same."""
    backlog = Backlog(client, replace(TIMING, breaker=BreakerPolicy(failures=1)))
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    batch = claim(backlog, "a").batch
    busy = Failure(FailureCode.DESTINATION_BUSY, "HTTP 503", "wait", 503)
    attempt = DeliveryAttempt(batch)
    attempt.count([0])
    settlement = settle_results(attempt, [DeliveryResult([0], Verdict.RETRY, 5, busy)], RetryPolicy(0, 2.0))
    backlog.settle(batch, settlement)

    hold, backlog_stats = backlog.hold("a"), RedisStats(client).of(["a"])["a"]
    assert hold is not None
    assert backlog_stats.breaker is not None
    assert (hold.cause, backlog_stats.breaker.cause) == ("destination_busy", "destination_busy")
    [told] = fields_of(caplog, BREAKER_OPENED)
    assert (told["integration"], told["slot"], told["reason"]) == ("a", 1, "destination_busy")


def test_a_reason_that_an_earlier_release_left_out_is_unknown(client: redis.Redis, backlog: Backlog) -> None:
    """It is never reported as nothing at all."""
    client.hset(STATE, mapping={"breaker": "open", "opened_by": "", "opened_at": 1, "probe_at": 2})

    hold, backlog_stats = backlog.hold("a"), RedisStats(client).of(["a"])["a"]
    assert hold is not None
    assert backlog_stats.breaker is not None
    assert hold.cause == backlog_stats.breaker.cause == FailureCode.UNKNOWN


def test_while_more_waits_it_opens_before_a_batch_has_to_die(client: redis.Redis) -> None:
    """The third failure of the only batch in hand is enough; with nothing behind it, it has its retries."""
    backlog = Backlog(client, TIMING)
    subscribe(client, "a", "b", batch_events=1)
    append(client, "a", [["e1"], ["e2"]])
    append(client, "b", [["e3"]])
    for name in ("a", "b"):
        batch = claim(backlog, name).batch
        for _ in range(3):
            settlement = failed(batch)
            assert settlement.retry is not None
            backlog.settle(batch, replace(settlement, retry=replace(settlement.retry, seconds=0)))
            again = backlog.claim(batch.order)
            batch = again.batch if isinstance(again, Claim) else batch

    assert client.hget("siem:state:a", "breaker") == b"open"
    assert client.hget("siem:state:b", "breaker") is None


def test_a_success_in_between_starts_the_count_anew(client: redis.Redis, backlog: Backlog) -> None:
    """Failures count only while nothing comes through."""
    subscribe(client, "a", batch_events=1)
    append(client, "a", [["e1"], ["e2"], ["e3"]])
    for settle in (failed, delivered, failed):
        batch = claim(backlog, "a").batch
        backlog.settle(batch, settle(batch))
        client.hdel(STATE, "claimed_at", "ordered_at")
        client.delete("siem:slot:a:1")

    assert client.hget(STATE, "breaker") is None


def test_a_wrong_setting_opens_it_at_once(client: redis.Redis, backlog: Backlog) -> None:
    """Nothing more is claimed; an order that is on its way is turned away, and so is the retry."""
    batch = broken(client, backlog)
    client.hset("siem:slot:a:1", "due", 0)

    assert backlog.wake(["a"]) == []
    assert backlog.claim(batch.order) == "held"
    assert backlog.depth("a") == 2


def test_the_sweeper_issues_no_order_in_vain(client: redis.Redis, backlog: Backlog) -> None:
    """A retry whose time has come stays where it is until the breaker closes."""
    broken(client, backlog)
    client.zadd("siem:leases", {"a/1": 0})

    assert backlog.reissue() == []
    assert (client.zscore("siem:leases", "a/1") or 0) > time.time() * 1000


def test_one_batch_at_a_time_tries_again(client: redis.Redis, backlog: Backlog) -> None:
    """When a probe is due, the batch that was claimed already goes, alone."""
    held = broken(client, backlog)
    due(client)

    found = probe(backlog)

    assert ids(found) == ids(held) == ["e1"]
    assert backlog.wake(["a"]) == []


def test_a_probe_that_fails_doubles_the_interval_up_to_a_bound(client: redis.Redis, backlog: Backlog) -> None:
    """From 15 seconds to five minutes, and each interval strays by a fifth at the most."""
    broken(client, backlog)
    waits = []
    for _ in range(6):
        due(client)
        tried = probe(backlog)
        before = time.time() * 1000
        backlog.settle(tried, misconfigured(tried))
        wait, at = (float(found or 0) for found in client.hmget(STATE, "probe_wait", "probe_at"))
        waits.append(wait)
        assert 0.79 * wait < at - before < 1.21 * wait + 5_000

    assert waits == [30_000, 60_000, 120_000, 240_000, 300_000, 300_000]


def test_only_the_probe_puts_the_next_one_off(client: redis.Redis, backlog: Backlog) -> None:
    """A batch that was under way when the breaker opened fails late: that is no news, and changes nothing."""
    subscribe(client, "a", batch_events=1)
    append(client, "a", [["e1"], ["e2"], ["e3"]])
    first = claim(backlog, "a").batch
    client.hset(STATE, mapping={"claimed_at": 0, "ordered_at": 0})
    late = claim(backlog, "a").batch
    backlog.settle(first, misconfigured(first))
    due(client)
    probe(backlog)
    before = client.hmget(STATE, "probe", "probe_at", "probe_wait", "opened_by")

    backlog.settle(late, failed(late))

    assert client.hmget(STATE, "probe", "probe_at", "probe_wait", "opened_by") == before
    assert backlog.wake(["a"]) == []


def test_a_probe_that_fails_for_another_reason_tells_it(
    client: redis.Redis, backlog: Backlog, caplog: pytest.LogCaptureFixture
) -> None:
    """Splunk was busy and now refuses the token: the one on call must not look for the wrong thing."""
    broken(client, backlog)
    due(client)
    tried = probe(backlog)
    backlog.settle(tried, failed(tried))
    due(client)
    again = probe(backlog)
    backlog.settle(again, failed(again))

    hold, backlog_stats = backlog.hold("a"), RedisStats(client).of(["a"])["a"]
    assert hold is not None
    assert backlog_stats.breaker is not None
    assert (hold.cause, backlog_stats.breaker.cause) == ("destination_busy", "destination_busy")
    told = fields_of(caplog, BREAKER_REASON_CHANGED)
    assert [(one["integration"], one["reason"]) for one in told] == [("a", "destination_busy")]


def test_a_destination_that_names_a_time_is_not_asked_before(client: redis.Redis, backlog: Backlog) -> None:
    """`Retry-After` puts the probe off."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    batch = claim(backlog, "a").batch
    backlog.settle(batch, replace(misconfigured(batch), asked=1000))

    assert float(client.hget(STATE, "probe_at") or 0) > (time.time() + 900) * 1000


def test_a_probe_that_succeeds_closes_it(client: redis.Redis, backlog: Backlog) -> None:
    """Nothing of it is left, and the batch whose retry was put off is due."""
    subscribe(client, "a", batch_events=1)
    append(client, "a", [["e1"], ["e2"], ["e3"]])
    first = claim(backlog, "a").batch
    order = backlog.settle(first, failed(first))
    assert order is not None
    second = backlog.claim(order)
    assert isinstance(second, Claim)
    backlog.settle(second.batch, failed(second.batch))
    due(client)
    tried = probe(backlog)

    backlog.settle(tried, delivered(tried))

    assert client.hmget(STATE, "breaker", "failures", "probe", "probe_at") == [None] * 4
    assert {order.slot for order, _, _ in backlog.reissue()} == {1, 2} - {tried.order.slot}


def test_a_probe_may_come_from_what_nobody_claimed_yet(client: redis.Redis, backlog: Backlog) -> None:
    """With no batch in hand, a new one is claimed for it."""
    held = broken(client, backlog)
    due(client)
    tried = probe(backlog)
    backlog.settle(tried, replace(delivered(tried), health=BreakerSignal.MISCONFIGURED))
    due(client)

    assert ids(held) == ["e1"]
    assert ids(probe(backlog)) == ["e2"]


def test_a_probe_without_anything_to_send_is_none(client: redis.Redis, backlog: Backlog) -> None:
    """What it should have tried with is gone: the next event that comes is tried at once."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    client.hset(STATE, mapping={"breaker": "open", "opened_by": "timed_out", "probe_at": 0})
    [order] = backlog.wake(["a"])
    client.delete(keys.urgent("a"))
    assert backlog.claim(order) == "empty"
    append(client, "a", [["e2"]])

    assert ids(probe(backlog)) == ["e2"]


def test_a_probe_that_dies_with_its_worker_is_made_good(client: redis.Redis, backlog: Backlog) -> None:
    """The sweeper issues its order again, and it is still the probe."""
    broken(client, backlog)
    due(client)
    lost = probe(backlog)
    client.zadd("siem:leases", {f"a/{lost.order.slot}": 0})

    [(order, state, _)] = backlog.reissue()
    again = backlog.claim(order)

    assert state == "sending"
    assert isinstance(again, Claim)
    assert again.batch.probing


def test_a_change_of_the_integration_probes_at_once(client: redis.Redis, backlog: Backlog) -> None:
    """Who has mended the token does not wait for five minutes."""
    broken(client, backlog)
    subscribe(client, "a", batch_events=2)

    assert probe(backlog).order.integration_id == "a"


def test_slots_grow_only_where_they_help(client: redis.Redis, backlog: Backlog) -> None:
    """One more after each batch that took its time, up to the limit; half of them after a failure."""
    subscribe(client, "a", slots=3, window=1, batch_events=1)
    append(client, "a", [[f"e{number}"] for number in range(9)])
    first = claim(backlog, "a").batch
    client.hset("siem:slot:a:1", "since", first.claimed_ms - 1000)
    slow = replace(first, claimed_ms=first.claimed_ms - 1000)
    order = backlog.settle(slow, delivered(slow))

    assert client.hget(STATE, "window") == b"2"
    assert order is not None
    second = backlog.claim(order)
    assert isinstance(second, Claim)
    backlog.settle(second.batch, failed(second.batch))
    assert client.hget(STATE, "window") == b"1"


def test_who_is_quick_stays_with_one_slot(client: redis.Redis, backlog: Backlog) -> None:
    """However much waits: should it begin to hang, it holds one thread and no more."""
    subscribe(client, "a", window=1, batch_events=1)
    append(client, "a", [["e1"], ["e2"]])
    batch = claim(backlog, "a").batch
    backlog.settle(batch, delivered(batch))

    assert client.hget(STATE, "window") == b"1"


def test_a_stale_order_is_no_probe(client: redis.Redis, backlog: Backlog) -> None:
    """Only the slot that was chosen may try."""
    broken(client, backlog)
    due(client)
    [order] = backlog.wake(["a"])

    assert backlog.claim(WorkOrder("a", order.slot + 1, 1)) == "stale"
    assert Timing(60, 30, 5).breaker.failures == 5
