"""Several events in one request: its body, its id, and how one that is refused is cut out."""

import json
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.destinations.batches import attempt_of, draw_offenders, failures, soon, verdicts
from tests.destinations.senders import OLDER, webhook_to
from tests.receivers import scripts
from tests.receivers.webhook import WebhookReceiver, answers, demands_signature, refuses, takes
from worker.model.deliveries import MAX_REQUESTS, Verdict
from worker.model.failures import FailureCode

ACCEPTED, RETRY, REFUSED = Verdict.ACCEPTED, Verdict.RETRY, Verdict.REFUSED
ARRAY: dict[str, Any] = {"body": "array"}


@pytest.mark.parametrize(
    ("body", "media_type"), [("array", "application/json"), ("lines", "application/x-ndjson")]
)
def test_a_batch_goes_out_in_one_request(body: str, media_type: str) -> None:
    """All events in their order, signed as a whole, under an id of its own."""
    attempt = attempt_of(50)
    with (
        WebhookReceiver(demands_signature(OLDER)) as endpoint,
        webhook_to(endpoint.url, body=body, signing_secrets=[OLDER]) as sender,
    ):
        [result] = sender.send(attempt, soon())

    [request] = endpoint.requests
    assert result.verdict == ACCEPTED
    assert list(result.places) == list(range(50))
    assert request.ids == [event.id for event in attempt.batch.events]
    assert request.headers["Content-Type"] == media_type
    assert str(request.headers["webhook-id"]).startswith("batch_")
    assert set(attempt.request_counts) == {1}


def test_a_single_event_is_a_batch_as_well() -> None:
    """An endpoint that wants an array gets one, whatever is in it."""
    with WebhookReceiver() as endpoint, webhook_to(endpoint.url, **ARRAY) as sender:
        sender.send(attempt_of(1), soon())

    [request] = endpoint.requests
    assert isinstance(json.loads(request.body), list)
    assert str(request.headers["webhook-id"]).startswith("batch_")


@pytest.mark.parametrize("body", ["array", "lines"])
def test_requests_stay_within_the_limits(body: str) -> None:
    """Neither more events than `batch_events`, nor more bytes than `batch_bytes`, commas and all."""
    for limit in (1_356, 1_357):
        limits: dict[str, Any] = {"batch_events": 7, "batch_bytes": limit}
        with WebhookReceiver() as endpoint, webhook_to(endpoint.url, body=body, **limits) as sender:
            sender.send(attempt_of(30), soon())
            sender.send(attempt_of(30, padding=200), soon())

        assert max(len(request.body) for request in endpoint.requests) <= limit
        assert max(len(request.events) for request in endpoint.requests) == 7
        assert len(endpoint.requests) <= 5 + 7


def test_the_same_batch_has_the_same_id() -> None:
    """Over retries of the same events, receivers can deduplicate by it."""
    attempt = attempt_of(10)
    with (
        WebhookReceiver(scripts.first(1, answers(500), takes())) as endpoint,
        webhook_to(endpoint.url, **ARRAY) as sender,
    ):
        assert set(verdicts(attempt, sender.send(attempt, soon())).values()) == {RETRY}
        assert set(verdicts(attempt, sender.send(attempt, soon())).values()) == {ACCEPTED}

    assert len({str(request.headers["webhook-id"]) for request in endpoint.requests}) == 1


@settings(max_examples=24)
@given(dice=st.randoms(use_true_random=True))
def test_surgery_refuses_the_offenders_and_delivers_the_rest(dice: random.Random) -> None:
    """Whichever events are bad: exactly they are refused, every other is taken once, in four requests."""
    attempt, offenders = draw_offenders(dice)
    before = dice.choice([0, 0, 1, 2, 3])
    attempt.request_counts[:] = bytes([before] * len(attempt.batch.events))
    body = dice.choice(["array", "lines"])
    with (
        WebhookReceiver(refuses(offenders.__contains__, dice.choice([400, 413, 422]))) as endpoint,
        webhook_to(endpoint.url, body=body) as sender,
    ):
        ruled = verdicts(attempt, sender.send(attempt, soon()))

    assert {event_id for event_id, verdict in ruled.items() if verdict is REFUSED} == offenders
    assert Counter(endpoint.accepted_ids) == Counter(ruled.keys() - offenders)
    assert max(attempt.request_counts) <= MAX_REQUESTS
    assert [endpoint.ids[event.id] + before for event in attempt.batch.events] == list(attempt.request_counts)


def test_a_limit_that_was_learned_makes_the_next_batch_smaller() -> None:
    """After a 413 the same sender cuts by half of what was too large, and needs no surgery any more."""
    script = scripts.too_large(max_bytes=20_000, then=takes())
    with WebhookReceiver(script) as endpoint, webhook_to(endpoint.url, **ARRAY) as sender:
        first, second = attempt_of(100, padding=200), attempt_of(100, padding=200)
        assert set(verdicts(first, sender.send(first, soon())).values()) == {ACCEPTED}
        assert set(verdicts(second, sender.send(second, soon())).values()) == {ACCEPTED}

    assert set(second.request_counts) == {1}


def test_a_busy_endpoint_amid_surgery_puts_the_rest_off() -> None:
    """What was taken stays taken; what is left comes back, some of it not even carried again."""
    attempt = attempt_of(100)
    script = scripts.sequence(answers(400), takes(), answers(429, Retry_After="7"))
    with WebhookReceiver(script) as endpoint, webhook_to(endpoint.url, **ARRAY, connections=1) as sender:
        results = sender.send(attempt, soon())

    ruled = verdicts(attempt, results)
    assert [ruled[f"e{place}"] for place in range(100)] == [ACCEPTED] * 10 + [RETRY] * 90
    assert list(attempt.request_counts) == [2] * 20 + [1] * 80
    assert {result.retry_after for result in results if result.verdict is RETRY} == {7.0}
    assert len(endpoint.requests) == 3


def test_what_is_refused_after_a_pause_was_asked_for_waits() -> None:
    """A request that comes back refused when nothing may be started any more is not cut up now."""
    slow_refusal = scripts.drip(0.01, answers(400))
    script = scripts.sequence(slow_refusal, answers(429, Retry_After="7"))
    attempt = attempt_of(20)
    with (
        WebhookReceiver(script) as endpoint,
        webhook_to(endpoint.url, **ARRAY, batch_events=10, connections=2) as sender,
    ):
        results = sender.send(attempt, soon())

    assert set(verdicts(attempt, results).values()) == {RETRY}
    assert set(failures(attempt, results).values()) == {"destination_busy"}
    assert len(endpoint.requests) == 2
    assert set(attempt.request_counts) == {1}


def test_gone_refuses_no_batch() -> None:
    """410 says nothing of the events: they wait, with the word that switches the integration off."""
    attempt = attempt_of(30)
    with (
        WebhookReceiver(answers(410)) as endpoint,
        webhook_to(endpoint.url, **ARRAY, batch_events=10, connections=1) as sender,
    ):
        results = sender.send(attempt, soon())

    assert set(verdicts(attempt, results).values()) == {RETRY}
    assert set(failures(attempt, results).values()) == {FailureCode.ENDPOINT_GONE}
    assert list(attempt.request_counts) == [1] * 10 + [0] * 20
    assert len(endpoint.requests) == 1
