"""What a held backlog costs: a probe carries one event, and what it may have brought counts."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.model.test_settlement import POLICY, attempt_of, ids_by_status, retry_of
from worker.model.batches import SETTLED, DeliveryAttempt
from worker.model.deliveries import MAX_REQUESTS, BreakerSignal, DeliveryResult, Failure, Verdict
from worker.model.failures import FailureCode
from worker.model.settlement import RetryPolicy, settle_results


def failed(
    code: FailureCode, status: int | None = None, *, not_accepted: bool | None = None
) -> DeliveryResult:
    """Rule that the first event is to be sent again, for this reason."""
    failure = Failure(code, "why", "what to do", status)
    return DeliveryResult([0], Verdict.RETRY, 5, failure, None, status, not_accepted=not_accepted)


CERTAIN = [
    failed(FailureCode.NAME_UNKNOWN),
    failed(FailureCode.ADDRESS_REFUSED),
    failed(FailureCode.CONNECT_FAILED),
    failed(FailureCode.TLS_FAILED),
    failed(FailureCode.CONFIGURATION),
    failed(FailureCode.OUT_OF_TIME),
    failed(FailureCode.NOT_PROCESSED),
    failed(FailureCode.TOKEN_INVALID, 403),
    failed(FailureCode.AUTH_REFUSED, 401),
    failed(FailureCode.REDIRECTED, 308),
    failed(FailureCode.DESTINATION_BUSY, 429),
    failed(FailureCode.DESTINATION_BUSY, 503, not_accepted=True),
]
UNCERTAIN = [
    failed(FailureCode.TIMED_OUT),
    failed(FailureCode.CONNECTION_LOST),
    failed(FailureCode.UNCONFIRMED),
    failed(FailureCode.INTERNAL_ERROR),
    failed(FailureCode.NOT_SPLUNK, 200),
    failed(FailureCode.NOT_SPLUNK, 204),
    failed(FailureCode.ACK_MISSING, 200),
    failed(FailureCode.DESTINATION_BUSY, 500),
    failed(FailureCode.DESTINATION_BUSY, 502),
    failed(FailureCode.DESTINATION_BUSY, 503),
    failed(FailureCode.ACK_DISABLED, 400, not_accepted=False),
    DeliveryResult([0], Verdict.RETRY, 5),
]


def _probing(
    request_counts: list[int], before: list[int] | None = None, suspects: int = 0
) -> DeliveryAttempt:
    return attempt_of(request_counts, before=before, attempts=2, probing=True, suspects=suspects)


def test_what_was_certainly_not_accepted_costs_nothing(subtests: pytest.Subtests) -> None:
    """However long the outage lasts, nothing dies of it, not even what its worker's death counts for."""
    for result, request_counts in product(CERTAIN, (1, MAX_REQUESTS, 9)):
        with subtests.test(result=result, request_counts=request_counts):
            settlement = settle_results(_probing([request_counts]), [result], POLICY)

            retry = retry_of(settlement)
            assert settlement.dead == []
            assert (retry.request_counts, retry.attempts) == (bytes([request_counts - 1]), 2)
            assert (retry.seconds, retry.by_celery) == (60, False)


def test_what_may_have_been_accepted_counts(subtests: pytest.Subtests) -> None:
    """It is no attempt, but one of the four requests; after the last, the event is a dead letter."""
    for result in UNCERTAIN:
        with subtests.test(result=result):
            settlement = settle_results(_probing([3, 0], [2, 0]), [result], RetryPolicy(0, 2.0))

            retry = retry_of(settlement)
            assert settlement.dead == []
            assert (retry.request_counts, retry.attempts) == (bytes([3, 0]), 2)

            settlement = settle_results(_probing([MAX_REQUESTS, 0], [3, 0]), [result], POLICY)

            retry = retry_of(settlement)
            assert ids_by_status(settlement) == {"dead": ["e0"]}
            assert (settlement.dead[0].cause, settlement.dead[0].attempts) == ("exhausted", [MAX_REQUESTS])
            assert retry.request_counts == bytes([SETTLED, 0])
            assert (retry.seconds, retry.attempts) == (60, 2)


