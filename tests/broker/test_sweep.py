"""Which batches count as lost with their workers, and which were merely not settled in time."""

import time

import msgspec
import pytest
import redis

from tests.broker.sending import TIMING, append, claim, delivered, failed, subscribe
from tests.fleet import wait_until
from worker.broker import keys
from worker.broker.backlog import Backlog, Claim
from worker.broker.fleet import LASTS, REMEMBERED, ProcessReport
from worker.broker.heartbeat import Heartbeat
from worker.broker.identity import process_identity
from worker.broker.sweep import Reissued, UnsettledReason
from worker.model.batches import Batch

ME = str(process_identity())
SLOT = "siem:slot:a:1"
#: A moment before any claim of a test, and one behind all, in milliseconds.
BEFORE, BEHIND = 1, 1 << 50


@pytest.fixture
def batch(client: redis.Redis, backlog: Backlog) -> Batch:
    """Give a batch that this process has claimed."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    return claim(backlog, "a").batch


def tell(client: redis.Redis, *, connection: int, since_ms: int, age: float) -> None:
    """Let this process have given its latest sign of life so many seconds ago."""
    report = msgspec.json.encode(ProcessReport(connection=connection, since_ms=since_ms))
    client.set(keys.process(ME), report, px=round((REMEMBERED - age) * 1000))


def my_connection(client: redis.Redis) -> int:
    """Return the number of a connection that is open."""
    return int(client.client_id())


def run_out(client: redis.Redis) -> None:
    """Let the lease of the batch be over."""
    client.zadd("siem:leases", {"a/1": 1})


def lease_left(client: redis.Redis) -> float:
    """Return for how many seconds the lease lasts."""
    return (client.zscore("siem:leases", "a/1") or 0) / 1000 - time.time()


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        ((True, BEFORE, 1), (UnsettledReason.NOT_SETTLED, b"1")),
        ((True, BEHIND, 1), (UnsettledReason.NOT_SETTLED, None)),
        ((True, BEFORE, LASTS + 5), (UnsettledReason.WORKER_SILENT, None)),
        ((False, BEFORE, 4), (UnsettledReason.WORKER_ENDED, b"1")),
    ],
    ids=["it hangs", "it was suspended", "it is suspended", "it has ended"],
)
def test_what_became_of_its_worker_decides(
    client: redis.Redis,
    backlog: Backlog,
    batch: Batch,
    seen: tuple[bool, int, float],
    found: tuple[UnsettledReason, bytes | None],
) -> None:
    """The batch is sent again in any case; only a worker that ended, or hangs, makes it suspect."""
    (is_connected, since_ms, age), (fault, losses) = seen, found
    connection = my_connection(client) if is_connected else BEHIND
    tell(client, connection=connection, since_ms=since_ms, age=age)
    run_out(client)

    [(order, state, holder)] = backlog.reissue()

    assert (order.slot, order.epoch, state) == (1, batch.order.epoch + 1, "sending")
    assert holder is not None
    assert (holder.process, holder.fault) == (process_identity(), fault)
    assert client.hget(SLOT, "losses") == losses
    again = backlog.claim(order)
    assert isinstance(again, Claim)
    assert list(again.batch.request_counts) == [1]  # it has probably been sent


def test_a_worker_that_has_just_lost_its_connection_is_waited_for(
    client: redis.Redis, backlog: Backlog, batch: Batch
) -> None:
    """It may be back with the next sign of life; if it is not, it has ended."""
    tell(client, connection=BEHIND, since_ms=BEFORE, age=1)
    run_out(client)
    assert backlog.reissue() == []
    assert client.hget(SLOT, "state") == b"sending"

    tell(client, connection=BEHIND, since_ms=BEFORE, age=4)
    [(order, _, holder)] = backlog.reissue()
    assert order.epoch == batch.order.epoch + 1
    assert holder is not None
    assert holder.fault is UnsettledReason.WORKER_ENDED


def test_a_claim_of_an_earlier_release_counts_as_there(
    client: redis.Redis, backlog: Backlog, batch: Batch
) -> None:
    """It leaves the name of the process that had claimed the slot before; that process is not asked for."""
    tell(client, connection=my_connection(client), since_ms=BEHIND, age=1)
    client.hset(SLOT, "since", batch.claimed_ms + 1)
    run_out(client)

    [(_, _, holder)] = backlog.reissue()

    assert holder is not None
    assert (holder.process, holder.fault) == (None, UnsettledReason.WORKER_ENDED)
    assert client.hget(SLOT, "losses") == b"1"


def test_a_slot_that_an_earlier_release_freed_tells_nothing_of_the_next_batch(
    client: redis.Redis, backlog: Backlog
) -> None:
    """It does not know of doubtful claims, and leaves their number; the next batch was never sent."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    client.hset(SLOT, "doubtful", 2)

    assert list(claim(backlog, "a").batch.request_counts) == [0]
    assert client.hget(SLOT, "doubtful") is None


