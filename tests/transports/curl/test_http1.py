"""Requests over connections of HTTP/1.1 that libcurl has made: what ends a connection, and what is kept."""

import ssl
import threading

import pytest
import trustme

from tests.transports.certificates import server_context
from tests.transports.curl.flights import PATIENCE, land, post, post_all, posting
from tests.transports.endpoint import OK, Behaviour, Endpoint, Visit, answers
from worker.integrations import TlsOptions
from worker.model.errors import ConnectionLost, DeadlinePassed, KeptConnectionLost
from worker.transports.curl.answer import CurlResponse
from worker.transports.curl.client import ManyHttp
from worker.transports.guard import Guard

UNVERIFIED = TlsOptions(verify_tls=False)
BODIES = [b"%06d" % number for number in range(40)]


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest, ca: trustme.CA) -> ssl.SSLContext | None:
    """Run the test in plain text and over TLS."""
    return server_context(ca.issue_cert("127.0.0.1")) if request.param == "tls" else None


def _learned(many: ManyHttp) -> ManyHttp:
    """Have it known that HTTP/1.1 is spoken, as behind a first answer."""
    many.dialect.learn(is_shared=False)
    return many


def _then(first: bytes, *, count: int = 1) -> Behaviour:
    """Answer so many requests with that and keep the connection, later ones as ever."""

    def behave(visit: Visit) -> None:
        while visit.request():
            visit.connection.sendall(first if len(visit.endpoint.requests) <= count else OK)

    return behave


@pytest.mark.parametrize(
    "first",
    [
        OK + b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        b"HTTP/1.1 204 No Content\r\n\r\nwhat must not be there",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["two answers", "close", "content of none", "two lengths"],
)
def test_a_doubtful_answer_costs_its_connection(
    guard: Guard, tls: ssl.SSLContext | None, first: bytes
) -> None:
    """What stands behind it is never read as the answer to the next request."""
    with (
        Endpoint(_then(first), tls=tls) as endpoint,
        posting(guard, endpoint.url(), UNVERIFIED) as many,
    ):
        statuses = [post(_learned(many)).status for _ in range(3)]

        assert statuses[1:] == [200, 200]
        assert endpoint.accepted == 2


def test_what_comes_unasked_costs_its_connection(guard: Guard, tls: ssl.SSLContext | None) -> None:
    """An answer to nothing, between two requests, is not that to the second."""
    said = threading.Event()

    def speaks_unasked(visit: Visit) -> None:
        visit.request()
        visit.connection.sendall(OK)
        if visit.endpoint.accepted == 1:
            visit.connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
            said.set()
        answers()(visit)

    with (
        Endpoint(speaks_unasked, tls=tls) as endpoint,
        posting(guard, endpoint.url(), UNVERIFIED) as many,
    ):
        post(_learned(many))
        assert said.wait(PATIENCE)

        assert post(many).status == 200
        assert endpoint.accepted == 2


def test_a_reset_of_a_kept_connection_is_told_from_that_of_a_new_one(
    guard: Guard, tls: ssl.SSLContext | None
) -> None:
    """Only the first may have met the end of a connection that nobody has broken."""

    def leaves(visit: Visit) -> None:
        if visit.endpoint.accepted == 1 and visit.request():
            visit.connection.sendall(OK)
        visit.request()

    with (
        Endpoint(leaves, tls=tls) as endpoint,
        posting(guard, endpoint.url(), UNVERIFIED) as many,
    ):
        post(_learned(many))
        with pytest.raises(KeptConnectionLost, match="closed the connection without an answer"):
            post(many)
        with pytest.raises(ConnectionLost, match="closed the connection without an answer") as lost:
            post(many)

        assert type(lost.value) is ConnectionLost
        assert len(endpoint.requests) == 3


def test_an_early_answer_is_heard(guard: Guard, tls: ssl.SSLContext | None) -> None:
    """A server may refuse what it has not read to its end; the rest is not sent."""

    def refuses_early(visit: Visit) -> None:
        visit.connection.recv(4_096)
        visit.connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        visit.endpoint.over.wait(PATIENCE)

    with (
        Endpoint(refuses_early, tls=tls, receive_buffer=4_096) as endpoint,
        posting(guard, endpoint.url(), UNVERIFIED) as many,
    ):
        assert post(_learned(many), bytes(8_000_000)).status == 413


def test_large_bodies_go_out_side_by_side(guard: Guard, tls: ssl.SSLContext | None) -> None:
    """Each in as many pieces as it takes, and whole."""
    bodies = [bytes([number]) * 1_500_000 for number in range(6)]
    with (
        Endpoint(answers(), tls=tls) as endpoint,
        posting(guard, endpoint.url(), UNVERIFIED, connections=6) as many,
    ):
        outcomes = post_all(_learned(many), bodies)

        assert {type(one) for one in outcomes.values()} == {CurlResponse}
        received = [request.partition(b"\r\n\r\n")[2] for request in endpoint.requests]
        assert sorted(received) == bodies


def test_one_that_hangs_leaves_the_others_to_land(guard: Guard, tls: ssl.SSLContext | None) -> None:
    """Its time is its own; then no connection that there was is used again."""

    def hangs_at_some(visit: Visit) -> None:
        while request := visit.request():
            if request.endswith(b"hang"):
                visit.endpoint.over.wait(PATIENCE)
            visit.connection.sendall(OK)

    with (
        Endpoint(hangs_at_some, tls=tls) as endpoint,
        posting(guard, endpoint.url(), UNVERIFIED, connections=4) as many,
    ):
        with _learned(many).flight(PATIENCE) as flight:
            flight.start("late", (), b"hang", 1.0)
            for number in range(3):
                flight.start(number, (), b"x", PATIENCE)
            landed = dict(land(flight))
            met = endpoint.accepted
            flight.start("next", (), b"x", PATIENCE)
            landed |= dict(land(flight))

        assert isinstance(landed.pop("late"), DeadlinePassed)
        assert {type(one) for one in landed.values()} == {CurlResponse}
        assert endpoint.accepted == met + 1


def test_a_flight_in_tls_reuses_its_connections(guard: Guard, ca: trustme.CA) -> None:
    """As many as there may be, and one by which it was learned what is spoken."""
    with (
        Endpoint(answers(), tls=server_context(ca.issue_cert("127.0.0.1"))) as endpoint,
        posting(guard, endpoint.url(), UNVERIFIED, connections=3) as many,
    ):
        for _ in range(3):
            outcomes = post_all(many, BODIES)
            assert {type(one) for one in outcomes.values()} == {CurlResponse}

        assert endpoint.accepted <= 4
        assert len(endpoint.requests) == 3 * len(BODIES)
