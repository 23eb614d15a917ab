"""What a sending says of its destination, and what the settlement spares because of it."""

from dataclasses import replace

import pytest

from tests.model.test_settlement import (
    BAD,
    BUSY,
    POLICY,
    attempt_of,
    batch_of,
    failing,
    ids_by_status,
    retry_of,
)
from worker.model.batches import SETTLED, Batch, DeliveryAttempt
from worker.model.breaker import breaker_signal
from worker.model.deliveries import BreakerSignal, Cause, DeliveryResult, Failure, Verdict
from worker.model.failures import FailureCode
from worker.model.settlement import RetryPolicy, settle_lost, settle_results

TOKEN = Failure(FailureCode.TOKEN_INVALID, "HTTP 403: Invalid token (code 4)", "check the token", 403)
ENDED = Failure(FailureCode.ENDPOINT_GONE, "HTTP 410", "switch it on again", 410)
SHORT = Failure(FailureCode.OUT_OF_RESOURCES, "too many open files", "raise the limit")
NO_RETRIES = RetryPolicy(max_retries=0, backoff=2.0)


def accepted(*places: int) -> DeliveryResult:
    """Rule that these came through."""
    return DeliveryResult(places, Verdict.ACCEPTED, 5)


def turned_away(*places: int) -> DeliveryResult:
    """Rule that a wrong setting kept these out."""
    return DeliveryResult(places, Verdict.RETRY, 5, TOKEN, None, 403)


#: Results of a sending, and what they say of the destination.
SIGNALS: list[tuple[list[DeliveryResult], BreakerSignal]] = [
    ([accepted(0, 1)], BreakerSignal.WELL),
    ([failing([0]), accepted(1)], BreakerSignal.WELL),
    ([DeliveryResult([0], Verdict.REFUSED, 5, BAD), failing([1])], BreakerSignal.WELL),
    ([failing([0, 1])], BreakerSignal.FAILED),
    ([turned_away(0, 1)], BreakerSignal.MISCONFIGURED),
    ([failing([0]), turned_away(1)], BreakerSignal.FAILED),
    (
        [DeliveryResult([0], Verdict.REFUSED, 5, ENDED), DeliveryResult([1], Verdict.RETRY, 5, ENDED)],
        BreakerSignal.FAILED,
    ),
    ([accepted(), failing([0])], BreakerSignal.FAILED),
    ([DeliveryResult([0], Verdict.RETRY, 5, SHORT)], BreakerSignal.UNKNOWN),
    ([DeliveryResult([0], Verdict.RETRY, 5, SHORT), failing([1])], BreakerSignal.FAILED),
    ([], BreakerSignal.UNKNOWN),
]


def test_one_that_came_through_is_enough() -> None:
    """A destination that takes anything, or judges an event, is well; else its first failure decides."""
    assert [(results, breaker_signal(results)) for results, _ in SIGNALS] == SIGNALS


@pytest.mark.parametrize(
    ("failure", "code"), [(BUSY, FailureCode.DESTINATION_BUSY), (None, FailureCode.UNKNOWN)]
)
def test_what_may_open_the_breaker_has_a_reason(failure: Failure | None, code: FailureCode) -> None:
    """Also where the failure was the last attempt, so that nothing is left to retry."""
    settlement = settle_results(attempt_of([1]), [DeliveryResult([0], Verdict.RETRY, 5, failure)], NO_RETRIES)

    assert settlement.retry is None
    assert (settlement.health, settlement.cause) == (BreakerSignal.FAILED, code)


def test_a_wrong_setting_costs_no_attempt() -> None:
    """Even without retries, nothing dies of a wrong token, and no request is counted for it."""
    settlement = settle_results(attempt_of([1, 1]), [turned_away(0, 1)], NO_RETRIES)

    assert (settlement.health, settlement.cause) == (BreakerSignal.MISCONFIGURED, "token_invalid")
    assert ids_by_status(settlement) == {"retrying": ["e0", "e1"]}
    assert (retry_of(settlement).attempts, retry_of(settlement).request_counts) == (0, bytes([0, 0]))


def test_a_probe_that_gets_through_in_part_is_a_sending_like_any_other() -> None:
    """What failed beside it has had its attempt."""
    attempt = attempt_of([1, 1], attempts=1, probing=True)

    settlement = settle_results(attempt, [accepted(0), failing([1])], POLICY)

    assert settlement.health is BreakerSignal.WELL
    assert (retry_of(settlement).attempts, retry_of(settlement).request_counts) == (2, bytes([SETTLED, 1]))


def test_the_time_that_a_destination_asks_for_is_passed_on() -> None:
    """The longest `Retry-After` of the sending, up to an hour."""
    results = [failing([0], retry_after=30), failing([1], retry_after=9999)]

    assert settle_results(attempt_of([1, 1]), results, POLICY).asked == 3600


def test_only_some_are_sent_while_a_batch_is_under_suspicion() -> None:
    """The others are not for the sender, and are as before afterwards."""
    attempt = DeliveryAttempt(_suspected([SETTLED, 0, 1, 0, 2], suspects=2))

    assert attempt.places == [1, 2]
    assert attempt.open_places() == [1, 2, 3, 4]
    attempt.count_unsent()
    assert list(attempt.request_counts) == [SETTLED, 1, 2, 0, 2]


def test_what_was_not_sent_of_a_suspected_batch_is_due_at_once() -> None:
    """It stays under suspicion, and has had no attempt."""
    attempt = attempt_of([1, 0, 0], suspects=1)

    settlement = settle_results(attempt, [accepted(0)], POLICY)

    retry = retry_of(settlement)
    assert (retry.seconds, retry.by_celery) == (0, False)
    assert (retry.attempts, retry.request_counts) == (0, bytes([SETTLED, 0, 0]))
    assert settlement.suspicious


def test_the_event_that_ends_workers_is_buried_alone() -> None:
    """The first of those that are left; the rest is above suspicion."""
    batch = _suspected([SETTLED, 5, 5], suspects=1, lost_alone=2)

    settlement = settle_lost(batch)

    [letter] = settlement.dead
    assert (letter.cause, letter.failure.code) == (Cause.WORKER_LOST.value, "worker_lost")
    assert [event.id for event in letter.events] == ["e1"]
    assert not settlement.suspicious
    assert retry_of(settlement).seconds == 0


def test_what_ends_by_waiting_is_no_wrong_setting() -> None:
    """Busy, slow, lost: these come back by themselves."""
    assert not BUSY.code.is_setting
    passing = (FailureCode.TIMED_OUT, FailureCode.CONNECTION_LOST, FailureCode.CONNECT_FAILED)
    assert not any(code.is_setting for code in passing)


def _suspected(request_counts: list[int], *, suspects: int, lost_alone: int = 0) -> Batch:
    return replace(batch_of(request_counts), suspects=suspects, lost_alone=lost_alone)
