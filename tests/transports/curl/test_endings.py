"""What an HTTP/2 server has not processed is sent again at once, and counts as nothing (RFC 9113, 8.7)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trustme

from tests.transports import http2
from tests.transports.certificates import server_context
from tests.transports.curl.flights import PATIENCE, post, post_all, posting
from tests.transports.endpoint import Endpoint
from tests.transports.http2 import Http2, Replies, offering_http2
from worker.integrations import TlsOptions
from worker.model.errors import ConnectionLost, DeadlinePassed, KeptConnectionLost, NotProcessed
from worker.transports.curl.answer import CurlResponse
from worker.transports.curl.client import ManyHttp
from worker.transports.curl.flight import MOST_REFUSALS, Flight
from worker.transports.guard import Guard

BODIES = [b"%06d" % number for number in range(60)]
REFUSED = http2.resets(http2.REFUSED_STREAM)
WANTS_HTTP1 = http2.resets(http2.HTTP_1_1_REQUIRED)


@contextmanager
def posting_to(server: Http2, guard: Guard, ca: trustme.CA) -> Iterator[tuple[ManyHttp, Endpoint]]:
    """Give a transport to the server, for ten requests at once."""
    tls = offering_http2(server_context(ca.issue_cert("127.0.0.1")))
    trusting = TlsOptions(ca_pem=ca.cert_pem.bytes().decode())
    with (
        Endpoint(server.behaviour(), tls=tls) as endpoint,
        posting(guard, endpoint.url(), trusting, connections=10) as many,
    ):
        yield many, endpoint


def land_one(flight: Flight) -> dict[object, object]:
    """Wait for the next request that lands."""
    deadline = time.monotonic() + 2 * PATIENCE
    while not (landed := flight.landed(PATIENCE)):
        assert time.monotonic() < deadline
    return dict(landed)


@pytest.mark.parametrize(
    "replies",
    [http2.goes_away, http2.leaves_after(http2.goes_away), REFUSED],
    ids=["goaway", "end", "refused"],
)
@pytest.mark.parametrize("count", [1, 7])
def test_what_was_turned_away_is_sent_again(
    guard: Guard, ca: trustme.CA, replies: Replies, count: int
) -> None:
    """However few requests a connection carries: each is answered, and processed once."""
    server = Http2(replies=http2.then(count, replies))
    with posting_to(server, guard, ca) as (many, _):
        outcomes = post_all(many, BODIES)

    assert {one.status if isinstance(one, CurlResponse) else one for one in outcomes.values()} == {200}
    assert sorted(server.processed) == BODIES


def test_a_server_that_turns_everything_away_fails(guard: Guard, ca: trustme.CA) -> None:
    """After a few tries, reported in words, and with an error of its own."""
    server = Http2(replies=REFUSED)
    with posting_to(server, guard, ca) as (many, endpoint):
        with pytest.raises(NotProcessed, match=r"^127\.0\.0\.1:\d+ turned the request away unprocessed"):
            post(many)

        assert endpoint.accepted <= MOST_REFUSALS
        assert len(server.bodies) == MOST_REFUSALS


@pytest.mark.parametrize("count", [0, 3])
def test_http1_is_spoken_where_it_is_wanted(guard: Guard, ca: trustme.CA, count: int) -> None:
    """HTTP_1_1_REQUIRED costs nothing but a connection, and is remembered by every flight."""
    server = Http2(replies=http2.then(count, WANTS_HTTP1))
    with posting_to(server, guard, ca) as (many, endpoint):
        outcomes = post_all(many, BODIES)
        met = len(server.bodies)
        many.close()
        post(many, b"later")

        assert len(server.bodies) == met
        assert endpoint.requests[-1].startswith(b"POST /services/collector/event HTTP/1.1\r\n")

    assert {one.status if isinstance(one, CurlResponse) else one for one in outcomes.values()} == {200}
    received = [request.rpartition(b"\r\n\r\n")[2] for request in endpoint.requests]
    assert sorted(server.processed + received) == [*BODIES, b"later"]


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        (http2.resets(http2.INTERNAL_ERROR), "reset the request (INTERNAL_ERROR)"),
        (http2.leaves_after(http2.resets(http2.INTERNAL_ERROR)), "reset the request (INTERNAL_ERROR)"),
        (http2.leaves_after(http2.half_an_answer), "broke off its answer half-way"),
        (http2.leaves, "closed the connection without an answer"),
    ],
    ids=["reset", "reset and closed", "half", "closed"],
)
def test_other_endings_are_reported(guard: Guard, ca: trustme.CA, replies: Replies, words: str) -> None:
    """It is unknown whether such a request was processed: it is not sent again here."""
    server = Http2(replies=replies)
    with posting_to(server, guard, ca) as (many, endpoint):
        with pytest.raises(ConnectionLost) as lost:
            post(many)

        assert str(lost.value) == f"127.0.0.1:{endpoint.port} {words}"
        assert type(lost.value) is ConnectionLost
        assert len(server.bodies) == 1


def test_a_kept_connection_that_ends_is_recognised(guard: Guard, ca: trustme.CA) -> None:
    """Its last request may have been processed: the caller decides, and the next one dials."""
    server = Http2(replies=http2.at_first(http2.leaves))
    with posting_to(server, guard, ca) as (many, endpoint):
        post(many)
        with pytest.raises(KeptConnectionLost, match=r"(closed|reset) the connection"):
            post(many)
        post(many)

        assert endpoint.accepted == 2


def test_a_connection_that_hangs_costs_one_time_out(guard: Guard, ca: trustme.CA) -> None:
    """It stays open and silent: the next request goes over a new one."""
    server = Http2(replies=http2.at_first(http2.nothing))
    with posting_to(server, guard, ca) as (many, endpoint):
        post(many)
        with pytest.raises(
            DeadlinePassed, match=r"within 0\.4 s over a connection that was kept open; the next"
        ):
            post(many, seconds=0.4)
        outcomes = post_all(many, BODIES)

        assert endpoint.accepted == 2
    assert {one.status for one in outcomes.values() if isinstance(one, CurlResponse)} == {200}
    assert len(server.processed) == len(BODIES) + 1


def test_what_is_under_way_over_a_slow_connection_is_heard(guard: Guard, ca: trustme.CA) -> None:
    """One request that hangs ends neither the others nor their connection; only new ones dial."""
    server = Http2()
    server.replies = lambda one: (
        http2.answer(one) if one.place == 1 or one.connection == 2 else http2.nothing(one)
    )
    with posting_to(server, guard, ca) as (many, endpoint):
        post(many)
        with many.flight(10) as flight:
            flight.start("slow", (), b"slow", 10)
            flight.start("late", (), b"late", 0.4)
            landed = land_one(flight)
            flight.start("new", (), b"new", 10)
            landed |= land_one(flight)

            assert not flight.is_empty
        assert isinstance(landed["late"], DeadlinePassed)
        assert isinstance(landed["new"], CurlResponse)
        assert endpoint.accepted == 2


def test_what_other_threads_keep_open_is_doubted_as_well(guard: Guard, ca: trustme.CA) -> None:
    """Two flights with a connection each: what one of them learns saves the other its time-out."""
    server = Http2(replies=lambda one: http2.answer(one) if one.place == 1 else http2.nothing(one))
    with posting_to(server, guard, ca) as (many, endpoint):
        with many.flight(10) as first, many.flight(10) as second:
            for flight in (first, second):
                flight.start("x", (), b"x", 10)
                land_one(flight)
        with pytest.raises(DeadlinePassed):
            post(many, seconds=0.4)
        post(many)
        with many.flight(10), many.flight(10) as other:
            other.start("x", (), b"x", 10)

            assert isinstance(land_one(other)["x"], CurlResponse)
        assert endpoint.accepted == 4
