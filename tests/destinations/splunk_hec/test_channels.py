"""Channels: one for each sending at a time, never one on which a confirmation is still open.

Source: Splunk, "About HEC indexer acknowledgment" (ackIds are counted in each channel) and "About HTTP Event
Collector": behind a load balancer, sticky sessions lead a client to the indexer that knows its ackIds.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from tests.destinations.batches import attempt_of, soon, verdicts
from tests.destinations.senders import splunk_to
from tests.receivers import scripts
from tests.receivers.acks import AckSplunk, balanced, not_yet
from tests.receivers.hec import HecReceiver
from worker.destinations.splunk_hec.sender import SplunkHecSender
from worker.model.deliveries import Verdict

ACCEPTED, RETRY = Verdict.ACCEPTED, Verdict.RETRY


@contextmanager
def sending_to(script: scripts.Script, **options: Any) -> Iterator[tuple[HecReceiver, SplunkHecSender]]:
    """Give a Splunk that follows the script, and a sender to it."""
    with HecReceiver(script) as splunk, splunk_to(splunk.url, **options) as sender:
        yield splunk, sender


def send(sender: SplunkHecSender, count: int = 1) -> list[Verdict]:
    """Send a batch of that many events; return their verdicts in order."""
    attempt = attempt_of(count)
    ruled = verdicts(attempt, sender.send(attempt, soon()))
    return [ruled[event.id] for event in attempt.batch.events]


def channels(splunk: HecReceiver) -> list[str]:
    """Return the channel of each post."""
    return [request.channel for request in splunk.posts]


@pytest.mark.parametrize("use_ack", [False, True])
def test_a_sender_keeps_its_channel(use_ack: bool) -> None:  # noqa: FBT001 - pytest passes by name
    """One GUID for all requests, as long as all goes well."""
    with sending_to(AckSplunk(), use_ack=use_ack, batch_events=1) as (splunk, sender):
        assert [send(sender, 2), send(sender, 2)] == [[ACCEPTED] * 2] * 2

    [channel] = set(channels(splunk))
    assert str(UUID(channel)).upper() == channel


def test_each_sender_has_a_channel_of_its_own() -> None:
    """Two senders are two clients, even if both send to the same Splunk."""
    with HecReceiver() as splunk, splunk_to(splunk.url) as one, splunk_to(splunk.url) as other:
        assert [send(one), send(other)] == [[ACCEPTED]] * 2

    assert len(set(channels(splunk))) == 2


@pytest.mark.parametrize(("status", "code"), [(400, 10), (400, 11), (429, 27), (400, 28)])
@pytest.mark.parametrize("use_ack", [False, True])
def test_a_channel_that_splunk_refuses_is_not_used_again(status: int, code: int, use_ack: bool) -> None:  # noqa: FBT001 - pytest passes by name
    """Codes 10, 11, 27 and 28 concern the channel: the next request comes on a new one."""
    events = scripts.first(1, scripts.status(status, code))
    with sending_to(AckSplunk(events), use_ack=use_ack) as (splunk, sender):
        assert [send(sender), send(sender), send(sender)] == [[RETRY], [ACCEPTED], [ACCEPTED]]

    first, second, third = channels(splunk)
    assert first != second == third


def test_what_is_open_on_a_full_channel_is_still_asked_for_there() -> None:
    """After code 27 the ackIds that Splunk gave before are confirmed on the old channel."""
    events = scripts.sequence(scripts.ok(), scripts.status(429, 27), scripts.ok())
    with sending_to(AckSplunk(events), use_ack=True, batch_events=1) as (splunk, sender):
        assert send(sender, 2) == [ACCEPTED, RETRY]
        assert send(sender) == [ACCEPTED]

    old, full, new = channels(splunk)
    assert old == full != new
    assert [request.channel for request in splunk.polls] == [old, new]


@pytest.mark.parametrize(
    "trouble", [scripts.busy(), scripts.close_mid_response("nothing"), scripts.close_mid_response("body")]
)
def test_a_channel_with_an_open_request_is_not_used_again(trouble: scripts.Script) -> None:
    """It is unknown whether Splunk counted the request: its number could be taken for the next one's."""
    with sending_to(AckSplunk(scripts.first(1, trouble)), use_ack=True) as (splunk, sender):
        assert [send(sender), send(sender)] == [[RETRY], [ACCEPTED]]

    assert len(set(channels(splunk))) == 2


