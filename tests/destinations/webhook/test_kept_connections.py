"""A request that meets a kept connection just as the endpoint ends it is sent once more (RFC 9112, 9.3.1)."""

import ssl

import pytest
import trustme

from tests.destinations.batches import attempt_of, soon, verdicts
from tests.destinations.webhook.endpoints import failures, webhook_to
from tests.transports.certificates import server_context
from tests.transports.endpoint import Endpoint, Visit, answers_then_leaves
from worker.model.deliveries import MAX_REQUESTS, Verdict
from worker.model.failures import FailureCode
from worker.model.settlement import RetryPolicy, settle_results

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> ssl.SSLContext | None:
    """Run the test in plain text and over TLS."""
    return server_context(trustme.CA().issue_cert("127.0.0.1")) if request.param == "tls" else None


def test_nothing_fails_of_a_connection_that_ends(tls: ssl.SSLContext | None) -> None:
    """An endpoint that ends each connection behind two requests gets everything, at no attempt.

    The requests count: some may have been processed.
    """
    attempt = attempt_of(20)
    with (
        Endpoint(answers_then_leaves(2), tls=tls) as endpoint,
        webhook_to(endpoint.url(), connections=1, verify_tls=False) as sender,
    ):
        results = sender.send(attempt, soon())

    assert set(verdicts(attempt, results).values()) == {Verdict.ACCEPTED}
    assert list(attempt.request_counts) == [1, 1, *[2, 1] * 9]
    settlement = settle_results(attempt, results, RetryPolicy(0, 1))
    assert (settlement.settled, settlement.dead, settlement.retry) == (20, [], None)


def test_a_new_connection_that_ends_as_well_is_a_failure() -> None:
    """Once more is once: an endpoint that answers nothing is not asked for ever."""

    def leaves_all_but_the_first(visit: Visit) -> None:
        if visit.request() and visit.endpoint.accepted == 1:
            visit.connection.sendall(OK)
            visit.request()

    attempt = attempt_of(2)
    with (
        Endpoint(leaves_all_but_the_first) as endpoint,
        webhook_to(endpoint.url(), connections=1) as sender,
    ):
        results = sender.send(attempt, soon())

    assert verdicts(attempt, results) == {"e0": Verdict.ACCEPTED, "e1": Verdict.RETRY}
    assert failures(attempt, results)["e1"] == FailureCode.CONNECTION_LOST
    assert list(attempt.request_counts) == [1, 2]


def test_what_was_cut_off_may_have_arrived() -> None:
    """Even if the new connection answers that nothing is accepted: the requests count."""
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"

    def refuses_from_the_second_on(visit: Visit) -> None:
        visit.request()
        visit.connection.sendall(OK if visit.endpoint.accepted == 1 else refusal)
        visit.request()

    attempt = attempt_of(1)
    with (
        Endpoint(refuses_from_the_second_on) as endpoint,
        webhook_to(endpoint.url(), connections=1) as sender,
    ):
        sender.send(attempt_of(1), soon())
        results = sender.send(attempt, soon())

    assert verdicts(attempt, results) == {"e0": Verdict.RETRY}
    settle_results(attempt, results, RetryPolicy(3, 1))
    assert list(attempt.request_counts) == [2]


def test_no_event_is_carried_by_more_requests_than_four() -> None:
    """The last request that an event has left is not repeated."""
    attempt = attempt_of(2, carried=[0, MAX_REQUESTS - 1])
    with (
        Endpoint(answers_then_leaves(1)) as endpoint,
        webhook_to(endpoint.url(), connections=1) as sender,
    ):
        results = sender.send(attempt, soon())

    assert verdicts(attempt, results) == {"e0": Verdict.ACCEPTED, "e1": Verdict.RETRY}
    assert attempt.request_counts[1] == MAX_REQUESTS


def test_several_events_go_on_in_parts_that_can_be_told_apart() -> None:
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
        webhook_to(endpoint.url(), connections=1, body="array", batch_events=100) as sender,
    ):
        results = sender.send(attempt, soon())

    assert set(verdicts(attempt, results).values()) == {Verdict.ACCEPTED}
    assert sizes[:5] == [1, 2, 1, 1, 2]
    assert max(attempt.request_counts) <= MAX_REQUESTS
