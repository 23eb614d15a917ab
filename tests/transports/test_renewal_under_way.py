"""What is under way when a name moves: it is finished where it began, and nothing is lost or doubled."""

import contextlib
import threading

import pytest
import trustme

from tests.fleet import wait_until
from tests.ports import free_port
from tests.receivers.hec import HecReceiver
from tests.receivers.syslog import SyslogReceiver
from tests.receivers.syslog_behaviours import on_cue, resets
from tests.transports.certificates import server_context
from tests.transports.curl.flights import land, post, posting
from tests.transports.endpoint import OK, Endpoint, Visit, answers
from tests.transports.http2 import Http2, Request, answer, offering_http2
from tests.transports.names import HOST, MovableName
from tests.transports.syslog.streams import SOON, lines, messages, stream_to
from tests.transports.test_renewal import CLOSED, FOLLOWS, NETWORKS, A, B
from worker.integrations import TlsOptions
from worker.model.errors import AddressRefused
from worker.transports import http_adapter
from worker.transports.curl import connections as curl_kept
from worker.transports.curl.answer import CurlResponse
from worker.transports.guard import Guard
from worker.transports.http import HttpTransport
from worker.transports.syslog import pool as syslog_pool


def test_what_is_in_flight_is_finished(ca: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of HTTP/2 that is open when the name moves is answered by A; those that follow go to B."""
    monkeypatch.setattr(curl_kept, "_LOOK_AGAIN", 0.0)
    port, one, other = free_port(), Http2(), Http2()
    name = MovableName(monkeypatch, A)
    guard = Guard(NETWORKS, FOLLOWS)
    has_moved = threading.Event()

    def answers_late(request: Request) -> bytes:
        has_moved.wait(SOON)
        return answer(request)

    tls = offering_http2(server_context(ca.issue_cert(HOST)))
    with (
        Endpoint(one.behaviour(), tls=tls, host=A, port=port) as at_a,
        Endpoint(other.behaviour(), tls=tls, host=B, port=port),
        posting(
            guard, at_a.url(HOST), TlsOptions(ca_pem=ca.cert_pem.bytes().decode()), connections=10
        ) as many,
    ):
        post(many)
        one.replies = answers_late
        with many.flight(SOON) as flight:
            flight.start("early", (), b"early", SOON)
            while b"early" not in one.bodies.values():
                flight.landed(0.01)
            name.ips = [B]
            guard.known_addresses(HOST, port)  # as any flight does that begins
            for number in range(5):
                flight.start(number, (), b"late", SOON)
            while len(other.processed) < 5:
                flight.landed(0.01)
            has_moved.set()
            land(flight)
        assert (one.processed, other.processed) == ([b"x", b"early"], [b"late"] * 5)


def test_syslog_that_was_sent_just_before_a_move_is_still_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that hangs up behind a batch may not have kept it, whether or not it is used again."""
    name = MovableName(monkeypatch, A)
    cue = threading.Event()
    reported: list[str] = []
    behaviour = on_cue(cue, resets(0))
    with (
        SyslogReceiver(behaviour, host=A) as one,
        SyslogReceiver(host=B, port=one.port) as other,
        stream_to(f"syslog://{HOST}:{one.port}", guard=Guard(NETWORKS, FOLLOWS)) as stream,
    ):
        monkeypatch.setattr(stream, "_pause_behind", lambda _: 0.0)
        monkeypatch.setattr(syslog_pool, "SUSPICIOUS", SOON)
        stream.send(lines(1), SOON, on_end=lambda: reported.append("early"))
        one.wait_for(1)
        name.ips = [B]
        stream.send(lines(1), SOON, on_end=lambda: reported.append("late"))
        other.wait_for(1)
        cue.set()
        wait_until(lambda: reported, "the end is reported")
    assert reported == ["early"]


def test_a_syslog_connection_that_is_used_no_more_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, once nothing that went out on it is in doubt: A has all of it, and nothing twice."""
    name = MovableName(monkeypatch, A)
    with SyslogReceiver(host=A) as one, SyslogReceiver(host=B, port=one.port) as other:
        with stream_to(f"syslog://{HOST}:{one.port}", guard=Guard(NETWORKS, FOLLOWS)) as stream:
            monkeypatch.setattr(syslog_pool, "SUSPICIOUS", 0.3)
            stream.send(lines(100), SOON)
            name.ips = [B]
            stream.send(lines(100, start=100), SOON)
            one.wait_for_ends(1)
        assert one.messages == messages(100)
        assert other.wait_for(100) == messages(100, start=100)


def test_hec_receivers_see_a_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests before the move are A's, those behind it are B's, and each came once."""
    name = MovableName(monkeypatch, A)
    with HecReceiver(host=A) as one, HecReceiver(host=B, port=one.port) as other:
        transport = HttpTransport(Guard(NETWORKS, FOLLOWS), TlsOptions(), connections=2)
        with contextlib.closing(transport):
            url = f"http://{HOST}:{one.port}/services/collector/event"
            for ips in ([A], [B], [A]):
                name.ips = ips
                transport.post(url, {}, b'{"event":{"id":"e"}}', SOON)
        assert (len(one.requests), len(other.requests)) == (2, 1)


def test_a_long_flight_follows_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of HTTP/1.1: each connection is left after the request that it carries, and the others go to B."""
    monkeypatch.setattr(curl_kept, "_LOOK_AGAIN", 0.0)
    name = MovableName(monkeypatch, A)
    guard = Guard(NETWORKS, FOLLOWS)
    port = free_port()
    with Endpoint(answers(), host=A, port=port) as one, Endpoint(answers(), host=B, port=port) as other:
        with posting(guard, one.url(HOST), connections=4) as many, many.flight(SOON) as flight:
            for number in range(20):
                flight.start(number, (), b"x", SOON)
            land(flight)
            name.ips = [B]
            guard.known_addresses(HOST, port)  # as any flight does that begins
            landed = []
            for count in (1, 19):
                for number in range(count):
                    flight.start(number, (), b"x", SOON)
                landed += land(flight)
        assert {outcome.status for _, outcome in landed if isinstance(outcome, CurlResponse)} == {200}
        assert (len(one.requests), len(other.requests)) == (20, 20)


def test_a_long_flight_to_what_was_closed_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The requests that were not sent yet fail with the reason."""
    monkeypatch.setattr(curl_kept, "_LOOK_AGAIN", 0.0)
    name = MovableName(monkeypatch, A)
    guard = Guard(NETWORKS, FOLLOWS)
    with Endpoint(answers(), host=A) as one, posting(guard, one.url(HOST)) as many:
        with many.flight(SOON) as flight:
            flight.start("early", (), b"x", SOON)
            land(flight)
            name.ips = [CLOSED]
            with pytest.raises(AddressRefused):
                guard.known_addresses(HOST, one.port)
            outcomes = []
            for count in (1, 4):
                for number in range(count):
                    flight.start(number, (), b"x", SOON)
                outcomes += [outcome for _, outcome in land(flight)]
        assert [type(outcome) for outcome in outcomes] == [AddressRefused] * 5
        assert len(one.requests) == 1


def test_connections_that_rest_have_a_longest_life_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool hands out the newest; of the others, those that lead elsewhere are closed now and then."""
    monkeypatch.setattr(http_adapter, "_LOOK_EVERY", 0.0)
    name = MovableName(monkeypatch, A)
    together = threading.Barrier(3)
    served = threading.Semaphore(0)
    port = free_port()

    def meet(visit: Visit) -> None:
        visit.request()
        together.wait(SOON)
        visit.connection.sendall(OK)
        while visit.request():
            visit.connection.sendall(OK)
        served.release()

    with Endpoint(meet, host=A, port=port) as one, Endpoint(answers(), host=B, port=port):
        transport = HttpTransport(Guard(NETWORKS, FOLLOWS), TlsOptions(), connections=3)
        with contextlib.closing(transport):
            threads = [
                threading.Thread(target=transport.post, args=(one.url(HOST), {}, b"x", SOON))
                for _ in range(3)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            name.ips = [B]
            transport.post(one.url(HOST), {}, b"x", SOON)
            for _ in threads:
                assert served.acquire(timeout=SOON)
