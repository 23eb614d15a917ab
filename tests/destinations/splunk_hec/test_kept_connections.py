"""A request that meets a kept connection just as Splunk ends it is sent once more (RFC 9112, 9.3.1)."""

import ssl

import pytest
import trustme

from tests.destinations.batches import attempt_of, sender_to, soon, verdicts
from tests.transports.certificates import server_context
from tests.transports.endpoint import OK, Endpoint, Visit, answers_then_leaves
from worker.model.deliveries import MAX_REQUESTS, Verdict
from worker.model.settlement import RetryPolicy, settle_results


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> ssl.SSLContext | None:
    """Run the test in plain text and over TLS."""
    return server_context(trustme.CA().issue_cert("127.0.0.1")) if request.param == "tls" else None


def test_nothing_fails_of_a_connection_that_ends(tls: ssl.SSLContext | None) -> None:
    """A collector that ends each connection behind two requests gets everything, at no attempt."""
    attempt = attempt_of(20)
    with (
        Endpoint(answers_then_leaves(2), tls=tls) as endpoint,
        sender_to(endpoint.url(path=""), batch_events=1, verify_tls=False) as sender,
    ):
        results = sender.send(attempt, soon())

    assert set(verdicts(attempt, results).values()) == {Verdict.ACCEPTED}
    assert list(attempt.request_counts) == [1, 1, *[2, 1] * 9]
    settlement = settle_results(attempt, results, RetryPolicy(0, 1))
    assert (settlement.settled, settlement.dead, settlement.retry) == (20, [], None)


def test_a_new_connection_that_ends_as_well_is_a_failure() -> None:
    """Once more is once: a collector that answers nothing is not asked for ever."""

    def leaves_all_but_the_first(visit: Visit) -> None:
        if visit.request() and visit.endpoint.accepted == 1:
            visit.connection.sendall(OK)
            visit.request()

    attempt = attempt_of(2)
    with (
        Endpoint(leaves_all_but_the_first) as endpoint,
        sender_to(endpoint.url(path=""), batch_events=1) as sender,
    ):
        results = sender.send(attempt, soon())

    assert verdicts(attempt, results) == {"e0": Verdict.ACCEPTED, "e1": Verdict.RETRY}
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
        sender_to(endpoint.url(path=""), batch_events=1) as sender,
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
        sender_to(endpoint.url(path=""), batch_events=1) as sender,
    ):
        results = sender.send(attempt, soon())

    assert verdicts(attempt, results) == {"e0": Verdict.ACCEPTED, "e1": Verdict.RETRY}
    assert attempt.request_counts[1] == MAX_REQUESTS
