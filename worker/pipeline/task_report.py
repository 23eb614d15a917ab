"""What one delivery task did, in the words that Celery's log and Flower show, and an attempt in our own.

Counts and failure codes only: a destination's own words might repeat an event or a secret. Of a task that did
all it was to do the report is the result; of any other it goes into the error that ends the task.
"""

import logging
import time
from dataclasses import dataclass, field

from worker.model.batches import SETTLED, Batch
from worker.model.deliveries import BreakerSignal, Retry, Settlement, Status
from worker.model.errors import DeliveryDead, DeliveryDelayed, DeliveryError, DeliveryHeld, TransientDelivery
from worker.model.log_events import DELIVERY_ATTEMPTED
from worker.model.orders import WorkOrder

#: Why a task had nothing to do, by the word of `Backlog.claim`. Nothing failed: another task does the work.
_IDLE = {
    "stale": "nothing to do: another order took this one's place",
    "early": "nothing to do: the retry is not due yet",
    "empty": "nothing to do: no event waits",
    "waits": "not yet: its tenant has its share of the threads, and the order waits for one of these",
}


@dataclass(slots=True)
class TaskReport:
    """The counts of the batches that a task has settled so far.

    `retried` of the `delivered` events took more than one request, as in `siem status`; `died_of` is the code
    behind the first of the dead letters; `word` is what an order got that could not be carried out.
    """

    batches: int = 0
    delivered: int = 0
    retried: int = 0
    dead: int = 0
    died_of: str = ""
    word: str = ""
    began: float = field(default_factory=time.monotonic)

    def add(self, settlement: Settlement) -> None:
        """Count what became of a batch."""
        self.batches += 1
        self.retried += settlement.retried
        for outcome in settlement.outcomes:
            if outcome.status == Status.DELIVERED:
                self.delivered += len(outcome.events)
        for letter in settlement.dead:
            self.dead += len(letter.events)
            self.died_of = self.died_of or letter.failure.code

    def __str__(self) -> str:
        """Return `500 delivered, 0 retried, 38 ms`, or why there was nothing to do."""
        if not self.batches:
            return _IDLE.get(self.word, "nothing to do")
        several = f", {self.batches} batches" if self.batches > 1 else ""
        took = round((time.monotonic() - self.began) * 1000)
        return f"{self.delivered} delivered, {self.retried} retried{several}, {took} ms"

    def behind(self, words: str) -> str:
        """Return these words, and behind them what the task delivered beside it."""
        return f"{words}; {self}" if self.delivered else words


def task_error(
    order: WorkOrder, batch: Batch, settlement: Settlement, report: TaskReport
) -> DeliveryError | None:
    """Return the error that ends a task whose batch was not delivered as a whole; None if it was.

    `report` has counted the batch.
    """
    retry = settlement.retry
    if retry is not None and retry.by_celery:
        return TransientDelivery(report.behind(_again(retry)), retry.seconds, order)
    if report.dead:
        letters = f"{_counted(report.dead, 'dead letter')} ({_in_words(report.died_of)})"
        return DeliveryDead(report.behind(letters))
    if retry is None:
        return None
    if settlement.health is BreakerSignal.MISCONFIGURED or (
        batch.probing and settlement.health is BreakerSignal.FAILED
    ):
        return held(_in_words(settlement.cause), waiting_in(retry), report)
    return DeliveryDelayed(report.behind(_again(retry)), retry.seconds)


def held(reason: str, waiting: int, report: TaskReport) -> DeliveryHeld:
    """Return the error that ends a task whose events may not be sent at present."""
    verb = "event waits" if waiting == 1 else "events wait"
    return DeliveryHeld(report.behind(f"held: {reason}, {waiting} {verb}"))


def waiting_in(retry: Retry | None) -> int:
    """Count the events that wait for this retry."""
    return len(retry.request_counts) - retry.request_counts.count(SETTLED) if retry else 0


def _again(retry: Retry) -> str:
    waiting = _counted(waiting_in(retry), "event")
    return f"{_in_words(retry.reason)}: {waiting} to be sent again in {retry.seconds:.0f} s"


def _in_words(code: str) -> str:
    return code.replace("_", " ")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def log_attempt(log: logging.Logger, batch: Batch, settlement: Settlement) -> None:
    """Log what one sending did with a batch, in counts and codes: nothing of an event, nor of an answer."""
    delivered = sum(len(one.events) for one in settlement.outcomes if one.status == Status.DELIVERED)
    dead, retried = settlement.settled - delivered, waiting_in(settlement.retry)
    died_of = settlement.dead[-1].failure.code if dead and settlement.dead else None
    DELIVERY_ATTEMPTED.log(
        log,
        attempt=batch.attempts + 1,
        events=settlement.settled + retried,
        delivered=delivered,
        retried=retried,
        dead=dead,
        elapsed_ms=batch.elapsed_ms(),
        reason=settlement.cause if retried else died_of,
        retry_in=settlement.retry.seconds if settlement.retry else None,
    )
