"""A batch on its way to Splunk: cut into requests, and into pieces where an event is refused."""

import gzip
import time
from typing import Any

import pytest

from tests.destinations.batches import attempt_of, soon, verdicts
from tests.destinations.senders import TOKEN, splunk_to
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from worker.demo.splunk import Reply
from worker.model.deliveries import DeliveryResult, Verdict

ACCEPTED, RETRY, REFUSED = Verdict.ACCEPTED, Verdict.RETRY, Verdict.REFUSED


def failures(results: list[DeliveryResult]) -> set[str]:
    """Return the codes of all failures."""
    return {result.failure.code for result in results if result.failure is not None}


def test_a_batch_goes_out_in_one_request() -> None:
    """All events in order, under the token, with a channel; all are ruled accepted by one result."""
    attempt = attempt_of(50)
    with HecReceiver(scripts.demand_token(TOKEN)) as splunk, splunk_to(splunk.url, index="main") as sender:
        [result] = sender.send(attempt, soon())

    [request] = splunk.posts
    assert splunk.accepted_ids == [event.id for event in attempt.batch.events]
    assert result.verdict == ACCEPTED
    assert result.failure is None
    assert result.http_status == 200
    assert list(result.places) == list(range(50))
    assert request.headers["X-Splunk-Request-Channel"]
    assert b'"index":"main"' in request.body
    assert set(attempt.request_counts) == {1}


@pytest.mark.parametrize(
    "heads", [("102 Processing",), ("103 Early Hints",), ("100 Continue", "102 Processing")]
)
def test_interim_answers_are_no_answer(heads: tuple[str, ...]) -> None:
    """What a proxy says while Splunk works is read past: everything is taken once (RFC 9110, 15.2)."""
    first, second = attempt_of(20), attempt_of(20)
    with HecReceiver(scripts.after_interim(*heads)) as splunk, splunk_to(splunk.url) as sender:
        assert set(verdicts(first, sender.send(first, soon())).values()) == {ACCEPTED}
        assert set(verdicts(second, sender.send(second, soon())).values()) == {ACCEPTED}

    assert splunk.accepted_ids == [event.id for event in (*first.batch.events, *second.batch.events)]


def test_a_body_may_be_zipped() -> None:
    """With gzip the body says so, and unzips to what would have been sent."""
    attempt = attempt_of(20)
    with HecReceiver() as splunk, splunk_to(splunk.url, gzip=True) as sender:
        assert set(verdicts(attempt, sender.send(attempt, soon())).values()) == {ACCEPTED}

    [request] = splunk.posts
    assert request.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(request.wire_body) == request.body


@pytest.mark.parametrize("zipped", [False, True])
def test_requests_stay_within_the_limits(zipped: bool) -> None:  # noqa: FBT001 - pytest passes by name
    """Neither more events than `batch_events`, nor more uncompressed bytes than `batch_bytes`, nor less."""
    limits: dict[str, Any] = {"batch_events": 7, "batch_bytes": 1_500, "gzip": zipped}
    with HecReceiver() as splunk, splunk_to(splunk.url, **limits) as sender:
        small, large = attempt_of(30), attempt_of(30, padding=200)
        results = [sender.send(small, soon()), sender.send(large, soon())]

    assert [len(one) for one in results] == [5, 8]
    assert [len(request.events) for request in splunk.posts] == [7, 7, 7, 7, 2] + [4] * 7 + [2]
    assert max(len(request.body) for request in splunk.posts) <= 1_500
    assert splunk.accepted_ids == [event.id for event in (*small.batch.events, *large.batch.events)]


