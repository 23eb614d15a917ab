"""When a webhook's endpoint says so, or time runs out, what has not been started is held back, uncounted."""

import time

import pytest

from tests.destinations.batches import attempt_of, failures, soon, verdicts
from tests.destinations.senders import webhook_to
from tests.receivers import scripts
from tests.receivers.webhook import WebhookReceiver, answers, by_event, takes
from worker.model.deliveries import Verdict
from worker.model.failures import FailureCode

ACCEPTED, RETRY, REFUSED = Verdict.ACCEPTED, Verdict.RETRY, Verdict.REFUSED


def test_gone_switches_off_and_spares_the_rest() -> None:
    """410: that event is refused with the word that switches off; what was not started is not counted."""
    attempt = attempt_of(50)
    with (
        WebhookReceiver(by_event({"e5": [answers(410)]})) as endpoint,
        webhook_to(endpoint.url, connections=1) as sender,
    ):
        results = sender.send(attempt, soon())

    ruled = verdicts(attempt, results)
    assert [ruled[f"e{place}"] for place in range(50)] == [ACCEPTED] * 5 + [REFUSED] + [RETRY] * 44
    assert list(attempt.request_counts) == [1] * 6 + [0] * 44
    assert failures(attempt, results)["e5"] == FailureCode.ENDPOINT_GONE
    assert endpoint.ids == {f"e{place}": 1 for place in range(6)}


def test_what_is_in_flight_when_the_endpoint_goes_is_heard() -> None:
    """Requests that were under way at the 410 have answers of their own."""
    slow = scripts.drip(0.01, takes())
    attempt = attempt_of(4)
    with (
        WebhookReceiver(by_event({"e0": [answers(410)]}, slow)) as endpoint,
        webhook_to(endpoint.url, connections=4) as sender,
    ):
        ruled = verdicts(attempt, sender.send(attempt, soon()))

    assert ruled == {"e0": REFUSED, "e1": ACCEPTED, "e2": ACCEPTED, "e3": ACCEPTED}


@pytest.mark.parametrize("status", [429, 503])
def test_an_endpoint_that_asks_for_a_pause_has_it(status: int) -> None:
    """Retry-After amid many requests: nothing more is started, and everything waits for so long."""
    attempt = attempt_of(50)
    script = by_event({"e5": [answers(status, Retry_After="7")]})
    with WebhookReceiver(script) as endpoint, webhook_to(endpoint.url, connections=1) as sender:
        results = sender.send(attempt, soon())

    ruled = verdicts(attempt, results)
    assert [ruled[f"e{place}"] for place in range(50)] == [ACCEPTED] * 5 + [RETRY] * 45
    assert list(attempt.request_counts) == [1] * 6 + [0] * 44
    assert {result.retry_after for result in results if result.verdict is RETRY} == {7.0}
    assert len(endpoint.requests) == 6
    [sent, held] = [result for result in results if result.verdict is RETRY]
    assert (sent.http_status, held.http_status) == (status, None)
    assert held.failure is not None
    assert held.failure.message.startswith("not sent, because of the answer to others: HTTP")


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (answers(500), "destination_busy"),
        (answers(401), "auth_refused"),
        (answers(302, Location="http://127.0.0.1/"), "redirected"),
        (scripts.close_mid_response("nothing", taking=False), "connection_lost"),
        (scripts.hang(), "timed_out"),
    ],
)
def test_where_nothing_succeeds_most_is_not_tried(script: scripts.Script, code: str) -> None:
    """After a few failures in a row, hundreds of further requests would only meet the same."""
    attempt = attempt_of(100)
    with WebhookReceiver(script) as endpoint, webhook_to(endpoint.url, timeout_seconds=0.4) as sender:
        results = sender.send(attempt, soon())

    assert set(verdicts(attempt, results).values()) == {RETRY}
    assert set(failures(attempt, results).values()) == {code}
    assert 5 <= sum(attempt.request_counts) == len(endpoint.requests) < 15


def test_failures_among_successes_stop_nothing() -> None:
    """One event in three fails: the others are all delivered."""
    attempt = attempt_of(90)
    ends_of = {f"e{number}": [answers(500)] for number in range(0, 90, 3)}
    with (
        WebhookReceiver(by_event(ends_of)) as endpoint,
        webhook_to(endpoint.url, connections=1) as sender,
    ):
        ruled = verdicts(attempt, sender.send(attempt, soon()))

    assert {one for one, verdict in ruled.items() if verdict is RETRY} == set(ends_of)
    assert len(endpoint.requests) == 90


def test_a_refusal_is_no_failure() -> None:
    """Who refuses an event is there and judges: failures before it and behind it are not in a row."""
    attempt = attempt_of(30)
    ends_of = {f"e{place}": [answers(400 if place % 5 == 4 else 500)] for place in range(30)}
    with (
        WebhookReceiver(by_event(ends_of)) as endpoint,
        webhook_to(endpoint.url, connections=1) as sender,
    ):
        ruled = verdicts(attempt, sender.send(attempt, soon()))

    assert [ruled[f"e{place}"] for place in range(30)] == ([RETRY] * 4 + [REFUSED]) * 6
    assert set(attempt.request_counts) == {1}


def test_refusals_stop_nothing() -> None:
    """An endpoint that refuses every event still judges each."""
    attempt = attempt_of(30)
    with WebhookReceiver(answers(422)) as endpoint, webhook_to(endpoint.url) as sender:
        assert set(verdicts(attempt, sender.send(attempt, soon())).values()) == {REFUSED}

    assert len(endpoint.requests) == 30


def test_the_deadline_ends_what_hangs() -> None:
    """Requests in flight end with it, and no more are started."""
    attempt = attempt_of(8)
    with WebhookReceiver(scripts.hang()) as endpoint, webhook_to(endpoint.url, connections=2) as sender:
        results = sender.send(attempt, time.monotonic() + 0.3)
        assert len(endpoint.requests) <= 4

    assert set(verdicts(attempt, results).values()) == {RETRY}
    assert {"timed_out", "out_of_time"} == set(failures(attempt, results).values())
    assert sum(attempt.request_counts) == len(endpoint.requests)
