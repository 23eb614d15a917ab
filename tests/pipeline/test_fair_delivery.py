"""Work orders of one process: set aside, gone on with, and handed to others, but never dropped."""

import logging
import threading
from collections.abc import Callable

import pytest

from tests.logged import fields_of
from worker.model.errors import DeliveryDead
from worker.model.log_events import TENANT_THREADS_USED_UP
from worker.model.orders import WorkOrder
from worker.pipeline import fair_delivery
from worker.pipeline.fair_delivery import FairDelivery
from worker.pipeline.task_report import TaskReport
from worker.pipeline.thread_shares import ThreadShares, pool_size


def order(number: int, tenant: str = "a") -> WorkOrder:
    """Make an order for an integration of the tenant."""
    return WorkOrder(f"{tenant}{number}", 1, 1)


class Rig:
    """A process with one thread for each tenant; while it carries out an order, `amid` is called."""

    def __init__(self) -> None:
        """Begin with nothing to do."""
        self.carried_out: list[WorkOrder] = []
        self.issued: list[WorkOrder] = []
        self.queues: list[str] = []
        self.amid: dict[WorkOrder, Callable[[], object]] = {}
        self.shares = ThreadShares(pool_size(1))
        self.fair = FairDelivery(
            self.shares,
            lambda integration_id: integration_id[0],
            self._carry_out,
            self._issue,
        )

    def _issue(self, one: WorkOrder, kind: str) -> None:
        self.issued.append(one)
        self.queues.append(kind)

    def _carry_out(self, _kind: str, one: WorkOrder, _retries: int, _gate: threading.Semaphore) -> TaskReport:
        self.carried_out.append(one)
        self.amid.get(one, lambda: None)()
        return TaskReport(batches=1, delivered=2)

    def deliver(self, *orders: WorkOrder, retries: int = 0) -> list[str]:
        """Carry out the first while the others come; return what is said of each, the first one last."""
        first, *others = orders
        words: list[str] = []
        self.amid[first] = lambda: words.extend(self.fair.deliver("webhook", one) for one in others)
        last = self.fair.deliver("webhook", first, retries)
        return [*words, last]


@pytest.fixture
def rig() -> Rig:
    """Give a process."""
    return Rig()


def test_a_thread_goes_on_with_what_was_set_aside(rig: Rig) -> None:
    """Without a message for each; the tasks of those that were set aside end at once."""
    *waited, last = rig.deliver(order(1), order(2), order(3))

    assert set(waited) == {str(TaskReport(word="waits"))}
    assert "its tenant has its share of the threads" in waited[0]
    assert last.startswith("2 delivered, 0 retried")
    assert last.endswith("; and 2 orders that had waited for a thread")
    assert (rig.carried_out, rig.issued) == ([order(1), order(2), order(3)], [])


def test_another_tenant_is_not_set_aside(rig: Rig) -> None:
    """While the first one waits for its destination."""
    rig.deliver(order(1), order(2), order(1, "b"))

    assert rig.carried_out == [order(1), order(1, "b"), order(2)]


def test_a_thread_goes_on_with_orders_of_its_own_type_alone(rig: Rig) -> None:
    """Celery retries the task in hand: the retry of another type would stand in the wrong queue."""
    rig.amid[order(1)] = lambda: rig.fair.deliver("syslog_cef", order(2))
    rig.fair.deliver("webhook", order(1))

    assert (rig.carried_out, rig.issued, rig.queues) == ([order(1)], [order(2)], ["syslog_cef"])


def test_a_thread_finds_the_order_of_its_own_type_among_others(rig: Rig) -> None:
    """The others are issued, each into the queue of its type."""

    def crowd() -> None:
        rig.fair.deliver("syslog_cef", order(2))
        rig.fair.deliver("webhook", order(3))
        rig.fair.deliver("splunk_hec", order(4))
        rig.shares.resize(pool_size(3))  # so that each of them may take a thread next

    rig.amid[order(1)] = crowd
    rig.fair.deliver("webhook", order(1))

    assert rig.carried_out == [order(1), order(3)]
    assert (rig.issued, rig.queues) == ([order(2), order(4)], ["syslog_cef", "splunk_hec"])


def test_what_takes_its_time_hands_the_next_order_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery should hear of its own task before long."""
    monkeypatch.setattr(fair_delivery, "GO_ON", (0.0, 0.0))
    rig.deliver(order(1), order(2), order(3))

    assert (rig.carried_out, rig.issued) == ([order(1)], [order(2)])
    assert rig.issued[0].slow, "orders of others may pass those of a tenant that had its share"


def test_a_retry_hands_the_next_order_on(rig: Rig) -> None:
    """Celery counts retries by the task, so that the other order needs one of its own."""
    rig.deliver(order(1), order(2), retries=1)

    assert (rig.carried_out, rig.issued) == ([order(1)], [order(2)])


def test_what_fails_hands_the_next_order_on(rig: Rig) -> None:
    """Its own end is that of the task."""

    def fail() -> None:
        rig.fair.deliver("webhook", order(2))
        raise DeliveryDead("dead")

    rig.amid[order(1)] = fail
    with pytest.raises(DeliveryDead):
        rig.fair.deliver("webhook", order(1))

    assert (rig.carried_out, rig.issued) == ([order(1)], [order(2)])


def test_what_follows_an_order_stays_with_the_threads(rig: Rig) -> None:
    """Of a tenant of which others wait, or that holds many threads; else any worker may take it."""
    rig.amid[order(1)] = lambda: rig.fair.go_on(order(1), "webhook")
    rig.fair.deliver("webhook", order(1))
    assert (rig.carried_out, rig.issued) == ([order(1)], [order(1)])

    def crowd() -> None:
        rig.fair.deliver("webhook", order(2))
        rig.fair.issue(order(3), "webhook")

    rig.amid[order(1)] = crowd
    rig.fair.deliver("webhook", order(1))
    assert (rig.carried_out[1:], rig.issued[1:]) == ([order(1), order(2), order(3)], [])


def test_a_process_that_ends_hands_all_on(rig: Rig) -> None:
    """Nothing is begun any more."""
    rig.amid[order(2, "b")] = lambda: rig.fair.give_back_orders(0)
    rig.deliver(order(1), order(2), order(3), order(2, "b"))

    assert rig.carried_out == [order(1), order(2, "b")]
    assert rig.issued == [order(2), order(3)]


def test_that_orders_wait_is_told_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """An operator learns whose destinations are slow, and not for each order."""
    with caplog.at_level(logging.WARNING):
        rig.deliver(order(1), order(2), order(3))

    assert fields_of(caplog, TENANT_THREADS_USED_UP) == [{"tenant": "a"}]
