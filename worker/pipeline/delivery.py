"""One delivery task: claim a batch, send it, settle it, and see to it that the next one follows.

The task is the bearer of a work order. All that matters stands in Redis before it returns; Celery's
own bookkeeping may lose or repeat the order, and nothing is lost or sent by it.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from worker.broker.backlog import Backlog, Claim
from worker.destinations import Sender
from worker.integrations.integration import MAX_RETRIES
from worker.model.batches import Batch, DeliveryAttempt
from worker.model.deliveries import DeliveryResult, Failure, Settlement, Verdict
from worker.model.errors import (
    BrokerUnavailable,
    InvalidIntegration,
    LeaseLost,
    SecretUnreadable,
    TransportError,
)
from worker.model.failures import FailureCode
from worker.model.log_events import (
    DELIVERY_LEASE_LOST,
    DELIVERY_UNEXPECTED_ERROR,
    ORDER_SKIPPED,
    PROCESS_UNEXPECTED_ERROR,
)
from worker.model.log_records import bind_fields, bind_more
from worker.model.orders import Issue, WorkOrder
from worker.model.settlement import LOST_ALONE, RetryPolicy, settle_deleted, settle_lost, settle_results
from worker.pipeline.senders import LOOK_EVERY, Documents, OpenSender, Senders
from worker.pipeline.staying import Staying, never
from worker.pipeline.task_report import TaskReport, held, log_attempt, task_error
from worker.pipeline.traces import BatchSpan, trace_batch
from worker.transports.budget import BUDGET
from worker.transports.failures import describe
from worker.transports.shortages import shortage_behind

if TYPE_CHECKING:
    from worker.tracing.spans import Tracing

log = logging.getLogger(__name__)

#: How long a task goes on with the batches that follow its own, in seconds: long enough to spread the
#: cost of a message, short enough that no integration keeps a thread from the others.
CARRY_ON = 0.5

#: Passed by those who claim or settle.
Gate = AbstractContextManager[object]
_OPEN: Gate = nullcontext()

#: What decoding an integration raises; not every ValueError, for one may come from what opens its sender.
_DAMAGED_COPY = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_UNKNOWN = Failure(
    FailureCode.CONFIGURATION,
    "Redis does not know this integration",
    "see that a recorder runs: it brings the integrations of the ledger back into Redis",
)
_UNEXPECTED = Failure(
    FailureCode.INTERNAL_ERROR,
    "the worker failed while sending",
    "report this with the worker's log of that time",
)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long one task may send, how long its lease lasts, how delays begin to grow; in seconds."""

    send_deadline: float
    lease: float
    retry_backoff: float


class _Tombstone(msgspec.Struct):
    deleted: bool = False


