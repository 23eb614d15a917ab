"""A batch that workers die of: sent in ever smaller parts until the event that ends them is known."""

import redis

from tests.broker.sending import POLICY, append, claim, ids, subscribe
from worker.broker.backlog import Backlog, Claim
from worker.model.batches import Batch, DeliveryAttempt
from worker.model.deliveries import Cause, DeliveryResult, Verdict
from worker.model.failures import FailureCode
from worker.model.settlement import LOST_ALONE, settle_lost, settle_results

KILLER = "e77"


def lose(client: redis.Redis, backlog: Backlog) -> Batch:
    """Let the worker die: the lease runs out, the sweeper issues the order again, another worker claims."""
    client.zadd("siem:leases", {"a/1": 0})
    [(order, _, _)] = backlog.reissue()
    again = backlog.claim(order)
    assert isinstance(again, Claim)
    return again.batch


def send(batch: Batch) -> list[str]:
    """Name the events that a worker would send now."""
    return [batch.events[place].id for place in DeliveryAttempt(batch).places]


def settle(backlog: Backlog, batch: Batch) -> Batch | None:
    """Deliver what is sent together; return the batch as it is claimed next, if anything is left of it."""
    attempt = DeliveryAttempt(batch)
    results = [DeliveryResult(attempt.places, Verdict.ACCEPTED, 5)]
    backlog.settle(batch, settle_results(attempt, results, POLICY))
    again = backlog.claim(batch.order)
    return again.batch if isinstance(again, Claim) else None


def test_the_third_death_makes_parts_and_each_further_one_smaller_parts(
    client: redis.Redis, backlog: Backlog
) -> None:
    """All twice more, then 64, 8 and 1 together."""
    subscribe(client, "a")
    append(client, "a", [[f"e{number}" for number in range(200)]])
    batch = claim(backlog, "a").batch
    sizes = [len(send(batch))]
    for _ in range(5):
        batch = lose(client, backlog)
        sizes.append(len(send(batch)))

    assert sizes == [200, 200, 200, 64, 8, 1]


def test_the_event_that_ends_workers_is_found_and_the_others_are_delivered(
    client: redis.Redis, backlog: Backlog
) -> None:
    """Every worker that sends it dies; in the end it alone is a dead letter, with a true reason."""
    subscribe(client, "a")
    append(client, "a", [[f"e{number}" for number in range(200)]])
    batch: Batch | None = claim(backlog, "a").batch
    deaths = 0
    while batch is not None and batch.lost_alone < LOST_ALONE:
        if KILLER in send(batch):
            batch, deaths = lose(client, backlog), deaths + 1
        else:
            batch = settle(backlog, batch)
    assert batch is not None
    settlement = settle_lost(batch)
    backlog.settle(batch, settlement)
    rest = backlog.claim(batch.order)
    assert isinstance(rest, Claim)
    assert send(rest.batch) == [f"e{number}" for number in range(78, 200)]
    assert settle(backlog, rest.batch) is None

    [letter] = settlement.dead
    assert ([event.id for event in letter.events], letter.cause) == ([KILLER], Cause.WORKER_LOST.value)
    assert letter.failure.code == FailureCode.WORKER_LOST
    assert deaths == 7
    assert backlog.depth("a") == 0


def test_after_the_culprit_the_rest_is_above_suspicion(client: redis.Redis, backlog: Backlog) -> None:
    """What is left of the batch goes out whole."""
    subscribe(client, "a")
    append(client, "a", [["e77", "e78", "e79"]])
    batch = claim(backlog, "a").batch
    while batch.lost_alone < LOST_ALONE:
        batch = lose(client, backlog)
    backlog.settle(batch, settle_lost(batch))

    rest = backlog.claim(batch.order)

    assert isinstance(rest, Claim)
    assert send(rest.batch) == ["e78", "e79"]
    assert rest.batch.suspects == 0
    assert rest.batch.lost_alone == 0
    assert ids(rest.batch)[0] == "e77"