def test_a_busy_splunk_that_names_an_event_is_sent_all_of_them_again() -> None:
    """503 with invalid-event-number: it is unknown whether it took what stands before that one."""

    def half_taken(request: scripts.Request) -> scripts.Action:
        return scripts.answer(Reply(9, 2), request.events[:2])

    attempt = attempt_of(4)
    with HecReceiver(scripts.first(1, half_taken)) as splunk, splunk_to(splunk.url) as sender:
        first = verdicts(attempt, sender.send(attempt, soon()))
        second = verdicts(attempt, sender.send(attempt, soon()))

    assert set(first.values()) == {RETRY}
    assert set(second.values()) == {ACCEPTED}
    assert splunk.accepted_ids == ["e0", "e1", "e0", "e1", "e2", "e3"]


def test_an_event_larger_than_the_limit_goes_alone() -> None:
    """It may still be small enough for Splunk; it is for Splunk to say."""
    attempt = attempt_of(3, padding=2_000)
    with HecReceiver() as splunk, splunk_to(splunk.url, batch_bytes=1_000) as sender:
        assert set(verdicts(attempt, sender.send(attempt, soon())).values()) == {ACCEPTED}

    assert [len(request.events) for request in splunk.posts] == [1, 1, 1]


def test_the_deadline_ends_a_request_that_hangs() -> None:
    """The rest of the batch is not even tried: there is no time left for it."""
    attempt = attempt_of(4)
    with HecReceiver(scripts.hang()) as splunk, splunk_to(splunk.url, batch_events=2) as sender:
        results = sender.send(attempt, time.monotonic() + 0.2)

    assert set(verdicts(attempt, results).values()) == {RETRY}
    assert failures(results) == {"timed_out"}
    assert list(attempt.request_counts) == [1, 1, 0, 0]


def test_a_limit_that_was_learned_makes_the_next_batch_smaller() -> None:
    """After a 413 the same sender cuts by half of what was too large, and needs no surgery any more."""
    with HecReceiver(scripts.too_large(max_bytes=20_000)) as splunk, splunk_to(splunk.url) as sender:
        first, second = attempt_of(100, padding=200), attempt_of(100, padding=200)
        assert set(verdicts(first, sender.send(first, soon())).values()) == {ACCEPTED}
        before = len(splunk.posts)
        assert set(verdicts(second, sender.send(second, soon())).values()) == {ACCEPTED}

    assert [len(request.events) for request in splunk.posts[:before]] == [100] + [10] * 10
    assert len(splunk.posts) - before == 3
    assert set(second.request_counts) == {1}


def test_a_single_event_that_is_too_large_is_refused() -> None:
    """Alone, it cannot be made smaller; what is behind it goes on, and the limit is not blamed."""
    with HecReceiver(scripts.too_large(max_bytes=100)) as splunk, splunk_to(splunk.url) as sender:
        results = sender.send(attempt := attempt_of(1, padding=200), soon())

    assert verdicts(attempt, results) == {"e0": REFUSED}
    assert failures(results) == {"too_large"}
    assert len(splunk.posts) == 1


SCRIPTS = [
    scripts.busy(),
    scripts.reject_token(),
    scripts.html(),
    scripts.redirect(f"http://127.0.0.1/{TOKEN}"),
    scripts.status(404),
    scripts.close_mid_response(taking=False),
    scripts.close_mid_response("nothing", reset=True, taking=False),
    scripts.too_large(max_bytes=1),
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_failure_contains_the_token(script: scripts.Script) -> None:
    """Whatever goes wrong, the words about it may be shown to any user, and say something."""
    with HecReceiver(script) as splunk, splunk_to(splunk.url) as sender:
        results = sender.send(attempt := attempt_of(3), soon())

    assert ACCEPTED not in verdicts(attempt, results).values()
    assert failures(results)
    assert TOKEN not in repr(results)


def test_an_unreachable_splunk_is_described() -> None:
    """Nothing listens there: the batch comes back with the reason."""
    with HecReceiver() as gone:
        pass
    with splunk_to(gone.url) as sender:
        results = sender.send(attempt := attempt_of(3), soon())

    assert set(verdicts(attempt, results).values()) == {RETRY}
    assert failures(results) == {"connect_failed"}
    assert TOKEN not in repr(results)