def test_a_beating_process_that_hangs_is_found_out(
    client: redis.Redis, backlog: Backlog, batch: Batch
) -> None:
    """Signs of life are no excuse for a batch that never ends."""
    sign = Heartbeat(client, "worker-splunk_hec")
    sign.start()
    try:
        given = wait_until(lambda: client.get(keys.process(ME)), "it gives a sign of life")
        tell_before = msgspec.json.decode(given, type=ProcessReport)
        client.hset(SLOT, "since", tell_before.since_ms + 1)
        client.hset(SLOT, "holder", f"{tell_before.since_ms + 1} {ME}")
        run_out(client)
        [(order, _, holder)] = backlog.reissue()
    finally:
        sign.stop()

    assert order.epoch == batch.order.epoch + 1
    assert holder is not None
    assert holder.fault is UnsettledReason.NOT_SETTLED
    assert client.hget(SLOT, "losses") == b"1"


@pytest.mark.parametrize("swept_ago", [3600, -3600], ids=["suspended, or ahead", "back"])
def test_the_time_of_a_suspension_is_not_charged(
    client: redis.Redis, backlog: Backlog, batch: Batch, swept_ago: int
) -> None:
    """Redis, sweeper or host stood still for an hour, or the clock leapt: the batch has what it had left."""
    now_ms = round(time.time() * 1000)
    client.set("siem:swept", now_ms - swept_ago * 1000)
    client.zadd("siem:leases", {"a/1": now_ms - swept_ago * 1000 + 40_000})

    assert backlog.reissue() == []
    assert 20 < lease_left(client) <= 41
    assert backlog.settle(batch, delivered(batch)) is None


def test_a_lease_is_not_lengthened_without_end(client: redis.Redis, backlog: Backlog, batch: Batch) -> None:
    """Sweeps that are slow for good hold up no batch for ever; the next claim has its own right."""

    def sweep_after_a_gap() -> list[Reissued]:
        client.set("siem:swept", 1)
        client.zadd("siem:leases", {"a/1": 40_000})
        return backlog.reissue()

    assert [sweep_after_a_gap() for _ in range(8)] == [[]] * 8
    [(order, _, _)] = sweep_after_a_gap()
    assert order.epoch == batch.order.epoch + 1
    assert isinstance(backlog.claim(order), Claim)
    assert sweep_after_a_gap() == []


def test_short_pauses_between_sweeps_change_nothing(
    client: redis.Redis, backlog: Backlog, batch: Batch
) -> None:
    """A sweep is late now and then; and what is not being sent has no lease to lengthen."""
    backlog.settle(batch, failed(batch))
    client.set("siem:swept", 1)
    run_out(client)
    [(_, state, holder)] = backlog.reissue()
    assert (state, holder) == ("waiting", None)

    client.set("siem:swept", round(time.time() * 1000) - 5_000)
    client.hset(SLOT, "state", "sending")
    run_out(client)
    assert [one.state for one in backlog.reissue()] == ["sending"]


def test_an_order_that_nobody_takes_is_issued_ever_more_rarely(client: redis.Redis, backlog: Backlog) -> None:
    """A queue that is long must not be filled with its own orders: each lease is twice the last, up to 32."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    [order] = backlog.wake(["a"])
    leases = []
    for _ in range(8):
        run_out(client)
        assert backlog.reissue() == [(order, "ordered", None)]
        leases.append(round(lease_left(client) / TIMING.order_lease))

    assert leases == [1, 2, 4, 8, 16, 32, 32, 32]
    assert isinstance(backlog.claim(order), Claim)


def test_a_claim_lets_the_next_order_be_issued_at_once_again(client: redis.Redis, backlog: Backlog) -> None:
    """The intervals are those of one order, not of a slot."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    [order] = backlog.wake(["a"])
    for _ in range(3):
        run_out(client)
        backlog.reissue()
    found = backlog.claim(order)
    assert isinstance(found, Claim)
    backlog.settle(found.batch, failed(found.batch))
    run_out(client)
    backlog.reissue()

    assert 0 < lease_left(client) <= TIMING.order_lease


def test_a_free_slot_keeps_no_lease(client: redis.Redis, backlog: Backlog) -> None:
    """One that damage has left behind is not looked at again."""
    client.zadd(keys.LEASES, {"a/1": 1})

    assert backlog.reissue() == []
    assert client.zcard(keys.LEASES) == 0
