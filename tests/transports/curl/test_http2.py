"""HTTP/2 by libcurl: many requests over one connection, where the other side offers that."""

import pytest
import trustme

from tests.transports.certificates import server_context
from tests.transports.curl.flights import PATIENCE, land, post, post_all, posting
from tests.transports.endpoint import Endpoint, answers
from tests.transports.http2 import Http2, leaving_first, offering_http2
from worker.integrations import TlsOptions
from worker.model.errors import ConnectionLost, DeadlinePassed
from worker.transports.curl.answer import CurlResponse
from worker.transports.curl.flight import Flight
from worker.transports.guard import Guard

ALONE = b"alone"
BODIES = [b"%06d" % number for number in range(200)]


def test_requests_share_a_connection_of_http2(guard: Guard, ca: trustme.CA) -> None:
    """Where it is offered, requests go side by side over one connection (RFC 9113)."""
    server = Http2()
    trusting = TlsOptions(ca_pem=ca.cert_pem.bytes().decode())
    tls = offering_http2(server_context(ca.issue_cert("127.0.0.1")))
    with (
        Endpoint(server.behaviour(), tls=tls) as endpoint,
        posting(guard, endpoint.url(), trusting, connections=10) as many,
    ):
        post(many, ALONE)
        server.hold = 10
        outcomes = post_all(many, BODIES)

        assert endpoint.accepted == 1
        assert server.most_open == 10
        assert {one.status for one in outcomes.values() if isinstance(one, CurlResponse)} == {200}
        assert sorted(server.bodies.values()) == [*BODIES, ALONE]


def test_the_first_request_goes_alone(guard: Guard, ca: trustme.CA) -> None:
    """Until it is known whether requests can share a connection, a second one may be needless."""
    server = Http2()
    tls = offering_http2(server_context(ca.issue_cert("127.0.0.1")))
    trusting = TlsOptions(ca_pem=ca.cert_pem.bytes().decode())
    with Endpoint(server.behaviour(), tls=tls) as endpoint, posting(guard, endpoint.url(), trusting) as many:
        with many.flight(10) as flight:
            flight.start("first", (), b"x", 10)
            assert not flight.has_room
        with many.flight(10) as flight:
            flight.start("again", (), b"x", 10)
            land(flight)
            assert flight.has_room


def test_a_new_flight_shares_from_the_start(guard: Guard, ca: trustme.CA) -> None:
    """What one flight has learned is known to the others: ten requests wait for one connection."""
    server = Http2()
    tls = offering_http2(server_context(ca.issue_cert("127.0.0.1")))
    trusting = TlsOptions(ca_pem=ca.cert_pem.bytes().decode())
    with (
        Endpoint(server.behaviour(), tls=tls) as endpoint,
        posting(guard, endpoint.url(), trusting, connections=10) as many,
    ):
        post(many, ALONE)
        many.close()
        server.hold = 10
        post_all(many, BODIES)

        assert endpoint.accepted == 2


@pytest.mark.parametrize("count", [1, 50])
def test_a_shared_connection_that_died_is_replaced(guard: Guard, ca: trustme.CA, count: int) -> None:
    """Whatever libcurl thinks of it: it would offer the dead connection to each request again and again."""
    server = Http2()
    trusting = TlsOptions(ca_pem=ca.cert_pem.bytes().decode())
    tls = offering_http2(server_context(ca.issue_cert("127.0.0.1")))
    with (
        Endpoint(leaving_first(server.behaviour()), tls=tls) as endpoint,
        posting(guard, endpoint.url(), trusting, connections=10) as many,
    ):
        post(many, ALONE)
        assert endpoint.left.wait(PATIENCE)
        outcomes = post_all(many, BODIES[:count])

        # The one that takes its place, and another where that one was closed with its first requests.
        assert endpoint.accepted in {2, 3}
        assert {one.status for one in outcomes.values() if isinstance(one, CurlResponse)} == {200}
        assert sorted(server.bodies.values()) == [*BODIES[:count], ALONE]


def test_a_connection_that_stays_dead_ends_with_the_time(
    guard: Guard, ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If libcurl offers nothing else, a request lands all the same."""
    monkeypatch.setattr(Flight, "_retire", lambda *_, **__: None)
    server = Http2()
    trusting = TlsOptions(ca_pem=ca.cert_pem.bytes().decode())
    tls = offering_http2(server_context(ca.issue_cert("127.0.0.1")))
    with (
        Endpoint(leaving_first(server.behaviour()), tls=tls) as endpoint,
        posting(guard, endpoint.url(), trusting) as many,
    ):
        post(many, ALONE)
        assert endpoint.left.wait(PATIENCE)
        with pytest.raises((ConnectionLost, DeadlinePassed)):
            post(many, b"never", seconds=0.2)

        assert list(server.bodies.values()) == [ALONE]


def test_http2_is_not_spoken_unasked(guard: Guard) -> None:
    """Without TLS no server offers it, and nothing asks for it (RFC 9113, section 3.1)."""
    with Endpoint(answers()) as endpoint, posting(guard, endpoint.url()) as many:
        post(many)

    assert b"Upgrade" not in endpoint.requests[0]
    assert b"POST" in endpoint.requests[0]
