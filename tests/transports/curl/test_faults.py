"""What can go wrong with libcurl alone, and its deadlines; `test_http_faults.py` has what both ways share."""

import contextlib
import itertools
import socket
import ssl

import pycurl
import pytest
import trustme

from tests.transports.certificates import server_context
from tests.transports.curl.flights import post, posting
from tests.transports.dead_addresses import full_queue
from tests.transports.endpoint import OK, Behaviour, Endpoint, Visit, answers, answers_once
from tests.transports.names import HOST, MovableName, endless
from worker.integrations import TlsOptions
from worker.model.errors import AddressRefused, ConnectionLost, DeadlinePassed, TransportError
from worker.transports.curl.connections import KeptConnections
from worker.transports.curl.exchange import Exchange
from worker.transports.curl.faults import curl_fault
from worker.transports.curl.flight import Flight
from worker.transports.curl.route import Dialect, Route
from worker.transports.dialer import Address
from worker.transports.guard import Guard

#: Long enough for a connection to be made, short enough to be waited for.
SECONDS = 0.4
LARGE = bytes(16_000_000)


def test_an_interim_answer_is_none(guard: Guard) -> None:
    """What comes before the final answer is passed over (RFC 9110, section 15.2)."""
    with (
        Endpoint(answers(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)) as endpoint,
        posting(guard, endpoint.url()) as many,
    ):
        assert post(many).status == 200


@pytest.mark.parametrize(
    ("reply", "words"),
    [(b"", "closed the connection without an answer"), (OK[:-1], "broke off its answer half-way")],
)
def test_an_address_that_was_not_reached_is_not_why(
    monkeypatch: pytest.MonkeyPatch, guard: Guard, reply: bytes, words: str
) -> None:
    """The number of that failure stays with libcurl; without IPv6 it would be that of a lack of ports."""
    MovableName(monkeypatch, "127.0.0.2", "127.0.0.1")
    with (
        Endpoint(answers_once(reply)) as endpoint,
        posting(guard, f"http://{HOST}:{endpoint.port}/") as many,
        pytest.raises(ConnectionLost, match=words),
    ):
        post(many)


def test_the_guard_has_the_last_word(guard: Guard) -> None:
    """Should libcurl come to another address than the look-up gave, that one is judged, and not dialled."""

    class Lax(Guard):
        def known_addresses(self, host: str, port: int, timeout: float = SECONDS) -> list[Address]:
            return guard.addresses(host, port, timeout=timeout)

    with Endpoint(answers()) as endpoint, posting(Lax([]), endpoint.url()) as many:
        with many.flight(10) as flight:
            flight.start("one", (), b"x", 10)
            [(_, refused)] = _landed(flight)
        assert endpoint.accepted == 0

    assert isinstance(refused, AddressRefused)
    assert str(refused).startswith("127.0.0.1 is a loopback address: list its network")


def test_only_the_internet_is_dialled(guard: Guard) -> None:
    """Whatever is asked of libcurl, no other kind of socket is opened for it."""
    route = Route("siem.example.com", 80, "siem.example.com:80", False, (), [], Dialect(None))  # noqa: FBT003 - all of them
    with contextlib.closing(Exchange(route, guard, KeptConnections(endless))) as exchange:
        opened = exchange._open(0, (socket.AF_UNIX, socket.SOCK_STREAM, 0, b"/run/docker.sock"))  # noqa: SLF001 - libcurl's part

        assert opened == pycurl.SOCKET_BAD
        assert exchange.tried == []
        assert len(exchange.refused) == 1


def test_a_peer_that_acknowledges_nothing_is_given_up(guard: Guard) -> None:
    """Sockets of libcurl have the options of all others, TCP_USER_TIMEOUT (RFC 5482) among them."""
    route = Route("siem.example.com", 80, "siem.example.com:80", False, (), [], Dialect(None))  # noqa: FBT003 - all of them
    with contextlib.closing(Exchange(route, guard, KeptConnections(endless))) as exchange:
        opened = exchange._open(0, (socket.AF_INET, socket.SOCK_STREAM, 0, ("127.0.0.1", 1)))  # noqa: SLF001 - libcurl's part

        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def _landed(flight: Flight) -> list[tuple[object, object]]:
    landed: list[tuple[object, object]] = []
    while not flight.is_empty:
        landed += flight.landed(10)
    return landed


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest, ca: trustme.CA) -> ssl.SSLContext | None:
    """Run the test in plain text and over TLS."""
    return server_context(ca.issue_cert("127.0.0.1")) if request.param == "tls" else None


