"""The total deadline against peers that drip, stall or read slowly, in plain text and over TLS."""

import itertools
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse

import pytest
import trustme

from tests.transports.certificates import server_context
from tests.transports.conftest import transport_over
from tests.transports.endpoint import OK, Behaviour, Endpoint, Visit, answers
from worker.integrations import TlsOptions
from worker.model.errors import DeadlinePassed
from worker.transports.curl.flight import Flight
from worker.transports.curl.posts import CurlTransport
from worker.transports.deadline import seconds_left, within
from worker.transports.guard import Guard
from worker.transports.http import HttpTransport

#: Long enough for a connection to be made, short enough to be waited for.
SECONDS = 0.4
LARGE = bytes(16_000_000)
MEDIUM = bytes(1_000_000)


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest, ca: trustme.CA) -> ssl.SSLContext | None:
    """Run the test in plain text and over TLS."""
    return server_context(ca.issue_cert("127.0.0.1")) if request.param == "tls" else None


@pytest.fixture
def transport(guard: Guard, stack: str) -> Iterator[HttpTransport | CurlTransport]:
    """Ask no questions about certificates: only time matters here."""
    transport = transport_over(stack, guard, TlsOptions(verify_tls=False))
    yield transport
    transport.close()


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
def test_a_peer_that_drips_is_cut_off(
    transport: HttpTransport | CurlTransport, tls: ssl.SSLContext | None, behaviour: Behaviour
) -> None:
    """However little a peer sends at a time, the deadline is for the whole of it."""
    with (
        Endpoint(behaviour, tls=tls) as endpoint,
        pytest.raises(DeadlinePassed, match=r"did not answer in full within 0\.4 s"),
    ):
        transport.post(endpoint.url(), {}, b"x", SECONDS).whole()


def _reads_nothing(visit: Visit) -> None:
    visit.endpoint.over.wait()


def _reads_byte_by_byte(visit: Visit) -> None:
    while not visit.endpoint.over.wait(0.01):
        visit.connection.recv(1)


@pytest.mark.parametrize("behaviour", [_reads_nothing, _reads_byte_by_byte])
def test_a_peer_that_does_not_take_the_body_is_cut_off(
    transport: HttpTransport | CurlTransport, tls: ssl.SSLContext | None, behaviour: Behaviour
) -> None:
    """The deadline holds for sending, too."""
    with (
        Endpoint(behaviour, tls=tls, receive_buffer=4096) as endpoint,
        pytest.raises(DeadlinePassed, match=r"did not take the whole request within 0\.4 s"),
    ):
        transport.post(endpoint.url(), {}, LARGE, SECONDS)


def _reads_slowly(visit: Visit) -> None:
    while len(visit.unread) < len(MEDIUM):
        visit.unread += visit.connection.recv(20_000)
        visit.endpoint.over.wait(0.02)
    visit.request()
    visit.connection.sendall(OK)


@pytest.mark.slow
def test_a_slow_peer_is_waited_for(
    transport: HttpTransport | CurlTransport, tls: ssl.SSLContext | None
) -> None:
    """With patience, the deadline is for each silence, as long as the peer takes more."""
    with Endpoint(_reads_slowly, tls=tls, receive_buffer=4096) as endpoint:
        assert transport.post(endpoint.url(), {}, MEDIUM, 60, patience=SECONDS).status == 200


def test_a_connection_that_the_system_gives_up_is_not_waited_for(guard: Guard) -> None:
    """TCP_USER_TIMEOUT ends it amid a call: the next call would find an end that no peer has made."""
    with Endpoint(_reads_nothing, receive_buffer=4096) as endpoint:
        sock = guard.dial("127.0.0.1", endpoint.port, 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 500)
        with sock, within(100, "siem:8088", patience=90), pytest.raises(DeadlinePassed, match="did not"):
            sock.sendall(LARGE)


def _never_answers(visit: Visit) -> None:
    visit.request()
    _reads_nothing(visit)


@pytest.mark.parametrize("behaviour", [_reads_nothing, _never_answers])
def test_a_silent_peer_is_not_waited_for(
    transport: HttpTransport | CurlTransport, tls: ssl.SSLContext | None, behaviour: Behaviour
) -> None:
    """Neither one that takes no more, nor one that has all and does not answer."""
    with (
        Endpoint(behaviour, tls=tls, receive_buffer=4096) as endpoint,
        pytest.raises(DeadlinePassed, match=r"within 0\.4 s") as late,
    ):
        transport.post(endpoint.url(), {}, MEDIUM, 600, patience=SECONDS)

    assert (late.value.rate > 0) is (behaviour is _reads_nothing)