def test_a_setting_that_hides_what_was_accepted_counts_as_well() -> None:
    """A page in place of Splunk's answer holds the backlog; the events that it stands for may be there."""
    result = replace(failed(FailureCode.NOT_SPLUNK, 200), places=[0, 1])

    settlement = settle_results(attempt_of([1, 4], before=[0, 3]), [result], RetryPolicy(0, 2.0))

    assert (settlement.health, settlement.cause) == (BreakerSignal.MISCONFIGURED, "not_splunk")
    assert ids_by_status(settlement) == {"dead": ["e1"], "retrying": ["e0"]}


def test_the_reason_is_given_although_nothing_is_left() -> None:
    """The breaker opens for a reason, even if every event of the sending is dead."""
    result = failed(FailureCode.NOT_SPLUNK, 200)

    settlement = settle_results(attempt_of([MAX_REQUESTS], before=[3]), [result], POLICY)

    assert (settlement.retry, settlement.cause) == (None, "not_splunk")


@pytest.mark.parametrize(
    ("request_counts", "suspects", "sent"),
    [([1, 1, 1], 0, [0]), ([SETTLED, 2, 1, 1], 0, [2]), ([2, 0], 64, [0]), ([2, 0], 1, [0]), ([3], 0, [0])],
)
def test_a_probe_is_one_event(request_counts: list[int], suspects: int, sent: list[int]) -> None:
    """The one that was carried least; of a batch under suspicion, its first suspect."""
    attempt = _probing(request_counts, request_counts, suspects)

    assert attempt.places == sent
    attempt.count(attempt.places)

    expected = [count + (place == sent[0]) for place, count in enumerate(request_counts)]
    assert list(attempt.request_counts) == expected
    assert list(attempt.batch.request_counts) == request_counts


def test_a_probe_that_comes_through_lets_the_rest_follow_at_once() -> None:
    """What was left out of it has had no attempt."""
    attempt = _probing([1, 0, 0], [0, 0, 0])

    settlement = settle_results(attempt, [DeliveryResult([0], Verdict.ACCEPTED, 5)], POLICY)

    retry = retry_of(settlement)
    assert settlement.health is BreakerSignal.WELL
    assert (retry.seconds, retry.request_counts) == (0, bytes([SETTLED, 0, 0]))


@given(
    request_counts=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    fates=st.lists(st.sampled_from(CERTAIN + UNCERTAIN), max_size=40),
)
def test_no_event_is_carried_more_than_four_times(
    request_counts: list[int], fates: list[DeliveryResult]
) -> None:
    """Whatever a destination answers to probe after probe: beyond four go only those that it never had."""
    counts, uncertain = list(request_counts), list(request_counts)
    for fate in fates:
        attempt = _probing(counts, counts)
        if not attempt.places:
            break
        [place] = attempt.places
        attempt.count([place])
        uncertain[place] += not fate.is_certainly_not_accepted
        settle_results(attempt, [replace(fate, places=[place])], POLICY)
        counts = list(attempt.request_counts)

    assert max(uncertain) <= MAX_REQUESTS
    assert [count == SETTLED for count in counts] == [count == MAX_REQUESTS for count in uncertain]


@given(st.lists(st.sampled_from([0, 1, 2, 3, 253, 254, SETTLED]), max_size=12), st.data())
def test_a_whole_batch_is_counted_as_each_of_its_events(before: list[int], data: st.DataObject) -> None:
    """The quick ways for all events at once say what the ways for some say."""
    attempt = attempt_of(before, before=before)
    some = data.draw(st.sets(st.sampled_from(range(len(before))))) if before else set[int]()
    attempt.count(some)

    counted = [
        min(count + 1, SETTLED - 1) if at in some and count != SETTLED else count
        for at, count in enumerate(before)
    ]
    assert list(attempt.request_counts) == counted
    assert attempt.open_places() == [at for at, count in enumerate(counted) if count != SETTLED]
    assert attempt.has_open_places() == bool(attempt.open_places())
    assert attempt.unsent_places() == {at for at in attempt.open_places() if counted[at] == before[at]}
    assert attempt.count_resent(some) == sum(counted[at] > 1 for at in some)
    attempt.settle(sorted(some))
    assert [attempt.request_counts[at] == SETTLED for at in range(len(before))] == [
        at in some or count == SETTLED for at, count in enumerate(before)
    ]