UNVERIFIED = TlsOptions(verify_tls=False)


def _drips(*pieces: bytes, then: bytes) -> Behaviour:
    def behave(visit: Visit) -> None:
        visit.request()
        visit.drip(itertools.chain(pieces, itertools.repeat(then)))

    return behave


@pytest.mark.parametrize(
    "behaviour",
    [
        _drips(then=b""),
        _drips(b"HTTP/1.1 200 ", then=b"K"),
        _drips(then=b"HTTP/1.1 100 Continue\r\n\r\n"),
        _drips(b"HTTP/1.1 200 OK\r\nX-Slow: ", then=b"x"),
        _drips(b"HTTP/1.1 200 OK\r\nContent-Length: 19000\r\n\r\n", then=b"x"),
        _drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", then=b"1\r\nx\r\n"),
        _drips(b"HTTP/1.1 200 OK\r\n\r\n", then=b"x"),
    ],
    ids=["silence", "status", "continue", "header", "body", "chunks", "until closed"],
)
def test_a_peer_that_drips_is_cut_off(guard: Guard, tls: ssl.SSLContext | None, behaviour: Behaviour) -> None:
    """However little a peer sends at a time, the deadline is for the whole of it."""
    with (
        Endpoint(behaviour, tls=tls) as endpoint,
        posting(guard, endpoint.url(), UNVERIFIED) as many,
        pytest.raises(DeadlinePassed, match=r"did not answer in full within 0\.4 s"),
    ):
        post(many, b"x", SECONDS)


def _reads_nothing(visit: Visit) -> None:
    visit.endpoint.over.wait()


def test_a_peer_that_does_not_take_the_body_is_cut_off(guard: Guard, tls: ssl.SSLContext | None) -> None:
    """The deadline holds for sending, too."""
    with (
        Endpoint(_reads_nothing, tls=tls, receive_buffer=4096) as endpoint,
        posting(guard, endpoint.url(), UNVERIFIED) as many,
        pytest.raises(DeadlinePassed, match=r"did not take the whole request within 0\.4 s"),
    ):
        post(many, LARGE, SECONDS)


def test_a_handshake_that_drags_on_is_cut_off(guard: Guard) -> None:
    """The deadline holds for the handshake."""
    with (
        Endpoint(_reads_nothing) as endpoint,
        posting(guard, endpoint.url().replace("http:", "https:")) as many,
        pytest.raises(DeadlinePassed, match=r"did not complete the TLS handshake within 0\.4 s"),
    ):
        post(many, b"x", SECONDS)


def test_an_address_that_stays_silent_is_reported(guard: Guard) -> None:
    """A host that takes no connections, as a dead one, is named with its address."""
    with (
        full_queue("127.0.0.2") as port,
        posting(guard, f"http://127.0.0.2:{port}/") as many,
        pytest.raises(DeadlinePassed) as late,
    ):
        post(many, b"x", SECONDS)

    assert str(late.value) == f"no connection to 127.0.0.2 within 0.4 s: no answer from 127.0.0.2:{port}"


def test_a_connection_that_was_cut_off_is_not_used_again(guard: Guard, tls: ssl.SSLContext | None) -> None:
    """The rest of a late answer must never be read as the answer to another request."""

    def stalls_then_answers(visit: Visit) -> None:
        if visit.endpoint.accepted == 1:
            visit.request()
            visit.connection.sendall(OK[:-5])
        answers()(visit)

    with (
        Endpoint(stalls_then_answers, tls=tls) as endpoint,
        posting(guard, endpoint.url(), UNVERIFIED) as many,
    ):
        with pytest.raises(DeadlinePassed):
            post(many, b"first", SECONDS)

        assert post(many, b"second").body == b'{"code": 0}'
        assert endpoint.accepted == 2


def test_every_code_of_libcurl_has_words(guard: Guard) -> None:
    """Also those that no peer has been seen to cause: none raises, and none is silent."""
    route = Route("siem.example.com", 443, "siem.example.com:443", True, (), [], Dialect(None))  # noqa: FBT003 - all of them
    for code in range(1, 102):
        with contextlib.closing(Exchange(route, guard, KeptConnections(endless))) as exchange:
            fault = curl_fault(exchange, code, "in libcurl's own words")

        assert isinstance(fault, TransportError), code
        assert len(str(fault)) > len(route.peer), code
        assert "libcurl" not in str(fault), code
