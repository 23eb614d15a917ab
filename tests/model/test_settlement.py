"""From rulings to a settlement: every event ends in exactly one place, and retries keep their distance."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.model.batches import SETTLED, Batch, DeliveryAttempt
from worker.model.deliveries import (
    MAX_REQUESTS,
    Assurance,
    DeliveryResult,
    Failure,
    Retry,
    Settlement,
    Verdict,
)
from worker.model.events import QueuedEvent
from worker.model.failures import FailureCode
from worker.model.orders import WorkOrder
from worker.model.settlement import LONGEST_REST, RetryPolicy, settle_deleted, settle_results

POLICY = RetryPolicy(max_retries=3, backoff=2.0)
BUSY = Failure(FailureCode.DESTINATION_BUSY, "HTTP 503: Server is busy (code 9)", "nothing to do", 503)
BAD = Failure(FailureCode.EVENT_REFUSED, "HTTP 400: Invalid data format (code 6)", "look at the event", 400)
CLAIMED_MS = 1_000_000


def batch_of(request_counts: Sequence[int], *, attempts: int = 0) -> Batch:
    """Make a batch whose events were carried that often."""
    events = [
        QueuedEvent(f"e{at}", "policy.deny", 10 + at, 20 + at, b"{}") for at in range(len(request_counts))
    ]
    order = WorkOrder("int_1", 0, 1)
    return Batch(order, events, b"{}", bytes(request_counts), attempts, CLAIMED_MS, time.monotonic(), [], [])


def attempt_of(
    request_counts: Sequence[int], *, before: Sequence[int] | None = None, attempts: int = 0, **fields: Any
) -> DeliveryAttempt:
    """Make an attempt after which the events were carried that often.

    `before` is how often they were before it: once less, where nothing is said. `fields` are the batch's.
    """
    if before is None:
        before = [count if count in {0, SETTLED} else count - 1 for count in request_counts]
    attempt = DeliveryAttempt(replace(batch_of(before, attempts=attempts), **fields))
    attempt.request_counts[:] = bytes(request_counts)
    return attempt


def failing(
    places: Sequence[int], *, retry_after: float | None = None, elapsed_ms: int = 5
) -> DeliveryResult:
    """Rule that these are to be sent again."""
    return DeliveryResult(places, Verdict.RETRY, elapsed_ms, BUSY, retry_after, 503)


def retry_of(settlement: Settlement) -> Retry:
    """Return the retry, which there is."""
    assert settlement.retry is not None
    return settlement.retry


def ids_by_status(settlement: Settlement) -> dict[str, list[str]]:
    """Name the events of each status, in order."""
    found: dict[str, list[str]] = {}
    for outcome in settlement.outcomes:
        found.setdefault(outcome.status, []).extend(trace.id for trace in outcome.events)
    return found


def test_what_was_delivered_has_no_reason() -> None:
    """Also where the destination had something to say: a reason is why an event was not delivered."""
    settlement = settle_results(
        attempt_of([1]), [DeliveryResult([0], Verdict.ACCEPTED, 7, BUSY, None, 200)], POLICY
    )
    assert [outcome.failure for outcome in settlement.outcomes] == [None]


def test_each_request_is_counted_and_none_beyond_the_mark() -> None:
    """Of the events that it carries, up to what a byte distinguishes from those that are settled."""
    attempt = attempt_of([0, 1, SETTLED - 1])
    attempt.count([0, 2])
    assert list(attempt.request_counts) == [1, 1, SETTLED - 1]


def test_a_batch_that_was_accepted_is_delivered() -> None:
    """One outcome, at the moment of the reply, with how many requests carried each event; no finding."""
    attempt = attempt_of([1, 2])
    settlement = settle_results(
        attempt, [DeliveryResult([0, 1], Verdict.ACCEPTED, 7, None, None, 200)], POLICY
    )

    [outcome] = settlement.outcomes
    assert outcome.integration_id == "int_1"
    assert outcome.status == "delivered"
    assert outcome.settled_ms == CLAIMED_MS + 7
    assert outcome.failure is None
    assert outcome.retry_at_ms is None
    assert outcome.http_status == 200
    assert [(trace.id, trace.time_ms, trace.published_ms, trace.attempts) for trace in outcome.events] == [
        ("e0", 10, 20, 1),
        ("e1", 11, 21, 2),
    ]
    assert settlement.settled == 2
    assert settlement.dead == []
    assert settlement.retry is None
    assert attempt.open_places() == []


def test_what_was_not_sent_is_no_failed_attempt() -> None:
    """Of a ruling, the events that no request carried are recorded apart, as not sent."""
    attempt = attempt_of([1, 1, 0, 2], before=[0, 1, 0, 1])
    settlement = settle_results(attempt, [failing([0, 1, 2, 3])], POLICY)

    assert [([trace.id for trace in one.events], one.sent) for one in settlement.outcomes] == [
        (["e0", "e3"], True),
        (["e1", "e2"], False),
    ]
    assert ids_by_status(settlement) == {"retrying": ["e0", "e3", "e1", "e2"]}


def test_what_was_refused_unsent_is_no_failed_attempt() -> None:
    """An event that an earlier request carried may be refused by ourselves: that is no attempt of its own."""
    refused = DeliveryResult([0, 1], Verdict.REFUSED, 5, BUSY)
    settlement = settle_results(attempt_of([2, 1], before=[1, 1]), [refused], POLICY)

    assert [([trace.id for trace in one.events], one.sent) for one in settlement.outcomes] == [
        (["e0"], True),
        (["e1"], False),
    ]
    assert [[event.id for event in one.events] for one in settlement.dead] == [["e0", "e1"]]


def test_what_cannot_be_sent_at_all_is_no_failed_attempt() -> None:
    """An integration whose configuration cannot be read sends nothing."""
    settlement = settle_results(attempt_of([0, 1], before=[0, 1]), [failing([0, 1])], POLICY, sent=False)

    assert [one.sent for one in settlement.outcomes] == [False]


def test_what_is_refused_is_dead_with_its_payload_and_takes_nobody_along() -> None:
    """The offender becomes a dead letter at once; what stood beside it is delivered or tried again."""
    attempt = attempt_of([1, 1, 1])
    results = [
        DeliveryResult([0], Verdict.ACCEPTED, 5),
        DeliveryResult([1], Verdict.REFUSED, 6, BAD, None, 400),
        failing([2]),
    ]
    settlement = settle_results(attempt, results, POLICY)

    assert ids_by_status(settlement) == {"delivered": ["e0"], "dead": ["e1"], "retrying": ["e2"]}
    [letter] = settlement.dead
    assert (letter.integration_id, letter.cause, letter.failure) == ("int_1", "refused", BAD)
    assert letter.events == [attempt.batch.events[1]]
    assert letter.attempts == [1]
    assert letter.dead_ms == CLAIMED_MS + 6
    assert settlement.settled == 2
    assert list(attempt.request_counts) == [SETTLED, SETTLED, 1]
    assert retry_of(settlement).request_counts == bytes(attempt.request_counts)


def test_a_retry_says_why_and_when_it_is_due() -> None:
    """Its outcome carries the moment, its reason is the first failure's."""
    settlement = settle_results(attempt_of([1, 1]), [failing([0]), failing([1], elapsed_ms=40)], POLICY)
    retry = retry_of(settlement)

    due = CLAIMED_MS + 40 + round(retry.seconds * 1000)
    assert [outcome.retry_at_ms for outcome in settlement.outcomes] == [due, due]
    assert [outcome.failure for outcome in settlement.outcomes] == [BUSY, BUSY]
    assert retry.reason == BUSY.code
    assert retry.attempts == 1
    assert retry.by_celery is True


