"""A slow Splunk gets every event about once, in requests it manages; it is waited for while it reads."""

import time
from collections import Counter
from typing import Any

import pytest

from tests.destinations.batches import attempt_of, messages, sendings
from tests.destinations.senders import splunk_to
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from worker.model.deliveries import MAX_REQUESTS, Verdict

EVENTS = 300
PADDING = 900
#: Bytes a second: all events are three seconds' worth.
RATE = 100_000.0
TIMEOUT = 1.0


def takes_its_time(request: scripts.Request) -> scripts.Action:
    """Read at once, and answer as late as a slow indexer does."""
    time.sleep(len(request.body) / RATE)
    return scripts.ok()(request)


@pytest.mark.slow
def test_every_event_comes_about_once() -> None:
    """What it did not take in a whole sending is cut by the rate at which it took it."""
    with HecReceiver(rate=RATE) as splunk, splunk_to(splunk.url, timeout_seconds=TIMEOUT) as sender:
        results = sendings(sender, attempt_of(EVENTS, padding=PADDING), 2.0)
        later = sendings(sender, attempt_of(EVENTS, padding=PADDING), 60.0)
        copies = Counter(splunk.accepted_ids)

    assert len(results) > 1, "it was too much for one sending"
    assert len(later) == 1, "the size that worked is remembered"
    assert set(copies) == {event.id for event in attempt_of(EVENTS).batch.events}
    assert copies.total() <= 2 * 1.3 * EVENTS
    assert any("it takes about " in words and "kB/s: batches of " in words for words in messages(results))


@pytest.mark.slow
def test_it_is_waited_for_while_it_reads() -> None:
    """`timeout_seconds` is how long it may take nothing, not how long a request may last."""
    with HecReceiver(rate=RATE) as splunk, splunk_to(splunk.url, timeout_seconds=TIMEOUT) as sender:
        [results] = sendings(sender, attempt_of(EVENTS, padding=PADDING), 60.0)

    assert {result.verdict for result in results} == {Verdict.ACCEPTED}
    assert len(splunk.posts) == 1


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [False, True])
def test_one_that_answers_late_gets_half_each_time(zipped: bool) -> None:  # noqa: FBT001 - pytest passes by name
    """It takes all at once, so that nothing shows that it is at work: the requests become smaller."""
    with (
        HecReceiver(takes_its_time) as splunk,
        splunk_to(splunk.url, timeout_seconds=TIMEOUT, gzip=zipped) as sender,
    ):
        results = sendings(sender, attempt_of(EVENTS, padding=PADDING), 20.0)
        first = Counter(splunk.accepted_ids)
        later = sendings(sender, attempt_of(EVENTS, padding=PADDING), 60.0)

    assert max(first.values()) <= MAX_REQUESTS
    assert first.total() <= 3 * EVENTS
    assert len(later) == 1, "the size that worked is remembered"
    assert any("batches of " in words for words in messages(results))


def test_one_that_hangs_is_not_waited_for() -> None:
    """Who takes no more and does not answer is given up after `timeout_seconds`."""
    with HecReceiver(scripts.hang()) as splunk, splunk_to(splunk.url, timeout_seconds=TIMEOUT) as sender:
        began = time.monotonic()
        results = sender.send(attempt := attempt_of(4, padding=PADDING), began + 600)

    assert time.monotonic() - began < 300
    assert {result.verdict for result in results} == {Verdict.RETRY}
    assert "did not answer in full within 1 s; batches of 2 from now on" in messages([results])[0]
    assert set(attempt.request_counts) == {1}


@pytest.mark.slow
def test_what_would_not_be_answered_in_time_is_not_begun() -> None:
    """A request that is cut off by the end of the sending would only be sent once more."""
    limits: dict[str, Any] = {"batch_events": EVENTS // 3, "timeout_seconds": 5.0}
    with HecReceiver(rate=RATE) as splunk, splunk_to(splunk.url, **limits) as sender:
        results = sender.send(attempt := attempt_of(EVENTS, padding=PADDING), time.monotonic() + 2.9)

    assert [result.verdict for result in results[:1]] == [Verdict.ACCEPTED]
    assert results[-1].failure is not None
    assert results[-1].failure.code == "out_of_time"
    assert attempt.request_counts[-1] == 0


@pytest.mark.parametrize("status", [408, 504])
def test_a_gateway_that_waited_in_vain_says_so(status: int) -> None:
    """What a load balancer gave up is sent in smaller requests as well."""
    script = scripts.first(1, scripts.status(status))
    with HecReceiver(script) as splunk, splunk_to(splunk.url) as sender:
        results = sendings(sender, attempt_of(100, padding=PADDING), 60.0)

    assert [len(request.events) for request in splunk.posts][:2] == [100, 50]
    assert "batches of 50 from now on" in messages(results)[0]
