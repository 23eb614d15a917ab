"""A refused event is cut out of its batch: exactly it is refused, and nothing is carried too often."""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.destinations.batches import attempt_of, draw_offenders, next_attempt, soon, verdicts
from tests.destinations.senders import splunk_to
from tests.receivers import scripts
from tests.receivers.acks import AckSplunk
from tests.receivers.hec import HecReceiver
from worker.destinations.splunk_hec.sender import SplunkHecSender
from worker.integrations.integration import MAX_RETRIES
from worker.model.batches import SETTLED, DeliveryAttempt
from worker.model.deliveries import MAX_REQUESTS, DeadLetter, Verdict
from worker.model.failures import FailureCode
from worker.model.settlement import RetryPolicy, settle_results

#: A failing example shows its seed.
DICE = st.randoms(use_true_random=True)
ACCEPTED, RETRY, REFUSED = Verdict.ACCEPTED, Verdict.RETRY, Verdict.REFUSED


def offending(script_of: Any, attempt: DeliveryAttempt, offenders: set[str], **options: Any) -> HecReceiver:
    """Send the batch to a Splunk that refuses the offenders; check what is promised of every surgery."""
    splunk = HecReceiver(script_of(scripts.offender(lambda event: event["id"] in offenders)))
    with splunk, splunk_to(splunk.url, **options) as sender:
        ruled = verdicts(attempt, sender.send(attempt, soon()))

    assert {event_id for event_id, verdict in ruled.items() if verdict is REFUSED} == offenders
    assert {
        event_id for event_id, verdict in ruled.items() if verdict is ACCEPTED
    } == ruled.keys() - offenders
    assert Counter(splunk.accepted_ids) == Counter(ruled.keys() - offenders)
    request_counts = Counter(event_id for request in splunk.posts for event_id in request.ids)
    assert max(request_counts.values()) <= MAX_REQUESTS
    assert [request_counts[event.id] for event in attempt.batch.events] == list(attempt.request_counts)
    return splunk


@settings(max_examples=40)
@given(dice=DICE)
def test_surgery_refuses_the_offenders_and_delivers_the_rest(dice: random.Random) -> None:
    """Whichever events are bad: exactly they are refused, every other is taken once, in four requests."""
    attempt, offenders = draw_offenders(dice)

    offending(lambda script: script, attempt, offenders)


@settings(max_examples=20)
@given(dice=DICE)
def test_surgery_holds_where_requests_are_too_large_as_well(dice: random.Random) -> None:
    """A limit that is not documented, on top of bad events, costs no event its four requests either."""
    attempt, offenders = draw_offenders(dice)
    limit: dict[str, Any] = dice.choice(
        [{"max_events": dice.randint(1, 60)}, {"max_bytes": dice.randint(150, 9_000)}]
    )

    offending(lambda script: scripts.too_large(**limit, then=script), attempt, offenders)


@settings(max_examples=8)
@given(dice=DICE)
def test_surgery_holds_where_every_part_is_to_be_confirmed(dice: random.Random) -> None:
    """With indexer acknowledgement the same events are refused, and all others are confirmed, once each."""
    attempt, offenders = draw_offenders(dice)

    splunk = offending(AckSplunk, attempt, offenders, use_ack=True)

    assert len({request.channel for request in splunk.requests}) == 1


@pytest.mark.parametrize("offenders", [{"e0"}, {"e59"}, {"e0", "e1", "e2", "e58", "e59"}])
def test_surgery_needs_few_requests_when_few_are_bad(offenders: set[str]) -> None:
    """Up to two offenders cost a request each; beyond that, parts of about the square root."""
    splunk = offending(lambda script: script, attempt_of(60), offenders)

    assert len(splunk.posts) <= (2 if len(offenders) == 1 else 20)


def test_an_offender_that_is_not_named_is_found() -> None:
    """Splunk answers a code without a place; parts get smaller until the offender is alone."""

    def anonymous(request: scripts.Request) -> scripts.Action:
        bad = "e17" in request.ids
        return scripts.status(400, code=6)(request) if bad else scripts.ok()(request)

    attempt = attempt_of(60)
    with HecReceiver(anonymous) as splunk, splunk_to(splunk.url) as sender:
        ruled = verdicts(attempt, sender.send(attempt, soon()))

    assert {event_id for event_id, verdict in ruled.items() if verdict is not ACCEPTED} == {"e17"}
    assert ruled["e17"] is REFUSED
    assert Counter(splunk.accepted_ids) == Counter(ruled.keys() - {"e17"})
    assert max(attempt.request_counts) <= MAX_REQUESTS


