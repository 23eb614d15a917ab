"""A worker that was lost is counted once, and a batch beyond the limit of slots is looked for as well."""

from dataclasses import replace

import redis

from tests.broker.sending import POLICY, append, claim, delivered, failed, ids, subscribe
from worker.broker.backlog import Backlog, Claim
from worker.model.batches import SETTLED, Batch, DeliveryAttempt
from worker.model.deliveries import BreakerSignal, DeliveryResult, Verdict
from worker.model.settlement import settle_results


def test_a_lost_worker_counts_once_however_many_parts_follow(client: redis.Redis, backlog: Backlog) -> None:
    """Five workers died with the batch: each event was carried five times, in every part."""
    subscribe(client, "a")
    append(client, "a", [["e1", "e2", "e3"]])
    batch = claim(backlog, "a").batch
    for _ in range(5):
        batch = _issued_again(client, backlog)
    before = list(batch.request_counts)
    attempt = DeliveryAttempt(batch)
    results = [DeliveryResult(attempt.places, Verdict.ACCEPTED, 5)]
    backlog.settle(batch, settle_results(attempt, results, POLICY))
    again = backlog.claim(batch.order)

    assert isinstance(again, Claim)
    assert before == [5, 5, 5]
    assert list(again.batch.request_counts) == [SETTLED, 5, 5]
    assert again.batch.suspects == 1


def test_a_later_death_still_makes_smaller_parts(client: redis.Redis, backlog: Backlog) -> None:
    """Suspicion outlives the parts that came through, though their losses are counted off."""
    subscribe(client, "a")
    append(client, "a", [[f"e{number}" for number in range(100)]])
    batch = claim(backlog, "a").batch
    for _ in range(3):
        batch = _issued_again(client, backlog)
    attempt = DeliveryAttempt(batch)
    results = [DeliveryResult(attempt.places, Verdict.ACCEPTED, 5)]
    backlog.settle(batch, settle_results(attempt, results, POLICY))
    assert isinstance(backlog.claim(batch.order), Claim)

    assert (batch.suspects, _issued_again(client, backlog).suspects) == (64, 8)


def test_a_batch_above_a_lowered_limit_of_slots_still_probes(client: redis.Redis, backlog: Backlog) -> None:
    """The breaker is open, nothing else waits, and the one batch in hand is in a slot beyond the limit."""
    subscribe(client, "a", batch_events=1)
    append(client, "a", [["e1"], ["e2"]])
    client.hset("siem:state:a", "last_send_ms", 200)
    first = claim(backlog, "a")
    assert first.further is not None
    second = backlog.claim(first.further)
    assert isinstance(second, Claim)
    misconfigured = replace(failed(second.batch), health=BreakerSignal.MISCONFIGURED, cause="token_invalid")
    backlog.settle(first.batch, delivered(first.batch))
    backlog.settle(second.batch, misconfigured)
    subscribe(client, "a", slots=1)

    assert backlog.wake(["a"]) == []
    again = _issued_again(client, backlog, slot=second.batch.order.slot)
    assert (ids(again), again.probing) == (["e2"], True)


def _issued_again(client: redis.Redis, backlog: Backlog, slot: int = 1) -> Batch:
    client.zadd("siem:leases", {f"a/{slot}": 0})
    [(order, _, _)] = backlog.reissue()
    again = backlog.claim(order)
    assert isinstance(again, Claim)
    return again.batch