@pytest.mark.parametrize(("attempts", "doubled"), [(0, 2.0), (1, 4.0), (2, 8.0)])
def test_delays_double_and_stray_by_a_fifth_at_the_most(attempts: int, doubled: float) -> None:
    """The first retry waits for the backoff, each further one twice as long; no two the same."""
    delays = {
        retry_of(settle_results(attempt_of([1], attempts=attempts), [failing([0])], POLICY)).seconds
        for _ in range(200)
    }

    assert len(delays) > 100
    assert doubled * 0.8 <= min(delays) < doubled < max(delays) <= doubled * 1.2


def test_retry_after_wins_over_a_shorter_backoff() -> None:
    """The longest wish among the replies is granted, to the second."""
    results = [failing([0], retry_after=7), failing([1], retry_after=33), failing([2])]

    assert retry_of(settle_results(attempt_of([1, 1, 1]), results, POLICY)).seconds == 33


@pytest.mark.parametrize("asked", [0.0, 1.0])
def test_retry_after_does_not_shorten_the_backoff(asked: float) -> None:
    """A destination that says "at once" is still not hammered."""
    settlement = settle_results(attempt_of([1]), [failing([0], retry_after=asked)], POLICY)

    assert retry_of(settlement).seconds >= 1.6


def test_retry_after_is_capped_at_an_hour() -> None:
    """No reply can put events off for days."""
    settlement = settle_results(attempt_of([1]), [failing([0], retry_after=1e9)], POLICY)

    assert retry_of(settlement).seconds == 3600