def test_a_busy_splunk_amid_surgery_puts_the_rest_off() -> None:
    """What was taken stays taken, the offender refused; the rest comes back, some of it not even carried."""
    attempt = attempt_of(30)
    bad = scripts.offender(lambda event: event["id"] == "e4")
    with (
        HecReceiver(scripts.sequence(bad, scripts.throttled(7))) as splunk,
        splunk_to(splunk.url, batch_events=10) as sender,
    ):
        results = sender.send(attempt, soon())

    ruled = verdicts(attempt, results)
    assert [ruled[f"e{place}"] for place in range(30)] == [ACCEPTED] * 4 + [REFUSED] + [RETRY] * 25
    assert list(attempt.request_counts) == [1] * 5 + [2] * 5 + [0] * 20
    assert len(splunk.posts) == 2
    assert {result.retry_after for result in results if result.verdict is RETRY} == {7.0}


def through_all_attempts(sender: SplunkHecSender, attempt: DeliveryAttempt) -> list[DeadLetter]:
    """Send the batch and settle it, again and again, until nothing of it is left; return what died."""
    dead: list[DeadLetter] = []
    while True:
        settlement = settle_results(attempt, sender.send(attempt, soon()), RetryPolicy(MAX_RETRIES, 0))
        dead += settlement.dead
        if settlement.retry is None:
            return dead
        attempt = next_attempt(attempt, settlement.retry.attempts, attempt.batch.claimed_at)


@settings(max_examples=40)
@given(dice=DICE)
def test_no_innocent_dies_once_a_batch_has_come_apart(dice: random.Random) -> None:
    """However often Splunk is busy in between, an event that goes out for the fourth time goes alone."""
    attempt, offenders = draw_offenders(dice)
    refuses = scripts.offender(lambda event: event["id"] in offenders)
    flaky = scripts.sequence(
        refuses, *(scripts.busy() if dice.random() < 0.4 else refuses for _ in range(60)), refuses
    )
    with HecReceiver(flaky) as splunk, splunk_to(splunk.url) as sender:
        dead = through_all_attempts(sender, attempt)

    request_counts = Counter(event_id for request in splunk.posts for event_id in request.ids)
    accepted = set(splunk.accepted_ids)
    assert {letter.failure.code for letter in dead} <= {"event_refused", "destination_busy"}
    assert {
        event.id
        for letter in dead
        if letter.failure.code == FailureCode.EVENT_REFUSED
        for event in letter.events
    } <= offenders
    assert accepted.isdisjoint(event.id for letter in dead for event in letter.events)
    assert max(request_counts.values()) <= MAX_REQUESTS


def test_a_batch_that_came_apart_is_sent_in_parts_by_what_each_has_left() -> None:
    """A busy answer costs the part a request that met it; the others keep theirs, and are not cut further."""
    attempt = attempt_of(100, carried=[SETTLED] * 20 + [3] * 8 + [2] * 64 + [1] * 8)
    with HecReceiver() as splunk, splunk_to(splunk.url) as sender:
        ruled = verdicts(attempt, sender.send(attempt, soon()))

    assert set(ruled.values()) == {ACCEPTED}
    assert [len(request.ids) for request in splunk.posts] == [1] * 8 + [8] * 8 + [8]
    assert splunk.accepted_ids == [f"e{place}" for place in range(20, 100)]


def test_an_event_without_requests_left_is_not_carried_again() -> None:
    """Behind an offender, what earlier attempts carried four times is given back, the rest goes on."""
    attempt = attempt_of(4, carried=[0, 0, 0, MAX_REQUESTS - 1])
    bad = scripts.offender(lambda event: event["id"] == "e2")
    with HecReceiver(bad) as splunk, splunk_to(splunk.url) as sender:
        ruled = verdicts(attempt, sender.send(attempt, soon()))

    assert ruled == {"e0": ACCEPTED, "e1": ACCEPTED, "e2": REFUSED, "e3": RETRY}
    assert splunk.request_counts("e3") == 1


def test_innocents_of_a_last_request_are_not_called_refused() -> None:
    """An offender in the fourth request leaves events behind it without one: their failure says so."""
    attempt = attempt_of(5, carried=[MAX_REQUESTS - 1] * 5)
    script = scripts.offender(lambda event: event["id"] == attempt.batch.events[1].id)
    with HecReceiver(script) as splunk, splunk_to(splunk.url) as sender:
        failures = {
            attempt.batch.events[place].id: result.failure.code
            for result in sender.send(attempt, soon())
            for place in result.places
            if result.failure is not None
        }

    behind = dict.fromkeys((event.id for event in attempt.batch.events[2:]), "not_reached")
    assert failures == {attempt.batch.events[1].id: "event_refused", **behind}


def test_a_batch_that_killed_its_workers_goes_out_one_by_one() -> None:
    """With no request left to it, each event goes alone, so that one that kills is alone in doing so."""
    attempt = attempt_of(5, carried=[MAX_REQUESTS] * 5)
    with HecReceiver() as splunk, splunk_to(splunk.url) as sender:
        sender.send(attempt, soon())

    assert [len(request.ids) for request in splunk.posts] == [1] * 5
