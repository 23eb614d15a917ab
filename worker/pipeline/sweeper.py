"""Finds what a dead process left behind and puts it back on the way.

Runs beside every router; a lock in Redis lets one of them sweep at a time. Losing a work order, or the
worker that held one, costs time and nothing else.
"""

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence

from worker.broker.backlog import Backlog
from worker.broker.parking import BacklogBudget, Parking
from worker.broker.snapshot import Snapshot, Subscription
from worker.broker.sweep import Holder, Housekeeping, Reissued, UnsettledReason
from worker.model.availability import Dependencies, run_forever, together
from worker.model.log_events import (
    BACKLOG_BUDGET_EXCEEDED,
    BACKLOG_FULL,
    BACKLOG_SLOTS_REPAIRED,
    DELIVERY_INTERRUPTED,
    DELIVERY_NOT_SETTLED,
    ORDER_REISSUED,
)
from worker.model.orders import Issue
from worker.model.parking import UnclaimedEvents

log = logging.getLogger(__name__)

#: How many integrations a line of the log names.
MOST_NAMED = 10

#: How often to look for slots that damage has taken out of sight, in seconds.
REPAIR_EVERY = 30.0


class Sweeper:
    """One sweeper; runs in one thread."""

    def __init__(
        self,
        backlog: Backlog,
        parking: Parking,
        budget: BacklogBudget,
        snapshot: Snapshot,
        housekeeping: Housekeeping,
        issue: Issue,
        interval: float,
    ) -> None:
        """Sweep every `interval` seconds, if the lock can be had."""
        self._backlog = backlog
        self._parking = parking
        self._budget = budget
        self._snapshot = snapshot
        self._housekeeping = housekeeping
        self._issue = issue
        self._interval = interval
        self._next_repair = 0.0

    def run(self, stopping: threading.Event, dependencies: Dependencies | None = None) -> None:
        """Sweep until stopped; outlive any absence of Redis."""

        def rest_and_sweep() -> None:
            if not stopping.wait(together(self._interval)):
                self.step()

        run_forever(rest_and_sweep, stopping, dependencies or Dependencies(log), log)

    def step(self) -> int:
        """Sweep once, unless another sweeper does; return how many orders were issued."""
        # Needs no lock, which a router of an earlier release may hold, who does not know of it.
        self._housekeeping.renumber()
        if not self._housekeeping.may_sweep(self._interval):
            return 0
        self._housekeeping.renew_formats()
        reissued = self._backlog.reissue(self._interval)
        orders = [one.order for one in reissued]
        subscriptions = self._snapshot.subscriptions()
        self._report(reissued, subscriptions)
        present = self._budget.present(subscriptions)
        orders += self._backlog.wake(one.integration_id for one in present)
        for order in orders:
            subscription = subscriptions.get(order.integration_id)
            if subscription is not None:
                self._issue(order, subscription.destination.type)
        if time.monotonic() >= self._next_repair:
            self._next_repair = time.monotonic() + REPAIR_EVERY
            if found := self._backlog.repair(subscriptions):
                BACKLOG_SLOTS_REPAIRED.log(log, count=found)
        self._park(present, subscriptions)
        self._housekeeping.report_displaced()
        self._housekeeping.check_chunks()
        self._housekeeping.forget_dead_consumers()
        return len(orders)

    def _park(self, waiting: Sequence[UnclaimedEvents], subscriptions: Mapping[str, Subscription]) -> None:
        """Hold each backlog to its cap, and all to their budget: a recorder keeps in the ledger what goes."""
        over = [one.integration_id for one in waiting if self._parking.is_over(one.events, one.size)]
        if over:
            self._park_overflow(over, subscriptions)
            waiting = self._budget.present(subscriptions)
        if parked := self._budget.park(waiting):
            largest = sorted(parked, key=parked.__getitem__, reverse=True)
            BACKLOG_BUDGET_EXCEEDED.log(
                log,
                bytes=self._budget.most(),
                events=sum(parked.values()),
                integrations=_listed([_named(one, subscriptions) for one in largest]),
            )

    def _park_overflow(self, integration_ids: Iterable[str], known: Mapping[str, Subscription]) -> None:
        for one in integration_ids:
            parked = 0
            while taken := self._parking.park(one):
                parked += taken
            if parked:
                name, tenant = (known[one].name, known[one].tenant_id) if one in known else ("", None)
                BACKLOG_FULL.log(log, integration=one, name=name, tenant=tenant, events=parked)

    def _report(self, reissued: list[Reissued], subscriptions: Mapping[str, Subscription]) -> None:
        """Return which batches were not settled, and whose they were; a late retry is nothing to report."""
        batches: dict[Holder, list[str]] = {}
        for one in reissued:
            if one.holder is not None:
                batches.setdefault(one.holder, []).append(one.order.integration_id)
        for holder, ids in batches.items():
            names = [_named(one, subscriptions) for one in dict.fromkeys(ids)]
            _report_unsettled(holder, len(ids), _listed(names))
        orders = sum(one.state == "ordered" for one in reissued)
        if orders:
            ORDER_REISSUED.log(log, count=orders)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + ("…" if len(names) > MOST_NAMED else "")


def _report_unsettled(holder: Holder, batches: int, integrations: str) -> None:
    process, reason = holder.process, holder.fault.value
    host, pid = (process.host, process.pid) if process else (None, None)
    worker = f"the worker on {host} (pid {pid})" if process else "a worker that gave no name"
    if holder.fault is UnsettledReason.WORKER_ENDED:
        DELIVERY_INTERRUPTED.log(
            log, batches=batches, worker=worker, integrations=integrations, host=host, pid=pid, reason=reason
        )
        return
    DELIVERY_NOT_SETTLED.log(
        log,
        batches=batches,
        worker=worker,
        state="is suspended or cut off" if holder.fault is UnsettledReason.WORKER_SILENT else "runs",
        integrations=integrations,
        host=host,
        pid=pid,
        reason=reason,
    )


def _named(integration_id: str, subscriptions: Mapping[str, Subscription]) -> str:
    known = subscriptions.get(integration_id)
    return f"{known.name} ({integration_id})" if known and known.name else integration_id
