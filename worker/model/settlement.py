"""From results to a settlement: which events are done, which are dead, when the rest is due again.

Pure: what comes in are the facts of one sending, what goes out is what a settle will write.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.model.batches import SETTLED, Batch, DeliveryAttempt
from worker.model.breaker import breaker_signal, spread
from worker.model.deliveries import (
    MAX_REQUESTS,
    BreakerSignal,
    Cause,
    DeadLetter,
    DeliveryResult,
    Failure,
    Outcome,
    Retry,
    Settlement,
    Status,
    Verdict,
    Withdrawn,
)
from worker.model.failures import FailureCode
from worker.model.outcomes import outcome_of, trace_of

#: The longest that Celery is asked to wait, in seconds: it holds such messages in a worker's memory.
LONGEST_COUNTDOWN = 60.0
#: The longest `Retry-After` that is obeyed, in seconds.
LONGEST_RETRY_AFTER = 3600.0
#: The longest that a destination is spared because it said that it is about to be overrun, in seconds.
LONGEST_REST = 30.0
#: An event that this many workers have died with, when nothing else was sent beside it, is a dead letter.
LOST_ALONE = 2
#: When a batch is due again that was not sent because this process or machine was short of something, in
#: seconds: what was short is often free again by then, and no destination is spared by waiting longer.
SHORTAGE_PAUSE = 3.0
_NO_REASON = Failure(FailureCode.UNKNOWN, "no reason was given", "look at the destination")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often an integration retries, and how the delays grow: `backoff`, twice that, and so on.

    `celery_can` is False when the Celery task has used up its own retries, which happens when the
    sweeper had to issue orders in between.
    """

    max_retries: int
    backoff: float
    celery_can: bool = True


def settle_results(
    attempt: DeliveryAttempt, results: Sequence[DeliveryResult], policy: RetryPolicy, *, sent: bool = True
) -> Settlement:
    """Decide what becomes of each event that a result names; the attempt's counts are brought up to date.

    With `sent` False (the configuration could not even be read) it was no attempt: nothing dies of it. Nor is
    it an attempt if a probe fails, or if a wrong setting turned the sending away: what was certainly not
    accepted has then been carried as often as before. What may have been accepted has been carried
    once more, and is dead once MAX_REQUESTS have carried it. What a shortage of our own kept back is neither
    an attempt nor ever dead of it, unless it came in the way when the events were sent already.
    """
    short = [result for result in results if result.is_shortage and result.is_certainly_not_accepted]
    attempt.take_back(short)
    unsent = attempt.unsent_places().union(*(result.places for result in short))
    health = breaker_signal(results)
    probing = attempt.batch.probing
    uncounted = health is BreakerSignal.MISCONFIGURED or (probing and health is not BreakerSignal.WELL)
    if uncounted:
        attempt.take_back(results)
    builder = _SettlementBuilder(
        attempt, policy, sent=sent and not uncounted, uncounted=sent and uncounted, unsent=unsent
    )
    for result in results:
        builder.take(result)
    return builder.settlement(health)


def settle_lost(batch: Batch) -> Settlement:
    """Make a dead letter of the event that worker after worker died with; the rest is sent at once."""
    hint = "report it with the log of a worker that crashed"
    failure = Failure(FailureCode.WORKER_LOST, "every worker that sent this event crashed", hint)
    attempt = DeliveryAttempt(batch)
    builder = _SettlementBuilder(attempt, RetryPolicy(0, 0), sent=False)
    refused = DeliveryResult((), Verdict.REFUSED, 0, failure)
    builder.add_dead_letters(Cause.WORKER_LOST, attempt.open_places()[:1], refused)
    return builder.settlement()