@pytest.mark.parametrize(
    "greeting", [b"", b"\x16\x03\x03\x40\x00"], ids=["silence", "a record that never ends"]
)
def test_a_handshake_that_drags_on_is_cut_off(
    transport: HttpTransport | CurlTransport, greeting: bytes
) -> None:
    """The deadline holds for the handshake, also when it drips."""

    def behave(visit: Visit) -> None:
        visit.drip(itertools.chain([greeting], itertools.repeat(greeting[-1:])))

    with (
        Endpoint(behave) as endpoint,
        pytest.raises(DeadlinePassed, match=r"did not complete the TLS handshake within 0\.4 s"),
    ):
        transport.post(endpoint.url().replace("http:", "https:"), {}, b"x", SECONDS)


def test_a_connection_that_was_cut_off_is_not_used_again(
    transport: HttpTransport | CurlTransport, tls: ssl.SSLContext | None
) -> None:
    """The rest of a late answer must never be read as the answer to another request."""

    def stalls_then_answers(visit: Visit) -> None:
        if visit.endpoint.accepted == 1:
            visit.request()
            visit.connection.sendall(OK[:-5])
        answers()(visit)

    with Endpoint(stalls_then_answers, tls=tls) as endpoint:
        with pytest.raises(DeadlinePassed):
            transport.post(endpoint.url(), {}, b"first", SECONDS).whole()
        reply = transport.post(endpoint.url(), {}, b"second", seconds=10)

        assert (reply.body, endpoint.accepted) == (b'{"code": 0}', 2)


def test_an_answer_that_has_come_counts_although_it_is_read_late(
    transport: HttpTransport | CurlTransport, tls: ssl.SSLContext | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is where this process was suspended right behind its request: sent again, it would come twice."""
    get_response = HTTPConnection.getresponse

    wait = Flight._wait  # noqa: SLF001 - where a thread of libcurl spends its time

    def wait_late(flight: Flight, seconds: float) -> None:
        wait(flight, seconds)
        if endpoint.requests:
            time.sleep(SECONDS)  # as a process that is suspended does

    def get_late(connection: HTTPConnection) -> HTTPResponse:
        select.select([connection.sock], [], [], 10)
        while seconds_left():
            time.sleep(0.01)
        return get_response(connection)

    monkeypatch.setattr(HTTPConnection, "getresponse", get_late)
    monkeypatch.setattr(Flight, "_wait", wait_late)
    with Endpoint(answers(), tls=tls) as endpoint:
        reply = transport.post(endpoint.url(), {}, b"once", SECONDS).whole()

    assert reply.body == b'{"code": 0}'


def test_a_deadline_in_the_past_sends_nothing(transport: HttpTransport | CurlTransport) -> None:
    """Without time there is no attempt, not even over a connection that is open."""
    with Endpoint(answers()) as endpoint:
        transport.post(endpoint.url(), {}, b"in time", seconds=10)

        with pytest.raises(DeadlinePassed):
            transport.post(endpoint.url(), {}, b"too late", 0)
        assert len(endpoint.requests) == 1


@pytest.mark.parametrize("undone", ["answer in full", "take the whole request"])
def test_every_call_on_a_dialled_socket_obeys(guard: Guard, undone: str) -> None:
    """A transport that reads and writes the socket itself is held to its deadline, too."""
    with Endpoint(_reads_nothing, receive_buffer=4096) as endpoint:
        sock = guard.dial("127.0.0.1", endpoint.port, timeout=10)
        call = _receiving if undone == "answer in full" else _sending
        with sock, within(0.1, "siem:514"), pytest.raises(DeadlinePassed, match=f"siem:514 did not {undone}"):
            call(sock)


def _receiving(sock: socket.socket) -> None:
    sock.recv(1)


def _sending(sock: socket.socket) -> None:
    while True:
        sock.send(LARGE)


def test_without_a_deadline_a_dialled_socket_keeps_its_own_timeout(guard: Guard) -> None:
    """Outside of `within` the socket behaves as any other."""
    with Endpoint(_reads_nothing) as endpoint, guard.dial("127.0.0.1", endpoint.port, timeout=10) as sock:
        sock.settimeout(0.01)
        with pytest.raises(TimeoutError):
            sock.recv(1)


def test_a_deadline_holds_for_its_own_thread_only() -> None:
    """Threads that share a transport do not share their deadlines; the outer one returns after the inner."""
    seen: list[float | None] = []
    with within(60, "outer:1"):
        _in_thread(lambda: seen.append(seconds_left()))
        with within(0, "inner:1"):
            seen.append(seconds_left())
        left = seconds_left()

    assert seen == [None, 0.0]
    assert left is not None
    assert left > 0
    assert seconds_left() is None


def _in_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
