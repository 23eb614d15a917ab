"""A slow receiver gets every event about once, in parts that it manages, and is waited for while it reads."""

import time
from collections import Counter
from itertools import pairwise

import pytest

from tests.destinations.batches import batch_with, messages, sendings
from tests.destinations.senders import syslog_to
from tests.destinations.syslog_cef.syslog_parser import ids
from tests.fleet import wait_until
from tests.receivers.syslog import SyslogReceiver
from tests.receivers.syslog_behaviours import Visit, slowly, stalls
from worker.model.deliveries import MAX_REQUESTS, Verdict

#: Together with the smallest buffer, less than a sending of two seconds carries.
CRAWLS = slowly(0.05, 4_096)
EVENTS = 150
LARGE = {"reason": "x" * 1_000, "context": {"detail": "y" * 1_000}}


@pytest.mark.slow
def test_every_event_comes_about_once() -> None:
    """Of each sending, what was taken in time counts; only what was under way at its end comes again."""
    attempt = batch_with(EVENTS, **LARGE)
    with (
        SyslogReceiver(CRAWLS, receive_buffer=4_096) as receiver,
        syslog_to(receiver.url, timeout_seconds=5.0) as sender,
    ):
        results = sendings(sender, attempt, 2.0)
        wait_until(lambda: len(set(ids(receiver.messages))) == EVENTS, "all have come")

        assert len(results) > 1, "it was too much for one sending"
        assert len(receiver.messages) <= 1.3 * EVENTS
        assert max(Counter(ids(receiver.messages)).values()) <= MAX_REQUESTS
        assert any("batches of " in words for words in messages(results))


@pytest.mark.slow
def test_the_reason_says_how_much_it_takes_a_second() -> None:
    """Where that was seen: a busy machine may read in one go what a sending has for two seconds."""
    said: list[str] = []
    while not any("kB/s: batches of " in words for words in said):
        assert len(said) < 40, said
        with (
            SyslogReceiver(CRAWLS, receive_buffer=4_096) as receiver,
            syslog_to(receiver.url, timeout_seconds=5.0) as sender,
        ):
            said += messages([sender.send(batch_with(EVENTS, **LARGE), time.monotonic() + 2.0)])


@pytest.mark.slow
def test_a_slow_receiver_confirms_smaller_batches() -> None:
    """It closes only when it has read everything: what it cannot read in time must not be sent together."""
    attempt = batch_with(EVENTS, **LARGE)
    with (
        SyslogReceiver(CRAWLS, receive_buffer=4_096) as receiver,
        syslog_to(receiver.url, timeout_seconds=2.0, confirm_by_shutdown=True) as sender,
    ):
        results = sendings(sender, attempt, 6.0)
        tries = len(receiver.messages)
        later = batch_with(20, **LARGE)
        [again] = sendings(sender, later, 20.0)

        assert {one.verdict for one in again} == {Verdict.ACCEPTED}, "the size that worked is remembered"
        assert tries <= 3 * EVENTS
        assert any("batches of " in words for words in messages(results))


@pytest.mark.slow
def test_it_is_waited_for_while_it_reads() -> None:
    """`timeout_seconds` is how long it may take nothing, not how long a batch may last."""
    attempt = batch_with(EVENTS, **LARGE)
    with (
        SyslogReceiver(CRAWLS, receive_buffer=4_096) as receiver,
        syslog_to(receiver.url, timeout_seconds=10.0) as sender,
    ):
        [results] = sendings(sender, attempt, 60.0)

        assert {result.verdict for result in results} == {Verdict.ACCEPTED}
        assert set(ids(receiver.wait_for(EVENTS, 30))) == {event.id for event in attempt.batch.events}
        assert len(receiver.messages) == EVENTS


def test_one_that_reads_nothing_gets_half_each_time() -> None:
    """Down to one event; what its system took counts for nothing, and nothing is carried too often."""
    attempt = batch_with(100, **LARGE)
    sent: list[int] = []
    with (
        SyslogReceiver(stalls, receive_buffer=2_304) as receiver,
        syslog_to(receiver.url, timeout_seconds=0.2) as sender,
    ):
        for _ in range(9):
            before = sum(attempt.request_counts)
            results = sender.send(attempt, time.monotonic() + 20)
            sent.append(sum(attempt.request_counts) - before)
            if any(result.verdict is Verdict.ACCEPTED for result in results):
                break  # so little that its buffer holds it

    assert len(sent) >= 4
    assert all(later <= earlier for earlier, later in pairwise(sent))
    assert sent[-1] <= 8
    assert max(attempt.request_counts) <= MAX_REQUESTS


@pytest.mark.slow
def test_a_receiver_that_is_well_again_gets_larger_batches() -> None:
    """A tenth more with each, up to what is configured."""

    def stalls_at_first(visit: Visit) -> None:
        (stalls if visit.number == 1 else slowly(0))(visit)

    with (
        SyslogReceiver(stalls_at_first, receive_buffer=65_536) as receiver,
        syslog_to(receiver.url, timeout_seconds=1.0) as sender,
    ):
        results = sendings(sender, batch_with(300, **LARGE), 20.0)
        assert len(results) >= 2
        for _ in range(12):
            sendings(sender, batch_with(100, **LARGE), 20.0)
        [last] = sendings(sender, batch_with(300, **LARGE), 20.0)

    assert len(last) <= 2