def settle_deleted(batch: Batch) -> Settlement:
    """Make dead letters of a batch whose integration is gone."""
    failure = Failure(
        FailureCode.INTEGRATION_DELETED,
        "the integration was deleted before this event could be sent",
        "replay it into another integration, or discard it",
    )
    attempt = DeliveryAttempt(batch)
    builder = _SettlementBuilder(attempt, RetryPolicy(0, 0), sent=False, unsent=attempt.unsent_places())
    refused = DeliveryResult((), Verdict.REFUSED, 0, failure)
    builder.add_dead_letters(Cause.DELETED, attempt.open_places(), refused)
    return builder.settlement()


def withdrawal(integration_id: str, withdrawn: Withdrawn, now_ms: int) -> tuple[Outcome, DeadLetter]:
    """Make dead letters of what counted as delivered: they can be sent again, and are by themselves."""
    failure = withdrawn.failure
    traces = list(map(trace_of, withdrawn.events, withdrawn.attempts))
    outcome = Outcome(integration_id, Status.DEAD.value, now_ms, failure, None, traces)
    cause = Cause.EXHAUSTED.value
    return outcome, DeadLetter(integration_id, cause, failure, now_ms, withdrawn.events, withdrawn.attempts)


class _SettlementBuilder:
    """Gathers the decisions on one batch."""

    def __init__(
        self,
        attempt: DeliveryAttempt,
        policy: RetryPolicy,
        *,
        sent: bool,
        uncounted: bool = False,
        unsent: frozenset[int] = frozenset(),
    ) -> None:
        self._attempt = attempt
        self._batch = attempt.batch
        self._policy = policy
        self._sent = sent
        self._spared = uncounted
        self._unsent = unsent
        self._attempts = self._batch.attempts
        self._outcomes: list[Outcome] = []
        self._dead: list[DeadLetter] = []
        self._settled = self._retried = 0
        self._failed: list[tuple[Sequence[int], DeliveryResult]] = []
        self._cause: Failure | None = None
        self._cool_down = 0.0
        self._gone = False

    def take(self, result: DeliveryResult) -> None:
        if result.withdrawn is not None:
            # It was known before this batch, so that what is delivered now comes after it.
            outcome, letter = withdrawal(
                self._batch.order.integration_id, result.withdrawn, self._batch.claimed_ms
            )
            self._outcomes.append(outcome)
            self._dead.append(letter)
        if not result.places:
            return
        self._cool_down = max(self._cool_down, min(result.cool_down, LONGEST_REST))
        self._gone |= result.failure is not None and result.failure.code == FailureCode.ENDPOINT_GONE
        if result.verdict is Verdict.ACCEPTED:
            self._retried += self._attempt.count_resent(result.places)
            self._record(Status.DELIVERED, result.places, result)
            self._close(result.places)
        elif result.verdict is Verdict.REFUSED:
            self.add_dead_letters(Cause.REFUSED, result.places, result)
        else:
            self._retry_or_dead_letter(result)

    def add_dead_letters(self, cause: Cause, places: Sequence[int], result: DeliveryResult) -> None:
        if not places:
            return
        batch = self._batch
        failure = result.failure or _NO_REASON
        self._record_failed(Status.DEAD, places, result)
        self._dead.append(
            DeadLetter(
                batch.order.integration_id,
                cause.value,
                failure,
                batch.claimed_ms + result.elapsed_ms,
                [batch.events[place] for place in places],
                [self._attempt.request_counts[place] for place in places],
            )
        )
        self._close(places)

    def settlement(self, health: BreakerSignal = BreakerSignal.UNKNOWN) -> Settlement:
        return Settlement(
            self._settled,
            self._outcomes,
            self._dead,
            self._retry(),
            cool_down=self._cool_down,
            disable=self._gone,
            health=health,
            cause=(self._cause or _NO_REASON).code,
            asked=self._asked(),
            suspicious=self._is_suspicious(),
            retried=self._retried,
        )

    def _is_suspicious(self) -> bool:
        """Whether an event that crashes workers may still be in the batch."""
        batch = self._batch
        return batch.suspects > 0 and batch.lost_alone < LOST_ALONE and self._attempt.has_open_places()

    def _retry_or_dead_letter(self, result: DeliveryResult) -> None:
        request_counts, most = self._attempt.request_counts, MAX_REQUESTS
        if not result.is_shortage:
            self._attempts = self._batch.attempts + self._sent
            self._cause = self._cause or result.failure
            # Events of one batch may have been carried by different numbers of requests: time ran out before
            # some, and a destination that sends each by itself stops at the first signs of an outage.
            if self._sent and self._attempts > self._policy.max_retries:
                most = self._policy.max_retries + 1
        spent = [
            place for place in result.places if request_counts[place] >= most and self._counts(place, result)
        ]
        self.add_dead_letters(Cause.EXHAUSTED, spent, result)
        left = [place for place in result.places if request_counts[place] != SETTLED]
        if left:
            self._failed.append((left, result))

    def _counts(self, place: int, result: DeliveryResult) -> bool:
        """Whether the event can die of it: of an attempt, or of what may have been accepted."""
        if not self._spared and not result.is_shortage:
            return self._sent
        return place not in self._unsent and not result.is_certainly_not_accepted

    def _retry(self) -> Retry | None:
        if not self._failed:
            return self._go_on()
        seconds = self._delay()
        due_ms = self._batch.claimed_ms + max(result.elapsed_ms for _, result in self._failed)
        for places, result in self._failed:
            self._record_failed(Status.RETRYING, places, result, due_ms + round(seconds * 1000))
        # Not by Celery for a shortage: it counts its own retries, and they are for failed attempts.
        by_celery = (
            self._policy.celery_can and self._sent and not self._is_short() and seconds <= LONGEST_COUNTDOWN
        )
        first = self._failed[0][1].failure
        reason = first.code if first else "an attempt failed"
        return Retry(seconds, by_celery, bytes(self._attempt.request_counts), self._attempts, reason)

    def _go_on(self) -> Retry | None:
        """Of a batch that is sent in parts, the next one is due at once; while it is held, with a probe."""
        if not self._attempt.has_open_places():
            return None
        return Retry(
            LONGEST_COUNTDOWN if self._spared else 0,
            by_celery=False,
            request_counts=bytes(self._attempt.request_counts),
            attempts=self._batch.attempts,
            reason="isolating",
        )

    def _asked(self) -> float:
        asked = max((result.retry_after or 0.0 for _, result in self._failed), default=0.0)
        return min(asked, LONGEST_RETRY_AFTER)

    def _is_short(self) -> bool:
        """Whether only a shortage of our own keeps the rest back."""
        return all(result.is_shortage for _, result in self._failed)

    def _delay(self) -> float:
        if self._is_short():
            return SHORTAGE_PAUSE * spread()
        if not self._sent:
            return LONGEST_COUNTDOWN
        doublings = min(max(self._attempts - 1, 0), self._policy.max_retries)
        backoff: float = self._policy.backoff * 2**doublings
        return max(backoff * spread(), self._asked())

    def _record_failed(
        self, status: Status, places: Sequence[int], result: DeliveryResult, retry_at_ms: int | None = None
    ) -> None:
        """Record what failed apart from what was not sent: only the former is a failed attempt."""
        failed = [place for place in places if place not in self._unsent]
        held = [place for place in places if place in self._unsent]
        if failed:
            self._record(status, failed, result, retry_at_ms)
        if held:
            self._record(status, held, result, retry_at_ms, sent=False)

    def _record(
        self,
        status: Status,
        places: Sequence[int],
        result: DeliveryResult,
        retry_at_ms: int | None = None,
        *,
        sent: bool = True,
    ) -> None:
        self._outcomes.append(outcome_of(self._attempt, status, places, result, retry_at_ms, sent=sent))

    def _close(self, places: Sequence[int]) -> None:
        self._settled += len(places)
        self._attempt.settle(places)