def test_a_channel_with_an_unconfirmed_request_is_not_used_again() -> None:
    """A late confirmation must not be taken for that of a later request."""
    script = AckSplunk()
    script.polls = not_yet
    with sending_to(script, use_ack=True, ack_timeout_seconds=1) as (splunk, sender):
        assert send(sender) == [RETRY]
        script.polls = script.truth
        assert send(sender) == [ACCEPTED]

    assert len(set(channels(splunk))) == 2


def test_threads_do_not_share_a_channel() -> None:
    """Sendings at the same time have a channel each; later ones use these again."""
    splunk = AckSplunk()
    meeting = threading.Barrier(4, timeout=90)

    def all_at_once(request: scripts.Request) -> scripts.Action:
        meeting.wait()
        return scripts.ok()(request)

    splunk.events = all_at_once
    with sending_to(splunk, use_ack=True) as (receiver, sender), ThreadPoolExecutor(4) as threads:
        first = list(threads.map(lambda _: send(sender), range(4)))
        second = list(threads.map(lambda _: send(sender), range(4)))

    assert first == second == [[ACCEPTED]] * 4
    assert len(set(channels(receiver)[:4])) == 4
    assert set(channels(receiver)[4:]) == set(channels(receiver)[:4])


def test_a_sticky_load_balancer_leads_to_the_indexer_that_knows() -> None:
    """Its cookie comes back with every further request and question of the channel."""
    with sending_to(balanced(AckSplunk(), AckSplunk(), sticky=True), use_ack=True, batch_events=1) as (
        splunk,
        sender,
    ):
        assert send(sender, 3) == [ACCEPTED] * 3

    assert [request.headers.get("Cookie") for request in splunk.requests] == [None, *["node=0"] * 3]


@pytest.mark.parametrize("cookie", ['lb="node %d"', 'X={"a":%d}', "a=b=%d, c"])
def test_a_sticky_cookie_comes_back_verbatim(cookie: str) -> None:
    """Quotes, braces, spaces and commas are the balancer's own: none of its bytes is ours to change."""
    with sending_to(
        balanced(AckSplunk(), AckSplunk(), sticky=True, cookie=cookie),
        use_ack=True,
        batch_events=1,
        ack_timeout_seconds=1,
    ) as (splunk, sender):
        assert send(sender, 3) == [ACCEPTED] * 3

    assert [request.headers.get("Cookie") for request in splunk.requests] == [None, *[cookie % 0] * 3]


def test_each_line_of_cookies_is_one_cookie() -> None:
    """Of several lines, each is read by itself; one that a later answer ends is not sent any more."""

    def answers(request: scripts.Request) -> scripts.Action:
        lines = ("a=1, x; Path=/", 'b="2"') if "Cookie" not in request.headers else ("a=; Max-Age=0; Path=/",)
        return replace(scripts.ok()(request), set_cookies=lines)

    with sending_to(AckSplunk(answers), use_ack=True, batch_events=1) as (splunk, sender):
        assert send(sender, 3) == [ACCEPTED] * 3

    cookies = [request.headers.get("Cookie") for request in splunk.posts]
    assert cookies == [None, 'b="2"; a=1, x', 'b="2"']


def test_without_use_ack_no_cookie_comes_back() -> None:
    """Any indexer will do, so the balancer may spread the requests."""
    with sending_to(balanced(scripts.ok(), scripts.ok(), sticky=True), batch_events=1) as (splunk, sender):
        assert send(sender, 3) == [ACCEPTED] * 3

    assert [request.headers.get("Cookie") for request in splunk.requests] == [None] * 3


def test_indexers_that_number_alike_are_never_mixed_up() -> None:
    """Behind a balancer that is not sticky, one indexer's `true` must not confirm another's request."""
    careless = AckSplunk()
    careless.polls = not_yet
    with sending_to(
        balanced(AckSplunk(), careless, sticky=False), use_ack=True, batch_events=1, ack_timeout_seconds=1
    ) as (splunk, sender):
        attempt = attempt_of(2)
        results = sender.send(attempt, soon())

    assert set(verdicts(attempt, results).values()) == {RETRY}
    assert {result.failure.code for result in results if result.failure} == {"not_indexed"}
    assert "sticky sessions" in str([result.failure for result in results])
    assert len(splunk.posts) == 2