class DeliveryWorker:
    """Carries out work orders; one for each worker process, shared by its threads."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts that a worker is made of
        self,
        backlog: Backlog,
        open_sender: OpenSender,
        issue: Issue,
        kind: str,
        timeouts: Timeouts,
        go_on: Issue | None = None,
        tracing: "Tracing | None" = None,
        may_stay: Callable[[], bool] = never,
    ) -> None:
        """Deliver to destinations of this kind; `go_on` issues an order that a task has no time left for.

        `may_stay`: whether a thread may wait at present for what comes next.
        """
        self._backlog = backlog
        self._senders = Senders(open_sender)
        self._issue = issue
        self._go_on = go_on or issue
        self._kind = kind
        self._timeouts = timeouts
        self._tracing = tracing
        self._staying = Staying(may_stay)

    def deliver(self, order: WorkOrder, retries: int = 0, gate: Gate = _OPEN) -> TaskReport:
        """Carry out the order; `retries` is how often Celery has retried this very task.

        What is claimed and settled passes the gate, which lets only so many do that at once.
        Carries on with the batches that follow for up to CARRY_ON seconds: a message of Celery costs as
        much as a batch; and stays while events trickle in (`worker.pipeline.staying`). Returns what was done
        if all of it was. Raises TransientDelivery when Celery is to retry, DeliveryDelayed when the sweeper
        will, DeliveryHeld when the events have to wait, DeliveryDead when events became dead letters,
        LeaseLost when another worker has the batch by now, and BrokerUnavailable when Redis is away, in which
        case the sweeper issues the order again.
        """
        report = TaskReport()
        until = report.began + CARRY_ON
        following: WorkOrder | None = order
        while following is not None:
            claim = self._claim(following, gate)
            if following.stays:
                until = time.monotonic() + CARRY_ON  # until now its thread was to be had
            following = self._deliver_batch(following, claim, retries, report, gate)
            if following is None or following.stays:
                continue
            # Retries are counted by the task, so that a batch that follows one needs a task of its own.
            if retries or (time.monotonic() >= until and not self._staying.goes_on(report.began)):
                self._go_on(following, self._kind)
                break
        return report

    def close(self) -> None:
        """Let go of the destinations; what they have reported is written first. To end the process."""
        self._senders.close()

    def close_unused(self, standing: Documents) -> None:
        """Let go of destinations that are not asked for, or were deleted, disabled or changed.

        These may get no batch that would show it. What is being sent is sent. Raises BrokerUnavailable.
        """
        self._senders.close_unused(standing)

    def _claim(self, order: WorkOrder, gate: Gate) -> Claim | str:
        claim: Claim | str = "nothing"
        if order.stays:
            claim = self._staying.claim(order, self._backlog.claim_next)
        if claim == "nothing":
            with gate:
                claim = self._backlog.claim(order)
        return claim

    def _deliver_batch(
        self, order: WorkOrder, claim: Claim | str, retries: int, report: TaskReport, gate: Gate
    ) -> WorkOrder | None:
        if isinstance(claim, str):
            if order.stays:
                return None  # nothing came, or it may not be sent now: no event waits for this order
            at = order.integration_id, order.slot, order.epoch
            ORDER_SKIPPED.log(log, integration=at[0], slot=at[1], epoch=at[2], reason=claim)
            if claim == "held":
                raise held(*self._backlog.standstill(order.integration_id), report)
            report.word = claim
            return None
        if claim.further is not None:
            self._issue(claim.further, self._kind)
        span = self._span_of(claim.batch)
        with (
            bind_fields(
                integration=order.integration_id,
                type=self._kind,
                slot=order.slot,
                epoch=order.epoch,
                batch=claim.batch.claimed_ms,
            ),
            span or _OPEN,
        ):
            settlement = self._carry(claim.batch, retries, span)
            if span is not None:
                span.settle(claim.batch, settlement)
            with gate:
                stay = not retries and self._staying.would(claim.batch, settlement, report.began)
                following = self._settle(claim.batch, settlement, stay)
            if log.isEnabledFor(logging.DEBUG):
                log_attempt(log, claim.batch, settlement)
        report.add(settlement)
        again = settlement.retry is not None and not settlement.retry.seconds
        ending = None if again else task_error(order, claim.batch, settlement, report)
        if ending is None and not again:
            return following
        if following is not None:
            self._issue(following, self._kind)
        if ending is not None:
            raise ending
        return order  # the next part of the same batch

    def _span_of(self, batch: Batch) -> BatchSpan | None:
        """Begin the span of a batch, if any of its events is traced and tracing is on."""
        if self._tracing is None or not batch.traces:
            return None
        return trace_batch(self._tracing, batch, self._kind)

    def _carry(self, batch: Batch, retries: int, span: BatchSpan | None) -> Settlement:
        """Send the batch; what comes back says what to write."""
        policy = RetryPolicy(MAX_RETRIES, self._timeouts.retry_backoff, retries < MAX_RETRIES)
        if not batch.configuration:
            return _settle_unsent(batch, _UNKNOWN, policy)
        try:
            if _is_gone(batch):
                return settle_deleted(batch)
            integration, sender = self._senders.of(batch)
        except (SecretUnreadable, InvalidIntegration, *_DAMAGED_COPY) as error:
            return _settle_unsent(batch, _unusable(error), policy)
        except (TransportError, OSError, RuntimeError, MemoryError) as error:
            # What TLS, time zones or keys take to begin with may be short here.
            lack = error if isinstance(error, TransportError) else shortage_behind(error)
            if lack is None:
                raise
            return _settle_unsent(batch, describe(lack), policy)
        bind_more(tenant=integration.tenant_id)
        if span is not None:
            span.of_tenant(integration.tenant_id)
        if batch.lost_alone >= LOST_ALONE:
            return settle_lost(batch)
        attempt = DeliveryAttempt(batch)
        own = RetryPolicy(integration.max_retries, policy.backoff, policy.celery_can)
        return settle_results(attempt, self._send(sender, attempt), own)

    def _send(self, sender: Sender, attempt: DeliveryAttempt) -> Sequence[DeliveryResult]:
        """Send; what ends it amid the batch leaves the requests counted that may have gone out by then."""
        try:
            with BUDGET.sending():
                return sender.send(attempt, attempt.batch.claimed_at + self._timeouts.send_deadline)
        except Exception as error:  # noqa: BLE001 - it is logged with its traceback
            if (lack := shortage_behind(error)) is not None:
                return [replace(_failed(attempt.batch, attempt.places, describe(lack)), not_accepted=False)]
            # A fault of ours must not lose the batch, nor stop the worker: it is retried, then dead.
            DELIVERY_UNEXPECTED_ERROR.log(log, exc_info=True)
            attempt.count_unsent()
            # Whatever it says, the request may have been sent by then.
            return [replace(_failed(attempt.batch, attempt.places, _UNEXPECTED), not_accepted=False)]

    def _settle(self, batch: Batch, settlement: Settlement, stay: bool) -> WorkOrder | None:  # noqa: FBT001 - passed on
        """Write the settlement, trying while the lease lasts: what was sent should not be sent twice."""
        deadline = batch.claimed_at + self._timeouts.lease
        pause = 0.05
        while True:
            try:
                return self._backlog.settle(batch, settlement, stay=stay)
            except BrokerUnavailable:
                if time.monotonic() + pause >= deadline:
                    raise
            except LeaseLost:
                DELIVERY_LEASE_LOST.log(log)
                raise
            time.sleep(pause)
            pause = min(pause * 2, 1.0)


def close_unused(
    delivery_workers: Collection[DeliveryWorker], standing: Documents, ending: threading.Event
) -> None:
    """Now and then let go of destinations that were deleted, disabled, changed, or are not asked for."""
    while not ending.wait(LOOK_EVERY):
        for one in tuple(delivery_workers):
            try:
                one.close_unused(standing)
            except BrokerUnavailable:
                break  # that Redis is away, others say
            except Exception:  # noqa: BLE001 - it is logged with its traceback
                PROCESS_UNEXPECTED_ERROR.log(log, task="close_unused", retry_in=LOOK_EVERY, exc_info=True)


def _is_gone(batch: Batch) -> bool:
    """Only a tombstone says so: what Redis has lost is still in the ledger, and a recorder brings it back."""
    return msgspec.json.decode(batch.configuration, type=_Tombstone).deleted


def _unusable(error: Exception) -> Failure:
    is_damaged = isinstance(error, _DAMAGED_COPY)
    words = f"its copy in Redis is damaged ({error})" if is_damaged else str(error)
    return Failure(FailureCode.CONFIGURATION, words, "correct the integration; its events wait until then")


def _settle_unsent(batch: Batch, failure: Failure, policy: RetryPolicy) -> Settlement:
    attempt = DeliveryAttempt(batch)
    result = _failed(batch, attempt.open_places(), failure)
    return settle_results(attempt, [result], policy, sent=False)


def _failed(batch: Batch, places: Sequence[int], failure: Failure) -> DeliveryResult:
    return DeliveryResult(places, Verdict.RETRY, batch.elapsed_ms(), failure)
