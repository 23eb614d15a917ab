"""A request that meets a kept connection that just ends is sent once more (RFC 9112, 9.3.1)."""

import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import trustme

from tests.destinations.batches import attempt_of, failures, soon, verdicts
from tests.destinations.senders import splunk_to, webhook_to
from tests.transports.certificates import server_context
from tests.transports.endpoint import OK, Endpoint, Visit, answers_then_leaves
from worker.destinations import Sender
from worker.model.deliveries import MAX_REQUESTS, Verdict
from worker.model.failures import FailureCode
from worker.model.settlement import RetryPolicy, settle_results

SenderTo = Callable[..., AbstractContextManager[Sender]]


def _splunk(endpoint: Endpoint, **options: Any) -> AbstractContextManager[Sender]:
    return splunk_to(endpoint.url(path=""), batch_events=1, **options)


def _webhook(endpoint: Endpoint, **options: Any) -> AbstractContextManager[Sender]:
    return webhook_to(endpoint.url(), connections=1, **options)


#: Each sends one event after the other over one connection.
each_destination = pytest.mark.parametrize("sender_of", [_splunk, _webhook], ids=["splunk", "webhook"])


@each_destination
@pytest.mark.parametrize("with_tls", [False, True], ids=["plain", "tls"])
def test_nothing_fails_of_a_connection_that_ends(*, sender_of: SenderTo, with_tls: bool) -> None:
    """A destination that ends each connection behind two requests gets everything, at no attempt.

    The requests count: some may have been processed. That by which it is learned what a webhook speaks in TLS
    goes alone over its connection.
    """
    tls: ssl.SSLContext | None = server_context(trustme.CA().issue_cert("127.0.0.1")) if with_tls else None
    attempt = attempt_of(20)
    with (
        Endpoint(answers_then_leaves(2), tls=tls) as endpoint,
        sender_of(endpoint, verify_tls=False) as sender,
    ):
        results = sender.send(attempt, soon())

    assert set(verdicts(attempt, results).values()) == {Verdict.ACCEPTED}
    alone = [1] if with_tls and sender_of is _webhook else []
    assert list(attempt.request_counts) == [*alone, 1, 1, *[2, 1] * 9][:20]
    settlement = settle_results(attempt, results, RetryPolicy(0, 1))
    assert settlement.settled == 20
    assert settlement.dead == []
    assert settlement.retry is None


@each_destination
def test_a_new_connection_that_ends_as_well_is_a_failure(sender_of: SenderTo) -> None:
    """Once more is once: a destination that answers nothing is not asked for ever."""

    def leaves_all_but_the_first(visit: Visit) -> None:
        if visit.request() and visit.endpoint.accepted == 1:
            visit.connection.sendall(OK)
            visit.request()

    attempt = attempt_of(2)
    with Endpoint(leaves_all_but_the_first) as endpoint, sender_of(endpoint) as sender:
        results = sender.send(attempt, soon())

    assert verdicts(attempt, results) == {"e0": Verdict.ACCEPTED, "e1": Verdict.RETRY}
    assert failures(attempt, results)["e1"] == FailureCode.CONNECTION_LOST
    assert list(attempt.request_counts) == [1, 2]


@each_destination
def test_what_was_cut_off_may_have_arrived(sender_of: SenderTo) -> None:
    """Even if the new connection answers that nothing is accepted: the requests count."""
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"

    def refuses_from_the_second_on(visit: Visit) -> None:
        visit.request()
        visit.connection.sendall(OK if visit.endpoint.accepted == 1 else refusal)
        visit.request()

    attempt = attempt_of(1)
    with Endpoint(refuses_from_the_second_on) as endpoint, sender_of(endpoint) as sender:
        sender.send(attempt_of(1), soon())
        results = sender.send(attempt, soon())

    assert verdicts(attempt, results) == {"e0": Verdict.RETRY}
    settle_results(attempt, results, RetryPolicy(3, 1))
    assert list(attempt.request_counts) == [2]


@each_destination
def test_no_event_is_carried_by_more_requests_than_four(sender_of: SenderTo) -> None:
    """The last request that an event has left is not repeated."""
    attempt = attempt_of(2, carried=[0, MAX_REQUESTS - 1])
    with Endpoint(answers_then_leaves(1)) as endpoint, sender_of(endpoint) as sender:
        results = sender.send(attempt, soon())

    assert verdicts(attempt, results) == {"e0": Verdict.ACCEPTED, "e1": Verdict.RETRY}
    assert attempt.request_counts[1] == MAX_REQUESTS


def test_several_events_go_on_in_parts_that_can_be_distinguished() -> None:
    """What is left of the requests decides how a batch is cut, whatever used them up."""
    attempt = attempt_of(9, carried=[0] + [MAX_REQUESTS - 2] * 8)
    sizes: list[int] = []

    def leaves_at_the_second(visit: Visit) -> None:
        while request := visit.request():
            sizes.append(request.count(b'"id"'))
            if len(sizes) == 2:
                return
            visit.connection.sendall(OK)

    with (
        Endpoint(leaves_at_the_second) as endpoint,
        _webhook(endpoint, body="array", batch_events=100) as sender,
    ):
        results = sender.send(attempt, soon())

    assert set(verdicts(attempt, results).values()) == {Verdict.ACCEPTED}
    assert sizes[:5] == [1, 2, 1, 1, 2]
    assert max(attempt.request_counts) <= MAX_REQUESTS
