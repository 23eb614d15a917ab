"""Carries out the work orders of a worker process so that no tenant takes all of its threads.

An order whose tenant has its share of the threads (`worker.pipeline.thread_shares`) is set aside in this
process, and its task ends, so that it holds no thread. The slot stays leased: if the process ends with it,
the sweeper issues the order again. A thread that becomes free goes on with an order that was set aside.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from weakref import WeakValueDictionary

from worker.model.log_events import TENANT_THREADS_USED_UP
from worker.model.orders import Issue, WorkOrder
from worker.pipeline.task_report import TaskReport
from worker.pipeline.thread_shares import TenantOrder, ThreadShares

log = logging.getLogger(__name__)

#: How long a task goes on with orders that were set aside, in seconds, at least and at most: a message for
#: each would cost as much as a batch, and stand before those of other tenants. Celery acknowledges the task's
#: own order only behind them, and by these messages other workers get their part of the tenant's orders.
GO_ON = (15.0, 45.0)
#: How many threads of a tenant may claim or settle at once. When a hundred of its destinations answer in the
#: same moment, that many threads would else ask for the interpreter, and a neighbour's with them.
AT_ONCE = 4
#: How often it is logged that orders of a tenant wait, in seconds.
LOG_EVERY = 300.0

#: Carries out an order for destinations of that type; the number is how often Celery has retried the task,
#: and the semaphore is passed by who claims or settles.
CarryOut = Callable[[str, WorkOrder, int, threading.Semaphore], TaskReport]


class FairDelivery:
    """The work orders of one process; shared by its threads."""

    def __init__(
        self, shares: ThreadShares, tenant_of: Callable[[str], str], carry_out: CarryOut, issue: Issue
    ) -> None:
        """Share out threads between tenants; `tenant_of` takes an integration's id."""
        self._shares = shares
        self._tenant_of = tenant_of
        self._carry_out = carry_out
        self._issue = issue
        self._logged: dict[str, float] = {}
        self._gates: WeakValueDictionary[str, threading.Semaphore] = WeakValueDictionary()
        self._lock = threading.Lock()

    def deliver(self, kind: str, order: WorkOrder, retries: int = 0) -> str:
        """Carry out the order, or set it aside; return what was done. Raises what carrying it out raises.

        An error that ends it may be that of an order that was set aside before.
        """
        given = self._owned(order, kind)
        if not self._shares.take(given):
            self._log_waiting(given.tenant_id)
            return str(TaskReport(word="waits"))
        # What began in one moment should not end in one.
        until = time.monotonic() + (0 if retries else random.uniform(*GO_ON))  # noqa: S311 - no secret
        reports = list[TaskReport]()
        following: TenantOrder | None = given
        while following is not None:
            report, following = self._carry_out_next(following, retries, until)
            reports.append(report)
        others = len(reports) - 1
        return f"{reports[0]}" + (f"; and {others} orders that had waited for a thread" if others else "")

    def issue(self, order: WorkOrder, kind: str) -> None:
        """Issue an order that is to be carried out beside the running one, or set it aside."""
        if not self._shares.keep(self._owned(order, kind), follows=False):
            self._issue(order, kind)

    def go_on(self, order: WorkOrder, kind: str) -> None:
        """Issue an order that is to be carried out behind the running one, or set it aside for its thread."""
        if not self._shares.keep(self._owned(order, kind), follows=True):
            self._issue(order, kind)

    def give_back_orders(self, after: float) -> None:
        """Issue all orders that were set aside: this process ends, and others may carry them out.

        That is done after so many seconds, when this process can be given none of them any more.
        """
        if orders := self._shares.close():
            time.sleep(after)
            self._issue_all(orders)

    def _carry_out_next(
        self, taken: TenantOrder, retries: int, until: float
    ) -> tuple[TaskReport, TenantOrder | None]:
        """Carry out an order; return the one to go on with, if its thread may.

        It is of the same type: if it fails, Celery retries the task in hand with it, in the queue of that.
        """
        try:
            gate = self._gate(taken.tenant_id)
            report = self._carry_out(taken.kind, taken.order, retries, gate)
        except BaseException:
            self._issue_all(self._shares.give_back(taken))
            raise
        ready = self._shares.give_back(taken)
        mine: TenantOrder | None = None
        if time.monotonic() < until:
            mine = next((one for one in ready if one.kind == taken.kind), None)
        self._issue_all(one for one in ready if one is not mine)
        return report, mine if mine and self._shares.take(mine) else None

    def _owned(self, order: WorkOrder, kind: str) -> TenantOrder:
        return TenantOrder(order, kind, self._tenant_of(order.integration_id))

    def _gate(self, tenant_id: str) -> threading.Semaphore:
        with self._lock:
            found = self._gates.get(tenant_id) or threading.Semaphore(AT_ONCE)
            self._gates[tenant_id] = found
            return found

    def _issue_all(self, orders: Iterable[TenantOrder]) -> None:
        for one in orders:
            # Their tenant had its share: the orders of others may pass them.
            self._issue(replace(one.order, slow=True), one.kind)

    def _log_waiting(self, tenant_id: str) -> None:
        """Log now and then that orders of the tenant wait."""
        now = time.monotonic()
        if now - self._logged.get(tenant_id, -LOG_EVERY) < LOG_EVERY:
            return
        self._logged = {one: at for one, at in self._logged.items() if now - at < LOG_EVERY} | {
            tenant_id: now
        }
        TENANT_THREADS_USED_UP.log(log, tenant=tenant_id or "(unknown)")