@pytest.mark.parametrize(
    ("asked", "celery_can", "by_celery"),
    [(60.0, True, True), (60.001, True, False), (3600.0, True, False), (10.0, False, False)],
)
def test_celery_waits_for_a_minute_at_the_most(asked: float, celery_can: bool, by_celery: bool) -> None:  # noqa: FBT001 - pytest passes by name
    """Longer waits, and those for which Celery has no retry left, are the sweeper's."""
    policy = RetryPolicy(3, 2.0, celery_can)

    settlement = settle_results(attempt_of([1]), [failing([0], retry_after=asked)], policy)

    assert retry_of(settlement).by_celery is by_celery


@pytest.mark.parametrize("max_retries", [0, 1, 2, 3])
def test_after_the_last_retry_an_event_is_dead(max_retries: int) -> None:
    """An integration gets one attempt and its retries, then dead letters that say they are exhausted."""
    policy = RetryPolicy(max_retries, 2.0)
    attempt = DeliveryAttempt(batch_of([0, 0]))
    for number in range(1, max_retries + 1):
        attempt.count([0, 1])
        retry = retry_of(settle_results(attempt, [failing([0, 1])], policy))
        assert (retry.attempts, retry.request_counts) == (number, bytes([number, number]))
        attempt = DeliveryAttempt(batch_of(retry.request_counts, attempts=retry.attempts))
    attempt.count([0, 1])

    settlement = settle_results(attempt, [failing([0, 1])], policy)

    assert ids_by_status(settlement) == {"dead": ["e0", "e1"]}
    assert [(one.cause, one.attempts) for one in settlement.dead] == [("exhausted", [max_retries + 1] * 2)]
    assert (settlement.settled, settlement.retry) == (2, None)


def test_an_event_that_was_carried_four_times_is_dead_before_the_others() -> None:
    """What surgery has carried often does not come back, though its batch has retries left."""
    settlement = settle_results(attempt_of([MAX_REQUESTS, 1]), [failing([0, 1])], POLICY)

    assert ids_by_status(settlement) == {"dead": ["e0"], "retrying": ["e1"]}
    assert settlement.dead[0].cause == "exhausted"


@pytest.mark.parametrize(("request_counts", "attempts"), [([0], 0), ([3], 3), ([MAX_REQUESTS], 3), ([9], 5)])
def test_what_was_not_sent_was_no_attempt(request_counts: list[int], attempts: int) -> None:
    """A configuration that cannot be read kills nothing, however often the events were carried before."""
    attempt = attempt_of(request_counts, before=request_counts, attempts=attempts)

    settlement = settle_results(attempt, [failing([0])], POLICY, sent=False)

    assert (settlement.settled, settlement.dead) == (0, [])
    assert (retry_of(settlement).attempts, list(attempt.request_counts)) == (attempts, request_counts)


def test_a_ruling_on_nothing_is_nothing() -> None:
    """No outcome is written for no events, and no retry is due."""
    results = [DeliveryResult([], verdict, 5, BUSY) for verdict in Verdict]

    assert settle_results(attempt_of([]), results, POLICY) == Settlement(0, [], [], None)


def test_a_refusal_without_a_reason_still_has_words() -> None:
    """A dead letter always says something."""
    [letter] = settle_results(attempt_of([1]), [DeliveryResult([0], Verdict.REFUSED, 5)], POLICY).dead

    assert letter.failure.code == FailureCode.UNKNOWN


def test_the_events_of_a_deleted_integration_are_dead_letters() -> None:
    """All that is open is buried with a reason; what was settled before stays as it is."""
    settlement = settle_deleted(batch_of([0, SETTLED, 2], attempts=1))

    [letter] = settlement.dead
    assert (letter.cause, letter.failure.code, letter.attempts) == ("deleted", "integration_deleted", [0, 2])
    assert ids_by_status(settlement) == {"dead": ["e0", "e2"]}
    assert [one.sent for one in settlement.outcomes] == [False]
    assert (settlement.settled, settlement.retry) == (2, None)


@st.composite
def ruled_batches(draw: st.DrawFn) -> tuple[DeliveryAttempt, list[DeliveryResult], RetryPolicy]:
    """Make a batch at any stage of its life, and rulings that cover what is open of it."""
    request_counts = draw(st.lists(st.integers(0, 6) | st.just(SETTLED), min_size=1, max_size=30))
    attempt = attempt_of(request_counts, attempts=draw(st.integers(0, 4)))
    verdicts = [
        (place, draw(st.sampled_from(Verdict)), draw(st.integers(0, 2))) for place in attempt.open_places()
    ]
    groups: dict[tuple[Verdict, int], list[int]] = {}
    for place, verdict, group in verdicts:
        groups.setdefault((verdict, group), []).append(place)
    results = [DeliveryResult(places, verdict, group, BUSY) for (verdict, group), places in groups.items()]
    return attempt, results, RetryPolicy(draw(st.integers(0, 3)), 2.0)


