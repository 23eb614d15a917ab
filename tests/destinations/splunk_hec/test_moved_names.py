"""A Splunk whose name moves: only the indexer that took events can say that they are indexed.

Two of them stand at two addresses of loopback, and both stay up. The name is looked up before each request.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.destinations.batches import attempt_of, soon, verdicts
from tests.destinations.senders import splunk_to
from tests.receivers.acks import AckSplunk
from tests.receivers.hec import HecReceiver
from tests.receivers.scripts import Action, Request, Script
from tests.transports.names import HOST, MovableName
from tests.transports.test_renewal import FOLLOWS, NETWORKS, A, B
from worker.destinations.splunk_hec.sender import SplunkHecSender
from worker.model.deliveries import Verdict
from worker.transports.guard import Guard

PARTS = 3
Pair = tuple[HecReceiver, HecReceiver, SplunkHecSender]


@contextmanager
def _splunks(at_a: Script, **options: Any) -> Iterator[Pair]:
    """Give Splunk A, Splunk B, and a sender to the name."""
    with HecReceiver(at_a, host=A) as one, HecReceiver(AckSplunk(), host=B, port=one.port) as other:
        url = f"http://{HOST}:{one.port}/services/collector/event"
        with splunk_to(url, guard=Guard(NETWORKS, FOLLOWS), batch_events=1, **options) as sender:
            yield one, other, sender


def _send(sender: SplunkHecSender) -> None:
    attempt = attempt_of(PARTS)
    results = sender.send(attempt, soon())
    assert set(verdicts(attempt, results).values()) == {Verdict.ACCEPTED}


def test_questions_follow_their_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name moves amid a sending: that stays with A to the end, and the next one goes to B; none twice."""
    name = MovableName(monkeypatch, A)
    splunk = AckSplunk()

    def moves(request: Request) -> Action:
        name.ips = [B]
        return splunk(request)

    with _splunks(moves, use_ack=True) as (one, other, sender):
        _send(sender)
        assert (len(one.posts), len(other.posts)) == (PARTS, 0)
        _send(sender)
        assert (len(one.posts), len(other.posts)) == (PARTS, PARTS)
        assert one.polls
        assert other.polls


@pytest.mark.parametrize("order", [[A, B], [B, A]])
def test_a_connection_that_ends_amid_a_sending_is_replaced_by_one_to_the_same_address(
    monkeypatch: pytest.MonkeyPatch, order: list[str]
) -> None:
    """Wherever the resolver leads others meanwhile."""
    name = MovableName(monkeypatch, A)
    splunk = AckSplunk()

    def hangs_up(request: Request) -> Action:
        name.ips = order
        action = splunk(request)
        return replace(action, headers={**action.headers, "Connection": "close"})

    with _splunks(hangs_up, use_ack=True) as (one, other, sender):
        _send(sender)
        assert (len(one.posts), len(other.requests)) == (PARTS, 0)


def test_without_acknowledgement_each_request_follows_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer says all there is to know, so that the move takes effect at once."""
    name = MovableName(monkeypatch, A)
    splunk = AckSplunk()

    def moves(request: Request) -> Action:
        name.ips = [B]
        return splunk(request)

    with _splunks(moves) as (one, other, sender):
        _send(sender)
        assert (len(one.posts), len(other.posts)) == (1, PARTS - 1)
