"""A task stays with its integration while events trickle in, and no longer than its thread is not needed."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from tests.broker.sending import TIMING, append, subscribe
from worker.broker.backlog import Backlog, Claim
from worker.integrations.integration import Integration, parse_integration
from worker.model.batches import DeliveryAttempt
from worker.model.deliveries import DeliveryResult, Verdict
from worker.model.events import QueuedEvent
from worker.model.orders import WorkOrder
from worker.pipeline import delivery, staying
from worker.pipeline.delivery import DeliveryWorker, Timeouts
from worker.pipeline.thread_shares import TenantOrder, ThreadShares


class Taking:
    """A sender whose destination takes everything; remembers the batches."""

    def __init__(self) -> None:
        """Begin with none."""
        self.batches: list[list[str]] = []

    def send(self, attempt: DeliveryAttempt, deadline: float) -> Sequence[DeliveryResult]:  # noqa: ARG002 - a protocol's
        """Take the events."""
        self.batches.append([event.id for event in attempt.batch.events])
        return [DeliveryResult(attempt.open_places(), Verdict.ACCEPTED, 1)]

    def preview(self, events: Sequence[QueuedEvent]) -> bytes:
        """Show nothing."""
        raise NotImplementedError(events)

    def close(self, *, notice: float = 0.0) -> None:
        """Do nothing."""


class Trickle(Backlog):
    """A backlog into which one event more comes each time that a worker waits for one."""

    def __init__(self, client: redis.Redis, act: Callable[[int], Any]) -> None:
        """Call `act` with the number of each wait before it begins."""
        super().__init__(client, TIMING)
        self.waits = 0
        self._act = act

    def claim_next(self, order: WorkOrder, seconds: float) -> Claim | str:
        """Have the next event come, then wait as ever."""
        self.waits += 1
        self._act(self.waits)
        return super().claim_next(order, seconds)


@pytest.fixture(autouse=True)
def _is_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stay for as long as a machine may be busy, and end by what the test does."""
    monkeypatch.setattr(staying, "STAY", 600.0)
    monkeypatch.setattr(staying, "LONGEST_STAY", 600.0)


def worker_of(
    backlog: Backlog, sender: Taking, orders: list[WorkOrder], may_stay: Callable[[], bool]
) -> DeliveryWorker:
    """Make a worker that delivers to this sender, and notes the orders that it issues."""

    def opened(_document: bytes) -> tuple[Integration, Taking]:
        own = {"id": "a", "name": "a", "destination": {"type": "webhook", "url": "https://one.example"}}
        return parse_integration(own), sender

    def issue(order: WorkOrder, _kind: str) -> None:
        orders.append(order)

    return DeliveryWorker(backlog, opened, issue, "splunk_hec", Timeouts(45, 60, 2), may_stay=may_stay)


def run(
    client: redis.Redis, chunks: int, may_stay: Callable[[], bool] = lambda: True, size: int = 1
) -> list[list[str]]:
    """Have a task deliver a chunk of that size, and then so many more that come while it waits.

    Returns its batches.
    """
    sender, orders, needed = Taking(), list[WorkOrder](), list[str]()

    def act(number: int) -> None:
        if number <= chunks:
            append(client, "a", [[f"e{number + 1}"] * size])
        else:
            needed.append("the thread")

    backlog = Trickle(client, act)
    subscribe(client, "a", window=1)
    append(client, "a", [["e1"] * size])
    worker = worker_of(backlog, sender, orders, lambda: may_stay() and not needed)
    for _ in range(100):
        for order in backlog.wake(["a"]):
            worker.deliver(order)
        if len(sender.batches) > chunks or not may_stay():
            break
        # This machine was so busy that a batch took 200 ms: nobody stays with a destination that is slow.
        append(client, "a", [["again"] * size])
        sender.batches.clear()
        backlog.waits = 0
        needed.clear()

    assert not orders
    assert client.exists("siem:slot:a:1") == client.hexists("siem:slot:a:1", "epoch")
    assert client.hget("siem:slot:a:1", "state") is None
    return sender.batches


def test_what_trickles_in_is_delivered_by_one_order(client: redis.Redis) -> None:
    """The task waits for each event, and issues no order; when it ends, its slot is free."""
    assert [len(batch) for batch in run(client, 5)] == [1] * 6


def test_a_task_stays_behind_a_full_batch(client: redis.Redis) -> None:
    """Whatever its size: what comes next would else need an order through Celery."""
    assert [len(batch) for batch in run(client, 3, size=300)] == [300] * 4


@pytest.mark.parametrize(
    ("is_free", "longest", "batches"), [(True, 600.0, 3), (False, 600.0, 1), (True, 0.0, 1)]
)
def test_a_task_goes_on_longer_while_its_thread_is_not_needed(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, *, is_free: bool, longest: float, batches: int
) -> None:
    """Behind its own share of time it issues an order if others need the thread, or might have the work."""
    monkeypatch.setattr(delivery, "CARRY_ON", 0.0)
    monkeypatch.setattr(staying, "CARRY_ON_WITH_PLENTY", longest)
    sender, orders, backlog = Taking(), list[WorkOrder](), Backlog(client, TIMING)
    subscribe(client, "a", window=1, batch_events=1)
    append(client, "a", [["e1"], ["e2"], ["e3"]])
    worker = worker_of(backlog, sender, orders, lambda: is_free and len(sender.batches) < batches)

    for order in backlog.wake(["a"]):
        worker.deliver(order)

    assert [sender.batches, len(orders)] == [[["e1"], ["e2"], ["e3"]][:batches], batches < 3]


def test_a_task_does_not_stay_where_its_thread_is_needed(client: redis.Redis) -> None:
    """It ends as ever, and what comes has an order of its own."""
    assert run(client, 5, lambda: False) == [["e1"]]


def test_half_of_the_threads_are_free_for_others() -> None:
    """Tasks stay while that holds, no order waits for a thread, and the process is not to end."""
    shares = ThreadShares(4)
    orders = [TenantOrder(WorkOrder(f"a{number}", 1, 1), "webhook", f"t{number}") for number in range(4)]
    seen = []
    for one in orders[:3]:
        shares.take(one)
        seen.append(shares.has_plenty())
    shares.give_back(orders[0])
    seen.append(shares.has_plenty())
    shares.close()

    assert [*seen, shares.has_plenty()] == [True, True, False, True, False]


def test_none_waits_where_an_order_does() -> None:
    """A tenant that has its share of the threads has them back from its own tasks that only wait."""
    shares = ThreadShares(2)
    first, second = (TenantOrder(WorkOrder(name, 1, 1), "webhook", "t") for name in "ab")
    assert shares.take(first)
    while shares.take(second):
        second = TenantOrder(WorkOrder(f"{second.order.integration_id}b", 1, 1), "webhook", "t")

    assert not shares.has_plenty()


def test_a_worker_of_one_thread_never_waits() -> None:
    """Its thread is always needed."""
    shares = ThreadShares(1)
    shares.take(TenantOrder(WorkOrder("a", 1, 1), "webhook", "t"))

    assert not shares.has_plenty()