@settings(max_examples=200)
@given(ruled_batches(), st.booleans())
def test_every_open_event_ends_in_exactly_one_place(
    given_attempt: tuple[DeliveryAttempt, list[DeliveryResult], RetryPolicy],
    sent: bool,  # noqa: FBT001 - hypothesis passes by place
) -> None:
    """Delivered, dead, or still open for the retry; counts, outcomes and letters all agree."""
    attempt, results, policy = given_attempt
    were_open = {attempt.batch.events[place].id for place in attempt.open_places()}

    settlement = settle_results(attempt, results, policy, sent=sent)

    found = ids_by_status(settlement)
    delivered, dead, retrying = (found.get(status, []) for status in ("delivered", "dead", "retrying"))
    assert sorted(delivered + dead + retrying) == sorted(were_open)
    assert settlement.settled == len(delivered) + len(dead)
    # A letter keeps the order of the batch; the outcomes name what was not sent last.
    assert sorted(dead) == sorted(event.id for letter in settlement.dead for event in letter.events)
    assert [len(letter.events) for letter in settlement.dead] == [
        len(one.attempts) for one in settlement.dead
    ]
    assert sorted(attempt.batch.events[place].id for place in attempt.open_places()) == sorted(retrying)
    assert (settlement.retry is None) == (not retrying)
    if settlement.retry is not None:
        assert settlement.retry.request_counts == bytes(attempt.request_counts)


def test_what_a_delivery_can_claim_is_recorded_with_it() -> None:
    """Delivered events carry the assurance of their ruling; what is not delivered carries none."""
    attempt = attempt_of([1, 1, 1])
    results = [
        DeliveryResult([0], Verdict.ACCEPTED, 5, assurance=Assurance.SENT),
        DeliveryResult([1], Verdict.REFUSED, 5, BAD),
        failing([2]),
    ]

    settlement = settle_results(attempt, results, POLICY)

    assert {outcome.status: outcome.assurance for outcome in settlement.outcomes} == {
        "delivered": "sent",
        "dead": None,
        "retrying": None,
    }


@pytest.mark.parametrize(("asked", "granted"), [(0.0, 0.0), (2.5, 2.5), (1e9, LONGEST_REST)])
def test_a_destination_that_asks_to_be_spared_is_spared_for_a_while(asked: float, granted: float) -> None:
    """The longest rest that any reply asked for counts, up to a bound that no destination can exceed."""
    attempt = attempt_of([1, 1])
    results = [
        DeliveryResult([0], Verdict.ACCEPTED, 5, cool_down=asked),
        DeliveryResult([1], Verdict.ACCEPTED, 5),
    ]

    assert settle_results(attempt, results, POLICY).cool_down == granted


def test_a_destination_that_is_gone_switches_its_integration_off() -> None:
    """The event that got this answer is dead; those that were not sent wait, not attempted yet."""
    attempt = attempt_of([1, 0])
    gone = Failure(FailureCode.ENDPOINT_GONE, "HTTP 410: Gone", "switch it on again", 410)
    results = [DeliveryResult([0], Verdict.REFUSED, 5, gone), DeliveryResult([1], Verdict.RETRY, 5, gone)]

    settlement = settle_results(attempt, results, RetryPolicy(max_retries=0, backoff=2.0))

    assert settlement.disable
    assert ids_by_status(settlement) == {"dead": ["e0"], "retrying": ["e1"]}
    assert retry_of(settlement).request_counts == bytes([SETTLED, 0])


def test_a_shortage_behind_what_was_sent_ends_at_the_limit_of_requests() -> None:
    """As when Splunk took the events, and this process could not ask whether they are indexed."""
    short = Failure(FailureCode.OUT_OF_RESOURCES, "no descriptor is left", "raise the limit")
    before = [MAX_REQUESTS - 1, MAX_REQUESTS - 2, MAX_REQUESTS]
    attempt = attempt_of([MAX_REQUESTS, MAX_REQUESTS - 1, MAX_REQUESTS], before=before)
    results = [DeliveryResult([0, 1, 2], Verdict.RETRY, 5, short, http_status=200)]

    settlement = settle_results(attempt, results, POLICY)
    assert ids_by_status(settlement) == {"dead": ["e0"], "retrying": ["e1", "e2"]}
    assert retry_of(settlement).request_counts == bytes([SETTLED, MAX_REQUESTS - 1, MAX_REQUESTS])
    assert retry_of(settlement).attempts == 0
    assert [one.sent for one in settlement.outcomes if one.status == "retrying"] == [True, False]
